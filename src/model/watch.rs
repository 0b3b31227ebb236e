//! Progress and cancellation of the opening of a model.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::read_at::ReadAt;

/// Stops the opening of a model, or the encoding of a picture ([`EncodeOptions`](crate::EncodeOptions)), from any thread.
/// Clones stop the same one.
#[derive(Clone, Debug, Default)]
pub struct OpenCancel(Arc<AtomicBool>);

impl OpenCancel {
    /// A handle that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the opening: [`Model::open_with`](crate::Model::open_with) returns [`Error::Cancelled`] as soon as the stage in
    /// progress ends, such as the compilation of one graph. [`Model::encode_with`](crate::Model::encode_with) does so before
    /// the next position. Stays set.
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
    pub(super) fn stage(&mut self, done: usize, total: usize, stage: &str) -> Result<()> {
        if let Some(progress) = &mut self.progress {
            host::call_back(|| progress(OpenProgress { done, total, stage }));
        }
        self.check()
    }

    /// `reader`, whose reads end when the opening is cancelled.
    pub(super) fn over<R: ReadAt>(&self, reader: R) -> CancelledReader<R> {
        CancelledReader { reader, cancel: self.cancel.clone() }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(OpenCancel::is_cancelled) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl fmt::Debug for OpenWatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenWatch").field("progress", &self.progress.is_some()).field("cancel", &self.cancel).finish()
    }
}

/// A reader that fails when the opening is cancelled.
pub(super) struct CancelledReader<R> {
    reader: R,
    cancel: Option<OpenCancel>,
}

impl<R: ReadAt> ReadAt for CancelledReader<R> {
    fn size(&self) -> std::io::Result<u64> {
        self.reader.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        if self.cancel.as_ref().is_some_and(OpenCancel::is_cancelled) {
            return Err(std::io::Error::other(Error::Cancelled));
        }
        self.reader.read_exact_at(buffer, offset)
    }
}
