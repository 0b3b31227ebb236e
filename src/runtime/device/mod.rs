//! Devices by name: what a person asks for, in words that do not depend on ONNX Runtime.

mod list;
pub(in crate::runtime) mod provider;
pub(in crate::runtime) mod report;

pub use list::{DeviceInfo, devices};
pub(crate) use provider::{candidates, has_memory};
pub use report::{AllocatorMemory, Assigned, GraphReport, Report};

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::support::error::{Error, Result};

/// Where graphs run. Written and read as text: `cuda:1`.
///
/// | text | runs on |
/// |---|---|
/// | `cpu` | the processor; ONNX Runtime's own provider, the reference for all others |
/// | `auto` | the best of those below that works here, else `cpu`; the log says what was tried |
/// | `cuda[:i]`, `tensorrt[:i]` | NVIDIA's card number i |
/// | `directml[:i]` | any card under Windows |
/// | `coreml` | Apple's |
/// | `webgpu` | any card, by Vulkan, Direct3D 12 or Metal |
/// | `openvino[:CPU\|GPU\|NPU]` | Intel's; the CPU when nothing follows |
/// | `migraphx[:i]` | AMD's card number i |
/// | `plugin:PATH[:device]` | what a provider library offers: its first device, the one with that number, the first of that kind (`CPU`, `GPU`, `NPU`) or the one that the provider calls so |
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The best that works here.
    Auto,
    /// ONNX Runtime's own CPU provider.
    #[default]
    Cpu,
    /// NVIDIA, by CUDA.
    Cuda {
        /// Which card.
        index: u32,
    },
    /// NVIDIA, by TensorRT; what that leaves runs by CUDA.
    TensorRt {
        /// Which card.
        index: u32,
    },
    /// Windows, by Direct3D 12.
    DirectMl {
        /// Which adapter.
        index: u32,
    },
    /// Apple.
    CoreMl,
    /// Any card, by WebGPU.
    WebGpu,
    /// Intel, by OpenVINO.
    OpenVino {
        /// Which of its devices.
        kind: DeviceKind,
    },
    /// AMD, by MIGraphX.
    MiGraphX {
        /// Which card.
        index: u32,
    },
    /// A provider library that was made apart from ONNX Runtime.
    Plugin {
        /// Its file.
        path: PathBuf,
        /// Which of its devices; none takes the first.
        device: Option<String>,
    },
}

/// What sort of processor a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A general processor.
    Cpu,
    /// A graphics card.
    Gpu,
    /// A processor for neural networks.
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
    /// Its first word, which is what a bundle's manifest lists: `cuda` of `cuda:1`.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda { .. } => "cuda",
            Self::TensorRt { .. } => "tensorrt",
            Self::DirectMl { .. } => "directml",
            Self::CoreMl => "coreml",
            Self::WebGpu => "webgpu",
            Self::OpenVino { .. } => "openvino",
            Self::MiGraphX { .. } => "migraphx",
            Self::Plugin { .. } => "plugin",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family())?;
        match self {
            Self::Cuda { index } | Self::TensorRt { index } | Self::DirectMl { index } | Self::MiGraphX { index } => {
                write!(f, ":{index}")
            }
            Self::OpenVino { kind } => write!(f, ":{kind}"),
            Self::Plugin { path, device } => {
                write!(f, ":{}", path.display())?;
                device.as_ref().map_or(Ok(()), |device| write!(f, ":{device}"))
            }
            _ => Ok(()),
        }
    }
}

const KNOWN: &str = "auto, cpu, cuda[:i], tensorrt[:i], directml[:i], coreml, webgpu, openvino[:CPU|GPU|NPU], \
                     migraphx[:i], plugin:PATH[:device]";

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = |why: &str| Error::Device(format!("device \"{text}\" is unknown{why}; there are: {KNOWN}"));
        if text.contains('\0') {
            return Err(unknown(" (it has a zero byte)"));
        }
        let (family, rest) = match text.split_once(':') {
            Some((family, rest)) => (family, Some(rest)),
            None => (text, None),
        };
        let index = || match rest {
            None => Ok(0),
            // ONNX Runtime's own type is an int.
            Some(rest) => rest
                .parse::<u32>()
                .ok()
                .filter(|&index| index <= i32::MAX as u32 && rest.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| unknown(&format!(" (\"{rest}\" is no number of a card)"))),
        };
        let alone = |device: Self| match rest {
            None => Ok(device),
            Some(_) => Err(unknown(&format!(" (nothing follows {family})"))),
        };
        match family {
            "auto" => alone(Self::Auto),
            "cpu" => alone(Self::Cpu),
            "cuda" => Ok(Self::Cuda { index: index()? }),
            "tensorrt" => Ok(Self::TensorRt { index: index()? }),
            "directml" => Ok(Self::DirectMl { index: index()? }),
            "coreml" => alone(Self::CoreMl),
            "webgpu" => alone(Self::WebGpu),
            "openvino" => match rest {
                None | Some("CPU") => Ok(Self::OpenVino { kind: DeviceKind::Cpu }),
                Some("GPU") => Ok(Self::OpenVino { kind: DeviceKind::Gpu }),
                Some("NPU") => Ok(Self::OpenVino { kind: DeviceKind::Npu }),
                Some(_) => Err(unknown(" (after openvino come CPU, GPU or NPU)")),
            },
            "migraphx" => Ok(Self::MiGraphX { index: index()? }),
            "plugin" => match rest {
                Some(rest) if !rest.is_empty() => {
                    let (path, device) = split_plugin(rest);
                    Ok(Self::Plugin { path: path.into(), device: device.map(str::to_owned) })
                }
                _ => Err(unknown(" (after plugin: comes the path of a library)")),
            },
            _ => Err(unknown("")),
        }
    }
}

/// The path and the device of `PATH[:device]`. A path may hold colons itself (`C:\...`): what follows the last one is
/// a device when it has no separator of paths, unless the whole is a file that is there.
fn split_plugin(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((path, device))
            if path.len() > 1 && !device.is_empty() && !device.contains(['/', '\\']) && !Path::new(text).is_file() =>
        {
            (path, Some(device))
        }
        _ => (text, None),
    }
}

/// What is handed on to the provider of a device, in its own words: `key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct DeviceOptions(Vec<(String, String)>);

impl DeviceOptions {
    /// Sets an option; an earlier value of the same key is replaced. Whether the provider knows the key is seen when a
    /// model is opened, as far as the provider tells.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the key is empty, or one of them has a zero byte.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if key.is_empty() || key.contains('\0') || value.contains('\0') {
            let text = format!("device option {key:?}={value:?}: a key must not be empty, and neither has a zero byte");
            return Err(Error::Invalid(text));
        }
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// All of them, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_written() {
        for (text, written) in [
            ("auto", "auto"),
            ("cpu", "cpu"),
            ("cuda", "cuda:0"),
            ("cuda:3", "cuda:3"),
            ("tensorrt:1", "tensorrt:1"),
            ("directml", "directml:0"),
            ("coreml", "coreml"),
            ("webgpu", "webgpu"),
            ("openvino", "openvino:CPU"),
            ("openvino:NPU", "openvino:NPU"),
            ("migraphx:0", "migraphx:0"),
            ("plugin:/a/b.so", "plugin:/a/b.so"),
            ("plugin:/a/b.so:GPU", "plugin:/a/b.so:GPU"),
            (r"plugin:C:\a\b.dll", r"plugin:C:\a\b.dll"),
            (r"plugin:C:\a\b.dll:1", r"plugin:C:\a\b.dll:1"),
        ] {
            let device: Device = text.parse().unwrap();
            assert_eq!(device.to_string(), written);
            assert_eq!(device, written.parse().unwrap(), "{text}");
        }
        let plugin = Device::Plugin { path: r"C:\a\b.dll".into(), device: Some("1".into()) };
        assert_eq!(plugin, r"plugin:C:\a\b.dll:1".parse().unwrap());
        assert_eq!(Device::default().family(), "cpu");
    }

    #[test]
    fn what_is_no_device_is_told_with_all_that_are() {
        for text in [
            "",
            "abacus",
            "CPU",
            "cpu:0",
            "auto:1",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "cuda:+1",
            "cuda:4294967295",
            "openvino:TPU",
            "coreml:0",
            "plugin",
            "plugin:",
            "cuda:0\0",
        ] {
            let error = text.parse::<Device>().unwrap_err();
            let said = error.to_string();
            assert!(matches!(error, Error::Device(_)) && said.contains("openvino[:CPU|GPU|NPU]"), "{text:?}: {said}");
        }
    }

    #[test]
    fn options_are_set_once_each() {
        let mut options = DeviceOptions::default();
        options.set("a", "1").unwrap();
        options.set("b", "").unwrap();
        options.set("a", "2").unwrap();
        assert_eq!(options.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "")]);
        assert_eq!((options.get("a"), options.get("c")), (Some("2"), None));
        assert!(options.set("", "1").is_err() && options.set("k", "\0").is_err() && !options.is_empty());
    }
}
