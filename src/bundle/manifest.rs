//! `detailflow.json` as it is written: its keys, and reading it.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::names::FILE;
use super::source::Source;
use super::types::{Alpha, DefaultSampling, FileEntry, IdLayout, JudgedPicture, Layers, Provenance, Variant};
use crate::pixels::Finish;
use crate::plan::{Prefix, SideSize};
use crate::support::error::{Error, Result};
use crate::support::hex::hex;
use crate::support::json::parse;

/// The one format version that this version reads.
const FORMAT: u64 = 1;
/// A manifest is text of some kilobytes, half a megabyte with 20,000 classes; a larger file than this is refused.
pub(super) const LARGEST_MANIFEST: u64 = 4 << 20;
/// Memory that parsing takes, in lengths of the text: at most, for a list of empty class names while it grows.
const GROWTH: usize = 24;

/// The sizes of the encoder.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(from = "EncoderKeys")]
pub(super) struct EncoderSize {
    pub side: SideSize,
    pub patch: usize,
    pub code_width: usize,
}

/// The same by its keys. Not by `flatten`, for which serde keeps every value of the object.
#[derive(Deserialize)]
struct EncoderKeys {
    layers: usize,
    width: usize,
    heads: usize,
    hidden: usize,
    patch: usize,
    code_width: usize,
}

impl From<EncoderKeys> for EncoderSize {
    fn from(keys: EncoderKeys) -> Self {
        let EncoderKeys { layers, width, heads, hidden, patch, code_width } = keys;
        Self { side: SideSize { layers, width, heads, hidden }, patch, code_width }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Image {
    pub size: u32,
    pub channels: usize,
    pub alpha: Alpha,
    pub patch: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tokens {
    pub count: usize,
    pub group: usize,
    pub causal: usize,
    pub codes: usize,
    pub bits: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct LadderTable {
    pub power: f64,
    pub prefixes: Vec<Prefix>,
}

/// The content of `detailflow.json`, by its keys.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub name: String,
    pub license: String,
    pub tokenizer_id: String,
    #[serde(default)]
    pub provenance: Provenance,
    pub image: Image,
    pub tokens: Tokens,
    pub ids: Option<IdLayout>,
    #[serde(default)]
    pub classes: Vec<String>,
    pub ladder: LadderTable,
    pub sampling: Option<DefaultSampling>,
    pub finish: Option<Finish>,
    pub ar: Option<Layers>,
    pub decoder: Option<SideSize>,
    pub encoder: Option<EncoderSize>,
    pub variants: Vec<Variant>,
    #[serde(default)]
    pub judged: Vec<JudgedPicture>,
    pub draw: Option<String>,
    pub files: Vec<FileEntry>,
}

/// Reads the manifest of a bundle, and its SHA-256 in hex digits. Its content is not validated yet.
pub(super) fn read(source: &Source) -> Result<(Manifest, String)> {
    let length = source.length(FILE)?;
    if length > LARGEST_MANIFEST {
        let reason = format!("{FILE} has {length} bytes; a manifest has at most {LARGEST_MANIFEST}");
        return Err(Error::bundle(source.name(), reason));
    }
    let bytes = source.read(FILE, LARGEST_MANIFEST)?;
    let manifest = parse(FILE, &bytes, FORMAT, GROWTH)?;
    let manifest = manifest.map_err(|reason| Error::bundle(source.name(), format!("{FILE}{reason}")))?;
    Ok((manifest, hex(Sha256::digest(&bytes))))
}
