//! `dflow pack` and `dflow unpack`: combine token files into a pack, and extract or list its entries.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::pipeline::safe_name;
use detailflow::tokens::{Dft, Found, Pack, PackWriter, Salvage, Soundness};
use detailflow::{Bundle, Error};

use crate::output::check_folder;
use crate::source::{Sequence, Source, Tokens, entry_name};
use crate::{BundleArgs, Failure, complain, say};

#[derive(Args)]
pub struct PackArgs {
    /// Token files: .dft, .dftpack, JSON. An entry is named after its file without the extension; entries of a pack keep
    /// their names, those of a JSON file with several pictures are named class-seed
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    bundle: BundleArgs,
    /// Name entries after the whole path as given: sprites/wand instead of wand
    #[arg(long)]
    paths: bool,
    /// Pack to write
    #[arg(short, long, value_name = "FILE.dftpack")]
    output: PathBuf,
}

pub fn pack(args: &PackArgs) -> Result<(), Failure> {
    check_folder(&args.output)?;
    let mut pack = PackWriter::create(&args.output)?;
    // A JSON file has less information than a pack entry; the bundle supplies the rest.
    let mut bundle = None;
    for path in &args.files {
        let refuse = |error: Error| match error {
            Error::Invalid(text) | Error::Tokens(text) => Error::Invalid(format!("{}: {text}", path.display())),
            other => other,
        };
        let source = Source::open(path)?;
        if let (Source::Json(file), None) = (&source, &bundle) {
            let found = args.bundle.open()?;
            found.check_token_file(file).map_err(refuse)?;
            bundle = Some(found);
        }
        let own = own_name(path, args.paths);
        for number in 0..source.len() {
            let sequence = source.get(number)?;
            if let Some(damage) = sequence.damage() {
                return Err(refuse(Error::Tokens(format!("{damage}; repair it with `dflow repair` first"))).into());
            }
            let name = match (&source, &sequence.tokens) {
                (Source::Pack(_), _) => sequence.name.clone(),
                (_, Tokens::Image(image)) if source.len() > 1 => entry_name(image),
                _ => own.clone(),
            };
            let dft = dft_of(&source, sequence, bundle.as_ref()).map_err(refuse)?;
            pack.add(name.as_deref(), &dft).map_err(refuse)?;
        }
    }
    pack.finish()?;
    say!("{}", args.output.display());
    Ok(())
}

fn dft_of(source: &Source, sequence: Sequence, bundle: Option<&Bundle>) -> Result<Dft, Error> {
    match (sequence.tokens, bundle) {
        (Tokens::Dft(dft, _), _) => Ok(dft),
        (Tokens::Image(image), Some(bundle)) => {
            if let Source::Json(file) = source {
                bundle.check_token_file(file)?;
            }
            bundle.dft_from_image(&image)
        }
        (Tokens::Image(_), None) => Err(Error::Invalid("a JSON token file needs a bundle".into())),
    }
}

/// The entry name of a file: its name, or its whole path, without the extension. None if that is not UTF-8.
fn own_name(path: &Path, whole: bool) -> Option<String> {
    let path = path.with_extension("");
    if whole { path.to_str().map(str::to_owned) } else { path.file_name()?.to_str().map(str::to_owned) }
}

#[derive(Args)]
pub struct UnpackArgs {
    /// Pack to read
    pack: PathBuf,
    /// Folder to write to, created if missing [default: the pack's path without its extension]. Of a damaged entry the
    /// sound prefix is written, and the exit status is 1
    #[arg(short, long, value_name = "DIR", conflicts_with = "list")]
    output: Option<PathBuf>,
    /// Write nothing; print one tab-separated line per entry: number, name, sound tokens/tokens of a full image, class
    /// index, seed, tokenizer ID; - where a value is absent
    #[arg(long)]
    list: bool,
    /// Scan a truncated or damaged pack from front to end and recover the sound entries
    #[arg(long)]
    salvage: bool,
}

/// An entry, read by number or found by scanning.
struct Extracted {
    number: Option<u32>,
    name: Option<String>,
    dft: Dft,
    soundness: Soundness,
}

pub fn unpack(args: &UnpackArgs) -> Result<(), Failure> {
    let mut target = match (&args.output, args.list) {
        (_, true) => None,
        (Some(folder), _) => Some(Folder::new(folder.clone())),
        (None, _) => {
            let folder = args.pack.with_extension("");
            if folder == args.pack {
                let text = format!(
                    "{}: without an extension the output folder cannot be derived from it; name a folder with -o",
                    folder.display()
                );
                return Err(Failure::Usage(Error::Invalid(text)));
            }
            Some(Folder::new(folder))
        }
    };
    let mut damaged = false;
    let mut take = |taken: Result<Extracted, Error>| -> Result<(), Failure> {
        match taken {
            Ok(taken) => {
                if !taken.soundness.is_sound() {
                    let which = taken.number.map_or("an entry".to_owned(), |number| format!("entry {number}"));
                    complain!("{}: {which}: {}", args.pack.display(), taken.soundness);
                    damaged = true;
                }
                match &mut target {
                    Some(folder) => folder.save(&taken)?,
                    None => list(&taken),
                }
            }
            // A lost entry does not affect the others.
            Err(error @ Error::Format { .. }) => {
                complain!("{error}");
                damaged = true;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    if args.salvage {
        for found in Salvage::open(&args.pack)? {
            take(found.map(|Found { number, name, dft, soundness, .. }| Extracted { number, name, dft, soundness }))?;
        }
    } else {
        let pack = Pack::open(&args.pack)?;
        for number in 0..pack.len() {
            let entry = pack.get(number);
            take(entry.map(|entry| Extracted {
                number: Some(number),
                name: entry.name,
                dft: entry.dft,
                soundness: entry.soundness,
            }))?;
        }
    }
    if damaged { Err(Failure::Reported) } else { Ok(()) }
}

fn list(taken: &Extracted) {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    say!(
        "{}\t{}\t{}/{}\t{}\t{}\t{}",
        or_none(taken.number.map(|number| number.to_string())),
        or_none(taken.name.as_deref().map(|name| name.replace(char::is_control, "_"))),
        taken.dft.tokens.len(),
        taken.dft.geometry.tokens,
        or_none(taken.dft.class.map(|class| class.to_string())),
        or_none(taken.dft.seed.map(|seed| seed.to_string())),
        taken.dft.tokenizer
    );
}

/// The output folder: one .dft file per entry, named after it.
struct Folder {
    path: PathBuf,
    used: HashSet<String>,
    written: u64,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        Self { path, used: HashSet::new(), written: 0 }
    }

    fn save(&mut self, taken: &Extracted) -> Result<(), Failure> {
        if self.written == 0 {
            std::fs::create_dir_all(&self.path).map_err(|source| Error::Io {
                what: "cannot create the folder",
                path: self.path.clone(),
                source,
            })?;
        }
        let number = taken.number.map_or_else(|| format!("lost-{}", self.written), |number| number.to_string());
        // Two names must not become one file, also on file systems that ignore case; file names have a largest length.
        let mut name = taken.name.as_deref().map(safe_name).filter(|name| name.len() <= 200).unwrap_or(number.clone());
        while !self.used.insert(name.to_lowercase()) {
            name = format!("{name}.{number}");
        }
        let path = self.path.join(format!("{name}.dft"));
        if !taken.dft.tokens.is_empty() {
            taken.dft.save(&path)?;
            self.written += 1;
            say!("{}", path.display());
        }
        Ok(())
    }
}
