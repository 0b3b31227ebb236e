//! Job files: reads TOML, JSON Lines and CSV, and checks all rows against a bundle before the first picture is generated.
//!
//! A wrong row does not hide the others: every problem of every row is collected, with its line and field and what is allowed.
//! The readers give rows one after another ([`raw`]), the checker keeps what a plan needs of them.

mod atlas;
mod check;
mod checker;
mod csv;
mod finish;
mod jsonl;
mod problem;
mod raw;
mod resolve;
mod schema;
mod seeds;
mod start;
#[cfg(test)]
mod tests;
mod toml;
mod types;

pub use check::{Checked, JobFormat, check_job, check_job_from, check_rows_from};
pub use problem::Problem;
pub use schema::job_schema;
pub use types::{
    ClassName, Classes, EntryName, Every, FinishChoice, JobFile, LevelField, PageChoice, Redetail, RowFields,
    SeedField, Setting, Vary,
};
