//! A pack in memory: all entries by number and name; and the entries that salvage finds, also with the CRCs of the token files
//! in it put right.
#![no_main]

use detailflow::tokens::{Pack, Salvage};
use detailflow_fuzz::mend;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pack) = Pack::from_source(bytes, "pack") {
        // A footer may promise billions of entries.
        for number in (0..pack.len().min(64)).chain(pack.len().checked_sub(1)) {
            let encoded = pack.encoded(number);
            if let Ok(entry) = pack.get(number) {
                assert!(encoded.is_ok());
                assert_eq!(entry.number, number);
            }
            if let Ok(Some(name)) = pack.name(number) {
                let _ = pack.find(&name);
            }
        }
        for name in ["", "potion", "a/b"] {
            let _ = pack.find(name);
        }
    }
    salvage(bytes);
    let mut mended = bytes.to_vec();
    let starts: Vec<usize> =
        bytes.windows(4).enumerate().filter(|(_, word)| word == b"DFT\x01").map(|(at, _)| at).collect();
    for &at in starts.iter().take(16) {
        mend(&mut mended[at..]);
    }
    salvage(&mended);
});

fn salvage(bytes: &[u8]) {
    if let Ok(salvage) = Salvage::from_source(bytes, "pack") {
        let mut last = None;
        for found in salvage {
            let Ok(found) = found else { break };
            assert!(last < Some(found.at), "salvage goes forward");
            last = Some(found.at);
        }
    }
}
