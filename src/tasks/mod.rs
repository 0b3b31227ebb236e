//! Whole operations on top of models and generations, as functions: generate an image in one call, the best of many
//! candidates, variations, the rest of a damaged token file, scores of given tokens, levels of detail, the cost of a
//! request, comparisons of models.

pub(crate) mod best_of;
#[cfg(feature = "calibration")]
pub(crate) mod calibrate;
pub(crate) mod compare;
pub(crate) mod cost;
mod generate_image;
pub(crate) mod mips;
mod repair;
mod score;
mod vary;

pub use best_of::{BestOf, Candidate, Round, Scorer};
#[cfg(feature = "calibration")]
pub use calibrate::{Calibration, calibrate};
pub use compare::{Comparison, LogitComparison, RecordComparison, Tolerance, compare, compare_with_record};
pub use cost::{Cost, LevelCost, StepCost, cost, multiply_adds_per_second};
pub use generate_image::{generate_image, generate_image_at};
pub use mips::{
    MipSource, Sprite, decode_atlas, decode_finished_atlas, decode_mip_chain, finished_mips, lay_out_atlas, mips,
    sprite_size,
};
pub use repair::repair;
#[cfg(feature = "ffi")]
pub(crate) use repair::repaired_size;
pub use score::{score, score_all, score_mix};
pub use vary::{redetail, vary};
