//! BC7 blocks of a texture level.

use block_compression::encode::compress_rgba8;
use block_compression::{BC7Settings, CompressionVariant};

use super::AlphaMode;
use crate::support::error::Result;
use crate::support::memory::{filled, reserve};

/// Pixels per side of a block.
const BLOCK: usize = 4;

/// Below this alpha, straight colour may change.
const FAINT: u32 = 16;

/// Compresses a level of `side` x `side` pixels, RGBA8. Blocks that reach beyond it repeat its last column and row. `alpha` is
/// `None` if all pixels are opaque.
///
/// Straight colour of pixels that are hardly visible approaches the mean of their block. Blocks hold few colours, and of these
/// pixels nobody sees theirs: the error of what is seen halves, that of alpha becomes a fifth (shipped model, 32 px).
pub(super) fn compress(pixels: &[u8], side: u32, alpha: Option<AlphaMode>) -> Result<Vec<u8>> {
    let side = side as usize;
    let whole = side.next_multiple_of(BLOCK);
    let mut pixels = pad(pixels, side, whole)?;
    if alpha == Some(AlphaMode::Straight) {
        soften(&mut pixels, whole);
    }
    let pixels = &pixels;
    let settings = if alpha.is_some() { BC7Settings::alpha_very_fast() } else { BC7Settings::opaque_very_fast() };
    let variant = CompressionVariant::BC7(settings);
    let mut blocks = filled("a texture", variant.blocks_byte_size(whole as u32, whole as u32), 0)?;
    compress_rgba8(variant, pixels, &mut blocks, whole as u32, whole as u32, 4 * whole as u32);
    Ok(blocks)
}

/// The pixels of a square of `side`, with its last column and row repeated up to `whole`.
fn pad(pixels: &[u8], side: usize, whole: usize) -> Result<Vec<u8>> {
    let mut padded = reserve("a texture", whole.saturating_mul(whole).saturating_mul(4))?;
    for y in 0..whole {
        let row = &pixels[y.min(side - 1) * side * 4..][..side * 4];
        padded.extend_from_slice(row);
        let last = &row[row.len() - 4..];
        (side..whole).for_each(|_| padded.extend_from_slice(last));
    }
    Ok(padded)
}

/// Moves the colour of faint pixels to the mean of their block, weighted by alpha: the fainter, the more.
fn soften(pixels: &mut [u8], side: usize) {
    for block in 0..side / BLOCK * (side / BLOCK) {
        let corner = block / (side / BLOCK) * BLOCK * side + block % (side / BLOCK) * BLOCK;
        let places = || (0..BLOCK * BLOCK).map(|at| 4 * (corner + at / BLOCK * side + at % BLOCK));
        let (mut sums, mut weight) = ([0u32; 3], 0);
        for at in places() {
            let alpha = u32::from(pixels[at + 3]);
            sums.iter_mut().zip(&pixels[at..]).for_each(|(sum, &value)| *sum += u32::from(value) * alpha);
            weight += alpha;
        }
        if weight == 0 {
            continue;
        }
        for at in places().collect::<Vec<_>>() {
            let alpha = u32::from(pixels[at + 3]);
            if alpha < FAINT {
                for (value, sum) in pixels[at..].iter_mut().zip(sums) {
                    let mean = (sum + weight / 2) / weight;
                    *value = ((u32::from(*value) * alpha + mean * (FAINT - alpha)) / FAINT) as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use block_compression::decode::decompress_blocks_as_rgba8;

    use super::*;

    fn decoded(blocks: &[u8], side: usize) -> Vec<u8> {
        let mut pixels = vec![0; side * side * 4];
        let variant = CompressionVariant::BC7(BC7Settings::alpha_basic());
        decompress_blocks_as_rgba8(variant, side as u32, side as u32, blocks, &mut pixels);
        pixels
    }

    /// A soft disc of two colours.
    fn disc(side: usize) -> Vec<u8> {
        let middle = side as f32 / 2.0;
        let pixel = |at: usize| {
            let (x, y) = ((at % side) as f32 + 0.5 - middle, (at / side) as f32 + 0.5 - middle);
            let far = (x * x + y * y).sqrt() / middle;
            let alpha = ((1.2 - far) * 600.0).clamp(0.0, 255.0);
            [200.0 - 80.0 * far, 60.0 + 90.0 * far, 255.0 * y.max(0.0) / middle, alpha].map(|value| value as u8)
        };
        (0..side * side).flat_map(pixel).collect()
    }

    #[test]
    fn blocks_are_close_to_their_pixels() {
        for (side, most) in [(16, 5.0), (64, 1.5), (256, 0.8)] {
            let pixels = disc(side);
            let blocks = compress(&pixels, side as u32, Some(AlphaMode::Premultiplied)).unwrap();
            assert_eq!(blocks.len(), side * side);
            let found = decoded(&blocks, side);
            let error = pixels.iter().zip(&found).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2));
            let error = (error.sum::<f64>() / pixels.len() as f64).sqrt();
            assert!(error < most, "{side} px: {error}");
            assert_eq!(compress(&pixels, side as u32, Some(AlphaMode::Premultiplied)).unwrap(), blocks);
        }
    }

    #[test]
    fn sides_that_are_no_multiple_of_4_are_padded_with_the_edge() {
        for side in [1, 2, 3, 5, 6] {
            let pixels = disc(side);
            let whole = side.next_multiple_of(4);
            let padded = pad(&pixels, side, whole).unwrap();
            for (at, pixel) in padded.chunks(4).enumerate() {
                let (x, y) = ((at % whole).min(side - 1), (at / whole).min(side - 1));
                assert_eq!(pixel, &pixels[4 * (side * y + x)..][..4], "{side} px, {at}");
            }
            let blocks = compress(&pixels, side as u32, Some(AlphaMode::Premultiplied)).unwrap();
            assert_eq!(blocks.len(), whole * whole);
        }
        let grey = [90, 90, 90, 255].repeat(4);
        assert_eq!(decoded(&compress(&grey, 2, None).unwrap(), 4), [90, 90, 90, 255].repeat(16));
    }

    #[test]
    fn faint_pixels_take_the_colour_of_their_block() {
        // A block with one opaque pixel, one that is just visible enough, two faint ones, and nothing else.
        let mut pixels = vec![0; 4 * 4 * 4 * 2];
        for (at, pixel) in [(0, [200, 100, 50, 255]), (1, [9, 9, 9, 16]), (9, [255, 0, 0, 8]), (10, [77, 7, 7, 1])] {
            pixels[4 * (at / 4 * 8 + at % 4)..][..4].copy_from_slice(&pixel);
        }
        let square = [pixels, vec![0; 4 * 4 * 4 * 2]].concat();
        let mut softened = square.clone();
        soften(&mut softened, 8);
        let pixel = |at: usize| &softened[4 * (at / 4 * 8 + at % 4)..][..4];
        assert_eq!((pixel(0), pixel(1)), (&[200, 100, 50, 255][..], &[9, 9, 9, 16][..]));
        assert_eq!((pixel(9), pixel(10)), (&[222, 46, 23, 8][..], &[182, 86, 43, 1][..]));
        assert_eq!(pixel(5), [190, 92, 46, 0], "one that is not seen at all");
        assert_eq!(softened[16..32], [0; 16], "another block");
        let alphas = |pixels: &[u8]| pixels.iter().skip(3).step_by(4).copied().collect::<Vec<u8>>();
        assert_eq!(alphas(&softened), alphas(&square));
    }

    /// Prints the time: `cargo test --release --features cli --lib -- --ignored --nocapture bc7_time`.
    #[test]
    #[ignore = "measures"]
    fn bc7_time() {
        let alpha = Some(AlphaMode::Straight);
        for (side, alpha) in [(256, alpha), (256, None), (32, alpha)] {
            let pixels = disc(side);
            let begun = std::time::Instant::now();
            let rounds = 65536 / (side * side);
            (0..rounds).for_each(|_| drop(compress(std::hint::black_box(&pixels), side as u32, alpha).unwrap()));
            println!("{side} px, alpha {alpha:?}: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3 / rounds as f64);
        }
    }
}
