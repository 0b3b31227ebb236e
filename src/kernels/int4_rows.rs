//! Quantized rows in the order of int4 weights, and what the sums of their blocks start with.

use super::gemm::operands::{BLOCK, BlockStart};
use super::isa::multiversion;

multiversion! {
    /// Of every eight numbers of a row, moves the even ones to the front. (Nibbles of even and odd numbers are separated by one
    /// mask and one shift.)
    pub(super) fn deinterleave(isa, row: &mut [i8]) = deinterleave_body
}

#[inline(always)]
fn deinterleave_body<const FUSED: bool>(row: &mut [i8]) {
    /// The even bytes of a number, from the least significant one on, side by side.
    #[inline(always)]
    fn even(eight: u64) -> u64 {
        let two = eight & 0x00ff_00ff_00ff_00ff;
        let four = (two | two >> 8) & 0x0000_ffff_0000_ffff;
        (four | four >> 16) & 0xffff_ffff
    }
    for eight in row.as_chunks_mut::<8>().0 {
        let bytes = u64::from_le_bytes(eight.map(|byte| byte as u8));
        *eight = (even(bytes) | even(bytes >> 8) << 32).to_le_bytes().map(|byte| byte as i8);
    }
}

multiversion! {
    /// Computes the starts of all blocks of a row.
    pub(super) fn block_starts(isa, row: &[i8], starts: &mut [BlockStart]) = starts_body
}

#[inline(always)]
fn starts_body<const FUSED: bool>(row: &[i8], starts: &mut [BlockStart]) {
    for (block, start) in row.as_chunks::<BLOCK>().0.iter().zip(starts) {
        let mut pair = [0i16; 2];
        for four in block.as_chunks::<4>().0 {
            pair[0] += i16::from(four[0]) + i16::from(four[1]);
            pair[1] += i16::from(four[2]) + i16::from(four[3]);
        }
        // 8 times 16 numbers of 128 at most.
        *start = BlockStart { total: -8 * (i32::from(pair[0]) + i32::from(pair[1])), pair: pair.map(|sum| -8 * sum) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::*;

    #[test]
    fn rows_are_deinterleaved_and_their_starts_are_minus_8_times_their_sums() {
        for isa in Isa::supported().iter().copied() {
            let mut row: Vec<i8> = (0..128).map(|n| (n * 37 % 255 - 127) as i8).collect();
            row[32..64].fill(-128);
            let given = row.clone();
            deinterleave(isa, &mut row);
            for (n, &byte) in row.iter().enumerate() {
                assert_eq!(byte, given[n / 8 * 8 + n % 4 * 2 + n / 4 % 2], "{isa:?} {n}");
            }
            let mut starts = [BlockStart::default(); 4];
            block_starts(isa, &row, &mut starts);
            for (block, start) in row.chunks(BLOCK).zip(starts) {
                let sum = |wanted: &[usize]| -> i32 {
                    (0..BLOCK).filter(|n| wanted.contains(&(n % 4))).map(|n| i32::from(block[n])).sum()
                };
                assert_eq!(start.total, -8 * sum(&[0, 1, 2, 3]), "{isa:?}");
                assert_eq!(start.pair.map(i32::from), [-8 * sum(&[0, 1]), -8 * sum(&[2, 3])], "{isa:?}");
            }
        }
    }
}
