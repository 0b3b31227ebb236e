//! The report of a model: for each graph, the nodes that each execution provider took, and the memory that is held.

use std::fmt;

use super::facts::CPU_PROVIDER;
use super::name::Device;

/// Where the graphs of a model run; see [`Model::report`](crate::Model::report). `Display` writes a few lines for a person.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The requested device.
    pub asked: Device,
    /// The device that the model runs on. It differs from `asked` for `auto`, and after a fallback to the CPU.
    pub device: Device,
    /// One message for each device that was tried before and could not be used.
    pub refused: Vec<String>,
    /// All compiled graphs. The encoder is compiled when it is first used.
    pub graphs: Vec<GraphReport>,
}

/// Where one graph runs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GraphReport {
    /// Name of the graph's file.
    pub graph: String,
    /// Nodes by provider after the first optimizations, those of the CPU last. A provider may fuse its own nodes
    /// afterwards.
    pub providers: Vec<Assigned>,
    /// The provider of all nodes that are not listed, where ONNX Runtime did not record every node (WebGPU of 1.27 does
    /// not). Nodes on the CPU are always listed.
    pub rest: Option<String>,
    /// What the graph's allocators hold. Not included: weights mapped from their file, the KV caches of generations, and
    /// memory of providers without statistics.
    pub memory: Vec<AllocatorMemory>,
    /// Name of the memory that holds the KV cache: `Cuda`, `WebGPU_Buf` or `Cpu`. `None` before the first generation, and
    /// for every graph but `ar` of form `fixed`.
    pub kv_memory: Option<String>,
    /// Whether its steps are recorded and replayed by the device (CUDA graphs).
    pub replays: bool,
}

/// The nodes of a graph that one provider took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Assigned {
    /// ONNX Runtime's name of the execution provider.
    pub provider: String,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of nodes of each operator type, most frequent first.
    pub operators: Vec<(String, usize)>,
}

/// Memory that an allocator holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AllocatorMemory {
    /// ONNX Runtime's name of the memory: `Cpu`, `Cuda`, `WebGPU_Buffer` …
    pub memory: String,
    /// Bytes taken from the system.
    pub bytes: u64,
    /// The part of `bytes` that is in use.
    pub in_use: u64,
}

impl GraphReport {
    /// The nodes on the CPU. For a model on another device: the nodes that its provider did not take.
    #[must_use]
    pub fn on_cpu(&self) -> Option<&Assigned> {
        self.providers.iter().find(|assigned| assigned.provider == CPU_PROVIDER)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runs on {}", self.device)?;
        if self.asked != self.device {
            write!(f, " (asked for {})", self.asked)?;
        }
        self.refused.iter().try_for_each(|why| write!(f, "\n  not used: {why}"))?;
        self.graphs.iter().try_for_each(|graph| write!(f, "\n{graph}"))
    }
}

impl fmt::Display for GraphReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.graph)?;
        let mut parts = Vec::new();
        parts.extend(self.kv_memory.iter().map(|memory| format!("KV cache in {memory}")));
        parts.extend(self.replays.then(|| "steps are replayed".to_owned()));
        if let Some(provider) = &self.rest {
            parts.push(format!("all other nodes on {provider}"));
        }
        for Assigned { provider, nodes, operators } in &self.providers {
            if Some(provider) == self.rest.as_ref() {
                continue;
            }
            let mut part = format!("{nodes} nodes on {provider}");
            // On another device, the types that its provider did not take are of interest.
            if provider == CPU_PROVIDER && (self.providers.len() > 1 || self.rest.is_some()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(provider: &str, operators: &[(&str, usize)]) -> Assigned {
        let operators: Vec<_> = operators.iter().map(|&(kind, count)| (kind.to_owned(), count)).collect();
        Assigned { provider: provider.into(), nodes: operators.iter().map(|(_, count)| count).sum(), operators }
    }

    #[test]
    fn report_text_names_the_nodes_left_on_the_cpu() {
        let graph = |rest: Option<&str>, providers: &[Assigned]| GraphReport {
            graph: "g.onnx".into(),
            providers: providers.to_vec(),
            rest: rest.map(str::to_owned),
            memory: vec![AllocatorMemory { memory: "Cpu".into(), bytes: 2_000_000, in_use: 1_500_000 }],
            kv_memory: None,
            replays: false,
        };
        let cpu = assigned(CPU_PROVIDER, &[("Shape", 2), ("Add", 1)]);
        let whole = graph(None, &[assigned("X", &[("MatMul", 4)]), cpu.clone()]);
        assert_eq!(
            whole.to_string(),
            "g.onnx: 4 nodes on X; 3 nodes on CPUExecutionProvider (Shape 2, Add 1); memory Cpu 2.0 MB, in use 1.5"
        );
        assert_eq!(whole.on_cpu(), Some(&cpu));
        let partly = graph(Some("X"), &[assigned("X", &[("Cast", 4)]), cpu.clone()]);
        assert!(partly.to_string().starts_with("g.onnx: all other nodes on X; 3 nodes on CPU"), "{partly}");
        assert!(graph(None, &[cpu]).to_string().starts_with("g.onnx: 3 nodes on CPUExecutionProvider; memory"));
        let kept = GraphReport { kv_memory: Some("Cuda".into()), ..whole.clone() };
        assert!(kept.to_string().starts_with("g.onnx: KV cache in Cuda; 4 nodes on X; "), "{kept}");
        let report = Report {
            asked: Device::Auto,
            device: Device::Cpu,
            refused: vec!["device x: y".into()],
            graphs: vec![whole],
        };
        assert!(report.to_string().starts_with("runs on cpu (asked for auto)\n  not used: device x: y\ng.onnx: "));
    }
}
