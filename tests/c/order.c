/*
 * Every order of freeing is fine, and what is left works until it is freed itself.
 *
 *     order BUNDLE [few]      few: every seventh order, where a process is slow
 */
#include "check.h"

enum { OPTIONS, MODEL, REQUEST, GENERATION, CANCEL, HANDLES };

struct handles {
    detailflow_model_options *options;
    detailflow_model *model;
    detailflow_request *request;
    detailflow_generation *generation;
    detailflow_cancel *cancel;
    int there[HANDLES];
};

static struct handles make(const char *bundle)
{
    struct handles all;
    int at;
    memset(&all, 0, sizeof all);
    OK(detailflow_model_options_new(&all.options, NULL));
    OK(detailflow_model_options_set_threads(all.options, 1));
    OK(detailflow_model_open(bundle, all.options, &all.model, NULL));
    OK(detailflow_request_new(all.model, &all.request));
    OK(detailflow_generation_new(all.request, &all.generation));
    OK(detailflow_generation_get_cancel(all.generation, &all.cancel));
    for (at = 0; at < HANDLES; at++) {
        all.there[at] = 1;
    }
    return all;
}

static void drop(struct handles *all, int which)
{
    CHECK(all->there[which]);
    all->there[which] = 0;
    switch (which) {
    case OPTIONS: detailflow_model_options_free(all->options); break;
    case MODEL: detailflow_model_free(all->model); break;
    case REQUEST: detailflow_request_free(all->request); break;
    case GENERATION: detailflow_generation_free(all->generation); break;
    default: detailflow_cancel_free(all->cancel); break;
    }
}

/* Whatever is still there can be used. */
static void use(struct handles *all)
{
    if (all->there[OPTIONS]) {
        OK(detailflow_model_options_set_threads(all->options, 1));
    }
    if (all->there[MODEL]) {
        CHECK(check_info(all->model).image_size > 0);
    }
    if (all->there[REQUEST]) {
        detailflow_generation *generation = NULL;
        OK(detailflow_request_set_seed(all->request, 9));
        OK(detailflow_generation_new(all->request, &generation));
        OK(detailflow_generation_step(generation, NULL));
        detailflow_generation_free(generation);
    }
    if (all->there[GENERATION]) {
        size_t count;
        OK(detailflow_generation_step(all->generation, NULL));
        free(check_tokens(all->generation, 0, &count));
        CHECK(count == check_progress(all->generation).token_count);
    }
    if (all->there[CANCEL] && !all->there[GENERATION]) {
        OK(detailflow_cancel_trigger(all->cancel, NULL));
    }
}

static int every = 1;

static void handles_are_freed_in_any_order(const char *bundle, int *order, int fixed)
{
    static int turn;
    int at;
    if (fixed == HANDLES) {
        struct handles all;
        if (turn++ % every != 0) {
            return;
        }
        all = make(bundle);
        use(&all);
        for (at = 0; at < HANDLES; at++) {
            drop(&all, order[at]);
            use(&all);
        }
        return;
    }
    for (at = fixed; at < HANDLES; at++) {
        int other = order[fixed];
        order[fixed] = order[at];
        order[at] = other;
        handles_are_freed_in_any_order(bundle, order, fixed + 1);
        order[at] = order[fixed];
        order[fixed] = other;
    }
}

/* A picture is finished, looked at and saved when all that it came from is gone. */
static void generation_outlives_its_model(const char *bundle)
{
    struct handles all = make(bundle);
    detailflow_cancel *second = NULL;
    detailflow_progress progress;
    detailflow_image image;
    unsigned char *pixels;

    drop(&all, MODEL);
    drop(&all, OPTIONS);
    drop(&all, REQUEST);
    OK(detailflow_generation_get_cancel(all.generation, &second));
    drop(&all, CANCEL);
    progress.struct_size = sizeof progress;
    do {
        OK(detailflow_generation_step(all.generation, &progress));
    } while (progress.steps_left > 0);
    pixels = (unsigned char *)malloc((size_t)3 * progress.prefix_size * progress.prefix_size);
    CHECK(pixels != NULL);
    image = check_image(DETAILFLOW_FORMAT_RGB8, progress.prefix_size, pixels,
                        (size_t)3 * progress.prefix_size * progress.prefix_size);
    OK(detailflow_generation_decode(all.generation, 0, &image));
    OK(detailflow_generation_save(all.generation, 0, "orphan.png"));
    drop(&all, GENERATION);
    OK(detailflow_cancel_trigger(second, NULL));
    OK(detailflow_cancel_trigger(second, NULL));
    detailflow_cancel_free(second);
    free(pixels);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    int order[HANDLES] = {OPTIONS, MODEL, REQUEST, GENERATION, CANCEL};
    every = argc > 2 && strcmp(argv[2], "few") == 0 ? 7 : 1;
    handles_are_freed_in_any_order(bundle, order, 0);
    generation_outlives_its_model(bundle);
    return 0;
}
