//! Selection within a group, the pictures of one row and class: rejects broken alpha, drops near-duplicates, keeps the best.

mod settings;

pub use settings::{AlphaLimits, LARGEST_DISTANCE, SelectBy, SelectSettings};
