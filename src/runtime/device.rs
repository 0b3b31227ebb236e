//! Devices by name. The CPU is the only one yet; asking for another is an error, never a silent fallback.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Where graphs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// ONNX Runtime's own CPU provider.
    #[default]
    Cpu,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
        })
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "cpu" => Ok(Self::Cpu),
            _ => Err(Error::Device(format!("device \"{text}\" is not supported; there is: cpu"))),
        }
    }
}
