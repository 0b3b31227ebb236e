//! The values of one tensor that a graph holds, read without ONNX Runtime.

use std::path::Path;

use super::session::{GraphContent, GraphSource};
use crate::bundle::{External, external_data};
use crate::support::error::{Error, Result};
use crate::support::files::{open, read};
use crate::support::memory::{copied, filled};
use crate::support::protobuf::{Damaged, next};
use crate::support::read_at::ReadAt;

/// Field numbers of ONNX's messages.
const GRAPH_OF_MODEL: u64 = 7;
const INITIALIZER_OF_GRAPH: u64 = 5;
const NAME_OF_TENSOR: u64 = 8;
const RAW_DATA_OF_TENSOR: u64 = 9;

/// The most bytes of a graph that is read: those of a protocol buffer.
const LARGEST_GRAPH: u64 = (1 << 31) - 1;

/// The float32 values of the initializer `name` of a graph, rows of `columns` values, of at most `most` rows; `None` if the graph
/// has no initializer of this name.
///
/// # Errors
/// [`Error::Bundle`] if the graph is damaged, or the initializer has another length; [`Error::Io`], [`Error::OutOfMemory`].
pub(crate) fn initializer(
    source: GraphSource<'_>,
    name: &str,
    columns: usize,
    most: usize,
) -> Result<Option<Vec<f32>>> {
    let refuse = |what: String| Error::bundle(source.bundle, format!("{}: {what}", source.name));
    let damaged = |Damaged| refuse("it is no ONNX file".into());
    let file;
    let graph = match source.content {
        GraphContent::File(path) => {
            file = read(path, LARGEST_GRAPH)?;
            &file[..]
        }
        GraphContent::Beside { graph, .. } => graph,
        GraphContent::Memory(memory) => memory.graph.bytes(),
    };
    let Some(tensor) = find(graph, name).map_err(damaged)? else { return Ok(None) };
    let row = columns.saturating_mul(size_of::<f32>()).max(1);
    let mut places = Vec::new();
    external_data(tensor, &mut places).map_err(damaged)?;
    let is_whole = |length: &usize| length.is_multiple_of(row) && (1..=most).contains(&(length / row));
    let bytes = match places.pop() {
        Some(place) => external(source.content, &place, is_whole)?,
        None => field(tensor, RAW_DATA_OF_TENSOR)
            .map_err(damaged)?
            .filter(|bytes| is_whole(&bytes.len()))
            .map(|bytes| copied(name, bytes))
            .transpose()?,
    };
    let bytes = bytes
        .ok_or_else(|| refuse(format!("the initializer {name} does not hold rows of {columns} float32 values")))?;
    let mut values = filled(name, bytes.len() / size_of::<f32>(), 0.0)?;
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
    Ok(Some(values))
}

/// The initializer `name`.
fn find<'a>(mut model: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, Damaged> {
    while let Some((number, bytes)) = next(&mut model)? {
        let Some(mut graph) = bytes.filter(|_| number == GRAPH_OF_MODEL) else { continue };
        while let Some((number, bytes)) = next(&mut graph)? {
            let Some(tensor) = bytes.filter(|_| number == INITIALIZER_OF_GRAPH) else { continue };
            if field(tensor, NAME_OF_TENSOR)? == Some(name.as_bytes()) {
                return Ok(Some(tensor));
            }
        }
    }
    Ok(None)
}

/// The last field `number` of a message, as protocol buffers read a field that occurs twice.
fn field(mut message: &[u8], number: u64) -> Result<Option<&[u8]>, Damaged> {
    let mut found = None;
    while let Some((at, bytes)) = next(&mut message)? {
        found = bytes.filter(|_| at == number).or(found);
    }
    Ok(found)
}

/// The bytes of a tensor in a file of weights; `None` if the graph does not say how many, they are not `allowed`, or the file ends
/// before.
fn external(content: GraphContent<'_>, place: &External, allowed: impl Fn(&usize) -> bool) -> Result<Option<Vec<u8>>> {
    let length = place.length.and_then(|length| usize::try_from(length).ok()).filter(allowed);
    let Some(length) = length else { return Ok(None) };
    let mut bytes = filled(&place.location, length, 0)?;
    let file = match content {
        GraphContent::File(path) => path.with_file_name(&place.location),
        GraphContent::Beside { folder, .. } => Path::new(folder).join(&place.location),
        GraphContent::Memory(memory) => {
            let weights = memory.weights.iter().find(|(name, _)| *name == place.location);
            let read = weights.map(|(_, part)| part.bytes().read_exact_at(&mut bytes, place.offset));
            return Ok(read.is_some_and(|read| read.is_ok()).then_some(bytes));
        }
    };
    let fail = |error| Error::reading(&file, error);
    match open(&file).map_err(fail)?.read_exact_at(&mut bytes, place.offset) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(bytes)).map_err(fail),
    }
}
