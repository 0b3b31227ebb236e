//! How long steps and decodes take on this machine: [`latency`] measures and predicts, [`store`] keeps the measurements
//! of a calibration for later processes. Knows no model.

pub(crate) mod latency;
#[cfg(feature = "calibration")]
pub(crate) mod store;
