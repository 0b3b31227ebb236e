//! Text files that are written part by part.

use std::path::PathBuf;

use crate::support::error::Result;
use crate::support::files::NewFile;

/// A text file that grows by small parts; it replaces an older one when it is finished.
#[derive(Debug)]
pub(super) struct TextFile {
    path: PathBuf,
    file: NewFile,
    text: String,
}

impl TextFile {
    pub fn create(path: PathBuf) -> Result<Self> {
        Ok(Self { file: NewFile::create(&path)?, path, text: String::new() })
    }

    pub fn push(&mut self, text: &str) -> Result<()> {
        const PART: usize = 1 << 16;
        self.text.push_str(text);
        if self.text.len() >= PART {
            self.file.write(self.text.as_bytes())?;
            self.text.clear();
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<PathBuf> {
        self.file.write(self.text.as_bytes())?;
        self.file.finish()?;
        Ok(self.path)
    }
}
