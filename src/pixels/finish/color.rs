//! A colour by its text: `#rrggbb`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::support::error::Error;

/// An opaque colour: red, green and blue of 0 to 255, sRGB-encoded. As text: `#rrggbb`; `rrggbb` is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Color(pub [u8; 3]);

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

impl FromStr for Color {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        let hex = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten();
        let [_, r, g, b] = value
            .ok_or_else(|| {
                Error::Invalid(format!("\"{text}\" is not a colour: six hex digits such as #1a2b3c are allowed"))
            })?
            .to_be_bytes();
        Ok(Self([r, g, b]))
    }
}

impl TryFrom<String> for Color {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Color> for String {
    fn from(color: Color) -> Self {
        color.to_string()
    }
}
