//! Committing pictures in the order of their numbers: selection, files, records.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::hooks::{Choice, Drawn, Selection, Verdict};
use super::index::Index;
use super::reader::Reader;
use super::record::{Fate, Kind, Record};
use super::times::{Stage, Times};
use super::write::{Task, Written};
use crate::pipeline::plan::{Picture, Plan};
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
    choice: Box<dyn Choice>,
    /// Pictures of the group that earlier runs have decided, and that were not replayed yet.
    replay: VecDeque<u64>,
    held: BTreeMap<u64, Held>,
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
    select: Option<&'a dyn Selection>,
    index: &'a Index,
    reader: Reader,
    times: &'a Times,
    ways: Ways,
    /// Draws the images of tokens again.
    redraw: &'a dyn Fn(&Picture<'_>, &[u32]) -> Result<Drawn>,
    open: Option<Open>,
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
        select: Option<&'a dyn Selection>,
        index: &'a Index,
        reader: Reader,
        times: &'a Times,
        ways: Ways,
        redraw: &'a dyn Fn(&Picture<'_>, &[u32]) -> Result<Drawn>,
    ) -> Self {
        Self {
            plan,
            select,
            index,
            reader,
            times,
            ways,
            redraw,
            open: None,
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
        let Some(select) = self.select.filter(|select| select.selects(picture.row)) else {
            self.close()?;
            return match drawn {
                Ok(drawn) => self.write(number, drawn, Vec::new()),
                Err(error) => self.push(not_drawn(number, &error)),
            };
        };
        self.open(&picture, select)?;
        // One that an earlier run has kept is only written.
        let kept = self.index.get(number).is_some_and(|place| place.kind == Kind::NotWritten);
        self.replay(if kept { number + 1 } else { number })?;
        let measured = drawn.and_then(|drawn| {
            let measure = self.times.of(Stage::Select, || select.measure(&picture, &drawn))?;
            Ok((drawn, measure))
        });
        let (drawn, measure) = match measured {
            Ok(measured) => measured,
            Err(error) => return self.push(not_drawn(number, &error)),
        };
        if kept {
            return self.write(number, drawn, measure);
        }
        let Some(open) = &mut self.open else { return Err(no_group()) };
        let verdict = self.times.of(Stage::Select, || open.choice.take(&picture, &measure));
        if verdict == Verdict::Later {
            hold(open, number, drawn, measure);
            return Ok(());
        }
        self.decide(number, verdict, Held { drawn, measure })
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
    fn open(&mut self, picture: &Picture<'_>, select: &dyn Selection) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| open.group == picture.group) {
            return Ok(());
        }
        self.close()?;
        let group = self.plan.groups()[picture.group];
        let decided = |&number: &u64| self.index.get(number).is_some_and(|place| place.kind != Kind::NotDrawn);
        self.open = Some(Open {
            group: picture.group,
            choice: select.begin(picture.row),
            replay: (group.first..group.end()).filter(decided).collect(),
            held: BTreeMap::new(),
            bytes: 0,
        });
        Ok(())
    }

    /// Tells the choice what earlier runs have decided of the pictures before `number`.
    fn replay(&mut self, number: u64) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        while let Some(&decided) = open.replay.front().filter(|&&decided| decided < number) {
            open.replay.pop_front();
            let Some(place) = self.index.get(decided) else { continue };
            let record = self.reader.read(place)?;
            open.choice.replay(&self.plan.picture(decided), &record.measure, place.kind != Kind::Dropped);
        }
        Ok(())
    }

    /// Ends the open group: the pictures that wait are decided.
    fn close(&mut self) -> Result<()> {
        let Some(group) = self.open.as_ref().map(|open| open.group) else { return Ok(()) };
        self.replay(self.plan.groups()[group].end())?;
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let verdicts: BTreeMap<u64, Verdict> =
            self.times.of(Stage::Select, || open.choice.finish()).into_iter().collect();
        for (number, held) in std::mem::take(&mut open.held) {
            let verdict = verdicts.get(&number).cloned().unwrap_or(Verdict::Later);
            self.decide(number, verdict, held)?;
        }
        Ok(())
    }

    fn decide(&mut self, number: u64, verdict: Verdict, held: Held) -> Result<()> {
        let Held { drawn, measure } = held;
        match verdict {
            Verdict::Keep if drawn.images.is_empty() => {
                let again = (self.redraw)(&self.plan.picture(number), &drawn.tokens);
                match again {
                    Ok(again) => self.write(number, Drawn { images: again.images, ..drawn }, measure),
                    Err(error) => self.push(not_drawn(number, &error)),
                }
            }
            Verdict::Keep => self.write(number, drawn, measure),
            Verdict::Drop(reason) => {
                let Drawn { tokens, log_probability, .. } = drawn;
                self.push(Record { number, fate: Fate::Dropped(reason), tokens, log_probability, measure })
            }
            Verdict::Later => Err(Error::Internal(format!("selection did not decide picture {number}"))),
        }
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
    let bytes: usize = drawn.images.iter().map(|image| size_of_val(image.planes())).sum();
    if open.bytes + bytes > MOST_HELD {
        drawn.images = Vec::new();
    } else {
        open.bytes += bytes;
    }
    open.held.insert(number, Held { drawn, measure });
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
