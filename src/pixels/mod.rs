//! Pixels: pictures from the decoder, in any [`PixelFormat`] in the caller's memory or as a file; and pictures of any size for
//! the encoder.
//!
//! - RGB models use the byte rule of the reference code: `trunc(clamp(127.5 x + 128, 0, 255))`.
//! - RGBA models give premultiplied colour: `p = clamp((x + 1) / 2, 0, 1)`, alpha is `p3`, straight colour is
//!   `min(p / alpha, 1)` (0 where alpha is 0), a byte is `round(255 v)`.
//! - Downscaling averages areas in linear light, weighted by alpha. Upscaling repeats pixels by an
//!   integer factor; [`Image::resize`] interpolates to any size.
//! - [`finish`] makes pixel art of a decoded picture: alpha cut, few colours, a palette, an outline.
//! - Reading and writing picture files needs the feature `image-files`.

mod atlas;
mod canvas;
#[cfg(feature = "image-files")]
mod decode;
mod downscale;
#[cfg(feature = "image-files")]
mod file;
pub mod finish;
mod format;
#[cfg(feature = "image-files")]
mod header;
mod image;
mod light;
mod mip_chain;
mod picture;
mod read;
mod resize;
#[cfg(feature = "image-files")]
mod rows;
mod square;
#[cfg(feature = "image-files")]
mod tga;
mod upscale;
mod write;

pub use atlas::{Layout, layout};
pub(crate) use atlas::{Square, check_squares};
pub(crate) use canvas::check_factor;
pub use canvas::{Canvas, LARGEST_FACTOR};
#[cfg(feature = "image-files")]
pub use decode::{LARGEST_FILE_PIXELS, LARGEST_FILE_SIDE};
pub(crate) use downscale::Downscale;
#[cfg(feature = "image-files")]
pub use file::{FileFormat, encode, save};
pub use finish::Finish;
pub use format::PixelFormat;
#[cfg(feature = "ffi")]
pub(crate) use format::check_rows;
pub use image::Image;
#[cfg(feature = "pipeline")]
pub(crate) use light::from_linear;
pub(crate) use mip_chain::split_block;
pub use mip_chain::{MipLayout, mip_layout, mip_sizes};
pub use picture::Picture;
