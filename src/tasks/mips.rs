//! Levels of detail from the same tokens: mips, and sprites in an atlas.

use crate::model::Model;
use crate::model::codec::decode_at_once;
use crate::pixels::{
    self, Canvas, Downscale, Finish, Image, PixelFormat, Square, check_factor, check_squares, mip_sizes, split_block,
};
use crate::plan::{Ladder, Prefix};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};

/// How mips are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MipSource {
    /// Each mip is decoded at the nearest level that is at least as large, and downscaled from there: the model knows what
    /// a small picture looks like. Each level is decoded once.
    #[default]
    Levels,
    /// All mips are downscaled from the image of all tokens, which is decoded once.
    Finest,
}

/// The tokens of an image and its position in an atlas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sprite<'a> {
    /// A prefix (1 to c tokens, or a multiple of g); or, with a level, at least the tokens of that level.
    pub tokens: &'a [u32],
    /// Left edge in the atlas, in pixels.
    pub x: u32,
    /// Upper edge in the atlas, in pixels.
    pub y: u32,
    /// The level to decode, in pixels per side; None decodes all tokens.
    pub level_size: Option<u32>,
    /// Upscaling: each pixel becomes a square of this many pixels per side, 1 to 64.
    pub factor: u32,
}

impl<'a> Sprite<'a> {
    /// All tokens, at the size that they decode to, at position 0, 0.
    #[must_use]
    pub fn new(tokens: &'a [u32]) -> Self {
        Self { tokens, x: 0, y: 0, level_size: None, factor: 1 }
    }
}

/// Images of the given `sizes` (pixels per side) from one prefix, in that order; use [`mip_sizes`] for the usual chain. A
/// size that the model decodes is returned as decoded; others are downscaled as [`Image::downscale`] does.
///
/// # Errors
/// [`Error::Invalid`] when `tokens` is not a prefix, or a size is 0 or larger than the prefix decodes to; those of
/// [`Model::decode`].
pub fn mips(model: &Model, tokens: &[u32], sizes: &[u32], source: MipSource) -> Result<Vec<Image>> {
    finished_mips(model, tokens, sizes, source, &Finish::default())
}

/// As [`mips`], with each image finished as soon as it is decoded: a size that the model decodes is finished by itself, others are
/// downscaled from finished images and may have more colours.
///
/// # Errors
/// Those of [`mips`] and [`Finish::check`].
pub fn finished_mips(
    model: &Model,
    tokens: &[u32],
    sizes: &[u32],
    source: MipSource,
    finish: &Finish,
) -> Result<Vec<Image>> {
    let _host = host::enter();
    let whole = model.check_prefix(tokens)?;
    let sources = mip_sources(model.bundle().ladder(), whole, sizes, source)?;
    let mut mips = filled("mips", sizes.len(), None)?;
    for first in 0..sizes.len() {
        if mips[first].is_some() {
            continue;
        }
        let decoded = finished(finish, model.decode(&tokens[..sources[first]])?)?;
        let mut smaller = Downscale::new(&decoded);
        for at in (first..sizes.len()).filter(|&at| sources[at] == sources[first]) {
            mips[at] = Some(smaller.to(sizes[at])?);
        }
    }
    let mut all = reserve("mips", mips.len())?;
    all.extend(mips.into_iter().flatten());
    Ok(all)
}

/// An image finished; the same one without settings.
fn finished(finish: &Finish, image: Image) -> Result<Image> {
    if finish.is_off() { Ok(image) } else { finish.image(&image) }
}

/// Decodes a mip chain into one block of memory: `size` pixels per side, half of it, and so on ([`mip_sizes`]), as many mips as
/// there are `offsets`. Each begins at its offset in `block`, its rows without gaps; bytes between mips stay as they are.
/// [`mip_layout`](pixels::mip_layout) gives offsets that graphics APIs take; any others will do, the smallest mip first too.
///
/// # Errors
/// [`Error::Invalid`] when there are no offsets or more than the chain has mips, a mip does not lie within the block, or two
/// overlap; those of [`mips`]. The block is unchanged after an error.
pub fn decode_mip_chain(
    model: &Model,
    tokens: &[u32],
    size: u32,
    format: PixelFormat,
    source: MipSource,
    offsets: &[usize],
    block: &mut [u8],
) -> Result<()> {
    let _host = host::enter();
    let mut sizes = reserve("mips", 32)?;
    sizes.extend(mip_sizes(size));
    if offsets.is_empty() || offsets.len() > sizes.len() {
        return Err(Error::Invalid(format!(
            "{} offsets for a mip chain of {size} px: 1 to {} are allowed",
            offsets.len(),
            sizes.len()
        )));
    }
    sizes.truncate(offsets.len());
    let places = split_block(block, format, &sizes, offsets)?;
    for (image, place) in mips(model, tokens, &sizes, source)?.iter().zip(places) {
        image.write(format, place, image.size() as usize * format.bytes())?;
    }
    Ok(())
}

/// Pixels per side of a sprite in an atlas.
///
/// # Errors
/// [`Error::Invalid`] when its tokens, level or factor are not as [`Sprite`] demands.
pub fn sprite_size(model: &Model, sprite: &Sprite) -> Result<u32> {
    sprite_prefix(model, sprite).map(|prefix| side(prefix, sprite))
}

/// Sets the positions of sprites as [`layout`](pixels::layout) does, in an atlas of `width` pixels with `padding` pixels
/// between any two sprites. Returns the height of the atlas.
///
/// # Errors
/// [`Error::Invalid`] when a sprite is not as [`Sprite`] demands, or does not fit the width.
pub fn lay_out_atlas(model: &Model, sprites: &mut [Sprite], width: u32, padding: u32) -> Result<u32> {
    let mut sides = reserve("an atlas", sprites.len())?;
    for (at, sprite) in sprites.iter().enumerate() {
        sides.push(side(named_prefix(model, at, sprite)?, sprite));
    }
    let layout = pixels::layout(&sides, width, padding)?;
    for (sprite, corner) in sprites.iter_mut().zip(layout.corners) {
        (sprite.x, sprite.y) = corner;
    }
    Ok(layout.height)
}

/// Decodes sprites into `atlas`, each at its position; other pixels do not change. Sprites with the same number of tokens
/// are decoded together.
///
/// # Errors
/// [`Error::Invalid`] when a sprite is not as [`Sprite`] demands or not within the atlas, or two sprites overlap (the error
/// names them; touching is allowed): the atlas is unchanged then. Those of [`Model::decode`]: some sprites are drawn then
/// and others are not.
pub fn decode_atlas(model: &Model, sprites: &[Sprite], atlas: &mut Canvas) -> Result<()> {
    decode_finished_atlas(model, sprites, &Finish::default(), atlas)
}

/// As [`decode_atlas`], with each image finished before it is enlarged and put into the atlas.
///
/// # Errors
/// Those of [`decode_atlas`] and [`Finish::check`].
pub fn decode_finished_atlas(model: &Model, sprites: &[Sprite], finish: &Finish, atlas: &mut Canvas) -> Result<()> {
    let _host = host::enter();
    finish.check()?;
    let mut prefixes = reserve("an atlas", sprites.len())?;
    let mut squares = reserve("an atlas", sprites.len())?;
    for (at, sprite) in sprites.iter().enumerate() {
        let prefix = named_prefix(model, at, sprite)?;
        squares.push(Square { x: sprite.x, y: sprite.y, side: side(prefix, sprite) });
        prefixes.push(prefix);
    }
    check_squares(&squares, atlas.width(), atlas.height())?;
    let mut order: Vec<usize> = reserve("an atlas", sprites.len())?;
    order.extend(0..sprites.len());
    order.sort_unstable_by_key(|&at| (prefixes[at].tokens, at));
    for alike in order.chunk_by(|&a, &b| prefixes[a].tokens == prefixes[b].tokens) {
        let prefix = prefixes[alike[0]];
        for part in alike.chunks(decode_at_once(prefix)) {
            let sequences: Vec<&[u32]> = part.iter().map(|&at| &sprites[at].tokens[..prefix.tokens]).collect();
            for (&at, image) in part.iter().zip(model.decode_batch(&sequences)?) {
                atlas.put(&finished(finish, image)?, sprites[at].x, sprites[at].y, sprites[at].factor)?;
            }
        }
    }
    Ok(())
}

/// The prefix of a sprite that is decoded.
fn sprite_prefix(model: &Model, sprite: &Sprite) -> Result<Prefix> {
    check_factor(sprite.factor)?;
    let tokens = sprite.level_size.map_or(Ok(sprite.tokens), |level| model.demote(sprite.tokens, level))?;
    model.check_prefix(tokens)
}

/// As [`sprite_prefix`]; the error names the sprite.
fn named_prefix(model: &Model, at: usize, sprite: &Sprite) -> Result<Prefix> {
    sprite_prefix(model, sprite).map_err(|error| match error {
        Error::Invalid(text) => Error::Invalid(format!("sprite {at}: {text}")),
        other => other,
    })
}

/// Pixels per side in the atlas.
fn side(prefix: Prefix, sprite: &Sprite) -> u32 {
    prefix.size.saturating_mul(sprite.factor)
}

/// For each mip, the number of tokens that are decoded for it. All tokens together count as the finest level, even where
/// they are none (7 of 8 tokens, or 88 of 128).
fn mip_sources(ladder: &Ladder, whole: Prefix, sizes: &[u32], source: MipSource) -> Result<Vec<usize>> {
    let mut sources = reserve("mips", sizes.len())?;
    for (at, &size) in sizes.iter().enumerate() {
        if size == 0 || size > whole.size {
            return Err(Error::Invalid(format!(
                "mip {at} of {size} px is out of range: {} tokens make 1 to {} px",
                whole.tokens, whole.size
            )));
        }
        let mut levels = ladder.levels().iter().filter(|level| level.tokens < whole.tokens);
        let level = match source {
            MipSource::Levels => levels.find(|level| level.size >= size),
            MipSource::Finest => None,
        };
        sources.push(level.map_or(whole.tokens, |level| level.tokens));
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mip_source_is_the_nearest_level_at_least_as_large() {
        let ladder = Ladder::detailflow_16();
        let from = |tokens, sizes: &[u32], source| {
            mip_sources(&ladder, ladder.prefix(tokens).unwrap(), sizes, source).map_err(|error| error.to_string())
        };
        let levels = |tokens, sizes: &[u32]| from(tokens, sizes, MipSource::Levels).unwrap();
        assert_eq!(levels(128, &[256, 128, 64, 32, 16, 1]), [128, 48, 24, 8, 8, 8]);
        assert_eq!(levels(128, &[225, 224, 33, 49]), [104, 96, 16, 24]);
        // 120 tokens are 256 px as 128 are; 88 are 224 px, a level that takes 96; 7 are 32 px, a level that takes 8.
        assert_eq!(levels(120, &[256, 241, 240]), [120, 120, 104]);
        assert_eq!(levels(88, &[224, 209, 208]), [88, 88, 80]);
        assert_eq!(levels(7, &[32, 16, 1]), [7, 7, 7]);
        assert_eq!(from(128, &[256, 128, 1], MipSource::Finest).unwrap(), [128; 3]);
        assert!(
            from(16, &[48, 49], MipSource::Levels)
                .unwrap_err()
                .contains("mip 1 of 49 px is out of range: 16 tokens make 1 to 48")
        );
        assert!(from(16, &[0], MipSource::Finest).unwrap_err().contains("mip 0 of 0 px"));
    }
}
