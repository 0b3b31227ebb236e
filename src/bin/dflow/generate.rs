//! `dflow generate`: draw pictures of a class, or of all.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use detailflow::{Error, ImageRequest, Model, Picture, Request, Round, Scorer};

use crate::draw::{Choice, Drawing, OutputArgs};
use crate::settings::SettingsArgs;
use crate::{Failure, ModelArgs};

#[derive(Args)]
pub struct GenerateArgs {
    /// A class's name or index; `all` is every class
    class: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Of the pictures of each class go on with the best J only, from the level of --at on
    #[arg(long, value_name = "J", requires = "at")]
    best: Option<usize>,
    /// The level in pixels at which --best judges
    #[arg(long, value_name = "PX", requires = "best")]
    at: Option<u32>,
    /// By what --best judges
    #[arg(long, value_enum, default_value_t = Judge::LogProbability, requires = "best")]
    by: Judge,
    /// The picture that --by likeness compares with
    #[arg(long, value_name = "IMAGE", required_if_eq("by", "likeness"))]
    like: Option<PathBuf>,
    /// Draw all up to the level of this many pixels once for each class, and only the rest by each seed
    #[arg(long, value_name = "PX", conflicts_with = "best")]
    share: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Judge {
    /// How typical the model finds it of its class
    LogProbability,
    /// How much it looks like --like
    Likeness,
}

pub fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    let classes = classes(&args.class, &model)?;
    let of = |class: u32| args.settings.seeds().map(move |seed| ImageRequest { class, seed });
    let wanted: Vec<ImageRequest> = classes.iter().flat_map(|&class| of(class)).collect();
    if let (Some(keep), Some(level)) = (args.best, args.at) {
        return best(args, &mut request, &classes, Round { level_size: level, keep });
    }
    if let Some(size) = args.share {
        check_level(&request, size)?;
    }
    let mut drawing = Drawing::plan(&args.output, &mut request, &wanted)?;
    match args.share {
        Some(size) => {
            for of_class in wanted.chunks(args.settings.count as usize) {
                drawing.draw_forks(&mut request, of_class, size)?;
            }
        }
        None => drawing.draw(&mut request, &wanted)?,
    }
    drawing.end()
}

/// A level that is not there, or not on the way, is said before the work.
fn check_level(request: &Request, size: u32) -> Result<(), Failure> {
    if request.clone().set_level(size).map_err(Failure::Usage)?.target() > request.target() {
        let text = format!("the {size} px level lies beyond the level asked for");
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    Ok(())
}

fn best(args: &GenerateArgs, request: &mut Request, classes: &[u32], round: Round) -> Result<(), Failure> {
    let count = args.settings.count as usize;
    if round.keep == 0 || round.keep >= count {
        let text = format!("--best {} of {count} candidates; --count says how many there are", round.keep);
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    check_level(request, round.level_size)?;
    // It lives as long as the command.
    let like: Option<&'static Picture> = match &args.like {
        Some(path) => Some(Box::leak(Box::new(Picture::open(path)?))),
        None => None,
    };
    let scorer = || like.filter(|_| args.by == Judge::Likeness).map_or(Scorer::LogProbability, Scorer::Likeness);
    let choice = Choice { rounds: vec![round], scorer: &scorer };
    // Which seeds stay is not known yet; that as many pictures fit their names is.
    let kept: Vec<ImageRequest> = classes
        .iter()
        .flat_map(|&class| args.settings.seeds().take(round.keep).map(move |seed| ImageRequest { class, seed }))
        .collect();
    let mut drawing = Drawing::plan(&args.output, request, &kept)?;
    for &class in classes {
        let candidates: Vec<ImageRequest> = args.settings.seeds().map(|seed| ImageRequest { class, seed }).collect();
        drawing.draw_best(request, &candidates, &choice)?;
    }
    drawing.end()
}

/// The class of that name, or all of them.
pub fn classes(name: &str, model: &Model) -> Result<Vec<u32>, Failure> {
    let bundle = model.bundle();
    if name == "all" && !bundle.classes().iter().any(|class| class == "all") {
        return Ok((0..bundle.classes().len() as u32).collect());
    }
    Ok(vec![bundle.class(name).map_err(Failure::Usage)?])
}
