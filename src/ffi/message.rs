//! The message that a handle keeps.

use std::sync::Mutex;

use crate::support::sync::lock;

/// The message of the last failed call with one handle, whichever thread it came from.
#[derive(Debug, Default)]
pub struct Message(Mutex<String>);

impl Message {
    pub fn set(&self, text: &str) {
        let mut message = lock(&self.0);
        message.clear();
        message.push_str(text);
    }

    pub fn text(&self) -> String {
        lock(&self.0).clone()
    }
}
