// A bundle that the program reads: out of an archive, an asset package, a stream. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    /// <summary>Fills a buffer with the bytes of a file from an offset on; returns how many it has read.</summary>
    public delegate int ReadAt(long offset, byte[] buffer, int count);

    // IL2CPP and other AOT compilers need it on each method that C calls, and go by its name.
    [AttributeUsage(AttributeTargets.Method)]
    sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        public MonoPInvokeCallbackAttribute(Type type)
        {
        }
    }

    /// <summary>
    /// What the library calls while Model.Open runs, on the thread that opens. A static method, with the reader behind a
    /// GCHandle: so AOT compilers want it. An exception must not pass through C: it is kept, and thrown by Open.
    /// </summary>
    sealed class Reader
    {
        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        delegate UIntPtr ReadAtFunction(IntPtr user, ulong offset, IntPtr buffer, UIntPtr count);

        static readonly ReadAtFunction Function = Read;
        const int Most = 1 << 20;
        readonly ReadAt readAt;
        readonly byte[] bytes = new byte[Most];

        internal Exception Error { get; private set; }

        internal Reader(ReadAt readAt)
        {
            this.readAt = readAt;
        }

        internal unsafe detailflow_reader ToNative(long size, GCHandle self)
        {
            var reader = default(detailflow_reader);
            reader.struct_size = (uint)sizeof(detailflow_reader);
            reader.size = (ulong)size;
            reader.read_at = Marshal.GetFunctionPointerForDelegate(Function);
            reader.user = GCHandle.ToIntPtr(self);
            return reader;
        }

        [MonoPInvokeCallback(typeof(ReadAtFunction))]
        static UIntPtr Read(IntPtr user, ulong offset, IntPtr buffer, UIntPtr count)
        {
            Reader reader = null;
            try
            {
                reader = (Reader)GCHandle.FromIntPtr(user).Target;
                return Calls.Size(reader.ReadAll((long)offset, buffer, (long)count));
            }
            catch (Exception error)
            {
                if (reader != null)
                {
                    reader.Error = error;
                }
                return UIntPtr.Zero;
            }
        }

        long ReadAll(long offset, IntPtr buffer, long count)
        {
            long done = 0;
            while (done < count)
            {
                var part = (int)Math.Min(count - done, Most);
                var read = readAt(offset + done, bytes, part);
                if (read <= 0 || read > part)
                {
                    break;
                }
                Marshal.Copy(bytes, 0, (IntPtr)((long)buffer + done), read);
                done += read;
            }
            return done;
        }
    }
}
