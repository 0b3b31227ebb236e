//! How long steps and decodes of a model take on this machine.

use std::time::Duration;

use crate::model::Model;
#[cfg(feature = "worker")]
use crate::support::sync::lock;
use crate::timing::latency::{Shape, Table};
#[cfg(feature = "calibration")]
use crate::timing::store::{self, Measured};

impl Model {
    /// Records that a step of `rows` rows with `query` positions each took this long.
    pub(crate) fn note_step(&self, rows: usize, query: usize, took: Duration) {
        self.latency().note(Shape::Step { rows, query }, took);
    }

    /// How long a step of `rows` rows with `query` positions each should take; None when nothing was measured yet.
    pub(crate) fn predict_step(&self, rows: usize, query: usize) -> Option<Duration> {
        self.latency().predict(Shape::Step { rows, query }, || self.stored_latency())
    }

    /// Records that a decode of `pictures` prefixes of `tokens` tokens took this long.
    pub(crate) fn note_decode(&self, pictures: usize, tokens: usize, took: Duration) {
        if let Some(shape) = self.decode_shape(pictures, tokens) {
            self.latency().note(shape, took);
        }
    }

    /// How long decoding `pictures` prefixes of `tokens` tokens together should take on this machine. None when `tokens`
    /// is not the length of a prefix, or nothing was measured yet.
    #[must_use]
    pub fn predict_decode(&self, pictures: usize, tokens: usize) -> Option<Duration> {
        self.latency().predict(self.decode_shape(pictures, tokens)?, || self.stored_latency())
    }

    /// Records the time of a unit of work of a driven worker.
    #[cfg(feature = "worker")]
    pub(crate) fn note_unit(&self, shape: Shape, took: Duration) {
        lock(self.pace()).note(shape, took);
    }

    /// The time of a unit of work, as the last ones of its shape took it; None when there was none.
    #[cfg(feature = "worker")]
    pub(crate) fn predict_unit(&self, shape: Shape) -> Option<Duration> {
        lock(self.pace()).predict(shape)
    }

    /// The usual time of such a unit, and whether that is certain; None when there was none.
    #[cfg(feature = "worker")]
    pub(crate) fn usual_unit(&self, shape: Shape) -> Option<(Duration, bool)> {
        lock(self.pace()).usual(shape)
    }

    /// As [`predict_unit`](Self::predict_unit), or an estimate from other shapes or from a calibration.
    #[cfg(feature = "worker")]
    pub(crate) fn guess_unit(&self, shape: Shape) -> Option<Duration> {
        let guess = lock(self.pace()).guess(shape);
        guess.or_else(|| self.latency().predict(shape, || self.stored_latency()))
    }

    pub(crate) fn decode_shape(&self, pictures: usize, tokens: usize) -> Option<Shape> {
        let bundle = self.bundle();
        let side = (bundle.ladder().prefix(tokens)?.size / bundle.patch()) as usize;
        Some(Shape::Decode { pictures, tokens, patches: side * side })
    }

    /// What a calibration of this model measured; empty when there was none.
    #[cfg(feature = "calibration")]
    fn stored_latency(&self) -> Table {
        let shape = |measured| match measured {
            Measured::Step { rows, query } => {
                [1, self.bundle().group()].contains(&query).then_some(Shape::Step { rows, query })
            }
            Measured::Decode { pictures, tokens } => self.decode_shape(pictures, tokens),
        };
        store::load(&self.latency_key(), shape).unwrap_or_default()
    }

    /// Without the feature `calibration` there is no file to read.
    #[cfg(not(feature = "calibration"))]
    fn stored_latency(&self) -> Table {
        Table::new()
    }

    /// What a calibration holds for: another bundle, variant, device, number of threads, CPU, library or ONNX Runtime
    /// has its own.
    #[cfg(feature = "calibration")]
    pub(crate) fn latency_key(&self) -> String {
        let bundle = self.bundle();
        let files: Vec<u8> = bundle.files().iter().flat_map(|file| file.sha256.bytes()).collect();
        let files = store::short_hash(files);
        let variant = self.variant();
        let cores = self.0.options.cpus;
        let runtime = crate::runtime::library().map_or("", |library| library.version.as_str());
        format!(
            "detailflow {} onnxruntime {runtime} bundle {files} {} {} {} threads {} {} {cores} cores {}",
            crate::VERSION,
            variant.precision,
            variant.form,
            self.device(),
            self.threads(),
            std::env::consts::ARCH,
            crate::support::platform::cpu_model_name(),
        )
    }
}
