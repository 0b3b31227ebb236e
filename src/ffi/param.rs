//! Parameters that are pointers. Each type wraps one raw pointer of the caller's and says what may be done with it;
//! the checks for NULL and for a live handle, and the `unsafe` that follows from the contract of the header, stand here
//! once. The values can only be made by a call from C, so the functions that take them are safe Rust.
//!
//! The generator of the header (tests/header.rs) replaces the types by the pointers, so that C sees plain pointers.

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::error::detailflow_error;
use super::handle::{Guard, Object, Seized, check, hold, register, remove, report_free, retire};
use super::plain::{self, Plain};
use super::status::{Failure, Outcome};
use crate::support::host;
use crate::support::memory;
use crate::support::platform;

/// A handle that any number of threads may use at once: `const T *`.
#[repr(transparent)]
pub struct Shared<'a, T>(*const T, PhantomData<&'a T>);

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

impl<'a, T: Object> Shared<'a, T> {
    /// The object; an error for NULL, a freed handle and one of another kind.
    pub(super) fn get(self) -> Result<&'a T, Failure> {
        check(self.0)?;
        // SAFETY: it is alive and of this kind, and the contract forbids to free it during the call.
        Ok(unsafe { &*self.0 })
    }

    /// As [`get`](Self::get), for a handle that may be NULL.
    pub(super) fn optional(self) -> Result<Option<&'a T>, Failure> {
        if self.0.is_null() { Ok(None) } else { self.get().map(Some) }
    }
}

/// A handle that one thread at a time may use: `T *`. Whether another thread is inside is decided by the object's own
/// [`Guarded`](super::handle::Guarded), before its value is reached.
#[repr(transparent)]
pub struct Exclusive<'a, T>(*mut T, PhantomData<&'a T>);

impl<T> Clone for Exclusive<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Exclusive<'_, T> {}

impl<'a, T: Guard> Exclusive<'a, T> {
    /// The object and its value, for this thread alone. When another thread is inside, that is BUSY, and `busy` may keep
    /// it. Checked and taken in one, so that a thread that frees the handle meanwhile waits for this call.
    pub(super) fn seize(self, busy: impl FnOnce(&T, &Failure)) -> Result<(&'a T, Seized<'a, T::Value>), Failure> {
        hold(self.0.cast_const(), || {
            // SAFETY: it is alive and of this kind. Once its value is seized, whoever frees it waits.
            let object: &'a T = unsafe { &*self.0 };
            let seized = object.guarded().seize().inspect_err(|failure| busy(object, failure))?;
            Ok((object, seized))
        })
    }
}

impl<T: Object> Exclusive<'_, T> {
    /// Frees the handle of an object whose value was given away.
    pub(super) fn discard(self) -> Outcome {
        retire(self.0)?;
        remove(self.0);
        // SAFETY: it was alive, so it came from `new_handle`, and nobody else took it.
        drop(unsafe { Box::from_raw(self.0) });
        Ok(())
    }
}

/// A handle that the caller gives back: the parameter of `_free`.
#[repr(transparent)]
pub struct Owned<T>(*mut T);

impl<T: Object> Owned<T> {
    /// Frees the object after `before` ran with it. Does nothing for NULL; a handle that is not alive or of another kind
    /// is left alone, and the log is told. Where threads are gone it leaks.
    pub(super) fn free(self, before: impl FnOnce(&T)) {
        quietly(|| {
            if self.0.is_null() {
                return;
            }
            if host::threads_are_gone() {
                // Its parts may be locked by threads that are gone.
                return;
            }
            match retire(self.0) {
                Ok(()) => {
                    // SAFETY: it was alive, so it came from `new_handle`, and only one call gets here.
                    before(unsafe { &*self.0 });
                    remove(self.0);
                    // SAFETY: as above, and nobody finds it any more.
                    drop(unsafe { Box::from_raw(self.0) });
                }
                Err(failure) => report_free::<T>(&failure),
            }
        });
    }
}

/// Runs the body of a function that returns nothing.
fn quietly(body: impl FnOnce()) {
    let _host = host::enter();
    let _ = catch_unwind(AssertUnwindSafe(body));
}

/// Where results go: `T *`, one value or an array.
#[repr(transparent)]
pub struct Out<'a, T>(*mut T, PhantomData<&'a mut T>);

impl<'a, T> Out<'a, T> {
    /// The place for one value, which must not be NULL.
    pub(super) fn place(self, name: &str) -> Result<Place<'a, T>, Failure> {
        self.optional().ok_or_else(|| null(name))
    }

    /// The place for one value, or `None` for NULL.
    pub(super) fn optional(self) -> Option<Place<'a, T>> {
        (!self.0.is_null()).then_some(Place(self))
    }
}

impl<T: Copy> Out<'_, T> {
    /// Room for an array, checked for `count` values before they are computed.
    pub(super) fn check_room(&self, capacity: usize, count: usize, name: &str) -> Outcome {
        if self.0.is_null() && capacity > 0 {
            return Err(null(name));
        }
        if !self.0.is_null() && capacity < count {
            return Err(Failure::invalid(format!("{name} has room for {capacity}, but there are {count}")));
        }
        Ok(())
    }

    /// Whether no array was given.
    pub(super) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Copies values into the caller's array of `capacity`, if one was given.
    pub(super) fn put_values(self, values: &[T], capacity: usize, name: &str) -> Outcome {
        self.check_room(capacity, values.len(), name)?;
        if !self.0.is_null() {
            for (at, &value) in values.iter().enumerate() {
                // SAFETY: at < values.len() <= capacity. C does not promise alignment.
                unsafe { self.0.add(at).write_unaligned(value) };
            }
        }
        Ok(())
    }

    /// Copies values into the caller's array, if one was given, and their number into `count`.
    pub(super) fn put(self, values: &[T], capacity: usize, count: Out<'_, usize>, names: [&str; 2]) -> Outcome {
        let count = count.place(names[1])?;
        self.put_values(values, capacity, names[0])?;
        count.set(values.len());
        Ok(())
    }
}

impl<'a> Out<'a, c_void> {
    fn of_bytes(self) -> Out<'static, u8> {
        Out(self.0.cast(), PhantomData)
    }

    pub(super) fn check_bytes(&self, capacity: usize, count: usize, name: &str) -> Outcome {
        Out::<u8>(self.0.cast(), PhantomData).check_room(capacity, count, name)
    }

    pub(super) fn has_no_bytes(&self) -> bool {
        self.0.is_null()
    }

    /// `size` bytes to write to, which must not be NULL.
    pub(super) fn slice(self, size: usize, name: &str) -> Result<&'a mut [u8], Failure> {
        if self.0.is_null() {
            return Err(null(name));
        }
        if size > isize::MAX as usize {
            return Err(Failure::invalid(format!("{name} of {size} bytes is larger than an address space")));
        }
        // SAFETY: the contract: there are `size` bytes that nobody else touches during the call.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.0.cast(), size) })
    }

    /// As [`put`](Out::put), for bytes.
    pub(super) fn put_bytes(self, bytes: &[u8], capacity: usize, size: Out<'_, usize>, names: [&str; 2]) -> Outcome {
        self.of_bytes().put(bytes, capacity, size, names)
    }
}

impl Out<'_, c_char> {
    /// Copies what fits of a text into the caller's buffer, cut on a character boundary and zero-terminated, and its
    /// whole length into `length`, which may be NULL.
    pub(super) fn put_text(self, text: &str, capacity: usize, length: Out<'_, usize>) -> Outcome {
        if self.0.is_null() && capacity > 0 {
            return Err(null("buffer"));
        }
        let text = &text[..text.find('\0').unwrap_or(text.len())];
        if let Some(most) = capacity.checked_sub(1) {
            let end = text.floor_char_boundary(most);
            // SAFETY: the caller's buffer has `capacity` bytes, and end + 1 <= capacity.
            unsafe {
                std::ptr::copy_nonoverlapping(text.as_ptr(), self.0.cast(), end);
                *self.0.add(end) = 0;
            }
        }
        if let Some(length) = length.optional() {
            length.set(text.len());
        }
        Ok(())
    }
}

impl<'a, T: Plain> Out<'a, T> {
    /// The struct, which must not be NULL, with its size checked.
    pub(super) fn structure(self) -> Result<Struct<'a, T>, Failure> {
        // SAFETY: NULL, or a struct of the caller's with at least struct_size.
        unsafe { plain::check(self.0) }?;
        Ok(Struct(self))
    }

    /// The struct, with its size checked, or `None` for NULL.
    pub(super) fn optional_struct(self) -> Result<Option<Struct<'a, T>>, Failure> {
        if self.0.is_null() { Ok(None) } else { self.structure().map(Some) }
    }

    /// Reads a struct that says where results go.
    pub(super) fn read(&self) -> Result<T, Failure> {
        // SAFETY: NULL, or a struct of the caller's of as many bytes as it says.
        unsafe { plain::read(self.0) }
    }

    /// Reads an array of structs that say where results go.
    pub(super) fn read_all(&self, count: usize) -> Result<Vec<T>, Failure> {
        // SAFETY: NULL, or `count` structs of the caller's.
        unsafe { plain::read_all(self.0, count) }
    }

    /// Writes back an array that was read with [`read_all`](Self::read_all): as many structs, as far apart as the first says.
    pub(super) fn write_back(self, values: &[T]) -> Outcome {
        // SAFETY: as many structs were read from there.
        unsafe { plain::write_back(self.0, values) }
    }

    /// Fills an array of structs, if one was given, and tells how many there are.
    pub(super) fn put_structs(self, values: &[T], capacity: usize, count: Out<'_, usize>) -> Outcome {
        let count = count.place("count")?;
        // SAFETY: NULL, or room for `capacity` structs of the caller's, as far apart as the first says.
        unsafe { plain::write_all(self.0, capacity, values) }?;
        count.set(values.len());
        Ok(())
    }
}

/// A place that was checked, written last, when nothing can fail any more.
pub(super) struct Place<'a, T>(Out<'a, T>);

impl<T> Place<'_, T> {
    pub(super) fn set(self, value: T) {
        // SAFETY: not NULL, and writable by the contract. C does not promise alignment.
        unsafe { self.0.0.write_unaligned(value) }
    }
}

impl<T: Object> Place<'_, *mut T> {
    /// A new handle for the caller, alive from now on.
    pub(super) fn set_handle(self, object: T) {
        self.set(new_handle(object));
    }
}

/// A new handle, alive from now on.
pub(super) fn new_handle<T: Object>(object: T) -> *mut T {
    let handle = Box::into_raw(Box::new(object));
    register(handle);
    handle
}

/// A struct of the caller's whose size was checked.
pub(super) struct Struct<'a, T>(Out<'a, T>);

impl<T: Plain> Struct<'_, T> {
    /// Fills as much as both sides know; struct_size stays as it is.
    pub(super) fn write(self, value: T) -> Outcome {
        // SAFETY: a struct of the caller's of as many bytes as it says.
        unsafe { plain::write(self.0.0, value) }
    }
}

impl Struct<'_, detailflow_error> {
    /// The status and what fits of the message.
    pub(super) fn write_error(self, status: i32, message: &str) {
        // The size was checked, and it cannot fail otherwise.
        let _ = self.write(detailflow_error::new(status, message));
    }
}

/// What goes in: `const T *`, one value or an array.
#[repr(transparent)]
pub struct In<'a, T>(*const T, PhantomData<&'a T>);

impl<T: Copy> In<'_, T> {
    /// One value, or `None` for NULL.
    pub(super) fn optional(self) -> Option<T> {
        // SAFETY: not NULL, and readable by the contract. C does not promise alignment.
        (!self.0.is_null()).then(|| unsafe { self.0.read_unaligned() })
    }

    /// An array, copied: C does not promise alignment. More than `most` values are refused before one is read: a wrong
    /// count should be an error, not a crash.
    pub(super) fn array(self, count: usize, most: usize, name: &str) -> Result<Vec<T>, Failure> {
        if self.0.is_null() && count > 0 {
            return Err(null(name));
        }
        if count > most {
            return Err(Failure::invalid(format!("{count} {name} are too many: there can be {most}")));
        }
        let mut copy = memory::reserve(name, count)?;
        // SAFETY: the contract: there are `count` values.
        copy.extend((0..count).map(|at| unsafe { self.0.add(at).read_unaligned() }));
        Ok(copy)
    }
}

impl<'a, T: Copy> In<'a, T> {
    /// A pointer of the caller's that was a field of a struct of the caller's.
    pub(super) fn of_field<S: Plain>(_owner: &'a S, field: *const T) -> Self {
        Self(field, PhantomData)
    }
}

impl<T: Plain> In<'_, T> {
    /// The same pointer once more.
    pub(super) fn again(&self) -> Self {
        Self(self.0, PhantomData)
    }

    /// A struct.
    pub(super) fn read(self) -> Result<T, Failure> {
        // SAFETY: NULL, or a struct of the caller's of as many bytes as it says.
        unsafe { plain::read(self.0) }
    }

    /// An array of structs, as far apart as the first one's struct_size says.
    pub(super) fn read_all(self, count: usize) -> Result<Vec<T>, Failure> {
        // SAFETY: NULL, or `count` structs of the caller's.
        unsafe { plain::read_all(self.0, count) }
    }
}

impl<'a> In<'a, c_void> {
    /// The address alone.
    pub(super) fn address(&self) -> *const c_void {
        self.0
    }

    /// `size` bytes, which must not be NULL.
    pub(super) fn bytes(self, size: usize, name: &str) -> Result<&'a [u8], Failure> {
        if self.0.is_null() {
            return Err(null(name));
        }
        if size > isize::MAX as usize {
            return Err(Failure::invalid(format!("{name} of {size} bytes is larger than an address space")));
        }
        // SAFETY: the contract: there are `size` bytes, unchanged during the call.
        Ok(unsafe { std::slice::from_raw_parts(self.0.cast(), size) })
    }
}

/// A zero-terminated string: `const char *`.
#[repr(transparent)]
pub struct Text<'a>(*const c_char, PhantomData<&'a c_char>);

impl<'a> Text<'a> {
    fn c_str(self, name: &str) -> Result<&'a CStr, Failure> {
        if self.0.is_null() {
            return Err(null(name));
        }
        // SAFETY: the contract: zero-terminated, unchanged during the call.
        Ok(unsafe { CStr::from_ptr(self.0) })
    }

    /// UTF-8 text, which must not be NULL.
    pub(super) fn text(self, name: &str) -> Result<&'a str, Failure> {
        self.c_str(name)?.to_str().map_err(|_| Failure::invalid(format!("{name} is not UTF-8")))
    }

    /// UTF-8 text, or `None` for NULL.
    pub(super) fn optional(self, name: &str) -> Result<Option<&'a str>, Failure> {
        if self.0.is_null() { Ok(None) } else { self.text(name).map(Some) }
    }

    /// A path, which must not be NULL or empty.
    pub(super) fn path(self, name: &str) -> Result<PathBuf, Failure> {
        let bytes = self.c_str(name)?;
        if bytes.is_empty() {
            return Err(Failure::invalid(format!("{name} is empty")));
        }
        platform::path_from_bytes(bytes).ok_or_else(|| Failure::invalid(format!("{name} is not UTF-8")))
    }

    /// A path, or `None` for NULL.
    pub(super) fn optional_path(self, name: &str) -> Result<Option<PathBuf>, Failure> {
        if self.0.is_null() { Ok(None) } else { self.path(name).map(Some) }
    }
}

/// A parameter that is 0 or 1.
pub(super) fn on_off(value: u32, name: &str) -> Result<bool, Failure> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Failure::invalid(format!("{name} is {value}; it must be 0 or 1"))),
    }
}

fn null(name: &str) -> Failure {
    Failure::invalid(format!("{name} is NULL"))
}
