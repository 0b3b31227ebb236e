//! A list of colours that pictures are reduced to.

use serde::{Deserialize, Serialize};

use super::color::Color;
use super::oklab::{Lab, lab};
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// The most colours of a palette.
pub const LARGEST_PALETTE: usize = 256;

/// 1 to 256 colours, each once, in an order that does not matter to pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Color>", into = "Vec<Color>")]
pub struct Palette {
    colors: Vec<Color>,
    /// The same in OKLab.
    labs: Vec<Lab>,
}

impl Palette {
    /// A palette of these colours; one that is there already is left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no colour, or there are more than 256 different ones; [`Error::OutOfMemory`].
    pub fn new(colors: impl IntoIterator<Item = Color>) -> Result<Self> {
        let mut kept: Vec<Color> = reserve("a palette", LARGEST_PALETTE)?;
        for color in colors {
            if kept.contains(&color) {
                continue;
            }
            if kept.len() == LARGEST_PALETTE {
                return Err(Error::Invalid(format!("the palette has more than {LARGEST_PALETTE} colours")));
            }
            kept.push(color);
        }
        if kept.is_empty() {
            return Err(Error::Invalid("the palette has no colour".to_owned()));
        }
        let labs = kept.iter().map(|color| lab(color.0)).collect();
        Ok(Self { colors: kept, labs })
    }

    /// Its colours, in the order in which they were given.
    #[must_use]
    pub fn colors(&self) -> &[Color] {
        &self.colors
    }

    /// Its colours in OKLab, in the same order.
    pub(super) fn labs(&self) -> &[Lab] {
        &self.labs
    }
}

impl TryFrom<Vec<Color>> for Palette {
    type Error = Error;

    fn try_from(colors: Vec<Color>) -> Result<Self> {
        Self::new(colors)
    }
}

impl From<Palette> for Vec<Color> {
    fn from(palette: Palette) -> Self {
        palette.colors
    }
}
