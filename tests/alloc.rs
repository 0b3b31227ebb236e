//! Memory that files and requests choose: how much they take at most, and what happens when an allocation of 16 KiB or more
//! fails. The allocator of this program counts bytes, and fails one allocation that it is told to.
//!
//! Each failure must be [`Error::OutOfMemory`], leave nothing behind, and not disturb the next call. Code of other crates
//! allocates infallibly: it runs inside `memory::with_room`, which checks for its memory first, and is passed over here,
//! unless it calls `memory::reserve` in turn. Who allocates is told by these two names in a backtrace.

#![allow(unsafe_code, reason = "a global allocator")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use detailflow::pixels::FileFormat;
use detailflow::tasks::{BestOf, Round, Scorer};
use detailflow::tokens::{Pack, PackWriter, TokenFile};
use detailflow::{
    Bundle, EncodeOptions, Error, EventKind, Model, Picture, PixelFormat, Result, SubmitOptions, Worker, WorkerOptions,
};

/// Allocations from this size on are counted and may fail.
const LARGE: usize = 16 << 10;

struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Bytes in use, the most of them, and the bytes of large allocations.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static LARGE_LIVE: AtomicIsize = AtomicIsize::new(0);
/// Large allocations until the one that fails; none fails at [`usize::MAX`].
static UNTIL: AtomicUsize = AtomicUsize::new(usize::MAX);
static FAILED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The allocator itself allocates, for a backtrace.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

fn changed(by: isize, size: usize) {
    // The symbols that a backtrace loads stay loaded.
    if INSIDE.get() {
        return;
    }
    let live = LIVE.fetch_add(by, SeqCst) + by;
    PEAK.fetch_max(live, SeqCst);
    if size >= LARGE {
        LARGE_LIVE.fetch_add(by, SeqCst);
    }
}

/// Whether this allocation is the one to fail.
fn fails(size: usize) -> bool {
    if size < LARGE || INSIDE.get() || UNTIL.load(SeqCst) == usize::MAX {
        return false;
    }
    let chosen = UNTIL.fetch_update(SeqCst, SeqCst, |left| if left == usize::MAX { None } else { left.checked_sub(1) });
    if chosen.is_ok() {
        return false;
    }
    INSIDE.set(true);
    let trace = Backtrace::force_capture().to_string();
    let found = |name: &str| trace.find(name).unwrap_or(usize::MAX);
    let theirs = found("memory::with_room") < found("memory::reserve");
    if !theirs {
        UNTIL.store(usize::MAX, SeqCst);
        FAILED.store(true, SeqCst);
        // Where the process is about to abort, if it cannot do without.
        if std::env::var_os("DETAILFLOW_TRACE").is_some() {
            eprintln!("an allocation of {size} bytes fails:\n{trace}");
        }
    }
    drop(trace);
    INSIDE.set(false);
    !theirs
}

// SAFETY: the system's allocator, or null.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return std::ptr::null_mut();
        }
        changed(layout.size() as isize, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails(layout.size()) {
            return std::ptr::null_mut();
        }
        changed(layout.size() as isize, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && fails(size) {
            return std::ptr::null_mut();
        }
        changed(-(layout.size() as isize), layout.size());
        changed(size as isize, size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        changed(-(layout.size() as isize), layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// One test at a time: the counters are those of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The most bytes that `run` had in use beyond those before it.
fn peak<R>(run: impl FnOnce() -> R) -> (R, usize) {
    let before = LIVE.load(SeqCst);
    PEAK.store(before, SeqCst);
    let result = run();
    (result, usize::try_from(PEAK.load(SeqCst) - before).unwrap())
}

/// Runs `run` with each of its large allocations failing in turn, and returns how many there were.
fn each_fails(name: &str, mut run: impl FnMut() -> Result<()>) -> usize {
    // Whatever is kept for later calls is allocated by now.
    for _ in 0..2 {
        run().unwrap();
    }
    let before = LARGE_LIVE.load(SeqCst);
    for failing in 0.. {
        FAILED.store(false, SeqCst);
        UNTIL.store(failing, SeqCst);
        let result = run();
        UNTIL.store(usize::MAX, SeqCst);
        if !FAILED.load(SeqCst) {
            result.unwrap();
            return failing;
        }
        match result {
            // The worker tries again, with less at once.
            Ok(()) | Err(Error::OutOfMemory { .. }) => {}
            other => panic!("{name}, allocation {failing}: {other:?}"),
        }
        run().unwrap_or_else(|error| panic!("{name}, after allocation {failing} failed: {error}"));
        let live = LARGE_LIVE.load(SeqCst);
        assert_eq!(live, before, "{name}: bytes in use after allocation {failing} failed and a run without a failure");
        assert!(failing < 1000, "{name} allocates without end");
    }
    unreachable!()
}

fn model() -> Model {
    common::open(&common::small(), "fp32", "native")
}

/// Pixels that compress badly, with rows of 3 bytes each.
fn noise(width: usize, height: usize) -> Vec<u8> {
    let mut random = common::Random(5);
    (0..width * height * 3).map(|_| random.next() as u8).collect()
}

#[test]
fn open_with_failing_allocations_is_out_of_memory() {
    let _alone = alone();
    each_fails("open", || {
        let options = detailflow::ModelOptions::new().with_threads(1);
        Model::open(common::small(), &options).map(drop)
    });
}

#[test]
fn generate_and_decode_with_failing_allocations_are_out_of_memory() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for (precision, form) in common::FORMS {
        let model = common::open(&common::small(), precision, form);
        let images: Vec<(u32, u64)> = (0..24).map(|index| (index % 3, u64::from(index))).collect();
        let found = each_fails(form, || {
            let mut generation = detailflow::Generation::new(&common::request(&model, &images))?;
            generation.finish()?;
            generation.image(0)?.save(folder.path().join("image.bmp"))?;
            model.decode(generation.tokens(1)?).map(drop)
        });
        assert!(found > 0, "{precision} {form}");
    }
}

#[test]
fn encode_with_failing_allocations_is_out_of_memory() {
    let _alone = alone();
    let model = model();
    let pixels = noise(90, 70);
    let found = each_fails("encode", || {
        let picture = Picture::from_pixels(PixelFormat::Rgb8, 90, 70, &pixels, 270)?;
        model.encode(&picture).map(drop)
    });
    assert!(found > 0);
    let picture = Picture::from_pixels(PixelFormat::Rgb8, 90, 70, &pixels, 270).unwrap();
    let found =
        each_fails("encode_with", || model.encode_with(&picture, EncodeOptions::new().with_effort(1)).map(drop));
    assert!(found > 0);
}

#[test]
fn picture_files_with_failing_allocations_are_out_of_memory() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let pixels = noise(150, 110);
    for extension in ["png", "jpg", "webp", "bmp", "tga", "tiff", "qoi"] {
        let path = folder.path().join(format!("picture.{extension}"));
        let found = each_fails(extension, || {
            detailflow::pixels::save(&path, 150, 110, PixelFormat::Rgb8, &pixels, 450)?;
            Picture::open(&path)?;
            let format = FileFormat::from_path(&path)?;
            let bytes = detailflow::pixels::encode(format, 150, 110, PixelFormat::Rgb8, &pixels, 450)?;
            if extension == "tga" { Ok(()) } else { Picture::decode(&bytes).map(drop) }
        });
        assert!(found > 2, "{extension}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn packs_with_failing_allocations_are_out_of_memory() {
    let _alone = alone();
    let model = model();
    let dft = model.bundle().dft(Some(1), Some(2), common::random_tokens(&model, 3)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack.dftpack");
    let found = each_fails("pack", || {
        let mut writer = PackWriter::create(&path)?;
        for index in 0..3000 {
            writer.add(Some(&format!("image {index}")), &dft)?;
        }
        writer.finish()?;
        let pack = Pack::open(&path)?;
        assert_eq!(pack.len(), 3000);
        pack.find("image 2999").map(drop)
    });
    assert!(found > 0);
}

#[test]
fn best_of_and_repair_with_failing_allocations_are_out_of_memory() {
    let _alone = alone();
    let model = model();
    let images: Vec<(u32, u64)> = (0..300).map(|index| (1, index)).collect();
    let request = common::request(&model, &images);
    let level_size = model.bundle().ladder().levels()[0].size;
    let found = each_fails("best of", || {
        let rounds = [Round { level_size, retained_count: 2 }];
        BestOf::new(&request, &rounds, Scorer::LogProbability)?.finish().map(drop)
    });
    assert!(found > 0);
    let mut dft = model.bundle().dft(Some(1), Some(2), common::random_tokens(&model, 3)).unwrap();
    dft.tokens.truncate(4);
    let all = model.bundle().tokens();
    each_fails("repair", || detailflow::tasks::repair(&request, &dft, all).map(drop));
}

#[test]
fn worker_with_failing_allocations_is_out_of_memory() {
    let _alone = alone();
    let model = model();
    let images: Vec<(u32, u64)> = (0..12).map(|index| (index % 3, u64::from(index))).collect();
    let request = common::request(&model, &images);
    let worker = Worker::new(&WorkerOptions::new().with_threads(1)).unwrap();
    let found = each_fails("worker", || {
        worker.submit(&request, SubmitOptions::new().with_decode(true))?;
        let mut result = Ok(());
        while worker.pending() > 0 {
            let Some(event) = worker.wait(Duration::from_secs(60)) else { panic!("no event in a minute") };
            if let EventKind::Failed(error) = event.kind() {
                result = match error {
                    Error::OutOfMemory { what, bytes } => Err(Error::OutOfMemory { what: what.clone(), bytes: *bytes }),
                    other => panic!("{other:?}"),
                };
            }
        }
        result
    });
    assert!(found > 0);
}

// --- How much memory files take ---

/// A zlib stream of `count` zeros: one literal, and matches of 258 bytes, with the fixed codes.
fn zeros(count: usize) -> Vec<u8> {
    struct Bits(Vec<u8>, u32);
    impl Bits {
        fn put(&mut self, value: u32, count: u32) {
            for bit in (0..count).map(|at| value >> at & 1) {
                if self.1 == 0 {
                    self.0.push(0);
                }
                *self.0.last_mut().unwrap() |= (bit << self.1) as u8;
                self.1 = (self.1 + 1) % 8;
            }
        }
        // A Huffman code: from its highest bit on.
        fn code(&mut self, value: u32, count: u32) {
            self.put(value.reverse_bits() >> (32 - count), count);
        }
    }
    let mut bits = Bits(vec![0x78, 0x01], 0);
    bits.put(0b011, 3);
    let literals = 1 + (count - 1) % 258;
    (0..literals).for_each(|_| bits.code(0x30, 8));
    for _ in 0..(count - literals) / 258 {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    let mut bytes = bits.0;
    bytes.extend((((count % 65521) as u32) << 16 | 1).to_be_bytes());
    bytes
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&name[..], data].concat();
    let sum = !named.iter().fold(!0u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    });
    [&(data.len() as u32).to_be_bytes()[..], &named, &sum.to_be_bytes()].concat()
}

/// A black PNG of grey bytes, with a chunk before its data.
fn black(width: usize, height: usize, before: &[u8]) -> Vec<u8> {
    let head = [&(width as u32).to_be_bytes()[..], &(height as u32).to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    let data = zeros((width + 1) * height);
    [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &head)[..], before, &chunk(b"IDAT", &data), &chunk(b"IEND", b"")].concat()
}

#[test]
fn profiles_and_texts_of_a_png_are_not_inflated() {
    let _alone = alone();
    let bomb = zeros(128 << 20);
    for (name, start) in [(b"iCCP", &b"x\0\0"[..]), (b"zTXt", b"x\0\0"), (b"iTXt", b"x\0\x01\0\0\0")] {
        let chunk = chunk(name, &[start, &bomb].concat());
        let png = black(1, 1, &chunk);
        // Alone, and in an icon.
        let icon = [
            &[0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 32, 0][..],
            &(png.len() as u32).to_le_bytes(),
            &22u32.to_le_bytes(),
            &png,
        ];
        let (picture, most) = peak(|| Picture::decode(&png));
        picture.unwrap();
        assert!(most < 16 << 20, "{most} bytes");
        // Grey, so that it is refused after all, but not before it was read.
        let (picture, most) = peak(|| Picture::decode(&icon.concat()));
        assert!(matches!(picture, Err(Error::Format { .. })) && most < 16 << 20, "{most} bytes");
    }
}

#[test]
fn gif_frame_of_gigabytes_is_refused_before_it_is_allocated() {
    let _alone = alone();
    let gif = std::fs::read(common::data("pictures/large-frame.gif")).unwrap();
    let (picture, most) = peak(|| Picture::decode(&gif));
    let error = picture.unwrap_err();
    assert!(matches!(error, Error::Format { .. }), "{error:?}");
    assert!(error.to_string().contains("the first frame has 32896 x 32896 pixels"), "{error}");
    assert!(most < 1 << 20, "{most} bytes");
}

#[test]
fn large_picture_is_reduced_while_it_is_read() {
    let _alone = alone();
    let png = black(9000, 9000, &[]);
    assert!(png.len() < 1 << 20);
    let (picture, most) = peak(|| Picture::decode(&png));
    picture.unwrap();
    // 3000 x 3000 pixels of 16 bytes; all of them would be 1.3 GB.
    assert!(most < 160 << 20, "{most} bytes");
}

#[test]
fn saving_a_picture_makes_no_copy_in_memory() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let pixels = noise(2000, 2000);
    for extension in ["png", "jpg", "bmp", "tiff"] {
        let path = folder.path().join(format!("picture.{extension}"));
        let save = || detailflow::pixels::save(&path, 2000, 2000, PixelFormat::Rgb8, &pixels, 6000);
        let (saved, most) = peak(save);
        saved.unwrap();
        assert!(most < 4 << 20, "{extension}: {most} bytes");
    }
}

#[test]
fn json_takes_memory_of_about_its_size() {
    let _alone = alone();
    let folder = common::copy(&common::small());
    let path = folder.path().join("detailflow.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    let grown = |count: usize| {
        let mut text = manifest.trim_end().strip_suffix('}').unwrap().to_owned();
        write!(text, ", \"unknown\": [0{}]}}", ",0".repeat(count)).unwrap();
        std::fs::write(&path, &text).unwrap();
        text.len()
    };
    let length = grown(2_000_000);
    let (bundle, most) = peak(|| Bundle::open(folder.path()));
    bundle.unwrap();
    assert!(most < 26 * length, "{most} bytes for {length}");
    let length = grown(2_200_000);
    let error = Bundle::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Bundle { .. }) && error.to_string().contains(&format!("{length} bytes")), "{error}");

    let path = folder.path().join("tokens.json");
    let mut text = String::from("{\"format\": 1, \"bundle\": \"0123456789abcdef\", \"images\": [");
    text.push_str(&vec!["{\"class\":null,\"seed\":null,\"tokens\":[1]}"; 100_000].join(","));
    text.push_str("]}");
    std::fs::write(&path, &text).unwrap();
    let (file, most) = peak(|| TokenFile::open(&path));
    assert_eq!(file.unwrap().images.len(), 100_000);
    assert!(most < 18 * text.len(), "{most} bytes for {}", text.len());
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert!(matches!(TokenFile::open(&path), Err(Error::Format { .. })));
}

#[test]
fn cut_jpeg_is_refused() {
    let _alone = alone();
    let error = Picture::open(common::data("pictures/cut.jpg")).unwrap_err();
    assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("JPEG"), "{error:?}");
}

/// In a process of its own, whose standard error is read.
#[test]
fn tiff_with_text_for_a_number_prints_nothing() {
    let _alone = alone();
    const PATH: &str = "DETAILFLOW_TIFF";
    if let Some(path) = std::env::var_os(PATH) {
        let error = Picture::open(Path::new(&path)).unwrap_err();
        assert!(matches!(error, Error::Format { .. }) && error.to_string().contains("TIFF tag 274"), "{error:?}");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new(program)
        .args(["--exact", "tiff_with_text_for_a_number_prints_nothing", "--nocapture"])
        .env(PATH, common::data("pictures/orientation.tiff"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.is_empty(), "{text}");
}
