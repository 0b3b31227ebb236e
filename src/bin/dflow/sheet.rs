//! Contact sheets: many pictures on one or more pages, small ones enlarged by integer factors, with the name of each class above
//! its pictures and the seed below each.

use std::ops::Range;
use std::path::{Path, PathBuf};

use detailflow::pixels::FileFormat;
use detailflow::{Error, Image, PixelFormat};
use font8x8::UnicodeFonts;

use crate::{Failure, stream};

/// Pictures smaller than this many pixels are enlarged by an integer factor.
const LEAST_CELL: usize = 64;
const GAP: usize = 4;
/// Height of a line of text: 8 pixels and spacing.
const LINE: usize = 12;
/// Width of a letter in pixels.
const LETTER: usize = 8;
/// Largest number of pictures in a row.
const WIDEST: usize = 16;
/// Largest width and height of a page, unless a single picture is larger: what picture viewers and GPUs show as one texture.
const PAGE: usize = 4096;
const BACKGROUND: [u8; 3] = [34, 34, 40];
const INK: [u8; 3] = [200, 200, 208];

/// Class and seed of a picture; None if unknown.
pub type Label = (Option<String>, Option<u64>);

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Result<Self, Failure> {
        let bytes = width.saturating_mul(height).saturating_mul(3);
        let mut pixels = Vec::new();
        let what = || Error::OutOfMemory { what: "a contact sheet".to_owned(), bytes: bytes as u64 };
        pixels.try_reserve_exact(bytes).map_err(|_| what())?;
        pixels.resize(bytes, 0);
        pixels.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&BACKGROUND));
        Ok(Self { width, height, pixels })
    }

    fn put(&mut self, x: usize, y: usize, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            self.pixels[(y * self.width + x) * 3..][..3].copy_from_slice(&colour);
        }
    }

    /// Draws text, clipped at the sheet's edge; letters outside Latin are shown as `?`.
    fn text(&mut self, x: usize, y: usize, text: &str) {
        for (at, letter) in text.chars().enumerate() {
            let glyph =
                font8x8::BASIC_FONTS.get(letter).or(font8x8::LATIN_FONTS.get(letter)).or(font8x8::BASIC_FONTS.get('?'));
            for (row, bits) in glyph.unwrap_or_default().iter().enumerate() {
                for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                    self.put(x + at * LETTER + column, y + row, INK);
                }
            }
        }
    }

    /// Blends a picture over the background, each pixel enlarged to a square of `factor` pixels.
    fn picture(&mut self, x: usize, y: usize, image: &Image, factor: usize) -> Result<(), Failure> {
        let size = image.size() as usize;
        let pixels = image.to_vec(PixelFormat::Rgba8)?;
        for row in 0..size * factor {
            for column in 0..size * factor {
                let pixel = &pixels[(row / factor * size + column / factor) * 4..][..4];
                let alpha = u32::from(pixel[3]);
                let over = |c: usize| {
                    ((u32::from(pixel[c]) * alpha + u32::from(BACKGROUND[c]) * (255 - alpha) + 127) / 255) as u8
                };
                self.put(x + column, y + row, [over(0), over(1), over(2)]);
            }
        }
        Ok(())
    }
}

/// Where things are on a sheet.
struct Layout {
    /// Width of a picture and the gap after it.
    cell: usize,
    /// Pictures in a row of a block.
    columns: usize,
    /// Blocks side by side.
    beside: usize,
    /// Consecutive pictures of one class. A large class has several.
    blocks: Vec<Range<usize>>,
}

impl Layout {
    /// `side`: pixels of a picture on the sheet; `most`: the largest width and height of a page.
    fn new(labels: &[Label], side: usize, most: usize) -> Self {
        let mut classes: Vec<Range<usize>> = Vec::new();
        for at in 0..labels.len() {
            match classes.last_mut() {
                Some(class) if labels[class.start].0 == labels[at].0 => class.end = at + 1,
                _ => classes.push(at..at + 1),
            }
        }
        let cell = side + GAP;
        let widest = (most.saturating_sub(GAP) / cell).clamp(1, WIDEST);
        let longest = classes.iter().map(ExactSizeIterator::len).max().unwrap_or(1);
        // One class: a square. Several: one row each, wrapped at the largest width.
        let columns = match classes.len() {
            0 | 1 => (1..widest).find(|n| n * n >= longest).unwrap_or(widest),
            _ => longest.min(widest),
        };
        let beside = if classes.len() > 1 { (widest / columns).clamp(1, 3).min(classes.len()) } else { 1 };
        // What stands on one page.
        let rows = (most.saturating_sub(GAP + LINE) / (cell + LINE)).max(1);
        let parts = |class: Range<usize>| {
            let end = class.end;
            class.step_by(columns * rows).map(move |start| start..end.min(start + columns * rows))
        };
        Self { cell, columns, beside, blocks: classes.into_iter().flat_map(parts).collect() }
    }

    fn block_width(&self) -> usize {
        self.columns * self.cell + if self.beside > 1 { 2 * GAP } else { 0 }
    }

    fn width(&self) -> usize {
        self.beside * self.block_width() + GAP
    }

    /// The height of blocks side by side: a title, and rows of pictures with a line below each.
    fn height(&self, band: &[Range<usize>]) -> usize {
        let rows = band.iter().map(|block| block.len().div_ceil(self.columns)).max().unwrap_or(0);
        LINE + rows * (self.cell + LINE)
    }

    /// The blocks of each page, of at most `most` pixels height where that is possible.
    fn pages(&self, most: usize) -> Vec<Range<usize>> {
        let (mut pages, mut left): (Vec<Range<usize>>, usize) = (Vec::new(), 0);
        for (number, band) in self.blocks.chunks(self.beside).enumerate() {
            let (start, height) = (number * self.beside, self.height(band));
            match pages.last_mut() {
                Some(page) if height <= left => page.end = start + band.len(),
                _ => {
                    pages.push(start..start + band.len());
                    left = most.saturating_sub(GAP);
                }
            }
            left = left.saturating_sub(height);
        }
        pages
    }
}

/// Writes a contact sheet of `images` with `labels`, and returns the paths of its pages: `path`, and with `-2` and so on before
/// the extension. Standard output gets one page, as `format`.
pub fn save(path: &Path, format: FileFormat, images: &[Image], labels: &[Label]) -> Result<Vec<PathBuf>, Failure> {
    let size = images.iter().map(|image| image.size() as usize).max().unwrap_or(1);
    let factor = LEAST_CELL.div_ceil(size).max(1);
    // Those of a command that was interrupted are fewer than their labels.
    let labels = &labels[..images.len().min(labels.len())];
    let most = if stream::is_std(path) { usize::MAX } else { PAGE };
    let layout = Layout::new(labels, size * factor, most);
    let mut written = Vec::new();
    for (number, page) in layout.pages(most).into_iter().enumerate() {
        let canvas = draw(&layout, &layout.blocks[page], images, labels, factor)?;
        let (Ok(width), Ok(height)) = (u32::try_from(canvas.width), u32::try_from(canvas.height)) else {
            return Err(Failure::Failed(Error::Invalid(
                "the contact sheet is too large for a picture file; write one file per picture with {index} in the name"
                    .into(),
            )));
        };
        let path = page_path(path, number);
        stream::save_pixels(&path, format, (width, height), PixelFormat::Rgb8, &canvas.pixels)?;
        written.push(path);
    }
    Ok(written)
}

/// `sheet.png`, `sheet-2.png` …
fn page_path(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", number + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn draw(
    layout: &Layout,
    blocks: &[Range<usize>],
    images: &[Image],
    labels: &[Label],
    factor: usize,
) -> Result<Canvas, Failure> {
    let bands = || blocks.chunks(layout.beside);
    let height = bands().map(|band| layout.height(band)).sum::<usize>() + GAP;
    let mut canvas = Canvas::new(layout.width(), height)?;
    let mut y = GAP;
    for band in bands() {
        for (place, block) in band.iter().enumerate() {
            let x = GAP + place * layout.block_width();
            let name = labels[block.start].0.as_deref().unwrap_or("(encoded)");
            let fits: String = name.chars().take((layout.block_width() - GAP) / LETTER).collect();
            canvas.text(x, y, &fits);
            for (at, number) in block.clone().enumerate() {
                let (left, top) =
                    (x + at % layout.columns * layout.cell, y + LINE + at / layout.columns * (layout.cell + LINE));
                canvas.picture(left, top, &images[number], factor)?;
                let letters = (layout.cell - GAP) / LETTER;
                canvas.text(left, top + layout.cell - GAP / 2, &caption(&labels[number], number, letters));
            }
        }
        y += layout.height(band);
    }
    Ok(canvas)
}

/// The seed of a picture, else its index; the last digits of one that is too long.
fn caption((_, seed): &Label, index: usize, letters: usize) -> String {
    let text = seed.map_or_else(|| format!("#{index}"), |seed| seed.to_string());
    if text.len() <= letters {
        return text;
    }
    format!("~{}", &text[text.len() - letters.saturating_sub(1)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(classes: &[(&str, usize)]) -> Vec<Label> {
        let of = |&(class, count): &(&str, usize)| {
            (0..count as u64).map(move |seed| (Some(class.to_owned()), Some(seed))).collect::<Vec<Label>>()
        };
        classes.iter().flat_map(of).collect()
    }

    #[test]
    fn pages_hold_every_picture_once_and_stay_within_their_size() {
        for (classes, side) in [
            (vec![("potion", 1)], 64),
            (vec![("potion", 2100)], 64),
            (vec![("a", 40), ("b", 3000), ("c", 1)], 64),
            (vec![("a", 5), ("b", 5), ("c", 5), ("d", 5)], 96),
            (vec![("large", 40)], 256),
            (vec![("larger than a page", 3)], 5000),
        ] {
            let labels = labels(&classes);
            let layout = Layout::new(&labels, side, PAGE);
            let pages = layout.pages(PAGE);
            let numbers: Vec<usize> =
                pages.iter().flat_map(|page| layout.blocks[page.clone()].iter().cloned().flatten()).collect();
            assert_eq!(numbers, (0..labels.len()).collect::<Vec<_>>(), "{classes:?}");
            for page in &pages {
                let height: usize =
                    layout.blocks[page.clone()].chunks(layout.beside).map(|band| layout.height(band)).sum();
                assert!(side > PAGE || (height + GAP <= PAGE && layout.width() <= PAGE), "{classes:?}: {height}");
            }
            let one = Layout::new(&labels, side, usize::MAX);
            assert_eq!(one.pages(usize::MAX).len(), 1, "{classes:?}");
        }
    }

    #[test]
    fn pages_and_captions_have_names() {
        assert_eq!(page_path(Path::new("out/a.b.png"), 0), Path::new("out/a.b.png"));
        assert_eq!(page_path(Path::new("out/a.b.png"), 1), Path::new("out/a.b-2.png"));
        assert_eq!(caption(&(None, Some(12_345_678)), 0, 8), "12345678");
        assert_eq!(caption(&(None, Some(123_456_789)), 0, 8), "~3456789");
        assert_eq!(caption(&(None, None), 7, 8), "#7");
    }
}
