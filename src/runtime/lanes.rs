//! Large batches of a small model: its session and further ones of its graph, of one thread each, take parts of the batch. Within
//! one session threads share every operator and wait for each other after it, which for small matrices takes longer than it saves;
//! parts of a batch do not wait for each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::session::Session;

use super::bindings::{Bindings, Run};
use super::exit::{self, RuntimeOwned};
use super::failure::failed;
use super::interrupt::Interrupt;
use super::operators::Lent;
use super::port::{Port, check};
use super::session::{self, Compiled, ForOperators, GraphOptions, GraphSource, SharedWeights, Weights};
use crate::kernels::kv::SlotTable;
use crate::support::error::Result;
use crate::support::log;
use crate::support::memory::reserve;
use crate::support::parallel::Threads;
use crate::support::platform::without_signals;
use crate::support::sync::lock;

/// Tokens of a part: as many as multiply at full speed, and few enough for what they compute to stay in a core's cache.
const PART: usize = 64;
/// The least tokens of a part, when there are too few for parts of [`PART`].
const LEAST_PART: usize = 24;

/// The least tokens that one thread divides: what parts compute takes less memory. With 128 it took 2 % longer.
const LEAST_OF_ONE: usize = 4 * PART;

type Compile = Box<dyn Fn() -> Result<Lane> + Send + Sync>;
/// Runs a part in the graph's own session: the rows, how many tokens they have, and where their logits go.
pub(super) type Own<'a> = dyn FnMut(&[Run<'_>], usize, &mut [f32]) -> Result<()> + Send + 'a;

/// Memory for the logits of a batch, which no generation uses.
pub(super) type SpareLogits = Arc<Mutex<Vec<f32>>>;

/// The sessions that share a graph's large batches.
pub(crate) struct Lanes {
    threads: Threads,
    compile: Compile,
    /// Whether the graph's own session, of one thread as well, is the first of the lanes: each further session takes memory.
    with_own: bool,
    /// Compiled for the first large batch; empty when they cannot be.
    lanes: OnceLock<Vec<Lane>>,
    spare_logits: SpareLogits,
}

/// One session, used by one thread at a time.
pub(crate) struct Lane {
    used: RuntimeOwned<Mutex<(Session, Bindings)>>,
    slots: SlotTable,
    name: String,
    /// Dropped after the session, which uses it.
    _weights: RuntimeOwned<Option<Lent>>,
}

/// Some rows of a batch, and where their logits go.
struct Part<'a, 'b> {
    runs: &'b [Run<'a>],
    /// Tokens of all its rows.
    tokens: usize,
    logits: Mutex<&'b mut [f32]>,
}

impl Lanes {
    /// A lane for each of `threads`, compiled by `compile` when they are first used. With threads of ours the graph's own session
    /// is one of them; it has one thread then.
    pub fn new(threads: Threads, compile: impl Fn() -> Result<Lane> + Send + Sync + 'static) -> Self {
        let with_own = threads.host.is_none();
        Self {
            threads,
            compile: Box::new(compile),
            with_own,
            lanes: OnceLock::new(),
            spare_logits: SpareLogits::default(),
        }
    }

    /// Kept between generations.
    pub fn spare_logits(&self) -> &SpareLogits {
        &self.spare_logits
    }

    /// How many rows a part has, for a batch of `rows` rows with `tokens` tokens in all. None when the batch is not to be parted.
    pub fn part_rows(&self, rows: usize, tokens: usize) -> Option<usize> {
        if self.threads.count == 1 && !(self.with_own && tokens >= LEAST_OF_ONE) {
            return None;
        }
        // No more than there are large enough parts for.
        let lanes = self.threads.count.min(rows).min(tokens / LEAST_PART);
        // Every lane has as many parts as the others.
        let rounds = tokens.div_ceil(PART * lanes.max(1));
        let part = rows.div_ceil(rounds * lanes.max(1));
        (part < rows).then_some(part)
    }

    /// Runs all `runs`, `part` of them at once, and writes their logits `[tokens, codes]`. The caller keeps others from the slots
    /// of the runs, of which no two are the same, and from the graph's own session, which `own` runs, on this thread. False when
    /// there are no lanes: nothing was done then.
    pub fn run(
        &self,
        runs: &[Run<'_>],
        part: usize,
        codes: usize,
        logits: &mut [f32],
        own: &mut Own<'_>,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let lanes = self.lanes.get_or_init(|| self.compiled());
        let others = usize::from(self.with_own);
        if others + lanes.len() == 0 {
            return Ok(false);
        }
        let mut parts: Vec<Part<'_, '_>> = reserve("a batch", runs.len().div_ceil(part))?;
        let mut rest = logits;
        for runs in runs.chunks(part) {
            let tokens: usize = runs.iter().map(|run| run.ids.len()).sum();
            let (logits, after) = rest.split_at_mut(tokens * codes);
            parts.push(Part { runs, tokens, logits: Mutex::new(logits) });
            rest = after;
        }
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let own = Mutex::new(own);
        let work = |lane: usize| {
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                let ran = match lane.checked_sub(others) {
                    Some(lane) => lanes[lane].run(part, interrupt),
                    None => lock(&own)(part.runs, part.tokens, &mut lock(&part.logits)),
                };
                if let Err(error) = ran {
                    next.store(parts.len(), Ordering::Relaxed);
                    lock(&failure).get_or_insert(error);
                }
            }
        };
        let count = (others + lanes.len()).min(parts.len());
        match &self.threads.host {
            Some(host) => host.each(count, &work),
            None => on_threads(count, &work),
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(true),
        }
    }

    fn compiled(&self) -> Vec<Lane> {
        (usize::from(self.with_own)..self.threads.count)
            .map(|_| (self.compile)())
            .collect::<Result<_>>()
            .unwrap_or_else(|error| {
                log::info(|| format!("large batches run in one session, on one thread: {error}"));
                Vec::new()
            })
    }
}

impl Lane {
    /// Compiles another session of a graph, whose operators find the slots of a run in `slots` and use `weights` of another session.
    pub fn compile(
        source: GraphSource<'_>,
        options: &GraphOptions,
        (slots, weights): (SlotTable, &SharedWeights),
        (inputs, outputs): &(Vec<Port>, Vec<Port>),
    ) -> Result<Self> {
        let name = source.name.to_owned();
        let _inside = exit::enter_anywhere()?;
        let own = ForOperators { slots: &slots, weights: Weights::Of(weights) };
        let Compiled { session, lent, .. } = session::compile(source, options, Some(own))?;
        check(&name, "input", session.inputs(), inputs)?;
        check(&name, "output", session.outputs(), outputs)?;
        let used = RuntimeOwned::new(Mutex::new((session, Bindings::default())));
        Ok(Self { used, slots, name, _weights: RuntimeOwned::new(lent) })
    }

    fn run(&self, part: &Part<'_, '_>, interrupt: &Interrupt) -> Result<()> {
        // Also on threads of the host, which call it within a call of its function.
        let _inside = exit::enter_anywhere()?;
        let fail = |error: ort::Error| exit::reason(failed(&self.name, error));
        let (session, bindings) = &mut *lock(&self.used);
        let mut logits = lock(&part.logits);
        let call = bindings.get(session, part.tokens).map_err(fail)?;
        call.fill(part.runs.iter().copied());
        self.slots.lock().set(part.runs.iter().map(|run| run.slot.clone()))?;
        let ran = call.run_into(session, &mut logits, interrupt.options());
        self.slots.lock().clear();
        ran.map_err(fail)
    }
}

/// Calls `work` with each number below `count`: with 0 on this thread, with the others on threads of their own, or not at all
/// where the system starts none: whoever works takes the parts of the others.
fn on_threads(count: usize, work: &(dyn Fn(usize) + Sync)) {
    std::thread::scope(|scope| {
        for lane in 1..count {
            let begin =
                || std::thread::Builder::new().name("detailflow-lane".into()).spawn_scoped(scope, move || work(lane));
            if without_signals(begin).is_err() {
                break;
            }
        }
        work(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::error::Error;
    use crate::support::parallel::ParallelFor;

    #[test]
    fn parts_are_as_many_for_each_lane_and_none_of_small_batches() {
        let lanes = |count| Lanes::new(Threads { count, host: None }, || Err(Error::Invalid("unused".into())));
        let on_host = Threads { count: 1, host: Some(ParallelFor::new(|count, call| (0..count).for_each(call))) };
        let on_host = Lanes::new(on_host, || Err(Error::Invalid("unused".into())));
        assert_eq!(on_host.part_rows(128, 512), None, "one thread of the host");
        assert_eq!(lanes(1).part_rows(128, 512), Some(16), "one thread");
        assert_eq!(lanes(1).part_rows(32, 128), None, "too few tokens for one thread");
        assert_eq!(lanes(2).part_rows(2, 8), None, "one picture");
        assert_eq!(lanes(2).part_rows(1, 512), None, "one row");
        assert_eq!(lanes(2).part_rows(16, 64), Some(8));
        assert_eq!(lanes(2).part_rows(128, 512), Some(16));
        assert_eq!(lanes(2).part_rows(128, 128), Some(64));
        assert_eq!(lanes(3).part_rows(128, 512), Some(15));
        assert_eq!(lanes(16).part_rows(14, 56), Some(7), "fewer parts than threads");
        assert_eq!(lanes(64).part_rows(62, 248), Some(7));
        for count in 1..9 {
            for rows in 1..300 {
                let Some(part) = lanes(count).part_rows(rows, 4 * rows) else { continue };
                let parts = rows.div_ceil(part);
                assert!(
                    part >= 1 && parts <= rows && 4 * part <= PART + 4 * count,
                    "{count} lanes, {rows} rows: {part}"
                );
            }
        }
    }
}
