// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import detailflow.Structs.detailflow_dft_info;
import java.nio.charset.StandardCharsets;
import java.util.OptionalInt;
import java.util.OptionalLong;

/** A token file (.dft): its bytes, and what they say. */
public final class TokenFile {
    /** detailflow_damage. */
    public enum Damage { NONE, CUT, GROUP, SURPLUS }

    private static final int NO_CLASS = -1;
    private final byte[] data;
    private final detailflow_dft_info info;

    private TokenFile(byte[] data, detailflow_dft_info info) {
        this.data = data;
        this.info = info;
    }

    /** Reads a token file. A damaged one is no error: intactCount says what is left. */
    public static TokenFile read(byte[] data) {
        Library.load();
        detailflow_dft_info info = new detailflow_dft_info();
        DetailFlowException.check(C.detailflow_dft_get_info(data, new SizeT(data.length), info, null));
        return new TokenFile(data.clone(), info);
    }

    /** Writes a token file. */
    public static TokenFile write(Model model, int[] tokens, OptionalInt classIndex, OptionalLong seed) {
        SizeT.Reference size = new SizeT.Reference();
        SizeT count = new SizeT(tokens.length);
        int number = classIndex.isPresent() ? Image.unsigned(classIndex.getAsInt(), "classIndex") : NO_CLASS;
        long[] seeds = seed.isPresent() ? new long[] {seed.getAsLong()} : null;
        model.call(handle -> C.detailflow_dft_encode(handle, tokens, count, number, seeds, null, new SizeT(0), size));
        byte[] data = new byte[size.intValue()];
        model.call(
            handle -> C.detailflow_dft_encode(handle, tokens, count, number, seeds, data, new SizeT(data.length), size));
        return read(data);
    }

    public byte[] data() {
        return data.clone();
    }

    public Damage damage() {
        return Damage.values()[info.damage];
    }

    /** Tokens that are intact: a prefix. */
    public int intactCount() {
        return info.intact_count;
    }

    public int writtenCount() {
        return info.written_count;
    }

    public OptionalInt classIndex() {
        return info.class_index == NO_CLASS ? OptionalInt.empty() : OptionalInt.of(info.class_index);
    }

    /** Unsigned. */
    public OptionalLong seed() {
        return info.has_seed == 0 ? OptionalLong.empty() : OptionalLong.of(info.seed);
    }

    /** As ModelInfo.tokenizerId. */
    public String tokenizerId() {
        int length = 0;
        while (info.tokenizer_id[length] != 0) {
            length++;
        }
        return new String(info.tokenizer_id, 0, length, StandardCharsets.UTF_8);
    }

    /** The intact tokens. */
    public int[] tokens() {
        return Arrays.ints(info.intact_count, (tokens, capacity, count) -> DetailFlowException.check(
            C.detailflow_dft_get_tokens(data, new SizeT(data.length), tokens, capacity, count, null)));
    }

    /** Throws when the tokens do not belong to a model. */
    public void check(Model model) {
        model.call(handle -> C.detailflow_dft_check(handle, data, new SizeT(data.length)));
    }
}
