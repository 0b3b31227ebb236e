// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Native;
import detailflow.Structs.detailflow_image;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** An image in a direct buffer: its first pixel is at the position of the buffer. */
public final class Image {
    private final ByteBuffer pixels;
    private final int width;
    private final int height;
    private final PixelFormat format;
    private final int stride;

    /** Takes the bytes from the position of the buffer to its limit. */
    public Image(ByteBuffer pixels, int width, int height, PixelFormat format, int stride) {
        if (!pixels.isDirect()) {
            throw new IllegalArgumentException("pixels: the buffer must be a direct one");
        }
        this.pixels = pixels.slice();
        this.width = width;
        this.height = height;
        this.format = format;
        this.stride = unsigned(stride, "stride");
    }

    /** RGBA8, rows without gaps. */
    public Image(ByteBuffer pixels, int width, int height) {
        this(pixels, width, height, PixelFormat.RGBA8, 0);
    }

    /** A buffer for an image. */
    public static ByteBuffer allocate(int width, int height, PixelFormat format) {
        int bytes = Math.multiplyExact(Math.multiplyExact(width, height), format.bytes());
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
    }

    /** Writes a picture file; the ending of its name chooses the file format. */
    public void save(String path) {
        Library.load();
        DetailFlowException.check(with(image -> C.detailflow_image_save(image, Text.bytes(path), null)));
    }

    /** The bytes of a picture file. */
    public byte[] encode(FileFormat file) {
        Library.load();
        SizeT.Reference size = new SizeT.Reference();
        int code = file.code();
        DetailFlowException.check(
            with(image -> C.detailflow_image_encode(image, code, null, new SizeT(0), size, null)));
        byte[] data = new byte[size.intValue()];
        DetailFlowException.check(
            with(image -> C.detailflow_image_encode(image, code, data, new SizeT(data.length), size, null)));
        return data;
    }

    interface Call {
        int with(detailflow_image image);
    }

    int with(Call call) {
        detailflow_image image = new detailflow_image();
        image.format = format.code();
        image.width = unsigned(width, "width");
        image.height = unsigned(height, "height");
        image.stride = new SizeT(stride);
        image.pixels = pixels.hasRemaining() ? Native.getDirectBufferPointer(pixels) : null;
        image.capacity = new SizeT(pixels.remaining());
        try {
            return call.with(image);
        } finally {
            Reference.reachabilityFence(pixels);
        }
    }

    static int unsigned(int value, String name) {
        if (value < 0) {
            throw new IllegalArgumentException(name + " must not be negative: " + value);
        }
        return value;
    }

    /** Decodes an image of a size into memory of the caller. */
    static int decode(ByteBuffer pixels, int size, PixelFormat format, int stride, Call call) {
        if (pixels.isReadOnly()) {
            throw new java.nio.ReadOnlyBufferException();
        }
        return new Image(pixels, size, size, format, stride).with(call);
    }
}
