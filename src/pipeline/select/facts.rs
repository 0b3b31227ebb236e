//! What selection needs to know about a candidate: 33 bytes, from which its decisions can be made again.

use std::sync::{Arc, Mutex, PoisonError};

use super::look::Look;
use super::settings::{SelectBy, SelectSettings};
use crate::pixels::{Image, Picture};
use crate::support::error::Result;
use crate::tasks::best_of::difference;

/// A picture that may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its number in the job.
    pub number: u64,
    /// All its tokens.
    pub tokens: &'a [u32],
    /// Those of the coarsest level. Empty where the row gives them, as for variations: all candidates have the same then.
    pub coarse: &'a [u32],
    /// The mean natural logarithm of the probability of its tokens; NaN where it is not known.
    pub mean_log_probability: f32,
    /// The picture at its finest level.
    pub image: &'a Image,
}

/// What selection needs to know about a candidate. It depends on the candidate and the settings alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Perceptual hash of the picture, colour and alpha on mid grey.
    pub hash: u64,
    /// Fingerprint of all tokens.
    pub tokens: u64,
    /// Fingerprint of the coarse tokens; 0: there are none.
    pub coarse: u32,
    /// Mean straight colour and mean alpha.
    pub colour: [u8; 4],
    /// What the best are chosen by, higher is better; NaN if it is not known.
    pub score: f32,
    /// Share of opaque pixels, 0 to 1.
    pub opaque: f32,
    /// Bits of [`ALPHA`](Self::ALPHA) and so on.
    pub flags: u8,
}

impl Facts {
    /// Bytes of [`to_bytes`](Self::to_bytes).
    pub const BYTES: usize = 33;
    /// The picture has alpha.
    pub const ALPHA: u8 = 1;
    /// All pixels have one colour.
    pub const ONE_COLOUR: u8 = 2;
    /// Opaque pixels are at all four edges.
    pub const EDGES: u8 = 4;
    /// A value of the picture is NaN or infinite.
    pub const BROKEN: u8 = 8;

    /// The facts as bytes, the same on every platform.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.hash.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.tokens.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.coarse.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.colour);
        bytes[24..28].copy_from_slice(&self.score.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.opaque.to_le_bytes());
        bytes[32] = self.flags;
        bytes
    }

    /// The facts of these bytes. Every value is valid.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let part = |from: usize| std::array::from_fn::<u8, 4, _>(|at| bytes[from + at]);
        let long = |from: usize| std::array::from_fn::<u8, 8, _>(|at| bytes[from + at]);
        Self {
            hash: u64::from_le_bytes(long(0)),
            tokens: u64::from_le_bytes(long(8)),
            coarse: u32::from_le_bytes(part(16)),
            colour: part(20),
            score: f32::from_le_bytes(part(24)),
            opaque: f32::from_le_bytes(part(28)),
            flags: bytes[32],
        }
    }

    /// Whether it has this flag.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Gathers the facts of candidates, in any order and on any thread. Copies share the reference picture.
#[derive(Debug, Clone)]
pub struct Judge {
    like: Option<Arc<Reference>>,
}

type Planes = Arc<Vec<f32>>;

/// A picture that candidates are compared with.
#[derive(Debug)]
struct Reference {
    picture: Picture,
    /// Size and number of channels that were asked for last, and its planes of these.
    last: Mutex<Option<(u32, usize, Planes)>>,
}

impl Reference {
    /// As [`Scorer::Likeness`](crate::Scorer::Likeness) scores: 0 for the same picture, else less.
    fn likeness(&self, image: &Image) -> Result<f32> {
        let (size, channels) = (image.size(), if image.has_alpha() { 4 } else { 3 });
        let planes = {
            // A panic leaves nothing half-done here.
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match &*last {
                Some((of_size, of_channels, planes)) if (*of_size, *of_channels) == (size, channels) => planes.clone(),
                _ => {
                    let planes = Arc::new(self.picture.planes(size, channels)?);
                    *last = Some((size, channels, planes.clone()));
                    planes
                }
            }
        };
        Ok(-difference(image.planes(), &planes, channels))
    }
}

impl Judge {
    /// Checks the settings and reads the reference picture.
    ///
    /// # Errors
    /// Those of [`SelectSettings::check`] and of [`Picture::open`].
    pub fn new(settings: &SelectSettings) -> Result<Self> {
        settings.check()?;
        let like = match (settings.by, &settings.like) {
            (SelectBy::Likeness, Some(path)) => {
                Some(Arc::new(Reference { picture: Picture::open(path)?, last: Mutex::new(None) }))
            }
            _ => None,
        };
        Ok(Self { like })
    }

    /// The facts of a candidate.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn facts(&self, candidate: &Candidate<'_>) -> Result<Facts> {
        let look = Look::of(candidate.image);
        let score = match &self.like {
            Some(reference) => reference.likeness(candidate.image)?,
            None => candidate.mean_log_probability,
        };
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        Ok(Facts {
            hash: look.hash,
            tokens: fingerprint(candidate.tokens),
            coarse: if candidate.coarse.is_empty() { 0 } else { (fingerprint(candidate.coarse) as u32).max(1) },
            colour: look.colour,
            score,
            opaque: look.opaque,
            flags: flag(candidate.image.has_alpha(), Facts::ALPHA)
                | flag(look.one_colour, Facts::ONE_COLOUR)
                | flag(look.edges, Facts::EDGES)
                | flag(look.broken, Facts::BROKEN),
        })
    }
}

/// A number that differs for different tokens, with a probability of 2^-64 that it does not (rounds of SplitMix64).
fn fingerprint(tokens: &[u32]) -> u64 {
    let mix = |mut z: u64| {
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    };
    let start = mix(tokens.len() as u64 ^ 0x9E37_79B9_7F4A_7C15);
    tokens.iter().fold(start, |state, &token| mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ u64::from(token)))
}

#[cfg(test)]
mod tests {
    use super::super::pictures::{disc, picture};
    use super::*;
    use crate::support::error::Error;

    fn facts(judge: &Judge, image: &Image) -> Facts {
        let tokens = &[1, 2, 3, 4];
        let candidate = Candidate { number: 0, tokens, coarse: &tokens[..2], mean_log_probability: -1.5, image };
        judge.facts(&candidate).unwrap()
    }

    #[test]
    fn facts_survive_their_bytes() {
        let judge = Judge::new(&SelectSettings::default()).unwrap();
        let found = facts(&judge, &disc(32, 0.5, 0.4, 0.3, [0.1, 0.9, 0.2]));
        assert_eq!(Facts::from_bytes(&found.to_bytes()), found);
        assert!(found.has(Facts::ALPHA) && !found.has(Facts::ONE_COLOUR) && found.coarse != 0);
        assert_eq!(found.score, -1.5);
        let bytes: [u8; Facts::BYTES] = std::array::from_fn(|at| at as u8 + 1);
        assert_eq!(Facts::from_bytes(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn fingerprints_tell_order_and_length() {
        let all = [&[][..], &[0], &[0, 0], &[1, 2], &[2, 1], &[1, 2, 0]].map(fingerprint);
        let distinct: std::collections::HashSet<u64> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn likeness_is_highest_for_the_picture_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("like.png");
        disc(32, 0.5, 0.5, 0.3, [1.0, 0.0, 0.0]).save(&path).unwrap();
        let settings =
            SelectSettings { best: Some(1), by: SelectBy::Likeness, like: Some(path.clone()), ..Default::default() };
        let judge = Judge::new(&settings).unwrap();
        let score = |image: &Image| facts(&judge, image).score;
        let (same, blue, far) = (
            score(&disc(32, 0.5, 0.5, 0.3, [1.0, 0.0, 0.0])),
            score(&disc(32, 0.5, 0.5, 0.3, [0.0, 0.0, 1.0])),
            score(&picture(16, 3, |_, _| [0.0, 1.0, 0.0, 1.0])),
        );
        assert!(same == 0.0 && blue < same && far < blue, "{same} {blue} {far}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Judge::new(&settings), Err(Error::NotFound { .. })));
    }
}
