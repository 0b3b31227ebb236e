// Owners of the handles of the C API. A SafeHandle is freed once, by Dispose or by the garbage collector, and not while a
// call uses it; a call with a disposed one throws ObjectDisposedException. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    abstract class Handle : SafeHandle
    {
        protected Handle() : base(IntPtr.Zero, true)
        {
        }

        public override bool IsInvalid
        {
            get { return handle == IntPtr.Zero; }
        }
    }

    sealed class ModelOptionsHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_model_options_free(handle);
            return true;
        }
    }

    sealed class ModelHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_model_free(handle);
            return true;
        }
    }

    sealed class RequestHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_request_free(handle);
            return true;
        }
    }

    sealed class GenerationHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_generation_free(handle);
            return true;
        }
    }

    sealed class CancelHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_cancel_free(handle);
            return true;
        }
    }

    sealed class WorkerOptionsHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_worker_options_free(handle);
            return true;
        }
    }

    sealed class SubmitOptionsHandle : Handle
    {
        protected override bool ReleaseHandle()
        {
            Native.detailflow_submit_options_free(handle);
            return true;
        }
    }

    sealed class EventHandle : Handle
    {
        internal EventHandle(IntPtr taken)
        {
            SetHandle(taken);
        }

        protected override bool ReleaseHandle()
        {
            Native.detailflow_event_free(handle);
            return true;
        }
    }

    /// <summary>Workers that are open are closed before the runtime ends: their jobs stop while it works.</summary>
    sealed class WorkerHandle : Handle
    {
        static readonly HashSet<WeakReference> Open = new HashSet<WeakReference>();
        static bool ending;
        WeakReference self;

        static WorkerHandle()
        {
            AppDomain.CurrentDomain.ProcessExit += delegate { CloseAll(); };
            // Of a domain that ends before the process: the Unity editor reloads it after each change of a script.
            AppDomain.CurrentDomain.DomainUnload += delegate { CloseAll(); };
        }

        /// <summary>Called once, when the handle is valid.</summary>
        internal void Register()
        {
            bool late;
            lock (Open)
            {
                self = new WeakReference(this, true);
                Open.Add(self);
                late = ending;
            }
            if (late)
            {
                Native.detailflow_worker_close(this, 0);
            }
        }

        static void CloseAll()
        {
            WeakReference[] all;
            lock (Open)
            {
                ending = true;
                all = new WeakReference[Open.Count];
                Open.CopyTo(all);
            }
            foreach (var one in all)
            {
                var worker = one.Target as WorkerHandle;
                try
                {
                    if (worker != null)
                    {
                        Native.detailflow_worker_close(worker, 0);
                    }
                }
                catch (ObjectDisposedException)
                {
                    // It was freed meanwhile.
                }
            }
        }

        protected override bool ReleaseHandle()
        {
            lock (Open)
            {
                Open.Remove(self);
            }
            Native.detailflow_worker_free(handle);
            return true;
        }
    }
}
