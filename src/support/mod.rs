//! What every folder may use: the error of the crate, log messages, files that appear whole, fallible allocation,
//! synchronization.

pub(crate) mod error;
pub(crate) mod files;
pub mod log;
pub(crate) mod memory;
pub(crate) mod sync;
