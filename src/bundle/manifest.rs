//! `detailflow.json` as it is written: its keys, and reading it.

use serde::Deserialize;

use super::source::Source;
use super::types::{Alpha, DefaultSampling, FileEntry, IdLayout, JudgedPicture, Layers, Provenance, Variant};
use crate::plan::{Prefix, SideSize};
use crate::support::error::{Error, Result};
use crate::support::text::without_mark;

/// The name of the manifest.
pub(super) const FILE: &str = "detailflow.json";
/// The one format version that this version reads.
const FORMAT: u64 = 1;
/// A manifest is text of some kilobytes; a larger file than this is refused.
pub(super) const LARGEST_MANIFEST: u64 = 16 << 20;

/// The sizes of the encoder.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct EncoderSize {
    #[serde(flatten)]
    pub side: SideSize,
    pub patch: usize,
    pub code_width: usize,
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
    pub ar: Option<Layers>,
    pub decoder: Option<SideSize>,
    pub encoder: Option<EncoderSize>,
    pub variants: Vec<Variant>,
    #[serde(default)]
    pub judged: Vec<JudgedPicture>,
    pub draw: Option<String>,
    pub files: Vec<FileEntry>,
}

/// Reads the manifest of a bundle. Its content is not validated yet.
pub(super) fn read(source: &Source) -> Result<Manifest> {
    let length = source.length(FILE)?;
    if length > LARGEST_MANIFEST {
        let reason = format!("{FILE} has {length} bytes; a manifest has at most {LARGEST_MANIFEST}");
        return Err(Error::bundle(source.name(), reason));
    }
    parse(&source.read(FILE, LARGEST_MANIFEST)?)
        .map_err(|reason| Error::bundle(source.name(), format!("{FILE}{reason}")))
}

/// Parses a manifest; the error continues its name.
fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    let bytes = without_mark(bytes).map_err(|reason| format!(": {reason}"))?;
    // The format version first: another version may have other keys, and "missing field" would mislead.
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| format!(": {error}"))?;
    match value.get("format") {
        Some(format) if format.as_u64() == Some(FORMAT) => {}
        Some(format) => return Err(format!(" is of format {format}; this version reads format {FORMAT}")),
        None => return Err(" has no \"format\"".into()),
    }
    serde_path_to_error::deserialize(value).map_err(|error| format!(": {}: {}", error.path(), error.inner()))
}
