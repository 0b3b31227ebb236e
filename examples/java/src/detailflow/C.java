// SPDX-License-Identifier: MIT OR Apache-2.0
package detailflow;

import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.LongByReference;
import com.sun.jna.ptr.PointerByReference;
import detailflow.Structs.detailflow_dft_info;
import detailflow.Structs.detailflow_event_info;
import detailflow.Structs.detailflow_image;
import detailflow.Structs.detailflow_level;
import detailflow.Structs.detailflow_model_info;
import detailflow.Structs.detailflow_progress;
import detailflow.Structs.detailflow_reader;
import detailflow.Structs.detailflow_tick_report;

/** Functions of detailflow.h: JNA's direct mapping, bound by Library.load. Unsigned integers have Java's signed types. */
final class C {
    private C() {}

    static native Pointer detailflow_version();

    static native int detailflow_abi_version();

    static native Pointer detailflow_status_name(int status);

    static native Pointer detailflow_last_message();

    static native int detailflow_model_options_new(PointerByReference options, Pointer error);

    static native int detailflow_model_options_set_device(Pointer options, byte[] device);

    static native int detailflow_model_options_set_device_option(Pointer options, byte[] key, byte[] value);

    static native int detailflow_model_options_set_allow_fallback(Pointer options, int allow);

    static native int detailflow_model_options_set_spinning(Pointer options, int spinning);

    static native int detailflow_model_options_set_threads(Pointer options, int threads);

    static native int detailflow_model_options_set_precision(Pointer options, byte[] precision);

    static native int detailflow_model_options_set_form(Pointer options, byte[] form);

    static native int detailflow_model_options_set_weights_in_memory(Pointer options, int inMemory);

    static native int detailflow_model_options_set_encoder(Pointer options, int encoder);

    static native void detailflow_model_options_free(Pointer options);

    static native int detailflow_model_open(byte[] path, Pointer options, PointerByReference model, Pointer error);

    static native int detailflow_model_open_reader(
        detailflow_reader reader, Pointer options, PointerByReference model, Pointer error);

    static native void detailflow_model_free(Pointer model);

    static native int detailflow_model_get_info(Pointer model, detailflow_model_info info);

    static native int detailflow_model_get_report(Pointer model, byte[] buffer, SizeT capacity, SizeT.Reference length);

    static native int detailflow_model_get_class_name(Pointer model, int classIndex, PointerByReference name);

    static native int detailflow_model_find_class(Pointer model, byte[] name, IntByReference classIndex);

    static native int detailflow_model_get_level(Pointer model, int levelIndex, detailflow_level level);

    static native int detailflow_model_get_prefix_size(Pointer model, SizeT tokenCount, IntByReference prefixSize);

    static native int detailflow_model_encode(
        Pointer model, detailflow_image picture, int[] tokens, SizeT capacity, SizeT.Reference count);

    static native int detailflow_model_encode_file(
        Pointer model, byte[] path, int[] tokens, SizeT capacity, SizeT.Reference count);

    static native int detailflow_model_encode_data(
        Pointer model, byte[] data, SizeT size, int[] tokens, SizeT capacity, SizeT.Reference count);

    static native int detailflow_model_decode(
        Pointer model, int[] tokens, SizeT tokenCount, int levelSize, detailflow_image target);

    static native int detailflow_image_save(detailflow_image image, byte[] path, Pointer error);

    static native int detailflow_image_encode(
        detailflow_image image, int fileFormat, byte[] data, SizeT capacity, SizeT.Reference size, Pointer error);

    static native int detailflow_dft_encode(
        Pointer model, int[] tokens, SizeT tokenCount, int classIndex, long[] seed, byte[] data, SizeT capacity,
        SizeT.Reference size);

    static native int detailflow_dft_get_info(byte[] data, SizeT size, detailflow_dft_info info, Pointer error);

    static native int detailflow_dft_get_tokens(
        byte[] data, SizeT size, int[] tokens, SizeT capacity, SizeT.Reference count, Pointer error);

    static native int detailflow_dft_check(Pointer model, byte[] data, SizeT size);

    static native int detailflow_request_new(Pointer model, PointerByReference request);

    static native void detailflow_request_free(Pointer request);

    static native int detailflow_request_set_image_count(Pointer request, int imageCount);

    static native int detailflow_request_set_class(Pointer request, int classIndex);

    static native int detailflow_request_set_seed(Pointer request, long seed);

    static native int detailflow_request_set_image_source(Pointer request, int imageIndex, int classIndex, long seed);

    static native int detailflow_request_set_guidance(Pointer request, float scale);

    static native int detailflow_request_set_gradual_guidance(Pointer request, int gradual);

    static native int detailflow_request_set_temperature(Pointer request, float temperature);

    static native int detailflow_request_set_top_k(Pointer request, int topK);

    static native int detailflow_request_set_top_p(Pointer request, float topP);

    static native int detailflow_request_set_guidance_curve(
        Pointer request, int[] tokenIndices, float[] values, SizeT pointCount);

    static native int detailflow_request_set_temperature_curve(
        Pointer request, int[] tokenIndices, float[] values, SizeT pointCount);

    static native int detailflow_request_set_top_k_curve(
        Pointer request, int[] tokenIndices, float[] values, SizeT pointCount);

    static native int detailflow_request_set_top_p_curve(
        Pointer request, int[] tokenIndices, float[] values, SizeT pointCount);

    static native int detailflow_request_set_log_probabilities(Pointer request, int record);

    static native int detailflow_request_set_prefix(Pointer request, int[] tokens, SizeT tokenCount, int levelSize);

    static native int detailflow_request_set_image_prefix(
        Pointer request, int imageIndex, int[] tokens, SizeT tokenCount);

    static native int detailflow_request_set_level_size(Pointer request, int levelSize);

    static native int detailflow_generation_new(Pointer request, PointerByReference generation);

    static native void detailflow_generation_free(Pointer generation);

    static native int detailflow_generation_step(Pointer generation, detailflow_progress progress);

    static native int detailflow_generation_advance(Pointer generation, long budgetNs, detailflow_progress progress);

    static native int detailflow_generation_advance_to_level(
        Pointer generation, int levelSize, detailflow_progress progress);

    static native int detailflow_generation_finish(Pointer generation, detailflow_progress progress);

    static native int detailflow_generation_get_progress(Pointer generation, detailflow_progress progress);

    static native int detailflow_generation_get_tokens(
        Pointer generation, int imageIndex, int[] tokens, SizeT capacity, SizeT.Reference count);

    static native int detailflow_generation_decode(Pointer generation, int imageIndex, detailflow_image target);

    static native int detailflow_generation_decode_level(Pointer generation, int imageIndex, detailflow_image target);

    static native int detailflow_generation_save(Pointer generation, int imageIndex, byte[] path);

    static native int detailflow_generation_get_image_source(
        Pointer generation, int imageIndex, IntByReference classIndex, LongByReference seed);

    static native int detailflow_generation_get_log_probabilities(
        Pointer generation, int imageIndex, float[] values, SizeT capacity, SizeT.Reference count);

    static native int detailflow_generation_get_cancel(Pointer generation, PointerByReference cancel);

    static native int detailflow_generation_fork(
        Pointer generation, long[] seeds, SizeT seedCount, PointerByReference fork);

    static native int detailflow_generation_set_level_size(Pointer generation, int levelSize);

    static native int detailflow_vary(
        Pointer request, int[] tokens, SizeT tokenCount, int levelSize, PointerByReference generation);

    static native int detailflow_redetail(
        Pointer request, detailflow_image picture, int levelSize, PointerByReference generation);

    static native int detailflow_redetail_file(
        Pointer request, byte[] path, int levelSize, PointerByReference generation);

    static native int detailflow_cancel_trigger(Pointer cancel, Pointer error);

    static native void detailflow_cancel_free(Pointer cancel);

    static native int detailflow_worker_options_new(PointerByReference options, Pointer error);

    static native int detailflow_worker_options_set_threads(Pointer options, int threads);

    static native int detailflow_worker_options_set_batch_size(Pointer options, int batchSize);

    static native int detailflow_worker_options_set_batch_bytes(Pointer options, long bytes);

    static native int detailflow_worker_options_set_event_bytes(Pointer options, long bytes);

    static native int detailflow_worker_options_set_order(Pointer options, int order);

    static native void detailflow_worker_options_free(Pointer options);

    static native int detailflow_worker_new(Pointer options, PointerByReference worker, Pointer error);

    static native void detailflow_worker_free(Pointer worker);

    static native int detailflow_worker_close(Pointer worker, long timeoutNs);

    static native int detailflow_worker_submit_with(
        Pointer worker, Pointer request, Pointer options, LongByReference job);

    static native int detailflow_worker_submit_generation(
        Pointer worker, Pointer generation, long user, int flags, LongByReference job);

    static native int detailflow_worker_poll(Pointer worker, PointerByReference taken);

    static native int detailflow_worker_wait(Pointer worker, long timeoutNs, PointerByReference taken);

    static native int detailflow_worker_cancel(Pointer worker, long job);

    static native int detailflow_worker_cancel_all(Pointer worker);

    static native int detailflow_worker_get_pending(Pointer worker, SizeT.Reference jobCount);

    static native int detailflow_worker_tick(Pointer worker, long budgetNs, detailflow_tick_report report);

    static native int detailflow_worker_set_priority(Pointer worker, long job, float priority);

    static native int detailflow_worker_pause(Pointer worker, long job);

    static native int detailflow_worker_resume(Pointer worker, long job);

    static native int detailflow_worker_continue(Pointer worker, long job, int levelSize);

    static native int detailflow_submit_options_new(PointerByReference options, Pointer error);

    static native int detailflow_submit_options_set_user(Pointer options, long user);

    static native int detailflow_submit_options_set_flags(Pointer options, int flags);

    static native int detailflow_submit_options_set_priority(Pointer options, float priority);

    static native void detailflow_submit_options_free(Pointer options);

    static native int detailflow_event_get_info(Pointer taken, detailflow_event_info info, Pointer error);

    static native int detailflow_event_get_tokens(
        Pointer taken, int imageIndex, int[] tokens, SizeT capacity, SizeT.Reference count, Pointer error);

    static native int detailflow_event_decode_level(
        Pointer taken, int imageIndex, detailflow_image target, Pointer error);

    static native int detailflow_event_get_job_message(
        Pointer taken, byte[] buffer, SizeT capacity, SizeT.Reference length, Pointer error);

    static native void detailflow_event_free(Pointer taken);
}
