//! Arithmetic about tokens, with no model at hand: which prefix decodes at which size, which steps draw which
//! tokens, how strongly each token is guided, and what memory and work a request needs.

mod curve;
mod guidance;
mod ladder;
mod memory;
mod schedule;
mod work;

pub use curve::Curve;
pub use guidance::Guidance;
pub(crate) use ladder::Formula;
#[cfg(test)]
pub(crate) use ladder::tests;
pub use ladder::{Ladder, Level, Prefix};
pub(crate) use memory::KvShape;
pub use schedule::{Schedule, Step};
pub(crate) use work::{DecodeWork, EncodeWork, SideSize, StepWork};
