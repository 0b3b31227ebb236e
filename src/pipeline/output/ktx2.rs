//! KTX 2.0: the container of Khronos, for Vulkan, OpenGL, WebGPU and glTF.

use super::texture::Texture;
use super::{AlphaMode, file};
use crate::VERSION;
use crate::support::error::Result;

const IDENTIFIER: [u8; 12] = *b"\xABKTX 20\xBB\r\n\x1A\n";
/// Bytes of the identifier, the header and the index.
const HEADER: usize = 12 + 9 * 4 + 4 * 4 + 2 * 8;
/// Bytes of the place of a level.
const PLACE: usize = 3 * 8;

const VK_FORMAT_R8G8B8A8_SRGB: u32 = 43;
const VK_FORMAT_BC7_SRGB_BLOCK: u32 = 146;

// The basic descriptor block of the Khronos Data Format.
const VERSION_1_3: u32 = 2;
const MODEL_RGBSDA: u32 = 1;
const MODEL_BC7: u32 = 134;
const PRIMARIES_BT709: u32 = 1;
const TRANSFER_SRGB: u32 = 2;
const ALPHA_PREMULTIPLIED: u32 = 1;
const CHANNEL_ALPHA: u32 = 15;
/// Qualifier of a sample: not encoded by the transfer function.
const LINEAR: u32 = 0x10;

/// The bytes of a KTX2 file. The index names levels from the largest on; their bytes lie from the smallest on.
pub(super) fn encode(texture: &Texture) -> Result<Vec<u8>> {
    let levels = texture.levels.len();
    let format = descriptor(texture);
    let values = key_values();
    let format_at = HEADER + PLACE * levels;
    let values_at = format_at + 4 * format.len();
    // The least common multiple of 4 and the bytes of a block.
    let alignment: usize = if texture.compressed { 16 } else { 4 };
    let start = (values_at + values.len()).next_multiple_of(alignment);
    // Of each level, the largest first: where it begins. Every level is a multiple of the alignment.
    let after = |level: usize| texture.levels[level + 1..].iter().map(Vec::len).sum::<usize>();
    let mut bytes = file(start.saturating_add(texture.bytes()))?;
    bytes.extend(IDENTIFIER);
    let vk_format = if texture.compressed { VK_FORMAT_BC7_SRGB_BLOCK } else { VK_FORMAT_R8G8B8A8_SRGB };
    let side = texture.side;
    // Type size, width, height, depth, layers, faces, levels, supercompression.
    let mut put = |numbers: &[u32]| numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    put(&[vk_format, 1, side, side, 0, 0, 1, levels as u32, 0]);
    put(&[format_at, 4 * format.len(), values_at, values.len()].map(|number| number as u32));
    // No supercompression data.
    put(&[0; 4]);
    for (at, level) in texture.levels.iter().enumerate() {
        let length = level.len() as u64;
        [(start + after(at)) as u64, length, length].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    }
    format.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend(values);
    bytes.extend(std::iter::repeat_n(0, start - bytes.len()));
    texture.levels.iter().rev().for_each(|level| bytes.extend_from_slice(level));
    Ok(bytes)
}

/// The data format descriptor.
fn descriptor(texture: &Texture) -> Vec<u32> {
    let (model, block, plane) = if texture.compressed { (MODEL_BC7, 0x0303, 16) } else { (MODEL_RGBSDA, 0, 4) };
    // First bit, bits less one, channel with qualifiers; then the position, the lowest and the highest value.
    let sample = |bit: u32, bits: u32, channel: u32, highest| [bit | (bits - 1) << 16 | channel << 24, 0, 0, highest];
    let samples = if texture.compressed {
        sample(0, 128, 0, u32::MAX).to_vec()
    } else {
        let channels = [0, 1, 2, CHANNEL_ALPHA | LINEAR];
        (0..4).zip(channels).flat_map(|(at, channel)| sample(8 * at, 8, channel, 255)).collect()
    };
    let flags = if texture.alpha == Some(AlphaMode::Premultiplied) { ALPHA_PREMULTIPLIED } else { 0 };
    let size = 24 + 4 * samples.len() as u32;
    let mut words = vec![size + 4, 0, VERSION_1_3 | size << 16];
    words.push(model | PRIMARIES_BT709 << 8 | TRANSFER_SRGB << 16 | flags << 24);
    words.extend([block, plane, 0]);
    words.extend(samples);
    words
}

/// Key and value pairs, ordered by key.
fn key_values() -> Vec<u8> {
    let mut bytes = Vec::new();
    // The first row is the upper one.
    for (key, value) in [("KTXorientation", "rd".to_owned()), ("KTXwriter", format!("libdetailflow {VERSION}"))] {
        let pair = format!("{key}\0{value}\0");
        bytes.extend((pair.len() as u32).to_le_bytes());
        bytes.extend(pair.as_bytes());
        bytes.extend(std::iter::repeat_n(0, bytes.len().next_multiple_of(4) - bytes.len()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chain, number};
    use super::super::{Compression, OutputFormat, OutputOptions, encode};
    use super::*;

    #[test]
    fn fields_and_levels_are_read_back() {
        for (compression, mips, alpha) in [
            (Compression::None, true, AlphaMode::Straight),
            (Compression::None, false, AlphaMode::Premultiplied),
            (Compression::Bc7, true, AlphaMode::Premultiplied),
            (Compression::Bc7, false, AlphaMode::Straight),
        ] {
            let options = OutputOptions { alpha, mips, compression, scale: 1 };
            let pictures = chain(20, 4, mips);
            let file = encode(&pictures, &options, OutputFormat::Ktx2).unwrap();
            let at = |offset: usize| number(&file, offset) as usize;
            assert_eq!(file[..12], [0xAB, 0x4B, 0x54, 0x58, 0x20, 0x32, 0x30, 0xBB, 0x0D, 0x0A, 0x1A, 0x0A]);
            let bc7 = compression == Compression::Bc7;
            let wanted = super::super::texture::texture(&pictures, &options).unwrap().levels;
            let header = [12, 16, 20, 24, 28, 32, 36, 40, 44].map(at);
            assert_eq!(header, [if bc7 { 146 } else { 43 }, 1, 20, 20, 0, 0, 1, wanted.len(), 0]);
            // The descriptor follows the index, and the key-value pairs follow it.
            let [dfd, dfd_length, kvd, kvd_length] = [48, 52, 56, 60].map(at);
            assert_eq!((dfd, dfd_length), (80 + 24 * wanted.len(), if bc7 { 44 } else { 92 }));
            assert_eq!((kvd, file[64..80].to_vec()), (dfd + dfd_length, vec![0; 16]));
            let total = at(dfd);
            assert_eq!((total, at(dfd + 4), at(dfd + 8)), (dfd_length, 0, 2 | (dfd_length - 4) << 16));
            let flags = usize::from(alpha == AlphaMode::Premultiplied);
            assert_eq!(at(dfd + 12), if bc7 { 134 } else { 1 } | 1 << 8 | 2 << 16 | flags << 24);
            assert_eq!((at(dfd + 16), at(dfd + 20)), if bc7 { (0x0303, 16) } else { (0, 4) });
            let samples: Vec<[usize; 4]> = (dfd + 28..dfd + total)
                .step_by(16)
                .map(|sample| [0, 4, 8, 12].map(|field| at(sample + field)))
                .collect();
            if bc7 {
                assert_eq!(samples, [[127 << 16, 0, 0, u32::MAX as usize]]);
            } else {
                let sample = |bit: usize, channel: usize| [bit | 7 << 16 | channel << 24, 0, 0, 255];
                assert_eq!(samples, [sample(0, 0), sample(8, 1), sample(16, 2), sample(24, 0x1F)]);
            }
            let pairs = String::from_utf8_lossy(&file[kvd..kvd + kvd_length]).into_owned();
            let orientation = pairs.find("KTXorientation\0rd\0").unwrap();
            assert!(orientation == 4 && at(kvd) == 18 && kvd_length % 4 == 0, "{pairs:?}");
            assert!(pairs.find("KTXwriter\0libdetailflow ").unwrap() > orientation, "keys are sorted");
            // Levels from the smallest on, each aligned, without gaps, to the end of the file.
            let mut end = file.len();
            for (level, wanted) in wanted.iter().enumerate() {
                let [offset, length, uncompressed] = [0, 8, 16].map(|field| at(80 + 24 * level + field));
                assert_eq!((offset + length, length), (end, uncompressed), "level {level}");
                assert!(offset % if bc7 { 16 } else { 4 } == 0 && file[offset..end] == wanted[..], "level {level}");
                end = offset;
            }
            assert!(end - (kvd + kvd_length) < 16 && file[kvd + kvd_length..end].iter().all(|&byte| byte == 0));
        }
    }
}
