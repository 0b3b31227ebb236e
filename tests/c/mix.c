/* Several classes in one image, and classes to keep away from. */
#include "check.h"

static uint32_t *mix_draw(const detailflow_request *request, uint32_t image, size_t *count)
{
    detailflow_generation *generation = NULL;
    uint32_t *tokens;
    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, image, count);
    detailflow_generation_free(generation);
    return tokens;
}

static int mix_draws(const detailflow_request *request, uint32_t image, const uint32_t *wanted, size_t wanted_count)
{
    size_t count;
    uint32_t *tokens = mix_draw(request, image, &count);
    int same = count == wanted_count && memcmp(tokens, wanted, count * sizeof *tokens) == 0;
    free(tokens);
    return same;
}

/* One class, of any weight, beside classes that do not count, is that class. */
static void mix_of_one(const detailflow_model *model)
{
    const uint32_t classes[3] = {1, 0, 2}, none = DETAILFLOW_NO_CLASS;
    const float weights[3] = {0.3f, 0, 0}, zero = 0, one = 1;
    detailflow_request *request = check_request(model, 1, 7);
    uint32_t *plain;
    size_t count;
    OK(detailflow_request_set_guidance(request, 2));
    OK(detailflow_request_set_class(request, 1));
    plain = mix_draw(request, 0, &count);
    OK(detailflow_request_set_class(request, 0));
    CHECK(!mix_draws(request, 0, plain, count));
    OK(detailflow_request_set_classes(request, classes, weights, 1));
    CHECK(mix_draws(request, 0, plain, count));
    OK(detailflow_request_set_classes(request, classes, weights, 3));
    CHECK(mix_draws(request, 0, plain, count));
    OK(detailflow_request_set_avoid(request, classes + 1, &zero, 1));
    CHECK(mix_draws(request, 0, plain, count));
    OK(detailflow_request_set_avoid(request, &none, &one, 1));
    CHECK(mix_draws(request, 0, plain, count));
    OK(detailflow_request_set_avoid(request, classes + 2, &one, 1));
    CHECK(!mix_draws(request, 0, plain, count));
    OK(detailflow_request_set_avoid(request, NULL, NULL, 0));
    CHECK(mix_draws(request, 0, plain, count));
    free(plain);
    detailflow_request_free(request);
}

/* Equal weights in any order are the same image; one image of a batch is what it is alone, and so are the others. */
static void mix_in_a_batch(const detailflow_model *model)
{
    const uint32_t order[3] = {0, 1, 2}, other[3] = {2, 0, 1}, away = 1;
    const float weights[3] = {1, 1, 1}, more[3] = {2, 2, 2}, strength = 0.5f;
    detailflow_request *alone = check_request(model, 1, 7), *batch = check_request(model, 3, 6);
    uint32_t *plain, *mixed, class_index;
    uint64_t seed;
    size_t count;
    detailflow_generation *generation = NULL;
    OK(detailflow_request_set_guidance(alone, 2));
    OK(detailflow_request_set_guidance(batch, 2));
    OK(detailflow_request_set_classes(alone, order, weights, 3));
    mixed = mix_draw(alone, 0, &count);
    OK(detailflow_request_set_classes(alone, other, more, 3));
    CHECK(mix_draws(alone, 0, mixed, count));
    OK(detailflow_request_set_avoid(alone, &away, &strength, 1));
    CHECK(!mix_draws(alone, 0, mixed, count));
    free(mixed);
    mixed = mix_draw(alone, 0, &count);
    plain = mix_draw(batch, 2, &count);
    OK(detailflow_request_set_image_classes(batch, 1, other, weights, 3));
    OK(detailflow_request_set_image_avoid(batch, 1, &away, &strength, 1));
    CHECK(mix_draws(batch, 1, mixed, count));
    CHECK(mix_draws(batch, 2, plain, count));
    OK(detailflow_generation_new(batch, &generation));
    OK(detailflow_generation_get_image_source(generation, 1, &class_index, &seed));
    CHECK(class_index == 0 && seed == 7);
    detailflow_generation_free(generation);
    free(plain);
    free(mixed);
    detailflow_request_free(batch);
    detailflow_request_free(alone);
}

/* An image that begins as one class and goes on as another. */
static void mix_over_tokens(const detailflow_model *model, const detailflow_model_info *info)
{
    const uint32_t points[2] = {info->causal_count - 1, info->causal_count};
    const float up[2] = {0, 1}, down[2] = {1, 0};
    detailflow_request *request = check_request(model, 1, 7), *rest = check_request(model, 1, 7);
    uint32_t *tokens, *first;
    size_t count, same;
    OK(detailflow_request_set_class(rest, 1));
    first = mix_draw(request, 0, &same);
    INVALID(detailflow_request_set_class_curve(request, 0, points, down, 2), "are 0 at token");
    OK(detailflow_request_set_class_curve(request, 1, points, up, 2));
    OK(detailflow_request_set_class_curve(request, 0, points, down, 2));
    tokens = mix_draw(request, 0, &count);
    CHECK(memcmp(tokens, first, info->causal_count * sizeof *tokens) == 0);
    OK(detailflow_request_set_prefix(rest, tokens, info->causal_count, 0));
    CHECK(mix_draws(rest, 0, tokens, count));
    OK(detailflow_request_set_avoid_curve(request, 2, points, down, 2));
    CHECK(!mix_draws(request, 0, tokens, count));
    free(first);
    free(tokens);
    detailflow_request_free(rest);
    detailflow_request_free(request);
}

/* The classes of a token file, for variations of it: its seed gives its tokens again. */
static void mix_takes_classes_of(const detailflow_model *model, unsigned char *file, size_t size)
{
    const uint32_t other = 2, token = 0;
    const float strength = 0.5f;
    detailflow_request *request = check_request(model, 2, 7);
    uint32_t *tokens;
    unsigned char plain[256];
    size_t count, plain_size;
    OK(detailflow_dft_get_tokens(file, size, NULL, 0, &count, NULL));
    tokens = malloc(count * sizeof *tokens);
    CHECK(tokens != NULL);
    OK(detailflow_dft_get_tokens(file, size, tokens, count, &count, NULL));
    OK(detailflow_request_set_class(request, 1));
    CHECK(!mix_draws(request, 0, tokens, count));
    OK(detailflow_request_set_classes_of_dft(request, file, size));
    CHECK(mix_draws(request, 0, tokens, count));
    /* Classes to avoid of the request do not stay. */
    OK(detailflow_request_set_avoid(request, &other, &strength, 1));
    OK(detailflow_request_set_classes_of_dft(request, file, size));
    CHECK(mix_draws(request, 0, tokens, count));
    /* A file whose last group is damaged says the same. */
    file[size - 1] ^= 1;
    OK(detailflow_request_set_classes_of_dft(request, file, size));
    file[size - 1] ^= 1;
    CHECK(mix_draws(request, 0, tokens, count));
    /* One class alone; none changes nothing. */
    OK(detailflow_dft_encode(model, &token, 1, 1, NULL, plain, sizeof plain, &plain_size));
    OK(detailflow_request_set_classes_of_dft(request, plain, plain_size));
    CHECK(!mix_draws(request, 0, tokens, count));
    OK(detailflow_request_set_classes_of_dft(request, file, size));
    OK(detailflow_dft_encode(model, &token, 1, DETAILFLOW_NO_CLASS, NULL, plain, sizeof plain, &plain_size));
    OK(detailflow_request_set_classes_of_dft(request, plain, plain_size));
    CHECK(mix_draws(request, 0, tokens, count));
    FAILS(detailflow_request_set_classes_of_dft(request, plain, 20), DETAILFLOW_STATUS_BAD_FORMAT, "");
    INVALID(detailflow_request_set_classes_of_dft(request, NULL, 3), "data");
    plain[8] ^= 1;
    CHECK(detailflow_request_set_classes_of_dft(request, plain, plain_size) != DETAILFLOW_STATUS_OK);
    CHECK(mix_draws(request, 0, tokens, count));
    free(tokens);
    detailflow_request_free(request);
}

/* A token file keeps the classes: what it lost is generated again. */
static void mix_token_file(const detailflow_model *model)
{
    const uint32_t classes[2] = {0, 2}, away = 1;
    const float weights[2] = {0.75f, 0.25f}, strength = 0.5f;
    detailflow_request *request = check_request(model, 1, 7), *settings = check_request(model, 1, 0);
    detailflow_generation *generation = NULL;
    detailflow_dft_info info;
    unsigned char *file, *repaired;
    size_t size, told;
    OK(detailflow_request_set_classes(request, classes, weights, 2));
    OK(detailflow_request_set_avoid(request, &away, &strength, 1));
    OK(detailflow_generation_new(request, &generation));
    FAILS(detailflow_generation_encode_dft(generation, 0, NULL, 0, &size), DETAILFLOW_STATUS_WRONG_STATE, "no tokens");
    OK(detailflow_generation_finish(generation, NULL));
    OK(detailflow_generation_encode_dft(generation, 0, NULL, 0, &size));
    file = malloc(size);
    repaired = malloc(size);
    CHECK(file != NULL && repaired != NULL);
    OK(detailflow_generation_encode_dft(generation, 0, file, size, &size));
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(detailflow_dft_get_info(file, size, &info, NULL));
    CHECK(info.class_index == 0 && info.seed == 7 && info.damage == DETAILFLOW_DAMAGE_NONE);
    OK(detailflow_dft_check(model, file, size));
    file[size - 1] ^= 1;
    OK(detailflow_dft_repair(settings, file, size, 0, NULL, 0, &told));
    CHECK(told == size);
    OK(detailflow_dft_repair(settings, file, size, 0, repaired, size, &told));
    file[size - 1] ^= 1;
    CHECK(memcmp(file, repaired, size) == 0);
    mix_takes_classes_of(model, file, size);
    free(repaired);
    free(file);
    detailflow_generation_free(generation);
    detailflow_request_free(settings);
    detailflow_request_free(request);
}

/* What is refused changes nothing. */
static void mix_refuses(const detailflow_model *model, const detailflow_model_info *info)
{
    const uint32_t twice[2] = {1, 1}, many[17] = {0}, none = DETAILFLOW_NO_CLASS;
    const uint32_t far = info->class_count, two[2] = {0, 1};
    const float good[2] = {1, 1}, zero[2] = {0, 0}, bad[2] = {1, -1}, large[2] = {1, 1001}, lots[17] = {0};
    volatile float nought = 0;
    float nan[2];
    detailflow_request *request = check_request(model, 1, 7);
    uint32_t *plain;
    size_t count;
    nan[0] = 1;
    nan[1] = nought / nought;
    plain = mix_draw(request, 0, &count);
    INVALID(detailflow_request_set_classes(request, two, good, 0), "no class");
    INVALID(detailflow_request_set_classes(request, NULL, good, 1), "class_indices");
    INVALID(detailflow_request_set_classes(request, two, NULL, 1), "weights");
    INVALID(detailflow_request_set_avoid(request, two, NULL, 1), "strengths");
    INVALID(detailflow_request_set_classes(request, many, lots, 17), "17 class_indices are too many");
    INVALID(detailflow_request_set_classes(request, &far, good, 1), "out of range");
    INVALID(detailflow_request_set_classes(request, twice, good, 2), "listed twice");
    INVALID(detailflow_request_set_avoid(request, twice, good, 2), "listed twice");
    INVALID(detailflow_request_set_classes(request, two, zero, 2), "are 0");
    INVALID(detailflow_request_set_classes(request, two, bad, 2), "-1 is not 0 to 1000");
    INVALID(detailflow_request_set_classes(request, two, large, 2), "1001 is not 0 to 1000");
    INVALID(detailflow_request_set_classes(request, two, nan, 2), "NaN");
    INVALID(detailflow_request_set_avoid(request, two, nan, 2), "NaN");
    INVALID(detailflow_request_set_classes(request, &none, good, 1), "at least one class");
    INVALID(detailflow_request_set_image_classes(request, 1, two, good, 2), "image 1");
    INVALID(detailflow_request_set_image_avoid(request, 1, two, good, 2), "image 1");
    INVALID(detailflow_request_set_class_curve(request, far, two, good, 2), "out of range");
    INVALID(detailflow_request_set_avoid_curve(request, 0, two, bad, 2), "-1 is not 0 to 1000");
    CHECK(mix_draws(request, 0, plain, count));
    free(plain);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    detailflow_model_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(detailflow_model_get_info(model, &info));
    CHECK(info.class_count >= 3);
    mix_of_one(model);
    mix_in_a_batch(model);
    mix_over_tokens(model, &info);
    mix_token_file(model);
    mix_refuses(model, &info);
    detailflow_model_free(model);
    return 0;
}
