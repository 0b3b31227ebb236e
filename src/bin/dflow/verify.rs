//! `dflow verify`: checks the files of a bundle, runs every variant, and compares each with fp32 or another reference.

mod output;
mod reference;

use std::path::PathBuf;

use clap::Args;
use detailflow::{
    Bundle, Comparison, Error, Generation, Guidance, Model, ModelOptions, Picture, PixelFormat, RecordComparison,
    Request, Result, Tolerance, bundle::Variant, tasks,
};

use crate::batches::progress_bar;
use crate::{BundleArgs, Failure, complain, say};
use output::{print_json, print_table, write_sheet};
use reference::{Reference, reference};

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    bundle: BundleArgs,
    /// Reference to compare with: a precision of the bundle, another bundle of the same tokenizer, or DIR:PRECISION
    /// [default: fp32 if the bundle has it, else the log-probabilities of the source weights in the manifest]
    #[arg(long, value_name = "PRECISION|DIR")]
    against: Option<String>,
    /// Check only this precision
    #[arg(long, value_name = "P")]
    precision: Option<String>,
    /// Check only this attention form: native, mha, plain or fixed
    #[arg(long, value_name = "FORM")]
    form: Option<String>,
    /// Token file with the pictures to compare on, complete and with their classes [default: the pictures in the manifest,
    /// else pictures that the reference generates]
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Write a contact sheet with the same classes and seeds from both, side by side (needs --against or fp32 in the bundle,
    /// and one --precision)
    #[arg(long, value_name = "OUT.png")]
    sheet: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
        let text = format!(
            "{} has no variant of that precision and form; it has: {}",
            bundle.path().display(),
            there.join(", ")
        );
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    check_files(&bundle, args.json)?;
    let reference = reference(args, &bundle)?;
    let mut rows = Vec::new();
    let (mut failed, mut ran) = (false, false);
    for variant in chosen {
        match check(&bundle, variant, reference.as_ref()) {
            Ok(found) => {
                ran = true;
                failed |= !found.exceeded.is_empty();
                if !args.json {
                    say!("{}: {}", name(variant), ran_words(&bundle));
                }
                for sentence in &found.exceeded {
                    complain!("{}: {sentence}", name(variant));
                }
                rows.push((variant, found));
            }
            // An ONNX Runtime that is too old for a variant is not an error of the bundle.
            Err(error @ Error::Runtime(_)) if detailflow::library().is_ok() => {
                if args.json {
                    complain!("{}: not run: {error}", name(variant));
                } else {
                    say!("{}: not run: {error}", name(variant));
                }
            }
            Err(error) => {
                failed = true;
                complain!("{}: {error}", name(variant));
            }
        }
    }
    if args.json {
        print_json(&bundle, reference.as_ref(), &rows, !failed && ran);
    } else {
        print_table(reference.as_ref(), &rows);
    }
    if !ran && !failed {
        complain!("no variant of this bundle runs with this ONNX Runtime");
    }
    if let Some(path) = &args.sheet {
        write_sheet(path, &bundle, reference.as_ref(), &rows)?;
    }
    if failed || !ran { Err(Failure::Reported) } else { Ok(()) }
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
            "{}: {} files, {:.1} MB, lengths and SHA-256 match the manifest",
            bundle.path().display(),
            bundle.files().len(),
            bytes as f64 / 1e6
        );
    }
    Ok(())
}

/// Opens the bundle with this precision and form.
fn open(bundle: &Bundle, precision: &str, form: Option<&str>) -> Result<Model> {
    let mut options = ModelOptions::new().with_precision(precision);
    options.form = form.map(str::parse).transpose()?;
    Model::from_bundle(bundle.clone(), &options)
}

/// The results of checking a variant.
#[derive(Default)]
struct Found {
    judgement: Option<Comparison>,
    record: Option<RecordComparison>,
    exceeded: Vec<String>,
}

fn check(bundle: &Bundle, variant: &Variant, reference: Option<&Reference>) -> Result<Found> {
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
                found.exceeded = both.map(|tolerance| judgement.past(tolerance)).unwrap_or_default();
                found.judgement = Some(judgement);
            }
        }
        None if bundle.can_generate() => {
            found.record = tasks::compare_with_record(&model)?;
            if let (Some(record), Some(tolerance)) = (found.record, tolerance)
                && (record.kl.is_nan() || record.kl > tolerance.kl)
            {
                let bound = tolerance.kl;
                found.exceeded.push(format!("the KL divergence is about {:.4}; at most {bound} is allowed", record.kl));
            }
        }
        None => {}
    }
    Ok(found)
}

fn ran_words(bundle: &Bundle) -> &'static str {
    match (bundle.can_generate(), bundle.can_encode()) {
        (true, true) => "ar, decoder and encoder compile, have the expected signatures, and run",
        (true, false) => "ar and decoder compile, have the expected signatures, and run",
        (false, true) => "decoder and encoder compile, have the expected signatures, and run",
        (false, false) => "decoder compiles, has the expected signature, and runs",
    }
}

/// Generates the coarsest level that has a parallel step, decodes it, and encodes a grey picture; a bundle that cannot
/// generate decodes tokens of code 0.
fn run_each_graph(model: &Model) -> Result<()> {
    let bundle = model.bundle();
    if bundle.can_generate() {
        generate(model)?;
    } else {
        model.decode(&vec![0; bundle.causal()])?;
    }
    if bundle.can_encode() {
        let grey = Picture::from_pixels(PixelFormat::Rgb8, 1, 1, &[128; 3], 3)?;
        model.encode(&grey)?;
    }
    Ok(())
}

fn generate(model: &Model) -> Result<()> {
    let bundle = model.bundle();
    let mut request = Request::new(model);
    request.set_guidance(Guidance::constant(1.0))?;
    // Includes a parallel step, if there is one, so that both query lengths run.
    let parallel = bundle.ladder().levels().iter().find(|level| level.tokens > bundle.causal());
    request.set_level_size(parallel.map_or(0, |level| level.size))?;
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    generation.image(0)?;
    Ok(())
}
