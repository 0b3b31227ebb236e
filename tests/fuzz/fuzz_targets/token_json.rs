//! A token file as JSON: read, checked against a bundle, written, read again.
#![no_main]

use std::sync::LazyLock;

use detailflow::Bundle;
use detailflow::tokens::{TokenFile, open_any};
use detailflow_fuzz::{data, scratch};
use libfuzzer_sys::fuzz_target;

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle::open(data("small")).unwrap());

fuzz_target!(|bytes: &[u8]| {
    let path = scratch().join("tokens.json");
    std::fs::write(&path, bytes).unwrap();
    let _ = open_any(&path);
    let Ok(file) = TokenFile::open(&path) else { return };
    let _ = BUNDLE.check_token_file(&file);
    for image in &file.images {
        if let Ok(dft) = BUNDLE.dft_from_image(image) {
            let _ = dft.encode();
        }
    }
    file.save(&path).expect("what was read can be written");
    assert_eq!(TokenFile::open(&path).expect("what was written can be read"), file);
});
