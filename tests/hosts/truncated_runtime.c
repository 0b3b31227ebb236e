/*
 * An ONNX Runtime, or a plugin, of which only a part is there, as after an interrupted download: a status, not a signal. The
 * whole one works afterwards. ORT_DYLIB_PATH names it.
 *
 *     truncated_runtime BUNDLE
 */
#include "threads.h"

static void write_part(const char *from, long percent)
{
    static char buffer[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen("part.so", "wb");
    long left;
    CHECK(in != NULL && out != NULL);
    CHECK(fseek(in, 0, SEEK_END) == 0);
    left = ftell(in) / 100 * percent;
    rewind(in);
    while (left > 0) {
        size_t count = fread(buffer, 1, left < (long)sizeof buffer ? (size_t)left : sizeof buffer, in);
        CHECK(count > 0 && fwrite(buffer, 1, count, out) == count);
        left -= (long)count;
    }
    fclose(in);
    CHECK(fclose(out) == 0);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv), *whole = getenv("ORT_DYLIB_PATH");
    static const long PERCENT[] = {1, 10, 50, 90, 99};
    detailflow_model *model = NULL;
    detailflow_model_options *options = NULL;
    size_t at, count;
    CHECK(whole != NULL);
    for (at = 0; at < sizeof PERCENT / sizeof *PERCENT; at++) {
        detailflow_runtime_options *library = NULL;
        write_part(whole, PERCENT[at]);
        OK(detailflow_runtime_options_new(&library, NULL));
        OK(detailflow_runtime_options_set_library(library, "part.so"));
        FAILS(detailflow_runtime_init(library, NULL), DETAILFLOW_STATUS_NO_RUNTIME, "truncated");
        detailflow_runtime_options_free(library);
    }
    model = check_open(bundle, 1);
    free(check_draw(model, 1, &count));
    detailflow_model_free(model);
    model = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_device(options, "plugin:part.so"));
    FAILS(detailflow_model_open(bundle, options, &model, NULL), DETAILFLOW_STATUS_NO_DEVICE, "truncated");
    detailflow_model_options_free(options);
    CHECK(model == NULL);
    return 0;
}
