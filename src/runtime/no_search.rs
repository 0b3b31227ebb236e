//! In the place of `search` where the crate is built without the feature `load-runtime`.

use std::path::{Path, PathBuf};

use super::sys;
use crate::support::error::{Error, Result};

/// # Errors
/// Always [`Error::Runtime`].
pub(super) fn load(_named: Option<&Path>) -> Result<(sys::Copy, PathBuf, &'static str)> {
    let why = "this build of libdetailflow (without the feature load-runtime) loads no ONNX Runtime; give it the host's before, \
               by detailflow_runtime_set_api (in Rust set_api)";
    Err(Error::Runtime(why.into()))
}
