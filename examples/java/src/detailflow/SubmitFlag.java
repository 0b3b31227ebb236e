// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** detailflow_submit_flag. */
public enum SubmitFlag {
    DECODE, LAST_ONLY, HOLD;

    static int bits(SubmitFlag... flags) {
        int bits = 0;
        for (SubmitFlag flag : flags) {
            bits |= 1 << flag.ordinal();
        }
        return bits;
    }
}
