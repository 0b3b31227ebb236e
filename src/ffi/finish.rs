//! Finishing pixels in the caller's memory: what makes pixel art of a decoded picture.

use std::ffi::c_void;

use super::call::call;
use super::error::detailflow_error;
use super::image::detailflow_image;
use super::model::{detailflow_model, with};
use super::param::{In, Out, Shared, on_off};
use super::plain::Plain;
use super::status::{Failure, detailflow_status};
use crate::pixels::Finish;
use crate::pixels::finish::{Color, ColorCounts, LARGEST_PALETTE, Palette};
use crate::support::memory::reserve;

/// How a picture is finished. All zero but struct_size: nothing is done, except that pixels with alpha 0 become black. The
/// steps, in this order: alpha_cut; despeckle; colors and palette, with or without dither; outline; tile.
///
/// Colours of this struct are 0xRRGGBB. They are compared in OKLab; results are the same on every machine, and finishing a
/// picture again changes nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_finish {
    /// sizeof(detailflow_finish).
    pub struct_size: u32,
    /// Pixels with at least this alpha, 1 to 255, become opaque, with their straight colour, and all others transparent; 0
    /// keeps alpha.
    pub alpha_cut: u32,
    /// The most colours of a picture, 2 to 256, all of them its own; 0 sets no limit. A picture that has no more keeps them
    /// exactly. A colour counts by the sum of its pixels' alpha; that of the outline does not count.
    pub colors: u32,
    /// 1: ordered dithering (4 x 4) where colours are reduced.
    pub dither: u32,
    /// 1: a visible pixel without a visible one among its 8 neighbours becomes transparent, except in a picture of one pixel;
    /// a transparent pixel whose 4 neighbours (above, left, right, below) are visible takes the most frequent value among
    /// them, the first of these where several are. With an outline the holes that it leaves are filled too.
    pub despeckle: u32,
    /// 1: transparent pixels with a visible one above, below, to the left or to the right become opaque pixels of the colour
    /// `outline`; a visible pixel that has this colour already gets none around it.
    pub has_outline: u32,
    /// The colour of the outline; 0 without has_outline.
    pub outline: u32,
    /// 1: an opaque picture repeats without a visible seam, beside and above itself. An axis stays as it is when the mean step
    /// between opposite edges is at most 1.2 times the mean inner one, or when they meet as neighbours inside do, like bricks
    /// at a joint. Else the borders are covered by a copy of the picture that is rolled along the axis, up to a quarter of the
    /// side and 48 pixels deep; a frame or a bevel around the picture goes, too. Pixels are only copied. Pictures with a transparent pixel or a side of less than 8 pixels, and
    /// those for which no such copy is better, stay as they are.
    pub tile: u32,
    /// The only colours that a picture may have besides that of the outline; may be NULL with palette_count 0. With colors
    /// too, a picture has at most so many of them.
    pub palette: *const u32,
    /// Colours at `palette`, up to 256; 0 allows all colours.
    pub palette_count: usize,
}

// SAFETY: struct_size comes first, and it holds numbers and a pointer only.
unsafe impl Plain for detailflow_finish {
    const NAME: &'static str = "detailflow_finish";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl In<'_, detailflow_finish> {
    /// As the library takes it.
    fn settings(self) -> Result<Finish, Failure> {
        let given = self.read()?;
        let alpha_cut = u8::try_from(given.alpha_cut).map_err(|_| {
            Failure::invalid(format!("detailflow_finish.alpha_cut is {}; 0 to 255 is allowed", given.alpha_cut))
        })?;
        let colors = In::of_field(&given, given.palette).array(
            given.palette_count,
            LARGEST_PALETTE,
            "detailflow_finish.palette",
        )?;
        let palette = match colors.is_empty() {
            true => None,
            false => {
                let mut checked = reserve("a palette", colors.len())?;
                for value in colors {
                    checked.push(color(value, "detailflow_finish.palette")?);
                }
                Some(Palette::new(checked)?)
            }
        };
        let has_outline = on_off(given.has_outline, "detailflow_finish.has_outline")?;
        let outline = color(given.outline, "detailflow_finish.outline")?;
        if !has_outline && given.outline != 0 {
            return Err(Failure::invalid("detailflow_finish.outline is set without has_outline"));
        }
        let finish = Finish {
            alpha_cut: Some(alpha_cut).filter(|&least| least > 0),
            colors: Some(given.colors).filter(|&count| count > 0),
            palette,
            dither: on_off(given.dither, "detailflow_finish.dither")?,
            outline: has_outline.then_some(outline),
            despeckle: on_off(given.despeckle, "detailflow_finish.despeckle")?,
            tile: on_off(given.tile, "detailflow_finish.tile")?,
        };
        finish.check()?;
        Ok(finish)
    }
}

/// A colour of 0xRRGGBB.
fn color(value: u32, name: &str) -> Result<Color, Failure> {
    match value.to_be_bytes() {
        [0, r, g, b] => Ok(Color([r, g, b])),
        _ => Err(Failure::invalid(format!("{name}: 0x{value:x} is no colour; 0 to 0xffffff is allowed"))),
    }
}

fn number(Color([r, g, b]): Color) -> u32 {
    u32::from_be_bytes([0, r, g, b])
}

/// Finishes a picture in place: cuts alpha, removes stray pixels, reduces colours, draws an outline, makes it repeat.
///
/// @param image RGBA8 or BGRA8, of any size. Bytes between rows stay as they are.
/// @param finish The settings.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_image_finish(
    image: Out<'_, detailflow_image>,
    finish: In<'_, detailflow_finish>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let finish = finish.settings()?;
        image.target()?.finish(&finish)
    })
}

/// Makes one palette for a set of pictures: colours that stand for theirs with a small error, all of them colours of the
/// pictures. It does not depend on the order of the pictures.
///
/// @param images An array of RGBA8 or BGRA8 images.
/// @param image_count Number of images.
/// @param finish Colours are counted after its alpha cut and despeckle; that of its outline does not count. The other fields are
/// checked and not used.
/// @param limit The most colours, 2 to 256.
/// @param colors Receives the colours, 0xRRGGBB, in ascending order: see "Arrays" above. Room for `limit` is enough.
/// @param capacity Colours that fit at `colors`.
/// @param count Receives the number of colours.
/// @param error May be NULL.
/// @return INVALID_ARGUMENT also when no image has a visible pixel.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_palette_make(
    images: In<'_, detailflow_image>,
    image_count: usize,
    finish: In<'_, detailflow_finish>,
    limit: u32,
    colors: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let finish = finish.settings()?;
        let mut counts = ColorCounts::new();
        for (at, source) in images.sources(image_count)?.iter().enumerate() {
            source.count(&finish, &mut counts).map_err(|failure| failure.within("image", at))?;
        }
        put(&counts.palette(limit)?, colors, capacity, count)
    })
}

/// Reads a palette file in memory: PNG (its palette, else its different colours, without those of alpha 0), a GIMP palette
/// (.gpl), or lines of six hex digits (.hex).
///
/// @param data The file.
/// @param size Bytes at `data`.
/// @param colors Receives the different colours, 0xRRGGBB, in the order of the file: see "Arrays" above. Room for 256 is always
/// enough.
/// @param capacity Colours that fit at `colors`.
/// @param count Receives the number of colours.
/// @param error May be NULL.
/// @return BAD_FORMAT when it is none of these or damaged, or has no colour or more than 256; the message names the line.
/// INVALID_ARGUMENT also when `data` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_palette_decode(
    data: In<'_, c_void>,
    size: usize,
    colors: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || put(&Palette::decode(data.bytes(size, "data")?)?, colors, capacity, count))
}

/// Gets how pictures of a model are finished by default, as the bundle says; all zero where it says nothing. Functions that
/// decode do not finish: pass the result to detailflow_image_finish.
///
/// @param finish Filled; its struct_size is set. Only the field `palette` is left to the caller: let it point to `colors`
/// where palette_count is not 0.
/// @param colors Receives the colours of the palette, 0xRRGGBB: see "Arrays" above. Room for 256 is always enough.
/// @param capacity Colours that fit at `colors`.
/// @param count Receives the number of colours.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_get_finish(
    model: Shared<'_, detailflow_model>,
    finish: Out<'_, detailflow_finish>,
    colors: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(model, |_, bundle| {
        let place = finish.structure()?;
        let default = bundle.finish();
        let palette_count = match &default.palette {
            Some(palette) => {
                put(palette, colors, capacity, count)?;
                palette.colors().len()
            }
            None => {
                colors.put(&[], capacity, count, ["colors", "count"])?;
                0
            }
        };
        place.write(detailflow_finish {
            struct_size: 0,
            alpha_cut: default.alpha_cut.map_or(0, u32::from),
            colors: default.colors.unwrap_or(0),
            dither: default.dither.into(),
            despeckle: default.despeckle.into(),
            has_outline: default.outline.is_some().into(),
            outline: default.outline.map_or(0, number),
            tile: default.tile.into(),
            palette: std::ptr::null(),
            palette_count,
        })
    })
}

fn put(palette: &Palette, colors: Out<'_, u32>, capacity: usize, count: Out<'_, usize>) -> Result<(), Failure> {
    let mut numbers = reserve("a palette", palette.colors().len())?;
    numbers.extend(palette.colors().iter().map(|&color| number(color)));
    colors.put(&numbers, capacity, count, ["colors", "count"])
}
