//! From nothing to pixels in one call.

use std::sync::Mutex;

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::{Model, ModelOptions};
use crate::pixels::Image;
use crate::support::error::Result;
use crate::support::sync::lock;

/// The default model, opened at the first need and kept for the life of the process.
static DEFAULT_MODEL: Mutex<Option<Model>> = Mutex::new(None);

/// Generates one image of the class named `class` at the full size of `model`.
///
/// With `model` None it uses the default bundle (see [`default_bundle`](crate::default_bundle)), which is opened with
/// default options once per process and kept open; other threads that need it wait meanwhile. A failure to open it is not
/// kept: the next call tries again.
///
/// ```no_run
/// detailflow::tasks::generate_image(None, "potion", 7)?.save("potion.png")?;
/// # detailflow::Result::<()>::Ok(())
/// ```
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) when the model has no such class; those of [`Model::open_default`],
/// [`Generation::new`] and [`Generation::finish`].
pub fn generate_image(model: Option<&Model>, class: &str, seed: u64) -> Result<Image> {
    generate_image_at(model, class, seed, 0)
}

/// As [`generate_image`], at the level of `level_size` pixels per side; 0 is the finest.
///
/// # Errors
/// Those of [`generate_image`], and [`Error::Invalid`](crate::Error::Invalid) when there is no such level (the error lists
/// the levels).
pub fn generate_image_at(model: Option<&Model>, class: &str, seed: u64, level_size: u32) -> Result<Image> {
    let model = model.map_or_else(default_model, |model| Ok(model.clone()))?;
    let mut request = Request::new(&model);
    request.set_class(model.bundle().class(class)?)?.set_seed(seed).set_level_size(level_size)?;
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    generation.image(0)
}

fn default_model() -> Result<Model> {
    let mut kept = lock(&DEFAULT_MODEL);
    if let Some(model) = &*kept {
        return Ok(model.clone());
    }
    let model = Model::open_default(&ModelOptions::new())?;
    Ok(kept.insert(model).clone())
}
