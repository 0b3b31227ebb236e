//! Text chunks of PNG files: put into a file that was encoded, and read.

use crate::support::crc32::Crc32;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Bytes of a chunk without its content: length, type, CRC.
const FRAME: usize = 12;
/// Where the first chunk ends, IHDR, which has 13 bytes.
const AFTER_HEADER: usize = 8 + FRAME + 13;

/// Whether bytes are the start of a PNG file.
pub(super) fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
}

/// A text for a chunk.
pub(super) enum PngText<'a> {
    /// tEXt: keyword and text, both of ASCII.
    Ascii(&'a str, &'a str),
    /// iTXt, uncompressed, without a language: keyword of ASCII, and text.
    Utf8(&'a str, &'a str),
}

impl PngText<'_> {
    /// Type and content of the chunk, in parts.
    fn parts(&self) -> [&[u8]; 4] {
        match self {
            Self::Ascii(keyword, text) => [b"tEXt", keyword.as_bytes(), b"\0", text.as_bytes()],
            // The end of the keyword, not compressed, by method 0, no language, no translated keyword.
            Self::Utf8(keyword, text) => [b"iTXt", keyword.as_bytes(), b"\0\0\0\0\0", text.as_bytes()],
        }
    }
}

/// A copy of a PNG file with text chunks after its first chunk, IHDR.
///
/// # Errors
/// [`Error::Invalid`] if the bytes are no PNG file, or a text is longer than a chunk; [`Error::OutOfMemory`].
pub(super) fn with_texts(png: &[u8], texts: &[PngText<'_>]) -> Result<Vec<u8>> {
    let no_png = || Error::Invalid("the bytes to put texts into are not a PNG file".into());
    let (start, rest) = png.split_at_checked(AFTER_HEADER).filter(|_| is_png(png)).ok_or_else(no_png)?;
    let length = |parts: &[&[u8]]| parts[1..].iter().map(|part| part.len()).sum::<usize>();
    let added: usize = texts.iter().map(|text| length(&text.parts()) + FRAME).sum();
    let mut file = reserve("a picture file", png.len().saturating_add(added))?;
    file.extend_from_slice(start);
    for text in texts {
        let parts = text.parts();
        let length = i32::try_from(length(&parts));
        let length = length.map_err(|_| Error::Invalid("a text is longer than a chunk of a PNG file".into()))?;
        file.extend(length.to_be_bytes());
        let mut crc = Crc32::new();
        for part in parts {
            crc.update(part);
            file.extend_from_slice(part);
        }
        file.extend(crc.value().to_be_bytes());
    }
    file.extend_from_slice(rest);
    Ok(file)
}

/// The text of the first chunk with this keyword, tEXt or uncompressed iTXt; `None` if there is none.
///
/// # Errors
/// What is wrong with the file: it is cut off, or a chunk of a text is damaged.
pub(super) fn text<'a>(png: &'a [u8], keyword: &str) -> Result<Option<&'a str>, String> {
    let mut rest = png.get(SIGNATURE.len()..).unwrap_or_default();
    loop {
        let cut = || "the file is cut off: it ends within a chunk".to_owned();
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (kind, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (content, after) = after.split_at_checked(length).ok_or_else(cut)?;
        let (stored, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        rest = after;
        if kind == b"IEND" {
            return Ok(None);
        }
        let Some(text) = content_of(kind, content, keyword) else { continue };
        let mut crc = Crc32::new();
        crc.update(kind);
        crc.update(content);
        if crc.value().to_be_bytes() != *stored {
            return Err(format!("the chunk \"{keyword}\" is damaged: its CRC does not match"));
        }
        return std::str::from_utf8(text).map(Some).map_err(|_| format!("the chunk \"{keyword}\" is not UTF-8"));
    }
}

/// The text of a chunk, if it is one of text with this keyword.
fn content_of<'a>(kind: &[u8; 4], content: &'a [u8], keyword: &str) -> Option<&'a [u8]> {
    let after = content.strip_prefix(keyword.as_bytes())?.strip_prefix(b"\0")?;
    match kind {
        b"tEXt" => Some(after),
        b"iTXt" => {
            // Not compressed; then language and translated keyword, each up to a zero.
            let mut parts = after.strip_prefix(b"\0\0")?.splitn(3, |&byte| byte == 0);
            parts.nth(2)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::{FileFormat, PixelFormat, encode};

    fn png() -> Vec<u8> {
        encode(FileFormat::Png, 2, 1, PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6], 6).unwrap()
    }

    #[test]
    fn texts_are_read_back_and_pixels_stay() {
        let texts =
            [PngText::Ascii("Software", "a b"), PngText::Utf8("a-key", "größer\n"), PngText::Ascii("empty", "")];
        let file = with_texts(&png(), &texts).unwrap();
        assert_eq!(text(&file, "Software"), Ok(Some("a b")));
        assert_eq!(text(&file, "a-key"), Ok(Some("größer\n")));
        assert_eq!(text(&file, "empty"), Ok(Some("")));
        assert_eq!(text(&file, "a"), Ok(None));
        // By the crate that everybody uses.
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        let info = reader.info();
        let latin: Vec<_> = info.uncompressed_latin1_text.iter().map(|t| (&t.keyword[..], &t.text[..])).collect();
        assert_eq!(latin, [("Software", "a b"), ("empty", "")]);
        assert_eq!(info.utf8_text[0].keyword, "a-key");
        assert_eq!(info.utf8_text[0].get_text().unwrap(), "größer\n");
        let mut pixels = [0; 6];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn damaged_files_are_refused() {
        assert!(with_texts(b"\x89PNG\r\n\x1a\n", &[]).is_err());
        assert!(with_texts(&[0; 100], &[]).is_err());
        let file = with_texts(&png(), &[PngText::Ascii("key", "value")]).unwrap();
        let at = file.windows(5).position(|bytes| bytes == b"value").unwrap();
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert!(text(&damaged, "key").unwrap_err().contains("CRC"));
        for length in 8..file.len() - 12 {
            let found = text(&file[..length], "other");
            assert!(found.unwrap_err().contains("cut off"), "{length} bytes");
        }
        damaged[33] = 0xFF;
        assert!(text(&damaged, "key").unwrap_err().contains("cut off"));
    }
}
