// The scenario of examples/README.md; prints what examples/c/scenario.c prints. SPDX-License-Identifier: MIT OR Apache-2.0
import detailflow.Cancel;
import detailflow.DetailFlowException;
import detailflow.Generation;
import detailflow.JobEvent;
import detailflow.Level;
import detailflow.Model;
import detailflow.ModelInfo;
import detailflow.ModelOptions;
import detailflow.Progress;
import detailflow.Request;
import detailflow.Status;
import detailflow.SubmitFlag;
import detailflow.TokenFile;
import detailflow.Worker;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

final class Scenario {
    private static final int JOBS = 4;
    private static final int MANY = 64;

    private Scenario() {}

    /** FNV-1a, 64 bits. */
    private static String hash(ByteBuffer data) {
        long hash = 0xcbf29ce484222325L;
        for (int at = data.position(); at < data.limit(); at++) {
            hash = (hash ^ (data.get(at) & 0xff)) * 0x100000001b3L;
        }
        return String.format("%016x", hash);
    }

    private static void printPixels(String what, int side, ByteBuffer pixels) {
        System.out.println(what + " " + side + " px " + hash(pixels));
    }

    /** 1. What the model is. */
    private static void describe(Model model) {
        ModelInfo info = model.info();
        System.out.println("model " + info.name + ": " + info.imageSize + " px, " + info.tokenCount + " tokens, "
            + info.classCount + " classes");
        for (Level level : model.levels()) {
            System.out.println("level " + level.size + " px: " + level.tokenCount + " tokens");
        }
    }

    /** 2. An error, as a program shows it. */
    private static void provokeAnError(Model model) {
        try {
            model.findClass("no such class");
        } catch (DetailFlowException error) {
            System.out.println("error " + error.statusName() + ": " + error.getMessage());
        }
    }

    /** 3. One picture step by step; each level is shown when it is complete. */
    private static int[] draw(Model model, int classIndex, long seed) {
        try (Request request = new Request(model).setClass(classIndex).setSeed(seed);
                Generation generation = request.begin()) {
            int shown = 0;
            Progress progress;
            do {
                progress = generation.step();
                if (progress.levelSize > shown) {
                    printPixels("drawn", progress.levelSize, generation.decodeLevel(0));
                    shown = progress.levelSize;
                }
            } while (progress.stepsLeft > 0);
            int[] tokens = generation.tokens(0);
            StringBuilder line = new StringBuilder("tokens");
            for (int token : tokens) {
                line.append(' ').append(token);
            }
            System.out.println(line);
            return tokens;
        }
    }

    /** 4. A token file in memory, and the picture from it. */
    private static void roundTrip(Model model, int[] tokens, int classIndex, long seed) {
        byte[] data = TokenFile.write(model, tokens, OptionalInt.of(classIndex), OptionalLong.of(seed)).data();
        TokenFile file = TokenFile.read(data);
        int[] back = file.tokens();
        System.out.println("file " + data.length + " bytes " + hash(ByteBuffer.wrap(data)) + ": class "
            + file.classIndex().getAsInt() + ", seed " + Long.toUnsignedString(file.seed().getAsLong()) + ", " + back.length
            + " tokens");
        int side = model.info().imageSize;
        printPixels("decoded", side, model.decode(back, side));
    }

    /** 5. Another thread cancels what this one draws; the tokens so far are kept. */
    private static void cancelFromAThread(Model model) throws InterruptedException {
        try (Request request = new Request(model).setImageCount(MANY);
                Generation generation = request.begin();
                Cancel cancel = generation.cancel()) {
            generation.step();
            Thread thread = new Thread(cancel::trigger);
            thread.start();
            try {
                while (generation.step().stepsLeft > 0) {
                }
            } catch (DetailFlowException error) {
                if (error.status() != Status.CANCELLED) {
                    throw error;
                }
                System.out.println("cancelled " + error.statusName() + ": "
                    + (generation.progress().tokenCount > 0 ? "tokens are kept" : "no tokens"));
            }
            thread.join();
        }
    }

    /** 6. Jobs of a worker; its events are polled, as a game loop does. */
    private static void work(Model model) {
        List<String> lines = new ArrayList<>();
        try (Worker worker = new Worker()) {
            try (Request request = new Request(model)) {
                for (int at = 0; at < JOBS; at++) {
                    request.setClass(at).setSeed(at);
                    worker.submit(request, at, 0, SubmitFlag.DECODE);
                }
            }
            while (worker.pending() > 0) {
                Optional<JobEvent> taken = worker.poll();
                if (taken.isEmpty()) {
                    continue;
                }
                try (JobEvent event = taken.get()) {
                    if (event.status != Status.OK) {
                        throw new IllegalStateException(event.jobMessage());
                    }
                    // The last event of a job repeats its last level.
                    if (event.kind == JobEvent.Kind.LEVEL) {
                        lines.add(String.format(
                            "job %d: %4d px %s", event.user, event.levelSize, hash(event.decodeLevel(0))));
                    }
                }
            }
        }
        // Jobs end in any order.
        lines.sort(null);
        lines.forEach(System.out::println);
    }

    /** 7. The program ends while a worker draws. */
    private static void quit(Model model) {
        Worker worker = new Worker();
        worker.submit(new Request(model).setImageCount(MANY));
        System.out.println("quit with " + worker.pending() + " job going on");
        System.exit(0);
    }

    public static void main(String[] arguments) throws InterruptedException {
        try {
            Model model = Model.open(arguments.length > 0 ? arguments[0] : null, new ModelOptions());
            describe(model);
            provokeAnError(model);
            int potion = model.findClass("potion");
            int[] tokens = draw(model, potion, 7);
            roundTrip(model, tokens, potion, 7);
            cancelFromAThread(model);
            work(model);
            quit(model);
        } catch (DetailFlowException error) {
            System.err.println(error.statusName() + ": " + error.getMessage());
            System.exit(1);
        }
    }
}
