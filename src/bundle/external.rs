//! Files that the graphs of a bundle take weights from, as the graphs themselves say. ONNX Runtime opens what a graph names,
//! so each must be a file of the manifest, whose content is checked. For a single-file bundle the names and offsets are
//! rewritten to those of the file that ONNX Runtime maps.

use std::collections::HashSet;

use super::Bundle;
use super::source::Source;
use super::types::Variant;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::protobuf::{Damaged, next, put_bytes};

/// The most bytes of a graph: those of a protocol buffer.
pub(crate) const LARGEST_GRAPH: u64 = (1 << 31) - 1;
/// How deeply graphs may lie in attributes of nodes of graphs.
const DEEPEST: usize = 50;

/// The part of a file that one tensor of a graph is stored in.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct External {
    /// The file, as the graph names it.
    pub location: String,
    pub offset: u64,
    /// `None` is as many bytes as the tensor has.
    pub length: Option<u64>,
}

/// Checks that the graphs of the bundle take weights from files of the manifest only.
pub(super) fn check(bundle: &Bundle) -> Result<()> {
    let listed: HashSet<&str> = bundle.files.iter().map(|file| file.path.as_str()).collect();
    let graphs: HashSet<&String> = bundle.variants.iter().flat_map(Variant::graphs).chain(&bundle.draw).collect();
    // In a fixed order, so that the error is always the same.
    for file in bundle.files.iter().filter(|file| graphs.contains(&file.path)) {
        for External { location, .. } in read(&bundle.source, &file.path)? {
            if !listed.contains(location.as_str()) {
                let reason =
                    "the manifest does not list, so that it is not checked; list it under files, by a plain name";
                let text = format!("{} takes weights from \"{location}\", which {reason}", file.path);
                return Err(Error::bundle(bundle.path(), text));
            }
        }
    }
    Ok(())
}

/// What the graph `name` takes from other files.
pub(super) fn read(source: &Source, name: &str) -> Result<Vec<External>> {
    let refuse = |reason: &str| Error::bundle(source.name(), format!("{name} {reason}"));
    let bytes = source.read(name, LARGEST_GRAPH)?;
    // ONNX Runtime's own format, which it tells by either.
    if name.to_ascii_lowercase().ends_with(".ort") || bytes.get(4..8) == Some(b"ORTM") {
        return Err(refuse("is of ONNX Runtime's own format; a graph must be an ONNX file"));
    }
    let mut found = Vec::new();
    walk(&bytes, Message::Model, 0, &mut found).map_err(|Damaged| refuse("is damaged: it is no ONNX file"))?;
    Ok(found)
}

/// The messages of an ONNX file that a tensor may lie in.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Function,
    Attribute,
    Training,
    SparseTensor,
    Tensor,
}

impl Message {
    /// The message that its field `number` holds.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            _ => return None,
        })
    }
}

/// Collects the external data of all tensors in `message`.
fn walk(mut rest: &[u8], message: Message, depth: usize, found: &mut Vec<External>) -> Result<(), Damaged> {
    if depth > DEEPEST {
        return Err(Damaged);
    }
    if matches!(message, Message::Tensor) {
        return tensor(rest, found);
    }
    while let Some((number, bytes)) = next(&mut rest)? {
        if let (Some(bytes), Some(inside)) = (bytes, message.field(number)) {
            walk(bytes, inside, depth + 1, found)?;
        }
    }
    Ok(())
}

/// The field of a tensor that says where its data are.
const EXTERNAL_DATA: u64 = 13;

/// Appends where the data of a tensor lie that are in other files.
pub(crate) fn tensor(mut rest: &[u8], found: &mut Vec<External>) -> Result<(), Damaged> {
    let (mut locations, mut offset, mut length) = (Vec::new(), 0, None);
    while let Some((number, bytes)) = next(&mut rest)? {
        let Some(mut entry) = bytes.filter(|_| number == EXTERNAL_DATA) else { continue };
        let (mut key, mut value) = (&b""[..], &b""[..]);
        while let Some((number, bytes)) = next(&mut entry)? {
            match (number, bytes) {
                (1, Some(bytes)) => key = bytes,
                (2, Some(bytes)) => value = bytes,
                _ => {}
            }
        }
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(Damaged);
        match key {
            b"location" => locations.push(String::from_utf8_lossy(value).into_owned()),
            b"offset" => offset = number()?,
            b"length" => length = Some(number()?),
            _ => {}
        }
    }
    // A tensor with two locations is not valid; both are checked, whichever ONNX Runtime takes.
    found.extend(locations.into_iter().map(|location| External { location, offset, length }));
    Ok(())
}

/// A copy of the graph `bytes`, the file `name`, in which every place of external data is the one that `place` gives for it.
///
/// # Errors
/// [`Error::Bundle`] if the graph is damaged; [`Error::OutOfMemory`]; those of `place`.
pub(super) fn relocated(
    source: &Source,
    name: &str,
    bytes: &[u8],
    mut place: impl FnMut(&External) -> Result<External>,
) -> Result<Vec<u8>> {
    let mut written = reserve(name, 0)?;
    match rewrite(bytes, Message::Model, 0, &mut place, &mut written) {
        Ok(()) => Ok(written),
        Err(Failed::Damaged) => Err(Error::bundle(source.name(), format!("{name} is damaged: it is no ONNX file"))),
        Err(Failed::Other(error)) => Err(error),
    }
}

/// Why a graph was not rewritten.
enum Failed {
    Damaged,
    Other(Error),
}

impl From<Damaged> for Failed {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Appends a copy of `message` with other places of external data.
fn rewrite(
    mut rest: &[u8],
    message: Message,
    depth: usize,
    place: &mut impl FnMut(&External) -> Result<External>,
    written: &mut Vec<u8>,
) -> Result<(), Failed> {
    if depth > DEEPEST {
        return Err(Failed::Damaged);
    }
    // Written in place of the first entry, and the others are left out.
    let mut moved = if matches!(message, Message::Tensor) { moved(rest, place)? } else { None };
    let is_moved = moved.is_some();
    loop {
        let before = rest;
        let Some((number, bytes)) = next(&mut rest)? else { return Ok(()) };
        let field = &before[..before.len() - rest.len()];
        match (bytes, message.field(number)) {
            (Some(bytes), Some(inside)) => {
                let mut content = reserve("a graph", bytes.len())?;
                rewrite(bytes, inside, depth + 1, place, &mut content)?;
                room(written, content.len())?;
                put_bytes(written, number, &content);
            }
            _ if is_moved && number == EXTERNAL_DATA => {
                for entry in moved.take().into_iter().flatten() {
                    room(written, entry.len())?;
                    put_bytes(written, EXTERNAL_DATA, &entry);
                }
            }
            _ => {
                room(written, field.len())?;
                written.extend_from_slice(field);
            }
        }
    }
}

/// The entries of external data of a tensor that `place` gives in place of its own; `None` if it has none.
fn moved(
    message: &[u8],
    place: &mut impl FnMut(&External) -> Result<External>,
) -> Result<Option<Vec<Vec<u8>>>, Failed> {
    let mut places = Vec::new();
    tensor(message, &mut places)?;
    let external = match &places[..] {
        [] => return Ok(None),
        [one] => place(one)?,
        // Which of two counts would be up to ONNX Runtime.
        _ => return Err(Failed::Damaged),
    };
    let External { location, offset, length } = external;
    let length = length.map(|length| length.to_string());
    let entries = [("location", Some(location)), ("offset", Some(offset.to_string())), ("length", length)];
    let encoded = entries.into_iter().filter_map(|(key, value)| Some((key, value?))).map(|(key, value)| {
        let mut entry = reserve("a graph", 0)?;
        room(&mut entry, key.len().saturating_add(value.len()))?;
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value.as_bytes());
        Ok(entry)
    });
    Ok(Some(encoded.collect::<Result<_>>()?))
}

/// Room for a field of `length` bytes, with its number and its length.
fn room(written: &mut Vec<u8>, length: usize) -> Result<()> {
    const KEY_AND_LENGTH: usize = 20;
    let bytes = length.saturating_add(KEY_AND_LENGTH);
    written.try_reserve(bytes).map_err(|_| Error::OutOfMemory { what: "a graph".into(), bytes: bytes as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.len() < 128 && number < 32);
        let key = u32::from(number) << 3 | 2;
        let mut all = if key < 128 { vec![key as u8] } else { vec![key as u8 | 0x80, (key >> 7) as u8] };
        all.push(bytes.len() as u8);
        all.extend(bytes);
        all
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
    }

    fn found(bytes: &[u8]) -> Result<Vec<External>, Damaged> {
        let mut found = Vec::new();
        walk(bytes, Message::Model, 0, &mut found).map(|()| found)
    }

    #[test]
    fn walk_finds_the_external_data_of_every_tensor() {
        let tensor = [entry("location", "a.bin"), entry("offset", "4096"), entry("length", "12")].concat();
        let wanted = || External { location: "a.bin".into(), offset: 4096, length: Some(12) };
        let graphs = [
            field(5, &tensor),
            field(15, &field(1, &tensor)),
            field(1, &field(5, &field(5, &tensor))),
            field(1, &field(5, &field(10, &tensor))),
            field(1, &field(5, &field(22, &field(2, &tensor)))),
            field(1, &field(5, &field(6, &field(5, &tensor)))),
            field(1, &field(5, &field(11, &field(5, &tensor)))),
        ];
        for graph in graphs {
            assert_eq!(found(&field(7, &graph)), Ok(vec![wanted()]), "{graph:?}");
        }
        assert_eq!(found(&field(25, &field(7, &field(5, &field(5, &tensor))))), Ok(vec![wanted()]));
        assert_eq!(found(&field(20, &field(1, &field(5, &tensor)))), Ok(vec![wanted()]));
        let two = [field(7, &field(5, &entry("location", "a"))), field(7, &field(5, &entry("location", "b")))].concat();
        assert_eq!(found(&two).unwrap().len(), 2);
        assert_eq!(found(&field(7, &field(5, &entry("offset", "x")))), Err(Damaged));
    }

    #[test]
    fn relocated_changes_the_places_and_nothing_else() {
        let source = Source::open(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small").as_path());
        let source = source.unwrap();
        let moved = |bytes: &[u8], by: u64| {
            relocated(&source, "graph", bytes, |External { location, offset, length }| {
                Ok(External { location: location.clone(), offset: offset + by, length: *length })
            })
        };
        let bytes = source.read("ar.int8.native.onnx", LARGEST_GRAPH).unwrap();
        let (far, same) = (moved(&bytes, 1 << 40).unwrap(), moved(&bytes, 0).unwrap());
        // The exporter writes the three in the order in which they are written here.
        assert!(same == bytes, "nothing moved, and the graph is another");
        let (before, after) = (found(&bytes).unwrap(), found(&far).unwrap());
        assert!(before.len() > 1 && before.len() == after.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(
                (before.offset + (1 << 40), &before.location, before.length),
                (after.offset, &after.location, after.length)
            );
        }
        let two = field(7, &field(5, &[entry("location", "a"), entry("location", "b")].concat()));
        assert!(matches!(moved(&two, 0), Err(Error::Bundle { .. })));
        assert!(matches!(moved(b"something else", 0), Err(Error::Bundle { .. })));
        // A tensor without a place keeps what it has.
        let inline = field(7, &field(5, &field(9, b"data")));
        assert_eq!(moved(&inline, 9).unwrap(), inline);
    }

    #[test]
    fn walk_refuses_damage_and_depth() {
        assert_eq!(found(b""), Ok(vec![]));
        assert_eq!(found(b"something else"), Err(Damaged));
        // Lengths of more than one byte: each level of graph, node and attribute adds its keys.
        let mut graph = Vec::new();
        for _ in 0..1000 {
            for number in [6, 5, 1] {
                let mut outer = vec![number << 3 | 2];
                let mut length = graph.len();
                while length >= 128 {
                    outer.push(length as u8 | 0x80);
                    length >>= 7;
                }
                outer.push(length as u8);
                outer.extend(&graph);
                graph = outer;
            }
        }
        let mut rest = Vec::new();
        assert_eq!(walk(&graph, Message::Graph, 0, &mut rest), Err(Damaged));
    }
}
