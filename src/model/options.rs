//! How a model is opened.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::runtime::{Device, DeviceOptions, Form, Spinning};
use crate::support::error::{Error, Result};
use crate::support::parallel::ParallelFor;

pub(super) const MAX_THREADS: usize = 1024;

/// How a model is opened. The default is the CPU, one thread per core, and the bundle's best variant.
///
/// ```
/// use detailflow::{ModelOptions, Precision};
///
/// let options = ModelOptions::new().with_threads(1).with_precision(Precision::Int8);
/// assert_eq!(options.threads, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Where graphs run. A device that is not available is an error, unless
    /// [`allow_fallback`](Self::allow_fallback) is set.
    pub device: Device,
    /// Options of the device's execution provider, by its own names. Not with [`Device::Auto`], whose provider is not
    /// known before.
    pub device_options: DeviceOptions,
    /// Whether to run on the CPU when the device is not available. The log tells the reason, and so does
    /// [`Model::report`](crate::Model::report). Default: false.
    pub allow_fallback: bool,
    /// Whether idle threads spin. Default: while a graph runs.
    pub spinning: Spinning,
    /// Threads within an operator: 1 to 1024, or 0 (the default) for one per core that the process may use when the model
    /// is opened: within its CPU mask and the quota of its control group; two hyper-threads are one core. The calling
    /// thread is one of them; each graph of the model has a pool of its own. Threads are not pinned to cores, and inherit
    /// the CPU mask of the thread that opens.
    ///
    /// Fewer threads are used, and a warning is logged, when the system does not start as many; when it starts none,
    /// opening is [`Error::OutOfMemory`].
    ///
    /// In a game loop, one thread (the caller's) keeps frame times steady: others that slept since the last frame may wake
    /// milliseconds late. More threads are faster for large models and outside a game loop.
    pub threads: usize,
    /// Threads of the host for the operators of this library (form `native` on the CPU) and for sampling, in place of threads
    /// of ours: the model starts none then. [`threads`](Self::threads) is the number to divide work among. Default: none.
    ///
    /// ONNX Runtime has no such hook: its own operators (all those of other forms, and some of `native`) run on the calling
    /// thread then. With another form or device a warning is logged. The tokens do not depend on it.
    pub parallel_for: Option<ParallelFor>,
    /// Whether the graphs and weights are read into memory when the model is opened, and checked against the manifest's
    /// SHA-256, whatever their length. Afterwards no file of the bundle is used. Default: false, with which weights are
    /// mapped from their file: opening is faster, and processes share the memory, but the file must not change while the
    /// model is open (see [`Bundle`](crate::Bundle)).
    pub weights_in_memory: bool,
    /// Whether the model is to encode pictures, if its bundle has the encoder. Default: true, with which the encoder is compiled
    /// for the first picture, or, for a bundle behind a reader, when the model is opened. With false encoding is
    /// [`Error::State`].
    pub encoder: bool,
    /// None: on the CPU the first that the bundle lists; on other devices fp16, then fp32, then the others.
    pub precision: Option<Precision>,
    /// None: on the CPU the first that the bundle lists and the CPU runs well; on other devices
    /// [`Fixed`](Form::Fixed) where it is chosen automatically (CUDA, WebGPU), then the first that the bundle lists.
    pub form: Option<Form>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            device: Device::default(),
            device_options: DeviceOptions::default(),
            allow_fallback: false,
            spinning: Spinning::default(),
            threads: 0,
            parallel_for: None,
            weights_in_memory: false,
            encoder: true,
            precision: None,
            form: None,
        }
    }
}

impl ModelOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`device`](Self::device).
    #[must_use]
    pub fn with_device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Sets [`device_options`](Self::device_options).
    #[must_use]
    pub fn with_device_options(mut self, device_options: DeviceOptions) -> Self {
        self.device_options = device_options;
        self
    }

    /// Sets [`allow_fallback`](Self::allow_fallback).
    #[must_use]
    pub fn with_allow_fallback(mut self, allow: bool) -> Self {
        self.allow_fallback = allow;
        self
    }

    /// Sets [`spinning`](Self::spinning).
    #[must_use]
    pub fn with_spinning(mut self, spinning: Spinning) -> Self {
        self.spinning = spinning;
        self
    }

    /// Sets [`threads`](Self::threads). Opening a model checks the number; [`check`](Self::check) does so earlier.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets [`parallel_for`](Self::parallel_for).
    #[must_use]
    pub fn with_parallel_for(mut self, parallel_for: ParallelFor) -> Self {
        self.parallel_for = Some(parallel_for);
        self
    }

    /// Sets [`weights_in_memory`](Self::weights_in_memory).
    #[must_use]
    pub fn with_weights_in_memory(mut self, in_memory: bool) -> Self {
        self.weights_in_memory = in_memory;
        self
    }

    /// Sets [`encoder`](Self::encoder).
    #[must_use]
    pub fn with_encoder(mut self, encoder: bool) -> Self {
        self.encoder = encoder;
        self
    }

    /// Sets [`precision`](Self::precision); takes a [`Precision`] or its name.
    #[must_use]
    pub fn with_precision(mut self, precision: impl Into<Precision>) -> Self {
        self.precision = Some(precision.into());
        self
    }

    /// Sets [`form`](Self::form).
    #[must_use]
    pub fn with_form(mut self, form: Form) -> Self {
        self.form = Some(form);
        self
    }

    /// Checks what can be checked without a bundle. Opening a model does so too.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are too many threads, or device options without a device by name.
    pub fn check(&self) -> Result<()> {
        if self.threads > MAX_THREADS {
            // ONNX Runtime would try to start them.
            return Err(Error::Invalid(format!(
                "{} threads are too many; at most {MAX_THREADS}, and 0 is one per core",
                self.threads
            )));
        }
        if self.device == Device::Auto && !self.device_options.is_empty() {
            return Err(Error::Invalid(
                "device options need a device by name: the execution provider of auto is not known before".into(),
            ));
        }
        Ok(())
    }
}

/// The number format of a variant's weights and matrix products.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats.
    Fp32,
    /// 16-bit floats.
    Fp16,
    /// 8-bit integers.
    Int8,
    /// 4-bit integer weights.
    Int4,
    /// A precision that this version does not know, by its name in the manifest.
    Other(String),
}

impl Precision {
    /// Its name in the manifest, such as `int8`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Other(name) => name,
        }
    }
}

impl From<&str> for Precision {
    fn from(name: &str) -> Self {
        match name {
            "fp32" => Self::Fp32,
            "fp16" => Self::Fp16,
            "int8" => Self::Int8,
            "int4" => Self::Int4,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<String> for Precision {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl FromStr for Precision {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(name.into())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_name_survives_both_ways() {
        for name in ["fp32", "fp16", "int8", "int4", "fp8"] {
            assert_eq!(Precision::from(name).to_string(), name);
        }
        assert_eq!(Precision::from("fp8"), Precision::Other("fp8".into()));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(ModelOptions::new().with_threads(1024).check().is_ok());
        assert!(ModelOptions::new().with_threads(1025).check().unwrap_err().to_string().contains("1025 threads"));
    }
}
