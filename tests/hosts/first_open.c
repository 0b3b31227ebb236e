/*
 * Several threads open the first model of a process at once, in one process after the other: all succeed.
 *
 *     first_open BUNDLE [PROCESSES]
 */
#include "threads.h"

#define THREADS 8

static const char *bundle;
static pthread_barrier_t together;

static void *open_one(void *argument)
{
    pthread_barrier_wait(&together);
    detailflow_model_free(check_open(bundle, 1));
    return argument;
}

static void child(void)
{
    pthread_t threads[THREADS];
    int at;
    /* So that only the opening itself is at once. */
    OK(detailflow_runtime_init(NULL, NULL));
    CHECK(pthread_barrier_init(&together, NULL, THREADS) == 0);
    for (at = 0; at < THREADS; at++) {
        CHECK(pthread_create(&threads[at], NULL, open_one, NULL) == 0);
    }
    for (at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
}

int main(int argc, char **argv)
{
    int left = argc > 2 ? atoi(argv[2]) : 60;
    bundle = check_bundle(argc, argv);
    for (; left > 0; left--) {
        int status = 0;
        const pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            child();
            exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return 0;
}
