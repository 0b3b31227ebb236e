//! How an exported function runs: the host's float environment is set aside, panics are caught, and the message of a failure
//! goes where it can be read.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::detailflow_error;
use super::handle::{Guard, Object};
use super::message::Message;
use super::param::{Exclusive, Out, Shared};
use super::status::{DETAILFLOW_STATUS_OK, Failure, Outcome, detailflow_status, remember};
use crate::support::error::Error;
use crate::support::host;

/// Runs the body of a function whose first parameter is a handle that keeps a message.
pub(super) fn on<T: Object>(handle: Shared<'_, T>, body: impl FnOnce(&T) -> Outcome) -> detailflow_status {
    let _host = host::enter();
    match guard(|| handle.get()) {
        Ok(object) => finish(guard(|| body(object)), object.message()),
        Err(failure) => finish(Err(failure), None),
    }
}

/// As [`on`], for a body during which the handle may be freed: it uses what `keep` takes from it.
pub(super) fn on_kept<T: Object, K, B: FnOnce() -> Outcome>(
    handle: Shared<'_, T>,
    keep: impl FnOnce(&T) -> (K, std::sync::Arc<Message>),
    body: impl FnOnce(K) -> B,
) -> detailflow_status {
    let _host = host::enter();
    match guard(|| handle.get().map(keep)) {
        Ok((kept, message)) => finish(guard(body(kept)), Some(&message)),
        Err(failure) => finish(Err(failure), None),
    }
}

/// Runs the body of a function that changes the value of a handle, or gives BUSY when another thread is inside.
pub(super) fn change<T: Guard>(
    handle: Exclusive<'_, T>,
    body: impl FnOnce(&mut T::Value) -> Outcome,
) -> detailflow_status {
    let _host = host::enter();
    let busy = |object: &T, failure: &Failure| {
        if let Some(message) = object.message() {
            message.set(&failure.message);
        }
    };
    match guard(|| handle.seize(busy)) {
        // The message is set before the handle is left: whoever waits for this call may free the handle right after.
        Ok((object, mut seized)) => finish(guard(|| body(seized.value())), object.message()),
        Err(failure) => finish(Err(failure), None),
    }
}

/// Runs the body of a function without such a handle: the message also goes into `error`, which may be NULL.
pub(super) fn call(error: Out<'_, detailflow_error>, body: impl FnOnce() -> Outcome) -> detailflow_status {
    let _host = host::enter();
    // Reads and checks the caller's memory, also in a forked child.
    let target = match error.optional_struct() {
        Ok(target) => target,
        Err(failure) => return finish(Err(failure), None),
    };
    let outcome = guard(body);
    if let Some(target) = target {
        let (status, message) = match &outcome {
            Ok(()) => (DETAILFLOW_STATUS_OK as detailflow_status, ""),
            Err(failure) => (failure.status, failure.message.as_str()),
        };
        target.write_error(status, message);
    }
    finish(outcome, None)
}

/// Runs `body`, but not where threads are gone, of which one may have held a lock; a panic becomes a failure. What a panic leaves
/// half-done is reachable through handles only, whose parts check themselves on the next call.
fn guard<R>(body: impl FnOnce() -> Result<R, Failure>) -> Result<R, Failure> {
    let body = || {
        host::check_threads()?;
        body()
    };
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Error::from_panic(&*panic).into()))
}

fn finish(outcome: Outcome, message: Option<&Message>) -> detailflow_status {
    match outcome {
        Ok(()) => DETAILFLOW_STATUS_OK as detailflow_status,
        Err(failure) => {
            remember(&failure.message);
            if let Some(message) = message {
                message.set(&failure.message);
            }
            failure.status
        }
    }
}

/// Copies the message of a handle into the caller's buffer. A failure of this call itself does not replace the message.
pub(super) fn get_message<T: Object>(
    handle: Shared<'_, T>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    let _host = host::enter();
    let copy = || {
        let object = handle.get()?;
        buffer.put_text(&object.message().map(Message::text).unwrap_or_default(), capacity, length)
    };
    finish(guard(copy), None)
}
