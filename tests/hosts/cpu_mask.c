/*
 * A process with a CPU mask: a model has as many threads as the process may use CPUs, no thread is pinned or leaves the
 * mask, none takes the host's signals, and steps do not look the mask up again.
 *
 *     cpu_mask BUNDLE
 */
#include "threads.h"

static char allowed[256];

static void is_within(const char *id)
{
    char value[256];
    check_task(id, "Cpus_allowed_list", value, sizeof value);
    if (strcmp(value, allowed) != 0) {
        fprintf(stderr, "thread %s may run on CPUs %s, the process on %s\n", id, value, allowed);
        check_failed(__FILE__, __LINE__, "Cpus_allowed_list", "is not that of the process");
    }
}

static void takes_no_signals(const char *id)
{
    static const int BLOCKED[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD, SIGUSR1, SIGPIPE};
    static const int KEPT[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
    const double end = check_now() + 60;
    char value[64];
    unsigned long long mask;
    size_t at;
    do {
        /* All are blocked until the thread has begun to run. */
        check_task(id, "SigBlk", value, sizeof value);
        mask = strtoull(value, NULL, 16);
    } while ((mask >> (SIGSEGV - 1) & 1) && check_now() < end);
    for (at = 0; at < sizeof BLOCKED / sizeof *BLOCKED; at++) {
        CHECK(mask >> (BLOCKED[at] - 1) & 1);
    }
    for (at = 0; at < sizeof KEPT / sizeof *KEPT; at++) {
        CHECK(!(mask >> (KEPT[at] - 1) & 1));
    }
}

/* Opens with `threads`, draws, and returns the number of other threads while the model is open. */
static int threads_of(const char *bundle, uint32_t threads, void (*each)(const char *))
{
    detailflow_model *model = check_open(bundle, threads);
    char own[32];
    size_t count;
    int others;
    free(check_draw(model, 1, &count));
    snprintf(own, sizeof own, "%d", (int)getpid());
    check_task(own, "Cpus_allowed_list", allowed, sizeof allowed);
    others = check_tasks(each);
    detailflow_model_free(model);
    CHECK(check_tasks(NULL) == 0);
    return others;
}

/* System calls of the process that read. */
static unsigned long reads(void)
{
    char line[128];
    unsigned long count = 0;
    FILE *file = fopen("/proc/self/io", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "syscr:", 6) == 0) {
            count = strtoul(line + 6, NULL, 10);
        }
    }
    fclose(file);
    return count;
}

static void steps_read_nothing(const char *bundle)
{
    detailflow_model *model = check_open(bundle, 0);
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_generation *generation = NULL;
    size_t count;
    unsigned long before, nothing, steps;
    free(check_draw(model, 1, &count));
    OK(detailflow_generation_new(request, &generation));
    before = reads();
    nothing = reads() - before;
    before = reads();
    check_finish(generation);
    steps = reads() - before;
    printf("%lu reads, of which %lu are this program's\n", steps, nothing);
    CHECK(steps == nothing);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    cpu_set_t all, one;
    int cpu = 0, others;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    while (!CPU_ISSET(cpu, &all)) {
        cpu++;
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);

    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    others = threads_of(bundle, 0, is_within);
    printf("one CPU: %d threads beside the caller's\n", others);
    CHECK(others == 0);
    /* The decoder has two. The autoregressive graph of a small model has none until there is a large batch. */
    CHECK(threads_of(bundle, 3, is_within) == 2);

    CHECK(sched_setaffinity(0, sizeof all, &all) == 0);
    others = threads_of(bundle, 0, is_within);
    printf("%d CPUs: %d threads beside the caller's\n", CPU_COUNT(&all), others);
    CHECK(others <= CPU_COUNT(&all) - 1);
    CHECK(threads_of(bundle, 3, is_within) == 2);
    CHECK(threads_of(bundle, 3, takes_no_signals) == 2);
    steps_read_nothing(bundle);
    return 0;
}
