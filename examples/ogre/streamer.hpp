/*
 * Streams generated textures: a worker generates and decodes mip chains in the background, the render thread takes what
 * is ready. Nothing here depends on an engine.
 *
 * Each texture is a job that stops at the coarsest level and is held there. promote() lets it go on to a finer level;
 * the tokens that it has are kept, so that nothing is generated twice.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef STREAMER_HPP
#define STREAMER_HPP

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <detailflow.hpp>
#include <map>
#include <mutex>
#ifdef __linux__
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Whether a call succeeded. Prints the message of one that failed.
template <class T>
bool good(const detailflow::Result<T> &result)
{
    if (!result) {
        std::fprintf(stderr, "%s: %s\n", detailflow::status_name(result.status()), result.message());
    }
    return static_cast<bool>(result);
}

// The value of a result. Ends the program when there is none; a game would log the message and go on.
template <class T>
T need(detailflow::Result<T> result)
{
    if (!good(result)) {
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>)
        return std::move(result).value();
}

// What a texture shows.
struct Source {
    const char *class_name = "";
    std::uint64_t seed = 0;
};

// A mip chain that is ready to upload: premultiplied RGBA8, so that filtering leaves no fringe.
struct Chain {
    std::uint64_t user = 0;
    std::uint32_t size = 0;
    std::vector<std::uint8_t> block;
};

class Streamer {
public:
    // `nice`: how far the worker gives way to the render thread on a busy machine, 0 to 19 (Linux).
    explicit Streamer(int nice) : nice_(nice)
    {
        using namespace detailflow;
        // One thread: the others are for the game.
        ModelOptions options = need(ModelOptions::make());
        need(options.set_threads(1));
        need(options.set_encoder(false));
        model_ = need(Model::open({}, options));
        const std::uint32_t count = need(model_.get_info()).level_count;
        for (std::uint32_t index = 0; index < count; index++) {
            const std::uint32_t size = need(model_.get_level(index)).level_size;
            levels_.push_back(size);
            layouts_[size] = need(mips_lay_out(size, Format::rgba8_premultiplied));
        }
        request_ = need(Request::make(model_));
        // Coarse pictures of all come before fine pictures of any; of two at the same level the nearer one is first.
        WorkerOptions worker_options = need(WorkerOptions::make());
        need(worker_options.set_order(WorkerOrder::coarse_first));
        worker_ = need(Worker::make(worker_options));
        need(worker_.set_callback(on_event_));
    }
    Streamer(const Streamer &) = delete;
    Streamer &operator=(const Streamer &) = delete;
    // Cancels what is left, and waits for the callback.
    ~Streamer() { need(worker_.close(UINT64_MAX)); }

    // Pixels per side of the levels, coarse to fine.
    const std::vector<std::uint32_t> &levels() const { return levels_; }
    const detailflow::MipLayout &layout(std::uint32_t size) const { return layouts_.at(size); }

    // Starts a texture, which is held at the level of `size`. Returns the number of its job. `user` comes back with its
    // mip chains.
    std::uint64_t start(const Source &source, std::uint64_t user, std::uint32_t size, float priority)
    {
        using namespace detailflow;
        need(request_.set_class(need(model_.find_class(source.class_name))));
        need(request_.set_seed(source.seed));
        need(request_.set_level_size(size));
        SubmitOptions options = need(SubmitOptions::make());
        need(options.set_user(user));
        need(options.set_flags(SubmitFlag::hold));
        need(options.set_priority(priority));
        return need(worker_.submit(request_, options));
    }

    // Lets a texture go on to a finer level.
    void promote(std::uint64_t job, std::uint32_t size) const { need(worker_.continue_to(job, size)); }
    void set_priority(std::uint64_t job, float priority) const { need(worker_.set_priority(job, priority)); }
    void cancel(std::uint64_t job) const { need(worker_.cancel(job)); }

    // Takes a mip chain that is ready. Never waits for the worker's computing.
    bool take(Chain &chain)
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (ready_.empty()) {
            return false;
        }
        chain = std::move(ready_.front());
        ready_.pop_front();
        return true;
    }

private:
    // On the worker's thread: decodes the mips of a level from its tokens, each at the nearest level of the model. An
    // error of one job costs its texture alone.
    void receive(const detailflow::Event &event)
    {
        using namespace detailflow;
        give_way();
        const Result<EventInfo> told = event.get_info();
        if (!good(told)) {
            return;
        }
        const EventInfo &info = *told;
        if (kind(info) == EventKind::failed) {
            const Result<std::string> message = event.get_job_message();
            std::fprintf(stderr, "%s: %s\n", status_name(status(info)), good(message) ? message->c_str() : "");
        }
        if (kind(info) != EventKind::level) {
            return;
        }
        const Result<std::vector<std::uint32_t>> tokens = event.get_tokens(0);
        if (!good(tokens)) {
            return;
        }
        const MipLayout &layout = layouts_.at(info.level_size);
        Chain chain{info.user, info.level_size, std::vector<std::uint8_t>(layout.block_bytes)};
        const Span<const std::uint32_t> prefix(tokens->data(), info.level_token_count);
        if (!good(model_.decode_mip_chain(prefix, MipsSource::levels, info.level_size, Format::rgba8_premultiplied,
                                          layout.offsets, chain.block))) {
            return;
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        ready_.push_back(std::move(chain));
    }

    void give_way()
    {
#ifdef __linux__
        if (nice_ > 0) {
            setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), nice_);
        }
#endif
        nice_ = 0;
    }

    std::vector<std::uint32_t> levels_;
    std::map<std::uint32_t, detailflow::MipLayout> layouts_;
    std::mutex mutex_;
    std::deque<Chain> ready_;
    int nice_ = 0;
    detailflow::Model model_;
    detailflow::Request request_;
    struct Receive {
        Streamer *streamer;
        void operator()(detailflow::Event event) const { streamer->receive(event); }
    } on_event_{this};
    // Last, so that it ends first.
    detailflow::Worker worker_;
};

#endif
