//! What every folder may use: the error of the crate, log messages, files that are replaced atomically, fallible allocation,
//! locks, text, protocol buffers, the state of the host ([`host`]) and its threads ([`parallel`]), and all that differs between
//! operating systems ([`platform`]).

pub(crate) mod block;
pub(crate) mod crc32;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod hex;
pub(crate) mod host;
pub(crate) mod json;
pub(crate) mod layout;
pub mod log;
pub(crate) mod memory;
pub(crate) mod parallel;
pub(crate) mod platform;
pub(crate) mod protobuf;
pub(crate) mod read_at;
pub(crate) mod sync;
pub(crate) mod temporary;
pub(crate) mod text;
