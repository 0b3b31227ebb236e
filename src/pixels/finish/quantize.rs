//! A few of many colours: boxes in OKLab are split where that takes away most of the squared error, then moved to the means of
//! what is nearest to each (k-means), and the colours nearest to these are taken.

use super::oklab::{Lab, distance, lab, nearest};
use crate::support::error::Result;
use crate::support::memory::{filled, reserve};

/// A colour, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    pub color: [u8; 3],
    pub weight: u64,
}

/// Rounds of k-means at most; it ends when nothing moves.
const ROUNDS: usize = 6;
/// More colours than this are merged with their neighbours before they are compared.
const MOST: usize = 1 << 16;
/// Places at which a box may be split.
const BINS: usize = 32;

struct Entry {
    color: [u8; 3],
    lab: Lab,
    weight: u64,
}

/// At most `count` of the colours, which are different and in the order of their values. All of them if there are no more.
pub(super) fn quantize(counted: &[Counted], count: usize) -> Result<Vec<[u8; 3]>> {
    let mut chosen = reserve("the colours of a picture", count.min(counted.len()))?;
    if counted.len() <= count {
        chosen.extend(counted.iter().map(|counted| counted.color));
        return Ok(chosen);
    }
    let mut entries = entries(counted)?;
    let boxes = split(&mut entries, count)?;
    let mut means = reserve("the colours of a picture", boxes.len())?;
    means.extend(boxes.iter().filter_map(|range| mean(&entries[range.start..range.end])));
    for _ in 0..ROUNDS {
        if !settle(&entries, &mut means)? {
            break;
        }
    }
    // The colour nearest to each mean.
    let mut best = filled("the colours of a picture", means.len(), (u32::MAX, [0; 3]))?;
    for entry in &entries {
        let at = nearest(entry.lab, &means);
        best[at] = best[at].min((distance(entry.lab, means[at]), entry.color));
    }
    chosen.extend(best.into_iter().filter(|(distance, _)| *distance < u32::MAX).map(|(_, color)| color));
    Ok(chosen)
}

/// The colours in OKLab. Very many become fewer: of those that differ in their last bits the one that counts most.
fn entries(counted: &[Counted]) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = reserve("the colours of a picture", counted.len().min(MOST))?;
    if counted.len() <= MOST {
        entries.extend(counted.iter().map(|&Counted { color, weight }| Entry { color, lab: lab(color), weight }));
        return Ok(entries);
    }
    // Five bits of each channel: 32,768 cells.
    let cell = |[r, g, b]: [u8; 3]| usize::from(r >> 3) << 10 | usize::from(g >> 3) << 5 | usize::from(b >> 3);
    let mut cells = filled("the colours of a picture", 1 << 15, ([0; 3], 0, 0))?;
    for &Counted { color, weight } in counted {
        let (most, of_most, all): &mut ([u8; 3], u64, u64) = &mut cells[cell(color)];
        if weight > *of_most {
            (*most, *of_most) = (color, weight);
        }
        *all = all.saturating_add(weight);
    }
    let used = cells.into_iter().filter(|(.., all)| *all > 0);
    entries.extend(used.map(|(color, _, weight)| Entry { color, lab: lab(color), weight }));
    Ok(entries)
}

/// A part of the entries, and what its best split takes away from the squared error.
struct Part {
    start: usize,
    end: usize,
    gain: f64,
    axis: usize,
    /// The first value on the upper side.
    at: i32,
}

fn split(entries: &mut [Entry], count: usize) -> Result<Vec<Part>> {
    let mut parts = reserve("the colours of a picture", count)?;
    parts.push(part(entries, 0, entries.len()));
    while parts.len() < count {
        // The first of those with the largest gain.
        let mut widest = 0;
        for at in 1..parts.len() {
            if parts[at].gain > parts[widest].gain {
                widest = at;
            }
        }
        let Part { start, end, gain, axis, at } = parts[widest];
        if gain <= 0.0 {
            break;
        }
        let mut middle = start;
        for entry in start..end {
            if entries[entry].lab[axis] < at {
                entries.swap(entry, middle);
                middle += 1;
            }
        }
        parts[widest] = part(entries, start, middle);
        parts.push(part(entries, middle, end));
    }
    Ok(parts)
}

/// Finds the best split on the axis with the largest variance.
fn part(entries: &[Entry], start: usize, end: usize) -> Part {
    let inside = &entries[start..end];
    let (mut weight, mut sums, mut squares) = (0.0, [0.0; 3], [0.0; 3]);
    let (mut least, mut most) = ([i32::MAX; 3], [i32::MIN; 3]);
    for entry in inside {
        let of = entry.weight as f64;
        weight += of;
        for axis in 0..3 {
            let value = f64::from(entry.lab[axis]);
            sums[axis] += of * value;
            squares[axis] += of * value * value;
            least[axis] = least[axis].min(entry.lab[axis]);
            most[axis] = most[axis].max(entry.lab[axis]);
        }
    }
    let mut found = Part { start, end, gain: 0.0, axis: 0, at: 0 };
    let spread =
        |axis: usize| if most[axis] > least[axis] { squares[axis] - sums[axis] * sums[axis] / weight } else { -1.0 };
    let mut axis = 0;
    for other in 1..3 {
        if spread(other) > spread(axis) {
            axis = other;
        }
    }
    if inside.len() < 2 || most[axis] <= least[axis] {
        return found;
    }
    found.axis = axis;
    // Values of bin b are least + b * width to the next.
    let width = (most[axis] - least[axis]) / BINS as i32 + 1;
    let (mut weights, mut totals) = ([0.0; BINS], [0.0; BINS]);
    for entry in inside {
        let bin = ((entry.lab[axis] - least[axis]) / width) as usize;
        weights[bin] += entry.weight as f64;
        totals[bin] += entry.weight as f64 * f64::from(entry.lab[axis]);
    }
    let (mut below, mut total) = (0.0, 0.0);
    for bin in 1..BINS {
        below += weights[bin - 1];
        total += totals[bin - 1];
        let above = weight - below;
        if below <= 0.0 || above <= 0.0 || weights[bin] <= 0.0 {
            continue;
        }
        let between = total / below - (sums[axis] - total) / above;
        let gain = below * above / weight * between * between;
        if gain > found.gain {
            found.gain = gain;
            found.at = least[axis] + bin as i32 * width;
        }
    }
    found
}

fn mean(entries: &[Entry]) -> Option<Lab> {
    let mut sums = Sums::default();
    entries.iter().for_each(|entry| sums.add(entry));
    sums.mean()
}

/// Moves each mean to that of the colours nearest to it; whether any moved.
fn settle(entries: &[Entry], means: &mut [Lab]) -> Result<bool> {
    let mut sums = filled("the colours of a picture", means.len(), Sums::default())?;
    for entry in entries {
        sums[nearest(entry.lab, means)].add(entry);
    }
    let mut moved = false;
    for (mean, sums) in means.iter_mut().zip(&sums) {
        // One without colours stays where it is.
        let now = sums.mean().unwrap_or(*mean);
        moved |= now != *mean;
        *mean = now;
    }
    Ok(moved)
}

/// Sums as integers: the order does not matter.
#[derive(Clone, Default)]
struct Sums {
    weight: i128,
    values: [i128; 3],
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, entry: &Entry) {
        let weight = i128::from(entry.weight);
        self.weight += weight;
        for (sum, &value) in self.values.iter_mut().zip(&entry.lab) {
            *sum += weight * i128::from(value);
        }
    }

    fn mean(&self) -> Option<Lab> {
        (self.weight > 0).then(|| self.values.map(|sum| sum.div_euclid(self.weight) as i32))
    }
}
