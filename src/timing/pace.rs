//! How long units of work take on this machine now: predictions that hold for nearly every run, and that follow the load
//! of the machine within a few units.
//!
//! Each shape has a window of runs, in the time of a machine that is not slowed down; a common factor says how slow the
//! machine is at present. When the last few runs, of whatever shape, are all slower than their windows, the factor
//! rises at once; when it has been too high for longer, it falls, and slowly it returns to 1 while the windows take over. So a
//! slower machine is known for all shapes after a few units, and one run that was interrupted changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::latency::{Shape, Table, estimate};

/// Runs of a shape that count: the last ones.
const WINDOW: usize = 16;
/// With fewer runs a shape says nothing about the machine: the first ones are often slow.
const ENOUGH: usize = 8;
/// So many runs in a row that were all slow raise the factor.
const ATTACK: usize = 3;
/// So many runs that were mostly fast lower it.
const RELEASE: usize = 12;
/// After so many runs of other shapes a shape is tried again.
const STALE: u64 = 256;
/// The part of the factor that is forgotten with each run.
const FADING: f64 = 1.0 / 32.0;
/// What counts as slow and as fast.
const SLOW: f64 = 1.1;
const FAST: f64 = 0.9;

/// The recent speed of one model.
#[derive(Debug)]
pub(crate) struct Pace {
    runs: BTreeMap<Shape, Runs>,
    /// How slow the machine is.
    factor: f64,
    /// The last runs in relation to what was usual for their shapes.
    ratios: VecDeque<f64>,
    /// Runs of all shapes.
    count: u64,
}

/// The last runs of a shape, in seconds, divided by the factor of their time.
#[derive(Debug, Default)]
struct Runs {
    last: VecDeque<f64>,
    /// The median, and what nearly all of them stay below.
    usual: f64,
    high: f64,
    /// The number of the last one, of all shapes.
    at: u64,
}

impl Runs {
    fn push(&mut self, seconds: f64) {
        push(&mut self.last, seconds, WINDOW);
        let sorted = sorted(&self.last);
        self.usual = sorted[(sorted.len() - 1) / 2];
        // One of the runs may have been interrupted, and the first of a shape is often slow.
        self.high = sorted[if sorted.len() >= ATTACK { sorted.len() - 2 } else { sorted.len() - 1 }];
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { runs: BTreeMap::new(), factor: 1.0, ratios: VecDeque::new(), count: 0 }
    }
}

impl Pace {
    /// Records the time of a run.
    pub fn note(&mut self, shape: Shape, took: Duration) {
        // What lasts becomes the new normal, which the windows show.
        self.factor = self.factor.powf(1.0 - FADING);
        let seconds = took.as_secs_f64() / self.factor;
        let runs = self.runs.entry(shape).or_default();
        if runs.last.len() >= ENOUGH {
            push(&mut self.ratios, seconds / runs.usual.max(1e-9), RELEASE);
        }
        runs.push(seconds);
        self.count += 1;
        runs.at = self.count;
        let slow = self.ratios.iter().rev().take(ATTACK).copied().fold(f64::INFINITY, f64::min);
        let usual = sorted(&self.ratios).get(RELEASE / 2).copied().unwrap_or(1.0);
        if self.ratios.len() >= ATTACK && slow > SLOW {
            self.change(slow);
        } else if self.ratios.len() == RELEASE && usual < FAST {
            self.change(usual);
        }
    }

    /// A time within which a run of this shape ends, nearly always; `None` if none was measured.
    pub fn predict(&self, shape: Shape) -> Option<Duration> {
        self.time(self.runs.get(&shape)?.high)
    }

    /// The time that a run of this shape usually takes, and whether that is certain: not before there were enough of them, since
    /// a first one is often slow, and no more when there was none for long. `None` if there was none.
    pub fn usual(&self, shape: Shape) -> Option<(Duration, bool)> {
        let runs = self.runs.get(&shape)?;
        let certain = runs.last.len() >= ATTACK && self.count - runs.at < STALE;
        // A few may all have been slow.
        let few = runs.last.len() < ENOUGH;
        let seconds = if few { runs.last.iter().copied().fold(f64::INFINITY, f64::min) } else { runs.usual };
        Some((self.time(seconds)?, certain))
    }

    /// An estimate of the usual time of a shape that was not measured from that of others of its kind; `None` if there are none.
    pub fn guess(&self, shape: Shape) -> Option<Duration> {
        let known: Table = self.runs.keys().filter_map(|&shape| Some((shape, self.usual(shape)?.0))).collect();
        estimate(&known, shape)
    }

    fn change(&mut self, by: f64) {
        self.factor = (self.factor * by).clamp(1e-6, 1e6);
        self.ratios.clear();
    }

    fn time(&self, seconds: f64) -> Option<Duration> {
        Duration::try_from_secs_f64(seconds * self.factor).ok()
    }
}

fn push(window: &mut VecDeque<f64>, value: f64, most: usize) {
    if window.len() == most {
        window.pop_front();
    }
    window.push_back(value);
}

fn sorted(values: &VecDeque<f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);
    const ONE: Shape = Shape::Step { rows: 2, query: 1 };
    const FOUR: Shape = Shape::Step { rows: 2, query: 4 };

    fn settled() -> Pace {
        let mut pace = Pace::default();
        for at in 0..40 {
            pace.note(ONE, (100 + at % 3) * US);
            pace.note(FOUR, (200 + at % 5) * US);
        }
        pace
    }

    fn micros(pace: &Pace, shape: Shape) -> u128 {
        pace.predict(shape).unwrap().as_micros()
    }

    #[test]
    fn pace_of_a_steady_machine_is_near_the_slowest_usual_run() {
        let pace = settled();
        assert!((100..=103).contains(&micros(&pace, ONE)) && (202..=205).contains(&micros(&pace, FOUR)));
        assert_eq!(pace.predict(Shape::Begin { rows: 2 }), None);
    }

    #[test]
    fn shapes_that_do_not_run_keep_their_times_while_others_vary() {
        let mut pace = settled();
        for at in 0..4000 {
            // Three slow runs in each forty.
            pace.note(ONE, if at % 40 < 3 { 130 } else { 100 + at % 3 } * US);
        }
        assert!((150..=350).contains(&micros(&pace, FOUR)), "{}", micros(&pace, FOUR));
    }

    #[test]
    fn slow_first_runs_of_a_shape_say_nothing_about_the_machine() {
        let mut pace = settled();
        for took in [3000, 1200, 900, 500, 500, 500, 500, 500, 500, 500, 500, 500] {
            pace.note(Shape::Step { rows: 8, query: 1 }, took * US);
            assert!((100..=103).contains(&micros(&pace, ONE)), "{}", micros(&pace, ONE));
        }
        assert_eq!(pace.usual(Shape::Step { rows: 8, query: 1 }), Some((500 * US, true)));
    }

    #[test]
    fn usual_time_of_a_few_runs_is_that_of_the_fastest_and_certain_for_a_while() {
        let (mut pace, shape) = (settled(), Shape::Step { rows: 8, query: 1 });
        [3000, 700].into_iter().for_each(|took| pace.note(shape, took * US));
        assert_eq!(pace.usual(shape), Some((700 * US, false)));
        pace.note(shape, 900 * US);
        assert_eq!(pace.usual(shape), Some((700 * US, true)));
        (0..STALE).for_each(|_| pace.note(ONE, 101 * US));
        assert_eq!(pace.usual(shape), Some((700 * US, false)));
        assert_eq!((pace.usual(ONE), pace.usual(Shape::Begin { rows: 2 })), (Some((101 * US, true)), None));
    }

    #[test]
    fn one_interrupted_run_changes_nothing() {
        let mut pace = settled();
        pace.note(FOUR, 9000 * US);
        assert!(micros(&pace, ONE) <= 103 && micros(&pace, FOUR) <= 205);
        pace.note(ONE, 100 * US);
        pace.note(FOUR, 200 * US);
        assert!(micros(&pace, ONE) <= 103 && micros(&pace, FOUR) <= 205);
    }

    #[test]
    fn slower_machine_is_known_for_all_shapes_after_three_units() {
        let mut pace = settled();
        (0..3).for_each(|_| pace.note(ONE, 220 * US));
        assert!(micros(&pace, ONE) >= 210, "{}", micros(&pace, ONE));
        assert!(micros(&pace, FOUR) >= 400, "{}", micros(&pace, FOUR));
    }

    #[test]
    fn faster_machine_is_known_after_a_second_of_units() {
        let mut pace = settled();
        for _ in 0..40 {
            pace.note(ONE, 50 * US);
            pace.note(FOUR, 100 * US);
        }
        assert!(micros(&pace, ONE) <= 60 && micros(&pace, FOUR) <= 115, "{pace:?}");
    }

    #[test]
    fn new_shape_is_guessed_from_its_kind() {
        let pace = settled();
        assert!(pace.guess(Shape::Step { rows: 4, query: 4 }).unwrap() >= 400 * US);
        assert_eq!(pace.guess(Shape::Begin { rows: 2 }), None);
    }
}
