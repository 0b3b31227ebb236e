// SPDX-License-Identifier: MIT OR Apache-2.0
import detailflow.Generation;
import detailflow.JobEvent;
import detailflow.Model;
import detailflow.Request;
import detailflow.SubmitFlag;
import detailflow.Worker;
import detailflow.WorkerOptions;
import java.lang.ref.Cleaner;
import java.lang.ref.WeakReference;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/** Tests of the models that jobs keep; Tests runs them. */
final class Models {
    private static final Cleaner CLEANER = Cleaner.create();

    private Models() {}

    /** Two models that nothing but their jobs refers to: one of requests, one of a generation. */
    private static List<WeakReference<Model>> submitOfLostModels(Worker worker) {
        Model ofRequests = Model.open();
        Model ofGeneration = Model.open();
        Request request = new Request(ofRequests).setImageCount(4);
        for (int times = 0; times < 10; times++) {
            worker.submit(request, SubmitFlag.LAST_ONLY);
        }
        worker.submit(new Request(ofGeneration).begin(), 0, SubmitFlag.LAST_ONLY);
        return List.of(new WeakReference<>(ofRequests), new WeakReference<>(ofGeneration));
    }

    /** Collects, and lets the cleaner of the binding work: garbage of each round is cleaned in the next at the latest. */
    private static void collect() throws InterruptedException {
        for (int times = 0; times < 3; times++) {
            CountDownLatch cleaned = new CountDownLatch(1);
            CLEANER.register(new Object(), cleaned::countDown);
            System.gc();
            cleaned.await();
        }
    }

    private static void checkCollected(List<WeakReference<Model>> models) throws InterruptedException {
        collect();
        for (WeakReference<Model> model : models) {
            Check.that(model.get() == null, "the models are collected");
        }
    }

    private static List<JobEvent.Kind> kinds(Worker worker) {
        List<JobEvent.Kind> kinds = new ArrayList<>();
        while (worker.pending() > 0) {
            try (JobEvent event = worker.poll().orElseThrow()) {
                kinds.add(event.kind);
            }
        }
        return kinds;
    }

    static void model_ofAJob_isNotCollected() throws InterruptedException {
        // It works in tick only: nothing is done before the garbage is collected.
        try (Worker worker = new Worker(new WorkerOptions().threads(0))) {
            List<WeakReference<Model>> models = submitOfLostModels(worker);
            collect();
            while (worker.tick(Duration.ofSeconds(1)).more) {
            }
            Check.equal(Collections.nCopies(11, JobEvent.Kind.DONE), kinds(worker), "events");
            // Nothing keeps them when the last events were taken.
            checkCollected(models);
        }
    }

    static void worker_closed_keepsNoModel() throws InterruptedException {
        Worker worker = new Worker(new WorkerOptions().threads(0));
        List<WeakReference<Model>> models = submitOfLostModels(worker);
        worker.close();
        checkCollected(models);
        Check.fails(IllegalStateException.class, worker::pending);
    }

    static void model_closed_endsItsJobs() {
        Model model = Model.open();
        try (Request request = new Request(model);
                Worker worker = new Worker(new WorkerOptions().threads(0))) {
            worker.submit(request);
            worker.submit(request.begin(), 0);
            model.close();
            Check.equal(Collections.nCopies(2, JobEvent.Kind.CANCELLED), kinds(worker), "events");
        }
    }

    static void tokens_readWhileAnotherThreadSteps_grow() throws InterruptedException {
        try (Model model = Model.open(); Request request = new Request(model).setImageCount(4);
                Generation generation = request.begin()) {
            Throwable[] thrown = new Throwable[1];
            Thread thread = new Thread(() -> {
                try {
                    generation.finish();
                } catch (RuntimeException error) {
                    thrown[0] = error;
                }
            });
            thread.start();
            int count = 0;
            while (thread.isAlive()) {
                int now = generation.tokens(3).length;
                Check.that(now >= count, "tokens stay");
                count = now;
            }
            Check.equal(null, thrown[0], "exception");
            Check.equal(model.info().tokenCount, generation.tokens(3).length, "tokens");
        }
    }

    static void pixels_readWhileAnotherThreadSteps_grow() throws InterruptedException {
        try (Model model = Model.open(); Request request = new Request(model)) {
            for (int round = 0; round < 60; round++) {
                try (Generation generation = request.begin()) {
                    generation.advanceToLevel(8);
                    Thread thread = new Thread(generation::finish);
                    thread.start();
                    int bytes = 0;
                    while (thread.isAlive()) {
                        int now = Math.min(generation.decode(0).capacity(), generation.decodeLevel(0).capacity());
                        Check.that(now >= bytes, "the size grows");
                        bytes = now;
                    }
                    int side = model.info().imageSize;
                    Check.equal(side * side * 4, generation.decode(0).capacity(), "bytes");
                }
            }
        }
    }
}
