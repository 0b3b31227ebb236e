//! How pixels lie in memory.

use crate::support::error::{Error, Result};

/// How pixels lie in memory. Rows go from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three bytes, sRGB. Pictures of RGBA models are composited over black.
    Rgb8,
    /// Four bytes, sRGB with straight (not premultiplied) alpha; alpha is 255 for RGB models.
    Rgba8,
    /// Four `f32` of 0 to 1 in native byte order, sRGB-encoded colour with straight alpha; alpha is 1 for RGB models.
    Rgba32F,
}

impl PixelFormat {
    /// Bytes of one pixel: 3, 4 or 16.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Rgba8 => 4,
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
