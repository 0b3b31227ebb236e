/* Settings that change from token to token, and how likely tokens are: noted while drawing, and told of given ones. */
#include "check.h"

#include <math.h>

typedef detailflow_status (*set_curve)(detailflow_request *, const uint32_t *, const float *, size_t);

static uint32_t *score_draw(const detailflow_request *request, uint32_t image, size_t *count)
{
    detailflow_generation *generation = NULL;
    uint32_t *tokens;
    OK(detailflow_generate(request, &generation));
    tokens = check_tokens(generation, image, count);
    detailflow_generation_free(generation);
    return tokens;
}

static int score_draws(const detailflow_request *request, const uint32_t *wanted, size_t wanted_count)
{
    size_t count;
    uint32_t *tokens = score_draw(request, 0, &count);
    int same = count == wanted_count && memcmp(tokens, wanted, count * sizeof *tokens) == 0;
    free(tokens);
    return same;
}

/* Flat curves are constants, of one point or of the most there can be. */
static void score_flat_curves(const detailflow_model *model)
{
    enum { MOST = 64 };
    const set_curve curves[4] = {detailflow_request_set_guidance_curve, detailflow_request_set_temperature_curve,
                                 detailflow_request_set_top_k_curve, detailflow_request_set_top_p_curve};
    const float constants[4] = {2.5f, 0.8f, 5, 0.9f};
    detailflow_request *request = check_request(model, 1, 7), *curved = check_request(model, 1, 7);
    uint32_t points[MOST], *wanted;
    float values[MOST];
    size_t count, at, of;
    OK(detailflow_request_set_guidance(request, constants[0]));
    OK(detailflow_request_set_temperature(request, constants[1]));
    OK(detailflow_request_set_top_k(request, (uint32_t)constants[2]));
    OK(detailflow_request_set_top_p(request, constants[3]));
    wanted = score_draw(request, 0, &count);
    CHECK(!score_draws(curved, wanted, count));
    for (of = 1; of <= MOST; of += of == 1 ? 2 : 61) {
        for (at = 0; at < 4; at++) {
            size_t point;
            for (point = 0; point < of; point++) {
                points[point] = (uint32_t)(point * point + 3);
                values[point] = constants[at];
            }
            points[of - 1] = UINT32_MAX;
            OK(curves[at](curved, points, values, of));
        }
        CHECK(score_draws(curved, wanted, count));
    }
    /* What is refused changes nothing. */
    for (at = 0; at < 4; at++) {
        values[0] = -1;
        INVALID(curves[at](curved, points, values, 3), "-1");
    }
    CHECK(score_draws(curved, wanted, count));
    free(wanted);
    detailflow_request_free(request);
    detailflow_request_free(curved);
}

/* Curves that lead somewhere: greedy from a token on, guidance that ends. */
static void score_curves(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    const uint32_t edge = info.causal_count;
    const uint32_t points[2] = {edge - 1, edge};
    const float cold[2] = {1, 0}, few[2] = {0, 1}, narrow[2] = {1, 1e-6f}, ending[2] = {3, 1};
    detailflow_request *request = check_request(model, 1, 11), *rest = check_request(model, 1, 11);
    uint32_t *free_tokens, *wanted, *tokens;
    size_t count;
    OK(detailflow_request_set_guidance(request, 1));
    OK(detailflow_request_set_temperature(request, 1));
    OK(detailflow_request_set_top_k(request, 0));
    OK(detailflow_request_set_top_p(request, 1));
    free_tokens = score_draw(request, 0, &count);

    /* The likeliest of all from the first group on, in three ways; before it as without. */
    OK(detailflow_request_set_guidance(rest, 1));
    OK(detailflow_request_set_temperature(rest, 0));
    OK(detailflow_request_set_prefix(rest, free_tokens, edge, 0));
    wanted = score_draw(rest, 0, &count);
    OK(detailflow_request_set_temperature_curve(request, points, cold, 2));
    CHECK(score_draws(request, wanted, count));
    OK(detailflow_request_set_temperature(request, 1));
    OK(detailflow_request_set_top_k_curve(request, points, few, 2));
    CHECK(score_draws(request, wanted, count));
    OK(detailflow_request_set_top_k(request, 0));
    OK(detailflow_request_set_top_p_curve(request, points, narrow, 2));
    CHECK(score_draws(request, wanted, count));
    OK(detailflow_request_set_top_p(request, 1));
    CHECK(score_draws(request, free_tokens, count));
    free(wanted);

    /* Guidance for the coarse tokens alone: the same by hand, in half as many rows from there on. */
    OK(detailflow_request_set_guidance(request, 3));
    tokens = score_draw(request, 0, &count);
    OK(detailflow_request_set_temperature(rest, 1));
    OK(detailflow_request_set_top_k(rest, 0));
    OK(detailflow_request_set_top_p(rest, 1));
    OK(detailflow_request_set_prefix(rest, tokens, edge, 0));
    wanted = score_draw(rest, 0, &count);
    OK(detailflow_request_set_guidance_curve(request, points, ending, 2));
    CHECK(score_draws(request, wanted, count));
    free(wanted);
    free(tokens);
    free(free_tokens);
    detailflow_request_free(request);
    detailflow_request_free(rest);
}

static void score_is_near(const float *found, const float *wanted, size_t count)
{
    size_t at;
    for (at = 0; at < count; at++) {
        CHECK(isfinite(found[at]) && found[at] <= 0 && fabsf(found[at] - wanted[at]) <= 1e-4f);
    }
}

/* What is noted while drawing is what is told of the same tokens, at every moment and for every prefix. */
static void score_what_was_drawn(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 2, 70);
    detailflow_generation *generation = NULL, *fork = NULL;
    const uint32_t last = info.class_count - 1;
    float *noted = (float *)malloc(info.token_count * sizeof *noted),
          *told = (float *)malloc(info.token_count * sizeof *told);
    float mean = 77;
    uint32_t *tokens;
    size_t count = 77, values = 77, at;
    CHECK(noted != NULL && told != NULL);
    OK(detailflow_request_set_image_source(request, 1, last, 9));
    INVALID(detailflow_request_set_log_probabilities(request, 4711), "record is 4711");
    OK(detailflow_request_set_log_probabilities(request, 1));
    OK(detailflow_generation_new(request, &generation));
    OK(detailflow_generation_get_log_probabilities(generation, 1, NULL, 0, &values));
    OK(detailflow_generation_get_mean_log_probability(generation, 1, &mean));
    CHECK(values == 0 && mean == 0);
    do {
        double sum = 0;
        OK(detailflow_generation_step(generation, NULL));
        count = check_progress(generation).token_count;
        /* Exactly as much room as is needed. */
        {
            float *exact = (float *)malloc(count * sizeof *exact);
            CHECK(exact != NULL);
            OK(detailflow_generation_get_log_probabilities(generation, 1, exact, count, &values));
            memcpy(noted, exact, count * sizeof *exact);
            free(exact);
        }
        CHECK(values == count);
        for (at = 0; at < count; at++) {
            CHECK(noted[at] <= 0 && isfinite(noted[at]));
            sum += noted[at];
        }
        OK(detailflow_generation_get_mean_log_probability(generation, 1, &mean));
        CHECK(fabs(mean - sum / (double)count) <= 1e-5);
        tokens = check_tokens(generation, 1, &count);
        values = 77;
        OK(detailflow_model_score(model, last, tokens, count, told, info.token_count, &values));
        CHECK(values == count);
        score_is_near(told, noted, count);
        free(tokens);
    } while (check_progress(generation).steps_left > 0);
    CHECK(count == info.token_count);

    /* Forks and pictures that stay take theirs along. */
    {
        const uint64_t seeds[2] = {1, 2};
        const uint32_t second[1] = {1};
        OK(detailflow_generation_fork(generation, seeds, 2, &fork));
        OK(detailflow_generation_get_log_probabilities(fork, 1, told, info.token_count, &values));
        CHECK(values == count && memcmp(told, noted, count * sizeof *told) == 0);
        OK(detailflow_generation_retain_images(generation, second, 1));
        OK(detailflow_generation_get_log_probabilities(generation, 0, told, info.token_count, &values));
        CHECK(values == count && memcmp(told, noted, count * sizeof *told) == 0);
        detailflow_generation_free(fork);
    }

    /* Given tokens are judged too, as far as the model went over them. */
    {
        detailflow_request *given = check_request(model, 1, 5);
        detailflow_generation *rest = NULL;
        const size_t coarse = check_level(model, 0).token_count;
        tokens = check_tokens(generation, 0, &count);
        OK(detailflow_request_set_class(given, last));
        OK(detailflow_request_set_log_probabilities(given, 1));
        OK(detailflow_request_set_prefix(given, tokens, coarse, 0));
        OK(detailflow_generation_new(given, &rest));
        OK(detailflow_generation_get_log_probabilities(rest, 0, NULL, 0, &values));
        CHECK(values == 0);
        check_finish(rest);
        OK(detailflow_generation_get_log_probabilities(rest, 0, told, info.token_count, &values));
        CHECK(values == info.token_count);
        score_is_near(told, noted, coarse);
        detailflow_generation_free(rest);
        /* Not asked for is a state, and does not cost a draw to change. */
        OK(detailflow_request_set_log_probabilities(given, 0));
        OK(detailflow_generation_new(given, &rest));
        FAILS(detailflow_generation_get_log_probabilities(rest, 0, told, info.token_count, &values),
              DETAILFLOW_STATUS_WRONG_STATE, "did not ask");
        mean = 77;
        FAILS(detailflow_generation_get_mean_log_probability(rest, 0, &mean), DETAILFLOW_STATUS_WRONG_STATE,
              "did not ask");
        CHECK(mean == 77 && values == info.token_count);
        detailflow_generation_free(rest);
        detailflow_request_free(given);
        free(tokens);
    }
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    free(noted);
    free(told);
}

/* The probabilities of all codes of the first token are 1 together. */
static void score_sums_to_one(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    double sum = 0;
    uint32_t token;
    for (token = 0; token < info.codebook_size; token++) {
        float value = 77;
        size_t count = 77;
        OK(detailflow_model_score(model, 0, &token, 1, &value, 1, &count));
        CHECK(count == 1);
        sum += exp(value);
    }
    CHECK(fabs(sum - 1) < 1e-4);
}

/* A number is told without a run, and only for what can be scored. */
static void score_tells_how_many(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    size_t count, told = 77;
    uint32_t *tokens = check_draw(model, 7, &count);
    float value = 77;
    OK(detailflow_model_score(model, 0, tokens, count, NULL, 0, &told));
    CHECK(told == count);
    told = 77;
    INVALID(detailflow_model_score(model, 0, tokens, count, &value, 1, &told), "room for 1");
    INVALID(detailflow_model_score(model, 0, tokens, count, &value, 0, &told), "room for 0");
    INVALID(detailflow_model_score(model, 0, tokens, count, NULL, count, &told), "values is NULL");
    INVALID(detailflow_model_score(model, info.class_count, tokens, count, NULL, 0, &told), "class");
    INVALID(detailflow_model_score(model, 0, tokens, 0, NULL, 0, &told), "0 tokens are not a prefix");
    INVALID(detailflow_model_score(model, 0, tokens, (size_t)info.token_count + 1, NULL, 0, &told), "too many");
    INVALID(detailflow_model_score(model, 0, tokens, SIZE_MAX, NULL, 0, &told), "too many");
    INVALID(detailflow_model_score(model, 0, tokens, SIZE_MAX / 4 + 2, NULL, 0, &told), "too many");
    if (!check_is_prefix(&info, info.causal_count + 1)) {
        INVALID(detailflow_model_score(model, 0, tokens, info.causal_count + 1, NULL, 0, &told), "are not a prefix");
    }
    tokens[count - 1] = info.codebook_size;
    INVALID(detailflow_model_score(model, 0, tokens, count, NULL, 0, &told), "codebook");
    CHECK(told == 77 && value == 77);
    free(tokens);
}

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    score_flat_curves(model);
    score_curves(model);
    score_what_was_drawn(model);
    score_sums_to_one(model);
    score_tells_how_many(model);
    detailflow_model_free(model);
    return 0;
}
