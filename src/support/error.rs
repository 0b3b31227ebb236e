//! One error for the whole crate. It names what was wrong and where, in a sentence that can be shown to a person;
//! the C layer turns the variant into a status code and passes the sentence on.

use std::any::Any;
use std::path::{Path, PathBuf};

/// What can go wrong. Match on the variant to decide what to do; show the text to whoever can mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value from the caller is outside its range or does not fit the model.
    #[error("{0}")]
    Invalid(String),
    /// A file or folder that was named does not exist.
    #[error("{what} not found: {}", path.display())]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// No bundle was named and none was found; the text lists every place that was tried.
    #[error("{0}")]
    NoBundle(String),
    /// The bundle is damaged, contradicts itself, or is of a format that this version does not read.
    #[error("bundle {}: {reason}", path.display())]
    Bundle {
        /// The bundle's folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// ONNX Runtime is missing, is not what it should be, or is too old.
    #[error("{0}")]
    Runtime(String),
    /// The device that was asked for cannot be used.
    #[error("{0}")]
    Device(String),
    /// Memory for a request is not to be had. Nothing was changed; a smaller request works.
    #[error("out of memory: {what} needs {bytes} bytes")]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// How much of it.
        bytes: u64,
    },
    /// The operating system refused to read or write.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture or token file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes that should be a token file are none, or so damaged that no token in them can be trusted.
    #[error("{0}")]
    Tokens(String),
    /// The generation was cancelled. What was drawn before stays readable.
    #[error("cancelled")]
    Cancelled,
    /// The call does not fit the state of the object.
    #[error("{0}")]
    State(String),
    /// ONNX Runtime failed while running a graph.
    #[error("{graph} failed: {reason}")]
    Failed {
        /// Which graph.
        graph: String,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// A fault of this library itself. Please report it.
    #[error("fault in libdetailflow: {0}")]
    Internal(String),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What a panic said.
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Self::Internal(text.unwrap_or("unknown").to_owned())
    }

    pub(crate) fn bundle(path: &Path, reason: impl Into<String>) -> Self {
        Self::Bundle { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    /// The system refused to read `path`; a missing file is [`Error::NotFound`].
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::NotFound { what: "file", path: path.to_owned() };
        }
        Self::Io { what: "cannot read", path: path.to_owned(), source }
    }

    /// The system refused to write `path`.
    pub(crate) fn writing(path: &Path, source: std::io::Error) -> Self {
        Self::Io { what: "cannot write", path: path.to_owned(), source }
    }
}
