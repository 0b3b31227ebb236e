# SPDX-License-Identifier: MIT OR Apache-2.0
"""The functions of detailflow.h that this package calls. tests/test_header.py compares them with the header."""

import ctypes
from ctypes import c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

# A handle, memory, a callback, a struct that may be NULL.
P = c_void_p
# A string.
S = c_char_p
U32, U64, SIZE, F32 = c_uint32, c_uint64, c_size_t, c_float
# Outputs.
PP = ctypes.POINTER(c_void_p)
TO_S = ctypes.POINTER(c_char_p)
TO_U32 = ctypes.POINTER(c_uint32)
TO_U64 = ctypes.POINTER(c_uint64)
TO_SIZE = ctypes.POINTER(c_size_t)
TO_F32 = ctypes.POINTER(c_float)

# Parameters; all return a status.
CALLS: dict[str, tuple[Any, ...]] = {
    "runtime_options_new": (PP, P),
    "runtime_options_set_library": (P, S),
    "runtime_init": (P, P),
    "model_options_new": (PP, P),
    "model_options_set_device": (P, S),
    "model_options_set_device_option": (P, S, S),
    "model_options_set_allow_fallback": (P, U32),
    "model_options_set_spinning": (P, U32),
    "model_options_set_threads": (P, U32),
    "model_options_set_precision": (P, S),
    "model_options_set_form": (P, S),
    "model_options_set_cancel": (P, P),
    "model_options_set_weights_in_memory": (P, U32),
    "model_options_set_encoder": (P, U32),
    "cancel_new": (PP, P),
    "cancel_trigger": (P, P),
    "device_list_new": (PP, P),
    "device_list_get_count": (P, TO_SIZE, P),
    "device_list_get_info": (P, SIZE, P, P),
    "device_list_get_metadata": (P, SIZE, SIZE, TO_S, TO_S, P),
    "image_save": (P, S, P),
    "image_encode": (P, U32, P, SIZE, TO_SIZE, P),
    "model_open": (S, P, PP, P),
    "model_open_memory": (P, SIZE, P, P, P, PP, P),
    "model_open_reader": (P, P, PP, P),
    "model_get_info": (P, P),
    "model_get_report": (P, P, SIZE, TO_SIZE),
    "model_get_class_name": (P, U32, TO_S),
    "model_find_class": (P, S, TO_U32),
    "model_get_level": (P, U32, P),
    "model_find_level": (P, U32, P),
    "model_get_prefix_size": (P, SIZE, TO_U32),
    "model_encode_with_effort": (P, P, U32, P, P, SIZE, TO_SIZE),
    "model_encode_file_with_effort": (P, S, U32, P, P, SIZE, TO_SIZE),
    "model_encode_data": (P, P, SIZE, P, SIZE, TO_SIZE),
    "model_decode": (P, P, SIZE, U32, P),
    "model_decode_mips": (P, P, SIZE, U32, P, SIZE),
    "model_score": (P, U32, P, SIZE, P, SIZE, TO_SIZE),
    "model_calibrate": (P, P, SIZE),
    "model_predict_decode": (P, SIZE, TO_U64),
    "bundle_pack": (S, S, P),
    "request_new": (P, PP),
    "request_set_image_count": (P, U32),
    "request_set_class": (P, U32),
    "request_set_seed": (P, U64),
    "request_set_image_source": (P, U32, U32, U64),
    "request_set_guidance": (P, F32),
    "request_set_gradual_guidance": (P, U32),
    "request_set_temperature": (P, F32),
    "request_set_top_k": (P, U32),
    "request_set_top_p": (P, F32),
    "request_set_guidance_curve": (P, P, P, SIZE),
    "request_set_temperature_curve": (P, P, P, SIZE),
    "request_set_top_k_curve": (P, P, P, SIZE),
    "request_set_top_p_curve": (P, P, P, SIZE),
    "request_set_log_probabilities": (P, U32),
    "request_set_prefix": (P, P, SIZE, U32),
    "request_set_prefix_picture": (P, P, U32),
    "request_set_level_size": (P, U32),
    "request_get_cost": (P, P),
    "generation_new": (P, PP),
    "generation_step": (P, P),
    "generation_advance": (P, U64, P),
    "generation_advance_to_level": (P, U32, P),
    "generation_get_progress": (P, P),
    "generation_get_tokens": (P, U32, P, SIZE, TO_SIZE),
    "generation_decode": (P, U32, P),
    "generation_decode_level": (P, U32, P),
    "generation_save": (P, U32, S),
    "generation_get_image_source": (P, U32, TO_U32, TO_U64),
    "generation_get_log_probabilities": (P, U32, P, SIZE, TO_SIZE),
    "generation_get_mean_log_probability": (P, U32, TO_F32),
    "generation_get_cancel": (P, PP),
    "generation_fork": (P, P, SIZE, PP),
    "generation_retain_images": (P, P, SIZE),
    "generation_set_level_size": (P, U32),
    "worker_options_new": (PP, P),
    "worker_options_set_threads": (P, U32),
    "worker_options_set_batch_size": (P, U32),
    "worker_options_set_batch_bytes": (P, U64),
    "worker_options_set_event_bytes": (P, U64),
    "worker_options_set_order": (P, U32),
    "worker_new": (P, PP, P),
    "worker_close": (P, U64),
    "worker_submit_with": (P, P, P, TO_U64),
    "worker_submit_generation": (P, P, U64, U32, TO_U64),
    "worker_poll": (P, PP),
    "worker_wait": (P, U64, PP),
    "worker_cancel": (P, U64),
    "worker_cancel_all": (P,),
    "worker_get_pending": (P, TO_SIZE),
    "worker_tick": (P, U64, P),
    "worker_set_priority": (P, U64, F32),
    "worker_pause": (P, U64),
    "worker_resume": (P, U64),
    "worker_continue": (P, U64, U32),
    "submit_options_new": (PP, P),
    "submit_options_set_user": (P, U64),
    "submit_options_set_flags": (P, U32),
    "submit_options_set_priority": (P, F32),
    "submit_options_set_target": (P, U32, P, SIZE),
    "event_get_info": (P, P, P),
    "event_get_tokens": (P, U32, P, SIZE, TO_SIZE, P),
    "event_decode_level": (P, U32, P, P),
    "event_get_job_message": (P, P, SIZE, TO_SIZE, P),
    "dft_encode": (P, P, SIZE, U32, P, P, SIZE, TO_SIZE),
    "dft_get_info": (P, SIZE, P, P),
    "dft_get_tokens": (P, SIZE, P, SIZE, TO_SIZE, P),
    "dft_check": (P, P, SIZE),
    "tokens_get_kind": (P, SIZE, TO_U32, P),
    "pack_open": (S, PP, P),
    "pack_get_count": (P, TO_U32),
    "pack_find_entry": (P, S, TO_U32),
    "pack_get_entry_name": (P, U32, P, SIZE, TO_SIZE),
    "pack_get_entry": (P, U32, P, SIZE, TO_SIZE),
    "pack_writer_new": (S, PP, P),
    "pack_writer_add": (P, S, P, SIZE, TO_U32),
    "pack_writer_finish": (P,),
}

# Take a handle and return nothing.
FREES = [
    "runtime_options_free",
    "model_options_free",
    "cancel_free",
    "device_list_free",
    "model_free",
    "request_free",
    "generation_free",
    "worker_options_free",
    "worker_free",
    "submit_options_free",
    "event_free",
    "pack_free",
    "pack_writer_free",
]


def declare(library: ctypes.CDLL) -> None:
    """Gives each function its type."""
    for name, parameters in CALLS.items():
        function = getattr(library, "detailflow_" + name)
        function.argtypes, function.restype = parameters, c_int32
    for name in FREES:
        function = getattr(library, "detailflow_" + name)
        function.argtypes, function.restype = (P,), None
    library.detailflow_last_message.argtypes, library.detailflow_last_message.restype = (), c_char_p
