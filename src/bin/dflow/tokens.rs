//! `dflow encode`, `dflow decode` and `dflow repair`: pictures to token files and back, and what was lost on the way.

use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::tokens::{Dft, TokenImage};
use detailflow::{Error, Picture, Request, pixels};

use crate::output::{Output, check_folder};
use crate::settings::SamplingArgs;
use crate::source::{Source, check_target, save};
use crate::{Failure, ModelArgs, say};

#[derive(Args)]
pub struct EncodeArgs {
    /// The picture file, of any size and mode: cropped to the square in its middle and resized
    image: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// The token file to write: .dft, .dftpack, or any other ending for JSON
    #[arg(short, long, value_name = "TOKENS")]
    output: PathBuf,
}

pub fn encode(args: &EncodeArgs) -> Result<(), Failure> {
    check_folder(&args.output)?;
    not_both(&args.output, &args.image, "the picture")?;
    let picture = Picture::open(&args.image)?;
    let model = args.model.open()?;
    check_target(&args.output, model.bundle(), 1)?;
    let image = TokenImage { class: None, seed: None, tokens: model.encode(&picture)? };
    let name = args.image.file_stem().and_then(|name| name.to_str());
    save(&args.output, model.bundle(), vec![image], name)?;
    say!("{}", args.output.display());
    Ok(())
}

#[derive(Args)]
pub struct DecodeArgs {
    /// The token file: .dft, .dftpack or JSON, told apart by what is in it. Of a damaged .dft the picture is that of
    /// its sound tokens; what is wrong is said, and the exit status is 1
    tokens: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Of a .dftpack, only the entry of this name or number
    #[arg(long, value_name = "ENTRY")]
    entry: Option<String>,
    /// The level of this many pixels; without it all tokens that there are
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Decode although the tokens belong to another tokenizer
    #[arg(long)]
    force: bool,
    /// The picture file. For several pictures one contact sheet, or one file each when it contains {class}, {seed}
    /// or {index}
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn decode(args: &DecodeArgs) -> Result<(), Failure> {
    let place = args.tokens.display();
    let source = Source::open(&args.tokens)?;
    let wanted = match &args.entry {
        Some(entry) => vec![entry_of(&source, entry, &args.tokens)?],
        None => (0..source.len()).collect(),
    };
    if wanted.is_empty() {
        return Err(Error::Invalid(format!("{place} holds no picture")).into());
    }
    pixels::FileFormat::from_path(&args.output).map_err(Failure::Usage)?;
    let model = args.model.open()?;
    let bundle = model.bundle();

    // Once for what they are, and once more for their tokens: a pack may hold more than memory does.
    let (mut numbers, mut labels, mut damaged) = (Vec::new(), Vec::new(), false);
    for number in wanted {
        let sequence = match source.get(number) {
            Ok(sequence) => sequence,
            Err(error @ Error::Format { .. }) => {
                eprintln!("dflow: {error}");
                damaged = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !args.force {
            source
                .check_bundle(&sequence, bundle)
                .map_err(|error| Error::Invalid(format!("{place}: {error}; --force decodes them all the same")))?;
        }
        if let Some(damage) = sequence.damage() {
            match &source {
                Source::Pack(_) => eprintln!("dflow: {place}: entry {number}: {damage}"),
                _ => eprintln!("dflow: {place}: {damage}"),
            }
            damaged = true;
        }
        let image = sequence.image(bundle);
        // A damaged file without a sound token; JSON without one is told by the decoder.
        if !image.tokens.is_empty() || matches!(source, Source::Json(_)) {
            numbers.push(number);
            labels.push((image.class, image.seed));
        }
    }
    if numbers.is_empty() {
        return Err(Failure::Told);
    }
    let mut output = Output::plan(Some(&args.output), labels, &[])?;
    if let Some(size) = args.level {
        Request::new(&model).set_level(size).map_err(Failure::Usage)?;
    }
    for number in numbers {
        let image = source.get(number)?.image(bundle);
        let decoded = match args.level {
            Some(size) => model.decode_level(&image.tokens, size),
            None => model.decode(&image.tokens),
        };
        output.add(decoded.map_err(|error| match error {
            Error::Invalid(text) => Error::Invalid(format!("{place}: picture {number}: {text}")),
            other => other,
        })?)?;
    }
    for path in output.finish()? {
        say!("{}", path.display());
    }
    if damaged { Err(Failure::Told) } else { Ok(()) }
}

/// The number of the entry that is called so, or has this number.
fn entry_of(source: &Source, entry: &str, path: &Path) -> Result<u32, Failure> {
    let named = match source {
        Source::Pack(pack) => pack.find(entry)?,
        _ => None,
    };
    let number = named.or_else(|| entry.parse().ok().filter(|&number| number < source.len()));
    number.ok_or_else(|| {
        Failure::Usage(Error::Invalid(format!(
            "{} has no entry \"{entry}\": neither a name, nor a number below {}",
            path.display(),
            source.len()
        )))
    })
}

#[derive(Args)]
pub struct RepairArgs {
    /// The .dft file that was cut or damaged
    tokens: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// The seed to draw from; without it the file's own. With its own, and the settings it was drawn with, the picture
    /// becomes what it was
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The class to draw, by name or index; without it the file's own
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Draw on to the level of this many pixels; without it as many tokens as the file had
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// The token file to write: .dft, .dftpack, or any other ending for JSON
    #[arg(short, long, value_name = "TOKENS")]
    output: PathBuf,
}

pub fn repair(args: &RepairArgs) -> Result<(), Failure> {
    check_folder(&args.output)?;
    let (mut dft, soundness) = Dft::open(&args.tokens)?;
    let model = args.model.open()?;
    let bundle = model.bundle();
    bundle.check_can_generate()?;
    let place = args.tokens.display();
    bundle.check_dft(&dft).map_err(|error| Error::Invalid(format!("{place}: {error}")))?;
    if let Some(class) = &args.class {
        dft.class = Some(bundle.class(class).map_err(Failure::Usage)?);
    }
    dft.seed = args.seed.or(dft.seed);
    let mut request = Request::new(&model);
    args.sampling.apply(&mut request).map_err(Failure::Usage)?;
    let count = match args.level {
        Some(size) => request.set_level(size).map_err(Failure::Usage)?.target(),
        None => soundness.promised,
    };
    if dft.class.is_none() && soundness.sound < count {
        let text = format!("{place} does not say what class it is: --class does");
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    let whole = detailflow::tasks::repair(&request, &dft, count)?;
    let name = args.tokens.file_stem().and_then(|name| name.to_str());
    let class = whole.class.map(|class| bundle.classes()[class as usize].clone());
    let image = TokenImage { class, seed: whole.seed, tokens: whole.tokens };
    save(&args.output, bundle, vec![image], name)?;
    say!("{}", args.output.display());
    Ok(())
}

/// One file cannot be read and written at once.
fn not_both(output: &Path, input: &Path, what: &str) -> Result<(), Failure> {
    if output != input {
        return Ok(());
    }
    Err(Failure::Usage(Error::Invalid(format!("{} cannot be both {what} and the tokens", input.display()))))
}
