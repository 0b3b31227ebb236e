/*
 * Frame times, and the command line of corridor.cpp.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef TIMES_HPP
#define TIMES_HPP

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

constexpr double FRAME_MS = 1000.0 / 60.0;

// Milliseconds of a steady clock.
inline double now_ms()
{
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Waits for the next frame of 60 per second, like a display: who comes late waits for the one after.
class Pace {
public:
    void wait()
    {
        const double now = now_ms();
        if (next_ < now) {
            next_ = now + FRAME_MS - std::fmod(now - next_, FRAME_MS);
        }
        std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(next_ - now));
        next_ += FRAME_MS;
    }

private:
    double next_ = now_ms() + FRAME_MS;
};

// Milliseconds of CPU time that all threads of this program have used.
inline double cpu_ms() { return static_cast<double>(std::clock()) * 1e3 / CLOCKS_PER_SEC; }

// Times of one kind, in milliseconds.
class Times {
public:
    void add(double ms) { all_.push_back(ms); }
    void add(const Times &more) { all_.insert(all_.end(), more.all_.begin(), more.all_.end()); }
    double percentile(std::size_t percent) const
    {
        std::vector<double> sorted = all_;
        std::sort(sorted.begin(), sorted.end());
        return sorted.empty() ? 0 : sorted[(sorted.size() - 1) * percent / 100];
    }
    void print(const char *name) const
    {
        const auto missed = std::count_if(all_.begin(), all_.end(), [](double ms) { return ms > FRAME_MS; });
        std::printf("%-24s %6zu   p50 %6.2f ms   p99 %6.2f ms   worst %6.2f ms   over 1/60 s %5.2f %%\n", name,
                    all_.size(), percentile(50), percentile(99), percentile(100),
                    all_.empty() ? 0.0 : 100.0 * static_cast<double>(missed) / static_cast<double>(all_.size()));
    }

private:
    std::vector<double> all_;
};

// The options of the command line.
struct Settings {
    std::string screenshot;
    double seconds = 0, upload_ms = 2;
    std::uint32_t pairs = 1, frames = 900;
    std::uint64_t seed = 1;

    Settings(int argc, char **argv)
    {
        for (int at = 1; at < argc; at += 2) {
            const char *const name = argv[at], *const value = at + 1 < argc ? argv[at + 1] : nullptr;
            const auto is = [&](const char *option) { return std::strcmp(name, option) == 0; };
            if (value == nullptr) {
                usage(name);
            } else if (is("--screenshot")) {
                screenshot = value;
            } else if (is("--frames")) {
                frames = static_cast<std::uint32_t>(number(name, value));
            } else if (is("--measure")) {
                seconds = number(name, value);
            } else if (is("--pairs")) {
                pairs = static_cast<std::uint32_t>(number(name, value));
            } else if (is("--upload-ms")) {
                upload_ms = number(name, value);
            } else if (is("--seed")) {
                seed = static_cast<std::uint64_t>(number(name, value));
            } else {
                usage(name);
            }
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
        std::fprintf(stderr,
                     "%s: unknown option, or its value is missing or invalid\n"
                     "--screenshot DIR   fly --frames frames, let the textures settle, and write to DIR\n"
                     "--frames N         900: 15 seconds\n"
                     "--measure SECONDS  compare frame times without and with generation, SECONDS each\n"
                     "--pairs N          measure in N pairs of flights, one without and one with: 1\n"
                     "--upload-ms F      milliseconds of each frame for uploads: 2\n"
                     "--seed N           1\n",
                     name);
        std::exit(2);
    }
};

#endif
