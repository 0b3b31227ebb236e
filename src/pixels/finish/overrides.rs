//! Settings that replace some of those that a bundle has.

use super::color::Color;
use super::palette::Palette;
use super::settings::Finish;
use crate::support::error::{Error, Result};

/// Settings that replace those of a bundle; `None` leaves a setting as it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FinishOverrides {
    /// As [`Finish::alpha_cut`]; 0 keeps alpha as it is.
    pub alpha_cut: Option<u8>,
    /// As [`Finish::colors`]; 0 keeps all colours.
    pub colors: Option<u32>,
    /// As [`Finish::palette`]. It replaces the number of colours, too, unless `colors` says one.
    pub palette: Option<Palette>,
    /// As [`Finish::dither`].
    pub dither: Option<bool>,
    /// As [`Finish::outline`].
    pub outline: Option<Color>,
    /// As [`Finish::despeckle`].
    pub despeckle: Option<bool>,
    /// As [`Finish::tile`].
    pub tile: Option<bool>,
}

impl FinishOverrides {
    /// The settings `default` with these in their place.
    ///
    /// # Errors
    /// Those of [`Finish::check`]; [`Error::Invalid`] if these ask for dithering and no colours are reduced.
    pub fn over(&self, default: &Finish) -> Result<Finish> {
        let finish = Finish {
            alpha_cut: self.alpha_cut.or(default.alpha_cut).filter(|&least| least > 0),
            colors: match (self.colors, &self.palette) {
                (Some(count), _) => Some(count).filter(|&count| count > 0),
                (None, Some(_)) => None,
                (None, None) => default.colors,
            },
            palette: self.palette.clone().or_else(|| default.palette.clone()),
            dither: self.dither.unwrap_or(default.dither),
            outline: self.outline.or(default.outline),
            despeckle: self.despeckle.unwrap_or(default.despeckle),
            tile: self.tile.unwrap_or(default.tile),
        };
        finish.check()?;
        if self.dither == Some(true) && finish.colors.is_none() && finish.palette.is_none() {
            return Err(Error::Invalid("dither needs a number of colours or a palette to dither with".to_owned()));
        }
        Ok(finish)
    }
}
