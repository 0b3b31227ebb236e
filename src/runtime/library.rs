//! Loads ONNX Runtime and makes the only environment.
//!
//! It is loaded once for the process and never unloaded: the environment is leaked on purpose, so that `exit()` with work
//! in flight does not destroy it. `ort` panics when it is used before a library is loaded, so everything in this crate
//! that needs it calls [`environment`] first.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use ort::environment::Environment;

use super::{search, sys};
use crate::support::error::{Error, Result};
use crate::support::sync::lock;
use crate::support::{host, log, platform};

/// The ONNX Runtime that this process uses.
#[derive(Debug, Clone)]
pub struct Library {
    /// Absolute path of the library file; the executable's when ONNX Runtime is linked into it. Empty when the host gave it
    /// and the system does not tell.
    pub path: PathBuf,
    /// Its own version, such as `1.32.0`.
    pub version: String,
    /// How the file was found: `option`, `ORT_DYLIB_PATH`, `runtime folder`, `own folder` (beside our library or executable),
    /// `checkout`, `system`, or `host` ([`set_api`](crate::set_api)).
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
    load(path.map_or(Asked::Any, Asked::File)).map(|loaded| &loaded.library)
}

/// Uses a copy that the host has loaded or linked.
///
/// # Errors
/// [`Error::State`] when another copy is in use.
pub(super) fn use_copy(copy: sys::Copy) -> Result<&'static Library> {
    load(Asked::Copy(Box::new(copy))).map(|loaded| &loaded.library)
}

/// The ONNX Runtime in use. The first call loads it: the file that `ORT_DYLIB_PATH` names; otherwise `libonnxruntime`
/// (`onnxruntime.dll`) in `runtime/` or `detailflow/runtime/` beside our library, beside it, in `runtime/` above it, or in
/// `target/runtime` of a checkout; then the same for the executable; then, on Linux, by the system's library search; then in
/// `target/runtime` of the checkout that a Rust program in its build folder depends on by path.
///
/// # Errors
/// Those of [`init`].
pub fn library() -> Result<&'static Library> {
    init(None)
}

pub(super) fn environment() -> Result<&'static Environment> {
    load(Asked::Any).map(|loaded| &loaded.environment)
}

/// Which ONNX Runtime is asked for.
enum Asked<'a> {
    /// The one in use; if there is none, the one that is found.
    Any,
    File(&'a Path),
    /// The host's own.
    Copy(Box<sys::Copy>),
}

fn load(asked: Asked<'_>) -> Result<&'static Loaded> {
    let _inside = super::exit::enter()?;
    host::settle();
    let _one_at_a_time = lock(&LOADING);
    if let Some(loaded) = LOADED.get() {
        let Library { path, version, .. } = &loaded.library;
        return match asked {
            Asked::File(other) if !same_file(other, path) => Err(Error::Runtime(format!(
                "ONNX Runtime was loaded from {} before; a process has one ONNX Runtime, so {} cannot be loaded",
                path.display(),
                other.display()
            ))),
            Asked::Copy(copy) if !copy.is_used() => Err(Error::State(format!(
                "ONNX Runtime {version} from {} is in use; the host's ({}) must be given before the first call that needs one",
                path.display(),
                copy.version
            ))),
            _ => Ok(loaded),
        };
    }
    let (copy, path, found_by) = match asked {
        Asked::Any => search::load(None)?,
        Asked::File(path) => search::load(Some(path))?,
        Asked::Copy(copy) => {
            let path = copy.file().unwrap_or_default();
            (*copy, path, "host")
        }
    };
    let version = copy.version.clone();
    copy.take()?;
    log::info(|| format!("ONNX Runtime {version} from {} ({found_by})", path.display()));

    let refuse = |error: &dyn std::fmt::Display| Error::Runtime(format!("ONNX Runtime at {}: {error}", path.display()));
    let builder = ort::init().with_name("detailflow").with_telemetry(false).with_logger(std::sync::Arc::new(forward));
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
