//! The pixels of a page.

use super::Sprite;
use crate::support::error::Result;
use crate::support::memory::filled;

/// A page of transparent pixels.
pub(super) fn clear(width: u32, height: u32) -> Result<Vec<u8>> {
    filled("an atlas page", width as usize * height as usize * 4, 0)
}

/// Writes a sprite with its outermost pixels repeated `extrude` times around it; `corner` is that of the extrusion. It lies within
/// the page.
pub(super) fn sprite(page: &mut [u8], width: u32, corner: (u32, u32), sprite: &Sprite, extrude: u32) {
    let (side, extrude, stride) = (sprite.side as usize, extrude as usize, width as usize * 4);
    let row = side * 4;
    for y in 0..side + 2 * extrude {
        let source = &sprite.pixels[y.saturating_sub(extrude).min(side - 1) * row..][..row];
        let start = (corner.1 as usize + y) * stride + corner.0 as usize * 4;
        let (left, rest) = page[start..start + row + 8 * extrude].split_at_mut(4 * extrude);
        let (middle, right) = rest.split_at_mut(row);
        left.as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.copy_from_slice(&source[..4]));
        middle.copy_from_slice(source);
        right.as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.copy_from_slice(&source[row - 4..]));
    }
}
