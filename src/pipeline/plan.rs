//! A checked job: its rows with every setting resolved for a bundle, and its pictures by number.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use super::pattern::{Pattern, Values};
use super::select::SelectSettings;
use crate::bundle::Bundle;
use crate::generation::request::{ImageRequest, Request};
use crate::plan::{Curve, Guidance, Level, Mix};
use crate::sample::SamplingCurves;
use crate::support::error::Result;
use crate::tokens::Dft;

/// The seeds of a row, the same for each of its classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seeds {
    /// `count` seeds from `first` on. They do not pass the largest 64-bit number.
    From {
        /// The first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// These, in this order, each once.
    List(Arc<[u64]>),
}

impl Seeds {
    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::From { count, .. } => *count,
            Self::List(list) => list.len() as u64,
        }
    }

    /// The seed with this index, which must be less than [`count`](Self::count).
    #[must_use]
    pub fn at(&self, index: u64) -> u64 {
        match self {
            Self::From { first, .. } => first + index,
            Self::List(list) => list[index as usize],
        }
    }
}

/// What the pictures of a row begin with.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// Nothing: every token is sampled.
    Empty,
    /// These tokens: those of a level of a token file.
    Tokens(Vec<u32>),
    /// The tokens of the level of `keep` pixels of a picture file, which is encoded when the run begins.
    Picture {
        /// The picture file.
        path: PathBuf,
        /// The level that is kept, in pixels per side.
        keep: u32,
    },
}

/// Classes of a row beyond the one of a picture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowMix {
    /// The classes of every picture with their weights; none where it is of the class of the picture alone.
    pub classes: Vec<(u32, Curve)>,
    /// The classes that every picture avoids, with their strengths.
    pub avoid: Vec<(u32, Curve)>,
}

impl RowMix {
    /// How many pictures of one class, drawn with guidance, take the batch rows of one of these.
    pub(super) fn weight(&self) -> usize {
        (self.classes.len().max(1) + self.avoid.len() + 1).div_ceil(2)
    }
}

/// What a row samples and writes. Rows that say the same share it.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSettings {
    /// Classes that are mixed or avoided.
    pub mix: RowMix,
    /// Guidance of every picture.
    pub guidance: Guidance,
    /// Sampling settings of every picture.
    pub sampling: SamplingCurves,
    /// What every picture begins with.
    pub start: Start,
    /// The levels that are written, coarse to fine, at least one. A picture is generated up to the last.
    pub levels: Vec<Level>,
    /// Which candidates of each class are kept; `None` for all.
    pub select: Option<SelectSettings>,
}

/// One row of a job. It dereferences to its settings: `row.levels`.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its number in the job file, from 0.
    pub number: u32,
    /// Where it begins in the job file: a line, from 1.
    pub line: u64,
    /// Indices of its classes, each once.
    pub classes: Arc<[u32]>,
    /// The seeds of each class.
    pub seeds: Seeds,
    /// What it samples and writes.
    pub settings: Arc<RowSettings>,
    /// The names of its files.
    pub output: Pattern,
    /// Words of the artist's, for filters and the page.
    pub tags: Arc<[String]>,
}

impl Deref for Row {
    type Target = RowSettings;

    fn deref(&self) -> &RowSettings {
        &self.settings
    }
}

/// The pictures of one class of a row: those that selection compares, and that stand together everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Index of the row in [`Plan::rows`].
    pub row: u32,
    /// Index of the class.
    pub class: u32,
    /// Number of its first picture.
    pub first: u64,
    /// How many pictures it has.
    pub count: u64,
}

/// A checked job: every picture has a number, from 0, ordered by row, class and seed. It depends on the job file and the bundle
/// alone.
#[derive(Debug, Clone)]
pub struct Plan {
    rows: Vec<Row>,
    groups: Vec<Group>,
    pictures: u64,
}

/// One picture of a plan.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Its number.
    pub number: u64,
    /// Its row.
    pub row: &'a Row,
    /// Index of its group in [`Plan::groups`].
    pub group: usize,
    /// Class and seed.
    pub image: ImageRequest,
}

impl Plan {
    /// The plan of these rows.
    #[must_use]
    pub fn new(rows: Vec<Row>) -> Self {
        let (mut groups, mut pictures) = (Vec::new(), 0);
        for (index, row) in rows.iter().enumerate() {
            for &class in &*row.classes {
                let count = row.seeds.count();
                groups.push(Group { row: index as u32, class, first: pictures, count });
                pictures += count;
            }
        }
        Self { rows, groups, pictures }
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Its groups, ordered by their first picture.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How many pictures it has.
    #[must_use]
    pub fn pictures(&self) -> u64 {
        self.pictures
    }

    /// The picture with this number, which must be less than [`pictures`](Self::pictures).
    #[must_use]
    pub fn picture(&self, number: u64) -> Picture<'_> {
        let group = self.groups.partition_point(|group| group.first <= number) - 1;
        let Group { row, class, first, .. } = self.groups[group];
        let row = &self.rows[row as usize];
        Picture { number, row, group, image: ImageRequest { class, seed: row.seeds.at(number - first) } }
    }
}

impl Picture<'_> {
    /// The mix of this picture; `None` if it is of one class and avoids none.
    ///
    /// # Errors
    /// Those of [`Mix::new`]; a checked row has none.
    pub fn mix(&self) -> Result<Option<Mix>> {
        let RowMix { classes, avoid } = &self.row.mix;
        let own = [(self.image.class, 1.0.into())];
        let classes = if classes.is_empty() { &own[..] } else { classes };
        if classes.len() == 1 && avoid.is_empty() {
            return Ok(None);
        }
        Ok(Some(Mix::new(classes, avoid)?).filter(|mix| mix.as_class().is_none()))
    }

    /// Its tokens as a token file.
    ///
    /// # Errors
    /// Those of [`Bundle::dft`].
    pub fn dft(&self, bundle: &Bundle, tokens: Vec<u32>) -> Result<Dft> {
        let ImageRequest { class, seed } = self.image;
        match self.mix()? {
            Some(mix) => bundle.dft_of_mix(&mix, Some(seed), tokens),
            None => bundle.dft(Some(class), Some(seed), tokens),
        }
    }

    /// Sets class and seed, or mix and seed, of an image of a request.
    ///
    /// # Errors
    /// Those of the setters of [`Request`].
    pub fn apply_image(&self, request: &mut Request, at: usize) -> Result<()> {
        request.set_image(at, self.image)?;
        if let Some(mix) = self.mix()? {
            request.set_image_mix(at, &mix)?;
        }
        Ok(())
    }

    /// Sets up a request for this picture alone; `prefix` are the tokens of the row's [`start`](RowSettings::start).
    ///
    /// # Errors
    /// Those of the setters of [`Request`].
    pub fn apply(&self, request: &mut Request, prefix: &[u32]) -> Result<()> {
        self.apply_image(request.set_count(1)?, 0)?;
        request.set_guidance(self.row.guidance.clone())?;
        request.set_temperature(self.row.sampling.temperature.clone())?;
        request.set_top_k(self.row.sampling.top_k.clone())?;
        request.set_top_p(self.row.sampling.top_p.clone())?;
        request.set_level_size(self.row.levels.last().map_or(0, |level| level.size))?;
        request.set_prefix(prefix)?;
        Ok(())
    }

    /// The file of this picture at a level, below the output folder, with `/` between folders. `classes` are the names of the
    /// bundle's classes.
    #[must_use]
    pub fn path(&self, classes: &[String], level: Level) -> String {
        self.row.output.fill(&Values {
            class: classes.get(self.image.class as usize).map(String::as_str),
            seed: Some(self.image.seed),
            size: level.size,
            row: self.row.number,
            number: self.number,
            tag: self.row.tags.first().map(String::as_str),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32, classes: &[u32], seeds: Seeds) -> Row {
        Row {
            number,
            line: u64::from(number) + 1,
            classes: classes.into(),
            seeds,
            settings: Arc::new(RowSettings {
                mix: RowMix::default(),
                guidance: Guidance::constant(1.0),
                sampling: crate::sample::Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }.into(),
                start: Start::Empty,
                levels: vec![Level { size: 32, tokens: 32 }],
                select: None,
            }),
            output: Pattern::of_job("{class}/{seed:03}_{level}-{row}{number:02}{tag}.png").unwrap(),
            tags: [].into(),
        }
    }

    #[test]
    fn pictures_are_numbered_by_row_class_and_seed() {
        let from = |first, count| Seeds::From { first, count };
        let plan = Plan::new(vec![row(0, &[3, 1], from(7, 2)), row(1, &[2], Seeds::List([9, 4].into()))]);
        assert_eq!(plan.pictures(), 6);
        let all: Vec<_> = (0..6).map(|number| plan.picture(number)).collect();
        let images: Vec<_> = all.iter().map(|picture| (picture.image.class, picture.image.seed)).collect();
        assert_eq!(images, [(3, 7), (3, 8), (1, 7), (1, 8), (2, 9), (2, 4)]);
        assert_eq!(all.iter().map(|picture| picture.group).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
        assert_eq!(all[5].row.number, 1);
        let classes = ["a", "b/c", "d", "e"].map(str::to_owned);
        assert_eq!(all[2].path(&classes, all[2].row.levels[0]), "b_c/007_32-002untagged.png");
        assert_eq!(plan.groups()[1], Group { row: 0, class: 1, first: 2, count: 2 });
        assert_eq!(Plan::new(vec![]).pictures(), 0);
    }
}
