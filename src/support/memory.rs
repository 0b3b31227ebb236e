//! Fallible allocation, for memory whose size comes from a request or a file.

use crate::support::error::{Error, Result};
use crate::support::platform;

/// Allocations up to this many bytes are made without asking the system what is available.
const SMALL: u64 = 64 << 20;

/// An empty vector with capacity for `count` elements. `what` names the purpose in the error.
///
/// # Errors
/// [`Error::OutOfMemory`].
// Not inlined, as `with_room`, for the failing allocator of tests/alloc.rs: it tells by these names who allocates.
#[inline(never)]
pub(crate) fn reserve<T>(what: &str, count: usize) -> Result<Vec<T>> {
    let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
    check(what, bytes)?;
    let mut memory = Vec::new();
    memory.try_reserve_exact(count).map_err(|_| Error::OutOfMemory { what: what.to_owned(), bytes })?;
    Ok(memory)
}

/// A vector of `count` copies of `value`, allocated as [`reserve`] does.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn filled<T: Clone>(what: &str, count: usize, value: T) -> Result<Vec<T>> {
    let mut memory = reserve(what, count)?;
    memory.resize(count, value);
    Ok(memory)
}

/// A copy of `values`, allocated as [`reserve`] does.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn copied<T: Clone>(what: &str, values: &[T]) -> Result<Vec<T>> {
    let mut memory = reserve(what, values.len())?;
    memory.extend_from_slice(values);
    Ok(memory)
}

/// Makes `memory` at least `count` values long, with copies of `value`; longer memory stays as it is. The old values are lost
/// where it grows.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn grow<T: Clone>(what: &str, memory: &mut Vec<T>, count: usize, value: T) -> Result<()> {
    if memory.len() < count {
        // The old memory first: it need not be there beside the new.
        *memory = Vec::new();
        *memory = filled(what, count, value)?;
    }
    Ok(())
}

/// Makes the capacity of `memory` at least `count`. What it held is lost where it grows.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn room<T>(what: &str, memory: &mut Vec<T>, count: usize) -> Result<()> {
    if memory.capacity() < count {
        *memory = Vec::new();
        *memory = reserve(what, count)?;
    }
    Ok(())
}

/// Runs code of other crates that allocates infallibly, up to `bytes`, once there is that much memory. What it allocates is
/// bounded so; another thread may still take the memory in between.
///
/// # Errors
/// [`Error::OutOfMemory`].
#[cfg(feature = "image-files")]
#[inline(never)]
pub(crate) fn with_room<R>(what: &str, bytes: usize, run: impl FnOnce() -> R) -> Result<R> {
    drop(reserve::<u8>(what, bytes)?);
    Ok(run())
}

/// Refuses an allocation larger than the available memory. Systems that overcommit grant it and kill the process when it is
/// used. Amounts up to 64 MiB are not looked up, so that ordinary work opens no file for this.
///
/// # Errors
/// [`Error::OutOfMemory`].
pub(crate) fn check(what: &str, bytes: u64) -> Result<()> {
    if bytes > SMALL && platform::available_memory().is_some_and(|available| bytes > available) {
        return Err(Error::OutOfMemory { what: what.to_owned(), bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_beyond_the_address_space_is_out_of_memory() {
        assert!(matches!(reserve::<u64>("it", usize::MAX / 8), Err(Error::OutOfMemory { .. })));
        assert!(matches!(reserve::<u8>("it", isize::MAX as usize), Err(Error::OutOfMemory { .. })));
        assert_eq!(filled("it", 3, 7u8).unwrap(), [7, 7, 7]);
    }
}
