//! Fallible allocation, for memory whose size comes from a request or a file.

use crate::support::error::{Error, Result};
use crate::support::platform;

/// Allocations up to this many bytes are made without asking the system what is available.
const SMALL: u64 = 64 << 20;

/// An empty vector with capacity for `count` elements. `what` names the purpose in the error.
///
/// # Errors
/// [`Error::OutOfMemory`].
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
