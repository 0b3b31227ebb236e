-- The C API for LuaJIT's FFI. Generated from include/detailflow.cdef by tests/embed/lua/declare.sh; do not edit.
-- SPDX-License-Identifier: MIT OR Apache-2.0
return {
    abi_version = 1,
    declarations = [[
/* The declarations of detailflow.h for tools that have no preprocessor (cffi, LuaJIT). Generated; do not edit.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */

enum { DETAILFLOW_ABI_VERSION = 1 };
enum { DETAILFLOW_VERSION_MAJOR = 0 };
enum { DETAILFLOW_VERSION_MINOR = 1 };
enum { DETAILFLOW_VERSION_PATCH = 0 };
enum { DETAILFLOW_VERSION_NUMBER = 100 };
enum { DETAILFLOW_NO_CLASS = 4294967295 };
typedef enum detailflow_status_code {
    DETAILFLOW_STATUS_OK = 0,
    DETAILFLOW_STATUS_INVALID_ARGUMENT = 1,
    DETAILFLOW_STATUS_NOT_FOUND = 2,
    DETAILFLOW_STATUS_BAD_BUNDLE = 3,
    DETAILFLOW_STATUS_NO_RUNTIME = 4,
    DETAILFLOW_STATUS_NO_DEVICE = 5,
    DETAILFLOW_STATUS_OUT_OF_MEMORY = 6,
    DETAILFLOW_STATUS_IO = 7,
    DETAILFLOW_STATUS_BAD_FORMAT = 8,
    DETAILFLOW_STATUS_CANCELLED = 9,
    DETAILFLOW_STATUS_WRONG_STATE = 10,
    DETAILFLOW_STATUS_BUSY = 11,
    DETAILFLOW_STATUS_FAILED = 12,
    DETAILFLOW_STATUS_INTERNAL = 13,
} detailflow_status_code;
typedef enum detailflow_severity {
    DETAILFLOW_SEVERITY_ERROR = 1,
    DETAILFLOW_SEVERITY_WARNING = 2,
    DETAILFLOW_SEVERITY_INFO = 3,
    DETAILFLOW_SEVERITY_DEBUG = 4,
} detailflow_severity;
typedef enum detailflow_spinning {
    DETAILFLOW_SPINNING_DEFAULT = 0,
    DETAILFLOW_SPINNING_NEVER = 1,
    DETAILFLOW_SPINNING_RUNS = 2,
} detailflow_spinning;
typedef enum detailflow_device_kind {
    DETAILFLOW_DEVICE_KIND_CPU = 1,
    DETAILFLOW_DEVICE_KIND_GPU = 2,
    DETAILFLOW_DEVICE_KIND_NPU = 3,
} detailflow_device_kind;
typedef enum detailflow_format {
    DETAILFLOW_FORMAT_RGB8 = 1,
    DETAILFLOW_FORMAT_RGBA8 = 2,
    DETAILFLOW_FORMAT_RGBA32F = 3,
    DETAILFLOW_FORMAT_BGRA8 = 4,
    DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED = 5,
    DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED = 6,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR = 7,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED = 8,
} detailflow_format;
typedef enum detailflow_file_format {
    DETAILFLOW_FILE_FORMAT_PNG = 1,
    DETAILFLOW_FILE_FORMAT_JPEG = 2,
    DETAILFLOW_FILE_FORMAT_WEBP = 3,
    DETAILFLOW_FILE_FORMAT_BMP = 4,
    DETAILFLOW_FILE_FORMAT_TGA = 5,
    DETAILFLOW_FILE_FORMAT_TIFF = 6,
    DETAILFLOW_FILE_FORMAT_QOI = 7,
} detailflow_file_format;
typedef enum detailflow_mips_source {
    DETAILFLOW_MIPS_SOURCE_DEFAULT = 0,
    DETAILFLOW_MIPS_SOURCE_LEVELS = 1,
    DETAILFLOW_MIPS_SOURCE_FINEST = 2,
} detailflow_mips_source;
typedef enum detailflow_submit_flag {
    DETAILFLOW_SUBMIT_FLAG_DECODE = 1,
    DETAILFLOW_SUBMIT_FLAG_LAST_ONLY = 2,
    DETAILFLOW_SUBMIT_FLAG_HOLD = 4,
} detailflow_submit_flag;
typedef enum detailflow_worker_order {
    DETAILFLOW_WORKER_ORDER_DEFAULT = 0,
    DETAILFLOW_WORKER_ORDER_COARSE_FIRST = 1,
    DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST = 2,
} detailflow_worker_order;
typedef enum detailflow_event_kind {
    DETAILFLOW_EVENT_KIND_LEVEL = 1,
    DETAILFLOW_EVENT_KIND_DONE = 2,
    DETAILFLOW_EVENT_KIND_CANCELLED = 3,
    DETAILFLOW_EVENT_KIND_FAILED = 4,
} detailflow_event_kind;
typedef enum detailflow_damage {
    DETAILFLOW_DAMAGE_NONE = 0,
    DETAILFLOW_DAMAGE_CUT = 1,
    DETAILFLOW_DAMAGE_GROUP = 2,
    DETAILFLOW_DAMAGE_SURPLUS = 3,
} detailflow_damage;
typedef enum detailflow_tokens_kind {
    DETAILFLOW_TOKENS_KIND_NONE = 0,
    DETAILFLOW_TOKENS_KIND_DFT = 1,
    DETAILFLOW_TOKENS_KIND_PACK = 2,
    DETAILFLOW_TOKENS_KIND_JSON = 3,
} detailflow_tokens_kind;
typedef struct detailflow_best_of_options detailflow_best_of_options;
typedef struct detailflow_cancel detailflow_cancel;
typedef struct detailflow_device_list detailflow_device_list;
typedef struct detailflow_event detailflow_event;
typedef struct detailflow_generation detailflow_generation;
typedef struct detailflow_model detailflow_model;
typedef struct detailflow_model_options detailflow_model_options;
typedef struct detailflow_pack detailflow_pack;
typedef struct detailflow_pack_writer detailflow_pack_writer;
typedef struct detailflow_request detailflow_request;
typedef struct detailflow_runtime_options detailflow_runtime_options;
typedef struct detailflow_submit_options detailflow_submit_options;
typedef struct detailflow_worker detailflow_worker;
typedef struct detailflow_worker_options detailflow_worker_options;
typedef int32_t detailflow_status;
typedef void (*detailflow_log_fn)(void *user, uint32_t severity, const char *message);
typedef struct detailflow_error {
    uint32_t struct_size;
    detailflow_status status;
    char message[1016];
} detailflow_error;
typedef void (*detailflow_task_fn)(void *context, uint32_t index);
typedef void (*detailflow_parallel_for_fn)(void *user, uint32_t count, detailflow_task_fn task, void *context);
typedef void (*detailflow_open_progress_fn)(void *user, uint32_t done, uint32_t total, const char *stage);
typedef struct detailflow_device_info {
    uint32_t struct_size;
    uint32_t kind;
    uint32_t vendor_id;
    uint32_t device_id;
    uint32_t metadata_count;
    uint32_t reserved;
    const char *device;
    const char *vendor;
    const char *name;
    const char *provider;
} detailflow_device_info;
typedef struct detailflow_image {
    uint32_t struct_size;
    uint32_t format;
    uint32_t width;
    uint32_t height;
    size_t stride;
    void *pixels;
    size_t capacity;
} detailflow_image;
typedef void (*detailflow_release_fn)(void *user);
typedef size_t (*detailflow_read_at_fn)(void *user, uint64_t offset, void *buffer, size_t count);
typedef struct detailflow_reader {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t size;
    detailflow_read_at_fn read_at;
    void *user;
} detailflow_reader;
typedef struct detailflow_model_info {
    uint32_t struct_size;
    uint32_t image_size;
    uint32_t channels;
    uint32_t token_count;
    uint32_t group_size;
    uint32_t causal_count;
    uint32_t codebook_size;
    uint32_t bits_per_token;
    uint32_t class_count;
    uint32_t level_count;
    float guidance;
    float temperature;
    float top_p;
    uint32_t top_k;
    uint32_t gradual_guidance;
    uint32_t can_generate;
    uint32_t can_encode;
    uint32_t reserved;
    const char *name;
    const char *license;
    const char *tokenizer_id;
    const char *precision;
    const char *form;
    const char *device;
    const char *path;
} detailflow_model_info;
typedef struct detailflow_level {
    uint32_t struct_size;
    uint32_t level_size;
    uint32_t token_count;
    uint32_t reserved;
} detailflow_level;
typedef struct detailflow_sprite {
    uint32_t struct_size;
    uint32_t x;
    uint32_t y;
    uint32_t level_size;
    uint32_t factor;
    uint32_t reserved;
    const uint32_t *tokens;
    size_t token_count;
} detailflow_sprite;
typedef struct detailflow_finish {
    uint32_t struct_size;
    uint32_t alpha_cut;
    uint32_t colors;
    uint32_t dither;
    uint32_t despeckle;
    uint32_t has_outline;
    uint32_t outline;
    uint32_t tile;
    const uint32_t *palette;
    size_t palette_count;
} detailflow_finish;
typedef struct detailflow_progress {
    uint32_t struct_size;
    uint32_t steps_done;
    uint32_t steps_left;
    uint32_t token_count;
    uint32_t prefix_size;
    uint32_t level_size;
    uint32_t image_count;
    uint32_t level_token_count;
    uint64_t next_step_ns;
    uint64_t next_decode_ns;
} detailflow_progress;
typedef struct detailflow_candidate {
    uint32_t struct_size;
    uint32_t image_index;
    uint32_t class_index;
    uint32_t level_size;
    uint64_t seed;
    const uint32_t *tokens;
    size_t token_count;
    const uint8_t *pixels;
} detailflow_candidate;
typedef float (*detailflow_score_fn)(void *user, const struct detailflow_candidate *candidate);
typedef struct detailflow_cost {
    uint32_t struct_size;
    uint32_t step_count;
    uint64_t multiply_adds;
    uint64_t kv_cache_bytes;
    uint64_t output_bytes;
    uint64_t time_ns;
} detailflow_cost;
typedef struct detailflow_step_cost {
    uint32_t struct_size;
    uint32_t batch_rows;
    uint32_t query_length;
    uint32_t step_count;
    uint64_t time_ns;
} detailflow_step_cost;
typedef struct detailflow_level_cost {
    uint32_t struct_size;
    uint32_t level_size;
    uint32_t token_count;
    uint32_t step_count;
    uint64_t time_ns;
} detailflow_level_cost;
typedef void (*detailflow_event_fn)(void *user, struct detailflow_event *event);
typedef struct detailflow_tick_report {
    uint32_t struct_size;
    uint32_t unit_count;
    uint32_t step_count;
    uint32_t decode_count;
    uint32_t image_count;
    uint32_t more;
    uint64_t time_ns;
    uint64_t longest_unit_ns;
    uint64_t next_unit_ns;
    uint64_t ready_count;
    uint64_t parked_count;
} detailflow_tick_report;
typedef struct detailflow_event_info {
    uint32_t struct_size;
    uint32_t kind;
    uint64_t job;
    uint64_t user;
    detailflow_status status;
    uint32_t image_count;
    uint32_t token_count;
    uint32_t level_size;
    uint32_t level_token_count;
    uint32_t steps_done;
    uint32_t steps_left;
    uint32_t decoded;
} detailflow_event_info;
typedef struct detailflow_dft_info {
    uint32_t struct_size;
    uint32_t damage;
    uint32_t intact_count;
    uint32_t written_count;
    uint32_t token_count;
    uint32_t group_size;
    uint32_t causal_count;
    uint32_t bits_per_token;
    uint32_t class_index;
    uint32_t has_seed;
    uint64_t seed;
    char tokenizer_id[24];
} detailflow_dft_info;
const char *detailflow_version(void);
uint32_t detailflow_version_number(void);
uint32_t detailflow_abi_version(void);
const char *detailflow_status_name(detailflow_status status);
const char *detailflow_last_message(void);
detailflow_status detailflow_log_set_callback(
    uint32_t severity, detailflow_log_fn callback, void *user, detailflow_error *error);
detailflow_status detailflow_runtime_options_new(
    detailflow_runtime_options **options, detailflow_error *error);
detailflow_status detailflow_runtime_options_set_library(
    detailflow_runtime_options *options, const char *library);
detailflow_status detailflow_runtime_options_get_message(
    const detailflow_runtime_options *options, char *buffer, size_t capacity, size_t *length);
void detailflow_runtime_options_free(detailflow_runtime_options *options);
detailflow_status detailflow_runtime_init(
    const detailflow_runtime_options *options, detailflow_error *error);
detailflow_status detailflow_runtime_set_api(
    const void *ort_api_base, detailflow_error *error);
detailflow_status detailflow_model_options_new(
    detailflow_model_options **options, detailflow_error *error);
detailflow_status detailflow_model_options_set_device(
    detailflow_model_options *options, const char *device);
detailflow_status detailflow_model_options_set_device_option(
    detailflow_model_options *options, const char *key, const char *value);
detailflow_status detailflow_model_options_set_allow_fallback(
    detailflow_model_options *options, uint32_t allow);
detailflow_status detailflow_model_options_set_spinning(
    detailflow_model_options *options, uint32_t spinning);
detailflow_status detailflow_model_options_set_threads(
    detailflow_model_options *options, uint32_t threads);
detailflow_status detailflow_model_options_set_parallel_for(
    detailflow_model_options *options, detailflow_parallel_for_fn parallel_for, void *user);
detailflow_status detailflow_model_options_set_precision(
    detailflow_model_options *options, const char *precision);
detailflow_status detailflow_model_options_set_form(
    detailflow_model_options *options, const char *form);
detailflow_status detailflow_model_options_set_open_progress(
    detailflow_model_options *options, detailflow_open_progress_fn callback, void *user);
detailflow_status detailflow_model_options_set_cancel(
    detailflow_model_options *options, const detailflow_cancel *cancel);
detailflow_status detailflow_model_options_get_message(
    const detailflow_model_options *options, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_model_options_set_weights_in_memory(
    detailflow_model_options *options, uint32_t in_memory);
detailflow_status detailflow_model_options_set_encoder(
    detailflow_model_options *options, uint32_t encoder);
void detailflow_model_options_free(detailflow_model_options *options);
detailflow_status detailflow_cancel_new(
    detailflow_cancel **cancel, detailflow_error *error);
detailflow_status detailflow_cancel_trigger(
    const detailflow_cancel *cancel, detailflow_error *error);
void detailflow_cancel_free(detailflow_cancel *cancel);
detailflow_status detailflow_device_list_new(
    detailflow_device_list **list, detailflow_error *error);
void detailflow_device_list_free(detailflow_device_list *list);
detailflow_status detailflow_device_list_get_count(
    const detailflow_device_list *list, size_t *count, detailflow_error *error);
detailflow_status detailflow_device_list_get_info(
    const detailflow_device_list *list, size_t device_index, detailflow_device_info *info, detailflow_error *error);
detailflow_status detailflow_device_list_get_metadata(
    const detailflow_device_list *list, size_t device_index, size_t metadata_index, const char **key,
    const char **value, detailflow_error *error);
detailflow_status detailflow_image_save(
    const detailflow_image *image, const char *path, detailflow_error *error);
detailflow_status detailflow_image_encode(
    const detailflow_image *image, uint32_t file_format, void *data, size_t capacity, size_t *size,
    detailflow_error *error);
detailflow_status detailflow_image_upscale(
    const detailflow_image *source, uint32_t factor, detailflow_image *target, detailflow_error *error);
detailflow_status detailflow_model_open(
    const char *path, const detailflow_model_options *options, detailflow_model **model, detailflow_error *error);
detailflow_status detailflow_model_open_memory(
    const void *data, size_t size, detailflow_release_fn release, void *user, const detailflow_model_options *options,
    detailflow_model **model, detailflow_error *error);
detailflow_status detailflow_model_open_reader(
    const detailflow_reader *reader, const detailflow_model_options *options, detailflow_model **model,
    detailflow_error *error);
void detailflow_model_free(detailflow_model *model);
detailflow_status detailflow_model_get_message(
    const detailflow_model *model, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_model_get_info(
    const detailflow_model *model, detailflow_model_info *info);
detailflow_status detailflow_model_get_report(
    const detailflow_model *model, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_model_get_class_name(
    const detailflow_model *model, uint32_t class_index, const char **name);
detailflow_status detailflow_model_find_class(
    const detailflow_model *model, const char *name, uint32_t *class_index);
detailflow_status detailflow_model_get_level(
    const detailflow_model *model, uint32_t level_index, detailflow_level *level);
detailflow_status detailflow_model_find_level(
    const detailflow_model *model, uint32_t level_size, detailflow_level *level);
detailflow_status detailflow_model_get_prefix_size(
    const detailflow_model *model, size_t token_count, uint32_t *prefix_size);
detailflow_status detailflow_model_encode(
    const detailflow_model *model, const detailflow_image *picture, uint32_t *tokens, size_t capacity, size_t *count);
detailflow_status detailflow_model_encode_file(
    const detailflow_model *model, const char *path, uint32_t *tokens, size_t capacity, size_t *count);
detailflow_status detailflow_model_encode_data(
    const detailflow_model *model, const void *data, size_t size, uint32_t *tokens, size_t capacity, size_t *count);
detailflow_status detailflow_model_decode(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t level_size,
    detailflow_image *target);
detailflow_status detailflow_model_score(
    const detailflow_model *model, uint32_t class_index, const uint32_t *tokens, size_t token_count, float *values,
    size_t capacity, size_t *count);
detailflow_status detailflow_model_calibrate(
    const detailflow_model *model, const uint32_t *batch_sizes, size_t batch_size_count);
detailflow_status detailflow_model_predict_decode(
    const detailflow_model *model, size_t token_count, uint64_t *time_ns);
detailflow_status detailflow_model_encode_file_cancellable(
    const detailflow_model *model, const char *path, const detailflow_cancel *cancel, uint32_t *tokens, size_t capacity,
    size_t *count);
detailflow_status detailflow_model_encode_with_effort(
    const detailflow_model *model, const detailflow_image *picture, uint32_t effort, const detailflow_cancel *cancel,
    uint32_t *tokens, size_t capacity, size_t *count);
detailflow_status detailflow_model_encode_file_with_effort(
    const detailflow_model *model, const char *path, uint32_t effort, const detailflow_cancel *cancel, uint32_t *tokens,
    size_t capacity, size_t *count);
detailflow_status detailflow_generate_image(
    const detailflow_model *model, const char *class_name, uint64_t seed, detailflow_image *image,
    detailflow_error *error);
detailflow_status detailflow_mips_list_sizes(
    uint32_t size, uint32_t *sizes, size_t capacity, size_t *count, detailflow_error *error);
detailflow_status detailflow_model_decode_mips(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t source,
    detailflow_image *targets, size_t target_count);
detailflow_status detailflow_mips_lay_out(
    uint32_t size, uint32_t format, uint32_t alignment, size_t *offsets, size_t capacity, size_t *count,
    size_t *block_bytes, detailflow_error *error);
detailflow_status detailflow_model_decode_mip_chain(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t source, uint32_t size,
    uint32_t format, const size_t *offsets, size_t mip_count, void *block, size_t capacity);
detailflow_status detailflow_model_lay_out_atlas(
    const detailflow_model *model, detailflow_sprite *sprites, size_t sprite_count, uint32_t width, uint32_t padding,
    uint32_t *height);
detailflow_status detailflow_model_decode_atlas(
    const detailflow_model *model, const detailflow_sprite *sprites, size_t sprite_count, detailflow_image *atlas);
detailflow_status detailflow_image_finish(
    detailflow_image *image, const detailflow_finish *finish, detailflow_error *error);
detailflow_status detailflow_palette_make(
    const detailflow_image *images, size_t image_count, const detailflow_finish *finish, uint32_t limit,
    uint32_t *colors, size_t capacity, size_t *count, detailflow_error *error);
detailflow_status detailflow_palette_decode(
    const void *data, size_t size, uint32_t *colors, size_t capacity, size_t *count, detailflow_error *error);
detailflow_status detailflow_model_get_finish(
    const detailflow_model *model, detailflow_finish *finish, uint32_t *colors, size_t capacity, size_t *count);
detailflow_status detailflow_bundle_strip(
    const char *path, const char *target, const char *precision, detailflow_error *error);
detailflow_status detailflow_bundle_pack(
    const char *path, const char *target, detailflow_error *error);
detailflow_status detailflow_bundle_unpack(
    const char *path, const char *target, detailflow_error *error);
detailflow_status detailflow_request_new(
    const detailflow_model *model, detailflow_request **request);
void detailflow_request_free(detailflow_request *request);
detailflow_status detailflow_request_get_message(
    const detailflow_request *request, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_request_set_image_count(
    detailflow_request *request, uint32_t image_count);
detailflow_status detailflow_request_set_class(
    detailflow_request *request, uint32_t class_index);
detailflow_status detailflow_request_set_seed(
    detailflow_request *request, uint64_t seed);
detailflow_status detailflow_request_set_image_source(
    detailflow_request *request, uint32_t image_index, uint32_t class_index, uint64_t seed);
detailflow_status detailflow_request_set_classes(
    detailflow_request *request, const uint32_t *class_indices, const float *weights, size_t count);
detailflow_status detailflow_request_set_avoid(
    detailflow_request *request, const uint32_t *class_indices, const float *strengths, size_t count);
detailflow_status detailflow_request_set_image_classes(
    detailflow_request *request, uint32_t image_index, const uint32_t *class_indices, const float *weights,
    size_t count);
detailflow_status detailflow_request_set_image_avoid(
    detailflow_request *request, uint32_t image_index, const uint32_t *class_indices, const float *strengths,
    size_t count);
detailflow_status detailflow_request_set_class_curve(
    detailflow_request *request, uint32_t class_index, const uint32_t *token_indices, const float *values,
    size_t point_count);
detailflow_status detailflow_request_set_avoid_curve(
    detailflow_request *request, uint32_t class_index, const uint32_t *token_indices, const float *values,
    size_t point_count);
detailflow_status detailflow_request_set_classes_of_dft(
    detailflow_request *request, const void *data, size_t size);
detailflow_status detailflow_request_set_guidance(
    detailflow_request *request, float scale);
detailflow_status detailflow_request_set_gradual_guidance(
    detailflow_request *request, uint32_t gradual);
detailflow_status detailflow_request_set_temperature(
    detailflow_request *request, float temperature);
detailflow_status detailflow_request_set_top_k(
    detailflow_request *request, uint32_t top_k);
detailflow_status detailflow_request_set_top_p(detailflow_request *request, float top_p);
detailflow_status detailflow_request_set_guidance_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);
detailflow_status detailflow_request_set_temperature_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);
detailflow_status detailflow_request_set_top_k_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);
detailflow_status detailflow_request_set_top_p_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);
detailflow_status detailflow_request_set_log_probabilities(
    detailflow_request *request, uint32_t record);
detailflow_status detailflow_request_set_prefix(
    detailflow_request *request, const uint32_t *tokens, size_t token_count, uint32_t level_size);
detailflow_status detailflow_request_set_image_prefix(
    detailflow_request *request, uint32_t image_index, const uint32_t *tokens, size_t token_count);
detailflow_status detailflow_request_set_prefix_picture(
    detailflow_request *request, const detailflow_image *picture, uint32_t level_size);
detailflow_status detailflow_request_set_level_size(
    detailflow_request *request, uint32_t level_size);
detailflow_status detailflow_generate(
    const detailflow_request *request, detailflow_generation **generation);
detailflow_status detailflow_generation_new(
    const detailflow_request *request, detailflow_generation **generation);
void detailflow_generation_free(detailflow_generation *generation);
detailflow_status detailflow_generation_get_message(
    const detailflow_generation *generation, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_generation_step(
    detailflow_generation *generation, detailflow_progress *progress);
detailflow_status detailflow_generation_advance(
    detailflow_generation *generation, uint64_t budget_ns, detailflow_progress *progress);
detailflow_status detailflow_generation_advance_to_level(
    detailflow_generation *generation, uint32_t level_size, detailflow_progress *progress);
detailflow_status detailflow_generation_finish(
    detailflow_generation *generation, detailflow_progress *progress);
detailflow_status detailflow_generation_get_progress(
    const detailflow_generation *generation, detailflow_progress *progress);
detailflow_status detailflow_generation_get_tokens(
    const detailflow_generation *generation, uint32_t image_index, uint32_t *tokens, size_t capacity, size_t *count);
detailflow_status detailflow_generation_decode(
    const detailflow_generation *generation, uint32_t image_index, detailflow_image *target);
detailflow_status detailflow_generation_decode_level(
    const detailflow_generation *generation, uint32_t image_index, detailflow_image *target);
detailflow_status detailflow_generation_save(
    const detailflow_generation *generation, uint32_t image_index, const char *path);
detailflow_status detailflow_generation_encode_dft(
    const detailflow_generation *generation, uint32_t image_index, void *data, size_t capacity, size_t *size);
detailflow_status detailflow_generation_get_image_source(
    const detailflow_generation *generation, uint32_t image_index, uint32_t *class_index, uint64_t *seed);
detailflow_status detailflow_generation_get_log_probabilities(
    const detailflow_generation *generation, uint32_t image_index, float *values, size_t capacity, size_t *count);
detailflow_status detailflow_generation_get_mean_log_probability(
    const detailflow_generation *generation, uint32_t image_index, float *mean);
detailflow_status detailflow_generation_get_work(
    const detailflow_generation *generation, uint64_t *work);
detailflow_status detailflow_generation_get_memory(
    const detailflow_generation *generation, uint64_t *own_bytes, uint64_t *shared_bytes);
detailflow_status detailflow_generation_get_cancel(
    const detailflow_generation *generation, detailflow_cancel **cancel);
detailflow_status detailflow_generation_fork(
    detailflow_generation *generation, const uint64_t *seeds, size_t seed_count, detailflow_generation **fork);
detailflow_status detailflow_generation_retain_images(
    detailflow_generation *generation, const uint32_t *image_indices, size_t count);
detailflow_status detailflow_generation_set_level_size(
    detailflow_generation *generation, uint32_t level_size);
detailflow_status detailflow_vary(
    const detailflow_request *request, const uint32_t *tokens, size_t token_count, uint32_t level_size,
    detailflow_generation **generation);
detailflow_status detailflow_redetail(
    const detailflow_request *request, const detailflow_image *picture, uint32_t level_size,
    detailflow_generation **generation);
detailflow_status detailflow_redetail_file(
    const detailflow_request *request, const char *path, uint32_t level_size, detailflow_generation **generation);
detailflow_status detailflow_best_of_options_new(
    detailflow_best_of_options **options, detailflow_error *error);
detailflow_status detailflow_best_of_options_add_round(
    detailflow_best_of_options *options, uint32_t level_size, uint32_t retained_count);
detailflow_status detailflow_best_of_options_set_scorer_log_probability(
    detailflow_best_of_options *options);
detailflow_status detailflow_best_of_options_set_scorer_likeness(
    detailflow_best_of_options *options, const detailflow_image *picture);
detailflow_status detailflow_best_of_options_set_scorer_function(
    detailflow_best_of_options *options, detailflow_score_fn function, void *user);
detailflow_status detailflow_best_of_options_get_message(
    const detailflow_best_of_options *options, char *buffer, size_t capacity, size_t *length);
void detailflow_best_of_options_free(detailflow_best_of_options *options);
detailflow_status detailflow_best_of(
    const detailflow_request *request, const detailflow_best_of_options *options, detailflow_generation **generation,
    uint32_t *survivors, size_t survivor_capacity, size_t *survivor_count, float *scores, size_t score_capacity);
detailflow_status detailflow_request_get_cost(
    const detailflow_request *request, detailflow_cost *cost);
detailflow_status detailflow_request_get_step_costs(
    const detailflow_request *request, detailflow_step_cost *costs, size_t capacity, size_t *count);
detailflow_status detailflow_request_get_level_costs(
    const detailflow_request *request, detailflow_level_cost *costs, size_t capacity, size_t *count);
detailflow_status detailflow_worker_options_new(
    detailflow_worker_options **options, detailflow_error *error);
detailflow_status detailflow_worker_options_set_threads(
    detailflow_worker_options *options, uint32_t threads);
detailflow_status detailflow_worker_options_set_batch_size(
    detailflow_worker_options *options, uint32_t batch_size);
detailflow_status detailflow_worker_options_set_batch_bytes(
    detailflow_worker_options *options, uint64_t bytes);
detailflow_status detailflow_worker_options_set_event_bytes(
    detailflow_worker_options *options, uint64_t bytes);
detailflow_status detailflow_worker_options_set_order(
    detailflow_worker_options *options, uint32_t order);
detailflow_status detailflow_worker_options_get_message(
    const detailflow_worker_options *options, char *buffer, size_t capacity, size_t *length);
void detailflow_worker_options_free(detailflow_worker_options *options);
detailflow_status detailflow_worker_new(
    const detailflow_worker_options *options, detailflow_worker **worker, detailflow_error *error);
void detailflow_worker_free(detailflow_worker *worker);
detailflow_status detailflow_worker_close(
    const detailflow_worker *worker, uint64_t timeout_ns);
detailflow_status detailflow_worker_get_message(
    const detailflow_worker *worker, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_worker_submit(
    const detailflow_worker *worker, const detailflow_request *request, uint64_t user, uint32_t flags, uint64_t *job);
detailflow_status detailflow_worker_submit_generation(
    const detailflow_worker *worker, detailflow_generation *generation, uint64_t user, uint32_t flags, uint64_t *job);
detailflow_status detailflow_worker_poll(
    const detailflow_worker *worker, detailflow_event **event);
detailflow_status detailflow_worker_wait(
    const detailflow_worker *worker, uint64_t timeout_ns, detailflow_event **event);
detailflow_status detailflow_worker_cancel(
    const detailflow_worker *worker, uint64_t job);
detailflow_status detailflow_worker_cancel_all(const detailflow_worker *worker);
detailflow_status detailflow_worker_get_pending(
    const detailflow_worker *worker, size_t *job_count);
detailflow_status detailflow_worker_set_callback(
    const detailflow_worker *worker, detailflow_event_fn callback, void *user);
detailflow_status detailflow_worker_tick(
    const detailflow_worker *worker, uint64_t budget_ns, detailflow_tick_report *report);
detailflow_status detailflow_event_get_info(
    const detailflow_event *event, detailflow_event_info *info, detailflow_error *error);
detailflow_status detailflow_event_get_tokens(
    const detailflow_event *event, uint32_t image_index, uint32_t *tokens, size_t capacity, size_t *count,
    detailflow_error *error);
detailflow_status detailflow_event_decode_level(
    const detailflow_event *event, uint32_t image_index, detailflow_image *target, detailflow_error *error);
detailflow_status detailflow_event_get_job_message(
    const detailflow_event *event, char *buffer, size_t capacity, size_t *length, detailflow_error *error);
void detailflow_event_free(detailflow_event *event);
detailflow_status detailflow_submit_options_new(
    detailflow_submit_options **options, detailflow_error *error);
detailflow_status detailflow_submit_options_set_user(
    detailflow_submit_options *options, uint64_t user);
detailflow_status detailflow_submit_options_set_flags(
    detailflow_submit_options *options, uint32_t flags);
detailflow_status detailflow_submit_options_set_priority(
    detailflow_submit_options *options, float priority);
detailflow_status detailflow_submit_options_set_target(
    detailflow_submit_options *options, uint32_t image_index, detailflow_image *targets, size_t target_count);
detailflow_status detailflow_submit_options_get_message(
    const detailflow_submit_options *options, char *buffer, size_t capacity, size_t *length);
void detailflow_submit_options_free(detailflow_submit_options *options);
detailflow_status detailflow_worker_submit_with(
    const detailflow_worker *worker, const detailflow_request *request, const detailflow_submit_options *options,
    uint64_t *job);
detailflow_status detailflow_worker_set_priority(
    const detailflow_worker *worker, uint64_t job, float priority);
detailflow_status detailflow_worker_pause(const detailflow_worker *worker, uint64_t job);
detailflow_status detailflow_worker_resume(
    const detailflow_worker *worker, uint64_t job);
detailflow_status detailflow_worker_continue(
    const detailflow_worker *worker, uint64_t job, uint32_t level_size);
detailflow_status detailflow_dft_encode(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t class_index,
    const uint64_t *seed, void *data, size_t capacity, size_t *size);
detailflow_status detailflow_dft_get_info(
    const void *data, size_t size, detailflow_dft_info *info, detailflow_error *error);
detailflow_status detailflow_dft_get_tokens(
    const void *data, size_t size, uint32_t *tokens, size_t capacity, size_t *count, detailflow_error *error);
detailflow_status detailflow_dft_check(
    const detailflow_model *model, const void *data, size_t size);
detailflow_status detailflow_dft_repair(
    const detailflow_request *request, const void *data, size_t size, size_t token_count, void *target, size_t capacity,
    size_t *target_size);
detailflow_status detailflow_tokens_get_kind(
    const void *data, size_t size, uint32_t *tokens_kind, detailflow_error *error);
detailflow_status detailflow_pack_open(
    const char *path, detailflow_pack **pack, detailflow_error *error);
detailflow_status detailflow_pack_open_memory(
    const void *data, size_t size, detailflow_pack **pack, detailflow_error *error);
detailflow_status detailflow_pack_open_reader(
    const detailflow_reader *reader, detailflow_pack **pack, detailflow_error *error);
void detailflow_pack_free(detailflow_pack *pack);
detailflow_status detailflow_pack_get_message(
    const detailflow_pack *pack, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_pack_get_count(
    const detailflow_pack *pack, uint32_t *count);
detailflow_status detailflow_pack_find_entry(
    const detailflow_pack *pack, const char *name, uint32_t *entry_index);
detailflow_status detailflow_pack_get_entry_name(
    const detailflow_pack *pack, uint32_t entry_index, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_pack_get_entry(
    const detailflow_pack *pack, uint32_t entry_index, void *data, size_t capacity, size_t *size);
detailflow_status detailflow_pack_get_entry_info(
    const detailflow_pack *pack, uint32_t entry_index, detailflow_dft_info *info);
detailflow_status detailflow_pack_get_entry_tokens(
    const detailflow_pack *pack, uint32_t entry_index, uint32_t *tokens, size_t capacity, size_t *count);
detailflow_status detailflow_pack_salvage(
    const char *path, const char *target, uint32_t *entry_count, uint32_t *shortened_count, detailflow_error *error);
detailflow_status detailflow_pack_salvage_memory(
    const void *data, size_t size, const char *target, uint32_t *entry_count, uint32_t *shortened_count,
    detailflow_error *error);
detailflow_status detailflow_pack_salvage_reader(
    const detailflow_reader *reader, const char *target, uint32_t *entry_count, uint32_t *shortened_count,
    detailflow_error *error);
detailflow_status detailflow_pack_writer_new(
    const char *path, detailflow_pack_writer **writer, detailflow_error *error);
void detailflow_pack_writer_free(detailflow_pack_writer *writer);
detailflow_status detailflow_pack_writer_get_message(
    const detailflow_pack_writer *writer, char *buffer, size_t capacity, size_t *length);
detailflow_status detailflow_pack_writer_add(
    detailflow_pack_writer *writer, const char *name, const void *data, size_t size, uint32_t *entry_index);
detailflow_status detailflow_pack_writer_finish(detailflow_pack_writer *writer);
]],
}
