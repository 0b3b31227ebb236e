//! A pack in memory: all entries by number and name; and the entries that salvage finds.
#![no_main]

use detailflow::tokens::{Pack, Salvage};
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
    if let Ok(salvage) = Salvage::from_source(bytes, "pack") {
        let mut last = None;
        for found in salvage {
            let Ok(found) = found else { break };
            assert!(last < Some(found.at), "salvage goes forward");
            last = Some(found.at);
        }
    }
});
