//! Checks the rows of a job one after another, as they are read, and keeps what a plan needs of them: about 200 bytes a row.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use super::problem::Problem;
use super::raw::{Lines, RawHead, RawRow, Sink, Wrong, line_of};
use super::resolve::{Resolved, Wrongs, resolve, resolve_select};
use super::seeds::{MOST_PICTURES, seeds};
use super::start::Files;
use super::types::{ClassName, Classes, PageChoice, RowFields};
use crate::bundle::Bundle;
use crate::pipeline::identity::{Identity, bundle_identity};
use crate::pipeline::pattern::Pattern;
use crate::pipeline::plan::{Row, RowMix};
use crate::pipeline::select::SelectSettings;
use crate::pipeline::settings::{Output, Settings};
use crate::support::error::Result;
use crate::support::hex::hex;

/// Rows times classes.
const MOST_GROUPS: u64 = 1 << 28;
const MOST_TAGS: usize = 64;
const LONGEST_TAG: usize = 100;
/// Names where a job says none: for rows of one level, and of several.
const NAMES: [&str; 2] = ["{class}/{seed:06}.png", "{class}/{seed:06}_{level}.png"];
/// The same for rows that mix or avoid classes: several of them can have one main class.
const MIX_NAMES: [&str; 2] = ["{class}-mix{row}/{seed:06}.png", "{class}-mix{row}/{seed:06}_{level}.png"];

/// The rows so far, and what rows share.
pub(super) struct Checker<'a> {
    bundle: &'a Bundle,
    file: Arc<Path>,
    files: Files,
    settings: Settings,
    /// Selection of the job, and the hash of its reference picture.
    select: Option<(SelectSettings, Option<[u8; 32]>)>,
    defaults: RowFields,
    /// Whether the class of rows that say none was wrong.
    no_class: bool,
    problems: Vec<Problem>,
    rows: Vec<Row>,
    read: u64,
    groups: u64,
    pictures: u64,
    /// The job is too large: nothing more is taken.
    full: bool,
    identity: Identity,
    resolved: HashMap<String, Result<Resolved, Wrongs>>,
    names: HashMap<String, u32>,
    classes: HashSet<Arc<[u32]>>,
    tags: HashSet<Arc<[String]>>,
    patterns: HashSet<Pattern>,
}

/// What is left when all rows were read.
#[derive(Debug)]
pub(super) struct CheckedRows {
    pub rows: Vec<Row>,
    pub settings: Settings,
    pub problems: Vec<Problem>,
    pub identity: String,
    pub read: u64,
}

impl<'a> Checker<'a> {
    pub fn new(file: &Path, folder: &Path, bundle: &'a Bundle) -> Self {
        Self {
            bundle,
            file: file.into(),
            files: Files::new(folder),
            settings: Settings { finish: bundle.finish().clone(), ..Settings::default() },
            select: None,
            defaults: RowFields::default(),
            no_class: false,
            problems: Vec::new(),
            rows: Vec::new(),
            read: 0,
            groups: 0,
            pictures: 0,
            full: false,
            identity: Identity::new("rows"),
            resolved: HashMap::new(),
            names: HashMap::new(),
            classes: HashSet::new(),
            tags: HashSet::new(),
            patterns: HashSet::new(),
        }
    }

    pub fn finish(mut self) -> CheckedRows {
        if self.read == 0 && self.problems.iter().all(|problem| problem.row.is_some()) {
            self.whole(0, "", "the job has no rows".into());
        }
        let mut identity = Identity::new("job 1");
        identity.text(&bundle_identity(self.bundle));
        // Names and selection are those of the rows.
        let output = Output { name: None, ..self.settings.output.clone() };
        let settings = serde_json::to_string(&(output, &self.settings.atlas, &self.settings.page));
        identity.text(&settings.unwrap_or_default());
        identity.number(self.rows.len() as u64);
        identity.bytes(&self.identity.finish());
        self.problems.sort_by_key(|problem| (problem.line, problem.row));
        CheckedRows {
            rows: self.rows,
            settings: self.settings,
            problems: self.problems,
            identity: hex(identity.finish()),
            read: self.read,
        }
    }

    /// Notes a problem of the whole job.
    fn whole(&mut self, line: u64, field: &str, text: String) {
        self.wrong(Wrong { line, row: None, field: field.to_owned().into(), text });
    }

    /// Checks what rows have unless they say otherwise. What is wrong is reported once, here.
    fn check_defaults(&mut self, lines: &Lines) {
        let mut fields = self.defaults.clone();
        let mut wrongs = Wrongs::new();
        if let Some(classes) = fields.class.take()
            && let Err(text) = self.classes(&classes)
        {
            self.no_class = true;
            self.defaults.class = None;
            wrongs.push(("class".into(), text));
        }
        if let Err((field, text)) = seeds(fields.seed.take().as_ref(), fields.count.take()) {
            (self.defaults.seed, self.defaults.count) = (None, None);
            wrongs.push((field.into(), text));
        }
        if let Some(name) = fields.output.take()
            && let Err(error) = self.pattern(&name)
        {
            self.defaults.output = None;
            wrongs.push(("output".into(), error.to_string()));
        }
        if let Some(tags) = fields.tags.take()
            && let Err(text) = self.tags(&tags)
        {
            self.defaults.tags = None;
            wrongs.push(("tags".into(), text));
        }
        if let Err(more) = self.resolve(&fields, false) {
            let RowFields { class, count, seed, output, tags, .. } = std::mem::take(&mut self.defaults);
            self.defaults = RowFields { class, count, seed, output, tags, ..RowFields::default() };
            wrongs.extend(more);
        }
        for (field, text) in wrongs {
            let place = format!("defaults.{}", field.split('.').next().unwrap_or_default());
            self.whole(line_of(lines, &place, 0), &format!("defaults.{field}"), text);
        }
    }

    /// The indices of classes, each once.
    fn classes(&mut self, classes: &Classes) -> Result<Arc<[u32]>, String> {
        let list = match classes {
            Classes::One(ClassName::Name(name))
                if name == "all" && !self.bundle.classes().iter().any(|class| class == "all") =>
            {
                (0..self.bundle.classes().len() as u32).collect()
            }
            Classes::One(name) => vec![self.class(name)?],
            Classes::List(names) => names.iter().map(|name| self.class(name)).collect::<Result<Vec<_>, _>>()?,
        };
        if list.is_empty() {
            return Err("no class is listed; allowed is at least one".to_owned());
        }
        let mut sorted = list.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("the class {} is listed twice", self.bundle.classes()[pair[0] as usize]));
        }
        Ok(intern(&mut self.classes, &list))
    }

    fn class(&mut self, name: &ClassName) -> Result<u32, String> {
        let text = match name {
            ClassName::Name(name) => name,
            ClassName::Index(index) => &index.to_string(),
        };
        if let Some(&index) = self.names.get(text) {
            return Ok(index);
        }
        let index = self.bundle.class(text).map_err(|error| error.to_string())?;
        self.names.insert(text.clone(), index);
        Ok(index)
    }

    fn pattern(&mut self, name: &str) -> Result<Pattern> {
        if let Some(pattern) = self.patterns.get(name) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::of_job(name)?;
        self.patterns.insert(pattern.clone());
        Ok(pattern)
    }

    fn tags(&mut self, tags: &[String]) -> Result<Arc<[String]>, String> {
        if tags.len() > MOST_TAGS {
            return Err(format!("{} tags are out of range; allowed are up to {MOST_TAGS}", tags.len()));
        }
        let good = |tag: &String| {
            (1..=LONGEST_TAG).contains(&tag.chars().count()) && !tag.contains(char::is_control) && tag.trim() == tag
        };
        if let Some(tag) = tags.iter().find(|tag| !good(tag)) {
            return Err(format!(
                "the tag {tag:?} is not allowed; a tag has 1 to {LONGEST_TAG} characters, none of them a control character, and \
                 no space at its ends"
            ));
        }
        Ok(intern(&mut self.tags, tags))
    }

    /// The settings of a row without class, count, seed, output and tags, and whether it has a class; rows that say the same
    /// share them.
    fn resolve(&mut self, fields: &RowFields, has_class: bool) -> Result<Resolved, Wrongs> {
        // What a token file says of classes counts in rows without one.
        let has_class = has_class && fields.vary.is_some();
        let key = format!("{has_class} {}", serde_json::to_string(fields).unwrap_or_default());
        if let Some(resolved) = self.resolved.get(&key) {
            return resolved.clone();
        }
        let resolved = resolve(fields, has_class, self.select.as_ref(), self.bundle, &mut self.files);
        self.resolved.insert(key, resolved.clone());
        resolved
    }

    /// What a row is in the plan, or what is wrong with it.
    fn check_row(&mut self, number: u32, raw: &mut RawRow) -> Result<(Row, [u8; 32]), Wrongs> {
        let mut fields = std::mem::take(&mut raw.fields).over(&self.defaults);
        let mut wrongs = Wrongs::new();
        let (class, seed, count) = (fields.class.take(), fields.seed.take(), fields.count.take());
        let (output, tags) = (fields.output.take(), fields.tags.take());
        if class.is_some() && fields.mix.is_some() {
            wrongs.push(("mix".into(), "a row cannot have both `class` and `mix`; leave one of them out".into()));
        }
        let resolved = self.resolve(&fields, class.is_some()).map_err(|more| wrongs.extend(more)).ok();
        let class = class.or_else(|| Some(Classes::One(ClassName::Index(resolved.as_ref()?.class?))));
        let classes = match class {
            Some(class) => self.classes(&class).map_err(|text| wrongs.push(("class".into(), text))).ok(),
            None => {
                let elsewhere = fields.vary.is_some() || fields.mix.is_some();
                let known = self.no_class || elsewhere && resolved.is_none();
                if !known && raw.failed.iter().all(|field| field != "class" && field != "vary" && field != "mix") {
                    wrongs.push((
                        "class".into(),
                        "a row needs a class: a name, an index, a list, or \"all\"; or a mix".into(),
                    ));
                }
                None
            }
        };
        let seeds = seeds(seed.as_ref(), count).map_err(|(field, text)| wrongs.push((field.to_owned(), text))).ok();
        let finest = resolved.as_ref().and_then(|resolved| resolved.settings.levels.last());
        if let (Some(level), Some(atlas)) = (finest, self.settings.atlas.as_ref().and_then(|atlas| atlas.level))
            && level.size < atlas
        {
            let text = format!("the row stops at {} px, but the atlas has the level of {atlas} px", level.size);
            wrongs.push(("level".into(), text));
        }
        let several = resolved.as_ref().is_some_and(|resolved| resolved.settings.levels.len() > 1);
        let mixed = resolved.as_ref().is_some_and(|resolved| resolved.settings.mix != RowMix::default());
        let names = if mixed { MIX_NAMES } else { NAMES };
        let name = output.or_else(|| self.settings.output.name.clone());
        let output = self
            .pattern(name.as_deref().unwrap_or(names[usize::from(several)]))
            .map_err(|error| wrongs.push(("output".into(), error.to_string())))
            .ok();
        let tags = self.tags(&tags.unwrap_or_default()).map_err(|text| wrongs.push(("tags".into(), text))).ok();
        match (resolved, classes, seeds, output, tags) {
            (Some(resolved), Some(classes), Some(seeds), Some(output), Some(tags)) if wrongs.is_empty() => {
                let Resolved { settings, hash, .. } = resolved;
                Ok((Row { number, line: raw.line, classes, seeds, settings, output, tags }, hash))
            }
            _ => Err(wrongs),
        }
    }

    /// Counts a row, and says why the job would be too large with it.
    fn count(&mut self, row: &Row) -> Result<(), String> {
        let classes = row.classes.len() as u64;
        self.groups += classes;
        if self.groups > MOST_GROUPS {
            return Err(format!("the job has more than {MOST_GROUPS} pairs of a row and a class, which is the most"));
        }
        let pictures = classes.checked_mul(row.seeds.count()).and_then(|pictures| pictures.checked_add(self.pictures));
        match pictures.filter(|pictures| *pictures <= MOST_PICTURES) {
            Some(pictures) => self.pictures = pictures,
            None => return Err(format!("the job has more than {MOST_PICTURES} pictures, which is the most")),
        }
        Ok(())
    }

    fn hash_row(&mut self, row: &Row, settings: &[u8; 32]) {
        use crate::pipeline::plan::Seeds;

        let identity = &mut self.identity;
        identity.number(u64::from(row.number));
        identity.number(row.classes.len() as u64);
        row.classes.iter().for_each(|&class| identity.number(u64::from(class)));
        match &row.seeds {
            Seeds::From { first, count } => {
                identity.text("from");
                identity.number(*first);
                identity.number(*count);
            }
            Seeds::List(list) => {
                identity.text("list");
                identity.number(list.len() as u64);
                list.iter().for_each(|&seed| identity.number(seed));
            }
        }
        identity.bytes(settings);
        identity.text(row.output.as_str());
        identity.number(row.tags.len() as u64);
        row.tags.iter().for_each(|tag| identity.text(tag));
    }
}

impl Sink for Checker<'_> {
    fn wrong(&mut self, wrong: Wrong) {
        // A row whose line cannot be read at all comes only here.
        self.read = self.read.max(wrong.row.map_or(0, |row| row + 1));
        let row = wrong.row.and_then(|row| u32::try_from(row).ok());
        let Wrong { line, field, text, .. } = wrong;
        self.problems.push(Problem { file: self.file.clone(), line, row, field, text });
    }

    fn head(&mut self, head: RawHead) {
        let RawHead { output, atlas, select, page, finish, defaults, lines } = head;
        let mut wrongs = Wrongs::new();
        if !(1..=16).contains(&output.scale) {
            wrongs.push(("output.scale".into(), format!("{} is out of range; allowed are 1 to 16", output.scale)));
        }
        if let Some(name) = &output.name
            && let Err(error) = Pattern::of_job(name)
        {
            wrongs.push(("output.name".into(), error.to_string()));
        }
        if let Some(atlas) = &atlas {
            wrongs.extend(super::atlas::check(atlas, self.bundle));
        }
        let (finish, more) = super::finish::resolve(&finish, self.bundle, &self.files);
        wrongs.extend(more);
        self.select = select.as_ref().map(|select| {
            resolve_select(select, &self.files, &mut |field, text| wrongs.push((field.to_owned(), text)))
        });
        for (field, text) in wrongs {
            let table = field.split('.').next().unwrap_or_default();
            self.whole(line_of(&lines, &field, line_of(&lines, table, 0)), &field, text);
        }
        let page = match page {
            PageChoice::On(on) => on.then(Default::default),
            PageChoice::With(page) => Some(page),
        };
        let select = self.select.as_ref().map(|(select, _)| select.clone());
        self.settings = Settings { output, atlas, select, page, finish };
        if self.settings.output.name.as_ref().is_some_and(|name| Pattern::of_job(name).is_err()) {
            self.settings.output.name = None;
        }
        self.defaults = defaults;
        self.check_defaults(&lines);
    }

    fn row(&mut self, mut raw: RawRow) {
        self.read = self.read.max(raw.number + 1);
        if self.full {
            return;
        }
        let Ok(number) = u32::try_from(raw.number) else {
            self.full = true;
            return self.whole(raw.line, "", format!("the job has more than {} rows, which is the most", u32::MAX));
        };
        match self.check_row(number, &mut raw) {
            Err(wrongs) => {
                for (field, text) in wrongs {
                    let line = line_of(&raw.lines, field.split('.').next().unwrap_or_default(), raw.line);
                    self.wrong(Wrong { line, row: Some(raw.number), field: field.into(), text });
                }
            }
            Ok((row, hash)) if raw.failed.is_empty() => match self.count(&row) {
                Ok(()) => {
                    self.hash_row(&row, &hash);
                    self.rows.push(row);
                }
                Err(text) => {
                    self.full = true;
                    self.whole(raw.line, "", text);
                }
            },
            Ok(_) => {}
        }
    }
}

/// The one value of a set that is equal to `value`.
fn intern<T: Clone + Eq + Hash>(set: &mut HashSet<Arc<[T]>>, value: &[T]) -> Arc<[T]> {
    if let Some(known) = set.get(value) {
        return known.clone();
    }
    let new: Arc<[T]> = value.into();
    set.insert(new.clone());
    new
}
