/* Bad values, files that are none, messages and logs: the right code each time, and a message that names the subject. */
#include "posix.h"

#include <math.h>

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static void status_has_a_name(void)
{
    static const char *const names[] = {
        "DETAILFLOW_STATUS_OK",
        "DETAILFLOW_STATUS_INVALID_ARGUMENT",
        "DETAILFLOW_STATUS_NOT_FOUND",
        "DETAILFLOW_STATUS_BAD_BUNDLE",
        "DETAILFLOW_STATUS_NO_RUNTIME",
        "DETAILFLOW_STATUS_NO_DEVICE",
        "DETAILFLOW_STATUS_OUT_OF_MEMORY",
        "DETAILFLOW_STATUS_IO",
        "DETAILFLOW_STATUS_BAD_FORMAT",
        "DETAILFLOW_STATUS_CANCELLED",
        "DETAILFLOW_STATUS_WRONG_STATE",
        "DETAILFLOW_STATUS_BUSY",
        "DETAILFLOW_STATUS_FAILED",
        "DETAILFLOW_STATUS_INTERNAL",
    };
    int status;
    for (status = 0; status < 14; status++) {
        CHECK(strcmp(detailflow_status_name(status), names[status]) == 0);
    }
    CHECK(strcmp(detailflow_status_name(-1), "DETAILFLOW_STATUS_UNKNOWN") == 0);
    CHECK(strcmp(detailflow_status_name(14), "DETAILFLOW_STATUS_UNKNOWN") == 0);
    CHECK(strcmp(detailflow_status_name(INT32_MIN), "DETAILFLOW_STATUS_UNKNOWN") == 0);
}

static void options_are_checked_at_once(const char *bundle)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    char inside[4096];

    OK(detailflow_model_options_new(&options, NULL));
    FAILS(detailflow_model_options_set_device(options, "cuda:x"), DETAILFLOW_STATUS_NO_DEVICE, "cuda:x");
    FAILS(detailflow_model_options_set_device(options, "openvino:TPU"), DETAILFLOW_STATUS_NO_DEVICE, "CPU, GPU or NPU");
    INVALID(detailflow_model_options_set_device_option(options, "", "1"), "key");
    INVALID(detailflow_model_options_set_device_option(options, "a", "\xff"), "UTF-8");
    INVALID(detailflow_model_options_set_allow_fallback(options, 2), "2");
    INVALID(detailflow_model_options_set_spinning(options, 3), "spinning is 3");
    OK(detailflow_model_options_set_spinning(options, DETAILFLOW_SPINNING_DEFAULT));
    OK(detailflow_model_options_set_spinning(options, DETAILFLOW_SPINNING_NEVER));
    OK(detailflow_model_options_set_spinning(options, DETAILFLOW_SPINNING_RUNS));
    INVALID(detailflow_model_options_set_weights_in_memory(options, 2), "in_memory is 2");
    OK(detailflow_model_options_set_weights_in_memory(options, 0));
    FAILS(detailflow_model_options_set_device(options, ""), DETAILFLOW_STATUS_NO_DEVICE, "device");
    INVALID(detailflow_model_options_set_device(options, "\xff"), "UTF-8");
    OK(detailflow_model_options_set_device(options, "cpu"));
    INVALID(detailflow_model_options_set_threads(options, 5000), "5000");
    INVALID(detailflow_model_options_set_threads(options, UINT32_MAX), "4294967295");
    OK(detailflow_model_options_set_threads(options, 1));

    /* What the bundle does not have is told with what it has. */
    OK(detailflow_model_options_set_precision(options, "fp17"));
    INVALID(detailflow_model_open(bundle, options, &model, NULL), "fp17");
    CHECK(strstr(detailflow_last_message(), "it has") != NULL);
    OK(detailflow_model_options_set_precision(options, NULL));
    INVALID(detailflow_model_options_set_form(options, "round"), "round");
    OK(detailflow_model_options_set_form(options, NULL));

    FAILS(detailflow_model_open("there-is-no-such-bundle", options, &model, NULL), DETAILFLOW_STATUS_NOT_FOUND,
          "there-is-no-such-bundle");
    INVALID(detailflow_model_open("", options, &model, NULL), "empty");
    CHECK(snprintf(inside, sizeof inside, "%s/detailflow.json", bundle) < (int)sizeof inside);
    /* The manifest stands for its folder. */
    OK(detailflow_model_open(inside, options, &model, NULL));
    detailflow_model_free(model);
    model = NULL;
    /* A file that is no bundle, a folder with nothing in it, one with something else in it. */
    write_text("poem.dflow", "a poem");
    FAILS(detailflow_model_open("poem.dflow", options, &model, NULL), DETAILFLOW_STATUS_BAD_BUNDLE, "poem.dflow");
    CHECK(mkdir("hollow", 0777) == 0);
    FAILS(detailflow_model_open("hollow", options, &model, NULL), DETAILFLOW_STATUS_NOT_FOUND, "hollow");
    write_text("hollow/detailflow.json", "a poem");
    FAILS(detailflow_model_open("hollow", options, &model, NULL), DETAILFLOW_STATUS_BAD_BUNDLE, "hollow");
    write_text("hollow/detailflow.json", "{\"format\": 4711}");
    FAILS(detailflow_model_open("hollow", options, &model, NULL), DETAILFLOW_STATUS_BAD_BUNDLE, "4711");
    write_text("hollow/detailflow.json", "{}");
    FAILS(detailflow_model_open("hollow", options, &model, NULL), DETAILFLOW_STATUS_BAD_BUNDLE, "hollow");

    CHECK(setenv("DETAILFLOW_BUNDLE", "there-is-no-default", 1) == 0);
    FAILS(detailflow_model_open(NULL, options, &model, NULL), DETAILFLOW_STATUS_NOT_FOUND, "there-is-no-default");
    CHECK(unsetenv("DETAILFLOW_BUNDLE") == 0);
    CHECK(model == NULL);
    detailflow_model_options_free(options);
}

static void request_setters_check_at_once(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    uint32_t *tokens, *again, index = 77;
    size_t count, same;
    const char *name = NULL;
    char similar[512];

    OK(detailflow_request_new(model, &request));
    tokens = check_draw(model, 0, &count);

    INVALID(detailflow_request_set_image_count(request, 0), "count");
    INVALID(detailflow_request_set_image_count(request, 1048577), "1048577");
    INVALID(detailflow_request_set_image_count(request, UINT32_MAX), "count");
    INVALID(detailflow_request_set_class(request, info.class_count), "class");
    INVALID(detailflow_request_set_class(request, UINT32_MAX), "4294967295");
    INVALID(detailflow_request_set_image_source(request, 1, 0, 0), "image 1");
    INVALID(detailflow_request_set_image_source(request, UINT32_MAX, 0, 0), "image");
    INVALID(detailflow_request_set_image_source(request, 0, info.class_count, 0), "class");
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
    INVALID(detailflow_request_set_level_size(request, 1), "levels");
    INVALID(detailflow_request_set_level_size(request, UINT32_MAX), "4294967295");
    CHECK(snprintf(similar, sizeof similar, "%u", (unsigned)info.image_size) > 0);
    CHECK(strstr(detailflow_last_message(), similar) != NULL);
    OK(detailflow_request_set_top_k(request, UINT32_MAX));
    OK(detailflow_request_set_top_k(request, info.top_k));

    /* Calls that failed changed nothing. */
    OK(detailflow_generate(request, &generation));
    again = check_tokens(generation, 0, &same);
    CHECK(same == count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(tokens);
    free(again);

    /* Classes by name. */
    OK(detailflow_model_get_class_name(model, info.class_count - 1, &name));
    INVALID(detailflow_model_get_class_name(model, info.class_count, &name), "class");
    CHECK(snprintf(similar, sizeof similar, "%.400sx", name) > 0);
    INVALID(detailflow_model_find_class(model, similar, &index), similar);
    CHECK(strstr(detailflow_last_message(), "did you mean") != NULL);
    CHECK(strstr(strstr(detailflow_last_message(), "did you mean"), name) != NULL);
    CHECK(snprintf(similar, sizeof similar, "%u", (unsigned)info.class_count) > 0);
    INVALID(detailflow_model_find_class(model, similar, &index), similar);
    INVALID(detailflow_model_find_class(model, "", &index), "class");
    INVALID(detailflow_model_find_class(model, "\xff", &index), "UTF-8");
    CHECK(index == 77);

    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static void *another_thread(void *request)
{
    CHECK(detailflow_last_message()[0] == 0);
    INVALID(detailflow_request_set_temperature((detailflow_request *)request, -3), "temperature");
    return NULL;
}

static void message_stays_with_its_handle(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 0);
    char buffer[512], small[8];
    size_t length;
    pthread_t thread;

    /* The buffer is ended even when there is nothing to say. */
    memset(buffer, 'x', sizeof buffer);
    CHECK(MESSAGE(detailflow_request_get_message, request, buffer, sizeof buffer) == 0 && buffer[0] == 0);

    INVALID(detailflow_request_set_guidance(request, -2), "guidance");
    CHECK(pthread_create(&thread, NULL, another_thread, request) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    /* Each thread has its own; the handle has the last of all. */
    CHECK(strstr(detailflow_last_message(), "guidance") != NULL);
    length = MESSAGE(detailflow_request_get_message, request, buffer, sizeof buffer);
    CHECK(length == strlen(buffer) && strstr(buffer, "temperature") != NULL);
    CHECK(length > sizeof small);

    /* Told, cut, ended. */
    CHECK(MESSAGE(detailflow_request_get_message, request, NULL, 0) == length);
    memset(small, 'x', sizeof small);
    CHECK(MESSAGE(detailflow_request_get_message, request, small, 0) == length && small[0] == 'x');
    CHECK(MESSAGE(detailflow_request_get_message, request, small, 1) == length && small[0] == 0 && small[1] == 'x');
    CHECK(MESSAGE(detailflow_request_get_message, request, small, sizeof small) == length);
    CHECK(strlen(small) == sizeof small - 1 && strncmp(small, buffer, sizeof small - 1) == 0);
    memset(buffer, 'x', sizeof buffer);
    CHECK(MESSAGE(detailflow_request_get_message, request, buffer, length) == length && strlen(buffer) == length - 1);
    memset(buffer, 'x', sizeof buffer);
    CHECK(MESSAGE(detailflow_request_get_message, request, buffer, length + 1) == length && strlen(buffer) == length);

    /* A call that works leaves the message as it is. */
    OK(detailflow_request_set_guidance(request, 2));
    CHECK(MESSAGE(detailflow_request_get_message, request, NULL, 0) == length);
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
    CHECK(level >= DETAILFLOW_SEVERITY_ERROR && level <= DETAILFLOW_SEVERITY_DEBUG);
    CHECK(message != NULL && message[0] != 0);
    if (level == DETAILFLOW_SEVERITY_INFO) {
        __atomic_add_fetch(&heard->info, 1, __ATOMIC_SEQ_CST);
        if (strstr(message, "opened") != NULL) {
            __atomic_add_fetch(&heard->opened, 1, __ATOMIC_SEQ_CST);
        }
    }
}

static void log_callback_hears_the_opening(const char *bundle)
{
    struct heard first = {0, 0, 0}, second = {0, 0, 0};
    int before;
    OK(detailflow_log_set_callback(DETAILFLOW_SEVERITY_INFO, hear, &first, NULL));
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.opened == 1);

    /* A severity that does not exist changes nothing. */
    INVALID(detailflow_log_set_callback(0, hear, &second, NULL), "severity is 0");
    INVALID(detailflow_log_set_callback(5, hear, &second, NULL), "severity is 5");
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.opened == 2 && second.messages == 0);

    OK(detailflow_log_set_callback(DETAILFLOW_SEVERITY_WARNING, hear, &second, NULL));
    before = first.messages;
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.messages == before && second.info == 0);

    OK(detailflow_log_set_callback(0, NULL, NULL, NULL));
    before = second.messages;
    detailflow_model_free(check_open(bundle, 1));
    CHECK(first.opened == 2 && second.messages == before);
}

static void files_are_read_and_written_or_refused(const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;
    unsigned char pixel[4] = {1, 2, 3, 4};
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
    size_t count = 77;
    detailflow_status status;

    CHECK(tokens != NULL);
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_step(generation, NULL));

    FAILS(detailflow_generation_save(generation, 0, "there-is-no-folder/x.png"), DETAILFLOW_STATUS_IO,
          "there-is-no-folder/x.png");
    FAILS(detailflow_image_save(&image, "there-is-no-folder/x.png", NULL), DETAILFLOW_STATUS_IO,
          "there-is-no-folder/x.png");
    CHECK(mkdir("folder.png", 0777) == 0);
    FAILS(detailflow_generation_save(generation, 0, "folder.png"), DETAILFLOW_STATUS_IO, "folder.png");
    FAILS(detailflow_image_save(&image, "/dev/full/x.png", NULL), DETAILFLOW_STATUS_IO, "/dev/full");
    INVALID(detailflow_generation_save(generation, 0, "x.poem"), "x.poem");
    INVALID(detailflow_generation_save(generation, 0, "ending"), "ending");
    INVALID(detailflow_generation_save(generation, 0, ""), "empty");
    INVALID(detailflow_generation_save(generation, 1, "x.png"), "image 1");
    INVALID(detailflow_image_save(&image, "x.poem", NULL), "x.poem");
    INVALID(detailflow_image_save(&image, "", NULL), "empty");
    CHECK(access("x.png", F_OK) != 0 && access("x.poem", F_OK) != 0);

    FAILS(detailflow_model_encode_file(model, "there-is-no.png", tokens, info.token_count, &count),
          DETAILFLOW_STATUS_NOT_FOUND, "there-is-no.png");
    write_text("poem.png", "a poem, and no picture");
    FAILS(detailflow_model_encode_file(model, "poem.png", tokens, info.token_count, &count),
          DETAILFLOW_STATUS_BAD_FORMAT, "poem.png");
    write_text("nothing.png", "");
    FAILS(detailflow_model_encode_file(model, "nothing.png", tokens, info.token_count, &count),
          DETAILFLOW_STATUS_BAD_FORMAT, "nothing.png");
    write_text("begun.png", "\x89PNG\r\n\x1a\n");
    FAILS(detailflow_model_encode_file(model, "begun.png", tokens, info.token_count, &count),
          DETAILFLOW_STATUS_BAD_FORMAT, "begun.png");
    INVALID(detailflow_model_encode_file(model, "", tokens, info.token_count, &count), "empty");
    check_forget();
    status = detailflow_model_encode_file(model, "folder.png", tokens, info.token_count, &count);
    CHECK(status == DETAILFLOW_STATUS_IO || status == DETAILFLOW_STATUS_BAD_FORMAT);
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
    status_has_a_name();
    options_are_checked_at_once(bundle);
    model = check_open(bundle, 1);
    request_setters_check_at_once(model);
    message_stays_with_its_handle(model);
    log_callback_hears_the_opening(bundle);
    files_are_read_and_written_or_refused(model);
    detailflow_model_free(model);
    return 0;
}
