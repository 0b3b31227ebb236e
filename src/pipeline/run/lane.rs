//! A lane: a thread with a model of its own, which steps as many pictures together as its batch takes, whatever their rows.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use super::hooks::Drawn;
use super::times::{Stage, Times};
use super::work::{Part, Work};
use crate::generation::{Generation, step_together};
use crate::model::Model;
use crate::pipeline::plan::Plan;
use crate::pixels::Image;
use crate::plan::Level;
use crate::support::error::{Error, Result};

/// A picture that a lane has drawn, or why it could not.
pub(super) type LaneResult = (u64, Result<Drawn>);

/// What the lanes of a run share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub plan: &'a Plan,
    pub work: Work<'a>,
    pub times: &'a Times,
    /// The lanes end after their present step.
    pub stop: AtomicBool,
    /// The most pictures that step together.
    pub batch: usize,
    /// Whether pictures are decoded.
    pub images: bool,
}

/// A part that is being drawn.
struct Course<'a> {
    part: Part<'a>,
    generation: Generation,
    done: bool,
}

/// Draws until the work ends.
pub(super) struct Lane<'a, 'b> {
    shared: &'b Shared<'a>,
    model: &'b Model,
    results: Sender<LaneResult>,
    active: Vec<Course<'a>>,
    /// Parts that are tried again, or wait for memory.
    waiting: Vec<Part<'a>>,
}

impl<'a, 'b> Lane<'a, 'b> {
    pub fn new(shared: &'b Shared<'a>, model: &'b Model, results: Sender<LaneResult>) -> Self {
        Self { shared, model, results, active: Vec::new(), waiting: Vec::new() }
    }

    pub fn run(mut self) {
        let times = self.shared.times;
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.fill();
            if self.active.is_empty() {
                return;
            }
            times.of(Stage::Draw, || self.step());
            let done: Vec<Course<'a>> = self.active.extract_if(.., |course| course.done).collect();
            if !done.is_empty() {
                times.of(Stage::Decode, || self.finish(done));
            }
        }
    }

    /// Takes parts while there is room; waits for one if there is nothing to do. Without parts all is done.
    fn fill(&mut self) {
        let mut pictures: usize = self.active.iter().map(|course| course.part.weight()).sum();
        while pictures < self.shared.batch {
            let idle = self.active.is_empty();
            let part = match self.waiting.pop() {
                Some(part) => Some(part),
                None if idle => self.shared.times.of(Stage::Idle, || self.shared.work.take(true)),
                None => self.shared.work.take(false),
            };
            let Some(part) = part else { return };
            match guarded(|| part.begin(self.shared.plan, self.model)) {
                Ok(generation) => {
                    pictures += part.weight();
                    self.active.push(Course { part, generation, done: false });
                }
                // When some of the others have ended there may be memory.
                Err(Error::OutOfMemory { .. }) if !idle => {
                    self.waiting.push(part);
                    return;
                }
                Err(error) => self.fail(part, error),
            }
        }
    }

    /// One step of all.
    fn step(&mut self) {
        let mut generations: Vec<&mut Generation> =
            self.active.iter_mut().map(|course| &mut course.generation).collect();
        let results = match catch_unwind(AssertUnwindSafe(|| step_together(&mut generations))) {
            Ok(results) => results,
            // How far each of them got is unknown.
            Err(panic) => self.active.iter().map(|_| Err(Error::from_panic(&*panic))).collect(),
        };
        let courses = std::mem::take(&mut self.active);
        for (mut course, result) in courses.into_iter().zip(results) {
            match result {
                Ok(progress) => {
                    course.done = progress.steps_left == 0;
                    self.active.push(course);
                }
                Err(error) => self.fail(course.part, error),
            }
        }
    }

    /// Decodes pictures that have all their tokens; those of one level together.
    fn finish(&mut self, done: Vec<Course<'a>>) {
        let mut pictures: Vec<(u64, Result<Drawn>)> = Vec::new();
        let mut levels: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for Course { part, generation, .. } in done {
            for (at, &number) in part.numbers.iter().enumerate() {
                for level in part.row.levels.iter().filter(|_| self.shared.images) {
                    levels.entry(level.tokens).or_default().push(pictures.len());
                }
                pictures.push((number, drawn(&part, &generation, at)));
            }
            // Frees its KV cache.
            drop(generation);
        }
        // In the order of levels, which is that of each picture's images.
        for (tokens, whose) in levels {
            let whose: Vec<usize> = whose.into_iter().filter(|&at| pictures[at].1.is_ok()).collect();
            let of = |pictures: &[(u64, Result<Drawn>)], at: usize| -> Vec<u32> {
                pictures[at].1.as_ref().map_or(Vec::new(), |drawn| drawn.tokens[..tokens].to_vec())
            };
            let sequences: Vec<Vec<u32>> = whose.iter().map(|&at| of(&pictures, at)).collect();
            let decode = |sequences: &[Vec<u32>]| -> Result<Vec<Image>> {
                let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
                guarded(|| self.model.decode_batch(&sequences))
            };
            let mut images: Vec<Result<Image>> = match decode(&sequences) {
                Ok(images) => images.into_iter().map(Ok).collect(),
                // If they fail together, any one may be the reason: try each alone.
                Err(_) => sequences
                    .chunks(1)
                    .map(|one| decode(one)?.pop().ok_or_else(|| Error::Internal("a decode gave no image".into())))
                    .collect(),
            };
            for (&at, image) in whose.iter().zip(images.drain(..)) {
                match (&mut pictures[at].1, image) {
                    (Ok(drawn), Ok(image)) => drawn.images.push(image),
                    (result, Err(error)) => *result = Err(error),
                    (Err(_), Ok(_)) => {}
                }
            }
        }
        for picture in pictures {
            self.send(picture);
        }
    }

    /// A part that failed: each of its pictures is tried alone.
    fn fail(&mut self, part: Part<'a>, error: Error) {
        if let [number] = part.numbers[..] {
            self.send((number, Err(error)));
        } else {
            self.waiting.extend(part.split());
        }
    }

    fn send(&self, picture: LaneResult) {
        // Nobody waits for it when the run has failed.
        let _ = self.results.send(picture);
    }
}

/// Picture `at` of a part, without its images.
fn drawn(part: &Part<'_>, generation: &Generation, at: usize) -> Result<Drawn> {
    let count = part.row.levels.last().map_or(0, |level: &Level| level.tokens);
    let tokens = generation.tokens(at)?;
    let tokens = tokens.get(..count).ok_or_else(|| Error::Internal("a picture has too few tokens".into()))?.to_vec();
    let log_probability = part.log_probabilities.then(|| generation.mean_log_probability(at)).transpose()?;
    Ok(Drawn { tokens, kept: part.prefix.len(), log_probability, images: Vec::with_capacity(part.row.levels.len()) })
}

/// Runs what may fail or panic.
fn guarded<R>(body: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(Error::from_panic(&*panic)))
}
