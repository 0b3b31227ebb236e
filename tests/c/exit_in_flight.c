/*
 * exit() with work in flight is safe: two threads draw, one encodes and decodes, and the process ends with 0. What they
 * get while it ends is theirs to ignore, as long as it is no fault and no crash.
 *
 *     exit_in_flight BUNDLE [HOW]
 *
 *     exit      main calls exit()
 *     return    main returns
 *     thread    another thread calls exit()
 *     orphans   main calls exit(), and of all handles only generations are left
 *     late      nothing is in flight; handles are freed in a handler of atexit() that was registered before the model
 *               was opened, as a static object of C++ would: after the destructors of ONNX Runtime
 *     join      as late, and the threads that draw are told to end there and joined
 *     worker    a worker draws, and a thread waits for its events; main calls exit()
 *     callback  a worker draws, and tells a callback, whose memory goes in such a handler: it must not be called any more
 *     inside    as callback, and the callback calls exit()
 *     freed     as callback, and the worker is freed in that handler, with work in flight
 */
#include "check.h"

static detailflow_model *model;
static detailflow_request *request;
static detailflow_generation *generation;
static detailflow_worker *worker;
static pthread_t threads[3];
static int drawing[2], looking, leaving, enough, in_flight;

/* OK, or the answer that the process is ending. */
static int goes_on(detailflow_status status)
{
    if (status == DETAILFLOW_STATUS_OK) {
        return 1;
    }
    if (!check_get(&leaving) || status != DETAILFLOW_STATUS_WRONG_STATE) {
        fprintf(stderr, "%s: %s\n", detailflow_status_name(status), detailflow_last_message());
        CHECK(!"only a process that is ending may refuse");
    }
    return 0;
}

static void *draw(void *argument)
{
    int *flag = (int *)argument;
    while (!check_get(&enough)) {
        detailflow_generation *mine = NULL;
        detailflow_progress progress;
        int on = goes_on(detailflow_generation_new(request, &mine));
        progress.struct_size = sizeof progress;
        progress.steps_left = 1;
        while (on && progress.steps_left > 0) {
            on = goes_on(detailflow_generation_step(mine, &progress));
            check_set(flag, 1);
        }
        detailflow_generation_free(mine);
        if (!on) {
            break;
        }
    }
    return NULL;
}

static void *look(void *argument)
{
    detailflow_model_info info = check_info(model);
    const size_t bytes = (size_t)4 * info.image_size * info.image_size;
    unsigned char *pixels = (unsigned char *)calloc(1, bytes);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
    size_t count;
    (void)argument;
    CHECK(pixels != NULL && tokens != NULL);
    while (!check_get(&enough) && goes_on(detailflow_model_encode(model, &image, tokens, info.token_count, &count)) &&
           goes_on(detailflow_model_decode(model, tokens, count, 0, &image))) {
        check_set(&looking, 1);
    }
    free(pixels);
    free(tokens);
    return NULL;
}

static void *leave(void *argument)
{
    (void)argument;
    exit(0);
    return NULL;
}

/* What the callback uses, until it goes. */
static int *memory, gone, free_worker, exit_inside;

static void memory_goes(void)
{
    check_set(&gone, 1);
    *memory = -1;
    free(memory);
    if (free_worker) {
        detailflow_worker_free(worker);
        detailflow_request_free(request);
        detailflow_model_free(model);
    }
    /* Were it called now, it would show. */
    check_sleep(0.005);
}

static void submit(int jobs)
{
    int at;
    for (at = 0; at < jobs; at++) {
        (void)goes_on(detailflow_worker_submit(worker, request, 0, at % 2 ? DETAILFLOW_SUBMIT_FLAG_DECODE : 0, NULL));
    }
}

/* Decodes what the event has, and keeps the worker busy. */
static void look_at_event(detailflow_event *event, int heard)
{
    detailflow_event_info info;
    detailflow_image image;
    unsigned char *pixels;
    info.struct_size = sizeof info;
    OK(detailflow_event_get_info(event, &info, NULL));
    if (info.kind == DETAILFLOW_EVENT_KIND_FAILED) {
        /* Only the process that is ending makes it fail, and then a callback hears nothing more. */
        CHECK(check_get(&leaving) && info.status == DETAILFLOW_STATUS_WRONG_STATE && !heard);
    } else {
        pixels = (unsigned char *)malloc((size_t)4 * info.level_size * info.level_size);
        image = check_image(DETAILFLOW_FORMAT_RGBA8, info.level_size, pixels,
                            (size_t)4 * info.level_size * info.level_size);
        (void)goes_on(detailflow_event_decode_level(event, 0, &image, NULL));
        free(pixels);
        if (info.kind == DETAILFLOW_EVENT_KIND_DONE) {
            submit(1);
        }
    }
    detailflow_event_free(event);
    check_set(&drawing[0], 1);
}

static void hear(void *user, detailflow_event *event)
{
    CHECK(!check_get(&gone));
    *(int *)user += 1;
    look_at_event(event, 1);
    if (exit_inside && *(int *)user == 9) {
        /* The main thread may still be submitting. */
        check_set(&leaving, 1);
        exit(0);
    }
    CHECK(!check_get(&gone) && *(int *)user > 0);
}

static void *take(void *argument)
{
    (void)argument;
    for (;;) {
        detailflow_event *event = NULL;
        OK(detailflow_worker_wait(worker, UINT64_MAX, &event));
        CHECK(event != NULL);
        look_at_event(event, 0);
    }
    return NULL;
}

/* Two threads of a worker draw, without end. */
static void worker_runs_until_the_process_ends(const char *bundle, const char *how)
{
    detailflow_worker_options *options = NULL;
    pthread_t taker;
    memory = (int *)calloc(1, sizeof *memory);
    free_worker = strcmp(how, "freed") == 0;
    exit_inside = strcmp(how, "inside") == 0;
    CHECK(memory != NULL && atexit(memory_goes) == 0);
    model = check_open(bundle, 0);
    request = check_request(model, 4, 1);
    OK(detailflow_worker_options_new(&options, NULL));
    OK(detailflow_worker_options_set_threads(options, 2));
    OK(detailflow_worker_new(options, &worker, NULL));
    detailflow_worker_options_free(options);
    if (strcmp(how, "worker") == 0) {
        CHECK(pthread_create(&taker, NULL, take, NULL) == 0);
    } else {
        OK(detailflow_worker_set_callback(worker, hear, memory));
    }
    submit(10);
    while (exit_inside) {
        check_sleep(1);
    }
    check_wait(&drawing[0]);
    check_sleep((double)(clock() % 50) * 1e-4);
    check_set(&leaving, 1);
    exit(0);
}

static void at_the_end(void)
{
    int at;
    check_set(&enough, 1);
    for (at = 0; at < 3 && in_flight; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    const char *how = argc > 2 ? argv[2] : "exit";
    const int late = strcmp(how, "late") == 0, join = strcmp(how, "join") == 0;
    const int orphans = strcmp(how, "orphans") == 0;
    static const char *const in_the_background[] = {"worker", "callback", "inside", "freed"};
    pthread_t leaver;
    int at;

    for (at = 0; at < 4; at++) {
        if (strcmp(how, in_the_background[at]) == 0) {
            worker_runs_until_the_process_ends(bundle, how);
        }
    }
    if (late || join) {
        CHECK(atexit(at_the_end) == 0);
    }
    model = check_open(bundle, 0);
    request = check_request(model, 4, 1);
    OK(detailflow_generate(request, &generation));
    if (late) {
        return 0;
    }
    CHECK(pthread_create(&threads[0], NULL, draw, &drawing[0]) == 0);
    CHECK(pthread_create(&threads[1], NULL, draw, &drawing[1]) == 0);
    if (!orphans) {
        CHECK(pthread_create(&threads[2], NULL, look, NULL) == 0);
        check_wait(&looking);
    }
    in_flight = 1;
    check_wait(&drawing[0]);
    check_wait(&drawing[1]);
    /* Not always at the same moment of their work. */
    check_sleep((double)(clock() % 50) * 1e-4);
    check_set(&leaving, 1);
    if (strcmp(how, "return") == 0) {
        return 0;
    }
    if (strcmp(how, "thread") == 0) {
        CHECK(pthread_create(&leaver, NULL, leave, NULL) == 0);
        pthread_join(leaver, NULL);
    }
    if (orphans) {
        detailflow_model_free(model);
    }
    exit(0);
}
