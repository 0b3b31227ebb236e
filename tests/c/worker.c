/*
 * Work in the background: every function of it; what is told and in which order; cancelling, freeing and callbacks at
 * moments that nobody chose.
 *
 *     worker BUNDLE LARGE [few]
 *
 * LARGE is a bundle of which no machine can draw a million pictures at once.
 */
#include "check.h"

#define SECOND UINT64_C(1000000000)
#define FOREVER UINT64_MAX

/* One that draws up to so many pictures together. */
static detailflow_worker *start_batch(uint32_t threads, uint32_t batch)
{
    detailflow_worker_options *options = NULL;
    detailflow_worker *worker = NULL;
    OK(detailflow_worker_options_new(&options, NULL));
    OK(detailflow_worker_options_set_threads(options, threads));
    OK(detailflow_worker_options_set_batch_size(options, batch));
    OK(detailflow_worker_new(options, &worker, NULL));
    detailflow_worker_options_free(options);
    CHECK(worker != NULL);
    return worker;
}

static detailflow_worker *start(uint32_t threads) { return start_batch(threads, 0); }

static size_t pending(const detailflow_worker *worker)
{
    size_t count = 4711;
    OK(detailflow_worker_get_pending(worker, &count));
    return count;
}

static void settle(const detailflow_worker *worker)
{
    double end = check_now() + 100;
    while (pending(worker) > 0) {
        CHECK(check_now() < end);
        check_sleep(0.0005);
    }
}

static detailflow_event_info info_of(const detailflow_event *event)
{
    detailflow_event_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(detailflow_event_get_info(event, &info, NULL));
    CHECK(info.struct_size == sizeof info);
    return info;
}

static detailflow_event *next(const detailflow_worker *worker)
{
    detailflow_event *event = NULL;
    OK(detailflow_worker_wait(worker, FOREVER, &event));
    CHECK(event != NULL);
    return event;
}

/* No event, in whatever way it is asked for. */
static void nothing(const detailflow_worker *worker)
{
    detailflow_event *event = (detailflow_event *)(void *)&event;
    OK(detailflow_worker_poll(worker, &event));
    CHECK(event == NULL);
    event = (detailflow_event *)(void *)&event;
    OK(detailflow_worker_wait(worker, 0, &event));
    CHECK(event == NULL);
    event = (detailflow_event *)(void *)&event;
    OK(detailflow_worker_wait(worker, 1000000, &event));
    CHECK(event == NULL);
}

/* What the pictures of a request are in the end. */
struct whole {
    uint32_t count;
    size_t length;
    uint32_t *tokens[8];
};

static struct whole draw_whole(const detailflow_request *request, uint32_t count)
{
    struct whole whole;
    detailflow_generation *generation = NULL;
    uint32_t at;
    whole.count = count;
    OK(detailflow_generate(request, &generation));
    for (at = 0; at < count; at++) {
        whole.tokens[at] = check_tokens(generation, at, &whole.length);
    }
    detailflow_generation_free(generation);
    return whole;
}

static void free_whole(struct whole *whole)
{
    uint32_t at;
    for (at = 0; at < whole->count; at++) {
        free(whole->tokens[at]);
    }
}

/* Its tokens begin those of the request, and its pictures are what the newest level's tokens decode to. */
static void check_event(const detailflow_model *model, const detailflow_event *event, const struct whole *whole)
{
    detailflow_event_info info = info_of(event);
    uint32_t *tokens = (uint32_t *)malloc((whole->length + 1) * sizeof *tokens);
    uint32_t at;
    size_t count;
    char text[64] = "untouched";
    CHECK(tokens != NULL && info.image_count == whole->count && info.level_token_count <= info.token_count);
    for (at = 0; at < whole->count; at++) {
        const size_t bytes = (size_t)4 * info.level_size * info.level_size;
        unsigned char *mine = (unsigned char *)malloc(bytes + 1), *wanted = (unsigned char *)malloc(bytes + 1);
        detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, info.level_size, mine, bytes);
        CHECK(mine != NULL && wanted != NULL);
        OK(detailflow_event_get_tokens(event, at, NULL, 0, &count, NULL));
        CHECK(count == info.token_count);
        OK(detailflow_event_get_tokens(event, at, tokens, whole->length, &count, NULL));
        CHECK(count == info.token_count && memcmp(tokens, whole->tokens[at], count * sizeof *tokens) == 0);
        if (info.level_size > 0) {
            OK(detailflow_event_decode_level(event, at, &image, NULL));
            image.pixels = wanted;
            OK(detailflow_model_decode(model, whole->tokens[at], info.level_token_count, 0, &image));
            CHECK(memcmp(mine, wanted, bytes) == 0);
            image.width++;
            FAILS(detailflow_event_decode_level(event, at, &image, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT,
                  "the picture is");
        } else {
            FAILS(detailflow_event_decode_level(event, at, &image, NULL), DETAILFLOW_STATUS_WRONG_STATE,
                  "no level is complete yet");
        }
        free(mine);
        free(wanted);
    }
    if (info.token_count > 0) {
        FAILS(detailflow_event_get_tokens(event, 0, tokens, info.token_count - 1, &count, NULL),
              DETAILFLOW_STATUS_INVALID_ARGUMENT, "room");
    }
    FAILS(detailflow_event_get_tokens(event, whole->count, NULL, 0, &count, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "out of range");
    if (info.kind == DETAILFLOW_EVENT_KIND_CANCELLED) {
        CHECK(info.status == DETAILFLOW_STATUS_CANCELLED);
        CHECK(JOB_MESSAGE(event, text, sizeof text) == 9 && strcmp(text, "cancelled") == 0);
    } else {
        CHECK(info.kind == DETAILFLOW_EVENT_KIND_LEVEL || info.kind == DETAILFLOW_EVENT_KIND_DONE);
        CHECK(info.status == DETAILFLOW_STATUS_OK);
        CHECK(JOB_MESSAGE(event, text, sizeof text) == 0 && text[0] == 0);
    }
    free(tokens);
}

static void worker_refuses_wrong_arguments(const detailflow_model *model)
{
    char marker;
    detailflow_worker *worker = (detailflow_worker *)(void *)&marker;
    detailflow_worker_options *options = NULL;
    detailflow_event *event = (detailflow_event *)(void *)&marker;
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_generation *generation = NULL;
    detailflow_event_info info;
    uint64_t job = 77;
    uint32_t token = 77;
    size_t count = 77;
    unsigned char pixel[4] = {0};
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    char text[8] = "abc";
    const detailflow_status bad = DETAILFLOW_STATUS_INVALID_ARGUMENT;

    detailflow_worker_free(NULL);
    detailflow_worker_options_free(NULL);
    detailflow_event_free(NULL);
    FAILS(detailflow_worker_options_new(NULL, NULL), bad, "options is NULL");
    FAILS(detailflow_worker_options_set_threads(NULL, 1), bad, "options is NULL");
    FAILS(detailflow_worker_options_set_batch_size(NULL, 1), bad, "options is NULL");
    FAILS(detailflow_worker_options_set_batch_bytes(NULL, 1), bad, "options is NULL");
    FAILS(detailflow_worker_options_set_event_bytes(NULL, 1), bad, "options is NULL");
    FAILS(detailflow_worker_new(NULL, NULL, NULL), bad, "worker is NULL");
    FAILS(detailflow_worker_submit(NULL, request, 0, 0, &job), bad, "worker is NULL");
    FAILS(detailflow_worker_submit_generation(NULL, NULL, 0, 0, &job), bad, "worker is NULL");
    FAILS(detailflow_worker_poll(NULL, &event), bad, "worker is NULL");
    FAILS(detailflow_worker_wait(NULL, FOREVER, &event), bad, "worker is NULL");
    FAILS(detailflow_worker_cancel(NULL, 1), bad, "worker is NULL");
    FAILS(detailflow_worker_cancel_all(NULL), bad, "worker is NULL");
    FAILS(detailflow_worker_get_pending(NULL, &count), bad, "worker is NULL");
    FAILS(detailflow_worker_set_callback(NULL, NULL, NULL), bad, "worker is NULL");
    FAILS(detailflow_event_get_info(NULL, &info, NULL), bad, "event is NULL");
    FAILS(detailflow_event_get_tokens(NULL, 0, &token, 1, &count, NULL), bad, "event is NULL");
    FAILS(detailflow_event_decode_level(NULL, 0, &image, NULL), bad, "event is NULL");
    INVALID(detailflow_worker_get_message(NULL, text, sizeof text, NULL), "worker is NULL");
    INVALID(detailflow_event_get_job_message(NULL, text, sizeof text, NULL, NULL), "event is NULL");
    CHECK(worker == (detailflow_worker *)(void *)&marker && event == (detailflow_event *)(void *)&marker);
    CHECK(job == 77 && token == 77 && count == 77 && strcmp(text, "abc") == 0);

    OK(detailflow_worker_options_new(&options, NULL));
    FAILS(detailflow_worker_options_set_threads(options, 65), bad, "65 threads");
    FAILS(detailflow_worker_options_set_threads(options, 65), bad, "65 threads");
    FAILS(detailflow_worker_options_set_event_bytes(options, 0), bad, "at least 1");
    FAILS(detailflow_worker_options_set_batch_bytes(options, 0), bad, "at least 1");
    OK(detailflow_worker_options_set_batch_size(options, 0));
    OK(detailflow_worker_options_set_batch_size(options, UINT32_MAX));
    OK(detailflow_worker_options_set_batch_bytes(options, UINT64_MAX));
    OK(detailflow_worker_options_set_threads(options, 64));
    OK(detailflow_worker_options_set_event_bytes(options, SIZE_MAX));
    OK(detailflow_worker_new(options, &worker, NULL));
    detailflow_worker_free(worker);
    detailflow_worker_options_free(options);

    OK(detailflow_worker_new(NULL, &worker, NULL));
    CHECK(MESSAGE(detailflow_worker_get_message, worker, NULL, 0) == 0);
    FAILS(detailflow_worker_submit(worker, NULL, 0, 0, &job), bad, "request is NULL");
    FAILS(detailflow_worker_submit(worker, request, 0, 8, &job), bad, "flags is 0x8");
    FAILS(detailflow_worker_submit_generation(worker, NULL, 0, 0, &job), bad, "generation is NULL");
    OK(detailflow_generation_new(request, &generation));
    FAILS(detailflow_worker_submit_generation(worker, generation, 0, 0x80000000u, &job), bad, "flags");
    OK(detailflow_generation_step(generation, NULL)); /* It stayed ours. */
    detailflow_generation_free(generation);
    FAILS(detailflow_worker_poll(worker, NULL), bad, "event is NULL");
    FAILS(detailflow_worker_wait(worker, FOREVER, NULL), bad, "event is NULL");
    FAILS(detailflow_worker_get_pending(worker, NULL), bad, "count is NULL");
    FAILS(detailflow_worker_cancel(worker, 0), bad, "job 0 was never submitted");
    FAILS(detailflow_worker_cancel(worker, 1), bad, "job 1 was never submitted");
    CHECK(MESSAGE(detailflow_worker_get_message, worker, text, sizeof text) > 8 && strcmp(text, "job 1 w") == 0);
    OK(detailflow_worker_cancel_all(worker));
    OK(detailflow_worker_set_callback(worker, NULL, NULL));
    CHECK(job == 77 && pending(worker) == 0);
    nothing(worker);

    OK(detailflow_worker_submit(worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    event = next(worker);
    FAILS(detailflow_event_get_info(event, NULL, NULL), bad, "info is NULL");
    info.struct_size = sizeof info - 1;
    FAILS(detailflow_event_get_info(event, &info, NULL), bad, "struct_size");
    FAILS(detailflow_event_get_tokens(event, 0, NULL, 1, &count, NULL), bad, "tokens is NULL");
    FAILS(detailflow_event_get_tokens(event, 0, NULL, 0, NULL, NULL), bad, "count is NULL");
    FAILS(detailflow_event_decode_level(event, 0, NULL, NULL), bad, "image is NULL");
    CHECK(JOB_MESSAGE(event, NULL, 0) == 0);
    detailflow_event_free(event);
    detailflow_request_free(request);
    detailflow_worker_free(worker);
}

static void events_come_level_by_level(const detailflow_model *model)
{
    const detailflow_model_info about = check_info(model);
    detailflow_request *request = check_request(model, 3, 5);
    struct whole whole = draw_whole(request, 3);
    detailflow_worker *worker = start(1);
    uint32_t flags, last = 0;
    for (flags = 0; flags < 4; flags++) {
        uint64_t job = 0;
        uint32_t told = 0;
        OK(detailflow_worker_submit(worker, request, 4711 + flags, flags, &job));
        CHECK(job == flags + 1 && pending(worker) == 1);
        while (pending(worker) > 0) {
            detailflow_event *event = next(worker);
            detailflow_event_info info = info_of(event);
            CHECK(info.job == job && info.user == 4711 + flags);
            CHECK(info.decoded == (flags & DETAILFLOW_SUBMIT_FLAG_DECODE));
            if (info.kind == DETAILFLOW_EVENT_KIND_LEVEL) {
                detailflow_level level;
                level.struct_size = sizeof level;
                OK(detailflow_model_get_level(model, told, &level));
                CHECK(info.level_size == level.level_size && info.token_count == level.token_count &&
                      info.level_token_count == level.token_count);
                CHECK(info.steps_done > last);
                last = info.steps_done;
                told++;
            } else {
                CHECK(info.kind == DETAILFLOW_EVENT_KIND_DONE && pending(worker) == 0);
                CHECK(info.level_size == about.image_size && info.token_count == about.token_count &&
                      info.steps_left == 0);
                last = 0;
            }
            check_event(model, event, &whole);
            detailflow_event_free(event);
        }
        CHECK(told == (flags & DETAILFLOW_SUBMIT_FLAG_LAST_ONLY ? 0 : about.level_count));
        nothing(worker);
    }
    free_whole(&whole);
    detailflow_request_free(request);
    detailflow_worker_free(worker);
}

static void failed_job_tells_why(const detailflow_model *model, const detailflow_model *large)
{
    detailflow_request *request = check_request(large, 1 << 20, 5), *fine = check_request(model, 1, 5);
    detailflow_generation *generation = NULL;
    detailflow_worker *worker = start(1);
    detailflow_event *event;
    detailflow_event_info info;
    char text[128], wanted[128];
    size_t count = 1;
    OK(detailflow_worker_submit(worker, request, 9, DETAILFLOW_SUBMIT_FLAG_DECODE, NULL));
    OK(detailflow_worker_submit(worker, fine, 10, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    event = next(worker);
    info = info_of(event);
    CHECK(info.kind == DETAILFLOW_EVENT_KIND_FAILED && info.user == 9 && info.image_count == 1 << 20 &&
          info.token_count == 0);
    CHECK(JOB_MESSAGE(event, text, sizeof text) < sizeof text);
    OK(detailflow_event_get_tokens(event, (1 << 20) - 1, NULL, 0, &count, NULL));
    CHECK(count == 0);
    FAILS(detailflow_event_decode_level(event, 0, &(detailflow_image){0}, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "struct_size");
    /* The same status and the same words as of a direct call. */
    FAILS(detailflow_generation_new(request, &generation), info.status, "out of memory");
    snprintf(wanted, sizeof wanted, "%s", detailflow_last_message());
    CHECK(strcmp(text, wanted) == 0);
    detailflow_event_free(event);
    event = next(worker);
    info = info_of(event);
    CHECK(info.kind == DETAILFLOW_EVENT_KIND_DONE && info.user == 10);
    detailflow_event_free(event);
    detailflow_request_free(request);
    detailflow_request_free(fine);
    detailflow_worker_free(worker);
}

/* A generation that is on its way goes on in the background, and its handle is used up. */
static void submitted_generation_goes_on(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 2, 8);
    struct whole whole = draw_whole(request, 2);
    detailflow_worker *worker = start(1);
    uint32_t before;
    for (before = 0; before < 6; before++) {
        detailflow_generation *generation = NULL;
        detailflow_cancel *cancel = NULL;
        uint32_t at;
        int last = 0;
        OK(detailflow_generation_new(request, &generation));
        for (at = 0; at < before; at++) {
            OK(detailflow_generation_step(generation, NULL));
        }
        OK(detailflow_generation_get_cancel(generation, &cancel));
        if (before == 5) {
            OK(detailflow_cancel_trigger(cancel, NULL));
        }
        OK(detailflow_worker_submit_generation(worker, generation, before, 0, NULL));
        while (!last) {
            detailflow_event *event = next(worker);
            detailflow_event_info info = info_of(event);
            CHECK(info.user == before && info.steps_done >= before);
            check_event(model, event, &whole);
            last = info.kind != DETAILFLOW_EVENT_KIND_LEVEL;
            CHECK(!last || info.kind == (before == 5 ? DETAILFLOW_EVENT_KIND_CANCELLED : DETAILFLOW_EVENT_KIND_DONE));
            detailflow_event_free(event);
        }
        OK(detailflow_cancel_trigger(cancel, NULL));
        detailflow_cancel_free(cancel);
    }
    free_whole(&whole);
    detailflow_request_free(request);
    detailflow_worker_free(worker);
}

struct stepping {
    detailflow_generation *generation;
    int begun, done;
};

/* One step, then nothing more with the handle. */
static void *step_once(void *argument)
{
    struct stepping *stepping = (struct stepping *)argument;
    detailflow_status status;
    check_set(&stepping->begun, 1);
    status = detailflow_generation_step(stepping->generation, NULL);
    CHECK(status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_BUSY);
    check_set(&stepping->done, 1);
    return NULL;
}

/* A generation that somebody steps is not taken away. */
static void busy_generation_is_not_submitted(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.1);
    detailflow_worker *worker = start(1);
    int round, seen = 0;
    for (round = 0; round < 50 && !seen; round++) {
        struct stepping stepping = {NULL, 0, 0};
        detailflow_status status = DETAILFLOW_STATUS_OK;
        uint64_t job = 77;
        pthread_t thread;
        OK(detailflow_generation_new(request, &stepping.generation));
        CHECK(pthread_create(&thread, NULL, step_once, &stepping) == 0);
        check_wait(&stepping.begun);
        while (status != DETAILFLOW_STATUS_BUSY && !check_get(&stepping.done)) {
            check_sleep(0.001); /* Whoever looks all the time keeps the other out. */
            status = detailflow_generation_set_level_size(stepping.generation, 0);
        }
        if (status == DETAILFLOW_STATUS_BUSY) {
            /* The other thread is inside, or was, and touches it no more. */
            status = detailflow_worker_submit_generation(worker, stepping.generation, 0, 0, &job);
            if (status == DETAILFLOW_STATUS_BUSY) {
                CHECK(job == 77);
                seen = 1;
            } else {
                CHECK(status == DETAILFLOW_STATUS_OK);
                stepping.generation = NULL;
            }
        }
        CHECK(pthread_join(thread, NULL) == 0);
        detailflow_generation_free(stepping.generation);
        OK(detailflow_worker_cancel_all(worker));
    }
    CHECK(seen);
    detailflow_request_free(request);
    detailflow_worker_free(worker);
}

/* Takes events until a job's last, frees them, and tells the kind of the last. */
static uint32_t end_of(const detailflow_worker *worker, uint64_t job, const detailflow_model *model,
                       const struct whole *whole)
{
    for (;;) {
        detailflow_event *event = next(worker);
        detailflow_event_info info = info_of(event);
        CHECK(info.job == job);
        check_event(model, event, whole);
        detailflow_event_free(event);
        if (info.kind != DETAILFLOW_EVENT_KIND_LEVEL) {
            return info.kind;
        }
    }
}

static void job_is_cancelled_at_any_moment(const detailflow_model *model, int rounds, uint32_t count, uint32_t batch)
{
    detailflow_request *request = check_request(model, count, 21);
    struct whole whole = draw_whole(request, count);
    detailflow_worker *worker = start_batch(1, batch);
    double took = check_now();
    int round, cancelled = 0;
    uint64_t job = 0;
    OK(detailflow_worker_submit(worker, request, 0, 0, &job));
    CHECK(end_of(worker, job, model, &whole) == DETAILFLOW_EVENT_KIND_DONE);
    took = check_now() - took;
    for (round = 0; round < rounds; round++) {
        uint64_t other = 0;
        uint32_t kind;
        OK(detailflow_worker_submit(worker, request, 0, round % 2 ? DETAILFLOW_SUBMIT_FLAG_DECODE : 0, &job));
        OK(detailflow_worker_submit(worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, &other));
        check_sleep(took * (round * 37 % 100) * 0.01);
        OK(detailflow_worker_cancel(worker, job));
        OK(detailflow_worker_cancel(worker, job));
        if (round % 10 == 9) {
            OK(detailflow_worker_cancel(worker, other));
            /* It waited or ran; either way both end, and the worker goes on. */
            while (pending(worker) > 0) {
                detailflow_event *event = next(worker);
                check_event(model, event, &whole);
                detailflow_event_free(event);
            }
            continue;
        }
        kind = end_of(worker, job, model, &whole);
        CHECK(kind == DETAILFLOW_EVENT_KIND_CANCELLED || kind == DETAILFLOW_EVENT_KIND_DONE);
        cancelled += kind == DETAILFLOW_EVENT_KIND_CANCELLED;
        CHECK(end_of(worker, other, model, &whole) == DETAILFLOW_EVENT_KIND_DONE);
    }
    printf("%d of %d cancelled before they were done\n", cancelled, rounds);
    free_whole(&whole);
    detailflow_request_free(request);
    detailflow_worker_free(worker);
}

/* What several threads do with one worker. */
struct crowd {
    const detailflow_worker *worker;
    const detailflow_request *request;
    int submitted, lasts, levels;
    int wanted;
};

static void *submit_some(void *argument)
{
    struct crowd *crowd = (struct crowd *)argument;
    int at;
    for (at = 0; at < crowd->wanted / 2; at++) {
        OK(detailflow_worker_submit(crowd->worker, crowd->request, 1, 0, NULL));
        __atomic_add_fetch(&crowd->submitted, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void *take_some(void *argument)
{
    struct crowd *crowd = (struct crowd *)argument;
    while (check_get(&crowd->lasts) < crowd->wanted) {
        detailflow_event *event = NULL;
        OK(detailflow_worker_wait(crowd->worker, SECOND / 50, &event));
        if (event != NULL) {
            int *place = info_of(event).kind == DETAILFLOW_EVENT_KIND_LEVEL ? &crowd->levels : &crowd->lasts;
            __atomic_add_fetch(place, 1, __ATOMIC_SEQ_CST);
            detailflow_event_free(event);
        }
    }
    return NULL;
}

static void worker_is_shared_by_threads(const detailflow_model *model, uint32_t batch)
{
    detailflow_worker *worker = start_batch(2, batch);
    detailflow_request *request = check_request(model, 1, 3);
    struct crowd crowd = {NULL, NULL, 0, 0, 0, 20};
    pthread_t threads[4];
    int at;
    crowd.worker = worker;
    crowd.request = request;
    for (at = 0; at < 4; at++) {
        CHECK(pthread_create(&threads[at], NULL, at < 2 ? take_some : submit_some, &crowd) == 0);
    }
    for (at = 0; at < 4; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    CHECK(crowd.lasts == 20 && crowd.levels == 20 * (int)check_info(model).level_count && pending(worker) == 0);
    detailflow_request_free(request);
    detailflow_worker_free(worker);
}

/* What a callback notes; in its own memory, which is gone when it must not be called any more. */
struct heard {
    int inside, calls, lasts, cancelled;
    detailflow_event *kept;
    detailflow_worker *worker;
    detailflow_model *model;
    const detailflow_request *request;
};

static void hear(void *user, detailflow_event *event)
{
    struct heard *heard = (struct heard *)user;
    detailflow_event_info info = info_of(event);
    CHECK(__atomic_add_fetch(&heard->inside, 1, __ATOMIC_SEQ_CST) == 1);
    heard->calls++;
    heard->lasts += info.kind != DETAILFLOW_EVENT_KIND_LEVEL;
    heard->cancelled += info.kind == DETAILFLOW_EVENT_KIND_CANCELLED;
    if (heard->kept == NULL) {
        heard->kept = event; /* It is ours, and may outlive everything. */
    } else {
        detailflow_event_free(event);
    }
    __atomic_sub_fetch(&heard->inside, 1, __ATOMIC_SEQ_CST);
}

/* Uses everything that may be used inside. */
static void use(void *user, detailflow_event *event)
{
    struct heard *heard = (struct heard *)user;
    detailflow_event *none = event;
    detailflow_generation *generation = NULL;
    detailflow_event_info info = info_of(event);
    OK(detailflow_worker_wait(heard->worker, FOREVER, &none));
    CHECK(none == NULL && pending(heard->worker) > 0);
    OK(detailflow_generate(heard->request, &generation));
    detailflow_generation_free(generation);
    if (info.job == 1) {
        OK(detailflow_worker_submit(heard->worker, heard->request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
        OK(detailflow_worker_cancel(heard->worker, 1));
    } else {
        OK(detailflow_worker_set_callback(heard->worker, hear, heard));
    }
    heard->calls++;
    detailflow_event_free(event);
}

static void callback_receives_every_event(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1, 13);
    detailflow_worker *worker = start(2);
    struct heard *heard = (struct heard *)calloc(1, sizeof *heard);
    const int levels = (int)check_info(model).level_count;
    int at;
    CHECK(heard != NULL);
    /* Those that wait to be taken go to it too. */
    OK(detailflow_worker_submit(worker, request, 0, 0, NULL));
    OK(detailflow_worker_submit(worker, request, 0, 0, NULL));
    check_sleep(0.005);
    OK(detailflow_worker_set_callback(worker, hear, heard));
    nothing(worker);
    settle(worker);
    CHECK(heard->calls == 2 * (levels + 1) && heard->lasts == 2);
    /* When this returns it is not called any more, and its memory may go. */
    for (at = 0; at < 10; at++) {
        OK(detailflow_worker_submit(worker, request, 0, 0, NULL));
    }
    OK(detailflow_worker_set_callback(worker, NULL, NULL));
    detailflow_event_free(heard->kept);
    memset(heard, 0x55, sizeof *heard);
    free(heard);
    while (pending(worker) > 0) {
        detailflow_event_free(next(worker));
    }
    detailflow_worker_free(worker);

    /* Inside it everything may be used. */
    heard = (struct heard *)calloc(1, sizeof *heard);
    CHECK(heard != NULL);
    heard->worker = worker = start(1);
    heard->request = request;
    OK(detailflow_worker_set_callback(worker, use, heard));
    OK(detailflow_worker_submit(worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    settle(worker);
    CHECK(heard->calls == 2 && heard->lasts == 0);
    /* The second replaced it. Freed with work in flight, the worker tells the end of each job before. */
    for (at = 0; at < 10; at++) {
        OK(detailflow_worker_submit(worker, request, 0, 0, NULL));
    }
    detailflow_worker_free(worker);
    CHECK(heard->lasts == 10);
    detailflow_request_free(request);
    (void)info_of(heard->kept);
    detailflow_event_free(heard->kept);
    free(heard);
}

/* Frees its worker, once: it is not called again. */
static void free_own(void *user, detailflow_event *event)
{
    struct heard *heard = (struct heard *)user;
    detailflow_event_free(event);
    CHECK(heard->calls++ == 0);
    detailflow_request_free((detailflow_request *)(void *)heard->kept);
    detailflow_worker_free(heard->worker);
    detailflow_model_free(heard->model);
    check_set(&heard->inside, 1);
}

/* Frees the model that its jobs are drawn with. */
static void free_model(void *user, detailflow_event *event)
{
    struct heard *heard = (struct heard *)user;
    detailflow_event_info info = info_of(event);
    detailflow_event_free(event);
    heard->lasts += info.kind != DETAILFLOW_EVENT_KIND_LEVEL;
    heard->cancelled += info.kind == DETAILFLOW_EVENT_KIND_CANCELLED;
    detailflow_model_free(heard->model);
    heard->model = NULL;
}

static void worker_is_freed_inside_its_callback(const char *bundle)
{
    struct heard heard;
    int at;
    memset(&heard, 0, sizeof heard);
    heard.model = check_open(bundle, 1);
    heard.worker = start(2);
    {
        detailflow_request *request = check_request(heard.model, 1, 2);
        /* Before the first call nothing is read of it. */
        heard.kept = (detailflow_event *)(void *)request;
        for (at = 0; at < 10; at++) {
            OK(detailflow_worker_submit(heard.worker, request, 0, 0, NULL));
        }
        OK(detailflow_worker_set_callback(heard.worker, free_own, &heard));
    }
    check_wait(&heard.inside);
    /* Its threads end by themselves. */
    check_sleep(0.02);
    CHECK(heard.calls == 1);

    memset(&heard, 0, sizeof heard);
    heard.model = check_open(bundle, 1);
    {
        detailflow_request *request = check_request(heard.model, 1, 2);
        detailflow_worker_options *options = NULL;
        OK(detailflow_worker_options_new(&options, NULL));
        OK(detailflow_worker_options_set_threads(options, 2));
        /* From the first event on they all stand still, until it is told: none of them has ended then. */
        OK(detailflow_worker_options_set_event_bytes(options, 1));
        OK(detailflow_worker_new(options, &heard.worker, NULL));
        detailflow_worker_options_free(options);
        for (at = 0; at < 10; at++) {
            OK(detailflow_worker_submit(heard.worker, request, 0, 0, NULL));
        }
        OK(detailflow_worker_set_callback(heard.worker, free_model, &heard));
        settle(heard.worker);
        CHECK(heard.lasts == 10 && heard.cancelled == 10 && heard.model == NULL);
        /* What is submitted afterwards is drawn. */
        OK(detailflow_worker_submit(heard.worker, request, 0, 0, NULL));
        settle(heard.worker);
        CHECK(heard.lasts == 11 && heard.cancelled == 10);
        detailflow_request_free(request);
    }
    detailflow_worker_free(heard.worker);
}

/* Freeing a worker with work in flight, and events that outlive it. */
static void worker_free_cancels_jobs(const detailflow_model *model, int rounds)
{
    detailflow_request *request = check_request(model, 4, 17);
    struct whole whole = draw_whole(request, 4);
    int round, at;
    for (round = 0; round < rounds; round++) {
        detailflow_worker_options *options = NULL;
        detailflow_worker *worker = NULL;
        detailflow_event *event;
        OK(detailflow_worker_options_new(&options, NULL));
        OK(detailflow_worker_options_set_threads(options, 1 + (uint32_t)round % 3));
        /* Some stand still, because nobody takes their events. */
        OK(detailflow_worker_options_set_event_bytes(options, round % 2 ? 1 : SIZE_MAX));
        OK(detailflow_worker_options_set_batch_size(options, (uint32_t)round % 4 * 5));
        OK(detailflow_worker_new(options, &worker, NULL));
        detailflow_worker_options_free(options);
        for (at = 0; at < 6; at++) {
            OK(detailflow_worker_submit(worker, request, 0, (uint32_t)at % 4, NULL));
        }
        event = next(worker);
        check_sleep(0.0003 * (round % 5));
        detailflow_worker_free(worker);
        check_event(model, event, &whole);
        detailflow_event_free(event);
    }
    free_whole(&whole);
    detailflow_request_free(request);
}

/* Freeing a model with work in flight in two workers: its jobs end, those of another go on, the workers stay. */
static void model_free_cancels_its_jobs(const char *bundle, const detailflow_model *other, int rounds)
{
    detailflow_request *others = check_request(other, 1, 6);
    int round, at;
    for (round = 0; round < rounds; round++) {
        detailflow_model *model = check_open(bundle, 1);
        detailflow_request *request = check_request(model, 4, 17);
        detailflow_worker *workers[2];
        int done = 0, cancelled = 0;
        workers[0] = start_batch(1, round % 2 ? 100 : 1);
        workers[1] = start_batch(2, round % 2 ? 9 : 1);
        for (at = 0; at < 12; at++) {
            OK(detailflow_worker_submit(workers[at % 2], at % 3 ? request : others, at % 3 ? 1 : 2, 0, NULL));
        }
        check_sleep(0.001 * round);
        detailflow_model_free(model);
        for (at = 0; at < 2; at++) {
            detailflow_event *event = NULL;
            /* Nothing of it runs any more, so its ends are there. */
            while (pending(workers[at]) > 0) {
                detailflow_event_info info;
                event = next(workers[at]);
                info = info_of(event);
                CHECK(info.user == 1 || info.kind != DETAILFLOW_EVENT_KIND_CANCELLED);
                done += info.user == 2 && info.kind == DETAILFLOW_EVENT_KIND_DONE;
                cancelled += info.user == 1 && info.kind != DETAILFLOW_EVENT_KIND_LEVEL;
                if (info.level_size > 0) {
                    const size_t bytes = (size_t)4 * info.level_size * info.level_size;
                    unsigned char *pixels = (unsigned char *)malloc(bytes);
                    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, info.level_size, pixels, bytes);
                    OK(detailflow_event_decode_level(event, 0, &image, NULL));
                    free(pixels);
                }
                detailflow_event_free(event);
            }
            /* The request keeps the model; it draws again. */
            OK(detailflow_worker_submit(workers[at], request, 3, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
            event = next(workers[at]);
            CHECK(info_of(event).kind == DETAILFLOW_EVENT_KIND_DONE);
            detailflow_event_free(event);
        }
        CHECK(done == 4 && cancelled == 8);
        detailflow_request_free(request);
        detailflow_worker_free(workers[1]);
        detailflow_worker_free(workers[0]);
    }
    detailflow_request_free(others);
}

/* What is told of four jobs, submitted while the only thread is told the end of one before them. */
struct told {
    int inside, go, count;
    detailflow_event *events[64];
};

static void keep_in_order(void *user, detailflow_event *event)
{
    struct told *told = (struct told *)user;
    CHECK(told->count < 64);
    told->events[told->count++] = event;
    if (told->count == 1) {
        check_set(&told->inside, 1);
        check_wait(&told->go);
    }
}

/* So many of four jobs of a picture each are drawn together: they come to each of their events one after the other. */
static void batched_job_is_what_it_is_alone(const detailflow_model *model, uint32_t batch, uint64_t bytes, int together)
{
    detailflow_request *request = check_request(model, 1, 23);
    struct whole whole = draw_whole(request, 1);
    detailflow_worker_options *options = NULL;
    detailflow_worker *worker = NULL;
    struct told told;
    uint64_t jobs[4];
    int at, each;
    memset(&told, 0, sizeof told);
    OK(detailflow_worker_options_new(&options, NULL));
    OK(detailflow_worker_options_set_batch_size(options, batch));
    OK(detailflow_worker_options_set_batch_bytes(options, bytes));
    OK(detailflow_worker_new(options, &worker, NULL));
    detailflow_worker_options_free(options);
    OK(detailflow_worker_set_callback(worker, keep_in_order, &told));
    OK(detailflow_worker_submit(worker, request, 0, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    check_wait(&told.inside);
    for (at = 0; at < 4; at++) {
        OK(detailflow_worker_submit(worker, request, 0, 0, &jobs[at]));
    }
    check_set(&told.go, 1);
    settle(worker);
    detailflow_worker_free(worker);

    CHECK((told.count - 1) % 4 == 0);
    each = (told.count - 1) / 4;
    CHECK(each > 1);
    detailflow_event_free(told.events[0]);
    for (at = 0; at < 4 * each; at++) {
        /* Of `together` jobs all events, theirs of one step side by side; the finest level and the end are of one. */
        const int first = at / (each * together) * together, within = at % (each * together);
        const int last = within - (each - 2) * together;
        const int job = first + (last < 0 ? within % together : last / 2);
        const int step = last < 0 ? within / together : each - 2 + last % 2;
        detailflow_event *event = told.events[1 + at];
        detailflow_event_info info = info_of(event);
        CHECK(info.job == jobs[job]);
        CHECK(info.kind == (step + 1 == each ? DETAILFLOW_EVENT_KIND_DONE : DETAILFLOW_EVENT_KIND_LEVEL));
        check_event(model, event, &whole);
        detailflow_event_free(event);
    }
    free_whole(&whole);
    detailflow_request_free(request);
}

static void jobs_are_batched(const detailflow_model *model)
{
    const uint64_t much = UINT64_C(1) << 30;
    batched_job_is_what_it_is_alone(model, 0, much, strcmp(check_info(model).form, "native") == 0 ? 4 : 1);
    batched_job_is_what_it_is_alone(model, 4, much, 4);
    batched_job_is_what_it_is_alone(model, 2, much, 2);
    batched_job_is_what_it_is_alone(model, 1, much, 1);
    batched_job_is_what_it_is_alone(model, 4, 1, 1);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    const int few = argc > 3;
    detailflow_model *model = check_open(bundle, 1), *large;
    CHECK(argc > 2);
    worker_refuses_wrong_arguments(model);
    events_come_level_by_level(model);
    large = check_open(argv[2], 1);
    failed_job_tells_why(model, large);
    detailflow_model_free(large);
    submitted_generation_goes_on(model);
    busy_generation_is_not_submitted(model);
    job_is_cancelled_at_any_moment(model, few ? 10 : 100, few ? 1 : 4, 1);
    job_is_cancelled_at_any_moment(model, few ? 10 : 100, few ? 1 : 4, 100);
    worker_is_shared_by_threads(model, 1);
    worker_is_shared_by_threads(model, 6);
    callback_receives_every_event(model);
    jobs_are_batched(model);
    worker_is_freed_inside_its_callback(bundle);
    worker_free_cancels_jobs(model, few ? 6 : 40);
    model_free_cancels_its_jobs(bundle, model, few ? 2 : 10);
    detailflow_model_free(model);
    return 0;
}
