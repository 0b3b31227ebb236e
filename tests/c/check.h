/*
 * What every test program needs: checks that say where they failed, and a model to test with.
 *
 * The programs take the path of a bundle as their first argument, work with any bundle, and write into the working
 * directory. They exit with 0 when everything held, with 1 after the first check that did not.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* setrlimit, nanosleep, sched_yield under -std=c99 */
#endif

#include <detailflow.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__GNUC__)
#define CHECK_UNUSED __attribute__((unused))
#else
#define CHECK_UNUSED
#endif

/* The condition holds. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            check_failed(__FILE__, __LINE__, #condition, "does not hold");                                             \
        }                                                                                                              \
    } while (0)

/* The call gives DETAILFLOW_STATUS_OK. */
#define OK(call) check_status(__FILE__, __LINE__, #call, call, DETAILFLOW_STATUS_OK, "")

/* The call gives this status, and the thread's message is new and holds this text ("" is any). */
#define FAILS(call, status, text)                                                                                      \
    do {                                                                                                               \
        check_forget();                                                                                                \
        check_status(__FILE__, __LINE__, #call, call, status, text);                                                   \
    } while (0)

/* The call is refused for what it was given, and the message says this. */
#define INVALID(call, text) FAILS(call, DETAILFLOW_STATUS_INVALID_ARGUMENT, text)

/* The length of the message of a handle, from its _get_message function; the message goes into `buffer`. */
#define MESSAGE(function, handle, buffer, capacity)                                                                    \
    (check_status(__FILE__, __LINE__, #function, function(handle, buffer, capacity, &check_length),                    \
                  DETAILFLOW_STATUS_OK, ""),                                                                           \
     check_length)

/* The same of an event: why its job ended. */
#define JOB_MESSAGE(event, buffer, capacity)                                                                           \
    (check_status(__FILE__, __LINE__, "job message",                                                                   \
                  detailflow_event_get_job_message(event, buffer, capacity, &check_length, NULL),                      \
                  DETAILFLOW_STATUS_OK, ""),                                                                           \
     check_length)

static CHECK_UNUSED size_t check_length;

static CHECK_UNUSED void check_failed(const char *file, int line, const char *what, const char *why)
{
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, why);
    fflush(stderr);
    /* Not exit(): other threads may be at work, and a failed check is not the place to test that. */
    _Exit(1);
}

static CHECK_UNUSED void check_log(void *user, uint32_t level, const char *message)
{
    (void)user;
    (void)level;
    (void)message;
}

#define CHECK_STALE "severity is 4711"

/* Leaves a message that no call under test leaves, so that an old one is not taken for a new one. */
static CHECK_UNUSED void check_forget(void) { (void)detailflow_log_set_callback(4711, check_log, NULL, NULL); }

static CHECK_UNUSED void check_status(const char *file, int line, const char *what, detailflow_status status,
                                      detailflow_status wanted, const char *text)
{
    const char *message = detailflow_last_message();
    if (status != wanted) {
        fprintf(stderr, "%s (%s), wanted %s\n", detailflow_status_name(status),
                status == DETAILFLOW_STATUS_OK ? "no message" : message, detailflow_status_name(wanted));
        check_failed(file, line, what, "another status");
    }
    if (wanted != DETAILFLOW_STATUS_OK) {
        if (message[0] == 0 || strncmp(message, CHECK_STALE, strlen(CHECK_STALE)) == 0) {
            check_failed(file, line, what, "no message");
        }
        if (strstr(message, text) == NULL) {
            fprintf(stderr, "\"%s\" is not in: %s\n", text, message);
            check_failed(file, line, what, "another message");
        }
    }
}

static CHECK_UNUSED const char *check_bundle(int argc, char **argv)
{
    if (argc < 2) {
        check_failed(__FILE__, __LINE__, argv[0], "the first argument is a bundle");
    }
    return argv[1];
}

/* Opens the bundle with `threads` threads. */
static CHECK_UNUSED detailflow_model *check_open(const char *bundle, uint32_t threads)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, threads));
    OK(detailflow_model_open(bundle, options, &model, NULL));
    detailflow_model_options_free(options);
    CHECK(model != NULL);
    return model;
}

static CHECK_UNUSED detailflow_model_info check_info(const detailflow_model *model)
{
    detailflow_model_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(detailflow_model_get_info(model, &info));
    return info;
}

/* The level `index`, 0 is the coarsest. */
static CHECK_UNUSED detailflow_level check_level(const detailflow_model *model, uint32_t index)
{
    detailflow_level level;
    memset(&level, 0, sizeof level);
    level.struct_size = sizeof level;
    OK(detailflow_model_get_level(model, index, &level));
    return level;
}

/* Whether `count` tokens are a whole picture. */
static CHECK_UNUSED int check_is_prefix(const detailflow_model_info *info, size_t count)
{
    return count >= 1 && count <= info->token_count && (count <= info->causal_count || count % info->group_size == 0);
}

static CHECK_UNUSED detailflow_progress check_progress(const detailflow_generation *generation)
{
    detailflow_progress progress;
    memset(&progress, 0, sizeof progress);
    progress.struct_size = sizeof progress;
    OK(detailflow_generation_get_progress(generation, &progress));
    return progress;
}

/* A request for `count` pictures from `seed` on. */
static CHECK_UNUSED detailflow_request *check_request(const detailflow_model *model, uint32_t count, uint64_t seed)
{
    detailflow_request *request = NULL;
    OK(detailflow_request_new(model, &request));
    OK(detailflow_request_set_image_count(request, count));
    OK(detailflow_request_set_seed(request, seed));
    return request;
}

/* The tokens of a picture, in memory that the caller frees. */
static CHECK_UNUSED uint32_t *check_tokens(const detailflow_generation *generation, uint32_t image, size_t *count)
{
    uint32_t *tokens;
    size_t told = 0;
    OK(detailflow_generation_get_tokens(generation, image, NULL, 0, &told));
    tokens = (uint32_t *)malloc((told + 1) * sizeof *tokens);
    CHECK(tokens != NULL);
    OK(detailflow_generation_get_tokens(generation, image, tokens, told, count));
    CHECK(*count == told);
    return tokens;
}

/* The picture `image` has these tokens and no more. */
static CHECK_UNUSED int check_has(const detailflow_generation *generation, uint32_t image, const uint32_t *tokens,
                                  size_t count)
{
    size_t told;
    uint32_t *there = check_tokens(generation, image, &told);
    int same = told == count && memcmp(there, tokens, count * sizeof *tokens) == 0;
    free(there);
    return same;
}

/* Goes on to the end. */
static CHECK_UNUSED void check_finish(detailflow_generation *generation)
{
    OK(detailflow_generation_finish(generation, NULL));
}

/* How many steps the request takes. */
static CHECK_UNUSED uint32_t check_steps(const detailflow_request *request)
{
    detailflow_generation *generation = NULL;
    uint32_t steps;
    OK(detailflow_generation_new(request, &generation));
    steps = check_progress(generation).steps_left;
    detailflow_generation_free(generation);
    return steps;
}

/* Options with these rounds and the default scorer. Free them with detailflow_best_of_options_free. */
static CHECK_UNUSED detailflow_best_of_options *check_rounds(const uint32_t *level_sizes, const uint32_t *retained,
                                                             size_t count)
{
    detailflow_best_of_options *options = NULL;
    size_t at;
    OK(detailflow_best_of_options_new(&options, NULL));
    for (at = 0; at < count; at++) {
        OK(detailflow_best_of_options_add_round(options, level_sizes[at], retained[at]));
    }
    return options;
}

/* The tokens of one picture of class 0 and this seed, drawn at once, in memory that the caller frees. */
static CHECK_UNUSED uint32_t *check_draw(const detailflow_model *model, uint64_t seed, size_t *count)
{
    detailflow_request *request = check_request(model, 1, seed);
    detailflow_generation *generation = NULL;
    uint32_t *tokens;
    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, 0, count);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    return tokens;
}

/* Pixels of `size` x `size` at `pixels`, rows without gaps. */
static CHECK_UNUSED detailflow_image check_image(uint32_t format, uint32_t size, void *pixels, size_t capacity)
{
    detailflow_image image;
    memset(&image, 0, sizeof image);
    image.struct_size = sizeof image;
    image.format = format;
    image.width = size;
    image.height = size;
    image.pixels = pixels;
    image.capacity = capacity;
    return image;
}

static CHECK_UNUSED size_t check_pixel_bytes(uint32_t format)
{
    switch (format) {
    case DETAILFLOW_FORMAT_RGB8: return 3;
    case DETAILFLOW_FORMAT_RGBA32F: return 16;
    case DETAILFLOW_FORMAT_RGBA16F_LINEAR:
    case DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED: return 8;
    default: return 4;
    }
}

/* RGBA8 of what the tokens decode to, `bytes` of them, in memory that the caller frees. */
static CHECK_UNUSED unsigned char *check_decode(const detailflow_model *model, const uint32_t *tokens, size_t count,
                                                size_t *bytes)
{
    uint32_t size = 0;
    unsigned char *pixels;
    detailflow_image image;
    OK(detailflow_model_get_prefix_size(model, count, &size));
    *bytes = (size_t)4 * size * size;
    pixels = (unsigned char *)malloc(*bytes);
    CHECK(pixels != NULL);
    image = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, *bytes);
    OK(detailflow_model_decode(model, tokens, count, 0, &image));
    return pixels;
}

static CHECK_UNUSED double check_now(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static CHECK_UNUSED void check_sleep(double seconds)
{
    struct timespec time;
    time.tv_sec = (time_t)seconds;
    time.tv_nsec = (long)((seconds - (double)time.tv_sec) * 1e9);
    nanosleep(&time, NULL);
}

/* Seconds that this thread has computed: on a busy machine less than have passed. */
static CHECK_UNUSED double check_computed(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A request whose first step takes a while (at least `seconds` of computing, or as many pictures as are reasonable). */
static CHECK_UNUSED detailflow_request *check_slow_request(const detailflow_model *model, double seconds)
{
    uint32_t count = 1;
    size_t tokens;
    /* The first run of anything takes longer. */
    free(check_draw(model, 1, &tokens));
    for (;;) {
        detailflow_request *request = check_request(model, count, 1);
        detailflow_generation *generation = NULL;
        double begun, took;
        OK(detailflow_generation_new(request, &generation));
        begun = check_computed();
        OK(detailflow_generation_step(generation, NULL));
        took = check_computed() - begun;
        detailflow_generation_free(generation);
        if (took >= seconds || count >= 4096) {
            return request;
        }
        detailflow_request_free(request);
        count *= 2;
    }
}

/* Flags between threads. */
static CHECK_UNUSED int check_get(const int *flag) { return __atomic_load_n(flag, __ATOMIC_SEQ_CST); }

static CHECK_UNUSED void check_set(int *flag, int value) { __atomic_store_n(flag, value, __ATOMIC_SEQ_CST); }

/* Waits until the flag is set; fails after two minutes. */
static CHECK_UNUSED void check_wait(const int *flag)
{
    double end = check_now() + 120;
    while (!check_get(flag)) {
        CHECK(check_now() < end);
        check_sleep(0.0002);
    }
}

#endif
