//! The work that lanes share: parts of rows, in the order of their pictures.

use std::collections::VecDeque;

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::Model;
use crate::pipeline::plan::{Plan, Row};
use crate::support::error::Result;
use crate::support::sync::{Arc, Condvar, Mutex, lock, wait};

/// Pictures of one row that are drawn by one generation.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    pub row: &'a Row,
    /// In order.
    pub numbers: Vec<u64>,
    /// What each begins with.
    pub prefix: Arc<[u32]>,
    /// Whether the log-probabilities of their tokens are wanted.
    pub log_probabilities: bool,
}

impl Part<'_> {
    /// Starts to draw them with `model`.
    pub fn begin(&self, plan: &Plan, model: &Model) -> Result<Generation> {
        let mut request = Request::new(model);
        if let Some(&first) = self.numbers.first() {
            plan.picture(first).apply(&mut request, &self.prefix)?;
        }
        request.set_count(self.numbers.len() as u32)?;
        for (at, &number) in self.numbers.iter().enumerate() {
            plan.picture(number).apply_image(&mut request, at)?;
        }
        request.set_log_probabilities(self.log_probabilities);
        Generation::new(&request)
    }

    /// How many pictures of one class take the batch rows of these.
    pub fn weight(&self) -> usize {
        self.numbers.len() * self.row.mix.weight()
    }

    /// Each picture alone.
    pub fn split(self) -> impl Iterator<Item = Self> {
        let Self { row, numbers, prefix, log_probabilities } = self;
        numbers.into_iter().map(move |number| Self {
            row,
            numbers: vec![number],
            prefix: prefix.clone(),
            log_probabilities,
        })
    }
}

/// A queue that lanes take parts from.
#[derive(Debug, Default)]
pub(super) struct Work<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State<'a> {
    parts: VecDeque<Part<'a>>,
    closed: bool,
}

impl<'a> Work<'a> {
    pub fn add(&self, part: Part<'a>) {
        lock(&self.state).parts.push_back(part);
        self.changed.notify_one();
    }

    /// No more is added, and what is left is not done.
    pub fn abandon(&self) {
        let mut state = lock(&self.state);
        state.parts.clear();
        state.closed = true;
        drop(state);
        self.changed.notify_all();
    }

    /// The next part. If there is none now: `None`, or if `patient` the next that is added; `None` when the work is abandoned.
    pub fn take(&self, patient: bool) -> Option<Part<'a>> {
        let mut state = lock(&self.state);
        loop {
            let part = state.parts.pop_front();
            if part.is_some() || state.closed || !patient {
                return part;
            }
            state = wait(&self.changed, state, None).0;
        }
    }
}
