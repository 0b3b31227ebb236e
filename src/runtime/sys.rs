//! The few calls to the system that Rust has no safe name for: who are we, what is in that library, how much memory
//! is there.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

use std::sync::Arc;

use crate::kernels::attention::{Attention, Token};
use crate::kernels::kv::KvSlot;
use crate::kernels::{Isa, Pool};
use crate::support::error::{Error, Result};

/// The folders to look beside: that of our own shared library (or of the executable that we are linked into), and
/// that of the executable.
pub(crate) fn anchors() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let paths = [own_file(), std::env::current_exe().ok()];
    for path in paths.into_iter().flatten() {
        // Through links: a link to the library in /usr/lib must not hide what lies beside the file itself.
        let path = path.canonicalize().unwrap_or(path);
        if let Some(folder) = path.parent()
            && !folders.iter().any(|known| known == folder)
        {
            folders.push(folder.to_owned());
        }
    }
    folders
}

/// The file that this code was loaded from.
#[cfg(unix)]
fn own_file() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: an all-zero Dl_info is valid, dladdr fills it or returns 0, and the name it gives lives as long as
    // the library, which is longer than this call.
    unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        let here: fn() -> Option<PathBuf> = own_file;
        if libc::dladdr(here as *const c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes())))
    }
}

#[cfg(not(unix))]
fn own_file() -> Option<PathBuf> {
    None
}

/// Says no to ONNX Runtime's telemetry, in the one way that it hears in time.
pub(super) fn disable_telemetry() {
    // SAFETY: changing the environment while another thread reads it is a race in C. It happens once, while the
    // first model is opened, and is documented there; ONNX Runtime offers no other way that comes before its first
    // telemetry event.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

/// Has the process call `handler` when it ends by `exit()` or by returning from `main`.
#[cfg(unix)]
pub(super) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: the handler is code of this library, which is never unloaded.
    let _ = unsafe { libc::atexit(handler) };
}

#[cfg(not(unix))]
pub(super) fn at_exit(_handler: extern "C" fn()) {}

/// Loads the library `path`, checks that it is an ONNX Runtime with at least API `least_minor`, and returns its version. The
/// library stays loaded.
///
/// # Errors
/// [`Error::Runtime`] when the file is not a library, not ONNX Runtime, or too old.
pub(super) fn probe(path: &Path, least_minor: u32) -> Result<String> {
    let refuse = |reason: String| Error::Runtime(format!("{}: {reason}", path.display()));
    // SAFETY: loading runs the library's initializers. Whoever named the file, or put it where we look, vouches for it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
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
#[cfg(target_os = "linux")]
pub(super) fn find_by_system(name: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(name).ok()?;
    // The search runs the library's initialisers when it finds one.
    disable_telemetry();
    // SAFETY: dlopen of a name; the link map belongs to the handle, which is never closed.
    unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        if handle.is_null() {
            return None;
        }
        let mut map: *const LinkMap = std::ptr::null();
        if libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) != 0
            || map.is_null()
            || (*map).name.is_null()
        {
            return None;
        }
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(CStr::from_ptr((*map).name).to_bytes()));
        path.canonicalize().ok()
    }
}

/// The public head of glibc's and musl's `struct link_map`.
#[cfg(target_os = "linux")]
#[repr(C)]
struct LinkMap {
    address: usize,
    name: *const c_char,
}

#[cfg(not(target_os = "linux"))]
pub(super) fn find_by_system(_name: &str) -> Option<PathBuf> {
    None
}

/// Attention over the rows of the call in progress.
pub(super) fn attend(
    attention: &Attention<'_>,
    pool: &dyn Pool,
    qkv: &[f32],
    tokens: &[Token],
    rows: &[Arc<KvSlot>],
    out: &mut [f32],
) -> std::result::Result<(), String> {
    // SAFETY: `SlotTable` holds no row twice. Rows belong to the caches of one graph, which write them in its runs alone,
    // one at a time under its lock, behind what forks look at; and this is such a run.
    unsafe { attention.run(Isa::here(), pool, qkv, tokens, rows, out) }
}

/// Takes over the first `positions` positions of another row. The caller holds the lock of the graph that both belong to.
pub(super) fn copy_keys(to: &KvSlot, from: &KvSlot, positions: usize) {
    // SAFETY: `to` is new and nobody else knows it; `from` is written in runs of the graph alone, and none runs now.
    unsafe { to.copy_from(from, positions) }
}

/// Why the library `path` cannot be loaded; `None` when it can. It stays loaded, since ONNX Runtime is about to load it.
pub(super) fn load_failure(path: &Path) -> Option<String> {
    // SAFETY: loading runs the library's initializers. It lies beside the ONNX Runtime in use, or was named by the host.
    match unsafe { libloading::Library::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            None
        }
        // What the system says is one level down.
        Err(error) => Some(std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)),
    }
}
