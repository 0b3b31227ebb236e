//! A worker without threads: its owner calls `tick`, which does units of work as long as they are predicted to fit.
//!
//! A unit is one of: reserving memory for one job; one step of the jobs that come first and stand at the same place; one
//! run of the decoder for pictures of one level. Between two units all jobs are in the queue, so that any change of
//! priority, pause or cancel takes effect with the next unit, and nothing runs between two ticks.

use std::time::{Duration, Instant};

use super::batch::{guarded, report, step};
use super::event::EventKind;
use super::job::{Course, Need};
use super::queue::Queue;
use crate::model::Model;
use crate::model::codec::decode_at_once;
use crate::pixels::Image;
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::timing::latency::Shape;

/// What a call of [`Worker::tick`](super::Worker::tick) did, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TickReport {
    /// Units of work: steps, decodes, and preparations of jobs.
    pub units: usize,
    /// Units that were steps, each of one or more jobs.
    pub steps: usize,
    /// Units that were runs of the decoder, each for one or more images.
    pub decodes: usize,
    /// Images that completed a level, counted once for each level.
    pub images: usize,
    /// The time that the call took.
    pub time: Duration,
    /// The longest unit.
    pub longest: Duration,
    /// The predicted time of the next unit; `None` if there is none, or its shape was not measured yet.
    pub next: Option<Duration>,
    /// Jobs that have work left and are neither paused nor held.
    pub jobs_ready: usize,
    /// Jobs that are paused or held.
    pub jobs_parked: usize,
    /// Whether another call would find work to do. `false` also when too many events wait to be taken
    /// ([`WorkerOptions::event_bytes`](super::WorkerOptions::event_bytes)).
    pub more: bool,
}

/// What ticks remember.
#[derive(Debug)]
pub(super) struct Driver {
    /// The most pictures that step together.
    most: u64,
    /// The same while there is no memory for more.
    fits: u64,
}

/// A piece of work.
enum Unit {
    /// Reserves memory for one job of the unit.
    Begin { at: usize, shape: Shape },
    /// One step of all.
    Step { shape: Option<Shape> },
    /// Decodes so many pictures.
    Decode { level: Level, pictures: usize, shape: Option<Shape> },
}

impl Driver {
    pub fn new(pictures: usize) -> Self {
        Self { most: pictures as u64, fits: u64::MAX }
    }

    pub fn tick(&mut self, queue: &Queue<Course>, budget: Duration) -> TickReport {
        let begun = Instant::now();
        let mut done = TickReport::default();
        while let Some(jobs) = queue.take_unit(|first| self.room(first, budget), |a, b| a.need() == b.need()) {
            let mut courses: Vec<Course> = jobs.into_iter().map(|(id, course)| course.taken(id)).collect();
            let Some(model) = courses.first().map(|course| course.model.clone()) else { break };
            let unit = Unit::of(&courses, budget);
            let predicted = unit.predict(&model);
            let fits = predicted.is_some_and(|time| begun.elapsed().saturating_add(time) <= budget);
            if done.units > 0 && !fits {
                courses.into_iter().for_each(|course| queue.put_back(course.id, course));
                done.next = predicted;
                break;
            }
            let from = Instant::now();
            unit.run(self, queue, &mut courses);
            for course in courses {
                if !course.is_finishing() || course.to_decode().is_none() {
                    done.images += if course.reports { course.images } else { 0 };
                    report(queue, course).into_iter().for_each(|course| queue.put_back(course.id, course));
                } else {
                    queue.put_back(course.id, course);
                }
            }
            let took = from.elapsed();
            if let Some(shape) = unit.shape() {
                model.note_unit(shape, took);
            }
            done.units += 1;
            done.steps += usize::from(matches!(unit, Unit::Step { .. }));
            done.decodes += usize::from(matches!(unit, Unit::Decode { .. }));
            done.longest = done.longest.max(took);
        }
        queue.deliver_all();
        (done.jobs_ready, done.jobs_parked) = queue.counts();
        if done.jobs_ready == 0 {
            self.fits = u64::MAX;
        }
        done.more = done.jobs_ready > 0 && !queue.is_full();
        done.time = begun.elapsed();
        done
    }

    /// How many pictures may be in the unit of this job.
    fn room(&self, first: &Course, budget: Duration) -> u64 {
        match first.need() {
            Need::Decode(level) => decode_size(&first.model, level, budget) as u64,
            Need::Step(_) => self.most.min(self.fits).min(step_size(first, self.most, budget)),
        }
    }
}

impl Unit {
    fn of(courses: &[Course], budget: Duration) -> Self {
        let first = &courses[0];
        match first.need() {
            Need::Decode(level) => {
                let left: usize = courses.iter().map(|course| course.images - course.part.len()).sum();
                // Few different sizes, so that their times are known soon.
                let pictures = decode_size(&first.model, level, budget).min(1 << left.max(1).ilog2());
                Self::Decode { level, pictures, shape: first.model.decode_shape(pictures, level.tokens) }
            }
            Need::Step(next) => {
                if let Some(at) = courses.iter().position(Course::is_new) {
                    return Self::Begin { at, shape: Shape::Begin { rows: courses[at].rows() } };
                }
                let rows = courses.iter().map(Course::rows).sum();
                Self::Step { shape: next.map(|step| Shape::Step { rows, query: step.query }) }
            }
        }
    }

    fn shape(&self) -> Option<Shape> {
        match *self {
            Self::Begin { shape, .. } => Some(shape),
            Self::Step { shape } | Self::Decode { shape, .. } => shape,
        }
    }

    /// How long it will take; `None` if its shape was not measured yet.
    fn predict(&self, model: &Model) -> Option<Duration> {
        // Without a shape there is nothing to compute.
        self.shape().map_or(Some(Duration::ZERO), |shape| model.predict_unit(shape))
    }

    fn run(&self, driver: &mut Driver, queue: &Queue<Course>, courses: &mut [Course]) {
        match *self {
            Self::Begin { at, .. } => begin(driver, queue, courses, at),
            Self::Step { .. } => {
                for course in courses.iter_mut() {
                    if let Err(kind) = guarded(|| course.begin(queue)) {
                        course.stop(kind);
                    }
                }
                step(courses);
            }
            Self::Decode { level, pictures, .. } => {
                // If it fails for several, any one may be the reason.
                let several = pictures > 1 && guarded(|| decode(level, pictures, courses)).is_ok();
                if !several && let Err(kind) = guarded(|| decode(level, 1, courses)) {
                    courses[0].stop(kind);
                }
            }
        }
    }
}

/// Begins one job. Without memory for it beside the others it waits, and the next units have no more pictures than have
/// begun; it fails only when it is alone.
fn begin(driver: &mut Driver, queue: &Queue<Course>, courses: &mut [Course], at: usize) {
    let mut begun = guarded(|| courses[at].begin(queue));
    let no_memory = |begun: &Result<(), EventKind>| matches!(begun, Err(EventKind::Failed(Error::OutOfMemory { .. })));
    if no_memory(&begun) && queue.free_memory() {
        begun = guarded(|| courses[at].begin(queue));
    }
    let others: usize = courses.iter().filter(|course| !course.is_new()).map(|course| course.images).sum();
    match begun {
        Err(_) if no_memory(&begun) && others > 0 => driver.fits = others as u64,
        Err(kind) => courses[at].stop(kind),
        Ok(()) => {}
    }
}

/// Decodes the next pictures of these jobs. After an error nothing has changed.
fn decode(level: Level, pictures: usize, courses: &mut [Course]) -> Result<()> {
    let model = courses[0].model.clone();
    let recorded: Vec<_> = courses.iter().map(Course::recorded).collect();
    let mut sequences: Vec<(usize, &[u32])> = reserve("the pictures of events", pictures)?;
    for (at, (tokens, each)) in recorded.iter().enumerate() {
        let left = tokens.chunks_exact(*each).skip(courses[at].part.len());
        sequences.extend(left.take(pictures - sequences.len()).map(|tokens| (at, &tokens[..level.tokens])));
    }
    for course in courses.iter_mut() {
        if course.part.capacity() < course.images {
            let mut part: Vec<Image> = reserve("the pictures of an event", course.images)?;
            part.append(&mut course.part);
            course.part = part;
        }
    }
    let (whose, tokens): (Vec<usize>, Vec<&[u32]>) = sequences.into_iter().unzip();
    for (at, picture) in whose.into_iter().zip(model.decode_batch(&tokens)?) {
        courses[at].part.push(picture);
    }
    for course in courses.iter_mut().filter(|course| course.part.len() == course.images) {
        let part = std::mem::take(&mut course.part);
        if let Err(kind) = guarded(|| course.decoded(part)) {
            course.stop(kind);
        }
    }
    Ok(())
}

/// The same for pictures that are decoded together.
fn decode_size(model: &Model, level: Level, budget: Duration) -> usize {
    let prefix = model.bundle().ladder().prefix(level.tokens).expect("a level is a prefix");
    doubled(decode_at_once(prefix) as u64, |pictures| {
        let shape = model.decode_shape(pictures as usize, level.tokens);
        shape.is_some_and(|shape| fits(model, shape, budget))
    }) as usize
}

/// The largest power of two of pictures whose next step should not take longer than half the budget; at least 1. A size that
/// was never tried may take the whole budget, once.
fn step_size(first: &Course, most: u64, budget: Duration) -> u64 {
    let Some(next) = first.place() else { return most };
    let rows = first.rows().div_ceil(first.images.max(1));
    doubled(most, |pictures| {
        let shape = Shape::Step { rows: rows.saturating_mul(pictures as usize), query: next.query };
        fits(&first.model, shape, budget)
    })
}

/// Whether units of this shape may run: they usually take half of the budget at most. Until that is certain, all of it.
fn fits(model: &Model, shape: Shape, budget: Duration) -> bool {
    match model.usual_unit(shape) {
        Some((time, true)) => time <= budget / 2,
        Some((time, false)) => time <= budget,
        None => model.guess_unit(shape).is_some_and(|time| time <= budget),
    }
}

/// The largest power of two up to `most` that fits, as all below it do; at least 1.
fn doubled(most: u64, fits: impl Fn(u64) -> bool) -> u64 {
    let mut size = 1;
    while size * 2 <= most && fits(size * 2) {
        size *= 2;
    }
    size
}
