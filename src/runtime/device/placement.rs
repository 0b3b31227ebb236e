//! Which provider took which nodes of a graph, and whether the device got any that matter.

use std::collections::BTreeMap;

use ort::session::Session;

use super::facts::CPU_PROVIDER;
use super::memory;
use super::name::Device;
use super::raw;
use super::report::{Assigned, GraphReport};
use crate::runtime::onnx_file;

/// The nodes of a session by provider, those of the CPU last.
pub(in crate::runtime) fn assigned(session: &Session) -> ort::Result<Vec<Assigned>> {
    let mut providers: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for (provider, types) in raw::assignment(session)? {
        let operators = providers.entry(provider).or_default();
        types.into_iter().for_each(|kind| *operators.entry(kind).or_default() += 1);
    }
    let mut all: Vec<Assigned> = providers
        .into_iter()
        .map(|(provider, operators)| {
            let mut operators: Vec<_> = operators.into_iter().collect();
            operators.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            Assigned { provider, nodes: operators.iter().map(|(_, count)| count).sum(), operators }
        })
        .collect();
    all.sort_by_key(|assigned| (assigned.provider == CPU_PROVIDER, std::cmp::Reverse(assigned.nodes)));
    Ok(all)
}

/// The matrix multiplications, which do the work of a graph. Optimizers replace one of them by another; their number stays.
const MATMULS: [&str; 8] = [
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
    "FusedMatMul",
    "FusedGemm",
];

fn matmuls<'a>(assigned: impl IntoIterator<Item = &'a Assigned>) -> usize {
    let operators = assigned.into_iter().flat_map(|assigned| &assigned.operators);
    operators.filter(|(kind, _)| MATMULS.contains(&kind.as_str())).map(|(_, count)| count).sum()
}

/// Matrix multiplications in a graph.
pub(in crate::runtime) fn matmuls_in(graph: &[u8]) -> usize {
    onnx_file::operators(graph).iter().filter(|kind| MATMULS.contains(kind)).count()
}

/// Whether the device got none of the matrix multiplications, of which the graph has `all`. Nodes that a provider takes in a
/// second pass are not always recorded, so those of the CPU are counted: all that the graph has run there.
pub(in crate::runtime) fn all_on_cpu(all: usize, assigned: &[Assigned]) -> bool {
    let (cpu, others): (Vec<_>, Vec<_>) = assigned.iter().partition(|assigned| assigned.provider == CPU_PROVIDER);
    matmuls(others) == 0 && matmuls(cpu) >= all
}

/// The report of the graph `name`, which has `all` matrix multiplications.
#[allow(clippy::disallowed_methods, reason = "one entry for each execution provider")]
pub(in crate::runtime) fn report(
    session: &Session,
    name: &str,
    all: usize,
    assigned: &[Assigned],
    device: &Device,
    kv_memory: Option<String>,
) -> GraphReport {
    let own = || assigned.iter().map(|assigned| assigned.provider.as_str()).find(|provider| *provider != CPU_PROVIDER);
    let provider = device.facts().providers.first().copied().or_else(own);
    // Matrix multiplications that no provider is recorded for run on the device's own.
    let incomplete = *device != Device::Cpu && matmuls(assigned) < all;
    GraphReport {
        graph: name.to_owned(),
        providers: assigned.to_vec(),
        rest: provider.filter(|_| incomplete).map(str::to_owned),
        memory: memory::allocated(session, device),
        kv_memory,
        replays: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(provider: &str, operators: &[(&str, usize)]) -> Assigned {
        let operators: Vec<_> = operators.iter().map(|&(kind, count)| (kind.to_owned(), count)).collect();
        Assigned { provider: provider.into(), nodes: operators.iter().map(|(_, count)| count).sum(), operators }
    }

    #[test]
    fn graph_without_matmuls_on_the_device_counts_as_all_on_cpu() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small/ar.fp32.plain.onnx");
        let graph = matmuls_in(&std::fs::read(path).unwrap());
        assert_eq!(graph, 13);
        assert_eq!(matmuls_in(b""), 0);
        let all = [assigned("XProvider", &[("Add", 1)]), assigned(CPU_PROVIDER, &[("MatMul", 13), ("Add", 3)])];
        assert!(all_on_cpu(graph, &all));
        let one = [assigned("XProvider", &[("MatMul", 1)]), assigned(CPU_PROVIDER, &[("MatMul", 12)])];
        assert!(!all_on_cpu(graph, &one));
        // The thirteenth is not recorded, but it is not on the CPU either.
        assert!(!all_on_cpu(graph, &[assigned(CPU_PROVIDER, &[("MatMul", 12)])]));
    }
}
