//! Token files: pictures as what they are, short sequences of tokens.
//!
//! - [`Dft`], `.dft`: one sequence, packed to the bit, each group with a check, so that a cut or damaged file still
//!   yields its longest sound prefix: a whole picture at a lower resolution.
//! - [`Pack`], `.dftpack`: any number of them in one file, each found by its number or its name with a few reads.
//!   [`PackWriter`] writes one, [`Salvage`] reads what is left of a damaged one.
//! - [`TokenFile`]: one or more as JSON, for people and scripts.
//!
//! `onnx/README.md` is the byte-exact format of the first two.

mod bits;
mod crc;
mod dft;
mod geometry;
mod json;
mod pack;

pub use dft::{Damage, Dft, Soundness};
pub use geometry::{Geometry, TokenizerId};
pub use json::{TokenFile, TokenImage};
pub use pack::{Entry, Found, Pack, PackWriter, ReadAt, Salvage, Salvaged, salvage};
