//! Everything that differs between devices: one row per family. A new device is a variant of [`Device`] and a row here.

use ort::memory::AllocationDevice;

use super::built_in::{self, Build, MIGRAPHX_FLAGS};
use super::name::{Device, DeviceKind};
use crate::runtime::context::Context;

/// What is known about a family of devices.
pub(in crate::runtime) struct Facts {
    /// First word of the device's text, which also names the family in a bundle's manifest.
    pub word: &'static str,
    /// What follows the word.
    pub selector: Selector,
    /// How its execution providers are attached to a session.
    pub connection: Connection,
    /// ONNX Runtime's names of the providers that it needs, most preferred first. Empty when only the library that is
    /// loaded knows.
    pub providers: &'static [&'static str],
    /// Kind of processor that the provider is made for, where ONNX Runtime lists no device of the provider. `None`: such
    /// a provider is not listed.
    pub unlisted_kind: Option<DeviceKind>,
    /// The family has one device, however many ONNX Runtime lists for the provider.
    pub single: bool,
    /// The memory of the device, by the name of ONNX Runtime's allocator; `None` when graphs take and give CPU memory.
    pub memory: Option<AllocationDevice<'static>>,
    /// Memory of the CPU that the device reads and writes without a copy, by the name of ONNX Runtime's allocator. A device
    /// that has it can replay steps of form `fixed`.
    pub seen: Option<AllocationDevice<'static>>,
    /// Whether ONNX Runtime may plan memory ahead of a run.
    pub memory_pattern: bool,
    /// What its sessions share.
    pub context: Context,
    /// When a variant of form `native` (our own operators) may run there.
    pub native: Choice,
    /// When a variant of form `fixed` (KV cache in place) may run there.
    pub fixed: Choice,
    /// Which of the suitable variants of a bundle is preferred.
    pub preference: Preference,
    /// Options that are passed to the provider.
    pub options: Options,
    /// Rank for `auto`; `None` when it is never tried.
    pub auto: Option<Auto>,
    /// Where to get an ONNX Runtime that has the provider.
    pub package: &'static str,
    /// Files beside libonnxruntime that the provider needs, by the last part of their names.
    pub files: &'static [&'static str],
    /// Words in an error of the provider, and the remedy for it.
    pub remedies: &'static [(&'static str, &'static str)],
}

/// What follows the first word of a device's text, and how the device is made of it.
pub(in crate::runtime) enum Selector {
    Nothing(fn() -> Device),
    /// `[:i]`, 0 by default.
    Index(fn(u32) -> Device),
    /// `[:CPU|GPU|NPU]`, the CPU by default.
    Kind(fn(DeviceKind) -> Device),
    /// `:PATH[:device]`.
    Library,
}

/// How a provider is attached to a session.
pub(in crate::runtime) enum Connection {
    /// `auto`: replaced by another device before a session is made.
    Resolved,
    /// Always part of ONNX Runtime.
    Always(Build),
    /// Part of ONNX Runtime if it was built so.
    BuiltIn(Build),
    /// OpenVINO: part of ONNX Runtime, or a provider library.
    OpenVino,
    /// A provider library that the caller names.
    Plugin,
}

/// When a form may be chosen for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Choice {
    /// By itself.
    Automatic,
    /// Only when the caller asks for the form.
    Named,
    Never,
}

/// Which variant is preferred among those that suit a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Preference {
    /// The first one in the bundle. A variant for any device suits as well as one that names this device.
    BundleOrder,
    /// One that names the device before one for any device; then fp16, other floats, integers (integer GEMMs are seldom
    /// available there and fall back to the CPU); then form `fixed`, whose KV cache stays on the device.
    Floats,
}

/// Options that a provider takes.
pub(in crate::runtime) enum Options {
    None,
    /// Passed as they are; the provider checks them.
    Any,
    /// Only these, each 0 or 1.
    Flags(&'static [&'static str]),
}

/// How `auto` tries a device.
pub(in crate::runtime) struct Auto {
    /// Lower ranks are tried first.
    pub rank: u8,
    pub device: fn() -> Device,
    /// The hardware that must be there.
    pub hardware: RequiredHardware,
}

/// Hardware that `auto` looks for before it tries a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum RequiredHardware {
    /// The provider finds out.
    Unchecked,
    /// A GPU that ONNX Runtime lists, of any vendor: WebGPU would otherwise run on a slow software emulation.
    AnyGpu,
    /// A GPU of the vendor with this PCI number.
    GpuOf(u32),
}

/// ONNX Runtime's name of its CPU provider.
pub(in crate::runtime) const CPU_PROVIDER: &str = "CPUExecutionProvider";
/// ONNX Runtime's name of the OpenVINO provider, built in or not.
pub(in crate::runtime) const OPENVINO_PROVIDER: &str = "OpenVINOExecutionProvider";

const INTEL: u32 = 0x8086;

/// What most rows share: a GPU with an index whose provider is part of some builds of ONNX Runtime.
const GPU: Facts = Facts {
    word: "",
    selector: Selector::Nothing(|| Device::Auto),
    connection: Connection::Resolved,
    providers: &[],
    unlisted_kind: Some(DeviceKind::Gpu),
    single: false,
    memory: None,
    seen: None,
    memory_pattern: true,
    context: Context::Own,
    native: Choice::Named,
    fixed: Choice::Never,
    preference: Preference::Floats,
    options: Options::Any,
    auto: None,
    package: "another build",
    files: &[],
    remedies: &[],
};

/// In the order in which error messages name them and [`devices`](super::list::devices) lists them.
pub(in crate::runtime) static FACTS: [Facts; 10] = [
    Facts {
        word: "auto",
        selector: Selector::Nothing(|| Device::Auto),
        connection: Connection::Resolved,
        unlisted_kind: None,
        ..GPU
    },
    Facts {
        word: "cpu",
        selector: Selector::Nothing(|| Device::Cpu),
        connection: Connection::Always(built_in::cpu),
        providers: &[CPU_PROVIDER],
        unlisted_kind: None,
        native: Choice::Automatic,
        fixed: Choice::Automatic,
        preference: Preference::BundleOrder,
        options: Options::None,
        auto: Some(Auto { rank: 6, device: || Device::Cpu, hardware: RequiredHardware::Unchecked }),
        ..GPU
    },
    Facts {
        word: "cuda",
        selector: Selector::Index(|index| Device::Cuda { index }),
        connection: Connection::BuiltIn(built_in::cuda),
        providers: &["CUDAExecutionProvider"],
        memory: Some(AllocationDevice::CUDA),
        seen: Some(AllocationDevice::CUDA_PINNED),
        context: Context::Recorded,
        fixed: Choice::Automatic,
        auto: Some(Auto { rank: 0, device: || Device::Cuda { index: 0 }, hardware: RequiredHardware::Unchecked }),
        package: "the pip package onnxruntime-gpu",
        files: &["shared", "cuda"],
        ..GPU
    },
    Facts {
        word: "tensorrt",
        selector: Selector::Index(|index| Device::TensorRt { index }),
        connection: Connection::BuiltIn(built_in::tensorrt),
        providers: &["TensorrtExecutionProvider", "CUDAExecutionProvider"],
        memory: Some(AllocationDevice::CUDA),
        // It records nothing itself, but allocates on the same card.
        context: Context::Recorded,
        // It is not known whether TensorRT, DirectML and MIGraphX write outputs in place.
        fixed: Choice::Named,
        package: "the pip package onnxruntime-gpu",
        files: &["shared", "cuda", "tensorrt"],
        ..GPU
    },
    Facts {
        word: "migraphx",
        selector: Selector::Index(|index| Device::MiGraphX { index }),
        connection: Connection::BuiltIn(built_in::migraphx),
        providers: &["MIGraphXExecutionProvider"],
        memory: Some(AllocationDevice::HIP),
        fixed: Choice::Named,
        options: Options::Flags(&MIGRAPHX_FLAGS),
        auto: Some(Auto { rank: 1, device: || Device::MiGraphX { index: 0 }, hardware: RequiredHardware::Unchecked }),
        package: "the pip package onnxruntime-migraphx (Linux)",
        files: &["shared", "migraphx"],
        ..GPU
    },
    Facts {
        word: "directml",
        selector: Selector::Index(|index| Device::DirectMl { index }),
        connection: Connection::BuiltIn(built_in::directml),
        providers: &["DmlExecutionProvider"],
        memory: Some(AllocationDevice::DIRECTML),
        // A requirement of DirectML.
        memory_pattern: false,
        fixed: Choice::Named,
        options: Options::None,
        auto: Some(Auto { rank: 2, device: || Device::DirectMl { index: 0 }, hardware: RequiredHardware::Unchecked }),
        package: "the pip package onnxruntime-directml (Windows)",
        ..GPU
    },
    Facts {
        word: "coreml",
        selector: Selector::Nothing(|| Device::CoreMl),
        connection: Connection::BuiltIn(built_in::coreml),
        providers: &["CoreMLExecutionProvider"],
        single: true,
        auto: Some(Auto { rank: 3, device: || Device::CoreMl, hardware: RequiredHardware::Unchecked }),
        package: "the pip package onnxruntime for macOS",
        ..GPU
    },
    Facts {
        word: "webgpu",
        selector: Selector::Nothing(|| Device::WebGpu),
        connection: Connection::BuiltIn(built_in::webgpu),
        providers: &["WebGpuExecutionProvider"],
        single: true,
        context: Context::Shared,
        memory: Some(AllocationDevice::WEBGPU_BUFFER),
        fixed: Choice::Automatic,
        auto: Some(Auto { rank: 5, device: || Device::WebGpu, hardware: RequiredHardware::AnyGpu }),
        package: "the pip package onnxruntime-webgpu",
        remedies: &[(
            "adapter",
            "on Linux, WebGPU needs libvulkan.so.1 (Debian: libvulkan1) and a Vulkan driver for the GPU, which \
             VK_ICD_FILENAMES can name",
        )],
        ..GPU
    },
    Facts {
        word: "openvino",
        selector: Selector::Kind(|kind| Device::OpenVino { kind }),
        connection: Connection::OpenVino,
        providers: &[OPENVINO_PROVIDER],
        unlisted_kind: None,
        // It has no memory of its own, and does not promise to write in place (its CPU device gave wrong logits).
        fixed: Choice::Never,
        auto: Some(Auto {
            rank: 4,
            device: || Device::OpenVino { kind: DeviceKind::Gpu },
            hardware: RequiredHardware::GpuOf(INTEL),
        }),
        ..GPU
    },
    Facts { word: "plugin", selector: Selector::Library, connection: Connection::Plugin, unlisted_kind: None, ..GPU },
];

impl Facts {
    /// The device of this family for `index`; a family without numbers has one device.
    pub fn device(&self, index: u32) -> Device {
        match self.selector {
            Selector::Nothing(make) => make(),
            Selector::Index(make) => make(index),
            Selector::Kind(make) => make(DeviceKind::Cpu),
            Selector::Library => Device::Plugin { path: Default::default(), device: None },
        }
    }

    /// The word with what may follow it.
    pub fn usage(&self) -> String {
        let rest = match self.selector {
            Selector::Nothing(_) => "",
            Selector::Index(_) => "[:i]",
            Selector::Kind(_) => "[:CPU|GPU|NPU]",
            Selector::Library => ":PATH[:device]",
        };
        format!("{}{rest}", self.word)
    }
}

impl Device {
    pub(in crate::runtime) fn facts(&self) -> &'static Facts {
        let variant = std::mem::discriminant(self);
        let row = FACTS.iter().find(|facts| std::mem::discriminant(&facts.device(0)) == variant);
        row.expect("a test holds the table to every variant")
    }

    /// First word of the device's text, which also names it in a bundle's manifest: `cuda` for `cuda:1`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.facts().word
    }

    /// What all sessions on the device share.
    pub(in crate::runtime) fn context(&self) -> Context {
        self.facts().context
    }

    /// Whether it can replay what it computed before.
    pub(crate) fn replays(&self) -> bool {
        self.facts().seen.is_some()
    }

    /// The memory of the device and its index; `None` when graphs take and give CPU memory.
    pub(in crate::runtime) fn memory(&self) -> Option<(AllocationDevice<'static>, u32)> {
        self.facts().memory.clone().map(|memory| (memory, self.index()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A variant without a row would panic; the match fails to compile when a variant is added.
    #[test]
    fn facts_of_every_device_are_its_own_row() {
        let all = [
            Device::Auto,
            Device::Cpu,
            Device::Cuda { index: 3 },
            Device::TensorRt { index: 3 },
            Device::DirectMl { index: 3 },
            Device::CoreMl,
            Device::WebGpu,
            Device::OpenVino { kind: DeviceKind::Npu },
            Device::MiGraphX { index: 3 },
            Device::Plugin { path: "/a".into(), device: None },
        ];
        let words: HashSet<&str> = all
            .iter()
            .map(|device| match device {
                Device::Auto => ("auto", device.family()),
                Device::Cpu => ("cpu", device.family()),
                Device::Cuda { .. } => ("cuda", device.family()),
                Device::TensorRt { .. } => ("tensorrt", device.family()),
                Device::DirectMl { .. } => ("directml", device.family()),
                Device::CoreMl => ("coreml", device.family()),
                Device::WebGpu => ("webgpu", device.family()),
                Device::OpenVino { .. } => ("openvino", device.family()),
                Device::MiGraphX { .. } => ("migraphx", device.family()),
                Device::Plugin { .. } => ("plugin", device.family()),
            })
            .inspect(|(wanted, found)| assert_eq!(wanted, found))
            .map(|(word, _)| word)
            .collect();
        assert_eq!(words.len(), FACTS.len());
    }

    #[test]
    fn auto_ranks_are_distinct_and_the_cpu_is_last() {
        let mut ranks: Vec<(u8, &str)> =
            FACTS.iter().filter_map(|facts| Some((facts.auto.as_ref()?.rank, facts.word))).collect();
        ranks.sort_unstable();
        let words: Vec<&str> = ranks.iter().map(|(_, word)| *word).collect();
        assert_eq!(words, ["cuda", "migraphx", "directml", "coreml", "openvino", "webgpu", "cpu"]);
        assert!(ranks.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    /// A recording of CUDA is broken off by whatever allocates on the card meanwhile.
    #[test]
    fn all_that_use_cuda_keep_away_from_recordings() {
        for facts in &FACTS {
            let uses_cuda = facts.providers.contains(&"CUDAExecutionProvider");
            assert_eq!(facts.context == Context::Recorded, uses_cuda, "{}", facts.word);
            assert!(facts.seen.is_none() || facts.context == Context::Recorded, "{} records", facts.word);
        }
    }

    #[test]
    fn fixed_form_is_automatic_only_where_it_was_verified() {
        let automatic: Vec<&str> =
            FACTS.iter().filter(|facts| facts.fixed == Choice::Automatic).map(|facts| facts.word).collect();
        assert_eq!(automatic, ["cpu", "cuda", "webgpu"]);
        assert!(
            FACTS.iter().all(|facts| facts.fixed == Choice::Never || facts.word == "cpu" || facts.memory.is_some())
        );
    }
}
