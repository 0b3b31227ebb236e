//! The file formats of the pipeline, by their extensions.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pixels::FileFormat;
use crate::support::error::{Error, Result};

/// A file format of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// A picture file.
    Picture(FileFormat),
    /// OpenEXR: linear light in half floats.
    Exr,
    /// DirectDraw Surface with the DX10 header.
    Dds,
    /// Khronos Texture 2.0.
    Ktx2,
}

/// The formats and their extensions; the first of those of a format is the usual one.
const EXTENSIONS: [(&str, OutputFormat); 13] = [
    ("png", OutputFormat::Picture(FileFormat::Png)),
    ("jpg", OutputFormat::Picture(FileFormat::Jpeg)),
    ("jpeg", OutputFormat::Picture(FileFormat::Jpeg)),
    ("jfif", OutputFormat::Picture(FileFormat::Jpeg)),
    ("webp", OutputFormat::Picture(FileFormat::Webp)),
    ("bmp", OutputFormat::Picture(FileFormat::Bmp)),
    ("tga", OutputFormat::Picture(FileFormat::Tga)),
    ("tiff", OutputFormat::Picture(FileFormat::Tiff)),
    ("tif", OutputFormat::Picture(FileFormat::Tiff)),
    ("qoi", OutputFormat::Picture(FileFormat::Qoi)),
    ("exr", OutputFormat::Exr),
    ("dds", OutputFormat::Dds),
    ("ktx2", OutputFormat::Ktx2),
];

impl OutputFormat {
    /// The format that the extension of `path` stands for, ignoring case: `png`, `jpg` (`jpeg`, `jfif`), `webp`, `bmp`, `tga`,
    /// `tiff` (`tif`), `qoi`, `exr`, `dds`, `ktx2`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other extension; the message lists these.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.and_then(Self::from_extension).ok_or_else(|| {
            Error::Invalid(format!(
                "{}: its extension is not that of a format that can be written (png, jpg, webp, bmp, tga, tiff, qoi, exr, dds, \
                 ktx2)",
                path.display()
            ))
        })
    }

    /// The format that an extension stands for.
    fn from_extension(extension: &str) -> Option<Self> {
        EXTENSIONS.iter().find(|(name, _)| name.eq_ignore_ascii_case(extension)).map(|&(_, format)| format)
    }

    /// Its usual extension, lower case: `png`, `jpg` …
    #[must_use]
    pub fn extension(self) -> &'static str {
        EXTENSIONS.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// Whether it holds a texture for a GPU: mip chains and block compression.
    pub(super) fn is_texture(self) -> bool {
        matches!(self, Self::Dds | Self::Ktx2)
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

impl Serialize for OutputFormat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.extension())
    }
}

impl<'de> Deserialize<'de> for OutputFormat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let unknown = || serde::de::Error::custom(format!("\"{name}\" is no format of this version"));
        Self::from_extension(&name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_path_knows_every_extension_and_lists_them() {
        for (extension, format) in EXTENSIONS {
            for name in [format!("a.{extension}"), format!("a.{}", extension.to_uppercase())] {
                assert_eq!(OutputFormat::from_path(&name).unwrap(), format, "{name}");
            }
            assert_eq!(OutputFormat::from_path(format!("a.{}", format.extension())).unwrap(), format);
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(serde_json::from_str::<OutputFormat>(&json).unwrap(), format);
        }
        for format in FileFormat::ALL {
            let format = OutputFormat::Picture(format);
            assert!(EXTENSIONS.iter().any(|&(_, other)| other == format), "{format:?}");
        }
        let error = OutputFormat::from_path("a.gif").unwrap_err().to_string();
        assert!(error.contains("a.gif") && error.contains("ktx2"), "{error}");
        assert!(OutputFormat::from_path("png").is_err());
    }
}
