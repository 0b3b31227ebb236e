/*
 * ONNX Runtime returns an error at each of its calls in turn: loading it, opening, stepping, decoding and encoding give a
 * status, nothing is left behind, and the next attempt works in the same process. ORT_DYLIB_PATH names the library made of
 * failing_runtime.c.
 *
 *     runtime_failures BUNDLE STRIDE [FORM]      STRIDE 1 is every call
 */
#include "threads.h"

#include <dlfcn.h>

static const char *bundle, *form;
static detailflow_model_info info;
static uint32_t *tokens;
static size_t token_count;
static unsigned char *pixels;
static size_t pixel_bytes;
static long fail_at;

static void (*set_fail_at)(long call);
static int (*get_failed)(void);
static long (*get_calls)(void);

/* A failure must say why. */
static int fails(detailflow_status status)
{
    if (status == DETAILFLOW_STATUS_OK) {
        return 0;
    }
    CHECK(detailflow_last_message()[0] != 0);
    if (status == DETAILFLOW_STATUS_INTERNAL) {
        printf("call %ld, function %d: %s\n", fail_at, get_failed(), detailflow_last_message());
    }
    return 1;
}

static void find_functions(void)
{
    void *library = dlopen(getenv("ORT_DYLIB_PATH"), RTLD_NOW | RTLD_LOCAL);
    void *symbols[3];
    int at;
    CHECK(library != NULL);
    symbols[0] = dlsym(library, "failing_runtime_fail_at");
    symbols[1] = dlsym(library, "failing_runtime_failed");
    symbols[2] = dlsym(library, "failing_runtime_calls");
    for (at = 0; at < 3; at++) {
        CHECK(symbols[at] != NULL);
    }
    memcpy(&set_fail_at, &symbols[0], sizeof set_fail_at);
    memcpy(&get_failed, &symbols[1], sizeof get_failed);
    memcpy(&get_calls, &symbols[2], sizeof get_calls);
}

/* Opens, draws, decodes and encodes, whatever fails; everything is freed. Returns whether all of it worked. */
static int everything(void)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    int worked = 0;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, 2));
    OK(detailflow_model_options_set_form(options, form));
    if (!fails(detailflow_model_open(bundle, options, &model, NULL))) {
        detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 0, NULL, 0);
        uint32_t *again = (uint32_t *)malloc(4096 * sizeof *again);
        unsigned char *out;
        size_t count, told = 0;
        info = check_info(model);
        out = (unsigned char *)malloc((size_t)4 * info.image_size * info.image_size);
        CHECK(again != NULL && out != NULL && info.token_count <= 4096);
        request = check_request(model, 2, 1);
        if (!fails(detailflow_generation_new(request, &generation)) &&
            !fails(detailflow_generation_finish(generation, NULL)) &&
            !fails(detailflow_generation_get_tokens(generation, 1, again, 4096, &count))) {
            if (tokens == NULL) {
                tokens = (uint32_t *)malloc(count * sizeof *tokens);
                CHECK(tokens != NULL);
                memcpy(tokens, again, count * sizeof *tokens);
                token_count = count;
            }
            /* Whatever failed in between, tokens that are handed out are right. */
            CHECK(count == token_count && memcmp(tokens, again, count * sizeof *tokens) == 0);
            pixel_bytes = (size_t)4 * info.image_size * info.image_size;
            image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, out, pixel_bytes);
            if (!fails(detailflow_model_decode(model, again, count, 0, &image))) {
                if (pixels == NULL) {
                    pixels = (unsigned char *)malloc(pixel_bytes);
                    CHECK(pixels != NULL);
                    memcpy(pixels, out, pixel_bytes);
                }
                CHECK(memcmp(pixels, out, pixel_bytes) == 0);
                worked = !fails(detailflow_model_encode(model, &image, again, 4096, &told));
                CHECK(!worked || told == info.token_count);
            }
        }
        detailflow_generation_free(generation);
        detailflow_request_free(request);
        detailflow_model_free(model);
        free(out);
        free(again);
    }
    detailflow_model_options_free(options);
    return worked;
}

/* Loading ONNX Runtime with a call that fails, then again without, in a process of its own. */
static void load(void)
{
    find_functions();
    set_fail_at(fail_at);
    if (!fails(detailflow_runtime_init(NULL, NULL)) && get_failed() == 0) {
        _exit(2);
    }
    set_fail_at(0);
    OK(detailflow_runtime_init(NULL, NULL));
    CHECK(everything());
}

int main(int argc, char **argv)
{
    long stride = argc > 2 ? strtol(argv[2], NULL, 10) : 1, before, tried = 0, tolerated = 0;
    int open_files, status = 0;
    bundle = check_bundle(argc, argv);
    form = argc > 3 ? argv[3] : NULL;
    CHECK(stride > 0);

    for (fail_at = 1; status == 0; fail_at++) {
        status = check_child(load, 100);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 2) {
            check_ended("loading ONNX Runtime", status);
        }
    }
    printf("loading makes %ld calls\n", fail_at - 2);

    find_functions();
    OK(detailflow_runtime_init(NULL, NULL));
    CHECK(everything());
    before = get_calls();
    CHECK(everything());
    before = get_calls() - before;
    open_files = check_descriptors();
    /* A failure at another place each time the program runs with another stride; the last calls always. */
    for (fail_at = 1; fail_at <= before + 1; fail_at += stride) {
        int worked;
        set_fail_at(fail_at);
        worked = everything();
        tried++;
        if (worked && get_failed() != 0) {
            tolerated++;
        }
        set_fail_at(0);
        if (tried % 16 == 0 || stride == 1) {
            CHECK(everything());
        }
        if (check_tasks(NULL) != 0 || check_descriptors() != open_files) {
            fprintf(stderr, "call %ld, function %d: %d threads and %d descriptors are left\n", fail_at, get_failed(),
                    check_tasks(NULL), check_descriptors() - open_files);
            check_failed(__FILE__, __LINE__, "everything()", "leaves something behind");
        }
    }
    CHECK(everything());
    printf("%ld calls, %ld failures, of which %ld changed nothing\n", before, tried, tolerated);
    free(tokens);
    free(pixels);
    return 0;
}
