/**
 * @file detailflow.hpp
 *
 * libdetailflow for C++17: the C API of detailflow.h with owners, results and spans. Header-only.
 *
 * In short: open a model, make a request, generate, save the image.
 *
 *     using namespace detailflow;
 *     Result<Model> model = Model::open();
 *     if (!model) return std::puts(model.message());
 *     Result<Request> request = Request::make(*model);
 *     if (!request || !request->set_class(3)) return 1;
 *     Result<Generation> generation = generate(*request);
 *     if (!generation || !generation->save(0, "sprite.png")) return 1;
 *
 * The rules of detailflow.h hold here too. Its comments give ranges, errors and details; this header adds:
 *
 * # Names
 *
 * - detailflow_OBJECT_VERB is the member VERB of the class Object: detailflow_model_get_info is Model::get_info.
 * - Functions without a class keep their name: detailflow_image_save is detailflow::image_save.
 * - `_new` is the static member make. The destructor is `_free`.
 * - The constants of a family are an enum class: DETAILFLOW_FORMAT_RGB8 is Format::rgb8. A keyword has a _ after it:
 *   Spinning::default_.
 * - Plain structs are those of C under a C++ name: Progress is detailflow_progress.
 *
 * # Ownership
 *
 * - Model, Request, Generation and the other owners hold one handle each. They can be moved and not copied; the
 *   destructor frees the handle. They may be destroyed in any order.
 * - An owner that was moved from is empty. Its calls return Status::invalid_argument.
 * - get() lends the handle to the C API, release() hands it over, and the constructor from a handle takes it over.
 * - Spans, images, sprites and string views refer to memory of the caller and own nothing.
 *
 * # Errors
 *
 * - A call that can fail returns a Result<T>: a value, or an Error with a status and the message that in C a
 *   detailflow_error receives.
 * - An ignored Result is a compiler warning. Taking the value of a Result without one is std::abort.
 * - Nothing throws. The header compiles with -fno-exceptions -fno-rtti.
 *
 * # Threads
 *
 * - const members may be called by any number of threads at once.
 * - Other members are for one thread at a time: a second thread gets Status::busy, also from const members.
 * - The const members of a Generation are the exception: they work while another thread steps it.
 *
 * # Arrays
 *
 * - Arrays are passed as Span<T>, a pointer and a length, which is made from C arrays, std::array and std::vector.
 * - A call that fills a span returns the number of elements. An empty span gets the number only. A span that is too
 *   small is Status::invalid_argument.
 * - Most of these calls have a second form that returns a std::vector.
 *
 * # Text
 *
 * - std::string_view is copied for its terminating zero; one that contains a zero byte is Status::invalid_argument.
 * - A default std::string_view is NULL in C: the default where there is one.
 * - A std::string_view that is returned is zero-terminated.
 *
 * # Memory
 *
 * - Memory is allocated for copies of long text, messages of errors, and returned std::string and std::vector.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef DETAILFLOW_HPP
#define DETAILFLOW_HPP

#if (defined(_MSVC_LANG) && _MSVC_LANG < 201703L) ||                                                                   \
    (!defined(_MSVC_LANG) && defined(__cplusplus) && __cplusplus < 201703L)
#error "detailflow.hpp needs C++17 or newer: compile with -std=c++17 (MSVC: /std:c++17)"
/* GCC and Clang go on after an #error, and report all that follows from it. A file that does not exist stops them. */
#include "detailflow.hpp needs C++17"
#else

#include "detailflow.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace detailflow {

// --- Results ---

/// The result of a call: detailflow_status_code. A newer library may return others; status_name knows them.
enum class Status : detailflow_status {
    /// Success.
    ok = DETAILFLOW_STATUS_OK,
    /// An argument is NULL, out of range, not a live handle of its kind, or does not fit the model.
    invalid_argument = DETAILFLOW_STATUS_INVALID_ARGUMENT,
    /// A named file, folder or entry does not exist, or no bundle was named and none was found.
    not_found = DETAILFLOW_STATUS_NOT_FOUND,
    /// The bundle is damaged, inconsistent, or of an unknown format.
    bad_bundle = DETAILFLOW_STATUS_BAD_BUNDLE,
    /// ONNX Runtime is missing, unusable or too old, or another copy was loaded before.
    no_runtime = DETAILFLOW_STATUS_NO_RUNTIME,
    /// The device cannot be used.
    no_device = DETAILFLOW_STATUS_NO_DEVICE,
    /// Memory could not be allocated. A smaller request may work.
    out_of_memory = DETAILFLOW_STATUS_OUT_OF_MEMORY,
    /// The system refused to read or write a file.
    io = DETAILFLOW_STATUS_IO,
    /// A picture file, token file or pack is damaged or of another format.
    bad_format = DETAILFLOW_STATUS_BAD_FORMAT,
    /// The work was cancelled.
    cancelled = DETAILFLOW_STATUS_CANCELLED,
    /// The call does not fit the state of the handle or of the process.
    wrong_state = DETAILFLOW_STATUS_WRONG_STATE,
    /// Another thread is inside a call with this handle, or work did not stop in time.
    busy = DETAILFLOW_STATUS_BUSY,
    /// ONNX Runtime failed while it ran a graph.
    failed = DETAILFLOW_STATUS_FAILED,
    /// A fault of the library itself. Please report it.
    internal = DETAILFLOW_STATUS_INTERNAL,
};

/// The name of a status, such as "DETAILFLOW_STATUS_BUSY". A static string.
inline const char *status_name(Status status) noexcept
{
    return detailflow_status_name(static_cast<detailflow_status>(status));
}

/// The message of the last call of this thread that failed; "" when none failed. Valid until the next that fails.
inline const char *last_message() noexcept { return detailflow_last_message(); }

/// Why a call failed.
struct Error {
    /// For the program.
    Status status = Status::internal;
    /// For a person.
    std::string message;
};

/// A value, or the error why there is none.
template <class T>
class [[nodiscard]] Result {
public:
    /// Makes a result with a value.
    Result(T value) noexcept : state_(std::in_place_index<0>, std::move(value)) {}
    /// Makes a result without a value.
    Result(Error error) noexcept : state_(std::in_place_index<1>, std::move(error)) {}

    /// Whether there is a value.
    bool ok() const noexcept { return state_.index() == 0; }
    /// The same.
    explicit operator bool() const noexcept { return ok(); }

    /// The value. std::abort when there is none.
    T &value() & noexcept { return *existing(std::get_if<0>(&state_)); }
    /// The value. std::abort when there is none.
    const T &value() const & noexcept { return *existing(std::get_if<0>(&state_)); }
    /// The value, moved out. std::abort when there is none.
    T value() && noexcept { return std::move(value()); }
    /// The value. std::abort when there is none.
    T &operator*() & noexcept { return value(); }
    /// The value. std::abort when there is none.
    const T &operator*() const & noexcept { return value(); }
    /// The value, moved out. std::abort when there is none.
    T operator*() && noexcept { return std::move(value()); }
    /// A member of the value. std::abort when there is none.
    T *operator->() noexcept { return &value(); }
    /// A member of the value. std::abort when there is none.
    const T *operator->() const noexcept { return &value(); }

    /// The value, or `other` when there is none.
    T value_or(T other) const & { return ok() ? value() : std::move(other); }
    /// The value, moved out, or `other` when there is none.
    T value_or(T other) && { return ok() ? std::move(value()) : std::move(other); }

    /// Status::ok, or why there is no value.
    Status status() const noexcept { return ok() ? Status::ok : error().status; }
    /// The message; "" when there is a value. Valid as long as the result.
    const char *message() const noexcept { return ok() ? "" : error().message.c_str(); }
    /// The error, to pass on. std::abort when there is a value.
    const Error &error() const noexcept { return *existing(std::get_if<1>(&state_)); }

private:
    template <class U>
    static U *existing(U *pointer) noexcept
    {
        if (pointer == nullptr) {
            std::abort();
        }
        return pointer;
    }

    std::variant<T, Error> state_;
};

/// Success, or an error.
template <>
class [[nodiscard]] Result<void> {
public:
    /// Success.
    Result() noexcept = default;
    /// Failure.
    Result(Error error) noexcept : error_(std::move(error)) {}

    /// Whether it is a success.
    bool ok() const noexcept { return !error_; }
    /// The same.
    explicit operator bool() const noexcept { return ok(); }

    /// Status::ok, or the status of the error.
    Status status() const noexcept { return error_ ? error_->status : Status::ok; }
    /// The message; "" after success. Valid as long as the result.
    const char *message() const noexcept { return error_ ? error_->message.c_str() : ""; }
    /// The error, to pass on. std::abort after success.
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

/// A pointer and a length: an array in memory of the caller. T is const when it is only read.
template <class T>
class Span {
    template <class U>
    using Fits = std::enable_if_t<std::is_convertible_v<U (*)[], T (*)[]>>;
    // A temporary is accepted when it is only read, or is itself a span.
    template <class C>
    using Lives = std::enable_if_t<std::is_lvalue_reference_v<C> || std::is_const_v<T> ||
                                   std::is_same_v<std::decay_t<C>, Span<std::remove_const_t<T>>>>;

public:
    /// Empty.
    constexpr Span() noexcept = default;
    /// `size` elements at `data`.
    constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// A whole array.
    template <class U, std::size_t N, class = Fits<U>>
    constexpr Span(U (&array)[N]) noexcept : data_(array), size_(N)
    {
    }
    /// A whole container that has data() and size(). A temporary lives to the end of the expression.
    template <class C, class = Fits<std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>>, class = Lives<C>>
    constexpr Span(C &&container) noexcept : data_(std::data(container)), size_(std::size(container))
    {
    }

    /// The first element; may be NULL when there are none.
    constexpr T *data() const noexcept { return data_; }
    /// The number of elements.
    constexpr std::size_t size() const noexcept { return size_; }
    /// Whether there are no elements.
    constexpr bool empty() const noexcept { return size_ == 0; }
    /// The first element, for loops.
    constexpr T *begin() const noexcept { return data_; }
    /// Behind the last element.
    constexpr T *end() const noexcept { return data_ + size_; }
    /// An element. The index is not checked.
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }
    /// The first `count` elements, or all when there are fewer.
    constexpr Span first(std::size_t count) const noexcept { return {data_, count < size_ ? count : size_}; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

/// A span of a container.
template <class C>
Span(C &&) -> Span<std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>>;
/// A span of an array.
template <class T, std::size_t N>
Span(T (&)[N]) -> Span<T>;

// --- Inside: how calls become results ---

namespace detail {

/// The result of a status, whose message this thread just received.
inline Result<void> done(detailflow_status status)
{
    if (status == DETAILFLOW_STATUS_OK) {
        return {};
    }
    return Error{static_cast<Status>(status), detailflow_last_message()};
}

/// The result of a C call. `call` takes `arguments`, and a detailflow_error when the C function does.
template <class Call, class... Arguments>
Result<void> run(Call &call, Arguments... arguments)
{
    if constexpr (std::is_invocable_v<Call &, Arguments..., detailflow_error *>) {
        detailflow_error error;
        error.struct_size = sizeof error;
        error.message[0] = 0;
        const detailflow_status status = call(arguments..., &error);
        if (status == DETAILFLOW_STATUS_OK) {
            return {};
        }
        // A message that does not fit is cut there, and whole here.
        const bool fits = std::strlen(error.message) + 4 < sizeof error.message;
        return Error{static_cast<Status>(status), fits ? error.message : detailflow_last_message()};
    } else {
        return done(call(arguments...));
    }
}

/// A call without a value.
template <class Call, class = std::enable_if_t<std::is_invocable_v<Call &, detailflow_error *>>>
Result<void> done(Call call)
{
    return run(call);
}

/// A value that `call` sets.
template <class T, class Call>
Result<T> value(Call call)
{
    T value = {};
    const Result<void> result = run(call, &value);
    return result ? Result<T>(std::move(value)) : Result<T>(result.error());
}

/// A plain struct that `call` fills.
template <class T, class Call>
Result<T> fill(Call call)
{
    T value = {};
    value.struct_size = sizeof value;
    const Result<void> result = run(call, &value);
    return result ? Result<T>(value) : Result<T>(result.error());
}

/// An owner of the handle that `call` makes.
template <class Owner, class Call>
Result<Owner> own(Call call)
{
    typename Owner::Handle *handle = nullptr;
    const Result<void> result = run(call, &handle);
    return result ? Result<Owner>(Owner(handle)) : Result<Owner>(result.error());
}

/// The text that `call` writes. It may get longer between two calls.
template <class Call>
Result<std::string> text(Call call)
{
    std::string text;
    for (;;) {
        std::size_t length = 0;
        const Result<void> result = run(call, text.data(), text.size() + 1, &length);
        if (!result) {
            return result.error();
        }
        const bool fits = length <= text.size();
        text.resize(length);
        if (fits) {
            return text;
        }
    }
}

/// An empty span is NULL in C: the call gets the number only.
template <class T>
T *array(Span<T> span) noexcept
{
    return span.empty() ? nullptr : span.data();
}

/// All elements that `call` writes into a span.
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

/// Calls with the text, zero-terminated; NULL for a default std::string_view.
template <class Call>
auto with_text(std::string_view text, Call call) -> decltype(call(static_cast<const char *>(nullptr)))
{
    if (text.data() == nullptr) {
        return call(static_cast<const char *>(nullptr));
    }
    if (text.find('\0') != std::string_view::npos) {
        return Error{Status::invalid_argument, "text contains a zero byte: " + std::string(text.data())};
    }
    return call(std::string(text).c_str());
}

/// Empty options are an error, and not the defaults.
inline Error empty_options() { return {Status::invalid_argument, "options are NULL: they were moved or released"}; }

/// @cond
/// How each handle is freed.
struct Free {
    void operator()(detailflow_runtime_options *handle) const noexcept { detailflow_runtime_options_free(handle); }
    void operator()(detailflow_device_list *handle) const noexcept { detailflow_device_list_free(handle); }
    void operator()(detailflow_model_options *handle) const noexcept { detailflow_model_options_free(handle); }
    void operator()(detailflow_model *handle) const noexcept { detailflow_model_free(handle); }
    void operator()(detailflow_request *handle) const noexcept { detailflow_request_free(handle); }
    void operator()(detailflow_generation *handle) const noexcept { detailflow_generation_free(handle); }
    void operator()(detailflow_cancel *handle) const noexcept { detailflow_cancel_free(handle); }
    void operator()(detailflow_best_of_options *handle) const noexcept { detailflow_best_of_options_free(handle); }
    void operator()(detailflow_submit_options *handle) const noexcept { detailflow_submit_options_free(handle); }
    void operator()(detailflow_worker_options *handle) const noexcept { detailflow_worker_options_free(handle); }
    void operator()(detailflow_worker *handle) const noexcept { detailflow_worker_free(handle); }
    void operator()(detailflow_event *handle) const noexcept { detailflow_event_free(handle); }
    void operator()(detailflow_pack *handle) const noexcept { detailflow_pack_free(handle); }
    void operator()(detailflow_pack_writer *handle) const noexcept { detailflow_pack_writer_free(handle); }
};
/// @endcond

/// The owner of a handle.
template <class T>
class Owner {
public:
    /// The type of the handle in C.
    using Handle = T;

    /// Empty.
    Owner() noexcept = default;
    /// Takes the handle over.
    explicit Owner(T *handle) noexcept : handle_(handle) {}

    /// Whether there is a handle: false after a move or release().
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    /// The handle, for the C API. The owner keeps it.
    T *get() noexcept { return handle_.get(); }
    /// The handle, for the C API. The owner keeps it.
    const T *get() const noexcept { return handle_.get(); }
    /// Hands the handle over: the caller frees it.
    [[nodiscard]] T *release() noexcept { return handle_.release(); }
    /// Frees the handle now.
    void reset() noexcept { handle_.reset(); }

protected:
    /// The message that `call`, a _get_message function, gives for the handle.
    std::string message_of(detailflow_status(DETAILFLOW_CALL *call)(const T *, char *, std::size_t,
                                                                    std::size_t *)) const
    {
        if (!handle_) {
            return {};
        }
        return text([&](char *buffer, std::size_t capacity, std::size_t *length) {
                   return call(get(), buffer, capacity, length);
               })
            .value_or(std::string());
    }

private:
    std::unique_ptr<T, Free> handle_;
};

} // namespace detail

// --- The library ---

/// The version of the library, such as "0.1.0". A static string.
inline const char *version() noexcept { return detailflow_version(); }

/// The DETAILFLOW_VERSION_NUMBER of the library, to compare with that of the header.
inline std::uint32_t version_number() noexcept { return detailflow_version_number(); }

/// The DETAILFLOW_ABI_VERSION of the library.
inline std::uint32_t abi_version() noexcept { return detailflow_abi_version(); }

/// Whether the library has everything that this header declares. A program must not go on otherwise.
inline bool matches_header() noexcept { return abi_version() >= DETAILFLOW_ABI_VERSION; }

/// Severities of log messages: detailflow_severity.
enum class Severity : std::uint32_t {
    /// Something failed.
    error = DETAILFLOW_SEVERITY_ERROR,
    /// Something works, but not as asked for or not as fast as it could.
    warning = DETAILFLOW_SEVERITY_WARNING,
    /// What the library is doing.
    info = DETAILFLOW_SEVERITY_INFO,
    /// What ONNX Runtime reports about its own work.
    debug = DETAILFLOW_SEVERITY_DEBUG,
};

/// Sets the log callback of the process.
///
/// @param severity The least severe messages to receive.
/// @param callback Called from any thread, possibly from several at once. It must not throw, and must not call this
/// library.
/// @param user Passed to the callback.
inline Result<void> log_set_callback(Severity severity, detailflow_log_fn callback, void *user = nullptr)
{
    return detail::done([&](detailflow_error *error) {
        return detailflow_log_set_callback(static_cast<std::uint32_t>(severity), callback, user, error);
    });
}

/// Stops log messages. When this returns, the callback is not running any more.
inline Result<void> log_clear_callback()
{
    return detail::done(
        [](detailflow_error *error) { return detailflow_log_set_callback(0, nullptr, nullptr, error); });
}

/// Where to find ONNX Runtime.
class RuntimeOptions : public detail::Owner<detailflow_runtime_options> {
public:
    using Owner::Owner;

    /// Creates default options.
    static Result<RuntimeOptions> make() { return detail::own<RuntimeOptions>(detailflow_runtime_options_new); }

    /// Sets the ONNX Runtime library to load; no other is tried.
    Result<void> set_library(std::string_view library)
    {
        return detail::with_text(library, [&](const char *text) {
            return detail::done(detailflow_runtime_options_set_library(get(), text));
        });
    }

    /// The message of the last failed call with these options; "" when none failed.
    std::string get_message() const { return message_of(detailflow_runtime_options_get_message); }
};

/// Loads ONNX Runtime now, rather than at the first Model::open.
inline Result<void> runtime_init()
{
    return detail::done([&](detailflow_error *error) { return detailflow_runtime_init(nullptr, error); });
}

/// Loads ONNX Runtime now, with options. Once per process: a second call that names the same file does nothing.
inline Result<void> runtime_init(const RuntimeOptions &options)
{
    if (!options) {
        return detail::empty_options();
    }
    return detail::done([&](detailflow_error *error) { return detailflow_runtime_init(options.get(), error); });
}

/// Uses the ONNX Runtime that the host has loaded or linked itself, by what its OrtGetApiBase() returned: nothing is searched
/// and no library is loaded. Must come before the first call that needs ONNX Runtime.
inline Result<void> runtime_set_api(const void *ort_api_base)
{
    return detail::done([&](detailflow_error *error) { return detailflow_runtime_set_api(ort_api_base, error); });
}

// --- Images ---

/// Pixel formats: detailflow_format.
enum class Format : std::uint32_t {
    /// Three bytes R, G, B. The image of an RGBA model is composed over black.
    rgb8 = DETAILFLOW_FORMAT_RGB8,
    /// Four bytes R, G, B, A with straight alpha; alpha is 255 for RGB models.
    rgba8 = DETAILFLOW_FORMAT_RGBA8,
    /// Four floats R, G, B, A, 0 to 1, with straight alpha; alpha is 1 for RGB models.
    rgba32f = DETAILFLOW_FORMAT_RGBA32F,
    /// Four bytes B, G, R, A with straight alpha.
    bgra8 = DETAILFLOW_FORMAT_BGRA8,
    /// Four bytes R, G, B, A; colour is the sRGB-encoded value times alpha.
    rgba8_premultiplied = DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED,
    /// Four bytes B, G, R, A; colour is the sRGB-encoded value times alpha.
    bgra8_premultiplied = DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED,
    /// Four half floats R, G, B, A, 0 to 1; colour is linear light, alpha straight.
    rgba16f_linear = DETAILFLOW_FORMAT_RGBA16F_LINEAR,
    /// Four half floats R, G, B, A, 0 to 1; colour is linear light times alpha.
    rgba16f_linear_premultiplied = DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED,
};

/// Formats of picture files: detailflow_file_format.
enum class FileFormat : std::uint32_t {
    /// PNG, lossless, with alpha.
    png = DETAILFLOW_FILE_FORMAT_PNG,
    /// JPEG, lossy, without alpha.
    jpeg = DETAILFLOW_FILE_FORMAT_JPEG,
    /// WebP, lossless, with alpha.
    webp = DETAILFLOW_FILE_FORMAT_WEBP,
    /// BMP, uncompressed.
    bmp = DETAILFLOW_FILE_FORMAT_BMP,
    /// TGA, with alpha.
    tga = DETAILFLOW_FILE_FORMAT_TGA,
    /// TIFF, with alpha.
    tiff = DETAILFLOW_FILE_FORMAT_TIFF,
    /// QOI, lossless, with alpha.
    qoi = DETAILFLOW_FILE_FORMAT_QOI,
};

/// Pixels in memory of the caller, rows from top to bottom, to be written.
struct Image : detailflow_image {
    /// `byte_count` bytes at `memory`; `row_stride` bytes from row to row, 0 when there is no gap between rows.
    Image(Format pixel_format, std::uint32_t pixels_wide, std::uint32_t pixels_high, void *memory,
          std::size_t byte_count, std::size_t row_stride = 0) noexcept
        : detailflow_image{sizeof(detailflow_image),
                           static_cast<std::uint32_t>(pixel_format),
                           pixels_wide,
                           pixels_high,
                           row_stride,
                           memory,
                           byte_count}
    {
    }
    /// All memory of a span, array or vector of any plain type: bytes, packed pixels, floats.
    template <class C, class T = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>,
              class = std::enable_if_t<std::is_trivially_copyable_v<T> && !std::is_const_v<T>>>
    Image(Format pixel_format, std::uint32_t pixels_wide, std::uint32_t pixels_high, C &&memory,
          std::size_t row_stride = 0) noexcept
        : Image(pixel_format, pixels_wide, pixels_high, std::data(memory), std::size(memory) * sizeof(T), row_stride)
    {
    }
};

/// Pixels in memory of the caller, rows from top to bottom, to be read.
struct ConstImage : detailflow_image {
    /// `byte_count` bytes at `memory`; `row_stride` bytes from row to row, 0 when there is no gap between rows.
    ConstImage(Format pixel_format, std::uint32_t pixels_wide, std::uint32_t pixels_high, const void *memory,
               std::size_t byte_count, std::size_t row_stride = 0) noexcept
        : detailflow_image{sizeof(detailflow_image),
                           static_cast<std::uint32_t>(pixel_format),
                           pixels_wide,
                           pixels_high,
                           row_stride,
                           const_cast<void *>(memory),
                           byte_count}
    {
    }
    /// All memory of a span, array or vector of any plain type: bytes, packed pixels, floats.
    template <class C, class T = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>,
              class = std::enable_if_t<std::is_trivially_copyable_v<T>>>
    ConstImage(Format pixel_format, std::uint32_t pixels_wide, std::uint32_t pixels_high, const C &memory,
               std::size_t row_stride = 0) noexcept
        : ConstImage(pixel_format, pixels_wide, pixels_high, std::data(memory), std::size(memory) * sizeof(T),
                     row_stride)
    {
    }
    /// An image that can be written can be read.
    ConstImage(const Image &image) noexcept : detailflow_image(image) {}
};

/// Writes RGB8 or RGBA8 pixels to a picture file, complete or not at all. The ending of `path` chooses the file format.
inline Result<void> image_save(const ConstImage &image, std::string_view path)
{
    return detail::with_text(path, [&](const char *text) {
        return detail::done([&](detailflow_error *error) { return detailflow_image_save(&image, text, error); });
    });
}

/// Encodes RGB8 or RGBA8 pixels as a picture file in `data`. Returns the number of bytes.
inline Result<std::size_t> image_encode(const ConstImage &image, FileFormat file_format, Span<std::uint8_t> data)
{
    return detail::value<std::size_t>([&](std::size_t *size, detailflow_error *error) {
        return detailflow_image_encode(&image, static_cast<std::uint32_t>(file_format), detail::array(data),
                                       data.size(), size, error);
    });
}

/// Encodes RGB8 or RGBA8 pixels as a picture file in memory. Encodes twice: the first time for the size.
inline Result<std::vector<std::uint8_t>> image_encode(const ConstImage &image, FileFormat file_format)
{
    return detail::all<std::uint8_t>([&](Span<std::uint8_t> data) { return image_encode(image, file_format, data); });
}

/// Scales pixels up by a whole factor, nearest neighbour.
///
/// @param factor 1 to 64: each pixel becomes a square of `factor` x `factor`.
/// @param target Has the source's format and `factor` times its width and height.
inline Result<void> image_upscale(const ConstImage &source, std::uint32_t factor, Image target)
{
    return detail::done(
        [&](detailflow_error *error) { return detailflow_image_upscale(&source, factor, &target, error); });
}

/// How a picture is finished: set the fields of detailflow_finish. Nothing is done by default. Refers to the palette.
struct Finish : detailflow_finish {
    /// Nothing is done.
    Finish() noexcept : detailflow_finish{sizeof(detailflow_finish), 0, 0, 0, 0, 0, 0, 0, nullptr, 0} {}
    /// Sets the palette, colours of 0xRRGGBB; an empty one allows all colours.
    void set_palette(Span<const std::uint32_t> palette_colors) noexcept
    {
        palette = palette_colors.data();
        palette_count = palette_colors.size();
    }
};

/// Finishes RGBA8 or BGRA8 pixels in place: cuts alpha, removes stray pixels, reduces colours, draws an outline, makes
/// opaque pictures repeat.
inline Result<void> image_finish(Image image, const Finish &finish)
{
    return detail::done([&](detailflow_error *error) { return detailflow_image_finish(&image, &finish, error); });
}

/// Makes one palette of at most `limit` colours (2 to 256), 0xRRGGBB, for a set of RGBA8 or BGRA8 images.
///
/// @param finish Colours are counted after its alpha cut and despeckle.
inline Result<std::vector<std::uint32_t>> palette_make(Span<const ConstImage> images, const Finish &finish,
                                                       std::uint32_t limit)
{
    return detail::all<std::uint32_t>([&](Span<std::uint32_t> colors) {
        return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
            return detailflow_palette_make(images.data(), images.size(), &finish, limit, detail::array(colors),
                                           colors.size(), count, error);
        });
    });
}

/// Reads a palette file in memory, PNG, .gpl or .hex: colours of 0xRRGGBB, up to 256.
inline Result<std::vector<std::uint32_t>> palette_decode(Span<const std::uint8_t> data)
{
    return detail::all<std::uint32_t>([&](Span<std::uint32_t> colors) {
        return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
            return detailflow_palette_decode(data.data(), data.size(), detail::array(colors), colors.size(), count,
                                             error);
        });
    });
}

/// Lists the sizes of a full mip chain, `size` down to 1. Room for 32 is always enough. Returns their number.
inline Result<std::size_t> mips_list_sizes(std::uint32_t size, Span<std::uint32_t> sizes)
{
    return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
        return detailflow_mips_list_sizes(size, detail::array(sizes), sizes.size(), count, error);
    });
}

/// Lists the sizes of a full mip chain, `size` down to 1.
inline Result<std::vector<std::uint32_t>> mips_list_sizes(std::uint32_t size)
{
    return detail::all<std::uint32_t>([&](Span<std::uint32_t> sizes) { return mips_list_sizes(size, sizes); });
}

/// Where the mips of a chain lie in one block of memory.
struct MipLayout {
    /// The first byte of each mip, the largest mip first.
    std::vector<std::size_t> offsets;
    /// Bytes of the block.
    std::size_t block_bytes = 0;
};

/// Lays out a full mip chain in one block of memory, each mip at a multiple of `alignment` bytes.
inline Result<MipLayout> mips_lay_out(std::uint32_t size, Format format, std::uint32_t alignment = 1)
{
    MipLayout layout;
    auto offsets = detail::all<std::size_t>([&](Span<std::size_t> room) {
        return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
            return detailflow_mips_lay_out(size, static_cast<std::uint32_t>(format), alignment, detail::array(room),
                                           room.size(), count, &layout.block_bytes, error);
        });
    });
    if (!offsets)
        return offsets.error();
    layout.offsets = std::move(*offsets);
    return layout;
}

/// What mips are made from: detailflow_mips_source.
enum class MipsSource : std::uint32_t {
    /// The default: MipsSource::levels.
    default_ = DETAILFLOW_MIPS_SOURCE_DEFAULT,
    /// Each mip is decoded at the nearest level that is at least as large, and downscaled from there to its size.
    levels = DETAILFLOW_MIPS_SOURCE_LEVELS,
    /// All mips are downscaled from the image of all given tokens.
    finest = DETAILFLOW_MIPS_SOURCE_FINEST,
};

/// The tokens of an image and its position in an atlas. Refers to the tokens.
struct Sprite : detailflow_sprite {
    /// A sprite of a prefix.
    ///
    /// @param pixels_per_side The level to decode; 0 decodes all tokens.
    /// @param left, top The position in the atlas; Model::lay_out_atlas sets it.
    /// @param pixel_factor 1 to 64: each pixel becomes a square of so many pixels per side.
    explicit Sprite(Span<const std::uint32_t> prefix, std::uint32_t pixels_per_side = 0, std::uint32_t left = 0,
                    std::uint32_t top = 0, std::uint32_t pixel_factor = 1) noexcept
        : detailflow_sprite{
              sizeof(detailflow_sprite), left, top, pixels_per_side, pixel_factor, 0, prefix.data(), prefix.size()}
    {
    }
};

// --- Devices ---

/// Kinds of devices: detailflow_device_kind.
enum class DeviceKind : std::uint32_t {
    /// A CPU.
    cpu = DETAILFLOW_DEVICE_KIND_CPU,
    /// A graphics card.
    gpu = DETAILFLOW_DEVICE_KIND_GPU,
    /// A neural processing unit.
    npu = DETAILFLOW_DEVICE_KIND_NPU,
};

/// A device: detailflow_device_info. The strings live as long as the list.
using DeviceInfo = detailflow_device_info;

/// The kind of a device.
inline DeviceKind kind(const DeviceInfo &info) noexcept { return static_cast<DeviceKind>(info.kind); }

/// The devices of this machine at the time the list was made.
class DeviceList : public detail::Owner<detailflow_device_list> {
public:
    using Owner::Owner;

    /// Lists the devices that can be selected, and those that cannot because their execution provider is missing.
    static Result<DeviceList> make() { return detail::own<DeviceList>(detailflow_device_list_new); }

    /// Gets the number of devices.
    Result<std::size_t> get_count() const
    {
        return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
            return detailflow_device_list_get_count(get(), count, error);
        });
    }
    /// Gets a device.
    Result<DeviceInfo> get_info(std::size_t device_index) const
    {
        return detail::fill<DeviceInfo>([&](DeviceInfo *info, detailflow_error *error) {
            return detailflow_device_list_get_info(get(), device_index, info, error);
        });
    }
    /// Gets a key and a value that system or execution provider report. `metadata_index` is 0 to metadata_count - 1.
    Result<std::pair<std::string_view, std::string_view>> get_metadata(std::size_t device_index,
                                                                       std::size_t metadata_index) const
    {
        const char *key = "";
        const char *value = "";
        const Result<void> result = detail::done([&](detailflow_error *error) {
            return detailflow_device_list_get_metadata(get(), device_index, metadata_index, &key, &value, error);
        });
        if (!result) {
            return result.error();
        }
        return std::pair<std::string_view, std::string_view>(key, value);
    }
};

// --- Bytes from anywhere ---

/// A file that callbacks read: detailflow_reader.
using Reader = detailflow_reader;

/// A file of `size` bytes that a callable reads.
///
/// @param read_at Called with the offset, the buffer and the number of bytes; returns how many it read, which must be all.
/// It must not throw, and must live as long as the reader is used.
template <class F,
          class = std::enable_if_t<std::is_invocable_r_v<std::size_t, F &, std::uint64_t, void *, std::size_t>>>
Reader make_reader(std::uint64_t size, F &read_at)
{
    Reader reader = {};
    reader.struct_size = sizeof reader;
    reader.size = size;
    reader.read_at = [](void *user, std::uint64_t offset, void *buffer, std::size_t count) noexcept -> std::size_t {
        return (*static_cast<F *>(user))(offset, buffer, count);
    };
    reader.user = const_cast<std::remove_const_t<F> *>(&read_at);
    return reader;
}

// --- Models ---

/// Stops a generation, the opening of a model, or the encoding of a picture: from any thread at any time, also after the
/// generation was freed.
class Cancel : public detail::Owner<detailflow_cancel> {
public:
    using Owner::Owner;

    /// Creates a handle for ModelOptions::set_cancel, Model::encode and Model::encode_file. That of a generation is
    /// Generation::get_cancel.
    static Result<Cancel> make() { return detail::own<Cancel>(detailflow_cancel_new); }

    /// Stops the work: a generation within one step, opening between two files or graphs, reading a picture file
    /// between two rows, searching for its tokens between two positions. It cannot be undone.
    Result<void> trigger() const
    {
        return detail::done([&](detailflow_error *error) { return detailflow_cancel_trigger(get(), error); });
    }
};

/// When threads that wait for work keep a CPU core busy looking for it: detailflow_spinning.
enum class Spinning : std::uint32_t {
    /// The default: Spinning::runs.
    default_ = DETAILFLOW_SPINNING_DEFAULT,
    /// Never. Steps take longer, and other programs get the CPU.
    never = DETAILFLOW_SPINNING_NEVER,
    /// While a graph runs, and not after it.
    runs = DETAILFLOW_SPINNING_RUNS,
};

/// What a callable of ModelOptions::set_parallel_for calls once for each index. May be copied to any thread.
struct ParallelTask {
    /// As in C.
    detailflow_task_fn task;
    /// As in C.
    void *context;
    /// Runs the task `index`.
    void operator()(std::uint32_t index) const noexcept { task(context, index); }
};

/// How a model is opened.
class ModelOptions : public detail::Owner<detailflow_model_options> {
public:
    using Owner::Owner;

    /// Creates default options: CPU, one thread per core, the first precision and attention form that the bundle lists.
    static Result<ModelOptions> make() { return detail::own<ModelOptions>(detailflow_model_options_new); }

    /// Sets the device: "cpu" (the default), "auto", "cuda:0", "openvino:CPU" ...; DeviceList lists what is here.
    Result<void> set_device(std::string_view device)
    {
        return detail::with_text(
            device, [&](const char *text) { return detail::done(detailflow_model_options_set_device(get(), text)); });
    }
    /// Sets an option of the device's execution provider, under the provider's own name.
    Result<void> set_device_option(std::string_view key, std::string_view value)
    {
        return detail::with_text(key, [&](const char *key_text) {
            return detail::with_text(value, [&](const char *value_text) {
                return detail::done(detailflow_model_options_set_device_option(get(), key_text, value_text));
            });
        });
    }
    /// Sets whether the model may run on the CPU when the device cannot be used. The default is false.
    Result<void> set_allow_fallback(bool allow)
    {
        return detail::done(detailflow_model_options_set_allow_fallback(get(), allow ? 1 : 0));
    }
    /// Sets when threads that wait for work keep a CPU core busy.
    Result<void> set_spinning(Spinning spinning)
    {
        return detail::done(detailflow_model_options_set_spinning(get(), static_cast<std::uint32_t>(spinning)));
    }
    /// Sets the number of threads within an operator, 0 to 1024; 0 (the default) is one per core that the process may
    /// use.
    Result<void> set_threads(std::uint32_t threads)
    {
        return detail::done(detailflow_model_options_set_threads(get(), threads));
    }
    /// Sets the precision of the weights: "fp32", "fp16", "int8", "int4" ...; {} is the first that the bundle lists.
    Result<void> set_precision(std::string_view precision)
    {
        return detail::with_text(precision, [&](const char *text) {
            return detail::done(detailflow_model_options_set_precision(get(), text));
        });
    }
    /// Sets the attention form: "native", "mha", "plain" or "fixed"; {} is the first that the bundle lists.
    Result<void> set_form(std::string_view form)
    {
        return detail::with_text(
            form, [&](const char *text) { return detail::done(detailflow_model_options_set_form(get(), text)); });
    }
    /// Sets whether Model::open reads the graphs and weights into memory, so that their files may change afterwards.
    Result<void> set_weights_in_memory(bool in_memory)
    {
        return detail::done(detailflow_model_options_set_weights_in_memory(get(), in_memory ? 1 : 0));
    }
    /// Sets a function that runs tasks on threads of the host: detailflow_model_options_set_parallel_for. nullptr removes it.
    Result<void> set_parallel_for(detailflow_parallel_for_fn parallel_for, void *user)
    {
        return detail::done(detailflow_model_options_set_parallel_for(get(), parallel_for, user));
    }
    /// Sets a callable that runs tasks on threads of the host.
    ///
    /// @param parallel_for Called with a number of tasks and a ParallelTask, which it calls once with each index below that
    /// number, on any threads; it returns when all these calls have. It is called on several threads at once, must not throw,
    /// and must live until the model and all that was made from it are freed.
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &, std::uint32_t, ParallelTask>>>
    Result<void> set_parallel_for(F &parallel_for)
    {
        const auto call = [](void *user, std::uint32_t count, detailflow_task_fn task, void *context) noexcept {
            (*static_cast<F *>(user))(count, ParallelTask{task, context});
        };
        return set_parallel_for(call, const_cast<std::remove_const_t<F> *>(&parallel_for));
    }
    /// Removes the function that runs tasks.
    Result<void> clear_parallel_for() { return set_parallel_for(nullptr, nullptr); }
    /// Sets whether the model is to encode images. With false the encoder is neither read nor compiled.
    Result<void> set_encoder(bool encoder)
    {
        return detail::done(detailflow_model_options_set_encoder(get(), encoder ? 1 : 0));
    }
    /// Sets a callback for the progress of Model::open, which is called on the thread that opens.
    Result<void> set_open_progress(detailflow_open_progress_fn callback, void *user)
    {
        return detail::done(detailflow_model_options_set_open_progress(get(), callback, user));
    }
    /// Sets a callable for the progress of Model::open.
    ///
    /// @param callback Called with done, total and stage. It must not throw, and must live until the model is open.
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &, std::uint32_t, std::uint32_t, const char *>>>
    Result<void> set_open_progress(F &callback)
    {
        const auto call = [](void *user, std::uint32_t done, std::uint32_t total, const char *stage) noexcept {
            (*static_cast<F *>(user))(done, total, stage);
        };
        return set_open_progress(call, const_cast<std::remove_const_t<F> *>(&callback));
    }
    /// Removes the progress callback.
    Result<void> clear_open_progress()
    {
        return detail::done(detailflow_model_options_set_open_progress(get(), nullptr, nullptr));
    }
    /// Sets the handle that cancels Model::open: it then returns Status::cancelled. `cancel` may be freed afterwards.
    Result<void> set_cancel(const Cancel &cancel)
    {
        if (!cancel) {
            return Error{Status::invalid_argument, "cancel is NULL: it was moved or released"};
        }
        return detail::done(detailflow_model_options_set_cancel(get(), cancel.get()));
    }
    /// Removes the handle that cancels Model::open.
    Result<void> clear_cancel() { return detail::done(detailflow_model_options_set_cancel(get(), nullptr)); }

    /// The message of the last failed call with these options; "" when none failed.
    std::string get_message() const { return message_of(detailflow_model_options_get_message); }
};

/// Properties of a model: detailflow_model_info. The strings live as long as the model.
using ModelInfo = detailflow_model_info;
/// A size at which a generation can stop, with the tokens that it takes: detailflow_level.
using Level = detailflow_level;

/// A model that is open. Any number of threads may use it at once; it runs one graph at a time. The destructor cancels
/// the jobs that workers run with it, and waits for them.
class Model : public detail::Owner<detailflow_model> {
public:
    using Owner::Owner;

    /// Opens the bundle at `path`, a folder or a single file (.dflow); {} is the default bundle. Takes milliseconds to
    /// seconds.
    static Result<Model> open(std::string_view path = {}) { return open_with(path, nullptr); }
    /// Opens with options.
    static Result<Model> open(std::string_view path, const ModelOptions &options)
    {
        return options ? open_with(path, options.get()) : Result<Model>(detail::empty_options());
    }

    /// Opens a single-file bundle (.dflow) that lies in memory, which is used as long as the model and what is made of it.
    ///
    /// @param keeper Anything that keeps the memory valid, such as the std::shared_ptr or std::vector that it is in. It is
    /// moved or copied, and destroyed when the memory is not used any more, on any thread; at once when opening fails.
    template <class Keeper>
    static Result<Model> open_memory(Span<const std::uint8_t> data, Keeper &&keeper)
    {
        return open_memory_with(data, std::forward<Keeper>(keeper), nullptr);
    }
    /// As above, with options.
    template <class Keeper>
    static Result<Model> open_memory(Span<const std::uint8_t> data, Keeper &&keeper, const ModelOptions &options)
    {
        return options ? open_memory_with(data, std::forward<Keeper>(keeper), options.get())
                       : Result<Model>(detail::empty_options());
    }
    /// Opens a single-file bundle (.dflow) that callbacks read: on this thread, and within this call only.
    static Result<Model> open_reader(const Reader &reader) { return open_reader_with(reader, nullptr); }
    /// As above, with options.
    static Result<Model> open_reader(const Reader &reader, const ModelOptions &options)
    {
        return options ? open_reader_with(reader, options.get()) : Result<Model>(detail::empty_options());
    }

    /// The message of the last failed call with this model, on any thread; "" when none failed.
    std::string get_message() const { return message_of(detailflow_model_get_message); }

    /// Gets the properties of the model.
    Result<ModelInfo> get_info() const
    {
        return detail::fill<ModelInfo>([&](ModelInfo *info) { return detailflow_model_get_info(get(), info); });
    }
    /// Gets how pictures of the model are finished by default, for image_finish; its palette is `palette`, which must live
    /// as long as the result is used.
    Result<Finish> get_finish(std::vector<std::uint32_t> &palette) const
    {
        Finish finish;
        auto colors = detail::all<std::uint32_t>([&](Span<std::uint32_t> room) {
            std::size_t count = 0;
            const Result<void> result =
                detail::done(detailflow_model_get_finish(get(), &finish, detail::array(room), room.size(), &count));
            return result ? Result<std::size_t>(count) : Result<std::size_t>(result.error());
        });
        if (!colors)
            return colors.error();
        palette = std::move(*colors);
        finish.set_palette(palette);
        return finish;
    }
    /// Gets a report of what runs where, as lines for a person.
    Result<std::string> get_report() const
    {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return detailflow_model_get_report(get(), buffer, capacity, length);
        });
    }
    /// Gets the name of a class, which lives as long as the model.
    Result<std::string_view> get_class_name(std::uint32_t class_index) const
    {
        const char *name = "";
        const Result<void> result = detail::done(detailflow_model_get_class_name(get(), class_index, &name));
        return result ? Result<std::string_view>(name) : Result<std::string_view>(result.error());
    }
    /// Finds a class by its name, or its index in decimal. Returns the index.
    Result<std::uint32_t> find_class(std::string_view name) const
    {
        return detail::with_text(name, [&](const char *text) {
            return detail::value<std::uint32_t>(
                [&](std::uint32_t *index) { return detailflow_model_find_class(get(), text, index); });
        });
    }
    /// Gets a level by its index, 0 (the coarsest) to level_count - 1 (the full image).
    Result<Level> get_level(std::uint32_t level_index) const
    {
        return detail::fill<Level>([&](Level *level) { return detailflow_model_get_level(get(), level_index, level); });
    }
    /// Finds a level by its pixels per side; 0 is the finest.
    Result<Level> find_level(std::uint32_t level_size) const
    {
        return detail::fill<Level>([&](Level *level) { return detailflow_model_find_level(get(), level_size, level); });
    }
    /// Gets the pixels per side of the image that a prefix decodes to.
    Result<std::uint32_t> get_prefix_size(std::size_t token_count) const
    {
        return detail::value<std::uint32_t>(
            [&](std::uint32_t *size) { return detailflow_model_get_prefix_size(get(), token_count, size); });
    }

    /// Encodes an image of any size and format into `tokens`. Returns their number.
    Result<std::size_t> encode(const ConstImage &picture, Span<std::uint32_t> tokens) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_model_encode(get(), &picture, detail::array(tokens), tokens.size(), count);
        });
    }
    /// Encodes an image and searches, with an `effort` of 1 to 4, for tokens that decode to it with less error; 0 is encode
    /// above. `cancel`, which Cancel::make made, stops it from another thread; NULL does not. Returns their number.
    Result<std::size_t> encode(const ConstImage &picture, std::uint32_t effort, const Cancel *cancel,
                               Span<std::uint32_t> tokens) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_model_encode_with_effort(get(), &picture, effort, cancel ? cancel->get() : nullptr,
                                                       detail::array(tokens), tokens.size(), count);
        });
    }
    /// The same from a picture file of any size.
    Result<std::size_t> encode_file(std::string_view path, std::uint32_t effort, const Cancel *cancel,
                                    Span<std::uint32_t> tokens) const
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::value<std::size_t>([&](std::size_t *count) {
                return detailflow_model_encode_file_with_effort(get(), text, effort, cancel ? cancel->get() : nullptr,
                                                                detail::array(tokens), tokens.size(), count);
            });
        });
    }
    /// Encodes a picture file of any size into `tokens`. Returns their number.
    Result<std::size_t> encode_file(std::string_view path, Span<std::uint32_t> tokens) const
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::value<std::size_t>([&](std::size_t *count) {
                return detailflow_model_encode_file(get(), text, detail::array(tokens), tokens.size(), count);
            });
        });
    }
    /// The same; another thread can stop the reading of the file by `cancel`, which Cancel::make made.
    Result<std::size_t> encode_file(std::string_view path, const Cancel &cancel, Span<std::uint32_t> tokens) const
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::value<std::size_t>([&](std::size_t *count) {
                return detailflow_model_encode_file_cancellable(get(), text, cancel.get(), detail::array(tokens),
                                                                tokens.size(), count);
            });
        });
    }
    /// Encodes the bytes of a picture file of any size into `tokens`. Returns their number.
    Result<std::size_t> encode_data(Span<const std::uint8_t> data, Span<std::uint32_t> tokens) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_model_encode_data(get(), data.data(), data.size(), detail::array(tokens), tokens.size(),
                                                count);
        });
    }
    /// Decodes tokens into `target`. `level_size` is the level, pixels per side; 0 decodes all tokens, a prefix.
    Result<void> decode(Span<const std::uint32_t> tokens, std::uint32_t level_size, Image target) const
    {
        return detail::done(detailflow_model_decode(get(), tokens.data(), tokens.size(), level_size, &target));
    }
    /// Decodes a prefix into square images of several sizes, each into one of `targets`.
    Result<void> decode_mips(Span<const std::uint32_t> tokens, MipsSource source, Span<Image> targets) const
    {
        return detail::done(detailflow_model_decode_mips(
            get(), tokens.data(), tokens.size(), static_cast<std::uint32_t>(source), targets.data(), targets.size()));
    }
    /// Decodes a prefix into a mip chain in one block of memory: `size` pixels per side, half of it, and so on, as many mips
    /// as there are `offsets`, which mips_lay_out gives. Each mip begins at its offset, rows without gaps.
    Result<void> decode_mip_chain(Span<const std::uint32_t> tokens, MipsSource source, std::uint32_t size,
                                  Format format, Span<const std::size_t> offsets, Span<std::uint8_t> block) const
    {
        return detail::done(detailflow_model_decode_mip_chain(
            get(), tokens.data(), tokens.size(), static_cast<std::uint32_t>(source), size,
            static_cast<std::uint32_t>(format), offsets.data(), offsets.size(), block.data(), block.size()));
    }
    /// Sets the positions of sprites in an atlas `width` pixels wide. Returns the height that they need.
    Result<std::uint32_t> lay_out_atlas(Span<Sprite> sprites, std::uint32_t width, std::uint32_t padding) const
    {
        return detail::value<std::uint32_t>([&](std::uint32_t *height) {
            return detailflow_model_lay_out_atlas(get(), sprites.data(), sprites.size(), width, padding, height);
        });
    }
    /// Decodes sprites into their positions in an atlas; all other pixels stay as they are.
    Result<void> decode_atlas(Span<const Sprite> sprites, Image atlas) const
    {
        return detail::done(detailflow_model_decode_atlas(get(), sprites.data(), sprites.size(), &atlas));
    }

    /// Computes the log-probability of each token of a prefix for a class, into `values`. Returns their number.
    Result<std::size_t> score(std::uint32_t class_index, Span<const std::uint32_t> tokens, Span<float> values) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_model_score(get(), class_index, tokens.data(), tokens.size(), detail::array(values),
                                          values.size(), count);
        });
    }
    /// Measures the latency of steps and decodes for these batch sizes, and writes it to the user's cache directory.
    Result<void> calibrate(Span<const std::uint32_t> batch_sizes) const
    {
        return detail::done(detailflow_model_calibrate(get(), batch_sizes.data(), batch_sizes.size()));
    }
    /// Predicts the nanoseconds to decode one image; 0 when nothing was measured on this machine yet.
    Result<std::uint64_t> predict_decode(std::size_t token_count) const
    {
        return detail::value<std::uint64_t>(
            [&](std::uint64_t *time_ns) { return detailflow_model_predict_decode(get(), token_count, time_ns); });
    }

private:
    static Result<Model> open_with(std::string_view path, const detailflow_model_options *options)
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::own<Model>([&](detailflow_model **model, detailflow_error *error) {
                return detailflow_model_open(text, options, model, error);
            });
        });
    }
    template <class Keeper>
    static Result<Model> open_memory_with(Span<const std::uint8_t> data, Keeper &&keeper,
                                          const detailflow_model_options *options)
    {
        using Kept = std::decay_t<Keeper>;
        auto *kept = new (std::nothrow) Kept(std::forward<Keeper>(keeper));
        if (kept == nullptr) {
            return Error{Status::out_of_memory, "no memory for the owner of the bundle"};
        }
        const auto release = [](void *user) noexcept { delete static_cast<Kept *>(user); };
        return detail::own<Model>([&](detailflow_model **model, detailflow_error *error) {
            return detailflow_model_open_memory(data.data(), data.size(), release, kept, options, model, error);
        });
    }
    static Result<Model> open_reader_with(const Reader &reader, const detailflow_model_options *options)
    {
        return detail::own<Model>([&](detailflow_model **model, detailflow_error *error) {
            return detailflow_model_open_reader(&reader, options, model, error);
        });
    }
};

/// Generates one image in one call. The width and height of `image` choose the level.
///
/// @param class_name The name of a class, or its index in decimal.
inline Result<void> generate_image(const Model &model, std::string_view class_name, std::uint64_t seed, Image image)
{
    if (!model) {
        return Error{Status::invalid_argument, "model is NULL: it was moved or released"};
    }
    return detail::with_text(class_name, [&](const char *text) {
        return detail::done(
            [&](detailflow_error *error) { return detailflow_generate_image(model.get(), text, seed, &image, error); });
    });
}

/// Generates one image with the default bundle, which is opened at the first such call and stays open.
inline Result<void> generate_image(std::string_view class_name, std::uint64_t seed, Image image)
{
    return detail::with_text(class_name, [&](const char *text) {
        return detail::done(
            [&](detailflow_error *error) { return detailflow_generate_image(nullptr, text, seed, &image, error); });
    });
}

/// Writes a copy of a bundle that holds the decoder alone.
///
/// @param path The bundle, a folder or a single file; {} is the default bundle.
/// @param target The folder to write, or a single file when it ends with .dflow.
/// @param precision Keeps this precision only; {} keeps all.
inline Result<void> bundle_strip(std::string_view path, std::string_view target, std::string_view precision = {})
{
    return detail::with_text(path, [&](const char *path_text) {
        return detail::with_text(target, [&](const char *target_text) {
            return detail::with_text(precision, [&](const char *precision_text) {
                return detail::done([&](detailflow_error *error) {
                    return detailflow_bundle_strip(path_text, target_text, precision_text, error);
                });
            });
        });
    });
}

/// Writes a bundle as a single file (.dflow).
///
/// @param path The bundle; {} is the default bundle.
/// @param target The file to write.
inline Result<void> bundle_pack(std::string_view path, std::string_view target)
{
    return detail::with_text(path, [&](const char *path_text) {
        return detail::with_text(target, [&](const char *target_text) {
            return detail::done(
                [&](detailflow_error *error) { return detailflow_bundle_pack(path_text, target_text, error); });
        });
    });
}

/// Writes a bundle as a folder.
///
/// @param path The bundle; {} is the default bundle.
/// @param target The folder to write.
inline Result<void> bundle_unpack(std::string_view path, std::string_view target)
{
    return detail::with_text(path, [&](const char *path_text) {
        return detail::with_text(target, [&](const char *target_text) {
            return detail::done(
                [&](detailflow_error *error) { return detailflow_bundle_unpack(path_text, target_text, error); });
        });
    });
}

// --- Requests ---

/// What a request costs: detailflow_cost.
using Cost = detailflow_cost;
/// The steps of one shape: detailflow_step_cost.
using StepCost = detailflow_step_cost;
/// What a level costs, from the start: detailflow_level_cost.
using LevelCost = detailflow_level_cost;

/// What to generate: how many images, of which classes, from which seeds, how sampled. Every setter checks its
/// arguments at once.
class Request : public detail::Owner<detailflow_request> {
public:
    using Owner::Owner;

    /// Creates a request for one image of class 0 with seed 0 at the finest level, with the model's default sampling.
    static Result<Request> make(const Model &model)
    {
        return detail::own<Request>(
            [&](detailflow_request **request) { return detailflow_request_new(model.get(), request); });
    }

    /// The message of the last failed call with this request, on any thread; "" when none failed.
    std::string get_message() const { return message_of(detailflow_request_get_message); }

    /// Sets the number of images, 1 to 1048576. Added ones take the class of the first and the seeds that follow.
    Result<void> set_image_count(std::uint32_t image_count)
    {
        return detail::done(detailflow_request_set_image_count(get(), image_count));
    }
    /// Sets the class of every image.
    Result<void> set_class(std::uint32_t class_index)
    {
        return detail::done(detailflow_request_set_class(get(), class_index));
    }
    /// Sets the seed of the first image; the others take those that follow.
    Result<void> set_seed(std::uint64_t seed) { return detail::done(detailflow_request_set_seed(get(), seed)); }
    /// Sets several classes of every image with their weights: each is a mix of them. See detailflow_request_set_classes.
    Result<void> set_classes(Span<const std::uint32_t> class_indices, Span<const float> weights)
    {
        if (class_indices.size() != weights.size())
            return uneven(class_indices.size(), weights.size());
        return detail::done(
            detailflow_request_set_classes(get(), class_indices.data(), weights.data(), weights.size()));
    }
    /// Sets the classes that every image keeps away from with their strengths; empty spans (the default) are none.
    Result<void> set_avoid(Span<const std::uint32_t> class_indices, Span<const float> strengths)
    {
        if (class_indices.size() != strengths.size())
            return uneven(class_indices.size(), strengths.size());
        return detail::done(
            detailflow_request_set_avoid(get(), class_indices.data(), strengths.data(), strengths.size()));
    }
    /// Sets the classes of one image.
    Result<void> set_image_classes(std::uint32_t image_index, Span<const std::uint32_t> class_indices,
                                   Span<const float> weights)
    {
        if (class_indices.size() != weights.size())
            return uneven(class_indices.size(), weights.size());
        return detail::done(detailflow_request_set_image_classes(get(), image_index, class_indices.data(),
                                                                 weights.data(), weights.size()));
    }
    /// Sets the classes that one image keeps away from.
    Result<void> set_image_avoid(std::uint32_t image_index, Span<const std::uint32_t> class_indices,
                                 Span<const float> strengths)
    {
        if (class_indices.size() != strengths.size())
            return uneven(class_indices.size(), strengths.size());
        return detail::done(detailflow_request_set_image_avoid(get(), image_index, class_indices.data(),
                                                               strengths.data(), strengths.size()));
    }
    /// Sets the weight of one class of every image, which joins the others, as a curve over the tokens.
    Result<void> set_class_curve(std::uint32_t class_index, Span<const std::uint32_t> token_indices,
                                 Span<const float> values)
    {
        if (token_indices.size() != values.size())
            return uneven(token_indices.size(), values.size());
        return detail::done(
            detailflow_request_set_class_curve(get(), class_index, token_indices.data(), values.data(), values.size()));
    }
    /// Sets the classes of every image to those that a token file (.dft) was generated for, with their weights and those it kept
    /// away from. A file without a class changes nothing.
    Result<void> set_classes_of_dft(Span<const std::uint8_t> file)
    {
        return detail::done(detailflow_request_set_classes_of_dft(get(), file.data(), file.size()));
    }
    /// Sets the strength with which every image keeps away from one class as a curve over the tokens.
    Result<void> set_avoid_curve(std::uint32_t class_index, Span<const std::uint32_t> token_indices,
                                 Span<const float> values)
    {
        if (token_indices.size() != values.size())
            return uneven(token_indices.size(), values.size());
        return detail::done(
            detailflow_request_set_avoid_curve(get(), class_index, token_indices.data(), values.data(), values.size()));
    }
    /// Sets class and seed of one image.
    Result<void> set_image_source(std::uint32_t image_index, std::uint32_t class_index, std::uint64_t seed)
    {
        return detail::done(detailflow_request_set_image_source(get(), image_index, class_index, seed));
    }

    /// Sets the guidance scale, 0 to 1000; 1 is off and takes half the time.
    Result<void> set_guidance(float scale) { return detail::done(detailflow_request_set_guidance(get(), scale)); }
    /// Sets whether guidance falls linearly over the groups.
    Result<void> set_gradual_guidance(bool gradual)
    {
        return detail::done(detailflow_request_set_gradual_guidance(get(), gradual ? 1 : 0));
    }
    /// Sets the temperature, at least 0; 0 always takes the most likely token.
    Result<void> set_temperature(float temperature)
    {
        return detail::done(detailflow_request_set_temperature(get(), temperature));
    }
    /// Sets top-k: only the k most likely tokens are sampled from; 0 is off.
    Result<void> set_top_k(std::uint32_t top_k) { return detail::done(detailflow_request_set_top_k(get(), top_k)); }
    /// Sets top-p: only the most likely tokens up to this total probability are sampled from; 1 is off.
    Result<void> set_top_p(float top_p) { return detail::done(detailflow_request_set_top_p(get(), top_p)); }

    /// Sets guidance as a curve: values[i] at the token token_indices[i], linear between two points.
    Result<void> set_guidance_curve(Span<const std::uint32_t> token_indices, Span<const float> values)
    {
        return set_curve(detailflow_request_set_guidance_curve, token_indices, values);
    }
    /// Sets temperature as a curve.
    Result<void> set_temperature_curve(Span<const std::uint32_t> token_indices, Span<const float> values)
    {
        return set_curve(detailflow_request_set_temperature_curve, token_indices, values);
    }
    /// Sets top-k as a curve.
    Result<void> set_top_k_curve(Span<const std::uint32_t> token_indices, Span<const float> values)
    {
        return set_curve(detailflow_request_set_top_k_curve, token_indices, values);
    }
    /// Sets top-p as a curve.
    Result<void> set_top_p_curve(Span<const std::uint32_t> token_indices, Span<const float> values)
    {
        return set_curve(detailflow_request_set_top_p_curve, token_indices, values);
    }

    /// Sets whether log-probabilities are recorded, for Generation::get_log_probabilities. The default is false.
    Result<void> set_log_probabilities(bool record)
    {
        return detail::done(detailflow_request_set_log_probabilities(get(), record ? 1 : 0));
    }
    /// Sets the tokens that every image begins with; an empty span removes them.
    ///
    /// @param level_size Takes the tokens of this level, pixels per side; 0 takes all, a prefix.
    Result<void> set_prefix(Span<const std::uint32_t> tokens, std::uint32_t level_size = 0)
    {
        return detail::done(detailflow_request_set_prefix(get(), tokens.data(), tokens.size(), level_size));
    }
    /// Sets the tokens that one image begins with. All images must begin with the same number of tokens.
    Result<void> set_image_prefix(std::uint32_t image_index, Span<const std::uint32_t> tokens)
    {
        return detail::done(detailflow_request_set_image_prefix(get(), image_index, tokens.data(), tokens.size()));
    }
    /// Encodes an image, and sets the tokens of this level as the prefix of every image.
    Result<void> set_prefix_picture(const ConstImage &picture, std::uint32_t level_size)
    {
        return detail::done(detailflow_request_set_prefix_picture(get(), &picture, level_size));
    }
    /// Sets the level at which the generation ends, pixels per side; 0 (the default) is the finest.
    Result<void> set_level_size(std::uint32_t level_size)
    {
        return detail::done(detailflow_request_set_level_size(get(), level_size));
    }

    /// Gets what the request costs, without generating anything.
    Result<Cost> get_cost() const
    {
        return detail::fill<Cost>([&](Cost *cost) { return detailflow_request_get_cost(get(), cost); });
    }
    /// Gets the steps by shape, in the order in which they begin. Returns their number.
    Result<std::size_t> get_step_costs(Span<StepCost> costs) const
    {
        return get_costs(detailflow_request_get_step_costs, costs);
    }
    /// Gets the steps by shape, in the order in which they begin.
    Result<std::vector<StepCost>> get_step_costs() const
    {
        return detail::all<StepCost>([&](Span<StepCost> costs) { return get_step_costs(costs); });
    }
    /// Gets the levels that the request passes, coarse to fine. Returns their number.
    Result<std::size_t> get_level_costs(Span<LevelCost> costs) const
    {
        return get_costs(detailflow_request_get_level_costs, costs);
    }
    /// Gets the levels that the request passes, coarse to fine.
    Result<std::vector<LevelCost>> get_level_costs() const
    {
        return detail::all<LevelCost>([&](Span<LevelCost> costs) { return get_level_costs(costs); });
    }

private:
    static Error uneven(std::size_t indices, std::size_t values)
    {
        return Error{Status::invalid_argument, "there are " + std::to_string(indices) + " indices and " +
                                                   std::to_string(values) + " values; each needs one of both"};
    }

    Result<void> set_curve(detailflow_status(DETAILFLOW_CALL *call)(detailflow_request *, const std::uint32_t *,
                                                                    const float *, std::size_t),
                           Span<const std::uint32_t> token_indices, Span<const float> values)
    {
        if (token_indices.size() != values.size()) {
            return Error{Status::invalid_argument, "curve: there are " + std::to_string(token_indices.size()) +
                                                       " token indices and " + std::to_string(values.size()) +
                                                       " values; each point needs one of both"};
        }
        return detail::done(call(get(), token_indices.data(), values.data(), values.size()));
    }

    template <class T>
    Result<std::size_t> get_costs(detailflow_status(DETAILFLOW_CALL *call)(const detailflow_request *, T *, std::size_t,
                                                                           std::size_t *),
                                  Span<T> costs) const
    {
        if (!costs.empty()) {
            costs[0].struct_size = sizeof(T);
        }
        return detail::value<std::size_t>(
            [&](std::size_t *count) { return call(get(), detail::array(costs), costs.size(), count); });
    }
};

// --- Generations ---

/// The state of a generation: detailflow_progress.
using Progress = detailflow_progress;

/// Class and seed of an image.
struct ImageSource {
    /// The class.
    std::uint32_t class_index;
    /// The seed that its random numbers were drawn from.
    std::uint64_t seed;
};

/// Bytes that a generation uses.
struct Memory {
    /// Its KV cache and tokens.
    std::uint64_t own_bytes;
    /// The KV cache of the generation that it was forked from, which it uses until its first step.
    std::uint64_t shared_bytes;
};

/// A request being generated, or finished. const members may be called while another thread steps it, and read the
/// state after the last finished step. The destructor cancels, and waits for, a step of another thread.
class Generation : public detail::Owner<detailflow_generation> {
public:
    using Owner::Owner;

    /// Creates a generation: reserves memory, and generates nothing yet. The request may be changed or freed after it.
    static Result<Generation> make(const Request &request)
    {
        return detail::own<Generation>(
            [&](detailflow_generation **generation) { return detailflow_generation_new(request.get(), generation); });
    }

    /// The message of the last failed call with this generation, on any thread; "" when none failed.
    std::string get_message() const { return message_of(detailflow_generation_get_message); }

    /// Does one step. Does nothing when finished.
    Result<Progress> step()
    {
        return detail::fill<Progress>([&](Progress *progress) { return detailflow_generation_step(get(), progress); });
    }
    /// Does at least one step, and further ones as long as the next should end within `budget_ns` nanoseconds.
    Result<Progress> advance(std::uint64_t budget_ns)
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_advance(get(), budget_ns, progress); });
    }
    /// Does steps until a level is complete, pixels per side; 0 is the one that the request ends at.
    Result<Progress> advance_to_level(std::uint32_t level_size)
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_advance_to_level(get(), level_size, progress); });
    }
    /// Does all steps that are left.
    Result<Progress> finish()
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_finish(get(), progress); });
    }

    /// Gets the state.
    Result<Progress> get_progress() const
    {
        return detail::fill<Progress>(
            [&](Progress *progress) { return detailflow_generation_get_progress(get(), progress); });
    }
    /// Gets the tokens of one image so far, coarse to fine. Returns their number.
    Result<std::size_t> get_tokens(std::uint32_t image_index, Span<std::uint32_t> tokens) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_generation_get_tokens(get(), image_index, detail::array(tokens), tokens.size(), count);
        });
    }
    /// Gets the tokens of one image so far, coarse to fine.
    Result<std::vector<std::uint32_t>> get_tokens(std::uint32_t image_index) const
    {
        return all<std::uint32_t>([&](Span<std::uint32_t> tokens) { return get_tokens(image_index, tokens); });
    }
    /// Decodes all tokens of one image so far. The size of `target` is Progress::prefix_size.
    Result<void> decode(std::uint32_t image_index, Image target) const
    {
        return detail::done(detailflow_generation_decode(get(), image_index, &target));
    }
    /// Decodes the finest complete level of one image. The size of `target` is Progress::level_size.
    Result<void> decode_level(std::uint32_t image_index, Image target) const
    {
        return detail::done(detailflow_generation_decode_level(get(), image_index, &target));
    }
    /// Decodes all tokens of one image so far, and writes it to a picture file. The ending chooses the file format.
    Result<void> save(std::uint32_t image_index, std::string_view path) const
    {
        return detail::with_text(
            path, [&](const char *text) { return detail::done(detailflow_generation_save(get(), image_index, text)); });
    }
    /// Encodes the tokens of one image so far as a token file (.dft) in `data`, with seed and classes. Returns the number of bytes.
    Result<std::size_t> encode_dft(std::uint32_t image_index, Span<std::uint8_t> data) const
    {
        return detail::value<std::size_t>([&](std::size_t *size) {
            return detailflow_generation_encode_dft(get(), image_index, detail::array(data), data.size(), size);
        });
    }
    /// Encodes the tokens of one image so far as a token file in memory.
    Result<std::vector<std::uint8_t>> encode_dft(std::uint32_t image_index) const
    {
        return detail::all<std::uint8_t>([&](Span<std::uint8_t> data) { return encode_dft(image_index, data); });
    }
    /// Gets class and seed of one image.
    Result<ImageSource> get_image_source(std::uint32_t image_index) const
    {
        return detail::value<ImageSource>([&](ImageSource *source) {
            return detailflow_generation_get_image_source(get(), image_index, &source->class_index, &source->seed);
        });
    }
    /// Gets the log-probability of each generated token of one image. Returns their number.
    Result<std::size_t> get_log_probabilities(std::uint32_t image_index, Span<float> values) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_generation_get_log_probabilities(get(), image_index, detail::array(values), values.size(),
                                                               count);
        });
    }
    /// Gets the log-probability of each generated token of one image.
    Result<std::vector<float>> get_log_probabilities(std::uint32_t image_index) const
    {
        return all<float>([&](Span<float> values) { return get_log_probabilities(image_index, values); });
    }
    /// Gets their mean; 0 before the first step.
    Result<float> get_mean_log_probability(std::uint32_t image_index) const
    {
        return detail::value<float>(
            [&](float *mean) { return detailflow_generation_get_mean_log_probability(get(), image_index, mean); });
    }
    /// Gets the work done: each step counts once for every image that it computed.
    Result<std::uint64_t> get_work() const
    {
        return detail::value<std::uint64_t>(
            [&](std::uint64_t *work) { return detailflow_generation_get_work(get(), work); });
    }
    /// Gets the memory in use.
    Result<Memory> get_memory() const
    {
        return detail::value<Memory>([&](Memory *memory) {
            return detailflow_generation_get_memory(get(), &memory->own_bytes, &memory->shared_bytes);
        });
    }
    /// Gets a handle that cancels the generation, any number of times.
    Result<Cancel> get_cancel() const
    {
        return detail::own<Cancel>(
            [&](detailflow_cancel **cancel) { return detailflow_generation_get_cancel(get(), cancel); });
    }

    /// Creates a generation that stands where this one does and continues with other seeds, one for each image.
    Result<Generation> fork(Span<const std::uint64_t> seeds)
    {
        return detail::own<Generation>([&](detailflow_generation **generation) {
            return detailflow_generation_fork(get(), seeds.data(), seeds.size(), generation);
        });
    }
    /// Continues with these images only, numbered from 0 in this order.
    Result<void> retain_images(Span<const std::uint32_t> image_indices)
    {
        return detail::done(detailflow_generation_retain_images(get(), image_indices.data(), image_indices.size()));
    }
    /// Changes the level at which the generation ends, pixels per side; 0 is the finest.
    Result<void> set_level_size(std::uint32_t level_size)
    {
        return detail::done(detailflow_generation_set_level_size(get(), level_size));
    }

private:
    // Another thread may step between the two calls of detail::all: then there are more tokens.
    template <class T, class Call>
    static Result<std::vector<T>> all(Call call)
    {
        for (;;) {
            const Result<std::size_t> before = call(Span<T>());
            Result<std::vector<T>> values = detail::all<T>(call);
            if (values || !before) {
                return values;
            }
            const Result<std::size_t> after = call(Span<T>());
            if (!after || *after == *before) {
                return values;
            }
        }
    }
};

/// Generates a whole request in one call. To cancel, use Generation::make and Generation::finish.
inline Result<Generation> generate(const Request &request)
{
    return detail::own<Generation>(
        [&](detailflow_generation **generation) { return detailflow_generate(request.get(), generation); });
}

/// Generates variations in one call: every image begins with the same tokens.
///
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all, a prefix.
inline Result<Generation> vary(const Request &request, Span<const std::uint32_t> tokens, std::uint32_t level_size)
{
    return detail::own<Generation>([&](detailflow_generation **generation) {
        return detailflow_vary(request.get(), tokens.data(), tokens.size(), level_size, generation);
    });
}

/// Encodes an image and generates its detail again, in one call.
///
/// @param level_size The tokens of this level, pixels per side, stay.
inline Result<Generation> redetail(const Request &request, const ConstImage &picture, std::uint32_t level_size)
{
    return detail::own<Generation>([&](detailflow_generation **generation) {
        return detailflow_redetail(request.get(), &picture, level_size, generation);
    });
}

/// As redetail, from a picture file of any size.
inline Result<Generation> redetail_file(const Request &request, std::string_view path, std::uint32_t level_size)
{
    return detail::with_text(path, [&](const char *text) {
        return detail::own<Generation>([&](detailflow_generation **generation) {
            return detailflow_redetail_file(request.get(), text, level_size, generation);
        });
    });
}

// --- Best of many ---

/// A candidate at the level where it is scored: detailflow_candidate. Its pointers are valid during the call only.
using Candidate = detailflow_candidate;

/// How the best candidates are chosen.
class BestOfOptions : public detail::Owner<detailflow_best_of_options> {
public:
    using Owner::Owner;

    /// Creates options without a round, with the log-probability as the score.
    static Result<BestOfOptions> make() { return detail::own<BestOfOptions>(detailflow_best_of_options_new); }

    /// Adds a round: the level at which candidates are scored, pixels per side, and how many go on.
    Result<void> add_round(std::uint32_t level_size, std::uint32_t retained_count)
    {
        return detail::done(detailflow_best_of_options_add_round(get(), level_size, retained_count));
    }
    /// Scores by the mean log-probability of a candidate's tokens. This is the default.
    Result<void> set_scorer_log_probability()
    {
        return detail::done(detailflow_best_of_options_set_scorer_log_probability(get()));
    }
    /// Scores by the likeness to an image of any size and format, which is copied.
    Result<void> set_scorer_likeness(const ConstImage &picture)
    {
        return detail::done(detailflow_best_of_options_set_scorer_likeness(get(), &picture));
    }
    /// Scores by a function: the larger the better; NaN is an error. It must not throw, and must not free the request.
    Result<void> set_scorer_function(detailflow_score_fn function, void *user)
    {
        return detail::done(detailflow_best_of_options_set_scorer_function(get(), function, user));
    }
    /// Scores by a callable that takes a Candidate and returns a float. It must live until best_of returns.
    template <class F, class = std::enable_if_t<std::is_invocable_r_v<float, F &, const Candidate &>>>
    Result<void> set_scorer_function(F &function)
    {
        const auto call = [](void *user, const detailflow_candidate *candidate) noexcept -> float {
            return static_cast<float>((*static_cast<F *>(user))(*candidate));
        };
        return set_scorer_function(call, const_cast<std::remove_const_t<F> *>(&function));
    }

    /// The message of the last failed call with these options; "" when none failed.
    std::string get_message() const { return message_of(detailflow_best_of_options_get_message); }
};

/// Generates the images of a request as candidates, of which the best go on in each round. Returns those that are
/// left, the best first.
///
/// @param survivors Receives which images of the request they are. May be empty; otherwise it has room for the
/// retained_count of the last round.
/// @param scores Receives the last score of each image of the request. May be empty; otherwise it has room for all.
inline Result<Generation> best_of(const Request &request, const BestOfOptions &options,
                                  Span<std::uint32_t> survivors = {}, Span<float> scores = {})
{
    return detail::own<Generation>([&](detailflow_generation **generation) {
        return detailflow_best_of(request.get(), options.get(), generation, detail::array(survivors), survivors.size(),
                                  nullptr, detail::array(scores), scores.size());
    });
}

// --- Workers ---

/// Kinds of events: detailflow_event_kind.
enum class EventKind : std::uint32_t {
    /// A level is complete.
    level = DETAILFLOW_EVENT_KIND_LEVEL,
    /// The job is finished. The last event of its job.
    done = DETAILFLOW_EVENT_KIND_DONE,
    /// The job was cancelled. The last event of its job.
    cancelled = DETAILFLOW_EVENT_KIND_CANCELLED,
    /// The job failed. The last event of its job.
    failed = DETAILFLOW_EVENT_KIND_FAILED,
};

/// Properties of an event: detailflow_event_info.
using EventInfo = detailflow_event_info;

/// The kind of an event.
inline EventKind kind(const EventInfo &info) noexcept { return static_cast<EventKind>(info.kind); }

/// The status of the job of an event: why it was cancelled or failed.
inline Status status(const EventInfo &info) noexcept { return static_cast<Status>(info.status); }

/// Flags of Worker::submit, combined with |: detailflow_submit_flag.
enum class SubmitFlag : std::uint32_t {
    /// An event for each level, whose images are decoded by the thread that asks for them.
    none = 0,
    /// The worker decodes the images of each event on its own thread.
    decode = DETAILFLOW_SUBMIT_FLAG_DECODE,
    /// No events for levels, only the last event of the job.
    last_only = DETAILFLOW_SUBMIT_FLAG_LAST_ONLY,
    /// The job is held at the level of its request, unless that is the finest: see Worker::continue_to.
    hold = DETAILFLOW_SUBMIT_FLAG_HOLD,
};

/// Both flags.
constexpr SubmitFlag operator|(SubmitFlag one, SubmitFlag other) noexcept
{
    return static_cast<SubmitFlag>(static_cast<std::uint32_t>(one) | static_cast<std::uint32_t>(other));
}

/// Something that happened to a job, with its tokens at that moment. It may outlive the worker.
class Event : public detail::Owner<detailflow_event> {
public:
    using Owner::Owner;

    /// Gets the properties of the event.
    Result<EventInfo> get_info() const
    {
        return detail::fill<EventInfo>(
            [&](EventInfo *info, detailflow_error *error) { return detailflow_event_get_info(get(), info, error); });
    }
    /// Gets the tokens that one image had. Returns their number.
    Result<std::size_t> get_tokens(std::uint32_t image_index, Span<std::uint32_t> tokens) const
    {
        return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
            return detailflow_event_get_tokens(get(), image_index, detail::array(tokens), tokens.size(), count, error);
        });
    }
    /// Gets the tokens that one image had.
    Result<std::vector<std::uint32_t>> get_tokens(std::uint32_t image_index) const
    {
        return detail::all<std::uint32_t>([&](Span<std::uint32_t> tokens) { return get_tokens(image_index, tokens); });
    }
    /// Decodes the finest level of one image that was complete. The size of `target` is EventInfo::level_size.
    Result<void> decode_level(std::uint32_t image_index, Image target) const
    {
        return detail::done(
            [&](detailflow_error *error) { return detailflow_event_decode_level(get(), image_index, &target, error); });
    }
    /// Gets the message that says why the job was cancelled or failed; "" for other events.
    Result<std::string> get_job_message() const
    {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length, detailflow_error *error) {
            return detailflow_event_get_job_message(get(), buffer, capacity, length, error);
        });
    }
};

/// Which jobs of a worker come first: detailflow_worker_order.
enum class WorkerOrder : std::uint32_t {
    /// coarse_first without threads, priority_first with threads.
    standard = DETAILFLOW_WORKER_ORDER_DEFAULT,
    /// Jobs that have reached fewer levels, then those of higher priority, then those submitted before.
    coarse_first = DETAILFLOW_WORKER_ORDER_COARSE_FIRST,
    /// Jobs of higher priority, then those submitted before.
    priority_first = DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST,
};

/// How a worker works.
class WorkerOptions : public detail::Owner<detailflow_worker_options> {
public:
    using Owner::Owner;

    /// Creates default options: one thread, 64 MiB of events, jobs batched where that is faster.
    static Result<WorkerOptions> make() { return detail::own<WorkerOptions>(detailflow_worker_options_new); }

    /// Sets the number of threads, 0 to 64; 1 is the default. Each works on one batch of jobs. 0: the worker is driven by
    /// Worker::tick.
    Result<void> set_threads(std::uint32_t threads)
    {
        return detail::done(detailflow_worker_options_set_threads(get(), threads));
    }
    /// Sets the largest number of images that are generated together. 1: jobs run alone. 0 (the default): 64 or 1, as
    /// the attention form allows.
    Result<void> set_batch_size(std::uint32_t batch_size)
    {
        return detail::done(detailflow_worker_options_set_batch_size(get(), batch_size));
    }
    /// Sets the largest KV cache of jobs that are generated together; the default is 2 GiB.
    Result<void> set_batch_bytes(std::uint64_t bytes)
    {
        return detail::done(detailflow_worker_options_set_batch_bytes(get(), bytes));
    }
    /// Sets the back-pressure limit: jobs pause while unread events use this much memory; the default is 64 MiB.
    Result<void> set_event_bytes(std::uint64_t bytes)
    {
        return detail::done(detailflow_worker_options_set_event_bytes(get(), bytes));
    }
    /// Sets which jobs come first.
    Result<void> set_order(WorkerOrder order)
    {
        return detail::done(detailflow_worker_options_set_order(get(), static_cast<std::uint32_t>(order)));
    }

    /// The message of the last failed call with these options; "" when none failed.
    std::string get_message() const { return message_of(detailflow_worker_options_get_message); }
};

/// How a request is submitted.
class SubmitOptions : public detail::Owner<detailflow_submit_options> {
public:
    using Owner::Owner;

    /// Creates default options: user 0, no flags, priority 0, no targets.
    static Result<SubmitOptions> make() { return detail::own<SubmitOptions>(detailflow_submit_options_new); }

    /// Sets a number that each event of the job has.
    Result<void> set_user(std::uint64_t user) { return detail::done(detailflow_submit_options_set_user(get(), user)); }
    /// Sets flags.
    Result<void> set_flags(SubmitFlag flags)
    {
        return detail::done(detailflow_submit_options_set_flags(get(), static_cast<std::uint32_t>(flags)));
    }
    /// Sets the priority of the job: any number but NaN; the default is 0.
    Result<void> set_priority(float priority)
    {
        return detail::done(detailflow_submit_options_set_priority(get(), priority));
    }
    /// Sets where the pixels of one image go: one square target or a mip chain, of any sizes, formats and strides. Each
    /// level that is reported is resized to each of them before its event. The memory must stay valid until the last event
    /// of the job was taken.
    Result<void> set_target(std::uint32_t image_index, Span<Image> targets)
    {
        return detail::done(
            detailflow_submit_options_set_target(get(), image_index, detail::array(targets), targets.size()));
    }

    /// The message of the last failed call with these options; "" when none failed.
    std::string get_message() const { return message_of(detailflow_submit_options_get_message); }
};

/// What a call of Worker::tick did, and what is left.
using TickReport = detailflow_tick_report;

/// Generates in the background, on its own threads. Any number of threads may submit, poll, wait and cancel at once.
/// The destructor cancels all jobs and waits until they have stopped, except inside the worker's own callback.
class Worker : public detail::Owner<detailflow_worker> {
public:
    using Owner::Owner;

    /// Starts a worker. It takes requests of any models.
    static Result<Worker> make() { return make_with(nullptr); }
    /// Starts a worker with options.
    static Result<Worker> make(const WorkerOptions &options)
    {
        return options ? make_with(options.get()) : Result<Worker>(detail::empty_options());
    }

    /// Stops a worker before it is freed: cancels all jobs, and stops its callback. Unread events can still be taken.
    ///
    /// @param timeout_ns How long to wait for a callback that runs; 0 does not wait, UINT64_MAX waits without limit.
    /// @return Status::busy when a callback was still running in the end. It is not called again after that run.
    Result<void> close(std::uint64_t timeout_ns) const
    {
        return detail::done(detailflow_worker_close(get(), timeout_ns));
    }

    /// The message of the last failed call with this worker, on any thread; "" when none failed.
    std::string get_message() const { return message_of(detailflow_worker_get_message); }

    /// Submits a request, after all that were submitted before. Returns the number of the job, 1 and up.
    ///
    /// @param user Any number; each event of the job has it.
    Result<std::uint64_t> submit(const Request &request, std::uint64_t user = 0,
                                 SubmitFlag flags = SubmitFlag::none) const
    {
        return detail::value<std::uint64_t>([&](std::uint64_t *job) {
            return detailflow_worker_submit(get(), request.get(), user, static_cast<std::uint32_t>(flags), job);
        });
    }
    /// Submits a request, with options.
    Result<std::uint64_t> submit(const Request &request, const SubmitOptions &options) const
    {
        return detail::value<std::uint64_t>([&](std::uint64_t *job) {
            return detailflow_worker_submit_with(get(), request.get(), options.get(), job);
        });
    }
    /// Submits a generation, started or not; the worker continues it. After a failure it stays the caller's.
    Result<std::uint64_t> submit_generation(Generation &&generation, std::uint64_t user = 0,
                                            SubmitFlag flags = SubmitFlag::none) const
    {
        return detail::value<std::uint64_t>([&](std::uint64_t *job) {
            const detailflow_status status = detailflow_worker_submit_generation(
                get(), generation.get(), user, static_cast<std::uint32_t>(flags), job);
            if (status == DETAILFLOW_STATUS_OK) {
                (void)generation.release();
            }
            return status;
        });
    }

    /// Drives a worker without threads for one frame: does the work that is predicted to fit into the budget, but at least
    /// one unit when there is any. A callback is called inside. Status::busy when another thread is inside, or when it is
    /// called inside the worker's own callback.
    Result<TickReport> tick(std::uint64_t budget_ns) const
    {
        return detail::fill<TickReport>(
            [&](TickReport *report) { return detailflow_worker_tick(get(), budget_ns, report); });
    }
    /// Changes the priority of a job, whether it runs or waits: any number but NaN, the higher the sooner.
    Result<void> set_priority(std::uint64_t job, float priority) const
    {
        return detail::done(detailflow_worker_set_priority(get(), job, priority));
    }
    /// Pauses a job. It keeps its tokens and frees its KV cache.
    Result<void> pause(std::uint64_t job) const { return detail::done(detailflow_worker_pause(get(), job)); }
    /// Lets a paused job go on.
    Result<void> resume(std::uint64_t job) const { return detail::done(detailflow_worker_resume(get(), job)); }
    /// Changes the level at which a job ends or is held; a held job goes on. 0 is the finest level.
    Result<void> continue_to(std::uint64_t job, std::uint32_t level_size) const
    {
        return detail::done(detailflow_worker_continue(get(), job, level_size));
    }

    /// Takes the next event, in the order in which they happened. Empty when there is none, or a callback is set.
    Result<Event> poll() const
    {
        return detail::own<Event>([&](detailflow_event **event) { return detailflow_worker_poll(get(), event); });
    }
    /// As poll, but waits for an event up to `timeout_ns` nanoseconds; UINT64_MAX waits without limit.
    Result<Event> wait(std::uint64_t timeout_ns) const
    {
        return detail::own<Event>(
            [&](detailflow_event **event) { return detailflow_worker_wait(get(), timeout_ns, event); });
    }
    /// Cancels a job; its last event follows. Does nothing when it has ended.
    Result<void> cancel(std::uint64_t job) const { return detail::done(detailflow_worker_cancel(get(), job)); }
    /// Cancels all jobs that were submitted so far.
    Result<void> cancel_all() const { return detail::done(detailflow_worker_cancel_all(get())); }
    /// Gets the number of jobs whose last event was not taken yet; with a callback, for which it has not returned yet.
    Result<std::size_t> get_pending() const
    {
        return detail::value<std::size_t>(
            [&](std::size_t *job_count) { return detailflow_worker_get_pending(get(), job_count); });
    }

    /// Sets the callback that receives events from now on, and owns them. It is called on the worker's threads.
    Result<void> set_callback(detailflow_event_fn callback, void *user) const
    {
        return detail::done(detailflow_worker_set_callback(get(), callback, user));
    }
    /// Sets a callable that takes each Event from now on. It must not throw, and must live until another callback is
    /// set or the worker is closed or freed.
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &, Event>>>
    Result<void> set_callback(F &callback) const
    {
        const auto call = [](void *user, detailflow_event *event) noexcept { (*static_cast<F *>(user))(Event(event)); };
        return set_callback(call, const_cast<std::remove_const_t<F> *>(&callback));
    }
    /// Removes the callback: events wait to be taken. When this returns, it is not running any more.
    Result<void> clear_callback() const
    {
        return detail::done(detailflow_worker_set_callback(get(), nullptr, nullptr));
    }

private:
    static Result<Worker> make_with(const detailflow_worker_options *options)
    {
        return detail::own<Worker>([&](detailflow_worker **worker, detailflow_error *error) {
            return detailflow_worker_new(options, worker, error);
        });
    }
};

// --- Token files ---

/// What is wrong with a token file: detailflow_damage.
enum class Damage : std::uint32_t {
    /// Nothing: it is as it was written.
    none = DETAILFLOW_DAMAGE_NONE,
    /// It ends before its last group does.
    cut = DETAILFLOW_DAMAGE_CUT,
    /// A group is not as it was written.
    group = DETAILFLOW_DAMAGE_GROUP,
    /// All tokens are intact, and foreign bytes follow.
    surplus = DETAILFLOW_DAMAGE_SURPLUS,
};

/// What a token file says, and how many of its tokens are intact: detailflow_dft_info.
using DftInfo = detailflow_dft_info;

/// What is wrong with a token file.
inline Damage damage(const DftInfo &info) noexcept { return static_cast<Damage>(info.damage); }

/// Kinds of files that hold tokens: detailflow_tokens_kind.
enum class TokensKind : std::uint32_t {
    /// None of these.
    none = DETAILFLOW_TOKENS_KIND_NONE,
    /// A token file (.dft): one sequence.
    dft = DETAILFLOW_TOKENS_KIND_DFT,
    /// A pack of token files (.dftpack).
    pack = DETAILFLOW_TOKENS_KIND_PACK,
    /// A JSON file of sequences, as the dflow command writes.
    json = DETAILFLOW_TOKENS_KIND_JSON,
};

/// Gets the kind of a file that holds tokens, from its first 8 bytes.
inline Result<TokensKind> tokens_get_kind(Span<const std::uint8_t> data)
{
    std::uint32_t kind = 0;
    const Result<void> result = detail::done(
        [&](detailflow_error *error) { return detailflow_tokens_get_kind(data.data(), data.size(), &kind, error); });
    return result ? Result<TokensKind>(static_cast<TokensKind>(kind)) : Result<TokensKind>(result.error());
}

/// Encodes a prefix as a token file (.dft) in `data`, with the class and seed that it was generated from. Returns the
/// number of bytes.
inline Result<std::size_t> dft_encode(const Model &model, Span<const std::uint32_t> tokens,
                                      std::optional<std::uint32_t> class_index, std::optional<std::uint64_t> seed,
                                      Span<std::uint8_t> data)
{
    return detail::value<std::size_t>([&](std::size_t *size) {
        return detailflow_dft_encode(model.get(), tokens.data(), tokens.size(),
                                     class_index.value_or(DETAILFLOW_NO_CLASS), seed ? &*seed : nullptr,
                                     detail::array(data), data.size(), size);
    });
}

/// Encodes a prefix as a token file in memory.
inline Result<std::vector<std::uint8_t>> dft_encode(const Model &model, Span<const std::uint32_t> tokens,
                                                    std::optional<std::uint32_t> class_index = {},
                                                    std::optional<std::uint64_t> seed = {})
{
    return detail::all<std::uint8_t>(
        [&](Span<std::uint8_t> data) { return dft_encode(model, tokens, class_index, seed, data); });
}

/// Gets what a token file says. A cut or damaged file is not an error: the info gives the number of intact tokens.
inline Result<DftInfo> dft_get_info(Span<const std::uint8_t> data)
{
    return detail::fill<DftInfo>([&](DftInfo *info, detailflow_error *error) {
        return detailflow_dft_get_info(data.data(), data.size(), info, error);
    });
}

/// Gets the intact tokens of a token file, coarse to fine. Returns their number.
inline Result<std::size_t> dft_get_tokens(Span<const std::uint8_t> data, Span<std::uint32_t> tokens)
{
    return detail::value<std::size_t>([&](std::size_t *count, detailflow_error *error) {
        return detailflow_dft_get_tokens(data.data(), data.size(), detail::array(tokens), tokens.size(), count, error);
    });
}

/// Gets the intact tokens of a token file, coarse to fine.
inline Result<std::vector<std::uint32_t>> dft_get_tokens(Span<const std::uint8_t> data)
{
    return detail::all<std::uint32_t>([&](Span<std::uint32_t> tokens) { return dft_get_tokens(data, tokens); });
}

/// Checks whether the tokens of a token file belong to a model.
inline Result<void> dft_check(const Model &model, Span<const std::uint8_t> data)
{
    return detail::done(detailflow_dft_check(model.get(), data.data(), data.size()));
}

/// Generates the tokens that a token file lost, and writes the whole file into `target`. Returns the number of bytes.
///
/// @param token_count Tokens of the result, a prefix; 0 is as many as it was written with.
/// @param target May be `data`. When it is empty, nothing is generated.
inline Result<std::size_t> dft_repair(const Request &request, Span<const std::uint8_t> data, std::size_t token_count,
                                      Span<std::uint8_t> target)
{
    return detail::value<std::size_t>([&](std::size_t *size) {
        return detailflow_dft_repair(request.get(), data.data(), data.size(), token_count, detail::array(target),
                                     target.size(), size);
    });
}

/// Generates the tokens that a token file lost. Returns the whole file.
inline Result<std::vector<std::uint8_t>> dft_repair(const Request &request, Span<const std::uint8_t> data,
                                                    std::size_t token_count = 0)
{
    return detail::all<std::uint8_t>(
        [&](Span<std::uint8_t> target) { return dft_repair(request, data, token_count, target); });
}

/// An open pack of token files (.dftpack). Any number of threads may read it at once.
class Pack : public detail::Owner<detailflow_pack> {
public:
    using Owner::Owner;

    /// Opens a pack. Reads 40 bytes, whatever the number of entries.
    static Result<Pack> open(std::string_view path)
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::own<Pack>([&](detailflow_pack **pack, detailflow_error *error) {
                return detailflow_pack_open(text, pack, error);
            });
        });
    }

    /// Opens a pack in memory, which must stay valid, unchanged, as long as the pack.
    static Result<Pack> open_memory(Span<const std::uint8_t> data)
    {
        return detail::own<Pack>([&](detailflow_pack **pack, detailflow_error *error) {
            return detailflow_pack_open_memory(data.data(), data.size(), pack, error);
        });
    }
    /// Opens a pack that callbacks read, as long as the pack lives, on the threads that use it.
    static Result<Pack> open_reader(const Reader &reader)
    {
        return detail::own<Pack>([&](detailflow_pack **pack, detailflow_error *error) {
            return detailflow_pack_open_reader(&reader, pack, error);
        });
    }

    /// The message of the last failed call with this pack, on any thread; "" when none failed.
    std::string get_message() const { return message_of(detailflow_pack_get_message); }

    /// Gets the number of entries.
    Result<std::uint32_t> get_count() const
    {
        return detail::value<std::uint32_t>(
            [&](std::uint32_t *count) { return detailflow_pack_get_count(get(), count); });
    }
    /// Finds an entry by its name. Returns the index.
    Result<std::uint32_t> find_entry(std::string_view name) const
    {
        return detail::with_text(name, [&](const char *text) {
            return detail::value<std::uint32_t>(
                [&](std::uint32_t *entry_index) { return detailflow_pack_find_entry(get(), text, entry_index); });
        });
    }
    /// Gets the name of an entry; "" when it has none.
    Result<std::string> get_entry_name(std::uint32_t entry_index) const
    {
        return detail::text([&](char *buffer, std::size_t capacity, std::size_t *length) {
            return detailflow_pack_get_entry_name(get(), entry_index, buffer, capacity, length);
        });
    }
    /// Gets an entry, a token file (.dft). Returns the number of bytes.
    Result<std::size_t> get_entry(std::uint32_t entry_index, Span<std::uint8_t> data) const
    {
        return detail::value<std::size_t>([&](std::size_t *size) {
            return detailflow_pack_get_entry(get(), entry_index, detail::array(data), data.size(), size);
        });
    }
    /// Gets an entry, a token file (.dft).
    Result<std::vector<std::uint8_t>> get_entry(std::uint32_t entry_index) const
    {
        return detail::all<std::uint8_t>([&](Span<std::uint8_t> data) { return get_entry(entry_index, data); });
    }
    /// As dft_get_info, of an entry.
    Result<DftInfo> get_entry_info(std::uint32_t entry_index) const
    {
        return detail::fill<DftInfo>(
            [&](DftInfo *info) { return detailflow_pack_get_entry_info(get(), entry_index, info); });
    }
    /// As dft_get_tokens, of an entry. Returns the number of tokens.
    Result<std::size_t> get_entry_tokens(std::uint32_t entry_index, Span<std::uint32_t> tokens) const
    {
        return detail::value<std::size_t>([&](std::size_t *count) {
            return detailflow_pack_get_entry_tokens(get(), entry_index, detail::array(tokens), tokens.size(), count);
        });
    }
    /// As dft_get_tokens, of an entry.
    Result<std::vector<std::uint32_t>> get_entry_tokens(std::uint32_t entry_index) const
    {
        return detail::all<std::uint32_t>(
            [&](Span<std::uint32_t> tokens) { return get_entry_tokens(entry_index, tokens); });
    }
};

/// What pack_salvage saved.
struct Salvaged {
    /// Entries of the new pack.
    std::uint32_t entry_count;
    /// How many of them lost tokens.
    std::uint32_t shortened_count;
};

/// Writes what is left of a cut or damaged pack as a new pack, `target`.
inline Result<Salvaged> pack_salvage(std::string_view path, std::string_view target)
{
    return detail::with_text(path, [&](const char *path_text) {
        return detail::with_text(target, [&](const char *target_text) {
            return detail::value<Salvaged>([&](Salvaged *salvaged, detailflow_error *error) {
                return detailflow_pack_salvage(path_text, target_text, &salvaged->entry_count,
                                               &salvaged->shortened_count, error);
            });
        });
    });
}

/// As above, of a pack in memory.
inline Result<Salvaged> pack_salvage_memory(Span<const std::uint8_t> data, std::string_view target)
{
    return detail::with_text(target, [&](const char *text) {
        return detail::value<Salvaged>([&](Salvaged *salvaged, detailflow_error *error) {
            return detailflow_pack_salvage_memory(data.data(), data.size(), text, &salvaged->entry_count,
                                                  &salvaged->shortened_count, error);
        });
    });
}

/// As above, of a pack that callbacks read.
inline Result<Salvaged> pack_salvage_reader(const Reader &reader, std::string_view target)
{
    return detail::with_text(target, [&](const char *text) {
        return detail::value<Salvaged>([&](Salvaged *salvaged, detailflow_error *error) {
            return detailflow_pack_salvage_reader(&reader, text, &salvaged->entry_count, &salvaged->shortened_count,
                                                  error);
        });
    });
}

/// A pack being written. One that was not finished leaves nothing behind.
class PackWriter : public detail::Owner<detailflow_pack_writer> {
public:
    using Owner::Owner;

    /// Starts writing a pack. The file appears, complete, in finish.
    static Result<PackWriter> make(std::string_view path)
    {
        return detail::with_text(path, [&](const char *text) {
            return detail::own<PackWriter>([&](detailflow_pack_writer **writer, detailflow_error *error) {
                return detailflow_pack_writer_new(text, writer, error);
            });
        });
    }

    /// The message of the last failed call with this writer, on any thread; "" when none failed.
    std::string get_message() const { return message_of(detailflow_pack_writer_get_message); }

    /// Appends an intact token file. Returns its index.
    ///
    /// @param name 1 to 255 bytes, not used by another entry; {} for no name.
    Result<std::uint32_t> add(std::string_view name, Span<const std::uint8_t> data)
    {
        return detail::with_text(name, [&](const char *text) {
            return detail::value<std::uint32_t>([&](std::uint32_t *entry_index) {
                return detailflow_pack_writer_add(get(), text, data.data(), data.size(), entry_index);
            });
        });
    }
    /// Writes the index and puts the file in its place. After that the writer can only be freed.
    Result<void> finish() { return detail::done(detailflow_pack_writer_finish(get())); }
};

// Arrays of these are arrays of the C structs.
static_assert(sizeof(Image) == sizeof(detailflow_image) && sizeof(ConstImage) == sizeof(detailflow_image));
static_assert(sizeof(Sprite) == sizeof(detailflow_sprite));

} // namespace detailflow

#endif // C++17

#endif // DETAILFLOW_HPP
