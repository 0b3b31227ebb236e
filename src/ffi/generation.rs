//! Generations: generate at once or step by step, read at any time, cancel from anywhere.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::call::{change, get_message, on};
use super::cancel::detailflow_cancel;
use super::handle::{Guard, Guarded, Object};
use super::image::detailflow_image;
use super::message::Message;
use super::param::{Exclusive, In, Out, Owned, Shared, Text};
use super::plain::{Plain, nanoseconds};
use super::request::detailflow_request;
use super::status::{Failure, Outcome, detailflow_status};
use crate::generation::{Cancel, Generation, Progress, Reader, Snapshot};

/// A request being generated, or finished. Functions that take it as const are thread-safe and read the state after the
/// last finished step. The others are not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_generation {
    generation: Guarded<Generation>,
    cancel: Cancel,
    reader: Reader,
}

impl Object for detailflow_generation {
    const KIND: &'static str = "detailflow_generation";
    const NAME: &'static str = "generation";
    fn message(&self) -> Option<&Message> {
        Some(&self.generation.message)
    }
}

impl Guard for detailflow_generation {
    type Value = Generation;
    fn guarded(&self) -> &Guarded<Generation> {
        &self.generation
    }
}

/// The state of a generation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_progress {
    /// sizeof(detailflow_progress).
    pub struct_size: u32,
    /// Steps done; for a fork, its own.
    pub steps_done: u32,
    /// Steps left; 0 when it is finished.
    pub steps_left: u32,
    /// Tokens of each image so far.
    pub token_count: u32,
    /// Pixels per side of the image that the tokens so far decode to; 0 while there are none.
    pub prefix_size: u32,
    /// Pixels per side of the finest level that is complete; 0 before the first.
    pub level_size: u32,
    /// Number of images.
    pub image_count: u32,
    /// Tokens of the finest level that is complete; 0 before the first.
    pub level_token_count: u32,
    /// Predicted nanoseconds of the next step; 0 when there is none or nothing was measured yet.
    pub next_step_ns: u64,
    /// Predicted nanoseconds to decode one image at the finest level that is complete; 0 when there is none or nothing
    /// was measured yet.
    pub next_decode_ns: u64,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_progress {
    const NAME: &'static str = "detailflow_progress";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl detailflow_progress {
    fn new(images: usize, progress: Progress) -> Self {
        Self {
            struct_size: 0,
            steps_done: progress.steps_done as u32,
            steps_left: progress.steps_left as u32,
            token_count: progress.tokens as u32,
            prefix_size: progress.size,
            level_size: progress.level.map_or(0, |level| level.size),
            image_count: images as u32,
            level_token_count: progress.level.map_or(0, |level| level.tokens as u32),
            next_step_ns: nanoseconds(progress.next_step),
            next_decode_ns: nanoseconds(progress.next_decode),
        }
    }
}

/// Generates a whole request in one call: detailflow_generation_new and all its steps. To cancel, use
/// detailflow_generation_new and detailflow_generation_finish.
///
/// @param request Not changed, and free for other use once its values were copied.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return Those of detailflow_generation_new and detailflow_generation_step.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generate(
    request: Shared<'_, detailflow_request>,
    generation: Out<'_, *mut detailflow_generation>,
) -> detailflow_status {
    make(request, generation, |request| {
        let mut generation = begin(request)?;
        generation.finish()?;
        Ok(generation)
    })
}

/// Creates a generation: reserves the memory that its steps need, and generates nothing yet.
///
/// More memory is reserved later where the number of batch rows changes: when images that share a prefix diverge, when
/// guidance ends before the last token, and at every step with attention form "plain".
///
/// @param request Not changed; may be changed or freed afterwards.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return OUT_OF_MEMORY when the batch is too large; WRONG_STATE when the model cannot generate
/// (detailflow_model_info.can_generate); INVALID_ARGUMENT when images begin with different numbers of tokens.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_new(
    request: Shared<'_, detailflow_request>,
    generation: Out<'_, *mut detailflow_generation>,
) -> detailflow_status {
    make(request, generation, begin)
}

/// Frees a generation. When another thread is stepping it, it is cancelled first and waited for. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_free(generation: Owned<detailflow_generation>) {
    generation.free(|this| {
        this.cancel.cancel();
        this.generation.wait();
    });
}

/// The message of the last failed call with this generation: see "Text" above. Callable while another thread steps.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_message(
    generation: Shared<'_, detailflow_generation>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(generation, buffer, capacity, length)
}

/// Does one step: generates one token of each image in the causal part, g tokens after it. Does nothing when finished.
///
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return CANCELLED once cancelled; FAILED or OUT_OF_MEMORY from ONNX Runtime, after which the step can be tried again.
/// What was generated before stays readable in every case.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_step(
    generation: Exclusive<'_, detailflow_generation>,
    progress: Out<'_, detailflow_progress>,
) -> detailflow_status {
    advance(generation, progress, Generation::step)
}

/// Does at least one step, and further ones as long as the next should end within a time budget.
///
/// The time of a step is known from steps of the same shape that ran with this model, otherwise from a calibration
/// (detailflow_model_calibrate); when neither is there, one step is done.
///
/// @param budget_ns Nanoseconds from this call on.
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return Those of detailflow_generation_step.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_advance(
    generation: Exclusive<'_, detailflow_generation>,
    budget_ns: u64,
    progress: Out<'_, detailflow_progress>,
) -> detailflow_status {
    let budget = Duration::from_nanos(budget_ns);
    advance(generation, progress, |generation| generation.advance(budget))
}

/// Does steps until a level is complete. Does nothing when it is already.
///
/// @param level_size Pixels per side of a level up to the one that the request ends at; 0 is that one.
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return INVALID_ARGUMENT when there is no such level, or it is finer than the one that the request ends at; those of
/// detailflow_generation_step.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_advance_to_level(
    generation: Exclusive<'_, detailflow_generation>,
    level_size: u32,
    progress: Out<'_, detailflow_progress>,
) -> detailflow_status {
    advance(generation, progress, |generation| generation.advance_to_level(level_size))
}

/// Does all steps that are left.
///
/// @param progress Filled after success; may be NULL, otherwise its struct_size is set.
/// @return Those of detailflow_generation_step.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_finish(
    generation: Exclusive<'_, detailflow_generation>,
    progress: Out<'_, detailflow_progress>,
) -> detailflow_status {
    advance(generation, progress, Generation::finish)
}

/// Gets the state of the generation. Callable while another thread steps.
///
/// @param progress Filled; its struct_size is set.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_progress(
    generation: Shared<'_, detailflow_generation>,
    progress: Out<'_, detailflow_progress>,
) -> detailflow_status {
    read(generation, |now| progress.structure()?.write(detailflow_progress::new(now.images().len(), now.progress())))
}

/// Gets the tokens of one image so far. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param tokens Receives the tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_tokens(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    read(generation, |now| tokens.put(&now.tokens(image_index as usize)?, capacity, count, ["tokens", "count"]))
}

/// Decodes all tokens of one image so far. Callable while another thread steps: decodes on the calling thread, and
/// waits at most for other decodes.
///
/// @param image_index 0 to image_count - 1.
/// @param target Receives the pixels; its width and height are detailflow_progress.prefix_size.
/// @return WRONG_STATE while there are no tokens: before the first step, unless the request has a prefix.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_decode(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    target: Out<'_, detailflow_image>,
) -> detailflow_status {
    read(generation, |now| {
        let target = target.target()?;
        // Before the first step that is the error, whatever the size of the target.
        if now.progress().size == 0 {
            now.image(image_index as usize)?;
        }
        target.fits(now.progress().size)?;
        target.write(&now.image(image_index as usize)?)
    })
}

/// Decodes the finest complete level of one image, whatever tokens there are beyond it. Callable while another thread
/// steps, as detailflow_generation_decode.
///
/// @param image_index 0 to image_count - 1.
/// @param target Receives the pixels; its width and height are detailflow_progress.level_size.
/// @return WRONG_STATE before the first level is complete.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_decode_level(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    target: Out<'_, detailflow_image>,
) -> detailflow_status {
    read(generation, |now| {
        let target = target.target()?;
        let Some(level) = now.progress().level else { return Ok(now.level_image(image_index as usize).map(drop)?) };
        target.fits(level.size)?;
        target.write(&now.level_image(image_index as usize)?)
    })
}

/// Decodes all tokens of one image so far, and writes it to a picture file. Callable while another thread steps. The
/// file appears complete or not at all.
///
/// @param image_index 0 to image_count - 1.
/// @param path Its ending chooses the file format: see detailflow_image_save.
/// @return WRONG_STATE while there are no tokens: before the first step, unless the request has a prefix; IO.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_save(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    path: Text<'_>,
) -> detailflow_status {
    read(generation, |now| {
        let path = path.path("path")?;
        Ok(now.image(image_index as usize)?.save(path)?)
    })
}

/// Encodes the tokens of one image so far as a token file (.dft) in memory, with its seed and its class, or its classes and their
/// weights: detailflow_dft_repair continues it as it began. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param data Receives the file: see "Arrays" above.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
/// @return WRONG_STATE while there are no tokens: before the first step, unless the request has a prefix.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_encode_dft(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    data: Out<'_, c_void>,
    capacity: usize,
    size: Out<'_, usize>,
) -> detailflow_status {
    read(generation, |now| data.put_bytes(&now.dft(image_index as usize)?.encode()?, capacity, size, ["data", "size"]))
}

/// Gets class and seed of one image. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param class_index Receives the class, of several that of the largest weight at the first token; may be NULL.
/// @param seed Receives the seed; may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_image_source(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    class_index: Out<'_, u32>,
    seed: Out<'_, u64>,
) -> detailflow_status {
    read(generation, |now| {
        now.tokens(image_index as usize)?;
        let source = now.images()[image_index as usize];
        if let Some(place) = class_index.optional() {
            place.set(source.class);
        }
        if let Some(place) = seed.optional() {
            place.set(source.seed);
        }
        Ok(())
    })
}

/// Gets the natural logarithms of the probabilities of the tokens of one image that were generated so far: what
/// detailflow_model_score gives for the same tokens. Callable while another thread steps.
///
/// @param image_index 0 to image_count - 1.
/// @param values Receives the values, given the class and the tokens before each, before guidance, temperature, top-k and
/// top-p: see "Arrays" above. Of several classes: of the mean of their logits, whatever is avoided.
/// @param capacity Values that fit at `values`.
/// @param count Receives the number of values.
/// @return WRONG_STATE when the request does not record them (detailflow_request_set_log_probabilities).
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_log_probabilities(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    values: Out<'_, f32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    read(generation, |now| {
        values.put(&now.log_probabilities(image_index as usize)?, capacity, count, ["values", "count"])
    })
}

/// Gets the mean of detailflow_generation_get_log_probabilities.
///
/// @param image_index 0 to image_count - 1.
/// @param mean Receives the mean; 0 before the first step.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_mean_log_probability(
    generation: Shared<'_, detailflow_generation>,
    image_index: u32,
    mean: Out<'_, f32>,
) -> detailflow_status {
    read(generation, |now| {
        let place = mean.place("mean")?;
        place.set(now.mean_log_probability(image_index as usize)?);
        Ok(())
    })
}

/// Gets the work done: the number of (step, distinct sequence) pairs. Images that share a prefix count as one sequence;
/// guidance does not double it; an image of several classes, and of classes to avoid, counts once for each. For comparing the cost of requests. Callable while another thread steps.
///
/// @param work Receives the number.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_work(
    generation: Shared<'_, detailflow_generation>,
    work: Out<'_, u64>,
) -> detailflow_status {
    read(generation, |now| {
        work.place("work")?.set(now.work());
        Ok(())
    })
}

/// Gets the memory in use. Callable while another thread steps.
///
/// @param own_bytes Receives the bytes of its KV cache and tokens; may be NULL.
/// @param shared_bytes Receives the bytes of the KV cache of the generation that it was forked from, which it uses until
/// its first step, as all forks of that one do; may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_memory(
    generation: Shared<'_, detailflow_generation>,
    own_bytes: Out<'_, u64>,
    shared_bytes: Out<'_, u64>,
) -> detailflow_status {
    read(generation, |now| {
        let memory = now.memory();
        if let Some(place) = own_bytes.optional() {
            place.set(memory.own);
        }
        if let Some(place) = shared_bytes.optional() {
            place.set(memory.shared);
        }
        Ok(())
    })
}

/// Gets a handle that cancels the generation. Callable while another thread steps, any number of times.
///
/// @param cancel Receives the handle. Free each with detailflow_cancel_free.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_get_cancel(
    generation: Shared<'_, detailflow_generation>,
    cancel: Out<'_, *mut detailflow_cancel>,
) -> detailflow_status {
    on(generation, |this| {
        cancel.place("cancel")?.set_handle(detailflow_cancel::of_generation(this.cancel.clone()));
        Ok(())
    })
}

/// Creates a generation with the same tokens so far, which continues with other seeds. With the same seeds it generates
/// the same tokens.
///
/// The fork uses the KV cache of this generation until its first step, and no memory of its own for one. It counts its
/// own steps and work from 0, has its own cancel handle, and is not cancelled.
///
/// @param seeds One for each image.
/// @param seed_count image_count.
/// @param fork Receives the handle. Free it with detailflow_generation_free, before or after this one.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_fork(
    generation: Exclusive<'_, detailflow_generation>,
    seeds: In<'_, u64>,
    seed_count: usize,
    fork: Out<'_, *mut detailflow_generation>,
) -> detailflow_status {
    change(generation, |generation| {
        let place = fork.place("fork")?;
        let seeds = seeds.array(seed_count, generation.images().len(), "seeds")?;
        place.set_handle(handle(generation.fork(&seeds)?));
        Ok(())
    })
}

/// Continues with some of the images only. The others are dropped: they no longer count in later work, and their memory
/// is released at the next step.
///
/// @param image_indices The images that stay, each at most once; in this order they are numbered from 0.
/// @param count How many, at least 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_retain_images(
    generation: Exclusive<'_, detailflow_generation>,
    image_indices: In<'_, u32>,
    count: usize,
) -> detailflow_status {
    change(generation, |generation| {
        let images = image_indices.array(count, generation.images().len(), "image_indices")?;
        Ok(generation.retain_images(&images.iter().map(|&image| image as usize).collect::<Vec<_>>())?)
    })
}

/// Changes the level at which the generation ends: to a finer one, also when it is finished, or to a coarser one that
/// takes at least as many tokens as there are already.
///
/// @param level_size Pixels per side; 0 is the finest.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_generation_set_level_size(
    generation: Exclusive<'_, detailflow_generation>,
    level_size: u32,
) -> detailflow_status {
    change(generation, |generation| Ok(generation.set_level_size(level_size)?))
}

fn begin(request: &detailflow_request) -> Result<Generation, Failure> {
    // It copies what it needs, so that the request is free while the images are generated.
    request.0.read(|request| Ok(Generation::new(request)?))
}

/// A generation that `body` makes of a request; the message stays with the request.
pub(super) fn make(
    request: Shared<'_, detailflow_request>,
    generation: Out<'_, *mut detailflow_generation>,
    body: impl FnOnce(&detailflow_request) -> Result<Generation, Failure>,
) -> detailflow_status {
    on(request, |request| {
        let place = generation.place("generation")?;
        place.set_handle(handle(body(request)?));
        Ok(())
    })
}

fn handle(generation: Generation) -> detailflow_generation {
    let (cancel, reader) = (generation.cancel_handle(), generation.reader());
    detailflow_generation { generation: Guarded::new(detailflow_generation::KIND, generation), cancel, reader }
}

/// Gives the generation to `take`, and frees its handle; BUSY when another thread is inside. When `take` gives it back
/// with a failure, the handle has it again.
pub(super) fn give_generation<R>(
    generation: Exclusive<'_, detailflow_generation>,
    take: impl FnOnce(Generation) -> Result<R, (Generation, Failure)>,
) -> Result<R, Failure> {
    let (_, seized) = generation.seize(|_, _| {})?;
    let taken = seized.give(take)?;
    // It was taken, even when another thread, against the contract, frees the handle now.
    let _ = generation.discard();
    Ok(taken)
}

/// Steps by `steps` and tells the progress.
fn advance(
    generation: Exclusive<'_, detailflow_generation>,
    progress: Out<'_, detailflow_progress>,
    steps: impl FnOnce(&mut Generation) -> crate::Result<Progress>,
) -> detailflow_status {
    change(generation, |generation| {
        // A wrong struct is an error before the work: a step whose result cannot be told would still have been done.
        let progress = progress.optional_struct()?;
        let now = steps(generation)?;
        progress.map_or(Ok(()), |place| place.write(detailflow_progress::new(generation.images().len(), now)))
    })
}

/// Runs `body` with the state after the last finished step.
fn read(generation: Shared<'_, detailflow_generation>, body: impl FnOnce(&Snapshot) -> Outcome) -> detailflow_status {
    on(generation, |this| body(&this.reader.snapshot()))
}
