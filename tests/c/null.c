/* NULL for every pointer of every function: INVALID_ARGUMENT, a message that names the pointer, outputs untouched. */
#include "check.h"

#define NAMES(call, name)                                                                                              \
    do {                                                                                                               \
        FAILS(call, DETAILFLOW_STATUS_INVALID_ARGUMENT, "NULL");                                                       \
        CHECK(strstr(detailflow_last_message(), name) != NULL);                                                        \
    } while (0)

/* Handles that nothing may write over. */
static char marker;
#define UNTOUCHED(type) ((type *)(void *)&marker)

static void null_is_refused_without_a_model(void)
{
    detailflow_runtime_options *runtime = NULL;
    detailflow_model_options *options = NULL;
    detailflow_model *model = UNTOUCHED(detailflow_model);
    detailflow_request *request = UNTOUCHED(detailflow_request);
    detailflow_generation *generation = UNTOUCHED(detailflow_generation);
    detailflow_cancel *cancel = UNTOUCHED(detailflow_cancel);
    detailflow_pack *pack = UNTOUCHED(detailflow_pack);
    detailflow_pack_writer *writer = UNTOUCHED(detailflow_pack_writer);
    detailflow_dft_info dft;
    detailflow_model_info info;
    detailflow_level level;
    detailflow_progress progress;
    detailflow_image image, nowhere;
    detailflow_sprite sprite;
    const char *name = "name";
    uint32_t number = 77;
    uint32_t tokens[1] = {77};
    size_t count = 77;
    char buffer[4] = "abc";
    unsigned char pixel[4] = {1, 2, 3, 4};

    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    info.image_size = 77;
    memset(&dft, 0, sizeof dft);
    dft.struct_size = sizeof dft;
    dft.intact_count = 77;
    memset(&level, 0, sizeof level);
    level.struct_size = sizeof level;
    level.level_size = 77;
    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    progress.prefix_size = 77;
    image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    memset(&sprite, 0, sizeof sprite);
    sprite.struct_size = sizeof sprite;
    sprite.tokens = tokens;
    sprite.token_count = 1;

    /* Without a handle there is nothing to free, and no message. */
    detailflow_runtime_options_free(NULL);
    detailflow_model_options_free(NULL);
    detailflow_model_free(NULL);
    detailflow_request_free(NULL);
    detailflow_generation_free(NULL);
    detailflow_cancel_free(NULL);
    INVALID(detailflow_model_get_message(NULL, NULL, 0, NULL), "model is NULL");
    INVALID(detailflow_request_get_message(NULL, NULL, 0, NULL), "request is NULL");
    INVALID(detailflow_generation_get_message(NULL, NULL, 0, NULL), "generation is NULL");
    INVALID(detailflow_model_get_message(NULL, buffer, sizeof buffer, NULL), "model is NULL");
    INVALID(detailflow_request_get_message(NULL, buffer, sizeof buffer, NULL), "request is NULL");
    INVALID(detailflow_generation_get_message(NULL, buffer, sizeof buffer, NULL), "generation is NULL");
    CHECK(detailflow_last_message() != NULL);

    OK(detailflow_log_set_callback(0, NULL, NULL, NULL));
    OK(detailflow_log_set_callback(4711, NULL, NULL, NULL));

    NAMES(detailflow_runtime_options_new(NULL, NULL), "options");
    NAMES(detailflow_runtime_options_set_library(NULL, "x"), "options");
    OK(detailflow_runtime_options_new(&runtime, NULL));
    NAMES(detailflow_runtime_options_set_library(runtime, NULL), "library");
    detailflow_runtime_options_free(runtime);

    NAMES(detailflow_model_options_new(NULL, NULL), "options");
    NAMES(detailflow_model_options_set_device(NULL, "cpu"), "options");
    NAMES(detailflow_model_options_set_device_option(NULL, "a", "b"), "options");
    NAMES(detailflow_model_options_set_allow_fallback(NULL, 1), "options");
    NAMES(detailflow_model_options_set_spinning(NULL, DETAILFLOW_SPINNING_RUNS), "options");
    NAMES(detailflow_model_options_set_threads(NULL, 1), "options");
    NAMES(detailflow_model_options_set_precision(NULL, "fp32"), "options");
    NAMES(detailflow_model_options_set_form(NULL, "mha"), "options");
    NAMES(detailflow_model_options_set_weights_in_memory(NULL, 1), "options");
    NAMES(detailflow_model_options_set_encoder(NULL, 1), "options");
    OK(detailflow_model_options_new(&options, NULL));
    NAMES(detailflow_model_options_set_device(options, NULL), "device");
    NAMES(detailflow_model_options_set_device_option(options, NULL, "b"), "key");
    NAMES(detailflow_model_options_set_device_option(options, "a", NULL), "value");
    OK(detailflow_model_options_set_precision(options, NULL));
    OK(detailflow_model_options_set_form(options, NULL));
    detailflow_model_options_free(options);

    NAMES(detailflow_model_open("x", NULL, NULL, NULL), "model");
    NAMES(detailflow_model_open(NULL, NULL, NULL, NULL), "model");
    NAMES(detailflow_model_open_memory(NULL, 0, NULL, NULL, NULL, NULL, NULL), "data");
    NAMES(detailflow_model_open_memory("x", 1, NULL, NULL, NULL, NULL, NULL), "model");
    NAMES(detailflow_model_open_reader(NULL, NULL, NULL, NULL), "detailflow_reader");
    NAMES(detailflow_model_get_info(NULL, &info), "model");
    NAMES(detailflow_model_get_report(NULL, NULL, 0, &count), "model");
    NAMES(detailflow_device_list_new(NULL, NULL), "list");
    NAMES(detailflow_device_list_get_count(NULL, &count, NULL), "list");
    NAMES(detailflow_device_list_get_info(NULL, 0, NULL, NULL), "list");
    NAMES(detailflow_device_list_get_metadata(NULL, 0, 0, NULL, NULL, NULL), "list");
    detailflow_device_list_free(NULL);
    NAMES(detailflow_bundle_strip("bundle", NULL, NULL, NULL), "target");
    NAMES(detailflow_bundle_pack("bundle", NULL, NULL), "target");
    NAMES(detailflow_bundle_unpack("bundle", NULL, NULL), "target");
    NAMES(detailflow_model_get_class_name(NULL, 0, &name), "model");
    NAMES(detailflow_model_find_class(NULL, "x", &number), "model");
    NAMES(detailflow_model_get_level(NULL, 0, &level), "model");
    NAMES(detailflow_model_get_prefix_size(NULL, 1, &number), "model");
    NAMES(detailflow_model_encode(NULL, &image, tokens, 1, &count), "model");
    NAMES(detailflow_model_encode_file(NULL, "x.png", tokens, 1, &count), "model");
    NAMES(detailflow_model_decode(NULL, tokens, 1, 0, &image), "model");

    NAMES(detailflow_model_find_level(NULL, 0, &level), "model");
    NAMES(detailflow_model_encode_file_cancellable(NULL, "x.png", NULL, tokens, 1, &count), "model");
    NAMES(detailflow_model_encode_data(NULL, pixel, sizeof pixel, tokens, 1, &count), "model");
    NAMES(detailflow_model_encode_with_effort(NULL, &image, 1, NULL, tokens, 1, &count), "model");
    NAMES(detailflow_model_encode_file_with_effort(NULL, "x.png", 1, NULL, tokens, 1, &count), "model");
    NAMES(detailflow_generate_image(NULL, NULL, 0, &image, NULL), "class_name");
    NAMES(detailflow_generate_image(NULL, "0", 0, NULL, NULL), "image");
    NAMES(detailflow_cancel_new(NULL, NULL), "cancel");
    NAMES(detailflow_tokens_get_kind(NULL, 4, &number, NULL), "data");
    NAMES(detailflow_tokens_get_kind(pixel, 4, NULL, NULL), "tokens_kind");
    NAMES(detailflow_image_encode(NULL, DETAILFLOW_FILE_FORMAT_PNG, pixel, 4, &count, NULL), "image");
    NAMES(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, NULL, 4, &count, NULL), "data");
    NAMES(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, NULL, 0, NULL, NULL), "size");
    NAMES(detailflow_model_options_set_open_progress(NULL, NULL, NULL), "options");
    NAMES(detailflow_model_options_set_cancel(NULL, NULL), "options");
    NAMES(detailflow_model_options_get_message(NULL, NULL, 0, NULL), "options");
    NAMES(detailflow_runtime_options_get_message(NULL, NULL, 0, NULL), "options");
    NAMES(detailflow_worker_options_get_message(NULL, NULL, 0, NULL), "options");
    NAMES(detailflow_worker_close(NULL, 0), "worker");
    NAMES(detailflow_generation_advance_to_level(NULL, 0, &progress), "generation");
    NAMES(detailflow_model_decode_mips(NULL, tokens, 1, 0, &image, 1), "model");
    NAMES(detailflow_model_lay_out_atlas(NULL, &sprite, 1, 9, 0, &number), "model");
    NAMES(detailflow_model_decode_atlas(NULL, &sprite, 1, &image), "model");
    NAMES(detailflow_mips_list_sizes(4, tokens, 1, NULL, NULL), "count");
    NAMES(detailflow_mips_list_sizes(4, NULL, 1, &count, NULL), "sizes");

    NAMES(detailflow_request_new(NULL, &request), "model");
    NAMES(detailflow_request_set_image_count(NULL, 1), "request");
    NAMES(detailflow_request_set_class(NULL, 0), "request");
    NAMES(detailflow_request_set_seed(NULL, 0), "request");
    NAMES(detailflow_request_set_image_source(NULL, 0, 0, 0), "request");
    NAMES(detailflow_request_set_guidance(NULL, 1), "request");
    NAMES(detailflow_request_set_gradual_guidance(NULL, 0), "request");
    NAMES(detailflow_request_set_temperature(NULL, 1), "request");
    NAMES(detailflow_request_set_top_k(NULL, 0), "request");
    NAMES(detailflow_request_set_top_p(NULL, 1), "request");
    NAMES(detailflow_request_set_level_size(NULL, 0), "request");

    NAMES(detailflow_generate(NULL, &generation), "request");
    NAMES(detailflow_generation_new(NULL, &generation), "request");
    NAMES(detailflow_generation_step(NULL, &progress), "generation");
    NAMES(detailflow_generation_step(NULL, NULL), "generation");
    NAMES(detailflow_generation_get_progress(NULL, &progress), "generation");
    NAMES(detailflow_generation_get_tokens(NULL, 0, tokens, 1, &count), "generation");
    NAMES(detailflow_generation_decode(NULL, 0, &image), "generation");
    NAMES(detailflow_generation_save(NULL, 0, "x.png"), "generation");
    NAMES(detailflow_generation_get_cancel(NULL, &cancel), "generation");
    NAMES(detailflow_cancel_trigger(NULL, NULL), "cancel");

    detailflow_pack_free(NULL);
    detailflow_pack_writer_free(NULL);
    INVALID(detailflow_pack_get_message(NULL, NULL, 0, NULL), "pack is NULL");
    INVALID(detailflow_pack_get_message(NULL, buffer, sizeof buffer, NULL), "pack is NULL");
    INVALID(detailflow_pack_writer_get_message(NULL, NULL, 0, NULL), "writer is NULL");
    NAMES(detailflow_dft_encode(NULL, tokens, 1, 0, NULL, pixel, sizeof pixel, &count), "model");
    NAMES(detailflow_dft_get_info(NULL, 4, &dft, NULL), "data");
    NAMES(detailflow_dft_get_tokens(NULL, 4, tokens, 1, &count, NULL), "data");
    NAMES(detailflow_dft_check(NULL, pixel, sizeof pixel), "model");
    NAMES(detailflow_dft_repair(NULL, pixel, sizeof pixel, 0, pixel, sizeof pixel, &count), "request");
    NAMES(detailflow_pack_open(NULL, &pack, NULL), "path");
    NAMES(detailflow_pack_open("x", NULL, NULL), "pack");
    NAMES(detailflow_pack_open_memory(NULL, 0, &pack, NULL), "data");
    NAMES(detailflow_pack_open_memory("x", 1, NULL, NULL), "pack");
    NAMES(detailflow_pack_open_reader(NULL, &pack, NULL), "detailflow_reader");
    NAMES(detailflow_pack_get_count(NULL, &number), "pack");
    NAMES(detailflow_pack_find_entry(NULL, "x", &number), "pack");
    NAMES(detailflow_pack_get_entry_name(NULL, 0, buffer, sizeof buffer, &count), "pack");
    NAMES(detailflow_pack_get_entry(NULL, 0, pixel, sizeof pixel, &count), "pack");
    NAMES(detailflow_pack_get_entry_info(NULL, 0, &dft), "pack");
    NAMES(detailflow_pack_get_entry_tokens(NULL, 0, tokens, 1, &count), "pack");
    NAMES(detailflow_pack_salvage(NULL, "y", &number, NULL, NULL), "path");
    NAMES(detailflow_pack_salvage("x", NULL, &number, NULL, NULL), "target");
    NAMES(detailflow_pack_salvage("x", "y", NULL, NULL, NULL), "entry_count");
    NAMES(detailflow_pack_salvage_memory(NULL, 0, "y", &number, NULL, NULL), "data");
    NAMES(detailflow_pack_salvage_memory("x", 1, NULL, &number, NULL, NULL), "target");
    NAMES(detailflow_pack_salvage_memory("x", 1, "y", NULL, NULL, NULL), "entry_count");
    NAMES(detailflow_pack_salvage_reader(NULL, "y", &number, NULL, NULL), "detailflow_reader");
    NAMES(detailflow_pack_writer_new(NULL, &writer, NULL), "path");
    NAMES(detailflow_pack_writer_new("x", NULL, NULL), "writer");
    NAMES(detailflow_pack_writer_add(NULL, "x", pixel, sizeof pixel, &number), "writer");
    NAMES(detailflow_pack_writer_finish(NULL), "writer");
    CHECK(pack == UNTOUCHED(detailflow_pack) && writer == UNTOUCHED(detailflow_pack_writer) && dft.intact_count == 77);

    NAMES(detailflow_image_save(NULL, "x.png", NULL), "image");
    NAMES(detailflow_image_save(&image, NULL, NULL), "path");
    NAMES(detailflow_image_upscale(NULL, 1, &image, NULL), "image");
    NAMES(detailflow_image_upscale(&image, 1, NULL, NULL), "image");
    nowhere = image;
    nowhere.pixels = NULL;
    NAMES(detailflow_image_upscale(&nowhere, 1, &image, NULL), "pixels");
    NAMES(detailflow_image_upscale(&image, 1, &nowhere, NULL), "pixels");
    image.pixels = NULL;
    NAMES(detailflow_image_save(&image, "x.png", NULL), "pixels");

    CHECK(model == UNTOUCHED(detailflow_model));
    CHECK(request == UNTOUCHED(detailflow_request));
    CHECK(generation == UNTOUCHED(detailflow_generation));
    CHECK(cancel == UNTOUCHED(detailflow_cancel));
    CHECK(info.image_size == 77 && info.struct_size == sizeof info);
    CHECK(level.level_size == 77 && level.struct_size == sizeof level);
    CHECK(progress.prefix_size == 77 && progress.struct_size == sizeof progress);
    CHECK(number == 77 && tokens[0] == 77 && count == 77);
    CHECK(strcmp(name, "name") == 0 && strcmp(buffer, "abc") == 0);
    CHECK(pixel[0] == 1 && pixel[3] == 4);
}

static void null_is_refused_by_token_files(const detailflow_model *model)
{
    detailflow_pack_writer *writer = NULL;
    detailflow_pack *pack = NULL;
    detailflow_request *request = NULL;
    unsigned char data[4096];
    uint32_t token = 0, number = 77;
    size_t size = 0, count = 77;

    NAMES(detailflow_dft_encode(model, NULL, 1, 0, NULL, data, sizeof data, &size), "tokens");
    NAMES(detailflow_dft_encode(model, &token, 1, 0, NULL, NULL, 1, &size), "data");
    NAMES(detailflow_dft_encode(model, &token, 1, 0, NULL, data, sizeof data, NULL), "size");
    OK(detailflow_dft_encode(model, &token, 1, DETAILFLOW_NO_CLASS, NULL, data, sizeof data, &size));
    NAMES(detailflow_dft_get_info(data, size, NULL, NULL), "info");
    NAMES(detailflow_dft_get_tokens(data, size, NULL, 1, &count, NULL), "tokens");
    NAMES(detailflow_dft_get_tokens(data, size, &token, 1, NULL, NULL), "count");
    NAMES(detailflow_dft_check(model, NULL, size), "data");
    OK(detailflow_request_new(model, &request));
    NAMES(detailflow_dft_repair(request, NULL, size, 0, data, sizeof data, &count), "data");
    NAMES(detailflow_dft_repair(request, data, size, 0, NULL, 1, &count), "target");
    NAMES(detailflow_dft_repair(request, data, size, 0, data, sizeof data, NULL), "target_size");
    detailflow_request_free(request);

    OK(detailflow_pack_writer_new("null.dftpack", &writer, NULL));
    NAMES(detailflow_pack_writer_add(writer, "x", NULL, size, NULL), "data");
    OK(detailflow_pack_writer_add(writer, NULL, data, size, NULL));
    OK(detailflow_pack_writer_finish(writer));
    detailflow_pack_writer_free(writer);
    OK(detailflow_pack_open("null.dftpack", &pack, NULL));
    NAMES(detailflow_pack_get_count(pack, NULL), "count");
    NAMES(detailflow_pack_find_entry(pack, NULL, &number), "name");
    NAMES(detailflow_pack_find_entry(pack, "x", NULL), "index");
    NAMES(detailflow_pack_get_entry_name(pack, 0, NULL, 1, &count), "buffer");
    OK(detailflow_pack_get_entry_name(pack, 0, NULL, 0, NULL));
    NAMES(detailflow_pack_get_entry(pack, 0, NULL, 1, &count), "data");
    NAMES(detailflow_pack_get_entry(pack, 0, data, sizeof data, NULL), "size");
    NAMES(detailflow_pack_get_entry_info(pack, 0, NULL), "info");
    NAMES(detailflow_pack_get_entry_tokens(pack, 0, NULL, 1, &count), "tokens");
    NAMES(detailflow_pack_get_entry_tokens(pack, 0, &token, 1, NULL), "count");
    detailflow_pack_free(pack);
    CHECK(number == 77 && count == 77);
}

static void null_is_refused_with_a_model(detailflow_model *model)
{
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_image image;
    detailflow_sprite sprite;
    uint32_t number = 77;
    uint32_t token[1] = {0};
    size_t count = 77;
    unsigned char pixel[4] = {1, 2, 3, 4};

    NAMES(detailflow_model_get_info(model, NULL), "info");
    null_is_refused_by_token_files(model);
    NAMES(detailflow_model_get_class_name(model, 0, NULL), "name");
    NAMES(detailflow_model_find_class(model, NULL, &number), "name");
    NAMES(detailflow_model_find_class(model, "x", NULL), "class_index");
    NAMES(detailflow_model_get_level(model, 0, NULL), "level");
    NAMES(detailflow_model_get_prefix_size(model, 1, NULL), "size");
    CHECK(MESSAGE(detailflow_model_get_message, model, NULL, 0) > 0);

    image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    NAMES(detailflow_model_encode(model, NULL, token, 1, &count), "image");
    NAMES(detailflow_model_encode(model, &image, NULL, 1, &count), "tokens");
    NAMES(detailflow_model_encode(model, &image, NULL, 0, NULL), "count");
    NAMES(detailflow_model_encode_file(model, NULL, token, 1, &count), "path");
    NAMES(detailflow_model_encode_file_cancellable(model, NULL, NULL, token, 1, &count), "path");
    NAMES(detailflow_model_encode_with_effort(model, NULL, 1, NULL, token, 1, &count), "image");
    NAMES(detailflow_model_encode_with_effort(model, &image, 1, NULL, NULL, 1, &count), "tokens");
    NAMES(detailflow_model_encode_with_effort(model, &image, 1, NULL, NULL, 0, NULL), "count");
    NAMES(detailflow_model_encode_file_with_effort(model, NULL, 1, NULL, token, 1, &count), "path");
    NAMES(detailflow_model_encode_file(model, "x.png", NULL, 1, &count), "tokens");
    NAMES(detailflow_model_encode_file(model, "x.png", NULL, 0, NULL), "count");
    NAMES(detailflow_model_decode(model, NULL, 1, 0, &image), "tokens");
    NAMES(detailflow_model_decode(model, token, 1, 0, NULL), "image");
    OK(detailflow_model_get_prefix_size(model, 1, &number));
    image = check_image(DETAILFLOW_FORMAT_RGBA8, number, NULL, (size_t)4 * number * number);
    NAMES(detailflow_model_decode(model, token, 1, 0, &image), "pixels");
    NAMES(detailflow_model_encode(model, &image, token, 1, &count), "pixels");

    NAMES(detailflow_model_find_level(model, 0, NULL), "level");
    NAMES(detailflow_model_encode_data(model, NULL, 4, token, 1, &count), "data");
    NAMES(detailflow_model_decode_mips(model, NULL, 1, 0, &image, 1), "tokens");
    NAMES(detailflow_model_decode_mips(model, token, 1, 0, NULL, 1), "image");
    NAMES(detailflow_model_decode_mips(model, token, 1, 0, &image, 1), "pixels");
    memset(&sprite, 0, sizeof sprite);
    sprite.struct_size = sizeof sprite;
    sprite.token_count = 1;
    NAMES(detailflow_model_lay_out_atlas(model, NULL, 1, 99, 0, NULL), "sprite");
    NAMES(detailflow_model_lay_out_atlas(model, &sprite, 1, 99, 0, NULL), "tokens");
    NAMES(detailflow_model_decode_atlas(model, NULL, 1, &image), "sprite");
    NAMES(detailflow_model_decode_atlas(model, &sprite, 1, &image), "tokens");
    sprite.tokens = token;
    NAMES(detailflow_model_decode_atlas(model, &sprite, 1, &image), "pixels");
    NAMES(detailflow_model_decode_atlas(model, &sprite, 1, NULL), "image");
    CHECK(sprite.x == 0 && sprite.y == 0);

    NAMES(detailflow_request_new(model, NULL), "request");
    OK(detailflow_request_new(model, &request));
    NAMES(detailflow_generate(request, NULL), "generation");
    NAMES(detailflow_generation_new(request, NULL), "generation");
    CHECK(MESSAGE(detailflow_request_get_message, request, NULL, 0) > 0);

    OK(detailflow_generation_new(request, &generation));
    NAMES(detailflow_generation_get_progress(generation, NULL), "progress");
    NAMES(detailflow_generation_get_tokens(generation, 0, NULL, 1, &count), "tokens");
    NAMES(detailflow_generation_get_tokens(generation, 0, token, 1, NULL), "count");
    NAMES(detailflow_generation_decode(generation, 0, NULL), "image");
    NAMES(detailflow_generation_save(generation, 0, NULL), "path");
    NAMES(detailflow_generation_get_cancel(generation, NULL), "cancel");
    CHECK(count == 77 && token[0] == 0);
    CHECK(check_progress(generation).steps_done == 0);
    OK(detailflow_generation_step(generation, NULL));
    number = check_progress(generation).prefix_size;
    image = check_image(DETAILFLOW_FORMAT_RGB8, number, NULL, (size_t)3 * number * number);
    NAMES(detailflow_generation_decode(generation, 0, &image), "pixels");
    CHECK(MESSAGE(detailflow_generation_get_message, generation, NULL, 0) > 0);

    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

/* Levels, forks, prefixes, best of many, costs: without a handle. */
static void null_handle_is_refused(void)
{
    detailflow_generation *generation = UNTOUCHED(detailflow_generation);
    detailflow_progress progress;
    detailflow_image image;
    detailflow_best_of_options *options = NULL;
    detailflow_cost cost;
    detailflow_step_cost step;
    detailflow_level_cost level;
    uint32_t number = 77;
    uint32_t tokens[1] = {77};
    uint64_t seeds[1] = {77}, more = 77, others = 77;
    float value = 77;
    size_t count = 77;
    unsigned char pixel[4] = {1, 2, 3, 4};

    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    OK(detailflow_best_of_options_new(&options, NULL));
    memset(&cost, 0, sizeof cost);
    cost.struct_size = sizeof cost;
    memset(&step, 0, sizeof step);
    step.struct_size = sizeof step;
    memset(&level, 0, sizeof level);
    level.struct_size = sizeof level;
    image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);

    NAMES(detailflow_generation_advance(NULL, 1, &progress), "generation");
    NAMES(detailflow_generation_finish(NULL, &progress), "generation");
    NAMES(detailflow_generation_decode_level(NULL, 0, &image), "generation");
    NAMES(detailflow_generation_get_image_source(NULL, 0, &number, &more), "generation");
    NAMES(detailflow_generation_get_log_probabilities(NULL, 0, &value, 1, &count), "generation");
    NAMES(detailflow_generation_get_mean_log_probability(NULL, 0, &value), "generation");
    NAMES(detailflow_generation_fork(NULL, seeds, 1, &generation), "generation");
    NAMES(detailflow_generation_retain_images(NULL, tokens, 1), "generation");
    NAMES(detailflow_generation_set_level_size(NULL, 0), "generation");
    NAMES(detailflow_generation_get_work(NULL, &more), "generation");
    NAMES(detailflow_generation_get_memory(NULL, &more, &others), "generation");
    NAMES(detailflow_request_set_guidance_curve(NULL, tokens, &value, 1), "request");
    NAMES(detailflow_request_set_temperature_curve(NULL, tokens, &value, 1), "request");
    NAMES(detailflow_request_set_top_k_curve(NULL, tokens, &value, 1), "request");
    NAMES(detailflow_request_set_top_p_curve(NULL, tokens, &value, 1), "request");
    NAMES(detailflow_request_set_log_probabilities(NULL, 1), "request");
    NAMES(detailflow_request_set_prefix(NULL, tokens, 1, 0), "request");
    NAMES(detailflow_request_set_image_prefix(NULL, 0, tokens, 1), "request");
    NAMES(detailflow_request_set_prefix_picture(NULL, &image, 0), "request");
    NAMES(detailflow_vary(NULL, tokens, 1, 0, &generation), "request");
    NAMES(detailflow_redetail(NULL, &image, 0, &generation), "request");
    NAMES(detailflow_redetail_file(NULL, "x.png", 0, &generation), "request");
    NAMES(detailflow_best_of(NULL, options, &generation, tokens, 1, &count, &value, 1), "request");
    detailflow_best_of_options_free(options);
    NAMES(detailflow_request_get_cost(NULL, &cost), "request");
    NAMES(detailflow_request_get_step_costs(NULL, &step, 1, &count), "request");
    NAMES(detailflow_request_get_level_costs(NULL, &level, 1, &count), "request");
    NAMES(detailflow_model_score(NULL, 0, tokens, 1, &value, 1, &count), "model");
    NAMES(detailflow_model_calibrate(NULL, tokens, 1), "model");
    NAMES(detailflow_model_predict_decode(NULL, 1, &more), "model");

    CHECK(generation == UNTOUCHED(detailflow_generation));
    CHECK(progress.steps_done == 0 && cost.step_count == 0 && step.step_count == 0 && level.step_count == 0);
    CHECK(number == 77 && tokens[0] == 77 && more == 77 && others == 77 && value == 77 && count == 77);
    CHECK(pixel[0] == 1 && pixel[3] == 4);
}

/* And with one. */
static void null_argument_is_refused(detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL, *other = UNTOUCHED(detailflow_generation);
    const uint32_t level = check_level(model, 0).level_size, keep = 1;
    uint32_t token[1] = {0};
    uint64_t seed = 0;
    float value = 1;
    size_t count = 77;
    unsigned char pixel[4] = {1, 2, 3, 4};
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    detailflow_best_of_options *options = check_rounds(&level, &keep, 1);

    NAMES(detailflow_request_set_guidance_curve(request, NULL, &value, 1), "token_indices");
    NAMES(detailflow_request_set_guidance_curve(request, token, NULL, 1), "values");
    NAMES(detailflow_request_set_temperature_curve(request, NULL, &value, 1), "token_indices");
    NAMES(detailflow_request_set_temperature_curve(request, token, NULL, 1), "values");
    NAMES(detailflow_request_set_top_k_curve(request, NULL, &value, 1), "token_indices");
    NAMES(detailflow_request_set_top_k_curve(request, token, NULL, 1), "values");
    NAMES(detailflow_request_set_top_p_curve(request, NULL, &value, 1), "token_indices");
    NAMES(detailflow_request_set_top_p_curve(request, token, NULL, 1), "values");
    NAMES(detailflow_request_set_prefix(request, NULL, 1, 0), "tokens");
    NAMES(detailflow_request_set_image_prefix(request, 0, NULL, 1), "tokens");
    NAMES(detailflow_request_set_prefix_picture(request, NULL, 0), "image");
    NAMES(detailflow_vary(request, NULL, 1, 0, &other), "tokens");
    NAMES(detailflow_vary(request, token, 1, 0, NULL), "generation");
    NAMES(detailflow_redetail(request, NULL, 0, &other), "image");
    NAMES(detailflow_redetail(request, &image, 0, NULL), "generation");
    NAMES(detailflow_redetail_file(request, NULL, 0, &other), "path");
    NAMES(detailflow_redetail_file(request, "x.png", 0, NULL), "generation");
    image.pixels = NULL;
    NAMES(detailflow_redetail(request, &image, 0, &other), "pixels");
    NAMES(detailflow_request_set_prefix_picture(request, &image, 0), "pixels");
    NAMES(detailflow_best_of(request, NULL, &other, token, 1, &count, &value, 1), "options");
    NAMES(detailflow_best_of(request, options, NULL, token, 1, &count, &value, 1), "generation");
    NAMES(detailflow_best_of(request, options, &other, NULL, 1, &count, &value, 1), "survivors");
    NAMES(detailflow_best_of(request, options, &other, token, 1, &count, NULL, 1), "scores");
    NAMES(detailflow_best_of_options_new(NULL, NULL), "options");
    NAMES(detailflow_best_of_options_add_round(NULL, 8, 1), "options");
    NAMES(detailflow_best_of_options_set_scorer_log_probability(NULL), "options");
    NAMES(detailflow_best_of_options_set_scorer_likeness(NULL, &image), "options");
    NAMES(detailflow_best_of_options_set_scorer_likeness(options, NULL), "image");
    NAMES(detailflow_best_of_options_set_scorer_function(NULL, NULL, NULL), "options");
    NAMES(detailflow_best_of_options_set_scorer_function(options, NULL, NULL), "function");
    NAMES(detailflow_best_of_options_get_message(NULL, NULL, 0, NULL), "options");
    detailflow_best_of_options_free(options);
    detailflow_best_of_options_free(NULL);
    NAMES(detailflow_request_get_cost(request, NULL), "cost");
    NAMES(detailflow_request_get_step_costs(request, NULL, 1, &count), "step");
    NAMES(detailflow_request_get_step_costs(request, NULL, 0, NULL), "count");
    NAMES(detailflow_request_get_level_costs(request, NULL, 1, &count), "level");
    NAMES(detailflow_request_get_level_costs(request, NULL, 0, NULL), "count");
    NAMES(detailflow_model_score(model, 0, NULL, 1, &value, 1, &count), "tokens");
    NAMES(detailflow_model_score(model, 0, token, 1, NULL, 1, &count), "values");
    NAMES(detailflow_model_score(model, 0, token, 1, &value, 1, NULL), "count");
    NAMES(detailflow_model_calibrate(model, NULL, 1), "batch_sizes");
    NAMES(detailflow_model_predict_decode(model, 1, NULL), "time_ns");
    CHECK(MESSAGE(detailflow_model_get_message, model, NULL, 0) == strlen(detailflow_last_message()));

    OK(detailflow_request_set_log_probabilities(request, 1));
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_advance(generation, 0, NULL));
    NAMES(detailflow_generation_decode_level(generation, 0, NULL), "image");
    OK(detailflow_generation_get_image_source(generation, 0, NULL, NULL));
    NAMES(detailflow_generation_get_log_probabilities(generation, 0, NULL, 1, &count), "values");
    NAMES(detailflow_generation_get_log_probabilities(generation, 0, &value, 1, NULL), "count");
    NAMES(detailflow_generation_get_mean_log_probability(generation, 0, NULL), "mean");
    NAMES(detailflow_generation_fork(generation, NULL, 1, &other), "seeds");
    NAMES(detailflow_generation_fork(generation, &seed, 1, NULL), "fork");
    NAMES(detailflow_generation_retain_images(generation, NULL, 1), "image_indices");
    NAMES(detailflow_generation_get_work(generation, NULL), "work");
    OK(detailflow_generation_get_memory(generation, NULL, NULL));
    OK(detailflow_generation_finish(generation, NULL));
    CHECK(MESSAGE(detailflow_generation_get_message, generation, NULL, 0) > 0);
    CHECK(other == UNTOUCHED(detailflow_generation));
    CHECK(token[0] == 0 && seed == 0 && value == 1 && count == 77 && pixel[0] == 1);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model;
    const char *bundle = check_bundle(argc, argv);
    CHECK(detailflow_last_message()[0] == 0);
    CHECK(detailflow_version_number() == DETAILFLOW_VERSION_NUMBER);
    null_is_refused_without_a_model();
    null_handle_is_refused();
    model = check_open(bundle, 1);
    null_is_refused_with_a_model(model);
    null_argument_is_refused(model);
    detailflow_model_free(model);
    return 0;
}
