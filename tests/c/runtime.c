/*
 * Loading ONNX Runtime goes wrong in as many ways as there are, each with a clear sentence, and then right. One
 * process a case:
 *
 *     runtime BUNDLE CASE RUNTIME LIBRARY     paths of a good ONNX Runtime and of a library that is none
 */
#include "posix.h"

#if defined(_WIN32)
#define IN_RUNTIME "runtime\\onnxruntime.dll"
#else
#define IN_RUNTIME "runtime/libonnxruntime.so"
#endif

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

static void copy(const char *from, const char *to)
{
    static char bytes[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t count;
    CHECK(in != NULL && out != NULL);
    while ((count = fread(bytes, 1, sizeof bytes, in)) > 0) {
        CHECK(fwrite(bytes, 1, count, out) == count);
    }
    CHECK(ferror(in) == 0 && fclose(in) == 0 && fclose(out) == 0);
}

static void write_text(const char *path)
{
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fputs("this is a text and no library\n", file) >= 0 && fclose(file) == 0);
}

/* After whatever went wrong: nothing stays behind, and the right file can be loaded. */
static void works(const char *bundle, const char *runtime)
{
    detailflow_model *model;
    size_t count;
    OK(init(runtime));
    model = check_open(bundle, 1);
    free(check_draw(model, 1, &count));
    CHECK(count == check_info(model).token_count);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    const char *bundle, *which, *runtime, *library;
    detailflow_model *model = NULL;
    CHECK(argc == 5);
    bundle = argv[1];
    which = argv[2];
    runtime = argv[3];
    library = argv[4];

    if (strcmp(which, "text") == 0) {
        write_text("text.so");
        FAILS(init("text.so"), DETAILFLOW_STATUS_NO_RUNTIME, "text.so");
        CHECK(strstr(detailflow_last_message(), "not a library that can be loaded") != NULL);
    } else if (strcmp(which, "foreign") == 0) {
        FAILS(init(library), DETAILFLOW_STATUS_NO_RUNTIME, library);
        CHECK(strstr(detailflow_last_message(), "not ONNX Runtime") != NULL);
    } else if (strcmp(which, "missing") == 0) {
        FAILS(init("/there/is/no/such/runtime.so"), DETAILFLOW_STATUS_NO_RUNTIME, "/there/is/no/such/runtime.so");
        CHECK(strstr(detailflow_last_message(), "not a file") != NULL);
        FAILS(init("."), DETAILFLOW_STATUS_NO_RUNTIME, "not a file");
    } else if (strcmp(which, "environment") == 0) {
        /* What the environment names is used or is an error, never skipped; what the caller names comes first. */
        CHECK(setenv("ORT_DYLIB_PATH", "/there/is/no/such/runtime.so", 1) == 0);
        FAILS(detailflow_runtime_init(NULL, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "ORT_DYLIB_PATH");
        CHECK(strstr(detailflow_last_message(), "/there/is/no/such/runtime.so") != NULL);
        FAILS(detailflow_model_open(bundle, NULL, &model, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "ORT_DYLIB_PATH");
        write_text("text.so");
        CHECK(setenv("ORT_DYLIB_PATH", "text.so", 1) == 0);
        FAILS(detailflow_model_open(bundle, NULL, &model, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "text.so");
    } else if (strcmp(which, "nowhere") == 0) {
        /* The harness runs this where there is none to find: every place that was tried is told, and the way out. */
        CHECK(unsetenv("ORT_DYLIB_PATH") == 0);
        FAILS(detailflow_model_open(bundle, NULL, &model, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "was not found");
        CHECK(strstr(detailflow_last_message(), "ORT_DYLIB_PATH") != NULL);
        CHECK(strstr(detailflow_last_message(), IN_RUNTIME) != NULL);
        CHECK(strstr(detailflow_last_message(), "pip install onnxruntime") != NULL);
    } else if (strcmp(which, "second") == 0) {
        OK(init(runtime));
        OK(init(runtime));
        OK(detailflow_runtime_init(NULL, NULL));
        copy(runtime, "copy.so");
        FAILS(init("copy.so"), DETAILFLOW_STATUS_NO_RUNTIME, "copy.so");
        CHECK(strstr(detailflow_last_message(), "was loaded from") != NULL);
        CHECK(strstr(detailflow_last_message(), runtime) != NULL);
        FAILS(init("/there/is/no/such/runtime.so"), DETAILFLOW_STATUS_NO_RUNTIME, "/there/is/no/such/runtime.so");
    } else {
        CHECK(!"a known case");
    }
    CHECK(model == NULL);
    works(bundle, runtime);
    return 0;
}
