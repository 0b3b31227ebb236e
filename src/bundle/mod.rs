//! A bundle: a model as files, namely a manifest, graphs and weights, as written by the exporter (`onnx/BUNDLE.md`
//! specifies the format): a folder, or the same files in one, which may also be in memory or behind callbacks.
//!
//! Opening reads the manifest, validates it, and checks that each file exists with its exact length; files up to 32 MB
//! are also hashed. Of graphs it reads which files they take weights from, which the manifest must list; the rest is up to
//! the runtime. [`Bundle::strip`] cuts a bundle down to its decoder, for applications that ship tokens; [`Bundle::pack`]
//! writes it as a single file.

mod archive;
mod check;
mod classes;
mod external;
mod graph_file;
mod in_memory;
mod locate;
mod manifest;
mod names;
mod pack;
mod source;
mod strip;
mod target;
mod tokens;
mod types;
mod validate;
mod zip;
mod zip_writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use external::{External, LARGEST_GRAPH, tensor as external_data};
pub(crate) use graph_file::GraphFile;
pub(crate) use in_memory::{FilesInMemory, GraphInMemory};
pub(crate) use locate::find as locate;
use manifest::{EncoderSize, Manifest};
use source::Source;
pub use types::{
    Alpha, CodeQuality, DefaultSampling, FileEntry, JudgedPicture, KeyKind, LogitQuality, PixelQuality, Provenance,
    Quality, Variant,
};
pub(crate) use types::{IdLayout, Layers};

use crate::pixels::Finish;
use crate::plan::{DecodeWork, EncodeWork, Formula, Ladder, Step, StepWork};
use crate::support::block::Block;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::read_at::ReadAt;

/// One DetailFlow model as files, checked. Immutable. The files are those of a folder or of a single file.
///
/// The files must not change while a model is open that was made from them: ONNX Runtime maps the weights. To replace a
/// bundle or a file of it, write the new one beside it and rename it; open models keep the old one. What a model does whose
/// weights were overwritten in place is undefined, and when the file was made shorter the process may die of a signal
/// (SIGBUS). [`ModelOptions::weights_in_memory`](crate::ModelOptions::weights_in_memory) reads the files instead.
#[derive(Debug, Clone)]
pub struct Bundle {
    source: Source,
    manifest_sha256: String,
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
    /// All zero without an autoregressive model.
    pub(crate) ids: IdLayout,
    pub(crate) classes: Vec<String>,
    pub(crate) ladder: Ladder,
    pub(crate) sampling: DefaultSampling,
    finish: Finish,
    /// All zero without an autoregressive model.
    pub(crate) layers: Layers,
    /// Each of the three is `None` if the manifest does not say how large the network is.
    step_work: Option<StepWork>,
    decode_work: Option<DecodeWork>,
    encode_work: Option<EncodeWork>,
    pub(crate) variants: Vec<Variant>,
    judged: Vec<JudgedPicture>,
    /// File of the graph that samples tokens on a device, if there is one.
    pub(crate) draw: Option<String>,
    pub(crate) files: Vec<FileEntry>,
}

impl Bundle {
    /// Opens the bundle at `path`: a folder, its `detailflow.json`, or a single file (`.dflow`, see
    /// [`pack`](Self::pack)).
    ///
    /// # Errors
    /// - [`Error::NotFound`]: there is nothing of this name, or no manifest in it.
    /// - [`Error::Bundle`]: it is a file that is no single-file bundle, or a damaged one; the manifest is damaged, contradicts
    ///   itself or has another format version; or a file is missing, has another length, or (up to 32 MB) another SHA-256; or a
    ///   graph takes weights from a file that the manifest does not list.
    /// - [`Error::Io`]: the operating system cannot read a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let _host = host::enter();
        Self::checked(Source::open(path.as_ref())?)
    }

    /// Opens a single-file bundle that lies in memory, which is used as long as the bundle or a model of it lives. Errors call
    /// it `name`.
    ///
    /// # Errors
    /// As [`open`](Self::open), but that nothing is looked for.
    pub fn from_memory(bytes: Arc<[u8]>, name: impl Into<PathBuf>) -> Result<Self> {
        let _host = host::enter();
        Self::from_block(Arc::new(bytes), name.into())
    }

    pub(crate) fn from_block(block: Block, name: PathBuf) -> Result<Self> {
        Self::checked(Source::block(block, name)?)
    }

    /// Opens a single-file bundle that `reader` reads: an entry of an archive, a file of an engine's file system. Errors call it
    /// `name`. A model that is opened from the bundle reads it while it is opened only, its encoder included, and afterwards
    /// nobody reads it: operations of the bundle that would are [`Error::State`].
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Io`] and [`Error::Bundle`] when the reader fails, or has fewer bytes than it says.
    pub fn from_reader(reader: impl ReadAt + Send + Sync + 'static, name: impl Into<PathBuf>) -> Result<Self> {
        let _host = host::enter();
        Self::checked(Source::reader(Arc::new(reader), name.into())?)
    }

    fn checked(source: Source) -> Result<Self> {
        let bundle = Self::read(source)?;
        check::check(&bundle.source, &bundle.files, check::Depth::Open)?;
        external::check(&bundle)?;
        Ok(bundle)
    }

    /// Checks the SHA-256 of every file, however large, and that graphs take weights from these files only. `progress` is
    /// called with the bytes read so far and their total.
    ///
    /// # Errors
    /// [`Error::Bundle`] if a file is missing or is not what the manifest says, or a graph takes weights from any other;
    /// [`Error::Io`].
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<()> {
        let _host = host::enter();
        let progress = |done, total| host::call_back(|| progress(done, total));
        check::check(&self.source, &self.files, check::Depth::Everything(Box::new(progress)))?;
        external::check(self)
    }

    /// Whether its files are on disk, where ONNX Runtime maps them.
    pub(crate) fn is_on_disk(&self) -> bool {
        self.source.is_on_disk()
    }

    /// Whether it is behind a reader, which is used while a model is opened only.
    pub(crate) fn is_reader(&self) -> bool {
        self.source.is_reader()
    }

    /// Lets go of the reader: nothing reads it afterwards, here and in all clones.
    pub(crate) fn detach(&self) {
        self.source.detach();
    }

    /// Reads and validates the manifest. The files are not checked.
    fn read(source: Source) -> Result<Self> {
        let (manifest, manifest_sha256) = manifest::read(&source)?;
        let refuse = |reason: String| Error::bundle(source.name(), format!("{}: {reason}", names::FILE));
        validate::validate(&manifest).map_err(refuse)?;
        let (step_work, decode_work, encode_work) = work(&manifest);
        let Manifest { image, tokens, ladder, .. } = manifest;
        let formula = Formula {
            size: image.size,
            patch: image.patch,
            tokens: tokens.count,
            group: tokens.group,
            causal: tokens.causal,
            power: ladder.power,
        };
        let ladder = Ladder::new(ladder.prefixes, formula).map_err(refuse)?;
        Ok(Self {
            source,
            manifest_sha256,
            name: manifest.name,
            license: manifest.license,
            tokenizer_id: manifest.tokenizer_id,
            provenance: manifest.provenance,
            size: image.size,
            channels: image.channels,
            alpha: image.alpha,
            patch: image.patch,
            tokens: tokens.count,
            group: tokens.group,
            causal: tokens.causal,
            codes: tokens.codes,
            bits: tokens.bits,
            ids: manifest.ids.unwrap_or_default(),
            classes: manifest.classes,
            ladder,
            sampling: manifest.sampling.unwrap_or_default(),
            finish: manifest.finish.unwrap_or_default(),
            layers: manifest.ar.unwrap_or_default(),
            step_work,
            decode_work,
            encode_work,
            variants: manifest.variants,
            judged: manifest.judged,
            draw: manifest.draw,
            files: manifest.files,
        })
    }

    /// The folder or single file that it was opened from, as an absolute path; the name of one in memory or behind a reader.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.source.name()
    }

    /// The name of the model.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The licence of its weights: an SPDX expression or a sentence.
    #[must_use]
    pub fn license(&self) -> &str {
        &self.license
    }

    /// The SHA-256 of its manifest, 64 lower-case hex digits. It identifies the bundle: the manifest has the SHA-256 of every other
    /// file.
    #[must_use]
    pub fn manifest_sha256(&self) -> &str {
        &self.manifest_sha256
    }

    /// The ID of its tokenizer, 16 hex digits, the same for every precision. Tokens of one tokenizer are meaningless
    /// under another.
    #[must_use]
    pub fn tokenizer_id(&self) -> &str {
        &self.tokenizer_id
    }

    /// Where it came from, as text for people.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Pixels per side of a full picture, that of the last level.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Channels of the model: 3 for RGB, 4 for RGBA.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// What the fourth channel means.
    #[must_use]
    pub fn alpha(&self) -> Alpha {
        self.alpha
    }

    /// Pixels per side of a patch of the decoder; every decode size is a multiple of it.
    #[must_use]
    pub fn patch(&self) -> u32 {
        self.patch
    }

    /// Tokens of a full picture (N).
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens of a group (g), which are sampled in one step after the causal part.
    #[must_use]
    pub fn group(&self) -> usize {
        self.group
    }

    /// Tokens of the causal part (c), which are sampled one per step.
    #[must_use]
    pub fn causal(&self) -> usize {
        self.causal
    }

    /// Size of the codebook: a token is 0 to `codes() - 1`.
    #[must_use]
    pub fn codes(&self) -> usize {
        self.codes
    }

    /// Bits of one token.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The names of the classes, by index. May be empty without an autoregressive model.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The ladder: which prefix decodes at which size.
    #[must_use]
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// The recommended settings of finishing, which `dflow` applies; everything off if the manifest has none.
    #[must_use]
    pub fn finish(&self) -> &Finish {
        &self.finish
    }

    /// The recommended sampling settings; everything off without an autoregressive model.
    #[must_use]
    pub fn sampling(&self) -> DefaultSampling {
        self.sampling
    }

    /// Its variants, best first.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// The pictures on which the exporter compared the variants, with the log-probability of each token under the source
    /// weights, so that a variant can be compared with these without another bundle at hand. Empty if the exporter did
    /// not compare.
    #[must_use]
    pub fn judged(&self) -> &[JudgedPicture] {
        &self.judged
    }

    /// Whether it has the autoregressive model. Without, it decodes tokens but cannot generate.
    #[must_use]
    pub fn can_generate(&self) -> bool {
        self.variants.iter().all(|variant| variant.ar.is_some())
    }

    /// Whether it has the encoder, which turns pictures into tokens.
    #[must_use]
    pub fn can_encode(&self) -> bool {
        self.variants.iter().all(|variant| variant.encoder.is_some())
    }

    /// Its files, except the manifest.
    #[must_use]
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Multiply-adds of one step of `rows` batch rows. `None` if the manifest does not say how large the network is.
    pub(crate) fn step_work(&self, rows: usize, step: Step) -> Option<u64> {
        self.step_work.map(|work| work.of(rows, step))
    }

    /// Multiply-adds of decoding `tokens` tokens to one picture of `size` pixels per side, if known.
    pub(crate) fn decode_work(&self, tokens: usize, size: u32) -> Option<u64> {
        self.decode_work.map(|work| work.of(tokens, size as usize))
    }

    /// The number of weights that a step of the autoregressive model multiplies with, which it reads however few batch
    /// rows it has. Embedding tables, norms and scales do not count. `None` if the manifest does not say how large the
    /// network is.
    #[must_use]
    pub fn step_weights(&self) -> Option<u64> {
        self.step_work.map(|work| work.weights())
    }

    /// Multiply-adds of encoding one picture. `None` if the bundle has no encoder, or the manifest does not say how large
    /// it is.
    #[must_use]
    pub fn encode_work(&self) -> Option<u64> {
        self.encode_work.filter(|_| self.can_encode()).map(|work| work.of())
    }

    /// Checks that the bundle has the autoregressive model, before anything else is prepared: a request can be made of
    /// any model.
    ///
    /// # Errors
    /// [`Error::State`] if it has none.
    pub fn check_can_generate(&self) -> Result<()> {
        if self.can_generate() { Ok(()) } else { Err(self.cannot("generate")) }
    }

    /// The error for an operation whose graph the bundle was exported without.
    pub(crate) fn cannot(&self, what: &str) -> Error {
        Error::State(if self.can_generate() || self.can_encode() {
            format!("the bundle {} was exported without the graph that is needed to {what}", self.name)
        } else {
            format!("the bundle {} has only the decoder: it decodes tokens and cannot {what}", self.name)
        })
    }
}

/// The counters of multiply-adds, as far as the manifest says how large the networks are.
fn work(manifest: &Manifest) -> (Option<StepWork>, Option<DecodeWork>, Option<EncodeWork>) {
    let Manifest { image, tokens, .. } = manifest;
    let (channels, codes) = (image.channels, tokens.codes);
    let step = manifest.ar.as_ref().and_then(|ar| {
        let keys = ar.kv_heads.saturating_mul(ar.head_width);
        Some(StepWork { layers: ar.layers, width: ar.width?, keys, hidden: ar.hidden?, codes })
    });
    let decode = manifest.decoder.map(|side| DecodeWork { side, patch: image.patch as usize, channels });
    let encode = manifest.encoder.map(|EncoderSize { side, patch, code_width }| EncodeWork {
        side,
        patch,
        channels,
        size: image.size as usize,
        tokens: tokens.count,
        codes,
        code_width,
    });
    (step, decode, encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tests/data/work.json has the multiply-adds of the exported graphs, counted node by node, independently of the
    /// formulas.
    #[test]
    fn work_matches_the_multiply_adds_counted_in_the_graphs() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join("tests/data/work.json")).unwrap();
        let counted: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bundles = [
            ("small", "tests/data/small"),
            ("tiny-16", "tests/data/tiny-16/bundle"),
            ("sprites", "onnx/bundles/sprites"),
        ];
        assert_eq!(counted.as_object().unwrap().len(), bundles.len());
        for (name, place) in bundles {
            let bundle = Bundle::open(root.join(place)).unwrap();
            let number = |value: &serde_json::Value| value.as_u64().unwrap() as usize;
            let list = |key: &str| counted[name][key].as_array().unwrap();
            assert!(list("steps").len() >= 4 && list("decodes").len() >= 4);
            for case in list("steps") {
                let step = Step { start: number(&case["start"]), query: number(&case["query"]) };
                assert_eq!(bundle.step_work(number(&case["rows"]), step), case["work"].as_u64(), "{name}: {case}");
            }
            for case in list("decodes") {
                let work = bundle.decode_work(number(&case["tokens"]), number(&case["size"]) as u32);
                assert_eq!(work, case["work"].as_u64(), "{name}: {case}");
            }
            assert_eq!(bundle.encode_work(), counted[name]["encode"].as_u64(), "{name}");
        }
    }
}
