//! Versions, status codes, and the message of the last failure on this thread.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use super::family::family;
use crate::support::error::Error;

/// Increases when a function, constant or struct is added to the C API. Existing ones never change.
pub const DETAILFLOW_ABI_VERSION: u32 = 1;

/// The version of this header: major.
pub const DETAILFLOW_VERSION_MAJOR: u32 = 0;
/// The version of this header: minor.
pub const DETAILFLOW_VERSION_MINOR: u32 = 1;
/// The version of this header: patch.
pub const DETAILFLOW_VERSION_PATCH: u32 = 0;
/// The version of this header as one number: major * 10000 + minor * 100 + patch.
pub const DETAILFLOW_VERSION_NUMBER: u32 = 100;

/// A part of Cargo.toml's version.
const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a part of the version has a character other than a digit"),
    }
}

const _: () = assert!(
    DETAILFLOW_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR"))
        && DETAILFLOW_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR"))
        && DETAILFLOW_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH"))
);
const _: () = assert!(
    DETAILFLOW_VERSION_NUMBER
        == DETAILFLOW_VERSION_MAJOR * 10000 + DETAILFLOW_VERSION_MINOR * 100 + DETAILFLOW_VERSION_PATCH
);

/// The result of a call: one of DETAILFLOW_STATUS_*.
pub type detailflow_status = i32;

/// Status codes: 0 is success, every other one a failure.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_status_code {
    /// Success.
    DETAILFLOW_STATUS_OK = 0,
    /// An argument is NULL, out of range, not a live handle of its kind, or does not fit the model.
    DETAILFLOW_STATUS_INVALID_ARGUMENT = 1,
    /// A named file, folder or entry does not exist, or no bundle was named and none was found.
    DETAILFLOW_STATUS_NOT_FOUND = 2,
    /// The bundle is damaged, inconsistent, or of an unknown format.
    DETAILFLOW_STATUS_BAD_BUNDLE = 3,
    /// ONNX Runtime is missing, unusable or too old, or another copy was loaded before.
    DETAILFLOW_STATUS_NO_RUNTIME = 4,
    /// The device cannot be used.
    DETAILFLOW_STATUS_NO_DEVICE = 5,
    /// Memory could not be allocated. A smaller request may work.
    DETAILFLOW_STATUS_OUT_OF_MEMORY = 6,
    /// The system refused to read or write a file.
    DETAILFLOW_STATUS_IO = 7,
    /// A picture file, token file or pack is damaged or of another format.
    DETAILFLOW_STATUS_BAD_FORMAT = 8,
    /// The work was cancelled.
    DETAILFLOW_STATUS_CANCELLED = 9,
    /// The call does not fit the state of the handle or of the process.
    DETAILFLOW_STATUS_WRONG_STATE = 10,
    /// Another thread is inside a call with this handle, or work did not stop in time.
    DETAILFLOW_STATUS_BUSY = 11,
    /// ONNX Runtime failed while it ran a graph.
    DETAILFLOW_STATUS_FAILED = 12,
    /// A fault of the library itself. Please report it.
    DETAILFLOW_STATUS_INTERNAL = 13,
}

family!(detailflow_status_code: DETAILFLOW_STATUS_OK, DETAILFLOW_STATUS_INVALID_ARGUMENT, DETAILFLOW_STATUS_NOT_FOUND, DETAILFLOW_STATUS_BAD_BUNDLE, DETAILFLOW_STATUS_NO_RUNTIME, DETAILFLOW_STATUS_NO_DEVICE, DETAILFLOW_STATUS_OUT_OF_MEMORY, DETAILFLOW_STATUS_IO, DETAILFLOW_STATUS_BAD_FORMAT, DETAILFLOW_STATUS_CANCELLED, DETAILFLOW_STATUS_WRONG_STATE, DETAILFLOW_STATUS_BUSY, DETAILFLOW_STATUS_FAILED, DETAILFLOW_STATUS_INTERNAL);

pub(super) type Outcome = Result<(), Failure>;

/// A failure on its way out: the code and the sentence.
#[derive(Debug)]
pub struct Failure {
    pub(super) status: detailflow_status,
    pub(super) message: String,
}

impl Failure {
    pub(super) fn new(status: detailflow_status_code, message: impl Into<String>) -> Self {
        Self { status: status as detailflow_status, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(DETAILFLOW_STATUS_INVALID_ARGUMENT, message)
    }

    /// The same failure, with which one of several it was.
    pub(super) fn within(mut self, what: &str, index: usize) -> Self {
        self.message = format!("{what} {index}: {}", self.message);
        self
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
            Error::Invalid(_) => DETAILFLOW_STATUS_INVALID_ARGUMENT,
            Error::NotFound { .. } | Error::NoBundle(_) => DETAILFLOW_STATUS_NOT_FOUND,
            Error::Bundle { .. } => DETAILFLOW_STATUS_BAD_BUNDLE,
            Error::Runtime(_) => DETAILFLOW_STATUS_NO_RUNTIME,
            Error::Device(_) => DETAILFLOW_STATUS_NO_DEVICE,
            Error::OutOfMemory { .. } => DETAILFLOW_STATUS_OUT_OF_MEMORY,
            Error::Io { .. } => DETAILFLOW_STATUS_IO,
            Error::Format { .. } | Error::Tokens(_) => DETAILFLOW_STATUS_BAD_FORMAT,
            Error::Cancelled => DETAILFLOW_STATUS_CANCELLED,
            Error::State(_) => DETAILFLOW_STATUS_WRONG_STATE,
            Error::Busy(_) => DETAILFLOW_STATUS_BUSY,
            Error::Failed { .. } => DETAILFLOW_STATUS_FAILED,
            Error::Internal(_) => DETAILFLOW_STATUS_INTERNAL,
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

/// The version of the library, such as "0.1.0".
///
/// @return A static string.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no zero in it"),
    };
    VERSION.as_ptr()
}

/// The DETAILFLOW_VERSION_NUMBER of the library, to compare with that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_version_number() -> u32 {
    DETAILFLOW_VERSION_NUMBER
}

/// The DETAILFLOW_ABI_VERSION of the library. A program must not go on when it is less than that of its header.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_abi_version() -> u32 {
    DETAILFLOW_ABI_VERSION
}

/// The name of a status, such as "DETAILFLOW_STATUS_BUSY".
///
/// @param status Any number; "DETAILFLOW_STATUS_UNKNOWN" for one that is no status.
/// @return A static string.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_status_name(status: detailflow_status) -> *const c_char {
    const NAMES: [&CStr; 14] = [
        c"DETAILFLOW_STATUS_OK",
        c"DETAILFLOW_STATUS_INVALID_ARGUMENT",
        c"DETAILFLOW_STATUS_NOT_FOUND",
        c"DETAILFLOW_STATUS_BAD_BUNDLE",
        c"DETAILFLOW_STATUS_NO_RUNTIME",
        c"DETAILFLOW_STATUS_NO_DEVICE",
        c"DETAILFLOW_STATUS_OUT_OF_MEMORY",
        c"DETAILFLOW_STATUS_IO",
        c"DETAILFLOW_STATUS_BAD_FORMAT",
        c"DETAILFLOW_STATUS_CANCELLED",
        c"DETAILFLOW_STATUS_WRONG_STATE",
        c"DETAILFLOW_STATUS_BUSY",
        c"DETAILFLOW_STATUS_FAILED",
        c"DETAILFLOW_STATUS_INTERNAL",
    ];
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status));
    name.unwrap_or(&c"DETAILFLOW_STATUS_UNKNOWN").as_ptr()
}

/// The message of the last call of this thread that failed.
///
/// @return "" when none failed. Valid until the next call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_last_message() -> *const c_char {
    let message = || MESSAGE.try_with(|message| message.borrow().as_ptr()).ok();
    std::panic::catch_unwind(message).ok().flatten().unwrap_or(c"".as_ptr())
}
