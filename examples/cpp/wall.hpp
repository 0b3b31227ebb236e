/*
 * The parts of frame_loop.cpp that are not about libdetailflow: the command line, and an SDL2 window with a wall of
 * cells and a graph of frame times.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef WALL_HPP
#define WALL_HPP

#include <SDL.h>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

// The length of a frame at 60 Hz, and the height of the graph.
constexpr double FRAME_MS = 1000.0 / 60.0, GRAPH_MS = 20.0;

// Milliseconds of a steady clock.
inline double now_ms()
{
    return static_cast<double>(SDL_GetPerformanceCounter()) * 1e3 / static_cast<double>(SDL_GetPerformanceFrequency());
}

// Ends the program when an SDL call failed.
inline void need_sdl(bool succeeded)
{
    if (!succeeded) {
        std::fprintf(stderr, "SDL: %s\n", SDL_GetError());
        std::exit(1);
    }
}

// The options of the command line.
struct Settings {
    std::size_t frames = 0;
    std::uint64_t seed = 1;
    double budget_ms = 4;
    std::uint32_t threads = 1;
    bool generates = true;
    const char *screenshot = nullptr, *stats = nullptr;

    Settings(int argc, char **argv)
    {
        for (int at = 1; at < argc; at++) {
            const char *const name = argv[at], *const value = at + 1 < argc ? argv[at + 1] : nullptr;
            const auto is = [&](const char *option) { return std::strcmp(name, option) == 0; };
            if (is("--no-generate")) {
                generates = false;
                continue;
            }
            if (value == nullptr) {
                usage(name);
            } else if (is("--frames")) {
                frames = static_cast<std::size_t>(number(name, value));
            } else if (is("--seed")) {
                seed = static_cast<std::uint64_t>(number(name, value));
            } else if (is("--budget-ms")) {
                budget_ms = number(name, value);
            } else if (is("--threads")) {
                threads = static_cast<std::uint32_t>(number(name, value));
            } else if (is("--screenshot")) {
                screenshot = value;
            } else if (is("--stats")) {
                stats = value;
            } else {
                usage(name);
            }
            at++;
        }
    }

private:
    static double number(const char *name, const char *value)
    {
        char *end = nullptr;
        const double number = std::strtod(value, &end);
        if (end == value || *end != 0 || !(number >= 0 && number < 1e9)) {
            usage(name);
        }
        return number;
    }

    [[noreturn]] static void usage(const char *name)
    {
        const bool asked = std::strcmp(name, "--help") == 0;
        std::FILE *out = asked ? stdout : stderr;
        if (!asked) {
            std::fprintf(out, "%s: unknown option, or its value is missing or invalid\n", name);
        }
        std::fputs("--frames N         end after N frames; 0 (the default): when the window is closed\n"
                   "--seed N           seed of the first cell: 1\n"
                   "--budget-ms F      milliseconds of each frame for generating: 4\n"
                   "--threads N        threads of the model: 1\n"
                   "--no-generate      generate nothing, to compare frame times\n"
                   "--screenshot FILE  write the last frame to a picture file\n"
                   "--stats FILE       write frame times as JSON\n"
                   "--help             this text\n",
                   out);
        std::exit(asked ? 0 : 2);
    }
};

// The times of all frames.
class FrameTimes {
public:
    std::size_t size() const { return all_.size(); }

    // Adds a frame: the time spent generating (0 when nothing was generated), and all but the wait for the next frame.
    void add(double generating_ms, double all_ms)
    {
        generating_.push_back(generating_ms);
        all_.push_back(all_ms);
    }

    // Draws the last frames as columns, the newest on the right: generating in green, which should stay below the
    // yellow line (the budget), and the rest on top of it, which should stay below the red line (1/60 s).
    void draw(SDL_Renderer *screen, const SDL_Rect &place, double budget_ms) const
    {
        const auto height = [&](double ms) { return static_cast<int>(std::min(ms / GRAPH_MS, 1.0) * place.h); };
        const auto fill = [&](int red, int green, int blue, int x, int width, int from, int to) {
            const SDL_Rect bar = {place.x + x, place.y + place.h - to, width, to - from};
            SDL_SetRenderDrawColor(screen, Uint8(red), Uint8(green), Uint8(blue), 255);
            SDL_RenderFillRect(screen, &bar);
        };
        fill(18, 19, 23, 0, place.w, 0, place.h);
        for (std::size_t back = 1; back <= size() && static_cast<int>(back) * 4 <= place.w; back++) {
            const int x = place.w - static_cast<int>(back) * 4, generated = height(generating_[size() - back]);
            fill(72, 187, 170, x, 3, 0, generated);
            fill(98, 106, 130, x, 3, generated, height(all_[size() - back]));
        }
        const auto line = [&](int red, int green, int blue, double ms) {
            const int from = std::min(height(ms), place.h - 2);
            fill(red, green, blue, 0, place.w, from, from + 2);
        };
        line(235, 196, 84, budget_ms);
        line(224, 92, 92, FRAME_MS);
    }

    // Writes fields of a JSON object: median, 99th percentile and worst, and the number of frames over the limit.
    void write(std::FILE *file, double budget_ms) const
    {
        std::vector<double> generating;
        std::copy_if(generating_.begin(), generating_.end(), std::back_inserter(generating),
                     [](double ms) { return ms > 0; });
        std::fprintf(file, " \"frames\": %zu,\n", size());
        write(file, "frame_ms", all_);
        std::fprintf(file, " \"over_frame\": %td,\n", over(all_, FRAME_MS));
        std::fprintf(file, " \"frames_generating\": %zu,\n", generating.size());
        write(file, "generate_ms", generating);
        std::fprintf(file, " \"budget_ms\": %.3f,\n", budget_ms);
        std::fprintf(file, " \"over_budget\": %td,\n", over(generating, budget_ms));
    }

private:
    static std::ptrdiff_t over(const std::vector<double> &times, double limit)
    {
        return std::count_if(times.begin(), times.end(), [&](double ms) { return ms > limit; });
    }

    static void write(std::FILE *file, const char *name, std::vector<double> times)
    {
        std::sort(times.begin(), times.end());
        const auto at = [&](std::size_t percent) {
            return times.empty() ? 0 : times[(times.size() - 1) * percent / 100];
        };
        std::fprintf(file, " \"%s\": {\"p50\": %.3f, \"p99\": %.3f, \"worst\": %.3f},\n", name, at(50), at(99),
                     at(100));
    }

    std::vector<double> generating_, all_;
};

// What was generated: steps, the longest unit of work, and cells that have their coarsest and their finest level.
struct Counts {
    std::uint32_t steps = 0, begun = 0, finished = 0;
    double longest_unit_ms = 0;

    void add(std::uint32_t more_steps, double unit_ms)
    {
        steps += more_steps;
        longest_unit_ms = std::max(longest_unit_ms, unit_ms);
    }
};

// A window of square cells, and the graph below them.
class Wall {
public:
    static constexpr int COLUMNS = 16, ROWS = 9, SIDE = 96, GAP = 6, GRAPH = 100;
    static constexpr int WIDTH = COLUMNS * (SIDE + GAP) + GAP, WALL = ROWS * (SIDE + GAP) + GAP, HEIGHT = WALL + GRAPH;

    // `largest`: pixels per side of the largest picture that is put into a cell.
    explicit Wall(std::uint32_t largest)
    {
        need_sdl(SDL_Init(SDL_INIT_VIDEO) == 0);
        const int at = static_cast<int>(SDL_WINDOWPOS_CENTERED);
        need_sdl((window_ = SDL_CreateWindow("libdetailflow", at, at, WIDTH, HEIGHT, 0)) != nullptr);
        need_sdl((screen_ = SDL_CreateRenderer(window_, -1, SDL_RENDERER_TARGETTEXTURE)) != nullptr);
        wall_ = SDL_CreateTexture(screen_, SDL_PIXELFORMAT_RGB888, SDL_TEXTUREACCESS_TARGET, WIDTH, WALL);
        const int size = static_cast<int>(largest);
        sprite_ = SDL_CreateTexture(screen_, SDL_PIXELFORMAT_RGBA32, SDL_TEXTUREACCESS_STREAMING, size, size);
        need_sdl(wall_ != nullptr && sprite_ != nullptr);
        need_sdl(SDL_SetTextureBlendMode(sprite_, SDL_BLENDMODE_BLEND) == 0);
        SDL_SetRenderTarget(screen_, wall_);
        SDL_SetRenderDrawColor(screen_, 24, 25, 30, 255);
        SDL_RenderClear(screen_);
        SDL_SetRenderDrawColor(screen_, 34, 35, 42, 255);
        for (int index = 0; index < COLUMNS * ROWS; index++) {
            const int x = index % COLUMNS, y = index / COLUMNS;
            cells_.push_back({GAP + x * (SIDE + GAP), GAP + y * (SIDE + GAP), SIDE, SIDE});
            SDL_RenderFillRect(screen_, &cells_.back());
        }
        SDL_SetRenderTarget(screen_, nullptr);
        // Order the cells from the middle outwards.
        const auto distance = [](const SDL_Rect &cell) {
            const int x = 2 * cell.x + SIDE - WIDTH, y = 2 * cell.y + SIDE - WALL;
            return x * x + y * y;
        };
        std::stable_sort(cells_.begin(), cells_.end(),
                         [&](const SDL_Rect &a, const SDL_Rect &b) { return distance(a) < distance(b); });
    }
    Wall(const Wall &) = delete;
    Wall &operator=(const Wall &) = delete;
    ~Wall()
    {
        SDL_DestroyRenderer(screen_);
        SDL_DestroyWindow(window_);
        SDL_Quit();
    }

    std::size_t cells() const { return cells_.size(); }

    // Puts a picture of `size` pixels per side into a cell; cell 0 is in the middle. `fill` gets the memory of the
    // texture and its stride in bytes, and writes RGBA8 pixels.
    template <class Fill>
    void put(std::size_t cell, std::uint32_t size, Fill fill)
    {
        const SDL_Rect part = {0, 0, static_cast<int>(size), static_cast<int>(size)};
        void *pixels = nullptr;
        int pitch = 0;
        need_sdl(SDL_LockTexture(sprite_, &part, &pixels, &pitch) == 0);
        fill(pixels, static_cast<std::size_t>(pitch));
        SDL_UnlockTexture(sprite_);
        SDL_SetRenderTarget(screen_, wall_);
        SDL_SetRenderDrawColor(screen_, 34, 35, 42, 255);
        SDL_RenderFillRect(screen_, &cells_[cell]);
        SDL_RenderCopy(screen_, sprite_, &part, &cells_[cell]);
        SDL_SetRenderTarget(screen_, nullptr);
    }

    // Shows the frame that began at `begun`, and waits for the next one. Returns false when the window was closed.
    bool show(double begun, double generating_ms, double budget_ms)
    {
        bool open = true;
        for (SDL_Event event; SDL_PollEvent(&event) != 0;) {
            open = open && event.type != SDL_QUIT;
        }
        render(budget_ms);
        SDL_RenderPresent(screen_);
        const double now = now_ms();
        times.add(generating_ms, now - begun);
        // A game would let the display wait (SDL_RENDERER_PRESENTVSYNC).
        next_ = std::max(next_ + FRAME_MS, now);
        SDL_Delay(static_cast<Uint32>(next_ - now));
        return open;
    }

    // The content of the window, RGB8.
    std::vector<std::uint8_t> screenshot(double budget_ms)
    {
        std::vector<std::uint8_t> pixels(WIDTH * HEIGHT * 3);
        render(budget_ms);
        need_sdl(SDL_RenderReadPixels(screen_, nullptr, SDL_PIXELFORMAT_RGB24, pixels.data(), WIDTH * 3) == 0);
        return pixels;
    }

    // Writes a JSON file; prints why when that fails.
    bool write(const char *path, double budget_ms) const
    {
        std::FILE *file = std::fopen(path, "w");
        if (file == nullptr) {
            std::perror(path);
            return false;
        }
        std::fprintf(file, "{\n");
        times.write(file, budget_ms);
        std::fprintf(file, " \"longest_unit_ms\": %.3f,\n \"steps\": %u,\n \"cells\": %zu,\n", stats.longest_unit_ms,
                     stats.steps, cells());
        std::fprintf(file, " \"cells_begun\": %u,\n \"cells_finished\": %u\n}\n", stats.begun, stats.finished);
        std::fclose(file);
        return true;
    }

    FrameTimes times;
    Counts stats;

private:
    void render(double budget_ms)
    {
        const SDL_Rect upper = {0, 0, WIDTH, WALL}, lower = {0, WALL, WIDTH, GRAPH};
        SDL_RenderCopy(screen_, wall_, nullptr, &upper);
        times.draw(screen_, lower, budget_ms);
    }

    SDL_Window *window_ = nullptr;
    SDL_Renderer *screen_ = nullptr;
    SDL_Texture *wall_ = nullptr, *sprite_ = nullptr;
    std::vector<SDL_Rect> cells_;
    double next_ = now_ms();
};

#endif
