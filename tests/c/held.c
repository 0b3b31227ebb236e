/*
 * A file is replaced although another program (a virus scanner, an asset importer) holds it open for a moment, which on Windows
 * keeps it from being replaced.
 *
 *     held BUNDLE
 */
#include "posix.h"

static void save(unsigned char value)
{
    unsigned char pixels[4 * 8 * 8];
    detailflow_image image = check_image(DETAILFLOW_FORMAT_RGBA8, 8, pixels, sizeof pixels);
    memset(pixels, value, sizeof pixels);
    OK(detailflow_image_save(&image, "held.bmp", NULL));
}

static int last_byte(void)
{
    FILE *file = fopen("held.bmp", "rb");
    int byte;
    CHECK(file != NULL && fseek(file, -1, SEEK_END) == 0);
    byte = fgetc(file);
    CHECK(fclose(file) == 0);
    return byte;
}

static void *let_go(void *file)
{
    check_sleep(0.02);
    posix_let_go(file);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    (void)check_bundle(argc, argv);
    save(1);
    CHECK(last_byte() == 1);
    CHECK(pthread_create(&thread, NULL, let_go, posix_hold("held.bmp")) == 0);
    save(2);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(last_byte() == 2);
    return 0;
}
