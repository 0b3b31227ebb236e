//! Execution on each device, compared with the CPU within stated tolerances, and the errors where a device is missing.
//!
//! A process loads one ONNX Runtime, so everything runs in child processes: the `dflow` command, and a C program.
//! `make test-devices` fetches OpenVINO and WebGPU into `target/openvino` and `target/webgpu`. No GPU is needed:
//! OpenVINO runs on the CPU, WebGPU on the software driver of Debian's chromium. What is missing is skipped, CUDA where
//! there is no card. `make gpu-kit` takes these tests to a machine with a card; there `DETAILFLOW_CARD` is set, and CUDA
//! that does not open is a failure.
//!
//! What a device must reach, compared with the CPU in the same form:
//! - fp32: the same tokens, greedy and sampled; log-probabilities within 1e-4; each byte of a pixel within 1.
//! - form `fixed`, which keeps the KV cache and samples on the device: as fp32, in every precision whose GEMMs are
//!   computed in floats there (int8 and fp32).
//! - int8 of form `plain`: an activation near a rounding boundary may round to the other integer, which moves logits
//!   by some hundredths. Log-probabilities within 0.02 in the mean; pixels within 2 of 255 in the mean.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use programs::{Mode, Program, root, run, runtime, skip, text};
use serde_json::Value;

/// A device, and what must be set for it to be had.
struct Place {
    device: &'static str,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Place {
    fn cpu() -> Self {
        Self { device: "cpu", variables: vec![("ORT_DYLIB_PATH", runtime())] }
    }

    /// A device of the plain library, which has none but the CPU.
    fn plain(device: &'static str) -> Self {
        Self { device, ..Self::cpu() }
    }

    fn openvino(test: &str) -> Option<Self> {
        let library = root().join("target/openvino/libonnxruntime_providers_openvino_plugin.so");
        if !library.is_file() {
            skip(test, "there is no OpenVINO in target/openvino (`make test-devices` fetches it, for x86-64)");
            return None;
        }
        let variables = vec![("ORT_DYLIB_PATH", runtime()), ("DETAILFLOW_OPENVINO", library)];
        let place = Self { device: "openvino", variables };
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        if !cpu.contains("GenuineIntel") {
            place.fails(1, &["finds no CPU that it can use"], &["generate", "1"]);
            programs::note_skipped(test, "OpenVINO's library offers CPUs by Intel alone; this one is by another maker");
            return None;
        }
        Some(place)
    }

    fn webgpu(test: &str) -> Option<Self> {
        let library = root().join("target/webgpu/libonnxruntime.so");
        let driver = std::env::var_os("VK_ICD_FILENAMES").map(PathBuf::from);
        let driver = driver.unwrap_or_else(|| "/usr/lib/chromium/vk_swiftshader_icd.json".into());
        if !library.is_file() {
            skip(test, "there is no ONNX Runtime with WebGPU in target/webgpu (`make test-devices` fetches it)");
            return None;
        }
        if !driver.is_file() {
            skip(test, &format!("there is no Vulkan driver {} (apt-get install chromium)", driver.display()));
            return None;
        }
        let variables = vec![
            ("ORT_DYLIB_PATH", library),
            ("VK_ICD_FILENAMES", driver.clone()),
            // It also brings libvulkan.so.1.
            ("LD_LIBRARY_PATH", folders([driver.parent().unwrap().to_owned()])),
        ];
        Some(Self { device: "webgpu", variables })
    }

    /// CUDA on the first card. CUDA's libraries are found by the `LD_LIBRARY_PATH` of the tests.
    fn cuda(test: &str) -> Option<Self> {
        let library = root().join("target/runtime-cuda/libonnxruntime.so");
        let wanted = std::env::var_os("DETAILFLOW_CARD").is_some();
        if !library.is_file() {
            // Not `skip`: CI does not fetch it either.
            programs::note_skipped(test, NO_CUDA);
            assert!(!wanted, "{NO_CUDA}");
            return None;
        }
        let variables = vec![("ORT_DYLIB_PATH", library), ("LD_LIBRARY_PATH", folders([]))];
        let place = Self { device: "cuda", variables };
        let folder = tempfile::tempdir().unwrap();
        let output = place.dflow(folder.path(), &["doctor", "--bundle", &bundle("small")]);
        if output.status.success() {
            return Some(place);
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(!wanted, "{why}");
        programs::note_skipped(test, &why);
        None
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for name in ["ORT_DYLIB_PATH", "DETAILFLOW_OPENVINO", "VK_ICD_FILENAMES", "LD_LIBRARY_PATH"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `dflow ARGUMENTS` on the device.
    fn dflow(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = self.command(Path::new(common::dflow_path()));
        command.args(arguments).args(["--device", self.device]).current_dir(folder);
        run(command, Duration::from_secs(120))
    }

    fn ok(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = self.dflow(folder, arguments);
        assert!(output.status.success(), "{} {arguments:?}: {}", self.device, text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// It fails with `code` and says all of `words`.
    fn fails(&self, code: i32, words: &[&str], arguments: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let output = self.dflow(folder.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{} {arguments:?}: {said}", self.device);
        let missing: Vec<_> = words.iter().filter(|word| !said.contains(**word)).collect();
        assert!(missing.is_empty(), "{} {arguments:?} does not say {missing:?}: {said}", self.device);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it left something");
        said
    }

    fn doctor(&self, bundle: &str, more: &[&str]) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let said = self.ok(folder.path(), &[&["doctor", "--json", "--bundle", bundle], more].concat());
        serde_json::from_str(&said).unwrap()
    }
}

const NO_CUDA: &str = "there is no ONNX Runtime with CUDA in target/runtime-cuda (`make \
                       target/runtime-cuda/libonnxruntime.so` fetches it, 250 MB)";

/// `LD_LIBRARY_PATH`: these folders, then those of the tests.
fn folders<const N: usize>(first: [PathBuf; N]) -> PathBuf {
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let before = std::env::split_paths(&before).filter(|folder| !folder.as_os_str().is_empty());
    std::env::join_paths(first.into_iter().chain(before)).unwrap().into()
}

/// The path of a bundle.
fn bundle(name: &str) -> String {
    let path = match name {
        "sprites" => root().join("onnx/bundles/sprites"),
        "tiny-16" => common::data("tiny-16/bundle"),
        other => common::data(other),
    };
    path.to_str().unwrap().to_owned()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// One bundle in one precision and form, compared with the CPU.
struct Comparison<'a> {
    place: &'a Place,
    bundle: String,
    precision: &'a str,
    /// The form on the CPU, and on the device.
    forms: [&'a str; 2],
    folder: tempfile::TempDir,
}

impl<'a> Comparison<'a> {
    /// In form `plain`.
    fn new(place: &'a Place, name: &str, precision: &'a str) -> Self {
        Self::of(place, name, precision, ["plain", "plain"])
    }

    fn of(place: &'a Place, name: &str, precision: &'a str, forms: [&'a str; 2]) -> Self {
        Self { place, bundle: bundle(name), precision, forms, folder: tempfile::tempdir().unwrap() }
    }

    /// Runs it on the CPU and on the device. `file` names what comes of it, `{}` stands for the device.
    fn both(&self, arguments: &[&str]) -> [String; 2] {
        [&Place::cpu(), self.place].map(|place| {
            let arguments: Vec<String> =
                arguments.iter().map(|argument| argument.replace("{}", place.device)).collect();
            let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let form = self.forms[usize::from(place.device != "cpu")];
            all.extend(["--bundle", &self.bundle, "--precision", self.precision, "--form", form]);
            place.ok(self.folder.path(), &all)
        })
    }

    /// The tokens that each draws.
    fn tokens(&self, settings: &[&str]) -> [Vec<Value>; 2] {
        self.drawn(&[&["generate", "1"], settings].concat())
    }

    /// The tokens that a command of `dflow` draws on each.
    fn drawn(&self, command: &[&str]) -> [Vec<Value>; 2] {
        self.both(&[command, &["-o", "{}.png", "--tokens-out", "{}.json"]].concat());
        ["cpu", self.place.device].map(|device| {
            let file = json(&self.folder.path().join(format!("{device}.json")));
            file["images"].as_array().unwrap().iter().map(|image| image["tokens"].clone()).collect()
        })
    }

    /// How far the log-probabilities of the CPU's tokens are off: the largest, and the mean.
    fn score(&self) -> [f64; 2] {
        let [cpu, device] = self.both(&["score", "cpu.json", "--json"]).map(|said| {
            let pictures: Value = serde_json::from_str(&said).unwrap();
            let numbers = |picture: &Value| picture["log_probabilities"].as_array().unwrap().clone();
            let numbers: Vec<Value> = pictures.as_array().unwrap().iter().flat_map(numbers).collect();
            numbers.iter().map(|number| number.as_f64().unwrap()).collect::<Vec<_>>()
        });
        assert!(cpu.len() == device.len() && !cpu.is_empty());
        let off = cpu.iter().zip(&device).map(|(a, b)| (a - b).abs());
        [off.clone().fold(0.0, f64::max), off.sum::<f64>() / cpu.len() as f64]
    }

    /// How far the pixels of the CPU's tokens are off, in 255ths: the largest, and the mean.
    fn pixels(&self, level: Option<&str>) -> [f64; 2] {
        let level = level.map_or(vec![], |level| vec!["--level", level]);
        self.both(&[&["decode", "cpu.json", "-o", "decoded-{}.png"][..], &level].concat());
        let [cpu, device] = ["cpu", self.place.device].map(|device| {
            // One picture is a file of that name; several are a sheet.
            let path = self.folder.path().join(format!("decoded-{device}.png"));
            image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgba8().into_raw()
        });
        assert!(cpu.len() == device.len() && !cpu.is_empty());
        let off = cpu.iter().zip(&device).map(|(a, b)| f64::from(a.abs_diff(*b)));
        [off.clone().fold(0.0, f64::max), off.sum::<f64>() / cpu.len() as f64]
    }

    fn fp32(&self, count: &str, temperatures: &[&str]) {
        for temperature in temperatures {
            let settings = ["--count", count, "--seed", "7", "--temperature", temperature];
            let [cpu, device] = self.tokens(&settings);
            assert_eq!(cpu, device, "{} {} temperature {temperature}", self.place.device, self.bundle);
        }
        let ([score, _], [pixels, _]) = (self.score(), self.pixels(None));
        println!("{} {} fp32: log-probabilities {score:.1e}, pixels {pixels}", self.place.device, self.bundle);
        assert!(score <= 1e-4, "log-probabilities are {score} off");
        assert!(pixels <= 1.0, "pixels are {pixels} off");
    }

    fn int8(&self, settings: &[&str]) {
        let [cpu, device] = self.tokens(settings);
        let equal = cpu.iter().zip(&device).filter(|(a, b)| a == b).count();
        let ([_, score], [largest, pixels]) = (self.score(), self.pixels(None));
        println!(
            "{} {} int8: {equal} of {} pictures have the same tokens, log-probabilities {score:.1e}, pixels {pixels:.2} \
             ({largest} at most)",
            self.place.device,
            self.bundle,
            cpu.len()
        );
        assert!(score <= 0.02, "log-probabilities are {score} off in the mean");
        assert!(pixels <= 2.0, "pixels are {pixels} off in the mean");
    }
}

/// The graph's provider and how many of its nodes are on the CPU. None of its nodes is anywhere else.
fn on_cpu(report: &Value, provider: &str) -> u64 {
    let mut count = 0;
    for graph in report["graphs"].as_array().unwrap() {
        let providers = graph["providers"].as_array().unwrap();
        let has = |name: &str| providers.iter().any(|found| found["provider"] == name) || graph["rest"] == name;
        assert!(has(provider), "{graph:#}");
        for found in providers {
            if found["provider"] == "CPUExecutionProvider" {
                count += found["nodes"].as_u64().unwrap();
            } else {
                assert_eq!(found["provider"], provider, "{graph:#}");
            }
        }
    }
    count
}

// --- The CPU ---

#[test]
fn cpu_is_listed_and_reported() {
    let said = Place::cpu().doctor(&bundle("small"), &[]);
    let cpu = &said["devices"][0];
    assert_eq!((&cpu["device"], &cpu["kind"]), (&"cpu".into(), &"CPU".into()), "{said:#}");
    assert_eq!(cpu["provider"], "CPUExecutionProvider");
    let report = &said["report"];
    assert_eq!((&report["asked"], &report["device"]), (&"cpu".into(), &"cpu".into()));
    assert_eq!(report["graphs"].as_array().unwrap().len(), 2);
    assert!(on_cpu(report, "CPUExecutionProvider") > 50, "{report:#}");
    assert!(report["graphs"][0]["memory"][0]["bytes"].as_u64().is_some(), "{report:#}");
}

/// `auto` is the CPU where nothing else is there, and says what it is.
#[test]
fn auto_without_other_devices_takes_the_cpu() {
    let report = &Place::plain("auto").doctor(&bundle("small"), &[])["report"];
    assert_eq!((&report["asked"], &report["device"]), (&"auto".into(), &"cpu".into()), "{report:#}");
    Place::plain("auto").fails(1, &["by name"], &["doctor", "--device-option", "a=b"]);
}

#[test]
fn spinning_off_samples_the_same_tokens() {
    let folder = tempfile::tempdir().unwrap();
    for spinning in ["runs", "never"] {
        let tokens = format!("{spinning}.json");
        let small = bundle("small");
        let arguments = ["generate", "1", "-o", "a.png", "--threads", "2", "--bundle", &small, "--tokens-out", &tokens];
        Place::cpu().ok(folder.path(), &[&arguments[..], &["--spinning", spinning]].concat());
    }
    let [runs, never] = ["runs.json", "never.json"].map(|name| json(&folder.path().join(name)));
    assert_eq!(runs["images"], never["images"]);
}

// --- What cannot be had ---

/// The provider that is missing, and where it comes from.
#[test]
fn missing_device_error_names_what_is_missing() {
    for (device, provider, package) in [
        ("cuda:1", "CUDAExecutionProvider", "onnxruntime-gpu"),
        ("tensorrt", "TensorrtExecutionProvider", "onnxruntime-gpu"),
        ("directml", "DmlExecutionProvider", "onnxruntime-directml"),
        ("coreml", "CoreMLExecutionProvider", "macOS"),
        ("webgpu", "WebGpuExecutionProvider", "onnxruntime-webgpu"),
        ("migraphx", "MIGraphXExecutionProvider", "onnxruntime-migraphx"),
    ] {
        let library = runtime().display().to_string();
        Place::plain(device).fails(1, &[device, provider, package, &library, "ORT_DYLIB_PATH"], &["generate", "1"]);
    }
    let tried = "libonnxruntime_providers_openvino_plugin";
    Place::plain("openvino").fails(
        1,
        &["openvino:CPU", "DETAILFLOW_OPENVINO", "onnxruntime-ep-openvino", tried],
        &["generate", "1"],
    );
    let mut place = Place::plain("openvino:NPU");
    place.variables.push(("DETAILFLOW_OPENVINO", "/there/is/none.so".into()));
    place.fails(1, &["/there/is/none.so", "DETAILFLOW_OPENVINO"], &["generate", "1"]);
    Place::plain("plugin:/there/is/none.so").fails(1, &["/there/is/none.so is not a file"], &["generate", "1"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let device: &'static str = format!("plugin:{}", file.path().display()).leak();
    Place::plain(device).fails(1, &["does not load"], &["generate", "1"]);
    // A library, though not one of a provider.
    let device: &'static str = format!("plugin:{}", runtime().display()).leak();
    Place::plain(device).fails(1, &["no provider library"], &["generate", "1"]);
    Place::plain("abacus").fails(2, &["abacus", "openvino[:CPU|GPU|NPU]"], &["generate", "1"]);
    Place::cpu().fails(1, &["colour", "no options"], &["generate", "1", "--device-option", "colour=red"]);
    Place::cpu().fails(2, &["KEY=VALUE"], &["generate", "1", "--device-option", "colour"]);
}

/// Only when it is allowed, never in silence, and then it is the CPU's picture.
#[test]
fn fallback_to_the_cpu_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let small = bundle("small");
    let draw = |place: &Place, name: &str, more: &[&str]| {
        let output = place
            .dflow(folder.path(), &[&["generate", "1", "--bundle", &small, "--seed", "3", "-o", name], more].concat());
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(draw(&Place::cpu(), "cpu.png", &["--allow-fallback"]), "");
    let said = draw(&Place::plain("cuda"), "fallen.png", &["--allow-fallback"]);
    assert!(said.contains("CUDAExecutionProvider") && said.contains("using cpu instead"), "{said}");
    let bytes = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(bytes("cpu.png"), bytes("fallen.png"));
    let report = &Place::plain("cuda").doctor(&small, &["--allow-fallback"])["report"];
    assert_eq!((&report["asked"], &report["device"]), (&"cuda:0".into(), &"cpu".into()));
    assert!(report["refused"][0].as_str().unwrap().contains("CUDAExecutionProvider"), "{report:#}");
}

/// The ONNX Runtime with CUDA on a machine without: which file is missing. It is large, so it is not fetched for tests.
#[test]
fn cuda_error_names_the_missing_library() {
    let folder = root().join("target/runtime-cuda");
    if !folder.join("libonnxruntime.so").is_file() {
        programs::note_skipped("cuda_error_names_the_missing_library", NO_CUDA);
        return;
    }
    let here =
        |device, folder: &Path| Place { device, variables: vec![("ORT_DYLIB_PATH", folder.join("libonnxruntime.so"))] };
    // Alone, as somebody copies it.
    let alone = tempfile::tempdir().unwrap();
    std::fs::hard_link(folder.join("libonnxruntime.so"), alone.path().join("libonnxruntime.so"))
        .or_else(|_| std::fs::copy(folder.join("libonnxruntime.so"), alone.path().join("libonnxruntime.so")).map(drop))
        .unwrap();
    here("cuda", alone.path()).fails(
        1,
        &["libonnxruntime_providers_shared.so is missing", "beside"],
        &["generate", "1"],
    );
    std::fs::copy(
        folder.join("libonnxruntime_providers_shared.so"),
        alone.path().join("libonnxruntime_providers_shared.so"),
    )
    .unwrap();
    here("cuda", alone.path()).fails(1, &["libonnxruntime_providers_cuda.so is missing", "beside"], &["generate", "1"]);
    let output = here("cuda", &folder).dflow(alone.path(), &["doctor", "--bundle", &bundle("small")]);
    if !output.status.success() {
        let said = text(&output);
        let known = ["libcu", "driver", "no CUDA-capable device"];
        assert!(said.contains("device cuda:0") && known.iter().any(|word| said.contains(word)), "{said}");
    }
    let listed = here("auto", &folder).doctor(&bundle("small"), &[]);
    assert!(listed["devices"].as_array().unwrap().iter().any(|device| device["device"] == "cuda:0"), "{listed:#}");
    // What was tried is told, whatever came of it.
    let report = &listed["report"];
    assert!(report["device"] == "cuda:0" || report["refused"][0].as_str().unwrap().contains("cuda:0"), "{report:#}");
}

// --- CUDA ---

#[test]
fn cuda_generates_what_the_cpu_generates() {
    let Some(place) = Place::cuda("cuda_generates_what_the_cpu_generates") else { return };
    generates_what_the_cpu_generates(&place);
    // Half precision has one form on each: the CPU computes it in floats.
    Comparison::of(&place, "precisions", "fp16", ["plain", "fixed"]).int8(&["--count", "4"]);
}

#[test]
fn cuda_fixed_keeps_cache_and_sampling_on_the_device() {
    let Some(place) = Place::cuda("cuda_fixed_keeps_cache_and_sampling_on_the_device") else { return };
    fixed_keeps_cache_and_sampling_on_the_device(&place, "Cuda");
}

/// Steps are recorded and replayed: the tokens are those of steps that are not. With so many pictures the device samples.
#[test]
fn cuda_replays_steps() {
    let Some(place) = Place::cuda("cuda_replays_steps") else { return };
    let replays = |option: &str| {
        let set = format!("enable_cuda_graph={option}");
        place.doctor(&bundle("small"), &["--device-option", &set])["report"]["graphs"][0]["replays"].clone()
    };
    assert_eq!([replays("1"), replays("0")], [true, false]);
    assert_eq!(place.doctor(&bundle("small"), &[])["report"]["graphs"][0]["replays"], true, "by itself");
    let folder = tempfile::tempdir().unwrap();
    for count in ["1", "3", "100"] {
        let tokens = ["0", "1"].map(|option| {
            let (set, file) = (format!("enable_cuda_graph={option}"), format!("{option}.json"));
            let small = bundle("small");
            let given =
                ["generate", "all", "--count", count, "--seed", "5", "--bundle", &small, "--device-option", &set];
            place.ok(folder.path(), &[&given[..], &["-o", "a.png", "--tokens-out", &file]].concat());
            json(&folder.path().join(file))["images"].clone()
        });
        assert_eq!(tokens[0], tokens[1], "{count}");
    }
    Comparison::of(&place, "sprites", "int8", ["fixed", "fixed"]).int8(&["--count", "70"]);
}

#[test]
fn cuda_sampling_refuses_nan_logits() {
    let Some(place) = Place::cuda("cuda_sampling_refuses_nan_logits") else { return };
    sampling_refuses_nan_logits(&place);
}

/// In the memory of the process. That of the card is not counted.
#[test]
fn cuda_model_frees_its_memory() {
    let Some(place) = Place::cuda("cuda_model_frees_its_memory") else { return };
    model_frees_its_memory(&place, "small");
}

// --- OpenVINO ---

#[test]
fn openvino_generates_what_the_cpu_generates() {
    let Some(place) = Place::openvino("openvino_generates_what_the_cpu_generates") else { return };
    Comparison::new(&place, "tiny-16", "fp32").fp32("2", &["0", "1"]);
    Comparison::new(&place, "small", "fp32").fp32("3", &["0", "1"]);
    Comparison::new(&place, "small", "int8").int8(&["--count", "3"]);
    Comparison::new(&place, "sprites", "int8").int8(&["--count", "4"]);
    // It has no memory of its own to keep anything in.
    let small = bundle("small");
    place.fails(
        1,
        &["form fixed for openvino:CPU", "it has: "],
        &["generate", "1", "--form", "fixed", "--bundle", &small],
    );
}

#[test]
fn openvino_report_names_its_device() {
    let Some(place) = Place::openvino("openvino_report_names_its_device") else { return };
    for name in ["sprites", "tiny-16"] {
        let said = place.doctor(&bundle(name), &[]);
        assert_eq!(said["report"]["device"], "openvino:CPU");
        assert_eq!(on_cpu(&said["report"], "OpenVINOExecutionProvider"), 0, "{said:#}");
        let listed = said["devices"].as_array().unwrap().iter().find(|device| device["device"] == "openvino:CPU");
        let metadata = &listed.expect("openvino:CPU is listed")["metadata"];
        assert!(metadata["FULL_DEVICE_NAME"].is_string(), "{said:#}");
    }
    // Of its own accord fp32, where the bundle has it.
    let small = place.doctor(&bundle("small"), &[]);
    assert_eq!(small["report"]["graphs"][0]["graph"], "ar.fp32.plain.onnx");

    // The same library by its path.
    let library = place.variables[1].1.display().to_string();
    for (which, end) in [("", ""), (":CPU", ":CPU"), (":0", ":0")] {
        let device: &'static str = format!("plugin:{library}{which}").leak();
        let report = &Place::plain(device).doctor(&bundle("tiny-16"), &["--device-option", "load_config={}"])["report"];
        assert!(report["device"].as_str().unwrap().ends_with(end), "{report:#}");
        assert_eq!(on_cpu(report, "OpenVINOExecutionProvider"), 0);
    }
    let device: &'static str = format!("plugin:{library}:7").leak();
    Place::plain(device).fails(1, &["no device \"7\"", "0 (OpenVINOExecutionProvider"], &["generate", "1"]);
}

/// Its options arrive: bf16 is another arithmetic, and what it does not know is refused.
#[test]
fn openvino_options_are_passed_or_refused() {
    let Some(place) = Place::openvino("openvino_options_are_passed_or_refused") else { return };
    let options = |option: &'static str| ["generate", "1", "--device-option", option];
    place.fails(1, &["precision=f23", "f32, bf16 or f16"], &options("precision=f23"));
    place.fails(1, &["num_of_threads", "capitals"], &options("num_of_threads=1"));
    place.fails(1, &["openvino:CPU", "NO_SUCH_PROPERTY"], &options("NO_SUCH_PROPERTY=1"));
    let npu = Place { device: "openvino:NPU", ..place };
    npu.fails(1, &["no NPU", "0 (OpenVINOExecutionProvider"], &["generate", "1"]);

    let place = Place::openvino("openvino_options_are_passed_or_refused").unwrap();
    // A processor that cannot compute in bf16 computes in f32 all the same.
    if std::fs::read_to_string("/proc/cpuinfo")
        .is_ok_and(|text| text.contains("avx512_bf16") || text.contains("amx_bf16"))
    {
        let folder = tempfile::tempdir().unwrap();
        let tiny = bundle("tiny-16");
        place.ok(folder.path(), &["generate", "1", "--bundle", &tiny, "-o", "a.png", "--tokens-out", "t.json"]);
        let score = |precision: &str| {
            let option = format!("precision={precision}");
            place.ok(folder.path(), &["score", "t.json", "--json", "--bundle", &tiny, "--device-option", &option])
        };
        assert_eq!(score("f32"), place.ok(folder.path(), &["score", "t.json", "--json", "--bundle", &tiny]));
        assert_ne!(score("f32"), score("bf16"));
    }
}

/// A model that is freed gives back what it took.
#[test]
fn openvino_model_frees_its_memory() {
    let Some(place) = Place::openvino("openvino_model_frees_its_memory") else { return };
    model_frees_its_memory(&place, "sprites");
}

// --- WebGPU ---

#[test]
fn webgpu_generates_what_the_cpu_generates() {
    let Some(place) = Place::webgpu("webgpu_generates_what_the_cpu_generates") else { return };
    generates_what_the_cpu_generates(&place);
}

fn generates_what_the_cpu_generates(place: &Place) {
    Comparison::of(place, "small", "fp32", ["plain", "fixed"]).fp32("2", &["0", "1"]);
    Comparison::of(place, "small", "fp32", ["plain", "fixed"]).all_ways();
    Comparison::of(place, "tiny-16", "fp32", ["plain", "fixed"]).fp32_level("32");
    Comparison::of(place, "sprites", "int8", ["fixed", "fixed"]).fp32_level("16");
    // The reference of the forms.
    Comparison::new(place, "small", "fp32").fp32("2", &["1"]);
    Comparison::new(place, "small", "int8").int8(&["--level", "16"]);
}

/// Of its own accord it takes form `fixed`: no node of a step is anywhere else, nor one of a draw.
#[test]
fn webgpu_fixed_keeps_cache_and_sampling_on_the_device() {
    let Some(place) = Place::webgpu("webgpu_fixed_keeps_cache_and_sampling_on_the_device") else { return };
    fixed_keeps_cache_and_sampling_on_the_device(&place, "WebGPU_Buf");
}

/// Keys and values are in `memory`.
fn fixed_keeps_cache_and_sampling_on_the_device(place: &Place, memory: &str) {
    for (name, precision) in [("small", "fp32"), ("sprites", "int8"), ("tiny-16", "fp32")] {
        let report = &place.doctor(&bundle(name), &[])["report"];
        for graph in [format!("ar.{precision}.fixed.onnx"), "draw.onnx".to_owned()] {
            let found = report["graphs"].as_array().unwrap().iter().find(|found| found["graph"] == graph.as_str());
            let found = found.unwrap_or_else(|| panic!("{graph}: {report:#}"));
            let providers = found["providers"].as_array().unwrap();
            assert!(providers.iter().all(|provider| provider["provider"] != "CPUExecutionProvider"), "{report:#}");
        }
    }
    // Keys and values are there, and are given back.
    let kept = &place.doctor(&bundle("small"), &[])["report"]["graphs"][0]["keys_in"];
    assert_eq!(kept, memory);
}

/// A row of the embedding table that is not a number: what draws on the device tells as the CPU does.
#[test]
fn webgpu_sampling_refuses_nan_logits() {
    let Some(place) = Place::webgpu("webgpu_sampling_refuses_nan_logits") else { return };
    sampling_refuses_nan_logits(&place);
}

fn sampling_refuses_nan_logits(place: &Place) {
    let folder = common::copy(&common::small());
    common::spoil_class(folder.path(), 2);
    let spoilt = folder.path().to_str().unwrap();
    let draws = |class: &str| {
        place.dflow(folder.path(), &["generate", class, "--guidance", "1", "--bundle", spoilt, "-o", "a.png"])
    };
    let sound = draws("1");
    assert!(sound.status.success(), "{}", text(&sound));
    let spoilt = draws("2");
    assert!(
        !spoilt.status.success() && text(&spoilt).contains("logits for token 0 are NaN or infinite"),
        "{}",
        text(&spoilt)
    );
}

/// A model that is freed gives back what it took, keys and values too: the driver's memory is the process's.
#[test]
fn webgpu_model_frees_its_memory() {
    let Some(place) = Place::webgpu("webgpu_model_frees_its_memory") else { return };
    model_frees_its_memory(&place, "small");
}

/// `tests/c/devices.c`, where also two threads generate at once, each with a model of its own.
fn model_frees_its_memory(place: &Place, name: &str) {
    let program = Program::new("devices", Mode::Plain);
    let mut command = program.command(&[&bundle(name), place.device, "8"]);
    for (name, value) in &place.variables {
        // Where the program's own library is stays first.
        let own = (*name == "LD_LIBRARY_PATH").then(programs::libraries);
        let paths = std::env::split_paths(value).filter(|path| !path.as_os_str().is_empty());
        command.env(name, std::env::join_paths(own.into_iter().chain(paths)).unwrap());
    }
    let output = run(command, Duration::from_secs(300));
    assert!(output.status.success(), "{}", text(&output));
    println!("{}", text(&output));
}

#[test]
fn webgpu_report_names_nodes_on_the_cpu() {
    let Some(place) = Place::webgpu("webgpu_report_names_nodes_on_the_cpu") else { return };
    let fp32 = on_cpu(&place.doctor(&bundle("tiny-16"), &["--form", "plain"])["report"], "WebGpuExecutionProvider");
    // Shapes are computed there; no product is.
    assert!((1..40).contains(&fp32), "{fp32}");
    let said = place.doctor(&bundle("sprites"), &["--form", "plain"]);
    assert!(said["devices"].as_array().unwrap().iter().any(|device| device["device"] == "webgpu"), "{said:#}");
    let graph = &said["report"]["graphs"][0]["providers"];
    let cpu = graph.as_array().unwrap().iter().find(|found| found["provider"] == "CPUExecutionProvider").unwrap();
    assert!(cpu["operators"]["MatMulInteger"].as_u64().unwrap() > 0, "{said:#}");
}

/// Without a driver it says what it needs.
#[test]
fn webgpu_without_driver_error_names_what_is_missing() {
    let Some(mut place) = Place::webgpu("webgpu_without_driver_error_names_what_is_missing") else { return };
    place.variables.retain(|(name, _)| *name == "ORT_DYLIB_PATH");
    place.variables.push(("VK_ICD_FILENAMES", "/there/is/none.json".into()));
    place.fails(1, &["webgpu", "adapter", "libvulkan.so.1", "VK_ICD_FILENAMES"], &["generate", "1"]);
}

impl Comparison<'_> {
    /// Everything that keys and values and draws are put to: cuts, guidance that ends, forks, shared prefixes, log-
    /// probabilities. The tokens are the CPU's.
    fn all_ways(&self) {
        let same = |command: &[&str]| {
            let [cpu, device] = self.drawn(command);
            assert_eq!(cpu, device, "{} {} {command:?}", self.place.device, self.bundle);
        };
        same(&["generate", "all", "--count", "2", "--seed", "5", "--top-k", "3", "--top-p", "0.8", "--guidance", "2"]);
        same(&[
            "generate",
            "1",
            "--count",
            "2",
            "--guidance",
            "3@0,1@6",
            "--temperature",
            "1.5",
            "--top-p",
            "0.5@0,1@8",
        ]);
        same(&["generate", "1", "--count", "3", "--seed", "3", "--share", "16"]);
        same(&["generate", "2", "--count", "2", "--seed", "9", "--best", "1", "--at", "16"]);
        let [cpu, device] = self.both(&[
            "generate",
            "0",
            "--count",
            "2",
            "--seed",
            "4",
            "-o",
            "{}.png",
            "--tokens-out",
            "{}.json",
            "--log-probabilities",
        ]);
        let numbers = |said: &str| -> Vec<f64> {
            said.split([' ', '\n']).filter_map(|word| word.trim_end_matches(',').parse().ok()).collect()
        };
        let (cpu, device) = (numbers(&cpu), numbers(&device));
        assert!(cpu.len() == device.len() && !cpu.is_empty(), "{cpu:?} {device:?}");
        assert!(cpu.iter().zip(&device).all(|(a, b)| (a - b).abs() < 2e-3), "{cpu:?} {device:?}");
        // Two pictures of one prefix share rows, and part.
        same(&["vary", "cpu.json", "--count", "3", "--seed", "2"]);
    }

    /// As [`fp32`](Self::fp32), to one level, for devices that are slow.
    fn fp32_level(&self, level: &str) {
        let [cpu, device] = self.tokens(&["--level", level, "--seed", "7"]);
        assert_eq!(cpu, device, "{} {}", self.place.device, self.bundle);
        let ([score, _], [pixels, _]) = (self.score(), self.pixels(None));
        println!("{} {} fp32: log-probabilities {score:.1e}, pixels {pixels}", self.place.device, self.bundle);
        assert!(score <= 1e-4 && pixels <= 1.0, "log-probabilities {score}, pixels {pixels}");
    }
}
