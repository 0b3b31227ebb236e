/*
 * A batch too large for memory is OUT_OF_MEMORY, not a kill, and the next request works.
 *
 *     oom BUNDLE [nolimit]      nolimit: without the part that limits the address space (sanitizers and valgrind need
 *                               more of it than any program; Windows has no such limit)
 */
#include "check.h"

#if !defined(_WIN32)
#include <sys/resource.h>
#endif

static void small_one_works(const detailflow_model *model, const uint32_t *wanted, size_t wanted_count)
{
    size_t count;
    uint32_t *tokens = check_draw(model, 5, &count);
    CHECK(count == wanted_count && memcmp(tokens, wanted, count * sizeof *tokens) == 0);
    free(tokens);
}

/* OK or OUT_OF_MEMORY, and then no handle. */
static detailflow_status begin(const detailflow_request *request, detailflow_generation **generation)
{
    detailflow_status status;
    *generation = NULL;
    check_forget();
    status = detailflow_generation_new(request, generation);
    if (status == DETAILFLOW_STATUS_OK) {
        CHECK(*generation != NULL);
    } else {
        check_status(__FILE__, __LINE__, "detailflow_generation_new", status, DETAILFLOW_STATUS_OUT_OF_MEMORY,
                     "memory");
        CHECK(*generation == NULL);
    }
    return status;
}

/* The most that a request may ask for. A machine that has that much memory may say OK. */
static void largest_request_is_out_of_memory(const detailflow_model *model)
{
    detailflow_request *request = check_request(model, 1048576, 1);
    detailflow_generation *generation;
    OK(detailflow_request_set_guidance(request, 2));
    printf("1048576 pictures: %s\n", detailflow_status_name(begin(request, &generation)));
    detailflow_generation_free(generation);
    detailflow_request_free(request);
}

#if !defined(_WIN32)
static size_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1 && fclose(file) == 0);
    return (size_t)pages * 4096;
}

/* Ever larger batches under a limit, until one does not fit. The largest that did is drawn a step, or is refused then:
 * what a graph needs besides is only known when it runs. */
static void request_under_a_memory_limit_fails_cleanly(const detailflow_model *model, size_t room)
{
    struct rlimit limit, before;
    detailflow_request *request = check_request(model, 1, 1);
    detailflow_generation *generation = NULL;
    detailflow_status status = DETAILFLOW_STATUS_OK;
    uint32_t count = 1;
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    limit = before;
    limit.rlim_cur = address_space() + room;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    for (;;) {
        check_forget();
        status = detailflow_request_set_image_count(request, count);
        if (status != DETAILFLOW_STATUS_OK) {
            check_status(__FILE__, __LINE__, "set_count", status, DETAILFLOW_STATUS_OUT_OF_MEMORY, "memory");
            break;
        }
        status = begin(request, &generation);
        if (status != DETAILFLOW_STATUS_OK) {
            break;
        }
        detailflow_generation_free(generation);
        CHECK(count < 1048576);
        count *= 2;
    }
    printf("with %u MB more: refused at %u pictures: %s\n", (unsigned)(room >> 20), (unsigned)count,
           detailflow_last_message());
    if (count > 1) {
        OK(detailflow_request_set_image_count(request, count / 2));
        if (begin(request, &generation) == DETAILFLOW_STATUS_OK) {
            check_forget();
            status = detailflow_generation_step(generation, NULL);
            if (status != DETAILFLOW_STATUS_OK) {
                check_status(__FILE__, __LINE__, "step", status, DETAILFLOW_STATUS_OUT_OF_MEMORY, "memory");
                CHECK(check_progress(generation).steps_done == 0);
            }
            printf("  %u pictures: the first step: %s\n", (unsigned)count / 2, detailflow_status_name(status));
            detailflow_generation_free(generation);
        }
    }
    OK(detailflow_request_set_image_count(request, 1));
    OK(detailflow_generate(request, &generation));
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
}

/* The request has its million pictures already; there is no room for a second list of them. */
static void long_request_is_out_of_memory(const detailflow_model *model)
{
    struct rlimit limit, before;
    detailflow_request *request = check_request(model, 1048576, 1);
    detailflow_generation *generation;
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    limit = before;
    limit.rlim_cur = address_space() + (4u << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(begin(request, &generation) == DETAILFLOW_STATUS_OUT_OF_MEMORY);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    detailflow_request_free(request);
}
#endif

int main(int argc, char **argv)
{
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    size_t count;
    uint32_t *tokens = check_draw(model, 5, &count);
    largest_request_is_out_of_memory(model);
    small_one_works(model, tokens, count);
    if (argc > 2 && strcmp(argv[2], "nolimit") == 0) {
        printf("the part with a limited address space is left out\n");
    } else {
#if defined(_WIN32)
        CHECK(!"Windows has no such limit");
#else
        request_under_a_memory_limit_fails_cleanly(model, (size_t)64 << 20);
        small_one_works(model, tokens, count);
        request_under_a_memory_limit_fails_cleanly(model, (size_t)200 << 20);
        small_one_works(model, tokens, count);
        long_request_is_out_of_memory(model);
        small_one_works(model, tokens, count);
#endif
    }
    free(tokens);
    detailflow_model_free(model);
    return 0;
}
