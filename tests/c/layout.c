/* Every number and every layout of the header, pinned: sizes and places on 64-bit systems, values everywhere. C11. */
#include <detailflow.h>

#define PIN(constant, value) _Static_assert((constant) == (value), #constant " never changes")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "the size of " #type " never changes")
#define PLACE(type, member, at)                                                                                        \
    _Static_assert(offsetof(type, member) == (at), "the place of " #type "." #member " never changes")

PIN(DETAILFLOW_ABI_VERSION, 1); /* Increases with every addition: the one number here that may change. */
PIN(DETAILFLOW_VERSION_NUMBER,
    DETAILFLOW_VERSION_MAJOR * 10000 + DETAILFLOW_VERSION_MINOR * 100 + DETAILFLOW_VERSION_PATCH);

PIN(DETAILFLOW_STATUS_OK, 0);
PIN(DETAILFLOW_STATUS_INVALID_ARGUMENT, 1);
PIN(DETAILFLOW_STATUS_NOT_FOUND, 2);
PIN(DETAILFLOW_STATUS_BAD_BUNDLE, 3);
PIN(DETAILFLOW_STATUS_NO_RUNTIME, 4);
PIN(DETAILFLOW_STATUS_NO_DEVICE, 5);
PIN(DETAILFLOW_STATUS_OUT_OF_MEMORY, 6);
PIN(DETAILFLOW_STATUS_IO, 7);
PIN(DETAILFLOW_STATUS_BAD_FORMAT, 8);
PIN(DETAILFLOW_STATUS_CANCELLED, 9);
PIN(DETAILFLOW_STATUS_WRONG_STATE, 10);
PIN(DETAILFLOW_STATUS_BUSY, 11);
PIN(DETAILFLOW_STATUS_FAILED, 12);
PIN(DETAILFLOW_STATUS_INTERNAL, 13);

PIN(DETAILFLOW_SEVERITY_ERROR, 1);
PIN(DETAILFLOW_SEVERITY_WARNING, 2);
PIN(DETAILFLOW_SEVERITY_INFO, 3);
PIN(DETAILFLOW_SEVERITY_DEBUG, 4);

PIN(DETAILFLOW_FORMAT_RGB8, 1);
PIN(DETAILFLOW_FORMAT_RGBA8, 2);
PIN(DETAILFLOW_FORMAT_RGBA32F, 3);

PIN(DETAILFLOW_DEVICE_KIND_CPU, 1);
PIN(DETAILFLOW_DEVICE_KIND_GPU, 2);
PIN(DETAILFLOW_DEVICE_KIND_NPU, 3);

PIN(DETAILFLOW_SPINNING_DEFAULT, 0);
PIN(DETAILFLOW_SPINNING_NEVER, 1);
PIN(DETAILFLOW_SPINNING_RUNS, 2);

PIN(DETAILFLOW_MIPS_SOURCE_DEFAULT, 0);
PIN(DETAILFLOW_MIPS_SOURCE_LEVELS, 1);
PIN(DETAILFLOW_MIPS_SOURCE_FINEST, 2);

PIN(DETAILFLOW_FILE_FORMAT_PNG, 1);
PIN(DETAILFLOW_FILE_FORMAT_JPEG, 2);
PIN(DETAILFLOW_FILE_FORMAT_WEBP, 3);
PIN(DETAILFLOW_FILE_FORMAT_BMP, 4);
PIN(DETAILFLOW_FILE_FORMAT_TGA, 5);
PIN(DETAILFLOW_FILE_FORMAT_TIFF, 6);
PIN(DETAILFLOW_FILE_FORMAT_QOI, 7);

PIN(DETAILFLOW_TOKENS_KIND_NONE, 0);
PIN(DETAILFLOW_TOKENS_KIND_DFT, 1);
PIN(DETAILFLOW_TOKENS_KIND_PACK, 2);
PIN(DETAILFLOW_TOKENS_KIND_JSON, 3);

PIN(DETAILFLOW_SUBMIT_FLAG_DECODE, 1);
PIN(DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, 2);
PIN(DETAILFLOW_EVENT_KIND_LEVEL, 1);
PIN(DETAILFLOW_EVENT_KIND_DONE, 2);
PIN(DETAILFLOW_EVENT_KIND_CANCELLED, 3);
PIN(DETAILFLOW_EVENT_KIND_FAILED, 4);
PIN(DETAILFLOW_SUBMIT_FLAG_HOLD, 4);
PIN(DETAILFLOW_WORKER_ORDER_DEFAULT, 0);
PIN(DETAILFLOW_WORKER_ORDER_COARSE_FIRST, 1);
PIN(DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST, 2);

SIZE(detailflow_status, 4);

SIZE(detailflow_error, 1024);
PLACE(detailflow_error, struct_size, 0);
PLACE(detailflow_error, status, 4);
PLACE(detailflow_error, message, 8);

#if UINTPTR_MAX == UINT64_MAX

SIZE(detailflow_image, 40);
PLACE(detailflow_image, struct_size, 0);
PLACE(detailflow_image, format, 4);
PLACE(detailflow_image, width, 8);
PLACE(detailflow_image, height, 12);
PLACE(detailflow_image, stride, 16);
PLACE(detailflow_image, pixels, 24);
PLACE(detailflow_image, capacity, 32);

SIZE(detailflow_device_info, 56);
PLACE(detailflow_device_info, struct_size, 0);
PLACE(detailflow_device_info, kind, 4);
PLACE(detailflow_device_info, vendor_id, 8);
PLACE(detailflow_device_info, device_id, 12);
PLACE(detailflow_device_info, metadata_count, 16);
PLACE(detailflow_device_info, reserved, 20);
PLACE(detailflow_device_info, device, 24);
PLACE(detailflow_device_info, vendor, 32);
PLACE(detailflow_device_info, name, 40);
PLACE(detailflow_device_info, provider, 48);

SIZE(detailflow_sprite, 40);
PLACE(detailflow_sprite, struct_size, 0);
PLACE(detailflow_sprite, x, 4);
PLACE(detailflow_sprite, y, 8);
PLACE(detailflow_sprite, level_size, 12);
PLACE(detailflow_sprite, factor, 16);
PLACE(detailflow_sprite, reserved, 20);
PLACE(detailflow_sprite, tokens, 24);
PLACE(detailflow_sprite, token_count, 32);

SIZE(detailflow_finish, 48);
PLACE(detailflow_finish, struct_size, 0);
PLACE(detailflow_finish, alpha_cut, 4);
PLACE(detailflow_finish, colors, 8);
PLACE(detailflow_finish, dither, 12);
PLACE(detailflow_finish, despeckle, 16);
PLACE(detailflow_finish, has_outline, 20);
PLACE(detailflow_finish, outline, 24);
PLACE(detailflow_finish, tile, 28);
PLACE(detailflow_finish, palette, 32);
PLACE(detailflow_finish, palette_count, 40);

SIZE(detailflow_model_info, 128);
PLACE(detailflow_model_info, struct_size, 0);
PLACE(detailflow_model_info, image_size, 4);
PLACE(detailflow_model_info, channels, 8);
PLACE(detailflow_model_info, token_count, 12);
PLACE(detailflow_model_info, group_size, 16);
PLACE(detailflow_model_info, causal_count, 20);
PLACE(detailflow_model_info, codebook_size, 24);
PLACE(detailflow_model_info, bits_per_token, 28);
PLACE(detailflow_model_info, class_count, 32);
PLACE(detailflow_model_info, level_count, 36);
PLACE(detailflow_model_info, guidance, 40);
PLACE(detailflow_model_info, temperature, 44);
PLACE(detailflow_model_info, top_p, 48);
PLACE(detailflow_model_info, top_k, 52);
PLACE(detailflow_model_info, gradual_guidance, 56);
PLACE(detailflow_model_info, can_generate, 60);
PLACE(detailflow_model_info, can_encode, 64);
PLACE(detailflow_model_info, reserved, 68);
PLACE(detailflow_model_info, name, 72);
PLACE(detailflow_model_info, license, 80);
PLACE(detailflow_model_info, tokenizer_id, 88);
PLACE(detailflow_model_info, precision, 96);
PLACE(detailflow_model_info, form, 104);
PLACE(detailflow_model_info, device, 112);
PLACE(detailflow_model_info, path, 120);

#endif

SIZE(detailflow_level, 16);
PLACE(detailflow_level, struct_size, 0);
PLACE(detailflow_level, level_size, 4);
PLACE(detailflow_level, token_count, 8);
PLACE(detailflow_level, reserved, 12);

SIZE(detailflow_progress, 48);
PLACE(detailflow_progress, struct_size, 0);
PLACE(detailflow_progress, steps_done, 4);
PLACE(detailflow_progress, steps_left, 8);
PLACE(detailflow_progress, token_count, 12);
PLACE(detailflow_progress, prefix_size, 16);
PLACE(detailflow_progress, level_size, 20);
PLACE(detailflow_progress, image_count, 24);
PLACE(detailflow_progress, level_token_count, 28);
PLACE(detailflow_progress, next_step_ns, 32);
PLACE(detailflow_progress, next_decode_ns, 40);

SIZE(detailflow_candidate, 48);
PLACE(detailflow_candidate, struct_size, 0);
PLACE(detailflow_candidate, image_index, 4);
PLACE(detailflow_candidate, class_index, 8);
PLACE(detailflow_candidate, level_size, 12);
PLACE(detailflow_candidate, seed, 16);
PLACE(detailflow_candidate, tokens, 24);
PLACE(detailflow_candidate, token_count, 32);
PLACE(detailflow_candidate, pixels, 40);

SIZE(detailflow_cost, 40);
PLACE(detailflow_cost, struct_size, 0);
PLACE(detailflow_cost, step_count, 4);
PLACE(detailflow_cost, multiply_adds, 8);
PLACE(detailflow_cost, kv_cache_bytes, 16);
PLACE(detailflow_cost, output_bytes, 24);
PLACE(detailflow_cost, time_ns, 32);

SIZE(detailflow_step_cost, 24);
PLACE(detailflow_step_cost, struct_size, 0);
PLACE(detailflow_step_cost, batch_rows, 4);
PLACE(detailflow_step_cost, query_length, 8);
PLACE(detailflow_step_cost, step_count, 12);
PLACE(detailflow_step_cost, time_ns, 16);

SIZE(detailflow_level_cost, 24);
PLACE(detailflow_level_cost, struct_size, 0);
PLACE(detailflow_level_cost, level_size, 4);
PLACE(detailflow_level_cost, token_count, 8);
PLACE(detailflow_level_cost, step_count, 12);
PLACE(detailflow_level_cost, time_ns, 16);

PIN(DETAILFLOW_NO_CLASS, UINT32_MAX);
PIN(DETAILFLOW_DAMAGE_NONE, 0);
PIN(DETAILFLOW_DAMAGE_CUT, 1);
PIN(DETAILFLOW_DAMAGE_GROUP, 2);
PIN(DETAILFLOW_DAMAGE_SURPLUS, 3);

SIZE(detailflow_dft_info, 72);
PLACE(detailflow_dft_info, struct_size, 0);
PLACE(detailflow_dft_info, damage, 4);
PLACE(detailflow_dft_info, intact_count, 8);
PLACE(detailflow_dft_info, written_count, 12);
PLACE(detailflow_dft_info, token_count, 16);
PLACE(detailflow_dft_info, group_size, 20);
PLACE(detailflow_dft_info, causal_count, 24);
PLACE(detailflow_dft_info, bits_per_token, 28);
PLACE(detailflow_dft_info, class_index, 32);
PLACE(detailflow_dft_info, has_seed, 36);
PLACE(detailflow_dft_info, seed, 40);
PLACE(detailflow_dft_info, tokenizer_id, 48);

SIZE(detailflow_event_info, 56);
PLACE(detailflow_event_info, struct_size, 0);
PLACE(detailflow_event_info, kind, 4);
PLACE(detailflow_event_info, job, 8);
PLACE(detailflow_event_info, user, 16);
PLACE(detailflow_event_info, status, 24);
PLACE(detailflow_event_info, image_count, 28);
PLACE(detailflow_event_info, token_count, 32);
PLACE(detailflow_event_info, level_size, 36);
PLACE(detailflow_event_info, level_token_count, 40);
PLACE(detailflow_event_info, steps_done, 44);
PLACE(detailflow_event_info, steps_left, 48);
PLACE(detailflow_event_info, decoded, 52);

PIN(DETAILFLOW_FORMAT_BGRA8, 4);
PIN(DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED, 5);
PIN(DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED, 6);
PIN(DETAILFLOW_FORMAT_RGBA16F_LINEAR, 7);
PIN(DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED, 8);
SIZE(detailflow_reader, 32);
PLACE(detailflow_reader, struct_size, 0);
PLACE(detailflow_reader, reserved, 4);
PLACE(detailflow_reader, size, 8);
PLACE(detailflow_reader, read_at, 16);
PLACE(detailflow_reader, user, 24);
SIZE(detailflow_tick_report, 64);
PLACE(detailflow_tick_report, struct_size, 0);
PLACE(detailflow_tick_report, unit_count, 4);
PLACE(detailflow_tick_report, step_count, 8);
PLACE(detailflow_tick_report, decode_count, 12);
PLACE(detailflow_tick_report, image_count, 16);
PLACE(detailflow_tick_report, more, 20);
PLACE(detailflow_tick_report, time_ns, 24);
PLACE(detailflow_tick_report, longest_unit_ns, 32);
PLACE(detailflow_tick_report, next_unit_ns, 40);
PLACE(detailflow_tick_report, ready_count, 48);
PLACE(detailflow_tick_report, parked_count, 56);
