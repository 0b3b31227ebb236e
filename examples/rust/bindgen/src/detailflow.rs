// SPDX-License-Identifier: MIT OR Apache-2.0
//! Owners and results around the C API; what is missing here can be called as in C.

#[allow(non_camel_case_types, non_upper_case_globals, dead_code, reason = "names and contents of the C header")]
pub mod c {
    include!(concat!(env!("OUT_DIR"), "/declarations.rs"));
}

use std::ffi::{CStr, CString};
use std::fmt;
use std::ptr;

use c::detailflow_status as Status;

/// A failed call.
#[derive(Debug)]
pub struct Error {
    pub status: Status,
    pub message: String,
}

impl Error {
    /// Such as "DETAILFLOW_STATUS_BUSY".
    pub fn name(&self) -> &'static str {
        // SAFETY: a static string, for any number.
        unsafe { CStr::from_ptr(c::detailflow_status_name(self.status)) }.to_str().unwrap_or("")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.message)
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;

/// The result of a call that this thread has just made: the message is that of its last failed call.
pub fn check(status: Status) -> Result<()> {
    if status == c::DETAILFLOW_STATUS_OK as Status {
        return Ok(());
    }
    // SAFETY: a string that is valid until the next failed call of this thread.
    let message = unsafe { CStr::from_ptr(c::detailflow_last_message()) };
    Err(Error { status, message: message.to_string_lossy().into_owned() })
}

/// What `_free` frees, and whether several threads may use it at once.
macro_rules! owners {
    ($($owner:ident: $handle:ident, $free:ident;)*) => {$(
        pub struct $owner(*mut c::$handle);

        impl $owner {
            /// Of a call that makes one.
            pub fn from(make: impl FnOnce(*mut *mut c::$handle) -> Status) -> Result<Self> {
                let mut handle = ptr::null_mut();
                check(make(&mut handle))?;
                Ok(Self(handle))
            }

            pub fn get(&self) -> *mut c::$handle {
                self.0
            }
        }

        impl Drop for $owner {
            fn drop(&mut self) {
                // SAFETY: it is freed once, and no call with it runs: all borrow the owner.
                unsafe { c::$free(self.0) }
            }
        }

        // SAFETY: handles may move between threads.
        unsafe impl Send for $owner {}
    )*};
}

owners! {
    Model: detailflow_model, detailflow_model_free;
    Request: detailflow_request, detailflow_request_free;
    Generation: detailflow_generation, detailflow_generation_free;
    Cancel: detailflow_cancel, detailflow_cancel_free;
    Worker: detailflow_worker, detailflow_worker_free;
    Event: detailflow_event, detailflow_event_free;
}

/// A struct that the library fills or reads, with its size in its first field.
macro_rules! sized {
    ($type:ident) => {
        crate::detailflow::c::$type {
            struct_size: size_of::<crate::detailflow::c::$type>() as u32,
            // SAFETY: it holds numbers and pointers, for which zeros are values.
            ..unsafe { std::mem::zeroed() }
        }
    };
}
pub(crate) use sized;

impl Model {
    /// Opens the bundle that is named, or the default one.
    pub fn open(path: Option<&CStr>) -> Result<Self> {
        let path = path.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the path is a string or NULL, and options and error may be NULL.
        Self::from(|model| unsafe { c::detailflow_model_open(path, ptr::null(), model, ptr::null_mut()) })
    }

    pub fn info(&self) -> Result<c::detailflow_model_info> {
        let mut info = sized!(detailflow_model_info);
        // SAFETY: the struct has its size. Its strings live as long as the model.
        check(unsafe { c::detailflow_model_get_info(self.get(), &mut info) })?;
        Ok(info)
    }

    pub fn level(&self, index: u32) -> Result<c::detailflow_level> {
        let mut level = sized!(detailflow_level);
        // SAFETY: the struct has its size.
        check(unsafe { c::detailflow_model_get_level(self.get(), index, &mut level) })?;
        Ok(level)
    }

    pub fn find_class(&self, name: &str) -> Result<u32> {
        let name = CString::new(name).unwrap_or_default();
        let mut class = 0;
        // SAFETY: a string, and a number to fill.
        check(unsafe { c::detailflow_model_find_class(self.get(), name.as_ptr(), &mut class) })?;
        Ok(class)
    }

    pub fn decode(&self, tokens: &[u32], picture: &mut Picture) -> Result<()> {
        let side = picture.side;
        let mut image = picture.image();
        // SAFETY: the lengths are those of the slice and of the picture's memory.
        check(unsafe { c::detailflow_model_decode(self.get(), tokens.as_ptr(), tokens.len(), side, &mut image) })
    }
}

impl Generation {
    pub fn new(request: &Request) -> Result<Self> {
        // SAFETY: a request that is alive.
        Self::from(|generation| unsafe { c::detailflow_generation_new(request.get(), generation) })
    }

    pub fn step(&mut self) -> Result<c::detailflow_progress> {
        let mut progress = sized!(detailflow_progress);
        // SAFETY: the struct has its size.
        check(unsafe { c::detailflow_generation_step(self.get(), &mut progress) })?;
        Ok(progress)
    }

    pub fn progress(&self) -> Result<c::detailflow_progress> {
        let mut progress = sized!(detailflow_progress);
        // SAFETY: the struct has its size.
        check(unsafe { c::detailflow_generation_get_progress(self.get(), &mut progress) })?;
        Ok(progress)
    }

    pub fn decode_level(&self, picture: &mut Picture) -> Result<()> {
        let mut image = picture.image();
        // SAFETY: the size is that of the picture's memory.
        check(unsafe { c::detailflow_generation_decode_level(self.get(), 0, &mut image) })
    }

    pub fn tokens(&self) -> Result<Vec<u32>> {
        // SAFETY: either no memory, or that of a vector with its length.
        array(|tokens, capacity, count| unsafe {
            c::detailflow_generation_get_tokens(self.get(), 0, tokens, capacity, count)
        })
    }

    pub fn cancel_handle(&self) -> Result<Cancel> {
        // SAFETY: a generation that is alive.
        Cancel::from(|cancel| unsafe { c::detailflow_generation_get_cancel(self.get(), cancel) })
    }
}

/// An array that the library fills: its length is asked for first.
pub fn array<T: Clone + Default>(call: impl Fn(*mut T, usize, *mut usize) -> Status) -> Result<Vec<T>> {
    let mut count = 0;
    check(call(ptr::null_mut(), 0, &mut count))?;
    let mut array = vec![T::default(); count];
    check(call(array.as_mut_ptr(), count, &mut count))?;
    Ok(array)
}

/// A square picture, RGBA8.
pub struct Picture {
    pub side: u32,
    pub pixels: Vec<u8>,
}

impl Picture {
    pub fn new(side: u32) -> Self {
        Self { side, pixels: vec![0; side as usize * side as usize * 4] }
    }

    /// Its memory, for one call.
    pub fn image(&mut self) -> c::detailflow_image {
        c::detailflow_image {
            format: c::DETAILFLOW_FORMAT_RGBA8 as u32,
            width: self.side,
            height: self.side,
            pixels: self.pixels.as_mut_ptr().cast(),
            capacity: self.pixels.len(),
            ..sized!(detailflow_image)
        }
    }
}
