//! `dflow doctor`: is everything here that is needed?

use clap::Args;
use detailflow::{Model, ModelOptions};
use serde_json::json;

use crate::info::abilities;
use crate::{BundleArgs, Failure, say};

#[derive(Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub fn doctor(args: &DoctorArgs) -> std::result::Result<(), Failure> {
    let runtime = detailflow::library();
    let bundle = args.bundle.open();
    let model = match (&runtime, &bundle) {
        (Ok(_), Ok(bundle)) => Model::from_bundle(bundle.clone(), &ModelOptions::default()).map(drop),
        _ => Ok(()),
    };
    let missing: Vec<String> = [
        runtime.as_ref().err().map(ToString::to_string),
        bundle.as_ref().err().map(ToString::to_string),
        model.as_ref().err().map(ToString::to_string),
    ]
    .into_iter()
    .flatten()
    .collect();
    let devices = if runtime.is_ok() { vec!["cpu"] } else { vec![] };
    if args.json {
        let found =
            runtime.as_ref().ok().map(|l| json!({"path": l.path, "version": l.version, "found_by": l.found_by}));
        let bundle = bundle.as_ref().ok().map(|b| {
            json!({
                "path": b.path(), "name": b.name(), "can_draw": b.can_draw(), "can_encode": b.can_encode()
            })
        });
        say!(
            "{:#}",
            json!({"version": detailflow::VERSION, "runtime": found, "devices": devices, "bundle": bundle, "missing": missing})
        );
    } else {
        say!("libdetailflow  {}", detailflow::VERSION);
        if let Ok(library) = &runtime {
            say!("ONNX Runtime   {}  {} ({})", library.version, library.path.display(), library.found_by);
            say!("devices        {}", devices.join(", "));
        }
        if let Ok(bundle) = &bundle {
            say!("bundle         {}  {}  ({})", bundle.name(), bundle.path().display(), abilities(bundle));
        }
        for text in &missing {
            eprintln!("dflow: {text}");
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Failure::Told) }
}
