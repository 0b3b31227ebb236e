//! libdetailflow: DetailFlow image generation behind a stable C API.
//!
//! DetailFlow generates an image as a sequence of tokens, coarse to fine. The first few tokens already decode to a small
//! image; further tokens add resolution and detail. Words used below:
//!
//! - image: one result of a request, or pixels in memory. A picture file is a PNG, JPEG, WebP, ... file.
//! - bundle: one model: manifest, graphs, weights, in a folder or in a single file (.dflow). A model is an open bundle.
//! - variant: one precision and one form of a bundle.
//! - form: attention backend and KV-cache layout.
//! - token: an entry of the codebook, chosen at one position. A full image has N tokens. `code` in manifests and statistics
//!   means the entry.
//! - causal part: the first c tokens, sampled one by one.
//! - group: g tokens that one step samples together, after the causal part.
//! - step: one run of the autoregressive graph. A full image takes c + (N - c) / g steps; the shipped model, with N = 32,
//!   c = 4 and g = 4, takes 4 + 28/4 = 11.
//! - prefix: the first t tokens, t in 1..c or a multiple of g up to N; decodes to a complete image of ladder(t) pixels per
//!   side.
//! - ladder: the table from prefix length to decoded size.
//! - level: one of the ladder's sizes, with the largest number of tokens that decodes to it (at least c). level_size is its
//!   pixels per side. The finest level is the full image.
//!
//! In short: open a model, make a request, generate, save the image.
//!
//! ```c
//!     detailflow_model *model = NULL;
//!     detailflow_request *request = NULL;
//!     detailflow_generation *generation = NULL;
//!     detailflow_model_open(NULL, NULL, &model, NULL);
//!     detailflow_request_new(model, &request);
//!     detailflow_generate(request, &generation);
//!     detailflow_generation_save(generation, 0, "sprite.png");
//!     detailflow_generation_free(generation);
//!     detailflow_request_free(request);
//!     detailflow_model_free(model);
//! ```
//!
//! The rules below hold for every function, unless its comment says otherwise.
//!
//! # Names
//!
//! - Functions are detailflow_OBJECT_VERB. `_get_x` reads state into outputs, `_set_x` changes it, `_new` and `_open` make
//!   a handle, `_free` frees it. Everything that computes has its verb: decode, encode, predict, find, check.
//! - Functions without a handle that return a value are named after it: detailflow_version, detailflow_last_message.
//! - level_size, prefix_size and image_size are pixels per side. `_index` counts from 0. `_count` is a number of things,
//!   `_bytes` of bytes, `_ns` of nanoseconds.
//!
//! # Numbers
//!
//! - Families of constants are enums in this header; parameters and fields are uint32_t, statuses int32_t.
//! - In each family 0 means none or the default, where there is one, and the others count from 1.
//! - On/off parameters are uint32_t, 0 or 1. Flags are combined with `|`. Other values are INVALID_ARGUMENT.
//!
//! # Errors
//!
//! - Functions that can fail return a detailflow_status: 0 (DETAILFLOW_STATUS_OK) or a positive code. The code is for the
//!   program, the message for a person. Comments name statuses without DETAILFLOW_STATUS_; INVALID_ARGUMENT, OUT_OF_MEMORY
//!   and INTERNAL are possible everywhere.
//! - The message of a failed call can be read in these places:
//!   - thread: detailflow_last_message gives that of the last failed call of the calling thread, whatever the function.
//!   - handle: when the first parameter is a handle that must not be NULL and has a `_get_message` function, that function
//!     gives the message of the last failed call with the handle, from any thread.
//!   - detailflow_error: every other function that returns a status takes one, which may be NULL, as its last parameter,
//!     and fills it.
//! - A failed call leaves its outputs (except the detailflow_error) as they were. advance and finish keep the steps done
//!   before the failure; other exceptions are stated at their functions.
//! - No call exits or throws, and none prints, with two exceptions: an internal fault (INTERNAL) prints its place to
//!   stderr; if a small allocation of fixed size fails, the process aborts.
//! - Memory whose size depends on a request or a file is allocated fallibly: OUT_OF_MEMORY, and the next call works.
//!
//! # Pointers
//!
//! - NULL where a pointer is needed is INVALID_ARGUMENT. Parameters that may be NULL say so.
//! - Pointers need no alignment. Arrays and strings that are inputs are copied, or used during the call only,
//!   with the exceptions under "Ownership".
//! - Strings are zero-terminated UTF-8. Paths are UTF-8 on Windows, and any bytes elsewhere.
//! - Handles: the library knows which handles are alive, and of which kind. A freed handle, a handle of another kind or a
//!   stray pointer is INVALID_ARGUMENT, and in `_free` does nothing but write to the log. An address that was freed and
//!   is used by a newer handle of the same kind cannot be told from it.
//!
//! # Arrays
//!
//! - An array that is an output has three parameters: the array, its capacity, and a pointer that receives the number.
//! - NULL with capacity 0 gets the number only. A capacity that is too small is INVALID_ARGUMENT.
//!
//! # Text
//!
//! - Text that is an output has the parameters buffer, capacity and length. What does not fit is cut on a character
//!   boundary; the buffer is zero-terminated.
//! - length, which may be NULL, receives the length of the whole text, without the zero. A NULL buffer with capacity 0
//!   gets the length only.
//!
//! # Ownership
//!
//! - A handle made by a `_new` or `_open` function, or received as `detailflow_x **`, is freed with its `_free` function.
//!   `_free(NULL)` does nothing.
//! - Handles keep alive what they were made from: they may be freed in any order.
//! - Pixels and tokens are written into the caller's memory; nothing else needs to be freed.
//! - Two functions use the caller's memory after the call: detailflow_model_open_memory, until it calls `release`, and
//!   detailflow_pack_open_memory, until the pack is freed.
//!
//! # Threads
//!
//! - A function that takes a handle as const may be called by any number of threads at once.
//! - While a non-const call runs on a handle, every other call on it returns BUSY; a non-const call also returns BUSY while
//!   a const call runs. Exceptions: `_get_message` and const functions of a generation always work, and block no call.
//! - Const functions of a generation read the state after the last finished step. Decoding waits at most for other decodes.
//! - Handles may move between threads.
//! - Generations of one model run side by side and take turns step by step.
//! - A detailflow_cancel may be triggered by any thread at any time.
//! - A model has threads of its own, or those of the host: detailflow_model_options_set_parallel_for.
//! - Freeing a handle while another thread is inside a call with it is an error of the caller. One exception: freeing a
//!   generation that another thread steps cancels the step and waits for it.
//!
//! # Workers
//!
//! - A detailflow_worker generates submitted requests on its own threads, and reports each job by events, in the order in
//!   which things happened. The last event of a job is DONE, CANCELLED or FAILED, and comes exactly once.
//! - A worker with 0 threads works inside detailflow_worker_tick, on the thread that calls it, within a budget of time. No
//!   job of it runs between two ticks.
//! - Jobs wait in one order, which detailflow_worker_options_set_order chooses: by the number of levels that they have
//!   reached, by priority, by submission. Priorities, pauses and targets may be changed at any time, by any thread; they
//!   count from the next step on, and have no effect on a job that has ended. A number that no job has is INVALID_ARGUMENT.
//! - Paused and held jobs keep their tokens and free their KV cache. They count as pending.
//! - Freeing a worker cancels its jobs and waits until they have stopped. detailflow_worker_close does so with a timeout.
//! - Freeing a model does the same with all jobs of that model that were submitted before, in any worker. The worker
//!   itself is not affected. What is submitted later, from requests and generations that are still alive, runs.
//! - Any function may be called inside a callback of a worker; calls that would wait for that worker return immediately.
//!   While the worker is being freed its own handle is already invalid there.
//! - When the process ends, a running callback is waited for, and none is called after it.
//!
//! # Structs
//!
//! - Plain structs begin with struct_size: set it to sizeof the struct, for inputs and outputs.
//! - A size smaller than that of the first version is INVALID_ARGUMENT. A larger one (newer header) is accepted when the
//!   extra bytes of inputs are zero. Outputs are filled as far as both sides know the struct.
//! - Arrays of structs: struct_size of element 0 is the array stride. Input arrays: set it in every element, to the same
//!   size. Output arrays: set it in element 0.
//! - Arrays whose elements are read and written (detailflow_model_lay_out_atlas, detailflow_model_decode_mips) count as
//!   input arrays.
//! - Fields named reserved must be 0 in inputs; in outputs they are 0.
//!
//! # Process
//!
//! - ONNX Runtime is loaded once, by the first call that needs it, and never unloaded. At that moment the environment
//!   variable ORT_DISABLE_TELEMETRY is set to 1: call detailflow_runtime_init early if other threads read the environment.
//!   ONNX Runtime for Windows does not look at it; there telemetry is turned off by a call right after loading.
//! - From then on, and from the first worker on, this library stays in memory when the host unloads it (dlclose,
//!   FreeLibrary).
//! - Listing devices, or opening a model on a device other than the CPU, loads the execution provider libraries beside
//!   ONNX Runtime, or the plugin that was named, and what those need.
//! - The library opens no socket. It reads these files:
//!   - those that were named, and the files of a bundle that was named;
//!   - the library of ONNX Runtime and the libraries that it needs; the system's linker finds them in /etc/ld.so.cache;
//!   - when a time is predicted that was not measured yet, the calibration of the model in the user's cache directory;
//!   - on Linux, about CPU, memory and their limits: /proc/cpuinfo, /proc/meminfo, /proc/self/cgroup, /proc/self/maps,
//!     /proc/self/mountinfo, /proc/self/statm, and files below /sys/devices/system/cpu and /sys/fs/cgroup;
//!   - on Linux, when ONNX Runtime is loaded: /etc/localtime, and files below /sys/bus/pci/devices, /sys/class/accel and
//!     /sys/class/drm.
//! - It writes the files that were named, each under a temporary name (.detailflow-*) in the same folder first, and, in
//!   detailflow_model_calibrate, the calibration. It lists that folder, and removes temporary files of killed processes
//!   that are a day old.
//! - Weights are mapped from their file while a model is open: that of a folder, or the single file. To replace a bundle or a
//!   file of it, write the new one beside it and rename it: open models keep the old one. What a model does whose weights
//!   were overwritten in place is undefined, and when the file was made shorter the process may die of SIGBUS.
//!   detailflow_model_options_set_weights_in_memory reads the files instead.
//! - Paths are made absolute when an object is opened: the working directory may change afterwards.
//! - Threads of a model take no signals that are sent to the process, except SIGPROF, and inherit the CPU mask of the thread
//!   that opens the model. With few threads left (RLIMIT_NPROC, pids.max), little address space, or without /proc,
//!   detailflow_model_open returns OUT_OF_MEMORY or opens a model with fewer threads.
//! - exit() is safe at any time: running steps are stopped and waited for; later calls return WRONG_STATE.
//!   - On Windows this is so for exit() of ucrtbase.dll (Visual C++ with /MD) and msvcrt.dll, and of a program that this library
//!     is linked into statically. A program with a C runtime of its own (/MT) that loads the DLL, and ExitProcess(), end
//!     all other threads first, in the middle of what they do: end workers and generations before.
//!   - In the handlers of Windows that run after that (DllMain, static objects of DLLs) functions return WRONG_STATE, and
//!     `_free` does nothing.
//! - fork(): until ONNX Runtime is loaded and the first worker is started, a child may use the library. Later it works in
//!   the parent only. In the child every function that returns a status returns WRONG_STATE; `_free` does nothing, at once;
//!   detailflow_version, detailflow_version_number, detailflow_abi_version, detailflow_status_name and
//!   detailflow_last_message work; exec(), exit() and _exit() do what they do without the library.
//! - Float environment: a call may be made in any (rounding mode, flushing of subnormal numbers, trapped exceptions,
//!   raised flags). The library computes in the default one, so that results do not depend on it, and leaves the
//!   caller's as it was. Callbacks run in that of the calling thread; those of a worker in that of the thread that created
//!   the worker; log messages from threads of ONNX Runtime in the default one. x86-64 and AArch64; elsewhere it must be the
//!   default one.
//! - Stack: a thread needs 128 KiB for any call; callbacks come on top.
//! - Signal stacks: on x86-64 Linux with AMX, the system is asked for tiles when a GEMM of int8 weights with 17 rows or more
//!   is about to run for the first time, in form "native": when an image is decoded, or several are generated. From then on
//!   it allows no sigaltstack() of less than getauxval(AT_MINSIGSTKSZ), about 12 KB, in the whole process. While some thread
//!   has a smaller one it refuses the tiles for good; then AVX-512 is used, with the same results.
//! - pthread_cancel: a thread that is inside a call is cancelled after it. The type must be deferred (the default). The
//!   threads of workers cannot be cancelled.
//!
//! # Stability
//!
//! - Functions, numbers, names and struct layouts never change; new ones are appended. DETAILFLOW_ABI_VERSION then
//!   increases.
//! - A program runs with every library whose detailflow_abi_version() is at least its DETAILFLOW_ABI_VERSION.

#![allow(unsafe_code, reason = "the boundary to C")]
#![allow(non_camel_case_types, missing_debug_implementations, reason = "types of C")]
#![allow(clippy::enum_variant_names, reason = "constants have the names that the header gives them")]
#![allow(
    clippy::too_many_arguments,
    clippy::must_use_candidate,
    clippy::missing_safety_doc,
    reason = "signatures of C; the contract is stated once, above, and is the head of the header"
)]

mod atlas;
mod best_of;
mod bundle;
mod call;
mod cancel;
mod cost;
mod device;
mod error;
mod family;
mod finish;
mod generation;
mod handle;
mod image;
mod log;
mod message;
mod mips;
mod model;
mod options;
mod pack;
mod parallel;
mod param;
mod plain;
mod reader;
mod request;
mod status;
mod submit;
mod tokens;
mod vary;
mod worker;

pub use atlas::*;
pub use best_of::*;
pub use bundle::*;
pub use cancel::*;
pub use cost::*;
pub use device::*;
pub use error::*;
pub use finish::*;
pub use generation::*;
pub use image::*;
pub use log::*;
pub use mips::*;
pub use model::*;
pub use options::*;
pub use pack::*;
pub use parallel::*;
pub use reader::*;
pub use request::*;
pub use status::*;
pub use tokens::*;
pub use vary::*;
pub use worker::*;
