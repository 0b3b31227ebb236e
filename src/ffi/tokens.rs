//! Token files: one sequence in memory, many in a pack.

use std::ffi::{c_char, c_void};

use super::call::{
    Handle, Message, Outcome, array, call, call_on, copy_message, free, into_handle, object, on, output, path, put,
    put_tokens, text,
};
use super::model::detailflow_model;
use super::plain::{Plain, write};
use super::request::detailflow_request;
use super::status::{DETAILFLOW_NOT_FOUND, DETAILFLOW_WRONG_STATE, Failure, detailflow_status};
use crate::tokens::{Damage, Dft, Geometry, Pack, PackWriter, Soundness};

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
    fn new(dft: &Dft, soundness: Soundness) -> Self {
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
        let bytes = Dft::new(this.model.bundle(), class, seed, tokens)?.encode()?;
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
        Ok(dft.check_bundle(this.model.bundle())?)
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
        let repaired = crate::repair(&request.copy()?, &dft, count)?.encode()?;
        // SAFETY: the contract of the header.
        unsafe { put_bytes(&repaired, target, capacity, target_size, ["target", "target_size"]) }
    })
}

/// A pack of token files (.dftpack) that is open. Shared: any number of threads may read it at once. Nothing of its
/// entries is kept in memory.
pub struct detailflow_pack {
    pack: Pack,
    message: Message,
}

/// Opens the pack in the file `path`: reads 40 bytes, however many entries there are. Free with detailflow_pack_free.
///
/// Errors: NOT_FOUND, IO, BAD_FORMAT when it is no pack, of another format, cut, or its footer is damaged; what it holds
/// can then be saved with detailflow_pack_salvage.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_open(
    path: *const c_char,
    pack: *mut *mut detailflow_pack,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (path, place) = unsafe { (self::path(path, "path")?, output(pack, "pack")?) };
        place.set(into_handle(detailflow_pack { pack: Pack::open(path)?, message: Message::default() }));
        Ok(())
    })
}

/// Closes it. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_free(pack: *mut detailflow_pack) {
    // SAFETY: the contract of the header.
    unsafe { free(pack) }
}

/// As detailflow_model_message, for a pack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_message(
    pack: *const detailflow_pack,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(pack.as_ref().map(|pack| &pack.message), buffer, capacity) }
}

/// How many entries it has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_count(pack: *const detailflow_pack, count: *mut u32) -> detailflow_status {
    with(pack, |pack| {
        // SAFETY: the contract of the header.
        unsafe { output(count, "count") }?.set(pack.len());
        Ok(())
    })
}

/// The index of the entry called `name`: a few reads of a kilobyte. Case matters.
///
/// Errors: NOT_FOUND when there is none; BAD_FORMAT when that cannot be told, because what would say so is damaged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_find(
    pack: *const detailflow_pack,
    name: *const c_char,
    index: *mut u32,
) -> detailflow_status {
    with(pack, |pack| {
        // SAFETY: the contract of the header.
        let (name, place) = unsafe { (text(name, "name")?, output(index, "index")?) };
        let found = pack.find(name)?;
        place.set(found.ok_or_else(|| Failure::new(DETAILFLOW_NOT_FOUND, format!("no entry is called \"{name}\"")))?);
        Ok(())
    })
}

/// The name of the entry `index`, 0 to count - 1, into `buffer`, which has room for `capacity` bytes, with a zero at its
/// end; its length without the zero into `length`. "" and 0 when it has none. At most 255 bytes and the zero. `buffer` NULL
/// with `capacity` 0 only tells the length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_name(
    pack: *const detailflow_pack,
    index: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> detailflow_status {
    with(pack, |pack| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(length, "length") }?;
        let mut name = pack.name(index)?.unwrap_or_default().into_bytes();
        name.push(0);
        let mut written = 0;
        // SAFETY: the contract of the header.
        unsafe { put_bytes(&name, buffer.cast(), capacity, &raw mut written, ["buffer", "length"]) }?;
        place.set(written - 1);
        Ok(())
    })
}

/// The bytes of the entry `index`, a token file (.dft) as it was put in, into `data`, which has room for `capacity`; their
/// number into `size`. `data` NULL with `capacity` 0 only tells the number. Two reads: of 16 bytes, and of the entry.
///
/// Errors: BAD_FORMAT when what leads to it is damaged; whether it is damaged itself detailflow_dft_get_info tells.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_get(
    pack: *const detailflow_pack,
    index: u32,
    data: *mut c_void,
    capacity: usize,
    size: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    with(pack, |pack| unsafe { put_bytes(&pack.encoded(index)?, data, capacity, size, ["data", "size"]) })
}

/// As detailflow_dft_get_info, of the entry `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_get_info(
    pack: *const detailflow_pack,
    index: u32,
    info: *mut detailflow_dft_info,
) -> detailflow_status {
    with(pack, |pack| {
        let entry = pack.get(index)?;
        // SAFETY: the contract of the header.
        unsafe { write(info, detailflow_dft_info::new(&entry.dft, entry.soundness)) }
    })
}

/// As detailflow_dft_tokens, of the entry `index`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_tokens(
    pack: *const detailflow_pack,
    index: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    with(pack, |pack| unsafe { put_tokens(&pack.get(index)?.dft.tokens, tokens, capacity, count) })
}

/// Writes what is left of the pack `path`, which was cut or damaged, as a new pack `target`: sound entries, of damaged ones
/// their sound tokens. How many there are into `entries`, and of how many some tokens are lost into `shortened` (may be
/// NULL). `target` appears whole or not at all.
///
/// Errors: NOT_FOUND, IO, BAD_FORMAT when nothing is left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_salvage(
    path: *const c_char,
    target: *const c_char,
    entries: *mut u32,
    shortened: *mut u32,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (path, target) = unsafe { (self::path(path, "path")?, self::path(target, "target")?) };
        // SAFETY: the contract of the header.
        let place = unsafe { output(entries, "entries") }?;
        let done = crate::tokens::salvage(path, target)?;
        place.set(done.entries);
        // SAFETY: the contract of the header.
        if let Ok(place) = unsafe { output(shortened, "shortened") } {
            place.set(done.shortened);
        }
        Ok(())
    })
}

/// A pack on its way into a file. Not const: one thread at a time.
pub struct detailflow_pack_writer(Handle<Option<PackWriter>>);

/// Begins a pack that will be the file `path`: it appears when it is finished, whole. Free with
/// detailflow_pack_writer_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_writer_new(
    path: *const c_char,
    writer: *mut *mut detailflow_pack_writer,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (path, place) = unsafe { (self::path(path, "path")?, output(writer, "writer")?) };
        let pack = Some(PackWriter::create(path)?);
        place.set(into_handle(detailflow_pack_writer(Handle::new("detailflow_pack_writer", pack))));
        Ok(())
    })
}

/// Frees it. What was not finished leaves nothing. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_writer_free(writer: *mut detailflow_pack_writer) {
    // SAFETY: the contract of the header.
    unsafe { free(writer) }
}

/// As detailflow_model_message, for a writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_writer_message(
    writer: *const detailflow_pack_writer,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(writer.as_ref().map(|writer| &writer.0.message), buffer, capacity) }
}

/// Appends the `size` bytes at `data`, a sound token file (.dft), of any model. `name` is 1 to 255 bytes without control
/// characters and no other entry's, or NULL. Its index, they count from 0, into `index` (may be NULL). The writer keeps 16
/// bytes of memory for each entry and about 30 for each name.
///
/// Errors: BAD_FORMAT when it is damaged; INVALID_ARGUMENT when the name is none or taken; OUT_OF_MEMORY; IO, after which
/// the pack cannot be finished. After all others it is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_writer_add(
    writer: *mut detailflow_pack_writer,
    name: *const c_char,
    data: *const c_void,
    size: usize,
    index: *mut u32,
) -> detailflow_status {
    writing(writer, |pack| {
        let pack = pack.as_mut().ok_or_else(finished)?;
        // SAFETY: the contract of the header.
        let name = if name.is_null() { None } else { Some(unsafe { text(name, "name") }?) };
        // SAFETY: the contract of the header.
        let added = pack.add_encoded(name, unsafe { bytes(data, size) }?)?;
        // SAFETY: the contract of the header.
        if let Ok(place) = unsafe { output(index, "index") } {
            place.set(added);
        }
        Ok(())
    })
}

/// Writes what makes it a pack, and puts the file in its place. After that, also when it failed, the writer can only be
/// freed: other calls are WRONG_STATE.
///
/// Errors: IO, OUT_OF_MEMORY; what was at the place before is left then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_pack_writer_finish(writer: *mut detailflow_pack_writer) -> detailflow_status {
    writing(writer, |pack| Ok(pack.take().ok_or_else(finished)?.finish()?))
}

fn finished() -> Failure {
    Failure::new(DETAILFLOW_WRONG_STATE, "the pack is finished")
}

/// Bytes of the caller's.
///
/// # Safety
/// `data` is NULL or may be read for `size` bytes as long as `'a`.
unsafe fn bytes<'a>(data: *const c_void, size: usize) -> Result<&'a [u8], Failure> {
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
unsafe fn put_bytes(bytes: &[u8], target: *mut c_void, capacity: usize, size: *mut usize, names: [&str; 2]) -> Outcome {
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

/// Runs `body` with the pack; keeps the message with the handle.
fn with(pack: *const detailflow_pack, body: impl FnOnce(&Pack) -> Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    match unsafe { object(pack, "pack") } {
        Ok(this) => call_on(Some(&this.message), || body(&this.pack)),
        Err(failure) => call(|| Err(failure)),
    }
}

fn writing(
    writer: *mut detailflow_pack_writer,
    body: impl FnOnce(&mut Option<PackWriter>) -> Outcome,
) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    on(unsafe { object(writer, "writer") }.map(|writer| &writer.0), body)
}
