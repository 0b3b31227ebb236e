//! What a request costs before it is made, and calibration.

use super::call::{array, call, call_on, object, output};
use super::model::detailflow_model;
use super::plain::{Plain, nanoseconds, write, write_all};
use super::request::detailflow_request;
use super::status::{Failure, detailflow_status};
use crate::tasks::Cost;

/// They are all different, 1 to 4096.
const MOST_BATCHES: usize = 4096;

/// What a request costs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_cost {
    /// sizeof(detailflow_cost).
    pub struct_size: u32,
    /// Steps in all.
    pub steps: u32,
    /// Multiplications (each with its addition) of all steps and of decoding the last level; 0 when the bundle does not
    /// say how large its networks are.
    pub multiply_adds: u64,
    /// Bytes of keys and values of the step with the most rows. For the moment where rows change (pictures that share a
    /// prefix part, guidance ends) those of before are there as well; form `plain` holds those of two steps at once.
    pub key_bytes: u64,
    /// Bytes of the pictures of the last level, one for each channel of each pixel.
    pub output_bytes: u64,
    /// Nanoseconds until the last level's pictures are decoded; 0 when nothing was measured on this machine yet.
    pub time_ns: u64,
}

/// Steps of one shape.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_step_cost {
    /// sizeof(detailflow_step_cost).
    pub struct_size: u32,
    /// Rows of the batch: one for each picture, two with guidance, fewer while pictures share a prefix.
    pub rows: u32,
    /// Positions of each row: 1, or g.
    pub query: u32,
    /// How many such steps.
    pub count: u32,
    /// Nanoseconds of one of them; 0 when nothing was measured on this machine yet.
    pub time_ns: u64,
}

/// What it takes to have the pictures of a level.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_level_cost {
    /// sizeof(detailflow_level_cost).
    pub struct_size: u32,
    /// Pixels a side.
    pub size: u32,
    /// Its tokens.
    pub tokens: u32,
    /// Steps from the start.
    pub steps: u32,
    /// Nanoseconds from the start until its pictures are decoded; 0 when nothing was measured on this machine yet.
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

/// What `request` costs, without drawing anything, into `cost`, whose struct_size is set. Times are known from steps that
/// ran with this model in this process, else from an earlier calibration on this machine (detailflow_model_calibrate).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_get_cost(
    request: *const detailflow_request,
    cost: *mut detailflow_cost,
) -> detailflow_status {
    of(request, |found| {
        let filled = detailflow_cost {
            struct_size: 0,
            steps: found.steps.iter().map(|step| step.count as u32).sum(),
            multiply_adds: found.multiply_adds.unwrap_or(0),
            key_bytes: found.key_bytes,
            output_bytes: found.output_bytes,
            time_ns: nanoseconds(found.time()),
        };
        // SAFETY: the contract of the header.
        unsafe { write(cost, filled) }
    })
}

/// The steps of `request` by shape, in the order in which they begin, into `steps`, which has room for `capacity`; their
/// number into `count`. The first element's struct_size is set and says how far apart they are. `steps` NULL with
/// `capacity` 0 only tells the number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_step_costs(
    request: *const detailflow_request,
    steps: *mut detailflow_step_cost,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    of(request, |found| {
        let each = found.steps.iter().map(|step| detailflow_step_cost {
            struct_size: 0,
            rows: step.rows as u32,
            query: step.query as u32,
            count: step.count as u32,
            time_ns: nanoseconds(step.time),
        });
        // SAFETY: the contract of the header.
        unsafe { write_all(&each.collect::<Vec<_>>(), steps, capacity, count) }
    })
}

/// The levels of `request` on the way, coarse to fine (the last is the one asked for), into `levels`; as
/// detailflow_request_step_costs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_request_level_costs(
    request: *const detailflow_request,
    levels: *mut detailflow_level_cost,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    of(request, |found| {
        let each = found.levels.iter().map(|level| detailflow_level_cost {
            struct_size: 0,
            size: level.level.size,
            tokens: level.level.tokens as u32,
            steps: level.steps as u32,
            time_ns: nanoseconds(level.time),
        });
        // SAFETY: the contract of the header.
        unsafe { write_all(&each.collect::<Vec<_>>(), levels, capacity, count) }
    })
}

/// Measures steps of batches of these sizes (`count` of them, 1 to 4096, each 1 to 4096), with and without guidance, and
/// the decode of each level, and writes the result to the user's cache directory, where it is found by any process that
/// opens the same bundle with the same precision, form, device and threads and the same versions of this library and of
/// ONNX Runtime. Takes about ten pictures of each batch. NOT_FOUND when the user has no cache directory, IO when it cannot
/// be written there: what was measured is known to this process all the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_calibrate(
    model: *const detailflow_model,
    batches: *const u32,
    count: usize,
) -> detailflow_status {
    with(model, |this| {
        // SAFETY: the contract of the header.
        let batches = unsafe { array(batches, count, MOST_BATCHES, "batches") }?;
        crate::tasks::calibrate(&this.model, &batches, |_, _| {})?;
        Ok(())
    })
}

/// How many nanoseconds it should take to decode one picture of a prefix of `tokens` tokens, into `time_ns`; 0 when
/// nothing was measured on this machine yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_model_predict_decode(
    model: *const detailflow_model,
    tokens: usize,
    time_ns: *mut u64,
) -> detailflow_status {
    with(model, |this| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(time_ns, "time_ns") }?;
        if this.model.bundle().ladder().prefix(tokens).is_none() {
            return Err(Failure::invalid(format!("{tokens} tokens are not a prefix")));
        }
        place.set(nanoseconds(this.model.predict_decode(1, tokens)));
        Ok(())
    })
}

fn of(request: *const detailflow_request, body: impl FnOnce(&Cost) -> super::call::Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    let request = match unsafe { object(request, "request") } {
        Ok(request) => &request.0,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&request.message), || {
        request.read(|request| Ok(crate::tasks::cost(request)?)).and_then(|cost| body(&cost))
    })
}

fn with(
    model: *const detailflow_model,
    body: impl FnOnce(&detailflow_model) -> super::call::Outcome,
) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    match unsafe { object(model, "model") } {
        Ok(this) => call_on(Some(&this.message), || body(this)),
        Err(failure) => call(|| Err(failure)),
    }
}
