//! OKLab as integers, with a and b twice as large: what colours are compared in. Distances are those of "Delta E OK 2", which is
//! nearer to what eyes see than OKLab as it is, where differences of hue count too little.

use std::sync::OnceLock;

use super::super::light::to_linear;

/// L, 2 a and 2 b in units of 1/32768: squared distances fit in 32 bits.
pub(super) type Lab = [i32; 3];

const ONE: f32 = 32768.0;

/// An sRGB colour in OKLab.
pub(super) fn lab(rgb: [u8; 3]) -> Lab {
    static LINEAR: OnceLock<[f32; 256]> = OnceLock::new();
    let linear = LINEAR.get_or_init(|| std::array::from_fn(|value| to_linear(value as f32 / 255.0)));
    let [r, g, b] = rgb.map(|value| linear[usize::from(value)]);
    let l = libm::cbrtf(0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b);
    let m = libm::cbrtf(0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b);
    let s = libm::cbrtf(0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b);
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        2.0 * (1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s),
        2.0 * (0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s),
    ]
    .map(|value| libm::roundf(value * ONE) as i32)
}

/// The squared distance of two colours. Differences are at most 1, 1.02 and 1.02: nothing wraps.
#[inline(always)]
pub(super) fn distance(one: Lab, other: Lab) -> u32 {
    let square = |at: usize| {
        let difference = one[at].wrapping_sub(other[at]);
        difference.wrapping_mul(difference) as u32
    };
    square(0).wrapping_add(square(1)).wrapping_add(square(2))
}

/// The index of the nearest colour, the first of those equally near; 0 if there is none.
#[inline(always)]
pub(super) fn nearest(color: Lab, among: &[Lab]) -> usize {
    let mut best = u64::MAX;
    for (at, &other) in among.iter().enumerate() {
        best = best.min(u64::from(distance(color, other)) << 32 | at as u64);
    }
    if among.is_empty() { 0 } else { best as u32 as usize }
}
