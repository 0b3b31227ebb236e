// A worker: jobs in the background, or within a budget of each frame. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    /// <summary>detailflow_worker_order.</summary>
    public enum WorkerOrder
    {
        Default = 0,
        CoarseFirst = 1,
        PriorityFirst = 2,
    }

    /// <summary>detailflow_submit_flag.</summary>
    [Flags]
    public enum SubmitFlags
    {
        None = 0,
        Decode = 1,
        LastOnly = 2,
        Hold = 4,
    }

    /// <summary>Options of a worker; null takes the default of each.</summary>
    public sealed class WorkerOptions
    {
        /// <summary>0: the worker works within Tick.</summary>
        public int? Threads { get; set; }

        public int? BatchSize { get; set; }
        public ulong? BatchBytes { get; set; }
        public ulong? EventBytes { get; set; }
        public WorkerOrder? Order { get; set; }

        internal WorkerOptionsHandle ToNative()
        {
            WorkerOptionsHandle options;
            Calls.Check(Native.detailflow_worker_options_new(out options, IntPtr.Zero));
            try
            {
                if (Threads.HasValue)
                {
                    Calls.Check(Native.detailflow_worker_options_set_threads(
                        options, Calls.Unsigned(Threads.Value, "Threads")));
                }
                if (BatchSize.HasValue)
                {
                    Calls.Check(Native.detailflow_worker_options_set_batch_size(
                        options, Calls.Unsigned(BatchSize.Value, "BatchSize")));
                }
                if (BatchBytes.HasValue)
                {
                    Calls.Check(Native.detailflow_worker_options_set_batch_bytes(options, BatchBytes.Value));
                }
                if (EventBytes.HasValue)
                {
                    Calls.Check(Native.detailflow_worker_options_set_event_bytes(options, EventBytes.Value));
                }
                if (Order.HasValue)
                {
                    Calls.Check(Native.detailflow_worker_options_set_order(options, (uint)Order.Value));
                }
                return options;
            }
            catch
            {
                options.Dispose();
                throw;
            }
        }
    }

    /// <summary>What a tick did: detailflow_tick_report.</summary>
    public struct TickReport
    {
        public int UnitCount;
        public int StepCount;
        public int DecodeCount;
        public int ImageCount;

        /// <summary>Another tick would find work to do.</summary>
        public bool More;

        public TimeSpan Time;
        public TimeSpan LongestUnit;
        public TimeSpan NextUnit;
        public ulong ReadyCount;
        public ulong ParkedCount;
    }

    /// <summary>
    /// A worker. All methods may be called by any threads. Its events are polled; there are no callbacks. Workers that are
    /// open when the process ends are closed then.
    /// </summary>
    public sealed class Worker : IDisposable
    {
        // A wait looks so often whether the worker was disposed of by another thread.
        static readonly TimeSpan Slice = TimeSpan.FromMilliseconds(50);
        readonly WorkerHandle handle;

        // The models of jobs whose last event was not taken yet: one that the collector frees would cancel its jobs.
        readonly Dictionary<ulong, Model> models = new Dictionary<ulong, Model>();

        public Worker(WorkerOptions options = null)
        {
            Library.Load();
            handle = Create(options ?? new WorkerOptions());
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        static WorkerHandle Create(WorkerOptions options)
        {
            using (var native = options.ToNative())
            {
                WorkerHandle worker;
                Calls.Check(Native.detailflow_worker_new(native, out worker, IntPtr.Zero));
                worker.Register();
                return worker;
            }
        }

        /// <summary>Cancels all jobs, and waits for the steps that run. Events that were not taken are dropped.</summary>
        public void Dispose()
        {
            try
            {
                // Stops the jobs also while another thread waits for an event, whose call holds the handle.
                Native.detailflow_worker_close(handle, 0);
            }
            catch (ObjectDisposedException)
            {
                return;
            }
            handle.Dispose();
            lock (models)
            {
                models.Clear();
            }
        }

        /// <summary>Cancels all jobs; their events can still be taken, and submitting is an error.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Close()
        {
            Calls.Check(Native.detailflow_worker_close(handle, 0));
        }

        /// <summary>Submits a request, which may be changed or disposed of afterwards. Returns the job's number.</summary>
        /// <param name="user">Each event of the job has it.</param>
        public ulong Submit(Request request, ulong user = 0, SubmitFlags flags = SubmitFlags.None, float priority = 0)
        {
            SubmitOptionsHandle options;
            ulong job;
            Calls.Check(Native.detailflow_submit_options_new(out options, IntPtr.Zero));
            using (options)
            {
                Calls.Check(Native.detailflow_submit_options_set_user(options, user));
                Calls.Check(Native.detailflow_submit_options_set_flags(options, (uint)flags));
                Calls.Check(Native.detailflow_submit_options_set_priority(options, priority));
                // Locked: its last event may be taken before this returns.
                lock (models)
                {
                    Calls.Check(Native.detailflow_worker_submit_with(handle, request.Handle, options, out job));
                    models.Add(job, request.Model);
                }
            }
            return job;
        }

        /// <summary>
        /// Submits a generation, started or not. Then it belongs to the worker and counts as disposed. Status.Busy while another
        /// thread uses it.
        /// </summary>
        public ulong Submit(Generation generation, ulong user = 0, SubmitFlags flags = SubmitFlags.None)
        {
            ulong job = 0;
            lock (models)
            {
                generation.Give(raw =>
                    Native.detailflow_worker_submit_generation(handle, raw, user, (uint)flags, out job));
                models.Add(job, generation.Model);
            }
            return job;
        }

        /// <summary>The next event; null when there is none.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public JobEvent Poll()
        {
            IntPtr taken;
            Calls.Check(Native.detailflow_worker_poll(handle, out taken));
            return Taken(taken);
        }

        /// <summary>
        /// Waits for the next event; null when none came in time. A negative timeout has no limit. Throws
        /// ObjectDisposedException when another thread disposes of the worker meanwhile.
        /// </summary>
        public JobEvent Wait(TimeSpan timeout)
        {
            var begun = System.Diagnostics.Stopwatch.StartNew();
            while (true)
            {
                var left = timeout < TimeSpan.Zero ? Slice : timeout - begun.Elapsed;
                if (left < TimeSpan.Zero)
                {
                    left = TimeSpan.Zero;
                }
                IntPtr taken;
                var part = Calls.Nanoseconds(left < Slice ? left : Slice);
                Calls.Check(Native.detailflow_worker_wait(handle, part, out taken));
                if (taken != IntPtr.Zero || left == TimeSpan.Zero)
                {
                    return Taken(taken);
                }
            }
        }

        JobEvent Taken(IntPtr taken)
        {
            var one = JobEvent.Of(taken);
            if (one != null && one.Kind != EventKind.Level)
            {
                lock (models)
                {
                    models.Remove(one.Job);
                }
            }
            return one;
        }

        /// <summary>Cancels a job; its last event follows.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Cancel(ulong job)
        {
            Calls.Check(Native.detailflow_worker_cancel(handle, job));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void CancelAll()
        {
            Calls.Check(Native.detailflow_worker_cancel_all(handle));
        }

        /// <summary>Jobs whose last event was not taken yet.</summary>
        public int Pending
        {
            [MethodImpl(MethodImplOptions.NoInlining)]
            get
            {
                UIntPtr count;
                Calls.Check(Native.detailflow_worker_get_pending(handle, out count));
                return checked((int)count);
            }
        }

        /// <summary>
        /// Works for about so long, on this thread: of a worker with 0 threads. A negative budget is 0: one unit.
        /// </summary>
        public TickReport Tick(TimeSpan budget)
        {
            var report = default(detailflow_tick_report);
            report.struct_size = (uint)Marshal.SizeOf(typeof(detailflow_tick_report));
            Calls.Check(Native.detailflow_worker_tick(handle, Calls.Nanoseconds(budget), ref report));
            return new TickReport
            {
                UnitCount = (int)report.unit_count,
                StepCount = (int)report.step_count,
                DecodeCount = (int)report.decode_count,
                ImageCount = (int)report.image_count,
                More = report.more != 0,
                Time = TimeSpan.FromTicks((long)(report.time_ns / 100)),
                LongestUnit = TimeSpan.FromTicks((long)(report.longest_unit_ns / 100)),
                NextUnit = TimeSpan.FromTicks((long)(report.next_unit_ns / 100)),
                ReadyCount = report.ready_count,
                ParkedCount = report.parked_count,
            };
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void SetPriority(ulong job, float priority)
        {
            Calls.Check(Native.detailflow_worker_set_priority(handle, job, priority));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Pause(ulong job)
        {
            Calls.Check(Native.detailflow_worker_pause(handle, job));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Resume(ulong job)
        {
            Calls.Check(Native.detailflow_worker_resume(handle, job));
        }

        /// <summary>Changes the level at which a job ends or is held, and lets a held one go on; 0 is the finest.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Continue(ulong job, int levelSize = 0)
        {
            Calls.Check(Native.detailflow_worker_continue(handle, job, Calls.Unsigned(levelSize, "levelSize")));
        }
    }
}
