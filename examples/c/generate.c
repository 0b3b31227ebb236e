/*
 * Draws one picture with the default bundle and writes it to sprite.png.
 *
 *     cc -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude examples/c/generate.c \
 *        -Ltarget/release -ldetailflow -lm -o generate
 *     LD_LIBRARY_PATH=target/release ./generate
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <detailflow.h>
#include <stdio.h>

/* Says what went wrong, if anything did: the code's name for the program, the sentence for the person. */
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

    /* 1. The library must know all that the header promises. */
    if (detailflow_abi_version() < DETAILFLOW_ABI_VERSION) {
        fprintf(stderr, "libdetailflow %s is older than its header\n", detailflow_version());
        return 1;
    }

    /* 2. Open a model: NULL is the default bundle, and default options. This also loads ONNX Runtime. */
    if (failed("cannot open the model", detailflow_model_open(NULL, NULL, &model, NULL)))
        goto end;

    /* 3. Choose a class by name. A call that fails changes nothing: without potions it stays class 0. */
    (void)detailflow_model_find_class(model, "potion", &class_index);
    if (failed("no class", detailflow_model_get_class_name(model, class_index, &class_name)))
        goto end;

    /* 4. Ask for one picture. Another seed is another picture; the same seed is the same picture, always. */
    if (failed("cannot make a request", detailflow_request_new(model, &request)))
        goto end;
    if (failed("bad class", detailflow_request_set_class(request, class_index)))
        goto end;
    if (failed("bad seed", detailflow_request_set_seed(request, 1)))
        goto end;

    /* 5. Draw it, coarse to fine: after every step there is a whole picture that could be shown. */
    if (failed("cannot begin", detailflow_generation_new(request, &generation)))
        goto end;
    progress.struct_size = sizeof progress;
    do {
        if (failed("cannot draw", detailflow_generation_step(generation, &progress)))
            goto end;
    } while (progress.steps_left > 0);

    /* 6. Write it to a file. detailflow_generation_decode gives the pixels in memory instead. */
    if (failed("cannot write", detailflow_generation_save(generation, 0, "sprite.png")))
        goto end;
    printf("sprite.png: %s, %u x %u pixels, from %u tokens\n", class_name, (unsigned)progress.prefix_size,
           (unsigned)progress.prefix_size, (unsigned)progress.token_count);
    result = 0;

end:
    /* 7. Free what was made, in any order; NULL is fine. */
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
    return result;
}
