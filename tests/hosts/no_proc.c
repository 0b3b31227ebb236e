/*
 * A process without /proc, as in a small container: everything works.
 *
 *     no_proc BUNDLE
 */
#include "threads.h"

#include <sys/mount.h>

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    static const uint32_t THREADS[] = {0, 1, 4};
    detailflow_device_list *devices = NULL;
    size_t at;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0) {
        printf("/proc cannot be hidden: %s\n", strerror(errno));
        return SKIPPED;
    }
    CHECK(access("/proc/self", F_OK) != 0);
    for (at = 0; at < sizeof THREADS / sizeof *THREADS; at++) {
        detailflow_model *model = check_open(bundle, THREADS[at]);
        size_t count, bytes;
        uint32_t *tokens = check_draw(model, 1, &count);
        free(check_decode(model, tokens, count, &bytes));
        free(tokens);
        detailflow_model_free(model);
    }
    OK(detailflow_device_list_new(&devices, NULL));
    detailflow_device_list_free(devices);
    return 0;
}
