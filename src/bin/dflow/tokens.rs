//! `dflow encode` and `dflow decode`: pictures to token files and back.

use std::path::PathBuf;

use clap::Args;
use detailflow::tokens::{TokenFile, TokenImage};
use detailflow::{Error, Picture, Request};

use crate::output::{Output, check_folder};
use crate::{Failure, ModelArgs, say};

#[derive(Args)]
pub struct EncodeArgs {
    /// The picture file, of any size and mode: cropped to the square in its middle and resized
    image: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// The token file to write
    #[arg(short, long, value_name = "TOKENS.json")]
    output: PathBuf,
}

pub fn encode(args: &EncodeArgs) -> Result<(), Failure> {
    check_folder(&args.output)?;
    if args.output == args.image {
        let text = format!("{} cannot be both the picture and the tokens", args.image.display());
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    let picture = Picture::open(&args.image)?;
    let model = args.model.open()?;
    let tokens = model.encode(&picture)?;
    TokenFile::new(model.bundle(), vec![TokenImage { class: None, seed: None, tokens }]).save(&args.output)?;
    say!("{}", args.output.display());
    Ok(())
}

#[derive(Args)]
pub struct DecodeArgs {
    /// The token file, as generate --tokens-out and encode write it
    tokens: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
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
    let file = TokenFile::open(&args.tokens)?;
    let place = args.tokens.display();
    if file.images.is_empty() {
        return Err(Error::Invalid(format!("{place} holds no picture")).into());
    }
    let labels = file.images.iter().map(|image| (image.class.clone(), image.seed)).collect();
    let mut output = Output::plan(Some(&args.output), labels, &[])?;
    let model = args.model.open()?;
    if !args.force {
        file.check_bundle(model.bundle())
            .map_err(|error| Error::Invalid(format!("{place}: {error}; --force decodes them all the same")))?;
    }
    if let Some(size) = args.level {
        Request::new(&model).set_level(size).map_err(Failure::Usage)?;
    }
    for (index, image) in file.images.iter().enumerate() {
        let decoded = match args.level {
            Some(size) => model.decode_level(&image.tokens, size),
            None => model.decode(&image.tokens),
        };
        output.add(decoded.map_err(|error| match error {
            Error::Invalid(text) => Error::Invalid(format!("{place}: picture {index}: {text}")),
            other => other,
        })?)?;
    }
    for path in output.finish()? {
        say!("{}", path.display());
    }
    Ok(())
}
