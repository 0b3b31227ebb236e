// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.PointerByReference;
import detailflow.Structs.detailflow_level;
import detailflow.Structs.detailflow_model_info;
import detailflow.Structs.detailflow_reader;
import java.io.IOException;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** An open model. Its methods may be called by any number of threads at once. What was made from it keeps it alive. */
public final class Model extends Handle {
    private final ModelInfo info;

    private Model(PointerByReference made) {
        super("model", made, C::detailflow_model_free);
        detailflow_model_info raw = new detailflow_model_info();
        ModelInfo[] read = new ModelInfo[1];
        call(model -> {
            int status = C.detailflow_model_get_info(model, raw);
            if (status == 0) {
                // The strings live as long as the model.
                read[0] = new ModelInfo(raw);
            }
            return status;
        });
        info = read[0];
    }

    /** Opens the default bundle. */
    public static Model open() {
        return open(new ModelOptions());
    }

    /** Opens the default bundle. */
    public static Model open(ModelOptions options) {
        return open((String) null, options);
    }

    /** Opens a bundle: a folder or a .dflow file; null opens the default one. */
    public static Model open(String path, ModelOptions options) {
        Library.load();
        PointerByReference made = new PointerByReference();
        byte[] name = Text.bytes(path);
        Pointer raw = options.make();
        try {
            DetailFlowException.check(C.detailflow_model_open(name, raw, made, null));
        } finally {
            C.detailflow_model_options_free(raw);
        }
        return new Model(made);
    }

    /**
     * Opens a .dflow bundle that the program reads, on this thread and before this returns. An exception of the source ends
     * the opening, and is the cause of that of this method.
     */
    public static Model open(ByteSource source, ModelOptions options) throws IOException {
        Library.load();
        PointerByReference made = new PointerByReference();
        Reader reader = new Reader(source);
        detailflow_reader structure = reader.toNative();
        Pointer raw = options.make();
        try {
            DetailFlowException.check(C.detailflow_model_open_reader(structure, raw, made, null), reader.error());
        } finally {
            C.detailflow_model_options_free(raw);
            Reference.reachabilityFence(reader);
        }
        return new Model(made);
    }

    /** Cancels the jobs that workers have of it. Requests and generations of it go on. */
    @Override
    public void close() {
        super.close();
    }

    /** What the model is; also after close. */
    public ModelInfo info() {
        return info;
    }

    /** How the model runs, for a log. */
    public String report() {
        return Text.get((buffer, capacity, length) ->
            status(model -> C.detailflow_model_get_report(model, buffer, capacity, length)));
    }

    /** The levels, coarse to fine. */
    public List<Level> levels() {
        List<Level> levels = new ArrayList<>();
        for (int at = 0; at < info.levelCount; at++) {
            int index = at;
            detailflow_level level = new detailflow_level();
            call(model -> C.detailflow_model_get_level(model, index, level));
            levels.add(new Level(level.level_size, level.token_count));
        }
        return levels;
    }

    /** The names of the classes, by index. */
    public List<String> classes() {
        List<String> classes = new ArrayList<>();
        PointerByReference name = new PointerByReference();
        for (int at = 0; at < info.classCount; at++) {
            int index = at;
            call(model -> {
                int status = C.detailflow_model_get_class_name(model, index, name);
                if (status == 0) {
                    // The name lives as long as the model.
                    classes.add(Text.read(name.getValue()));
                }
                return status;
            });
        }
        return classes;
    }

    /** The index of a class; the message of the exception suggests similar names. */
    public int findClass(String name) {
        IntByReference index = new IntByReference();
        byte[] bytes = Text.bytes(name);
        call(model -> C.detailflow_model_find_class(model, bytes, index));
        return index.getValue();
    }

    /** Pixels per side that a number of tokens decodes to. */
    public int prefixSize(int tokenCount) {
        IntByReference size = new IntByReference();
        SizeT count = new SizeT(Image.unsigned(tokenCount, "tokenCount"));
        call(model -> C.detailflow_model_get_prefix_size(model, count, size));
        return size.getValue();
    }

    /** The tokens of a picture of any size. */
    public int[] encode(Image picture) {
        return Arrays.ints(info.tokenCount, (tokens, capacity, count) -> call(
            model -> picture.with(image -> C.detailflow_model_encode(model, image, tokens, capacity, count))));
    }

    /** The tokens of a picture file. */
    public int[] encodeFile(String path) {
        byte[] bytes = Text.bytes(path);
        return Arrays.ints(info.tokenCount, (tokens, capacity, count) ->
            call(model -> C.detailflow_model_encode_file(model, bytes, tokens, capacity, count)));
    }

    /** The tokens of a picture file that lies in memory. */
    public int[] encodeFile(byte[] data) {
        SizeT size = new SizeT(data.length);
        return Arrays.ints(info.tokenCount, (tokens, capacity, count) ->
            call(model -> C.detailflow_model_encode_data(model, data, size, tokens, capacity, count)));
    }

    /** As the other: RGBA8 in a new direct buffer. */
    public ByteBuffer decode(int[] tokens, int levelSize) {
        int size = decodedSize(tokens, levelSize);
        ByteBuffer pixels = Image.allocate(size, size, PixelFormat.RGBA8);
        decode(tokens, levelSize, pixels, PixelFormat.RGBA8, 0);
        return pixels;
    }

    /**
     * Decodes tokens into a direct buffer, from its position on. A level size takes as many of them as that level needs; 0
     * takes all, which must be a prefix. Returns the pixels per side.
     */
    public int decode(int[] tokens, int levelSize, ByteBuffer pixels, PixelFormat format, int stride) {
        int size = decodedSize(tokens, levelSize);
        SizeT count = new SizeT(tokens.length);
        call(model -> Image.decode(pixels, size, format, stride,
            target -> C.detailflow_model_decode(model, tokens, count, levelSize, target)));
        return size;
    }

    private int decodedSize(int[] tokens, int levelSize) {
        return levelSize == 0 ? prefixSize(tokens.length) : Image.unsigned(levelSize, "levelSize");
    }
}
