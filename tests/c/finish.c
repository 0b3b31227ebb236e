/*
 * How a bundle says that its pictures are finished.
 *
 *     finish BUNDLE [all]
 *
 * With `all` the bundle has every setting, as the test writes them; else it has none.
 */
#include "check.h"

int main(int argc, char **argv)
{
    const int all = argc > 2 && strcmp(argv[2], "all") == 0;
    detailflow_model *model = check_open(check_bundle(argc, argv), 1);
    unsigned char pixels[8] = {250, 3, 2, 255, 9, 9, 9, 20};
    const unsigned char red[8] = {255, 0, 0, 255, 1, 2, 3, 255};
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 1, pixels, sizeof pixels);
    detailflow_finish finish;
    uint32_t colors[256];
    size_t count = 77;

    memset(&finish, 0xA5, sizeof finish);
    finish.struct_size = sizeof finish;
    memset(colors, 0xA5, sizeof colors);
    OK(detailflow_model_get_finish(model, &finish, colors, 256, &count));
    CHECK(finish.struct_size == sizeof finish && finish.reserved == 0 && finish.palette == NULL);
    CHECK(count == finish.palette_count && colors[count] == 0xA5A5A5A5);
    CHECK(finish.alpha_cut == (all ? 100u : 0u) && finish.colors == (all ? 2u : 0u));
    CHECK(finish.dither == (all ? 1u : 0u) && finish.despeckle == (all ? 1u : 0u));
    CHECK(finish.has_outline == (all ? 1u : 0u) && finish.outline == (all ? 0x010203u : 0u));
    CHECK(count == (all ? 2u : 0u));
    if (all) {
        CHECK(colors[0] == 0xff0000 && colors[1] == 0x00ff80);
        INVALID(detailflow_model_get_finish(model, &finish, colors, 1, &count), "room for 1");
        /* Two pixels beside each other: the second one is cut, and becomes outline. */
        image.width = 2;
        finish.palette = colors;
        finish.despeckle = 0;
        OK(detailflow_image_finish(&image, &finish, NULL));
        CHECK(memcmp(pixels, red, sizeof red) == 0);
    }
    detailflow_model_free(model);
    return 0;
}
