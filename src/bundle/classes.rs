//! Classes by name or index.

use super::Bundle;
use crate::plan::{Curve, Mix};
use crate::support::error::{Error, Result};

/// Stands for no class in the text of a mix.
const NO_CLASS: &str = "none";

impl Bundle {
    /// The index of the class `text`: a class name (exact, or else ignoring ASCII case), or an index in decimal.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such class; the message lists the most similar names.
    pub fn class(&self, text: &str) -> Result<u32> {
        if let Some(at) = self.classes.iter().position(|name| name == text) {
            return Ok(at as u32);
        }
        if let Ok(index) = text.parse::<u32>() {
            self.check_class(index)?;
            return Ok(index);
        }
        if let Some(at) = self.classes.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(at as u32);
        }
        let name = &self.name;
        Err(Error::Invalid(if self.classes.is_empty() {
            format!("no class \"{text}\": {name} names no classes")
        } else {
            format!("no class \"{text}\" in {name}: did you mean {}?", nearest(&self.classes, text).join(", "))
        }))
    }

    /// Reads classes with their weights, `dragon:0.6,golem:0.4`, and those to avoid with their strengths, `plant:0.5`; empty for
    /// none to avoid. Without a number it is 1. A number may be a [`Curve`], `dragon:1@0,0@8,golem:0@0,1@8`.
    /// Classes are named as [`class`](Self::class) takes them, one with a comma in its name by its index. `none` is no class; a
    /// class of that name goes by its index, and by its name where it is all of `classes`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such class or a number is wrong, and those of [`Mix::new`].
    pub fn mix(&self, classes: &str, avoid: &str) -> Result<Mix> {
        let alone = classes == NO_CLASS && self.class(classes).is_ok();
        let index = |text: &str| if text == NO_CLASS && !alone { Ok(Mix::NO_CLASS) } else { self.class(text) };
        Mix::parse(classes, avoid, &index, &|class| self.class_name(class).unwrap_or_else(|| format!("class {class}")))
    }

    /// Reads classes to avoid with their strengths, as [`mix`](Self::mix) does.
    ///
    /// # Errors
    /// Those of [`mix`](Self::mix).
    pub fn avoid(&self, text: &str) -> Result<Vec<(u32, Curve)>> {
        // Of whatever class: they can be those of any mix.
        Ok(self.mix("0", text)?.into_avoid())
    }

    /// The classes of a mix and those that it avoids as [`mix`](Self::mix) reads them; the second text is empty if it avoids none.
    #[must_use]
    pub fn mix_text(&self, mix: &Mix) -> (String, String) {
        let name = |class: u32| match self.class_name(class) {
            Some(name)
                if !name.contains([',', ':', '@']) && name.trim() == name && !name.is_empty() && name != NO_CLASS =>
            {
                name
            }
            _ => class.to_string(),
        };
        (mix.classes_text(&name), mix.avoid_text(&name))
    }

    /// The names of the classes of a mix and of those that it avoids: `dragon+golem`, `dragon+golem-plant`.
    #[must_use]
    pub fn mix_name(&self, mix: &Mix) -> String {
        let name = |class: u32| self.class_name(class).unwrap_or_else(|| class.to_string());
        let classes = mix.classes().iter().filter(|(class, _)| *class != Mix::NO_CLASS);
        let mut names = classes.map(|&(class, _)| name(class)).collect::<Vec<_>>().join("+");
        for &(class, _) in mix.avoid() {
            names.push('-');
            names += &name(class);
        }
        names
    }

    /// Checks that every class of a mix exists.
    pub(crate) fn check_mix(&self, mix: &Mix) -> Result<()> {
        let classes = mix.classes().iter().chain(mix.avoid()).map(|&(class, _)| class);
        classes.filter(|&class| class != Mix::NO_CLASS).try_for_each(|class| self.check_class(class))
    }

    fn class_name(&self, class: u32) -> Option<String> {
        self.classes.get(class as usize).cloned()
    }

    pub(crate) fn check_class(&self, index: u32) -> Result<()> {
        if (index as usize) < self.classes.len() {
            return Ok(());
        }
        let allowed = match self.classes.len().checked_sub(1) {
            None => "names no classes".to_owned(),
            Some(last) => format!("has classes 0 to {last}"),
        };
        Err(Error::Invalid(format!("class {index} is out of range: {} {allowed}", self.name)))
    }
}

/// Up to three class names that are most similar to `text`.
fn nearest<'a>(classes: &'a [String], text: &str) -> Vec<&'a str> {
    let wanted = text.to_lowercase();
    let distance = |name: &str| {
        let name = name.to_lowercase();
        // A name that contains the text, or the other way round, is close whatever its length: "heron" and "little blue
        // heron".
        if name.contains(&wanted) || wanted.contains(&name) { 0 } else { edit_distance(&name, &wanted) }
    };
    let mut names: Vec<(usize, &str)> = classes.iter().map(|name| (distance(name), name.as_str())).collect();
    names.sort_by_key(|&(distance, _)| distance);
    names.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The Levenshtein distance between two words.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn mix_texts_tell_no_class_from_a_class_called_none() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small");
        let mut bundle = Bundle::open(path).unwrap();
        bundle.classes = ["dragon", "none", "plant"].map(str::to_owned).into();
        let one = || 1.0.into();
        for (classes, avoid) in [
            (vec![(0, one()), (Mix::NO_CLASS, one())], vec![(1, one())]),
            (vec![(0, one()), (1, one())], vec![]),
            (vec![(1, one())], vec![(2, one())]),
        ] {
            let mix = Mix::new(&classes, &avoid).unwrap();
            let (classes, avoid) = bundle.mix_text(&mix);
            assert_eq!(bundle.mix(&classes, &avoid).unwrap(), mix, "{classes} {avoid}");
        }
        assert_eq!(
            bundle.mix("none", "2").unwrap().classes(),
            [(1, one())],
            "the class of a picture, and what it avoids"
        );
    }

    #[test]
    fn edit_distance_counts_insertions_deletions_and_replacements() {
        assert_eq!(edit_distance("potion", "potoin"), 2);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("wall", "wall"), 0);
    }
}
