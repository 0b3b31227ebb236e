//! The settings of finishing.

use serde::{Deserialize, Serialize};

use super::color::Color;
use super::palette::{LARGEST_PALETTE, Palette};
use crate::support::error::{Error, Result};

/// How a picture is finished. What is not set is not done; [`Finish::default`] changes nothing but the colour of pixels whose
/// alpha is 0, which becomes black. The steps, in this order:
///
/// 1. `alpha_cut`, and black for pixels whose alpha is 0;
/// 2. `despeckle`;
/// 3. `colors` and `palette`, with or without `dither`;
/// 4. `outline`, and with `despeckle` the holes that it leaves;
/// 5. `tile`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Finish {
    /// Pixels whose alpha is at least this, 1 to 255, become opaque (with their straight colour), all others transparent.
    /// `None`: alpha stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha_cut: Option<u8>,
    /// The most colours that a picture may have, 2 to 256. A picture that has no more keeps its colours exactly. Else its colours
    /// become this many or fewer of its own: chosen for a small squared error in OKLab, each
    /// colour counted by the sum of its pixels' alpha. Colours of pixels with alpha 0 do not count, nor does that of `outline`.
    /// `None`: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colors: Option<u32>,
    /// The only colours that a picture may have, besides that of `outline`: each pixel takes the nearest in OKLab. With `colors`
    /// too a picture is reduced to that many first, and each of those takes the nearest. Alpha is not changed by it. `None`: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub palette: Option<Palette>,
    /// Ordered dithering with a pattern of 4 x 4 pixels where colours are reduced: a pixel takes the nearest colour or a second
    /// one, so that the mean of its surroundings is near what it was. Pixels that have one of the colours exactly keep it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dither: bool,
    /// Transparent pixels with a visible one above, below, to the left or to the right become opaque pixels of this colour. A
    /// visible pixel that has this colour already gets no outline around it. At the border of the picture there is no room
    /// for an outline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outline: Option<Color>,
    /// A visible pixel without a visible one among its 8 neighbours becomes transparent, except in a picture of one pixel. A
    /// transparent pixel whose 4 neighbours (above, left, right, below) are visible becomes as most of them are, the first of
    /// these where none is in the majority.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub despeckle: bool,
    /// A picture that is opaque by now repeats without a visible seam, beside and above itself. An axis stays as it is when the mean step
    /// between opposite edges is at most 1.2 times the mean inner one, or when they meet as neighbours inside do, like bricks at
    /// a joint. Else the borders are covered by a copy of the picture that is rolled along the axis, up to a quarter of the side
    /// and 48 pixels deep, along seams of least cost: a frame or a bevel around the picture goes, too. Pixels are only copied, so there are no new colours. Pictures with a transparent
    /// pixel or a side of less than 8 pixels, and those for which no such copy is better, stay as they are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tile: bool,
}

impl Finish {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let Self { alpha_cut, colors, palette, dither: _, outline, despeckle, tile } = self;
        alpha_cut.is_none() && colors.is_none() && palette.is_none() && outline.is_none() && !despeckle && !tile
    }

    /// Checks that its numbers are in range.
    ///
    /// # Errors
    /// [`Error::Invalid`], which names the setting and what is allowed.
    pub fn check(&self) -> Result<()> {
        if self.alpha_cut == Some(0) {
            return Err(Error::Invalid("alpha_cut 0 is out of range: 1 to 255 is allowed".to_owned()));
        }
        match self.colors {
            Some(count) if !(2..=LARGEST_PALETTE as u32).contains(&count) => {
                Err(Error::Invalid(format!("colors {count} is out of range: 2 to {LARGEST_PALETTE} is allowed")))
            }
            _ => Ok(()),
        }
    }
}
