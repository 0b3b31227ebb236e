// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Callback;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.Structure.FieldOrder;

/** Structs of the C API; the tests compare their sizes and offsets with those of a C compiler. Public for JNA. */
public final class Structs {
    private Structs() {}

    /** Begins with struct_size, which is set before each call. */
    public abstract static class Sized extends Structure {
        public int struct_size;

        @Override
        public void write() {
            struct_size = size();
            super.write();
        }

        final int offset(String field) {
            return fieldOffset(field);
        }

        final java.util.List<String> fields() {
            return getFieldOrder();
        }
    }

    @FieldOrder({"struct_size", "format", "width", "height", "stride", "pixels", "capacity"})
    public static final class detailflow_image extends Sized {
        public int format;
        public int width;
        public int height;
        public SizeT stride = new SizeT();
        public Pointer pixels;
        public SizeT capacity = new SizeT();
    }

    /** detailflow_read_at_fn. */
    public interface ReadAt extends Callback {
        SizeT invoke(Pointer user, long offset, Pointer buffer, SizeT count);
    }

    @FieldOrder({"struct_size", "reserved", "size", "read_at", "user"})
    public static final class detailflow_reader extends Sized {
        public int reserved;
        public long size;
        public ReadAt read_at;
        public Pointer user;
    }

    @FieldOrder({"struct_size", "image_size", "channels", "token_count", "group_size", "causal_count", "codebook_size",
        "bits_per_token", "class_count", "level_count", "guidance", "temperature", "top_p", "top_k", "gradual_guidance",
        "can_generate", "can_encode", "reserved", "name", "license", "tokenizer_id", "precision", "form", "device", "path"})
    public static final class detailflow_model_info extends Sized {
        public int image_size;
        public int channels;
        public int token_count;
        public int group_size;
        public int causal_count;
        public int codebook_size;
        public int bits_per_token;
        public int class_count;
        public int level_count;
        public float guidance;
        public float temperature;
        public float top_p;
        public int top_k;
        public int gradual_guidance;
        public int can_generate;
        public int can_encode;
        public int reserved;
        public Pointer name;
        public Pointer license;
        public Pointer tokenizer_id;
        public Pointer precision;
        public Pointer form;
        public Pointer device;
        public Pointer path;
    }

    @FieldOrder({"struct_size", "level_size", "token_count", "reserved"})
    public static final class detailflow_level extends Sized {
        public int level_size;
        public int token_count;
        public int reserved;
    }

    @FieldOrder({"struct_size", "steps_done", "steps_left", "token_count", "prefix_size", "level_size", "image_count",
        "level_token_count", "next_step_ns", "next_decode_ns"})
    public static final class detailflow_progress extends Sized {
        public int steps_done;
        public int steps_left;
        public int token_count;
        public int prefix_size;
        public int level_size;
        public int image_count;
        public int level_token_count;
        public long next_step_ns;
        public long next_decode_ns;
    }

    @FieldOrder({"struct_size", "unit_count", "step_count", "decode_count", "image_count", "more", "time_ns",
        "longest_unit_ns", "next_unit_ns", "ready_count", "parked_count"})
    public static final class detailflow_tick_report extends Sized {
        public int unit_count;
        public int step_count;
        public int decode_count;
        public int image_count;
        public int more;
        public long time_ns;
        public long longest_unit_ns;
        public long next_unit_ns;
        public long ready_count;
        public long parked_count;
    }

    @FieldOrder({"struct_size", "kind", "job", "user", "status", "image_count", "token_count", "level_size",
        "level_token_count", "steps_done", "steps_left", "decoded"})
    public static final class detailflow_event_info extends Sized {
        public int kind;
        public long job;
        public long user;
        public int status;
        public int image_count;
        public int token_count;
        public int level_size;
        public int level_token_count;
        public int steps_done;
        public int steps_left;
        public int decoded;
    }

    @FieldOrder({"struct_size", "damage", "intact_count", "written_count", "token_count", "group_size", "causal_count",
        "bits_per_token", "class_index", "has_seed", "seed", "tokenizer_id"})
    public static final class detailflow_dft_info extends Sized {
        public int damage;
        public int intact_count;
        public int written_count;
        public int token_count;
        public int group_size;
        public int causal_count;
        public int bits_per_token;
        public int class_index;
        public int has_seed;
        public long seed;
        public byte[] tokenizer_id = new byte[24];
    }
}
