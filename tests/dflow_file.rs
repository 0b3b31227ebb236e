//! Single files that are not what they seem: each is refused, with a sentence that says why.

mod common;

use std::path::PathBuf;

use common::small;
use detailflow::{Bundle, Error, Form, Model, ModelOptions, OpenWatch};

const END: usize = 22;
/// Two files whose names have one length.
const PAIR: [&str; 2] = ["decoder.int8.mha.onnx", "encoder.int8.mha.onnx"];

/// The small bundle as a single file, and where the parts of its directory are.
#[derive(Clone)]
struct File {
    bytes: Vec<u8>,
    /// Of each entry: its record in the directory, and its header.
    entries: Vec<(usize, usize)>,
    directory: usize,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.dflow");
        Bundle::open(small()).unwrap().pack(&path, |_, _| true).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let mut file = Self { entries: Vec::new(), directory: 0, bytes };
        let end = file.bytes.len() - END;
        file.directory = file.u32(end + 16) as usize;
        let mut at = file.directory;
        while at < end {
            file.entries.push((at, file.u32(at + 42) as usize));
            at += 46 + usize::from(file.u16(at + 28)) + usize::from(file.u16(at + 30)) + usize::from(file.u16(at + 32));
        }
        assert!(file.entries.len() > 10);
        file
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn name(&self, entry: usize) -> String {
        let at = self.entries[entry].0;
        String::from_utf8(self.bytes[at + 46..][..usize::from(self.u16(at + 28))].to_vec()).unwrap()
    }

    /// The entry of this name.
    fn find(&self, name: &str) -> usize {
        (0..self.entries.len()).find(|&entry| self.name(entry) == name).unwrap()
    }

    /// The entries [`PAIR`].
    fn pair(&self) -> [usize; 2] {
        PAIR.map(|name| self.find(name))
    }

    /// Gives an entry another name of the same length, in the directory and its header.
    fn rename(&mut self, entry: usize, name: &str) {
        assert_eq!(name.len(), self.name(entry).len());
        let (central, local) = self.entries[entry];
        self.put(central + 46, name.as_bytes());
        self.put(local + 30, name.as_bytes());
    }

    fn open(&self) -> detailflow::Result<Bundle> {
        Bundle::from_memory(self.bytes.clone().into(), "file")
    }
}

fn refused(what: &str, file: &File, words: &str) {
    let error = file.open().expect_err(what);
    assert!(matches!(error, Error::Bundle { .. }), "{what}: {error:?}");
    assert!(error.to_string().contains(words), "{what}: \"{error}\" does not say \"{words}\"");
}

#[test]
fn directory_that_lies_is_refused() {
    type Change = fn(&mut File);
    let cases: [(&str, &str, Change); 22] = [
        ("no zip", "does not end as a zip file", |file| file.bytes.iter_mut().for_each(|byte| *byte = 7)),
        ("a comment", "does not end as a zip file", |file| file.bytes.extend(*b"hello")),
        ("compressed", "is compressed", |file| file.put(file.entries[1].0 + 10, &[8, 0])),
        ("encrypted", "is encrypted", |file| file.put(file.entries[1].0 + 8, &[1, 0])),
        ("lengths behind", "lengths behind", |file| file.put(file.entries[1].0 + 8, &[8, 0])),
        ("unknown flag", "unknown flags", |file| file.put(file.entries[1].0 + 8, &[0, 16])),
        ("header compressed", "another kind", |file| file.put(file.entries[1].1 + 8, &[8, 0])),
        ("header of another name", "another name", |file| file.put(file.entries[1].1 + 30, b"X")),
        ("header of another length", "another length", |file| file.put(file.entries[1].1 + 22, &[1, 2, 3, 4])),
        ("header of another CRC", "another CRC-32", |file| file.put(file.entries[1].1 + 14, &[1, 2, 3, 4])),
        ("no header", "no header", |file| file.put(file.entries[1].1, b"XXXX")),
        ("two lengths", "two lengths", |file| file.put(file.entries[1].0 + 20, &[1, 0, 0, 0])),
        ("2 GB", "outside the file", |file| {
            for at in [20, 24] {
                file.put(file.entries[1].0 + at, &0x8000_0000_u32.to_le_bytes());
            }
            for at in [18, 22] {
                file.put(file.entries[1].1 + at, &0x8000_0000_u32.to_le_bytes());
            }
        }),
        ("64-bit length that is not there", "damaged", |file| file.put(file.entries[1].0 + 24, &[255; 4])),
        ("header far away", "outside the file", |file| {
            file.put(file.entries[1].0 + 42, &0x7FFF_FFFF_u32.to_le_bytes());
        }),
        ("another disk", "another part", |file| file.put(file.entries[1].0 + 34, &[1, 0])),
        ("one entry twice", "is there twice", |file| {
            let [first, second] = file.pair().map(|entry| file.entries[entry].0);
            let record = file.bytes[first..][..46 + PAIR[0].len()].to_vec();
            file.put(second, &record);
        }),
        ("too many entries", "entries", |file| {
            let end = file.bytes.len() - END;
            file.put(end + 8, &[0, 0x20, 0, 0x20]);
        }),
        ("fewer entries than records", "longer than its entries", |file| {
            let end = file.bytes.len() - END;
            file.put(end + 8, &[3, 0, 3, 0]);
        }),
        ("a part of several", "several parts", |file| {
            let end = file.bytes.len() - END;
            file.put(end + 4, &[1, 0]);
        }),
        ("directory elsewhere", "not where its end says", |file| {
            let end = file.bytes.len() - END;
            file.put(end + 16, &[0, 1, 0, 0]);
        }),
        ("64-bit end that is not there", "64-bit end", |file| {
            let end = file.bytes.len() - END;
            file.put(end + 16, &[255; 4]);
        }),
    ];
    let whole = File::new();
    whole.open().unwrap();
    for (what, words, change) in cases {
        let mut file = whole.clone();
        change(&mut file);
        refused(what, &file, words);
    }
}

#[test]
fn names_that_leave_the_bundle_are_refused() {
    let whole = File::new();
    let entry = whole.find("ar.int8.native.onnx");
    let name = whole.name(entry);
    for start in ["../", "/", "a/", "..\\", "C:", "a\0"] {
        let mut file = whole.clone();
        file.rename(entry, &format!("{start}{}", &name[start.len()..]));
        refused(start, &file, "no plain file name");
    }
    // As long as it is, a name of dots alone is a name; a missing file is missing.
    let mut file = whole.clone();
    file.rename(entry, &"x".repeat(name.len()));
    refused("missing", &file, "is missing");
    let mut file = whole;
    let manifest = file.find("detailflow.json");
    file.rename(manifest, "detailflow.jsoN");
    assert!(matches!(file.open(), Err(Error::NotFound { .. })));
}

#[test]
fn entries_that_overlap_or_are_not_aligned_are_refused() {
    let whole = File::new();
    // The second file is said to lie where the first does, with its header: the first one's header has another name.
    let mut file = whole.clone();
    let [first, second] = file.pair().map(|entry| file.entries[entry].0);
    let record = file.bytes[first..][..46].to_vec();
    for range in [14..28, 42..46] {
        file.put(second + range.start, &record[range]);
    }
    refused("two entries at one place", &file, "another name");

    // A header inside the data of another entry, complete and right.
    let mut file = whole.clone();
    let (central, local) = file.entries[2];
    let (_, large) = file.entries[file.find("weights.fp32.bin")];
    let length = 30 + usize::from(file.u16(local + 26)) + usize::from(file.u16(local + 28));
    let header = file.bytes[local..local + length].to_vec();
    let data = large + 30 + usize::from(file.u16(large + 26)) + usize::from(file.u16(large + 28));
    let inside = data + (4096 - (data + length) % 4096) % 4096;
    file.put(inside, &header);
    file.put(central + 42, &(inside as u32).to_le_bytes());
    refused("a header within another entry", &file, "overlap");

    // One more byte before the data.
    let mut file = whole;
    let (_, local) = file.entries[1];
    let extra = file.u16(local + 28) - 1;
    file.put(local + 28, &extra.to_le_bytes());
    refused("not aligned", &file, "no multiple of 4096");
}

#[test]
fn content_that_is_not_that_of_the_manifest_is_refused() {
    let whole = File::new();
    for (name, words) in
        [("weights.int8.bin", "CRC-32"), ("ar.int8.native.onnx", "CRC-32"), ("detailflow.json", "CRC-32")]
    {
        let mut file = whole.clone();
        let (central, local) = file.entries[file.find(name)];
        let data = local + 30 + usize::from(file.u16(local + 26)) + usize::from(file.u16(local + 28));
        file.bytes[data + 100] ^= 1;
        refused(name, &file, words);
        // With the CRC put right the hash tells, and the manifest is no longer what it was.
        let mut crc = !0u32;
        for &byte in &file.bytes[data..data + file.u32(central + 24) as usize] {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 != 0 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        file.put(central + 16, &(!crc).to_le_bytes());
        file.put(local + 14, &(!crc).to_le_bytes());
        if name != "detailflow.json" {
            refused(name, &file, "SHA-256");
        }
    }
}

#[test]
fn every_cut_is_refused() {
    let whole = File::new();
    let length = whole.bytes.len();
    for cut in (0..length).filter(|&cut| cut >= whole.directory || cut % 4096 < 2) {
        let mut file = whole.clone();
        file.bytes.truncate(cut);
        refused(&format!("cut to {cut} of {length}"), &file, "");
    }
}

#[test]
fn file_that_is_no_bundle_is_refused_by_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (name, bytes) in [("empty.dflow", &b""[..]), ("text.dflow", b"hello"), ("long.dflow", &[0; 5000])] {
        let error = Bundle::open(path(name, bytes)).unwrap_err();
        assert!(matches!(&error, Error::Bundle { .. }), "{error:?}");
        assert!(error.to_string().contains(name) && error.to_string().contains("single-file bundle"), "{error}");
    }
    assert!(matches!(Bundle::open(folder.path().join("none.dflow")), Err(Error::NotFound { .. })));
    assert!(matches!(Bundle::open(folder.path().join("text.dflow/x")), Err(Error::NotFound { .. })));
}

/// A graph that takes weights from a file that the manifest does not list, or from beyond the end of one that it does.
#[test]
fn graph_that_reaches_out_of_its_files_is_refused() {
    const DECODER: &str = "decoder.int8.native.onnx";
    let folder = common::copy(&small());
    common::replace_in(folder.path(), DECODER, "weights.int8.bin", "weights.intX.bin");
    let opened = Bundle::open(folder.path());
    assert!(matches!(opened, Err(Error::Bundle { reason, .. }) if reason.contains("weights.intX.bin")));

    // An offset that is within the single file, but not within the weights.
    let folder = common::copy(&small());
    let mut graph = std::fs::read(folder.path().join(DECODER)).unwrap();
    // In the protobuf: "offset", a field tag, a length, decimal digits.
    let places = (8..graph.len()).filter(|&at| graph[at - 8..].starts_with(b"offset"));
    let at = places.max_by_key(|&at| graph[at - 1]).unwrap();
    let digits = usize::from(graph[at - 1]);
    graph[at..at + digits].fill(b'9');
    let weights = std::fs::metadata(folder.path().join("weights.int8.bin")).unwrap().len();
    assert!(10u64.pow(digits as u32) > weights, "the offset {} is within the weights", "9".repeat(digits));
    std::fs::write(folder.path().join(DECODER), graph).unwrap();
    common::list_again(folder.path());
    let other = tempfile::tempdir().unwrap();
    let packed = other.path().join("out.dflow");
    Bundle::open(folder.path()).unwrap().pack(&packed, |_, _| true).unwrap();
    let options = ModelOptions::new().with_precision("int8").with_form(Form::Native).with_threads(1);
    let bytes = std::fs::read(&packed).unwrap();
    let opened = [
        Model::open(folder.path(), &options),
        Model::open(&packed, &options),
        Model::open_memory(bytes.into(), "block", &options, OpenWatch::new()),
    ];
    for opened in opened {
        let error = opened.expect_err("the decoder reaches out of the weights");
        assert!(matches!(error, Error::Bundle { .. }), "{error:?}");
    }
}
