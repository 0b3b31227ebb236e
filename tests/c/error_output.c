/* The error output of calls without a handle that keeps a message: filled by every call, read from any thread. */
#include "check.h"

static detailflow_error empty_error(void)
{
    detailflow_error error;
    memset(&error, 0xA5, sizeof error);
    error.struct_size = sizeof error;
    return error;
}

/* The call fails with this status; the output says the same as the thread's message. */
#define FAILS_WITH(call, error, wanted)                                                                                \
    do {                                                                                                               \
        FAILS(call, wanted, "");                                                                                       \
        CHECK((error).struct_size == sizeof(error) && (error).status == wanted);                                       \
        CHECK((error).message[0] != 0 && strcmp((error).message, detailflow_last_message()) == 0);                     \
    } while (0)

/* One call of each function that takes an error. */
static void error_is_filled_by_every_function(void)
{
    detailflow_error error = empty_error();
    detailflow_image image;
    detailflow_pack *pack = NULL;
    detailflow_pack_writer *writer = NULL;
    detailflow_model *model = NULL;
    detailflow_runtime_options *runtime = NULL;
    uint32_t number = 0;
    size_t count = 0;
    unsigned char bytes[4] = {1, 2, 3, 4};
    const detailflow_status invalid = DETAILFLOW_STATUS_INVALID_ARGUMENT;

    image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, bytes, sizeof bytes);
    FAILS_WITH(detailflow_log_set_callback(99, check_log, NULL, &error), error, invalid);
    FAILS_WITH(detailflow_runtime_options_new(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_model_options_new(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_worker_options_new(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_best_of_options_new(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_cancel_new(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_cancel_trigger(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_worker_new(NULL, NULL, &error), error, invalid);
    FAILS_WITH(detailflow_device_list_new(NULL, &error), error, invalid);
    FAILS_WITH(detailflow_device_list_get_count(NULL, &count, &error), error, invalid);
    FAILS_WITH(detailflow_device_list_get_info(NULL, 0, NULL, &error), error, invalid);
    FAILS_WITH(detailflow_device_list_get_metadata(NULL, 0, 0, NULL, NULL, &error), error, invalid);
    FAILS_WITH(detailflow_image_save(&image, "picture.unknown", &error), error, invalid);
    FAILS_WITH(detailflow_image_encode(&image, 0, NULL, 0, &count, &error), error, invalid);
    FAILS_WITH(detailflow_image_upscale(&image, 2, &image, &error), error, invalid);
    FAILS_WITH(detailflow_mips_list_sizes(0, NULL, 0, &count, &error), error, invalid);
    FAILS_WITH(detailflow_bundle_strip("nowhere", "target", NULL, &error), error, DETAILFLOW_STATUS_NOT_FOUND);
    FAILS_WITH(detailflow_generate_image(NULL, NULL, 0, &image, &error), error, invalid);
    FAILS_WITH(detailflow_event_get_info(NULL, NULL, &error), error, invalid);
    FAILS_WITH(detailflow_event_get_tokens(NULL, 0, NULL, 0, &count, &error), error, invalid);
    FAILS_WITH(detailflow_event_decode_level(NULL, 0, &image, &error), error, invalid);
    FAILS_WITH(detailflow_event_get_job_message(NULL, NULL, 0, &count, &error), error, invalid);
    FAILS_WITH(detailflow_dft_get_info(bytes, sizeof bytes, NULL, &error), error, DETAILFLOW_STATUS_BAD_FORMAT);
    FAILS_WITH(detailflow_dft_get_tokens(bytes, sizeof bytes, NULL, 0, &count, &error), error,
               DETAILFLOW_STATUS_BAD_FORMAT);
    FAILS_WITH(detailflow_tokens_get_kind(NULL, 4, &number, &error), error, invalid);
    FAILS_WITH(detailflow_pack_open("nowhere.dftpack", &pack, &error), error, DETAILFLOW_STATUS_NOT_FOUND);
    FAILS_WITH(detailflow_pack_salvage("nowhere.dftpack", "target.dftpack", &number, NULL, &error), error,
               DETAILFLOW_STATUS_NOT_FOUND);
    FAILS_WITH(detailflow_pack_writer_new("no/such/folder/x.dftpack", &writer, &error), error, DETAILFLOW_STATUS_IO);
    OK(detailflow_runtime_options_new(&runtime, &error));
    CHECK(error.status == DETAILFLOW_STATUS_OK && error.message[0] == 0);
    OK(detailflow_runtime_options_set_library(runtime, "nowhere.so"));
    FAILS_WITH(detailflow_runtime_init(runtime, &error), error, DETAILFLOW_STATUS_NO_RUNTIME);
    detailflow_runtime_options_free(runtime);
    FAILS_WITH(detailflow_model_open("nowhere", NULL, &model, &error), error, DETAILFLOW_STATUS_NOT_FOUND);
    CHECK(strstr(error.message, "nowhere") != NULL);
    CHECK(pack == NULL && writer == NULL && model == NULL);
}

/* A wrong struct_size is an error before anything is done; a larger struct is filled as far as it is known. */
static void error_size_is_checked(void)
{
    struct newer {
        detailflow_error known;
        uint32_t more[4];
    } newer;
    detailflow_error error = empty_error();
    detailflow_cancel *cancel = NULL;
    error.struct_size = sizeof error - 1;
    INVALID(detailflow_cancel_new(&cancel, &error), "detailflow_error.struct_size is 1023");
    CHECK(cancel == NULL && error.message[0] == (char)0xA5);
    memset(&newer, 0xA5, sizeof newer);
    newer.known.struct_size = sizeof newer;
    INVALID(detailflow_cancel_new(NULL, &newer.known), "cancel is NULL");
    CHECK(newer.known.struct_size == sizeof newer && newer.more[0] == 0xA5A5A5A5);
    CHECK(strcmp(newer.known.message, "cancel is NULL") == 0);
}

/* A message that does not fit is cut between two characters. */
static void error_message_is_cut_between_characters(void)
{
    enum { LETTERS = 700 };
    char path[2 * LETTERS + 8];
    detailflow_error error;
    detailflow_model *model = NULL;
    size_t shift, length, at;
    for (shift = 0; shift < 2; shift++) {
        memset(path, 'x', shift);
        for (at = 0; at < LETTERS; at++) {
            memcpy(path + shift + 2 * at, "\xC3\xA9", 2);
        }
        path[shift + 2 * LETTERS] = 0;
        error = empty_error();
        CHECK(detailflow_model_open(path, NULL, &model, &error) != DETAILFLOW_STATUS_OK);
        length = strlen(error.message);
        CHECK(length >= sizeof error.message - 2 && length < sizeof error.message);
        CHECK(strncmp(error.message, detailflow_last_message(), length) == 0);
        CHECK(strlen(detailflow_last_message()) > length && (unsigned char)error.message[length - 1] != 0xC3);
    }
}

static void *open_on_a_thread(void *error)
{
    detailflow_model *model = NULL;
    CHECK(detailflow_model_open("nowhere", NULL, &model, (detailflow_error *)error) == DETAILFLOW_STATUS_NOT_FOUND);
    return NULL;
}

/* What another thread was told can be read here; this thread's own message stays. */
static void error_is_read_from_another_thread(void)
{
    detailflow_error error = empty_error();
    pthread_t thread;
    check_forget();
    CHECK(pthread_create(&thread, NULL, open_on_a_thread, &error) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(error.status == DETAILFLOW_STATUS_NOT_FOUND && strstr(error.message, "nowhere") != NULL);
    CHECK(strncmp(detailflow_last_message(), CHECK_STALE, strlen(CHECK_STALE)) == 0);
}

int main(int argc, char **argv)
{
    (void)check_bundle(argc, argv);
    error_is_filled_by_every_function();
    error_size_is_checked();
    error_message_is_cut_between_characters();
    error_is_read_from_another_thread();
    return 0;
}
