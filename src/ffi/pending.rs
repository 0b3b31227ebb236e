//! What other areas are about to provide.

use std::time::Duration;

use crate::pixels::{Picture, PixelFormat};
use crate::support::error::{Error, Result};
use crate::worker::Worker;

pub(super) enum TokenFileKind {
    Dft,
    Pack,
    Json,
}

pub(super) fn kind(data: &[u8]) -> Option<TokenFileKind> {
    match data.first()? {
        b'{' => Some(TokenFileKind::Json),
        b'D' => Some(TokenFileKind::Dft),
        b'P' => Some(TokenFileKind::Pack),
        _ => None,
    }
}

pub(super) enum FileFormat {
    Png,
    Jpeg,
    Webp,
    Bmp,
    Tga,
    Tiff,
    Qoi,
}

pub(super) fn encode(_: FileFormat, _: u32, _: u32, _: PixelFormat, _: &[u8], _: usize) -> Result<Vec<u8>> {
    Err(Error::Invalid("not yet".into()))
}

pub(super) fn decode(_: &[u8]) -> Result<Picture> {
    Err(Error::Invalid("not yet".into()))
}

pub(super) fn close(worker: &Worker, _: Duration) -> Result<()> {
    worker.cancel_all();
    worker.clear_callback();
    Ok(())
}
