/* The caller's memory: structs of older and newer headers, sizes, strides, capacities; nothing is written where something
 * is wrong. */
#include "posix.h"

#include <math.h>

/* A struct as a newer header would have it. */
struct newer_info {
    detailflow_model_info known;
    uint32_t more[4];
};
struct newer_level {
    detailflow_level known;
    uint32_t more[4];
};
struct newer_progress {
    detailflow_progress known;
    uint32_t more[4];
};
struct newer_image {
    detailflow_image known;
    uint32_t more[4];
};

static void struct_size_is_checked(const detailflow_model *model)
{
    struct newer_info info;
    struct newer_level level;
    struct newer_progress progress;
    struct newer_image image;
    uint32_t *tokens;
    size_t count, tokens_wanted;
    unsigned char *pixels;
    uint32_t size;
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;

    OK(detailflow_generate(request, &generation));
    size = check_progress(generation).prefix_size;
    tokens = check_tokens(generation, 0, &count);
    pixels = (unsigned char *)malloc((size_t)4 * size * size);
    CHECK(pixels != NULL);

    memset(&info, 0xA5, sizeof info);
    info.known.struct_size = 0;
    INVALID(detailflow_model_get_info(model, &info.known), "detailflow_model_info.struct_size");
    info.known.struct_size = sizeof info.known - 1;
    INVALID(detailflow_model_get_info(model, &info.known), "detailflow_model_info.struct_size");
    CHECK(info.known.image_size == 0xA5A5A5A5);
    info.known.struct_size = sizeof info;
    memset(info.more, 0, sizeof info.more);
    OK(detailflow_model_get_info(model, &info.known));
    CHECK(info.known.struct_size == sizeof info && info.known.image_size > 0 && info.more[0] == 0 && info.more[3] == 0);

    memset(&level, 0xA5, sizeof level);
    level.known.struct_size = 4;
    INVALID(detailflow_model_get_level(model, 0, &level.known), "detailflow_level.struct_size");
    level.known.struct_size = sizeof level.known - 1;
    INVALID(detailflow_model_get_level(model, 0, &level.known), "detailflow_level.struct_size");
    CHECK(level.known.level_size == 0xA5A5A5A5);
    level.known.struct_size = sizeof level;
    memset(level.more, 0, sizeof level.more);
    INVALID(detailflow_model_get_level(model, info.known.level_count, &level.known), "level");
    OK(detailflow_model_get_level(model, 0, &level.known));
    CHECK(level.known.struct_size == sizeof level && level.known.level_size > 0 && level.more[0] == 0);

    memset(&progress, 0xA5, sizeof progress);
    progress.known.struct_size = sizeof progress.known - 1;
    INVALID(detailflow_generation_get_progress(generation, &progress.known), "detailflow_progress.struct_size");
    INVALID(detailflow_generation_step(generation, &progress.known), "detailflow_progress.struct_size");
    CHECK(progress.known.prefix_size == 0xA5A5A5A5);
    progress.known.struct_size = sizeof progress;
    memset(progress.more, 0, sizeof progress.more);
    OK(detailflow_generation_get_progress(generation, &progress.known));
    CHECK(progress.known.struct_size == sizeof progress && progress.known.prefix_size == size);
    OK(detailflow_generation_step(generation, &progress.known));
    CHECK(progress.known.struct_size == sizeof progress && progress.more[0] == 0 && progress.known.steps_left == 0);

    /* Structs that go in: what is beyond must be zero. */
    memset(&image, 0, sizeof image);
    image.known = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, (size_t)4 * size * size);
    image.known.struct_size = sizeof image.known - 1;
    INVALID(detailflow_image_save(&image.known, "x.png", NULL), "detailflow_image.struct_size");
    INVALID(detailflow_generation_decode(generation, 0, &image.known), "detailflow_image.struct_size");
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image.known), "detailflow_image.struct_size");
    INVALID(detailflow_model_encode(model, &image.known, NULL, 0, &tokens_wanted), "detailflow_image.struct_size");
    image.known.struct_size = sizeof image;
    OK(detailflow_generation_decode(generation, 0, &image.known));
    OK(detailflow_image_save(&image.known, "newer.png", NULL));
    OK(detailflow_model_encode(model, &image.known, NULL, 0, &tokens_wanted));
    CHECK(tokens_wanted == info.known.token_count);
    image.more[3] = 1u << 24;
    INVALID(detailflow_image_save(&image.known, "newest.png", NULL), "detailflow_image");
    INVALID(detailflow_generation_decode(generation, 0, &image.known), "detailflow_image");
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image.known), "detailflow_image");
    INVALID(detailflow_model_encode(model, &image.known, NULL, 0, &tokens_wanted), "detailflow_image");
    CHECK(access("newest.png", F_OK) != 0);

    free(tokens);
    free(pixels);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void target_memory_is_checked(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;
    detailflow_image image;
    uint32_t *tokens, size;
    size_t count, bytes, at;
    unsigned char *pixels;

    OK(detailflow_generation_new(request, &generation));
    image = check_image(DETAILFLOW_FORMAT_RGBA8, 16, &size, sizeof size);
    FAILS(detailflow_generation_decode(generation, 0, &image), DETAILFLOW_STATUS_WRONG_STATE, "step");
    FAILS(detailflow_generation_save(generation, 0, "early.png"), DETAILFLOW_STATUS_WRONG_STATE, "step");
    CHECK(access("early.png", F_OK) != 0);
    do {
        OK(detailflow_generation_step(generation, NULL));
    } while (check_progress(generation).steps_left > 0);
    size = check_progress(generation).prefix_size;
    tokens = check_tokens(generation, 0, &count);
    bytes = (size_t)4 * size * size;
    pixels = (unsigned char *)malloc(bytes);
    CHECK(pixels != NULL);
    memset(pixels, 0xA5, bytes);

#define BAD(change, text)                                                                                              \
    do {                                                                                                               \
        image = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, bytes);                                             \
        change;                                                                                                        \
        INVALID(detailflow_generation_decode(generation, 0, &image), text);                                            \
        INVALID(detailflow_model_decode(model, tokens, count, 0, &image), text);                                       \
    } while (0)
    BAD(image.width = size + 1, "detailflow_image is");
    BAD(image.height = size - 1, "detailflow_image is");
    BAD(image.width = image.height = 0, "detailflow_image is");
    BAD(image.width = UINT32_MAX, "detailflow_image is");
    BAD(image.format = 0, "format is 0");
    BAD(image.format = 9, "format is 9");
    BAD(image.format = UINT32_MAX, "format is");
    BAD(image.stride = (size_t)4 * size - 1, "stride");
    BAD(image.stride = 1, "stride");
    BAD(image.stride = SIZE_MAX, "bytes are too few");
    BAD(image.stride = SIZE_MAX / 2, "bytes are too few");
    BAD(image.capacity = bytes - 1, "bytes are too few");
    BAD(image.capacity = 0, "bytes are too few");
    BAD(image.capacity = SIZE_MAX, "capacity");
    BAD(image.stride = (size_t)4 * size + 1, "bytes are too few");
    BAD(image.pixels = NULL, "NULL");
#undef BAD
    for (at = 0; at < bytes; at++) {
        CHECK(pixels[at] == 0xA5);
    }
    image = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, bytes);
    INVALID(detailflow_generation_decode(generation, 1, &image), "image 1");
    INVALID(detailflow_generation_decode(generation, UINT32_MAX, &image), "image");

    /* Tokens. */
    {
        uint32_t few[1];
        size_t told = 77;
        INVALID(detailflow_generation_get_tokens(generation, 1, NULL, 0, &told), "image 1");
        INVALID(detailflow_generation_get_tokens(generation, 0, few, 0, &told), "tokens");
        CHECK(told == 77);
        if (count > 1) {
            few[0] = 0xA5A5A5A5;
            INVALID(detailflow_generation_get_tokens(generation, 0, few, 1, &told), "tokens");
            INVALID(detailflow_model_encode(model, &image, few, 1, &told), "tokens");
            CHECK(few[0] == 0xA5A5A5A5 && told == 77);
        }
    }
    INVALID(detailflow_model_decode(model, tokens, 0, 0, &image), "0 tokens");
    INVALID(detailflow_model_decode(model, tokens, (size_t)info.token_count + 1, 0, &image), "prefix");
    INVALID(detailflow_model_decode(model, tokens, SIZE_MAX, 0, &image), "prefix");
    if (info.group_size > 1 && info.causal_count + 1 < info.token_count) {
        INVALID(detailflow_model_decode(model, tokens, info.causal_count + 1, 0, &image), "prefix");
        INVALID(detailflow_model_get_prefix_size(model, info.causal_count + 1, &size), "prefix");
        size = image.width;
    }
    INVALID(detailflow_model_get_prefix_size(model, 0, &size), "prefix");
    INVALID(detailflow_model_get_prefix_size(model, (size_t)info.token_count + info.group_size, &size), "prefix");
    INVALID(detailflow_model_get_prefix_size(model, SIZE_MAX, &size), "prefix");
    CHECK(size == image.width);
    {
        detailflow_image odd = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixels, bytes);
        INVALID(detailflow_model_decode(model, tokens, count, 1, &odd), "levels");
    }
    if (info.level_count > 1) {
        INVALID(detailflow_model_decode(model, tokens, info.causal_count, info.image_size, &image), "tokens");
    }
    tokens[count - 1] = info.codebook_size;
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image), "codebook");
    tokens[count - 1] = UINT32_MAX;
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image), "4294967295");

    /* Pictures that go in. */
    image = check_image(DETAILFLOW_FORMAT_RGBA8, 0, pixels, bytes);
    INVALID(detailflow_model_encode(model, &image, tokens, count, &count), "0 x 0");
    INVALID(detailflow_image_save(&image, "empty.png", NULL), "0 x 0");
    image = check_image(DETAILFLOW_FORMAT_RGBA8, UINT32_MAX, pixels, bytes);
    INVALID(detailflow_model_encode(model, &image, tokens, count, &count), "bytes are too few");
    INVALID(detailflow_image_save(&image, "huge.png", NULL), "bytes are too few");
    {
        float pixel[4] = {0, 0, 0, 1};
        pixel[1] = NAN;
        image = check_image(DETAILFLOW_FORMAT_RGBA32F, 1, pixel, sizeof pixel);
        INVALID(detailflow_model_encode(model, &image, tokens, count, &count), "not a finite number");
        INVALID(detailflow_image_save(&image, "float.png", NULL), "not a finite number");
    }
    CHECK(access("empty.png", F_OK) != 0 && access("huge.png", F_OK) != 0 && access("float.png", F_OK) != 0);

    free(pixels);
    free(tokens);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    struct_size_is_checked(model);
    target_memory_is_checked(model);
    detailflow_model_free(model);
    return 0;
}
