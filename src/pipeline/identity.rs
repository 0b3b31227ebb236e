//! The identity of a job: a hash of everything that decides tokens, names and bytes.

use sha2::{Digest, Sha256};

use crate::bundle::Bundle;
use crate::plan::Curve;
use crate::support::hex::hex;

/// A hash of values in order. Texts and lists go in with their lengths, so that two different orders of values never have the
/// same bytes.
#[derive(Debug, Clone)]
pub(super) struct Identity(Sha256);

impl Identity {
    /// One of this kind of thing.
    pub fn new(kind: &str) -> Self {
        let mut identity = Self(Sha256::new());
        identity.text(kind);
        identity
    }

    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub fn curve(&mut self, curve: &Curve) {
        self.number(curve.points().len() as u64);
        for &(token, value) in curve.points() {
            self.number(u64::from(token));
            // The two zeros are one value.
            self.number(u64::from((value + 0.0).to_bits()));
        }
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The identity of a bundle, 64 hex digits: a hash of its name, licence, tokenizer, classes and all its files. It is the same for
/// a folder and for the single file made of it.
#[must_use]
pub fn bundle_identity(bundle: &Bundle) -> String {
    let mut identity = Identity::new("bundle");
    for text in [bundle.name(), bundle.license(), bundle.tokenizer_id()] {
        identity.text(text);
    }
    identity.number(bundle.classes().len() as u64);
    bundle.classes().iter().for_each(|name| identity.text(name));
    let mut files: Vec<_> = bundle.files().iter().map(|file| (&file.path, &file.sha256)).collect();
    files.sort_unstable();
    for (path, hash) in files {
        identity.text(path);
        identity.text(hash);
    }
    hex(identity.finish())
}
