/* Uses everything that reads or writes files, but calibration: the test that runs it under strace lists what was opened. */
#include "check.h"

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    detailflow_model_options *options = NULL;
    detailflow_model *model = NULL;
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL, *other = NULL;
    detailflow_pack_writer *writer = NULL;
    detailflow_pack *pack = NULL;
    detailflow_image image;
    unsigned char data[4096], *pixels;
    uint32_t *tokens, number, threads;
    size_t count, size;
    /* With one thread, and with the default number. */
    for (threads = 2; threads-- > 0;) {
        OK(detailflow_model_options_new(&options, NULL));
        OK(detailflow_model_options_set_threads(options, threads));
        OK(detailflow_model_open(bundle, options, &model, NULL));
        detailflow_model_options_free(options);
        if (threads > 0) {
            detailflow_model_free(model);
        }
    }
    OK(detailflow_request_new(model, &request));
    OK(detailflow_request_set_image_count(request, 3));
    OK(detailflow_generate(request, &generation));
    OK(detailflow_generation_save(generation, 0, "saved.png"));
    {
        const detailflow_model_info info = check_info(model);
        size_t bytes = check_pixel_bytes(DETAILFLOW_FORMAT_RGBA8) * info.image_size * info.image_size;
        tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
        pixels = (unsigned char *)malloc(bytes);
        CHECK(tokens != NULL && pixels != NULL);
        OK(detailflow_model_encode_file(model, "saved.png", tokens, info.token_count, &count));
        image = check_image(DETAILFLOW_FORMAT_RGBA8, info.image_size, pixels, bytes);
        OK(detailflow_model_decode(model, tokens, count, 0, &image));
        OK(detailflow_image_save(&image, "saved.tga", NULL));
        OK(detailflow_image_save(&image, "saved.tga", NULL));
    }
    {
        /* So large that the available memory is looked at. */
        const uint32_t side = 2500;
        float *large = (float *)calloc((size_t)side * side, 4 * sizeof *large);
        CHECK(large != NULL);
        image = check_image(DETAILFLOW_FORMAT_RGBA32F, side, large, (size_t)side * side * 4 * sizeof *large);
        OK(detailflow_model_encode(model, &image, tokens, count, &count));
        free(large);
    }
    OK(detailflow_redetail_file(request, "saved.tga", check_level(model, 0).level_size, &other));
    OK(detailflow_dft_encode(model, tokens, count, DETAILFLOW_NO_CLASS, NULL, data, sizeof data, &size));
    OK(detailflow_pack_writer_new("saved.dftpack", &writer, NULL));
    OK(detailflow_pack_writer_add(writer, "one", data, size, NULL));
    OK(detailflow_pack_writer_finish(writer));
    OK(detailflow_pack_open("saved.dftpack", &pack, NULL));
    OK(detailflow_pack_find_entry(pack, "one", &number));
    OK(detailflow_pack_salvage("saved.dftpack", "salvaged.dftpack", &number, &threads, NULL));
    OK(detailflow_bundle_strip(bundle, "stripped", NULL, NULL));
    OK(detailflow_bundle_pack(bundle, "packed.dflow", NULL));
    OK(detailflow_bundle_unpack("packed.dflow", "unpacked", NULL));
    detailflow_model_free(model);
    model = check_open("packed.dflow", 1);
    OK(detailflow_model_encode_file(model, "saved.png", tokens, count, &count));
    free(tokens);
    free(pixels);
    detailflow_pack_free(pack);
    detailflow_generation_free(other);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
    return 0;
}
