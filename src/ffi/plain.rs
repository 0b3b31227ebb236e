//! Plain structs that cross the boundary: how their sizes are told apart.

use std::mem::size_of;

use super::status::Failure;

/// A struct that begins with a `u32` called struct_size, is `#[repr(C)]`, and may have any bytes.
///
/// # Safety
/// That is what an implementation promises.
pub(super) unsafe trait Plain: Copy {
    const NAME: &'static str;
    /// Its size when it first appeared. What was appended since is left out for callers that do not know it.
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

/// Fills an array of the caller's, whose first element says how far apart they are, and tells how many there are. With
/// no memory given only the number is told.
///
/// # Safety
/// `target` is NULL or `capacity` structs of as many bytes as the first says; `count` is NULL or may be written.
pub(super) unsafe fn write_all<T: Plain>(
    values: &[T],
    target: *mut T,
    capacity: usize,
    count: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    let count = unsafe { super::call::output(count, "count") }?;
    if !target.is_null() {
        if capacity < values.len() {
            return Err(Failure::invalid(format!("room for {capacity} of {}, there are {}", T::NAME, values.len())));
        }
        // SAFETY: as the caller promises.
        let size = unsafe { size_of_theirs(target) }?;
        for (at, &value) in values.iter().enumerate() {
            // SAFETY: at < capacity elements of this size each. Only the first has to say it.
            unsafe {
                let place = target.cast::<u8>().add(at * size).cast::<T>();
                place.cast::<u32>().write_unaligned(size as u32);
                write(place, value)?;
            }
        }
    } else if capacity > 0 {
        return Err(Failure::invalid(format!("{} is NULL", T::NAME)));
    }
    count.set(values.len());
    Ok(())
}

/// A time for C; 0 where it is not known.
pub(super) fn nanoseconds(time: Option<std::time::Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1))
}
