//! Token files of a bundle: makes them, and checks that they belong to it.

use super::Bundle;
use crate::plan::{Level, Mix, Prefix};
use crate::support::error::{Error, Result};
use crate::support::memory::copied;
use crate::tokens::{Dft, Geometry, TokenFile, TokenImage, TokenizerId};

impl Bundle {
    /// How its tokens are grouped and packed in token files.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        Geometry { tokens: self.tokens, group: self.group, causal: self.causal, bits: self.bits }
    }

    /// Makes the token sequence of one picture of this model, ready to be saved as a `.dft`. `class` and `seed` are
    /// `None` for a picture that was encoded.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the tokens are not a prefix or not all in the codebook, the class is out of range, or a
    /// token file cannot hold the sequence.
    pub fn dft(&self, class: Option<u32>, seed: Option<u64>, tokens: Vec<u32>) -> Result<Dft> {
        let (tokenizer, geometry) = (self.tokenizer()?, self.geometry());
        let dft = Dft { tokenizer, geometry, class, mix: None, seed, tokens };
        dft.check()?;
        self.check_dft(&dft)?;
        Ok(dft)
    }

    /// As [`dft`](Self::dft), of a picture of a mix.
    ///
    /// # Errors
    /// As [`dft`](Self::dft).
    pub fn dft_of_mix(&self, mix: &Mix, seed: Option<u64>, tokens: Vec<u32>) -> Result<Dft> {
        let mut dft = self.dft(Some(mix.main_class()), seed, tokens)?;
        dft.mix = mix.as_class().is_none().then(|| mix.clone());
        dft.check()?;
        self.check_dft(&dft)?;
        Ok(dft)
    }

    /// The mix of one picture of a JSON token file; `None` if it is of one class, or of none.
    ///
    /// # Errors
    /// Those of [`mix`](Self::mix).
    pub fn mix_of_image(&self, image: &TokenImage) -> Result<Option<Mix>> {
        let Some(classes) = image.mix.as_deref().or(image.class.as_deref()) else { return Ok(None) };
        if image.mix.is_none() && image.avoid.is_none() {
            return Ok(None);
        }
        let mix = self.mix(classes, image.avoid.as_deref().unwrap_or_default())?;
        Ok(Some(mix).filter(|mix| mix.as_class().is_none()))
    }

    /// Makes the token sequence of one picture of a JSON token file.
    ///
    /// # Errors
    /// As [`dft`](Self::dft), and if the bundle has no class of that name.
    pub fn dft_from_image(&self, image: &TokenImage) -> Result<Dft> {
        if let Some(mix) = self.mix_of_image(image)? {
            return self.dft_of_mix(&mix, image.seed, copied("tokens", &image.tokens)?);
        }
        let class = image.class.as_deref().map(|name| self.class(name)).transpose()?;
        self.dft(class, image.seed, copied("tokens", &image.tokens)?)
    }

    /// Checks that a token sequence belongs to this model: its tokenizer, geometry, class and codes.
    ///
    /// # Errors
    /// [`Error::Invalid`] if not; the message names both.
    pub fn check_dft(&self, dft: &Dft) -> Result<()> {
        if dft.tokenizer != self.tokenizer()? {
            return Err(self.foreign(&dft.tokenizer.to_string()));
        }
        let geometry = self.geometry();
        if dft.geometry != geometry {
            return Err(Error::Invalid(format!(
                "the token sequence has {}; the bundle {} has {geometry}",
                dft.geometry, self.name
            )));
        }
        // A bundle without class names, which can only decode, accepts any class.
        if let Some(class) = dft.class.filter(|_| !self.classes.is_empty()) {
            self.check_class(class)?;
        }
        if let Some(mix) = dft.mix.as_ref().filter(|_| !self.classes.is_empty()) {
            self.check_mix(mix)?;
        }
        match dft.tokens.iter().position(|&token| token as usize >= self.codes) {
            Some(at) => Err(Error::Invalid(format!(
                "token {at} is {}; the codebook of {} has 0 to {}",
                dft.tokens[at],
                self.name,
                self.codes.saturating_sub(1)
            ))),
            None => Ok(()),
        }
    }

    /// Checks that a JSON token file belongs to the tokenizer of this model.
    ///
    /// # Errors
    /// [`Error::Invalid`] if not; the message names both.
    pub fn check_token_file(&self, file: &TokenFile) -> Result<()> {
        if file.bundle == self.tokenizer_id { Ok(()) } else { Err(self.foreign(&file.bundle)) }
    }

    /// The level of `size` pixels per side; the error lists the levels.
    pub(crate) fn level(&self, size: u32) -> Result<Level> {
        self.ladder.level(size).ok_or_else(|| {
            Error::Invalid(format!("{} has no {size} px level; its levels are {}", self.name, self.ladder.sizes()))
        })
    }

    /// The tokens of the level of `level_size` pixels, unchecked otherwise.
    pub(crate) fn level_tokens<'a>(&self, tokens: &'a [u32], level_size: u32) -> Result<&'a [u32]> {
        let level = self.level(level_size)?;
        tokens.get(..level.tokens).ok_or_else(|| {
            Error::Invalid(format!(
                "the {level_size} px level takes {} tokens, there are {}",
                level.tokens,
                tokens.len()
            ))
        })
    }

    /// Checks that `tokens` are a prefix of this model: their number is in the ladder, each is in the codebook.
    pub(crate) fn check_prefix(&self, tokens: &[u32]) -> Result<Prefix> {
        let Some(prefix) = self.ladder.prefix(tokens.len()) else {
            return Err(Error::Invalid(format!(
                "{} tokens are not a prefix of {}: a prefix has 1 to {} tokens, or a multiple of {} up to {}",
                tokens.len(),
                self.name,
                self.causal,
                self.group,
                self.tokens
            )));
        };
        if let Some(at) = tokens.iter().position(|&token| token as usize >= self.codes) {
            return Err(Error::Invalid(format!(
                "token {at} is {}, outside the codebook of {}: 0 to {}",
                tokens[at],
                self.name,
                self.codes - 1
            )));
        }
        Ok(prefix)
    }

    fn tokenizer(&self) -> Result<TokenizerId> {
        self.tokenizer_id.parse()
    }

    fn foreign(&self, id: &str) -> Error {
        let Self { name, tokenizer_id, .. } = self;
        Error::Invalid(format!("the tokens belong to tokenizer {id}; the bundle {name} has {tokenizer_id}"))
    }
}
