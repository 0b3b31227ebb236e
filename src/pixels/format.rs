//! How pixels lie in memory.

use crate::support::error::{Error, Result};

/// How pixels lie in memory. Rows go from top to bottom. Alpha is 1 (255) for RGB models.
///
/// In formats of 8 bits and in [`Rgba32F`](Self::Rgba32F), colour is sRGB-encoded; premultiplied colour is that encoded value
/// times alpha, as Cairo, Skia and Direct2D have it. In formats of 16 bits, colour is linear light: the encoded value
/// converted by the transfer function of sRGB (IEC 61966-2-1), then multiplied by alpha where it is premultiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Three bytes, sRGB. Pictures of RGBA models are composited over black.
    Rgb8,
    /// Four bytes, sRGB with straight (not premultiplied) alpha.
    Rgba8,
    /// Four `f32` of 0 to 1 in native byte order, sRGB-encoded colour with straight alpha.
    Rgba32F,
    /// As [`Rgba8`](Self::Rgba8), in the order B, G, R, A.
    Bgra8,
    /// Four bytes, sRGB-encoded colour premultiplied with alpha: no byte of the colour is larger than that of alpha.
    Rgba8Premultiplied,
    /// As [`Rgba8Premultiplied`](Self::Rgba8Premultiplied), in the order B, G, R, A.
    Bgra8Premultiplied,
    /// Four half floats (IEEE 754 binary16) of 0 to 1 in native byte order, linear light with straight alpha. Values are
    /// computed in `f32`, within 0.05 units in the last place of a half, and rounded to the nearest half, ties to even.
    Rgba16FLinear,
    /// As [`Rgba16FLinear`](Self::Rgba16FLinear), with colour premultiplied: linear light times alpha.
    Rgba16FLinearPremultiplied,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::Rgb8,
        Self::Rgba8,
        Self::Rgba32F,
        Self::Bgra8,
        Self::Rgba8Premultiplied,
        Self::Bgra8Premultiplied,
        Self::Rgba16FLinear,
        Self::Rgba16FLinearPremultiplied,
    ];

    /// Bytes of one pixel: 3, 4, 8 or 16.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Rgba8 | Self::Bgra8 | Self::Rgba8Premultiplied | Self::Bgra8Premultiplied => 4,
            Self::Rgba16FLinear | Self::Rgba16FLinearPremultiplied => 8,
            Self::Rgba32F => 16,
        }
    }

    /// Bytes of a row of `width` pixels; saturates.
    pub(super) fn row(self, width: u32) -> usize {
        (width as usize).saturating_mul(self.bytes())
    }
}

/// Checks that neither side of a picture is 0.
pub(super) fn check_sides(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::Invalid(format!("a picture of {width} x {height} pixels is empty")));
    }
    Ok(())
}

/// Checks that `rows` rows of `row` bytes, `stride` bytes apart, lie within `length` bytes. Returns the bytes that they
/// span.
pub(crate) fn check_rows(row: usize, rows: usize, stride: usize, length: usize) -> Result<usize> {
    if stride < row {
        return Err(Error::Invalid(format!("a stride of {stride} bytes is less than a row of {row} bytes")));
    }
    let needed = stride.checked_mul(rows.saturating_sub(1)).and_then(|bytes| bytes.checked_add(row));
    needed
        .filter(|&needed| needed <= length)
        .ok_or_else(|| Error::Invalid(format!("{length} bytes are too few for {rows} rows {stride} bytes apart")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_rows_refuses_sizes_that_overflow() {
        assert_eq!(check_rows(6, 2, 8, 14).unwrap(), 14);
        assert!(check_rows(6, 2, 8, 13).is_err());
        assert!(check_rows(6, 2, 5, 100).is_err());
        for (row, rows, stride) in
            [(1, usize::MAX, 2), (usize::MAX, 2, usize::MAX), (1, 2, usize::MAX), (1, 3, 1 << 63)]
        {
            assert!(check_rows(row, rows, stride, isize::MAX as usize).is_err(), "{row} {rows} {stride}");
        }
        assert_eq!(PixelFormat::Rgba32F.row(u32::MAX), (u32::MAX as usize).saturating_mul(16));
    }
}
