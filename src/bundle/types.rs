//! The types that a manifest describes a model with.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One file of a bundle, as listed in its manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct FileEntry {
    /// Its name: a plain file name without folders.
    pub path: String,
    /// Its exact length in bytes.
    pub length: u64,
    /// Its SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// Of a weight file: how many of its first bytes belong to the decoder.
    #[serde(default)]
    pub decoder: Option<u64>,
}

/// What the fourth channel of a model means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// There is no fourth channel: the model is RGB.
    None,
    /// Alpha; the model's colour is premultiplied with it.
    Premultiplied,
}

/// Where a bundle came from, as text for people. What the manifest leaves out is empty.
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

/// The sampling settings that a bundle recommends.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct DefaultSampling {
    /// Guidance scale, 0 to 1000; 1 is off.
    pub guidance: f32,
    /// Whether the guidance scale falls linearly over the groups.
    pub gradual: bool,
    /// Temperature; 0 is greedy.
    pub temperature: f32,
    /// Sample from the k most likely codes; 0 is off.
    pub top_k: u32,
    /// Sample from the most likely codes up to this cumulative probability; 1 is off.
    pub top_p: f32,
}

impl Default for DefaultSampling {
    /// Everything off, as for a bundle without an autoregressive model.
    fn default() -> Self {
        Self { guidance: 1.0, gradual: false, temperature: 1.0, top_k: 0, top_p: 1.0 }
    }
}

/// The element type of a variant's KV cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 16-bit floats.
    Fp16,
}

/// How close a variant is to the source weights, as measured by the exporter.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// Quality of the logits; `None` if the bundle has no autoregressive model.
    pub ar: Option<LogitQuality>,
    /// Quality of the decoded pictures.
    pub decoder: Option<PixelQuality>,
    /// Quality of the encoded tokens; `None` if the bundle has no encoder.
    pub encoder: Option<CodeQuality>,
}

/// How far logits are from those of the source weights, by teacher forcing.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LogitQuality {
    /// Kullback-Leibler divergence from the source weights' distribution of a token, mean over all tokens, in nats.
    pub kl: f64,
    /// The same at the worst position, mean over the pictures.
    pub kl_worst: f64,
    /// Largest absolute error of a logit.
    pub logits_max: f64,
    /// Root mean square error of the logits.
    pub logits_rms: f64,
    /// Share of positions at which the most likely token is the same, 0 to 1.
    pub agreement: f64,
}

/// How far decoded pictures are from those of the source weights.
#[derive(Debug, Clone, Deserialize)]
pub struct PixelQuality {
    /// Peak signal-to-noise ratio in dB over the range -1 to 1, by level size in pixels.
    pub psnr: BTreeMap<u32, f64>,
}

/// How far encoded tokens are from those of the source weights.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct CodeQuality {
    /// Share of tokens that are the same, 0 to 1.
    pub agreement: f64,
}

/// A picture on which the variants were compared with the source weights.
#[derive(Debug, Clone, Deserialize)]
pub struct JudgedPicture {
    /// Index of its class.
    pub class: u32,
    /// All N tokens of the picture.
    pub tokens: Vec<u32>,
    /// The natural logarithm of each token's probability under the source weights, at most 0.
    pub log_probabilities: Vec<f32>,
}

/// One set of graphs for the model: a precision and an attention form.
#[derive(Debug, Clone, Deserialize)]
pub struct Variant {
    /// `fp32`, `fp16`, `int8`, `int4` …
    pub precision: String,
    /// The attention form, which decides the KV layout: `native`, `mha`, `plain` or `fixed`.
    pub form: String,
    /// The devices it is for, by the first word of their names (`cuda` is any card); `*` is any device.
    pub devices: Vec<String>,
    /// The lowest version of ONNX Runtime that runs it, `major.minor`.
    pub min_runtime: String,
    /// The element type of its KV cache.
    #[serde(default)]
    pub keys: KeyKind,
    /// How close it is to the source weights; `None` if the exporter did not measure it.
    pub quality: Option<Quality>,
    /// File of the autoregressive graph; `None` if the bundle has none.
    pub(crate) ar: Option<String>,
    /// File of the decoder graph.
    pub(crate) decoder: String,
    /// File of the encoder graph; `None` if the bundle has none.
    pub(crate) encoder: Option<String>,
}

impl Variant {
    /// Bits of one weight of its matrix multiplications, without scales. `None` if this version does not know the
    /// precision.
    #[must_use]
    pub fn weight_bits(&self) -> Option<u32> {
        match self.precision.as_str() {
            "fp32" => Some(32),
            "fp16" | "bf16" => Some(16),
            "int8" => Some(8),
            "int4" => Some(4),
            _ => None,
        }
    }

    /// The files of its graphs.
    pub(super) fn graphs(&self) -> impl Iterator<Item = &String> {
        self.ar.iter().chain([&self.decoder]).chain(&self.encoder)
    }

    /// The file of its weights.
    pub(super) fn weights(&self) -> String {
        format!("weights.{}.bin", self.precision)
    }
}

/// The layout of the embedding table, as row indices: codes from 0, then these blocks in any order.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct IdLayout {
    /// The first class.
    pub class: i64,
    /// The one row for "no class".
    pub no_class: i64,
    /// The first special token.
    pub special: i64,
    /// Rows of the table.
    pub total: i64,
}

/// The shape of the autoregressive model's KV cache, and its widths if the manifest has them.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Layers {
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_width: usize,
    pub(super) width: Option<usize>,
    pub(super) hidden: Option<usize>,
}
