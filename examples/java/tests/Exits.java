// SPDX-License-Identifier: MIT OR Apache-2.0
import detailflow.DetailFlowException;
import detailflow.Generation;
import detailflow.Model;
import detailflow.Request;
import detailflow.Status;
import detailflow.Worker;
import java.util.concurrent.CountDownLatch;

/** Programs that end while work is going on; each must end by itself. */
final class Exits {
    private Exits() {}

    private static Worker drawing(Model model) {
        Worker worker = new Worker();
        worker.submit(new Request(model).setImageCount(64));
        worker.submit(new Request(model).setImageCount(64));
        return worker;
    }

    private interface Action {
        void run(CountDownLatch begun) throws Exception;
    }

    private static void background(Action action) throws InterruptedException {
        CountDownLatch begun = new CountDownLatch(1);
        Thread thread = new Thread(() -> {
            try {
                action.run(begun);
            } catch (Exception error) {
                // The process is ending.
            }
        });
        thread.setDaemon(true);
        thread.start();
        begun.await();
    }

    public static void main(String[] arguments) throws Exception {
        Model model = Model.open();
        switch (arguments[0]) {
            case "return":
                drawing(model);
                break;
            case "exit":
                drawing(model);
                System.exit(0);
                break;
            case "closed-model":
                drawing(model);
                model.close();
                System.exit(0);
                break;
            case "try":
                try (Worker worker = drawing(model)) {
                    System.exit(worker.pending() > 0 ? 0 : 3);
                }
                break;
            case "collected":
                drawing(model);
                System.gc();
                break;
            case "step":
                background(begun -> {
                    Generation generation = new Request(model).setImageCount(64).begin();
                    generation.step();
                    begun.countDown();
                    generation.finish();
                });
                break;
            case "wait":
                background(begun -> {
                    Worker worker = new Worker();
                    begun.countDown();
                    worker.take();
                });
                break;
            case "poll": {
                Worker polled = drawing(model);
                background(begun -> {
                    while (true) {
                        polled.poll().ifPresent(detailflow.JobEvent::close);
                        begun.countDown();
                    }
                });
                break;
            }
            case "exit-elsewhere":
                drawing(model);
                background(begun -> {
                    begun.countDown();
                    System.exit(0);
                });
                Thread.sleep(Long.MAX_VALUE);
                break;
            case "late":
                // A worker that is made when the virtual machine is ending.
                Runtime.getRuntime().addShutdownHook(new Thread(() -> drawing(model)));
                break;
            case "closed": {
                // The hook of the binding closes the worker, at the same time as this one runs.
                Worker worker = drawing(model);
                Request request = new Request(model).setImageCount(64);
                Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                    try {
                        while (true) {
                            worker.submit(request);
                            Thread.onSpinWait();
                        }
                    } catch (DetailFlowException error) {
                        System.out.println(error.status() == Status.WRONG_STATE ? "the worker is closed" : "no");
                    }
                }));
                break;
            }
            default:
                throw new IllegalArgumentException(arguments[0]);
        }
    }
}
