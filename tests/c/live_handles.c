/* Handles that are of another kind, were freed, or never came from the library: errors, not undefined behaviour. */
#include "check.h"

enum {
    RUNTIME_OPTIONS,
    MODEL_OPTIONS,
    WORKER_OPTIONS,
    BEST_OF_OPTIONS,
    DEVICE_LIST,
    CANCEL,
    MODEL,
    REQUEST,
    GENERATION,
    WORKER,
    EVENT,
    PACK,
    PACK_WRITER,
    KINDS
};

/* One handle of each kind. */
static void *handles[KINDS];

static void make_all(const char *bundle)
{
    detailflow_runtime_options *runtime = NULL;
    detailflow_model_options *model_options = NULL;
    detailflow_worker_options *worker_options = NULL;
    detailflow_best_of_options *best_of_options = NULL;
    detailflow_device_list *list = NULL;
    detailflow_cancel *cancel = NULL;
    detailflow_generation *generation = NULL;
    detailflow_worker *worker = NULL;
    detailflow_event *event = NULL;
    detailflow_pack *pack = NULL;
    detailflow_pack_writer *writer = NULL;
    detailflow_model *model = check_open(bundle, 1);
    detailflow_request *request = check_request(model, 1, 1);

    OK(detailflow_runtime_options_new(&runtime, NULL));
    OK(detailflow_model_options_new(&model_options, NULL));
    OK(detailflow_worker_options_new(&worker_options, NULL));
    OK(detailflow_best_of_options_new(&best_of_options, NULL));
    OK(detailflow_device_list_new(&list, NULL));
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_get_cancel(generation, &cancel));
    OK(detailflow_worker_new(NULL, &worker, NULL));
    OK(detailflow_worker_submit(worker, request, 1, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, NULL));
    OK(detailflow_worker_wait(worker, UINT64_MAX, &event));
    CHECK(event != NULL);
    OK(detailflow_pack_writer_new("empty.dftpack", &writer, NULL));
    OK(detailflow_pack_writer_finish(writer));
    detailflow_pack_writer_free(writer);
    OK(detailflow_pack_open("empty.dftpack", &pack, NULL));
    OK(detailflow_pack_writer_new("another.dftpack", &writer, NULL));
    handles[RUNTIME_OPTIONS] = runtime;
    handles[MODEL_OPTIONS] = model_options;
    handles[WORKER_OPTIONS] = worker_options;
    handles[BEST_OF_OPTIONS] = best_of_options;
    handles[DEVICE_LIST] = list;
    handles[CANCEL] = cancel;
    handles[MODEL] = model;
    handles[REQUEST] = request;
    handles[GENERATION] = generation;
    handles[WORKER] = worker;
    handles[EVENT] = event;
    handles[PACK] = pack;
    handles[PACK_WRITER] = writer;
}

/* A function of this kind, called with any pointer. */
static detailflow_status use(int kind, void *handle)
{
    detailflow_error error;
    uint32_t number = 0;
    uint64_t work = 0;
    size_t count = 0;
    memset(&error, 0, sizeof error);
    error.struct_size = sizeof error;
    switch (kind) {
    case RUNTIME_OPTIONS: return detailflow_runtime_options_set_library((detailflow_runtime_options *)handle, "x");
    case MODEL_OPTIONS: return detailflow_model_options_set_threads((detailflow_model_options *)handle, 1);
    case WORKER_OPTIONS: return detailflow_worker_options_set_threads((detailflow_worker_options *)handle, 1);
    case BEST_OF_OPTIONS: return detailflow_best_of_options_add_round((detailflow_best_of_options *)handle, 8, 1);
    case DEVICE_LIST: return detailflow_device_list_get_count((detailflow_device_list *)handle, &count, &error);
    case CANCEL: return detailflow_cancel_trigger((detailflow_cancel *)handle, &error);
    case MODEL: return detailflow_model_get_prefix_size((detailflow_model *)handle, 1, &number);
    case REQUEST: return detailflow_request_set_seed((detailflow_request *)handle, 1);
    case GENERATION: return detailflow_generation_get_work((detailflow_generation *)handle, &work);
    case WORKER: return detailflow_worker_get_pending((detailflow_worker *)handle, &count);
    case EVENT: return detailflow_event_get_tokens((detailflow_event *)handle, 0, NULL, 0, &count, &error);
    case PACK: return detailflow_pack_get_count((detailflow_pack *)handle, &number);
    default: return detailflow_pack_writer_add((detailflow_pack_writer *)handle, "x", &number, 1, NULL);
    }
}

static void free_as(int kind, void *handle)
{
    switch (kind) {
    case RUNTIME_OPTIONS: detailflow_runtime_options_free((detailflow_runtime_options *)handle); break;
    case MODEL_OPTIONS: detailflow_model_options_free((detailflow_model_options *)handle); break;
    case WORKER_OPTIONS: detailflow_worker_options_free((detailflow_worker_options *)handle); break;
    case BEST_OF_OPTIONS: detailflow_best_of_options_free((detailflow_best_of_options *)handle); break;
    case DEVICE_LIST: detailflow_device_list_free((detailflow_device_list *)handle); break;
    case CANCEL: detailflow_cancel_free((detailflow_cancel *)handle); break;
    case MODEL: detailflow_model_free((detailflow_model *)handle); break;
    case REQUEST: detailflow_request_free((detailflow_request *)handle); break;
    case GENERATION: detailflow_generation_free((detailflow_generation *)handle); break;
    case WORKER: detailflow_worker_free((detailflow_worker *)handle); break;
    case EVENT: detailflow_event_free((detailflow_event *)handle); break;
    case PACK: detailflow_pack_free((detailflow_pack *)handle); break;
    default: detailflow_pack_writer_free((detailflow_pack_writer *)handle); break;
    }
}

static int reported;

static void count_reports(void *user, uint32_t severity, const char *message)
{
    (void)user;
    if (severity == DETAILFLOW_SEVERITY_ERROR && strstr(message, "free of a detailflow_") != NULL) {
        reported++;
    }
}

/* Each handle where each other kind is asked for: refused, not freed, and as good as before. */
static void handle_of_another_kind_is_refused(void)
{
    int kind, other;
    reported = 0;
    for (kind = 0; kind < KINDS; kind++) {
        for (other = 0; other < KINDS; other++) {
            if (kind != other) {
                INVALID(use(kind, handles[other]), "is a handle of type detailflow_");
                free_as(kind, handles[other]);
            }
        }
    }
    CHECK(reported == KINDS * (KINDS - 1));
    for (kind = 0; kind < KINDS; kind++) {
        detailflow_status status = use(kind, handles[kind]);
        /* An entry of one byte is no token file; it is the writer itself that says so. */
        CHECK(status == DETAILFLOW_STATUS_OK || (kind == PACK_WRITER && status == DETAILFLOW_STATUS_BAD_FORMAT));
    }
    INVALID(detailflow_request_new((const detailflow_model *)handles[REQUEST], NULL),
            "model is a handle of type detailflow_request; a detailflow_model is needed");
}

/* Handles that are not the first parameter. */
static void second_handle_is_checked(void)
{
    detailflow_model *model = NULL;
    detailflow_worker *worker = NULL;
    detailflow_generation *generation = NULL;
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, handles, 4);
    const detailflow_request *request = (const detailflow_request *)handles[REQUEST];
    INVALID(detailflow_model_open("x", (const detailflow_model_options *)handles[MODEL], &model, NULL), "options is a");
    INVALID(detailflow_runtime_init((const detailflow_runtime_options *)handles[MODEL], NULL), "options is a");
    INVALID(detailflow_worker_new((const detailflow_worker_options *)handles[MODEL], &worker, NULL), "options is a");
    INVALID(detailflow_generate_image((const detailflow_model *)handles[WORKER], "0", 1, &image, NULL), "model is a");
    INVALID(detailflow_best_of(request, (const detailflow_best_of_options *)handles[MODEL], &generation, NULL, 0, NULL,
                               NULL, 0),
            "options is a");
    INVALID(detailflow_worker_submit((const detailflow_worker *)handles[WORKER],
                                     (const detailflow_request *)handles[MODEL], 1, 0, NULL),
            "request is a");
    INVALID(detailflow_worker_submit_generation((const detailflow_worker *)handles[WORKER],
                                                (detailflow_generation *)handles[REQUEST], 1, 0, NULL),
            "generation is a");
    INVALID(detailflow_model_options_set_cancel((detailflow_model_options *)handles[MODEL_OPTIONS],
                                                (const detailflow_cancel *)handles[MODEL]),
            "cancel is a");
    INVALID(detailflow_model_options_set_cancel((detailflow_model_options *)handles[MODEL_OPTIONS],
                                                (const detailflow_cancel *)handles[CANCEL]),
            "detailflow_cancel_new");
    CHECK(model == NULL && worker == NULL && generation == NULL);
}

/* A pointer that never was a handle. */
static void stray_pointer_is_refused(void)
{
    char memory[64];
    int kind;
    memset(memory, 0x5A, sizeof memory);
    reported = 0;
    for (kind = 0; kind < KINDS; kind++) {
        INVALID(use(kind, memory), "is not a live handle");
        INVALID(use(kind, memory + 1), "is not a live handle");
        free_as(kind, memory);
        CHECK(memory[0] == 0x5A);
    }
    CHECK(reported == KINDS);
}

/* Freed handles are refused; a second free does nothing but tell the log. Nothing is made in between, so that no address
   is used again. */
static void freed_handle_is_refused(void)
{
    int kind;
    reported = 0;
    for (kind = KINDS - 1; kind >= 0; kind--) {
        free_as(kind, handles[kind]);
    }
    CHECK(reported == 0);
    for (kind = 0; kind < KINDS; kind++) {
        INVALID(use(kind, handles[kind]), "is not a live handle");
        free_as(kind, handles[kind]);
    }
    CHECK(reported == KINDS);
}

/* A generation that a worker took over is used up. */
static void submitted_generation_is_refused(const char *bundle)
{
    detailflow_model *model = check_open(bundle, 1);
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_generation *generation = NULL;
    detailflow_worker *worker = NULL;
    OK(detailflow_worker_new(NULL, &worker, NULL));
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_worker_submit_generation(worker, generation, 1, 0, NULL));
    INVALID(detailflow_generation_step(generation, NULL), "is not a live handle");
    detailflow_worker_free(worker);
    detailflow_request_free(request);
    detailflow_model_free(model);
}

static detailflow_cancel *contested;
static int start;

static void *free_the_contested(void *user)
{
    (void)user;
    check_wait(&start);
    detailflow_cancel_free(contested);
    return NULL;
}

/* Of many threads that free one handle at once, one does. */
static void handle_is_freed_once(void)
{
    enum { THREADS = 4, ROUNDS = 50 };
    pthread_t threads[THREADS];
    int round, at;
    for (round = 0; round < ROUNDS; round++) {
        reported = 0;
        check_set(&start, 0);
        OK(detailflow_cancel_new(&contested, NULL));
        for (at = 0; at < THREADS; at++) {
            CHECK(pthread_create(&threads[at], NULL, free_the_contested, NULL) == 0);
        }
        check_set(&start, 1);
        for (at = 0; at < THREADS; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
        }
    }
}

static void *step_until_freed(void *user)
{
    detailflow_generation *generation = (detailflow_generation *)user;
    detailflow_status status;
    do {
        status = detailflow_generation_step(generation, NULL);
        check_set(&start, 1);
    } while (status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_CANCELLED);
    CHECK(status == DETAILFLOW_STATUS_INVALID_ARGUMENT);
    CHECK(strstr(detailflow_last_message(), "is not a live handle") != NULL);
    return NULL;
}

/* A thread that steps and one that frees: each step comes before the free, is waited for, or is refused. */
static void generation_is_freed_while_another_thread_steps_it(const char *bundle, int rounds)
{
    detailflow_model *model = check_open(bundle, 1);
    detailflow_request *request = check_request(model, 1, 1);
    int round;
    for (round = 0; round < rounds; round++) {
        detailflow_generation *generation = NULL;
        detailflow_cancel *cancel = NULL;
        pthread_t thread;
        OK(detailflow_generation_new(request, &generation));
        /* Steps that do nothing, so that there are many of them. */
        OK(detailflow_generation_get_cancel(generation, &cancel));
        OK(detailflow_cancel_trigger(cancel, NULL));
        detailflow_cancel_free(cancel);
        check_set(&start, 0);
        CHECK(pthread_create(&thread, NULL, step_until_freed, generation) == 0);
        check_wait(&start);
        detailflow_generation_free(generation);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    detailflow_request_free(request);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    OK(detailflow_log_set_callback(DETAILFLOW_SEVERITY_ERROR, count_reports, NULL, NULL));
    make_all(bundle);
    handle_of_another_kind_is_refused();
    second_handle_is_checked();
    stray_pointer_is_refused();
    freed_handle_is_refused();
    OK(detailflow_log_set_callback(0, NULL, NULL, NULL));
    submitted_generation_is_refused(bundle);
    handle_is_freed_once();
    generation_is_freed_while_another_thread_steps_it(bundle, argc < 3 ? 300 : 10);
    return 0;
}
