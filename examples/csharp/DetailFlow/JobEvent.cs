// What a worker reports. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    /// <summary>detailflow_event_kind.</summary>
    public enum EventKind
    {
        Level = 1,
        Done = 2,
        Cancelled = 3,
        Failed = 4,
    }

    /// <summary>An event of a job: a level is complete, or the job has ended.</summary>
    public sealed class JobEvent : IDisposable
    {
        readonly EventHandle handle;

        /// <summary>All but Level are the last of their job.</summary>
        public EventKind Kind { get; }

        public ulong Job { get; }

        /// <summary>What was given with the job.</summary>
        public ulong User { get; }

        public Status Status { get; }
        public int ImageCount { get; }
        public int TokenCount { get; }

        /// <summary>Pixels per side of the finest level that was complete; 0 before the first.</summary>
        public int LevelSize { get; }

        public int LevelTokenCount { get; }
        public int StepsDone { get; }
        public int StepsLeft { get; }

        /// <summary>The pixels of the level are there already.</summary>
        public bool Decoded { get; }

        JobEvent(EventHandle handle, detailflow_event_info info)
        {
            this.handle = handle;
            Kind = (EventKind)info.kind;
            Job = info.job;
            User = info.user;
            Status = (Status)info.status;
            ImageCount = (int)info.image_count;
            TokenCount = (int)info.token_count;
            LevelSize = (int)info.level_size;
            LevelTokenCount = (int)info.level_token_count;
            StepsDone = (int)info.steps_done;
            StepsLeft = (int)info.steps_left;
            Decoded = info.decoded != 0;
        }

        internal static JobEvent Of(IntPtr taken)
        {
            if (taken == IntPtr.Zero)
            {
                return null;
            }
            var handle = new EventHandle(taken);
            var info = default(detailflow_event_info);
            info.struct_size = (uint)Marshal.SizeOf(typeof(detailflow_event_info));
            Calls.Check(Native.detailflow_event_get_info(handle, ref info, IntPtr.Zero));
            return new JobEvent(handle, info);
        }

        public void Dispose()
        {
            handle.Dispose();
        }

        /// <summary>Why the job failed; "" when it did not.</summary>
        public string JobMessage
        {
            get
            {
                return Utf8.Get((byte[] buffer, UIntPtr capacity, out UIntPtr length) =>
                    Native.detailflow_event_get_job_message(handle, buffer, capacity, out length, IntPtr.Zero));
            }
        }

        /// <summary>The tokens that an image had, coarse to fine.</summary>
        public uint[] GetTokens(int image = 0)
        {
            var index = Calls.Unsigned(image, "image");
            return Arrays.Get(TokenCount, (uint[] tokens, UIntPtr capacity, out UIntPtr count) =>
                Native.detailflow_event_get_tokens(handle, index, tokens, capacity, out count, IntPtr.Zero));
        }

        /// <summary>The pixels of the level: LevelSize per side.</summary>
        public byte[] DecodeLevel(int image = 0, PixelFormat format = PixelFormat.Rgba8)
        {
            return Decoding.ToArray(LevelSize, format, Level(image));
        }

        /// <summary>Into memory of the caller.</summary>
        public void DecodeLevel(int image, byte[] pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            Decoding.Into(pixels, LevelSize, format, stride, Level(image));
        }

#if !DETAILFLOW_NO_SPAN
        /// <summary>As the other.</summary>
        public void DecodeLevel(int image, Span<byte> pixels, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            Decoding.Into(pixels, LevelSize, format, stride, Level(image));
        }
#endif

        /// <summary>As the other, at an address.</summary>
        public void DecodeLevel(
            int image, IntPtr pixels, long capacity, PixelFormat format = PixelFormat.Rgba8, int stride = 0)
        {
            Decoding.Into(pixels, capacity, LevelSize, format, stride, Level(image));
        }

        DecodeCall Level(int image)
        {
            var index = Calls.Unsigned(image, "image");
            return (ref detailflow_image target) =>
                Native.detailflow_event_decode_level(handle, index, ref target, IntPtr.Zero);
        }
    }
}
