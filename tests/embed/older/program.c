/*
 * A program of the first version of the C API: it uses only what tests/data/detailflow-abi1.h declares, and prints what it
 * gets, times and paths left out. Compiled against that header and against today's it prints the same bytes.
 *
 * Each struct that the library fills is followed by bytes that must stay as they are: the library of tomorrow, whose structs
 * may be longer, writes only what the struct_size of this program has room for.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include <detailflow.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64, TOKENS = 4096, JOBS = 3, IMAGES = 4, LEVELS = 16, STEPS = 64, LINE = 160, LINES = 64 };

/* A struct with a guard behind it. */
#define GUARDED(type)                                                                                                  \
    struct {                                                                                                           \
        type it;                                                                                                       \
        unsigned char guard[256];                                                                                      \
    }
#define PREPARE(guarded)                                                                                               \
    (memset(&(guarded), 0xa5, sizeof(guarded)), (guarded).it.struct_size = (uint32_t)sizeof((guarded).it))
#define CHECK(guarded) check(__LINE__, (guarded).it.struct_size == sizeof((guarded).it), (guarded).guard)

static unsigned char pixels[SIDE * SIDE * 16];
static uint32_t tokens[TOKENS];

static void good(const char *what, detailflow_status status)
{
    if (status != DETAILFLOW_STATUS_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, detailflow_status_name(status), detailflow_last_message());
        exit(1);
    }
}

static void check(int line, int size_is_kept, const unsigned char *guard)
{
    size_t at;
    for (at = 0; at < 256; at++) {
        if (guard[at] != 0xa5 || !size_is_kept) {
            fprintf(stderr, "line %d: the library wrote beyond the struct, or its struct_size\n", line);
            exit(1);
        }
    }
}

/* FNV-1a, 64 bits. */
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

static detailflow_image target(uint32_t format, uint32_t width, uint32_t height)
{
    detailflow_image image = {0};
    image.struct_size = sizeof image;
    image.format = format;
    image.width = width;
    image.height = height;
    image.pixels = pixels;
    image.capacity = sizeof pixels;
    memset(pixels, 0, sizeof pixels);
    return image;
}

static void describe(const detailflow_model *model)
{
    GUARDED(detailflow_model_info) info;
    GUARDED(detailflow_level) level;
    GUARDED(detailflow_error) error;
    GUARDED(detailflow_device_info) device;
    detailflow_device_list *devices = NULL;
    detailflow_pack *pack = NULL;
    detailflow_status status;
    const char *name = NULL;
    uint32_t at;

    PREPARE(info);
    good("describe the model", detailflow_model_get_info(model, &info.it));
    CHECK(info);
    printf("model %s, %s, %s, %s, %s, %s\n", info.it.name, info.it.license, info.it.tokenizer_id, info.it.precision,
           info.it.form, info.it.device);
    printf("%u %u %u %u %u %u %u %u %u, %g %g %g %u %u, %u %u %u, path of %s\n", info.it.image_size, info.it.channels,
           info.it.token_count, info.it.group_size, info.it.causal_count, info.it.codebook_size, info.it.bits_per_token,
           info.it.class_count, info.it.level_count, info.it.guidance, info.it.temperature, info.it.top_p,
           info.it.top_k, info.it.gradual_guidance, info.it.can_generate, info.it.can_encode, info.it.reserved,
           strlen(info.it.path) > 0 ? "some bytes" : "none");
    for (at = 0; at < info.it.level_count; at++) {
        PREPARE(level);
        good("describe a level", detailflow_model_get_level(model, at, &level.it));
        CHECK(level);
        printf("level %u px: %u tokens, %u\n", level.it.level_size, level.it.token_count, level.it.reserved);
    }
    good("name a class", detailflow_model_get_class_name(model, 3, &name));
    printf("class 3 is %s\n", name);

    PREPARE(error);
    status = detailflow_pack_open("no such file", &pack, &error.it);
    CHECK(error);
    printf("error %s %d %d\n", detailflow_status_name(status), (int)error.it.status, strlen(error.it.message) > 0);

    good("list the devices", detailflow_device_list_new(&devices, NULL));
    PREPARE(device);
    good("describe a device", detailflow_device_list_get_info(devices, 0, &device.it, NULL));
    CHECK(device);
    printf("device %s, kind %u\n", device.it.device, device.it.kind);
    detailflow_device_list_free(devices);
}

/* Two images, step by step; the tokens of the first. */
static size_t generate(const detailflow_model *model)
{
    static const uint32_t formats[] = {DETAILFLOW_FORMAT_RGB8, DETAILFLOW_FORMAT_RGBA8, DETAILFLOW_FORMAT_RGBA32F};
    static const uint32_t bytes[] = {3, 4, 16};
    GUARDED(detailflow_progress) progress;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    uint32_t level = 0;
    size_t count = 0, at;

    good("make a request", detailflow_request_new(model, &request));
    good("set the class", detailflow_request_set_class(request, 3));
    good("set the seed", detailflow_request_set_seed(request, 11));
    good("set the images", detailflow_request_set_image_count(request, 2));
    good("begin", detailflow_generation_new(request, &generation));
    do {
        PREPARE(progress);
        good("advance", detailflow_generation_advance(generation, 1, &progress.it));
        CHECK(progress);
        printf("progress %u %u %u %u %u %u %u\n", progress.it.steps_done, progress.it.steps_left,
               progress.it.token_count, progress.it.prefix_size, progress.it.level_size, progress.it.image_count,
               progress.it.level_token_count);
        if (progress.it.level_size > level) {
            level = progress.it.level_size;
            for (at = 0; at < 3; at++) {
                detailflow_image image = target(formats[at], level, level);
                good("decode a level", detailflow_generation_decode_level(generation, 1, &image));
                printf("image %u px %016" PRIx64 "\n", level, hash(pixels, (size_t)level * level * bytes[at]));
            }
        }
    } while (progress.it.steps_left > 0);
    good("get the tokens", detailflow_generation_get_tokens(generation, 0, tokens, TOKENS, &count));
    printf("tokens");
    for (at = 0; at < count; at++) {
        printf(" %u", tokens[at]);
    }
    printf("\n");
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    return count;
}

/* Arrays of structs, whose stride is the struct_size of the program that was compiled. */
static void arrays(const detailflow_model *model, size_t count)
{
    static detailflow_step_cost steps[STEPS];
    static detailflow_level_cost levels[LEVELS];
    GUARDED(detailflow_cost) cost;
    detailflow_sprite sprites[3];
    detailflow_image mips[3];
    detailflow_image atlas;
    detailflow_request *request = NULL;
    uint32_t height = 0;
    size_t number = 0, at;

    good("make a request", detailflow_request_new(model, &request));
    PREPARE(cost);
    good("get the cost", detailflow_request_get_cost(request, &cost.it));
    CHECK(cost);
    printf("cost %u %" PRIu64 "\n", cost.it.step_count, cost.it.multiply_adds);
    steps[0].struct_size = sizeof steps[0];
    good("get the costs of steps", detailflow_request_get_step_costs(request, steps, STEPS, &number));
    for (at = 0; at < number; at++) {
        printf("step %u %u %u\n", steps[at].batch_rows, steps[at].query_length, steps[at].step_count);
    }
    levels[0].struct_size = sizeof levels[0];
    good("get the costs of levels", detailflow_request_get_level_costs(request, levels, LEVELS, &number));
    for (at = 0; at < number; at++) {
        printf("level %u %u %u\n", levels[at].level_size, levels[at].token_count, levels[at].step_count);
    }
    detailflow_request_free(request);

    memset(sprites, 0, sizeof sprites);
    for (at = 0; at < 3; at++) {
        sprites[at].struct_size = sizeof sprites[at];
        sprites[at].tokens = tokens;
        sprites[at].token_count = count;
        sprites[at].level_size = at == 0 ? 0 : 8;
        sprites[at].factor = at == 2 ? 2 : 1;
    }
    good("lay out an atlas", detailflow_model_lay_out_atlas(model, sprites, 3, SIDE, 1, &height));
    atlas = target(DETAILFLOW_FORMAT_RGBA8, SIDE, height);
    good("decode an atlas", detailflow_model_decode_atlas(model, sprites, 3, &atlas));
    printf("atlas %u %u, %u %u, %u %u, %u: %016" PRIx64 "\n", sprites[0].x, sprites[0].y, sprites[1].x, sprites[1].y,
           sprites[2].x, sprites[2].y, height, hash(pixels, (size_t)SIDE * height * 4));

    mips[0] = target(DETAILFLOW_FORMAT_RGBA8, 32, 32);
    mips[1] = target(DETAILFLOW_FORMAT_RGB8, 16, 16);
    mips[2] = target(DETAILFLOW_FORMAT_RGBA8, 4, 4);
    mips[1].pixels = pixels + 4096;
    mips[2].pixels = pixels + 8192;
    mips[1].capacity = mips[2].capacity = 4096;
    mips[2].stride = 20;
    good("decode mips", detailflow_model_decode_mips(model, tokens, count, DETAILFLOW_MIPS_SOURCE_DEFAULT, mips, 3));
    printf("mips %016" PRIx64 "\n", hash(pixels, sizeof pixels));
}

static float DETAILFLOW_CALL score(void *user, const detailflow_candidate *candidate)
{
    char *lines = user;
    uint64_t of_tokens = hash(candidate->tokens, candidate->token_count * sizeof *candidate->tokens);

    if (candidate->struct_size < sizeof *candidate) {
        fprintf(stderr, "the candidate is shorter than the struct of this program\n");
        exit(1);
    }
    snprintf(lines + (size_t)candidate->image_index * LINE, LINE,
             "candidate %u: class %u, %u px, seed %" PRIu64 ", %u tokens %016" PRIx64 ", %016" PRIx64,
             candidate->image_index, candidate->class_index, candidate->level_size, candidate->seed,
             (unsigned)candidate->token_count, of_tokens,
             hash(candidate->pixels, (size_t)candidate->level_size * candidate->level_size * 4));
    return (float)(of_tokens % 1000);
}

/* A struct that the library passes to a callback. */
static void best(const detailflow_model *model)
{
    static char lines[IMAGES][LINE];
    detailflow_best_of_options *options = NULL;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    uint32_t survivors[1];
    float scores[IMAGES];
    size_t count = 0, at;

    good("make a request", detailflow_request_new(model, &request));
    good("set the images", detailflow_request_set_image_count(request, IMAGES));
    good("make options", detailflow_best_of_options_new(&options, NULL));
    good("add a round", detailflow_best_of_options_add_round(options, 8, 1));
    good("set the scorer", detailflow_best_of_options_set_scorer_function(options, score, lines));
    good("choose", detailflow_best_of(request, options, &generation, survivors, 1, &count, scores, IMAGES));
    for (at = 0; at < IMAGES; at++) {
        printf("%s, score %g\n", lines[at], scores[at]);
    }
    printf("survivor %u\n", survivors[0]);
    detailflow_generation_free(generation);
    detailflow_best_of_options_free(options);
    detailflow_request_free(request);
}

static void token_file(const detailflow_model *model, size_t count)
{
    static unsigned char file[8192];
    static uint32_t back[TOKENS];
    GUARDED(detailflow_dft_info) info;
    uint64_t seed = 11;
    size_t size = 0, back_count = 0;

    good("write a token file", detailflow_dft_encode(model, tokens, count, 3, &seed, file, sizeof file, &size));
    PREPARE(info);
    good("read a token file", detailflow_dft_get_info(file, size, &info.it, NULL));
    CHECK(info);
    good("read its tokens", detailflow_dft_get_tokens(file, size, back, TOKENS, &back_count, NULL));
    printf("file %016" PRIx64 ": %u %u %u %u %u %u %u, class %u, %u, seed %" PRIu64 ", %s, tokens %016" PRIx64 "\n",
           hash(file, size), info.it.damage, info.it.intact_count, info.it.written_count, info.it.token_count,
           info.it.group_size, info.it.causal_count, info.it.bits_per_token, info.it.class_index, info.it.has_seed,
           info.it.seed, info.it.tokenizer_id, hash(back, back_count * sizeof *back));
}

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char lines[LINES][LINE];
    size_t count, ended;
} events = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, {{0}}, 0, 0};

/* One line for an event. It is taken by one thread at a time. */
static void note(detailflow_event *event)
{
    static uint32_t of_event[TOKENS];
    GUARDED(detailflow_event_info) info;
    size_t count = 0;

    PREPARE(info);
    good("look at an event", detailflow_event_get_info(event, &info.it, NULL));
    CHECK(info);
    if (events.count == LINES) {
        fprintf(stderr, "too many events\n");
        exit(1);
    }
    if (info.it.kind == DETAILFLOW_EVENT_KIND_CANCELLED) {
        /* How far it came depends on time. */
        snprintf(events.lines[events.count++], LINE, "job %u: cancelled, %s", (unsigned)info.it.user,
                 detailflow_status_name(info.it.status));
    } else {
        detailflow_image image = target(DETAILFLOW_FORMAT_RGBA8, info.it.level_size, info.it.level_size);
        good("get the tokens", detailflow_event_get_tokens(event, 0, of_event, TOKENS, &count, NULL));
        good("get the image", detailflow_event_decode_level(event, 0, &image, NULL));
        snprintf(events.lines[events.count++], LINE,
                 "job %u: kind %u, %d, %u %u, %2u px, %u %u %u %u, tokens %016" PRIx64 ", image %016" PRIx64,
                 (unsigned)info.it.user, info.it.kind, (int)info.it.status, info.it.image_count, info.it.token_count,
                 info.it.level_size, info.it.level_token_count, info.it.steps_done, info.it.steps_left, info.it.decoded,
                 hash(of_event, count * sizeof *of_event),
                 hash(pixels, (size_t)info.it.level_size * info.it.level_size * 4));
    }
    events.ended += info.it.kind != DETAILFLOW_EVENT_KIND_LEVEL;
    detailflow_event_free(event);
}

static void DETAILFLOW_CALL on_event(void *user, detailflow_event *event)
{
    (void)user;
    pthread_mutex_lock(&events.mutex);
    note(event);
    pthread_cond_signal(&events.changed);
    pthread_mutex_unlock(&events.mutex);
}

static int by_text(const void *left, const void *right) { return strcmp(left, right); }

/* Jobs of a worker, whose events are waited for or come to a callback; the last is cancelled. */
static void work(const detailflow_model *model, int with_callback)
{
    detailflow_worker_options *options = NULL;
    detailflow_worker *worker = NULL;
    detailflow_request *request = NULL;
    uint64_t job = 0;
    size_t at;

    events.count = events.ended = 0;
    good("make options", detailflow_worker_options_new(&options, NULL));
    good("set the threads", detailflow_worker_options_set_threads(options, 2));
    good("make a worker", detailflow_worker_new(options, &worker, NULL));
    detailflow_worker_options_free(options);
    if (with_callback) {
        good("set the callback", detailflow_worker_set_callback(worker, on_event, NULL));
    }
    good("make a request", detailflow_request_new(model, &request));
    for (at = 0; at < JOBS; at++) {
        good("set the class", detailflow_request_set_class(request, (uint32_t)at));
        good("submit", detailflow_worker_submit(
                           worker, request, at,
                           at == 0 ? DETAILFLOW_SUBMIT_FLAG_LAST_ONLY : DETAILFLOW_SUBMIT_FLAG_DECODE, &job));
    }
    good("set the images", detailflow_request_set_image_count(request, 64));
    good("submit", detailflow_worker_submit(worker, request, JOBS, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, &job));
    good("cancel", detailflow_worker_cancel(worker, job));
    detailflow_request_free(request);
    while (with_callback == 0 && events.ended < JOBS + 1) {
        detailflow_event *event = NULL;
        good("wait", detailflow_worker_wait(worker, UINT64_C(10000000000), &event));
        if (event != NULL) {
            note(event);
        }
    }
    pthread_mutex_lock(&events.mutex);
    while (events.ended < JOBS + 1) {
        pthread_cond_wait(&events.changed, &events.mutex);
    }
    pthread_mutex_unlock(&events.mutex);
    good("close the worker", detailflow_worker_close(worker, UINT64_C(10000000000)));
    detailflow_worker_free(worker);
    qsort(events.lines, events.count, LINE, by_text);
    for (at = 0; at < events.count; at++) {
        printf("%s\n", events.lines[at]);
    }
}

int main(void)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    size_t count;

    if (detailflow_abi_version() < DETAILFLOW_ABI_VERSION) {
        fprintf(stderr, "libdetailflow %s is older than its header\n", detailflow_version());
        return 1;
    }
    good("make options", detailflow_model_options_new(&options, NULL));
    good("set the threads", detailflow_model_options_set_threads(options, 1));
    good("open the model", detailflow_model_open(NULL, options, &model, NULL));
    detailflow_model_options_free(options);
    describe(model);
    count = generate(model);
    arrays(model, count);
    best(model);
    token_file(model, count);
    work(model, 0);
    work(model, 1);
    detailflow_model_free(model);
    return 0;
}
