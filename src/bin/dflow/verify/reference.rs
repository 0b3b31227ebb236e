//! What variants are compared with: a model, and the pictures to compare on.

use std::path::Path;

use detailflow::{Bundle, Error, Generation, Guidance, ImageRequest, Model, ModelOptions, Request};

use super::{VerifyArgs, name, open};
use crate::Failure;
use crate::source::Source;

/// Number of pictures that the reference generates when no others are given.
const PICTURES: usize = 8;

/// What variants are compared with.
pub struct Reference {
    pub model: Model,
    pub name: String,
    /// Class and tokens of each picture.
    pub pictures: Vec<(u32, Vec<u32>)>,
}

/// The reference of `--against`, else fp32; none if the bundle has no fp32 or this ONNX Runtime cannot run it.
pub fn reference(args: &VerifyArgs, bundle: &Bundle) -> Result<Option<Reference>, Failure> {
    let (other, precision) = match &args.against {
        Some(text) => against(text, bundle)?,
        None if bundle.variants().iter().any(|v| v.precision == "fp32") => (bundle.clone(), Some("fp32".to_owned())),
        None => return Ok(None),
    };
    let opened = match &precision {
        Some(precision) => open(&other, precision, None),
        None => Model::from_bundle(other.clone(), &ModelOptions::default()),
    };
    let model = match opened {
        Ok(model) => model,
        // A graph that does not compile is reported with its variant.
        Err(_) if args.against.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let place = if other.path() == bundle.path() { String::new() } else { format!("{} ", other.path().display()) };
    let name = format!("{place}{}", name(model.variant()));
    let pictures = pictures(args.tokens.as_deref(), bundle, &model)?;
    Ok(Some(Reference { model, name, pictures }))
}

/// The bundle and the precision that `--against` selects.
fn against(text: &str, bundle: &Bundle) -> Result<(Bundle, Option<String>), Failure> {
    let has = |bundle: &Bundle, precision: &str| bundle.variants().iter().any(|v| v.precision == precision);
    if has(bundle, text) {
        return Ok((bundle.clone(), Some(text.to_owned())));
    }
    if Path::new(text).is_dir() {
        let other = Bundle::open(text)?;
        let precision = has(&other, "fp32").then(|| "fp32".to_owned());
        return Ok((other, precision));
    }
    if let Some((folder, precision)) = text.rsplit_once(':')
        && Path::new(folder).is_dir()
    {
        let other = Bundle::open(folder)?;
        if has(&other, precision) {
            return Ok((other, Some(precision.to_owned())));
        }
        let error = format!("--against: {folder} has no precision {precision}");
        return Err(Failure::Usage(Error::Invalid(error)));
    }
    let error = format!(
        "--against: \"{text}\" is neither a precision of {} nor the folder of a bundle",
        bundle.path().display()
    );
    Err(Failure::Usage(Error::Invalid(error)))
}

/// Complete pictures with their classes: of the file, else of the manifest, else generated.
fn pictures(file: Option<&Path>, bundle: &Bundle, model: &Model) -> Result<Vec<(u32, Vec<u32>)>, Failure> {
    if let Some(path) = file {
        let source = Source::open(path)?;
        return (0..source.len())
            .map(|index| {
                let image = source.sound(index, path, bundle)?;
                let class = match &image.class {
                    Some(class) => bundle.class(class).map_err(Failure::Usage)?,
                    None if !bundle.can_generate() => 0,
                    None => {
                        let text = format!("{}: picture {index} has no class", path.display());
                        return Err(Failure::Usage(Error::Invalid(text)));
                    }
                };
                Ok((class, image.tokens))
            })
            .collect();
    }
    if !bundle.judged().is_empty() {
        return Ok(bundle.judged().iter().map(|picture| (picture.class, picture.tokens.clone())).collect());
    }
    if !model.bundle().can_generate() {
        // Any tokens decode to a picture.
        let token = |at: usize| (at.wrapping_mul(2_654_435_761) >> 7) % bundle.codes();
        let tokens = |picture| (0..bundle.tokens()).map(|at| token(picture * bundle.tokens() + at) as u32).collect();
        return Ok((0..PICTURES).map(|picture| (0, tokens(picture))).collect());
    }
    // Samples of the model's own distribution: no guidance, temperature 1.
    let classes = model.bundle().classes().len();
    let mut request = Request::new(model);
    request.set_count(PICTURES as u32)?.set_guidance(Guidance::constant(1.0))?;
    request.set_temperature(1.0)?.set_top_k(0.0)?.set_top_p(1.0)?;
    for at in 0..PICTURES {
        let class = (at * classes / PICTURES) as u32;
        request.set_image(at, ImageRequest { class, seed: at as u64 })?;
    }
    let mut generation = Generation::new(&request)?;
    generation.finish()?;
    (0..PICTURES).map(|at| Ok((request.images()[at].class, generation.tokens(at)?.to_vec()))).collect()
}
