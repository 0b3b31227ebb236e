// Statuses of the C API, and the exception that carries one. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.CompilerServices;

namespace DetailFlow
{
    /// <summary>What a call returned: detailflow_status_code.</summary>
    public enum Status
    {
        Ok = 0,
        InvalidArgument = 1,
        NotFound = 2,
        BadBundle = 3,
        NoRuntime = 4,
        NoDevice = 5,
        OutOfMemory = 6,
        Io = 7,
        BadFormat = 8,
        Cancelled = 9,
        WrongState = 10,
        Busy = 11,
        Failed = 12,
        Internal = 13,
    }

    /// <summary>A failed call: its status for the program, its message for a person.</summary>
    public class DetailFlowException : Exception
    {
        public Status Status { get; }

        /// <summary>The name of the status, such as DETAILFLOW_STATUS_NOT_FOUND.</summary>
        public string StatusName { get; }

        internal DetailFlowException(Status status, string statusName, string message, Exception inner = null)
            : base(message, inner)
        {
            Status = status;
            StatusName = statusName;
        }
    }

    static class Calls
    {
        /// <summary>
        /// Throws when a call has failed. The message is that of this thread, so this comes right after the call.
        /// </summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        internal static void Check(Status status, Exception inner = null)
        {
            if (status != Status.Ok)
            {
                throw new DetailFlowException(status, Utf8.Read(Native.detailflow_status_name((int)status)),
                    Utf8.Read(Native.detailflow_last_message()), inner);
            }
        }

        /// <summary>A count or index for the C API.</summary>
        internal static uint Unsigned(int value, string name)
        {
            if (value < 0)
            {
                throw new ArgumentOutOfRangeException(name, value, "must not be negative");
            }
            return (uint)value;
        }

        internal static UIntPtr Size(long value)
        {
            return new UIntPtr((ulong)value);
        }

        /// <summary>Nanoseconds of a time; 0 of a negative one: a budget that is used up.</summary>
        internal static ulong Nanoseconds(TimeSpan time)
        {
            if (time < TimeSpan.Zero)
            {
                return 0;
            }
            return time.Ticks > long.MaxValue / 100 ? ulong.MaxValue : (ulong)time.Ticks * 100;
        }
    }
}
