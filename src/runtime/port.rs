//! Ports: the inputs and outputs that a graph must have.

use ort::value::{Outlet, TensorElementType, ValueType};

use crate::support::error::{Error, Result};

/// An axis of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    /// A fixed length.
    Is(usize),
    /// A length chosen at each run.
    Free,
    /// Fixed or free, whatever the graph says.
    Any,
}

/// Element type of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Int64,
    Float32,
    Float16,
    Bool,
}

impl Element {
    fn kind(self) -> TensorElementType {
        match self {
            Self::Int64 => TensorElementType::Int64,
            Self::Float32 => TensorElementType::Float32,
            Self::Float16 => TensorElementType::Float16,
            Self::Bool => TensorElementType::Bool,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bool => "bool",
        }
    }
}

/// An input or output that a graph must have.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub name: String,
    pub element: Element,
    pub shape: Vec<Dim>,
}

#[allow(clippy::disallowed_methods, reason = "a few axes")]
impl Port {
    pub fn ids(name: &str, shape: &[Dim]) -> Self {
        Self { name: name.to_owned(), element: Element::Int64, shape: shape.to_vec() }
    }

    pub fn floats(name: impl Into<String>, shape: &[Dim]) -> Self {
        Self { name: name.into(), element: Element::Float32, shape: shape.to_vec() }
    }

    fn fits(&self, outlet: &Outlet) -> bool {
        let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else { return false };
        *ty == self.element.kind()
            && shape.len() == self.shape.len()
            // A free axis is -1. An axis that the graph fixes and we vary does not fit, nor one the other way round.
            && shape.iter().zip(&self.shape).all(|(&found, wanted)| match wanted {
                Dim::Is(length) => found == *length as i64,
                Dim::Free => found < 0,
                Dim::Any => true,
            })
    }

    /// Type and shape, for an error.
    fn describe(&self) -> String {
        let axis = |dim: &Dim| match dim {
            Dim::Is(length) => length.to_string(),
            Dim::Free => "free".to_owned(),
            Dim::Any => "any".to_owned(),
        };
        let axes: Vec<String> = self.shape.iter().map(axis).collect();
        format!("{}[{}]", self.element.name(), axes.join(", "))
    }
}

/// Checks that a graph has exactly the `wanted` ports. `kind` is `input` or `output`.
///
/// # Errors
/// [`Error::Failed`] that names the first difference.
pub(super) fn check(graph: &str, kind: &str, found: &[Outlet], wanted: &[Port]) -> Result<()> {
    let refuse = |reason: String| Err(Error::Failed { graph: graph.to_owned(), reason });
    for port in wanted {
        let Some(outlet) = found.iter().find(|outlet| outlet.name() == port.name) else {
            return refuse(format!("the graph has no {kind} \"{}\"", port.name));
        };
        if !port.fits(outlet) {
            let (name, found, wanted) = (&port.name, outlet.dtype(), port.describe());
            return refuse(format!("{kind} \"{name}\" is {found}; expected {wanted}"));
        }
    }
    if let Some(extra) = found.iter().find(|outlet| !wanted.iter().any(|port| port.name == outlet.name())) {
        return refuse(format!("the graph has an unexpected {kind} \"{}\"", extra.name()));
    }
    Ok(())
}
