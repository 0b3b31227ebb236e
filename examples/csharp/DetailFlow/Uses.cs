// Calls that use a handle which can be given away. SPDX-License-Identifier: MIT OR Apache-2.0
using System;

namespace DetailFlow
{
    /// <summary>
    /// Counts the calls that use a generation. A SafeHandle keeps a handle from being freed during a call, but not from being
    /// given to a worker, which frees it.
    /// </summary>
    sealed class Uses
    {
        readonly object gate = new object();
        int count;
        bool given;

        internal struct Use : IDisposable
        {
            readonly Uses uses;

            internal Use(Uses uses)
            {
                this.uses = uses;
            }

            public void Dispose()
            {
                lock (uses.gate)
                {
                    uses.count--;
                }
            }
        }

        /// <summary>Disposed of at the end of the call.</summary>
        internal Use Enter()
        {
            lock (gate)
            {
                CheckOpen();
                count++;
                return new Use(this);
            }
        }

        /// <summary>From here on nobody gets into a call; nobody may be inside one.</summary>
        internal void BeginGiving()
        {
            lock (gate)
            {
                CheckOpen();
                if (count > 0)
                {
                    throw new DetailFlowException(
                        Status.Busy, "DETAILFLOW_STATUS_BUSY", "another thread uses the generation");
                }
                given = true;
            }
        }

        internal void UndoGiving()
        {
            lock (gate)
            {
                given = false;
            }
        }

        void CheckOpen()
        {
            if (given)
            {
                throw new ObjectDisposedException("Generation");
            }
        }
    }
}
