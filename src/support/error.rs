//! The error type of the crate. Its text says what is wrong and where, in a sentence that can be shown to a user; the C layer
//! maps the variant to a status code and passes the text on.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::support::text::printable_lines;

/// Every error of this crate. Match on the variant to decide what to do; show the text to whoever can fix the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value from the caller is out of range or does not fit the model.
    #[error("{}", shown(.0))]
    Invalid(String),
    /// A named file or folder does not exist.
    #[error("{what} not found: {}", shown(path.display()))]
    NotFound {
        /// What it is: file, folder …
        what: &'static str,
        /// Its path.
        path: PathBuf,
    },
    /// No bundle was named and none was found. The text lists every path that was tried.
    #[error("{}", shown(.0))]
    NoBundle(String),
    /// The bundle is damaged, inconsistent, or of an unsupported format version.
    #[error("bundle {}: {}", shown(path.display()), shown(reason))]
    Bundle {
        /// The bundle's folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// ONNX Runtime is missing, not a usable library, or too old.
    #[error("{}", shown(.0))]
    Runtime(String),
    /// The requested device cannot be used.
    #[error("{}", shown(.0))]
    Device(String),
    /// Memory could not be allocated. Nothing was changed; a smaller request may succeed.
    #[error("out of memory: {} needs {bytes} bytes", shown(what))]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// The operating system failed to read or write a file.
    #[error("{what} {}: {source}", shown(path.display()))]
    Io {
        /// The operation: cannot read, cannot write …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A picture or token file has invalid content.
    #[error("{}: {}", shown(path.display()), shown(reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Bytes are not a token file, or damaged such that no token can be trusted.
    #[error("{}", shown(.0))]
    Tokens(String),
    /// The operation was cancelled. Tokens sampled before stay readable.
    #[error("cancelled")]
    Cancelled,
    /// The call is not allowed in the object's present state.
    #[error("{}", shown(.0))]
    State(String),
    /// Another thread is inside a call that one at a time may make.
    #[error("{}", shown(.0))]
    Busy(String),
    /// ONNX Runtime failed while running a graph.
    #[error("{} failed: {}", shown(graph), shown(reason))]
    Failed {
        /// The graph's file name.
        graph: String,
        /// ONNX Runtime's message.
        reason: String,
    },
    /// A bug in this library. Please report it.
    #[error("fault in libdetailflow: {0}")]
    Internal(String),
}

/// A part of an error's text. It may quote a bundle or another file, which is untrusted: what a terminal would obey is escaped.
fn shown(text: impl Display) -> String {
    let text = text.to_string();
    match printable_lines(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(escaped) => escaped,
    }
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// [`Error::Internal`] with the message of a panic.
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

    /// A failure to read `path`; a missing file is [`Error::NotFound`].
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::NotFound { what: "file", path: path.to_owned() };
        }
        Self::Io { what: "cannot read", path: path.to_owned(), source }
    }

    /// A failure to write `path`.
    pub(crate) fn writing(path: &Path, source: std::io::Error) -> Self {
        Self::Io { what: "cannot write", path: path.to_owned(), source }
    }
}
