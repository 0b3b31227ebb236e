//! What a run will cost, before it draws.

use std::time::Duration;

use super::draw::batch_size;
use crate::generation::request::Request;
use crate::model::Model;
use crate::pipeline::plan::{Plan, RowSettings, Start};
use crate::support::error::Result;
use crate::support::sync::Arc;
use crate::tasks;

/// What pictures cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Estimate {
    /// How many pictures.
    pub pictures: u64,
    /// Steps of the autoregressive model, those of each picture counted alone.
    pub steps: u64,
    /// Files with pictures: one for each level.
    pub files: u64,
    /// Bytes of their pixels, uncompressed; files are mostly smaller.
    pub bytes: u64,
    /// The most pictures that a lane draws together.
    pub batch: usize,
    /// The time that it takes to draw them, with all lanes busy. `None` when nothing was measured on this machine yet.
    pub time: Option<Duration>,
}

/// What these pictures cost, drawn by `lanes` models like `model` in batches of at most `batch` (0 chooses).
///
/// # Errors
/// Those of [`tasks::cost`].
pub fn estimate(
    plan: &Plan,
    numbers: impl Iterator<Item = u64>,
    model: &Model,
    batch: usize,
    lanes: usize,
) -> Result<Estimate> {
    let batch = batch_size(batch, model);
    let mut all = Estimate { pictures: 0, steps: 0, files: 0, bytes: 0, batch, time: Some(Duration::ZERO) };
    let mut last: Option<(*const RowSettings, Each)> = None;
    let mut seconds = Some(0.0);
    for number in numbers {
        let picture = plan.picture(number);
        let settings = Arc::as_ptr(&picture.row.settings);
        let each = match last {
            Some((known, each)) if known == settings => each,
            _ => {
                let mut request = Request::new(model);
                picture.apply(&mut request, &prefix(model, &picture.row.start)?)?;
                request.set_count(batch as u32)?;
                let each = Each::of(&request, picture.row, batch)?;
                last = Some((settings, each));
                each
            }
        };
        all.pictures += 1;
        all.steps += each.steps;
        all.files += each.files;
        all.bytes = all.bytes.saturating_add(each.bytes);
        seconds = seconds.zip(each.seconds).map(|(all, each)| all + each);
    }
    let seconds = seconds.map(|seconds| seconds / lanes.max(1) as f64);
    all.time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(all)
}

/// The cost of one picture.
#[derive(Clone, Copy)]
struct Each {
    steps: u64,
    files: u64,
    bytes: u64,
    seconds: Option<f64>,
}

impl Each {
    fn of(request: &Request, settings: &RowSettings, batch: usize) -> Result<Self> {
        let cost = tasks::cost(request)?;
        let channels = request.model().bundle().channels() as u64;
        Ok(Self {
            steps: cost.steps.iter().map(|step| step.count as u64).sum(),
            files: settings.levels.len() as u64,
            bytes: settings.levels.iter().map(|level| u64::from(level.size) * u64::from(level.size) * channels).sum(),
            seconds: cost.time().map(|time| time.as_secs_f64() / batch as f64),
        })
    }
}

/// Tokens as many as pictures begin with; for a picture that was not encoded yet they are any.
fn prefix(model: &Model, start: &Start) -> Result<Vec<u32>> {
    Ok(match start {
        Start::Empty => Vec::new(),
        Start::Tokens(tokens) => tokens.to_vec(),
        Start::Picture { keep, .. } => vec![0; model.bundle().ladder().level_or_error(*keep)?.tokens],
    })
}
