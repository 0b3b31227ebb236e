// Cancels a generation. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.CompilerServices;

namespace DetailFlow
{
    /// <summary>Cancels a generation, from any thread at any time, also when a worker has it.</summary>
    public sealed class Cancel : IDisposable
    {
        readonly CancelHandle handle;

        internal Cancel(CancelHandle handle)
        {
            this.handle = handle;
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Trigger()
        {
            Calls.Check(Native.detailflow_cancel_trigger(handle, IntPtr.Zero));
        }

        public void Dispose()
        {
            handle.Dispose();
        }
    }
}
