/*
 * Generates a wall of sprites while a game runs at 60 frames per second. In each frame the model gets a few
 * milliseconds.
 *
 *     c++ -std=c++17 -O2 -Iinclude examples/cpp/frame_loop.cpp $(pkg-config --cflags --libs sdl2) \
 *         -Ltarget/release -ldetailflow -o target/frame_loop
 *     LD_LIBRARY_PATH=target/release target/frame_loop
 *
 * Every cell gets the coarsest level first, from the middle outwards; then each is refined to the finest. A graph below
 * the wall shows the time of the last frames. wall.hpp has the window and the command line: see --help.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "wall.hpp"
#include <detailflow.hpp>

using namespace detailflow;

// The value of a result. Ends the program when there is none; an engine would log the message and go on.
template <class T>
T need(Result<T> result)
{
    if (!result) {
        std::fprintf(stderr, "%s: %s\n", status_name(result.status()), result.message());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>)
        return std::move(result).value();
}

int main(int argc, char **argv)
{
    const Settings settings(argc, argv);

    // 1. Open the default bundle. One thread gives the steadiest frame times.
    ModelOptions options = need(ModelOptions::make());
    need(options.set_threads(settings.threads));
    const Model model = need(Model::open({}, options));
    const ModelInfo info = need(model.get_info());

    // 2. A worker without threads works inside tick(), in the game's own frames. Coarse levels of all jobs come first.
    WorkerOptions worker_options = need(WorkerOptions::make());
    need(worker_options.set_threads(0));
    const Worker worker = need(Worker::make(worker_options));

    // 3. Submit one job for each cell, each with its own class and seed. The cells nearest to the middle come first.
    Wall wall(info.image_size);
    if (settings.generates) {
        Request request = need(Request::make(model));
        for (std::uint32_t cell = 0; cell < wall.cells(); cell++) {
            need(request.set_image_source(0, cell * 8 % info.class_count, settings.seed + cell));
            need(worker.submit(request, cell, SubmitFlag::decode));
        }
    }

    // 4. The game loop. Once per frame, tick() does what fits into the budget; then the new pictures are shown.
    bool working = settings.generates;
    for (bool open = true; open && (settings.frames == 0 || wall.times.size() < settings.frames);) {
        const double begun = now_ms();
        double generating_ms = 0;
        if (working) {
            const TickReport report = need(worker.tick(static_cast<std::uint64_t>(settings.budget_ms * 1e6)));
            generating_ms = now_ms() - begun;
            working = report.ready_count > 0;
            wall.stats.add(report.step_count, static_cast<double>(report.longest_unit_ns) * 1e-6);
        }
        for (Event event = need(worker.poll()); event; event = need(worker.poll())) {
            const EventInfo what = need(event.get_info());
            if (kind(what) == EventKind::done) {
                wall.stats.finished++;
                continue;
            }
            wall.stats.begun += what.level_size == need(model.get_level(0)).level_size;
            wall.put(what.user, what.level_size, [&](void *pixels, std::size_t stride) {
                const Image target(Format::rgba8, what.level_size, what.level_size, pixels, stride * what.level_size,
                                   stride);
                need(event.decode_level(0, target));
            });
        }
        open = wall.show(begun, generating_ms, settings.budget_ms);
    }

    if (settings.screenshot != nullptr) {
        const std::vector<std::uint8_t> pixels = wall.screenshot(settings.budget_ms);
        need(image_save(ConstImage(Format::rgb8, Wall::WIDTH, Wall::HEIGHT, pixels), settings.screenshot));
    }
    return settings.stats == nullptr || wall.write(settings.stats, settings.budget_ms) ? 0 : 1;
}
