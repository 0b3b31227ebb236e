//! How the runtime is loaded and a model opened.

use std::ffi::c_char;
use std::path::PathBuf;

use super::call::{Handle, call, free, into_handle, object, on, output, path, text};
use super::status::{Failure, detailflow_status};
use crate::model::ModelOptions;
use crate::runtime::Spinning;

/// Where to find ONNX Runtime. Made by detailflow_runtime_options_new.
pub struct detailflow_runtime_options(Handle<Option<PathBuf>>);

/// Options that say nothing: ONNX Runtime is the file that ORT_DYLIB_PATH names; otherwise libonnxruntime in a
/// folder runtime/ beside or above this library or the executable, in target/runtime of the checkout, or found by
/// the system.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_runtime_options_new(
    options: *mut *mut detailflow_runtime_options,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        unsafe { output(options, "options") }?
            .set(into_handle(detailflow_runtime_options(Handle::new("detailflow_runtime_options", None))));
        Ok(())
    })
}

/// The file to load, and no other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_runtime_options_set_library(
    options: *mut detailflow_runtime_options,
    library: *const c_char,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |place| {
        // SAFETY: the contract of the header.
        *place = Some(unsafe { path(library, "library") }?);
        Ok(())
    })
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_runtime_options_free(options: *mut detailflow_runtime_options) {
    // SAFETY: the contract of the header.
    unsafe { free(options) }
}

/// Loads ONNX Runtime now; otherwise the first detailflow_model_open does. `options` may be NULL. Once per process:
/// a second call is fine when it names the same file, and DETAILFLOW_NO_RUNTIME when it names another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_runtime_init(options: *const detailflow_runtime_options) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let library = unsafe { options.as_ref() }.map(|options| options.0.copy()).transpose()?.flatten();
        crate::runtime::init(library.as_deref())?;
        Ok(())
    })
}

/// How a model is opened. Made by detailflow_model_options_new.
pub struct detailflow_model_options(pub(super) Handle<ModelOptions>);

/// Options that say nothing: the CPU, a thread for each core, the bundle's best precision and form.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_new(
    options: *mut *mut detailflow_model_options,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        unsafe { output(options, "options") }?.set(into_handle(detailflow_model_options(Handle::new(
            "detailflow_model_options",
            ModelOptions::default(),
        ))));
        Ok(())
    })
}

/// Threads that wait sleep between any two pieces of work.
pub const DETAILFLOW_SPINNING_NEVER: u32 = 1;
/// Threads that wait look for work while a graph runs, and stop when it is over.
pub const DETAILFLOW_SPINNING_RUNS: u32 = 2;

/// Where graphs run: "cpu" (the default), "auto" (the best that works here), "cuda[:i]", "tensorrt[:i]", "directml[:i]",
/// "coreml", "webgpu", "openvino[:CPU|GPU|NPU]", "migraphx[:i]" or "plugin:PATH[:device]"; i is the number of a card.
/// detailflow_device_list_new lists those that are here. One that is not among these words is DETAILFLOW_NO_DEVICE at
/// once; whether it can be had is seen when a model is opened.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_device(
    options: *mut detailflow_model_options,
    device: *const c_char,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        // SAFETY: the contract of the header.
        options.device = unsafe { text(device, "device") }?.parse()?;
        Ok(())
    })
}

/// What the device's provider is told, in its own words, such as "precision" and "bf16" for openvino. An earlier value of
/// the same key is replaced. Whether the provider knows it is seen when a model is opened, as far as the provider tells.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_device_option(
    options: *mut detailflow_model_options,
    key: *const c_char,
    value: *const c_char,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        // SAFETY: the contract of the header.
        let (key, value) = unsafe { (text(key, "key")?, text(value, "value")?) };
        Ok(options.device_options.set(key, value)?)
    })
}

/// 1 lets a model run on the CPU when the device cannot be had; the log tells why, and so does detailflow_model_report.
/// 0 (the default) makes that DETAILFLOW_NO_DEVICE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_allow_fallback(
    options: *mut detailflow_model_options,
    allow: u32,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        options.allow_fallback = match allow {
            0 => false,
            1 => true,
            _ => return Err(Failure::invalid(format!("allow is {allow}; it is 0 or 1"))),
        };
        Ok(())
    })
}

/// When threads that wait for work keep a processor busy looking for it: DETAILFLOW_SPINNING_RUNS (the default) or
/// DETAILFLOW_SPINNING_NEVER, which leaves the processor to others and makes steps take longer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_spinning(
    options: *mut detailflow_model_options,
    spinning: u32,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        options.spinning = match spinning {
            DETAILFLOW_SPINNING_NEVER => Spinning::Never,
            DETAILFLOW_SPINNING_RUNS => Spinning::Runs,
            _ => {
                return Err(Failure::invalid(format!(
                    "spinning is {spinning}, which is none of DETAILFLOW_SPINNING_..."
                )));
            }
        };
        Ok(())
    })
}

/// Threads within an operator, 0 to 1024; 0 (the default) is one for each core.
///
/// Within the frames of a game one thread, the caller's, keeps its time best: others that slept since the last frame may
/// wake some milliseconds late. For a large model, or without frames, more are faster.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_threads(
    options: *mut detailflow_model_options,
    threads: u32,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        let changed = options.clone().with_threads(threads as usize);
        changed.check()?;
        *options = changed;
        Ok(())
    })
}

/// The precision: "fp32", "fp16", "int8", "int4" … NULL (the default) is the first that the bundle lists for the device.
/// Whether the bundle has it is seen when it is opened.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_precision(
    options: *mut detailflow_model_options,
    precision: *const c_char,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        // SAFETY: the contract of the header.
        options.precision = unsafe { optional(precision, "precision") }?.map(Into::into);
        Ok(())
    })
}

/// The attention form: "native", "mha", "plain" or "fixed". NULL (the default) is the first that the bundle lists for the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_set_form(
    options: *mut detailflow_model_options,
    form: *const c_char,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        // SAFETY: the contract of the header.
        options.form = unsafe { optional(form, "form") }?.map(|form| form.parse()).transpose()?;
        Ok(())
    })
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_options_free(options: *mut detailflow_model_options) {
    // SAFETY: the contract of the header.
    unsafe { free(options) }
}

/// # Safety
/// As for [`text`].
unsafe fn optional(value: *const c_char, name: &str) -> Result<Option<String>, Failure> {
    if value.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    unsafe { text(value, name) }.map(|text| Some(text.to_owned()))
}
