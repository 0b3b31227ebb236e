//! Reading and writing token files of every kind: .dft, .dftpack, JSON.

use std::path::Path;

use detailflow::tokens::{
    AnyTokens, Dft, Entry, Pack, PackWriter, Soundness, TokenFile, TokenFileKind, TokenImage, kind, open_any,
};
use detailflow::{Bundle, Error, Mix};

use crate::{Failure, stream};

/// An open token file.
pub enum Source {
    Json(TokenFile),
    Dft(Dft, Soundness),
    Pack(Pack),
    /// A pack from standard input.
    PackInMemory(Pack<Vec<u8>>),
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

impl Source {
    /// Opens a token file of any kind, `-` for standard input.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if stream::is_std(path) {
            return Ok(Self::read(stream::read()?).map_err(stream::renamed)?);
        }
        Ok(Self::open_file(path)?)
    }

    fn read(bytes: Vec<u8>) -> Result<Self, Error> {
        match kind(&bytes) {
            Some(TokenFileKind::Pack) => Ok(Self::PackInMemory(Pack::from_source(bytes, "standard input")?)),
            Some(TokenFileKind::Dft) => {
                let (dft, soundness) = Dft::decode(&bytes)?;
                Ok(Self::Dft(dft, soundness))
            }
            _ => Ok(Self::Json(TokenFile::decode(&bytes, "standard input")?)),
        }
    }

    fn open_file(path: &Path) -> Result<Self, Error> {
        match open_any(path)? {
            AnyTokens::Json(file) => Ok(Self::Json(file)),
            AnyTokens::Dft(dft, soundness) => Ok(Self::Dft(dft, soundness)),
            AnyTokens::Pack(pack) => Ok(Self::Pack(pack)),
            _ => Err(Error::Invalid(format!("{} is a token file of an unsupported kind", path.display()))),
        }
    }

    pub fn len(&self) -> u32 {
        match self {
            Self::Json(file) => file.images.len() as u32,
            Self::Dft(..) => 1,
            Self::Pack(pack) => pack.len(),
            Self::PackInMemory(pack) => pack.len(),
        }
    }

    /// Whether it is a pack, whose entries have names.
    pub fn is_pack(&self) -> bool {
        matches!(self, Self::Pack(_) | Self::PackInMemory(_))
    }

    /// The name of the sequence `number`: the entry's in a pack, class-seed in a JSON file.
    pub fn name(&self, number: u32) -> Result<Option<String>, Error> {
        match self {
            Self::Json(file) => Ok(entry_name(&file.images[number as usize])),
            Self::Dft(..) => Ok(None),
            Self::Pack(pack) => pack.name(number),
            Self::PackInMemory(pack) => pack.name(number),
        }
    }

    /// The number of the sequence with this name.
    pub fn find(&self, name: &str) -> Result<Option<u32>, Error> {
        match self {
            Self::Json(file) => {
                let named = |image: &TokenImage| entry_name(image).is_some_and(|other| other == name);
                Ok(file.images.iter().position(named).map(|at| at as u32))
            }
            Self::Dft(..) => Ok(None),
            Self::Pack(pack) => pack.find(name),
            Self::PackInMemory(pack) => pack.find(name),
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
            Self::Pack(pack) => Ok(Sequence::of_entry(pack.get(number)?)),
            Self::PackInMemory(pack) => Ok(Sequence::of_entry(pack.get(number)?)),
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
            (Self::Json(file), _) => bundle.check_token_file(file),
            (_, Tokens::Dft(dft, _)) => bundle.check_dft(dft),
            _ => Ok(()),
        }
    }
}

impl Sequence {
    fn of_entry(entry: Entry) -> Self {
        Self { name: entry.name, tokens: Tokens::Dft(entry.dft, entry.soundness) }
    }

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
            Tokens::Image(mut image) => {
                // A class by its index gets its name.
                let name = image.class.as_deref().and_then(|class| bundle.class(class).ok());
                if let Some(name) = name.and_then(|class| bundle.classes().get(class as usize)) {
                    image.class = Some(name.clone());
                }
                image
            }
            Tokens::Dft(dft, _) => {
                let name = |class: u32| match bundle.classes().get(class as usize) {
                    Some(name) => name.clone(),
                    None => format!("class {class}"),
                };
                let image = TokenImage {
                    class: dft.class.map(name),
                    seed: dft.seed,
                    tokens: dft.tokens,
                    ..TokenImage::default()
                };
                with_mix(bundle, image, dft.mix.as_ref())
            }
        }
    }
}

/// A picture with its mix, if it has one.
pub fn with_mix(bundle: &Bundle, image: TokenImage, mix: Option<&Mix>) -> TokenImage {
    let Some(mix) = mix else { return image };
    let (classes, avoid) = bundle.mix_text(mix);
    let (mix, avoid) = ((mix.classes().len() > 1).then_some(classes), Some(avoid).filter(|avoid| !avoid.is_empty()));
    TokenImage { mix, avoid, ..image }
}

/// Checks that `count` pictures of `bundle` fit into the token file `path`, before any work is done, and takes standard output
/// for `-`, in the `format` of `--format`. Returns the kind of file for [`save`].
pub fn check_target(
    path: &Path,
    bundle: &Bundle,
    count: usize,
    format: Option<&str>,
) -> Result<TokenFileKind, Failure> {
    let kind = if stream::is_std(path) {
        let kind = stream::token_format(format)?;
        stream::claim(kind != TokenFileKind::Json)?;
        kind
    } else {
        stream::no_format(format)?;
        TokenFileKind::from_path(path)
    };
    if kind == TokenFileKind::Json {
        return Ok(kind);
    }
    if kind == TokenFileKind::Dft && count != 1 {
        let text = format!(
            "{}: a .dft file holds one picture, not {count}; use the extension .dftpack or .json",
            path.display()
        );
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    // Checks that the bundle's numbers fit into a .dft header.
    let last = (bundle.classes().len() as u32).checked_sub(1);
    bundle.dft(last, None, vec![0])?;
    Ok(kind)
}

/// Writes pictures of `bundle` to `path`, a file of this kind. Entries of a pack are named `name`, or by class and seed.
pub fn save(
    path: &Path,
    kind: TokenFileKind,
    bundle: &Bundle,
    images: &[TokenImage],
    name: Option<&str>,
) -> Result<(), Error> {
    match kind {
        TokenFileKind::Dft => match images {
            [image] if stream::is_std(path) => stream::write(&bundle.dft_from_image(image)?.encode()?),
            [image] => bundle.dft_from_image(image)?.save(path),
            _ => Err(Error::Invalid(format!("{}: a .dft file holds one picture", path.display()))),
        },
        TokenFileKind::Pack => {
            let mut pack = PackWriter::create(path)?;
            for image in images {
                let name = name.map(str::to_owned).or_else(|| entry_name(image));
                pack.add(name.as_deref(), &bundle.dft_from_image(image)?)?;
            }
            pack.finish()
        }
        _ => {
            let file = TokenFile::new(bundle.tokenizer_id(), images.to_vec());
            if stream::is_std(path) { stream::write(&file.encode()?) } else { file.save(path) }
        }
    }
}

/// The name of a picture in a pack, by class and seed: `potion-7`.
pub fn entry_name(image: &TokenImage) -> Option<String> {
    let class = image.class.as_deref()?.replace(char::is_control, "_");
    Some(format!("{class}-{}", image.seed?)).filter(|name| name.len() <= 255)
}
