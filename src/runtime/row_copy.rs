//! Row copies (gathers) within the memory of a device, by whatever provider computes there: a graph of one `Gather` node,
//! which is made here.

use std::sync::{Arc, Mutex};

use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Shape, Tensor, TensorElementType};

use super::device::{Device, allocator, memory_info, seen_by_both};
use super::exit::RuntimeOwned;
use super::onnx_file::{FLOAT16, FLOAT32, INT64, Value, single_node};
use super::session::{self, GraphOptions};
use super::sys::Seen;
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
        Ok(Self { session: RuntimeOwned::on(options.device.context(), Mutex::new(session)) })
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

/// Numbers that go to a device before each run of a graph there, always to the same place.
pub(super) struct Feed {
    row_copy: Arc<RowCopy>,
    /// Where the CPU writes, and the device reads.
    from: Seen<i64>,
    /// In device memory.
    to: Seen<i64>,
    /// Every row of `from`.
    _map: DynTensor,
    /// Declared last: it keeps the session alive.
    binding: IoBinding,
}

impl Feed {
    /// For `count` numbers.
    pub fn new(row_copy: Arc<RowCopy>, device: &Device, count: usize) -> ort::Result<Self> {
        let session = lock(&row_copy.session);
        let all = Tensor::<i64>::new(&seen_by_both(&session, device)?, [count, 1])?;
        let mut from = Seen::new(all, memory_info(device)?);
        let there = allocator(&session, device);
        let mut to = Seen::new(Tensor::<i64>::new(&there, [count, 1])?, memory_info(device)?);
        let mut binding = session.create_binding()?;
        let map = Tensor::from_array(([count], (0..count as i64).collect::<Vec<_>>()))?.upcast();
        from.bind_input(&mut binding, "from")?;
        binding.bind_input("map", &map)?;
        to.bind_output(&mut binding, "to")?;
        drop(session);
        Ok(Self { row_copy, from, to, _map: map, binding })
    }

    /// The numbers.
    pub fn values(&mut self) -> &mut [i64] {
        self.from.values_mut()
    }

    /// Binds numbers from `first` on, in device memory, to the input `name` of another graph.
    pub fn bind(&mut self, binding: &mut IoBinding, name: &str, first: usize, shape: [usize; 2]) -> ort::Result<()> {
        self.to.bind_part(binding, name, first, Shape::new(shape.map(|side| side as i64)))
    }

    /// Copies the numbers to the device.
    pub fn send(&mut self) -> ort::Result<()> {
        lock(&self.row_copy.session).run_binding(&self.binding).map(drop)
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
