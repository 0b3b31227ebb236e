/* A bundle that holds the decoder alone (second argument): it opens, decodes as the whole one does (first argument), and
   says of everything else that it cannot. And one that is made here. */
#include "posix.h"

/* Tokens that no model drew; any are a picture. */
static uint32_t *some_tokens(detailflow_model_info info)
{
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
    uint32_t at;
    CHECK(tokens != NULL);
    for (at = 0; at < info.token_count; at++) {
        tokens[at] = (at * 7919u + 13u) % info.codebook_size;
    }
    return tokens;
}

/* Every prefix that is a level, as floats: bit for bit the same. */
static void stripped_bundle_decodes_the_same(const detailflow_model *whole, const detailflow_model *alone)
{
    detailflow_model_info info = check_info(whole);
    uint32_t *tokens = some_tokens(info);
    uint32_t at;
    CHECK(check_info(alone).level_count == info.level_count);
    for (at = 0; at < info.level_count; at++) {
        const detailflow_model *models[2];
        float *pixels[2];
        size_t bytes;
        detailflow_level level;
        int i;
        models[0] = whole;
        models[1] = alone;
        memset(&level, 0, sizeof level);
        level.struct_size = sizeof level;
        OK(detailflow_model_get_level(alone, at, &level));
        bytes = (size_t)level.level_size * level.level_size * check_pixel_bytes(DETAILFLOW_FORMAT_RGBA32F);
        for (i = 0; i < 2; i++) {
            detailflow_image image;
            pixels[i] = (float *)malloc(bytes);
            CHECK(pixels[i] != NULL);
            image = check_image(DETAILFLOW_FORMAT_RGBA32F, level.level_size, pixels[i], bytes);
            OK(detailflow_model_decode(models[i], tokens, info.token_count, level.level_size, &image));
        }
        CHECK(memcmp(pixels[0], pixels[1], bytes) == 0);
        free(pixels[0]);
        free(pixels[1]);
    }
    free(tokens);
}

/* What needs another graph: WRONG_STATE, the sentence, outputs untouched; and the next call works. */
static void stripped_bundle_refuses_what_needs_other_graphs(const detailflow_model *alone)
{
    const char *cannot_draw = "has only the decoder: it decodes tokens and cannot generate";
    const char *cannot_encode = "has only the decoder: it decodes tokens and cannot encode pictures";
    detailflow_model_info info = check_info(alone);
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    detailflow_cost cost;
    detailflow_best_of_options *best;
    const detailflow_level level = check_level(alone, 0);
    const uint32_t keep = 1;
    detailflow_image grey;
    unsigned char pixel[3] = {128, 128, 128};
    uint32_t *tokens = some_tokens(info);
    uint32_t *encoded = (uint32_t *)calloc(info.token_count, sizeof *encoded);
    float scores[1] = {77};
    size_t count = 77, length;
    uint32_t at;
    char message[256];

    CHECK(encoded != NULL);
    grey = check_image(DETAILFLOW_FORMAT_RGB8, 1, pixel, sizeof pixel);
    OK(detailflow_request_new(alone, &request));
    FAILS(detailflow_generate(request, &generation), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    FAILS(detailflow_generation_new(request, &generation), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    FAILS(detailflow_vary(request, tokens, info.token_count, 0, &generation), DETAILFLOW_STATUS_WRONG_STATE,
          cannot_draw);
    FAILS(detailflow_redetail(request, &grey, 0, &generation), DETAILFLOW_STATUS_WRONG_STATE, cannot_encode);
    CHECK(generation == NULL);
    memset(&cost, 0, sizeof cost);
    cost.struct_size = sizeof cost;
    FAILS(detailflow_request_get_cost(request, &cost), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    CHECK(cost.step_count == 0);
    FAILS(detailflow_request_get_step_costs(request, NULL, 0, &count), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    FAILS(detailflow_request_get_level_costs(request, NULL, 0, &count), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    OK(detailflow_request_set_image_count(request, 2));
    best = check_rounds(&level.level_size, &keep, 1);
    FAILS(detailflow_best_of(request, best, &generation, NULL, 0, &count, NULL, 0), DETAILFLOW_STATUS_WRONG_STATE,
          cannot_draw);
    detailflow_best_of_options_free(best);
    CHECK(generation == NULL);
    length = MESSAGE(detailflow_request_get_message, request, message, sizeof message);
    CHECK(length > 0 && strstr(message, cannot_draw) != NULL);
    detailflow_request_free(request);

    FAILS(detailflow_model_score(alone, 0, tokens, 1, scores, 1, &count), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    FAILS(detailflow_model_score(alone, 4711, tokens, 1, NULL, 0, &count), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    FAILS(detailflow_model_calibrate(alone, &keep, 1), DETAILFLOW_STATUS_WRONG_STATE, cannot_draw);
    CHECK(scores[0] == 77 && count == 77);
    FAILS(detailflow_model_encode(alone, &grey, encoded, info.token_count, &count), DETAILFLOW_STATUS_WRONG_STATE,
          cannot_encode);
    CHECK(count == 77);
    for (at = 0; at < info.token_count; at++) {
        CHECK(encoded[at] == 0);
    }
    length = MESSAGE(detailflow_model_get_message, alone, message, sizeof message);
    CHECK(length > 0 && strstr(message, cannot_encode) != NULL);
    free(encoded);
    free(tokens);
}

static void model_can(const detailflow_model *model, uint32_t draw, uint32_t encode)
{
    CHECK(check_info(model).can_generate == draw);
    CHECK(check_info(model).can_encode == encode);
}

/* The same, made through the C API. */
static void bundle_strip_makes_the_same(const char *bundle, const detailflow_model *whole)
{
    detailflow_model *mine;
    const char *precision = check_info(whole).precision, *path;
    FILE *file;
    OK(detailflow_bundle_strip(bundle, "mine", precision, NULL));
    OK(detailflow_bundle_strip(bundle, "mine", NULL, NULL)); /* An older one makes way. */
    mine = check_open("mine", 1);
    model_can(mine, 0, 0);
    path = check_info(mine).path;
    CHECK(posix_is_absolute(path) && strcmp(path + strlen(path) - 4, "mine") == 0);
    CHECK(strcmp(check_info(mine).tokenizer_id, check_info(whole).tokenizer_id) == 0);
    stripped_bundle_decodes_the_same(whole, mine);
    detailflow_model_free(mine);

    FAILS(detailflow_bundle_strip(bundle, NULL, NULL, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "target is NULL");
    FAILS(detailflow_bundle_strip(bundle, "", NULL, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "target is empty");
    FAILS(detailflow_bundle_strip("nowhere", "new", NULL, NULL), DETAILFLOW_STATUS_NOT_FOUND, "nowhere");
    FAILS(detailflow_bundle_strip(bundle, "no/where", NULL, NULL), DETAILFLOW_STATUS_IO, "no/where");
    FAILS(detailflow_bundle_strip(bundle, "new", "fp8", NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "fp8");
    FAILS(detailflow_bundle_strip(bundle, "new", "\xff", NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "UTF-8");
    FAILS(detailflow_bundle_strip(bundle, bundle, NULL, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT,
          "is the bundle itself");
    file = fopen("file", "w");
    CHECK(file != NULL && fclose(file) == 0);
    FAILS(detailflow_bundle_strip(bundle, "file", NULL, NULL), DETAILFLOW_STATUS_INVALID_ARGUMENT, "is not a folder");
    file = fopen("new", "r");
    CHECK(file == NULL);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    detailflow_model *whole, *alone;
    CHECK(argc > 2);
    whole = check_open(bundle, 1);
    alone = check_open(argv[2], 1);
    model_can(whole, 1, 1);
    model_can(alone, 0, 0);
    CHECK(check_info(alone).class_count == check_info(whole).class_count);
    stripped_bundle_decodes_the_same(whole, alone);
    stripped_bundle_refuses_what_needs_other_graphs(alone);
    stripped_bundle_decodes_the_same(whole, alone);
    bundle_strip_makes_the_same(bundle, whole);
    detailflow_model_free(whole);
    detailflow_model_free(alone);
    return 0;
}
