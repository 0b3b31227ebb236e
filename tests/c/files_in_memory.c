/* Picture files and token files in memory: encoded, decoded, told apart. */
#include "check.h"

static void *check_memory(size_t bytes)
{
    void *memory = malloc(bytes + 1);
    CHECK(memory != NULL);
    return memory;
}

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes;
    long length;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    length = ftell(file);
    CHECK(length > 0 && fseek(file, 0, SEEK_SET) == 0);
    *size = (size_t)length;
    bytes = (unsigned char *)check_memory(*size);
    CHECK(fread(bytes, 1, *size, file) == *size);
    fclose(file);
    return bytes;
}

/* A picture of the model, as pixels. */
static unsigned char *draw_picture(const detailflow_model *model, uint32_t format, detailflow_image *image)
{
    const detailflow_model_info info = check_info(model);
    size_t count, bytes = check_pixel_bytes(format) * info.image_size * info.image_size;
    uint32_t *tokens = check_draw(model, 3, &count);
    unsigned char *pixels = (unsigned char *)check_memory(bytes);
    *image = check_image(format, info.image_size, pixels, bytes);
    OK(detailflow_model_decode(model, tokens, count, 0, image));
    free(tokens);
    return pixels;
}

/* In every format the bytes are those of the file that is saved, and encode to the same tokens. */
static void image_encode_gives_the_bytes_of_the_file(const detailflow_model *model)
{
    static const struct {
        uint32_t format;
        const char *path;
        int is_told_by_content;
    } FORMATS[] = {
        {DETAILFLOW_FILE_FORMAT_PNG, "x.png", 1},   {DETAILFLOW_FILE_FORMAT_JPEG, "x.jpg", 1},
        {DETAILFLOW_FILE_FORMAT_WEBP, "x.webp", 1}, {DETAILFLOW_FILE_FORMAT_BMP, "x.bmp", 1},
        {DETAILFLOW_FILE_FORMAT_TGA, "x.tga", 0},   {DETAILFLOW_FILE_FORMAT_TIFF, "x.tiff", 1},
        {DETAILFLOW_FILE_FORMAT_QOI, "x.qoi", 1},
    };
    const detailflow_model_info info = check_info(model);
    uint32_t *tokens = (uint32_t *)check_memory(info.token_count * sizeof *tokens);
    uint32_t *others = (uint32_t *)check_memory(info.token_count * sizeof *others);
    detailflow_image image;
    unsigned char *pixels = draw_picture(model, DETAILFLOW_FORMAT_RGB8, &image);
    size_t at;
    for (at = 0; at < sizeof FORMATS / sizeof *FORMATS; at++) {
        unsigned char *bytes, *saved;
        size_t size = 77, again = 77, length = 0, count = 0;
        OK(detailflow_image_encode(&image, FORMATS[at].format, NULL, 0, &size, NULL));
        CHECK(size > 0 && size != 77);
        bytes = (unsigned char *)check_memory(size);
        bytes[size] = 0xA5;
        OK(detailflow_image_encode(&image, FORMATS[at].format, bytes, size, &again, NULL));
        CHECK(again == size && bytes[size] == 0xA5);
        INVALID(detailflow_image_encode(&image, FORMATS[at].format, bytes, size - 1, &again, NULL), "room for");
        OK(detailflow_image_save(&image, FORMATS[at].path, NULL));
        saved = read_file(FORMATS[at].path, &length);
        CHECK(length == size && memcmp(saved, bytes, size) == 0);
        if (FORMATS[at].is_told_by_content) {
            OK(detailflow_model_encode_file(model, FORMATS[at].path, tokens, info.token_count, &count));
            CHECK(count == info.token_count);
            OK(detailflow_model_encode_data(model, bytes, size, others, info.token_count, &count));
            CHECK(count == info.token_count && memcmp(tokens, others, count * sizeof *tokens) == 0);
        }
        free(saved);
        free(bytes);
    }
    free(pixels);
    free(others);
    free(tokens);
}

static void image_encode_refuses_what_cannot_be_written(const detailflow_model *model)
{
    detailflow_image image;
    unsigned char *pixels = draw_picture(model, DETAILFLOW_FORMAT_RGBA8, &image);
    unsigned char byte[1] = {7};
    size_t size = 77;
    image.format = 9;
    INVALID(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, NULL, 0, &size, NULL), "format is 9");
    image.format = DETAILFLOW_FORMAT_RGBA8;
    INVALID(detailflow_image_encode(&image, 0, NULL, 0, &size, NULL), "file_format is 0");
    INVALID(detailflow_image_encode(&image, 8, NULL, 0, &size, NULL), "DETAILFLOW_FILE_FORMAT_QOI (7)");
    INVALID(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, byte, 1, &size, NULL), "room for 1");
    CHECK(size == 77 && byte[0] == 7);
    free(pixels);
}

static void encode_data_refuses_damaged_files(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    uint32_t *tokens = (uint32_t *)check_memory(info.token_count * sizeof *tokens);
    detailflow_image image;
    unsigned char *pixels = draw_picture(model, DETAILFLOW_FORMAT_RGB8, &image), *bytes;
    size_t size = 0, count = 77;
    OK(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, NULL, 0, &size, NULL));
    bytes = (unsigned char *)check_memory(size);
    OK(detailflow_image_encode(&image, DETAILFLOW_FILE_FORMAT_PNG, bytes, size, &size, NULL));
    tokens[0] = 4711;
    FAILS(detailflow_model_encode_data(model, bytes, size / 2, tokens, info.token_count, &count),
          DETAILFLOW_STATUS_BAD_FORMAT, "");
    FAILS(detailflow_model_encode_data(model, bytes, 0, tokens, info.token_count, &count), DETAILFLOW_STATUS_BAD_FORMAT,
          "");
    CHECK(tokens[0] == 4711 && count == 77);
    /* The number alone needs no file. */
    OK(detailflow_model_encode_data(model, bytes, 0, NULL, 0, &count));
    CHECK(count == info.token_count);
    free(bytes);
    free(pixels);
    free(tokens);
}

static void tokens_kind_is_told_by_the_first_bytes(const detailflow_model *model)
{
    size_t count, size = 0;
    uint32_t kind = 77, *tokens = check_draw(model, 1, &count);
    unsigned char *dft, *pack;
    detailflow_pack_writer *writer = NULL;
    OK(detailflow_dft_encode(model, tokens, count, 0, NULL, NULL, 0, &size));
    dft = (unsigned char *)check_memory(size);
    OK(detailflow_dft_encode(model, tokens, count, 0, NULL, dft, size, &size));
    OK(detailflow_pack_writer_new("kind.dftpack", &writer, NULL));
    OK(detailflow_pack_writer_add(writer, NULL, dft, size, NULL));
    OK(detailflow_pack_writer_finish(writer));
    detailflow_pack_writer_free(writer);
    OK(detailflow_tokens_get_kind(dft, size, &kind, NULL));
    CHECK(kind == DETAILFLOW_TOKENS_KIND_DFT);
    OK(detailflow_tokens_get_kind(dft, 8, &kind, NULL));
    CHECK(kind == DETAILFLOW_TOKENS_KIND_DFT);
    pack = read_file("kind.dftpack", &size);
    OK(detailflow_tokens_get_kind(pack, 8, &kind, NULL));
    CHECK(kind == DETAILFLOW_TOKENS_KIND_PACK);
    OK(detailflow_tokens_get_kind(" {\"format\": 1}", 14, &kind, NULL));
    CHECK(kind == DETAILFLOW_TOKENS_KIND_JSON);
    OK(detailflow_tokens_get_kind("\x89PNG\r\n\x1a\n", 8, &kind, NULL));
    CHECK(kind == DETAILFLOW_TOKENS_KIND_NONE);
    OK(detailflow_tokens_get_kind(dft, 0, &kind, NULL));
    CHECK(kind == DETAILFLOW_TOKENS_KIND_NONE);
    free(pack);
    free(dft);
    free(tokens);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    image_encode_gives_the_bytes_of_the_file(model);
    image_encode_refuses_what_cannot_be_written(model);
    encode_data_refuses_damaged_files(model);
    tokens_kind_is_told_by_the_first_bytes(model);
    detailflow_model_free(model);
    return 0;
}
