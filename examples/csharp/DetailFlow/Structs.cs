// Structs of the C API, field by field; the tests compare their sizes and offsets with those of a C compiler.
// SPDX-License-Identifier: MIT OR Apache-2.0
using System;
using System.Runtime.InteropServices;

namespace DetailFlow
{
    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_image
    {
        internal uint struct_size;
        internal uint format;
        internal uint width;
        internal uint height;
        internal UIntPtr stride;
        internal IntPtr pixels;
        internal UIntPtr capacity;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_reader
    {
        internal uint struct_size;
        internal uint reserved;
        internal ulong size;
        internal IntPtr read_at;
        internal IntPtr user;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_model_info
    {
        internal uint struct_size;
        internal uint image_size;
        internal uint channels;
        internal uint token_count;
        internal uint group_size;
        internal uint causal_count;
        internal uint codebook_size;
        internal uint bits_per_token;
        internal uint class_count;
        internal uint level_count;
        internal float guidance;
        internal float temperature;
        internal float top_p;
        internal uint top_k;
        internal uint gradual_guidance;
        internal uint can_generate;
        internal uint can_encode;
        internal uint reserved;
        internal IntPtr name;
        internal IntPtr license;
        internal IntPtr tokenizer_id;
        internal IntPtr precision;
        internal IntPtr form;
        internal IntPtr device;
        internal IntPtr path;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_level
    {
        internal uint struct_size;
        internal uint level_size;
        internal uint token_count;
        internal uint reserved;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_progress
    {
        internal uint struct_size;
        internal uint steps_done;
        internal uint steps_left;
        internal uint token_count;
        internal uint prefix_size;
        internal uint level_size;
        internal uint image_count;
        internal uint level_token_count;
        internal ulong next_step_ns;
        internal ulong next_decode_ns;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_tick_report
    {
        internal uint struct_size;
        internal uint unit_count;
        internal uint step_count;
        internal uint decode_count;
        internal uint image_count;
        internal uint more;
        internal ulong time_ns;
        internal ulong longest_unit_ns;
        internal ulong next_unit_ns;
        internal ulong ready_count;
        internal ulong parked_count;
    }

    [StructLayout(LayoutKind.Sequential)]
    struct detailflow_event_info
    {
        internal uint struct_size;
        internal uint kind;
        internal ulong job;
        internal ulong user;
        internal int status;
        internal uint image_count;
        internal uint token_count;
        internal uint level_size;
        internal uint level_token_count;
        internal uint steps_done;
        internal uint steps_left;
        internal uint decoded;
    }

    [StructLayout(LayoutKind.Sequential)]
    unsafe struct detailflow_dft_info
    {
        internal uint struct_size;
        internal uint damage;
        internal uint intact_count;
        internal uint written_count;
        internal uint token_count;
        internal uint group_size;
        internal uint causal_count;
        internal uint bits_per_token;
        internal uint class_index;
        internal uint has_seed;
        internal ulong seed;
        internal fixed byte tokenizer_id[24];
    }
}
