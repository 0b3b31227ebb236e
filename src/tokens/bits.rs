//! Tokens packed to the bit, least significant bit first: token k is bits `k * bits` to `(k + 1) * bits - 1`, and bit n
//! is bit `n % 8` of byte `n / 8`. The unused bits of the last byte are zero.

/// Bytes of `count` packed tokens.
pub(super) fn packed(count: usize, bits: u32) -> usize {
    count.saturating_mul(bits as usize).div_ceil(8)
}

/// Appends tokens, each below `1 << bits`.
pub(super) fn pack(tokens: &[u32], bits: u32, target: &mut Vec<u8>) {
    let (mut waiting, mut held) = (0u64, 0);
    for &token in tokens {
        waiting |= u64::from(token) << held;
        held += bits;
        while held >= 8 {
            target.push(waiting as u8);
            waiting >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        target.push(waiting as u8);
    }
}

/// Appends `count` tokens (of 1 to 20 bits) from exactly their [`packed`] bytes. Returns false and appends nothing if an
/// unused bit is not zero.
pub(super) fn unpack(bytes: &[u8], count: usize, bits: u32, target: &mut Vec<u32>) -> bool {
    debug_assert_eq!(bytes.len(), packed(count, bits));
    let before = target.len();
    let (mut waiting, mut held) = (0u64, 0);
    for &byte in bytes {
        waiting |= u64::from(byte) << held;
        held += 8;
        while held >= bits && target.len() - before < count {
            target.push((waiting & ((1 << bits) - 1)) as u32);
            waiting >>= bits;
            held -= bits;
        }
    }
    if waiting != 0 {
        target.truncate(before);
    }
    waiting == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_puts_the_lowest_bits_first() {
        let mut bytes = Vec::new();
        pack(&[0b101, 0b011, 0b110], 3, &mut bytes);
        assert_eq!(bytes, [0b10_011_101, 0b1]);
        pack(&[0x1234], 13, &mut bytes);
        assert_eq!(bytes[2..], [0x34, 0x12]);
    }

    #[test]
    fn packed_size_saturates_for_extreme_counts() {
        assert_eq!(packed(0, 13), 0);
        assert_eq!(packed(usize::MAX, 20), usize::MAX.div_ceil(8));
    }

    #[test]
    fn unpack_inverts_pack_at_every_width_and_refuses_set_padding_bits() {
        for bits in 1..=20 {
            for count in 1..=17 {
                let most = (1 << bits) - 1;
                let tokens: Vec<u32> = (0..count as u32).map(|k| k.wrapping_mul(0x9E37_79B9) & most).collect();
                let mut bytes = Vec::new();
                pack(&tokens, bits, &mut bytes);
                assert_eq!(bytes.len(), packed(count, bits));
                let mut back = vec![7];
                assert!(unpack(&bytes, count, bits, &mut back));
                assert_eq!(back[1..], tokens);

                let spare = bytes.len() * 8 - count * bits as usize;
                for bit in 8 - spare..8 {
                    let mut odd = bytes.clone();
                    *odd.last_mut().unwrap() |= 1 << bit;
                    assert!(!unpack(&odd, count, bits, &mut back), "{count} tokens of {bits} bits, bit {bit}");
                    assert_eq!(back.len(), 1 + count);
                }
            }
        }
    }
}
