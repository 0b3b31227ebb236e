/* Bundles and packs that are no folders or files: a single file, memory, callbacks; and what is refused of them. */
#include "check.h"

struct block {
    unsigned char *bytes;
    size_t size;
    int released;
};

static void release_block(void *user)
{
    struct block *block = (struct block *)user;
    block->released++;
}

static struct block read_block(const char *path)
{
    struct block block;
    FILE *file = fopen(path, "rb");
    long length;
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    length = ftell(file);
    CHECK(length > 0 && fseek(file, 0, SEEK_SET) == 0);
    block.size = (size_t)length;
    block.released = 0;
    block.bytes = (unsigned char *)malloc(block.size);
    CHECK(block.bytes != NULL && fread(block.bytes, 1, block.size, file) == block.size);
    fclose(file);
    return block;
}

static int is_same(const char *path, const char *other)
{
    struct block one = read_block(path), two = read_block(other);
    int same = one.size == two.size && memcmp(one.bytes, two.bytes, one.size) == 0;
    free(one.bytes);
    free(two.bytes);
    return same;
}

/* A reader over a block, with the faults that a test asks for. */
struct file {
    const struct block *block;
    pthread_t thread;
    int reads;
    /* From this read on each returns `short_by` bytes too few; 0 never. */
    int fails_at;
    size_t short_by;
    /* Cancels at this read; 0 never. */
    int cancels_at;
    detailflow_cancel *cancel;
    /* No read may come any more. */
    int closed;
};

static size_t read_file_at(void *user, uint64_t offset, void *buffer, size_t count)
{
    struct file *file = (struct file *)user;
    CHECK(!file->closed && pthread_equal(file->thread, pthread_self()));
    CHECK(count > 0);
    file->reads++;
    if (file->reads == file->cancels_at) {
        OK(detailflow_cancel_trigger(file->cancel, NULL));
    }
    if (offset > file->block->size || count > file->block->size - offset) {
        return 0;
    }
    if (file->fails_at != 0 && file->reads >= file->fails_at) {
        count -= file->short_by < count ? file->short_by : count;
    }
    memcpy(buffer, file->block->bytes + offset, count);
    return count;
}

static struct file file_over(const struct block *block)
{
    struct file file;
    memset(&file, 0, sizeof file);
    file.block = block;
    file.thread = pthread_self();
    return file;
}

static detailflow_reader reader_over(struct file *file)
{
    detailflow_reader reader;
    memset(&reader, 0, sizeof reader);
    reader.struct_size = sizeof reader;
    reader.size = file->block->size;
    reader.read_at = read_file_at;
    reader.user = file;
    return reader;
}

static detailflow_model_options *one_thread(void)
{
    detailflow_model_options *options = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, 1));
    return options;
}

/* What a model generates and encodes. */
struct results {
    uint32_t *tokens, *encoded;
    size_t count;
};

static struct results results_of(const detailflow_model *model)
{
    static unsigned char grey[3] = {128, 128, 128};
    const detailflow_model_info info = check_info(model);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGB8, 1, grey, sizeof grey);
    struct results results;
    size_t count;
    CHECK(info.can_generate && info.can_encode);
    results.tokens = check_draw(model, 5, &results.count);
    results.encoded = (uint32_t *)malloc(info.token_count * sizeof *results.encoded);
    CHECK(results.encoded != NULL);
    OK(detailflow_model_encode(model, &image, results.encoded, info.token_count, &count));
    CHECK(count == results.count);
    return results;
}

static void free_results(struct results results)
{
    free(results.tokens);
    free(results.encoded);
}

/* The model gives these, and is freed. */
static void gives(detailflow_model *model, struct results wanted)
{
    struct results results = results_of(model);
    CHECK(results.count == wanted.count);
    CHECK(memcmp(results.tokens, wanted.tokens, wanted.count * sizeof *wanted.tokens) == 0);
    CHECK(memcmp(results.encoded, wanted.encoded, wanted.count * sizeof *wanted.encoded) == 0);
    free_results(results);
    detailflow_model_free(model);
}

static void pack_and_unpack_give_the_same_bytes(const char *bundle)
{
    detailflow_model *stripped;
    OK(detailflow_bundle_pack(bundle, "a.dflow", NULL));
    OK(detailflow_bundle_unpack("a.dflow", "unpacked", NULL));
    OK(detailflow_bundle_pack("unpacked", "b.dflow", NULL));
    CHECK(is_same("a.dflow", "b.dflow"));
    OK(detailflow_bundle_unpack("unpacked/detailflow.json", "again", NULL));
    CHECK(is_same("unpacked/detailflow.json", "again/detailflow.json"));
    INVALID(detailflow_bundle_pack("a.dflow", "a.dflow", NULL), "is the bundle itself");
    INVALID(detailflow_bundle_pack("a.dflow", "unpacked", NULL), "is a folder");
    INVALID(detailflow_bundle_unpack("a.dflow", ".", NULL), "");
    INVALID(detailflow_bundle_pack("a.dflow", NULL, NULL), "target is NULL");
    INVALID(detailflow_bundle_unpack("a.dflow", NULL, NULL), "target is NULL");
    FAILS(detailflow_bundle_pack("missing.dflow", "c.dflow", NULL), DETAILFLOW_STATUS_NOT_FOUND, "missing.dflow");
    FAILS(detailflow_bundle_unpack("missing.dflow", "c", NULL), DETAILFLOW_STATUS_NOT_FOUND, "missing.dflow");
    OK(detailflow_bundle_strip("a.dflow", "stripped.dflow", NULL, NULL));
    stripped = check_open("stripped.dflow", 1);
    CHECK(check_info(stripped).can_generate == 0);
    detailflow_model_free(stripped);
}

static void same_results_from_everywhere(const char *bundle, const struct block *block)
{
    detailflow_model_options *options = one_thread();
    detailflow_model *model = check_open(bundle, 1);
    struct results wanted = results_of(model);
    struct block lent = *block;
    struct file file = file_over(block);
    detailflow_reader reader = reader_over(&file);
    unsigned char *odd = (unsigned char *)malloc(block->size + 1);
    detailflow_model_free(model);

    model = check_open("a.dflow", 1);
    CHECK(strstr(check_info(model).path, "a.dflow") != NULL);
    gives(model, wanted);
    gives(check_open("unpacked/detailflow.json", 1), wanted);

    OK(detailflow_model_open_memory(lent.bytes, lent.size, release_block, &lent, options, &model, NULL));
    CHECK(lent.released == 0);
    gives(model, wanted);
    CHECK(lent.released == 1);

    /* At an odd address, and never released. */
    CHECK(odd != NULL);
    memcpy(odd + 1, block->bytes, block->size);
    OK(detailflow_model_open_memory(odd + 1, block->size, NULL, NULL, options, &model, NULL));
    gives(model, wanted);
    free(odd);

    OK(detailflow_model_open_reader(&reader, options, &model, NULL));
    memset(&reader, 0, sizeof reader);
    file.closed = 1;
    gives(model, wanted);
    free_results(wanted);
    detailflow_model_options_free(options);
}

/* The memory is used as long as anything that was made from the model. */
static void block_is_released_once_and_last(const struct block *block)
{
    detailflow_model_options *options = one_thread();
    detailflow_model *model = NULL;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    struct block lent = *block;
    OK(detailflow_model_open_memory(lent.bytes, lent.size, release_block, &lent, options, &model, NULL));
    OK(detailflow_request_new(model, &request));
    OK(detailflow_generation_new(request, &generation));
    detailflow_model_free(model);
    detailflow_request_free(request);
    check_finish(generation);
    CHECK(lent.released == 0);
    detailflow_generation_free(generation);
    CHECK(lent.released == 1);

    /* After each failure too, and no handle is given. */
    model = NULL;
    lent.released = 0;
    INVALID(detailflow_model_open_memory(NULL, 5, release_block, &lent, options, &model, NULL), "data is NULL");
    CHECK(lent.released == 1);
    INVALID(detailflow_model_open_memory(lent.bytes, SIZE_MAX, release_block, &lent, options, &model, NULL),
            "address space");
    CHECK(lent.released == 2);
    INVALID(detailflow_model_open_memory(lent.bytes, lent.size, release_block, &lent, options, NULL, NULL),
            "model is NULL");
    CHECK(lent.released == 3);
    FAILS(detailflow_model_open_memory(lent.bytes, 0, release_block, &lent, options, &model, NULL),
          DETAILFLOW_STATUS_BAD_BUNDLE, "single-file bundle");
    CHECK(lent.released == 4);
    OK(detailflow_model_options_set_precision(options, "none"));
    INVALID(detailflow_model_open_memory(lent.bytes, lent.size, release_block, &lent, options, &model, NULL), "none");
    CHECK(lent.released == 5 && model == NULL);
    detailflow_model_options_free(options);
}

/* Without the encoder less is read, and encoding is WRONG_STATE. */
static void encoder_is_left_out_on_request(const struct block *block)
{
    static unsigned char grey[3] = {128, 128, 128};
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGB8, 1, grey, sizeof grey);
    detailflow_model_options *options = one_thread();
    uint32_t tokens[1024];
    size_t count;
    int reads[2];
    uint32_t encoder;
    for (encoder = 0; encoder <= 1; encoder++) {
        struct file file = file_over(block);
        detailflow_reader reader = reader_over(&file);
        detailflow_model *model = NULL;
        OK(detailflow_model_options_set_encoder(options, encoder));
        OK(detailflow_model_open_reader(&reader, options, &model, NULL));
        reads[encoder] = file.reads;
        CHECK(check_info(model).can_encode == encoder);
        if (encoder) {
            OK(detailflow_model_encode(model, &image, tokens, 1024, &count));
        } else {
            FAILS(detailflow_model_encode(model, &image, tokens, 1024, &count), DETAILFLOW_STATUS_WRONG_STATE,
                  "without its encoder");
        }
        detailflow_model_free(model);
    }
    CHECK(reads[0] < reads[1]);
    INVALID(detailflow_model_options_set_encoder(options, 2), "encoder is 2");
    detailflow_model_options_free(options);
}

static void readers_that_fail_are_refused(const struct block *block)
{
    detailflow_model_options *options = one_thread();
    detailflow_model *model = NULL;
    detailflow_cancel *cancel = NULL;
    struct file file = file_over(block);
    detailflow_reader reader = reader_over(&file);
    const uint64_t length = block->size;
    const uint64_t sizes[] = {0,          1,          21,         22,           4096,           length - 1,
                              length + 1, length / 2, 0x80000000, 0xFFFFFFFFFF, UINT64_MAX / 2, UINT64_MAX};
    size_t at;
    int reads;
    OK(detailflow_model_open_reader(&reader, options, &model, NULL));
    detailflow_model_free(model);
    model = NULL;
    reads = file.reads;

    /* One byte too few, and none. */
    for (at = 0; at < 2; at++) {
        int fails_at;
        for (fails_at = 1; fails_at <= reads; fails_at += reads / 15 + 1) {
            file = file_over(block);
            file.fails_at = fails_at;
            file.short_by = at == 0 ? 1 : SIZE_MAX;
            FAILS(detailflow_model_open_reader(&reader, options, &model, NULL), DETAILFLOW_STATUS_IO,
                  "read_at returned");
            CHECK(file.reads == fails_at && model == NULL);
        }
    }
    /* Sizes that are not true. */
    for (at = 0; at < sizeof sizes / sizeof *sizes; at++) {
        detailflow_status status;
        file = file_over(block);
        reader.size = sizes[at];
        status = detailflow_model_open_reader(&reader, options, &model, NULL);
        CHECK(status == DETAILFLOW_STATUS_BAD_BUNDLE || (sizes[at] > length && status == DETAILFLOW_STATUS_IO));
        CHECK(model == NULL);
    }
    /* Cancelled inside a read: no other follows. */
    for (at = 1; at < (size_t)reads; at += (size_t)reads / 5 + 1) {
        file = file_over(block);
        reader = reader_over(&file);
        OK(detailflow_cancel_new(&cancel, NULL));
        OK(detailflow_model_options_set_cancel(options, cancel));
        file.cancel = cancel;
        file.cancels_at = (int)at;
        FAILS(detailflow_model_open_reader(&reader, options, &model, NULL), DETAILFLOW_STATUS_CANCELLED, "");
        CHECK(file.reads == (int)at && model == NULL);
        OK(detailflow_model_options_set_cancel(options, NULL));
        detailflow_cancel_free(cancel);
        cancel = NULL;
    }
    reader = reader_over(&file);
    INVALID(detailflow_model_open_reader(NULL, options, &model, NULL), "detailflow_reader is NULL");
    reader.read_at = NULL;
    INVALID(detailflow_model_open_reader(&reader, options, &model, NULL), "read_at is NULL");
    reader = reader_over(&file);
    reader.reserved = 1;
    INVALID(detailflow_model_open_reader(&reader, options, &model, NULL), "reserved is 1");
    reader.struct_size = 4;
    INVALID(detailflow_model_open_reader(&reader, options, &model, NULL), "struct_size is 4");
    CHECK(model == NULL);
    detailflow_model_options_free(options);
}

/* Every cut, and every changed byte of what is not the content of a file: refused, or it does not matter. */
static void damaged_files_are_refused(const struct block *block, size_t every)
{
    detailflow_model_options *options = one_thread();
    detailflow_model *model = NULL;
    unsigned char *bytes = (unsigned char *)malloc(block->size);
    size_t at, refused = 0, tried = 0, directory;
    CHECK(bytes != NULL);
    /* One that is whole is refused for this only, before anything is compiled. */
    OK(detailflow_model_options_set_precision(options, "none"));
    directory = block->bytes[block->size - 6] | (size_t)block->bytes[block->size - 5] << 8 |
                (size_t)block->bytes[block->size - 4] << 16 | (size_t)block->bytes[block->size - 3] << 24;
    CHECK(directory < block->size);
    for (at = 0; at < block->size; at += at < directory ? 4096 : every) {
        /* In memory of this size, so that a read behind it is found. */
        unsigned char *cut = (unsigned char *)malloc(at + 1);
        CHECK(cut != NULL);
        memcpy(cut, block->bytes, at);
        FAILS(detailflow_model_open_memory(cut, at, NULL, NULL, options, &model, NULL), DETAILFLOW_STATUS_BAD_BUNDLE,
              "");
        free(cut);
    }
    for (at = 0; at < block->size; at++) {
        /* The first bytes of a header, the directory, and some of the content. */
        const int is_head = memcmp(block->bytes + at, "PK\3\4", block->size - at < 4 ? block->size - at : 4) == 0;
        size_t from = at, end = is_head ? at + 60 : at >= directory ? block->size : at;
        for (; from < end && from < block->size; from += every) {
            detailflow_status status;
            memcpy(bytes, block->bytes, block->size);
            bytes[from] ^= (unsigned char)(1u << (from % 8));
            status = detailflow_model_open_memory(bytes, block->size, NULL, NULL, options, &model, NULL);
            CHECK(status == DETAILFLOW_STATUS_BAD_BUNDLE || status == DETAILFLOW_STATUS_INVALID_ARGUMENT ||
                  status == DETAILFLOW_STATUS_NOT_FOUND);
            refused += status == DETAILFLOW_STATUS_BAD_BUNDLE;
            tried++;
        }
        if (at >= directory) {
            break;
        }
    }
    CHECK(tried > 20 && refused > tried / 4);
    /* Content: the hash tells, whatever the CRC-32 says. */
    memcpy(bytes, block->bytes, block->size);
    bytes[directory - 1] ^= 1;
    FAILS(detailflow_model_open_memory(bytes, block->size, NULL, NULL, options, &model, NULL),
          DETAILFLOW_STATUS_BAD_BUNDLE, "");
    CHECK(model == NULL);
    free(bytes);
    detailflow_model_options_free(options);
}

/* A pack gives the same entries from its file, from memory and from callbacks. */
static void packs_open_from_everywhere(const char *bundle)
{
    detailflow_model *model = check_open(bundle, 1);
    detailflow_pack_writer *writer = NULL;
    detailflow_pack *packs[3] = {NULL, NULL, NULL};
    struct block block, saved;
    struct file file;
    detailflow_reader reader;
    unsigned char dft[1024], found[1024];
    uint32_t *tokens, entries, shortened, index, at;
    size_t count, size, told;
    tokens = check_draw(model, 1, &count);
    OK(detailflow_dft_encode(model, tokens, count, DETAILFLOW_NO_CLASS, NULL, dft, sizeof dft, &size));
    OK(detailflow_pack_writer_new("p.dftpack", &writer, NULL));
    OK(detailflow_pack_writer_add(writer, "one", dft, size, NULL));
    OK(detailflow_pack_writer_add(writer, NULL, dft, size, NULL));
    OK(detailflow_pack_writer_finish(writer));
    detailflow_pack_writer_free(writer);
    block = read_block("p.dftpack");
    file = file_over(&block);
    reader = reader_over(&file);
    OK(detailflow_pack_open("p.dftpack", &packs[0], NULL));
    OK(detailflow_pack_open_memory(block.bytes, block.size, &packs[1], NULL));
    OK(detailflow_pack_open_reader(&reader, &packs[2], NULL));
    for (at = 0; at < 3; at++) {
        OK(detailflow_pack_get_count(packs[at], &entries));
        CHECK(entries == 2);
        OK(detailflow_pack_find_entry(packs[at], "one", &index));
        CHECK(index == 0);
        OK(detailflow_pack_get_entry(packs[at], 1, found, sizeof found, &told));
        CHECK(told == size && memcmp(found, dft, size) == 0);
    }
    file.fails_at = 1;
    file.short_by = 1;
    FAILS(detailflow_pack_get_entry(packs[2], 0, found, sizeof found, &told), DETAILFLOW_STATUS_IO, "read_at returned");
    for (at = 0; at < 3; at++) {
        detailflow_pack_free(packs[at]);
    }
    packs[0] = NULL;
    FAILS(detailflow_pack_open_reader(&reader, &packs[0], NULL), DETAILFLOW_STATUS_IO, "read_at returned");
    FAILS(detailflow_pack_open_memory(block.bytes, block.size - 1, &packs[0], NULL), DETAILFLOW_STATUS_BAD_FORMAT, "");
    FAILS(detailflow_pack_open_memory(block.bytes, 0, &packs[0], NULL), DETAILFLOW_STATUS_BAD_FORMAT, "");
    INVALID(detailflow_pack_open_memory(NULL, 1, &packs[0], NULL), "data is NULL");
    INVALID(detailflow_pack_open_reader(NULL, &packs[0], NULL), "detailflow_reader is NULL");
    CHECK(packs[0] == NULL);

    /* Without its end. */
    OK(detailflow_pack_salvage_memory(block.bytes, block.size - 50, "q.dftpack", &entries, &shortened, NULL));
    CHECK(entries == 2 && shortened == 0);
    file = file_over(&block);
    reader = reader_over(&file);
    OK(detailflow_pack_salvage_reader(&reader, "r.dftpack", &entries, NULL, NULL));
    CHECK(entries == 2 && is_same("q.dftpack", "r.dftpack") && is_same("p.dftpack", "r.dftpack"));
    saved = read_block("q.dftpack");
    file.fails_at = file.reads + 1;
    file.short_by = SIZE_MAX;
    FAILS(detailflow_pack_salvage_reader(&reader, "q.dftpack", &entries, NULL, NULL), DETAILFLOW_STATUS_IO,
          "read_at returned");
    CHECK(is_same("q.dftpack", "p.dftpack"));
    FAILS(detailflow_pack_salvage_memory(block.bytes, 5, "q.dftpack", &entries, NULL, NULL),
          DETAILFLOW_STATUS_BAD_FORMAT, "sound");
    free(saved.bytes);
    free(block.bytes);
    free(tokens);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    const int few = argc > 2 && strcmp(argv[2], "few") == 0;
    struct block block;
    pack_and_unpack_give_the_same_bytes(bundle);
    block = read_block("a.dflow");
    same_results_from_everywhere(bundle, &block);
    block_is_released_once_and_last(&block);
    encoder_is_left_out_on_request(&block);
    readers_that_fail_are_refused(&block);
    damaged_files_are_refused(&block, few ? 397 : 7);
    packs_open_from_everywhere(bundle);
    free(block.bytes);
    return 0;
}
