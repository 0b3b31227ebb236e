//! Products in plain code.

use std::ops::Range;

use super::{PANEL, Packed, Rows, Take};

pub(super) fn run(rows: Rows<'_>, weights: Packed<'_>, panels: Range<usize>, take: &impl Take) {
    for panel in panels {
        let packed = &weights.bytes[panel * weights.depth * PANEL..][..weights.depth * PANEL];
        for (at, row) in rows.bytes.chunks_exact(weights.depth).take(rows.count).enumerate() {
            let mut sums = [0i32; PANEL];
            for (four, packed) in row.as_chunks::<4>().0.iter().zip(packed.as_chunks::<{ 4 * PANEL }>().0) {
                for (sum, column) in sums.iter_mut().zip(packed.as_chunks::<4>().0) {
                    for i in 0..4 {
                        *sum += i32::from(four[i]) * i32::from(column[i]);
                    }
                }
            }
            take.take(at, panel, &[sums]);
        }
    }
}
