//! Calibration: measure once how long steps and decodes take on this machine, keep it in the user's cache directory, and
//! know the cost of a request before the first step of a later process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::Model;
use crate::plan::Guidance;
use crate::sample::Sampling;
use crate::support::error::{Error, Result};
use crate::support::files::write_file;
use crate::support::hex::hex;
use crate::support::log;
use crate::support::platform::cpu_model_name;
use crate::timing::latency::{Shape, Table, median};

const FORMAT: u32 = 1;
/// Runs of each shape; the median counts.
const RUNS: usize = 5;
/// A file of ours is some kilobytes.
const LARGEST_FILE: u64 = 1 << 20;
const MOST_BATCH: u32 = 4096;
/// An hour, in nanoseconds: no step takes as long.
const LONGEST: u64 = 3_600_000_000_000;

/// What was measured: of how many shapes, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// How many shapes of steps and decodes.
    pub shapes: usize,
    /// The file in the user's cache directory.
    pub path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    /// What it holds for; see [`key`].
    key: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Step { rows: usize, query: usize, nanoseconds: u64 },
    Decode { pictures: usize, tokens: usize, nanoseconds: u64 },
}

impl Model {
    /// Measures steps of batches of these sizes, with and without guidance, and the decode of each level, and writes
    /// the result to the user's cache directory, where it is found by any process that opens the same bundle with the
    /// same precision, form, device and threads, and the same version of this library and of ONNX Runtime. `progress` is
    /// told how much is done of how much. Takes about ten pictures of each batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no batch or one is not 1 to 4096; [`Error::NotFound`] when this user has no
    /// cache directory; those of [`Generation::finish`] and of writing a file.
    pub fn calibrate(&self, batches: &[u32], mut progress: impl FnMut(usize, usize)) -> Result<Calibration> {
        if batches.is_empty() || batches.iter().any(|batch| !(1..=MOST_BATCH).contains(batch)) {
            return Err(Error::Invalid(format!("batches to calibrate are 1 to {MOST_BATCH}, at least one")));
        }
        let path = path(self)
            .ok_or_else(|| Error::NotFound { what: "cache directory of this user", path: PathBuf::from("~/.cache") })?;
        let mut rows: Vec<u32> = batches.iter().flat_map(|&batch| [batch, 2 * batch]).collect();
        rows.sort_unstable();
        rows.dedup();
        let levels = self.bundle().ladder().levels().to_vec();
        let total = rows.len() * RUNS + levels.len() * RUNS;
        let mut done = 0;
        let mut step = |done: &mut usize| {
            *done += 1;
            progress(*done, total);
        };

        let mut table = Table::new();
        for rows in rows {
            let mut times: Vec<(usize, Duration)> = Vec::new();
            for _ in 0..RUNS {
                times.extend(self.time_steps(rows)?);
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
        let tokens = vec![0; self.bundle().tokens()];
        for level in levels {
            let mut times = Vec::new();
            for _ in 0..RUNS {
                let begun = Instant::now();
                self.decode(&tokens[..level.tokens])?;
                times.push(begun.elapsed());
                step(&mut done);
            }
            if let Some(shape) = self.decode_shape(1, level.tokens) {
                table.insert(shape, median(times.into_iter()));
            }
        }
        self.latency().store(&table);
        let entries: Vec<Entry> = table.iter().map(|(&shape, &time)| entry(shape, time)).collect();
        let shapes = entries.len();
        let file = File { format: FORMAT, key: key(self), entries };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
        }
        let text = serde_json::to_string_pretty(&file).expect("numbers and a string always serialise");
        write_file(&path, (text + "\n").as_bytes())?;
        Ok(Calibration { shapes, path })
    }

    /// The times of the steps of one picture's length with so many rows.
    fn time_steps(&self, rows: u32) -> Result<Vec<(usize, Duration)>> {
        let mut request = Request::new(self);
        request.set_count(rows)?.set_guidance(Guidance::constant(1.0))?;
        request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 })?;
        let mut generation = Generation::new(&request)?;
        let mut times = Vec::new();
        for step in self.schedule(request.target()).steps() {
            let begun = Instant::now();
            generation.step()?;
            times.push((step.query, begun.elapsed()));
        }
        Ok(times)
    }
}

/// What an earlier calibration of just this measured. None when there was none; one that cannot be read is as none.
pub(crate) fn load(model: &Model) -> Option<Table> {
    let path = path(model)?;
    // A pipe would wait for its other end.
    if std::fs::metadata(&path).ok().filter(|file| file.is_file())?.len() > LARGEST_FILE {
        return None;
    }
    let file: File = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    if file.format != FORMAT || file.key != key(model) {
        return None;
    }
    log::info(|| format!("calibration {}", path.display()));
    let bundle = model.bundle();
    let batches = 1..=2 * MOST_BATCH as usize;
    // What no calibration measures would lead the estimates astray, to infinity even.
    let known = |entry: &Entry| {
        let (shape, nanoseconds) = match *entry {
            Entry::Step { rows, query, nanoseconds } => {
                let there = batches.contains(&rows) && [1, bundle.group()].contains(&query);
                (there.then_some(Shape::Step { rows, query })?, nanoseconds)
            }
            Entry::Decode { pictures, tokens, nanoseconds } => {
                let there = batches.contains(&pictures);
                (there.then(|| model.decode_shape(pictures, tokens)).flatten()?, nanoseconds)
            }
        };
        (1..=LONGEST).contains(&nanoseconds).then(|| (shape, Duration::from_nanos(nanoseconds)))
    };
    Some(file.entries.iter().filter_map(known).collect())
}

fn entry(shape: Shape, time: Duration) -> Entry {
    let nanoseconds = time.as_nanos() as u64;
    match shape {
        Shape::Step { rows, query } => Entry::Step { rows, query, nanoseconds },
        Shape::Decode { pictures, tokens, .. } => Entry::Decode { pictures, tokens, nanoseconds },
    }
}

fn path(model: &Model) -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("detailflow").join(format!("calibration-{}.json", short(Sha256::digest(key(model))))))
}

/// What a calibration holds for: another bundle, variant, device, number of threads, processor, library or runtime has
/// its own.
fn key(model: &Model) -> String {
    let bundle = model.bundle();
    let mut files = Sha256::new();
    for file in bundle.files() {
        files.update(&file.sha256);
    }
    let files = short(files.finalize());
    let variant = model.variant();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let runtime = crate::runtime::library().map_or("", |library| library.version.as_str());
    format!(
        "detailflow {} onnxruntime {runtime} bundle {files} {} {} {} threads {} {} {cores} cores {}",
        crate::VERSION,
        variant.precision,
        variant.form,
        model.device(),
        model.threads(),
        std::env::consts::ARCH,
        cpu_model_name(),
    )
}

/// The first 8 bytes of a hash, in hexadecimals.
fn short(hash: impl AsRef<[u8]>) -> String {
    hex(&hash.as_ref()[..8])
}
