//! Latency model: how long a step or a decode of a shape takes, measured as they run and predicted before the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::support::sync::lock;

/// Runs of a shape that count: the last ones. Odd, so that the median is one of them.
const WINDOW: usize = 31;
/// Fewer runs than this may all have been slow: the first of a shape often is.
const ENOUGH: usize = 3;

/// What the latency of a run depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// A step: batch rows (twice the images under guidance) and positions of each.
    Step { rows: usize, query: usize },
    /// A decode: images, tokens of each, patches of each.
    Decode { pictures: usize, tokens: usize, patches: usize },
    /// Making a job ready for its first step: batch rows. Never stored.
    #[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only workers measure it"))]
    Begin { rows: usize },
}

impl Shape {
    /// Rows of the matrix products, as the measure by which shapes are compared.
    fn weight(self) -> f64 {
        match self {
            Self::Step { rows, query } => rows as f64 * query as f64,
            Self::Decode { pictures, tokens, patches } => pictures as f64 * (tokens as f64 + patches as f64),
            Self::Begin { rows } => rows as f64,
        }
    }

    /// Whether both differ in the batch size alone.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Step { query: a, .. }, Self::Step { query: b, .. }) => a == b,
            (Self::Decode { tokens: a, patches: x, .. }, Self::Decode { tokens: b, patches: y, .. }) => {
                (a, x) == (b, y)
            }
            (Self::Begin { .. }, Self::Begin { .. }) => true,
            _ => false,
        }
    }

    fn is_kin(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// Latencies by shape.
pub(crate) type Table = BTreeMap<Shape, Duration>;

#[derive(Default)]
struct Runs {
    last: VecDeque<Duration>,
    median: Duration,
}

/// The latencies of one model on its device.
#[derive(Default)]
pub(crate) struct LatencyModel {
    seen: Mutex<BTreeMap<Shape, Runs>>,
    /// Latencies of an earlier calibration; loaded once.
    stored: OnceLock<Table>,
}

impl LatencyModel {
    /// Records the latency of a run.
    pub fn note(&self, shape: Shape, took: Duration) {
        let mut seen = self.seen();
        let runs = seen.entry(shape).or_default();
        if runs.last.len() == WINDOW {
            runs.last.pop_front();
        }
        runs.last.push_back(took);
        runs.median = median(runs.last.iter().copied());
    }

    /// The predicted latency of `shape`: the median of its last runs; else what was stored; else an estimate from other
    /// shapes of its kind, rather too high than too low. None when nothing of its kind was measured. `load` reads what was
    /// stored, at the first need.
    pub fn predict(&self, shape: Shape, load: impl FnOnce() -> Table) -> Option<Duration> {
        let enough = |runs: &&Runs| runs.last.len() >= ENOUGH;
        if let Some(median) = self.seen().get(&shape).filter(enough).map(|runs| runs.median) {
            return Some(median);
        }
        // Outside the lock: loading may read a file, and recording a run must not wait for that.
        let stored = self.stored.get_or_init(load);
        if let Some(&time) = stored.get(&shape) {
            return Some(time);
        }
        let mut known = stored.clone();
        known.extend(self.seen().iter().map(|(&shape, runs)| (shape, runs.median)));
        estimate(&known, shape)
    }

    /// Takes over a calibration that was just measured.
    #[cfg(feature = "calibration")]
    pub fn store(&self, table: &Table) {
        let mut seen = self.seen();
        for (&shape, &time) in table {
            seen.insert(shape, Runs { last: vec![time; ENOUGH].into(), median: time });
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Shape, Runs>> {
        lock(&self.seen)
    }
}

/// The lower median; zero when there is none.
pub(crate) fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = times.collect();
    if sorted.is_empty() {
        return Duration::ZERO;
    }
    let middle = (sorted.len() - 1) / 2;
    *sorted.select_nth_unstable(middle).1
}

/// An estimate from other shapes of its kind, rather too high than too low; `None` when there are none.
pub(super) fn estimate(known: &Table, shape: Shape) -> Option<Duration> {
    if let Some(&time) = known.get(&shape) {
        return Some(time);
    }
    let weight = shape.weight();
    // Linear interpolation between batch sizes of the same shape.
    let like = || known.iter().filter(|(other, _)| other.is_like(shape));
    let below = like().filter(|(other, _)| other.weight() < weight).max_by(by_weight);
    let above = like().filter(|(other, _)| other.weight() > weight).min_by(by_weight);
    if let (Some((low, from)), Some((high, to))) = (below, above) {
        let part = (weight - low.weight()) / (high.weight() - low.weight());
        return Some(Duration::from_secs_f64(from.as_secs_f64() * (1.0 - part) + to.as_secs_f64() * part));
    }
    // A larger shape takes longer, at most in proportion; a smaller one never takes longer.
    let nearest = |(other, time): (&Shape, &Duration)| {
        let longer = time.as_secs_f64() * (weight / other.weight()).max(1.0);
        Duration::try_from_secs_f64(longer).unwrap_or(Duration::MAX)
    };
    let of = |table: &mut dyn Iterator<Item = (&Shape, &Duration)>| {
        table.min_by(|a, b| distance(a.0, weight).total_cmp(&distance(b.0, weight))).map(nearest)
    };
    of(&mut like()).or_else(|| of(&mut known.iter().filter(|(other, _)| other.is_kin(shape))))
}

fn by_weight(a: &(&Shape, &Duration), b: &(&Shape, &Duration)) -> std::cmp::Ordering {
    a.0.weight().total_cmp(&b.0.weight())
}

fn distance(shape: &Shape, weight: f64) -> f64 {
    (shape.weight() / weight).ln().abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn step(rows: usize, query: usize) -> Shape {
        Shape::Step { rows, query }
    }

    #[test]
    fn latency_after_a_slow_first_run_is_the_median() {
        let latency = LatencyModel::default();
        assert_eq!(latency.predict(step(2, 1), Table::new), None);
        for took in [50, 4, 5, 4] {
            latency.note(step(2, 1), took * MS);
        }
        assert_eq!(latency.predict(step(2, 1), Table::new), Some(4 * MS));
        (0..WINDOW).for_each(|_| latency.note(step(2, 1), 9 * MS));
        assert_eq!(latency.predict(step(2, 1), Table::new), Some(9 * MS), "old runs are dropped");
    }

    #[test]
    fn latency_is_the_stored_one_until_enough_runs() {
        let latency = LatencyModel::default();
        let stored = || Table::from([(step(2, 1), 7 * MS)]);
        latency.note(step(2, 1), 90 * MS);
        assert_eq!(latency.predict(step(2, 1), stored), Some(7 * MS));
        latency.note(step(2, 1), 3 * MS);
        latency.note(step(2, 1), 3 * MS);
        assert_eq!(latency.predict(step(2, 1), stored), Some(3 * MS));
    }

    #[test]
    fn latency_of_a_new_shape_is_estimated_from_its_kind() {
        let table = Table::from([(step(2, 1), 4 * MS), (step(8, 1), 10 * MS), (step(2, 8), 6 * MS)]);
        let of = |shape| estimate(&table, shape);
        assert_eq!(of(step(5, 1)), Some(7 * MS), "between two batches, a line");
        assert_eq!(of(step(16, 1)), Some(20 * MS), "larger, in proportion");
        assert_eq!(of(step(1, 1)), Some(4 * MS), "smaller, no longer");
        assert_eq!(of(step(4, 8)), Some(12 * MS));
        assert_eq!(of(step(2, 16)), Some(12 * MS), "of another query length, by what goes through");
        let decode = Shape::Decode { pictures: 1, tokens: 8, patches: 4 };
        assert_eq!(of(decode), None, "a step says nothing about a decode");
        assert!(of(step(usize::MAX, usize::MAX)).is_some(), "as long as a duration can be");
    }
}
