//! Stripped bundles: what they hold works, and everything else is refused with an error.

mod common;
#[cfg(all(feature = "cli", target_os = "linux"))]
#[path = "common/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};

use detailflow::{Bundle, Error, Generation, Model, ModelOptions, Picture, PixelFormat, Request, tasks};
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
fn decoder_only_bundle_decodes_and_refuses_the_rest() {
    let folder = without(&["ar", "encoder"]);
    common::edit_manifest(folder.path(), |m| {
        for key in ["ar", "ids", "sampling", "classes", "decoder", "encoder"] {
            m.as_object_mut().unwrap().remove(key);
        }
    });
    let bundle = Bundle::open(folder.path()).unwrap();
    assert!(!bundle.can_generate() && !bundle.can_encode() && bundle.classes().is_empty());
    let full = Model::open(common::small(), &ModelOptions::default()).unwrap();
    assert!(full.bundle().can_generate() && full.bundle().can_encode());
    full.bundle().check_can_generate().unwrap();

    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    let tokens: Vec<u32> = (0..16).collect();
    for prefix in bundle.ladder().prefixes() {
        let tokens = &tokens[..prefix.tokens];
        assert_eq!(model.decode(tokens).unwrap(), full.decode(tokens).unwrap());
    }
    for text in [state(Generation::new(&Request::new(&model))), state(bundle.check_can_generate())] {
        assert_eq!(text, "the bundle small has only the decoder: it decodes tokens and cannot generate");
    }
    assert!(state(tasks::score(&model, 0, &tokens)).contains("cannot generate"));
    assert_eq!(
        state(model.encode(&grey())),
        "the bundle small has only the decoder: it decodes tokens and cannot encode pictures"
    );
    let mut request = Request::new(&model);
    assert!(request.set_class(0).unwrap_err().to_string().contains("small names no classes"));
    assert!(bundle.class("potion").unwrap_err().to_string().contains("small names no classes"));
    request.set_level_size(bundle.ladder().levels()[0].size).unwrap();
    assert!(model.graph_time() > std::time::Duration::ZERO);
}

#[test]
fn bundle_without_ar_or_encoder_opens() {
    let folder = without(&["encoder"]);
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    assert!(model.bundle().can_generate() && !model.bundle().can_encode());
    assert_eq!(
        state(model.encode(&grey())),
        "the bundle small was exported without the graph that is needed to encode pictures"
    );
    Generation::new(&Request::new(&model)).unwrap().step().unwrap();

    let folder = without(&["ar"]);
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    assert!(!model.bundle().can_generate() && model.bundle().can_encode());
    assert_eq!(
        state(Generation::new(&Request::new(&model))),
        "the bundle small was exported without the graph that is needed to generate"
    );
    assert_eq!(model.encode(&grey()).unwrap().len(), 16);
}

#[test]
fn manifest_with_uneven_variants_is_refused() {
    for part in ["ar", "encoder"] {
        let folder = common::copy(&common::small());
        common::edit_manifest(folder.path(), |m| drop(m["variants"][1].as_object_mut().unwrap().remove(part)));
        refused(folder.path(), &["variant int8 native has", part, "int8 mha has none"]);
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

/// `bundle` cut down into a new folder, which is kept by the first of the pair.
fn strip(bundle: &Path, precision: Option<&str>) -> (tempfile::TempDir, Bundle) {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("decoder");
    let stripped = Bundle::open(bundle).unwrap().strip(&place, precision, |_, _| true).unwrap();
    assert_eq!(stripped.path(), place);
    (folder, stripped)
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn stripped_bundle_decodes_bit_for_bit_in_every_variant() {
    let sprites = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites");
    for bundle in [common::small(), common::data("tiny-16/bundle"), common::data("tiny-32/bundle"), sprites] {
        let whole = Bundle::open(&bundle).unwrap();
        let (_folder, stripped) = strip(&bundle, None);
        stripped.verify(|_, _| ()).unwrap();
        assert!(!stripped.can_generate() && !stripped.can_encode());
        assert_eq!(stripped.tokenizer_id(), whole.tokenizer_id());
        assert_eq!((stripped.classes(), stripped.ladder()), (whole.classes(), whole.ladder()));
        let mut files: Vec<&str> = stripped.files().iter().map(|file| file.path.as_str()).collect();
        files.push("detailflow.json");
        files.sort();
        assert_eq!(names(stripped.path()), files);
        let bytes = |bundle: &Bundle| bundle.files().iter().map(|file| file.length).sum::<u64>();
        println!("{}: {} of {} bytes", bundle.display(), bytes(&stripped), bytes(&whole));
        assert!(bytes(&stripped) < bytes(&whole) / 2);

        let codes = whole.codes() as u32;
        let tokens: Vec<u32> = (0..whole.tokens() as u32).map(|at| (at * 7919 + 13) % codes).collect();
        assert_eq!(stripped.variants().len(), whole.variants().len());
        for variant in whole.variants() {
            let [a, b] = [&whole, &stripped].map(|b| common::open(b.path(), &variant.precision, &variant.form));
            for prefix in whole.ladder().prefixes() {
                let [a, b] = [&a, &b].map(|model| model.decode(&tokens[..prefix.tokens]).unwrap());
                assert_eq!(a, b, "{} {} {}", whole.name(), variant.precision, variant.form);
            }
            assert!(state(Generation::new(&Request::new(&b))).contains("cannot generate"));
        }
    }
}

#[test]
fn strip_keeps_one_precision() {
    let (_folder, stripped) = strip(&common::small(), Some("fp32"));
    assert!(stripped.variants().iter().all(|variant| variant.precision == "fp32") && stripped.variants().len() == 4);
    assert_eq!(
        names(stripped.path()),
        ["decoder.fp32.mha.onnx", "decoder.fp32.plain.onnx", "detailflow.json", "weights.fp32.bin"]
    );
    // What was cut down can be cut down.
    let (_other, again) = strip(stripped.path(), None);
    for name in names(stripped.path()) {
        let [a, b] = [&stripped, &again].map(|bundle| std::fs::read(bundle.path().join(&name)).unwrap());
        assert!(a == b, "{name}");
    }
    let error = stripped.strip("nowhere", Some("int8"), |_, _| true).unwrap_err();
    assert!(
        matches!(error, Error::Invalid(_)) && error.to_string().ends_with("no precision int8; it has: fp32"),
        "{error}"
    );
}

/// A game that ships tokens has files whose class its bundle has no name for.
#[test]
fn stripped_bundle_decodes_token_files_with_a_class() {
    let bundle = Bundle::open(common::small()).unwrap();
    let dft = bundle.dft(Some(1), Some(7), vec![1; bundle.tokens()]).unwrap();
    let folder = without(&["ar", "encoder"]);
    common::edit_manifest(folder.path(), |m| {
        for key in ["ar", "ids", "sampling", "classes", "encoder"] {
            drop(m.as_object_mut().unwrap().remove(key));
        }
    });
    let alone = Bundle::open(folder.path()).unwrap();
    assert!(alone.classes().is_empty());
    alone.check_dft(&dft).unwrap();
    // One that knows its classes has no other.
    let far = detailflow::tokens::Dft { class: Some(1000), ..dft };
    alone.check_dft(&far).unwrap();
    assert!(bundle.check_dft(&far).unwrap_err().to_string().contains("1000"));
}

#[test]
fn strip_keeps_files_of_no_graph() {
    use sha2::Digest;
    let folder = common::copy(&common::small());
    std::fs::write(folder.path().join("LICENSE.md"), "mine").unwrap();
    common::edit_manifest(folder.path(), |m| {
        let sha256: String = sha2::Sha256::digest("mine").iter().map(|byte| format!("{byte:02x}")).collect();
        m["files"].as_array_mut().unwrap().push(json!({"path": "LICENSE.md", "length": 4, "sha256": sha256}));
        m["from_the_future"] = json!([1, 2]);
    });
    let (_folder, stripped) = strip(folder.path(), Some("int8"));
    assert_eq!(std::fs::read_to_string(stripped.path().join("LICENSE.md")).unwrap(), "mine");
    let text = std::fs::read_to_string(stripped.path().join("detailflow.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(manifest["from_the_future"], json!([1, 2]));
    for gone in ["ar", "encoder", "ids", "sampling"] {
        assert!(manifest.get(gone).is_none(), "{gone}");
    }
    assert!(manifest["provenance"].get("ar").is_none() && manifest["provenance"]["tokenizer"].is_string());
}

/// Stripping `bundle` into `place` fails with each of `words`, and leaves everything as it is.
fn strip_fails(bundle: &Path, place: &Path, words: &[&str]) {
    let look = |folder: &Path| -> Vec<_> {
        names(folder).into_iter().map(|name| (std::fs::read(folder.join(&name)).ok(), name)).collect()
    };
    // Other processes write into the system's folder of temporary files.
    let beside = place.parent().filter(|beside| beside.is_dir() && *beside != std::env::temp_dir());
    let now = || (beside.map(names), place.is_dir().then(|| look(place)));
    let before = now();
    let error = Bundle::open(bundle).unwrap().strip(place, None, |_, _| true).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "\"{error}\" does not say {word}");
    }
    assert!(now() == before, "{error}");
}

#[test]
fn strip_into_a_foreign_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    strip_fails(&common::small(), &folder.path().join("no/place"), &["cannot write"]);
    std::fs::write(&place, "text").unwrap();
    strip_fails(&common::small(), &place, &["is not a folder"]);
    std::fs::remove_file(&place).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(common::small(), &place).unwrap();
        strip_fails(&common::small(), &place, &["is not a folder"]);
        std::fs::remove_file(&place).unwrap();
    }
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("mine.txt"), "text").unwrap();
    strip_fails(&common::small(), &place, &["is not a bundle; it is left unchanged"]);
    std::fs::remove_file(place.join("mine.txt")).unwrap();
    strip_fails(&common::small(), &common::small(), &["is the bundle itself"]);
    // A relative path to a folder above it, where no other process writes.
    let inner = folder.path().join("above/bundle");
    std::fs::create_dir_all(inner.parent().unwrap()).unwrap();
    std::fs::rename(common::copy(&common::small()).keep(), &inner).unwrap();
    let root: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
    let above = root.join(folder.path().join("above").strip_prefix("/").unwrap());
    strip_fails(&inner, &above, &["is the bundle itself or a folder above it"]);
    std::fs::remove_dir_all(folder.path().join("above")).unwrap();

    // An empty folder, and a bundle that is there, make way; nothing is left beside.
    for precision in [None, Some("int8")] {
        Bundle::open(common::small()).unwrap().strip(&place, precision, |_, _| true).unwrap();
        let both = place.join("weights.fp32.bin").is_file();
        assert!(both == precision.is_none() && names(folder.path()) == ["place"]);
    }
    // Replacing a whole bundle with its own decoder needs another name for one of the two.
    let whole = common::copy(&common::small());
    strip_fails(whole.path(), whole.path(), &["is the bundle itself"]);
}

#[test]
fn strip_of_a_damaged_bundle_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    Bundle::open(common::small()).unwrap().strip(&place, None, |_, _| true).unwrap();

    let old = common::copy(&common::small());
    common::edit_manifest(old.path(), |m| {
        let files = m["files"].as_array_mut().unwrap();
        files.iter_mut().for_each(|file| drop(file.as_object_mut().unwrap().remove("decoder")));
    });
    strip_fails(old.path(), &place, &["older exporter", "weights.int8.bin", "--only decoder"]);

    // Damage that opening sees is refused there; damage that comes later is met on the way, wherever it is.
    let damaged = common::copy(&common::small());
    let bundle = Bundle::open(damaged.path()).unwrap();
    for file in bundle.files().iter().filter(|file| file.path.starts_with("decoder") || file.path.ends_with(".bin")) {
        let path = damaged.path().join(&file.path);
        let sound = std::fs::read(&path).unwrap();
        for at in [0, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let error = bundle.strip(&place, None, |_, _| true).unwrap_err();
            assert!(matches!(error, Error::Bundle { .. }) && error.to_string().contains(&file.path), "{error}");
        }
        for length in [sound.len() / 2, 0] {
            std::fs::write(&path, &sound[..length]).unwrap();
            let error = bundle.strip(&place, None, |_, _| true).unwrap_err();
            assert!(error.to_string().contains(&format!("{} has {length} bytes", file.path)), "{error}");
        }
        std::fs::write(&path, sound).unwrap();
    }
    std::fs::write(damaged.path().join("detailflow.json"), "{").unwrap();
    assert!(matches!(bundle.strip(&place, None, |_, _| true), Err(Error::Bundle { .. })));
    std::fs::remove_file(damaged.path().join("detailflow.json")).unwrap();
    assert!(matches!(bundle.strip(&place, None, |_, _| true), Err(Error::NotFound { .. })));
    Bundle::open(&place).unwrap().verify(|_, _| ()).unwrap();
    assert_eq!(names(folder.path()), ["place"]);
}

#[test]
fn strip_stops_when_its_callback_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let bundle = Bundle::open(common::small()).unwrap();
    let mut steps = 0;
    let stripped = bundle.strip(&place, None, |done, total| {
        steps += 1;
        assert!(0 < done && done <= total);
        true
    });
    stripped.unwrap();
    std::fs::remove_dir_all(&place).unwrap();
    assert!(steps >= 6);
    for last in 1..=steps {
        let mut step = 0;
        let stopped = bundle.strip(&place, None, |_, _| {
            step += 1;
            step < last
        });
        assert!(matches!(stopped, Err(Error::Cancelled)) && names(folder.path()).is_empty(), "{stopped:?}");
    }
}

/// `dflow` with the bundle in `folder`: exit status, what it said, what it complained about.
#[cfg(feature = "cli")]
fn dflow(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = common::dflow(folder).args(arguments).env("DETAILFLOW_BUNDLE", folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[cfg(feature = "cli")]
#[test]
fn dflow_with_a_stripped_bundle_reports_what_is_missing() {
    let folder = without(&["ar", "encoder"]);
    let alone = "the bundle small has only the decoder: it decodes tokens and cannot";
    let (status, _, error) = dflow(folder.path(), &["generate", "no-such-class"]);
    assert!(status == Some(1) && error.contains(alone) && error.contains("generate"), "{error}");
    image::RgbImage::new(8, 8).save(folder.path().join("black.png")).unwrap();
    let (status, _, error) = dflow(folder.path(), &["encode", "black.png", "-o", "t.json"]);
    assert!(status == Some(1) && error.contains(alone) && error.contains("encode pictures"), "{error}");

    let (status, said, _) = dflow(folder.path(), &["info"]);
    assert!(status == Some(0) && said.contains("decoder only") && !said.contains("guidance"), "{said}");
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

#[cfg(feature = "cli")]
#[test]
fn dflow_strip_writes_a_decoder_only_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let (small, sprites) = (common::small(), Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites"));
    let small = small.to_str().unwrap();
    let (status, said, error) = dflow(folder.path(), &["strip", small, "-o", "out", "--precision", "int8"]);
    assert!(status == Some(0) && said.starts_with("out: the decoder of small, 0.1 MB of 0.5 MB"), "{said}{error}");
    assert!(error.is_empty() && names(folder.path()) == ["out"], "{error}");
    let (status, said, _) = dflow(folder.path(), &["verify", "--bundle", "out"]);
    assert!(status == Some(0) && said.contains("int8 plain: decoder compiles"), "{said}");

    for (arguments, words) in [
        (vec!["strip", small, "-o", small], "is the bundle itself"),
        (vec!["strip", small, "-o", "new", "--precision", "fp8"], "no precision fp8; it has: int8, fp32"),
        (vec!["strip", "nowhere", "-o", "new"], "not found: nowhere"),
    ] {
        let (status, said, error) = dflow(folder.path(), &arguments);
        assert!(status == Some(1) && said.is_empty() && error.contains(words), "{said}{error}");
    }
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(dflow(folder.path(), &["strip", small]).0, Some(2));

    // Tokens that the whole bundle drew.
    let sprites = sprites.to_str().unwrap();
    let drawn = ["generate", "potion", "--seed", "7", "--tokens-out", "t.json", "-o", "whole.png", "--bundle", sprites];
    let drawn = [&drawn[..], &["--no-provenance"]].concat();
    assert_eq!(dflow(folder.path(), &drawn).0, Some(0));
    let (status, said, error) = dflow(folder.path(), &["strip", sprites, "-o", "sprites"]);
    assert!(status == Some(0), "{error}");
    println!("{said}");
    assert_eq!(dflow(folder.path(), &["decode", "t.json", "--bundle", "sprites", "-o", "alone.png"]).0, Some(0));
    let [a, b] = ["whole.png", "alone.png"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
    assert!(a == b);
}

/// A decoder whose weights lie where `strip` does not copy them.
#[test]
fn strip_whose_decoder_needs_more_than_its_part_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let short = common::copy(&common::small());
    common::edit_manifest(short.path(), |m| {
        for file in m["files"].as_array_mut().unwrap() {
            if let Some(part) = file.get("decoder").and_then(serde_json::Value::as_u64) {
                file["decoder"] = json!(part / 2);
            }
        }
    });
    strip_fails(short.path(), &place, &["decoder.", "takes weights from the bytes up to", "the first"]);
    let other = common::copy(&common::small());
    common::replace_in(other.path(), "decoder.fp32.plain.onnx", "weights.fp32.bin", "weights.int8.bin");
    let error = Bundle::open(other.path()).unwrap().strip(&place, Some("fp32"), |_, _| true).unwrap_err().to_string();
    assert!(error.contains("decoder.fp32.plain.onnx takes weights from") && !place.exists(), "{error}");
}

/// Killed at any system call that gives or takes a name, the target opens: with its old content or the new one. With the
/// exchange of folders and, where it is said to be missing, with two renames.
#[cfg(all(feature = "cli", target_os = "linux"))]
#[test]
fn strip_killed_at_any_rename_leaves_a_bundle() {
    use std::process::Command;
    if !programs::has_or_skip("strace", "strace") {
        return;
    }
    let calls = "rename,renameat,renameat2,unlink,unlinkat,rmdir";
    let folder = tempfile::tempdir().unwrap();
    let strip = |more: &[String], precision: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]).args(more);
        command.arg(common::dflow_path()).arg("strip").arg(common::small()).args([
            "-o",
            "place",
            "--precision",
            precision,
        ]);
        command.current_dir(folder.path()).output().unwrap()
    };
    let first = strip(&[], "fp32");
    if !first.status.success() {
        let why = String::from_utf8_lossy(&first.stderr).into_owned();
        programs::skip("strip_killed_at_any_rename_leaves_a_bundle", &format!("strace cannot trace here: {why}"));
        return;
    }
    let place = folder.path().join("place");
    let is = |bundle: &Bundle| bundle.variants()[0].precision.clone();
    assert_eq!(is(&Bundle::open(&place).unwrap()), "fp32");
    let (mut olds, mut news) = (0, 0);
    for missing in [vec![], vec!["-e".to_owned(), "inject=renameat2:error=ENOSYS".to_owned()]] {
        let calls = if missing.is_empty() { calls.to_owned() } else { calls.replace(",renameat2", "") };
        for at in 1..100 {
            let killed =
                [missing.clone(), vec!["-e".to_owned(), format!("inject={calls}:signal=KILL:when={at}")]].concat();
            let before = is(&Bundle::open(&place).unwrap());
            let wanted = if before == "fp32" { "int8" } else { "fp32" };
            let ended = strip(&killed, wanted).status.success();
            let after =
                Bundle::open(&place).unwrap_or_else(|error| panic!("killed at call {at}, {missing:?}: {error}"));
            after.verify(|_, _| {}).unwrap();
            if is(&after) == before {
                olds += 1;
            } else {
                news += 1;
            }
            if ended {
                assert_eq!(is(&after), wanted);
                break;
            }
        }
    }
    assert!(olds > 0 && news > 2, "{olds} old, {news} new");
}
