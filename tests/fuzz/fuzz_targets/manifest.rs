//! The bytes of a manifest, in a folder that has the other files of the small bundle, empty: hashing them takes no time.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use detailflow::Bundle;
use detailflow_fuzz::{data, scratch, walk};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = scratch().join("empty");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(data("small")).unwrap() {
        std::fs::write(folder.join(entry.unwrap().file_name()), b"").unwrap();
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(FOLDER.join("detailflow.json"), bytes).unwrap();
    if let Ok(bundle) = Bundle::open(&*FOLDER) {
        walk(&bundle);
    }
});
