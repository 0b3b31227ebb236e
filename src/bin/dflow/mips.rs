//! `dflow mips`: one picture at every mip size, from its tokens.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use detailflow::pipeline::Field;
use detailflow::{Error, MipSource, Request, Sprite, pixels, tasks};

use crate::finishing::FinishArgs;
use crate::output::{parse, plan_paths, save_in_folder};
use crate::source::Source;
use crate::{Failure, ModelArgs, say};

#[derive(Args)]
pub struct MipsArgs {
    /// Token file: .dft, .dftpack or JSON, detected by content; - reads standard input
    tokens: PathBuf,
    /// Source of each mip
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t = From::Levels)]
    from: From,
    /// Level of the largest mip, in pixels per side [default: all tokens of each picture]
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Picture files; the name must contain {size}, and for several pictures also {class}, {seed} or {index}; {seed:05}
    /// has at least 5 digits. Missing folders are created
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// Decode each mip at the smallest level that is at least as large, and downscale from there
    Levels,
    /// Downscale all mips from the largest
    Finest,
}

pub fn run(args: &MipsArgs) -> Result<(), Failure> {
    let Some(pattern) = parse(&args.output, Field::Size)?.filter(|pattern| pattern.has(Field::Size)) else {
        let (name, size) = (args.output.display(), Field::Size);
        let text = format!("{name}: every size would be written to one file; add {size} to the name");
        return Err(Failure::Usage(Error::Invalid(text)));
    };
    let source = Source::open(&args.tokens)?;
    let place = args.tokens.display();
    if source.len() == 0 {
        return Err(Error::Invalid(format!("{place} contains no picture")).into());
    }
    let model = args.model.open()?;
    let finish = args.finish.of(model.bundle())?;
    if let Some(size) = args.level {
        Request::new(&model).set_level_size(size).map_err(Failure::Usage)?;
    }
    // Reports every error of the input before the first file is written.
    let named = |number: u32, error| match error {
        Error::Invalid(text) => Error::Invalid(format!("{place}: picture {number}: {text}")),
        other => other,
    };
    let (mut labels, mut pictures) = (Vec::new(), Vec::new());
    for number in 0..source.len() {
        let mut image = source.sound(number, &args.tokens, model.bundle())?;
        if let Some(size) = args.level {
            let kept = model.demote(&image.tokens, size).map_err(|error| named(number, error))?.len();
            image.tokens.truncate(kept);
        }
        let size = tasks::sprite_size(&model, &Sprite::new(&image.tokens)).map_err(|error| named(number, error))?;
        labels.push((image.class, image.seed));
        pictures.push((image.tokens, pixels::mip_sizes(size).collect::<Vec<u32>>()));
    }
    let wanted = labels.iter().zip(&pictures).enumerate();
    let names = wanted.flat_map(|(index, (label, (_, sizes)))| sizes.iter().map(move |&size| (index, label, size)));
    let mut paths = plan_paths(&pattern, names)?.into_iter();
    let source = match args.from {
        From::Levels => MipSource::Levels,
        From::Finest => MipSource::Finest,
    };
    for (tokens, sizes) in &pictures {
        for (mip, path) in tasks::finished_mips(&model, tokens, sizes, source, &finish)?.iter().zip(&mut paths) {
            save_in_folder(mip, &path)?;
            say!("{}", path.display());
        }
    }
    Ok(())
}
