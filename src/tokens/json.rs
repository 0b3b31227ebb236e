//! The tokens of one or more pictures as JSON, with the ID of their tokenizer.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::support::error::{Error, Result};
use crate::support::files::{read, write_file};
use crate::support::text::without_mark;

const FORMAT: u32 = 1;
/// The most bytes of a file: some million pictures; .dftpack holds more.
const LARGEST: u64 = 256 << 20;

/// `{"format": 1, "bundle": TOKENIZER-ID, "images": [{"class": NAME OR INDEX, "seed": …, "tokens": […]}]}`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenFile {
    format: u32,
    /// The tokenizer ID of the bundle that made the tokens, 16 hex digits.
    pub bundle: String,
    /// The pictures, in order.
    pub images: Vec<TokenImage>,
}

/// The tokens of one picture, and its class and seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenImage {
    /// Name or index of the class, as [`Bundle::class`](crate::Bundle::class) takes it; `None` for a picture that was encoded.
    /// A file may have the index as a number.
    #[serde(default, deserialize_with = "class")]
    pub class: Option<String>,
    /// The seed; `None` for a picture that was encoded.
    pub seed: Option<u64>,
    /// The tokens, coarse to fine: all N of them, or a prefix.
    pub tokens: Vec<u32>,
}

/// Reads a class: a name, or an index as a number.
fn class<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "the class must be a name, an index from 0 to 4294967295, or null")]
    enum Class {
        Index(u32),
        Name(String),
    }
    Ok(Option::<Class>::deserialize(from)?.map(|class| match class {
        Class::Index(index) => index.to_string(),
        Class::Name(name) => name,
    }))
}

impl TokenFile {
    /// A file of these pictures, whose tokens belong to the tokenizer `tokenizer_id` (16 hex digits).
    #[must_use]
    pub fn new(tokenizer_id: impl Into<String>, images: Vec<TokenImage>) -> Self {
        Self { format: FORMAT, bundle: tokenizer_id.into(), images }
    }

    /// Writes the file `path` atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut text = serde_json::to_string(self).expect("strings and numbers always serialize");
        text.push('\n');
        write_file(path.as_ref(), text.as_bytes())
    }

    /// Reads the file `path`. Whether the tokens fit a model is checked when they are decoded.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], or [`Error::Format`] if it is not a token file or has another format version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read(path, LARGEST)?;
        let refuse = |error: serde_json::Error| Error::format(path, format!("not a token file: {error}"));
        let bytes =
            without_mark(&bytes).map_err(|reason| Error::format(path, format!("not a token file: {reason}")))?;
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(refuse)?;
        match value.get("format") {
            Some(format) if format.as_u64() == Some(u64::from(FORMAT)) => serde_path_to_error::deserialize(value)
                .map_err(|error| Error::format(path, format!("not a token file: {}: {}", error.path(), error.inner()))),
            Some(format) => {
                Err(Error::format(path, format!("token file of format {format}; this version reads format {FORMAT}")))
            }
            None => Err(Error::format(path, "not a token file: it has no \"format\"")),
        }
    }
}
