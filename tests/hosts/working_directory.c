/*
 * The working directory changes after things were opened by a relative path.
 *
 *     working_directory BUNDLE
 */
#include "check.h"

#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    detailflow_model *model, *in_memory = NULL;
    detailflow_model_options *options = NULL;
    detailflow_model_info info;
    detailflow_pack_writer *writer = NULL;
    detailflow_image image;
    size_t count, bytes, again;
    uint32_t *tokens, *encoded, number;
    unsigned char *pixels, data[4096];

    CHECK(symlink(bundle, "bundle") == 0);
    CHECK(mkdir("elsewhere", 0755) == 0);
    model = check_open("bundle", 1);
    OK(detailflow_model_options_new(&options, NULL));
    OK(detailflow_model_options_set_weights_in_memory(options, 1));
    OK(detailflow_model_open("bundle", options, &in_memory, NULL));
    detailflow_model_options_free(options);
    OK(detailflow_pack_writer_new("sequences.dftpack", &writer, NULL));
    info = check_info(model);

    CHECK(chdir("elsewhere") == 0);
    tokens = check_draw(model, 1, &count);
    pixels = check_decode(model, tokens, count, &bytes);
    image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
    encoded = (uint32_t *)malloc(info.token_count * sizeof *encoded);
    CHECK(encoded != NULL);
    /* The encoder is compiled only now. */
    OK(detailflow_model_encode(model, &image, encoded, info.token_count, &again));
    CHECK(again == info.token_count);
    OK(detailflow_model_encode(in_memory, &image, encoded, info.token_count, &again));
    OK(detailflow_dft_encode(model, tokens, count, DETAILFLOW_NO_CLASS, NULL, data, sizeof data, &bytes));
    OK(detailflow_pack_writer_add(writer, "one", data, bytes, &number));
    OK(detailflow_pack_writer_finish(writer));
    CHECK(access("../sequences.dftpack", F_OK) == 0);
    CHECK(access("sequences.dftpack", F_OK) != 0);

    free(encoded);
    free(pixels);
    free(tokens);
    detailflow_pack_writer_free(writer);
    detailflow_model_free(in_memory);
    detailflow_model_free(model);
    return 0;
}
