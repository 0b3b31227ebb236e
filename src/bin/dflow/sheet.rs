//! Contact sheets: many pictures in one file, small ones enlarged by integer factors, with class names.

use std::path::Path;

use detailflow::{Error, Image, PixelFormat, pixels};
use font8x8::UnicodeFonts;

use crate::Failure;

/// Pictures smaller than this many pixels are enlarged by an integer factor.
const LEAST_CELL: usize = 64;
const GAP: usize = 4;
/// Height of a line of text: 8 pixels and spacing.
const LINE: usize = 12;
/// Width of a letter in pixels.
const LETTER: usize = 8;
/// Largest number of pictures in a row.
const WIDEST: usize = 16;
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

/// Writes a contact sheet of `images` with `labels`. With several classes each has its name above its pictures, and classes
/// with few pictures stand side by side.
pub fn save(path: &Path, images: &[Image], labels: &[Label]) -> Result<(), Failure> {
    let size = images.iter().map(|image| image.size() as usize).max().unwrap_or(1);
    let factor = LEAST_CELL.div_ceil(size).max(1);
    let cell = size * factor + GAP;

    // Consecutive pictures of one class form a block.
    let mut blocks: Vec<std::ops::Range<usize>> = Vec::new();
    for at in 0..images.len() {
        match blocks.last_mut() {
            Some(block) if labels[block.start].0 == labels[at].0 => block.end = at + 1,
            _ => blocks.push(at..at + 1),
        }
    }
    let titled = blocks.len() > 1;
    let longest = blocks.iter().map(ExactSizeIterator::len).max().unwrap_or(1);
    // One class: a square. Several: one row each, wrapped at the largest width.
    let columns = if titled { longest.min(WIDEST) } else { (1..WIDEST).find(|n| n * n >= longest).unwrap_or(WIDEST) };
    let beside = if titled { (WIDEST / columns).clamp(1, 3).min(blocks.len()) } else { 1 };
    let block_height = |images: usize| images.div_ceil(columns) * cell + if titled { LINE } else { 0 };
    let block_width = columns * cell + if beside > 1 { 2 * GAP } else { 0 };
    let bands: Vec<usize> =
        blocks.chunks(beside).map(|band| band.iter().map(|b| block_height(b.len())).max().unwrap_or(0)).collect();

    let mut canvas = Canvas::new(beside * block_width + GAP, bands.iter().sum::<usize>() + GAP)?;
    let mut y = GAP;
    for (band, height) in blocks.chunks(beside).zip(&bands) {
        for (place, block) in band.iter().enumerate() {
            let x = GAP + place * block_width;
            let mut top = y;
            if titled {
                let name = labels[block.start].0.as_deref().unwrap_or("(encoded)");
                let fits: String = name.chars().take((block_width - GAP) / LETTER).collect();
                canvas.text(x, top, &fits);
                top += LINE;
            }
            for (at, image) in images[block.clone()].iter().enumerate() {
                canvas.picture(x + at % columns * cell, top + at / columns * cell, image, factor)?;
            }
        }
        y += height;
    }
    let (Ok(width), Ok(height)) = (u32::try_from(canvas.width), u32::try_from(canvas.height)) else {
        return Err(Failure::Failed(Error::Invalid(
            "the contact sheet is too large for a picture file; write one file per picture with {index} in the name"
                .into(),
        )));
    };
    Ok(pixels::save(path, width, height, PixelFormat::Rgb8, &canvas.pixels, canvas.width * 3)?)
}
