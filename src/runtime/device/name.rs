//! What a device is called: the public types. Everything that is known about a family of devices is in
//! [`facts`](super::facts).

use std::fmt;
use std::path::PathBuf;

use crate::support::error::{Error, Result};

/// The device on which graphs run. Written and read as text: `cuda:1`.
///
/// Each device stands for an ONNX Runtime *execution provider* (provider, for short), which computes there.
///
/// | text | runs on |
/// |---|---|
/// | `cpu` | the CPU, by ONNX Runtime's own provider: the reference for all others |
/// | `auto` | the first available of CUDA, MIGraphX, DirectML, Core ML, OpenVINO on an Intel GPU, WebGPU; else `cpu`. The log names each device that was tried |
/// | `cuda[:i]`, `tensorrt[:i]` | NVIDIA GPU number i |
/// | `directml[:i]` | any GPU, on Windows |
/// | `coreml` | Apple devices |
/// | `webgpu` | any GPU, by Vulkan, Direct3D 12 or Metal |
/// | `openvino[:CPU\|GPU\|NPU]` | Intel devices; the CPU by default |
/// | `migraphx[:i]` | AMD GPU number i |
/// | `plugin:PATH[:device]` | a device of a provider library: its first by default, else the one with that number, the first of that kind (`CPU`, `GPU`, `NPU`), or the one with that name in the provider's metadata |
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The best device that works on this machine.
    Auto,
    /// ONNX Runtime's own CPU provider.
    #[default]
    Cpu,
    /// NVIDIA GPU, by CUDA.
    Cuda {
        /// Number of the GPU.
        index: u32,
    },
    /// NVIDIA GPU, by TensorRT; nodes that TensorRT does not take run by CUDA.
    TensorRt {
        /// Number of the GPU.
        index: u32,
    },
    /// Direct3D 12 adapter, on Windows.
    DirectMl {
        /// Number of the adapter.
        index: u32,
    },
    /// Apple devices, by Core ML.
    CoreMl,
    /// Any GPU, by WebGPU.
    WebGpu,
    /// Intel device, by OpenVINO.
    OpenVino {
        /// Which of OpenVINO's devices.
        kind: DeviceKind,
    },
    /// AMD GPU, by MIGraphX.
    MiGraphX {
        /// Number of the GPU.
        index: u32,
    },
    /// A device of a provider library that is not part of ONNX Runtime.
    Plugin {
        /// The library file.
        path: PathBuf,
        /// Which of its devices; `None` is the first.
        device: Option<String>,
    },
}

/// Kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A general-purpose processor.
    Cpu,
    /// A graphics processor.
    Gpu,
    /// A neural processing unit.
    Npu,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::Npu => "NPU",
        })
    }
}

impl Device {
    /// The same device with an absolute path: graphs that are compiled later find the library after the working directory
    /// has changed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when there is no working directory.
    pub(crate) fn with_absolute_path(&self) -> Result<Self> {
        let Self::Plugin { path, device } = self else { return Ok(self.clone()) };
        let path = std::path::absolute(path).map_err(|error| Error::reading(path, error))?;
        Ok(Self::Plugin { path, device: device.clone() })
    }

    /// Number of the GPU or adapter; 0 for a device that has no number.
    pub(in crate::runtime) fn index(&self) -> u32 {
        match self {
            Self::Cuda { index } | Self::TensorRt { index } | Self::DirectMl { index } | Self::MiGraphX { index } => {
                *index
            }
            Self::Auto | Self::Cpu | Self::CoreMl | Self::WebGpu | Self::OpenVino { .. } | Self::Plugin { .. } => 0,
        }
    }
}
