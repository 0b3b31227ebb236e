//! How ONNX Runtime gets a graph of a bundle when it maps the weights.

use std::path::PathBuf;

use super::Bundle;
use super::external::{External, LARGEST_GRAPH, relocated};
use crate::support::error::{Error, Result};

/// A graph whose weights ONNX Runtime maps.
pub(crate) enum GraphFile {
    /// A file; the weights lie beside it.
    Path(PathBuf),
    /// The content, which names the file that holds the weights, and the folder of that file.
    Inside { graph: Vec<u8>, folder: String },
}

impl Bundle {
    /// The graph `name`, so that ONNX Runtime maps its weights; `None` where there is no file to map, a single file was
    /// replaced since it was opened, or its path is not UTF-8.
    ///
    /// # Errors
    /// [`Error::Bundle`] if the graph takes weights from outside the files that it names, or does not say how many;
    /// [`Error::Io`], [`Error::OutOfMemory`].
    pub(crate) fn graph_file(&self, name: &str) -> Result<Option<GraphFile>> {
        if let Some(path) = self.source.path(name) {
            return Ok(Some(GraphFile::Path(path)));
        }
        let Some(own) = self.source.mapped(name)? else { return Ok(None) };
        if !self.source.is_in_place() {
            return Ok(None);
        }
        let folder = own.folder.to_owned();
        let bytes = self.source.read(name, LARGEST_GRAPH)?;
        let graph = relocated(&self.source, name, &bytes, |External { location, offset, length }| {
            let refuse = |why: String| Error::bundle(self.path(), format!("{name} {why}"));
            let place = self.source.mapped(location)?.filter(|_| self.files.iter().any(|file| file.path == *location));
            let place =
                place.ok_or_else(|| refuse(format!("takes weights from \"{location}\", which is not listed")))?;
            let length = length.ok_or_else(|| refuse("does not say how many bytes a tensor has".into()))?;
            if offset.checked_add(length).is_none_or(|end| end > place.length) {
                return Err(refuse(format!("takes weights from beyond the end of {location}")));
            }
            let offset = place.at.saturating_add(*offset);
            Ok(External { location: place.file.to_owned(), offset, length: Some(length) })
        })?;
        Ok(Some(GraphFile::Inside { graph, folder }))
    }

    /// Whether a graph that ONNX Runtime just compiled from [`graph_file`](Self::graph_file) has the weights of this bundle:
    /// no other file took the name of a single file meanwhile.
    pub(crate) fn is_in_place(&self) -> bool {
        self.source.is_in_place()
    }
}
