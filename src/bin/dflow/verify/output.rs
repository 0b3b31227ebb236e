//! The results of `dflow verify`: a table, JSON, and the contact sheet of samples.

use std::path::Path;

use detailflow::bundle::Variant;
use detailflow::pixels::FileFormat;
use detailflow::{Bundle, Error, Generation, Guidance, Image, Model, Request, Result};
use serde_json::{Value, json};

use super::{Found, Reference, name, open};
use crate::{Failure, say, sheet};

/// Pictures per class and model on the sheet, and the largest number of classes.
const ON_SHEET: u64 = 4;
const CLASSES_ON_SHEET: usize = 24;

pub fn print_table(reference: Option<&Reference>, rows: &[(&Variant, Found)]) {
    if let Some(reference) = reference
        && rows.iter().any(|(_, found)| found.judgement.is_some())
    {
        say!("compared with {} on {} pictures:", reference.name, reference.pictures.len());
        say!(
            "{:<13}{:>10}{:>12}{:>12}{:>9}{:>11}{:>8}{:>15}{:>9}",
            "",
            "kl, nats",
            "worst step",
            "logits max",
            "rms",
            "top-1",
            "greedy",
            "psnr, dB",
            "encoder"
        );
    }
    let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    for (variant, found) in rows {
        if let Some(judgement) = &found.judgement {
            let number = |get: fn(&detailflow::LogitComparison) -> f64| {
                judgement.ar.as_ref().map_or("-".to_owned(), |ar| format!("{:.2e}", get(ar)))
            };
            let psnr: Vec<f64> = judgement.psnr.values().copied().collect();
            let (least, most) = psnr.iter().fold((f64::INFINITY, 0f64), |(a, b), &x| (a.min(x), b.max(x)));
            say!(
                "{:<13}{:>10}{:>12}{:>12}{:>9}{:>11}{:>8}{:>15}{:>9}",
                name(variant),
                number(|ar| ar.kl),
                number(|ar| ar.kl_worst),
                number(|ar| ar.logits_max),
                number(|ar| ar.logits_rms),
                share(judgement.ar.map(|ar| ar.agreement)),
                share(judgement.ar.map(|ar| ar.greedy)),
                format!("{least:.1}..{most:.1}"),
                share(judgement.encoder)
            );
        }
        if let Some(record) = found.record {
            say!(
                "{}: KL divergence from the source weights {:.2e} nats per token on the pictures in the manifest; largest error of a \
                 log-probability {:.3}",
                name(variant),
                record.kl,
                record.largest
            );
        }
    }
}

pub fn print_json(bundle: &Bundle, reference: Option<&Reference>, rows: &[(&Variant, Found)], ok: bool) {
    let variants: Vec<Value> = rows
        .iter()
        .map(|(variant, found)| {
            let judgement = found.judgement.as_ref().map(|judgement| {
                let ar = judgement.ar.map(|ar| {
                    json!({
                        "kl": ar.kl, "kl_worst": ar.kl_worst, "logits_max": ar.logits_max, "logits_rms": ar.logits_rms,
                        "agreement": ar.agreement, "greedy": ar.greedy
                    })
                });
                json!({"ar": ar, "psnr": judgement.psnr, "encoder": judgement.encoder})
            });
            let record = found.record.map(|record| json!({"kl": record.kl, "largest": record.largest}));
            json!({
                "precision": variant.precision, "form": variant.form, "judgement": judgement, "record": record,
                "past": found.exceeded
            })
        })
        .collect();
    let against = reference.map(|reference| json!({"name": reference.name, "pictures": reference.pictures.len()}));
    say!("{:#}", json!({"bundle": bundle.path(), "against": against, "variants": variants, "ok": ok}));
}

/// One row per class: the pictures of the reference, then those of the variant with the same seeds.
pub fn write_sheet(
    path: &Path,
    bundle: &Bundle,
    reference: Option<&Reference>,
    rows: &[(&Variant, Found)],
) -> std::result::Result<(), Failure> {
    let usage = |text: &str| Err(Failure::Usage(Error::Invalid(format!("--sheet: {text}"))));
    let Some(reference) = reference else { return usage("there is no reference; name one with --against") };
    let Some((variant, _)) = rows.iter().find(|(_, found)| found.judgement.is_some()) else {
        return usage("there is no variant to compare with the reference");
    };
    bundle.check_can_generate()?;
    reference.model.bundle().check_can_generate()?;
    let model = open(bundle, &variant.precision, Some(&variant.form))?;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let classes = bundle.classes();
    for class in (0..classes.len()).take(CLASSES_ON_SHEET) {
        let title = format!("{}: {} | {}", classes[class], reference.model.variant().precision, variant.precision);
        for model in [&reference.model, &model] {
            for (seed, image) in samples(model, bundle, class as u32)?.into_iter().enumerate() {
                images.push(image);
                labels.push((Some(title.clone()), Some(seed as u64)));
            }
        }
    }
    sheet::save(path, FileFormat::Png, &images, &labels)?;
    Ok(())
}

/// Pictures of a class with the default sampling of `bundle`.
fn samples(model: &Model, bundle: &Bundle, class: u32) -> Result<Vec<Image>> {
    let defaults = bundle.sampling();
    let mut request = Request::new(model);
    request.set_count(ON_SHEET as u32)?.set_class(class)?.set_seed(0);
    request.set_guidance(Guidance { scale: defaults.guidance.into(), gradual: defaults.gradual })?;
    request.set_temperature(defaults.temperature)?.set_top_k(defaults.top_k as f32)?.set_top_p(defaults.top_p)?;
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    (0..ON_SHEET as usize).map(|image| generation.image(image)).collect()
}
