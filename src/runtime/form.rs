//! Forms: what a variant of a bundle chooses for attention.

use std::fmt;
use std::str::FromStr;

use crate::support::error::{Error, Result};

/// Attention backend and KV layout of a variant.
///
/// A bundle holds each precision in one or more forms. The form decides which operators compute attention, where the KV
/// cache is kept, and how a step updates it. Forms of one precision compute the same function, up to float rounding.
///
/// | form | attention | KV cache |
/// |---|---|---|
/// | `native` | our own operators, on the CPU | one piece of CPU memory for each sequence, written in place; sequences of several generations can share a step |
/// | `mha` | `com.microsoft.MultiHeadAttention` | CPU tensors for the whole batch, written in place |
/// | `plain` | standard ONNX operators: every device runs it | grows by a copy at each step, through CPU memory |
/// | `fixed` | standard ONNX operators of fixed size | tensors in device memory, written in place |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// Our own operators, on the CPU; KV memory for each sequence.
    Native,
    /// MultiHeadAttention; KV tensors that are input and output at once.
    Mha,
    /// Standard operators; the KV cache is copied at each step.
    Plain,
    /// Standard operators; the KV cache stays in device memory.
    Fixed,
}

impl Form {
    const ALL: [Self; 4] = [Self::Native, Self::Mha, Self::Plain, Self::Fixed];

    /// The name in manifests and options: `native`, `mha`, `plain` or `fixed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Mha => "mha",
            Self::Plain => "plain",
            Self::Fixed => "fixed",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Form {
    type Err = Error;

    /// # Errors
    /// [`Error::Invalid`] with the known forms, when `name` is none of them.
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|form| form.name() == name)
            .ok_or_else(|| Error::Invalid(format!("form \"{name}\" is unknown; allowed: native, mha, plain, fixed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_name_parsed_gives_the_form() {
        for form in Form::ALL {
            assert_eq!(form.to_string().parse::<Form>().unwrap(), form);
        }
        let error = "scatter".parse::<Form>().unwrap_err().to_string();
        assert!(error.contains("\"scatter\"") && error.contains("native, mha, plain, fixed"), "{error}");
    }
}
