//! `.dftpack`: any number of token files in one file, each found by its number or name with a few reads.
//!
//! Layout: a magic number; the entries, each with a self-contained header, so that they can be recovered without the
//! index; the index, one record per entry; the names, one record per name, sorted by hash; a footer with the offsets of
//! these. Opening reads the magic number and the footer only, however many entries there are.

mod layout;
mod reader;
mod salvage;
mod writer;

pub(super) use layout::LETTERS;
pub use reader::{Entry, Pack};
pub use salvage::{Found, Salvage, Salvaged, salvage};
pub use writer::PackWriter;
