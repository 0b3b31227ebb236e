// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.LongByReference;
import com.sun.jna.ptr.PointerByReference;
import detailflow.Structs.detailflow_tick_report;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

/**
 * A worker: jobs in the background, or within a budget of each frame. All methods may be called by any threads. Its events
 * are polled; there are no callbacks. Workers that are open when the virtual machine ends are closed then.
 */
public final class Worker extends Handle {
    /** A wait looks so often whether its thread was interrupted, or the worker closed by another thread. */
    private static final long SLICE = 50_000_000;

    /** The models of jobs whose last event was not taken yet: one that the collector frees would cancel its jobs. */
    private final Map<Long, Model> models = new HashMap<>();

    public Worker() {
        this(new WorkerOptions());
    }

    public Worker(WorkerOptions options) {
        this(make(options), new OpenWorkers.Entry());
    }

    private Worker(PointerByReference made, OpenWorkers.Entry entry) {
        super("worker", made, handle -> {
            entry.remove();
            C.detailflow_worker_free(handle);
        });
        entry.add(state);
    }

    private static PointerByReference make(WorkerOptions options) {
        Library.load();
        PointerByReference made = new PointerByReference();
        Pointer raw = options.make();
        try {
            DetailFlowException.check(C.detailflow_worker_new(raw, made, null));
        } finally {
            C.detailflow_worker_options_free(raw);
        }
        return made;
    }

    /** Cancels all jobs, and waits at most for the steps that run. Events that were not taken are dropped. */
    @Override
    public void close() {
        try {
            // Stops the jobs also while another thread waits for an event, whose call holds the handle.
            stop();
        } catch (IllegalStateException | DetailFlowException error) {
            // It is closed already, or the process is ending.
        }
        super.close();
        synchronized (models) {
            models.clear();
        }
    }

    /** Cancels all jobs; their events can still be taken, and submitting is an error. */
    public void stop() {
        call(worker -> C.detailflow_worker_close(worker, 0));
    }

    /** Submits a request, which may be changed or closed afterwards. Returns the number of the job. */
    public long submit(Request request, SubmitFlag... flags) {
        return submit(request, 0, 0, flags);
    }

    /**
     * As the other.
     *
     * @param user each event of the job has it
     */
    public long submit(Request request, long user, float priority, SubmitFlag... flags) {
        PointerByReference made = new PointerByReference();
        LongByReference job = new LongByReference();
        DetailFlowException.check(C.detailflow_submit_options_new(made, null));
        Pointer options = made.getValue();
        try {
            DetailFlowException.check(C.detailflow_submit_options_set_user(options, user));
            DetailFlowException.check(C.detailflow_submit_options_set_flags(options, SubmitFlag.bits(flags)));
            DetailFlowException.check(C.detailflow_submit_options_set_priority(options, priority));
            // Locked: its last event may be taken before this returns.
            synchronized (models) {
                call(worker -> request.status(raw -> C.detailflow_worker_submit_with(worker, raw, options, job)));
                models.put(job.getValue(), request.model);
            }
        } finally {
            C.detailflow_submit_options_free(options);
        }
        return job.getValue();
    }

    /**
     * Submits a generation, started or not. After success it belongs to the worker and counts as closed. BUSY while another
     * thread uses it.
     */
    public long submit(Generation generation, long user, SubmitFlag... flags) {
        LongByReference job = new LongByReference();
        int bits = SubmitFlag.bits(flags);
        synchronized (models) {
            generation.consume(
                raw -> status(worker -> C.detailflow_worker_submit_generation(worker, raw, user, bits, job)));
            models.put(job.getValue(), generation.model);
        }
        return job.getValue();
    }

    /** The next event; empty when there is none. */
    public Optional<JobEvent> poll() {
        PointerByReference taken = new PointerByReference();
        call(worker -> C.detailflow_worker_poll(worker, taken));
        return taken(taken);
    }

    /** Waits for the next event. */
    public JobEvent take() throws InterruptedException {
        while (true) {
            Optional<JobEvent> event = await(SLICE);
            if (event.isPresent()) {
                return event.get();
            }
        }
    }

    /** Waits for the next event; empty when none came in time. */
    public Optional<JobEvent> poll(Duration timeout) throws InterruptedException {
        long left = Time.nanoseconds(timeout);
        if (left == Time.UNLIMITED) {
            return Optional.of(take());
        }
        long begun = System.nanoTime();
        long limit = left;
        while (left > SLICE) {
            Optional<JobEvent> event = await(SLICE);
            if (event.isPresent()) {
                return event;
            }
            left = limit - (System.nanoTime() - begun);
        }
        return await(Math.max(left, 0));
    }

    private Optional<JobEvent> await(long nanoseconds) throws InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException();
        }
        PointerByReference taken = new PointerByReference();
        call(worker -> C.detailflow_worker_wait(worker, nanoseconds, taken));
        return taken(taken);
    }

    private Optional<JobEvent> taken(PointerByReference taken) {
        Optional<JobEvent> event = JobEvent.of(taken);
        event.filter(one -> one.kind != JobEvent.Kind.LEVEL).ifPresent(last -> {
            synchronized (models) {
                models.remove(last.job);
            }
        });
        return event;
    }

    /** Cancels a job; its last event follows. */
    public void cancel(long job) {
        call(worker -> C.detailflow_worker_cancel(worker, job));
    }

    public void cancelAll() {
        call(C::detailflow_worker_cancel_all);
    }

    /** Jobs whose last event was not taken yet. */
    public int pending() {
        SizeT.Reference count = new SizeT.Reference();
        call(worker -> C.detailflow_worker_get_pending(worker, count));
        return count.intValue();
    }

    /** Works for about so long, on this thread: of a worker with 0 threads. */
    public TickReport tick(Duration budget) {
        detailflow_tick_report report = new detailflow_tick_report();
        call(worker -> C.detailflow_worker_tick(worker, Time.nanoseconds(budget), report));
        return new TickReport(report);
    }

    public void setPriority(long job, float priority) {
        call(worker -> C.detailflow_worker_set_priority(worker, job, priority));
    }

    public void pause(long job) {
        call(worker -> C.detailflow_worker_pause(worker, job));
    }

    public void resume(long job) {
        call(worker -> C.detailflow_worker_resume(worker, job));
    }

    /** Changes the level at which a job ends or is held, and lets a held one go on; 0 is the finest. */
    public void continueTo(long job, int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        call(worker -> C.detailflow_worker_continue(worker, job, level));
    }
}
