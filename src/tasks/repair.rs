//! Samples the tokens again that a damaged token file lost.

use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::plan::Mix;
use crate::support::error::{Error, Result};
use crate::support::memory::copied;
use crate::tokens::Dft;

/// Continues from the sound tokens of `dft`, which do not change, until it has `count` tokens: as many as
/// [`Soundness::promised`](crate::tokens::Soundness::promised) says that it had, or the length of any other prefix. Class,
/// mix and seed come from the file; where it has none, from the first image of `request`, which also gives the sampling
/// settings. With the model and settings of the original the result is the original.
///
/// # Errors
/// [`Error::Invalid`] when the tokens are not of the request's model, or `count` is not the length of a prefix; those of
/// [`Generation::new`] and [`Generation::finish`].
pub fn repair(request: &Request, dft: &Dft, count: usize) -> Result<Dft> {
    let model = request.model();
    let bundle = model.bundle();
    bundle.check_dft(dft)?;
    if !dft.geometry.is_prefix(count) {
        return Err(Error::Invalid(format!("{count} tokens are not a prefix of {}", bundle.name())));
    }
    if count <= dft.tokens.len() {
        return repaired(dft, (dft.class, dft.mix.clone()), dft.seed, &dft.tokens[..count]);
    }
    let first = request.images()[0];
    let image = ImageRequest { class: dft.class.unwrap_or(first.class), seed: dft.seed.unwrap_or(first.seed) };
    let level = bundle.ladder().levels().iter().find(|level| level.tokens >= count);
    let mut request = request.try_clone()?;
    request.set_count(1)?;
    // Without a class it is of the classes of the request.
    request.set_classes_of(dft)?;
    let mix = request.mix(0).cloned();
    request.set_seed(image.seed).set_prefix(&dft.tokens)?;
    request.set_level_size(level.map_or(0, |level| level.size))?;
    let mut generation = Generation::new(&request)?;
    while generation.progress().tokens < count {
        generation.step()?;
    }
    repaired(dft, (Some(image.class), mix), Some(image.seed), generation.tokens(0)?)
}

/// Bytes of the token file that [`repair`] makes.
#[cfg_attr(not(feature = "ffi"), allow(dead_code, reason = "only the C API asks for sizes first"))]
pub(crate) fn repaired_size(request: &Request, dft: &Dft, count: usize) -> usize {
    let drawn = count > dft.tokens.len();
    let mix = if drawn && dft.class.is_none() { request.mix(0).cloned() } else { dft.mix.clone() };
    Dft { tokenizer: dft.tokenizer, geometry: dft.geometry, class: dft.class, mix, seed: dft.seed, tokens: Vec::new() }
        .file_size(count)
}

/// A sequence of the same model with these tokens.
fn repaired(dft: &Dft, (class, mix): (Option<u32>, Option<Mix>), seed: Option<u64>, tokens: &[u32]) -> Result<Dft> {
    Ok(Dft { tokenizer: dft.tokenizer, geometry: dft.geometry, class, mix, seed, tokens: copied("tokens", tokens)? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Model, ModelOptions};

    #[test]
    fn size_of_a_repaired_file_is_that_of_the_result() {
        let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small");
        let options = ModelOptions::new().with_precision("int8").with_threads(1);
        let model = Model::open(&bundle, &options).unwrap();
        let mut request = Request::new(&model);
        request.set_avoid(&[(1, 0.5.into())]).unwrap();
        let dft = model.bundle().dft(None, None, vec![0, 1, 2, 3]).unwrap();
        for count in [4, 8] {
            let repaired = repair(&request, &dft, count).unwrap().encode().unwrap();
            assert_eq!(repaired_size(&request, &dft, count), repaired.len(), "{count} tokens");
        }
    }
}
