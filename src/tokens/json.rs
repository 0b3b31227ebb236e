//! The tokens of one or more pictures as JSON, with the ID of their tokenizer.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::support::error::{Error, Result};
use crate::support::files::{NewFile, read};
use crate::support::json::parse;
use crate::support::memory::reserve;

const FORMAT: u32 = 1;
/// Above the million images of one request; a longer file is refused. Packs hold more.
const LARGEST: u64 = 256 << 20;
/// Memory that parsing takes, in lengths of the text: at most, for a list of images without tokens while it grows.
const GROWTH: usize = 16;

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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TokenImage {
    /// Name or index of the class, as [`Bundle::class`](crate::Bundle::class) takes it; `None` for a picture that was encoded.
    /// A file may have the index as a number.
    #[serde(default, deserialize_with = "class")]
    pub class: Option<String>,
    /// The classes with their weights, of a picture of several, as [`Bundle::mix`](crate::Bundle::mix) takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<String>,
    /// The classes to avoid with their strengths, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<String>,
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
        let path = path.as_ref();
        let mut file = NewFile::create(path)?;
        let mut writer = BufWriter::new(file.file());
        let written = serde_json::to_writer(&mut writer, self).map_err(std::io::Error::from);
        written
            .and_then(|()| writer.write_all(b"\n"))
            .and_then(|()| writer.flush())
            .map_err(|error| Error::writing(path, error))?;
        drop(writer);
        file.finish()
    }

    /// Reads the file `path`, of at most 256 MiB. Whether the tokens fit a model is checked when they are decoded.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::OutOfMemory`], or [`Error::Format`] if it is not a token file, is
    /// longer, or has another format version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&read(path, LARGEST)?, path)
    }

    /// Reads the bytes of such a file. Errors call it `name`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn decode(bytes: &[u8], name: impl AsRef<Path>) -> Result<Self> {
        if bytes.len() as u64 > LARGEST {
            let reason = format!("longer than the {LARGEST} bytes that are allowed");
            return Err(Error::format(name.as_ref(), reason));
        }
        Self::parse(bytes, name.as_ref())
    }

    /// The bytes of such a file.
    ///
    /// # Errors
    /// [`Error::Internal`] if they cannot be made.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes =
            serde_json::to_vec(self).map_err(|error| Error::Internal(format!("a token file as JSON: {error}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// One file, or JSON Lines: files of one tokenizer, one a line.
    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let lines = || (1..).zip(bytes.split(|&byte| byte == b'\n')).filter(|(_, line)| !line.trim_ascii().is_empty());
        let is_whole = |line: &[u8]| line.trim_ascii_end().ends_with(b"}") && Self::parse_one(line, path).is_ok();
        if lines().nth(1).is_none() || lines().next().is_some_and(|(_, first)| !is_whole(first)) {
            return Self::parse_one(bytes, path);
        }
        // The lines are checked one by one; their pictures are in memory together.
        drop(reserve::<u8>(&path.display().to_string(), bytes.len().saturating_mul(GROWTH))?);
        let mut all: Option<Self> = None;
        for (number, line) in lines() {
            let refuse = |reason: String| Error::format(path, format!("line {number}: {reason}"));
            let file = Self::parse_one(line, path).map_err(|error| match error {
                Error::Format { reason, .. } => refuse(reason),
                other => other,
            })?;
            match &mut all {
                None => all = Some(file),
                Some(all) if all.bundle == file.bundle => all.images.extend(file.images),
                Some(all) => {
                    let reason =
                        format!("its tokens belong to tokenizer {}, those before to {}", file.bundle, all.bundle);
                    return Err(refuse(reason));
                }
            }
        }
        all.ok_or_else(|| Error::format(path, "not a token file: it is empty"))
    }

    fn parse_one(bytes: &[u8], path: &Path) -> Result<Self> {
        let refuse = |reason: String| Error::format(path, reason);
        let parsed = parse(&path.display().to_string(), bytes, FORMAT.into(), GROWTH)?;
        parsed.map_err(|reason| match reason.strip_prefix(' ') {
            Some(of_format) if of_format.starts_with("is") => refuse(format!("the token file {of_format}")),
            Some(other) => refuse(format!("not a token file: it {other}")),
            None => refuse(format!("not a token file{reason}")),
        })
    }
}
