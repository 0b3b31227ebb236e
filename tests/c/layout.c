/* Every number and every layout of the header, pinned: sizes and places on 64-bit systems, values everywhere. C11. */
#include <detailflow.h>

#define PIN(constant, value) _Static_assert((constant) == (value), #constant " never changes")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "the size of " #type " never changes")
#define PLACE(type, member, at)                                                                                    \
    _Static_assert(offsetof(type, member) == (at), "the place of " #type "." #member " never changes")

PIN(DETAILFLOW_ABI_VERSION, 3); /* Counts up with every addition: the one number here that may change. */

PIN(DETAILFLOW_OK, 0);
PIN(DETAILFLOW_INVALID_ARGUMENT, 1);
PIN(DETAILFLOW_NOT_FOUND, 2);
PIN(DETAILFLOW_BAD_BUNDLE, 3);
PIN(DETAILFLOW_NO_RUNTIME, 4);
PIN(DETAILFLOW_NO_DEVICE, 5);
PIN(DETAILFLOW_OUT_OF_MEMORY, 6);
PIN(DETAILFLOW_IO, 7);
PIN(DETAILFLOW_BAD_FORMAT, 8);
PIN(DETAILFLOW_CANCELLED, 9);
PIN(DETAILFLOW_WRONG_STATE, 10);
PIN(DETAILFLOW_BUSY, 11);
PIN(DETAILFLOW_FAILED, 12);
PIN(DETAILFLOW_INTERNAL, 13);

PIN(DETAILFLOW_LOG_ERROR, 1);
PIN(DETAILFLOW_LOG_WARNING, 2);
PIN(DETAILFLOW_LOG_INFO, 3);
PIN(DETAILFLOW_LOG_DEBUG, 4);

PIN(DETAILFLOW_RGB8, 1);
PIN(DETAILFLOW_RGBA8, 2);
PIN(DETAILFLOW_RGBA32F, 3);

PIN(DETAILFLOW_DEVICE_CPU, 1);
PIN(DETAILFLOW_DEVICE_GPU, 2);
PIN(DETAILFLOW_DEVICE_NPU, 3);

PIN(DETAILFLOW_SPINNING_NEVER, 1);
PIN(DETAILFLOW_SPINNING_RUNS, 2);

PIN(DETAILFLOW_MIPS_FROM_LEVELS, 0);
PIN(DETAILFLOW_MIPS_FROM_FINEST, 1);

PIN(DETAILFLOW_SUBMIT_DECODE, 1);
PIN(DETAILFLOW_SUBMIT_LAST_ONLY, 2);
PIN(DETAILFLOW_EVENT_LEVEL, 1);
PIN(DETAILFLOW_EVENT_DONE, 2);
PIN(DETAILFLOW_EVENT_CANCELLED, 3);
PIN(DETAILFLOW_EVENT_FAILED, 4);

SIZE(detailflow_status, 4);

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
PLACE(detailflow_sprite, level, 12);
PLACE(detailflow_sprite, factor, 16);
PLACE(detailflow_sprite, reserved, 20);
PLACE(detailflow_sprite, tokens, 24);
PLACE(detailflow_sprite, count, 32);

SIZE(detailflow_model_info, 120);
PLACE(detailflow_model_info, struct_size, 0);
PLACE(detailflow_model_info, size, 4);
PLACE(detailflow_model_info, channels, 8);
PLACE(detailflow_model_info, tokens, 12);
PLACE(detailflow_model_info, group, 16);
PLACE(detailflow_model_info, causal, 20);
PLACE(detailflow_model_info, codes, 24);
PLACE(detailflow_model_info, bits, 28);
PLACE(detailflow_model_info, class_count, 32);
PLACE(detailflow_model_info, level_count, 36);
PLACE(detailflow_model_info, guidance, 40);
PLACE(detailflow_model_info, temperature, 44);
PLACE(detailflow_model_info, top_p, 48);
PLACE(detailflow_model_info, top_k, 52);
PLACE(detailflow_model_info, gradual, 56);
PLACE(detailflow_model_info, reserved, 60);
PLACE(detailflow_model_info, name, 64);
PLACE(detailflow_model_info, license, 72);
PLACE(detailflow_model_info, tokenizer_id, 80);
PLACE(detailflow_model_info, precision, 88);
PLACE(detailflow_model_info, form, 96);
PLACE(detailflow_model_info, device, 104);
PLACE(detailflow_model_info, path, 112);

#endif

SIZE(detailflow_level, 16);
PLACE(detailflow_level, struct_size, 0);
PLACE(detailflow_level, size, 4);
PLACE(detailflow_level, tokens, 8);
PLACE(detailflow_level, reserved, 12);

SIZE(detailflow_progress, 48);
PLACE(detailflow_progress, struct_size, 0);
PLACE(detailflow_progress, steps_done, 4);
PLACE(detailflow_progress, steps_left, 8);
PLACE(detailflow_progress, tokens, 12);
PLACE(detailflow_progress, size, 16);
PLACE(detailflow_progress, level, 20);
PLACE(detailflow_progress, images, 24);
PLACE(detailflow_progress, level_tokens, 28);
PLACE(detailflow_progress, next_step_ns, 32);
PLACE(detailflow_progress, next_decode_ns, 40);

PIN(DETAILFLOW_SCORE_LOG_PROBABILITY, 1);
PIN(DETAILFLOW_SCORE_LIKENESS, 2);
PIN(DETAILFLOW_SCORE_FUNCTION, 3);

SIZE(detailflow_best_options, 56);
PLACE(detailflow_best_options, struct_size, 0);
PLACE(detailflow_best_options, scorer, 4);
PLACE(detailflow_best_options, levels, 8);
PLACE(detailflow_best_options, keeps, 16);
PLACE(detailflow_best_options, rounds, 24);
PLACE(detailflow_best_options, picture, 32);
PLACE(detailflow_best_options, score, 40);
PLACE(detailflow_best_options, user, 48);

SIZE(detailflow_candidate, 48);
PLACE(detailflow_candidate, struct_size, 0);
PLACE(detailflow_candidate, index, 4);
PLACE(detailflow_candidate, class_index, 8);
PLACE(detailflow_candidate, size, 12);
PLACE(detailflow_candidate, seed, 16);
PLACE(detailflow_candidate, tokens, 24);
PLACE(detailflow_candidate, token_count, 32);
PLACE(detailflow_candidate, pixels, 40);

SIZE(detailflow_cost, 40);
PLACE(detailflow_cost, struct_size, 0);
PLACE(detailflow_cost, steps, 4);
PLACE(detailflow_cost, multiply_adds, 8);
PLACE(detailflow_cost, key_bytes, 16);
PLACE(detailflow_cost, output_bytes, 24);
PLACE(detailflow_cost, time_ns, 32);

SIZE(detailflow_step_cost, 24);
PLACE(detailflow_step_cost, struct_size, 0);
PLACE(detailflow_step_cost, rows, 4);
PLACE(detailflow_step_cost, query, 8);
PLACE(detailflow_step_cost, count, 12);
PLACE(detailflow_step_cost, time_ns, 16);

SIZE(detailflow_level_cost, 24);
PLACE(detailflow_level_cost, struct_size, 0);
PLACE(detailflow_level_cost, size, 4);
PLACE(detailflow_level_cost, tokens, 8);
PLACE(detailflow_level_cost, steps, 12);
PLACE(detailflow_level_cost, time_ns, 16);

PIN(DETAILFLOW_NO_CLASS, 4294967295);
PIN(DETAILFLOW_DAMAGE_NONE, 0);
PIN(DETAILFLOW_DAMAGE_CUT, 1);
PIN(DETAILFLOW_DAMAGE_GROUP, 2);
PIN(DETAILFLOW_DAMAGE_SURPLUS, 3);

SIZE(detailflow_dft_info, 72);
PLACE(detailflow_dft_info, struct_size, 0);
PLACE(detailflow_dft_info, damage, 4);
PLACE(detailflow_dft_info, sound, 8);
PLACE(detailflow_dft_info, promised, 12);
PLACE(detailflow_dft_info, tokens, 16);
PLACE(detailflow_dft_info, group, 20);
PLACE(detailflow_dft_info, causal, 24);
PLACE(detailflow_dft_info, bits, 28);
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
PLACE(detailflow_event_info, images, 28);
PLACE(detailflow_event_info, tokens, 32);
PLACE(detailflow_event_info, level, 36);
PLACE(detailflow_event_info, level_tokens, 40);
PLACE(detailflow_event_info, steps_done, 44);
PLACE(detailflow_event_info, steps_left, 48);
PLACE(detailflow_event_info, decoded, 52);
