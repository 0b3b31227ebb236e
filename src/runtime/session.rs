//! A graph becomes a session of ONNX Runtime: options for all devices, options for one, and the check that the graph
//! really runs there.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::device::{self, Assigned, Device, DeviceOptions};
use super::failure::failed;
use super::operators::{Lent, Matrices};
use super::threads::PoolThreads;
use super::{exit, library, operators, sys};
use crate::bundle::GraphInMemory;
use crate::kernels::kv::SlotTable;
use crate::support::error::{Error, Result};
use crate::support::files::read;
use crate::support::parallel::{ParallelFor, Threads};
use crate::support::sync::lock;

/// Whether threads that wait for work spin, which takes a CPU core each, or sleep, which costs some microseconds for each
/// wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Spinning {
    /// Threads spin while a graph runs, and stop when the run ends.
    #[default]
    Runs,
    /// Threads never spin: they sleep between any two pieces of work. This leaves the CPU to others and makes steps slower.
    Never,
}

/// Where a graph is read from.
#[derive(Clone, Copy)]
pub(crate) struct GraphSource<'a> {
    /// The name of its file in the bundle.
    pub name: &'a str,
    /// The bundle, which with the name, or the bytes in memory, tells the graph from others.
    pub bundle: &'a Path,
    pub content: GraphContent<'a>,
}

/// A graph, and where its weights are.
#[derive(Clone, Copy)]
pub(crate) enum GraphContent<'a> {
    /// A file. ONNX Runtime maps the weights beside it.
    File(&'a Path),
    /// The bytes of the graph. ONNX Runtime maps the weights, which are in files of the folder.
    Beside { graph: &'a [u8], folder: &'a str },
    /// The bytes of all.
    Memory(&'a GraphInMemory),
}

impl GraphContent<'_> {
    /// The bytes of the graph that are in memory.
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::File(_) => None,
            Self::Beside { graph, .. } => Some(graph),
            Self::Memory(memory) => Some(memory.graph.bytes()),
        }
    }

    /// The matrix multiplications of the graph; 0 when it cannot be read, in which case it did not compile either.
    fn matmuls(&self) -> usize {
        match self {
            Self::File(path) => read(path, u64::MAX).map_or(0, |bytes| device::matmuls_in(&bytes)),
            other => other.bytes().map_or(0, device::matmuls_in),
        }
    }
}

/// What our own operators of a session have.
#[derive(Clone, Copy)]
pub(super) struct ForOperators<'a> {
    /// Where they find the sequence slots of a run.
    pub slots: &'a SlotTable,
    pub weights: Weights<'a>,
}

/// Where the weights of linear layers are.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    /// Where ONNX Runtime maps them; their matrices are listed there.
    Own(&'a Matrices),
    /// Of another session of the graph.
    Of(&'a SharedWeights),
}

/// The weights of a session that further sessions of its graph use.
#[derive(Clone)]
pub(crate) struct SharedWeights {
    pub(super) matrices: Matrices,
    /// Has the session.
    pub(super) owner: Arc<dyn Send + Sync>,
}

/// A graph that was compiled.
pub(super) struct Compiled {
    pub session: Session,
    /// What the session uses of another one. Lives as long as it does.
    pub lent: Option<Lent>,
    /// Its nodes by provider.
    pub assigned: Vec<Assigned>,
    /// Its matrix multiplications; not counted on the CPU.
    pub matmuls: usize,
}

/// Options for compiling a graph.
#[derive(Debug, Clone)]
pub(crate) struct GraphOptions {
    /// The device; never `auto`.
    pub device: Device,
    /// Options for the execution provider of the device.
    pub device_options: DeviceOptions,
    /// Threads within an operator; 0 is one for each of `cpus`.
    pub threads: usize,
    /// Threads of the host, for our own operators. The session has none of its own then.
    pub parallel_for: Option<ParallelFor>,
    /// CPUs that this process may use: looked up once, when the model is opened.
    pub cpus: usize,
    pub spinning: Spinning,
    /// Whether runs are recorded and replayed: the graph `ar` of form `fixed` on a device that can.
    pub replays: bool,
}

impl GraphOptions {
    /// The threads that result. A session has fewer when the system does not start as many.
    pub fn threads(&self) -> Threads {
        Threads { count: if self.threads > 0 { self.threads } else { self.cpus }, host: self.parallel_for.clone() }
    }
}

/// Compiles a graph that was made in memory, for the device of `options`.
pub(super) fn compile_small(graph: &[u8], name: &str, options: &GraphOptions) -> Result<Session> {
    let (mut builder, _) = builder(name, options)?;
    let session = builder.commit_from_memory(graph).map_err(|error| blame(name, options, error))?;
    exit::arm(&(graph, &options.device));
    Ok(session)
}

/// The error for a graph that does not compile. On the CPU the graph is at fault. On another device the device may be at
/// fault; compiling on the CPU tells.
fn blame<R>(name: &str, options: &GraphOptions, error: ort::Error<R>) -> Error {
    match exit::reason(failed(name, error)) {
        Error::Failed { graph, reason } if options.device != Device::Cpu => {
            device::refused(&options.device, format!("{graph}: {reason}"))
        }
        other => other,
    }
}

/// A session builder with all options, and the threads that its operators will have.
fn builder(name: &str, options: &GraphOptions) -> Result<(SessionBuilder, Threads)> {
    let environment = library::environment()?;
    let mut operators = options.threads();
    let on_host = operators.host.is_some();
    let (threads, count) = PoolThreads::start(if on_host { 1 } else { operators.count }, name)?;
    let fail = |error| blame(name, options, error);
    let builder = common(environment, options).map_err(fail)?;
    // Always a number: with 0 ONNX Runtime counts the cores of the machine, whatever the process may use, and nails a thread
    // to each of them.
    let builder = builder.with_intra_threads(count).map_err(|error| fail(error.into()))?;
    let builder = builder.with_thread_manager(threads).map_err(|error| fail(error.into()))?;
    let of_device = if on_host { 1 } else { options.threads };
    let builder = device::attach(builder, environment, options, of_device).map_err(exit::reason)?;
    if !on_host {
        operators.count = count;
    }
    Ok((builder, operators))
}

/// The first session with our operators adds their domain to a list of the process. ONNX Runtime looks for it there and adds
/// it in two steps, so that two first sessions at once fail: they wait for each other until one has been made.
struct Registering {
    _first: Option<MutexGuard<'static, ()>>,
}

static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

impl Registering {
    fn begin() -> Self {
        static FIRST: Mutex<()> = Mutex::new(());
        let is_registered = || IS_REGISTERED.load(Ordering::Acquire);
        let first = (!is_registered()).then(|| lock(&FIRST));
        // Whoever waited need not hold the others up.
        Self { _first: first.filter(|_| !is_registered()) }
    }

    /// A session has been made.
    fn done(self) {
        IS_REGISTERED.store(true, Ordering::Release);
    }
}

/// Compiles a graph, with our own operators if it has what they need.
///
/// # Errors
/// [`Error::Device`] when the graph cannot be compiled for the device, for any reason; on the CPU [`Error::Failed`].
pub(super) fn compile(
    GraphSource { name, bundle, content }: GraphSource<'_>,
    options: &GraphOptions,
    own: Option<ForOperators<'_>>,
) -> Result<Compiled> {
    let fail = |error: ort::Error| blame(name, options, error);
    let (mut builder, threads) = builder(name, options)?;
    let mut lent = None;
    if let Some(ForOperators { slots, weights }) = own {
        let listed = match weights {
            Weights::Own(matrices) => Some(matrices.clone()),
            Weights::Of(shared) => {
                lent = Some(shared.matrices.lend(&mut builder, shared.owner.clone()).map_err(fail)?);
                None
            }
        };
        let domain = operators::domain(slots.clone(), threads, listed).map_err(fail)?;
        builder = builder.with_operators(domain).map_err(|error| fail(error.into()))?;
    }
    let registering = own.map(|_| Registering::begin());
    let session = match content {
        GraphContent::File(path) => builder.commit_from_file(path),
        GraphContent::Beside { graph, folder } => builder
            .with_config_entry("session.model_external_initializers_file_folder_path", folder)
            .map_err(|error| fail(error.into()))?
            .commit_from_memory(graph),
        GraphContent::Memory(memory) => sys::commit_from_memory(builder, memory),
    };
    let session = session.map_err(fail)?;
    if let Some(registering) = registering {
        registering.done();
    }
    exit::arm(&(bundle, name, content.bytes(), &options.device));
    let assigned = device::assigned(&session).map_err(fail)?;
    let matmuls = if options.device == Device::Cpu { 0 } else { content.matmuls() };
    if options.device != Device::Cpu && device::all_on_cpu(matmuls, &assigned) {
        let why = format!("{name}: the provider takes none of its matrix multiplications; all would run on the CPU");
        return Err(device::refused(&options.device, why));
    }
    Ok(Compiled { session, lent, assigned, matmuls })
}

/// A session builder with the options that hold on every device.
fn common(environment: &Environment, options: &GraphOptions) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(environment)?
        // All levels: the graphs are written with fused operators, but constant folding and layout still help.
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_no_environment_execution_providers()?
        .with_config_entry("session.record_ep_graph_assignment_info", "1")?;
    builder = match options.spinning {
        // Each graph has threads of its own. Threads that spin after a run take the CPU from the next graph (a decode after
        // a step took 6 ms instead of 1.2) and from the host. During a run they spin: otherwise a step takes 1.3 times as
        // long.
        Spinning::Runs => builder.with_config_entry("session.force_spinning_stop", "1")?,
        Spinning::Never => builder.with_config_entry("session.intra_op.allow_spinning", "0")?,
    };
    if options.device == Device::Cpu {
        // From the second run of a shape on, everything would be in one piece of memory, beside the arena that the first run has
        // filled: the decoder of 16 sprites took 8 MB more.
        builder = builder.with_memory_pattern(false)?;
    }
    Ok(builder)
}
