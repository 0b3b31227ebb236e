//! Pure arithmetic about tokens: which prefix decodes at which size, which step samples which tokens, the guidance scale
//! and the classes of each token, and the memory and work of a request.

mod curve;
mod guidance;
mod ladder;
mod memory;
mod mix;
mod schedule;
mod work;

pub use curve::Curve;
pub use guidance::Guidance;
pub(crate) use ladder::Formula;
pub use ladder::{Ladder, Level, Prefix};
pub(crate) use memory::KvShape;
pub use mix::Mix;
pub use schedule::{Schedule, Step};
pub(crate) use work::{DecodeWork, EncodeWork, SideSize, StepWork};
