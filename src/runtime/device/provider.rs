//! From a device to the provider of ONNX Runtime that computes there: find it, hand it its options, and say what is
//! missing where it cannot be had.
//!
//! ONNX Runtime goes on without a provider that does not load, and providers ignore options that they do not know. So
//! everything is looked at before: whether the library was built with the provider, whether its files are there, whether
//! they load, and which device of it is meant.

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::memory::AllocationDevice;
use ort::session::builder::SessionBuilder;

use super::{Device, DeviceKind, DeviceOptions};
use crate::runtime::{library, raw, sys};
use crate::support::error::{Error, Result};
use crate::support::sync::lock;

/// The environment variable that names OpenVINO's provider library.
pub(in crate::runtime) const OPENVINO_VARIABLE: &str = "DETAILFLOW_OPENVINO";
/// What ONNX Runtime calls the OpenVINO provider, built in or not.
pub(in crate::runtime) const OPENVINO: &str = "OpenVINOExecutionProvider";

/// The providers that a device runs on, the first one first; a plugin names its own.
pub(in crate::runtime) fn providers(device: &Device) -> &'static [&'static str] {
    match device {
        Device::Auto | Device::Plugin { .. } => &[],
        Device::Cpu => &["CPUExecutionProvider"],
        Device::Cuda { .. } => &["CUDAExecutionProvider"],
        Device::TensorRt { .. } => &["TensorrtExecutionProvider", "CUDAExecutionProvider"],
        Device::DirectMl { .. } => &["DmlExecutionProvider"],
        Device::CoreMl => &["CoreMLExecutionProvider"],
        Device::WebGpu => &["WebGpuExecutionProvider"],
        Device::OpenVino { .. } => &[OPENVINO],
        Device::MiGraphX { .. } => &["MIGraphXExecutionProvider"],
    }
}

/// What ONNX Runtime calls the memory of a device, and which one it is; none where graphs take and give the memory of the
/// processor.
pub(in crate::runtime) fn memory(device: &Device) -> Option<(AllocationDevice<'static>, u32)> {
    match device {
        Device::Cuda { index } | Device::TensorRt { index } => Some((AllocationDevice::CUDA, *index)),
        Device::DirectMl { index } => Some((AllocationDevice::DIRECTML, *index)),
        Device::MiGraphX { index } => Some((AllocationDevice::HIP, *index)),
        Device::WebGpu => Some((AllocationDevice::WEBGPU_BUFFER, 0)),
        Device::Auto | Device::Cpu | Device::CoreMl | Device::OpenVino { .. } | Device::Plugin { .. } => None,
    }
}

/// Whether a device has memory of its own that ONNX Runtime hands out.
pub(crate) fn has_memory(device: &Device) -> bool {
    memory(device).is_some()
}

/// Where a library with the provider comes from.
fn source(device: &Device) -> &'static str {
    match device {
        Device::Cuda { .. } | Device::TensorRt { .. } => "the pip package onnxruntime-gpu",
        Device::DirectMl { .. } => "the pip package onnxruntime-directml (Windows)",
        Device::CoreMl => "the pip package onnxruntime for macOS",
        Device::WebGpu => "the pip package onnxruntime-webgpu",
        Device::MiGraphX { .. } => "the pip package onnxruntime-migraphx (Linux)",
        _ => "another build",
    }
}

/// The files that a provider which is no part of libonnxruntime itself comes in, by the middle of their names.
fn parts(device: &Device) -> &'static [&'static str] {
    match device {
        Device::Cuda { .. } => &["shared", "cuda"],
        Device::TensorRt { .. } => &["shared", "cuda", "tensorrt"],
        Device::MiGraphX { .. } => &["shared", "migraphx"],
        _ => &[],
    }
}

pub(in crate::runtime) fn refused(device: &Device, why: impl Display) -> Error {
    Error::Device(format!("device {device}: {}", why.to_string().trim_end()))
}

/// Tells the session to run on `device`, and on nothing else but the CPU for what is left over.
pub(in crate::runtime) fn attach(
    builder: SessionBuilder,
    environment: &Environment,
    device: &Device,
    options: &DeviceOptions,
    threads: usize,
) -> Result<SessionBuilder> {
    let no_options = || match options.iter().next() {
        Some((key, _)) => Err(Error::Invalid(format!("device {device} takes no options, but \"{key}\" is set"))),
        None => Ok(()),
    };
    match device {
        Device::Auto => Err(Error::Internal("auto is resolved before graphs are compiled".into())),
        Device::Cpu => {
            no_options()?;
            // Naming the CPU plainly would drop its arena.
            register(builder, device, [ep::CPU::default().with_arena_allocator(true).build()])
        }
        Device::Cuda { index } => {
            require(device)?;
            register(builder, device, [configured(cuda(*index), options).build()])
        }
        Device::TensorRt { index } => {
            require(device)?;
            let tensorrt = configured(ep::TensorRT::default().with_device_id(*index as i32), options);
            register(builder, device, [tensorrt.build(), cuda(*index).build()])
        }
        Device::DirectMl { index } => {
            no_options()?;
            require(device)?;
            // DirectML demands it.
            let builder = builder.with_memory_pattern(false).map_err(|error| refused(device, error.message()))?;
            register(builder, device, [ep::DirectML::default().with_device_id(*index as i32).build()])
        }
        Device::CoreMl => {
            require(device)?;
            register(builder, device, [configured(ep::CoreML::default(), options).build()])
        }
        Device::WebGpu => {
            require(device)?;
            register(builder, device, [configured(ep::WebGPU::default(), options).build()])
        }
        Device::MiGraphX { index } => {
            require(device)?;
            register(builder, device, [migraphx(*index, options)?.build()])
        }
        Device::OpenVino { kind } => openvino(builder, environment, device, *kind, options, threads),
        Device::Plugin { path, device: which } => {
            let (offers, held) = plugin(environment, device, path)?;
            let at = pick(&offers, which.as_deref()).ok_or_else(|| {
                let offered: Vec<String> = offers.iter().enumerate().map(|(at, (_, offer))| told(at, offer)).collect();
                let which = which.as_ref().map(|which| format!(" \"{which}\"")).unwrap_or_default();
                refused(device, format!("the library offers no device{which} here; it offers: {}", list(&offered)))
            })?;
            append(builder, environment, device, &offers[at], options.iter(), held)
        }
    }
}

fn register<const N: usize>(
    builder: SessionBuilder,
    device: &Device,
    providers: [ExecutionProviderDispatch; N],
) -> Result<SessionBuilder> {
    builder
        .with_execution_providers(providers.map(ExecutionProviderDispatch::error_on_failure))
        .map_err(|error| refused(device, explain(device, error.message())))
}

fn configured<P: ArbitrarilyConfigurableExecutionProvider>(provider: P, options: &DeviceOptions) -> P {
    options.iter().fold(provider, |provider, (key, value)| provider.with_arbitrary_config(key, value))
}

/// In f32 that is f32: TF32, which CUDA would take by itself, keeps 10 bits of 23.
fn cuda(index: u32) -> ep::CUDA {
    ep::CUDA::default().with_device_id(index as i32).with_tf32(false)
}

fn migraphx(index: u32, options: &DeviceOptions) -> Result<ep::MIGraphX> {
    let mut provider = ep::MIGraphX::default().with_device_id(index as i32);
    for (key, value) in options.iter() {
        let flag = || match value {
            "1" => Ok(true),
            "0" => Ok(false),
            _ => Err(Error::Invalid(format!("device option {key}={value}: it is 0 or 1"))),
        };
        provider = match key {
            "migraphx_fp16_enable" => provider.with_fp16(flag()?),
            "migraphx_fp8_enable" => provider.with_fp8(flag()?),
            "migraphx_int8_enable" => provider.with_int8(flag()?),
            "migraphx_exhaustive_tune" => provider.with_exhaustive_tune(flag()?),
            _ => {
                return Err(Error::Invalid(format!(
                    "migraphx has no device option \"{key}\"; it has: migraphx_fp16_enable, migraphx_fp8_enable, \
                     migraphx_int8_enable, migraphx_exhaustive_tune"
                )));
            }
        };
    }
    Ok(provider)
}

// --- What is there ---

/// Whether the library in use was built with the first provider of `device`.
pub(in crate::runtime) fn is_built_in(device: &Device) -> Result<bool> {
    let built_in = raw::available_providers().map_err(|error| refused(device, error.message()))?;
    Ok(providers(device).iter().all(|provider| built_in.iter().any(|name| name == provider)))
}

/// Sees to it that the provider of `device` is there, and names what is missing.
fn require(device: &Device) -> Result<()> {
    let library = library::library()?;
    let (path, version) = (library.path.display(), &library.version);
    let built_in = raw::available_providers().map_err(|error| refused(device, error.message()))?;
    if let Some(missing) = providers(device).iter().find(|provider| !built_in.iter().any(|name| name == *provider)) {
        let why = format!(
            "the ONNX Runtime in use, {path} ({version}), was built without {missing} (it has: {}). To mend it, take the \
             libonnxruntime of {} and name it with ORT_DYLIB_PATH",
            list(&built_in),
            source(device)
        );
        return Err(refused(device, why));
    }
    let folder = library.path.parent().unwrap_or(Path::new(""));
    let files = parts(device).iter().map(|part| folder.join(file_name(&format!("onnxruntime_providers_{part}"))));
    let files: Vec<PathBuf> = files.collect();
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        let why = format!(
            "{} is missing; it must lie beside {path} and be of the same version, {version} (both are in {})",
            missing.display(),
            source(device)
        );
        return Err(refused(device, why));
    }
    // ONNX Runtime says no more than that it did not load.
    match files.iter().find_map(|file| sys::load_failure(file).map(|failure| (file, failure))) {
        Some((file, failure)) => {
            let why = format!("{} does not load: {}", file.display(), explain(device, &failure));
            Err(refused(device, why))
        }
        None => Ok(()),
    }
}

/// What ONNX Runtime or the loader said, and what to do about it where that is known.
fn explain(device: &Device, said: &str) -> String {
    let said = said.trim();
    match remedy(device, said) {
        Some(remedy) => format!("{said} ({remedy})"),
        None => said.to_owned(),
    }
}

fn remedy(device: &Device, said: &str) -> Option<String> {
    let word = said.split([' ', ':', '"', '\'']).find(|word| word.contains(".so") || word.contains(".dll"));
    if let Some(file) = word.and_then(|word| word.rsplit(['/', '\\']).next()) {
        let version = file.rsplit(".so.").next().filter(|version| *version != file).unwrap_or_default();
        let is = |names: &[&str]| names.iter().any(|name| file.starts_with(name) || file.starts_with(&name[3..]));
        let found = if is(&["libcuda.so"]) {
            Some("it comes with NVIDIA's driver".to_owned())
        } else if is(&["libcudnn"]) {
            Some(format!("it is part of cuDNN {version}"))
        } else if is(&["libcudart", "libcublas", "libcurand", "libcufft", "libnvrtc", "libcusparse"]) {
            Some(format!("it is part of CUDA; this ONNX Runtime needs the version that has {file}"))
        } else if is(&["libnvinfer", "libnvonnxparser"]) {
            Some(format!("it is part of TensorRT {version}"))
        } else {
            None
        };
        if let Some(found) = found {
            return Some(format!("{found}; its folder must be in LD_LIBRARY_PATH, or PATH under Windows"));
        }
    }
    (*device == Device::WebGpu && said.contains("adapter")).then(|| {
        "under Linux it needs libvulkan.so.1 (Debian: libvulkan1) and a Vulkan driver of the card; VK_ICD_FILENAMES can \
         name one"
            .to_owned()
    })
}

fn file_name(stem: &str) -> String {
    format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => "nothing".to_owned(),
        _ => names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

// --- Provider libraries ---

/// A library that was registered, and which of the environment's offers are its own: they stay what they are.
struct Plugin {
    path: PathBuf,
    offers: Range<usize>,
}

/// Held while a library is registered and while ONNX Runtime's list of devices is read, which registering moves.
static PLUGINS: Mutex<Vec<Plugin>> = Mutex::new(Vec::new());

/// Keeps the list of devices as it is.
pub(in crate::runtime) struct Listed {
    plugins: MutexGuard<'static, Vec<Plugin>>,
}

impl Listed {
    pub fn new() -> Self {
        Self { plugins: lock(&PLUGINS) }
    }

    /// The library that the offer at `at` comes from; none for what is built in.
    pub fn plugin_of(&self, at: usize) -> Option<(&Path, usize)> {
        let plugin = self.plugins.iter().find(|plugin| plugin.offers.contains(&at))?;
        Some((&plugin.path, at - plugin.offers.start))
    }
}

/// An offer and its place in the list.
type Numbered = (usize, raw::Offer);

/// Registers the library `path` once for the process; gives what it offers.
fn plugin(environment: &Environment, device: &Device, path: &Path) -> Result<(Vec<Numbered>, Listed)> {
    // A path that somebody named is used or is an error, never searched for.
    let found = path.canonicalize().ok().filter(|path| path.is_file());
    let path = found.ok_or_else(|| refused(device, format!("{} is not a file", path.display())))?;
    let mut listed = Listed::new();
    let offers = || raw::offers(environment).map_err(|error| refused(device, error.message()));
    let known = listed.plugins.iter().find(|plugin| plugin.path == path).map(|plugin| plugin.offers.clone());
    let own = match known {
        Some(own) => own,
        None => {
            let before = offers()?.len();
            // What the loader says is clearer than what ONNX Runtime makes of it.
            if let Some(failure) = sys::load_failure(&path) {
                return Err(refused(
                    device,
                    format!("{} does not load: {}", path.display(), explain(device, &failure)),
                ));
            }
            environment.register_ep_library(format!("detailflow {}", path.display()), &path).map_err(|error| {
                refused(
                    device,
                    format!("{} is no provider library for this ONNX Runtime: {}", path.display(), error.message()),
                )
            })?;
            // It makes static objects of its own.
            crate::runtime::exit::arm();
            let own = before..offers()?.len();
            listed.plugins.push(Plugin { path, offers: own.clone() });
            own
        }
    };
    let offers = offers()?.into_iter().enumerate().filter(|(at, _)| own.contains(at)).collect();
    Ok((offers, listed))
}

/// The offer that is meant: the first; that number; the first of that kind; or what the provider calls so.
fn pick(offers: &[Numbered], which: Option<&str>) -> Option<usize> {
    let Some(which) = which else { return (!offers.is_empty()).then_some(0) };
    if let Ok(index) = which.parse::<usize>() {
        return (index < offers.len()).then_some(index);
    }
    let kind = offers.iter().position(|(_, offer)| offer.hardware.kind.to_string() == which);
    kind.or_else(|| offers.iter().position(|(_, offer)| offer.metadata.iter().any(|(_, value)| value == which)))
}

/// An offer in words.
fn told(at: usize, offer: &raw::Offer) -> String {
    format!("{at} ({}, {} {})", offer.provider, offer.hardware.vendor, offer.hardware.kind)
}

fn append<'o>(
    builder: SessionBuilder,
    environment: &Environment,
    device: &Device,
    (at, offer): &Numbered,
    options: impl Iterator<Item = (&'o str, &'o str)>,
    _listed: Listed,
) -> Result<SessionBuilder> {
    let options: Vec<_> = options.map(|(key, value)| (format!("{}.{key}", offer.provider), value.to_owned())).collect();
    builder
        .with_devices(environment.devices().nth(*at), Some(&options))
        .map_err(|error| refused(device, explain(device, error.message())))
}

// --- OpenVINO ---

fn openvino(
    builder: SessionBuilder,
    environment: &Environment,
    device: &Device,
    kind: DeviceKind,
    options: &DeviceOptions,
    threads: usize,
) -> Result<SessionBuilder> {
    let config = openvino_config(kind, options, threads)?;
    if is_built_in(device)? {
        require(device)?;
        let provider = ep::OpenVINO::default().with_device_type(kind).with_arbitrary_config("load_config", config);
        return register(builder, device, [provider.build()]);
    }
    let path = find_openvino(device)?;
    let (offers, listed) = plugin(environment, device, &path)?;
    // It also offers compositions of its devices, under other names.
    let own = |(_, offer): &&Numbered| offer.provider == OPENVINO && offer.hardware.kind == kind;
    let chosen = offers.iter().find(own).ok_or_else(|| {
        let offered: Vec<String> = offers.iter().enumerate().map(|(at, (_, offer))| told(at, offer)).collect();
        refused(device, format!("{} finds no {kind} that it can use; it offers: {}", path.display(), list(&offered)))
    })?;
    append(builder, environment, device, chosen, [("load_config", config.as_str())].into_iter(), listed)
}

/// What OpenVINO is told, as the JSON that its provider takes. Words of ours: `precision`. Words of OpenVINO's, which are
/// in capitals, are handed on. All else is refused: the provider would ignore it without a word.
fn openvino_config(kind: DeviceKind, options: &DeviceOptions, threads: usize) -> Result<String> {
    use serde_json::{Map, Value};
    let refuse = |key: &str, value: &str, why: &str| Err(Error::Invalid(format!("device option {key}={value}: {why}")));
    let mut all: Map<String, Value> = Map::new();
    if let Some(given) = options.get("load_config") {
        all = match serde_json::from_str(given) {
            Ok(all) => all,
            Err(error) => return refuse("load_config", given, &format!("it is no JSON object: {error}")),
        };
    }
    let name = kind.to_string();
    let own = all.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(own) = own else {
        return refuse("load_config", "", &format!("what it says of {name} is no JSON object"));
    };
    for (key, value) in options.iter().filter(|(key, _)| *key != "load_config") {
        match key {
            "precision" if ["f32", "bf16", "f16"].contains(&value) => {
                own.insert("INFERENCE_PRECISION_HINT".into(), value.into());
            }
            "precision" => return refuse(key, value, "it is f32, bf16 or f16"),
            _ if key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_') => {
                own.insert(key.to_owned(), value.into());
            }
            _ => {
                let why = "openvino takes precision (f32, bf16, f16), load_config (JSON), and OpenVINO's own properties, \
                           which are written in capitals";
                return refuse(key, value, why);
            }
        }
    }
    // It would compute in bf16 or f16 by itself. An NPU has no f32.
    if kind != DeviceKind::Npu {
        own.entry("INFERENCE_PRECISION_HINT").or_insert_with(|| "f32".into());
    }
    // Its fused attention is wrong for several queries at 16 keys and more (2026.4.1, dynamic shapes): logits are off by as
    // much as they are large. tests/devices.rs draws long enough to see it.
    if kind == DeviceKind::Cpu {
        own.entry("SNIPPETS_MODE").or_insert_with(|| "DISABLE".into());
    }
    if kind == DeviceKind::Cpu && threads > 0 {
        own.entry("INFERENCE_NUM_THREADS").or_insert_with(|| threads.to_string().into());
    }
    Ok(Value::Object(all).to_string())
}

/// OpenVINO's provider library: the file that the variable names; else beside libonnxruntime (or where pip puts it,
/// seen from there); else in a folder `runtime/` beside or above our library or executable, or in `openvino/` in that.
pub(in crate::runtime) fn find_openvino(device: &Device) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OPENVINO_VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            let why = format!("{OPENVINO_VARIABLE} names {}, which is not a file", path.display());
            return Err(refused(device, why));
        }
        return Ok(path);
    }
    let library = library::library()?;
    let name = file_name("onnxruntime_providers_openvino_plugin");
    let beside = library.path.parent().unwrap_or(Path::new(""));
    let mut folders = vec![beside.to_owned(), beside.join("openvino"), beside.join("../../onnxruntime_ep_openvino")];
    for anchor in sys::anchors() {
        folders.extend(["runtime", "runtime/openvino", "../runtime", "../runtime/openvino"].map(|at| anchor.join(at)));
    }
    if let Some(found) = folders.iter().map(|folder| folder.join(&name)).find(|path| path.is_file()) {
        return Ok(found);
    }
    let tried: Vec<String> = folders.iter().map(|folder| folder.join(&name).display().to_string()).collect();
    let why = format!(
        "the ONNX Runtime in use, {} ({}), has no {OPENVINO}, and OpenVINO's provider library was not found. It is in the \
         pip package onnxruntime-ep-openvino; name its {name} with {OPENVINO_VARIABLE}. Tried:\n  {OPENVINO_VARIABLE} \
         (not set)\n  {}",
        library.path.display(),
        library.version,
        tried.join("\n  ")
    );
    Err(refused(device, why))
}

/// Registers OpenVINO's provider library where it is found, so that its devices are listed.
pub(in crate::runtime) fn load_openvino(environment: &Environment) {
    let device = Device::OpenVino { kind: DeviceKind::Cpu };
    if is_built_in(&device).unwrap_or(true) {
        return;
    }
    let loaded = find_openvino(&device).and_then(|path| plugin(environment, &device, &path).map(drop));
    if let Err(error) = loaded {
        crate::support::log::info(|| error.to_string());
    }
}

// --- The best one ---

/// The devices that `auto` tries, best first; the CPU, which always works, is the last. Those whose provider is not there
/// are left out.
pub(crate) fn candidates() -> Result<Vec<Device>> {
    let _inside = crate::runtime::exit::enter()?;
    let environment = library::environment()?;
    let _listed = Listed::new();
    // WebGPU would also run on an emulation of a card, which is slow; ONNX Runtime lists real ones only. Where it cannot
    // tell, there are none.
    let hardware = raw::hardware(environment).unwrap_or_default();
    let has_card = |vendor: Option<u32>| {
        let fits = |found: &&raw::Hardware| vendor.is_none_or(|vendor| found.vendor_id == vendor);
        hardware.iter().filter(|found| found.kind == DeviceKind::Gpu).any(|found| fits(&found))
    };
    let built_in = |device: &Device| is_built_in(device).unwrap_or(false);
    let intel = Device::OpenVino { kind: DeviceKind::Gpu };
    let openvino = has_card(Some(INTEL)) && (built_in(&intel) || find_openvino(&intel).is_ok());
    let mut found: Vec<Device> =
        [Device::Cuda { index: 0 }, Device::MiGraphX { index: 0 }, Device::DirectMl { index: 0 }, Device::CoreMl]
            .into_iter()
            .filter(built_in)
            .collect();
    found.extend(openvino.then_some(intel));
    found.extend((has_card(None) && built_in(&Device::WebGpu)).then_some(Device::WebGpu));
    found.push(Device::Cpu);
    Ok(found)
}

const INTEL: u32 = 0x8086;

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> DeviceOptions {
        let mut options = DeviceOptions::default();
        pairs.iter().for_each(|(key, value)| options.set(key, value).unwrap());
        options
    }

    #[test]
    fn openvino_is_told_to_compute_in_f32() {
        let config = |kind, pairs: &[_], threads| openvino_config(kind, &options(pairs), threads).unwrap();
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
        // The caller's word counts.
        let given =
            [("load_config", r#"{"CPU":{"INFERENCE_PRECISION_HINT":"bf16","SNIPPETS_MODE":"ENABLE"},"GPU":{}}"#)];
        assert_eq!(config(DeviceKind::Cpu, &given, 0), given[0].1);
    }

    #[test]
    fn openvino_would_ignore_what_is_refused_here() {
        for (key, value) in [
            ("precision", "FP32"),
            ("num_of_threads", "2"),
            ("load_config", "[]"),
            ("load_config", r#"{"CPU":1}"#),
            ("", "1"),
        ] {
            let mut wrong = DeviceOptions::default();
            let set = wrong.set(key, value);
            let refused = set.and_then(|()| openvino_config(DeviceKind::Cpu, &wrong, 0).map(drop));
            assert!(matches!(refused, Err(Error::Invalid(_))), "{key}={value}");
        }
    }

    #[test]
    fn a_missing_library_is_told_with_where_it_comes_from() {
        let cuda = Device::Cuda { index: 0 };
        let says = |said: &str, word: &str| {
            let explained = explain(&cuda, said);
            assert!(explained.starts_with(said) && explained.contains(word), "{explained}");
        };
        says("libcublasLt.so.13: cannot open shared object file: No such file or directory", "part of CUDA");
        says("libcudnn.so.9: cannot open shared object file", "cuDNN 9");
        says("libcuda.so.1: cannot open shared object file", "driver");
        says("libnvinfer.so.10: cannot open shared object file", "TensorRT 10");
        assert_eq!(explain(&cuda, "CUDA failure 35 "), "CUDA failure 35");
        assert!(explain(&Device::WebGpu, "Failed to get a WebGPU adapter").contains("libvulkan.so.1"));
    }

    #[test]
    fn a_device_of_a_plugin_is_told_by_number_kind_or_name() {
        let offer = |kind, name: &str| {
            let hardware = raw::Hardware { kind, vendor: "V".into(), vendor_id: 1, device_id: 2, metadata: Vec::new() };
            let metadata = vec![("ov_device".to_owned(), name.to_owned())];
            raw::Offer { provider: "P".into(), metadata, hardware }
        };
        let offers = [(4, offer(DeviceKind::Cpu, "CPU")), (5, offer(DeviceKind::Gpu, "GPU.1"))];
        for (which, place) in [
            (None, Some(0)),
            (Some("1"), Some(1)),
            (Some("2"), None),
            (Some("GPU"), Some(1)),
            (Some("GPU.1"), Some(1)),
            (Some("NPU"), None),
        ] {
            assert_eq!(pick(&offers, which), place, "{which:?}");
        }
        assert_eq!(pick(&[], None), None);
    }
}
