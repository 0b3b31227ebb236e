//! Softmax over the lanes of a vector.

use super::super::isa::multiversion;
use super::super::simd::{LANES, exp, largest, sum};

multiversion! {
    /// Softmax of the first `visible` scores; the others become 0.
    pub(super) fn softmax(isa, scores: &mut [f32], visible: usize) = softmax_body
}

#[inline(always)]
fn softmax_body(scores: &mut [f32], visible: usize) {
    scores[visible..].fill(f32::NEG_INFINITY);
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut top = [f32::NEG_INFINITY; LANES];
    for block in &*blocks {
        for i in 0..LANES {
            top[i] = if block[i] > top[i] { block[i] } else { top[i] };
        }
    }
    let top = largest(top);
    let mut total = [0.0; LANES];
    for block in &mut *blocks {
        for i in 0..LANES {
            block[i] = exp(block[i] - top);
            total[i] += block[i];
        }
    }
    let inverse = 1.0 / sum(total);
    // Not block by block: compilers turn that into gathers.
    for x in scores {
        *x *= inverse;
    }
}
