//! How a graph becomes a session of ONNX Runtime: the options of all devices, those of the one, and the check that it
//! really runs there.

use std::path::Path;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::device::provider;
use super::device::report::Assigned;
use super::device::{Device, DeviceOptions};
use super::exit;
use super::{failed, library, operators};
use crate::kernels::kv::SlotTable;
use crate::support::error::{Error, Result};

/// Whether threads that wait for work look for it all the time, which takes a processor each, or sleep and are woken,
/// which takes some microseconds each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Spinning {
    /// They look for work while a graph runs, and stop when it is over.
    #[default]
    Runs,
    /// They never look: they sleep between any two pieces of work. The processor is free for others; steps take longer.
    Never,
}

/// How graphs are compiled.
#[derive(Debug, Clone)]
pub(crate) struct GraphOptions {
    /// Where; never `auto`.
    pub device: Device,
    /// What its provider is told.
    pub device_options: DeviceOptions,
    /// Threads within an operator; 0 leaves it to ONNX Runtime (one for each core).
    pub threads: usize,
    pub spinning: Spinning,
}

impl GraphOptions {
    /// How many threads that makes.
    pub fn thread_count(&self) -> usize {
        if self.threads > 0 { self.threads } else { std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// Compiles a graph of ours that is made here, for the device of the others.
pub(super) fn compile_small(graph: &[u8], name: &str, options: &GraphOptions) -> Result<Session> {
    let mut builder = builder(name, options)?;
    let session = builder.commit_from_memory(graph).map_err(|error| blame(name, options, error))?;
    exit::arm();
    Ok(session)
}

/// What is told when a graph cannot be compiled. On the CPU it is at fault itself. Elsewhere the device may be: whether it is
/// shows on the CPU.
fn blame<R>(name: &str, options: &GraphOptions, error: ort::Error<R>) -> Error {
    match exit::reason(failed(name, error)) {
        Error::Failed { graph, reason } if options.device != Device::Cpu => {
            provider::refused(&options.device, format!("{graph}: {reason}"))
        }
        other => other,
    }
}

/// All options of a session.
fn builder(name: &str, options: &GraphOptions) -> Result<SessionBuilder> {
    let environment = library::environment()?;
    let builder = common(environment, options).map_err(|error| blame(name, options, error))?;
    provider::attach(builder, environment, &options.device, &options.device_options, options.threads)
        .map_err(exit::reason)
}

/// Compiles `path`, with our own operators when there are `seats` for them. Also says which provider has which nodes.
///
/// # Errors
/// [`Error::Device`] when it cannot be had on the device, whatever the reason; on the CPU that is [`Error::Failed`].
pub(super) fn compile(
    path: &Path,
    name: &str,
    options: &GraphOptions,
    seats: Option<&SlotTable>,
) -> Result<(Session, Vec<Assigned>)> {
    let device = &options.device;
    let fail = |error: ort::Error| blame(name, options, error);
    let mut builder = builder(name, options)?;
    if let Some(seats) = seats {
        let domain = operators::domain(seats.clone(), options.thread_count()).map_err(fail)?;
        builder = builder.with_operators(domain).map_err(|error| fail(error.into()))?;
    }
    let session = builder.commit_from_file(path).map_err(fail)?;
    exit::arm();
    let assigned = super::device::report::assigned(&session).map_err(fail)?;
    if *device != Device::Cpu && super::device::report::all_on_cpu(path, &assigned) {
        let why = format!("{name}: the provider takes none of its products of matrices, all would run on the CPU");
        return Err(provider::refused(device, why));
    }
    Ok((session, assigned))
}

/// What holds on every device.
fn common(environment: &Environment, options: &GraphOptions) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(environment)?
        // Every level: the graphs were written with fused operators, but constant folding and layout still help.
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_no_environment_execution_providers()?
        .with_config_entry("session.record_ep_graph_assignment_info", "1")?;
    builder = match options.spinning {
        // Each graph has threads of its own. Those that look for work after a run is over take the processor from the
        // next graph (seen: a decode after a step took 6 ms in place of 1.2) and from the game. During a run they look:
        // without that a step takes 1.3 times as long.
        Spinning::Runs => builder.with_config_entry("session.force_spinning_stop", "1")?,
        Spinning::Never => builder.with_config_entry("session.intra_op.allow_spinning", "0")?,
    };
    if options.threads > 0 {
        builder = builder.with_intra_threads(options.threads)?;
    }
    Ok(builder)
}
