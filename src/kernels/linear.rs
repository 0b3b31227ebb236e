//! A linear layer in one go: what comes before it, the product, and what comes after, row by row.

pub(crate) use super::gemm::Packed;
use super::gemm::{PANEL, Rows, TILE, Take, product};
pub(crate) use super::quantize::Before;
use super::quantize::quantize_row;
use super::{Isa, Pool, Shared};
use crate::support::error::Result;
use crate::support::memory::{filled, reserve};

/// A linear layer with int8 weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub before: Before<'a>,
    /// Width of a row that is multiplied.
    pub inputs: usize,
    pub outputs: usize,
    pub weights: Packed<'a>,
    /// `[outputs]`: a weight is its whole number times that of its column.
    pub scales: &'a [f32],
    /// `[outputs]`, added.
    pub bias: Option<&'a [f32]>,
}

/// Memory that layers work in, one after the other; kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Work {
    whole: Vec<i8>,
    scales: Vec<f32>,
    rows: Vec<f32>,
}

/// What is known of a layer's weights once it ran: 128 times the sum of each column, negative. Raised rows need it.
#[derive(Debug, Default)]
pub(crate) struct Offsets(Vec<i32>);

/// So many numbers are worth a second thread to quantise.
const ALONE: usize = 1 << 14;
/// Pieces of rows for each thread.
const PIECES: usize = 4;

impl Linear<'_> {
    /// Whether all parts are as wide as they must be.
    pub fn check(&self) -> bool {
        let wide = |part: &[f32], width: usize| part.len() == width;
        let before = match self.before {
            Before::RmsNorm { gain, .. } => wide(gain, self.inputs),
            Before::LayerNorm { gain, shift, .. } => wide(gain, self.inputs) && wide(shift, self.inputs),
            Before::Plain | Before::SwiGlu | Before::Gelu => true,
        };
        before
            && self.inputs > 0
            && self.weights.depth() == self.inputs.next_multiple_of(super::gemm::DEPTH)
            && wide(self.scales, self.outputs)
            && self.bias.is_none_or(|bias| wide(bias, self.outputs))
    }

    /// `out[row] = (layer of x[row]) + added[row]`. `x` is `[rows, before.takes(inputs)]`, `added` and `out` are `[rows,
    /// outputs]`. `offsets` are of this layer, `work` of any.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn run(
        &self,
        isa: Isa,
        pool: &dyn Pool,
        (work, offsets): (&mut Work, &mut Offsets),
        x: &[f32],
        added: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        let (inputs, outputs, depth) = (self.inputs, self.outputs, self.weights.depth());
        let count = out.len() / outputs;
        let wide = self.before.takes(inputs);
        assert!(self.check() && x.len() == count * wide && out.len() == count * outputs, "a layer of another width");
        assert!(added.is_none_or(|added| added.len() == out.len()), "what is added has another shape");
        let pieces = if count * wide < ALONE { 1 } else { count.min(PIECES * pool.threads()) };
        work.make_room(count, pieces, inputs, depth)?;
        let raised = isa.raises(count);
        if raised {
            offsets.fill(isa, pool, self.weights, &mut work.whole)?;
        }
        let (whole, scales, rows) =
            (Shared(work.whole.as_mut_ptr()), Shared(work.scales.as_mut_ptr()), Shared(work.rows.as_mut_ptr()));
        let quantize = |piece: usize| {
            for row in piece * count / pieces..(piece + 1) * count / pieces {
                // SAFETY: this row's part of each and this piece's row, within the room that was made.
                let (to, work, scale) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(whole.at(row * depth), depth),
                        std::slice::from_raw_parts_mut(rows.at(piece * inputs), inputs),
                        &mut *scales.at(row),
                    )
                };
                *scale = quantize_row(isa, self.before, &x[row * wide..][..wide], raised, work, to);
            }
        };
        if pieces == 1 {
            quantize(0)
        } else {
            pool.each(pieces, &quantize)
        }
        let row_scales = &work.scales[..count];
        let finish =
            Finish { rows: row_scales, scales: self.scales, bias: self.bias, added, out: Shared(out.as_mut_ptr()) };
        let rows = Rows { bytes: &work.whole, count, offsets: if raised { &offsets.0 } else { &[] } };
        product(isa, pool, rows, self.weights, &finish);
        Ok(())
    }
}

impl Offsets {
    /// Of these weights, unless they are known: the product with a row of ones. `row` has room for one.
    fn fill(&mut self, isa: Isa, pool: &dyn Pool, weights: Packed<'_>, row: &mut [i8]) -> Result<()> {
        let columns = weights.columns();
        if self.0.len() == columns {
            return Ok(());
        }
        let nothing = filled("a layer", columns, 0i32)?;
        let mut sums = filled("a layer", columns, 0i32)?;
        row[..weights.depth()].fill(1);
        let rows = Rows { bytes: row, count: 1, offsets: &nothing };
        product(isa, pool, rows, weights, &ColumnSums(Shared(sums.as_mut_ptr())));
        // A row of 2^24 numbers and more could overflow: the sums wrap, and so does what they are taken off from.
        sums.iter_mut().for_each(|sum| *sum = sum.wrapping_mul(-128));
        self.0 = sums;
        Ok(())
    }
}

/// Keeps the sums of one row.
struct ColumnSums(Shared<i32>);

impl Take for ColumnSums {
    #[inline(always)]
    fn take(&self, _: usize, panel: usize, sums: &[[i32; PANEL]]) {
        // SAFETY: every panel is given once, and the sums are as long as all of them.
        unsafe { self.0.at(panel * PANEL).cast::<[i32; PANEL]>().write_unaligned(sums[0]) };
    }
}

impl Work {
    fn make_room(&mut self, count: usize, pieces: usize, inputs: usize, depth: usize) -> Result<()> {
        fn grow<T: Default + Clone>(memory: &mut Vec<T>, length: usize) -> Result<()> {
            if memory.len() < length {
                *memory = reserve("a layer", length)?;
                memory.resize(length, T::default());
            }
            Ok(())
        }
        grow(&mut self.whole, count.max(1).next_multiple_of(TILE) * depth)?;
        grow(&mut self.scales, count)?;
        grow(&mut self.rows, pieces * inputs)
    }
}

/// Whole sums to numbers: times the scales of row and column, plus bias, plus what is added.
struct Finish<'a> {
    /// `[rows]`
    rows: &'a [f32],
    /// `[columns]`
    scales: &'a [f32],
    bias: Option<&'a [f32]>,
    /// `[rows, columns]`
    added: Option<&'a [f32]>,
    out: Shared<f32>,
}

impl Take for Finish<'_> {
    #[inline(always)]
    fn take(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
        let columns = self.scales.len();
        let from = panel * PANEL;
        if from + PANEL <= columns {
            self.whole(row, from, sums);
        } else {
            self.part(row, from, sums);
        }
    }
}

impl Finish<'_> {
    /// A panel of which all columns are wanted: whole vectors.
    #[inline(always)]
    fn whole(&self, row: usize, from: usize, sums: &[[i32; PANEL]]) {
        let columns = self.scales.len();
        let array = |part: &[f32]| -> [f32; PANEL] { part[from..from + PANEL].try_into().expect("a panel's length") };
        let scales = array(self.scales);
        let bias = self.bias.map(array);
        // Worked out and checked before, or wrapping: what is done for each row shall have no checks in it.
        let (factors, mut at) = (&self.rows[row..][..sums.len()], row * columns + from);
        let end = (row + sums.len()) * columns;
        assert!(self.added.is_none_or(|added| end <= added.len()), "more rows than are added to");
        for (sums, &factor) in sums.iter().zip(factors) {
            let mut out = [0.0; PANEL];
            for n in 0..PANEL {
                out[n] = sums[n] as f32 * (factor * scales[n]);
            }
            if let Some(bias) = &bias {
                for n in 0..PANEL {
                    out[n] += bias[n];
                }
            }
            if let Some(added) = self.added {
                // SAFETY: it ends before `end`, by the columns that are wanted.
                let added = unsafe { added.as_ptr().wrapping_add(at).cast::<[f32; PANEL]>().read_unaligned() };
                for n in 0..PANEL {
                    out[n] += added[n];
                }
            }
            // SAFETY: every panel of every row is given once, and this one lies within the output.
            unsafe { self.out.at(at).cast::<[f32; PANEL]>().write_unaligned(out) };
            at = at.wrapping_add(columns);
        }
    }

    /// The last panel, where columns are missing.
    fn part(&self, row: usize, from: usize, sums: &[[i32; PANEL]]) {
        let columns = self.scales.len();
        for (row, sums) in (row..).zip(sums) {
            for (n, &sum) in (from..columns).zip(sums) {
                let mut out = sum as f32 * (self.rows[row] * self.scales[n]);
                if let Some(bias) = self.bias {
                    out += bias[n];
                }
                let at = row * columns + n;
                if let Some(added) = self.added {
                    out += added[at];
                }
                // SAFETY: as in `whole`.
                unsafe { *self.out.at(at) = out };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Alone;
    use super::super::gemm::tests::{pack, whole};
    use super::*;

    #[test]
    fn a_layer_is_what_the_formula_says_and_the_same_everywhere_and_in_every_batch() {
        let (inputs, outputs, count) = (100, 70, 19);
        let weights: Vec<i8> = (0..inputs * outputs).map(whole).collect();
        let packed = pack(&weights, inputs, outputs);
        let scales: Vec<f32> = (0..outputs).map(|n| 0.01 + n as f32 * 1e-4).collect();
        let bias: Vec<f32> = (0..outputs).map(|n| n as f32 * 0.3).collect();
        let x: Vec<f32> = (0..count * inputs).map(|n| f32::from(whole(n + 7)) / 50.0).collect();
        let added: Vec<f32> = (0..count * outputs).map(|n| f32::from(whole(n + 3))).collect();
        let layer = Linear {
            before: Before::Plain,
            inputs,
            outputs,
            weights: Packed::new(&packed, inputs, outputs).unwrap(),
            scales: &scales,
            bias: Some(&bias),
        };
        let run = |isa, from: usize, rows: usize| {
            let mut out = vec![0.0; rows * outputs];
            let (x, added) = (&x[from * inputs..][..rows * inputs], &added[from * outputs..][..rows * outputs]);
            let memory = (&mut Work::default(), &mut Offsets::default());
            layer.run(isa, &Alone, memory, x, Some(added), &mut out).unwrap();
            out
        };
        let all = run(Isa::Portable, 0, count);
        for row in 0..count {
            let x = &x[row * inputs..][..inputs];
            let largest = x.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for n in 0..outputs {
                let want: f64 = (0..inputs)
                    .map(|k| f64::from(x[k]) * f64::from(weights[k * outputs + n]) * f64::from(scales[n]))
                    .sum();
                let want = want + f64::from(bias[n]) + f64::from(added[row * outputs + n]);
                let room = f64::from(largest / 254.0 * scales[n]) * 127.0 * inputs as f64;
                assert!((f64::from(all[row * outputs + n]) - want).abs() < room, "{row} {n}");
            }
        }
        for isa in Isa::all_here() {
            assert_eq!(run(isa, 0, count), all, "{isa:?}");
            assert!(run(isa, 0, 0).is_empty());
            for row in 0..count {
                assert_eq!(run(isa, row, 1), &all[row * outputs..][..outputs], "{isa:?}: a row alone");
            }
        }
        assert!(!Linear { outputs: 71, ..layer }.check() && !Linear { inputs: 200, ..layer }.check());
    }
}
