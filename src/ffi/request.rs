//! Requests: what to draw.

use std::ffi::c_char;

use super::call::{Handle, call, call_on, copy_message, free, into_handle, object, on, output};
use super::model::detailflow_model;
use super::status::detailflow_status;
use crate::plan::Guidance;
use crate::request::{ImageRequest, Request};

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

/// Stop at the level of `size` pixels; 0 is the finest. When there is no such level the message lists those that
/// are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_set_level(
    request: *mut detailflow_request,
    size: u32,
) -> detailflow_status {
    set(request, |request| Ok(request.set_level(size).map(drop)?))
}

fn set(request: *mut detailflow_request, body: impl FnOnce(&mut Request) -> super::call::Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    on(unsafe { object(request, "request") }.map(|request| &request.0), body)
}
