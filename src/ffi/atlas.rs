//! Sprites in an atlas.

use super::image::detailflow_image;
use super::model::{detailflow_model, get_tokens, with};
use super::param::{In, Out, Shared};
use super::plain::Plain;
use super::status::{Failure, detailflow_status};
use crate::bundle::Bundle;
use crate::support::memory::reserve;
use crate::tasks::{self, Sprite};

/// The tokens of an image and its position in an atlas. In an array, set struct_size in every element.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_sprite {
    /// sizeof(detailflow_sprite).
    pub struct_size: u32,
    /// Left edge in the atlas, in pixels.
    pub x: u32,
    /// Top edge in the atlas, in pixels.
    pub y: u32,
    /// The level to decode, pixels per side; 0 decodes all tokens.
    pub level_size: u32,
    /// Each pixel becomes a square of so many pixels per side, 1 to 64; 0 is 1.
    pub factor: u32,
    /// Reserved; must be 0.
    pub reserved: u32,
    /// A prefix (1 to c tokens, or a multiple of g up to N); with a level, at least its tokens.
    pub tokens: *const u32,
    /// Number of tokens.
    pub token_count: usize,
}

// SAFETY: struct_size comes first, and it holds numbers and a pointer only.
unsafe impl Plain for detailflow_sprite {
    const NAME: &'static str = "detailflow_sprite";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Sets the positions of sprites: in rows, the largest first; sprites of one size form a grid, in their order.
///
/// @param sprites An array; x and y are set.
/// @param sprite_count Number of sprites.
/// @param width Width of the atlas in pixels.
/// @param padding Pixels between any two sprites.
/// @param height Receives the height of the atlas that they need; may be NULL.
/// @return INVALID_ARGUMENT when a sprite is wider than the atlas.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_lay_out_atlas(
    model: Shared<'_, detailflow_model>,
    sprites: Out<'_, detailflow_sprite>,
    sprite_count: usize,
    width: u32,
    padding: u32,
    height: Out<'_, u32>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let mut given = sprites.read_all(sprite_count)?;
        let tokens = read_tokens(&given, bundle)?;
        let mut wanted = wanted(&given, &tokens)?;
        let needed = tasks::lay_out_atlas(&this.model, &mut wanted, width, padding)?;
        for (sprite, placed) in given.iter_mut().zip(&wanted) {
            (sprite.x, sprite.y) = (placed.x, placed.y);
        }
        sprites.write_back(&given)?;
        if let Some(height) = height.optional() {
            height.set(needed);
        }
        Ok(())
    })
}

/// Decodes sprites into their positions in an atlas; all other pixels stay as they are. Sprites with the same number of
/// tokens are decoded together, which is faster than one by one.
///
/// @param sprites An array. A sprite covers the pixels that it decodes to (detailflow_model_get_prefix_size, or its
/// level), times its factor.
/// @param sprite_count Number of sprites.
/// @param atlas Receives the pixels.
/// @return INVALID_ARGUMENT, with nothing written, when a sprite is not inside the atlas or two overlap (the message
/// names them; they may touch). After FAILED or OUT_OF_MEMORY some of the sprites may be written.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_decode_atlas(
    model: Shared<'_, detailflow_model>,
    sprites: In<'_, detailflow_sprite>,
    sprite_count: usize,
    atlas: Out<'_, detailflow_image>,
) -> detailflow_status {
    with(model, |this, bundle| {
        let given = sprites.read_all(sprite_count)?;
        // Copied, should they lie within the atlas.
        let tokens = read_tokens(&given, bundle)?;
        let wanted = wanted(&given, &tokens)?;
        let mut canvas = atlas.target()?.canvas()?;
        Ok(tasks::decode_atlas(&this.model, &wanted, &mut canvas)?)
    })
}

/// Copies of the tokens of all sprites, one after another.
fn read_tokens(sprites: &[detailflow_sprite], bundle: &Bundle) -> Result<Vec<u32>, Failure> {
    let all = sprites.iter().map(|sprite| sprite.token_count.min(bundle.tokens())).sum();
    let mut tokens = reserve("tokens", all)?;
    for (at, sprite) in sprites.iter().enumerate() {
        if sprite.reserved != 0 {
            let text = format!("sprite {at}: detailflow_sprite.reserved is {}; it must be 0", sprite.reserved);
            return Err(Failure::invalid(text));
        }
        let copy = get_tokens(In::of_field(sprite, sprite.tokens), sprite.token_count, bundle);
        tokens.extend(copy.map_err(|failure| failure.within("sprite", at))?);
    }
    Ok(tokens)
}

/// As the library takes them.
fn wanted<'a>(sprites: &[detailflow_sprite], tokens: &'a [u32]) -> Result<Vec<Sprite<'a>>, Failure> {
    let mut wanted = reserve("sprites", sprites.len())?;
    let mut rest = tokens;
    for sprite in sprites {
        let (tokens, others) = rest.split_at(sprite.token_count);
        let (level_size, factor) = ((sprite.level_size > 0).then_some(sprite.level_size), sprite.factor.max(1));
        wanted.push(Sprite { tokens, x: sprite.x, y: sprite.y, level_size, factor });
        rest = others;
    }
    Ok(wanted)
}
