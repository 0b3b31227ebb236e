//! The cost of a request before it runs: steps, work, memory, time.

use std::time::Duration;

use crate::generation::request::Request;
use crate::generation::rows::{Asked, BatchRows};
use crate::plan::{Level, Step};
use crate::support::error::Result;
use crate::support::host;

/// Steps of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepCost {
    /// Batch rows: one per image, two with guidance, fewer while images share a prefix; of a mix one for each class and each
    /// class to avoid.
    pub rows: usize,
    /// Positions per row: 1, or a group.
    pub query: usize,
    /// Number of such steps.
    pub count: usize,
    /// Latency of one of them; None when nothing was measured on this machine yet.
    pub time: Option<Duration>,
}

/// The cost of reaching a level.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LevelCost {
    /// The level.
    pub level: Level,
    /// Steps from the start.
    pub steps: usize,
    /// Time from the start until the images of this level are decoded (one by one, this level only). None when nothing was
    /// measured on this machine yet.
    pub time: Option<Duration>,
}

/// The cost of a request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Cost {
    /// The steps by shape, in the order of their first step.
    pub steps: Vec<StepCost>,
    /// Multiply-adds of all steps and of decoding the last level. None when the manifest does not give the sizes of the
    /// networks.
    pub multiply_adds: Option<u64>,
    /// Bytes of the KV cache of the step with the most rows. While rows change (images that share a prefix part, guidance
    /// ends) the previous cache exists as well; form `plain` holds the cache of two steps at once.
    pub key_bytes: u64,
    /// Bytes of the images of the last level, one per channel of each pixel.
    pub output_bytes: u64,
    /// The levels that are reached, coarse to fine, without those of the prefix; the last one is the one asked for.
    pub levels: Vec<LevelCost>,
}

/// Multiply-adds a second that the library's int8 kernels reach on this CPU with `threads` threads (1 to 1024; others count
/// as the nearest) when they need not wait for memory. With [`Cost::multiply_adds`] that is the least time of a request in form
/// `native`. Takes a tenth of a second, in which all these threads are busy.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
pub fn multiply_adds_per_second(threads: usize) -> Result<f64> {
    let _host = host::enter();
    crate::kernels::multiply_adds_per_second(threads.clamp(1, 1024))
}

impl Cost {
    /// Time until the images of the last level are decoded; None when nothing was measured on this machine yet.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.levels.last()?.time
    }
}

/// What `request` costs, without sampling anything. Times come from steps that ran with this model in this process, else
/// from an earlier calibration on this machine ([`calibrate`](crate::tasks::calibrate)).
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when the prefixes differ in length or are longer than what is asked for;
/// [`Error::State`](crate::Error::State) when the bundle holds the decoder alone.
pub fn cost(request: &Request) -> Result<Cost> {
    let _host = host::enter();
    let model = request.model();
    model.ar()?;
    let bundle = model.bundle();
    let given = request.given()?;
    let count = request.images.len();
    let asked = Asked::of(request);
    let shared = if given > 0 { Some(BatchRows::distinct(&asked, 0, &request.prefixes)?) } else { None };
    let rows = |step: Step| match &shared {
        Some(shared) if step.start <= given => shared.count_needed(&asked, step.start),
        _ => Ok(asked.rows(step.start)),
    };
    let decode = |level: Level| {
        model.predict_decode(1, level.tokens).map(|time| time.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)))
    };

    let mut steps: Vec<StepCost> = Vec::new();
    let mut levels = Vec::new();
    let mut time = Some(Duration::ZERO);
    let mut work = Some(0u64);
    let ladder = bundle.ladder();
    let schedule = model.schedule(request.target);
    for (done, step) in schedule.steps().filter(|_| given < request.target).enumerate() {
        let rows = rows(step)?;
        let step_time = model.predict_step(rows, step.query);
        match steps.iter_mut().find(|known| (known.rows, known.query) == (rows, step.query)) {
            Some(known) => known.count += 1,
            None => steps.push(StepCost { rows, query: step.query, count: 1, time: step_time }),
        }
        time = time.zip(step_time).map(|(so_far, step)| so_far.saturating_add(step));
        work = work.zip(bundle.step_work(rows, step)).map(|(so_far, step)| so_far.saturating_add(step));
        let tokens = step.start + step.query;
        if let Some(level) = ladder.levels().iter().find(|level| level.tokens == tokens && tokens > given) {
            let time = time.zip(decode(*level)).map(|(steps, decode)| steps.saturating_add(decode));
            levels.push(LevelCost { level: *level, steps: done + 1, time });
        }
    }
    let size = ladder.prefix(request.target).map_or(0, |prefix| prefix.size);
    if levels.is_empty() {
        let level = Level { size, tokens: request.target };
        levels.push(LevelCost { level, steps: 0, time: decode(level) });
    }
    let decode_work = bundle.decode_work(request.target, size).map(|work| work.saturating_mul(count as u64));
    let most = steps.iter().map(|step| step.rows).max().unwrap_or(0);
    Ok(Cost {
        steps,
        multiply_adds: work.zip(decode_work).map(|(steps, decode)| steps.saturating_add(decode)),
        key_bytes: model.key_shape().bytes(most),
        output_bytes: (u64::from(size) * u64::from(size))
            .saturating_mul(bundle.channels().saturating_mul(count) as u64),
        levels,
    })
}
