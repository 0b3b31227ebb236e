//! DDS: the container of Direct3D, with the DX10 header, which names sRGB formats and the alpha mode.

use super::texture::Texture;
use super::{AlphaMode, file};
use crate::support::error::Result;

/// Bytes before the levels: the magic, the header and the DX10 header.
const HEADER: usize = 4 + 124 + 20;

// DDS_HEADER.dwFlags.
const CAPS_HEIGHT_WIDTH_FORMAT: u32 = 0x1 | 0x2 | 0x4 | 0x1000;
const PITCH: u32 = 0x8;
const MIPMAP_COUNT: u32 = 0x2_0000;
const LINEAR_SIZE: u32 = 0x8_0000;
/// DDS_PIXELFORMAT.dwFlags: the format is a FourCC.
const FOUR_CC: u32 = 0x4;
// DDS_HEADER.dwCaps.
const TEXTURE: u32 = 0x1000;
const COMPLEX_MIPMAP: u32 = 0x8 | 0x40_0000;
const DXGI_FORMAT_R8G8B8A8_UNORM_SRGB: u32 = 29;
const DXGI_FORMAT_BC7_UNORM_SRGB: u32 = 99;
const DIMENSION_TEXTURE2D: u32 = 3;
// DDS_ALPHA_MODE.
const STRAIGHT: u32 = 1;
const PREMULTIPLIED: u32 = 2;
const OPAQUE: u32 = 3;

/// The bytes of a DDS file: levels from the largest to the smallest.
pub(super) fn encode(texture: &Texture) -> Result<Vec<u8>> {
    let Texture { side, compressed, alpha, levels } = texture;
    let (mips, largest) = (levels.len() as u32, levels[0].len() as u32);
    // Of a compressed texture the bytes of the first level, of another those of its rows.
    let (size_flag, size) = if *compressed { (LINEAR_SIZE, largest) } else { (PITCH, 4 * side) };
    let (mip_flag, mip_caps) = if mips > 1 { (MIPMAP_COUNT, COMPLEX_MIPMAP) } else { (0, 0) };
    let alpha = match alpha {
        Some(AlphaMode::Straight) => STRAIGHT,
        Some(AlphaMode::Premultiplied) => PREMULTIPLIED,
        None => OPAQUE,
    };
    let format = if *compressed { DXGI_FORMAT_BC7_UNORM_SRGB } else { DXGI_FORMAT_R8G8B8A8_UNORM_SRGB };
    let mut bytes = file(HEADER.saturating_add(texture.bytes()))?;
    let mut put = |numbers: &[u32]| numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    put(&[
        u32::from_le_bytes(*b"DDS "),
        124,
        CAPS_HEIGHT_WIDTH_FORMAT | size_flag | mip_flag,
        *side,
        *side,
        size,
        0,
        mips,
    ]);
    put(&[0; 11]);
    put(&[32, FOUR_CC, u32::from_le_bytes(*b"DX10"), 0, 0, 0, 0, 0]);
    put(&[TEXTURE | mip_caps, 0, 0, 0, 0]);
    put(&[format, DIMENSION_TEXTURE2D, 0, 1, alpha]);
    levels.iter().for_each(|level| bytes.extend_from_slice(level));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chain, number};
    use super::super::{Compression, OutputFormat, OutputOptions, encode};
    use super::*;

    #[test]
    fn fields_and_levels_are_read_back() {
        for (compression, mips, alpha, channels) in [
            (Compression::None, true, AlphaMode::Straight, 4),
            (Compression::None, false, AlphaMode::Premultiplied, 4),
            (Compression::Bc7, true, AlphaMode::Premultiplied, 4),
            (Compression::Bc7, false, AlphaMode::Straight, 3),
        ] {
            let options = OutputOptions { alpha, mips, compression, scale: 2 };
            let pictures = chain(12, channels, mips);
            let file = encode(&pictures, &options, OutputFormat::Dds).unwrap();
            let at = |offset: usize| number(&file, offset);
            assert_eq!((&file[..4], at(4), at(76), &file[84..88]), (&b"DDS "[..], 124, 32, &b"DX10"[..]));
            let bc7 = compression == Compression::Bc7;
            let sizes: &[u32] = if mips { &[24, 12, 6, 3, 1] } else { &[24] };
            assert_eq!((at(12), at(16), at(28)), (24, 24, sizes.len() as u32));
            assert_eq!(at(20), if bc7 { 24 * 24 } else { 24 * 4 }, "pitch or linear size");
            assert_eq!(at(8) & 0xA_0008, if mips { 0x2_0000 } else { 0 } | if bc7 { 0x8_0000 } else { 8 });
            assert_eq!(at(108), if mips { 0x40_1008 } else { 0x1000 });
            let mode = if channels == 3 { 3 } else { 1 + u32::from(alpha == AlphaMode::Premultiplied) };
            assert_eq!([128, 132, 136, 140, 144].map(at), [if bc7 { 99 } else { 29 }, 3, 0, 1, mode]);
            let bytes = |size: u32| if bc7 { size.div_ceil(4).pow(2) * 16 } else { size * size * 4 };
            assert_eq!(file.len(), 148 + sizes.iter().map(|&size| bytes(size) as usize).sum::<usize>());
            let levels = super::super::texture::texture(&pictures, &options).unwrap().levels;
            assert!(file[148..] == levels.concat());
        }
    }
}
