/* Tasks on threads of the host: the tokens and pixels are those of the library's own threads, the library starts no thread,
 * the host's threads keep their float environment, and a task system that does not do what it should does no harm.
 * With "few" as an argument with fewer pictures. */
#include "check.h"

#include <dirent.h>
#include <fenv.h>

#define WORKERS 3
#define QUEUE 4096

/* --- A small task system --- */

typedef struct {
    detailflow_task_fn task;
    void *context;
    uint32_t index;
    int *left;
} Job;

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t more;
    Job jobs[QUEUE];
    size_t first, count;
    int stop;
    pthread_t threads[WORKERS];
} pool;

static int calls, on_workers, wrong_rounding;

static int *own_thread(void)
{
    static __thread int is_worker;
    return &is_worker;
}

/* Runs the next job, if there is one. */
static int run_one(void)
{
    Job job;
    pthread_mutex_lock(&pool.mutex);
    if (pool.count == 0) {
        pthread_mutex_unlock(&pool.mutex);
        return 0;
    }
    job = pool.jobs[pool.first % QUEUE];
    pool.first++;
    pool.count--;
    pthread_mutex_unlock(&pool.mutex);
    job.task(job.context, job.index);
    if (*own_thread()) {
        __atomic_add_fetch(&on_workers, 1, __ATOMIC_SEQ_CST);
        if (fegetround() != FE_UPWARD) {
            check_set(&wrong_rounding, 1);
        }
    }
    if (job.left != NULL) {
        __atomic_sub_fetch(job.left, 1, __ATOMIC_SEQ_CST);
    }
    return 1;
}

static void *work(void *nothing)
{
    *own_thread() = 1;
    CHECK(fesetround(FE_UPWARD) == 0);
    for (;;) {
        int stop;
        pthread_mutex_lock(&pool.mutex);
        while (pool.count == 0 && !pool.stop) {
            pthread_cond_wait(&pool.more, &pool.mutex);
        }
        stop = pool.stop && pool.count == 0;
        pthread_mutex_unlock(&pool.mutex);
        if (stop) {
            return nothing;
        }
        (void)run_one();
    }
}

static void post(detailflow_task_fn task, void *context, uint32_t index, int *left)
{
    pthread_mutex_lock(&pool.mutex);
    if (pool.count < QUEUE) {
        Job *job = &pool.jobs[(pool.first + pool.count) % QUEUE];
        job->task = task;
        job->context = context;
        job->index = index;
        job->left = left;
        pool.count++;
    } else if (left != NULL) {
        check_failed(__FILE__, __LINE__, "post", "the queue is full");
    }
    pthread_cond_signal(&pool.more);
    pthread_mutex_unlock(&pool.mutex);
}

static void start_pool(void)
{
    size_t at;
    CHECK(pthread_mutex_init(&pool.mutex, NULL) == 0 && pthread_cond_init(&pool.more, NULL) == 0);
    for (at = 0; at < WORKERS; at++) {
        CHECK(pthread_create(&pool.threads[at], NULL, work, NULL) == 0);
    }
}

static void stop_pool(void)
{
    size_t at;
    pthread_mutex_lock(&pool.mutex);
    pool.stop = 1;
    pthread_cond_broadcast(&pool.more);
    pthread_mutex_unlock(&pool.mutex);
    for (at = 0; at < WORKERS; at++) {
        CHECK(pthread_join(pool.threads[at], NULL) == 0);
    }
}

static void on_pool(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    int left = (int)count - 1;
    uint32_t index;
    CHECK(user == &pool && count >= 1 && count <= 1024);
    __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    for (index = 1; index < count; index++) {
        post(task, context, index, &left);
    }
    task(context, 0);
    while (__atomic_load_n(&left, __ATOMIC_SEQ_CST) > 0) {
        sched_yield();
    }
}

/* --- Task systems that are wrong --- */

static void leaves_all_out(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    (void)user;
    (void)count;
    (void)task;
    (void)context;
}

static void leaves_some_out(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    uint32_t index;
    (void)user;
    for (index = 1; index < count; index += 2) {
        task(context, index);
    }
}

static void twice_and_beyond(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    uint32_t index;
    (void)user;
    for (index = 0; index < count + 70; index++) {
        task(context, index);
        task(context, index);
    }
    task(context, UINT32_MAX);
    task(NULL, 0);
}

/* Returns while tasks are running, and before others begin. */
static void does_not_wait(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    uint32_t index;
    (void)user;
    for (index = 0; index < count; index++) {
        post(task, context, index, NULL);
        post(task, context, index, NULL);
    }
}

static struct {
    detailflow_task_fn task;
    void *context;
} kept[QUEUE];
static size_t kept_count;

/* Calls tasks of earlier calls too. */
static void calls_old_ones(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    size_t at;
    uint32_t index;
    (void)user;
    if (kept_count < QUEUE) {
        kept[kept_count].task = task;
        kept[kept_count].context = context;
        kept_count++;
    }
    for (index = 0; index < count; index++) {
        for (at = 0; at < kept_count; at += 1 + kept_count / 8) {
            kept[at].task(kept[at].context, index);
        }
    }
}

/* --- Models --- */

static uint32_t images = 64;

static detailflow_model *open_with(const char *bundle, const char *form, uint32_t threads,
                                   detailflow_parallel_for_fn parallel_for, void *user)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, threads));
    OK(detailflow_model_options_set_form(options, form));
    OK(detailflow_model_options_set_parallel_for(options, parallel_for, user));
    OK(detailflow_model_open(bundle, options, &model, NULL));
    detailflow_model_options_free(options);
    return model;
}

static unsigned threads_of_process(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    CHECK(folder != NULL);
    while ((entry = readdir(folder)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    closedir(folder);
    return count;
}

/* Tokens of all images, and pixels of the last, in memory that the caller frees. */
static unsigned char *results(const detailflow_model *model, size_t *length)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, images, 5);
    detailflow_generation *generation = NULL;
    const size_t each = info.token_count * sizeof(uint32_t), pixels = (size_t)4 * info.image_size * info.image_size;
    unsigned char *all = (unsigned char *)malloc(images * each + pixels);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, all + images * each, pixels);
    uint32_t at;
    CHECK(all != NULL);
    OK(detailflow_generate(request, &generation));
    for (at = 0; at < images; at++) {
        size_t count;
        uint32_t *tokens = check_tokens(generation, at, &count);
        CHECK(count == info.token_count);
        memcpy(all + at * each, tokens, each);
        free(tokens);
    }
    OK(detailflow_generation_decode(generation, images - 1, &image));
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    *length = images * each + pixels;
    return all;
}

static void expect(const detailflow_model *model, const unsigned char *wanted, size_t length)
{
    size_t found;
    unsigned char *all = results(model, &found);
    CHECK(found == length && memcmp(all, wanted, length) == 0);
    free(all);
}

/* --- A call from inside --- */

static struct {
    const detailflow_model *model;
    int tried;
} inside;

static void computes_inside(void *user, uint32_t count, detailflow_task_fn task, void *context)
{
    uint32_t index;
    (void)user;
    if (inside.model != NULL && !inside.tried) {
        static unsigned char pixels[4 * 8 * 8];
        const uint32_t token = 0;
        uint32_t size = 0;
        detailflow_image image;
        inside.tried = 1;
        OK(detailflow_model_get_prefix_size(inside.model, 1, &size));
        CHECK(size <= 8);
        image = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, sizeof pixels);
        FAILS(detailflow_model_decode(inside.model, &token, 1, 0, &image), DETAILFLOW_STATUS_WRONG_STATE,
              "parallel_for");
    }
    for (index = 0; index < count; index++) {
        task(context, index);
    }
}

/* --- What the log says --- */

static int warnings;

static void count_warnings(void *user, uint32_t severity, const char *message)
{
    (void)user;
    if (severity == DETAILFLOW_SEVERITY_WARNING && strstr(message, "parallel_for has no effect") != NULL) {
        __atomic_add_fetch(&warnings, 1, __ATOMIC_SEQ_CST);
    }
}

static void other_forms_run_on_the_calling_thread(const char *bundle)
{
    const unsigned before = threads_of_process();
    const int made = __atomic_load_n(&calls, __ATOMIC_SEQ_CST);
    detailflow_model *model;
    size_t length;
    OK(detailflow_log_set_callback(DETAILFLOW_SEVERITY_WARNING, count_warnings, NULL, NULL));
    model = open_with(bundle, "mha", 4, on_pool, &pool);
    OK(detailflow_log_set_callback(DETAILFLOW_SEVERITY_WARNING, NULL, NULL, NULL));
    CHECK(warnings == 1);
    free(results(model, &length));
    CHECK(__atomic_load_n(&calls, __ATOMIC_SEQ_CST) == made && threads_of_process() <= before);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    static const detailflow_parallel_for_fn WRONG[] = {leaves_all_out, leaves_some_out, twice_and_beyond, does_not_wait,
                                                       calls_old_ones};
    const char *bundle = check_bundle(argc, argv);
    detailflow_model *model = open_with(bundle, "native", 1, NULL, NULL);
    unsigned char *wanted;
    size_t length, at;
    unsigned before;
    images = argc > 2 ? 12 : images;
    wanted = results(model, &length);
    detailflow_model_free(model);

    start_pool();
    before = threads_of_process();
    model = open_with(bundle, "native", 4, on_pool, &pool);
    expect(model, wanted, length);
    expect(model, wanted, length);
    CHECK(check_get(&calls) > 0 && check_get(&on_workers) > 0 && !check_get(&wrong_rounding));
    CHECK(threads_of_process() <= before);
    detailflow_model_free(model);

    /* With one thread there is nothing to divide. */
    check_set(&calls, 0);
    model = open_with(bundle, "native", 1, on_pool, &pool);
    expect(model, wanted, length);
    CHECK(check_get(&calls) == 0);
    detailflow_model_free(model);

    for (at = 0; at < sizeof WRONG / sizeof WRONG[0]; at++) {
        model = open_with(bundle, "native", 4, WRONG[at], NULL);
        expect(model, wanted, length);
        expect(model, wanted, length);
        detailflow_model_free(model);
    }
    model = open_with(bundle, "native", 4, computes_inside, NULL);
    inside.model = model;
    expect(model, wanted, length);
    CHECK(inside.tried);
    detailflow_model_free(model);

    /* Long after the models are freed. */
    CHECK(kept_count > 0);
    for (at = 0; at < kept_count; at++) {
        kept[at].task(kept[at].context, 0);
    }
    other_forms_run_on_the_calling_thread(bundle);
    stop_pool();
    free(wanted);
    return 0;
}
