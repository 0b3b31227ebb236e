// An open model. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.IO;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    /// <summary>A size that a prefix of the tokens decodes to.</summary>
    public struct Level
    {
        /// <summary>Pixels per side.</summary>
        public int Size;

        /// <summary>The first tokens of an image that decode to it.</summary>
        public int TokenCount;
    }

    /// <summary>
    /// An open model. Its methods may be called by any number of threads at once. What was made from it keeps it alive.
    /// </summary>
    public sealed class Model : IDisposable
    {
        internal ModelHandle Handle { get; }

        /// <summary>What the model is.</summary>
        public ModelInfo Info { get; }

        Model(ModelHandle handle)
        {
            Handle = handle;
            var info = default(detailflow_model_info);
            info.struct_size = (uint)Marshal.SizeOf(typeof(detailflow_model_info));
            Calls.Check(Native.detailflow_model_get_info(handle, ref info));
            Info = new ModelInfo(info);
        }

        /// <summary>Opens a bundle: a folder or a .dflow file; null opens the default one.</summary>
        public static Model Open(string path = null, ModelOptions options = null)
        {
            Library.Load();
            return OpenPath(path, options ?? new ModelOptions());
        }

        /// <summary>Opens the default bundle.</summary>
        public static Model Open(ModelOptions options)
        {
            return Open((string)null, options);
        }

        /// <summary>
        /// Opens a .dflow bundle that a function reads, on this thread and before this returns. An exception of it ends the
        /// opening and is the inner exception.
        /// </summary>
        public static Model Open(long size, ReadAt readAt, ModelOptions options = null)
        {
            Library.Load();
            return OpenReader(size, readAt, options ?? new ModelOptions());
        }

        /// <summary>Opens a .dflow bundle from a stream that can seek, which is not used afterwards.</summary>
        public static Model Open(Stream stream, ModelOptions options = null)
        {
            return Open(stream.Length, (offset, buffer, count) =>
            {
                stream.Position = offset;
                return stream.Read(buffer, 0, count);
            }, options);
        }

        /// <summary>Opens a .dflow bundle that lies in memory, which is not used afterwards.</summary>
        public static Model Open(byte[] data, ModelOptions options = null)
        {
            return Open(data.Length, (offset, buffer, count) =>
            {
                Buffer.BlockCopy(data, (int)offset, buffer, 0, count);
                return count;
            }, options);
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static Model OpenPath(string path, ModelOptions options)
        {
            using (var native = options.ToNative())
            {
                ModelHandle handle;
                Calls.Check(Native.detailflow_model_open(Utf8.Bytes(path), native, out handle, IntPtr.Zero));
                return new Model(handle);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static Model OpenReader(long size, ReadAt readAt, ModelOptions options)
        {
            var reader = new Reader(readAt);
            var self = GCHandle.Alloc(reader);
            try
            {
                using (var native = options.ToNative())
                {
                    ModelHandle handle;
                    var structure = reader.ToNative(size, self);
                    var status = Native.detailflow_model_open_reader(ref structure, native, out handle, IntPtr.Zero);
                    Calls.Check(status, reader.Error);
                    return new Model(handle);
                }
            }
            finally
            {
                self.Free();
            }
        }

        /// <summary>Cancels the jobs that workers have of it. Requests and generations of it go on.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }

        /// <summary>How the model runs, for a log.</summary>
        public string Report
        {
            get
            {
                return Utf8.Get((byte[] buffer, UIntPtr capacity, out UIntPtr length) =>
                    Native.detailflow_model_get_report(Handle, buffer, capacity, out length));
            }
        }

        /// <summary>The levels, coarse to fine.</summary>
        public Level[] GetLevels()
        {
            var levels = new Level[Info.LevelCount];
            for (var at = 0; at < levels.Length; at++)
            {
                var level = default(detailflow_level);
                level.struct_size = (uint)Marshal.SizeOf(typeof(detailflow_level));
                Calls.Check(Native.detailflow_model_get_level(Handle, (uint)at, ref level));
                levels[at] = new Level { Size = (int)level.level_size, TokenCount = (int)level.token_count };
            }
            return levels;
        }

        /// <summary>The names of the classes, by index.</summary>
        public string[] GetClasses()
        {
            var classes = new string[Info.ClassCount];
            for (var at = 0; at < classes.Length; at++)
            {
                IntPtr name;
                var held = false;
                try
                {
                    // The name lives as long as the model.
                    Handle.DangerousAddRef(ref held);
                    Calls.Check(Native.detailflow_model_get_class_name(Handle, (uint)at, out name));
                    classes[at] = Utf8.Read(name);
                }
                finally
                {
                    if (held)
                    {
                        Handle.DangerousRelease();
                    }
                }
            }
            return classes;
        }

        /// <summary>The index of a class; the message of the exception suggests similar names.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public int FindClass(string name)
        {
            uint index;
            Calls.Check(Native.detailflow_model_find_class(Handle, Utf8.Bytes(name), out index));
            return (int)index;
        }

        /// <summary>Pixels per side that a number of tokens decodes to.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public int GetPrefixSize(int tokenCount)
        {
            uint size;
            Calls.Check(Native.detailflow_model_get_prefix_size(
                Handle, Calls.Size(Calls.Unsigned(tokenCount, "tokenCount")), out size));
            return (int)size;
        }

        /// <summary>The tokens of a picture of any size.</summary>
        public uint[] Encode(Image picture)
        {
            var image = picture.ToNative();
            return Tokens((uint[] tokens, UIntPtr capacity, out UIntPtr count) =>
                Native.detailflow_model_encode(Handle, ref image, tokens, capacity, out count));
        }

        /// <summary>The tokens of a picture file.</summary>
        public uint[] EncodeFile(string path)
        {
            var bytes = Utf8.Bytes(path);
            return Tokens((uint[] tokens, UIntPtr capacity, out UIntPtr count) =>
                Native.detailflow_model_encode_file(Handle, bytes, tokens, capacity, out count));
        }

        /// <summary>The tokens of a picture file that lies in memory.</summary>
        public uint[] EncodeFile(byte[] data)
        {
            return Tokens((uint[] tokens, UIntPtr capacity, out UIntPtr count) => Native.detailflow_model_encode_data(
                Handle, data, Calls.Size(data.Length), tokens, capacity, out count));
        }

        uint[] Tokens(ArrayCall<uint> call)
        {
            return Arrays.Get(Info.TokenCount, call);
        }

        /// <summary>
        /// The pixels of tokens. A level size takes as many of them as that level needs; 0 takes all, which must be a prefix.
        /// </summary>
        public byte[] Decode(uint[] tokens, int levelSize = 0, PixelFormat format = PixelFormat.Rgba8)
        {
            return Decoding.ToArray(DecodedSize(tokens, levelSize), format, DecodeOf(tokens, levelSize));
        }

        /// <summary>Decodes into memory of the caller. Returns the pixels per side.</summary>
        public int Decode(
            uint[] tokens, int levelSize, byte[] pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = DecodedSize(tokens, levelSize);
            Decoding.Into(pixels, size, format, stride, DecodeOf(tokens, levelSize));
            return size;
        }

#if !DETAILFLOW_NO_SPAN
        /// <summary>As the other.</summary>
        public int Decode(
            uint[] tokens, int levelSize, Span<byte> pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = DecodedSize(tokens, levelSize);
            Decoding.Into(pixels, size, format, stride, DecodeOf(tokens, levelSize));
            return size;
        }
#endif

        /// <summary>As the other, at an address: NativeArray of Unity, a mapped texture.</summary>
        public int Decode(uint[] tokens, int levelSize, IntPtr pixels, long capacity,
            PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            var size = DecodedSize(tokens, levelSize);
            Decoding.Into(pixels, capacity, size, format, stride, DecodeOf(tokens, levelSize));
            return size;
        }

        int DecodedSize(uint[] tokens, int levelSize)
        {
            return levelSize == 0 ? GetPrefixSize(tokens.Length) : levelSize;
        }

        DecodeCall DecodeOf(uint[] tokens, int levelSize)
        {
            var level = Calls.Unsigned(levelSize, "levelSize");
            return (ref detailflow_image target) =>
                Native.detailflow_model_decode(Handle, tokens, Calls.Size(tokens.Length), level, ref target);
        }
    }
}
