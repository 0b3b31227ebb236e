//! Windows.

mod files;
mod library;
mod process;

pub(super) use files::*;
pub(super) use library::*;
pub(super) use process::*;
