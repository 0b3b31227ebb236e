/*
 * The host loads ONNX Runtime itself and gives its functions to the library. One process a case:
 *
 *     host_api BUNDLE given|own|late|only RUNTIME
 *
 * given: the host's copy is used, and no library is searched. own: the host has made ONNX Runtime's environment before.
 * late: the library has loaded a copy before. only: the library is built without the feature load-runtime.
 */
#include "check.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

/* OrtApiBase of onnxruntime_c_api.h. */
typedef struct {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version_string)(void);
} api_base;

/* The functions of OrtApi that a host calls here: the fourth makes an environment. */
typedef void *(*create_environment)(int severity, const char *name, void **environment);

static const api_base *load(const char *runtime)
{
    const api_base *(*get_base)(void) = NULL;
#ifdef _WIN32
    FARPROC symbol = GetProcAddress(LoadLibraryA(runtime), "OrtGetApiBase");
#else
    void *symbol, *library = dlopen(runtime, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    symbol = dlsym(library, "OrtGetApiBase");
#endif
    CHECK(symbol != NULL && sizeof symbol == sizeof get_base);
    memcpy((void *)&get_base, (const void *)&symbol, sizeof get_base);
    return get_base();
}

static const void *get_no_api(uint32_t version)
{
    (void)version;
    return NULL;
}

static const api_base *real;

static const void *get_real_api(uint32_t version) { return real->get_api(version); }

static const char *get_old_version(void) { return "1.20.1"; }

static const char *get_new_version(void) { return "1.99.0"; }

static void generates(const char *bundle)
{
    size_t count;
    detailflow_model *model = check_open(bundle, 1);
    free(check_draw(model, 1, &count));
    CHECK(count == check_info(model).token_count);
    detailflow_model_free(model);
}

static detailflow_status init(const char *library)
{
    detailflow_runtime_options *options = NULL;
    detailflow_status status;
    OK(detailflow_runtime_options_new(&options, NULL));
    OK(detailflow_runtime_options_set_library(options, library));
    status = detailflow_runtime_init(options, NULL);
    detailflow_runtime_options_free(options);
    return status;
}

int main(int argc, char **argv)
{
    const api_base old = {get_no_api, get_old_version};
    const api_base without_api = {get_no_api, get_new_version};
    const api_base other = {get_real_api, get_new_version};
    const char *bundle, *which, *runtime;
    detailflow_model *model = NULL;
    CHECK(argc == 4);
    bundle = argv[1];
    which = argv[2];
    runtime = argv[3];

    INVALID(detailflow_runtime_set_api(NULL, NULL), "ort_api_base is NULL");
    FAILS(detailflow_runtime_set_api(&old, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "1.20.1");
    CHECK(strstr(detailflow_last_message(), "1.24") != NULL);
    FAILS(detailflow_runtime_set_api(&without_api, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "1.99.0");

    if (strcmp(which, "late") == 0) {
        OK(init(runtime));
        real = load(runtime);
        FAILS(detailflow_runtime_set_api(&other, NULL), DETAILFLOW_STATUS_WRONG_STATE, "is in use");
        CHECK(strstr(detailflow_last_message(), "1.99.0") != NULL);
        /* The copy that is in use. */
        OK(detailflow_runtime_set_api(real, NULL));
        generates(bundle);
        return 0;
    }
    if (strcmp(which, "only") == 0) {
        FAILS(detailflow_model_open(bundle, NULL, &model, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "load-runtime");
        FAILS(init(runtime), DETAILFLOW_STATUS_NO_RUNTIME, "load-runtime");
    }
    real = load(runtime);
    if (strcmp(which, "own") == 0) {
        void *environment = NULL;
        create_environment create;
        memcpy((void *)&create, (const char *)real->get_api(24) + 3 * sizeof create, sizeof create);
        CHECK(create(2, "host", &environment) == NULL && environment != NULL);
    }
#ifndef _WIN32
    CHECK(setenv("ORT_DYLIB_PATH", "/there/is/no/such/runtime.so", 1) == 0);
#endif
    OK(detailflow_runtime_set_api(real, NULL));
    OK(detailflow_runtime_set_api(real, NULL));
    FAILS(detailflow_runtime_set_api(&other, NULL), DETAILFLOW_STATUS_WRONG_STATE, "is in use");
    FAILS(detailflow_runtime_set_api(&old, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "1.20.1");
    generates(bundle);
    /* The file that the host has loaded is known. */
    OK(detailflow_runtime_init(NULL, NULL));
    OK(init(runtime));
    FAILS(init("/there/is/no/such/runtime.so"), DETAILFLOW_STATUS_NO_RUNTIME, "/there/is/no/such/runtime.so");
    generates(bundle);
    return 0;
}
