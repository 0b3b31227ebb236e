//! GEMM with the tiles of x86-64 AMX: 16 rows times 16 columns, 64 deep, in one instruction. The compiler has no stable
//! intrinsics for them, so this is inline assembly.

use std::arch::asm;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::{Mutex, OnceLock};

use super::operands::{Epilogue, PANEL, PackedWeights, QuantizedRows, TILE};
use super::portable;
use crate::support::platform::enable_amx;
use crate::support::sync::lock;

/// Whether the system lets this process use tiles, and they compute the same as plain code: the assembly below is written by
/// hand, and a CPU or emulator that disagrees is used without it.
///
/// The first call asks the system, which from then on refuses alternate signal stacks that are too small for the tiles, in
/// the whole process; while there is such a stack, it refuses the tiles. So nothing asks before a GEMM that would use them.
pub(in crate::kernels) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| has_tiles() && enable_amx() && agrees())
}

/// Compares one GEMM that uses every kind of block: two tiles of rows and one, two panels and one.
fn agrees() -> bool {
    const ROWS: usize = 3 * TILE - 1;
    const DEPTH: usize = 128;
    const PANELS: usize = 3;
    let int8 = |n: usize| ((n as u32).wrapping_mul(2_654_435_761) >> 24) as i8;
    let weights: Vec<i8> = (0..DEPTH * PANELS * PANEL).map(int8).collect();
    let bytes: Vec<i8> = (0..3 * TILE * DEPTH).map(|n| int8(n + 77)).collect();
    let Some(packed) = PackedWeights::new(&weights, DEPTH, PANELS * PANEL) else { return false };
    let rows = QuantizedRows { bytes: &bytes, count: ROWS, compensation: &[] };
    let [tiles, plain] = [Recorded::default(), Recorded::default()];
    run(rows, packed, 0..PANELS, &tiles);
    portable::run(rows, packed, 0..PANELS, &plain);
    let sorted = |recorded: Recorded| {
        let mut all = recorded.0.into_inner().unwrap_or_default();
        all.sort_unstable();
        all
    };
    sorted(tiles) == sorted(plain)
}

/// Records what it is given: panel, row, sums.
#[derive(Default)]
struct Recorded(Mutex<Vec<(usize, usize, [i32; PANEL])>>);

impl Epilogue for Recorded {
    fn apply(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
        lock(&self.0).extend((row..).zip(sums).map(|(row, sums)| (panel, row, *sums)));
    }
}

/// Whether the CPU has tiles of int8.
pub(in crate::kernels) fn has_tiles() -> bool {
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    // SAFETY: every x86-64 CPU has the instruction. The functions are unsafe in the oldest Rust that this crate builds with, and
    // safe in newer ones.
    #[allow(unused_unsafe, reason = "the function is unsafe in Rust before 1.94 only")]
    unsafe {
        let most = std::arch::x86_64::__cpuid(0).eax;
        most >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & (TILE | INT8) == TILE | INT8
    }
}

/// Palette 1, all eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const CONFIG: Config = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        row_bytes[tile] = 64;
        rows[tile] = TILE as u8;
        tile += 1;
    }
    Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

/// The sums of 16 rows and a panel.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Sums([[i32; PANEL]; TILE]);

/// Bytes of the rows and panels of a block of tiles: both stay in the first cache while they are multiplied.
const ROW_BYTES: usize = 24 << 10;
const PANEL_BYTES: usize = 16 << 10;

pub(in crate::kernels) fn run(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    panels: Range<usize>,
    epilogue: &impl Epilogue,
) {
    // SAFETY: CPUs with tiles have these vectors; `isa` selects this driver only where they were detected.
    unsafe { inner(rows, weights, panels, epilogue) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn inner(rows: QuantizedRows<'_>, weights: PackedWeights<'_>, panels: Range<usize>, epilogue: &impl Epilogue) {
    let depth = weights.depth;
    let multiple = |bytes: usize, unit: usize| (bytes / depth / (2 * unit)).max(1) * 2 * unit;
    let (height, width) = (multiple(ROW_BYTES, TILE), multiple(PANEL_BYTES, PANEL) / PANEL);
    // SAFETY: the CPU has tiles; the configuration is a valid one. Nothing else on this thread uses tiles before they are
    // released below (the epilogues are ours), and ONNX Runtime's own kernels load their configuration before each use.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly)) };
    for panel in panels.clone().step_by(width) {
        let panels = panel..panels.end.min(panel + width);
        for row in (0..rows.count).step_by(height) {
            let end = rows.count.min(row + height);
            multiply(rows, weights, row..end, panels.clone(), epilogue);
        }
    }
    // SAFETY: as above. The state is large; the system need not save it any longer.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// Multiplies some rows, from a multiple of a tile on, with some panels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn multiply(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    range: Range<usize>,
    panels: Range<usize>,
    epilogue: &impl Epilogue,
) {
    let depth = weights.depth;
    let mut sums = [[const { MaybeUninit::<Sums>::uninit() }; 2]; 2];
    for panel in panels.clone().step_by(2) {
        let wide = panel + 1 < panels.end;
        let b = weights.panel(panel);
        for row in range.clone().step_by(2 * TILE) {
            let tall = row + TILE < range.end;
            let a = rows.bytes[row * depth..].as_ptr();
            // SAFETY: rows have capacity for a multiple of 16, and panels are `depth` times 16 bytes.
            unsafe {
                match (tall, wide) {
                    (true, true) => block::<true, true>(a, b, depth, &mut sums),
                    (true, false) => block::<true, false>(a, b, depth, &mut sums),
                    (false, true) => block::<false, true>(a, b, depth, &mut sums),
                    (false, false) => block::<false, false>(a, b, depth, &mut sums),
                }
            }
            for (t, sums) in sums.iter().enumerate().take(1 + usize::from(tall)) {
                let first = row + t * TILE;
                for (p, sums) in sums.iter().enumerate().take(1 + usize::from(wide)) {
                    // SAFETY: the block has stored the sums of these rows and panels.
                    let sums = unsafe { sums.assume_init_ref() };
                    epilogue.apply(first, panel + p, &sums.0[..TILE.min(range.end - first)]);
                }
            }
        }
    }
}

/// One or two tiles of rows times one or two panels.
///
/// # Safety
/// The rows and panels exist, `depth` (a multiple of 64) deep, and the tiles are configured.
unsafe fn block<const TALL: bool, const WIDE: bool>(
    a: *const i8,
    b: *const i8,
    depth: usize,
    sums: &mut [[MaybeUninit<Sums>; 2]; 2],
) {
    let [[s00, s01], [s10, s11]] = sums;
    let next_a = a.wrapping_add(TILE * depth);
    let next_b = b.wrapping_add(PANEL * depth);
    // A step takes 64 bytes of each row and one tile of each panel.
    macro_rules! run {
        ($zero:literal, $step:literal, $store:literal) => {
            // SAFETY: reads within rows and panels, writes the sums; the compiler does not use tmm0 to tmm7.
            unsafe {
                asm!(
                    $zero,
                    "2:",
                    $step,
                    "add {a}, 64",
                    "add {next_a}, 64",
                    "add {b}, 1024",
                    "add {next_b}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    "mov {stride}, 64",
                    $store,
                    a = inout(reg) a => _,
                    next_a = inout(reg) next_a => _,
                    b = inout(reg) b => _,
                    next_b = inout(reg) next_b => _,
                    steps = inout(reg) depth / 64 => _,
                    stride = inout(reg) depth => _,
                    line = in(reg) 64usize,
                    s00 = in(reg) s00.as_mut_ptr(),
                    s01 = in(reg) s01.as_mut_ptr(),
                    s10 = in(reg) s10.as_mut_ptr(),
                    s11 = in(reg) s11.as_mut_ptr(),
                    options(nostack),
                )
            }
        };
    }
    match (TALL, WIDE) {
        (true, true) => run!(
            "tilezero tmm0\ntilezero tmm1\ntilezero tmm2\ntilezero tmm3",
            "tileloadd tmm6, [{b} + {line}]\ntileloadd tmm4, [{a} + {stride}]\ntdpbssd tmm0, tmm4, tmm6\ntileloadd tmm7, [{next_b} + {line}]\ntdpbssd tmm1, tmm4, tmm7\ntileloadd tmm5, [{next_a} + {stride}]\ntdpbssd tmm2, tmm5, tmm6\ntdpbssd tmm3, tmm5, tmm7",
            "tilestored [{s00} + {stride}], tmm0\ntilestored [{s01} + {stride}], tmm1\ntilestored [{s10} + {stride}], tmm2\ntilestored [{s11} + {stride}], tmm3"
        ),
        (true, false) => run!(
            "tilezero tmm0\ntilezero tmm2",
            "tileloadd tmm6, [{b} + {line}]\ntileloadd tmm4, [{a} + {stride}]\ntdpbssd tmm0, tmm4, tmm6\ntileloadd tmm5, [{next_a} + {stride}]\ntdpbssd tmm2, tmm5, tmm6",
            "tilestored [{s00} + {stride}], tmm0\ntilestored [{s10} + {stride}], tmm2\n/* {s01} {s11} */"
        ),
        (false, true) => run!(
            "tilezero tmm0\ntilezero tmm1",
            "tileloadd tmm6, [{b} + {line}]\ntileloadd tmm4, [{a} + {stride}]\ntdpbssd tmm0, tmm4, tmm6\ntileloadd tmm7, [{next_b} + {line}]\ntdpbssd tmm1, tmm4, tmm7",
            "tilestored [{s00} + {stride}], tmm0\ntilestored [{s01} + {stride}], tmm1\n/* {s10} {s11} */"
        ),
        (false, false) => run!(
            "tilezero tmm0",
            "tileloadd tmm6, [{b} + {line}]\ntileloadd tmm4, [{a} + {stride}]\ntdpbssd tmm0, tmm4, tmm6",
            "tilestored [{s00} + {stride}], tmm0\n/* {s01} {s10} {s11} */"
        ),
    }
}
