//! A linear layer with int8 or int4 weights: prologue and quantization row by row, GEMM, dequantizing epilogue.

use std::sync::Mutex;

use super::gemm::driver::{expanded_length, gemm, gemm_expanded, gemm_int4};
use super::gemm::operands::{BLOCK, BlockStart, DEPTH, Epilogue, Int4Rows, PANEL, QuantizedRows, TILE};
pub(crate) use super::gemm::operands::{Int4Weights, PackedWeights};
use super::int4_rows::{block_starts, deinterleave};
use super::isa::{Isa, RowKind};
use super::pool::{Pool, SharedPointer};
pub(crate) use super::quantize::Prologue;
use super::quantize::quantize_row;
use crate::support::error::Result;
use crate::support::memory::{self, filled};

/// The weights of a linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weights<'a> {
    Int8(PackedWeights<'a>),
    Int4(Int4Weights<'a>),
}

impl Weights<'_> {
    /// The padded depth.
    fn depth(&self) -> usize {
        match self {
            Self::Int8(weights) => weights.depth(),
            Self::Int4(weights) => weights.depth(),
        }
    }

    /// The padded number of columns.
    fn columns(&self) -> usize {
        match self {
            Self::Int8(weights) => weights.columns(),
            Self::Int4(weights) => weights.columns(),
        }
    }
}

/// A linear layer with int8 or int4 weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear<'a> {
    pub prologue: Prologue<'a>,
    /// Width of a row after the prologue.
    pub inputs: usize,
    pub outputs: usize,
    pub weights: Weights<'a>,
    /// `[outputs]`: the scale of each column of the weights.
    pub scales: &'a [f32],
    /// `[outputs]`, added.
    pub bias: Option<&'a [f32]>,
}

/// Scratch memory that layers use one after the other; kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    quantized: Vec<i8>,
    scales: Vec<f32>,
    rows: Vec<f32>,
    /// Of int4 layers: what the sums of each row's blocks start with.
    starts: Vec<BlockStart>,
    /// Of int4 layers: expanded panels, for each thread.
    expanded: Vec<Mutex<Vec<i8>>>,
}

/// Unsigned offset compensation of a layer, computed when it first runs: -128 times the sum of each column of the weights.
#[derive(Debug, Default)]
pub(crate) struct Compensation(Vec<i32>);

/// Fewer numbers than this are quantized on one thread.
const SINGLE_THREAD_BELOW: usize = 1 << 14;
/// Pieces of rows for each thread.
const PIECES: usize = 4;

impl Linear<'_> {
    /// Whether the constants have the lengths that `inputs` and `outputs` ask for.
    pub fn check(&self) -> bool {
        let wide = |part: &[f32], width: usize| part.len() == width;
        let prologue = match self.prologue {
            Prologue::RmsNorm { gain, .. } => wide(gain, self.inputs),
            Prologue::LayerNorm { gain, shift, .. } => wide(gain, self.inputs) && wide(shift, self.inputs),
            Prologue::Plain | Prologue::SwiGlu | Prologue::Gelu => true,
        };
        prologue
            && self.inputs > 0
            && self.weights.depth() == self.inputs.next_multiple_of(DEPTH)
            && wide(self.scales, self.outputs)
            && self.bias.is_none_or(|bias| wide(bias, self.outputs))
    }

    /// `out[row] = layer(x[row]) + residual[row]`. `x` is `[rows, prologue.input_width(inputs)]`; `residual` and `out` are
    /// `[rows, outputs]`. `compensation` belongs to this layer, `workspace` may be shared by layers.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn run(
        &self,
        isa: Isa,
        pool: &dyn Pool,
        (workspace, compensation): (&mut Workspace, &mut Compensation),
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        let (inputs, outputs, depth) = (self.inputs, self.outputs, self.weights.depth());
        let count = out.len() / outputs;
        let wide = self.prologue.input_width(inputs);
        assert!(
            self.check() && x.len() == count * wide && out.len() == count * outputs,
            "linear: the lengths do not fit the layer"
        );
        assert!(residual.is_none_or(|residual| residual.len() == out.len()), "linear: the residual has another shape");
        let pieces = if count * wide < SINGLE_THREAD_BELOW { 1 } else { count.min(PIECES * pool.threads()) };
        workspace.make_room(count, pieces, inputs, depth)?;
        let int4 = matches!(self.weights, Weights::Int4(_));
        let reads_int4 = if int4 { isa.reads_int4(count) } else { None };
        let unsigned = reads_int4.map_or(isa.unsigned_rows(count), |kind| kind == RowKind::Unsigned);
        let blocks = if reads_int4 == Some(RowKind::Signed) { depth / BLOCK } else { 0 };
        if let Weights::Int4(weights) = self.weights
            && (reads_int4.is_none() || unsigned)
        {
            workspace.make_room_to_expand(pool.threads(), expanded_length(weights))?;
        }
        memory::grow("a linear layer", &mut workspace.starts, count * blocks, BlockStart::default())?;
        if unsigned {
            compensation.fill(isa, pool, self.weights, workspace)?;
        }
        let quantized = SharedPointer(workspace.quantized.as_mut_ptr());
        let starts = SharedPointer(workspace.starts.as_mut_ptr());
        let (scales, rows) = (SharedPointer(workspace.scales.as_mut_ptr()), SharedPointer(workspace.rows.as_mut_ptr()));
        let quantize = |piece: usize| {
            for row in piece * count / pieces..(piece + 1) * count / pieces {
                // SAFETY: this row's part of each buffer and this piece's scratch row, within the capacity that was made.
                let (to, starts, work, scale) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(quantized.at(row * depth), depth),
                        std::slice::from_raw_parts_mut(starts.at(row * blocks), blocks),
                        std::slice::from_raw_parts_mut(rows.at(piece * inputs), inputs),
                        &mut *scales.at(row),
                    )
                };
                *scale = quantize_row(isa, self.prologue, &x[row * wide..][..wide], unsigned, work, to);
                if int4 {
                    deinterleave(isa, to);
                    block_starts(isa, to, starts);
                }
            }
        };
        if pieces == 1 {
            quantize(0);
        } else {
            pool.each(pieces, &quantize);
        }
        let epilogue = DequantizeEpilogue {
            row_scales: &workspace.scales[..count],
            scales: self.scales,
            bias: self.bias,
            residual,
            out: SharedPointer(out.as_mut_ptr()),
        };
        let compensation = if unsigned { &compensation.0[..] } else { &[] };
        let (bytes, starts) = (&workspace.quantized[..], &workspace.starts[..]);
        let rows = QuantizedRows { bytes, count, compensation };
        match self.weights {
            Weights::Int8(weights) => gemm(isa, pool, rows, weights, &epilogue),
            Weights::Int4(weights) if reads_int4.is_some() => {
                gemm_int4(isa, pool, Int4Rows { bytes, count, starts, compensation }, weights, &epilogue);
            }
            Weights::Int4(weights) => gemm_expanded(isa, pool, rows, weights, &workspace.expanded, &epilogue),
        }
        Ok(())
    }
}

impl Compensation {
    /// Computes it unless it is known, by the GEMM of a row of ones. `workspace` has capacity for one row.
    fn fill(&mut self, isa: Isa, pool: &dyn Pool, weights: Weights<'_>, workspace: &mut Workspace) -> Result<()> {
        let columns = weights.columns();
        if self.0.len() == columns {
            return Ok(());
        }
        let zeros = filled("a linear layer", columns, 0i32)?;
        let mut sums = filled("a linear layer", columns, 0i32)?;
        workspace.quantized[..weights.depth()].fill(1);
        let rows = QuantizedRows { bytes: &workspace.quantized, count: 1, compensation: &zeros };
        let epilogue = ColumnSums(SharedPointer(sums.as_mut_ptr()));
        match weights {
            Weights::Int8(weights) => gemm(isa, pool, rows, weights, &epilogue),
            Weights::Int4(weights) => gemm_expanded(isa, pool, rows, weights, &workspace.expanded, &epilogue),
        }
        // From a depth of 2^24 on this could overflow: the compensation wraps, and so do the sums that start with it.
        sums.iter_mut().for_each(|sum| *sum = sum.wrapping_mul(-128));
        self.0 = sums;
        Ok(())
    }
}

/// Stores the sums of one row.
struct ColumnSums(SharedPointer<i32>);

impl Epilogue for ColumnSums {
    #[inline(always)]
    fn apply(&self, _: usize, panel: usize, sums: &[[i32; PANEL]]) {
        // SAFETY: the epilogue is applied once to each panel, and the sums are as long as all of them.
        unsafe { self.0.at(panel * PANEL).cast::<[i32; PANEL]>().write_unaligned(sums[0]) };
    }
}

impl Workspace {
    fn make_room(&mut self, count: usize, pieces: usize, inputs: usize, depth: usize) -> Result<()> {
        fn grow<T: Default + Clone>(memory: &mut Vec<T>, length: usize) -> Result<()> {
            memory::grow("a linear layer", memory, length, T::default())
        }
        grow(&mut self.quantized, count.max(1).next_multiple_of(TILE) * depth)?;
        grow(&mut self.scales, count)?;
        grow(&mut self.rows, pieces * inputs)
    }

    /// Memory for `threads` times `length` expanded weights.
    fn make_room_to_expand(&mut self, threads: usize, length: usize) -> Result<()> {
        self.expanded.resize_with(threads.max(self.expanded.len()), Mutex::default);
        for one in &mut self.expanded {
            let one = one.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            memory::grow("a linear layer", one, length, 0)?;
        }
        Ok(())
    }
}

/// Dequantizes the sums: times the scales of row and column, plus bias, plus residual.
struct DequantizeEpilogue<'a> {
    /// `[rows]`
    row_scales: &'a [f32],
    /// `[columns]`
    scales: &'a [f32],
    bias: Option<&'a [f32]>,
    /// `[rows, columns]`
    residual: Option<&'a [f32]>,
    out: SharedPointer<f32>,
}

impl Epilogue for DequantizeEpilogue<'_> {
    #[inline(always)]
    fn apply(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
        let columns = self.scales.len();
        let from = panel * PANEL;
        if from + PANEL <= columns {
            self.whole_panel(row, from, sums);
        } else {
            self.partial_panel(row, from, sums);
        }
    }
}

impl DequantizeEpilogue<'_> {
    /// A panel without padding columns: whole vectors.
    #[inline(always)]
    fn whole_panel(&self, row: usize, from: usize, sums: &[[i32; PANEL]]) {
        let columns = self.scales.len();
        let array = |part: &[f32]| -> [f32; PANEL] { part[from..from + PANEL].try_into().expect("a panel's length") };
        let scales = array(self.scales);
        let bias = self.bias.map(array);
        // Computed and checked before, or wrapping, so that the loop over rows has no checks.
        let (factors, mut index) = (&self.row_scales[row..][..sums.len()], row * columns + from);
        let end = (row + sums.len()) * columns;
        assert!(self.residual.is_none_or(|residual| end <= residual.len()), "linear: the residual is too short");
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
            if let Some(residual) = self.residual {
                // SAFETY: the panel has no padding columns, so it ends at `end` at the latest.
                let residual = unsafe { residual.as_ptr().wrapping_add(index).cast::<[f32; PANEL]>().read_unaligned() };
                for n in 0..PANEL {
                    out[n] += residual[n];
                }
            }
            // SAFETY: the epilogue is applied once to each panel of each row, and this one lies within the output.
            unsafe { self.out.at(index).cast::<[f32; PANEL]>().write_unaligned(out) };
            index = index.wrapping_add(columns);
        }
    }

    /// The last panel, with padding columns.
    fn partial_panel(&self, row: usize, from: usize, sums: &[[i32; PANEL]]) {
        let columns = self.scales.len();
        for (row, sums) in (row..).zip(sums) {
            for (n, &sum) in (from..columns).zip(sums) {
                let mut out = sum as f32 * (self.row_scales[row] * self.scales[n]);
                if let Some(bias) = self.bias {
                    out += bias[n];
                }
                let index = row * columns + n;
                if let Some(residual) = self.residual {
                    out += residual[index];
                }
                // SAFETY: as in `whole_panel`.
                unsafe { *self.out.at(index) = out };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::driver::tests::{int8, int8_weights, pack};
    use super::super::pool::SingleThread;
    use super::*;

    #[test]
    fn linear_is_near_the_formula_and_identical_in_every_batch_with_every_instruction_set() {
        let (inputs, outputs, count) = (100, 70, 19);
        let weights = int8_weights(inputs, outputs);
        let packed = pack(&weights, inputs, outputs);
        let scales: Vec<f32> = (0..outputs).map(|n| 0.01 + n as f32 * 1e-4).collect();
        let bias: Vec<f32> = (0..outputs).map(|n| n as f32 * 0.3).collect();
        let x: Vec<f32> = (0..count * inputs).map(|n| f32::from(int8(n + 7)) / 50.0).collect();
        let residual: Vec<f32> = (0..count * outputs).map(|n| f32::from(int8(n + 3))).collect();
        let layer = Linear {
            prologue: Prologue::Plain,
            inputs,
            outputs,
            weights: Weights::Int8(PackedWeights::new(&packed, inputs, outputs).unwrap()),
            scales: &scales,
            bias: Some(&bias),
        };
        let run = |isa, from: usize, rows: usize| {
            let mut out = vec![0.0; rows * outputs];
            let (x, residual) = (&x[from * inputs..][..rows * inputs], &residual[from * outputs..][..rows * outputs]);
            let memory = (&mut Workspace::default(), &mut Compensation::default());
            layer.run(isa, &SingleThread, memory, x, Some(residual), &mut out).unwrap();
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
                let want = want + f64::from(bias[n]) + f64::from(residual[row * outputs + n]);
                let room = f64::from(largest / 254.0 * scales[n]) * 127.0 * inputs as f64;
                assert!((f64::from(all[row * outputs + n]) - want).abs() < room, "{row} {n}");
            }
        }
        for isa in Isa::supported().iter().copied() {
            assert_eq!(run(isa, 0, count), all, "{isa:?}");
            assert!(run(isa, 0, 0).is_empty());
            for row in 0..count {
                assert_eq!(run(isa, row, 1), &all[row * outputs..][..outputs], "{isa:?}: a row alone");
            }
        }
        assert!(!Linear { outputs: 71, ..layer }.check() && !Linear { inputs: 200, ..layer }.check());
    }

    /// Threads that take tasks at will.
    struct Threads(usize);

    impl Pool for Threads {
        fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
            let next = std::sync::atomic::AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..self.0 {
                    scope.spawn(|| {
                        loop {
                            match next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                                number if number < count => task(number),
                                _ => break,
                            }
                        }
                    });
                }
            });
        }

        fn threads(&self) -> usize {
            self.0
        }
    }

    /// The int8 layer with the products of nibbles and factors is computed by other code.
    #[test]
    fn int4_layer_has_the_bits_of_the_int8_layer_that_it_stands_for_with_every_instruction_set_batch_and_pool() {
        for (inputs, outputs, counts) in [
            (100, 70, (1..40).collect::<Vec<_>>()),
            (64, 16, vec![1, 2, 33]),
            (1000, 330, vec![1, 2, 7, 8, 9, 16, 40, 70]),
        ] {
            let depth = usize::next_multiple_of(inputs, DEPTH);
            let (blocks, panels) = (depth / BLOCK, usize::div_ceil(outputs, PANEL));
            let mut nibbles = vec![0x88u8; panels * depth * PANEL / 2];
            let mut factors = vec![0i8; panels * blocks * PANEL];
            let mut int8 = vec![0i8; inputs * outputs];
            for n in 0..outputs {
                let (panel, column) = (n / PANEL, n % PANEL);
                for block in 0..blocks {
                    // The extremes, too: -15, 0, 15.
                    factors[(panel * blocks + block) * PANEL + column] = ((n * 7 + block * 3) % 31) as i8 - 15;
                }
                for k in 0..inputs {
                    let nibble = if k % 64 < 32 && n % 5 == 0 { 0 } else { self::int8(k * outputs + n) as u8 & 15 };
                    let byte = &mut nibbles[((panel * depth / 8 + k / 8) * PANEL + column) * 4 + k % 8 / 2];
                    *byte = if k % 2 == 0 { *byte & 0xf0 | nibble } else { *byte & 15 | nibble << 4 };
                    int8[k * outputs + n] = (nibble as i8 - 8) * factors[(panel * blocks + k / BLOCK) * PANEL + column];
                }
            }
            let packed = pack(&int8, inputs, outputs);
            let scales: Vec<f32> = (0..outputs).map(|n| 0.01 + n as f32 * 1e-4).collect();
            let of =
                |weights| Linear { prologue: Prologue::Plain, inputs, outputs, weights, scales: &scales, bias: None };
            let int8 = of(Weights::Int8(PackedWeights::new(&packed, inputs, outputs).unwrap()));
            let int4 = of(Weights::Int4(Int4Weights::new(&nibbles, &factors, inputs, outputs).unwrap()));
            let most = counts.iter().copied().max().unwrap();
            // The first row has the largest sums.
            let x: Vec<f32> =
                (0..most * inputs).map(|n| if n < inputs { -127.0 } else { f32::from(self::int8(n + 7)) }).collect();
            let mut want = vec![0.0; most * outputs];
            let memory = (&mut Workspace::default(), &mut Compensation::default());
            int8.run(Isa::Portable, &SingleThread, memory, &x, None, &mut want).unwrap();
            for isa in Isa::supported().iter().copied() {
                let (mut workspace, mut compensation) = (Workspace::default(), Compensation::default());
                for &count in &counts {
                    for threads in [1, 3] {
                        let mut out = vec![0.0; count * outputs];
                        let memory = (&mut workspace, &mut compensation);
                        int4.run(isa, &Threads(threads), memory, &x[..count * inputs], None, &mut out).unwrap();
                        assert_eq!(out, want[..count * outputs], "{isa:?}: {count} rows, {threads} threads");
                    }
                }
            }
        }
    }

    /// Prints the time of layers of the published size on one thread, relative to reading the weights at 20 GB/s:
    /// `cargo test --release --lib -- --ignored --nocapture int4_throughput`.
    #[test]
    #[ignore = "measures"]
    fn int4_throughput() {
        println!("10^9 multiply-adds per second, best of 5 rounds: int8, int4");
        for (inputs, outputs) in [(1024usize, 5632usize), (2816, 1024)] {
            let (int8, nibbles) = (vec![3i8; inputs * outputs], vec![0x5bu8; inputs * outputs / 2]);
            let (factors, scales) = (vec![9i8; inputs * outputs / BLOCK], vec![0.1; outputs]);
            let of =
                |weights| Linear { prologue: Prologue::Plain, inputs, outputs, weights, scales: &scales, bias: None };
            let int8 = of(Weights::Int8(PackedWeights::new(&int8, inputs, outputs).unwrap()));
            let int4 = of(Weights::Int4(Int4Weights::new(&nibbles, &factors, inputs, outputs).unwrap()));
            for isa in Isa::supported().iter().copied().filter(|isa| *isa != Isa::Portable) {
                print!("{inputs:>5} x {outputs:<5} {isa:<8?}");
                for count in [1, 2, 4, 8, 16, 32, 64, 256] {
                    let (x, mut out) = (vec![0.5f32; count * inputs], vec![0.0; count * outputs]);
                    let (mut workspace, mut compensation) = (Workspace::default(), Compensation::default());
                    let mut rate = |layer: &Linear<'_>| {
                        let work = (count * inputs * outputs) as f64;
                        let rounds = (5e8 / work).ceil() as usize;
                        let mut round = || {
                            let begun = std::time::Instant::now();
                            for _ in 0..rounds {
                                let memory = (&mut workspace, &mut compensation);
                                layer.run(isa, &SingleThread, memory, &x, None, &mut out).unwrap();
                            }
                            work * rounds as f64 / 1e9 / begun.elapsed().as_secs_f64()
                        };
                        (0..5).map(|_| round()).fold(0.0, f64::max)
                    };
                    print!(" {count:>4}: {:>4.0} {:>4.0}", rate(&int8), rate(&int4));
                }
                println!();
            }
        }
    }
}
