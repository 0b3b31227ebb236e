//! Selection in a run: which rows are selected from, and the selector of the group in progress.

use crate::model::Model;
use crate::pipeline::plan::{Picture, Plan, Row, RowSettings};
use crate::pipeline::select::{Candidate, Facts, SelectSettings, Selector};
use crate::support::error::{Error, Result};
use crate::support::sync::Arc;

use super::hooks::Drawn;

/// Whether the groups of a row are selected from.
pub(super) fn selects(row: &Row) -> bool {
    settings(row).is_some()
}

/// How the groups of a row are selected from.
fn settings(row: &RowSettings) -> Option<SelectSettings> {
    row.select.clone().filter(|settings| !settings.keeps_all())
}

/// Checks how rows are selected from, and tells whether that needs the log-probabilities of tokens.
///
/// # Errors
/// Those of [`Selector::new`].
pub(super) fn check(plan: &Plan) -> Result<bool> {
    let (mut needs, mut last) = (false, None);
    for row in plan.rows() {
        let this = Arc::as_ptr(&row.settings);
        if last.replace(this) == Some(this) {
            continue;
        }
        if let Some(settings) = settings(row) {
            Selector::new(&settings)
                .map_err(|error| Error::Invalid(format!("row {} (line {}): select: {error}", row.number, row.line)))?;
            needs |= settings.needs_log_probability();
        }
    }
    Ok(needs)
}

/// The selector of rows with the same settings.
#[derive(Debug)]
pub(super) struct Chooser {
    /// Rows with these settings.
    of: Arc<RowSettings>,
    pub selector: Selector,
    /// Tokens of the coarsest level.
    coarse: usize,
}

impl Chooser {
    /// For the groups of `row`; the present one if it is for them.
    pub fn of(present: Option<Self>, row: &Row, model: &Model) -> Result<Self> {
        if let Some(present) = present.filter(|present| Arc::ptr_eq(&present.of, &row.settings)) {
            return Ok(present);
        }
        let settings = settings(row).unwrap_or_default();
        let coarse = model.bundle().ladder().levels().first().map_or(0, |level| level.tokens);
        Ok(Self { of: row.settings.clone(), selector: Selector::new(&settings)?, coarse })
    }

    /// What decides about a picture.
    pub fn facts(&self, picture: &Picture<'_>, drawn: &Drawn) -> Result<Facts> {
        let given = drawn.kept >= self.coarse;
        let coarse = drawn.tokens.get(..self.coarse).filter(|_| !given).unwrap_or_default();
        let image = drawn.images.last().ok_or_else(|| Error::Internal("a picture has no image".into()))?;
        self.selector.judge().facts(&Candidate {
            number: picture.number,
            tokens: &drawn.tokens,
            coarse,
            mean_log_probability: drawn.log_probability.unwrap_or(f32::NAN),
            image,
        })
    }
}

/// Facts as a record has them.
pub(super) fn facts_of(measure: &[u8]) -> Option<Facts> {
    Some(Facts::from_bytes(measure.try_into().ok()?))
}
