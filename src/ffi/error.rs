//! The error output of functions without a handle that keeps a message.

use std::ffi::c_char;

use super::plain::Plain;
use super::status::detailflow_status;

const MESSAGE_BYTES: usize = 1016;

/// Receives the result of one call. Functions take it where no handle keeps their message; it may be NULL.
/// Set struct_size before the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_error {
    /// sizeof(detailflow_error).
    pub struct_size: u32,
    /// What the call returned; DETAILFLOW_STATUS_OK after success.
    pub status: detailflow_status,
    /// The message, zero-terminated UTF-8, cut on a character boundary when it does not fit; "" after success.
    pub message: [c_char; 1016],
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_error {
    const NAME: &'static str = "detailflow_error";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl std::fmt::Debug for detailflow_error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("detailflow_error").field("status", &self.status).finish_non_exhaustive()
    }
}

impl detailflow_error {
    pub(super) fn new(status: detailflow_status, text: &str) -> Self {
        let mut message = [0; MESSAGE_BYTES];
        let end = text.floor_char_boundary(MESSAGE_BYTES - 1);
        for (place, &byte) in message.iter_mut().zip(&text.as_bytes()[..end]) {
            *place = byte as c_char;
        }
        Self { struct_size: 0, status, message }
    }
}
