//! Writing TGA: run-length encoded row by row, as the specification asks (packets that go on in the next row stop Pillow and
//! others), with the extension area of TGA 2.0.

use std::io::{Error, ErrorKind, Result, Write};

/// The largest side of a file.
pub(super) const LARGEST_SIDE: u32 = u16::MAX as u32;
/// Pixels of a packet, at most.
const LONGEST: usize = 128;
const EXTENSION: usize = 495;
/// Places in the extension area.
const SOFTWARE: usize = 426;
const GAMMA: usize = 478;
const ALPHA: usize = 494;
/// What the last byte of the extension area says of alpha: there is none; straight.
const NO_ALPHA: u8 = 0;
const STRAIGHT: u8 = 3;

/// Writes rows of pixels of `size` bytes, RGB or RGBA, from the upper one on. A side beyond [`LARGEST_SIDE`] is an error.
pub(super) fn write<'a>(
    writer: &mut impl Write,
    (width, height): (u32, u32),
    size: usize,
    rows: impl Iterator<Item = &'a [u8]>,
) -> Result<()> {
    let side = |side| u16::try_from(side).map(u16::to_le_bytes).map_err(|_| Error::from(ErrorKind::InvalidInput));
    let ([w, wide], [h, high]) = (side(width)?, side(height)?);
    let alpha = if size == 4 { 8 } else { 0 };
    // Run-length encoded true colour, no palette, the origin at the upper left.
    writer.write_all(&[0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, w, wide, h, high, 8 * size as u8, 0x20 | alpha])?;
    let mut end = 18u64;
    let mut packet = [0; 1 + 4 * LONGEST];
    for row in rows {
        let mut rest = row;
        while !rest.is_empty() {
            let (length, taken) = next_packet(rest, size, &mut packet);
            writer.write_all(&packet[..length])?;
            end += length as u64;
            rest = &rest[taken..];
        }
    }
    let mut extension = [0; EXTENSION];
    extension[..2].copy_from_slice(&(EXTENSION as u16).to_le_bytes());
    extension[SOFTWARE..][..13].copy_from_slice(b"libdetailflow");
    // Version 0 without a letter, which says that there is none.
    extension[SOFTWARE + 43] = b' ';
    // 2.2, the power that is nearest to sRGB.
    extension[GAMMA..][..4].copy_from_slice(&[22, 0, 10, 0]);
    extension[ALPHA] = if size == 4 { STRAIGHT } else { NO_ALPHA };
    // A file beyond 4 GiB has none: its place cannot be written.
    if let Ok(at) = u32::try_from(end) {
        writer.write_all(&extension)?;
        writer.write_all(&at.to_le_bytes())?;
        writer.write_all(b"\0\0\0\0TRUEVISION-XFILE.\0")?;
    }
    Ok(())
}

/// Encodes the first pixels of `rest` as one packet: its bytes, and how many bytes of pixels it has.
fn next_packet(rest: &[u8], size: usize, packet: &mut [u8; 1 + 4 * LONGEST]) -> (usize, usize) {
    let pixel = |at: usize| rest.get(at * size..(at + 1) * size);
    let same = |at: usize| pixel(at).is_some() && pixel(at) == pixel(at + 1);
    let mut count = 1;
    let repeats = same(0);
    if repeats {
        while count < LONGEST && same(count - 1) {
            count += 1;
        }
    } else {
        while count < LONGEST && pixel(count).is_some() && !same(count) {
            count += 1;
        }
    }
    let written = if repeats { 1 } else { count };
    packet[0] = (count - 1) as u8 | if repeats { 0x80 } else { 0 };
    let target = &mut packet[1..][..written * size];
    target.copy_from_slice(&rest[..written * size]);
    // Blue first.
    target.chunks_exact_mut(size).for_each(|pixel| pixel.swap(0, 2));
    (1 + written * size, count * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(width: usize, size: usize, pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let sides = (width as u32, (pixels.len() / width / size) as u32);
        write(&mut file, sides, size, pixels.chunks(width * size)).unwrap();
        file
    }

    /// The pixels of a file, by packets; none may go on in the next row.
    fn decoded(file: &[u8], width: usize, size: usize) -> Vec<u8> {
        let end = file.len() - 26 - EXTENSION;
        let (mut at, mut pixels) = (18, Vec::new());
        while at < end {
            let (count, repeats) = (usize::from(file[at] & 0x7F) + 1, file[at] & 0x80 != 0);
            let column = pixels.len() / size % width;
            assert!(column + count <= width, "a packet goes on in the next row");
            let held = if repeats { 1 } else { count };
            let mut packet = file[at + 1..][..held * size].to_vec();
            packet.chunks_mut(size).for_each(|pixel| pixel.swap(0, 2));
            (0..count / held).for_each(|_| pixels.extend(&packet));
            at += 1 + held * size;
        }
        assert_eq!(at, end);
        pixels
    }

    #[test]
    fn pixels_are_read_back() {
        for size in [3, 4] {
            for width in [1, 2, 7, 128, 129, 300] {
                let pixel = |at: usize| match at % 37 {
                    0..9 => [7, 8, 9, 255],
                    9..20 => [at as u8, 1, 2, 3],
                    _ => [(at / 150) as u8, 0, 0, 0],
                };
                let pixels: Vec<u8> = (0..width * 5).flat_map(|at| pixel(at)[..size].to_vec()).collect();
                let file = file(width, size, &pixels);
                assert_eq!(decoded(&file, width, size), pixels, "{width} px of {size} bytes");
                let picture = image::load_from_memory_with_format(&file, image::ImageFormat::Tga).unwrap();
                assert_eq!(picture.as_bytes(), pixels, "{width} px of {size} bytes");
            }
        }
    }

    #[test]
    fn extension_area_says_gamma_and_alpha() {
        for (size, alpha) in [(3, 0), (4, 3)] {
            let file = file(2, size, &[5; 16][..4 * size]);
            let (rest, footer) = file.split_at(file.len() - 26);
            assert_eq!(&footer[8..], b"TRUEVISION-XFILE.\0");
            let at = u32::from_le_bytes(footer[..4].try_into().unwrap()) as usize;
            assert_eq!(rest.len(), at + EXTENSION);
            assert_eq!((&rest[at..at + 2], &rest[at + GAMMA..][..4]), (&[0xEF, 1][..], &[22, 0, 10, 0][..]));
            assert_eq!((&rest[at + 426..at + 439], rest[at + ALPHA]), (&b"libdetailflow"[..], alpha));
        }
        assert!(write(&mut Vec::new(), (65_536, 1), 3, std::iter::empty()).is_err());
    }
}
