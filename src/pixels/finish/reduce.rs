//! Fewer colours: to a number, to a palette, or both.

use super::color::Color;
use super::counts::Sorted;
use super::dither::Mix;
use super::oklab::{Lab, lab, nearest};
use super::quantize::quantize;
use super::settings::Finish;
use super::shape::Pixel;
use crate::support::error::Result;
use crate::support::memory::{copied, reserve};

/// Reduces the colours of visible pixels, except of those that have the colour of the outline.
pub(super) fn reduce(pixels: &mut [Pixel], width: usize, finish: &Finish) -> Result<()> {
    if finish.colors.is_none() && finish.palette.is_none() {
        return Ok(());
    }
    let sorted = Sorted::new(pixels, finish.outline)?;
    let counted = sorted.counted(pixels)?;
    let fewer = match finish.colors {
        // With a palette too: else dithering could take more of its colours.
        Some(count) if counted.len() > count as usize || finish.palette.is_some() => {
            Some(quantize(&counted, count as usize)?)
        }
        _ => None,
    };
    let (targets, labs) = match (fewer, &finish.palette) {
        (None, None) => return Ok(()),
        (None, Some(palette)) => (colors(palette.colors())?, copied("a palette", palette.labs())?),
        (Some(chosen), None) => with_labs(chosen)?,
        (Some(mut chosen), Some(palette)) => {
            for color in &mut chosen {
                *color = palette.colors()[nearest(lab(*color), palette.labs())].0;
            }
            chosen.sort_unstable();
            chosen.dedup();
            with_labs(chosen)?
        }
    };
    for (color, places) in sorted.colors() {
        if targets.contains(&color) {
            continue;
        }
        let own = lab(color);
        let mut paint = |at: usize, target: usize| pixels[at][..3].copy_from_slice(&targets[target]);
        if finish.dither {
            let mix = Mix::new(own, &labs);
            places.for_each(|at| paint(at, mix.at(at % width, at / width)));
        } else {
            let target = nearest(own, &labs);
            places.for_each(|at| paint(at, target));
        }
    }
    Ok(())
}

fn with_labs(colors: Vec<[u8; 3]>) -> Result<(Vec<[u8; 3]>, Vec<Lab>)> {
    let mut labs = reserve("the colours of a picture", colors.len())?;
    labs.extend(colors.iter().map(|&color| lab(color)));
    Ok((colors, labs))
}

fn colors(palette: &[Color]) -> Result<Vec<[u8; 3]>> {
    let mut colors = reserve("a palette", palette.len())?;
    colors.extend(palette.iter().map(|color| color.0));
    Ok(colors)
}
