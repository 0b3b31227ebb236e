//! One ONNX file, compiled, with the signature that it must have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use ort::session::Session;
use ort::value::{Tensor, TensorElementType, TensorRef};

use super::context::Context;
use super::device::{self, Assigned, GraphReport};
use super::exit::{self, RuntimeOwned};
use super::failure::failed;
use super::fixed_call::CacheReplay;
use super::lanes::Lanes;
use super::operators::Matrices;
use super::port::{Port, check};
use super::replay::Replay;
use super::row_copy::RowCopy;
use super::session::{self, Compiled, ForOperators, GraphOptions, GraphSource, SharedWeights, Weights};
use crate::kernels::kv::SlotTable;
use crate::support::error::Result;
use crate::support::sync::{MutexGuard, lock};

/// A compiled graph, shared between threads. One thread runs it at a time, because ONNX Runtime's `Run` must not be called
/// twice at once.
pub(crate) struct Graph {
    session: Arc<RuntimeOwned<Mutex<Session>>>,
    /// Steps that the device replays.
    replay: Option<Arc<CacheReplay>>,
    /// Tells our own operators the sequence slots of a run; `None` for a graph without such operators.
    slots: Option<SlotTable>,
    name: String,
    options: GraphOptions,
    /// Copy rows within device memory, one for each type of elements; compiled when they are first needed.
    row_copies: Mutex<Vec<(TensorElementType, Arc<RowCopy>)>>,
    /// The matrices of our own operators.
    matrices: Matrices,
    /// Nodes by provider.
    assigned: Vec<Assigned>,
    /// Matrix multiplications of the graph; not counted on the CPU.
    matmuls: usize,
    /// The memory that holds the KV caches, once there is one.
    kv_memory: OnceLock<String>,
    /// For large batches of a small model.
    lanes: Option<Lanes>,
    /// Nanoseconds spent in runs, over all users.
    spent: AtomicU64,
}

impl Graph {
    /// Compiles `source` and checks its inputs and outputs. With `slots` the graph may use our own operators, which hold the
    /// KV cache in slots of that table.
    pub fn compile(
        source: GraphSource<'_>,
        options: &GraphOptions,
        slots: Option<SlotTable>,
        inputs: &[Port],
        outputs: &[Port],
    ) -> Result<Self> {
        let GraphSource { name, .. } = source;
        let _inside = exit::enter_on(options.device.context())?;
        let matrices = Matrices::default();
        let own = slots.as_ref().map(|slots| ForOperators { slots, weights: Weights::Own(&matrices) });
        let Compiled { session, assigned, matmuls, .. } = session::compile(source, options, own)?;
        check(name, "input", session.inputs(), inputs)?;
        check(name, "output", session.outputs(), outputs)?;
        let replay = options.replays.then(|| Replay::new(name).map(Arc::new)).transpose()?;
        Ok(Self {
            session: Arc::new(RuntimeOwned::on(options.device.context(), Mutex::new(session))),
            replay,
            slots,
            name: name.to_owned(),
            options: options.clone(),
            row_copies: Mutex::default(),
            kv_memory: OnceLock::new(),
            matrices,
            assigned,
            matmuls,
            lanes: None,
            spent: AtomicU64::new(0),
        })
    }

    /// Shares its large batches among `lanes`.
    pub fn set_lanes(&mut self, lanes: Lanes) {
        self.lanes = Some(lanes);
    }

    /// The sessions that share its large batches.
    pub(super) fn lanes(&self) -> Option<&Lanes> {
        self.lanes.as_ref()
    }

    /// A table for another session of the graph, which takes the slots of this one.
    pub fn slots_of_lane(&self) -> SlotTable {
        self.slots().sibling()
    }

    /// Its weights, for further sessions.
    pub fn shared_weights(&self) -> SharedWeights {
        SharedWeights { matrices: self.matrices.clone(), owner: self.session.clone() }
    }

    /// Which providers run it, and what memory it holds.
    pub fn report(&self) -> Result<GraphReport> {
        let _inside = exit::enter_on(self.context())?;
        let kv_memory = self.kv_memory.get().cloned();
        let (session, options) = (self.lock(), &self.options);
        let report = device::report(&session, &self.name, self.matmuls, &self.assigned, &options.device, kv_memory);
        Ok(GraphReport { replays: options.replays, ..report })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Time spent within ONNX Runtime, over all runs.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    /// Counts the time of a run. Called with the lock held, so that waiting for it does not count.
    pub(super) fn timed<R>(&self, run: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = run();
        self.spent.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// Counts the time of a run on another thread.
    pub(super) fn took(&self, time: Duration) {
        self.spent.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The session, for another thread.
    pub(super) fn session(&self) -> Arc<RuntimeOwned<Mutex<Session>>> {
        self.session.clone()
    }

    /// Where its steps are recorded, if they are replayed.
    pub(super) fn replay(&self) -> Option<&Arc<CacheReplay>> {
        self.replay.as_ref()
    }

    /// The options that it was compiled with.
    pub(super) fn options(&self) -> &GraphOptions {
        &self.options
    }

    /// What the sessions of its device share.
    pub(super) fn context(&self) -> Context {
        self.options.device.context()
    }

    /// Records the memory that holds the KV caches.
    pub(super) fn note_kv_memory(&self, memory: &str) {
        self.kv_memory.get_or_init(|| memory.to_owned());
    }

    /// Copies rows of `element` within the memory of the graph's device.
    pub(super) fn row_copy(&self, element: TensorElementType) -> Result<Arc<RowCopy>> {
        let mut made = lock(&self.row_copies);
        if let Some((_, row_copy)) = made.iter().find(|(of, _)| *of == element) {
            return Ok(row_copy.clone());
        }
        let row_copy = Arc::new(RowCopy::new(element, &self.options)?);
        made.push((element, row_copy.clone()));
        Ok(row_copy)
    }

    /// The table that tells its operators the sequence slots of a run.
    pub(super) fn slots(&self) -> &SlotTable {
        self.slots.as_ref().expect("a graph of form native is compiled with a slot table")
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    /// Runs a decoder: token ids `[batch, tokens]` to pixels `[batch, channels, size, size]`, which `take` gets. Also
    /// returns the time spent waiting for other users of the graph.
    pub fn decode<R>(
        &self,
        ids: &[i64],
        shape: [usize; 2],
        size: u32,
        take: impl FnOnce(&[f32]) -> R,
    ) -> Result<(R, Duration)> {
        let begun = Instant::now();
        let _inside = exit::enter_on(self.context())?;
        let fail = |error| exit::reason(failed(&self.name, error));
        let ids = TensorRef::from_array_view((shape, ids)).map_err(fail)?;
        let size = Tensor::from_array(([1], vec![i64::from(size)])).map_err(fail)?;
        let mut session = self.lock();
        let waited = begun.elapsed();
        let outputs = self.timed(|| session.run(ort::inputs!["ids" => ids, "size" => size])).map_err(fail)?;
        let (_, pixels) = outputs["pixels"].try_extract_tensor::<f32>().map_err(fail)?;
        Ok((take(pixels), waited))
    }

    /// Runs an encoder: pixels `[batch, channels, side, side]` to token ids `[batch, tokens]` and latents `[batch, tokens,
    /// code width]`, which `take` gets.
    pub fn encode<R>(&self, pixels: &[f32], shape: [usize; 4], take: impl FnOnce(&[i64], &[f32]) -> R) -> Result<R> {
        let _inside = exit::enter_on(self.context())?;
        let fail = |error| exit::reason(failed(&self.name, error));
        let image = TensorRef::from_array_view((shape, pixels)).map_err(fail)?;
        let mut session = self.lock();
        let outputs = self.timed(|| session.run(ort::inputs!["image" => image])).map_err(fail)?;
        let (_, ids) = outputs["ids"].try_extract_tensor::<i64>().map_err(fail)?;
        let (_, latents) = outputs["latents"].try_extract_tensor::<f32>().map_err(fail)?;
        Ok(take(ids, latents))
    }
}
