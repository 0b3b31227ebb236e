// Strings of the C API are UTF-8 on every platform. The default marshalling of .NET is not (ANSI on Windows), and not every
// runtime knows UnmanagedType.LPUTF8Str; so strings cross as bytes. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Text;

namespace DetailFlow
{
    delegate Status TextCall(byte[] buffer, UIntPtr capacity, out UIntPtr length);

    static class Utf8
    {
        // Throws for a lone surrogate instead of writing another name.
        static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        /// <summary>The zero-terminated bytes of a string; null stays null.</summary>
        internal static byte[] Bytes(string text)
        {
            if (text == null)
            {
                return null;
            }
            if (text.IndexOf('\0') >= 0)
            {
                throw new ArgumentException("text for the C API contains a zero character");
            }
            var bytes = new byte[Strict.GetByteCount(text) + 1];
            Strict.GetBytes(text, 0, text.Length, bytes, 0);
            return bytes;
        }

        /// <summary>The string at an address; null for NULL.</summary>
        internal static unsafe string Read(IntPtr address)
        {
            if (address == IntPtr.Zero)
            {
                return null;
            }
            var bytes = (byte*)address;
            var length = 0;
            while (bytes[length] != 0)
            {
                length++;
            }
            return length == 0 ? "" : Encoding.UTF8.GetString(bytes, length);
        }

        /// <summary>Text that a call writes into a buffer.</summary>
        internal static string Get(TextCall call)
        {
            UIntPtr length;
            Calls.Check(call(null, UIntPtr.Zero, out length));
            while (true)
            {
                var buffer = new byte[checked((int)length + 1)];
                Calls.Check(call(buffer, Calls.Size(buffer.Length), out length));
                if ((ulong)length < (ulong)buffer.Length)
                {
                    return Encoding.UTF8.GetString(buffer, 0, (int)length);
                }
            }
        }
    }
}
