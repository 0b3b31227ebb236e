//! One ONNX file, compiled, with the signature it must have.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use ort::session::{NoSelectedOutputs, RunOptions, Session};
use ort::value::{Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use super::device::report::{self, Assigned, GraphReport};
use super::exit::{self, RuntimeOwned};
use super::row_copy::Mover;
use super::{GraphOptions, failed, library, session};
use crate::kernels::kv::SlotTable;
use crate::support::error::{Error, Result};
use crate::support::sync::lock;

/// An axis of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dim {
    /// A fixed length.
    Is(usize),
    /// Chosen at each run.
    Free,
    /// A length that only the graph knows.
    Any,
}

/// What an input or output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Int64,
    Float32,
    Float16,
    Bool,
}

impl Element {
    fn kind(self) -> TensorElementType {
        match self {
            Self::Int64 => TensorElementType::Int64,
            Self::Float32 => TensorElementType::Float32,
            Self::Float16 => TensorElementType::Float16,
            Self::Bool => TensorElementType::Bool,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bool => "bool",
        }
    }
}

/// An input or output that a graph must have.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub name: String,
    pub element: Element,
    pub shape: Vec<Dim>,
}

impl Port {
    pub fn ids(name: &str, shape: &[Dim]) -> Self {
        Self { name: name.to_owned(), element: Element::Int64, shape: shape.to_vec() }
    }

    pub fn floats(name: impl Into<String>, shape: &[Dim]) -> Self {
        Self { name: name.into(), element: Element::Float32, shape: shape.to_vec() }
    }
}

/// A compiled graph. Shared between threads: one runs it at a time, because ONNX Runtime's `Run` is not safe to
/// call twice at once.
pub(crate) struct Graph {
    session: RuntimeOwned<Mutex<Session>>,
    /// Where our own operators find the rows of a call; none where it has no such operators.
    seats: Option<SlotTable>,
    path: PathBuf,
    name: String,
    options: GraphOptions,
    /// What copies rows of keys and values within the memory of the device; compiled when it is first needed.
    mover: Mutex<Option<Arc<Mover>>>,
    /// Which provider has which nodes.
    assigned: Vec<Assigned>,
    /// Which memory keys and values are in, once there are some.
    keys_in: OnceLock<String>,
    /// Nanoseconds spent in runs, by whomever.
    spent: AtomicU64,
}

/// Stops a run from another thread; for one user of a graph, who gives it to each run.
pub(crate) struct Interrupt(RuntimeOwned<Arc<RunOptions<NoSelectedOutputs>>>);

impl Interrupt {
    pub fn new() -> Result<Self> {
        let _inside = exit::enter()?;
        library::environment()?;
        RunOptions::new()
            .map(|options| Self(RuntimeOwned::new(Arc::new(options))))
            .map_err(|error| failed("run options", error))
    }

    /// Ends the run in progress after its current operator. Stays set.
    pub fn trigger(&self) {
        // It only fails for a null pointer, which a live RunOptions does not have.
        if let Ok(_inside) = exit::enter() {
            let _ = self.0.terminate();
        }
    }

    pub(super) fn options(&self) -> &Arc<RunOptions<NoSelectedOutputs>> {
        &self.0
    }
}

impl Graph {
    /// Compiles `path` and checks that its inputs and outputs are these. With `seats` it may use our own operators, and
    /// keeps keys of that shape.
    pub fn compile(
        path: &Path,
        options: &GraphOptions,
        seats: Option<SlotTable>,
        inputs: &[Port],
        outputs: &[Port],
    ) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let _inside = exit::enter()?;
        let (session, assigned) = session::compile(path, &name, options, seats.as_ref())?;
        check(&name, "input", session.inputs(), inputs)?;
        check(&name, "output", session.outputs(), outputs)?;
        Ok(Self {
            session: RuntimeOwned::new(Mutex::new(session)),
            seats,
            path: path.to_owned(),
            name,
            options: options.clone(),
            mover: Mutex::default(),
            keys_in: OnceLock::new(),
            assigned,
            spent: AtomicU64::new(0),
        })
    }

    /// Where it runs.
    pub fn report(&self) -> Result<GraphReport> {
        let _inside = exit::enter()?;
        let keys_in = self.keys_in.get().cloned();
        Ok(report::graph(&self.lock(), &self.path, &self.assigned, &self.options.device, keys_in))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Time spent within ONNX Runtime, over all runs.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    /// Counts the time of a run; called with the lock held, so that waiting does not count.
    pub(super) fn timed<R>(&self, run: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = run();
        self.spent.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    /// How it was compiled.
    pub(super) fn options(&self) -> &GraphOptions {
        &self.options
    }

    /// Says which memory keys and values are in.
    pub(super) fn note_keys_in(&self, memory: &str) {
        self.keys_in.get_or_init(|| memory.to_owned());
    }

    /// What copies rows of `element` within the memory of its device.
    pub(super) fn mover(&self, element: TensorElementType) -> Result<Arc<Mover>> {
        let mut mover = lock(&self.mover);
        if let Some(mover) = mover.as_ref() {
            return Ok(mover.clone());
        }
        let made = Arc::new(Mover::new(element, &self.options)?);
        *mover = Some(made.clone());
        Ok(made)
    }

    /// Where its operators find the rows of a call.
    pub(super) fn seats(&self) -> &SlotTable {
        self.seats.as_ref().expect("a graph that is fed rows was compiled with seats")
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        // A panic during a run leaves no state of ours behind.
        lock(&self.session)
    }

    /// Runs a decoder: ids `[batch, tokens]` at `size` pixels; `take` gets the pixels `[batch, channels, size,
    /// size]`.
    /// Also tells how long it waited for others who use the graph.
    pub fn decode<R>(
        &self,
        ids: &[i64],
        shape: [usize; 2],
        size: u32,
        take: impl FnOnce(&[f32]) -> R,
    ) -> Result<(R, Duration)> {
        let _inside = exit::enter()?;
        let fail = |error| exit::reason(failed(&self.name, error));
        let ids = TensorRef::from_array_view((shape, ids)).map_err(fail)?;
        let size = Tensor::from_array(([1], vec![i64::from(size)])).map_err(fail)?;
        let waiting = Instant::now();
        let mut session = self.lock();
        let waited = waiting.elapsed();
        let outputs = self.timed(|| session.run(ort::inputs!["ids" => ids, "size" => size])).map_err(fail)?;
        let (_, pixels) = outputs["pixels"].try_extract_tensor::<f32>().map_err(fail)?;
        Ok((take(pixels), waited))
    }

    /// Runs an encoder: pixels `[batch, channels, side, side]`; `take` gets the ids `[batch, tokens]`.
    pub fn encode<R>(&self, pixels: &[f32], shape: [usize; 4], take: impl FnOnce(&[i64]) -> R) -> Result<R> {
        let _inside = exit::enter()?;
        let fail = |error| exit::reason(failed(&self.name, error));
        let image = TensorRef::from_array_view((shape, pixels)).map_err(fail)?;
        let mut session = self.lock();
        let outputs = self.timed(|| session.run(ort::inputs!["image" => image])).map_err(fail)?;
        let (_, ids) = outputs["ids"].try_extract_tensor::<i64>().map_err(fail)?;
        Ok(take(ids))
    }
}

/// Whether what a graph has is what it should have; the error names the first difference.
fn check(graph: &str, kind: &str, found: &[Outlet], wanted: &[Port]) -> Result<()> {
    let refuse = |reason: String| Err(Error::Failed { graph: graph.to_owned(), reason });
    for port in wanted {
        let Some(outlet) = found.iter().find(|outlet| outlet.name() == port.name) else {
            return refuse(format!("the graph has no {kind} \"{}\"", port.name));
        };
        let wanted_type = port.element.kind();
        let fits = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => {
                *ty == wanted_type
                    && shape.len() == port.shape.len()
                    // Free axes are -1; a graph that fixes an axis which we vary, or the other way round, does not
                    // fit.
                    && shape.iter().zip(&port.shape).all(|(&found, wanted)| match wanted {
                        Dim::Is(length) => found == *length as i64,
                        Dim::Free => found < 0,
                        Dim::Any => true,
                    })
            }
            _ => false,
        };
        if !fits {
            let axes: Vec<String> = port
                .shape
                .iter()
                .map(|dim| match dim {
                    Dim::Is(length) => length.to_string(),
                    Dim::Free => "free".to_owned(),
                    Dim::Any => "any".to_owned(),
                })
                .collect();
            let wanted = format!("{}[{}]", port.element.name(), axes.join(", "));
            return refuse(format!("{kind} \"{}\" is {}, it should be {wanted}", port.name, outlet.dtype()));
        }
    }
    if let Some(extra) = found.iter().find(|outlet| !wanted.iter().any(|port| port.name == outlet.name())) {
        return refuse(format!("the graph has an {kind} \"{}\" that nothing is known of", extra.name()));
    }
    Ok(())
}
