//! Whole operations on top of generations and models.

pub(crate) mod best_of;
pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod cost;
pub(crate) mod mips;
pub(crate) mod repair;
pub(crate) mod score;
pub(crate) mod vary;
