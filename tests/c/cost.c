/*
 * What a request costs before it is drawn, and calibration: what one process measures another knows.
 *
 *     cost BUNDLE counts              steps, levels, bytes and work against what is then done
 *     cost BUNDLE calibrate           measures, and leaves one file below $XDG_CACHE_HOME, which was empty (not on Windows)
 *     cost BUNDLE known [threads]     times are known before the first step
 *     cost BUNDLE unknown [threads]   they are not, and are once something ran
 */
#include "posix.h"

static detailflow_cost cost_of(const detailflow_request *request)
{
    detailflow_cost cost;
    memset(&cost, 0xA5, sizeof cost);
    cost.struct_size = sizeof cost;
    OK(detailflow_request_get_cost(request, &cost));
    CHECK(cost.struct_size == sizeof cost);
    return cost;
}

/* The steps by shape in memory that the caller frees, just as much as is needed. */
static detailflow_step_cost *cost_steps(const detailflow_request *request, size_t *count)
{
    detailflow_step_cost *steps;
    OK(detailflow_request_get_step_costs(request, NULL, 0, count));
    steps = (detailflow_step_cost *)malloc(*count * sizeof *steps + (*count == 0));
    CHECK(steps != NULL);
    if (*count > 0) {
        memset(steps, 0xA5, *count * sizeof *steps);
        steps->struct_size = sizeof *steps;
    }
    /* With room for none there is no first that could say how large it is. */
    OK(detailflow_request_get_step_costs(request, steps, *count, count));
    return steps;
}

static detailflow_level_cost *cost_levels(const detailflow_request *request, size_t *count)
{
    detailflow_level_cost *levels;
    OK(detailflow_request_get_level_costs(request, NULL, 0, count));
    CHECK(*count > 0);
    levels = (detailflow_level_cost *)malloc(*count * sizeof *levels);
    CHECK(levels != NULL);
    memset(levels, 0xA5, *count * sizeof *levels);
    levels->struct_size = sizeof *levels;
    OK(detailflow_request_get_level_costs(request, levels, *count, count));
    return levels;
}

/* All that is told of a request, against each other and against what it then does. */
static void cost_adds_up(const detailflow_model *model, const detailflow_request *request, uint32_t images,
                         const detailflow_level *last, size_t given, int guided)
{
    const detailflow_model_info info = check_info(model);
    const detailflow_cost cost = cost_of(request);
    size_t shapes = 77, levels = 77, at;
    detailflow_step_cost *steps = cost_steps(request, &shapes);
    detailflow_level_cost *level = cost_levels(request, &levels);
    detailflow_generation *generation = NULL;
    uint64_t work = 0, rows = 0;
    uint32_t all = 0;

    for (at = 0; at < shapes; at++) {
        CHECK(steps[at].struct_size == sizeof *steps && steps[at].step_count > 0);
        CHECK(steps[at].query_length == 1 || steps[at].query_length == info.group_size);
        CHECK(steps[at].batch_rows >= 1 && steps[at].batch_rows <= images * (guided ? 2 : 1));
        all += steps[at].step_count;
        rows += (uint64_t)steps[at].batch_rows * steps[at].step_count;
    }
    CHECK(cost.step_count == all && cost.step_count == check_steps(request));
    CHECK((shapes == 0) == (given == last->token_count));
    CHECK(cost.output_bytes == (uint64_t)last->level_size * last->level_size * info.channels * images);
    for (at = 0; at < levels; at++) {
        CHECK(level[at].struct_size == sizeof *level);
        CHECK(level[at].token_count > given || levels == 1);
        CHECK(at == 0 ||
              (level[at].level_size > level[at - 1].level_size && level[at].token_count > level[at - 1].token_count));
        CHECK(at == 0 || level[at].step_count > level[at - 1].step_count);
    }
    level += levels - 1;
    CHECK(level->level_size == last->level_size && level->token_count == last->token_count &&
          level->step_count == cost.step_count);
    CHECK(level->time_ns == cost.time_ns);
    level -= levels - 1;

    /* It comes as it was told. */
    OK(detailflow_generation_new(request, &generation));
    for (at = 0; at < levels; at++) {
        while (check_progress(generation).token_count < level[at].token_count) {
            OK(detailflow_generation_step(generation, NULL));
        }
        CHECK(check_progress(generation).level_size == level[at].level_size);
        CHECK(check_progress(generation).steps_done == level[at].step_count);
    }
    CHECK(check_progress(generation).steps_left == 0 && check_progress(generation).steps_done == cost.step_count);
    OK(detailflow_generation_get_work(generation, &work));
    CHECK(guided ? work <= rows && rows <= 2 * work : work == rows);
    if (strcmp(info.form, "plain") != 0 && given == 0) {
        uint64_t own = 0;
        OK(detailflow_generation_get_memory(generation, &own, NULL));
        /* The tokens, and once more for readers. */
        CHECK(own == cost.kv_cache_bytes + (uint64_t)8 * info.token_count * images);
    }
    detailflow_generation_free(generation);
    free(steps);
    free(level);
}

static void cost_counts(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    size_t count, given[4];
    uint32_t *tokens = check_draw(model, 7, &count), images, at, prefix;
    int guided;
    given[0] = 0;
    given[1] = 1;
    given[2] = info.causal_count;
    given[3] = info.token_count;
    for (guided = 0; guided < 2; guided++) {
        for (images = 1; images <= 3; images += 2) {
            for (at = 0; at < info.level_count; at++) {
                const detailflow_level level = check_level(model, at);
                for (prefix = 0; prefix < 4 && given[prefix] <= level.token_count; prefix++) {
                    detailflow_request *request = check_request(model, images, 1);
                    OK(detailflow_request_set_guidance(request, guided ? 2 : 1));
                    OK(detailflow_request_set_level_size(request, level.level_size));
                    OK(detailflow_request_set_prefix(request, tokens, given[prefix], 0));
                    cost_adds_up(model, request, images, &level, given[prefix], guided);
                    detailflow_request_free(request);
                }
            }
        }
    }
    free(tokens);
}

/* More pictures, guidance and finer levels never cost less. */
static void cost_grows(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_cost one, cost;
    OK(detailflow_request_set_guidance(request, 1));
    one = cost_of(request);
    OK(detailflow_request_set_guidance(request, 2));
    cost = cost_of(request);
    CHECK(cost.kv_cache_bytes == 2 * one.kv_cache_bytes && cost.step_count == one.step_count &&
          cost.output_bytes == one.output_bytes);
    CHECK(one.multiply_adds == 0
              ? cost.multiply_adds == 0
              : cost.multiply_adds > one.multiply_adds && cost.multiply_adds < 2 * one.multiply_adds);
    OK(detailflow_request_set_image_count(request, 1048576));
    cost = cost_of(request);
    CHECK(cost.kv_cache_bytes == 2 * 1048576 * one.kv_cache_bytes && cost.output_bytes == 1048576 * one.output_bytes);
    CHECK(cost.multiply_adds / 1048576 >= one.multiply_adds);
    OK(detailflow_request_set_image_count(request, 1));
    OK(detailflow_request_set_guidance(request, 1));
    OK(detailflow_request_set_level_size(request, check_level(model, 0).level_size));
    cost = cost_of(request);
    CHECK(info.level_count == 1 || (cost.step_count < one.step_count && cost.output_bytes < one.output_bytes));
    CHECK(info.level_count == 1 || one.multiply_adds == 0 || cost.multiply_adds < one.multiply_adds);
    detailflow_request_free(request);
}

/* Elements of a newer header lie farther apart; what is between is left alone. Too little room is told. */
static void cost_arrays(const detailflow_model *model)
{
    struct newer_step {
        detailflow_step_cost known;
        uint32_t more[3];
    };
    struct newer_level {
        detailflow_level_cost known;
        uint32_t more[3];
    };
    const uint32_t info_levels = check_info(model).level_count;
    detailflow_request *request = check_request(model, 1, 1);
    size_t shapes, levels, at, told = 77;
    detailflow_step_cost *steps = cost_steps(request, &shapes);
    detailflow_level_cost *level = cost_levels(request, &levels);
    struct newer_step *newer_steps = (struct newer_step *)malloc(shapes * sizeof *newer_steps);
    struct newer_level *newer_levels = (struct newer_level *)malloc(levels * sizeof *newer_levels);
    detailflow_cost cost;
    CHECK(newer_steps != NULL && newer_levels != NULL && levels == info_levels);
    memset(newer_steps, 0xA5, shapes * sizeof *newer_steps);
    memset(newer_levels, 0xA5, levels * sizeof *newer_levels);

    INVALID(detailflow_request_get_step_costs(request, &newer_steps->known, shapes, &told),
            "detailflow_step_cost.struct_size");
    INVALID(detailflow_request_get_level_costs(request, &newer_levels->known, levels, &told), "struct_size");
    newer_steps->known.struct_size = sizeof newer_steps->known - 1;
    newer_levels->known.struct_size = 0;
    INVALID(detailflow_request_get_step_costs(request, &newer_steps->known, shapes, &told),
            "detailflow_step_cost.struct_size");
    INVALID(detailflow_request_get_level_costs(request, &newer_levels->known, levels, &told),
            "detailflow_level_cost.struct_size");
    newer_steps->known.struct_size = sizeof *newer_steps;
    newer_levels->known.struct_size = sizeof *newer_levels;
    INVALID(detailflow_request_get_step_costs(request, &newer_steps->known, shapes - 1, &told), "room for");
    INVALID(detailflow_request_get_level_costs(request, &newer_levels->known, 0, &told), "room for 0");
    INVALID(detailflow_request_get_step_costs(request, NULL, 1, &told), "detailflow_step_cost is NULL");
    INVALID(detailflow_request_get_level_costs(request, NULL, SIZE_MAX, &told), "detailflow_level_cost is NULL");
    CHECK(told == 77 && newer_steps->known.batch_rows == 0xA5A5A5A5 && newer_levels->known.level_size == 0xA5A5A5A5);
    OK(detailflow_request_get_step_costs(request, &newer_steps->known, SIZE_MAX, &told));
    CHECK(told == shapes);
    OK(detailflow_request_get_level_costs(request, &newer_levels->known, levels, &told));
    CHECK(told == levels);
    for (at = 0; at < shapes; at++) {
        CHECK(newer_steps[at].known.struct_size == sizeof *newer_steps && newer_steps[at].more[0] == 0xA5A5A5A5);
        CHECK(newer_steps[at].known.batch_rows == steps[at].batch_rows &&
              newer_steps[at].known.query_length == steps[at].query_length);
        CHECK(newer_steps[at].known.step_count == steps[at].step_count && newer_steps[at].more[2] == 0xA5A5A5A5);
    }
    for (at = 0; at < levels; at++) {
        CHECK(newer_levels[at].known.struct_size == sizeof *newer_levels);
        CHECK(newer_levels[at].known.level_size == level[at].level_size &&
              newer_levels[at].known.token_count == level[at].token_count);
        CHECK(newer_levels[at].known.step_count == level[at].step_count && newer_levels[at].more[0] == 0xA5A5A5A5);
    }
    memset(&cost, 0xA5, sizeof cost);
    cost.struct_size = sizeof cost - 1;
    INVALID(detailflow_request_get_cost(request, &cost), "detailflow_cost.struct_size");
    CHECK(cost.step_count == 0xA5A5A5A5);
    free(steps);
    free(level);
    free(newer_steps);
    free(newer_levels);
    detailflow_request_free(request);
}

/* Whether times are known, all of them or none. */
static int cost_is_known(const detailflow_model *model)
{
    const detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 2, 1);
    detailflow_generation *generation = NULL;
    size_t levels, shapes, at;
    detailflow_level_cost *level = cost_levels(request, &levels);
    detailflow_step_cost *steps = cost_steps(request, &shapes);
    const int known = cost_of(request).time_ns > 0;
    uint64_t time = 77;
    for (at = 0; at < levels; at++) {
        CHECK((level[at].time_ns > 0) == known);
        CHECK(at == 0 || !known || level[at].step_count > level[at - 1].step_count);
        OK(detailflow_model_predict_decode(model, level[at].token_count, &time));
        CHECK((time > 0) == known);
    }
    for (at = 0; at < shapes; at++) {
        CHECK((steps[at].time_ns > 0) == known);
    }
    OK(detailflow_model_predict_decode(model, 1, &time));
    CHECK((time > 0) == known);
    OK(detailflow_generation_new(request, &generation));
    CHECK((check_progress(generation).next_step_ns > 0) == known && check_progress(generation).next_decode_ns == 0);
    time = 77;
    INVALID(detailflow_model_predict_decode(model, 0, &time), "not a prefix");
    INVALID(detailflow_model_predict_decode(model, (size_t)info.token_count + 1, &time), "not a prefix");
    INVALID(detailflow_model_predict_decode(model, SIZE_MAX, &time), "not a prefix");
    CHECK(time == 77);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    free(level);
    free(steps);
    return known;
}

/* With a budget from the start where times are known; else step after step. And then they are known. */
static void cost_runs(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 2, 1);
    detailflow_generation *generation = NULL;
    detailflow_progress progress;
    size_t bytes, count;
    uint32_t *tokens;
    progress.struct_size = sizeof progress;
    OK(detailflow_generation_new(request, &generation));
    do {
        OK(detailflow_generation_advance(generation, 1000, &progress));
    } while (progress.steps_left > 0);
    tokens = check_tokens(generation, 0, &count);
    free(check_decode(model, tokens, count, &bytes));
    free(tokens);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    CHECK(cost_is_known(model));
}

/* What is in the folder, leaving out "." and "..", and the last of them. */
static int cost_files(const char *folder, char *last, size_t room)
{
    DIR *open = opendir(folder);
    struct dirent *entry;
    int count = 0;
    if (open == NULL) {
        return 0;
    }
    while ((entry = readdir(open)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            CHECK(snprintf(last, room, "%s", entry->d_name) < (int)room);
            count++;
        }
    }
    CHECK(closedir(open) == 0);
    return count;
}

static void cost_calibrate(const detailflow_model *model)
{
    const char *cache = getenv("XDG_CACHE_HOME");
    const uint32_t batches[3] = {2, 1, 2}, none[2] = {1, 0}, many[1] = {4097};
    char folder[4096], name[512], there[4096];
    size_t count, again_count;
    uint32_t *tokens, *again;
    CHECK(cache != NULL && cost_files(cache, name, sizeof name) == 0);
    CHECK(snprintf(folder, sizeof folder, "%s/detailflow", cache) < (int)sizeof folder);

    INVALID(detailflow_model_calibrate(model, batches, 0), "at least one");
    INVALID(detailflow_model_calibrate(model, none, 2), "1 to 4096");
    INVALID(detailflow_model_calibrate(model, many, 1), "1 to 4096");
    INVALID(detailflow_model_calibrate(model, batches, 4097), "too many");
    INVALID(detailflow_model_calibrate(model, batches, SIZE_MAX), "too many");
    CHECK(!cost_is_known(model));
    CHECK(cost_files(cache, name, sizeof name) == 0);

    tokens = check_draw(model, 7, &count);
    OK(detailflow_model_calibrate(model, batches, 3));
    CHECK(cost_files(cache, name, sizeof name) == 1 && strcmp(name, "detailflow") == 0);
    CHECK(cost_files(folder, name, sizeof name) == 1);
    CHECK(strncmp(name, "calibration-", 12) == 0 && strcmp(name + strlen(name) - 5, ".json") == 0);
    CHECK(cost_is_known(model));
    /* Once more is the same file. */
    OK(detailflow_model_calibrate(model, batches, 1));
    CHECK(cost_files(folder, there, sizeof there) == 1 && strcmp(name, there) == 0);
    again = check_draw(model, 7, &again_count);
    CHECK(count == again_count && memcmp(tokens, again, count * sizeof *tokens) == 0);
    free(tokens);
    free(again);

    /* Where there can be no folder: told, and what was measured stays known. */
    CHECK(snprintf(there, sizeof there, "%s/%s", folder, name) < (int)sizeof there);
    CHECK(setenv("XDG_CACHE_HOME", there, 1) == 0);
    FAILS(detailflow_model_calibrate(model, batches, 1), DETAILFLOW_STATUS_IO, name);
    CHECK(setenv("XDG_CACHE_HOME", cache, 1) == 0 && cost_is_known(model));
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv), *what = argc > 2 ? argv[2] : "counts";
    detailflow_model *model = check_open(bundle, argc > 3 ? (uint32_t)atoi(argv[3]) : 1);
    if (strcmp(what, "counts") == 0) {
        cost_counts(model);
        cost_grows(model);
        cost_arrays(model);
    } else if (strcmp(what, "calibrate") == 0) {
        cost_calibrate(model);
    } else {
        CHECK(cost_is_known(model) == (strcmp(what, "known") == 0));
        cost_runs(model);
    }
    detailflow_model_free(model);
    return 0;
}
