//! A token file in memory, as it is and with its CRCs put right: what decodes is encoded again, and decodes to the same.
#![no_main]

use detailflow::tokens::{Dft, kind};
use detailflow_fuzz::mend;
use libfuzzer_sys::fuzz_target;

fn decode(bytes: &[u8]) {
    let _ = kind(bytes);
    let Ok((dft, soundness)) = Dft::decode(bytes) else { return };
    let _ = soundness.to_string();
    if !dft.tokens.is_empty() && dft.geometry.is_prefix(dft.tokens.len()) {
        let again = dft.encode().expect("what decodes can be encoded");
        let (copy, soundness) = Dft::decode(&again).expect("what was encoded decodes");
        assert!(soundness.is_sound());
        assert_eq!(copy, dft);
    }
}

fuzz_target!(|bytes: &[u8]| {
    decode(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    decode(&mended);
});
