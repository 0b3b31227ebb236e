/*
 * How long the frames of a loop took: as a graph in its window, and as figures in a file. Used by frame_loop.cpp.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef FRAME_TIMES_HPP
#define FRAME_TIMES_HPP

#include <SDL.h>
#include <algorithm>
#include <cstdio>
#include <vector>

// A frame at 60 Hz, and what the graph shows from its lower to its upper edge.
constexpr double FRAME_MS = 1000.0 / 60.0, GRAPH_MS = 20.0;

class FrameTimes {
public:
    explicit FrameTimes(double budget_ms) : budget_ms_(budget_ms) {}

    std::size_t size() const { return all_.size(); }

    // A frame: generating (0 when there was nothing to generate), and all of it but the wait for the next.
    void add(double generating_ms, double all_ms)
    {
        generating_.push_back(generating_ms);
        all_.push_back(all_ms);
    }

    // The last frames as columns, the newest at the right: generating, on top of it the rest, and the lines below which
    // they should stay.
    void draw(SDL_Renderer *screen, const SDL_Rect &place) const
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
        fill(235, 196, 84, 0, place.w, height(budget_ms_), height(budget_ms_) + 2);
        fill(224, 92, 92, 0, place.w, height(FRAME_MS), height(FRAME_MS) + 2);
    }

    // The fields of a JSON object: median, 99th percentile and worst, and how many frames took longer than they should.
    void write(std::FILE *file) const
    {
        std::vector<double> generating;
        std::copy_if(generating_.begin(), generating_.end(), std::back_inserter(generating),
                     [](double ms) { return ms > 0; });
        std::fprintf(file, " \"frames\": %zu,\n", size());
        write(file, "frame_ms", all_);
        std::fprintf(file, " \"over_frame\": %td,\n", over(all_, FRAME_MS));
        std::fprintf(file, " \"frames_generating\": %zu,\n", generating.size());
        write(file, "generate_ms", generating);
        std::fprintf(file, " \"budget_ms\": %.3f,\n", budget_ms_);
        std::fprintf(file, " \"over_budget\": %td,\n", over(generating, budget_ms_));
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

    double budget_ms_;
    std::vector<double> generating_, all_;
};

#endif
