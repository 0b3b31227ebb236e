/*
 * A wall of sprites that is drawn while a game runs: 60 frames a second, of each at most some milliseconds for the
 * model.
 *
 *     c++ -std=c++17 -O2 -Iinclude examples/cpp/frame_loop.cpp $(pkg-config --cflags --libs sdl2) \
 *         -Ltarget/release -ldetailflow -o target/frame_loop
 *     LD_LIBRARY_PATH=target/release target/frame_loop
 *
 * Every cell gets its coarsest picture first, those in the middle before the others; then each is refined. Below run
 * the times of the last frames: generating, which should end at the yellow line (the budget), and on top of it all
 * the rest, which should end at the red one (a sixtieth of a second).
 *
 *     --frames N         stop after so many frames; 0, the default, is when the window is closed
 *     --seed S           another wall
 *     --budget-ms F      for generating, in each frame: 4
 *     --threads N        for the model: 1
 *     --no-draw          frames without generating, to compare
 *     --screenshot FILE  writes the last frame
 *     --stats FILE       writes what the frames took, as JSON
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "frame_times.hpp"
#include <SDL.h>
#include <algorithm>
#include <cstring>
#include <detailflow.hpp>

using namespace detailflow;

constexpr int COLUMNS = 16, ROWS = 9, SIDE = 96, GAP = 6, GRAPH = 100;
constexpr int WIDTH = COLUMNS * (SIDE + GAP) + GAP, WALL = ROWS * (SIDE + GAP) + GAP;

// Ends the program when there is no value; an engine would say so and go on.
template <class T>
T need(Result<T> result)
{
    if (!result) {
        std::fprintf(stderr, "%s: %s\n", status_name(result.status()), result.message());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(result).value();
    }
}

static void need_sdl(bool fine)
{
    if (!fine) {
        std::fprintf(stderr, "SDL: %s\n", SDL_GetError());
        std::exit(1);
    }
}

static double now_ms()
{
    return static_cast<double>(SDL_GetPerformanceCounter()) * 1e3 / static_cast<double>(SDL_GetPerformanceFrequency());
}

struct Cell {
    SDL_Rect place;
    std::uint32_t class_index;
    std::uint64_t seed;
    // The picture itself, as far as it is drawn.
    std::vector<std::uint32_t> tokens;
};

// Draws the cells, some at once, in slices. Only one generation is alive, however large the wall is: its keys and values
// take a megabyte for each of its pictures. What is kept of a cell are its tokens, and from these it is refined later,
// for the price of their steps once more.
class Painter {
public:
    // Steps, and cells with their first and with their last picture.
    std::uint32_t steps = 0, painted[2] = {0, 0};
    // Cells drawn together, in each pass.
    std::uint32_t batch[2] = {1, 1};

    Painter(const Model &model, std::vector<Cell> &cells, SDL_Renderer *screen, SDL_Texture *wall, double budget_ms)
        : model_(model), cells_(cells), screen_(screen), wall_(wall), request_(need(Request::make(model)))
    {
        const int size = static_cast<int>(need(model.info()).size);
        sprite_ = SDL_CreateTexture(screen, SDL_PIXELFORMAT_RGBA32, SDL_TEXTUREACCESS_STREAMING, size, size);
        need_sdl(sprite_ != nullptr && SDL_SetTextureBlendMode(sprite_, SDL_BLENDMODE_BLEND) == 0);
        // While the game loads: draw some, which tells how long steps take here. The more at once the less time for each,
        // but a step has to fit well into the budget.
        for (pass_ = 2; pass_-- > 0;) {
            while (batch[pass_] < 16 && longest_step(2 * batch[pass_]) < 0.9 * budget_ms) {
                batch[pass_] *= 2;
            }
        }
        pass_ = 0;
    }

    bool done() const { return pass_ == 2; }

    // Goes on until `end`: one thing in any case, and then each that is predicted to end before.
    void work(double end)
    {
        for (bool some = false; !done(); some = true) {
            const double begun = now_ms(), left = std::max(end - begun, 0.0) * 1e6;
            const auto waits = [&](double ns) { return some && (ns == 0.0 || ns > left); };
            if (!generation_) {
                if (waits(begin_ns_))
                    return;
                begin();
                begin_ns_ = (now_ms() - begun) * 1e6;
            } else if (decoded_ < count_) {
                if (waits(static_cast<double>(progress_.next_decode_ns)))
                    return;
                decode(decoded_++);
            } else if (progress_.steps_left > 0) {
                if (waits(static_cast<double>(progress_.next_step_ns)))
                    return;
                const std::uint32_t level = progress_.level;
                progress_ = need(generation_.advance(static_cast<std::uint64_t>(left)));
                decoded_ = progress_.level > level ? 0 : count_;
            } else {
                end_batch();
            }
        }
    }

private:
    // The first pass ends with the coarsest level, the second begins there.
    void prepare(std::uint32_t count)
    {
        need(request_.set_prefix({}));
        need(request_.set_level(pass_ == 0 ? need(model_.level(0)).size : 0));
        need(request_.set_count(count));
    }

    double longest_step(std::uint32_t count)
    {
        prepare(count);
        generation_ = need(generate(request_));
        progress_ = need(generation_.progress());
        decode(0);
        generation_.reset();
        StepCost costs[16];
        std::uint64_t longest = 0;
        for (const StepCost &cost : Span(costs).first(need(request_.step_costs(costs)))) {
            longest = std::max(longest, cost.time_ns);
        }
        return static_cast<double>(longest) * 1e-6;
    }

    void begin()
    {
        count_ = std::min(batch[pass_], static_cast<std::uint32_t>(cells_.size()) - first_);
        prepare(count_);
        for (std::uint32_t image = 0; image < count_; image++) {
            const Cell &cell = cells_[first_ + image];
            need(request_.set_image(image, cell.class_index, cell.seed));
            need(request_.set_image_prefix(image, cell.tokens));
        }
        generation_ = need(Generation::make(request_));
        progress_ = need(generation_.progress());
        decoded_ = count_;
    }

    void end_batch()
    {
        for (std::uint32_t image = 0; image < count_; image++) {
            cells_[first_ + image].tokens = need(generation_.tokens(image));
        }
        generation_.reset();
        steps += progress_.steps_done;
        painted[pass_] += count_;
        first_ += count_;
        if (first_ == cells_.size()) {
            first_ = 0;
            pass_++;
        }
    }

    // From tokens into the texture's memory, and from there onto the wall.
    void decode(std::uint32_t image)
    {
        const SDL_Rect part = {0, 0, static_cast<int>(progress_.level), static_cast<int>(progress_.level)};
        void *pixels = nullptr;
        int pitch = 0;
        need_sdl(SDL_LockTexture(sprite_, &part, &pixels, &pitch) == 0);
        const auto row = static_cast<std::size_t>(pitch);
        const Image target(Format::rgba8, progress_.level, progress_.level, pixels, row * progress_.level, row);
        need(generation_.level_image(image, target));
        SDL_UnlockTexture(sprite_);
        SDL_SetRenderTarget(screen_, wall_);
        SDL_SetRenderDrawColor(screen_, 34, 35, 42, 255);
        SDL_RenderFillRect(screen_, &cells_[first_ + image].place);
        SDL_RenderCopy(screen_, sprite_, &part, &cells_[first_ + image].place);
        SDL_SetRenderTarget(screen_, nullptr);
    }

    const Model &model_;
    std::vector<Cell> &cells_;
    SDL_Renderer *screen_;
    SDL_Texture *wall_, *sprite_;
    Request request_;
    Generation generation_;
    Progress progress_ = {};
    double begin_ns_ = 0.0;
    std::uint32_t pass_ = 0, first_ = 0, count_ = 0, decoded_ = 0;
};

// The cells of the wall, those in the middle first, all classes mixed.
static std::vector<Cell> cells_of(const Model &model, std::uint64_t seed)
{
    std::vector<Cell> cells;
    const std::uint32_t classes = need(model.info()).class_count;
    for (int index = 0; index < COLUMNS * ROWS; index++) {
        const int x = index % COLUMNS, y = index / COLUMNS;
        const SDL_Rect place = {GAP + x * (SIDE + GAP), GAP + y * (SIDE + GAP), SIDE, SIDE};
        const auto number = static_cast<std::uint32_t>(index);
        cells.push_back({place, (number * 8 + number / 21) % classes, seed + number, {}});
    }
    const auto from_middle = [](const Cell &cell) {
        const int x = 2 * cell.place.x + SIDE - WIDTH, y = 2 * cell.place.y + SIDE - WALL;
        return x * x + y * y;
    };
    std::stable_sort(cells.begin(), cells.end(),
                     [&](const Cell &a, const Cell &b) { return from_middle(a) < from_middle(b); });
    return cells;
}

int main(int argc, char **argv)
{
    const auto option = [&](const char *name, const char *otherwise) {
        for (int at = 1; at + 1 < argc; at++) {
            if (std::strcmp(argv[at], name) == 0)
                return static_cast<const char *>(argv[at + 1]);
        }
        return otherwise;
    };
    const std::size_t frames = std::strtoul(option("--frames", "0"), nullptr, 10);
    const double budget_ms = std::strtod(option("--budget-ms", "4"), nullptr);
    const bool draws = std::none_of(argv, argv + argc, [](char *text) { return std::strcmp(text, "--no-draw") == 0; });

    ModelOptions options = need(ModelOptions::make());
    need(options.set_threads(static_cast<std::uint32_t>(std::strtoul(option("--threads", "1"), nullptr, 10))));
    const Model model = need(Model::open({}, options));
    std::vector<Cell> cells = cells_of(model, std::strtoull(option("--seed", "1"), nullptr, 10));

    need_sdl(SDL_Init(SDL_INIT_VIDEO) == 0);
    SDL_Window *window =
        SDL_CreateWindow("libdetailflow", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED, WIDTH, WALL + GRAPH, 0);
    SDL_Renderer *screen = window == nullptr ? nullptr : SDL_CreateRenderer(window, -1, SDL_RENDERER_TARGETTEXTURE);
    need_sdl(screen != nullptr);
    SDL_Texture *wall = SDL_CreateTexture(screen, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_TARGET, WIDTH, WALL);
    need_sdl(wall != nullptr);
    Painter painter(model, cells, screen, wall, budget_ms);
    SDL_SetRenderTarget(screen, wall);
    SDL_SetRenderDrawColor(screen, 24, 25, 30, 255);
    SDL_RenderClear(screen);
    SDL_SetRenderDrawColor(screen, 34, 35, 42, 255);
    for (const Cell &cell : cells) {
        SDL_RenderFillRect(screen, &cell.place);
    }
    SDL_SetRenderTarget(screen, nullptr);

    FrameTimes times(budget_ms);
    const SDL_Rect upper = {0, 0, WIDTH, WALL}, lower = {0, WALL, WIDTH, GRAPH};
    const auto show = [&] {
        SDL_RenderCopy(screen, wall, nullptr, &upper);
        times.draw(screen, lower);
    };
    double next = now_ms();
    for (bool quit = false; !quit && (frames == 0 || times.size() < frames);) {
        const double begun = now_ms();
        for (SDL_Event event; SDL_PollEvent(&event) != 0;) {
            quit = quit || event.type == SDL_QUIT;
        }
        const bool working = draws && !painter.done();
        if (working)
            painter.work(begun + budget_ms);
        const double generated = now_ms();
        show();
        SDL_RenderPresent(screen);
        times.add(working ? generated - begun : 0.0, now_ms() - begun);
        // A game leaves the wait to its display (SDL_RENDERER_PRESENTVSYNC).
        next = std::max(next + FRAME_MS, now_ms());
        SDL_Delay(static_cast<Uint32>(next - now_ms()));
    }
    if (const char *path = option("--screenshot", nullptr)) {
        std::vector<std::uint8_t> pixels(WIDTH * (WALL + GRAPH) * 3);
        show();
        need_sdl(SDL_RenderReadPixels(screen, nullptr, SDL_PIXELFORMAT_RGB24, pixels.data(), WIDTH * 3) == 0);
        need(save(ConstImage(Format::rgb8, WIDTH, WALL + GRAPH, pixels), path));
    }
    if (const char *path = option("--stats", nullptr)) {
        std::FILE *file = std::fopen(path, "w");
        if (file == nullptr) {
            std::perror(path);
            return 1;
        }
        std::fprintf(file, "{\n");
        times.write(file);
        std::fprintf(file, " \"batch\": [%u, %u],\n \"steps\": %u,\n", painter.batch[0], painter.batch[1],
                     painter.steps);
        std::fprintf(file, " \"cells\": %zu,\n \"cells_begun\": %u,\n \"cells_finished\": %u\n}\n", cells.size(),
                     painter.painted[0], painter.painted[1]);
        std::fclose(file);
    }
    SDL_DestroyRenderer(screen);
    SDL_DestroyWindow(window);
    SDL_Quit();
    return 0;
}
