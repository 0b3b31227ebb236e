//! Plain structs that cross the boundary: how their sizes are told apart.

use std::mem::size_of;

use super::status::Failure;
use crate::support::memory;

/// A struct that begins with a `u32` called struct_size, is `#[repr(C)]`, and may have any bytes.
///
/// # Safety
/// That is what an implementation promises.
pub unsafe trait Plain: Copy {
    const NAME: &'static str;
    /// Its size in the first version of the API. Fields appended later are left out for callers that do not know them.
    const LEAST: usize = size_of::<Self>();
    fn struct_size(&mut self) -> &mut u32;
}

/// No version will ever be larger: what is, was not set.
const LARGEST: usize = 4096;

/// The size that the caller gave, where it makes sense.
///
/// # Safety
/// `place` is NULL or has at least four bytes.
unsafe fn size_of_theirs<T: Plain>(place: *const T) -> Result<usize, Failure> {
    if place.is_null() {
        return Err(Failure::invalid(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: the first four bytes are there, whatever version it is.
    let size = unsafe { place.cast::<u32>().read_unaligned() } as usize;
    if !(T::LEAST..=LARGEST).contains(&size) {
        return Err(Failure::invalid(format!(
            "{0}.struct_size is {size}; set it to sizeof({0}), {1}",
            T::NAME,
            size_of::<T>()
        )));
    }
    Ok(size)
}

/// Whether [`write`] will work, for a caller that should know before the work is done.
///
/// # Safety
/// As for [`write`].
pub(super) unsafe fn check<T: Plain>(target: *const T) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    unsafe { size_of_theirs(target) }.map(drop)
}

/// Reads a struct of the caller's.
///
/// # Safety
/// `source` is NULL or points to a struct of as many bytes as its struct_size says.
pub(super) unsafe fn read<T: Plain>(source: *const T) -> Result<T, Failure> {
    // SAFETY: as the caller promises: as many bytes as it says; what an older caller does not know is zero.
    unsafe {
        let size = size_of_theirs(source)?;
        let ours = size.min(size_of::<T>());
        let tail = std::slice::from_raw_parts(source.cast::<u8>().add(ours), size - ours);
        if tail.iter().any(|&byte| byte != 0) {
            let text = format!(
                "{} (struct_size {size}) asks for something that this version of the library does not know",
                T::NAME
            );
            return Err(Failure::invalid(text));
        }
        let mut value = std::mem::zeroed::<T>();
        std::ptr::copy_nonoverlapping(source.cast::<u8>(), (&raw mut value).cast(), ours);
        Ok(value)
    }
}

/// Reads an array of structs of the caller's. They lie as far apart as the first one's struct_size says, which is what
/// sizeof was where the array was made; all must say the same.
///
/// # Safety
/// `first` is NULL or points to `count` structs of as many bytes as the first one's struct_size says.
pub(super) unsafe fn read_all<T: Plain>(first: *const T, count: usize) -> Result<Vec<T>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: as the caller promises: there is at least one.
    let size = unsafe { size_of_theirs(first) }?;
    if count > isize::MAX as usize / size {
        return Err(Failure::invalid(format!("{count} {} are more than an address space", T::NAME)));
    }
    let mut all = memory::reserve(T::NAME, count)?;
    for at in 0..count {
        // SAFETY: as the caller promises, and at * size is within an address space.
        let one = unsafe { first.byte_add(at * size) };
        // SAFETY: the first four bytes are there.
        let theirs = unsafe { one.cast::<u32>().read_unaligned() };
        if theirs as usize != size {
            return Err(Failure::invalid(format!(
                "{0}[{at}].struct_size is {theirs}, that of the first is {size}: in an array all are sizeof({0})",
                T::NAME
            )));
        }
        // SAFETY: as the caller promises.
        all.push(unsafe { read(one) }?);
    }
    Ok(all)
}

/// Fills a struct of the caller's, as much as both sides know; its struct_size stays as it is.
///
/// # Safety
/// `target` is NULL or may be written for as many bytes as its struct_size says.
pub(super) unsafe fn write<T: Plain>(target: *mut T, mut value: T) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    unsafe {
        let size = size_of_theirs(target)?;
        *value.struct_size() = size as u32;
        std::ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), target.cast(), size.min(size_of::<T>()));
    }
    Ok(())
}

/// Fills an array of the caller's, whose first element says how far apart they are.
///
/// # Safety
/// `target` is NULL or has room for `capacity` structs of as many bytes as the first says.
pub(super) unsafe fn write_all<T: Plain>(target: *mut T, capacity: usize, values: &[T]) -> Result<(), Failure> {
    if target.is_null() {
        return if capacity == 0 { Ok(()) } else { Err(Failure::invalid(format!("{} is NULL", T::NAME))) };
    }
    if capacity < values.len() {
        return Err(Failure::invalid(format!(
            "the array of {} has room for {capacity}, but there are {}",
            T::NAME,
            values.len()
        )));
    }
    let size = match capacity {
        0 => 0,
        // SAFETY: as the caller promises; there is room for a first element.
        _ => unsafe { size_of_theirs(target) }?,
    };
    for (at, &value) in values.iter().enumerate() {
        // Only the first element has to tell its size.
        // SAFETY: at < capacity elements of this size each.
        unsafe {
            let place = target.byte_add(at * size);
            place.cast::<u32>().write_unaligned(size as u32);
            write(place, value)?;
        }
    }
    Ok(())
}

/// Writes structs back to where [`read_all`] found them.
///
/// # Safety
/// As many structs were read from `target`, which may be written.
pub(super) unsafe fn write_back<T: Plain>(target: *mut T, values: &[T]) -> Result<(), Failure> {
    // SAFETY: as the caller promises; there is room for as many as there are.
    unsafe { write_all(target, values.len(), values) }
}

/// A time for C; 0 where it is not known.
pub(super) fn nanoseconds(time: Option<std::time::Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1))
}
