//! `dflow info`: what a bundle contains.

use clap::Args;
use detailflow::{Bundle, printable};
use serde_json::json;

use crate::finishing::words;
use crate::{BundleArgs, Failure, say};

#[derive(Args)]
pub struct InfoArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InfoArgs) -> Result<(), Failure> {
    let bundle = args.bundle.open()?;
    if args.json {
        say!("{:#}", as_json(&bundle));
    } else {
        print(&bundle);
    }
    Ok(())
}

fn as_json(bundle: &Bundle) -> serde_json::Value {
    let sampling = bundle.sampling();
    let levels: Vec<_> = bundle.ladder().levels().iter().map(|l| json!({"size": l.size, "tokens": l.tokens})).collect();
    let variants: Vec<_> = bundle
        .variants()
        .iter()
        .map(|v| json!({"precision": v.precision, "form": v.form, "devices": v.devices, "min_runtime": v.min_runtime}))
        .collect();
    json!({
        "path": bundle.path(),
        "name": bundle.name(),
        "license": bundle.license(),
        "tokenizer_id": bundle.tokenizer_id(),
        "provenance": {
            "exporter": bundle.provenance().exporter,
            "tokenizer": bundle.provenance().tokenizer,
            "ar": bundle.provenance().ar,
        },
        "size": bundle.size(),
        "channels": bundle.channels(),
        "tokens": bundle.tokens(),
        "group": bundle.group(),
        "causal": bundle.causal(),
        "codes": bundle.codes(),
        "bits": bundle.bits(),
        "classes": bundle.classes(),
        "levels": levels,
        "sampling": {
            "guidance": sampling.guidance,
            "gradual": sampling.gradual,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
        },
        "finish": bundle.finish(),
        "can_draw": bundle.can_generate(),
        "can_encode": bundle.can_encode(),
        "variants": variants,
        "bytes": bundle.files().iter().map(|file| file.length).sum::<u64>(),
    })
}

fn print(bundle: &Bundle) {
    let colours = if bundle.channels() == 4 { "RGBA" } else { "RGB" };
    let bytes: u64 = bundle.files().iter().map(|file| file.length).sum();
    let sampling = bundle.sampling();
    let steps = bundle.causal() + (bundle.tokens() - bundle.causal()) / bundle.group();
    let code_bytes = (bundle.tokens() * bundle.bits() as usize).div_ceil(8);
    say!("{}  ({}, {:.1} MB)", printable(bundle.name()), bundle.path().display(), bytes as f64 / 1e6);
    say!("licence    {}", printable(bundle.license()));
    say!("picture    {0} x {0} {colours}", bundle.size());
    say!(
        "tokens     {} of {} bits ({code_bytes} bytes), {} sampled one by one, then groups of {}: {steps} steps",
        bundle.tokens(),
        bundle.bits(),
        bundle.causal(),
        bundle.group()
    );
    say!("tokenizer  {}", bundle.tokenizer_id());
    let levels: Vec<String> =
        bundle.ladder().levels().iter().map(|l| format!("{} px ({} tokens)", l.size, l.tokens)).collect();
    say!("levels     {}", levels.join(", "));
    say!("can        {}", abilities(bundle));
    let top_k = if sampling.top_k == 0 { "off".to_owned() } else { sampling.top_k.to_string() };
    if bundle.can_generate() {
        say!(
            "sampling   guidance {}{}, temperature {}, top-k {top_k}, top-p {}",
            sampling.guidance,
            if sampling.gradual { " gradual" } else { "" },
            sampling.temperature,
            sampling.top_p
        );
    }
    say!("finish     {}", words(bundle.finish()));
    let variants: Vec<String> =
        bundle.variants().iter().map(|v| format!("{} {} ({})", v.precision, v.form, v.devices.join(", "))).collect();
    say!("variants   {}", variants.join(", "));
    let classes = bundle.classes();
    let shown = classes.len().min(32);
    let more = if classes.len() > shown {
        format!(", ... and {} more (--json lists all)", classes.len() - shown)
    } else {
        String::new()
    };
    if shown > 0 {
        say!("classes    {}: {}{more}", classes.len(), classes[..shown].join(", "));
    }
}

/// What the bundle's graphs can do, in words.
pub fn abilities(bundle: &Bundle) -> &'static str {
    match (bundle.can_generate(), bundle.can_encode()) {
        (true, true) => "generate, decode, encode",
        (true, false) => "generate, decode (no encoder)",
        (false, true) => "decode, encode (no autoregressive model)",
        (false, false) => "decode (decoder only)",
    }
}
