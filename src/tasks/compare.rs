//! Numerical comparison of two models: two variants of a bundle, or two bundles of one tokenizer. The metrics are those of
//! the exporter: logits after the same tokens, decoded images of the same tokens, encoded tokens of the same pictures.

use std::collections::BTreeMap;

use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::model::{Model, Precision};
use crate::pixels::{Image, Picture, PixelFormat};
use crate::plan::Guidance;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};
use crate::tasks::score::score_all;

/// Images that are computed together.
const AT_ONCE: usize = 8;
/// Stands for a squared error of 0: 206 dB.
const EXACT: f64 = 1e-20;

/// The error that is tolerated of a precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest Kullback-Leibler divergence, in nats per token.
    pub kl: f64,
    /// Smallest PSNR of the decoder at any level, in dB.
    pub psnr: f64,
    /// Smallest share of equal encoder tokens, 0 to 1.
    pub encoder: f64,
}

impl Tolerance {
    /// The tolerance of a precision; None for one that this version does not know.
    #[must_use]
    pub fn of(precision: impl Into<Precision>) -> Option<Self> {
        let (kl, psnr, encoder) = match precision.into() {
            Precision::Fp32 => (1e-6, 80.0, 0.99),
            Precision::Fp16 => (1e-3, 50.0, 0.97),
            Precision::Int8 => (0.01, 32.0, 0.9),
            Precision::Int4 => (0.2, 32.0, 0.9),
            Precision::Other(_) => return None,
        };
        Some(Self { kl, psnr, encoder })
    }

    /// The tolerance between two models that have these tolerances to the source weights.
    #[must_use]
    pub fn looser(self, other: Self) -> Self {
        Self { kl: self.kl.max(other.kl), psnr: self.psnr.min(other.psnr), encoder: self.encoder.min(other.encoder) }
    }
}

/// How much a model differs from a reference.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// Of the autoregressive graphs; None when a bundle holds the decoder alone.
    pub ar: Option<LogitComparison>,
    /// Peak signal-to-noise ratio of the decoders for the same tokens, in dB over -1..1, all images together; by level size
    /// in pixels.
    pub psnr: BTreeMap<u32, f64>,
    /// Share of equal tokens of the encoders for the images of the reference, 0 to 1; None when a bundle has no encoder.
    pub encoder: Option<f64>,
}

/// How much the logits of a model differ from those of a reference after the same tokens, and the effect on tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct LogitComparison {
    /// Kullback-Leibler divergence from the reference's token distribution, mean over all tokens, in nats.
    pub kl: f64,
    /// The same at the worst position, mean over the images.
    pub kl_worst: f64,
    /// Largest absolute difference of a logit.
    pub logits_max: f64,
    /// Root mean square of the differences of the logits.
    pub logits_rms: f64,
    /// Share of positions at which the likeliest token is the same, 0 to 1.
    pub agreement: f64,
    /// Share of equal tokens when each model generates by itself, greedily and with the guidance of the bundle, 0 to 1. The
    /// first different token changes those after it.
    pub greedy: f64,
}

/// How much a model differs from the source weights, by the log-probabilities in the bundle ([`crate::Bundle::judged`]).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RecordComparison {
    /// Estimated Kullback-Leibler divergence, in nats per token: the mean of r - 1 - ln r, where r is the probability of a
    /// token relative to that by the source weights. Never negative; unbiased for tokens sampled by the source weights.
    pub kl: f64,
    /// Largest absolute difference of a log-probability.
    pub largest: f64,
}

impl Comparison {
    /// What exceeds a tolerance, one sentence each; empty when nothing does.
    #[must_use]
    pub fn past(&self, tolerance: Tolerance) -> Vec<String> {
        let mut out = Vec::new();
        let mut most = |name: &str, value: f64, bound: f64| {
            // NaN exceeds any bound.
            if value.is_nan() || value > bound {
                out.push(format!("{name} is {value:.4}, at most {bound} is allowed"));
            }
        };
        if let Some(ar) = self.ar {
            most("the divergence", ar.kl, tolerance.kl);
        }
        let mut least = |name: &str, value: f64, bound: f64| {
            if value.is_nan() || value < bound {
                out.push(format!("{name} is {value:.3}, at least {bound} is needed"));
            }
        };
        for (size, &psnr) in &self.psnr {
            least(&format!("the decoder's PSNR at {size} px"), psnr, tolerance.psnr);
        }
        if let Some(encoder) = self.encoder {
            least("the encoder's agreement", encoder, tolerance.encoder);
        }
        out
    }
}

/// How much `model` differs from `reference` over `images`: class and all N tokens of each. The classes only matter where
/// both bundles hold an autoregressive graph.
///
/// # Errors
/// [`Error::Invalid`] when the tokenizers differ, `images` is empty, an image has not all its tokens, or its class does not
/// exist in both models; those of [`Generation::step`], [`Model::decode`] and [`Model::encode`].
pub fn compare(model: &Model, reference: &Model, images: &[(u32, &[u32])]) -> Result<Comparison> {
    let _host = host::enter();
    let (ours, theirs) = (model.bundle(), reference.bundle());
    if ours.tokenizer_id() != theirs.tokenizer_id() {
        return Err(Error::Invalid(format!(
            "{} and {} have different tokenizers ({}, {}): their tokens cannot be compared",
            ours.path().display(),
            theirs.path().display(),
            ours.tokenizer_id(),
            theirs.tokenizer_id()
        )));
    }
    if images.is_empty() {
        return Err(Error::Invalid("compare: there is no image; at least one is needed".into()));
    }
    for (at, (_, tokens)) in images.iter().enumerate() {
        if tokens.len() != ours.tokens() {
            let (have, whole) = (tokens.len(), ours.tokens());
            return Err(Error::Invalid(format!("compare: image {at} has {have} tokens; all {whole} are needed")));
        }
    }
    let mut comparison = Comparison::default();
    if ours.can_generate() && theirs.can_generate() {
        comparison.ar = Some(compare_logits(model, reference, images)?);
    }
    comparison.psnr = compare_pixels(model, reference, images)?;
    if ours.can_encode() && theirs.can_encode() {
        comparison.encoder = Some(compare_codes(model, reference, images)?);
    }
    Ok(comparison)
}

/// How much `model` differs from its source weights, by the log-probabilities in its bundle ([`crate::Bundle::judged`]);
/// None when the bundle holds none.
///
/// # Errors
/// Those of [`score`](crate::tasks::score).
pub fn compare_with_record(model: &Model) -> Result<Option<RecordComparison>> {
    let (mut sum, mut count, mut largest) = (0.0, 0usize, 0f64);
    for part in model.bundle().judged().chunks(AT_ONCE) {
        let mut images = reserve("images to compare", part.len())?;
        images.extend(part.iter().map(|image| (image.class, &image.tokens[..])));
        for (scores, image) in score_all(model, &images)?.iter().zip(part) {
            for (&now, &then) in scores.iter().zip(&image.log_probabilities) {
                let log_ratio = f64::from(now) - f64::from(then);
                sum += log_ratio.exp_m1() - log_ratio;
                largest = largest.max(log_ratio.abs());
                count += 1;
            }
        }
    }
    Ok((count > 0).then(|| RecordComparison { kl: sum / count as f64, largest }))
}

/// A generation that is teacher-forced with these tokens, without guidance.
fn fed(model: &Model, images: &[(u32, &[u32])]) -> Result<Generation> {
    let mut request = Request::new(model);
    request.set_count(images.len() as u32)?.set_guidance(Guidance::constant(1.0))?;
    for (at, &(class, tokens)) in images.iter().enumerate() {
        request.set_image(at, ImageRequest { class, seed: 0 })?.set_image_prefix(at, tokens)?;
    }
    Generation::begin(&request, true)
}

fn compare_logits(model: &Model, reference: &Model, images: &[(u32, &[u32])]) -> Result<LogitComparison> {
    let bundle = reference.bundle();
    let mut of_position = filled("a comparison", bundle.tokens(), 0.0)?;
    let (mut largest, mut squares, mut same) = (0f64, 0.0, 0usize);
    let (mut p, mut q) = (Vec::new(), Vec::new());
    for part in images.chunks(AT_ONCE) {
        let (mut ours, mut theirs) = (fed(model, part)?, fed(reference, part)?);
        while let Some(step) = theirs.next() {
            theirs.step()?;
            ours.step()?;
            for image in 0..part.len() {
                for query in 0..step.query {
                    let (want, got) = (theirs.logits(step, image, query)?, ours.logits(step, image, query)?);
                    log_softmax(want, &mut p);
                    log_softmax(got, &mut q);
                    of_position[step.start + query] += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
                    for (&want, &got) in want.iter().zip(got) {
                        let off = f64::from(got) - f64::from(want);
                        // Written so that NaN is kept.
                        largest = if off.abs() <= largest { largest } else { off.abs() };
                        squares += off * off;
                    }
                    same += usize::from(likeliest(want) == likeliest(got));
                }
            }
        }
    }
    let count = images.len() as f64;
    let positions = bundle.tokens() as f64;
    let of_position: Vec<f64> = of_position.iter().map(|sum| sum / count).collect();
    Ok(LogitComparison {
        kl: of_position.iter().sum::<f64>() / positions,
        kl_worst: of_position.iter().copied().fold(0.0, |worst, kl| if kl <= worst { worst } else { kl }),
        logits_max: largest,
        logits_rms: (squares / (count * positions * bundle.codes() as f64)).sqrt(),
        agreement: same as f64 / (count * positions),
        greedy: compare_greedy(model, reference, images)?,
    })
}

/// In f64: the divergence of similar variants is a difference of similar numbers.
fn log_softmax(logits: &[f32], out: &mut Vec<f64>) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    out.clear();
    out.extend(logits.iter().map(|&x| f64::from(x) - f64::from(top)));
    let total = out.iter().map(|x| x.exp()).sum::<f64>().ln();
    out.iter_mut().for_each(|x| *x -= total);
}

fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best })
}

/// Both generate one image of each class.
fn compare_greedy(model: &Model, reference: &Model, images: &[(u32, &[u32])]) -> Result<f64> {
    let mut classes: Vec<u32> = images.iter().map(|image| image.0).collect();
    classes.sort_unstable();
    classes.dedup();
    let (mut same, mut count) = (0usize, 0usize);
    for part in classes.chunks(AT_ONCE) {
        let draw = |model: &Model| {
            let mut request = Request::new(model);
            let sampling = reference.bundle().sampling();
            let guidance = Guidance { scale: sampling.guidance.into(), gradual: sampling.gradual };
            request.set_count(part.len() as u32)?.set_temperature(0.0)?.set_guidance(guidance)?;
            for (at, &class) in part.iter().enumerate() {
                request.set_image(at, ImageRequest { class, seed: 0 })?;
            }
            let mut generation = Generation::new(&request)?;
            generation.finish()?;
            Ok::<_, Error>(generation)
        };
        let (ours, theirs) = (draw(model)?, draw(reference)?);
        for at in 0..part.len() {
            let (a, b) = (ours.tokens(at)?, theirs.tokens(at)?);
            same += a.iter().zip(b).filter(|(a, b)| a == b).count();
            count += a.len();
        }
    }
    Ok(same as f64 / count as f64)
}

fn compare_pixels(model: &Model, reference: &Model, images: &[(u32, &[u32])]) -> Result<BTreeMap<u32, f64>> {
    let mut out = BTreeMap::new();
    for level in reference.bundle().ladder().levels() {
        let (mut squares, mut count) = (0.0, 0usize);
        for part in images.chunks(AT_ONCE) {
            let tokens: Vec<&[u32]> = part.iter().map(|image| &image.1[..level.tokens]).collect();
            let (ours, theirs) = (model.decode_batch(&tokens)?, reference.decode_batch(&tokens)?);
            for (got, want) in ours.iter().zip(&theirs) {
                count += want.planes().len();
                for (got, want) in got.planes().iter().zip(want.planes()) {
                    squares += (f64::from(*got) - f64::from(*want)).powi(2);
                }
            }
        }
        // The squared range of the planes over the mean squared error; NaN stays NaN.
        let error = squares / count as f64;
        out.insert(level.size, 10.0 * (4.0 / if error <= EXACT { EXACT } else { error }).log10());
    }
    Ok(out)
}

fn compare_codes(model: &Model, reference: &Model, images: &[(u32, &[u32])]) -> Result<f64> {
    let (mut same, mut count) = (0usize, 0usize);
    for (_, tokens) in images {
        let picture = picture_of(&reference.decode(tokens)?)?;
        let (ours, theirs) = (model.encode(&picture)?, reference.encode(&picture)?);
        same += ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
        count += theirs.len();
    }
    Ok(same as f64 / count as f64)
}

fn picture_of(image: &Image) -> Result<Picture> {
    let size = image.size();
    let (format, channels) = if image.has_alpha() { (PixelFormat::Rgba8, 4) } else { (PixelFormat::Rgb8, 3) };
    Picture::from_pixels(format, size, size, &image.to_vec(format)?, size as usize * channels)
}
