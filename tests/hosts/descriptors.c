/*
 * No file descriptor to be had, or a few: each call is an error of the system, not of the bundle, or works; nothing leaks;
 * with descriptors everything works.
 *
 *     descriptors BUNDLE
 */
#include "check.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

/* How many descriptors are open. */
static int opened(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = -3; /* ., .. and the folder itself */
    CHECK(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

/* The limit that leaves no descriptor: the lowest number that is not in use. */
static int none_left(void)
{
    int free_number = dup(0);
    CHECK(free_number >= 0 && close(free_number) == 0);
    return free_number;
}

static void limit(rlim_t most)
{
    struct rlimit limits;
    CHECK(getrlimit(RLIMIT_NOFILE, &limits) == 0);
    limits.rlim_cur = most;
    CHECK(setrlimit(RLIMIT_NOFILE, &limits) == 0);
}

/* OK, or an error that names the reason. */
static int works(detailflow_status status, const char *what, int more)
{
    const char *message = detailflow_last_message();
    if (status == DETAILFLOW_STATUS_OK) {
        return 1;
    }
    if ((status != DETAILFLOW_STATUS_IO && status != DETAILFLOW_STATUS_NO_RUNTIME) ||
        (strstr(message, "Too many open files") == NULL && strstr(message, "too many open files") == NULL)) {
        fprintf(stderr, "%s with %d more descriptors: %s: %s\n", what, more, detailflow_status_name(status), message);
        CHECK(!"an error of the system");
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    struct rlimit limits;
    detailflow_model *model = NULL;
    detailflow_request *request;
    detailflow_generation *generation = NULL;
    uint32_t tokens[4096];
    size_t count;
    int before, more, saved;
    CHECK(getrlimit(RLIMIT_NOFILE, &limits) == 0);

    before = opened();
    for (more = 0; model == NULL; more++) {
        detailflow_model_options *options = NULL;
        detailflow_status status;
        CHECK(more < 100);
        OK(detailflow_model_options_new(&options, NULL));
        OK(detailflow_model_options_set_threads(options, 1));
        limit((rlim_t)(none_left() + more));
        status = detailflow_model_open(bundle, options, &model, NULL);
        limit(limits.rlim_cur);
        (void)works(status, "open", more);
        detailflow_model_options_free(options);
        if (model == NULL && opened() != before) {
            /* ONNX Runtime may keep one of its own once it is loaded. */
            CHECK(opened() <= before + 1);
            before = opened();
        }
    }
    printf("a model opens with %d more descriptors\n", more - 1);
    request = check_request(model, 1, 1);
    before = opened();
    limit((rlim_t)none_left());
    OK(detailflow_generate(request, &generation));
    CHECK(!works(detailflow_generation_save(generation, 0, "none.png"), "save", 0));
    limit(limits.rlim_cur);
    OK(detailflow_generation_save(generation, 0, "one.png"));
    for (more = 0, saved = 0; !saved; more++) {
        CHECK(more < 100);
        limit((rlim_t)(none_left() + more));
        saved = works(detailflow_generation_save(generation, 0, "one.png"), "save", more);
        limit(limits.rlim_cur);
        CHECK(opened() == before);
    }
    for (more = 0, saved = 0; !saved; more++) {
        CHECK(more < 100);
        limit((rlim_t)(none_left() + more));
        saved = works(detailflow_model_encode_file(model, "one.png", tokens, 4096, &count), "encode", more);
        limit(limits.rlim_cur);
        CHECK(opened() == before);
    }
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
    return 0;
}
