/* What works, works: look at a model, draw at once, by the step and in a batch, decode, encode, files. */
#include "check.h"

#include <math.h>

static void look(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_level level, before;
    uint32_t at, size = 0, coarser = 0;
    size_t count;

    CHECK(info.struct_size == sizeof info && info.reserved == 0);
    CHECK(info.size > 0 && (info.channels == 3 || info.channels == 4));
    CHECK(info.group >= 1 && info.causal >= 1 && info.causal <= info.tokens && info.tokens % info.group == 0);
    CHECK(info.codes >= 2 && info.bits >= 1 && info.bits <= 32 && (UINT64_C(1) << info.bits) >= info.codes);
    CHECK(info.class_count >= 1 && info.level_count >= 1);
    CHECK(info.guidance >= 0 && info.temperature >= 0 && info.top_p > 0 && info.top_p <= 1 && info.gradual <= 1);
    CHECK(info.name[0] != 0 && info.license[0] != 0 && info.precision[0] != 0 && info.path[0] != 0);
    CHECK(strlen(info.tokenizer_id) == 16 && strspn(info.tokenizer_id, "0123456789abcdef") == 16);
    CHECK(strcmp(info.form, "native") == 0 || strcmp(info.form, "mha") == 0 || strcmp(info.form, "plain") == 0);
    CHECK(strcmp(info.device, "cpu") == 0);

    /* Names go there and back, and so do numbers. */
    for (at = 0; at < info.class_count; at++) {
        const char *name = NULL;
        char number[16];
        uint32_t index = UINT32_MAX;
        OK(detailflow_model_class_name(model, at, &name));
        OK(detailflow_model_class_index(model, name, &index));
        if (index != at) {
            /* Two classes of one name: the first is meant. */
            const char *first = NULL;
            CHECK(index < at);
            OK(detailflow_model_class_name(model, index, &first));
            CHECK(strcmp(name, first) == 0);
        }
        CHECK(snprintf(number, sizeof number, "%u", (unsigned)at) > 0);
        OK(detailflow_model_class_index(model, number, &index));
        CHECK(index == at || strcmp(name, number) != 0);
    }

    /* Levels grow, and the last is the whole picture. */
    memset(&before, 0, sizeof before);
    for (at = 0; at < info.level_count; at++) {
        memset(&level, 0, sizeof level);
        level.struct_size = sizeof level;
        OK(detailflow_model_get_level(model, at, &level));
        CHECK(level.size > before.size && level.tokens > before.tokens && level.reserved == 0);
        OK(detailflow_model_prefix_size(model, level.tokens, &size));
        CHECK(size == level.size);
        before = level;
    }
    CHECK(before.size == info.size && before.tokens == info.tokens);

    /* So do prefixes. */
    for (count = 1; count <= info.tokens; count++) {
        if (count <= info.causal || count % info.group == 0) {
            OK(detailflow_model_prefix_size(model, count, &size));
            CHECK(size >= coarser && size <= info.size);
            coarser = size;
        }
    }
    CHECK(coarser == info.size);
}

/* The picture as it is now, in every format, into memory with gaps between rows that nothing may touch. */
static void look_at_picture(detailflow_generation *generation, uint32_t channels)
{
    static const uint32_t formats[] = {DETAILFLOW_RGB8, DETAILFLOW_RGBA8, DETAILFLOW_RGBA32F};
    const uint32_t size = check_progress(generation).size;
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
        OK(detailflow_generation_image(generation, 0, &image));
        CHECK(memory[0] == 0xA5);
        for (y = 0; y + 1 < size; y++) {
            for (x = row; x < stride; x++) {
                CHECK(pixels[y * stride + x] == 0xA5);
            }
        }
        for (x = capacity; x < all - 1; x++) {
            CHECK(pixels[x] == 0xA5);
        }
        if (formats[at] == DETAILFLOW_RGB8) {
            rgb = memory;
        } else if (formats[at] == DETAILFLOW_RGBA8) {
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
    CHECK(before.steps_done == 0 && before.steps_left > 0 && before.tokens == 0 && before.size == 0);
    CHECK(before.level == 0);
    while (before.steps_left > 0) {
        uint32_t *more;
        memset(&now, 0, sizeof now);
        now.struct_size = sizeof now;
        OK(detailflow_generation_step(generation, &now));
        CHECK(now.steps_done == before.steps_done + 1 && now.steps_left == before.steps_left - 1);
        CHECK(now.tokens > before.tokens && now.size >= before.size && now.level >= before.level);
        CHECK(now.level <= now.size && now.size <= info.size);
        more = check_tokens(generation, 0, count);
        CHECK(*count == now.tokens);
        CHECK(before.tokens == 0 || memcmp(tokens, more, before.tokens * sizeof *more) == 0);
        free(tokens);
        tokens = more;
        look_at_picture(generation, info.channels);
        before = now;
    }
    CHECK(now.tokens == info.tokens && now.size == info.size && now.level == info.size);
    /* A step more does nothing. The prediction of a decode changes with every decode. */
    OK(detailflow_generation_step(generation, &now));
    now.next_decode_ns = before.next_decode_ns;
    CHECK(memcmp(&now, &before, sizeof now) == 0);
    detailflow_generation_free(generation);
    return tokens;
}

static void same_tokens(const detailflow_model *model)
{
    const uint64_t seed = UINT64_C(0xFEDCBA9876543210);
    detailflow_model_info info = check_info(model);
    size_t count, other;
    uint32_t at, *tokens = draw_by_the_step(model, seed, &count);
    uint32_t *again = check_draw(model, seed, &other);
    detailflow_request *request;
    detailflow_generation *generation = NULL;

    CHECK(count == info.tokens && other == count);
    for (at = 0; at < count; at++) {
        CHECK(tokens[at] < info.codes);
    }
    CHECK(memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(again);

    /* In the middle of three, from seeds that follow each other, and from a seed of its own. */
    request = check_request(model, 3, seed - 1);
    OK(detailflow_request_set_image(request, 0, info.class_count - 1, 5));
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 1, &other);
    CHECK(other == count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(again);
    detailflow_generation_free(generation);
    OK(detailflow_request_set_image(request, 2, 0, seed));
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 2, &other);
    CHECK(other == count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(again);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    free(tokens);
}

static void levels(const detailflow_model *model)
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
    OK(detailflow_request_set_level(request, level.size));
    OK(detailflow_generate(request, &generation));
    CHECK(check_progress(generation).tokens == level.tokens && check_progress(generation).size == level.size);
    CHECK(check_progress(generation).level == level.size && check_progress(generation).steps_left == 0);

    /* The coarse picture is the beginning of the fine one, and decodes to the same pixels. */
    part = check_tokens(generation, 0, &other);
    CHECK(other == level.tokens && memcmp(whole, part, other * sizeof *part) == 0);
    a = (unsigned char *)malloc((size_t)4 * level.size * level.size);
    b = (unsigned char *)malloc((size_t)4 * level.size * level.size);
    CHECK(a != NULL && b != NULL);
    image = check_image(DETAILFLOW_RGBA8, level.size, a, (size_t)4 * level.size * level.size);
    OK(detailflow_generation_image(generation, 0, &image));
    image.pixels = b;
    OK(detailflow_model_decode(model, part, other, 0, &image));
    CHECK(memcmp(a, b, image.capacity) == 0);
    memset(b, 0, image.capacity);
    OK(detailflow_model_decode(model, whole, count, level.size, &image));
    CHECK(memcmp(a, b, image.capacity) == 0);

    /* 0 is the finest again. */
    OK(detailflow_request_set_level(request, 0));
    detailflow_generation_free(generation);
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_progress(generation).steps_left >= (info.tokens - info.causal) / info.group);
    free(a);
    free(b);
    free(part);
    free(whole);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void there_and_back(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    const size_t bytes = (size_t)4 * info.size * info.size;
    detailflow_request *request = check_request(model, 1, 3);
    detailflow_generation *generation = NULL;
    unsigned char *pixels = (unsigned char *)malloc(bytes);
    detailflow_image image = check_image(DETAILFLOW_RGBA8, info.size, pixels, bytes);
    uint32_t *tokens = (uint32_t *)malloc(info.tokens * sizeof *tokens);
    uint32_t *others = (uint32_t *)malloc((info.tokens + 1) * sizeof *others);
    size_t count = 0, at;

    CHECK(pixels != NULL && tokens != NULL && others != NULL);
    OK(detailflow_generate(request, &generation));
    OK(detailflow_generation_image(generation, 0, &image));
    OK(detailflow_generation_save(generation, 0, "picture.png"));

    OK(detailflow_model_encode(model, &image, NULL, 0, &count));
    CHECK(count == info.tokens);
    count = 0;
    OK(detailflow_model_encode(model, &image, tokens, info.tokens, &count));
    CHECK(count == info.tokens);
    for (at = 0; at < count; at++) {
        CHECK(tokens[at] < info.codes);
    }

    /* The file that was saved, the file of the pixels, and the pixels with a stride are one picture. */
    others[info.tokens] = 4711;
    OK(detailflow_model_encode_file(model, "picture.png", others, info.tokens + 1, &count));
    CHECK(count == info.tokens && others[info.tokens] == 4711);
    CHECK(memcmp(tokens, others, count * sizeof *tokens) == 0);
    OK(detailflow_image_save(&image, "pixels.png"));
    OK(detailflow_model_encode_file(model, "pixels.png", others, info.tokens, &count));
    CHECK(memcmp(tokens, others, count * sizeof *tokens) == 0);

    /* What was encoded decodes; another size is resized; every kind of file can be written. */
    OK(detailflow_model_decode(model, tokens, count, 0, &image));
    image = check_image(DETAILFLOW_RGB8, 3, pixels, bytes);
    image.height = 2;
    OK(detailflow_model_encode(model, &image, tokens, info.tokens, &count));
    CHECK(count == info.tokens);
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

static void sampling(const detailflow_model *model)
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
    OK(detailflow_request_set_gradual(request, 1));
    OK(detailflow_generate(request, &generation));
    CHECK(check_progress(generation).steps_left == 0);
    detailflow_generation_free(generation);
    OK(detailflow_request_set_gradual(request, 0));
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
    look(model);
    same_tokens(model);
    levels(model);
    there_and_back(model);
    sampling(model);
    detailflow_model_free(model);
    return 0;
}
