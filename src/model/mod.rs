//! A model: a bundle whose graphs are compiled. Immutable and shared; cloning it costs nothing.

pub(crate) mod codec;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::bundle::{self, Bundle, KeyKind, Variant};
use crate::kernels::Isa;
use crate::kernels::kv::{KvLayout, SlotTable};
use crate::plan::{KvShape, Schedule, Step};
use crate::runtime::{
    self, Device, DeviceOptions, DeviceSampler, Dim, Element, Form, Graph, GraphOptions, Interrupt, JointStep, KvCache,
    KvCacheOptions, Port, Report, Spinning,
};
use crate::support::error::{Error, Result};
use crate::support::log;
use crate::support::sync::lock;
use crate::timing::latency::LatencyModel;

/// How a model is opened. The default is the CPU, as many threads as there are cores, and the bundle's best
/// variant.
#[derive(Debug, Clone, Default)]
pub struct ModelOptions {
    /// Where graphs run. One that cannot be had is an error, unless [`allow_fallback`](Self::allow_fallback) is set.
    pub device: Device,
    /// What the provider of the device is told, in its own words. Not with `auto`, whose provider is not known before.
    pub device_options: DeviceOptions,
    /// Take the CPU when the device cannot be had. The log tells why, and so does [`Model::report`].
    pub allow_fallback: bool,
    /// Whether threads that wait look for work.
    pub spinning: Spinning,
    /// Threads within an operator: 0 (one for each core) to 1024.
    ///
    /// Within the frames of a game one thread, the caller's, keeps its time best: others that slept since the last frame
    /// may wake some milliseconds late. For a large model, or without frames, more are faster.
    pub threads: usize,
    /// `fp32`, `fp16`, `int8`, `int4` …; none takes the first that the bundle lists for the device.
    pub precision: Option<String>,
    /// `mha` or `plain`; none takes the first that the bundle lists for the device.
    pub form: Option<String>,
}

impl ModelOptions {
    /// Sets the threads and checks them at once; otherwise that is done when a model is opened.
    pub fn set_threads(&mut self, threads: usize) -> Result<()> {
        // More is a mistake, and ONNX Runtime would try.
        if threads > MOST_THREADS {
            let text = format!("{threads} threads are too many; at most {MOST_THREADS}, and 0 is one for each core");
            return Err(Error::Invalid(text));
        }
        self.threads = threads;
        Ok(())
    }
}

/// A DetailFlow model, ready to draw. Clones share it; any number of threads may use it at once, one runs a graph
/// at a time.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    bundle: Bundle,
    variant: Variant,
    options: GraphOptions,
    asked: Device,
    /// What was tried before this device.
    refused: Vec<String>,
    /// None when the bundle holds none.
    ar: Option<Graph>,
    decoder: Graph,
    /// Draws tokens where the logits are; none where they come down.
    drawer: Option<DeviceSampler>,
    /// Compiled when the first picture is encoded.
    encoder: Mutex<Option<Arc<Graph>>>,
    latency: LatencyModel,
    /// Of generations that step together.
    calls: Mutex<JointStep>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("bundle", &self.0.bundle.path())
            .field("precision", &self.0.variant.precision)
            .field("form", &self.0.variant.form)
            .finish()
    }
}

const MOST_THREADS: usize = 1024;

impl Model {
    /// Opens the bundle in the folder `path` and compiles `ar` (where it has one) and `decoder`. Loads ONNX Runtime
    /// when that has not happened yet (see [`runtime::init`](crate::init)).
    ///
    /// # Errors
    /// Those of [`Bundle::open`]; [`Error::Runtime`] when there is no ONNX Runtime or it is too old for the
    /// variant; [`Error::Device`] when the device cannot be had: it names what is missing; [`Error::Invalid`] when the
    /// bundle has no such variant, or the device no such option; [`Error::Bundle`] when a graph does not compile or has
    /// another signature.
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        Self::from_bundle(Bundle::open(path)?, options)
    }

    /// Opens the bundle that is meant when none is named: see [`default_bundle`].
    pub fn open_default(options: &ModelOptions) -> Result<Self> {
        Self::open(default_bundle()?, options)
    }

    /// Compiles a bundle that is open already.
    pub fn from_bundle(bundle: Bundle, options: &ModelOptions) -> Result<Self> {
        options.clone().set_threads(options.threads)?;
        let asked = &options.device;
        let candidates = match asked {
            Device::Auto if !options.device_options.is_empty() => {
                let text = "device options need a device by name: which provider would auto hand them to?";
                return Err(Error::Invalid(text.into()));
            }
            Device::Auto => runtime::candidates()?,
            Device::Cpu => vec![Device::Cpu],
            _ if options.allow_fallback => vec![asked.clone(), Device::Cpu],
            _ => vec![asked.clone()],
        };
        let mut refused = Vec::new();
        for (left, device) in candidates.iter().enumerate().map(|(at, device)| (candidates.len() - at - 1, device)) {
            // A fallback takes what the CPU's provider knows.
            let device_options =
                if device == asked { options.device_options.clone() } else { DeviceOptions::default() };
            match Self::on(bundle.clone(), options, device, device_options, &refused) {
                Err(Error::Device(why)) if left > 0 => {
                    let level = if *asked == Device::Auto { log::Level::Info } else { log::Level::Warning };
                    log::emit(level, || format!("{why}; trying {}", candidates[candidates.len() - left]));
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
    ) -> Result<Self> {
        let variant = choose(&bundle, options, device, runtime::library()?)?.clone();
        let asked = options.device.clone();
        let ModelOptions { threads, spinning, .. } = *options;
        let options = GraphOptions { device: device.clone(), device_options, threads, spinning };
        let form = form_of(&variant);
        let compile = |file: &str, keys: Option<KvLayout>, (inputs, outputs): (Vec<Port>, Vec<Port>)| {
            compile(&bundle, file, &options, seats(form, keys), &inputs, &outputs)
        };
        let keys = Some(key_shape(&bundle, &variant).layout());
        let ar = variant.ar.as_ref().map(|file| compile(file, keys, ar_ports(&bundle, &variant))).transpose()?;
        let decoder = compile(&variant.decoder, None, decoder_ports(&bundle))?;
        let drawer = if form == Form::Fixed && *device != Device::Cpu { drawer(&bundle, &options) } else { None };
        let model = Self(Arc::new(Inner {
            bundle,
            variant,
            options,
            asked,
            refused: refused.to_vec(),
            ar,
            decoder,
            drawer,
            encoder: Mutex::new(None),
            latency: LatencyModel::default(),
            calls: Mutex::default(),
        }));
        if *device != Device::Cpu {
            model.try_once()?;
        }
        let Variant { precision, form, .. } = model.variant();
        log::info(|| format!("opened {} ({precision} {form}) on {device}", model.bundle().path().display()));
        Ok(model)
    }

    /// Decodes one picture and draws one token: a provider may take a graph and then fail at it (seen: OpenVINO at
    /// quantisation by rows), which should be told when a device can still be chosen.
    fn try_once(&self) -> Result<()> {
        let bundle = self.bundle();
        let device = self.device();
        let refuse = |why: String| Error::Device(format!("device {device}: {}", why.trim_end()));
        let ran = || -> Result<bool> {
            let size = bundle.ladder().prefix(bundle.causal).map_or(bundle.size, |prefix| prefix.size);
            let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
            let mut sound = self.0.decoder.decode(&vec![0; bundle.causal], [1, bundle.causal], size, finite)?.0;
            if let Some(ar) = &self.0.ar {
                let mut cache = KvCache::new(ar, self.keeping(false), 1, &[1])?;
                let step = Step { start: 0, query: 1 };
                cache.step(ar, step, &[0], &Interrupt::new()?)?;
                sound &= finite(cache.logits(ar, step)?);
            }
            Ok(sound)
        };
        match ran() {
            Ok(true) => Ok(()),
            Ok(false) => Err(refuse("it computes values that are no numbers".into())),
            Err(Error::Failed { graph, reason }) => Err(refuse(format!("{graph} compiles and does not run: {reason}"))),
            Err(error @ Error::OutOfMemory { .. }) => Err(refuse(error.to_string())),
            Err(other) => Err(other),
        }
    }

    /// The bundle that it was opened from.
    pub fn bundle(&self) -> &Bundle {
        &self.0.bundle
    }

    /// Which precision and form it runs.
    pub fn variant(&self) -> &Variant {
        &self.0.variant
    }

    /// Where it runs: never `auto`, and the CPU when it fell back.
    pub fn device(&self) -> &Device {
        &self.0.options.device
    }

    /// What really runs where, graph by graph, and which memory it holds.
    ///
    /// # Errors
    /// [`Error::State`] when the process is ending.
    pub fn report(&self) -> Result<Report> {
        let inner = &*self.0;
        let encoder = inner.encoder.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let graphs = inner.ar.iter().chain([&inner.decoder]).chain(encoder.as_deref()).map(Graph::report);
        Ok(Report {
            asked: inner.asked.clone(),
            device: inner.options.device.clone(),
            refused: inner.refused.clone(),
            graphs: graphs.chain(inner.drawer.iter().map(DeviceSampler::report)).collect::<Result<_>>()?,
        })
    }

    /// Threads within an operator; 0 is one for each core.
    pub fn threads(&self) -> usize {
        self.0.options.threads
    }

    /// The steps from nothing to `tokens` tokens, a prefix of the ladder.
    pub fn schedule(&self, tokens: usize) -> Schedule {
        let bundle = self.bundle();
        Schedule::new(bundle.group, bundle.causal, tokens)
    }

    /// Time spent within ONNX Runtime so far, over all graphs and users. The rest of what a generation takes is ours.
    pub fn graph_time(&self) -> Duration {
        let encoder = self.0.encoder.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let encoder = encoder.as_ref().map_or(Duration::ZERO, |graph| graph.spent());
        let ar = self.0.ar.as_ref().map_or(Duration::ZERO, Graph::spent);
        let drawer = self.0.drawer.as_ref().map_or(Duration::ZERO, DeviceSampler::spent);
        ar + self.0.decoder.spent() + encoder + drawer
    }

    /// Whether they are one and the same, not only alike.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The autoregressive graph; [`Error::State`] when the bundle was made without.
    pub(crate) fn ar(&self) -> Result<&Graph> {
        self.0.ar.as_ref().ok_or_else(|| self.bundle().cannot("generate"))
    }

    /// How long things take here.
    pub(crate) fn latency(&self) -> &LatencyModel {
        &self.0.latency
    }

    pub(crate) fn decoder(&self) -> &Graph {
        &self.0.decoder
    }

    /// The encoder, compiled when it is first asked for; [`Error::State`] when the bundle was made without.
    pub(crate) fn encoder(&self) -> Result<Arc<Graph>> {
        let inner = &*self.0;
        let mut encoder = inner.encoder.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(graph) = encoder.as_ref() {
            return Ok(graph.clone());
        }
        let file = inner.variant.encoder.as_ref().ok_or_else(|| inner.bundle.cannot("encode pictures"))?;
        let (inputs, outputs) = encoder_ports(&inner.bundle);
        let graph =
            Arc::new(compile(&inner.bundle, file, &inner.options, seats(self.form(), None), &inputs, &outputs)?);
        *encoder = Some(graph.clone());
        Ok(graph)
    }

    /// How many threads that makes.
    pub(crate) fn thread_count(&self) -> usize {
        self.0.options.thread_count()
    }

    /// What generations use that step together.
    pub(crate) fn calls(&self) -> MutexGuard<'_, JointStep> {
        lock(&self.0.calls)
    }

    /// How keys and values are kept.
    pub(crate) fn form(&self) -> Form {
        form_of(&self.0.variant)
    }

    /// What is kept for one row of a batch.
    pub(crate) fn key_shape(&self) -> KvShape {
        key_shape(self.bundle(), &self.0.variant)
    }

    /// What a generation keeps; with `draws` it draws tokens where the logits are, if the model does so.
    pub(crate) fn keeping(&self, draws: bool) -> KvCacheOptions {
        let logits_stay = draws && self.0.drawer.is_some();
        KvCacheOptions { form: self.form(), shape: self.key_shape(), codes: self.bundle().codes, logits_stay }
    }

    /// What draws tokens where the logits are; none where they come down.
    pub(crate) fn drawer(&self) -> Option<&DeviceSampler> {
        self.0.drawer.as_ref()
    }
}

/// The bundle that is meant when none is named: `DETAILFLOW_BUNDLE`; else `detailflow/` beside our library or
/// executable, `../share/detailflow`, or the shipped one of the checkout. Never one in the working directory.
///
/// # Errors
/// [`Error::NoBundle`] with every place that was tried.
pub fn default_bundle() -> Result<PathBuf> {
    bundle::locate(&runtime::anchors())
}

fn key_shape(bundle: &Bundle, variant: &Variant) -> KvShape {
    let layers = bundle.layers;
    let heads = if form_of(variant) == Form::Mha { layers.heads } else { layers.kv_heads };
    let half = kept_element(variant) == Element::Float16;
    KvShape {
        layers: layers.layers,
        heads,
        positions: bundle.tokens,
        head_width: layers.head_width,
        half,
        own: form_of(variant) == Form::Native,
    }
}

/// What a graph needs that may use our own operators.
fn seats(form: Form, keys: Option<KvLayout>) -> Option<SlotTable> {
    (form == Form::Native).then(|| SlotTable::new(keys))
}

/// `choose` takes no other.
fn form_of(variant: &Variant) -> Form {
    variant.form.parse().unwrap_or(Form::Plain)
}

/// What it keeps keys and values as.
fn kept_element(variant: &Variant) -> Element {
    match variant.keys {
        KeyKind::Fp32 => Element::Float32,
        KeyKind::Fp16 => Element::Float16,
    }
}

/// How badly a variant suits a device: 0 when it is named (what is for any device is for the CPU no less than what names
/// it), 1 when the variant is for any, 2 when it is for others. The manifest lists the first words of devices: `cuda` is any
/// card; `*` is every device that can do with standard operators.
fn misfit(variant: &Variant, device: &Device) -> u8 {
    let named = |name: &str| variant.devices.iter().any(|other| other == name);
    match (named(device.family()), named("*")) {
        (true, _) => 0,
        (false, true) => u8::from(*device != Device::Cpu),
        (false, false) => 2,
    }
}

/// Which of the precisions that suit a device equally it takes first: elsewhere than on the CPU products of floats, as those of
/// integers are seldom to be had there and fall to the CPU; and of them those of 16 bits, which are faster there.
fn burden(variant: &Variant, device: &Device) -> (u8, bool) {
    let precision = match variant.precision.as_str() {
        _ if *device == Device::Cpu => return (0, false),
        "fp16" => 0,
        precision if precision.starts_with("fp") => 1,
        _ => 2,
    };
    // Where both are for the device keys and values stay there.
    (precision, variant.form != "fixed")
}

/// The variant that suits best, the first of equals, that this ONNX Runtime is new enough for; the error lists what there
/// is. What was asked for by name is taken at the caller's word, where none of that name is for the device.
fn choose<'a>(
    bundle: &'a Bundle,
    options: &ModelOptions,
    device: &Device,
    library: &runtime::Library,
) -> Result<&'a Variant> {
    let named = options.form.is_some() || options.precision.is_some();
    let wanted = |variant: &&Variant| {
        options.precision.as_ref().is_none_or(|precision| *precision == variant.precision)
            && options.form.as_ref().is_none_or(|form| *form == variant.form)
            && match variant.form.parse() {
                // Our own operators are for the CPU.
                Ok(Form::Native) => options.form.is_some() || (*device == Device::Cpu && is_fast(variant)),
                // What has no memory of its own does not promise to write in place (seen: wrong logits on OpenVINO's CPU); of
                // TensorRT, DirectML and MIGraphX it is not known, which is for the caller to find out.
                Ok(Form::Fixed) if matches!(device.family(), "tensorrt" | "directml" | "migraphx") => {
                    options.form.is_some()
                }
                Ok(Form::Fixed) => *device == Device::Cpu || runtime::has_memory(device),
                Ok(Form::Mha | Form::Plain) => true,
                Err(()) => false,
            }
            && (named || misfit(variant, device) < 2)
    };
    let version = runtime::major_minor(&library.version);
    let mut suitable: Vec<&Variant> = bundle.variants().iter().filter(wanted).collect();
    suitable.sort_by_key(|variant| (misfit(variant, device), burden(variant, device)));
    let first = suitable.first().copied();
    let mut suitable = suitable.into_iter();
    if let Some(variant) = suitable.find(|variant| version >= runtime::major_minor(&variant.min_runtime)) {
        return Ok(variant);
    }
    let place = bundle.path().display();
    if let Some(Variant { precision, form, min_runtime, .. }) = first {
        let (path, version) = (library.path.display(), &library.version);
        return Err(Error::Runtime(format!(
            "{place}: variant {precision} {form} needs ONNX Runtime {min_runtime}, {path} is {version}"
        )));
    }
    let any = |choice: &Option<String>| choice.clone().unwrap_or_else(|| "any".into());
    let there: Vec<String> = bundle.variants().iter().map(|v| format!("{} {}", v.precision, v.form)).collect();
    Err(Error::Invalid(format!(
        "{place} has no variant of precision {} and form {} for {device}; it has: {}",
        any(&options.precision),
        any(&options.form),
        there.join(", ")
    )))
}

/// What draws tokens on a device. Where there is none, or the provider cannot run it, logits come down and are drawn from here:
/// the tokens are the same.
fn drawer(bundle: &Bundle, options: &GraphOptions) -> Option<DeviceSampler> {
    let path = bundle.path().join(bundle.draw.as_ref()?);
    let drawer = DeviceSampler::open(&path, options, bundle.codes);
    if let Err(why) = &drawer {
        log::emit(log::Level::Warning, || format!("{why}; tokens are drawn on the processor"));
    }
    drawer.ok()
}

/// A graph that does not compile, or is not what the manifest says, is the bundle's fault.
fn compile(
    bundle: &Bundle,
    file: &str,
    options: &GraphOptions,
    seats: Option<SlotTable>,
    inputs: &[Port],
    outputs: &[Port],
) -> Result<Graph> {
    Graph::compile(&bundle.path().join(file), options, seats, inputs, outputs).map_err(|error| match error {
        Error::Failed { graph, reason } => Error::bundle(bundle.path(), format!("{graph}: {reason}")),
        other => other,
    })
}

/// Whether our own operators are faster here than ONNX Runtime's: int8 products in plain code are not.
fn is_fast(variant: &Variant) -> bool {
    !matches!(variant.precision.as_str(), "int8" | "int4") || Isa::here() != Isa::Portable
}

fn ar_ports(bundle: &Bundle, variant: &Variant) -> (Vec<Port>, Vec<Port>) {
    use Dim::{Free, Is};
    let (layers, form) = (bundle.layers, form_of(variant));
    if form == Form::Native {
        let inputs = vec![Port::ids("ids", &[Free]), Port::ids("at", &[Free, Is(3)])];
        return (inputs, vec![Port::floats("logits", &[Free, Is(bundle.codes)])]);
    }
    let mut inputs = vec![Port::ids("ids", &[Free, Free])];
    if form == Form::Fixed {
        inputs.extend([Port::ids("places", &[Free, Free]), Port::ids("slots", &[Free, Is(1)])]);
    } else {
        inputs.push(Port::ids("start", &[Is(1)]));
    }
    let mut outputs = vec![Port::floats("logits", &[Free, Free, Is(bundle.codes)])];
    let kept = match form {
        Form::Mha => vec![Free, Is(layers.heads), Is(bundle.tokens), Is(layers.head_width)],
        Form::Fixed => vec![Free, Is(layers.head_width)],
        _ => vec![Free, Is(layers.kv_heads), Free, Is(layers.head_width)],
    };
    for kind in ["key", "value"] {
        for layer in 0..layers.layers {
            let port = |time: &str| Port {
                element: kept_element(variant),
                ..Port::floats(format!("{time}_{kind}_{layer}"), &kept)
            };
            inputs.push(port("past"));
            outputs.push(port("present"));
        }
    }
    (inputs, outputs)
}

fn decoder_ports(bundle: &Bundle) -> (Vec<Port>, Vec<Port>) {
    use Dim::{Free, Is};
    let inputs = vec![Port::ids("ids", &[Free, Free]), Port::ids("size", &[Is(1)])];
    (inputs, vec![Port::floats("pixels", &[Free, Is(bundle.channels), Free, Free])])
}

fn encoder_ports(bundle: &Bundle) -> (Vec<Port>, Vec<Port>) {
    use Dim::{Any, Free, Is};
    let side = Is(bundle.size as usize);
    let inputs = vec![Port::floats("image", &[Free, Is(bundle.channels), side, side])];
    // The latents' width is the tokenizer's own business.
    (
        inputs,
        vec![Port::ids("ids", &[Free, Is(bundle.tokens)]), Port::floats("latents", &[Free, Is(bundle.tokens), Any])],
    )
}
