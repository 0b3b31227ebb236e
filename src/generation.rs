//! One request on its way: the only loop. Each step feeds what was just drawn, gets logits, guides and draws
//! (DETAILFLOW paper section 3.4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Axis;

use crate::error::{Error, Result};
use crate::memory::{filled, reserve};
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::{Guidance, Level, Schedule, Step};
use crate::request::{ImageRequest, Request};
use crate::runtime::{Cache, Interrupt};
use crate::sample::{Sampler, Sampling, uniform};

/// Where a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub steps_done: usize,
    /// Steps left; 0 when it is finished.
    pub steps_left: usize,
    /// Tokens of each picture so far.
    pub tokens: usize,
    /// Pixels a side that they decode to; 0 before the first step.
    pub size: u32,
    /// The finest level that is complete.
    pub level: Option<Level>,
}

/// Stops a generation from any thread, at any time: also while a graph runs, also after the generation is gone.
#[derive(Clone)]
pub struct Cancel(Arc<CancelState>);

struct CancelState {
    flag: AtomicBool,
    interrupt: Interrupt,
}

impl Cancel {
    /// Stops it within one step. The step in progress, and every later one, gives [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.flag.store(true, Ordering::SeqCst);
        self.0.interrupt.trigger();
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.flag.load(Ordering::SeqCst)
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
    sampling: Sampling,
    schedule: Schedule,
    cache: Cache,
    sampler: Sampler,
    /// `[image, position]`, the first `drawn` of each filled.
    tokens: Vec<u32>,
    drawn: usize,
    steps_done: usize,
    /// What the next step feeds, `[row, query]`: the conditional rows, then with guidance the unconditional ones.
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
    /// Begins: reserves the memory that the steps will need (form `plain` asks for it step by step), draws nothing yet.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the batch is too large for this machine; nothing is kept then, and a smaller
    /// request works.
    pub fn new(request: &Request) -> Result<Self> {
        let model = request.model().clone();
        let bundle = model.bundle();
        let schedule = model.schedule(request.target);
        let count = request.images.len();
        let rows = if request.guidance.is_on() { 2 * count } else { count };
        let mut queries: Vec<usize> = schedule.steps().map(|step| step.query).collect();
        queries.dedup();
        let cache = Cache::new(model.ar(), model.in_place(), model.key_shape(), bundle.codes(), rows, &queries)?;
        let mut images = reserve("a generation", count)?;
        images.extend_from_slice(&request.images);
        Ok(Self {
            images,
            guidance: request.guidance,
            sampling: request.sampling,
            schedule,
            cache,
            sampler: Sampler::default(),
            tokens: filled("tokens", count * schedule.target(), 0)?,
            drawn: 0,
            steps_done: 0,
            ids: reserve("ids", rows * bundle.group())?,
            cancel: Cancel(Arc::new(CancelState { flag: AtomicBool::new(false), interrupt: Interrupt::new()? })),
            model,
        })
    }

    /// Does one step: one token for each picture while causal, a group of them after. Does nothing when finished.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once cancelled; [`Error::Failed`] or [`Error::OutOfMemory`] from ONNX Runtime, after
    /// which the step can be tried again. The tokens drawn before stay.
    pub fn step(&mut self) -> Result<Progress> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let Some(step) = self.schedule.after(self.drawn) else { return Ok(self.progress()) };
        self.fill_ids(step);
        let logits = self.cache.step(self.model.ar(), step, &self.ids, &self.cancel.0.interrupt);
        // A run that was interrupted fails in ONNX Runtime's words; why it failed is ours to say.
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let logits = logits?;

        let bundle = self.model.bundle();
        let count = self.images.len();
        let scale = self.guidance.scale_at(step, bundle.tokens(), bundle.causal(), bundle.group());
        let row = |row: usize, query: usize| logits.index_axis_move(Axis(0), row).index_axis_move(Axis(0), query);
        for (image, request) in self.images.iter().enumerate() {
            for query in 0..step.query {
                let position = step.start + query;
                const DENSE: &str = "logits are dense";
                let cond = row(image, query);
                let uncond = self.guidance.is_on().then(|| row(count + image, query));
                let uncond = uncond.as_ref().map(|row| (row.to_slice().expect(DENSE), scale));
                let random = uniform(request.seed, position as u64);
                let token = self
                    .sampler
                    .draw(self.sampling, cond.to_slice().expect(DENSE), uncond, random)
                    .ok_or_else(|| Error::Failed {
                        graph: self.model.ar().name().to_owned(),
                        reason: format!("its logits for token {position} are not numbers"),
                    })?;
                self.tokens[image * self.schedule.target() + position] = token;
            }
        }
        self.drawn += step.query;
        self.steps_done += 1;
        Ok(self.progress())
    }

    /// Does all steps that are left.
    pub fn finish(&mut self) -> Result<Progress> {
        while self.step()?.steps_left > 0 {}
        Ok(self.progress())
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress {
        let ladder = self.model.bundle().ladder();
        Progress {
            steps_done: self.steps_done,
            steps_left: self.schedule.left(self.drawn),
            tokens: self.drawn,
            size: ladder.prefix(self.drawn).map_or(0, |prefix| prefix.size),
            level: ladder.finished(self.drawn),
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
        if image >= self.images.len() {
            return Err(Error::Invalid(format!("image {image} is out of range: there are {}", self.images.len())));
        }
        Ok(&self.tokens[image * self.schedule.target()..][..self.drawn])
    }

    /// Decodes all tokens drawn so far, at the size that the ladder gives them. Any time after the first step, also
    /// after a cancel; the generation is not disturbed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture, [`Error::State`] before the first step.
    pub fn image(&self, image: usize) -> Result<Image> {
        let tokens = self.tokens(image)?;
        if tokens.is_empty() {
            return Err(Error::State("nothing is drawn yet: step first".into()));
        }
        self.model.decode(tokens)
    }

    /// The handle that stops it.
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The model that draws it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    fn fill_ids(&mut self, step: Step) {
        let bundle = self.model.bundle();
        let layout = bundle.ids;
        let guided = self.guidance.is_on();
        self.ids.clear();
        for unconditional in if guided { &[false, true][..] } else { &[false] } {
            for (image, request) in self.images.iter().enumerate() {
                let drawn = &self.tokens[image * self.schedule.target()..];
                if step.start == 0 {
                    self.ids.push(if *unconditional {
                        layout.no_class
                    } else {
                        layout.class + i64::from(request.class)
                    });
                    continue;
                }
                if step.start == bundle.causal {
                    // The last causal token, then the special tokens that stand for a group that is not there yet.
                    self.ids.push(i64::from(drawn[step.start - 1]));
                    self.ids.extend((0..step.query as i64 - 1).map(|k| layout.special + k));
                    continue;
                }
                self.ids.extend(drawn[step.start - step.query..step.start].iter().map(|&token| i64::from(token)));
            }
        }
    }
}
