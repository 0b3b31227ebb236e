//! How jobs are submitted: their options, and the changes that may be made while they wait or run.

use std::ffi::c_char;

use super::call::{call, change, get_message};
use super::error::detailflow_error;
use super::handle::{Guard, Guarded, Object};
use super::image::{Target, detailflow_image};
use super::message::Message;
use super::param::{Exclusive, Out, Owned, Shared};
use super::request::detailflow_request;
use super::status::{Failure, detailflow_status};
use super::worker::{detailflow_worker, flagged, with};
use crate::support::memory::{copied, reserve};
use crate::worker::{JobId, SubmitOptions};

/// How a request is submitted. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_submit_options(Guarded<Options>);

/// What the options say.
#[derive(Default)]
pub struct Options {
    plain: SubmitOptions,
    /// Targets by image index.
    targets: Vec<(usize, Vec<Target<'static>>)>,
}

impl Object for detailflow_submit_options {
    const KIND: &'static str = "detailflow_submit_options";
    const NAME: &'static str = "options";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_submit_options {
    type Value = Options;
    fn guarded(&self) -> &Guarded<Options> {
        &self.0
    }
}

/// Creates default options: user 0, no flags, priority 0, no targets.
///
/// @param options Receives the handle. Free it with detailflow_submit_options_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_new(
    options: Out<'_, *mut detailflow_submit_options>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = options.place("options")?;
        place.set_handle(detailflow_submit_options(Guarded::new(detailflow_submit_options::KIND, Options::default())));
        Ok(())
    })
}

/// Sets a number that each event of the job has.
///
/// @param user Any number; the default is 0.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_set_user(
    options: Exclusive<'_, detailflow_submit_options>,
    user: u64,
) -> detailflow_status {
    change(options, |options| {
        options.plain.user = user;
        Ok(())
    })
}

/// Sets flags.
///
/// @param flags 0 (the default), or DETAILFLOW_SUBMIT_FLAG_* combined with `|`.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_set_flags(
    options: Exclusive<'_, detailflow_submit_options>,
    flags: u32,
) -> detailflow_status {
    change(options, |options| {
        let SubmitOptions { user, priority, .. } = options.plain;
        options.plain = flagged(flags)?.with_user(user).with_priority(priority);
        Ok(())
    })
}

/// Sets the priority of the job; see detailflow_worker_set_priority.
///
/// @param priority Any number but NaN; the default is 0.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_set_priority(
    options: Exclusive<'_, detailflow_submit_options>,
    priority: f32,
) -> detailflow_status {
    change(options, |options| {
        if priority.is_nan() {
            return Err(Failure::invalid("priority is NaN"));
        }
        options.plain.priority = priority;
        Ok(())
    })
}

/// Sets where the pixels of one image go: each level that is reported is decoded and written there before its event. The
/// event has the pixels as well.
///
/// A target of the level's size gets the pixels as they are decoded; a smaller one the image downscaled as
/// detailflow_model_decode_mips does, a larger one upscaled bilinearly.
///
/// @param image_index Of the request; checked by detailflow_worker_submit_with.
/// @param targets Square images, each with its own size, format and stride: one, or a mip chain. The descriptions are
/// copied. The memory must not be touched or freed until the last event of the job was taken or given to the callback, or
/// the worker was freed; except that it may be read from a level's event until the worker goes on, in a worker without
/// threads until the next tick. No two targets of a job may overlap.
/// @param target_count 0 removes the targets of the image.
/// @return INVALID_ARGUMENT when an image is not square or its memory is too small, or two overlap.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_set_target(
    options: Exclusive<'_, detailflow_submit_options>,
    image_index: u32,
    targets: Out<'_, detailflow_image>,
    target_count: usize,
) -> detailflow_status {
    change(options, |options| {
        let targets = targets.stored_targets(target_count, "target")?;
        let others = options.targets.iter().filter(|(image, _)| *image != image_index as usize);
        let mut spans = reserve("targets", targets.len())?;
        spans.extend(targets.iter().chain(others.flat_map(|(_, targets)| targets)).map(Target::span));
        spans.sort_unstable();
        if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err(Failure::invalid("the memory of two targets overlaps"));
        }
        options.targets.retain(|(image, _)| *image != image_index as usize);
        if !targets.is_empty() {
            options.targets.push((image_index as usize, targets));
        }
        Ok(())
    })
}

/// The message of the last failed call with these options: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_get_message(
    options: Shared<'_, detailflow_submit_options>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(options, buffer, capacity, length)
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_submit_options_free(options: Owned<detailflow_submit_options>) {
    options.free(|_| {});
}

/// Submits a request, with options. Otherwise as detailflow_worker_submit.
///
/// @param request Not changed; may be changed or freed afterwards.
/// @param options NULL takes the defaults. Not changed; may be changed or freed afterwards. Two jobs with targets in the
/// same memory must not run at the same time.
/// @param job Receives the number of the job, 1 and up; may be NULL. Events may come before this returns.
/// @return Those of detailflow_worker_submit; INVALID_ARGUMENT when a target is for an image that the request does not
/// have.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_submit_with(
    worker: Shared<'_, detailflow_worker>,
    request: Shared<'_, detailflow_request>,
    options: Shared<'_, detailflow_submit_options>,
    job: Out<'_, u64>,
) -> detailflow_status {
    with(worker, |worker| {
        let request = request.get()?;
        let read = |options: &Options| {
            let mut targets = reserve("targets", options.targets.len())?;
            for (image, each) in &options.targets {
                targets.push((*image, copied("targets", each)?));
            }
            Ok((options.plain, targets))
        };
        let (plain, targets): (_, Vec<(usize, Vec<Target<'static>>)>) =
            options.optional()?.map(|options| options.0.read(read)).transpose()?.unwrap_or_default();
        let id = request.0.read(|request| {
            let count = request.images().len();
            if let Some((image, _)) = targets.iter().find(|(image, _)| *image >= count) {
                return Err(Failure::invalid(format!("target of image {image}: the request has {count} images")));
            }
            if targets.is_empty() {
                return Ok(worker.submit(request, plain)?);
            }
            Ok(worker.submit_into(request, plain, move |pictures| {
                for (image, targets) in &targets {
                    for target in targets {
                        target.fill(&pictures[*image])?;
                    }
                }
                Ok(())
            })?)
        })?;
        if let Some(place) = job.optional() {
            place.set(id.0);
        }
        Ok(())
    })
}

/// Changes the priority of a job, whether it runs or waits. Of two jobs at the same level (with PRIORITY_FIRST: at any) the
/// one of higher priority runs first, of two of the same priority the one submitted first. It counts from the next step
/// on. Does nothing when the job has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
/// @param priority Any number but NaN: importance, or minus the distance.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_set_priority(
    worker: Shared<'_, detailflow_worker>,
    job: u64,
    priority: f32,
) -> detailflow_status {
    with(worker, |worker| Ok(worker.set_priority(JobId(job), priority)?))
}

/// Pauses a job, a running one within a step. It keeps its tokens and frees its KV cache; when it goes on, the steps over
/// its tokens are repeated. Does nothing when it has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_pause(worker: Shared<'_, detailflow_worker>, job: u64) -> detailflow_status {
    with(worker, |worker| Ok(worker.pause(JobId(job))?))
}

/// Lets a paused job go on, in its old place. Does nothing when it is not paused or has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_resume(worker: Shared<'_, detailflow_worker>, job: u64) -> detailflow_status {
    with(worker, |worker| Ok(worker.resume(JobId(job))?))
}

/// Changes the level at which a job ends or is held. A held job (DETAILFLOW_SUBMIT_FLAG_HOLD) goes on, and gets the tokens
/// that one run to that level gives; it is held there again, and ends at the finest level. A job that has passed the level
/// ends, or is held, where it is. Does nothing when it has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
/// @param level_size Pixels per side; 0 is the finest level.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_continue(
    worker: Shared<'_, detailflow_worker>,
    job: u64,
    level_size: u32,
) -> detailflow_status {
    with(worker, |worker| Ok(worker.continue_to(JobId(job), level_size)?))
}
