// Functions of detailflow.h: requests and generations. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    static partial class Native
    {
        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_new(ModelHandle model, out RequestHandle request);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_request_free(IntPtr request);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_image_count(RequestHandle request, uint image_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_class(RequestHandle request, uint class_index);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_seed(RequestHandle request, ulong seed);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_image_source(
            RequestHandle request, uint image_index, uint class_index, ulong seed);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_guidance(RequestHandle request, float scale);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_gradual_guidance(RequestHandle request, uint gradual);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_temperature(RequestHandle request, float temperature);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_top_k(RequestHandle request, uint top_k);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_top_p(RequestHandle request, float top_p);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_guidance_curve(
            RequestHandle request, uint[] token_indices, float[] values, UIntPtr point_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_temperature_curve(
            RequestHandle request, uint[] token_indices, float[] values, UIntPtr point_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_top_k_curve(
            RequestHandle request, uint[] token_indices, float[] values, UIntPtr point_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_top_p_curve(
            RequestHandle request, uint[] token_indices, float[] values, UIntPtr point_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_log_probabilities(RequestHandle request, uint record);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_prefix(
            RequestHandle request, uint[] tokens, UIntPtr token_count, uint level_size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_image_prefix(
            RequestHandle request, uint image_index, uint[] tokens, UIntPtr token_count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_request_set_level_size(RequestHandle request, uint level_size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_new(RequestHandle request, out GenerationHandle generation);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_generation_free(IntPtr generation);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_step(
            GenerationHandle generation, ref detailflow_progress progress);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_advance(
            GenerationHandle generation, ulong budget_ns, ref detailflow_progress progress);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_advance_to_level(
            GenerationHandle generation, uint level_size, ref detailflow_progress progress);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_finish(
            GenerationHandle generation, ref detailflow_progress progress);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_get_progress(
            GenerationHandle generation, ref detailflow_progress progress);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_get_tokens(
            GenerationHandle generation, uint image_index, uint[] tokens, UIntPtr capacity, out UIntPtr count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_decode(
            GenerationHandle generation, uint image_index, ref detailflow_image target);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_decode_level(
            GenerationHandle generation, uint image_index, ref detailflow_image target);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_save(
            GenerationHandle generation, uint image_index, byte[] path);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_get_image_source(
            GenerationHandle generation, uint image_index, out uint class_index, out ulong seed);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_get_log_probabilities(
            GenerationHandle generation, uint image_index, float[] values, UIntPtr capacity, out UIntPtr count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_get_cancel(
            GenerationHandle generation, out CancelHandle cancel);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_fork(
            GenerationHandle generation, ulong[] seeds, UIntPtr seed_count, out GenerationHandle fork);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_generation_set_level_size(
            GenerationHandle generation, uint level_size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_vary(
            RequestHandle request, uint[] tokens, UIntPtr token_count, uint level_size,
            out GenerationHandle generation);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_redetail(
            RequestHandle request, ref detailflow_image picture, uint level_size, out GenerationHandle generation);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_redetail_file(
            RequestHandle request, byte[] path, uint level_size, out GenerationHandle generation);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_cancel_trigger(CancelHandle cancel, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_cancel_free(IntPtr cancel);
    }
}
