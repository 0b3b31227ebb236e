//! Calls around ONNX Runtime that Rust has no safe name for: finding, probing and loading libraries; weights in foreign memory.

#![allow(unsafe_code, reason = "loading and probing shared libraries, and lending memory to ONNX Runtime")]

use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::SessionBuilder;

use crate::bundle::GraphInMemory;
use crate::support::error::{Error, Result};
use crate::support::platform;

/// The folders to look beside: that of our own shared library (or of the executable that we are linked into), and
/// that of the executable. Looked up once: the loader may know our library by a relative path, which means something else
/// after the working directory has changed. Without /proc the executable is not known.
pub(crate) fn anchors() -> Vec<PathBuf> {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(find_anchors).clone()
}

fn find_anchors() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let paths = [platform::own_file(), std::env::current_exe().ok()];
    for path in paths.into_iter().flatten() {
        // Through links: a link to the library in /usr/lib must not hide what lies beside the file itself.
        let Some(path) = platform::canonical(&path).ok().or_else(|| path.is_absolute().then_some(path)) else { continue };
        if let Some(folder) = path.parent()
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_owned());
        }
    }
    folders
}

/// Says no to ONNX Runtime's telemetry, in the one way that it hears in time.
pub(super) fn disable_telemetry() {
    // SAFETY: changing the environment while another thread reads it is a race in C. It happens once, while the
    // first model is opened, and is documented there; ONNX Runtime offers no other way that comes before its first
    // telemetry event.
    unsafe { platform::set_environment_variable("ORT_DISABLE_TELEMETRY", "1") };
}

/// Loads the library `path`, checks that it is an ONNX Runtime with at least API `least_minor`, and returns its version. The
/// library stays loaded.
///
/// # Errors
/// [`Error::Runtime`] when the file is not a library, not ONNX Runtime, or too old.
pub(super) fn probe(path: &Path, least_minor: u32) -> Result<String> {
    let refuse = |reason: String| Error::Runtime(format!("{}: {reason}", path.display()));
    if let Some(why) = platform::truncated_library(path) {
        return Err(refuse(why));
    }
    // SAFETY: whoever named the file, or put it where we look, vouches for it.
    let library = unsafe { platform::load_library(path) }.map_err(|error| {
        // What the system says is one level down.
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        refuse(format!("not a library that can be loaded: {error}{cause}"))
    })?;
    type GetApiBase = unsafe extern "C" fn() -> *const ort::sys::OrtApiBase;
    // SAFETY: the symbol of this name has this type in every ONNX Runtime since 1.0; the pointers it gives are
    // static.
    let (version, api) = unsafe {
        let base = library
            .get::<GetApiBase>(b"OrtGetApiBase\0")
            .map_err(|_| refuse("not ONNX Runtime: it has no OrtGetApiBase".into()))?();
        if base.is_null() {
            return Err(refuse("not ONNX Runtime: OrtGetApiBase returns NULL".into()));
        }
        let version = CStr::from_ptr(((*base).GetVersionString)() as *const c_char).to_string_lossy().into_owned();
        // An old library prints to stderr when it is asked for a newer API, so the version is checked first.
        let (major, minor) = super::major_minor(&version);
        let api = (major, minor) >= (1, least_minor) && !((*base).GetApi)(least_minor).is_null();
        (version, api)
    };
    if !api {
        return Err(refuse(format!("ONNX Runtime {version} is too old; 1.{least_minor} or newer is needed")));
    }
    // Unloading would run its destructors, and `ort` loads it again at once.
    std::mem::forget(library);
    Ok(version)
}

/// Asks the system's own search for a library and returns the absolute path of what it found.
pub(super) fn find_by_system(name: &str) -> Option<PathBuf> {
    // The search runs the library's initialisers when it finds one.
    disable_telemetry();
    platform::find_library(name)
}

/// Why the library `path` cannot be loaded; `None` when it can. It stays loaded, since ONNX Runtime is about to load it.
pub(super) fn load_failure(path: &Path) -> Option<String> {
    if let Some(why) = platform::truncated_library(path) {
        return Some(why);
    }
    // SAFETY: it lies beside the ONNX Runtime in use, or was named by the host.
    match unsafe { platform::load_library(path) } {
        Ok(library) => {
            std::mem::forget(library);
            None
        }
        // What the system says is one level down.
        Err(error) => Some(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)),
    }
}

/// Compiles a graph with its weights from memory. ONNX Runtime copies the weights while it compiles (measured), so that they
/// are not needed afterwards.
pub(super) fn commit_from_memory(mut builder: SessionBuilder, memory: &GraphInMemory) -> ort::Result<Session> {
    for (file, content) in &memory.weights {
        #[cfg(windows)]
        let name: Vec<ort::sys::os_char> = file.encode_utf16().chain([0]).collect();
        #[cfg(not(windows))]
        let name: Vec<ort::sys::os_char> = file.bytes().chain([0]).map(|byte| byte as ort::sys::os_char).collect();
        let bytes = content.bytes();
        let (names, contents, lengths) = ([name.as_ptr()], [bytes.as_ptr().cast::<c_char>().cast_mut()], [bytes.len()]);
        // SAFETY: one name that ends with zero, one memory and its length. ONNX Runtime copies the name, reads the memory
        // and does not write it; it stays where it is until the graph is compiled, after which the builder is gone.
        unsafe {
            ort::Error::result_from_status((ort::api().AddExternalInitializersFromMemory)(
                builder.ptr_mut(),
                names.as_ptr(),
                contents.as_ptr(),
                lengths.as_ptr(),
                1,
            ))?;
        }
    }
    builder.commit_from_memory(memory.graph.bytes())
}
