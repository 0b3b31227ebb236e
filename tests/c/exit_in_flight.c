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
 */
#include "check.h"

static detailflow_model *model;
static detailflow_request *request;
static detailflow_generation *generation;
static pthread_t threads[3];
static int drawing[2], looking, leaving, enough, in_flight;

/* OK, or the answer that the process is ending. */
static int goes_on(detailflow_status status)
{
    if (status == DETAILFLOW_OK) {
        return 1;
    }
    if (!check_get(&leaving) || status != DETAILFLOW_WRONG_STATE) {
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
    const size_t bytes = (size_t)4 * info.size * info.size;
    unsigned char *pixels = (unsigned char *)calloc(1, bytes);
    detailflow_image image = check_image(DETAILFLOW_RGBA8, info.size, pixels, bytes);
    uint32_t *tokens = (uint32_t *)malloc(info.tokens * sizeof *tokens);
    size_t count;
    (void)argument;
    CHECK(pixels != NULL && tokens != NULL);
    while (!check_get(&enough) && goes_on(detailflow_model_encode(model, &image, tokens, info.tokens, &count)) &&
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
    pthread_t leaver;

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
