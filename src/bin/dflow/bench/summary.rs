//! The measurements of all rounds, summarized: medians and spreads by configuration, step shape and level.

use serde_json::{Value, json};

use super::round::{LevelTime, Round, StepShape};
use super::{BenchArgs, Measured};

/// Median, minimum and maximum of a set of measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None if there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let half = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 };
        Some(Self { median, min, max })
    }

    pub fn json(self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// Steps of one shape, over all rounds.
pub struct Steps {
    pub shape: StepShape,
    pub count: usize,
    pub ms: Spread,
    /// Mean bytes read by a step of this shape.
    pub bytes: Option<f64>,
    /// Time to read these bytes at the measured bandwidth.
    pub floor_ms: Option<f64>,
    pub floor_share: Option<f64>,
    /// Time of the multiply-adds of a step of this shape at the measured rate.
    pub gemm_ms: Option<f64>,
    pub gemm_share: Option<f64>,
}

/// One level, over all rounds.
pub struct Level {
    pub size: u32,
    pub tokens: usize,
    pub steps: usize,
    pub ms: Spread,
    /// Share of the last level's time in the same round.
    pub share: f64,
}

/// One line of the table.
pub struct Line<'a> {
    pub measured: &'a Measured,
    pub ms_per_image: Spread,
    pub first_level_ms: Spread,
    /// Share of the full image's time, in the same round.
    pub first_level_share: f64,
    pub outside_share: f64,
    pub outside_ms: f64,
    pub decode_ms: f64,
    pub open_ms: Spread,
    pub peak_rss_mb: Option<f64>,
    pub read_gb_per_s: Option<f64>,
    /// Bytes read by all steps, and the share of the memory floor in their time.
    pub bytes: Option<f64>,
    pub floor_share: Option<f64>,
    /// Multiply-adds a second of the kernels, and the share of the GEMM floor in the time of all steps.
    pub multiply_adds_per_second: Option<f64>,
    pub gemm_share: Option<f64>,
    /// Time of a round relative to the first line's in the same round.
    pub ratio: Spread,
    pub steps: Vec<Steps>,
    pub levels: Vec<Level>,
}

impl<'a> Line<'a> {
    /// None if there are no rounds.
    pub fn of(measured: &'a Measured, first: &Measured) -> Option<Self> {
        let Measured { opened, open_ms, batch, rounds, .. } = measured;
        let over = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
        let known = |value: &dyn Fn(&Round) -> Option<f64>| {
            Spread::of(rounds.iter().filter_map(value)).map(|spread| spread.median)
        };
        let bytes: Option<f64> = opened.steps.iter().map(|step| step.bytes.map(|bytes| bytes as f64)).sum();
        let floor_share = bytes.and_then(|bytes| {
            known(&|round| {
                round.read_gb_per_s.map(|bandwidth| bytes / (bandwidth * 1e6) / round.steps_ms.iter().sum::<f64>())
            })
        });
        let mut steps_work = opened.steps.iter().map(|step| step.multiply_adds);
        let work = steps_work.try_fold(0u64, |sum, step| Some(sum.saturating_add(step?)));
        let gemm_share =
            work.and_then(|work| known(&|round| Some(gemm_ms(work, round)? / round.steps_ms.iter().sum::<f64>())));
        let ratios = rounds.iter().zip(&first.rounds).map(|(round, first)| round.ms / first.ms);
        Some(Self {
            measured,
            ms_per_image: over(&|round| round.ms / f64::from(*batch))?,
            first_level_ms: over(&|round| round.levels.first().map_or(0.0, |level| level.ms))?,
            first_level_share: over(&|round| round.levels.first().map_or(0.0, |level| level.ms) / round.ms)?.median,
            outside_share: over(&|round| 1.0 - round.graphs_ms / round.ms)?.median,
            outside_ms: over(&|round| round.ms - round.graphs_ms)?.median,
            decode_ms: over(&|round| round.decode_ms)?.median,
            open_ms: Spread::of(open_ms.iter().copied())?,
            peak_rss_mb: rounds.first()?.peak_rss_mb,
            read_gb_per_s: known(&|round| round.read_gb_per_s),
            bytes,
            floor_share,
            multiply_adds_per_second: known(&|round| round.multiply_adds_per_second),
            gemm_share,
            ratio: Spread::of(ratios)?,
            steps: steps(measured),
            levels: levels(rounds),
        })
    }

    pub fn name(&self) -> String {
        let opened = &self.measured.opened;
        format!("{} {} {}", opened.device, opened.precision, opened.form)
    }

    pub fn threads(&self) -> String {
        match self.measured.threads {
            0 => "all".into(),
            threads => threads.to_string(),
        }
    }

    pub fn json(&self, args: &BenchArgs, size: u32) -> Value {
        let Measured { opened, batch, threads, rounds, .. } = self.measured;
        let steps = self.steps.iter().map(|steps| {
            json!({
                "rows": steps.shape.rows, "query": steps.shape.query, "count": steps.count,
                "ms": steps.ms.median, "min_ms": steps.ms.min, "max_ms": steps.ms.max,
                "bytes_read": steps.bytes, "floor_ms": steps.floor_ms, "floor_share": steps.floor_share,
                "multiply_adds": steps.shape.multiply_adds, "gemm_floor_ms": steps.gemm_ms, "gemm_floor_share": steps.gemm_share,
            })
        });
        let levels = self.levels.iter().map(|level| {
            json!({
                "size": level.size, "tokens": level.tokens, "steps": level.steps,
                "ms": level.ms.median, "min_ms": level.ms.min, "max_ms": level.ms.max, "share": level.share,
            })
        });
        json!({
            "device": opened.device, "precision": opened.precision, "form": opened.form, "threads": threads,
            "batch": batch, "guidance": args.guidance, "level": size,
            "ms_per_image": self.ms_per_image.median,
            "min_ms_per_image": self.ms_per_image.min, "max_ms_per_image": self.ms_per_image.max,
            "images_per_second": 1e3 / self.ms_per_image.median,
            "rounds_ms": rounds.iter().map(|round| round.ms).collect::<Vec<_>>(),
            "first_level_ms": self.first_level_ms.median, "first_level_share": self.first_level_share,
            "outside_graphs_share": self.outside_share, "outside_graphs_ms": self.outside_ms,
            "decode_ms": self.decode_ms,
            "open_ms": self.open_ms.median, "min_open_ms": self.open_ms.min, "max_open_ms": self.open_ms.max,
            "peak_rss_mb": self.peak_rss_mb,
            "bytes_read": self.bytes, "read_gb_per_s": self.read_gb_per_s, "floor_share": self.floor_share,
            "multiply_adds_per_second": self.multiply_adds_per_second, "gemm_floor_share": self.gemm_share,
            "ratio": self.ratio.json(),
            "steps": steps.collect::<Vec<_>>(), "levels": levels.collect::<Vec<_>>(),
        })
    }
}

/// The time of so many multiply-adds at the rate that was measured in a round.
fn gemm_ms(multiply_adds: u64, round: &Round) -> Option<f64> {
    round.multiply_adds_per_second.map(|rate| multiply_adds as f64 / rate * 1e3)
}

/// The steps grouped by shape, in the order of first use.
fn steps(measured: &Measured) -> Vec<Steps> {
    let Measured { opened, rounds, .. } = measured;
    let same = |a: &StepShape, b: &StepShape| (a.rows, a.query) == (b.rows, b.query);
    let mut found: Vec<Steps> = Vec::new();
    for shape in &opened.steps {
        if found.iter().any(|known| same(&known.shape, shape)) {
            continue;
        }
        let indices: Vec<usize> = (0..opened.steps.len()).filter(|&at| same(&opened.steps[at], shape)).collect();
        let count = indices.len();
        let of_round = |round: &Round| Spread::of(indices.iter().filter_map(|&at| round.steps_ms.get(at).copied()));
        let all = rounds.iter().flat_map(|round| indices.iter().filter_map(|&at| round.steps_ms.get(at).copied()));
        let Some(ms) = Spread::of(all) else { continue };
        let bytes: Option<f64> = indices.iter().map(|&at| opened.steps[at].bytes.map(|bytes| bytes as f64)).sum();
        let bytes = bytes.map(|bytes| bytes / count as f64);
        let floor = |round: &Round| Some(bytes? / (round.read_gb_per_s? * 1e6));
        let share = |round: &Round| Some(floor(round)? / of_round(round)?.median);
        let gemm = |round: &Round| gemm_ms(shape.multiply_adds?, round);
        let share_of_gemm = |round: &Round| Some(gemm(round)? / of_round(round)?.median);
        let median = |values: Vec<f64>| Spread::of(values).map(|spread| spread.median);
        found.push(Steps {
            shape: *shape,
            count,
            ms,
            bytes,
            floor_ms: median(rounds.iter().filter_map(floor).collect()),
            floor_share: median(rounds.iter().filter_map(share).collect()),
            gemm_ms: median(rounds.iter().filter_map(gemm).collect()),
            gemm_share: median(rounds.iter().filter_map(share_of_gemm).collect()),
        });
    }
    found
}

fn levels(rounds: &[Round]) -> Vec<Level> {
    let first = rounds.first().map_or(&[][..], |round| &round.levels);
    let level = |(at, level): (usize, &LevelTime)| {
        let ms = Spread::of(rounds.iter().filter_map(|round| Some(round.levels.get(at)?.ms)))?;
        let share = |round: &Round| Some(round.levels.get(at)?.ms / round.levels.last()?.ms);
        let share = Spread::of(rounds.iter().filter_map(share))?.median;
        Some(Level { size: level.size, tokens: level.tokens, steps: level.steps, ms, share })
    };
    first.iter().enumerate().filter_map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_median_of_even_count_is_the_mean_of_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([7.0]).unwrap().median, 7.0);
        assert_eq!(Spread::of([]), None);
    }
}
