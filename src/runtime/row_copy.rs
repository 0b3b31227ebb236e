//! Rows of tensors copied within the memory of a device, by whatever provider computes there: a graph of one node, which is
//! made here.

use ort::memory::{Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Tensor, TensorElementType};
use std::sync::Mutex;

use super::device::provider;
use super::exit::RuntimeOwned;
use super::{GraphOptions, session};
use crate::support::error::Result;
use crate::support::sync::lock;

/// An allocator of the memory in which a session computes; the processor's where the device has none of its own, or ONNX
/// Runtime does not hand it out.
pub(super) fn allocator(session: &Session, options: &GraphOptions) -> Allocator {
    let Some((place, index)) = provider::memory(&options.device) else { return Allocator::default() };
    let of = |kind| {
        let info = MemoryInfo::new(place.clone(), index as i32, kind, MemoryType::Default)?;
        Allocator::new(session, info)
    };
    [AllocatorType::Device, AllocatorType::Arena].into_iter().find_map(|kind| of(kind).ok()).unwrap_or_default()
}

/// Copies rows of two-dimensional tensors.
pub(super) struct Mover {
    session: RuntimeOwned<Mutex<Session>>,
}

impl Mover {
    /// For tensors of `element`, on the device of `options`.
    pub fn new(element: TensorElementType, options: &GraphOptions) -> Result<Self> {
        let options = GraphOptions { threads: 1, ..options.clone() };
        let session = session::compile_small(&gather(element), "rows", &options)?;
        Ok(Self { session: RuntimeOwned::new(Mutex::new(session)) })
    }

    /// Each row r of `to` becomes row `map[r]` of `from`, for all pairs of tensors; `from` is one tensor for all, or has as
    /// many as `to`.
    pub fn copy(&self, from: &[DynTensor], map: Vec<i64>, to: &mut [DynTensor]) -> ort::Result<()> {
        let mut session = lock(&self.session);
        let map = Tensor::from_array(([map.len()], map))?;
        let mut binding: IoBinding = session.create_binding()?;
        binding.bind_input("map", &map)?;
        for (at, to) in to.iter_mut().enumerate() {
            if let Some(from) = from.get(at) {
                binding.bind_input("from", from)?;
            }
            binding.bind_output("to", to)?;
            session.run_binding(&binding)?;
        }
        Ok(())
    }
}

/// `to = Gather(from, map)` as an ONNX file: opset 13, which every ONNX Runtime and provider knows.
fn gather(element: TensorElementType) -> Vec<u8> {
    // The numbers of ONNX's protocol buffers: fields, and types of elements.
    const INT64: u64 = 7;
    let element = match element {
        TensorElementType::Float16 => 10,
        TensorElementType::Int64 => INT64,
        _ => 1,
    };
    let port = |name: &str, element: u64, axes: &[&str]| {
        let axes: Vec<u8> = axes.iter().flat_map(|axis| message(1, &message(2, axis.as_bytes()))).collect();
        let tensor = [number(1, element), message(2, &axes)].concat();
        [message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat()
    };
    let names = ["from", "map"].map(|name| message(1, name.as_bytes())).concat();
    let node = [names, message(2, b"to"), message(3, b"rows"), message(4, b"Gather")].concat();
    let graph = [
        message(1, &node),
        message(2, b"rows"),
        message(11, &port("from", element, &["there", "width"])),
        message(11, &port("map", INT64, &["here"])),
        message(12, &port("to", element, &["here", "width"])),
    ]
    .concat();
    let opset = [message(1, b""), number(2, 13)].concat();
    [number(1, 8), message(7, &graph), message(8, &opset)].concat()
}

/// A field of a protocol buffer that holds a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that holds bytes.
fn message(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_as_protocol_buffers_have_them() {
        assert_eq!(number(1, 8), [0x08, 8]);
        assert_eq!(number(2, 300), [0x10, 0xac, 0x02]);
        assert_eq!(message(4, b"Gather"), *b"\x22\x06Gather");
        assert_eq!(message(20, &[7; 200])[..4], [0xa2, 0x01, 0xc8, 0x01]);
        let graph = gather(TensorElementType::Float32);
        assert!(graph.starts_with(&[0x08, 8, 0x3a]) && graph.ends_with(&[0x42, 4, 0x0a, 0, 0x10, 13]));
    }
}
