//! Where ONNX Runtime is looked for.

use std::path::{Path, PathBuf};

use super::sys;
use crate::support::error::{Error, Result};
use crate::support::layout::{checkout_of_dependency, checkouts, runtime_folders};
use crate::support::platform;

const REMEDY: &str = if cfg!(windows) {
    r#"To fix this, put onnxruntime.dll into a folder runtime beside this program; or, in PowerShell:
  py -m venv onnxruntime; onnxruntime\Scripts\pip install onnxruntime
  $env:ORT_DYLIB_PATH = "$PWD\onnxruntime\Lib\site-packages\onnxruntime\capi\onnxruntime.dll""#
} else if cfg!(any(target_os = "android", target_os = "ios")) {
    "To fix this, put it into the app (Android: lib/ABI/libonnxruntime.so; iOS: Frameworks/onnxruntime.framework), or link it and \
     give it to detailflow_runtime_set_api"
} else if cfg!(target_vendor = "apple") {
    r#"To fix this:
  python3 -m venv onnxruntime && onnxruntime/bin/pip install onnxruntime
  export ORT_DYLIB_PATH="$(ls "$PWD"/onnxruntime/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.*.dylib)""#
} else {
    r#"To fix this (in a checkout, run `make`):
  python3 -m venv onnxruntime && onnxruntime/bin/pip install onnxruntime
  export ORT_DYLIB_PATH="$(ls "$PWD"/onnxruntime/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)""#
};

/// Loads ONNX Runtime: the file that is named, otherwise the one that is found. Returns its absolute path, and how it was found.
///
/// # Errors
/// [`Error::Runtime`].
pub(super) fn load(named: Option<&Path>) -> Result<(sys::Copy, PathBuf, &'static str)> {
    let (path, found_by) = find(named)?;
    // ONNX Runtime reads the variable when it is loaded; when the environment turns telemetry off, it has already written
    // files.
    sys::disable_telemetry();
    Ok((sys::Copy::load(&path)?, path, found_by))
}

/// The absolute path to load, and how it was found.
fn find(named: Option<&Path>) -> Result<(PathBuf, &'static str)> {
    if let Some(path) = named {
        return Ok((existing(path, "the path given")?, "option"));
    }
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()) {
        return Ok((existing(Path::new(&path), "ORT_DYLIB_PATH")?, "ORT_DYLIB_PATH"));
    }
    let names = platform::library_file_names("onnxruntime");
    let mut tried = vec!["ORT_DYLIB_PATH (not set)".to_owned()];
    for anchor in sys::anchors() {
        let beside = runtime_folders(&anchor).into_iter().map(|folder| {
            let found_by = if folder == anchor { "own folder" } else { "runtime folder" };
            (folder, found_by)
        });
        let built = checkouts(&anchor).map(|checkout| (built_runtime(checkout), "checkout"));
        for (folder, found_by) in beside.chain(built) {
            if let Some(path) = in_folder(&folder, &names, &mut tried)? {
                return Ok((path, found_by));
            }
        }
    }
    for name in names.iter().filter(|_| platform::SEARCHES_LIBRARIES) {
        if let Some(path) = sys::find_by_system(name) {
            return Ok((path, "system"));
        }
        tried.push(format!("{name} (the system's library search)"));
    }
    for checkout in sys::anchors().iter().filter_map(|anchor| checkout_of_dependency(anchor)) {
        if let Some(path) = in_folder(&built_runtime(&checkout), &names, &mut tried)? {
            return Ok((path, "checkout of the dependency"));
        }
    }
    Err(Error::Runtime(format!("ONNX Runtime was not found. Tried:\n  {}\n{REMEDY}", tried.join("\n  "))))
}

/// Where `make` of a checkout puts ONNX Runtime.
fn built_runtime(checkout: &Path) -> PathBuf {
    checkout.join("target").join("runtime")
}

/// The absolute path of ONNX Runtime in a folder; notes what was tried.
fn in_folder(folder: &Path, names: &[String], tried: &mut Vec<String>) -> Result<Option<PathBuf>> {
    for name in names {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return absolute(&candidate).map(Some);
        }
        let line = candidate.display().to_string();
        if !tried.contains(&line) {
            tried.push(line);
        }
    }
    Ok(None)
}

/// A path that the caller or the environment names is used or is an error, never skipped.
fn existing(path: &Path, named_by: &str) -> Result<PathBuf> {
    if !path.is_file() {
        return Err(Error::Runtime(format!("ONNX Runtime: {named_by} names {}, which is not a file", path.display())));
    }
    absolute(path)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    platform::canonical(path).map_err(|error| Error::reading(path, error))
}
