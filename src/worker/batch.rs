//! The loop of a worker's thread: steps all jobs of its batch together, reports the results, and lets others join.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event::EventKind;
use super::job::Course;
use super::queue::{Queue, Ready, Task};
use crate::generation::{Generation, step_together};
use crate::model::codec::decode_at_once;
use crate::pixels::Image;
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// Runs jobs until the queue is closed.
pub(super) fn work(queue: &Queue<Course>) {
    // In the order of submission, which is also that of the events of one step.
    let mut batch: Vec<Course> = Vec::new();
    loop {
        if batch.is_empty() {
            let Some(jobs) = queue.next() else { return };
            batch.extend(jobs.into_iter().map(|(id, course)| course.taken(id)));
        }
        let ids: Vec<u64> = batch.iter().map(|course| course.id).collect();
        match queue.ready(&ids) {
            Ready::Cancelled(ids) => {
                let cancelled = batch.iter_mut().filter(|course| ids.contains(&course.id));
                cancelled.for_each(|course| course.stop(EventKind::Cancelled));
            }
            Ready::Leave(ids) => {
                for course in batch.extract_if(.., |course| ids.contains(&course.id)) {
                    queue.put_back(course.id, course);
                }
                continue;
            }
            Ready::Retarget(targets) => {
                for (id, tokens) in targets {
                    let course = batch.iter_mut().find(|course| course.id == id);
                    course.into_iter().for_each(|course| course.retarget(tokens));
                }
                continue;
            }
            Ready::Go(jobs) => {
                batch.extend(jobs.into_iter().map(|(id, course)| course.taken(id)));
                begin(queue, &mut batch);
                step(&mut batch);
                decode(&mut batch);
            }
        }
        // In the order of the jobs.
        batch = std::mem::take(&mut batch).into_iter().filter_map(|course| report(queue, course)).collect();
    }
}

/// Runs what may panic or fail, and returns how the job ends then.
pub(super) fn guarded<R>(body: impl FnOnce() -> Result<R>) -> Result<R, EventKind> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Error::Cancelled)) => Err(EventKind::Cancelled),
        Ok(Err(error)) => Err(EventKind::Failed(error)),
        Err(panic) => Err(EventKind::Failed(Error::from_panic(&*panic))),
    }
}

/// Starts the jobs that have not started. A job for which there is no memory beside the others waits until some of these
/// have ended, as do those behind it; it fails only when it is alone.
fn begin(queue: &Queue<Course>, batch: &mut [Course]) {
    let mut others = batch.iter().filter(|course| course.is_active()).count();
    for course in batch.iter_mut().filter(|course| !course.is_active()) {
        if course.too_many.is_some_and(|many| others >= many) {
            return;
        }
        match guarded(|| course.begin(queue)) {
            Ok(()) => others += 1,
            Err(EventKind::Failed(Error::OutOfMemory { .. })) if others > 0 => {
                course.too_many = Some(others);
                return;
            }
            Err(kind) => course.stop(kind),
        }
    }
}

/// One step of each.
pub(super) fn step(batch: &mut [Course]) {
    let mut active: Vec<&mut Generation> = batch.iter_mut().filter_map(Course::active).collect();
    let results = catch_unwind(AssertUnwindSafe(|| step_together(&mut active)));
    let mut results = match results {
        Ok(results) => results.into_iter(),
        Err(panic) => {
            // How far each of them got is unknown.
            for course in batch.iter_mut().filter(|course| course.is_active()) {
                course.stop(EventKind::Failed(Error::from_panic(&*panic)));
            }
            return;
        }
    };
    for course in batch.iter_mut().filter(|course| course.is_active()) {
        let stepped = guarded(|| course.stepped(results.next().expect("one result for each")?));
        if let Err(kind) = stepped {
            course.stop(kind);
        }
    }
}

/// Decodes the pictures of the next events; those of all jobs that reached the same level together.
fn decode(batch: &mut [Course]) {
    let mut levels: BTreeMap<usize, (Level, Vec<&mut Course>)> = BTreeMap::new();
    for course in batch.iter_mut() {
        if let Some(level) = course.to_decode() {
            levels.entry(level.tokens).or_insert_with(|| (level, Vec::new())).1.push(course);
        }
    }
    for (level, mut courses) in levels.into_values() {
        if courses.len() > 1 && guarded(|| decode_level(level, &mut courses)).is_ok() {
            continue;
        }
        // If they fail together, any one may be the reason: try each alone.
        for course in courses {
            if let Err(kind) = guarded(|| decode_level(level, &mut [course])) {
                course.stop(kind);
            }
        }
    }
}

/// Decodes a level of all pictures of these jobs, which are of one model. After an error nothing has changed.
fn decode_level(level: Level, courses: &mut [&mut Course]) -> Result<()> {
    let Some(model) = courses.first().map(|course| course.model.clone()) else { return Ok(()) };
    let prefix = model.bundle().ladder().prefix(level.tokens).expect("a level is a prefix");
    let recorded: Vec<_> = courses.iter().map(|course| course.recorded()).collect();
    let count = courses.iter().map(|course| course.images).sum();
    let mut sequences: Vec<(usize, &[u32])> = reserve("the pictures of events", count)?;
    for (at, (tokens, each)) in recorded.iter().enumerate() {
        sequences.extend(tokens.chunks_exact(*each).map(|tokens| (at, &tokens[..level.tokens])));
    }
    let room = |course: &&mut Course| reserve("the pictures of an event", course.images);
    let mut pictures = courses.iter().map(room).collect::<Result<Vec<Vec<Image>>>>()?;
    // In the decoder's own batches, so that a cancel does not wait for the rest.
    for part in sequences.chunks(decode_at_once(prefix)) {
        let wanted = part.iter().filter(|(at, _)| !courses[*at].is_cancelled());
        let (whose, tokens): (Vec<usize>, Vec<&[u32]>) = wanted.copied().unzip();
        for (at, picture) in whose.into_iter().zip(model.decode_batch(&tokens)?) {
            pictures[at].push(picture);
        }
    }
    for (course, pictures) in courses.iter_mut().zip(pictures) {
        if pictures.len() == course.images {
            if let Err(kind) = guarded(|| course.decoded(pictures)) {
                course.stop(kind);
            }
        } else {
            course.stop(EventKind::Cancelled);
        }
    }
    Ok(())
}

/// Reports what has happened to a job. Returns it if it goes on; otherwise it has ended or is held.
pub(super) fn report(queue: &Queue<Course>, mut course: Course) -> Option<Course> {
    if course.reports {
        queue.tell(course.event(EventKind::Level));
    }
    course.reported();
    queue.reached(course.id, course.rank);
    match course.end.take() {
        None if course.is_held() => queue.put_back(course.id, course),
        None => return Some(course),
        Some(kind) => {
            let id = course.id;
            // Frees the KV cache before the end is reported.
            let last = course.last(kind);
            queue.end(id, last);
        }
    }
    None
}
