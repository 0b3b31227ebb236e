//! What is known of a picture once it is committed: a record of the spool.

use super::frames;

/// What became of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Its files are written.
    Written {
        /// How many files.
        files: u32,
        /// Their bytes.
        bytes: u64,
    },
    /// Selection dropped it, for this reason.
    Dropped(String),
    /// It could not be drawn. The next run tries again.
    NotDrawn(String),
    /// It was drawn and kept, and could not be written. The next run tries again.
    NotWritten(String),
}

/// A committed picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number.
    pub number: u64,
    /// What became of it.
    pub fate: Fate,
    /// Its tokens; none if it was not drawn.
    pub tokens: Vec<u32>,
    /// The mean log-probability of its tokens, where the job asks for it.
    pub log_probability: Option<f32>,
    /// What selection measured, in its own format.
    pub measure: Vec<u8>,
}

/// The kinds of [`Fate`], as the index of a spool knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Written = 0,
    Dropped = 1,
    NotDrawn = 2,
    NotWritten = 3,
}

impl Kind {
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Written, Self::Dropped, Self::NotDrawn, Self::NotWritten].into_iter().find(|&kind| kind as u8 == byte)
    }

    /// Whether no run tries it again.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Written | Self::Dropped)
    }
}

impl Record {
    pub(super) fn kind(&self) -> Kind {
        match self.fate {
            Fate::Written { .. } => Kind::Written,
            Fate::Dropped(_) => Kind::Dropped,
            Fate::NotDrawn(_) => Kind::NotDrawn,
            Fate::NotWritten(_) => Kind::NotWritten,
        }
    }

    /// Appends it to a spool.
    pub(super) fn append(&self, spool: &mut Vec<u8>) {
        frames::append(spool, |to| {
            to.extend(self.number.to_le_bytes());
            to.push(self.kind() as u8);
            let (files, bytes, reason) = match &self.fate {
                Fate::Written { files, bytes } => (*files, *bytes, ""),
                Fate::Dropped(reason) | Fate::NotDrawn(reason) | Fate::NotWritten(reason) => (0, 0, &**reason),
            };
            to.extend(files.to_le_bytes());
            to.extend(bytes.to_le_bytes());
            // NaN where it is not known.
            to.extend(self.log_probability.unwrap_or(f32::NAN).to_le_bytes());
            to.extend((self.tokens.len() as u32).to_le_bytes());
            let wide = self.tokens.iter().any(|&token| token > u32::from(u16::MAX));
            to.push(u8::from(wide));
            for &token in &self.tokens {
                if wide { to.extend(token.to_le_bytes()) } else { to.extend((token as u16).to_le_bytes()) }
            }
            for bytes in [&*self.measure, reason.as_bytes()] {
                to.extend((bytes.len() as u32).to_le_bytes());
                to.extend(bytes);
            }
        });
    }

    /// The number and the kind of the record with this body.
    pub(super) fn peek(body: &[u8]) -> Option<(u64, Kind)> {
        Some((u64::from_le_bytes(*body.first_chunk()?), Kind::from_byte(*body.get(8)?)?))
    }

    /// Reads the body of a frame.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        let number = u64::from_le_bytes(take(&mut rest)?);
        let [kind] = take(&mut rest)?;
        let files = u32::from_le_bytes(take(&mut rest)?);
        let bytes = u64::from_le_bytes(take(&mut rest)?);
        let log_probability = f32::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?) as usize;
        let [wide] = take(&mut rest)?;
        let (tokens, after) = rest.split_at_checked(count.checked_mul(if wide == 0 { 2 } else { 4 })?)?;
        rest = after;
        let tokens = if wide == 0 {
            tokens.as_chunks().0.iter().map(|&token| u32::from(u16::from_le_bytes(token))).collect()
        } else {
            tokens.as_chunks().0.iter().map(|&token| u32::from_le_bytes(token)).collect()
        };
        let measure = part(&mut rest)?.to_vec();
        let reason = String::from_utf8(part(&mut rest)?.to_vec()).ok()?;
        let fate = match Kind::from_byte(kind)? {
            Kind::Written => Fate::Written { files, bytes },
            Kind::Dropped => Fate::Dropped(reason),
            Kind::NotDrawn => Fate::NotDrawn(reason),
            Kind::NotWritten => Fate::NotWritten(reason),
        };
        let log_probability = Some(log_probability).filter(|value| !value.is_nan());
        rest.is_empty().then_some(Self { number, fate, tokens, log_probability, measure })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*first)
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_encoding_and_no_prefix_is_one() {
        let fates = [
            Fate::Written { files: 2, bytes: 1 << 40 },
            Fate::Dropped("like potion-7".into()),
            Fate::NotDrawn(String::new()),
            Fate::NotWritten("…".into()),
        ];
        for (at, fate) in fates.into_iter().enumerate() {
            for tokens in [vec![], vec![0, 4095, 65_535], vec![1, 65_536]] {
                let log_probability = [None, Some(-3.5)][at % 2];
                let record = Record {
                    number: u64::MAX - at as u64,
                    fate: fate.clone(),
                    tokens,
                    log_probability,
                    measure: vec![7; at],
                };
                let mut spool = Vec::new();
                record.append(&mut spool);
                let body = &spool[frames::HEAD..];
                assert_eq!(Record::decode(body).as_ref(), Some(&record));
                assert_eq!(Record::peek(body), Some((record.number, record.kind())));
                for length in 0..body.len() {
                    assert_eq!(Record::decode(&body[..length]), None);
                }
            }
        }
    }
}
