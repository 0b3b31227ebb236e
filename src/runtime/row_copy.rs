//! Row copies (gathers) within the memory of a device, by whatever provider computes there: a graph of one `Gather` node,
//! which is made here.

use std::sync::Mutex;

use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::exit::RuntimeOwned;
use super::onnx_file::{FLOAT16, FLOAT32, INT64, Value, single_node};
use super::session::{self, GraphOptions};
use crate::support::error::Result;
use crate::support::sync::{MutexGuard, lock};

/// Copies rows of two-dimensional tensors.
pub(super) struct RowCopy {
    session: RuntimeOwned<Mutex<Session>>,
}

impl RowCopy {
    /// For tensors of `element`, on the device of `options`.
    pub fn new(element: TensorElementType, options: &GraphOptions) -> Result<Self> {
        let options = GraphOptions { threads: 1, parallel_for: None, replays: false, ..options.clone() };
        let session = session::compile_small(&gather(element), "rows", &options)?;
        Ok(Self { session: RuntimeOwned::on(options.device.shares_context(), Mutex::new(session)) })
    }

    /// Its session.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    /// Copies row `map[r]` of `from` to row r of `to`, for all pairs of tensors. `from` holds one tensor for all of `to`,
    /// or as many as `to`.
    pub fn copy(&self, from: &[DynTensor], map: Vec<i64>, to: &mut [DynTensor]) -> ort::Result<()> {
        let mut session = lock(&self.session);
        let map = Tensor::from_array(([map.len()], map))?;
        let mut binding: IoBinding = session.create_binding()?;
        binding.bind_input("map", &map)?;
        for (index, to) in to.iter_mut().enumerate() {
            if let Some(from) = from.get(index) {
                binding.bind_input("from", from)?;
            }
            binding.bind_output("to", to)?;
            session.run_binding(&binding)?;
        }
        Ok(())
    }
}

/// `to = Gather(from, map)` as an ONNX file.
fn gather(element: TensorElementType) -> Vec<u8> {
    let element = match element {
        TensorElementType::Float16 => FLOAT16,
        TensorElementType::Int64 => INT64,
        _ => FLOAT32,
    };
    let inputs = [
        Value { name: "from", element, axes: &["there", "width"] },
        Value { name: "map", element: INT64, axes: &["here"] },
    ];
    single_node("rows", "Gather", &inputs, &Value { name: "to", element, axes: &["here", "width"] })
}
