//! Bundles on disk, without opening a model.

use std::ffi::c_char;

use super::call::{call, path, text};
use super::status::detailflow_status;
use crate::bundle::Bundle;
use crate::model::default_bundle;

/// Writes a bundle that holds the decoder alone, made from the bundle in the folder `path` (NULL is the default bundle,
/// as for detailflow_model_open), into the folder `target`: it decodes tokens, bit for bit as the whole one does, and
/// cannot draw or encode (detailflow_model_can_draw). `precision` keeps that one, such as "int8"; NULL keeps all. Needs
/// no ONNX Runtime. A bundle or an empty folder at `target` is replaced, anything else is left alone; whatever fails,
/// `target` is as it was.
///
/// Takes as long as reading the bundle does. Errors: NOT_FOUND, BAD_BUNDLE (a file is not what the manifest says, or an
/// older exporter wrote the bundle), INVALID_ARGUMENT (no such precision, or the target is something else, or the bundle
/// itself), IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_bundle_strip(
    path: *const c_char,
    target: *const c_char,
    precision: *const c_char,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let target = unsafe { self::path(target, "target") }?;
        // SAFETY: the contract of the header.
        let precision = if precision.is_null() { None } else { Some(unsafe { text(precision, "precision") }?) };
        let folder = if path.is_null() {
            default_bundle()?
        } else {
            // SAFETY: the contract of the header.
            unsafe { self::path(path, "path") }?
        };
        Bundle::open(folder)?.strip(target, precision, |_, _| true)?;
        Ok(())
    })
}
