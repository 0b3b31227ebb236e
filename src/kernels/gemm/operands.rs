//! What a GEMM takes and gives: packed weights, quantized rows, and the epilogue that receives the sums.
//!
//! **Weights are packed** by the exporter for every CPU alike: columns in panels of 16, and within a panel four consecutive
//! numbers of each column together: `[columns / 16, depth / 4, 16, 4]`, with the depth zero-padded to a multiple of 64 and the
//! columns to one of 16. Of two neighbouring numbers of a column, an even one and the next, those above 0 have a sum of at most 128, and
//! those below 0 of at least -128. A vector of 64 bytes is then four steps of 16 columns, and 16 of them are a tile. They are read where
//! the file is mapped; nothing is copied.

/// Columns of a panel.
pub(in crate::kernels) const PANEL: usize = 16;
/// The depth is a multiple of this.
pub(in crate::kernels) const DEPTH: usize = 64;
/// Rows of a tile. Quantized rows have capacity for a multiple of this.
pub(in crate::kernels) const TILE: usize = 16;

/// Packed weights, `depth` deep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedWeights<'a> {
    pub(super) bytes: &'a [i8],
    pub(super) depth: usize,
    pub(super) panels: usize,
}

impl<'a> PackedWeights<'a> {
    /// None when `bytes` has another length than `depth` and `columns`, padded, say.
    pub fn new(bytes: &'a [i8], depth: usize, columns: usize) -> Option<Self> {
        let depth = depth.checked_next_multiple_of(DEPTH)?;
        let panels = columns.div_ceil(PANEL);
        let length = depth.checked_mul(panels)?.checked_mul(PANEL)?;
        (length == bytes.len() && length > 0).then_some(Self { bytes, depth, panels })
    }

    /// The padded depth.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The padded number of columns.
    pub(in crate::kernels) fn columns(&self) -> usize {
        self.panels * PANEL
    }

    /// The address of panel `first`, which the following ones are behind.
    #[cfg_attr(not(any(target_arch = "aarch64", target_arch = "x86_64")), allow(dead_code))] // Portable code slices instead.
    pub(super) fn panel(&self, first: usize) -> *const i8 {
        assert!(first < self.panels, "packed weights: no such panel");
        self.bytes[first * self.depth * PANEL..].as_ptr()
    }
}

/// Numbers of a column that share a factor, in int4 weights.
pub(in crate::kernels) const BLOCK: usize = 32;
/// The largest magnitude of a factor. A nibble is -8 to 7, so that their product is an int8, and less than 121.
const LARGEST_FACTOR: u8 = 15;

/// Packed int4 weights, `depth` deep: int8 weights each of which is a nibble, 0 to 15, less 8, times the factor of its block.
///
/// Nibbles are `[columns / 16, depth / 8, 16, 4]` bytes. A byte holds two neighbours of a column, the first in its lower half, so that
/// the lower halves of 64 bytes are a vector of [`PackedWeights`], and the upper halves the next, if of every eight numbers of a
/// row the even ones come first ([`deinterleave`](crate::kernels::int4_rows::deinterleave)). Factors are `[columns / 16, depth / 32, 16]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Int4Weights<'a> {
    pub(super) nibbles: &'a [u8],
    pub(super) factors: &'a [i8],
    pub(super) depth: usize,
    pub(super) panels: usize,
}

impl<'a> Int4Weights<'a> {
    /// None when the constants have other lengths than `depth` and `columns`, padded, say, or a factor is too large.
    pub fn new(nibbles: &'a [u8], factors: &'a [i8], depth: usize, columns: usize) -> Option<Self> {
        let depth = depth.checked_next_multiple_of(DEPTH)?;
        let panels = columns.div_ceil(PANEL);
        let length = depth.checked_mul(panels)?.checked_mul(PANEL / 2)?;
        let fits = length == nibbles.len() && length > 0 && factors.len() == length / (BLOCK / 2);
        (fits && factors.iter().all(|factor| factor.unsigned_abs() <= LARGEST_FACTOR)).then_some(Self {
            nibbles,
            factors,
            depth,
            panels,
        })
    }

    /// The padded depth.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The padded number of columns.
    pub(in crate::kernels) fn columns(&self) -> usize {
        self.panels * PANEL
    }

    /// The address of the nibbles of panel `first`, which the following ones are behind.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // Other code slices instead.
    pub(super) fn panel(&self, first: usize) -> *const i8 {
        assert!(first < self.panels, "packed weights: no such panel");
        self.nibbles[first * self.depth * (PANEL / 2)..].as_ptr().cast()
    }
}

/// What the sums of one row and one block start with, in kernels that multiply nibbles without subtracting 8: -8 times the sum of
/// the row's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(in crate::kernels) struct BlockStart {
    pub total: i32,
    /// The same for the first two and the last two of every four numbers.
    pub pair: [i16; 2],
}

/// Rows of int8 numbers, `depth` apart, for kernels that read [`Int4Weights`]. Of every eight numbers the even ones come first.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // Elsewhere all kernels read int8 weights.
pub(in crate::kernels) struct Int4Rows<'a> {
    pub bytes: &'a [i8],
    pub count: usize,
    /// `[count, depth / 32]` for signed rows, else empty.
    pub starts: &'a [BlockStart],
    /// `[columns]` for unsigned rows, else empty: as in [`QuantizedRows`].
    pub compensation: &'a [i32],
}

/// Rows of int8 numbers, `depth` apart, with capacity for a multiple of [`TILE`] of them.
///
/// Where the driver wants unsigned rows ([`Isa::unsigned_rows`](crate::kernels::Isa)) every number is stored with an offset of
/// 128 (zero point 128).
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct QuantizedRows<'a> {
    pub bytes: &'a [i8],
    pub count: usize,
    /// `[columns]` for unsigned rows, else empty: what the sums of each column start with, to cancel the offset of 128.
    pub compensation: &'a [i32],
}

/// Receives the sums of a GEMM.
pub(in crate::kernels) trait Epilogue: Sync {
    /// `sums` are those of one panel and of the rows from `row` on. To be inlined, so that it is compiled for the kernel's
    /// vectors.
    fn apply(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_weights_of_another_length_are_none() {
        assert!(PackedWeights::new(&[0; 64 * 32], 60, 17).is_some());
        assert!(PackedWeights::new(&[0; 64 * 32], 65, 17).is_none());
        assert!(PackedWeights::new(&[], 0, 0).is_none());
        assert!(PackedWeights::new(&[0; 64], usize::MAX, usize::MAX).is_none());
        assert!(Int4Weights::new(&[0; 32 * 32], &[-15; 64], 60, 17).is_some());
        assert!(Int4Weights::new(&[0; 32 * 32], &[16; 64], 60, 17).is_none());
        assert!(Int4Weights::new(&[0; 32 * 32], &[i8::MIN; 64], 60, 17).is_none());
        assert!(Int4Weights::new(&[0; 32 * 32], &[1; 63], 60, 17).is_none());
        assert!(Int4Weights::new(&[0; 32 * 32], &[1; 64], 65, 17).is_none());
        assert!(Int4Weights::new(&[], &[], usize::MAX, usize::MAX).is_none());
    }
}
