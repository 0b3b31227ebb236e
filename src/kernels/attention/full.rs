//! Attention of the places of a picture among themselves: patches and latents of the tokenizer (DETAILFLOW paper section
//! 3.1), several pictures in a call.

use std::cell::RefCell;

use super::super::simd::LANES;
use super::super::{Isa, Pool, Shared};
use super::{Outer, outer, softmax};

/// The attention of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullAttention<'a> {
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    /// Places of a picture.
    pub places: usize,
    /// `[places]`: each sees the places below this one. None: each sees all.
    pub seen: Option<&'a [i64]>,
}

/// Queries that are computed together.
const TOGETHER: usize = 12;
/// Less work than this many multiplications is not worth a second thread.
const ALONE: usize = 40_000;
/// Tasks for each thread, at least.
const TASKS: usize = 2;

thread_local! {
    /// Keys and values of a head, scores and sums.
    static WORK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl FullAttention<'_> {
    /// `qkv` is `[pictures * places, 3 * heads * width]`, `out` `[pictures * places, heads * width]`. The error says what
    /// does not fit, and nothing is done then.
    pub fn run(&self, isa: Isa, pool: &dyn Pool, qkv: &[f32], out: &mut [f32]) -> Result<(), String> {
        let &Self { heads, width, places, seen } = self;
        let wide = heads * width;
        if places == 0 || !out.len().is_multiple_of((places * wide).max(1)) || qkv.len() != 3 * out.len() {
            return Err(format!("attention: {} numbers are not pictures of {places} places", qkv.len()));
        }
        let fits = |&seen: &i64| usize::try_from(seen).is_ok_and(|seen| (1..=places).contains(&seen));
        if seen.is_some_and(|seen| seen.len() != places || !seen.iter().all(fits)) {
            return Err(format!("attention: what each of {places} places sees does not fit"));
        }
        let pictures = out.len() / (places * wide);
        // Each task lays the keys and values of its head out anew: there are not more than the threads need.
        let parts = (TASKS * pool.threads()).div_ceil((pictures * heads).max(1)).min(places.div_ceil(TOGETHER));
        let to = Shared(out.as_mut_ptr());
        let task = |number: usize| {
            let (number, part) = (number / parts, number % parts);
            let (picture, head) = (number / heads, number % heads);
            let qkv = &qkv[picture * places * 3 * wide..][..places * 3 * wide];
            let from = picture * places * wide + head * width;
            let queries = part * places / parts..(part + 1) * places / parts;
            self.head(isa, qkv, head, queries, |place, sums| {
                // SAFETY: a place's head is the task's own, and lies within the output.
                unsafe { to.at(from + place * wide).copy_from_nonoverlapping(sums.as_ptr(), width) };
            });
        };
        let tasks = pictures * heads * parts;
        if 2 * pictures * places * places * wide < ALONE {
            (0..tasks).for_each(task);
        } else {
            pool.each(tasks, &task);
        }
        Ok(())
    }

    /// Some queries of a head of one picture; `take` gets the sums of each.
    fn head(&self, isa: Isa, qkv: &[f32], head: usize, queries: std::ops::Range<usize>, take: impl Fn(usize, &[f32])) {
        let &Self { heads, width, places, seen } = self;
        let (wide, stride, padded) = (3 * heads * width, places.next_multiple_of(LANES), width.next_multiple_of(LANES));
        WORK.with_borrow_mut(|work| {
            let lengths = [width * stride, places * padded, TOGETHER * stride, TOGETHER * padded];
            work.resize(lengths.iter().sum::<usize>().max(work.len()), 0.0);
            let (keys, rest) = work.split_at_mut(lengths[0]);
            let (values, rest) = rest.split_at_mut(lengths[1]);
            let (scores, rest) = rest.split_at_mut(lengths[2]);
            let sums = &mut rest[..lengths[3]];
            let of = |place: usize, kind: usize| &qkv[place * wide + (kind * heads + head) * width..][..width];
            // Every key becomes a column, scaled, so that all places are compared at once; sixteen at a time, so that whole
            // lines are written. A value is a row.
            let scale = 1.0 / (width as f32).sqrt();
            for first in (0..places).step_by(LANES) {
                let mut rows: [&[f32]; LANES] = [&[]; LANES];
                let count = LANES.min(places - first);
                for (row, place) in rows.iter_mut().zip(first..first + count) {
                    *row = of(place, 1);
                }
                for (d, column) in keys.chunks_exact_mut(stride).enumerate() {
                    for (to, row) in column[first..first + LANES].iter_mut().zip(&rows[..count]) {
                        *to = row[d] * scale;
                    }
                }
            }
            for (place, value) in values.chunks_exact_mut(padded).enumerate() {
                value[..width].copy_from_slice(of(place, 2));
            }
            let sees = |place: usize| seen.map_or(places, |seen| seen[place] as usize);
            let mut from = queries.start;
            while from < queries.end {
                // Those that see the same are computed together.
                let sight = sees(from);
                let end = (from..queries.end.min(from + TOGETHER)).find(|&place| sees(place) != sight);
                let end = end.unwrap_or(queries.end.min(from + TOGETHER));
                let (count, vectors) = (end - from, sight.div_ceil(LANES));
                let query = &qkv[from * wide + head * width..];
                let (keys, values) = ((keys.as_ptr(), stride, LANES), (values.as_ptr(), padded, LANES));
                // SAFETY: `width` rows of `stride` keys (what is beyond the places are numbers of ours, and their scores are not
                // looked at), and `places` rows of `padded` values; nobody else has them.
                unsafe {
                    outer(isa, Outer::new(count, (query, wide), keys, width, vectors, (scores, stride)));
                    for scores in scores.chunks_exact_mut(stride).take(count) {
                        softmax(isa, &mut scores[..vectors * LANES], sight);
                    }
                    outer(isa, Outer::new(count, (scores, stride), values, sight, padded / LANES, (sums, padded)));
                }
                (from..end).zip(sums.chunks_exact(padded)).for_each(|(place, sums)| take(place, sums));
                from = end;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Alone;
    use super::*;

    fn number(n: usize) -> f32 {
        let bits = (n as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        bits as f32 / (1 << 22) as f32 - 2.0
    }

    #[test]
    fn what_places_see_is_what_the_formula_says_on_every_processor_and_beside_any_picture() {
        let (heads, width, places, pictures) = (3, 20, 37, 2);
        let wide = heads * width;
        let qkv: Vec<f32> = (0..pictures * places * 3 * wide).map(number).collect();
        let limited: Vec<i64> = (0..places as i64).map(|place| if place < 16 { 16 } else { place + 1 }).collect();
        for seen in [None, Some(&limited[..])] {
            let layer = FullAttention { heads, width, places, seen };
            let run = |isa, qkv: &[f32]| {
                let mut out = vec![0.0; qkv.len() / 3];
                layer.run(isa, &Alone, qkv, &mut out).unwrap();
                out
            };
            let all = run(Isa::Portable, &qkv);
            for (at, &got) in all.iter().enumerate() {
                let (place, n) = (at / wide, at % wide);
                let (picture, head) = (place / places, n / width);
                let x = |place: usize, kind: usize, d: usize| {
                    f64::from(qkv[(picture * places + place) * 3 * wide + (kind * heads + head) * width + d])
                };
                let sight = seen.map_or(places, |seen| seen[place % places] as usize);
                let weight = |other: usize| {
                    let dot: f64 = (0..width).map(|d| x(place % places, 0, d) * x(other, 1, d)).sum();
                    (dot / (width as f64).sqrt()).exp()
                };
                let total: f64 = (0..sight).map(weight).sum();
                let want: f64 = (0..sight).map(|other| weight(other) * x(other, 2, n % width)).sum::<f64>() / total;
                assert!((f64::from(got) - want).abs() < 2e-5, "{at}: {got} {want}");
            }
            for isa in Isa::all_here() {
                assert_eq!(run(isa, &qkv), all, "{isa:?}");
                assert_eq!(run(isa, &qkv[qkv.len() / 2..]), &all[all.len() / 2..], "{isa:?}: a picture alone");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let run = |places, seen, qkv: usize, out: usize| {
            let layer = FullAttention { heads: 2, width: 4, places, seen };
            layer.run(Isa::Portable, &Alone, &vec![0.0; qkv], &mut vec![0.0; out])
        };
        assert!(run(3, None, 72, 24).is_ok());
        assert!(run(0, None, 72, 24).is_err());
        assert!(run(5, None, 72, 24).is_err());
        assert!(run(3, None, 71, 24).is_err());
        assert!(run(3, Some(&[1, 2, 3]), 72, 24).is_ok());
        for seen in [&[1, 2][..], &[0, 1, 2], &[1, 2, 4], &[1, 2, -1]] {
            assert!(run(3, Some(seen), 72, 24).is_err());
        }
    }
}
