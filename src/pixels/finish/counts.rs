//! How often pictures have each colour.

use super::color::Color;
use super::palette::{LARGEST_PALETTE, Palette};
use super::quantize::{Counted, quantize};
use super::settings::Finish;
use super::shape::{Pixel, cut, fill_holes, remove_stray};
use crate::pixels::format::{PixelFormat, check_rows, check_sides};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::reserve;

/// The colours of pixels with their places, in the order of the colours: pixels of one colour are together.
#[derive(Debug)]
pub(super) struct Sorted(Vec<u64>);

impl Sorted {
    /// Takes the visible pixels, but for those of the colour `besides`.
    pub fn new(pixels: &[Pixel], besides: Option<Color>) -> Result<Self> {
        if u32::try_from(pixels.len()).is_err() {
            return Err(Error::Invalid(format!("a picture of {} pixels is too large to be finished", pixels.len())));
        }
        let mut keys = reserve("the colours of a picture", pixels.len())?;
        let besides = besides.map(|Color([r, g, b])| u32::from_be_bytes([0, r, g, b]));
        for (at, &[r, g, b, alpha]) in pixels.iter().enumerate() {
            let color = u32::from_be_bytes([0, r, g, b]);
            if alpha > 0 && Some(color) != besides {
                keys.push(u64::from(color) << 32 | at as u64);
            }
        }
        keys.sort_unstable();
        Ok(Self(keys))
    }

    /// Each colour with the places of its pixels.
    pub fn colors(&self) -> impl Iterator<Item = ([u8; 3], impl Iterator<Item = usize>)> {
        self.0.chunk_by(|one, other| one >> 32 == other >> 32).map(|keys| {
            let [_, r, g, b] = ((keys[0] >> 32) as u32).to_be_bytes();
            ([r, g, b], keys.iter().map(|&key| key as u32 as usize))
        })
    }

    /// Each colour with the sum of its pixels' alpha.
    pub fn counted(&self, pixels: &[Pixel]) -> Result<Vec<Counted>> {
        let mut counted = reserve("the colours of a picture", self.colors().count())?;
        counted.extend(self.colors().map(|(color, places)| {
            let weight = places.map(|at| u64::from(pixels[at][3])).sum();
            Counted { color, weight }
        }));
        Ok(counted)
    }
}

/// The colours of a set of pictures, to make one palette for all of them.
#[derive(Debug, Clone, Default)]
pub struct ColorCounts {
    /// In the order of the colours.
    counted: Vec<Counted>,
}

impl ColorCounts {
    /// Of no pictures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `width` x `height` RGBA8 pixels with straight alpha, rows `stride` bytes apart. Colours count as
    /// they do for [`Finish::colors`], after the alpha cut and `despeckle` of `finish`; the colour of its outline does not count,
    /// and its other settings are not used.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a side is 0, `stride` is less than a row, `pixels` is too short, or a setting is out of range;
    /// [`Error::OutOfMemory`]. Nothing was added then.
    pub fn add(&mut self, finish: &Finish, width: u32, height: u32, pixels: &[u8], stride: usize) -> Result<()> {
        let _host = host::enter();
        finish.check()?;
        let mut pixels = gather(width, height, pixels, stride)?;
        cut(&mut pixels, finish.alpha_cut);
        if finish.despeckle {
            remove_stray(&mut pixels, width as usize);
            fill_holes(&mut pixels, width as usize);
        }
        let more = Sorted::new(&pixels, finish.outline)?.counted(&pixels)?;
        let mut all = reserve("the colours of pictures", self.counted.len() + more.len())?;
        let (mut one, mut other) = (self.counted.iter().peekable(), more.iter().peekable());
        loop {
            let next = match (one.peek(), other.peek()) {
                (Some(a), Some(b)) if a.color == b.color => {
                    let both = Counted { color: a.color, weight: a.weight.saturating_add(b.weight) };
                    one.next();
                    other.next();
                    both
                }
                (Some(a), b) if b.is_none_or(|b| a.color < b.color) => {
                    let only = **a;
                    one.next();
                    only
                }
                (_, Some(b)) => {
                    let only = **b;
                    other.next();
                    only
                }
                _ => break,
            };
            all.push(next);
        }
        self.counted = all;
        Ok(())
    }

    /// How many different colours there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counted.len()
    }

    /// Whether no visible pixel was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// A palette of at most `count` of these colours, in the order of their values. The order in which pictures were added
    /// does not matter.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `count` is not 2 to 256 or no visible pixel was added; [`Error::OutOfMemory`].
    pub fn palette(&self, count: u32) -> Result<Palette> {
        let _host = host::enter();
        Finish { colors: Some(count), ..Finish::default() }.check()?;
        if self.is_empty() {
            return Err(Error::Invalid("the pictures have no visible pixel to make a palette of".to_owned()));
        }
        let mut colors = quantize(&self.counted, (count as usize).min(LARGEST_PALETTE))?;
        colors.sort_unstable();
        Palette::new(colors.into_iter().map(Color))
    }
}

/// The pixels of a picture in memory, row by row.
pub(super) fn gather(width: u32, height: u32, pixels: &[u8], stride: usize) -> Result<Vec<Pixel>> {
    check_sides(width, height)?;
    let row = PixelFormat::Rgba8.row(width);
    check_rows(row, height as usize, stride, pixels.len())?;
    let mut gathered = reserve("a picture", width as usize * height as usize)?;
    for line in pixels.chunks(stride).take(height as usize) {
        gathered.extend_from_slice(line[..row].as_chunks::<4>().0);
    }
    Ok(gathered)
}
