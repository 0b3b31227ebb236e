//! Invalid bundles: each gives an error that names the fault, and none crashes.

mod common;

use std::path::Path;

use detailflow::{Bundle, Error, Model, ModelOptions};
use serde_json::{Value, json};

fn refuse(bundle: &Path) -> String {
    let error = Model::open(bundle, &ModelOptions::default()).expect_err("the bundle is damaged");
    assert!(matches!(error, Error::Bundle { .. }), "{error:?}");
    error.to_string()
}

/// Opens a copy of the small bundle with a changed manifest; the error must name each of `words`.
fn edited(words: &[&str], edit: impl FnOnce(&mut Value)) {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), edit);
    let error = refuse(folder.path());
    for word in words {
        assert!(error.contains(word), "\"{error}\" does not name {word}");
    }
}

#[test]
fn missing_bundle_is_not_found() {
    let missing = Model::open("/nonexistent/bundle", &ModelOptions::default()).unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
    let empty = tempfile::tempdir().unwrap();
    let no_manifest = Bundle::open(empty.path()).unwrap_err();
    assert!(matches!(no_manifest, Error::NotFound { .. }) && no_manifest.to_string().contains("detailflow.json"));
    let file = empty.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(Bundle::open(&file).is_err());
}

#[test]
fn invalid_manifest_is_refused() {
    let folder = common::copy(&common::small());
    let path = folder.path().join("detailflow.json");
    for (text, word) in
        [("", "EOF"), ("{\"format\": 1", "EOF"), ("[]", "format"), ("\u{feff}soup", "expected"), ("{}", "format")]
    {
        std::fs::write(&path, text).unwrap();
        assert!(refuse(folder.path()).contains(word), "{text}: {}", refuse(folder.path()));
    }
    std::fs::write(&path, [0xff, 0xfe, 0]).unwrap();
    assert!(Bundle::open(folder.path()).is_err(), "bytes that are no text");
}

#[test]
fn unknown_format_is_reported_before_other_errors() {
    edited(&["format 2", "reads format 1"], |m| *m = json!({"format": 2, "something": "new"}));
    edited(&["format \"1\""], |m| m["format"] = json!("1"));
}

#[test]
fn manifest_with_unknown_keys_is_accepted() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| m["from_the_future"] = json!({"a": [1, 2]}));
    Bundle::open(folder.path()).unwrap();
}

#[test]
fn contradictory_sizes_are_refused() {
    edited(&["tokens.count", "0"], |m| m["tokens"]["count"] = json!(0));
    edited(&["tokens.group"], |m| m["tokens"]["group"] = json!(0));
    edited(&["tokens.count", "multiple"], |m| m["tokens"]["group"] = json!(3));
    edited(&["tokens.causal"], |m| m["tokens"]["causal"] = json!(17));
    edited(&["tokens.bits"], |m| m["tokens"]["bits"] = json!(31));
    edited(&["image.patch"], |m| m["image"]["patch"] = json!(0));
    edited(&["image.size", "multiple"], |m| m["image"]["patch"] = json!(7));
    edited(&["channels", "alpha"], |m| m["image"]["channels"] = json!(3));
    edited(&["image.size"], |m| m["image"]["size"] = json!(4_000_000));
    edited(&["kv_heads"], |m| m["ar"]["kv_heads"] = json!(1000));
    edited(&["ids.no_class", "overlaps"], |m| m["ids"]["no_class"] = m["ids"]["class"].clone());
    edited(&["ids.special", "outside"], |m| m["ids"]["special"] = json!(i64::MAX));
    edited(&["ids.class", "outside"], |m| m["ids"]["class"] = json!(-5));
    edited(&["classes", "duplicate"], |m| m["classes"][1] = m["classes"][0].clone());
    edited(&["number of classes"], |m| m["classes"] = json!([]));
    edited(&["tokenizer_id"], |m| m["tokenizer_id"] = json!("xyz"));
    edited(&["temperature"], |m| m["sampling"]["temperature"] = json!(-1.0));
    edited(&["guidance"], |m| m["sampling"]["guidance"] = json!(-1.0));
    edited(&["variant"], |m| m["variants"] = json!([]));
    edited(&["missing field", "ladder"], |m| drop(m.as_object_mut().unwrap().remove("ladder")));
    edited(&["tokens.count", "invalid type"], |m| m["tokens"]["count"] = json!("many"));
    edited(&["tokens.count", "-16"], |m| m["tokens"]["count"] = json!(-16));
    edited(&["ar.width is 17", "2 heads of 8"], |m| m["ar"]["width"] = json!(17));
    edited(&["ar.hidden"], |m| m["ar"]["hidden"] = json!(0));
    edited(&["decoder.layers"], |m| m["decoder"]["layers"] = json!(0));
    edited(&["decoder.heads"], |m| m["decoder"]["heads"] = json!(3));
    edited(&["decoder", "missing field", "hidden"], |m| m["decoder"] = json!({"layers": 2, "width": 16, "heads": 2}));
    edited(&["encoder.width"], |m| m["encoder"]["width"] = json!(1 << 21));
    edited(&["encoder.patch"], |m| m["encoder"]["patch"] = json!(5));
    edited(&["encoder.code_width"], |m| m["encoder"]["code_width"] = json!(0));
    edited(&["min_runtime", "soup"], |m| m["variants"][0]["min_runtime"] = json!("soup"));
    edited(&["weights.int8.bin", "does not list"], |m| {
        m["files"].as_array_mut().unwrap().retain(|file| file["path"] != "weights.int8.bin");
    });
}

#[test]
fn inconsistent_ladder_is_refused() {
    let raise = |m: &mut Value, key: &str, by: u64| {
        let place = &mut m["ladder"]["prefixes"][4][key];
        *place = json!(place.as_u64().unwrap() + by);
    };
    edited(&["ladder", "formula"], |m| raise(m, "resolution", 1));
    edited(&["ladder", "rounded"], |m| raise(m, "size", 8));
    edited(&["ladder", "rows"], |m| drop(m["ladder"]["prefixes"].as_array_mut().unwrap().pop()));
    edited(&["ladder.power"], |m| m["ladder"]["power"] = json!(0.0));
}

#[test]
fn files_differing_from_the_manifest_are_refused() {
    edited(&["plain file name"], |m| m["files"][0]["path"] = json!("../../etc/passwd"));
    edited(&["plain file name"], |m| m["files"][0]["path"] = json!("/etc/passwd"));
    edited(&["SHA-256", "hex"], |m| m["files"][0]["sha256"] = json!("12"));
    edited(&["SHA-256", "the manifest says 000"], |m| m["files"][0]["sha256"] = json!("0".repeat(64)));
    edited(&["decoder part", "longer than the file"], |m| {
        let files = m["files"].as_array_mut().unwrap();
        let weights = files.iter_mut().find(|file| file["path"] == "weights.fp32.bin").unwrap();
        weights["decoder"] = json!(weights["length"].as_u64().unwrap() + 1);
    });
    edited(&["bytes, the manifest says 1"], |m| m["files"][0]["length"] = json!(1));
    edited(&["files does not list"], |m| m["variants"][0]["ar"] = json!("other.onnx"));

    let folder = common::copy(&common::small());
    let name = Bundle::open(folder.path()).unwrap().files()[0].path.clone();
    std::fs::remove_file(folder.path().join(&name)).unwrap();
    assert!(refuse(folder.path()).contains(&format!("{name} is missing")));
}

/// A graph that was damaged, with a manifest that was mended to hide it.
fn damaged(part: &str, damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = common::copy(&common::small());
    let bundle = Bundle::open(folder.path()).unwrap();
    let first = &bundle.variants()[0];
    let name = format!("{part}.{}.{}.onnx", first.precision, first.form);
    let path = folder.path().join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    rehash(folder.path(), &name, &bytes);
    folder
}

fn rehash(folder: &Path, name: &str, bytes: &[u8]) {
    use sha2::Digest;
    let hash: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    common::edit_manifest(folder, |m| {
        let files = m["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == name).unwrap();
        file["length"] = json!(bytes.len());
        file["sha256"] = json!(hash);
    });
}

#[test]
fn truncated_graph_error_names_the_file() {
    for part in ["ar", "decoder"] {
        let folder = damaged(part, |bytes| bytes.truncate(bytes.len() / 2));
        let error = refuse(folder.path());
        assert!(error.contains(&format!("{part}.")), "{error}");
        let folder = damaged(part, |bytes| *bytes = b"not a graph at all".to_vec());
        assert!(refuse(folder.path()).contains(&format!("{part}.")));
    }
}

#[test]
fn truncated_weights_are_refused() {
    let folder = common::copy(&common::small());
    let bundle = Bundle::open(folder.path()).unwrap();
    let weights = bundle.files().iter().find(|file| file.path.ends_with(".bin")).unwrap().path.clone();
    let bytes = std::fs::read(folder.path().join(&weights)).unwrap();
    let cut = &bytes[..bytes.len() / 4];
    std::fs::write(folder.path().join(&weights), cut).unwrap();
    rehash(folder.path(), &weights, cut);
    let precision = weights.split('.').nth(1).unwrap().to_owned();
    let options = ModelOptions::new().with_precision(precision);
    let error = Model::open(folder.path(), &options).unwrap_err();
    assert!(matches!(error, Error::Bundle { .. }), "{error:?}");
}

#[test]
fn graph_with_another_signature_error_names_the_port() {
    // The decoder in the place of the autoregressive model, and the other way round.
    for (part, other) in [("ar", "decoder"), ("decoder", "ar")] {
        let folder = common::copy(&common::small());
        common::edit_manifest(folder.path(), |m| m["variants"][0][part] = m["variants"][0][other].clone());
        let error = refuse(folder.path());
        let word = if other == "ar" { "has a KV cache" } else { "input" };
        assert!(error.contains(&format!("{other}.")) && error.contains(word), "{error}");
    }
    // Sizes that agree with each other but not with the graph.
    edited(&["heads of dimension 8", "expected", "dimension 12"], |m| {
        m["ar"]["head_width"] = json!(12);
        m["ar"]["width"] = json!(24);
    });
    edited(&["past_key", "expected"], |m| {
        m["variants"] = json!([m["variants"][1]]);
        m["ar"]["head_width"] = json!(12);
        m["ar"]["width"] = json!(24);
    });
}

#[test]
fn encoder_signature_is_checked_at_first_use() {
    let decoder = std::fs::read(common::small().join("decoder.fp32.plain.onnx")).unwrap();
    let folder = damaged("encoder", |bytes| bytes.clone_from(&decoder));
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    let picture = detailflow::Picture::from_pixels(detailflow::PixelFormat::Rgb8, 1, 1, &[0; 3], 3).unwrap();
    let error = model.encode(&picture).unwrap_err();
    assert!(matches!(error, Error::Bundle { .. }) && error.to_string().contains("encoder."), "{error}");
    assert!(model.encode(&picture).is_err(), "and again");
}

#[test]
fn missing_variant_error_lists_the_variants() {
    let open = |options: ModelOptions| Model::open(common::small(), &options).unwrap_err().to_string();
    assert!(open(ModelOptions::new().with_precision("fp8")).contains("int8 mha"));
    assert!("flash".parse::<detailflow::Form>().unwrap_err().to_string().contains("plain"));
}

#[test]
fn variant_needing_a_newer_runtime_is_passed_over() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| m["variants"][0]["min_runtime"] = json!("1.999"));
    let second = Bundle::open(folder.path()).unwrap().variants()[1].clone();
    let model = Model::open(folder.path(), &ModelOptions::default()).unwrap();
    assert_eq!((&model.variant().precision, &model.variant().form), (&second.precision, &second.form));
}

#[test]
fn runtime_too_old_for_the_bundle_is_reported() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| {
        for variant in m["variants"].as_array_mut().unwrap() {
            variant["min_runtime"] = json!("1.999");
        }
    });
    let error = Model::open(folder.path(), &ModelOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Runtime(_)) && error.to_string().contains("1.999"), "{error:?}");
}

/// Calls `open` on another thread, since a pipe would hold it for ever.
#[cfg(unix)]
fn at_once(what: &str, open: impl FnOnce() -> String + Send + 'static) -> String {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(open()));
    receiver.recv_timeout(std::time::Duration::from_secs(120)).unwrap_or_else(|_| panic!("{what} does not return"))
}

/// FIFOs, devices behind links, and folders: an error at once, that says what they are.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    use detailflow::{Picture, tokens};
    type Make = fn(&Path);
    let makes: [(&str, Make); 3] = [
        ("FIFO", |path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("device", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
        ("folder", |path| std::fs::create_dir(path).unwrap()),
    ];
    for (kind, make) in makes {
        for name in ["detailflow.json", "weights.int8.bin", "decoder.fp32.plain.onnx"] {
            let folder = common::copy(&common::small());
            let path = folder.path().join(name);
            std::fs::remove_file(&path).unwrap();
            make(&path);
            let bundle = folder.path().to_owned();
            let error = at_once(name, move || Bundle::open(bundle).unwrap_err().to_string());
            assert!(error.contains("not a file") && error.contains(name), "{kind}: {error}");
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, open) in [
            ("picture.png", (|path| Picture::open(path).err()) as fn(&Path) -> Option<Error>),
            ("picture.tga", |path| Picture::open(path).err()),
            ("a.dft", |path| tokens::open_any(path).err()),
            ("b.dft", |path| tokens::Dft::open(path).err()),
            ("c.json", |path| tokens::TokenFile::open(path).err()),
            ("d.dftpack", |path| tokens::Pack::open(path).err()),
            ("e.dftpack", |path| tokens::Salvage::open(path).err()),
        ] {
            let path = folder.path().join(name);
            make(&path);
            let error = at_once(name, move || open(&path).expect("it is no regular file").to_string());
            assert!(error.contains(name) && error.contains(&format!("a {kind}, not a regular file")), "{error}");
        }
    }
}

/// A file that a graph takes weights from, but that the manifest does not list, is not checked: it is not used either.
#[test]
fn graph_that_takes_weights_from_outside_the_manifest_is_refused() {
    for other in ["weights.fp32.new", "/tmp/weights.bin", "../weights.fp32x", "./weights.fp32.x"] {
        let folder = common::copy(&common::small());
        let weights = folder.path().join("weights.fp32.bin");
        std::fs::copy(&weights, folder.path().join("weights.fp32.new")).unwrap();
        common::replace_in(folder.path(), "ar.fp32.fixed.onnx", "weights.fp32.bin", other);
        let error = refuse(folder.path());
        assert!(error.contains("ar.fp32.fixed.onnx takes weights from") && error.contains(other), "{error}");
    }
    // What is read must be an ONNX file, or it might name more.
    let folder = common::copy(&common::small());
    for bytes in [&b"something else"[..], b"\x08\x08\x3b", b"\x1c\0\0\0ORTM\0\0\0\0"] {
        std::fs::write(folder.path().join("ar.fp32.fixed.onnx"), bytes).unwrap();
        common::list_again(folder.path());
        let error = Bundle::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("ar.fp32.fixed.onnx") && error.contains("ONNX file"), "{error}");
    }
}

/// Pixels are clamped: NaN would become a picture.
#[test]
fn decoder_that_gives_nan_has_failed() {
    let folder = common::copy(&common::small());
    let bundle = Bundle::open(folder.path()).unwrap();
    let file = bundle.files().iter().find(|file| file.path == "weights.fp32.bin").unwrap();
    let decoder = usize::try_from(file.decoder.unwrap()).unwrap();
    let path = folder.path().join(&file.path);
    let mut weights = std::fs::read(&path).unwrap();
    for value in weights[..decoder].as_chunks_mut::<4>().0 {
        *value = f32::NAN.to_le_bytes();
    }
    std::fs::write(&path, weights).unwrap();
    common::list_again(folder.path());
    let model = common::open(folder.path(), "fp32", "plain");
    for tokens in [&[0; 4][..], &[0; 16]] {
        let error = model.decode(tokens).unwrap_err();
        assert!(matches!(&error, Error::Failed { reason, .. } if reason.contains("NaN or infinite")), "{error:?}");
    }
}

#[test]
fn manifest_with_a_byte_order_mark_opens_and_utf_16_is_named() {
    let folder = common::copy(&common::small());
    let path = folder.path().join("detailflow.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    let bundle = Bundle::open(folder.path()).unwrap();
    let place = folder.path().join("stripped");
    assert_eq!(bundle.strip(&place, None, |_, _| true).unwrap().size(), bundle.size());
    for mark in ["\u{feff}", ""] {
        let text = format!("{mark}{text}");
        std::fs::write(&path, text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        assert!(refuse(folder.path()).contains("UTF-16"), "{}", refuse(folder.path()));
    }
}

#[test]
fn class_name_with_a_control_character_is_refused() {
    edited(&["classes[1]", "U+0000 at byte 3"], |m| m["classes"][1] = json!("abc\0d"));
    edited(&["classes[0]", "U+001B at byte 0", "\\u001b[2J"], |m| m["classes"][0] = json!("\u{1b}[2J"));
    edited(&["classes[0]", "U+000A"], |m| m["classes"][0] = json!("two\nlines"));
}

/// Nothing of a bundle reaches a terminal as a command: errors escape it.
#[test]
fn error_of_a_bundle_has_no_control_characters() {
    let folder = common::copy(&common::small());
    for key in ["tokenizer_id", "license", "format"] {
        common::edit_manifest(folder.path(), |m| m[key] = json!(["\u{1b}]0;title\u{7}\u{9b}2J"]));
        let error = Bundle::open(folder.path()).unwrap_err().to_string();
        assert!(!error.contains(|c: char| c.is_control() && c != '\n'), "{error:?}");
    }
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| m["files"][0]["path"] = json!("a\u{1b}[2J/b"));
    let error = refuse(folder.path());
    assert!(error.contains("\\u001b[2J"), "{error:?}");
}
