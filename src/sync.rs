//! What threads meet at, by one name, so that a test can put an instrumented copy in its place.

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
