//! The thin boundary: every export goes through [`call`] or [`Handle::enter`], which catch panics and keep
//! messages.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::status::{DETAILFLOW_BUSY, DETAILFLOW_OK, Failure, detailflow_status, remember};
use crate::support::error::Error;
use crate::support::platform;

pub(super) type Outcome = Result<(), Failure>;

/// Runs the body of an export. Nothing unwinds out of it.
pub(super) fn call(body: impl FnOnce() -> Outcome) -> detailflow_status {
    call_on(None, body)
}

/// As [`call`], and keeps the message with the handle too.
pub(super) fn call_on(message: Option<&Message>, body: impl FnOnce() -> Outcome) -> detailflow_status {
    // What a panic leaves half-done is only reachable through handles, whose parts check themselves on the next
    // call.
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Error::from_panic(&*panic).into()));
    match outcome {
        Ok(()) => DETAILFLOW_OK,
        Err(failure) => {
            remember(&failure.message);
            if let Some(message) = message {
                message.set(&failure.message);
            }
            failure.status
        }
    }
}

/// Runs the body of an export that returns nothing.
pub(super) fn quietly(body: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(body));
}

/// The last message of one handle, whichever thread it came from.
#[derive(Default)]
pub(super) struct Message(Mutex<String>);

impl Message {
    pub fn set(&self, text: &str) {
        let mut message = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        message.clear();
        message.push_str(text);
    }

    /// Copies what fits into `buffer`, ends it with a zero, and returns the whole length without the zero.
    ///
    /// # Safety
    /// `buffer` is NULL or has `capacity` bytes.
    pub unsafe fn copy(&self, buffer: *mut c_char, capacity: usize) -> usize {
        let message = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !buffer.is_null() && capacity > 0 {
            let mut end = message.len().min(capacity - 1);
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            // SAFETY: end + 1 <= capacity bytes, and the message is ours.
            unsafe {
                std::ptr::copy_nonoverlapping(message.as_ptr(), buffer.cast(), end);
                *buffer.add(end) = 0;
            }
        }
        message.len()
    }
}

/// [`Message::copy`] for an export; 0 when there is no handle.
///
/// # Safety
/// As for [`Message::copy`].
pub(super) unsafe fn copy_message(message: Option<&Message>, buffer: *mut c_char, capacity: usize) -> usize {
    // SAFETY: as the caller promises.
    let copy = || message.map_or(0, |message| unsafe { message.copy(buffer, capacity) });
    catch_unwind(AssertUnwindSafe(copy)).unwrap_or(0)
}

/// What a handle points to: a value that one thread at a time may change, or any number may read.
pub(super) struct Handle<T> {
    name: &'static str,
    /// How many are reading, or [`CHANGING`].
    users: AtomicUsize,
    pub message: Message,
    value: UnsafeCell<T>,
}

const CHANGING: usize = usize::MAX;

impl<T: Send> Handle<T> {
    pub fn new(name: &'static str, value: T) -> Self {
        Self { name, users: AtomicUsize::new(0), message: Message::default(), value: UnsafeCell::new(value) }
    }

    /// Runs `body` with the value to itself, or fails with BUSY when another thread is inside.
    pub fn enter(&self, body: impl FnOnce(&mut T) -> Outcome) -> detailflow_status {
        let free = self.users.compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !free {
            return call_on(Some(&self.message), || Err(self.busy()));
        }
        // Leaves when the message is kept too: whoever waits for us may free the handle right after.
        let _inside = Inside(&self.users);
        // SAFETY: the state lets nobody else in until the guard is dropped, and no panic leaves `call_on`.
        call_on(Some(&self.message), || body(unsafe { &mut *self.value.get() }))
    }

    /// Looks at the value, together with others who do, or BUSY when another thread is changing it. For calls that take
    /// the handle as const.
    pub fn read<R>(&self, body: impl FnOnce(&T) -> Result<R, Failure>) -> Result<R, Failure>
    where
        T: Sync,
    {
        let more = |users: usize| (users < CHANGING - 1).then(|| users + 1);
        self.users.fetch_update(Ordering::Acquire, Ordering::Relaxed, more).map_err(|_| self.busy())?;
        let _inside = Inside(&self.users);
        // SAFETY: while there are readers nobody changes it.
        body(unsafe { &*self.value.get() })
    }

    /// A copy of a small value; see [`read`](Self::read).
    pub fn copy(&self) -> Result<T, Failure>
    where
        T: Clone + Sync,
    {
        self.read(|value| Ok(value.clone()))
    }

    /// Lets nobody in any more, for whoever takes the handle away; BUSY when somebody is inside.
    pub fn seize(&self) -> Outcome {
        let free = self.users.compare_exchange(0, CHANGING, Ordering::Acquire, Ordering::Relaxed);
        free.map(drop).map_err(|_| self.busy())
    }

    /// The value, when the handle is gone.
    pub fn into_value(self) -> T {
        self.value.into_inner()
    }

    /// Waits until nobody is inside.
    pub fn wait(&self) {
        while self.users.load(Ordering::Acquire) != 0 {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }

    fn busy(&self) -> Failure {
        Failure::new(DETAILFLOW_BUSY, format!("another thread is using this {}", self.name))
    }
}

/// Leaves a handle: the last touch of its memory, which may be freed right after.
struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let fewer = |users: usize| Some(if users == CHANGING { 0 } else { users - 1 });
        let _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, fewer);
    }
}

/// Runs `body` with the value of a handle that may be NULL.
pub(super) fn on<T: Send>(
    handle: Result<&Handle<T>, Failure>,
    body: impl FnOnce(&mut T) -> Outcome,
) -> detailflow_status {
    match handle {
        Ok(handle) => handle.enter(body),
        Err(failure) => call(|| Err(failure)),
    }
}

/// The object behind a handle.
///
/// # Safety
/// `handle` is NULL or came from this library and was not freed.
pub(super) unsafe fn object<'a, T>(handle: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: as the caller promises.
    unsafe { handle.as_ref() }.ok_or_else(|| null(name))
}

/// A place for a result.
///
/// # Safety
/// `place` is NULL or may be written for as long as `'a`.
pub(super) unsafe fn output<T>(place: *mut T, name: &str) -> Result<Output<T>, Failure> {
    if place.is_null() { Err(null(name)) } else { Ok(Output(place)) }
}

/// A place that was checked, written last, when nothing can fail any more.
pub(super) struct Output<T>(*mut T);

impl<T> Output<T> {
    pub fn set(self, value: T) {
        // SAFETY: not NULL, and writable as its maker promised. C does not promise alignment.
        unsafe { self.0.write_unaligned(value) }
    }
}

/// A new handle for C.
pub(super) fn into_handle<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes a handle back.
///
/// # Safety
/// `handle` is NULL or came from [`into_handle`] and was not freed.
pub(super) unsafe fn free<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: as the caller promises.
        quietly(|| drop(unsafe { Box::from_raw(handle) }));
    }
}

fn null(name: &str) -> Failure {
    Failure::invalid(format!("{name} is NULL"))
}

/// A string of the caller's.
///
/// # Safety
/// `text` is NULL or a zero-terminated string that lives as long as `'a`.
pub(super) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(null(name));
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Failure::invalid(format!("{name} is not UTF-8")))
}

/// A path of the caller's.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn path(path: *const c_char, name: &str) -> Result<PathBuf, Failure> {
    if path.is_null() {
        return Err(null(name));
    }
    // SAFETY: as the caller promises.
    let bytes = unsafe { CStr::from_ptr(path) };
    if bytes.is_empty() {
        return Err(Failure::invalid(format!("{name} is empty")));
    }
    platform::path_from_bytes(bytes).ok_or_else(|| Failure::invalid(format!("{name} is not UTF-8")))
}

/// An array of the caller's, copied: C does not promise alignment. More than `most` values make no sense and are refused
/// before one is read: who gives a wrong number should be told so, not crash.
///
/// # Safety
/// `values` is NULL or has `count` values.
pub(super) unsafe fn array<T: Copy>(
    values: *const T,
    count: usize,
    most: usize,
    name: &str,
) -> Result<Vec<T>, Failure> {
    if values.is_null() && count > 0 {
        return Err(null(name));
    }
    if count > most {
        return Err(Failure::invalid(format!("{count} {name} are too many: there can be {most}")));
    }
    let mut copy = crate::support::memory::reserve(name, count)?;
    // SAFETY: as the caller promises.
    copy.extend((0..count).map(|at| unsafe { values.add(at).read_unaligned() }));
    Ok(copy)
}

/// Copies values into the caller's memory, and their number into `count`. With no memory given only the number is told.
///
/// # Safety
/// `target` is NULL or has room for `capacity` values; `count` is NULL or may be written.
pub(super) unsafe fn put<T: Copy>(
    values: &[T],
    target: *mut T,
    capacity: usize,
    count: *mut usize,
    name: &str,
) -> Outcome {
    // SAFETY: as the caller promises.
    let count = unsafe { output(count, "count") }?;
    // SAFETY: as the caller promises.
    count.set(unsafe { put_values(values, target, capacity, name) }?);
    Ok(())
}

/// [`put`] for a number that goes elsewhere.
///
/// # Safety
/// As for [`put`].
pub(super) unsafe fn put_values<T: Copy>(
    values: &[T],
    target: *mut T,
    capacity: usize,
    name: &str,
) -> Result<usize, Failure> {
    if target.is_null() && capacity > 0 {
        return Err(null(name));
    }
    if !target.is_null() {
        if capacity < values.len() {
            return Err(Failure::invalid(format!("room for {capacity} {name}, there are {}", values.len())));
        }
        for (at, &value) in values.iter().enumerate() {
            // SAFETY: at < values.len() <= capacity.
            unsafe { target.add(at).write_unaligned(value) };
        }
    }
    Ok(values.len())
}

/// [`put`] of tokens.
///
/// # Safety
/// As for [`put`].
pub(super) unsafe fn put_tokens(tokens: &[u32], target: *mut u32, capacity: usize, count: *mut usize) -> Outcome {
    // SAFETY: as the caller promises.
    unsafe { put(tokens, target, capacity, count, "tokens") }
}
