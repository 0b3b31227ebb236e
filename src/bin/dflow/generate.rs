//! `dflow generate`: draw pictures of a class, or of all.

use std::path::PathBuf;

use clap::Args;
use detailflow::tokens::{TokenFile, TokenImage};
use detailflow::{Curve, Error, Generation, Guidance, ImageRequest, Model, Request};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{Output, check_folder};
use crate::{Failure, ModelArgs, say};

/// Pictures drawn together: enough to use the cores, few enough that memory stays bounded however many are asked
/// for.
const BATCH: usize = 16;

#[derive(Args)]
pub struct GenerateArgs {
    /// A class's name or index; `all` is every class
    class: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Seed of the first picture; the next takes the next
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Pictures of each class
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Guidance scale, 1 is off; without it the model's own
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    guidance: Option<Curve>,
    /// Let guidance fall over the groups
    #[arg(long)]
    gradual: bool,
    /// Temperature, 0 is greedy; without it the model's own
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    temperature: Option<Curve>,
    /// Draw from the K likeliest codes, 0 is off; without it the model's own
    #[arg(long, value_name = "K")]
    top_k: Option<Curve>,
    /// Draw from the likeliest codes up to this probability, 1 is off; without it the model's own
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<Curve>,
    /// Stop at the level of this many pixels; without it the whole picture
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// The picture file. For several pictures one contact sheet, or one file each when it contains {class}, {seed}
    /// or {index}
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the tokens to this file as JSON
    #[arg(long, value_name = "FILE")]
    tokens_out: Option<PathBuf>,
}

pub fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    model.bundle().check_can_draw()?;
    let mut request = Request::new(&model);
    settings(args, &mut request).map_err(Failure::Usage)?;
    let wanted = wanted(args, &model)?;
    let bundle = model.bundle();
    let labels = wanted.iter().map(|image| (Some(bundle.classes()[image.class as usize].clone()), Some(image.seed)));
    let mut output = Output::plan(args.output.as_deref(), labels.collect())?;
    if let Some(path) = &args.tokens_out {
        check_folder(path)?;
        if output.paths().contains(path) {
            let text = format!("{} cannot be both the picture and the tokens", path.display());
            return Err(Failure::Usage(Error::Invalid(text)));
        }
    }

    let steps = model.schedule(request.target()).steps().count();
    let bar = progress_bar((wanted.len().div_ceil(BATCH) * steps + wanted.len()) as u64);
    let mut tokens = Vec::new();
    for batch in wanted.chunks(BATCH) {
        request.set_count(batch.len() as u32)?;
        for (at, image) in batch.iter().enumerate() {
            request.set_image(at, *image)?;
        }
        let mut generation = Generation::new(&request)?;
        while generation.step()?.steps_left > 0 {
            bar.inc(1);
        }
        bar.inc(1);
        for (at, image) in batch.iter().enumerate() {
            output.add(generation.image(at)?)?;
            let class = Some(bundle.classes()[image.class as usize].clone());
            tokens.push(TokenImage { class, seed: Some(image.seed), tokens: generation.tokens(at)?.to_vec() });
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut written = output.finish()?;
    if let Some(path) = &args.tokens_out {
        TokenFile::new(bundle, tokens).save(path)?;
        written.push(path.clone());
    }
    for path in written {
        say!("{}", path.display());
    }
    Ok(())
}

fn settings(args: &GenerateArgs, request: &mut Request) -> detailflow::Result<()> {
    let guidance = request.guidance();
    request.set_guidance(Guidance {
        scale: args.guidance.clone().unwrap_or_else(|| guidance.scale.clone()),
        gradual: args.gradual || guidance.gradual,
    })?;
    if let Some(temperature) = &args.temperature {
        request.set_temperature(temperature.clone())?;
    }
    if let Some(top_k) = &args.top_k {
        request.set_top_k(top_k.clone())?;
    }
    if let Some(top_p) = &args.top_p {
        request.set_top_p(top_p.clone())?;
    }
    if let Some(level) = args.level {
        request.set_level(level)?;
    }
    Ok(())
}

/// Every picture that was asked for: class by class, the same seeds each.
fn wanted(args: &GenerateArgs, model: &Model) -> Result<Vec<ImageRequest>, Failure> {
    let bundle = model.bundle();
    let all = args.class == "all" && !bundle.classes().iter().any(|name| name == "all");
    let classes: Vec<u32> = if all {
        (0..bundle.classes().len() as u32).collect()
    } else {
        vec![bundle.class(&args.class).map_err(Failure::Usage)?]
    };
    let seeds = (0..u64::from(args.count)).map(|k| args.seed.wrapping_add(k));
    Ok(classes.iter().flat_map(|&class| seeds.clone().map(move |seed| ImageRequest { class, seed })).collect())
}

/// On a terminal a bar, in a pipe nothing.
pub fn progress_bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent}%  {elapsed} (left {eta})")
        .expect("the template is a constant");
    ProgressBar::new(length).with_style(style)
}
