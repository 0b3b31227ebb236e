//! `dflow encode`, `dflow decode` and `dflow repair`: picture files to token files and back, and damaged .dft files.

use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::tokens::{Dft, TokenImage};
use detailflow::{Error, Mix, Request, pixels};

use crate::batches::finished;
use crate::effort::EffortArgs;
use crate::entries::EntryArgs;
use crate::finishing::FinishArgs;
use crate::mixes::AvoidArgs;
use crate::output::{Output, check_folder};
use crate::settings::SamplingArgs;
use crate::source::{Source, check_target, save, with_mix};
use crate::{Failure, ModelArgs, complain, say, stream};

#[derive(Args)]
pub struct EncodeArgs {
    /// Picture file, of any size and colour mode; cropped to the centre square and resized. - reads standard input
    image: PathBuf,
    /// Token file to write: .dft, .dftpack, or any other extension for JSON; - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[arg(long, value_name = "FORMAT", help = stream::FORMAT_HELP)]
    format: Option<String>,
    #[command(flatten)]
    effort: EffortArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn encode(args: &EncodeArgs) -> Result<(), Failure> {
    check_folder(&args.output)?;
    not_both(&args.output, &args.image)?;
    let picture = stream::picture(&args.image)?;
    let model = args.model.open()?;
    let kind = check_target(&args.output, model.bundle(), 1, args.format.as_deref())?;
    let image = TokenImage { tokens: args.effort.encode(&model, &picture, 0)?, ..TokenImage::default() };
    save(&args.output, kind, model.bundle(), &[image], stem(&args.image))?;
    say_written(&args.output);
    Ok(())
}

#[derive(Args)]
pub struct DecodeArgs {
    /// Token file: .dft, .dftpack or JSON, detected by content; - reads standard input. A damaged .dft is decoded as far as
    /// its tokens are sound; the damage is reported, and the exit status is 1
    tokens: PathBuf,
    #[command(flatten)]
    entries: EntryArgs,
    /// Level to decode, in pixels per side [default: all tokens of each picture]
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Decode even if the tokens belong to another tokenizer
    #[arg(long)]
    force: bool,
    /// Picture file. Several pictures become one contact sheet, or one file each if the name contains {class}, {seed} or
    /// {index} ({seed:05} has at least 5 digits), whose missing folders are created. A large sheet continues in FILE-2 and so
    /// on. - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[arg(long, value_name = "FORMAT", help = stream::FORMAT_HELP)]
    format: Option<String>,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn decode(args: &DecodeArgs) -> Result<(), Failure> {
    let place = args.tokens.display();
    let source = Source::open(&args.tokens)?;
    let wanted = args.entries.of(&source, &args.tokens)?;
    if wanted.is_empty() {
        return Err(Error::Invalid(format!("{place} contains no picture")).into());
    }
    if !stream::is_std(&args.output) {
        pixels::FileFormat::from_path(&args.output).map_err(Failure::Usage)?;
    }
    let model = args.model.open()?;
    let bundle = model.bundle();
    let finish = args.finish.of(bundle)?;
    let finish = Some(&finish).filter(|finish| !finish.is_off());

    // Two passes, metadata first and tokens second: a pack may be larger than memory.
    let (mut numbers, mut labels, mut damaged) = (Vec::new(), Vec::new(), false);
    for number in wanted {
        let sequence = match source.get(number) {
            Ok(sequence) => sequence,
            Err(error @ Error::Format { .. }) => {
                complain!("{error}");
                damaged = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !args.force {
            source
                .check_bundle(&sequence, bundle)
                .map_err(|error| Error::Invalid(format!("{place}: {error}; --force decodes them anyway")))?;
        }
        if let Some(damage) = sequence.damage() {
            if source.is_pack() {
                complain!("{place}: entry {number}: {damage}");
            } else {
                complain!("{place}: {damage}");
            }
            damaged = true;
        }
        let image = sequence.image(bundle);
        // Skips damaged files without a sound token; for JSON without tokens the decoder reports the error.
        if !image.tokens.is_empty() || matches!(source, Source::Json(_)) {
            numbers.push(number);
            let mix = bundle.mix_of_image(&image).ok().flatten();
            labels.push((mix.map(|mix| bundle.mix_name(&mix)).or(image.class), image.seed));
        }
    }
    if numbers.is_empty() {
        return Err(Failure::Reported);
    }
    let mut output = Output::plan(Some(&args.output), labels, &[], args.format.as_deref())?;
    if let Some(size) = args.level {
        Request::new(&model).set_level_size(size).map_err(Failure::Usage)?;
    }
    for number in numbers {
        let image = source.get(number)?.image(bundle);
        let decoded = match args.level {
            Some(size) => model.decode_level(&image.tokens, size),
            None => model.decode(&image.tokens),
        };
        let decoded = decoded.and_then(|image| finished(finish, image));
        output.add(decoded.map_err(|error| match error {
            Error::Invalid(text) => Error::Invalid(format!("{place}: picture {number}: {text}")),
            other => other,
        })?)?;
    }
    output.finish()?.iter().for_each(|path| say_written(path));
    if damaged { Err(Failure::Reported) } else { Ok(()) }
}

#[derive(Args)]
pub struct RepairArgs {
    /// Truncated or damaged .dft file; - reads standard input
    tokens: PathBuf,
    /// Seed to sample with [default: the file's]. With the file's seed and the settings of the original generation the
    /// lost tokens are restored exactly
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Class to generate, by name or index, or several with weights: dragon:0.6,golem:0.4; then nothing is avoided without
    /// --avoid [default: the file's]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    #[command(flatten)]
    avoid: AvoidArgs,
    /// Level to continue to, in pixels per side [default: as many tokens as the file had]
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Token file to write: .dft, .dftpack, or any other extension for JSON; - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[arg(long, value_name = "FORMAT", help = stream::FORMAT_HELP)]
    format: Option<String>,
    #[command(flatten, next_help_heading = "Sampling options")]
    sampling: SamplingArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn repair(args: &RepairArgs) -> Result<(), Failure> {
    check_folder(&args.output)?;
    let (mut dft, soundness) = match stream::is_std(&args.tokens) {
        true => Dft::decode(&stream::read()?).map_err(stream::renamed)?,
        false => Dft::open(&args.tokens)?,
    };
    let model = args.model.open()?;
    let bundle = model.bundle();
    bundle.check_can_generate()?;
    let place = args.tokens.display();
    bundle.check_dft(&dft).map_err(|error| Error::Invalid(format!("{place}: {error}")))?;
    if args.class.is_some() || args.avoid.avoid.is_some() {
        let avoid = args.avoid.avoid.as_deref().unwrap_or_default();
        let mix = if let Some(classes) = &args.class {
            bundle.mix(classes, avoid)
        } else if let Some(class) = dft.class {
            let own = [(class, 1.0.into())];
            let classes = dft.mix.as_ref().map_or(&own[..], Mix::classes);
            bundle.avoid(avoid).and_then(|avoid| Mix::new(classes, &avoid))
        } else {
            Err(Error::Invalid(format!("{place} has no class; name one with --class")))
        };
        let mix = mix.map_err(Failure::Usage)?;
        dft.class = Some(mix.main_class());
        dft.mix = Some(mix).filter(|mix| mix.as_class().is_none());
    }
    dft.seed = args.seed.or(dft.seed);
    let mut request = Request::new(&model);
    args.sampling.apply(&mut request).map_err(Failure::Usage)?;
    let count = match args.level {
        Some(size) => request.set_level_size(size).map_err(Failure::Usage)?.target(),
        None => soundness.promised,
    };
    if dft.class.is_none() && soundness.sound < count {
        let text = format!("{place} has no class; name one with --class");
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    let kind = check_target(&args.output, bundle, 1, args.format.as_deref())?;
    let whole = detailflow::tasks::repair(&request, &dft, count)?;
    let class = whole.class.map(|class| bundle.classes()[class as usize].clone());
    let image = TokenImage { class, seed: whole.seed, tokens: whole.tokens, ..TokenImage::default() };
    let image = with_mix(bundle, image, whole.mix.as_ref());
    save(&args.output, kind, bundle, &[image], stem(&args.tokens))?;
    say_written(&args.output);
    Ok(())
}

/// Checks that input and output are not the same file.
fn not_both(output: &Path, input: &Path) -> Result<(), Failure> {
    if output != input || stream::is_std(output) {
        return Ok(());
    }
    Err(Failure::Usage(Error::Invalid(format!(
        "{}: one file cannot hold both the picture and the tokens",
        input.display()
    ))))
}

/// The name of an entry that comes from this file: its name without the extension.
fn stem(path: &Path) -> Option<&str> {
    path.file_stem().and_then(|name| name.to_str()).filter(|_| !stream::is_std(path))
}

/// Prints the path of a file that was written.
pub fn say_written(path: &Path) {
    if !stream::is_std(path) {
        say!("{}", path.display());
    }
}
