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

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// A variable-length integer.
    Number(u64),
    /// What has a length: a text, a message, packed numbers.
    Bytes(&'a [u8]),
    /// 4 or 8 bytes.
    Fixed,
}

/// Reads the next field of a message; `rest` is what is left of it. `None` at the end of the message; an error if the bytes
/// are damaged, or of a kind that no ONNX file has (groups).
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Field<'a>>, Damaged> {
    let bytes = |value| if let Value::Bytes(bytes) = value { Some(bytes) } else { None };
    Ok(next_value(rest)?.map(|(number, value)| (number, bytes(value))))
}

/// As [`next`], with the value of a number.
pub(crate) fn next_value<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, Value<'a>)>, Damaged> {
    if rest.is_empty() {
        return Ok(None);
    }
    let key = varint(rest).ok_or(Damaged)?;
    let number = key >> 3;
    if !(1..=MOST_FIELD).contains(&number) {
        return Err(Damaged);
    }
    let value = match key & 7 {
        VARINT => varint(rest).map(Value::Number),
        FIXED64 => take(rest, 8).map(|_| Value::Fixed),
        BYTES => varint(rest).and_then(|count| take(rest, count)).map(Value::Bytes),
        FIXED32 => take(rest, 4).map(|_| Value::Fixed),
        _ => None,
    };
    Ok(Some((number, value.ok_or(Damaged)?)))
}

/// Appends the numbers of a repeated field to `numbers`: one number, or several packed.
pub(crate) fn put_numbers(value: Value<'_>, numbers: &mut Vec<u64>) -> Result<(), Damaged> {
    match value {
        Value::Number(number) => numbers.push(number),
        Value::Bytes(mut packed) => {
            while !packed.is_empty() {
                numbers.push(varint(&mut packed).ok_or(Damaged)?);
            }
        }
        Value::Fixed => return Err(Damaged),
    }
    Ok(())
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
    fn put_numbers_reads_one_and_several() {
        let mut numbers = Vec::new();
        for mut field in [&b"\x08\xac\x02"[..], b"\x0a\x03\x01\xac\x02", b"\x0a\x00"] {
            let (number, value) = next_value(&mut field).unwrap().unwrap();
            assert_eq!((number, put_numbers(value, &mut numbers)), (1, Ok(())));
        }
        assert_eq!(numbers, [300, 1, 300]);
        assert_eq!(put_numbers(Value::Bytes(b"\xff"), &mut numbers), Err(Damaged));
        assert_eq!(put_numbers(Value::Fixed, &mut numbers), Err(Damaged));
    }

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
