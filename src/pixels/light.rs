//! The transfer function of sRGB (IEC 61966-2-1): encoded values to linear light and back.

use std::sync::OnceLock;

/// sRGB to linear light. Uses `libm`, so that platforms agree.
pub(super) fn to_linear(value: f32) -> f32 {
    if value <= 0.04045 { value / 12.92 } else { libm::powf((value + 0.055) / 1.055, 2.4) }
}

/// Linear light to sRGB.
pub(crate) fn from_linear(value: f32) -> f32 {
    if value <= 0.003_130_8 { value * 12.92 } else { 1.055 * libm::powf(value, 1.0 / 2.4) - 0.055 }
}

/// Intervals of the table: with so many a value is within 0.05 units in the last place of a half float.
const INTERVALS: usize = 2048;

/// [`to_linear`] by linear interpolation, for the many pixels of a picture that is written: a power for each of them would take
/// ten times as long.
pub(super) struct LinearTable([f32; INTERVALS + 1]);

impl LinearTable {
    pub fn get() -> &'static Self {
        static TABLE: OnceLock<LinearTable> = OnceLock::new();
        TABLE.get_or_init(|| Self(std::array::from_fn(|at| to_linear(at as f32 / INTERVALS as f32))))
    }

    /// Linear light of an sRGB value of 0 to 1.
    #[inline(always)]
    pub fn linear(&self, value: f32) -> f32 {
        let scaled = value * INTERVALS as f32;
        let at = (scaled as usize).min(INTERVALS - 1);
        let (low, high) = (self.0[at], self.0[at + 1]);
        low + (high - low) * (scaled - at as f32)
    }
}

/// The half float nearest to a value of 0 to 1, ties to even: as `half::f16::from_f32`, without branches.
#[inline(always)]
pub(super) fn to_half(value: f32) -> u16 {
    // Added to one half, a value below the least normal half is rounded where the last bit of a subnormal half is.
    let subnormal = (value + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0xFFF + ((bits >> 13) & 1)) >> 13;
    let normal = rounded.wrapping_sub((127 - 15) << 10);
    (if value < 1.0 / 16384.0 { subnormal } else { normal }) as u16
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn linear_to_srgb_inverts_srgb_to_linear() {
        let near = |found: f32, wanted: f32| assert!((found - wanted).abs() <= 1e-6, "{found}, wanted {wanted}");
        near(to_linear(0.0), 0.0);
        near(to_linear(1.0), 1.0);
        near(to_linear(0.5), 0.214_041);
        for value in 0..=255 {
            let value = value as f32 / 255.0;
            near(from_linear(to_linear(value)), value);
        }
    }

    #[test]
    fn linear_table_is_within_a_twentieth_of_the_last_place_of_a_half() {
        let table = LinearTable::get();
        let exact = |value: f64| if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) };
        let mut last = -1.0;
        for at in 0..=1_000_000 {
            let value = at as f32 / 1e6;
            let (found, wanted) = (table.linear(value), exact(f64::from(value)));
            let unit = f64::exp2(wanted.max(f64::exp2(-14.0)).log2().floor() - 10.0);
            assert!((f64::from(found) - wanted).abs() < 0.05 * unit, "{value}: {found}, wanted {wanted}");
            assert!(found >= last, "{value}: not monotonic");
            last = found;
        }
        assert_eq!([table.linear(0.0), table.linear(1.0)], [0.0, 1.0]);
    }

    #[test]
    fn to_half_rounds_as_the_half_crate() {
        let check = |value: f32| assert_eq!(to_half(value), f16::from_f32(value).to_bits(), "{value:e}");
        for half in 0..=f16::ONE.to_bits() {
            let value = f16::from_bits(half).to_f32();
            let next = f16::from_bits(half + 1).to_f32();
            let middle = (value + next) / 2.0;
            for value in [value, middle, middle.next_down(), middle.next_up()] {
                check(value.clamp(0.0, 1.0));
            }
        }
        [0.0, f32::MIN_POSITIVE, f32::from_bits(1), 1.0].into_iter().for_each(check);
    }
}
