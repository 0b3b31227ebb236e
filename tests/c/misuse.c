/* Everything that is wrong with the calls on levels, forks, prefixes and curves: a status, a sentence that names it, and
 * nothing written. From another thread it is BUSY. */
#include "check.h"

#include <math.h>

static void curves_refuse_misuse(detailflow_request *request)
{
    typedef detailflow_status (*set_curve)(detailflow_request *, const uint32_t *, const float *, size_t);
    const set_curve curves[4] = {detailflow_request_set_guidance_curve, detailflow_request_set_temperature_curve,
                                 detailflow_request_set_top_k_curve, detailflow_request_set_top_p_curve};
    static const char *const names[4] = {"guidance", "temperature", "top-k", "top-p"};
    const float wrong[4][3] = {{-1, 1000.5f, -1}, {-0.5f, -1, -2}, {-1, -1, 1e10f}, {0, 1.5f, -1}};
    const float never[3] = {NAN, INFINITY, -INFINITY};
    const uint32_t flat[3] = {4, 4, 5}, falling[3] = {4, 6, 5}, rising[3] = {0, 4, 5};
    size_t which, at;
    for (which = 0; which < 4; which++) {
        const set_curve set = curves[which];
        float values[3] = {1, 1, 1};
        INVALID(set(request, rising, values, 0), "1 to 64");
        INVALID(set(request, NULL, NULL, 0), "1 to 64");
        /* The arrays are much shorter than that: not a value is read. */
        INVALID(set(request, rising, values, 65), "too many");
        INVALID(set(request, rising, values, SIZE_MAX), "too many");
        INVALID(set(request, rising, values, SIZE_MAX / 4 + 2), "too many");
        INVALID(set(request, NULL, values, 3), "token_indices is NULL");
        INVALID(set(request, rising, NULL, 3), "values is NULL");
        INVALID(set(request, flat, values, 3), "must increase");
        INVALID(set(request, falling, values, 3), "5 follows 6");
        for (at = 0; at < 3; at++) {
            values[at] = wrong[which][at];
            INVALID(set(request, rising, values, 3), names[which]);
            values[at] = never[at];
            INVALID(set(request, rising, values, 3), "not a finite number");
            values[at] = 1;
        }
        OK(set(request, rising, values, 3));
    }
}

static void prefixes_refuse_misuse(const detailflow_model *model, detailflow_request *request)
{
    const detailflow_model_info info = check_info(model);
    const detailflow_level level = check_level(model, 0);
    detailflow_generation *const untouched = (detailflow_generation *)(void *)request;
    detailflow_generation *generation = untouched;
    unsigned char pixel[4] = {1, 2, 3, 4};
    detailflow_image picture = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    size_t count;
    uint32_t *tokens = check_draw(model, 7, &count);

    INVALID(detailflow_request_set_prefix(request, NULL, 1, 0), "tokens is NULL");
    INVALID(detailflow_request_set_prefix(request, tokens, count + 1, 0), "too many");
    INVALID(detailflow_request_set_prefix(request, tokens, SIZE_MAX, 0), "too many");
    INVALID(detailflow_request_set_prefix(request, tokens, SIZE_MAX / 4 + 2, level.level_size), "too many");
    INVALID(detailflow_request_set_prefix(request, tokens, count, 1), "levels are");
    INVALID(detailflow_request_set_prefix(request, tokens, count, UINT32_MAX), "levels are");
    INVALID(detailflow_request_set_prefix(request, tokens, level.token_count - 1, level.level_size), "takes");
    INVALID(detailflow_request_set_prefix(request, NULL, 0, level.level_size), "there are 0");
    INVALID(detailflow_request_set_image_prefix(request, 2, tokens, count), "image 2");
    INVALID(detailflow_request_set_image_prefix(request, UINT32_MAX, tokens, count), "image 4294967295");
    INVALID(detailflow_request_set_image_prefix(request, 0, NULL, 1), "tokens is NULL");
    INVALID(detailflow_request_set_image_prefix(request, 0, tokens, SIZE_MAX), "too many");
    INVALID(detailflow_vary(request, NULL, count, 0, &generation), "tokens is NULL");
    INVALID(detailflow_vary(request, tokens, SIZE_MAX, 0, &generation), "too many");
    INVALID(detailflow_vary(request, tokens, count, 1, &generation), "levels are");
    INVALID(detailflow_vary(request, tokens, level.token_count - 1, level.level_size, &generation), "takes");
    INVALID(detailflow_redetail(request, &picture, 1, &generation), "levels are");
    FAILS(detailflow_redetail_file(request, "there-is-no.png", 0, &generation), DETAILFLOW_STATUS_NOT_FOUND,
          "there-is-no.png");
    INVALID(detailflow_request_set_prefix_picture(request, &picture, 1), "levels are");
    picture.capacity = 3;
    INVALID(detailflow_redetail(request, &picture, 0, &generation), "bytes are too few");
    INVALID(detailflow_request_set_prefix_picture(request, &picture, 0), "bytes are too few");
    picture.width = UINT32_MAX;
    picture.stride = SIZE_MAX;
    INVALID(detailflow_redetail(request, &picture, 0, &generation), "");
    picture.struct_size = 39;
    INVALID(detailflow_redetail(request, &picture, 0, &generation), "struct_size");
    INVALID(detailflow_request_set_prefix_picture(request, &picture, 0), "struct_size");
    if (!check_is_prefix(&info, info.causal_count + 1)) {
        INVALID(detailflow_request_set_prefix(request, tokens, info.causal_count + 1, 0), "not a prefix");
        INVALID(detailflow_request_set_image_prefix(request, 1, tokens, info.causal_count + 1), "not a prefix");
        INVALID(detailflow_vary(request, tokens, info.causal_count + 1, 0, &generation), "not a prefix");
    }
    /* Nothing of all that was taken. */
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_progress(generation).token_count == 0);
    detailflow_generation_free(generation);
    generation = untouched;
    /* Longer than the level that is asked for: by itself, and after a setter that came later. */
    if (level.token_count < count) {
        OK(detailflow_request_set_prefix(request, tokens, count, 0));
        OK(detailflow_request_set_level_size(request, level.level_size));
        INVALID(detailflow_generation_new(request, &generation), "the prefix has");
        INVALID(detailflow_generate(request, &generation), "the prefix has");
        OK(detailflow_request_set_prefix(request, NULL, 0, 0));
        INVALID(detailflow_vary(request, tokens, count, 0, &generation), "the prefix has");
        OK(detailflow_request_set_level_size(request, 0));
    }
    tokens[0] = info.codebook_size;
    INVALID(detailflow_request_set_prefix(request, tokens, count, 0), "token 0");
    INVALID(detailflow_request_set_image_prefix(request, 0, tokens, count), "token 0");
    INVALID(detailflow_vary(request, tokens, count, level.level_size, &generation), "token 0");
    tokens[0] = UINT32_MAX;
    INVALID(detailflow_request_set_prefix(request, tokens, 1, 0), "4294967295");
    CHECK(generation == untouched);
    free(tokens);
}

static void generation_refuses_misuse(const detailflow_model *model, detailflow_request *request)
{
    const detailflow_level first = check_level(model, 0);
    detailflow_generation *generation = NULL, *fork;
    const uint32_t none[1] = {2}, twice[2] = {1, 1}, beyond[1] = {UINT32_MAX}, both[2] = {0, 1};
    const uint64_t seeds[2] = {1, 2};
    uint32_t class_index = 77;
    uint64_t seed = 77;
    size_t count = 77;
    float value = 77;
    char message[256];
    OK(detailflow_request_set_log_probabilities(request, 1));
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_step(generation, NULL));
    fork = generation;

    INVALID(detailflow_generation_fork(generation, seeds, 1, &fork), "1 seeds for 2 pictures");
    INVALID(detailflow_generation_fork(generation, NULL, 0, &fork), "0 seeds for 2 pictures");
    INVALID(detailflow_generation_fork(generation, seeds, 3, &fork), "too many");
    INVALID(detailflow_generation_fork(generation, seeds, SIZE_MAX, &fork), "too many");
    INVALID(detailflow_generation_fork(generation, seeds, SIZE_MAX / 8 + 2, &fork), "too many");
    INVALID(detailflow_generation_fork(generation, NULL, 2, &fork), "seeds is NULL");
    INVALID(detailflow_generation_fork(generation, seeds, 2, NULL), "fork is NULL");
    CHECK(MESSAGE(detailflow_generation_get_message, generation, message, sizeof message) > 0);
    CHECK(strcmp(message, "fork is NULL") == 0);
    CHECK(fork == generation);

    INVALID(detailflow_generation_retain_images(generation, NULL, 0), "at least one");
    INVALID(detailflow_generation_retain_images(generation, both, 0), "at least one");
    INVALID(detailflow_generation_retain_images(generation, NULL, 1), "image_indices is NULL");
    INVALID(detailflow_generation_retain_images(generation, none, 1), "image 2");
    INVALID(detailflow_generation_retain_images(generation, beyond, 1), "image 4294967295");
    INVALID(detailflow_generation_retain_images(generation, twice, 2), "image 1 is named twice");
    INVALID(detailflow_generation_retain_images(generation, both, 3), "too many");
    INVALID(detailflow_generation_retain_images(generation, both, SIZE_MAX), "too many");
    INVALID(detailflow_generation_retain_images(generation, both, SIZE_MAX / 4 + 2), "too many");
    CHECK(check_progress(generation).image_count == 2);

    INVALID(detailflow_generation_get_image_source(generation, 2, &class_index, &seed), "image 2");
    INVALID(detailflow_generation_get_image_source(generation, UINT32_MAX, NULL, NULL), "image 4294967295");
    INVALID(detailflow_generation_get_log_probabilities(generation, 2, &value, 1, &count), "image 2");
    INVALID(detailflow_generation_get_log_probabilities(generation, 0, &value, 0, &count), "room for 0");
    INVALID(detailflow_generation_get_log_probabilities(generation, 0, NULL, 1, &count), "values is NULL");
    INVALID(detailflow_generation_get_log_probabilities(generation, 0, &value, 1, NULL), "count is NULL");
    INVALID(detailflow_generation_get_mean_log_probability(generation, 2, &value), "image 2");
    INVALID(detailflow_generation_get_mean_log_probability(generation, 0, NULL), "mean is NULL");
    INVALID(detailflow_generation_get_work(generation, NULL), "work is NULL");
    CHECK(class_index == 77 && seed == 77 && value == 77 && count == 77);

    INVALID(detailflow_generation_set_level_size(generation, 1), "levels are");
    INVALID(detailflow_generation_set_level_size(generation, UINT32_MAX), "levels are");
    check_finish(generation);
    if (check_info(model).level_count > 1) {
        INVALID(detailflow_generation_set_level_size(generation, first.level_size), "already");
    }
    {
        const uint32_t size = check_progress(generation).level_size;
        const size_t bytes = (size_t)4 * size * size;
        unsigned char *pixels = (unsigned char *)malloc(bytes);
        detailflow_image target = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, bytes);
        CHECK(pixels != NULL);
        memset(pixels, 0xA5, bytes);
        INVALID(detailflow_generation_decode_level(generation, 0, NULL), "detailflow_image is NULL");
        INVALID(detailflow_generation_decode_level(generation, 2, &target), "image 2");
        target.width--;
        INVALID(detailflow_generation_decode_level(generation, 0, &target), "detailflow_image is");
        target = check_image(DETAILFLOW_FORMAT_RGBA8, size, pixels, bytes - 1);
        INVALID(detailflow_generation_decode_level(generation, 0, &target), "bytes are too few");
        target.struct_size = 39;
        INVALID(detailflow_generation_decode_level(generation, 0, &target), "detailflow_image.struct_size");
        CHECK(pixels[0] == 0xA5 && pixels[bytes - 1] == 0xA5);
        free(pixels);
    }
    detailflow_generation_free(generation);
    OK(detailflow_request_set_log_probabilities(request, 0));
}

struct stepping {
    detailflow_generation *generation;
    int begun, done;
};

static void *misuse_step(void *argument)
{
    struct stepping *stepping = (struct stepping *)argument;
    check_set(&stepping->begun, 1);
    (void)detailflow_generation_finish(stepping->generation, NULL);
    check_set(&stepping->done, 1);
    return NULL;
}

enum { CALLS = 7 };

static detailflow_status misuse_call(detailflow_generation *generation, int which)
{
    static const uint64_t seeds[2] = {1, 2};
    static const uint32_t both[2] = {0, 1};
    detailflow_generation *fork = NULL;
    detailflow_status status;
    switch (which) {
    case 0: status = detailflow_generation_advance(generation, 0, NULL); break;
    case 1: status = detailflow_generation_finish(generation, NULL); break;
    case 2: status = detailflow_generation_step(generation, NULL); break;
    case 3: status = detailflow_generation_advance_to_level(generation, 0, NULL); break;
    case 4: status = detailflow_generation_fork(generation, seeds, 2, &fork); break;
    case 5: status = detailflow_generation_retain_images(generation, both, 2); break;
    default: status = detailflow_generation_set_level_size(generation, 0); break;
    }
    if (status == DETAILFLOW_STATUS_BUSY) {
        CHECK(fork == NULL);
        CHECK(strcmp(detailflow_last_message(), "another thread is using this detailflow_generation") == 0);
    }
    detailflow_generation_free(fork);
    return status;
}

/* While another thread generates, each call that changes the generation is refused at least once. */
static void generation_is_busy_for_another_thread(const detailflow_model *model)
{
    detailflow_request *request = check_slow_request(model, 0.02);
    int busy[CALLS] = {0}, which = 0, round;
    for (round = 0; round < 500 && which < CALLS; round++) {
        struct stepping stepping = {NULL, 0, 0};
        detailflow_cancel *cancel = NULL;
        pthread_t thread;
        OK(detailflow_generation_new(request, &stepping.generation));
        OK(detailflow_generation_get_cancel(stepping.generation, &cancel));
        CHECK(pthread_create(&thread, NULL, misuse_step, &stepping) == 0);
        check_wait(&stepping.begun);
        while (which < CALLS && !check_get(&stepping.done)) {
            /* Only once it is seen to be busy: a call that gets in would do what it is asked to. This one is refused. */
            detailflow_status status = detailflow_generation_set_level_size(stepping.generation, 1);
            if (status == DETAILFLOW_STATUS_BUSY && misuse_call(stepping.generation, which) == DETAILFLOW_STATUS_BUSY) {
                busy[which++] = 1;
            }
        }
        OK(detailflow_cancel_trigger(cancel, NULL));
        detailflow_cancel_free(cancel);
        CHECK(pthread_join(thread, NULL) == 0);
        detailflow_generation_free(stepping.generation);
    }
    for (which = 0; which < CALLS; which++) {
        CHECK(busy[which]);
    }
    detailflow_request_free(request);
}

struct encoding {
    detailflow_request *request;
    detailflow_image picture;
    int stop;
};

static void *misuse_encode(void *argument)
{
    struct encoding *encoding = (struct encoding *)argument;
    while (!check_get(&encoding->stop)) {
        detailflow_status status = detailflow_request_set_prefix_picture(encoding->request, &encoding->picture, 0);
        CHECK(status == DETAILFLOW_STATUS_OK || status == DETAILFLOW_STATUS_BUSY);
    }
    return NULL;
}

/* A request that another thread changes: whoever takes it as const is told too. */
static void request_is_busy_for_another_thread(detailflow_request *request)
{
    static unsigned char pixels[3 * 64 * 64];
    const uint32_t one[1] = {0}, level[1] = {1};
    struct encoding encoding;
    pthread_t thread;
    int which = 0;
    const double end = check_now() + 60;
    encoding.request = request;
    encoding.picture = check_image(DETAILFLOW_FORMAT_RGB8, 64, pixels, sizeof pixels);
    encoding.stop = 0;
    CHECK(pthread_create(&thread, NULL, misuse_encode, &encoding) == 0);
    while (which < 5) {
        detailflow_generation *generation = NULL;
        detailflow_cost cost;
        detailflow_best_of_options *options = check_rounds(level, one, 1);
        detailflow_status status;
        size_t count = 77;
        memset(&cost, 0, sizeof cost);
        cost.struct_size = sizeof cost;
        check_forget();
        switch (which) {
        case 0: status = detailflow_request_get_cost(request, &cost); break;
        case 1: status = detailflow_request_get_step_costs(request, NULL, 0, &count); break;
        case 2: status = detailflow_request_get_level_costs(request, NULL, 0, &count); break;
        case 3: status = detailflow_vary(request, NULL, 0, 1, &generation); break;
        default: status = detailflow_best_of(request, options, &generation, NULL, 0, NULL, NULL, 0); break;
        }
        detailflow_best_of_options_free(options);
        CHECK(generation == NULL);
        if (status == DETAILFLOW_STATUS_BUSY) {
            CHECK(strcmp(detailflow_last_message(), "another thread is using this detailflow_request") == 0);
            CHECK(cost.step_count == 0 && count == 77);
            which++;
        } else {
            CHECK(status == DETAILFLOW_STATUS_OK || (which >= 3 && status == DETAILFLOW_STATUS_INVALID_ARGUMENT));
        }
        CHECK(check_now() < end);
    }
    check_set(&encoding.stop, 1);
    CHECK(pthread_join(thread, NULL) == 0);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    detailflow_request *request = check_request(model, 2, 1);
    curves_refuse_misuse(request);
    prefixes_refuse_misuse(model, request);
    generation_refuses_misuse(model, request);
    generation_is_busy_for_another_thread(model);
    request_is_busy_for_another_thread(request);
    detailflow_request_free(request);
    detailflow_model_free(model);
    return 0;
}
