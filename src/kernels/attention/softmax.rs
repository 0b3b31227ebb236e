//! Softmax over the lanes of a vector.

use super::super::isa::multiversion;
use super::super::simd::{LANES, exp, largest, sum};

multiversion! {
    /// Softmax of the first `visible` scores; the others become 0.
    pub(super) fn softmax(isa, scores: &mut [f32], visible: usize) = softmax_body
}

#[inline(always)]
fn softmax_body<const FUSED: bool>(scores: &mut [f32], visible: usize) {
    scores[visible..].fill(f32::NEG_INFINITY);
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut top = [f32::NEG_INFINITY; LANES];
    for block in &*blocks {
        for i in 0..LANES {
            top[i] = if block[i] > top[i] { block[i] } else { top[i] };
        }
    }
    let top = largest(top);
    // Finite, and so far below that its power is 0: infinity is an invalid operation where multiply-adds are computed.
    scores[visible..].fill(top - (top.abs() + 200.0));
    let (blocks, _) = scores.as_chunks_mut::<LANES>();
    let mut total = [0.0; LANES];
    for block in &mut *blocks {
        for i in 0..LANES {
            block[i] = exp::<FUSED>(block[i] - top);
            total[i] += block[i];
        }
    }
    let inverse = 1.0 / sum(total);
    // Not block by block: compilers turn that into gathers.
    for x in scores {
        *x *= inverse;
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::super::super::Isa;
    use super::*;
    use crate::support::platform::float;

    /// Hosts that trap invalid operations would die of it, and others would find a flag raised.
    #[test]
    fn softmax_of_excluded_scores_is_no_invalid_operation() {
        for &isa in Isa::supported() {
            for visible in 1..2 * LANES {
                let _float = float::enter();
                float::set_default();
                let mut scores = [1.5; 2 * LANES];
                softmax(isa, &mut scores, std::hint::black_box(visible));
                assert!(!float::is_invalid_raised(), "{isa:?}, {visible} of {} scores", scores.len());
                assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5 && scores[visible..].iter().all(|&x| x == 0.0));
            }
        }
    }
}
