/*
 * pthread_cancel of threads that are inside the library: the call goes on to its end, and the thread ends when the host's
 * own code reaches a cancellation point. Nothing stays locked.
 *
 *     cancelled BUNDLE [ROUNDS]
 */
#include "check.h"

static detailflow_model *model;
static detailflow_request *request;
static int drawing, after;

static void forget(void *generation) { detailflow_generation_free((detailflow_generation *)generation); }

static void *draw(void *argument)
{
    (void)argument;
    for (;;) {
        detailflow_generation *generation = NULL;
        OK(detailflow_generation_new(request, &generation));
        pthread_cleanup_push(forget, generation);
        check_set(&drawing, 1);
        OK(detailflow_generation_finish(generation, NULL));
        OK(detailflow_generation_save(generation, 0, "cancelled.png"));
        check_set(&after, 1);
        pthread_testcancel();
        pthread_cleanup_pop(1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const int rounds = argc > 2 ? atoi(argv[2]) : 50;
    const char *bundle = check_bundle(argc, argv);
    int round;
    model = check_open(bundle, 2);
    request = check_request(model, 4, 1);
    for (round = 0; round < rounds; round++) {
        pthread_t thread;
        void *result = NULL;
        check_set(&drawing, 0);
        check_set(&after, 0);
        CHECK(pthread_create(&thread, NULL, draw, NULL) == 0);
        check_wait(&drawing);
        check_sleep(0.0003 * (round % 11));
        CHECK(pthread_cancel(thread) == 0);
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == PTHREAD_CANCELED && check_get(&after));
    }
    {
        /* The state is the host's: a thread that may not be cancelled, or may, is as it was. */
        int before = -1;
        size_t count;
        CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL) == 0);
        free(check_draw(model, 1, &count));
        CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before) == 0 && before == PTHREAD_CANCEL_DISABLE);
        free(check_draw(model, 1, &count));
        CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before) == 0 && before == PTHREAD_CANCEL_ENABLE);
    }
    detailflow_request_free(request);
    detailflow_model_free(model);
    return 0;
}
