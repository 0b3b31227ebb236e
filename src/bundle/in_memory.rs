//! Graphs and their weights in memory, checked: read from the files of a bundle, or where the caller has them. What happens to
//! the files afterwards does not matter.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::check::{check_hash, check_length};
use super::types::FileEntry;
use super::{Bundle, Source};
use crate::support::block::BlockPart;
use crate::support::error::{Error, Result};
use crate::support::hex::hex;
use crate::support::memory::reserve;

/// The files of one variant.
#[derive(Debug, Clone)]
pub(crate) struct FilesInMemory {
    graphs: Vec<(String, GraphInMemory)>,
}

/// A graph, and the files of weights that it names.
#[derive(Debug, Clone)]
pub(crate) struct GraphInMemory {
    pub graph: BlockPart,
    pub weights: Vec<(String, BlockPart)>,
}

impl FilesInMemory {
    /// Reads `graphs` and the weights that they name. A file of weights is read once for all graphs. What is in memory
    /// already is checked and used there.
    ///
    /// # Errors
    /// [`Error::Bundle`] when a file is not what the manifest says, [`Error::OutOfMemory`], [`Error::Io`].
    pub fn read<'a>(bundle: &Bundle, graphs: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let is_graph = |name: &str| {
            let of_variant = |variant: &super::Variant| {
                [variant.ar.as_deref(), Some(&variant.decoder), variant.encoder.as_deref()].contains(&Some(name))
            };
            bundle.draw.as_deref() == Some(name) || bundle.variants.iter().any(of_variant)
        };
        let mut weights: Vec<(&str, BlockPart)> = Vec::new();
        let mut read = Vec::new();
        for name in graphs {
            let entry = bundle.files.iter().find(|file| file.path == name).ok_or_else(|| {
                Error::bundle(bundle.path(), format!("{name} is not among the files of the manifest"))
            })?;
            let graph = content(&bundle.source, entry)?;
            let mut named = Vec::new();
            for entry in bundle.files.iter().filter(|file| !is_graph(&file.path) && names(graph.bytes(), &file.path)) {
                let known = weights.iter().find(|(name, _)| *name == entry.path).map(|(_, content)| content.clone());
                let content = known.map_or_else(|| content(&bundle.source, entry), Ok)?;
                weights.push((&entry.path, content.clone()));
                named.push((entry.path.clone(), content));
            }
            read.push((name.to_owned(), GraphInMemory { graph, weights: named }));
        }
        Ok(Self { graphs: read })
    }

    /// The graph of the file `name`; `None` when it was not read.
    pub fn graph(&self, name: &str) -> Option<&GraphInMemory> {
        self.graphs.iter().find(|(known, _)| known == name).map(|(_, graph)| graph)
    }
}

/// Whether the name of a file occurs in a graph, as that of its weights does.
fn names(graph: &[u8], file: &str) -> bool {
    graph.windows(file.len().max(1)).any(|window| window == file.as_bytes())
}

/// A whole file, checked against the manifest.
fn content(source: &Source, entry: &FileEntry) -> Result<BlockPart> {
    check_length(source, entry, source.length(&entry.path)?)?;
    if let Some(part) = source.in_block(&entry.path)? {
        check_hash(source, entry, &hex(Sha256::digest(part.bytes())))?;
        return Ok(part);
    }
    let length = usize::try_from(entry.length)
        .map_err(|_| Error::OutOfMemory { what: entry.path.clone(), bytes: entry.length })?;
    let mut content = reserve::<u8>(&entry.path, length)?;
    let mut hash = Sha256::new();
    let mut read = 0usize;
    source.blocks(&entry.path, |block| {
        hash.update(block);
        // No more than there is room for, should the file grow meanwhile.
        content.extend_from_slice(&block[..block.len().min(length - content.len())]);
        read = read.saturating_add(block.len());
        Ok(())
    })?;
    check_length(source, entry, read as u64)?;
    check_hash(source, entry, &hex(hash.finalize()))?;
    Ok(BlockPart::whole(Arc::new(content)))
}
