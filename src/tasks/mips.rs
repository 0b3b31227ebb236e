//! Levels of detail from the same tokens: mips, sprites in an atlas, a finer picture made coarser.

use crate::model::Model;
use crate::model::codec::decode_at_once;
use crate::pixels::{self, Canvas, Downscale, Image, Square, check_factor, check_squares};
use crate::plan::{Ladder, Prefix};
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// What mips are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MipSource {
    /// Each is decoded by the model at the nearest level that is at least as large, and downscaled from there to its
    /// size: what the model knows a small picture to look like. A level is decoded once for all that come from it.
    #[default]
    Levels,
    /// All are downscaled from the picture of all tokens, which is decoded once: what a filter makes of a large one.
    Finest,
}

/// The usual chain of mips: `size`, half of it, and so on down to 1, each rounded down (48, 24, 12, 6, 3, 1), as the
/// graphics interfaces have it. Nothing for 0.
pub fn mip_sizes(size: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(size), |size| Some(size / 2)).take_while(|&size| size > 0)
}

/// A picture's tokens and its place in an atlas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sprite<'a> {
    /// A prefix (1..=c tokens or a multiple of g), or, when a level is named, at least that level's tokens.
    pub tokens: &'a [u32],
    /// Left edge, in pixels of the atlas.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// The level to decode, by its pixels; none takes all tokens.
    pub level: Option<u32>,
    /// Each pixel becomes a square of so many pixels a side: 1 to 64.
    pub factor: u32,
}

impl<'a> Sprite<'a> {
    /// All tokens, as large as they decode, at 0, 0.
    pub fn new(tokens: &'a [u32]) -> Self {
        Self { tokens, x: 0, y: 0, level: None, factor: 1 }
    }
}

impl Model {
    /// The first tokens of a picture, down to the level of `size` pixels: the same picture with less detail, which
    /// takes nothing but to leave off the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists those that are), the tokens are too few, or one
    /// that is kept is not of the codebook.
    pub fn demote<'a>(&self, tokens: &'a [u32], size: u32) -> Result<&'a [u32]> {
        let level = self.level(size)?;
        let kept = tokens.get(..level.tokens).ok_or_else(|| {
            Error::Invalid(format!("the {size} px level takes {} tokens, there are {}", level.tokens, tokens.len()))
        })?;
        self.check_prefix(kept).map(|_| kept)
    }

    /// Pictures of any `sizes` from one prefix, for [`mip_sizes`] or any others up to what [`decode`](Self::decode)
    /// gives; in the order of `sizes`. One of a size that is decoded is exactly that; others are downscaled as
    /// [`Image::downscale`] does.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the tokens are no prefix, or a size is 0 or larger than they decode to; nothing is
    /// decoded then.
    pub fn mips(&self, tokens: &[u32], sizes: &[u32], source: MipSource) -> Result<Vec<Image>> {
        let whole = self.check_prefix(tokens)?;
        let sources = mip_sources(self.bundle().ladder(), whole, sizes, source)?;
        let mut mips = filled("mips", sizes.len(), None)?;
        for first in 0..sizes.len() {
            if mips[first].is_some() {
                continue;
            }
            let decoded = self.decode(&tokens[..sources[first]])?;
            let mut smaller = Downscale::new(&decoded);
            for at in (first..sizes.len()).filter(|&at| sources[at] == sources[first]) {
                mips[at] = Some(smaller.to(sizes[at])?);
            }
        }
        let mut all = reserve("mips", mips.len())?;
        all.extend(mips.into_iter().flatten());
        Ok(all)
    }

    /// Pixels a side that a sprite takes in an atlas.
    ///
    /// # Errors
    /// [`Error::Invalid`] when its tokens, level or factor are not as [`Sprite`] says.
    pub fn sprite_size(&self, sprite: &Sprite) -> Result<u32> {
        self.sprite_prefix(sprite).map(|prefix| side(prefix, sprite))
    }

    /// Puts sprites where [`layout`](pixels::layout) has them on a width of `width` pixels, `padding` pixels between
    /// any two. Gives the height.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a sprite is not as [`Sprite`] says, or does not fit the width.
    pub fn lay_out_atlas(&self, sprites: &mut [Sprite], width: u32, padding: u32) -> Result<u32> {
        let mut sides = reserve("an atlas", sprites.len())?;
        for (at, sprite) in sprites.iter().enumerate() {
            sides.push(side(self.named_prefix(at, sprite)?, sprite));
        }
        let layout = pixels::layout(&sides, width, padding)?;
        for (sprite, corner) in sprites.iter_mut().zip(layout.corners) {
            (sprite.x, sprite.y) = corner;
        }
        Ok(layout.height)
    }

    /// Decodes sprites into their places in `atlas`; all else there stays as it is. Sprites of as many tokens are
    /// decoded together.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a sprite is not as [`Sprite`] says, does not lie within the atlas, or two of them
    /// overlap (the error says which; to touch is fine): then nothing was done. Otherwise as
    /// [`decode`](Self::decode); then some are there and others are not.
    pub fn decode_atlas(&self, sprites: &[Sprite], atlas: &mut Canvas) -> Result<()> {
        let mut prefixes = reserve("an atlas", sprites.len())?;
        let mut squares = reserve("an atlas", sprites.len())?;
        for (at, sprite) in sprites.iter().enumerate() {
            let prefix = self.named_prefix(at, sprite)?;
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
                for (&at, image) in part.iter().zip(self.decode_batch(&sequences)?) {
                    atlas.put(&image, sprites[at].x, sprites[at].y, sprites[at].factor)?;
                }
            }
        }
        Ok(())
    }

    /// What of a sprite is decoded.
    fn sprite_prefix(&self, sprite: &Sprite) -> Result<Prefix> {
        check_factor(sprite.factor)?;
        let tokens = sprite.level.map_or(Ok(sprite.tokens), |level| self.demote(sprite.tokens, level))?;
        self.check_prefix(tokens)
    }

    /// As [`sprite_prefix`](Self::sprite_prefix); the error says of which.
    fn named_prefix(&self, at: usize, sprite: &Sprite) -> Result<Prefix> {
        self.sprite_prefix(sprite).map_err(|error| match error {
            Error::Invalid(text) => Error::Invalid(format!("sprite {at}: {text}")),
            other => other,
        })
    }
}

/// Pixels a side in the atlas.
fn side(prefix: Prefix, sprite: &Sprite) -> u32 {
    prefix.size.saturating_mul(sprite.factor)
}

/// For each mip, how many of the tokens are decoded for it. The whole of the tokens counts as a level, the finest, also
/// where it is none (7 of 8 tokens, or 88 of 128).
fn mip_sources(ladder: &Ladder, whole: Prefix, sizes: &[u32], source: MipSource) -> Result<Vec<usize>> {
    let mut sources = reserve("mips", sizes.len())?;
    for (at, &size) in sizes.iter().enumerate() {
        if size == 0 || size > whole.size {
            return Err(Error::Invalid(format!(
                "mip {at} of {size} px: {} tokens make 1 to {} px",
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
    fn chains_end_with_one_pixel() {
        let chain = |size| mip_sizes(size).collect::<Vec<_>>();
        assert_eq!(chain(256), [256, 128, 64, 32, 16, 8, 4, 2, 1]);
        assert_eq!(chain(48), [48, 24, 12, 6, 3, 1]);
        assert_eq!(chain(1), [1]);
        assert_eq!(chain(u32::MAX).len(), 32);
        assert!(chain(0).is_empty());
    }

    #[test]
    fn mips_come_from_the_nearest_level_that_is_as_large() {
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
        assert!(from(16, &[48, 49], MipSource::Levels).unwrap_err().contains("mip 1 of 49 px: 16 tokens make 1 to 48"));
        assert!(from(16, &[0], MipSource::Finest).unwrap_err().contains("mip 0 of 0 px"));
    }
}
