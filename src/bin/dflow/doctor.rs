//! `dflow doctor`: what is installed, what is missing, and where graphs run.

use clap::Args;
use detailflow::{DeviceInfo, Model, ModelOptions, Report};
use serde_json::json;

use crate::info::abilities;
use crate::{BundleArgs, DeviceArgs, Failure, complain, say};

#[derive(Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Precision: fp32, fp16, int8 or int4 [default: the first that the bundle lists for the device]
    #[arg(long, value_name = "P")]
    precision: Option<String>,
    /// Attention form (backend and KV layout): native, mha, plain or fixed [default: the first that the bundle lists for
    /// the device]
    #[arg(long, value_name = "FORM", hide = true)]
    form: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the ONNX Runtime in use, the devices, the bundle and where its graphs run; errors for what is missing.
pub fn doctor(args: &DoctorArgs) -> std::result::Result<(), Failure> {
    let mut options = ModelOptions::new();
    options.precision = args.precision.as_deref().map(Into::into);
    options.form = args.form.as_deref().map(str::parse).transpose().map_err(Failure::Usage)?;
    args.device.apply(&mut options)?;
    let runtime = detailflow::library();
    let bundle = args.bundle.open();
    let report = match (&runtime, &bundle) {
        (Ok(_), Ok(bundle)) => Some(Model::from_bundle(bundle.clone(), &options).and_then(|model| model.report())),
        _ => None,
    };
    let devices = if runtime.is_ok() { detailflow::devices() } else { Ok(Vec::new()) };
    let missing: Vec<String> = [
        runtime.as_ref().err().map(ToString::to_string),
        bundle.as_ref().err().map(ToString::to_string),
        report.as_ref().and_then(|report| report.as_ref().err()).map(ToString::to_string),
        devices.as_ref().err().map(ToString::to_string),
    ]
    .into_iter()
    .flatten()
    .collect();
    let report = report.and_then(Result::ok);
    let devices = devices.unwrap_or_default();
    if args.json {
        let found =
            runtime.as_ref().ok().map(|l| json!({"path": l.path, "version": l.version, "found_by": l.found_by}));
        let bundle = bundle.as_ref().ok().map(|b| {
            json!({
                "path": b.path(), "name": b.name(), "can_draw": b.can_generate(), "can_encode": b.can_encode()
            })
        });
        let devices: Vec<_> = devices.iter().map(device_json).collect();
        say!(
            "{:#}",
            json!({
                "version": detailflow::VERSION, "runtime": found, "devices": devices, "bundle": bundle,
                "report": report.as_ref().map(report_json), "missing": missing
            })
        );
    } else {
        say!("libdetailflow  {}", detailflow::VERSION);
        if let Ok(library) = &runtime {
            say!("ONNX Runtime   {}  {} ({})", library.version, library.path.display(), library.found_by);
        }
        for (at, device) in devices.iter().enumerate() {
            say!("{:<15}{}", if at == 0 { "devices" } else { "" }, device_line(device));
        }
        if let Ok(bundle) = &bundle {
            say!("bundle         {}  {}  ({})", bundle.name(), bundle.path().display(), abilities(bundle));
        }
        if let Some(report) = &report {
            say!("{report}");
        }
        for text in &missing {
            complain!("{text}");
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::Reported) }
}

fn device_line(info: &DeviceInfo) -> String {
    let selected = info.device.as_ref().map_or("(no execution provider)".to_owned(), ToString::to_string);
    let words = [info.kind.to_string(), info.vendor.clone(), info.name.clone()];
    let words: Vec<&str> = words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect();
    let numbers = match (info.vendor_id, info.device_id) {
        (0, 0) => String::new(),
        (vendor, device) => format!(" [{vendor:04x}:{device:04x}]"),
    };
    // Metadata that distinguishes two identical cards.
    let identifies = |key: &str| ["luid", "uuid", "pci"].iter().any(|word| key.to_ascii_lowercase().contains(word));
    let unique: String = info
        .metadata
        .iter()
        .filter(|(key, value)| identifies(key) && !value.is_empty())
        .map(|(key, value)| format!(" {key}={value}"))
        .collect();
    format!("{selected:<14} {}{numbers}{unique}", words.join(" "))
}

fn device_json(info: &DeviceInfo) -> serde_json::Value {
    let metadata: serde_json::Map<_, _> =
        info.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
    json!({
        "device": info.device.as_ref().map(ToString::to_string), "kind": info.kind.to_string(), "vendor": info.vendor,
        "name": info.name, "provider": info.provider, "vendor_id": info.vendor_id, "device_id": info.device_id,
        "metadata": metadata
    })
}

fn report_json(report: &Report) -> serde_json::Value {
    let graphs: Vec<_> = report
        .graphs
        .iter()
        .map(|graph| {
            let providers: Vec<_> = graph
                .providers
                .iter()
                .map(|p| {
                    let operators: serde_json::Map<_, _> =
                        p.operators.iter().map(|(kind, count)| (kind.clone(), (*count).into())).collect();
                    json!({"provider": p.provider, "nodes": p.nodes, "operators": operators})
                })
                .collect();
            let memory: Vec<_> = graph
                .memory
                .iter()
                .map(|held| json!({"memory": held.memory, "bytes": held.bytes, "in_use": held.in_use}))
                .collect();
            json!({
                "graph": graph.graph, "providers": providers, "rest": graph.rest, "memory": memory, "keys_in": graph.kv_memory,
                "replays": graph.replays
            })
        })
        .collect();
    json!({
        "asked": report.asked.to_string(), "device": report.device.to_string(), "refused": report.refused,
        "graphs": graphs
    })
}
