//! Int4 weights as the int8 weights that they stand for, for kernels that multiply those: panel by panel, into memory that stays
//! in the caches.

use std::mem::transmute;

use super::super::isa::multiversion;
use super::operands::{BLOCK, Int4Weights, PANEL};
use super::passes::LINE;

multiversion! {
    /// Writes one panel, as in [`PackedWeights`](super::operands::PackedWeights), in the order of deinterleaved rows.
    pub(super) fn expand(isa, weights: Int4Weights<'_>, panel: usize, to: &mut [i8]) = body
}

/// A byte in each of the four bytes of a column.
const SPREAD: u32 = 0x0101_0101;

#[inline(always)]
fn bytes(columns: [u32; PANEL]) -> [u8; LINE] {
    // SAFETY: arrays of integers of the same size.
    unsafe { transmute::<[u32; PANEL], [u8; LINE]>(columns) }
}

#[inline(always)]
fn halves(columns: [u32; PANEL]) -> [u16; LINE / 2] {
    // SAFETY: arrays of integers of the same size.
    unsafe { transmute::<[u32; PANEL], [u16; LINE / 2]>(columns) }
}

#[inline(always)]
fn body<const FUSED: bool>(weights: Int4Weights<'_>, panel: usize, to: &mut [i8]) {
    let blocks = weights.depth / BLOCK;
    let nibbles = weights.nibbles[panel * blocks * (BLOCK / 2 * PANEL)..].as_chunks::<{ BLOCK / 2 * PANEL }>().0;
    let factors = weights.factors[panel * blocks * PANEL..].as_chunks::<PANEL>().0;
    let blocks = to.as_chunks_mut::<{ BLOCK * PANEL }>().0.iter_mut().zip(nibbles).zip(factors);
    for ((to, nibbles), factors) in blocks {
        // (n - 8) f is n |f| - 8 |f|, or the negative of that; -x is !x + 1. Of each column:
        let (mut size, mut flip, mut add) = ([0u32; PANEL], [0u32; PANEL], [0u32; PANEL]);
        for n in 0..PANEL {
            let factor = i32::from(factors[n]);
            let sign = factor >> 31;
            size[n] = factor.unsigned_abs() * 0x0001_0001;
            flip[n] = sign as u32;
            add[n] = ((-8 * factor - sign) as u32 & 0xff) * SPREAD;
        }
        let (size, flip, add) = (halves(size), bytes(flip), bytes(add));
        for (to, nibbles) in to.as_chunks_mut::<{ 2 * LINE }>().0.iter_mut().zip(nibbles.as_chunks::<LINE>().0) {
            let (low, high) = to.split_at_mut(LINE);
            for (to, shift) in [(low, 0), (high, 4)] {
                let mut products = [0u16; LINE / 2];
                for (n, two) in nibbles.as_chunks::<2>().0.iter().enumerate() {
                    // Both products are less than 256, so that neither reaches into the other.
                    products[n] = ((u16::from_ne_bytes(*two) >> shift) & 0x0f0f).wrapping_mul(size[n]);
                }
                // SAFETY: arrays of integers of the same size.
                let products = unsafe { transmute::<[u16; LINE / 2], [u8; LINE]>(products) };
                for n in 0..LINE {
                    to[n] = (products[n] ^ flip[n]).wrapping_add(add[n]) as i8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::isa::Isa;
    use super::*;

    #[test]
    fn expand_gives_every_product_with_every_instruction_set() {
        let (depth, panels) = (64, 2);
        let nibbles: Vec<u8> = (0..depth * panels * PANEL / 2).map(|n| ((n * 151) >> 3) as u8).collect();
        let factors: Vec<i8> = (0..depth / BLOCK * panels * PANEL).map(|n| (n % 31) as i8 - 15).collect();
        let weights = Int4Weights::new(&nibbles, &factors, depth, panels * PANEL).unwrap();
        for isa in Isa::supported().iter().copied() {
            for panel in 0..panels {
                let mut got = vec![99; depth * PANEL];
                expand(isa, weights, panel, &mut got);
                for (n, got) in got.into_iter().enumerate() {
                    let (line, column) = (n / LINE, n % LINE / 4);
                    let byte = nibbles[panel * depth * PANEL / 2 + line / 2 * LINE + n % LINE];
                    let nibble = if line % 2 == 0 { byte & 15 } else { byte >> 4 };
                    let factor = factors[(panel * depth / BLOCK + line / 8) * PANEL + column];
                    assert_eq!(i32::from(got), (i32::from(nibble) - 8) * i32::from(factor), "{isa:?} {n}");
                }
            }
        }
    }
}
