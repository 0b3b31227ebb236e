/* Levels of detail: mips into the caller's memory, sprites in an atlas, upscaling, fewer tokens; and everything that
 * can be wrong with them, told before a byte is written. Memory is as small as may be, so that the sanitizers see the
 * first byte beyond it. */
#include "check.h"

/* With "few" as an argument the first alone. */
static const uint32_t FORMATS[8] = {
    DETAILFLOW_FORMAT_RGBA8,
    DETAILFLOW_FORMAT_RGB8,
    DETAILFLOW_FORMAT_RGBA32F,
    DETAILFLOW_FORMAT_BGRA8,
    DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED,
    DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED,
};
static uint32_t formats = 8;

static unsigned char *memory(size_t bytes)
{
    unsigned char *pixels = (unsigned char *)malloc(bytes);
    CHECK(pixels != NULL);
    memset(pixels, 0xA5, bytes);
    return pixels;
}

static int untouched(const unsigned char *pixels, size_t bytes)
{
    while (bytes > 0 && *pixels == 0xA5) {
        pixels++;
        bytes--;
    }
    return bytes == 0;
}

/* The picture of these tokens, in memory that the caller frees; level 0 is all of them. */
static unsigned char *decode(const detailflow_model *model, const uint32_t *tokens, size_t count, uint32_t level,
                             uint32_t format, uint32_t *size)
{
    unsigned char *pixels;
    detailflow_image image;
    *size = level;
    if (level == 0) {
        OK(detailflow_model_get_prefix_size(model, count, size));
    }
    pixels = memory(check_pixel_bytes(format) * *size * *size);
    image = check_image(format, *size, pixels, check_pixel_bytes(format) * *size * *size);
    OK(detailflow_model_decode(model, tokens, count, level, &image));
    return pixels;
}

/* A level by its size is the one of its index, and the same picture with less detail is its first tokens. */
static void level_is_found_by_size(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_level found;
    uint32_t index;
    memset(&found, 0, sizeof found);
    found.struct_size = sizeof found;
    for (index = 0; index < info.level_count; index++) {
        detailflow_level level = check_level(model, index);
        OK(detailflow_model_find_level(model, level.level_size, &found));
        CHECK(found.level_size == level.level_size && found.token_count == level.token_count);
    }
    INVALID(detailflow_model_find_level(model, 1, &found), "levels are");
    CHECK(found.token_count == info.token_count);
    OK(detailflow_model_find_level(model, 0, &found));
    CHECK(found.level_size == info.image_size && found.token_count == info.token_count);
}

static void mip_sizes_are_halves(void)
{
    uint32_t sizes[33], at;
    size_t count = 77;
    memset(sizes, 0xA5, sizeof sizes);
    OK(detailflow_mips_list_sizes(48, NULL, 0, &count, NULL));
    CHECK(count == 6);
    INVALID(detailflow_mips_list_sizes(48, sizes, 5, &count, NULL), "6");
    CHECK(sizes[0] == 0xA5A5A5A5 && count == 6);
    OK(detailflow_mips_list_sizes(48, sizes, 6, &count, NULL));
    CHECK(sizes[0] == 48 && sizes[1] == 24 && sizes[2] == 12 && sizes[3] == 6 && sizes[4] == 3 && sizes[5] == 1);
    CHECK(sizes[6] == 0xA5A5A5A5);
    OK(detailflow_mips_list_sizes(UINT32_MAX, sizes, 32, &count, NULL));
    CHECK(count == 32 && sizes[31] == 1 && sizes[32] == 0xA5A5A5A5);
    for (at = 0; at < 31; at++) {
        CHECK(sizes[at + 1] == sizes[at] / 2);
    }
    OK(detailflow_mips_list_sizes(1, sizes, 1, &count, NULL));
    CHECK(count == 1 && sizes[0] == 1);
    INVALID(detailflow_mips_list_sizes(0, sizes, 1, &count, NULL), "size is 0");
}

/* A chain as engines keep it: the whole picture at the left, the smaller ones beside it one below another, in one
 * buffer with one stride. */
static void mips_are_decoded_or_downscaled(const detailflow_model *model, uint32_t *tokens, size_t count)
{
    detailflow_model_info info = check_info(model);
    uint32_t sizes[32], source, at, format;
    size_t chain, targets_made;
    OK(detailflow_mips_list_sizes(info.image_size, sizes, 32, &chain, NULL));
    for (format = 0; format < formats; format++) {
        const size_t bytes = check_pixel_bytes(FORMATS[format]);
        const size_t width = info.image_size + info.image_size / 2, stride = width * bytes + 3;
        const size_t capacity = stride * (info.image_size - 1) + width * bytes;
        for (source = DETAILFLOW_MIPS_SOURCE_LEVELS; source <= DETAILFLOW_MIPS_SOURCE_FINEST; source++) {
            unsigned char *buffer = memory(capacity), *whole, *again;
            detailflow_image targets[32];
            size_t x, y, top = 0;
            uint32_t size, row;
            for (at = 0; at < chain; at++) {
                const size_t start = at == 0 ? 0 : top * stride + info.image_size * bytes;
                targets[at] = check_image(FORMATS[format], sizes[at], buffer + start, capacity - start);
                targets[at].stride = stride;
                top += at == 0 ? 0 : sizes[at];
            }
            OK(detailflow_model_decode_mips(model, tokens, count, source, targets, chain));

            /* The whole picture is what decode gives, and from levels so is every mip that is one. */
            for (at = 0; at < chain; at++) {
                const unsigned char *place = (const unsigned char *)targets[at].pixels;
                uint32_t level = 0, index;
                for (index = 0; index < info.level_count; index++) {
                    detailflow_level found;
                    memset(&found, 0, sizeof found);
                    found.struct_size = sizeof found;
                    OK(detailflow_model_get_level(model, index, &found));
                    level = found.level_size == sizes[at] ? found.level_size : level;
                }
                if (level == 0 || (source == DETAILFLOW_MIPS_SOURCE_FINEST && at > 0)) {
                    continue;
                }
                whole = decode(model, tokens, count, level, FORMATS[format], &size);
                CHECK(size == sizes[at]);
                for (row = 0; row < size; row++) {
                    CHECK(memcmp(place + row * stride, whole + row * size * bytes, size * bytes) == 0);
                }
                free(whole);
            }

            /* One of them alone, in memory of its own, is the same; so the chain did not write over itself. */
            again = memory(bytes * sizes[1] * sizes[1]);
            targets_made = 1;
            targets[0] = check_image(FORMATS[format], sizes[1], again, bytes * sizes[1] * sizes[1]);
            OK(detailflow_model_decode_mips(model, tokens, count, source, targets, targets_made));
            for (row = 0; row < sizes[1]; row++) {
                CHECK(memcmp(again + row * sizes[1] * bytes, buffer + row * stride + info.image_size * bytes,
                             sizes[1] * bytes) == 0);
            }
            free(again);

            /* Everything else in the buffer is as it was. */
            for (y = 0; y < info.image_size; y++) {
                const size_t end = y + 1 < info.image_size ? stride : width * bytes;
                size_t written = info.image_size, below = 0;
                for (at = 1; at < chain; at++) {
                    written += y >= below && y < below + sizes[at] ? sizes[at] : 0;
                    below += sizes[at];
                }
                for (x = written * bytes; x < end; x++) {
                    CHECK(buffer[y * stride + x] == 0xA5);
                }
            }
            free(buffer);
        }
    }
}

struct newer_image {
    detailflow_image known;
    uint32_t more[4];
};

static void mips_refuse_wrong_arguments(const detailflow_model *model, uint32_t *tokens, size_t count)
{
    detailflow_model_info info = check_info(model);
    const size_t bytes = (size_t)4 * info.image_size * info.image_size;
    unsigned char *first = memory(bytes), *second = memory(bytes);
    detailflow_image targets[2];
    struct newer_image newer[2];
    uint32_t token;
    targets[0] = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, first, bytes);

#define SECOND(change, text)                                                                                           \
    do {                                                                                                               \
        targets[1] = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, second, bytes);                             \
        change;                                                                                                        \
        INVALID(detailflow_model_decode_mips(model, tokens, count, 0, targets, 2), text);                              \
        CHECK(untouched(first, bytes) && untouched(second, bytes));                                                    \
    } while (0)

    SECOND(targets[1].width = 1, "mip 1: detailflow_image is 1 x");
    SECOND(targets[1].width = targets[1].height = 0, "mip 1");
    SECOND(targets[1].width = targets[1].height = info.image_size + 1, "mip 1");
    SECOND((targets[1].width = targets[1].height = info.image_size + 1, targets[1].format = DETAILFLOW_FORMAT_RGB8),
           "mip 1 of");
    SECOND(targets[1].width = targets[1].height = UINT32_MAX, "mip 1");
    SECOND(targets[1].stride = 4 * info.image_size - 1, "mip 1: a stride");
    SECOND(targets[1].stride = SIZE_MAX, "mip 1");
    SECOND(targets[1].stride = 4 * info.image_size + 1, "mip 1");
    SECOND(targets[1].capacity = bytes - 1, "mip 1");
    SECOND(targets[1].capacity = SIZE_MAX, "mip 1: detailflow_image.capacity");
    SECOND(targets[1].format = 9, "mip 1: detailflow_image.format is 9");
    SECOND(targets[1].pixels = NULL, "mip 1: detailflow_image.pixels is NULL");
    SECOND(targets[1].struct_size = 0, "detailflow_image[1].struct_size is 0");
    SECOND(targets[1].struct_size = sizeof targets[1] + 8, "detailflow_image[1].struct_size");
    targets[1] = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, second, bytes);
    INVALID(detailflow_model_decode_mips(model, tokens, count, 3, targets, 2), "source is 3");
    INVALID(detailflow_model_decode_mips(model, tokens, count, 0, targets, SIZE_MAX), "detailflow_image");
    INVALID(detailflow_model_decode_mips(model, tokens, 0, 0, targets, 2), "0 tokens");
    INVALID(detailflow_model_decode_mips(model, tokens, count + 1, 0, targets, 2), "tokens");
    INVALID(detailflow_model_decode_mips(model, tokens, info.causal_count + 1, 0, targets, 2), "prefix");
    INVALID(detailflow_model_decode_mips(model, tokens, 1, 0, targets, 2), "mip 0");
    token = tokens[count - 1];
    tokens[count - 1] = UINT32_MAX;
    INVALID(detailflow_model_decode_mips(model, tokens, count, 0, targets, 2), "codebook");
    tokens[count - 1] = token;
    targets[0].struct_size = 1;
    INVALID(detailflow_model_decode_mips(model, tokens, count, 0, targets, 2), "detailflow_image.struct_size is 1");
    CHECK(untouched(first, bytes) && untouched(second, bytes));
    OK(detailflow_model_decode_mips(model, tokens, count, 0, NULL, 0));

    /* Structs of a newer header lie farther apart; what is beyond must be zero. */
    memset(newer, 0, sizeof newer);
    newer[0].known = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, first, bytes);
    newer[1].known = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, second, bytes);
    newer[0].known.struct_size = newer[1].known.struct_size = sizeof newer[0];
    newer[1].more[3] = 1;
    INVALID(detailflow_model_decode_mips(model, tokens, count, 0, &newer[0].known, 2), "detailflow_image");
    CHECK(untouched(first, bytes) && untouched(second, bytes));
    newer[1].more[3] = 0;
    OK(detailflow_model_decode_mips(model, tokens, count, 0, &newer[0].known, 2));
    CHECK(!untouched(second, bytes) && memcmp(first, second, bytes) == 0);
    free(first);
    free(second);
}

static detailflow_sprite sprite_of(const uint32_t *tokens, size_t count, uint32_t x, uint32_t y)
{
    detailflow_sprite sprite;
    memset(&sprite, 0, sizeof sprite);
    sprite.struct_size = sizeof sprite;
    sprite.x = x;
    sprite.y = y;
    sprite.tokens = tokens;
    sprite.token_count = count;
    return sprite;
}

/* Whether the atlas has these pixels at x, y, each a square of `factor`. */
static void check_sprite(const detailflow_image *atlas, const unsigned char *pixels, uint32_t size, uint32_t x,
                         uint32_t y, uint32_t factor)
{
    const size_t bytes = check_pixel_bytes(atlas->format);
    uint32_t row, column;
    for (row = 0; row < size * factor; row++) {
        const unsigned char *line = (const unsigned char *)atlas->pixels + (y + row) * atlas->stride;
        for (column = 0; column < size * factor; column++) {
            CHECK(memcmp(line + (x + column) * bytes, pixels + (row / factor * size + column / factor) * bytes,
                         bytes) == 0);
        }
    }
}

static void atlas_holds_every_sprite(const detailflow_model *model, const uint32_t *tokens, size_t count)
{
    detailflow_model_info info = check_info(model);
    const uint32_t padding = 3;
    uint32_t index, format, coarse, width = 3 * info.image_size + 2 * padding, height = 0;
    detailflow_level level;
    detailflow_sprite sprites[40];
    memset(&level, 0, sizeof level);
    level.struct_size = sizeof level;
    OK(detailflow_model_get_level(model, 0, &level));
    coarse = level.level_size;

    /* More of the coarse ones than are decoded at once. */
    for (index = 0; index < 40; index++) {
        sprites[index] = sprite_of(tokens, count, 99999, 99999);
        sprites[index].level_size = index < 4 ? 0 : coarse;
        sprites[index].factor = index == 10 ? 2 : index % 2;
    }
    sprites[39].level_size = 0;
    sprites[39].token_count = 1;
    OK(detailflow_model_lay_out_atlas(model, sprites, 40, width, padding, &height));
    CHECK(sprites[0].x == 0 && sprites[0].y == 0 && sprites[1].x == info.image_size + padding && sprites[1].y == 0);
    CHECK(height > 2 * info.image_size);
    OK(detailflow_model_lay_out_atlas(model, sprites, 40, width, padding, NULL));
    INVALID(detailflow_model_lay_out_atlas(model, sprites, 40, info.image_size - 1, padding, &height), "sprite 0");
    CHECK(sprites[1].x == info.image_size + padding);

    for (format = 0; format < formats; format++) {
        const size_t bytes = check_pixel_bytes(FORMATS[format]), stride = width * bytes + 5;
        const size_t capacity = stride * (height - 1) + width * bytes;
        unsigned char *buffer = memory(capacity), *pixels[3];
        detailflow_image image = check_image(FORMATS[format], width, buffer, capacity);
        uint32_t sizes[3];
        size_t touched = 0, wanted = 0, at;
        image.height = height;
        image.stride = stride;
        OK(detailflow_model_decode_atlas(model, sprites, 40, &image));
        pixels[0] = decode(model, tokens, count, 0, FORMATS[format], &sizes[0]);
        pixels[1] = decode(model, tokens, count, coarse, FORMATS[format], &sizes[1]);
        pixels[2] = decode(model, tokens, 1, 0, FORMATS[format], &sizes[2]);
        for (index = 0; index < 40; index++) {
            const int kind = index < 4 ? 0 : index < 39 ? 1 : 2;
            const uint32_t factor = index == 10 ? 2 : 1;
            check_sprite(&image, pixels[kind], sizes[kind], sprites[index].x, sprites[index].y, factor);
            wanted += bytes * sizes[kind] * sizes[kind] * factor * factor;
        }
        /* The rest is as it was: bring what was written back to that, then nothing else may differ. */
        for (index = 0; index < 40; index++) {
            const int kind = index < 4 ? 0 : index < 39 ? 1 : 2;
            const uint32_t side = sizes[kind] * (index == 10 ? 2 : 1);
            uint32_t row;
            for (row = 0; row < side; row++) {
                memset(buffer + (sprites[index].y + row) * stride + sprites[index].x * bytes, 0xA5, side * bytes);
                touched += side * bytes;
            }
        }
        CHECK(touched == wanted && untouched(buffer, capacity));
        for (at = 0; at < 3; at++) {
            free(pixels[at]);
        }
        free(buffer);
    }
}

struct newer_sprite {
    detailflow_sprite known;
    uint32_t more[2];
};

static void atlas_refuses_wrong_arguments(const detailflow_model *model, const uint32_t *tokens, size_t count)
{
    detailflow_model_info info = check_info(model);
    const uint32_t size = info.image_size, side = 2 * size;
    const size_t bytes = (size_t)4 * side * side;
    unsigned char *buffer = memory(bytes);
    uint32_t *wrong = (uint32_t *)malloc(count * sizeof *wrong);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, side, buffer, bytes);
    detailflow_sprite sprites[3];
    struct newer_sprite newer[2];
    CHECK(wrong != NULL);
    memcpy(wrong, tokens, count * sizeof *wrong);
    wrong[count - 1] = info.codebook_size;

#define THIRD(change, text)                                                                                            \
    do {                                                                                                               \
        image = check_image(DETAILFLOW_FORMAT_RGBA8, side, buffer, bytes);                                             \
        sprites[0] = sprite_of(tokens, count, 0, 0);                                                                   \
        sprites[1] = sprite_of(tokens, count, size, 0);                                                                \
        sprites[2] = sprite_of(tokens, count, 0, size);                                                                \
        change;                                                                                                        \
        INVALID(detailflow_model_decode_atlas(model, sprites, 3, &image), text);                                       \
        CHECK(untouched(buffer, bytes));                                                                               \
    } while (0)

    THIRD(sprites[2].y = size - 1, "sprites 0 (");
    THIRD((sprites[2].x = size + 1, sprites[2].y = 0), "sprite 2, ");
    THIRD((sprites[2].x = size, sprites[2].y = 1), "sprites 1 (");
    THIRD(sprites[2].y = size + 1, "sprite 2, ");
    THIRD(sprites[2].x = UINT32_MAX, "sprite 2, ");
    THIRD(sprites[2].factor = 2, "sprite 2, ");
    THIRD(sprites[2].factor = 65, "sprite 2: factor 65");
    THIRD(sprites[2].level_size = 1, "sprite 2: ");
    THIRD(sprites[2].token_count = 0, "sprite 2: 0 tokens");
    THIRD(sprites[2].token_count = SIZE_MAX, "sprite 2: ");
    THIRD(sprites[2].token_count = info.causal_count + 1, "sprite 2: ");
    THIRD((sprites[2].token_count = 1, sprites[2].level_size = size), "sprite 2: ");
    THIRD(sprites[2].tokens = NULL, "sprite 2: tokens is NULL");
    THIRD(sprites[2].tokens = wrong, "sprite 2: token");
    THIRD(sprites[2].reserved = 1, "sprite 2: detailflow_sprite.reserved");
    THIRD(sprites[2].struct_size = 0, "detailflow_sprite[2].struct_size is 0");
    THIRD(sprites[0].struct_size = 4, "detailflow_sprite.struct_size is 4");
    THIRD(sprites[0].struct_size = 40000, "detailflow_sprite.struct_size is 40000");
    THIRD(image.format = 0, "detailflow_image.format is 0");
    THIRD(image.stride = 4 * side - 1, "stride");
    THIRD(image.capacity = bytes - 1, "bytes");
    THIRD(image.width = 0, "empty");
    THIRD(image.pixels = NULL, "pixels");
    THIRD(image.struct_size = 0, "detailflow_image.struct_size");
    image = check_image(DETAILFLOW_FORMAT_RGBA8, side, buffer, bytes);
    sprites[0] = sprite_of(tokens, count, 0, 0);
    INVALID(detailflow_model_decode_atlas(model, sprites, SIZE_MAX, &image), "detailflow_sprite");
    OK(detailflow_model_decode_atlas(model, NULL, 0, &image));
    CHECK(untouched(buffer, bytes));

    /* Of a newer header. */
    memset(newer, 0, sizeof newer);
    newer[0].known = sprite_of(tokens, count, 99, 99);
    newer[1].known = sprite_of(tokens, count, 99, 99);
    newer[0].known.struct_size = newer[1].known.struct_size = sizeof newer[0];
    newer[1].more[1] = 7;
    INVALID(detailflow_model_lay_out_atlas(model, &newer[0].known, 2, side, 0, NULL), "detailflow_sprite");
    CHECK(newer[0].known.x == 99);
    newer[1].more[1] = 0;
    OK(detailflow_model_lay_out_atlas(model, &newer[0].known, 2, side, 0, NULL));
    CHECK(newer[0].known.x == 0 && newer[1].known.x == size && newer[1].known.y == 0 && newer[1].more[1] == 0);
    CHECK(newer[1].known.struct_size == sizeof newer[0]);
    OK(detailflow_model_decode_atlas(model, &newer[0].known, 2, &image));
    CHECK(!untouched(buffer, bytes) && untouched(buffer + bytes / 2, bytes / 2));
    free(wrong);
    free(buffer);
}

static void image_upscale_repeats_pixels(void)
{
    uint32_t format;
    for (format = 0; format < formats; format++) {
        /* 3 x 2 by 5, both with gaps between rows. */
        const size_t bytes = check_pixel_bytes(FORMATS[format]), stride = 3 * bytes + 2, room = 15 * bytes + 7;
        const size_t small = stride + 3 * bytes, large = room * 9 + 15 * bytes;
        unsigned char *from = memory(small), *to = memory(large);
        detailflow_image source = check_image(FORMATS[format], 3, from, small), target = source;
        size_t at;
        source.height = 2;
        source.stride = stride;
        target.width = 15;
        target.height = 10;
        target.stride = room;
        target.pixels = to;
        target.capacity = large;
        for (at = 0; at < small; at++) {
            from[at] = (unsigned char)at;
        }
        OK(detailflow_image_upscale(&source, 5, &target, NULL));
        for (at = 0; at < large; at++) {
            const size_t x = at % room / bytes, y = at / room, byte = at % room % bytes;
            CHECK(to[at] == (x < 15 ? from[y / 5 * stride + x / 5 * bytes + byte] : 0xA5));
        }
        memset(to, 0xA5, large);
        INVALID(detailflow_image_upscale(&source, 0, &target, NULL), "factor 0");
        INVALID(detailflow_image_upscale(&source, 65, &target, NULL), "factor 65");
        INVALID(detailflow_image_upscale(&source, 4, &target, NULL), "12 x 8");
        INVALID(detailflow_image_upscale(&source, UINT32_MAX, &target, NULL), "factor");
        target.capacity--;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "bytes");
        target.capacity++;
        source.capacity--;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "bytes");
        source.capacity++;
        source.stride = 3 * bytes - 1;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "stride");
        source.stride = stride;
        target.format = FORMATS[(format + 1) % 8];
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "same");
        target.format = FORMATS[format];
        source.format = 9;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "format is 9");
        source.format = FORMATS[format];
        source.pixels = to + large - small;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "overlap");
        source.pixels = to;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "overlap");
        source.pixels = from;
        source.struct_size = 0;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "struct_size");
        source.struct_size = sizeof source;
        source.width = 0;
        INVALID(detailflow_image_upscale(&source, 5, &target, NULL), "empty");
        CHECK(untouched(to, large));
        free(from);
        free(to);
    }
}

static int same(const unsigned char *pixel, unsigned r, unsigned g, unsigned b, unsigned a)
{
    return pixel[0] == r && pixel[1] == g && pixel[2] == b && pixel[3] == a;
}

static void image_finish_changes_pixels_in_place(const detailflow_model *model)
{
    /* 2 x 2, a gap of 3 bytes between rows: red, hidden green; half blue, white. */
    const unsigned char start[19] = {250, 3, 2, 255, 0, 9, 0, 0, 77, 77, 77, 4, 5, 200, 120, 255, 255, 255, 90};
    const uint32_t palette[3] = {0xff0000, 0x0000ff, 0xffffff};
    const char gpl[] = "GIMP Palette\n255 0 0 red\n0 0 255\n";
    unsigned char pixels[19], again[19];
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 2, pixels, sizeof pixels), both[2];
    detailflow_finish finish, wrong;
    uint32_t colors[256];
    size_t count = 0;
    image.stride = 11;
    memcpy(pixels, start, sizeof pixels);
    memset(&finish, 0, sizeof finish);
    finish.struct_size = sizeof finish;
    finish.alpha_cut = 100;
    finish.palette = palette;
    finish.palette_count = 3;
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(same(pixels, 255, 0, 0, 255) && same(pixels + 4, 0, 0, 0, 0));
    CHECK(same(pixels + 11, 0, 0, 255, 255) && same(pixels + 15, 0, 0, 0, 0));
    CHECK(pixels[8] == 77 && pixels[9] == 77 && pixels[10] == 77);
    memcpy(again, pixels, sizeof pixels);
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(memcmp(again, pixels, sizeof pixels) == 0);
    /* Blue first: the same in another order. */
    memcpy(pixels, start, sizeof pixels);
    image.format = DETAILFLOW_FORMAT_BGRA8;
    finish.has_outline = 1;
    finish.outline = 0x010203;
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(same(pixels, 255, 0, 0, 255) && same(pixels + 4, 3, 2, 1, 255) && same(pixels + 15, 3, 2, 1, 255));
    image.format = DETAILFLOW_FORMAT_RGBA8;

    memcpy(pixels, start, sizeof pixels);
    both[0] = image;
    both[1] = image;
    finish.palette = NULL;
    finish.palette_count = 0;
    OK(detailflow_palette_make(both, 2, &finish, 16, colors, 256, &count, NULL));
    CHECK(count == 2 && colors[0] == 0x0405c8 && colors[1] == 0xfa0302);
    INVALID(detailflow_palette_make(both, 2, &finish, 1, colors, 256, &count, NULL), "2 to 256");
    INVALID(detailflow_palette_make(both, 0, &finish, 16, colors, 256, &count, NULL), "no visible pixel");
    INVALID(detailflow_palette_make(both, 2, &finish, 16, colors, 1, &count, NULL), "room for 1");
    OK(detailflow_palette_decode(gpl, sizeof gpl - 1, colors, 256, &count, NULL));
    CHECK(count == 2 && colors[0] == 0xff0000 && colors[1] == 0x0000ff);
    FAILS(detailflow_palette_decode("ff00", 4, colors, 256, &count, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "line 1");

    memset(&finish, 0xA5, sizeof finish);
    finish.struct_size = sizeof finish;
    OK(detailflow_model_get_finish(model, &finish, colors, 256, &count));
    CHECK(count == finish.palette_count && finish.palette == NULL && finish.tile == 0);
    CHECK(finish.alpha_cut == 0 && finish.colors == 0 && finish.has_outline == 0);
    OK(detailflow_image_finish(&image, &finish, NULL));

    memset(&finish, 0, sizeof finish);
    finish.struct_size = sizeof finish;
    memcpy(again, pixels, sizeof pixels);
    wrong = finish;
    wrong.alpha_cut = 256;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "alpha_cut is 256");
    wrong = finish;
    wrong.colors = 1;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "colors 1");
    wrong = finish;
    wrong.dither = 2;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "dither");
    wrong = finish;
    wrong.outline = 5;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "has_outline");
    wrong.has_outline = 1;
    wrong.outline = 0x1000000;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "0x1000000");
    wrong = finish;
    wrong.palette_count = 1;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "palette");
    wrong = finish;
    wrong.tile = 2;
    INVALID(detailflow_image_finish(&image, &wrong, NULL), "tile");
    image.format = DETAILFLOW_FORMAT_RGB8;
    INVALID(detailflow_image_finish(&image, &finish, NULL), "DETAILFLOW_FORMAT_RGBA8");
    image.format = DETAILFLOW_FORMAT_RGBA8;
    image.capacity--;
    INVALID(detailflow_image_finish(&image, &finish, NULL), "bytes");
    CHECK(memcmp(again, pixels, sizeof pixels) == 0);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    size_t count = 0;
    uint32_t *tokens = check_draw(model, 5, &count);
    formats = argc > 2 && strcmp(argv[2], "few") == 0 ? 1 : 8;
    mip_sizes_are_halves();
    image_upscale_repeats_pixels();
    image_finish_changes_pixels_in_place(model);
    level_is_found_by_size(model);
    mips_are_decoded_or_downscaled(model, tokens, count);
    mips_refuse_wrong_arguments(model, tokens, count);
    atlas_holds_every_sprite(model, tokens, count);
    atlas_refuses_wrong_arguments(model, tokens, count);
    free(tokens);
    detailflow_model_free(model);
    return 0;
}
