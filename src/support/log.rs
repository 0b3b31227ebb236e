//! Messages for whoever embeds the library: one callback for the process, none unless it is set. Nothing is ever
//! printed.

use std::sync::RwLock;

/// How much a message matters, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something works, though not as it should.
    Warning,
    /// What is being done.
    Info,
    /// What ONNX Runtime says of its own work.
    Debug,
}

type Callback = Box<dyn Fn(Level, &str) + Send + Sync>;

static CALLBACK: RwLock<Option<(Level, Callback)>> = RwLock::new(None);

/// Sends messages up to `level` to `callback`, which may be called from any thread and must not panic, and must not
/// call `set` or `clear`. Replaces an earlier one; returns when that one is not running any more.
pub fn set(level: Level, callback: impl Fn(Level, &str) + Send + Sync + 'static) {
    *CALLBACK.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((level, Box::new(callback)));
}

/// Stops messages. Returns when no callback is running any more.
pub fn clear() {
    *CALLBACK.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
}

pub(crate) fn emit(level: Level, text: impl FnOnce() -> String) {
    let callback = CALLBACK.read().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((least, callback)) = callback.as_ref()
        && level <= *least
    {
        callback(level, &text());
    }
}

pub(crate) fn info(text: impl FnOnce() -> String) {
    emit(Level::Info, text);
}
