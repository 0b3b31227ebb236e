//! Bytes of the host: a block of memory, or callbacks that read.

use std::ffi::c_void;
use std::io;

use super::param::In;
use super::plain::Plain;
use super::status::Failure;
use crate::support::block::Fixed;
use crate::support::host;
use crate::support::read_at::ReadAt;

/// Tells that a block of memory is not used any more. It must not throw, and must not call this library.
///
/// @param user What was given with the block.
pub type detailflow_release_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Reads bytes of a file for detailflow_reader. It must not throw, and must not use the object that reads.
///
/// @param user The reader's `user`.
/// @param offset Of the first byte, less than the reader's `size`.
/// @param buffer Receives the bytes.
/// @param count Bytes to read, at least 1; offset + count is at most the reader's `size`.
/// @return The number of bytes that were read: `count`. Any other number is a failure, and the call that reads is IO.
pub type detailflow_read_at_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, offset: u64, buffer: *mut c_void, count: usize) -> usize>;

/// A file that callbacks read: one in an engine's file system, an entry of an archive. What it reads is checked like any
/// file, and a size that is not true is an error.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_reader {
    /// sizeof(detailflow_reader).
    pub struct_size: u32,
    /// Reserved; 0.
    pub reserved: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Reads bytes. Must not be NULL.
    pub read_at: detailflow_read_at_fn,
    /// Passed to read_at.
    pub user: *mut c_void,
}

// SAFETY: struct_size comes first; it holds numbers, a pointer, and a callback that may be NULL.
unsafe impl Plain for detailflow_reader {
    const NAME: &'static str = "detailflow_reader";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// A reader of the host, checked.
#[derive(Debug)]
pub(super) struct HostReader {
    size: u64,
    read_at: unsafe extern "C" fn(*mut c_void, u64, *mut c_void, usize) -> usize,
    user: *mut c_void,
}

// SAFETY: the contract: the callback may be called with this pointer on every thread that makes a call which reads.
unsafe impl Send for HostReader {}
// SAFETY: as above.
unsafe impl Sync for HostReader {}

impl HostReader {
    pub fn new(reader: In<'_, detailflow_reader>) -> Result<Self, Failure> {
        let detailflow_reader { reserved, size, read_at, user, .. } = reader.read()?;
        if reserved != 0 {
            return Err(Failure::invalid(format!("detailflow_reader.reserved is {reserved}; it must be 0")));
        }
        let read_at = read_at.ok_or_else(|| Failure::invalid("detailflow_reader.read_at is NULL"))?;
        Ok(Self { size, read_at, user })
    }
}

impl ReadAt for HostReader {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let wanted = buffer.len();
        if wanted == 0 {
            return Ok(());
        }
        // SAFETY: the contract of the callback; the buffer has `wanted` bytes, which are initialized.
        let read = unsafe { (self.read_at)(self.user, offset, buffer.as_mut_ptr().cast(), wanted) };
        if read == wanted {
            return Ok(());
        }
        Err(io::Error::other(format!("read_at returned {read} for {wanted} bytes at {offset} of {}", self.size)))
    }
}

/// A block of memory of the host, which is released when this is dropped.
pub(super) struct HostBlock {
    data: *const c_void,
    size: usize,
    release: detailflow_release_fn,
    user: *mut c_void,
}

// SAFETY: the contract: the memory is not changed until it is released, which may be on any thread.
unsafe impl Send for HostBlock {}
// SAFETY: as above.
unsafe impl Sync for HostBlock {}

impl HostBlock {
    /// Takes the block, whatever is wrong with it: it is released in any case.
    pub fn new(data: In<'_, c_void>, size: usize, release: detailflow_release_fn, user: *mut c_void) -> Self {
        Self { data: data.address(), size, release, user }
    }

    /// Checks that there are bytes.
    pub fn check(&self) -> Result<(), Failure> {
        if self.data.is_null() {
            return Err(Failure::invalid("data is NULL"));
        }
        if self.size > isize::MAX as usize {
            return Err(Failure::invalid(format!("data of {} bytes is larger than an address space", self.size)));
        }
        Ok(())
    }
}

impl Fixed for HostBlock {
    fn bytes(&self) -> &[u8] {
        if self.check().is_err() {
            return &[];
        }
        // SAFETY: the contract: there are `size` bytes, unchanged until they are released.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.size) }
    }
}

impl Drop for HostBlock {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the caller vouched for the callback; it is called once.
            host::call_back(|| unsafe { release(self.user) });
        }
    }
}
