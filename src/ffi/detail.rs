//! Levels of detail: mips, sprites in an atlas, fewer tokens of the same picture.

use super::call::{call, output, put};
use super::image::{canvas, detailflow_image, write_image};
use super::model::{detailflow_model, get_tokens, with};
use super::plain::{Plain, read, read_all, write};
use super::status::{Failure, detailflow_status};
use crate::bundle::Bundle;
use crate::support::memory::reserve;
use crate::tasks::{MipSource, Sprite, decode_atlas, lay_out_atlas, mip_sizes, mips};

/// Mips: each is decoded by the model at the nearest level that is at least as large, and downscaled from there to its
/// size. A level is decoded once for all that come from it.
pub const DETAILFLOW_MIPS_FROM_LEVELS: u32 = 0;
/// Mips: all are downscaled from the picture of all tokens, which is decoded once.
pub const DETAILFLOW_MIPS_FROM_FINEST: u32 = 1;

/// A picture's tokens and its place in an atlas. In an array every one has its struct_size set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_sprite {
    /// sizeof(detailflow_sprite).
    pub struct_size: u32,
    /// Left edge in the atlas, in pixels.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// The level to decode, by its pixels; 0 takes all tokens.
    pub level: u32,
    /// Each pixel becomes a square of so many pixels a side, 1 to 64; 0 is 1.
    pub factor: u32,
    /// 0.
    pub reserved: u32,
    /// A prefix (1 to c tokens, or a multiple of g up to N); with a level, at least its tokens.
    pub tokens: *const u32,
    /// How many tokens.
    pub count: usize,
}

// SAFETY: struct_size comes first, and it holds numbers and a pointer only.
unsafe impl Plain for detailflow_sprite {
    const NAME: &'static str = "detailflow_sprite";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// How many of the first `count` tokens of a picture the level of `level` pixels keeps, into `kept`: the same picture
/// with less detail, which takes nothing but to leave off the rest.
///
/// Errors: INVALID_ARGUMENT when there is no such level (the message lists those that are), the tokens are too few, or
/// one is not of the codebook.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_demote(
    model: *const detailflow_model,
    tokens: *const u32,
    count: usize,
    level: u32,
    kept: *mut usize,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let (tokens, place) = unsafe { (get_tokens(tokens, count, bundle)?, output(kept, "kept")?) };
        let coarse = this.model.demote(&tokens, level)?;
        place.set(coarse.len());
        Ok(())
    })
}

/// The sizes of the usual chain of mips, `size` and down to 1, each half of the one before and rounded down (48, 24,
/// 12, 6, 3, 1): into `sizes`, which has room for `capacity` (32 are always enough); their number into `count`. `sizes`
/// NULL with `capacity` 0 only tells the number. Any other sizes are as good for detailflow_model_mips.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_mip_sizes(
    size: u32,
    sizes: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    call(|| {
        if size == 0 {
            return Err(Failure::invalid("size is 0; a chain of mips begins with at least 1"));
        }
        let chain: Vec<u32> = mip_sizes(size).collect();
        // SAFETY: the contract of the header.
        unsafe { put(&chain, sizes, capacity, count, "sizes") }
    })
}

/// Pictures of several sizes from the `count` tokens of a prefix (1 to c, or a multiple of g up to N), each into the
/// memory of one of the `target_count` images at `targets` (an array: every one has its struct_size set). Each target
/// is square, of any size from 1 to what detailflow_model_prefix_size tells, and has a format and stride of its own; in
/// any order, and several may be of one size. Where their memory overlaps, the later is written over the earlier.
///
/// `source` is DETAILFLOW_MIPS_FROM_LEVELS (0) or DETAILFLOW_MIPS_FROM_FINEST. A size that is decoded is what
/// detailflow_model_decode gives. Others are downscaled: each pixel is the mean of the area that it covers, in linear
/// light and weighted by alpha, so that nothing darkens and no colour bleeds at the edges.
///
/// What is wrong with the tokens or a target is told before the work, and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_mips(
    model: *const detailflow_model,
    tokens: *const u32,
    count: usize,
    source: u32,
    targets: *const detailflow_image,
    target_count: usize,
) -> detailflow_status {
    with(model, |this, bundle| {
        let source = match source {
            DETAILFLOW_MIPS_FROM_LEVELS => MipSource::Levels,
            DETAILFLOW_MIPS_FROM_FINEST => MipSource::Finest,
            other => {
                return Err(Failure::invalid(format!("source is {other}; it is 0 (FROM_LEVELS) or 1 (FROM_FINEST)")));
            }
        };
        // SAFETY: the contract of the header.
        let (tokens, targets) = unsafe { (get_tokens(tokens, count, bundle)?, read_all(targets, target_count)?) };
        let mut sizes = reserve("mips", targets.len())?;
        for (at, target) in targets.iter().enumerate() {
            if target.width != target.height {
                let text = format!("mip {at} is {} x {}; mips are square", target.width, target.height);
                return Err(Failure::invalid(text));
            }
            // Wrong memory is told before the work, not after. SAFETY: the contract of the header.
            unsafe { canvas(target) }.map_err(|failure| named("mip", at, failure))?;
            sizes.push(target.width);
        }
        let mips = mips(&this.model, &tokens, &sizes, source)?;
        for (image, target) in mips.iter().zip(&targets) {
            // SAFETY: the contract of the header.
            unsafe { write_image(image, target) }?;
        }
        Ok(())
    })
}

/// Puts the `sprite_count` sprites at `sprites` in rows, the largest first, on a width of `width` pixels, with
/// `padding` pixels between any two: sets their x and y. Sprites of one size make a grid, in their order. `height` (may
/// be NULL) takes how high an atlas they need. Fails when one is wider than `width`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_lay_out_atlas(
    model: *const detailflow_model,
    sprites: *mut detailflow_sprite,
    sprite_count: usize,
    width: u32,
    padding: u32,
    height: *mut u32,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let (mut given, tokens) = unsafe { read_sprites(sprites, sprite_count, bundle) }?;
        let mut wanted = wanted(&given, &tokens)?;
        let needed = lay_out_atlas(&this.model, &mut wanted, width, padding)?;
        let mut place = sprites;
        for (sprite, placed) in given.iter_mut().zip(&wanted) {
            (sprite.x, sprite.y) = (placed.x, placed.y);
            // SAFETY: the contract of the header; it was read from there.
            unsafe {
                write(place, *sprite)?;
                place = place.byte_add(sprite.struct_size as usize);
            }
        }
        if !height.is_null() {
            // SAFETY: the contract of the header.
            unsafe { output(height, "height") }?.set(needed);
        }
        Ok(())
    })
}

/// Decodes the `sprite_count` sprites at `sprites` into their places in `atlas`; every other pixel and the gaps between
/// rows stay as they are. Sprites of as many tokens are decoded together, which is faster than one by one.
///
/// A sprite takes the pixels that it decodes to (detailflow_model_prefix_size, or its level) times its factor. It is
/// INVALID_ARGUMENT, and nothing is done, when one does not lie within the atlas, or two overlap (the message says
/// which; to touch is fine). When the work itself fails (FAILED, OUT_OF_MEMORY), some of the sprites are there and
/// others are not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_decode_atlas(
    model: *const detailflow_model,
    sprites: *const detailflow_sprite,
    sprite_count: usize,
    atlas: *const detailflow_image,
) -> detailflow_status {
    with(model, |this, bundle| {
        // SAFETY: the contract of the header.
        let (given, tokens) = unsafe { read_sprites(sprites, sprite_count, bundle) }?;
        let wanted = wanted(&given, &tokens)?;
        // SAFETY: the contract of the header; the tokens were copied, should they lie within.
        let mut atlas = unsafe { canvas(&read(atlas)?) }?;
        Ok(decode_atlas(&this.model, &wanted, &mut atlas)?)
    })
}

/// The sprites, and copies of their tokens one after another.
///
/// # Safety
/// As the header asks of the pointers.
unsafe fn read_sprites(
    sprites: *const detailflow_sprite,
    count: usize,
    bundle: &Bundle,
) -> Result<(Vec<detailflow_sprite>, Vec<u32>), Failure> {
    // SAFETY: as the caller promises.
    let sprites = unsafe { read_all(sprites, count) }?;
    let all = sprites.iter().map(|sprite| sprite.count.min(bundle.tokens())).sum();
    let mut tokens = reserve("tokens", all)?;
    for (at, sprite) in sprites.iter().enumerate() {
        if sprite.reserved != 0 {
            let text = format!("sprite {at}: detailflow_sprite.reserved is {}; it is 0", sprite.reserved);
            return Err(Failure::invalid(text));
        }
        // SAFETY: as the caller promises.
        let copy = unsafe { get_tokens(sprite.tokens, sprite.count, bundle) };
        tokens.extend(copy.map_err(|failure| named("sprite", at, failure))?);
    }
    Ok((sprites, tokens))
}

/// As the model takes them.
fn wanted<'a>(sprites: &[detailflow_sprite], tokens: &'a [u32]) -> Result<Vec<Sprite<'a>>, Failure> {
    let mut wanted = reserve("sprites", sprites.len())?;
    let mut rest = tokens;
    for sprite in sprites {
        let (tokens, others) = rest.split_at(sprite.count);
        let (level_size, factor) = ((sprite.level > 0).then_some(sprite.level), sprite.factor.max(1));
        wanted.push(Sprite { tokens, x: sprite.x, y: sprite.y, level_size, factor });
        rest = others;
    }
    Ok(wanted)
}

/// The failure with which one of several it was.
fn named(what: &str, at: usize, failure: Failure) -> Failure {
    Failure::new(failure.status, format!("{what} {at}: {}", failure.message))
}
