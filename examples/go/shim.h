/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Memory of Go must not hold pointers to other memory of Go while C uses it. So structs with such pointers are made here, from
 * parameters, and pixels are passed by themselves.
 */
#ifndef DETAILFLOW_GO_SHIM_H
#define DETAILFLOW_GO_SHIM_H

#include <detailflow.h>
#include <stdlib.h>
#include <string.h>

#define GO_PIXELS uint32_t format, uint32_t width, uint32_t height, size_t stride, void *pixels, size_t capacity

static inline detailflow_image go_image(GO_PIXELS)
{
    detailflow_image image;
    memset(&image, 0, sizeof image);
    image.struct_size = sizeof image;
    image.format = format;
    image.width = width;
    image.height = height;
    image.stride = stride;
    image.pixels = pixels;
    image.capacity = capacity;
    return image;
}

#define GO_IMAGE go_image(format, width, height, stride, pixels, capacity)

static inline detailflow_status go_model_decode(const detailflow_model *model, const uint32_t *tokens, size_t count,
                                                uint32_t level_size, GO_PIXELS)
{
    detailflow_image image = GO_IMAGE;
    return detailflow_model_decode(model, tokens, count, level_size, &image);
}

static inline detailflow_status go_model_encode(const detailflow_model *model, uint32_t *tokens, size_t tokens_capacity,
                                                size_t *count, GO_PIXELS)
{
    detailflow_image image = GO_IMAGE;
    return detailflow_model_encode(model, &image, tokens, tokens_capacity, count);
}

static inline detailflow_status go_generation_decode(const detailflow_generation *generation, uint32_t index, GO_PIXELS)
{
    detailflow_image image = GO_IMAGE;
    return detailflow_generation_decode(generation, index, &image);
}

static inline detailflow_status go_generation_decode_level(const detailflow_generation *generation, uint32_t index,
                                                           GO_PIXELS)
{
    detailflow_image image = GO_IMAGE;
    return detailflow_generation_decode_level(generation, index, &image);
}

static inline detailflow_status go_event_decode_level(const detailflow_event *event, uint32_t index, GO_PIXELS)
{
    detailflow_image image = GO_IMAGE;
    return detailflow_event_decode_level(event, index, &image, NULL);
}

static inline detailflow_status go_image_save(const char *path, GO_PIXELS)
{
    detailflow_image image = GO_IMAGE;
    return detailflow_image_save(&image, path, NULL);
}

/* The memory is of C, and freed on whatever thread uses it last. */
static inline detailflow_status go_model_open_memory(void *data, size_t size, const detailflow_model_options *options,
                                                     detailflow_model **model)
{
    return detailflow_model_open_memory(data, size, free, data, options, model, NULL);
}

/* In reader.c. */
detailflow_status go_model_open_reader(uintptr_t reader, uint64_t size, const detailflow_model_options *options,
                                       detailflow_model **model);

#endif
