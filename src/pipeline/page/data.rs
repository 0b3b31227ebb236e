//! What a page knows of its pictures, as JSON within its text: a short list for each picture, with what they share once.

use std::collections::HashMap;

use serde::Serialize;

use super::Item;
use super::sheets::Level;
use crate::support::error::{Error, Result};

/// Pictures in one part of the data. The page parses a part at a time, so that it answers in between.
pub(super) const PART: u64 = 250;

/// Texts that many pictures share, in the order in which they came first.
#[derive(Default)]
struct Dictionary {
    texts: Vec<String>,
    places: HashMap<String, usize>,
}

impl Dictionary {
    fn place(&mut self, text: &str) -> usize {
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        let place = self.texts.len();
        self.texts.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

impl Serialize for Dictionary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.texts.serialize(serializer)
    }
}

/// What the pictures of a page share.
#[derive(Default, Serialize)]
pub(super) struct Dictionaries {
    classes: Dictionary,
    tags: Dictionary,
    parameters: Dictionary,
}

/// The first part of the data.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    /// Identity of the job.
    pub job: &'a str,
    pub name: &'a str,
    /// Of all pages.
    pub pictures: u64,
    /// This page, from 1.
    pub page: u64,
    /// The file names of all pages.
    pub pages: Vec<String>,
    /// In the order in which they came first: bit 0 of a picture's levels is the first.
    pub levels: Vec<Level>,
    #[serde(flatten)]
    pub dictionaries: Dictionaries,
}

/// A picture: number, class, seed (text: it may have 64 bits), row, tags, parameters, levels, log-probability, tokens, files.
#[derive(Serialize)]
struct Line<'a>(u64, usize, String, u32, Vec<usize>, usize, u32, Option<f32>, String, &'a [(u32, String)]);

impl Dictionaries {
    /// The data of one picture, which has the thumbnails `shown`, a bit for each level.
    pub fn line(&mut self, item: &Item, shown: u32) -> Result<String> {
        let tags = item.tags.iter().map(|tag| self.tags.place(tag)).collect();
        script(&Line(
            item.number,
            self.classes.place(&item.class),
            item.seed.to_string(),
            item.row,
            tags,
            self.parameters.place(&item.parameters),
            shown,
            item.log_probability.filter(|value| value.is_finite()),
            tokens(&item.tokens),
            &item.files,
        ))
    }
}

/// JSON that may stand in a script element: nothing in it ends the element.
pub(super) fn script(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::Internal(format!("the page: {error}")))?;
    // It can stand in texts only, where this means the same.
    Ok(text.replace('<', "\\u003c"))
}

/// Text as HTML.
pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Tokens as base64 of LEB128: 7 bits a byte, the low ones first, the high bit of a byte set where more follow.
fn tokens(tokens: &[u32]) -> String {
    let mut bytes = Vec::with_capacity(tokens.len() * 2);
    for &token in tokens {
        let mut rest = token;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    base64(&bytes)
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - part.len()));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= part.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_the_examples_of_the_rfc() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }

    #[test]
    fn tokens_are_seven_bits_a_byte() {
        assert_eq!(
            tokens(&[1, 127, 128, 4095, u32::MAX]),
            base64(&[1, 127, 0x80, 1, 0xff, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xf])
        );
    }

    #[test]
    fn script_keeps_text_within_its_element() {
        assert_eq!(script(&"</script><!--").unwrap(), r#""\u003c/script>\u003c!--""#);
        assert_eq!(html("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }
}
