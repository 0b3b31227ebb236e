//! What to draw: how many pictures, of which classes, from which seeds and which tokens on, how far and how boldly.
//! Every setter checks at once.

use std::sync::Arc;

use crate::model::Model;
use crate::pixels::Picture;
use crate::plan::{Curve, Guidance};
use crate::sample::{Sampling, SamplingCurves};
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// The most pictures of one request; memory ends long before.
const MOST_IMAGES: u32 = 1 << 20;

/// One picture of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRequest {
    /// Index of its class.
    pub class: u32,
    /// Its seed: the same model, class, seed and settings give the same tokens, wherever the picture stands in a
    /// batch.
    pub seed: u64,
}

/// A request: `count` pictures, each with its own class and seed, drawn together.
///
/// A new one asks for one picture of class 0 with seed 0, sampled as the bundle's makers would, at the full level.
#[derive(Debug, Clone)]
pub struct Request {
    model: Model,
    pub(crate) images: Vec<ImageRequest>,
    /// What each picture begins with; one for each picture, or none at all.
    pub(crate) prefixes: Vec<Arc<[u32]>>,
    pub(crate) guidance: Guidance,
    pub(crate) sampling: SamplingCurves,
    pub(crate) target: usize,
    pub(crate) log_probabilities: bool,
}

impl Request {
    /// A request to `model`.
    pub fn new(model: &Model) -> Self {
        let bundle = model.bundle();
        let defaults = bundle.sampling();
        let sampling = Sampling { temperature: defaults.temperature, top_k: defaults.top_k, top_p: defaults.top_p };
        Self {
            model: model.clone(),
            images: vec![ImageRequest { class: 0, seed: 0 }],
            prefixes: Vec::new(),
            guidance: Guidance { scale: defaults.guidance.into(), gradual: defaults.gradual },
            sampling: sampling.into(),
            target: bundle.tokens(),
            log_probabilities: false,
        }
    }

    /// A copy, in memory that may be refused.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let mut images = reserve("a request", self.images.len())?;
        images.extend_from_slice(&self.images);
        let mut prefixes = reserve("a request", self.prefixes.len())?;
        prefixes.extend_from_slice(&self.prefixes);
        Ok(Self {
            model: self.model.clone(),
            images,
            prefixes,
            guidance: self.guidance.clone(),
            sampling: self.sampling.clone(),
            target: self.target,
            log_probabilities: self.log_probabilities,
        })
    }

    /// The model that it is for.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The pictures asked for.
    pub fn images(&self) -> &[ImageRequest] {
        &self.images
    }

    /// How many pictures, at least 1. Further ones take the class and prefix of the first and the seeds that follow its
    /// own.
    pub fn set_count(&mut self, count: u32) -> Result<&mut Self> {
        if !(1..=MOST_IMAGES).contains(&count) {
            return Err(Error::Invalid(format!("a count of {count} is not 1 to {MOST_IMAGES}")));
        }
        let count = count as usize;
        let first = self.images[0];
        let mut images = reserve("a request", count)?;
        images.extend_from_slice(&self.images[..count.min(self.images.len())]);
        images.extend(
            (images.len()..count)
                .map(|at| ImageRequest { class: first.class, seed: first.seed.wrapping_add(at as u64) }),
        );
        if let Some(prefix) = self.prefixes.first().cloned() {
            let mut prefixes = reserve("a request", count)?;
            prefixes.extend(self.prefixes.iter().take(count).cloned());
            prefixes.resize(count, prefix);
            self.prefixes = prefixes;
        }
        self.images = images;
        Ok(self)
    }

    /// The class of every picture.
    pub fn set_class(&mut self, class: u32) -> Result<&mut Self> {
        self.model.bundle().check_class(class)?;
        self.images.iter_mut().for_each(|image| image.class = class);
        Ok(self)
    }

    /// The seed of the first picture; the others take those that follow: S, S+1 … (wrapping).
    pub fn set_seed(&mut self, seed: u64) -> &mut Self {
        for (at, image) in self.images.iter_mut().enumerate() {
            image.seed = seed.wrapping_add(at as u64);
        }
        self
    }

    /// Class and seed of one picture.
    pub fn set_image(&mut self, index: usize, image: ImageRequest) -> Result<&mut Self> {
        self.model.bundle().check_class(image.class)?;
        self.check_index(index)?;
        self.images[index] = image;
        Ok(self)
    }

    /// The tokens that every picture begins with: those of a level, or any count within the causal part, or whole
    /// groups. They are taken as they are, and the rest is drawn after them. They take their steps again,
    /// once for all pictures that share a class. None (the empty slice) draws from nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not a prefix of the model's, or a token is not of its codebook.
    pub fn set_prefix(&mut self, tokens: &[u32]) -> Result<&mut Self> {
        if tokens.is_empty() {
            self.prefixes.clear();
            return Ok(self);
        }
        self.model.check_prefix(tokens)?;
        let mut prefixes = reserve("a request", self.images.len())?;
        prefixes.resize(self.images.len(), Arc::<[u32]>::from(tokens));
        self.prefixes = prefixes;
        Ok(self)
    }

    /// The tokens that one picture begins with. In the end all pictures of a request have prefixes of one length: they
    /// are drawn in step.
    ///
    /// # Errors
    /// Those of [`set_prefix`](Self::set_prefix), and [`Error::Invalid`] when there is no such picture.
    pub fn set_image_prefix(&mut self, index: usize, tokens: &[u32]) -> Result<&mut Self> {
        self.check_index(index)?;
        if !tokens.is_empty() {
            self.model.check_prefix(tokens)?;
        }
        if self.prefixes.is_empty() {
            self.prefixes = reserve("a request", self.images.len())?;
            self.prefixes.resize(self.images.len(), Arc::default());
        }
        self.prefixes[index] = tokens.into();
        Ok(self)
    }

    /// Begins every image with the tokens of the level of `level_size` pixels of `tokens`; 0 keeps all of them. What is
    /// sampled after them keeps the composition that is visible at that level: variations when the seeds differ, the same
    /// image at a finer level when nothing was sampled beyond `tokens` yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists the levels) or the tokens do not reach it; those of
    /// [`set_prefix`](Self::set_prefix).
    pub fn set_prefix_level(&mut self, tokens: &[u32], level_size: u32) -> Result<&mut Self> {
        let kept = if level_size == 0 { tokens } else { self.model.level_tokens(tokens, level_size)? };
        self.set_prefix(kept)
    }

    /// Encodes `picture` and begins every image with its tokens of the level of `level_size` pixels; 0 keeps all of them,
    /// and then nothing is sampled.
    ///
    /// # Errors
    /// Those of [`Model::encode`], and [`Error::Invalid`] when there is no such level (the error lists the levels).
    pub fn set_prefix_picture(&mut self, picture: &Picture, level_size: u32) -> Result<&mut Self> {
        // A level that does not exist is an error before the encoder runs.
        let count = if level_size == 0 { self.model.bundle().tokens() } else { self.model.level(level_size)?.tokens };
        let tokens = self.model.encode(picture)?;
        self.set_prefix(&tokens[..count])
    }

    /// Guidance, constant, gradual or a curve. Scale 1 is off and runs no unconditional half.
    pub fn set_guidance(&mut self, guidance: Guidance) -> Result<&mut Self> {
        guidance.check().map_err(Error::Invalid)?;
        self.guidance = guidance;
        Ok(self)
    }

    /// The guidance in force.
    pub fn guidance(&self) -> &Guidance {
        &self.guidance
    }

    /// Temperature, top-k and top-p, the same for every token.
    pub fn set_sampling(&mut self, sampling: Sampling) -> Result<&mut Self> {
        sampling.check().map_err(Error::Invalid)?;
        self.sampling = sampling.into();
        Ok(self)
    }

    /// The temperature: a number or a [`Curve`]; see [`Sampling::temperature`].
    pub fn set_temperature(&mut self, temperature: impl Into<Curve>) -> Result<&mut Self> {
        self.change_sampling(|sampling| sampling.temperature = temperature.into())
    }

    /// Top-k: a number or a [`Curve`], rounded at each token; see [`Sampling::top_k`]. 0, which is off, counts as the
    /// whole codebook where a line leads to it.
    pub fn set_top_k(&mut self, top_k: impl Into<Curve>) -> Result<&mut Self> {
        self.change_sampling(|sampling| sampling.top_k = top_k.into())
    }

    /// Top-p: a number or a [`Curve`]; see [`Sampling::top_p`].
    pub fn set_top_p(&mut self, top_p: impl Into<Curve>) -> Result<&mut Self> {
        self.change_sampling(|sampling| sampling.top_p = top_p.into())
    }

    /// The sampling in force.
    pub fn sampling(&self) -> &SamplingCurves {
        &self.sampling
    }

    /// Stop at the level of `size` pixels; 0 is the finest. The error lists the levels that are.
    pub fn set_level(&mut self, size: u32) -> Result<&mut Self> {
        self.target = if size == 0 { self.model.bundle().tokens() } else { self.model.level(size)?.tokens };
        Ok(self)
    }

    /// How many tokens each picture will have.
    pub fn target(&self) -> usize {
        self.target
    }

    /// Whether to keep the log-probability of each token, for
    /// [`Generation::log_probabilities`](crate::Generation::log_probabilities). Costs a pass over the codebook for each
    /// token.
    pub fn set_log_probabilities(&mut self, keep: bool) -> &mut Self {
        self.log_probabilities = keep;
        self
    }

    /// How many tokens the pictures begin with, when that can be drawn from.
    pub(crate) fn given(&self) -> Result<usize> {
        let Some(first) = self.prefixes.first() else { return Ok(0) };
        let given = first.len();
        if let Some(other) = self.prefixes.iter().position(|prefix| prefix.len() != given) {
            return Err(Error::Invalid(format!(
                "picture 0 begins with {given} tokens and picture {other} with {}: in one request they are as many",
                self.prefixes[other].len()
            )));
        }
        if given > self.target {
            return Err(Error::Invalid(format!(
                "the prefix has {given} tokens, the level asked for has {}",
                self.target
            )));
        }
        Ok(given)
    }

    fn change_sampling(&mut self, change: impl FnOnce(&mut SamplingCurves)) -> Result<&mut Self> {
        let mut sampling = self.sampling.clone();
        change(&mut sampling);
        sampling.check().map_err(Error::Invalid)?;
        self.sampling = sampling;
        Ok(self)
    }

    fn check_index(&self, index: usize) -> Result<()> {
        let count = self.images.len();
        if index < count {
            return Ok(());
        }
        Err(Error::Invalid(format!("image {index} is out of range: the request has {count}")))
    }
}
