//! Several classes in one picture, and classes to keep away from, combined in guidance.
//!
//! With u the unconditional logits, m the mean of those of the classes (weights normalised at each token), n the mean of those
//! of the classes to avoid (weighted by their strengths), a the sum of these strengths and s the guidance scale, a token is
//! sampled from
//!
//! `u + (m - u) * s - (n - u) * (s * a)`, and with s = 1 from `m - (n - u) * a`.
//!
//! That is `u + s (m - u) - s * sum of a_j (n_j - u)`: each class to avoid pushes by its own strength. Means are summed in the
//! order of class indices, so that the order in which classes are named does not matter.

use std::fmt::Write;

use super::{Curve, Guidance};
use crate::support::error::{Error, Result};

/// The largest weight or strength.
const LARGEST: f32 = 1000.0;
/// The least one that is not 0: between such points and 0 no token's value rounds to 0.
const LEAST: f32 = 1e-30;

/// Classes of a picture with their weights, and classes to avoid with their strengths.
///
/// A weight or strength is a [`Curve`] over the tokens: the first tokens decide the outline, later ones the detail. It counts
/// relative to the other weights at the same token. One of 0 leaves its class out: the tokens are those of the mix without it.
/// A mix of one class with nothing to avoid is that class, bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// By class index; [`Mix::NO_CLASS`] comes last.
    classes: Vec<(u32, Curve)>,
    /// By class index.
    avoid: Vec<(u32, Curve)>,
}

/// No value is NaN: [`Mix::new`] refuses it.
impl Eq for Mix {}

impl Mix {
    /// Stands for no class, the unconditional logits. As part of a mix it weakens the others; to avoid it changes nothing.
    pub const NO_CLASS: u32 = u32::MAX;
    /// The largest number of classes of a mix, and of those to avoid.
    pub const MOST_CLASSES: usize = 16;

    /// A mix of `classes`, with their weights, that keeps away from those of `avoid`, with their strengths: 0.25 to 0.5
    /// is usual, and more may leave what the model has learned. Their order does not matter.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no class or more than 16, or more than 16 to avoid; when one is listed twice; when a
    /// weight or strength is NaN, not 0 to 1000, or less than 1e-30 but not 0; when all weights are 0 at some token, or only [`Mix::NO_CLASS`] has one.
    pub fn new(classes: &[(u32, Curve)], avoid: &[(u32, Curve)]) -> Result<Self> {
        Self::named(classes, avoid, &|class| format!("class {class}"))
    }

    /// As [`new`](Self::new), with errors that call classes by `name`.
    pub(crate) fn named(
        classes: &[(u32, Curve)],
        avoid: &[(u32, Curve)],
        name: &dyn Fn(u32) -> String,
    ) -> Result<Self> {
        let name = |class| if class == Self::NO_CLASS { "no class".to_owned() } else { name(class) };
        let classes = listed(classes, "weight", &name)?;
        let mut avoid = listed(avoid, "strength", &name)?;
        avoid.retain(|&(class, _)| class != Self::NO_CLASS);
        let mix = Self { classes, avoid };
        // The sum of curves that are at least 0 can only be 0 at one of their points or beyond them.
        let points = mix.classes.iter().flat_map(|(_, weight)| weight.points()).map(|&(token, _)| token);
        for token in std::iter::once(0).chain(points) {
            if mix.classes.iter().all(|(_, weight)| weight.at(token as usize) == 0.0) {
                return Err(Error::Invalid(format!("mix: the weights of all classes are 0 at token {token}")));
            }
        }
        if mix.classes.iter().all(|&(class, _)| class == Self::NO_CLASS) {
            return Err(Error::Invalid("mix: no class alone is no mix; at least one class is needed".into()));
        }
        Ok(mix)
    }

    /// Reads `dragon:0.6,golem:0.4`: classes with their weights, separated by commas; one without a weight has 1. A weight may
    /// be a curve, `dragon:1@0,0@8,golem:0@0,1@8`. `avoid` are the classes to avoid with their strengths, in the same way;
    /// empty for none. `index` finds a class by its name, `name` the name of a class.
    pub(crate) fn parse(
        classes: &str,
        avoid: &str,
        index: &dyn Fn(&str) -> Result<u32>,
        name: &dyn Fn(u32) -> String,
    ) -> Result<Self> {
        let avoid = if avoid.trim().is_empty() { Vec::new() } else { list(avoid, index)? };
        Self::named(&list(classes, index)?, &avoid, name)
    }

    /// The classes by index, with their weights; without those whose weight is 0 at every token.
    #[must_use]
    pub fn classes(&self) -> &[(u32, Curve)] {
        &self.classes
    }

    /// The classes to avoid by index, with their strengths; without those whose strength is 0 at every token.
    #[must_use]
    pub fn avoid(&self) -> &[(u32, Curve)] {
        &self.avoid
    }

    /// The classes to avoid.
    pub(crate) fn into_avoid(self) -> Vec<(u32, Curve)> {
        self.avoid
    }

    /// The class of the largest weight at the first token; among equals the one with the lowest index.
    #[must_use]
    pub fn main_class(&self) -> u32 {
        let mut main: Option<(u32, f32)> = None;
        for (class, weight) in self.classes.iter().filter(|&&(class, _)| class != Self::NO_CLASS) {
            let weight = weight.at(0);
            if main.is_none_or(|(_, most)| weight > most) {
                main = Some((*class, weight));
            }
        }
        main.map_or(0, |(class, _)| class)
    }

    /// The class that it is, if it is one class with nothing to avoid.
    #[must_use]
    pub fn as_class(&self) -> Option<u32> {
        match &self.classes[..] {
            &[(class, _)] if self.avoid.is_empty() => Some(class),
            _ => None,
        }
    }

    /// The classes as [`parse`](Self::parse) reads them.
    pub(crate) fn classes_text(&self, name: &dyn Fn(u32) -> String) -> String {
        text(&self.classes, name)
    }

    /// The classes to avoid as [`parse`](Self::parse) reads them; empty if there are none.
    pub(crate) fn avoid_text(&self, name: &dyn Fn(u32) -> String) -> String {
        text(&self.avoid, name)
    }

    /// The mix as text with indices of classes, `3:0.6,7:0.4;5:1`: the classes, then those to avoid if there are any.
    pub(crate) fn to_text(&self) -> String {
        let index = |class: u32| class.to_string();
        let (classes, avoid) = (self.classes_text(&index), self.avoid_text(&index));
        if avoid.is_empty() { classes } else { format!("{classes};{avoid}") }
    }

    /// Reads what [`to_text`](Self::to_text) gives.
    pub(crate) fn from_text(text: &str) -> Result<Self> {
        let (classes, avoid) = text.split_once(';').unwrap_or((text, ""));
        let index = |text: &str| match text.parse::<u32>() {
            Ok(class) if class != Self::NO_CLASS => Ok(class),
            _ if text == "none" => Ok(Self::NO_CLASS),
            _ => Err(Error::Invalid(format!("mix: \"{text}\" is not the index of a class"))),
        };
        Self::parse(classes, avoid, &index, &|class| format!("class {class}"))
    }

    /// What the token with index `token` and later ones need the logits of: classes by index, then `None` for the unconditional
    /// ones. Without `guidance` only what [`mean_at`](Self::mean_at) needs.
    pub(crate) fn needs(&self, token: usize, guidance: Option<&Guidance>) -> Vec<Option<u32>> {
        let used = |list: &[(u32, Curve)]| {
            let used = list.iter().filter(|(_, weight)| !weight.stays(token, 0.0));
            used.map(|&(class, _)| class).collect::<Vec<_>>()
        };
        let mut needs = used(&self.classes);
        if let Some(guidance) = guidance {
            let avoid = used(&self.avoid);
            if guidance.is_on_from(token) || !avoid.is_empty() {
                needs.push(Self::NO_CLASS);
            }
            needs.extend(avoid);
        }
        needs.sort_unstable();
        needs.dedup();
        needs.into_iter().map(|class| (class != Self::NO_CLASS).then_some(class)).collect()
    }

    /// The classes of the token with index `token`, by index, with weights whose sum is 1.
    pub(crate) fn mean_at(&self, token: usize) -> Vec<(Option<u32>, f32)> {
        weights(&self.classes, token).0
    }

    /// The classes to avoid at the token with index `token`, by index, with weights whose sum is 1; and the sum of their
    /// strengths, 0 if there are none.
    pub(crate) fn avoid_at(&self, token: usize) -> (Vec<(Option<u32>, f32)>, f32) {
        weights(&self.avoid, token)
    }
}

/// Checks a list of classes, and sorts it; without those of weight 0.
fn listed(list: &[(u32, Curve)], what: &str, name: &dyn Fn(u32) -> String) -> Result<Vec<(u32, Curve)>> {
    const MOST: usize = Mix::MOST_CLASSES;
    if list.len() > MOST {
        let what = if what == "weight" { "classes" } else { "classes to avoid" };
        return Err(Error::Invalid(format!("mix: {} {what} are too many: up to {MOST} are allowed", list.len())));
    }
    if list.is_empty() && what == "weight" {
        return Err(Error::Invalid("mix: there is no class; at least one is needed".into()));
    }
    for (class, weight) in list {
        let what = format!("mix: the {what} of {}:", name(*class));
        let fits = |weight| weight == 0.0 || (LEAST..=LARGEST).contains(&weight);
        weight.check(fits, &what, &format!("0 to {LARGEST} (0 or at least {LEAST:e})")).map_err(Error::Invalid)?;
    }
    let mut sorted = list.to_vec();
    sorted.sort_by_key(|&(class, _)| class);
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::Invalid(format!("mix: {} is listed twice", name(pair[0].0))));
    }
    sorted.retain(|(_, weight)| weight.constant() != Some(0.0));
    if sorted.is_empty() && what == "weight" {
        return Err(Error::Invalid("mix: the weights of all classes are 0".into()));
    }
    Ok(sorted)
}

/// The classes that count at a token, with weights whose sum is 1, and the sum that they had.
fn weights(list: &[(u32, Curve)], token: usize) -> (Vec<(Option<u32>, f32)>, f32) {
    let mut found: Vec<(Option<u32>, f32)> = Vec::with_capacity(list.len());
    let mut sum = 0.0;
    for (class, weight) in list {
        let weight = weight.at(token);
        if weight > 0.0 {
            found.push(((*class != Mix::NO_CLASS).then_some(*class), weight));
            sum += f64::from(weight);
        }
    }
    for (_, weight) in &mut found {
        *weight = (f64::from(*weight) / sum) as f32;
    }
    (found, sum as f32)
}

fn list(text: &str, index: &dyn Fn(&str) -> Result<u32>) -> Result<Vec<(u32, Curve)>> {
    // One class alone may have a name with commas.
    if let Ok(class) = index(text) {
        return Ok(vec![(class, 1.0.into())]);
    }
    let mut found: Vec<(u32, String)> = Vec::new();
    for part in text.split(',').map(str::trim) {
        if part.is_empty() {
            return Err(Error::Invalid(format!("mix: \"{text}\" has an empty place between its commas")));
        }
        if let Some((_, weight)) = found.last_mut()
            && weight.contains('@')
            && is_point(part)
        {
            *weight += ",";
            *weight += part;
            continue;
        }
        found.push(match (index(part), part.rsplit_once(':')) {
            (Ok(class), _) => (class, "1".to_owned()),
            (Err(_), Some((name, weight))) => (index(name.trim())?, weight.trim().to_owned()),
            (Err(error), None) => return Err(error),
        });
    }
    let read = |(class, weight): (u32, String)| Ok((class, weight.parse::<Curve>()?));
    found.into_iter().map(read).collect()
}

/// Whether it is a point of a curve, VALUE@TOKEN.
fn is_point(text: &str) -> bool {
    let point = text.split_once('@');
    point.is_some_and(|(value, token)| value.trim().parse::<f32>().is_ok() && token.trim().parse::<u32>().is_ok())
}

fn text(list: &[(u32, Curve)], name: &dyn Fn(u32) -> String) -> String {
    let mut text = String::new();
    for (class, weight) in list {
        let name = if *class == Mix::NO_CLASS { "none".to_owned() } else { name(*class) };
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}:{weight}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(text: &str) -> Result<u32> {
        if text == "none" {
            return Ok(Mix::NO_CLASS);
        }
        let named = ["plant", "dragon", "golem", "a, b"].iter().position(|name| *name == text);
        named.map(|at| at as u32).ok_or_else(|| Error::Invalid(format!("no class \"{text}\"")))
    }

    fn parse(classes: &str, avoid: &str) -> Result<Mix> {
        Mix::parse(classes, avoid, &index, &|class| class.to_string())
    }

    #[test]
    fn mix_reads_classes_weights_and_curves() {
        let mix = parse("golem:0.4, dragon:0.6", "plant").unwrap();
        assert_eq!(mix.classes(), [(1, 0.6.into()), (2, 0.4.into())]);
        assert_eq!(mix.avoid(), [(0, 1.0.into())]);
        assert_eq!((mix.main_class(), mix.as_class()), (1, None));
        let name = |class: u32| ["plant", "dragon", "golem"][class as usize].to_owned();
        assert_eq!(mix.classes_text(&name), "dragon:0.6,golem:0.4");
        assert_eq!(mix.avoid_text(&name), "plant:1");
        let outline = parse("dragon:1@0,0@8,golem:0@0, 1@8", "").unwrap();
        assert_eq!(outline.classes_text(&name), "dragon:1@0,0@8,golem:0@0,1@8");
        assert_eq!(parse(&outline.classes_text(&name), &outline.avoid_text(&name)).unwrap(), outline);
        assert_eq!(parse("a, b", "").unwrap().as_class(), Some(3), "the name of one class");
        assert_eq!(outline.to_text(), "1:1@0,0@8,2:0@0,1@8");
        for mix in [outline, mix, parse("none:0.1,golem", "dragon:1@0,0@4,plant:0.5").unwrap()] {
            assert_eq!(Mix::from_text(&mix.to_text()).unwrap(), mix);
        }
        assert!(
            Mix::from_text("1:1;").is_ok() && Mix::from_text("4294967295").is_err() && Mix::from_text("x").is_err()
        );
        assert_eq!(parse("dragon,golem", "").unwrap(), parse("golem:1,dragon:1", "").unwrap());
    }

    #[test]
    fn mix_without_parts_of_weight_0_is_the_rest() {
        assert_eq!(parse("dragon:0.25,golem:0", "plant:0").unwrap().as_class(), Some(1));
        assert_eq!(parse("dragon", "none:3").unwrap().as_class(), Some(1), "to avoid no class changes nothing");
        assert_eq!(parse("dragon,golem:0@0,0@9", "").unwrap().as_class(), Some(1));
        assert_eq!(parse("dragon,none", "").unwrap().as_class(), None);
    }

    #[test]
    fn mix_refuses_what_has_no_meaning() {
        for (classes, avoid, word) in [
            ("", "", "empty place"),
            ("dragon,,golem", "", "empty place"),
            ("drake", "", "no class \"drake\""),
            ("drake:0.5,golem", "", "no class \"drake\""),
            ("dragon", "drake", "no class \"drake\""),
            ("dragon:x", "", "curve: \"x\""),
            ("dragon:nan", "", "not a finite number"),
            ("dragon:-1,golem", "", "the weight of 1: -1 is not 0 to 1000"),
            ("dragon:1001", "", "the weight of 1: 1001 is not 0 to 1000"),
            ("dragon", "golem:-0.5", "the strength of 2: -0.5 is not 0 to 1000"),
            ("dragon:0,golem:0", "", "all classes are 0"),
            ("dragon:1e-31", "", "is not 0 to 1000 (0 or at least 1e-30)"),
            // At token 6 both would round to 0.
            ("plant:1e-45@0,0@10,dragon:0@2,1e-45@12", "", "0 or at least 1e-30"),
            ("dragon:1@0,0@8", "", "0 at token 8"),
            ("dragon:1@0,0@8,golem:0@9,1@12", "", "0 at token 8"),
            ("dragon,golem,dragon", "", "1 is listed twice"),
            ("dragon", "plant,plant", "0 is listed twice"),
            ("none", "", "no class alone"),
        ] {
            let error = parse(classes, avoid).unwrap_err().to_string();
            assert!(error.contains(word), "{classes} {avoid}: {error}");
        }
        let many: Vec<(u32, Curve)> = (0..17).map(|class| (class, 1.0.into())).collect();
        assert!(Mix::new(&many, &[]).unwrap_err().to_string().contains("17 classes are too many"));
        assert!(Mix::new(&many[..1], &many).unwrap_err().to_string().contains("17 classes to avoid"));
        assert!(Mix::new(&many[..16], &many[..16]).is_ok());
        assert!(Mix::new(&[], &[]).is_err() && Mix::new(&[(1, f32::NAN.into())], &[]).is_err());
    }

    #[test]
    fn weights_are_normalised_and_follow_their_curves() {
        let mix = parse("dragon:1@0,0@8,golem:0@0,3@8,none:1", "plant:0@4,2@6,golem:0.5").unwrap();
        assert_eq!(mix.mean_at(0), [(Some(1), 0.5), (None, 0.5)]);
        assert_eq!(mix.mean_at(8), [(Some(2), 0.75), (None, 0.25)]);
        assert_eq!(mix.avoid_at(0), (vec![(Some(2), 1.0)], 0.5));
        assert_eq!(mix.avoid_at(6), (vec![(Some(0), 0.8), (Some(2), 0.2)], 2.5));
        let faint = parse("dragon:1e-30@0,0@65535,golem:0@0,1e-30@65535", "").unwrap();
        assert!((0..=65535).all(|token| !faint.mean_at(token).is_empty()));
        let equal = parse("dragon:1e-30,golem:1e-30", "").unwrap().mean_at(3);
        assert_eq!(equal, [(Some(1), 0.5), (Some(2), 0.5)]);
    }

    #[test]
    fn needs_end_where_weights_stay_0() {
        let mix = parse("dragon:1@0,0@8,golem:0@0,1@8", "plant:1@0,0@12").unwrap();
        let guided = Guidance { scale: "2@0,1@16".parse().unwrap(), gradual: false };
        assert_eq!(mix.needs(0, Some(&guided)), [Some(0), Some(1), Some(2), None]);
        assert_eq!(mix.needs(8, Some(&guided)), [Some(0), Some(2), None]);
        assert_eq!(mix.needs(12, Some(&guided)), [Some(2), None]);
        assert_eq!(mix.needs(16, Some(&guided)), [Some(2)]);
        let off = Guidance::constant(1.0);
        assert_eq!(mix.needs(0, Some(&off)), [Some(0), Some(1), Some(2), None], "to avoid needs the unconditional row");
        assert_eq!(mix.needs(12, Some(&off)), [Some(2)]);
        assert_eq!(mix.needs(0, None), [Some(1), Some(2)], "to score");
    }
}
