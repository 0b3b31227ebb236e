/* Work in slices, and what is there at every moment: steps, budgets, levels, and all of it again after a cancel at each
 * step. */
#include "check.h"

/* Two pictures of two classes, and what they are in the end. */
struct pair {
    const detailflow_model *model;
    detailflow_model_info info;
    detailflow_request *request;
    uint32_t *tokens[2];
    size_t count;
    uint32_t steps;
};

static struct pair levels_pair(const detailflow_model *model)
{
    struct pair pair;
    detailflow_generation *generation = NULL;
    uint32_t image;
    pair.model = model;
    pair.info = check_info(model);
    pair.request = check_request(model, 2, 70);
    OK(detailflow_request_set_image_source(pair.request, 1, pair.info.class_count - 1, 9));
    OK(detailflow_generate(pair.request, &generation));
    for (image = 0; image < 2; image++) {
        pair.tokens[image] = check_tokens(generation, image, &pair.count);
    }
    CHECK(pair.count == pair.info.token_count);
    detailflow_generation_free(generation);
    pair.steps = check_steps(pair.request);
    CHECK(pair.steps > 1);
    return pair;
}

static void levels_free(struct pair *pair)
{
    free(pair->tokens[0]);
    free(pair->tokens[1]);
    detailflow_request_free(pair->request);
}

/* The finest level that so many tokens complete; all 0 before the first. */
static detailflow_level levels_complete(const struct pair *pair, uint32_t tokens)
{
    detailflow_level found;
    uint32_t at;
    memset(&found, 0, sizeof found);
    for (at = 0; at < pair->info.level_count; at++) {
        detailflow_level level = check_level(pair->model, at);
        if (level.token_count <= tokens) {
            found = level;
        }
    }
    return found;
}

/* What is there is the beginning of the whole, and its finest level is the picture of just that many tokens. */
static void levels_is_readable(const struct pair *pair, detailflow_generation *generation)
{
    detailflow_progress progress = check_progress(generation);
    detailflow_level level = levels_complete(pair, progress.token_count);
    uint32_t image;
    CHECK(progress.image_count == 2);
    CHECK(progress.level_size == level.level_size && progress.level_token_count == level.token_count);
    for (image = 0; image < 2; image++) {
        unsigned char nothing[4] = {7, 7, 7, 7};
        detailflow_image target = check_image(DETAILFLOW_FORMAT_RGBA8, level.level_size, nothing, sizeof nothing);
        CHECK(check_has(generation, image, pair->tokens[image], progress.token_count));
        if (level.token_count == 0) {
            FAILS(detailflow_generation_decode_level(generation, image, &target), DETAILFLOW_STATUS_WRONG_STATE,
                  "level");
            CHECK(nothing[0] == 7 && nothing[3] == 7);
        } else {
            size_t bytes;
            unsigned char *wanted = check_decode(pair->model, pair->tokens[image], level.token_count, &bytes);
            unsigned char *found = (unsigned char *)malloc(bytes);
            CHECK(found != NULL);
            target = check_image(DETAILFLOW_FORMAT_RGBA8, level.level_size, found, bytes);
            OK(detailflow_generation_decode_level(generation, image, &target));
            CHECK(memcmp(found, wanted, bytes) == 0);
            free(found);
            free(wanted);
            CHECK(check_progress(generation).next_decode_ns > 0);
        }
    }
}

/* The model has taken no harm. */
static void levels_is_untouched(const struct pair *pair)
{
    detailflow_generation *generation = NULL;
    OK(detailflow_generate(pair->request, &generation));
    CHECK(check_has(generation, 0, pair->tokens[0], pair->count));
    CHECK(check_has(generation, 1, pair->tokens[1], pair->count));
    detailflow_generation_free(generation);
}

static void levels_on_the_way(const struct pair *pair)
{
    detailflow_generation *generation = NULL;
    detailflow_progress progress;
    uint32_t done;
    OK(detailflow_generation_new(pair->request, &generation));
    levels_is_readable(pair, generation);
    for (done = 1; done <= pair->steps; done++) {
        memset(&progress, 0xA5, sizeof progress);
        progress.struct_size = sizeof progress;
        OK(detailflow_generation_step(generation, &progress));
        CHECK(progress.steps_done == done && progress.steps_left == pair->steps - done);
        /* Steps of this model have run, so the next is predicted, while there is one. */
        CHECK((progress.next_step_ns > 0) == (progress.steps_left > 0));
        levels_is_readable(pair, generation);
    }
    CHECK(progress.level_size == pair->info.image_size && progress.level_token_count == pair->info.token_count);
    detailflow_generation_free(generation);
}

static void levels_advance(const struct pair *pair)
{
    detailflow_generation *generation = NULL;
    detailflow_progress progress;
    uint32_t done;
    progress.struct_size = sizeof progress;

    /* No time is one step. */
    OK(detailflow_generation_new(pair->request, &generation));
    for (done = 1; done <= pair->steps; done++) {
        OK(detailflow_generation_advance(generation, 0, &progress));
        CHECK(progress.steps_done == done && progress.steps_left == pair->steps - done);
    }
    CHECK(check_has(generation, 1, pair->tokens[1], pair->count));
    OK(detailflow_generation_advance(generation, 0, &progress));
    CHECK(progress.steps_done == pair->steps && progress.steps_left == 0);
    detailflow_generation_free(generation);

    /* All the time there is is all steps; so is finish, whoever begins. */
    OK(detailflow_generation_new(pair->request, &generation));
    OK(detailflow_generation_advance(generation, UINT64_MAX, &progress));
    CHECK(progress.steps_done == pair->steps && progress.steps_left == 0);
    CHECK(check_has(generation, 0, pair->tokens[0], pair->count));
    detailflow_generation_free(generation);
    OK(detailflow_generation_new(pair->request, &generation));
    OK(detailflow_generation_advance(generation, 0, NULL));
    OK(detailflow_generation_finish(generation, &progress));
    CHECK(progress.steps_done == pair->steps && progress.steps_left == 0);
    OK(detailflow_generation_finish(generation, NULL));
    OK(detailflow_generation_advance(generation, UINT64_MAX, NULL));
    CHECK(check_has(generation, 0, pair->tokens[0], pair->count));
    CHECK(check_has(generation, 1, pair->tokens[1], pair->count));
    detailflow_generation_free(generation);
}

static void levels_is_cancelled(const struct pair *pair, detailflow_generation *generation)
{
    const detailflow_progress before = check_progress(generation);
    detailflow_progress progress, same;
    memset(&progress, 0xA5, sizeof progress);
    progress.struct_size = sizeof progress;
    same = progress;
    FAILS(detailflow_generation_step(generation, &progress), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    FAILS(detailflow_generation_advance(generation, UINT64_MAX, &progress), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    FAILS(detailflow_generation_finish(generation, &progress), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    CHECK(memcmp(&progress, &same, sizeof progress) == 0);
    CHECK(check_progress(generation).steps_done == before.steps_done);
    CHECK(check_progress(generation).token_count == before.token_count);
    levels_is_readable(pair, generation);
}

static void levels_cancelled_at_each_step(const struct pair *pair)
{
    uint32_t before, at;
    for (before = 0; before <= pair->steps; before++) {
        detailflow_generation *generation = NULL;
        detailflow_cancel *cancel = NULL;
        OK(detailflow_generation_new(pair->request, &generation));
        OK(detailflow_generation_get_cancel(generation, &cancel));
        for (at = 0; at < before; at++) {
            OK(detailflow_generation_step(generation, NULL));
        }
        OK(detailflow_cancel_trigger(cancel, NULL));
        CHECK(check_progress(generation).steps_done == before);
        levels_is_cancelled(pair, generation);
        /* Another level does not wake it. */
        OK(detailflow_generation_set_level_size(generation, 0));
        levels_is_cancelled(pair, generation);
        detailflow_generation_free(generation);
        detailflow_cancel_free(cancel);
        levels_is_untouched(pair);
    }
}

static detailflow_status levels_read(detailflow_generation *generation, detailflow_progress *progress)
{
    return detailflow_generation_get_progress(generation, progress);
}

/* A program of the first version of the header: its struct ends where this one does, with nothing behind it. */
static void levels_first_version(const struct pair *pair)
{
    enum { BYTES = 48, GUARD = 8, NUMBERS = (BYTES + GUARD) / 4 };
    uint32_t *exact = (uint32_t *)malloc(BYTES);
    uint32_t guarded[NUMBERS];
    detailflow_generation *generation = NULL;
    detailflow_status (*const calls[])(detailflow_generation *, detailflow_progress *) = {
        detailflow_generation_step, levels_read, detailflow_generation_finish};
    size_t at;
    CHECK(exact != NULL);
    CHECK(BYTES == sizeof(detailflow_progress));
    OK(detailflow_generation_new(pair->request, &generation));
    for (at = 0; at < sizeof calls / sizeof *calls; at++) {
        memset(exact, 0xA5, BYTES);
        memset(guarded, 0xA5, sizeof guarded);
        exact[0] = BYTES - 1;
        INVALID(calls[at](generation, (detailflow_progress *)(void *)exact), "detailflow_progress.struct_size is 47");
        CHECK(exact[1] == 0xA5A5A5A5);
        exact[0] = guarded[0] = BYTES;
        OK(calls[at](generation, (detailflow_progress *)(void *)exact));
        OK(detailflow_generation_get_progress(generation, (detailflow_progress *)(void *)guarded));
        CHECK(memcmp(exact, guarded, offsetof(detailflow_progress, next_step_ns)) == 0);
        CHECK(exact[0] == BYTES && exact[1] == (at < 2 ? 1 : pair->steps) && exact[2] == pair->steps - exact[1]);
        CHECK(exact[3] == check_progress(generation).token_count && exact[4] == check_progress(generation).prefix_size);
        CHECK(exact[5] == check_progress(generation).level_size);
        CHECK(guarded[NUMBERS - 2] == 0xA5A5A5A5 && guarded[NUMBERS - 1] == 0xA5A5A5A5);
    }
    exact[0] = BYTES;
    OK(detailflow_generation_advance(generation, 0, (detailflow_progress *)(void *)exact));
    CHECK(exact[1] == pair->steps && exact[2] == 0);
    detailflow_generation_free(generation);
    free(exact);
}

/* A finished level goes on to a finer one, without drawing anything again. */
static void levels_go_on(const struct pair *pair)
{
    detailflow_generation *generation = NULL;
    detailflow_level level = check_level(pair->model, 0);
    uint32_t at;
    OK(detailflow_request_set_level_size(pair->request, level.level_size));
    OK(detailflow_generate(pair->request, &generation));
    OK(detailflow_request_set_level_size(pair->request, 0));
    for (at = 0; at < pair->info.level_count; at++) {
        level = check_level(pair->model, at);
        OK(detailflow_generation_set_level_size(generation, level.level_size));
        check_finish(generation);
        CHECK(check_progress(generation).level_size == level.level_size &&
              check_progress(generation).prefix_size == level.level_size);
        CHECK(check_has(generation, 0, pair->tokens[0], level.token_count));
        CHECK(check_has(generation, 1, pair->tokens[1], level.token_count));
        levels_is_readable(pair, generation);
    }
    CHECK(check_progress(generation).steps_done == pair->steps);
    OK(detailflow_generation_set_level_size(generation, 0));
    CHECK(check_progress(generation).steps_left == 0);
    detailflow_generation_free(generation);

    /* The other way: a whole picture that is to stop at a level not passed yet. */
    OK(detailflow_generation_new(pair->request, &generation));
    OK(detailflow_generation_step(generation, NULL));
    level = check_level(pair->model, 0);
    OK(detailflow_generation_set_level_size(generation, level.level_size));
    check_finish(generation);
    CHECK(check_has(generation, 0, pair->tokens[0], level.token_count));
    OK(detailflow_generation_set_level_size(generation, 0));
    check_finish(generation);
    CHECK(check_has(generation, 1, pair->tokens[1], pair->count));
    detailflow_generation_free(generation);
}

static void levels_of_whom(const struct pair *pair)
{
    detailflow_generation *generation = NULL;
    uint32_t class_index = 77;
    uint64_t seed = 77;
    OK(detailflow_generation_new(pair->request, &generation));
    OK(detailflow_generation_get_image_source(generation, 0, &class_index, &seed));
    CHECK(class_index == 0 && seed == 70);
    OK(detailflow_generation_get_image_source(generation, 1, &class_index, NULL));
    CHECK(class_index == pair->info.class_count - 1 && seed == 70);
    OK(detailflow_generation_get_image_source(generation, 1, NULL, &seed));
    CHECK(seed == 9);
    OK(detailflow_generation_get_image_source(generation, 1, NULL, NULL));
    detailflow_generation_free(generation);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    struct pair pair = levels_pair(model);
    levels_on_the_way(&pair);
    levels_advance(&pair);
    levels_cancelled_at_each_step(&pair);
    levels_first_version(&pair);
    levels_go_on(&pair);
    levels_of_whom(&pair);
    levels_free(&pair);
    detailflow_model_free(model);
    return 0;
}
