//! The numbers of a KV cache: 32-bit floats, or 16-bit ones, which take half of the memory and of the time to read it.

use super::simd::{LANES, Lanes};

/// The largest finite [`Half`].
pub(super) const LARGEST: f32 = 65_504.0;

/// A 16-bit float (IEEE 754 binary16), by its bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Half(pub u16);

/// A number of a KV cache. All arithmetic with it is in f32.
pub(super) trait KvElement: Copy + Default + 'static {
    /// Whether it is a [`Half`]; otherwise it is an f32.
    const HALF: bool;

    /// The numbers of 16 elements.
    fn lanes(elements: [Self; LANES]) -> Lanes;
}

impl KvElement for f32 {
    const HALF: bool = false;

    #[inline(always)]
    fn lanes(elements: [Self; LANES]) -> Lanes {
        elements
    }
}

impl KvElement for Half {
    const HALF: bool = true;

    #[inline(always)]
    fn lanes(elements: [Self; LANES]) -> Lanes {
        elements.map(Self::widen)
    }
}

impl Half {
    /// Exact.
    #[inline(always)]
    fn widen(self) -> f32 {
        // The exponent is moved to its place in an f32, and its offset corrected. A subnormal one, whose exponent is that of
        // the smallest normal numbers without their leading 1, loses that 1 by a subtraction.
        const CORRECTION: u32 = (127 - 15) << 23;
        const SMALLEST: u32 = (127 - 14) << 23;
        let bits = u32::from(self.0 & 0x7fff) << 13;
        let exponent = bits & (0x1f << 23);
        let normal = bits.wrapping_add(CORRECTION);
        let subnormal = (f32::from_bits(bits.wrapping_add(SMALLEST)) - f32::from_bits(SMALLEST)).to_bits();
        let infinite = normal.wrapping_add(CORRECTION);
        let finite = if exponent == 0 { subnormal } else { normal };
        let size = if exponent == 0x1f << 23 { infinite } else { finite };
        f32::from_bits(size | u32::from(self.0 & 0x8000) << 16)
    }

    /// The nearest, ties to even. What is too large becomes the largest finite number, and infinity NaN: a sum with it is
    /// noticed.
    #[inline(always)]
    pub fn narrow(x: f32) -> Self {
        const SMALLEST: u32 = (127 - 14) << 23;
        const CORRECTION: u32 = (127 - 15) << 23;
        // Its last bit is worth that of a subnormal `Half`.
        const SUBNORMAL: f32 = 0.5;
        let sign = (x.to_bits() >> 16) as u16 & 0x8000;
        let size = x.to_bits() & 0x7fff_ffff;
        let capped = if size > LARGEST.to_bits() { LARGEST.to_bits() } else { size };
        let normal = (capped.wrapping_sub(CORRECTION).wrapping_add(0xfff + (capped >> 13 & 1))) >> 13;
        let subnormal = (f32::from_bits(capped) + SUBNORMAL).to_bits().wrapping_sub(SUBNORMAL.to_bits());
        let finite = if capped < SMALLEST { subnormal } else { normal };
        let bits = if size >= f32::INFINITY.to_bits() { 0x7e00 } else { finite };
        Self(bits as u16 | sign)
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_half_is_widened_as_another_implementation_does_and_narrowed_to_itself() {
        for bits in 0..=u16::MAX {
            let (wide, expected) = (Half(bits).widen(), f16::from_bits(bits).to_f32());
            assert!(wide.to_bits() == expected.to_bits() || wide.is_nan() && expected.is_nan(), "{bits:#x}: {wide}");
            if wide.is_finite() {
                assert_eq!(Half::narrow(wide).0, bits);
            }
        }
    }

    #[test]
    fn numbers_too_large_stay_finite_and_infinity_is_noticed() {
        for large in [65_520.0, 1e6, f32::MAX] {
            assert_eq!((Half::narrow(large).0, Half::narrow(-large).0), (0x7bff, 0xfbff));
        }
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert!(Half::narrow(bad).widen().is_nan(), "{bad}");
        }
    }
}
