/*
 * Forks and pictures that fall away: what was drawn stays, what comes is drawn as if alone, and memory is taken when it
 * is needed and given back in every order of freeing.
 *
 *     forks BUNDLE [few]      few: fewer forks, and every fifth order, where a process is slow
 */
#include "check.h"

static const uint64_t SAME[2] = {70, 9}, OTHERS[2] = {700, 90};

/* Two pictures of two classes. */
static detailflow_request *forks_request(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 2, SAME[0]);
    OK(detailflow_request_set_image_source(request, 1, check_info(model).class_count - 1, SAME[1]));
    return request;
}

static detailflow_generation *forks_begin(const detailflow_request *request, uint32_t steps)
{
    detailflow_generation *generation = NULL;
    OK(detailflow_generation_new(request, &generation));
    while (steps-- > 0) {
        OK(detailflow_generation_step(generation, NULL));
    }
    return generation;
}

static detailflow_generation *forks_fork(detailflow_generation *generation, const uint64_t *seeds)
{
    detailflow_generation *fork = NULL;
    OK(detailflow_generation_fork(generation, seeds, 2, &fork));
    CHECK(fork != NULL && fork != generation);
    return fork;
}

/* What the two pictures are in the end. */
struct ends {
    uint32_t *tokens[2];
    size_t count;
    uint32_t steps;
};

static struct ends forks_ends(const detailflow_request *request)
{
    struct ends ends;
    detailflow_generation *generation = NULL;
    uint32_t image;
    OK(detailflow_generate(request, &generation));
    for (image = 0; image < 2; image++) {
        ends.tokens[image] = check_tokens(generation, image, &ends.count);
    }
    ends.steps = check_progress(generation).steps_done;
    detailflow_generation_free(generation);
    return ends;
}

static int forks_begins(detailflow_generation *generation, const struct ends *ends)
{
    const size_t count = check_progress(generation).token_count;
    return count <= ends->count && check_has(generation, 0, ends->tokens[0], count) &&
           check_has(generation, 1, ends->tokens[1], count);
}

static void forks_at_each_step(const detailflow_request *request, const struct ends *ends)
{
    uint32_t before;
    for (before = 0; before <= ends->steps; before++) {
        detailflow_generation *parent = forks_begin(request, before);
        detailflow_generation *same = forks_fork(parent, SAME), *other = forks_fork(parent, OTHERS);
        detailflow_generation *again = forks_fork(other, SAME);
        const uint32_t tokens = check_progress(parent).token_count;
        uint64_t seed = 0, work = 77;
        uint32_t class_index = 0;

        CHECK(check_progress(other).token_count == tokens && forks_begins(other, ends));
        CHECK(check_progress(other).steps_done == 0 && check_progress(other).steps_left == ends->steps - before);
        OK(detailflow_generation_get_work(other, &work));
        CHECK(work == 0);
        OK(detailflow_generation_get_image_source(other, 1, &class_index, &seed));
        CHECK(seed == OTHERS[1]);
        OK(detailflow_generation_get_image_source(parent, 1, &class_index, &seed));
        CHECK(seed == SAME[1]);

        /* The parent goes on behind its forks, and is freed before they begin. */
        check_finish(parent);
        CHECK(check_progress(parent).token_count == ends->count && forks_begins(parent, ends));
        CHECK(check_progress(same).token_count == tokens);
        detailflow_generation_free(parent);
        check_finish(same);
        CHECK(check_progress(same).token_count == ends->count && forks_begins(same, ends));
        check_finish(other);
        CHECK(check_has(other, 0, ends->tokens[0], ends->count) == (before == ends->steps));
        {
            size_t count;
            uint32_t *there = check_tokens(other, 0, &count);
            CHECK(count == ends->count && memcmp(there, ends->tokens[0], tokens * sizeof *there) == 0);
            free(there);
        }
        detailflow_generation_free(other);
        check_finish(again);
        CHECK(check_progress(again).token_count == ends->count && forks_begins(again, ends));
        OK(detailflow_generation_get_work(again, &work));
        CHECK(work == 2 * (uint64_t)(ends->steps - before));
        detailflow_generation_free(same);
        detailflow_generation_free(again);
    }
}

struct memory {
    uint64_t own, shared;
};

static struct memory forks_memory(detailflow_generation *generation)
{
    struct memory memory = {77, 77}, alone = {77, 77};
    OK(detailflow_generation_get_memory(generation, &memory.own, &memory.shared));
    OK(detailflow_generation_get_memory(generation, &alone.own, NULL));
    OK(detailflow_generation_get_memory(generation, NULL, &alone.shared));
    OK(detailflow_generation_get_memory(generation, NULL, NULL));
    CHECK(memory.own == alone.own && memory.shared == alone.shared);
    return memory;
}

static void forks_take_memory_when_they_step(const detailflow_request *request, const struct ends *ends, int few)
{
    enum { MOST = 100 };
    const int count = few ? 10 : MOST;
    /* Of two pictures, and once more for readers. */
    const uint64_t tokens = ends->count * 2 * 2 * sizeof(uint32_t);
    detailflow_generation *forks[MOST], *parent = forks_begin(request, 2);
    const struct memory held = forks_memory(parent);
    uint64_t before = 0, after = 0;
    int at;
    CHECK(held.own > tokens && held.shared == 0);
    for (at = 0; at < count; at++) {
        uint64_t seeds[2] = {0, 1};
        struct memory memory;
        seeds[0] += (uint64_t)at;
        forks[at] = forks_fork(parent, seeds);
        memory = forks_memory(forks[at]);
        CHECK(memory.own == tokens && memory.shared > 0 && memory.shared <= held.own);
        before += memory.own;
    }
    CHECK(forks_memory(parent).own == held.own);
    for (at = 0; at < count; at++) {
        struct memory memory;
        OK(detailflow_generation_step(forks[at], NULL));
        memory = forks_memory(forks[at]);
        CHECK(memory.own > tokens && memory.shared == 0);
        after += memory.own;
        CHECK(at + 1 == count || forks_memory(forks[at + 1]).own == tokens);
    }
    printf("%d forks: %lu bytes before their first step, %lu after\n", count, (unsigned long)before,
           (unsigned long)after);
    for (at = 0; at < count; at++) {
        detailflow_generation_free(forks[at]);
    }
    detailflow_generation_free(parent);
}

enum { PARENT, UNSTEPPED, STEPPED, OF_FORK, MEMBERS };

/* Every order; whoever is left goes on a step, and what each has is as it should be. */
static void forks_freed_in_order(const char *bundle, const struct ends *ends, const int *order, int model_first)
{
    detailflow_model *model = check_open(bundle, 1);
    detailflow_request *request = forks_request(model);
    detailflow_generation *all[MEMBERS];
    int freed, at;
    all[PARENT] = forks_begin(request, 2);
    all[UNSTEPPED] = forks_fork(all[PARENT], SAME);
    all[STEPPED] = forks_fork(all[PARENT], SAME);
    OK(detailflow_generation_step(all[STEPPED], NULL));
    all[OF_FORK] = forks_fork(all[UNSTEPPED], SAME);
    detailflow_request_free(request);
    if (model_first) {
        detailflow_model_free(model);
    }
    for (freed = 0; freed < MEMBERS; freed++) {
        detailflow_generation_free(all[order[freed]]);
        all[order[freed]] = NULL;
        for (at = 0; at < MEMBERS; at++) {
            if (all[at] != NULL) {
                /* The last of them goes on to the end. */
                OK(freed == MEMBERS - 2 ? detailflow_generation_finish(all[at], NULL)
                                        : detailflow_generation_step(all[at], NULL));
                CHECK(forks_begins(all[at], ends));
            }
        }
    }
    if (!model_first) {
        detailflow_model_free(model);
    }
}

static void forks_freed(const char *bundle, const struct ends *ends, int *order, int fixed, int every)
{
    static int turn;
    int at;
    if (fixed == MEMBERS) {
        if (turn++ % every == 0) {
            forks_freed_in_order(bundle, ends, order, turn % 2);
        }
        return;
    }
    for (at = fixed; at < MEMBERS; at++) {
        int other = order[fixed];
        order[fixed] = order[at];
        order[at] = other;
        forks_freed(bundle, ends, order, fixed + 1, every);
        order[at] = order[fixed];
        order[fixed] = other;
    }
}

/* A cancel stops the one whose it is. */
static void forks_are_not_cancelled(const detailflow_request *request, const struct ends *ends)
{
    detailflow_generation *parent = forks_begin(request, 1), *fork = forks_fork(parent, SAME), *later;
    detailflow_cancel *cancel = NULL, *of_fork = NULL;
    OK(detailflow_generation_get_cancel(parent, &cancel));
    OK(detailflow_generation_get_cancel(fork, &of_fork));
    OK(detailflow_cancel_trigger(cancel, NULL));
    FAILS(detailflow_generation_step(parent, NULL), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    later = forks_fork(parent, SAME);
    OK(detailflow_generation_step(fork, NULL));
    OK(detailflow_cancel_trigger(of_fork, NULL));
    FAILS(detailflow_generation_finish(fork, NULL), DETAILFLOW_STATUS_CANCELLED, "cancelled");
    check_finish(later);
    CHECK(check_progress(later).token_count == ends->count && forks_begins(later, ends));
    detailflow_cancel_free(cancel);
    detailflow_cancel_free(of_fork);
    detailflow_generation_free(parent);
    detailflow_generation_free(fork);
    detailflow_generation_free(later);
}

static void *forks_finish(void *generation)
{
    OK(detailflow_generation_finish((detailflow_generation *)generation, NULL));
    return NULL;
}

/* The parent writes on while its forks copy what they refer to. */
static void forks_beside_each_other(const detailflow_request *request, const struct ends *ends, int rounds)
{
    while (rounds-- > 0) {
        detailflow_generation *all[4];
        pthread_t threads[4];
        int at;
        all[0] = forks_begin(request, (uint32_t)rounds % ends->steps);
        for (at = 1; at < 4; at++) {
            all[at] = forks_fork(all[at == 3 ? 1 : 0], SAME);
        }
        for (at = 0; at < 4; at++) {
            CHECK(pthread_create(&threads[at], NULL, forks_finish, all[at]) == 0);
        }
        for (at = 0; at < 4; at++) {
            CHECK(pthread_join(threads[at], NULL) == 0);
            CHECK(check_progress(all[at]).token_count == ends->count && forks_begins(all[at], ends));
            detailflow_generation_free(all[at]);
        }
    }
}

/* Pictures fall away and leave the others as they were. */
static void forks_keep(const detailflow_model *model)
{
    const uint32_t classes = check_info(model).class_count;
    detailflow_request *request = check_request(model, 4, 30);
    detailflow_generation *whole = NULL, *generation;
    detailflow_cancel *cancel = NULL;
    uint32_t *tokens[4], image, before, steps;
    size_t count;
    for (image = 0; image < 4; image++) {
        OK(detailflow_request_set_image_source(request, image, image % classes, 30 + image));
    }
    steps = check_steps(request);
    OK(detailflow_generate(request, &whole));
    for (image = 0; image < 4; image++) {
        tokens[image] = check_tokens(whole, image, &count);
    }
    for (before = 0; before < steps; before++) {
        const uint32_t three[3] = {3, 1, 2}, one[1] = {1};
        uint32_t class_index = 77;
        uint64_t seed = 77, work = 0;
        struct memory many;
        generation = forks_begin(request, before);
        OK(detailflow_generation_get_cancel(generation, &cancel));
        many = forks_memory(generation);
        OK(detailflow_generation_retain_images(generation, three, 3));
        CHECK(check_progress(generation).image_count == 3 && check_progress(generation).steps_done == before);
        CHECK(check_progress(generation).steps_left == steps - before);
        CHECK(check_has(generation, 0, tokens[3], check_progress(generation).token_count));
        OK(detailflow_generation_step(generation, NULL));
        OK(detailflow_generation_retain_images(generation, one, 1));
        OK(detailflow_generation_get_image_source(generation, 0, &class_index, &seed));
        CHECK(class_index == 1 % classes && seed == 31);
        INVALID(detailflow_generation_get_image_source(generation, 1, NULL, NULL), "image 1");
        check_finish(generation);
        CHECK(check_has(generation, 0, tokens[1], count));
        CHECK(before == 0 || forks_memory(generation).own < many.own);
        OK(detailflow_generation_get_work(generation, &work));
        CHECK(work == (uint64_t)4 * before + 3 + (steps - before - 1));
        /* Its cancel is still its own. */
        OK(detailflow_cancel_trigger(cancel, NULL));
        FAILS(detailflow_generation_step(generation, NULL), DETAILFLOW_STATUS_CANCELLED, "cancelled");
        detailflow_cancel_free(cancel);
        detailflow_generation_free(generation);
    }
    /* All of them, in another order, of what is finished. */
    {
        const uint32_t back[4] = {3, 2, 1, 0};
        OK(detailflow_generation_retain_images(whole, back, 4));
        for (image = 0; image < 4; image++) {
            CHECK(check_has(whole, image, tokens[3 - image], count));
            free(tokens[3 - image]);
        }
    }
    detailflow_generation_free(whole);
    detailflow_request_free(request);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    const int few = argc > 2 && strcmp(argv[2], "few") == 0;
    detailflow_model *model = check_open(bundle, 1);
    detailflow_request *request = forks_request(model);
    struct ends ends = forks_ends(request);
    int order[MEMBERS] = {PARENT, UNSTEPPED, STEPPED, OF_FORK};
    forks_at_each_step(request, &ends);
    forks_take_memory_when_they_step(request, &ends, few);
    forks_are_not_cancelled(request, &ends);
    forks_beside_each_other(request, &ends, few ? 3 : 20);
    forks_keep(model);
    detailflow_request_free(request);
    detailflow_model_free(model);
    forks_freed(bundle, &ends, order, 0, few ? 5 : 1);
    free(ends.tokens[0]);
    free(ends.tokens[1]);
    return 0;
}
