//! What really runs where: per graph the nodes that each provider took, and the memory that it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

use super::Device;
use super::provider;
use crate::runtime::raw;

const CPU: &str = "CPUExecutionProvider";

/// Where the graphs of a model run; see [`Model::report`](crate::Model::report). As text it is a few lines for a person.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The device that was asked for.
    pub asked: Device,
    /// The one that it runs on: another when `auto` was asked for, or when it fell back to the CPU.
    pub device: Device,
    /// What was tried before, and why that was not taken.
    pub refused: Vec<String>,
    /// Every graph that is compiled; the encoder is when it was first used.
    pub graphs: Vec<GraphReport>,
}

/// Where one graph runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GraphReport {
    /// Its file's name.
    pub graph: String,
    /// Its nodes as they were divided after the first optimisations, those of the CPU last. A provider may merge its own
    /// afterwards.
    pub providers: Vec<Assigned>,
    /// The provider that also has every node which is not listed, where ONNX Runtime did not record them all (seen:
    /// WebGPU of 1.27). What is on the CPU is always listed.
    pub rest: Option<String>,
    /// What the allocators of this graph hold. Weights that are mapped from their file are not among it, nor is what a
    /// generation keeps, nor the memory of providers that do not tell.
    pub memory: Vec<AllocatorMemory>,
    /// The memory in which keys and values are kept: `Cuda`, `WebGPU_Buf`, or `Cpu`. None for a graph that keeps nothing
    /// there from step to step: every other than `ar`, and `ar` of another form than `fixed`.
    pub keys_in: Option<String>,
}

/// The nodes of a graph that one provider took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Assigned {
    /// ONNX Runtime's name of the provider.
    pub provider: String,
    /// How many nodes.
    pub nodes: usize,
    /// How many of each type of operator, most frequent first.
    pub operators: Vec<(String, usize)>,
}

/// Memory that an allocator holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AllocatorMemory {
    /// What the memory is called: `Cpu`, `Cuda`, `WebGPU_Buffer` …
    pub memory: String,
    /// Bytes it has from the system.
    pub bytes: u64,
    /// Bytes of them that are in use.
    pub in_use: u64,
}

impl GraphReport {
    /// Nodes on the CPU, by type, though the model runs on another device; the provider of that device did not take them.
    pub fn on_cpu(&self) -> Option<&Assigned> {
        self.providers.iter().find(|assigned| assigned.provider == CPU)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runs on {}", self.device)?;
        if self.asked != self.device {
            write!(f, " (asked for {})", self.asked)?;
        }
        self.refused.iter().try_for_each(|why| write!(f, "\n  not taken: {why}"))?;
        self.graphs.iter().try_for_each(|graph| write!(f, "\n{graph}"))
    }
}

impl fmt::Display for GraphReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.graph)?;
        let mut parts = Vec::new();
        parts.extend(self.keys_in.iter().map(|memory| format!("keys and values in {memory}")));
        if let Some(provider) = &self.rest {
            parts.push(format!("all but these on {provider}"));
        }
        for Assigned { provider, nodes, operators } in &self.providers {
            if Some(provider) == self.rest.as_ref() {
                continue;
            }
            let mut part = format!("{nodes} nodes on {provider}");
            // On a device it matters what is left over; all of it would be a long line.
            if provider == CPU && (self.providers.len() > 1 || self.rest.is_some()) {
                let types: Vec<String> = operators.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
                part += &format!(" ({})", types.join(", "));
            }
            parts.push(part);
        }
        let held = self.memory.iter().map(|AllocatorMemory { memory, bytes, in_use }| {
            format!("memory {memory} {:.1} MB, in use {:.1}", *bytes as f64 / 1e6, *in_use as f64 / 1e6)
        });
        f.write_str(&parts.into_iter().chain(held).collect::<Vec<_>>().join("; "))
    }
}

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
    all.sort_by_key(|assigned| (assigned.provider == CPU, std::cmp::Reverse(assigned.nodes)));
    Ok(all)
}

/// What does the work of a graph. Optimisers turn one of them into another, their number stays.
const PRODUCTS: [&str; 8] = [
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
    "FusedMatMul",
    "FusedGemm",
];

fn products<'a>(operators: impl IntoIterator<Item = &'a (String, usize)>) -> usize {
    operators.into_iter().filter(|(kind, _)| PRODUCTS.contains(&kind.as_str())).map(|(_, count)| count).sum()
}

fn products_on<'a>(assigned: impl IntoIterator<Item = &'a Assigned>) -> usize {
    assigned.into_iter().map(|assigned| products(&assigned.operators)).sum()
}

/// Products that the file has. One that cannot be read did not compile either.
fn products_written(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| operators_of(&bytes).iter().filter(|kind| PRODUCTS.contains(kind)).count())
}

/// Whether the device got nothing that matters. What a provider took in a second pass is not recorded everywhere, so the
/// CPU's side is counted: all products that the file has run there.
pub(in crate::runtime) fn all_on_cpu(path: &Path, assigned: &[Assigned]) -> bool {
    let (here, elsewhere): (Vec<_>, Vec<_>) = assigned.iter().partition(|assigned| assigned.provider == CPU);
    products_on(elsewhere) == 0 && products_on(here) >= products_written(path)
}

/// What is known of one graph.
pub(in crate::runtime) fn graph(
    session: &Session,
    path: &Path,
    assigned: &[Assigned],
    device: &Device,
    keys_in: Option<String>,
) -> GraphReport {
    let own = || assigned.iter().map(|assigned| assigned.provider.as_str()).find(|provider| *provider != CPU);
    let provider = provider::providers(device).first().copied().or_else(own);
    // A product that nobody is recorded to have is where the rest is.
    let incomplete = *device != Device::Cpu && products_on(assigned) < products_written(path);
    GraphReport {
        graph: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        providers: assigned.to_vec(),
        rest: provider.filter(|_| incomplete).map(str::to_owned),
        memory: held(session, device),
        keys_in,
    }
}

/// What the allocators of a session say. Those that do not count say nothing.
fn held(session: &Session, device: &Device) -> Vec<AllocatorMemory> {
    let mut places = vec![(AllocationDevice::CPU, 0)];
    places.extend(provider::memory(device));
    let kinds = [AllocatorType::Arena, AllocatorType::Device];
    let mut all: Vec<AllocatorMemory> = Vec::new();
    for (place, index) in places {
        let name = place.as_str().to_owned();
        let statistics = kinds.iter().find_map(|&kind| {
            let info = MemoryInfo::new(place.clone(), index as i32, kind, MemoryType::Default).ok()?;
            let found = raw::statistics(&Allocator::new(session, info).ok()?);
            (!found.is_empty()).then_some(found)
        });
        let number = |key: &str| -> u64 {
            let found = statistics.iter().flatten().find(|(known, _)| known == key);
            found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        if statistics.is_some() {
            all.push(AllocatorMemory { memory: name, bytes: number("TotalAllocated"), in_use: number("InUse") });
        }
    }
    all
}

// --- The types of the nodes in an ONNX file ---

/// Fields of ONNX's protocol buffers: model, graph, node.
const GRAPH_OF_MODEL: u64 = 7;
const NODE_OF_GRAPH: u64 = 1;
const TYPE_OF_NODE: u64 = 4;

/// The operators of the nodes; of a damaged file those before the damage.
fn operators_of(model: &[u8]) -> Vec<&str> {
    Fields(model)
        .with(GRAPH_OF_MODEL)
        .flat_map(|graph| Fields(graph).with(NODE_OF_GRAPH))
        .flat_map(|node| Fields(node).with(TYPE_OF_NODE))
        .filter_map(|kind| std::str::from_utf8(kind).ok())
        .collect()
}

/// The fields of a message: their numbers, and the bytes of those that have a length.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn with(self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.filter(move |(found, _)| *found == number).map(|(_, bytes)| bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let key = self.varint()?;
        let bytes = match key & 7 {
            0 => self.varint().map(|_| &[][..]),
            1 => self.take(8),
            2 => self.varint().and_then(|count| self.take(count)),
            5 => self.take(4),
            _ => None,
        }?;
        Some((key >> 3, bytes))
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
    fn the_nodes_of_a_file_are_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small/ar.fp32.plain.onnx");
        let bytes = std::fs::read(&path).unwrap();
        let operators = operators_of(&bytes);
        let count = |kind: &str| operators.iter().filter(|found| **found == kind).count();
        assert_eq!((count("MatMul"), count("Softmax"), count("Gather")), (13, 2, 1));
        assert_eq!(products_written(&path), 13);
        // Whatever is cut off, it ends.
        for end in 0..bytes.len().min(2000) {
            assert!(operators_of(&bytes[..end]).len() <= operators.len());
        }
        assert!(operators_of(&[0xff; 32]).is_empty());
        assert_eq!(products_written(Path::new("/nonexistent")), 0);

        let all = [assigned("XProvider", &[("Add", 1)]), assigned(CPU, &[("MatMul", 13), ("Add", 3)])];
        assert!(all_on_cpu(&path, &all));
        assert!(!all_on_cpu(&path, &[assigned("XProvider", &[("MatMul", 1)]), assigned(CPU, &[("MatMul", 12)])]));
        // Not recorded, but not on the CPU either.
        assert!(!all_on_cpu(&path, &[assigned(CPU, &[("MatMul", 12)])]));
    }

    #[test]
    fn a_report_says_what_fell_to_the_cpu() {
        let graph = |rest: Option<&str>, providers: &[Assigned]| GraphReport {
            graph: "g.onnx".into(),
            providers: providers.to_vec(),
            rest: rest.map(str::to_owned),
            memory: vec![AllocatorMemory { memory: "Cpu".into(), bytes: 2_000_000, in_use: 1_500_000 }],
            keys_in: None,
        };
        let cpu = assigned(CPU, &[("Shape", 2), ("Add", 1)]);
        let whole = graph(None, &[assigned("X", &[("MatMul", 4)]), cpu.clone()]);
        assert_eq!(
            whole.to_string(),
            "g.onnx: 4 nodes on X; 3 nodes on CPUExecutionProvider (Shape 2, Add 1); memory Cpu 2.0 MB, in use 1.5"
        );
        assert_eq!(whole.on_cpu(), Some(&cpu));
        let partly = graph(Some("X"), &[assigned("X", &[("Cast", 4)]), cpu.clone()]);
        assert!(partly.to_string().starts_with("g.onnx: all but these on X; 3 nodes on CPU"), "{partly}");
        assert!(graph(None, &[cpu]).to_string().starts_with("g.onnx: 3 nodes on CPUExecutionProvider; memory"));
        let kept = GraphReport { keys_in: Some("Cuda".into()), ..whole.clone() };
        assert!(kept.to_string().starts_with("g.onnx: keys and values in Cuda; 4 nodes on X; "), "{kept}");
        let report = Report {
            asked: Device::Auto,
            device: Device::Cpu,
            refused: vec!["device x: y".into()],
            graphs: vec![whole],
        };
        assert!(report.to_string().starts_with("runs on cpu (asked for auto)\n  not taken: device x: y\ng.onnx: "));
    }
}
