//! Products of 8-bit rows with 8-bit weights, summed exactly in 32 bits.
//!
//! **Weights are packed** by the exporter for every processor alike: columns in panels of 16, and within a panel four
//! neighbouring numbers of each column together: `[columns / 16, depth / 4, 16, 4]`, with the depth filled up to a
//! multiple of 64 and the columns to one of 16 by zeros. A vector of 64 bytes is then four steps of 16 columns, and 16
//! of them are a tile. They are read where the file is mapped; nothing is copied.

#[cfg(target_arch = "x86_64")]
mod amx;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::Pool;

/// Columns of a panel.
pub(super) const PANEL: usize = 16;
/// The depth is a multiple of this.
pub(super) const DEPTH: usize = 64;

/// What this processor multiplies with. All give the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Tiles (x86-64 AMX) for many rows, as `Vnni512` for few.
    Amx,
    /// 512-bit vectors with sums of four products (x86-64 AVX-512 VNNI).
    Vnni512,
    /// 256-bit vectors with sums of four products (x86-64 AVX-VNNI).
    Vnni256,
    /// 256-bit vectors (x86-64 AVX2).
    Avx2,
    /// Plain code for every processor; slow.
    Portable,
}

impl Isa {
    /// The best that this processor has.
    pub fn here() -> Self {
        static HERE: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *HERE.get_or_init(|| *Self::all_here().first().expect("there is always the portable one"))
    }

    /// Whether `rows` rows are multiplied raised: as unsigned numbers, 128 above what they are ([`Rows::offsets`]).
    pub(super) fn raises(self, rows: usize) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx => rows < amx::WORTH,
            _ if rows == 0 => false,
            Self::Vnni512 | Self::Vnni256 => true,
            _ => false,
        }
    }

    /// All that this processor has, the best first.
    pub fn all_here() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if wide && amx::is_here() {
                all.push(Self::Amx);
            }
            if wide {
                all.push(Self::Vnni512);
            }
            if avx2 && is_x86_feature_detected!("avxvnni") {
                all.push(Self::Vnni256);
            }
            if avx2 {
                all.push(Self::Avx2);
            }
        }
        all.push(Self::Portable);
        all
    }
}

/// Packed weights, `depth` deep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    bytes: &'a [i8],
    depth: usize,
    panels: usize,
}

impl<'a> Packed<'a> {
    /// None when the lengths do not fit.
    pub fn new(bytes: &'a [i8], depth: usize, columns: usize) -> Option<Self> {
        let depth = depth.checked_next_multiple_of(DEPTH)?;
        let panels = columns.div_ceil(PANEL);
        let length = depth.checked_mul(panels)?.checked_mul(PANEL)?;
        (length == bytes.len() && length > 0).then_some(Self { bytes, depth, panels })
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Columns, those that fill the last panel up among them.
    pub(super) fn columns(&self) -> usize {
        self.panels * PANEL
    }

    /// Panels `from` and those after it.
    fn panel(&self, from: usize) -> *const i8 {
        assert!(from < self.panels, "a panel that is not there");
        self.bytes[from * self.depth * PANEL..].as_ptr()
    }
}

/// Rows of whole numbers, `depth` apart; room for a multiple of 16 of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub bytes: &'a [i8],
    pub count: usize,
    /// What the sums of each column begin with where rows are raised ([`Isa::raises`]): it takes off what raising adds.
    pub offsets: &'a [i32],
}

/// Rows of a tile, and of how many there is always room for.
pub(super) const TILE: usize = 16;

/// Takes the sums of some rows and one panel.
pub(super) trait Take: Sync {
    /// `sums` are those of the rows from `row` on. To be inlined, so that it is compiled for the kernel's vectors.
    fn take(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]);
}

/// Multiplies all rows with all panels.
pub(super) fn product(isa: Isa, pool: &dyn Pool, rows: Rows<'_>, weights: Packed<'_>, take: &impl Take) {
    let Packed { depth, panels, .. } = weights;
    assert!(rows.bytes.len() >= rows.count.next_multiple_of(TILE) * depth, "too few rows");
    if rows.count == 0 {
        return;
    }
    assert!(!isa.raises(rows.count) || rows.offsets.len() == panels * PANEL, "raised rows without offsets");
    // Panels go by groups that a kernel takes at once; every piece has as many groups as the others, or one less. There are
    // a few for each thread, so that a slow one is helped, and they are numbered such that threads which take turns go
    // through neighbouring ones.
    let threads = pool.threads();
    let groups = panels.div_ceil(GROUP);
    let each = PIECES.min(groups.div_ceil(threads));
    let pieces = each * threads;
    let run = |number: usize| {
        let piece = number % threads * each + number / threads;
        let from = piece * groups / pieces * GROUP;
        let end = panels.min((piece + 1) * groups / pieces * GROUP);
        if from == end {
            return;
        }
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Amx if rows.count >= amx::WORTH => amx::run(rows, weights, from..end, take),
            #[cfg(target_arch = "x86_64")]
            Isa::Amx | Isa::Vnni512 => x86::run_vnni512(rows, weights, from..end, take),
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni256 => x86::run_vnni256(rows, weights, from..end, take),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::run_avx2(rows, weights, from..end, take),
            _ => portable::run(rows, weights, from..end, take),
        }
    };
    // Reading a weight takes about as long as multiplying it with ten rows.
    if pieces == 1 || threads == 1 || (10 + rows.count) * depth * panels * PANEL < ALONE {
        (0..pieces).for_each(run);
    } else {
        pool.each(pieces, &run);
    }
}

/// Pieces for each thread.
const PIECES: usize = 4;
/// Kernels take so many panels at once, or a part of that.
const GROUP: usize = 4;
/// Less work than this (in tenths of a weight read) is not worth waking a second thread: about 15 us.
const ALONE: usize = 2_000_000;

#[cfg(test)]
pub(super) mod tests {
    use super::super::Alone;
    use super::*;
    use std::sync::Mutex;

    /// Packs `[depth, columns]` as the exporter does.
    pub fn pack(weights: &[i8], depth: usize, columns: usize) -> Vec<i8> {
        let (deep, panels) = (depth.next_multiple_of(DEPTH), columns.div_ceil(PANEL));
        let mut packed = vec![0; deep * panels * PANEL];
        for k in 0..depth {
            for n in 0..columns {
                packed[((n / PANEL * (deep / 4) + k / 4) * PANEL + n % PANEL) * 4 + k % 4] = weights[k * columns + n];
            }
        }
        packed
    }

    pub fn whole(n: usize) -> i8 {
        let byte = ((n as u32 + 1).wrapping_mul(2_654_435_761) >> 24) as i8;
        byte.max(-127)
    }

    struct Note<'a> {
        columns: usize,
        got: &'a Mutex<Vec<i32>>,
    }

    impl Take for Note<'_> {
        fn take(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
            for (r, sums) in sums.iter().enumerate() {
                for (n, &sum) in (panel * PANEL..self.columns).zip(sums) {
                    self.got.lock().unwrap()[(row + r) * self.columns + n] = sum;
                }
            }
        }
    }

    #[test]
    fn every_processor_sums_exactly() {
        for (count, depth, columns) in [
            (1usize, 64usize, 16usize),
            (2, 70, 40),
            (3, 130, 100),
            (5, 64, 200),
            (17, 192, 83),
            (50, 129, 48),
            (64, 64, 17),
        ]
        .into_iter()
        // Passes of every height, of whole groups of panels and of what is left.
        .chain((1..40).map(|count| (count, 64, 16 * 5)))
        {
            let deep = depth.next_multiple_of(DEPTH);
            let weights: Vec<i8> = (0..depth * columns).map(whole).collect();
            let packed = pack(&weights, depth, columns);
            let mut rows = vec![0; count.next_multiple_of(TILE) * deep];
            for (r, row) in rows.chunks_exact_mut(deep).take(count).enumerate() {
                (0..depth).for_each(|k| row[k] = whole(k + 1000 * (r + 1)));
            }
            // The extremes, where sums of pairs are largest.
            rows[..depth].fill(127);
            let packed = Packed::new(&packed, depth, columns).unwrap();
            let offsets: Vec<i32> = (0..packed.columns())
                .map(|n| {
                    -128 * (0..depth).filter(|_| n < columns).map(|k| i32::from(weights[k * columns + n])).sum::<i32>()
                })
                .collect();
            let raised: Vec<i8> = rows.iter().map(|x| x ^ i8::MIN).collect();
            for isa in Isa::all_here() {
                let got = Mutex::new(vec![i32::MIN; count * columns]);
                let bytes = if isa.raises(count) { &raised } else { &rows };
                product(isa, &Alone, Rows { bytes, count, offsets: &offsets }, packed, &Note { columns, got: &got });
                for r in 0..count {
                    for n in 0..columns {
                        let want: i32 = (0..depth)
                            .map(|k| i32::from(rows[r * deep + k]) * i32::from(weights[k * columns + n]))
                            .sum();
                        assert_eq!(
                            got.lock().unwrap()[r * columns + n],
                            want,
                            "{isa:?} {count} {depth} {columns}: {r} {n}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn weights_of_another_length_are_refused() {
        assert!(Packed::new(&[0; 64 * 32], 60, 17).is_some());
        assert!(Packed::new(&[0; 64 * 32], 65, 17).is_none());
        assert!(Packed::new(&[], 0, 0).is_none());
        assert!(Packed::new(&[0; 64], usize::MAX, usize::MAX).is_none());
    }

    struct Drop;

    impl Take for Drop {
        #[inline(always)]
        fn take(&self, _: usize, _: usize, sums: &[[i32; PANEL]]) {
            std::hint::black_box(sums);
        }
    }

    /// Prints what products take on one thread: `cargo test --release --lib -- --ignored --nocapture how_long_products`.
    #[test]
    #[ignore = "it measures"]
    fn how_long_products_take() {
        println!("G multiply-adds a second, the best of 5 rounds");
        for (depth, columns) in [(256usize, 768), (768, 2304), (1024, 5632), (2816, 1024)] {
            let packed = vec![3i8; depth.next_multiple_of(DEPTH) * columns];
            let packed = Packed::new(&packed, depth, columns).unwrap();
            let offsets = vec![0; packed.columns()];
            for isa in Isa::all_here().into_iter().filter(|isa| *isa != Isa::Portable) {
                print!("{depth:>5} x {columns:<5} {isa:<8?}");
                for count in [1, 2, 4, 8, 16, 32, 64, 256, 384] {
                    let rows = vec![5i8; usize::next_multiple_of(count, TILE) * packed.depth];
                    let rows = Rows { bytes: &rows, count, offsets: &offsets };
                    let work = (count * depth * columns) as f64;
                    let rounds = (1e9 / work).ceil() as usize;
                    let round = || {
                        let begun = std::time::Instant::now();
                        (0..rounds).for_each(|_| product(isa, &Alone, rows, packed, &Drop));
                        work * rounds as f64 / 1e9 / begun.elapsed().as_secs_f64()
                    };
                    print!(" {count:>4}: {:>4.0}", std::iter::repeat_with(round).take(5).fold(0.0, f64::max));
                }
                println!();
            }
        }
    }
}
