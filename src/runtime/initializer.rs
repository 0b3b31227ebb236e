//! The values of one tensor that a graph holds, read without ONNX Runtime.

use std::path::Path;

use super::onnx_file::{self, FLOAT32};
use super::session::{GraphContent, GraphSource};
use crate::bundle::{External, LARGEST_GRAPH, external_data};
use crate::support::error::{Error, Result};
use crate::support::files::{open, read};
use crate::support::memory::{copied, filled};
use crate::support::protobuf::{Damaged, Value, next_value, put_numbers};
use crate::support::read_at::ReadAt;

/// Field numbers of ONNX's tensors.
const DIMS_OF_TENSOR: u64 = 1;
const TYPE_OF_TENSOR: u64 = 2;
const FLOATS_OF_TENSOR: u64 = 4;
const RAW_DATA_OF_TENSOR: u64 = 9;
const DATA_LOCATION_OF_TENSOR: u64 = 14;

/// The data of a tensor are in another file.
const EXTERNAL: u64 = 1;

/// The values of the float32 initializer `name` of a graph, whose shape is [rows, `columns`] with at most `most` rows; `None` if
/// the graph has no initializer of this name.
///
/// # Errors
/// [`Error::Bundle`] if the graph is damaged, or the initializer has another type or shape, or fewer values; [`Error::Io`],
/// [`Error::OutOfMemory`].
pub(crate) fn initializer(
    source: GraphSource<'_>,
    name: &str,
    columns: usize,
    most: usize,
) -> Result<Option<Vec<f32>>> {
    let refuse = |what: &str| Error::bundle(source.bundle, format!("{}: {what}", source.name));
    let damaged = |Damaged| refuse("it is no ONNX file");
    let file;
    let graph = match source.content {
        GraphContent::File(path) => {
            file = read(path, LARGEST_GRAPH)?;
            &file[..]
        }
        GraphContent::Beside { graph, .. } => graph,
        GraphContent::Memory(memory) => memory.graph.bytes(),
    };
    let Some(bytes) = onnx_file::initializer(graph, name) else { return Ok(None) };
    let tensor = Tensor::parse(bytes).map_err(damaged)?;
    let length = tensor.length(columns, most).ok_or_else(|| {
        refuse(&format!("the initializer {name} is not float32 [rows, {columns}] with 1 to {most} rows"))
    })?;
    let bytes = if tensor.is_external {
        let mut places = Vec::new();
        external_data(bytes, &mut places).map_err(damaged)?;
        places.pop().map(|place| external(source.content, &place, length)).transpose()?.flatten()
    } else {
        tensor.data.filter(|data| data.len() == length).map(|data| copied(name, data)).transpose()?
    };
    let bytes = bytes.ok_or_else(|| refuse(&format!("the initializer {name} has other than {length} bytes")))?;
    let mut values = filled(name, length / size_of::<f32>(), 0.0)?;
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
    Ok(Some(values))
}

/// What a tensor says of itself.
#[derive(Default)]
struct Tensor<'a> {
    dims: Vec<u64>,
    element: u64,
    is_external: bool,
    /// Its bytes, little-endian, where they are in the graph.
    data: Option<&'a [u8]>,
}

impl<'a> Tensor<'a> {
    fn parse(mut fields: &'a [u8]) -> Result<Self, Damaged> {
        let mut tensor = Self::default();
        while let Some((number, value)) = next_value(&mut fields)? {
            match (number, value) {
                (DIMS_OF_TENSOR, value) => put_numbers(value, &mut tensor.dims)?,
                (TYPE_OF_TENSOR, Value::Number(element)) => tensor.element = element,
                (DATA_LOCATION_OF_TENSOR, Value::Number(location)) => tensor.is_external = location == EXTERNAL,
                (RAW_DATA_OF_TENSOR | FLOATS_OF_TENSOR, Value::Bytes(data)) => tensor.data = Some(data),
                _ => {}
            }
        }
        Ok(tensor)
    }

    /// Its bytes, if it is float32 [1 to `most` rows, `columns`].
    fn length(&self, columns: usize, most: usize) -> Option<usize> {
        let &[rows, width] = &self.dims[..] else { return None };
        let rows = usize::try_from(rows).ok().filter(|rows| (1..=most).contains(rows))?;
        let fits = self.element == FLOAT32 && width == columns as u64;
        rows.checked_mul(columns)?.checked_mul(size_of::<f32>()).filter(|_| fits)
    }
}

/// `length` bytes at a place in a file of weights; `None` if the graph says another length, or the file ends before.
fn external(content: GraphContent<'_>, place: &External, length: usize) -> Result<Option<Vec<u8>>> {
    let External { location, offset, length: said } = place;
    let end = offset.checked_add(length as u64);
    let within = |size: u64| said.is_none_or(|said| said == length as u64) && end.is_some_and(|end| end <= size);
    let file = match content {
        GraphContent::File(path) => path.with_file_name(location),
        GraphContent::Beside { folder, .. } => Path::new(folder).join(location),
        GraphContent::Memory(memory) => {
            let part = memory.weights.iter().find(|(name, _)| name == location).map(|(_, part)| part.bytes());
            let part = part.filter(|part| within(part.len() as u64));
            return part.map(|part| copied(location, &part[*offset as usize..][..length])).transpose();
        }
    };
    let fail = |error| Error::reading(&file, error);
    let opened = open(&file).map_err(fail)?;
    if !within(opened.size().map_err(fail)?) {
        return Ok(None);
    }
    let mut bytes = filled(location, length, 0)?;
    opened.read_exact_at(&mut bytes, *offset).map_err(fail)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::protobuf::{put_bytes, put_varint};

    /// A number as a field.
    fn number(message: &mut Vec<u8>, field: u64, value: u64) {
        put_varint(message, field << 3);
        put_varint(message, value);
    }

    /// The tensor `book` of a type and shape.
    fn tensor(element: u64, dims: &[u64]) -> Vec<u8> {
        let mut tensor = Vec::new();
        dims.iter().for_each(|&dim| number(&mut tensor, DIMS_OF_TENSOR, dim));
        number(&mut tensor, TYPE_OF_TENSOR, element);
        put_bytes(&mut tensor, 8, b"book");
        tensor
    }

    /// A graph file of one tensor, beside weights of 40 bytes.
    fn read_back(tensor: &[u8], name: &str) -> Result<Option<Vec<f32>>> {
        let folder = tempfile::tempdir().unwrap();
        let (mut graph, mut model) = (Vec::new(), Vec::new());
        put_bytes(&mut graph, 5, tensor);
        put_bytes(&mut model, 7, &graph);
        let path = folder.path().join("encoder.onnx");
        std::fs::write(&path, model).unwrap();
        std::fs::write(folder.path().join("weights.bin"), [values(), values()].concat()).unwrap();
        let source = GraphSource { name: "encoder.onnx", bundle: folder.path(), content: GraphContent::File(&path) };
        initializer(source, name, 2, 3)
    }

    fn values() -> Vec<u8> {
        [1.0f32, 2.0, 3.0, 4.0, 5.0].iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Says that the data of a tensor are at `offset` of `weights.bin`.
    fn place(tensor: &mut Vec<u8>, offset: &str, length: Option<&str>) {
        number(tensor, DATA_LOCATION_OF_TENSOR, EXTERNAL);
        let entries = [("location", Some("weights.bin")), ("offset", Some(offset)), ("length", length)];
        for (key, value) in entries.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value.as_bytes());
            put_bytes(tensor, 13, &entry);
        }
    }

    #[test]
    fn initializer_reads_values_in_the_graph_and_beside_it() {
        for field in [RAW_DATA_OF_TENSOR, FLOATS_OF_TENSOR] {
            let mut inside = tensor(FLOAT32, &[2, 2]);
            put_bytes(&mut inside, field, &values()[..16]);
            assert_eq!(read_back(&inside, "book").unwrap(), Some(vec![1.0, 2.0, 3.0, 4.0]));
            assert_eq!(read_back(&inside, "boo").unwrap(), None);
        }
        for length in [None, Some("16")] {
            let mut beside = tensor(FLOAT32, &[2, 2]);
            place(&mut beside, "4", length);
            assert_eq!(read_back(&beside, "book").unwrap(), Some(vec![2.0, 3.0, 4.0, 5.0]));
        }
    }

    #[test]
    fn initializer_refuses_other_types_shapes_and_lengths() {
        let refused = |tensor: &[u8], word: &str| match read_back(tensor, "book") {
            Err(Error::Bundle { reason, .. }) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{other:?}"),
        };
        for (element, dims) in
            [(FLOAT32, &[2, 3][..]), (FLOAT32, &[4, 2]), (FLOAT32, &[0, 2]), (FLOAT32, &[4]), (11, &[2, 2])]
        {
            let mut other = tensor(element, dims);
            put_bytes(&mut other, RAW_DATA_OF_TENSOR, &values()[..16]);
            refused(&other, "is not float32");
        }
        let mut short = tensor(FLOAT32, &[2, 2]);
        put_bytes(&mut short, RAW_DATA_OF_TENSOR, &values()[..12]);
        refused(&short, "other than 16 bytes");
        for (offset, length) in [("4", Some("12")), ("28", None), ("18446744073709551615", None)] {
            let mut beside = tensor(FLOAT32, &[2, 2]);
            place(&mut beside, offset, length);
            refused(&beside, "other than 16 bytes");
        }
        // What ONNX Runtime does not read either.
        let mut both = tensor(FLOAT32, &[2, 2]);
        place(&mut both, "4", None);
        number(&mut both, DATA_LOCATION_OF_TENSOR, 0);
        refused(&both, "other than 16 bytes");
        let mut cut = tensor(FLOAT32, &[2, 2]);
        cut.push(0x12);
        refused(&cut, "no ONNX file");
    }
}
