//! What a request costs, before it is made: steps, work, memory, time.

use std::time::Duration;

use crate::model::Model;
use crate::pace::{Shape, Table};

impl Model {
    /// A step of so many rows and positions took so long.
    pub(crate) fn note_step(&self, rows: usize, query: usize, took: Duration) {
        self.pace().note(Shape::Step { rows, query }, took);
    }

    pub(crate) fn predict_step(&self, rows: usize, query: usize) -> Option<Duration> {
        self.pace().predict(Shape::Step { rows, query }, || self.stored_pace())
    }

    /// A decode of so many pictures of so many tokens each took so long.
    pub(crate) fn note_decode(&self, pictures: usize, tokens: usize, took: Duration) {
        if let Some(shape) = self.decode_shape(pictures, tokens) {
            self.pace().note(shape, took);
        }
    }

    /// How long it should take to decode pictures of a prefix of `tokens` tokens on this machine. None when there is no
    /// such prefix, or nothing was measured yet.
    pub fn predict_decode(&self, pictures: usize, tokens: usize) -> Option<Duration> {
        self.pace().predict(self.decode_shape(pictures, tokens)?, || self.stored_pace())
    }

    fn decode_shape(&self, pictures: usize, tokens: usize) -> Option<Shape> {
        let bundle = self.bundle();
        let side = (bundle.ladder().prefix(tokens)?.size / bundle.patch()) as usize;
        Some(Shape::Decode { pictures, tokens, patches: side * side })
    }

    fn stored_pace(&self) -> Table {
        Table::new()
    }
}
