//! Bundles on disk, without opening a model.

use super::call::call;
use super::error::detailflow_error;
use super::param::{Out, Text};
use super::status::{Failure, detailflow_status};
use crate::bundle::Bundle;
use crate::model::default_bundle;

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
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_bundle_strip(
    path: Text<'_>,
    target: Text<'_>,
    precision: Text<'_>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let target = target.path("target")?;
        let precision = precision.optional("precision")?;
        open(path)?.strip(target, precision, |_, _| true)?;
        Ok(())
    })
}

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
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_bundle_pack(
    path: Text<'_>,
    target: Text<'_>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let target = target.path("target")?;
        open(path)?.pack(target, |_, _| true)?;
        Ok(())
    })
}

/// Writes a bundle as a folder with a file for each of its files: the opposite of detailflow_bundle_pack.
///
/// Needs no ONNX Runtime, and takes as long as reading the bundle. After a failure, `target` is as it was.
///
/// @param path The bundle, a single file or a folder; NULL takes the default bundle, as detailflow_model_open does.
/// @param target The folder to write. An existing bundle or empty folder is replaced; anything else is an error.
/// @param error May be NULL.
/// @return NOT_FOUND; BAD_BUNDLE when a file differs from the manifest; INVALID_ARGUMENT when `target` is the bundle itself or
/// something else; IO.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_bundle_unpack(
    path: Text<'_>,
    target: Text<'_>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let target = target.path("target")?;
        open(path)?.unpack(target, |_, _| true)?;
        Ok(())
    })
}

fn open(path: Text<'_>) -> Result<Bundle, Failure> {
    let path = path.optional_path("path")?.map_or_else(default_bundle, Ok)?;
    Ok(Bundle::open(path)?)
}
