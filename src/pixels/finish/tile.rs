//! Pictures that repeat without a visible seam.
//!
//! A picture is overlaid with a copy of itself that is rolled along an axis. Borders of the copy are neighbours inside of the
//! picture, so they fit. The copy is taken at the borders, the picture in the middle, and between them run two seams of least
//! cost, one pixel in each row, as in image quilting (A. Efros and W. Freeman, "Image Quilting for Texture Synthesis and
//! Transfer", SIGGRAPH 2001). Here a seam also ends beside the pixel that it begins at: so it is closed around the other axis,
//! and what wraps along that one still does.

use std::ops::Range;

use super::shape::Pixel;
use crate::support::error::Result;
use crate::support::memory::{copied, filled, reserve};

/// Pictures with a shorter side stay as they are.
const LEAST_SIDE: usize = 8;
/// Ratios are in units of a 1024th.
const ONE: u64 = 1024;
/// An axis fits up to this ratio of the mean step across its wrap to the mean inner one: 1.2.
const FITS: u64 = ONE * 12 / 10;
/// The most columns that a seam may run in.
const WIDEST: usize = 48;
/// About the most rolls that are ranked.
const RANKED: usize = 1024;
/// About the most rows by which they are.
const ROWS: usize = 64;
/// The most rolls whose seams are computed.
const ROLLS: usize = 24;
/// The most rolls whose closed seams are computed, and which are tried.
const TRIED: usize = 4;
/// More than any path costs, and far from an overflow.
const NEVER: u64 = u64::MAX / 4;

const WHAT: &str = "a picture that repeats";

/// Makes an opaque picture repeat along rows and along columns. What it does depends on the pixels alone, and it ends when it
/// changes nothing along either axis: so its result is left unchanged when it is given again. It ends, as each change lowers
/// how far both axes are from fitting.
pub(super) fn tile(pixels: &mut [Pixel], width: usize) -> Result<()> {
    let height = pixels.len() / width;
    if width.min(height) < LEAST_SIDE || pixels.iter().any(|pixel| pixel[3] < 255) {
        return Ok(());
    }
    let mut turned = filled(WHAT, pixels.len(), [0; 4])?;
    loop {
        let along = fit(pixels, width)?;
        turn(pixels, width, &mut turned);
        let down = fit(&mut turned, height)?;
        if down {
            turn(&turned, height, pixels);
        }
        if !along && !down {
            return Ok(());
        }
    }
}

/// Rows become columns.
fn turn(from: &[Pixel], width: usize, to: &mut [Pixel]) {
    let height = from.len() / width;
    for (y, row) in from.chunks(width).enumerate() {
        for (x, &pixel) in row.iter().enumerate() {
            to[x * height + y] = pixel;
        }
    }
}

/// The difference of two colours.
#[inline(always)]
fn step(one: Pixel, other: Pixel) -> u64 {
    (0..3).map(|channel| u64::from(one[channel].abs_diff(other[channel]))).sum()
}

fn steps<'a>(ones: impl IntoIterator<Item = &'a Pixel>, others: impl IntoIterator<Item = &'a Pixel>) -> u64 {
    ones.into_iter().zip(others).map(|(&one, &other)| step(one, other)).sum()
}

/// The steps from one column to another.
fn across(pixels: &[Pixel], width: usize, one: usize, other: usize) -> u64 {
    pixels.chunks(width).map(|row| step(row[one], row[other])).sum()
}

/// The steps inside of rows.
fn inside(pixels: &[Pixel], width: usize) -> u64 {
    pixels.chunks(width).map(|row| steps(row, &row[1..])).sum()
}

/// How far the ratio of rows and that of columns are above what fits.
fn misfit(pixels: &[Pixel], width: usize) -> Result<[u64; 2]> {
    // Where there is no step inside, there is none across the wrap either.
    let of = |wrap: u64, inside: u64, side: usize| {
        (wrap * (side as u64 - 1) * ONE).checked_div(inside).unwrap_or(0).saturating_sub(FITS)
    };
    let (first, last) = (&pixels[..width], &pixels[pixels.len() - width..]);
    let wraps = [across(pixels, width, 0, width - 1), steps(first, last)];
    let mut found = [
        of(wraps[0], inside(pixels, width), width),
        of(wraps[1], steps(pixels, &pixels[width..]), pixels.len() / width),
    ];
    if found[0] > 0 && columns_recur(pixels, width, wraps[0])? {
        found[0] = 0;
    }
    if found[1] > 0 && rows_recur(pixels, width, wraps[1]) {
        found[1] = 0;
    }
    Ok(found)
}

/// Whether neighbours inside are like the columns that meet at the wrap, where the steps are `wrap`: it is part of a pattern, such as
/// a joint of bricks.
fn columns_recur(pixels: &[Pixel], width: usize, wrap: u64) -> Result<bool> {
    let mut apart = filled(WHAT, width - 1, 0)?;
    for row in pixels.chunks(width) {
        for (apart, pair) in apart.iter_mut().zip(row.windows(2)) {
            *apart += step(pair[0], row[width - 1]) + step(pair[1], row[0]);
        }
    }
    Ok(apart.iter().any(|&apart| alike(apart, wrap)))
}

/// The same for rows.
fn rows_recur(pixels: &[Pixel], width: usize, wrap: u64) -> bool {
    let (first, last) = (&pixels[..width], &pixels[pixels.len() - width..]);
    let pairs = pixels.chunks(width).zip(pixels.chunks(width).skip(1));
    pairs.into_iter().any(|(one, other)| alike(steps(one, last) + steps(other, first), wrap))
}

fn alike(apart: u64, wrap: u64) -> bool {
    2 * apart <= wrap
}

/// A roll, and what it costs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Roll {
    /// Of its seams, and what `wrap` adds.
    cost: u64,
    /// By how much the steps across the new wrap are above the mean.
    wrap: u64,
    /// Pixels by which the copy is rolled to the left.
    by: usize,
}

impl Roll {
    /// Takes the cost of the seams. The wrap adds half, as its columns are neighbours in the picture, and nothing where the
    /// seams cost nothing: then it is part of a pattern.
    fn set(&mut self, seams: u64) {
        self.cost = seams + (self.wrap / 2).min(4 * seams);
    }
}

/// Makes rows wrap. Whether it changed anything: not if they fit already, or no roll is better.
fn fit(pixels: &mut [Pixel], width: usize) -> Result<bool> {
    let before = misfit(pixels, width)?;
    if before[0] == 0 {
        return Ok(false);
    }
    let wrap = across(pixels, width, 0, width - 1);
    let mean = inside(pixels, width) / (width as u64 - 1);
    let source = copied(WHAT, pixels)?;
    let mut seams = Seams::new(&source, width)?;
    let mut rolls = reserve(WHAT, width)?;
    let quarter = width.div_ceil(4);
    for by in (quarter..=width - quarter).step_by(width.div_ceil(2 * RANKED)) {
        let wrap = across(&source, width, by - 1, by).saturating_sub(mean);
        let mut roll = Roll { cost: 0, wrap, by };
        roll.set(seams.straight(by));
        rolls.push(roll);
    }
    keep(&mut rolls, ROLLS);
    rolls.iter_mut().for_each(|roll| roll.set(seams.open(roll.by)));
    keep(&mut rolls, TRIED);
    rolls.iter_mut().for_each(|roll| roll.set(seams.closed(roll.by)));
    keep(&mut rolls, TRIED);
    // Two seams take the place of one: they cost less than two of it.
    for roll in rolls.iter().take_while(|roll| roll.cost < 2 * wrap) {
        seams.lay(roll.by, pixels);
        let after = misfit(pixels, width)?;
        if after[0] + after[1] + before[0].div_ceil(4) <= before[0] + before[1] {
            return Ok(true);
        }
    }
    pixels.copy_from_slice(&source);
    Ok(false)
}

/// Keeps the rolls that cost least, the least first.
fn keep(rolls: &mut Vec<Roll>, most: usize) {
    rolls.sort_unstable();
    rolls.truncate(most);
}

/// Where a picture and its rolled copy meet.
struct Seams<'a> {
    pixels: &'a [Pixel],
    width: usize,
    /// The difference of picture and copy in a band of columns, row by row.
    costs: Vec<u64>,
    /// The least cost of a path from the first row to each pixel of the band, with a column of [`NEVER`] on either side.
    paths: Vec<u64>,
    /// The column of a seam in each row.
    seam: Vec<usize>,
}

impl<'a> Seams<'a> {
    fn new(pixels: &'a [Pixel], width: usize) -> Result<Self> {
        let height = pixels.len() / width;
        let most = WIDEST.min(width / 4);
        Ok(Self {
            pixels,
            width,
            costs: reserve(WHAT, most * height)?,
            paths: filled(WHAT, (most + 2) * height, NEVER)?,
            seam: filled(WHAT, height, 0)?,
        })
    }

    /// The columns of both seams: the first one of the picture, and the first one of the copy after it. The borders of the
    /// picture, which the copy has inside, lie between them.
    fn bands(&self, by: usize) -> [Range<usize>; 2] {
        let most = WIDEST.min(self.width / 4);
        let border = self.width - by;
        [1..(most + 1).min(border), (self.width - most).max(border + 1)..self.width]
    }

    /// The differences in some columns of a row.
    fn differences(row: &[Pixel], by: usize, columns: Range<usize>) -> impl Iterator<Item = u64> {
        columns.map(move |x| step(row[x], rolled(row, by, x)))
    }

    /// About what both seams cost if they are straight.
    fn straight(&self, by: usize) -> u64 {
        // Odd, so that it is no multiple of the period of most patterns.
        let apart = (self.pixels.len() / self.width).div_ceil(ROWS) | 1;
        let mut sum = 0;
        for columns in self.bands(by) {
            let mut costs = [0; WIDEST];
            for row in self.pixels.chunks(self.width).step_by(apart) {
                for (cost, difference) in costs.iter_mut().zip(Self::differences(row, by, columns.clone())) {
                    *cost += difference;
                }
            }
            sum += costs[..columns.len()].iter().min().copied().unwrap_or(0);
        }
        sum * apart as u64
    }

    /// Takes the differences of a band.
    fn take(&mut self, by: usize, columns: Range<usize>) {
        self.costs.clear();
        for row in self.pixels.chunks(self.width) {
            self.costs.extend(Self::differences(row, by, columns.clone()));
        }
    }

    /// Computes the paths from `starts` in the first row of a band of `count` columns, and gives the costs at the last row.
    fn follow(&mut self, count: usize, starts: Range<usize>) -> &[u64] {
        let line = count + 2;
        let (mut above, mut rest) = self.paths.split_at_mut(line);
        above.fill(NEVER);
        for start in starts {
            above[start + 1] = self.costs[start];
        }
        for costs in self.costs.chunks(count).skip(1) {
            let (row, below) = rest.split_at_mut(line);
            (row[0], row[line - 1]) = (NEVER, NEVER);
            for ((path, near), cost) in row[1..].iter_mut().zip(above.windows(3)).zip(costs) {
                *path = near[0].min(near[1]).min(near[2]) + cost;
            }
            (above, rest) = (row, below);
        }
        &above[1..=count]
    }

    /// The cost of both seams, wherever they begin and end.
    fn open(&mut self, by: usize) -> u64 {
        let mut sum = 0;
        for columns in self.bands(by) {
            self.take(by, columns.clone());
            sum += self.follow(columns.len(), 0..columns.len()).iter().min().copied().unwrap_or(NEVER);
        }
        sum
    }

    /// The cost of the closed seam in a band of `count` columns that was taken, and the column that it begins at.
    fn close(&mut self, count: usize) -> (u64, usize) {
        let cost = |start: usize| {
            let ends = &self.follow(count, start..start + 1)[start.saturating_sub(1)..(start + 2).min(count)];
            (ends.iter().min().copied().unwrap_or(NEVER), start)
        };
        (0..count).map(cost).min().unwrap_or((NEVER, 0))
    }

    /// The cost of both closed seams.
    fn closed(&mut self, by: usize) -> u64 {
        let mut sum = 0;
        for columns in self.bands(by) {
            self.take(by, columns.clone());
            sum += self.close(columns.len()).0;
        }
        sum
    }

    /// Writes the picture with the copy at its borders.
    fn lay(&mut self, by: usize, to: &mut [Pixel]) {
        to.copy_from_slice(self.pixels);
        for (right, columns) in [false, true].into_iter().zip(self.bands(by)) {
            let count = columns.len();
            self.take(by, columns.clone());
            let (_, mut at) = self.close(count);
            self.follow(count, at..at + 1);
            for (paths, seam) in self.paths.chunks(count + 2).zip(&mut self.seam).rev() {
                // Of the pixels beside the one below, or of the last row beside the one that the seam begins at.
                let near = at.saturating_sub(1)..(at + 2).min(count);
                at = near.min_by_key(|&x| paths[x + 1]).unwrap_or(at);
                *seam = columns.start + at;
            }
            let rows = to.chunks_mut(self.width).zip(self.pixels.chunks(self.width));
            for ((row, from), &seam) in rows.zip(&self.seam) {
                for x in if right { seam..self.width } else { 0..seam } {
                    row[x] = rolled(from, by, x);
                }
            }
        }
    }
}

/// A pixel of the rolled copy of a row.
#[inline(always)]
fn rolled(row: &[Pixel], by: usize, x: usize) -> Pixel {
    let at = x + by;
    row[if at < row.len() { at } else { at - row.len() }]
}
