//! Messages for the host.

use std::ffi::{c_char, c_void};

use super::call::call;
use super::status::{Failure, c_string, detailflow_status};
use crate::support::log;

/// Log level: something failed.
pub const DETAILFLOW_LOG_ERROR: u32 = 1;
/// Log level: something works, though not as it should.
pub const DETAILFLOW_LOG_WARNING: u32 = 2;
/// Log level: what is being done.
pub const DETAILFLOW_LOG_INFO: u32 = 3;
/// Log level: what ONNX Runtime says of its own work.
pub const DETAILFLOW_LOG_DEBUG: u32 = 4;

/// Takes a message. `message` is valid during the call. Called from any thread, perhaps from several at once; it
/// must not throw, and must not call this library.
pub type detailflow_log_fn = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, message: *const c_char)>;

/// The host vouches for what it gave.
struct Host {
    callback: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the contract asks for a callback that may be called from any thread with this pointer.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Sends messages of the process up to `level` (DETAILFLOW_LOG_*) to `callback`, with `user`. NULL as `callback`
/// stops them (then `level` and `user` do not matter). When this returns, the callback that was set before is not
/// running any more. Without a callback nothing is ever printed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_log_set(
    callback: detailflow_log_fn,
    level: u32,
    user: *mut c_void,
) -> detailflow_status {
    call(|| {
        let Some(callback) = callback else {
            log::clear();
            return Ok(());
        };
        let most = match level {
            DETAILFLOW_LOG_ERROR => log::Severity::Error,
            DETAILFLOW_LOG_WARNING => log::Severity::Warning,
            DETAILFLOW_LOG_INFO => log::Severity::Info,
            DETAILFLOW_LOG_DEBUG => log::Severity::Debug,
            _ => return Err(Failure::invalid(format!("log level {level} is not 1 to 4"))),
        };
        let host = Host { callback, user };
        log::set(most, move |level, text| {
            let host = &host;
            let number = match level {
                log::Severity::Error => DETAILFLOW_LOG_ERROR,
                log::Severity::Warning => DETAILFLOW_LOG_WARNING,
                log::Severity::Info => DETAILFLOW_LOG_INFO,
                log::Severity::Debug => DETAILFLOW_LOG_DEBUG,
            };
            let text = c_string(text);
            // SAFETY: the host promised that its callback may be called so.
            unsafe { (host.callback)(host.user, number, text.as_ptr()) };
        });
        Ok(())
    })
}
