//! Variations, re-detail, and how likely tokens are.

use std::ffi::c_char;

use super::call::{Outcome, array, call, call_on, object, output, path, put_values};
use super::generation::{copy_of, detailflow_generation, make};
use super::image::{detailflow_image, picture_of};
use super::model::detailflow_model;
use super::request::detailflow_request;
use super::status::detailflow_status;
use crate::pixels::Picture;

/// Variations in one call: every picture of `request` keeps the tokens of the level of `keep` pixels of `tokens`
/// (`count` of them; 0 keeps all) and has the rest drawn from its own seed. The request is not changed. What is kept is
/// computed once for all its pictures of one class. For a finer level of the same picture give the tokens of the coarser
/// and `keep` 0. To step it instead: detailflow_request_set_prefix and detailflow_generation_new. Free with
/// detailflow_generation_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_vary(
    request: *const detailflow_request,
    tokens: *const u32,
    count: usize,
    keep: u32,
    generation: *mut *mut detailflow_generation,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe {
        make(request, generation, |request| {
            let request = copy_of(request)?;
            let tokens = array(tokens, count, request.model().bundle().tokens(), "tokens")?;
            Ok(crate::tasks::vary(&request, &tokens, keep)?)
        })
    }
}

/// Draws a picture's detail anew, in one call: encodes `picture` (any size and format), keeps the tokens of the level of
/// `keep` pixels (0 keeps all, and then nothing is drawn), and has the rest drawn for the classes and seeds of `request`.
/// Free with detailflow_generation_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_redetail(
    request: *const detailflow_request,
    picture: *const detailflow_image,
    keep: u32,
    generation: *mut *mut detailflow_generation,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe {
        make(request, generation, |request| {
            Ok(crate::tasks::redetail(&copy_of(request)?, &picture_of(picture)?, keep)?)
        })
    }
}

/// As detailflow_redetail, from the picture file `path`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_redetail_file(
    request: *const detailflow_request,
    path: *const c_char,
    keep: u32,
    generation: *mut *mut detailflow_generation,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe {
        make(request, generation, |request| {
            let picture = Picture::open(self::path(path, "path")?)?;
            Ok(crate::tasks::redetail(&copy_of(request)?, &picture, keep)?)
        })
    }
}

/// How likely tokens are for a class, without drawing: the natural logarithm of the probability of each of the `count`
/// `tokens` (a prefix: 1 to c, or a multiple of g up to N) into `values`, which has room for `capacity`; their number
/// into `value_count`. Given the class and the tokens before, before guidance, temperature and cuts. Takes the steps that
/// drawing them takes, without guidance. `values` NULL with `capacity` 0 only tells the number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_score(
    model: *const detailflow_model,
    class_index: u32,
    tokens: *const u32,
    count: usize,
    values: *mut f32,
    capacity: usize,
    value_count: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    let this = match unsafe { object(model, "model") } {
        Ok(this) => this,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&this.message), || -> Outcome {
        let (model, bundle) = (&this.model, this.model.bundle());
        // SAFETY: the contract of the header.
        let (place, tokens) =
            unsafe { (output(value_count, "value_count")?, array(tokens, count, bundle.tokens(), "tokens")?) };
        bundle.check_can_generate()?;
        bundle.check_class(class_index)?;
        model.check_prefix(&tokens)?;
        // What cannot be told, or only asks for the number, runs nothing.
        let scores = if values.is_null() || capacity < count {
            vec![0.0; count]
        } else {
            crate::tasks::score(model, class_index, &tokens)?
        };
        // SAFETY: the contract of the header.
        place.set(unsafe { put_values(&scores, values, capacity, "values") }?);
        Ok(())
    })
}
