//! Which kind of token file some bytes are, and opening a file of any kind.

use std::io::Read;
use std::path::Path;

use super::dft::{self, Dft, Soundness};
use super::json::TokenFile;
use super::pack::{self, Pack};
use crate::support::error::Result;
use crate::support::files::open;
use crate::support::text::without_mark;

/// How many first bytes of a file [`kind`] looks at.
const START: u64 = 8;

/// A kind of token file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenFileKind {
    /// `.dft`: one sequence.
    Dft,
    /// `.dftpack`: any number of sequences.
    Pack,
    /// JSON: one or more sequences.
    Json,
}

impl TokenFileKind {
    /// The kind that the extension of `path` stands for: `dft`, `dftpack`, and JSON for every other.
    #[must_use]
    pub fn from_path(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("dft") => Self::Dft,
            Some("dftpack") => Self::Pack,
            _ => Self::Json,
        }
    }
}

/// Tells the kind of a token file by its first bytes (8 are enough); `None` if they are not the start of one. The rest
/// of the file may still be damaged, or of a format version that is not supported.
#[must_use]
pub fn kind(bytes: &[u8]) -> Option<TokenFileKind> {
    if bytes.starts_with(pack::LETTERS) {
        Some(TokenFileKind::Pack)
    } else if bytes.starts_with(&dft::MAGIC) {
        Some(TokenFileKind::Dft)
    } else if without_mark(bytes).is_ok_and(|text| text.trim_ascii_start().starts_with(b"{")) {
        Some(TokenFileKind::Json)
    } else {
        None
    }
}

/// A token file of any kind, opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyTokens {
    /// The sequence of a `.dft`, and how much of it is sound.
    Dft(Dft, Soundness),
    /// A pack, whose entries are read when they are asked for.
    Pack(Pack),
    /// The content of a JSON file.
    Json(TokenFile),
}

/// Opens the token file `path`, whose kind is told by its first bytes; if those do not tell, by its extension.
///
/// # Errors
/// As [`Dft::open`], [`Pack::open`] or [`TokenFile::open`].
pub fn open_any(path: impl AsRef<Path>) -> Result<AnyTokens> {
    let path = path.as_ref();
    // A file that cannot be read here cannot be opened below, where the error is reported.
    let kind = first_bytes(path).ok().and_then(|bytes| kind(&bytes)).unwrap_or_else(|| TokenFileKind::from_path(path));
    Ok(match kind {
        TokenFileKind::Dft => {
            let (dft, soundness) = Dft::open(path)?;
            AnyTokens::Dft(dft, soundness)
        }
        TokenFileKind::Pack => AnyTokens::Pack(Pack::open(path)?),
        TokenFileKind::Json => AnyTokens::Json(TokenFile::open(path)?),
    })
}

fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    #[allow(clippy::disallowed_methods, reason = "8 bytes")]
    open(path)?.take(START).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::error::Error;
    use crate::tokens::{Geometry, PackWriter, TokenImage, TokenizerId};

    #[test]
    fn kind_is_told_by_the_first_bytes() {
        let cases: [(&[u8], Option<TokenFileKind>); 10] = [
            (b"DFT\x01", Some(TokenFileKind::Dft)),
            (b"DFT\x02", Some(TokenFileKind::Dft)),
            (b"DFTPACK\x01", Some(TokenFileKind::Pack)),
            (b"DFTPACK\x02", Some(TokenFileKind::Pack)),
            (b"{\"format\"", Some(TokenFileKind::Json)),
            (b"\n  {", Some(TokenFileKind::Json)),
            (b"\xef\xbb\xbf {", Some(TokenFileKind::Json)),
            (b"DF", None),
            (b"", None),
            (b"\x89PNG", None),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(kind(bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn open_any_opens_each_kind_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let geometry = Geometry { tokens: 6, group: 2, causal: 4, bits: 5 };
        let dft =
            Dft { tokenizer: TokenizerId([7; 8]), geometry, class: None, mix: None, seed: None, tokens: vec![1, 2] };
        dft.save(&path).unwrap();
        assert!(matches!(open_any(&path), Ok(AnyTokens::Dft(read, soundness)) if read == dft && soundness.is_sound()));
        let mut pack = PackWriter::create(&path).unwrap();
        pack.add(None, &dft).unwrap();
        pack.finish().unwrap();
        assert!(matches!(open_any(&path), Ok(AnyTokens::Pack(pack)) if pack.len() == 1));
        let image = TokenImage { class: None, seed: None, tokens: vec![1, 2], ..TokenImage::default() };
        TokenFile::new("07", vec![image]).save(&path).unwrap();
        assert!(matches!(open_any(&path), Ok(AnyTokens::Json(file)) if file.images.len() == 1));
    }

    #[test]
    fn open_any_goes_by_the_extension_if_the_bytes_do_not_tell() {
        let folder = tempfile::tempdir().unwrap();
        for (name, words) in
            [("a.dft", "not a token file"), ("a.dftpack", "not a pack"), ("a.json", "not a token file")]
        {
            let path = folder.path().join(name);
            std::fs::write(&path, "something else").unwrap();
            let error = open_any(&path).unwrap_err();
            assert!(matches!(&error, Error::Format { reason, .. } if reason.contains(words)), "{error}");
            std::fs::remove_file(&path).unwrap();
            assert!(matches!(open_any(&path), Err(Error::NotFound { .. })));
        }
    }
}
