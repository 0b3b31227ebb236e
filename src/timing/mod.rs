//! How long steps and decodes take on this machine: [`latency`] measures and predicts, [`store`] keeps the measurements
//! of a calibration for later processes, [`pace`] follows the load of the machine from unit to unit. Knows no model.

pub(crate) mod latency;
#[cfg(feature = "worker")]
pub(crate) mod pace;
#[cfg(feature = "calibration")]
pub(crate) mod store;
