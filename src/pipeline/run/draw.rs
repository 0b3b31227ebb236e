//! Drawing: lanes work in parallel, and their results come in the order of the pictures.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::hooks::Drawn;
use super::lane::{Lane, Shared};
use super::times::Times;
use super::work::{Part, Work};
use crate::model::Model;
use crate::pipeline::plan::{Plan, Row, Start};
use crate::pixels::Picture;
use crate::runtime::Form;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::sync::Arc;

/// Pictures of one generation: rows of a job join in a batch by parts of this size. Smaller ones fill it better, larger ones have
/// less to do around a step.
const PART: usize = 16;
/// The largest batch unless the caller chooses. Of larger ones what a step computes leaves the cache of the core: sprites of 8
/// layers are drawn at 445 a second by 16, 380 by 32, 370 by 64.
const BATCH: usize = 16;
/// Bytes of the KV cache of a lane, and of the images that wait, unless one batch has more.
const MOST_KEYS: u64 = 256 << 20;
const MOST_IMAGES: u64 = 96 << 20;
/// How often the owner is asked whether to stop.
const TURN: Duration = Duration::from_millis(50);

/// How a run draws.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing<'a> {
    pub plan: &'a Plan,
    /// One for each lane, at least one, of the same bundle.
    pub models: &'a [Model],
    /// The most pictures that step together; 0 chooses.
    pub batch: usize,
    pub log_probabilities: bool,
    /// Whether pictures are decoded.
    pub images: bool,
    pub times: &'a Times,
}

impl<'a> Drawing<'a> {
    /// Draws the pictures with these numbers, which ascend, and gives each to `take` in this order, on this thread. Between
    /// pictures, and at least every [`TURN`], `turn` may end it. An ended one drops what is being drawn.
    ///
    /// # Errors
    /// Those of `take` and `turn`.
    pub fn run(
        self,
        numbers: impl Iterator<Item = u64>,
        take: &mut dyn FnMut(u64, Result<Drawn>) -> Result<()>,
        turn: &mut dyn FnMut() -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let batch = batch_size(self.batch, &self.models[0]);
        let together = self.models.iter().all(|model| model.form() == Form::Native);
        let part = if together { PART.min(batch) } else { batch };
        let shared = Shared {
            plan: self.plan,
            work: Work::default(),
            times: self.times,
            stop: AtomicBool::new(false),
            batch,
            images: self.images,
        };
        let host_thread = host::thread();
        std::thread::scope(|scope| {
            let (sender, results) = channel();
            for (number, model) in self.models.iter().enumerate() {
                let lane = Lane::new(&shared, model, sender.clone());
                let started = std::thread::Builder::new().name(format!("detailflow-lane-{number}")).spawn_scoped(
                    scope,
                    move || {
                        host::begin_thread(host_thread);
                        lane.run();
                    },
                );
                started.map_err(|error| {
                    shared.work.abandon();
                    Error::OutOfMemory { what: format!("a lane's thread ({error})"), bytes: 2 << 20 }
                })?;
            }
            drop(sender);
            let mut feed = Feed { drawing: self, numbers: numbers.peekable(), last: None, part };
            let mut ready: BTreeMap<u64, Result<Drawn>> = BTreeMap::new();
            let mut order = std::collections::VecDeque::new();
            let window = self.window(batch);
            let drawn = (|| {
                loop {
                    while order.len() < window {
                        let Some((part, failure)) = feed.next() else { break };
                        order.extend(&part.numbers);
                        match failure {
                            None => shared.work.add(part),
                            Some(why) => {
                                let failed =
                                    part.numbers.into_iter().map(|number| (number, Err(Error::Invalid(why.clone()))));
                                ready.extend(failed);
                            }
                        }
                    }
                    while let Some(result) = order.front().and_then(|number| ready.remove(number)) {
                        let number = order.pop_front().expect("it has a front");
                        take(number, result)?;
                    }
                    if turn()?.is_break() || order.is_empty() && feed.is_done() {
                        return Ok(());
                    }
                    match results.recv_timeout(TURN) {
                        Ok((number, result)) => {
                            ready.insert(number, result);
                            // All that is there already.
                            ready.extend(results.try_iter());
                        }
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => {
                            return Err(Error::Internal("the lanes of a run have ended early".into()));
                        }
                    }
                }
            })();
            shared.stop.store(true, Ordering::Relaxed);
            shared.work.abandon();
            drawn
        })
    }

    /// The most pictures that are drawn or wait for their turn: enough that no lane waits for a slower one.
    fn window(self, batch: usize) -> usize {
        let bundle = self.models[0].bundle();
        let side = u64::from(bundle.size());
        let image = side * side * bundle.channels() as u64 * 4;
        let most = (MOST_IMAGES / image.max(1)) as usize;
        let lanes = self.models.len() * (batch + PART);
        (4 * lanes).min(most.max(lanes + lanes / 2))
    }

    /// The tokens that pictures of a row begin with.
    fn prefix(self, row: &Row) -> Result<Arc<[u32]>> {
        match &row.start {
            Start::Empty => Ok(Arc::from([])),
            Start::Tokens(tokens) => Ok(Arc::from(&**tokens)),
            Start::Picture { path, keep } => {
                let model = &self.models[0];
                let level = model.bundle().ladder().level_or_error(*keep)?;
                let tokens = model.encode(&Picture::open(path)?)?;
                Ok(Arc::from(&tokens[..level.tokens]))
            }
        }
    }
}

/// The most pictures that step together; `wanted` unless that is 0.
pub(super) fn batch_size(wanted: usize, model: &Model) -> usize {
    if wanted > 0 {
        return wanted;
    }
    let keys = model.key_shape().bytes(2).max(1);
    BATCH.min((MOST_KEYS / keys).max(1) as usize)
}

/// What the pictures of a row begin with, or why that cannot be had.
type Prefix = Result<Arc<[u32]>, String>;

/// Cuts the pictures of a run into parts.
struct Feed<'a, I: Iterator<Item = u64>> {
    drawing: Drawing<'a>,
    numbers: std::iter::Peekable<I>,
    /// The last row, and what its pictures begin with, or why that cannot be had.
    last: Option<(u32, Prefix)>,
    part: usize,
}

impl<'a, I: Iterator<Item = u64>> Feed<'a, I> {
    /// The next part; with the reason if it cannot be drawn.
    fn next(&mut self) -> Option<(Part<'a>, Option<String>)> {
        let plan = self.drawing.plan;
        let first = plan.picture(*self.numbers.peek()?);
        let index = plan.groups()[first.group].row;
        if self.last.as_ref().is_none_or(|(last, _)| *last != index) {
            let prefix = self.drawing.prefix(first.row).map_err(|error| error.to_string());
            self.last = Some((index, prefix));
        }
        let part = (self.part / first.row.mix.weight()).max(1);
        let mut numbers = Vec::with_capacity(part);
        while numbers.len() < part {
            let same = |&number: &u64| plan.groups()[plan.picture(number).group].row == index;
            let Some(number) = self.numbers.next_if(same) else { break };
            numbers.push(number);
        }
        let (prefix, failure) = match &self.last.as_ref()?.1 {
            Ok(prefix) => (prefix.clone(), None),
            Err(why) => (Arc::from([]), Some(why.clone())),
        };
        let log_probabilities = self.drawing.log_probabilities;
        Some((Part { row: first.row, numbers, prefix, log_probabilities }, failure))
    }

    fn is_done(&mut self) -> bool {
        self.numbers.peek().is_none()
    }
}
