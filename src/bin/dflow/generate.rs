//! `dflow generate`: generate pictures of one class, or of every class.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use detailflow::{Error, ImageRequest, Picture, Request, Round, Scorer};

use crate::batches::{Batches, OutputArgs, Selection};
use crate::finishing::FinishArgs;
use crate::mixes::{AvoidArgs, Wanted};
use crate::settings::SettingsArgs;
use crate::{Failure, ModelArgs};

#[derive(Args)]
pub struct GenerateArgs {
    /// Class name or index; `all` is every class. Or several classes in one picture with their weights,
    /// dragon:0.6,golem:0.4; a weight (1 if there is none) may be a curve, dragon:1@0,0@8,golem:0@0,1@8: a dragon's outline
    /// with a golem's detail
    class: String,
    #[command(flatten)]
    avoid: AvoidArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Generate --count candidates of each class up to the level of --at and continue only the best J of them
    #[arg(long, value_name = "J", requires = "at")]
    best: Option<usize>,
    /// Level at which --best selects, in pixels per side
    #[arg(long, value_name = "PX", requires = "best")]
    at: Option<u32>,
    /// Score that --best selects by
    #[arg(long, value_enum, default_value_t = ScoreBy::LogProbability, requires = "best")]
    by: ScoreBy,
    /// Picture that --by likeness compares with
    #[arg(long, value_name = "IMAGE", required_if_eq("by", "likeness"))]
    like: Option<PathBuf>,
    /// Share one start among all pictures of a class: generate up to this level (pixels per side) with the first seed, and
    /// only the rest with each seed
    #[arg(long, value_name = "PX", conflicts_with = "best")]
    share: Option<u32>,
    #[command(flatten, next_help_heading = "Generation options")]
    settings: SettingsArgs,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ScoreBy {
    /// Mean log-probability of the tokens: how typical the picture is of its class
    LogProbability,
    /// Similarity to the picture of --like
    Likeness,
}

pub fn run(args: &GenerateArgs) -> Result<(), Failure> {
    let model = args.model.open()?;
    model.bundle().check_can_generate()?;
    let mut request = Request::new(&model);
    args.settings.apply(&mut request).map_err(Failure::Usage)?;
    let of_pictures = Wanted::read(model.bundle(), &args.class, args.avoid.avoid.as_deref())?;
    let classes = &of_pictures.classes;
    let of = |class: u32| args.settings.seeds().map(move |seed| ImageRequest { class, seed });
    let wanted: Vec<ImageRequest> = classes.iter().flat_map(|&class| of(class)).collect();
    if let (Some(keep), Some(level)) = (args.best, args.at) {
        return best(args, &mut request, &of_pictures, Round { level_size: level, retained_count: keep });
    }
    if let Some(size) = args.share {
        check_level(&request, size)?;
    }
    let mut batches = Batches::plan(&args.output, &args.finish, &mut request, &of_pictures, &wanted)?;
    match args.share {
        Some(size) => {
            for of_class in wanted.chunks(args.settings.count as usize) {
                batches.generate_forks(&mut request, of_class, size)?;
            }
        }
        None => batches.generate(&mut request, &wanted)?,
    }
    batches.end()
}

/// Checks before any work that the level exists and is not finer than the target.
fn check_level(request: &Request, size: u32) -> Result<(), Failure> {
    if request.clone().set_level_size(size).map_err(Failure::Usage)?.target() > request.target() {
        let text = format!("the {size} px level is finer than the level to stop at");
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    Ok(())
}

fn best(args: &GenerateArgs, request: &mut Request, of_pictures: &Wanted, round: Round) -> Result<(), Failure> {
    let count = args.settings.count as usize;
    if round.retained_count == 0 || round.retained_count >= count {
        let text =
            format!("--best {}: must be at least 1 and less than --count, which is {count}", round.retained_count);
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    check_level(request, round.level_size)?;
    // Used until the process ends.
    let like: Option<&'static Picture> = match &args.like {
        Some(path) => Some(Box::leak(Box::new(Picture::open(path)?))),
        None => None,
    };
    let scorer = || like.filter(|_| args.by == ScoreBy::Likeness).map_or(Scorer::LogProbability, Scorer::Likeness);
    let selection = Selection { rounds: vec![round], scorer: &scorer };
    // The seeds that are selected are not known yet, but the number of files is: plan with the first seeds.
    let classes = &of_pictures.classes;
    let kept: Vec<ImageRequest> = classes
        .iter()
        .flat_map(|&class| {
            args.settings.seeds().take(round.retained_count).map(move |seed| ImageRequest { class, seed })
        })
        .collect();
    let mut batches = Batches::plan(&args.output, &args.finish, request, of_pictures, &kept)?;
    for &class in classes {
        let candidates: Vec<ImageRequest> = args.settings.seeds().map(|seed| ImageRequest { class, seed }).collect();
        batches.generate_best(request, &candidates, &selection)?;
    }
    batches.end()
}
