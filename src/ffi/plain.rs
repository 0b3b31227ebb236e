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

fn check<T: Plain>(size: u32) -> Result<usize, Failure> {
    let size = size as usize;
    if size < size_of::<T>() {
        return Err(Failure::invalid(format!("{}.struct_size is {size}; version 1 has {}", T::NAME, size_of::<T>())));
    }
    Ok(size)
}

/// Reads a struct of the caller's.
///
/// # Safety
/// `source` is NULL or points to a struct of as many bytes as its struct_size says.
pub(super) unsafe fn read<T: Plain>(source: *const T) -> Result<T, Failure> {
    if source.is_null() {
        return Err(Failure::invalid(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: the first four bytes are there whatever version it is; the rest is, when they say so.
    unsafe {
        let size = check::<T>(source.cast::<u32>().read_unaligned())?;
        let tail = std::slice::from_raw_parts(source.cast::<u8>().add(size_of::<T>()), size - size_of::<T>());
        if tail.iter().any(|&byte| byte != 0) {
            return Err(Failure::invalid(format!(
                "{} asks for something that this version of the library does not know",
                T::NAME
            )));
        }
        Ok(source.read_unaligned())
    }
}

/// Fills a struct of the caller's; its struct_size stays as it is.
///
/// # Safety
/// `target` is NULL or may be written for as many bytes as its struct_size says.
pub(super) unsafe fn write<T: Plain>(target: *mut T, mut value: T) -> Result<(), Failure> {
    if target.is_null() {
        return Err(Failure::invalid(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: as for `read`.
    unsafe {
        let size = target.cast::<u32>().read_unaligned();
        check::<T>(size)?;
        *value.struct_size() = size;
        target.write_unaligned(value);
    }
    Ok(())
}
