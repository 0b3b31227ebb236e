//! Which batch rows a step feeds, and in which row each image's logits are. Images with the same prefix share rows until
//! their tokens differ.

use std::collections::HashMap;
use std::sync::Arc;

use crate::generation::request::ImageRequest;
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// One batch row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// An image whose tokens it is fed.
    pub image: usize,
    /// Whether it is fed "no class" instead of the image's class.
    pub unconditional: bool,
}

/// The rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchRows {
    /// The conditional rows, then with guidance the unconditional ones.
    pub fed: Vec<Row>,
    /// The row of each image.
    pub cond: Vec<usize>,
    /// The row of each image's unconditional half; empty without guidance.
    pub uncond: Vec<usize>,
    /// Whether images share rows: they need rows of their own before they are fed different tokens.
    pub shared: bool,
}

impl BatchRows {
    /// A row of its own for each of `count` images, two with guidance.
    pub fn all(count: usize, guided: bool) -> Result<Self> {
        let mut fed = reserve("a batch", count.saturating_mul(1 + usize::from(guided)))?;
        let halves: &[bool] = if guided { &[false, true] } else { &[false] };
        for &unconditional in halves {
            fed.extend((0..count).map(|image| Row { image, unconditional }));
        }
        let uncond = numbers(if guided { count..count.saturating_mul(2) } else { 0..0 })?;
        Ok(Self { fed, cond: numbers(0..count)?, uncond, shared: false })
    }

    /// One row for all images of one class and one prefix, and one unconditional row for all images of one prefix, of
    /// whatever class.
    pub fn distinct(images: &[ImageRequest], prefixes: &[Arc<[u32]>], guided: bool) -> Result<Self> {
        let halves: &[bool] = if guided { &[false, true] } else { &[false] };
        let mut rows = Self::room(images.len(), guided)?;
        let mut seen: HashMap<(Option<u32>, &[u32]), usize> = HashMap::new();
        seen.try_reserve(images.len()).map_err(|_| Error::OutOfMemory {
            what: "a batch".to_owned(),
            bytes: (images.len() as u64).saturating_mul(size_of::<((Option<u32>, &[u32]), usize)>() as u64),
        })?;
        for &unconditional in halves {
            seen.clear();
            for (image, (request, prefix)) in images.iter().zip(prefixes).enumerate() {
                let class = (!unconditional).then_some(request.class);
                let row = *seen.entry((class, prefix)).or_insert_with(|| {
                    rows.fed.push(Row { image, unconditional });
                    rows.fed.len() - 1
                });
                if unconditional { rows.uncond.push(row) } else { rows.cond.push(row) }
            }
        }
        rows.shared = rows.fed.len() < rows.cond.len() + rows.uncond.len();
        Ok(rows)
    }

    pub fn is_guided(&self) -> bool {
        !self.uncond.is_empty()
    }

    /// How many different images are computed.
    pub fn pictures(&self) -> usize {
        self.fed.iter().filter(|row| !row.unconditional).count()
    }

    /// Empty, with capacity for `count` images.
    fn room(count: usize, guided: bool) -> Result<Self> {
        let each = 1 + usize::from(guided);
        Ok(Self {
            fed: reserve("a batch", count.saturating_mul(each))?,
            cond: reserve("a batch", count)?,
            uncond: reserve("a batch", count.saturating_mul(each - 1))?,
            shared: false,
        })
    }

    /// A row of its own for each image; and for each new row, the row of `self` that it continues.
    pub fn parted(&self, guided: bool) -> Result<(Self, Vec<usize>)> {
        let rows = Self::all(self.cond.len(), guided)?;
        let mut map = reserve("a batch", rows.fed.len())?;
        map.extend_from_slice(&self.cond);
        map.extend_from_slice(if guided { &self.uncond } else { &[] });
        Ok((rows, map))
    }

    /// Without the unconditional rows, which come last; and for each new row, the row of `self` that it continues.
    pub fn unguided(&self) -> Result<(Self, Vec<usize>)> {
        let count = self.pictures();
        let mut rows = Self::room(self.cond.len(), false)?;
        rows.fed.extend_from_slice(&self.fed[..count]);
        rows.cond.extend_from_slice(&self.cond);
        rows.shared = rows.fed.len() < rows.cond.len();
        Ok((rows, numbers(0..count)?))
    }

    /// The rows of these images, in this order; and for each new row, the row of `self` that it continues.
    pub fn of(&self, images: &[usize]) -> Result<(Self, Vec<usize>)> {
        const NONE: usize = usize::MAX;
        let mut rows = Self::room(images.len(), self.is_guided())?;
        let mut map: Vec<usize> = reserve("a batch", images.len().saturating_mul(1 + usize::from(self.is_guided())))?;
        // The new index of each old row.
        let mut now = filled("a batch", self.fed.len(), NONE)?;
        for (unconditional, half) in [(false, &self.cond), (true, &self.uncond)] {
            for (image, &at) in images.iter().enumerate().filter(|_| !half.is_empty()) {
                let old = half[at];
                if now[old] == NONE {
                    now[old] = map.len();
                    map.push(old);
                    rows.fed.push(Row { image, unconditional });
                }
                if unconditional { rows.uncond.push(now[old]) } else { rows.cond.push(now[old]) }
            }
        }
        rows.shared = rows.fed.len() < rows.cond.len() + rows.uncond.len();
        Ok((rows, map))
    }
}

fn numbers(range: std::ops::Range<usize>) -> Result<Vec<usize>> {
    let mut numbers = reserve("a batch", range.len())?;
    numbers.extend(range);
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(class: u32) -> ImageRequest {
        ImageRequest { class, seed: 0 }
    }

    #[test]
    fn batch_rows_with_one_prefix_are_shared_and_part() {
        let (a, b): (Arc<[u32]>, Arc<[u32]>) = ([1, 2].into(), [1, 3].into());
        let images = [image(0), image(0), image(5), image(0)];
        let rows = BatchRows::distinct(&images, &[a.clone(), a.clone(), a, b], true).unwrap();
        assert_eq!(rows.cond, [0, 0, 1, 2]);
        assert_eq!(rows.uncond, [3, 3, 3, 4], "without its class the third has the prefix of the first two");
        assert_eq!((rows.pictures(), rows.shared), (3, true));
        let (parted, map) = rows.parted(true).unwrap();
        assert_eq!(parted, BatchRows::all(4, true).unwrap());
        assert_eq!(map, [0, 0, 1, 2, 3, 3, 3, 4]);
        let (parted, map) = rows.parted(false).unwrap();
        assert_eq!(parted, BatchRows::all(4, false).unwrap());
        assert_eq!(map, [0, 0, 1, 2]);
        let (half, map) = rows.unguided().unwrap();
        assert_eq!((half.cond, half.uncond.len(), map), (vec![0, 0, 1, 2], 0, vec![0, 1, 2]));
    }

    #[test]
    fn batch_rows_of_some_images_keep_their_origin() {
        let rows = BatchRows::all(4, true).unwrap();
        let (kept, map) = rows.of(&[3, 1]).unwrap();
        assert_eq!(kept, BatchRows::all(2, true).unwrap());
        assert_eq!(map, [3, 1, 7, 5]);
        let a: Arc<[u32]> = [1, 2].into();
        let rows = BatchRows::distinct(&[image(0), image(1), image(0)], &[a.clone(), a.clone(), a], true).unwrap();
        let (kept, map) = rows.of(&[2, 0]).unwrap();
        assert_eq!((kept.cond, kept.uncond, map), (vec![0, 0], vec![1, 1], vec![0, 2]));
        let (kept, map) = rows.of(&[1]).unwrap();
        assert_eq!((kept.shared, kept.fed.len(), map), (false, 2, vec![1, 2]));
    }
}
