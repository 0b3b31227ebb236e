/* Two threads in one handle: BUSY where it is not const, both served where it is; freeing waits for a step. */
#include "check.h"

struct work {
    detailflow_generation *generation;
    const detailflow_request *request;
    uint32_t *tokens;
    size_t count;
    int begun, done, busy;
    detailflow_status status;
};

/* Steps and looks until the picture is finished, together with others who do the same. */
static void *hammer(void *argument)
{
    struct work *work = (struct work *)argument;
    for (;;) {
        detailflow_progress progress;
        size_t count = 0;
        detailflow_status status;
        progress.struct_size = sizeof progress;
        progress.steps_left = 1;
        status = detailflow_generation_step(work->generation, &progress);
        if (status == DETAILFLOW_STATUS_OK && progress.steps_left == 0) {
            return NULL;
        }
        CHECK(status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_BUSY);
        work->busy += status == DETAILFLOW_STATUS_BUSY;
        status = detailflow_generation_get_tokens(work->generation, 0, NULL, 0, &count);
        CHECK(status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_BUSY);
        if (status == DETAILFLOW_STATUS_BUSY) {
            CHECK(count == 0);
            CHECK(strstr(detailflow_last_message(), "another thread") != NULL);
            sched_yield();
        }
    }
}

static void generation_admits_one_thread(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 2, 21);
    int round, busy = 0;
    size_t wanted_count;
    uint32_t *wanted = check_draw(model, 21, &wanted_count);
    for (round = 0; round < 5; round++) {
        struct work work[2];
        pthread_t threads[2];
        uint32_t *tokens;
        size_t count;
        int at;
        memset(work, 0, sizeof work);
        OK(detailflow_generation_new(request, &work[0].generation));
        work[1].generation = work[0].generation;
        for (at = 0; at < 2; at++) {
            CHECK(pthread_create(&threads[at], NULL, hammer, &work[at]) == 0);
        }
        for (at = 0; at < 2; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
            busy += work[at].busy;
        }
        /* As if one thread had drawn it. */
        tokens = check_tokens(work[0].generation, 0, &count);
        CHECK(count == wanted_count && memcmp(tokens, wanted, count * sizeof *tokens) == 0);
        free(tokens);
        detailflow_generation_free(work[0].generation);
    }
    printf("%d times busy\n", busy);
    free(wanted);
    detailflow_request_free(request);
}

/* One step, then nothing more with the handle. */
static void *step_once(void *argument)
{
    struct work *work = (struct work *)argument;
    check_set(&work->begun, 1);
    work->status = detailflow_generation_step(work->generation, NULL);
    check_set(&work->done, 1);
    return NULL;
}

/* While a long step runs: every call that needs the handle is BUSY, those that take it as const are not. */
static void second_thread_gets_busy(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.1);
    int round, seen = 0;
    for (round = 0; round < 50 && !seen; round++) {
        struct work work;
        pthread_t thread;
        detailflow_cancel *cancel = NULL;
        memset(&work, 0, sizeof work);
        OK(detailflow_generation_new(request, &work.generation));
        CHECK(pthread_create(&thread, NULL, step_once, &work) == 0);
        check_wait(&work.begun);
        while (!check_get(&work.done)) {
            detailflow_status status;
            OK(detailflow_generation_get_cancel(work.generation, &cancel));
            detailflow_cancel_free(cancel);
            check_forget();
            status = detailflow_generation_set_level_size(work.generation, 0);
            if (status == DETAILFLOW_STATUS_BUSY) {
                char message[256];
                CHECK(strstr(detailflow_last_message(), "detailflow_generation") != NULL);
                CHECK(MESSAGE(detailflow_generation_get_message, work.generation, message, sizeof message) > 0);
                CHECK(strstr(message, "another thread") != NULL);
                seen = 1;
            } else {
                CHECK(status == DETAILFLOW_STATUS_OK);
            }
        }
        CHECK(pthread_join(thread, NULL) == 0);
        /* The step itself was not disturbed. */
        CHECK(work.status == DETAILFLOW_STATUS_OK || work.status == DETAILFLOW_STATUS_BUSY);
        CHECK(check_progress(work.generation).steps_done == (work.status == DETAILFLOW_STATUS_OK));
        detailflow_generation_free(work.generation);
    }
    CHECK(seen);
    detailflow_request_free(request);
}

/* Freeing a generation that steps cancels the step and waits for it. */
static void generation_free_waits_for_the_step(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.1);
    int round, cancelled = 0;
    for (round = 0; round < 10 || (cancelled == 0 && round < 100); round++) {
        struct work work;
        pthread_t thread;
        detailflow_status status = DETAILFLOW_STATUS_OK;
        double begun;
        memset(&work, 0, sizeof work);
        OK(detailflow_generation_new(request, &work.generation));
        CHECK(pthread_create(&thread, NULL, step_once, &work) == 0);
        while (status != DETAILFLOW_STATUS_BUSY && !check_get(&work.done)) {
            /* Between this look and its step the other thread can be told BUSY itself; then it is done. */
            if (check_get(&work.begun)) {
                status = detailflow_generation_set_level_size(work.generation, 0);
            }
        }
        begun = check_now();
        detailflow_generation_free(work.generation);
        CHECK(check_now() - begun < 60);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(work.status == DETAILFLOW_STATUS_CANCELLED || work.status == DETAILFLOW_STATUS_OK ||
              work.status == DETAILFLOW_STATUS_BUSY);
        cancelled += work.status == DETAILFLOW_STATUS_CANCELLED;
    }
    CHECK(cancelled > 0);
    detailflow_request_free(request);
}

static void *draw(void *argument)
{
    struct work *work = (struct work *)argument;
    detailflow_generation *generation = NULL;
    OK(detailflow_generate(work->request, &generation));
    work->tokens = check_tokens(generation, 0, &work->count);
    detailflow_generation_free(generation);
    return NULL;
}

/* A request is const where it is drawn: two threads may do it at once. So is a model. */
static void model_is_shared_by_threads(detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 33);
    int round;
    for (round = 0; round < 5; round++) {
        struct work work[2];
        pthread_t threads[2];
        int at;
        memset(work, 0, sizeof work);
        for (at = 0; at < 2; at++) {
            work[at].request = request;
            CHECK(pthread_create(&threads[at], NULL, draw, &work[at]) == 0);
        }
        for (at = 0; at < 2; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
        }
        CHECK(work[0].count == work[1].count);
        CHECK(memcmp(work[0].tokens, work[1].tokens, work[0].count * sizeof(uint32_t)) == 0);
        free(work[0].tokens);
        free(work[1].tokens);
    }
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    generation_admits_one_thread(model);
    second_thread_gets_busy(model);
    generation_free_waits_for_the_step(model);
    model_is_shared_by_threads(model);
    detailflow_model_free(model);
    return 0;
}
