//! What a GEMM takes and gives: packed weights, quantized rows, and the epilogue that receives the sums.
//!
//! **Weights are packed** by the exporter for every CPU alike: columns in panels of 16, and within a panel four consecutive
//! numbers of each column together: `[columns / 16, depth / 4, 16, 4]`, with the depth zero-padded to a multiple of 64 and the
//! columns to one of 16. A vector of 64 bytes is then four steps of 16 columns, and 16 of them are a tile. They are read where
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
    }
}
