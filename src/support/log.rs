//! Log messages: one callback per process, none unless it is set. The library never prints.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use super::host;

/// How severe a message is, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An operation failed.
    Error,
    /// An operation succeeded, but not as it should have.
    Warning,
    /// Progress and decisions, such as which library was loaded.
    Info,
    /// ONNX Runtime's informational messages.
    Debug,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

type Callback = Box<dyn Fn(Severity, &str) + Send + Sync>;

static CALLBACK: RwLock<Option<(Severity, Callback)>> = RwLock::new(None);

/// Sends messages of at least `severity` (`Severity::Info` includes warnings and errors) to `callback`, replacing an earlier
/// one. Returns when the earlier callback is not running any more.
///
/// The callback may be called from any thread, by several at once. It must not panic, and must not call [`set`] or [`clear`].
pub fn set(severity: Severity, callback: impl Fn(Severity, &str) + Send + Sync + 'static) {
    *CALLBACK.write().unwrap_or_else(PoisonError::into_inner) = Some((severity, Box::new(callback)));
}

/// Removes the callback. Returns when it is not running any more.
pub fn clear() {
    *CALLBACK.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Sends a message, whose text is made only when somebody listens.
pub(crate) fn emit(severity: Severity, text: impl FnOnce() -> String) {
    let callback = CALLBACK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some((least, callback)) = callback.as_ref()
        && severity <= *least
    {
        let text = text();
        host::call_back(|| callback(severity, &text));
    }
}

pub(crate) fn info(text: impl FnOnce() -> String) {
    emit(Severity::Info, text);
}
