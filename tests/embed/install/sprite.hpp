// SPDX-License-Identifier: MIT OR Apache-2.0
// One sprite of the default model, by the C++ header.
#include <detailflow.hpp>

#include <cstdio>

inline bool draw_sprite(const char *path)
{
    using namespace detailflow;
    const Result<void> result = [&]() -> Result<void> {
        Result<Model> model = Model::open();
        if (!model)
            return model.error();
        Result<Request> request = Request::make(*model);
        if (!request)
            return request.error();
        if (Result<void> set = request->set_seed(1); !set)
            return set;
        Result<Generation> generation = generate(*request);
        if (!generation)
            return generation.error();
        return generation->save(0, path);
    }();
    if (!result)
        std::fprintf(stderr, "%s: %s\n", status_name(result.status()), result.message());
    return result.ok();
}
