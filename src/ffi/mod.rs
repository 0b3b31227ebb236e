//! libdetailflow: DetailFlow image generation behind a stable C API.
//!
//! In short: open a model, make a request, draw it, take the pictures.
//!
//! ```c
//!     detailflow_model *model = NULL;
//!     detailflow_request *request = NULL;
//!     detailflow_generation *generation = NULL;
//!     detailflow_model_open(NULL, NULL, &model);
//!     detailflow_request_new(model, &request);
//!     detailflow_generate(request, &generation);
//!     detailflow_generation_save(generation, 0, "sprite.png");
//! ```
//!
//! What holds for every function, unless it says otherwise:
//!
//! Errors. Functions return a detailflow_status: DETAILFLOW_OK (0) or a positive code. The code is for the program;
//! the sentence for the person is detailflow_last_message() on the same thread, or the _message function of the
//! handle from any thread. A call that fails changes nothing, and leaves outputs as they were. No call exits,
//! aborts or lets an exception or panic through, and none prints; a fault of the library itself comes back as
//! DETAILFLOW_INTERNAL (and Rust says on stderr where). Memory whose size comes from a request or a file is asked
//! for in a way that can fail (DETAILFLOW_OUT_OF_MEMORY, and the next call works); only tiny allocations may abort,
//! as in any Rust program.
//!
//! Pointers. NULL where a pointer is needed is DETAILFLOW_INVALID_ARGUMENT, never a crash; what may be NULL says
//! so. Strings are zero-terminated UTF-8; paths are the system's bytes on Unix. Strings given to the library are
//! copied.
//!
//! Ownership. _new and _open functions give a handle that its _free function takes back. _free(NULL) does nothing.
//! Handles keep alive what they were made from: every order of freeing is fine. Pixels and tokens are written into
//! the caller's memory; nothing else has to be freed.
//!
//! Threads. A const handle may be used by any number of threads at once; a handle that is not const by one at a
//! time: a second thread inside gets DETAILFLOW_BUSY, not undefined behaviour. Handles may move between threads.
//! Generations of one model run side by side and take turns by the step. A detailflow_cancel may be used by anyone
//! at any time. Freeing a handle while another thread is inside a call with it is an error of the caller, with one
//! exception: freeing a generation that steps cancels it and waits.
//!
//! Background. A detailflow_worker draws on threads of its own what is submitted, and tells of each job in events, in
//! the order in which things happened; the last one of a job is DONE, CANCELLED or FAILED, and comes exactly once.
//! Freeing a worker cancels its jobs and waits until they have stopped. Freeing a model does so with all jobs of that
//! model that were submitted before, in any worker: each ends (CANCELLED, unless it was done), and the worker stays
//! as it is. Requests and generations keep the model alive: what is submitted from them afterwards is drawn. Inside a
//! callback of a worker everything may be called; nothing waits there for the worker itself. When the process ends, a
//! callback that runs is waited for, and none is called after.
//!
//! Structs. Plain structs begin with struct_size: set it to sizeof the struct. A smaller one than the first version
//! is refused; a larger one (from a newer header) is accepted when what is beyond is zero. Outputs fill as much as
//! both sides know. In an array of structs the first one's struct_size is also how far apart they lie; those that go
//! in all say the same. Choices come as uint32_t. Times are in nanoseconds, uint64_t.
//!
//! Process. ONNX Runtime is loaded once, at the first detailflow_runtime_init or detailflow_model_open, and never
//! unloaded; at that moment the environment variable ORT_DISABLE_TELEMETRY is set to 1 (call detailflow_runtime_init
//! early if other threads read the environment). Listing devices, and opening a model on one other than the CPU, loads
//! the libraries of providers that lie beside ONNX Runtime, or the plugin named, and what those load of the system. The
//! library opens no socket, and no file but those named, what ONNX Runtime reads of the processor, before much memory
//! is asked for what the system says is there, and, when a time is predicted that was not measured yet, the calibration
//! of that model in the user's cache directory. It writes no file but those named and, when told to calibrate, that
//! one. exit() with work in flight is safe: it stops running steps and waits for them, and calls that come after get
//! DETAILFLOW_WRONG_STATE. fork() after ONNX Runtime was loaded is not supported: the child must not use the library.
//!
//! Numbers (status codes, constants, struct layouts) never change their meaning; new ones are appended.

#![allow(unsafe_code, non_camel_case_types, missing_debug_implementations)] // Types of C.
#![allow(clippy::missing_safety_doc)] // The contract is stated once, above: it is the head of the header.

mod best;
mod bundle;
mod call;
mod cost;
mod detail;
mod device;
mod generation;
mod image;
mod log;
mod model;
mod options;
mod pack;
mod plain;
mod request;
mod status;
mod tokens;
mod vary;
mod worker;

pub use best::*;
pub use bundle::*;
pub use cost::*;
pub use detail::*;
pub use device::*;
pub use generation::*;
pub use image::*;
pub use log::*;
pub use model::*;
pub use options::*;
pub use pack::*;
pub use request::*;
pub use status::*;
pub use tokens::*;
pub use vary::*;
pub use worker::*;
