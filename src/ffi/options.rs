//! How the runtime is loaded and a model opened.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;

use super::call::{call, change, get_message};
use super::cancel::detailflow_cancel;
use super::error::detailflow_error;
use super::family::{Family, family};
use super::handle::{Guard, Guarded, Object};
use super::message::Message;
use super::parallel::{detailflow_parallel_for_fn, on_host};
use super::param::{Exclusive, In, Out, Owned, Shared, Text, on_off};
use super::status::{c_string, detailflow_status};
use crate::model::{ModelOptions, OpenCancel, OpenProgress};
use crate::runtime::Spinning;

/// Where to find ONNX Runtime. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_runtime_options(Guarded<Option<PathBuf>>);

impl Object for detailflow_runtime_options {
    const KIND: &'static str = "detailflow_runtime_options";
    const NAME: &'static str = "options";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_runtime_options {
    type Value = Option<PathBuf>;
    fn guarded(&self) -> &Guarded<Self::Value> {
        &self.0
    }
}

/// Creates default options: ONNX Runtime is the file that the environment variable ORT_DYLIB_PATH names. Without it,
/// these are searched: runtime/ and detailflow/runtime/ beside this library, the library's own folder, runtime/ above it,
/// target/runtime of a checkout; the same places of the executable, and of one in bin/ also detailflow/runtime/ below
/// ../lib/ARCH-linux-gnu, ../lib64 and ../lib; except on Windows, the system's library path.
///
/// @param options Receives the handle. Free it with detailflow_runtime_options_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_runtime_options_new(
    options: Out<'_, *mut detailflow_runtime_options>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = options.place("options")?;
        place.set_handle(detailflow_runtime_options(Guarded::new(detailflow_runtime_options::KIND, None)));
        Ok(())
    })
}

/// Sets the ONNX Runtime library to load; no other is tried.
///
/// @param library A path.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_runtime_options_set_library(
    options: Exclusive<'_, detailflow_runtime_options>,
    library: Text<'_>,
) -> detailflow_status {
    change(options, |options| {
        *options = Some(library.path("library")?);
        Ok(())
    })
}

/// The message of the last failed call with these options: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_runtime_options_get_message(
    options: Shared<'_, detailflow_runtime_options>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(options, buffer, capacity, length)
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_runtime_options_free(options: Owned<detailflow_runtime_options>) {
    options.free(|_| {});
}

/// Loads ONNX Runtime now, rather than at the first detailflow_model_open. Once per process.
///
/// @param options NULL takes the defaults.
/// @param error May be NULL.
/// @return NO_RUNTIME when it cannot be loaded (the message lists each place that was tried), or when another file was
/// loaded before. A second call that names the same file does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_runtime_init(
    options: Shared<'_, detailflow_runtime_options>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let library = options.optional()?.map(|options| options.0.copy()).transpose()?.flatten();
        crate::runtime::init(library.as_deref())?;
        Ok(())
    })
}

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
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_runtime_set_api(
    ort_api_base: In<'_, c_void>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        // SAFETY: the contract: NULL, or what OrtGetApiBase returned.
        unsafe { crate::runtime::set_api(ort_api_base.address()) }?;
        Ok(())
    })
}

/// When threads that wait for work keep a CPU core busy looking for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_spinning {
    /// The default: DETAILFLOW_SPINNING_RUNS.
    DETAILFLOW_SPINNING_DEFAULT = 0,
    /// Never. Steps take longer, and other programs get the CPU.
    DETAILFLOW_SPINNING_NEVER = 1,
    /// While a graph runs, and not after it.
    DETAILFLOW_SPINNING_RUNS = 2,
}

family!(detailflow_spinning:
    DETAILFLOW_SPINNING_DEFAULT, DETAILFLOW_SPINNING_NEVER, DETAILFLOW_SPINNING_RUNS);

/// How a model is opened. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_model_options(pub(super) Guarded<OpenOptions>);

/// What the options say, and who watches the opening.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    pub(super) model: ModelOptions,
    pub(super) progress: Option<Host>,
    pub(super) cancel: Option<OpenCancel>,
}

/// The caller vouches for the callback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    callback: unsafe extern "C" fn(*mut c_void, u32, u32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the contract asks for a callback that may be called with this pointer on the thread that opens.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

impl Host {
    pub(super) fn tell(&self, progress: OpenProgress<'_>) {
        let stage = c_string(progress.stage);
        // SAFETY: the caller vouched for the callback.
        unsafe { (self.callback)(self.user, progress.done as u32, progress.total as u32, stage.as_ptr()) };
    }
}

/// Receives the progress of detailflow_model_open: on the thread that opens, before each stage and at the end. It must not
/// throw.
///
/// @param user What was given to detailflow_model_options_set_open_progress.
/// @param done Stages done, 0 to `total`. Starts again when a device is refused and the next one is tried.
/// @param total Stages of the device that is being tried; 1 while the files are read, before the others are known.
/// @param stage The stage that starts now: "files", the file name of a graph that is compiled, or "first run"; "" at the
/// end. Valid during the call.
pub type detailflow_open_progress_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, done: u32, total: u32, stage: *const c_char)>;

impl Object for detailflow_model_options {
    const KIND: &'static str = "detailflow_model_options";
    const NAME: &'static str = "options";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_model_options {
    type Value = OpenOptions;
    fn guarded(&self) -> &Guarded<Self::Value> {
        &self.0
    }
}

/// Creates default options: CPU, one thread per core that the process may use, the default precision and attention form
/// of the device (detailflow_model_options_set_precision, detailflow_model_options_set_form).
///
/// @param options Receives the handle. Free it with detailflow_model_options_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_new(
    options: Out<'_, *mut detailflow_model_options>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = options.place("options")?;
        place
            .set_handle(detailflow_model_options(Guarded::new(detailflow_model_options::KIND, OpenOptions::default())));
        Ok(())
    })
}

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
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_device(
    options: Exclusive<'_, detailflow_model_options>,
    device: Text<'_>,
) -> detailflow_status {
    change(options, |options| {
        options.model.device = device.text("device")?.parse()?;
        Ok(())
    })
}

/// Sets an option of the device's execution provider, such as "precision" to "bf16" for openvino. Replaces an earlier
/// value of the same key. Checked by detailflow_model_open; some providers ignore unknown keys (OpenVINO refuses them).
///
/// @param key The provider's own name of the option.
/// @param value Its value.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_device_option(
    options: Exclusive<'_, detailflow_model_options>,
    key: Text<'_>,
    value: Text<'_>,
) -> detailflow_status {
    change(options, |options| Ok(options.model.device_options.set(key.text("key")?, value.text("value")?)?))
}

/// Sets whether the model may run on the CPU when the device cannot be used.
///
/// @param allow 1: it may; the log and detailflow_model_get_report give the reason. 0 (the default): that is NO_DEVICE.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_allow_fallback(
    options: Exclusive<'_, detailflow_model_options>,
    allow: u32,
) -> detailflow_status {
    change(options, |options| {
        options.model.allow_fallback = on_off(allow, "allow")?;
        Ok(())
    })
}

/// Sets when threads that wait for work keep a CPU core busy.
///
/// @param spinning One of DETAILFLOW_SPINNING_*.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_spinning(
    options: Exclusive<'_, detailflow_model_options>,
    spinning: u32,
) -> detailflow_status {
    change(options, |options| {
        options.model.spinning = match detailflow_spinning::choose(spinning, "spinning")? {
            DETAILFLOW_SPINNING_NEVER => Spinning::Never,
            DETAILFLOW_SPINNING_DEFAULT | DETAILFLOW_SPINNING_RUNS => Spinning::Runs,
        };
        Ok(())
    })
}

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
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_threads(
    options: Exclusive<'_, detailflow_model_options>,
    threads: u32,
) -> detailflow_status {
    change(options, |options| {
        let changed = options.model.clone().with_threads(threads as usize);
        changed.check()?;
        options.model = changed;
        Ok(())
    })
}

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
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_parallel_for(
    options: Exclusive<'_, detailflow_model_options>,
    parallel_for: detailflow_parallel_for_fn,
    user: *mut c_void,
) -> detailflow_status {
    change(options, |options| {
        options.model.parallel_for = parallel_for.map(|parallel_for| on_host(parallel_for, user));
        Ok(())
    })
}

/// Sets the precision of the weights.
///
/// @param precision Such as "fp32", "fp16", "int8", "int4". NULL (the default): on the CPU the first that the
/// bundle lists; on other devices fp16, then fp32, then the others (onnx/BUNDLE.md, Variants). Whether the bundle has it
/// is found out by detailflow_model_open.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_precision(
    options: Exclusive<'_, detailflow_model_options>,
    precision: Text<'_>,
) -> detailflow_status {
    change(options, |options| {
        options.model.precision = precision.optional("precision")?.map(Into::into);
        Ok(())
    })
}

/// Sets the form: attention backend and KV-cache layout.
///
/// @param form "native" (operators of this library, CPU), "mha" (MultiHeadAttention of ONNX Runtime), "plain" (standard
/// operators; copies the KV cache at every step) or "fixed" (standard operators on a KV cache of fixed size). NULL (the
/// default): on the CPU the first that the bundle lists and this CPU runs well; on other devices "fixed" where it is
/// chosen automatically (cuda, webgpu), then the first that the bundle lists (onnx/BUNDLE.md, Variants).
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_form(
    options: Exclusive<'_, detailflow_model_options>,
    form: Text<'_>,
) -> detailflow_status {
    change(options, |options| {
        options.model.form = form.optional("form")?.map(str::parse).transpose()?;
        Ok(())
    })
}

/// Sets a callback for the progress of detailflow_model_open.
///
/// @param callback Called on the thread that opens. NULL (the default) removes it.
/// @param user Passed to the callback.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_open_progress(
    options: Exclusive<'_, detailflow_model_options>,
    callback: detailflow_open_progress_fn,
    user: *mut c_void,
) -> detailflow_status {
    change(options, |options| {
        options.progress = callback.map(|callback| Host { callback, user });
        Ok(())
    })
}

/// Sets the handle that cancels detailflow_model_open, from any thread: it then returns CANCELLED.
///
/// @param cancel Made by detailflow_cancel_new; may be freed afterwards. NULL (the default) removes it.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_cancel(
    options: Exclusive<'_, detailflow_model_options>,
    cancel: Shared<'_, detailflow_cancel>,
) -> detailflow_status {
    change(options, |options| {
        options.cancel = cancel.optional()?.map(detailflow_cancel::for_opening).transpose()?;
        Ok(())
    })
}

/// The message of the last failed call with these options: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_get_message(
    options: Shared<'_, detailflow_model_options>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(options, buffer, capacity, length)
}

/// Sets whether detailflow_model_open reads the graphs and weights into memory.
///
/// @param in_memory 1: they are read, whatever their length, and checked against the SHA-256 of the manifest; afterwards
/// no file of the bundle is used. 0 (the default): weights are mapped from their file, which must not change while the
/// model is open (see "Process" above). Opening is faster then, and processes share the memory.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_weights_in_memory(
    options: Exclusive<'_, detailflow_model_options>,
    in_memory: u32,
) -> detailflow_status {
    change(options, |options| {
        options.model.weights_in_memory = on_off(in_memory, "in_memory")?;
        Ok(())
    })
}

/// Sets whether the model is to encode images, if its bundle has the encoder.
///
/// @param encoder 1 (the default): the encoder is compiled when the first image is encoded; detailflow_model_open_reader
/// compiles it at once. 0: it is neither read nor compiled, and encoding is WRONG_STATE.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_set_encoder(
    options: Exclusive<'_, detailflow_model_options>,
    encoder: u32,
) -> detailflow_status {
    change(options, |options| {
        options.model.encoder = on_off(encoder, "encoder")?;
        Ok(())
    })
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_options_free(options: Owned<detailflow_model_options>) {
    options.free(|_| {});
}
