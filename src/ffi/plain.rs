//! Plain structs that cross the boundary: how their sizes are told apart.

use std::mem::size_of;

use super::status::Failure;

/// A struct that begins with a `u32` called struct_size, is `#[repr(C)]`, and may have any bytes.
///
/// # Safety
/// That is what an implementation promises.
pub(super) unsafe trait Plain: Copy {
    const NAME: &'static str;
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
    if !(size_of::<T>()..=LARGEST).contains(&size) {
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
    // SAFETY: as the caller promises: as many bytes as it says.
    unsafe {
        let size = size_of_theirs(source)?;
        let tail = std::slice::from_raw_parts(source.cast::<u8>().add(size_of::<T>()), size - size_of::<T>());
        if tail.iter().any(|&byte| byte != 0) {
            let text = format!(
                "{} (struct_size {size}) asks for something that this version of the library does not know",
                T::NAME
            );
            return Err(Failure::invalid(text));
        }
        Ok(source.read_unaligned())
    }
}

/// Fills a struct of the caller's; its struct_size stays as it is.
///
/// # Safety
/// `target` is NULL or may be written for as many bytes as its struct_size says.
pub(super) unsafe fn write<T: Plain>(target: *mut T, mut value: T) -> Result<(), Failure> {
    // SAFETY: as the caller promises.
    unsafe {
        *value.struct_size() = size_of_theirs(target)? as u32;
        target.write_unaligned(value);
    }
    Ok(())
}
