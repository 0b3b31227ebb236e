//! Stops a run of a graph from another thread.

use std::sync::Arc;

use ort::session::{NoSelectedOutputs, RunOptions};

use super::exit::{self, RuntimeOwned};
use super::failure::failed;
use super::library;
use crate::support::error::Result;

/// Stops the runs that it is passed to. One user of a graph has one and passes it to each run.
pub(crate) struct Interrupt(RuntimeOwned<Arc<RunOptions<NoSelectedOutputs>>>);

impl Interrupt {
    pub fn new() -> Result<Self> {
        let _inside = exit::enter()?;
        library::environment()?;
        RunOptions::new()
            .map(|options| Self(RuntimeOwned::new(Arc::new(options))))
            .map_err(|error| failed("run options", error))
    }

    /// Stops the run in progress after its current operator. Stays set: later runs fail too.
    pub fn trigger(&self) {
        // It only fails for a null pointer, which a live RunOptions does not have.
        if let Ok(_inside) = exit::enter_anywhere() {
            let _ = self.0.terminate();
        }
    }

    pub(super) fn options(&self) -> &Arc<RunOptions<NoSelectedOutputs>> {
        &self.0
    }
}
