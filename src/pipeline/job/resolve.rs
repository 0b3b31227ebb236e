//! From the fields of a row to the settings that the model takes, by the same checks as a request.

use std::sync::Arc;

use super::start::Files;
use super::types::{LevelField, RowFields, Setting};
use crate::bundle::Bundle;
use crate::pipeline::identity::Identity;
use crate::pipeline::plan::{RowMix, RowSettings, Start};
use crate::pipeline::select::SelectSettings;
use crate::plan::{Curve, Guidance, Level, Mix};
use crate::sample::{Sampling, SamplingCurves};
use crate::support::error::{Error, Result};

/// Fields that are not allowed, and why.
pub(super) type Wrongs = Vec<(String, String)>;

/// Settings of rows that say the same.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub settings: Arc<RowSettings>,
    /// The class of the token file that pictures begin with.
    pub class: Option<u32>,
    /// A hash of what decides tokens.
    pub hash: [u8; 32],
}

/// Resolves what rows say beside class, count, seed, output and tags. `has_class`: whether they say a class. `job` is the
/// selection of the job.
pub(super) fn resolve(
    fields: &RowFields,
    has_class: bool,
    job: Option<&(SelectSettings, Option<[u8; 32]>)>,
    bundle: &Bundle,
    files: &mut Files,
) -> Result<Resolved, Wrongs> {
    let mut wrongs = Wrongs::new();
    let mut wrong = |field: &str, text: String| wrongs.push((field.to_owned(), text));
    let (guidance, sampling) = curves(fields, bundle, &mut wrong);
    let (mut mix, main) = mixed(fields, bundle, &mut wrong);
    let levels = levels(fields.level.as_ref(), bundle).unwrap_or_else(|error| {
        wrong("level", error.to_string());
        Vec::new()
    });
    let mut hash = Identity::new("settings");
    let (start, class, of_file) = start(fields, bundle, files, &mut hash, &mut wrong);
    // A row that says neither class nor mix takes those of the token file, and what these avoid unless it says that.
    if let Some(of_file) = of_file.filter(|_| !has_class && fields.mix.is_none()) {
        if of_file.classes().len() > 1 {
            mix.classes = of_file.classes().to_vec();
        }
        if fields.avoid.is_none() {
            mix.avoid = of_file.avoid().to_vec();
        }
    }
    if let Some(finest) = levels.last() {
        let field = if fields.vary.is_some() { "vary" } else { "redetail" };
        let kept = match &start {
            Start::Empty => 0,
            Start::Tokens(tokens) => tokens.len(),
            Start::Picture { keep, .. } => bundle.ladder().level(*keep).map_or(0, |level| level.tokens),
        };
        if kept > finest.tokens {
            let text = format!(
                "it keeps {kept} tokens, but the finest level that is written, {} px, has {}; keep a coarser level",
                finest.size, finest.tokens
            );
            wrong(field, text);
        }
    }
    let select = match &fields.select {
        Some(select) => Some(resolve_select(select, files, &mut wrong)),
        None => job.cloned(),
    };
    if !wrongs.is_empty() {
        return Err(wrongs);
    }
    hash.curve(&guidance.scale);
    hash.number(u64::from(guidance.gradual));
    [&sampling.temperature, &sampling.top_k, &sampling.top_p].into_iter().for_each(|curve| hash.curve(curve));
    hash.number(levels.len() as u64);
    levels.iter().for_each(|level| hash.number(u64::from(level.size)));
    hash_select(&mut hash, select.as_ref());
    // Jobs without mixes have the identity that they always had.
    if mix != RowMix::default() {
        hash.text("mix");
        for list in [&mix.classes, &mix.avoid] {
            hash.number(list.len() as u64);
            for (class, weight) in list {
                hash.number(u64::from(*class));
                hash.curve(weight);
            }
        }
    }
    let class = main.or(class);
    let select = select.map(|(select, _)| select);
    let settings = RowSettings { mix, guidance, sampling, start, levels, select };
    Ok(Resolved { settings: settings.into(), class, hash: hash.finish() })
}

fn curves(fields: &RowFields, bundle: &Bundle, wrong: &mut impl FnMut(&str, String)) -> (Guidance, SamplingCurves) {
    let defaults = bundle.sampling();
    let mut guidance =
        Guidance { scale: defaults.guidance.into(), gradual: fields.gradual.unwrap_or(defaults.gradual) };
    if let Some(setting) = &fields.guidance {
        let checked = curve(setting).and_then(|scale| {
            guidance.scale = scale;
            guidance.check().map_err(Error::Invalid)
        });
        checked.unwrap_or_else(|error| wrong("guidance", error.to_string()));
    }
    let defaults = Sampling { temperature: defaults.temperature, top_k: defaults.top_k, top_p: defaults.top_p };
    let mut sampling = SamplingCurves::from(defaults);
    let mut set = |name: &str, setting: &Option<Setting>, field: fn(&mut SamplingCurves) -> &mut Curve| {
        let Some(setting) = setting else { return };
        // One at a time, so that an error is that of this field.
        let mut one = SamplingCurves::from(defaults);
        let checked = curve(setting).and_then(|curve| {
            *field(&mut one) = curve;
            one.check().map_err(Error::Invalid)
        });
        match checked {
            Ok(()) => std::mem::swap(field(&mut sampling), field(&mut one)),
            Err(error) => wrong(name, error.to_string()),
        }
    };
    set("temperature", &fields.temperature, |sampling| &mut sampling.temperature);
    set("top_k", &fields.top_k, |sampling| &mut sampling.top_k);
    set("top_p", &fields.top_p, |sampling| &mut sampling.top_p);
    (guidance, sampling)
}

/// The classes that a row mixes and avoids, and the main class of its mix.
fn mixed(fields: &RowFields, bundle: &Bundle, wrong: &mut impl FnMut(&str, String)) -> (RowMix, Option<u32>) {
    let mut found = RowMix::default();
    let mut main = None;
    if let Some(text) = &fields.mix {
        match bundle.mix(text, "") {
            Ok(mix) => (found.classes, main) = (mix.classes().to_vec(), Some(mix.main_class())),
            Err(error) => wrong("mix", error.to_string()),
        }
    }
    if let Some(text) = &fields.avoid {
        match bundle.avoid(text) {
            Ok(avoid) => found.avoid = avoid,
            Err(error) => wrong("avoid", error.to_string()),
        }
    }
    (found, main)
}

fn curve(setting: &Setting) -> Result<Curve> {
    match setting {
        Setting::Number(value) => Curve::new(&[(0, *value as f32)]),
        Setting::Curve(text) => text.parse(),
    }
}

fn levels(field: Option<&LevelField>, bundle: &Bundle) -> Result<Vec<Level>> {
    let ladder = bundle.ladder();
    Ok(match field {
        None => ladder.levels().last().copied().into_iter().collect(),
        Some(LevelField::All(_)) => ladder.levels().to_vec(),
        Some(LevelField::One(size)) => vec![ladder.level_or_error(*size)?],
        Some(LevelField::List(sizes)) => {
            let mut levels = sizes.iter().map(|&size| ladder.level_or_error(size)).collect::<Result<Vec<_>>>()?;
            levels.sort_unstable_by_key(|level| level.size);
            if let Some(pair) = levels.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Error::Invalid(format!("the level of {} px is listed twice", pair[0].size)));
            }
            if levels.is_empty() {
                return Err(Error::Invalid(format!("no level is listed; the levels are {} px", ladder.sizes())));
            }
            levels
        }
    })
}

fn start(
    fields: &RowFields,
    bundle: &Bundle,
    files: &mut Files,
    hash: &mut Identity,
    wrong: &mut impl FnMut(&str, String),
) -> (Start, Option<u32>, Option<Mix>) {
    match (&fields.vary, &fields.redetail) {
        (None, None) => hash.text("empty"),
        (Some(_), Some(_)) => {
            wrong("vary", "a row cannot have both `vary` and `redetail`; leave one of them out".into());
        }
        (Some(vary), None) => match files.vary(vary, bundle) {
            Ok((start, class, mix)) => {
                hash.text("tokens");
                if let Start::Tokens(tokens) = &start {
                    hash.number(tokens.len() as u64);
                    tokens.iter().for_each(|&token| hash.number(u64::from(token)));
                }
                return (start, class, mix);
            }
            Err(error) => wrong("vary", error.to_string()),
        },
        (None, Some(redetail)) => match files.redetail(redetail, bundle) {
            Ok((start, content)) => {
                hash.text("picture");
                hash.bytes(&content);
                hash.number(u64::from(redetail.keep));
                return (start, None, None);
            }
            Err(error) => wrong("redetail", error.to_string()),
        },
    }
    (Start::Empty, None, None)
}

/// Checks a selection, finds its reference picture and hashes that.
pub(super) fn resolve_select(
    select: &SelectSettings,
    files: &Files,
    wrong: &mut impl FnMut(&str, String),
) -> (SelectSettings, Option<[u8; 32]>) {
    let mut select = select.clone();
    let mut hash = None;
    for (field, text) in select.faults() {
        wrong(&format!("select.{field}"), text);
    }
    if let Some(like) = &select.like {
        match files.picture(like) {
            Ok((path, content)) => {
                select.like = Some(path);
                hash = Some(content);
            }
            Err(error) => wrong("select.like", error.to_string()),
        }
    }
    (select, hash)
}

/// Puts a selection into a hash: of the reference picture its content, not its place.
fn hash_select(hash: &mut Identity, select: Option<&(SelectSettings, Option<[u8; 32]>)>) {
    let Some((select, content)) = select else { return hash.text("all") };
    let without = SelectSettings { like: None, ..select.clone() };
    hash.text(&serde_json::to_string(&without).unwrap_or_default());
    hash.bytes(content.as_ref().map_or(&[][..], |content| content));
}
