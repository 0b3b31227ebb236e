//! Packs of token files: read, written, salvaged.

use std::ffi::{c_char, c_void};
use std::path::PathBuf;

use super::call::{call, change, get_message, on};
use super::error::detailflow_error;
use super::handle::{Guard, Guarded, Object};
use super::message::Message;
use super::param::{Exclusive, In, Out, Owned, Place, Shared, Text};
use super::reader::{HostBlock, HostReader, detailflow_reader};
use super::status::{DETAILFLOW_STATUS_NOT_FOUND, DETAILFLOW_STATUS_WRONG_STATE, Failure, Outcome, detailflow_status};
use super::tokens::detailflow_dft_info;
use crate::support::block::Fixed;
use crate::support::error::Error;
use crate::support::files::open;
use crate::support::read_at::Called;
use crate::tokens::{Pack, PackWriter, ReadAt, Salvage, Salvaged};

/// An open pack of token files (.dftpack). Thread-safe. Its entries are not kept in memory.
pub struct detailflow_pack {
    pack: Pack<Box<dyn ReadAt + Send + Sync>>,
    message: Message,
}

impl detailflow_pack {
    fn new(source: impl ReadAt + Send + Sync + 'static, name: impl Into<PathBuf>) -> Result<Self, Failure> {
        let source: Box<dyn ReadAt + Send + Sync> = Box::new(source);
        Ok(Self { pack: Pack::from_source(source, name)?, message: Message::default() })
    }
}

impl ReadAt for HostBlock {
    fn size(&self) -> std::io::Result<u64> {
        self.bytes().size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.bytes().read_exact_at(buffer, offset)
    }
}

impl Object for detailflow_pack {
    const KIND: &'static str = "detailflow_pack";
    const NAME: &'static str = "pack";
    fn message(&self) -> Option<&Message> {
        Some(&self.message)
    }
}

/// Opens a pack. Reads 40 bytes, whatever the number of entries.
///
/// @param path The file.
/// @param pack Receives the handle. Free it with detailflow_pack_free.
/// @param error May be NULL.
/// @return NOT_FOUND; IO; BAD_FORMAT when it is no pack, has another version, is cut, or its footer is damaged: then
/// detailflow_pack_salvage can save its entries.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_open(
    path: Text<'_>,
    pack: Out<'_, *mut detailflow_pack>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (path, place) = (path.path("path")?, pack.place("pack")?);
        let file = open(&path).map_err(|error| Error::reading(&path, error))?;
        place.set_handle(detailflow_pack::new(file, path)?);
        Ok(())
    })
}

/// As detailflow_pack_open, of a pack that lies in memory. Nothing is copied.
///
/// @param data The pack. It must stay valid, unchanged, until detailflow_pack_free.
/// @param size Bytes at `data`.
/// @param pack Receives the handle. Free it with detailflow_pack_free.
/// @param error May be NULL.
/// @return BAD_FORMAT: see detailflow_pack_open.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_open_memory(
    data: In<'_, c_void>,
    size: usize,
    pack: Out<'_, *mut detailflow_pack>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = pack.place("pack")?;
        place.set_handle(detailflow_pack::new(block(data, size)?, MEMORY)?);
        Ok(())
    })
}

/// As detailflow_pack_open, of a pack that callbacks read.
///
/// @param reader Copied. It is used by the calls that read the pack, on the threads that make them, and so possibly on
/// several at once, until detailflow_pack_free.
/// @param pack Receives the handle. Free it with detailflow_pack_free.
/// @param error May be NULL.
/// @return IO when read_at fails; BAD_FORMAT: see detailflow_pack_open.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_open_reader(
    reader: In<'_, detailflow_reader>,
    pack: Out<'_, *mut detailflow_pack>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = pack.place("pack")?;
        place.set_handle(detailflow_pack::new(Called(HostReader::new(reader)?), READER)?);
        Ok(())
    })
}

/// Closes a pack. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_free(pack: Owned<detailflow_pack>) {
    pack.free(|_| {});
}

/// The message of the last failed call with this pack: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_get_message(
    pack: Shared<'_, detailflow_pack>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(pack, buffer, capacity, length)
}

/// Gets the number of entries.
///
/// @param count Receives the number.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_get_count(
    pack: Shared<'_, detailflow_pack>,
    count: Out<'_, u32>,
) -> detailflow_status {
    with(pack, |pack| {
        count.place("count")?.set(pack.len());
        Ok(())
    })
}

/// Finds an entry by its name, with a few reads of a kilobyte.
///
/// @param name Case-sensitive.
/// @param entry_index Receives the index.
/// @return NOT_FOUND when there is none; BAD_FORMAT when the index of names is damaged where it would be.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_find_entry(
    pack: Shared<'_, detailflow_pack>,
    name: Text<'_>,
    entry_index: Out<'_, u32>,
) -> detailflow_status {
    with(pack, |pack| {
        let (name, place) = (name.text("name")?, entry_index.place("entry_index")?);
        let found = pack.find(name)?;
        let none = || Failure::new(DETAILFLOW_STATUS_NOT_FOUND, format!("the pack has no entry named \"{name}\""));
        place.set(found.ok_or_else(none)?);
        Ok(())
    })
}

/// Gets the name of an entry; "" when it has none.
///
/// @param entry_index 0 to count - 1.
/// @param buffer Receives the name, at most 255 bytes and the zero: see "Text" above.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole name; may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_get_entry_name(
    pack: Shared<'_, detailflow_pack>,
    entry_index: u32,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    with(pack, |pack| buffer.put_text(&pack.name(entry_index)?.unwrap_or_default(), capacity, length))
}

/// Gets an entry: a token file (.dft), as it was added. Two reads: 16 bytes, and the entry.
///
/// @param entry_index 0 to count - 1.
/// @param data Receives the file: see "Arrays" above.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
/// @return BAD_FORMAT when the index that leads to it is damaged. Whether the entry is damaged: detailflow_dft_get_info.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_get_entry(
    pack: Shared<'_, detailflow_pack>,
    entry_index: u32,
    data: Out<'_, c_void>,
    capacity: usize,
    size: Out<'_, usize>,
) -> detailflow_status {
    with(pack, |pack| data.put_bytes(&pack.encoded(entry_index)?, capacity, size, ["data", "size"]))
}

/// As detailflow_dft_get_info, of an entry.
///
/// @param entry_index 0 to count - 1.
/// @param info Filled; its struct_size is set.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_get_entry_info(
    pack: Shared<'_, detailflow_pack>,
    entry_index: u32,
    info: Out<'_, detailflow_dft_info>,
) -> detailflow_status {
    with(pack, |pack| {
        let entry = pack.get(entry_index)?;
        info.structure()?.write(detailflow_dft_info::new(&entry.dft, entry.soundness))
    })
}

/// As detailflow_dft_get_tokens, of an entry.
///
/// @param entry_index 0 to count - 1.
/// @param tokens Receives the intact tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_get_entry_tokens(
    pack: Shared<'_, detailflow_pack>,
    entry_index: u32,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
) -> detailflow_status {
    with(pack, |pack| tokens.put(&pack.get(entry_index)?.dft.tokens, capacity, count, ["tokens", "count"]))
}

/// Writes what is left of a cut or damaged pack as a new pack: intact entries, and the intact tokens of damaged ones.
///
/// @param path The damaged file.
/// @param target The file to write; it appears complete or not at all.
/// @param entry_count Receives the number of entries of the new pack.
/// @param shortened_count Receives how many of them lost tokens; may be NULL.
/// @param error May be NULL.
/// @return NOT_FOUND; IO; BAD_FORMAT when nothing is left.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_salvage(
    path: Text<'_>,
    target: Text<'_>,
    entry_count: Out<'_, u32>,
    shortened_count: Out<'_, u32>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (path, target) = (path.path("path")?, target.path("target")?);
        let place = entry_count.place("entry_count")?;
        salvaged(crate::tokens::salvage(path, target)?, place, shortened_count);
        Ok(())
    })
}

/// As detailflow_pack_salvage, of a pack that lies in memory.
///
/// @param data The damaged pack.
/// @param size Bytes at `data`.
/// @param target The file to write; it appears complete or not at all.
/// @param entry_count Receives the number of entries of the new pack.
/// @param shortened_count Receives how many of them lost tokens; may be NULL.
/// @param error May be NULL.
/// @return IO; BAD_FORMAT when nothing is left.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_salvage_memory(
    data: In<'_, c_void>,
    size: usize,
    target: Text<'_>,
    entry_count: Out<'_, u32>,
    shortened_count: Out<'_, u32>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (source, target) = (block(data, size)?, target.path("target")?);
        let place = entry_count.place("entry_count")?;
        salvaged(Salvage::from_source(source, MEMORY)?.write(target)?, place, shortened_count);
        Ok(())
    })
}

/// As detailflow_pack_salvage, of a pack that callbacks read.
///
/// @param reader The damaged pack; used within the call, on this thread.
/// @param target The file to write; it appears complete or not at all.
/// @param entry_count Receives the number of entries of the new pack.
/// @param shortened_count Receives how many of them lost tokens; may be NULL.
/// @param error May be NULL.
/// @return IO, also when read_at fails; BAD_FORMAT when nothing is left.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_salvage_reader(
    reader: In<'_, detailflow_reader>,
    target: Text<'_>,
    entry_count: Out<'_, u32>,
    shortened_count: Out<'_, u32>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (source, target) = (Called(HostReader::new(reader)?), target.path("target")?);
        let place = entry_count.place("entry_count")?;
        salvaged(Salvage::from_source(source, READER)?.write(target)?, place, shortened_count);
        Ok(())
    })
}

/// What errors call packs that have no path.
const MEMORY: &str = "(memory)";
const READER: &str = "(reader)";

/// Memory of the host, which the caller keeps valid.
fn block(data: In<'_, c_void>, size: usize) -> Result<HostBlock, Failure> {
    let block = HostBlock::new(data, size, None, std::ptr::null_mut());
    block.check()?;
    Ok(block)
}

fn salvaged(done: Salvaged, entries: Place<'_, u32>, shortened: Out<'_, u32>) {
    entries.set(done.entries);
    if let Some(place) = shortened.optional() {
        place.set(done.shortened);
    }
}

/// A pack being written. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_pack_writer(Guarded<Option<PackWriter>>);

impl Object for detailflow_pack_writer {
    const KIND: &'static str = "detailflow_pack_writer";
    const NAME: &'static str = "writer";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_pack_writer {
    type Value = Option<PackWriter>;
    fn guarded(&self) -> &Guarded<Self::Value> {
        &self.0
    }
}

/// Starts writing a pack.
///
/// @param path The file. It appears, complete, in detailflow_pack_writer_finish.
/// @param writer Receives the handle. Free it with detailflow_pack_writer_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_writer_new(
    path: Text<'_>,
    writer: Out<'_, *mut detailflow_pack_writer>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (path, place) = (path.path("path")?, writer.place("writer")?);
        let pack = Some(PackWriter::create(path)?);
        place.set_handle(detailflow_pack_writer(Guarded::new(detailflow_pack_writer::KIND, pack)));
        Ok(())
    })
}

/// Frees a writer. A pack that was not finished leaves nothing behind. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_writer_free(writer: Owned<detailflow_pack_writer>) {
    writer.free(|_| {});
}

/// The message of the last failed call with this writer: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_writer_get_message(
    writer: Shared<'_, detailflow_pack_writer>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(writer, buffer, capacity, length)
}

/// Appends an entry. The writer keeps 16 bytes of memory for each entry, and about 30 for each name.
///
/// @param name 1 to 255 bytes without control characters, not used by another entry; NULL for no name.
/// @param data An intact token file (.dft), of any model.
/// @param size Bytes at `data`.
/// @param entry_index Receives the index, counted from 0; may be NULL.
/// @return BAD_FORMAT when the token file is damaged; INVALID_ARGUMENT when the name is not allowed or taken;
/// OUT_OF_MEMORY; IO, after which the pack cannot be finished. After the others the writer is as before.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_writer_add(
    writer: Exclusive<'_, detailflow_pack_writer>,
    name: Text<'_>,
    data: In<'_, c_void>,
    size: usize,
    entry_index: Out<'_, u32>,
) -> detailflow_status {
    change(writer, |pack| {
        let pack = pack.as_mut().ok_or_else(finished)?;
        let name = name.optional("name")?;
        let added = pack.add_encoded(name, data.bytes(size, "data")?)?;
        if let Some(place) = entry_index.optional() {
            place.set(added);
        }
        Ok(())
    })
}

/// Writes the index and puts the file in its place. After that, also after a failure, the writer can only be freed: other
/// calls are WRONG_STATE.
///
/// @return IO; OUT_OF_MEMORY. In both cases an existing file at the path is unchanged.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_pack_writer_finish(writer: Exclusive<'_, detailflow_pack_writer>) -> detailflow_status {
    change(writer, |pack| Ok(pack.take().ok_or_else(finished)?.finish()?))
}

fn finished() -> Failure {
    Failure::new(DETAILFLOW_STATUS_WRONG_STATE, "the pack is finished; the writer can only be freed")
}

fn with(
    pack: Shared<'_, detailflow_pack>,
    body: impl FnOnce(&Pack<Box<dyn ReadAt + Send + Sync>>) -> Outcome,
) -> detailflow_status {
    on(pack, |this| body(&this.pack))
}
