//! What a request costs before it is made.

use super::param::{Out, Shared};
use super::plain::{Plain, nanoseconds};
use super::request::{detailflow_request, with};
use super::status::{Outcome, detailflow_status};
use crate::tasks::{self, Cost};

/// What a request costs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_cost {
    /// sizeof(detailflow_cost).
    pub struct_size: u32,
    /// Number of steps.
    pub step_count: u32,
    /// Multiply-add operations of all steps and of decoding the last level; 0 when the bundle does not give the sizes of
    /// its networks.
    pub multiply_adds: u64,
    /// Largest size of the KV cache, in bytes. Where the number of batch rows changes (images that share a prefix
    /// diverge, guidance ends), the old one exists beside it for a moment; with attention form "plain" at every step.
    pub kv_cache_bytes: u64,
    /// Bytes of the images of the last level, one byte per channel and pixel.
    pub output_bytes: u64,
    /// Nanoseconds until the images of the last level are decoded; 0 when nothing was measured on this machine yet.
    pub time_ns: u64,
}

/// The steps of one shape.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_step_cost {
    /// sizeof(detailflow_step_cost).
    pub struct_size: u32,
    /// Rows of the batch: one for each image, two with guidance, fewer while images share a prefix; of several classes one for
    /// each of them and for each class to avoid.
    pub batch_rows: u32,
    /// Positions per row: 1 in the causal part, g after it.
    pub query_length: u32,
    /// Number of such steps.
    pub step_count: u32,
    /// Nanoseconds of one of them; 0 when nothing was measured on this machine yet.
    pub time_ns: u64,
}

/// What a level costs, from the start.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_level_cost {
    /// sizeof(detailflow_level_cost).
    pub struct_size: u32,
    /// Pixels per side.
    pub level_size: u32,
    /// Tokens of the level.
    pub token_count: u32,
    /// Steps from the start.
    pub step_count: u32,
    /// Nanoseconds from the start until its images are decoded; 0 when nothing was measured on this machine yet.
    pub time_ns: u64,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_cost {
    const NAME: &'static str = "detailflow_cost";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_step_cost {
    const NAME: &'static str = "detailflow_step_cost";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_level_cost {
    const NAME: &'static str = "detailflow_level_cost";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Gets what a request costs, without generating anything. Times come from steps of this process, otherwise from an
/// earlier calibration on this machine (detailflow_model_calibrate).
///
/// @param cost Filled; its struct_size is set.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_get_cost(
    request: Shared<'_, detailflow_request>,
    cost: Out<'_, detailflow_cost>,
) -> detailflow_status {
    of(request, |found| {
        cost.structure()?.write(detailflow_cost {
            struct_size: 0,
            step_count: found.steps.iter().map(|step| step.count as u32).sum(),
            multiply_adds: found.multiply_adds.unwrap_or(0),
            kv_cache_bytes: found.key_bytes,
            output_bytes: found.output_bytes,
            time_ns: nanoseconds(found.time()),
        })
    })
}

/// Gets the steps of a request by shape, in the order in which they begin.
///
/// @param costs Receives the steps: see "Arrays" above. Set struct_size in element 0: see "Structs".
/// @param capacity Elements that fit at `costs`.
/// @param count Receives the number of elements.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_get_step_costs(
    request: Shared<'_, detailflow_request>,
    costs: Out<'_, detailflow_step_cost>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    of(request, |found| {
        let each = found.steps.iter().map(|step| detailflow_step_cost {
            struct_size: 0,
            batch_rows: step.rows as u32,
            query_length: step.query as u32,
            step_count: step.count as u32,
            time_ns: nanoseconds(step.time),
        });
        costs.put_structs(&each.collect::<Vec<_>>(), capacity, count)
    })
}

/// Gets the levels that a request passes, coarse to fine; the last is the one at which it ends.
///
/// @param costs Receives the levels: see "Arrays" above. Set struct_size in element 0: see "Structs".
/// @param capacity Elements that fit at `costs`.
/// @param count Receives the number of elements.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_request_get_level_costs(
    request: Shared<'_, detailflow_request>,
    costs: Out<'_, detailflow_level_cost>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    of(request, |found| {
        let each = found.levels.iter().map(|level| detailflow_level_cost {
            struct_size: 0,
            level_size: level.level.size,
            token_count: level.level.tokens as u32,
            step_count: level.steps as u32,
            time_ns: nanoseconds(level.time),
        });
        costs.put_structs(&each.collect::<Vec<_>>(), capacity, count)
    })
}

fn of(request: Shared<'_, detailflow_request>, body: impl FnOnce(&Cost) -> Outcome) -> detailflow_status {
    with(request, |request| {
        let cost = request.0.read(|request| Ok(tasks::cost(request)?))?;
        body(&cost)
    })
}
