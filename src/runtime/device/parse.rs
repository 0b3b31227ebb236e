//! Devices as text, by the words in [`FACTS`].

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::facts::{FACTS, Selector};
use super::name::{Device, DeviceKind};
use crate::support::error::{Error, Result};

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.facts();
        f.write_str(facts.word)?;
        match self {
            Self::OpenVino { kind } => write!(f, ":{kind}"),
            Self::Plugin { path, device } => {
                write!(f, ":{}", path.display())?;
                device.as_ref().map_or(Ok(()), |device| write!(f, ":{device}"))
            }
            _ if matches!(facts.selector, Selector::Index(_)) => write!(f, ":{}", self.index()),
            _ => Ok(()),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// # Errors
    /// [`Error::Device`] with the allowed forms, when `text` is none of them.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = |why: &str| Error::Device(format!("device \"{text}\" is unknown{why}; allowed: {}", allowed()));
        if text.contains('\0') {
            return Err(unknown(" (it contains a zero byte)"));
        }
        let (word, rest) = match text.split_once(':') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        let facts = FACTS.iter().find(|facts| facts.word == word).ok_or_else(|| unknown(""))?;
        match (&facts.selector, rest) {
            (Selector::Nothing(make), None) => Ok(make()),
            (Selector::Nothing(_), Some(_)) => Err(unknown(&format!(" (nothing may follow {word})"))),
            (Selector::Index(make), None) => Ok(make(0)),
            (Selector::Index(make), Some(rest)) => match index(rest) {
                Some(index) => Ok(make(index)),
                None => Err(unknown(&format!(" (\"{rest}\" is not a device number)"))),
            },
            (Selector::Kind(make), rest) => match rest.unwrap_or("CPU") {
                "CPU" => Ok(make(DeviceKind::Cpu)),
                "GPU" => Ok(make(DeviceKind::Gpu)),
                "NPU" => Ok(make(DeviceKind::Npu)),
                _ => Err(unknown(&format!(" (CPU, GPU or NPU may follow {word}:)"))),
            },
            (Selector::Library, Some(rest)) if !rest.is_empty() => {
                let (path, device) = split_plugin(rest);
                Ok(Self::Plugin { path: path.into(), device: device.map(str::to_owned) })
            }
            (Selector::Library, _) => Err(unknown(&format!(" (the path of a library must follow {word}:)"))),
        }
    }
}

fn allowed() -> String {
    FACTS.iter().map(super::facts::Facts::usage).collect::<Vec<_>>().join(", ")
}

/// Digits alone, at most what ONNX Runtime's `int` holds.
fn index(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<u32>().ok().filter(|&index| index <= i32::MAX as u32 && digits)
}

/// Splits `PATH[:device]`. A path may contain colons itself (`C:\...`): the part after the last one is a device if it
/// has no path separator, unless the whole text is an existing file.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_text_parsed_and_written_is_canonical() {
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
    fn unknown_device_text_is_refused_with_the_allowed_forms() {
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
            "openvino:",
            "openvino:TPU",
            "coreml:0",
            "plugin",
            "plugin:",
            "cuda:0\0",
        ] {
            let error = text.parse::<Device>().unwrap_err();
            let said = error.to_string();
            let all = "auto, cpu, cuda[:i], tensorrt[:i], migraphx[:i], directml[:i], coreml, webgpu, \
                       openvino[:CPU|GPU|NPU], plugin:PATH[:device]";
            assert!(matches!(error, Error::Device(_)) && said.ends_with(all), "{text:?}: {said}");
        }
    }
}
