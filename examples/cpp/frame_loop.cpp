/*
 * A wall of sprites that is drawn while a game runs: 60 frames a second, of each at most some milliseconds for the
 * model.
 *
 *     c++ -std=c++17 -O2 -Iinclude examples/cpp/frame_loop.cpp $(pkg-config --cflags --libs sdl2) \
 *         -Ltarget/release -ldetailflow -o target/frame_loop
 *     LD_LIBRARY_PATH=target/release target/frame_loop
 *
 * Every cell gets its coarsest picture first, those in the middle before the others; then each is refined. Below run
 * the times of the last frames (wall.hpp). `--help` tells the options.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "wall.hpp"
#include <detailflow.hpp>

using namespace detailflow;

// Ends the program when there is no value; an engine would say so and go on.
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

// Draws the cells in slices: all to the coarsest level, then all to the finest, some of them at once. Only these take
// memory for keys and values; what is kept of a cell are its tokens, and from them it goes on.
class Painter {
public:
    std::uint32_t steps = 0;
    std::uint32_t painted[2] = {0, 0}, batch[2] = {1, 1}; // Cells: done, and at once, to each level.

    Painter(const Model &model, Wall &wall, const Settings &settings)
        : wall_(wall), seed_(settings.seed), classes_(need(model.info()).class_count),
          levels_{need(model.level(0)).level_size, need(model.info()).image_size}, tokens_(wall.cells()),
          request_(need(Request::make(model)))
    {
        const std::uint32_t batches[] = {1, 2, 4, 8, 16};
        need(model.calibrate(batches)); // While the game loads: how long does a step take here?
        for (pass_ = 2; pass_-- > 0;) {
            for (const std::uint32_t count : batches) {
                if (longest_step_ms(count) < 0.8 * settings.budget_ms)
                    batch[pass_] = count;
            }
        }
        pass_ = 0;
    }

    bool done() const { return pass_ == 2; }

    // Goes on until `end`, in milliseconds: one thing in any case, and then each that is predicted to end before.
    void work(double end)
    {
        for (bool some = false; !done(); some = true) {
            const double left = std::max(end - now_ms(), 0.0) * 1e6;
            if (!generation_) {
                begin();
            } else if (shown_ < count_) {
                if (some && static_cast<double>(progress_.next_decode_ns) > left)
                    return;
                show(shown_++);
            } else if (progress_.steps_left > 0) {
                if (some && static_cast<double>(progress_.next_step_ns) > left)
                    return;
                const std::uint32_t level = progress_.level_size;
                progress_ = need(generation_.advance(static_cast<std::uint64_t>(left)));
                shown_ = progress_.level_size > level ? 0 : count_;
            } else {
                end_batch();
            }
        }
    }

private:
    double longest_step_ms(std::uint32_t count)
    {
        need(request_.set_level(levels_[pass_]));
        need(request_.set_count(count));
        std::vector<StepCost> costs(need(request_.step_costs({})));
        std::uint64_t longest = 0;
        for (const StepCost &cost : Span(costs).first(need(request_.step_costs(costs))))
            longest = std::max(longest, cost.time_ns);
        return static_cast<double>(longest) * 1e-6;
    }

    void begin()
    {
        count_ = std::min(batch[pass_], static_cast<std::uint32_t>(tokens_.size()) - first_);
        need(request_.set_level(levels_[pass_]));
        need(request_.set_count(count_));
        for (std::uint32_t image = 0; image < count_; image++) {
            const std::uint32_t cell = first_ + image;
            need(request_.set_image(image, cell * 8 % classes_, seed_ + cell));
            need(request_.set_image_prefix(image, tokens_[cell]));
        }
        generation_ = need(Generation::make(request_));
        progress_ = need(generation_.progress());
        shown_ = count_;
    }

    // Straight into the texture's memory.
    void show(std::uint32_t image)
    {
        wall_.put(first_ + image, progress_.level_size, [&](void *pixels, std::size_t row) {
            const std::uint32_t size = progress_.level_size;
            need(generation_.level_image(image, Image(Format::rgba8, size, size, pixels, row * size, row)));
        });
    }

    void end_batch()
    {
        for (std::uint32_t image = 0; image < count_; image++)
            tokens_[first_ + image] = need(generation_.tokens(image));
        generation_.reset();
        steps += progress_.steps_done;
        painted[pass_] += count_;
        first_ += count_;
        if (first_ == tokens_.size()) {
            first_ = 0;
            pass_++;
        }
    }

    Wall &wall_;
    std::uint64_t seed_;
    std::uint32_t classes_, levels_[2];
    std::vector<std::vector<std::uint32_t>> tokens_; // Of each cell, as far as it is drawn.
    Request request_;
    Generation generation_; // Of `count_` cells from `first_` on; `shown_` of them show its newest level.
    Progress progress_ = {};
    std::uint32_t pass_ = 0, first_ = 0, count_ = 0, shown_ = 0;
};

int main(int argc, char **argv)
{
    const Settings settings(argc, argv);
    ModelOptions options = need(ModelOptions::make());
    need(options.set_threads(settings.threads));
    const Model model = need(Model::open({}, options));
    Wall wall(need(model.info()).image_size);
    Painter painter(model, wall, settings);

    for (bool open = true; open && (settings.frames == 0 || wall.times.size() < settings.frames);) {
        const double begun = now_ms();
        const bool working = settings.draws && !painter.done();
        if (working)
            painter.work(begun + settings.budget_ms);
        open = wall.show(begun, working ? now_ms() - begun : 0.0, settings.budget_ms);
    }
    if (settings.screenshot != nullptr) {
        const std::vector<std::uint8_t> pixels = wall.screenshot(settings.budget_ms);
        need(save(ConstImage(Format::rgb8, Wall::WIDTH, Wall::HEIGHT, pixels), settings.screenshot));
    }
    if (settings.stats != nullptr) {
        std::FILE *file = std::fopen(settings.stats, "w");
        if (file == nullptr)
            return std::perror(settings.stats), 1;
        std::fprintf(file, "{\n");
        wall.times.write(file, settings.budget_ms);
        std::fprintf(file, " \"batch\": [%u, %u],\n \"steps\": %u,\n \"cells\": %zu,\n", painter.batch[0],
                     painter.batch[1], painter.steps, wall.cells());
        std::fprintf(file, " \"cells_begun\": %u,\n \"cells_finished\": %u\n}\n", painter.painted[0],
                     painter.painted[1]);
        std::fclose(file);
    }
    return 0;
}
