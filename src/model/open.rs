//! Opening a model: read the bundle, choose a device and a variant, compile the graphs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::options::MAX_THREADS;
use super::place::Place;
use super::variant::{choose, form_of, key_shape};
use super::watch::OpenWatch;
use super::{Inner, Model, default_bundle, signature};
use crate::bundle::{Bundle, FilesInMemory, Variant};
use crate::kernels::kv::KvLayout;
use crate::model::ModelOptions;
use crate::plan::Step;
use crate::runtime::{
    self, Device, DeviceOptions, Form, Graph, GraphOptions, Interrupt, KvCache, Lanes, Port, RECORDS,
};
use crate::support::block::Block;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::log;
use crate::support::memory::{copied, filled};
use crate::support::platform::{allowed_cpus, knows_open_files};
use crate::support::read_at::ReadAt;
use crate::timing::latency::LatencyModel;

/// The most weights of a model whose large batches are divided among threads by rows: every thread reads all weights, which
/// then have to stay in its caches. Larger models divide each matrix multiplication.
const MOST_WEIGHTS_OF_LANES: u64 = 16 << 20;

/// Lanes of the autoregressive graph `file`, which `ar` is: sessions of one thread each.
fn lanes(ar: &Graph, bundle: &Bundle, variant: &Variant, file: &str, options: &GraphOptions) -> Lanes {
    let single = GraphOptions { threads: 1, parallel_for: None, ..options.clone() };
    let (slots, weights) = (ar.slots_of_lane(), ar.shared_weights());
    let (bundle, variant, file) = (bundle.clone(), variant.clone(), file.to_owned());
    Lanes::new(options.threads(), move || {
        let place = Place { bundle: &bundle, files: None, options: &single };
        place.lane(&file, (&slots, &weights), &signature::ar_ports(&bundle, &variant))
    })
}

impl Model {
    /// Opens the bundle at `path`, a folder or a single file ([`Bundle::open`]), and compiles its autoregressive graph (where it
    /// has one) and its decoder. Loads ONNX Runtime when that has not happened yet (see [`init`](crate::init)).
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
    pub fn open_with(path: Option<&Path>, options: &ModelOptions, watch: OpenWatch<'_>) -> Result<Self> {
        Self::opened(options, watch, |_| match path {
            Some(path) => Bundle::open(path),
            None => Bundle::open(default_bundle()?),
        })
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

    /// Opens a single-file bundle that lies in memory. The memory is used as long as the model or a clone of it lives. ONNX
    /// Runtime copies the weights that the graphs use. Errors call the bundle `name`.
    ///
    /// # Errors
    /// Those of [`Bundle::from_memory`] and [`open_with`](Self::open_with).
    pub fn open_memory(
        bytes: Arc<[u8]>,
        name: impl Into<PathBuf>,
        options: &ModelOptions,
        watch: OpenWatch<'_>,
    ) -> Result<Self> {
        Self::open_block(Arc::new(bytes), name.into(), options, watch)
    }

    pub(crate) fn open_block(
        block: Block,
        name: PathBuf,
        options: &ModelOptions,
        watch: OpenWatch<'_>,
    ) -> Result<Self> {
        Self::opened(options, watch, |_| Bundle::from_block(block, name))
    }

    /// Opens a single-file bundle that `reader` reads, on this thread and only within this call: the encoder is compiled too,
    /// unless [`ModelOptions::encoder`] is false. Files up to 32 MB are read to be checked, and those of the variant that opens
    /// are read into memory, until ONNX Runtime has copied the weights that its graphs use. Errors call the bundle `name`.
    /// Afterwards the reader is dropped, and what would read the bundle again ([`Bundle::verify`] and others) is
    /// [`Error::State`].
    ///
    /// # Errors
    /// Those of [`Bundle::from_reader`] and [`open_with`](Self::open_with). A cancelled opening ends at the next read.
    pub fn open_reader(
        reader: impl ReadAt + Send + Sync + 'static,
        name: impl Into<PathBuf>,
        options: &ModelOptions,
        watch: OpenWatch<'_>,
    ) -> Result<Self> {
        let model = Self::opened(options, watch, |watch| Bundle::from_reader(watch.over(reader), name))?;
        model.bundle().detach();
        Ok(model)
    }

    /// Opens a bundle by `open` and compiles it.
    fn opened(
        options: &ModelOptions,
        mut watch: OpenWatch<'_>,
        open: impl FnOnce(&OpenWatch<'_>) -> Result<Bundle>,
    ) -> Result<Self> {
        let _host = host::enter();
        options.check()?;
        watch.stage(0, 1, "files")?;
        let bundle = open(&watch)?;
        watch.check()?;
        Self::compile(bundle, options, &mut watch)
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
            match Self::replaying_or_not(bundle.clone(), options, device, &device_options, &refused, watch) {
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

    /// Compiles a bundle for one device, which replays steps if it can.
    fn replaying_or_not(
        bundle: Bundle,
        options: &ModelOptions,
        device: &Device,
        device_options: &DeviceOptions,
        refused: &[String],
        watch: &mut OpenWatch<'_>,
    ) -> Result<Self> {
        let asked = device_options.get(RECORDS);
        if device.replays() && asked != Some("0") {
            let opened = Self::on(bundle.clone(), options, device, device_options.clone(), true, refused, watch);
            match opened {
                Err(Error::Device(why)) if asked.is_none() => {
                    log::emit(log::Severity::Info, || format!("{why}; trying without {RECORDS}"));
                }
                opened => return opened,
            }
        }
        Self::on(bundle, options, device, device_options.clone(), false, refused, watch)
    }

    /// Compiles a bundle for one device.
    fn on(
        bundle: Bundle,
        options: &ModelOptions,
        device: &Device,
        device_options: DeviceOptions,
        replays: bool,
        refused: &[String],
        watch: &mut OpenWatch<'_>,
    ) -> Result<Self> {
        let variant = choose(&bundle, options, device, runtime::library()?)?.clone();
        let asked = options.device.clone();
        let ModelOptions { threads, spinning, weights_in_memory, encoder: encodes, .. } = *options;
        let cpus = allowed_cpus().min(MAX_THREADS);
        let parallel_for = options.parallel_for.clone();
        let device_path = device.with_absolute_path()?;
        let options =
            GraphOptions { device: device_path, device_options, threads, parallel_for, cpus, spinning, replays: false };
        if !weights_in_memory && bundle.is_on_disk() && !knows_open_files() {
            log::info(|| "without /proc ONNX Runtime maps no files: weights are read into memory".into());
        }
        let form = form_of(&variant);
        if options.parallel_for.is_some() && (form != Form::Native || *device != Device::Cpu) {
            log::emit(log::Severity::Warning, || {
                format!(
                    "parallel_for has no effect on the graphs of form {form} on {device}: they run on the calling thread"
                )
            });
        }
        let draw = bundle.draw.clone().filter(|_| form == Form::Fixed && *device != Device::Cpu);
        let encoder = variant.encoder.as_deref().filter(|_| encodes);
        let names = || variant.ar.iter().chain([&variant.decoder]).chain(&draw).map(String::as_str).chain(encoder);
        let in_memory = weights_in_memory || !bundle.is_on_disk() || !knows_open_files();
        let files = in_memory.then(|| FilesInMemory::read(&bundle, names())).transpose()?;
        // Otherwise it is compiled for the first picture.
        let encoder_now = encoder.filter(|_| bundle.is_reader());
        let tried = *device != Device::Cpu;
        let optional = [variant.ar.is_some(), draw.is_some(), encoder_now.is_some(), tried];
        let total = 2 + optional.into_iter().map(usize::from).sum::<usize>();
        // The files are done.
        let mut done = 1;
        let mut stage = |name: &str| {
            let stage = watch.stage(done, total, name);
            done += 1;
            stage
        };
        // Weights in memory would be copied for each lane.
        let is_small = bundle.step_weights().is_some_and(|weights| weights <= MOST_WEIGHTS_OF_LANES);
        let has_lanes = form == Form::Native && *device == Device::Cpu && files.is_none() && is_small;
        // What is too small for parts is too small for threads that share each operator.
        let single = has_lanes && options.parallel_for.is_none();
        let ar_options = &GraphOptions {
            threads: if single { 1 } else { options.threads },
            replays: replays && form == Form::Fixed,
            ..options.clone()
        };
        let place = Place { bundle: &bundle, files: files.as_ref(), options: &options };
        let mut graph = |options, file: &str, keys: Option<KvLayout>, ports: (Vec<Port>, Vec<Port>)| {
            stage(file)?;
            Place { options, ..place }.compile(file, form, keys, ports)
        };
        let keys = Some(KvLayout::from(key_shape(&bundle, &variant)));
        let ports = signature::ar_ports(&bundle, &variant);
        let mut ar = variant.ar.as_ref().map(|file| graph(ar_options, file, keys, ports)).transpose()?;
        let decoder = graph(&options, &variant.decoder, None, signature::decoder_ports(&bundle))?;
        let encoder = match encoder_now {
            Some(file) => {
                stage(file)?;
                Some(place.encoder(file, form)?)
            }
            None => None,
        };
        let sampler = match &draw {
            Some(draw) => {
                stage(draw)?;
                place.sampler(draw)
            }
            None => None,
        };
        if let (Some(ar), Some(file)) = (&mut ar, &variant.ar)
            && has_lanes
        {
            ar.set_lanes(lanes(ar, &bundle, &variant, file, &options));
        }
        // For an encoder that is still to be compiled.
        let is_complete = encoder.is_some() || !encodes || variant.encoder.is_none();
        let files = files.filter(|_| !is_complete);
        let model = Self(Arc::new(Inner {
            bundle,
            variant,
            files,
            options,
            encodes,
            asked,
            refused: copied("refused devices", refused)?,
            ar,
            decoder,
            sampler,
            encoder: Mutex::new(encoder.map(Arc::new)),
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

    /// A model on the CPU whose steps are replayed as on a device that records them; the CPU computes them each time.
    #[cfg(test)]
    pub(crate) fn replaying_on_cpu(bundle: &Path, options: &ModelOptions) -> Result<Self> {
        let watch = &mut OpenWatch::new();
        Self::on(Bundle::open(bundle)?, options, &Device::Cpu, DeviceOptions::default(), true, &[], watch)
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
