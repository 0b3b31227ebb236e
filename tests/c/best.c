/* Best of many: the winner is that of all candidates drawn to the end, the work is that of what was drawn. */
#include "check.h"

#include <math.h>

enum { MANY = 8 };

/* All candidates, drawn to the end. */
struct field {
    const detailflow_model *model;
    detailflow_model_info info;
    detailflow_request *request;
    detailflow_generation *all;
    uint32_t *tokens[MANY];
    detailflow_level level;
    /* Steps to the level, and to the end. */
    uint32_t before, steps;
};

static struct field best_field(const detailflow_model *model)
{
    struct field field;
    uint32_t at;
    size_t count;
    field.model = model;
    field.info = check_info(model);
    field.request = check_request(model, MANY, 50);
    field.all = NULL;
    field.level = check_level(model, 0);
    OK(detailflow_request_set_level_size(field.request, field.level.level_size));
    field.before = check_steps(field.request);
    OK(detailflow_request_set_level_size(field.request, 0));
    field.steps = check_steps(field.request);
    OK(detailflow_request_set_log_probabilities(field.request, 1));
    OK(detailflow_generate(field.request, &field.all));
    OK(detailflow_request_set_log_probabilities(field.request, 0));
    for (at = 0; at < MANY; at++) {
        field.tokens[at] = check_tokens(field.all, at, &count);
    }
    return field;
}

static void best_free(struct field *field)
{
    int at;
    for (at = 0; at < MANY; at++) {
        free(field->tokens[at]);
    }
    detailflow_generation_free(field->all);
    detailflow_request_free(field->request);
}

/* The index of the largest; of equals the first. */
static uint32_t best_of_scores(const float *scores)
{
    uint32_t at, best = 0;
    for (at = 1; at < MANY; at++) {
        best = scores[at] > scores[best] ? at : best;
    }
    return best;
}

/* One winner: of these scores, with the tokens that it has when all are drawn, for the work of one. */
static void best_wins(const struct field *field, const detailflow_best_of_options *options, const float *wanted)
{
    detailflow_generation *generation = NULL;
    uint32_t survivor[2] = {77, 77};
    float scores[MANY + 1];
    size_t survivors = 77;
    uint64_t work = 0, seed = 0;
    int at;
    scores[MANY] = 77;
    OK(detailflow_best_of(field->request, options, &generation, survivor, 1, &survivors, scores, MANY));
    CHECK(survivors == 1 && survivor[1] == 77 && scores[MANY] == 77);
    for (at = 0; at < MANY; at++) {
        CHECK(fabsf(scores[at] - wanted[at]) <= 1e-5f * (1 + fabsf(wanted[at])));
    }
    CHECK(survivor[0] == best_of_scores(scores) && survivor[0] == best_of_scores(wanted));
    CHECK(check_progress(generation).image_count == 1 && check_progress(generation).steps_left == 0);
    CHECK(check_has(generation, 0, field->tokens[survivor[0]], field->info.token_count));
    OK(detailflow_generation_get_image_source(generation, 0, NULL, &seed));
    CHECK(seed == 50 + survivor[0]);
    OK(detailflow_generation_get_work(generation, &work));
    CHECK(work == (uint64_t)MANY * field->before + (field->steps - field->before));
    detailflow_generation_free(generation);

    /* What is not wanted is not told. */
    generation = NULL;
    OK(detailflow_best_of(field->request, options, &generation, NULL, 0, NULL, NULL, 0));
    CHECK(check_has(generation, 0, field->tokens[survivor[0]], field->info.token_count));
    detailflow_generation_free(generation);
    generation = NULL;
    survivor[0] = 77;
    OK(detailflow_best_of(field->request, options, &generation, survivor, 2, NULL, NULL, 0));
    CHECK(survivor[0] == best_of_scores(wanted) && survivor[1] == 77);
    detailflow_generation_free(generation);
}

/* How typical: the mean of the log-probabilities up to the level. */
static void best_by_log_probability(const struct field *field)
{
    const uint32_t level = field->level.level_size, keep = 1;
    detailflow_best_of_options *options = check_rounds(&level, &keep, 1);
    float wanted[MANY], *each = (float *)malloc(field->info.token_count * sizeof *each);
    uint32_t at, token;
    CHECK(each != NULL);
    for (at = 0; at < MANY; at++) {
        size_t count;
        double sum = 0;
        OK(detailflow_generation_get_log_probabilities(field->all, at, each, field->info.token_count, &count));
        for (token = 0; token < field->level.token_count; token++) {
            sum += each[token];
        }
        wanted[at] = (float)(sum / field->level.token_count);
    }
    best_wins(field, options, wanted);
    detailflow_best_of_options_free(options);
    free(each);
}

/* The level's picture as premultiplied floats, four a pixel. */
static float *best_planes(const struct field *field, uint32_t of, size_t *count)
{
    const uint32_t size = field->level.level_size;
    const size_t bytes = (size_t)16 * size * size;
    float *pixels = (float *)malloc(bytes);
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA32F, size, pixels, bytes);
    size_t at;
    CHECK(pixels != NULL);
    OK(detailflow_model_decode(field->model, field->tokens[of], field->info.token_count, size, &image));
    *count = (size_t)4 * size * size;
    for (at = 0; at < *count; at++) {
        pixels[at] *= at % 4 < 3 ? pixels[at - at % 4 + 3] : 1;
    }
    return pixels;
}

/* How like a picture, here that of a candidate: itself above all, the others by their mean squared difference. */
static void best_by_likeness(const struct field *field)
{
    const uint32_t level = field->level.level_size, keep = 1, like = 3;
    detailflow_best_of_options *options = check_rounds(&level, &keep, 1);
    size_t bytes = (size_t)16 * level * level, count, at;
    void *pixels = malloc(bytes);
    detailflow_image picture = check_image(DETAILFLOW_FORMAT_RGBA32F, level, pixels, bytes);
    float *own = best_planes(field, like, &count), scores[MANY];
    uint32_t of, survivors[3];
    size_t survivor_count = 0;
    detailflow_generation *generation = NULL;
    CHECK(pixels != NULL);
    OK(detailflow_model_decode(field->model, field->tokens[like], field->info.token_count, level, &picture));
    OK(detailflow_best_of_options_set_scorer_likeness(options, &picture));
    /* It was copied. */
    memset(pixels, 0, bytes);
    for (of = 0; of < MANY; of++) {
        float *other = best_planes(field, of, &count);
        const uint32_t channels = field->info.channels;
        double sum = 0;
        for (at = 0; at < count; at++) {
            double difference = (double)own[at] - other[at];
            sum += at % 4 < channels ? difference * difference : 0;
        }
        scores[of] = -(float)(sum / ((double)channels * level * level));
        free(other);
    }
    CHECK(best_of_scores(scores) == like);
    best_wins(field, options, scores);
    detailflow_best_of_options_free(options);

    /* Three of them, the best first; the picture may be of another size and format. */
    {
        const uint32_t three = 3;
        unsigned char *whole = check_decode(field->model, field->tokens[like], field->info.token_count, &bytes);
        picture = check_image(DETAILFLOW_FORMAT_RGBA8, field->info.image_size, whole, bytes);
        options = check_rounds(&level, &three, 1);
        OK(detailflow_best_of_options_set_scorer_likeness(options, &picture));
        OK(detailflow_best_of(field->request, options, &generation, survivors, 3, &survivor_count, scores, MANY));
        detailflow_best_of_options_free(options);
        CHECK(survivor_count == 3 && check_progress(generation).image_count == 3);
        CHECK(survivors[0] == best_of_scores(scores));
        CHECK(scores[survivors[0]] >= scores[survivors[1]] && scores[survivors[1]] >= scores[survivors[2]]);
        for (of = 0; of < 3; of++) {
            CHECK(check_has(generation, of, field->tokens[survivors[of]], field->info.token_count));
        }
        detailflow_generation_free(generation);
        free(whole);
    }
    free(own);
    free(pixels);
}

/* A function: what it is shown, how often and in which order. */
struct judge {
    const struct field *field;
    uint32_t calls;
    float given[MANY];
};

static float best_judge(void *user, const detailflow_candidate *candidate)
{
    struct judge *judge = (struct judge *)user;
    const struct field *field = judge->field;
    const uint32_t turn = judge->calls++ % MANY;
    size_t bytes, count = 0, at;
    unsigned char *pixels;
    float *scores, sum = 0;
    CHECK(candidate->struct_size == sizeof *candidate);
    CHECK(candidate->image_index == turn && candidate->seed == 50 + turn);
    CHECK(candidate->class_index == 0 && candidate->level_size == field->level.level_size);
    CHECK(candidate->token_count == field->level.token_count);
    CHECK(memcmp(candidate->tokens, field->tokens[turn], candidate->token_count * sizeof(uint32_t)) == 0);
    pixels = check_decode(field->model, candidate->tokens, candidate->token_count, &bytes);
    CHECK(memcmp(candidate->pixels, pixels, bytes) == 0);
    free(pixels);
    for (at = 0; at < bytes; at++) {
        sum += candidate->pixels[at];
    }
    /* It may use the model. The request is free too: what is drawn was taken from it before. */
    scores = (float *)malloc(candidate->token_count * sizeof *scores);
    CHECK(scores != NULL);
    OK(detailflow_model_score(field->model, 0, candidate->tokens, candidate->token_count, scores,
                              candidate->token_count, &count));
    free(scores);
    OK(detailflow_request_set_seed(field->request, 50));
    return judge->given[turn] = sum / 256;
}

static void best_by_function(const struct field *field)
{
    const uint32_t level = field->level.level_size, keep = 1;
    detailflow_best_of_options *options = check_rounds(&level, &keep, 1);
    detailflow_generation *generation = NULL;
    float scores[MANY], wanted[MANY];
    struct judge judge;
    memset(&judge, 0, sizeof judge);
    judge.field = field;
    OK(detailflow_best_of_options_set_scorer_function(options, best_judge, &judge));
    OK(detailflow_best_of(field->request, options, &generation, NULL, 0, NULL, scores, MANY));
    detailflow_generation_free(generation);
    CHECK(judge.calls == MANY && memcmp(scores, judge.given, sizeof scores) == 0);
    memcpy(wanted, judge.given, sizeof wanted);
    best_wins(field, options, wanted);
    CHECK(judge.calls == 4 * MANY);
    detailflow_best_of_options_free(options);
}

struct table {
    float scores[MANY];
    uint32_t calls;
};

static float best_look_up(void *user, const detailflow_candidate *candidate)
{
    struct table *table = (struct table *)user;
    CHECK(candidate->image_index < MANY);
    table->calls++;
    return table->scores[candidate->image_index];
}

/* Several rounds: those who fall away cost nothing more; scores are the last that each had. */
static void best_in_rounds(const struct field *field)
{
    static const uint32_t keeps[2] = {3, 2};
    const uint32_t levels[2] = {field->level.level_size,
                                check_level(field->model, field->info.level_count - 1).level_size};
    detailflow_best_of_options *options;
    struct table table = {{1, 5, -2, 5, INFINITY, -INFINITY, 0, 5}, 0};
    detailflow_generation *generation = NULL;
    uint32_t survivors[2] = {77, 77};
    size_t count = 0;
    float scores[MANY];
    uint64_t work = 0;
    if (levels[0] == levels[1]) {
        printf("one level: no second round\n");
        return;
    }
    options = check_rounds(levels, keeps, 2);
    OK(detailflow_best_of_options_set_scorer_function(options, best_look_up, &table));
    OK(detailflow_best_of(field->request, options, &generation, survivors, 2, &count, scores, MANY));
    detailflow_best_of_options_free(options);
    /* The best first, and of equals the first. */
    CHECK(count == 2 && survivors[0] == 4 && survivors[1] == 1 && table.calls == MANY + 3);
    CHECK(memcmp(scores, table.scores, sizeof scores) == 0);
    CHECK(check_has(generation, 0, field->tokens[4], field->info.token_count));
    CHECK(check_has(generation, 1, field->tokens[1], field->info.token_count));
    OK(detailflow_generation_get_work(generation, &work));
    CHECK(work == (uint64_t)MANY * field->before + (uint64_t)3 * (field->steps - field->before));
    detailflow_generation_free(generation);
}

/* These rounds are refused, with this text and with nothing written. */
static void best_refused(const struct field *field, struct table *table, const uint32_t *levels, const uint32_t *keeps,
                         size_t rounds, const char *text)
{
    detailflow_best_of_options *options = check_rounds(levels, keeps, rounds);
    detailflow_generation *generation = field->all;
    uint32_t survivors[MANY] = {77};
    size_t count = 77;
    float scores[MANY] = {77};
    OK(detailflow_best_of_options_set_scorer_function(options, best_look_up, table));
    INVALID(detailflow_best_of(field->request, options, &generation, survivors, MANY, &count, scores, MANY), text);
    CHECK(generation == field->all && survivors[0] == 77 && count == 77 && scores[0] == 77);
    CHECK(MESSAGE(detailflow_request_get_message, field->request, NULL, 0) == strlen(detailflow_last_message()));
    detailflow_best_of_options_free(options);
}

/* NaN as a score, and rounds that do not fit: nothing is written anywhere. */
static void best_of_refuses_wrong_rounds(const struct field *field)
{
    const uint32_t level = field->level.level_size, keep = 1, none = 0, all = MANY, most = UINT32_MAX, no_level = 1;
    struct table table = {{0, 1, 2, NAN, 4, 5, 6, 7}, 0};
    uint32_t levels[2], keeps[2] = {4, 2};
    size_t at;

    best_refused(field, &table, &level, &keep, 1, "candidate 3 is NaN");
    CHECK(table.calls == 4);
    table.scores[3] = 3;
    best_refused(field, &table, &level, &keep, 0, "round");
    best_refused(field, &table, &level, &none, 1, "round");
    best_refused(field, &table, &level, &all, 1, "8");
    best_refused(field, &table, &level, &most, 1, "");
    best_refused(field, &table, &no_level, &keep, 1, "levels are");
    if (field->info.level_count > 1) {
        levels[0] = levels[1] = field->level.level_size;
        best_refused(field, &table, levels, keeps, 2, "level");
        levels[0] = field->info.image_size;
        best_refused(field, &table, levels, keeps, 2, "level");
        OK(detailflow_request_set_level_size(field->request, field->level.level_size));
        best_refused(field, &table, &field->info.image_size, &keep, 1, "level");
        OK(detailflow_request_set_level_size(field->request, 0));
    }
    {
        detailflow_best_of_options *options = NULL;
        OK(detailflow_best_of_options_new(&options, NULL));
        for (at = 0; at < 1024; at++) {
            OK(detailflow_best_of_options_add_round(options, level, 1));
        }
        INVALID(detailflow_best_of_options_add_round(options, level, 1), "1024");
        CHECK(MESSAGE(detailflow_best_of_options_get_message, options, NULL, 0) > 0);
        detailflow_best_of_options_free(options);
    }
}

/* A picture that is wrong is refused when it is set; room is looked for before the work. */
static void best_of_refuses_wrong_outputs(const struct field *field)
{
    const uint32_t level = field->level.level_size, four = 4;
    struct table table = {{0, 1, 2, 3, 4, 5, 6, 7}, 0};
    detailflow_best_of_options *options = check_rounds(&level, &four, 1);
    detailflow_generation *generation = field->all;
    uint32_t survivors[MANY] = {77};
    unsigned char pixel[4] = {1, 2, 3, 4};
    detailflow_image picture = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixel, sizeof pixel);
    size_t count = 77;
    float scores[MANY] = {77};

    INVALID(detailflow_best_of_options_set_scorer_function(options, NULL, NULL), "function is NULL");
    OK(detailflow_best_of_options_set_scorer_function(options, best_look_up, &table));
    picture.capacity = 3;
    INVALID(detailflow_best_of_options_set_scorer_likeness(options, &picture), "bytes are too few");
    picture.struct_size = 4;
    INVALID(detailflow_best_of_options_set_scorer_likeness(options, &picture), "detailflow_image.struct_size");
    INVALID(detailflow_best_of(field->request, options, &generation, survivors, 3, &count, scores, MANY), "room for 3");
    INVALID(detailflow_best_of(field->request, options, &generation, survivors, 4, &count, scores, MANY - 1),
            "room for 7");
    INVALID(detailflow_best_of(field->request, options, &generation, NULL, 4, &count, scores, MANY),
            "survivors is NULL");
    INVALID(detailflow_best_of(field->request, options, &generation, survivors, 4, &count, NULL, MANY),
            "scores is NULL");
    CHECK(table.calls == 0 && generation == field->all && survivors[0] == 77 && count == 77 && scores[0] == 77);
    OK(detailflow_best_of(field->request, options, &generation, survivors, 4, &count, NULL, 0));
    CHECK(count == 4 && survivors[0] == 7 && survivors[3] == 4 && table.calls == MANY);
    detailflow_generation_free(generation);
    generation = NULL;
    OK(detailflow_best_of_options_set_scorer_log_probability(options));
    OK(detailflow_best_of(field->request, options, &generation, NULL, 0, NULL, NULL, 0));
    CHECK(table.calls == MANY);
    detailflow_generation_free(generation);
    detailflow_best_of_options_free(options);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    struct field field = best_field(model);
    best_by_log_probability(&field);
    best_by_likeness(&field);
    best_by_function(&field);
    best_in_rounds(&field);
    best_of_refuses_wrong_rounds(&field);
    best_of_refuses_wrong_outputs(&field);
    best_free(&field);
    detailflow_model_free(model);
    return 0;
}
