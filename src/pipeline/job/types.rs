//! A job file as serde reads it and the JSON Schema describes it. The comments here are the descriptions of the schema.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pipeline::select::SelectSettings;
use crate::pipeline::settings::{Atlas, FinishFields, Output, Page};
use crate::pipeline::table::table;

/// A job of `dflow batch`: pictures to generate, how to select among them, and the files to write. In TOML. A JSON Lines file has
/// a row on each line instead, an object like one of `row`; a CSV file has a row on each line and these columns: class, count,
/// seed, guidance, temperature, top_k, top_p, level, output, tags, mix, avoid.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "dflow batch job")]
pub struct JobFile {
    /// How pictures become files.
    pub output: Output,
    /// Texture atlases of all pictures that are kept. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atlas: Option<Atlas>,
    /// Which candidates of a row and class are kept. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<SelectSettings>,
    /// The page OUT/index.html: its settings, or false for no page. Default: a page.
    pub page: PageChoice,
    /// How pictures are finished into pixel art, or false for pictures as they are decoded. Default: as the bundle says.
    pub finish: FinishChoice,
    /// What rows have unless they say otherwise.
    pub defaults: RowFields,
    /// The rows. Pictures are numbered by row, class and seed.
    pub row: Vec<RowFields>,
}

/// Settings of the page, or whether there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be true, false, or a table that may have `title`")]
pub enum PageChoice {
    /// Whether there is a page.
    On(bool),
    /// Settings of the page.
    With(Page),
}

impl Default for PageChoice {
    fn default() -> Self {
        Self::On(true)
    }
}

/// Settings of finishing, or whether that of the bundle is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be true, false, or a table of settings")]
pub enum FinishChoice {
    /// Whether pictures are finished as the bundle says.
    On(bool),
    /// Settings that replace those of the bundle.
    With(FinishFields),
}

impl Default for FinishChoice {
    fn default() -> Self {
        Self::On(true)
    }
}

/// A row: pictures that have their settings in common.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RowFields {
    /// A class by name or index, a list of these, or "all". With `vary` the default is the class or mix of the token file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<Classes>,
    /// Pictures of each class. Default: as many as `seed` lists, or 1.
    #[schemars(range(min = 1, max = 1_099_511_627_776_u64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The first seed, and `count` seeds follow; or a range such as "100-199", both ends included; or a list. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedField>,
    /// Guidance scale, 0 to 1000, 1 is off: a number, or a curve of VALUE@TOKEN points such as "1.0@8,3.0@64". Default: that of
    /// the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<Setting>,
    /// Whether guidance falls linearly over the groups of tokens. Default: as the bundle says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradual: Option<bool>,
    /// Temperature, at least 0, 0 takes the most likely token: a number or a curve. Default: that of the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Setting>,
    /// Only the K most likely tokens are sampled, 0 is off: a number or a curve. Default: that of the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<Setting>,
    /// Only the most likely tokens up to this total probability are sampled, above 0, 1 is off: a number or a curve. Default:
    /// that of the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Setting>,
    /// The levels that are written, in pixels per side: one, a list, or "all". Default: the finest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelField>,
    /// Begin with the coarse tokens of a token file, and vary the rest.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "table")]
    pub vary: Option<Vary>,
    /// Begin with the coarse structure of a picture file, and generate new detail.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "table")]
    pub redetail: Option<Redetail>,
    /// Selection in this row, instead of that of the job.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "table")]
    pub select: Option<SelectSettings>,
    /// Name pattern of the files of this row, as `name` of `output`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Words for filters, the page and file names.
    #[schemars(length(max = 64), inner(length(min = 1, max = 100)))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Several classes in one picture, instead of `class`, with their weights: "dragon:0.6,golem:0.4". A weight is 0 to 1000 and
    /// counts relative to the others, 1 if there is none; it may be a curve: "dragon:1@0,0@8,golem:0@0,1@8". File names have the
    /// class of the largest weight at the first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mix: Option<String>,
    /// Classes to keep away from, with their strengths, 0 to 1000 or curves, 1 if there is none: "plant:0.5,undead". Default:
    /// none; with `vary`, in a row without `class` and `mix`, those of the token file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avoid: Option<String>,
}

/// A class by name or index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be a class name or an index")]
pub enum ClassName {
    /// Its index.
    Index(u32),
    /// Its name, or its index as text.
    Name(String),
}

/// Classes of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be a class name, an index, a list of these, or \"all\"")]
pub enum Classes {
    /// One, or "all".
    One(ClassName),
    /// These, each once.
    List(Vec<ClassName>),
}

/// Seeds of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "it must be a number from 0 to 18446744073709551615, a range such as \"100-199\", or a list"
)]
pub enum SeedField {
    /// The first.
    First(u64),
    /// A range `FIRST-LAST`, or a number as text.
    Text(#[schemars(regex(pattern = r"^\s*[0-9]+\s*(-\s*[0-9]+\s*)?$"))] String),
    /// These, each once.
    List(Vec<u64>),
}

/// A setting over the tokens of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be a number, or a curve such as \"1.0@8,3.0@64\"")]
pub enum Setting {
    /// The same at every token.
    Number(f64),
    /// A curve `VALUE@TOKEN,VALUE@TOKEN`, or a number as text.
    Curve(String),
}

/// Levels of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be a level in pixels per side, a list of levels, or \"all\"")]
pub enum LevelField {
    /// One.
    One(u32),
    /// These, each once.
    List(Vec<u32>),
    /// All levels.
    All(Every),
}

/// The word for all there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// All there are.
    All,
}

/// Tokens that pictures begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vary {
    /// Token file: .dft, .dftpack or JSON, relative to the job file.
    pub tokens: PathBuf,
    /// Which picture of the file: its name in a pack, or its index from 0. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryName>,
    /// Level whose tokens are kept, in pixels per side. Default: all tokens of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
}

/// A picture of a token file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "it must be the name of an entry or its index")]
pub enum EntryName {
    /// Its index from 0.
    Index(u32),
    /// Its name in a pack.
    Name(String),
}

/// A picture whose coarse structure is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redetail {
    /// Picture file, relative to the job file; the largest centred square is taken.
    pub image: PathBuf,
    /// Level that is kept, in pixels per side.
    pub keep: u32,
}

impl RowFields {
    /// These fields, and those of `defaults` where they have none. `vary` and `redetail` replace each other, as do `class`
    /// and `mix`, and a row that
    /// says its seeds one by one takes no count from elsewhere.
    pub(super) fn over(self, defaults: &Self) -> Self {
        let start = self.vary.is_some() || self.redetail.is_some();
        let listed = match &self.seed {
            Some(SeedField::List(_)) => true,
            Some(SeedField::Text(text)) => text.contains('-'),
            _ => false,
        };
        Self {
            class: if self.mix.is_some() { self.class.clone() } else { self.class.clone().or(defaults.class.clone()) },
            mix: if self.class.is_some() { self.mix } else { self.mix.or_else(|| defaults.mix.clone()) },
            avoid: self.avoid.or_else(|| defaults.avoid.clone()),
            count: if listed { self.count } else { self.count.or(defaults.count) },
            seed: self.seed.or_else(|| defaults.seed.clone()),
            guidance: self.guidance.or_else(|| defaults.guidance.clone()),
            gradual: self.gradual.or(defaults.gradual),
            temperature: self.temperature.or_else(|| defaults.temperature.clone()),
            top_k: self.top_k.or_else(|| defaults.top_k.clone()),
            top_p: self.top_p.or_else(|| defaults.top_p.clone()),
            level: self.level.or_else(|| defaults.level.clone()),
            vary: if start { self.vary } else { defaults.vary.clone() },
            redetail: if start { self.redetail } else { defaults.redetail.clone() },
            select: self.select.or_else(|| defaults.select.clone()),
            output: self.output.or_else(|| defaults.output.clone()),
            tags: self.tags.or_else(|| defaults.tags.clone()),
        }
    }
}

/// What a field of a job file may hold, for errors. `place` is its path: `class`, `output.scale`.
pub(super) fn allowed(place: &str) -> Option<&'static str> {
    const CURVE: &str = "a number, or a curve of VALUE@TOKEN points such as \"1.0@8,3.0@64\"";
    Some(match place {
        "class" => "a class name, an index, a list of these, or \"all\"",
        "mix" => "classes with their weights, such as \"dragon:0.6,golem:0.4\"",
        "avoid" => "classes with their strengths, such as \"plant:0.5,undead\"",
        "count" => "an integer from 1 on",
        "seed" => "a number from 0 to 18446744073709551615, a range such as \"100-199\", or a list of numbers",
        "guidance" | "temperature" | "top_k" | "top_p" => CURVE,
        "level" => "a level in pixels per side, a list of levels, or \"all\"",
        "vary" => "a table with `tokens`, and if wanted `entry` and `keep`",
        "redetail" => "a table with `image` and `keep`",
        "output" | "output.name" => "a name pattern such as \"{class}/{seed:06}.png\"",
        "tags" => "a list of words",
        "page" => "true, false, or a table that may have `title`",
        "row" => "[[row]] tables",
        "gradual" | "output.mips" | "atlas.power_of_two" => "true or false",
        "output.scale" => "an integer from 1 to 16",
        "atlas.size" => "an integer from 16 to 16384",
        "atlas.padding" | "atlas.extrude" => "an integer from 0 to 256",
        "atlas.level" => "a level in pixels per side",
        "atlas.pivot" => "two numbers, [x, y]",
        "atlas.nine_slice" => "four integers, [left, top, right, bottom]",
        "finish" => "true, false, or a table of settings",
        "finish.alpha_cut" => "an integer from 0 to 255",
        "finish.colors" => "0, or an integer from 2 to 256",
        "finish.palette" => "the path of a palette file, or a list of colours \"#rrggbb\"",
        "finish.outline" => "a colour \"#rrggbb\"",
        "finish.dither" | "finish.despeckle" | "finish.tile" => "true or false",
        "select.duplicates" => "an integer from 0 to 16",
        "select.best" => "an integer from 1 on",
        _ => return None,
    })
}
