//! Generations: draw at once or step by step, look at any time, cancel from anywhere.

use std::ffi::c_char;

use super::call::{
    Handle, call, call_on, copy_message, free, into_handle, object, on, output, path, put_tokens, quietly,
};
use super::image::{detailflow_image, write_image};
use super::plain::{Plain, check, read, write};
use super::request::detailflow_request;
use super::status::detailflow_status;
use crate::generation::{Cancel, Generation, Progress};

/// A request on its way, or done. Not const: one thread at a time; it may move between threads.
pub struct detailflow_generation {
    generation: Handle<Generation>,
    cancel: Cancel,
}

/// Stops a generation. Shared: for any thread, at any time, also after the generation was freed.
pub struct detailflow_cancel(Cancel);

/// Where a generation stands.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_progress {
    /// sizeof(detailflow_progress).
    pub struct_size: u32,
    /// Steps done.
    pub steps_done: u32,
    /// Steps left; 0 when it is finished.
    pub steps_left: u32,
    /// Tokens of each picture so far.
    pub tokens: u32,
    /// Pixels a side of the picture so far; 0 before the first step.
    pub size: u32,
    /// Pixels a side of the finest level that is complete; 0 before the first.
    pub level: u32,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_progress {
    const NAME: &'static str = "detailflow_progress";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl From<Progress> for detailflow_progress {
    fn from(progress: Progress) -> Self {
        Self {
            struct_size: 0,
            steps_done: progress.steps_done as u32,
            steps_left: progress.steps_left as u32,
            tokens: progress.tokens as u32,
            size: progress.size,
            level: progress.level.map_or(0, |level| level.size),
        }
    }
}

/// Draws a whole request in one call: detailflow_generation_new and all its steps. It cannot be cancelled; stepping
/// can. Free with detailflow_generation_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generate(
    request: *const detailflow_request,
    generation: *mut *mut detailflow_generation,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe { begin(request, generation, |generation| generation.finish().map(drop)) }
}

/// Begins a request: reserves all memory that its steps will need, draws nothing yet. The request may be changed or
/// freed afterwards. Free with detailflow_generation_free.
///
/// Errors: OUT_OF_MEMORY when the batch is too large for the machine; WRONG_STATE when the model cannot draw (see
/// detailflow_model_can_draw).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_new(
    request: *const detailflow_request,
    generation: *mut *mut detailflow_generation,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe { begin(request, generation, |_| Ok(())) }
}

/// Frees it. NULL is fine. When another thread is stepping it, it is cancelled first and waited for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_free(generation: *mut detailflow_generation) {
    // SAFETY: the contract of the header.
    if let Some(this) = unsafe { generation.as_ref() } {
        quietly(|| {
            this.cancel.cancel();
            this.generation.wait();
        });
    }
    // SAFETY: the contract of the header.
    unsafe { free(generation) }
}

/// As detailflow_model_message, for a generation. May be called while another thread steps it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_message(
    generation: *const detailflow_generation,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(generation.as_ref().map(|this| &this.generation.message), buffer, capacity) }
}

/// Does one step: one token for each picture while causal, a group of them after. Nothing when finished. `progress`
/// (may be NULL) has its struct_size set.
///
/// Errors: CANCELLED once cancelled; FAILED or OUT_OF_MEMORY from ONNX Runtime, after which the step can be tried
/// again. What was drawn before stays readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_step(
    generation: *mut detailflow_generation,
    progress: *mut detailflow_progress,
) -> detailflow_status {
    with(generation, |generation| {
        if !progress.is_null() {
            // A wrong struct is told before the work: a step whose result cannot be told would still have been
            // done. SAFETY: the contract of the header.
            unsafe { check(progress) }?;
        }
        let now = generation.step()?;
        if progress.is_null() {
            return Ok(());
        }
        // SAFETY: the contract of the header.
        unsafe { write(progress, now.into()) }
    })
}

/// Where it stands, without a step. `progress` has its struct_size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_get_progress(
    generation: *mut detailflow_generation,
    progress: *mut detailflow_progress,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    with(generation, |generation| unsafe { write(progress, generation.progress().into()) })
}

/// The tokens of the picture `image` so far, coarse to fine, into `tokens`, which has room for `capacity`; their
/// number into `count`. `tokens` NULL with `capacity` 0 only tells the number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_tokens(
    generation: *mut detailflow_generation,
    image: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    with(generation, |generation| unsafe { put_tokens(generation.tokens(image as usize)?, tokens, capacity, count) })
}

/// Decodes the picture `image` as it is now (all tokens drawn so far) into `target`, whose width and height are the
/// progress's size. Any time after the first step, also after a cancel; the generation is not disturbed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_image(
    generation: *mut detailflow_generation,
    image: u32,
    target: *const detailflow_image,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        let target = unsafe { read(target) }?;
        let size = generation.progress().size;
        if size > 0 {
            target.check_size(size)?;
        }
        // SAFETY: the contract of the header.
        unsafe { write_image(&generation.image(image as usize)?, &target) }
    })
}

/// Decodes the picture `image` as it is now and writes it to the file `path`; the ending says which kind: png, jpg,
/// webp, bmp, tga, tiff, qoi.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_save(
    generation: *mut detailflow_generation,
    image: u32,
    path: *const c_char,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        let path = unsafe { self::path(path, "path") }?;
        Ok(generation.image(image as usize)?.save(path)?)
    })
}

/// The handle that stops it. May be called while another thread steps it, and any number of times. Free each with
/// detailflow_cancel_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_cancel_handle(
    generation: *const detailflow_generation,
    cancel: *mut *mut detailflow_cancel,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    let this = match unsafe { object(generation, "generation") } {
        Ok(this) => this,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&this.generation.message), || {
        // SAFETY: the contract of the header.
        let place = unsafe { output(cancel, "cancel") }?;
        place.set(into_handle(detailflow_cancel(this.cancel.clone())));
        Ok(())
    })
}

/// Stops the generation within one step, also inside a running graph. Its step in progress and every later one
/// gives DETAILFLOW_CANCELLED; what was drawn stays readable, and the model is not touched.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_cancel_trigger(cancel: *const detailflow_cancel) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        unsafe { object(cancel, "cancel") }?.0.cancel();
        Ok(())
    })
}

/// Frees the handle; does not cancel. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_cancel_free(cancel: *mut detailflow_cancel) {
    // SAFETY: the contract of the header.
    unsafe { free(cancel) }
}

/// # Safety
/// As the header asks of the pointers.
unsafe fn begin(
    request: *const detailflow_request,
    place: *mut *mut detailflow_generation,
    run: impl FnOnce(&mut Generation) -> crate::Result<()>,
) -> detailflow_status {
    // SAFETY: as the caller promises.
    let request = match unsafe { object(request, "request") } {
        Ok(request) => &request.0,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&request.message), || {
        // SAFETY: as the caller promises.
        let place = unsafe { output(place, "generation") }?;
        // It takes what it needs, so that the request is free while the pictures are drawn; in memory that may be
        // refused.
        let mut generation = request.read(|request| Ok(Generation::new(request)?))?;
        run(&mut generation)?;
        let cancel = generation.cancel_handle();
        let generation = Handle::new("detailflow_generation", generation);
        place.set(into_handle(detailflow_generation { generation, cancel }));
        Ok(())
    })
}

fn with(
    generation: *mut detailflow_generation,
    body: impl FnOnce(&mut Generation) -> super::call::Outcome,
) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    on(unsafe { object(generation, "generation") }.map(|this| &this.generation), body)
}
