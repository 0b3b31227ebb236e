//! Token files: one sequence in memory.

use std::ffi::{c_char, c_void};

use super::call::{Outcome, array, call, call_on, object, output, put, put_tokens};
use super::model::detailflow_model;
use super::plain::{Plain, write};
use super::request::detailflow_request;
use super::status::{Failure, detailflow_status};
use crate::tokens::{Damage, Dft, Geometry, Soundness};

/// No class: of a picture that was encoded.
pub const DETAILFLOW_NO_CLASS: u32 = 0xFFFF_FFFF;

/// A token file is as it was written.
pub const DETAILFLOW_DAMAGE_NONE: u32 = 0;
/// A token file ends before its last group does.
pub const DETAILFLOW_DAMAGE_CUT: u32 = 1;
/// A group of a token file is not what was written.
pub const DETAILFLOW_DAMAGE_GROUP: u32 = 2;
/// All tokens of a token file are sound, and bytes follow that are not of it.
pub const DETAILFLOW_DAMAGE_SURPLUS: u32 = 3;

/// What a token file (.dft) says of itself, and how much of it is sound.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_dft_info {
    /// sizeof(detailflow_dft_info).
    pub struct_size: u32,
    /// What is wrong with it: DETAILFLOW_DAMAGE_NONE (0) or another DETAILFLOW_DAMAGE.
    pub damage: u32,
    /// Tokens that are sound: a prefix, so that they decode. 0 when the first group is damaged already.
    pub sound: u32,
    /// Tokens that it was written with.
    pub promised: u32,
    /// Tokens of a whole picture of its model (N).
    pub tokens: u32,
    /// Tokens of a group (g).
    pub group: u32,
    /// Tokens of the causal part (c).
    pub causal: u32,
    /// Bits of one token.
    pub bits: u32,
    /// The class that it was drawn for; DETAILFLOW_NO_CLASS when it says none.
    pub class_index: u32,
    /// 1 when it says what seed it was drawn from.
    pub has_seed: u32,
    /// That seed; 0 when it says none.
    pub seed: u64,
    /// Which tokenizer its tokens belong to: 16 hex digits as of detailflow_model_info, and zeros.
    pub tokenizer_id: [c_char; 24],
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_dft_info {
    const NAME: &'static str = "detailflow_dft_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

impl detailflow_dft_info {
    pub(super) fn new(dft: &Dft, soundness: Soundness) -> Self {
        let Geometry { tokens, group, causal, bits } = dft.geometry;
        let mut tokenizer_id = [0; 24];
        for (place, byte) in tokenizer_id.iter_mut().zip(dft.tokenizer.to_string().bytes()) {
            *place = byte as c_char;
        }
        Self {
            struct_size: 0,
            damage: match soundness.damage {
                None => DETAILFLOW_DAMAGE_NONE,
                Some(Damage::Cut { .. }) => DETAILFLOW_DAMAGE_CUT,
                Some(Damage::Group { .. }) => DETAILFLOW_DAMAGE_GROUP,
                Some(Damage::Surplus { .. }) => DETAILFLOW_DAMAGE_SURPLUS,
            },
            sound: soundness.sound as u32,
            promised: soundness.promised as u32,
            tokens: tokens as u32,
            group: group as u32,
            causal: causal as u32,
            bits,
            class_index: dft.class.unwrap_or(DETAILFLOW_NO_CLASS),
            has_seed: dft.seed.is_some().into(),
            seed: dft.seed.unwrap_or(0),
            tokenizer_id,
        }
    }
}

/// Makes a token file (.dft) of the `count` `tokens` of a picture of `model`: a prefix, that is 1 to c, or a multiple of g
/// up to N. Its bytes go into `data`, which has room for `capacity`; their number into `size`: 272 for 128 tokens of 13
/// bits in groups of 8. `data` NULL with `capacity` 0 only tells the number. `class_index` is the class that it was drawn
/// for, or DETAILFLOW_NO_CLASS; `seed` points to the seed that it was drawn from, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_dft_encode(
    model: *const detailflow_model,
    tokens: *const u32,
    count: usize,
    class_index: u32,
    seed: *const u64,
    data: *mut c_void,
    capacity: usize,
    size: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    let this = match unsafe { object(model, "model") } {
        Ok(this) => this,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&this.message), || {
        // SAFETY: the contract of the header.
        let tokens = unsafe { array(tokens, count, this.model.bundle().tokens(), "tokens") }?;
        let class = (class_index != DETAILFLOW_NO_CLASS).then_some(class_index);
        // SAFETY: the contract of the header. C does not promise alignment.
        let seed = (!seed.is_null()).then(|| unsafe { seed.read_unaligned() });
        let bytes = this.model.bundle().dft(class, seed, tokens)?.encode()?;
        // SAFETY: the contract of the header.
        unsafe { put_bytes(&bytes, data, capacity, size, ["data", "size"]) }
    })
}

/// What the `size` bytes of a token file at `data` say, into `info`, whose struct_size is set. A file that was cut or
/// damaged is no error here: `info` says how many of its tokens are sound. No cut, flipped bit or changed byte makes a
/// token other than it was.
///
/// Errors: BAD_FORMAT when it is no token file, one of another format, or its header is damaged: then nothing is sound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_dft_get_info(
    data: *const c_void,
    size: usize,
    info: *mut detailflow_dft_info,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (dft, soundness) = Dft::decode(unsafe { bytes(data, size) }?)?;
        // SAFETY: the contract of the header.
        unsafe { write(info, detailflow_dft_info::new(&dft, soundness)) }
    })
}

/// The sound tokens of a token file, coarse to fine, into `tokens`, which has room for `capacity`; their number into
/// `count`. `tokens` NULL with `capacity` 0 only tells the number. Fewer than detailflow_dft_info.promised when it was cut
/// or damaged; none when the first group was.
///
/// Errors: as detailflow_dft_get_info.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_dft_tokens(
    data: *const c_void,
    size: usize,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (dft, _) = Dft::decode(unsafe { bytes(data, size) }?)?;
        // SAFETY: the contract of the header.
        unsafe { put_tokens(&dft.tokens, tokens, capacity, count) }
    })
}

/// Whether the tokens of a token file are `model`'s: DETAILFLOW_OK when they are of its tokenizer, grouped and packed as
/// its are, and its class and sound tokens exist.
///
/// Errors: INVALID_ARGUMENT naming both when not; BAD_FORMAT as detailflow_dft_get_info.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_dft_check(
    model: *const detailflow_model,
    data: *const c_void,
    size: usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    let this = match unsafe { object(model, "model") } {
        Ok(this) => this,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&this.message), || {
        // SAFETY: the contract of the header.
        let (dft, _) = Dft::decode(unsafe { bytes(data, size) }?)?;
        Ok(this.model.bundle().check_dft(&dft)?)
    })
}

/// Draws what a token file lost, in one call: its sound tokens stay, the rest is drawn after them until there are `count`
/// (a prefix; 0 is as many as it was written with). Class and seed are those that it says, or where it says none those of
/// the first picture of `request`, which also says how to sample; with its own seed, model and settings it becomes what it
/// was. The whole file goes into `target`, which has room for `capacity` bytes; their number into `target_size`. `target`
/// NULL with `capacity` 0 only tells the number, and draws nothing. `target` may be `data`.
///
/// To step or cancel it instead, or with another seed: detailflow_request_set_prefix and detailflow_generation_new.
///
/// Errors: those of detailflow_dft_check and detailflow_generate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_dft_repair(
    request: *const detailflow_request,
    data: *const c_void,
    size: usize,
    count: usize,
    target: *mut c_void,
    capacity: usize,
    target_size: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    let request = match unsafe { object(request, "request") } {
        Ok(request) => &request.0,
        Err(failure) => return call(|| Err(failure)),
    };
    call_on(Some(&request.message), || {
        // SAFETY: the contract of the header.
        let (dft, soundness) = Dft::decode(unsafe { bytes(data, size) }?)?;
        let count = if count == 0 { soundness.promised } else { count };
        // Only the number was asked for, or there is too little room: nothing is drawn for that.
        let whole = dft.geometry.is_prefix(count).then(|| dft.geometry.file_size(count));
        if let Some(whole) = whole.filter(|&whole| target.is_null() || capacity < whole) {
            // SAFETY: the contract of the header; nothing is written to `target` in either case.
            return unsafe { put_bytes(&vec![0; whole], target, capacity, target_size, ["target", "target_size"]) };
        }
        let repaired = crate::tasks::repair(&request.copy()?, &dft, count)?.encode()?;
        // SAFETY: the contract of the header.
        unsafe { put_bytes(&repaired, target, capacity, target_size, ["target", "target_size"]) }
    })
}

/// Bytes of the caller's.
///
/// # Safety
/// `data` is NULL or may be read for `size` bytes as long as `'a`.
pub(super) unsafe fn bytes<'a>(data: *const c_void, size: usize) -> Result<&'a [u8], Failure> {
    if data.is_null() {
        return Err(Failure::invalid("data is NULL"));
    }
    if size > isize::MAX as usize {
        return Err(Failure::invalid(format!("{size} bytes are more than an address space")));
    }
    // SAFETY: as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), size) })
}

/// [`put`] of bytes; `names` are those of the memory and of their number.
///
/// # Safety
/// As for [`put`].
pub(super) unsafe fn put_bytes(
    bytes: &[u8],
    target: *mut c_void,
    capacity: usize,
    size: *mut usize,
    names: [&str; 2],
) -> Outcome {
    // SAFETY: as the caller promises.
    let place = unsafe { output(size, names[1]) }?;
    if !target.is_null() && capacity < bytes.len() {
        return Err(Failure::invalid(format!("{} has room for {capacity} bytes, there are {}", names[0], bytes.len())));
    }
    let mut written = 0;
    // SAFETY: as the caller promises.
    unsafe { put(bytes, target.cast(), capacity, &raw mut written, names[0]) }?;
    place.set(written);
    Ok(())
}
