// Pixels in the memory of the caller: an array, a span, or an address. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.CompilerServices;
#if !DETAILFLOW_NO_SPAN
using System.Runtime.InteropServices;
#endif

namespace DetailFlow
{
    /// <summary>detailflow_format.</summary>
    public enum PixelFormat
    {
        Rgb8 = 1,
        Rgba8 = 2,
        Rgba32F = 3,
        Bgra8 = 4,
        Rgba8Premultiplied = 5,
        Bgra8Premultiplied = 6,
        Rgba16FLinear = 7,
        Rgba16FLinearPremultiplied = 8,
    }

    /// <summary>detailflow_file_format.</summary>
    public enum FileFormat
    {
        Png = 1,
        Jpeg = 2,
        Webp = 3,
        Bmp = 4,
        Tga = 5,
        Tiff = 6,
        Qoi = 7,
    }

    /// <summary>An image at an address, in memory of the caller that must not move during a call with it.</summary>
    public struct Image
    {
        public IntPtr Pixels;

        /// <summary>Bytes at Pixels.</summary>
        public long Capacity;

        public PixelFormat Format;
        public int Width;
        public int Height;

        /// <summary>Bytes from one row to the next; 0 when there is no gap.</summary>
        public int Stride;

        public Image(
            IntPtr pixels, long capacity, int width, int height, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            Pixels = pixels;
            Capacity = capacity;
            Width = width;
            Height = height;
            Format = format;
            Stride = stride;
        }

        /// <summary>Writes a picture file; the ending of its name chooses the file format.</summary>
        public void Save(string path)
        {
            Library.Load();
            var image = ToNative();
            Images.Save(ref image, path);
        }

        /// <summary>The bytes of a picture file.</summary>
        public byte[] Encode(FileFormat format)
        {
            Library.Load();
            var image = ToNative();
            return Images.Encode(ref image, format);
        }

        internal unsafe detailflow_image ToNative()
        {
            var image = default(detailflow_image);
            image.struct_size = (uint)sizeof(detailflow_image);
            image.format = (uint)Format;
            image.width = Calls.Unsigned(Width, "Width");
            image.height = Calls.Unsigned(Height, "Height");
            image.stride = new UIntPtr(Calls.Unsigned(Stride, "Stride"));
            image.pixels = Pixels;
            image.capacity = Calls.Size(Capacity);
            return image;
        }
    }

    /// <summary>Pictures in arrays and spans.</summary>
    public static class Images
    {
        /// <summary>Bytes of one pixel.</summary>
        public static int BytesPerPixel(PixelFormat format)
        {
            switch (format)
            {
                case PixelFormat.Rgb8:
                    return 3;
                case PixelFormat.Rgba32F:
                    return 16;
                case PixelFormat.Rgba16FLinear:
                case PixelFormat.Rgba16FLinearPremultiplied:
                    return 8;
                default:
                    return 4;
            }
        }

        /// <summary>Writes pixels of rows without gaps to a picture file.</summary>
        public static unsafe void Save(
            string path, byte[] pixels, int width, int height, PixelFormat format = PixelFormat.Rgba8)
        {
            fixed (byte* first = pixels)
            {
                new Image((IntPtr)first, pixels.Length, width, height, format).Save(path);
            }
        }

#if !DETAILFLOW_NO_SPAN
        /// <summary>As the other.</summary>
        public static unsafe void Save(
            string path, ReadOnlySpan<byte> pixels, int width, int height, PixelFormat format = PixelFormat.Rgba8)
        {
            fixed (byte* first = &MemoryMarshal.GetReference(pixels))
            {
                new Image((IntPtr)first, pixels.Length, width, height, format).Save(path);
            }
        }
#endif

        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static void Save(ref detailflow_image image, string path)
        {
            Calls.Check(Native.detailflow_image_save(ref image, Utf8.Bytes(path), IntPtr.Zero));
        }

        internal static byte[] Encode(ref detailflow_image image, FileFormat format)
        {
            UIntPtr size;
            Calls.Check(Native.detailflow_image_encode(ref image, (uint)format, null, UIntPtr.Zero, out size, IntPtr.Zero));
            var data = new byte[checked((int)size)];
            Calls.Check(Native.detailflow_image_encode(
                ref image, (uint)format, data, Calls.Size(data.Length), out size, IntPtr.Zero));
            return data;
        }
    }

    /// <summary>Decodes to an image of a size that is known then only.</summary>
    delegate Status DecodeCall(ref detailflow_image target);

    /// <summary>Decoding into each kind of memory.</summary>
    static class Decoding
    {
        internal static byte[] ToArray(int size, PixelFormat format, DecodeCall decode)
        {
            var pixels = new byte[checked(size * size * Images.BytesPerPixel(format))];
            Into(pixels, size, format, 0, decode);
            return pixels;
        }

        internal static unsafe void Into(byte[] pixels, int size, PixelFormat format, int stride, DecodeCall decode)
        {
            fixed (byte* first = pixels)
            {
                Into((IntPtr)first, pixels.Length, size, format, stride, decode);
            }
        }

#if !DETAILFLOW_NO_SPAN
        internal static unsafe void Into(Span<byte> pixels, int size, PixelFormat format, int stride, DecodeCall decode)
        {
            fixed (byte* first = &MemoryMarshal.GetReference(pixels))
            {
                Into((IntPtr)first, pixels.Length, size, format, stride, decode);
            }
        }
#endif

        internal static void Into(IntPtr pixels, long capacity, int size, PixelFormat format, int stride, DecodeCall decode)
        {
            var target = new Image(pixels, capacity, size, size, format, stride).ToNative();
            Calls.Check(decode(ref target));
        }
    }
}
