//! Messages for the host.

use std::ffi::{c_char, c_void};

use super::call::call;
use super::error::detailflow_error;
use super::family::{Family, family};
use super::param::Out;
use super::status::{c_string, detailflow_status};
use crate::support::log;

/// Severities of log messages.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_severity {
    /// Something failed.
    DETAILFLOW_SEVERITY_ERROR = 1,
    /// Something works, but not as asked for or not as fast as it could.
    DETAILFLOW_SEVERITY_WARNING = 2,
    /// What the library is doing.
    DETAILFLOW_SEVERITY_INFO = 3,
    /// What ONNX Runtime reports about its own work.
    DETAILFLOW_SEVERITY_DEBUG = 4,
}

family!(detailflow_severity:
    DETAILFLOW_SEVERITY_ERROR, DETAILFLOW_SEVERITY_WARNING, DETAILFLOW_SEVERITY_INFO, DETAILFLOW_SEVERITY_DEBUG);

/// Receives a log message. Called from any thread, possibly from several at once. It must not throw, and must not call
/// this library.
///
/// @param user What was given to detailflow_log_set_callback.
/// @param severity One of DETAILFLOW_SEVERITY_*.
/// @param message Valid during the call.
pub type detailflow_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, severity: u32, message: *const c_char)>;

/// The caller vouches for the callback.
struct Host {
    callback: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the contract asks for a callback that may be called from any thread with this pointer.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Sets the log callback of the process. Without one, messages are dropped: the library prints nothing but the place of an
/// internal fault (INTERNAL), which goes to stderr.
///
/// When this returns, the previous callback is not running any more.
///
/// @param severity The least severe messages to receive, one of DETAILFLOW_SEVERITY_*; ignored when `callback` is NULL.
/// @param callback NULL stops the messages.
/// @param user Passed to the callback.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_log_set_callback(
    severity: u32,
    callback: detailflow_log_fn,
    user: *mut c_void,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let Some(callback) = callback else {
            log::clear();
            return Ok(());
        };
        let most = match detailflow_severity::choose(severity, "severity")? {
            DETAILFLOW_SEVERITY_ERROR => log::Severity::Error,
            DETAILFLOW_SEVERITY_WARNING => log::Severity::Warning,
            DETAILFLOW_SEVERITY_INFO => log::Severity::Info,
            DETAILFLOW_SEVERITY_DEBUG => log::Severity::Debug,
        };
        let host = Host { callback, user };
        log::set(most, move |level, text| {
            let host = &host;
            let severity = match level {
                log::Severity::Error => DETAILFLOW_SEVERITY_ERROR,
                log::Severity::Warning => DETAILFLOW_SEVERITY_WARNING,
                log::Severity::Info => DETAILFLOW_SEVERITY_INFO,
                log::Severity::Debug => DETAILFLOW_SEVERITY_DEBUG,
            };
            let text = c_string(text);
            // SAFETY: the caller vouched for the callback.
            unsafe { (host.callback)(host.user, severity as u32, text.as_ptr()) };
        });
        Ok(())
    })
}
