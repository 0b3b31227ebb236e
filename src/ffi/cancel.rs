//! The handle that stops work.

use super::call::call;
use super::error::detailflow_error;
use super::handle::Object;
use super::param::{Out, Owned, Shared};
use super::status::{Failure, detailflow_status};
use crate::generation::Cancel;
use crate::model::OpenCancel;

/// Stops a generation, the opening of a model, or the encoding of a picture. Thread-safe; may be used after the
/// generation was freed.
#[derive(Debug)]
pub struct detailflow_cancel(Stops);

#[derive(Debug)]
enum Stops {
    Generation(Cancel),
    Opening(OpenCancel),
}

impl Object for detailflow_cancel {
    const KIND: &'static str = "detailflow_cancel";
    const NAME: &'static str = "cancel";
}

impl detailflow_cancel {
    pub(super) fn of_generation(cancel: Cancel) -> Self {
        Self(Stops::Generation(cancel))
    }

    pub(super) fn for_opening(&self) -> Result<OpenCancel, Failure> {
        match &self.0 {
            Stops::Opening(cancel) => Ok(cancel.clone()),
            Stops::Generation(_) => {
                Err(Failure::invalid("cancel is that of a generation; this takes one made by detailflow_cancel_new"))
            }
        }
    }
}

/// Creates a cancel handle for detailflow_model_options_set_cancel, detailflow_model_encode_file_cancellable,
/// detailflow_model_encode_with_effort and detailflow_model_encode_file_with_effort. For a generation, use
/// detailflow_generation_get_cancel.
///
/// @param cancel Receives the handle. Free it with detailflow_cancel_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_cancel_new(
    cancel: Out<'_, *mut detailflow_cancel>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        cancel.place("cancel")?.set_handle(detailflow_cancel(Stops::Opening(OpenCancel::new())));
        Ok(())
    })
}

/// Stops the work, from any thread, any number of times. It cannot be undone.
///
/// A generation stops within one step, also inside a running graph: that step and every later one both return CANCELLED;
/// what was generated before stays readable, and the model is not affected. Opening stops between two files or graphs, reading
/// a picture file between two rows, searching for its tokens between two positions.
///
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_cancel_trigger(
    cancel: Shared<'_, detailflow_cancel>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        match &cancel.get()?.0 {
            Stops::Generation(cancel) => cancel.cancel(),
            Stops::Opening(cancel) => cancel.cancel(),
        }
        Ok(())
    })
}

/// Frees the handle; does not cancel. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_cancel_free(cancel: Owned<detailflow_cancel>) {
    cancel.free(|_| {});
}
