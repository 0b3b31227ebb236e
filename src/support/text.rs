//! Text that comes from files: its encoding, and how it is shown.

use std::borrow::Cow;
use std::fmt::Write;

/// The bytes of a text file without the byte order mark that some editors put at its start.
///
/// # Errors
/// The reason, if the text is UTF-16 or UTF-32.
pub(crate) fn without_mark(bytes: &[u8]) -> Result<&[u8], &'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(rest),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Err("the text is UTF-32; it must be UTF-8"),
        // Without a mark, ASCII characters tell: each has a zero byte beside it.
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=255, 0, 1..=255, 0, ..] | [0, 1..=255, 0, 1..=255, ..] => {
            Err("the text is UTF-16; it must be UTF-8")
        }
        _ => Ok(bytes),
    }
}

/// Whether a terminal would obey a character instead of showing it: control characters, and those that change the direction
/// of the text.
fn is_command(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` as it can be shown on a terminal and in a log: characters that a terminal would obey instead of showing are escaped
/// as JSON does (`\n`, `\u001b`). Text from bundles and token files is untrusted.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, "")
}

/// [`printable`] for text of several lines, whose line breaks and tabs stay.
#[must_use]
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, "\n\t")
}

fn escaped<'a>(text: &'a str, kept: &str) -> Cow<'a, str> {
    let command = |c: char| is_command(c) && !kept.contains(c);
    if !text.contains(command) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if command(c) {
            // Writing to a string cannot fail.
            let _ = match c {
                '\n' => write!(shown, "\\n"),
                '\r' => write!(shown, "\\r"),
                '\t' => write!(shown, "\\t"),
                _ => write!(shown, "\\u{:04x}", u32::from(c)),
            };
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_mark_skips_that_of_utf_8_and_names_utf_16() {
        assert_eq!(without_mark(b"\xef\xbb\xbf{}"), Ok(&b"{}"[..]));
        for text in [&b""[..], b"{", b"{}", b"\xef\xbb", b"a\0\0\0", "né".as_bytes()] {
            assert_eq!(without_mark(text), Ok(text));
        }
        for text in [&b"\xff\xfe{\0"[..], b"\xfe\xff\0{", b"{\0}\0", b"\0{\0}"] {
            assert!(without_mark(text).unwrap_err().contains("UTF-16"), "{text:?}");
        }
        for text in [&b"\xff\xfe\0\0{\0\0\0"[..], b"\0\0\xfe\xff"] {
            assert!(without_mark(text).unwrap_err().contains("UTF-32"), "{text:?}");
        }
    }

    #[test]
    fn printable_escapes_what_a_terminal_obeys() {
        assert!(matches!(printable("Löwe “2” – 火 👩‍🚀"), Cow::Borrowed(_)));
        assert_eq!(printable("a\x1b[2Jb\r\n\0\u{9b}\u{202e}\x7f"), r"a\u001b[2Jb\r\n\u0000\u009b\u202e\u007f");
        assert_eq!(printable_lines("a\tb\nc\rd"), "a\tb\nc\\rd");
    }
}
