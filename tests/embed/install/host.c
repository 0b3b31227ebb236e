/* SPDX-License-Identifier: MIT OR Apache-2.0
 * host PLUGIN FILE.png: loads a plugin and calls its function. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    void *plugin, *symbol;
    int (*draw)(const char *) = NULL;
    if (argc != 3) {
        return 2;
    }
    plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 3;
    }
    symbol = dlsym(plugin, "plugin_draw");
    memcpy(&draw, &symbol, sizeof draw);
    return draw != NULL ? draw(argv[2]) : 4;
}
