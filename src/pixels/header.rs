//! What the headers of picture files promise, read before a decoder may believe it: the sizes of frames that are not those
//! of the picture, lengths of values, the end of the file. Pure functions of the file's bytes.

/// The signature of PNG files.
pub(super) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Reads numbers at positions of a file.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    bytes: &'a [u8],
    little: bool,
}

impl Bytes<'_> {
    fn number(self, at: u64, count: usize) -> Option<u64> {
        let bytes = self.bytes.get(usize::try_from(at).ok()?..)?.get(..count)?;
        let number = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
        Some(if self.little { bytes.iter().rev().fold(0, number) } else { bytes.iter().fold(0, number) })
    }
}

/// Width and height of the first frame of a GIF, if there is one: the decoder allocates it, whatever the screen's size.
pub(super) fn gif_frame(bytes: &[u8]) -> Option<(u32, u32)> {
    let file = Bytes { bytes, little: true };
    let skip_table = |at: usize, flags: u8| if flags & 0x80 == 0 { at } else { at + (6 << (flags & 7)) };
    let mut at = skip_table(13, *bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            // An extension: a label and blocks, up to an empty one.
            0x21 => {
                at += 2;
                loop {
                    let length = usize::from(*bytes.get(at)?);
                    at += 1 + length;
                    if length == 0 {
                        break;
                    }
                }
            }
            0x2c => return Some((file.number(at as u64 + 5, 2)? as u32, file.number(at as u64 + 7, 2)? as u32)),
            _ => return None,
        }
    }
}

/// Checks the first directory of a TIFF: no value may be longer than the file, and what the decoder takes for numbers must
/// not be text, which the decoder prints when it is too long.
pub(super) fn check_tiff(bytes: &[u8]) -> Result<(), String> {
    const TEXT: u64 = 2;
    // Bytes of a value, by its type.
    const SIZES: [u64; 19] = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8];
    let file = Bytes { bytes, little: bytes.starts_with(b"II") };
    let walk = || {
        let big = file.number(2, 2)? == 43;
        let directory = if big { file.number(8, 8)? } else { file.number(4, 4)? };
        let (entries, first, length) = if big {
            (file.number(directory, 8)?, directory.checked_add(8)?, 20)
        } else {
            (file.number(directory, 2)?, directory.checked_add(2)?, 12)
        };
        for index in 0..entries {
            let at = index.checked_mul(length)?.checked_add(first)?;
            let (tag, kind) = (file.number(at, 2)?, file.number(at + 2, 2)?);
            let count = if big { file.number(at + 4, 8)? } else { file.number(at + 4, 4)? };
            let size = SIZES.get(kind as usize).copied().unwrap_or(0);
            if count.saturating_mul(size) > bytes.len() as u64 {
                return Some(Err(format!("the TIFF tag {tag} has {count} values, more than fit into the file")));
            }
            let number = matches!(tag, 256..=259 | 262 | 266 | 273 | 274 | 277..=279 | 284 | 317 | 320..=325 | 330 | 338 | 339 | 530..=532);
            if number && kind == TEXT {
                return Some(Err(format!("the TIFF tag {tag} is text instead of a number")));
            }
        }
        Some(Ok(()))
    };
    // A directory that ends with the file is for the decoder to refuse.
    walk().unwrap_or(Ok(()))
}

/// The chunks of a WebP file: their names and contents, up to one that does not fit into the file.
fn webp_chunks(bytes: &[u8], mut at: usize) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    std::iter::from_fn(move || {
        let name = bytes.get(at..at.checked_add(4)?)?;
        let length = Bytes { bytes, little: true }.number(at as u64 + 4, 4)? as usize;
        let content = bytes.get(at + 8..)?;
        at = at.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
        Some((name, content.get(..length)))
    })
}

/// Whether every chunk of a WebP lies within the file: those with metadata are allocated before they are read.
pub(super) fn webp_is_whole(bytes: &[u8]) -> bool {
    webp_chunks(bytes, 12).all(|(_, content)| content.is_some())
}

/// The largest of the sizes that bitstreams of a WebP's first frame give for themselves.
pub(super) fn webp_frame(bytes: &[u8]) -> (u32, u32) {
    fn frame(name: &[u8], content: &[u8]) -> Option<(u32, u32)> {
        let file = Bytes { bytes: content, little: true };
        match name {
            b"VP8 " => Some((file.number(6, 2)? as u32 & 0x3fff, file.number(8, 2)? as u32 & 0x3fff)),
            b"VP8L" => {
                let sides = file.number(1, 4)? as u32;
                Some(((sides & 0x3fff) + 1, (sides >> 14 & 0x3fff) + 1))
            }
            b"ANMF" => webp_chunks(content, 16).find_map(|(name, content)| frame(name, content?)),
            _ => None,
        }
    }
    // A chunk that is cut off has its sizes at the start all the same.
    let mut at = 12;
    let mut largest = (0, 0);
    for (name, content) in webp_chunks(bytes, 12) {
        let rest = bytes.get(at + 8..).unwrap_or_default();
        if let Some((width, height)) = frame(name, content.unwrap_or(rest)) {
            largest = (largest.0.max(width), largest.1.max(height));
        }
        let Some(content) = content else { break };
        at += 8 + content.len() + content.len() % 2;
        if name == b"ANMF" {
            break;
        }
    }
    largest
}

/// The PNG in an ICO file that the decoder would choose, with the sides that the directory says; none if it is not a PNG.
pub(super) fn ico_png(bytes: &[u8]) -> Option<(&[u8], (u32, u32))> {
    let file = Bytes { bytes, little: true };
    let side = |at: u64| file.number(at, 1).map(|side| if side == 0 { 256 } else { side as u32 });
    type Entry = ((u64, u32), (u32, u32), u64);
    let mut best: Option<Entry> = None;
    // The last of the directory counts first.
    let count = file.number(4, 2)?;
    for index in std::iter::once(count.checked_sub(1)?).chain(0..count - 1) {
        let at = 6 + 16 * index;
        let (width, height) = (side(at)?, side(at + 1)?);
        let score = (file.number(at + 6, 2)?, width * height);
        if best.is_none_or(|(found, ..)| score > found) {
            best = Some((score, (width, height), file.number(at + 12, 4)?));
        }
    }
    let (_, sides, offset) = best?;
    let picture = bytes.get(offset as usize..)?;
    picture.starts_with(PNG).then_some((picture, sides))
}

/// Whether a JPEG has its end marker: without it the file was cut off, even where all rows are there.
pub(super) fn jpeg_has_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2;
    loop {
        // The next marker. Between segments, and in the data of a scan, FF 00 stands for a byte FF.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xff)) else {
            return false;
        };
        at += found;
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let Some(&marker) = bytes.get(at) else { return false };
        at += 1;
        match marker {
            END => return true,
            // No segment follows: stuffing, TEM, restart markers, another start.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => match (Bytes { bytes, little: false }).number(at as u64, 2) {
                Some(length) => at += length as usize,
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_end_is_found_behind_thumbnails_and_stuffing() {
        // An APP1 segment that holds a whole JPEG, a scan with a stuffed byte and a restart marker.
        let whole = b"\xff\xd8\xff\xe1\x00\x08\xff\xd8\xff\xd9__\xff\xda\x00\x03_12\xff\x003\xff\xd04\xff\xd9";
        assert!(jpeg_has_end(whole));
        assert!(jpeg_has_end(&[whole, &b"more"[..]].concat()));
        for end in 0..whole.len() - 1 {
            assert!(!jpeg_has_end(&whole[..end]), "{end}");
        }
    }

    #[test]
    fn headers_cut_at_any_byte_are_read_without_panic() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        for start in [
            &b"GIF89a"[..],
            b"II*\0",
            b"MM\0*",
            b"II+\0\x08\0\0\0",
            b"RIFF____WEBPVP8X",
            b"\0\0\x01\0\xff\xff",
            b"\xff\xd8",
        ] {
            for length in 0..200 {
                let bytes: Vec<u8> =
                    start.iter().copied().chain(std::iter::repeat_with(&mut random)).take(length).collect();
                let _ = (gif_frame(&bytes), check_tiff(&bytes), webp_is_whole(&bytes), webp_frame(&bytes));
                let _ = (ico_png(&bytes), jpeg_has_end(&bytes));
            }
        }
    }
}
