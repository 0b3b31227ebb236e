//! The bytes of an output file: pictures, options and a file format in, bytes out. The same pictures, options and version of
//! this library give the same bytes on every machine.
//!
//! What a file says about its colour, and what it holds:
//!
//! - The formats of [`FileFormat`]: 8 bits a channel, sRGB. A PNG says so in a chunk, BMP and QOI in their headers, TGA by a gamma
//!   of 2.2; in JPEG, WebP and TIFF it is what readers assume. TGA has the alpha mode too.
//! - OpenEXR: half floats in linear light with the chromaticities of sRGB, compressed losslessly (ZIP). Alpha is associated, that
//!   is, colour is premultiplied, as OpenEXR defines it, under either [`AlphaMode`].
//! - DDS and KTX2: textures of the format `R8G8B8A8_SRGB` or `BC7_SRGB`, one picture or the whole mip chain, with the alpha mode
//!   in the header.
//!
//! Premultiplied colour in the formats of [`FileFormat`] is the sRGB-encoded value times alpha, as 2D engines blend it. In DDS and
//! KTX2, which a GPU converts to linear light before it filters and blends, it is linear light times alpha, encoded again.

mod bc7;
mod dds;
mod exr_file;
mod format;
mod ktx2;
mod texture;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::format::OutputFormat;
use crate::model::Model;
use crate::pixels::{self, Canvas, FileFormat, Finish, Image, PixelFormat, mip_sizes};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};
use crate::tasks::{self, MipSource};

/// The largest factor of whole-factor upscaling.
pub const LARGEST_SCALE: u32 = 16;

/// What TGA calls premultiplied alpha.
const TGA_PREMULTIPLIED: u8 = 4;

/// Whether colour is multiplied with alpha.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlphaMode {
    /// Colour is as it is, however transparent a pixel is.
    #[default]
    Straight,
    /// Colour is multiplied with alpha, so that filtering does not bleed.
    Premultiplied,
}

/// Block compression of a texture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Four bytes a pixel.
    #[default]
    None,
    /// BC7: one byte a pixel, for GPUs of desktops and consoles.
    Bc7,
}

/// How pictures become files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OutputOptions {
    /// Whether colour is multiplied with alpha; no matter in OpenEXR, and in pictures of RGB models.
    pub alpha: AlphaMode,
    /// Whether a texture has the whole mip chain, down to 1 pixel (DDS, KTX2).
    pub mips: bool,
    /// Block compression (DDS, KTX2).
    pub compression: Compression,
    /// Each pixel becomes a square of this many pixels per side: 1 to 16; a power of two with `mips`.
    pub scale: u32,
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self { alpha: AlphaMode::Straight, mips: false, compression: Compression::None, scale: 1 }
    }
}

impl OutputOptions {
    /// Checks that the options are in range and make sense for files of `format`.
    ///
    /// # Errors
    /// [`Error::Invalid`]; the message says what is allowed.
    pub fn check(&self, format: OutputFormat) -> Result<()> {
        let Self { alpha, mips, compression, scale } = *self;
        let refuse = |text: String| Err(Error::Invalid(text));
        if !(1..=LARGEST_SCALE).contains(&scale) {
            return refuse(format!("scale {scale} is out of range: 1 to {LARGEST_SCALE} is allowed"));
        }
        if mips && !format.is_texture() {
            return refuse(format!("a {format} file holds no mip chain: mips are allowed in dds and ktx2"));
        }
        if compression != Compression::None && !format.is_texture() {
            return refuse(format!("a {format} file holds no compressed blocks: bc7 is allowed in dds and ktx2"));
        }
        if mips && !scale.is_power_of_two() {
            return refuse(format!("scale {scale} with mips: 1, 2, 4, 8 and 16 are allowed"));
        }
        if alpha == AlphaMode::Premultiplied && format == OutputFormat::Picture(FileFormat::Jpeg) {
            return refuse(
                "a jpg file has no alpha, pictures are composited over black: alpha straight is allowed".into(),
            );
        }
        Ok(())
    }

    /// The sizes, in pixels per side, of the pictures that [`encode`] takes for a picture of `size` pixels: itself, or each size
    /// of its mip chain from the largest on, before upscaling.
    #[must_use]
    pub fn sizes(&self, size: u32) -> Vec<u32> {
        if self.mips { mip_sizes(size).collect() } else { vec![size] }
    }
}

/// Decodes the pictures that [`encode`] takes: the prefix `tokens` at its size, and with mips each size of its chain, decoded
/// at the nearest level ([`MipSource::Levels`]). With `finish` each decoded picture is finished, and mips of other sizes are
/// downscaled from finished ones.
///
/// # Errors
/// Those of [`Model::decode`], [`tasks::mips`] and [`Finish::check`].
pub fn decode(model: &Model, tokens: &[u32], options: &OutputOptions, finish: Option<&Finish>) -> Result<Vec<Image>> {
    if !options.mips {
        let image = model.decode(tokens)?;
        return Ok(vec![match finish {
            Some(finish) => finish.image(&image)?,
            None => image,
        }]);
    }
    let size = model.check_prefix(tokens)?.size;
    let off = Finish::default();
    tasks::finished_mips(model, tokens, &options.sizes(size), MipSource::Levels, finish.unwrap_or(&off))
}

/// Encodes a file. `pictures` are one picture, or with [`OutputOptions::mips`] those of [`OutputOptions::sizes`].
///
/// # Errors
/// Those of [`OutputOptions::check`]; [`Error::Invalid`] if the pictures are not those, or the format does not take their size
/// (JPEG: 65,535, WebP: 16,384 pixels per side); [`Error::OutOfMemory`].
pub fn encode(pictures: &[Image], options: &OutputOptions, format: OutputFormat) -> Result<Vec<u8>> {
    let _host = host::enter();
    options.check(format)?;
    let found = pictures.iter().map(Image::size);
    let Some(first) = pictures.first().filter(|first| options.sizes(first.size()).into_iter().eq(found)) else {
        let sizes: Vec<String> = pictures.iter().map(|picture| picture.size().to_string()).collect();
        let wanted = if options.mips { "a mip chain from the largest on" } else { "one picture" };
        return Err(Error::Invalid(format!("pictures of [{}] px to encode: {wanted} is allowed", sizes.join(", "))));
    };
    match format {
        OutputFormat::Picture(file_format) => encode_picture(first, options, file_format),
        OutputFormat::Exr => exr_file::encode(first, options.scale),
        OutputFormat::Dds => dds::encode(&texture::texture(pictures, options)?),
        OutputFormat::Ktx2 => ktx2::encode(&texture::texture(pictures, options)?),
    }
}

/// A file of 8 bits a channel.
fn encode_picture(image: &Image, options: &OutputOptions, file_format: FileFormat) -> Result<Vec<u8>> {
    if !image.has_alpha() {
        let (side, pixels) = pixels_of(image, PixelFormat::Rgb8, options.scale)?;
        return pixels::encode(file_format, side, side, PixelFormat::Rgb8, &pixels, 3 * side as usize);
    }
    let format = match options.alpha {
        AlphaMode::Straight => PixelFormat::Rgba8,
        AlphaMode::Premultiplied => PixelFormat::Rgba8Premultiplied,
    };
    // The bytes as they are: encoding would make straight colour of what it is told to be premultiplied.
    let (side, pixels) = pixels_of(image, format, options.scale)?;
    let mut file = pixels::encode(file_format, side, side, PixelFormat::Rgba8, &pixels, 4 * side as usize)?;
    if (options.alpha, file_format) == (AlphaMode::Premultiplied, FileFormat::Tga) {
        // The last byte of the extension area, before the footer of 26 bytes.
        let at = file.len() - 27;
        file[at] = TGA_PREMULTIPLIED;
    }
    Ok(file)
}

/// The pixels of a picture, upscaled by `scale`, and their side; rows without gaps.
fn pixels_of(image: &Image, format: PixelFormat, scale: u32) -> Result<(u32, Vec<u8>)> {
    let side = image.size().checked_mul(scale);
    let side = side.ok_or_else(|| Error::Invalid(format!("{} px times {scale} is too large", image.size())))?;
    let stride = (side as usize).saturating_mul(format.bytes());
    let mut pixels = filled("a picture", stride.saturating_mul(side as usize), 0)?;
    Canvas::new(format, side, side, &mut pixels, stride)?.put(image, 0, 0, scale)?;
    Ok((side, pixels))
}

/// An empty file with room for `bytes`.
fn file(bytes: usize) -> Result<Vec<u8>> {
    reserve("a texture file", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Picture;

    /// A picture of every colour and alpha, by a rule.
    pub(super) fn picture(size: u32, channels: usize) -> Image {
        let count = channels * size as usize * size as usize;
        let values: Vec<f32> = (0..count).map(|at| (at * 7919 % 2003) as f32 / 900.0 - 1.1).collect();
        Image::new(size, channels, &values).unwrap()
    }

    /// The pictures of a texture.
    pub(super) fn chain(size: u32, channels: usize, mips: bool) -> Vec<Image> {
        OutputOptions { mips, ..OutputOptions::default() }
            .sizes(size)
            .iter()
            .map(|&size| picture(size, channels))
            .collect()
    }

    /// The number at an offset.
    pub(super) fn number(file: &[u8], offset: usize) -> u32 {
        u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap())
    }

    fn options(alpha: AlphaMode, scale: u32) -> OutputOptions {
        OutputOptions { alpha, scale, ..OutputOptions::default() }
    }

    #[test]
    fn check_refuses_what_makes_no_sense_and_says_what_does() {
        let png = OutputFormat::Picture(FileFormat::Png);
        let jpeg = OutputFormat::Picture(FileFormat::Jpeg);
        let plain = OutputOptions::default();
        let cases = [
            (OutputOptions { mips: true, ..plain }, png, "dds and ktx2"),
            (OutputOptions { mips: true, ..plain }, OutputFormat::Exr, "dds and ktx2"),
            (OutputOptions { compression: Compression::Bc7, ..plain }, png, "dds and ktx2"),
            (OutputOptions { scale: 0, ..plain }, png, "1 to 16"),
            (OutputOptions { scale: 17, ..plain }, png, "1 to 16"),
            (OutputOptions { scale: 3, mips: true, ..plain }, OutputFormat::Dds, "1, 2, 4, 8 and 16"),
            (OutputOptions { alpha: AlphaMode::Premultiplied, ..plain }, jpeg, "straight"),
        ];
        for (options, format, words) in cases {
            let error = options.check(format).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let pictures = FileFormat::ALL.map(OutputFormat::Picture);
        for format in pictures.into_iter().chain([OutputFormat::Exr, OutputFormat::Dds, OutputFormat::Ktx2]) {
            plain.check(format).unwrap();
        }
        let all =
            OutputOptions { alpha: AlphaMode::Premultiplied, mips: true, compression: Compression::Bc7, scale: 4 };
        all.check(OutputFormat::Dds).unwrap();
        all.check(OutputFormat::Ktx2).unwrap();
    }

    #[test]
    fn picture_files_are_those_of_image_encode() {
        for channels in [3, 4] {
            let image = picture(12, channels);
            for format in FileFormat::ALL {
                let found =
                    encode(std::slice::from_ref(&image), &OutputOptions::default(), OutputFormat::Picture(format));
                assert!(found.unwrap() == image.encode(format).unwrap(), "{format}");
            }
        }
    }

    #[test]
    fn premultiplied_picture_files_hold_premultiplied_bytes() {
        let image = picture(12, 4);
        let png = encode(
            std::slice::from_ref(&image),
            &options(AlphaMode::Premultiplied, 1),
            OutputFormat::Picture(FileFormat::Png),
        );
        let mut decoded = vec![0; 12 * 12 * 4];
        let mut reader = png::Decoder::new(std::io::Cursor::new(png.unwrap())).read_info().unwrap();
        assert_eq!(reader.info().srgb, Some(png::SrgbRenderingIntent::Perceptual));
        reader.next_frame(&mut decoded).unwrap();
        assert_eq!(decoded, image.to_vec(PixelFormat::Rgba8Premultiplied).unwrap());
        assert_ne!(decoded, image.to_vec(PixelFormat::Rgba8).unwrap());
        for (mode, byte) in [(AlphaMode::Straight, 3), (AlphaMode::Premultiplied, 4)] {
            let tga = encode(std::slice::from_ref(&image), &options(mode, 1), OutputFormat::Picture(FileFormat::Tga))
                .unwrap();
            assert_eq!(tga[tga.len() - 27], byte);
        }
    }

    #[test]
    fn scale_repeats_pixels() {
        let image = picture(4, 4);
        let (side, large) = pixels_of(&image, PixelFormat::Rgba8, 3).unwrap();
        let small = image.to_vec(PixelFormat::Rgba8).unwrap();
        assert_eq!(side, 12);
        for (at, pixel) in large.chunks(4).enumerate() {
            let (x, y) = (at % 12 / 3, at / 12 / 3);
            assert_eq!(pixel, &small[4 * (4 * y + x)..][..4]);
        }
        let file = encode(&[image], &options(AlphaMode::Straight, 3), OutputFormat::Picture(FileFormat::Png)).unwrap();
        let picture = Picture::decode(&file).unwrap();
        let direct = Picture::from_pixels(PixelFormat::Rgba8, 12, 12, &large, 48).unwrap();
        assert_eq!(picture.planes(12, 4).unwrap(), direct.planes(12, 4).unwrap());
    }

    #[test]
    fn encode_refuses_pictures_that_are_no_chain() {
        let chain: Vec<Image> = [4, 2, 1].map(|size| picture(size, 4)).to_vec();
        let mips = OutputOptions { mips: true, ..OutputOptions::default() };
        encode(&chain, &mips, OutputFormat::Dds).unwrap();
        for (pictures, options) in [
            (&chain[..], OutputOptions::default()),
            (&chain[..2], mips),
            (&chain[1..2], mips),
            (&[], mips),
            (&[], OutputOptions::default()),
        ] {
            let error = encode(pictures, &options, OutputFormat::Dds).unwrap_err();
            assert!(matches!(&error, Error::Invalid(text) if text.contains("is allowed")), "{error}");
        }
    }
}
