// SPDX-License-Identifier: MIT OR Apache-2.0
import detailflow.DetailFlowException;
import detailflow.Generation;
import detailflow.Model;
import detailflow.Request;
import detailflow.Status;
import detailflow.Worker;
import detailflow.WorkerOptions;
import java.util.concurrent.CountDownLatch;

/** Tests of generations that go to a worker while another thread uses them; Tests runs them. */
final class Submits {
    private Submits() {}

    /** Saves to a folder that does not exist, until the generation is closed. */
    private static final class Saver extends Thread {
        private final Generation generation;
        private final CountDownLatch begun = new CountDownLatch(1);
        private Throwable thrown;

        private Saver(Generation generation) {
            this.generation = generation;
            setDaemon(true);
        }

        @Override
        public void run() {
            try {
                while (true) {
                    Check.fails(Status.IO, () -> generation.save(0, "/none/picture.png"));
                    begun.countDown();
                    // Not inside a call for a moment.
                    Thread.yield();
                }
            } catch (AssertionError other) {
                // Of a save that threw something else.
                thrown = other.getCause();
            } finally {
                begun.countDown();
            }
        }
    }

    static void generation_usedByAnotherThread_isNotSubmitted() throws InterruptedException {
        try (Model model = Model.open(); Request request = new Request(model);
                Worker worker = new Worker(new WorkerOptions().threads(0))) {
            int busy = 0;
            for (int round = 0; round < 20 || busy == 0; round++) {
                Check.that(round < 1000, "a thread that is inside a call keeps the generation");
                Generation generation = request.begin();
                generation.step();
                Saver saver = new Saver(generation);
                saver.start();
                saver.begun.await();
                boolean submitted = false;
                while (!submitted) {
                    try {
                        worker.submit(generation, 0);
                        submitted = true;
                    } catch (DetailFlowException error) {
                        Check.equal(Status.BUSY, error.status(), "status of \"" + error.getMessage() + "\"");
                        Check.equal("DETAILFLOW_STATUS_BUSY", error.statusName(), "name");
                        busy++;
                    }
                }
                // The job ends: a save that goes on would use what is freed.
                worker.cancelAll();
                while (worker.poll().isPresent()) {
                }
                saver.join();
                Check.that(saver.thrown instanceof IllegalStateException, String.valueOf(saver.thrown));
            }
        }
    }

    static void generation_refused_staysOpen() {
        try (Model model = Model.open(); Request request = new Request(model); Generation generation = request.begin()) {
            Worker worker = new Worker();
            worker.stop();
            Check.fails(Status.WRONG_STATE, () -> worker.submit(generation, 0));
            generation.step();
            worker.close();
            Check.fails(IllegalStateException.class, () -> worker.submit(generation, 0));
            generation.step();
        }
    }
}
