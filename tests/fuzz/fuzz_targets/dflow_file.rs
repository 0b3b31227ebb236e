//! Single-file bundles: a small one whose bytes outside the files' content are changed, and any bytes. From memory and through a
//! reader the same: both refuse it, or both open it.
#![no_main]

use std::sync::{Arc, LazyLock};

use detailflow::{Bundle, ReadAt};
use detailflow_fuzz::{Bytes, Edited, scratch, walk};
use libfuzzer_sys::fuzz_target;

/// The bundle as a single file, and where each of its headers and its directory begin.
struct Base {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let edited = Edited::new(&[], false);
    let path = scratch().join("base.dflow");
    Bundle::open(edited.folder()).unwrap().pack(&path, |_, _| true).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let starts = |at: &usize| bytes[*at..].starts_with(b"PK\x03\x04") || bytes[*at..].starts_with(b"PK\x01\x02");
    let mut places: Vec<usize> = (0..bytes.len()).filter(starts).collect();
    places.push(bytes.len() - 22);
    Base { bytes, places }
});

/// A reader that knows its size and nothing else.
struct Reader(Arc<[u8]>);

impl ReadAt for Reader {
    fn size(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

fuzz_target!(|input: &[u8]| {
    let mut input = Bytes(input);
    // A zip file as it is, or changes of one: the place, the offset in it, the byte.
    let file: Arc<[u8]> = if input.u8() & 1 == 0 {
        input.0.into()
    } else {
        let mut file = BASE.bytes.clone();
        while !input.is_empty() {
            let place = BASE.places[usize::from(input.u8()) % BASE.places.len()];
            let (offset, value) = (usize::from(input.u8()), input.u8());
            match value {
                // Rarely a cut.
                255 => file.truncate(place + offset),
                _ => file.get_mut(place + offset).into_iter().for_each(|byte| *byte = value),
            }
        }
        file.into()
    };
    let memory = Bundle::from_memory(file.clone(), "memory");
    let reader = Bundle::from_reader(Reader(file), "reader");
    assert_eq!(memory.is_ok(), reader.is_ok());
    let Ok(bundle) = memory else { return };
    walk(&bundle);
    bundle.verify(|_, _| ()).expect("what is hashed when it is opened is whole");
    let target = scratch().join("packed.dflow");
    bundle.pack(&target, |_, _| true).expect("what is whole can be packed").verify(|_, _| ()).expect("and is whole");
});
