//! Calibration: measures once how long steps and decodes take on this machine, and keeps that in the user's cache
//! directory, so that a later process knows the cost of a request before its first step.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::Model;
use crate::plan::Guidance;
use crate::sample::Sampling;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{copied, filled};
use crate::timing::latency::{Shape, Table, median};
use crate::timing::store;

/// Runs of each shape; the median counts.
const RUNS: usize = 5;
const MAX_BATCH: u32 = 4096;

/// What a calibration measured, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calibration {
    /// How many shapes of steps and decodes were measured.
    pub shapes: usize,
    /// The file in the user's cache directory.
    pub path: PathBuf,
}

/// Measures steps of each batch size of `batches` (1 to 4096), with and without guidance, and the decode of each level,
/// and writes the result to the user's cache directory. Any process finds it there that opens the same bundle with the
/// same precision, form, device and threads, and the same versions of this library and of ONNX Runtime. Takes about as
/// long as ten images of each batch. `progress` is called after each measurement with how many are done, of how many.
///
/// # Errors
/// [`Error::Invalid`] when `batches` is empty or a size is out of range; [`Error::NotFound`] when this user has no cache
/// directory; those of [`Generation::finish`]; [`Error::Io`] when the file cannot be written.
pub fn calibrate(model: &Model, batches: &[u32], mut progress: impl FnMut(usize, usize)) -> Result<Calibration> {
    let _host = host::enter();
    if batches.is_empty() {
        return Err(Error::Invalid("calibration: no batch size is given; at least one is needed".into()));
    }
    if let Some(batch) = batches.iter().find(|batch| !(1..=MAX_BATCH).contains(batch)) {
        return Err(Error::Invalid(format!("calibration: a batch of {batch} is not 1 to {MAX_BATCH}")));
    }
    let key = model.latency_key();
    let path = store::path(&key)
        .ok_or_else(|| Error::NotFound { what: "cache directory of this user", path: PathBuf::from("~/.cache") })?;
    let mut rows: Vec<u32> = batches.iter().flat_map(|&batch| [batch, 2 * batch]).collect();
    rows.sort_unstable();
    rows.dedup();
    let levels = copied("levels", model.bundle().ladder().levels())?;
    let total = rows.len() * RUNS + levels.len() * RUNS;
    let mut done = 0;
    let mut step = |done: &mut usize| {
        *done += 1;
        host::call_back(|| progress(*done, total));
    };

    let mut table = Table::new();
    for rows in rows {
        let mut times: Vec<(usize, Duration)> = Vec::new();
        for _ in 0..RUNS {
            times.extend(time_steps(model, rows)?);
            step(&mut done);
        }
        let mut queries: Vec<usize> = times.iter().map(|&(query, _)| query).collect();
        queries.sort_unstable();
        queries.dedup();
        for query in queries {
            let of_query = times.iter().filter(|(other, _)| *other == query).map(|&(_, time)| time);
            table.insert(Shape::Step { rows: rows as usize, query }, median(of_query));
        }
    }
    let tokens = filled("tokens", model.bundle().tokens(), 0)?;
    for level in levels {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let begun = Instant::now();
            model.decode(&tokens[..level.tokens])?;
            times.push(begun.elapsed());
            step(&mut done);
        }
        if let Some(shape) = model.decode_shape(1, level.tokens) {
            table.insert(shape, median(times.into_iter()));
        }
    }
    model.latency().store(&table);
    store::save(&path, &key, &table)?;
    Ok(Calibration { shapes: table.len(), path })
}

/// Query length and time of each step of whole images in a batch of `rows` rows.
fn time_steps(model: &Model, rows: u32) -> Result<Vec<(usize, Duration)>> {
    let mut request = Request::new(model);
    request.set_count(rows)?.set_guidance(Guidance::constant(1.0))?;
    request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 })?;
    let mut generation = Generation::new(&request)?;
    let mut times = Vec::new();
    for step in model.schedule(request.target()).steps() {
        let begun = Instant::now();
        generation.step()?;
        times.push((step.query, begun.elapsed()));
    }
    Ok(times)
}
