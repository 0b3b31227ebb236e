//! The attention forms that a bundle may hold (`onnx/README.md`): how attention is computed and the KV cache is laid out.

use std::fmt;
use std::str::FromStr;

use crate::support::error::Error;

/// The attention backend of a variant, and with it the layout of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// Our own operators on the CPU; the library owns the KV cache, row by row.
    Native,
    /// ONNX Runtime's `MultiHeadAttention`; the KV cache is a tensor that is input and output at once.
    Mha,
    /// Standard operators; every step returns a longer KV cache.
    Plain,
    /// Standard operators; the KV cache stays in the device's memory, input and output at once, and every token names its
    /// position.
    Fixed,
}

impl Form {
    /// Its name in the manifest, such as `native`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Mha => "mha",
            Self::Plain => "plain",
            Self::Fixed => "fixed",
        }
    }
}

impl FromStr for Form {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "native" => Ok(Self::Native),
            "mha" => Ok(Self::Mha),
            "plain" => Ok(Self::Plain),
            "fixed" => Ok(Self::Fixed),
            _ => Err(Error::Invalid(format!("form {name} is unknown; it is native, mha, plain or fixed"))),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
