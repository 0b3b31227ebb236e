/*
 * fork() while everything is in use: in the child every function refuses, frees return at once, and so does exit(); the
 * parent goes on.
 *
 *     forked BUNDLE [ROUNDS]
 *
 * The child is forked while two threads draw, one decodes, one makes and frees handles, and a worker works, so that at any
 * moment some lock is held.
 */
#include "check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *bundle;
static detailflow_model *model;
static detailflow_model_options *options;
static detailflow_request *request;
static detailflow_generation *generation;
static detailflow_worker *worker;
static int enough, at_work[4];

static void *draw(void *argument)
{
    while (!check_get(&enough)) {
        detailflow_generation *mine = NULL;
        OK(detailflow_generation_new(request, &mine));
        OK(detailflow_generation_finish(mine, NULL));
        detailflow_generation_free(mine);
        check_set((int *)argument, 1);
    }
    return NULL;
}

static void *decode(void *argument)
{
    size_t count;
    uint32_t *tokens = check_tokens(generation, 0, &count);
    while (!check_get(&enough)) {
        size_t bytes;
        free(check_decode(model, tokens, count, &bytes));
        check_set((int *)argument, 1);
    }
    free(tokens);
    return NULL;
}

static void *make_handles(void *argument)
{
    while (!check_get(&enough)) {
        detailflow_model_options *some = NULL;
        OK(detailflow_model_options_new(&some, NULL));
        INVALID(detailflow_model_options_set_form(some, "none"), "");
        (void)detailflow_model_options_set_threads(options, 1);
        detailflow_model_options_free(some);
        check_set((int *)argument, 1);
    }
    return NULL;
}

static void on_event(void *user, detailflow_event *event)
{
    detailflow_event_info info;
    (void)user;
    info.struct_size = sizeof info;
    OK(detailflow_event_get_info(event, &info, NULL));
    if (info.kind == DETAILFLOW_EVENT_KIND_DONE && !check_get(&enough)) {
        OK(detailflow_worker_submit(worker, request, 0, 0, NULL));
    }
    detailflow_event_free(event);
}

#define REFUSED(call) FAILS_IN_CHILD(call, #call)
#define FAILS_IN_CHILD(call, text)                                                                                     \
    do {                                                                                                               \
        check_status(__FILE__, __LINE__, text, call, DETAILFLOW_STATUS_WRONG_STATE, "forked");                         \
    } while (0)

/* What a child may do with what it inherited. */
static void in_the_child(void)
{
    detailflow_model *another = NULL;
    detailflow_model_options *more = NULL;
    detailflow_generation *drawn = NULL;
    detailflow_worker *helper = NULL;
    detailflow_error error;
    uint32_t tokens[16];
    size_t count = 0;
    char text[100];

    CHECK(detailflow_abi_version() == DETAILFLOW_ABI_VERSION && detailflow_version()[0] != 0);
    CHECK(strcmp(detailflow_status_name(DETAILFLOW_STATUS_WRONG_STATE), "DETAILFLOW_STATUS_WRONG_STATE") == 0);
    memset(&error, 0, sizeof error);
    error.struct_size = sizeof error;
    REFUSED(detailflow_model_open(bundle, NULL, &another, &error));
    CHECK(error.status == DETAILFLOW_STATUS_WRONG_STATE && strstr(error.message, "forked") != NULL);
    REFUSED(detailflow_runtime_init(NULL, NULL));
    REFUSED(detailflow_model_options_new(&more, NULL));
    REFUSED(detailflow_model_options_set_threads(options, 1));
    REFUSED(detailflow_model_get_message(model, text, sizeof text, NULL));
    REFUSED(detailflow_model_decode(model, tokens, 1, 0, NULL));
    REFUSED(detailflow_generate(request, &drawn));
    REFUSED(detailflow_generation_step(generation, NULL));
    REFUSED(detailflow_generation_get_tokens(generation, 0, NULL, 0, &count));
    REFUSED(detailflow_request_set_seed(request, 1));
    REFUSED(detailflow_worker_new(NULL, &helper, NULL));
    REFUSED(detailflow_worker_submit(worker, request, 0, 0, NULL));
    REFUSED(detailflow_worker_close(worker, UINT64_MAX));
    REFUSED(detailflow_log_set_callback(0, NULL, NULL, NULL));
    detailflow_worker_free(worker);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_options_free(options);
    detailflow_model_free(model);
}

/* The child must end by itself with this status, long before the limit. */
static void ends(pid_t child, int status, const char *what)
{
    const double limit = check_now() + 60;
    int told = -1;
    pid_t found;
    CHECK(child > 0);
    while ((found = waitpid(child, &told, WNOHANG)) == 0) {
        if (check_now() > limit) {
            kill(child, SIGKILL);
            (void)waitpid(child, &told, 0);
            fprintf(stderr, "%s: the child does not end\n", what);
            CHECK(!"the child ends");
        }
        check_sleep(0.002);
    }
    if (found != child || !WIFEXITED(told) || WEXITSTATUS(told) != status) {
        fprintf(stderr, "%s: status %x\n", what, (unsigned)told);
        CHECK(!"the child ends as it should");
    }
}

int main(int argc, char **argv)
{
    const int rounds = argc > 2 ? atoi(argv[2]) : 20;
    pthread_t threads[4];
    double begun, slowest = 0;
    pid_t child;
    int round;
    bundle = check_bundle(argc, argv);

    /* Before ONNX Runtime is loaded and a worker started a child is a process like any other. */
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, 1));
    child = fork();
    if (child == 0) {
        size_t count;
        detailflow_model *mine = NULL;
        OK(detailflow_model_open(bundle, options, &mine, NULL));
        free(check_draw(mine, 1, &count));
        detailflow_model_free(mine);
        detailflow_model_options_free(options);
        exit(7);
    }
    ends(child, 7, "before loading");

    model = check_open(bundle, 2);
    request = check_request(model, 4, 1);
    OK(detailflow_generate(request, &generation));
    OK(detailflow_worker_new(NULL, &worker, NULL));
    OK(detailflow_worker_set_callback(worker, on_event, NULL));
    OK(detailflow_worker_submit(worker, request, 0, 0, NULL));
    CHECK(pthread_create(&threads[0], NULL, draw, &at_work[0]) == 0);
    CHECK(pthread_create(&threads[1], NULL, draw, &at_work[1]) == 0);
    CHECK(pthread_create(&threads[2], NULL, decode, &at_work[2]) == 0);
    CHECK(pthread_create(&threads[3], NULL, make_handles, &at_work[3]) == 0);
    for (round = 0; round < 4; round++) {
        check_wait(&at_work[round]);
    }
    for (round = 0; round < rounds; round++) {
        check_sleep(0.001 * (round % 7));
        begun = check_now();
        /* It only ends. */
        child = fork();
        if (child == 0) {
            exit(3);
        }
        ends(child, 3, "exit");
        slowest = check_now() - begun > slowest ? check_now() - begun : slowest;
        child = fork();
        if (child == 0) {
            _exit(4);
        }
        ends(child, 4, "_exit");
        child = fork();
        if (child == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        ends(child, 0, "exec");
        child = fork();
        if (child == 0) {
            in_the_child();
            /* And a child of the child. */
            child = fork();
            if (child == 0) {
                in_the_child();
                exit(5);
            }
            ends(child, 5, "a grandchild");
            exit(6);
        }
        ends(child, 6, "calls");
    }
    check_set(&enough, 1);
    for (round = 0; round < 4; round++) {
        CHECK(pthread_join(threads[round], NULL) == 0);
    }
    printf("slowest exit of a child: %.3f s\n", slowest);
    CHECK(slowest < 10);
    detailflow_worker_free(worker);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
    detailflow_model_options_free(options);
    return 0;
}
