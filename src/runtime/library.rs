//! Finds ONNX Runtime, checks and loads it, and makes the only environment.
//!
//! It is loaded once for the process and never unloaded: the environment is leaked on purpose, so that `exit()` with work
//! in flight does not destroy it. `ort` panics when it is used before a library is loaded, so everything in this crate
//! that needs it calls [`environment`] first.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use ort::environment::Environment;

use super::sys;
use crate::support::error::{Error, Result};
use crate::support::files::checkouts;
use crate::support::sync::lock;
use crate::support::{host, log, platform};

/// The API that this build is written for: ONNX Runtime 1.24.
const LEAST_MINOR: u32 = ort::MINOR_VERSION;
const REMEDY: &str = if cfg!(windows) {
    r#"To fix this, put onnxruntime.dll into a folder runtime beside this program; or, in PowerShell:
  py -m venv onnxruntime; onnxruntime\Scripts\pip install onnxruntime
  $env:ORT_DYLIB_PATH = "$PWD\onnxruntime\Lib\site-packages\onnxruntime\capi\onnxruntime.dll""#
} else if cfg!(target_vendor = "apple") {
    r#"To fix this:
  python3 -m venv onnxruntime && onnxruntime/bin/pip install onnxruntime
  export ORT_DYLIB_PATH="$(ls "$PWD"/onnxruntime/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.*.dylib)""#
} else {
    r#"To fix this (in a checkout, run `make`):
  python3 -m venv onnxruntime && onnxruntime/bin/pip install onnxruntime
  export ORT_DYLIB_PATH="$(ls "$PWD"/onnxruntime/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)""#
};

/// The ONNX Runtime that this process uses.
#[derive(Debug, Clone)]
pub struct Library {
    /// Absolute path of the library file.
    pub path: PathBuf,
    /// Its own version, such as `1.32.0`.
    pub version: String,
    /// How the file was found: `option`, `ORT_DYLIB_PATH`, `runtime folder`, `own folder` (beside our library or executable),
    /// `checkout` or `system`.
    pub found_by: &'static str,
}

struct Loaded {
    library: Library,
    environment: Environment,
}

/// Locked while loading, so that two threads do not load two libraries.
static LOADING: Mutex<()> = Mutex::new(());
static LOADED: OnceLock<Loaded> = OnceLock::new();

/// Loads ONNX Runtime now: from `path` if it is given, otherwise as [`library`] does. Optional: opening a model loads it
/// too.
///
/// # Errors
/// [`Error::Runtime`]
/// - when no library is found: the message lists every path that was tried, and a remedy;
/// - when the file is not a library, not ONNX Runtime, or older than 1.24;
/// - when another file was loaded before: a process has one ONNX Runtime.
pub fn init(path: Option<&Path>) -> Result<&'static Library> {
    load(path).map(|loaded| &loaded.library)
}

/// The ONNX Runtime in use. The first call loads it: the file that `ORT_DYLIB_PATH` names; otherwise `libonnxruntime`
/// (`onnxruntime.dll`) in `runtime/` beside our library, beside it, in `runtime/` above it, or in `target/runtime` of a
/// checkout; then the same for the executable; then, on Linux, by the system's library search.
///
/// # Errors
/// Those of [`init`].
pub fn library() -> Result<&'static Library> {
    init(None)
}

pub(super) fn environment() -> Result<&'static Environment> {
    load(None).map(|loaded| &loaded.environment)
}

fn load(named: Option<&Path>) -> Result<&'static Loaded> {
    let _inside = super::exit::enter()?;
    host::settle();
    let _one_at_a_time = lock(&LOADING);
    if let Some(loaded) = LOADED.get() {
        if let Some(path) = named
            && !same_file(path, &loaded.library.path)
        {
            return Err(Error::Runtime(format!(
                "ONNX Runtime was loaded from {} before; a process has one ONNX Runtime, so {} cannot be loaded",
                loaded.library.path.display(),
                path.display()
            )));
        }
        return Ok(loaded);
    }
    let (path, found_by) = find(named)?;
    // ONNX Runtime reads the variable when it is loaded; by the time of `with_telemetry(false)` below it has already
    // written files.
    sys::disable_telemetry();
    let version = sys::probe(&path, LEAST_MINOR)?;
    log::info(|| format!("ONNX Runtime {version} from {} ({found_by})", path.display()));

    let refuse = |error: &dyn std::fmt::Display| Error::Runtime(format!("ONNX Runtime at {}: {error}", path.display()));
    let builder = ort::init_from(&path)
        .map_err(|error| refuse(&error))?
        .with_name("detailflow")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(forward));
    // It would ask for AMX tiles, which its float kernels do not use; our own ask when they need them.
    let environment = platform::refusing_amx(|| builder.build()).map_err(|error| refuse(&error))?;
    // A second handle that is never dropped: the environment outlives every static destructor.
    std::mem::forget(environment.clone());
    super::exit::arm(&path);
    // From here on nothing may fail: `ort` makes one environment for each process, so there is no second attempt.
    let loaded = LOADED.get_or_init(|| Loaded { library: Library { path, version, found_by }, environment });
    // The environment logs warnings and above; the host's log level is applied to each message. Here `ort` panics when ONNX
    // Runtime returns an error; what is logged then is all that there is.
    let warnings = || loaded.environment.set_log_level(ort::logging::LogLevel::Warning);
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(warnings)).is_err() {
        log::info(|| "ONNX Runtime refused its log level".into());
    }
    Ok(loaded)
}

/// Forwards ONNX Runtime's messages to the host's log callback.
fn forward(level: ort::logging::LogLevel, category: &str, _id: &str, _location: &str, message: &str) {
    use ort::logging::LogLevel;
    let level = match level {
        LogLevel::Fatal | LogLevel::Error => log::Severity::Error,
        LogLevel::Warning => log::Severity::Warning,
        LogLevel::Info | LogLevel::Verbose => log::Severity::Debug,
    };
    log::emit(level, || format!("ONNX Runtime: {category}: {message}"));
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (platform::canonical(a), platform::canonical(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
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
        let above = anchor.parent().map(|above| (above.join("runtime"), "runtime folder"));
        let beside = [(anchor.join("runtime"), "runtime folder"), (anchor.clone(), "own folder")].into_iter().chain(above);
        let built = checkouts(&anchor).map(|checkout| (checkout.join("target").join("runtime"), "checkout"));
        for (folder, found_by) in beside.chain(built) {
            for name in &names {
                let candidate = folder.join(name);
                if candidate.is_file() {
                    return Ok((absolute(&candidate)?, found_by));
                }
                let line = candidate.display().to_string();
                if !tried.contains(&line) {
                    tried.push(line);
                }
            }
        }
    }
    for name in names.iter().filter(|_| platform::SEARCHES_LIBRARIES) {
        if let Some(path) = sys::find_by_system(name) {
            return Ok((path, "system"));
        }
        tried.push(format!("{name} (the system's library search)"));
    }
    Err(Error::Runtime(format!("ONNX Runtime was not found. Tried:\n  {}\n{REMEDY}", tried.join("\n  "))))
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
