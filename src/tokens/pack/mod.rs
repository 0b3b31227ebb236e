//! `.dftpack`: any number of token files in one, each found by its number or its name with a few reads.
//!
//! A magic; the entries, each with a head that stands for itself, so that they can be read without an index; the index,
//! a record for each entry; the names, a record for each name, sorted by hash; a footer that says where these are. The
//! footer is all that is read on opening, however many entries there are.

mod layout;
mod reader;
mod salvage;
mod source;
mod writer;

pub use reader::{Entry, Pack};
pub use salvage::{Found, Salvage, Salvaged, salvage};
pub use source::ReadAt;
pub use writer::PackWriter;
