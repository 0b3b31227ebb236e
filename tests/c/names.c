/*
 * Paths are UTF-8: bundles, pictures and packs in files and folders with umlauts, Japanese and emoji in their names.
 *
 *     names BUNDLE
 */
#include "posix.h"

/* "ä ö 画像 🎮", by bytes, since compilers differ in what they make of other characters. */
#define NAME "\xc3\xa4 \xc3\xb6 \xe7\x94\xbb\xe5\x83\x8f \xf0\x9f\x8e\xae"

static void draw(const char *bundle, const char *picture)
{
    detailflow_model *model = check_open(bundle, 1);
    const detailflow_model_info info = check_info(model);
    detailflow_request *request = check_request(model, 1, 5);
    detailflow_generation *generation = NULL;
    uint32_t *tokens = (uint32_t *)malloc(info.token_count * sizeof *tokens);
    size_t count = 0;
    CHECK(tokens != NULL);
    OK(detailflow_generate(request, &generation));
    OK(detailflow_generation_save(generation, 0, picture));
    if (info.can_encode) {
        OK(detailflow_model_encode_file(model, picture, tokens, info.token_count, &count));
        CHECK(count == info.token_count);
    }
    free(tokens);
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    detailflow_model_free(model);
}

int main(int argc, char **argv)
{
    const char *bundle = check_bundle(argc, argv);
    detailflow_model *model = NULL;
    OK(detailflow_bundle_pack(bundle, NAME ".dflow", NULL));
    OK(detailflow_bundle_unpack(NAME ".dflow", NAME, NULL));
    draw(NAME, NAME ".png");
    draw(NAME ".dflow", NAME "/" NAME ".png");
    FAILS(detailflow_model_open("none " NAME, NULL, &model, NULL), DETAILFLOW_STATUS_NOT_FOUND, "none " NAME);
    return 0;
}
