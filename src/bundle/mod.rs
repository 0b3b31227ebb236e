//! A bundle on disk: a folder with a manifest, graphs and weights, as written by the exporter (`onnx/README.md` is
//! the format).
//!
//! Opening reads the manifest, checks that nothing in it contradicts anything else, and that each file is there
//! with its exact length; files up to 32 MB are also hashed. No graph is looked at: that is the runtime's part.
//! A bundle can be cut down to its decoder ([`Bundle::strip`]), for whoever ships tokens.

mod files;
mod locate;
mod manifest;
mod strip;

use std::path::{Path, PathBuf};

pub use files::FileEntry;
pub(crate) use locate::find as locate;
pub use manifest::{
    Alpha, CodeQuality, DefaultSampling, JudgedPicture, KeyKind, LogitQuality, PixelQuality, Provenance, Quality,
    Variant,
};
pub(crate) use manifest::{IdLayout, Layers};

use crate::plan::{DecodeWork, EncodeWork, Ladder, Step, StepWork};
use crate::support::error::{Error, Result};

/// One DetailFlow model on disk, checked. Immutable.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
    pub(crate) name: String,
    pub(crate) license: String,
    pub(crate) tokenizer_id: String,
    pub(crate) provenance: Provenance,
    pub(crate) size: u32,
    pub(crate) channels: usize,
    pub(crate) alpha: Alpha,
    pub(crate) patch: u32,
    pub(crate) tokens: usize,
    pub(crate) group: usize,
    pub(crate) causal: usize,
    pub(crate) codes: usize,
    pub(crate) bits: u32,
    /// All zero when it cannot draw.
    pub(crate) ids: IdLayout,
    pub(crate) classes: Vec<String>,
    pub(crate) ladder: Ladder,
    pub(crate) sampling: DefaultSampling,
    /// All zero when it cannot draw.
    pub(crate) layers: Layers,
    /// Each of the three none when the manifest does not say how large the network is.
    step_work: Option<StepWork>,
    decode_work: Option<DecodeWork>,
    encode_work: Option<EncodeWork>,
    pub(crate) variants: Vec<Variant>,
    judged: Vec<JudgedPicture>,
    /// The graph that draws tokens on a device; none where an exporter did not write one.
    pub(crate) draw: Option<String>,
    pub(crate) files: Vec<FileEntry>,
}

impl Bundle {
    /// Opens the folder `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such folder or no manifest in it, [`Error::Bundle`] with the reason
    /// when the manifest is of another format, damaged or contradicts itself, or a file is missing, of another
    /// length, or (up to 32 MB) of another SHA-256.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bundle = manifest::read(path)?;
        files::check(path, &bundle.files, files::Depth::Open)?;
        Ok(bundle)
    }

    /// Checks the SHA-256 of every file, however large, calling `progress` with the bytes read so far and their
    /// total.
    pub fn verify(&self, progress: impl FnMut(u64, u64)) -> Result<()> {
        files::check(&self.path, &self.files, files::Depth::Everything(Box::new(progress)))
    }

    /// The folder it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the model is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The licence of its weights: an SPDX expression or a sentence.
    pub fn license(&self) -> &str {
        &self.license
    }

    /// Which tokenizer its tokens belong to, 16 hex digits: the same for every precision; tokens of one ID mean
    /// nothing under another.
    pub fn tokenizer_id(&self) -> &str {
        &self.tokenizer_id
    }

    /// Where it came from, for reading only.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Pixels a side of a whole picture.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Channels of the model: 3 is RGB, 4 is RGBA.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// What the fourth channel means.
    pub fn alpha(&self) -> Alpha {
        self.alpha
    }

    /// Pixels a side of a patch of the decoder; every decode size is a multiple of it.
    pub fn patch(&self) -> u32 {
        self.patch
    }

    /// Tokens of a whole picture (N).
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens drawn at once after the causal part (g).
    pub fn group(&self) -> usize {
        self.group
    }

    /// Tokens drawn one by one (c).
    pub fn causal(&self) -> usize {
        self.causal
    }

    /// Size of the codebook: a token is 0..codes.
    pub fn codes(&self) -> usize {
        self.codes
    }

    /// Bits of one token.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The classes' names, in order. A bundle that cannot draw may have none.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Which prefix decodes at which size.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// How to sample when nothing else is said; everything off when it cannot draw.
    pub fn sampling(&self) -> DefaultSampling {
        self.sampling
    }

    /// The precisions and forms it holds, best first.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// The pictures that its variants were judged by, with what the source weights say of each token: so that a variant
    /// can be judged again where no other is at hand ([`Model::judge_by_record`](crate::Model::judge_by_record)). None
    /// where an exporter did not judge.
    pub fn judged(&self) -> &[JudgedPicture] {
        &self.judged
    }

    /// Whether it holds the autoregressive model. Without, it decodes tokens and cannot draw.
    pub fn can_draw(&self) -> bool {
        self.variants.iter().all(|variant| variant.ar.is_some())
    }

    /// Whether it holds the encoder, which turns pictures into tokens.
    pub fn can_encode(&self) -> bool {
        self.variants.iter().all(|variant| variant.encoder.is_some())
    }

    /// Its files, without the manifest.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The class that `text` names: a class name, or an index in decimal.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the nearest names when there is none.
    pub fn class(&self, text: &str) -> Result<u32> {
        if let Some(at) = self.classes.iter().position(|name| name == text) {
            return Ok(at as u32);
        }
        if let Ok(index) = text.parse::<u32>() {
            self.check_class(index)?;
            return Ok(index);
        }
        if let Some(at) = self.classes.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(at as u32);
        }
        if self.classes.is_empty() {
            return Err(Error::Invalid(format!("no class \"{text}\": {} names no classes", self.name)));
        }
        Err(Error::Invalid(format!(
            "no class \"{text}\" in {}: did you mean {}?",
            self.name,
            self.nearest(text).join(", ")
        )))
    }

    /// Multiply-adds of one step of `rows` rows. None when the manifest does not say how large the network is.
    pub(crate) fn step_work(&self, rows: usize, step: Step) -> Option<u64> {
        self.step_work.map(|work| work.of(rows, step))
    }

    /// Multiply-adds of decoding `tokens` tokens to one picture of `size` pixels a side, or none.
    pub(crate) fn decode_work(&self, tokens: usize, size: u32) -> Option<u64> {
        self.decode_work.map(|work| work.of(tokens, size as usize))
    }

    /// How many weights a step of the autoregressive model multiplies with: what it has to read, however few rows it has.
    /// Tables of which it looks up rows, norms and scales do not count. None when the manifest does not say how large the
    /// network is.
    pub fn step_weights(&self) -> Option<u64> {
        self.step_work.map(|work| work.weights())
    }

    /// Multiply-adds of encoding one picture. None when the bundle has no encoder, or does not say how large it is.
    pub fn encode_work(&self) -> Option<u64> {
        self.encode_work.filter(|_| self.can_encode()).map(|work| work.of())
    }

    pub(crate) fn check_class(&self, index: u32) -> Result<()> {
        let count = self.classes.len();
        if (index as usize) < count {
            return Ok(());
        }
        let there = match count {
            0 => "names no classes".to_owned(),
            _ => format!("has classes 0 to {}", count - 1),
        };
        Err(Error::Invalid(format!("class {index} is out of range: {} {there}", self.name)))
    }

    /// For a caller that wants to know before anything else is looked at: a request is made of any model, a
    /// generation says this.
    ///
    /// # Errors
    /// [`Error::State`] when it cannot draw.
    pub fn check_can_draw(&self) -> Result<()> {
        if self.can_draw() { Ok(()) } else { Err(self.cannot("draw")) }
    }

    /// What is said when a graph is asked for that the bundle was made without.
    pub(crate) fn cannot(&self, what: &str) -> Error {
        Error::State(if self.can_draw() || self.can_encode() {
            format!("{} was made without what it takes to {what}", self.name)
        } else {
            format!("{} holds the decoder alone: it decodes tokens and cannot {what}", self.name)
        })
    }

    /// Up to three class names that look most like `text`.
    fn nearest(&self, text: &str) -> Vec<&str> {
        let wanted = text.to_lowercase();
        let distance = |name: &str| {
            let name = name.to_lowercase();
            // A name that holds the text (or is held by it) is near however long it is: "heron" is in "little blue
            // heron".
            if name.contains(&wanted) || wanted.contains(&name) { 0 } else { edit_distance(&name, &wanted) }
        };
        let mut names: Vec<(usize, &str)> = self.classes.iter().map(|name| (distance(name), name.as_str())).collect();
        names.sort_by_key(|&(distance, _)| distance);
        names.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// Levenshtein's distance between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(edit_distance("potion", "potoin"), 2);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("wall", "wall"), 0);
    }
}
