//! Bundles that hold less than everything: what they can do works, what they cannot is said.

mod common;

use std::path::Path;

use detailflow::{Bundle, Error, Generation, Model, ModelOptions, Picture, PixelFormat, Request};
use serde_json::json;

/// The manifest of the small bundle without `parts`, in a copy of it.
fn without(parts: &[&str]) -> tempfile::TempDir {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| {
        for variant in m["variants"].as_array_mut().unwrap() {
            parts.iter().for_each(|part| drop(variant.as_object_mut().unwrap().remove(*part)));
        }
    });
    folder
}

fn grey() -> Picture {
    Picture::from_pixels(PixelFormat::Rgb8, 1, 1, &[128; 3], 3).unwrap()
}

/// The message of an [`Error::State`].
fn state<T>(result: detailflow::Result<T>) -> String {
    match result.err() {
        Some(Error::State(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A manifest that was edited so is refused, and the message has each of `words`.
fn refused(folder: &Path, words: &[&str]) {
    let error = Bundle::open(folder).expect_err("the manifest contradicts itself");
    assert!(matches!(error, Error::Bundle { .. }), "{error:?}");
    for word in words {
        assert!(error.to_string().contains(word), "\"{error}\" does not say {word}");
    }
}

#[test]
fn the_decoder_alone_decodes_and_says_what_it_cannot() {
    let folder = without(&["ar", "encoder"]);
    common::edit_manifest(folder.path(), |m| {
        for key in ["ar", "ids", "sampling", "classes", "decoder", "encoder"] {
            m.as_object_mut().unwrap().remove(key);
        }
    });
    let bundle = Bundle::open(folder.path()).unwrap();
    assert!(!bundle.can_draw() && !bundle.can_encode() && bundle.classes().is_empty());
    let full = Model::open(common::small(), &ModelOptions::default()).unwrap();
    assert!(full.bundle().can_draw() && full.bundle().can_encode());
    full.bundle().check_can_draw().unwrap();

    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    let tokens: Vec<u32> = (0..16).collect();
    for prefix in bundle.ladder().prefixes() {
        let tokens = &tokens[..prefix.tokens];
        assert_eq!(model.decode(tokens).unwrap(), full.decode(tokens).unwrap());
    }
    for text in [state(Generation::new(&Request::new(&model))), state(bundle.check_can_draw())] {
        assert_eq!(text, "small holds the decoder alone: it decodes tokens and cannot draw");
    }
    assert_eq!(
        state(model.encode(&grey())),
        "small holds the decoder alone: it decodes tokens and cannot encode pictures"
    );
    let mut request = Request::new(&model);
    assert!(request.set_class(0).unwrap_err().to_string().contains("small names no classes"));
    assert!(bundle.class("potion").unwrap_err().to_string().contains("small names no classes"));
    request.set_level(bundle.ladder().levels()[0].size).unwrap();
    assert!(model.graph_time() > std::time::Duration::ZERO);
}

#[test]
fn one_of_both_may_be_missing() {
    let folder = without(&["encoder"]);
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    assert!(model.bundle().can_draw() && !model.bundle().can_encode());
    assert_eq!(state(model.encode(&grey())), "small was made without what it takes to encode pictures");
    Generation::new(&Request::new(&model)).unwrap().step().unwrap();

    let folder = without(&["ar"]);
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    assert!(!model.bundle().can_draw() && model.bundle().can_encode());
    assert_eq!(state(Generation::new(&Request::new(&model))), "small was made without what it takes to draw");
    assert_eq!(model.encode(&grey()).unwrap().len(), 16);
}

#[test]
fn variants_hold_the_same_and_a_bundle_that_draws_says_how() {
    for part in ["ar", "encoder"] {
        let folder = common::copy(&common::small());
        common::edit_manifest(folder.path(), |m| drop(m["variants"][1].as_object_mut().unwrap().remove(part)));
        refused(folder.path(), &["variant int8 mha has", part, "int8 plain has none"]);
    }
    let folder = without(&[]);
    common::edit_manifest(folder.path(), |m| drop(m["variants"][1].as_object_mut().unwrap().remove("decoder")));
    refused(folder.path(), &["decoder"]);
    for key in ["ar", "ids", "sampling"] {
        let folder = without(&[]);
        common::edit_manifest(folder.path(), |m| drop(m.as_object_mut().unwrap().remove(key)));
        refused(folder.path(), &["missing field", key]);
    }
    let folder = without(&[]);
    common::edit_manifest(folder.path(), |m| m["classes"] = json!([]));
    refused(folder.path(), &["number of classes"]);
}

/// `dflow` with the bundle in `folder`: exit status, what it said, what it complained about.
#[cfg(feature = "cli")]
fn dflow(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dflow"))
        .args(arguments)
        .env("DETAILFLOW_BUNDLE", folder)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[cfg(feature = "cli")]
#[test]
fn the_command_knows_bundles_that_hold_less() {
    let folder = without(&["ar", "encoder"]);
    let alone = "small holds the decoder alone: it decodes tokens and cannot";
    let (status, _, error) = dflow(folder.path(), &["generate", "no-such-class"]);
    assert!(status == Some(1) && error.contains(alone) && error.contains("draw"), "{error}");
    image::RgbImage::new(8, 8).save(folder.path().join("black.png")).unwrap();
    let (status, _, error) = dflow(folder.path(), &["encode", "black.png", "-o", "t.json"]);
    assert!(status == Some(1) && error.contains(alone) && error.contains("encode pictures"), "{error}");

    let (status, said, _) = dflow(folder.path(), &["info"]);
    assert!(status == Some(0) && said.contains("the decoder alone") && !said.contains("guidance"), "{said}");
    let (_, said, _) = dflow(folder.path(), &["info", "--json"]);
    let info: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(info["can_draw"] == json!(false) && info["can_encode"] == json!(false), "{said}");
    let (status, said, error) = dflow(folder.path(), &["verify"]);
    assert!(status == Some(0) && said.contains("int8 mha: decoder compiles"), "{said}{error}");
    let (status, said, error) = dflow(folder.path(), &["doctor", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(status == Some(0) && found["bundle"]["can_draw"] == json!(false), "{said}{error}");

    let tokens = json!({"format": 1, "bundle": info["tokenizer_id"], "images": [
        {"class": null, "seed": null, "tokens": (0..16).collect::<Vec<u32>>()}
    ]});
    std::fs::write(folder.path().join("t.json"), tokens.to_string()).unwrap();
    let (status, _, error) = dflow(folder.path(), &["decode", "t.json", "-o", "t.png"]);
    assert!(status == Some(0) && folder.path().join("t.png").is_file(), "{error}");
}
