//! Attention of new tokens over the KV cache (DETAILFLOW paper section 3.4). A call takes tokens of any batch rows, each at its
//! own position: it applies RoPE to q and k, writes k and v to the cache at each token's position, and attends over the visible
//! prefix.

use std::cell::RefCell;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::element::Half;
use super::super::isa::{Isa, multiversion};
use super::super::kv::{KvGuard, KvLayout, KvSlot};
use super::super::pool::{Pool, SharedPointer};
use super::super::simd::LANES;
use super::matmul::MatMul;
use super::softmax::softmax;
use super::stored::{Scratch, Stored};
use super::{ATTENTION, out_of_memory};
use crate::support::memory::{grow, reserve};

/// One token of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueryToken {
    /// The batch row that it belongs to.
    pub row: usize,
    /// Its position in the sequence, at which its key and value are cached.
    pub position: usize,
    /// Visible length: it attends to the positions below this one.
    pub visible: usize,
}

/// The attention of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub layer: usize,
    /// Query heads; a multiple of the KV heads.
    pub heads: usize,
    pub layout: KvLayout,
    /// `[positions, head_dim / 2]` each: the rotary embedding. A head's first half is rotated with its second.
    pub cos: &'a [f32],
    pub sin: &'a [f32],
}

/// Fewer multiplications than this are done on one thread.
const SINGLE_THREAD_BELOW: usize = 40_000;
/// Pieces for each thread.
const PIECES: usize = 4;
/// The most queries that are computed together.
const QUERY_BLOCK: usize = 8;

thread_local! {
    /// As much as a call needs before its first piece runs here.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { floats: Vec::new(), halves: Vec::new() }) };
}

impl Attention<'_> {
    /// Attends from all tokens. `qkv` is `[tokens, (heads + 2 * kv_heads) * head_dim]`, `out` `[tokens, heads * head_dim]`;
    /// batch row i has slot i of the guard. The tokens of a row are consecutive, by ascending position.
    ///
    /// # Errors
    /// A sentence that says what does not fit; nothing was changed then.
    pub fn run(
        &self,
        isa: Isa,
        pool: &dyn Pool,
        qkv: &[f32],
        tokens: &[QueryToken],
        guard: &mut KvGuard<'_>,
        out: &mut [f32],
    ) -> Result<(), String> {
        let slots = guard.slots();
        self.check(qkv, tokens, slots.iter().map(|slot| slot.layout()), out)?;
        // The tokens of each row.
        let mut runs: Vec<Range<usize>> = reserve(ATTENTION, slots.len()).map_err(|error| error.to_string())?;
        for (index, token) in tokens.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if tokens[run.start].row == token.row => run.end = index + 1,
                _ => runs.push(index..index + 1),
            }
        }
        let kv_heads = self.layout.kv_heads;
        let to = SharedPointer(out.as_mut_ptr());
        let scratch =
            QUERY_BLOCK * (self.layout.head_dim + self.layout.padded_positions() + self.layout.padded_head_dim());
        let short = AtomicBool::new(false);
        let work: usize = tokens.iter().map(|token| 2 * token.visible * self.layout.head_dim * self.heads).sum();
        // Consecutive heads of a row are contiguous in memory: a piece is some of them.
        let heads = runs.len() * kv_heads;
        let pieces = if work < SINGLE_THREAD_BELOW { 1 } else { heads.min(PIECES * pool.threads()) };
        let slot = |number: usize| &*slots[tokens[runs[number / kv_heads].start].row];
        let piece = |piece: usize| {
            SCRATCH.with_borrow_mut(|memory| {
                let width = self.layout.head_dim;
                if grow(ATTENTION, &mut memory.floats, scratch, 0.0).is_err()
                    || grow(ATTENTION, &mut memory.halves, width, Half::default()).is_err()
                {
                    return short.store(true, Ordering::Relaxed);
                }
                let end = (piece + 1) * heads / pieces;
                for number in piece * heads / pieces..end {
                    let (run, head) = (runs[number / kv_heads].clone(), number % kv_heads);
                    let next = (number + 1 < end).then(|| (slot(number + 1), (number + 1) % kv_heads));
                    let (slot, out) = (slot(number), &to);
                    // SAFETY: the guard keeps other users of the slots away, and no slot is set twice; so a slot's head is
                    // accessed by this piece alone, and so are the outputs of its tokens for the query heads that share it.
                    // `check` made sure that all positions exist.
                    unsafe {
                        if self.layout.half {
                            self.head::<Half>(isa, slot, head, next, run, tokens, qkv, memory, out);
                        } else {
                            self.head::<f32>(isa, slot, head, next, run, tokens, qkv, memory, out);
                        }
                    }
                }
            });
        };
        if pieces == 1 {
            piece(0);
        } else {
            pool.each(pieces, &piece);
        }
        if short.into_inner() { Err(out_of_memory(scratch)) } else { Ok(()) }
    }

    /// One KV head of a row: caches the keys and values of its new tokens, then attends from the query heads that share it.
    ///
    /// # Safety
    /// `run` are existing tokens of this slot; nobody else accesses the head, or writes these tokens' part of `out`. `next` is
    /// the slot and the head that are read after this one.
    #[allow(clippy::too_many_arguments, reason = "an inner loop; a struct would be built for each call")]
    unsafe fn head<E: Stored>(
        &self,
        isa: Isa,
        slot: &KvSlot,
        head: usize,
        next: Option<(&KvSlot, usize)>,
        run: Range<usize>,
        tokens: &[QueryToken],
        qkv: &[f32],
        scratch: &mut Scratch,
        out: &SharedPointer<f32>,
    ) {
        let KvLayout { kv_heads, head_dim: width, .. } = self.layout;
        let wide = (self.heads + 2 * kv_heads) * width;
        let (keys, values) = slot.head::<E>(self.layer, head);
        let next = next.map_or(null_mut(), |(slot, head)| slot.head::<E>(self.layer, head).0);
        for token in run.clone() {
            let position = tokens[token].position;
            let key = &qkv[token * wide + (self.heads + head) * width..][..width];
            let value = &qkv[token * wide + (self.heads + kv_heads + head) * width..][..width];
            let (cos, sin) = self.rotation(position);
            rotate(isa, key, cos, sin, 1.0, &mut scratch.floats[..width]);
            // SAFETY: `check` made sure that the position and the width are the layout's.
            unsafe {
                let column = keys.add(self.layout.key_index(0, position));
                for (d, &x) in E::key(isa, scratch, width).iter().enumerate() {
                    *column.add(d * LANES) = x;
                }
                let row = values.add(position * self.layout.padded_head_dim());
                E::store(isa, value, std::slice::from_raw_parts_mut(row, width));
            }
        }
        // Queries of one visible length are computed together.
        let each = self.heads / kv_heads;
        for group in tokens[run.clone()].chunk_by(|a, b| a.visible == b.visible).scan(run.start, |from, group| {
            *from += group.len();
            Some(*from - group.len()..*from)
        }) {
            for from in group.clone().step_by(QUERY_BLOCK) {
                let queries = from..group.end.min(from + QUERY_BLOCK);
                for head in head * each..(head + 1) * each {
                    let visible = tokens[from].visible;
                    // SAFETY: the caller's promise.
                    unsafe {
                        self.attend(
                            isa,
                            (keys, values),
                            next,
                            visible,
                            queries.clone(),
                            head,
                            tokens,
                            qkv,
                            &mut scratch.floats,
                            out,
                        );
                    };
                }
            }
        }
    }

    fn check(
        &self,
        qkv: &[f32],
        tokens: &[QueryToken],
        mut slots: impl ExactSizeIterator<Item = KvLayout>,
        out: &[f32],
    ) -> Result<(), String> {
        let KvLayout { kv_heads, head_dim: width, positions, layers, .. } = self.layout;
        let slot_count = slots.len();
        let sizes = [
            (self.layer < layers && kv_heads > 0 && self.heads.is_multiple_of(kv_heads), "layer or number of heads"),
            (width.is_multiple_of(2) && width > 0, "head_dim"),
            (self.cos.len() == positions * width / 2 && self.sin.len() == self.cos.len(), "size of cos and sin"),
            (qkv.len() == tokens.len() * (self.heads + 2 * kv_heads) * width, "size of qkv"),
            (out.len() == tokens.len() * self.heads * width, "size of the output"),
            (slots.all(|layout| layout == self.layout), "layout of the KV slots"),
        ];
        if let Some((_, what)) = sizes.iter().find(|(fits, _)| !fits) {
            return Err(format!(
                "attention: the {what} does not fit the layer ({} heads, {})",
                self.heads, self.layout
            ));
        }
        let mut last: Option<QueryToken> = None;
        let mut begun = 0;
        for &token in tokens {
            let QueryToken { row, position, visible } = token;
            if row >= slot_count || position >= positions || visible > positions || visible == 0 {
                return Err(format!(
                    "attention: row {row}, position {position}, visible length {visible}: there are {slot_count} rows of {positions} positions"
                ));
            }
            match last {
                Some(before) if before.row == row && before.position < position => {}
                _ if row == begun => begun += 1,
                _ => return Err("attention: the tokens are not ordered by row and position".to_owned()),
            }
            last = Some(token);
        }
        Ok(())
    }

    /// Cosines and sines of `position`.
    fn rotation(&self, position: usize) -> (&[f32], &[f32]) {
        let half = self.layout.head_dim / 2;
        (&self.cos[position * half..][..half], &self.sin[position * half..][..half])
    }

    /// Attends from some queries of one head with the same visible length; `next` is null or the address of the keys that
    /// are read after these.
    ///
    /// # Safety
    /// `cached` are keys and values of this layout that nobody writes below `visible`; nobody else writes the queries' part of
    /// `out`.
    #[allow(clippy::too_many_arguments, reason = "an inner loop; a struct would be built for each call")]
    unsafe fn attend<E: Stored>(
        &self,
        isa: Isa,
        cached: (*mut E, *mut E),
        next: *const E,
        visible: usize,
        queries: Range<usize>,
        head: usize,
        tokens: &[QueryToken],
        qkv: &[f32],
        scratch: &mut [f32],
        out: &SharedPointer<f32>,
    ) {
        let KvLayout { kv_heads, head_dim: width, .. } = self.layout;
        let wide = (self.heads + 2 * kv_heads) * width;
        let (stride, padded) = (self.layout.padded_positions(), self.layout.padded_head_dim());
        let (rotated, rest) = scratch.split_at_mut(QUERY_BLOCK * width);
        let (scores, rest) = rest.split_at_mut(QUERY_BLOCK * stride);
        let sums = &mut rest[..QUERY_BLOCK * padded];
        let scale = 1.0 / (width as f32).sqrt();
        for (rotated, token) in rotated.chunks_exact_mut(width).zip(queries.clone()) {
            let x = &qkv[token * wide + head * width..][..width];
            let (cos, sin) = self.rotation(tokens[token].position);
            rotate(isa, x, cos, sin, scale, rotated);
        }
        let count = queries.len();
        // SAFETY: keys are blocks of `width` rows of 16, read up to `visible` rounded up (what lies beyond is the slot's own
        // memory, and its scores are masked); values are `visible` rows of `padded`.
        unsafe {
            let keys = (cached.0.cast_const(), LANES, width * LANES);
            let blocks = visible.div_ceil(LANES);
            let product = MatMul::new(count, (rotated, width), keys, width, blocks, (scores, stride));
            isa.multiply(product.prefetching(cached.1, visible * padded));
            for scores in scores.chunks_exact_mut(stride).take(count) {
                softmax(isa, &mut scores[..visible.next_multiple_of(LANES)], visible);
            }
            let values = (cached.1.cast_const(), padded, LANES);
            let product = MatMul::new(count, (scores, stride), values, visible, padded / LANES, (sums, padded));
            isa.multiply(product.prefetching(next, blocks * width * LANES));
            for (sums, token) in sums.chunks_exact(padded).zip(queries) {
                let to = out.at((token * self.heads + head) * width);
                to.copy_from_nonoverlapping(sums.as_ptr(), width);
            }
        }
    }
}

multiversion! {
    /// Applies the rotary embedding to a head, times `scale`.
    fn rotate(isa, x: &[f32], cos: &[f32], sin: &[f32], scale: f32, to: &mut [f32]) = rotate_body
}

#[inline(always)]
fn rotate_body<const FUSED: bool>(x: &[f32], cos: &[f32], sin: &[f32], scale: f32, to: &mut [f32]) {
    let half = cos.len();
    let ((first, second), (left, right)) = (x.split_at(half), to.split_at_mut(half));
    let (second, right, sin) = (&second[..half], &mut right[..half], &sin[..half]);
    for i in 0..half {
        left[i] = (first[i] * cos[i] - second[i] * sin[i]) * scale;
        right[i] = (second[i] * cos[i] + first[i] * sin[i]) * scale;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::kv::SlotTable;
    use super::super::super::pool::SingleThread;
    use super::*;

    fn number(n: usize) -> f32 {
        let bits = (n as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        bits as f32 / (1 << 23) as f32 - 1.0
    }

    #[test]
    fn attention_is_near_the_formula_and_identical_with_every_instruction_set() {
        check_attention(false, 2e-6);
        check_attention(true, 1e-3);
    }

    /// Two rows at different positions, one with a group of new tokens and one with a single one; grouped-query attention.
    fn check_attention(half: bool, tolerance: f64) {
        let layout = KvLayout { layers: 2, kv_heads: 2, head_dim: 20, positions: 37, half };
        let (heads, half) = (4, 10);
        let cos: Vec<f32> = (0..37 * half).map(|n| (n as f32 * 0.1).cos()).collect();
        let sin: Vec<f32> = (0..37 * half).map(|n| (n as f32 * 0.1).sin()).collect();
        let attention = Attention { layer: 1, heads, layout, cos: &cos, sin: &sin };
        let wide = (heads + 4) * 20;
        // Positions 0..30 of row 0 and 0..3 of row 1 one by one; then 5 positions of row 0 at once beside one of row 1.
        let last: Vec<QueryToken> = (30..35)
            .map(|position| QueryToken { row: 0, position, visible: 35 })
            .chain([QueryToken { row: 1, position: 3, visible: 4 }])
            .collect();
        let input = |row: usize, position: usize| -> Vec<f32> {
            (0..wide).map(|n| number(n + wide * (position + 50 * row))).collect()
        };
        let mut results = Vec::new();
        for &isa in Isa::supported() {
            let table = SlotTable::new(Some(layout));
            let slots = [Arc::new(table.new_slot().unwrap()), Arc::new(table.new_slot().unwrap())];
            let mut guard = table.lock();
            for (row, count) in [(0, 30), (1, 3)] {
                guard.set([slots[row].clone()].into_iter()).unwrap();
                for position in 0..count {
                    let mut out = vec![0.0; heads * 20];
                    let token = [QueryToken { row: 0, position, visible: position + 1 }];
                    attention.run(isa, &SingleThread, &input(row, position), &token, &mut guard, &mut out).unwrap();
                }
            }
            let qkv: Vec<f32> = last.iter().flat_map(|token| input(token.row, token.position)).collect();
            let mut out = vec![0.0; last.len() * heads * 20];
            guard.set(slots.iter().cloned()).unwrap();
            attention.run(isa, &SingleThread, &qkv, &last, &mut guard, &mut out).unwrap();
            results.push(out);
        }
        assert!(results.iter().all(|other| *other == results[0]), "the same bits");
        let rotated = |x: &[f32], position: usize| -> Vec<f64> {
            (0..20)
                .map(|d| {
                    let (i, angle) = (d % half, position * half + d % half);
                    let (a, b) = (f64::from(x[i]), f64::from(x[half + i]));
                    let (c, s) = (f64::from(cos[angle]), f64::from(sin[angle]));
                    if d < half { a * c - b * s } else { b * c + a * s }
                })
                .collect()
        };
        for (index, token) in last.iter().enumerate() {
            let own = input(token.row, token.position);
            for head in 0..heads {
                let q = rotated(&own[head * 20..][..20], token.position);
                let score = |position: usize| -> f64 {
                    let other = input(token.row, position);
                    let k = rotated(&other[(heads + head / 2) * 20..][..20], position);
                    q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / 20f64.sqrt()
                };
                let weights: Vec<f64> = (0..token.visible).map(|position| score(position).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..20 {
                    let value =
                        |position: usize| f64::from(input(token.row, position)[(heads + 2 + head / 2) * 20 + d]);
                    let want: f64 =
                        (0..token.visible).map(|position| weights[position] / total * value(position)).sum();
                    let got = f64::from(results[0][(index * heads + head) * 20 + d]);
                    assert!((got - want).abs() < tolerance, "{token:?} {head} {d}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn attention_with_tokens_out_of_range_or_order_is_an_error() {
        let layout = KvLayout { layers: 1, kv_heads: 1, head_dim: 4, positions: 8, half: false };
        let rotation = [1.0; 16];
        let attention = Attention { layer: 0, heads: 1, layout, cos: &rotation, sin: &rotation };
        let table = SlotTable::new(Some(layout));
        table.lock().set((0..2).map(|_| Arc::new(table.new_slot().unwrap()))).unwrap();
        let run = |tokens: &[QueryToken]| {
            let mut out = vec![0.0; tokens.len() * 4];
            let qkv = vec![0.0; tokens.len() * 12];
            attention.run(Isa::Portable, &SingleThread, &qkv, tokens, &mut table.lock(), &mut out)
        };
        let token = |row, position, visible| QueryToken { row, position, visible };
        assert!(run(&[token(0, 0, 1), token(1, 7, 8)]).is_ok());
        for bad in [
            [token(0, 8, 8), token(1, 0, 1)],
            [token(0, 0, 9), token(1, 0, 1)],
            [token(0, 1, 1), token(0, 1, 1)],
            [token(1, 0, 1), token(0, 0, 1)],
            [token(0, 0, 1), token(2, 0, 1)],
            [token(0, 0, 0), token(1, 0, 1)],
        ] {
            assert!(run(&bad).is_err(), "{bad:?}");
        }
    }
}
