/* detailflow_worker_close: no callback after it, BUSY while one does not return, and free still waits. */
#include "check.h"

struct host {
    detailflow_worker *worker;
    /* How often the callback began and ended; whether it may return. */
    int begun, ended, let_go;
    /* What closing gave inside the callback, or -1. */
    int inside;
};

static void hold_event(void *user, detailflow_event *event)
{
    struct host *host = (struct host *)user;
    detailflow_event_free(event);
    __atomic_add_fetch(&host->begun, 1, __ATOMIC_SEQ_CST);
    check_wait(&host->let_go);
    __atomic_add_fetch(&host->ended, 1, __ATOMIC_SEQ_CST);
}

static void close_inside(void *user, detailflow_event *event)
{
    struct host *host = (struct host *)user;
    detailflow_event_free(event);
    __atomic_add_fetch(&host->begun, 1, __ATOMIC_SEQ_CST);
    check_set(&host->inside, (int)detailflow_worker_close(host->worker, UINT64_MAX));
}

static void host_init(struct host *host)
{
    memset(host, 0, sizeof *host);
    host->inside = -1;
    OK(detailflow_worker_new(NULL, &host->worker, NULL));
}

/* Without a callback: jobs end, their last events can be taken, and nothing more is accepted. */
static void close_cancels_jobs_and_refuses_new_ones(const detailflow_model *model)
{
    enum { JOBS = 4 };
    struct host host;
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_generation *generation = NULL;
    detailflow_event *event = NULL;
    uint64_t job = 0;
    size_t pending = 77;
    int at, last = 0;
    host_init(&host);
    for (at = 0; at < JOBS; at++) {
        OK(detailflow_worker_submit(host.worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, &job));
    }
    OK(detailflow_worker_close(host.worker, 0));
    OK(detailflow_worker_close(host.worker, UINT64_MAX));
    FAILS(detailflow_worker_submit(host.worker, request, 0, 0, &job), DETAILFLOW_STATUS_WRONG_STATE, "");
    OK(detailflow_generation_new(request, &generation));
    FAILS(detailflow_worker_submit_generation(host.worker, generation, 0, 0, &job), DETAILFLOW_STATUS_WRONG_STATE, "");
    /* It was not taken. */
    OK(detailflow_generation_step(generation, NULL));
    detailflow_generation_free(generation);
    do {
        OK(detailflow_worker_wait(host.worker, 1000000000, &event));
        last += event != NULL;
        detailflow_event_free(event);
        OK(detailflow_worker_get_pending(host.worker, &pending));
    } while (pending > 0);
    CHECK(last == JOBS);
    OK(detailflow_worker_poll(host.worker, &event));
    CHECK(event == NULL);
    detailflow_worker_free(host.worker);
    detailflow_request_free(request);
}

/* A callback that does not return: BUSY after the time given, and OK once it has returned. */
static void close_is_busy_while_a_callback_runs(const detailflow_model *model)
{
    struct host host;
    detailflow_request *request = check_request(model, 1, 1);
    double begun;
    host_init(&host);
    OK(detailflow_worker_set_callback(host.worker, hold_event, &host));
    OK(detailflow_worker_submit(host.worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    OK(detailflow_worker_submit(host.worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    check_wait(&host.begun);
    FAILS(detailflow_worker_close(host.worker, 0), DETAILFLOW_STATUS_BUSY, "callback");
    begun = check_now();
    FAILS(detailflow_worker_close(host.worker, 50000000), DETAILFLOW_STATUS_BUSY, "callback");
    CHECK(check_now() - begun > 0.045 && check_now() - begun < 60);
    CHECK(check_get(&host.begun) == 1 && check_get(&host.ended) == 0);
    CHECK(MESSAGE(detailflow_worker_get_message, host.worker, NULL, 0) > 0);
    check_set(&host.let_go, 1);
    OK(detailflow_worker_close(host.worker, UINT64_MAX));
    CHECK(check_get(&host.ended) == 1);
    /* The event of the other job does not reach the callback any more. */
    check_sleep(0.02);
    detailflow_worker_free(host.worker);
    CHECK(check_get(&host.begun) == 1 && check_get(&host.ended) == 1);
    detailflow_request_free(request);
}

static void *free_the_worker(void *worker)
{
    detailflow_worker_free((detailflow_worker *)worker);
    return NULL;
}

/* Freeing after BUSY waits for the callback. */
static void free_after_busy_waits_for_the_callback(const detailflow_model *model)
{
    struct host host;
    detailflow_request *request = check_request(model, 1, 1);
    pthread_t thread;
    host_init(&host);
    OK(detailflow_worker_set_callback(host.worker, hold_event, &host));
    OK(detailflow_worker_submit(host.worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    check_wait(&host.begun);
    FAILS(detailflow_worker_close(host.worker, 1000000), DETAILFLOW_STATUS_BUSY, "");
    CHECK(pthread_create(&thread, NULL, free_the_worker, host.worker) == 0);
    check_sleep(0.02);
    CHECK(check_get(&host.ended) == 0);
    check_set(&host.let_go, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(check_get(&host.ended) == 1);
    detailflow_request_free(request);
}

/* Inside the callback it does not wait for itself, and the callback is not called again. */
static void close_inside_the_callback_returns_at_once(const detailflow_model *model)
{
    struct host host;
    detailflow_request *request = check_request(model, 1, 1);
    host_init(&host);
    OK(detailflow_worker_set_callback(host.worker, close_inside, &host));
    OK(detailflow_worker_submit(host.worker, request, 0, 0, NULL));
    OK(detailflow_worker_submit(host.worker, request, 0, 0, NULL));
    check_wait(&host.begun);
    while (check_get(&host.inside) < 0) {
        check_sleep(0.0002);
    }
    CHECK(check_get(&host.inside) == DETAILFLOW_STATUS_OK);
    OK(detailflow_worker_close(host.worker, UINT64_MAX));
    detailflow_worker_free(host.worker);
    CHECK(check_get(&host.begun) == 1);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    close_cancels_jobs_and_refuses_new_ones(model);
    close_is_busy_while_a_callback_runs(model);
    free_after_busy_waits_for_the_callback(model);
    close_inside_the_callback_returns_at_once(model);
    detailflow_model_free(model);
    return 0;
}
