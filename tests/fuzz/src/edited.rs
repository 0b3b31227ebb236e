//! A part of the small bundle, with the changes that an input names.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Bytes, data, scratch};

const MANIFEST: &str = "detailflow.json";

/// The bundle that is changed: two variants of one precision, so that opening it does not hash much.
struct Base {
    folder: PathBuf,
    manifest: Value,
    paths: Vec<String>,
}

static BASE: LazyLock<Base> = LazyLock::new(|| {
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(original(MANIFEST)).unwrap()).unwrap();
    let variants = manifest["variants"].as_array_mut().unwrap();
    variants.retain(|variant| {
        variant["precision"] == "int8" && (variant["form"] == "native" || variant["form"] == "plain")
    });
    assert_eq!(variants.len(), 2);
    let used = serde_json::to_string(&manifest["variants"]).unwrap();
    manifest.as_object_mut().unwrap().remove("draw");
    let files = manifest["files"].as_array_mut().unwrap();
    files.retain(|file| {
        let path = file["path"].as_str().unwrap();
        path == "weights.int8.bin" || used.contains(&format!("\"{path}\""))
    });
    let paths: Vec<String> = files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect();
    let folder = scratch().join("bundle");
    std::fs::create_dir_all(&folder).unwrap();
    for path in &paths {
        std::fs::copy(original(path), folder.join(path)).unwrap();
    }
    Base { folder, manifest, paths }
});

/// The changed bundle; dropping it puts the files back.
pub struct Edited {
    changed: Vec<String>,
}

impl Edited {
    /// `graphs_only`: changes bytes of graphs, and always puts their lengths and hashes right.
    pub fn new(input: &[u8], graphs_only: bool) -> Self {
        let mut edited = Self { changed: Vec::new() };
        let mut bytes = Bytes(input);
        let flags = bytes.u8();
        let Base { folder, manifest, paths } = &*BASE;
        let mut manifest = manifest.clone();
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        while !bytes.is_empty() {
            let choice = bytes.u8();
            if graphs_only || choice & 3 == 3 {
                let graphs: Vec<&String> = paths.iter().filter(|path| path.ends_with(".onnx")).collect();
                let path = if graphs_only {
                    graphs[usize::from(choice) % graphs.len()]
                } else {
                    &paths[usize::from(choice >> 2) % paths.len()]
                };
                let at = files.iter().position(|(name, _)| name == path).unwrap_or_else(|| {
                    files.push((path.clone(), std::fs::read(original(path)).unwrap()));
                    files.len() - 1
                });
                edit_bytes(&mut files[at].1, &mut bytes);
            } else {
                edit_value(pick(&mut manifest, &mut bytes), &mut bytes);
            }
        }
        for (path, content) in &files {
            if (graphs_only || flags & 4 == 0)
                && let Some(entries) = manifest.get_mut("files").and_then(Value::as_array_mut)
                && let Some(entry) = entries.iter_mut().find(|entry| entry["path"] == **path)
            {
                let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
                entry["length"] = json!(content.len());
                entry["sha256"] = json!(hash);
            }
            std::fs::write(folder.join(path), content).unwrap();
            edited.changed.push(path.clone());
        }
        std::fs::write(folder.join(MANIFEST), serde_json::to_vec(&manifest).unwrap()).unwrap();
        edited
    }

    pub fn folder(&self) -> &'static Path {
        &BASE.folder
    }
}

impl Drop for Edited {
    fn drop(&mut self) {
        for path in &self.changed {
            std::fs::copy(original(path), BASE.folder.join(path)).unwrap();
        }
    }
}

fn original(name: &str) -> PathBuf {
    data("small").join(name)
}

/// Replaces, removes or inserts bytes.
fn edit_bytes(content: &mut Vec<u8>, bytes: &mut Bytes) {
    let (kind, at) = (bytes.u8(), usize::from(bytes.u16()));
    let at = at % content.len().max(1);
    match kind {
        0..=159 if !content.is_empty() => content[at] = bytes.u8(),
        160..=207 if !content.is_empty() => content[at] ^= 1 << (kind & 7),
        208..=223 => content.truncate(at),
        224..=239 if !content.is_empty() => {
            let end = (at + usize::from(bytes.u8())).min(content.len());
            content.drain(at..end);
        }
        _ => {
            let length = bytes.below(32);
            content.splice(at.min(content.len())..at.min(content.len()), bytes.take(length).iter().copied());
        }
    }
}

/// A value of the manifest: at each depth a byte chooses.
fn pick<'a>(mut value: &'a mut Value, bytes: &mut Bytes) -> &'a mut Value {
    loop {
        let choice = usize::from(bytes.u8());
        let length = match value {
            Value::Object(object) => object.len(),
            Value::Array(array) => array.len(),
            _ => 0,
        };
        if length == 0 || choice == 255 {
            return value;
        }
        value = match value {
            Value::Object(object) => object.values_mut().nth(choice % length).unwrap(),
            Value::Array(array) => &mut array[choice % length],
            _ => unreachable!(),
        };
    }
}

/// Changes a value: another number or text, another type, one more or one less.
fn edit_value(value: &mut Value, bytes: &mut Bytes) {
    const TEXTS: [&str; 16] = [
        "",
        "..",
        "../x",
        "/",
        "a/b",
        "detailflow.json",
        "weights.fp32.bin",
        "fp32",
        "int8",
        "native",
        "plain",
        "\0",
        "\u{1b}",
        "\u{feff}",
        "con",
        "x",
    ];
    let choice = bytes.u8();
    match (choice & 7, &mut *value) {
        (0, _) => *value = Value::Null,
        (1, _) => *value = json!(bytes.number()),
        (2, _) => *value = json!(bytes.float()),
        (3, _) => *value = json!(TEXTS[bytes.below(16)]),
        (4, Value::Array(array)) if !array.is_empty() => {
            let at = bytes.below(array.len());
            if choice & 8 == 0 {
                let copy = array[at].clone();
                array.push(copy);
            } else {
                array.remove(at);
            }
        }
        (4, Value::Object(object)) if !object.is_empty() => {
            let key = object.keys().nth(bytes.below(object.len())).unwrap().clone();
            let removed = object.remove(&key);
            if choice & 8 == 0 {
                object.insert(TEXTS[bytes.below(16)].into(), removed.unwrap());
            }
        }
        (5, Value::Number(number)) => {
            let change = i64::from(bytes.u8()) - 128;
            *value = json!(number.as_i64().unwrap_or(0).wrapping_add(change));
        }
        (6, Value::String(text)) => {
            let at = bytes.below(text.chars().count() + 1);
            let mut chars: Vec<char> = text.chars().collect();
            chars.insert(at, char::from_u32(bytes.number() as u32).unwrap_or('\u{fffd}'));
            *text = chars.into_iter().collect();
        }
        _ => *value = json!([bytes.number()]),
    }
}
