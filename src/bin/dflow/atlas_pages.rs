//! Pages of `dflow atlas`: as many as the sprites need, and the layouts of metadata that engines read.

use std::collections::HashSet;
use std::path::Path;

use clap::{Args, ValueEnum};
use detailflow::pipeline::atlas::{self, Format, Options};
use detailflow::pixels::Finish;
use detailflow::tokens::TokenImage;
use detailflow::{Canvas, Error, Model, PixelFormat, Sprite, tasks};

use crate::batches::progress_bar;
use crate::source::entry_name;
use crate::{Failure, say};

/// Sprites decoded together.
const PART: usize = 64;

/// How pages are made. They are, when any of these is given.
#[derive(Args)]
#[group(id = "pages", multiple = true)]
pub struct PageArgs {
    /// Largest side of a page, 16 to 8192; with --power-of-two a power of two [default: 2048]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(16..=8192))]
    page_size: Option<u32>,
    /// Times that the outermost pixels of each sprite are repeated around it, 0 to 8, so that filtering does not blend in its
    /// neighbours [default: 0]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(0..=8))]
    extrude: Option<u32>,
    /// Make the sides of pages powers of two
    #[arg(long)]
    power_of_two: bool,
    /// Layouts of metadata to write beside the pages, separated by commas
    #[arg(long, value_name = "LAYOUT", value_enum, value_delimiter = ',')]
    layout: Vec<Layout>,
}

/// [`Format`] on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    /// atlas-N.json: "JSON (Hash)" of TexturePacker; PixiJS, Babylon.js and others read it
    #[value(name = "texturepacker")]
    TexturePacker,
    /// atlas-N.array.json: "JSON (Array)" of TexturePacker
    #[value(name = "texturepacker-array")]
    TexturePackerArray,
    /// atlas.phaser.json: multi-atlas of Phaser 3
    Phaser,
    /// atlas.lua: module for LÖVE
    Love,
    /// atlas-N.tres: SpriteFrames of Godot 4
    Godot,
    /// atlas.json: list of pages and sprites with class and seed
    Json,
}

impl From<Layout> for Format {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::TexturePacker => Self::TexturePacker,
            Layout::TexturePackerArray => Self::TexturePackerArray,
            Layout::Phaser => Self::Phaser,
            Layout::Love => Self::Love,
            Layout::Godot => Self::Godot,
            Layout::Json => Self::List,
        }
    }
}

impl PageArgs {
    /// Options of pages for the picture file `output`; None when one file of any size is wanted.
    pub fn options(&self, output: &Path, padding: u32) -> Result<Option<Options>, Failure> {
        let Self { page_size, extrude, power_of_two, layout } = self;
        if page_size.is_none() && extrude.is_none() && !power_of_two && layout.is_empty() {
            return Ok(None);
        }
        let invalid = |text: &str| Failure::Usage(Error::Invalid(format!("{}: {text}", output.display())));
        if output.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("png")) {
            return Err(invalid("pages of an atlas are PNG files: use the extension png"));
        }
        let name = output.file_stem().and_then(|name| name.to_str());
        let options = Options {
            name: name.ok_or_else(|| invalid("the file name must be Unicode"))?.to_owned(),
            page_size: page_size.unwrap_or(2048),
            padding,
            extrude: extrude.unwrap_or(0),
            power_of_two: *power_of_two,
            formats: layout.iter().map(|&layout| layout.into()).collect(),
            ..Options::default()
        };
        options.check().map_err(Failure::Usage)?;
        Ok(Some(options))
    }
}

/// Decodes and finishes sprites and writes them in pages. `named` are their token file, number and entry name in it, and picture.
pub fn write<'a>(
    (model, finish): (&Model, &Finish),
    output: &Path,
    options: &Options,
    named: impl Iterator<Item = (&'a Path, u32, Option<&'a str>, &'a TokenImage)>,
    mut sprites: Vec<Sprite>,
) -> Result<(), Failure> {
    let mut taken = HashSet::new();
    let names: Vec<_> = named
        .map(|(path, number, name, image)| {
            let stem = || path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
            let name =
                name.map(str::to_owned).or_else(|| entry_name(image)).unwrap_or_else(|| format!("{}-{number}", stem()));
            // Two files may hold the same entry.
            let mut all = std::iter::once(name.clone()).chain((2..).map(|again| format!("{name}-{again}")));
            let name = all.find(|name| !taken.contains(name)).unwrap_or(name);
            taken.insert(name.clone());
            (name, image)
        })
        .collect();
    let bar = progress_bar(sprites.len() as u64);
    let parts = sprites.chunks_mut(PART).zip(names.chunks(PART)).flat_map(|(part, names)| {
        let decoded = decode((model, finish), part, names)
            .map_or_else(|error| vec![Err(error)], |all| all.into_iter().map(Ok).collect());
        bar.inc(part.len() as u64);
        decoded
    });
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = atlas::write(folder, options, parts)?;
    bar.finish_and_clear();
    for file in written.files {
        // As the user named the folder.
        let file = file.file_name().map_or_else(|| file.clone(), |name| output.with_file_name(name));
        say!("{}", file.display());
    }
    Ok(())
}

/// Decodes some sprites, into one column, and takes it apart.
fn decode(
    (model, finish): (&Model, &Finish),
    part: &mut [Sprite],
    names: &[(String, &TokenImage)],
) -> detailflow::Result<Vec<atlas::Sprite>> {
    let sides =
        part.iter().map(|sprite| tasks::sprite_size(model, sprite)).collect::<detailflow::Result<Vec<u32>>>()?;
    let width = sides.iter().copied().max().unwrap_or(1);
    let height = tasks::lay_out_atlas(model, part, width, 0)?;
    let stride = width as usize * PixelFormat::Rgba8.bytes();
    let mut pixels = vec![0; stride * height as usize];
    let mut column = Canvas::new(PixelFormat::Rgba8, width, height, &mut pixels, stride)?;
    tasks::decode_finished_atlas(model, part, finish, &mut column)?;
    let cut = part.iter().zip(sides).zip(names).map(|((sprite, side), (name, image))| {
        let rows = pixels.chunks(stride).skip(sprite.y as usize).take(side as usize);
        let row = |row: &[u8]| row[sprite.x as usize * 4..][..side as usize * 4].to_vec();
        atlas::Sprite {
            name: name.clone(),
            class: image.class.clone().unwrap_or_default(),
            seed: image.seed,
            tags: Vec::new(),
            side,
            pixels: rows.flat_map(row).collect(),
        }
    });
    Ok(cut.collect())
}
