//! The ONNX Runtime of a host that has loaded or linked one itself: consoles, iOS, engines with a copy of their own.

#![allow(unsafe_code, reason = "a pointer of the host's")]

use std::ffi::c_void;

use super::library::{Library, use_copy};
use super::sys::Copy;
use crate::support::error::{Error, Result};

/// Uses the host's own ONNX Runtime: nothing is searched and no library is loaded. Must come before the first call that needs
/// ONNX Runtime; the same pointer once more does nothing.
///
/// The copy and its environment are shared with the host. If the host has made the environment before, that keeps the host's
/// log function; its log level becomes `Warning`, and its telemetry is turned off, either way.
///
/// # Errors
/// - [`Error::Invalid`] for NULL;
/// - [`Error::Runtime`] when it is older than 1.24, with both versions;
/// - [`Error::State`] when another ONNX Runtime is in use.
///
/// # Safety
/// `ort_api_base` is NULL or what `OrtGetApiBase` of an ONNX Runtime returned, which is never unloaded.
pub unsafe fn set_api(ort_api_base: *const c_void) -> Result<&'static Library> {
    if ort_api_base.is_null() {
        return Err(Error::Invalid("ort_api_base is NULL".into()));
    }
    // SAFETY: the caller's promise.
    use_copy(unsafe { Copy::at(ort_api_base.cast()) }.map_err(Error::Runtime)?)
}
