//! Cut a bundle down to its decoder, for whoever ships tokens: no graph is rewritten, because the decoder's weights lead
//! each weight file.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::files::{self, FileEntry};
use super::manifest::FILE;
use super::{Bundle, Variant};
use crate::support::error::{Error, Result};
use crate::support::files::NewFolder;

/// What of the manifest goes; `ids` and `sampling` are about drawing.
const GONE: [&str; 6] = ["ar", "draw", "encoder", "ids", "judged", "sampling"];

impl Bundle {
    /// Writes a bundle that holds the decoder alone into the folder `target`: it decodes tokens, bit for bit as this one
    /// does, and cannot draw or encode. `precision` keeps that one; none keeps all. Class names, licence note and
    /// tokenizer ID stay. Every byte of the files that are needed is checked against the manifest on the way.
    ///
    /// It is written beside its place and renamed when it is whole; whatever fails, `target` is as it was. `progress` is
    /// told the bytes read so far and their total, and stops it by giving false.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `target` is there and is neither an empty folder nor a bundle, or is this bundle itself, or
    /// there is no such precision; [`Error::Bundle`] when a file is not what the manifest says, or the manifest does not
    /// say which part of the weights is the decoder's; [`Error::Io`] when the system refuses; [`Error::Cancelled`] when
    /// `progress` stopped it.
    pub fn strip(
        &self,
        target: impl AsRef<Path>,
        precision: Option<&str>,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Self> {
        let target = target.as_ref();
        check_place(&self.path, target)?;
        let variants = self.kept(precision)?;
        let parts = self.parts(&variants)?;
        let folder = NewFolder::create(target)?;
        let total = parts.iter().fold(0u64, |sum, (file, _)| sum.saturating_add(file.length));
        let mut done = 0;
        let mut written = Vec::new();
        for (file, length) in parts {
            let told = |read| progress(done + read, total);
            let sha256 = files::copy(&self.path, file, folder.path(), length, told)?;
            let mut entry = json!({"path": file.path, "length": length, "sha256": sha256});
            if file.decoder.is_some() {
                entry["decoder"] = json!(length);
            }
            written.push(entry);
            done += file.length;
        }
        let manifest = self.stripped_manifest(&variants, written)?;
        files::write(&folder.path().join(FILE), &manifest)?;
        // What was written is opened as anyone would, before it stands in its place.
        let stripped = Self::open(folder.path())?;
        folder.finish()?;
        Ok(Self { path: target.to_owned(), ..stripped })
    }

    fn kept(&self, precision: Option<&str>) -> Result<Vec<&Variant>> {
        let wanted = |variant: &&Variant| precision.is_none_or(|precision| precision == variant.precision);
        let kept: Vec<&Variant> = self.variants.iter().filter(wanted).collect();
        if let (Some(precision), true) = (precision, kept.is_empty()) {
            let mut there: Vec<&str> = self.variants.iter().map(|variant| variant.precision.as_str()).collect();
            there.dedup();
            let text = format!("{} has no precision {precision}; it has: {}", self.path.display(), there.join(", "));
            return Err(Error::Invalid(text));
        }
        Ok(kept)
    }

    /// The files to copy, and how many bytes of each: the decoder's graphs, its part of the weights, and what no graph
    /// belongs to.
    fn parts(&self, variants: &[&Variant]) -> Result<Vec<(&FileEntry, u64)>> {
        let of = |variants: &[&Variant]| -> (HashSet<String>, HashSet<String>) {
            let graphs = variants.iter().map(|variant| variant.decoder.clone()).collect();
            (graphs, variants.iter().map(|variant| variant.weights()).collect())
        };
        let (graphs, weights) = of(variants);
        let everything: Vec<&Variant> = self.variants.iter().collect();
        let (_, all_weights) = of(&everything);
        let all_graphs: HashSet<&String> = self.variants.iter().flat_map(Variant::graphs).chain(&self.draw).collect();
        let mut parts = Vec::new();
        for file in &self.files {
            if weights.contains(&file.path) {
                let length = file.decoder.ok_or_else(|| {
                    let text = "does not say how much of it is the decoder's, as an older exporter wrote it: export the \
                                checkpoint again with python -m detailflow_onnx export, whole or with --only decoder";
                    Error::bundle(&self.path, format!("{} {text}", file.path))
                })?;
                parts.push((file, length));
            } else if graphs.contains(&file.path)
                || !(all_weights.contains(&file.path) || all_graphs.contains(&file.path))
            {
                parts.push((file, file.length));
            }
        }
        Ok(parts)
    }

    /// The manifest as it is on disk, with what a decoder alone does not need taken out.
    fn stripped_manifest(&self, variants: &[&Variant], files: Vec<Value>) -> Result<Vec<u8>> {
        let path = self.path.join(FILE);
        let bytes = std::fs::read(&path).map_err(|error| Error::reading(&path, error))?;
        let refuse = |reason: &str| Error::bundle(&self.path, format!("{FILE}: {reason}"));
        let mut manifest: Value = serde_json::from_slice(&bytes).map_err(|error| refuse(&error.to_string()))?;
        let changed = || refuse("it was changed while it was in use");
        let content = manifest.as_object_mut().ok_or_else(changed)?;
        content.retain(|key, _| !GONE.contains(&key.as_str()));
        if let Some(provenance) = content.get_mut("provenance").and_then(Value::as_object_mut) {
            provenance.remove("ar");
        }
        let listed = content.get_mut("variants").and_then(Value::as_array_mut).ok_or_else(changed)?;
        listed.retain(|listed| variants.iter().any(|kept| listed["decoder"] == kept.decoder.as_str()));
        for variant in listed.iter_mut().filter_map(Value::as_object_mut) {
            variant.retain(|key, _| !["ar", "encoder", "keys"].contains(&key.as_str()));
            if let Some(quality) = variant.get_mut("quality").and_then(Value::as_object_mut) {
                quality.retain(|key, _| key != "ar" && key != "encoder");
            }
        }
        content.insert("files".into(), Value::Array(files));
        let mut text = Vec::new();
        let layout = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, layout);
        manifest.serialize(&mut writer).map_err(|error| refuse(&error.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }
}

/// A place that holds something else than a bundle is left alone, and so is the bundle that is read.
fn check_place(source: &Path, target: &Path) -> Result<()> {
    let refuse = |what: &str| Err(Error::Invalid(format!("{} {what}", target.display())));
    match std::fs::symlink_metadata(target) {
        // Nothing there yet, or no way to tell: creating it will say what is wrong.
        Err(_) => return Ok(()),
        Ok(metadata) if !metadata.is_dir() => return refuse("exists and is not a folder"),
        Ok(_) => {}
    }
    let real = |path: &Path| path.canonicalize().map_err(|error| Error::reading(path, error));
    if real(source)?.starts_with(real(target)?) {
        return refuse("is the bundle itself, or holds it: name another folder");
    }
    let inside: Vec<_> = std::fs::read_dir(target)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(|error| Error::reading(target, error))?;
    if inside.is_empty() {
        return Ok(());
    }
    // It will be replaced: with nothing in it but what a bundle has.
    let Ok(bundle) = super::manifest::read(target) else {
        return refuse("exists and is not a bundle; it is left alone");
    };
    let own = |name: &std::ffi::OsStr| name == FILE || bundle.files.iter().any(|file| name == file.path.as_str());
    if let Some(other) = inside.iter().find(|entry| !own(&entry.file_name())) {
        let name = other.file_name();
        return refuse(&format!("holds {} beside a bundle; it is left alone", name.display()));
    }
    Ok(())
}
