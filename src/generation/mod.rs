//! One request on its way: the only loop. Each step runs the autoregressive graph on what stands before, guides the
//! logits and samples tokens from them (DETAILFLOW paper section 3.4).
//!
//! A [`Generation`] is what is asked ([`Spec`], which hardly changes) and what grows ([`State`]: KV cache, batch rows,
//! tokens). `rows` says which batch rows a step feeds, `sample_step` turns its logits into tokens, `together` steps
//! several generations in one run of the graph, `publish` and `snapshot` show other threads how far it is, `cancel` stops
//! it.

mod cancel;
mod progress;
mod publish;
pub(crate) mod request;
pub(crate) mod rows;
mod sample_step;
mod snapshot;
mod state;
#[cfg(feature = "worker")]
mod suspend;
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker steps generations together"))]
mod together;

use std::time::{Duration, Instant};

use crate::generation::cancel::{Interrupts, Signal};
pub use crate::generation::progress::{Memory, Progress};
use crate::generation::progress::{check_image, mean};
use crate::generation::publish::Published;
use crate::generation::request::{ImageRequest, Request};
use crate::generation::rows::{Asked, BatchRows};
use crate::generation::sample_step::Pending;
pub use crate::generation::snapshot::{Reader, Snapshot};
use crate::generation::state::{Boards, Spec, State};
#[cfg(feature = "worker")]
pub(crate) use crate::generation::together::step_together;
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::{Mix, Step};
use crate::runtime::{Interrupt, KvCache};
use crate::sample::SamplerPool;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};
use crate::support::sync::Arc;

/// Stops a generation from any thread, at any time: also while a graph runs, also after the generation is gone. Clones
/// stop the same generation.
#[derive(Clone)]
pub struct Cancel(Arc<Signal<Interrupt>>);

impl Interrupts for Interrupt {
    fn trigger(&self) {
        self.trigger();
    }
}

impl Cancel {
    fn new() -> Result<Self> {
        Ok(Self(Signal::new(Interrupt::new()?)))
    }

    /// Stops it within one step. The step in progress, and every later one, returns [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

/// A request on its way. It belongs to one thread at a time and may move between threads; any number of generations share
/// a model and take turns by the step. Other threads look at it through a [`Reader`] and stop it through a [`Cancel`].
pub struct Generation {
    spec: Spec,
    state: State,
    cancel: Cancel,
    boards: Boards,
    published: Arc<Published<Snapshot>>,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("images", &self.spec.images.len())
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// Starts a generation: reserves the memory that its steps will need, samples nothing yet. More is asked for later
    /// where batch rows change: when images that share a prefix part; when guidance ends before the images do, for the
    /// moment of the change; by form `plain`, step by step.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the batch is too large for this machine; nothing stays allocated then, and a smaller
    /// request works. [`Error::Invalid`] when the prefixes differ in length, or are longer than what is asked for.
    /// [`Error::State`] when the bundle holds the decoder alone.
    pub fn new(request: &Request) -> Result<Self> {
        Self::begin(request, false)
    }

    /// As [`new`](Self::new); `scoring` computes all tokens that are given.
    pub(crate) fn begin(request: &Request, scoring: bool) -> Result<Self> {
        let _host = host::enter();
        host::check_threads()?;
        let model = request.model().clone();
        let bundle = model.bundle();
        let each = bundle.tokens();
        let given = request.given()?;
        let schedule = model.schedule(request.target);
        let count = request.images.len();
        let mut images = reserve("a generation", count)?;
        images.extend_from_slice(&request.images);
        let mut tokens = filled("tokens", count.saturating_mul(each), 0)?;
        for (tokens, prefix) in tokens.chunks_exact_mut(each).zip(&request.prefixes) {
            tokens[..given].copy_from_slice(prefix);
        }
        let guidance = (!scoring).then_some(&request.guidance);
        let asked = Asked { images: &images, mixes: &request.mixes, guidance };
        let whole = asked.rows(0);
        let rows =
            if given > 0 { BatchRows::distinct(&asked, 0, &request.prefixes)? } else { BatchRows::all(&asked, 0)? };
        let mut mixes = reserve("a generation", request.mixes.len())?;
        mixes.extend_from_slice(&request.mixes);
        // The lengths of the causal part and of a group: at most two.
        let mut queries: Vec<usize> = Vec::new();
        for step in schedule.steps() {
            if queries.last() != Some(&step.query) {
                queries.push(step.query);
            }
        }
        // The graph that samples on a device knows two rows of an image: mixes are sampled here.
        let options = model.cache_options(!scoring && mixes.iter().all(Option::is_none));
        let cache = KvCache::new(model.ar()?, options, rows.fed.len(), &queries)?;
        cache.check(whole)?;
        let log_probabilities =
            if request.log_probabilities { filled("log-probabilities", tokens.len(), 0.0)? } else { Vec::new() };
        let state = State {
            cache,
            rows,
            samplers: SamplerPool::default(),
            tokens,
            fed: 0,
            log_probabilities,
            steps_done: 0,
            work: 0,
            ids: reserve("ids", whole.saturating_mul(bundle.group()))?,
        };
        let (guidance, sampling) = (request.guidance.clone(), request.sampling.clone());
        let (images, mixes) = (Arc::new(images), Arc::new(mixes));
        let spec = Spec { images, mixes, guidance, sampling, schedule, given, scoring, model };
        Self::from_parts(spec, state)
    }

    fn from_parts(spec: Spec, state: State) -> Result<Self> {
        let boards = Boards::new(&spec, &state)?;
        let published = Arc::new(Published::new(spec.snapshot(&state, &boards)));
        Ok(Self { spec, state, cancel: Cancel::new()?, boards, published })
    }

    /// Does one step: samples one token of each image within the causal part, a group of tokens after it. The tokens of a
    /// prefix take their steps too (prefill). Does nothing when finished.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once cancelled; [`Error::Failed`] or [`Error::OutOfMemory`] from ONNX Runtime, after
    /// which the step can be tried again. Earlier tokens stay.
    pub fn step(&mut self) -> Result<Progress> {
        let _host = host::enter();
        host::check_threads()?;
        let begun = Instant::now();
        let Some(step) = self.prepare()? else { return Ok(self.progress()) };
        let Self { spec, state, cancel, .. } = self;
        let first = state.cache.refers();
        let ar = spec.model.ar()?;
        // An interrupted run fails with an error of ONNX Runtime's; the flag tells the reason.
        let run = cancel.0.guard(|interrupt| state.cache.step(ar, step, &state.ids, interrupt));
        run.ok_or(Error::Cancelled)??;
        let mut pending = Pending::of(spec, state, step)?;
        let sampled = match spec.model.sampler().filter(|_| state.cache.logits_stay()) {
            Some(sampler) => pending.sample_on_device(|queries| {
                let sampled = cancel.0.guard(|interrupt| state.cache.sample(sampler, step, queries, interrupt));
                sampled.ok_or(Error::Cancelled)?
            }),
            None => pending.sample(state.cache.logits(ar, step)?, &mut state.samplers),
        };
        sampled?;
        if pending.looked_at_logits() {
            state.cache.trust();
        }
        pending.store(state);
        // A step that had to allocate first tells nothing about the next one.
        if !first {
            let took = begun.elapsed().saturating_sub(state.cache.waited());
            spec.model.note_step(state.cache.rows(), step.query, took);
        }
        Ok(self.finish_step(step))
    }

    /// The next step, with its ids filled in. None when there is none.
    fn prepare(&mut self) -> Result<Option<Step>> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(step) = self.next() else { return Ok(None) };
        self.state.part(&self.spec, step)?;
        self.state.fill_ids(&self.spec, step)?;
        Ok(Some(step))
    }

    /// Samples from the logits `[rows, query, codes]` of a step that was run together with those of others.
    fn take(&mut self, step: Step, logits: &[f32]) -> Result<Progress> {
        let mut pending = Pending::of(&self.spec, &self.state, step)?;
        pending.sample(logits, &mut self.state.samplers)?;
        pending.store(&mut self.state);
        Ok(self.finish_step(step))
    }

    /// Counts a step whose tokens were stored, and publishes it.
    fn finish_step(&mut self, step: Step) -> Progress {
        let Self { spec, state, boards, .. } = self;
        let (known, fed) = (spec.known(state), state.fed);
        state.fed += step.query;
        state.steps_done += 1;
        state.work = state.work.saturating_add(state.rows.pictures() as u64);
        boards.write(spec, state, known..spec.known(state), fed..state.fed);
        self.publish()
    }

    fn publish(&self) -> Progress {
        let snapshot = self.spec.snapshot(&self.state, &self.boards);
        let progress = snapshot.progress();
        self.published.publish(snapshot);
        progress
    }

    /// Steps for as long as the next step should end within `budget`, counted from this call; at least once. The latency
    /// of a step is known from earlier steps of its shape (see [`Progress::next_step`]); where it is not, one step is done.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn advance(&mut self, budget: Duration) -> Result<Progress> {
        let begun = Instant::now();
        loop {
            let progress = self.step()?;
            let fits = |next: Duration| begun.elapsed().saturating_add(next) <= budget;
            if progress.steps_left == 0 || !progress.next_step.is_some_and(fits) {
                return Ok(progress);
            }
        }
    }

    /// Steps until the level of `level_size` pixels per side is complete; 0 means the last level that was asked for.
    /// Nothing to do when it is complete already.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists the levels), or the generation stops before it (see
    /// [`set_level_size`](Self::set_level_size)); those of [`step`](Self::step).
    pub fn advance_to_level(&mut self, level_size: u32) -> Result<Progress> {
        if level_size == 0 {
            return self.finish();
        }
        let level = self.model().level(level_size)?;
        let target = self.spec.schedule.target();
        if level.tokens > target.max(self.known()) {
            return Err(Error::Invalid(format!(
                "the {level_size} px level takes {} tokens, the generation stops at {target}",
                level.tokens
            )));
        }
        while self.known() < level.tokens {
            self.step()?;
        }
        Ok(self.progress())
    }

    /// Does all steps that are left.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn finish(&mut self) -> Result<Progress> {
        while self.step()?.steps_left > 0 {}
        Ok(self.progress())
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let _host = host::enter();
        self.spec.progress(&self.state)
    }

    /// Reads this generation from any thread while it steps.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader(self.published.clone())
    }

    /// Class and seed of each image; of a mix its main class.
    #[must_use]
    pub fn images(&self) -> &[ImageRequest] {
        &self.spec.images
    }

    /// The mix of one image; `None` if it is of one class, or there is no such image.
    #[must_use]
    pub fn mix(&self, image_index: usize) -> Option<&Mix> {
        self.spec.mixes.get(image_index)?.as_deref()
    }

    /// The tokens of one image so far, coarse to fine: the image itself, exact.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range.
    pub fn tokens(&self, image_index: usize) -> Result<&[u32]> {
        check_image(image_index, self.spec.images.len())?;
        Ok(&self.state.tokens[image_index * self.model().bundle().tokens()..][..self.known()])
    }

    /// Decodes all tokens of one image so far, at the size that the ladder gives them. May be called after any step, also
    /// after a cancel; the generation does not change.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::State`] before the first token; those of
    /// [`Model::decode`].
    pub fn image(&self, image_index: usize) -> Result<Image> {
        let tokens = self.tokens(image_index)?;
        if tokens.is_empty() {
            return Err(snapshot::no_tokens());
        }
        self.model().decode(tokens)
    }

    /// Decodes the finest level of one image that is complete (see [`Progress::level`]), however many tokens follow it. May
    /// be called at any time, also after a cancel; the generation does not change.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::State`] before the first level is complete; those of
    /// [`Model::decode`].
    pub fn level_image(&self, image_index: usize) -> Result<Image> {
        self.model().decode(snapshot::complete_level(self.model(), self.tokens(image_index)?)?)
    }

    /// The natural logarithm of the probability of each token computed so far, given the class and the tokens before it,
    /// before guidance, temperature, top-k and top-p. Tokens of one group are independent of each other. For the same
    /// tokens [`tasks::score`](crate::tasks::score) gives the same values. Of a mix they are those of the mean of the logits of
    /// its classes, without what it avoids; [`tasks::score_mix`](crate::tasks::score_mix) gives the same.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::State`] when the request did not ask for them
    /// ([`Request::set_log_probabilities`]).
    pub fn log_probabilities(&self, image_index: usize) -> Result<&[f32]> {
        check_image(image_index, self.spec.images.len())?;
        if self.state.log_probabilities.is_empty() {
            return Err(snapshot::not_asked_for());
        }
        Ok(&self.state.log_probabilities[image_index * self.model().bundle().tokens()..][..self.state.fed])
    }

    /// The mean of [`log_probabilities`](Self::log_probabilities); 0 before the first step.
    ///
    /// # Errors
    /// Those of [`log_probabilities`](Self::log_probabilities).
    pub fn mean_log_probability(&self, image_index: usize) -> Result<f32> {
        let _host = host::enter();
        self.log_probabilities(image_index).map(mean)
    }

    /// A generation that continues from the tokens of this one with other seeds, one for each image; with the same seeds
    /// it samples the same tokens. Until its first step it refers to the KV cache of this one and takes no memory of its
    /// own for it ([`memory`](Self::memory)). It has a [`Cancel`] and [`Reader`]s of its own, and is not cancelled.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number of seeds is not that of the images; [`Error::OutOfMemory`].
    pub fn fork(&self, seeds: &[u64]) -> Result<Self> {
        if seeds.len() != self.spec.images.len() {
            let text = format!("{} seeds for {} pictures", seeds.len(), self.spec.images.len());
            return Err(Error::Invalid(text));
        }
        let mut images: Vec<usize> = reserve("a generation", seeds.len())?;
        images.extend(0..seeds.len());
        let (spec, state) = self.copy(&images, Some(seeds))?;
        Self::from_parts(spec, state)
    }

    /// Continues with these images only, in this order; the others fall away, and with them their share of the work and
    /// (from the next step on) of the memory.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an index is out of range or named twice, or `image_indices` is empty;
    /// [`Error::OutOfMemory`]. The generation is unchanged then.
    pub fn retain_images(&mut self, image_indices: &[usize]) -> Result<()> {
        let _host = host::enter();
        if image_indices.is_empty() {
            return Err(Error::Invalid("no image is kept; at least one is needed".into()));
        }
        let mut seen = filled("a generation", self.spec.images.len(), false)?;
        for &image in image_indices {
            check_image(image, self.spec.images.len())?;
            if std::mem::replace(&mut seen[image], true) {
                return Err(Error::Invalid(format!("image {image} is named twice")));
            }
        }
        let (spec, mut state) = self.copy(image_indices, None)?;
        state.steps_done = self.state.steps_done;
        state.work = self.state.work;
        self.boards = Boards::new(&spec, &state)?;
        (self.spec, self.state) = (spec, state);
        self.publish();
        Ok(())
    }

    /// Changes the level at which it stops: to a finer one, or to one that it has not passed yet. 0 is the finest.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists the levels), or it has fewer tokens than there are
    /// already.
    pub fn set_level_size(&mut self, level_size: u32) -> Result<()> {
        let model = self.model();
        let target = if level_size == 0 { model.bundle().tokens() } else { model.level(level_size)?.tokens };
        if target < self.known() {
            return Err(Error::Invalid(format!(
                "the {level_size} px level has {target} tokens; there are {} already",
                self.known()
            )));
        }
        self.spec.schedule = model.schedule(target);
        self.publish();
        Ok(())
    }

    /// The work done: each step counts once for every image that it computed (once for all images that share a prefix).
    /// Guidance, which doubles the cost of each, is not counted twice. An image of several classes, and of classes to avoid,
    /// counts once for each of them.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.state.work
    }

    /// What it holds in memory.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.spec.memory(&self.state)
    }

    /// The handle that stops it.
    #[must_use]
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The model that it runs.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.spec.model
    }

    /// Tokens that each image has.
    fn known(&self) -> usize {
        self.spec.known(&self.state)
    }

    /// The logits of one image at position `query` of `step`, which was the last one done.
    pub(crate) fn logits(&self, step: Step, image: usize, query: usize) -> Result<&[f32]> {
        let logits = self.state.cache.logits(self.model().ar()?, step)?;
        let codes = self.model().bundle().codes();
        let row = self.state.rows.row(image, Some(self.spec.images[image].class))?;
        Ok(&logits[(row * step.query + query) * codes..][..codes])
    }

    /// The next step; None at the end.
    pub(crate) fn next(&self) -> Option<Step> {
        self.spec.next(&self.state)
    }

    /// These images as they are, with other seeds where there are any.
    fn copy(&self, images: &[usize], seeds: Option<&[u64]>) -> Result<(Spec, State)> {
        let Self { spec, state, .. } = self;
        let each = spec.model.bundle().tokens();
        let (rows, map) = state.rows.of(images)?;
        let mut requests = reserve("a generation", images.len())?;
        let mut mixes = reserve("a generation", if spec.mixes.is_empty() { 0 } else { images.len() })?;
        let mut tokens = reserve("tokens", images.len().saturating_mul(each))?;
        let noted = !state.log_probabilities.is_empty();
        let mut log_probabilities =
            reserve("log-probabilities", if noted { images.len().saturating_mul(each) } else { 0 })?;
        for (at, &image) in images.iter().enumerate() {
            let range = image * each..(image + 1) * each;
            let ImageRequest { class, seed } = spec.images[image];
            requests.push(ImageRequest { class, seed: seeds.map_or(seed, |seeds| seeds[at]) });
            mixes.extend(spec.mixes.get(image).cloned());
            tokens.extend_from_slice(&state.tokens[range.clone()]);
            if noted {
                log_probabilities.extend_from_slice(&state.log_probabilities[range]);
            }
        }
        let spec = Spec {
            model: spec.model.clone(),
            images: Arc::new(requests),
            mixes: Arc::new(mixes),
            guidance: spec.guidance.clone(),
            sampling: spec.sampling.clone(),
            schedule: spec.schedule,
            given: spec.given,
            scoring: spec.scoring,
        };
        let state = State {
            cache: state.cache.fork(map, state.fed)?,
            rows,
            samplers: SamplerPool::default(),
            tokens,
            fed: state.fed,
            log_probabilities,
            steps_done: 0,
            work: 0,
            ids: Vec::new(),
        };
        Ok((spec, state))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Model, ModelOptions};
    use crate::runtime::Form;

    /// Tokens and log-probabilities of all images.
    fn results(generation: &Generation) -> Vec<(Vec<u32>, Vec<f32>)> {
        let of =
            |image| (generation.tokens(image).unwrap().to_vec(), generation.log_probabilities(image).unwrap().to_vec());
        (0..generation.images().len()).map(of).collect()
    }

    /// Generations one after the other, two at once, and forks that go on beside and after their origin.
    fn all_ways(model: &Model) -> Vec<Vec<(Vec<u32>, Vec<f32>)>> {
        let begin = |count: u32, seed: u64| {
            let mut request = Request::new(model);
            request.set_count(count).unwrap().set_seed(seed).set_log_probabilities(true);
            Generation::new(&request).unwrap()
        };
        let mut out = Vec::new();
        for (count, seed) in [(1, 7), (2, 8), (1, 9), (2, 7), (1, 7)] {
            let mut generation = begin(count, seed);
            generation.finish().unwrap();
            out.push(results(&generation));
        }
        let (mut first, mut second) = (begin(2, 20), begin(2, 21));
        for _ in 0..6 {
            first.step().unwrap();
            second.step().unwrap();
        }
        let mut fork = first.fork(&[30, 31]).unwrap();
        fork.step().unwrap();
        first.finish().unwrap();
        let mut late = second.fork(&[32, 33]).unwrap();
        drop(second);
        late.finish().unwrap();
        fork.finish().unwrap();
        out.extend([results(&first), results(&fork), results(&late)]);
        out
    }

    /// What is left by one generation is taken over by another: none of it is seen.
    #[test]
    fn replayed_steps_give_what_steps_give() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small");
        let options = ModelOptions::new().with_form(Form::Fixed).with_precision("fp32");
        let want = all_ways(&Model::open(&path, &options).unwrap());
        let replaying = Model::replaying_on_cpu(&path, &options).unwrap();
        for round in 0..3 {
            assert_eq!(all_ways(&replaying), want, "round {round}");
        }
    }
}
