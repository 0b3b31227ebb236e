// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** A size that a prefix of the tokens decodes to. */
public final class Level {
    /** Pixels per side. */
    public final int size;

    /** The first tokens of an image that decode to it. */
    public final int tokenCount;

    Level(int size, int tokenCount) {
        this.size = size;
        this.tokenCount = tokenCount;
    }
}
