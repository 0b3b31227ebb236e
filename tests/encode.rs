//! Encoding with a search for better tokens.

mod common;

use common::{data, models, open, small};
use detailflow::{Bundle, EncodeOptions, Error, MAX_EFFORT, Model, ModelOptions, OpenCancel, Picture, PixelFormat};

/// A picture of `side` pixels per side that no model has seen: rings of three colours on nothing.
fn rings(side: u32) -> Vec<u8> {
    let place = |at: u32| (f64::from(at) + 0.5) / f64::from(side) - 0.5;
    let pixel = |x: u32, y: u32| {
        let ring = (place(x).hypot(place(y)) * 9.0) as usize;
        [[200, 40, 30, 255], [30, 60, 180, 255], [240, 220, 90, 255], [0; 4]][ring.min(3)]
    };
    (0..side * side).flat_map(|at| pixel(at % side, at / side)).collect()
}

fn picture(side: u32) -> Picture {
    Picture::from_pixels(PixelFormat::Rgba8, side, side, &rings(side), 4 * side as usize).unwrap()
}

fn searched(model: &Model, effort: u32) -> Vec<u32> {
    let side = model.bundle().size();
    model.encode_with(&picture(side), EncodeOptions::new().with_effort(effort)).unwrap()
}

/// The mean squared error of all tokens, in premultiplied colour of 0 to 1.
fn error(model: &Model, tokens: &[u32]) -> f64 {
    let image = model.decode(tokens).unwrap();
    let (made, wanted) = (image.planes(), rings(image.size()));
    let area = wanted.len() / 4;
    let squares = wanted.iter().enumerate().map(|(at, &value)| {
        let (pixel, channel) = (at / 4, at % 4);
        let alpha = if channel == 3 { 1.0 } else { f64::from(wanted[4 * pixel + 3]) / 255.0 };
        let made = (f64::from(made[channel * area + pixel].clamp(-1.0, 1.0)) + 1.0) / 2.0;
        (made - f64::from(value) / 255.0 * alpha).powi(2)
    });
    squares.sum::<f64>() / wanted.len() as f64
}

/// The shipped bundle, which is trained.
fn sprites() -> Model {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites");
    Model::open(path, &ModelOptions::new().with_threads(1)).unwrap()
}

#[test]
fn encode_with_effort_lowers_the_error_of_a_picture() {
    let model = sprites();
    let errors: Vec<f64> = (0..=2).map(|effort| error(&model, &searched(&model, effort))).collect();
    assert!(errors[1] < 0.97 * errors[0] && errors[2] < 0.97 * errors[1], "{errors:?}");
}

#[test]
fn encode_with_effort_0_is_encode() {
    for model in models() {
        assert_eq!(searched(&model, 0), model.encode(&picture(32)).unwrap());
    }
}

#[test]
fn encode_with_level_size_gives_the_tokens_of_that_level() {
    let model = open(&small(), "int8", "native");
    let picture = picture(32);
    let of = |effort, size| model.encode_with(&picture, EncodeOptions::new().with_effort(effort).with_level_size(size));
    for level in model.bundle().ladder().levels().to_vec() {
        let alone = of(0, level.size).unwrap();
        assert_eq!(alone, model.encode(&picture).unwrap()[..level.tokens]);
        assert_eq!(of(2, level.size).unwrap().len(), level.tokens);
    }
    assert_eq!(of(2, 32).unwrap(), of(2, 0).unwrap());
    let coarse = of(2, 16).unwrap();
    assert_ne!(coarse, of(2, 0).unwrap()[..coarse.len()], "it is searched for the level alone");
    for effort in [0, 1] {
        let refused = of(effort, 9);
        assert!(matches!(&refused, Err(Error::Invalid(text)) if text.contains("16, 24, 32")), "{refused:?}");
    }
}

#[test]
fn encode_with_effort_gives_the_same_tokens_in_every_form_and_with_any_threads() {
    let of = |precision, form| searched(&open(&small(), precision, form), 4);
    let wanted = of("fp32", "mha");
    assert_ne!(wanted, searched(&open(&small(), "fp32", "mha"), 0));
    for form in ["native", "plain", "fixed"] {
        assert_eq!(of("fp32", form), wanted, "{form}");
    }
    let options = |threads| ModelOptions::new().with_precision("int8").with_threads(threads);
    let [one, three] = [1, 3].map(|threads| searched(&Model::open(small(), &options(threads)).unwrap(), 3));
    assert_eq!(one, three);
}

#[test]
fn encode_with_effort_needs_an_effort_that_exists_and_can_be_cancelled() {
    let model = open(&small(), "int8", "native");
    let picture = picture(32);
    let beyond = model.encode_with(&picture, EncodeOptions::new().with_effort(MAX_EFFORT + 1));
    assert!(matches!(beyond, Err(Error::Invalid(text)) if text == "effort is 5; 0 to 4 are allowed"));

    let cancel = OpenCancel::new();
    let mut shares = Vec::new();
    let options = EncodeOptions::new().with_effort(2).with_cancel(cancel.clone()).with_progress(|share| {
        shares.push(share);
        if share >= 0.5 {
            cancel.cancel();
        }
    });
    assert!(matches!(model.encode_with(&picture, options), Err(Error::Cancelled)));
    assert_eq!(shares, (1..=8).map(|at| at as f32 / 16.0).collect::<Vec<_>>());
    let options = EncodeOptions::new().with_cancel(cancel);
    assert!(matches!(model.encode_with(&picture, options), Err(Error::Cancelled)), "also without an effort");
}

#[test]
fn encode_with_effort_without_a_codebook_is_wrong_state() {
    // The name of the initializer in the graphs, as an exporter might have written it that does not keep to the format.
    let folder = common::copy(&small());
    common::replace_in(folder.path(), "encoder.int8.native.onnx", "encoder.codebook", "encoder.codelist");
    let model = open(folder.path(), "int8", "native");
    assert_eq!(searched(&model, 0), searched(&open(&small(), "int8", "native"), 0));
    let refused = model.encode_with(&picture(32), EncodeOptions::new().with_effort(1));
    assert!(
        matches!(&refused, Err(Error::State(text)) if text.contains("no initializer encoder.codebook")),
        "{refused:?}"
    );
}

#[test]
fn encode_with_effort_of_a_decoder_alone_is_wrong_state() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Bundle::open(data("tiny-16").join("bundle")).unwrap();
    let stripped = bundle.strip(folder.path().join("decoder"), None, |_, _| true).unwrap();
    let model = Model::open(stripped.path(), &ModelOptions::new()).unwrap();
    let refused = model.encode_with(&picture(32), EncodeOptions::new().with_effort(1));
    assert!(matches!(refused, Err(Error::State(_))), "{refused:?}");
}
