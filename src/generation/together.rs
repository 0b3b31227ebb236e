//! Steps of several generations in one run of the graph.

use super::Generation;
use super::progress::Progress;
use crate::runtime::{Form, Interrupt};
use crate::support::error::{Error, Result};

/// The next step of each of several generations of one model, at whatever position each is: in one run of the graph where
/// the form allows it, else one after the other. Each samples the tokens that it would sample alone, and a failure of one
/// does not disturb the others. One that is cancelled meanwhile returns [`Error::Cancelled`] when the run is over.
pub(crate) fn step_together(generations: &mut [&mut Generation]) -> Vec<Result<Progress>> {
    let joined = match generations {
        [first, _, ..] if first.model().form() == Form::Native => step_joined(generations),
        _ => None,
    };
    joined.unwrap_or_else(|| generations.iter_mut().map(|generation| generation.step()).collect())
}

/// None when the run was not possible: each may try by itself then.
fn step_joined(generations: &mut [&mut Generation]) -> Option<Vec<Result<Progress>>> {
    let model = generations.first()?.model().clone();
    debug_assert!(generations.iter().all(|generation| generation.model().is(&model)));
    let (ar, codes) = (model.ar().ok()?, model.bundle().codes());
    let mut steps = Vec::new();
    for generation in generations.iter_mut() {
        let prepared = generation.prepare();
        steps.push(match prepared {
            Ok(Some(step)) => generation.state.cache.own_rows(ar).map(|_| Some(step)),
            other => other,
        });
    }
    let mut joint = model.joint_step();
    let logits = {
        let fed = generations.iter().zip(&steps);
        let fed = fed.filter_map(|(generation, step)| Some((&generation.state, (*step.as_ref().ok()?)?)));
        let runs = fed.flat_map(|(state, step)| state.cache.runs(step, &state.ids));
        if runs.clone().next().is_none() { &[] } else { joint.run(ar, codes, runs, &Interrupt::new().ok()?).ok()? }
    };
    let mut from = 0;
    let each = generations.iter_mut().zip(steps).map(|(generation, step)| {
        let Some(step) = step? else { return Ok(generation.progress()) };
        let length = generation.state.rows.fed.len() * step.query * codes;
        let logits = &logits[from..from + length];
        from += length;
        if generation.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        generation.take(step, logits)
    });
    Some(each.collect())
}
