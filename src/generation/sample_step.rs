//! From the logits of one step to its tokens: on the CPU, or on the device where the logits are.

use ndarray::ArrayView2;

use super::rows::Source;
use super::state::{Spec, State};
use crate::plan::{Mix, Step};
use crate::runtime::SampledToken;
use crate::sample::{MixedLogits, SampleQuery, SamplerPool, Sampling, Term, log_probability, uniform};
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
    /// Index in `mixed` of what it is sampled from instead, where that is more than `cond` and `uncond`.
    mixed: Option<usize>,
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
    mixed: Vec<MixedLogits>,
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
        let mixes = spec.mixes.iter().flatten().count();
        let mut mixed = reserve("a step", mixes.saturating_mul(query))?;
        for (image, request) in spec.images.iter().enumerate() {
            let mix = spec.mixes.get(image).and_then(Option::as_deref);
            for (k, position) in (step.start..).take(query).enumerate() {
                let given = position < spec.given;
                if given && !noted {
                    continue;
                }
                let scale =
                    if given { 1.0 } else { spec.guidance.scale_at(position, each, bundle.causal(), bundle.group()) };
                let row = |source: Source| Ok(state.rows.row(image, source)? * query + k);
                let logits = match mix {
                    Some(mix) => mixed_logits(mix, position, (!given).then_some(scale), row)?,
                    None => {
                        let uncond = if scale == 1.0 { None } else { Some(row(None)?) };
                        Logits::Rows { cond: row(Some(request.class))?, uncond }
                    }
                };
                let (cond, uncond, of) = match logits {
                    Logits::Rows { cond, uncond } => (cond, uncond, None),
                    Logits::Mixed(logits) => {
                        mixed.push(logits);
                        (0, None, Some(mixed.len() - 1))
                    }
                };
                let kind = if given {
                    Kind::Given
                } else {
                    let uncond = uncond.map(|row| (row, scale));
                    Kind::Sampled { uncond, sampling: spec.sampling.at(position, codes), seed: request.seed }
                };
                let at = image * each + position;
                slots.push(Slot { at, position, cond, mixed: of, kind, token: state.tokens[at], log_probability: 0.0 });
            }
        }
        let shape = [state.rows.fed.len(), query, codes];
        Ok(Self { slots, mixed, shape, noted, threads: spec.model.work_threads(), graph: spec.model.ar()?.name() })
    }

    /// Samples on the CPU from `logits` `[rows, query, codes]`.
    ///
    /// # Errors
    /// [`Error::Failed`] when a logit is NaN or infinite; [`Error::OutOfMemory`].
    pub fn sample(&mut self, logits: &[f32], samplers: &mut SamplerPool) -> Result<()> {
        let (noted, graph, codes) = (self.noted, self.graph, self.shape[2]);
        let mixed = &self.mixed[..];
        if mixed.is_empty() {
            samplers.make_room(self.threads.count, codes, self.slots.len())?;
        } else {
            samplers.make_room_mixed(self.threads.count, codes, self.slots.len())?;
        }
        let logits = rows(logits, self.shape)?;
        let row = |at: usize| logits.row(at).to_slice().expect("a row of logits is contiguous");
        samplers.each(&self.threads, codes, &mut self.slots, |sampler, slot| {
            let not_finite = || not_finite(graph, slot.position);
            if let Some(mixed) = slot.mixed.map(|at| &mixed[at]) {
                if let Kind::Sampled { sampling, seed, .. } = slot.kind {
                    let random = uniform(seed, slot.position as u64);
                    slot.token = sampler.sample_mixed(sampling, mixed, &row, random).ok_or_else(not_finite)?;
                }
                if noted {
                    let found = sampler.mixed_log_probability(mixed, &row, slot.token);
                    slot.log_probability = found.ok_or_else(not_finite)?;
                }
                return Ok(());
            }
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
        if !self.mixed.is_empty() {
            return Err(Error::Internal("the graph that samples knows no mixed logits".into()));
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

    /// Whether logits of each image are looked at: not in a step over given tokens only.
    pub fn looked_at_logits(&self) -> bool {
        !self.slots.is_empty()
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

/// What a position is sampled from.
enum Logits {
    Rows { cond: usize, uncond: Option<usize> },
    Mixed(MixedLogits),
}

/// What a position of a mix is sampled from; without a guidance `scale` what its log-probability is computed from. `row` is
/// the row of a class, or of none.
fn mixed_logits(
    mix: &Mix,
    position: usize,
    scale: Option<f32>,
    row: impl Fn(Source) -> Result<usize>,
) -> Result<Logits> {
    let terms = |list: Vec<(Source, f32)>| {
        list.into_iter().map(|(source, weight)| Ok((row(source)?, weight))).collect::<Result<Vec<Term>>>()
    };
    let mean = terms(mix.mean_at(position))?;
    let scale_or_off = scale.unwrap_or(1.0);
    let (avoid, strength) = mix.avoid_at(position);
    let push = if scale.is_some() { scale_or_off * strength } else { 0.0 };
    let avoid = if push == 0.0 { Vec::new() } else { terms(avoid)? };
    let uncond = if scale_or_off != 1.0 || !avoid.is_empty() { Some(row(None)?) } else { None };
    // A class alone is sampled as without a mix.
    Ok(match mean[..] {
        [(cond, _)] if avoid.is_empty() => Logits::Rows { cond, uncond },
        _ => Logits::Mixed(MixedLogits { mean, uncond, scale: scale_or_off, avoid, push }),
    })
}

/// Logits `[rows, query, codes]` as `[rows * query, codes]`.
fn rows(logits: &[f32], [rows, query, codes]: [usize; 3]) -> Result<ArrayView2<'_, f32>> {
    let view = ArrayView2::from_shape((rows.saturating_mul(query), codes), logits);
    view.map_err(|error| Error::Internal(format!("{} logits of a step: {error}", logits.len())))
}

fn not_finite(graph: &str, position: usize) -> Error {
    Error::Failed { graph: graph.to_owned(), reason: format!("its logits for token {position} are NaN or infinite") }
}
