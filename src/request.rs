//! What to draw: how many pictures, of which classes, from which seeds, how far and how boldly. Every setter checks
//! at once.

use crate::error::{Error, Result};
use crate::memory::reserve;
use crate::model::Model;
use crate::plan::Guidance;
use crate::sample::Sampling;

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
    pub(crate) guidance: Guidance,
    pub(crate) sampling: Sampling,
    pub(crate) target: usize,
}

impl Request {
    /// A request to `model`.
    pub fn new(model: &Model) -> Self {
        let bundle = model.bundle();
        let defaults = bundle.sampling();
        Self {
            model: model.clone(),
            images: vec![ImageRequest { class: 0, seed: 0 }],
            guidance: Guidance { scale: defaults.guidance, gradual: defaults.gradual },
            sampling: Sampling { temperature: defaults.temperature, top_k: defaults.top_k, top_p: defaults.top_p },
            target: bundle.tokens(),
        }
    }

    /// The model that it is for.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The pictures asked for.
    pub fn images(&self) -> &[ImageRequest] {
        &self.images
    }

    /// How many pictures, at least 1. Further ones take the class of the first and the seeds that follow its own.
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
        let count = self.images.len();
        let place = self
            .images
            .get_mut(index)
            .ok_or_else(|| Error::Invalid(format!("image {index} is out of range: the request has {count}")))?;
        *place = image;
        Ok(self)
    }

    /// Guidance, constant or gradual. Scale 1 is off and runs no unconditional half.
    pub fn set_guidance(&mut self, guidance: Guidance) -> Result<&mut Self> {
        guidance.check().map_err(Error::Invalid)?;
        self.guidance = guidance;
        Ok(self)
    }

    /// The guidance in force.
    pub fn guidance(&self) -> Guidance {
        self.guidance
    }

    /// Temperature, top-k and top-p.
    pub fn set_sampling(&mut self, sampling: Sampling) -> Result<&mut Self> {
        sampling.check().map_err(Error::Invalid)?;
        self.sampling = sampling;
        Ok(self)
    }

    /// The sampling in force.
    pub fn sampling(&self) -> Sampling {
        self.sampling
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
}
