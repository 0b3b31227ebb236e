/*
 * A flight through an endless corridor in OGRE, whose bricks and sprites are generated on the way. Each sprite appears
 * in the distance at the coarsest level, and is promoted to finer ones as it comes nearer. A worker generates and
 * decodes the mip chains; the render thread uploads those that are ready, for at most --upload-ms of each frame.
 *
 *     c++ -std=c++17 -O2 -Iinclude examples/ogre/corridor.cpp $(pkg-config --cflags --libs OGRE-Bites) \
 *         -DOGRE_PLUGINS="\"$(pkg-config --variable=plugindir OGRE)\"" \
 *         -Ltarget/release -ldetailflow -pthread -o target/corridor
 *     LD_LIBRARY_PATH=target/release target/corridor
 *
 * streamer.hpp is the part that uses libdetailflow, hall.hpp the part that uses OGRE.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "hall.hpp"
#include "times.hpp"

// Events of tiles; the others are those of sprites.
constexpr std::uint64_t TILE_USER = std::uint64_t(1) << 32;

class Corridor {
public:
    explicit Corridor(const Settings &settings) : settings_(settings), streamer_(settings.screenshot.empty() ? 10 : 0)
    {
        // Seeds of dark bricks and stones.
        static const Source tiles[Hall::WALLS + Hall::FLOORS] = {{"wall", 27}, {"wall", 35}, {"wall", 27}, {"wall", 34},
                                                                 {"floor", 9}, {"floor", 9}, {"floor", 6}};
        for (std::size_t index = 0; index < std::size(tiles); index++) {
            streamer_.start(tiles[index], TILE_USER + index, streamer_.levels().back(), 0);
        }
        restart(true);
    }

    // Puts all stands back into the dark, in front of the start. Without generation they show a plain picture.
    void restart(bool generates)
    {
        generates_ = generates;
        frame_ = 0;
        hall_.fly(0);
        for (std::size_t index = 0; index < hall_.stands.size(); index++) {
            fill(hall_.stands[index], index, -Hall::ROW);
        }
    }

    // One frame of the flight. Returns false when the window was closed.
    bool frame(bool moves)
    {
        const double begun = now_ms();
        if (moves) {
            hall_.fly(static_cast<float>(++frame_) * SPEED);
        }
        direct();
        const double directed = now_ms();
        const std::size_t count = upload();
        if (count > 0) {
            uploads.add(now_ms() - directed);
        }
        control.add(directed - begun);
        const bool open = hall_.render();
        frames.add(now_ms() - begun);
        return open;
    }

    // True when each sprite shows the level that it should have at this distance, and all tiles are there.
    bool settled() const
    {
        return tiles_ == hall_.tiles.size() &&
               std::all_of(hall_.stands.begin(), hall_.stands.end(),
                           [](const Stand &stand) { return stand.shown == stand.wanted; });
    }

    // Writes the window with and without sprites, and which sprites are where.
    void save(const std::string &folder)
    {
        hall_.render();
        hall_.save(folder + "/screenshot.png");
        std::FILE *const file = std::fopen((folder + "/sprites.json").c_str(), "w");
        if (file == nullptr) {
            std::perror(folder.c_str());
            std::exit(1);
        }
        const char *comma = "[";
        for (const Stand &stand : hall_.stands) {
            const auto [x, y, scale] = hall_.project(stand);
            const float half = stand.side / 2 * scale;
            std::fprintf(
                file,
                "%s\n{\"class\": \"%s\", \"seed\": %llu, \"level\": %u, \"x\": %.4f, \"y\": %.4f, \"side\": %.4f, "
                "\"depth\": %.3f, \"light\": %.5f}",
                comma, stand.source.class_name, static_cast<unsigned long long>(stand.source.seed), stand.shown,
                static_cast<double>(x - half), static_cast<double>(y - half), static_cast<double>(2 * half),
                static_cast<double>(hall_.distance(stand)), static_cast<double>(hall_.light(stand)));
            comma = ",";
            stand.node->setVisible(false);
        }
        std::fprintf(file, "\n]\n");
        std::fclose(file);
        hall_.render();
        hall_.save(folder + "/background.png");
    }

    Times frames, control, uploads;

private:
    // Metres per frame: 4.2 per second.
    static constexpr float SPEED = 0.07F;

    // The level of a sprite that covers so many pixels: a texel is at least three of them.
    std::uint32_t level_for(float pixels) const
    {
        std::uint32_t level = streamer_.levels().front();
        for (const std::uint32_t size : streamer_.levels()) {
            if (static_cast<float>(size) * 3 <= pixels) {
                level = size;
            }
        }
        return level;
    }

    // Gives a stand its next sprite, one row behind `z` for each row before it.
    void fill(Stand &stand, std::uint64_t index, float z)
    {
        static const char *const creatures[] = {"adventurer", "dragon", "humanoid", "undead", "demon", "animal"};
        static const char *const monuments[] = {"golem", "structure", "plant", "golem"};
        static const char *const things[] = {"potion", "amulet", "book", "weapon", "treasure", "ring"};
        if (stand.job != 0) {
            streamer_.cancel(stand.job);
        }
        const std::uint64_t slot = index % Hall::PER_ROW, row = index / Hall::PER_ROW;
        stand.serial = ++serial_;
        const std::uint64_t pick = (stand.serial * 2654435761u + settings_.seed * 40503u) >> 7;
        stand.source.class_name = slot < 2 ? creatures[pick % 6] : slot < 4 ? monuments[pick % 4] : things[pick % 6];
        stand.source.seed = settings_.seed * 1000 + stand.serial;
        stand.job = 0;
        stand.shown = stand.wanted = 0;
        hall_.place(stand, z - Hall::ROW * static_cast<float>(row));
        if (!generates_) {
            plain(stand);
        }
    }

    // Starts, promotes and orders jobs by distance; a sprite that was passed makes place for one in the dark.
    void direct()
    {
        for (std::size_t index = 0; index < hall_.stands.size(); index++) {
            Stand &stand = hall_.stands[index];
            if (hall_.distance(stand) < 0.4F) {
                fill(stand, index % Hall::PER_ROW, stand.z - Hall::ROW * Hall::ROWS);
            }
            if (!generates_) {
                continue;
            }
            const float distance = hall_.distance(stand);
            const std::uint32_t wanted = level_for(stand.side * hall_.pixels_per_metre(stand));
            if (stand.job == 0) {
                stand.job = streamer_.start(stand.source, stand.serial, wanted, -distance);
            } else if (wanted > stand.wanted) {
                streamer_.promote(stand.job, wanted);
            }
            stand.wanted = std::max(wanted, stand.wanted);
            // Often enough: an order of metres.
            if ((frame_ + index) % 16 == 0 && stand.shown < stand.wanted) {
                streamer_.set_priority(stand.job, -distance);
            }
        }
    }

    // Uploads what is ready, the budget permitting; at least one. Returns how many.
    std::size_t upload()
    {
        const double begun = now_ms();
        std::size_t count = 0;
        Chain chain;
        while ((count == 0 || now_ms() - begun < settings_.upload_ms) && streamer_.take(chain)) {
            count++;
            if (chain.user >= TILE_USER) {
                hall_.tiles.at(chain.user - TILE_USER)->show(chain, streamer_.layout(chain.size));
                tiles_ += chain.size == streamer_.levels().back();
                continue;
            }
            for (Stand &stand : hall_.stands) {
                if (stand.serial == chain.user && generates_) {
                    show(stand, chain);
                }
            }
        }
        return count;
    }

    void show(Stand &stand, const Chain &chain)
    {
        stand.picture->show(chain, streamer_.layout(chain.size));
        stand.shown = chain.size;
        stand.node->setVisible(true);
    }

    // A disc, for flights without generation.
    void plain(Stand &stand)
    {
        const std::uint32_t size = streamer_.levels().back();
        const detailflow::MipLayout &layout = streamer_.layout(size);
        Chain chain{stand.serial, size, std::vector<std::uint8_t>(layout.block_bytes)};
        for (std::size_t mip = 0; mip < layout.offsets.size(); mip++) {
            const int side = static_cast<int>(std::max(size >> mip, 1u));
            for (int y = 0; y < side; y++) {
                for (int x = 0; x < side; x++) {
                    const int dx = 2 * x + 1 - side, dy = 2 * y + 1 - side;
                    std::uint8_t *const pixel =
                        &chain.block[layout.offsets[mip] + static_cast<std::size_t>(y * side + x) * 4];
                    if (dx * dx + dy * dy <= side * side) {
                        pixel[0] = 120, pixel[1] = 130, pixel[2] = 150, pixel[3] = 255;
                    }
                }
            }
        }
        show(stand, chain);
    }

    const Settings &settings_;
    Streamer streamer_;
    Hall hall_;
    bool generates_ = true;
    std::uint64_t frame_ = 0, serial_ = 0;
    std::size_t tiles_ = 0;
};

int main(int argc, char **argv)
{
    const Settings settings(argc, argv);
    Corridor corridor(settings);

    if (!settings.screenshot.empty()) {
        // As fast as it goes, and then until all that is seen has its level: the same picture on every machine.
        bool open = true;
        for (std::uint32_t frame = 0; open && frame < settings.frames; frame++) {
            open = corridor.frame(true);
        }
        while (open && !corridor.settled()) {
            open = corridor.frame(false);
        }
        corridor.save(settings.screenshot);
        return open ? 0 : 1;
    }
    if (settings.seconds > 0) {
        Times without, with, control, uploads;
        double cpu[2] = {0, 0}, frames = 0;
        for (std::uint32_t flight = 0; flight < 2 * settings.pairs; flight++) {
            const bool generates = flight % 2 == 1;
            corridor.restart(generates);
            corridor.frames = corridor.control = corridor.uploads = Times();
            const double cpu_begun = cpu_ms();
            Pace pace;
            for (int frame = 0; frame < static_cast<int>(settings.seconds * 60 / settings.pairs); frame++) {
                if (!corridor.frame(true)) {
                    return 1;
                }
                pace.wait();
            }
            cpu[generates] += cpu_ms() - cpu_begun;
            frames += static_cast<int>(settings.seconds * 60 / settings.pairs) / 2.0;
            (generates ? with : without).add(corridor.frames);
            if (generates) {
                control.add(corridor.control);
                uploads.add(corridor.uploads);
            }
        }
        without.print("frames without");
        with.print("frames with generation");
        control.print("  jobs, each frame");
        uploads.print("  uploads, when any");
        std::printf("CPU time of a frame: %.2f ms without, %.2f ms with generation\n", cpu[0] / frames,
                    cpu[1] / frames);
        return 0;
    }
    for (Pace pace; corridor.frame(true); pace.wait()) {
    }
}
