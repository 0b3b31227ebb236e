/* Bad values, wrong states, wrong memory: the right code each time, and a message that names the subject. */
#include "check.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#define INVALID(call, text) FAILS(call, DETAILFLOW_INVALID_ARGUMENT, text)

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static void statuses(void)
{
    static const char *const names[] = {
        "DETAILFLOW_OK",          "DETAILFLOW_INVALID_ARGUMENT", "DETAILFLOW_NOT_FOUND",  "DETAILFLOW_BAD_BUNDLE",
        "DETAILFLOW_NO_RUNTIME",  "DETAILFLOW_NO_DEVICE",        "DETAILFLOW_OUT_OF_MEMORY", "DETAILFLOW_IO",
        "DETAILFLOW_BAD_FORMAT",  "DETAILFLOW_CANCELLED",        "DETAILFLOW_WRONG_STATE", "DETAILFLOW_BUSY",
        "DETAILFLOW_FAILED",      "DETAILFLOW_INTERNAL",
    };
    int status;
    for (status = 0; status < 14; status++) {
        CHECK(strcmp(detailflow_status_name(status), names[status]) == 0);
    }
    CHECK(strcmp(detailflow_status_name(-1), "DETAILFLOW_UNKNOWN") == 0);
    CHECK(strcmp(detailflow_status_name(14), "DETAILFLOW_UNKNOWN") == 0);
    CHECK(strcmp(detailflow_status_name(INT32_MIN), "DETAILFLOW_UNKNOWN") == 0);
}

static void options_and_open(const char *bundle)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    char inside[4096];

    OK(detailflow_model_options_new(&options));
    FAILS(detailflow_model_options_set_device(options, "cuda:17"), DETAILFLOW_NO_DEVICE, "cuda:17");
    FAILS(detailflow_model_options_set_device(options, ""), DETAILFLOW_NO_DEVICE, "device");
    INVALID(detailflow_model_options_set_device(options, "\xff"), "UTF-8");
    OK(detailflow_model_options_set_device(options, "cpu"));
    INVALID(detailflow_model_options_set_threads(options, 5000), "5000");
    INVALID(detailflow_model_options_set_threads(options, UINT32_MAX), "4294967295");
    OK(detailflow_model_options_set_threads(options, 1));

    /* What the bundle does not have is told with what it has. */
    OK(detailflow_model_options_set_precision(options, "fp17"));
    INVALID(detailflow_model_open(bundle, options, &model), "fp17");
    CHECK(strstr(detailflow_last_message(), "it has") != NULL);
    OK(detailflow_model_options_set_precision(options, NULL));
    OK(detailflow_model_options_set_form(options, "round"));
    INVALID(detailflow_model_open(bundle, options, &model), "round");
    CHECK(strstr(detailflow_last_message(), "it has") != NULL);
    OK(detailflow_model_options_set_form(options, NULL));

    FAILS(detailflow_model_open("there-is-no-such-bundle", options, &model), DETAILFLOW_NOT_FOUND, "there-is-no-such-bundle");
    INVALID(detailflow_model_open("", options, &model), "empty");
    CHECK(snprintf(inside, sizeof inside, "%s/detailflow.json", bundle) < (int)sizeof inside);
    {
        /* A file where a folder should be, a folder with nothing in it, one with something else in it. */
        detailflow_status status = detailflow_model_open(inside, options, &model);
        CHECK(status == DETAILFLOW_NOT_FOUND || status == DETAILFLOW_BAD_BUNDLE || status == DETAILFLOW_IO);
        CHECK(strstr(detailflow_last_message(), "detailflow.json") != NULL);
    }
    CHECK(mkdir("hollow", 0777) == 0);
    FAILS(detailflow_model_open("hollow", options, &model), DETAILFLOW_NOT_FOUND, "hollow");
    write_text("hollow/detailflow.json", "a poem");
    FAILS(detailflow_model_open("hollow", options, &model), DETAILFLOW_BAD_BUNDLE, "hollow");
    write_text("hollow/detailflow.json", "{\"format\": 4711}");
    FAILS(detailflow_model_open("hollow", options, &model), DETAILFLOW_BAD_BUNDLE, "4711");
    write_text("hollow/detailflow.json", "{}");
    FAILS(detailflow_model_open("hollow", options, &model), DETAILFLOW_BAD_BUNDLE, "hollow");

    CHECK(setenv("DETAILFLOW_BUNDLE", "there-is-no-default", 1) == 0);
    FAILS(detailflow_model_open(NULL, options, &model), DETAILFLOW_NOT_FOUND, "there-is-no-default");
    CHECK(unsetenv("DETAILFLOW_BUNDLE") == 0);
    CHECK(model == NULL);
    detailflow_model_options_free(options);
}

static void setters(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    uint32_t *tokens, *again, index = 77;
    size_t count, same;
    const char *name = NULL;
    char near[512];

    OK(detailflow_request_new(model, &request));
    tokens = check_draw(model, 0, &count);

    INVALID(detailflow_request_set_count(request, 0), "count");
    INVALID(detailflow_request_set_count(request, 1048577), "1048577");
    INVALID(detailflow_request_set_count(request, UINT32_MAX), "count");
    INVALID(detailflow_request_set_class(request, info.class_count), "class");
    INVALID(detailflow_request_set_class(request, UINT32_MAX), "4294967295");
    INVALID(detailflow_request_set_image(request, 1, 0, 0), "image 1");
    INVALID(detailflow_request_set_image(request, UINT32_MAX, 0, 0), "image");
    INVALID(detailflow_request_set_image(request, 0, info.class_count, 0), "class");
    INVALID(detailflow_request_set_guidance(request, NAN), "guidance");
    INVALID(detailflow_request_set_guidance(request, INFINITY), "guidance");
    INVALID(detailflow_request_set_guidance(request, -INFINITY), "guidance");
    INVALID(detailflow_request_set_guidance(request, -1), "guidance");
    INVALID(detailflow_request_set_temperature(request, NAN), "temperature");
    INVALID(detailflow_request_set_temperature(request, INFINITY), "temperature");
    INVALID(detailflow_request_set_temperature(request, -1), "temperature");
    INVALID(detailflow_request_set_top_p(request, NAN), "top-p");
    INVALID(detailflow_request_set_top_p(request, INFINITY), "top-p");
    INVALID(detailflow_request_set_top_p(request, 0), "top-p");
    INVALID(detailflow_request_set_top_p(request, -1), "top-p");
    INVALID(detailflow_request_set_top_p(request, 1.5f), "top-p");
    INVALID(detailflow_request_set_level(request, 1), "levels");
    INVALID(detailflow_request_set_level(request, UINT32_MAX), "4294967295");
    CHECK(snprintf(near, sizeof near, "%u", (unsigned)info.size) > 0);
    CHECK(strstr(detailflow_last_message(), near) != NULL);
    OK(detailflow_request_set_top_k(request, UINT32_MAX));
    OK(detailflow_request_set_top_k(request, info.top_k));

    /* Calls that failed changed nothing. */
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 0, &same);
    CHECK(same == count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(tokens);
    free(again);

    /* Classes by name. */
    OK(detailflow_model_class_name(model, info.class_count - 1, &name));
    INVALID(detailflow_model_class_name(model, info.class_count, &name), "class");
    CHECK(snprintf(near, sizeof near, "%.400sx", name) > 0);
    INVALID(detailflow_model_class_index(model, near, &index), near);
    CHECK(strstr(detailflow_last_message(), "did you mean") != NULL);
    CHECK(strstr(strstr(detailflow_last_message(), "did you mean"), name) != NULL);
    CHECK(snprintf(near, sizeof near, "%u", (unsigned)info.class_count) > 0);
    INVALID(detailflow_model_class_index(model, near, &index), near);
    INVALID(detailflow_model_class_index(model, "", &index), "class");
    INVALID(detailflow_model_class_index(model, "\xff", &index), "UTF-8");
    CHECK(index == 77);

    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

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

static void struct_sizes(const detailflow_model *model)
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
    size = check_progress(generation).size;
    tokens = check_tokens(generation, 0, &count);
    pixels = (unsigned char *)malloc((size_t)4 * size * size);
    CHECK(pixels != NULL);

    memset(&info, 0xA5, sizeof info);
    info.known.struct_size = 0;
    INVALID(detailflow_model_get_info(model, &info.known), "detailflow_model_info.struct_size");
    info.known.struct_size = sizeof info.known - 1;
    INVALID(detailflow_model_get_info(model, &info.known), "detailflow_model_info.struct_size");
    CHECK(info.known.size == 0xA5A5A5A5);
    info.known.struct_size = sizeof info;
    memset(info.more, 0, sizeof info.more);
    OK(detailflow_model_get_info(model, &info.known));
    CHECK(info.known.struct_size == sizeof info && info.known.size > 0 && info.more[0] == 0 && info.more[3] == 0);

    memset(&level, 0xA5, sizeof level);
    level.known.struct_size = 4;
    INVALID(detailflow_model_get_level(model, 0, &level.known), "detailflow_level.struct_size");
    level.known.struct_size = sizeof level.known - 1;
    INVALID(detailflow_model_get_level(model, 0, &level.known), "detailflow_level.struct_size");
    CHECK(level.known.size == 0xA5A5A5A5);
    level.known.struct_size = sizeof level;
    memset(level.more, 0, sizeof level.more);
    INVALID(detailflow_model_get_level(model, info.known.level_count, &level.known), "level");
    OK(detailflow_model_get_level(model, 0, &level.known));
    CHECK(level.known.struct_size == sizeof level && level.known.size > 0 && level.more[0] == 0);

    memset(&progress, 0xA5, sizeof progress);
    /* The first version ended after the level. */
    progress.known.struct_size = offsetof(detailflow_progress, images) - 1;
    INVALID(detailflow_generation_get_progress(generation, &progress.known), "detailflow_progress.struct_size");
    INVALID(detailflow_generation_step(generation, &progress.known), "detailflow_progress.struct_size");
    CHECK(progress.known.size == 0xA5A5A5A5);
    progress.known.struct_size = sizeof progress;
    memset(progress.more, 0, sizeof progress.more);
    OK(detailflow_generation_get_progress(generation, &progress.known));
    CHECK(progress.known.struct_size == sizeof progress && progress.known.size == size);
    OK(detailflow_generation_step(generation, &progress.known));
    CHECK(progress.known.struct_size == sizeof progress && progress.more[0] == 0 && progress.known.steps_left == 0);

    /* Structs that go in: what is beyond must be zero. */
    memset(&image, 0, sizeof image);
    image.known = check_image(DETAILFLOW_RGBA8, size, pixels, (size_t)4 * size * size);
    image.known.struct_size = sizeof image.known - 1;
    INVALID(detailflow_image_save(&image.known, "x.png"), "detailflow_image.struct_size");
    INVALID(detailflow_generation_image(generation, 0, &image.known), "detailflow_image.struct_size");
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image.known), "detailflow_image.struct_size");
    INVALID(detailflow_model_encode(model, &image.known, NULL, 0, &tokens_wanted), "detailflow_image.struct_size");
    image.known.struct_size = sizeof image;
    OK(detailflow_generation_image(generation, 0, &image.known));
    OK(detailflow_image_save(&image.known, "newer.png"));
    OK(detailflow_model_encode(model, &image.known, NULL, 0, &tokens_wanted));
    CHECK(tokens_wanted == info.known.tokens);
    image.more[3] = 1u << 24;
    INVALID(detailflow_image_save(&image.known, "newest.png"), "detailflow_image");
    INVALID(detailflow_generation_image(generation, 0, &image.known), "detailflow_image");
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image.known), "detailflow_image");
    INVALID(detailflow_model_encode(model, &image.known, NULL, 0, &tokens_wanted), "detailflow_image");
    CHECK(access("newest.png", F_OK) != 0);

    free(tokens);
    free(pixels);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void *another_thread(void *request)
{
    CHECK(detailflow_last_message()[0] == 0);
    INVALID(detailflow_request_set_temperature((detailflow_request *)request, -3), "temperature");
    return NULL;
}

static void messages(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 0);
    char buffer[512], small[8];
    size_t length;
    pthread_t thread;

    /* The buffer is ended even when there is nothing to say. */
    memset(buffer, 'x', sizeof buffer);
    CHECK(detailflow_request_message(request, buffer, sizeof buffer) == 0 && buffer[0] == 0);

    INVALID(detailflow_request_set_guidance(request, -2), "guidance");
    CHECK(pthread_create(&thread, NULL, another_thread, request) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    /* Each thread has its own; the handle has the last of all. */
    CHECK(strstr(detailflow_last_message(), "guidance") != NULL);
    length = detailflow_request_message(request, buffer, sizeof buffer);
    CHECK(length == strlen(buffer) && strstr(buffer, "temperature") != NULL);
    CHECK(length > sizeof small);

    /* Told, cut, ended. */
    CHECK(detailflow_request_message(request, NULL, 0) == length);
    memset(small, 'x', sizeof small);
    CHECK(detailflow_request_message(request, small, 0) == length && small[0] == 'x');
    CHECK(detailflow_request_message(request, small, 1) == length && small[0] == 0 && small[1] == 'x');
    CHECK(detailflow_request_message(request, small, sizeof small) == length);
    CHECK(strlen(small) == sizeof small - 1 && strncmp(small, buffer, sizeof small - 1) == 0);
    memset(buffer, 'x', sizeof buffer);
    CHECK(detailflow_request_message(request, buffer, length) == length && strlen(buffer) == length - 1);
    memset(buffer, 'x', sizeof buffer);
    CHECK(detailflow_request_message(request, buffer, length + 1) == length && strlen(buffer) == length);

    /* A call that works leaves the message as it is. */
    OK(detailflow_request_set_guidance(request, 2));
    CHECK(detailflow_request_message(request, NULL, 0) == length);
    detailflow_request_free(request);
}

struct heard {
    int messages;
    int info;
    int opened;
};

static void hear(void *user, uint32_t level, const char *message)
{
    struct heard *heard = (struct heard *)user;
    __atomic_add_fetch(&heard->messages, 1, __ATOMIC_SEQ_CST);
    CHECK(level >= DETAILFLOW_LOG_ERROR && level <= DETAILFLOW_LOG_DEBUG);
    CHECK(message != NULL && message[0] != 0);
    if (level == DETAILFLOW_LOG_INFO) {
        __atomic_add_fetch(&heard->info, 1, __ATOMIC_SEQ_CST);
        if (strstr(message, "opened") != NULL) {
            __atomic_add_fetch(&heard->opened, 1, __ATOMIC_SEQ_CST);
        }
    }
}

static void logging(const char *bundle)
{
    struct heard first = {0, 0, 0}, second = {0, 0, 0};
    int before;
    OK(detailflow_log_set(hear, DETAILFLOW_LOG_INFO, &first));
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.opened == 1);

    /* A level that is none changes nothing. */
    INVALID(detailflow_log_set(hear, 0, &second), "level 0");
    INVALID(detailflow_log_set(hear, 5, &second), "level 5");
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.opened == 2 && second.messages == 0);

    OK(detailflow_log_set(hear, DETAILFLOW_LOG_WARNING, &second));
    before = first.messages;
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.messages == before && second.info == 0);

    OK(detailflow_log_set(NULL, 0, NULL));
    before = second.messages;
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.opened == 2 && second.messages == before);
}

static void targets(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;
    detailflow_image image;
    uint32_t *tokens, size;
    size_t count, bytes, at;
    unsigned char *pixels;

    OK(detailflow_generation_new(request, &generation));
    image = check_image(DETAILFLOW_RGBA8, 16, &size, sizeof size);
    FAILS(detailflow_generation_image(generation, 0, &image), DETAILFLOW_WRONG_STATE, "step");
    FAILS(detailflow_generation_save(generation, 0, "early.png"), DETAILFLOW_WRONG_STATE, "step");
    CHECK(access("early.png", F_OK) != 0);
    do {
        OK(detailflow_generation_step(generation, NULL));
    } while (check_progress(generation).steps_left > 0);
    size = check_progress(generation).size;
    tokens = check_tokens(generation, 0, &count);
    bytes = (size_t)4 * size * size;
    pixels = (unsigned char *)malloc(bytes);
    CHECK(pixels != NULL);
    memset(pixels, 0xA5, bytes);

#define BAD(change, text)                                                                                          \
    do {                                                                                                           \
        image = check_image(DETAILFLOW_RGBA8, size, pixels, bytes);                                                \
        change;                                                                                                    \
        INVALID(detailflow_generation_image(generation, 0, &image), text);                                         \
        INVALID(detailflow_model_decode(model, tokens, count, 0, &image), text);                                   \
    } while (0)
    BAD(image.width = size + 1, "detailflow_image is");
    BAD(image.height = size - 1, "detailflow_image is");
    BAD(image.width = image.height = 0, "detailflow_image is");
    BAD(image.width = UINT32_MAX, "detailflow_image is");
    BAD(image.format = 0, "format is 0");
    BAD(image.format = 4, "format is 4");
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
    image = check_image(DETAILFLOW_RGBA8, size, pixels, bytes);
    INVALID(detailflow_generation_image(generation, 1, &image), "image 1");
    INVALID(detailflow_generation_image(generation, UINT32_MAX, &image), "image");

    /* Tokens. */
    {
        uint32_t few[1];
        size_t told = 77;
        INVALID(detailflow_generation_tokens(generation, 1, NULL, 0, &told), "image 1");
        INVALID(detailflow_generation_tokens(generation, 0, few, 0, &told), "tokens");
        CHECK(told == 77);
        if (count > 1) {
            few[0] = 0xA5A5A5A5;
            INVALID(detailflow_generation_tokens(generation, 0, few, 1, &told), "tokens");
            INVALID(detailflow_model_encode(model, &image, few, 1, &told), "tokens");
            CHECK(few[0] == 0xA5A5A5A5 && told == 77);
        }
    }
    INVALID(detailflow_model_decode(model, tokens, 0, 0, &image), "0 tokens");
    INVALID(detailflow_model_decode(model, tokens, (size_t)info.tokens + 1, 0, &image), "prefix");
    INVALID(detailflow_model_decode(model, tokens, SIZE_MAX, 0, &image), "prefix");
    if (info.group > 1 && info.causal + 1 < info.tokens) {
        INVALID(detailflow_model_decode(model, tokens, info.causal + 1, 0, &image), "prefix");
        INVALID(detailflow_model_prefix_size(model, info.causal + 1, &size), "prefix");
        size = image.width;
    }
    INVALID(detailflow_model_prefix_size(model, 0, &size), "prefix");
    INVALID(detailflow_model_prefix_size(model, (size_t)info.tokens + info.group, &size), "prefix");
    INVALID(detailflow_model_prefix_size(model, SIZE_MAX, &size), "prefix");
    CHECK(size == image.width);
    {
        detailflow_image odd = check_image(DETAILFLOW_RGBA8, 1, pixels, bytes);
        INVALID(detailflow_model_decode(model, tokens, count, 1, &odd), "levels");
    }
    if (info.level_count > 1) {
        INVALID(detailflow_model_decode(model, tokens, info.causal, info.size, &image), "tokens");
    }
    tokens[count - 1] = info.codes;
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image), "codebook");
    tokens[count - 1] = UINT32_MAX;
    INVALID(detailflow_model_decode(model, tokens, count, 0, &image), "4294967295");

    /* Pictures that go in. */
    image = check_image(DETAILFLOW_RGBA8, 0, pixels, bytes);
    INVALID(detailflow_model_encode(model, &image, tokens, count, &count), "0 x 0");
    INVALID(detailflow_image_save(&image, "empty.png"), "0 x 0");
    image = check_image(DETAILFLOW_RGBA8, UINT32_MAX, pixels, bytes);
    INVALID(detailflow_model_encode(model, &image, tokens, count, &count), "bytes are too few");
    INVALID(detailflow_image_save(&image, "huge.png"), "bytes are too few");
    {
        float pixel[4] = {0, 0, 0, 1};
        pixel[1] = NAN;
        image = check_image(DETAILFLOW_RGBA32F, 1, pixel, sizeof pixel);
        INVALID(detailflow_model_encode(model, &image, tokens, count, &count), "not a finite number");
        pixel[1] = 0;
        INVALID(detailflow_image_save(&image, "float.png"), "8-bit");
    }
    CHECK(access("empty.png", F_OK) != 0 && access("huge.png", F_OK) != 0 && access("float.png", F_OK) != 0);

    free(pixels);
    free(tokens);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void files(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;
    unsigned char pixel[4] = {1, 2, 3, 4};
    detailflow_image image = check_image(DETAILFLOW_RGBA8, 1, pixel, sizeof pixel);
    uint32_t *tokens = (uint32_t *)malloc(info.tokens * sizeof *tokens);
    size_t count = 77;
    detailflow_status status;

    CHECK(tokens != NULL);
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_step(generation, NULL));

    FAILS(detailflow_generation_save(generation, 0, "there-is-no-folder/x.png"), DETAILFLOW_IO, "there-is-no-folder/x.png");
    FAILS(detailflow_image_save(&image, "there-is-no-folder/x.png"), DETAILFLOW_IO, "there-is-no-folder/x.png");
    CHECK(mkdir("folder.png", 0777) == 0);
    FAILS(detailflow_generation_save(generation, 0, "folder.png"), DETAILFLOW_IO, "folder.png");
    FAILS(detailflow_image_save(&image, "/dev/full/x.png"), DETAILFLOW_IO, "/dev/full");
    INVALID(detailflow_generation_save(generation, 0, "x.poem"), "x.poem");
    INVALID(detailflow_generation_save(generation, 0, "ending"), "ending");
    INVALID(detailflow_generation_save(generation, 0, ""), "empty");
    INVALID(detailflow_generation_save(generation, 1, "x.png"), "image 1");
    INVALID(detailflow_image_save(&image, "x.poem"), "x.poem");
    INVALID(detailflow_image_save(&image, ""), "empty");
    CHECK(access("x.png", F_OK) != 0 && access("x.poem", F_OK) != 0);

    FAILS(detailflow_model_encode_file(model, "there-is-no.png", tokens, info.tokens, &count), DETAILFLOW_NOT_FOUND,
          "there-is-no.png");
    write_text("poem.png", "a poem, and no picture");
    FAILS(detailflow_model_encode_file(model, "poem.png", tokens, info.tokens, &count), DETAILFLOW_BAD_FORMAT, "poem.png");
    write_text("nothing.png", "");
    FAILS(detailflow_model_encode_file(model, "nothing.png", tokens, info.tokens, &count), DETAILFLOW_BAD_FORMAT,
          "nothing.png");
    write_text("begun.png", "\x89PNG\r\n\x1a\n");
    FAILS(detailflow_model_encode_file(model, "begun.png", tokens, info.tokens, &count), DETAILFLOW_BAD_FORMAT, "begun.png");
    INVALID(detailflow_model_encode_file(model, "", tokens, info.tokens, &count), "empty");
    check_forget();
    status = detailflow_model_encode_file(model, "folder.png", tokens, info.tokens, &count);
    CHECK(status == DETAILFLOW_IO || status == DETAILFLOW_BAD_FORMAT);
    CHECK(strstr(detailflow_last_message(), "folder.png") != NULL);
    CHECK(count == 77);

    free(tokens);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    detailflow_model *model;
    CHECK(strcmp(detailflow_version(), "") != 0);
    CHECK(detailflow_abi_version() == DETAILFLOW_ABI_VERSION);
    statuses();
    options_and_open(bundle);
    model = check_open(bundle, 1);
    setters(model);
    struct_sizes(model);
    messages(model);
    logging(bundle);
    targets(model);
    files(model);
    detailflow_model_free(model);
    return 0;
}
