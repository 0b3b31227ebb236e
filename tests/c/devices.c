/* Devices: what is listed can be selected, two threads use one at once, and a model that is freed gives back what it took.
 *
 * Arguments after the bundle: the device (cpu without), and how often to open it (12). */
#include "posix.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Bytes of this process that are in memory, without what its allocator keeps for later. */
static size_t resident(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    return posix_resident();
}

static void device_list_is_complete(void)
{
    detailflow_device_list *list = NULL;
    detailflow_model_options *options = NULL;
    detailflow_device_info info;
    const char *key, *value;
    size_t count = 0, index, at;

    OK(detailflow_device_list_new(&list, NULL));
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_device_list_get_count(list, &count, NULL));
    CHECK(count > 0);
    for (index = 0; index < count; index++) {
        memset(&info, 0xA5, sizeof info);
        info.struct_size = sizeof info;
        OK(detailflow_device_list_get_info(list, index, &info, NULL));
        CHECK(info.kind >= DETAILFLOW_DEVICE_KIND_CPU && info.kind <= DETAILFLOW_DEVICE_KIND_NPU && info.reserved == 0);
        CHECK(info.vendor != NULL && info.name != NULL && info.provider != NULL);
        CHECK((info.device == NULL) == (info.provider[0] == 0));
        if (info.device != NULL) {
            OK(detailflow_model_options_set_device(options, info.device));
            printf("%s\n", info.device);
        }
        for (at = 0; at < info.metadata_count; at++) {
            OK(detailflow_device_list_get_metadata(list, index, at, &key, &value, NULL));
            CHECK(key[0] != 0 && value != NULL);
        }
        INVALID(detailflow_device_list_get_metadata(list, index, at, &key, &value, NULL), "metadata");
    }
    /* The processor comes first. */
    info.struct_size = sizeof info;
    OK(detailflow_device_list_get_info(list, 0, &info, NULL));
    CHECK(strcmp(info.device, "cpu") == 0 && info.kind == DETAILFLOW_DEVICE_KIND_CPU);
    info.struct_size = 4;
    INVALID(detailflow_device_list_get_info(list, 0, &info, NULL), "struct_size");
    info.struct_size = sizeof info;
    INVALID(detailflow_device_list_get_info(list, count, &info, NULL), "devices");
    detailflow_model_options_free(options);
    detailflow_device_list_free(list);
}

/* One picture, and what the model says of itself. */
static void draw(const detailflow_model *model, const char *device)
{
    detailflow_model_info info;
    detailflow_request *request = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;
    char text[4096], cut[8];
    size_t length = 0, again = 0;

    OK(detailflow_generate(request, &generation));
    info.struct_size = sizeof info;
    OK(detailflow_model_get_info(model, &info));
    CHECK(strncmp(info.device, device, strlen(device)) == 0);
    OK(detailflow_model_get_report(model, NULL, 0, &length));
    OK(detailflow_model_get_report(model, text, sizeof text, &length));
    CHECK(length < sizeof text && strlen(text) == length && strncmp(text, "runs on ", 8) == 0);
    CHECK(strncmp(text + 8, info.device, strlen(info.device)) == 0 && strstr(text, "decoder.") != NULL);
    OK(detailflow_model_get_report(model, cut, sizeof cut, &again));
    CHECK(strcmp(cut, "runs on") == 0);
    INVALID(detailflow_model_get_report(model, NULL, 1, &length), "buffer");
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

/* What one of several threads does, with a model of its own. */
struct user {
    const char *bundle, *device;
    uint64_t seed;
    uint32_t *tokens;
    size_t count;
};

/* Opens the model, generates, decodes, and frees the model, twice. The tokens stay. */
static void *use(void *argument)
{
    struct user *user = (struct user *)argument;
    detailflow_model_options *options = NULL;
    int round;

    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_device(options, user->device));
    OK(detailflow_model_options_set_threads(options, 1));
    for (round = 0; round < 2; round++) {
        detailflow_model *model = NULL;
        detailflow_generation *generation = NULL;
        detailflow_request *request;
        OK(detailflow_model_open(user->bundle, options, &model, NULL));
        request = check_request(model, 2, user->seed);
        OK(detailflow_generate(request, &generation));
        free(user->tokens);
        user->tokens = check_tokens(generation, 1, &user->count);
        detailflow_generation_free(generation);
        detailflow_request_free(request);
        detailflow_model_free(model);
    }
    detailflow_model_options_free(options);
    return NULL;
}

/* Sessions of one device may share what they do not lock: the library lets one thread at a time use it. */
static void two_threads_generate_what_one_does(const char *bundle, const char *device)
{
    struct user alone[2], together[2];
    pthread_t threads[2];
    int at;

    memset(alone, 0, sizeof alone);
    memset(together, 0, sizeof together);
    for (at = 0; at < 2; at++) {
        alone[at].bundle = together[at].bundle = bundle;
        alone[at].device = together[at].device = device;
        alone[at].seed = together[at].seed = 3 + (uint64_t)at;
        use(&alone[at]);
    }
    for (at = 0; at < 2; at++) {
        CHECK(pthread_create(&threads[at], NULL, use, &together[at]) == 0);
    }
    for (at = 0; at < 2; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
        CHECK(together[at].count == alone[at].count);
        CHECK(memcmp(together[at].tokens, alone[at].tokens, alone[at].count * sizeof *alone[at].tokens) == 0);
        free(together[at].tokens);
        free(alone[at].tokens);
    }
}

int main(int argc, char **argv)
{
    const char *device = argc > 2 ? argv[2] : "cpu";
    const int times = argc > 3 ? atoi(argv[3]) : 12;
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    size_t held = 0, early = SIZE_MAX, late = SIZE_MAX, growth;
    int at;

    CHECK(argc > 1 && times >= 6);
    device_list_is_complete();
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_device(options, device));
    OK(detailflow_model_options_set_threads(options, 1));
    for (at = 0; at < times; at++) {
        const size_t before = resident();
        size_t after;
        OK(detailflow_model_open(argv[1], options, &model, NULL));
        draw(model, device);
        after = resident();
        held = after > before && after - before > held ? after - before : held;
        detailflow_model_free(model);
        after = resident();
        printf("%s: %zu KiB after model %d\n", device, after / 1024, at);
        /* The first one loads libraries. */
        if (at > 0 && at < times / 2) {
            early = after < early ? after : early;
        } else if (at >= times / 2) {
            late = after < late ? after : late;
        }
    }
    growth = late > early ? late - early : 0;
    printf("%s: opened %d times, held up to %zu bytes, grew by %zu\n", device, times, held, growth);
    /* On a device the tests' smallest model adds 3 MB each time when it is kept. */
    CHECK(growth < (size_t)4 << 20);
    two_threads_generate_what_one_does(argv[1], device);
    detailflow_model_options_free(options);
    return 0;
}
