//! As much of the ONNX file format (protocol buffers) as we need: the operators in a file, and a graph of one node.

use crate::support::protobuf::{VARINT, next, put_bytes, put_varint};

/// Field numbers of ONNX's messages.
const IR_VERSION_OF_MODEL: u64 = 1;
const GRAPH_OF_MODEL: u64 = 7;
const INITIALIZER_OF_GRAPH: u64 = 5;
const NAME_OF_TENSOR: u64 = 8;
const OPSET_OF_MODEL: u64 = 8;
const NODE_OF_GRAPH: u64 = 1;
const NAME_OF_GRAPH: u64 = 2;
const INPUT_OF_GRAPH: u64 = 11;
const OUTPUT_OF_GRAPH: u64 = 12;
const INPUT_OF_NODE: u64 = 1;
const OUTPUT_OF_NODE: u64 = 2;
const NAME_OF_NODE: u64 = 3;
const OPERATOR_OF_NODE: u64 = 4;

// --- Reading ---

/// The operator types of all nodes; of a damaged file, of the nodes before the damage.
pub(super) fn operators(model: &[u8]) -> Vec<&str> {
    Fields(model)
        .with(GRAPH_OF_MODEL)
        .flat_map(|graph| Fields(graph).with(NODE_OF_GRAPH))
        .flat_map(|node| Fields(node).with(OPERATOR_OF_NODE))
        .filter_map(|kind| std::str::from_utf8(kind).ok())
        .collect()
}

/// The initializer `name`, a tensor; of a damaged file, among those before the damage.
pub(super) fn initializer<'a>(model: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let is_named = |tensor: &&[u8]| Fields(tensor).with(NAME_OF_TENSOR).any(|found| found == name.as_bytes());
    let graphs = Fields(model).with(GRAPH_OF_MODEL);
    graphs.flat_map(|graph| Fields(graph).with(INITIALIZER_OF_GRAPH)).find(is_named)
}

/// The fields of a message: their numbers, and the bytes of those that have a length.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn with(self, number: u64) -> impl Iterator<Item = &'a [u8]> {
        self.filter(move |(found, _)| *found == number).map(|(_, bytes)| bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (number, bytes) = next(&mut self.0).ok().flatten()?;
        Some((number, bytes.unwrap_or_default()))
    }
}

// --- Writing ---

/// Element types, by ONNX's numbers.
pub(super) const FLOAT32: u64 = 1;
pub(super) const INT64: u64 = 7;
pub(super) const FLOAT16: u64 = 10;

/// An input or output: name, element type, and the names of its axes.
pub(super) struct Value<'a> {
    pub name: &'a str,
    pub element: u64,
    pub axes: &'a [&'a str],
}

impl Value<'_> {
    fn encode(&self) -> Vec<u8> {
        let axes: Vec<u8> = self.axes.iter().flat_map(|axis| message(1, &message(2, axis.as_bytes()))).collect();
        let tensor = [number(1, self.element), message(2, &axes)].concat();
        [message(1, self.name.as_bytes()), message(2, &message(1, &tensor))].concat()
    }
}

/// A graph `name` of one node, as an ONNX file of opset 13, which every ONNX Runtime and provider knows.
pub(super) fn single_node(name: &str, operator: &str, inputs: &[Value<'_>], output: &Value<'_>) -> Vec<u8> {
    let node = [
        inputs.iter().flat_map(|input| message(INPUT_OF_NODE, input.name.as_bytes())).collect(),
        message(OUTPUT_OF_NODE, output.name.as_bytes()),
        message(NAME_OF_NODE, name.as_bytes()),
        message(OPERATOR_OF_NODE, operator.as_bytes()),
    ]
    .concat();
    let graph = [
        message(NODE_OF_GRAPH, &node),
        message(NAME_OF_GRAPH, name.as_bytes()),
        inputs.iter().flat_map(|input| message(INPUT_OF_GRAPH, &input.encode())).collect(),
        message(OUTPUT_OF_GRAPH, &output.encode()),
    ]
    .concat();
    let opset = [message(1, b""), number(2, 13)].concat();
    [number(IR_VERSION_OF_MODEL, 8), message(GRAPH_OF_MODEL, &graph), message(OPSET_OF_MODEL, &opset)].concat()
}

/// A field that holds a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, field << 3 | VARINT);
    put_varint(&mut bytes, value);
    bytes
}

/// A field that holds bytes.
fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, field, bytes);
    message
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn onnx_file_operators_are_read_and_damage_ends_the_list() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small/ar.fp32.plain.onnx");
        let bytes = std::fs::read(&path).unwrap();
        let all = operators(&bytes);
        let count = |kind: &str| all.iter().filter(|found| **found == kind).count();
        assert_eq!((count("MatMul"), count("Softmax"), count("Gather")), (13, 2, 1));
        for end in 0..bytes.len().min(2000) {
            assert!(operators(&bytes[..end]).len() <= all.len());
        }
        assert!(operators(&[0xff; 32]).is_empty());
    }

    #[test]
    fn onnx_file_written_is_encoded_as_protocol_buffers() {
        assert_eq!(number(1, 8), [0x08, 8]);
        assert_eq!(number(2, 300), [0x10, 0xac, 0x02]);
        assert_eq!(message(4, b"Gather"), *b"\x22\x06Gather");
        assert_eq!(message(20, &[7; 200])[..4], [0xa2, 0x01, 0xc8, 0x01]);
        let inputs = [Value { name: "a", element: FLOAT32, axes: &["n"] }];
        let graph = single_node("negate", "Neg", &inputs, &Value { name: "b", element: FLOAT32, axes: &["n"] });
        assert!(graph.starts_with(&[0x08, 8, 0x3a]) && graph.ends_with(&[0x42, 4, 0x0a, 0, 0x10, 13]));
        assert_eq!(operators(&graph), ["Neg"]);
    }
}
