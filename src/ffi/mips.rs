//! Images of several sizes from the same tokens.

use std::ffi::c_void;

use super::call::call;
use super::error::detailflow_error;
use super::family::{Family, family};
use super::image::{detailflow_image, pixel_format};
use super::model::{detailflow_model, get_tokens, with};
use super::param::{In, Out, Shared};
use super::status::{Failure, detailflow_status};
use crate::pixels::{mip_layout, mip_sizes};
use crate::support::memory::reserve;
use crate::tasks::{self, MipSource};

/// What mips are made from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_mips_source {
    /// The default: DETAILFLOW_MIPS_SOURCE_LEVELS.
    DETAILFLOW_MIPS_SOURCE_DEFAULT = 0,
    /// Each mip is decoded at the nearest level that is at least as large, and downscaled from there to its size. A level
    /// is decoded once for all mips that come from it.
    DETAILFLOW_MIPS_SOURCE_LEVELS = 1,
    /// All mips are downscaled from the image of all given tokens, which is decoded once.
    DETAILFLOW_MIPS_SOURCE_FINEST = 2,
}

family!(detailflow_mips_source:
    DETAILFLOW_MIPS_SOURCE_DEFAULT, DETAILFLOW_MIPS_SOURCE_LEVELS, DETAILFLOW_MIPS_SOURCE_FINEST);

fn mip_source(source: u32) -> Result<MipSource, Failure> {
    Ok(match detailflow_mips_source::choose(source, "source")? {
        DETAILFLOW_MIPS_SOURCE_DEFAULT | DETAILFLOW_MIPS_SOURCE_LEVELS => MipSource::Levels,
        DETAILFLOW_MIPS_SOURCE_FINEST => MipSource::Finest,
    })
}

/// Lists the sizes of a full mip chain: `size` down to 1, each half of the one before, rounded down (48, 24, 12, 6, 3,
/// 1). detailflow_model_decode_mips takes any other sizes as well.
///
/// @param size Pixels per side of the largest mip, at least 1.
/// @param sizes Receives the sizes: see "Arrays" above. Room for 32 is always enough.
/// @param capacity Sizes that fit at `sizes`.
/// @param count Receives the number of sizes.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_mips_list_sizes(
    size: u32,
    sizes: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        if size == 0 {
            return Err(Failure::invalid("size is 0; a mip chain begins with at least 1"));
        }
        let chain: Vec<u32> = mip_sizes(size).collect();
        sizes.put(&chain, capacity, count, ["sizes", "count"])
    })
}

/// Decodes tokens into images of several sizes.
///
/// A mip whose size is decoded is bit for bit what detailflow_model_decode gives. The others are downscaled: each pixel
/// is the mean of the area that it covers, in linear light and weighted by alpha. All arguments are checked before the
/// work; after an error nothing was written.
///
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param source One of DETAILFLOW_MIPS_SOURCE_*.
/// @param targets An array of square images, each of 1 pixel up to the size that detailflow_model_get_prefix_size gives,
/// with its own format and stride; in any order, several may have one size. Where their memory overlaps, the later one
/// overwrites the earlier.
/// @param target_count Number of images.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_decode_mips(
    model: Shared<'_, detailflow_model>,
    tokens: In<'_, u32>,
    token_count: usize,
    source: u32,
    targets: Out<'_, detailflow_image>,
    target_count: usize,
) -> detailflow_status {
    with(model, |this, bundle| {
        let source = mip_source(source)?;
        let tokens = get_tokens(tokens, token_count, bundle)?;
        let targets = targets.targets(target_count, "mip")?;
        let mut sizes = reserve("mips", targets.len())?;
        for (at, target) in targets.iter().enumerate() {
            let size = target.side().and_then(|size| target.fits(size).map(|()| size));
            sizes.push(size.map_err(|failure| failure.within("mip", at))?);
        }
        let mips = tasks::mips(&this.model, &tokens, &sizes, source)?;
        for (image, target) in mips.iter().zip(targets) {
            target.write(image)?;
        }
        Ok(())
    })
}

/// Lays out a full mip chain in one block of memory: the mips of detailflow_mips_list_sizes one after another, the largest
/// first, rows without gaps.
///
/// @param size Pixels per side of the largest mip, at least 1.
/// @param format One of DETAILFLOW_FORMAT_*.
/// @param alignment The offset of each mip is a multiple of it: 1 to 65536, 0 is 1. Direct3D 12 takes 512, Vulkan the bytes
/// of a pixel or 4, whichever is larger.
/// @param offsets Receives the first byte of each mip in the block: see "Arrays" above. Room for 32 is always enough.
/// @param capacity Offsets that fit at `offsets`.
/// @param count Receives the number of mips.
/// @param block_bytes Receives the size of the block, up to the end of the last mip.
/// @param error May be NULL.
/// @return INVALID_ARGUMENT also when the block would be larger than an address space.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_mips_lay_out(
    size: u32,
    format: u32,
    alignment: u32,
    offsets: Out<'_, usize>,
    capacity: usize,
    count: Out<'_, usize>,
    block_bytes: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let format = pixel_format(format, "format")?;
        let block_bytes = block_bytes.place("block_bytes")?;
        let layout = mip_layout(size, format, alignment.max(1) as usize)?;
        offsets.put(&layout.offsets, capacity, count, ["offsets", "count"])?;
        block_bytes.set(layout.bytes);
        Ok(())
    })
}

/// Decodes tokens into a mip chain in one block of memory: what detailflow_model_decode_mips gives for the sizes of
/// detailflow_mips_list_sizes. Bytes between the mips stay as they are. All arguments are checked before the work; after an
/// error nothing was written.
///
/// For rows that are padded (Direct3D 12: to 256 bytes), use detailflow_model_decode_mips, which takes a stride for each mip.
///
/// @param tokens A prefix: 1 to c, or a multiple of g up to N.
/// @param token_count Number of tokens.
/// @param source One of DETAILFLOW_MIPS_SOURCE_*.
/// @param size Pixels per side of the first mip: 1 up to the size that detailflow_model_get_prefix_size gives.
/// @param format One of DETAILFLOW_FORMAT_*.
/// @param offsets The first byte of each mip in the block, as detailflow_mips_lay_out gives them or any others: mips may
/// lie in any order, within the block and without overlap.
/// @param mip_count Number of offsets: 1 up to the number of mips of the full chain.
/// @param block Receives the pixels; need not be aligned.
/// @param capacity Bytes at `block`.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_model_decode_mip_chain(
    model: Shared<'_, detailflow_model>,
    tokens: In<'_, u32>,
    token_count: usize,
    source: u32,
    size: u32,
    format: u32,
    offsets: In<'_, usize>,
    mip_count: usize,
    block: Out<'_, c_void>,
    capacity: usize,
) -> detailflow_status {
    with(model, |this, bundle| {
        let (source, format) = (mip_source(source)?, pixel_format(format, "format")?);
        let tokens = get_tokens(tokens, token_count, bundle)?;
        // No chain of 32-bit sizes has more.
        let offsets = offsets.array(mip_count, u32::BITS as usize, "offsets")?;
        let block = block.slice(capacity, "block")?;
        Ok(tasks::decode_mip_chain(&this.model, &tokens, size, format, source, &offsets, block)?)
    })
}
