//! OpenEXR: half floats in linear light.

use std::io::Cursor;

use exr::meta::attribute::Chromaticities;
use exr::meta::header::{ImageAttributes, LayerAttributes};
use exr::prelude::{Encoding, Image as ExrImage, SpecificChannels, Text, Vec2, WritableImage};
use half::f16;

use super::pixels_of;
use crate::VERSION;
use crate::pixels::{Image, PixelFormat};
use crate::support::error::{Error, Result};
use crate::support::memory::with_room;

/// Red, green, blue and white of sRGB (ITU-R BT.709).
const SRGB: Chromaticities =
    Chromaticities { red: Vec2(0.64, 0.33), green: Vec2(0.3, 0.6), blue: Vec2(0.15, 0.06), white: Vec2(0.3127, 0.329) };
/// What the encoder allocates for any picture.
const WORKING_MEMORY: usize = 2 << 20;

/// The bytes of an OpenEXR file: channels A (if the model has alpha), B, G, R of half floats, colour premultiplied.
pub(super) fn encode(image: &Image, scale: u32) -> Result<Vec<u8>> {
    let (side, pixels) = pixels_of(image, PixelFormat::Rgba16FLinearPremultiplied, scale)?;
    // The crate allocates infallibly: samples, blocks and the file.
    let room = pixels.len().saturating_mul(3).saturating_add(WORKING_MEMORY);
    let side = side as usize;
    let halves = |at: Vec2<usize>| {
        let pixel = &pixels[8 * (at.y() * side + at.x())..][..8];
        [0, 2, 4, 6].map(|byte| f16::from_ne_bytes([pixel[byte], pixel[byte + 1]]))
    };
    let size = Vec2(side, side);
    let mut bytes = Cursor::new(Vec::new());
    let written = with_room("a picture", room, || {
        if image.has_alpha() {
            let channels = SpecificChannels::rgba(|at| <(f16, f16, f16, f16)>::from(halves(at)));
            let mut image = ExrImage::from_encoded_channels(size, Encoding::SMALL_LOSSLESS, channels);
            describe(&mut image.attributes, &mut image.layer_data.attributes);
            image.write().non_parallel().to_buffered(&mut bytes)
        } else {
            let channels = SpecificChannels::rgb(|at| {
                let [r, g, b, _] = halves(at);
                (r, g, b)
            });
            let mut image = ExrImage::from_encoded_channels(size, Encoding::SMALL_LOSSLESS, channels);
            describe(&mut image.attributes, &mut image.layer_data.attributes);
            image.write().non_parallel().to_buffered(&mut bytes)
        }
    })?;
    written.map_err(|error| Error::Internal(format!("writing OpenEXR to memory: {error}")))?;
    Ok(bytes.into_inner())
}

/// Says what the colours are, and who wrote the file.
fn describe(image: &mut ImageAttributes, layer: &mut LayerAttributes) {
    image.chromaticities = Some(SRGB);
    layer.software_name = Text::new_or_none(format!("libdetailflow {VERSION}"));
}

#[cfg(test)]
mod tests {
    use exr::prelude::{FlatSamples, ReadChannels, ReadLayers, read};

    use super::super::tests::picture;
    use super::*;

    #[test]
    fn samples_and_attributes_are_read_back() {
        for (channels, scale) in [(3, 1), (4, 1), (4, 2)] {
            let image = picture(20, channels);
            let file = encode(&image, scale).unwrap();
            assert_eq!(file, encode(&image, scale).unwrap());
            let read =
                read().no_deep_data().largest_resolution_level().all_channels().first_valid_layer().all_attributes();
            let found = read.from_buffered(Cursor::new(&file)).unwrap();
            assert_eq!(found.attributes.chromaticities, Some(SRGB));
            let layer = &found.layer_data;
            assert!(layer.attributes.software_name.as_ref().unwrap().to_string().starts_with("libdetailflow "));
            let side = 20 * scale as usize;
            assert_eq!((layer.size, layer.encoding.compression), (Vec2(side, side), exr::prelude::Compression::ZIP16));
            let names: Vec<String> = layer.channel_data.list.iter().map(|channel| channel.name.to_string()).collect();
            assert_eq!(names, if channels == 4 { &["A", "B", "G", "R"][..] } else { &["B", "G", "R"][..] });
            let format = PixelFormat::Rgba16FLinearPremultiplied;
            let (_, wanted) = pixels_of(&image, format, scale).unwrap();
            for channel in &layer.channel_data.list {
                let place = "RGBA".find(&channel.name.to_string()).unwrap();
                let FlatSamples::F16(samples) = &channel.sample_data else { panic!("not half floats") };
                for (sample, pixel) in samples.iter().zip(wanted.chunks(8)) {
                    assert_eq!(sample.to_ne_bytes(), pixel[2 * place..][..2]);
                }
            }
        }
    }
}
