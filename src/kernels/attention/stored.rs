//! Keys and values on their way into the KV cache, whose elements may be smaller than what was computed.

use super::super::element::{Half, KvElement};
use super::super::isa::{Isa, multiversion};

/// Memory that a thread works with.
pub(super) struct Scratch {
    /// Rotated queries, scores and sums.
    pub floats: Vec<f32>,
    /// A rotated key.
    pub halves: Vec<Half>,
}

/// An element of a KV cache that numbers can be stored in.
pub(super) trait Stored: KvElement {
    /// Stores numbers in the nearest elements (ties to even).
    fn store(isa: Isa, from: &[f32], to: &mut [Self]);

    /// The first `width` numbers of the scratch memory, which are a rotated key, as elements.
    fn key(isa: Isa, scratch: &mut Scratch, width: usize) -> &[Self];
}

impl Stored for f32 {
    fn store(_: Isa, from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }

    fn key(_: Isa, scratch: &mut Scratch, width: usize) -> &[Self] {
        &scratch.floats[..width]
    }
}

impl Stored for Half {
    fn store(isa: Isa, from: &[f32], to: &mut [Self]) {
        narrow(isa, from, to);
    }

    fn key(isa: Isa, scratch: &mut Scratch, width: usize) -> &[Self] {
        let key = &mut scratch.halves[..width];
        Self::store(isa, &scratch.floats[..width], key);
        key
    }
}

multiversion! {
    fn narrow(isa, from: &[f32], to: &mut [Half]) = narrow_body
}

#[inline(always)]
fn narrow_body<const FUSED: bool>(from: &[f32], to: &mut [Half]) {
    for (to, &x) in to.iter_mut().zip(from) {
        *to = Half::narrow(x);
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::super::element::LARGEST;
    use super::*;

    #[test]
    fn storing_is_to_the_nearest_with_every_instruction_set() {
        // Each exponent, with mantissas about those that are halfway between two neighbours.
        let halfway = [0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001, 0x7f_efff, 0x7f_f000, 0x7f_ffff];
        let mut values: Vec<f32> = Vec::new();
        for exponent in 90..143u32 {
            for mantissa in halfway {
                values.extend([0, 1 << 31].map(|sign| f32::from_bits(sign | exponent << 23 | mantissa)));
            }
        }
        values.extend([0.0, -0.0, 1e-40, f32::MIN_POSITIVE, LARGEST, 65_519.9]);
        for &isa in Isa::supported() {
            let mut to = vec![Half(1); values.len()];
            Half::store(isa, &values, &mut to);
            for (&x, to) in values.iter().zip(&to) {
                assert_eq!(to.0, f16::from_f32(x.clamp(-LARGEST, LARGEST)).to_bits(), "{isa:?}: {x:e}");
            }
        }
    }
}
