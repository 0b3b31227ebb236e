// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.LongByReference;
import com.sun.jna.ptr.PointerByReference;
import detailflow.Structs.detailflow_progress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.function.ToIntFunction;

/**
 * A generation. One thread steps it; meanwhile other threads may read its progress, tokens and pixels, cancel it, and close
 * it, which cancels the step that runs.
 */
public final class Generation extends Handle {
    final Model model;

    Generation(PointerByReference made, Model model) {
        super("generation", made, C::detailflow_generation_free);
        this.model = model;
    }

    /** Also while another thread steps: its call then throws, within a step. */
    @Override
    public void close() {
        try (Cancel cancel = cancel()) {
            cancel.trigger();
        } catch (IllegalStateException | DetailFlowException error) {
            // It is closed already, a worker has it, or the process is ending: nothing to cancel.
        }
        super.close();
    }

    private interface Step {
        int with(Pointer generation, detailflow_progress progress);
    }

    private Progress step(Step step) {
        detailflow_progress progress = new detailflow_progress();
        call(generation -> step.with(generation, progress));
        return new Progress(progress);
    }

    /** One step. */
    public Progress step() {
        return step(C::detailflow_generation_step);
    }

    /** At least one step, and further ones that should end within the time. */
    public Progress advance(Duration budget) {
        return step((generation, progress) ->
            C.detailflow_generation_advance(generation, Time.nanoseconds(budget), progress));
    }

    /** Steps until a level is complete; 0 is the one at which the request ends. */
    public Progress advanceToLevel(int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        return step((generation, progress) -> C.detailflow_generation_advance_to_level(generation, level, progress));
    }

    /** All steps that are left. */
    public Progress finish() {
        return step(C::detailflow_generation_finish);
    }

    public Progress progress() {
        return step(C::detailflow_generation_get_progress);
    }

    /** What cancels this generation. */
    public Cancel cancel() {
        PointerByReference made = new PointerByReference();
        call(generation -> C.detailflow_generation_get_cancel(generation, made));
        return new Cancel(made);
    }

    /** The tokens of an image so far, coarse to fine. */
    public int[] tokens(int image) {
        int index = Image.unsigned(image, "image");
        return Arrays.ints(model.info().tokenCount, (tokens, capacity, count) ->
            call(generation -> C.detailflow_generation_get_tokens(generation, index, tokens, capacity, count)));
    }

    /** The logarithm of the probability of each token; Request.setLogProbabilities. */
    public float[] logProbabilities(int image) {
        int index = Image.unsigned(image, "image");
        return Arrays.floats(model.info().tokenCount, (values, capacity, count) ->
            call(generation -> C.detailflow_generation_get_log_probabilities(generation, index, values, capacity, count)));
    }

    public int classIndex(int image) {
        IntByReference classIndex = new IntByReference();
        source(image, classIndex, new LongByReference());
        return classIndex.getValue();
    }

    /** Unsigned. */
    public long seed(int image) {
        LongByReference seed = new LongByReference();
        source(image, new IntByReference(), seed);
        return seed.getValue();
    }

    private void source(int image, IntByReference classIndex, LongByReference seed) {
        int index = Image.unsigned(image, "image");
        call(generation -> C.detailflow_generation_get_image_source(generation, index, classIndex, seed));
    }

    /** A generation with the same tokens so far that goes on with other seeds, one for each image. */
    public Generation fork(long... seeds) {
        PointerByReference made = new PointerByReference();
        call(generation -> C.detailflow_generation_fork(generation, seeds, new SizeT(seeds.length), made));
        return new Generation(made, model);
    }

    /** Changes the level at which it ends; 0 is the finest. */
    public void setLevelSize(int levelSize) {
        int level = Image.unsigned(levelSize, "levelSize");
        call(generation -> C.detailflow_generation_set_level_size(generation, level));
    }

    /** Writes a picture file of all tokens so far. */
    public void save(int image, String path) {
        int index = Image.unsigned(image, "image");
        byte[] bytes = Text.bytes(path);
        call(generation -> C.detailflow_generation_save(generation, index, bytes));
    }

    /** All tokens so far as RGBA8 in a new direct buffer: Progress.prefixSize pixels per side. */
    public ByteBuffer decode(int image) {
        return decode(progress -> progress.prefixSize,
            (size, pixels) -> decode(image, size, pixels, PixelFormat.RGBA8, 0));
    }

    /** The finest level that is complete as RGBA8 in a new direct buffer: Progress.levelSize pixels per side. */
    public ByteBuffer decodeLevel(int image) {
        return decode(progress -> progress.levelSize,
            (size, pixels) -> decodeLevel(image, size, pixels, PixelFormat.RGBA8, 0));
    }

    private interface Decode {
        void to(int size, ByteBuffer pixels);
    }

    private ByteBuffer decode(ToIntFunction<Progress> sizeOf, Decode decode) {
        while (true) {
            int size = sizeOf.applyAsInt(progress());
            ByteBuffer pixels = Image.allocate(size, size, PixelFormat.RGBA8);
            try {
                decode.to(size, pixels);
                return pixels;
            } catch (DetailFlowException error) {
                // Once more if another thread has stepped to another size in between.
                if (error.status() != Status.INVALID_ARGUMENT || sizeOf.applyAsInt(progress()) == size) {
                    throw error;
                }
            }
        }
    }

    /**
     * Decodes all tokens so far into a direct buffer, from its position on. While another thread steps, the size may be
     * outdated when this is called: INVALID_ARGUMENT.
     *
     * @param size Progress.prefixSize
     * @param stride bytes from one row to the next; 0 when there is no gap
     */
    public void decode(int image, int size, ByteBuffer pixels, PixelFormat format, int stride) {
        int index = Image.unsigned(image, "image");
        call(generation -> Image.decode(pixels, size, format, stride,
            target -> C.detailflow_generation_decode(generation, index, target)));
    }

    /**
     * As decode, of the finest level that is complete.
     *
     * @param size Progress.levelSize
     */
    public void decodeLevel(int image, int size, ByteBuffer pixels, PixelFormat format, int stride) {
        int index = Image.unsigned(image, "image");
        call(generation -> Image.decode(pixels, size, format, stride,
            target -> C.detailflow_generation_decode_level(generation, index, target)));
    }
}
