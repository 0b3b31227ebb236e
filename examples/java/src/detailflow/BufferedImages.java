// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import java.awt.Transparency;
import java.awt.color.ColorSpace;
import java.awt.image.BufferedImage;
import java.awt.image.ColorModel;
import java.awt.image.ComponentColorModel;
import java.awt.image.DataBuffer;
import java.awt.image.DataBufferInt;
import java.awt.image.PixelInterleavedSampleModel;
import java.awt.image.Raster;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Decoded pixels for AWT. A class of its own: there is no AWT on Android. */
public final class BufferedImages {
    private BufferedImages() {}

    /** An image over a buffer of RGBA8 pixels, from its position on: what is decoded into the buffer later shows in it. */
    public static BufferedImage view(ByteBuffer pixels, int width, int height) {
        ColorModel colors = new ComponentColorModel(ColorSpace.getInstance(ColorSpace.CS_sRGB), new int[] {8, 8, 8, 8}, true,
            false, Transparency.TRANSLUCENT, DataBuffer.TYPE_BYTE);
        PixelInterleavedSampleModel samples = new PixelInterleavedSampleModel(
            DataBuffer.TYPE_BYTE, width, height, 4, Math.multiplyExact(width, 4), new int[] {0, 1, 2, 3});
        return new BufferedImage(
            colors, Raster.createWritableRaster(samples, new Memory(pixels.slice()), null), false, null);
    }

    /** A TYPE_INT_ARGB image of BGRA8 pixels: one copy, and what AWT draws fastest. */
    public static BufferedImage copy(ByteBuffer pixels, int width, int height) {
        BufferedImage image = new BufferedImage(width, height, BufferedImage.TYPE_INT_ARGB);
        int[] target = ((DataBufferInt) image.getRaster().getDataBuffer()).getData();
        pixels.duplicate().order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().get(target);
        return image;
    }

    private static final class Memory extends DataBuffer {
        private final ByteBuffer bytes;

        Memory(ByteBuffer bytes) {
            super(TYPE_BYTE, bytes.remaining());
            this.bytes = bytes;
        }

        @Override
        public int getElem(int bank, int at) {
            return bytes.get(at) & 0xff;
        }

        @Override
        public void setElem(int bank, int at, int value) {
            bytes.put(at, (byte) value);
        }
    }
}
