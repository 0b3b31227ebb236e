//! Finishing: what makes pixel art of a decoded picture. Alpha is cut, stray pixels are removed, colours are reduced to a
//! number or to a palette, an outline is drawn, opaque pictures are made to repeat: [`Finish`] says which of these, in this order.
//!
//! Colours are compared in OKLab (Björn Ottosson, 2020) with a and b twice as large, held as integers; what is summed is summed as integers or in a fixed
//! order, and powers and roots are those of the `libm` crate. So the same picture and settings give the same bytes on every
//! platform. A picture that was finished stays as it is when it is finished again with the same settings.

mod apply;
mod color;
mod counts;
mod dither;
mod oklab;
mod overrides;
mod palette;
mod palette_file;
mod quantize;
mod reduce;
mod settings;
mod shape;
#[cfg(test)]
mod tests;
mod tile;

pub use color::Color;
pub use counts::ColorCounts;
pub use overrides::FinishOverrides;
pub use palette::{LARGEST_PALETTE, Palette};
pub use settings::Finish;
