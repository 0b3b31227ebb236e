//! `dflow verify`: is the bundle whole, and does every variant run?

use clap::Args;
use detailflow::{Bundle, Error, Generation, Guidance, Model, ModelOptions, Picture, PixelFormat, Request, Result};

use crate::draw::progress_bar;
use crate::{BundleArgs, Failure, say};

#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    bundle: BundleArgs,
}

pub fn verify(args: &VerifyArgs) -> std::result::Result<(), Failure> {
    let bundle = args.bundle.open()?;
    let bar = progress_bar(0);
    let hashed = bundle.verify(|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    hashed?;
    let bytes: u64 = bundle.files().iter().map(|file| file.length).sum();
    say!(
        "{}: {} files, {:.1} MB, lengths and SHA-256 as the manifest says",
        bundle.path().display(),
        bundle.files().len(),
        bytes as f64 / 1e6
    );
    let (mut failed, mut ran) = (false, false);
    for variant in bundle.variants() {
        let name = format!("{} {}", variant.precision, variant.form);
        match run_each_graph(&bundle, &variant.precision, &variant.form) {
            Ok(()) => {
                ran = true;
                let graphs = match (bundle.can_draw(), bundle.can_encode()) {
                    (true, true) => "ar, decoder and encoder compile, have their signatures, and run",
                    (true, false) => "ar and decoder compile, have their signatures, and run",
                    (false, true) => "decoder and encoder compile, have their signatures, and run",
                    (false, false) => "decoder compiles, has its signature, and runs",
                };
                say!("{name}: {graphs}");
            }
            // What this ONNX Runtime is too old for is no fault of the bundle.
            Err(error @ Error::Runtime(_)) if detailflow::library().is_ok() => say!("{name}: not run: {error}"),
            Err(error) => {
                failed = true;
                eprintln!("dflow: {name}: {error}");
            }
        }
    }
    if !ran && !failed {
        eprintln!("dflow: no variant of this bundle runs with this ONNX Runtime");
    }
    if failed || !ran { Err(Failure::Told) } else { Ok(()) }
}

/// Draws the coarsest level (every query shape of it), decodes it, and encodes a grey picture; without what draws,
/// the coarsest level's tokens are code 0.
fn run_each_graph(bundle: &Bundle, precision: &str, form: &str) -> Result<()> {
    let options = ModelOptions { precision: Some(precision.into()), form: Some(form.into()), ..Default::default() };
    let model = Model::from_bundle(bundle.clone(), &options)?;
    if bundle.can_draw() {
        draw(&model)?;
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
