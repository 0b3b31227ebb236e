//! What several fuzz targets need: fixtures, a scratch folder, and a decoder from bytes to values.

pub mod api;
mod crc;
mod edited;

pub use crc::mend;
pub use edited::Edited;

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use detailflow::{Bundle, Model, ModelOptions};

/// Values from the bytes of an input; zeros after its end.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Up to `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// One of `0..end`, from one byte.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end
    }

    /// A small number mostly, else one at a limit, else any.
    pub fn number(&mut self) -> u64 {
        const LIMITS: [u64; 16] = [
            0,
            1,
            63,
            64,
            65,
            1 << 20,
            (1 << 20) + 1,
            1 << 31,
            u32::MAX as u64 - 1,
            u32::MAX as u64,
            1 << 32,
            1 << 53,
            i64::MAX as u64,
            1 << 63,
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.u8() {
            small @ 0..=223 => u64::from(small),
            limit @ 224..=239 => LIMITS[usize::from(limit) - 224],
            _ => u64::from_le_bytes(self.array()),
        }
    }

    /// A number of 0 to 4 in steps of 1/32 mostly, else an extreme one, else any.
    pub fn float(&mut self) -> f32 {
        const LIMITS: [f32; 16] = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            -0.0,
            -1.0,
            f32::MIN_POSITIVE,
            1e-45,
            f32::EPSILON,
            f32::MAX,
            f32::MIN,
            1000.0,
            1000.001,
            0.999_999_94,
            1.000_000_1,
            1e30,
            16_777_216.0,
        ];
        match self.u8() {
            small @ 0..=127 => f32::from(small) / 32.0,
            limit @ 128..=159 => LIMITS[usize::from(limit - 128) / 2],
            _ => f32::from_le_bytes(self.array()),
        }
    }
}

/// A file or folder below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name)
}

/// A folder of this process, below the system's folder for temporary files.
pub fn scratch() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = std::env::temp_dir().join(format!("detailflow-fuzz-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    });
    &FOLDER
}

/// The small bundle, open: form `native`, one thread.
pub fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        find_runtime();
        Model::open(data("small"), &ModelOptions::new().with_threads(1)).unwrap()
    })
}

/// Names the checkout's ONNX Runtime, unless the environment names another.
pub fn find_runtime() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        if std::env::var_os("ORT_DYLIB_PATH").is_none() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/runtime/libonnxruntime.so");
            // SAFETY: no other thread of the target runs yet.
            unsafe { std::env::set_var("ORT_DYLIB_PATH", path) };
        }
    });
}

/// Uses everything that a bundle tells.
pub fn walk(bundle: &Bundle) {
    for (index, name) in bundle.classes().iter().enumerate() {
        assert_eq!(bundle.class(name).expect("a class is found by its name"), index as u32);
    }
    for text in ["", "0", "99999999999", "none"] {
        let _ = bundle.class(text);
    }
    for prefix in bundle.ladder().prefixes() {
        assert!(bundle.geometry().is_prefix(prefix.tokens));
        assert_eq!(bundle.ladder().prefix(prefix.tokens), Some(*prefix));
    }
    for level in bundle.ladder().levels() {
        assert_eq!(bundle.ladder().level(level.size), Some(*level));
    }
    let _ =
        (bundle.step_weights(), bundle.encode_work(), bundle.judged(), bundle.sampling(), bundle.check_can_generate());
    let tokens = vec![0; bundle.tokens().min(1 << 16)];
    if let Ok(dft) = bundle.dft(Some(0), Some(1), tokens) {
        let _ = dft.encode();
        let _ = bundle.check_dft(&dft);
    }
    let _ = format!("{bundle:?}");
}
