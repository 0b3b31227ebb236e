/*
 * Generates one sprite with the default bundle and writes it to sprite.png.
 *
 *     cc -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude examples/c/generate.c \
 *        -Ltarget/release -ldetailflow -o target/generate
 *     LD_LIBRARY_PATH=target/release target/generate
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <detailflow.h>
#include <stdio.h>

/* Prints why a call failed: the name of the status, and the message. Returns 0 after success. */
static int failed(const char *what, detailflow_status status)
{
    if (status == DETAILFLOW_STATUS_OK) {
        return 0;
    }
    fprintf(stderr, "%s: %s: %s\n", what, detailflow_status_name(status), detailflow_last_message());
    return 1;
}

int main(void)
{
    detailflow_model *model = NULL;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_progress progress;
    uint32_t class_index = 0;
    const char *class_name = "";
    int result = 1;

    /* 1. Check that the library has everything that the header declares. */
    if (detailflow_abi_version() < DETAILFLOW_ABI_VERSION) {
        fprintf(stderr, "libdetailflow %s is older than its header\n", detailflow_version());
        return 1;
    }

    /* 2. Open a model. NULL is the default bundle, and default options. This also loads ONNX Runtime. */
    if (failed("open the model", detailflow_model_open(NULL, NULL, &model, NULL)))
        goto end;

    /* 3. Find a class by its name. A failed call changes nothing: a model without potions generates class 0. */
    (void)detailflow_model_find_class(model, "potion", &class_index);
    if (failed("get the class", detailflow_model_get_class_name(model, class_index, &class_name)))
        goto end;

    /* 4. Make a request for one picture. The same seed gives the same picture. */
    if (failed("make a request", detailflow_request_new(model, &request)))
        goto end;
    if (failed("set the class", detailflow_request_set_class(request, class_index)))
        goto end;
    if (failed("set the seed", detailflow_request_set_seed(request, 1)))
        goto end;

    /* 5. Generate it, coarse to fine. After every step the tokens so far decode to a whole picture. */
    if (failed("start", detailflow_generation_new(request, &generation)))
        goto end;
    progress.struct_size = sizeof progress;
    do {
        if (failed("generate", detailflow_generation_step(generation, &progress)))
            goto end;
    } while (progress.steps_left > 0);

    /* 6. Write it to a file. detailflow_generation_decode writes the pixels into memory instead. */
    if (failed("save", detailflow_generation_save(generation, 0, "sprite.png")))
        goto end;
    printf("sprite.png: %s, %u x %u pixels, from %u tokens\n", class_name, (unsigned)progress.prefix_size,
           (unsigned)progress.prefix_size, (unsigned)progress.token_count);
    result = 0;

end:
    /* 7. Free all handles, in any order. NULL does nothing. */
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
    return result;
}
