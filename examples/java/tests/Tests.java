// SPDX-License-Identifier: MIT OR Apache-2.0
import detailflow.BufferedImages;
import detailflow.ByteSource;
import detailflow.Cancel;
import detailflow.FileFormat;
import detailflow.Generation;
import detailflow.Image;
import detailflow.JobEvent;
import detailflow.Model;
import detailflow.ModelOptions;
import detailflow.PixelFormat;
import detailflow.Request;
import detailflow.Status;
import detailflow.SubmitFlag;
import detailflow.TokenFile;
import detailflow.Worker;
import detailflow.WorkerOptions;
import java.awt.image.BufferedImage;
import java.io.EOFException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.nio.channels.SeekableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Comparator;
import java.util.OptionalInt;
import java.util.OptionalLong;

/** Tests of the binding; tests/embed/java.sh runs them. Every method with "_" in its name is one. */
final class Tests {
    private static Model model;
    private static Path folder;

    private Tests() {}

    /** Arguments: a folder to write in, with the bundle bundle.dflow. */
    public static void main(String[] arguments) throws Exception {
        folder = Path.of(arguments[0]);
        model = Model.open();
        for (Class<?> tests : new Class<?>[] {Tests.class, Models.class, Submits.class}) {
            Method[] methods = tests.getDeclaredMethods();
            Arrays.sort(methods, Comparator.comparing(Method::getName));
            for (Method method : methods) {
                if (method.getName().contains("_") && !method.isSynthetic()) {
                    method.invoke(null);
                    System.out.println("ok " + method.getName());
                }
            }
        }
    }

    static void class_unknown_isSuggested() {
        var error = Check.fails(Status.INVALID_ARGUMENT, () -> model.findClass("potoin"));
        Check.equal("DETAILFLOW_STATUS_INVALID_ARGUMENT", error.statusName(), "name");
        Check.that(error.getMessage().contains("potion"), error.getMessage());
        Check.equal("potion", model.classes().get(model.findClass("potion")), "class");
    }

    static void text_isUtf8() {
        String name = "Zaubertr\u00e4nk-\u9b54\u6cd5-\ud83e\uddea";
        var error = Check.fails(Status.INVALID_ARGUMENT, () -> model.findClass(name));
        Check.that(error.getMessage().contains("\"" + name + "\""), "the message repeats the name");
        String path = folder + "/" + name + ".png";
        new Image(Image.allocate(32, 32, PixelFormat.RGBA8), 32, 32).save(path);
        Check.equal(model.info().tokenCount, model.encodeFile(path).length, "tokens");
    }

    static void text_withZero_isRefused() {
        Check.fails(IllegalArgumentException.class, () -> model.findClass("potion\0x"));
        Check.fails(IllegalArgumentException.class, () -> model.findClass("\ud800"));
    }

    static void closed_objects_throw() throws InterruptedException {
        Model other = Model.open();
        Request request = new Request(other);
        Generation generation = request.begin();
        Cancel cancel = generation.cancel();
        Worker worker = new Worker();
        worker.submit(request);
        JobEvent event = worker.take();
        for (int times = 0; times < 2; times++) {
            event.close();
            worker.close();
            cancel.close();
            generation.close();
            request.close();
            other.close();
        }
        Check.fails(IllegalStateException.class, () -> event.tokens(0));
        Check.fails(IllegalStateException.class, worker::poll);
        Check.fails(IllegalStateException.class, () -> worker.submit(new Request(model)));
        Check.fails(IllegalStateException.class, cancel::trigger);
        Check.fails(IllegalStateException.class, generation::step);
        Check.fails(IllegalStateException.class, () -> request.setSeed(1));
        Check.fails(IllegalStateException.class, () -> other.findClass("potion"));
        Check.equal("the model is closed",
            Check.fails(IllegalStateException.class, () -> new Request(other)).getMessage(), "message");
    }

    static void objects_outliveTheirModel() {
        Model other = Model.open();
        Request request = new Request(other).setSeed(7);
        other.close();
        try (Generation generation = request.begin();
                Request again = new Request(model).setSeed(7);
                Generation expected = again.generate()) {
            request.close();
            generation.finish();
            Check.that(Arrays.equals(expected.tokens(0), generation.tokens(0)), "the tokens are the same");
            Check.equal(expected.decode(0), generation.decode(0), "pixels");
        }
    }

    static void generation_closedWhileAnotherThreadSteps_stops() throws InterruptedException {
        Generation generation = new Request(model).setImageCount(64).begin();
        Throwable[] thrown = new Throwable[1];
        generation.step();
        Thread thread = new Thread(() -> {
            try {
                while (generation.step().stepsLeft > 0) {
                }
            } catch (RuntimeException error) {
                thrown[0] = error;
            }
        });
        thread.start();
        generation.close();
        thread.join();
        if (!(thrown[0] instanceof IllegalStateException)) {
            Check.fails(Status.CANCELLED, () -> {
                throw (Exception) thrown[0];
            });
        }
    }

    static void worker_closedWhileItDraws_stops() {
        Worker worker = new Worker();
        try (Request request = new Request(model).setImageCount(64)) {
            worker.submit(request);
            worker.submit(request);
        }
        worker.close();
        Check.fails(IllegalStateException.class, worker::pending);
    }

    static void worker_closedWhileAnotherThreadWaits_throws() throws InterruptedException {
        Worker worker = new Worker();
        Throwable[] thrown = new Throwable[1];
        Thread thread = new Thread(() -> {
            try {
                worker.take();
            } catch (InterruptedException | RuntimeException error) {
                thrown[0] = error;
            }
        });
        thread.start();
        worker.close();
        thread.join();
        Check.that(thrown[0] instanceof IllegalStateException, String.valueOf(thrown[0]));
    }

    static void worker_waitInterrupted_throws() throws InterruptedException {
        try (Worker worker = new Worker()) {
            Throwable[] thrown = new Throwable[1];
            Thread thread = new Thread(() -> {
                try {
                    worker.poll(Duration.ofSeconds(Long.MAX_VALUE));
                } catch (InterruptedException error) {
                    thrown[0] = error;
                }
            });
            thread.start();
            thread.interrupt();
            thread.join();
            Check.that(thrown[0] instanceof InterruptedException, String.valueOf(thrown[0]));
            Check.that(worker.poll(Duration.ofMillis(1)).isEmpty(), "no event");
        }
    }

    private static String tokens(Model one) {
        try (Request request = new Request(one).setSeed(3); Generation generation = request.generate()) {
            return Arrays.toString(generation.tokens(0));
        }
    }

    static void reader_opensABundle() throws Exception {
        Path path = folder.resolve("bundle.dflow");
        try (SeekableByteChannel channel = Files.newByteChannel(path);
                Model one = Model.open(ByteSource.of(channel), new ModelOptions())) {
            Check.equal(tokens(model), tokens(one), "tokens");
        }
        try (Model one = Model.open(
                ByteSource.of(Files.readAllBytes(path)), new ModelOptions().threads(1).encoder(false))) {
            Check.that(!one.info().canEncode, "the encoder was not opened");
            Check.equal(tokens(model), tokens(one), "tokens");
        }
        try (Model one = Model.open(
                path.toString(), new ModelOptions().form("plain").precision("int8").device("cpu"))) {
            Check.equal("plain", one.info().form, "form");
            Check.that(one.report().contains("plain"), one.report());
        }
    }

    static void default_opensWithOptions() {
        try (Model one = Model.open(new ModelOptions().threads(1).encoder(false))) {
            Check.that(!one.info().canEncode, "the encoder was not opened");
            Check.equal(tokens(model), tokens(one), "tokens");
        }
    }

    private interface Read {
        int read(ByteBuffer target) throws EOFException;
    }

    private static void openRead(Read read) throws Exception {
        Model.open(new ByteSource() {
            @Override
            public long size() {
                return 1000;
            }

            @Override
            public int read(long offset, ByteBuffer target) throws EOFException {
                return read.read(target);
            }
        }, new ModelOptions());
    }

    static void reader_thatFails_isTheCause() {
        var error = Check.fails(Status.IO, () -> openRead(target -> {
            throw new EOFException("pulled out");
        }));
        Check.equal("pulled out", error.getCause().getMessage(), "cause");
        Check.fails(Status.IO, () -> openRead(target -> 0));
        Check.fails(Status.IO, () -> openRead(target -> target.remaining() + 1));
    }

    static void collector_freesUnderLoad() throws InterruptedException {
        Thread collector = new Thread(() -> {
            while (!Thread.interrupted()) {
                System.gc();
            }
        });
        collector.start();
        Worker worker = new Worker();
        for (int round = 0; round < 40; round++) {
            worker.submit(new Request(model).setLevelSize(8).setSeed(round), SubmitFlag.DECODE);
            new Request(model).begin().step();
            new Request(model).begin().cancel().trigger();
            JobEvent event = worker.take();
            Check.equal(Status.OK, event.status, "status");
            event.decodeLevel(0);
            // A worker that draws, and that nothing holds.
            new Worker().submit(new Request(model).setImageCount(16));
        }
        collector.interrupt();
        collector.join();
        worker.close();
    }

    static void pixels_goIntoMemoryOfTheCaller() {
        try (Request request = new Request(model); Generation generation = request.generate()) {
            int side = model.info().imageSize;
            ByteBuffer expected = generation.decode(0);
            Check.equal(side * side * 4, expected.remaining(), "bytes");

            // In the middle of a buffer, in rows with a gap.
            int stride = side * 4 + 8;
            ByteBuffer memory = ByteBuffer.allocateDirect(64 + side * stride + 64);
            while (memory.hasRemaining()) {
                memory.put((byte) 0xa5);
            }
            memory.position(64).limit(64 + side * stride);
            generation.decode(0, side, memory, PixelFormat.RGBA8, stride);
            memory.clear();
            for (int at = 0; at < memory.capacity(); at++) {
                int row = (at - 64) / stride;
                int column = (at - 64) % stride;
                boolean inside = at >= 64 && row < side && column < side * 4;
                Check.equal(inside ? expected.get(row * side * 4 + column) : (byte) 0xa5, memory.get(at), "byte " + at);
            }
            int[] tokens = generation.tokens(0);
            Check.equal(expected, model.decode(tokens, side), "pixels of the tokens");
            Check.equal(expected, model.decode(tokens, 0), "pixels of the tokens");
        }
    }

    static void pixels_areABufferedImage() {
        try (Request request = new Request(model); Generation generation = request.generate()) {
            int side = model.info().imageSize;
            ByteBuffer pixels = generation.decode(0);
            BufferedImage view = BufferedImages.view(pixels, side, side);
            ByteBuffer swapped = Image.allocate(side, side, PixelFormat.BGRA8);
            generation.decodeLevel(0, side, swapped, PixelFormat.BGRA8, 0);
            BufferedImage copy = BufferedImages.copy(swapped, side, side);
            for (int at = 0; at < side * side; at++) {
                int argb = (pixels.get(4 * at + 3) & 0xff) << 24 | (pixels.get(4 * at) & 0xff) << 16
                    | (pixels.get(4 * at + 1) & 0xff) << 8 | pixels.get(4 * at + 2) & 0xff;
                Check.equal(argb, copy.getRGB(at % side, at / side), "pixel " + at + " of the copy");
                Check.equal(argb, view.getRGB(at % side, at / side), "pixel " + at + " of the view");
            }
            pixels.put(0, (byte) ~pixels.get(0));
            Check.equal(pixels.get(0) & 0xff, view.getRaster().getSample(0, 0, 0), "what is written later shows");
        }
    }

    static void pixels_ofWrongMemory_areRefused() {
        try (Request request = new Request(model); Generation generation = request.begin()) {
            Check.fails(Status.WRONG_STATE, () -> generation.decodeLevel(0));
            generation.finish();
            int side = model.info().imageSize;
            Check.fails(Status.INVALID_ARGUMENT,
                () -> generation.decode(0, side, ByteBuffer.allocateDirect(100), PixelFormat.RGBA8, 0));
            Check.fails(Status.INVALID_ARGUMENT,
                () -> generation.decode(0, side, ByteBuffer.allocateDirect(0), PixelFormat.RGBA8, 0));
            Check.fails(IllegalArgumentException.class,
                () -> generation.decode(0, side, ByteBuffer.allocate(1 << 20), PixelFormat.RGBA8, 0));
            Check.fails(ReadOnlyBufferException.class, () -> generation.decode(
                0, side, ByteBuffer.allocateDirect(1 << 20).asReadOnlyBuffer(), PixelFormat.RGBA8, 0));
        }
    }

    static void worker_ticks() {
        try (Worker worker = new Worker(new WorkerOptions().threads(0)); Request request = new Request(model)) {
            worker.submit(request, 5, 0, SubmitFlag.DECODE, SubmitFlag.LAST_ONLY);
            Check.fails(Status.WRONG_STATE, worker::take);
            while (worker.tick(Duration.ofMillis(4)).more) {
            }
            try (JobEvent event = worker.poll().orElseThrow()) {
                Check.equal(JobEvent.Kind.DONE, event.kind, "kind");
                Check.equal(5L, event.user, "user");
                Check.equal(model.info().tokenCount, event.tokens(0).length, "tokens");
                Check.equal("", event.jobMessage(), "message");
                Check.that(event.decoded, "it is decoded");
            }
            Check.that(worker.poll().isEmpty(), "no further event");
        }
    }

    static void worker_jobs_pauseAndHold() throws InterruptedException {
        WorkerOptions options = new WorkerOptions().threads(1).batchSize(1).order(WorkerOptions.Order.PRIORITY_FIRST);
        try (Worker worker = new Worker(options); Request request = new Request(model).setLevelSize(8)) {
            long job = worker.submit(request, 0, 2, SubmitFlag.HOLD);
            worker.take().close();
            Check.equal(1, worker.pending(), "pending");
            worker.pause(job);
            worker.continueTo(job, 0);
            worker.setPriority(job, 1);
            worker.resume(job);
            int last = 0;
            while (worker.pending() > 0) {
                try (JobEvent event = worker.take()) {
                    last = event.levelSize;
                }
            }
            Check.equal(model.info().imageSize, last, "level");
            Check.fails(Status.INVALID_ARGUMENT, () -> worker.cancel(job + 1));
            Check.fails(Status.INVALID_ARGUMENT, () -> worker.setPriority(job, Float.NaN));
            worker.stop();
            Check.fails(Status.WRONG_STATE, () -> worker.submit(request));
        }
    }

    static void worker_continuesAGeneration() throws InterruptedException {
        try (Worker worker = new Worker(); Request request = new Request(model).setSeed(3)) {
            Generation generation = request.begin();
            generation.step();
            worker.submit(generation, 9, SubmitFlag.LAST_ONLY);
            Check.fails(IllegalStateException.class, generation::step);
            Check.fails(IllegalStateException.class, () -> worker.submit(generation, 9));
            generation.close();
            try (JobEvent event = worker.take()) {
                Check.equal(JobEvent.Kind.DONE, event.kind, "closing the generation does not cancel the job");
                Check.equal(tokens(model), Arrays.toString(event.tokens(0)), "tokens");
            }
        }
    }

    static void fork_goesOn() {
        try (Request request = new Request(model).setImageCount(2).setSeed(10).setLogProbabilities(true);
                Generation generation = request.begin()) {
            generation.advanceToLevel(8);
            try (Generation fork = generation.fork(10, 11)) {
                generation.finish();
                fork.finish();
                Check.that(Arrays.equals(generation.tokens(1), fork.tokens(1)), "the same seed, the same tokens");
            }
            for (float value : generation.logProbabilities(1)) {
                Check.that(value < 0, "probabilities are below 1");
            }
            Check.equal(0, generation.classIndex(1), "class");
            Check.equal(11L, generation.seed(1), "seed");
            Check.equal(0, generation.advance(Duration.ofMillis(1)).stepsLeft, "steps left");
        }
    }

    static void tokenFile_cut_keepsItsTokens() {
        try (Request request = new Request(model); Generation generation = request.generate()) {
            int[] tokens = generation.tokens(0);
            TokenFile file = TokenFile.write(model, tokens, OptionalInt.empty(), OptionalLong.empty());
            Check.that(file.classIndex().isEmpty() && file.seed().isEmpty(), "neither class nor seed");
            Check.equal(model.info().tokenizerId, file.tokenizerId(), "tokenizer");
            file.check(model);
            TokenFile largest = TokenFile.write(model, tokens, OptionalInt.of(3), OptionalLong.of(-1));
            Check.equal(-1L, largest.seed().getAsLong(), "seed");
            TokenFile cut = TokenFile.read(Arrays.copyOf(file.data(), file.data().length - 1));
            Check.equal(TokenFile.Damage.CUT, cut.damage(), "damage");
            Check.that(cut.intactCount() > 0 && cut.intactCount() < tokens.length, "some tokens are intact");
            Check.that(Arrays.equals(Arrays.copyOf(tokens, cut.intactCount()), cut.tokens()), "those before the cut");
            Check.fails(Status.BAD_FORMAT, () -> TokenFile.read(new byte[] {1, 2, 3}));
        }
    }

    static void picture_isEncoded() throws Exception {
        try (Request request = new Request(model); Generation generation = request.generate()) {
            int side = model.info().imageSize;
            Path path = folder.resolve("picture.png");
            generation.save(0, path.toString());
            int[] tokens = model.encodeFile(path.toString());
            Check.that(Arrays.equals(tokens, model.encodeFile(Files.readAllBytes(path))), "from memory");
            Image image = new Image(generation.decode(0), side, side);
            Check.that(Arrays.equals(tokens, model.encode(image)), "from pixels");
            Check.equal((byte) 0x89, image.encode(FileFormat.PNG)[0], "the first byte of a PNG");
            int[] coarse = Arrays.copyOf(tokens, 4);
            try (Generation detail = request.redetail(image, 8); Generation varied = request.vary(tokens, 8)) {
                detail.finish();
                Check.that(Arrays.equals(coarse, Arrays.copyOf(detail.tokens(0), 4)), "the coarse tokens stay");
                Check.that(Arrays.equals(coarse, Arrays.copyOf(varied.tokens(0), 4)), "the coarse tokens stay");
            }
        }
    }

    static void settings_areChecked() {
        try (Request request = new Request(model)) {
            request.setGuidance(2).setGradualGuidance(true).setTemperature(0.5f).setTopK(20).setTopP(0.9f);
            request.setGuidance(new int[] {0, 16}, new float[] {3, 1}).setTemperature(new int[] {0}, new float[] {1});
            request.setTopK(new int[] {0}, new float[] {5}).setTopP(new int[] {0}, new float[] {1}).setImageSource(0, 2, 3);
            Check.fails(Status.INVALID_ARGUMENT, () -> request.setGuidance(Float.NaN));
            Check.fails(Status.INVALID_ARGUMENT, () -> request.setTopP(2));
            Check.fails(Status.INVALID_ARGUMENT, () -> request.setLevelSize(7));
            Check.fails(Status.INVALID_ARGUMENT, () -> request.setClass(1000));
            Check.fails(IllegalArgumentException.class, () -> request.setClass(-1));
            Check.fails(IllegalArgumentException.class, () -> request.setTopK(new int[] {0, 1}, new float[] {5}));
            request.setPrefix(new int[] {1, 2, 3, 4}, 8).setImagePrefix(0, new int[] {4, 3});
            try (Generation generation = request.begin()) {
                Check.equal("[4, 3]", Arrays.toString(generation.tokens(0)), "tokens");
            }
        }
    }
}
