/*
 * How a bundle says that its pictures are finished.
 *
 *     finish BUNDLE [all]
 *
 * With `all` the bundle has every setting, as the test writes them; else it has none.
 */
#include "check.h"

/* The largest difference of red across the wrap of a row; the smallest red of the picture. */
static int wrap_step(const unsigned char *pixels, unsigned char *least)
{
    int most = 0;
    int at;
    for (at = 0; at < 256; at++) {
        *least = pixels[4 * at] < *least ? pixels[4 * at] : *least;
        if (at % 16 == 15) {
            most =
                abs(pixels[4 * at] - pixels[4 * (at - 15)]) > most ? abs(pixels[4 * at] - pixels[4 * (at - 15)]) : most;
        }
    }
    return most;
}

/* A ramp, which repeats when it is asked for, once and for all, if it is opaque. */
static void tile(void)
{
    unsigned char pixels[1024], start[1024], again[1024];
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 16, pixels, sizeof pixels);
    detailflow_finish finish;
    unsigned char least = 255;
    int at;

    for (at = 0; at < 256; at++) {
        pixels[4 * at] = (unsigned char)(9 + 8 * (at % 16));
        pixels[4 * at + 1] = (unsigned char)(at % 5);
        pixels[4 * at + 2] = 7;
        pixels[4 * at + 3] = 255;
    }
    memcpy(start, pixels, sizeof pixels);
    memset(&finish, 0, sizeof finish);
    finish.struct_size = sizeof finish;
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(memcmp(pixels, start, sizeof pixels) == 0 && wrap_step(pixels, &least) == 120);
    finish.tile = 1;
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(wrap_step(pixels, &least) == 8 && least >= 9);
    memcpy(again, pixels, sizeof pixels);
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(memcmp(pixels, again, sizeof pixels) == 0);
    start[4 * 77 + 3] = 254;
    memcpy(pixels, start, sizeof pixels);
    OK(detailflow_image_finish(&image, &finish, NULL));
    CHECK(memcmp(pixels, start, sizeof pixels) == 0);
}

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
    CHECK(finish.struct_size == sizeof finish && finish.tile == (all ? 1u : 0u) && finish.palette == NULL);
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
    tile();
    detailflow_model_free(model);
    return 0;
}
