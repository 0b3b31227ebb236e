//! Sequences of calls of the C API, on several threads, with handles of every state: alive, of another kind, freed, stray,
//! NULL. One caller for each function is generated from the header by build.rs.
//!
//! What is checked after each call: the status is one of the header's and not INTERNAL, and a call that was refused has left
//! its outputs as they were. The address sanitizer checks the rest: every array has exactly the size that is told.
//!
//! What the header calls an error of the caller does not happen: a handle is freed only while no thread is in a call with it,
//! and freed handles are used by sequences of one thread only.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_void};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{Bytes, data, find_runtime, scratch};

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

const KINDS: usize = 14;
/// Handles of each kind that may be alive at once.
const SLOTS: usize = 3;
const MODEL: usize = 0;
const EVENT: usize = 10;

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 1;
const INTERNAL: i32 = 13;

/// Calls made so far, and those that succeeded, for the line that is printed at the end.
static CALLS_MADE: AtomicU64 = AtomicU64::new(0);
static SUCCEEDED: AtomicU64 = AtomicU64::new(0);

type Slot = RwLock<usize>;

/// The handles of one sequence.
pub struct World {
    handles: [[Slot; SLOTS]; KINDS],
    /// Whether addresses of freed handles may be used: with one thread only.
    alone: bool,
    freed: RwLock<Vec<usize>>,
    /// Memory that jobs write to until all handles are freed.
    kept: RwLock<Vec<Vec<u8>>>,
}

/// A handle in use: none of these is freed while it is held.
enum Handle<'a> {
    Of(RwLockReadGuard<'a, usize>),
    Stray(usize),
}

impl Handle<'_> {
    fn pointer(&mut self) -> *mut c_void {
        match self {
            Self::Of(slot) => **slot as *mut c_void,
            Self::Stray(address) => *address as *mut c_void,
        }
    }
}

/// A handle to be freed.
enum ToFree<'a> {
    Of(RwLockWriteGuard<'a, usize>, Option<&'a RwLock<Vec<usize>>>),
    Stray(usize),
}

impl ToFree<'_> {
    fn pointer(&mut self) -> *mut c_void {
        match self {
            Self::Of(slot, _) => **slot as *mut c_void,
            Self::Stray(address) => *address as *mut c_void,
        }
    }

    fn clear(self) {
        if let Self::Of(mut slot, freed) = self {
            let address = std::mem::take(&mut *slot);
            if let Some(freed) = freed.filter(|_| address != 0) {
                freed.write().unwrap().push(address);
            }
        }
    }
}

/// Where a call puts a new handle.
struct Place {
    value: usize,
    null: bool,
}

/// What a place holds before a call: an address that is no handle.
const EMPTY: usize = 0x55;

impl Place {
    fn pointer(&mut self) -> *mut c_void {
        if self.null { std::ptr::null_mut() } else { (&raw mut self.value).cast() }
    }

    /// Keeps a handle in a free slot, or frees it.
    fn store(self, world: &World, bytes: &mut Bytes, kind: usize, status: i32) {
        if status != OK {
            assert_eq!(self.value, EMPTY, "a failed call stored a handle");
            return;
        }
        let first = bytes.below(SLOTS);
        for at in 0..SLOTS {
            if let Ok(mut slot) = world.handles[kind][(first + at) % SLOTS].try_write()
                && *slot == 0
            {
                *slot = self.value;
                return;
            }
        }
        free(kind, self.value);
    }
}

impl World {
    fn new(alone: bool) -> Self {
        let handles = std::array::from_fn(|_| std::array::from_fn(|_| Slot::new(0)));
        Self { handles, alone, freed: RwLock::default(), kept: RwLock::default() }
    }

    /// Keeps memory valid until all handles are freed.
    fn keep(&self, memory: Vec<Vec<u8>>) {
        self.kept.write().unwrap().extend(memory);
    }

    /// A handle of this kind mostly. `None` when another thread is freeing it.
    fn handle(&self, bytes: &mut Bytes, kind: usize) -> Option<Handle<'_>> {
        let choice = bytes.u8();
        // One that is alive, if there is one.
        let slot = |kind: usize| {
            let slots = (0..SLOTS).map(|at| &self.handles[kind][(usize::from(choice) + at) % SLOTS]);
            let mut held = slots.filter_map(|slot| slot.try_read().ok());
            let first = held.next()?;
            Some(Handle::Of(if *first != 0 { first } else { held.find(|slot| **slot != 0).unwrap_or(first) }))
        };
        match choice {
            0..=223 => slot(kind),
            224..=239 => slot((kind + usize::from(choice)) % KINDS),
            _ => Some(Handle::Stray(self.stray(bytes))),
        }
    }

    /// As [`handle`](Self::handle), for a `_free`. The first model stays.
    fn to_free(&self, bytes: &mut Bytes, kind: usize) -> Option<ToFree<'_>> {
        let choice = bytes.u8();
        if choice >= 240 {
            return Some(ToFree::Stray(self.stray(bytes)));
        }
        let at = usize::from(choice) % SLOTS;
        // The addresses of freed events are not used again: a worker's thread may have a new one there, which its callback
        // frees.
        let alone = self.alone && kind != EVENT;
        if kind == MODEL && at == 0 {
            return None;
        }
        self.handles[kind][at].try_write().ok().map(|slot| ToFree::Of(slot, alone.then_some(&self.freed)))
    }

    /// An address that is no handle, or is one no more.
    fn stray(&self, bytes: &mut Bytes) -> usize {
        static SOMETHING: [u64; 32] = [0; 32];
        match bytes.u8() {
            0..=63 => 0,
            64..=127 => usize::from(bytes.u8()),
            128..=159 => (&raw const SOMETHING) as usize + usize::from(bytes.u8()),
            160..=175 => usize::MAX - usize::from(bytes.u8()),
            _ if self.alone => {
                let freed = self.freed.read().unwrap();
                if freed.is_empty() { 8 } else { freed[bytes.below(freed.len())] }
            }
            _ => 16,
        }
    }

    /// A text for a parameter of this name.
    fn text(&self, bytes: &mut Bytes, name: &str) -> Text {
        const TEXTS: [&str; 24] = [
            "",
            "0",
            "1",
            "2",
            "7",
            "cpu",
            "fp32",
            "int8",
            "int4",
            "native",
            "mha",
            "plain",
            "fixed",
            "none",
            "class 0",
            "class 2",
            "cpu:0",
            "threads",
            "-1",
            "4294967296",
            "\u{feff}x",
            "a/b",
            "..",
            "\u{1b}[31m",
        ];
        let choice = bytes.u8();
        let folder = scratch().to_str().unwrap();
        let path = match name {
            "path" | "library" => Some(match choice % 9 {
                0..=2 => data("small").to_str().unwrap().to_owned(),
                3 => format!("{folder}/x.png"),
                4 => format!("{folder}/x.dftpack"),
                5 => format!("{folder}/missing"),
                6 => folder.to_owned(),
                7 => format!("{folder}/x.tga"),
                _ => format!("{folder}/y.dflow"),
            }),
            "target" => Some(match choice % 5 {
                0 => format!("{folder}/stripped"),
                1 => format!("{folder}/y.dftpack"),
                2 => format!("{folder}/missing/y"),
                3 => format!("{folder}/y.dflow"),
                _ => folder.to_owned(),
            }),
            _ => None,
        };
        Text(match (choice, path) {
            (248.., _) => None,
            (240..=247, _) => {
                let length = bytes.below(64);
                CString::new(bytes.take(length).split(|&byte| byte == 0).next().unwrap_or_default()).ok()
            }
            (239, _) => CString::new("x".repeat(5000)).ok(),
            (_, Some(path)) => CString::new(path).ok(),
            _ => CString::new(TEXTS[usize::from(choice) % TEXTS.len()]).ok(),
        })
    }
}

/// A string, or NULL.
struct Text(Option<CString>);

impl Text {
    fn pointer(&mut self) -> *mut c_void {
        self.0.as_ref().map_or(std::ptr::null_mut(), |text| text.as_ptr().cast_mut().cast())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Output,
    Numbers,
    Floats,
    File,
    Struct,
    Images,
    Sprites,
    /// A file that stays where it is, as an object may use it after the call.
    Kept,
    /// A reader of such a file.
    Reader,
}

/// Memory for an array, with what it points at.
struct Array {
    bytes: Vec<u8>,
    before: Vec<u8>,
    count: usize,
    null: bool,
    inner: Vec<Vec<u8>>,
    /// What is used instead of `bytes`.
    kept: Option<&'static [u8]>,
}

impl Array {
    fn new(world: &World, bytes: &mut Bytes, count: usize, size: usize, content: Content) -> Self {
        let choice = bytes.u8();
        let mut array = Self {
            bytes: vec![0xA5; count * size],
            before: Vec::new(),
            count,
            null: choice >= 248,
            inner: Vec::new(),
            kept: None,
        };
        match content {
            Content::Output => {}
            Content::Numbers => {
                let wild = choice & 15 == 15;
                for element in array.bytes.chunks_mut(size) {
                    let value = if wild { bytes.number() } else { u64::from(bytes.u8() & 15) };
                    element.copy_from_slice(&value.to_le_bytes()[..size]);
                }
            }
            Content::Floats => {
                array.bytes.chunks_mut(4).for_each(|element| element.copy_from_slice(&bytes.float().to_le_bytes()));
            }
            Content::File => {
                array.bytes = file(bytes);
                array.count = array.bytes.len();
            }
            Content::Kept => {
                let file = kept(bytes);
                array.count = file.len();
                array.kept = Some(file);
            }
            Content::Reader => {
                for element in array.bytes.chunks_mut(size) {
                    put(element, reader(bytes));
                }
            }
            Content::Struct => {
                array.bytes.fill(if choice & 3 == 3 { 0xA5 } else { 0 });
                let told = if choice & 31 == 30 { bytes.number() as u32 % (size as u32 + 1) } else { size as u32 };
                for element in array.bytes.chunks_mut(size) {
                    element[..4].copy_from_slice(&told.to_le_bytes());
                }
            }
            Content::Images => {
                for element in array.bytes.chunks_mut(size) {
                    let (image, pixels) = image(bytes);
                    put(element, image);
                    array.inner.push(pixels);
                }
            }
            Content::Sprites => {
                for element in array.bytes.chunks_mut(size) {
                    let (sprite, tokens) = sprite(bytes);
                    put(element, sprite);
                    array.inner.push(tokens);
                }
            }
        }
        let _ = world;
        array.before.clone_from(&array.bytes);
        array
    }

    fn pointer(&mut self) -> *mut c_void {
        match self.kept {
            _ if self.null => std::ptr::null_mut(),
            Some(kept) => kept.as_ptr().cast_mut().cast(),
            None => self.bytes.as_mut_ptr().cast(),
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    /// A call that was refused has left it as it was.
    fn check(&self, status: i32, function: &str, parameter: &str) {
        if status == INVALID_ARGUMENT {
            assert!(self.bytes == self.before, "{function} was refused and changed {parameter}");
        }
    }
}

/// Copies a struct into memory of its size.
fn put<T>(place: &mut [u8], value: T) {
    assert_eq!(place.len(), size_of::<T>());
    // SAFETY: it has that size, and needs no alignment.
    unsafe { place.as_mut_ptr().cast::<T>().write_unaligned(value) };
}

fn image(bytes: &mut Bytes) -> (detailflow::ffi::detailflow_image, Vec<u8>) {
    const SIDES: [u32; 8] = [32, 32, 16, 24, 24, 1, 8, 33];
    let choice = bytes.u8();
    let format = if choice & 7 == 7 { bytes.number() as u32 } else { 1 + u32::from(bytes.u8() & 7) };
    let width = SIDES[usize::from(choice >> 3 & 7)];
    let (width, height) = if choice >= 192 { (bytes.number() as u32, bytes.number() as u32) } else { (width, width) };
    let pixel = [4, 3, 4, 16, 4, 4, 4, 8, 8].get(format as usize).copied().unwrap_or(4);
    let gap = if choice & 64 != 0 { usize::from(bytes.u8()) } else { 0 };
    let row = (width as usize).saturating_mul(pixel).saturating_add(gap);
    let needed = row.saturating_mul(height as usize).min(1 << 18);
    let pixels = vec![choice; needed];
    let stride = match gap {
        0 => 0,
        255 => bytes.number() as usize,
        _ => row,
    };
    let image = detailflow::ffi::detailflow_image {
        struct_size: size_of::<detailflow::ffi::detailflow_image>() as u32,
        format,
        width,
        height,
        stride,
        pixels: if choice == 255 { std::ptr::null_mut() } else { pixels.as_ptr().cast_mut().cast() },
        capacity: if choice & 63 == 62 { needed / 2 } else { needed },
    };
    (image, pixels)
}

fn sprite(bytes: &mut Bytes) -> (detailflow::ffi::detailflow_sprite, Vec<u8>) {
    let count = bytes.below(20);
    let tokens: Vec<u8> = (0..count).flat_map(|_| u32::from(bytes.u8() & 15).to_le_bytes()).collect();
    let sprite = detailflow::ffi::detailflow_sprite {
        struct_size: size_of::<detailflow::ffi::detailflow_sprite>() as u32,
        x: bytes.number() as u32,
        y: bytes.number() as u32,
        level_size: [0, 0, 16, 16, 24, 32, 7, u32::MAX][bytes.below(8)],
        factor: bytes.below(70) as u32,
        reserved: u32::from(bytes.u8() == 255),
        tokens: tokens.as_ptr().cast(),
        token_count: count,
    };
    (sprite, tokens)
}

/// A file in memory: a token file of the small bundle or a picture, possibly damaged; or any bytes.
fn file(bytes: &mut Bytes) -> Vec<u8> {
    const FILES: [&[u8]; 4] = [
        include_bytes!("../corpus/dft/full"),
        include_bytes!("../corpus/dft/cut"),
        include_bytes!("../corpus/picture/png"),
        include_bytes!("../corpus/dftpack/two"),
    ];
    let choice = bytes.u8();
    let mut file = match choice & 7 {
        // The corpus of pictures has a byte before the file.
        2 => FILES[2][1..].to_vec(),
        at @ 0..=3 => FILES[usize::from(at)].to_vec(),
        _ => {
            let length = bytes.below(128);
            bytes.take(length).to_vec()
        }
    };
    for _ in 0..choice >> 6 {
        let at = usize::from(bytes.u16());
        if at < file.len() {
            file[at] ^= bytes.u8();
        }
    }
    file
}

/// One of a few files that are never freed: packs, single-file bundles, whole and damaged.
fn kept(bytes: &mut Bytes) -> &'static [u8] {
    static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let pack = include_bytes!("../corpus/dftpack/two").to_vec();
        let path = scratch().join("kept.dflow");
        detailflow::Bundle::open(data("small")).unwrap().pack(&path, |_, _| true).unwrap();
        let bundle = std::fs::read(path).unwrap();
        let damaged = |file: &[u8], from_end: usize| {
            let mut file = file.to_vec();
            let at = file.len() - from_end;
            file[at] ^= 1;
            file
        };
        vec![
            damaged(&pack, 9),
            pack[..pack.len() - 20].to_vec(),
            damaged(&bundle, 30),
            bundle[..bundle.len() - 1].to_vec(),
            Vec::new(),
            pack.clone(),
            pack,
            bundle,
        ]
    });
    &FILES[bytes.below(FILES.len())]
}

/// A reader of such a file, which may lie about its size, or fail.
fn reader(bytes: &mut Bytes) -> detailflow::ffi::detailflow_reader {
    let file = kept(bytes);
    let choice = bytes.u8();
    // The callback is given one of these, which are never freed.
    static READERS: LazyLock<RwLock<BTreeMap<(usize, bool), &'static (&'static [u8], bool)>>> =
        LazyLock::new(RwLock::default);
    let fails = choice & 15 == 14;
    let read_at: detailflow::ffi::detailflow_read_at_fn = if choice & 31 == 12 { None } else { Some(callback_read_at) };
    let user = *READERS
        .write()
        .unwrap()
        .entry((file.as_ptr() as usize, fails))
        .or_insert_with(|| Box::leak(Box::new((file, fails))));
    detailflow::ffi::detailflow_reader {
        struct_size: size_of::<detailflow::ffi::detailflow_reader>() as u32,
        reserved: u32::from(choice == 255),
        size: if choice & 15 == 13 { bytes.number() } else { file.len() as u64 },
        read_at,
        user: (&raw const *user).cast_mut().cast(),
    }
}

unsafe extern "C" fn callback_read_at(user: *mut c_void, offset: u64, buffer: *mut c_void, count: usize) -> usize {
    // SAFETY: one of READERS.
    let (file, fails) = unsafe { *user.cast::<(&'static [u8], bool)>() };
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
    let part = &file[start..(start.saturating_add(count)).min(file.len())];
    // SAFETY: the buffer has `count` bytes.
    unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(part.as_ptr(), part.len()) };
    if fails { part.len() / 2 } else { part.len() }
}

unsafe extern "C" fn callback_release(_: *mut c_void) {}

impl Bytes<'_> {
    fn place(&mut self) -> Place {
        Place { value: EMPTY, null: self.u8() >= 252 }
    }

    /// The length of an array. One of structs has at most 8.
    fn count(&mut self, structs: bool) -> usize {
        const COUNTS: [usize; 16] = [0, 1, 2, 3, 4, 8, 12, 16, 16, 16, 16, 17, 32, 64, 128, 1024];
        if structs { self.below(9) } else { COUNTS[self.below(16)] }
    }

    fn callback(&mut self, function: *mut c_void) -> *mut c_void {
        if self.u8() & 3 == 0 { std::ptr::null_mut() } else { function }
    }

    fn u32(&mut self, name: &str) -> u32 {
        match name {
            // More would need more memory than a fuzz target should take.
            "image_count" => match self.number() {
                many if many > 1 << 20 => many as u32 | 1 << 31,
                few => (few % 9) as u32,
            },
            "threads" => [0, 1, 2, u32::MAX][self.below(4)],
            "format" => u32::from(self.u8() % 10),
            "size" => [0, 1, 8, 16, 24, 32, 33, u32::MAX][self.below(8)],
            "level_size" | "image_size" => [0, 16, 16, 24, 32, 32, 33, u32::MAX][self.below(8)],
            "class_index" | "image_index" | "entry_index" | "level_index" => match self.number() {
                few @ 0..=223 => few as u32 & 3,
                any => any as u32,
            },
            _ => self.number() as u32,
        }
    }

    fn u64(&mut self, name: &str) -> u64 {
        match name {
            "timeout_ns" => u64::from(self.u8()) * 4000,
            _ => self.number(),
        }
    }

    fn usize(&mut self, _name: &str) -> usize {
        match self.number() {
            few @ 0..=223 => few as usize & 31,
            any => any as usize,
        }
    }

    fn i32(&mut self, _name: &str) -> i32 {
        self.number() as i32
    }
}

fn check_status(status: i32, function: &str) {
    assert!((OK..INTERNAL).contains(&status), "{function} returned {status}: {}", last_message());
    SUCCEEDED.fetch_add(u64::from(status == OK), Relaxed);
}

fn last_message() -> String {
    unsafe extern "C" {
        fn detailflow_last_message() -> *const c_char;
    }
    // SAFETY: it returns a string that lives until the next failure.
    unsafe { std::ffi::CStr::from_ptr(detailflow_last_message()) }.to_string_lossy().into_owned()
}

extern "C" fn callback_log(_: *mut c_void, _: u32, message: *const c_char) {
    // SAFETY: a string, valid during the call.
    let _ = unsafe { std::ffi::CStr::from_ptr(message) }.to_bytes().len();
}

extern "C" fn callback_open_progress(_: *mut c_void, done: u32, total: u32, _: *const c_char) {
    assert!(done <= total);
}

extern "C" fn callback_score(_: *mut c_void, candidate: *const detailflow::ffi::detailflow_candidate) -> f32 {
    // SAFETY: valid during the call.
    let candidate = unsafe { candidate.read_unaligned() };
    if candidate.seed == 7 { f32::NAN } else { candidate.image_index as f32 }
}

/// Leaves tasks out, calls some twice and some that there are not.
extern "C" fn callback_parallel_for(
    _: *mut c_void,
    count: u32,
    task: detailflow::ffi::detailflow_task_fn,
    context: *mut c_void,
) {
    let task = task.unwrap();
    for index in (0..count + 2).filter(|index| index % 3 != 1) {
        // SAFETY: what was given.
        unsafe {
            task(context, index);
            task(context, index & !1);
        }
    }
}

extern "C" fn callback_event(_: *mut c_void, event: *mut c_void) {
    free(EVENT, event as usize);
}

/// Frees a handle of this kind.
fn free(kind: usize, handle: usize) {
    type Free = unsafe extern "C" fn(*mut c_void);
    macro_rules! all {
        ($($name:ident)*) => {{
            unsafe extern "C" { $(fn $name(handle: *mut c_void);)* }
            [$($name as Free),*]
        }};
    }
    let frees: [Free; KINDS] = all!(
        detailflow_model_free detailflow_model_options_free detailflow_runtime_options_free detailflow_cancel_free
        detailflow_device_list_free detailflow_request_free detailflow_generation_free detailflow_best_of_options_free
        detailflow_worker_free detailflow_worker_options_free detailflow_event_free detailflow_pack_free
        detailflow_pack_writer_free detailflow_submit_options_free
    );
    // SAFETY: a handle of this kind, which no other thread uses.
    unsafe { frees[kind](handle as *mut c_void) };
}

/// The model that every sequence begins with.
#[allow(clashing_extern_declarations, reason = "the generated callers declare all pointers as one type")]
fn model() -> usize {
    use std::sync::OnceLock;
    static HANDLE: OnceLock<usize> = OnceLock::new();
    unsafe extern "C" {
        fn detailflow_model_open(
            path: *const c_char,
            options: *mut c_void,
            model: *mut *mut c_void,
            error: *mut c_void,
        ) -> i32;
        fn detailflow_model_options_new(options: *mut *mut c_void, error: *mut c_void) -> i32;
        fn detailflow_model_options_set_threads(options: *mut c_void, threads: u32) -> i32;
        fn atexit(function: extern "C" fn()) -> i32;
    }
    extern "C" fn report() {
        eprintln!("api: {} calls, {} succeeded", CALLS_MADE.load(Relaxed), SUCCEEDED.load(Relaxed));
    }
    *HANDLE.get_or_init(|| {
        find_runtime();
        let path = CString::new(data("small").to_str().unwrap()).unwrap();
        // SAFETY: no other thread of the target runs yet; `generate_image` without a model opens this bundle.
        unsafe { std::env::set_var("DETAILFLOW_BUNDLE", data("small")) };
        let (mut model, mut options) = (std::ptr::null_mut(), std::ptr::null_mut());
        let null = std::ptr::null_mut();
        // SAFETY: as the header says.
        unsafe {
            assert_eq!(detailflow_model_options_new(&raw mut options, null), OK);
            assert_eq!(detailflow_model_options_set_threads(options, 1), OK);
            let status = detailflow_model_open(path.as_ptr(), options, &raw mut model, null);
            assert_eq!(status, OK, "{}", last_message());
            free(1, options as usize);
            atexit(report);
        }
        model as usize
    })
}

/// Runs the sequences that an input holds: the number of threads, then as many bytes for each.
pub fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let threads = [1, 1, 2, 2, 3, 4][bytes.below(6)];
    let world = World::new(threads == 1);
    *world.handles[MODEL][0].write().unwrap() = model();
    let length = bytes.0.len().div_ceil(threads).max(1);
    let sequence = |part: &[u8]| {
        let mut bytes = Bytes(part);
        let mut calls = 0;
        while !bytes.is_empty() {
            CALLS[bytes.below(CALLS.len())](&world, &mut bytes);
            calls += 1;
        }
        CALLS_MADE.fetch_add(calls, Relaxed);
    };
    if threads == 1 {
        sequence(bytes.0);
    } else {
        std::thread::scope(|scope| {
            for part in bytes.0.chunks(length) {
                let sequence = &sequence;
                scope.spawn(move || sequence(part));
            }
        });
    }
    // In this order events outlive workers, and workers the requests of their jobs.
    *world.handles[MODEL][0].write().unwrap() = 0;
    for (kind, slots) in world.handles.iter().enumerate() {
        for slot in slots {
            let handle = std::mem::take(&mut *slot.write().unwrap());
            if handle != 0 {
                free(kind, handle);
            }
        }
    }
}
