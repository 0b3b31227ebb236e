//! A mip chain in one block of memory.

use super::format::PixelFormat;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// The largest alignment of a packed mip.
const LARGEST_ALIGNMENT: usize = 65_536;

/// The mip chain of graphics APIs: `size`, half of it, and so on down to 1, each rounded down (48, 24, 12, 6, 3, 1). Empty
/// for 0.
pub fn mip_sizes(size: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(size), |size| Some(size / 2)).take_while(|&size| size > 0)
}

/// Where the mips of a chain lie in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MipLayout {
    /// The first byte of each mip, from the largest to the one of 1 pixel.
    pub offsets: Vec<usize>,
    /// Bytes of the block: up to the end of the last mip.
    pub bytes: usize,
}

/// Lays out a full mip chain in one block: the mips of [`mip_sizes`] one after another, rows without gaps, each at the next
/// multiple of `alignment` bytes.
///
/// # Errors
/// [`Error::Invalid`] if `size` is 0, `alignment` is not 1 to 65,536, or the block is larger than an address space.
pub fn mip_layout(size: u32, format: PixelFormat, alignment: usize) -> Result<MipLayout> {
    if size == 0 {
        return Err(Error::Invalid("a mip chain begins with at least 1 pixel per side, not with 0".into()));
    }
    if !(1..=LARGEST_ALIGNMENT).contains(&alignment) {
        return Err(Error::Invalid(format!(
            "an alignment of {alignment} bytes is out of range: 1 to {LARGEST_ALIGNMENT} is allowed"
        )));
    }
    let mut layout = MipLayout { offsets: reserve("mips", 32)?, bytes: 0 };
    for size in mip_sizes(size) {
        let offset = layout.bytes.checked_next_multiple_of(alignment);
        let end = offset.zip(mip_bytes(size, format)).and_then(|(offset, bytes)| offset.checked_add(bytes));
        let (Some(offset), Some(end)) = (offset, end.filter(|&end| end <= isize::MAX as usize)) else {
            return Err(Error::Invalid(format!("a mip chain of {size} px is larger than an address space")));
        };
        layout.offsets.push(offset);
        layout.bytes = end;
    }
    Ok(layout)
}

/// Bytes of a mip, rows without gaps.
fn mip_bytes(size: u32, format: PixelFormat) -> Option<usize> {
    (size as usize).checked_mul(size as usize)?.checked_mul(format.bytes())
}

/// The parts of `block` that the mips of `sizes` at `offsets` take, in their order.
///
/// # Errors
/// [`Error::Invalid`] if one does not lie within the block, or two overlap.
pub(crate) fn split_block<'a>(
    block: &'a mut [u8],
    format: PixelFormat,
    sizes: &[u32],
    offsets: &[usize],
) -> Result<Vec<&'a mut [u8]>> {
    let mut places: Vec<(usize, usize, usize)> = reserve("mips", sizes.len())?;
    for (at, (&size, &offset)) in sizes.iter().zip(offsets).enumerate() {
        let end = mip_bytes(size, format).and_then(|bytes| offset.checked_add(bytes));
        let end = end.filter(|&end| end <= block.len()).ok_or_else(|| {
            Error::Invalid(format!(
                "mip {at} of {size} px at offset {offset} does not lie within {} bytes",
                block.len()
            ))
        })?;
        places.push((offset, end, at));
    }
    places.sort_unstable();
    if let Some(two) = places.windows(2).find(|two| two[1].0 < two[0].1) {
        let (first, second) = (two[0].2.min(two[1].2), two[0].2.max(two[1].2));
        return Err(Error::Invalid(format!("mips {first} and {second} overlap")));
    }
    let mut parts: Vec<(usize, &mut [u8])> = reserve("mips", sizes.len())?;
    let (mut rest, mut taken) = (block, 0);
    for (offset, end, at) in places {
        let (_, from) = rest.split_at_mut(offset - taken);
        let (part, after) = from.split_at_mut(end - offset);
        parts.push((at, part));
        (rest, taken) = (after, end);
    }
    parts.sort_unstable_by_key(|&(at, _)| at);
    let mut ordered = reserve("mips", sizes.len())?;
    ordered.extend(parts.into_iter().map(|(_, part)| part));
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mip_sizes_end_with_one_pixel() {
        let chain = |size| mip_sizes(size).collect::<Vec<_>>();
        assert_eq!(chain(256), [256, 128, 64, 32, 16, 8, 4, 2, 1]);
        assert_eq!(chain(48), [48, 24, 12, 6, 3, 1]);
        assert_eq!(chain(1), [1]);
        assert_eq!(chain(u32::MAX).len(), 32);
        assert!(chain(0).is_empty());
    }

    #[test]
    fn mip_layout_places_mips_at_multiples_of_the_alignment() {
        let layout = |size, format, alignment| mip_layout(size, format, alignment).unwrap();
        let tight = layout(6, PixelFormat::Rgb8, 1);
        assert_eq!((tight.offsets, tight.bytes), (vec![0, 108, 135], 138));
        let aligned = layout(6, PixelFormat::Rgb8, 12);
        assert_eq!((aligned.offsets, aligned.bytes), (vec![0, 108, 144], 147));
        let padded = layout(4, PixelFormat::Rgba16FLinear, 512);
        assert_eq!((padded.offsets, padded.bytes), (vec![0, 512, 1024], 1032));
        for (size, alignment) in [(0, 1), (1, 0), (1, 65_537), (u32::MAX, 1)] {
            assert!(matches!(mip_layout(size, PixelFormat::Rgba32F, alignment), Err(Error::Invalid(_))));
        }
    }

    #[test]
    fn split_block_gives_disjoint_parts_in_any_order() {
        let mut block: Vec<u8> = (0..30).collect();
        let split = |block: &mut [u8], offsets: &[usize]| {
            let parts = split_block(block, PixelFormat::Rgba8, &[2, 1], offsets);
            parts.map(|parts| parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>()).map_err(|e| e.to_string())
        };
        assert_eq!(split(&mut block, &[8, 3]).unwrap(), [(8..24).collect::<Vec<u8>>(), vec![3, 4, 5, 6]]);
        assert_eq!(split(&mut block, &[0, 26]).unwrap()[1], [26, 27, 28, 29]);
        assert!(split(&mut block, &[0, 27]).unwrap_err().contains("mip 1 of 1 px at offset 27"));
        assert!(split(&mut block, &[15, 0]).unwrap_err().contains("mip 0 of 2 px at offset 15"));
        assert!(split(&mut block, &[0, usize::MAX]).unwrap_err().contains("within 30 bytes"));
        assert!(split(&mut block, &[8, 5]).unwrap_err().contains("mips 0 and 1 overlap"));
        assert!(split(&mut block, &[8, 23]).unwrap_err().contains("mips 0 and 1 overlap"));
    }
}
