//! Variations of an image, and its detail generated again.

use super::generation::{detailflow_generation, make};
use super::image::detailflow_image;
use super::param::{In, Out, Shared, Text};
use super::request::{copy_of, detailflow_request};
use super::status::detailflow_status;
use crate::pixels::Picture;
use crate::tasks;

/// Generates variations in one call: every image of the request begins with the same tokens, and the rest is generated
/// from its own seed. To step or cancel, use detailflow_request_set_prefix and detailflow_generation_new.
///
/// @param request Not changed. Its own prefix is not used.
/// @param tokens The tokens of an image. For a finer level of the same image give those of the coarser level.
/// @param token_count With `level_size` 0 a prefix: 1 to c, or a multiple of g up to N. Otherwise at least the tokens of
/// that level.
/// @param level_size Takes the tokens of this level, pixels per side; 0 takes all.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return Those of detailflow_generate.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_vary(
    request: Shared<'_, detailflow_request>,
    tokens: In<'_, u32>,
    token_count: usize,
    level_size: u32,
    generation: Out<'_, *mut detailflow_generation>,
) -> detailflow_status {
    make(request, generation, |request| {
        let request = copy_of(request)?;
        let tokens = tokens.array(token_count, request.model().bundle().tokens(), "tokens")?;
        Ok(tasks::vary(&request, &tokens, level_size)?)
    })
}

/// Encodes an image and generates its detail again, in one call, for the classes and seeds of the request.
///
/// @param request Not changed. Its own prefix is not used.
/// @param picture Of any size and format.
/// @param level_size The tokens of this level, pixels per side, stay; 0 takes all, and then nothing is generated.
/// @param generation Receives the handle. Free it with detailflow_generation_free.
/// @return Those of detailflow_model_encode and detailflow_generate.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_redetail(
    request: Shared<'_, detailflow_request>,
    picture: In<'_, detailflow_image>,
    level_size: u32,
    generation: Out<'_, *mut detailflow_generation>,
) -> detailflow_status {
    make(request, generation, |request| {
        Ok(tasks::redetail(&copy_of(request)?, &picture.source()?.picture()?, level_size)?)
    })
}

/// As detailflow_redetail, from a picture file of any size.
///
/// @param path A picture file: png, jpg, webp, bmp, tga, tiff, qoi.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_redetail_file(
    request: Shared<'_, detailflow_request>,
    path: Text<'_>,
    level_size: u32,
    generation: Out<'_, *mut detailflow_generation>,
) -> detailflow_status {
    make(request, generation, |request| {
        let picture = Picture::open(path.path("path")?)?;
        Ok(tasks::redetail(&copy_of(request)?, &picture, level_size)?)
    })
}
