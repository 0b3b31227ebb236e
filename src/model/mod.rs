//! A model: a bundle with its graphs compiled, immutable and shared.
//!
//! `options` says how a model is opened, `open` opens it, `watch` watches that, `place` is where graphs come from, `variant`
//! chooses which variant of the bundle, `signature` holds the signatures that its graphs must have, `codebook` is that of an
//! encoder, `codec` turns pictures into tokens and tokens into images, `effort` searches for better tokens of a picture, `timing`
//! measures and predicts latencies.

mod codebook;
pub(crate) mod codec;
mod effort;
mod open;
mod options;
mod place;
mod signature;
mod timing;
mod variant;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use self::codebook::Codebook;
pub use self::effort::{EncodeOptions, MAX_EFFORT};
pub use self::options::{ModelOptions, Precision};
use self::place::Place;
use self::variant::{form_of, key_shape};
pub use self::watch::{OpenCancel, OpenProgress, OpenWatch};
use crate::bundle::{self, Bundle, FilesInMemory, Variant};
use crate::plan::{KvShape, Schedule};
use crate::runtime::{self, Device, DeviceSampler, Form, Graph, GraphOptions, JointStep, KvCacheOptions, Report};
use crate::support::error::{Error, Result};
use crate::support::parallel::Threads;
use crate::support::sync::lock;
use crate::timing::latency::LatencyModel;
#[cfg(feature = "worker")]
use crate::timing::pace::Pace;

/// A DetailFlow model with its graphs compiled. Clones share it. Any number of threads may use it at once; each graph runs
/// for one of them at a time.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    bundle: Bundle,
    variant: Variant,
    /// The graphs and weights in memory, until the encoder is compiled; None where ONNX Runtime maps the files, and where no
    /// encoder is to follow.
    files: Option<FilesInMemory>,
    options: GraphOptions,
    /// Whether the encoder is to be used.
    encodes: bool,
    asked: Device,
    /// Why devices before this one were refused.
    refused: Vec<String>,
    /// None when the bundle holds the decoder alone.
    ar: Option<Graph>,
    decoder: Graph,
    /// Samples on the device; None where logits are copied to the CPU.
    sampler: Option<DeviceSampler>,
    /// Compiled when the first picture is encoded, or when the model is opened.
    encoder: Mutex<Option<Arc<Encoder>>>,
    latency: LatencyModel,
    #[cfg(feature = "worker")]
    pace: Mutex<Pace>,
    /// For generations that step together.
    joint_step: Mutex<JointStep>,
}

/// An encoder, compiled.
struct Encoder {
    graph: Graph,
    /// For the search; else why there is none.
    codebook: Result<Codebook, String>,
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

impl Model {
    /// The bundle that it was opened from.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.0.bundle
    }

    /// The variant of the bundle that runs: its precision and form.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        &self.0.variant
    }

    /// The device that it runs on: never `auto`, and the CPU after a fallback.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.0.options.device
    }

    /// Which execution provider runs which graph, and the memory that it holds.
    ///
    /// # Errors
    /// [`Error::State`] when the process is ending.
    pub fn report(&self) -> Result<Report> {
        let inner = &*self.0;
        let encoder = lock(&inner.encoder).clone();
        let encoder = encoder.as_deref().map(|encoder| &encoder.graph);
        let graphs = inner.ar.iter().chain([&inner.decoder]).chain(encoder).map(Graph::report);
        Ok(Report {
            asked: inner.asked.clone(),
            device: inner.options.device.clone(),
            refused: inner.refused.clone(),
            graphs: graphs.chain(inner.sampler.iter().map(DeviceSampler::report)).collect::<Result<_>>()?,
        })
    }

    /// Whether it encodes pictures: its bundle has the encoder, and [`ModelOptions::encoder`] was not false.
    #[must_use]
    pub fn can_encode(&self) -> bool {
        self.0.encodes && self.bundle().can_encode()
    }

    /// Threads within an operator; 0 is one per core.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.0.options.threads
    }

    /// The steps from nothing to `tokens` tokens, which is the length of a prefix.
    #[must_use]
    pub fn schedule(&self, tokens: usize) -> Schedule {
        let bundle = self.bundle();
        Schedule::new(bundle.group, bundle.causal, tokens)
    }

    /// Time spent inside ONNX Runtime so far, over all graphs and users.
    #[must_use]
    pub fn graph_time(&self) -> Duration {
        let encoder = lock(&self.0.encoder);
        let encoder = encoder.as_ref().map_or(Duration::ZERO, |encoder| encoder.graph.spent());
        let ar = self.0.ar.as_ref().map_or(Duration::ZERO, Graph::spent);
        let sampler = self.0.sampler.as_ref().map_or(Duration::ZERO, DeviceSampler::spent);
        ar + self.0.decoder.spent() + encoder + sampler
    }

    /// Whether both are clones of one model.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The autoregressive graph; [`Error::State`] when the bundle has none.
    pub(crate) fn ar(&self) -> Result<&Graph> {
        self.0.ar.as_ref().ok_or_else(|| self.bundle().cannot("generate"))
    }

    /// Measured latencies.
    pub(crate) fn latency(&self) -> &LatencyModel {
        &self.0.latency
    }

    /// The times of units of work.
    #[cfg(feature = "worker")]
    pub(crate) fn pace(&self) -> &Mutex<Pace> {
        &self.0.pace
    }

    pub(crate) fn decoder(&self) -> &Graph {
        &self.0.decoder
    }

    /// The encoder, compiled at the first call; [`Error::State`] when the bundle has none.
    fn encoder(&self) -> Result<Arc<Encoder>> {
        let inner = &*self.0;
        let mut encoder = lock(&inner.encoder);
        if let Some(encoder) = encoder.as_ref() {
            return Ok(encoder.clone());
        }
        let file = inner.variant.encoder.as_ref().ok_or_else(|| inner.bundle.cannot("encode pictures"))?;
        if !inner.encodes {
            let text = format!("the model {} was opened without its encoder, by the option encoder", inner.bundle.name);
            return Err(Error::State(text));
        }
        let place = Place { bundle: &inner.bundle, files: inner.files.as_ref(), options: &inner.options };
        let compiled = Arc::new(place.encoder(file, self.form())?);
        *encoder = Some(compiled.clone());
        Ok(compiled)
    }

    /// Threads that share work on the CPU.
    pub(crate) fn work_threads(&self) -> Threads {
        self.0.options.threads()
    }

    /// The prepared run of generations that step together.
    pub(crate) fn joint_step(&self) -> MutexGuard<'_, JointStep> {
        lock(&self.0.joint_step)
    }

    /// Attention backend and KV layout.
    pub(crate) fn form(&self) -> Form {
        form_of(&self.0.variant)
    }

    /// The shape of the KV cache of one batch row.
    pub(crate) fn key_shape(&self) -> KvShape {
        key_shape(self.bundle(), &self.0.variant)
    }

    /// Options of the KV cache of a generation; with `samples` its logits stay on the device where the model samples there.
    pub(crate) fn cache_options(&self, samples: bool) -> KvCacheOptions {
        let logits_stay = samples && self.0.sampler.is_some();
        KvCacheOptions { form: self.form(), shape: self.key_shape(), codes: self.bundle().codes, logits_stay }
    }

    /// The sampler on the device; None where logits are copied to the CPU.
    pub(crate) fn sampler(&self) -> Option<&DeviceSampler> {
        self.0.sampler.as_ref()
    }
}

/// The default bundle: what the environment variable `DETAILFLOW_BUNDLE` names; else `detailflow/` beside our
/// library or executable, `../share/detailflow` (of a folder `lib/ARCH-linux-gnu` also `../../share/detailflow`), or the
/// shipped bundle of the checkout. Never one in the working directory.
///
/// # Errors
/// [`Error::NoBundle`] with every place that was searched.
pub fn default_bundle() -> Result<PathBuf> {
    bundle::locate(&runtime::anchors())
}
