/*
 * The files of a bundle change under an open model: replaced by rename, as the header allows; and anyhow, when the weights
 * were read into memory.
 *
 *     weights BUNDLE
 */
#include "check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static detailflow_model_info info;

static void copy(const char *from, const char *to, size_t most)
{
    static char buffer[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t count;
    CHECK(in != NULL && out != NULL);
    while (most > 0 && (count = fread(buffer, 1, most < sizeof buffer ? most : sizeof buffer, in)) > 0) {
        CHECK(fwrite(buffer, 1, count, out) == count);
        most -= count;
    }
    fclose(in);
    CHECK(fclose(out) == 0);
}

/* Calls `each` for every file of the folder, or those whose name begins with weights. */
static void for_files(const char *folder, int weights, void (*each)(const char *from, const char *name))
{
    DIR *files = opendir(folder);
    const struct dirent *entry;
    char path[1024];
    CHECK(files != NULL);
    while ((entry = readdir(files)) != NULL) {
        if (entry->d_name[0] != '.' && (!weights || strncmp(entry->d_name, "weights", 7) == 0)) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            each(path, entry->d_name);
        }
    }
    closedir(files);
}

static void into_bundle(const char *from, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "bundle/%s", name);
    copy(from, path, (size_t)-1);
}

static void by_rename(const char *path, const char *name)
{
    struct stat old;
    (void)name;
    CHECK(stat(path, &old) == 0);
    copy("/dev/zero", "new", (size_t)old.st_size);
    CHECK(rename("new", path) == 0);
}

static void in_place(const char *path, const char *name)
{
    struct stat old;
    (void)name;
    CHECK(stat(path, &old) == 0);
    copy("/dev/zero", path, (size_t)old.st_size);
}

static void to_nothing(const char *path, const char *name)
{
    (void)name;
    CHECK(truncate(path, 0) == 0);
}

static void to_be_gone(const char *path, const char *name)
{
    (void)name;
    CHECK(unlink(path) == 0);
}

static void make_bundle(const char *bundle)
{
    CHECK(mkdir("bundle", 0755) == 0 || access("bundle", W_OK) == 0);
    for_files(bundle, 0, into_bundle);
}

static detailflow_status try_open(const char *form, uint32_t in_memory, detailflow_model **model)
{
    detailflow_model_options *options = NULL;
    detailflow_status status;
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_form(options, form));
    OK(detailflow_model_options_set_weights_in_memory(options, in_memory));
    status = detailflow_model_open("bundle", options, model, NULL);
    detailflow_model_options_free(options);
    return status;
}

/* Tokens, the picture and what it encodes to, after one another. */
static unsigned char *everything(const detailflow_model *model, int encodes, size_t *size)
{
    size_t count, bytes, again = 0;
    uint32_t *tokens = check_draw(model, 3, &count);
    unsigned char *pixels = check_decode(model, tokens, count, &bytes), *all;
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
    *size = count * sizeof *tokens + bytes + (encodes ? info.token_count * sizeof *tokens : 0);
    all = (unsigned char *)malloc(*size);
    CHECK(all != NULL);
    memcpy(all, tokens, count * sizeof *tokens);
    memcpy(all + count * sizeof *tokens, pixels, bytes);
    if (encodes) {
        OK(detailflow_model_encode(model, &image, tokens, count, &again));
        memcpy(all + count * sizeof *tokens + bytes, tokens, again * sizeof *tokens);
    }
    free(pixels);
    free(tokens);
    return all;
}

static void stays(const detailflow_model *model, int encodes, const unsigned char *wanted, const char *what)
{
    size_t size;
    unsigned char *all = everything(model, encodes, &size);
    if (memcmp(all, wanted, size) != 0) {
        check_failed(__FILE__, __LINE__, what, "changes what an open model gives");
    }
    free(all);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    static const char *const FORMS[] = {"native", "mha", "plain"};
    size_t at;
    for (at = 0; at < sizeof FORMS / sizeof *FORMS; at++) {
        detailflow_model *mapped = NULL, *in_memory = NULL, *lazy = NULL, *none = NULL;
        unsigned char *wanted;
        size_t size;
        make_bundle(bundle);
        OK(try_open(FORMS[at], 0, &mapped));
        info = check_info(mapped);
        wanted = everything(mapped, 1, &size);
        OK(try_open(FORMS[at], 1, &in_memory));
        stays(in_memory, 1, wanted, "reading weights into memory");
        OK(try_open(FORMS[at], 1, &lazy));

        for_files("bundle", 1, by_rename);
        stays(mapped, 1, wanted, "replacing a file by rename");
        detailflow_model_free(mapped);

        make_bundle(bundle);
        for_files("bundle", 1, in_place);
        stays(in_memory, 1, wanted, "overwriting a file");
        FAILS(try_open(FORMS[at], 1, &none), DETAILFLOW_STATUS_BAD_BUNDLE, "SHA-256");
        for_files("bundle", 1, to_nothing);
        stays(in_memory, 1, wanted, "truncating a file");
        for_files("bundle", 0, to_be_gone);
        stays(in_memory, 1, wanted, "removing the files");
        /* Its encoder is compiled only now. */
        stays(lazy, 1, wanted, "removing the files");
        detailflow_model_free(in_memory);
        detailflow_model_free(lazy);
        free(wanted);
    }
    return 0;
}
