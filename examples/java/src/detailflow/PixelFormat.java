// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

/** detailflow_format. */
public enum PixelFormat {
    RGB8(3), RGBA8(4), RGBA32F(16), BGRA8(4), RGBA8_PREMULTIPLIED(4), BGRA8_PREMULTIPLIED(4), RGBA16F_LINEAR(8),
    RGBA16F_LINEAR_PREMULTIPLIED(8);

    private final int bytes;

    PixelFormat(int bytes) {
        this.bytes = bytes;
    }

    /** Bytes of one pixel. */
    public int bytes() {
        return bytes;
    }

    int code() {
        return ordinal() + 1;
    }
}
