//! The two halves of a generation: what is asked ([`Spec`]) and what grows by the step ([`State`]), with the boards that
//! show its tokens to readers.

use super::progress::{Memory, Progress};
use super::publish::Board;
use super::request::ImageRequest;
use super::rows::{Asked, BatchRows, Row};
use super::snapshot::{self, Snapshot};
use crate::model::Model;
use crate::plan::{Guidance, Mix, Schedule, Step};
use crate::runtime::KvCache;
use crate::sample::{SamplerPool, SamplingCurves};
use crate::support::error::Result;
use crate::support::memory::reserve;
use crate::support::sync::Arc;

/// What is asked of a generation. Only `retain_images`, `fork` and `set_level_size` change any of it.
pub(super) struct Spec {
    pub(super) model: Model,
    pub(super) images: Arc<Vec<ImageRequest>>,
    /// The mix of each image; none at all where no image has one.
    pub(super) mixes: Arc<Vec<Option<Arc<Mix>>>>,
    pub(super) guidance: Guidance,
    pub(super) sampling: SamplingCurves,
    pub(super) schedule: Schedule,
    /// How many tokens of each image were given.
    pub(super) given: usize,
    /// Teacher forcing: given tokens are computed even where nothing is sampled after them.
    pub(super) scoring: bool,
}

/// What grows by the step.
pub(super) struct State {
    pub(super) cache: KvCache,
    /// The batch rows that a step feeds, and where each image's logits are.
    pub(super) rows: BatchRows,
    pub(super) samplers: SamplerPool,
    /// `[image, N]`: the first `given` of each were given, those up to `fed` are given or sampled.
    pub(super) tokens: Vec<u32>,
    /// Positions that the KV cache holds.
    pub(super) fed: usize,
    /// `[image, N]`, the first `fed` of each filled; empty when they are not asked for.
    pub(super) log_probabilities: Vec<f32>,
    pub(super) steps_done: usize,
    pub(super) work: u64,
    /// Input of the step in progress.
    pub(super) ids: Vec<i64>,
}

/// Where the tokens of all snapshots stand.
pub(super) struct Boards {
    pub(super) tokens: Arc<Board>,
    pub(super) log_probabilities: Option<Arc<Board>>,
}

impl Boards {
    /// With everything that is known already.
    pub(super) fn new(spec: &Spec, state: &State) -> Result<Self> {
        let (images, each) = (spec.images.len(), spec.model.bundle().tokens());
        let tokens = snapshot::board("tokens", images, each)?;
        let noted = !state.log_probabilities.is_empty();
        let log_probabilities = noted.then(|| snapshot::board("log-probabilities", images, each)).transpose()?;
        let boards = Self { tokens, log_probabilities };
        boards.write(spec, state, 0..spec.known(state), 0..state.fed);
        Ok(boards)
    }

    /// Copies new tokens and log-probabilities of these positions of each image.
    pub(super) fn write(&self, spec: &Spec, state: &State, known: std::ops::Range<usize>, fed: std::ops::Range<usize>) {
        let each = spec.model.bundle().tokens();
        for image in 0..spec.images.len() {
            let tokens = &state.tokens[image * each..][known.clone()];
            self.tokens.write(image, known.start, tokens.iter().copied());
            if let Some(board) = &self.log_probabilities {
                let values = &state.log_probabilities[image * each..][fed.clone()];
                board.write(image, fed.start, values.iter().map(|value| value.to_bits()));
            }
        }
    }
}

impl Spec {
    /// Tokens that each image has.
    pub(super) fn known(&self, state: &State) -> usize {
        self.given.max(state.fed)
    }

    /// The next step; None at the end.
    pub(super) fn next(&self, state: &State) -> Option<Step> {
        let done = if self.scoring { state.fed } else { self.known(state) };
        if done >= self.schedule.target() { None } else { self.schedule.after(state.fed) }
    }

    /// Whether the step is the first whose input differs between images that share a batch row.
    pub(super) fn parts(&self, state: &State, step: Step) -> bool {
        state.rows.shared && step.start > self.given
    }

    /// What the images ask of batch rows.
    pub(super) fn asked(&self) -> Asked<'_> {
        let guidance = (!self.scoring).then_some(&self.guidance);
        Asked { images: &self.images, mixes: &self.mixes, guidance }
    }

    /// How many batch rows the step will feed.
    pub(super) fn rows_of(&self, state: &State, step: Step) -> usize {
        let asked = self.asked();
        if self.parts(state, step) {
            return asked.rows(step.start);
        }
        // Without memory for the count it is that of the last step.
        state.rows.count_needed(&asked, step.start).unwrap_or_else(|_| state.cache.rows())
    }

    pub(super) fn progress(&self, state: &State) -> Progress {
        let ladder = self.model.bundle().ladder();
        let tokens = self.known(state);
        let level = ladder.finished(tokens);
        let next = self.next(state);
        Progress {
            steps_done: state.steps_done,
            steps_left: next.map_or(0, |_| self.schedule.left(state.fed)),
            tokens,
            size: ladder.prefix(tokens).map_or(0, |prefix| prefix.size),
            level,
            next_step: next.and_then(|step| self.model.predict_step(self.rows_of(state, step), step.query)),
            next_decode: level.and_then(|level| self.model.predict_decode(1, level.tokens)),
        }
    }

    pub(super) fn memory(&self, state: &State) -> Memory {
        let (own, shared) = state.cache.bytes();
        // The tokens, and the board of the snapshots.
        let tokens = 2 * (size_of_val(&state.tokens[..]) + size_of_val(&state.log_probabilities[..]));
        Memory { own: own.saturating_add(tokens as u64), shared }
    }

    pub(super) fn snapshot(&self, state: &State, boards: &Boards) -> Snapshot {
        Snapshot {
            model: self.model.clone(),
            images: self.images.clone(),
            mixes: self.mixes.clone(),
            tokens: boards.tokens.clone(),
            log_probabilities: boards.log_probabilities.clone(),
            fed: state.fed,
            progress: self.progress(state),
            next: self.next(state).map(|step| (self.rows_of(state, step), step.query)),
            work: state.work,
            memory: self.memory(state),
        }
    }
}

impl State {
    /// Gives each image batch rows of its own when their inputs part, and drops rows that no later token needs: those of
    /// guidance that has ended, and of classes whose weight stays 0.
    pub(super) fn part(&mut self, spec: &Spec, step: Step) -> Result<()> {
        let asked = spec.asked();
        let parted = if spec.parts(self, step) {
            Some(self.rows.parted(&asked, step.start)?)
        } else {
            self.rows.without_idle(&asked, step.start)?
        };
        let Some((rows, map)) = parted else { return Ok(()) };
        self.cache = self.cache.fork(map, self.fed)?;
        self.rows = rows;
        Ok(())
    }

    /// The graph's input `[rows, query]`.
    pub(super) fn fill_ids(&mut self, spec: &Spec, step: Step) -> Result<()> {
        let bundle = spec.model.bundle();
        let layout = bundle.ids;
        self.ids.clear();
        if self.ids.capacity() < self.rows.fed.len().saturating_mul(step.query) {
            self.ids = reserve("ids", self.rows.fed.len().saturating_mul(bundle.group()))?;
        }
        for &Row { image, source, .. } in &self.rows.fed {
            let known = &self.tokens[image * bundle.tokens()..];
            if step.start == 0 {
                self.ids.push(source.map_or(layout.no_class, |class| layout.class + i64::from(class)));
            } else if step.start == bundle.causal {
                // The last causal token, then the special tokens that stand for a group that does not exist yet.
                self.ids.push(i64::from(known[step.start - 1]));
                self.ids.extend((0..step.query as i64 - 1).map(|k| layout.special + k));
            } else {
                self.ids.extend(known[step.start - step.query..step.start].iter().map(|&token| i64::from(token)));
            }
        }
        Ok(())
    }
}
