/* What works, works: look at a model, draw at once, by the step and in a batch, decode, encode, files. */
#include "check.h"

#include <math.h>

static void model_tells_what_it_is(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_level level, before;
    uint32_t at, size = 0, coarser = 0;
    size_t count;

    CHECK(info.struct_size == sizeof info && info.reserved == 0);
    CHECK(info.image_size > 0 && (info.channels == 3 || info.channels == 4));
    CHECK(info.group_size >= 1 && info.causal_count >= 1 && info.causal_count <= info.token_count &&
          info.token_count % info.group_size == 0);
    CHECK(info.codebook_size >= 2 && info.bits_per_token >= 1 && info.bits_per_token <= 32 &&
          (UINT64_C(1) << info.bits_per_token) >= info.codebook_size);
    CHECK(info.class_count >= 1 && info.level_count >= 1);
    CHECK(info.guidance >= 0 && info.temperature >= 0 && info.top_p > 0 && info.top_p <= 1 &&
          info.gradual_guidance <= 1);
    CHECK(info.name[0] != 0 && info.license[0] != 0 && info.precision[0] != 0 && info.path[0] != 0);
    CHECK(strlen(info.tokenizer_id) == 16 && strspn(info.tokenizer_id, "0123456789abcdef") == 16);
    CHECK(strcmp(info.form, "native") == 0 || strcmp(info.form, "mha") == 0 || strcmp(info.form, "plain") == 0);
    CHECK(strcmp(info.device, "cpu") == 0);

    /* Names go there and back, and so do numbers. */
    for (at = 0; at < info.class_count; at++) {
        const char *name = NULL;
        char number[16];
        uint32_t index = UINT32_MAX;
        OK(detailflow_model_get_class_name(model, at, &name));
        OK(detailflow_model_find_class(model, name, &index));
        if (index != at) {
            /* Two classes of one name: the first is meant. */
            const char *first = NULL;
            CHECK(index < at);
            OK(detailflow_model_get_class_name(model, index, &first));
            CHECK(strcmp(name, first) == 0);
        }
        CHECK(snprintf(number, sizeof number, "%u", (unsigned)at) > 0);
        OK(detailflow_model_find_class(model, number, &index));
        CHECK(index == at || strcmp(name, number) != 0);
    }

    /* Levels grow, and the last is the whole picture. */
    memset(&before, 0, sizeof before);
    for (at = 0; at < info.level_count; at++) {
        memset(&level, 0, sizeof level);
        level.struct_size = sizeof level;
        OK(detailflow_model_get_level(model, at, &level));
        CHECK(level.level_size > before.level_size && level.token_count > before.token_count && level.reserved == 0);
        OK(detailflow_model_get_prefix_size(model, level.token_count, &size));
        CHECK(size == level.level_size);
        before = level;
    }
    CHECK(before.level_size == info.image_size && before.token_count == info.token_count);

    /* So do prefixes. */
    for (count = 1; count <= info.token_count; count++) {
        if (count <= info.causal_count || count % info.group_size == 0) {
            OK(detailflow_model_get_prefix_size(model, count, &size));
            CHECK(size >= coarser && size <= info.image_size);
            coarser = size;
        }
    }
    CHECK(coarser == info.image_size);
}

/* The picture as it is now, in every format, into memory with gaps between rows that nothing may touch. */
static void look_at_picture(detailflow_generation *generation, uint32_t channels)
{
    static const uint32_t formats[] = {DETAILFLOW_FORMAT_RGB8, DETAILFLOW_FORMAT_RGBA8, DETAILFLOW_FORMAT_RGBA32F};
    const uint32_t size = check_progress(generation).prefix_size;
    unsigned char *rgb = NULL, *rgba = NULL;
    int at;
    for (at = 0; at < 3; at++) {
        const size_t row = size * check_pixel_bytes(formats[at]), stride = row + 13;
        const size_t capacity = stride * (size - 1) + row, all = capacity + 32;
        unsigned char *memory = (unsigned char *)malloc(all);
        /* An odd address: nothing is promised about alignment. */
        unsigned char *pixels = memory + 1;
        detailflow_image image = check_image(formats[at], size, pixels, capacity);
        size_t x, y;
        CHECK(memory != NULL);
        memset(memory, 0xA5, all);
        image.stride = stride;
        OK(detailflow_generation_decode(generation, 0, &image));
        CHECK(memory[0] == 0xA5);
        for (y = 0; y + 1 < size; y++) {
            for (x = row; x < stride; x++) {
                CHECK(pixels[y * stride + x] == 0xA5);
            }
        }
        for (x = capacity; x < all - 1; x++) {
            CHECK(pixels[x] == 0xA5);
        }
        if (formats[at] == DETAILFLOW_FORMAT_RGB8) {
            rgb = memory;
        } else if (formats[at] == DETAILFLOW_FORMAT_RGBA8) {
            rgba = memory;
            for (y = 0; y < size; y++) {
                for (x = 0; x < size; x++) {
                    const unsigned char *a = rgb + 1 + y * (size * 3 + 13) + x * 3, *b = pixels + y * stride + x * 4;
                    /* RGB is RGBA over black. */
                    if (channels == 3) {
                        CHECK(b[3] == 255 && memcmp(a, b, 3) == 0);
                    } else {
                        CHECK(a[0] <= b[3] && a[1] <= b[3] && a[2] <= b[3]);
                    }
                }
            }
        } else {
            for (y = 0; y < size; y++) {
                for (x = 0; x < size; x++) {
                    const unsigned char *bytes = rgba + 1 + y * (size * 4 + 13) + x * 4;
                    float values[4];
                    int channel;
                    memcpy(values, pixels + y * stride + x * 16, sizeof values);
                    for (channel = 0; channel < 4; channel++) {
                        CHECK(values[channel] >= 0 && values[channel] <= 1);
                        CHECK(fabsf(values[channel] * 255 - (float)bytes[channel]) <= 1.01f);
                    }
                }
            }
            free(memory);
        }
    }
    free(rgb);
    free(rgba);
}

/* Draws by the step, looking at everything on the way; returns the tokens. */
static uint32_t *draw_by_the_step(const detailflow_model *model, uint64_t seed, size_t *count)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, seed);
    detailflow_generation *generation = NULL;
    detailflow_progress now, before;
    uint32_t *tokens = NULL;

    OK(detailflow_generation_new(request, &generation));
    detailflow_request_free(request);
    before = check_progress(generation);
    CHECK(before.steps_done == 0 && before.steps_left > 0 && before.token_count == 0 && before.prefix_size == 0);
    CHECK(before.level_size == 0);
    while (before.steps_left > 0) {
        uint32_t *more;
        memset(&now, 0, sizeof now);
        now.struct_size = sizeof now;
        OK(detailflow_generation_step(generation, &now));
        CHECK(now.steps_done == before.steps_done + 1 && now.steps_left == before.steps_left - 1);
        CHECK(now.token_count > before.token_count && now.prefix_size >= before.prefix_size &&
              now.level_size >= before.level_size);
        CHECK(now.level_size <= now.prefix_size && now.prefix_size <= info.image_size);
        more = check_tokens(generation, 0, count);
        CHECK(*count == now.token_count);
        CHECK(before.token_count == 0 || memcmp(tokens, more, before.token_count * sizeof *more) == 0);
        free(tokens);
        tokens = more;
        look_at_picture(generation, info.channels);
        before = now;
    }
    CHECK(now.token_count == info.token_count && now.prefix_size == info.image_size &&
          now.level_size == info.image_size);
    /* A step more does nothing. The prediction of a decode changes with every decode. */
    OK(detailflow_generation_step(generation, &now));
    now.next_decode_ns = before.next_decode_ns;
    CHECK(memcmp(&now, &before, sizeof now) == 0);
    detailflow_generation_free(generation);
    return tokens;
}

static void tokens_do_not_depend_on_how_they_are_asked_for(const detailflow_model *model)
{
    const uint64_t seed = UINT64_C(0xFEDCBA9876543210);
    detailflow_model_info info = check_info(model);
    size_t count, other;
    uint32_t at, *tokens = draw_by_the_step(model, seed, &count);
    uint32_t *again = check_draw(model, seed, &other);
    detailflow_request *request;
    detailflow_generation *generation = NULL;

    CHECK(count == info.token_count && other == count);
    for (at = 0; at < count; at++) {
        CHECK(tokens[at] < info.codebook_size);
    }
    CHECK(memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(again);

    /* In the middle of three, from seeds that follow each other, and from a seed of its own. */
    request = check_request(model, 3, seed - 1);
    OK(detailflow_request_set_image_source(request, 0, info.class_count - 1, 5));
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 1, &other);
    CHECK(other == count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(again);
    detailflow_generation_free(generation);
    OK(detailflow_request_set_image_source(request, 2, 0, seed));
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 2, &other);
    CHECK(other == count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(again);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    free(tokens);
}

static void levels_decode_at_their_sizes(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_level level;
    detailflow_request *request = check_request(model, 1, 7);
    detailflow_generation *generation = NULL;
    size_t count, other;
    uint32_t *whole = check_draw(model, 7, &count), *part;
    unsigned char *a, *b;
    detailflow_image image;

    memset(&level, 0, sizeof level);
    level.struct_size = sizeof level;
    OK(detailflow_model_get_level(model, (info.level_count - 1) / 2, &level));
    OK(detailflow_request_set_level_size(request, level.level_size));
    OK(detailflow_generate(request, &generation));
    CHECK(check_progress(generation).token_count == level.token_count &&
          check_progress(generation).prefix_size == level.level_size);
    CHECK(check_progress(generation).level_size == level.level_size && check_progress(generation).steps_left == 0);

    /* The coarse picture is the beginning of the fine one, and decodes to the same pixels. */
    part = check_tokens(generation, 0, &other);
    CHECK(other == level.token_count && memcmp(whole, part, other * sizeof *part) == 0);
    a = (unsigned char *)malloc((size_t)4 * level.level_size * level.level_size);
    b = (unsigned char *)malloc((size_t)4 * level.level_size * level.level_size);
    CHECK(a != NULL && b != NULL);
    image = check_image(DETAILFLOW_FORMAT_RGBA8, level.level_size, a, (size_t)4 * level.level_size * level.level_size);
    OK(detailflow_generation_decode(generation, 0, &image));
    image.pixels = b;
    OK(detailflow_model_decode(model, part, other, 0, &image));
    CHECK(memcmp(a, b, image.capacity) == 0);
    memset(b, 0, image.capacity);
    OK(detailflow_model_decode(model, whole, count, level.level_size, &image));
    CHECK(memcmp(a, b, image.capacity) == 0);

    /* 0 is the finest again. */
    OK(detailflow_request_set_level_size(request, 0));
    detailflow_generation_free(generation);
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_progress(generation).steps_left >= (info.token_count - info.causal_count) / info.group_size);
    free(a);
    free(b);
    free(part);
    free(whole);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void tokens_of_a_decoded_picture_come_back(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    const size_t bytes = (size_t)4 * info.image_size * info.image_size;
    detailflow_request *request = check_request(model, 1, 3);
    detailflow_generation *generation = NULL;
    unsigned char *pixels = (unsigned char *)malloc(bytes);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
    uint32_t *others = (uint32_t *)malloc((info.token_count + 1) * sizeof *others);
    size_t count = 0, at;

    CHECK(pixels != NULL && tokens != NULL && others != NULL);
    OK(detailflow_generate(request, &generation));
    OK(detailflow_generation_decode(generation, 0, &image));
    OK(detailflow_generation_save(generation, 0, "picture.png"));

    OK(detailflow_model_encode(model, &image, NULL, 0, &count));
    CHECK(count == info.token_count);
    count = 0;
    OK(detailflow_model_encode(model, &image, tokens, info.token_count, &count));
    CHECK(count == info.token_count);
    for (at = 0; at < count; at++) {
        CHECK(tokens[at] < info.codebook_size);
    }

    /* The file that was saved, the file of the pixels, and the pixels with a stride are one picture. */
    others[info.token_count] = 4711;
    OK(detailflow_model_encode_file(model, "picture.png", others, info.token_count + 1, &count));
    CHECK(count == info.token_count && others[info.token_count] == 4711);
    CHECK(memcmp(tokens, others, count * sizeof *tokens) == 0);
    OK(detailflow_image_save(&image, "pixels.png", NULL));
    OK(detailflow_model_encode_file(model, "pixels.png", others, info.token_count, &count));
    CHECK(memcmp(tokens, others, count * sizeof *tokens) == 0);

    /* What was encoded decodes; another size is resized; every kind of file can be written. */
    OK(detailflow_model_decode(model, tokens, count, 0, &image));
    image = check_image(DETAILFLOW_FORMAT_RGB8, 3, pixels, bytes);
    image.height = 2;
    OK(detailflow_model_encode(model, &image, tokens, info.token_count, &count));
    CHECK(count == info.token_count);
    OK(detailflow_generation_save(generation, 0, "picture.jpg"));
    OK(detailflow_generation_save(generation, 0, "picture.webp"));
    OK(detailflow_generation_save(generation, 0, "picture.bmp"));
    OK(detailflow_generation_save(generation, 0, "picture.tga"));
    OK(detailflow_generation_save(generation, 0, "picture.tiff"));
    OK(detailflow_generation_save(generation, 0, "picture.qoi"));

    free(pixels);
    free(tokens);
    free(others);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void sampling_settings_take_effect(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 11);
    detailflow_generation *generation = NULL;
    uint32_t *greedy, *again;
    size_t count, other;

    /* Greedy takes no notice of the seed; with one code to choose from, neither does sampling. */
    OK(detailflow_request_set_temperature(request, 0));
    OK(detailflow_generate(request, &generation));
    greedy = check_tokens(generation, 0, &count);
    detailflow_generation_free(generation);
    OK(detailflow_request_set_seed(request, 12));
    OK(detailflow_request_set_temperature(request, 1));
    OK(detailflow_request_set_top_k(request, 1));
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 0, &other);
    CHECK(other == count && memcmp(greedy, again, count * sizeof *greedy) == 0);
    free(again);
    detailflow_generation_free(generation);

    /* The rest of the settings run. */
    OK(detailflow_request_set_top_k(request, 5));
    OK(detailflow_request_set_top_p(request, 0.5f));
    OK(detailflow_request_set_guidance(request, 3));
    OK(detailflow_request_set_gradual_guidance(request, 1));
    OK(detailflow_generate(request, &generation));
    CHECK(check_progress(generation).steps_left == 0);
    detailflow_generation_free(generation);
    OK(detailflow_request_set_gradual_guidance(request, 0));
    OK(detailflow_request_set_guidance(request, 1));
    OK(detailflow_generate(request, &generation));
    CHECK(check_progress(generation).steps_left == 0);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    free(greedy);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    model_tells_what_it_is(model);
    tokens_do_not_depend_on_how_they_are_asked_for(model);
    levels_decode_at_their_sizes(model);
    tokens_of_a_decoded_picture_come_back(model);
    sampling_settings_take_effect(model);
    detailflow_model_free(model);
    return 0;
}
