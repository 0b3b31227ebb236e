/* One call from nothing to pixels, and steps up to a level. */
#include "posix.h"

/* Every level, by name and by index of the class: what a request gives. */
static void generate_image_gives_what_a_request_gives(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    const char *name = NULL;
    uint32_t index;
    OK(detailflow_model_get_class_name(model, 0, &name));
    for (index = 0; index < info.level_count; index++) {
        const detailflow_level level = check_level(model, index);
        const size_t bytes = (size_t)4 * level.level_size * level.level_size;
        unsigned char *found = (unsigned char *)malloc(bytes), *wanted = (unsigned char *)malloc(bytes);
        detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, level.level_size, found, bytes);
        detailflow_request *request = check_request(model, 1, 7);
        detailflow_generation *generation = NULL;
        CHECK(found != NULL && wanted != NULL);
        OK(detailflow_generate_image(model, name, 7, &image, NULL));
        OK(detailflow_request_set_level_size(request, level.level_size));
        OK(detailflow_generate(request, &generation));
        image.pixels = wanted;
        OK(detailflow_generation_decode(generation, 0, &image));
        CHECK(memcmp(found, wanted, bytes) == 0);
        memset(found, 0, bytes);
        image.pixels = found;
        OK(detailflow_generate_image(model, "0", 7, &image, NULL));
        CHECK(memcmp(found, wanted, bytes) == 0);
        detailflow_generation_free(generation);
        detailflow_request_free(request);
        free(found);
        free(wanted);
    }
}

/* Without a model the default bundle is opened, once. */
static void generate_image_opens_the_default_bundle(const char *bundle, const detailflow_model *model)
{
    const uint32_t size = check_level(model, 0).level_size;
    const size_t bytes = (size_t)3 * size * size;
    unsigned char *first = (unsigned char *)malloc(bytes), *second = (unsigned char *)malloc(bytes);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGB8, size, first, bytes);
    CHECK(first != NULL && second != NULL);
    CHECK(setenv("DETAILFLOW_BUNDLE", "nowhere", 1) == 0);
    FAILS(detailflow_generate_image(NULL, "0", 1, &image, NULL), DETAILFLOW_STATUS_NOT_FOUND, "nowhere");
    CHECK(setenv("DETAILFLOW_BUNDLE", bundle, 1) == 0);
    OK(detailflow_generate_image(NULL, "0", 1, &image, NULL));
    /* It stays open. */
    CHECK(setenv("DETAILFLOW_BUNDLE", "nowhere", 1) == 0);
    image.pixels = second;
    OK(detailflow_generate_image(NULL, "0", 1, &image, NULL));
    CHECK(memcmp(first, second, bytes) == 0);
    free(first);
    free(second);
}

static void generate_image_names_what_is_wrong(const detailflow_model *model)
{
    const uint32_t size = check_level(model, 0).level_size;
    unsigned char *pixels = (unsigned char *)calloc(1, (size_t)4 * (size + 1) * (size + 1));
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, (size_t)4 * (size + 1) * (size + 1));
    detailflow_error error;
    memset(&error, 0, sizeof error);
    error.struct_size = sizeof error;
    CHECK(pixels != NULL);
    INVALID(detailflow_generate_image(model, "no such class", 1, &image, &error), "no such class");
    CHECK(strstr(error.message, "no such class") != NULL);
    image.width++;
    INVALID(detailflow_generate_image(model, "0", 1, &image, NULL), "square");
    image.height++;
    INVALID(detailflow_generate_image(model, "0", 1, &image, NULL), "levels are");
    /* Refused before the work; to a request 0 would be the finest level. */
    image.width = image.height = 0;
    INVALID(detailflow_generate_image(model, "0", 1, &image, NULL), "choose the level");
    CHECK(pixels[0] == 0);
    free(pixels);
}

static void advance_to_level_stops_at_the_level(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 2, 1);
    detailflow_generation *generation = NULL;
    detailflow_progress progress;
    uint32_t index;
    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    OK(detailflow_generation_new(request, &generation));
    INVALID(detailflow_generation_advance_to_level(generation, 1, &progress), "levels are");
    CHECK(progress.image_count == 0 && check_progress(generation).steps_done == 0);
    for (index = 0; index < info.level_count; index++) {
        const detailflow_level level = check_level(model, index);
        OK(detailflow_generation_advance_to_level(generation, level.level_size, &progress));
        CHECK(progress.level_size == level.level_size && progress.level_token_count == level.token_count);
        CHECK(progress.token_count == level.token_count);
        /* It is there already. */
        OK(detailflow_generation_advance_to_level(generation, check_level(model, 0).level_size, NULL));
        CHECK(check_progress(generation).steps_done == progress.steps_done);
    }
    CHECK(progress.steps_left == 0);
    detailflow_generation_free(generation);

    /* 0 is the level that the request ends at; a finer one is refused. */
    OK(detailflow_request_set_level_size(request, check_level(model, 0).level_size));
    OK(detailflow_generation_new(request, &generation));
    if (info.level_count > 1) {
        INVALID(detailflow_generation_advance_to_level(generation, info.image_size, NULL), "stops at");
    }
    OK(detailflow_generation_advance_to_level(generation, 0, &progress));
    CHECK(progress.level_size == check_level(model, 0).level_size && progress.steps_left == 0);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    detailflow_model *model = check_open(bundle, 1);
    generate_image_gives_what_a_request_gives(model);
    generate_image_opens_the_default_bundle(bundle, model);
    generate_image_names_what_is_wrong(model);
    advance_to_level_stops_at_the_level(model);
    detailflow_model_free(model);
    return 0;
}
