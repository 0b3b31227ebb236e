//! `dflow vary` and `dflow redetail`: keep the coarse tokens of a picture and generate the rest.

use std::path::PathBuf;

use clap::Args;
use detailflow::{Error, ImageRequest, Request};

use crate::batches::{Batches, OutputArgs};
use crate::effort::EffortArgs;
use crate::finishing::FinishArgs;
use crate::mixes::{AvoidArgs, Wanted};
use crate::settings::SettingsArgs;
use crate::source::Source;
use crate::{Failure, ModelArgs, stream};

#[derive(Args)]
pub struct VaryArgs {
    /// Token file: .dft, .dftpack or JSON; - reads standard input
    tokens: PathBuf,
    /// Index of the picture in the file, from 0
    #[arg(long, value_name = "I", default_value_t = 0)]
    picture: u32,
    /// Class to generate, by name or index, or several with weights: dragon:0.6,golem:0.4; then nothing is avoided without
    /// --avoid [default: those that the file names]
    #[arg(long, value_name = "C")]
    class: Option<String>,
    #[command(flatten)]
    avoid: AvoidArgs,
    /// Level whose tokens are kept, in pixels per side [default: keep all tokens of the file and continue after them]
    #[arg(long, value_name = "PX")]
    keep: Option<u32>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Generation options")]
    settings: SettingsArgs,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn vary(args: &VaryArgs) -> Result<(), Failure> {
    let source = Source::open(&args.tokens)?;
    let place = args.tokens.display();
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let image = source.sound(args.picture, &args.tokens, model.bundle())?;
    // What is not said is that of the file.
    let class = args.class.as_deref().or(image.mix.as_deref()).or(image.class.as_deref());
    let class = class.ok_or_else(|| Failure::Usage(Error::Invalid(format!("{place} names no class; use --class"))))?;
    let avoid = args.avoid.avoid.as_deref().or(image.avoid.as_deref().filter(|_| args.class.is_none()));
    let wanted = Wanted::one(model.bundle(), class, avoid)?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    request.set_prefix_level(&image.tokens, args.keep.unwrap_or(0)).map_err(Failure::Usage)?;
    generate(&args.settings, (&args.output, &args.finish), &mut request, &wanted, |_| Ok(()))
}

#[derive(Args)]
pub struct RedetailArgs {
    /// Picture file, of any size and colour mode; cropped to the centre square and resized. - reads standard input
    image: PathBuf,
    /// Class to generate, by name or index, or several with weights: dragon:0.6,golem:0.4
    #[arg(long, value_name = "C")]
    class: String,
    #[command(flatten)]
    avoid: AvoidArgs,
    /// Level of the picture that is kept, in pixels per side; finer detail is generated
    #[arg(long, value_name = "PX")]
    keep: u32,
    #[command(flatten)]
    effort: EffortArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten, next_help_heading = "Generation options")]
    settings: SettingsArgs,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn redetail(args: &RedetailArgs) -> Result<(), Failure> {
    let picture = stream::picture(&args.image)?;
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    request.clone().set_level_size(args.keep).map_err(Failure::Usage)?;
    let wanted = Wanted::one(model.bundle(), &args.class, args.avoid.avoid.as_deref())?;
    // As many tokens as there will be, until the outputs are checked: a search may take long.
    let kept = model.bundle().ladder().level(args.keep).map_or(model.bundle().tokens(), |level| level.tokens);
    request.set_prefix(&vec![0; kept])?;
    generate(&args.settings, (&args.output, &args.finish), &mut request, &wanted, |request| {
        request.set_prefix(&args.effort.encode(&model, &picture, args.keep)?).map(drop)
    })
}

/// Checks the outputs, finishes the request with `begin`, and generates.
fn generate(
    settings: &SettingsArgs,
    (output, finish): (&OutputArgs, &FinishArgs),
    request: &mut Request,
    wanted: &Wanted,
    begin: impl FnOnce(&mut Request) -> Result<(), Error>,
) -> Result<(), Failure> {
    let class = wanted.classes[0];
    let pictures: Vec<ImageRequest> = settings.seeds().map(|seed| ImageRequest { class, seed }).collect();
    let mut batches = Batches::plan(output, finish, request, wanted, &pictures)?;
    begin(request)?;
    batches.generate(request, &pictures)?;
    batches.end()
}
