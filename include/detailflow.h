/**
 * @file detailflow.h
 *
 * libdetailflow: DetailFlow image generation behind a stable C API.
 *
 * DetailFlow generates an image as a sequence of tokens, coarse to fine. The first few tokens already decode to a small
 * image; further tokens add resolution and detail. Words used below:
 *
 * - image: one result of a request, or pixels in memory. A picture file is a PNG, JPEG, WebP, ... file.
 * - bundle: one model: manifest, graphs, weights, in a folder or in a single file (.dflow). A model is an open bundle.
 * - variant: one precision and one form of a bundle.
 * - form: attention backend and KV-cache layout.
 * - token: an entry of the codebook, chosen at one position. A full image has N tokens. `code` in manifests and statistics
 *   means the entry.
 * - causal part: the first c tokens, sampled one by one.
 * - group: g tokens that one step samples together, after the causal part.
 * - step: one run of the autoregressive graph. A full image takes c + (N - c) / g steps; the shipped model, with N = 32,
 *   c = 4 and g = 4, takes 4 + 28/4 = 11.
 * - prefix: the first t tokens, t in 1..c or a multiple of g up to N; decodes to a complete image of ladder(t) pixels per
 *   side.
 * - ladder: the table from prefix length to decoded size.
 * - level: one of the ladder's sizes, with the largest number of tokens that decodes to it (at least c). level_size is its
 *   pixels per side. The finest level is the full image.
 *
 * In short: open a model, make a request, generate, save the image.
 *
 *     detailflow_model *model = NULL;
 *     detailflow_request *request = NULL;
 *     detailflow_generation *generation = NULL;
 *     detailflow_model_open(NULL, NULL, &model, NULL);
 *     detailflow_request_new(model, &request);
 *     detailflow_generate(request, &generation);
 *     detailflow_generation_save(generation, 0, "sprite.png");
 *     detailflow_generation_free(generation);
 *     detailflow_request_free(request);
 *     detailflow_model_free(model);
 *
 * The rules below hold for every function, unless its comment says otherwise.
 *
 * # Names
 *
 * - Functions are detailflow_OBJECT_VERB. `_get_x` reads state into outputs, `_set_x` changes it, `_new` and `_open` make
 *   a handle, `_free` frees it. Everything that computes has its verb: decode, encode, predict, find, check.
 * - Functions without a handle that return a value are named after it: detailflow_version, detailflow_last_message.
 * - level_size, prefix_size and image_size are pixels per side. `_index` counts from 0. `_count` is a number of things,
 *   `_bytes` of bytes, `_ns` of nanoseconds.
 *
 * # Numbers
 *
 * - Families of constants are enums in this header; parameters and fields are uint32_t, statuses int32_t.
 * - In each family 0 means none or the default, where there is one, and the others count from 1.
 * - On/off parameters are uint32_t, 0 or 1. Flags are combined with `|`. Other values are INVALID_ARGUMENT.
 *
 * # Errors
 *
 * - Functions that can fail return a detailflow_status: 0 (DETAILFLOW_STATUS_OK) or a positive code. The code is for the
 *   program, the message for a person. Comments name statuses without DETAILFLOW_STATUS_; INVALID_ARGUMENT, OUT_OF_MEMORY
 *   and INTERNAL are possible everywhere.
 * - The message of a failed call can be read in these places:
 *   - thread: detailflow_last_message gives that of the last failed call of the calling thread, whatever the function.
 *   - handle: when the first parameter is a handle that must not be NULL and has a `_get_message` function, that function
 *     gives the message of the last failed call with the handle, from any thread.
 *   - detailflow_error: every other function that returns a status takes one, which may be NULL, as its last parameter,
 *     and fills it.
 * - A failed call leaves its outputs (except the detailflow_error) as they were. advance and finish keep the steps done
 *   before the failure; other exceptions are stated at their functions.
 * - No call exits or throws, and none prints, with two exceptions: an internal fault (INTERNAL) prints its place to
 *   stderr; if a small allocation of fixed size fails, the process aborts.
 * - Memory whose size depends on a request or a file is allocated fallibly: OUT_OF_MEMORY, and the next call works.
 *
 * # Pointers
 *
 * - NULL where a pointer is needed is INVALID_ARGUMENT. Parameters that may be NULL say so.
 * - Pointers need no alignment. Arrays and strings that are inputs are copied, or used during the call only,
 *   with the exceptions under "Ownership".
 * - Strings are zero-terminated UTF-8. Paths are UTF-8 on Windows, and any bytes elsewhere.
 * - Handles: the library knows which handles are alive, and of which kind. A freed handle, a handle of another kind or a
 *   stray pointer is INVALID_ARGUMENT, and in `_free` does nothing but write to the log. An address that was freed and
 *   is used by a newer handle of the same kind cannot be told from it.
 *
 * # Arrays
 *
 * - An array that is an output has three parameters: the array, its capacity, and a pointer that receives the number.
 * - NULL with capacity 0 gets the number only. A capacity that is too small is INVALID_ARGUMENT.
 *
 * # Text
 *
 * - Text that is an output has the parameters buffer, capacity and length. What does not fit is cut on a character
 *   boundary; the buffer is zero-terminated.
 * - length, which may be NULL, receives the length of the whole text, without the zero. A NULL buffer with capacity 0
 *   gets the length only.
 *
 * # Ownership
 *
 * - A handle made by a `_new` or `_open` function, or received as `detailflow_x **`, is freed with its `_free` function.
 *   `_free(NULL)` does nothing.
 * - Handles keep alive what they were made from: they may be freed in any order.
 * - Pixels and tokens are written into the caller's memory; nothing else needs to be freed.
 * - Two functions use the caller's memory after the call: detailflow_model_open_memory, until it calls `release`, and
 *   detailflow_pack_open_memory, until the pack is freed.
 *
 * # Threads
 *
 * - A function that takes a handle as const may be called by any number of threads at once.
 * - While a non-const call runs on a handle, every other call on it returns BUSY; a non-const call also returns BUSY while
 *   a const call runs. Exceptions: `_get_message` and const functions of a generation always work, and block no call.
 * - Const functions of a generation read the state after the last finished step. Decoding waits at most for other decodes.
 * - Handles may move between threads.
 * - Generations of one model run side by side and take turns step by step.
 * - A detailflow_cancel may be triggered by any thread at any time.
 * - A model has threads of its own, or those of the host: detailflow_model_options_set_parallel_for.
 * - Freeing a handle while another thread is inside a call with it is an error of the caller. One exception: freeing a
 *   generation that another thread steps cancels the step and waits for it.
 *
 * # Workers
 *
 * - A detailflow_worker generates submitted requests on its own threads, and reports each job by events, in the order in
 *   which things happened. The last event of a job is DONE, CANCELLED or FAILED, and comes exactly once.
 * - A worker with 0 threads works inside detailflow_worker_tick, on the thread that calls it, within a budget of time. No
 *   job of it runs between two ticks.
 * - Jobs wait in one order, which detailflow_worker_options_set_order chooses: by the number of levels that they have
 *   reached, by priority, by submission. Priorities, pauses and targets may be changed at any time, by any thread; they
 *   count from the next step on, and have no effect on a job that has ended. A number that no job has is INVALID_ARGUMENT.
 * - Paused and held jobs keep their tokens and free their KV cache. They count as pending.
 * - Freeing a worker cancels its jobs and waits until they have stopped. detailflow_worker_close does so with a timeout.
 * - Freeing a model does the same with all jobs of that model that were submitted before, in any worker. The worker
 *   itself is not affected. What is submitted later, from requests and generations that are still alive, runs.
 * - Any function may be called inside a callback of a worker; calls that would wait for that worker return immediately.
 *   While the worker is being freed its own handle is already invalid there.
 * - When the process ends, a running callback is waited for, and none is called after it.
 *
 * # Structs
 *
 * - Plain structs begin with struct_size: set it to sizeof the struct, for inputs and outputs.
 * - A size smaller than that of the first version is INVALID_ARGUMENT. A larger one (newer header) is accepted when the
 *   extra bytes of inputs are zero. Outputs are filled as far as both sides know the struct.
 * - Arrays of structs: struct_size of element 0 is the array stride. Input arrays: set it in every element, to the same
 *   size. Output arrays: set it in element 0.
 * - Arrays whose elements are read and written (detailflow_model_lay_out_atlas, detailflow_model_decode_mips) count as
 *   input arrays.
 * - Fields named reserved must be 0 in inputs; in outputs they are 0.
 *
 * # Process
 *
 * - ONNX Runtime is loaded once, by the first call that needs it, and never unloaded. At that moment the environment
 *   variable ORT_DISABLE_TELEMETRY is set to 1: call detailflow_runtime_init early if other threads read the environment.
 *   ONNX Runtime for Windows does not look at it; there telemetry is turned off by a call right after loading.
 * - From then on, and from the first worker on, this library stays in memory when the host unloads it (dlclose,
 *   FreeLibrary).
 * - Listing devices, or opening a model on a device other than the CPU, loads the execution provider libraries beside
 *   ONNX Runtime, or the plugin that was named, and what those need.
 * - The library opens no socket. It reads these files:
 *   - those that were named, and the files of a bundle that was named;
 *   - the library of ONNX Runtime and the libraries that it needs; the system's linker finds them in /etc/ld.so.cache;
 *   - when a time is predicted that was not measured yet, the calibration of the model in the user's cache directory;
 *   - on Linux, about CPU, memory and their limits: /proc/cpuinfo, /proc/meminfo, /proc/self/cgroup, /proc/self/maps,
 *     /proc/self/mountinfo, /proc/self/statm, and files below /sys/devices/system/cpu and /sys/fs/cgroup;
 *   - on Linux, when ONNX Runtime is loaded: /etc/localtime, and files below /sys/bus/pci/devices, /sys/class/accel and
 *     /sys/class/drm.
 * - It writes the files that were named, each under a temporary name (.detailflow-*) in the same folder first, and, in
 *   detailflow_model_calibrate, the calibration. It lists that folder, and removes temporary files of killed processes
 *   that are a day old.
 * - Weights are mapped from their file while a model is open: that of a folder, or the single file. To replace a bundle or a
 *   file of it, write the new one beside it and rename it: open models keep the old one. What a model does whose weights
 *   were overwritten in place is undefined, and when the file was made shorter the process may die of SIGBUS.
 *   detailflow_model_options_set_weights_in_memory reads the files instead.
 * - Paths are made absolute when an object is opened: the working directory may change afterwards.
 * - Threads of a model take no signals that are sent to the process, except SIGPROF, and inherit the CPU mask of the thread
 *   that opens the model. With few threads left (RLIMIT_NPROC, pids.max), little address space, or without /proc,
 *   detailflow_model_open returns OUT_OF_MEMORY or opens a model with fewer threads.
 * - exit() is safe at any time: running steps are stopped and waited for; later calls return WRONG_STATE.
 *   - On Windows this is so for exit() of ucrtbase.dll (Visual C++ with /MD) and msvcrt.dll, and of a program that this library
 *     is linked into statically. A program with a C runtime of its own (/MT) that loads the DLL, and ExitProcess(), end
 *     all other threads first, in the middle of what they do: end workers and generations before.
 *   - In the handlers of Windows that run after that (DllMain, static objects of DLLs) functions return WRONG_STATE, and
 *     `_free` does nothing.
 * - fork(): until ONNX Runtime is loaded and the first worker is started, a child may use the library. Later it works in
 *   the parent only. In the child every function that returns a status returns WRONG_STATE; `_free` does nothing, at once;
 *   detailflow_version, detailflow_version_number, detailflow_abi_version, detailflow_status_name and
 *   detailflow_last_message work; exec(), exit() and _exit() do what they do without the library.
 * - Float environment: a call may be made in any (rounding mode, flushing of subnormal numbers, trapped exceptions,
 *   raised flags). The library computes in the default one, so that results do not depend on it, and leaves the
 *   caller's as it was. Callbacks run in that of the calling thread; those of a worker in that of the thread that created
 *   the worker; log messages from threads of ONNX Runtime in the default one. x86-64 and AArch64; elsewhere it must be the
 *   default one.
 * - Stack: a thread needs 128 KiB for any call; callbacks come on top.
 * - Signal stacks: on x86-64 Linux with AMX, the system is asked for tiles when a GEMM of int8 weights with 17 rows or more
 *   is about to run for the first time, in form "native": when an image is decoded, or several are generated. From then on
 *   it allows no sigaltstack() of less than getauxval(AT_MINSIGSTKSZ), about 12 KB, in the whole process. While some thread
 *   has a smaller one it refuses the tiles for good; then AVX-512 is used, with the same results.
 * - pthread_cancel: a thread that is inside a call is cancelled after it. The type must be deferred (the default). The
 *   threads of workers cannot be cancelled.
 *
 * # Stability
 *
 * - Functions, numbers, names and struct layouts never change; new ones are appended. DETAILFLOW_ABI_VERSION then
 *   increases.
 * - A program runs with every library whose detailflow_abi_version() is at least its DETAILFLOW_ABI_VERSION.
 *
 * Generated by cbindgen from src/ffi; do not edit. SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef DETAILFLOW_H
#define DETAILFLOW_H

#include <stddef.h>
#include <stdint.h>

/**
 * @def DETAILFLOW_API
 * Marks each function of the library. Define DETAILFLOW_SHARED on Windows when linking to the DLL.
 *
 * @def DETAILFLOW_CALL
 * The calling convention of functions and callbacks.
 */
#if defined(_WIN32)
#if defined(DETAILFLOW_BUILD)
#define DETAILFLOW_API __declspec(dllexport)
#elif defined(DETAILFLOW_SHARED)
#define DETAILFLOW_API __declspec(dllimport)
#else
#define DETAILFLOW_API
#endif
#define DETAILFLOW_CALL __cdecl
#else
#if defined(__GNUC__)
#define DETAILFLOW_API __attribute__((visibility("default")))
#else
#define DETAILFLOW_API
#endif
#define DETAILFLOW_CALL
#endif


/// Increases when a function, constant or struct is added to the C API. Existing ones never change.
#define DETAILFLOW_ABI_VERSION 1

/// The version of this header: major.
#define DETAILFLOW_VERSION_MAJOR 0

/// The version of this header: minor.
#define DETAILFLOW_VERSION_MINOR 1

/// The version of this header: patch.
#define DETAILFLOW_VERSION_PATCH 0

/// The version of this header as one number: major * 10000 + minor * 100 + patch.
#define DETAILFLOW_VERSION_NUMBER 100

/// The class of an image that has none, because it was encoded; in a list of classes the unconditional one.
#define DETAILFLOW_NO_CLASS UINT32_MAX

/// Status codes: 0 is success, every other one a failure.
typedef enum detailflow_status_code {
    /// Success.
    DETAILFLOW_STATUS_OK = 0,
    /// An argument is NULL, out of range, not a live handle of its kind, or does not fit the model.
    DETAILFLOW_STATUS_INVALID_ARGUMENT = 1,
    /// A named file, folder or entry does not exist, or no bundle was named and none was found.
    DETAILFLOW_STATUS_NOT_FOUND = 2,
    /// The bundle is damaged, inconsistent, or of an unknown format.
    DETAILFLOW_STATUS_BAD_BUNDLE = 3,
    /// ONNX Runtime is missing, unusable or too old, or another copy was loaded before.
    DETAILFLOW_STATUS_NO_RUNTIME = 4,
    /// The device cannot be used.
    DETAILFLOW_STATUS_NO_DEVICE = 5,
    /// Memory could not be allocated. A smaller request may work.
    DETAILFLOW_STATUS_OUT_OF_MEMORY = 6,
    /// The system refused to read or write a file.
    DETAILFLOW_STATUS_IO = 7,
    /// A picture file, token file or pack is damaged or of another format.
    DETAILFLOW_STATUS_BAD_FORMAT = 8,
    /// The work was cancelled.
    DETAILFLOW_STATUS_CANCELLED = 9,
    /// The call does not fit the state of the handle or of the process.
    DETAILFLOW_STATUS_WRONG_STATE = 10,
    /// Another thread is inside a call with this handle, or work did not stop in time.
    DETAILFLOW_STATUS_BUSY = 11,
    /// ONNX Runtime failed while it ran a graph.
    DETAILFLOW_STATUS_FAILED = 12,
    /// A fault of the library itself. Please report it.
    DETAILFLOW_STATUS_INTERNAL = 13,
} detailflow_status_code;

/// Severities of log messages.
typedef enum detailflow_severity {
    /// Something failed.
    DETAILFLOW_SEVERITY_ERROR = 1,
    /// Something works, but not as asked for or not as fast as it could.
    DETAILFLOW_SEVERITY_WARNING = 2,
    /// What the library is doing.
    DETAILFLOW_SEVERITY_INFO = 3,
    /// What ONNX Runtime reports about its own work.
    DETAILFLOW_SEVERITY_DEBUG = 4,
} detailflow_severity;

/// When threads that wait for work keep a CPU core busy looking for it.
typedef enum detailflow_spinning {
    /// The default: DETAILFLOW_SPINNING_RUNS.
    DETAILFLOW_SPINNING_DEFAULT = 0,
    /// Never. Steps take longer, and other programs get the CPU.
    DETAILFLOW_SPINNING_NEVER = 1,
    /// While a graph runs, and not after it.
    DETAILFLOW_SPINNING_RUNS = 2,
} detailflow_spinning;

/// Kinds of devices.
typedef enum detailflow_device_kind {
    /// A CPU.
    DETAILFLOW_DEVICE_KIND_CPU = 1,
    /// A graphics card.
    DETAILFLOW_DEVICE_KIND_GPU = 2,
    /// A neural processing unit.
    DETAILFLOW_DEVICE_KIND_NPU = 3,
} detailflow_device_kind;

/// Pixel formats. Every function that takes an image takes all of them, except detailflow_image_finish and
/// detailflow_palette_make, which take RGBA8 and BGRA8.
///
/// Colour is sRGB-encoded, except in formats named LINEAR. Alpha is straight (not premultiplied), except in formats named
/// PREMULTIPLIED; it is 1 (255) for RGB models. Floats are in the byte order of the machine. In inputs they must be finite
/// and are clamped to 0 to 1, and premultiplied colour that exceeds alpha counts as alpha.
///
/// A byte is round(255 v) of a value v of 0 to 1; for RGB models it follows the rule of the authors of DetailFlow,
/// trunc(clamp(127.5 x + 128, 0, 255)) of the decoder's x.
typedef enum detailflow_format {
    /// Three bytes R, G, B. The image of an RGBA model is composed over black.
    DETAILFLOW_FORMAT_RGB8 = 1,
    /// Four bytes R, G, B, A.
    DETAILFLOW_FORMAT_RGBA8 = 2,
    /// Four floats R, G, B, A, 0 to 1; 16 bytes.
    DETAILFLOW_FORMAT_RGBA32F = 3,
    /// Four bytes B, G, R, A: the values of RGBA8 in another order.
    DETAILFLOW_FORMAT_BGRA8 = 4,
    /// Four bytes R, G, B, A. Colour is the sRGB-encoded value times alpha, as in Cairo, Skia and Direct2D; no byte of it
    /// is larger than that of alpha.
    DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED = 5,
    /// Four bytes B, G, R, A: the values of RGBA8_PREMULTIPLIED in another order.
    DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED = 6,
    /// Four half floats (IEEE 754 binary16) R, G, B, A, 0 to 1; 8 bytes. Colour is linear light: the straight value v is
    /// v / 12.92 up to 0.04045 and ((v + 0.055) / 1.055)^2.4 above (sRGB, IEC 61966-2-1), computed within 0.05 units in the
    /// last place of a half and rounded to the nearest half, ties to even. The values are the same on every machine.
    DETAILFLOW_FORMAT_RGBA16F_LINEAR = 7,
    /// As RGBA16F_LINEAR, with linear light times alpha as colour, multiplied before it is rounded.
    DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED = 8,
} detailflow_format;

/// Formats of picture files.
typedef enum detailflow_file_format {
    /// PNG, lossless, with alpha.
    DETAILFLOW_FILE_FORMAT_PNG = 1,
    /// JPEG, lossy, without alpha.
    DETAILFLOW_FILE_FORMAT_JPEG = 2,
    /// WebP, lossless, with alpha.
    DETAILFLOW_FILE_FORMAT_WEBP = 3,
    /// BMP, uncompressed.
    DETAILFLOW_FILE_FORMAT_BMP = 4,
    /// TGA, with alpha.
    DETAILFLOW_FILE_FORMAT_TGA = 5,
    /// TIFF, with alpha.
    DETAILFLOW_FILE_FORMAT_TIFF = 6,
    /// QOI, lossless, with alpha.
    DETAILFLOW_FILE_FORMAT_QOI = 7,
} detailflow_file_format;

/// What mips are made from.
typedef enum detailflow_mips_source {
    /// The default: DETAILFLOW_MIPS_SOURCE_LEVELS.
    DETAILFLOW_MIPS_SOURCE_DEFAULT = 0,
    /// Each mip is decoded at the nearest level that is at least as large, and downscaled from there to its size. A level
    /// is decoded once for all mips that come from it.
    DETAILFLOW_MIPS_SOURCE_LEVELS = 1,
    /// All mips are downscaled from the image of all given tokens, which is decoded once.
    DETAILFLOW_MIPS_SOURCE_FINEST = 2,
} detailflow_mips_source;

/// Flags of detailflow_worker_submit, combined with `|`.
typedef enum detailflow_submit_flag {
    /// The worker decodes the images of each event on its own thread. Otherwise detailflow_event_decode_level does, on
    /// the thread that calls it.
    DETAILFLOW_SUBMIT_FLAG_DECODE = 1,
    /// No events for levels, only the last event of the job.
    DETAILFLOW_SUBMIT_FLAG_LAST_ONLY = 2,
    /// The job is held at the level of its request, unless that is the finest: it reports that level (also with LAST_ONLY),
    /// frees its KV cache, and waits for detailflow_worker_continue or detailflow_worker_cancel.
    DETAILFLOW_SUBMIT_FLAG_HOLD = 4,
} detailflow_submit_flag;

/// Which jobs of a worker come first.
typedef enum detailflow_worker_order {
    /// The default: COARSE_FIRST without threads, PRIORITY_FIRST with threads.
    DETAILFLOW_WORKER_ORDER_DEFAULT = 0,
    /// Jobs that have reached fewer levels (coarse levels of all jobs come before fine levels of any), then those of higher
    /// priority, then those submitted before. Between two levels a job keeps its KV cache. When all that wait, with what they
    /// need to go on, would be more than detailflow_worker_options_set_batch_bytes, those that come last wait: in form
    /// `native` with a cache of only the positions that it has, until others have ended. So the first level of all comes
    /// before the second of any; the finer ones come in that order among as many jobs as there is memory for. When even the
    /// waiting caches are too much, the last ones are freed, and the steps over their tokens are repeated.
    DETAILFLOW_WORKER_ORDER_COARSE_FIRST = 1,
    /// Jobs of higher priority, then those submitted before.
    DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST = 2,
} detailflow_worker_order;

/// Kinds of events.
typedef enum detailflow_event_kind {
    /// A level is complete.
    DETAILFLOW_EVENT_KIND_LEVEL = 1,
    /// The job is finished. The last event of its job.
    DETAILFLOW_EVENT_KIND_DONE = 2,
    /// The job was cancelled. The last event of its job; it has what was generated before.
    DETAILFLOW_EVENT_KIND_CANCELLED = 3,
    /// The job failed. The last event of its job; it has what was generated before.
    DETAILFLOW_EVENT_KIND_FAILED = 4,
} detailflow_event_kind;

/// What is wrong with a token file.
typedef enum detailflow_damage {
    /// Nothing: it is as it was written.
    DETAILFLOW_DAMAGE_NONE = 0,
    /// It ends before its last group does.
    DETAILFLOW_DAMAGE_CUT = 1,
    /// A group is not as it was written.
    DETAILFLOW_DAMAGE_GROUP = 2,
    /// All tokens are intact, and foreign bytes follow.
    DETAILFLOW_DAMAGE_SURPLUS = 3,
} detailflow_damage;

/// Kinds of files that hold tokens.
typedef enum detailflow_tokens_kind {
    /// None of these.
    DETAILFLOW_TOKENS_KIND_NONE = 0,
    /// A token file (.dft): one sequence.
    DETAILFLOW_TOKENS_KIND_DFT = 1,
    /// A pack of token files (.dftpack).
    DETAILFLOW_TOKENS_KIND_PACK = 2,
    /// A JSON file of sequences, as the dflow command writes.
    DETAILFLOW_TOKENS_KIND_JSON = 3,
} detailflow_tokens_kind;

/// How the best candidates are chosen. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_best_of_options detailflow_best_of_options;

/// Stops a generation, the opening of a model, or the encoding of a picture. Thread-safe; may be used after the
/// generation was freed.
typedef struct detailflow_cancel detailflow_cancel;

/// The devices of this machine at the time the list was made. Thread-safe.
typedef struct detailflow_device_list detailflow_device_list;

/// Something that happened to a job, with its tokens at that moment. Thread-safe. It belongs to whoever took it, also after
/// the worker was freed.
typedef struct detailflow_event detailflow_event;

/// A request being generated, or finished. Functions that take it as const are thread-safe and read the state after the
/// last finished step. The others are not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_generation detailflow_generation;

/// A model that is open. Thread-safe; it runs one graph at a time.
typedef struct detailflow_model detailflow_model;

/// How a model is opened. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_model_options detailflow_model_options;

/// An open pack of token files (.dftpack). Thread-safe. Its entries are not kept in memory.
typedef struct detailflow_pack detailflow_pack;

/// A pack being written. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_pack_writer detailflow_pack_writer;

/// What to generate: how many images, of which classes, from which seeds, how sampled. Every setter checks its
/// arguments at once. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_request detailflow_request;

/// Where to find ONNX Runtime. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_runtime_options detailflow_runtime_options;

/// How a request is submitted. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_submit_options detailflow_submit_options;

/// Generates in the background, on its own threads. Thread-safe. When several threads wait, each event goes to one of them.
typedef struct detailflow_worker detailflow_worker;

/// How a worker works. Not thread-safe: concurrent calls return BUSY.
typedef struct detailflow_worker_options detailflow_worker_options;

/// The result of a call: one of DETAILFLOW_STATUS_*.
typedef int32_t detailflow_status;

/// Receives a log message. Called from any thread, possibly from several at once. It must not throw, and must not call
/// this library.
///
/// @param user What was given to detailflow_log_set_callback.
/// @param severity One of DETAILFLOW_SEVERITY_*.
/// @param message Valid during the call.
typedef void (DETAILFLOW_CALL *detailflow_log_fn)(void *user, uint32_t severity, const char *message);

/// Receives the result of one call. Functions take it where no handle keeps their message; it may be NULL.
/// Set struct_size before the call.
typedef struct detailflow_error {
    /// sizeof(detailflow_error).
    uint32_t struct_size;
    /// What the call returned; DETAILFLOW_STATUS_OK after success.
    detailflow_status status;
    /// The message, zero-terminated UTF-8, cut on a character boundary when it does not fit; "" after success.
    char message[1016];
} detailflow_error;

/// Runs one task of detailflow_parallel_for_fn. Does not throw; the float environment of the calling thread is the same
/// afterwards.
///
/// @param context What was given with it.
/// @param index Below the number of tasks.
typedef void (DETAILFLOW_CALL *detailflow_task_fn)(void *context, uint32_t index);

/// Runs tasks on threads of the host: calls `task(context, index)` once with each index below `count`, on any threads, the
/// calling one included, in any order and at once, and returns when all these calls have returned.
///
/// - It is called on the thread that steps, decodes, encodes or opens (a worker's too), and on several such threads at once. It
///   must not throw.
/// - A task takes between some microseconds and milliseconds, and waits for nothing.
/// - While it runs, functions that compute return WRONG_STATE on the thread that it was called on. On other threads they may be
///   called, with other models; with this model they may wait until it returns.
/// - An index that was not called is run by the library afterwards. A second call with one, or one with an index that is not
///   below `count`, does nothing. A task that has begun when it returns is waited for; one that begins later does nothing, or
///   takes part in what the library does then.
/// - `task` and `context` may be called on a thread that has no other business with this library.
///
/// @param user What was given to detailflow_model_options_set_parallel_for.
/// @param count Number of tasks: 1 to 1024.
/// @param task Runs one task.
/// @param context Passed to `task`.
typedef void (DETAILFLOW_CALL *detailflow_parallel_for_fn)(void *user, uint32_t count, detailflow_task_fn task, void *context);

/// Receives the progress of detailflow_model_open: on the thread that opens, before each stage and at the end. It must not
/// throw.
///
/// @param user What was given to detailflow_model_options_set_open_progress.
/// @param done Stages done, 0 to `total`. Starts again when a device is refused and the next one is tried.
/// @param total Stages of the device that is being tried; 1 while the files are read, before the others are known.
/// @param stage The stage that starts now: "files", the file name of a graph that is compiled, or "first run"; "" at the
/// end. Valid during the call.
typedef void (DETAILFLOW_CALL *detailflow_open_progress_fn)(void *user, uint32_t done, uint32_t total, const char *stage);

/// A device. The strings live as long as the list.
typedef struct detailflow_device_info {
    /// sizeof(detailflow_device_info).
    uint32_t struct_size;
    /// One of DETAILFLOW_DEVICE_KIND_*.
    uint32_t kind;
    /// PCI vendor ID; 0 when unknown.
    uint32_t vendor_id;
    /// The vendor's ID of this model, not of the individual card; 0 when unknown.
    uint32_t device_id;
    /// Number of pairs that detailflow_device_list_get_metadata gives.
    uint32_t metadata_count;
    /// Reserved; 0.
    uint32_t reserved;
    /// What detailflow_model_options_set_device takes; NULL when no execution provider that is here can use the device.
    const char *device;
    /// Name of the vendor; "" when unknown.
    const char *vendor;
    /// Name of the device; "" when unknown.
    const char *name;
    /// ONNX Runtime's name of the execution provider; "" when there is none.
    const char *provider;
} detailflow_device_info;

/// Pixels in the caller's memory, rows from top to bottom.
typedef struct detailflow_image {
    /// sizeof(detailflow_image).
    uint32_t struct_size;
    /// One of DETAILFLOW_FORMAT_*.
    uint32_t format;
    /// Pixels per row.
    uint32_t width;
    /// Rows.
    uint32_t height;
    /// Bytes from the start of one row to the start of the next; 0 when there is no gap between rows.
    size_t stride;
    /// The first pixel; need not be aligned. An image that is an input is only read: a cast from const is fine.
    void *pixels;
    /// Bytes of memory at `pixels`.
    size_t capacity;
} detailflow_image;

/// Tells that a block of memory is not used any more. It must not throw, and must not call this library.
///
/// @param user What was given with the block.
typedef void (DETAILFLOW_CALL *detailflow_release_fn)(void *user);

/// Reads bytes of a file for detailflow_reader. It must not throw, and must not use the object that reads.
///
/// @param user The reader's `user`.
/// @param offset Of the first byte, less than the reader's `size`.
/// @param buffer Receives the bytes.
/// @param count Bytes to read, at least 1; offset + count is at most the reader's `size`.
/// @return The number of bytes that were read: `count`. Any other number is a failure, and the call that reads is IO.
typedef size_t (DETAILFLOW_CALL *detailflow_read_at_fn)(void *user, uint64_t offset, void *buffer, size_t count);

/// A file that callbacks read: one in an engine's file system, an entry of an archive. What it reads is checked like any
/// file, and a size that is not true is an error.
typedef struct detailflow_reader {
    /// sizeof(detailflow_reader).
    uint32_t struct_size;
    /// Reserved; 0.
    uint32_t reserved;
    /// Bytes of the file.
    uint64_t size;
    /// Reads bytes. Must not be NULL.
    detailflow_read_at_fn read_at;
    /// Passed to read_at.
    void *user;
} detailflow_reader;

/// Properties of a model. The strings live as long as the model handle.
typedef struct detailflow_model_info {
    /// sizeof(detailflow_model_info).
    uint32_t struct_size;
    /// Pixels per side of the full image, which is the finest level.
    uint32_t image_size;
    /// 3 is RGB, 4 is RGBA.
    uint32_t channels;
    /// Tokens of the full image (N).
    uint32_t token_count;
    /// Tokens that one step generates after the causal part (g).
    uint32_t group_size;
    /// Tokens that are generated one by one at the start (c).
    uint32_t causal_count;
    /// Entries of the codebook: each token is 0 to codebook_size - 1.
    uint32_t codebook_size;
    /// Bits of one token in a token file.
    uint32_t bits_per_token;
    /// Number of classes.
    uint32_t class_count;
    /// Number of levels.
    uint32_t level_count;
    /// Default guidance scale, 1 is off. This and the next four are the defaults stored in the bundle.
    float guidance;
    /// Default temperature, 0 is greedy.
    float temperature;
    /// Default top-p, 1 is off.
    float top_p;
    /// Default top-k, 0 is off.
    uint32_t top_k;
    /// 1 when guidance falls linearly over the groups by default.
    uint32_t gradual_guidance;
    /// 1 when the model can generate; 0 when its bundle holds no autoregressive graph. Decoding works in either case.
    uint32_t can_generate;
    /// 1 when the model can encode images; 0 when its bundle holds no encoder, or it was opened without.
    uint32_t can_encode;
    /// Reserved; 0.
    uint32_t reserved;
    /// Name of the model.
    const char *name;
    /// Licence of the weights.
    const char *license;
    /// The tokenizer that tokens belong to: 16 hexadecimal digits. Models of one tokenizer can exchange tokens.
    const char *tokenizer_id;
    /// The precision in use.
    const char *precision;
    /// The attention form in use: see detailflow_model_options_set_form.
    const char *form;
    /// The device in use: never "auto", and "cpu" after a fallback.
    const char *device;
    /// The bundle's folder or single file, as an absolute path; "(memory)" or "(reader)" for one that has none.
    const char *path;
} detailflow_model_info;

/// A level: one of the ladder's sizes, with the largest number of tokens that decodes to it. A generation can stop there.
typedef struct detailflow_level {
    /// sizeof(detailflow_level).
    uint32_t struct_size;
    /// Pixels per side.
    uint32_t level_size;
    /// The largest prefix that decodes to level_size. The first token_count tokens of any image decode to this level.
    uint32_t token_count;
    /// Reserved; 0.
    uint32_t reserved;
} detailflow_level;

/// The tokens of an image and its position in an atlas. In an array, set struct_size in every element.
typedef struct detailflow_sprite {
    /// sizeof(detailflow_sprite).
    uint32_t struct_size;
    /// Left edge in the atlas, in pixels.
    uint32_t x;
    /// Top edge in the atlas, in pixels.
    uint32_t y;
    /// The level to decode, pixels per side; 0 decodes all tokens.
    uint32_t level_size;
    /// Each pixel becomes a square of so many pixels per side, 1 to 64; 0 is 1.
    uint32_t factor;
    /// Reserved; must be 0.
    uint32_t reserved;
    /// A prefix (1 to c tokens, or a multiple of g up to N); with a level, at least its tokens.
    const uint32_t *tokens;
    /// Number of tokens.
    size_t token_count;
} detailflow_sprite;

/// How a picture is finished. All zero but struct_size: nothing is done, except that pixels with alpha 0 become black. The
/// steps, in this order: alpha_cut; despeckle; colors and palette, with or without dither; outline; tile.
///
/// Colours of this struct are 0xRRGGBB. They are compared in OKLab; results are the same on every machine, and finishing a
/// picture again changes nothing.
typedef struct detailflow_finish {
    /// sizeof(detailflow_finish).
    uint32_t struct_size;
    /// Pixels with at least this alpha, 1 to 255, become opaque, with their straight colour, and all others transparent; 0
    /// keeps alpha.
    uint32_t alpha_cut;
    /// The most colours of a picture, 2 to 256, all of them its own; 0 sets no limit. A picture that has no more keeps them
    /// exactly. A colour counts by the sum of its pixels' alpha; that of the outline does not count.
    uint32_t colors;
    /// 1: ordered dithering (4 x 4) where colours are reduced.
    uint32_t dither;
    /// 1: a visible pixel without a visible one among its 8 neighbours becomes transparent, except in a picture of one pixel;
    /// a transparent pixel whose 4 neighbours (above, left, right, below) are visible takes the most frequent value among
    /// them, the first of these where several are. With an outline the holes that it leaves are filled too.
    uint32_t despeckle;
    /// 1: transparent pixels with a visible one above, below, to the left or to the right become opaque pixels of the colour
    /// `outline`; a visible pixel that has this colour already gets none around it.
    uint32_t has_outline;
    /// The colour of the outline; 0 without has_outline.
    uint32_t outline;
    /// 1: an opaque picture repeats without a visible seam, beside and above itself. An axis stays as it is when the mean step
    /// between opposite edges is at most 1.2 times the mean inner one, or when they meet as neighbours inside do, like bricks
    /// at a joint. Else the borders are covered by a copy of the picture that is rolled along the axis, up to a quarter of the
    /// side and 48 pixels deep; a frame or a bevel around the picture goes, too. Pixels are only copied. Pictures with a transparent pixel or a side of less than 8 pixels, and
    /// those for which no such copy is better, stay as they are.
    uint32_t tile;
    /// The only colours that a picture may have besides that of the outline; may be NULL with palette_count 0. With colors
    /// too, a picture has at most so many of them.
    const uint32_t *palette;
    /// Colours at `palette`, up to 256; 0 allows all colours.
    size_t palette_count;
} detailflow_finish;

/// The state of a generation.
typedef struct detailflow_progress {
    /// sizeof(detailflow_progress).
    uint32_t struct_size;
    /// Steps done; for a fork, its own.
    uint32_t steps_done;
    /// Steps left; 0 when it is finished.
    uint32_t steps_left;
    /// Tokens of each image so far.
    uint32_t token_count;
    /// Pixels per side of the image that the tokens so far decode to; 0 while there are none.
    uint32_t prefix_size;
    /// Pixels per side of the finest level that is complete; 0 before the first.
    uint32_t level_size;
    /// Number of images.
    uint32_t image_count;
    /// Tokens of the finest level that is complete; 0 before the first.
    uint32_t level_token_count;
    /// Predicted nanoseconds of the next step; 0 when there is none or nothing was measured yet.
    uint64_t next_step_ns;
    /// Predicted nanoseconds to decode one image at the finest level that is complete; 0 when there is none or nothing
    /// was measured yet.
    uint64_t next_decode_ns;
} detailflow_progress;

/// A candidate at the level where it is scored. All pointers are valid during the call only.
typedef struct detailflow_candidate {
    /// sizeof(detailflow_candidate).
    uint32_t struct_size;
    /// Which image of the request it is.
    uint32_t image_index;
    /// Its class.
    uint32_t class_index;
    /// Pixels per side of the level.
    uint32_t level_size;
    /// Its seed.
    uint64_t seed;
    /// Its tokens so far: those of the level.
    const uint32_t *tokens;
    /// Number of tokens.
    size_t token_count;
    /// What they decode to: level_size x level_size pixels, DETAILFLOW_FORMAT_RGBA8, rows without gaps.
    const uint8_t *pixels;
} detailflow_candidate;

/// Scores a candidate. Called on the thread that calls detailflow_best_of, once for each candidate and round, in order.
/// It must return (no exception, no longjmp); it may use the model, and must not free the request.
///
/// @param user What was given to detailflow_best_of_options_set_scorer_function.
/// @param candidate Valid during the call.
/// @return The larger the better; NaN is an error.
typedef float (DETAILFLOW_CALL *detailflow_score_fn)(void *user, const struct detailflow_candidate *candidate);

/// What a request costs.
typedef struct detailflow_cost {
    /// sizeof(detailflow_cost).
    uint32_t struct_size;
    /// Number of steps.
    uint32_t step_count;
    /// Multiply-add operations of all steps and of decoding the last level; 0 when the bundle does not give the sizes of
    /// its networks.
    uint64_t multiply_adds;
    /// Largest size of the KV cache, in bytes. Where the number of batch rows changes (images that share a prefix
    /// diverge, guidance ends), the old one exists beside it for a moment; with attention form "plain" at every step.
    uint64_t kv_cache_bytes;
    /// Bytes of the images of the last level, one byte per channel and pixel.
    uint64_t output_bytes;
    /// Nanoseconds until the images of the last level are decoded; 0 when nothing was measured on this machine yet.
    uint64_t time_ns;
} detailflow_cost;

/// The steps of one shape.
typedef struct detailflow_step_cost {
    /// sizeof(detailflow_step_cost).
    uint32_t struct_size;
    /// Rows of the batch: one for each image, two with guidance, fewer while images share a prefix; of several classes one for
    /// each of them and for each class to avoid.
    uint32_t batch_rows;
    /// Positions per row: 1 in the causal part, g after it.
    uint32_t query_length;
    /// Number of such steps.
    uint32_t step_count;
    /// Nanoseconds of one of them; 0 when nothing was measured on this machine yet.
    uint64_t time_ns;
} detailflow_step_cost;

/// What a level costs, from the start.
typedef struct detailflow_level_cost {
    /// sizeof(detailflow_level_cost).
    uint32_t struct_size;
    /// Pixels per side.
    uint32_t level_size;
    /// Tokens of the level.
    uint32_t token_count;
    /// Steps from the start.
    uint32_t step_count;
    /// Nanoseconds from the start until its images are decoded; 0 when nothing was measured on this machine yet.
    uint64_t time_ns;
} detailflow_level_cost;

/// Receives the events of a worker, on its threads (without threads: inside detailflow_worker_tick), never on two at once.
/// While it runs, all jobs of its thread stand still. It must return (no exception, no longjmp). It may call every function
/// of the library: freeing its own worker or a model cancels and does not wait, and waiting for an event of its own worker
/// returns at once without one.
///
/// @param user What was given to detailflow_worker_set_callback.
/// @param event Belongs to the callback: free it with detailflow_event_free, then or later, on any thread.
typedef void (DETAILFLOW_CALL *detailflow_event_fn)(void *user, struct detailflow_event *event);

/// What a call of detailflow_worker_tick did, and what is left.
typedef struct detailflow_tick_report {
    /// sizeof(detailflow_tick_report).
    uint32_t struct_size;
    /// Units of work: steps, decodes, and preparations of jobs.
    uint32_t unit_count;
    /// Units that were steps, each of one or more jobs.
    uint32_t step_count;
    /// Units that were runs of the decoder, each for one or more images.
    uint32_t decode_count;
    /// Images that completed a level, counted once for each level.
    uint32_t image_count;
    /// 1 when another call would find work to do; 0 also when too many events wait to be taken
    /// (detailflow_worker_options_set_event_bytes).
    uint32_t more;
    /// The time that the call took.
    uint64_t time_ns;
    /// The longest unit.
    uint64_t longest_unit_ns;
    /// The predicted time of the next unit; 0 when there is none, or its time was not measured yet.
    uint64_t next_unit_ns;
    /// Jobs that have work left and are neither paused nor held.
    uint64_t ready_count;
    /// Jobs that are paused or held.
    uint64_t parked_count;
} detailflow_tick_report;

/// Properties of an event.
typedef struct detailflow_event_info {
    /// sizeof(detailflow_event_info).
    uint32_t struct_size;
    /// One of DETAILFLOW_EVENT_KIND_*. All but DETAILFLOW_EVENT_KIND_LEVEL are the last of their job.
    uint32_t kind;
    /// The job.
    uint64_t job;
    /// What was given to detailflow_worker_submit.
    uint64_t user;
    /// DETAILFLOW_STATUS_OK; DETAILFLOW_STATUS_CANCELLED when the job was cancelled; when it failed, what a generating
    /// call would have returned. The message is detailflow_event_get_job_message.
    detailflow_status status;
    /// Number of images of the job.
    uint32_t image_count;
    /// Tokens of each image. 0 when the job had not started; after a failure possibly those of an earlier event.
    uint32_t token_count;
    /// Pixels per side of the finest level that was complete; 0 before the first.
    uint32_t level_size;
    /// Tokens of that level; 0 before the first.
    uint32_t level_token_count;
    /// Steps done.
    uint32_t steps_done;
    /// Steps that were left; 0 when the job is finished or had not started.
    uint32_t steps_left;
    /// 1 when the images of that level are decoded already.
    uint32_t decoded;
} detailflow_event_info;

/// What a token file (.dft) says, and how many of its tokens are intact.
typedef struct detailflow_dft_info {
    /// sizeof(detailflow_dft_info).
    uint32_t struct_size;
    /// One of DETAILFLOW_DAMAGE_*.
    uint32_t damage;
    /// Tokens that are intact: a prefix, so that they decode. 0 when the first group is damaged.
    uint32_t intact_count;
    /// Tokens that it was written with.
    uint32_t written_count;
    /// Tokens of the full image of its model (N).
    uint32_t token_count;
    /// Tokens of a group (g).
    uint32_t group_size;
    /// Tokens of the causal part (c).
    uint32_t causal_count;
    /// Bits of one token.
    uint32_t bits_per_token;
    /// The class that it was generated for, of several that of the largest weight at the first token; DETAILFLOW_NO_CLASS when
    /// it has none.
    uint32_t class_index;
    /// 1 when it has the seed that it was generated from.
    uint32_t has_seed;
    /// That seed; 0 when it has none.
    uint64_t seed;
    /// The tokenizer that its tokens belong to: 16 hexadecimal digits as in detailflow_model_info, and zeros.
    char tokenizer_id[24];
} detailflow_dft_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// The version of the library, such as "0.1.0".
///
/// @return A static string.
DETAILFLOW_API const char *DETAILFLOW_CALL detailflow_version(void);

/// The DETAILFLOW_VERSION_NUMBER of the library, to compare with that of the header.
DETAILFLOW_API uint32_t DETAILFLOW_CALL detailflow_version_number(void);

/// The DETAILFLOW_ABI_VERSION of the library. A program must not go on when it is less than that of its header.
DETAILFLOW_API uint32_t DETAILFLOW_CALL detailflow_abi_version(void);

/// The name of a status, such as "DETAILFLOW_STATUS_BUSY".
///
/// @param status Any number; "DETAILFLOW_STATUS_UNKNOWN" for one that is no status.
/// @return A static string.
DETAILFLOW_API const char *DETAILFLOW_CALL detailflow_status_name(detailflow_status status);

/// The message of the last call of this thread that failed.
///
/// @return "" when none failed. Valid until the next call of this thread that fails.
DETAILFLOW_API const char *DETAILFLOW_CALL detailflow_last_message(void);

/// Sets the log callback of the process. Without one, messages are dropped: the library prints nothing but the place of an
/// internal fault (INTERNAL), which goes to stderr.
///
/// When this returns, the previous callback is not running any more.
///
/// @param severity The least severe messages to receive, one of DETAILFLOW_SEVERITY_*; ignored when `callback` is NULL.
/// @param callback NULL stops the messages.
/// @param user Passed to the callback.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_log_set_callback(
    uint32_t severity, detailflow_log_fn callback, void *user, detailflow_error *error);

/// Creates default options: ONNX Runtime is the file that the environment variable ORT_DYLIB_PATH names. Without it,
/// these are searched: runtime/ and detailflow/runtime/ beside this library, the library's own folder, runtime/ above it,
/// target/runtime of a checkout; the same places of the executable, and of one in bin/ also detailflow/runtime/ below
/// ../lib/ARCH-linux-gnu, ../lib64 and ../lib; except on Windows, the system's library path.
///
/// @param options Receives the handle. Free it with detailflow_runtime_options_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_runtime_options_new(
    detailflow_runtime_options **options, detailflow_error *error);

/// Sets the ONNX Runtime library to load; no other is tried.
///
/// @param library A path.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_runtime_options_set_library(
    detailflow_runtime_options *options, const char *library);

/// The message of the last failed call with these options: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_runtime_options_get_message(
    const detailflow_runtime_options *options, char *buffer, size_t capacity, size_t *length);

/// Frees options. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_runtime_options_free(detailflow_runtime_options *options);

/// Loads ONNX Runtime now, rather than at the first detailflow_model_open. Once per process.
///
/// @param options NULL takes the defaults.
/// @param error May be NULL.
/// @return NO_RUNTIME when it cannot be loaded (the message lists each place that was tried), or when another file was
/// loaded before. A second call that names the same file does nothing.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_runtime_init(
    const detailflow_runtime_options *options, detailflow_error *error);

/// Uses the ONNX Runtime that the host has loaded or linked itself: nothing is searched and no library is loaded. For
/// consoles, iOS, and engines with a copy of their own.
///
/// Must come before the first call that needs ONNX Runtime. The copy must not be unloaded; its environment is shared with
/// the host. An environment that the host has made before keeps the host's log function; either way the log level becomes
/// WARNING and telemetry is turned off.
///
/// @param ort_api_base What OrtGetApiBase() of ONNX Runtime returned, a const OrtApiBase *.
/// @param error May be NULL.
/// @return NO_RUNTIME when it is older than 1.24 (the message has both versions); WRONG_STATE when another ONNX Runtime is in
/// use. The same pointer once more does nothing.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_runtime_set_api(
    const void *ort_api_base, detailflow_error *error);

/// Creates default options: CPU, one thread per core that the process may use, the default precision and attention form
/// of the device (detailflow_model_options_set_precision, detailflow_model_options_set_form).
///
/// @param options Receives the handle. Free it with detailflow_model_options_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_new(
    detailflow_model_options **options, detailflow_error *error);

/// Sets the device that runs the graphs.
///
/// - "cpu" (the default),
/// - "auto": the first that works, in the order cuda, migraphx, directml, coreml, openvino:GPU (where ONNX Runtime lists an
///   Intel GPU), webgpu (where it lists a GPU), cpu,
/// - "cuda", "tensorrt", "directml", "migraphx", each with a card number if wanted, such as "cuda:1",
/// - "coreml", "webgpu", "openvino", "openvino:CPU", "openvino:GPU", "openvino:NPU",
/// - "plugin:PATH" or "plugin:PATH:DEVICE" (an ONNX Runtime execution provider library).
///
/// @param device One of these words. detailflow_device_list_new lists those of this machine.
/// @return NO_DEVICE when it is none of these words. Whether the device works is found out by detailflow_model_open.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_device(
    detailflow_model_options *options, const char *device);

/// Sets an option of the device's execution provider, such as "precision" to "bf16" for openvino. Replaces an earlier
/// value of the same key. Checked by detailflow_model_open; some providers ignore unknown keys (OpenVINO refuses them).
///
/// @param key The provider's own name of the option.
/// @param value Its value.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_device_option(
    detailflow_model_options *options, const char *key, const char *value);

/// Sets whether the model may run on the CPU when the device cannot be used.
///
/// @param allow 1: it may; the log and detailflow_model_get_report give the reason. 0 (the default): that is NO_DEVICE.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_allow_fallback(
    detailflow_model_options *options, uint32_t allow);

/// Sets when threads that wait for work keep a CPU core busy.
///
/// @param spinning One of DETAILFLOW_SPINNING_*.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_spinning(
    detailflow_model_options *options, uint32_t spinning);

/// Sets the number of threads within an operator. The autoregressive graph of a small model runs on one until a batch is large
/// enough to be divided; then this many threads share its rows.
///
/// Inside the frames of a game 1 (the calling thread) gives the steadiest times: threads that slept since the last frame
/// may wake milliseconds late. For a large model, or without frames, more are faster.
///
/// Each graph of the model (autoregressive, decoder, encoder) has a thread pool of its own.
///
/// Threads are not pinned to cores, inherit the CPU mask of the thread that opens, and take no signals of the host.
///
/// @param threads 0 to 1024, the calling thread included. 0 (the default): one per core that the process may use when the
/// model is opened, within its CPU mask and the quota of its control group. When the system starts fewer, the model has
/// fewer and a warning is logged; when it starts none, detailflow_model_open is OUT_OF_MEMORY.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_threads(
    detailflow_model_options *options, uint32_t threads);

/// Sets a function that runs tasks on threads of the host, such as those of a game engine's task system, in place of threads
/// of this library: the model starts none then.
///
/// It is used by the library's own operators (form native on the CPU), each for its share of a step or decode, and for
/// sampling many images. ONNX Runtime has no such hook: the other operators, and those of all other forms, run on the thread
/// that calls. With another form or device detailflow_model_open logs a warning.
///
/// The number of threads to divide work among is that of detailflow_model_options_set_threads: 0 is one per core. With 1 the
/// function is never called. Tokens and pixels do not depend on it.
///
/// @param parallel_for See detailflow_parallel_for_fn. It and `user` must stay valid until the model and all handles that were
/// made from it are freed. NULL (the default) removes it.
/// @param user Passed to the function.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_parallel_for(
    detailflow_model_options *options, detailflow_parallel_for_fn parallel_for, void *user);

/// Sets the precision of the weights.
///
/// @param precision Such as "fp32", "fp16", "int8", "int4". NULL (the default): on the CPU the first that the
/// bundle lists; on other devices fp16, then fp32, then the others (onnx/BUNDLE.md, Variants). Whether the bundle has it
/// is found out by detailflow_model_open.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_precision(
    detailflow_model_options *options, const char *precision);

/// Sets the form: attention backend and KV-cache layout.
///
/// @param form "native" (operators of this library, CPU), "mha" (MultiHeadAttention of ONNX Runtime), "plain" (standard
/// operators; copies the KV cache at every step) or "fixed" (standard operators on a KV cache of fixed size). NULL (the
/// default): on the CPU the first that the bundle lists and this CPU runs well; on other devices "fixed" where it is
/// chosen automatically (cuda, webgpu), then the first that the bundle lists (onnx/BUNDLE.md, Variants).
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_form(
    detailflow_model_options *options, const char *form);

/// Sets a callback for the progress of detailflow_model_open.
///
/// @param callback Called on the thread that opens. NULL (the default) removes it.
/// @param user Passed to the callback.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_open_progress(
    detailflow_model_options *options, detailflow_open_progress_fn callback, void *user);

/// Sets the handle that cancels detailflow_model_open, from any thread: it then returns CANCELLED.
///
/// @param cancel Made by detailflow_cancel_new; may be freed afterwards. NULL (the default) removes it.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_cancel(
    detailflow_model_options *options, const detailflow_cancel *cancel);

/// The message of the last failed call with these options: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_get_message(
    const detailflow_model_options *options, char *buffer, size_t capacity, size_t *length);

/// Sets whether detailflow_model_open reads the graphs and weights into memory.
///
/// @param in_memory 1: they are read, whatever their length, and checked against the SHA-256 of the manifest; afterwards
/// no file of the bundle is used. 0 (the default): weights are mapped from their file, which must not change while the
/// model is open (see "Process" above). Opening is faster then, and processes share the memory.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_weights_in_memory(
    detailflow_model_options *options, uint32_t in_memory);

/// Sets whether the model is to encode images, if its bundle has the encoder.
///
/// @param encoder 1 (the default): the encoder is compiled when the first image is encoded; detailflow_model_open_reader
/// compiles it at once. 0: it is neither read nor compiled, and encoding is WRONG_STATE.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_options_set_encoder(
    detailflow_model_options *options, uint32_t encoder);

/// Frees options. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_model_options_free(detailflow_model_options *options);

/// Creates a cancel handle for detailflow_model_options_set_cancel, detailflow_model_encode_file_cancellable,
/// detailflow_model_encode_with_effort and detailflow_model_encode_file_with_effort. For a generation, use
/// detailflow_generation_get_cancel.
///
/// @param cancel Receives the handle. Free it with detailflow_cancel_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_cancel_new(
    detailflow_cancel **cancel, detailflow_error *error);

/// Stops the work, from any thread, any number of times. It cannot be undone.
///
/// A generation stops within one step, also inside a running graph: that step and every later one both return CANCELLED;
/// what was generated before stays readable, and the model is not affected. Opening stops between two files or graphs, reading
/// a picture file between two rows, searching for its tokens between two positions.
///
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_cancel_trigger(
    const detailflow_cancel *cancel, detailflow_error *error);

/// Frees the handle; does not cancel. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_cancel_free(detailflow_cancel *cancel);

/// Lists the devices that can be selected, and those that cannot because their execution provider is missing.
///
/// Loads ONNX Runtime if it is not loaded yet, and the OpenVINO provider library where there is one. A listed device may
/// still fail; only opening a model on it tells.
///
/// @param list Receives the handle. Free it with detailflow_device_list_free.
/// @param error May be NULL.
/// @return NO_RUNTIME; NO_DEVICE when ONNX Runtime cannot list devices.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_device_list_new(
    detailflow_device_list **list, detailflow_error *error);

/// Frees a list. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_device_list_free(detailflow_device_list *list);

/// Gets the number of devices.
///
/// @param count Receives the number.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_device_list_get_count(
    const detailflow_device_list *list, size_t *count, detailflow_error *error);

/// Gets a device.
///
/// @param device_index 0 to count - 1.
/// @param info Filled; its struct_size is set. The strings live as long as the list.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_device_list_get_info(
    const detailflow_device_list *list, size_t device_index, detailflow_device_info *info, detailflow_error *error);

/// Gets one key/value pair of device metadata, as reported by the operating system or the execution provider: LUID, UUID,
/// PCI address, driver version.
///
/// @param device_index 0 to count - 1.
/// @param metadata_index 0 to detailflow_device_info.metadata_count - 1.
/// @param key Receives the name. It lives as long as the list.
/// @param value Receives the value. It lives as long as the list.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_device_list_get_metadata(
    const detailflow_device_list *list, size_t device_index, size_t metadata_index, const char **key,
    const char **value, detailflow_error *error);

/// Writes pixels to a picture file. The file appears complete or not at all. It has 8 bits a channel, sRGB, and straight
/// alpha where the format has alpha.
///
/// @param image Any format. Others than RGB8 and RGBA8 are converted to RGBA8 first, in a copy.
/// @param path Its ending chooses the file format: png, jpg, jpeg, webp, bmp, tga, tif, tiff, qoi.
/// @param error May be NULL.
/// @return IO; INVALID_ARGUMENT for another ending, or a float that is NaN or infinite.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_image_save(
    const detailflow_image *image, const char *path, detailflow_error *error);

/// Encodes pixels as a picture file in memory. It has 8 bits a channel, sRGB, and straight alpha where the format has alpha.
///
/// @param image Any format. Others than RGB8 and RGBA8 are converted to RGBA8 first, in a copy.
/// @param file_format One of DETAILFLOW_FILE_FORMAT_*.
/// @param data Receives the file; NULL with `capacity` 0 gets the size only, which takes as long as encoding.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_image_encode(
    const detailflow_image *image, uint32_t file_format, void *data, size_t capacity, size_t *size,
    detailflow_error *error);

/// Scales pixels up by a whole factor, nearest neighbour: for pixel art.
///
/// @param source Any format.
/// @param factor 1 to 64: each pixel becomes a square of `factor` x `factor`.
/// @param target Has the source's format and `factor` times its width and height. The memory of both must not overlap.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_image_upscale(
    const detailflow_image *source, uint32_t factor, detailflow_image *target, detailflow_error *error);

/// Opens a bundle and compiles its graphs. Takes milliseconds to seconds; loads ONNX Runtime if it is not loaded yet.
///
/// @param path The bundle: a folder, its detailflow.json, or a single file (.dflow). Weights are used where they are mapped
/// from their file. NULL takes the default bundle: what the environment variable DETAILFLOW_BUNDLE names; without it
/// detailflow/ beside this library or the executable, ../share/detailflow (of a folder lib/ARCH-linux-gnu also
/// ../../share/detailflow), or the bundle that is shipped with the checkout.
/// @param options NULL takes the defaults.
/// @param model Receives the handle. Free it with detailflow_model_free.
/// @param error May be NULL.
/// @return NOT_FOUND; BAD_BUNDLE (the message names what is wrong); NO_RUNTIME (it lists the places that were tried);
/// NO_DEVICE (it names the missing file, library or version); INVALID_ARGUMENT (no such precision, form or device
/// option); CANCELLED; IO; OUT_OF_MEMORY.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_open(
    const char *path, const detailflow_model_options *options, detailflow_model **model, detailflow_error *error);

/// As detailflow_model_open, of a single-file bundle (.dflow) that lies in memory.
///
/// The memory is used where it is, also by the encoder when that is compiled later, and ONNX Runtime makes one copy of the
/// weights that the compiled graphs use, in every form: onnx/PERFORMANCE.md has a table.
///
/// @param data The file. It must stay valid, unchanged, until it is released. Any alignment.
/// @param size Bytes at `data`.
/// @param release Called exactly once, when nothing uses the memory any more: on whatever thread frees the last of the
/// model and what was made from it, or, when this call fails, whatever the reason, before it returns. NULL calls nothing:
/// the memory must stay valid for ever.
/// @param user Passed to `release`.
/// @param options NULL takes the defaults.
/// @param model Receives the handle. Free it with detailflow_model_free.
/// @param error May be NULL.
/// @return As detailflow_model_open.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_open_memory(
    const void *data, size_t size, detailflow_release_fn release, void *user, const detailflow_model_options *options,
    detailflow_model **model, detailflow_error *error);

/// As detailflow_model_open, of a single-file bundle (.dflow) that callbacks read: in an engine's file system, an archive, a
/// package.
///
/// The callbacks run on this thread and within this call only: the encoder is read and compiled too, unless
/// detailflow_model_options_set_encoder says that it is not needed. Files up to 32 MB are read to be checked, and those of the
/// variant that opens are read into memory, until ONNX Runtime has made one copy of the weights that the graphs use, in every
/// form: onnx/PERFORMANCE.md has a table. Progress and cancellation work as in detailflow_model_open; a cancelled call ends
/// before the next read.
///
/// @param reader Used within the call.
/// @param options NULL takes the defaults.
/// @param model Receives the handle. Free it with detailflow_model_free.
/// @param error May be NULL.
/// @return IO when read_at fails; BAD_BUNDLE when the size is not true; otherwise as detailflow_model_open.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_open_reader(
    const detailflow_reader *reader, const detailflow_model_options *options, detailflow_model **model,
    detailflow_error *error);

/// Frees the handle. Requests and generations made from it go on. Jobs of the model that were submitted before are
/// cancelled first, in every worker, and waited for (not inside a worker's callback). NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_model_free(detailflow_model *model);

/// The message of the last failed call with this handle, on any thread: see "Text" above.
///
/// @param buffer Receives the message; "" when no call failed.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole message; may be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_message(
    const detailflow_model *model, char *buffer, size_t capacity, size_t *length);

/// Gets the properties of a model.
///
/// @param info Filled; its struct_size is set.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_info(
    const detailflow_model *model, detailflow_model_info *info);

/// Gets a report of what runs where, as lines for a person: the device and what was tried before it; for each compiled
/// graph the number of nodes that each execution provider took, the nodes that fell to the CPU, and the memory of its
/// allocators.
///
/// @param buffer Receives the report: see "Text" above.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole report; may be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_report(
    const detailflow_model *model, char *buffer, size_t capacity, size_t *length);

/// Gets the name of a class.
///
/// @param class_index 0 to class_count - 1.
/// @param name Receives the name, which lives as long as the model handle.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_class_name(
    const detailflow_model *model, uint32_t class_index, const char **name);

/// Finds a class.
///
/// @param name The name of the class, or its index in decimal.
/// @param class_index Receives the index.
/// @return INVALID_ARGUMENT when there is none; the message names the nearest.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_find_class(
    const detailflow_model *model, const char *name, uint32_t *class_index);

/// Gets a level by its index.
///
/// @param level_index 0 (the coarsest) to level_count - 1 (the full image).
/// @param level Filled; its struct_size is set.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_level(
    const detailflow_model *model, uint32_t level_index, detailflow_level *level);

/// Finds a level by its size.
///
/// @param level_size Pixels per side; 0 is the finest level.
/// @param level Filled; its struct_size is set.
/// @return INVALID_ARGUMENT when there is no such level; the message lists the levels.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_find_level(
    const detailflow_model *model, uint32_t level_size, detailflow_level *level);

/// Gets the size of the image that a prefix decodes to.
///
/// @param token_count A prefix: 1 to c, or a multiple of g up to N.
/// @param prefix_size Receives the pixels per side.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_prefix_size(
    const detailflow_model *model, size_t token_count, uint32_t *prefix_size);

/// Encodes an image into tokens. Compiles the encoder at the first call.
///
/// The largest square in the middle is taken. Colours are multiplied by alpha. A square of another size than image_size is
/// resized with a Catmull-Rom filter, antialiased when it shrinks. Models of 3 channels get the image composed over black.
///
/// @param picture Of any size and format, with straight alpha. Floats are clamped to 0 to 1; NaN and infinite are
/// INVALID_ARGUMENT.
/// @param tokens Receives N tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
/// @return WRONG_STATE when the bundle holds no encoder.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_encode(
    const detailflow_model *model, const detailflow_image *picture, uint32_t *tokens, size_t capacity, size_t *count);

/// As detailflow_model_encode, from a picture file.
///
/// A file has at most 65,535 pixels per side and 2^29 in all. If its shorter side has more than 4,096, boxes of k x k pixels are
/// averaged while it is read, for the smallest k that leaves at most 4,096. Colour is taken for sRGB; profiles and texts in the
/// file are not read.
///
/// @param path A picture file: png, jpg, webp, bmp, tga, tiff, qoi; also gif (the first frame), ico and pnm.
/// @return BAD_FORMAT when it is no picture, or damaged, cut off or larger; OUT_OF_MEMORY.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_encode_file(
    const detailflow_model *model, const char *path, uint32_t *tokens, size_t capacity, size_t *count);

/// As detailflow_model_encode_file, from the bytes of a picture file.
///
/// @param data The file: png, jpg, webp, bmp, tiff, qoi. TGA has no signature, so it is not recognized from memory.
/// @param size Bytes at `data`.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_encode_data(
    const detailflow_model *model, const void *data, size_t size, uint32_t *tokens, size_t capacity, size_t *count);

/// Decodes tokens into pixels.
///
/// @param tokens The first tokens of an image.
/// @param token_count With `level_size` 0 a prefix: 1 to c, or a multiple of g up to N. Otherwise at least the tokens of
/// that level; those beyond are ignored.
/// @param level_size The level to decode, pixels per side; 0 decodes all tokens, at the size that
/// detailflow_model_get_prefix_size gives.
/// @param target Receives the pixels; its width and height are that size.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_decode(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t level_size,
    detailflow_image *target);

/// Computes how likely tokens are for a class, without sampling. Takes the steps that generating them would take,
/// without guidance.
///
/// @param class_index 0 to class_count - 1.
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param values Receives for each token the natural logarithm of its probability, given the class and the tokens before
/// it, before guidance, temperature, top-k and top-p: see "Arrays" above.
/// @param capacity Values that fit at `values`.
/// @param count Receives the number of values, which is `token_count`.
/// @return WRONG_STATE when the model cannot generate.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_score(
    const detailflow_model *model, uint32_t class_index, const uint32_t *tokens, size_t token_count, float *values,
    size_t capacity, size_t *count);

/// Measures the latency of steps and decodes, for predictions and for detailflow_generation_advance. The result is
/// written to the user's cache directory, where every process finds it that opens the same bundle with the same
/// precision, form, device, threads and versions of this library and of ONNX Runtime.
///
/// Takes as long as about ten images of each batch size.
///
/// @param batch_sizes Batch sizes to measure, each 1 to 4096, with and without guidance.
/// @param batch_size_count How many, 1 to 4096.
/// @return NOT_FOUND when the user has no cache directory; IO when it cannot be written. In both cases this process
/// knows what was measured.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_calibrate(
    const detailflow_model *model, const uint32_t *batch_sizes, size_t batch_size_count);

/// Predicts how long it takes to decode one image.
///
/// @param token_count A prefix: 1 to c, or a multiple of g up to N.
/// @param time_ns Receives nanoseconds; 0 when nothing was measured on this machine yet.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_predict_decode(
    const detailflow_model *model, size_t token_count, uint64_t *time_ns);

/// As detailflow_model_encode_file; another thread can stop the reading of the file.
///
/// @param cancel Made by detailflow_cancel_new, or NULL. Looked at between rows of pixels, and before the encoder runs.
/// @return CANCELLED.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_encode_file_cancellable(
    const detailflow_model *model, const char *path, const detailflow_cancel *cancel, uint32_t *tokens, size_t capacity,
    size_t *count);

/// Encodes an image into tokens, and searches for tokens that decode to it with less error than those of the encoder.
///
/// The search tries other codes near those of the encoder, position by position, decodes them, and keeps what lowers the
/// error: the sum, over the levels, of the mean squared error relative to that of the tokens so far. The finest level counts a
/// third more than the others together. It takes up to 1, 3, 7 or 15 decodes of the image per token and round, in 1, 1, at most
/// 2 or at most 3 rounds. The coarser levels are decoded beside it: half as long again for 4 levels, several times as long for
/// models of many levels. The result does not depend on threads.
///
/// @param picture As for detailflow_model_encode.
/// @param effort 0: the encoder alone, as detailflow_model_encode. 1 to 4: see above.
/// @param cancel Made by detailflow_cancel_new, or NULL. Looked at before each position.
/// @param tokens Receives N tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
/// @return WRONG_STATE when the bundle holds no encoder, or one without a codebook that can be read; CANCELLED.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_encode_with_effort(
    const detailflow_model *model, const detailflow_image *picture, uint32_t effort, const detailflow_cancel *cancel,
    uint32_t *tokens, size_t capacity, size_t *count);

/// As detailflow_model_encode_with_effort, from a picture file.
///
/// @param path As for detailflow_model_encode_file.
/// @param cancel Made by detailflow_cancel_new, or NULL. Looked at between rows of pixels, and before each position.
/// @return Those of detailflow_model_encode_file and detailflow_model_encode_with_effort.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_encode_file_with_effort(
    const detailflow_model *model, const char *path, uint32_t effort, const detailflow_cancel *cancel, uint32_t *tokens,
    size_t capacity, size_t *count);

/// Generates one image in one call, from nothing to pixels.
///
/// @param model NULL takes the default bundle (see detailflow_model_open) with default options; it is opened at the
/// first such call and stays open until the process ends.
/// @param class_name The name of a class, or its index in decimal.
/// @param seed The same seed gives the same image.
/// @param image Receives the pixels. Its width and height choose the level; the message of a failure lists the levels.
/// @param error May be NULL.
/// @return Those of detailflow_model_open and detailflow_generate.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generate_image(
    const detailflow_model *model, const char *class_name, uint64_t seed, detailflow_image *image,
    detailflow_error *error);

/// Lists the sizes of a full mip chain: `size` down to 1, each half of the one before, rounded down (48, 24, 12, 6, 3,
/// 1). detailflow_model_decode_mips takes any other sizes as well.
///
/// @param size Pixels per side of the largest mip, at least 1.
/// @param sizes Receives the sizes: see "Arrays" above. Room for 32 is always enough.
/// @param capacity Sizes that fit at `sizes`.
/// @param count Receives the number of sizes.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_mips_list_sizes(
    uint32_t size, uint32_t *sizes, size_t capacity, size_t *count, detailflow_error *error);

/// Decodes tokens into images of several sizes.
///
/// A mip whose size is decoded is bit for bit what detailflow_model_decode gives. The others are downscaled: each pixel
/// is the mean of the area that it covers, in linear light and weighted by alpha. All arguments are checked before the
/// work; after an error nothing was written.
///
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param source One of DETAILFLOW_MIPS_SOURCE_*.
/// @param targets An array of square images, each of 1 pixel up to the size that detailflow_model_get_prefix_size gives,
/// with its own format and stride; in any order, several may have one size. Where their memory overlaps, the later one
/// overwrites the earlier.
/// @param target_count Number of images.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_decode_mips(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t source,
    detailflow_image *targets, size_t target_count);

/// Lays out a full mip chain in one block of memory: the mips of detailflow_mips_list_sizes one after another, the largest
/// first, rows without gaps.
///
/// @param size Pixels per side of the largest mip, at least 1.
/// @param format One of DETAILFLOW_FORMAT_*.
/// @param alignment The offset of each mip is a multiple of it: 1 to 65536, 0 is 1. Direct3D 12 takes 512, Vulkan the bytes
/// of a pixel or 4, whichever is larger.
/// @param offsets Receives the first byte of each mip in the block: see "Arrays" above. Room for 32 is always enough.
/// @param capacity Offsets that fit at `offsets`.
/// @param count Receives the number of mips.
/// @param block_bytes Receives the size of the block, up to the end of the last mip.
/// @param error May be NULL.
/// @return INVALID_ARGUMENT also when the block would be larger than an address space.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_mips_lay_out(
    uint32_t size, uint32_t format, uint32_t alignment, size_t *offsets, size_t capacity, size_t *count,
    size_t *block_bytes, detailflow_error *error);

/// Decodes tokens into a mip chain in one block of memory: what detailflow_model_decode_mips gives for the sizes of
/// detailflow_mips_list_sizes. Bytes between the mips stay as they are. All arguments are checked before the work; after an
/// error nothing was written.
///
/// For rows that are padded (Direct3D 12: to 256 bytes), use detailflow_model_decode_mips, which takes a stride for each mip.
///
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param source One of DETAILFLOW_MIPS_SOURCE_*.
/// @param size Pixels per side of the first mip: 1 up to the size that detailflow_model_get_prefix_size gives.
/// @param format One of DETAILFLOW_FORMAT_*.
/// @param offsets The first byte of each mip in the block, as detailflow_mips_lay_out gives them or any others: mips may
/// lie in any order, within the block and without overlap.
/// @param mip_count Number of offsets: 1 up to the number of mips of the full chain.
/// @param block Receives the pixels; need not be aligned.
/// @param capacity Bytes at `block`.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_decode_mip_chain(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t source, uint32_t size,
    uint32_t format, const size_t *offsets, size_t mip_count, void *block, size_t capacity);

/// Sets the positions of sprites: in rows, the largest first; sprites of one size form a grid, in their order.
///
/// @param sprites An array; x and y are set.
/// @param sprite_count Number of sprites.
/// @param width Width of the atlas in pixels.
/// @param padding Pixels between any two sprites.
/// @param height Receives the height of the atlas that they need; may be NULL.
/// @return INVALID_ARGUMENT when a sprite is wider than the atlas.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_lay_out_atlas(
    const detailflow_model *model, detailflow_sprite *sprites, size_t sprite_count, uint32_t width, uint32_t padding,
    uint32_t *height);

/// Decodes sprites into their positions in an atlas; all other pixels stay as they are. Sprites with the same number of
/// tokens are decoded together, which is faster than one by one.
///
/// @param sprites An array. A sprite covers the pixels that it decodes to (detailflow_model_get_prefix_size, or its
/// level), times its factor.
/// @param sprite_count Number of sprites.
/// @param atlas Receives the pixels.
/// @return INVALID_ARGUMENT, with nothing written, when a sprite is not inside the atlas or two overlap (the message
/// names them; they may touch). After FAILED or OUT_OF_MEMORY some of the sprites may be written.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_decode_atlas(
    const detailflow_model *model, const detailflow_sprite *sprites, size_t sprite_count, detailflow_image *atlas);

/// Finishes a picture in place: cuts alpha, removes stray pixels, reduces colours, draws an outline, makes it repeat.
///
/// @param image RGBA8 or BGRA8, of any size. Bytes between rows stay as they are.
/// @param finish The settings.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_image_finish(
    detailflow_image *image, const detailflow_finish *finish, detailflow_error *error);

/// Makes one palette for a set of pictures: colours that stand for theirs with a small error, all of them colours of the
/// pictures. It does not depend on the order of the pictures.
///
/// @param images An array of RGBA8 or BGRA8 images.
/// @param image_count Number of images.
/// @param finish Colours are counted after its alpha cut and despeckle; that of its outline does not count. The other fields are
/// checked and not used.
/// @param limit The most colours, 2 to 256.
/// @param colors Receives the colours, 0xRRGGBB, in ascending order: see "Arrays" above. Room for `limit` is enough.
/// @param capacity Colours that fit at `colors`.
/// @param count Receives the number of colours.
/// @param error May be NULL.
/// @return INVALID_ARGUMENT also when no image has a visible pixel.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_palette_make(
    const detailflow_image *images, size_t image_count, const detailflow_finish *finish, uint32_t limit,
    uint32_t *colors, size_t capacity, size_t *count, detailflow_error *error);

/// Reads a palette file in memory: PNG (its palette, else its different colours, without those of alpha 0), a GIMP palette
/// (.gpl), or lines of six hex digits (.hex).
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @param colors Receives the different colours, 0xRRGGBB, in the order of the file: see "Arrays" above. Room for 256 is always
/// enough.
/// @param capacity Colours that fit at `colors`.
/// @param count Receives the number of colours.
/// @param error May be NULL.
/// @return BAD_FORMAT when it is none of these or damaged, or has no colour or more than 256; the message names the line.
/// INVALID_ARGUMENT also when `data` is NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_palette_decode(
    const void *data, size_t size, uint32_t *colors, size_t capacity, size_t *count, detailflow_error *error);

/// Gets how pictures of a model are finished by default, as the bundle says; all zero where it says nothing. Functions that
/// decode do not finish: pass the result to detailflow_image_finish.
///
/// @param finish Filled; its struct_size is set. Only the field `palette` is left to the caller: let it point to `colors`
/// where palette_count is not 0.
/// @param colors Receives the colours of the palette, 0xRRGGBB: see "Arrays" above. Room for 256 is always enough.
/// @param capacity Colours that fit at `colors`.
/// @param count Receives the number of colours.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_model_get_finish(
    const detailflow_model *model, detailflow_finish *finish, uint32_t *colors, size_t capacity, size_t *count);

/// Writes a copy of a bundle that holds the decoder alone. It decodes tokens bit for bit like the full bundle, and
/// cannot generate or encode.
///
/// Needs no ONNX Runtime, and takes as long as reading the bundle. After a failure, `target` is as it was.
/// If the process is killed, `target` has its old or its new content where the file system can exchange two folders (most
/// of Linux and Apple's systems). Elsewhere it may be missing then, and the next call of this function for `target`, or
/// opening it, puts the old content back.
///
/// @param path The bundle, a folder or a single file; NULL takes the default bundle, as detailflow_model_open does.
/// @param target The folder to write. An existing bundle or empty folder is replaced; anything else is an error. A name that
/// ends with .dflow is that of a single file.
/// @param precision Keeps this precision only, such as "int8"; NULL keeps all.
/// @param error May be NULL.
/// @return NOT_FOUND; BAD_BUNDLE when a file differs from the manifest or the bundle was written by an older exporter;
/// INVALID_ARGUMENT when there is no such precision, or `target` is the bundle itself or something else; IO.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_bundle_strip(
    const char *path, const char *target, const char *precision, detailflow_error *error);

/// Writes a bundle as a single file: an uncompressed zip file with the same files, aligned so that weights are used where it is
/// mapped. It opens like the folder, and from memory or callbacks. The same bundle gives the same bytes.
///
/// Needs no ONNX Runtime, and takes as long as reading the bundle. After a failure, `target` is as it was.
///
/// @param path The bundle, a folder or a single file; NULL takes the default bundle, as detailflow_model_open does.
/// @param target The file to write, such as "model.dflow"; an existing file is replaced.
/// @param error May be NULL.
/// @return NOT_FOUND; BAD_BUNDLE when a file differs from the manifest; INVALID_ARGUMENT when `target` is a folder, the
/// bundle itself, or lies in its folder; IO.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_bundle_pack(
    const char *path, const char *target, detailflow_error *error);

/// Writes a bundle as a folder with a file for each of its files: the opposite of detailflow_bundle_pack.
///
/// Needs no ONNX Runtime, and takes as long as reading the bundle. After a failure, `target` is as it was.
///
/// @param path The bundle, a single file or a folder; NULL takes the default bundle, as detailflow_model_open does.
/// @param target The folder to write. An existing bundle or empty folder is replaced; anything else is an error.
/// @param error May be NULL.
/// @return NOT_FOUND; BAD_BUNDLE when a file differs from the manifest; INVALID_ARGUMENT when `target` is the bundle itself or
/// something else; IO.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_bundle_unpack(
    const char *path, const char *target, detailflow_error *error);

/// Creates a request for one image of class 0 with seed 0 at the finest level, with the model's default sampling.
///
/// @param request Receives the handle. Free it with detailflow_request_free.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_new(
    const detailflow_model *model, detailflow_request **request);

/// Frees a request. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_request_free(detailflow_request *request);

/// The message of the last failed call with this request: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_get_message(
    const detailflow_request *request, char *buffer, size_t capacity, size_t *length);

/// Sets the number of images, which are generated together. Added images take the class or mix of the first one
/// and the seeds that follow its seed. Memory is reserved when the generation is created.
///
/// @param image_count 1 to 1048576.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_image_count(
    detailflow_request *request, uint32_t image_count);

/// Sets the class of every image, in place of all classes that were set. Classes to avoid stay.
///
/// @param class_index 0 to class_count - 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_class(
    detailflow_request *request, uint32_t class_index);

/// Sets the seed S of the first image; the others take S + 1, S + 2, ... modulo 2^64. The same model, class, seed and settings give
/// the same tokens, whatever else is in the batch.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_seed(
    detailflow_request *request, uint64_t seed);

/// Sets class and seed of one image. The class takes the place of all classes of that image; classes to avoid stay.
///
/// @param image_index 0 to image_count - 1.
/// @param class_index 0 to class_count - 1.
/// @param seed Any.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_image_source(
    detailflow_request *request, uint32_t image_index, uint32_t class_index, uint64_t seed);

/// Sets several classes of every image with their weights: each image is a mix of them. Classes to avoid stay.
///
/// With u the unconditional logits, m the mean of the logits of the classes (weights divided by their sum at each token), n the
/// mean of those of the classes to avoid (likewise by their strengths), a the sum of these strengths and s the guidance scale, a
/// token is sampled from u + s (m - u) - s a (n - u). Means are computed in the order of class indices, so that the order here
/// does not matter. One class alone gives what detailflow_request_set_class gives, bit for bit; a weight of 0 leaves a class out.
///
/// Each class after the first takes one batch row of each image more, in time and in memory of the KV cache. On the CPU other
/// images of a batch do not change. On another device one mix in a batch moves the sampling of all its images to the CPU, so that
/// they may differ from those of a batch without. Log-probabilities are those of m.
///
/// @param class_indices Each 0 to class_count - 1, none twice. DETAILFLOW_NO_CLASS is allowed beside a class: it stands for u and
/// weakens the others.
/// @param weights The weight of each, 0 or 1e-30 to 1000; at least one class has more than 0.
/// @param count 1 to 16.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_classes(
    detailflow_request *request, const uint32_t *class_indices, const float *weights, size_t count);

/// Sets classes that every image keeps away from, with their strengths: see detailflow_request_set_classes. Each pushes the
/// logits by its strength away from its own. Each takes one batch row of each image more; where guidance is off the
/// unconditional row is computed as well.
///
/// @param class_indices Each 0 to class_count - 1, none twice. DETAILFLOW_NO_CLASS is allowed and changes nothing.
/// @param strengths The strength of each, 0 or 1e-30 to 1000; 0.25 to 0.5 is usual and more may leave what the model
/// has learned; 0 is as if the class was not there.
/// @param count 0 (the default) to 16.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_avoid(
    detailflow_request *request, const uint32_t *class_indices, const float *strengths, size_t count);

/// As detailflow_request_set_classes, for one image.
///
/// @param image_index 0 to image_count - 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_image_classes(
    detailflow_request *request, uint32_t image_index, const uint32_t *class_indices, const float *weights,
    size_t count);

/// As detailflow_request_set_avoid, for one image.
///
/// @param image_index 0 to image_count - 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_image_avoid(
    detailflow_request *request, uint32_t image_index, const uint32_t *class_indices, const float *strengths,
    size_t count);

/// Sets the weight of one class of every image as a curve over the tokens, linear between two points, constant before the first
/// and after the last. The class joins those of the image if it is not among them; the others keep their weights. The first
/// tokens decide the outline and later ones the detail: for an image that begins as class A and ends as class B, set class A,
/// then the curve of B from 0 to 1, then that of A from 1 to 0. A row is computed until its curve stays at 0.
///
/// @param class_index 0 to class_count - 1, or DETAILFLOW_NO_CLASS.
/// @param token_indices The token of each point, rising; 0 is the first token.
/// @param values The weight at each point, 0 or 1e-30 to 1000. At no token may the weights of all classes be 0.
/// @param point_count 1 to 64.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_class_curve(
    detailflow_request *request, uint32_t class_index, const uint32_t *token_indices, const float *values,
    size_t point_count);

/// Sets the strength with which every image keeps away from one class as a curve over the tokens: see
/// detailflow_request_set_class_curve and detailflow_request_set_avoid.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_avoid_curve(
    detailflow_request *request, uint32_t class_index, const uint32_t *token_indices, const float *values,
    size_t point_count);

/// Sets the classes of every image to those that a token file (.dft) was generated for: its class, or its classes with their weights
/// and those it kept away from, curves over the tokens included. Variations of an image of several classes begin so:
/// detailflow_dft_get_tokens and detailflow_request_set_prefix give them its coarse levels. A file without a class, as of a picture
/// that was encoded (its detailflow_dft_info.class_index is DETAILFLOW_NO_CLASS), changes nothing.
///
/// @param data The file; what is lost of its tokens does not matter.
/// @param size Bytes at `data`.
/// @return INVALID_ARGUMENT when it is of another model; BAD_FORMAT as detailflow_dft_get_info.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_classes_of_dft(
    detailflow_request *request, const void *data, size_t size);

/// Sets the classifier-free guidance scale: logits = unconditional + (conditional - unconditional) * scale.
///
/// @param scale 0 to 1000. 1 is off: half the batch rows. Above 1 images follow the class more strongly; 0 ignores the
/// class.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_guidance(
    detailflow_request *request, float scale);

/// Sets whether guidance falls linearly over the groups: a token of the causal part has the scale that was set, a later
/// token t has scale * (G - i + 1) / (G + 1), with G = N / g groups in all and i = t / g rounded down, the group of t.
/// Where guidance is off it stays off.
///
/// @param gradual 1: it falls. 0: it is constant.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_gradual_guidance(
    detailflow_request *request, uint32_t gradual);

/// Sets the temperature.
///
/// @param temperature Finite, at least 0. 0 always takes the most likely token; 1 samples the model's own distribution.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_temperature(
    detailflow_request *request, float temperature);

/// Sets top-k: only the k most likely tokens are sampled from.
///
/// @param top_k 0 is off.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_top_k(
    detailflow_request *request, uint32_t top_k);

/// Sets top-p: only the most likely tokens up to this total probability are sampled from.
///
/// @param top_p Above 0, at most 1; 1 is off.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_top_p(detailflow_request *request, float top_p);

/// Sets guidance as a curve over the tokens: linear between two points, constant before the first and after the last.
/// Once the curve is 1 for all remaining tokens, unconditional rows are no longer computed.
///
/// @param token_indices The token of each point, rising; 0 is the first token, and the first token after a level of 8
/// tokens is 8.
/// @param values The scale at each point, 0 to 1000.
/// @param point_count 1 to 64.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_guidance_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);

/// Sets temperature as a curve over the tokens: see detailflow_request_set_guidance_curve.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_temperature_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);

/// Sets top-k as a curve over the tokens, rounded at each: see detailflow_request_set_guidance_curve. When
/// interpolating, 0 (off) counts as codebook_size.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_top_k_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);

/// Sets top-p as a curve over the tokens: see detailflow_request_set_guidance_curve.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_top_p_curve(
    detailflow_request *request, const uint32_t *token_indices, const float *values, size_t point_count);

/// Sets whether the log-probability of each token is recorded, for detailflow_generation_get_log_probabilities.
///
/// @param record 1: it is. 0 (the default): it is not.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_log_probabilities(
    detailflow_request *request, uint32_t record);

/// Sets the tokens that every image begins with; the rest is generated after them. With other seeds this gives
/// variations of one composition. If the tokens end at a level, generation continues from that level. The prefix is
/// processed once for all images of one class.
///
/// @param tokens The tokens, copied.
/// @param token_count With `level_size` 0 a prefix: 1 to c, or a multiple of g up to N. Otherwise at least the tokens of
/// that level. 0 removes the prefix.
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_prefix(
    detailflow_request *request, const uint32_t *tokens, size_t token_count, uint32_t level_size);

/// As detailflow_request_set_prefix with level_size 0, for one image. When the generation is created, all images of
/// the request must begin with the same number of tokens.
///
/// @param image_index 0 to image_count - 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_image_prefix(
    detailflow_request *request, uint32_t image_index, const uint32_t *tokens, size_t token_count);

/// Encodes an image, and sets its tokens as the prefix of every image: see detailflow_request_set_prefix.
///
/// @param picture Of any size and format.
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all, and then nothing is generated.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_prefix_picture(
    detailflow_request *request, const detailflow_image *picture, uint32_t level_size);

/// Sets the level at which the generation ends.
///
/// @param level_size Pixels per side; 0 (the default) is the finest.
/// @return INVALID_ARGUMENT when there is no such level; the message lists the levels.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_set_level_size(
    detailflow_request *request, uint32_t level_size);

/// Generates a whole request in one call: detailflow_generation_new and all its steps. To cancel, use
/// detailflow_generation_new and detailflow_generation_finish.
///
/// @param request Not changed, and free for other use once its values were copied.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return Those of detailflow_generation_new and detailflow_generation_step.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generate(
    const detailflow_request *request, detailflow_generation **generation);

/// Creates a generation: reserves the memory that its steps need, and generates nothing yet.
///
/// More memory is reserved later where the number of batch rows changes: when images that share a prefix diverge, when
/// guidance ends before the last token, and at every step with attention form "plain".
///
/// @param request Not changed; may be changed or freed afterwards.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return OUT_OF_MEMORY when the batch is too large; WRONG_STATE when the model cannot generate
/// (detailflow_model_info.can_generate); INVALID_ARGUMENT when images begin with different numbers of tokens.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_new(
    const detailflow_request *request, detailflow_generation **generation);

/// Frees a generation. When another thread is stepping it, it is cancelled first and waited for. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_generation_free(detailflow_generation *generation);

/// The message of the last failed call with this generation: see "Text" above. Callable while another thread steps.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_message(
    const detailflow_generation *generation, char *buffer, size_t capacity, size_t *length);

/// Does one step: generates one token of each image in the causal part, g tokens after it. Does nothing when finished.
///
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return CANCELLED once cancelled; FAILED or OUT_OF_MEMORY from ONNX Runtime, after which the step can be tried again.
/// What was generated before stays readable in every case.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_step(
    detailflow_generation *generation, detailflow_progress *progress);

/// Does at least one step, and further ones as long as the next should end within a time budget.
///
/// The time of a step is known from steps of the same shape that ran with this model, otherwise from a calibration
/// (detailflow_model_calibrate); when neither is there, one step is done.
///
/// @param budget_ns Nanoseconds from this call on.
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return Those of detailflow_generation_step.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_advance(
    detailflow_generation *generation, uint64_t budget_ns, detailflow_progress *progress);

/// Does steps until a level is complete. Does nothing when it is already.
///
/// @param level_size Pixels per side of a level up to the one that the request ends at; 0 is that one.
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return INVALID_ARGUMENT when there is no such level, or it is finer than the one that the request ends at; those of
/// detailflow_generation_step.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_advance_to_level(
    detailflow_generation *generation, uint32_t level_size, detailflow_progress *progress);

/// Does all steps that are left.
///
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return Those of detailflow_generation_step.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_finish(
    detailflow_generation *generation, detailflow_progress *progress);

/// Gets the state of the generation. Callable while another thread steps.
///
/// @param progress Filled; its struct_size is set.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_progress(
    const detailflow_generation *generation, detailflow_progress *progress);

/// Gets the tokens of one image so far. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param tokens Receives the tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_tokens(
    const detailflow_generation *generation, uint32_t image_index, uint32_t *tokens, size_t capacity, size_t *count);

/// Decodes all tokens of one image so far. Callable while another thread steps: decodes on the calling thread, and
/// waits at most for other decodes.
///
/// @param image_index 0 to image_count - 1.
/// @param target Receives the pixels; its width and height are detailflow_progress.prefix_size.
/// @return WRONG_STATE while there are no tokens: before the first step, unless the request has a prefix.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_decode(
    const detailflow_generation *generation, uint32_t image_index, detailflow_image *target);

/// Decodes the finest complete level of one image, whatever tokens there are beyond it. Callable while another thread
/// steps, as detailflow_generation_decode.
///
/// @param image_index 0 to image_count - 1.
/// @param target Receives the pixels; its width and height are detailflow_progress.level_size.
/// @return WRONG_STATE before the first level is complete.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_decode_level(
    const detailflow_generation *generation, uint32_t image_index, detailflow_image *target);

/// Decodes all tokens of one image so far, and writes it to a picture file. Callable while another thread steps. The
/// file appears complete or not at all.
///
/// @param image_index 0 to image_count - 1.
/// @param path Its ending chooses the file format: see detailflow_image_save.
/// @return WRONG_STATE while there are no tokens: before the first step, unless the request has a prefix; IO.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_save(
    const detailflow_generation *generation, uint32_t image_index, const char *path);

/// Encodes the tokens of one image so far as a token file (.dft) in memory, with its seed and its class, or its classes and their
/// weights: detailflow_dft_repair continues it as it began. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param data Receives the file: see "Arrays" above.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
/// @return WRONG_STATE while there are no tokens: before the first step, unless the request has a prefix.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_encode_dft(
    const detailflow_generation *generation, uint32_t image_index, void *data, size_t capacity, size_t *size);

/// Gets class and seed of one image. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param class_index Receives the class, of several that of the largest weight at the first token; may be NULL.
/// @param seed Receives the seed; may be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_image_source(
    const detailflow_generation *generation, uint32_t image_index, uint32_t *class_index, uint64_t *seed);

/// Gets the natural logarithms of the probabilities of the tokens of one image that were generated so far: what
/// detailflow_model_score gives for the same tokens. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param values Receives the values, given the class and the tokens before each, before guidance, temperature, top-k and
/// top-p: see "Arrays" above. Of several classes: of the mean of their logits, whatever is avoided.
/// @param capacity Values that fit at `values`.
/// @param count Receives the number of values.
/// @return WRONG_STATE when the request does not record them (detailflow_request_set_log_probabilities).
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_log_probabilities(
    const detailflow_generation *generation, uint32_t image_index, float *values, size_t capacity, size_t *count);

/// Gets the mean of detailflow_generation_get_log_probabilities.
///
/// @param image_index 0 to image_count - 1.
/// @param mean Receives the mean; 0 before the first step.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_mean_log_probability(
    const detailflow_generation *generation, uint32_t image_index, float *mean);

/// Gets the work done: the number of (step, distinct sequence) pairs. Images that share a prefix count as one sequence;
/// guidance does not double it; an image of several classes, and of classes to avoid, counts once for each. For comparing the cost of requests. Callable while another thread steps.
///
/// @param work Receives the number.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_work(
    const detailflow_generation *generation, uint64_t *work);

/// Gets the memory in use. Callable while another thread steps.
///
/// @param own_bytes Receives the bytes of its KV cache and tokens; may be NULL.
/// @param shared_bytes Receives the bytes of the KV cache of the generation that it was forked from, which it uses until
/// its first step, as all forks of that one do; may be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_memory(
    const detailflow_generation *generation, uint64_t *own_bytes, uint64_t *shared_bytes);

/// Gets a handle that cancels the generation. Callable while another thread steps, any number of times.
///
/// @param cancel Receives the handle. Free each with detailflow_cancel_free.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_get_cancel(
    const detailflow_generation *generation, detailflow_cancel **cancel);

/// Creates a generation with the same tokens so far, which continues with other seeds. With the same seeds it generates
/// the same tokens.
///
/// The fork uses the KV cache of this generation until its first step, and no memory of its own for one. It counts its
/// own steps and work from 0, has its own cancel handle, and is not cancelled.
///
/// @param seeds One for each image.
/// @param seed_count image_count.
/// @param fork Receives the handle. Free it with detailflow_generation_free, before or after this one.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_fork(
    detailflow_generation *generation, const uint64_t *seeds, size_t seed_count, detailflow_generation **fork);

/// Continues with some of the images only. The others are dropped: they no longer count in later work, and their memory
/// is released at the next step.
///
/// @param image_indices The images that stay, each at most once; in this order they are numbered from 0.
/// @param count How many, at least 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_retain_images(
    detailflow_generation *generation, const uint32_t *image_indices, size_t count);

/// Changes the level at which the generation ends: to a finer one, also when it is finished, or to a coarser one that
/// takes at least as many tokens as there are already.
///
/// @param level_size Pixels per side; 0 is the finest.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_generation_set_level_size(
    detailflow_generation *generation, uint32_t level_size);

/// Generates variations in one call: every image of the request begins with the same tokens, and the rest is generated
/// from its own seed. To step or cancel, use detailflow_request_set_prefix and detailflow_generation_new.
///
/// @param request Not changed. Its own prefix is not used.
/// @param tokens The tokens of an image. For a finer level of the same image give those of the coarser level.
/// @param token_count With `level_size` 0 a prefix: 1 to c, or a multiple of g up to N. Otherwise at least the tokens of
/// that level.
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return Those of detailflow_generate.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_vary(
    const detailflow_request *request, const uint32_t *tokens, size_t token_count, uint32_t level_size,
    detailflow_generation **generation);

/// Encodes an image and generates its detail again, in one call, for the classes and seeds of the request.
///
/// @param request Not changed. Its own prefix is not used.
/// @param picture Of any size and format.
/// @param level_size The tokens of this level, pixels per side, stay; 0 takes all, and then nothing is generated.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return Those of detailflow_model_encode and detailflow_generate.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_redetail(
    const detailflow_request *request, const detailflow_image *picture, uint32_t level_size,
    detailflow_generation **generation);

/// As detailflow_redetail, from a picture file of any size.
///
/// @param path A picture file: png, jpg, webp, bmp, tga, tiff, qoi.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_redetail_file(
    const detailflow_request *request, const char *path, uint32_t level_size, detailflow_generation **generation);

/// Creates options without a round, with the log-probability as the score.
///
/// @param options Receives the handle. Free it with detailflow_best_of_options_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of_options_new(
    detailflow_best_of_options **options, detailflow_error *error);

/// Adds a round: the level at which candidates are scored, and how many go on. At least one is needed; levels rise from
/// round to round, and fewer candidates go on each time. detailflow_best_of checks this.
///
/// @param level_size Pixels per side.
/// @param retained_count At least 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of_options_add_round(
    detailflow_best_of_options *options, uint32_t level_size, uint32_t retained_count);

/// Scores by the mean log-probability of a candidate's tokens: how typical the model finds it for its class. This is the
/// default.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of_options_set_scorer_log_probability(
    detailflow_best_of_options *options);

/// Scores by the likeness to an image at the level: minus the mean squared difference of the premultiplied channels, 0
/// to 1.
///
/// @param picture Of any size and format; copied.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of_options_set_scorer_likeness(
    detailflow_best_of_options *options, const detailflow_image *picture);

/// Scores by a function of the caller's.
///
/// @param function Must not be NULL.
/// @param user Passed to the function.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of_options_set_scorer_function(
    detailflow_best_of_options *options, detailflow_score_fn function, void *user);

/// The message of the last failed call with these options: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of_options_get_message(
    const detailflow_best_of_options *options, char *buffer, size_t capacity, size_t *length);

/// Frees options. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_best_of_options_free(detailflow_best_of_options *options);

/// Generates the images of a request as candidates, in one call: at the level of each round they are scored, and the
/// best go on; those that are left reach the request's level.
///
/// @param request Not changed.
/// @param options With at least one round.
/// @param generation Receives a generation of the images that are left, the best first. Free it with
/// detailflow_generation_free.
/// @param survivors Receives which images of the request they are: see "Arrays" above. May be NULL with
/// `survivor_capacity` 0.
/// @param survivor_capacity Indices that fit at `survivors`: at least the retained_count of the last round.
/// @param survivor_count Receives their number; may be NULL.
/// @param scores Receives the last score of each image of the request. May be NULL with `score_capacity` 0.
/// @param score_capacity Scores that fit at `scores`: at least the image_count of the request.
/// @return INVALID_ARGUMENT when the rounds do not fit the request, or a score is NaN; those of detailflow_generate.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_best_of(
    const detailflow_request *request, const detailflow_best_of_options *options, detailflow_generation **generation,
    uint32_t *survivors, size_t survivor_capacity, size_t *survivor_count, float *scores, size_t score_capacity);

/// Gets what a request costs, without generating anything. Times come from steps of this process, otherwise from an
/// earlier calibration on this machine (detailflow_model_calibrate).
///
/// @param cost Filled; its struct_size is set.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_get_cost(
    const detailflow_request *request, detailflow_cost *cost);

/// Gets the steps of a request by shape, in the order in which they begin.
///
/// @param costs Receives the steps: see "Arrays" above. Set struct_size in element 0: see "Structs".
/// @param capacity Elements that fit at `costs`.
/// @param count Receives the number of elements.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_get_step_costs(
    const detailflow_request *request, detailflow_step_cost *costs, size_t capacity, size_t *count);

/// Gets the levels that a request passes, coarse to fine; the last is the one at which it ends.
///
/// @param costs Receives the levels: see "Arrays" above. Set struct_size in element 0: see "Structs".
/// @param capacity Elements that fit at `costs`.
/// @param count Receives the number of elements.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_request_get_level_costs(
    const detailflow_request *request, detailflow_level_cost *costs, size_t capacity, size_t *count);

/// Creates default options: one thread, 64 MiB of events, jobs batched where that is faster.
///
/// @param options Receives the handle. Free it with detailflow_worker_options_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_new(
    detailflow_worker_options **options, detailflow_error *error);

/// Sets the number of threads. Each works on one batch of jobs. A model runs one graph at a time, so more than one thread
/// helps for several models, or to start short jobs beside long ones that cannot be batched.
///
/// @param threads 0 to 64; 1 is the default. 0: no threads, the worker is driven by detailflow_worker_tick.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_set_threads(
    detailflow_worker_options *options, uint32_t threads);

/// Sets the largest number of images that are generated together, of any number of jobs of one model. A larger job is a
/// batch of its own. Waiting jobs join between two steps, in their order; each gets the tokens that it would get alone.
///
/// @param batch_size 1: jobs run alone, one after the other. 0 (the default): 64 with an attention form that can step
/// sequences at different positions in one run ("native"), otherwise 1.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_set_batch_size(
    detailflow_worker_options *options, uint32_t batch_size);

/// Sets the largest KV cache of jobs that are generated together. A job that needs more is a batch of its own. Jobs that wait
/// between two levels keep as much beside it; see detailflow_worker_order.
///
/// @param bytes At least 1; the default is 2 GiB.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_set_batch_bytes(
    detailflow_worker_options *options, uint64_t bytes);

/// Sets the back-pressure limit: jobs pause while unread events use at least this much memory. One step may exceed it by
/// one event for each job of the batch.
///
/// @param bytes At least 1; the default is 64 MiB.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_set_event_bytes(
    detailflow_worker_options *options, uint64_t bytes);

/// Sets which jobs come first.
///
/// @param order One of DETAILFLOW_WORKER_ORDER_*.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_set_order(
    detailflow_worker_options *options, uint32_t order);

/// The message of the last failed call with these options: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_options_get_message(
    const detailflow_worker_options *options, char *buffer, size_t capacity, size_t *length);

/// Frees options. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_worker_options_free(detailflow_worker_options *options);

/// Starts a worker, and its threads unless it has none. It takes requests of any models.
///
/// @param options NULL takes the defaults.
/// @param worker Receives the handle. Free it with detailflow_worker_free.
/// @param error May be NULL.
/// @return OUT_OF_MEMORY when the system gives no thread.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_new(
    const detailflow_worker_options *options, detailflow_worker **worker, detailflow_error *error);

/// Frees a worker: cancels all jobs and waits until they have stopped. A callback receives the last event of each job
/// before this returns. Inside that callback the worker handle is already invalid. Without a callback, unread events are
/// dropped. Called inside the worker's own callback, this does not wait, and the callback is not called again. Without
/// threads nothing is waited for: no job runs between two ticks. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_worker_free(detailflow_worker *worker);

/// Stops a worker before it is freed: cancels all jobs, and stops its callback. After success the callback is not running
/// and is never called again. The handle stays valid: unread events can be taken, submitting is WRONG_STATE.
///
/// Call it before the code or data of a callback goes away, when the callback might not return: detailflow_worker_free
/// waits for it without limit. May be called again, and by several threads.
///
/// @param timeout_ns How long to wait for a callback that runs; 0 does not wait, UINT64_MAX waits without limit. Inside
/// the worker's own callback it does not wait.
/// @return BUSY when a callback was still running in the end. It is not called again after that run.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_close(
    const detailflow_worker *worker, uint64_t timeout_ns);

/// The message of the last failed call with this worker: see "Text" above. Why a job failed is in its last event.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_get_message(
    const detailflow_worker *worker, char *buffer, size_t capacity, size_t *length);

/// Submits a request, after all that were submitted before. Arguments are checked now; memory is reserved when the job's
/// turn comes.
///
/// @param request Not changed; may be changed or freed afterwards.
/// @param user Any number; each event of the job has it.
/// @param flags 0, or DETAILFLOW_SUBMIT_FLAG_* combined with `|`.
/// @param job Receives the number of the job, 1 and up; may be NULL. Events may come before this returns.
/// @return Those of detailflow_generation_new, but OUT_OF_MEMORY usually comes as an event; WRONG_STATE when the worker
/// is closed.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_submit(
    const detailflow_worker *worker, const detailflow_request *request, uint64_t user, uint32_t flags, uint64_t *job);

/// Submits a generation, started or not; the worker continues it.
///
/// @param generation After success the handle is used up: it must not be used or freed any more. After a failure it stays
/// the caller's. Cancel handles made from it stay valid and cancel the job.
/// @param user Any number; each event of the job has it.
/// @param flags 0, or DETAILFLOW_SUBMIT_FLAG_* combined with `|`.
/// @param job Receives the number of the job, 1 and up; may be NULL. Events may come before this returns.
/// @return BUSY when another thread steps the generation; WRONG_STATE when the worker is closed.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_submit_generation(
    const detailflow_worker *worker, detailflow_generation *generation, uint64_t user, uint32_t flags, uint64_t *job);

/// Takes the next event, in the order in which they happened.
///
/// @param event Receives the event; free it with detailflow_event_free. NULL when there is none, or a callback is set.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_poll(
    const detailflow_worker *worker, detailflow_event **event);

/// As detailflow_worker_poll, but waits for an event. A loop over it ends when detailflow_worker_get_pending gives 0.
///
/// @param timeout_ns 0 does not wait, UINT64_MAX waits without limit.
/// @return WRONG_STATE for a worker without threads: it does nothing while its owner waits.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_wait(
    const detailflow_worker *worker, uint64_t timeout_ns, detailflow_event **event);

/// Cancels a job: a waiting one ends at once, a running one within a step, and its last event follows. Does nothing when
/// it has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_cancel(
    const detailflow_worker *worker, uint64_t job);

/// Cancels all jobs that were submitted so far.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_cancel_all(const detailflow_worker *worker);

/// Gets the number of jobs whose last event was not taken yet; with a callback, for which it has not returned yet.
///
/// @param job_count Receives the number.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_get_pending(
    const detailflow_worker *worker, size_t *job_count);

/// Sets the callback that receives events from now on, those that are waiting included. When this returns, the previous
/// callback is not running any more; inside a callback of this worker it returns at once.
///
/// @param callback NULL: events wait to be taken with detailflow_worker_poll.
/// @param user Passed to the callback.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_set_callback(
    const detailflow_worker *worker, detailflow_event_fn callback, void *user);

/// Drives a worker without threads (detailflow_worker_options_set_threads) for one frame: does the work that is predicted
/// to fit into the budget, but at least one unit when there is any.
///
/// - A unit prepares one job, steps jobs of one model together, or decodes images of one level together: as many as are
///   predicted to take half the budget at most.
/// - A unit whose time was not measured yet runs as the first of a call. Predictions follow the load of the machine.
/// - Events are taken with detailflow_worker_poll; a callback receives them inside this call, on its thread.
/// - No job runs between two calls.
///
/// @param budget_ns 0 does one unit.
/// @param report Filled; its struct_size is set. May be NULL.
/// @return WRONG_STATE when the worker has threads; BUSY when another thread is inside this call, or when it is called
/// inside the worker's own callback.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_tick(
    const detailflow_worker *worker, uint64_t budget_ns, detailflow_tick_report *report);

/// Gets the properties of an event.
///
/// @param info Filled; its struct_size is set.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_event_get_info(
    const detailflow_event *event, detailflow_event_info *info, detailflow_error *error);

/// Gets the tokens that one image had.
///
/// @param image_index 0 to image_count - 1.
/// @param tokens Receives the tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_event_get_tokens(
    const detailflow_event *event, uint32_t image_index, uint32_t *tokens, size_t capacity, size_t *count,
    detailflow_error *error);

/// Decodes the finest level of one image that was complete: on the calling thread, unless detailflow_event_info.decoded
/// is 1.
///
/// @param image_index 0 to image_count - 1.
/// @param target Receives the pixels; its width and height are detailflow_event_info.level_size.
/// @param error May be NULL.
/// @return WRONG_STATE before the first level.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_event_decode_level(
    const detailflow_event *event, uint32_t image_index, detailflow_image *target, detailflow_error *error);

/// Gets the message that says why the job was cancelled or failed; "" for other events.
///
/// @param buffer Receives the message: see "Text" above.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole message; may be NULL.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_event_get_job_message(
    const detailflow_event *event, char *buffer, size_t capacity, size_t *length, detailflow_error *error);

/// Frees an event. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_event_free(detailflow_event *event);

/// Creates default options: user 0, no flags, priority 0, no targets.
///
/// @param options Receives the handle. Free it with detailflow_submit_options_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_submit_options_new(
    detailflow_submit_options **options, detailflow_error *error);

/// Sets a number that each event of the job has.
///
/// @param user Any number; the default is 0.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_submit_options_set_user(
    detailflow_submit_options *options, uint64_t user);

/// Sets flags.
///
/// @param flags 0 (the default), or DETAILFLOW_SUBMIT_FLAG_* combined with `|`.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_submit_options_set_flags(
    detailflow_submit_options *options, uint32_t flags);

/// Sets the priority of the job; see detailflow_worker_set_priority.
///
/// @param priority Any number but NaN; the default is 0.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_submit_options_set_priority(
    detailflow_submit_options *options, float priority);

/// Sets where the pixels of one image go: each level that is reported is decoded and written there before its event. The
/// event has the pixels as well.
///
/// A target of the level's size gets the pixels as they are decoded; a smaller one the image downscaled as
/// detailflow_model_decode_mips does, a larger one upscaled bilinearly.
///
/// @param image_index Of the request; checked by detailflow_worker_submit_with.
/// @param targets Square images, each with its own size, format and stride: one, or a mip chain. The descriptions are
/// copied. The memory must not be touched or freed until the last event of the job was taken or given to the callback, or
/// the worker was freed; except that it may be read from a level's event until the worker goes on, in a worker without
/// threads until the next tick. No two targets of a job may overlap.
/// @param target_count 0 removes the targets of the image.
/// @return INVALID_ARGUMENT when an image is not square or its memory is too small, or two overlap.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_submit_options_set_target(
    detailflow_submit_options *options, uint32_t image_index, detailflow_image *targets, size_t target_count);

/// The message of the last failed call with these options: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_submit_options_get_message(
    const detailflow_submit_options *options, char *buffer, size_t capacity, size_t *length);

/// Frees options. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_submit_options_free(detailflow_submit_options *options);

/// Submits a request, with options. Otherwise as detailflow_worker_submit.
///
/// @param request Not changed; may be changed or freed afterwards.
/// @param options NULL takes the defaults. Not changed; may be changed or freed afterwards. Two jobs with targets in the
/// same memory must not run at the same time.
/// @param job Receives the number of the job, 1 and up; may be NULL. Events may come before this returns.
/// @return Those of detailflow_worker_submit; INVALID_ARGUMENT when a target is for an image that the request does not
/// have.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_submit_with(
    const detailflow_worker *worker, const detailflow_request *request, const detailflow_submit_options *options,
    uint64_t *job);

/// Changes the priority of a job, whether it runs or waits. Of two jobs at the same level (with PRIORITY_FIRST: at any) the
/// one of higher priority runs first, of two of the same priority the one submitted first. It counts from the next step
/// on. Does nothing when the job has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
/// @param priority Any number but NaN: importance, or minus the distance.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_set_priority(
    const detailflow_worker *worker, uint64_t job, float priority);

/// Pauses a job, a running one within a step. It keeps its tokens and frees its KV cache; when it goes on, the steps over
/// its tokens are repeated. Does nothing when it has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_pause(const detailflow_worker *worker, uint64_t job);

/// Lets a paused job go on, in its old place. Does nothing when it is not paused or has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_resume(
    const detailflow_worker *worker, uint64_t job);

/// Changes the level at which a job ends or is held. A held job (DETAILFLOW_SUBMIT_FLAG_HOLD) goes on, and gets the tokens
/// that one run to that level gives; it is held there again, and ends at the finest level. A job that has passed the level
/// ends, or is held, where it is. Does nothing when it has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
/// @param level_size Pixels per side; 0 is the finest level.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_worker_continue(
    const detailflow_worker *worker, uint64_t job, uint32_t level_size);

/// Encodes tokens as a token file (.dft) in memory. 128 tokens of 13 bits in groups of 8 take 272 bytes.
///
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param class_index The class that they were generated for, or DETAILFLOW_NO_CLASS.
/// @param seed The seed that they were generated from; may be NULL.
/// @param data Receives the file: see "Arrays" above.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_dft_encode(
    const detailflow_model *model, const uint32_t *tokens, size_t token_count, uint32_t class_index,
    const uint64_t *seed, void *data, size_t capacity, size_t *size);

/// Gets what a token file says. A file that is cut or damaged is not an error: the info gives the number of tokens that
/// are intact. No cut and no changed byte turns a token into another one unnoticed.
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @param info Filled; its struct_size is set.
/// @param error May be NULL.
/// @return BAD_FORMAT when it is no token file, has another version, or its header is damaged.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_dft_get_info(
    const void *data, size_t size, detailflow_dft_info *info, detailflow_error *error);

/// Gets the intact tokens of a token file.
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @param tokens Receives the tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens: detailflow_dft_info.intact_count.
/// @param error May be NULL.
/// @return BAD_FORMAT as detailflow_dft_get_info.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_dft_get_tokens(
    const void *data, size_t size, uint32_t *tokens, size_t capacity, size_t *count, detailflow_error *error);

/// Checks whether the tokens of a token file belong to a model: same tokenizer, same groups and bits, and its class and
/// intact tokens exist.
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @return INVALID_ARGUMENT when not, and the message names both; BAD_FORMAT as detailflow_dft_get_info.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_dft_check(
    const detailflow_model *model, const void *data, size_t size);

/// Generates the tokens that a token file lost, after those that are intact, in one call. With its own seed, model and
/// settings the result is what the file was. To step or cancel, or for another seed: detailflow_request_set_prefix and
/// detailflow_generation_new.
///
/// @param request Says how to sample, and gives class or classes and seed (of its first image) where the file has none.
/// @param data The file.
/// @param size Bytes at `data`.
/// @param token_count Tokens of the result, a prefix; 0 is as many as it was written with.
/// @param target Receives the new file; may be `data`. NULL with `capacity` 0 gets the size only, and generates nothing.
/// @param capacity Bytes at `target`.
/// @param target_size Receives the number of bytes.
/// @return Those of detailflow_dft_check and detailflow_generate.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_dft_repair(
    const detailflow_request *request, const void *data, size_t size, size_t token_count, void *target, size_t capacity,
    size_t *target_size);

/// Gets the kind of a file that holds tokens, from its first bytes.
///
/// @param data The file, or at least its first 8 bytes.
/// @param size Bytes at `data`.
/// @param tokens_kind Receives one of DETAILFLOW_TOKENS_KIND_*.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_tokens_get_kind(
    const void *data, size_t size, uint32_t *tokens_kind, detailflow_error *error);

/// Opens a pack. Reads 40 bytes, whatever the number of entries.
///
/// @param path The file.
/// @param pack Receives the handle. Free it with detailflow_pack_free.
/// @param error May be NULL.
/// @return NOT_FOUND; IO; BAD_FORMAT when it is no pack, has another version, is cut, or its footer is damaged: then
/// detailflow_pack_salvage can save its entries.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_open(
    const char *path, detailflow_pack **pack, detailflow_error *error);

/// As detailflow_pack_open, of a pack that lies in memory. Nothing is copied.
///
/// @param data The pack. It must stay valid, unchanged, until detailflow_pack_free.
/// @param size Bytes at `data`.
/// @param pack Receives the handle. Free it with detailflow_pack_free.
/// @param error May be NULL.
/// @return BAD_FORMAT: see detailflow_pack_open.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_open_memory(
    const void *data, size_t size, detailflow_pack **pack, detailflow_error *error);

/// As detailflow_pack_open, of a pack that callbacks read.
///
/// @param reader Copied. It is used by the calls that read the pack, on the threads that make them, and so possibly on
/// several at once, until detailflow_pack_free.
/// @param pack Receives the handle. Free it with detailflow_pack_free.
/// @param error May be NULL.
/// @return IO when read_at fails; BAD_FORMAT: see detailflow_pack_open.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_open_reader(
    const detailflow_reader *reader, detailflow_pack **pack, detailflow_error *error);

/// Closes a pack. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_pack_free(detailflow_pack *pack);

/// The message of the last failed call with this pack: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_get_message(
    const detailflow_pack *pack, char *buffer, size_t capacity, size_t *length);

/// Gets the number of entries.
///
/// @param count Receives the number.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_get_count(
    const detailflow_pack *pack, uint32_t *count);

/// Finds an entry by its name, with a few reads of a kilobyte.
///
/// @param name Case-sensitive.
/// @param entry_index Receives the index.
/// @return NOT_FOUND when there is none; BAD_FORMAT when the index of names is damaged where it would be.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_find_entry(
    const detailflow_pack *pack, const char *name, uint32_t *entry_index);

/// Gets the name of an entry; "" when it has none.
///
/// @param entry_index 0 to count - 1.
/// @param buffer Receives the name, at most 255 bytes and the zero: see "Text" above.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole name; may be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_get_entry_name(
    const detailflow_pack *pack, uint32_t entry_index, char *buffer, size_t capacity, size_t *length);

/// Gets an entry: a token file (.dft), as it was added. Two reads: 16 bytes, and the entry.
///
/// @param entry_index 0 to count - 1.
/// @param data Receives the file: see "Arrays" above.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
/// @return BAD_FORMAT when the index that leads to it is damaged. Whether the entry is damaged: detailflow_dft_get_info.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_get_entry(
    const detailflow_pack *pack, uint32_t entry_index, void *data, size_t capacity, size_t *size);

/// As detailflow_dft_get_info, of an entry.
///
/// @param entry_index 0 to count - 1.
/// @param info Filled; its struct_size is set.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_get_entry_info(
    const detailflow_pack *pack, uint32_t entry_index, detailflow_dft_info *info);

/// As detailflow_dft_get_tokens, of an entry.
///
/// @param entry_index 0 to count - 1.
/// @param tokens Receives the intact tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_get_entry_tokens(
    const detailflow_pack *pack, uint32_t entry_index, uint32_t *tokens, size_t capacity, size_t *count);

/// Writes what is left of a cut or damaged pack as a new pack: intact entries, and the intact tokens of damaged ones.
///
/// @param path The damaged file.
/// @param target The file to write; it appears complete or not at all.
/// @param entry_count Receives the number of entries of the new pack.
/// @param shortened_count Receives how many of them lost tokens; may be NULL.
/// @param error May be NULL.
/// @return NOT_FOUND; IO; BAD_FORMAT when nothing is left.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_salvage(
    const char *path, const char *target, uint32_t *entry_count, uint32_t *shortened_count, detailflow_error *error);

/// As detailflow_pack_salvage, of a pack that lies in memory.
///
/// @param data The damaged pack.
/// @param size Bytes at `data`.
/// @param target The file to write; it appears complete or not at all.
/// @param entry_count Receives the number of entries of the new pack.
/// @param shortened_count Receives how many of them lost tokens; may be NULL.
/// @param error May be NULL.
/// @return IO; BAD_FORMAT when nothing is left.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_salvage_memory(
    const void *data, size_t size, const char *target, uint32_t *entry_count, uint32_t *shortened_count,
    detailflow_error *error);

/// As detailflow_pack_salvage, of a pack that callbacks read.
///
/// @param reader The damaged pack; used within the call, on this thread.
/// @param target The file to write; it appears complete or not at all.
/// @param entry_count Receives the number of entries of the new pack.
/// @param shortened_count Receives how many of them lost tokens; may be NULL.
/// @param error May be NULL.
/// @return IO, also when read_at fails; BAD_FORMAT when nothing is left.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_salvage_reader(
    const detailflow_reader *reader, const char *target, uint32_t *entry_count, uint32_t *shortened_count,
    detailflow_error *error);

/// Starts writing a pack.
///
/// @param path The file. It appears, complete, in detailflow_pack_writer_finish.
/// @param writer Receives the handle. Free it with detailflow_pack_writer_free.
/// @param error May be NULL.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_writer_new(
    const char *path, detailflow_pack_writer **writer, detailflow_error *error);

/// Frees a writer. A pack that was not finished leaves nothing behind. NULL does nothing.
DETAILFLOW_API void DETAILFLOW_CALL detailflow_pack_writer_free(detailflow_pack_writer *writer);

/// The message of the last failed call with this writer: see "Text" above.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_writer_get_message(
    const detailflow_pack_writer *writer, char *buffer, size_t capacity, size_t *length);

/// Appends an entry. The writer keeps 16 bytes of memory for each entry, and about 30 for each name.
///
/// @param name 1 to 255 bytes without control characters, not used by another entry; NULL for no name.
/// @param data An intact token file (.dft), of any model.
/// @param size Bytes at `data`.
/// @param entry_index Receives the index, counted from 0; may be NULL.
/// @return BAD_FORMAT when the token file is damaged; INVALID_ARGUMENT when the name is not allowed or taken;
/// OUT_OF_MEMORY; IO, after which the pack cannot be finished. After the others the writer is as before.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_writer_add(
    detailflow_pack_writer *writer, const char *name, const void *data, size_t size, uint32_t *entry_index);

/// Writes the index and puts the file in its place. After that, also after a failure, the writer can only be freed: other
/// calls are WRONG_STATE.
///
/// @return IO; OUT_OF_MEMORY. In both cases an existing file at the path is unchanged.
DETAILFLOW_API detailflow_status DETAILFLOW_CALL detailflow_pack_writer_finish(detailflow_pack_writer *writer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DETAILFLOW_H */
