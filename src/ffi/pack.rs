//! Packs of token files: read, written, salvaged.

use std::ffi::{c_char, c_void};

use super::call::{
    Handle, Message, Outcome, call, call_on, copy_message, free, into_handle, object, on, output, path, put_tokens,
    text,
};
use super::plain::write;
use super::status::{DETAILFLOW_NOT_FOUND, DETAILFLOW_WRONG_STATE, Failure, detailflow_status};
use super::tokens::{bytes, detailflow_dft_info, put_bytes};
use crate::tokens::{Pack, PackWriter};

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
