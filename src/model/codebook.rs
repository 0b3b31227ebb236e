//! The codebook of an encoder, and the codes that are nearest to a latent.

use crate::bundle::Bundle;
use crate::runtime::{GraphSource, initializer};
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// The initializer of the graph `encoder` that holds the codes, [code width, V] (`onnx/BUNDLE.md`).
const NAME: &str = "encoder.codebook";

/// The most components of a code.
const WIDEST: usize = 1 << 12;

/// The codes of a model, as the encoder compares them with latents.
pub(super) struct Codebook {
    /// [code width, V]: one row for each component.
    columns: Vec<f32>,
    /// Half of each code's squared norm.
    offsets: Vec<f32>,
}

impl Codebook {
    /// Reads the codebook of an encoder.
    ///
    /// # Errors
    /// [`Error::Bundle`] if its graph holds none by that name; those of [`initializer`].
    pub fn read(source: GraphSource<'_>, bundle: &Bundle) -> Result<Self> {
        let columns = initializer(source, NAME, bundle.codes, WIDEST)?;
        let none = || Error::bundle(bundle.path(), format!("{} has no initializer {NAME}", source.name));
        Self::new(columns.ok_or_else(none)?, bundle.codes)
    }

    /// Of `columns` [code width, V].
    fn new(columns: Vec<f32>, codes: usize) -> Result<Self> {
        let mut offsets = filled("the codebook", codes, 0.0)?;
        for column in columns.chunks_exact(codes) {
            offsets.iter_mut().zip(column).for_each(|(offset, value)| *offset += 0.5 * value * value);
        }
        Ok(Self { columns, offsets })
    }

    /// Components of a code.
    pub fn width(&self) -> usize {
        self.columns.len() / self.offsets.len()
    }

    /// The `count` codes nearest to `latent`, nearest first; of equal ones the first by index. At most V.
    pub fn nearest(&self, latent: &[f32], count: usize) -> Result<Vec<u32>> {
        let codes = self.offsets.len();
        // Distances but for a constant, halved.
        let mut distances = reserve("distances of codes", codes)?;
        distances.extend_from_slice(&self.offsets);
        for (column, value) in self.columns.chunks_exact(codes).zip(latent) {
            distances.iter_mut().zip(column).for_each(|(distance, code)| *distance -= code * value);
        }
        let mut order = reserve("codes", codes)?;
        order.extend(0..codes as u32);
        let count = count.min(codes);
        let key = |&code: &u32, other: &u32| {
            let [a, b] = [code, *other].map(|code| distances[code as usize]);
            a.total_cmp(&b).then(code.cmp(other))
        };
        if count < codes {
            order.select_nth_unstable_by(count, key);
            order.truncate(count);
        }
        order.sort_unstable_by(key);
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_orders_codes_by_distance_then_index() {
        // Four codes of two components: (0, 0), (1, 0), (0, 2), (1, 0).
        let columns = vec![0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 2.0, 0.0];
        let book = Codebook::new(columns, 4).unwrap();
        assert_eq!(book.width(), 2);
        assert_eq!(book.nearest(&[0.9, 0.1], 3).unwrap(), [1, 3, 0]);
        assert_eq!(book.nearest(&[0.0, 1.5], 1).unwrap(), [2]);
        assert_eq!(book.nearest(&[0.0, 0.0], 9).unwrap(), [0, 1, 3, 2]);
    }
}
