// Functions of detailflow.h: models, their options, token files and images. SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    static partial class Native
    {
        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr detailflow_version();

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern uint detailflow_abi_version();

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr detailflow_status_name(int status);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr detailflow_last_message();

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_new(out ModelOptionsHandle options, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_device(ModelOptionsHandle options, byte[] device);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_device_option(
            ModelOptionsHandle options, byte[] key, byte[] value);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_allow_fallback(
            ModelOptionsHandle options, uint allow);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_spinning(ModelOptionsHandle options, uint spinning);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_threads(ModelOptionsHandle options, uint threads);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_precision(
            ModelOptionsHandle options, byte[] precision);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_form(ModelOptionsHandle options, byte[] form);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_weights_in_memory(
            ModelOptionsHandle options, uint in_memory);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_options_set_encoder(ModelOptionsHandle options, uint encoder);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_model_options_free(IntPtr options);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_open(
            byte[] path, ModelOptionsHandle options, out ModelHandle model, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_open_reader(
            ref detailflow_reader reader, ModelOptionsHandle options, out ModelHandle model, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void detailflow_model_free(IntPtr model);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_get_info(ModelHandle model, ref detailflow_model_info info);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_get_report(
            ModelHandle model, byte[] buffer, UIntPtr capacity, out UIntPtr length);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_get_class_name(
            ModelHandle model, uint class_index, out IntPtr name);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_find_class(ModelHandle model, byte[] name, out uint class_index);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_get_level(
            ModelHandle model, uint level_index, ref detailflow_level level);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_get_prefix_size(
            ModelHandle model, UIntPtr token_count, out uint prefix_size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_encode(
            ModelHandle model, ref detailflow_image picture, uint[] tokens, UIntPtr capacity, out UIntPtr count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_encode_file(
            ModelHandle model, byte[] path, uint[] tokens, UIntPtr capacity, out UIntPtr count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_encode_data(
            ModelHandle model, byte[] data, UIntPtr size, uint[] tokens, UIntPtr capacity, out UIntPtr count);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_model_decode(
            ModelHandle model, uint[] tokens, UIntPtr token_count, uint level_size, ref detailflow_image target);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_image_save(ref detailflow_image image, byte[] path, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_image_encode(
            ref detailflow_image image, uint file_format, byte[] data, UIntPtr capacity, out UIntPtr size,
            IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_dft_encode(
            ModelHandle model, uint[] tokens, UIntPtr token_count, uint class_index, ulong[] seed, byte[] data,
            UIntPtr capacity, out UIntPtr size);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_dft_get_info(
            byte[] data, UIntPtr size, ref detailflow_dft_info info, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_dft_get_tokens(
            byte[] data, UIntPtr size, uint[] tokens, UIntPtr capacity, out UIntPtr count, IntPtr error);

        [DllImport(Library.Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status detailflow_dft_check(ModelHandle model, byte[] data, UIntPtr size);
    }
}
