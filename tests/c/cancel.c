/* Cancel before, during and after, from another thread, again and again, and when there is nothing left to cancel. */
#include "check.h"

/* What was drawn stays readable; every later step is CANCELLED. */
static void is_cancelled(detailflow_generation *generation, const uint32_t *drawn, size_t drawn_count)
{
    detailflow_progress progress;
    uint32_t *tokens;
    size_t count;
    progress.struct_size = sizeof progress;
    FAILS(detailflow_generation_step(generation, &progress), DETAILFLOW_CANCELLED, "cancelled");
    FAILS(detailflow_generation_step(generation, NULL), DETAILFLOW_CANCELLED, "cancelled");
    CHECK(detailflow_generation_message(generation, NULL, 0) > 0);
    tokens = check_tokens(generation, 0, &count);
    CHECK(count == check_progress(generation).tokens);
    if (drawn != NULL) {
        CHECK(count >= drawn_count && memcmp(tokens, drawn, drawn_count * sizeof *tokens) == 0);
    }
    if (count > 0) {
        uint32_t size = check_progress(generation).size;
        size_t bytes = (size_t)4 * size * size;
        unsigned char *pixels = (unsigned char *)malloc(bytes);
        detailflow_image image = check_image(DETAILFLOW_RGBA8, size, pixels, bytes);
        CHECK(pixels != NULL);
        OK(detailflow_generation_image(generation, 0, &image));
        OK(detailflow_generation_save(generation, 0, "cancelled.png"));
        free(pixels);
    }
    free(tokens);
}

static void *trigger(void *cancel)
{
    OK(detailflow_cancel_trigger((const detailflow_cancel *)cancel));
    return NULL;
}

static void trigger_elsewhere(detailflow_cancel *cancel)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, trigger, cancel) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void before_and_after(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 2);
    detailflow_generation *generation = NULL;
    detailflow_cancel *cancel = NULL, *second = NULL;
    uint32_t *tokens;
    size_t count;

    /* Before the first step. */
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_cancel_handle(generation, &cancel));
    trigger_elsewhere(cancel);
    is_cancelled(generation, NULL, 0);
    CHECK(check_progress(generation).steps_done == 0);
    trigger_elsewhere(cancel);
    is_cancelled(generation, NULL, 0);
    detailflow_generation_free(generation);
    /* The generation is gone; the handle is not. */
    OK(detailflow_cancel_trigger(cancel));
    OK(detailflow_cancel_trigger(cancel));
    detailflow_cancel_free(cancel);

    /* Between two steps, by a second handle made after the first was freed. */
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_cancel_handle(generation, &cancel));
    detailflow_cancel_free(cancel);
    OK(detailflow_generation_step(generation, NULL));
    tokens = check_tokens(generation, 0, &count);
    OK(detailflow_generation_cancel_handle(generation, &second));
    trigger_elsewhere(second);
    detailflow_cancel_free(second);
    is_cancelled(generation, tokens, count);
    CHECK(check_progress(generation).steps_done == 1);
    free(tokens);
    detailflow_generation_free(generation);

    /* When it is finished: the picture stays. */
    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, 0, &count);
    OK(detailflow_generation_cancel_handle(generation, &cancel));
    trigger_elsewhere(cancel);
    is_cancelled(generation, tokens, count);
    CHECK(check_progress(generation).steps_left == 0);
    free(tokens);
    detailflow_generation_free(generation);
    detailflow_cancel_free(cancel);
    detailflow_request_free(request);
}

struct stepping {
    detailflow_generation *generation;
    int begun;
    detailflow_status status;
};

/* Steps until something else than OK comes, or it is finished. */
static void *step_on(void *argument)
{
    struct stepping *stepping = (struct stepping *)argument;
    detailflow_progress progress;
    progress.struct_size = sizeof progress;
    check_set(&stepping->begun, 1);
    do {
        stepping->status = detailflow_generation_step(stepping->generation, &progress);
    } while (stepping->status == DETAILFLOW_OK && progress.steps_left > 0);
    return NULL;
}

static void during(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.05);
    int seen = 0, round;
    for (round = 0; round < 8 || (seen == 0 && round < 100); round++) {
        struct stepping stepping = {NULL, 0, DETAILFLOW_OK};
        detailflow_cancel *cancel = NULL;
        pthread_t thread;
        double begun;
        OK(detailflow_generation_new(request, &stepping.generation));
        OK(detailflow_generation_cancel_handle(stepping.generation, &cancel));
        CHECK(pthread_create(&thread, NULL, step_on, &stepping) == 0);
        check_wait(&stepping.begun);
        check_sleep(0.004 * (round % 8));
        begun = check_now();
        OK(detailflow_cancel_trigger(cancel));
        OK(detailflow_cancel_trigger(cancel));
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(check_now() - begun < 60);
        CHECK(stepping.status == DETAILFLOW_CANCELLED || stepping.status == DETAILFLOW_OK);
        seen += stepping.status == DETAILFLOW_CANCELLED;
        is_cancelled(stepping.generation, NULL, 0);
        detailflow_generation_free(stepping.generation);
        detailflow_cancel_free(cancel);
    }
    CHECK(seen > 0);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    size_t count, again_count;
    uint32_t *tokens = check_draw(model, 2, &count), *again;
    before_and_after(model);
    during(model);
    /* The model has taken no harm. */
    again = check_draw(model, 2, &again_count);
    CHECK(count == again_count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(tokens);
    free(again);
    detailflow_model_free(model);
    return 0;
}
