//! Where sprites go on a page.

use std::collections::BTreeMap;

use rectangle_pack::{
    GroupedRectsToPlace, RectToInsert, TargetBin, contains_smallest_box, pack_rects, volume_heuristic,
};

use crate::pixels::layout;
use crate::support::error::{Error, Result};

/// What surrounds each sprite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells {
    pub extrude: u32,
    pub padding: u32,
}

impl Cells {
    /// Pixels per side of a sprite with its extrusion.
    fn extruded(self, side: u32) -> u32 {
        side + 2 * self.extrude
    }

    /// Pixels that a sprite takes, with the padding to its right and below.
    pub fn area(self, side: u32) -> u64 {
        let pitch = u64::from(self.extruded(side) + self.padding);
        pitch * pitch
    }

    /// Pixels that the cells of a page can take: padding is needed between sprites only.
    pub fn page_area(page_size: u32, padding: u32) -> u64 {
        let side = u64::from(page_size + padding);
        side * side
    }
}

/// The first sprites that lie on a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packed {
    pub width: u32,
    pub height: u32,
    /// The corner of each sprite's extrusion.
    pub corners: Vec<(u32, u32)>,
}

/// Packs as many of the first sprites as go on one page of at most `page_size` pixels per side, and makes the page as small as
/// these allow. At least one sprite is given, and each fits a page.
pub(super) fn pack(sides: &[u32], cells: Cells, page_size: u32, power_of_two: bool) -> Result<Packed> {
    let extruded: Vec<u32> = sides.iter().map(|&side| cells.extruded(side)).collect();
    let (count, corners) = first_that_fit(&extruded, cells.padding, page_size)
        .ok_or_else(|| Error::Internal("a sprite that fits a page was not placed".to_owned()))?;
    let extruded = &extruded[..count];
    for (width, height) in smaller_pages(extruded, cells.padding, page_size, power_of_two) {
        if let Some(corners) = place(extruded, cells.padding, width, height) {
            return Ok(sized(corners, extruded, width, height, power_of_two));
        }
    }
    Ok(sized(corners, extruded, page_size, page_size, power_of_two))
}

/// A number of squares, counted from the first, that fit a page, and their corners. Most often these are all, or all but the last,
/// which was one too many; otherwise a bisection finds them.
fn first_that_fit(extruded: &[u32], padding: u32, page_size: u32) -> Option<(usize, Vec<(u32, u32)>)> {
    let fits = |count: usize| place(&extruded[..count], padding, page_size, page_size);
    if let Some(corners) = fits(extruded.len()) {
        return Some((extruded.len(), corners));
    }
    let (mut count, mut corners, mut beyond) = (1, fits(1)?, extruded.len());
    let mut next = beyond - 1;
    while beyond - count > 1 {
        match fits(next) {
            Some(found) => (count, corners) = (next, found),
            None => beyond = next,
        }
        next = count.midpoint(beyond);
    }
    Some((count, corners))
}

/// A page of this size, or, where any size is allowed, as small as the sprites on it.
fn sized(corners: Vec<(u32, u32)>, extruded: &[u32], width: u32, height: u32, power_of_two: bool) -> Packed {
    if power_of_two {
        return Packed { width, height, corners };
    }
    let (mut width, mut height) = (0, 0);
    for (&(x, y), &side) in corners.iter().zip(extruded) {
        (width, height) = (width.max(x + side), height.max(y + side));
    }
    Packed { width, height, corners }
}

/// Page sizes below the largest that might do, the smallest first.
fn smaller_pages(extruded: &[u32], padding: u32, page_size: u32, power_of_two: bool) -> Vec<(u32, u32)> {
    let area: u64 = extruded.iter().map(|&side| u64::from(side + padding).pow(2)).sum();
    let widest = extruded.iter().copied().max().unwrap_or(1);
    let mut sizes = Vec::new();
    if power_of_two {
        let sides = std::iter::successors(Some(1u32), |side| Some(side * 2)).take_while(|&side| side < page_size);
        sizes.extend(sides.flat_map(|side| [(side, side), (side * 2, side)]));
        let takes = |side: u32| u64::from(side + padding);
        sizes.retain(|&(width, height)| height >= widest && takes(width) * takes(height) >= area);
    } else {
        // About square, wider by 1/16 each time.
        let mut width = (area.isqrt() as u32).saturating_sub(padding).max(widest);
        while width < page_size {
            sizes.push((width, page_size.min(width + width / 8 + widest)));
            width += (width / 16).max(1);
        }
    }
    sizes
}

/// Places squares of these sides in a page, `padding` apart; None if they do not fit. In rows, which is exact for squares of one
/// size; squares of several sizes that do not fit so as `rectangle-pack` does it.
fn place(extruded: &[u32], padding: u32, width: u32, height: u32) -> Option<Vec<(u32, u32)>> {
    let rows = layout(extruded, width, padding).ok()?;
    if rows.height <= height {
        return Some(rows.corners);
    }
    if extruded.iter().all(|&side| side == extruded[0]) {
        return None;
    }
    let mut squares = GroupedRectsToPlace::<usize>::new();
    for (at, &side) in extruded.iter().enumerate() {
        squares.push_rect(at, None, RectToInsert::new(side + padding, side + padding, 1));
    }
    let mut page = BTreeMap::from([((), TargetBin::new(width + padding, height + padding, 1))]);
    let packed = pack_rects(&squares, &mut page, &volume_heuristic, &contains_smallest_box).ok()?;
    let places = packed.packed_locations();
    (0..extruded.len()).map(|at| places.get(&at).map(|(_, place)| (place.x(), place.y()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::{Square, check_squares};

    /// Fails unless no two sprites are nearer than the padding and all lie on the page.
    fn check(packed: &Packed, sides: &[u32], cells: Cells) {
        let squares: Vec<Square> = packed
            .corners
            .iter()
            .zip(sides)
            .map(|(&(x, y), &side)| Square { x, y, side: cells.extruded(side) + cells.padding })
            .collect();
        check_squares(&squares, packed.width + cells.padding, packed.height + cells.padding).unwrap();
    }

    #[test]
    fn pack_of_one_size_is_a_full_grid() {
        let cells = Cells { extrude: 1, padding: 2 };
        let packed = pack(&[32; 4000], cells, 2048, true).unwrap();
        // 56 columns of 36 pixels, of which the last needs no padding.
        assert_eq!((packed.width, packed.height, packed.corners.len()), (2048, 2048, 56 * 56));
        check(&packed, &[32; 56 * 56], cells);
        assert_eq!(packed.corners[57], (36, 36));
        let exact = pack(&[32; 4000], cells, 2048, false).unwrap();
        assert_eq!((exact.width, exact.height), (56 * 36 - 2, 56 * 36 - 2));
        let none = Cells { extrude: 0, padding: 0 };
        assert_eq!(pack(&[32; 5000], none, 2048, true).unwrap().corners.len(), 4096);
    }

    #[test]
    fn pack_makes_the_last_page_small() {
        let cells = Cells { extrude: 0, padding: 0 };
        let size = |count: usize, power_of_two| {
            let packed = pack(&vec![16; count], cells, 1024, power_of_two).unwrap();
            (packed.width, packed.height)
        };
        assert_eq!(size(1, true), (16, 16));
        assert_eq!(size(2, true), (32, 16));
        assert_eq!(size(5, true), (64, 32));
        assert_eq!(size(1, false), (16, 16));
        assert_eq!(size(9, false), (48, 48));
        assert_eq!(size(10, false), (48, 64));
    }

    #[test]
    fn pack_of_mixed_sizes_does_not_overlap_and_wastes_little() {
        let mut state = 7u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for (padding, extrude, power_of_two) in [(0, 0, true), (2, 1, true), (3, 8, false), (1, 2, false)] {
            let cells = Cells { extrude, padding };
            let sides: Vec<u32> = (0..600).map(|_| [8, 12, 16, 20, 24, 32, 48][random(7)]).collect();
            let mut rest = &sides[..];
            let mut fill = Vec::new();
            while !rest.is_empty() {
                let packed = pack(rest, cells, 256, power_of_two).unwrap();
                let count = packed.corners.len();
                check(&packed, &rest[..count], cells);
                assert!(packed.width <= 256 && packed.height <= 256);
                assert!(!power_of_two || packed.width.is_power_of_two() && packed.height.is_power_of_two());
                assert_eq!(packed, pack(rest, cells, 256, power_of_two).unwrap(), "the same twice");
                let used: u64 = rest[..count].iter().map(|&side| cells.area(side)).sum();
                fill.push(used * 100 / (u64::from(packed.width + padding) * u64::from(packed.height + padding)));
                rest = &rest[count..];
            }
            // All but the last.
            assert!(fill[..fill.len() - 1].iter().all(|&percent| percent >= 80), "{fill:?}");
        }
    }

    #[test]
    fn pack_of_a_sprite_as_large_as_the_page() {
        let cells = Cells { extrude: 4, padding: 256 };
        let packed = pack(&[56, 56, 1], cells, 64, true).unwrap();
        assert_eq!(packed, Packed { width: 64, height: 64, corners: vec![(0, 0)] });
        assert_eq!(pack(&[1], cells, 64, true).unwrap().width, 16);
    }
}
