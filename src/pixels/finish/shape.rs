//! Which pixels of a picture are visible: alpha cut, stray pixels, outline.

use super::color::Color;

/// A pixel, straight RGBA.
pub(super) type Pixel = [u8; 4];

/// Cuts alpha, and removes the colour of transparent pixels.
pub(super) fn cut(pixels: &mut [Pixel], alpha_cut: Option<u8>) {
    for pixel in pixels {
        if let Some(least) = alpha_cut {
            pixel[3] = if pixel[3] >= least { 255 } else { 0 };
        }
        if pixel[3] == 0 {
            *pixel = [0; 4];
        }
    }
}

/// The pixel at an offset from `at`; transparent outside of the picture.
#[inline(always)]
fn at(pixels: &[Pixel], width: usize, (x, y): (usize, usize), (dx, dy): (isize, isize)) -> Pixel {
    match (x.checked_add_signed(dx), y.checked_add_signed(dy)) {
        (Some(x), Some(y)) if x < width => pixels.get(y * width + x).copied().unwrap_or([0; 4]),
        _ => [0; 4],
    }
}

/// Above, left, right, below.
const FOUR: [(isize, isize); 4] = [(0, -1), (-1, 0), (1, 0), (0, 1)];
const CORNERS: [(isize, isize); 4] = [(-1, -1), (1, -1), (-1, 1), (1, 1)];

/// Visits each pixel with its place.
fn each(pixels: &mut [Pixel], width: usize, mut visit: impl FnMut(&mut [Pixel], (usize, usize))) {
    for y in 0..pixels.len() / width {
        for x in 0..width {
            visit(pixels, (x, y));
        }
    }
}

/// Removes visible pixels that stand alone. One that is removed has no visible neighbour, so the order does not matter.
pub(super) fn remove_stray(pixels: &mut [Pixel], width: usize) {
    if pixels.len() <= 1 {
        return;
    }
    each(pixels, width, |pixels, place| {
        let here = &pixels[place.1 * width + place.0];
        let visible = |&offset: &(isize, isize)| at(pixels, width, place, offset)[3] > 0;
        if here[3] > 0 && !FOUR.iter().chain(&CORNERS).any(visible) {
            pixels[place.1 * width + place.0] = [0; 4];
        }
    });
}

/// Fills holes of one pixel. The neighbours of one are visible, so it is no neighbour of another: the order does not matter.
pub(super) fn fill_holes(pixels: &mut [Pixel], width: usize) {
    each(pixels, width, |pixels, place| {
        if pixels[place.1 * width + place.0][3] > 0 {
            return;
        }
        let around = FOUR.map(|offset| at(pixels, width, place, offset));
        if around.iter().all(|pixel| pixel[3] > 0) {
            let alike = |at: &usize| around.iter().filter(|&&pixel| pixel == around[*at]).count();
            // The first of those that are most: `max_by_key` takes the last.
            let most = (0..around.len()).rev().max_by_key(alike).unwrap_or(0);
            pixels[place.1 * width + place.0] = around[most];
        }
    });
}

/// Draws an outline of one pixel.
pub(super) fn outline(pixels: &mut [Pixel], width: usize, Color(rgb): Color) {
    let [r, g, b] = rgb;
    each(pixels, width, |pixels, place| {
        // A pixel of the outline has its colour: it gets no outline itself.
        let grows = |offset| {
            let [r, g, b, alpha] = at(pixels, width, place, offset);
            alpha > 0 && [r, g, b] != rgb
        };
        if pixels[place.1 * width + place.0][3] == 0 && FOUR.into_iter().any(grows) {
            pixels[place.1 * width + place.0] = [r, g, b, 255];
        }
    });
}
