//! A picture file. The first byte chooses a format, and so the extension; with some of them the signature is put right.
#![no_main]

use std::sync::Once;

use detailflow::Picture;
use detailflow_fuzz::scratch;
use libfuzzer_sys::fuzz_target;

/// A decoder may panic, as long as the library makes an error of it: libFuzzer's hook would end the process before.
static QUIET: Once = Once::new();

/// Extensions, and how files of the format begin.
const FORMATS: [(&str, &[u8]); 10] = [
    ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ("jpg", b"\xff\xd8\xff"),
    ("webp", b"RIFF"),
    ("bmp", b"BM"),
    ("tga", b""),
    ("tiff", b"II*\0"),
    ("qoi", b"qoif"),
    ("gif", b"GIF89a"),
    ("ico", b"\0\0\x01\0"),
    ("ppm", b"P6"),
];

fuzz_target!(|bytes: &[u8]| {
    QUIET.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let (extension, signature) = FORMATS[usize::from(choice & 15) % FORMATS.len()];
    let mut bytes = bytes.to_vec();
    if choice & 16 != 0 && bytes.len() > signature.len() {
        bytes[..signature.len()].copy_from_slice(signature);
    }
    let _ = if extension == "tga" {
        let path = scratch().join("picture.tga");
        std::fs::write(&path, &bytes).unwrap();
        Picture::open(&path).map(drop)
    } else {
        Picture::decode(&bytes).map(drop)
    };
});
