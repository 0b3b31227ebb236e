//! Versions, status codes, and the message of the last failure on this thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use crate::support::error::Error;

/// Counts up when a function, constant or struct of the C API is added. What is there never changes.
pub const DETAILFLOW_ABI_VERSION: u32 = 3;

/// The result of a call: DETAILFLOW_OK or one of the codes below.
pub type detailflow_status = i32;

/// It worked.
pub const DETAILFLOW_OK: detailflow_status = 0;
/// An argument is NULL, out of its range, or does not fit the model.
pub const DETAILFLOW_INVALID_ARGUMENT: detailflow_status = 1;
/// A file or folder that was named does not exist, or no bundle was named and none found.
pub const DETAILFLOW_NOT_FOUND: detailflow_status = 2;
/// The bundle is damaged, contradicts itself, or is of an unknown format.
pub const DETAILFLOW_BAD_BUNDLE: detailflow_status = 3;
/// ONNX Runtime is missing, not what it should be, too old, or another one was loaded before.
pub const DETAILFLOW_NO_RUNTIME: detailflow_status = 4;
/// The device cannot be used.
pub const DETAILFLOW_NO_DEVICE: detailflow_status = 5;
/// Memory is not to be had; a smaller request works.
pub const DETAILFLOW_OUT_OF_MEMORY: detailflow_status = 6;
/// The system refused to read or write a file.
pub const DETAILFLOW_IO: detailflow_status = 7;
/// A picture or token file does not hold what it should.
pub const DETAILFLOW_BAD_FORMAT: detailflow_status = 8;
/// The generation was cancelled.
pub const DETAILFLOW_CANCELLED: detailflow_status = 9;
/// The call does not fit the state of the handle.
pub const DETAILFLOW_WRONG_STATE: detailflow_status = 10;
/// Another thread is inside a call with this handle.
pub const DETAILFLOW_BUSY: detailflow_status = 11;
/// ONNX Runtime failed while running a graph.
pub const DETAILFLOW_FAILED: detailflow_status = 12;
/// A fault of the library itself. Please report it.
pub const DETAILFLOW_INTERNAL: detailflow_status = 13;

/// A failure on its way out: the code and the sentence.
pub(super) struct Failure {
    pub status: detailflow_status,
    pub message: String,
}

impl Failure {
    pub fn new(status: detailflow_status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(DETAILFLOW_INVALID_ARGUMENT, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        (&error).into()
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let status = match error {
            Error::Invalid(_) => DETAILFLOW_INVALID_ARGUMENT,
            Error::NotFound { .. } | Error::NoBundle(_) => DETAILFLOW_NOT_FOUND,
            Error::Bundle { .. } => DETAILFLOW_BAD_BUNDLE,
            Error::Runtime(_) => DETAILFLOW_NO_RUNTIME,
            Error::Device(_) => DETAILFLOW_NO_DEVICE,
            Error::OutOfMemory { .. } => DETAILFLOW_OUT_OF_MEMORY,
            Error::Io { .. } => DETAILFLOW_IO,
            Error::Format { .. } | Error::Tokens(_) => DETAILFLOW_BAD_FORMAT,
            Error::Cancelled => DETAILFLOW_CANCELLED,
            Error::State(_) => DETAILFLOW_WRONG_STATE,
            Error::Failed { .. } => DETAILFLOW_FAILED,
            Error::Internal(_) => DETAILFLOW_INTERNAL,
        };
        Self::new(status, error.to_string())
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// Keeps the message for [`detailflow_last_message`].
pub(super) fn remember(message: &str) {
    let text = c_string(message);
    // A thread that is ending has no message any more; there is nobody to read it.
    let _ = MESSAGE.try_with(|place| *place.borrow_mut() = text);
}

/// A C string of `text`; a zero inside ends it.
pub(super) fn c_string(text: &str) -> CString {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}

/// The library's version, such as "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no zero in it"),
    };
    VERSION.as_ptr()
}

/// The DETAILFLOW_ABI_VERSION that the library was built with: at least that of the header in use, or do not go on.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_abi_version() -> u32 {
    DETAILFLOW_ABI_VERSION
}

/// The name of a status, such as "DETAILFLOW_BUSY"; "DETAILFLOW_UNKNOWN" for a number that is none. Static.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_status_name(status: detailflow_status) -> *const c_char {
    let name = match status {
        DETAILFLOW_OK => c"DETAILFLOW_OK",
        DETAILFLOW_INVALID_ARGUMENT => c"DETAILFLOW_INVALID_ARGUMENT",
        DETAILFLOW_NOT_FOUND => c"DETAILFLOW_NOT_FOUND",
        DETAILFLOW_BAD_BUNDLE => c"DETAILFLOW_BAD_BUNDLE",
        DETAILFLOW_NO_RUNTIME => c"DETAILFLOW_NO_RUNTIME",
        DETAILFLOW_NO_DEVICE => c"DETAILFLOW_NO_DEVICE",
        DETAILFLOW_OUT_OF_MEMORY => c"DETAILFLOW_OUT_OF_MEMORY",
        DETAILFLOW_IO => c"DETAILFLOW_IO",
        DETAILFLOW_BAD_FORMAT => c"DETAILFLOW_BAD_FORMAT",
        DETAILFLOW_CANCELLED => c"DETAILFLOW_CANCELLED",
        DETAILFLOW_WRONG_STATE => c"DETAILFLOW_WRONG_STATE",
        DETAILFLOW_BUSY => c"DETAILFLOW_BUSY",
        DETAILFLOW_FAILED => c"DETAILFLOW_FAILED",
        DETAILFLOW_INTERNAL => c"DETAILFLOW_INTERNAL",
        _ => c"DETAILFLOW_UNKNOWN",
    };
    name.as_ptr()
}

/// What went wrong in the last call of this thread that failed; "" when none did. Valid until the next call of this
/// thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_last_message() -> *const c_char {
    let message = || MESSAGE.try_with(|message| message.borrow().as_ptr()).ok();
    std::panic::catch_unwind(message).ok().flatten().unwrap_or(c"".as_ptr())
}
