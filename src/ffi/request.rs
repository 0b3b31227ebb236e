//! Requests: what to draw.

use std::ffi::c_char;

use super::call::{Handle, array, call, call_on, copy_message, free, into_handle, object, on, output};
use super::image::{detailflow_image, picture_of};
use super::model::detailflow_model;
use super::status::{Failure, detailflow_status};
use crate::generation::request::{ImageRequest, Request};
use crate::plan::{Curve, Guidance};

/// A request: how many pictures, of which classes, from which seeds, sampled how. Every setter checks at once. Not
/// const: one thread at a time.
pub struct detailflow_request(pub(super) Handle<Request>);

/// A request for one picture of class 0 with seed 0 at the full level, sampled as the model's makers would. Free
/// with detailflow_request_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_new(
    model: *const detailflow_model,
    request: *mut *mut detailflow_request,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    let this = match unsafe { object(model, "model") } {
        Ok(this) => this,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&this.message), || {
        // SAFETY: the contract of the header.
        let place = unsafe { output(request, "request") }?;
        place.set(into_handle(detailflow_request(Handle::new("detailflow_request", Request::new(&this.model)))));
        Ok(())
    })
}

/// Frees it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_free(request: *mut detailflow_request) {
    // SAFETY: the contract of the header.
    unsafe { free(request) }
}

/// As detailflow_model_message, for a request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_message(
    request: *const detailflow_request,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(request.as_ref().map(|request| &request.0.message), buffer, capacity) }
}

/// How many pictures to draw together, 1 to 1048576. Further ones take the class of the first and the seeds that
/// follow its own. Memory is asked for when the generation begins.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_count(
    request: *mut detailflow_request,
    count: u32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_count(count).map(drop)?))
}

/// The class of every picture, 0 to class_count - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_class(
    request: *mut detailflow_request,
    class_index: u32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_class(class_index).map(drop)?))
}

/// The seed of the first picture; the others take those that follow: S, S+1 ... The same model, class, seed and
/// settings give the same tokens, wherever the picture stands in a batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_seed(request: *mut detailflow_request, seed: u64) -> detailflow_status {
    set(request, |request| {
        request.set_seed(seed);
        Ok(())
    })
}

/// Class and seed of the picture `image`, 0 to count - 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_image(
    request: *mut detailflow_request,
    image: u32,
    class_index: u32,
    seed: u64,
) -> detailflow_status {
    set(request, |request| {
        Ok(request.set_image(image as usize, ImageRequest { class: class_index, seed }).map(drop)?)
    })
}

/// Guidance scale, 0 to 1000. 1 is off and takes half the time; above 1 the class pulls harder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_guidance(
    request: *mut detailflow_request,
    scale: f32,
) -> detailflow_status {
    set(request, |request| {
        let gradual = request.guidance().gradual;
        Ok(request.set_guidance(Guidance { scale: scale.into(), gradual }).map(drop)?)
    })
}

/// Not 0: guidance falls linearly over the groups ("gradual"). 0: it stays the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_gradual(
    request: *mut detailflow_request,
    gradual: u32,
) -> detailflow_status {
    set(request, |request| {
        let scale = request.guidance().scale.clone();
        Ok(request.set_guidance(Guidance { scale, gradual: gradual != 0 }).map(drop)?)
    })
}

/// Temperature, finite, at least 0. 0 takes the likeliest code always; 1 is the model's own distribution.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_temperature(
    request: *mut detailflow_request,
    temperature: f32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_temperature(temperature).map(drop)?))
}

/// Draw from the k likeliest codes only; 0 is off.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_top_k(
    request: *mut detailflow_request,
    top_k: u32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_top_k(top_k as f32).map(drop)?))
}

/// Draw from the likeliest codes up to this much probability, above 0, at most 1; 1 is off.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_top_p(
    request: *mut detailflow_request,
    top_p: f32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_top_p(top_p).map(drop)?))
}

/// Guidance as a curve over the tokens: value i of `values` (0 to 1000) at the token whose index is value i of `tokens` (0 is the first that is
/// drawn; the first after a level of 8 tokens is 8), `count` points, 1 to 64, whose tokens rise. Between two points the
/// value runs in a straight line, before the first and after the last it stays. Where it stays at 1 to the end the
/// unconditional half is not computed any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_guidance_curve(
    request: *mut detailflow_request,
    tokens: *const u32,
    values: *const f32,
    count: usize,
) -> detailflow_status {
    set(request, |request| {
        // SAFETY: the contract of the header.
        let scale = unsafe { curve(tokens, values, count) }?;
        let gradual = request.guidance().gradual;
        Ok(request.set_guidance(Guidance { scale, gradual }).map(drop)?)
    })
}

/// Temperature as a curve over the tokens; see detailflow_request_set_guidance_curve.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_temperature_curve(
    request: *mut detailflow_request,
    tokens: *const u32,
    values: *const f32,
    count: usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    set(request, |request| Ok(request.set_temperature(unsafe { curve(tokens, values, count) }?).map(drop)?))
}

/// Top-k as a curve over the tokens, rounded at each; 0, which is off, counts as the whole codebook where a line leads to
/// it. See detailflow_request_set_guidance_curve.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_top_k_curve(
    request: *mut detailflow_request,
    tokens: *const u32,
    values: *const f32,
    count: usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    set(request, |request| Ok(request.set_top_k(unsafe { curve(tokens, values, count) }?).map(drop)?))
}

/// Top-p as a curve over the tokens; see detailflow_request_set_guidance_curve.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_top_p_curve(
    request: *mut detailflow_request,
    tokens: *const u32,
    values: *const f32,
    count: usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    set(request, |request| Ok(request.set_top_p(unsafe { curve(tokens, values, count) }?).map(drop)?))
}

/// Not 0: keeps the log-probability of each token, for detailflow_generation_log_probabilities. 0 (the default): no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_log_probabilities(
    request: *mut detailflow_request,
    keep: u32,
) -> detailflow_status {
    set(request, |request| {
        request.set_log_probabilities(keep != 0);
        Ok(())
    })
}

/// Every picture begins with these tokens, and the rest is drawn after them: all `count` of `tokens` when `level` is 0
/// (1 to c of them, or a multiple of g up to N), otherwise those of the level of `level` pixels. With other seeds that
/// gives variations of one composition; with tokens that end at a level, a finer level of the same picture. What is
/// given takes its steps again, once for all pictures of one class. `count` 0 draws from nothing again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_prefix(
    request: *mut detailflow_request,
    tokens: *const u32,
    count: usize,
    level: u32,
) -> detailflow_status {
    set(request, |request| {
        let most = request.model().bundle().tokens();
        // SAFETY: the contract of the header.
        let tokens = unsafe { array(tokens, count, most, "tokens") }?;
        Ok(request.set_prefix_level(&tokens, level).map(drop)?)
    })
}

/// As detailflow_request_set_prefix with level 0, for the picture `image` alone. In the end all pictures of a request
/// begin with as many tokens: they are drawn in step.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_image_prefix(
    request: *mut detailflow_request,
    image: u32,
    tokens: *const u32,
    count: usize,
) -> detailflow_status {
    set(request, |request| {
        let most = request.model().bundle().tokens();
        // SAFETY: the contract of the header.
        let tokens = unsafe { array(tokens, count, most, "tokens") }?;
        Ok(request.set_image_prefix(image as usize, &tokens).map(drop)?)
    })
}

/// Encodes a picture of any size and format and begins every picture of the request with its tokens of the level of
/// `level` pixels; 0 keeps all of them, and then nothing is drawn.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_prefix_picture(
    request: *mut detailflow_request,
    picture: *const detailflow_image,
    level: u32,
) -> detailflow_status {
    set(request, |request| {
        // SAFETY: the contract of the header.
        let picture = unsafe { picture_of(picture) }?;
        Ok(request.set_prefix_picture(&picture, level).map(drop)?)
    })
}

/// Stop at the level of `size` pixels; 0 is the finest. When there is no such level the message lists those that
/// are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_level(
    request: *mut detailflow_request,
    size: u32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_level(size).map(drop)?))
}

/// # Safety
/// Each array is NULL or has `count` values.
unsafe fn curve(tokens: *const u32, values: *const f32, count: usize) -> Result<Curve, Failure> {
    const MOST: usize = Curve::MOST_POINTS;
    // SAFETY: as the caller promises.
    let (tokens, values) = unsafe { (array(tokens, count, MOST, "tokens")?, array(values, count, MOST, "values")?) };
    let points: Vec<(u32, f32)> = tokens.into_iter().zip(values).collect();
    Ok(Curve::new(&points)?)
}

fn set(request: *mut detailflow_request, body: impl FnOnce(&mut Request) -> super::call::Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    on(unsafe { object(request, "request") }.map(|request| &request.0), body)
}
