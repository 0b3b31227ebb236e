//! Selection within a group, the pictures of one row and class: rejects broken alpha, drops near-duplicates, keeps the best.
//!
//! Candidates come in the order of their numbers. [`Judge::facts`] reduces each to a few bytes, [`Selector::consider`] decides by
//! these. Facts that were recorded give the same decisions again, so that a run can stop anywhere in a group.
//!
//! Two pictures are near-duplicates if their perceptual hashes differ in at most N bits and their mean colours in at most 8 of 255
//! per channel. Equal coarse codes double N: the model began both pictures alike. Pictures with the same tokens are duplicates
//! at any N.

mod facts;
mod look;
mod near;
#[cfg(test)]
mod pictures;
mod selector;
mod settings;
#[cfg(test)]
mod tests;

pub use facts::{Candidate, Facts, Judge};
pub use selector::{Decision, Reason, Selector};
pub use settings::{AlphaLimits, LARGEST_DISTANCE, SelectBy, SelectSettings};
