/*
 * A thread with the smallest stack that the header allows: everything works there.
 *
 *     small_stack BUNDLE [BYTES]
 */
#include "check.h"

#include <limits.h>

static const char *bundle;

static void *everything(void *argument)
{
    detailflow_model *model = check_open(bundle, 2);
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 4, 1);
    detailflow_generation *generation = NULL;
    size_t count, bytes;
    uint32_t *tokens, again[4096];
    unsigned char *pixels;
    detailflow_image image;

    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, 3, &count);
    pixels = check_decode(model, tokens, count, &bytes);
    image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
    CHECK(info.token_count <= 4096);
    OK(detailflow_model_encode(model, &image, again, 4096, &count));
    OK(detailflow_generation_save(generation, 0, "stack.png"));
    OK(detailflow_generation_save(generation, 0, "stack.jpg"));
    OK(detailflow_generation_save(generation, 0, "stack.webp"));
    OK(detailflow_model_encode_file(model, "stack.png", again, 4096, &count));
    OK(detailflow_model_encode_file(model, "stack.jpg", again, 4096, &count));
    OK(detailflow_model_encode_file(model, "stack.webp", again, 4096, &count));
    free(pixels);
    free(tokens);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
    return argument;
}

int main(int argc, char **argv)
{
    const size_t bytes = argc > 2 ? (size_t)strtoul(argv[2], NULL, 0) : 128 << 10;
    pthread_attr_t attributes;
    pthread_t thread;
    bundle = check_bundle(argc, argv);
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, bytes) == 0);
    CHECK(pthread_create(&thread, &attributes, everything, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}
