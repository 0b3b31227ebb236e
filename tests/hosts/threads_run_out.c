/*
 * Few threads and little address space: opening a model succeeds or is OUT_OF_MEMORY, at once, and works as soon as there
 * is more.
 *
 *     threads_run_out BUNDLE nproc       RLIMIT_NPROC; needs root, to become another user
 *     threads_run_out BUNDLE pids        pids.max of a control group; needs to be allowed to make one
 *     threads_run_out BUNDLE memory      RLIMIT_AS
 */
#include "threads.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Up to what everything needs, the 64 MB that the C library takes for the memory of a thread included. */
#define STEP ((rlim_t)2600 << 10)
#define STEPS 60

static const char *bundle, *group;
static uint32_t threads;
static rlim_t limit;
static int outcomes[2], aborted;

/* Opens under the limit and says how it went: 0 opened, 1 out of memory. */
static int opens(void)
{
    detailflow_status status;
    detailflow_model *model = check_try_open(bundle, threads, &status);
    if (model == NULL) {
        if (status != DETAILFLOW_STATUS_OUT_OF_MEMORY) {
            fprintf(stderr, "limit %lu, %u threads: %s: %s\n", (unsigned long)limit, (unsigned)threads,
                    detailflow_status_name(status), detailflow_last_message());
            check_failed(__FILE__, __LINE__, "detailflow_model_open", "is neither OK nor OUT_OF_MEMORY");
        }
        return 1;
    }
    detailflow_model_free(model);
    return 0;
}

static void draws(void)
{
    detailflow_model *model = check_open(bundle, threads);
    size_t count;
    free(check_draw(model, 1, &count));
    detailflow_model_free(model);
}

static void set_limit(int kind, rlim_t value)
{
    struct rlimit limits;
    CHECK(getrlimit(kind, &limits) == 0);
    limits.rlim_cur = value < limits.rlim_max ? value : limits.rlim_max;
    CHECK(setrlimit(kind, &limits) == 0);
}

static void under_nproc(void)
{
    int outcome;
    OK(detailflow_runtime_init(NULL, NULL));
    /* A user without other processes. */
    CHECK(setgroups(0, NULL) == 0 && setgid(54321) == 0 && setuid(54321) == 0);
    set_limit(RLIMIT_NPROC, limit);
    outcome = opens();
    set_limit(RLIMIT_NPROC, RLIM_INFINITY);
    draws();
    _exit(outcome ? 3 : 2);
}

static void write_group(const char *file, const char *text)
{
    char path[512];
    FILE *to;
    snprintf(path, sizeof path, "%s/%s", group, file);
    to = fopen(path, "w");
    if (to == NULL || fputs(text, to) == EOF || fclose(to) != 0) {
        printf("%s: %s\n", path, strerror(errno));
        fflush(stdout);
        _exit(SKIPPED);
    }
}

static void under_pids(void)
{
    char text[32];
    int outcome;
    OK(detailflow_runtime_init(NULL, NULL));
    snprintf(text, sizeof text, "%lu", (unsigned long)limit);
    write_group("pids.max", text);
    snprintf(text, sizeof text, "%d", (int)getpid());
    write_group("cgroup.procs", text);
    outcome = opens();
    write_group("pids.max", "max");
    draws();
    _exit(outcome ? 3 : 2);
}

/* The address space in use. */
static rlim_t in_use(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1);
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void under_memory(void)
{
    int outcome;
    OK(detailflow_runtime_init(NULL, NULL));
    set_limit(RLIMIT_AS, in_use() + limit);
    outcome = opens();
    set_limit(RLIMIT_AS, RLIM_INFINITY);
    draws();
    _exit(outcome ? 3 : 2);
}

/* Runs a case and counts how it went. `aborts`: an allocation of a few bytes may end the process, as the header says. */
static void try_one(const char *what, void (*under)(void), int aborts)
{
    int status = check_child(under, 60);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        exit(SKIPPED);
    }
    /* The C library ends a process with 127 when a thread has no room for its variables. */
    if (aborts && ((WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) || WEXITSTATUS(status) == 127)) {
        aborted++;
        return;
    }
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 2 && WEXITSTATUS(status) != 3)) {
        fprintf(stderr, "%s %lu, %u threads\n", what, (unsigned long)limit, (unsigned)threads);
        check_ended(what, status);
        check_failed(__FILE__, __LINE__, what, "ended early");
    }
    outcomes[WEXITSTATUS(status) - 2]++;
}

int main(int argc, char **argv)
{
    const char *kind = argc > 2 ? argv[2] : "";
    static const uint32_t THREADS[] = {0, 1, 2, 4, 16};
    size_t at;
    bundle = check_bundle(argc, argv);
    for (at = 0; at < sizeof THREADS / sizeof *THREADS; at++) {
        threads = THREADS[at];
        if (strcmp(kind, "nproc") == 0) {
            if (geteuid() != 0) {
                printf("only root can become another user\n");
                return SKIPPED;
            }
            for (limit = 0; limit <= 6; limit++) {
                try_one("RLIMIT_NPROC", under_nproc, 0);
            }
        } else if (strcmp(kind, "pids") == 0) {
            static char path[64];
            snprintf(path, sizeof path, "/sys/fs/cgroup%s/detailflow-%d",
                     access("/sys/fs/cgroup/pids", F_OK) == 0 ? "/pids" : "", (int)getpid());
            group = path;
            for (limit = 1; limit <= 6; limit++) {
                if (mkdir(group, 0755) != 0) {
                    printf("%s: %s\n", group, strerror(errno));
                    return SKIPPED;
                }
                try_one("pids.max", under_pids, 0);
                CHECK(rmdir(group) == 0);
            }
        } else if (strcmp(kind, "memory") == 0) {
            rlim_t step;
            if (threads != 4 && threads != 16) {
                continue;
            }
            for (step = 0; step < STEPS; step++) {
                limit = step * STEP;
                try_one("RLIMIT_AS", under_memory, 1);
            }
        } else {
            check_failed(__FILE__, __LINE__, kind, "must be nproc, pids or memory");
        }
    }
    printf("%d opened, %d out of memory, %d aborted\n", outcomes[0], outcomes[1], aborted);
    CHECK(outcomes[0] > 0 && outcomes[1] > 0);
    return 0;
}
