//! Our own operators for the CPU, domain `detailflow`: `Linear`, `Linear4`, `Attention` and `PlacesAttention`. The format of bundles
//! (under `onnx/`) says what they compute.
//! This is the boundary of the arithmetic in [`kernels`](crate::kernels): attributes and constants of a graph are checked
//! here, once, when it is compiled.
//!
//! Graphs are untrusted input. An operator whose constants do not fit together does not compile; inputs of wrong shape are
//! an error of that run.

mod attention;
mod io;
mod linear;
mod matrices;
mod pool;

use std::sync::Arc;

use ort::operator::OperatorDomain;

use crate::kernels::kv::SlotTable;
use crate::support::parallel::Threads;

use attention::{AttentionOperator, PlacesAttentionOperator};
use linear::{Bits, LinearOperator};
pub(super) use matrices::{Lent, Matrices};

const DOMAIN: &str = "detailflow";

/// The operators for one graph. Its attention finds the sequence slots of a run in `slots`. `threads` are those
/// of the session, or of the host. `matrices` gets those of its linear layers, where they are to be lent to further sessions.
pub(super) fn domain(
    slots: SlotTable,
    threads: Threads,
    matrices: Option<Matrices>,
) -> ort::Result<Arc<OperatorDomain>> {
    // Both kinds share the memory that they work in.
    let linear =
        LinearOperator { bits: Bits::Int8, threads: threads.clone(), work: Arc::default(), matrices: matrices.clone() };
    let linear4 = LinearOperator { bits: Bits::Int4, threads: threads.clone(), work: linear.work.clone(), matrices };
    let attention = AttentionOperator { slots, threads: threads.clone() };
    let places = PlacesAttentionOperator { threads };
    OperatorDomain::new(DOMAIN)?.add(linear)?.add(linear4)?.add(attention)?.add(places).map(Arc::new)
}
