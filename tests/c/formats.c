/* Pixel formats hold the same picture: checked against floats, byte by byte. A mip chain in one block is what
 * detailflow_model_decode_mips gives, at the offsets that were told. Memory is as small as may be, so that the sanitizers see
 * the first byte beyond it. */
#include "check.h"

#include <math.h>

static const uint32_t FORMATS[8] = {
    DETAILFLOW_FORMAT_RGB8,
    DETAILFLOW_FORMAT_RGBA8,
    DETAILFLOW_FORMAT_RGBA32F,
    DETAILFLOW_FORMAT_BGRA8,
    DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED,
    DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED,
};

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

static double half(const unsigned char *bytes)
{
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
    CHECK(bits <= 0x3C00);
    return (bits >> 10) == 0 ? ldexp(bits, -24) : ldexp(1024 + (bits & 1023), (bits >> 10) - 25);
}

static double linear(double value) { return value <= 0.04045 ? value / 12.92 : pow((value + 0.055) / 1.055, 2.4); }

/* Half a unit in the last place of a half float, and a little. */
static int is_half(double found, double wanted)
{
    const double unit = wanted < ldexp(1, -14) ? ldexp(1, -24) : ldexp(1, (int)floor(log2(wanted)) - 10);
    return fabs(found - wanted) <= 0.56 * unit;
}

/* A picture in a format, rows `gap` bytes apart, at an odd address. */
static unsigned char *decode(const detailflow_model *model, const uint32_t *tokens, size_t count, uint32_t size,
                             uint32_t format, size_t gap, unsigned char **block)
{
    const size_t row = size * check_pixel_bytes(format), stride = row + gap, bytes = stride * (size - 1) + row;
    detailflow_image image;
    *block = memory(bytes + 1);
    image = check_image(format, size, *block + 1, bytes);
    image.stride = stride;
    OK(detailflow_model_decode(model, tokens, count, 0, &image));
    return *block + 1;
}

static void formats_hold_the_same_picture(const detailflow_model *model, const uint32_t *tokens, size_t count,
                                          uint32_t size)
{
    static const size_t GAPS[8] = {1, 0, 7, 3, 5, 1, 3, 13};
    unsigned char *blocks[8], *pixels[8];
    size_t at, x, y, c;
    for (at = 0; at < 8; at++) {
        pixels[at] = decode(model, tokens, count, size, FORMATS[at], GAPS[at], &blocks[at]);
    }
    for (y = 0; y < size; y++) {
        const unsigned char *row[8];
        for (at = 0; at < 8; at++) {
            const size_t length = size * check_pixel_bytes(FORMATS[at]);
            row[at] = pixels[at] + y * (length + GAPS[at]);
            CHECK(y + 1 == size || untouched(row[at] + length, GAPS[at]));
        }
        for (x = 0; x < size; x++) {
            float straight[4];
            memcpy(straight, row[2] + 16 * x, sizeof straight);
            for (c = 0; c < 4; c++) {
                const size_t other = c == 3 ? 3 : 2 - c;
                const double times = c == 3 ? 1 : straight[3], light = c == 3 ? straight[3] : linear(straight[c]);
                const double premultiplied = 255 * (double)straight[c] * times;
                CHECK(row[3][4 * x + other] == row[1][4 * x + c]);
                CHECK(row[5][4 * x + other] == row[4][4 * x + c]);
                CHECK(row[4][4 * x + c] <= row[4][4 * x + 3] && (c == 3 || row[4][4 * x + c] == row[0][3 * x + c]));
                CHECK(fabs(row[4][4 * x + c] - premultiplied) <= 1.01);
                CHECK(fabs(row[1][4 * x + c] - 255 * (double)straight[c]) <= 1.01);
                CHECK(is_half(half(row[6] + 8 * x + 2 * c), light));
                CHECK(is_half(half(row[7] + 8 * x + 2 * c), light * times));
            }
        }
    }
    for (at = 0; at < 8; at++) {
        free(blocks[at]);
    }
}

/* Every function that takes pixels takes them in every format. */
static void pixels_are_taken_in_every_format(const detailflow_model *model, const uint32_t *tokens, size_t count,
                                             uint32_t size)
{
    const detailflow_model_info info = check_info(model);
    uint32_t *wanted = NULL;
    size_t at, encoded = 0;
    for (at = 0; at < 8; at++) {
        const size_t bytes = check_pixel_bytes(FORMATS[at]) * size * size;
        unsigned char *block, *pixels = decode(model, tokens, count, size, FORMATS[at], 0, &block), *file, *larger;
        detailflow_image image = check_image(FORMATS[at], size, pixels, bytes), target;
        size_t length = 0;
        uint32_t *found = (uint32_t *)malloc(info.token_count * sizeof *found);
        CHECK(found != NULL);
        OK(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_QOI, NULL, 0, &length, NULL));
        file = memory(length);
        OK(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_QOI, file, length, &length, NULL));
        CHECK(memcmp(file, "qoif", 4) == 0 && file[12] == (at == 0 ? 3 : 4));
        OK(detailflow_image_save(&image, "picture.png", NULL));
        larger = memory(9 * bytes);
        target = check_image(FORMATS[at], 3 * size, larger, 9 * bytes);
        OK(detailflow_image_upscale(&image, 3, &target, NULL));
        CHECK(memcmp(larger + 6 * check_pixel_bytes(FORMATS[at]), pixels + 2 * check_pixel_bytes(FORMATS[at]),
                     check_pixel_bytes(FORMATS[at])) == 0);
        OK(detailflow_model_encode(model, &image, found, info.token_count, &encoded));
        if (FORMATS[at] == DETAILFLOW_FORMAT_RGBA8) {
            wanted = found;
            found = NULL;
        }
        if (FORMATS[at] == DETAILFLOW_FORMAT_BGRA8) {
            CHECK(encoded == info.token_count && memcmp(found, wanted, encoded * sizeof *found) == 0);
        }
        free(found);
        free(larger);
        free(file);
        free(block);
    }
    free(wanted);
}

static void halves_must_be_finite(const detailflow_model *model)
{
    const uint16_t bad[4] = {0x7C00, 0xFC00, 0x7E00, 0xFFFF};
    uint16_t pixel[4] = {0, 0, 0, 0x3C00};
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA16F_LINEAR, 1, pixel, sizeof pixel);
    uint32_t tokens[512];
    size_t count = 0, length = 0, at;
    CHECK(check_info(model).token_count <= 512);
    /* Out of range is clamped. */
    pixel[0] = 0xC000;
    pixel[1] = 0x7BFF;
    OK(detailflow_model_encode(model, &image, tokens, 512, &count));
    for (at = 0; at < 4; at++) {
        pixel[2] = bad[at];
        INVALID(detailflow_model_encode(model, &image, tokens, 512, &count), "(0, 0)");
        INVALID(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, NULL, 0, &length, NULL), "finite");
    }
    image.format = 9;
    INVALID(detailflow_model_encode(model, &image, tokens, 512, &count),
            "DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED (8)");
}

static void layout_gives_offsets(void)
{
    size_t offsets[33], count = 77, bytes = 77, at;
    offsets[3] = 77;
    OK(detailflow_mips_lay_out(6, DETAILFLOW_FORMAT_RGB8, 0, NULL, 0, &count, &bytes, NULL));
    CHECK(count == 3 && bytes == 138);
    OK(detailflow_mips_lay_out(6, DETAILFLOW_FORMAT_RGB8, 512, offsets, 3, &count, &bytes, NULL));
    CHECK(count == 3 && bytes == 1027 && offsets[0] == 0 && offsets[1] == 512 && offsets[2] == 1024 &&
          offsets[3] == 77);
    INVALID(detailflow_mips_lay_out(6, DETAILFLOW_FORMAT_RGB8, 1, offsets, 2, &count, &bytes, NULL), "room for 2");
    INVALID(detailflow_mips_lay_out(0, DETAILFLOW_FORMAT_RGB8, 1, offsets, 3, &count, &bytes, NULL), "not with 0");
    INVALID(detailflow_mips_lay_out(6, 0, 1, offsets, 3, &count, &bytes, NULL), "format is 0");
    INVALID(detailflow_mips_lay_out(6, 9, 1, offsets, 3, &count, &bytes, NULL), "format is 9");
    INVALID(detailflow_mips_lay_out(6, 1, 65537, offsets, 3, &count, &bytes, NULL), "65537");
    INVALID(detailflow_mips_lay_out(6, 1, 1, offsets, 3, NULL, &bytes, NULL), "count is NULL");
    INVALID(detailflow_mips_lay_out(6, 1, 1, offsets, 3, &count, NULL, NULL), "block_bytes is NULL");
    INVALID(detailflow_mips_lay_out(6, 1, 1, NULL, 3, &count, &bytes, NULL), "offsets is NULL");
    INVALID(detailflow_mips_lay_out(UINT32_MAX, DETAILFLOW_FORMAT_RGBA32F, 1, offsets, 33, &count, &bytes, NULL),
            "address space");
    CHECK(count == 3 && bytes == 1027);
    OK(detailflow_mips_lay_out(65536, DETAILFLOW_FORMAT_BGRA8, 65536, offsets, 33, &count, &bytes, NULL));
    CHECK(count == 17);
    for (at = 0; at < count; at++) {
        CHECK(offsets[at] % 65536 == 0);
    }
}

static void chain_is_what_mips_are(const detailflow_model *model, const uint32_t *tokens, size_t count, uint32_t size)
{
    static const uint32_t ALIGNMENTS[3] = {0, 7, 256};
    uint32_t sizes[32], format, source, alignment;
    size_t chain, found, at, bytes;
    OK(detailflow_mips_list_sizes(size, sizes, 32, &chain, NULL));
    for (format = 0; format < 8; format++) {
        for (source = 0; source <= 2; source++) {
            for (alignment = 0; alignment < 3; alignment++) {
                size_t offsets[32], end = 0;
                detailflow_image targets[32];
                unsigned char *block, *apart[32];
                OK(detailflow_mips_lay_out(size, FORMATS[format], ALIGNMENTS[alignment], offsets, 32, &found, &bytes,
                                           NULL));
                CHECK(found == chain);
                block = memory(bytes);
                OK(detailflow_model_decode_mip_chain(model, tokens, count, source, size, FORMATS[format], offsets,
                                                     chain, block, bytes));
                for (at = 0; at < chain; at++) {
                    const size_t length = check_pixel_bytes(FORMATS[format]) * sizes[at] * sizes[at];
                    apart[at] = memory(length);
                    targets[at] = check_image(FORMATS[format], sizes[at], apart[at], length);
                }
                OK(detailflow_model_decode_mips(model, tokens, count, source, targets, chain));
                for (at = 0; at < chain; at++) {
                    CHECK(untouched(block + end, offsets[at] - end));
                    CHECK(memcmp(block + offsets[at], apart[at], targets[at].capacity) == 0);
                    end = offsets[at] + targets[at].capacity;
                    free(apart[at]);
                }
                CHECK(end == bytes);
                free(block);
            }
        }
    }
}

static void chain_refuses_wrong_arguments(const detailflow_model *model, uint32_t *tokens, size_t count, uint32_t size)
{
    const size_t first = (size_t)4 * size * size, second = first / 4, bytes = first + second;
    const size_t smallest_first[2] = {second, 0};
    unsigned char *block = memory(bytes);
    size_t offsets[2];
    uint32_t token;
    CHECK(size % 2 == 0);

#define CHAIN(source, size, format, offsets, mips, block, bytes)                                                       \
    detailflow_model_decode_mip_chain(model, tokens, count, source, size, format, offsets, mips, block, bytes)
#define REFUSED(call, text)                                                                                            \
    do {                                                                                                               \
        offsets[0] = 0;                                                                                                \
        offsets[1] = first;                                                                                            \
        INVALID(call, text);                                                                                           \
        CHECK(untouched(block, bytes));                                                                                \
    } while (0)

    REFUSED(CHAIN(0, size, 2, offsets, 2, block, bytes - 1), "mip 1 of");
    REFUSED(CHAIN(0, size, 2, offsets, 2, block, first - 1), "mip 0 of");
    REFUSED(CHAIN(0, size, 3, offsets, 2, block, bytes), "mip 0 of");
    REFUSED(CHAIN(0, size, 2, offsets, 2, block, SIZE_MAX), "address space");
    REFUSED(CHAIN(0, size, 2, offsets, 2, NULL, bytes), "block is NULL");
    REFUSED(CHAIN(0, size, 2, NULL, 2, block, bytes), "offsets is NULL");
    REFUSED(CHAIN(0, size, 2, offsets, 0, block, bytes), "0 offsets");
    REFUSED(CHAIN(0, size, 2, offsets, 33, block, bytes), "offsets");
    REFUSED(CHAIN(0, size, 2, offsets, SIZE_MAX, block, bytes), "offsets");
    REFUSED(CHAIN(0, 1, 2, offsets, 2, block, bytes), "2 offsets for a mip chain of 1 px: 1 to 1");
    REFUSED(CHAIN(0, 0, 2, offsets, 2, block, bytes), "of 0 px");
    REFUSED(CHAIN(0, size + 1, 1, offsets, 1, block, bytes), "mip 0 of");
    REFUSED(CHAIN(0, UINT32_MAX, 2, offsets, 1, block, bytes), "mip 0 of");
    REFUSED(CHAIN(0, size, 0, offsets, 2, block, bytes), "format is 0");
    REFUSED(CHAIN(0, size, 9, offsets, 2, block, bytes), "format is 9");
    REFUSED(CHAIN(3, size, 2, offsets, 2, block, bytes), "source is 3");
    REFUSED((offsets[1] = first - 1, CHAIN(0, size, 2, offsets, 2, block, bytes)), "mips 0 and 1 overlap");
    REFUSED((offsets[1] = SIZE_MAX, CHAIN(0, size, 2, offsets, 2, block, bytes)), "mip 1 of");
    token = tokens[count - 1];
    tokens[count - 1] = UINT32_MAX;
    REFUSED(CHAIN(0, size, 2, offsets, 2, block, bytes), "codebook");
    tokens[count - 1] = token;

    /* The smallest first, as some files have them; and one mip alone. */
    OK(CHAIN(0, size, 2, smallest_first, 2, block, bytes));
    CHECK(!untouched(block, second) && !untouched(block + second, first));
    OK(CHAIN(0, 1, 2, smallest_first + 1, 1, block, 4));
    free(block);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    size_t count = 0;
    uint32_t *tokens = check_draw(model, 5, &count), size = 0;
    OK(detailflow_model_get_prefix_size(model, count, &size));
    formats_hold_the_same_picture(model, tokens, count, size);
    pixels_are_taken_in_every_format(model, tokens, count, size);
    halves_must_be_finite(model);
    layout_gives_offsets();
    chain_is_what_mips_are(model, tokens, count, size);
    chain_refuses_wrong_arguments(model, tokens, count, size);
    free(tokens);
    detailflow_model_free(model);
    return 0;
}
