//! Which batch rows a step feeds, and in which rows each image's logits are. Images with the same prefix share rows until
//! their tokens differ.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::generation::request::{ImageRequest, Request};
use crate::plan::{Guidance, Mix};
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// What a row is fed as its class: one, or none for the unconditional logits.
pub(crate) type Source = Option<u32>;

/// What images ask of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub images: &'a [ImageRequest],
    /// The mix of each image; none at all where no image has one.
    pub mixes: &'a [Option<Arc<Mix>>],
    /// None to score: only what log-probabilities need.
    pub guidance: Option<&'a Guidance>,
}

impl<'a> Asked<'a> {
    /// What a generation of `request` asks.
    pub fn of(request: &'a Request) -> Self {
        Self { images: &request.images, mixes: &request.mixes, guidance: Some(&request.guidance) }
    }

    fn mix(&self, image: usize) -> Option<&Mix> {
        self.mixes.get(image)?.as_deref()
    }

    /// Whether unconditional rows are needed for guidance from the token with index `token` on.
    fn is_guided(&self, token: usize) -> bool {
        self.guidance.is_some_and(|guidance| guidance.is_on_from(token))
    }

    /// Calls `each` with what an image needs the logits of, from the token with index `token` on: its classes by index, then
    /// none.
    fn each(&self, image: usize, token: usize, mut each: impl FnMut(Source)) {
        match self.mix(image) {
            Some(mix) => mix.needs(token, self.guidance).into_iter().for_each(each),
            None => {
                each(Some(self.images[image].class));
                if self.is_guided(token) {
                    each(None);
                }
            }
        }
    }

    /// How many rows all images need from the token with index `token` on when none is shared.
    pub fn rows(&self, token: usize) -> usize {
        let plain = 1 + usize::from(self.is_guided(token));
        if self.mixes.is_empty() {
            return self.images.len().saturating_mul(plain);
        }
        let of = |image| {
            let mut count = 0usize;
            self.each(image, token, |_| count += 1);
            count
        };
        (0..self.images.len()).map(of).fold(0, usize::saturating_add)
    }
}

/// One batch row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// An image whose tokens it is fed.
    pub image: usize,
    /// What it is fed as its class.
    pub source: Source,
    /// Whether it only guides an image that has rows of classes.
    pub guides: bool,
}

/// The rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchRows {
    /// The rows of classes, then those that guide.
    pub fed: Vec<Row>,
    /// The rows of each image, one image after the other.
    rows: Vec<usize>,
    /// Where those of each image end.
    ends: Vec<usize>,
    /// Whether images share rows: they need rows of their own before they are fed different tokens.
    pub shared: bool,
}

impl BatchRows {
    /// A row of its own for everything that an image needs from the token with index `token` on.
    pub fn all(asked: &Asked<'_>, token: usize) -> Result<Self> {
        Self::found(asked, token, |fed, row| {
            fed.push(row);
            fed.len() - 1
        })
    }

    /// One row for all images of one class and one prefix, and one unconditional row for all images of one prefix, of
    /// whatever class.
    pub fn distinct(asked: &Asked<'_>, token: usize, prefixes: &[Arc<[u32]>]) -> Result<Self> {
        let mut seen: HashMap<(Source, &[u32]), usize> = HashMap::new();
        let count = asked.rows(token);
        seen.try_reserve(count).map_err(|_| Error::OutOfMemory {
            what: "a batch".to_owned(),
            bytes: (count as u64).saturating_mul(size_of::<((Source, &[u32]), usize)>() as u64),
        })?;
        Self::found(asked, token, |fed, row| {
            *seen.entry((row.source, &prefixes[row.image])).or_insert_with(|| {
                fed.push(row);
                fed.len() - 1
            })
        })
    }

    /// The rows that `find` gives to what images need; it may feed another one. First those of classes, then those that guide.
    fn found(asked: &Asked<'_>, token: usize, mut find: impl FnMut(&mut Vec<Row>, Row) -> usize) -> Result<Self> {
        let (images, count) = (asked.images.len(), asked.rows(token));
        let mut sources: Vec<Source> = reserve("a batch", count)?;
        let mut ends = reserve("a batch", images)?;
        for image in 0..images {
            asked.each(image, token, |source| sources.push(source));
            ends.push(sources.len());
        }
        let mut rows =
            Self { fed: reserve("a batch", count)?, rows: filled("a batch", count, 0)?, ends, shared: false };
        for guides in [false, true] {
            for image in 0..images {
                let places = rows.places(image);
                for at in places.clone() {
                    // A picture of no class at all has its unconditional row for itself.
                    if guides == (sources[at].is_none() && places.len() > 1) {
                        rows.rows[at] = find(&mut rows.fed, Row { image, source: sources[at], guides });
                    }
                }
            }
        }
        rows.shared = rows.fed.len() < count;
        Ok(rows)
    }

    /// Where the rows of an image stand in `rows`.
    fn places(&self, image: usize) -> Range<usize> {
        let start = image.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[image]
    }

    /// The row of an image that is fed `source`.
    ///
    /// # Errors
    /// [`Error::Internal`] when it has none.
    pub fn row(&self, image: usize, source: Source) -> Result<usize> {
        let rows = &self.rows[self.places(image)];
        let found = rows.iter().copied().find(|&row| self.fed[row].source == source);
        found.ok_or_else(|| Error::Internal(format!("image {image} has no batch row of {source:?}")))
    }

    /// How many different images are computed; one of several classes counts once for each.
    pub fn pictures(&self) -> usize {
        self.fed.iter().filter(|row| !row.guides).count()
    }

    /// A row of its own for everything that an image needs from the token with index `token` on; and for each new row, the row
    /// of `self` that it continues.
    pub fn parted(&self, asked: &Asked<'_>, token: usize) -> Result<(Self, Vec<usize>)> {
        let rows = Self::all(asked, token)?;
        let mut map = reserve("a batch", rows.fed.len())?;
        for row in &rows.fed {
            map.push(self.row(row.image, row.source)?);
        }
        Ok((rows, map))
    }

    /// Which places in `rows` are needed from the token with index `token` on. None when all of them are.
    fn needed(&self, asked: &Asked<'_>, token: usize) -> Result<Option<Vec<bool>>> {
        if asked.rows(token) == self.rows.len() {
            return Ok(None);
        }
        let mut needed = filled("a batch", self.rows.len(), false)?;
        for image in 0..self.ends.len() {
            let places = self.places(image);
            asked.each(image, token, |source| {
                let at = places.clone().find(|&at| self.fed[self.rows[at]].source == source);
                at.into_iter().for_each(|at| needed[at] = true);
            });
        }
        Ok(Some(needed))
    }

    /// How many rows are needed from the token with index `token` on.
    pub fn count_needed(&self, asked: &Asked<'_>, token: usize) -> Result<usize> {
        let Some(needed) = self.needed(asked, token)? else { return Ok(self.fed.len()) };
        let mut rows = filled("a batch", self.fed.len(), false)?;
        for (&row, &needed) in self.rows.iter().zip(&needed) {
            rows[row] |= needed;
        }
        Ok(rows.into_iter().filter(|&needed| needed).count())
    }

    /// Without the rows that are not needed from the token with index `token` on; and for each new row, the row of `self` that
    /// it continues. None when all are needed.
    pub fn without_idle(&self, asked: &Asked<'_>, token: usize) -> Result<Option<(Self, Vec<usize>)>> {
        let Some(needed) = self.needed(asked, token)? else { return Ok(None) };
        let images = 0..self.ends.len();
        self.retained(images.map(|image| (image, image)), self.ends.len(), |at| needed[at]).map(Some)
    }

    /// The rows of these images, in this order; and for each new row, the row of `self` that it continues.
    pub fn of(&self, images: &[usize]) -> Result<(Self, Vec<usize>)> {
        self.retained(images.iter().copied().enumerate(), images.len(), |_| true)
    }

    /// The places that `keep` names, of images by their new and their old index.
    fn retained(
        &self,
        images: impl Iterator<Item = (usize, usize)> + Clone,
        count: usize,
        keep: impl Fn(usize) -> bool,
    ) -> Result<(Self, Vec<usize>)> {
        const NONE: usize = usize::MAX;
        let kept = images.clone().map(|(_, old)| self.places(old).filter(|&at| keep(at)).count());
        let places = kept.sum();
        let mut rows = Self {
            fed: reserve("a batch", places)?,
            rows: reserve("a batch", places)?,
            ends: reserve("a batch", count)?,
            shared: false,
        };
        for (_, old) in images.clone() {
            rows.rows.extend(self.places(old).filter(|&at| keep(at)).map(|at| self.rows[at]));
            rows.ends.push(rows.rows.len());
        }
        let mut map: Vec<usize> = reserve("a batch", places)?;
        // The new index of each old row.
        let mut now = filled("a batch", self.fed.len(), NONE)?;
        for guides in [false, true] {
            for (image, _) in images.clone() {
                let places = rows.places(image);
                for at in places.clone() {
                    let (old, source) = (rows.rows[at], self.fed[rows.rows[at]].source);
                    if now[old] == NONE && guides == (source.is_none() && places.len() > 1) {
                        now[old] = map.len();
                        map.push(old);
                        rows.fed.push(Row { image, source, guides });
                    }
                }
            }
        }
        rows.rows.iter_mut().for_each(|row| *row = now[*row]);
        rows.shared = rows.fed.len() < places;
        Ok((rows, map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Curve;

    fn image(class: u32) -> ImageRequest {
        ImageRequest { class, seed: 0 }
    }

    fn asked<'a>(images: &'a [ImageRequest], guidance: &'a Guidance) -> Asked<'a> {
        Asked { images, mixes: &[], guidance: Some(guidance) }
    }

    fn rows_of(rows: &BatchRows, source: impl Fn(usize) -> Source) -> Vec<usize> {
        (0..rows.ends.len()).map(|image| rows.row(image, source(image)).unwrap()).collect()
    }

    #[test]
    fn batch_rows_with_one_prefix_are_shared_and_part() {
        let (a, b): (Arc<[u32]>, Arc<[u32]>) = ([1, 2].into(), [1, 3].into());
        let images = [image(0), image(0), image(5), image(0)];
        let (on, off) = (Guidance::constant(2.0), Guidance::constant(1.0));
        let rows = BatchRows::distinct(&asked(&images, &on), 0, &[a.clone(), a.clone(), a, b]).unwrap();
        assert_eq!(rows_of(&rows, |image| Some(images[image].class)), [0, 0, 1, 2]);
        let uncond = rows_of(&rows, |_| None);
        assert_eq!(uncond, [3, 3, 3, 4], "without its class the third has the prefix of the first two");
        assert_eq!((rows.pictures(), rows.shared), (3, true));
        let (parted, map) = rows.parted(&asked(&images, &on), 0).unwrap();
        assert_eq!(parted, BatchRows::all(&asked(&images, &on), 0).unwrap());
        assert_eq!(map, [0, 0, 1, 2, 3, 3, 3, 4]);
        let (parted, map) = rows.parted(&asked(&images, &off), 0).unwrap();
        assert_eq!(parted, BatchRows::all(&asked(&images, &off), 0).unwrap());
        assert_eq!(map, [0, 0, 1, 2]);
        let (half, map) = rows.without_idle(&asked(&images, &off), 0).unwrap().unwrap();
        assert_eq!((half.rows, half.shared, map), (vec![0, 0, 1, 2], true, vec![0, 1, 2]));
        assert_eq!(rows.count_needed(&asked(&images, &off), 0).unwrap(), 3);
        assert!(rows.without_idle(&asked(&images, &on), 0).unwrap().is_none(), "all are needed");
    }

    #[test]
    fn batch_rows_of_some_images_keep_their_origin() {
        let on = Guidance::constant(2.0);
        let images = [image(0), image(1), image(2), image(3)];
        let rows = BatchRows::all(&asked(&images, &on), 0).unwrap();
        let (kept, map) = rows.of(&[3, 1]).unwrap();
        assert_eq!(kept, BatchRows::all(&asked(&[image(3), image(1)], &on), 0).unwrap());
        assert_eq!(map, [3, 1, 7, 5]);
        let a: Arc<[u32]> = [1, 2].into();
        let images = [image(0), image(1), image(0)];
        let rows = BatchRows::distinct(&asked(&images, &on), 0, &[a.clone(), a.clone(), a]).unwrap();
        let (kept, map) = rows.of(&[2, 0]).unwrap();
        assert_eq!((kept.rows, map), (vec![0, 1, 0, 1], vec![0, 2]));
        let (kept, map) = rows.of(&[1]).unwrap();
        assert_eq!((kept.shared, kept.fed.len(), map), (false, 2, vec![1, 2]));
    }

    #[test]
    fn mixed_images_have_rows_for_their_classes_while_these_count() {
        let on = Guidance { scale: "2@0,1@16".parse().unwrap(), gradual: false };
        let curve = |text: &str| text.parse::<Curve>().unwrap();
        let mix = Mix::new(&[(1, curve("1@0,0@8")), (2, curve("0@0,1@8"))], &[(7, curve("1@0,0@4"))]).unwrap();
        let images = [image(0), image(1), image(2)];
        let mixes = [None, Some(Arc::new(mix)), None];
        let asked = Asked { images: &images, mixes: &mixes, guidance: Some(&on) };
        let rows = BatchRows::all(&asked, 0).unwrap();
        let sources: Vec<Source> = rows.fed.iter().map(|row| row.source).collect();
        assert_eq!(sources, [Some(0), Some(1), Some(2), Some(7), Some(2), None, None, None]);
        assert_eq!((rows.pictures(), rows.row(1, Some(7)).unwrap(), rows.row(1, None).unwrap()), (5, 3, 6));
        assert_eq!([0, 4, 8, 16].map(|token| rows.count_needed(&asked, token).unwrap()), [8, 7, 6, 3]);
        assert_eq!([0, 4, 8, 16].map(|token| asked.rows(token)), [8, 7, 6, 3]);
        let (rows, map) = rows.without_idle(&asked, 8).unwrap().unwrap();
        assert_eq!((map, rows.row(1, Some(2)).unwrap()), (vec![0, 2, 4, 5, 6, 7], 1));
        assert!(rows.row(1, Some(1)).is_err());
        // One that shares its prefix with others shares the rows of its classes.
        let a: Arc<[u32]> = [1, 2].into();
        let rows = BatchRows::distinct(&asked, 0, &[a.clone(), a.clone(), a]).unwrap();
        assert_eq!((rows.fed.len(), rows.pictures(), rows.shared), (5, 4, true));
        assert_eq!(rows.row(1, Some(2)).unwrap(), rows.row(2, Some(2)).unwrap());
        let (parted, map) = rows.parted(&asked, 16).unwrap();
        assert_eq!((parted.shared, map), (false, vec![0, 2, 2]));
        assert_eq!(parted, BatchRows::all(&asked, 16).unwrap());
        // To score there are only the classes of the mix.
        assert_eq!(BatchRows::all(&Asked { guidance: None, ..asked }, 0).unwrap().fed.len(), 4);
    }
}
