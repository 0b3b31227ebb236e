//! fp16 and int4 bundles open, generate, fork and decode; and how far each precision and form is from fp32.

mod common;

use std::path::Path;

use detailflow::bundle::KeyKind;
use detailflow::{
    Bundle, Error, Generation, ImageRequest, Model, ModelOptions, Picture, PixelFormat, Request, Tolerance, tasks,
};
use serde_json::{Value, json};
use sha2::Digest;

/// The model of `small` in int4 and fp16.
fn precisions() -> std::path::PathBuf {
    common::data("precisions")
}

const VARIANTS: [(&str, &str); 6] =
    [("fp16", "plain"), ("fp16", "fixed"), ("int4", "native"), ("int4", "mha"), ("int4", "plain"), ("int4", "fixed")];

fn tokens(model: &Model, images: &[(u32, u64)]) -> Vec<Vec<u32>> {
    let mut request = Request::new(model);
    request.set_count(images.len() as u32).unwrap();
    for (at, &(class, seed)) in images.iter().enumerate() {
        request.set_image(at, ImageRequest { class, seed }).unwrap();
    }
    let mut generation = Generation::new(&request).unwrap();
    generation.finish().unwrap();
    (0..images.len()).map(|at| generation.tokens(at).unwrap().to_vec()).collect()
}

#[test]
fn precisions_generate_decode_and_encode() {
    for (precision, form) in VARIANTS {
        let model = common::open(&precisions(), precision, form);
        let half = precision == "fp16" || form == "native";
        assert_eq!(model.variant().keys, if half { KeyKind::Fp16 } else { KeyKind::Fp32 });
        let together = tokens(&model, &[(0, 1), (1, 2), (2, 3)]);
        for (at, tokens_of_one) in together.iter().enumerate() {
            assert_eq!(&tokens(&model, &[(at as u32, at as u64 + 1)])[0], tokens_of_one, "{precision} {form}");
        }
        let image = model.decode(&together[0]).unwrap();
        assert!(image.planes().iter().all(|value| value.is_finite()));
        let picture = Picture::from_pixels(PixelFormat::Rgb8, 1, 1, &[128; 3], 3).unwrap();
        assert_eq!(model.encode(&picture).unwrap().len(), model.bundle().tokens());
    }
}

#[test]
fn fork_in_every_precision_continues_as_its_origin() {
    for (precision, form) in VARIANTS {
        let model = common::open(&precisions(), precision, form);
        let mut request = Request::new(&model);
        request.set_count(3).unwrap();
        let whole = tokens(&model, &[(0, 0), (0, 1), (0, 2)]);
        for before in 0..7 {
            let mut origin = Generation::new(&request).unwrap();
            for _ in 0..before {
                origin.step().unwrap();
            }
            let mut fork = origin.fork(&[0, 1, 2]).unwrap();
            fork.retain_images(&[2, 0]).unwrap();
            fork.finish().unwrap();
            assert_eq!(fork.tokens(0).unwrap(), whole[2], "{precision} {form} after {before}");
            assert_eq!(fork.tokens(1).unwrap(), whole[0], "{precision} {form} after {before}");
        }
    }
}

#[test]
fn fp16_kv_cache_takes_half_the_memory() {
    let memory = |bundle: &Path, precision: &str| {
        let model = common::open(bundle, precision, "plain");
        let mut request = Request::new(&model);
        request.set_log_probabilities(false);
        let mut generation = Generation::new(&request).unwrap();
        generation.finish().unwrap();
        generation.memory().own - 8 * model.bundle().tokens() as u64
    };
    assert_eq!(2 * memory(&precisions(), "fp16"), memory(&common::small(), "fp32"));
}

#[test]
fn precision_is_chosen_by_device_unless_named() {
    let chosen = |bundle: &Path, precision: Option<&str>| {
        let mut options = ModelOptions::new();
        options.precision = precision.map(Into::into);
        let variant = Model::open(bundle, &options).unwrap().variant().clone();
        (variant.precision, variant.form)
    };
    let folder = common::copy(&precisions());
    let pair = |precision: &str, form: &str| (precision.to_owned(), form.to_owned());
    assert_eq!(chosen(folder.path(), None), pair("int4", "native"));
    assert_eq!(chosen(folder.path(), Some("fp16")), pair("fp16", "plain"), "not for the CPU, but asked for");
    // fp16 first in the list: it is not for the CPU all the same.
    common::edit_manifest(folder.path(), |m| m["variants"].as_array_mut().unwrap().rotate_right(2));
    assert_eq!(Bundle::open(folder.path()).unwrap().variants()[0].precision, "fp16");
    assert_eq!(chosen(folder.path(), None), pair("int4", "native"));
}

#[test]
fn precisions_differ_from_fp32_as_the_manifest_says() {
    let reference = common::open(&common::small(), "fp32", "mha");
    let small = [("int8", "native"), ("int8", "mha"), ("int8", "fixed")];
    for (bundle, precision, form) in
        VARIANTS.map(|(p, f)| (precisions(), p, f)).into_iter().chain(small.map(|(p, f)| (common::small(), p, f)))
    {
        let model = common::open(&bundle, precision, form);
        let judged = model.bundle().judged();
        let pictures: Vec<(u32, &[u32])> = judged.iter().map(|p| (p.class, &p.tokens[..])).collect();
        let found = tasks::compare(&model, &reference, &pictures).unwrap();
        assert_eq!(found.past(Tolerance::of(precision).unwrap()), Vec::<String>::new(), "{precision} {form}");
        // The exporter cannot run `native`: what it says of the same weights in standard operators holds for it as well.
        let told_of = if form == "native" { "plain" } else { form };
        assert_eq!(model.variant().quality.is_none(), form == "native", "{precision} {form}");
        let quality = model.bundle().variants().iter().find(|v| v.precision == precision && v.form == told_of);
        let (ar, quality) = (found.ar.unwrap(), quality.unwrap().quality.clone().unwrap());
        let told = quality.ar.unwrap();
        // Another processor rounds differently; the two numbers are of one kind all the same. The KV cache of `native` has fewer
        // bits: it must be no worse.
        let near = |found: f64, told: f64| {
            let apart = found / told - 1.0;
            let fits = if form == "native" { (-0.6..0.2).contains(&apart) } else { apart.abs() < 0.2 };
            assert!(fits, "{precision} {form}: {found}, {told}");
        };
        near(ar.kl, told.kl);
        near(ar.kl_worst, told.kl_worst);
        near(ar.logits_rms, told.logits_rms);
        near(ar.logits_max, told.logits_max);
        assert!((ar.agreement - told.agreement).abs() < 0.03 && ar.greedy > 0.0);
        for (size, psnr) in &quality.decoder.unwrap().psnr {
            assert!((found.psnr[size] - psnr).abs() < 1.0, "{precision} {form} at {size} px");
        }
        assert!((found.encoder.unwrap() - quality.encoder.unwrap().agreement).abs() < 0.05);
        // And without the reference: from what the bundle keeps of it, to the accuracy that 128 tokens allow.
        let record = tasks::compare_with_record(&model).unwrap().unwrap();
        assert!(record.kl > ar.kl / 4.0 && record.kl < ar.kl * 4.0, "{precision} {form}: {} {}", record.kl, ar.kl);
        assert!(record.largest >= record.kl);
    }
}

/// Of fp32 the figures are roundings, and no two forms round alike: what they share is how small they are.
#[test]
fn fp32_forms_differ_by_rounding_only() {
    let reference = common::open(&common::small(), "fp32", "mha");
    for form in ["native", "plain", "fixed"] {
        let model = common::open(&common::small(), "fp32", form);
        let pictures: Vec<(u32, &[u32])> = model.bundle().judged().iter().map(|p| (p.class, &p.tokens[..])).collect();
        let found = tasks::compare(&model, &reference, &pictures).unwrap();
        assert_eq!(found.past(Tolerance::of("fp32").unwrap()), Vec::<String>::new(), "{form}");
        let ar = found.ar.unwrap();
        assert!(ar.kl < 1e-11 && ar.kl_worst < 1e-11 && ar.logits_max < 1e-4, "{form}: {ar:?}");
        assert!(ar.agreement == 1.0 && ar.greedy == 1.0 && found.encoder == Some(1.0), "{form}: {found:?}");
        assert!(found.psnr.values().all(|&psnr| psnr > 120.0), "{form}: {:?}", found.psnr);
        let record = tasks::compare_with_record(&model).unwrap().unwrap();
        assert!(record.kl < 1e-9 && record.largest < 1e-4, "{form}: {record:?}");
    }
}

#[test]
fn compare_of_a_model_with_itself_is_zero() {
    let model = common::open(&common::small(), "fp32", "mha");
    let tokens = vec![3; model.bundle().tokens()];
    let found = tasks::compare(&model, &model, &[(1, &tokens)]).unwrap();
    let ar = found.ar.unwrap();
    assert_eq!(
        (ar.kl, ar.kl_worst, ar.logits_max, ar.logits_rms, ar.agreement, ar.greedy),
        (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)
    );
    assert!(
        found.psnr.len() == model.bundle().ladder().levels().len() && found.psnr.values().all(|&psnr| psnr > 200.0)
    );
    assert_eq!(found.encoder, Some(1.0));
}

#[test]
fn compare_of_incomparable_models_is_refused() {
    let model = common::open(&common::small(), "fp32", "mha");
    let whole = vec![0; model.bundle().tokens()];
    let said = |pictures: &[(u32, &[u32])], reference: &Model| match tasks::compare(&model, reference, pictures) {
        Err(Error::Invalid(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(said(&[], &model).contains("no image"));
    assert!(said(&[(0, &whole), (0, &whole[..4])], &model).contains("image 1 has 4 tokens; all 16 are needed"));
    assert!(said(&[(3, &whole)], &model).contains("class 3"));
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| m["tokenizer_id"] = json!("0123456789abcdef"));
    assert!(said(&[(0, &whole)], &common::open(folder.path(), "fp32", "mha")).contains("have different tokenizers"));
}

#[test]
fn contradictory_manifests_are_refused() {
    fn variant<'m>(manifest: &'m mut Value, precision: &str, form: &str) -> &'m mut Value {
        let mut variants = manifest["variants"].as_array_mut().unwrap().iter_mut();
        variants.find(|v| v["precision"] == precision && v["form"] == form).unwrap()
    }
    let refused = |words: &[&str], edit: &dyn Fn(&mut Value)| {
        let folder = common::copy(&precisions());
        common::edit_manifest(folder.path(), edit);
        let error = Bundle::open(folder.path()).and_then(|bundle| {
            let options = ModelOptions::new().with_precision("fp16");
            Model::from_bundle(bundle, &options)
        });
        let text = error.unwrap_err().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "\"{text}\" does not say {words:?}");
    };
    refused(&["keys", "fp8"], &|m| variant(m, "fp16", "plain")["keys"] = json!("fp8"));
    refused(&["variant int4 mha: keys are fp16, but the KV cache of form mha"], &|m| {
        variant(m, "int4", "mha")["keys"] = json!("fp16");
    });
    // The manifest says fp32, the graph has fp16.
    refused(&["ar.fp16.plain.onnx", "past_key_0", "expected float32"], &|m| {
        variant(m, "fp16", "plain").as_object_mut().unwrap().remove("keys");
    });
    refused(&["judged[1].class"], &|m| m["judged"][1]["class"] = json!(3));
    refused(&["number of judged[0].tokens is 15"], &|m| drop(m["judged"][0]["tokens"].as_array_mut().unwrap().pop()));
    refused(&["judged[0].tokens is 16"], &|m| m["judged"][0]["tokens"][2] = json!(16));
    refused(&["number of judged[2].log_probabilities"], &|m| m["judged"][2]["log_probabilities"] = json!([-1.0]));
    refused(&["judged[0].log_probabilities", "at most 0"], &|m| m["judged"][0]["log_probabilities"][0] = json!(0.5));
    refused(&["quality.ar", "missing field", "kl_worst"], &|m| {
        variant(m, "int4", "mha")["quality"]["ar"] = json!({"kl": 1.0});
    });
}

#[test]
fn stripped_bundle_keeps_the_quality_of_its_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("decoder");
    let stripped = Bundle::open(precisions()).unwrap().strip(&place, None, |_, _| true).unwrap();
    assert!(stripped.judged().is_empty());
    for variant in stripped.variants() {
        let Some(quality) = variant.quality.clone() else {
            assert_eq!(variant.form, "native", "what the exporter can run, it judges");
            continue;
        };
        assert!(quality.ar.is_none() && quality.encoder.is_none() && !quality.decoder.unwrap().psnr.is_empty());
    }
    assert_eq!(stripped.variants().iter().filter(|variant| variant.quality.is_some()).count(), VARIANTS.len() - 1);
    for (precision, form) in VARIANTS {
        let model = common::open(&place, precision, form);
        let tokens = vec![1; model.bundle().tokens()];
        let found = tasks::compare(&model, &common::open(&common::small(), "fp32", "mha"), &[(0, &tokens)]).unwrap();
        let past = found.past(Tolerance::of(precision).unwrap());
        assert!(found.ar.is_none() && found.encoder.is_none() && past.is_empty(), "{precision} {form}: {past:?}");
    }
}

// ------------------------------------------------------------------------------------------------ dflow verify

/// (exit code, standard output, standard error) of `dflow verify ARGUMENTS` in `folder`.
fn verify(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = common::dflow(folder).arg("verify").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn verify_compares_every_variant() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said, error) = verify(folder.path(), &[]);
    assert!(status == 0 && said.contains("compared with fp32 native on 8 pictures"), "{said}{error}");
    let row = |said: &str, name: &str| said.lines().filter(|line| line.starts_with(&format!("{name}  "))).count();
    assert_eq!(
        ["fp32 native", "fp32 mha", "fp32 plain", "fp32 fixed", "int8 native", "int8 mha", "int8 plain", "int8 fixed"]
            .map(|name| row(&said, name)),
        [0, 1, 1, 1, 1, 1, 1, 1],
        "{said}"
    );

    let (precisions, small) = (precisions(), common::small());
    let (precisions, small) = (precisions.to_str().unwrap(), small.to_str().unwrap());
    let (status, said, error) = verify(folder.path(), &["--bundle", precisions]);
    assert!(
        status == 0 && said.matches("KL divergence from the source weights").count() == VARIANTS.len(),
        "{said}{error}"
    );
    assert!(VARIANTS.iter().all(|(precision, form)| said.contains(&format!("{precision} {form}: "))), "{said}");

    let (status, said, error) = verify(folder.path(), &["--bundle", precisions, "--against", small, "--json"]);
    assert_eq!(status, 0, "{error}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&found["ok"], &found["against"]["pictures"]), (&json!(true), &json!(8)));
    assert!(found["against"]["name"].as_str().unwrap().ends_with("small fp32 native"), "{said}");
    let names: Vec<Value> =
        found["variants"].as_array().unwrap().iter().map(|v| json!([v["precision"], v["form"]])).collect();
    assert_eq!(
        names,
        [
            ("int4", "native"),
            ("int4", "mha"),
            ("int4", "plain"),
            ("int4", "fixed"),
            ("fp16", "plain"),
            ("fp16", "fixed")
        ]
        .map(|(precision, form)| json!([precision, form]))
    );
    for variant in found["variants"].as_array().unwrap() {
        assert!(variant["judgement"]["ar"]["kl"].as_f64().unwrap() > 0.0 && variant["past"] == json!([]), "{said}");
    }
    let one = format!("{small}:int8");
    let (status, said, error) =
        verify(folder.path(), &["--bundle", precisions, "--against", &one, "--precision", "int4", "--form", "plain"]);
    assert!(
        status == 0 && said.contains("small int8 native on 8 pictures") && row(&said, "int4 plain") == 1,
        "{error}"
    );
    let (status, said, _) = verify(folder.path(), &["--against", "int8", "--precision", "fp32"]);
    assert!(status == 0 && said.contains("compared with int8 native") && row(&said, "fp32 native") == 1, "{said}");
}

/// A copy of the small bundle with a part of its fp32 weights in another order, and the hash that goes with it.
fn spoilt() -> tempfile::TempDir {
    let folder = common::copy(&common::small());
    let path = folder.path().join("weights.fp32.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    let decoder = {
        let bundle = Bundle::open(folder.path()).unwrap();
        bundle.files().iter().find(|file| file.path == "weights.fp32.bin").unwrap().decoder.unwrap() as usize
    };
    bytes[decoder..].chunks_exact_mut(64).for_each(|line| line.rotate_left(4));
    let hash: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&path, bytes).unwrap();
    common::edit_manifest(folder.path(), |m| {
        let files = m["files"].as_array_mut().unwrap();
        files.iter_mut().find(|file| file["path"] == "weights.fp32.bin").unwrap()["sha256"] = json!(hash);
    });
    folder
}

#[test]
fn verify_fails_past_the_tolerance() {
    let (folder, spoilt) = (tempfile::tempdir().unwrap(), spoilt());
    let path = spoilt.path().to_str().unwrap();
    let (status, _, error) = verify(folder.path(), &["--bundle", path]);
    for form in ["native", "mha", "plain", "fixed"] {
        let sentence = format!("int8 {form}: the divergence is");
        assert!(status == 1 && error.contains(&sentence) && error.contains("at most 0.01"), "{error}");
    }
    let (status, said, error) = verify(folder.path(), &["--against", path, "--precision", "fp32", "--json"]);
    assert!(status == 1 && error.contains("fp32 native: the divergence is"), "{error}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert!(found["ok"] == json!(false) && found["variants"][0]["past"][0].as_str().unwrap().contains("divergence"));
    // Without fp32 there is what the manifest keeps.
    let alone = common::copy(&precisions());
    common::edit_manifest(alone.path(), |m| {
        for picture in m["judged"].as_array_mut().unwrap() {
            picture["log_probabilities"] = json!(vec![-0.01; 16]);
        }
    });
    let (status, _, error) = verify(folder.path(), &["--bundle", alone.path().to_str().unwrap()]);
    assert!(status == 1 && error.contains("fp16 plain: the KL divergence is about"), "{error}");
}

#[test]
fn verify_with_tokens_compares_on_given_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "0", "--count", "2", "-o", "{seed}.png", "--tokens-out", "t.json"];
    let drawn = common::run_dflow(folder.path(), &arguments);
    assert!(drawn.status.success());
    let (status, said, error) = verify(folder.path(), &["--tokens", "t.json", "--precision", "int8"]);
    assert!(status == 0 && said.contains("on 2 pictures"), "{said}{error}");
    std::fs::write(folder.path().join("bad.json"), "{}").unwrap();
    let (status, _, error) = verify(folder.path(), &["--tokens", "bad.json"]);
    assert!(status == 1 && error.contains("bad.json"), "{error}");
}

#[test]
fn verify_sheet_shows_both_variants() {
    let folder = tempfile::tempdir().unwrap();
    let (status, _, error) = verify(folder.path(), &["--precision", "int8", "--sheet", "sheet.png"]);
    assert_eq!(status, 0, "{error}");
    let sheet = image::open(folder.path().join("sheet.png")).unwrap().to_rgb8();
    // Three classes, two side by side: eight pictures of 64 px each.
    assert!(sheet.width() > 16 * 64 && sheet.height() > 2 * 64 && sheet.height() < 4 * 80, "{:?}", sheet.dimensions());
    // Left the reference's four, right those of the variant: of one class and seed, and so nearly alike.
    let cell = 68;
    let (mut off, mut plain) = (0u64, 0u64);
    for y in 20..76 {
        for x in 8..60 {
            let (a, b) = (sheet.get_pixel(x, y), sheet.get_pixel(x + 4 * cell, y));
            off += (0..3).map(|c| u64::from(a[c].abs_diff(b[c]))).sum::<u64>();
            plain += (0..3).map(|c| u64::from(a[c].abs_diff(sheet.get_pixel(x + cell, y)[c]))).sum::<u64>();
        }
    }
    assert!(off < plain, "{off} {plain}");
}

#[test]
fn verify_refuses_invalid_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |code: i32, words: &[&str], arguments: &[&str]| {
        let (status, _, error) = verify(folder.path(), arguments);
        assert_eq!(status, code, "{arguments:?}: {error}");
        assert!(words.iter().all(|word| error.contains(word)), "{arguments:?}: {error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    };
    let precisions = precisions();
    let precisions = precisions.to_str().unwrap();
    fails(2, &["\"fp8\" is neither a precision", "nor the folder of a bundle"], &["--against", "fp8"]);
    fails(2, &["has no precision int7"], &["--against", &format!("{precisions}:int7")]);
    fails(2, &["has no variant of that precision and form; it has: int8 native, int8 mha"], &["--precision", "fp8"]);
    fails(2, &["there is no reference"], &["--bundle", precisions, "--sheet", "s.png"]);
    fails(2, &["no variant to compare with"], &["--precision", "fp32", "--form", "native", "--sheet", "s.png"]);
    fails(1, &["not found", "detailflow.json"], &["--against", folder.path().to_str().unwrap()]);
}
