//! One request on its way: the only loop. Each step feeds what stands before, gets logits, guides and draws
//! (DETAILFLOW paper section 3.4).

mod cancel;
pub(crate) mod request;
pub(crate) mod rows;

use std::time::{Duration, Instant};

use crate::generation::cancel::{Interrupts, Signal};
use crate::generation::request::{ImageRequest, Request};
use crate::generation::rows::{BatchRows, Row};
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::{Guidance, Level, Schedule, Step};
use crate::runtime::{Form, Interrupt, KvCache, SampledToken};
use crate::sample::{SampleQuery, SamplerPool, SamplingCurves, log_probability, uniform};
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};
use crate::support::sync::Arc;

/// Where a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub steps_done: usize,
    /// Steps left; 0 when it is finished.
    pub steps_left: usize,
    /// Tokens of each picture so far.
    pub tokens: usize,
    /// Pixels a side that they decode to; 0 before the first token.
    pub size: u32,
    /// The finest level that is complete.
    pub level: Option<Level>,
    /// How long the next step should take on this machine, from steps of its shape that were measured. None when there
    /// is no next step, or nothing was measured yet.
    pub next_step: Option<Duration>,
    /// How long it should take to decode the finest level that is complete, for one picture. None when there is none
    /// yet, or nothing was measured.
    pub next_decode: Option<Duration>,
}

/// What a generation holds in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its own keys, values and tokens.
    pub own: u64,
    /// Keys and values of the generation that it was forked from, to which it refers until its first step. All forks of
    /// one generation refer to the same.
    pub shared: u64,
}

/// Stops a generation from any thread, at any time: also while a graph runs, also after the generation is gone.
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

    /// Stops it within one step. The step in progress, and every later one, gives [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

/// A request being drawn. It belongs to one thread at a time and may move between them; any number of them share a
/// model and take turns by the step.
pub struct Generation {
    model: Model,
    images: Vec<ImageRequest>,
    guidance: Guidance,
    sampling: SamplingCurves,
    schedule: Schedule,
    cache: KvCache,
    /// What is fed at a step, and where each picture's logits are.
    rows: BatchRows,
    samplers: SamplerPool,
    /// `[image, N]`: the first `given` of each were given, the first `fed` were computed.
    tokens: Vec<u32>,
    given: usize,
    /// Positions that the cache has seen: the tokens up to here are given or drawn.
    fed: usize,
    /// `[image, N]`, the first `fed` of each filled; empty when they are not kept.
    log_probabilities: Vec<f32>,
    /// Given tokens are computed too where nothing is drawn after them.
    scoring: bool,
    steps_done: usize,
    work: u64,
    ids: Vec<i64>,
    cancel: Cancel,
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("images", &self.images.len())
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// Begins: reserves the memory that the steps will need, draws nothing yet. More is asked for later where rows change:
    /// by pictures that share a prefix, when they part; when guidance ends before the pictures do, for the moment of the
    /// change; by form `plain`, step by step.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the batch is too large for this machine; nothing is kept then, and a smaller
    /// request works. [`Error::Invalid`] when the prefixes are not of one length, or longer than what is asked for.
    /// [`Error::State`] when the bundle holds the decoder alone.
    pub fn new(request: &Request) -> Result<Self> {
        Self::begin(request, false)
    }

    /// As [`new`](Self::new); `scoring` computes all tokens that are given.
    pub(crate) fn begin(request: &Request, scoring: bool) -> Result<Self> {
        let model = request.model().clone();
        let bundle = model.bundle();
        let given = request.given()?;
        let schedule = model.schedule(request.target);
        let count = request.images.len();
        let mut images = reserve("a generation", count)?;
        images.extend_from_slice(&request.images);
        let mut tokens = filled("tokens", count * bundle.tokens(), 0)?;
        for (tokens, prefix) in tokens.chunks_exact_mut(bundle.tokens()).zip(&request.prefixes) {
            tokens[..given].copy_from_slice(prefix);
        }
        let guided = request.guidance.is_on() && !scoring;
        let whole = BatchRows::all(count, guided)?;
        let rows = if given > 0 { BatchRows::distinct(&images, &request.prefixes, guided)? } else { whole.clone() };
        let mut queries: Vec<usize> = schedule.steps().map(|step| step.query).collect();
        queries.dedup();
        let cache = KvCache::new(model.ar()?, model.keeping(!scoring), rows.fed.len(), &queries)?;
        cache.check(whole.fed.len())?;
        let log_probabilities =
            if request.log_probabilities { filled("log-probabilities", tokens.len(), 0.0)? } else { Vec::new() };
        Ok(Self {
            images,
            guidance: request.guidance.clone(),
            sampling: request.sampling.clone(),
            schedule,
            cache,
            rows,
            samplers: SamplerPool::default(),
            tokens,
            given,
            fed: 0,
            log_probabilities,
            scoring,
            steps_done: 0,
            work: 0,
            ids: reserve("ids", whole.fed.len() * bundle.group())?,
            cancel: Cancel::new()?,
            model,
        })
    }

    /// Does one step: one token for each picture while causal, a group of them after. The tokens of a prefix take their
    /// steps too. Does nothing when finished.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once cancelled; [`Error::Failed`] or [`Error::OutOfMemory`] from ONNX Runtime, after
    /// which the step can be tried again. The tokens drawn before stay.
    pub fn step(&mut self) -> Result<Progress> {
        let begun = Instant::now();
        let Some(step) = self.prepare()? else { return Ok(self.progress()) };
        let first = self.cache.refers();
        let (cache, ids, model) = (&mut self.cache, &self.ids, &self.model);
        let ar = model.ar()?;
        // A run that was interrupted fails in ONNX Runtime's words; why it failed is ours to say.
        let run = self.cancel.0.guard(|interrupt| cache.step(ar, step, ids, interrupt));
        run.ok_or(Error::Cancelled)??;
        let drawing =
            Drawing::of(self.given, step, (&self.model, &self.images, &self.rows), (&self.guidance, &self.sampling));
        match self.model.drawer().filter(|_| self.cache.logits_stay()) {
            Some(drawer) => {
                let by = |asked: &[SampleQuery]| {
                    let drawn = self.cancel.0.guard(|interrupt| self.cache.sample(drawer, step, asked, interrupt));
                    drawn.ok_or(Error::Cancelled)?
                };
                draw_there(by, drawing, &mut self.tokens, &mut self.log_probabilities)?;
            }
            None => {
                let logits = self.cache.logits(ar, step)?;
                draw(logits, drawing, &mut self.samplers, &mut self.tokens, &mut self.log_probabilities)?;
            }
        }
        // A step that had to take memory first tells nothing of the next.
        if !first {
            let took = begun.elapsed().saturating_sub(self.cache.waited());
            self.model.note_step(self.cache.rows(), step.query, took);
        }
        self.note(step);
        Ok(self.progress())
    }

    /// What the next step is, with its ids filled in. None when all is done.
    fn prepare(&mut self) -> Result<Option<Step>> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(step) = self.next() else { return Ok(None) };
        self.part(step)?;
        self.fill_ids(step)?;
        Ok(Some(step))
    }

    /// Draws from the logits of a step that was made together with others.
    fn take(&mut self, step: Step, logits: &[f32]) -> Result<()> {
        let drawing =
            Drawing::of(self.given, step, (&self.model, &self.images, &self.rows), (&self.guidance, &self.sampling));
        draw(logits, drawing, &mut self.samplers, &mut self.tokens, &mut self.log_probabilities)?;
        self.note(step);
        Ok(())
    }

    /// The step is done.
    fn note(&mut self, step: Step) {
        self.fed += step.query;
        self.steps_done += 1;
        self.work += self.rows.pictures() as u64;
    }

    /// Does steps for as long as the next one should end within `budget`, counted from this call; always at least one.
    /// How long a step takes is known from those that ran (see [`Progress::next_step`]); where it is not known yet, one
    /// step is done.
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

    /// Does all steps that are left.
    pub fn finish(&mut self) -> Result<Progress> {
        while self.step()?.steps_left > 0 {}
        Ok(self.progress())
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress {
        let ladder = self.model.bundle().ladder();
        let tokens = self.known();
        let level = ladder.finished(tokens);
        let next = self.next();
        Progress {
            steps_done: self.steps_done,
            steps_left: next.map_or(0, |_| self.schedule.left(self.fed)),
            tokens,
            size: ladder.prefix(tokens).map_or(0, |prefix| prefix.size),
            level,
            next_step: next.and_then(|step| self.model.predict_step(self.rows_of(step), step.query)),
            next_decode: level.and_then(|level| self.model.predict_decode(1, level.tokens)),
        }
    }

    /// The pictures asked for.
    pub fn images(&self) -> &[ImageRequest] {
        &self.images
    }

    /// The tokens of one picture so far: the picture itself, exact.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture.
    pub fn tokens(&self, image: usize) -> Result<&[u32]> {
        self.check_image(image)?;
        Ok(&self.tokens[image * self.model.bundle().tokens()..][..self.known()])
    }

    /// Decodes all tokens of one picture so far, at the size that the ladder gives them. Any time after the first step,
    /// also after a cancel; the generation is not disturbed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture, [`Error::State`] before the first token.
    pub fn image(&self, image: usize) -> Result<Image> {
        let tokens = self.tokens(image)?;
        if tokens.is_empty() {
            return Err(Error::State("nothing is drawn yet: step first".into()));
        }
        self.model.decode(tokens)
    }

    /// Decodes the finest level of one picture that is complete (see [`Progress::level`]), however many tokens there
    /// are beyond it. Any time, also after a cancel; the generation is not disturbed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture, [`Error::State`] before the first level is complete.
    pub fn level_image(&self, image: usize) -> Result<Image> {
        let tokens = self.tokens(image)?;
        let ladder = self.model.bundle().ladder();
        let level = ladder.finished(tokens.len()).ok_or_else(|| {
            let first = ladder.levels()[0].tokens;
            Error::State(format!(
                "no level is complete yet: the first takes {first} tokens, there are {}",
                tokens.len()
            ))
        })?;
        self.model.decode(&tokens[..level.tokens])
    }

    /// The natural logarithms of the probability of each token computed so far: what the model holds of it, given the
    /// class and the tokens before it, before guidance, temperature and cuts. Those of a group are each on their own.
    /// They are what [`Model::score`] gives for the same tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture, [`Error::State`] when the request did not ask for them
    /// ([`Request::set_log_probabilities`]).
    pub fn log_probabilities(&self, image: usize) -> Result<&[f32]> {
        self.check_image(image)?;
        if self.log_probabilities.is_empty() {
            return Err(Error::State("the request did not ask for log-probabilities".into()));
        }
        Ok(&self.log_probabilities[image * self.model.bundle().tokens()..][..self.fed])
    }

    /// The mean of [`log_probabilities`](Self::log_probabilities); 0 before the first step.
    pub fn mean_log_probability(&self, image: usize) -> Result<f32> {
        let all = self.log_probabilities(image)?;
        let sum: f64 = all.iter().map(|&value| f64::from(value)).sum();
        Ok((sum / all.len().max(1) as f64) as f32)
    }

    /// A generation that stands where this one does and goes on with other seeds, one for each picture; with the same
    /// seeds it draws the same tokens. Until its first step it refers to the keys and values of this one and takes no
    /// memory of its own for them ([`memory`](Self::memory)). It has a cancel of its own, and is not cancelled.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are not as many seeds as pictures.
    pub fn fork(&self, seeds: &[u64]) -> Result<Self> {
        if seeds.len() != self.images.len() {
            let text = format!("{} seeds for {} pictures", seeds.len(), self.images.len());
            return Err(Error::Invalid(text));
        }
        let mut all: Vec<usize> = reserve("a generation", self.images.len())?;
        all.extend(0..self.images.len());
        let mut fork = self.of(&all)?;
        for (image, &seed) in fork.images.iter_mut().zip(seeds) {
            image.seed = seed;
        }
        Ok(fork)
    }

    /// Goes on with these pictures only, in this order; the others fall away, and with them their share of the work and
    /// (from the next step on) of the memory.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture, one is named twice, or none is. Nothing has changed then.
    pub fn keep(&mut self, images: &[usize]) -> Result<()> {
        if images.is_empty() {
            return Err(Error::Invalid("at least one picture has to stay".into()));
        }
        let mut seen = filled("a generation", self.images.len(), false)?;
        for &image in images {
            self.check_image(image)?;
            if std::mem::replace(&mut seen[image], true) {
                return Err(Error::Invalid(format!("image {image} is named twice")));
            }
        }
        let mut kept = self.of(images)?;
        kept.cancel = self.cancel.clone();
        kept.steps_done = self.steps_done;
        kept.work = self.work;
        *self = kept;
        Ok(())
    }

    /// Goes on to another level than was asked for: a finer one, or one that is not passed yet. 0 is the finest.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level, or it has fewer tokens than there are.
    pub fn set_level(&mut self, size: u32) -> Result<()> {
        let bundle = self.model.bundle();
        let target = if size == 0 { bundle.tokens() } else { self.model.level(size)?.tokens };
        if target < self.known() {
            return Err(Error::Invalid(format!(
                "the {size} px level has {target} tokens; there are {} already",
                self.known()
            )));
        }
        self.schedule = self.model.schedule(target);
        Ok(())
    }

    /// The work done: each step counts once for every picture that it computed (once for all that share a prefix).
    /// Guidance, which doubles the cost of each, is not counted twice.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// What it holds in memory.
    pub fn memory(&self) -> Memory {
        let (own, shared) = self.cache.bytes();
        let tokens = size_of_val(&self.tokens[..]) + size_of_val(&self.log_probabilities[..]);
        Memory { own: own + tokens as u64, shared }
    }

    /// The handle that stops it.
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The model that draws it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens that each picture has.
    fn known(&self) -> usize {
        self.given.max(self.fed)
    }

    /// The logits of one picture at place `query` of `step`, which was the last one done.
    pub(crate) fn logits(&self, step: Step, image: usize, query: usize) -> Result<&[f32]> {
        let logits = self.cache.logits(self.model.ar()?, step)?;
        let codes = self.model.bundle().codes();
        Ok(&logits[(self.rows.cond[image] * step.query + query) * codes..][..codes])
    }

    /// The step to come; none at the end.
    pub(crate) fn next(&self) -> Option<Step> {
        let end =
            if self.scoring { self.fed >= self.schedule.target() } else { self.known() >= self.schedule.target() };
        if end { None } else { self.schedule.after(self.fed) }
    }

    fn check_image(&self, image: usize) -> Result<()> {
        if image < self.images.len() {
            return Ok(());
        }
        Err(Error::Invalid(format!("image {image} is out of range: there are {}", self.images.len())))
    }

    /// A copy of these pictures as they are.
    fn of(&self, images: &[usize]) -> Result<Self> {
        let each = self.model.bundle().tokens();
        let (rows, map) = self.rows.of(images)?;
        let mut copy = Self {
            model: self.model.clone(),
            images: reserve("a generation", images.len())?,
            guidance: self.guidance.clone(),
            sampling: self.sampling.clone(),
            schedule: self.schedule,
            cache: self.cache.fork(map, self.fed),
            rows,
            samplers: SamplerPool::default(),
            tokens: reserve("tokens", images.len() * each)?,
            given: self.given,
            fed: self.fed,
            log_probabilities: Vec::new(),
            scoring: self.scoring,
            steps_done: 0,
            work: 0,
            ids: Vec::new(),
            cancel: Cancel::new()?,
        };
        if !self.log_probabilities.is_empty() {
            copy.log_probabilities = reserve("log-probabilities", images.len() * each)?;
        }
        for &image in images {
            let range = image * each..(image + 1) * each;
            copy.images.push(self.images[image]);
            copy.tokens.extend_from_slice(&self.tokens[range.clone()]);
            if !self.log_probabilities.is_empty() {
                copy.log_probabilities.extend_from_slice(&self.log_probabilities[range]);
            }
        }
        Ok(copy)
    }

    /// Whether the step is the first whose input differs from picture to picture although they began alike.
    fn parts(&self, step: Step) -> bool {
        self.rows.shared && step.start > self.given
    }

    /// Whether guidance has come to an end before the step.
    fn loses_guidance(&self, step: Step) -> bool {
        self.rows.is_guided() && !self.guidance.is_on_from(step.start)
    }

    /// How many rows the step will feed.
    fn rows_of(&self, step: Step) -> usize {
        let guided = self.rows.is_guided() && !self.loses_guidance(step);
        if self.parts(step) {
            self.images.len() * (1 + usize::from(guided))
        } else if self.loses_guidance(step) {
            self.rows.pictures()
        } else {
            self.cache.rows()
        }
    }

    /// Gives each picture a row of its own when they part, and lets the unconditional rows go when they are needed no
    /// more.
    fn part(&mut self, step: Step) -> Result<()> {
        let guided = self.rows.is_guided() && !self.loses_guidance(step);
        if self.parts(step) {
            let (rows, map) = self.rows.parted(guided)?;
            self.cache = self.cache.fork(map, self.fed);
            self.rows = rows;
        } else if self.loses_guidance(step) {
            let (rows, map) = self.rows.unguided()?;
            self.cache = self.cache.fork(map, self.fed);
            self.rows = rows;
        }
        Ok(())
    }

    fn fill_ids(&mut self, step: Step) -> Result<()> {
        let bundle = self.model.bundle();
        let layout = bundle.ids;
        self.ids.clear();
        if self.ids.capacity() < self.rows.fed.len() * step.query {
            self.ids = reserve("ids", self.rows.fed.len() * bundle.group())?;
        }
        for &Row { image, unconditional } in &self.rows.fed {
            let known = &self.tokens[image * bundle.tokens()..];
            if step.start == 0 {
                self.ids.push(if unconditional {
                    layout.no_class
                } else {
                    layout.class + i64::from(self.images[image].class)
                });
            } else if step.start == bundle.causal {
                // The last causal token, then the special tokens that stand for a group that is not there yet.
                self.ids.push(i64::from(known[step.start - 1]));
                self.ids.extend((0..step.query as i64 - 1).map(|k| layout.special + k));
            } else {
                self.ids.extend(known[step.start - step.query..step.start].iter().map(|&token| i64::from(token)));
            }
        }
        Ok(())
    }
}

/// What a step's logits are turned into tokens by.
struct Drawing<'a> {
    model: &'a Model,
    images: &'a [ImageRequest],
    guidance: &'a Guidance,
    sampling: &'a SamplingCurves,
    rows: &'a BatchRows,
    given: usize,
    step: Step,
}

impl<'a> Drawing<'a> {
    /// Of parts of a generation: the rest of it may change meanwhile.
    fn of(
        given: usize,
        step: Step,
        (model, images, rows): (&'a Model, &'a [ImageRequest], &'a BatchRows),
        (guidance, sampling): (&'a Guidance, &'a SamplingCurves),
    ) -> Self {
        Self { model, images, guidance, sampling, rows, given, step }
    }
}

/// One token to be drawn, and noted how likely it is.
struct Place<'a> {
    cond: &'a [f32],
    /// The unconditional logits and the guidance scale.
    uncond: Option<(&'a [f32], f32)>,
    position: usize,
    seed: u64,
    token: &'a mut u32,
    log_probability: Option<&'a mut f32>,
}

/// Draws the tokens of a step that were not given, and notes how likely each is. `logits` are `[rows, query, codes]`.
fn draw(
    logits: &[f32],
    drawing: Drawing<'_>,
    samplers: &mut SamplerPool,
    tokens: &mut [u32],
    log_probabilities: &mut [f32],
) -> Result<()> {
    let Drawing { model, images, guidance, sampling, rows, given, step } = drawing;
    let (bundle, graph) = (model.bundle(), model.ar()?.name());
    let codes = bundle.codes();
    let row = |row: usize, query: usize| &logits[(row * step.query + query) * codes..][..codes];
    let mut places: Vec<Place<'_>> = reserve("a step", images.len() * step.query)?;
    let mut notes = log_probabilities.chunks_exact_mut(bundle.tokens());
    for (image, (request, tokens)) in images.iter().zip(tokens.chunks_exact_mut(bundle.tokens())).enumerate() {
        let mut notes = notes.next().map(|notes| notes[step.start..].iter_mut());
        for (query, token) in tokens[step.start..][..step.query].iter_mut().enumerate() {
            let position = step.start + query;
            let scale = guidance.scale_at(position, bundle.tokens(), bundle.causal(), bundle.group());
            let uncond = rows.uncond.get(image).filter(|_| scale != 1.0).map(|&at| (row(at, query), scale));
            let cond = row(rows.cond[image], query);
            let log_probability = notes.as_mut().and_then(Iterator::next);
            places.push(Place { cond, uncond, position, seed: request.seed, token, log_probability });
        }
    }
    samplers.each(model.thread_count(), codes, &mut places, |sampler, place| {
        let not_numbers = || Error::Failed {
            graph: graph.to_owned(),
            reason: format!("its logits for token {} are not numbers", place.position),
        };
        if place.position >= given {
            let random = uniform(place.seed, place.position as u64);
            let now = sampling.at(place.position, codes);
            *place.token = sampler.sample(now, place.cond, place.uncond, random).ok_or_else(not_numbers)?;
        }
        if let Some(note) = &mut place.log_probability {
            **note = log_probability(place.cond, *place.token).ok_or_else(not_numbers)?;
        }
        Ok(())
    })
}

/// As [`draw`], where the logits are: `by` draws what is asked for.
fn draw_there(
    by: impl FnOnce(&[SampleQuery]) -> Result<Vec<SampledToken>>,
    drawing: Drawing<'_>,
    tokens: &mut [u32],
    log_probabilities: &mut [f32],
) -> Result<()> {
    let Drawing { model, images, guidance, sampling, rows, given, step } = drawing;
    let (bundle, graph) = (model.bundle(), model.ar()?.name());
    let noted = !log_probabilities.is_empty();
    let mut asked: Vec<SampleQuery> = reserve("a step", images.len() * step.query)?;
    let mut places = reserve("a step", images.len() * step.query)?;
    for (image, request) in images.iter().enumerate() {
        for query in 0..step.query {
            let position = step.start + query;
            let at = image * bundle.tokens() + position;
            let row = |row: usize| row * step.query + query;
            let cond = row(rows.cond[image]);
            if position >= given {
                let scale = guidance.scale_at(position, bundle.tokens(), bundle.causal(), bundle.group());
                let uncond = rows.uncond.get(image).filter(|_| scale != 1.0).map(|&at| (row(at), scale));
                let random = uniform(request.seed, position as u64);
                let now = sampling.at(position, bundle.codes());
                asked.push(SampleQuery::sampled(now, bundle.codes(), cond, uncond, random));
            } else if noted {
                asked.push(SampleQuery::given(cond, tokens[at]));
            } else {
                continue;
            }
            places.push((at, position));
        }
    }
    if asked.is_empty() {
        return Ok(());
    }
    for (&(at, position), drawn) in places.iter().zip(by(&asked)?) {
        tokens[at] = drawn.token.ok_or_else(|| Error::Failed {
            graph: graph.to_owned(),
            reason: format!("its logits for token {position} are not numbers"),
        })?;
        if let Some(note) = log_probabilities.get_mut(at) {
            *note = drawn.log_probability;
        }
    }
    Ok(())
}

/// The next step of each of several generations of one model, at whatever position each stands: in one call of the graph
/// where the form allows it, else one after the other. What becomes of one does not disturb the others, and each draws
/// the tokens that it would draw alone. One that is cancelled meanwhile hears so when the call is over.
pub(crate) fn step_together(generations: &mut [&mut Generation]) -> Vec<Result<Progress>> {
    let joined = match generations {
        [first, _, ..] if first.model.form() == Form::Native => step_joined(generations),
        _ => None,
    };
    joined.unwrap_or_else(|| generations.iter_mut().map(|generation| generation.step()).collect())
}

/// None when the call could not be made: each may try by itself then.
fn step_joined(generations: &mut [&mut Generation]) -> Option<Vec<Result<Progress>>> {
    let model = generations.first()?.model.clone();
    debug_assert!(generations.iter().all(|generation| generation.model.is(&model)));
    let (ar, codes) = (model.ar().ok()?, model.bundle().codes());
    let mut steps = Vec::new();
    for generation in generations.iter_mut() {
        let prepared = generation.prepare();
        steps.push(match prepared {
            Ok(Some(step)) => generation.cache.own_rows(ar).map(|_| Some(step)),
            other => other,
        });
    }
    let mut calls = model.calls();
    let logits = {
        let fed = generations.iter().zip(&steps);
        let fed = fed.filter_map(|(generation, step)| Some((&**generation, (*step.as_ref().ok()?)?)));
        let runs = fed.flat_map(|(generation, step)| generation.cache.runs(step, &generation.ids));
        if runs.clone().next().is_none() { &[] } else { calls.run(ar, codes, runs, &Interrupt::new().ok()?).ok()? }
    };
    let mut from = 0;
    let each = generations.iter_mut().zip(steps).map(|(generation, step)| {
        let Some(step) = step? else { return Ok(generation.progress()) };
        let length = generation.rows.fed.len() * step.query * codes;
        let logits = &logits[from..from + length];
        from += length;
        if generation.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        generation.take(step, logits)?;
        Ok(generation.progress())
    });
    Some(each.collect())
}
