//! The numbers of a model that a token file depends on: the ID of its tokenizer, and how its tokens are grouped and
//! packed.

use std::fmt;
use std::str::FromStr;

use crate::support::error::{Error, Result};
use crate::support::hex::hex;

/// The limits of a `.dft` header. A bundle may exceed them; then its tokens cannot be stored in a token file.
pub(super) const MOST_TOKENS: usize = u16::MAX as usize;
const MOST_IN_A_GROUP: usize = u8::MAX as usize;
const MOST_BITS: u32 = 20;

/// The ID of a tokenizer. Tokens of one tokenizer are meaningless under another. As text: 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenizerId(pub [u8; 8]);

impl fmt::Display for TokenizerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl FromStr for TokenizerId {
    type Err = Error;

    /// From 16 hex digits.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        let value = value.ok_or_else(|| Error::Invalid(format!("tokenizer ID \"{text}\" is not 16 hex digits")))?;
        Ok(Self(value.to_be_bytes()))
    }
}

/// How the tokens of a model are grouped and packed. [`Bundle::geometry`](crate::Bundle::geometry) is that of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Tokens of a full picture (N); a token file holds 1 to 65,535.
    pub tokens: usize,
    /// Tokens of a group (g): a divisor of N, 1 to 255.
    pub group: usize,
    /// Tokens of the causal part (c): a multiple of g, at most N.
    pub causal: usize,
    /// Bits of one token, 1 to 20.
    pub bits: u32,
}

impl Geometry {
    /// Whether `tokens` tokens are a prefix: 1 to c of them, or a multiple of g up to N.
    #[must_use]
    pub fn is_prefix(&self, tokens: usize) -> bool {
        (1..=self.causal).contains(&tokens)
            || (self.group > 0 && (1..=self.tokens).contains(&tokens) && tokens.is_multiple_of(self.group))
    }

    /// Why this is not the geometry of a model, or does not fit a header; `None` if it is and does.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { tokens, group, causal, bits } = *self;
        if !(1..=MOST_TOKENS).contains(&tokens) {
            return Some(format!("{tokens} tokens of a full picture are out of range: 1 to {MOST_TOKENS} are allowed"));
        }
        if !(1..=MOST_IN_A_GROUP).contains(&group) || !tokens.is_multiple_of(group) {
            return Some(format!(
                "a group of {group} is out of range (1 to {MOST_IN_A_GROUP}) or does not divide {tokens}"
            ));
        }
        if !(1..=tokens).contains(&causal) || !causal.is_multiple_of(group) {
            return Some(format!(
                "{causal} causal tokens are out of range (1 to {tokens}) or not a multiple of {group}"
            ));
        }
        if !(1..=MOST_BITS).contains(&bits) {
            return Some(format!("{bits} bits per token are out of range: 1 to {MOST_BITS} are allowed"));
        }
        None
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, group, causal, bits } = self;
        write!(f, "{tokens} tokens of {bits} bits, {causal} causal, groups of {group}")
    }
}
