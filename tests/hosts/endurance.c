/*
 * For a long time: memory and descriptors stay as they are, and tokens too.
 *
 *     endurance BUNDLE open COUNT         COUNT times open, generate, free (made for 10000)
 *     endurance BUNDLE step COUNT         COUNT steps of one model (made for 1000000)
 *     endurance BUNDLE threads SECONDS    64 threads for SECONDS (made for 600)
 */
#include "threads.h"

#include <malloc.h>

#define THREADS 64
/* More than allocators keep back for the next time. */
#define SLACK_KB 16384

static detailflow_model *shared;
static uint32_t *expected[THREADS];
static size_t expected_count;
static double end;
static long drawn;

static long value_of(const char *path, const char *key)
{
    char line[256];
    long value = -1;
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            value = strtol(line + strlen(key), NULL, 10);
        }
    }
    fclose(file);
    CHECK(value >= 0);
    return value;
}

static struct {
    long kilobytes, mappings;
    int descriptors, threads;
} before;

static long mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    long lines = 0;
    int c;
    CHECK(file != NULL);
    while ((c = getc(file)) != EOF) {
        lines += c == '\n';
    }
    fclose(file);
    return lines;
}

static void note(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    before.kilobytes = value_of("/proc/self/status", "VmRSS:");
    before.mappings = mappings();
    before.descriptors = check_descriptors();
    before.threads = check_tasks(NULL);
}

static void is_flat(long done)
{
    long kilobytes;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
    kilobytes = value_of("/proc/self/status", "VmRSS:");
    printf("%ld: %ld kB (%+ld), %ld mappings (%+ld), %d descriptors, %d threads\n", done, kilobytes,
           kilobytes - before.kilobytes, mappings(), mappings() - before.mappings, check_descriptors(),
           check_tasks(NULL));
    fflush(stdout);
    CHECK(kilobytes - before.kilobytes < SLACK_KB);
    CHECK(check_descriptors() == before.descriptors);
    CHECK(check_tasks(NULL) == before.threads);
    CHECK(mappings() - before.mappings < 64);
}

static void open_again(const char *bundle, long count)
{
    static const uint32_t OPEN_THREADS[] = {1, 2, 0};
    size_t tokens_count, again_count;
    uint32_t *tokens = NULL;
    long at;
    for (at = 0; at < count; at++) {
        detailflow_model *model = check_open(bundle, OPEN_THREADS[at % 3]);
        uint32_t *again = check_draw(model, 1, &again_count);
        if (tokens == NULL) {
            tokens = again;
            tokens_count = again_count;
        } else {
            CHECK(again_count == tokens_count && memcmp(again, tokens, tokens_count * sizeof *tokens) == 0);
            free(again);
        }
        detailflow_model_free(model);
        /* The first ones fill what is kept. */
        if (at == (count < 100 ? count / 3 : 50)) {
            note();
        }
        if (at % 500 == 499) {
            is_flat(at + 1);
        }
    }
    is_flat(count);
    free(tokens);
}

static void step_on(const char *bundle, long count)
{
    detailflow_model *model = check_open(bundle, 1);
    long done = 0, noted = 0, next = 0;
    uint64_t seed;
    for (seed = 1; done < count; seed++) {
        detailflow_request *request = check_request(model, 1 + (uint32_t)(seed % 3), seed);
        detailflow_generation *generation = NULL;
        OK(detailflow_generation_new(request, &generation));
        while (check_progress(generation).steps_left > 0) {
            OK(detailflow_generation_step(generation, NULL));
            done++;
        }
        detailflow_generation_free(generation);
        detailflow_request_free(request);
        if (!noted && done >= (count < 10000 ? count / 3 : 2000)) {
            note();
            noted = 1;
            next = done;
        }
        if (noted && done >= next) {
            is_flat(done);
            next += 50000;
        }
    }
    is_flat(done);
    detailflow_model_free(model);
}

static void *draw_on(void *argument)
{
    size_t seed = (size_t)argument;
    while (check_now() < end) {
        size_t count, which = seed++ % THREADS;
        uint32_t *tokens = check_draw(shared, which, &count);
        CHECK(count == expected_count && memcmp(tokens, expected[which], count * sizeof *tokens) == 0);
        free(tokens);
        __atomic_add_fetch(&drawn, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void draw_at_once(const char *bundle, double seconds)
{
    pthread_t threads[THREADS];
    size_t at;
    shared = check_open(bundle, 2);
    for (at = 0; at < THREADS; at++) {
        expected[at] = check_draw(shared, at, &expected_count);
    }
    end = check_now() + seconds;
    for (at = 0; at < THREADS; at++) {
        CHECK(pthread_create(&threads[at], NULL, draw_on, (void *)at) == 0);
    }
    for (at = 0; at < THREADS; at++) {
        CHECK(pthread_join(threads[at], NULL) == 0);
    }
    /* Until all have ended each may compare with any. */
    for (at = 0; at < THREADS; at++) {
        free(expected[at]);
    }
    printf("%ld images by %d threads, all with the tokens of one thread\n", drawn, THREADS);
    detailflow_model_free(shared);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    CHECK(argc == 4);
    if (strcmp(argv[2], "open") == 0) {
        open_again(bundle, strtol(argv[3], NULL, 10));
    } else if (strcmp(argv[2], "step") == 0) {
        step_on(bundle, strtol(argv[3], NULL, 10));
    } else {
        CHECK(strcmp(argv[2], "threads") == 0);
        draw_at_once(bundle, strtod(argv[3], NULL));
    }
    return 0;
}
