/*
 * Generates a wall of sprites while a game runs at 60 frames per second. In each frame the model gets a few
 * milliseconds.
 *
 *     c++ -std=c++17 -O2 -Iinclude examples/cpp/frame_loop.cpp $(pkg-config --cflags --libs sdl2) \
 *         -Ltarget/release -ldetailflow -o target/frame_loop
 *     LD_LIBRARY_PATH=target/release target/frame_loop
 *
 * Two passes: every cell gets the coarsest level first, from the middle outwards; then each is refined to the finest. A
 * graph below the wall shows the time of the last frames. wall.hpp has the window and the command line: see --help.
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

// Fills the cells in batches, one batch at a time. Only the current batch has a KV cache. Of a finished cell only the
// tokens are kept: the second pass continues from them.
class Painter {
public:
    std::uint32_t steps = 0;
    std::uint32_t finished[2] = {0, 0}; // Cells that have finished each pass.
    std::uint32_t batch[2] = {1, 1};    // Cells that each pass generates together.

    Painter(const Model &model, Wall &wall, const Settings &settings)
        : wall_(wall), seed_(settings.seed), classes_(need(model.get_info()).class_count),
          levels_{need(model.get_level(0)).level_size, need(model.get_info()).image_size}, tokens_(wall.cells()),
          request_(need(Request::make(model)))
    {
        // 1. While the game loads, measure how long steps take on this machine. The result is kept on disk.
        const std::uint32_t batch_sizes[] = {1, 2, 4, 8, 16};
        need(model.calibrate(batch_sizes));

        // 2. Larger batches are faster per picture. For each pass, take the largest whose longest step fits the budget.
        for (pass_ = 2; pass_-- > 0;) {
            for (const std::uint32_t batch_size : batch_sizes) {
                if (longest_step_ms(batch_size) < 0.8 * settings.budget_ms)
                    batch[pass_] = batch_size;
            }
        }
        pass_ = 0;
    }

    bool done() const { return pass_ == 2; }

    // 3. In each frame: do one thing in any case, then more as long as each is predicted to end before `end`.
    void work(double end)
    {
        for (bool worked = false; !done(); worked = true) {
            const double left_ns = std::max(end - now_ms(), 0.0) * 1e6;
            if (!generation_) {
                begin_batch();
            } else if (shown_ < count_) {
                // A level was completed: decode and show its pictures, one at a time.
                if (worked && static_cast<double>(progress_.next_decode_ns) > left_ns)
                    return;
                show(shown_++);
            } else if (progress_.steps_left > 0) {
                // advance() does at least one step, and more as long as they fit.
                if (worked && static_cast<double>(progress_.next_step_ns) > left_ns)
                    return;
                const std::uint32_t level_size = progress_.level_size;
                progress_ = need(generation_.advance(static_cast<std::uint64_t>(left_ns)));
                shown_ = progress_.level_size > level_size ? 0 : count_;
            } else {
                end_batch();
            }
        }
    }

private:
    double longest_step_ms(std::uint32_t batch_size)
    {
        need(request_.set_level_size(levels_[pass_]));
        need(request_.set_image_count(batch_size));
        std::uint64_t longest_ns = 0;
        for (const StepCost &cost : need(request_.get_step_costs()))
            longest_ns = std::max(longest_ns, cost.time_ns);
        return static_cast<double>(longest_ns) * 1e-6;
    }

    // Each cell has its own class and seed, and begins with its tokens of the pass before.
    void begin_batch()
    {
        count_ = std::min(batch[pass_], static_cast<std::uint32_t>(tokens_.size()) - first_);
        need(request_.set_level_size(levels_[pass_]));
        need(request_.set_image_count(count_));
        for (std::uint32_t image = 0; image < count_; image++) {
            const std::uint32_t cell = first_ + image;
            need(request_.set_image_source(image, cell * 8 % classes_, seed_ + cell));
            need(request_.set_image_prefix(image, tokens_[cell]));
        }
        generation_ = need(Generation::make(request_));
        progress_ = need(generation_.get_progress());
        shown_ = count_;
    }

    // Decodes straight into the memory of the texture.
    void show(std::uint32_t image)
    {
        const std::uint32_t size = progress_.level_size;
        wall_.put(first_ + image, size, [&](void *pixels, std::size_t stride) {
            need(generation_.decode_level(image, Image(Format::rgba8, size, size, pixels, stride * size, stride)));
        });
    }

    // Keeps the tokens and frees the rest.
    void end_batch()
    {
        for (std::uint32_t image = 0; image < count_; image++)
            tokens_[first_ + image] = need(generation_.get_tokens(image));
        generation_.reset();
        steps += progress_.steps_done;
        finished[pass_] += count_;
        first_ += count_;
        if (first_ == tokens_.size()) {
            first_ = 0;
            pass_++;
        }
    }

    Wall &wall_;
    std::uint64_t seed_;
    std::uint32_t classes_, levels_[2];
    std::vector<std::vector<std::uint32_t>> tokens_; // The tokens of each cell so far.
    Request request_;
    Generation generation_; // The current batch: `count_` cells from `first_` on.
    Progress progress_ = {};
    std::uint32_t pass_ = 0, first_ = 0, count_ = 0;
    std::uint32_t shown_ = 0; // Pictures of the newest level that are shown already.
};

int main(int argc, char **argv)
{
    const Settings settings(argc, argv);

    // Open the default bundle. One thread gives the steadiest frame times.
    ModelOptions options = need(ModelOptions::make());
    need(options.set_threads(settings.threads));
    const Model model = need(Model::open({}, options));
    Wall wall(need(model.get_info()).image_size);
    Painter painter(model, wall, settings);

    // The game loop.
    for (bool open = true; open && (settings.frames == 0 || wall.times.size() < settings.frames);) {
        const double begun = now_ms();
        const bool working = settings.generates && !painter.done();
        if (working)
            painter.work(begun + settings.budget_ms);
        open = wall.show(begun, working ? now_ms() - begun : 0.0, settings.budget_ms);
    }

    if (settings.screenshot != nullptr) {
        const std::vector<std::uint8_t> pixels = wall.screenshot(settings.budget_ms);
        need(image_save(ConstImage(Format::rgb8, Wall::WIDTH, Wall::HEIGHT, pixels), settings.screenshot));
    }
    if (settings.stats != nullptr) {
        std::FILE *file = std::fopen(settings.stats, "w");
        if (file == nullptr)
            return std::perror(settings.stats), 1;
        std::fprintf(file, "{\n");
        wall.times.write(file, settings.budget_ms);
        std::fprintf(file, " \"batch\": [%u, %u],\n \"steps\": %u,\n \"cells\": %zu,\n", painter.batch[0],
                     painter.batch[1], painter.steps, wall.cells());
        std::fprintf(file, " \"cells_begun\": %u,\n \"cells_finished\": %u\n}\n", painter.finished[0],
                     painter.finished[1]);
        std::fclose(file);
    }
    return 0;
}
