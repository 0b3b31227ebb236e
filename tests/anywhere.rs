//! Bundles that are no folders: a single file, memory, a reader.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{data, request, sample, small};
use detailflow::{
    Bundle, EncodeOptions, Error, Model, ModelOptions, OpenCancel, OpenWatch, Picture, PixelFormat, ReadAt, Request,
};

fn options(precision: &str, form: &str) -> ModelOptions {
    ModelOptions::new().with_precision(precision).with_form(form.parse().unwrap()).with_threads(1)
}

fn grey() -> Picture {
    Picture::from_pixels(PixelFormat::Rgb8, 1, 1, &[128; 3], 3).unwrap()
}

/// The small bundle as a single file.
fn packed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.dflow");
    Bundle::open(small()).unwrap().pack(&path, |_, _| true).unwrap();
    (folder, path)
}

fn bytes(path: &Path) -> Arc<[u8]> {
    std::fs::read(path).unwrap().into()
}

/// What a model samples and encodes; the search reads the codebook of the bundle.
fn results(model: &Model) -> (Vec<Vec<u32>>, [Vec<u32>; 2]) {
    let searched = model.encode_with(&grey(), EncodeOptions::new().with_effort(2)).unwrap();
    (sample(&request(model, &[(0, 1), (1, 2)])), [model.encode(&grey()).unwrap(), searched])
}

/// A reader that counts, and that fails from some read on.
struct Reader {
    bytes: Arc<[u8]>,
    says: u64,
    reads: Arc<AtomicUsize>,
    most: usize,
    closed: Arc<AtomicBool>,
}

impl Reader {
    fn new(bytes: &Arc<[u8]>) -> Self {
        let (reads, closed) = Default::default();
        Self { bytes: bytes.clone(), says: bytes.len() as u64, reads, most: usize::MAX, closed }
    }
}

impl ReadAt for Reader {
    fn size(&self) -> std::io::Result<u64> {
        Ok(self.says)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        assert!(!self.closed.load(Ordering::SeqCst), "read after the opening");
        if self.reads.fetch_add(1, Ordering::SeqCst) >= self.most {
            return Err(std::io::Error::other("the medium was removed"));
        }
        self.bytes.read_exact_at(buffer, offset)
    }
}

#[test]
fn same_tokens_from_folder_file_memory_and_reader() {
    let (_folder, path) = packed();
    let bytes = bytes(&path);
    for (precision, form) in common::FORMS {
        let options = options(precision, form);
        let wanted = results(&Model::open(small(), &options).unwrap());
        let by_manifest = Model::open(small().join("detailflow.json"), &options).unwrap();
        assert_eq!(by_manifest.bundle().path(), small());
        assert_eq!(results(&by_manifest), wanted);
        let file = Model::open(&path, &options).unwrap();
        assert_eq!(file.bundle().path(), path);
        assert_eq!(results(&file), wanted, "{precision} {form}, a single file");
        let copied = Model::open(&path, &options.clone().with_weights_in_memory(true)).unwrap();
        assert_eq!(results(&copied), wanted);
        let memory = Model::open_memory(bytes.clone(), "block", &options, OpenWatch::new()).unwrap();
        assert_eq!(memory.bundle().path(), Path::new("block"));
        assert_eq!(results(&memory), wanted, "{precision} {form}, memory");
        let reader = Reader::new(&bytes);
        let closed = reader.closed.clone();
        let model = Model::open_reader(reader, "archive", &options, OpenWatch::new()).unwrap();
        closed.store(true, Ordering::SeqCst);
        assert_eq!(Arc::strong_count(&closed), 1, "the reader is dropped");
        assert_eq!(results(&model), wanted, "{precision} {form}, a reader");
        assert!(matches!(model.bundle().verify(|_, _| {}), Err(Error::State(_))));
    }
}

#[test]
fn pack_and_unpack_give_the_same_bytes_each_time() {
    let (folder, path) = packed();
    let [other, back] = ["other.dflow", "back"].map(|name| folder.path().join(name));
    let bundle = Bundle::open(&path).unwrap();
    bundle.verify(|_, _| {}).unwrap();
    let mut seen = (0, 0);
    let unpacked = bundle.unpack(&back, |done, total| {
        seen = (done, total);
        true
    });
    assert!(seen.0 == seen.1 && seen.0 > 0);
    unpacked.unwrap().pack(&other, |_, _| true).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&other).unwrap());
    for file in std::fs::read_dir(&back).unwrap() {
        let file = file.unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), std::fs::read(small().join(file.file_name())).unwrap());
    }
    // Again, over the old ones.
    bundle.unpack(&back, |_, _| true).unwrap();
    bundle.pack(&other, |_, _| true).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn pack_and_unpack_refuse_what_would_lose_something() {
    let (folder, path) = packed();
    let bundle = Bundle::open(&path).unwrap();
    let refused = |result: detailflow::Result<Bundle>| matches!(result, Err(Error::Invalid(_)));
    assert!(refused(bundle.pack(&path, |_, _| true)), "onto itself");
    assert!(refused(bundle.pack(folder.path(), |_, _| true)), "onto a folder");
    assert!(refused(bundle.unpack(folder.path(), |_, _| true)), "onto the folder that it lies in");
    assert!(refused(bundle.unpack(&path, |_, _| true)), "onto a file");
    let copy = common::copy(&small());
    let own = Bundle::open(copy.path()).unwrap();
    assert!(refused(own.pack(copy.path().join("weights.fp32.bin"), |_, _| true)), "onto a file of its own");
    let new = folder.path().join("new.dflow");
    let cancelled = bundle.pack(&new, |_, _| false);
    assert!(matches!(cancelled, Err(Error::Cancelled)) && !new.exists());
    let cancelled = bundle.unpack(folder.path().join("new"), |_, _| false);
    assert!(matches!(cancelled, Err(Error::Cancelled)) && !folder.path().join("new").exists());
    // A file that changed after it was opened.
    let weights = copy.path().join("weights.fp32.bin");
    let mut content = std::fs::read(&weights).unwrap();
    content[0] ^= 1;
    std::fs::write(&weights, content).unwrap();
    assert!(matches!(own.pack(&new, |_, _| true), Err(Error::Bundle { .. })) && !new.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn strip_reads_and_writes_single_files() {
    let (folder, path) = packed();
    let bundle = Bundle::open(&path).unwrap();
    let [to_folder, to_file] = ["stripped", "stripped.dflow"].map(|name| folder.path().join(name));
    let from_folder = Bundle::open(small()).unwrap().strip(folder.path().join("wanted"), None, |_, _| true).unwrap();
    let one = bundle.strip(&to_folder, None, |_, _| true).unwrap();
    let two = bundle.strip(&to_file, None, |_, _| true).unwrap();
    assert!(to_folder.is_dir() && to_file.is_file());
    for stripped in [&one, &two] {
        stripped.verify(|_, _| {}).unwrap();
        assert!(!stripped.can_generate() && !stripped.can_encode());
        let hashes = |bundle: &Bundle| bundle.files().iter().map(|file| file.sha256.clone()).collect::<Vec<_>>();
        assert_eq!(hashes(stripped), hashes(&from_folder));
    }
    let tokens: Vec<u32> = (0..16).collect();
    let full = Model::open(small(), &ModelOptions::new()).unwrap().decode(&tokens).unwrap();
    assert_eq!(Model::open(&to_file, &ModelOptions::new()).unwrap().decode(&tokens).unwrap().planes(), full.planes());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing else is left");
}

#[test]
fn file_that_was_replaced_is_used_as_it_was_opened() {
    let (_folder, path) = packed();
    let options = options("int8", "native");
    let model = Model::open(&path, &options).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    let wanted = results(&Model::open(small(), &options).unwrap());
    // Another bundle takes the name; its weights are others and lie elsewhere.
    Bundle::open(data("tiny-16/bundle")).unwrap().pack(&path, |_, _| true).unwrap();
    assert_eq!(results(&model), wanted, "the encoder is compiled after the file was replaced");
    assert_eq!(results(&Model::from_bundle(bundle, &options).unwrap()), wanted);
    assert_ne!(Bundle::open(&path).unwrap().name(), model.bundle().name());
}

#[test]
fn model_without_encoder_does_not_encode() {
    let (_folder, path) = packed();
    let bytes = bytes(&path);
    let plain = options("fp32", "plain");
    let with = |encoder: bool| {
        let reader = Reader::new(&bytes);
        let reads = reader.reads.clone();
        let options = plain.clone().with_encoder(encoder);
        let model = Model::open_reader(reader, "archive", &options, OpenWatch::new()).unwrap();
        (model, reads.load(Ordering::SeqCst))
    };
    let ((without, few), (with, many)) = (with(false), with(true));
    assert!(few < many, "{few} reads without the encoder, {many} with it");
    assert!(with.can_encode() && !without.can_encode());
    assert!(matches!(without.encode(&grey()), Err(Error::State(text)) if text.contains("without its encoder")));
    with.encode(&grey()).unwrap();
    let model = Model::open(&path, &plain.with_encoder(false)).unwrap();
    assert!(!model.can_encode() && matches!(model.encode(&grey()), Err(Error::State(_))));
}

#[test]
fn reader_that_fails_or_lies_is_an_error() {
    let (_folder, path) = packed();
    let bytes = bytes(&path);
    let options = options("int8", "native");
    let all = Reader::new(&bytes);
    let reads = all.reads.clone();
    Model::open_reader(all, "archive", &options, OpenWatch::new()).unwrap();
    let all = reads.load(Ordering::SeqCst);
    for most in (0..all).step_by(all / 20 + 1).chain([all - 1]) {
        let reader = Reader { most, ..Reader::new(&bytes) };
        let error = Model::open_reader(reader, "archive", &options, OpenWatch::new()).unwrap_err();
        assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("removed"), "read {most}: {error}");
    }
    let length = bytes.len() as u64;
    for says in [0, 1, 21, 22, 4096, length - 1, length + 1, 2 << 30, 1 << 40, u64::MAX] {
        let reader = Reader { says, ..Reader::new(&bytes) };
        let error = Model::open_reader(reader, "archive", &options, OpenWatch::new()).unwrap_err();
        assert!(matches!(error, Error::Bundle { .. }), "says {says}: {error:?}");
    }
}

#[test]
fn opening_from_a_reader_is_cancelled_at_the_next_read() {
    let (_folder, path) = packed();
    let bytes = bytes(&path);
    struct Cancelling(Reader, OpenCancel);
    impl ReadAt for Cancelling {
        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
            if self.0.reads.load(Ordering::SeqCst) == 7 {
                self.1.cancel();
            }
            self.0.read_exact_at(buffer, offset)
        }
    }
    let (cancel, reader) = (OpenCancel::new(), Reader::new(&bytes));
    let reads = reader.reads.clone();
    let mut stages = 0;
    let watch = OpenWatch::new().with_cancel(cancel.clone()).with_progress(|_| stages += 1);
    let opened = Model::open_reader(Cancelling(reader, cancel), "archive", &ModelOptions::new(), watch);
    assert!(matches!(opened, Err(Error::Cancelled)), "{opened:?}");
    assert_eq!((reads.load(Ordering::SeqCst), stages), (8, 1));
}

#[test]
fn requests_outlive_the_name_of_the_block() {
    let (folder, path) = packed();
    let block = bytes(&path);
    drop(folder);
    let weak = Arc::downgrade(&block);
    let model = Model::open_memory(block, "block", &options("fp32", "mha"), OpenWatch::new()).unwrap();
    let request = Request::new(&model);
    drop(model);
    assert!(weak.upgrade().is_some(), "the encoder may still be compiled from it");
    drop(request);
    assert!(weak.upgrade().is_none());
}
