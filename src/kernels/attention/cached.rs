//! Attention of new tokens over the keys that their rows keep (DETAILFLOW paper section 3.4). A call takes any tokens of
//! any rows, each at its own position: it first adds all their keys and values, then lets each token see its row up to
//! where it may.

use std::cell::RefCell;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;

use super::super::kv::{KvLayout, KvSlot};
use super::super::simd::LANES;
use super::super::{Isa, Pool, Shared, versions};
use super::{Outer, outer, softmax};

/// One token of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    /// Which of the call's rows it belongs to.
    pub row: usize,
    /// Where it stands: its key is kept there.
    pub place: usize,
    /// It sees the positions below this one.
    pub seen: usize,
}

/// The attention of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub layer: usize,
    /// Heads of the queries; a multiple of the heads that have keys.
    pub heads: usize,
    pub keys: KvLayout,
    /// `[positions, width / 2]` each: how pairs are turned. A head's first half is turned with its second.
    pub cos: &'a [f32],
    pub sin: &'a [f32],
}

/// Less work than this many multiplications is not worth a second thread.
const ALONE: usize = 40_000;
/// Pieces for each thread.
const PIECES: usize = 4;
/// Queries that are computed together.
const TOGETHER: usize = 8;

thread_local! {
    /// Turned queries and scores.
    static WORK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Attention<'_> {
    /// `qkv` is `[tokens, (heads + 2 key heads) * width]`, `out` `[tokens, heads * width]`. The tokens of a row follow
    /// each other, by growing place; the error says what is wrong, and nothing is done then.
    ///
    /// # Safety
    /// No row is there twice. Nobody else reads or writes these rows at the places of these tokens, or writes where they look, meanwhile.
    pub unsafe fn run(
        &self,
        isa: Isa,
        pool: &dyn Pool,
        qkv: &[f32],
        tokens: &[Token],
        rows: &[Arc<KvSlot>],
        out: &mut [f32],
    ) -> Result<(), String> {
        self.check(qkv, tokens, rows, out)?;
        // The tokens of each row.
        let mut runs: Vec<Range<usize>> = Vec::new();
        for (at, token) in tokens.iter().enumerate() {
            match runs.last_mut() {
                Some(run) if tokens[run.start].row == token.row => run.end = at + 1,
                _ => runs.push(at..at + 1),
            }
        }
        let kept = self.keys.heads;
        let to = Shared(out.as_mut_ptr());
        let work: usize = tokens.iter().map(|token| 2 * token.seen * self.keys.width * self.heads).sum();
        // Heads of a row that follow each other lie together in memory: a piece goes through some of them.
        let heads = runs.len() * kept;
        let pieces = if work < ALONE { 1 } else { heads.min(PIECES * pool.threads()) };
        let piece = |piece: usize| {
            let end = (piece + 1) * heads / pieces;
            let row = |number: usize| &rows[tokens[runs[number / kept].start].row];
            for number in piece * heads / pieces..end {
                let (run, head) = (runs[number / kept].clone(), number % kept);
                let next =
                    if number + 1 < end { row(number + 1).head(self.layer, (number + 1) % kept).0 } else { null_mut() };
                // SAFETY: a row's head is looked at by this piece alone, and so are the numbers of its tokens and of the
                // queries' heads that go with it; `check` saw that all places are there.
                unsafe { self.head(isa, row(number), head, next, run, tokens, qkv, &to) };
            }
        };
        if pieces == 1 {
            piece(0)
        } else {
            pool.each(pieces, &piece)
        }
        Ok(())
    }

    /// One head of a row: adds the keys and values of its new tokens, then lets the heads that share them see.
    ///
    /// # Safety
    /// `run` are tokens of this row that are there; nobody else touches the head, or writes their numbers in `out`. At `next`
    /// are the keys that are looked at after these, or it is null.
    #[allow(clippy::too_many_arguments)]
    unsafe fn head(
        &self,
        isa: Isa,
        row: &KvSlot,
        head: usize,
        next: *const f32,
        run: Range<usize>,
        tokens: &[Token],
        qkv: &[f32],
        out: &Shared<f32>,
    ) {
        let KvLayout { heads: kept, width, .. } = self.keys;
        let wide = (self.heads + 2 * kept) * width;
        let (keys, values) = row.head(self.layer, head);
        WORK.with_borrow_mut(|work| {
            work.resize(width.max(work.len()), 0.0);
            let turned = &mut work[..width];
            for token in run.clone() {
                let place = tokens[token].place;
                let key = &qkv[token * wide + (self.heads + head) * width..][..width];
                let value = &qkv[token * wide + (self.heads + kept + head) * width..][..width];
                let (cos, sin) = self.turns(place);
                turn(isa, key, cos, sin, 1.0, turned);
                // SAFETY: `width` columns of `stride`, and `positions` rows of at least `width`, by the shape.
                unsafe {
                    for (d, &x) in turned.iter().enumerate() {
                        *keys.add(self.keys.key_at(d, place)) = x;
                    }
                    values.add(place * self.keys.padded()).copy_from_nonoverlapping(value.as_ptr(), width);
                }
            }
        });
        // Queries that see the same are computed together.
        let each = self.heads / kept;
        for group in tokens[run.clone()].chunk_by(|a, b| a.seen == b.seen).scan(run.start, |from, group| {
            *from += group.len();
            Some(*from - group.len()..*from)
        }) {
            for from in group.clone().step_by(TOGETHER) {
                let queries = from..group.end.min(from + TOGETHER);
                for head in head * each..(head + 1) * each {
                    let seen = tokens[from].seen;
                    // SAFETY: the caller's promise.
                    unsafe { self.see(isa, (keys, values), next, seen, queries.clone(), head, tokens, qkv, out) };
                }
            }
        }
    }

    fn check(&self, qkv: &[f32], tokens: &[Token], rows: &[Arc<KvSlot>], out: &[f32]) -> Result<(), String> {
        let KvLayout { heads: kept, width, positions, layers } = self.keys;
        let sizes = [
            (self.layer < layers && kept > 0 && self.heads.is_multiple_of(kept), "its layer or heads"),
            (width.is_multiple_of(2) && width > 0, "its heads' width"),
            (self.cos.len() == positions * width / 2 && self.sin.len() == self.cos.len(), "the turns"),
            (qkv.len() == tokens.len() * (self.heads + 2 * kept) * width, "queries, keys and values"),
            (out.len() == tokens.len() * self.heads * width, "the output"),
            (rows.iter().all(|row| row.layout() == self.keys), "the rows"),
        ];
        if let Some((_, what)) = sizes.iter().find(|(fits, _)| !fits) {
            return Err(format!("attention: {what} do not fit"));
        }
        let mut last: Option<Token> = None;
        let mut begun = 0;
        for &token in tokens {
            let Token { row, place, seen } = token;
            if row >= rows.len() || place >= positions || seen > positions || seen == 0 {
                return Err(format!("attention: place {place} of row {row}, which sees {seen}, is not there"));
            }
            match last {
                Some(before) if before.row == row && before.place < place => {}
                _ if row == begun => begun += 1,
                _ => return Err("attention: the tokens are not in the order of their rows".to_owned()),
            }
            last = Some(token);
        }
        Ok(())
    }

    /// How pairs are turned at `place`.
    fn turns(&self, place: usize) -> (&[f32], &[f32]) {
        let half = self.keys.width / 2;
        (&self.cos[place * half..][..half], &self.sin[place * half..][..half])
    }

    /// Some queries of one head that see the same; `next` as in `head`.
    ///
    /// # Safety
    /// `kept` are keys and values of this shape that nobody writes below `seen`; nobody else writes `out` there.
    #[allow(clippy::too_many_arguments)]
    unsafe fn see(
        &self,
        isa: Isa,
        kept: (*mut f32, *mut f32),
        next: *const f32,
        seen: usize,
        queries: Range<usize>,
        head: usize,
        tokens: &[Token],
        qkv: &[f32],
        out: &Shared<f32>,
    ) {
        let KvLayout { heads, width, .. } = self.keys;
        let wide = (self.heads + 2 * heads) * width;
        let (stride, padded) = (self.keys.stride(), self.keys.padded());
        WORK.with_borrow_mut(|work| {
            work.resize((TOGETHER * (width + stride + padded)).max(work.len()), 0.0);
            let (turned, rest) = work.split_at_mut(TOGETHER * width);
            let (scores, rest) = rest.split_at_mut(TOGETHER * stride);
            let sums = &mut rest[..TOGETHER * padded];
            let scale = 1.0 / (width as f32).sqrt();
            for (turned, token) in turned.chunks_exact_mut(width).zip(queries.clone()) {
                let x = &qkv[token * wide + head * width..][..width];
                let (cos, sin) = self.turns(tokens[token].place);
                turn(isa, x, cos, sin, scale, turned);
            }
            let count = queries.len();
            // SAFETY: blocks of `width` rows of 16 keys each, which are read up to `seen` rounded up (what lies beyond is memory
            // of ours, and its scores are not looked at); `seen` rows of `padded` values.
            unsafe {
                let keys = (kept.0.cast_const(), LANES, width * LANES);
                let blocks = seen.div_ceil(LANES);
                let job = Outer::new(count, (turned, width), keys, width, blocks, (scores, stride));
                outer(isa, job.ahead(kept.1, seen * padded / LANES));
                for scores in scores.chunks_exact_mut(stride).take(count) {
                    softmax(isa, &mut scores[..seen.next_multiple_of(LANES)], seen);
                }
                let values = (kept.1.cast_const(), padded, LANES);
                let job = Outer::new(count, (scores, stride), values, seen, padded / LANES, (sums, padded));
                outer(isa, job.ahead(next, blocks * width));
                for (sums, token) in sums.chunks_exact(padded).zip(queries) {
                    let to = out.at((token * self.heads + head) * width);
                    to.copy_from_nonoverlapping(sums.as_ptr(), width);
                }
            }
        });
    }
}

versions! {
    /// The rotary turn of a head, times `scale`.
    fn turn(isa, x: &[f32], cos: &[f32], sin: &[f32], scale: f32, to: &mut [f32]) = turn_body
}

#[inline(always)]
fn turn_body(x: &[f32], cos: &[f32], sin: &[f32], scale: f32, to: &mut [f32]) {
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
    use super::super::super::Alone;
    use super::super::super::kv::SlotTable;
    use super::*;

    fn number(n: usize) -> f32 {
        let bits = (n as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
        bits as f32 / (1 << 23) as f32 - 1.0
    }

    /// Two rows that stand at different places, one fed a group and one a single token, with grouped keys.
    #[test]
    fn what_tokens_see_is_what_the_formula_says_on_every_processor() {
        let keys = KvLayout { layers: 2, heads: 2, width: 20, positions: 37 };
        let (heads, half) = (4, 10);
        let cos: Vec<f32> = (0..37 * half).map(|n| (n as f32 * 0.1).cos()).collect();
        let sin: Vec<f32> = (0..37 * half).map(|n| (n as f32 * 0.1).sin()).collect();
        let attention = Attention { layer: 1, heads, keys, cos: &cos, sin: &sin };
        let wide = (heads + 4) * 20;
        // Row 0 is fed places 0..30 one by one, row 1 places 0..3; then 5 places of row 0 at once beside one of row 1.
        let last: Vec<Token> = (30..35)
            .map(|place| Token { row: 0, place, seen: 35 })
            .chain([Token { row: 1, place: 3, seen: 4 }])
            .collect();
        let input = |row: usize, place: usize| -> Vec<f32> {
            (0..wide).map(|n| number(n + wide * (place + 50 * row))).collect()
        };
        let mut results = Vec::new();
        for isa in Isa::all_here() {
            let seats = SlotTable::new(Some(keys));
            let rows = [Arc::new(seats.row().unwrap()), Arc::new(seats.row().unwrap())];
            for (row, count) in [(0, 30), (1, 3)] {
                for place in 0..count {
                    let mut out = vec![0.0; heads * 20];
                    let token = [Token { row: 0, place, seen: place + 1 }];
                    // SAFETY: nobody else is here.
                    unsafe { attention.run(isa, &Alone, &input(row, place), &token, &rows[row..=row], &mut out) }
                        .unwrap();
                }
            }
            let qkv: Vec<f32> = last.iter().flat_map(|token| input(token.row, token.place)).collect();
            let mut out = vec![0.0; last.len() * heads * 20];
            // SAFETY: as above.
            unsafe { attention.run(isa, &Alone, &qkv, &last, &rows, &mut out) }.unwrap();
            results.push(out);
        }
        assert!(results.iter().all(|other| *other == results[0]), "the same bits");
        let turned = |x: &[f32], place: usize| -> Vec<f64> {
            (0..20)
                .map(|d| {
                    let (i, angle) = (d % half, place * half + d % half);
                    let (a, b) = (f64::from(x[i]), f64::from(x[half + i]));
                    let (c, s) = (f64::from(cos[angle]), f64::from(sin[angle]));
                    if d < half { a * c - b * s } else { b * c + a * s }
                })
                .collect()
        };
        for (at, token) in last.iter().enumerate() {
            let own = input(token.row, token.place);
            for head in 0..heads {
                let q = turned(&own[head * 20..][..20], token.place);
                let score = |place: usize| -> f64 {
                    let other = input(token.row, place);
                    let k = turned(&other[(heads + head / 2) * 20..][..20], place);
                    q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / 20f64.sqrt()
                };
                let weights: Vec<f64> = (0..token.seen).map(|place| score(place).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..20 {
                    let value = |place: usize| f64::from(input(token.row, place)[(heads + 2 + head / 2) * 20 + d]);
                    let want: f64 = (0..token.seen).map(|place| weights[place] / total * value(place)).sum();
                    let got = f64::from(results[0][(at * heads + head) * 20 + d]);
                    assert!((got - want).abs() < 2e-6, "{token:?} {head} {d}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn tokens_that_are_not_there_are_refused() {
        let keys = KvLayout { layers: 1, heads: 1, width: 4, positions: 8 };
        let turns = [1.0; 16];
        let attention = Attention { layer: 0, heads: 1, keys, cos: &turns, sin: &turns };
        let seats = SlotTable::new(Some(keys));
        let rows = [Arc::new(seats.row().unwrap()), Arc::new(seats.row().unwrap())];
        let run = |tokens: &[Token], rows: &[Arc<KvSlot>]| {
            let mut out = vec![0.0; tokens.len() * 4];
            // SAFETY: nobody else is here.
            unsafe { attention.run(Isa::Portable, &Alone, &vec![0.0; tokens.len() * 12], tokens, rows, &mut out) }
        };
        let token = |row, place, seen| Token { row, place, seen };
        assert!(run(&[token(0, 0, 1), token(1, 7, 8)], &rows).is_ok());
        for bad in [
            [token(0, 8, 8), token(1, 0, 1)],
            [token(0, 0, 9), token(1, 0, 1)],
            [token(0, 1, 1), token(0, 1, 1)],
            [token(1, 0, 1), token(0, 0, 1)],
            [token(0, 0, 1), token(2, 0, 1)],
            [token(0, 0, 0), token(1, 0, 1)],
        ] {
            assert!(run(&bad, &rows).is_err(), "{bad:?}");
        }
    }
}
