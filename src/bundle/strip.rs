//! Cuts a bundle down to its decoder, for applications that ship tokens. No graph is rewritten: the decoder's weights are
//! the first part of each weight file.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::Bundle;
use super::check::{self, total_length};
use super::external::{self, External};
use super::manifest::LARGEST_MANIFEST;
use super::names::FILE;
use super::source::Source;
use super::target::{check_file, check_folder};
use super::types::{FileEntry, Variant};
use crate::support::error::{Error, Result};
use crate::support::files::NewFolder;
use crate::support::host;
use crate::support::memory::reserve;
use crate::support::text::without_mark;

/// The keys of the manifest that are removed; `ids` and `sampling` are for generating only.
const REMOVED: [&str; 6] = ["ar", "draw", "encoder", "ids", "judged", "sampling"];
/// Memory that a tree of JSON values takes, in lengths of its text.
const TREE: usize = 100;

impl Bundle {
    /// Writes a bundle with only the decoder into the folder `target`, or as a single file where its name ends with `.dflow`.
    /// It decodes tokens to the same bits as this one and can neither generate nor encode. `precision` selects the variants to
    /// keep; `None` keeps all. Class names, licence and tokenizer ID are kept. Every byte of the files that are needed is
    /// checked against the manifest.
    ///
    /// The folder is written under a temporary name beside `target` and takes its place when complete; after an error
    /// `target` is unchanged. On Linux and Apple's systems, where the file system can exchange two folders, `target` has its old
    /// or its new content also if the process is killed. Elsewhere the old folder has another name for a moment; if the
    /// process is killed then, the next [`strip`](Self::strip) to `target` or [`open`](Self::open) of it puts it back.
    /// `progress` is called with the bytes read so far and their total, and cancels by returning false.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: `target` exists and is neither an empty folder nor a bundle, or is this bundle itself or a
    ///   folder above it; or there is no such precision.
    /// - [`Error::Bundle`]: a file is not what the manifest says, a decoder takes weights from beyond its part, or the manifest does
    ///   not say which part of the weights belongs to the decoder.
    /// - [`Error::Io`]: the operating system cannot read or write.
    /// - [`Error::Cancelled`]: `progress` returned false.
    pub fn strip(
        &self,
        target: impl AsRef<Path>,
        precision: Option<&str>,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Self> {
        let _host = host::enter();
        let target = target.as_ref();
        let is_file = target.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dflow"));
        if is_file {
            check_file(self, target)?;
        } else {
            check_folder(self, target)?;
        }
        let variants = self.kept(precision)?;
        let parts = self.parts(&variants)?;
        self.check_weights(&variants, &parts)?;
        let folder = NewFolder::create(target)?;
        let total = total_length(parts.iter().map(|(file, _)| file.length));
        let mut done = 0u64;
        let mut written = Vec::new();
        for (file, length) in parts {
            let sha256 = check::copy(&self.source, file, folder.path(), length, |read| {
                host::call_back(|| progress(done.saturating_add(read), total))
            })?;
            let mut entry = json!({"path": file.path, "length": length, "sha256": sha256});
            if file.decoder.is_some() {
                entry["decoder"] = json!(length);
            }
            written.push(entry);
            done = done.saturating_add(file.length);
        }
        let manifest = self.stripped_manifest(&variants, written)?;
        check::write(&folder.path().join(FILE), &manifest)?;
        // Checks what was written before it is moved into place.
        let stripped = Self::open(folder.path())?;
        if is_file {
            return stripped.pack(target, |_, _| true);
        }
        folder.finish()?;
        Ok(Self { source: Source::open(target)?, ..stripped })
    }

    fn kept(&self, precision: Option<&str>) -> Result<Vec<&Variant>> {
        let wanted = |variant: &&Variant| precision.is_none_or(|precision| precision == variant.precision);
        let kept: Vec<&Variant> = self.variants.iter().filter(wanted).collect();
        if let (Some(precision), true) = (precision, kept.is_empty()) {
            let mut there: Vec<&str> = self.variants.iter().map(|variant| variant.precision.as_str()).collect();
            there.dedup();
            let text = format!("{} has no precision {precision}; it has: {}", self.path().display(), there.join(", "));
            return Err(Error::Invalid(text));
        }
        Ok(kept)
    }

    /// The files to copy, and how many bytes of each: the decoder's graphs, its part of the weights, and files that belong
    /// to no graph.
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
                    let text = "the manifest does not say how much of it belongs to the decoder, because an older \
                                exporter wrote it; export the checkpoint again with python -m detailflow_onnx export, complete \
                                or with --only decoder";
                    Error::bundle(self.path(), format!("{}: {text}", file.path))
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

    /// Checks that the decoders take weights from nothing but `parts`.
    fn check_weights(&self, variants: &[&Variant], parts: &[(&FileEntry, u64)]) -> Result<()> {
        for Variant { decoder, .. } in variants {
            let file: Vec<FileEntry> = self.files.iter().filter(|file| file.path == *decoder).cloned().collect();
            check::check(&self.source, &file, check::Depth::Everything(Box::new(|_, _| {})))?;
            for External { location, offset, length } in external::read(&self.source, decoder)? {
                let end = offset.saturating_add(length.unwrap_or(0));
                let part = parts.iter().find(|(file, _)| file.path == location).map_or(0, |&(_, part)| part);
                if end > part {
                    let text = format!(
                        "{decoder} takes weights from the bytes up to {end} of {location}; the manifest gives the decoder \
                         the first {part}"
                    );
                    return Err(Error::bundle(self.path(), text));
                }
            }
        }
        Ok(())
    }

    /// The manifest file with everything removed that the decoder does not need.
    fn stripped_manifest(&self, variants: &[&Variant], files: Vec<Value>) -> Result<Vec<u8>> {
        let bytes = self.source.read(FILE, LARGEST_MANIFEST)?;
        let refuse = |reason: &str| Error::bundle(self.path(), format!("{FILE}: {reason}"));
        let bytes = without_mark(&bytes).map_err(refuse)?;
        // A tree of values, which is larger than the text; there is no type with the keys that we do not know.
        drop(reserve::<u8>(FILE, bytes.len().saturating_mul(TREE))?);
        let mut manifest: Value = serde_json::from_slice(bytes).map_err(|error| refuse(&error.to_string()))?;
        let changed = || refuse("the file changed while the bundle was open");
        let content = manifest.as_object_mut().ok_or_else(changed)?;
        content.retain(|key, _| !REMOVED.contains(&key.as_str()));
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
