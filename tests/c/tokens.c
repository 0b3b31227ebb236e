/* Token files: made and read in memory, cut and damaged, repaired; packs written, read, salvaged. With "few" as the second
 * argument fewer of each, for valgrind. */
#include "check.h"

/* A copy of exactly this size, so that whoever reads past its end is caught. */
static unsigned char *exact(const unsigned char *data, size_t size)
{
    unsigned char *copy = (unsigned char *)malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static detailflow_dft_info dft_info(const void *data, size_t size)
{
    detailflow_dft_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(detailflow_dft_get_info(data, size, &info, NULL));
    return info;
}

/* A file of these tokens, in memory that the caller frees. */
static unsigned char *encode(const detailflow_model *model, const uint32_t *tokens, size_t count, uint32_t class_index,
                             const uint64_t *seed, size_t *size)
{
    unsigned char *data;
    size_t told = 0;
    OK(detailflow_dft_encode(model, tokens, count, class_index, seed, NULL, 0, &told));
    CHECK(told > 32);
    data = (unsigned char *)malloc(told);
    CHECK(data != NULL);
    OK(detailflow_dft_encode(model, tokens, count, class_index, seed, data, told, size));
    CHECK(*size == told);
    return data;
}

/* What can be read of `data` is a prefix of `tokens`. Tells how many there are; none when the header is damaged. */
static size_t sound(const unsigned char *data, size_t size, const uint32_t *tokens, size_t count)
{
    uint32_t *read = (uint32_t *)malloc(count * sizeof *read);
    detailflow_dft_info info;
    size_t told = 0;
    CHECK(read != NULL);
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (detailflow_dft_get_info(data, size, &info, NULL) != DETAILFLOW_STATUS_OK) {
        FAILS(detailflow_dft_get_info(data, size, &info, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "");
        FAILS(detailflow_dft_get_tokens(data, size, read, count, &told, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "");
        CHECK(info.written_count == 0 && told == 0);
        free(read);
        return 0;
    }
    OK(detailflow_dft_get_tokens(data, size, read, count, &told, NULL));
    CHECK(told == info.intact_count && told <= count && info.written_count == count);
    CHECK((info.damage == DETAILFLOW_DAMAGE_NONE) == (told == count));
    CHECK(memcmp(tokens, read, told * sizeof *read) == 0);
    free(read);
    return told;
}

static void dft_roundtrip_keeps_every_token(const detailflow_model *model, int few)
{
    const detailflow_model_info model_info = check_info(model);
    const uint64_t seed = UINT64_C(0xFEDCBA9876543210);
    const uint32_t class_index = model_info.class_count - 1;
    size_t count, size, at, told, before;
    uint32_t *tokens = check_draw(model, seed, &count), number;
    unsigned char *data = encode(model, tokens, count, class_index, &seed, &size), *part;
    detailflow_dft_info info = dft_info(data, size);

    CHECK(info.struct_size == sizeof info && info.damage == DETAILFLOW_DAMAGE_NONE);
    CHECK(info.intact_count == count && info.written_count == count && info.token_count == model_info.token_count);
    CHECK(info.group_size == model_info.group_size && info.causal_count == model_info.causal_count &&
          info.bits_per_token == model_info.bits_per_token);
    CHECK(info.class_index == class_index && info.has_seed == 1 && info.seed == seed);
    CHECK(strcmp(info.tokenizer_id, model_info.tokenizer_id) == 0);
    OK(detailflow_dft_check(model, data, size));
    CHECK(sound(data, size, tokens, count) == count);
    OK(detailflow_dft_get_tokens(data, size, NULL, 0, &told, NULL));
    CHECK(told == count);

    /* Every cut, every flipped bit: what is sound is what was written, and never more. */
    before = 0;
    for (at = 0; at < size; at++) {
        part = exact(data, at);
        told = sound(part, at, tokens, count);
        CHECK(told >= before && told < count && (told == count || told % info.group_size == 0));
        CHECK(at < 32 ? told == 0 : dft_info(part, at).damage == DETAILFLOW_DAMAGE_CUT);
        before = told;
        free(part);
    }
    for (at = 0; at < size * 8; at += few ? 7 : 1) {
        part = exact(data, size);
        part[at / 8] = (unsigned char)(part[at / 8] ^ 1 << at % 8);
        told = sound(part, size, tokens, count);
        CHECK(told < count);
        CHECK(at / 8 < 32 ? told == 0 : dft_info(part, size).damage == DETAILFLOW_DAMAGE_GROUP);
        /* What is sound decodes. */
        if (told > 0) {
            OK(detailflow_model_get_prefix_size(model, told, &number));
        }
        free(part);
    }
    part = (unsigned char *)malloc(size + 1);
    CHECK(part != NULL);
    memcpy(part, data, size);
    part[size] = 0;
    info = dft_info(part, size + 1);
    CHECK(info.damage == DETAILFLOW_DAMAGE_SURPLUS && info.intact_count == count);
    free(part);

    /* Prefixes, one by one within the causal part; a picture without class and seed; any alignment. */
    for (at = 1; at <= count; at++) {
        if (at <= info.causal_count || at % info.group_size == 0) {
            part = encode(model, tokens, at, DETAILFLOW_NO_CLASS, NULL, &told);
            info = dft_info(part, told);
            CHECK(info.written_count == at && info.intact_count == at && info.class_index == DETAILFLOW_NO_CLASS);
            CHECK(info.has_seed == 0 && info.seed == 0);
            CHECK(sound(part, told, tokens, at) == at);
            free(part);
        }
    }
    part = (unsigned char *)malloc(size + 1);
    CHECK(part != NULL);
    memcpy(part + 1, data, size);
    CHECK(dft_info(part + 1, size).intact_count == count);
    free(part);
    free(data);
    free(tokens);
}

static void dft_refuses_wrong_arguments(const detailflow_model *model)
{
    const detailflow_model_info model_info = check_info(model);
    size_t count, size, told = 77;
    uint32_t *tokens = check_draw(model, 1, &count), wrong = model_info.codebook_size, token[2] = {77, 77};
    unsigned char *data = encode(model, tokens, count, 0, NULL, &size), small[32];
    detailflow_dft_info info = dft_info(data, size);

    FAILS(detailflow_dft_encode(model, tokens, 0, 0, NULL, NULL, 0, &told), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "prefix");
    FAILS(detailflow_dft_encode(model, tokens, count, model_info.class_count, NULL, NULL, 0, &told),
          DETAILFLOW_STATUS_INVALID_ARGUMENT, "class");
    FAILS(detailflow_dft_encode(model, &wrong, 1, 0, NULL, NULL, 0, &told), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "token 0");
    FAILS(detailflow_dft_encode(model, tokens, (size_t)-1, 0, NULL, NULL, 0, &told), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "too many");
    memset(small, 0xA5, sizeof small);
    FAILS(detailflow_dft_encode(model, tokens, count, 0, NULL, small, sizeof small, &told),
          DETAILFLOW_STATUS_INVALID_ARGUMENT, "room for 32");
    CHECK(small[0] == 0xA5 && small[31] == 0xA5 && told == 77);
    CHECK(MESSAGE(detailflow_model_get_message, model, NULL, 0) > 0);
    FAILS(detailflow_dft_get_tokens(data, size, token, 2, &told, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "room for 2");
    CHECK(token[0] == 77 && told == 77);
    FAILS(detailflow_dft_get_info("soup", 4, &info, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "not a token file");
    FAILS(detailflow_dft_get_info(data, 0, &info, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "not a token file");
    FAILS(detailflow_dft_get_info(data, (size_t)-1, &info, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "address space");
    FAILS(detailflow_dft_check(model, data, 31), DETAILFLOW_STATUS_BAD_FORMAT, "header");
    info.struct_size = 8;
    FAILS(detailflow_dft_get_info(data, size, &info, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "struct_size");
    CHECK(info.intact_count == count);
    free(data);
    free(tokens);
}

/* Tokens of another tokenizer: bytes that the page of the format gives. */
static void dft_check_refuses_foreign_tokens(const detailflow_model *model)
{
    static const unsigned char page[44] = {0x44, 0x46, 0x54, 0x01, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
                                           0xef, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00,
                                           0x08, 0x00, 0x06, 0x00, 0x04, 0x6a, 0x03, 0x00, 0xca, 0x5b, 0x01,
                                           0x08, 0x30, 0xc0, 0xff, 0x4b, 0x70, 0x00, 0x02, 0x00, 0x68, 0x2a};
    static const uint32_t expected[6] = {1, 2, 3, 1023, 512, 0};
    uint32_t tokens[6];
    size_t count = 0;
    detailflow_dft_info info = dft_info(page, sizeof page);
    CHECK(strcmp(info.tokenizer_id, "0123456789abcdef") == 0 && info.seed == 7 && info.class_index == 3);
    CHECK(info.token_count == 16 && info.group_size == 4 && info.causal_count == 8 && info.bits_per_token == 10);
    OK(detailflow_dft_get_tokens(page, sizeof page, tokens, 6, &count, NULL));
    CHECK(count == 6 && memcmp(tokens, expected, sizeof tokens) == 0);
    FAILS(detailflow_dft_check(model, page, sizeof page), DETAILFLOW_STATUS_INVALID_ARGUMENT, "0123456789abcdef");
    CHECK(strstr(detailflow_last_message(), check_info(model).tokenizer_id) != NULL);
}

static void dft_repair_restores_the_file(const detailflow_model *model, int few)
{
    const detailflow_model_info model_info = check_info(model);
    detailflow_request *request = check_request(model, 1, 4711);
    detailflow_generation *generation = NULL;
    const uint64_t seed = 5;
    size_t count, size, other, at, told;
    uint32_t *tokens;
    unsigned char *data, *mended;

    OK(detailflow_request_set_seed(request, seed));
    OK(detailflow_request_set_class(request, model_info.class_count - 1));
    OK(detailflow_request_set_temperature(request, 1));
    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, 0, &count);
    detailflow_generation_free(generation);
    data = encode(model, tokens, count, model_info.class_count - 1, &seed, &size);
    /* What the file says goes before what the request says. */
    OK(detailflow_request_set_seed(request, 4711));
    OK(detailflow_request_set_class(request, 0));

    mended = (unsigned char *)malloc(size);
    CHECK(mended != NULL);
    for (at = 32; at < size; at += few ? size : size / 9 + 1) {
        unsigned char *part = exact(data, at);
        told = 0;
        OK(detailflow_dft_repair(request, part, at, 0, NULL, 0, &told));
        CHECK(told == size);
        FAILS(detailflow_dft_repair(request, part, at, 0, mended, size - 1, &told), DETAILFLOW_STATUS_INVALID_ARGUMENT,
              "room");
        memset(mended, 0, size);
        OK(detailflow_dft_repair(request, part, at, 0, mended, size, &told));
        CHECK(told == size && memcmp(mended, data, size) == 0);
        free(part);
    }
    /* A part of it, into the same memory; and what is no prefix. */
    OK(detailflow_dft_repair(request, mended, size - 1, model_info.causal_count, mended, size, &told));
    CHECK(dft_info(mended, told).written_count == model_info.causal_count);
    CHECK(sound(mended, told, tokens, model_info.causal_count) == model_info.causal_count);
    FAILS(detailflow_dft_repair(request, data, size, count + 1, mended, size, &told),
          DETAILFLOW_STATUS_INVALID_ARGUMENT, "prefix");
    FAILS(detailflow_dft_repair(request, data, 31, 0, mended, size, &told), DETAILFLOW_STATUS_BAD_FORMAT, "header");
    CHECK(MESSAGE(detailflow_request_get_message, request, NULL, 0) > 0);

    /* Without class and seed those of the request. */
    free(data);
    data = encode(model, tokens, count, DETAILFLOW_NO_CLASS, NULL, &other);
    CHECK(other == size);
    OK(detailflow_request_set_seed(request, seed));
    OK(detailflow_request_set_class(request, model_info.class_count - 1));
    OK(detailflow_dft_repair(request, data, size - 1, 0, mended, size, &told));
    CHECK(sound(mended, told, tokens, count) == count && dft_info(mended, told).seed == seed);
    free(mended);
    free(data);
    free(tokens);
    detailflow_request_free(request);
}

static void entry_name(char *name, size_t number) { CHECK(snprintf(name, 32, "sprites/%u", (unsigned)number) > 0); }

typedef struct reader {
    const detailflow_pack *pack;
    uint32_t entries;
    const uint32_t *tokens;
    size_t count;
} reader;

/* Reads everything, each entry by name and by index. */
static void *read_all(void *argument)
{
    const reader *r = (const reader *)argument;
    uint32_t *tokens = (uint32_t *)malloc(r->count * sizeof *tokens), at, index;
    CHECK(tokens != NULL);
    for (at = 0; at < r->entries; at++) {
        char name[32], told[32];
        detailflow_dft_info info;
        size_t count = 0, length = 0;
        entry_name(name, at);
        OK(detailflow_pack_find_entry(r->pack, name, &index));
        CHECK(index == at);
        OK(detailflow_pack_get_entry_name(r->pack, at, NULL, 0, &length));
        CHECK(length == strlen(name));
        OK(detailflow_pack_get_entry_name(r->pack, at, told, length + 1, &length));
        CHECK(strcmp(told, name) == 0);
        OK(detailflow_pack_get_entry_tokens(r->pack, at, tokens, r->count, &count));
        CHECK(count == r->count && memcmp(tokens, r->tokens, count * sizeof *tokens) == 0);
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        OK(detailflow_pack_get_entry_info(r->pack, at, &info));
        CHECK(info.seed == at && info.intact_count == count);
    }
    free(tokens);
    return NULL;
}

static long file_size(const char *path)
{
    FILE *file = fopen(path, "rb");
    long size;
    if (file == NULL) {
        return -1;
    }
    CHECK(fseek(file, 0, SEEK_END) == 0);
    size = ftell(file);
    CHECK(fclose(file) == 0);
    return size;
}

static void copy_file(const char *from, const char *to, size_t size)
{
    unsigned char *bytes = (unsigned char *)malloc(size);
    FILE *file = fopen(from, "rb");
    CHECK(bytes != NULL && file != NULL && fread(bytes, 1, size, file) == size && fclose(file) == 0);
    file = fopen(to, "wb");
    CHECK(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
    free(bytes);
}

static void pack_roundtrip_keeps_every_entry(const detailflow_model *model, int few)
{
    const uint32_t entries = few ? 20 : 500;
    detailflow_pack_writer *writer = NULL;
    detailflow_pack *pack = NULL;
    size_t count, size, told;
    uint32_t *tokens = check_draw(model, 1, &count), at, index = 77, shortened = 77;
    unsigned char *data, *again;
    char name[32];
    reader work;
    pthread_t threads[4];

    OK(detailflow_pack_writer_new("all.dftpack", &writer, NULL));
    for (at = 0; at < entries; at++) {
        const uint64_t seed = at;
        data = encode(model, tokens, count, 0, &seed, &size);
        entry_name(name, at);
        OK(detailflow_pack_writer_add(writer, name, data, size, &index));
        CHECK(index == at);
        free(data);
    }
    data = encode(model, tokens, 1, DETAILFLOW_NO_CLASS, NULL, &size);
    OK(detailflow_pack_writer_add(writer, NULL, data, size, NULL));

    /* What is refused leaves the pack as it was. */
    FAILS(detailflow_pack_writer_add(writer, "sprites/0", data, size, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "entry 0");
    FAILS(detailflow_pack_writer_add(writer, "", data, size, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "0 bytes");
    FAILS(detailflow_pack_writer_add(writer, "\xff", data, size, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "UTF-8");
    FAILS(detailflow_pack_writer_add(writer, "x", data, size - 1, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "cut off");
    FAILS(detailflow_pack_writer_add(writer, "x", "soup", 4, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "not a token file");
    CHECK(MESSAGE(detailflow_pack_writer_get_message, writer, NULL, 0) > 0);
    CHECK(file_size("all.dftpack") == -1);
    OK(detailflow_pack_writer_finish(writer));
    CHECK(file_size("all.dftpack") > 0);
    FAILS(detailflow_pack_writer_add(writer, "x", data, size, NULL), DETAILFLOW_STATUS_WRONG_STATE, "finished");
    FAILS(detailflow_pack_writer_finish(writer), DETAILFLOW_STATUS_WRONG_STATE, "finished");
    detailflow_pack_writer_free(writer);

    OK(detailflow_pack_open("all.dftpack", &pack, NULL));
    OK(detailflow_pack_get_count(pack, &index));
    CHECK(index == entries + 1);
    work.pack = pack;
    work.entries = entries;
    work.tokens = tokens;
    work.count = count;
    for (at = 0; at < 4; at++) {
        CHECK(pthread_create(&threads[at], NULL, read_all, &work) == 0);
    }
    for (at = 0; at < 4; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    OK(detailflow_pack_get_entry_name(pack, entries, name, 1, &told));
    CHECK(told == 0 && name[0] == 0);
    OK(detailflow_pack_get_entry(pack, entries, NULL, 0, &told));
    CHECK(told == size);
    again = (unsigned char *)malloc(size);
    CHECK(again != NULL);
    OK(detailflow_pack_get_entry(pack, entries, again, size, &told));
    CHECK(told == size && memcmp(again, data, size) == 0);
    INVALID(detailflow_pack_get_entry(pack, entries, again, size - 1, &told), "room for");
    /* Text that does not fit is cut. */
    OK(detailflow_pack_get_entry_name(pack, 0, name, 3, &told));
    CHECK(strlen(name) == 2 && told > 2);
    FAILS(detailflow_pack_find_entry(pack, "absent", &index), DETAILFLOW_STATUS_NOT_FOUND, "absent");
    FAILS(detailflow_pack_get_entry(pack, entries + 1, again, size, &told), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "out of range");
    CHECK(MESSAGE(detailflow_pack_get_message, pack, NULL, 0) > 0);
    detailflow_pack_free(pack);

    /* Cut in its middle. */
    copy_file("all.dftpack", "cut.dftpack", (size_t)file_size("all.dftpack") / 2);
    FAILS(detailflow_pack_open("cut.dftpack", &pack, NULL), DETAILFLOW_STATUS_BAD_FORMAT, "cut.dftpack");
    OK(detailflow_pack_salvage("cut.dftpack", "left.dftpack", &index, &shortened, NULL));
    CHECK(index > entries / 4 && index < entries && shortened <= 1);
    OK(detailflow_pack_salvage("cut.dftpack", "left.dftpack", &index, NULL, NULL));
    pack = NULL;
    OK(detailflow_pack_open("left.dftpack", &pack, NULL));
    work.pack = pack;
    work.entries = index - shortened;
    (void)read_all(&work);
    detailflow_pack_free(pack);
    copy_file("all.dftpack", "cut.dftpack", 20);
    FAILS(detailflow_pack_salvage("cut.dftpack", "none.dftpack", &index, NULL, NULL), DETAILFLOW_STATUS_BAD_FORMAT,
          "no entry");
    FAILS(detailflow_pack_salvage("absent.dftpack", "none.dftpack", &index, NULL, NULL), DETAILFLOW_STATUS_NOT_FOUND,
          "absent");
    CHECK(file_size("none.dftpack") == -1);

    /* What is not finished leaves nothing. */
    OK(detailflow_pack_writer_new("none.dftpack", &writer, NULL));
    OK(detailflow_pack_writer_add(writer, "x", data, size, NULL));
    detailflow_pack_writer_free(writer);
    CHECK(file_size("none.dftpack") == -1);
    FAILS(detailflow_pack_writer_new("nowhere/x.dftpack", &writer, NULL), DETAILFLOW_STATUS_IO, "nowhere");
    FAILS(detailflow_pack_open("absent.dftpack", &pack, NULL), DETAILFLOW_STATUS_NOT_FOUND, "absent");
    free(again);
    free(data);
    free(tokens);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    const int few = argc > 2 && strcmp(argv[2], "few") == 0;
    dft_roundtrip_keeps_every_token(model, few);
    dft_refuses_wrong_arguments(model);
    dft_check_refuses_foreign_tokens(model);
    dft_repair_restores_the_file(model, few);
    pack_roundtrip_keeps_every_entry(model, few);
    detailflow_model_free(model);
    return 0;
}
