//! What to generate: how many images, of which classes, from which seeds and prefixes, up to which level, and how to sample.
//! Every setter checks its arguments at once.

use std::ops::Range;
use std::sync::Arc;

use crate::model::Model;
use crate::pixels::Picture;
use crate::plan::{Curve, Guidance, Mix};
use crate::sample::{Sampling, SamplingCurves};
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};
use crate::tokens::Dft;

/// Memory ends long before.
const MAX_IMAGES: u32 = 1 << 20;

/// One image of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRequest {
    /// Index of its class; of a [`Mix`] that of its main class.
    pub class: u32,
    /// Its seed. The same model, class, seed and settings give the same tokens, whatever else is in the batch.
    pub seed: u64,
}

/// A request for one or more images, each with its own class and seed, generated as one batch.
///
/// A new request asks for one image of class 0 with seed 0 at the finest level, with the sampling settings of the bundle.
#[derive(Debug, Clone)]
pub struct Request {
    model: Model,
    pub(crate) images: Vec<ImageRequest>,
    /// The tokens that each image begins with: one prefix per image, or none at all.
    pub(crate) prefixes: Vec<Arc<[u32]>>,
    /// The mix of each image, or none at all; where all are of one class it may be either. An image of one class has `None`.
    pub(crate) mixes: Vec<Option<Arc<Mix>>>,
    pub(crate) guidance: Guidance,
    pub(crate) sampling: SamplingCurves,
    pub(crate) target: usize,
    pub(crate) log_probabilities: bool,
}

/// Classes with their weights, and classes to avoid with their strengths.
type Parts = (Vec<(u32, Curve)>, Vec<(u32, Curve)>);

/// What became of the class and the mix of an image.
struct Changed {
    class: u32,
    before: Option<Arc<Mix>>,
    main: u32,
    after: Option<Arc<Mix>>,
}

#[allow(clippy::disallowed_methods, reason = "few classes; longer lists are refused when they become a mix")]
fn list(classes: &[(u32, Curve)]) -> Vec<(u32, Curve)> {
    classes.to_vec()
}

/// A list in which a class has this weight.
fn with(list: &[(u32, Curve)], class: u32, weight: &Curve) -> Vec<(u32, Curve)> {
    let others = list.iter().filter(|(other, _)| *other != class).cloned();
    others.chain([(class, weight.clone())]).collect()
}

impl Request {
    /// A request for `model`.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let bundle = model.bundle();
        let defaults = bundle.sampling();
        let sampling = Sampling { temperature: defaults.temperature, top_k: defaults.top_k, top_p: defaults.top_p };
        Self {
            model: model.clone(),
            images: vec![ImageRequest { class: 0, seed: 0 }],
            prefixes: Vec::new(),
            mixes: Vec::new(),
            guidance: Guidance { scale: defaults.guidance.into(), gradual: defaults.gradual },
            sampling: sampling.into(),
            target: bundle.tokens(),
            log_probabilities: false,
        }
    }

    /// A copy; fails where memory is short.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let mut images = reserve("a request", self.images.len())?;
        images.extend_from_slice(&self.images);
        let mut prefixes = reserve("a request", self.prefixes.len())?;
        prefixes.extend_from_slice(&self.prefixes);
        let mut mixes = reserve("a request", self.mixes.len())?;
        mixes.extend_from_slice(&self.mixes);
        Ok(Self {
            model: self.model.clone(),
            images,
            prefixes,
            mixes,
            guidance: self.guidance.clone(),
            sampling: self.sampling.clone(),
            target: self.target,
            log_probabilities: self.log_probabilities,
        })
    }

    /// The model that it is for.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Class and seed of each image.
    #[must_use]
    pub fn images(&self) -> &[ImageRequest] {
        &self.images
    }

    /// Sets the number of images: 1 (the default) to 2^20. Additional images take the class or mix and the prefix of the first
    /// one, and the seeds that follow its own.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `count` is out of range; [`Error::OutOfMemory`].
    pub fn set_count(&mut self, count: u32) -> Result<&mut Self> {
        if !(1..=MAX_IMAGES).contains(&count) {
            return Err(Error::Invalid(format!("a count of {count} is out of range: 1 to {MAX_IMAGES}")));
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
            let rest = count - prefixes.len();
            prefixes.extend(std::iter::repeat_n(prefix, rest));
            self.prefixes = prefixes;
        }
        if let Some(mix) = self.mixes.first().cloned() {
            let mut mixes = reserve("a request", count)?;
            mixes.extend(self.mixes.iter().take(count).cloned());
            let rest = count - mixes.len();
            mixes.extend(std::iter::repeat_n(mix, rest));
            self.mixes = mixes;
        }
        self.images = images;
        Ok(self)
    }

    /// Sets the class of every image; default 0. It replaces a mix of several classes; classes to avoid stay.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the model has no such class.
    pub fn set_class(&mut self, class: u32) -> Result<&mut Self> {
        self.model.bundle().check_class(class)?;
        if self.mixes.is_empty() {
            self.images.iter_mut().for_each(|image| image.class = class);
            return Ok(self);
        }
        self.set_classes(&[(class, 1.0.into())])
    }

    /// Sets the classes of every image with their weights, each a number or a [`Curve`] over the tokens; see [`Mix`]. Classes to
    /// avoid stay. Each class after the first costs a batch row of each image.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the model has no such class, and those of [`Mix::new`].
    pub fn set_classes(&mut self, classes: &[(u32, Curve)]) -> Result<&mut Self> {
        self.change_mixes(0..self.images.len(), &|mix| (list(classes), list(mix.avoid())))
    }

    /// Sets the classes that every image keeps away from, with their strengths, each a number or a [`Curve`] over the tokens; see
    /// [`Mix`]. None (the default) is an empty slice. Each of them costs a batch row of each image, and where guidance is off
    /// they cost the unconditional row as well.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the model has no such class, and those of [`Mix::new`].
    pub fn set_avoid(&mut self, classes: &[(u32, Curve)]) -> Result<&mut Self> {
        self.change_mixes(0..self.images.len(), &|mix| (list(mix.classes()), list(classes)))
    }

    /// Sets the weight of one class of every image, a number or a [`Curve`]. The class joins those of the image if it is not
    /// among them.
    ///
    /// # Errors
    /// Those of [`set_classes`](Self::set_classes).
    pub fn set_class_weight(&mut self, class: u32, weight: impl Into<Curve>) -> Result<&mut Self> {
        let weight = weight.into();
        self.change_mixes(0..self.images.len(), &|mix| (with(mix.classes(), class, &weight), list(mix.avoid())))
    }

    /// Sets the strength with which every image keeps away from one class, a number or a [`Curve`].
    ///
    /// # Errors
    /// Those of [`set_avoid`](Self::set_avoid).
    pub fn set_avoid_strength(&mut self, class: u32, strength: impl Into<Curve>) -> Result<&mut Self> {
        let strength = strength.into();
        self.change_mixes(0..self.images.len(), &|mix| (list(mix.classes()), with(mix.avoid(), class, &strength)))
    }

    /// Sets the mix of every image: [`set_classes`](Self::set_classes) and [`set_avoid`](Self::set_avoid) in one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the model has no such class.
    pub fn set_mix(&mut self, mix: &Mix) -> Result<&mut Self> {
        self.change_mixes(0..self.images.len(), &|_| (list(mix.classes()), list(mix.avoid())))
    }

    /// Sets the mix of one image.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range or the model has no such class.
    pub fn set_image_mix(&mut self, image_index: usize, mix: &Mix) -> Result<&mut Self> {
        self.set_image_classes(image_index, Some(mix.classes()), Some(mix.avoid()))
    }

    /// Sets the classes of every image to those of a token sequence: its mix, or its class with nothing to avoid. A sequence
    /// without a class, as of a picture that was encoded, changes nothing. Returns whether it had one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the sequence does not belong to the model ([`Bundle::check_dft`](crate::Bundle::check_dft)).
    pub fn set_classes_of(&mut self, dft: &Dft) -> Result<bool> {
        self.model.bundle().check_dft(dft)?;
        match (&dft.mix, dft.class) {
            (Some(mix), _) => self.set_mix(mix)?,
            (None, Some(class)) => self.set_avoid(&[])?.set_class(class)?,
            (None, None) => return Ok(false),
        };
        Ok(true)
    }

    /// The mix of one image; `None` if it is of one class and avoids none, or there is no such image.
    #[must_use]
    pub fn mix(&self, image_index: usize) -> Option<&Mix> {
        self.mixes.get(image_index)?.as_deref()
    }

    /// Sets classes, classes to avoid, or both, of one image.
    pub(crate) fn set_image_classes(
        &mut self,
        image_index: usize,
        classes: Option<&[(u32, Curve)]>,
        avoid: Option<&[(u32, Curve)]>,
    ) -> Result<&mut Self> {
        self.check_index(image_index)?;
        self.change_mixes(image_index..image_index + 1, &|mix| {
            (list(classes.unwrap_or(mix.classes())), list(avoid.unwrap_or(mix.avoid())))
        })
    }

    /// Gives images the classes, and classes to avoid, that `change` makes of their own.
    fn change_mixes(&mut self, images: Range<usize>, change: &dyn Fn(&Mix) -> Parts) -> Result<&mut Self> {
        let bundle = self.model.bundle();
        let name = |class: u32| bundle.classes().get(class as usize).cloned().unwrap_or_else(|| class.to_string());
        let mut found = reserve("a request", images.len())?;
        // Images that were alike share their mix.
        let mut last: Option<Changed> = None;
        for image in images.clone() {
            let (class, before) = (self.images[image].class, self.mixes.get(image).cloned().flatten());
            let changed = match last.take() {
                Some(last) if last.class == class && last.before == before => last,
                _ => {
                    let own = before.as_deref().cloned().map_or_else(|| Mix::new(&[(class, 1.0.into())], &[]), Ok)?;
                    let (classes, avoid) = change(&own);
                    for &(class, _) in classes.iter().chain(&avoid).filter(|part| part.0 != Mix::NO_CLASS) {
                        bundle.check_class(class)?;
                    }
                    let mix = Mix::named(&classes, &avoid, &name)?;
                    let main = mix.main_class();
                    Changed { class, before, main, after: mix.as_class().is_none().then(|| Arc::new(mix)) }
                }
            };
            found.push((changed.main, changed.after.clone()));
            last = Some(changed);
        }
        let plain = found.iter().all(|(_, mix)| mix.is_none());
        if plain && images.len() == self.images.len() {
            self.mixes = Vec::new();
        } else if self.mixes.is_empty() && !plain {
            self.mixes = filled("a request", self.images.len(), None)?;
        }
        // No more than the images that change: a setter of one image does not look at the others.
        for (image, (class, mix)) in images.zip(found) {
            self.images[image].class = class;
            if let Some(place) = self.mixes.get_mut(image) {
                *place = mix;
            }
        }
        Ok(self)
    }

    /// Sets the seed of the first image, default 0; the others take the seeds that follow: S, S+1 … (wrapping).
    pub fn set_seed(&mut self, seed: u64) -> &mut Self {
        for (at, image) in self.images.iter_mut().enumerate() {
            image.seed = seed.wrapping_add(at as u64);
        }
        self
    }

    /// Sets class and seed of one image. The class replaces a mix of several classes; classes to avoid stay.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range or the model has no such class.
    pub fn set_image(&mut self, image_index: usize, image: ImageRequest) -> Result<&mut Self> {
        self.model.bundle().check_class(image.class)?;
        self.check_index(image_index)?;
        if self.mix(image_index).is_some() {
            self.set_image_classes(image_index, Some(&[(image.class, 1.0.into())]), None)?;
        }
        self.images[image_index] = image;
        Ok(self)
    }

    /// Sets the tokens that every image begins with: any number within the causal part, or whole groups after it. They are
    /// taken as they are, and the rest is sampled after them. Prefill takes one step per token or group, once for all
    /// images that share a class. An empty slice (the default) is no prefix.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number of tokens is not that of a prefix, or a token is not in the codebook.
    pub fn set_prefix(&mut self, tokens: &[u32]) -> Result<&mut Self> {
        if tokens.is_empty() {
            self.prefixes.clear();
            return Ok(self);
        }
        self.model.check_prefix(tokens)?;
        self.prefixes = filled("a request", self.images.len(), Arc::<[u32]>::from(tokens))?;
        Ok(self)
    }

    /// Sets the tokens that one image begins with. The prefixes of all images must have one length when the generation
    /// starts.
    ///
    /// # Errors
    /// Those of [`set_prefix`](Self::set_prefix), and [`Error::Invalid`] when `image_index` is out of range.
    pub fn set_image_prefix(&mut self, image_index: usize, tokens: &[u32]) -> Result<&mut Self> {
        self.check_index(image_index)?;
        if !tokens.is_empty() {
            self.model.check_prefix(tokens)?;
        }
        if self.prefixes.is_empty() {
            self.prefixes = filled("a request", self.images.len(), Arc::default())?;
        }
        self.prefixes[image_index] = tokens.into();
        Ok(self)
    }

    /// How many tokens the first image begins with; 0 without a prefix.
    #[must_use]
    pub fn prefix_tokens(&self) -> usize {
        self.prefixes.first().map_or(0, |prefix| prefix.len())
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

    /// Sets classifier-free guidance: constant, gradual or a curve. Scale 1 is off and computes no unconditional half, but for
    /// images that avoid classes.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the scale is not 0 to 1000 at any token.
    pub fn set_guidance(&mut self, guidance: Guidance) -> Result<&mut Self> {
        guidance.check().map_err(Error::Invalid)?;
        self.guidance = guidance;
        Ok(self)
    }

    /// The guidance of every image.
    #[must_use]
    pub fn guidance(&self) -> &Guidance {
        &self.guidance
    }

    /// Sets temperature, top-k and top-p, the same for every token.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one is out of its range (see [`Sampling`]).
    pub fn set_sampling(&mut self, sampling: Sampling) -> Result<&mut Self> {
        sampling.check().map_err(Error::Invalid)?;
        self.sampling = sampling.into();
        Ok(self)
    }

    /// Sets the temperature: a number or a [`Curve`]; see [`Sampling::temperature`].
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is out of range at any token.
    pub fn set_temperature(&mut self, temperature: impl Into<Curve>) -> Result<&mut Self> {
        self.change_sampling(|sampling| sampling.temperature = temperature.into())
    }

    /// Sets top-k: a number or a [`Curve`], rounded at each token; see [`Sampling::top_k`]. 0 is off, and counts as the
    /// whole codebook where a curve is interpolated towards it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is out of range at any token.
    pub fn set_top_k(&mut self, top_k: impl Into<Curve>) -> Result<&mut Self> {
        self.change_sampling(|sampling| sampling.top_k = top_k.into())
    }

    /// Sets top-p: a number or a [`Curve`]; see [`Sampling::top_p`].
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is out of range at any token.
    pub fn set_top_p(&mut self, top_p: impl Into<Curve>) -> Result<&mut Self> {
        self.change_sampling(|sampling| sampling.top_p = top_p.into())
    }

    /// The sampling settings of every image.
    #[must_use]
    pub fn sampling(&self) -> &SamplingCurves {
        &self.sampling
    }

    /// Sets the level at which the generation stops, in pixels per side; 0 (the default) is the finest.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists the levels).
    pub fn set_level_size(&mut self, level_size: u32) -> Result<&mut Self> {
        self.target = if level_size == 0 { self.model.bundle().tokens() } else { self.model.level(level_size)?.tokens };
        Ok(self)
    }

    /// How many tokens each image will have.
    #[must_use]
    pub fn target(&self) -> usize {
        self.target
    }

    /// Whether to keep the log-probability of each token for
    /// [`Generation::log_probabilities`](crate::Generation::log_probabilities); default off. Costs one pass over the
    /// codebook per token.
    pub fn set_log_probabilities(&mut self, on: bool) -> &mut Self {
        self.log_probabilities = on;
        self
    }

    /// Sets the number of tokens that each image will have; at least those that it begins with.
    #[cfg(feature = "worker")]
    pub(crate) fn stop_at(&mut self, tokens: usize) {
        self.target = tokens.max(self.prefixes.first().map_or(0, |prefix| prefix.len()));
    }

    /// How many tokens the images begin with.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the prefixes differ in length, or are longer than what is asked for.
    pub(crate) fn given(&self) -> Result<usize> {
        let Some(first) = self.prefixes.first() else { return Ok(0) };
        let given = first.len();
        if let Some(other) = self.prefixes.iter().position(|prefix| prefix.len() != given) {
            return Err(Error::Invalid(format!(
                "image 0 begins with {given} tokens, image {other} with {}: the prefixes of a request have one length",
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::ModelOptions;

    #[test]
    fn mix_of_one_image_is_set_without_a_copy_of_the_others() {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small");
        let options = ModelOptions::new().with_precision("int8").with_threads(1);
        let mut request = Request::new(&Model::open(&bundle, &options).unwrap());
        request.set_count(3).unwrap();
        let mix = Mix::new(&[(0, 1.0.into()), (2, 0.5.into())], &[]).unwrap();
        request.set_image_mix(1, &mix).unwrap();
        let place = request.mixes.as_ptr();
        request.set_image_mix(2, &mix).unwrap().set_image(1, ImageRequest { class: 1, seed: 4 }).unwrap();
        assert_eq!(request.mixes.as_ptr(), place);
        assert_eq!([0, 1, 2].map(|image| request.mix(image)), [None, None, Some(&mix)]);
        assert_eq!([0, 1, 2].map(|image| request.images()[image].class), [0, 1, 0]);
        assert!(request.set_image_mix(0, &Mix::new(&[(9, 1.0.into())], &[]).unwrap()).is_err());
        request.set_class(2).unwrap();
        assert!(request.mixes.is_empty() && request.images().iter().all(|image| image.class == 2));
    }
}
