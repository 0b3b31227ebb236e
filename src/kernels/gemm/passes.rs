//! How the kernels of an architecture go through panels and rows: as many of both at once as fit into the registers.

use super::operands::{Epilogue, PANEL};

/// Bytes of four steps of a panel's columns: a cache line.
pub(super) const LINE: usize = 4 * PANEL;

/// The panels that come after these. They are prefetched while these are multiplied, each pass over the rows fetching its
/// share; otherwise memory would be idle while the later passes compute.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // Other kernels leave it to the hardware.
pub(super) struct PanelPrefetch {
    pub from: *const i8,
    pub pass: usize,
    pub passes: usize,
}

/// Applies the epilogue with the target's own vectors. Not inlined: the kernel's registers are for its sums.
#[inline(never)]
pub(super) fn apply_baseline(epilogue: &impl Epilogue, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    epilogue.apply(row, panel, sums);
}

/// Defines a driver that loops over panels and rows, and calls the kernel for as many at once as fit into the registers. All
/// rows are multiplied with a few panels at a time, so that those are read from memory once, in as few passes of as equal a
/// height as possible. Last come the heights, the largest at the end, with the number of panels that are taken at once for
/// each. Rows and weights are int8, or of the types in parentheses.
macro_rules! driver {
    ($name:ident, $features:literal, $kernel:ident, $($height:literal x $panels:literal),+) => {
        driver!($name, (QuantizedRows<'_>, PackedWeights<'_>), $features, $kernel, $($height x $panels),+);
    };
    ($name:ident, ($rows:ty, $weights:ty), $features:literal, $kernel:ident, $($height:literal x $panels:literal),+) => {
        pub(in crate::kernels) fn $name(rows: $rows, weights: $weights, panels: Range<usize>, epilogue: &impl Epilogue) {
            #[target_feature(enable = $features)]
            fn inner(rows: $rows, weights: $weights, panels: Range<usize>, epilogue: &impl Epilogue) {
                const HEIGHTS: &[usize] = &[$($height),+];
                let passes = rows.count.div_ceil(HEIGHTS[HEIGHTS.len() - 1]);
                let together = match rows.count.div_ceil(passes) {
                    $($height => $panels,)+
                    _ => 1,
                };
                let mut panel = panels.start;
                while panel < panels.end {
                    let width = if panel + together <= panels.end { together } else { 1 };
                    for pass in 0..passes {
                        let (row, end) = (pass * rows.count / passes, (pass + 1) * rows.count / passes);
                        // Beyond the end of this piece, too: what comes after is mostly taken next, by this thread.
                        let next = panel + width;
                        let next = if next + width <= weights.panels { next } else { panel };
                        let prefetch = PanelPrefetch { from: weights.panel(next), pass, passes };
                        #[allow(unreachable_patterns, reason = "some heights take one panel at once")]
                        // SAFETY: so many rows from `row` and panels from `panel` are there, as deep as the weights.
                        unsafe {
                            match (end - row, width) {
                                $(($height, $panels) => $kernel::<$height, $panels>(rows, weights, row, panel, prefetch, epilogue),)+
                                $(($height, 1) => $kernel::<$height, 1>(rows, weights, row, panel, prefetch, epilogue),)+
                                _ => unreachable!("heights differ by one at most"),
                            }
                        };
                    }
                    panel += width;
                }
            }
            // SAFETY: `isa` selects this driver only where the CPU has these features.
            unsafe { inner(rows, weights, panels, epilogue) }
        }
    };
}
pub(super) use driver;
