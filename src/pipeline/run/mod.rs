//! The run of a job: draws its pictures, writes them, and goes on where an earlier run has ended.
//!
//! - `scope`: which pictures a run makes: a shard, a filter, a limit.
//! - `draw`, `lane`, `work`: lanes draw in batches across rows; their results come in the order of the pictures.
//! - `commit`, `choose`: selection, then files, then records, in this order.
//! - `write`: threads that encode and write files.
//! - `journal`, `folder`, `frames`, `record`, `index`, `reader`: what is done, on the disk.
//! - `hooks`: what the other parts of a job give: the files of a picture.
//! - `times`: where the time goes; `lanes`: how cores are shared; `estimate`: what a run will cost.

mod choose;
mod commit;
mod draw;
mod estimate;
mod folder;
mod frames;
mod hooks;
mod index;
mod journal;
mod lane;
mod lanes;
mod reader;
mod record;
mod scope;
mod times;
mod work;
mod write;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::thread::Scope as Scoped;
use std::time::{Duration, Instant};

pub use commit::Counts;
use commit::{Commit, Ways};
use draw::Drawing;
pub use estimate::{Estimate, estimate};
use folder::StateFolder;
pub use hooks::{Drawn, Encode, PictureFile};
use journal::Journal;
pub use lanes::Lanes;
use reader::Reader;
use record::Kind;
pub use record::{Fate, Record};
pub use scope::{Filter, Scope, Shard};
pub use times::Stage;
use times::Times;
use write::{Writers, is_full};

use super::plan::{Picture, Plan};
use crate::model::Model;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::sync::{Arc, Mutex};

/// Pictures that wait for writers.
const WAITING: usize = 64;
const MOST_WRITERS: usize = 16;
/// How often progress is told.
const OFTEN: Duration = Duration::from_millis(100);

/// A job, and how it is run.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The pictures.
    pub plan: &'a Plan,
    /// What tells this job from others: a run goes on only where one of the same identity has ended.
    pub identity: &'a str,
    /// The folder that is filled.
    pub out: &'a Path,
    /// Encodes pictures.
    pub output: &'a dyn Encode,
    /// Which pictures are made.
    pub scope: Scope<'a>,
    /// Whether records have the mean log-probability of each picture's tokens, which takes a pass over the codebook per token; they
    /// have it where selection needs it.
    pub log_probabilities: bool,
    /// The most pictures that step together in a lane; 0 chooses.
    pub batch: usize,
    /// Threads that encode and write, 1 to 16.
    pub writers: usize,
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("out", &self.out).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RunProgress {
    /// Pictures that the run makes, those of earlier runs included.
    pub pictures: u64,
    /// How many of them earlier runs have made.
    pub before: u64,
    /// What this run has done.
    pub counts: Counts,
    /// Since it began to draw.
    pub time: Duration,
}

/// How a run has ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// All pictures of the run are committed.
    Complete,
    /// It was stopped. What is committed stays.
    Stopped,
    /// There is no space left to write to. What is committed stays, and the same run goes on when there is.
    Full(Error),
}

/// What a run has done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// How far it came.
    pub progress: RunProgress,
    /// How it ended.
    pub end: End,
    /// Time by stage, added up over threads.
    pub stages: Vec<(Stage, Duration)>,
}

/// What a run calls while it draws, on the thread that runs it.
pub struct Watch<'a> {
    /// Whether to stop. Asked at least every 50 ms.
    pub stop: &'a dyn Fn() -> bool,
    /// Told about every 100 ms how far it is.
    pub progress: &'a mut dyn FnMut(&RunProgress),
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl<'a> Run<'a> {
    /// Opens the state of the job in its folder, or begins it, and locks it until the session is dropped.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a row cannot be selected from; [`Error::Busy`] if another process fills this folder;
    /// [`Error::State`] if the folder belongs to another job; [`Error::Io`] if the state of the job cannot be read or written;
    /// [`Error::OutOfMemory`].
    pub fn open(mut self) -> Result<Session<'a>> {
        self.log_probabilities |= choose::check(self.plan)?;
        let state = StateFolder::open(self.out, self.identity, self.plan.pictures(), self.scope.shard)?;
        Ok(Session { run: self, state })
    }
}

/// A run, with what it and earlier ones have done.
#[derive(Debug)]
pub struct Session<'a> {
    run: Run<'a>,
    state: StateFolder,
}

impl Session<'_> {
    /// Draws and writes the pictures that are not done yet. `models` are lanes: of one bundle, at least one.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a model; [`Error::Io`] if the state of the job cannot be read or written. Failures of single
    /// pictures are records.
    pub fn draw(&mut self, models: &[Model], watch: Watch<'_>) -> Result<Outcome> {
        let _host = host::enter();
        host::check_threads()?;
        host::settle();
        if models.is_empty() {
            return Err(Error::Invalid("a run needs at least one model".into()));
        }
        let (pictures, before) = self.settled();
        let mut progress = RunProgress { pictures, before, counts: Counts::default(), time: Duration::ZERO };
        let times = Times::default();
        let end = if before < pictures { self.draw_rest(models, watch, &times, &mut progress)? } else { End::Complete };
        self.state.reload()?;
        Ok(Outcome { progress, end, stages: times.sums().to_vec() })
    }

    /// How many pictures the run makes, and how many of them need no more work.
    #[must_use]
    pub fn settled(&self) -> (u64, u64) {
        self.run
            .scope
            .pictures(self.run.plan)
            .fold((0, 0), |(all, settled), number| (all + 1, settled + u64::from(self.state.index.is_settled(number))))
    }

    /// The records of all pictures that this run and earlier ones, those of other shards too, have committed, in the order of
    /// their numbers.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> {
        let mut reader = Reader::new(self.state.spools());
        self.state.index.iter().map(move |(_, place)| reader.read(place))
    }

    /// Those of [`records`](Self::records) that were not written.
    pub fn unwritten(&self) -> impl Iterator<Item = Result<Record>> {
        let mut reader = Reader::new(self.state.spools());
        let unwritten = self.state.index.iter().filter(|(_, place)| place.kind != Kind::Written);
        unwritten.map(move |(_, place)| reader.read(place))
    }

    fn draw_rest(&self, models: &[Model], watch: Watch<'_>, times: &Times, now: &mut RunProgress) -> Result<End> {
        let Self { run, state } = self;
        let journal = Journal::open(state.own())?;
        let begun = Instant::now();
        let writers = Writers { plan: run.plan, out: run.out, part: state.part(), output: run.output, times };
        std::thread::scope(|scope| {
            let ways = start(scope, &writers, run.writers, journal, times)?;
            let reader = Reader::new(state.spools());
            let commit = Commit::new(run.plan, &models[0], &state.index, reader, times, ways);
            let commit = RefCell::new(commit);
            let mut tell = |counts: Counts| {
                (now.counts, now.time) = (counts, begun.elapsed());
                (watch.progress)(now);
            };
            let (mut stopped, mut told) = (false, Instant::now());
            let mut turn = || {
                let mut commit = commit.borrow_mut();
                commit.turn()?;
                if told.elapsed() >= OFTEN {
                    told = Instant::now();
                    tell(commit.counts());
                }
                stopped = (watch.stop)();
                Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            };
            let numbers = run.scope.pictures(run.plan).filter(|&number| !state.index.is_settled(number));
            let Run { plan, batch, log_probabilities, .. } = *run;
            let drawing = Drawing { plan, models, batch, log_probabilities, images: true, times };
            let drawn = drawing.run(numbers, &mut |number, drawn| commit.borrow_mut().take(number, drawn), &mut turn);
            let mut commit = commit.into_inner();
            let settled = match drawn {
                Ok(()) if stopped => commit.settle(),
                Ok(()) => commit.finish(),
                Err(error) => Err(error),
            };
            tell(commit.counts());
            match settled {
                Ok(()) if stopped => Ok(End::Stopped),
                Ok(()) => Ok(End::Complete),
                Err(error) if is_full(&error) => Ok(End::Full(error)),
                Err(error) => Err(error),
            }
        })
    }
}

/// Starts the threads that write files and the journal.
fn start<'scope>(
    scope: &'scope Scoped<'scope, '_>,
    writers: &'scope Writers<'_>,
    count: usize,
    mut journal: Journal,
    times: &'scope Times,
) -> Result<Ways> {
    let (tasks, taken) = sync_channel(WAITING);
    let (done, written) = channel();
    let taken = Arc::new(Mutex::new(taken));
    let host_thread = host::thread();
    for number in 0..count.clamp(1, MOST_WRITERS) {
        let (done, taken) = (done.clone(), taken.clone());
        spawn(scope, format!("detailflow-write-{number}"), move || {
            host::begin_thread(host_thread);
            writers.run(number, &taken, &done);
        })?;
    }
    let (groups, committing) = sync_channel::<Vec<u8>>(2);
    let (told, committed) = channel();
    spawn(scope, "detailflow-journal".to_owned(), move || {
        for group in committing {
            let result = times.of(Stage::Sync, || journal.commit(&group));
            let failed = result.is_err();
            if told.send(result).is_err() || failed {
                return;
            }
        }
        // The journal may be lost with the machine: its groups are made again then.
        let _ = journal.finish();
    })?;
    Ok(Ways { tasks, written, groups, committed })
}

/// Takes the tokens of a picture, or why it could not be drawn; an error ends the run.
pub type Take<'a> = &'a mut dyn FnMut(&Picture<'_>, Result<&[u32]>) -> Result<()>;

/// Generates pictures without writing them: gives the tokens of each to `take`, in the order of `numbers`, which ascend. Between them,
/// and at least every 50 ms, `turn` may end it.
///
/// # Errors
/// [`Error::Invalid`] without a model; those of `take`.
pub fn stream(
    plan: &Plan,
    numbers: impl Iterator<Item = u64>,
    models: &[Model],
    batch: usize,
    take: Take<'_>,
    turn: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<()> {
    let _host = host::enter();
    host::check_threads()?;
    host::settle();
    if models.is_empty() {
        return Err(Error::Invalid("a run needs at least one model".into()));
    }
    let times = Times::default();
    let drawing = Drawing { plan, models, batch, log_probabilities: false, images: false, times: &times };
    let mut take = |number, drawn: Result<Drawn>| {
        let picture = plan.picture(number);
        match drawn {
            Ok(drawn) => take(&picture, Ok(&drawn.tokens)),
            Err(error) => take(&picture, Err(error)),
        }
    };
    drawing.run(numbers, &mut take, &mut || Ok(turn()))
}

fn spawn<'scope>(scope: &'scope Scoped<'scope, '_>, name: String, body: impl FnOnce() + Send + 'scope) -> Result<()> {
    let started = std::thread::Builder::new().name(name).spawn_scoped(scope, body);
    let what = |error| Error::OutOfMemory { what: format!("a thread of a run ({error})"), bytes: 2 << 20 };
    started.map(|_| ()).map_err(what)
}
