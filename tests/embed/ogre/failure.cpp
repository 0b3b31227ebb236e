/*
 * The streamer when the decoding of one texture fails on the worker's thread: the others appear all the same.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "../../../examples/ogre/streamer.hpp"
#include <atomic>
#include <chrono>
#include <dlfcn.h>
#include <thread>

// In place of the library's function: the first call fails.
static std::atomic<int> calls{0};

extern "C" detailflow_status DETAILFLOW_CALL
detailflow_model_decode_mip_chain(const detailflow_model *model, const std::uint32_t *tokens, std::size_t token_count,
                                  std::uint32_t source, std::uint32_t size, std::uint32_t format,
                                  const std::size_t *offsets, std::size_t mip_count, void *block, std::size_t capacity)
{
    static const auto real = reinterpret_cast<decltype(&detailflow_model_decode_mip_chain)>(dlsym(RTLD_NEXT, __func__));
    const bool first = calls++ == 0;
    return real(model, tokens, first ? 0 : token_count, source, size, format, offsets, mip_count, block, capacity);
}

int main()
{
    Streamer streamer(0);
    const std::uint32_t coarse = streamer.levels().front();
    for (std::uint64_t user = 1; user <= 3; user++) {
        streamer.start({"potion", user}, user, coarse, 0);
    }
    std::map<std::uint64_t, std::size_t> seen;
    Chain chain;
    while (calls < 3 || seen.size() < 2) {
        while (streamer.take(chain)) {
            seen[chain.user] = chain.block.size();
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    // One texture is missing, and no more.
    std::printf("textures: %zu\n", seen.size());
    return seen.size() == 2 ? 0 : 1;
}
