/*
 * The float environment belongs to the host: every rounding mode, flushing of subnormal numbers, trapped exceptions. The
 * tokens are those of the default environment, and after each call, successful or not, everything is as it was: rounding,
 * flushing, traps and raised flags. Callbacks see the host's environment, and what they change in it stays.
 *
 *     float BUNDLE [COUNT]     so many pictures are drawn in each environment; 64
 */
#include "check.h"

#include <fenv.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* All that there is of the environment. */
struct state {
    int rounding, raised, trapped;
    unsigned mxcsr;
    unsigned short control, status;
};

static struct state state_now(void)
{
    struct state now;
    memset(&now, 0, sizeof now);
    now.rounding = fegetround();
    now.raised = fetestexcept(FE_ALL_EXCEPT);
    now.trapped = fegetexcept();
#if defined(__x86_64__)
    now.mxcsr = _mm_getcsr();
    __asm__ volatile("fnstcw %0" : "=m"(now.control));
    __asm__ volatile("fnstsw %0" : "=m"(now.status));
#endif
    return now;
}

static int state_is(const struct state *wanted, const char *where)
{
    struct state now = state_now();
    if (memcmp(&now, wanted, sizeof now) == 0) {
        return 1;
    }
    fprintf(stderr, "%s: rounding %x, raised %x, trapped %x, mxcsr %x, x87 %x %x;\n", where, (unsigned)now.rounding,
            (unsigned)now.raised, (unsigned)now.trapped, now.mxcsr, now.control, now.status);
    fprintf(stderr, "wanted rounding %x, raised %x, trapped %x, mxcsr %x, x87 %x %x\n", (unsigned)wanted->rounding,
            (unsigned)wanted->raised, (unsigned)wanted->trapped, wanted->mxcsr, wanted->control, wanted->status);
    return 0;
}

/* What the main thread has: what callbacks on it must see. */
static struct state host;
static int seen;

/* Runs a call, and checks that nothing of the environment has changed. */
#define KEEPS(call)                                                                                                    \
    do {                                                                                                               \
        struct state before = state_now();                                                                             \
        call;                                                                                                          \
        CHECK(state_is(&before, #call));                                                                               \
    } while (0)

/* As KEEPS, on the main thread. */
#define UNCHANGED(call)                                                                                                \
    do {                                                                                                               \
        host = state_now();                                                                                            \
        KEEPS(call);                                                                                                   \
    } while (0)

static const char *const environments[] = {"default", "upward", "downward",         "toward zero",
                                           "flush",   "traps",  "raised and upward"};
#define ENVIRONMENTS 7

static void enter(int environment)
{
    CHECK(fesetenv(FE_DFL_ENV) == 0);
    switch (environment) {
    case 1: CHECK(fesetround(FE_UPWARD) == 0); break;
    case 2: CHECK(fesetround(FE_DOWNWARD) == 0); break;
    case 3: CHECK(fesetround(FE_TOWARDZERO) == 0); break;
    case 4:
#if defined(__x86_64__)
        _mm_setcsr(_mm_getcsr() | 0x8040); /* FTZ and DAZ */
#elif defined(__aarch64__)
        __asm__ volatile("msr fpcr, %0" : : "r"(1ull << 24));
#endif
        break;
    case 5: (void)feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW); break;
    case 6:
        CHECK(fesetround(FE_UPWARD) == 0);
        feraiseexcept(FE_INVALID | FE_INEXACT);
        break;
    default: break;
    }
}

static void is_the_hosts(const char *where)
{
    CHECK(state_is(&host, where));
    seen++;
}

static void on_open(void *user, uint32_t done, uint32_t total, const char *stage)
{
    (void)user;
    (void)done;
    (void)total;
    (void)stage;
    is_the_hosts("open progress");
}

static void on_log(void *user, uint32_t severity, const char *message)
{
    (void)severity;
    (void)message;
    if (pthread_equal(*(pthread_t *)user, pthread_self())) {
        is_the_hosts("log");
    }
}

static float on_score(void *user, const detailflow_candidate *candidate)
{
    (void)user;
    (void)candidate;
    is_the_hosts("score");
    return 0;
}

/* What the thread had that made the worker. */
static struct state maker;

static void on_event(void *user, detailflow_event *event)
{
    detailflow_event_info info;
    info.struct_size = sizeof info;
    CHECK(state_is(&maker, "worker event"));
    KEEPS(OK(detailflow_event_get_info(event, &info, NULL)));
    if (info.kind != DETAILFLOW_EVENT_KIND_LEVEL) {
        CHECK(info.kind == DETAILFLOW_EVENT_KIND_DONE);
        check_set((int *)user, 1);
    }
    KEEPS(detailflow_event_free(event));
}

struct drawn {
    uint32_t *tokens;
    size_t count;
    unsigned char *pixels;
    size_t bytes;
};

static detailflow_model *open_in(const char *bundle, const char *precision, const char *form, uint32_t threads)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    UNCHANGED(OK(detailflow_model_options_new(&options, NULL)));
    UNCHANGED(OK(detailflow_model_options_set_threads(options, threads)));
    UNCHANGED(OK(detailflow_model_options_set_precision(options, precision)));
    UNCHANGED(OK(detailflow_model_options_set_form(options, form)));
    UNCHANGED(OK(detailflow_model_options_set_open_progress(options, on_open, NULL)));
    seen = 0;
    UNCHANGED(OK(detailflow_model_open(bundle, options, &model, NULL)));
    CHECK(seen > 0);
    UNCHANGED(detailflow_model_options_free(options));
    return model;
}

/* All tokens of `count` pictures, and the pixels of the first. */
static struct drawn draw(const detailflow_model *model, uint32_t count)
{
    struct drawn all;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_image image;
    uint32_t at, size = 0;
    size_t each = 0;
    float mean = 0;

    UNCHANGED(OK(detailflow_request_new(model, &request)));
    UNCHANGED(OK(detailflow_request_set_image_count(request, count)));
    UNCHANGED(OK(detailflow_request_set_seed(request, 5)));
    UNCHANGED(OK(detailflow_request_set_log_probabilities(request, 1)));
    UNCHANGED(OK(detailflow_generation_new(request, &generation)));
    UNCHANGED(OK(detailflow_generation_step(generation, NULL)));
    UNCHANGED(OK(detailflow_generation_finish(generation, NULL)));
    UNCHANGED(OK(detailflow_generation_get_tokens(generation, 0, NULL, 0, &each)));
    UNCHANGED(OK(detailflow_generation_get_mean_log_probability(generation, 0, &mean)));
    all.count = each * count;
    all.tokens = (uint32_t *)calloc(all.count + 1, sizeof *all.tokens);
    CHECK(all.tokens != NULL);
    for (at = 0; at < count; at++) {
        UNCHANGED(OK(detailflow_generation_get_tokens(generation, at, all.tokens + at * each, each, &each)));
    }
    memcpy(all.tokens + all.count, &mean, sizeof mean);
    UNCHANGED(OK(detailflow_model_get_prefix_size(model, each, &size)));
    all.bytes = (size_t)4 * size * size;
    all.pixels = (unsigned char *)malloc(all.bytes);
    CHECK(all.pixels != NULL);
    image = check_image(DETAILFLOW_FORMAT_RGBA8, size, all.pixels, all.bytes);
    UNCHANGED(OK(detailflow_model_decode(model, all.tokens, each, 0, &image)));
    UNCHANGED(detailflow_generation_free(generation));
    UNCHANGED(detailflow_request_free(request));
    return all;
}

/* The other calls that compute, and calls that fail. */
static void others(const char *bundle, const detailflow_model *model)
{
    detailflow_model_info info = check_info(model);
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_best_of_options *best = NULL;
    detailflow_model *none = NULL;
    detailflow_image image;
    uint32_t tokens[4096];
    size_t count = 0;
    const size_t bytes = (size_t)4 * info.image_size * info.image_size;
    unsigned char *pixels = (unsigned char *)calloc(1, bytes);
    CHECK(pixels != NULL && info.token_count <= 4096);
    image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);

    UNCHANGED(OK(detailflow_model_encode(model, &image, tokens, 4096, &count)));
    UNCHANGED(OK(detailflow_image_save(&image, "float.png", NULL)));
    UNCHANGED(OK(detailflow_image_save(&image, "float.jpg", NULL)));
    UNCHANGED(OK(detailflow_model_encode_file(model, "float.jpg", tokens, 4096, &count)));

    UNCHANGED(OK(detailflow_request_new(model, &request)));
    UNCHANGED(OK(detailflow_request_set_image_count(request, 2)));
    UNCHANGED(OK(detailflow_best_of_options_new(&best, NULL)));
    UNCHANGED(OK(detailflow_best_of_options_add_round(best, info.image_size, 1)));
    UNCHANGED(OK(detailflow_best_of_options_set_scorer_function(best, on_score, NULL)));
    seen = 0;
    UNCHANGED(OK(detailflow_best_of(request, best, &generation, NULL, 0, NULL, NULL, 0)));
    CHECK(seen == 2);
    UNCHANGED(detailflow_generation_free(generation));
    UNCHANGED(detailflow_best_of_options_free(best));

    UNCHANGED(FAILS(detailflow_model_open("/there/is/none", NULL, &none, NULL), DETAILFLOW_STATUS_NOT_FOUND, ""));
    UNCHANGED(INVALID(detailflow_model_open(bundle, NULL, NULL, NULL), "NULL"));
    UNCHANGED(INVALID(detailflow_model_decode(model, tokens, 0, 0, &image), ""));
    UNCHANGED(INVALID(detailflow_request_set_seed(NULL, 1), "NULL"));
    UNCHANGED(detailflow_model_free((detailflow_model *)(void *)pixels));
    UNCHANGED(detailflow_request_free(request));
    free(pixels);
}

/* The events of a worker come in the environment of the thread that made the worker. */
static void worker(const detailflow_model *model)
{
    detailflow_worker *worker = NULL;
    detailflow_request *request = NULL;
    int done = 0;
    maker = state_now();
    UNCHANGED(OK(detailflow_worker_new(NULL, &worker, NULL)));
    UNCHANGED(OK(detailflow_worker_set_callback(worker, on_event, &done)));
    UNCHANGED(OK(detailflow_request_new(model, &request)));
    UNCHANGED(OK(detailflow_worker_submit(worker, request, 0, DETAILFLOW_SUBMIT_FLAG_DECODE, NULL)));
    check_wait(&done);
    UNCHANGED(detailflow_worker_free(worker));
    UNCHANGED(detailflow_request_free(request));
}

/* A callback may change the environment: that is what the host has then. */
static void change(void *user, uint32_t done, uint32_t total, const char *stage)
{
    (void)user;
    (void)done;
    (void)total;
    (void)stage;
    fesetround(FE_DOWNWARD);
}

static void change_in_a_callback(const char *bundle)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    enter(0);
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_open_progress(options, change, NULL));
    OK(detailflow_model_open(bundle, options, &model, NULL));
    CHECK(fegetround() == FE_DOWNWARD);
    detailflow_model_options_free(options);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    static const char *const variants[][2] = {{"fp32", "native"}, {"fp32", "mha"},    {"fp32", "plain"},
                                              {"fp32", "fixed"},  {"int8", "native"}, {"int8", "mha"},
                                              {"int8", "plain"},  {"int8", "fixed"}};
    const char *bundle = check_bundle(argc, argv);
    const uint32_t count = argc > 2 ? (uint32_t)atoi(argv[2]) : 64;
    pthread_t self = pthread_self();
    size_t variant;
    uint32_t threads;
    int environment, differ = 0;

    OK(detailflow_log_set_callback(DETAILFLOW_SEVERITY_DEBUG, on_log, &self, NULL));
    /* The first open of the process, which loads ONNX Runtime, in the oddest environments. */
    for (environment = ENVIRONMENTS - 1; environment >= 0; environment--) {
        enter(environment);
        detailflow_model_free(open_in(bundle, "fp32", "plain", 2));
    }
    for (variant = 0; variant < sizeof variants / sizeof *variants; variant++) {
        for (threads = 1; threads <= 2; threads++) {
            struct drawn wanted;
            memset(&wanted, 0, sizeof wanted);
            for (environment = 0; environment < ENVIRONMENTS; environment++) {
                const char *precision = variants[variant][0], *form = variants[variant][1];
                detailflow_model *model;
                struct drawn drawn;
                enter(environment);
                model = open_in(bundle, precision, form, threads);
                drawn = draw(model, count);
                if (threads == 1 && variant % 4 == 0) {
                    others(bundle, model);
                    worker(model);
                }
                UNCHANGED(detailflow_model_free(model));
                enter(0);
                if (environment == 0) {
                    wanted = drawn;
                    continue;
                }
                if (drawn.count != wanted.count || drawn.bytes != wanted.bytes ||
                    memcmp(drawn.tokens, wanted.tokens, (drawn.count + 1) * sizeof *drawn.tokens) != 0 ||
                    memcmp(drawn.pixels, wanted.pixels, drawn.bytes) != 0) {
                    fprintf(stderr, "%s %s, %u threads, %s: other tokens or pixels\n", precision, form,
                            (unsigned)threads, environments[environment]);
                    differ = 1;
                }
                free(drawn.tokens);
                free(drawn.pixels);
            }
            free(wanted.tokens);
            free(wanted.pixels);
        }
    }
    CHECK(!differ);
    OK(detailflow_log_set_callback(0, NULL, NULL, NULL));
    change_in_a_callback(bundle);
    return 0;
}
