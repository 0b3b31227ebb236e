//! What is wrong with a job file.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::support::text::printable;

/// Something in a job file that is not allowed, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The job file.
    pub file: Arc<Path>,
    /// The line, from 1; that of the field where the format shows it, or else of the row. 0 where there is none.
    pub line: u64,
    /// The number of the row, from 0, which is left out; `None` for a problem of the whole job, which cannot run.
    pub row: Option<u32>,
    /// The field: `seed`, `output.scale`, `class` of a row. Empty for the whole row or file.
    pub field: Cow<'static, str>,
    /// What is wrong, and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file.to_string_lossy()))?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", printable(&self.field))?;
        }
        write!(f, ": {}", printable(&self.text))
    }
}
