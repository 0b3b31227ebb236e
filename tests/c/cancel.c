/*
 * Cancel before, during and after, from another thread, again and again, and when there is nothing left to cancel.
 *
 *     cancel BUNDLE [ROUNDS]
 *
 * ROUNDS is how often it is cancelled at a random moment; 1,000 unless told.
 */
#include "check.h"

/* What was drawn stays readable; every later step is CANCELLED. */
static void is_cancelled(detailflow_generation *generation, const uint32_t *drawn, size_t drawn_count)
{
    detailflow_progress progress;
    uint32_t *tokens;
    size_t count;
    progress.struct_size = sizeof progress;
    FAILS(detailflow_generation_step(generation, &progress), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    FAILS(detailflow_generation_step(generation, NULL), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    CHECK(MESSAGE(detailflow_generation_get_message, generation, NULL, 0) > 0);
    tokens = check_tokens(generation, 0, &count);
    CHECK(count == check_progress(generation).token_count);
    if (drawn != NULL) {
        CHECK(count >= drawn_count && memcmp(tokens, drawn, drawn_count * sizeof *tokens) == 0);
    }
    if (count > 0) {
        uint32_t size = check_progress(generation).prefix_size;
        size_t bytes = (size_t)4 * size * size;
        unsigned char *pixels = (unsigned char *)malloc(bytes);
        detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, bytes);
        CHECK(pixels != NULL);
        OK(detailflow_generation_decode(generation, 0, &image));
        OK(detailflow_generation_save(generation, 0, "cancelled.png"));
        free(pixels);
    }
    free(tokens);
}

static void *trigger(void *cancel)
{
    OK(detailflow_cancel_trigger((const detailflow_cancel *)cancel, NULL));
    return NULL;
}

static void trigger_elsewhere(detailflow_cancel *cancel)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, trigger, cancel) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void cancel_before_and_after_a_step(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 2);
    detailflow_generation *generation = NULL;
    detailflow_cancel *cancel = NULL, *second = NULL;
    uint32_t *tokens;
    size_t count;

    /* Before the first step. */
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_get_cancel(generation, &cancel));
    trigger_elsewhere(cancel);
    is_cancelled(generation, NULL, 0);
    CHECK(check_progress(generation).steps_done == 0);
    trigger_elsewhere(cancel);
    is_cancelled(generation, NULL, 0);
    detailflow_generation_free(generation);
    /* The generation is gone; the handle is not. */
    OK(detailflow_cancel_trigger(cancel, NULL));
    OK(detailflow_cancel_trigger(cancel, NULL));
    detailflow_cancel_free(cancel);

    /* Between two steps, by a second handle made after the first was freed. */
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_get_cancel(generation, &cancel));
    detailflow_cancel_free(cancel);
    OK(detailflow_generation_step(generation, NULL));
    tokens = check_tokens(generation, 0, &count);
    OK(detailflow_generation_get_cancel(generation, &second));
    trigger_elsewhere(second);
    detailflow_cancel_free(second);
    is_cancelled(generation, tokens, count);
    CHECK(check_progress(generation).steps_done == 1);
    free(tokens);
    detailflow_generation_free(generation);

    /* When it is finished: the picture stays. */
    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, 0, &count);
    OK(detailflow_generation_get_cancel(generation, &cancel));
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
    } while (stepping->status == DETAILFLOW_STATUS_OK && progress.steps_left > 0);
    return NULL;
}

static void cancel_during_a_step(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.05);
    int seen = 0, round;
    for (round = 0; round < 8 || (seen == 0 && round < 100); round++) {
        struct stepping stepping = {NULL, 0, DETAILFLOW_STATUS_OK};
        detailflow_cancel *cancel = NULL;
        pthread_t thread;
        double begun;
        OK(detailflow_generation_new(request, &stepping.generation));
        OK(detailflow_generation_get_cancel(stepping.generation, &cancel));
        CHECK(pthread_create(&thread, NULL, step_on, &stepping) == 0);
        check_wait(&stepping.begun);
        check_sleep(0.004 * (round % 8));
        begun = check_now();
        OK(detailflow_cancel_trigger(cancel, NULL));
        OK(detailflow_cancel_trigger(cancel, NULL));
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(check_now() - begun < 60);
        CHECK(stepping.status == DETAILFLOW_STATUS_CANCELLED || stepping.status == DETAILFLOW_STATUS_OK);
        seen += stepping.status == DETAILFLOW_STATUS_CANCELLED;
        is_cancelled(stepping.generation, NULL, 0);
        detailflow_generation_free(stepping.generation);
        detailflow_cancel_free(cancel);
    }
    CHECK(seen > 0);
    detailflow_request_free(request);
}

struct cancelling {
    const detailflow_cancel *cancel;
    int *begun;
    double moment;
};

/* Waits until the moment has come, and cancels. */
static void *cancel_at(void *argument)
{
    const struct cancelling *cancelling = (const struct cancelling *)argument;
    double end;
    while (!check_get(cancelling->begun)) {
        sched_yield();
    }
    end = check_now() + cancelling->moment;
    /* Sleeping is not exact enough for short times; waiting awake for long ones would starve the other. */
    if (cancelling->moment > 0.002) {
        check_sleep(cancelling->moment - 0.001);
    }
    while (check_now() < end) {
    }
    OK(detailflow_cancel_trigger(cancelling->cancel, NULL));
    return NULL;
}

/* The picture of each level of some tokens, in the order of the levels. */
struct levels {
    uint32_t count;
    detailflow_level level[64];
    unsigned char *pixels[64];
};

static size_t bytes_of(uint32_t size) { return (size_t)4 * size * size; }

static void decode_levels(const detailflow_model *model, const uint32_t *tokens, struct levels *levels)
{
    uint32_t at;
    levels->count = check_info(model).level_count;
    CHECK(levels->count <= 64);
    for (at = 0; at < levels->count; at++) {
        detailflow_level *level = &levels->level[at];
        detailflow_image image;
        level->struct_size = sizeof *level;
        OK(detailflow_model_get_level(model, at, level));
        levels->pixels[at] = (unsigned char *)malloc(bytes_of(level->level_size));
        CHECK(levels->pixels[at] != NULL);
        image =
            check_image(DETAILFLOW_FORMAT_RGBA8, level->level_size, levels->pixels[at], bytes_of(level->level_size));
        OK(detailflow_model_decode(model, tokens, level->token_count, 0, &image));
    }
}

/* Its tokens begin `tokens`, and the picture of the newest level that is finished can be had, and is right. */
static void is_readable(detailflow_generation *generation, uint32_t picture, const uint32_t *tokens,
                        const struct levels *levels)
{
    const detailflow_progress progress = check_progress(generation);
    size_t count;
    uint32_t *drawn = check_tokens(generation, picture, &count);
    unsigned char *pixels = (unsigned char *)malloc(bytes_of(progress.level_size) + 1);
    detailflow_image image =
        check_image(DETAILFLOW_FORMAT_RGBA8, progress.level_size, pixels, bytes_of(progress.level_size));
    uint32_t at, finished = 0;
    CHECK(pixels != NULL);
    CHECK(count == progress.token_count && memcmp(drawn, tokens, count * sizeof *drawn) == 0);
    while (finished < levels->count && levels->level[finished].token_count <= count) {
        finished++;
    }
    if (finished == 0) {
        CHECK(progress.level_size == 0 && progress.level_token_count == 0);
        FAILS(detailflow_generation_decode_level(generation, picture, &image), DETAILFLOW_STATUS_WRONG_STATE,
              "no level");
    } else {
        at = finished - 1;
        CHECK(progress.level_size == levels->level[at].level_size &&
              progress.level_token_count == levels->level[at].token_count);
        OK(detailflow_generation_decode_level(generation, picture, &image));
        CHECK(memcmp(pixels, levels->pixels[at], bytes_of(progress.level_size)) == 0);
    }
    free(pixels);
    free(drawn);
}

/* From another thread, at random moments of the whole: each time CANCELLED or finished, what was drawn is readable and
 * right, and the next generation draws what a fresh one does. */
static void cancel_at_random_moments(const detailflow_model *model, int rounds)
{
    enum { PICTURES = 2 };
    detailflow_request *request = check_request(model, PICTURES, 5);
    detailflow_generation *generation = NULL;
    uint32_t *tokens[PICTURES], at;
    struct levels levels[PICTURES];
    size_t count, length;
    uint64_t random = 88172645463325252u;
    double took = 1e9;
    int round, cancelled = 0, running = 0;

    for (round = 0; round < 3; round++) {
        const double begun = check_now();
        detailflow_generation_free(generation);
        OK(detailflow_generate(request, &generation));
        took = check_now() - begun < took ? check_now() - begun : took;
    }
    for (at = 0; at < PICTURES; at++) {
        tokens[at] = check_tokens(generation, at, &length);
        decode_levels(model, tokens[at], &levels[at]);
    }
    detailflow_generation_free(generation);

    for (round = 0; round < rounds || (cancelled == 0 && round < 10 * rounds); round++) {
        struct stepping stepping = {NULL, 0, DETAILFLOW_STATUS_OK};
        struct cancelling cancelling;
        detailflow_cancel *cancel = NULL;
        pthread_t thread;
        OK(detailflow_generation_new(request, &stepping.generation));
        OK(detailflow_generation_get_cancel(stepping.generation, &cancel));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        cancelling.cancel = cancel;
        cancelling.begun = &stepping.begun;
        cancelling.moment = took * (double)(random % 1000) * 1e-3;
        CHECK(pthread_create(&thread, NULL, cancel_at, &cancelling) == 0);
        step_on(&stepping);
        CHECK(stepping.status == DETAILFLOW_STATUS_CANCELLED || stepping.status == DETAILFLOW_STATUS_OK);
        CHECK(stepping.status == DETAILFLOW_STATUS_CANCELLED || check_progress(stepping.generation).steps_left == 0);
        cancelled += stepping.status == DETAILFLOW_STATUS_CANCELLED;
        running += stepping.status == DETAILFLOW_STATUS_CANCELLED && check_progress(stepping.generation).steps_done > 0;
        for (at = 0; at < PICTURES; at++) {
            is_readable(stepping.generation, at, tokens[at], &levels[at]);
        }
        CHECK(pthread_join(thread, NULL) == 0);
        FAILS(detailflow_generation_step(stepping.generation, NULL), DETAILFLOW_STATUS_CANCELLED, "cancelled");
        detailflow_generation_free(stepping.generation);
        detailflow_cancel_free(cancel);

        OK(detailflow_generate(request, &generation));
        for (at = 0; at < PICTURES; at++) {
            uint32_t *again = check_tokens(generation, at, &count);
            CHECK(count == length && memcmp(again, tokens[at], count * sizeof *again) == 0);
            free(again);
        }
        detailflow_generation_free(generation);
    }
    CHECK(cancelled > 0);
    printf("of %d random moments %d came before the end, %d of them after the first step\n", round, cancelled, running);
    for (at = 0; at < PICTURES; at++) {
        while (levels[at].count > 0) {
            free(levels[at].pixels[--levels[at].count]);
        }
        free(tokens[at]);
    }
    detailflow_request_free(request);
}

/* Reading a picture file is cancelled by a handle of its own kind, and works with one that is not triggered. */
static void cancel_reading_a_picture(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
    uint32_t *others = (uint32_t *)malloc(info.token_count * sizeof *others);
    unsigned char pixels[3 * 40 * 30];
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGB8, 40, pixels, sizeof pixels);
    detailflow_cancel *cancel, *of_generation;
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_generation *generation;
    size_t count = 0, at;
    CHECK(tokens != NULL && others != NULL);
    for (at = 0; at < sizeof pixels; at++) {
        pixels[at] = (unsigned char)(at * 7);
    }
    image.height = 30;
    OK(detailflow_image_save(&image, "to-read.png", NULL));
    OK(detailflow_cancel_new(&cancel, NULL));
    OK(detailflow_model_encode_file(model, "to-read.png", tokens, info.token_count, &count));
    OK(detailflow_model_encode_file_cancellable(model, "to-read.png", cancel, others, info.token_count, &count));
    CHECK(memcmp(tokens, others, count * sizeof *tokens) == 0);
    OK(detailflow_model_encode_file_cancellable(model, "to-read.png", NULL, others, info.token_count, &count));
    OK(detailflow_model_encode_file_with_effort(model, "to-read.png", 0, cancel, others, info.token_count, &count));
    CHECK(memcmp(tokens, others, count * sizeof *tokens) == 0);
    OK(detailflow_model_encode_file_with_effort(model, "to-read.png", 1, cancel, others, info.token_count, &count));
    CHECK(count == info.token_count && memcmp(tokens, others, count * sizeof *tokens) != 0);
    OK(detailflow_model_encode_with_effort(model, &image, 1, NULL, NULL, 0, &count));
    CHECK(count == info.token_count);
    INVALID(detailflow_model_encode_with_effort(model, &image, 5, NULL, others, info.token_count, &count),
            "effort is 5; 0 to 4 are allowed");
    OK(detailflow_cancel_trigger(cancel, NULL));
    FAILS(detailflow_model_encode_file_cancellable(model, "to-read.png", cancel, others, info.token_count, &count),
          DETAILFLOW_STATUS_CANCELLED, "cancelled");
    FAILS(detailflow_model_encode_file_with_effort(model, "to-read.png", 4, cancel, others, info.token_count, &count),
          DETAILFLOW_STATUS_CANCELLED, "cancelled");
    FAILS(detailflow_model_encode_with_effort(model, &image, 4, cancel, others, info.token_count, &count),
          DETAILFLOW_STATUS_CANCELLED, "cancelled");
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_get_cancel(generation, &of_generation));
    INVALID(
        detailflow_model_encode_file_cancellable(model, "to-read.png", of_generation, others, info.token_count, &count),
        "detailflow_cancel_new");
    detailflow_cancel_free(of_generation);
    detailflow_cancel_free(cancel);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    free(tokens);
    free(others);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    size_t count, again_count;
    uint32_t *tokens = check_draw(model, 2, &count), *again;
    cancel_before_and_after_a_step(model);
    cancel_during_a_step(model);
    if (check_info(model).can_encode) {
        cancel_reading_a_picture(model);
    }
    cancel_at_random_moments(model, argc > 2 ? atoi(argv[2]) : 1000);
    /* The model has taken no harm. */
    again = check_draw(model, 2, &again_count);
    CHECK(count == again_count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(tokens);
    free(again);
    detailflow_model_free(model);
    return 0;
}
