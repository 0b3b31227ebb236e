// Functions of detailflow.h: workers and their events. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    static partial class Native
    {
        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_options_new(out WorkerOptionsHandle options, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_options_set_threads(WorkerOptionsHandle options, uint threads);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_options_set_batch_size(
            WorkerOptionsHandle options, uint batch_size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_options_set_batch_bytes(
            WorkerOptionsHandle options, ulong bytes);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_options_set_event_bytes(
            WorkerOptionsHandle options, ulong bytes);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_options_set_order(WorkerOptionsHandle options, uint order);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_worker_options_free(IntPtr options);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_new(
            WorkerOptionsHandle options, out WorkerHandle worker, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_worker_free(IntPtr worker);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_close(WorkerHandle worker, ulong timeout_ns);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_submit_with(
            WorkerHandle worker, RequestHandle request, SubmitOptionsHandle options, out ulong job);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_submit_generation(
            WorkerHandle worker, IntPtr generation, ulong user, uint flags, out ulong job);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_poll(WorkerHandle worker, out IntPtr taken);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_wait(
            WorkerHandle worker, ulong timeout_ns, out IntPtr taken);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_cancel(WorkerHandle worker, ulong job);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_cancel_all(WorkerHandle worker);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_get_pending(WorkerHandle worker, out UIntPtr job_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_tick(
            WorkerHandle worker, ulong budget_ns, ref detailflow_tick_report report);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_set_priority(WorkerHandle worker, ulong job, float priority);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_pause(WorkerHandle worker, ulong job);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_resume(WorkerHandle worker, ulong job);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_worker_continue(WorkerHandle worker, ulong job, uint level_size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_submit_options_new(out SubmitOptionsHandle options, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_submit_options_set_user(SubmitOptionsHandle options, ulong user);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_submit_options_set_flags(SubmitOptionsHandle options, uint flags);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_submit_options_set_priority(
            SubmitOptionsHandle options, float priority);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_submit_options_free(IntPtr options);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_event_get_info(
            EventHandle taken, ref detailflow_event_info info, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_event_get_tokens(
            EventHandle taken, uint image_index, uint[] tokens, UIntPtr capacity, out UIntPtr count, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_event_decode_level(
            EventHandle taken, uint image_index, ref detailflow_image target, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_event_get_job_message(
            EventHandle taken, byte[] buffer, UIntPtr capacity, out UIntPtr length, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_event_free(IntPtr taken);
    }
}
