//! How far one model's numbers are from another's: of two variants of a bundle, or of two bundles of one tokenizer.
//!
//! The figures are the exporter's (`onnx/README.md`, "Judging"): logits after the same tokens, pictures of the same tokens,
//! tokens of the same pictures.

use std::collections::BTreeMap;

use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::model::Model;
use crate::pixels::{Image, Picture, PixelFormat};
use crate::plan::Guidance;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// Pictures that are computed together.
const AT_ONCE: usize = 8;
/// Stands for a squared error of nothing: 206 dB.
const EXACT: f64 = 1e-20;

/// What a precision may be off by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// At most, nats a token.
    pub kl: f64,
    /// At least, dB at the worst level.
    pub psnr: f64,
    /// At least, share of the encoder's tokens.
    pub encoder: f64,
}

impl Tolerance {
    /// That of a precision by its name; none for one that this version does not know.
    pub fn of(precision: &str) -> Option<Self> {
        let (kl, psnr, encoder) = match precision {
            "fp32" => (1e-6, 80.0, 0.99),
            "fp16" => (1e-3, 50.0, 0.97),
            "int8" => (0.01, 32.0, 0.9),
            "int4" => (0.2, 32.0, 0.9),
            _ => return None,
        };
        Some(Self { kl, psnr, encoder })
    }

    /// What two may be apart that may each be off by as much.
    pub fn looser(self, other: Self) -> Self {
        Self { kl: self.kl.max(other.kl), psnr: self.psnr.min(other.psnr), encoder: self.encoder.min(other.encoder) }
    }
}

/// How far a model is from a reference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Of what draws; none when one of the two cannot.
    pub ar: Option<LogitJudgement>,
    /// Peak signal-to-noise ratio of the decoders in dB over -1..1, by the level's size in pixels: the same tokens, all
    /// pictures together.
    pub psnr: BTreeMap<u32, f64>,
    /// Share of tokens that both encoders give alike, for the reference's pictures; none when one of the two cannot encode.
    pub encoder: Option<f64>,
}

/// How far a model's logits are from a reference's, each after the same tokens; and what comes of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogitJudgement {
    /// Kullback-Leibler divergence from the reference's distribution of a token, mean over all tokens, in nats.
    pub kl: f64,
    /// The same, mean over the pictures, of the worst position.
    pub kl_worst: f64,
    /// Largest difference of a logit.
    pub logits_max: f64,
    /// Root of the mean squared difference of the logits.
    pub logits_rms: f64,
    /// Share of positions at which the likeliest token is the same.
    pub agreement: f64,
    /// Share of tokens that are the same when each draws on its own, greedily and with the bundle's guidance: the first one
    /// that differs changes those after it.
    pub greedy: f64,
}

/// How far a model is from the source weights, by the tokens' probabilities in the bundle ([`crate::Bundle::judged`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordJudgement {
    /// An estimate of the Kullback-Leibler divergence, in nats a token: the mean of r - 1 - ln r, where r is how many times
    /// as likely as the source weights the model holds a token. Never negative; right in the mean where the tokens were
    /// drawn by the source weights.
    pub kl: f64,
    /// Largest difference of a log-probability.
    pub largest: f64,
}

impl Judgement {
    /// What lies past a tolerance: a sentence each.
    pub fn past(&self, tolerance: Tolerance) -> Vec<String> {
        let mut out = Vec::new();
        let mut most = |name: &str, value: f64, bound: f64| {
            // Not a number is past any bound.
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

impl Model {
    /// How far this model is from `reference`, over `pictures`: class and tokens of each, whole pictures. The classes only
    /// matter where both can draw.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the two have not one tokenizer, there are no pictures, one of them is not whole, or has no
    /// class of both; those of drawing, decoding and encoding.
    pub fn judge(&self, reference: &Self, pictures: &[(u32, &[u32])]) -> Result<Judgement> {
        let (ours, theirs) = (self.bundle(), reference.bundle());
        if ours.tokenizer_id() != theirs.tokenizer_id() {
            return Err(Error::Invalid(format!(
                "{} and {} have not one tokenizer ({}, {}): their numbers mean different things",
                ours.path().display(),
                theirs.path().display(),
                ours.tokenizer_id(),
                theirs.tokenizer_id()
            )));
        }
        if pictures.is_empty() {
            return Err(Error::Invalid("there are no pictures to judge by".into()));
        }
        for (at, (_, tokens)) in pictures.iter().enumerate() {
            if tokens.len() != ours.tokens() {
                let (have, whole) = (tokens.len(), ours.tokens());
                return Err(Error::Invalid(format!(
                    "picture {at} to judge by has {have} tokens, a whole one has {whole}"
                )));
            }
        }
        let mut judgement = Judgement::default();
        if ours.can_generate() && theirs.can_generate() {
            judgement.ar = Some(judge_logits(self, reference, pictures)?);
        }
        judgement.psnr = judge_pixels(self, reference, pictures)?;
        if ours.can_encode() && theirs.can_encode() {
            judgement.encoder = Some(judge_codes(self, reference, pictures)?);
        }
        Ok(judgement)
    }

    /// How far this model is from its source weights, by what its bundle says of them; none when it says nothing
    /// ([`crate::Bundle::judged`]).
    ///
    /// # Errors
    /// Those of [`score`](Self::score).
    pub fn judge_by_record(&self) -> Result<Option<RecordJudgement>> {
        let (mut sum, mut count, mut largest) = (0.0, 0usize, 0f64);
        for part in self.bundle().judged().chunks(AT_ONCE) {
            let mut pictures = reserve("pictures to judge by", part.len())?;
            pictures.extend(part.iter().map(|picture| (picture.class, &picture.tokens[..])));
            for (scores, picture) in self.score_all(&pictures)?.iter().zip(part) {
                for (&now, &then) in scores.iter().zip(&picture.log_probabilities) {
                    let log_ratio = f64::from(now) - f64::from(then);
                    sum += log_ratio.exp_m1() - log_ratio;
                    largest = largest.max(log_ratio.abs());
                    count += 1;
                }
            }
        }
        Ok((count > 0).then(|| RecordJudgement { kl: sum / count as f64, largest }))
    }
}

/// A generation that is fed these tokens, without guidance.
fn fed(model: &Model, pictures: &[(u32, &[u32])]) -> Result<Generation> {
    let mut request = Request::new(model);
    request.set_count(pictures.len() as u32)?.set_guidance(Guidance::constant(1.0))?;
    for (at, &(class, tokens)) in pictures.iter().enumerate() {
        request.set_image(at, ImageRequest { class, seed: 0 })?.set_image_prefix(at, tokens)?;
    }
    Generation::begin(&request, true)
}

fn judge_logits(model: &Model, reference: &Model, pictures: &[(u32, &[u32])]) -> Result<LogitJudgement> {
    let bundle = reference.bundle();
    let mut of_position = vec![0.0; bundle.tokens()];
    let (mut largest, mut squares, mut same) = (0f64, 0.0, 0usize);
    let (mut p, mut q) = (Vec::new(), Vec::new());
    for part in pictures.chunks(AT_ONCE) {
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
                        // A comparison keeps what is not a number out; it must come through.
                        largest = if off.abs() <= largest { largest } else { off.abs() };
                        squares += off * off;
                    }
                    same += usize::from(likeliest(want) == likeliest(got));
                }
            }
        }
    }
    let count = pictures.len() as f64;
    let positions = bundle.tokens() as f64;
    let of_position: Vec<f64> = of_position.iter().map(|sum| sum / count).collect();
    Ok(LogitJudgement {
        kl: of_position.iter().sum::<f64>() / positions,
        kl_worst: of_position.iter().copied().fold(0.0, |worst, kl| if kl <= worst { worst } else { kl }),
        logits_max: largest,
        logits_rms: (squares / (count * positions * bundle.codes() as f64)).sqrt(),
        agreement: same as f64 / (count * positions),
        greedy: judge_greedy(model, reference, pictures)?,
    })
}

/// In f64: the divergences of near variants are differences of near numbers.
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

/// Both draw the pictures' classes, each once.
fn judge_greedy(model: &Model, reference: &Model, pictures: &[(u32, &[u32])]) -> Result<f64> {
    let mut classes: Vec<u32> = pictures.iter().map(|picture| picture.0).collect();
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

fn judge_pixels(model: &Model, reference: &Model, pictures: &[(u32, &[u32])]) -> Result<BTreeMap<u32, f64>> {
    let mut out = BTreeMap::new();
    for level in reference.bundle().ladder().levels() {
        let (mut squares, mut count) = (0.0, 0usize);
        for part in pictures.chunks(AT_ONCE) {
            let tokens: Vec<&[u32]> = part.iter().map(|picture| &picture.1[..level.tokens]).collect();
            let (ours, theirs) = (model.decode_batch(&tokens)?, reference.decode_batch(&tokens)?);
            for (got, want) in ours.iter().zip(&theirs) {
                count += want.planes().len();
                for (got, want) in got.planes().iter().zip(want.planes()) {
                    squares += (f64::from(*got) - f64::from(*want)).powi(2);
                }
            }
        }
        // The planes' range of 2, squared, over the mean squared error; not a number stays one.
        let error = squares / count as f64;
        out.insert(level.size, 10.0 * (4.0 / if error <= EXACT { EXACT } else { error }).log10());
    }
    Ok(out)
}

fn judge_codes(model: &Model, reference: &Model, pictures: &[(u32, &[u32])]) -> Result<f64> {
    let (mut same, mut count) = (0usize, 0usize);
    for (_, tokens) in pictures {
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
