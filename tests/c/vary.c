/* Pictures that begin with given tokens: one's own, another's, a picture's; one by one, in a batch, in one call. */
#include "check.h"

/* The precision that the bundle lists first, or this one where it has it. */
static detailflow_model *vary_open(const char *bundle, const char *precision)
{
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_threads(options, 1));
    OK(detailflow_model_options_set_precision(options, precision));
    if (detailflow_model_open(bundle, options, &model, NULL) != DETAILFLOW_STATUS_OK) {
        CHECK(strstr(detailflow_last_message(), "precision") != NULL);
        printf("no %s here\n", precision);
        OK(detailflow_model_options_set_precision(options, NULL));
        OK(detailflow_model_open(bundle, options, &model, NULL));
    }
    detailflow_model_options_free(options);
    return model;
}

static detailflow_generation *vary_draw(const detailflow_request *request)
{
    detailflow_generation *generation = NULL;
    OK(detailflow_generate(request, &generation));
    return generation;
}

/* Whatever of a picture is given, with its own seed it becomes the same picture. */
static void vary_from_its_own_prefix(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 7);
    detailflow_generation *generation;
    size_t count;
    uint32_t *whole = check_draw(model, 7, &count);
    uint32_t at;
    for (count = 0; count <= info.token_count; count++) {
        if (count > 0 && !check_is_prefix(&info, count)) {
            INVALID(detailflow_request_set_prefix(request, whole, count, 0), "are not a prefix");
            continue;
        }
        OK(detailflow_request_set_prefix(request, whole, count, 0));
        /* What is given is there before the first step, and is a picture. */
        OK(detailflow_generation_new(request, &generation));
        CHECK(check_has(generation, 0, whole, count));
        CHECK((check_progress(generation).steps_left == 0) == (count == info.token_count));
        check_finish(generation);
        CHECK(check_has(generation, 0, whole, info.token_count));
        detailflow_generation_free(generation);
        OK(detailflow_request_set_image_prefix(request, 0, whole, count));
        generation = vary_draw(request);
        CHECK(check_has(generation, 0, whole, info.token_count));
        detailflow_generation_free(generation);
    }
    /* By level, from more tokens than are kept; and the same in one call. */
    OK(detailflow_request_set_prefix(request, NULL, 0, 0));
    for (at = 0; at < info.level_count; at++) {
        const detailflow_level level = check_level(model, at);
        detailflow_generation *varied = NULL;
        OK(detailflow_vary(request, whole, info.token_count, level.level_size, &varied));
        CHECK(check_has(varied, 0, whole, info.token_count));
        detailflow_generation_free(varied);
        OK(detailflow_request_set_prefix(request, whole, info.token_count, level.level_size));
        OK(detailflow_generation_new(request, &generation));
        CHECK(check_has(generation, 0, whole, level.token_count));
        CHECK(check_progress(generation).level_size == level.level_size && check_progress(generation).steps_done == 0);
        {
            size_t bytes;
            unsigned char *wanted = check_decode(model, whole, level.token_count, &bytes);
            unsigned char *found = (unsigned char *)malloc(bytes);
            detailflow_image target = check_image(DETAILFLOW_FORMAT_RGBA8, level.level_size, found, bytes);
            CHECK(found != NULL);
            OK(detailflow_generation_decode_level(generation, 0, &target));
            CHECK(memcmp(found, wanted, bytes) == 0);
            free(found);
            free(wanted);
        }
        detailflow_generation_free(generation);
        /* A finished level goes on to a finer one later, from its tokens alone. */
        OK(detailflow_request_set_prefix(request, NULL, 0, 0));
        OK(detailflow_vary(request, whole, level.token_count, 0, &varied));
        CHECK(check_has(varied, 0, whole, info.token_count));
        detailflow_generation_free(varied);
    }
    free(whole);
    detailflow_request_free(request);
}

/* A batch whose pictures begin with different tokens: each is as if alone; what they share is computed once. */
static void vary_in_a_batch(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    const uint32_t last = info.class_count - 1;
    const uint32_t classes[4] = {0, 0, last, 0};
    const uint64_t seeds[4] = {5, 6, 5, 5};
    uint32_t *start[2], *alone[4], image;
    size_t told, count = check_level(model, 0).token_count;
    uint64_t work = 0, sum = 0;
    detailflow_request *request = check_request(model, 4, 0);
    detailflow_generation *generation;
    start[0] = check_draw(model, 1, &told);
    start[1] = check_draw(model, 2, &told);
    for (image = 0; image < 4; image++) {
        detailflow_request *single = check_request(model, 1, seeds[image]);
        OK(detailflow_request_set_class(single, classes[image]));
        OK(detailflow_request_set_prefix(single, start[image == 3], count, 0));
        generation = vary_draw(single);
        alone[image] = check_tokens(generation, 0, &told);
        CHECK(told == info.token_count);
        OK(detailflow_generation_get_work(generation, &work));
        sum += work;
        detailflow_generation_free(generation);
        detailflow_request_free(single);
        OK(detailflow_request_set_image_source(request, image, classes[image], seeds[image]));
    }
    /* One after the other: until all are there they are not as long as each other. */
    OK(detailflow_request_set_image_prefix(request, 3, start[1], count));
    generation = NULL;
    INVALID(detailflow_generation_new(request, &generation), "image 0 begins with 0 tokens, image 3 with");
    CHECK(generation == NULL);
    for (image = 0; image < 3; image++) {
        OK(detailflow_request_set_image_prefix(request, image, start[0], count));
    }
    generation = vary_draw(request);
    for (image = 0; image < 4; image++) {
        CHECK(check_has(generation, image, alone[image], info.token_count));
        free(alone[image]);
    }
    OK(detailflow_generation_get_work(generation, &work));
    /* The first two share each step up to the one that draws their first token. */
    CHECK(work < sum && work >= sum - check_progress(generation).steps_done);
    detailflow_generation_free(generation);

    /* Further pictures take the prefix of the first. */
    OK(detailflow_request_set_prefix(request, start[1], count, 0));
    OK(detailflow_request_set_image_count(request, 6));
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_has(generation, 5, start[1], count));
    detailflow_generation_free(generation);
    /* No prefix again. */
    OK(detailflow_request_set_image_prefix(request, 5, NULL, 0));
    INVALID(detailflow_generation_new(request, &generation), "image 5 with 0");
    OK(detailflow_request_set_prefix(request, NULL, 0, 0));
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_progress(generation).token_count == 0);
    detailflow_generation_free(generation);
    free(start[0]);
    free(start[1]);
    detailflow_request_free(request);
}

/* In one call: what is kept is kept, the rest is drawn from each seed, and the request stays what it was. */
static void vary_in_one_call(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    const detailflow_level level = check_level(model, 0);
    detailflow_request *request = check_request(model, 3, 7);
    detailflow_generation *generation = vary_draw(request), *varied = NULL;
    uint32_t *whole[3], *parts[3], image;
    size_t count;
    for (image = 0; image < 3; image++) {
        whole[image] = check_tokens(generation, image, &count);
    }
    detailflow_generation_free(generation);
    OK(detailflow_vary(request, whole[0], count, level.level_size, &varied));
    CHECK(check_progress(varied).steps_left == 0 && check_progress(varied).image_count == 3);
    for (image = 0; image < 3; image++) {
        parts[image] = check_tokens(varied, image, &count);
        CHECK(count == info.token_count && memcmp(parts[image], whole[0], level.token_count * sizeof(uint32_t)) == 0);
        CHECK((memcmp(parts[image], whole[0], count * sizeof(uint32_t)) == 0) == (image == 0));
    }
    detailflow_generation_free(varied);
    /* The same by hand. */
    OK(detailflow_request_set_prefix(request, whole[0], count, level.level_size));
    generation = vary_draw(request);
    for (image = 0; image < 3; image++) {
        CHECK(check_has(generation, image, parts[image], count));
        free(parts[image]);
    }
    detailflow_generation_free(generation);
    OK(detailflow_request_set_prefix(request, NULL, 0, 0));
    /* 0 keeps all. */
    OK(detailflow_vary(request, whole[1], count, 0, &varied));
    CHECK(check_progress(varied).steps_done == 0 && check_has(varied, 2, whole[1], count));
    detailflow_generation_free(varied);
    /* The request has its own pictures still. */
    generation = vary_draw(request);
    for (image = 0; image < 3; image++) {
        CHECK(check_has(generation, image, whole[image], count));
        free(whole[image]);
    }
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

/* A picture in, its composition kept, its detail anew. */
static void vary_a_picture(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    const detailflow_level level = check_level(model, 0);
    detailflow_request *request = check_request(model, 2, 40);
    detailflow_generation *by_hand = NULL, *from_memory = NULL, *from_file = NULL, *generation = NULL;
    size_t bytes, count;
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens), *drawn = check_draw(model, 3, &count);
    unsigned char *pixels = check_decode(model, drawn, info.token_count, &bytes);
    detailflow_image picture = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
    uint32_t image;
    CHECK(tokens != NULL);
    OK(detailflow_image_save(&picture, "vary.png", NULL));
    OK(detailflow_model_encode(model, &picture, tokens, info.token_count, &count));
    OK(detailflow_vary(request, tokens, count, level.level_size, &by_hand));
    OK(detailflow_redetail(request, &picture, level.level_size, &from_memory));
    OK(detailflow_redetail_file(request, "vary.png", level.level_size, &from_file));
    OK(detailflow_request_set_prefix_picture(request, &picture, level.level_size));
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_progress(generation).token_count == level.token_count);
    check_finish(generation);
    for (image = 0; image < 2; image++) {
        uint32_t *wanted = check_tokens(by_hand, image, &count);
        CHECK(count == info.token_count && memcmp(wanted, tokens, level.token_count * sizeof *tokens) == 0);
        CHECK(check_has(from_memory, image, wanted, count));
        CHECK(check_has(from_file, image, wanted, count));
        CHECK(check_has(generation, image, wanted, count));
        free(wanted);
    }
    detailflow_generation_free(generation);
    detailflow_generation_free(by_hand);
    detailflow_generation_free(from_memory);
    detailflow_generation_free(from_file);
    /* Keeping all draws nothing: the picture as its tokens have it. */
    OK(detailflow_redetail(request, &picture, 0, &from_memory));
    CHECK(check_has(from_memory, 1, tokens, info.token_count) && check_progress(from_memory).steps_done == 0);
    detailflow_generation_free(from_memory);
    OK(detailflow_request_set_prefix_picture(request, &picture, 0));
    OK(detailflow_generation_new(request, &generation));
    CHECK(check_has(generation, 0, tokens, info.token_count) && check_progress(generation).steps_left == 0);
    detailflow_generation_free(generation);
    free(pixels);
    free(tokens);
    free(drawn);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    static const char *const precisions[] = {NULL, "fp32"};
    const char *bundle = check_bundle(argc, argv);
    int at;
    for (at = 0; at < 2; at++) {
        detailflow_model *model = vary_open(bundle, precisions[at]);
        vary_from_its_own_prefix(model);
        if (at == 0) {
            vary_in_a_batch(model);
            vary_in_one_call(model);
            vary_a_picture(model);
        }
        detailflow_model_free(model);
    }
    return 0;
}
