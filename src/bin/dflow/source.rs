//! Reading and writing token files of every kind: .dft, .dftpack, JSON.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use detailflow::tokens::{Dft, Pack, PackWriter, Soundness, TokenFile, TokenImage};
use detailflow::{Bundle, Error};

use crate::Failure;

/// An open token file.
pub enum Source {
    Json(TokenFile),
    Dft(Dft, Soundness),
    Pack(Pack),
}

/// One token sequence of a file.
pub struct Sequence {
    /// The entry's name, in a pack.
    pub name: Option<String>,
    pub tokens: Tokens,
}

pub enum Tokens {
    Image(TokenImage),
    Dft(Dft, Soundness),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Json,
    Dft,
    Pack,
}

impl Kind {
    /// The kind that a file name's extension selects.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("dft") => Self::Dft,
            Some("dftpack") => Self::Pack,
            _ => Self::Json,
        }
    }

    /// The kind of an existing file by its first bytes; if they match no kind, by its extension, and opening it then reports
    /// the error.
    fn found(path: &Path) -> std::io::Result<Self> {
        let mut start = Vec::new();
        File::open(path)?.take(8).read_to_end(&mut start)?;
        Ok(match &start[..] {
            start if start.starts_with(b"DFTPACK") => Self::Pack,
            start if start.starts_with(b"DFT") => Self::Dft,
            start if start.starts_with(b"{") => Self::Json,
            _ => Self::of(path),
        })
    }
}

impl Source {
    pub fn open(path: &Path) -> Result<Self, Error> {
        // If the file cannot be read, opening it below reports why.
        Ok(match Kind::found(path).unwrap_or(Kind::of(path)) {
            Kind::Json => Self::Json(TokenFile::open(path)?),
            Kind::Dft => {
                let (dft, soundness) = Dft::open(path)?;
                Self::Dft(dft, soundness)
            }
            Kind::Pack => Self::Pack(Pack::open(path)?),
        })
    }

    pub fn len(&self) -> u32 {
        match self {
            Self::Json(file) => file.images.len() as u32,
            Self::Dft(..) => 1,
            Self::Pack(pack) => pack.len(),
        }
    }

    /// Reads the sequence `number`.
    pub fn get(&self, number: u32) -> Result<Sequence, Error> {
        match self {
            Self::Json(file) => {
                let tokens = Tokens::Image(file.images[number as usize].clone());
                Ok(Sequence { name: None, tokens })
            }
            Self::Dft(dft, soundness) => Ok(Sequence { name: None, tokens: Tokens::Dft(dft.clone(), *soundness) }),
            Self::Pack(pack) => {
                let entry = pack.get(number)?;
                Ok(Sequence { name: entry.name, tokens: Tokens::Dft(entry.dft, entry.soundness) })
            }
        }
    }

    /// The sequence `number` as a picture of `bundle`, for commands that need undamaged tokens; `place` is the file's path.
    pub fn sound(&self, number: u32, place: &Path, bundle: &Bundle) -> Result<TokenImage, Error> {
        let place = place.display();
        if number >= self.len() {
            let text = format!("{place} has no picture {number}: it holds {} pictures, numbered from 0", self.len());
            return Err(Error::Invalid(text));
        }
        let sequence = self.get(number)?;
        self.check_bundle(&sequence, bundle).map_err(|error| Error::Invalid(format!("{place}: {error}")))?;
        match sequence.damage() {
            Some(damage) => Err(Error::Invalid(format!("{place}: picture {number}: {damage}; repair it first"))),
            None => Ok(sequence.image(bundle)),
        }
    }

    /// Checks that `sequence`, one of this file, belongs to `bundle`'s tokenizer.
    pub fn check_bundle(&self, sequence: &Sequence, bundle: &Bundle) -> Result<(), Error> {
        match (self, &sequence.tokens) {
            (Self::Json(file), _) => file.check_bundle(bundle),
            (_, Tokens::Dft(dft, _)) => dft.check_bundle(bundle),
            _ => Ok(()),
        }
    }
}

impl Sequence {
    /// A description of the damage, if there is any.
    pub fn damage(&self) -> Option<String> {
        match &self.tokens {
            Tokens::Dft(_, soundness) if !soundness.is_sound() => Some(soundness.to_string()),
            _ => None,
        }
    }

    /// The sequence as a picture of `bundle`, with the class by name.
    pub fn image(self, bundle: &Bundle) -> TokenImage {
        match self.tokens {
            Tokens::Image(image) => image,
            Tokens::Dft(dft, _) => {
                let name = |class: u32| match bundle.classes().get(class as usize) {
                    Some(name) => name.clone(),
                    None => format!("class {class}"),
                };
                TokenImage { class: dft.class.map(name), seed: dft.seed, tokens: dft.tokens }
            }
        }
    }
}

/// Checks that `count` pictures of `bundle` fit into the token file `path`, before any work is done.
pub fn check_target(path: &Path, bundle: &Bundle, count: usize) -> Result<(), Failure> {
    let kind = Kind::of(path);
    if kind == Kind::Json {
        return Ok(());
    }
    if kind == Kind::Dft && count != 1 {
        let text = format!(
            "{}: a .dft file holds one picture, not {count}; use the extension .dftpack or .json",
            path.display()
        );
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    // Checks that the bundle's numbers fit into a .dft header.
    let last = (bundle.classes().len() as u32).checked_sub(1);
    Dft::new(bundle, last, None, vec![0])?;
    Ok(())
}

/// Writes pictures of `bundle` to `path`; the extension selects the kind of file. Entries of a pack are named `name`, or
/// by class and seed.
pub fn save(path: &Path, bundle: &Bundle, images: Vec<TokenImage>, name: Option<&str>) -> Result<(), Error> {
    match Kind::of(path) {
        Kind::Json => TokenFile::new(bundle, images).save(path),
        Kind::Dft => match &images[..] {
            [image] => Dft::from_image(bundle, image)?.save(path),
            _ => Err(Error::Invalid(format!("{}: a .dft file holds one picture", path.display()))),
        },
        Kind::Pack => {
            let mut pack = PackWriter::create(path)?;
            for image in &images {
                let name = name.map(str::to_owned).or_else(|| entry_name(image));
                pack.add(name.as_deref(), &Dft::from_image(bundle, image)?)?;
            }
            pack.finish()
        }
    }
}

/// The name of a picture in a pack, by class and seed: `potion-7`.
pub fn entry_name(image: &TokenImage) -> Option<String> {
    let class = image.class.as_deref()?.replace(char::is_control, "_");
    Some(format!("{class}-{}", image.seed?)).filter(|name| name.len() <= 255)
}
