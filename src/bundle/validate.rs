//! Validation of a manifest: bounds, and keys that contradict each other.

use std::collections::HashSet;

use super::manifest::{EncoderSize, Manifest, Tokens};
use super::names::{FILE, is_plain_name};
use super::types::{Alpha, DefaultSampling, FileEntry, IdLayout, JudgedPicture, KeyKind, Layers, Variant};
use crate::plan::{Guidance, SideSize};
use crate::sample::Sampling;
use crate::support::text::printable;

/// Bounds that keep later arithmetic far from overflow; well above any model that could run.
const LARGEST_SIZE: u32 = 1 << 14;
const LARGEST_COUNT: usize = 1 << 20;

/// Checks the manifest for contradictions, except in its ladder.
pub(super) fn validate(manifest: &Manifest) -> Result<(), String> {
    let Manifest { image, tokens, ladder, variants, files, .. } = manifest;
    if manifest.tokenizer_id.len() != 16 || !manifest.tokenizer_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("tokenizer_id \"{}\" is not 16 hex digits", manifest.tokenizer_id));
    }

    within("image.size", image.size as usize, 1, LARGEST_SIZE as usize)?;
    within("image.patch", image.patch as usize, 1, image.size as usize)?;
    if !image.size.is_multiple_of(image.patch) {
        return Err(format!("image.size {} is not a multiple of image.patch {}", image.size, image.patch));
    }
    match (image.channels, image.alpha) {
        (3, Alpha::None) | (4, Alpha::Premultiplied) => {}
        (channels, alpha) => return Err(format!("image.channels {channels} does not go with image.alpha {alpha:?}")),
    }

    within("tokens.count", tokens.count, 1, LARGEST_COUNT)?;
    within("tokens.group", tokens.group, 1, tokens.count)?;
    within("tokens.causal", tokens.causal, 1, tokens.count)?;
    for (name, value) in [("count", tokens.count), ("causal", tokens.causal)] {
        if !value.is_multiple_of(tokens.group) {
            return Err(format!("tokens.{name} {value} is not a multiple of tokens.group {}", tokens.group));
        }
    }
    within("tokens.codes", tokens.codes, 1, LARGEST_COUNT)?;
    let bits = usize::BITS - (tokens.codes - 1).leading_zeros();
    if tokens.bits != bits.max(1) {
        return Err(format!("tokens.bits is {}, {} codes take {}", tokens.bits, tokens.codes, bits.max(1)));
    }

    check_classes(&manifest.classes)?;
    if let Some(ids) = &manifest.ids {
        check_ids(ids, tokens, manifest.classes.len())?;
    }
    if !(ladder.power.is_finite() && ladder.power > 0.0) {
        return Err(format!("ladder.power {} is not a positive finite number", ladder.power));
    }
    if let Some(sampling) = &manifest.sampling {
        check_sampling(sampling).map_err(|reason| format!("sampling: {reason}"))?;
    }
    if let Some(finish) = &manifest.finish {
        finish.check().map_err(|error| format!("finish: {error}"))?;
    }
    if let Some(ar) = &manifest.ar {
        within("ar.layers", ar.layers, 1, LARGEST_COUNT)?;
        within("ar.heads", ar.heads, 1, LARGEST_COUNT)?;
        within("ar.kv_heads", ar.kv_heads, 1, ar.heads)?;
        within("ar.head_width", ar.head_width, 1, LARGEST_COUNT)?;
        if let Some(hidden) = ar.hidden {
            within("ar.hidden", hidden, 1, LARGEST_COUNT)?;
        }
        if let Some(width) = ar.width {
            within("ar.width", width, 1, LARGEST_COUNT)?;
            let Layers { heads, head_width, .. } = *ar;
            let all = heads.saturating_mul(head_width);
            if all != width {
                return Err(format!("ar.width is {width}, but {heads} heads of {head_width} are {all}"));
            }
        }
    }
    if let Some(side) = &manifest.decoder {
        check_side("decoder", side)?;
    }
    if let Some(EncoderSize { side, patch, code_width }) = &manifest.encoder {
        check_side("encoder", side)?;
        within("encoder.patch", *patch, 1, image.size as usize)?;
        if !(image.size as usize).is_multiple_of(*patch) {
            return Err(format!("image.size {} is not a multiple of encoder.patch {patch}", image.size));
        }
        within("encoder.code_width", *code_width, 1, LARGEST_COUNT)?;
    }
    let names = check_files(files)?;
    check_variants(variants, &names)?;
    check_graphs(manifest)?;
    if let Some(draw) = manifest.draw.as_ref().filter(|draw| !names.contains(draw.as_str())) {
        return Err(format!("draw names {draw}, which files does not list"));
    }
    // A bundle without an autoregressive model may have no class names; the classes of the pictures are not used then.
    let classes = if variants[0].ar.is_some() { manifest.classes.len() } else { LARGEST_COUNT };
    check_judged(&manifest.judged, tokens, classes)
}

fn check_side(name: &str, side: &SideSize) -> Result<(), String> {
    within(&format!("{name}.layers"), side.layers, 1, LARGEST_COUNT)?;
    within(&format!("{name}.width"), side.width, 1, LARGEST_COUNT)?;
    within(&format!("{name}.hidden"), side.hidden, 1, LARGEST_COUNT)?;
    within(&format!("{name}.heads"), side.heads, 1, side.width)?;
    if !side.width.is_multiple_of(side.heads) {
        return Err(format!("{name}.width {} is not a multiple of {name}.heads {}", side.width, side.heads));
    }
    Ok(())
}

fn check_classes(classes: &[String]) -> Result<(), String> {
    within("number of classes", classes.len(), 0, LARGEST_COUNT)?;
    for (index, name) in classes.iter().enumerate() {
        // C reads a name up to its first zero, and a terminal obeys the others.
        if let Some((at, c)) = name.char_indices().find(|(_, c)| c.is_control()) {
            let shown = printable(name);
            let code = u32::from(c);
            return Err(format!(
                "classes[{index}]: \"{shown}\" has the control character U+{code:04X} at byte {at}; none is allowed"
            ));
        }
    }
    let mut seen = HashSet::new();
    match classes.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        Some(twice) => Err(format!("classes: \"{twice}\" is empty or a duplicate")),
        None => Ok(()),
    }
}

fn check_ids(ids: &IdLayout, tokens: &Tokens, classes: usize) -> Result<(), String> {
    // The blocks of rows must lie within the table and not overlap: an ID with two meanings would generate nonsense.
    let blocks = [
        ("codes", 0, tokens.codes as i64),
        ("ids.class", ids.class, classes as i64),
        ("ids.no_class", ids.no_class, 1),
        ("ids.special", ids.special, tokens.group as i64 - 1),
    ];
    for (at, &(name, start, length)) in blocks.iter().enumerate() {
        let end = start.checked_add(length).filter(|&end| start >= 0 && end <= ids.total);
        let Some(end) = end else { return Err(format!("{name} {start} lies outside the table of {} rows", ids.total)) };
        for &(other, other_start, other_length) in &blocks[..at] {
            let other_end = other_start.saturating_add(other_length);
            if length > 0 && other_length > 0 && start < other_end && other_start < end {
                return Err(format!("{name} {start} overlaps {other}"));
            }
        }
    }
    Ok(())
}

fn check_sampling(sampling: &DefaultSampling) -> Result<(), String> {
    Sampling { temperature: sampling.temperature, top_k: sampling.top_k, top_p: sampling.top_p }
        .check()
        .and_then(|()| Guidance { scale: sampling.guidance.into(), gradual: sampling.gradual }.check())
}

/// Checks the list of files and returns their names.
fn check_files(files: &[FileEntry]) -> Result<HashSet<&str>, String> {
    let mut names = HashSet::new();
    for file in files {
        if !is_plain_name(&file.path) || file.path == FILE {
            return Err(format!("files: \"{}\" is not a plain file name", file.path));
        }
        if !names.insert(file.path.as_str()) {
            return Err(format!("files: {} is listed twice", file.path));
        }
        if file.decoder.is_some_and(|part| part > file.length) {
            return Err(format!("files: the decoder part of {} is longer than the file", file.path));
        }
        if file.sha256.len() != 64 || !file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(format!("files: the SHA-256 of {} is not 64 lower-case hex digits", file.path));
        }
    }
    Ok(names)
}

fn check_variants(variants: &[Variant], names: &HashSet<&str>) -> Result<(), String> {
    if variants.is_empty() {
        return Err("variants is empty".into());
    }
    for variant in variants {
        let numbers: Vec<Option<u32>> = variant.min_runtime.split('.').map(|number| number.parse().ok()).collect();
        if !matches!(numbers[..], [Some(_), Some(_)]) {
            return Err(format!("min_runtime \"{}\" is not major.minor", variant.min_runtime));
        }
        if variant.keys == KeyKind::Fp16 && variant.form == "mha" {
            let (name, form) = (&variant.precision, &variant.form);
            return Err(format!("variant {name} {form}: keys are fp16, but the KV cache of form {form} is fp32"));
        }
        let weights = variant.weights();
        if !names.contains(weights.as_str()) {
            return Err(format!(
                "variant {} {} needs {weights}, which files does not list",
                variant.precision, variant.form
            ));
        }
        for graph in variant.graphs() {
            if !names.contains(graph.as_str()) {
                return Err(format!(
                    "variant {} {} names {graph}, which files does not list",
                    variant.precision, variant.form
                ));
            }
        }
    }
    Ok(())
}

/// Checks the pictures on which the variants were compared.
fn check_judged(judged: &[JudgedPicture], tokens: &Tokens, classes: usize) -> Result<(), String> {
    for (at, picture) in judged.iter().enumerate() {
        let name = |key: &str| format!("judged[{at}].{key}");
        within(&name("class"), picture.class as usize, 0, classes.saturating_sub(1))?;
        within(&format!("number of {}", name("tokens")), picture.tokens.len(), tokens.count, tokens.count)?;
        let length = picture.log_probabilities.len();
        within(&format!("number of {}", name("log_probabilities")), length, tokens.count, tokens.count)?;
        for &token in &picture.tokens {
            within(&name("tokens"), token as usize, 0, tokens.codes - 1)?;
        }
        if picture.log_probabilities.iter().any(|value| !(value.is_finite() && *value <= 0.0)) {
            return Err(format!("{}: a log-probability must be finite and at most 0", name("log_probabilities")));
        }
    }
    Ok(())
}

/// Checks that every variant has the same graphs, so that the abilities of a bundle do not depend on the machine, and that
/// a manifest with an autoregressive model has all keys that generating needs.
fn check_graphs(manifest: &Manifest) -> Result<(), String> {
    let first = &manifest.variants[0];
    for variant in &manifest.variants {
        for (graph, ours, others) in [("ar", &first.ar, &variant.ar), ("encoder", &first.encoder, &variant.encoder)] {
            if ours.is_some() != others.is_some() {
                let name = |variant: &Variant| format!("{} {}", variant.precision, variant.form);
                let (with, without) = if ours.is_some() { (first, variant) } else { (variant, first) };
                return Err(format!("variant {} has {graph}, {} has none", name(with), name(without)));
            }
        }
    }
    if first.ar.is_none() {
        return Ok(());
    }
    within("number of classes", manifest.classes.len(), 1, LARGEST_COUNT)?;
    let needed =
        [("ids", manifest.ids.is_some()), ("sampling", manifest.sampling.is_some()), ("ar", manifest.ar.is_some())];
    match needed.iter().find(|(_, there)| !there) {
        Some((key, _)) => Err(format!("missing field `{key}`, which a bundle with an autoregressive model needs")),
        None => Ok(()),
    }
}

fn within(name: &str, value: usize, least: usize, most: usize) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{name} is {value}; allowed is {least} to {most}"))
}
