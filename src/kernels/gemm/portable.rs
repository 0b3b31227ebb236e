//! GEMM in plain Rust.

use std::ops::Range;

use super::operands::{Epilogue, PANEL, PackedWeights, QuantizedRows};

pub(in crate::kernels) fn run(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    panels: Range<usize>,
    epilogue: &impl Epilogue,
) {
    for panel in panels {
        let packed = &weights.bytes[panel * weights.depth * PANEL..][..weights.depth * PANEL];
        for (index, row) in rows.bytes.chunks_exact(weights.depth).take(rows.count).enumerate() {
            let mut sums = [0i32; PANEL];
            for (four, packed) in row.as_chunks::<4>().0.iter().zip(packed.as_chunks::<{ 4 * PANEL }>().0) {
                for (sum, column) in sums.iter_mut().zip(packed.as_chunks::<4>().0) {
                    for i in 0..4 {
                        // Compilers make vectors of a sum that wraps; of one that is checked they do not.
                        *sum = sum.wrapping_add(i32::from(four[i]) * i32::from(column[i]));
                    }
                }
            }
            epilogue.apply(index, panel, &[sums]);
        }
    }
}
