//! From the logits of one step to its tokens: on the CPU, or on the device where the logits are.

use ndarray::ArrayView2;

use super::state::{Spec, State};
use crate::plan::Step;
use crate::runtime::SampledToken;
use crate::sample::{SampleQuery, SamplerPool, Sampling, log_probability, uniform};
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::parallel::Threads;

/// One position of one image.
struct Slot {
    /// Index in `[image, N]`.
    at: usize,
    position: usize,
    /// Its logits in `[rows * query]`.
    cond: usize,
    kind: Kind,
    token: u32,
    log_probability: f32,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The token was given; only its log-probability is wanted.
    Given,
    /// The token is to be sampled.
    Sampled {
        /// Unconditional logits in `[rows * query]`, and the guidance scale.
        uncond: Option<(usize, f32)>,
        sampling: Sampling,
        seed: u64,
    },
}

/// What a step has to sample, and then what it sampled.
pub(super) struct Pending<'a> {
    slots: Vec<Slot>,
    /// `[rows, query, codes]` of the logits.
    shape: [usize; 3],
    /// Whether log-probabilities are wanted.
    noted: bool,
    threads: Threads,
    graph: &'a str,
}

impl<'a> Pending<'a> {
    /// Lists what `step` has to sample: every position that was not given, and the given ones where log-probabilities are
    /// wanted.
    pub fn of(spec: &'a Spec, state: &State, step: Step) -> Result<Self> {
        let bundle = spec.model.bundle();
        let (each, codes, query) = (bundle.tokens(), bundle.codes(), step.query);
        let noted = !state.log_probabilities.is_empty();
        let mut slots = reserve("a step", spec.images.len().saturating_mul(query))?;
        for (image, request) in spec.images.iter().enumerate() {
            for (k, position) in (step.start..).take(query).enumerate() {
                let at = image * each + position;
                let kind = if position >= spec.given {
                    let scale = spec.guidance.scale_at(position, each, bundle.causal(), bundle.group());
                    let uncond = state.rows.uncond.get(image).filter(|_| scale != 1.0);
                    let uncond = uncond.map(|&row| (row * query + k, scale));
                    Kind::Sampled { uncond, sampling: spec.sampling.at(position, codes), seed: request.seed }
                } else if noted {
                    Kind::Given
                } else {
                    continue;
                };
                let cond = state.rows.cond[image] * query + k;
                slots.push(Slot { at, position, cond, kind, token: state.tokens[at], log_probability: 0.0 });
            }
        }
        let shape = [state.rows.fed.len(), query, codes];
        Ok(Self { slots, shape, noted, threads: spec.model.work_threads(), graph: spec.model.ar()?.name() })
    }

    /// Samples on the CPU from `logits` `[rows, query, codes]`.
    ///
    /// # Errors
    /// [`Error::Failed`] when a logit is NaN or infinite; [`Error::OutOfMemory`].
    pub fn sample(&mut self, logits: &[f32], samplers: &mut SamplerPool) -> Result<()> {
        let (noted, graph, codes) = (self.noted, self.graph, self.shape[2]);
        samplers.make_room(self.threads.count, codes, self.slots.len())?;
        let logits = rows(logits, self.shape)?;
        let row = |at: usize| logits.row(at).to_slice().expect("a row of logits is contiguous");
        samplers.each(&self.threads, codes, &mut self.slots, |sampler, slot| {
            let not_finite = || not_finite(graph, slot.position);
            let cond = row(slot.cond);
            if let Kind::Sampled { uncond, sampling, seed } = slot.kind {
                let uncond = uncond.map(|(at, scale)| (row(at), scale));
                let random = uniform(seed, slot.position as u64);
                slot.token = sampler.sample(sampling, cond, uncond, random).ok_or_else(not_finite)?;
            }
            if noted {
                slot.log_probability = log_probability(cond, slot.token).ok_or_else(not_finite)?;
            }
            Ok(())
        })
    }

    /// Samples where the logits are: `sampler` answers the queries in their order.
    ///
    /// # Errors
    /// Those of `sampler`; [`Error::Failed`] when a logit is NaN or infinite.
    pub fn sample_on_device(
        &mut self,
        sampler: impl FnOnce(&[SampleQuery]) -> Result<Vec<SampledToken>>,
    ) -> Result<()> {
        if self.slots.is_empty() {
            return Ok(());
        }
        let mut queries = reserve("a step", self.slots.len())?;
        queries.extend(self.slots.iter().map(|slot| match slot.kind {
            Kind::Given => SampleQuery::given(slot.cond, slot.token),
            Kind::Sampled { uncond, sampling, seed } => {
                let random = uniform(seed, slot.position as u64);
                SampleQuery::sampled(sampling, self.shape[2], slot.cond, uncond, random)
            }
        }));
        for (slot, sampled) in self.slots.iter_mut().zip(sampler(&queries)?) {
            slot.token = sampled.token.ok_or_else(|| not_finite(self.graph, slot.position))?;
            slot.log_probability = sampled.log_probability;
        }
        Ok(())
    }

    /// Stores the tokens, and their log-probabilities where they are wanted.
    pub fn store(self, state: &mut State) {
        for slot in self.slots {
            state.tokens[slot.at] = slot.token;
            if self.noted {
                state.log_probabilities[slot.at] = slot.log_probability;
            }
        }
    }
}

/// Logits `[rows, query, codes]` as `[rows * query, codes]`.
fn rows(logits: &[f32], [rows, query, codes]: [usize; 3]) -> Result<ArrayView2<'_, f32>> {
    let view = ArrayView2::from_shape((rows.saturating_mul(query), codes), logits);
    view.map_err(|error| Error::Internal(format!("{} logits of a step: {error}", logits.len())))
}

fn not_finite(graph: &str, position: usize) -> Error {
    Error::Failed { graph: graph.to_owned(), reason: format!("its logits for token {position} are NaN or infinite") }
}
