//! Sprites in an atlas: checks that squares lie within a rectangle without overlap, and lays them out so that they do.

use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// The position and size of a sprite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Square {
    pub x: u32,
    pub y: u32,
    pub side: u32,
}

impl Square {
    fn right(self) -> u64 {
        u64::from(self.x) + u64::from(self.side)
    }

    fn bottom(self) -> u64 {
        u64::from(self.y) + u64::from(self.side)
    }
}

/// Checks that all squares lie within `width` x `height` and no two share a pixel; they may touch.
///
/// # Errors
/// [`Error::Invalid`], which names those that do not.
pub(crate) fn check_squares(squares: &[Square], width: u32, height: u32) -> Result<()> {
    for (at, &square) in squares.iter().enumerate() {
        if square.right() > u64::from(width) || square.bottom() > u64::from(height) {
            let Square { x, y, side } = square;
            return Err(Error::Invalid(format!(
                "sprite {at}, {side} x {side} pixels at {x}, {y}, does not lie within the atlas of {width} x {height}"
            )));
        }
    }
    if let Some((a, b)) = overlap(squares)? {
        let place = |at: usize| format!("{0} x {0} at {1}, {2}", squares[at].side, squares[at].x, squares[at].y);
        return Err(Error::Invalid(format!("sprites {a} ({}) and {b} ({}) overlap", place(a), place(b))));
    }
    Ok(())
}

/// Two squares that overlap, if any do. A sweep line goes from left to right; the squares that it crosses do not overlap
/// each other until one is found, so a new one needs to be compared with its neighbours above and below only.
fn overlap(squares: &[Square]) -> Result<Option<(usize, usize)>> {
    // At the same x, ends come before starts. Ends are ordered from the bottom up and starts from the top down, so that in
    // a grid each is the last of the crossed ones, which makes inserting and removing cheap.
    let mut edges: Vec<(u64, bool, u32, usize)> = reserve("an atlas", squares.len().saturating_mul(2))?;
    for (at, square) in squares.iter().enumerate().filter(|(_, square)| square.side > 0) {
        edges.extend([(u64::from(square.x), true, square.y, at), (square.right(), false, u32::MAX - square.y, at)]);
    }
    edges.sort_unstable();
    let mut crossed: Vec<usize> = reserve("an atlas", squares.len())?;
    for (_, begins, _, at) in edges {
        let place = crossed.partition_point(|&other| squares[other].y < squares[at].y);
        if !begins {
            // The crossed squares have different y, so this is the one.
            crossed.remove(place);
            continue;
        }
        let above = place.checked_sub(1).map(|above| crossed[above]);
        let above = above.filter(|&other| squares[other].bottom() > u64::from(squares[at].y));
        let below = crossed.get(place).copied().filter(|&other| u64::from(squares[other].y) < squares[at].bottom());
        if let Some(other) = above.or(below) {
            return Ok(Some((at.min(other), at.max(other))));
        }
        crossed.insert(place, at);
    }
    Ok(None)
}

/// The result of [`layout`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The upper left corner of each square, in the order given.
    pub corners: Vec<(u32, u32)>,
    /// Height of the atlas in pixels.
    pub height: u32,
}

/// Lays out squares of these sides (in pixels) in rows, the largest first, `padding` pixels apart, in an atlas `width`
/// pixels wide. Squares of one size form a grid in the order given.
///
/// # Errors
/// [`Error::Invalid`] if a side is 0 or larger than `width`, or the height exceeds 32 bits; [`Error::OutOfMemory`].
pub fn layout(sides: &[u32], width: u32, padding: u32) -> Result<Layout> {
    if let Some(at) = sides.iter().position(|&side| side == 0 || side > width) {
        return Err(Error::Invalid(format!("sprite {at} of {} px does not fit an atlas {width} px wide", sides[at])));
    }
    let mut order: Vec<usize> = reserve("an atlas", sides.len())?;
    order.extend(0..sides.len());
    order.sort_unstable_by_key(|&at| (std::cmp::Reverse(sides[at]), at));
    let mut corners = filled("an atlas", sides.len(), (0, 0))?;
    // Of the current row: where the next square goes, its top and its bottom. The sums of 32-bit numbers fit 64 bits.
    let (mut x, mut top, mut bottom) = (0u64, 0u64, 0u64);
    for at in order {
        let side = u64::from(sides[at]);
        if x + side > u64::from(width) {
            (x, top) = (0, bottom + u64::from(padding));
        }
        bottom = bottom.max(top + side);
        if bottom > u64::from(u32::MAX) {
            return Err(Error::Invalid(format!("{} sprites in an atlas {width} px wide are too high", sides.len())));
        }
        corners[at] = (x as u32, top as u32);
        x += side + u64::from(padding);
    }
    Ok(Layout { corners, height: bottom as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(list: &[(u32, u32, u32)]) -> Vec<Square> {
        list.iter().map(|&(x, y, side)| Square { x, y, side }).collect()
    }

    #[test]
    fn check_squares_allows_touching_and_refuses_overlap() {
        let fine = squares(&[(0, 0, 4), (4, 0, 4), (0, 4, 8), (8, 4, 8), (8, 0, 4)]);
        check_squares(&fine, 16, 12).unwrap();
        check_squares(&[], 0, 0).unwrap();
        let names = |list: &[(u32, u32, u32)]| check_squares(&squares(list), 16, 16).unwrap_err().to_string();
        assert_eq!(
            names(&[(0, 0, 4), (8, 8, 4), (3, 3, 4)]),
            "sprites 0 (4 x 4 at 0, 0) and 2 (4 x 4 at 3, 3) overlap"
        );
        assert!(names(&[(5, 5, 1), (0, 0, 16)]).contains("sprites 0 (1 x 1"), "one within another");
        assert!(names(&[(5, 5, 2), (5, 5, 2)]).contains("overlap"), "one on another");
        assert!(names(&[(0, 0, 1), (13, 0, 4)]).contains("sprite 1, 4 x 4 pixels at 13, 0, does not lie within"));
        assert!(names(&[(0, 13, 4)]).contains("16 x 16"));
        assert!(names(&[(u32::MAX, u32::MAX, u32::MAX)]).contains("within"));
    }

    #[test]
    fn overlap_agrees_with_comparing_all_pairs() {
        let mut state = 1u64;
        let mut random = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32 % below
        };
        let (mut apart, mut together) = (0, 0);
        for _ in 0..2000 {
            let count = 1 + random(8);
            let list: Vec<Square> =
                (0..count).map(|_| Square { x: random(24), y: random(24), side: 1 + random(6) }).collect();
            let share = |a: Square, b: Square| {
                u64::from(a.x.max(b.x)) < a.right().min(b.right())
                    && u64::from(a.y.max(b.y)) < a.bottom().min(b.bottom())
            };
            let any = (0..list.len()).any(|a| (0..a).any(|b| share(list[a], list[b])));
            match overlap(&list).unwrap() {
                Some((a, b)) => {
                    assert!(a < b && share(list[a], list[b]), "{list:?}: {a} and {b}");
                    together += 1;
                }
                None => {
                    assert!(!any, "{list:?}");
                    apart += 1;
                }
            }
        }
        assert!(apart > 300 && together > 300, "{apart} and {together}");
    }

    #[test]
    fn layout_of_equal_squares_is_a_grid() {
        let found = layout(&[8; 5], 26, 1).unwrap();
        assert_eq!(found, Layout { corners: vec![(0, 0), (9, 0), (18, 0), (0, 9), (9, 9)], height: 17 });
        assert_eq!(layout(&[8; 5], 25, 1).unwrap().height, 26, "a pixel less, and a column less");
        assert_eq!(layout(&[], 5, 1).unwrap(), Layout { corners: vec![], height: 0 });
    }

    #[test]
    fn layout_of_mixed_squares_does_not_overlap() {
        let sides: Vec<u32> = (0..200).map(|at| 1 + at * 7919 % 40).collect();
        for (width, padding) in [(40, 0), (100, 3), (1000, 1), (20_000, 2)] {
            let found = layout(&sides, width, padding).unwrap();
            // With the padding right and below they still do.
            let places: Vec<Square> = found
                .corners
                .iter()
                .zip(&sides)
                .map(|(&(x, y), &side)| Square { x, y, side: side + padding })
                .collect();
            check_squares(&places, width + padding, found.height + padding).unwrap();
            assert!(places.iter().any(|place| place.bottom() == u64::from(found.height + padding)));
        }
        assert!(layout(&[8, 41], 40, 0).unwrap_err().to_string().contains("sprite 1 of 41 px"));
        assert!(layout(&[8, 0], 40, 0).is_err());
        assert!(layout(&[u32::MAX, u32::MAX], u32::MAX, 0).unwrap_err().to_string().contains("too high"));
        assert!(layout(&[1, 1], 1, u32::MAX).unwrap_err().to_string().contains("too high"));
        assert_eq!(layout(&[u32::MAX], u32::MAX, u32::MAX).unwrap().height, u32::MAX);
    }
}
