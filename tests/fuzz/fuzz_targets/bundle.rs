//! A bundle whose manifest and files are changed value by value, the lengths and hashes put right or not: opened, verified,
//! stripped, and the stripped one opened.
#![no_main]

use detailflow::Bundle;
use detailflow_fuzz::{Edited, scratch, walk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let edited = Edited::new(bytes, false);
    let Ok(bundle) = Bundle::open(edited.folder()) else { return };
    walk(&bundle);
    let _ = bundle.verify(|_, _| ());
    let precision = bytes.first().and_then(|byte| [None, Some("fp32"), Some("int8"), Some("x")][usize::from(byte & 3)]);
    let target = scratch().join("stripped");
    if let Ok(stripped) = bundle.strip(&target, precision, |_, _| true) {
        assert!(!stripped.can_generate());
        walk(&stripped);
        Bundle::open(&target).expect("what was stripped can be opened").verify(|_, _| ()).expect("and is whole");
    }
});
