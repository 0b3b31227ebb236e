//! Full (bidirectional) attention within each image: patches and latents of the tokenizer (DETAILFLOW paper section 3.1),
//! several images in a call.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::isa::Isa;
use super::super::pool::{Pool, SharedPointer};
use super::super::simd::LANES;
use super::matmul::MatMul;
use super::softmax::softmax;
use super::{ATTENTION, out_of_memory};
use crate::support::memory::grow;

/// The attention of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullAttention<'a> {
    pub heads: usize,
    pub head_dim: usize,
    /// Positions of an image.
    pub positions: usize,
    /// `[positions]`: visible lengths; each attends to the positions below this one. None: each attends to all.
    pub visible: Option<&'a [i64]>,
}

/// The most queries that are computed together.
const QUERY_BLOCK: usize = 12;
/// Fewer multiplications than this are done on one thread.
const SINGLE_THREAD_BELOW: usize = 40_000;
/// Tasks for each thread, at least.
const TASKS: usize = 2;

thread_local! {
    /// Keys and values of a head, scores and sums.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl FullAttention<'_> {
    /// Attends from all positions. `qkv` is `[images * positions, 3 * heads * head_dim]`, `out` `[images * positions, heads *
    /// head_dim]`.
    ///
    /// # Errors
    /// A sentence that says what does not fit; nothing was changed then.
    pub fn run(&self, isa: Isa, pool: &dyn Pool, qkv: &[f32], out: &mut [f32]) -> Result<(), String> {
        let &Self { heads, head_dim: width, positions, visible } = self;
        let wide = heads * width;
        if positions == 0 || !out.len().is_multiple_of((positions * wide).max(1)) || qkv.len() != 3 * out.len() {
            return Err(format!(
                "full attention: {} numbers of qkv and {} of output are not images of {positions} positions",
                qkv.len(),
                out.len()
            ));
        }
        let fits = |&length: &i64| usize::try_from(length).is_ok_and(|length| (1..=positions).contains(&length));
        if visible.is_some_and(|visible| visible.len() != positions || !visible.iter().all(fits)) {
            return Err(format!("full attention: visible lengths must be {positions} numbers of 1 to {positions}"));
        }
        let images = out.len() / (positions * wide);
        // Each task transposes the keys and values of its head: there are no more tasks than the threads need.
        let parts = (TASKS * pool.threads()).div_ceil((images * heads).max(1)).min(positions.div_ceil(QUERY_BLOCK));
        let to = SharedPointer(out.as_mut_ptr());
        let short = AtomicBool::new(false);
        let task = |number: usize| {
            let (number, part) = (number / parts, number % parts);
            let (image, head) = (number / heads, number % heads);
            let qkv = &qkv[image * positions * 3 * wide..][..positions * 3 * wide];
            let from = image * positions * wide + head * width;
            let queries = part * positions / parts..(part + 1) * positions / parts;
            let done = self.head(isa, qkv, head, queries, |position, sums| {
                // SAFETY: a position's head belongs to one task, and lies within the output.
                unsafe { to.at(from + position * wide).copy_from_nonoverlapping(sums.as_ptr(), width) };
            });
            if !done {
                short.store(true, Ordering::Relaxed);
            }
        };
        let tasks = images * heads * parts;
        if 2 * images * positions * positions * wide < SINGLE_THREAD_BELOW {
            (0..tasks).for_each(task);
        } else {
            pool.each(tasks, &task);
        }
        if short.into_inner() { Err(out_of_memory(2 * positions * width)) } else { Ok(()) }
    }

    /// Attends from some queries of a head of one image; `store` gets the sums of each. False if there is no memory for it.
    fn head(
        &self,
        isa: Isa,
        qkv: &[f32],
        head: usize,
        queries: std::ops::Range<usize>,
        store: impl Fn(usize, &[f32]),
    ) -> bool {
        let &Self { heads, head_dim: width, positions, visible } = self;
        let (wide, stride, padded) =
            (3 * heads * width, positions.next_multiple_of(LANES), width.next_multiple_of(LANES));
        SCRATCH.with_borrow_mut(|scratch| {
            let lengths = [width * stride, positions * padded, QUERY_BLOCK * stride, QUERY_BLOCK * padded];
            if grow(ATTENTION, scratch, lengths.iter().sum(), 0.0).is_err() {
                return false;
            }
            let (keys, rest) = scratch.split_at_mut(lengths[0]);
            let (values, rest) = rest.split_at_mut(lengths[1]);
            let (scores, rest) = rest.split_at_mut(lengths[2]);
            let sums = &mut rest[..lengths[3]];
            let of = |position: usize, kind: usize| &qkv[position * wide + (kind * heads + head) * width..][..width];
            // Keys become columns, scaled, so that a query is compared with all positions at once; sixteen at a time, so that
            // whole cache lines are written. Values are rows.
            let scale = 1.0 / (width as f32).sqrt();
            for first in (0..positions).step_by(LANES) {
                let mut rows: [&[f32]; LANES] = [&[]; LANES];
                let count = LANES.min(positions - first);
                for (row, position) in rows.iter_mut().zip(first..first + count) {
                    *row = of(position, 1);
                }
                for (d, column) in keys.chunks_exact_mut(stride).enumerate() {
                    for (to, row) in column[first..first + LANES].iter_mut().zip(&rows[..count]) {
                        *to = row[d] * scale;
                    }
                }
            }
            for (position, value) in values.chunks_exact_mut(padded).enumerate() {
                value[..width].copy_from_slice(of(position, 2));
            }
            let visible_at = |position: usize| visible.map_or(positions, |visible| visible[position] as usize);
            let mut from = queries.start;
            while from < queries.end {
                // Queries of one visible length are computed together.
                let length = visible_at(from);
                let end = (from..queries.end.min(from + QUERY_BLOCK)).find(|&position| visible_at(position) != length);
                let end = end.unwrap_or(queries.end.min(from + QUERY_BLOCK));
                let (count, vectors) = (end - from, length.div_ceil(LANES));
                let query = &qkv[from * wide + head * width..];
                let (keys, values) = ((keys.as_ptr(), stride, LANES), (values.as_ptr(), padded, LANES));
                // SAFETY: `width` rows of `stride` keys (what lies beyond the positions is scratch memory, and its scores are
                // masked), and `positions` rows of `padded` values; nobody else has them.
                unsafe {
                    isa.multiply(MatMul::new(count, (query, wide), keys, width, vectors, (scores, stride)));
                    for scores in scores.chunks_exact_mut(stride).take(count) {
                        softmax(isa, &mut scores[..vectors * LANES], length);
                    }
                    isa.multiply(MatMul::new(count, (scores, stride), values, length, padded / LANES, (sums, padded)));
                }
                (from..end).zip(sums.chunks_exact(padded)).for_each(|(position, sums)| store(position, sums));
                from = end;
            }
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::pool::SingleThread;
    use super::*;

    fn number(n: usize) -> f32 {
        let bits = (n as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        bits as f32 / (1 << 22) as f32 - 2.0
    }

    #[test]
    fn full_attention_is_near_the_formula_and_identical_in_every_batch_with_every_instruction_set() {
        let (heads, width, positions, images) = (3, 20, 37, 2);
        let wide = heads * width;
        let qkv: Vec<f32> = (0..images * positions * 3 * wide).map(number).collect();
        let limited: Vec<i64> =
            (0..positions as i64).map(|position| if position < 16 { 16 } else { position + 1 }).collect();
        for visible in [None, Some(&limited[..])] {
            let layer = FullAttention { heads, head_dim: width, positions, visible };
            let run = |isa, qkv: &[f32]| {
                let mut out = vec![0.0; qkv.len() / 3];
                layer.run(isa, &SingleThread, qkv, &mut out).unwrap();
                out
            };
            let all = run(Isa::Portable, &qkv);
            for (at, &got) in all.iter().enumerate() {
                let (position, n) = (at / wide, at % wide);
                let (image, head) = (position / positions, n / width);
                let x = |position: usize, kind: usize, d: usize| {
                    f64::from(qkv[(image * positions + position) * 3 * wide + (kind * heads + head) * width + d])
                };
                let length = visible.map_or(positions, |visible| visible[position % positions] as usize);
                let weight = |other: usize| {
                    let dot: f64 = (0..width).map(|d| x(position % positions, 0, d) * x(other, 1, d)).sum();
                    (dot / (width as f64).sqrt()).exp()
                };
                let total: f64 = (0..length).map(weight).sum();
                let want: f64 = (0..length).map(|other| weight(other) * x(other, 2, n % width)).sum::<f64>() / total;
                assert!((f64::from(got) - want).abs() < 2e-5, "{at}: {got} {want}");
            }
            for &isa in Isa::supported() {
                assert_eq!(run(isa, &qkv), all, "{isa:?}");
                assert_eq!(run(isa, &qkv[qkv.len() / 2..]), &all[all.len() / 2..], "{isa:?}: an image alone");
            }
        }
    }

    #[test]
    fn full_attention_with_sizes_that_do_not_fit_is_an_error() {
        let run = |positions, visible, qkv: usize, out: usize| {
            let layer = FullAttention { heads: 2, head_dim: 4, positions, visible };
            layer.run(Isa::Portable, &SingleThread, &vec![0.0; qkv], &mut vec![0.0; out])
        };
        assert!(run(3, None, 72, 24).is_ok());
        assert!(run(0, None, 72, 24).is_err());
        assert!(run(5, None, 72, 24).is_err());
        assert!(run(3, None, 71, 24).is_err());
        assert!(run(3, Some(&[1, 2, 3]), 72, 24).is_ok());
        for visible in [&[1, 2][..], &[0, 1, 2], &[1, 2, 4], &[1, 2, -1]] {
            assert!(run(3, Some(visible), 72, 24).is_err());
        }
    }
}
