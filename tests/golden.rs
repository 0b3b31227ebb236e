//! The authors' numbers, computed by the library: greedy tokens, token indices of pictures, 8-bit pixels of prefixes,
//! filtered probabilities. `tests/data/tiny-16` and `tiny-32` hold the cases (`golden.json`) and the bundles.

mod common;

use std::path::Path;

use detailflow::{Generation, Guidance, ImageRequest, Model, Picture, PixelFormat, Request, Sampling, sample};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    greedy: Vec<Greedy>,
    images: Vec<String>,
    indices: Vec<Vec<u32>>,
    decode: Vec<Decode>,
    filter: Vec<Filter>,
}

#[derive(Deserialize)]
struct Greedy {
    classes: Vec<u32>,
    guidance: f32,
    gradual: bool,
    tokens: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Decode {
    tokens: usize,
    size: u32,
    pngs: Vec<String>,
}

#[derive(Deserialize)]
struct Filter {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    logits: Vec<f32>,
    probs: Vec<f32>,
}

const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0 };

fn check(name: &str, form: &str) {
    let folder = common::data(name);
    let golden: Golden = serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let model = common::open(&folder.join("bundle"), "fp32", form);
    assert!(
        !golden.greedy.is_empty()
            && !golden.decode.is_empty()
            && !golden.images.is_empty()
            && !golden.filter.is_empty()
    );

    for case in &golden.greedy {
        assert_eq!(
            draw(&model, case),
            case.tokens,
            "greedy tokens, guidance {}, gradual {}",
            case.guidance,
            case.gradual
        );
    }
    for (image, indices) in golden.images.iter().zip(&golden.indices) {
        let picture = Picture::open(folder.join(image)).unwrap();
        assert_eq!(model.encode(&picture).unwrap(), *indices, "tokens of {image}");
    }
    for case in &golden.decode {
        for (png, indices) in case.pngs.iter().zip(&golden.indices) {
            let image = model.decode(&indices[..case.tokens]).unwrap();
            assert_eq!(image.size(), case.size);
            compare_bytes(&image.to_vec(PixelFormat::Rgb8).unwrap(), &folder.join(png));
        }
    }
    for case in &golden.filter {
        let sampling = Sampling { temperature: case.temperature, top_k: case.top_k, top_p: case.top_p };
        let got = sample::probabilities(sampling, &case.logits).unwrap();
        for (at, (a, b)) in got.iter().zip(&case.probs).enumerate() {
            assert!(
                (a - b).abs() < 1e-6 + 1e-4 * b,
                "{sampling:?}: code {at} has probability {a}, the authors' is {b}"
            );
        }
    }
}

fn draw(model: &Model, case: &Greedy) -> Vec<Vec<u32>> {
    let mut request = Request::new(model);
    request.set_guidance(Guidance { scale: case.guidance.into(), gradual: case.gradual }).unwrap();
    request.set_sampling(GREEDY).unwrap();
    request.set_count(case.classes.len() as u32).unwrap();
    for (at, &class) in case.classes.iter().enumerate() {
        request.set_image(at, ImageRequest { class, seed: 0 }).unwrap();
    }
    let mut generation = Generation::new(&request).unwrap();
    generation.finish().unwrap();
    (0..case.classes.len()).map(|at| generation.tokens(at).unwrap().to_vec()).collect()
}

/// A value that lies within 1e-3 of a whole number may be truncated either way by another order of additions; such
/// bytes differ by one, and are few.
fn compare_bytes(got: &[u8], png: &Path) {
    let expected = image::open(png).unwrap().into_rgb8().into_raw();
    assert_eq!(got.len(), expected.len(), "{}", png.display());
    let mut differing = 0;
    for (at, (&a, &b)) in got.iter().zip(&expected).enumerate() {
        assert!(a.abs_diff(b) <= 1, "{}: byte {at} is {a}, the authors' is {b}", png.display());
        differing += usize::from(a != b);
    }
    assert!(differing * 1000 <= expected.len(), "{}: {differing} of {} bytes differ", png.display(), expected.len());
}

#[test]
fn tiny_16_native() {
    check("tiny-16", "native");
}

#[test]
fn tiny_16_mha() {
    check("tiny-16", "mha");
}

#[test]
fn tiny_16_plain() {
    check("tiny-16", "plain");
}

#[test]
fn tiny_16_fixed() {
    check("tiny-16", "fixed");
}

#[test]
fn tiny_32_native() {
    check("tiny-32", "native");
}

#[test]
fn tiny_32_mha() {
    check("tiny-32", "mha");
}

#[test]
fn tiny_32_plain() {
    check("tiny-32", "plain");
}

#[test]
fn tiny_32_fixed() {
    check("tiny-32", "fixed");
}
