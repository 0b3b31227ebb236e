//! Generations: draw at once or step by step, look at any time, cancel from anywhere.

use std::ffi::c_char;
use std::time::Duration;

use super::call::{
    Handle, Outcome, array, call, call_on, copy_message, free, into_handle, object, on, output, path, put, put_tokens,
    quietly,
};
use super::image::{detailflow_image, write_image};
use super::plain::{Plain, check, nanoseconds, read, write};
use super::request::detailflow_request;
use super::status::{Failure, detailflow_status};
use crate::generation::request::Request;
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
    /// Steps done; by a fork, its own.
    pub steps_done: u32,
    /// Steps left; 0 when it is finished.
    pub steps_left: u32,
    /// Tokens of each picture so far.
    pub tokens: u32,
    /// Pixels a side of the picture so far; 0 before the first step.
    pub size: u32,
    /// Pixels a side of the finest level that is complete; 0 before the first.
    pub level: u32,
    /// Pictures. From here on since ABI version 2.
    pub images: u32,
    /// Tokens of the finest level that is complete; 0 before the first.
    pub level_tokens: u32,
    /// How many nanoseconds the next step should take, from steps of its shape that were measured; 0 when there is none
    /// or nothing was measured yet.
    pub next_step_ns: u64,
    /// How many nanoseconds it should take to decode the finest level that is complete, for one picture; 0 when there is
    /// none or nothing was measured yet.
    pub next_decode_ns: u64,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_progress {
    const NAME: &'static str = "detailflow_progress";
    const LEAST: usize = 24;
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl detailflow_progress {
    fn of(generation: &Generation, progress: Progress) -> Self {
        Self {
            struct_size: 0,
            steps_done: progress.steps_done as u32,
            steps_left: progress.steps_left as u32,
            tokens: progress.tokens as u32,
            size: progress.size,
            level: progress.level.map_or(0, |level| level.size),
            images: generation.images().len() as u32,
            level_tokens: progress.level.map_or(0, |level| level.tokens as u32),
            next_step_ns: nanoseconds(progress.next_step),
            next_decode_ns: nanoseconds(progress.next_decode),
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

/// Begins a request: reserves the memory that its steps will need, draws nothing yet. More is asked for later where rows
/// change: by pictures that share a prefix, when they part; when guidance ends before the pictures do, for the moment of
/// the change; by form `plain`, step by step. The request may be changed or freed afterwards. Takes some time for that
/// memory, which no prediction counts. Free with detailflow_generation_free.
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
    // SAFETY: the contract of the header.
    with(generation, |generation| unsafe { go_on(generation, progress, Generation::step) })
}

/// Does steps for as long as the next one should end within `budget_ns` nanoseconds, counted from this call; always at
/// least one. How long a step takes is known from those of its shape that ran with this model, else from a calibration
/// (detailflow_model_calibrate); where neither is there, one step is done. So a call ends at most one step after the
/// budget, unless that step takes longer than those before it. `progress` (may be NULL) has its struct_size set.
///
/// Errors: those of detailflow_generation_step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_advance(
    generation: *mut detailflow_generation,
    budget_ns: u64,
    progress: *mut detailflow_progress,
) -> detailflow_status {
    let budget = Duration::from_nanos(budget_ns);
    // SAFETY: the contract of the header.
    with(generation, |generation| unsafe { go_on(generation, progress, |generation| generation.advance(budget)) })
}

/// Does all steps that are left. `progress` (may be NULL) has its struct_size set.
///
/// Errors: those of detailflow_generation_step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_finish(
    generation: *mut detailflow_generation,
    progress: *mut detailflow_progress,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    with(generation, |generation| unsafe { go_on(generation, progress, Generation::finish) })
}

/// Where it stands, without a step. `progress` has its struct_size set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_get_progress(
    generation: *mut detailflow_generation,
    progress: *mut detailflow_progress,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    with(generation, |generation| unsafe {
        write(progress, detailflow_progress::of(generation, generation.progress()))
    })
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

/// Decodes the finest level of the picture `image` that is complete, however many tokens there are beyond it, into
/// `target`, whose width and height are the progress's level. Any time, also after a cancel; the generation is not
/// disturbed. WRONG_STATE before the first level is complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_level_image(
    generation: *mut detailflow_generation,
    image: u32,
    target: *const detailflow_image,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        let target = unsafe { read(target) }?;
        if let Some(level) = generation.progress().level {
            target.check_size(level.size)?;
        }
        // SAFETY: the contract of the header.
        unsafe { write_image(&generation.level_image(image as usize)?, &target) }
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

/// Class and seed of the picture `image`; either may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_get_image(
    generation: *mut detailflow_generation,
    image: u32,
    class_index: *mut u32,
    seed: *mut u64,
) -> detailflow_status {
    with(generation, |generation| {
        generation.tokens(image as usize)?;
        let request = generation.images()[image as usize];
        // SAFETY: the contract of the header.
        unsafe {
            if let Ok(place) = output(class_index, "class_index") {
                place.set(request.class);
            }
            if let Ok(place) = output(seed, "seed") {
                place.set(request.seed);
            }
        }
        Ok(())
    })
}

/// The natural logarithms of the probability of each token of the picture `image` that was computed so far, into
/// `values`, which has room for `capacity`; their number into `count`. What the model holds of a token, given the class
/// and the tokens before it, before guidance, temperature and cuts: what detailflow_model_score gives for the same
/// tokens. `values` NULL with `capacity` 0 only tells the number. WRONG_STATE when the request did not ask for them
/// (detailflow_request_set_log_probabilities).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_log_probabilities(
    generation: *mut detailflow_generation,
    image: u32,
    values: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    with(generation, |generation| {
        let all = generation.log_probabilities(image as usize)?;
        // SAFETY: the contract of the header.
        unsafe { put(all, values, capacity, count, "values") }
    })
}

/// The mean of detailflow_generation_log_probabilities into `mean`; 0 before the first step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_mean_log_probability(
    generation: *mut detailflow_generation,
    image: u32,
    mean: *mut f32,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(mean, "mean") }?;
        place.set(generation.mean_log_probability(image as usize)?);
        Ok(())
    })
}

/// A generation that stands where this one does and goes on with other seeds: `seeds` has one for each picture,
/// `seed_count` of them. With the same seeds it draws the same tokens. Until its first step it refers to the keys and
/// values of this one and takes no memory of its own for them (detailflow_generation_get_memory). It counts its own steps
/// and work, from 0, has a cancel of its own, and is not cancelled. Free with detailflow_generation_free; either may be
/// freed first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_fork(
    generation: *mut detailflow_generation,
    seeds: *const u64,
    seed_count: usize,
    fork: *mut *mut detailflow_generation,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        let (place, seeds) =
            unsafe { (output(fork, "fork")?, array(seeds, seed_count, generation.images().len(), "seeds")?) };
        place.set(handle(generation.fork(&seeds)?));
        Ok(())
    })
}

/// Goes on with these pictures only, in this order: `images` has `count` of their indices, each at most once. The others
/// fall away, and with them their share of the work and (from the next step on) of the memory; those that stay are
/// numbered anew from 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_keep(
    generation: *mut detailflow_generation,
    images: *const u32,
    count: usize,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        let images = unsafe { array(images, count, generation.images().len(), "images") }?;
        Ok(generation.keep(&images.iter().map(|&image| image as usize).collect::<Vec<_>>())?)
    })
}

/// Goes on to the level of `size` pixels instead of the one asked for: a finer one, also when it is finished, or one
/// that is not passed yet. 0 is the finest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_set_level(
    generation: *mut detailflow_generation,
    size: u32,
) -> detailflow_status {
    with(generation, |generation| Ok(generation.set_level(size)?))
}

/// The work done into `work`: each step counts once for every picture that it computed (once for all that share a
/// prefix; guidance is not counted twice).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_get_work(
    generation: *mut detailflow_generation,
    work: *mut u64,
) -> detailflow_status {
    with(generation, |generation| {
        // SAFETY: the contract of the header.
        unsafe { output(work, "work") }?.set(generation.work());
        Ok(())
    })
}

/// Bytes that it holds: its own keys, values and tokens into `own`; into `shared` the keys and values of the generation
/// that it was forked from, to which it refers until its first step (all forks of one to the same). Either may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_generation_get_memory(
    generation: *mut detailflow_generation,
    own: *mut u64,
    shared: *mut u64,
) -> detailflow_status {
    with(generation, |generation| {
        let memory = generation.memory();
        // SAFETY: the contract of the header.
        unsafe {
            if let Ok(place) = output(own, "own") {
                place.set(memory.own);
            }
            if let Ok(place) = output(shared, "shared") {
                place.set(memory.shared);
            }
        }
        Ok(())
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
    unsafe {
        make(request, place, |request| {
            // It takes what it needs, so that the request is free while the pictures are drawn; in memory that may be
            // refused.
            let mut generation = request.read(|request| Ok(Generation::new(request)?))?;
            run(&mut generation)?;
            Ok(generation)
        })
    }
}

/// A copy of a request, so that it is free while the pictures are drawn; in memory that may be refused.
pub(super) fn copy_of(request: &Handle<Request>) -> Result<Request, Failure> {
    request.read(|request| Ok(request.try_clone()?))
}

/// A generation that `body` makes of a request; the message stays with the request.
///
/// # Safety
/// As the header asks of the pointers.
pub(super) unsafe fn make(
    request: *const detailflow_request,
    place: *mut *mut detailflow_generation,
    body: impl FnOnce(&Handle<Request>) -> Result<Generation, Failure>,
) -> detailflow_status {
    // SAFETY: as the caller promises.
    let request = match unsafe { object(request, "request") } {
        Ok(request) => &request.0,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&request.message), || {
        // SAFETY: as the caller promises.
        let place = unsafe { output(place, "generation") }?;
        place.set(handle(body(request)?));
        Ok(())
    })
}

fn handle(generation: Generation) -> *mut detailflow_generation {
    let cancel = generation.cancel_handle();
    into_handle(detailflow_generation { generation: Handle::new("detailflow_generation", generation), cancel })
}

/// Takes the generation out of its handle, which is used up; BUSY when another thread is inside, and then it is not.
///
/// # Safety
/// As the header asks of the pointer.
pub(super) unsafe fn into_generation(generation: *mut detailflow_generation) -> Result<Generation, Failure> {
    // SAFETY: as the caller promises.
    unsafe { object(generation, "generation") }?.generation.seize()?;
    // SAFETY: as the caller promises, and nobody is inside.
    Ok(unsafe { Box::from_raw(generation) }.generation.into_value())
}

/// Steps by `steps` and tells where it stands.
///
/// # Safety
/// As the header asks of `progress`.
unsafe fn go_on(
    generation: &mut Generation,
    progress: *mut detailflow_progress,
    steps: impl FnOnce(&mut Generation) -> crate::Result<Progress>,
) -> Outcome {
    if progress.is_null() {
        steps(generation)?;
        return Ok(());
    }
    // A wrong struct is told before the work: a step whose result cannot be told would still have been done.
    // SAFETY: as the caller promises.
    unsafe { check(progress) }?;
    let now = steps(generation)?;
    // SAFETY: as the caller promises.
    unsafe { write(progress, detailflow_progress::of(generation, now)) }
}

fn with(generation: *mut detailflow_generation, body: impl FnOnce(&mut Generation) -> Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    on(unsafe { object(generation, "generation") }.map(|this| &this.generation), body)
}
