//! `dflow verify`: is the bundle whole, does every variant run, and how near is it to fp32 or to whatever is named?

use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::{
    Bundle, Comparison, Error, Generation, Guidance, Image, ImageRequest, Model, ModelOptions, Picture, PixelFormat,
    RecordComparison, Request, Result, Tolerance, bundle::Variant, tasks,
};
use serde_json::{Value, json};

use crate::draw::progress_bar;
use crate::source::Source;
use crate::{BundleArgs, Failure, say, sheet};

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Judge against this: a precision of the bundle, another bundle of the same tokenizer, or DIR:PRECISION; without it
    /// against fp32 where the bundle has it, else against what its manifest says of the source weights
    #[arg(long, value_name = "PRECISION|DIR")]
    against: Option<String>,
    /// Only this precision
    #[arg(long, value_name = "P")]
    precision: Option<String>,
    /// Only this attention form
    #[arg(long, value_name = "FORM")]
    form: Option<String>,
    /// Judge by the pictures of this token file, whole ones with their classes; without it by those of the manifest, else
    /// by some that the reference draws
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Draw the same classes and seeds with both, side by side (needs --against or fp32 in the bundle, and one --precision)
    #[arg(long, value_name = "OUT.png")]
    sheet: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Pictures that the reference draws, when there are no others.
const DRAWN: usize = 8;
/// Pictures of a class that each of the two draws onto the sheet, and classes at most.
const ON_SHEET: u64 = 4;
const CLASSES_ON_SHEET: usize = 24;

/// What variants are judged against.
struct Reference {
    model: Model,
    name: String,
    pictures: Vec<(u32, Vec<u32>)>,
}

pub fn verify(args: &VerifyArgs) -> std::result::Result<(), Failure> {
    let bundle = args.bundle.open()?;
    let chosen: Vec<&Variant> = bundle
        .variants()
        .iter()
        .filter(|v| args.precision.as_ref().is_none_or(|p| *p == v.precision))
        .filter(|v| args.form.as_ref().is_none_or(|form| *form == v.form))
        .collect();
    if chosen.is_empty() {
        let there: Vec<String> = bundle.variants().iter().map(name).collect();
        let text = format!("{} has no such variant; it has: {}", bundle.path().display(), there.join(", "));
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    check_files(&bundle, args.json)?;
    let reference = reference(args, &bundle)?;
    let mut rows = Vec::new();
    let (mut failed, mut ran) = (false, false);
    for variant in chosen {
        match look(&bundle, variant, reference.as_ref()) {
            Ok(found) => {
                ran = true;
                failed |= !found.past.is_empty();
                if !args.json {
                    say!("{}: {}", name(variant), ran_words(&bundle));
                }
                for sentence in &found.past {
                    eprintln!("dflow: {}: {sentence}", name(variant));
                }
                rows.push((variant, found));
            }
            // What this ONNX Runtime is too old for is no fault of the bundle.
            Err(error @ Error::Runtime(_)) if detailflow::library().is_ok() => {
                if args.json {
                    eprintln!("dflow: {}: not run: {error}", name(variant));
                } else {
                    say!("{}: not run: {error}", name(variant));
                }
            }
            Err(error) => {
                failed = true;
                eprintln!("dflow: {}: {error}", name(variant));
            }
        }
    }
    if args.json {
        tell_json(&bundle, reference.as_ref(), &rows, !failed && ran);
    } else {
        tell_table(reference.as_ref(), &rows);
    }
    if !ran && !failed {
        eprintln!("dflow: no variant of this bundle runs with this ONNX Runtime");
    }
    if let Some(path) = &args.sheet {
        draw_sheet(path, &bundle, reference.as_ref(), &rows)?;
    }
    if failed || !ran { Err(Failure::Told) } else { Ok(()) }
}

fn name(variant: &Variant) -> String {
    format!("{} {}", variant.precision, variant.form)
}

fn check_files(bundle: &Bundle, quiet: bool) -> Result<()> {
    let bar = progress_bar(0);
    let hashed = bundle.verify(|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    hashed?;
    let bytes: u64 = bundle.files().iter().map(|file| file.length).sum();
    if !quiet {
        say!(
            "{}: {} files, {:.1} MB, lengths and SHA-256 as the manifest says",
            bundle.path().display(),
            bundle.files().len(),
            bytes as f64 / 1e6
        );
    }
    Ok(())
}

/// Compiles the variant of this name and form.
fn open(bundle: &Bundle, precision: &str, form: Option<&str>) -> Result<Model> {
    let mut options = ModelOptions::new().with_precision(precision);
    options.form = form.map(str::parse).transpose()?;
    Model::from_bundle(bundle.clone(), &options)
}

// ------------------------------------------------------------------------------------------------ what to judge by

/// What to judge against; none when nothing was named and there is no fp32 (or it needs a newer ONNX Runtime).
fn reference(args: &VerifyArgs, bundle: &Bundle) -> std::result::Result<Option<Reference>, Failure> {
    let (other, precision) = match &args.against {
        Some(text) => against(text, bundle)?,
        None if bundle.variants().iter().any(|v| v.precision == "fp32") => (bundle.clone(), Some("fp32".to_owned())),
        None => return Ok(None),
    };
    let opened = match &precision {
        Some(precision) => open(&other, precision, None),
        None => Model::from_bundle(other.clone(), &ModelOptions::default()),
    };
    let model = match opened {
        Ok(model) => model,
        // That a graph does not compile is told with its variant.
        Err(_) if args.against.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let place = if other.path() == bundle.path() { String::new() } else { format!("{} ", other.path().display()) };
    let name = format!("{place}{}", name(model.variant()));
    let pictures = pictures(args.tokens.as_deref(), bundle, &model)?;
    Ok(Some(Reference { model, name, pictures }))
}

/// The bundle and the precision that `--against` means.
fn against(text: &str, bundle: &Bundle) -> std::result::Result<(Bundle, Option<String>), Failure> {
    let has = |bundle: &Bundle, precision: &str| bundle.variants().iter().any(|v| v.precision == precision);
    if has(bundle, text) {
        return Ok((bundle.clone(), Some(text.to_owned())));
    }
    if Path::new(text).is_dir() {
        let other = Bundle::open(text)?;
        let precision = has(&other, "fp32").then(|| "fp32".to_owned());
        return Ok((other, precision));
    }
    if let Some((folder, precision)) = text.rsplit_once(':')
        && Path::new(folder).is_dir()
    {
        let other = Bundle::open(folder)?;
        if has(&other, precision) {
            return Ok((other, Some(precision.to_owned())));
        }
        let error = format!("--against: {folder} has no precision {precision}");
        return Err(Failure::Usage(Error::Invalid(error)));
    }
    let error = format!(
        "--against: \"{text}\" is neither a precision of {} nor the folder of a bundle",
        bundle.path().display()
    );
    Err(Failure::Usage(Error::Invalid(error)))
}

/// Whole pictures with their classes.
fn pictures(file: Option<&Path>, bundle: &Bundle, model: &Model) -> std::result::Result<Vec<(u32, Vec<u32>)>, Failure> {
    if let Some(path) = file {
        let source = Source::open(path)?;
        return (0..source.len())
            .map(|index| {
                let image = source.sound(index, path, bundle)?;
                let class = match &image.class {
                    Some(class) => bundle.class(class).map_err(Failure::Usage)?,
                    None if !bundle.can_generate() => 0,
                    None => {
                        let text = format!("{}: picture {index} names no class", path.display());
                        return Err(Failure::Usage(Error::Invalid(text)));
                    }
                };
                Ok((class, image.tokens))
            })
            .collect();
    }
    if !bundle.judged().is_empty() {
        return Ok(bundle.judged().iter().map(|picture| (picture.class, picture.tokens.clone())).collect());
    }
    if !model.bundle().can_generate() {
        // Any tokens are a picture.
        let token = |at: usize| (at.wrapping_mul(2_654_435_761) >> 7) % bundle.codes();
        let tokens = |picture| (0..bundle.tokens()).map(|at| token(picture * bundle.tokens() + at) as u32).collect();
        return Ok((0..DRAWN).map(|picture| (0, tokens(picture))).collect());
    }
    // As the model holds them likely: no guidance, temperature 1.
    let classes = model.bundle().classes().len();
    let mut request = Request::new(model);
    request.set_count(DRAWN as u32)?.set_guidance(Guidance::constant(1.0))?;
    request.set_temperature(1.0)?.set_top_k(0.0)?.set_top_p(1.0)?;
    for at in 0..DRAWN {
        let class = (at * classes / DRAWN) as u32;
        request.set_image(at, ImageRequest { class, seed: at as u64 })?;
    }
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    (0..DRAWN).map(|at| Ok((request.images()[at].class, generation.tokens(at)?.to_vec()))).collect()
}

// ------------------------------------------------------------------------------------------------ a variant

/// What was found of a variant.
#[derive(Default)]
struct Found {
    judgement: Option<Comparison>,
    record: Option<RecordComparison>,
    past: Vec<String>,
}

fn look(bundle: &Bundle, variant: &Variant, reference: Option<&Reference>) -> Result<Found> {
    let model = open(bundle, &variant.precision, Some(&variant.form))?;
    run_each_graph(&model)?;
    let tolerance = Tolerance::of(variant.precision.as_str());
    let mut found = Found::default();
    match reference {
        Some(reference) => {
            let other = reference.model.variant();
            let same = bundle.path() == reference.model.bundle().path() && name(variant) == name(other);
            if !same {
                let pictures: Vec<(u32, &[u32])> = reference.pictures.iter().map(|(c, t)| (*c, &t[..])).collect();
                let judgement = tasks::compare(&model, &reference.model, &pictures)?;
                let both = tolerance.zip(Tolerance::of(other.precision.as_str())).map(|(a, b)| a.looser(b));
                found.past = both.map(|tolerance| judgement.past(tolerance)).unwrap_or_default();
                found.judgement = Some(judgement);
            }
        }
        None if bundle.can_generate() => {
            found.record = tasks::compare_with_record(&model)?;
            if let (Some(record), Some(tolerance)) = (found.record, tolerance)
                && (record.kl.is_nan() || record.kl > tolerance.kl)
            {
                let bound = tolerance.kl;
                found.past.push(format!("the divergence is about {:.4}, at most {bound} is allowed", record.kl));
            }
        }
        None => {}
    }
    Ok(found)
}

fn ran_words(bundle: &Bundle) -> &'static str {
    match (bundle.can_generate(), bundle.can_encode()) {
        (true, true) => "ar, decoder and encoder compile, have their signatures, and run",
        (true, false) => "ar and decoder compile, have their signatures, and run",
        (false, true) => "decoder and encoder compile, have their signatures, and run",
        (false, false) => "decoder compiles, has its signature, and runs",
    }
}

/// Draws the coarsest level (every query shape of it), decodes it, and encodes a grey picture; without what draws,
/// the coarsest level's tokens are code 0.
fn run_each_graph(model: &Model) -> Result<()> {
    let bundle = model.bundle();
    if bundle.can_generate() {
        draw(model)?;
    } else {
        model.decode(&vec![0; bundle.causal()])?;
    }
    if bundle.can_encode() {
        let grey = Picture::from_pixels(PixelFormat::Rgb8, 1, 1, &[128; 3], 3)?;
        model.encode(&grey)?;
    }
    Ok(())
}

fn draw(model: &Model) -> Result<()> {
    let bundle = model.bundle();
    let mut request = Request::new(model);
    request.set_guidance(Guidance::constant(1.0))?;
    // One parallel step, where there is one: the other query length.
    let parallel = bundle.ladder().levels().iter().find(|level| level.tokens > bundle.causal());
    request.set_level(parallel.map_or(0, |level| level.size))?;
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    generation.image(0)?;
    Ok(())
}

// ------------------------------------------------------------------------------------------------ telling

fn tell_table(reference: Option<&Reference>, rows: &[(&Variant, Found)]) {
    if let Some(reference) = reference
        && rows.iter().any(|(_, found)| found.judgement.is_some())
    {
        say!("against {}, over {} pictures:", reference.name, reference.pictures.len());
        say!(
            "{:<13}{:>10}{:>12}{:>12}{:>9}{:>11}{:>8}{:>15}{:>9}",
            "",
            "kl, nats",
            "worst step",
            "logits max",
            "rms",
            "likeliest",
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
                "{}: {:.2e} nats a token from the source weights, by the pictures of the manifest; no log-probability off by more than {:.3}",
                name(variant),
                record.kl,
                record.largest
            );
        }
    }
}

fn tell_json(bundle: &Bundle, reference: Option<&Reference>, rows: &[(&Variant, Found)], ok: bool) {
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
                "past": found.past
            })
        })
        .collect();
    let against = reference.map(|reference| json!({"name": reference.name, "pictures": reference.pictures.len()}));
    say!("{:#}", json!({"bundle": bundle.path(), "against": against, "variants": variants, "ok": ok}));
}

/// Of each class a row: the reference's pictures, then those of the variant with the same seeds.
fn draw_sheet(
    path: &Path,
    bundle: &Bundle,
    reference: Option<&Reference>,
    rows: &[(&Variant, Found)],
) -> std::result::Result<(), Failure> {
    let usage = |text: &str| Err(Failure::Usage(Error::Invalid(format!("--sheet: {text}"))));
    let Some(reference) = reference else { return usage("there is nothing to draw beside: say --against") };
    let Some((variant, _)) = rows.iter().find(|(_, found)| found.judgement.is_some()) else {
        return usage("there is no variant to draw beside the reference");
    };
    bundle.check_can_generate()?;
    reference.model.bundle().check_can_generate()?;
    let model = open(bundle, &variant.precision, Some(&variant.form))?;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let classes = bundle.classes();
    for class in (0..classes.len()).take(CLASSES_ON_SHEET) {
        let title = format!("{}: {} | {}", classes[class], reference.model.variant().precision, variant.precision);
        for model in [&reference.model, &model] {
            for (seed, image) in drawn(model, bundle, class as u32)?.into_iter().enumerate() {
                images.push(image);
                labels.push((Some(title.clone()), Some(seed as u64)));
            }
        }
    }
    sheet::save(path, &images, &labels)
}

/// Some pictures of a class, sampled as the makers of `bundle` would.
fn drawn(model: &Model, bundle: &Bundle, class: u32) -> Result<Vec<Image>> {
    let defaults = bundle.sampling();
    let mut request = Request::new(model);
    request.set_count(ON_SHEET as u32)?.set_class(class)?.set_seed(0);
    request.set_guidance(Guidance { scale: defaults.guidance.into(), gradual: defaults.gradual })?;
    request.set_temperature(defaults.temperature)?.set_top_k(defaults.top_k as f32)?.set_top_p(defaults.top_p)?;
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    (0..ON_SHEET as usize).map(|image| generation.image(image)).collect()
}
