//! JSON files of ours: a "format" that is read before anything else, and then the keys, straight into their types. A tree of
//! values in between takes up to eighty times the memory of the text.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::text::without_mark;

/// Parses a file of `format`. `what` names it in the error about memory; memory for `growth` times the text is checked first,
/// since the parser allocates infallibly.
///
/// # Errors
/// [`Error::OutOfMemory`], or as the inner result what is wrong with the file; the text continues the file's name.
pub(crate) fn parse<T: DeserializeOwned>(
    what: &str,
    bytes: &[u8],
    format: u64,
    growth: usize,
) -> Result<Result<T, String>, Error> {
    drop(reserve::<u8>(what, bytes.len().saturating_mul(growth))?);
    Ok(parse_checked(bytes, format))
}

fn parse_checked<T: DeserializeOwned>(bytes: &[u8], format: u64) -> Result<T, String> {
    let bytes = without_mark(bytes).map_err(|reason| format!(": {reason}"))?;
    // The format version first: another version may have other keys, and "missing field" would mislead.
    let head: Head = serde_json::from_slice(bytes).map_err(|error| format!(": {error}"))?;
    match head.0 {
        Some(Format::Number(found)) if found == format => {}
        Some(found) => return Err(format!(" is of format {found}; this version reads format {format}")),
        None => return Err(" has no \"format\"".into()),
    }
    let mut text = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut text).map_err(|error| format!(": {}: {}", error.path(), error.inner()))
}

/// The value of "format" in an object, where everything else is passed over.
struct Head(Option<Format>);

/// A format version; anything but a number as text for people.
enum Format {
    Number(u64),
    Other(String),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Head;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"format\"")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head, A::Error> {
                let mut format = None;
                while let Some(key) = map.next_key::<Key>()? {
                    match key {
                        Key::Format => format = Some(map.next_value()?),
                        Key::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Head(format))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    Format,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Format;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Format, E> {
                Ok(Format::Number(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Format, E> {
                Ok(Format::Other(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Format, E> {
                Ok(Format::Other(value.to_string()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Format, E> {
                Ok(Format::Other(value.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Format, E> {
                Ok(Format::Other("null".into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Format, E> {
                Ok(Format::Other(format!("{:?}", value.chars().take(20).collect::<String>())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Format, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Format::Other("[…]".into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Format, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Format::Other("{…}".into()))
            }
        }
        deserializer.deserialize_any(Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Thing {
        size: u32,
    }

    fn thing(text: &str) -> Result<Thing, String> {
        parse("it", text.as_bytes(), 1, 1).unwrap()
    }

    #[test]
    fn parse_checks_the_format_before_the_keys() {
        assert_eq!(thing("{\"size\": 3, \"format\": 1, \"more\": [{}]}"), Ok(Thing { size: 3 }));
        for (text, word) in [
            ("{\"format\": 2, \"size\": \"x\"}", "is of format 2; this version reads format 1"),
            ("{\"format\": \"1\"}", "is of format \"1\""),
            ("{\"format\": [1, {}]}", "is of format […]"),
            ("{\"format\": {\"a\": 1}}", "is of format {…}"),
            ("{\"format\": null}", "is of format null"),
            ("{\"format\": -1.5}", "is of format -1.5"),
            ("{\"size\": 3}", "has no \"format\""),
            ("[]", "an object with \"format\""),
            ("{\"format\": 1, \"size\": -3}", ": size: invalid value"),
            ("{\"format\": 1}", "missing field `size`"),
            ("{\"format\": 1, \"size\": 3} 4", "trailing characters"),
            ("", "EOF"),
        ] {
            let error = thing(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let deep = format!("{{\"format\": 1, \"size\": {}", "[".repeat(100_000));
        assert!(thing(&deep).is_err());
    }
}
