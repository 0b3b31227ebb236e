//! `detailflow.json`: read, checked against itself, turned into a [`Bundle`].

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Deserialize;

use super::{Bundle, FileEntry};
use crate::plan::Ladder;
use crate::plan::{DecodeWork, EncodeWork, Prefix, SideSize, StepWork};
use crate::support::error::{Error, Result};

/// The manifest's name within the folder.
pub(super) const FILE: &str = "detailflow.json";
/// The one format that this version reads.
const FORMAT: u64 = 1;
/// A manifest is text of some kilobytes; anything larger than this is not one.
const LARGEST_MANIFEST: u64 = 16 << 20;
/// Bounds that keep later arithmetic far from overflow, well above anything that could run.
const LARGEST_SIZE: u32 = 1 << 14;
const LARGEST_COUNT: usize = 1 << 20;

/// What the fourth channel means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// There is none: the model is RGB.
    None,
    /// The model's colour is premultiplied with it.
    Premultiplied,
}

/// Where a bundle came from. For reading only; what it was made without is empty.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// Name and version of the exporter.
    pub exporter: String,
    /// Where the tokenizer's weights came from.
    pub tokenizer: String,
    /// Where the autoregressive model's weights came from.
    pub ar: String,
}

/// How the model's makers would sample.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct DefaultSampling {
    /// Guidance scale.
    pub guidance: f32,
    /// Whether guidance falls over the groups.
    pub gradual: bool,
    /// Temperature.
    pub temperature: f32,
    /// Keep the k likeliest codes; 0 is off.
    pub top_k: u32,
    /// Keep the likeliest codes up to this probability; 1 is off.
    pub top_p: f32,
}

impl Default for DefaultSampling {
    /// Everything off: what a bundle that cannot draw says.
    fn default() -> Self {
        Self { guidance: 1.0, gradual: false, temperature: 1.0, top_k: 0, top_p: 1.0 }
    }
}

/// How a variant keeps keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats.
    Fp16,
}

/// How near a variant was to the source weights when it was written, as far as the exporter judged it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// Of the logits; none when the bundle cannot draw.
    pub ar: Option<LogitQuality>,
    /// Of the decoder.
    pub decoder: Option<PixelQuality>,
    /// Of the encoder; none when the bundle cannot encode.
    pub encoder: Option<CodeQuality>,
}

/// How far logits are from those of the source weights, after the same tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LogitQuality {
    /// Kullback-Leibler divergence of a token's distribution from the source weights', mean over all tokens, in nats.
    pub kl: f64,
    /// The same, mean over the pictures, of the worst position.
    pub kl_worst: f64,
    /// Largest error of a logit.
    pub logits_max: f64,
    /// Root of the mean squared error of the logits.
    pub logits_rms: f64,
    /// Share of the positions at which the likeliest token is the same, 0..=1.
    pub agreement: f64,
}

/// How far pictures are from those of the source weights.
#[derive(Debug, Clone, Deserialize)]
pub struct PixelQuality {
    /// Peak signal-to-noise ratio in dB over -1..1, by the level's size in pixels.
    pub psnr: BTreeMap<u32, f64>,
}

/// How far the encoder's tokens are from those of the source weights.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct CodeQuality {
    /// Share of tokens that are the same, 0..=1.
    pub agreement: f64,
}

/// A picture that variants were judged by.
#[derive(Debug, Clone, Deserialize)]
pub struct JudgedPicture {
    /// Index of its class.
    pub class: u32,
    /// Its tokens, a whole picture.
    pub tokens: Vec<u32>,
    /// The natural logarithm of each token's probability by the source weights.
    pub log_probabilities: Vec<f32>,
}

/// One way to compute the model.
#[derive(Debug, Clone, Deserialize)]
pub struct Variant {
    /// `fp32`, `fp16`, `int8`, `int4` …
    pub precision: String,
    /// How attention is written: `native`, `mha`, `plain` or `fixed`.
    pub form: String,
    /// The devices it is for, by their first words (`cuda` is any card); `*` is any.
    pub devices: Vec<String>,
    /// The least ONNX Runtime that runs it, as `major.minor`.
    pub min_runtime: String,
    /// How it keeps keys and values.
    #[serde(default)]
    pub keys: KeyKind,
    /// How near it is to the source weights; none where an exporter did not judge it.
    pub quality: Option<Quality>,
    /// None when the bundle was made without: it cannot draw.
    pub(crate) ar: Option<String>,
    pub(crate) decoder: String,
    /// None when the bundle was made without: it cannot encode.
    pub(crate) encoder: Option<String>,
}

impl Variant {
    /// Bits of one weight of its products, without scales. None for a precision that this version knows nothing of.
    pub fn weight_bits(&self) -> Option<u32> {
        match self.precision.as_str() {
            "fp32" => Some(32),
            "fp16" | "bf16" => Some(16),
            "int8" => Some(8),
            "int4" => Some(4),
            _ => None,
        }
    }

    /// The graphs that it has.
    pub(super) fn graphs(&self) -> impl Iterator<Item = &String> {
        self.ar.iter().chain([&self.decoder]).chain(&self.encoder)
    }

    /// The file that its graphs take their weights from.
    pub(super) fn weights(&self) -> String {
        format!("weights.{}.bin", self.precision)
    }
}

/// Rows of the embedding table.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct IdLayout {
    pub class: i64,
    pub no_class: i64,
    pub special: i64,
    pub total: i64,
}

/// Shape of the autoregressive model's kept keys and values; and its widths, where the manifest has them.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Layers {
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_width: usize,
    width: Option<usize>,
    hidden: Option<usize>,
}

/// The encoder's sizes.
#[derive(Debug, Clone, Copy, Deserialize)]
struct EncoderSize {
    #[serde(flatten)]
    side: SideSize,
    patch: usize,
    code_width: usize,
}

#[derive(Deserialize)]
struct Image {
    size: u32,
    channels: usize,
    alpha: Alpha,
    patch: u32,
}

#[derive(Deserialize)]
struct Tokens {
    count: usize,
    group: usize,
    causal: usize,
    codes: usize,
    bits: u32,
}

#[derive(Deserialize)]
struct LadderTable {
    power: f64,
    prefixes: Vec<Prefix>,
}

#[derive(Deserialize)]
struct Manifest {
    name: String,
    license: String,
    tokenizer_id: String,
    #[serde(default)]
    provenance: Provenance,
    image: Image,
    tokens: Tokens,
    ids: Option<IdLayout>,
    #[serde(default)]
    classes: Vec<String>,
    ladder: LadderTable,
    sampling: Option<DefaultSampling>,
    ar: Option<Layers>,
    decoder: Option<SideSize>,
    encoder: Option<EncoderSize>,
    variants: Vec<Variant>,
    #[serde(default)]
    judged: Vec<JudgedPicture>,
    draw: Option<String>,
    files: Vec<FileEntry>,
}

pub(super) fn read(folder: &Path) -> Result<Bundle> {
    if !folder.is_dir() {
        return Err(Error::NotFound { what: "bundle", path: folder.to_owned() });
    }
    let path = folder.join(FILE);
    let metadata = std::fs::metadata(&path).map_err(|error| Error::reading(&path, error))?;
    if metadata.len() > LARGEST_MANIFEST {
        return Err(Error::bundle(folder, format!("{FILE} has {} bytes; that is no manifest", metadata.len())));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Error::reading(&path, error))?;
    parse(folder, &text)
}

fn parse(folder: &Path, text: &str) -> Result<Bundle> {
    let refuse = |reason: String| Error::bundle(folder, reason);
    let json = |error: serde_json::Error| refuse(format!("{FILE}: {error}"));
    // The format first: another format may have other keys, and then "missing field" would mislead.
    let value: serde_json::Value = serde_json::from_str(text).map_err(json)?;
    match value.get("format") {
        Some(format) if format.as_u64() == Some(FORMAT) => {}
        Some(format) => {
            return Err(refuse(format!("{FILE} is of format {format}; this version reads format {FORMAT}")));
        }
        None => return Err(refuse(format!("{FILE} has no \"format\""))),
    }
    let manifest: Manifest = serde_path_to_error::deserialize(value)
        .map_err(|error| refuse(format!("{FILE}: {}: {}", error.path(), error.inner())))?;
    check(&manifest).map_err(|reason| refuse(format!("{FILE}: {reason}")))?;
    let (step_work, decode_work, encode_work) = work(&manifest);
    let Manifest { image, tokens, ladder, .. } = &manifest;
    let formula = crate::plan::Formula {
        size: image.size,
        patch: image.patch,
        tokens: tokens.count,
        group: tokens.group,
        causal: tokens.causal,
        power: ladder.power,
    };
    let ladder =
        Ladder::new(manifest.ladder.prefixes, formula).map_err(|reason| refuse(format!("{FILE}: {reason}")))?;
    Ok(Bundle {
        path: folder.to_owned(),
        name: manifest.name,
        license: manifest.license,
        tokenizer_id: manifest.tokenizer_id,
        provenance: manifest.provenance,
        size: manifest.image.size,
        channels: manifest.image.channels,
        alpha: manifest.image.alpha,
        patch: manifest.image.patch,
        tokens: manifest.tokens.count,
        group: manifest.tokens.group,
        causal: manifest.tokens.causal,
        codes: manifest.tokens.codes,
        bits: manifest.tokens.bits,
        ids: manifest.ids.unwrap_or_default(),
        classes: manifest.classes,
        ladder,
        sampling: manifest.sampling.unwrap_or_default(),
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

/// Everything in the manifest that can contradict something else in it, but for the ladder.
fn check(manifest: &Manifest) -> Result<(), String> {
    let Manifest { image, tokens, ladder, variants, files, .. } = manifest;
    if manifest.tokenizer_id.len() != 16 || !manifest.tokenizer_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("tokenizer_id \"{}\" is not 16 hex digits", manifest.tokenizer_id));
    }

    within("image.size", image.size as usize, 1, LARGEST_SIZE as usize)?;
    within("image.patch", image.patch as usize, 1, image.size as usize)?;
    if !image.size.is_multiple_of(image.patch) {
        return Err(format!("image.size {} is not a multiple of image.patch {}", image.size, image.patch));
    }
    match (image.channels, image.alpha) {
        (3, Alpha::None) | (4, Alpha::Premultiplied) => {}
        (channels, alpha) => return Err(format!("image.channels {channels} does not go with image.alpha {alpha:?}")),
    }

    within("tokens.count", tokens.count, 1, LARGEST_COUNT)?;
    within("tokens.group", tokens.group, 1, tokens.count)?;
    within("tokens.causal", tokens.causal, 1, tokens.count)?;
    for (name, value) in [("count", tokens.count), ("causal", tokens.causal)] {
        if !value.is_multiple_of(tokens.group) {
            return Err(format!("tokens.{name} {value} is not a multiple of tokens.group {}", tokens.group));
        }
    }
    within("tokens.codes", tokens.codes, 1, LARGEST_COUNT)?;
    let bits = usize::BITS - (tokens.codes - 1).leading_zeros();
    if tokens.bits != bits.max(1) {
        return Err(format!("tokens.bits is {}, {} codes take {}", tokens.bits, tokens.codes, bits.max(1)));
    }

    check_classes(&manifest.classes)?;
    if let Some(ids) = &manifest.ids {
        check_ids(ids, tokens, manifest.classes.len())?;
    }
    if !(ladder.power.is_finite() && ladder.power > 0.0) {
        return Err(format!("ladder.power {} is not a positive number", ladder.power));
    }
    if let Some(sampling) = &manifest.sampling {
        check_sampling(sampling).map_err(|reason| format!("sampling: {reason}"))?;
    }
    if let Some(ar) = &manifest.ar {
        within("ar.layers", ar.layers, 1, LARGEST_COUNT)?;
        within("ar.heads", ar.heads, 1, LARGEST_COUNT)?;
        within("ar.kv_heads", ar.kv_heads, 1, ar.heads)?;
        within("ar.head_width", ar.head_width, 1, LARGEST_COUNT)?;
        if let Some(hidden) = ar.hidden {
            within("ar.hidden", hidden, 1, LARGEST_COUNT)?;
        }
        if let Some(width) = ar.width {
            within("ar.width", width, 1, LARGEST_COUNT)?;
            if ar.heads * ar.head_width != width {
                let Layers { heads, head_width, .. } = ar;
                return Err(format!("ar.width is {width}, {heads} heads of {head_width} are {}", heads * head_width));
            }
        }
    }
    if let Some(side) = &manifest.decoder {
        check_side("decoder", side)?;
    }
    if let Some(EncoderSize { side, patch, code_width }) = &manifest.encoder {
        check_side("encoder", side)?;
        within("encoder.patch", *patch, 1, image.size as usize)?;
        if !(image.size as usize).is_multiple_of(*patch) {
            return Err(format!("image.size {} is not a multiple of encoder.patch {patch}", image.size));
        }
        within("encoder.code_width", *code_width, 1, LARGEST_COUNT)?;
    }
    let names = check_files(files)?;
    check_variants(variants, &names)?;
    check_drawing(manifest)?;
    if let Some(draw) = manifest.draw.as_ref().filter(|draw| !names.contains(draw.as_str())) {
        return Err(format!("draw names {draw}, which files does not list"));
    }
    // Without what draws there may be no class names, and nobody asks for the pictures' classes.
    let classes = if variants[0].ar.is_some() { manifest.classes.len() } else { LARGEST_COUNT };
    check_judged(&manifest.judged, tokens, classes)
}

fn check_side(name: &str, side: &SideSize) -> Result<(), String> {
    within(&format!("{name}.layers"), side.layers, 1, LARGEST_COUNT)?;
    within(&format!("{name}.width"), side.width, 1, LARGEST_COUNT)?;
    within(&format!("{name}.hidden"), side.hidden, 1, LARGEST_COUNT)?;
    within(&format!("{name}.heads"), side.heads, 1, side.width)?;
    if !side.width.is_multiple_of(side.heads) {
        return Err(format!("{name}.width {} is not a multiple of {name}.heads {}", side.width, side.heads));
    }
    Ok(())
}

/// What counts multiply-adds, as far as the manifest says how large the networks are.
fn work(manifest: &Manifest) -> (Option<StepWork>, Option<DecodeWork>, Option<EncodeWork>) {
    let Manifest { image, tokens, .. } = manifest;
    let (channels, codes) = (image.channels, tokens.codes);
    let step = manifest.ar.as_ref().and_then(|ar| {
        let keys = ar.kv_heads * ar.head_width;
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

fn check_classes(classes: &[String]) -> Result<(), String> {
    within("number of classes", classes.len(), 0, LARGEST_COUNT)?;
    let mut seen = HashSet::new();
    match classes.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("classes: \"{twice}\" is empty or stands twice")),
        None => Ok(()),
    }
}

fn check_ids(ids: &IdLayout, tokens: &Tokens, classes: usize) -> Result<(), String> {
    // Every block of rows must lie within the table and none may overlap: an id that means two things would draw
    // nonsense.
    let blocks = [
        ("codes", 0, tokens.codes as i64),
        ("ids.class", ids.class, classes as i64),
        ("ids.no_class", ids.no_class, 1),
        ("ids.special", ids.special, tokens.group as i64 - 1),
    ];
    for (at, &(name, start, length)) in blocks.iter().enumerate() {
        let end = start.checked_add(length).filter(|&end| start >= 0 && end <= ids.total);
        let Some(end) = end else { return Err(format!("{name} {start} lies outside the table of {} rows", ids.total)) };
        for &(other, other_start, other_length) in &blocks[..at] {
            if length > 0 && other_length > 0 && start < other_start + other_length && other_start < end {
                return Err(format!("{name} {start} overlaps {other}"));
            }
        }
    }
    Ok(())
}

fn check_sampling(sampling: &DefaultSampling) -> Result<(), String> {
    crate::sample::Sampling { temperature: sampling.temperature, top_k: sampling.top_k, top_p: sampling.top_p }
        .check()
        .and_then(|()| crate::plan::Guidance { scale: sampling.guidance.into(), gradual: sampling.gradual }.check())
}

/// The files' names.
fn check_files(files: &[FileEntry]) -> Result<HashSet<&str>, String> {
    let mut names = HashSet::new();
    for file in files {
        let plain = Path::new(&file.path).file_name().is_some_and(|name| name == file.path.as_str())
            && !file.path.contains(['/', '\\', ':', '\0']);
        if !plain || file.path == FILE {
            return Err(format!("files: \"{}\" is not a plain file name", file.path));
        }
        if !names.insert(file.path.as_str()) {
            return Err(format!("files: {} stands twice", file.path));
        }
        if file.decoder.is_some_and(|part| part > file.length) {
            return Err(format!("files: the decoder's part of {} is longer than the file", file.path));
        }
        if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(format!("files: the SHA-256 of {} is not 64 lower-case hex digits", file.path));
        }
    }
    Ok(names)
}

fn check_variants(variants: &[Variant], names: &HashSet<&str>) -> Result<(), String> {
    if variants.is_empty() {
        return Err("there is no variant".into());
    }
    for variant in variants {
        let numbers: Vec<Option<u32>> = variant.min_runtime.split('.').map(|number| number.parse().ok()).collect();
        if !matches!(numbers[..], [Some(_), Some(_)]) {
            return Err(format!("min_runtime \"{}\" is not major.minor", variant.min_runtime));
        }
        if variant.keys == KeyKind::Fp16 && !["plain", "fixed"].contains(&variant.form.as_str()) {
            let (name, form) = (&variant.precision, &variant.form);
            return Err(format!("variant {name} {form}: keys are fp16, and form {form} keeps them in fp32"));
        }
        let weights = variant.weights();
        if !names.contains(weights.as_str()) {
            return Err(format!(
                "variant {} {} needs {weights}, which files does not list",
                variant.precision, variant.form
            ));
        }
        for graph in variant.graphs() {
            if !names.contains(graph.as_str()) {
                return Err(format!(
                    "variant {} {} names {graph}, which files does not list",
                    variant.precision, variant.form
                ));
            }
        }
    }
    Ok(())
}

/// The pictures that variants were judged by are the model's own.
fn check_judged(judged: &[JudgedPicture], tokens: &Tokens, classes: usize) -> Result<(), String> {
    for (at, picture) in judged.iter().enumerate() {
        let name = |key: &str| format!("judged[{at}].{key}");
        within(&name("class"), picture.class as usize, 0, classes.saturating_sub(1))?;
        within(&format!("number of {}", name("tokens")), picture.tokens.len(), tokens.count, tokens.count)?;
        let length = picture.log_probabilities.len();
        within(&format!("number of {}", name("log_probabilities")), length, tokens.count, tokens.count)?;
        for &token in &picture.tokens {
            within(&name("tokens"), token as usize, 0, tokens.codes - 1)?;
        }
        if picture.log_probabilities.iter().any(|value| !(value.is_finite() && *value <= 0.0)) {
            return Err(format!("{}: the logarithm of a probability is at most 0", name("log_probabilities")));
        }
    }
    Ok(())
}

/// Every variant holds the same graphs, so that what a bundle can do does not depend on the machine; and one that
/// draws says all that drawing needs.
fn check_drawing(manifest: &Manifest) -> Result<(), String> {
    let first = &manifest.variants[0];
    for variant in &manifest.variants {
        for (graph, ours, others) in [("ar", &first.ar, &variant.ar), ("encoder", &first.encoder, &variant.encoder)] {
            if ours.is_some() != others.is_some() {
                let name = |variant: &Variant| format!("{} {}", variant.precision, variant.form);
                let (with, without) = if ours.is_some() { (first, variant) } else { (variant, first) };
                return Err(format!("variant {} has {graph}, {} has none", name(with), name(without)));
            }
        }
    }
    if first.ar.is_none() {
        return Ok(());
    }
    within("number of classes", manifest.classes.len(), 1, LARGEST_COUNT)?;
    let needed =
        [("ids", manifest.ids.is_some()), ("sampling", manifest.sampling.is_some()), ("ar", manifest.ar.is_some())];
    match needed.iter().find(|(_, there)| !there) {
        Some((key, _)) => Err(format!("missing field `{key}`, which a bundle that can draw needs")),
        None => Ok(()),
    }
}

fn within(name: &str, value: usize, least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}, it must be {least} to {most}"))
}
