//! Opening a model: read the bundle, choose a device and a variant, compile the graphs.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::options::MAX_THREADS;
use super::variant::{choose, form_of, key_shape};
use super::{Inner, Model, default_bundle, signature};
use crate::bundle::{Bundle, FilesInMemory, Variant};
use crate::kernels::kv::{KvLayout, SlotTable};
use crate::model::ModelOptions;
use crate::plan::Step;
use crate::runtime::{
    self, Device, DeviceOptions, DeviceSampler, Form, Graph, GraphOptions, GraphSource, Interrupt, KvCache, Port,
};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::log;
use crate::support::memory::{copied, filled};
use crate::support::platform::{allowed_cpus, knows_open_files};
use crate::timing::latency::LatencyModel;

/// Stops the opening of a model from any thread. Clones stop the same one.
#[derive(Clone, Debug, Default)]
pub struct OpenCancel(Arc<AtomicBool>);

impl OpenCancel {
    /// A handle that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the opening: [`Model::open_with`] returns [`Error::Cancelled`] as soon as the stage in progress ends, such as
    /// the compilation of one graph. Stays set.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How far the opening of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenProgress<'a> {
    /// Stages done. Starts again when a device is refused and the next one is tried.
    pub done: usize,
    /// Stages of the device that is being tried.
    pub total: usize,
    /// The stage that starts now: `files`, the file name of a graph that is compiled, or `first run`. Empty at the end.
    pub stage: &'a str,
}

type OnProgress<'a> = Box<dyn FnMut(OpenProgress<'_>) + 'a>;

/// Watches and stops the opening of a model. The default does neither.
///
/// ```no_run
/// use detailflow::{Model, ModelOptions, OpenCancel, OpenWatch};
///
/// let cancel = OpenCancel::new();
/// let watch = OpenWatch::new()
///     .with_progress(|progress| println!("{}/{} {}", progress.done, progress.total, progress.stage))
///     .with_cancel(cancel.clone());
/// let model = Model::open_with(None, &ModelOptions::new(), watch)?;
/// # detailflow::Result::<()>::Ok(())
/// ```
#[derive(Default)]
pub struct OpenWatch<'a> {
    progress: Option<OnProgress<'a>>,
    cancel: Option<OpenCancel>,
}

impl<'a> OpenWatch<'a> {
    /// Neither watches nor stops.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `progress` on the opening thread before each stage and at the end.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(OpenProgress<'_>) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Stops when `cancel` is cancelled.
    #[must_use]
    pub fn with_cancel(mut self, cancel: OpenCancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// A stage starts, unless the opening was cancelled.
    fn stage(&mut self, done: usize, total: usize, stage: &str) -> Result<()> {
        if let Some(progress) = &mut self.progress {
            host::call_back(|| progress(OpenProgress { done, total, stage }));
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(OpenCancel::is_cancelled) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl fmt::Debug for OpenWatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenWatch").field("progress", &self.progress.is_some()).field("cancel", &self.cancel).finish()
    }
}

impl Model {
    /// Opens the bundle in the folder `path` and compiles its autoregressive graph (where it has one) and its decoder.
    /// Loads ONNX Runtime when that has not happened yet (see [`init`](crate::init)).
    ///
    /// # Errors
    /// Those of [`Bundle::open`]; [`Error::Runtime`] when there is no ONNX Runtime or it is too old for the
    /// variant; [`Error::Device`] when the device is not available (it names what is missing); [`Error::Invalid`] when the
    /// bundle has no such variant, or the device no such option; [`Error::Bundle`] when a graph does not compile or has
    /// another signature.
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        Self::open_with(Some(path.as_ref()), options, OpenWatch::new())
    }

    /// Opens the default bundle: see [`default_bundle`].
    ///
    /// # Errors
    /// [`Error::NoBundle`] when there is none; those of [`open`](Self::open).
    pub fn open_default(options: &ModelOptions) -> Result<Self> {
        Self::open_with(None, options, OpenWatch::new())
    }

    /// Opens a bundle as [`open`](Self::open) does (None is the default bundle), with progress and cancellation. A
    /// cancelled opening drops what was compiled so far.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when `watch` was cancelled; those of [`open`](Self::open) and [`default_bundle`].
    pub fn open_with(path: Option<&Path>, options: &ModelOptions, mut watch: OpenWatch<'_>) -> Result<Self> {
        let _host = host::enter();
        options.check()?;
        watch.stage(0, 1, "files")?;
        let bundle = match path {
            Some(path) => Bundle::open(path),
            None => Bundle::open(default_bundle()?),
        }?;
        watch.check()?;
        Self::compile(bundle, options, &mut watch)
    }

    /// Compiles a bundle that is open already.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), but those of reading the bundle.
    pub fn from_bundle(bundle: Bundle, options: &ModelOptions) -> Result<Self> {
        let _host = host::enter();
        options.check()?;
        Self::compile(bundle, options, &mut OpenWatch::new())
    }

    fn compile(bundle: Bundle, options: &ModelOptions, watch: &mut OpenWatch<'_>) -> Result<Self> {
        let asked = &options.device;
        let candidates = match asked {
            Device::Auto => runtime::candidates()?,
            Device::Cpu => vec![Device::Cpu],
            _ if options.allow_fallback => vec![asked.clone(), Device::Cpu],
            _ => vec![asked.clone()],
        };
        let mut refused = Vec::new();
        for (left, device) in candidates.iter().enumerate().map(|(at, device)| (candidates.len() - at - 1, device)) {
            // A fallback takes none of the options: they are for the device that was asked for.
            let device_options =
                if device == asked { options.device_options.clone() } else { DeviceOptions::default() };
            match Self::on(bundle.clone(), options, device, device_options, &refused, watch) {
                Err(Error::Device(why)) if left > 0 => {
                    let severity = if *asked == Device::Auto { log::Severity::Info } else { log::Severity::Warning };
                    log::emit(severity, || format!("{why}; trying {}", candidates[candidates.len() - left]));
                    refused.push(why);
                }
                result => return result,
            }
        }
        unreachable!("the last candidate returns")
    }

    /// Compiles a bundle for one device.
    fn on(
        bundle: Bundle,
        options: &ModelOptions,
        device: &Device,
        device_options: DeviceOptions,
        refused: &[String],
        watch: &mut OpenWatch<'_>,
    ) -> Result<Self> {
        let variant = choose(&bundle, options, device, runtime::library()?)?.clone();
        let asked = options.device.clone();
        let ModelOptions { threads, spinning, weights_in_memory, .. } = *options;
        let cpus = allowed_cpus().min(MAX_THREADS);
        let options = GraphOptions { device: device.with_absolute_path()?, device_options, threads, cpus, spinning };
        if !weights_in_memory && !knows_open_files() {
            log::info(|| "without /proc ONNX Runtime maps no files: weights are read into memory".into());
        }
        let in_memory = weights_in_memory || !knows_open_files();
        let files = in_memory.then(|| FilesInMemory::read(&bundle, graphs_of(&variant))).transpose()?;
        let form = form_of(&variant);
        let draw = bundle.draw.clone().filter(|_| form == Form::Fixed && *device != Device::Cpu);
        let tried = *device != Device::Cpu;
        let total = 2 + usize::from(variant.ar.is_some()) + usize::from(draw.is_some()) + usize::from(tried);
        // The files are done.
        let mut done = 1;
        let mut stage = |name: &str| {
            let stage = watch.stage(done, total, name);
            done += 1;
            stage
        };
        let mut graph = |file: &str, keys: Option<KvLayout>, ports: (Vec<Port>, Vec<Port>)| {
            stage(file)?;
            compile(&bundle, files.as_ref(), file, &options, form, keys, ports)
        };
        let keys = Some(KvLayout::from(key_shape(&bundle, &variant)));
        let ports = signature::ar_ports(&bundle, &variant);
        let ar = variant.ar.as_ref().map(|file| graph(file, keys, ports)).transpose()?;
        let decoder = graph(&variant.decoder, None, signature::decoder_ports(&bundle))?;
        let sampler = match draw {
            Some(draw) => {
                stage(&draw)?;
                sampler(&bundle, &draw, &options)
            }
            None => None,
        };
        let model = Self(Arc::new(Inner {
            bundle,
            variant,
            files,
            options,
            asked,
            refused: copied("refused devices", refused)?,
            ar,
            decoder,
            sampler,
            encoder: Mutex::new(None),
            latency: LatencyModel::default(),
            #[cfg(feature = "worker")]
            pace: Mutex::default(),
            joint_step: Mutex::default(),
        }));
        if tried {
            stage("first run")?;
            model.try_once()?;
        }
        watch.stage(total, total, "")?;
        let Variant { precision, form, .. } = model.variant();
        log::info(|| format!("opened {} ({precision} {form}) on {device}", model.bundle().path().display()));
        Ok(model)
    }

    /// Runs one small decode and one step, so that a provider that compiles a graph but cannot run it (seen: OpenVINO with
    /// per-row quantization) fails while another device can still be chosen.
    fn try_once(&self) -> Result<()> {
        let bundle = self.bundle();
        let device = self.device();
        let refuse = |why: String| Error::Device(format!("device {device}: {}", why.trim_end()));
        let ran = || -> Result<bool> {
            let size = bundle.ladder().prefix(bundle.causal).map_or(bundle.size, |prefix| prefix.size);
            let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
            let mut sound =
                self.0.decoder.decode(&filled("tokens", bundle.causal, 0)?, [1, bundle.causal], size, finite)?.0;
            if let Some(ar) = &self.0.ar {
                let mut cache = KvCache::new(ar, self.cache_options(false), 1, &[1])?;
                let step = Step { start: 0, query: 1 };
                cache.step(ar, step, &[0], &Interrupt::new()?)?;
                sound &= finite(cache.logits(ar, step)?);
            }
            Ok(sound)
        };
        match ran() {
            Ok(true) => Ok(()),
            Ok(false) => Err(refuse("it computes NaN or infinite values".into())),
            Err(Error::Failed { graph, reason }) => Err(refuse(format!("{graph} compiles and does not run: {reason}"))),
            Err(error @ Error::OutOfMemory { .. }) => Err(refuse(error.to_string())),
            Err(other) => Err(other),
        }
    }
}

/// The sampler of a device, the graph `draw`. Where the provider cannot run it, as where there is none, logits are copied
/// to the CPU and sampled there: the tokens are the same.
fn sampler(bundle: &Bundle, draw: &str, options: &GraphOptions) -> Option<DeviceSampler> {
    let sampler = DeviceSampler::open(&bundle.path().join(draw), options, bundle.codes);
    if let Err(why) = &sampler {
        log::emit(log::Severity::Warning, || format!("{why}; tokens are sampled on the CPU"));
    }
    sampler.ok()
}

/// The files of the graphs of a variant.
fn graphs_of(variant: &Variant) -> impl Iterator<Item = &String> {
    variant.ar.iter().chain([&variant.decoder]).chain(&variant.encoder)
}

/// Compiles a graph that may use our own operators in form `native`. One that does not compile, or is not what the
/// manifest says, is an error of the bundle.
pub(super) fn compile(
    bundle: &Bundle,
    files: Option<&FilesInMemory>,
    file: &str,
    options: &GraphOptions,
    form: Form,
    keys: Option<KvLayout>,
    (inputs, outputs): (Vec<Port>, Vec<Port>),
) -> Result<Graph> {
    let slots = (form == Form::Native).then(|| SlotTable::new(keys));
    let source = GraphSource { path: &bundle.path().join(file), memory: files.and_then(|files| files.graph(file)) };
    Graph::compile(source, options, slots, &inputs, &outputs).map_err(|error| match error {
        Error::Failed { graph, reason } => Error::bundle(bundle.path(), format!("{graph}: {reason}")),
        other => other,
    })
}
