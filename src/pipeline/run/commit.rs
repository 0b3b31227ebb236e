//! Committing pictures in the order of their numbers: selection, files, records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::choose::{Chooser, facts_of, selects};
use super::hooks::Drawn;
use super::index::Index;
use super::reader::Reader;
use super::record::{Fate, Kind, Record};
use super::times::{Stage, Times};
use super::write::{Task, Written};
use crate::model::Model;
use crate::pipeline::plan::{Picture, Plan};
use crate::pipeline::select::{Decision, Reason};
use crate::support::error::{Error, Result};

/// Pictures of a group: many enough that a sync costs little, few enough that little is made again after a kill.
const GROUP: usize = 256;
/// A group is not kept open for longer: that much work is lost at most where pictures are slow.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of images that wait for the decision of their group.
const MOST_HELD: usize = 64 << 20;

/// What a run has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pictures whose files are written.
    pub written: u64,
    /// Pictures that selection dropped.
    pub dropped: u64,
    /// Pictures that could not be drawn or written.
    pub failed: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Counts {
    pub(in crate::pipeline) fn add(&mut self, fate: &Fate) {
        match fate {
            Fate::Written { bytes, .. } => {
                self.written += 1;
                self.bytes += bytes;
            }
            Fate::Dropped(_) => self.dropped += 1,
            Fate::NotDrawn(_) | Fate::NotWritten(_) => self.failed += 1,
        }
    }

    /// All of them.
    #[must_use]
    pub fn pictures(&self) -> u64 {
        self.written + self.dropped + self.failed
    }
}

/// A picture on its way, in the order in which records are appended.
enum Slot {
    /// Being written; with what selection measured.
    Writing {
        number: u64,
        measure: Vec<u8>,
    },
    Ready(Record),
}

/// A picture that waits for the decision of its group.
struct Held {
    drawn: Drawn,
    measure: Vec<u8>,
}

/// The group that is being selected from.
struct Open {
    group: usize,
    chooser: Chooser,
    /// Pictures of the group that earlier runs have decided, and that the selector was not told yet.
    replay: VecDeque<u64>,
    held: BTreeMap<u64, Held>,
    /// Bytes of their images.
    bytes: usize,
}

/// Ways from a commit to the threads behind it.
pub(super) struct Ways {
    pub tasks: SyncSender<Task>,
    pub written: Receiver<Written>,
    /// Groups of records for the journal.
    pub groups: SyncSender<Vec<u8>>,
    /// Counts of groups that are in the journal, or why one is not.
    pub committed: Receiver<Result<()>>,
}

/// Commits the pictures of a run.
pub(super) struct Commit<'a> {
    plan: &'a Plan,
    /// Decodes images of tokens again.
    model: &'a Model,
    index: &'a Index,
    reader: Reader,
    times: &'a Times,
    ways: Ways,
    open: Option<Open>,
    /// Of the last group that was selected from.
    chooser: Option<Chooser>,
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    group: Vec<u8>,
    in_group: usize,
    since: Instant,
    /// Groups that are not in the journal yet.
    pending: usize,
    counts: Counts,
}

impl<'a> Commit<'a> {
    pub fn new(
        plan: &'a Plan,
        model: &'a Model,
        index: &'a Index,
        reader: Reader,
        times: &'a Times,
        ways: Ways,
    ) -> Self {
        Self {
            plan,
            model,
            index,
            reader,
            times,
            ways,
            open: None,
            chooser: None,
            slots: VecDeque::new(),
            first: 0,
            group: Vec::new(),
            in_group: 0,
            since: Instant::now(),
            pending: 0,
            counts: Counts::default(),
        }
    }

    /// Takes the next picture.
    pub fn take(&mut self, number: u64, drawn: Result<Drawn>) -> Result<()> {
        let picture = self.plan.picture(number);
        if !selects(picture.row) {
            self.close()?;
            return match drawn {
                Ok(drawn) => self.write(number, drawn, Vec::new()),
                Err(error) => self.push(not_drawn(number, &error)),
            };
        }
        self.open(&picture)?;
        // One that an earlier run has kept is only written.
        let kept = self.index.get(number).is_some_and(|place| place.kind == Kind::NotWritten);
        self.replay(if kept { number + 1 } else { number })?;
        let Some(open) = &mut self.open else { return Err(no_group()) };
        let measured = drawn.and_then(|drawn| {
            let facts = self.times.of(Stage::Select, || open.chooser.facts(&picture, &drawn))?;
            Ok((drawn, facts))
        });
        let (drawn, facts) = match measured {
            Ok(measured) => measured,
            Err(error) => return self.push(not_drawn(number, &error)),
        };
        let measure = facts.to_bytes().to_vec();
        if kept {
            return self.write(number, drawn, measure);
        }
        let decision = self.times.of(Stage::Select, || open.chooser.selector.consider(number, &facts))?;
        match decision {
            Decision::Keep => self.write(number, drawn, measure)?,
            Decision::Drop(reason) => self.push(dropped(number, Held { drawn, measure }, reason))?,
            Decision::Pending => hold(open, number, drawn, measure),
        }
        self.displace()
    }

    /// All pictures of the run have been taken.
    pub fn finish(&mut self) -> Result<()> {
        self.close()?;
        self.settle()
    }

    /// Waits until what was decided is committed. What waits for its group is not.
    pub fn settle(&mut self) -> Result<()> {
        while !self.slots.is_empty() {
            self.drain(true)?;
        }
        self.send_group()?;
        while self.pending > 0 {
            self.note_committed(true)?;
        }
        Ok(())
    }

    /// Goes on with what other threads have done meanwhile.
    pub fn turn(&mut self) -> Result<()> {
        self.drain(false)?;
        if self.in_group > 0 && self.since.elapsed() > PATIENCE {
            self.send_group()?;
        }
        self.note_committed(false)
    }

    /// What was committed, or will be with the present group.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Begins the group of a picture, if it is another one.
    fn open(&mut self, picture: &Picture<'_>) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.group == picture.group) {
            return Ok(());
        }
        self.close()?;
        let group = self.plan.groups()[picture.group];
        let decided = |&number: &u64| self.index.get(number).is_some_and(|place| place.kind != Kind::NotDrawn);
        let mut chooser = Chooser::of(self.chooser.take(), picture.row, self.model)?;
        chooser.selector.begin_group(group.first);
        self.open = Some(Open {
            group: picture.group,
            chooser,
            replay: (group.first..group.end()).filter(decided).collect(),
            held: BTreeMap::new(),
            bytes: 0,
        });
        Ok(())
    }

    /// Tells the selector what earlier runs have decided of the pictures before `number`: from the same facts it decides the same.
    fn replay(&mut self, number: u64) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while let Some(&decided) = open.replay.front().filter(|&&decided| decided < number) {
            open.replay.pop_front();
            let Some(place) = self.index.get(decided) else { continue };
            if let Some(facts) = facts_of(&self.reader.read(place)?.measure) {
                open.chooser.selector.consider(decided, &facts)?;
            }
        }
        self.displace()
    }

    /// Drops the pictures that better ones have displaced.
    fn displace(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut displaced = open.chooser.selector.take_displaced();
        displaced.sort_unstable_by_key(|&(number, _)| number);
        for (number, reason) in displaced {
            // Earlier runs have recorded the others.
            if let Some(held) = self.open.as_mut().and_then(|open| release(open, number)) {
                self.push(dropped(number, held, reason))?;
            }
        }
        Ok(())
    }

    /// Ends the open group: the pictures that wait are decided.
    fn close(&mut self) -> Result<()> {
        let Some(group) = self.open.as_ref().map(|open| open.group) else { return Ok(()) };
        self.replay(self.plan.groups()[group].end())?;
        let Some(mut open) = self.open.take() else { return Ok(()) };
        for (number, decision) in self.times.of(Stage::Select, || open.chooser.selector.end_group()) {
            let Some(held) = release(&mut open, number) else { continue };
            match decision {
                Decision::Drop(reason) => self.push(dropped(number, held, reason))?,
                Decision::Keep | Decision::Pending => self.keep(number, held)?,
            }
        }
        self.chooser = Some(open.chooser);
        Ok(())
    }

    /// Writes a picture that waited, with its images decoded again where they were let go.
    fn keep(&mut self, number: u64, held: Held) -> Result<()> {
        let Held { mut drawn, measure } = held;
        if drawn.images.is_empty() {
            let levels = &self.plan.picture(number).row.levels;
            let images = levels.iter().map(|level| self.model.decode_level(&drawn.tokens, level.size));
            match images.collect() {
                Ok(images) => drawn.images = images,
                Err(error) => return self.push(not_drawn(number, &error)),
            }
        }
        self.write(number, drawn, measure)
    }

    fn write(&mut self, number: u64, drawn: Drawn, measure: Vec<u8>) -> Result<()> {
        let slot = self.first + self.slots.len() as u64;
        self.slots.push_back(Slot::Writing { number, measure });
        // Waits while the writers have enough to do.
        self.ways.tasks.send(Task { slot, number, drawn }).map_err(|_| gone("writers"))?;
        self.drain(false)
    }

    fn push(&mut self, record: Record) -> Result<()> {
        self.slots.push_back(Slot::Ready(record));
        self.drain(false)
    }

    /// Takes what was written, and appends what is complete to the present group.
    fn drain(&mut self, wait: bool) -> Result<()> {
        let front_waits = matches!(self.slots.front(), Some(Slot::Writing { .. }));
        let mut next = if wait && front_waits {
            Some(self.ways.written.recv().map_err(|_| gone("writers"))?)
        } else {
            self.ways.written.try_recv().ok()
        };
        while let Some(Written { slot, drawn, fate }) = next {
            let at = usize::try_from(slot - self.first).unwrap_or(usize::MAX);
            if let Some(slot) = self.slots.get_mut(at)
                && let Slot::Writing { number, measure } = slot
            {
                let Drawn { tokens, log_probability, .. } = drawn;
                let (number, measure) = (*number, std::mem::take(measure));
                *slot = Slot::Ready(Record { number, fate: fate?, tokens, log_probability, measure });
            }
            next = self.ways.written.try_recv().ok();
        }
        while let Some(Slot::Ready(record)) = self.slots.front() {
            if self.in_group == 0 {
                self.since = Instant::now();
            }
            self.counts.add(&record.fate);
            record.append(&mut self.group);
            self.in_group += 1;
            self.slots.pop_front();
            self.first += 1;
            if self.in_group >= GROUP {
                self.send_group()?;
            }
        }
        Ok(())
    }

    /// Has the present group committed.
    fn send_group(&mut self) -> Result<()> {
        if self.in_group == 0 {
            return Ok(());
        }
        self.in_group = 0;
        self.pending += 1;
        self.ways.groups.send(std::mem::take(&mut self.group)).map_err(|_| gone("journal"))?;
        self.note_committed(false)
    }

    fn note_committed(&mut self, wait: bool) -> Result<()> {
        let mut next = if wait { self.ways.committed.recv().ok() } else { self.ways.committed.try_recv().ok() };
        if wait && next.is_none() {
            return Err(gone("journal"));
        }
        while let Some(result) = next {
            self.pending -= 1;
            result?;
            next = self.ways.committed.try_recv().ok();
        }
        Ok(())
    }
}

/// Keeps a picture until its group is complete; without its images where they are too many, which are decoded again then.
fn hold(open: &mut Open, number: u64, mut drawn: Drawn, measure: Vec<u8>) {
    let bytes = bytes(&drawn);
    if open.bytes + bytes > MOST_HELD {
        drawn.images = Vec::new();
    } else {
        open.bytes += bytes;
    }
    open.held.insert(number, Held { drawn, measure });
}

/// Takes a picture that waits.
fn release(open: &mut Open, number: u64) -> Option<Held> {
    let held = open.held.remove(&number)?;
    open.bytes -= bytes(&held.drawn);
    Some(held)
}

/// Bytes of the images of a picture.
fn bytes(drawn: &Drawn) -> usize {
    drawn.images.iter().map(|image| size_of_val(image.planes())).sum()
}

fn dropped(number: u64, held: Held, reason: Reason) -> Record {
    let Drawn { tokens, log_probability, .. } = held.drawn;
    let fate = Fate::Dropped(format!("{}: {reason}", reason.name()));
    Record { number, fate, tokens, log_probability, measure: held.measure }
}

fn not_drawn(number: u64, error: &Error) -> Record {
    let fate = Fate::NotDrawn(error.to_string());
    Record { number, fate, tokens: Vec::new(), log_probability: None, measure: Vec::new() }
}

fn gone(what: &str) -> Error {
    Error::Internal(format!("the thread of the {what} of a run has ended early"))
}

fn no_group() -> Error {
    Error::Internal("no group is open".into())
}
