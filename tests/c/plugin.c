/*
 * A host that loads the library as a plugin, by its path, and unloads it:
 *
 *     plugin LIBRARY finds [BUNDLE]   generates with the bundle and the ONNX Runtime that lie beside the library
 *     plugin LIBRARY unused           a library that has done nothing is unloaded
 *     plugin LIBRARY unloads          it is unloaded while its threads work: nothing happens, and it can be loaded again
 *     plugin LIBRARY settled          the same when all its threads and those that called it have ended: ONNX Runtime, which
 *                                     is never unloaded, calls it at exit
 *
 * The program is not linked with the library.
 */
#include "posix.h"

/* The functions that it calls. */
static uint32_t (*abi_version)(void);
static const char *(*last_message)(void);
static detailflow_status (*model_open)(const char *, const detailflow_model_options *, detailflow_model **,
                                       detailflow_error *);
static void (*model_free)(detailflow_model *);
static void (*request_free)(detailflow_request *);
static void (*generation_free)(detailflow_generation *);
static detailflow_status (*request_new)(const detailflow_model *, detailflow_request **);
static detailflow_status (*set_image_count)(detailflow_request *, uint32_t);
static detailflow_status (*generate)(const detailflow_request *, detailflow_generation **);
static detailflow_status (*get_tokens)(const detailflow_generation *, uint32_t, uint32_t *, size_t, size_t *);
static detailflow_status (*worker_new)(const detailflow_worker_options *, detailflow_worker **, detailflow_error *);
static detailflow_status (*worker_submit)(const detailflow_worker *, const detailflow_request *, uint64_t, uint32_t,
                                          uint64_t *);
static detailflow_status (*worker_wait)(const detailflow_worker *, uint64_t, detailflow_event **);

static void find_all(void *library)
{
    posix_find(library, "detailflow_abi_version", &abi_version, sizeof abi_version);
    posix_find(library, "detailflow_last_message", &last_message, sizeof last_message);
    posix_find(library, "detailflow_model_open", &model_open, sizeof model_open);
    posix_find(library, "detailflow_model_free", &model_free, sizeof model_free);
    posix_find(library, "detailflow_request_free", &request_free, sizeof request_free);
    posix_find(library, "detailflow_generation_free", &generation_free, sizeof generation_free);
    posix_find(library, "detailflow_request_new", &request_new, sizeof request_new);
    posix_find(library, "detailflow_request_set_image_count", &set_image_count, sizeof set_image_count);
    posix_find(library, "detailflow_generate", &generate, sizeof generate);
    posix_find(library, "detailflow_generation_get_tokens", &get_tokens, sizeof get_tokens);
    posix_find(library, "detailflow_worker_new", &worker_new, sizeof worker_new);
    posix_find(library, "detailflow_worker_submit", &worker_submit, sizeof worker_submit);
    posix_find(library, "detailflow_worker_wait", &worker_wait, sizeof worker_wait);
}

static void good(detailflow_status status)
{
    if (status != DETAILFLOW_STATUS_OK) {
        fprintf(stderr, "status %d: %s\n", (int)status, last_message());
        CHECK(!"OK");
    }
}

static detailflow_request *draw(const char *bundle, detailflow_model **model)
{
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    uint32_t tokens[1024];
    size_t count = 0;
    good(model_open(bundle, NULL, model, NULL));
    good(request_new(*model, &request));
    good(generate(request, &generation));
    good(get_tokens(generation, 0, tokens, 1024, &count));
    CHECK(count > 0);
    generation_free(generation);
    return request;
}

static void *draw_and_free(void *bundle)
{
    detailflow_model *model = NULL;
    request_free(draw(bundle, &model));
    model_free(model);
    return NULL;
}

int main(int argc, char **argv)
{
    const char *path = argv[1], *how = argc > 2 ? argv[2] : "";
    detailflow_model *model = NULL;
    detailflow_request *request;
    detailflow_worker *worker = NULL;
    detailflow_event *event = NULL;
    void *library;
    pthread_t thread;
    int at;

    CHECK(argc > 2);
    library = posix_load(path);
    find_all(library);
    CHECK(abi_version() >= DETAILFLOW_ABI_VERSION && posix_is_loaded(path));
    if (strcmp(how, "unused") == 0) {
        posix_unload(library);
        CHECK(!posix_is_loaded(path));
        return 0;
    }
    if (strcmp(how, "settled") == 0) {
        CHECK(pthread_create(&thread, NULL, draw_and_free, NULL) == 0 && pthread_join(thread, NULL) == 0);
        posix_unload(library);
        CHECK(posix_is_loaded(path));
        return 0;
    }
    request = draw(argc > 3 ? argv[3] : NULL, &model);
    if (strcmp(how, "finds") == 0) {
        model_free(model);
        posix_unload(library);
        return 0;
    }
    CHECK(strcmp(how, "unloads") == 0);
    good(worker_new(NULL, &worker, NULL));
    good(set_image_count(request, 16));
    for (at = 0; at < 20; at++) {
        good(worker_submit(worker, request, 0, DETAILFLOW_SUBMIT_FLAG_DECODE, NULL));
    }
    posix_unload(library);
    CHECK(posix_is_loaded(path));
    check_sleep(0.01);
    good(worker_wait(worker, UINT64_MAX, &event));
    CHECK(event != NULL);
    /* The same library, with all that it has. */
    library = posix_load(path);
    find_all(library);
    good(generate(request, &(detailflow_generation *){NULL}));
    posix_unload(library);
    CHECK(posix_is_loaded(path));
    return 0;
}
