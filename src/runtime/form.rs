//! The forms in which a bundle may hold attention (`onnx/README.md`): how keys and values are kept.

use std::str::FromStr;

/// An attention form that this library runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// By our own operators, in memory of ours, row by row.
    Native,
    /// By MultiHeadAttention, in tensors that are input and output at once.
    Mha,
    /// By standard operators: longer tensors at each step.
    Plain,
    /// By standard operators, in tensors of the device's memory that are input and output at once; every token says its
    /// place.
    Fixed,
}

impl FromStr for Form {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "native" => Ok(Self::Native),
            "mha" => Ok(Self::Mha),
            "plain" => Ok(Self::Plain),
            "fixed" => Ok(Self::Fixed),
            _ => Err(()),
        }
    }
}
