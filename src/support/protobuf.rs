//! The wire format of protocol buffers, which ONNX files are written in, as far as we read and write them.

/// Wire types.
pub(crate) const VARINT: u64 = 0;
const FIXED64: u64 = 1;
pub(crate) const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// Field numbers have 29 bits.
const MOST_FIELD: u64 = (1 << 29) - 1;

/// A field: its number, and the bytes of a value that has a length; `None` for a number.
pub(crate) type Field<'a> = (u64, Option<&'a [u8]>);

/// Reads the next field of a message; `rest` is what is left of it. `None` at the end of the message; an error if the bytes
/// are damaged, or of a kind that no ONNX file has (groups).
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Field<'a>>, Damaged> {
    if rest.is_empty() {
        return Ok(None);
    }
    let key = varint(rest).ok_or(Damaged)?;
    let number = key >> 3;
    if !(1..=MOST_FIELD).contains(&number) {
        return Err(Damaged);
    }
    let bytes = match key & 7 {
        VARINT => varint(rest).map(|_| None),
        FIXED64 => take(rest, 8).map(|_| None),
        BYTES => varint(rest).and_then(|count| take(rest, count)).map(Some),
        FIXED32 => take(rest, 4).map(|_| None),
        _ => None,
    };
    Ok(Some((number, bytes.ok_or(Damaged)?)))
}

/// Appends a field that has a length.
pub(crate) fn put_bytes(message: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(message, number << 3 | BYTES);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Appends a number.
pub(crate) fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Damaged;

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(count).ok()?)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_reads_fields_of_every_kind_and_reports_damage() {
        let mut rest = &b"\x08\xac\x02\x12\x02ab\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0"[..];
        assert_eq!(next(&mut rest), Ok(Some((1, None))));
        assert_eq!(next(&mut rest), Ok(Some((2, Some(&b"ab"[..])))));
        assert_eq!(next(&mut rest), Ok(Some((3, None))));
        assert_eq!(next(&mut rest), Ok(Some((4, None))));
        assert_eq!(next(&mut rest), Ok(None));
        for damaged in [&b"\x12\x03ab"[..], b"\x08", b"\x08\xff", b"\x0b", b"\x00\x01", &[0xff; 20], b"\x25\0"] {
            assert_eq!(next(&mut { damaged }), Err(Damaged), "{damaged:?}");
        }
    }
}
