//! `dflow vary` and `dflow redetail`: keep the coarse tokens of a picture, draw the rest anew.

use std::path::PathBuf;

use clap::Args;
use detailflow::{Error, ImageRequest, Picture, Request};

use crate::draw::{Drawing, OutputArgs};
use crate::settings::SettingsArgs;
use crate::source::Source;
use crate::{Failure, ModelArgs};

#[derive(Args)]
pub struct VaryArgs {
    /// The token file: .dft, .dftpack or JSON
    tokens: PathBuf,
    /// Which picture of the file, from 0
    #[arg(long, value_name = "I", default_value_t = 0)]
    picture: u32,
    /// The class of what is drawn; without it the one that the file names
    #[arg(long, value_name = "C")]
    class: Option<String>,
    /// Keep the tokens of the level of this many pixels; without it all, and draw what comes after them
    #[arg(long, value_name = "PX")]
    keep: Option<u32>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn vary(args: &VaryArgs) -> Result<(), Failure> {
    let source = Source::open(&args.tokens)?;
    let place = args.tokens.display();
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let image = source.sound(args.picture, &args.tokens, model.bundle())?;
    let class = args
        .class
        .as_ref()
        .or(image.class.as_ref())
        .ok_or_else(|| Failure::Usage(Error::Invalid(format!("{place} names no class; say --class"))))?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    request.set_prefix_level(&image.tokens, args.keep.unwrap_or(0)).map_err(Failure::Usage)?;
    draw(&args.settings, &args.output, &mut request, class)
}

#[derive(Args)]
pub struct RedetailArgs {
    /// The picture file, of any size and mode: cropped to the square in its middle and resized
    image: PathBuf,
    /// The class of what is drawn
    #[arg(long, value_name = "C")]
    class: String,
    /// Keep what one sees of the picture at the level of this many pixels
    #[arg(long, value_name = "PX")]
    keep: u32,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub fn redetail(args: &RedetailArgs) -> Result<(), Failure> {
    let picture = Picture::open(&args.image)?;
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    request.clone().set_level(args.keep).map_err(Failure::Usage)?;
    model.bundle().class(&args.class).map_err(Failure::Usage)?;
    request.set_prefix_picture(&picture, args.keep)?;
    draw(&args.settings, &args.output, &mut request, &args.class)
}

fn draw(settings: &SettingsArgs, output: &OutputArgs, request: &mut Request, class: &str) -> Result<(), Failure> {
    let class = request.model().bundle().class(class).map_err(Failure::Usage)?;
    let wanted: Vec<ImageRequest> = settings.seeds().map(|seed| ImageRequest { class, seed }).collect();
    let mut drawing = Drawing::plan(output, request, &wanted)?;
    drawing.draw(request, &wanted)?;
    drawing.end()
}
