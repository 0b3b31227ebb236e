//! How long steps and decodes take on this machine. Knows no model.

pub(crate) mod latency;
