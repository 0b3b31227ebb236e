/* SPDX-License-Identifier: MIT OR Apache-2.0
 * sprite FILE.png: one sprite of the default model, in C. With -DPLUGIN a plugin for host.c. */
#include <detailflow.h>
#include <stdio.h>

static int draw(const detailflow_model *model, const char *path)
{
    detailflow_request *request = NULL;
    detailflow_generation *generation = NULL;
    int drawn = detailflow_request_new(model, &request) == DETAILFLOW_STATUS_OK &&
                detailflow_request_set_seed(request, 1) == DETAILFLOW_STATUS_OK &&
                detailflow_generate(request, &generation) == DETAILFLOW_STATUS_OK &&
                detailflow_generation_save(generation, 0, path) == DETAILFLOW_STATUS_OK;
    detailflow_generation_free(generation);
    detailflow_request_free(request);
    return drawn;
}

static int run(const char *path)
{
    detailflow_model *model = NULL;
    int drawn = detailflow_model_open(NULL, NULL, &model, NULL) == DETAILFLOW_STATUS_OK && draw(model, path);
    if (!drawn) {
        fprintf(stderr, "%s\n", detailflow_last_message());
    }
    detailflow_model_free(model);
    return drawn ? 0 : 1;
}

#ifdef PLUGIN
__attribute__((visibility("default"))) int plugin_draw(const char *path);

int plugin_draw(const char *path) { return run(path); }
#else
int main(int argc, char **argv) { return argc == 2 ? run(argv[1]) : 2; }
#endif
