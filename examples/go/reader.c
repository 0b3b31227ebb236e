/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "_cgo_export.h"
#include "shim.h"

static size_t DETAILFLOW_CALL read_at(void *user, uint64_t offset, void *buffer, size_t count)
{
    return detailflowGoReadAt((uintptr_t)user, offset, buffer, count);
}

detailflow_status go_model_open_reader(uintptr_t reader, uint64_t size, const detailflow_model_options *options,
                                       detailflow_model **model)
{
    detailflow_reader source;
    memset(&source, 0, sizeof source);
    source.struct_size = sizeof source;
    source.size = size;
    source.read_at = read_at;
    source.user = (void *)reader;
    return detailflow_model_open_reader(&source, options, model, NULL);
}
