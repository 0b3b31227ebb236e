//! Requests: what to generate.

use std::ffi::{c_char, c_void};

use super::call::{change, get_message, on};
use super::handle::{Guard, Guarded, Object};
use super::image::detailflow_image;
use super::message::Message;
use super::model::detailflow_model;
use super::param::{Exclusive, In, Out, Owned, Shared, on_off};
use super::status::{Failure, Outcome, detailflow_status};
use crate::generation::request::{ImageRequest, Request};
use crate::plan::{Curve, Guidance, Mix};
use crate::tokens::Dft;

/// What to generate: how many images, of which classes, from which seeds, how sampled. Every setter checks its
/// arguments at once. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_request(pub(super) Guarded<Request>);

impl Object for detailflow_request {
    const KIND: &'static str = "detailflow_request";
    const NAME: &'static str = "request";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_request {
    type Value = Request;
    fn guarded(&self) -> &Guarded<Request> {
        &self.0
    }
}

/// Creates a request for one image of class 0 with seed 0 at the finest level, with the model's default sampling.
///
/// @param request Receives the handle. Free it with detailflow_request_free.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_new(
    model: Shared<'_, detailflow_model>,
    request: Out<'_, *mut detailflow_request>,
) -> detailflow_status {
    on(model, |this| {
        let place = request.place("request")?;
        place.set_handle(detailflow_request(Guarded::new(detailflow_request::KIND, Request::new(&this.model))));
        Ok(())
    })
}

/// Frees a request. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_free(request: Owned<detailflow_request>) {
    request.free(|_| {});
}

/// The message of the last failed call with this request: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_get_message(
    request: Shared<'_, detailflow_request>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(request, buffer, capacity, length)
}

/// Sets the number of images, which are generated together. Added images take the class or mix of the first one
/// and the seeds that follow its seed. Memory is reserved when the generation is created.
///
/// @param image_count 1 to 1048576.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_image_count(
    request: Exclusive<'_, detailflow_request>,
    image_count: u32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_count(image_count).map(drop)?))
}

/// Sets the class of every image, in place of all classes that were set. Classes to avoid stay.
///
/// @param class_index 0 to class_count - 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_class(
    request: Exclusive<'_, detailflow_request>,
    class_index: u32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_class(class_index).map(drop)?))
}

/// Sets the seed S of the first image; the others take S + 1, S + 2, ... modulo 2^64. The same model, class, seed and settings give
/// the same tokens, whatever else is in the batch.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_seed(
    request: Exclusive<'_, detailflow_request>,
    seed: u64,
) -> detailflow_status {
    change(request, |request| {
        request.set_seed(seed);
        Ok(())
    })
}

/// Sets class and seed of one image. The class takes the place of all classes of that image; classes to avoid stay.
///
/// @param image_index 0 to image_count - 1.
/// @param class_index 0 to class_count - 1.
/// @param seed Any.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_image_source(
    request: Exclusive<'_, detailflow_request>,
    image_index: u32,
    class_index: u32,
    seed: u64,
) -> detailflow_status {
    change(request, |request| {
        Ok(request.set_image(image_index as usize, ImageRequest { class: class_index, seed }).map(drop)?)
    })
}

/// Sets several classes of every image with their weights: each image is a mix of them. Classes to avoid stay.
///
/// With u the unconditional logits, m the mean of the logits of the classes (weights divided by their sum at each token), n the
/// mean of those of the classes to avoid (likewise by their strengths), a the sum of these strengths and s the guidance scale, a
/// token is sampled from u + s (m - u) - s a (n - u). Means are computed in the order of class indices, so that the order here
/// does not matter. One class alone gives what detailflow_request_set_class gives, bit for bit; a weight of 0 leaves a class out.
///
/// Each class after the first takes one batch row of each image more, in time and in memory of the KV cache. On the CPU other
/// images of a batch do not change. On another device one mix in a batch moves the sampling of all its images to the CPU, so that
/// they may differ from those of a batch without. Log-probabilities are those of m.
///
/// @param class_indices Each 0 to class_count - 1, none twice. DETAILFLOW_NO_CLASS is allowed beside a class: it stands for u and
/// weakens the others.
/// @param weights The weight of each, 0 or 1e-30 to 1000; at least one class has more than 0.
/// @param count 1 to 16.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_classes(
    request: Exclusive<'_, detailflow_request>,
    class_indices: In<'_, u32>,
    weights: In<'_, f32>,
    count: usize,
) -> detailflow_status {
    change(request, |request| {
        let classes = weighted(class_indices, (weights, "weights"), count)?;
        Ok(request.set_classes(&classes).map(drop)?)
    })
}

/// Sets classes that every image keeps away from, with their strengths: see detailflow_request_set_classes. Each pushes the
/// logits by its strength away from its own. Each takes one batch row of each image more; where guidance is off the
/// unconditional row is computed as well.
///
/// @param class_indices Each 0 to class_count - 1, none twice. DETAILFLOW_NO_CLASS is allowed and changes nothing.
/// @param strengths The strength of each, 0 or 1e-30 to 1000; 0.25 to 0.5 is usual and more may leave what the model
/// has learned; 0 is as if the class was not there.
/// @param count 0 (the default) to 16.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_avoid(
    request: Exclusive<'_, detailflow_request>,
    class_indices: In<'_, u32>,
    strengths: In<'_, f32>,
    count: usize,
) -> detailflow_status {
    change(request, |request| {
        let avoid = weighted(class_indices, (strengths, "strengths"), count)?;
        Ok(request.set_avoid(&avoid).map(drop)?)
    })
}

/// As detailflow_request_set_classes, for one image.
///
/// @param image_index 0 to image_count - 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_image_classes(
    request: Exclusive<'_, detailflow_request>,
    image_index: u32,
    class_indices: In<'_, u32>,
    weights: In<'_, f32>,
    count: usize,
) -> detailflow_status {
    change(request, |request| {
        let classes = weighted(class_indices, (weights, "weights"), count)?;
        Ok(request.set_image_classes(image_index as usize, Some(&classes), None).map(drop)?)
    })
}

/// As detailflow_request_set_avoid, for one image.
///
/// @param image_index 0 to image_count - 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_image_avoid(
    request: Exclusive<'_, detailflow_request>,
    image_index: u32,
    class_indices: In<'_, u32>,
    strengths: In<'_, f32>,
    count: usize,
) -> detailflow_status {
    change(request, |request| {
        let avoid = weighted(class_indices, (strengths, "strengths"), count)?;
        Ok(request.set_image_classes(image_index as usize, None, Some(&avoid)).map(drop)?)
    })
}

/// Sets the weight of one class of every image as a curve over the tokens, linear between two points, constant before the first
/// and after the last. The class joins those of the image if it is not among them; the others keep their weights. The first
/// tokens decide the outline and later ones the detail: for an image that begins as class A and ends as class B, set class A,
/// then the curve of B from 0 to 1, then that of A from 1 to 0. A row is computed until its curve stays at 0.
///
/// @param class_index 0 to class_count - 1, or DETAILFLOW_NO_CLASS.
/// @param token_indices The token of each point, rising; 0 is the first token.
/// @param values The weight at each point, 0 or 1e-30 to 1000. At no token may the weights of all classes be 0.
/// @param point_count 1 to 64.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_class_curve(
    request: Exclusive<'_, detailflow_request>,
    class_index: u32,
    token_indices: In<'_, u32>,
    values: In<'_, f32>,
    point_count: usize,
) -> detailflow_status {
    change(request, |request| {
        let weight = curve(token_indices, values, point_count)?;
        Ok(request.set_class_weight(class_index, weight).map(drop)?)
    })
}

/// Sets the strength with which every image keeps away from one class as a curve over the tokens: see
/// detailflow_request_set_class_curve and detailflow_request_set_avoid.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_avoid_curve(
    request: Exclusive<'_, detailflow_request>,
    class_index: u32,
    token_indices: In<'_, u32>,
    values: In<'_, f32>,
    point_count: usize,
) -> detailflow_status {
    change(request, |request| {
        let strength = curve(token_indices, values, point_count)?;
        Ok(request.set_avoid_strength(class_index, strength).map(drop)?)
    })
}

/// Sets the classes of every image to those that a token file (.dft) was generated for: its class, or its classes with their weights
/// and those it kept away from, curves over the tokens included. Variations of an image of several classes begin so:
/// detailflow_dft_get_tokens and detailflow_request_set_prefix give them its coarse levels. A file without a class, as of a picture
/// that was encoded (its detailflow_dft_info.class_index is DETAILFLOW_NO_CLASS), changes nothing.
///
/// @param data The file; what is lost of its tokens does not matter.
/// @param size Bytes at `data`.
/// @return INVALID_ARGUMENT when it is of another model; BAD_FORMAT as detailflow_dft_get_info.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_classes_of_dft(
    request: Exclusive<'_, detailflow_request>,
    data: In<'_, c_void>,
    size: usize,
) -> detailflow_status {
    change(request, |request| {
        let (dft, _) = Dft::decode(data.bytes(size, "data")?)?;
        Ok(request.set_classes_of(&dft).map(drop)?)
    })
}

/// Sets the classifier-free guidance scale: logits = unconditional + (conditional - unconditional) * scale.
///
/// @param scale 0 to 1000. 1 is off: half the batch rows. Above 1 images follow the class more strongly; 0 ignores the
/// class.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_guidance(
    request: Exclusive<'_, detailflow_request>,
    scale: f32,
) -> detailflow_status {
    change(request, |request| {
        let gradual = request.guidance().gradual;
        Ok(request.set_guidance(Guidance { scale: scale.into(), gradual }).map(drop)?)
    })
}

/// Sets whether guidance falls linearly over the groups: a token of the causal part has the scale that was set, a later
/// token t has scale * (G - i + 1) / (G + 1), with G = N / g groups in all and i = t / g rounded down, the group of t.
/// Where guidance is off it stays off.
///
/// @param gradual 1: it falls. 0: it is constant.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_gradual_guidance(
    request: Exclusive<'_, detailflow_request>,
    gradual: u32,
) -> detailflow_status {
    change(request, |request| {
        let gradual = on_off(gradual, "gradual")?;
        let scale = request.guidance().scale.clone();
        Ok(request.set_guidance(Guidance { scale, gradual }).map(drop)?)
    })
}

/// Sets the temperature.
///
/// @param temperature Finite, at least 0. 0 always takes the most likely token; 1 samples the model's own distribution.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_temperature(
    request: Exclusive<'_, detailflow_request>,
    temperature: f32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_temperature(temperature).map(drop)?))
}

/// Sets top-k: only the k most likely tokens are sampled from.
///
/// @param top_k 0 is off.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_top_k(
    request: Exclusive<'_, detailflow_request>,
    top_k: u32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_top_k(top_k as f32).map(drop)?))
}

/// Sets top-p: only the most likely tokens up to this total probability are sampled from.
///
/// @param top_p Above 0, at most 1; 1 is off.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_top_p(
    request: Exclusive<'_, detailflow_request>,
    top_p: f32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_top_p(top_p).map(drop)?))
}

/// Sets guidance as a curve over the tokens: linear between two points, constant before the first and after the last.
/// Once the curve is 1 for all remaining tokens, unconditional rows are no longer computed.
///
/// @param token_indices The token of each point, rising; 0 is the first token, and the first token after a level of 8
/// tokens is 8.
/// @param values The scale at each point, 0 to 1000.
/// @param point_count 1 to 64.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_guidance_curve(
    request: Exclusive<'_, detailflow_request>,
    token_indices: In<'_, u32>,
    values: In<'_, f32>,
    point_count: usize,
) -> detailflow_status {
    change(request, |request| {
        let scale = curve(token_indices, values, point_count)?;
        let gradual = request.guidance().gradual;
        Ok(request.set_guidance(Guidance { scale, gradual }).map(drop)?)
    })
}

/// Sets temperature as a curve over the tokens: see detailflow_request_set_guidance_curve.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_temperature_curve(
    request: Exclusive<'_, detailflow_request>,
    token_indices: In<'_, u32>,
    values: In<'_, f32>,
    point_count: usize,
) -> detailflow_status {
    change(request, |request| Ok(request.set_temperature(curve(token_indices, values, point_count)?).map(drop)?))
}

/// Sets top-k as a curve over the tokens, rounded at each: see detailflow_request_set_guidance_curve. When
/// interpolating, 0 (off) counts as codebook_size.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_top_k_curve(
    request: Exclusive<'_, detailflow_request>,
    token_indices: In<'_, u32>,
    values: In<'_, f32>,
    point_count: usize,
) -> detailflow_status {
    change(request, |request| Ok(request.set_top_k(curve(token_indices, values, point_count)?).map(drop)?))
}

/// Sets top-p as a curve over the tokens: see detailflow_request_set_guidance_curve.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_top_p_curve(
    request: Exclusive<'_, detailflow_request>,
    token_indices: In<'_, u32>,
    values: In<'_, f32>,
    point_count: usize,
) -> detailflow_status {
    change(request, |request| Ok(request.set_top_p(curve(token_indices, values, point_count)?).map(drop)?))
}

/// Sets whether the log-probability of each token is recorded, for detailflow_generation_get_log_probabilities.
///
/// @param record 1: it is. 0 (the default): it is not.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_log_probabilities(
    request: Exclusive<'_, detailflow_request>,
    record: u32,
) -> detailflow_status {
    change(request, |request| {
        request.set_log_probabilities(on_off(record, "record")?);
        Ok(())
    })
}

/// Sets the tokens that every image begins with; the rest is generated after them. With other seeds this gives
/// variations of one composition. If the tokens end at a level, generation continues from that level. The prefix is
/// processed once for all images of one class.
///
/// @param tokens The tokens, copied.
/// @param token_count With `level_size` 0 a prefix: 1 to c, or a multiple of g up to N. Otherwise at least the tokens of
/// that level. 0 removes the prefix.
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_prefix(
    request: Exclusive<'_, detailflow_request>,
    tokens: In<'_, u32>,
    token_count: usize,
    level_size: u32,
) -> detailflow_status {
    change(request, |request| {
        let tokens = tokens.array(token_count, request.model().bundle().tokens(), "tokens")?;
        Ok(request.set_prefix_level(&tokens, level_size).map(drop)?)
    })
}

/// As detailflow_request_set_prefix with level_size 0, for one image. When the generation is created, all images of
/// the request must begin with the same number of tokens.
///
/// @param image_index 0 to image_count - 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_image_prefix(
    request: Exclusive<'_, detailflow_request>,
    image_index: u32,
    tokens: In<'_, u32>,
    token_count: usize,
) -> detailflow_status {
    change(request, |request| {
        let tokens = tokens.array(token_count, request.model().bundle().tokens(), "tokens")?;
        Ok(request.set_image_prefix(image_index as usize, &tokens).map(drop)?)
    })
}

/// Encodes an image, and sets its tokens as the prefix of every image: see detailflow_request_set_prefix.
///
/// @param picture Of any size and format.
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all, and then nothing is generated.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_prefix_picture(
    request: Exclusive<'_, detailflow_request>,
    picture: In<'_, detailflow_image>,
    level_size: u32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_prefix_picture(&picture.source()?.picture()?, level_size).map(drop)?))
}

/// Sets the level at which the generation ends.
///
/// @param level_size Pixels per side; 0 (the default) is the finest.
/// @return INVALID_ARGUMENT when there is no such level; the message lists the levels.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_set_level_size(
    request: Exclusive<'_, detailflow_request>,
    level_size: u32,
) -> detailflow_status {
    change(request, |request| Ok(request.set_level_size(level_size).map(drop)?))
}

/// Classes with a number for each.
fn weighted(
    class_indices: In<'_, u32>,
    (values, name): (In<'_, f32>, &str),
    count: usize,
) -> Result<Vec<(u32, Curve)>, Failure> {
    let classes = class_indices.array(count, Mix::MOST_CLASSES, "class_indices")?;
    let values = values.array(count, Mix::MOST_CLASSES, name)?;
    Ok(classes.into_iter().zip(values.into_iter().map(Curve::from)).collect())
}

fn curve(token_indices: In<'_, u32>, values: In<'_, f32>, count: usize) -> Result<Curve, Failure> {
    const MOST: usize = Curve::MOST_POINTS;
    let tokens = token_indices.array(count, MOST, "token_indices")?;
    let values = values.array(count, MOST, "values")?;
    let points: Vec<(u32, f32)> = tokens.into_iter().zip(values).collect();
    Ok(Curve::new(&points)?)
}

/// A copy of a request, so that it is free while the images are generated; in memory that may be refused.
pub(super) fn copy_of(request: &detailflow_request) -> Result<Request, Failure> {
    request.0.read(|request| Ok(request.try_clone()?))
}

/// Runs `body` with a request that is only read.
pub(super) fn with(
    request: Shared<'_, detailflow_request>,
    body: impl FnOnce(&detailflow_request) -> Outcome,
) -> detailflow_status {
    on(request, body)
}
