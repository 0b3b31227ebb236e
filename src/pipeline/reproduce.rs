//! Makes pictures again from their records: draws their tokens from seed and settings, and writes the file.

use super::output::{OutputFormat, decode, encode};
use super::provenance::{Head, Record, embed};
use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::model::Model;
use crate::pixels::FileFormat;
use crate::support::error::{Error, Result};

/// Records that are drawn together.
const BATCH: usize = 64;

/// Draws the tokens of each record again: from its class, seed and settings, and the tokens that its picture began with. Records
/// with the same settings are drawn together. For each: the tokens, or why they cannot be drawn.
#[must_use]
pub fn draw(model: &Model, records: &[&Record]) -> Vec<Result<Vec<u32>>> {
    let mut found: Vec<Option<Result<Vec<u32>>>> = records.iter().map(|_| None).collect();
    for first in 0..records.len() {
        if found[first].is_some() {
            continue;
        }
        let alike: Vec<usize> = (first..records.len())
            .filter(|&at| found[at].is_none() && is_alike(&records[first].head, &records[at].head))
            .take(BATCH)
            .collect();
        let batch: Vec<&Record> = alike.iter().map(|&at| records[at]).collect();
        match draw_batch(model, &batch) {
            Ok(tokens) => alike.iter().zip(tokens).for_each(|(&at, tokens)| found[at] = Some(Ok(tokens))),
            // One that cannot be drawn does not keep the others from it.
            Err(error) if batch.len() == 1 => found[first] = Some(Err(error)),
            Err(_) => {
                for &at in &alike {
                    found[at] =
                        Some(draw_batch(model, &[records[at]]).map(|mut tokens| tokens.pop().unwrap_or_default()));
                }
            }
        }
    }
    found.into_iter().flatten().collect()
}

/// Whether pictures can be drawn in one batch.
fn is_alike(one: &Head, other: &Head) -> bool {
    let settings = |head: &Head| {
        let Head { guidance, gradual, temperature, top_k, top_p, level, kept, .. } = head.clone();
        (guidance, gradual, temperature, top_k, top_p, level, kept)
    };
    settings(one) == settings(other)
}

/// Draws records with the same settings.
fn draw_batch(model: &Model, records: &[&Record]) -> Result<Vec<Vec<u32>>> {
    let bundle = model.bundle();
    let Some(Record { head, .. }) = records.first() else { return Ok(Vec::new()) };
    let mut request = Request::new(model);
    request.set_count(records.len() as u32)?.set_guidance(head.guidance())?;
    request.set_temperature(head.temperature.clone())?.set_top_k(head.top_k.clone())?.set_top_p(head.top_p.clone())?;
    request.set_level_size(head.level)?;
    for (at, Record { head, tokens }) in records.iter().enumerate() {
        if head.tokenizer != bundle.tokenizer_id() {
            return Err(Error::Invalid(format!(
                "it was made with tokenizer {}; the bundle {} has {}",
                head.tokenizer,
                bundle.name(),
                bundle.tokenizer_id()
            )));
        }
        request.set_image(at, ImageRequest { class: bundle.class(&head.class)?, seed: head.seed })?;
        if let Some(mix) = head.read_mix(bundle)? {
            request.set_image_mix(at, &mix)?;
        }
        let kept = tokens
            .get(..head.kept as usize)
            .ok_or_else(|| Error::Invalid(format!("the record keeps {} tokens and has {}", head.kept, tokens.len())))?;
        if !kept.is_empty() {
            request.set_image_prefix(at, kept)?;
        }
    }
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    (0..records.len()).map(|at| generation.tokens(at).map(<[u32]>::to_vec)).collect()
}

/// The bytes of the file of a record with these tokens; `embedded` says whether the record is in the file.
///
/// # Errors
/// Those of [`decode`] and [`encode`]; [`Error::Invalid`] if a record is to be
/// embedded in another file than PNG.
pub fn file(model: &Model, head: &Head, tokens: &[u32], embedded: bool) -> Result<Vec<u8>> {
    let (options, format) = (head.output.options(), head.output.format);
    options.check(format)?;
    let bytes = encode(&decode(model, tokens, &options, head.finish.as_ref())?, &options, format)?;
    match (embedded, format) {
        (false, _) => Ok(bytes),
        (true, OutputFormat::Picture(FileFormat::Png)) => embed(&bytes, &head.to_json(), tokens),
        (true, _) => Err(Error::Invalid(format!("a {format} file has no record within: sidecars are allowed"))),
    }
}
