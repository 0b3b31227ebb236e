/*
 * libdetailflow for C++17: the C API of detailflow.h with owners, results and spans. Header-only.
 *
 * In short: open a model, make a request, draw it, take the pictures.
 *
 *     using namespace detailflow;
 *     Result<Model> model = Model::open();
 *     if (!model) return std::puts(model.message());
 *     Result<Request> request = Request::make(*model);
 *     if (!request || !request->set_class(3)) return 1;
 *     Result<Generation> generation = generate(*request);
 *     if (generation) (void)generation->save(0, "sprite.png");
 *
 * What holds in detailflow.h holds here; it says what each call does, its ranges and errors. What is added:
 *
 * Errors. What can fail gives a Result<T>: a value, or an Error of Status and sentence. Nothing throws, and the
 * header compiles with -fno-exceptions -fno-rtti. A Result that nobody looks at is a warning. The value of a Result
 * without one must not be taken: std::abort.
 *
 * Ownership. Model, Request, Generation ... own a handle: they can be moved, not copied, and free it in the end. An
 * owner that was moved from is empty, and its calls give Status::invalid_argument. Every order of destruction is
 * fine. get() lends the handle to the C API, release() hands it over, and the constructor from a handle takes it
 * over.
 *
 * Threads. const members may be called by any number of threads at once, the others by one at a time, as in C.
 *
 * Spans. Arrays go in and out as Span<T>: a pointer and a length, made from C arrays, std::array, std::vector and
 * their like. Where a call fills a span, an empty one only tells how much there is. Spans and views refer, they own
 * nothing.
 *
 * Texts. std::string_view goes in and is copied for its zero; one that holds a zero itself is invalid_argument. A
 * default std::string_view is NULL in C, which is a default where there is one. std::string_view comes out
 * zero-terminated.
 *
 * Memory. Nothing is allocated that the C API does not, but the copy of a long text, the sentence of an Error, and
 * what is returned as a std::string or std::vector.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef DETAILFLOW_HPP
#define DETAILFLOW_HPP

#include "detailflow.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace detailflow {

// --- Results ---

/// What became of a call. A library newer than this header may give others; status_name knows them.
enum class Status : detailflow_status {
    /// It worked.
    ok = DETAILFLOW_STATUS_OK,
    /// An argument is NULL, out of its range, or does not fit the model.
    invalid_argument = DETAILFLOW_STATUS_INVALID_ARGUMENT,
    /// A file or folder that was named does not exist, or no bundle was named and none found.
    not_found = DETAILFLOW_STATUS_NOT_FOUND,
    /// The bundle is damaged, contradicts itself, or is of an unknown format.
    bad_bundle = DETAILFLOW_STATUS_BAD_BUNDLE,
    /// ONNX Runtime is missing, not what it should be, too old, or another one was loaded before.
    no_runtime = DETAILFLOW_STATUS_NO_RUNTIME,
    /// The device cannot be used.
    no_device = DETAILFLOW_STATUS_NO_DEVICE,
    /// Memory is not to be had; a smaller request works.
    out_of_memory = DETAILFLOW_STATUS_OUT_OF_MEMORY,
    /// The system refused to read or write a file.
    io = DETAILFLOW_STATUS_IO,
    /// A picture or token file does not hold what it should.
    bad_format = DETAILFLOW_STATUS_BAD_FORMAT,
    /// The generation was cancelled.
    cancelled = DETAILFLOW_STATUS_CANCELLED,
    /// The call does not fit the state of the handle.
    wrong_state = DETAILFLOW_STATUS_WRONG_STATE,
    /// Another thread is inside a call with this handle.
    busy = DETAILFLOW_STATUS_BUSY,
    /// ONNX Runtime failed while running a graph.
    failed = DETAILFLOW_STATUS_FAILED,
    /// A fault of the library itself. Please report it.
    internal = DETAILFLOW_STATUS_INTERNAL,
};

/// The name of a status, such as "DETAILFLOW_STATUS_BUSY". Static.
inline const char *status_name(Status status) noexcept
{
    return detailflow_status_name(static_cast<detailflow_status>(status));
}

/// What went wrong in the last call of this thread that failed; "" when none did. Valid until the next that fails.
inline const char *last_message() noexcept { return detailflow_last_message(); }

/// Why a call failed.
struct Error {
    /// For the program.
    Status status = Status::internal;
    /// For the person.
    std::string message;
};

/// A value, or why there is none.
template <class T>
class [[nodiscard]] Result {
public:
    /// A value.
    Result(T value) noexcept : state_(std::in_place_index<0>, std::move(value)) {}
    /// None.
    Result(Error error) noexcept : state_(std::in_place_index<1>, std::move(error)) {}

    /// Whether there is a value.
    bool ok() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return ok(); }

    /// The value. std::abort when there is none.
    T &value() & noexcept { return *there(std::get_if<0>(&state_)); }
    const T &value() const & noexcept { return *there(std::get_if<0>(&state_)); }
    T value() && noexcept { return std::move(value()); }
    T &operator*() & noexcept { return value(); }
    const T &operator*() const & noexcept { return value(); }
    T operator*() && noexcept { return std::move(value()); }
    T *operator->() noexcept { return &value(); }
    const T *operator->() const noexcept { return &value(); }

    /// The value, or this one when there is none.
    T value_or(T other) const & { return ok() ? value() : std::move(other); }
    T value_or(T other) && { return ok() ? std::move(value()) : std::move(other); }

    /// Status::ok, or why there is no value.
    Status status() const noexcept { return ok() ? Status::ok : error().status; }
    /// The sentence; "" when there is a value. As long as the result.
    const char *message() const noexcept { return ok() ? "" : error().message.c_str(); }
    /// Why there is no value, to be handed on. std::abort when there is one.
    const Error &error() const noexcept { return *there(std::get_if<1>(&state_)); }

private:
    template <class U>
    static U *there(U *what) noexcept
    {
        if (what == nullptr) {
            std::abort();
        }
        return what;
    }

    std::variant<T, Error> state_;
};

/// Success, or why not.
template <>
class [[nodiscard]] Result<void> {
public:
    /// It worked.
    Result() noexcept = default;
    /// It did not.
    Result(Error error) noexcept : error_(std::move(error)) {}

    /// Whether it worked.
    bool ok() const noexcept { return !error_; }
    explicit operator bool() const noexcept { return ok(); }

    /// Status::ok, or why not.
    Status status() const noexcept { return error_ ? error_->status : Status::ok; }
    /// The sentence; "" when it worked. As long as the result.
    const char *message() const noexcept { return error_ ? error_->message.c_str() : ""; }
    /// Why not, to be handed on. std::abort when it worked.
    const Error &error() const noexcept
    {
        if (!error_) {
            std::abort();
        }
        return *error_;
    }

private:
    std::optional<Error> error_;
};

// --- Spans ---

/// A pointer and a length: an array of someone else's. Of const T when it is only read.
template <class T>
class Span {
    template <class U>
    using Fits = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>;
    // What may be a temporary: what is only read, and another span.
    template <class C>
    using Lives = std::enable_if_t<std::is_lvalue_reference_v<C> || std::is_const_v<T> ||
                                   std::is_same_v<std::decay_t<C>, Span<std::remove_const_t<T>>>>;

public:
    /// Empty.
    constexpr Span() noexcept = default;
    /// `size` elements at `data`.
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// All of an array.
    template <class U, std::size_t N, class = Fits<U>>
    constexpr Span(U (&array)[N]) noexcept : data_(array), size_(N)
    {
    }
    /// All of what has data() and size(): std::vector, std::array, another span. A temporary one lives to the end of
    /// the expression.
    template <class C, class = Fits<std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>>, class = Lives<C>>
    constexpr Span(C &&container) noexcept : data_(std::data(container)), size_(std::size(container))
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    /// Not checked.
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }
    /// The first `count`, or all when there are not as many.
    constexpr Span first(std::size_t count) const noexcept { return {data_, count < size_ ? count : size_}; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

template <class C>
Span(C &&) -> Span<std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>>;
template <class T, std::size_t N>
Span(T (&)[N]) -> Span<T>;

// --- What the owners are made of ---

namespace detail {

/// The error that this thread just got.
inline Error last(detailflow_status status) { return {static_cast<Status>(status), detailflow_last_message()}; }

inline Result<void> done(detailflow_status status)
{
    return status == DETAILFLOW_STATUS_OK ? Result<void>() : Result<void>(last(status));
}

template <class T>
Result<T> give(detailflow_status status, T value)
{
    return status == DETAILFLOW_STATUS_OK ? Result<T>(std::move(value)) : Result<T>(last(status));
}

/// An owner of the handle that `call` makes.
template <class Owner, class Call>
Result<Owner> own(Call call)
{
    typename Owner::Handle *handle = nullptr;
    const detailflow_status status = call(&handle);
    return status == DETAILFLOW_STATUS_OK ? Result<Owner>(Owner(handle)) : Result<Owner>(last(status));
}

/// A plain struct that `call` fills.
template <class T, class Call>
Result<T> fill(Call call)
{
    T value = {};
    value.struct_size = sizeof value;
    const detailflow_status status = call(&value);
    return give(status, value);
}

/// A number that `call` fills.
template <class T, class Call>
Result<T> number(Call call)
{
    T value = {};
    const detailflow_status status = call(&value);
    return give(status, value);
}

/// What an empty span stands for in C: tell the number only.
template <class T>
T *room(Span<T> span) noexcept
{
    return span.empty() ? nullptr : span.data();
}

/// As many elements as `call` tells.
template <class T, class Call>
Result<std::vector<T>> all(Call call)
{
    const Result<std::size_t> size = call(Span<T>());
    if (!size) {
        return size.error();
    }
    std::vector<T> values(*size);
    const Result<std::size_t> written = call(Span<T>(values));
    if (!written) {
        return written.error();
    }
    values.resize(*written < values.size() ? *written : values.size());
    return values;
}

/// `call` with the text, zero-terminated; NULL for a default std::string_view.
template <class Call>
auto with_text(std::string_view text, Call call) -> decltype(call(static_cast<const char *>(nullptr)))
{
    if (text.data() == nullptr) {
        return call(static_cast<const char *>(nullptr));
    }
    if (text.find('\0') != std::string_view::npos) {
        return Error{Status::invalid_argument, "a text holds a zero byte: " + std::string(text.data())};
    }
    return call(std::string(text).c_str());
}

/// The message of a handle, which may change while it is read.
template <class Call>
std::string message(Call call)
{
    std::string text;
    for (;;) {
        const std::size_t size = call(text.data(), text.size() + 1);
        if (size <= text.size()) {
            text.resize(size);
            return text;
        }
        text.resize(size);
    }
}

/// Options without a handle: not the same as none, which are the default.
inline Error empty_options() { return {Status::invalid_argument, "the options are NULL: they were moved away"}; }

/// How each handle is freed.
struct Free {
    void operator()(detailflow_runtime_options *handle) const noexcept { detailflow_runtime_options_free(handle); }
    void operator()(detailflow_device_list *handle) const noexcept { detailflow_device_list_free(handle); }
    void operator()(detailflow_model_options *handle) const noexcept { detailflow_model_options_free(handle); }
    void operator()(detailflow_model *handle) const noexcept { detailflow_model_free(handle); }
    void operator()(detailflow_request *handle) const noexcept { detailflow_request_free(handle); }
    void operator()(detailflow_generation *handle) const noexcept { detailflow_generation_free(handle); }
    void operator()(detailflow_cancel *handle) const noexcept { detailflow_cancel_free(handle); }
    void operator()(detailflow_worker_options *handle) const noexcept { detailflow_worker_options_free(handle); }
    void operator()(detailflow_worker *handle) const noexcept { detailflow_worker_free(handle); }
    void operator()(detailflow_event *handle) const noexcept { detailflow_event_free(handle); }
    void operator()(detailflow_pack *handle) const noexcept { detailflow_pack_free(handle); }
    void operator()(detailflow_pack_writer *handle) const noexcept { detailflow_pack_writer_free(handle); }
};

/// The owner of a handle.
template <class T>
class Owner {
public:
    using Handle = T;

    /// Empty.
    Owner() noexcept = default;
    /// Takes the handle over.
    explicit Owner(T *handle) noexcept : handle_(handle) {}

    /// Whether there is a handle: not after a move, nor after release().
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    /// The handle, for the C API. It stays the owner's.
    T *get() noexcept { return handle_.get(); }
    const T *get() const noexcept { return handle_.get(); }
    /// Hands the handle over: its _free function is for the caller to call.
    [[nodiscard]] T *release() noexcept { return handle_.release(); }
    /// Frees the handle now.
    void reset() noexcept { handle_.reset(); }

private:
    std::unique_ptr<T, Free> handle_;
};

} // namespace detail

// --- The library ---

/// The library's version, such as "0.1.0". Static.
inline const char *version() noexcept { return detailflow_version(); }

/// Whether the library knows all that the header promises. Otherwise do not go on.
inline bool matches_header() noexcept { return detailflow_abi_version() >= DETAILFLOW_ABI_VERSION; }

/// How much is logged.
enum class LogLevel : std::uint32_t {
    error = DETAILFLOW_SEVERITY_ERROR,
    warning = DETAILFLOW_SEVERITY_WARNING,
    info = DETAILFLOW_SEVERITY_INFO,
    debug = DETAILFLOW_SEVERITY_DEBUG,
};

/// Sends messages of the process up to `level` to `callback`, with `user`: from any thread, perhaps from several at
/// once. It must not throw and must not call this library.
inline Result<void> set_log(detailflow_log_fn callback, LogLevel level, void *user = nullptr)
{
    return detail::done(detailflow_log_set_callback(static_cast<std::uint32_t>(level), callback, user, nullptr));
}

/// Stops the messages. When this returns, the callback is not running any more.
inline Result<void> clear_log() { return detail::done(detailflow_log_set_callback(0, nullptr, nullptr, nullptr)); }

/// Where to find ONNX Runtime.
class RuntimeOptions : public detail::Owner<detailflow_runtime_options> {
public:
    using Owner::Owner;

    /// Options that say nothing.
    static Result<RuntimeOptions> make()
    {
        return detail::own<RuntimeOptions>(
            [](detailflow_runtime_options **handle) { return detailflow_runtime_options_new(handle, nullptr); });
    }

    /// The file to load, and no other.
    Result<void> set_library(std::string_view library)
    {
        return detail::with_text(library, [&](const char *text) {
            return detail::done(detailflow_runtime_options_set_library(get(), text));
        });
    }
};

/// Loads ONNX Runtime now, from where it is found; otherwise the first Model::open does.
inline Result<void> init_runtime() { return detail::done(detailflow_runtime_init(nullptr, nullptr)); }

/// Loads ONNX Runtime now. Once per process: a second call is fine when it names the same file.
inline Result<void> init_runtime(const RuntimeOptions &options)
{
    return options ? detail::done(detailflow_runtime_init(options.get(), nullptr))
                   : Result<void>(detail::empty_options());
}

// --- Pictures ---

/// How pixels lie in memory.
enum class Format : std::uint32_t {
    /// Three bytes. An RGBA model's picture is shown over black.
    rgb8 = DETAILFLOW_FORMAT_RGB8,
    /// Four bytes with straight alpha; 255 for RGB models.
    rgba8 = DETAILFLOW_FORMAT_RGBA8,
    /// Four floats of 0 to 1 with straight alpha.
    rgba32f = DETAILFLOW_FORMAT_RGBA32F,
};

/// Pixels in the caller's memory, to be written: `wide` x `high` of them in rows from top to bottom, `row` bytes from
/// the start of one to the next; 0 when they follow without a gap. Refers to the memory.
struct Image : detailflow_image {
    /// `bytes` of memory at `memory`.
    Image(Format form, std::uint32_t wide, std::uint32_t high, void *memory, std::size_t bytes,
          std::size_t row = 0) noexcept
        : detailflow_image{sizeof(detailflow_image), static_cast<std::uint32_t>(form), wide, high, row, memory, bytes}
    {
    }
    /// All of a span, array or vector of any plain type: bytes, packed pixels, floats.
    template <class C, class T = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>,
              class = std::enable_if_t<std::is_trivially_copyable_v<T> && !std::is_const_v<T>>>
    Image(Format form, std::uint32_t wide, std::uint32_t high, C &&memory, std::size_t row = 0) noexcept
        : Image(form, wide, high, std::data(memory), std::size(memory) * sizeof(T), row)
    {
    }
};

/// Pixels in the caller's memory, only to be read. Refers to the memory.
struct ConstImage : detailflow_image {
    /// `bytes` of memory at `memory`.
    ConstImage(Format form, std::uint32_t wide, std::uint32_t high, const void *memory, std::size_t bytes,
               std::size_t row = 0) noexcept
        : detailflow_image{sizeof(detailflow_image),
                           static_cast<std::uint32_t>(form),
                           wide,
                           high,
                           row,
                           const_cast<void *>(memory),
                           bytes}
    {
    }
    /// All of a span, array or vector of any plain type: bytes, packed pixels, floats.
    template <class C, class T = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>,
              class = std::enable_if_t<std::is_trivially_copyable_v<T>>>
    ConstImage(Format form, std::uint32_t wide, std::uint32_t high, const C &memory, std::size_t row = 0) noexcept
        : ConstImage(form, wide, high, std::data(memory), std::size(memory) * sizeof(T), row)
    {
    }
    /// What can be written can be read.
    ConstImage(const Image &image) noexcept : detailflow_image(image) {}
};

/// Writes 8-bit pixels to the picture file `path`; its ending says which kind. It appears whole or not at all.
inline Result<void> save(const ConstImage &image, std::string_view path)
{
    return detail::with_text(
        path, [&](const char *text) { return detail::done(detailflow_image_save(&image, text, nullptr)); });
}

/// Writes each pixel of `source` as a square of `factor` pixels a side, 1 to 64, into `target`.
inline Result<void> upscale(const ConstImage &source, std::uint32_t factor, Image target)
{
    return detail::done(detailflow_image_upscale(&source, factor, &target, nullptr));
}

/// The sizes of the usual chain of mips: `size` and down to 1, into `sizes` (32 are always enough). Gives their
/// number.
inline Result<std::size_t> mip_sizes(std::uint32_t size, Span<std::uint32_t> sizes)
{
    return detail::number<std::size_t>([&](std::size_t *count) {
        return detailflow_mips_list_sizes(size, detail::room(sizes), sizes.size(), count, nullptr);
    });
}

/// Where mips come from.
enum class Mips : std::uint32_t {
    /// Each from the nearest level that is at least as large, decoded by the model.
    from_levels = DETAILFLOW_MIPS_SOURCE_LEVELS,
    /// All from the picture of all tokens.
    from_finest = DETAILFLOW_MIPS_SOURCE_FINEST,
};

/// A picture's tokens and its place in an atlas. Refers to the tokens.
struct Sprite : detailflow_sprite {
    /// The level of `pixels` pixels (0: all tokens) at `left`, `top`, each pixel a square of `times` a side.
    explicit Sprite(Span<const std::uint32_t> prefix, std::uint32_t pixels = 0, std::uint32_t left = 0,
                    std::uint32_t top = 0, std::uint32_t times = 1) noexcept
        : detailflow_sprite{sizeof(detailflow_sprite), left, top, pixels, times, 0, prefix.data(), prefix.size()}
    {
    }
};

// --- Models ---

/// What a model is: detailflow_model_info. The strings live as long as the model.
using ModelInfo = detailflow_model_info;
/// A size that a generation can stop at: detailflow_level.
using Level = detailflow_level;

/// What sort of processor a device is.
enum class DeviceKind : std::uint32_t {
    /// A general processor.
    cpu = DETAILFLOW_DEVICE_KIND_CPU,
    /// A graphics card.
    gpu = DETAILFLOW_DEVICE_KIND_GPU,
    /// A processor for neural networks.
    npu = DETAILFLOW_DEVICE_KIND_NPU,
};

/// A device: detailflow_device_info. The strings live as long as the list.
struct DeviceInfo : detailflow_device_info {
    /// What sort of processor it is.
    DeviceKind sort() const noexcept { return static_cast<DeviceKind>(kind); }
};

/// The devices of this machine.
class DeviceList : public detail::Owner<detailflow_device_list> {
public:
    using Owner::Owner;

    /// Those that can be selected here, and those that cannot because no provider is there.
    static Result<DeviceList> make()
    {
        return detail::own<DeviceList>(
            [](detailflow_device_list **handle) { return detailflow_device_list_new(handle, nullptr); });
    }

    /// How many.
    Result<std::size_t> count() const
    {
        return detail::number<std::size_t>(
            [&](std::size_t *count) { return detailflow_device_list_get_count(get(), count, nullptr); });
    }
    /// Device `index`.
    Result<DeviceInfo> info(std::size_t index) const
    {
        return detail::fill<DeviceInfo>(
            [&](DeviceInfo *info) { return detailflow_device_list_get_info(get(), index, info, nullptr); });
    }
    /// What system and provider tell of device `index`, pair `at` of its metadata_count: a key and a value.
    Result<std::pair<std::string_view, std::string_view>> metadata(std::size_t index, std::size_t at) const
    {
        const char *key = "";
        const char *value = "";
        const detailflow_status status = detailflow_device_list_get_metadata(get(), index, at, &key, &value, nullptr);
        return detail::give(status, std::pair<std::string_view, std::string_view>(key, value));
    }
};

/// When threads that wait for work keep a processor busy looking for it.
enum class Spinning : std::uint32_t {
    /// They sleep between any two pieces of work.
    never = DETAILFLOW_SPINNING_NEVER,
    /// While a graph runs.
    runs = DETAILFLOW_SPINNING_RUNS,
};

/// How a model is opened.
class ModelOptions : public detail::Owner<detailflow_model_options> {
public:
    using Owner::Owner;

    /// Options that say nothing: the CPU, a thread for each core, the bundle's best precision and form.
    static Result<ModelOptions> make()
    {
        return detail::own<ModelOptions>(
            [](detailflow_model_options **handle) { return detailflow_model_options_new(handle, nullptr); });
    }

    /// Where graphs run: "cpu", "auto", "cuda:0", "openvino:CPU" ...; DeviceList has those that are here.
    Result<void> set_device(std::string_view device)
    {
        return detail::with_text(
            device, [&](const char *text) { return detail::done(detailflow_model_options_set_device(get(), text)); });
    }
    /// What the device's provider is told, in its own words.
    Result<void> set_device_option(std::string_view key, std::string_view value)
    {
        return detail::with_text(key, [&](const char *key_text) {
            return detail::with_text(value, [&](const char *value_text) {
                return detail::done(detailflow_model_options_set_device_option(get(), key_text, value_text));
            });
        });
    }
    /// Lets a model run on the CPU when the device cannot be had.
    Result<void> set_allow_fallback(bool allow)
    {
        return detail::done(detailflow_model_options_set_allow_fallback(get(), allow ? 1 : 0));
    }
    /// When threads that wait for work keep a processor busy looking for it.
    Result<void> set_spinning(Spinning spinning)
    {
        return detail::done(detailflow_model_options_set_spinning(get(), static_cast<std::uint32_t>(spinning)));
    }
    /// Threads within an operator, 0 to 1024; 0 is one for each core.
    Result<void> set_threads(std::uint32_t threads)
    {
        return detail::done(detailflow_model_options_set_threads(get(), threads));
    }
    /// The precision: "fp32", "fp16", "int8", "int4" ...; a default std::string_view is the first that the bundle lists for the device.
    Result<void> set_precision(std::string_view precision)
    {
        return detail::with_text(precision, [&](const char *text) {
            return detail::done(detailflow_model_options_set_precision(get(), text));
        });
    }
    /// The attention form: "mha" or "plain"; a default std::string_view is the first that the bundle lists.
    Result<void> set_form(std::string_view form)
    {
        return detail::with_text(
            form, [&](const char *text) { return detail::done(detailflow_model_options_set_form(get(), text)); });
    }
};

/// A model that is open. Its members are const: any number of threads may use it at once; one runs a graph at a time.
/// Its destructor cancels what workers draw with it, and waits for that.
class Model : public detail::Owner<detailflow_model> {
public:
    using Owner::Owner;

    /// Opens the bundle in the folder `path`, or the default bundle. Milliseconds to seconds.
    static Result<Model> open(std::string_view path = {}) { return open_with(path, nullptr); }
    /// With options.
    static Result<Model> open(std::string_view path, const ModelOptions &options)
    {
        return options ? open_with(path, options.get()) : Result<Model>(detail::empty_options());
    }

    /// The message of the last call with this model that failed, on any thread; "" when none did.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_model_get_message(get(), buffer, size, &length) == DETAILFLOW_STATUS_OK ? length : 0;
        });
    }

    /// What it is.
    Result<ModelInfo> info() const
    {
        return detail::fill<ModelInfo>([&](ModelInfo *info) { return detailflow_model_get_info(get(), info); });
    }
    /// What really runs where, as lines for a person.
    Result<std::string> report() const
    {
        detailflow_status status = DETAILFLOW_STATUS_OK;
        std::string text = detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            status = detailflow_model_get_report(get(), buffer, size, &length);
            return length;
        });
        return detail::give(status, std::move(text));
    }
    /// Whether it can draw; a bundle may hold the decoder alone.
    Result<bool> can_draw() const { return flag(&detailflow_model_info::can_generate); }
    /// Whether it can encode.
    Result<bool> can_encode() const { return flag(&detailflow_model_info::can_encode); }

    /// The name of class `index`. It lives as long as the model.
    Result<std::string_view> class_name(std::uint32_t index) const
    {
        const char *name = "";
        const detailflow_status status = detailflow_model_get_class_name(get(), index, &name);
        return detail::give(status, std::string_view(name));
    }
    /// The index of the class `name` (a name, or an index in decimal). When there is none the message names the
    /// nearest.
    Result<std::uint32_t> class_index(std::string_view name) const
    {
        return detail::with_text(name, [&](const char *text) {
            return detail::number<std::uint32_t>(
                [&](std::uint32_t *index) { return detailflow_model_find_class(get(), text, index); });
        });
    }
    /// The level `index`, 0 (coarsest) to level_count - 1 (the whole picture).
    Result<Level> level(std::uint32_t index) const
    {
        return detail::fill<Level>([&](Level *level) { return detailflow_model_get_level(get(), index, level); });
    }
    /// Pixels a side of what the first `count` tokens decode to.
    Result<std::uint32_t> prefix_size(std::size_t count) const
    {
        return detail::number<std::uint32_t>(
            [&](std::uint32_t *size) { return detailflow_model_get_prefix_size(get(), count, size); });
    }

    /// The tokens of a picture of any size and format into `tokens`. Gives their number.
    Result<std::size_t> encode(const ConstImage &picture, Span<std::uint32_t> tokens) const
    {
        return detail::number<std::size_t>([&](std::size_t *count) {
            return detailflow_model_encode(get(), &picture, detail::room(tokens), tokens.size(), count);
        });
    }
    /// The tokens of the picture file `path` into `tokens`. Gives their number.
    Result<std::size_t> encode_file(std::string_view path, Span<std::uint32_t> tokens) const
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::number<std::size_t>([&](std::size_t *count) {
                return detailflow_model_encode_file(get(), text, detail::room(tokens), tokens.size(), count);
            });
        });
    }
    /// Decodes tokens into `target`: all of them (a prefix) when `level` is 0, else the level of `level` pixels.
    Result<void> decode(Span<const std::uint32_t> tokens, std::uint32_t level, Image target) const
    {
        return detail::done(detailflow_model_decode(get(), tokens.data(), tokens.size(), level, &target));
    }
    /// How many of the tokens the level of `level` pixels keeps.
    Result<std::size_t> demote(Span<const std::uint32_t> tokens, std::uint32_t level) const
    {
        detailflow_level found = {};
        found.struct_size = sizeof found;
        const detailflow_status status = detailflow_model_find_level(get(), level, &found);
        if (status == DETAILFLOW_STATUS_OK && found.token_count > tokens.size()) {
            return Error{Status::invalid_argument, "the level takes more tokens"};
        }
        return detail::give(status, std::size_t{found.token_count});
    }
    /// Pictures of several sizes from one prefix, each into the memory of one of `targets`.
    Result<void> mips(Span<const std::uint32_t> tokens, Mips source, Span<Image> targets) const
    {
        return detail::done(detailflow_model_decode_mips(
            get(), tokens.data(), tokens.size(), static_cast<std::uint32_t>(source), targets.data(), targets.size()));
    }
    /// Puts the sprites in rows on a width of `width` pixels: sets their x and y. Gives how high an atlas they need.
    Result<std::uint32_t> lay_out_atlas(Span<Sprite> sprites, std::uint32_t width, std::uint32_t padding) const
    {
        return detail::number<std::uint32_t>([&](std::uint32_t *height) {
            return detailflow_model_lay_out_atlas(get(), sprites.data(), sprites.size(), width, padding, height);
        });
    }
    /// Decodes the sprites into their places in `atlas`, those of as many tokens together.
    Result<void> decode_atlas(Span<const Sprite> sprites, Image atlas) const
    {
        return detail::done(detailflow_model_decode_atlas(get(), sprites.data(), sprites.size(), &atlas));
    }

    /// The log-probability of each token of a prefix for a class, into `values`. Gives their number.
    Result<std::size_t> score(std::uint32_t class_index, Span<const std::uint32_t> tokens, Span<float> values) const
    {
        return detail::number<std::size_t>([&](std::size_t *count) {
            return detailflow_model_score(get(), class_index, tokens.data(), tokens.size(), detail::room(values),
                                          values.size(), count);
        });
    }
    /// Measures this machine with batches of these sizes and keeps the result in the user's cache directory.
    Result<void> calibrate(Span<const std::uint32_t> batches) const
    {
        return detail::done(detailflow_model_calibrate(get(), batches.data(), batches.size()));
    }
    /// Nanoseconds that it should take to decode one picture of `tokens` tokens; 0 when nothing was measured yet.
    Result<std::uint64_t> predict_decode(std::size_t tokens) const
    {
        return detail::number<std::uint64_t>(
            [&](std::uint64_t *time) { return detailflow_model_predict_decode(get(), tokens, time); });
    }

private:
    static Result<Model> open_with(std::string_view path, const detailflow_model_options *options)
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::own<Model>(
                [&](detailflow_model **model) { return detailflow_model_open(text, options, model, nullptr); });
        });
    }

    Result<bool> flag(std::uint32_t detailflow_model_info::*field) const
    {
        detailflow_model_info info = {};
        info.struct_size = sizeof info;
        const detailflow_status status = detailflow_model_get_info(get(), &info);
        return detail::give(status, info.*field != 0);
    }
};

/// Writes a bundle that holds the decoder alone, made from the bundle in the folder `path` (a default
/// std::string_view is the default bundle), into the folder `target`. `precision` keeps that one; a default
/// std::string_view keeps all.
inline Result<void> strip_bundle(std::string_view path, std::string_view target, std::string_view precision = {})
{
    return detail::with_text(path, [&](const char *from) {
        return detail::with_text(target, [&](const char *to) {
            return detail::with_text(precision, [&](const char *kept) {
                return detail::done(detailflow_bundle_strip(from, to, kept, nullptr));
            });
        });
    });
}

// --- Requests ---

/// What a request costs: detailflow_cost.
using Cost = detailflow_cost;
/// Steps of one shape: detailflow_step_cost.
using StepCost = detailflow_step_cost;
/// What it takes to have the pictures of a level: detailflow_level_cost.
using LevelCost = detailflow_level_cost;

/// A request: how many pictures, of which classes, from which seeds, sampled how. Every setter checks at once, and
/// changes nothing when it fails.
class Request : public detail::Owner<detailflow_request> {
public:
    using Owner::Owner;

    /// One picture of class 0 with seed 0 at the full level, sampled as the model's makers would.
    static Result<Request> make(const Model &model)
    {
        return detail::own<Request>(
            [&](detailflow_request **request) { return detailflow_request_new(model.get(), request); });
    }

    /// The message of the last call with this request that failed, on any thread; "" when none did.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_request_get_message(get(), buffer, size, &length) == DETAILFLOW_STATUS_OK ? length : 0;
        });
    }

    /// How many pictures to draw together, 1 to 1048576; further ones take the class of the first and the seeds
    /// after.
    Result<void> set_count(std::uint32_t count)
    {
        return detail::done(detailflow_request_set_image_count(get(), count));
    }
    /// The class of every picture.
    Result<void> set_class(std::uint32_t index) { return detail::done(detailflow_request_set_class(get(), index)); }
    /// The seed of the first picture; the others take those that follow.
    Result<void> set_seed(std::uint64_t seed) { return detail::done(detailflow_request_set_seed(get(), seed)); }
    /// Class and seed of the picture `image`.
    Result<void> set_image(std::uint32_t image, std::uint32_t class_index, std::uint64_t seed)
    {
        return detail::done(detailflow_request_set_image_source(get(), image, class_index, seed));
    }

    /// Guidance scale, 0 to 1000; 1 is off and takes half the time.
    Result<void> set_guidance(float scale) { return detail::done(detailflow_request_set_guidance(get(), scale)); }
    /// Whether guidance falls linearly over the groups.
    Result<void> set_gradual(bool gradual)
    {
        return detail::done(detailflow_request_set_gradual_guidance(get(), gradual ? 1u : 0u));
    }
    /// Temperature, at least 0; 0 takes the likeliest code always.
    Result<void> set_temperature(float value) { return detail::done(detailflow_request_set_temperature(get(), value)); }
    /// Draw from the k likeliest codes only; 0 is off.
    Result<void> set_top_k(std::uint32_t k) { return detail::done(detailflow_request_set_top_k(get(), k)); }
    /// Draw from the likeliest codes up to this much probability; 1 is off.
    Result<void> set_top_p(float p) { return detail::done(detailflow_request_set_top_p(get(), p)); }

    /// Guidance as a curve: `values`[i] at the token `tokens`[i], as many of both, straight lines between.
    Result<void> set_guidance(Span<const std::uint32_t> tokens, Span<const float> values)
    {
        return curve(detailflow_request_set_guidance_curve, tokens, values);
    }
    /// Temperature as a curve.
    Result<void> set_temperature(Span<const std::uint32_t> tokens, Span<const float> values)
    {
        return curve(detailflow_request_set_temperature_curve, tokens, values);
    }
    /// Top-k as a curve.
    Result<void> set_top_k(Span<const std::uint32_t> tokens, Span<const float> values)
    {
        return curve(detailflow_request_set_top_k_curve, tokens, values);
    }
    /// Top-p as a curve.
    Result<void> set_top_p(Span<const std::uint32_t> tokens, Span<const float> values)
    {
        return curve(detailflow_request_set_top_p_curve, tokens, values);
    }

    /// Whether the log-probability of each token is kept, for Generation::log_probabilities.
    Result<void> set_log_probabilities(bool keep)
    {
        return detail::done(detailflow_request_set_log_probabilities(get(), keep ? 1u : 0u));
    }
    /// Every picture begins with these tokens: all of them (a prefix) when `level` is 0, else those of that level. An
    /// empty span draws from nothing again.
    Result<void> set_prefix(Span<const std::uint32_t> tokens, std::uint32_t level = 0)
    {
        return detail::done(detailflow_request_set_prefix(get(), tokens.data(), tokens.size(), level));
    }
    /// The picture `image` begins with these tokens. In the end all pictures begin with as many.
    Result<void> set_image_prefix(std::uint32_t image, Span<const std::uint32_t> tokens)
    {
        return detail::done(detailflow_request_set_image_prefix(get(), image, tokens.data(), tokens.size()));
    }
    /// Every picture begins with the tokens of the level of `level` pixels of `picture`, which is encoded.
    Result<void> set_prefix_picture(const ConstImage &picture, std::uint32_t level)
    {
        return detail::done(detailflow_request_set_prefix_picture(get(), &picture, level));
    }
    /// Stop at the level of `size` pixels; 0 is the finest.
    Result<void> set_level(std::uint32_t size) { return detail::done(detailflow_request_set_level_size(get(), size)); }

    /// What it costs, without drawing anything.
    Result<Cost> cost() const
    {
        return detail::fill<Cost>([&](Cost *cost) { return detailflow_request_get_cost(get(), cost); });
    }
    /// Its steps by shape, in the order in which they begin, into `steps`. Gives their number.
    Result<std::size_t> step_costs(Span<StepCost> steps) const
    {
        return costs(detailflow_request_get_step_costs, steps);
    }
    /// Its levels on the way, coarse to fine, into `levels`. Gives their number.
    Result<std::size_t> level_costs(Span<LevelCost> levels) const
    {
        return costs(detailflow_request_get_level_costs, levels);
    }

private:
    Result<void> curve(detailflow_status (*call)(detailflow_request *, const std::uint32_t *, const float *,
                                                 std::size_t),
                       Span<const std::uint32_t> tokens, Span<const float> values)
    {
        if (tokens.size() != values.size()) {
            return Error{Status::invalid_argument, "a curve has as many tokens as values, not " +
                                                       std::to_string(tokens.size()) + " and " +
                                                       std::to_string(values.size())};
        }
        return detail::done(call(get(), tokens.data(), values.data(), tokens.size()));
    }

    template <class T>
    Result<std::size_t> costs(detailflow_status (*call)(const detailflow_request *, T *, std::size_t, std::size_t *),
                              Span<T> all) const
    {
        if (!all.empty()) {
            all[0].struct_size = sizeof(T);
        }
        return detail::number<std::size_t>(
            [&](std::size_t *count) { return call(get(), detail::room(all), all.size(), count); });
    }
};

// --- Generations ---

/// Where a generation stands: detailflow_progress.
using Progress = detailflow_progress;

/// Stops a generation: from any thread, at any time, also after it was freed.
class Cancel : public detail::Owner<detailflow_cancel> {
public:
    using Owner::Owner;

    /// Stops it within one step, also inside a running graph. What was drawn stays readable.
    Result<void> trigger() const { return detail::done(detailflow_cancel_trigger(get(), nullptr)); }
};

/// A request on its way, or done. Its destructor cancels and waits when another thread is stepping it.
class Generation : public detail::Owner<detailflow_generation> {
public:
    using Owner::Owner;

    /// Class and seed of a picture.
    struct Picture {
        std::uint32_t class_index;
        std::uint64_t seed;
    };

    /// Bytes that a generation holds.
    struct Memory {
        /// Its own keys, values and tokens.
        std::uint64_t own;
        /// Those of the generation that it was forked from, to which it refers until its first step.
        std::uint64_t shared;
    };

    /// Begins a request: reserves memory, draws nothing yet. The request may be changed or freed afterwards.
    static Result<Generation> make(const Request &request)
    {
        return detail::own<Generation>(
            [&](detailflow_generation **generation) { return detailflow_generation_new(request.get(), generation); });
    }

    /// The message of the last call with this generation that failed, on any thread; "" when none did.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_generation_get_message(get(), buffer, size, &length) == DETAILFLOW_STATUS_OK ? length : 0;
        });
    }

    /// Does one step. Nothing when finished.
    Result<Progress> step()
    {
        return detail::fill<Progress>([&](Progress *progress) { return detailflow_generation_step(get(), progress); });
    }
    /// Does steps for as long as the next one should end within `budget_ns` nanoseconds; always at least one.
    Result<Progress> advance(std::uint64_t budget_ns)
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_advance(get(), budget_ns, progress); });
    }
    /// Does all steps that are left.
    Result<Progress> finish()
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_finish(get(), progress); });
    }
    /// Where it stands, without a step.
    Result<Progress> progress()
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_get_progress(get(), progress); });
    }

    /// The tokens of the picture `image` so far, coarse to fine, into `tokens`. Gives their number.
    Result<std::size_t> tokens(std::uint32_t image, Span<std::uint32_t> tokens)
    {
        return detail::number<std::size_t>([&](std::size_t *count) {
            return detailflow_generation_get_tokens(get(), image, detail::room(tokens), tokens.size(), count);
        });
    }
    /// The tokens of the picture `image` so far, coarse to fine.
    Result<std::vector<std::uint32_t>> tokens(std::uint32_t image)
    {
        return detail::all<std::uint32_t>([&](Span<std::uint32_t> room) { return tokens(image, room); });
    }
    /// Decodes the picture `image` as it is now into `target`, of the progress's size.
    Result<void> image(std::uint32_t image, Image target)
    {
        return detail::done(detailflow_generation_decode(get(), image, &target));
    }
    /// Decodes the finest level of the picture `image` that is complete into `target`, of the progress's level.
    Result<void> level_image(std::uint32_t image, Image target)
    {
        return detail::done(detailflow_generation_decode_level(get(), image, &target));
    }
    /// Decodes the picture `image` as it is now and writes it to the file `path`; its ending says which kind.
    Result<void> save(std::uint32_t image, std::string_view path)
    {
        return detail::with_text(
            path, [&](const char *text) { return detail::done(detailflow_generation_save(get(), image, text)); });
    }
    /// Class and seed of the picture `image`.
    Result<Picture> picture(std::uint32_t image)
    {
        return detail::number<Picture>([&](Picture *picture) {
            return detailflow_generation_get_image_source(get(), image, &picture->class_index, &picture->seed);
        });
    }
    /// The log-probability of each token of the picture `image` so far into `values`. Gives their number.
    Result<std::size_t> log_probabilities(std::uint32_t image, Span<float> values)
    {
        return detail::number<std::size_t>([&](std::size_t *count) {
            return detailflow_generation_get_log_probabilities(get(), image, detail::room(values), values.size(),
                                                               count);
        });
    }
    /// The log-probability of each token of the picture `image` so far.
    Result<std::vector<float>> log_probabilities(std::uint32_t image)
    {
        return detail::all<float>([&](Span<float> room) { return log_probabilities(image, room); });
    }
    /// Their mean; 0 before the first step.
    Result<float> mean_log_probability(std::uint32_t image)
    {
        return detail::number<float>(
            [&](float *mean) { return detailflow_generation_get_mean_log_probability(get(), image, mean); });
    }

    /// A generation that stands where this one does and goes on with other seeds, one for each picture.
    Result<Generation> fork(Span<const std::uint64_t> seeds)
    {
        return detail::own<Generation>([&](detailflow_generation **generation) {
            return detailflow_generation_fork(get(), seeds.data(), seeds.size(), generation);
        });
    }
    /// Goes on with these pictures only, in this order, numbered anew from 0.
    Result<void> keep(Span<const std::uint32_t> images)
    {
        return detail::done(detailflow_generation_retain_images(get(), images.data(), images.size()));
    }
    /// Goes on to the level of `size` pixels instead of the one asked for; 0 is the finest.
    Result<void> set_level(std::uint32_t size)
    {
        return detail::done(detailflow_generation_set_level_size(get(), size));
    }

    /// The work done: each step counts once for every picture that it computed.
    Result<std::uint64_t> work()
    {
        return detail::number<std::uint64_t>(
            [&](std::uint64_t *work) { return detailflow_generation_get_work(get(), work); });
    }
    /// Bytes that it holds.
    Result<Memory> memory()
    {
        return detail::number<Memory>(
            [&](Memory *memory) { return detailflow_generation_get_memory(get(), &memory->own, &memory->shared); });
    }
    /// What stops it. May be called while another thread steps it, and any number of times.
    Result<Cancel> cancel_handle() const
    {
        return detail::own<Cancel>(
            [&](detailflow_cancel **cancel) { return detailflow_generation_get_cancel(get(), cancel); });
    }
};

/// Draws a whole request in one call. It cannot be cancelled; stepping can.
inline Result<Generation> generate(const Request &request)
{
    return detail::own<Generation>(
        [&](detailflow_generation **generation) { return detailflow_generate(request.get(), generation); });
}

/// Variations in one call: keeps the tokens of the level of `keep` pixels (0 keeps all) and draws the rest.
inline Result<Generation> vary(const Request &request, Span<const std::uint32_t> tokens, std::uint32_t keep)
{
    return detail::own<Generation>([&](detailflow_generation **generation) {
        return detailflow_vary(request.get(), tokens.data(), tokens.size(), keep, generation);
    });
}

/// Draws a picture's detail anew: keeps what the level of `keep` pixels shows of it.
inline Result<Generation> redetail(const Request &request, const ConstImage &picture, std::uint32_t keep)
{
    return detail::own<Generation>([&](detailflow_generation **generation) {
        return detailflow_redetail(request.get(), &picture, keep, generation);
    });
}

/// As redetail, from the picture file `path`.
inline Result<Generation> redetail_file(const Request &request, std::string_view path, std::uint32_t keep)
{
    return detail::with_text(path, [&](const char *text) {
        return detail::own<Generation>([&](detailflow_generation **generation) {
            return detailflow_redetail_file(request.get(), text, keep, generation);
        });
    });
}

// --- Best of many ---

/// A candidate at the level where it is scored: detailflow_candidate. Its pointers are valid during the call only.
using Candidate = detailflow_candidate;

/// How the best are chosen: in each round they are scored at the level of `levels`[i] pixels, and `keeps`[i] go on.
/// Refers to all that it is given.
class BestOptions {
public:
    /// By the mean log-probability of the tokens.
    static BestOptions by_log_probability(Span<const std::uint32_t> levels, Span<const std::uint32_t> keeps) noexcept
    {
        return BestOptions(Scorer::log_probability, levels, keeps);
    }
    /// By likeness to a picture of any size and format.
    static BestOptions by_likeness(Span<const std::uint32_t> levels, Span<const std::uint32_t> keeps,
                                   const ConstImage &picture) noexcept
    {
        BestOptions options(Scorer::likeness, levels, keeps);
        options.picture_ = picture;
        return options;
    }
    /// By a function: the larger the better, and not NaN. It must not use the request.
    static BestOptions by_function(Span<const std::uint32_t> levels, Span<const std::uint32_t> keeps,
                                   detailflow_score_fn score, void *user = nullptr) noexcept
    {
        BestOptions options(Scorer::function, levels, keeps);
        options.score_ = score;
        options.user_ = user;
        return options;
    }
    /// By anything that can be called with a Candidate and gives a float: a lambda, which has to live as long as
    /// this. It must not throw.
    template <class F, class = std::enable_if_t<std::is_invocable_r_v<float, F &, const Candidate &>>>
    static BestOptions by(Span<const std::uint32_t> levels, Span<const std::uint32_t> keeps, F &score) noexcept
    {
        const auto call = [](void *user, const detailflow_candidate *candidate) noexcept -> float {
            return static_cast<float>((*static_cast<F *>(user))(*candidate));
        };
        return by_function(levels, keeps, call, const_cast<std::remove_const_t<F> *>(&score));
    }

    /// The C options; free them with detailflow_best_of_options_free.
    detailflow_status make(detailflow_best_of_options **options) const
    {
        detailflow_status status = detailflow_best_of_options_new(options, nullptr);
        for (std::size_t at = 0; status == DETAILFLOW_STATUS_OK && at < levels_.size(); at++) {
            status = detailflow_best_of_options_add_round(*options, levels_[at], keeps_[at]);
        }
        if (status == DETAILFLOW_STATUS_OK && scorer_ == Scorer::likeness) {
            status = detailflow_best_of_options_set_scorer_likeness(*options, &picture_);
        }
        if (status == DETAILFLOW_STATUS_OK && scorer_ == Scorer::function) {
            status = detailflow_best_of_options_set_scorer_function(*options, score_, user_);
        }
        return status;
    }
    /// Whether there are as many levels as keeps.
    bool fits() const noexcept { return levels_.size() == keeps_.size(); }

private:
    enum class Scorer { log_probability, likeness, function };

    BestOptions(Scorer scorer, Span<const std::uint32_t> levels, Span<const std::uint32_t> keeps) noexcept
        : scorer_(scorer), levels_(levels), keeps_(keeps)
    {
    }

    Scorer scorer_;
    Span<const std::uint32_t> levels_, keeps_;
    detailflow_image picture_ = {};
    detailflow_score_fn score_ = nullptr;
    void *user_ = nullptr;
};

/// Draws the pictures of `request` as candidates: at the level of each round only the best go on. The generation has
/// those that stay, the best first. `survivors` (may be empty) has room for as many as the last round keeps and gets
/// which pictures of the request they are; `scores` (may be empty) has room for one float for each picture of the
/// request and gets its last score.
inline Result<Generation> best_of(const Request &request, const BestOptions &options,
                                  Span<std::uint32_t> survivors = {}, Span<float> scores = {})
{
    if (!options.fits()) {
        return Error{Status::invalid_argument, "there are as many levels as keeps: one for each round"};
    }
    return detail::own<Generation>([&](detailflow_generation **generation) {
        detailflow_best_of_options *how = nullptr;
        detailflow_status status = options.make(&how);
        if (status == DETAILFLOW_STATUS_OK) {
            status = detailflow_best_of(request.get(), how, generation, detail::room(survivors), survivors.size(),
                                        nullptr, detail::room(scores), scores.size());
        }
        detailflow_best_of_options_free(how);
        return status;
    });
}

// --- Work in the background ---

/// What happened to a job.
enum class EventKind : std::uint32_t {
    /// A level is complete.
    level = DETAILFLOW_EVENT_KIND_LEVEL,
    /// The last of its job: it is finished.
    done = DETAILFLOW_EVENT_KIND_DONE,
    /// The last of its job: it was cancelled.
    cancelled = DETAILFLOW_EVENT_KIND_CANCELLED,
    /// The last of its job: it failed.
    failed = DETAILFLOW_EVENT_KIND_FAILED,
};

/// What happened: detailflow_event_info.
using EventInfo = detailflow_event_info;

/// Which it is.
inline EventKind kind(const EventInfo &info) noexcept { return static_cast<EventKind>(info.kind); }

/// How a job is drawn; put together with |.
enum class Submit : std::uint32_t {
    /// With an event for each level, which whoever takes it decodes.
    plain = 0,
    /// The worker decodes the pictures of each event on its own thread.
    decode = DETAILFLOW_SUBMIT_FLAG_DECODE,
    /// No events of levels, only the last one of the job.
    last_only = DETAILFLOW_SUBMIT_FLAG_LAST_ONLY,
};

/// Both.
constexpr Submit operator|(Submit one, Submit other) noexcept
{
    return static_cast<Submit>(static_cast<std::uint32_t>(one) | static_cast<std::uint32_t>(other));
}

/// Something that happened to a job, with its tokens at that moment. Its members are const. Outlives the worker.
class Event : public detail::Owner<detailflow_event> {
public:
    using Owner::Owner;

    /// What happened.
    Result<EventInfo> info() const
    {
        return detail::fill<EventInfo>(
            [&](EventInfo *info) { return detailflow_event_get_info(get(), info, nullptr); });
    }
    /// The tokens that the picture `image` had into `tokens`. Gives their number.
    Result<std::size_t> tokens(std::uint32_t image, Span<std::uint32_t> tokens) const
    {
        return detail::number<std::size_t>([&](std::size_t *count) {
            return detailflow_event_get_tokens(get(), image, detail::room(tokens), tokens.size(), count, nullptr);
        });
    }
    /// The tokens that the picture `image` had.
    Result<std::vector<std::uint32_t>> tokens(std::uint32_t image) const
    {
        return detail::all<std::uint32_t>([&](Span<std::uint32_t> room) { return tokens(image, room); });
    }
    /// The picture `image` of the finest level that was complete into `target`, of the info's level. Decoded now
    /// unless the info says that it is.
    Result<void> image(std::uint32_t image, Image target) const
    {
        return detail::done(detailflow_event_decode_level(get(), image, &target, nullptr));
    }
    /// Why the job was cancelled or failed; "" of other events.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_event_get_job_message(get(), buffer, size, &length, nullptr) == DETAILFLOW_STATUS_OK
                       ? length
                       : 0;
        });
    }
};

/// How a worker works.
class WorkerOptions : public detail::Owner<detailflow_worker_options> {
public:
    using Owner::Owner;

    /// Options that say nothing: one thread, 64 MiB of events, jobs drawn together where that is faster.
    static Result<WorkerOptions> make()
    {
        return detail::own<WorkerOptions>(
            [](detailflow_worker_options **handle) { return detailflow_worker_options_new(handle, nullptr); });
    }

    /// Threads, 1 to 64: each draws a batch of jobs, or one job.
    Result<void> set_threads(std::uint32_t threads)
    {
        return detail::done(detailflow_worker_options_set_threads(get(), threads));
    }
    /// Pictures that are drawn together at most, of any number of jobs of a model. 1 draws each job alone; 0 is 64
    /// where the model's form gains from it and 1 where it does not.
    Result<void> set_batch(std::uint32_t pictures)
    {
        return detail::done(detailflow_worker_options_set_batch_size(get(), pictures));
    }
    /// Bytes of keys and values that jobs drawn together take at most.
    Result<void> set_batch_bytes(std::uint64_t bytes)
    {
        return detail::done(detailflow_worker_options_set_batch_bytes(get(), bytes));
    }
    /// While events that nobody took hold as many bytes as this, jobs pause.
    Result<void> set_event_bytes(std::size_t bytes)
    {
        return detail::done(detailflow_worker_options_set_event_bytes(get(), bytes));
    }
};

/// Draws in the background, on threads of its own. Its members are const: any number of threads may use it at once.
/// Its destructor cancels all jobs and waits until they have stopped, unless it runs inside the worker's own
/// callback.
class Worker : public detail::Owner<detailflow_worker> {
public:
    using Owner::Owner;

    /// Starts a worker; it takes requests of any models.
    static Result<Worker> make() { return make_with(nullptr); }
    /// With options.
    static Result<Worker> make(const WorkerOptions &options)
    {
        return options ? make_with(options.get()) : Result<Worker>(detail::empty_options());
    }

    /// The message of the last call with this worker that failed, on any thread; "" when none did.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_worker_get_message(get(), buffer, size, &length) == DETAILFLOW_STATUS_OK ? length : 0;
        });
    }

    /// Draws a request after those that were submitted before or together with them. `user` is in each of its events.
    /// Gives the number of the job.
    Result<std::uint64_t> submit(const Request &request, std::uint64_t user = 0, Submit how = Submit::plain) const
    {
        return detail::number<std::uint64_t>([&](std::uint64_t *job) {
            return detailflow_worker_submit(get(), request.get(), user, static_cast<std::uint32_t>(how), job);
        });
    }
    /// Goes on with a generation, begun or not. It is taken when this works; otherwise it stays the caller's.
    Result<std::uint64_t> submit(Generation &&generation, std::uint64_t user = 0, Submit how = Submit::plain) const
    {
        return detail::number<std::uint64_t>([&](std::uint64_t *job) {
            const detailflow_status status = detailflow_worker_submit_generation(get(), generation.get(), user,
                                                                                 static_cast<std::uint32_t>(how), job);
            if (status == DETAILFLOW_STATUS_OK) {
                (void)generation.release();
            }
            return status;
        });
    }

    /// The next event, in the order in which they happened; an empty one when there is none now, or a callback is
    /// set.
    Result<Event> poll() const
    {
        return detail::own<Event>([&](detailflow_event **event) { return detailflow_worker_poll(get(), event); });
    }
    /// As poll, but waits for an event up to `timeout_ns` nanoseconds; UINT64_MAX waits for ever.
    Result<Event> wait(std::uint64_t timeout_ns) const
    {
        return detail::own<Event>(
            [&](detailflow_event **event) { return detailflow_worker_wait(get(), timeout_ns, event); });
    }
    /// Cancels a job. Its last event tells.
    Result<void> cancel(std::uint64_t job) const { return detail::done(detailflow_worker_cancel(get(), job)); }
    /// Cancels all jobs that were submitted so far.
    Result<void> cancel_all() const { return detail::done(detailflow_worker_cancel_all(get())); }
    /// How many jobs there are whose last event was not taken yet.
    Result<std::size_t> pending() const
    {
        return detail::number<std::size_t>(
            [&](std::size_t *count) { return detailflow_worker_get_pending(get(), count); });
    }

    /// From now on events go to `callback`, which owns them, with `user`, on threads of the worker.
    Result<void> set_callback(detailflow_event_fn callback, void *user) const
    {
        return detail::done(detailflow_worker_set_callback(get(), callback, user));
    }
    /// From now on events go to anything that can be called with an Event: a lambda, which has to live until there is
    /// another callback or the worker is gone. It must not throw.
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &, Event>>>
    Result<void> set_callback(F &hears) const
    {
        const auto call = [](void *user, detailflow_event *event) noexcept { (*static_cast<F *>(user))(Event(event)); };
        return set_callback(call, const_cast<std::remove_const_t<F> *>(&hears));
    }
    /// Events wait to be taken again. When this returns, the callback is not running any more.
    Result<void> clear_callback() const
    {
        return detail::done(detailflow_worker_set_callback(get(), nullptr, nullptr));
    }

private:
    static Result<Worker> make_with(const detailflow_worker_options *options)
    {
        return detail::own<Worker>(
            [&](detailflow_worker **worker) { return detailflow_worker_new(options, worker, nullptr); });
    }
};

// --- Token files ---

/// What is wrong with a token file.
enum class Damage : std::uint32_t {
    /// Nothing.
    none = DETAILFLOW_DAMAGE_NONE,
    /// It ends before its last group does.
    cut = DETAILFLOW_DAMAGE_CUT,
    /// A group is not what was written.
    group = DETAILFLOW_DAMAGE_GROUP,
    /// All tokens are sound, and bytes follow that are not of it.
    surplus = DETAILFLOW_DAMAGE_SURPLUS,
};

/// What a token file says of itself, and how much of it is sound: detailflow_dft_info.
using DftInfo = detailflow_dft_info;

/// What is wrong with it.
inline Damage damage(const DftInfo &info) noexcept { return static_cast<Damage>(info.damage); }

/// Makes a token file (.dft) of a prefix into `data`, with the class and seed that it was drawn from, where there are
/// any. Gives the number of bytes.
inline Result<std::size_t> dft_encode(const Model &model, Span<const std::uint32_t> tokens,
                                      std::optional<std::uint32_t> class_index, std::optional<std::uint64_t> seed,
                                      Span<std::uint8_t> data)
{
    return detail::number<std::size_t>([&](std::size_t *size) {
        return detailflow_dft_encode(model.get(), tokens.data(), tokens.size(),
                                     class_index.value_or(DETAILFLOW_NO_CLASS), seed ? &*seed : nullptr,
                                     detail::room(data), data.size(), size);
    });
}

/// Makes a token file of a prefix.
inline Result<std::vector<std::uint8_t>> dft_encode(const Model &model, Span<const std::uint32_t> tokens,
                                                    std::optional<std::uint32_t> class_index = {},
                                                    std::optional<std::uint64_t> seed = {})
{
    return detail::all<std::uint8_t>(
        [&](Span<std::uint8_t> room) { return dft_encode(model, tokens, class_index, seed, room); });
}

/// What a token file says. One that was cut or damaged is no error: it says how many tokens are sound.
inline Result<DftInfo> dft_info(Span<const std::uint8_t> data)
{
    return detail::fill<DftInfo>(
        [&](DftInfo *info) { return detailflow_dft_get_info(data.data(), data.size(), info, nullptr); });
}

/// The sound tokens of a token file, coarse to fine, into `tokens`. Gives their number.
inline Result<std::size_t> dft_tokens(Span<const std::uint8_t> data, Span<std::uint32_t> tokens)
{
    return detail::number<std::size_t>([&](std::size_t *count) {
        return detailflow_dft_get_tokens(data.data(), data.size(), detail::room(tokens), tokens.size(), count, nullptr);
    });
}

/// The sound tokens of a token file, coarse to fine.
inline Result<std::vector<std::uint32_t>> dft_tokens(Span<const std::uint8_t> data)
{
    return detail::all<std::uint32_t>([&](Span<std::uint32_t> room) { return dft_tokens(data, room); });
}

/// Whether the tokens of a token file are the model's.
inline Result<void> dft_check(const Model &model, Span<const std::uint8_t> data)
{
    return detail::done(detailflow_dft_check(model.get(), data.data(), data.size()));
}

/// Draws what a token file lost, until there are `count` tokens (0: as many as it was written with), and puts the
/// whole file into `target`, which may be `data`. Gives the number of bytes.
inline Result<std::size_t> dft_repair(const Request &request, Span<const std::uint8_t> data, std::size_t count,
                                      Span<std::uint8_t> target)
{
    return detail::number<std::size_t>([&](std::size_t *size) {
        return detailflow_dft_repair(request.get(), data.data(), data.size(), count, detail::room(target),
                                     target.size(), size);
    });
}

/// Draws what a token file lost, until there are `count` tokens.
inline Result<std::vector<std::uint8_t>> dft_repair(const Request &request, Span<const std::uint8_t> data,
                                                    std::size_t count = 0)
{
    return detail::all<std::uint8_t>([&](Span<std::uint8_t> room) { return dft_repair(request, data, count, room); });
}

/// A pack of token files (.dftpack) that is open. Its members are const: any number of threads may read it at once.
class Pack : public detail::Owner<detailflow_pack> {
public:
    using Owner::Owner;

    /// Opens the pack in the file `path`: reads 40 bytes, however many entries there are.
    static Result<Pack> open(std::string_view path)
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::own<Pack>([&](detailflow_pack **pack) { return detailflow_pack_open(text, pack, nullptr); });
        });
    }

    /// The message of the last call with this pack that failed, on any thread; "" when none did.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_pack_get_message(get(), buffer, size, &length) == DETAILFLOW_STATUS_OK ? length : 0;
        });
    }

    /// How many entries it has.
    Result<std::uint32_t> count() const
    {
        return detail::number<std::uint32_t>(
            [&](std::uint32_t *count) { return detailflow_pack_get_count(get(), count); });
    }
    /// The index of the entry called `name`.
    Result<std::uint32_t> find(std::string_view name) const
    {
        return detail::with_text(name, [&](const char *text) {
            return detail::number<std::uint32_t>(
                [&](std::uint32_t *index) { return detailflow_pack_find_entry(get(), text, index); });
        });
    }
    /// The name of the entry `index`; "" when it has none.
    Result<std::string> name(std::uint32_t index) const
    {
        char buffer[256] = "";
        std::size_t length = 0;
        const detailflow_status status = detailflow_pack_get_entry_name(get(), index, buffer, sizeof buffer, &length);
        return status == DETAILFLOW_STATUS_OK ? Result<std::string>(std::string(buffer, length))
                                              : Result<std::string>(detail::last(status));
    }
    /// The bytes of the entry `index`, a token file, into `data`. Gives their number.
    Result<std::size_t> read(std::uint32_t index, Span<std::uint8_t> data) const
    {
        return detail::number<std::size_t>([&](std::size_t *size) {
            return detailflow_pack_get_entry(get(), index, detail::room(data), data.size(), size);
        });
    }
    /// The bytes of the entry `index`, a token file.
    Result<std::vector<std::uint8_t>> read(std::uint32_t index) const
    {
        return detail::all<std::uint8_t>([&](Span<std::uint8_t> room) { return read(index, room); });
    }
    /// As dft_info, of the entry `index`.
    Result<DftInfo> info(std::uint32_t index) const
    {
        return detail::fill<DftInfo>([&](DftInfo *info) { return detailflow_pack_get_entry_info(get(), index, info); });
    }
    /// As dft_tokens, of the entry `index`.
    Result<std::size_t> tokens(std::uint32_t index, Span<std::uint32_t> tokens) const
    {
        return detail::number<std::size_t>([&](std::size_t *count) {
            return detailflow_pack_get_entry_tokens(get(), index, detail::room(tokens), tokens.size(), count);
        });
    }
    /// As dft_tokens, of the entry `index`.
    Result<std::vector<std::uint32_t>> tokens(std::uint32_t index) const
    {
        return detail::all<std::uint32_t>([&](Span<std::uint32_t> room) { return tokens(index, room); });
    }
};

/// What could be saved of a pack.
struct Salvaged {
    /// Entries of the new pack.
    std::uint32_t entries;
    /// Of how many some tokens are lost.
    std::uint32_t shortened;
};

/// Writes what is left of the pack `path`, which was cut or damaged, as a new pack `target`.
inline Result<Salvaged> pack_salvage(std::string_view path, std::string_view target)
{
    return detail::with_text(path, [&](const char *from) {
        return detail::with_text(target, [&](const char *to) {
            return detail::number<Salvaged>([&](Salvaged *salvaged) {
                return detailflow_pack_salvage(from, to, &salvaged->entries, &salvaged->shortened, nullptr);
            });
        });
    });
}

/// A pack on its way into a file. One that is not finished leaves nothing.
class PackWriter : public detail::Owner<detailflow_pack_writer> {
public:
    using Owner::Owner;

    /// Begins a pack that will be the file `path`: it appears when it is finished, whole.
    static Result<PackWriter> make(std::string_view path)
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::own<PackWriter>(
                [&](detailflow_pack_writer **writer) { return detailflow_pack_writer_new(text, writer, nullptr); });
        });
    }

    /// The message of the last call with this writer that failed, on any thread; "" when none did.
    std::string message() const
    {
        return detail::message([&](char *buffer, std::size_t size) {
            std::size_t length = 0;
            return detailflow_pack_writer_get_message(get(), buffer, size, &length) == DETAILFLOW_STATUS_OK ? length
                                                                                                            : 0;
        });
    }

    /// Appends a sound token file, with a name or (a default std::string_view) without. Gives its index.
    Result<std::uint32_t> add(std::string_view name, Span<const std::uint8_t> data)
    {
        return detail::with_text(name, [&](const char *text) {
            return detail::number<std::uint32_t>([&](std::uint32_t *index) {
                return detailflow_pack_writer_add(get(), text, data.data(), data.size(), index);
            });
        });
    }
    /// Writes what makes it a pack, and puts the file in its place.
    Result<void> finish() { return detail::done(detailflow_pack_writer_finish(get())); }
};

// Arrays of these go to C as they are.
static_assert(sizeof(Image) == sizeof(detailflow_image) && sizeof(ConstImage) == sizeof(detailflow_image));
static_assert(sizeof(Sprite) == sizeof(detailflow_sprite));

} // namespace detailflow

#endif // DETAILFLOW_HPP
