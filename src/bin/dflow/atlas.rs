//! `dflow atlas`: many pictures in one picture file, or in pages of limited size, with the position of each, for engines.

use std::path::PathBuf;

use clap::Args;
use detailflow::{Canvas, Error, PixelFormat, Request, Sprite, pixels, tasks, write_file};
use serde_json::json;

use crate::atlas_pages::{self, PageArgs};
use crate::batches::progress_bar;
use crate::finishing::FinishArgs;
use crate::output::check_folder;
use crate::source::Source;
use crate::tokens::say_written;
use crate::{Failure, ModelArgs, stream};

/// Sprites decoded per update of the progress bar.
const PART: usize = 64;

#[derive(Args)]
pub struct AtlasArgs {
    /// Token files: .dft, .dftpack or JSON, detected by content; each picture becomes a sprite. - reads standard input
    #[arg(required = true, value_name = "TOKENS")]
    tokens: Vec<PathBuf>,
    /// Sprites per row when all have one size [default: about as many as make the atlas square]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with = "pages")]
    columns: Option<u32>,
    /// Integer scale factor, 1 to 64: each pixel becomes a square of F x F pixels
    #[arg(long, value_name = "F", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    scale: u32,
    /// Level to decode, in pixels per side [default: all tokens of each picture]
    #[arg(long, value_name = "PX")]
    level: Option<u32>,
    /// Transparent pixels between sprites, 0 to 65536
    #[arg(long, value_name = "PX", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65_536))]
    padding: u32,
    /// Picture file; with alpha if the format supports it. - writes to standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[arg(long, value_name = "FORMAT", help = stream::FORMAT_HELP)]
    format: Option<String>,
    /// Also write the position of each sprite to this JSON file, - for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "pages")]
    json: Option<PathBuf>,
    #[command(
        flatten,
        next_help_heading = "Pages: with any of these, FILE atlas.png stands for atlas-0.png, atlas-1.png …"
    )]
    pages: PageArgs,
    #[command(flatten, next_help_heading = "Finishing options")]
    finish: FinishArgs,
    #[command(flatten, next_help_heading = "Model and device options")]
    model: ModelArgs,
}

pub fn run(args: &AtlasArgs) -> Result<(), Failure> {
    let pages = args.pages.options(&args.output, args.padding)?;
    let format = if stream::is_std(&args.output) {
        stream::claim(true)?;
        stream::picture_format(args.format.as_deref())?
    } else {
        stream::no_format(args.format.as_deref())?;
        let format = pixels::FileFormat::from_path(&args.output).map_err(Failure::Usage)?;
        check_folder(&args.output)?;
        format
    };
    if let Some(path) = &args.json {
        check_folder(path)?;
        if stream::is_std(path) {
            stream::claim(false)?;
        }
        if *path == args.output {
            let text = format!("{}: one file cannot hold both the picture and the sprite positions", path.display());
            return Err(Failure::Usage(Error::Invalid(text)));
        }
    }
    let sources = args.tokens.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, Failure>>()?;
    let model = args.model.open()?;
    let finish = args.finish.of(model.bundle())?;
    if let Some(size) = args.level {
        Request::new(&model).set_level_size(size).map_err(Failure::Usage)?;
    }
    let mut images = Vec::new();
    for (path, source) in args.tokens.iter().zip(&sources) {
        for number in 0..source.len() {
            let name = source.get(number)?.name;
            images.push((path, number, name, source.sound(number, path, model.bundle())?));
        }
    }
    if images.is_empty() {
        return Err(Error::Invalid("the token files contain no picture".into()).into());
    }
    let sprite = |tokens| Sprite { level_size: args.level, factor: args.scale, ..Sprite::new(tokens) };
    let mut sprites: Vec<Sprite> = images.iter().map(|(.., image)| sprite(&image.tokens)).collect();
    let mut sides = Vec::new();
    for (sprite, (path, number, ..)) in sprites.iter().zip(&images) {
        sides.push(tasks::sprite_size(&model, sprite).map_err(|error| match error {
            Error::Invalid(text) => Error::Invalid(format!("{}: picture {number}: {text}", path.display())),
            other => other,
        })?);
    }

    if let Some(options) = pages {
        let names = images.iter().map(|(path, number, name, image)| (path.as_path(), *number, name.as_deref(), image));
        return atlas_pages::write((&model, &finish), &args.output, &options, names, sprites);
    }
    let count = sprites.len() as u32;
    let square = (1..=count).find(|&n| n.saturating_mul(n) >= count).unwrap_or(count);
    let columns = args.columns.unwrap_or(square).min(count);
    let widest = sides.iter().copied().max().unwrap_or(1);
    let too_large = || {
        Failure::Usage(Error::Invalid(format!(
            "an atlas of {columns} columns is too large: its sides must fit in 32 bits and its bytes in memory"
        )))
    };
    let pitch = widest.checked_add(args.padding).ok_or_else(too_large)?;
    let width = columns.checked_mul(pitch).ok_or_else(too_large)? - args.padding;
    let height = tasks::lay_out_atlas(&model, &mut sprites, width, args.padding)?;
    let stride = width as usize * PixelFormat::Rgba8.bytes();
    let mut picture = clear(stride.checked_mul(height as usize).ok_or_else(too_large)?)?;
    let mut atlas = Canvas::new(PixelFormat::Rgba8, width, height, &mut picture, stride)?;
    let bar = progress_bar(sprites.len() as u64);
    for part in sprites.chunks(PART) {
        tasks::decode_finished_atlas(&model, part, &finish, &mut atlas)?;
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();

    stream::save_pixels(&args.output, format, (width, height), PixelFormat::Rgba8, &picture)?;
    say_written(&args.output);
    if let Some(path) = &args.json {
        let places = sprites.iter().zip(&sides).zip(&images).map(|((sprite, side), (path, number, name, image))| {
            json!({
                "file": path, "index": number, "name": name, "class": image.class, "seed": image.seed,
                "x": sprite.x, "y": sprite.y, "width": side, "height": side,
            })
        });
        let all = json!({
            "image": args.output, "width": width, "height": height, "scale": args.scale,
            "sprites": places.collect::<Vec<_>>(),
        });
        let text = format!("{all:#}\n");
        if stream::is_std(path) {
            stream::write(text.as_bytes())?;
        } else {
            write_file(path, text.as_bytes())?;
        }
        say_written(path);
    }
    Ok(())
}

/// A buffer of transparent pixels.
fn clear(bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut picture = Vec::new();
    let what = |_| Error::OutOfMemory { what: "an atlas".to_owned(), bytes: bytes as u64 };
    picture.try_reserve_exact(bytes).map_err(what)?;
    picture.resize(bytes, 0);
    Ok(picture)
}
