/*
 * What a program does with the library, from an open model to a quit while work is going on. examples/README.md describes it;
 * the bindings of the other languages run the same scenario and print the same bytes.
 *
 *     cc -std=c11 -pedantic -Wall -Wextra -Werror -Iinclude examples/c/scenario.c \
 *        -Ltarget/release -ldetailflow -pthread -o target/scenario
 *     LD_LIBRARY_PATH=target/release target/scenario [MODEL]
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <detailflow.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 1024, MAX_TOKENS = 4096, JOBS = 4, MANY = 64 };

static unsigned char pixels[MAX_SIDE * MAX_SIDE * 4];

/* Ends the program when a call has failed. */
static void good(const char *what, detailflow_status status)
{
    if (status != DETAILFLOW_STATUS_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, detailflow_status_name(status), detailflow_last_message());
        exit(1);
    }
}

/* FNV-1a, 64 bits: h = 0xcbf29ce484222325; for each byte, h = (h ^ byte) * 0x100000001b3. */
static uint64_t hash(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    size_t at;
    for (at = 0; at < size; at++) {
        h = (h ^ bytes[at]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static detailflow_image target(uint32_t side)
{
    detailflow_image image = {0};
    image.struct_size = sizeof image;
    image.format = DETAILFLOW_FORMAT_RGBA8;
    image.width = side;
    image.height = side;
    image.pixels = pixels;
    image.capacity = sizeof pixels;
    return image;
}

static void print_pixels(const char *what, uint32_t side)
{
    printf("%s %u px %016" PRIx64 "\n", what, (unsigned)side, hash(pixels, (size_t)side * side * 4));
}

/* 1. What the model is. */
static void describe(const detailflow_model *model)
{
    detailflow_model_info info;
    detailflow_level level;
    uint32_t at;

    info.struct_size = sizeof info;
    level.struct_size = sizeof level;
    good("describe the model", detailflow_model_get_info(model, &info));
    printf("model %s: %u px, %u tokens, %u classes\n", info.name, (unsigned)info.image_size, (unsigned)info.token_count,
           (unsigned)info.class_count);
    for (at = 0; at < info.level_count; at++) {
        good("describe a level", detailflow_model_get_level(model, at, &level));
        printf("level %u px: %u tokens\n", (unsigned)level.level_size, (unsigned)level.token_count);
    }
}

/* 2. An error, as a program shows it. */
static void provoke_an_error(const detailflow_model *model)
{
    uint32_t class_index = 0;
    detailflow_status status = detailflow_model_find_class(model, "no such class", &class_index);
    printf("error %s: %s\n", detailflow_status_name(status), detailflow_last_message());
}

/* 3. One picture step by step; each level is shown when it is complete. Returns its tokens. */
static size_t draw(const detailflow_model *model, uint32_t class_index, uint64_t seed, uint32_t tokens[MAX_TOKENS])
{
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_progress progress;
    uint32_t shown = 0;
    size_t count = 0, at;

    progress.struct_size = sizeof progress;
    good("make a request", detailflow_request_new(model, &request));
    good("set the class", detailflow_request_set_class(request, class_index));
    good("set the seed", detailflow_request_set_seed(request, seed));
    good("begin", detailflow_generation_new(request, &generation));
    do {
        good("step", detailflow_generation_step(generation, &progress));
        if (progress.level_size > shown) {
            detailflow_image image = target(progress.level_size);
            good("decode", detailflow_generation_decode_level(generation, 0, &image));
            print_pixels("drawn", progress.level_size);
            shown = progress.level_size;
        }
    } while (progress.steps_left > 0);
    good("get the tokens", detailflow_generation_get_tokens(generation, 0, tokens, MAX_TOKENS, &count));
    printf("tokens");
    for (at = 0; at < count; at++) {
        printf(" %u", (unsigned)tokens[at]);
    }
    printf("\n");
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    return count;
}

/* 4. A token file in memory, and the picture from it. */
static void round_trip(const detailflow_model *model, const uint32_t *tokens, size_t count, uint32_t class_index,
                       uint64_t seed)
{
    detailflow_model_info model_info;
    detailflow_dft_info info;
    detailflow_image image;
    uint32_t back[MAX_TOKENS];
    unsigned char *file;
    size_t size = 0, back_count = 0;

    good("size of the token file", detailflow_dft_encode(model, tokens, count, class_index, &seed, NULL, 0, &size));
    file = malloc(size);
    if (file == NULL) {
        exit(1);
    }
    good("write the token file", detailflow_dft_encode(model, tokens, count, class_index, &seed, file, size, &size));
    info.struct_size = sizeof info;
    good("read the token file", detailflow_dft_get_info(file, size, &info, NULL));
    good("read its tokens", detailflow_dft_get_tokens(file, size, back, MAX_TOKENS, &back_count, NULL));
    printf("file %u bytes %016" PRIx64 ": class %u, seed %" PRIu64 ", %u tokens\n", (unsigned)size, hash(file, size),
           (unsigned)info.class_index, info.seed, (unsigned)back_count);
    free(file);

    model_info.struct_size = sizeof model_info;
    good("describe the model", detailflow_model_get_info(model, &model_info));
    image = target(model_info.image_size);
    good("decode the tokens", detailflow_model_decode(model, back, back_count, model_info.image_size, &image));
    print_pixels("decoded", model_info.image_size);
}

static void *trigger(void *cancel)
{
    good("cancel", detailflow_cancel_trigger(cancel, NULL));
    return NULL;
}

/* 5. Another thread cancels what this one draws; the tokens so far are kept. */
static void cancel(const detailflow_model *model)
{
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_cancel *stop = NULL;
    detailflow_progress progress;
    detailflow_status status;
    pthread_t thread;

    progress.struct_size = sizeof progress;
    good("make a request", detailflow_request_new(model, &request));
    good("set the number of images", detailflow_request_set_image_count(request, MANY));
    good("begin", detailflow_generation_new(request, &generation));
    good("get the cancel", detailflow_generation_get_cancel(generation, &stop));
    good("step", detailflow_generation_step(generation, &progress));
    if (pthread_create(&thread, NULL, trigger, stop) != 0) {
        exit(1);
    }
    do {
        status = detailflow_generation_step(generation, &progress);
    } while (status == DETAILFLOW_STATUS_OK && progress.steps_left > 0);
    pthread_join(thread, NULL);
    good("get the progress", detailflow_generation_get_progress(generation, &progress));
    printf("cancelled %s: %s\n", detailflow_status_name(status),
           progress.token_count > 0 ? "tokens are kept" : "no tokens");
    detailflow_cancel_free(stop);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

static int by_job(const void *left, const void *right) { return strcmp(left, right); }

/* 6. Jobs of a worker; its events are polled, as a game loop does. */
static void work(const detailflow_model *model)
{
    enum { LINE = 64, LINES = 256 };
    static char lines[LINES][LINE];
    detailflow_worker *worker = NULL;
    detailflow_request *request = NULL;
    size_t pending = 0, count = 0, at;
    uint64_t job = 0;

    good("make a worker", detailflow_worker_new(NULL, &worker, NULL));
    good("make a request", detailflow_request_new(model, &request));
    for (at = 0; at < JOBS; at++) {
        good("set the class", detailflow_request_set_class(request, (uint32_t)at));
        good("set the seed", detailflow_request_set_seed(request, at));
        good("submit", detailflow_worker_submit(worker, request, at, DETAILFLOW_SUBMIT_FLAG_DECODE, &job));
    }
    detailflow_request_free(request);
    do {
        detailflow_event *event = NULL;
        good("poll", detailflow_worker_poll(worker, &event));
        if (event != NULL) {
            detailflow_event_info info;
            info.struct_size = sizeof info;
            good("look at the event", detailflow_event_get_info(event, &info, NULL));
            good("the job", info.status);
            /* The last event of a job repeats its last level. */
            if (info.kind == DETAILFLOW_EVENT_KIND_LEVEL && count < LINES) {
                detailflow_image image = target(info.level_size);
                good("get the pixels", detailflow_event_decode_level(event, 0, &image, NULL));
                snprintf(lines[count++], LINE, "job %u: %4u px %016" PRIx64, (unsigned)info.user,
                         (unsigned)info.level_size, hash(pixels, (size_t)info.level_size * info.level_size * 4));
            }
            detailflow_event_free(event);
        }
        good("count the jobs", detailflow_worker_get_pending(worker, &pending));
    } while (pending > 0);
    detailflow_worker_free(worker);
    /* Jobs end in any order. */
    qsort(lines, count, LINE, by_job);
    for (at = 0; at < count; at++) {
        printf("%s\n", lines[at]);
    }
}

/* 7. The program ends while a worker draws. */
static void quit(const detailflow_model *model)
{
    detailflow_worker *worker = NULL;
    detailflow_request *request = NULL;
    size_t pending = 0;

    good("make a worker", detailflow_worker_new(NULL, &worker, NULL));
    good("make a request", detailflow_request_new(model, &request));
    good("set the number of images", detailflow_request_set_image_count(request, MANY));
    good("submit", detailflow_worker_submit(worker, request, 0, 0, NULL));
    good("count the jobs", detailflow_worker_get_pending(worker, &pending));
    printf("quit with %u job going on\n", (unsigned)pending);
    fflush(stdout);
    exit(0);
}

int main(int argc, char **argv)
{
    static uint32_t tokens[MAX_TOKENS];
    detailflow_model *model = NULL;
    uint32_t potion = 0;
    size_t count;

    if (detailflow_abi_version() < DETAILFLOW_ABI_VERSION) {
        fprintf(stderr, "libdetailflow %s is older than its header\n", detailflow_version());
        return 1;
    }
    good("open the model", detailflow_model_open(argc > 1 ? argv[1] : NULL, NULL, &model, NULL));
    describe(model);
    provoke_an_error(model);
    good("find the class", detailflow_model_find_class(model, "potion", &potion));
    count = draw(model, potion, 7, tokens);
    round_trip(model, tokens, count, potion, 7);
    cancel(model);
    work(model);
    quit(model);
}
