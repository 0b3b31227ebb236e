/* Readers of a generation while another thread steps it: never BUSY, and every state is one that the steps produce. */
#include "check.h"

enum { IMAGES = 2 };

struct shared {
    detailflow_generation *generation;
    detailflow_model_info info;
    /* The tokens of the finished pictures. */
    uint32_t *tokens[IMAGES];
    int done;
};

/* All that can be read, once. */
static void read_all(struct shared *shared, uint32_t *seen)
{
    const detailflow_generation *generation = shared->generation;
    detailflow_progress before = check_progress(generation), after;
    uint32_t image, class_index = 77, *tokens = (uint32_t *)malloc(shared->info.token_count * sizeof *tokens);
    float *values = (float *)malloc(shared->info.token_count * sizeof *values), mean = 0;
    uint64_t seed = 0, work = 0, own = 0, others = 0;
    size_t count = 0;
    CHECK(tokens != NULL && values != NULL);
    CHECK(before.token_count >= *seen && before.image_count == IMAGES);
    for (image = 0; image < IMAGES; image++) {
        OK(detailflow_generation_get_tokens(generation, image, tokens, shared->info.token_count, &count));
        CHECK(count >= before.token_count);
        CHECK(memcmp(tokens, shared->tokens[image], count * sizeof *tokens) == 0);
        OK(detailflow_generation_get_log_probabilities(generation, image, values, shared->info.token_count, &count));
        OK(detailflow_generation_get_mean_log_probability(generation, image, &mean));
        OK(detailflow_generation_get_image_source(generation, image, &class_index, &seed));
        CHECK(class_index == 0 && seed == 1 + image);
    }
    OK(detailflow_generation_get_work(generation, &work));
    OK(detailflow_generation_get_memory(generation, &own, &others));
    after = check_progress(generation);
    CHECK(after.token_count >= before.token_count && after.steps_done >= before.steps_done);
    *seen = after.token_count;
    if (after.level_size > 0) {
        /* The level may be passed meanwhile, and then the picture is larger than the memory: an error that says so. */
        const size_t bytes = (size_t)3 * after.level_size * after.level_size;
        unsigned char *pixels = (unsigned char *)malloc(bytes);
        detailflow_image target = check_image(DETAILFLOW_FORMAT_RGB8, after.level_size, pixels, bytes);
        detailflow_status status = detailflow_generation_decode_level(generation, 0, &target);
        CHECK(pixels != NULL);
        CHECK(status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_INVALID_ARGUMENT);
        if (status != DETAILFLOW_STATUS_OK) {
            CHECK(check_progress(generation).level_size > after.level_size);
        }
        free(pixels);
    }
    free(tokens);
    free(values);
}

static void *read_until_done(void *user)
{
    struct shared *shared = (struct shared *)user;
    uint32_t seen = 0;
    while (!check_get(&shared->done)) {
        read_all(shared, &seen);
        check_sleep(0.0005);
    }
    read_all(shared, &seen);
    CHECK(seen == shared->info.token_count);
    return NULL;
}

static void readers_see_every_step_and_are_never_busy(const detailflow_model *model, int rounds)
{
    enum { READERS = 2 };
    struct shared shared;
    detailflow_request *request = check_request(model, IMAGES, 1);
    detailflow_generation *all = NULL;
    pthread_t threads[READERS];
    size_t count;
    int at, round;
    memset(&shared, 0, sizeof shared);
    shared.info = check_info(model);
    OK(detailflow_request_set_log_probabilities(request, 1));
    OK(detailflow_generate(request, &all));
    for (at = 0; at < IMAGES; at++) {
        shared.tokens[at] = check_tokens(all, (uint32_t)at, &count);
    }
    detailflow_generation_free(all);
    for (round = 0; round < rounds; round++) {
        check_set(&shared.done, 0);
        OK(detailflow_generation_new(request, &shared.generation));
        for (at = 0; at < READERS; at++) {
            CHECK(pthread_create(&threads[at], NULL, read_until_done, &shared) == 0);
        }
        do {
            OK(detailflow_generation_step(shared.generation, NULL));
            sched_yield();
        } while (check_progress(shared.generation).steps_left > 0);
        check_set(&shared.done, 1);
        for (at = 0; at < READERS; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
        }
        detailflow_generation_free(shared.generation);
    }
    for (at = 0; at < IMAGES; at++) {
        free(shared.tokens[at]);
    }
    detailflow_request_free(request);
}

struct stepping {
    detailflow_generation *generation;
    int begun, ended;
};

static void *step_once(void *user)
{
    struct stepping *stepping = (struct stepping *)user;
    check_set(&stepping->begun, 1);
    OK(detailflow_generation_step(stepping->generation, NULL));
    check_set(&stepping->ended, 1);
    return NULL;
}

/* In the middle of a long step a reader answers at once, and sees the state before it. */
static void reader_does_not_wait_for_a_step(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.05);
    struct stepping stepping;
    pthread_t thread;
    int inside = 0;
    double end = check_now() + 60;
    while (!inside) {
        memset(&stepping, 0, sizeof stepping);
        OK(detailflow_generation_new(request, &stepping.generation));
        CHECK(pthread_create(&thread, NULL, step_once, &stepping) == 0);
        check_wait(&stepping.begun);
        while (!check_get(&stepping.ended)) {
            detailflow_progress progress = check_progress(stepping.generation);
            if (progress.steps_done == 0 && !check_get(&stepping.ended)) {
                detailflow_status status = detailflow_generation_set_level_size(stepping.generation, 0);
                CHECK(status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_BUSY);
                inside |= status == DETAILFLOW_STATUS_BUSY;
            }
            check_sleep(0.001);
        }
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(check_progress(stepping.generation).steps_done == 1);
        detailflow_generation_free(stepping.generation);
        CHECK(check_now() < end);
    }
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    readers_see_every_step_and_are_never_busy(model, argc < 3 ? 5 : 1);
    if (argc < 3) {
        reader_does_not_wait_for_a_step(model);
    }
    detailflow_model_free(model);
    return 0;
}
