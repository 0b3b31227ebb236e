//! Token files: pictures stored as short sequences of tokens.
//!
//! - [`Dft`], `.dft`: one sequence, packed to the bit, each group with a CRC, so that a truncated or damaged file still
//!   yields its longest sound prefix: the whole picture at a lower resolution.
//! - [`Pack`], `.dftpack`: any number of sequences in one file, each found by its number or name with a few reads.
//!   [`PackWriter`] writes a pack, [`Salvage`] recovers the entries of a damaged one.
//! - [`TokenFile`]: one or more sequences as JSON, for people and scripts.
//!
//! [`kind`] tells which of them some bytes are; [`open_any`] opens a file of any kind. `onnx/TOKENS.md` specifies the
//! formats byte by byte.

mod any;
mod bits;
mod crc;
mod dft;
mod geometry;
mod json;
mod pack;

pub use any::{AnyTokens, TokenFileKind, kind, open_any};
pub use dft::{Damage, Dft, Soundness};
pub use geometry::{Geometry, TokenizerId};
pub use json::{TokenFile, TokenImage};
pub use pack::{Entry, Found, Pack, PackWriter, Salvage, Salvaged, salvage};

pub use crate::support::read_at::ReadAt;
