//! `-` as a file: standard input, read once to a bounded buffer, and standard output, which holds one result.

use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use detailflow::pixels::FileFormat;
use detailflow::tokens::TokenFileKind;
use detailflow::{Error, Image, Picture, PixelFormat, pixels};

use crate::Failure;

/// The most bytes that are read from standard input.
const LARGEST: u64 = 256 << 20;
/// What errors call standard input.
const INPUT: &str = "standard input";

static INPUT_READ: AtomicBool = AtomicBool::new(false);
static OUTPUT_TAKEN: AtomicBool = AtomicBool::new(false);

/// The help of `--format`.
pub const FORMAT_HELP: &str = "Format of what -o - writes to standard output: png, jpg, webp, bmp, tga, tiff or qoi for \
                               pictures [default: png], json or dft for tokens [default: json]";

/// Whether `path` stands for standard input or output.
pub fn is_std(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads standard input to its end.
pub fn read() -> Result<Vec<u8>, Failure> {
    let refuse = |text: &str| Failure::Usage(Error::Invalid(text.to_owned()));
    if INPUT_READ.swap(true, Ordering::Relaxed) {
        return Err(refuse("- is named twice as an input: standard input can be read once"));
    }
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(refuse("-: standard input is a terminal; a file or a pipe is needed"));
    }
    let mut bytes = Vec::new();
    let fail = |source| Error::Io { what: "cannot read", path: PathBuf::from(INPUT), source };
    // It grows with what arrives; memory that is short is an error of `read_to_end`.
    input.lock().take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        let reason = format!("longer than the {LARGEST} bytes that are allowed");
        return Err(Error::Format { path: PathBuf::from(INPUT), reason }.into());
    }
    Ok(bytes)
}

/// Reads a picture file, `-` for standard input.
pub fn picture(path: &Path) -> Result<Picture, Failure> {
    if !is_std(path) {
        return Ok(Picture::open(path)?);
    }
    Ok(Picture::decode(&read()?).map_err(renamed)?)
}

/// `error` about bytes in memory as one about standard input.
pub fn renamed(error: Error) -> Error {
    match error {
        Error::Format { reason, .. } => Error::Format { path: PathBuf::from(INPUT), reason },
        Error::Tokens(reason) => Error::Format { path: PathBuf::from(INPUT), reason },
        other => other,
    }
}

/// Takes standard output for a result, before any work: from now on lines go to stderr. A terminal is not sent `binary` data.
pub fn claim(binary: bool) -> Result<(), Failure> {
    let refuse = |text: &str| Err(Failure::Usage(Error::Invalid(text.to_owned())));
    if OUTPUT_TAKEN.swap(true, Ordering::Relaxed) {
        return refuse("- is named twice as an output: standard output holds one result");
    }
    if binary && std::io::stdout().is_terminal() {
        return refuse("-: standard output is a terminal; send it to a file or a pipe");
    }
    Ok(())
}

/// Whether standard output was taken for a result.
pub fn is_claimed() -> bool {
    OUTPUT_TAKEN.load(Ordering::Relaxed)
}

/// Writes a result to standard output. A pipe that was closed is not an error.
pub fn write(bytes: &[u8]) -> Result<(), Error> {
    let mut output = std::io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Io { what: "cannot write", path: PathBuf::from("standard output"), source })
        }
        _ => Ok(()),
    }
}

/// The picture format that `--format` names; PNG by default.
pub fn picture_format(format: Option<&str>) -> Result<FileFormat, Failure> {
    let Some(format) = format else { return Ok(FileFormat::Png) };
    FileFormat::from_path(format!("-.{format}")).map_err(|_| {
        let text = format!("--format {format}: pictures can be png, jpg, webp, bmp, tga, tiff or qoi");
        Failure::Usage(Error::Invalid(text))
    })
}

/// The token format that `--format` names; JSON by default.
pub fn token_format(format: Option<&str>) -> Result<TokenFileKind, Failure> {
    match format {
        None | Some("json") => Ok(TokenFileKind::Json),
        Some("dft") => Ok(TokenFileKind::Dft),
        Some(other) => {
            let text = format!("--format {other}: tokens on standard output can be json or dft");
            Err(Failure::Usage(Error::Invalid(text)))
        }
    }
}

/// Checks that `--format` was not given for a file, whose extension selects the format.
pub fn no_format(format: Option<&str>) -> Result<(), Failure> {
    match format {
        None => Ok(()),
        Some(format) => {
            let text =
                format!("--format {format}: only for standard output, -; the extension selects the format of a file");
            Err(Failure::Usage(Error::Invalid(text)))
        }
    }
}

/// Writes a picture to a file, or as `format` to standard output.
pub fn save_image(image: &Image, path: &Path, format: FileFormat) -> Result<(), Error> {
    if is_std(path) { write(&image.encode(format)?) } else { image.save(path) }
}

/// Writes pixels, rows without gaps, to a file, or as `format` to standard output.
pub fn save_pixels(
    path: &Path,
    format: FileFormat,
    (width, height): (u32, u32),
    of: PixelFormat,
    bytes: &[u8],
) -> Result<(), Error> {
    let stride = width as usize * of.bytes();
    if is_std(path) {
        return write(&pixels::encode(format, width, height, of, bytes, stride)?);
    }
    pixels::save(path, width, height, of, bytes, stride)
}
