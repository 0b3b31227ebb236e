//! OpenVINO: part of some builds of ONNX Runtime, or a provider library. Its provider ignores options that it does not
//! know, and computes in bf16 or f16 by default.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;
use serde_json::{Map, Value};

use super::diagnose::{file_name, is_built_in, refused};
use super::facts::OPENVINO_PROVIDER;
use super::name::{Device, DeviceKind};
use super::options::DeviceOptions;
use super::plugin::{self, NumberedOffer};
use crate::runtime::{library, sys};
use crate::support::error::{Error, Result};
use crate::support::log;
use crate::support::sync::lock;

/// The environment variable that names OpenVINO's provider library.
const VARIABLE: &str = "DETAILFLOW_OPENVINO";

/// The provider that is part of ONNX Runtime.
pub(super) fn built_in(kind: DeviceKind, config: String) -> ExecutionProviderDispatch {
    ep::OpenVINO::default().with_device_type(kind).with_arbitrary_config("load_config", config).build()
}

/// Attaches the device of `kind` of OpenVINO's provider library.
pub(super) fn attach_library(
    builder: SessionBuilder,
    environment: &Environment,
    device: &Device,
    kind: DeviceKind,
    config: &str,
) -> Result<SessionBuilder> {
    let path = find(device)?;
    let (offers, listed) = plugin::register(environment, device, &path)?;
    // The library also offers compositions of its devices, under other provider names.
    let own = |(_, offer): &&NumberedOffer| offer.provider == OPENVINO_PROVIDER && offer.hardware.kind == kind;
    let chosen = offers.iter().find(own).ok_or_else(|| {
        let offered = plugin::summary(&offers);
        refused(device, format!("{} finds no {kind} that it can use; it offers: {offered}", path.display()))
    })?;
    plugin::attach_offer(builder, environment, device, chosen, [("load_config", config)].into_iter(), listed)
}

/// The provider's configuration as JSON. The option `precision` is ours; upper-case options are OpenVINO's own properties
/// and are passed on unchanged; every other key is refused, since the provider would ignore it without a message.
///
/// # Errors
/// [`Error::Invalid`] for an unknown key or a wrong value.
pub(super) fn config(kind: DeviceKind, options: &DeviceOptions, threads: usize) -> Result<String> {
    let refuse = |key: &str, value: &str, why: &str| Err(Error::Invalid(format!("device option {key}={value}: {why}")));
    let mut all: Map<String, Value> = Map::new();
    if let Some(given) = options.get("load_config") {
        all = match serde_json::from_str(given) {
            Ok(all) => all,
            Err(error) => return refuse("load_config", given, &format!("not a JSON object: {error}")),
        };
    }
    let name = kind.to_string();
    let own = all.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(own) = own else {
        return refuse("load_config", "", &format!("the value of {name} is not a JSON object"));
    };
    for (key, value) in options.iter().filter(|(key, _)| *key != "load_config") {
        match key {
            "precision" if ["f32", "bf16", "f16"].contains(&value) => {
                own.insert("INFERENCE_PRECISION_HINT".into(), value.into());
            }
            "precision" => return refuse(key, value, "allowed values: f32, bf16 or f16"),
            _ if key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') => {
                own.insert(key.to_owned(), value.into());
            }
            _ => {
                let why = "unknown option; openvino takes precision (f32, bf16, f16), load_config (JSON), and OpenVINO's \
                           own properties, which are upper-case (capitals, digits, underscores)";
                return refuse(key, value, why);
            }
        }
    }
    // By default it would compute in bf16 or f16. An NPU has no f32.
    if kind != DeviceKind::Npu {
        own.entry("INFERENCE_PRECISION_HINT").or_insert_with(|| "f32".into());
    }
    // The fused attention of OpenVINO 2026.4.1 gives wrong logits for several queries at 16 keys and more, with dynamic
    // shapes. tests/devices.rs generates enough tokens to show it.
    if kind == DeviceKind::Cpu {
        own.entry("SNIPPETS_MODE").or_insert_with(|| "DISABLE".into());
    }
    if kind == DeviceKind::Cpu && threads > 0 {
        own.entry("INFERENCE_NUM_THREADS").or_insert_with(|| threads.to_string().into());
    }
    Ok(Value::Object(all).to_string())
}

/// Finds OpenVINO's provider library: the file that the environment variable names; else beside libonnxruntime, or where
/// pip puts it relative to that; else in `runtime/` beside or above our library or executable, or in `runtime/openvino/`.
pub(super) fn find(device: &Device) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        // A relative path means the working directory of the first use, also after that has changed.
        static FIRST: Mutex<Option<(OsString, PathBuf)>> = Mutex::new(None);
        let mut first = lock(&FIRST);
        if let Some((_, known)) = first.as_ref().filter(|(named, _)| *named == path) {
            return Ok(known.clone());
        }
        let named = path;
        let path = std::path::absolute(&named).unwrap_or_else(|_| PathBuf::from(&named));
        if !path.is_file() {
            return Err(refused(device, format!("{VARIABLE} names {}, which is not a file", path.display())));
        }
        *first = Some((named, path.clone()));
        return Ok(path);
    }
    let library = library::library()?;
    let name = file_name("onnxruntime_providers_openvino_plugin");
    let beside = library.path.parent().unwrap_or(Path::new(""));
    let mut folders = vec![beside.to_owned(), beside.join("openvino"), beside.join("../../onnxruntime_ep_openvino")];
    for anchor in sys::anchors() {
        for runtime in [Some(&*anchor), anchor.parent()].into_iter().flatten().map(|folder| folder.join("runtime")) {
            folders.extend([runtime.clone(), runtime.join("openvino")]);
        }
    }
    if let Some(found) = folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let tried: Vec<String> = folders.iter().map(|folder| folder.join(&name).display().to_string()).collect();
    let why = format!(
        "the ONNX Runtime in use, {} ({}), has no {OPENVINO_PROVIDER}, and OpenVINO's provider library was not found. To \
         fix this, install the pip package onnxruntime-ep-openvino and set {VARIABLE} to its {name}. Tried:\n  {VARIABLE} \
         (not set)\n  {}",
        library.path.display(),
        library.version,
        tried.join("\n  ")
    );
    Err(refused(device, why))
}

/// Registers OpenVINO's provider library if it is found, so that its devices are listed.
pub(super) fn load(environment: &Environment) {
    let device = Device::OpenVino { kind: DeviceKind::Cpu };
    if is_built_in(&device).unwrap_or(true) {
        return;
    }
    let loaded = find(&device).and_then(|path| plugin::register(environment, &device, &path).map(drop));
    if let Err(error) = loaded {
        log::info(|| error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> DeviceOptions {
        let mut options = DeviceOptions::default();
        pairs.iter().for_each(|(key, value)| options.set(key, value).unwrap());
        options
    }

    #[test]
    fn openvino_config_asks_for_f32_unless_the_caller_chooses() {
        let config = |kind, pairs: &[_], threads| config(kind, &options(pairs), threads).unwrap();
        assert_eq!(
            config(DeviceKind::Cpu, &[], 0),
            r#"{"CPU":{"INFERENCE_PRECISION_HINT":"f32","SNIPPETS_MODE":"DISABLE"}}"#
        );
        assert_eq!(
            config(DeviceKind::Cpu, &[("precision", "bf16"), ("NUM_STREAMS", "1")], 2),
            r#"{"CPU":{"INFERENCE_NUM_THREADS":"2","INFERENCE_PRECISION_HINT":"bf16","NUM_STREAMS":"1","SNIPPETS_MODE":"DISABLE"}}"#
        );
        assert_eq!(config(DeviceKind::Gpu, &[], 2), r#"{"GPU":{"INFERENCE_PRECISION_HINT":"f32"}}"#);
        assert_eq!(config(DeviceKind::Npu, &[], 2), r#"{"NPU":{}}"#);
        // The caller's choice wins.
        let given =
            [("load_config", r#"{"CPU":{"INFERENCE_PRECISION_HINT":"bf16","SNIPPETS_MODE":"ENABLE"},"GPU":{}}"#)];
        assert_eq!(config(DeviceKind::Cpu, &given, 0), given[0].1);
    }

    #[test]
    fn openvino_option_that_the_provider_would_ignore_is_refused() {
        for (key, value) in [
            ("precision", "FP32"),
            ("num_of_threads", "2"),
            ("load_config", "[]"),
            ("load_config", r#"{"CPU":1}"#),
            ("", "1"),
        ] {
            let mut wrong = DeviceOptions::default();
            let set = wrong.set(key, value);
            let refused = set.and_then(|()| config(DeviceKind::Cpu, &wrong, 0).map(drop));
            assert!(matches!(refused, Err(Error::Invalid(_))), "{key}={value}");
        }
    }
}
