//! What is selected: the table `select` of a job file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::table::table;
use crate::support::error::{Error, Result};

/// The largest distance of hashes at which pictures can be called duplicates. Unrelated pictures of one class differ in
/// about 20 of 64 bits.
pub const LARGEST_DISTANCE: u32 = 16;

/// Which candidates of a group are kept. A group is the pictures of one row and class. Candidates are rejected by their
/// alpha first, then as duplicates, and the best are chosen among the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SelectSettings {
    /// Drop a picture whose perceptual hash differs from that of an earlier one of its group in at most this many of 64 bits,
    /// 0 to 16, or whose tokens are the same. Absent: duplicates are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 16))]
    pub duplicates: Option<u32>,
    /// Keep only this many of each group, at least 1. Absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub best: Option<u32>,
    /// What makes a picture one of the best.
    pub by: SelectBy,
    /// The picture file that `by = "likeness"` compares with, relative to the job file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub like: Option<PathBuf>,
    /// Reject pictures that are empty, full, or of one colour. Absent: none is rejected.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "table")]
    pub alpha: Option<AlphaLimits>,
}

/// What makes a picture one of the best.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SelectBy {
    /// The mean log-probability of its tokens: how typical it is of its class.
    #[default]
    LogProbability,
    /// Similarity to the picture of `like`.
    Likeness,
}

/// Which pictures are rejected by their alpha. The share applies only to models that have alpha; a picture of one colour is
/// always rejected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlphaLimits {
    /// The least share of pixels that are opaque (an alpha of at least one half), 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min: f32,
    /// The largest share of opaque pixels, 0 to 1, not less than `min`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max: f32,
    /// Also reject a picture with opaque pixels at each of its four edges: most likely the object is cut off.
    pub edges: bool,
}

impl Default for AlphaLimits {
    fn default() -> Self {
        Self { min: 0.0, max: 1.0, edges: false }
    }
}

impl SelectSettings {
    /// Whether these settings keep every picture.
    #[must_use]
    pub fn keeps_all(&self) -> bool {
        self.duplicates.is_none() && self.best.is_none() && self.alpha.is_none()
    }

    /// Whether candidates need the mean log-probability of their tokens.
    #[must_use]
    pub fn needs_log_probability(&self) -> bool {
        self.best.is_some() && self.by == SelectBy::LogProbability
    }

    /// Checks the values; [`Selector::new`](super::Selector::new) does so as well. The file of `like` is not read.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the message begins with the field.
    pub fn check(&self) -> Result<()> {
        match self.faults().first() {
            Some((field, text)) => Err(Error::Invalid(format!("{field}: {text}"))),
            None => Ok(()),
        }
    }

    /// The fields that are not allowed, and why.
    pub(in crate::pipeline) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Some(distance) = self.duplicates
            && distance > LARGEST_DISTANCE
        {
            faults.push(("duplicates", format!("{distance} is out of range; allowed are 0 to {LARGEST_DISTANCE}")));
        }
        if self.best == Some(0) {
            faults.push(("best", "0 is out of range; allowed is an integer from 1 on".to_owned()));
        }
        if self.best.is_none() && self.by != SelectBy::default() {
            faults.push(("by", "it needs `best`, the number of pictures to keep".to_owned()));
        }
        match (self.by, &self.like) {
            (SelectBy::Likeness, None) => {
                faults.push(("by", "likeness needs a reference picture; set `like` to a picture file".to_owned()));
            }
            (SelectBy::LogProbability, Some(_)) => {
                faults.push(("like", "only by = \"likeness\" compares with a picture".to_owned()));
            }
            _ => {}
        }
        if let Some(AlphaLimits { min, max, .. }) = self.alpha
            && !(min >= 0.0 && min <= max && max <= 1.0)
        {
            faults.push(("alpha", format!("{min} to {max} is not a range; allowed is 0 <= min <= max <= 1")));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<SelectSettings, String> {
        let settings: SelectSettings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn settings_are_read_and_written_as_toml() {
        let text =
            "duplicates = 4\nbest = 10\nby = \"likeness\"\nlike = \"ref.png\"\nalpha = { min = 0.05, edges = true }";
        let settings = read(text).unwrap();
        assert_eq!(settings.alpha, Some(AlphaLimits { min: 0.05, max: 1.0, edges: true }));
        assert_eq!(settings.by, SelectBy::Likeness);
        assert_eq!(read(&toml::to_string(&settings).unwrap()).unwrap(), settings);
        assert!(read("").unwrap().keeps_all());
        assert!(!read("alpha = {}").unwrap().keeps_all());
        assert!(read("best = 1").unwrap().needs_log_probability() && !settings.needs_log_probability());
    }

    #[test]
    fn check_names_the_field() {
        for (text, word) in [
            ("duplicates = 17", "duplicates: 17"),
            ("best = 0", "best: 0"),
            ("by = \"likeness\"\nlike = \"a.png\"", "by: it needs `best`"),
            ("best = 1\nby = \"likeness\"", "by: likeness needs a reference picture"),
            ("best = 1\nlike = \"a.png\"", "like: "),
            ("alpha = { min = -0.1 }", "alpha: -0.1 to 1 is not a range"),
            ("alpha = { max = nan }", "alpha: 0 to NaN is not a range"),
            ("alpha = { min = 0.6, max = 0.5 }", "alpha: 0.6 to 0.5 is not a range"),
            ("soup = 1", "unknown field `soup`"),
            ("best = 1\nby = \"soup\"", "unknown variant `soup`"),
            ("alpha = { soup = 1 }", "unknown field `soup`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
