//! `dflow` as users and scripts run it: results on stdout, errors on stderr, exit status 0, 1, 2 or 130.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::run_dflow as dflow;
use serde_json::Value;

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = dflow(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "dflow {arguments:?}: {errors}");
    assert!(errors.is_empty(), "no progress bar, nothing else on stderr in a pipe: {errors:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Fails with `code`; the error has each of `words`, and nothing was written.
fn fails(code: i32, words: &[&str], arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = dflow(folder.path(), arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "dflow {arguments:?}: {errors}");
    for word in words {
        assert!(errors.contains(word), "dflow {arguments:?}: \"{errors}\" does not say {word}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "dflow {arguments:?} left something");
}

fn picture_size(path: &Path) -> (u32, u32) {
    image::image_dimensions(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The pixels of a picture file, whatever its records say.
fn pixels(path: &Path) -> (u32, u32, Vec<u8>) {
    let picture = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgba8();
    (picture.width(), picture.height(), picture.into_raw())
}

fn tokens(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn class(index: usize) -> String {
    detailflow::Bundle::open(common::small()).unwrap().classes()[index].clone()
}

#[test]
fn generate_one_picture_writes_a_file_of_the_level() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["generate", "0", "--seed", "3", "-o", "one.png", "--tokens-out", "t.json"]);
    assert_eq!(said, "one.png\nt.json\n");
    assert_eq!(picture_size(&folder.path().join("one.png")), (32, 32));
    let file = tokens(&folder.path().join("t.json"));
    assert_eq!(file["format"], 1);
    assert_eq!(file["bundle"].as_str().unwrap().len(), 16);
    assert_eq!(file["images"][0]["class"], class(0));
    assert_eq!(file["images"][0]["seed"], 3);
    assert_eq!(file["images"][0]["tokens"].as_array().unwrap().len(), 16);

    // By name it is the same, and so is what decode makes of the tokens.
    ok(folder.path(), &["generate", &class(0), "--seed", "3", "-o", "two.png"]);
    ok(folder.path(), &["decode", "t.json", "-o", "three.png"]);
    let pixels = |name: &str| pixels(&folder.path().join(name));
    assert_eq!(pixels("one.png"), pixels("two.png"));
    assert_eq!(pixels("one.png"), pixels("three.png"));
    ok(folder.path(), &["generate", "0", "--seed", "3", "--level", "16", "-o", "coarse.png"]);
    ok(folder.path(), &["decode", "t.json", "--level", "16", "-o", "coarse2.png"]);
    assert_eq!(picture_size(&folder.path().join("coarse.png")), (16, 16));
    assert_eq!(pixels("coarse.png"), pixels("coarse2.png"));
}

#[test]
fn generate_without_output_names_the_file_by_class_and_seed() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["generate", "1", "--seed", "5"]);
    assert_eq!(said.trim(), format!("{}-5.png", class(1)));
    assert!(folder.path().join(said.trim()).is_file());
}

#[test]
fn generate_several_pictures_writes_a_sheet_or_a_file_each() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["generate", "0", "--count", "20", "-o", "sheet.png"]);
    let (width, height) = picture_size(&folder.path().join("sheet.png"));
    assert!(width >= 5 * 64 && height >= 4 * 64, "{width} x {height}");
    let said =
        ok(folder.path(), &["generate", "all", "--count", "2", "-o", "{class}_{seed}_{index}.png", "--seed", "8"]);
    assert_eq!(said.lines().next().unwrap(), format!("{}_8_0.png", class(0)));
    assert_eq!(said.lines().nth(1).unwrap(), format!("{}_9_1.png", class(0)));
    assert!(said.lines().all(|line| folder.path().join(line).is_file()));
    ok(folder.path(), &["generate", "all", "-o", "all.png", "--tokens-out", "all.json"]);
    let all = tokens(&folder.path().join("all.json"));
    assert!(all["images"].as_array().unwrap().iter().all(|image| image["seed"] == 0), "the same seeds for each class");
}

#[test]
fn generate_alone_and_in_a_batch_gives_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["generate", "1", "--count", "20", "--tokens-out", "many.json", "-o", "many.png"]);
    ok(folder.path(), &["generate", "1", "--seed", "18", "--tokens-out", "one.json", "-o", "one.png"]);
    assert_eq!(
        tokens(&folder.path().join("many.json"))["images"][18],
        tokens(&folder.path().join("one.json"))["images"][0]
    );
}

#[test]
fn encode_and_decode_round_trip_and_refuse_foreign_tokens() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["generate", "0", "-o", "a.png"]);
    ok(folder.path(), &["encode", "a.png", "-o", "t.json"]);
    let file = tokens(&folder.path().join("t.json"));
    assert!(file["images"][0]["class"].is_null() && file["images"][0]["seed"].is_null());
    ok(folder.path(), &["decode", "t.json", "-o", "b.webp"]);
    assert_eq!(picture_size(&folder.path().join("b.webp")), (32, 32));
    ok(folder.path(), &["encode", "a.png", "--effort", "0", "-o", "alone.json"]);
    ok(folder.path(), &["encode", "a.png", "--effort", "1", "-o", "searched.json"]);
    assert_eq!(tokens(&folder.path().join("alone.json")), file);
    assert_ne!(tokens(&folder.path().join("searched.json")), file);
    fails(2, &["--effort"], &["encode", "a.png", "--effort", "5", "-o", "never.json"]);

    // Tokens of another tokenizer.
    let foreign = std::fs::read_to_string(folder.path().join("t.json"))
        .unwrap()
        .replace(file["bundle"].as_str().unwrap(), "0123456789abcdef");
    std::fs::write(folder.path().join("foreign.json"), foreign).unwrap();
    let refused = dflow(folder.path(), &["decode", "foreign.json", "-o", "c.png"]);
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("0123456789abcdef") && errors.contains("--force"), "{errors}");
    assert!(!folder.path().join("c.png").exists());
    ok(folder.path(), &["decode", "foreign.json", "--force", "-o", "c.png"]);

    // Files that are none, or hold nonsense.
    for (text, word) in [
        ("soup", "not a token file"),
        ("{}", "format"),
        (r#"{"format": 9}"#, "format 9"),
        (
            r#"{"format": 1, "bundle": "x", "images": [{"class": null, "seed": null, "tokens": [-1]}]}"#,
            "not a token file",
        ),
    ] {
        std::fs::write(folder.path().join("bad.json"), text).unwrap();
        let refused = dflow(folder.path(), &["decode", "bad.json", "-o", "d.png"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(word), "{text}");
    }
    for list in ["[99999]", "[]", "[1,2,3,4,5]"] {
        let text = format!(
            r#"{{"format": 1, "bundle": {}, "images": [{{"class": null, "seed": null, "tokens": {list}}}]}}"#,
            file["bundle"]
        );
        std::fs::write(folder.path().join("bad.json"), text).unwrap();
        assert_eq!(dflow(folder.path(), &["decode", "bad.json", "-o", "d.png"]).status.code(), Some(1), "{list}");
    }
    assert!(!folder.path().join("d.png").exists());
    assert_eq!(dflow(folder.path(), &["decode", "t.json", "--level", "7", "-o", "d.png"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn encode_picture_larger_than_memory_is_an_error() {
    use std::os::unix::process::ExitStatusExt;
    let folder = tempfile::tempdir().unwrap();
    // 8000 x 8000 grey is a small file and 64 MB in memory, here with 60 MB of address space in all.
    let path = folder.path().join("large.png");
    image::GrayImage::new(8000, 8000).save(&path).unwrap();
    let script = "ulimit -v 60000; exec \"$0\" encode large.png -o t.json";
    let output = Command::new("sh")
        .args(["-c", script, common::dflow_path()])
        .env("DETAILFLOW_BUNDLE", common::small())
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), None);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("out of memory") && errors.contains("8000 x 8000"), "{errors}");
}

#[test]
fn usage_errors_exit_with_2() {
    let name = class(0);
    let near = format!("{}x", &name);
    fails(2, &["did you mean", &name], &["generate", &near]);
    fails(2, &["out of range"], &["generate", "999"]);
    fails(2, &["temperature"], &["generate", "0", "--temperature", "NaN"]);
    fails(2, &["temperature"], &["generate", "0", "--temperature", "-1"]);
    fails(2, &["guidance"], &["generate", "0", "--guidance", "inf"]);
    fails(2, &["guidance"], &["generate", "0", "--guidance", "1e38"]);
    fails(2, &["top-p"], &["generate", "0", "--top-p", "0"]);
    fails(2, &["levels are 16"], &["generate", "0", "--level", "9"]);
    fails(2, &["1024"], &["generate", "0", "--threads", "5000"]);
    fails(2, &["0 is not in"], &["generate", "0", "--count", "0"]);
    fails(2, &["more than one picture"], &["generate", "all", "--count", "2", "-o", "{class}.png"]);
    fails(2, &["Usage"], &["generate"]);
    fails(2, &["Usage"], &["soup"]);
}

#[test]
fn failures_exit_with_1() {
    fails(1, &["folder", "nowhere"], &["generate", "0", "-o", "nowhere/a.png"]);
    fails(2, &["extension", "png"], &["generate", "0", "-o", "a.soup"]);
    fails(2, &["extension"], &["generate", "0", "--count", "3", "-o", "a.ico"]);
    fails(1, &["not found", "absent.png"], &["encode", "absent.png", "-o", "t.json"]);
    fails(1, &["int8"], &["generate", "0", "--precision", "fp7"]);
    fails(1, &["not found"], &["info", "--bundle", "/nonexistent"]);
    fails(1, &["not a picture"], &["encode", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "-o", "t.json"]);
}

#[test]
fn info_verify_and_doctor_describe_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["info"]);
    assert!(said.contains("levels     16 px") && said.contains(&class(0)), "{said}");
    let json: Value = serde_json::from_str(&ok(folder.path(), &["info", "--json"])).unwrap();
    assert_eq!((&json["size"], &json["tokens"]), (&Value::from(32), &Value::from(16)));
    let said = ok(folder.path(), &["verify"]);
    for variant in ["fp32 mha", "fp32 plain", "int8 mha", "int8 plain"] {
        assert!(said.contains(&format!("{variant}: ar, decoder and encoder")), "{said}");
    }
    let said = ok(folder.path(), &["doctor"]);
    assert!(said.contains("ONNX Runtime") && said.contains("cpu"), "{said}");
    let json: Value = serde_json::from_str(&ok(folder.path(), &["doctor", "--json"])).unwrap();
    assert_eq!(json["devices"][0]["device"], "cpu");
    assert_eq!(json["missing"], Value::Array(vec![]));
}

#[test]
fn verify_names_a_damaged_file() {
    let bundle = common::copy(&common::small());
    let weights = bundle.path().join("weights.int8.bin");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    fails(1, &["weights.int8.bin", "SHA-256"], &["verify", "--bundle", bundle.path().to_str().unwrap()]);
}

#[test]
fn doctor_without_runtime_names_every_place_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("dflow");
    std::fs::copy(common::dflow_path(), &alone).unwrap();
    let doctor = |runtime: Option<&Path>| {
        let mut command = Command::new(&alone);
        command
            .args(["doctor", "--json"])
            .env("DETAILFLOW_BUNDLE", common::small())
            .env_remove("ORT_DYLIB_PATH")
            .env_remove("LD_LIBRARY_PATH");
        if let Some(path) = runtime {
            command.env("ORT_DYLIB_PATH", path);
        }
        let output = command.output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), json["missing"][0].as_str().unwrap_or_default().to_owned(), json)
    };
    let (code, missing, json) = doctor(None);
    // A system that has ONNX Runtime of its own is found; then there is nothing to name.
    if json["runtime"].is_null() {
        assert_eq!(code, Some(1));
        for word in [
            "runtime/libonnxruntime",
            "the system's library search",
            "pip install onnxruntime",
            "export ORT_DYLIB_PATH",
        ] {
            assert!(missing.contains(word), "{missing}");
        }
    } else {
        assert_eq!(json["runtime"]["found_by"], "system");
    }
    let text = folder.path().join("text.so");
    std::fs::write(&text, "not a library").unwrap();
    for (path, word) in [
        (text.as_path(), "not a library that can be loaded"),
        (Path::new("/nonexistent.so"), "not a file"),
        (alone.as_path(), "loaded"),
    ] {
        let (code, missing, _) = doctor(Some(path));
        assert_eq!(code, Some(1));
        assert!(missing.contains(word) && missing.contains(&path.display().to_string()), "{missing}");
    }
}

/// Runs `dflow` in `folder` with a standard output of our choosing.
fn into(folder: &Path, arguments: &[&str], stdout: std::process::Stdio) -> Output {
    let mut command = common::dflow(folder);
    command.args(arguments);
    command.stdout(stdout).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn closed_stdout_does_not_stop_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = into(folder.path(), &["generate", "0", "-o", "a.png", "--tokens-out", "t.json"], writer.into());
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.path().join("a.png").is_file() && folder.path().join("t.json").is_file());
}

#[cfg(target_os = "linux")]
#[test]
fn unwritable_stdout_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into();
    let output = into(folder.path(), &["info"], full());
    assert_eq!(output.status.code(), Some(1));
    let bundle = common::copy(&common::small());
    std::fs::write(bundle.path().join("ar.fp32.mha.onnx"), "soup").unwrap();
    let output = into(folder.path(), &["verify", "--bundle", bundle.path().to_str().unwrap()], full());
    assert_eq!(output.status.code(), Some(1), "a check that cannot fail is none");
}

#[test]
fn verify_and_doctor_fail_when_nothing_can_run() {
    let bundle = common::copy(&common::small());
    common::edit_manifest(bundle.path(), |m| {
        for variant in m["variants"].as_array_mut().unwrap() {
            variant["min_runtime"] = "1.999".into();
        }
    });
    let path = bundle.path().to_str().unwrap();
    fails(1, &["no variant"], &["verify", "--bundle", path]);
    fails(1, &["1.999"], &["doctor", "--bundle", path]);
}

#[test]
fn output_and_tokens_out_of_one_name_are_refused() {
    fails(2, &["both"], &["generate", "0", "-o", "same.png", "--tokens-out", "same.png"]);
    fails(2, &["both"], &["encode", "same.png", "-o", "same.png"]);
}

#[test]
fn output_with_level_placeholder_writes_a_file_for_each_level() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["generate", "0", "--count", "2", "--seed", "3", "-o", "{seed}-{level}.png"]);
    let levels: Vec<u32> =
        detailflow::Bundle::open(common::small()).unwrap().ladder().levels().iter().map(|l| l.size).collect();
    assert_eq!(said.lines().count(), 2 * levels.len());
    ok(folder.path(), &["generate", "0", "--seed", "3", "--level", "16", "-o", "coarse.png"]);
    for &size in &levels {
        assert_eq!(picture_size(&folder.path().join(format!("4-{size}.png"))), (size, size));
    }
    let pixels = |name: &str| pixels(&folder.path().join(name));
    assert_eq!(pixels("3-16.png"), pixels("coarse.png"));
    // None is passed over, however many a slice or a choice goes through at once.
    let (slice, best) = (["--slice", "100000"], ["--best", "1", "--at", "24"]);
    for (name, more) in [("s", &slice[..]), ("b", &best), ("f", &["--share", "16"])] {
        let output = format!("{name}{{seed}}-{{level}}.png");
        let arguments = [&["generate", "0", "--count", "2", "--seed", "3", "-o", &output], more].concat();
        let said = ok(folder.path(), &arguments);
        let pictures = if name == "b" { 1 } else { 2 };
        assert_eq!(said.matches(".png").count(), pictures * levels.len(), "{said}");
    }
    assert_eq!(pixels("s3-16.png"), pixels("coarse.png"));
    ok(folder.path(), &["generate", "0", "--tokens-out", "t.json", "-o", "t.png"]);
    let output = dflow(folder.path(), &["decode", "t.json", "-o", "{level}.png"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn vary_keeps_the_coarse_tokens() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["generate", "1", "--seed", "3", "--tokens-out", "a.json", "-o", "a.png"]);
    ok(
        folder.path(),
        &["vary", "a.json", "--keep", "16", "--count", "3", "--seed", "3", "-o", "v.png", "--tokens-out", "v.json"],
    );
    let (a, v) = (tokens(&folder.path().join("a.json")), tokens(&folder.path().join("v.json")));
    let of = |file: &Value, at: usize| file["images"][at]["tokens"].as_array().unwrap().clone();
    let kept = detailflow::Bundle::open(common::small()).unwrap().ladder().level(16).unwrap().tokens;
    for at in 0..3 {
        assert_eq!(of(&v, at)[..kept], of(&a, 0)[..kept]);
    }
    assert_eq!(of(&v, 0), of(&a, 0), "its own seed draws it again");
    assert_ne!(of(&v, 1), of(&a, 0));
    // A level that was stopped at goes on, and by its own seed to what it would have been.
    ok(folder.path(), &["generate", "1", "--seed", "3", "--level", "16", "--tokens-out", "c.json", "-o", "c.png"]);
    ok(folder.path(), &["vary", "c.json", "--seed", "3", "--tokens-out", "d.json", "-o", "d.png"]);
    assert_eq!(of(&tokens(&folder.path().join("d.json")), 0), of(&a, 0));
    // What is shared by forks is what the first seed draws.
    ok(
        folder.path(),
        &["generate", "1", "--seed", "3", "--count", "3", "--share", "16", "--tokens-out", "s.json", "-o", "s.png"],
    );
    assert_eq!(tokens(&folder.path().join("s.json"))["images"], v["images"]);

    ok(folder.path(), &["redetail", "a.png", "--class", "2", "--keep", "16", "-o", "r.png", "--tokens-out", "r.json"]);
    ok(
        folder.path(),
        &[
            "redetail",
            "a.png",
            "--class",
            "2",
            "--keep",
            "16",
            "--effort",
            "1",
            "-o",
            "s.png",
            "--tokens-out",
            "s.json",
        ],
    );
    ok(folder.path(), &["encode", "a.png", "-o", "e.json"]);
    let [r, s, e] = ["r.json", "s.json", "e.json"].map(|name| tokens(&folder.path().join(name)));
    assert_eq!(of(&r, 0)[..kept], of(&e, 0)[..kept]);
    assert_ne!(of(&s, 0)[..kept], of(&e, 0)[..kept], "tokens that were searched");
    let refused = |words: &[&str], arguments: &[&str]| {
        let output = dflow(folder.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && words.iter().all(|word| errors.contains(word)), "{arguments:?}: {errors}");
    };
    refused(&["no picture 1"], &["vary", "a.json", "--picture", "1", "-o", "x.png"]);
    refused(&["names no class"], &["vary", "e.json", "-o", "x.png"]);
    refused(&["17 px level"], &["vary", "a.json", "--keep", "17", "-o", "x.png"]);
    refused(&["17 px level"], &["redetail", "a.png", "--class", "0", "--keep", "17", "-o", "x.png"]);
    assert!(!folder.path().join("x.png").exists());
}

#[test]
fn generate_best_reports_and_names_the_seed() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["generate", "0", "--count", "8", "--best", "1", "--at", "16", "-o", "{seed}.png", "--tokens-out", "b.json"];
    let said = ok(folder.path(), &arguments);
    let best = tokens(&folder.path().join("b.json"))["images"][0]["seed"].as_u64().unwrap();
    assert!(folder.path().join(format!("{best}.png")).is_file(), "{said}");
    assert_eq!(said.lines().filter(|line| line.ends_with("kept")).count(), 1);
    let kept = said.lines().find(|line| line.ends_with("kept")).unwrap();
    assert!(kept.contains(&format!(" {best}: score")));
    let bundle = detailflow::Bundle::open(common::small()).unwrap();
    let coarse = bundle.ladder().level(16).unwrap().tokens;
    let steps = |tokens: usize| bundle.causal() + (tokens - bundle.causal()) / bundle.group();
    let work = 8 * steps(coarse) + steps(bundle.tokens()) - steps(coarse);
    assert!(said.contains(&format!("work: {work} steps")), "{said}");
    // The likest to a picture is that picture.
    ok(folder.path(), &["generate", "0", "--seed", "5", "--level", "16", "-o", "like.png"]);
    let arguments =
        ["generate", "0", "--count", "8", "--best", "2", "--at", "16", "--by", "likeness", "--like", "like.png"];
    let said = ok(folder.path(), &[&arguments[..], &["-o", "two.png"]].concat());
    assert!(said.lines().any(|line| line.contains(" 5: score") && line.ends_with("kept")), "{said}");
    fails(2, &["--at"], &["generate", "0", "--best", "1"]);
    fails(2, &["finer"], &["generate", "0", "--count", "4", "--best", "1", "--at", "24", "--level", "16"]);
    fails(2, &["--best 4: must be"], &["generate", "0", "--count", "4", "--best", "4", "--at", "16"]);
    fails(2, &["--like"], &["generate", "0", "--count", "4", "--best", "1", "--at", "16", "--by", "likeness"]);
}

#[test]
fn score_and_curves_print_consistent_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["generate", "1", "--log-probabilities", "--tokens-out", "a.json", "-o", "a.png"]);
    let mean = said.lines().last().unwrap().split("mean log-probability ").nth(1).unwrap().to_owned();
    assert!(ok(folder.path(), &["score", "a.json"]).contains(&mean), "{said}");
    let all: Value =
        serde_json::from_str(&ok(folder.path(), &["score", "a.json", "--class", "all", "--json"])).unwrap();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), detailflow::Bundle::open(common::small()).unwrap().classes().len());
    assert!(all.windows(2).all(|pair| pair[0]["mean"].as_f64() >= pair[1]["mean"].as_f64()), "the likeliest first");
    assert_eq!(all[0]["log_probabilities"].as_array().unwrap().len(), 16);

    // A curve that is flat is the number.
    ok(folder.path(), &["generate", "1", "--guidance", "3", "-o", "b.png"]);
    ok(folder.path(), &["generate", "1", "--guidance", "3@0,3@9", "-o", "c.png"]);
    ok(folder.path(), &["generate", "1", "--guidance", "3@0,1@4", "-o", "d.png"]);
    let pixels = |name: &str| pixels(&folder.path().join(name));
    assert_eq!(pixels("b.png"), pixels("c.png"));
    assert_ne!(pixels("b.png"), pixels("d.png"));
    fails(2, &["3@9,3@0"], &["generate", "1", "--guidance", "3@9,3@0", "-o", "x.png"]);
    fails(2, &["guidance -1"], &["generate", "1", "--guidance", "1@0,-1@3", "-o", "x.png"]);
}

#[test]
fn cost_after_calibrate_predicts_only_measured_settings() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let run = |arguments: &[&str]| {
        let output = common::dflow(folder.path()).args(arguments).env("XDG_CACHE_HOME", &cache).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let cost = |arguments: &[&str]| -> Value {
        serde_json::from_str(&run(&[&["cost", "--json"], arguments].concat())).unwrap()
    };
    let unknown = cost(&[]);
    assert!(unknown["predicted_ms"].is_null() && !cache.exists(), "asking writes nothing");
    let steps: u64 = unknown["steps"].as_array().unwrap().iter().map(|step| step["count"].as_u64().unwrap()).sum();
    assert_eq!(unknown["levels"].as_array().unwrap().last().unwrap()["steps"], steps);

    // Many are drawn in batches of 16, which is what they cost.
    let (one, many) = (cost(&["--count", "16"]), cost(&["--count", "40"]));
    let rest = cost(&["--count", "8"]);
    for name in ["multiply_adds", "output_bytes"] {
        let of = |cost: &Value| cost[name].as_u64().unwrap();
        assert_eq!(of(&many), 2 * of(&one) + of(&rest), "{name}");
    }
    assert_eq!(many["key_bytes"], one["key_bytes"]);
    assert_eq!(many["levels"][0]["steps"].as_u64(), one["levels"][0]["steps"].as_u64().map(|steps| 3 * steps));

    run(&["calibrate", "--batch", "1,2"]);
    let files: Vec<_> =
        std::fs::read_dir(cache.join("detailflow")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert!(cost(&[])["predicted_ms"].as_f64().unwrap() > 0.0);
    assert!(cost(&["--threads", "1"])["predicted_ms"].is_null(), "another number of threads was not measured");
    assert!(cost(&["--precision", "fp32"])["predicted_ms"].is_null());

    // What is damaged, or of another kind, is as if it were not there.
    let text = std::fs::read_to_string(&files[0]).unwrap();
    for damaged in [
        "",
        "{",
        &text[..text.len() / 2],
        &text.replace("\"format\": 1", "\"format\": 2"),
        &text.replace("onnxruntime", "other"),
    ] {
        std::fs::write(&files[0], damaged).unwrap();
        assert!(cost(&[])["predicted_ms"].is_null(), "{damaged:?}");
    }
}

/// Control-C leaves what is there, says so, and ends with 130.
#[test]
#[cfg(unix)]
fn control_c_keeps_finished_pictures() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    // Far more than can be drawn before the signal comes; the first line is a picture that is done.
    let mut child = common::dflow(folder.path())
        .args(["generate", "0", "--count", "1000000", "-o", "{seed}.png"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !folder.path().join("16.png").exists() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{errors}");
    assert!(errors.contains("of 1000000 pictures are done"), "{errors}");
    assert!(lines.len() > 16);
    let written = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(written, lines.len(), "every file is named, and each is whole");
    for line in lines {
        assert!(picture_size(&folder.path().join(line)).0 > 0);
    }
}

/// So do forks and candidates: what is done is written, and the tokens of just that.
#[test]
#[cfg(unix)]
fn control_c_keeps_finished_forks_and_candidates() {
    let folder = tempfile::tempdir().unwrap();
    let many = ["generate", "0", "--count", "1000000", "--share", "16", "-o", "{seed}.png"];
    // Candidates of one class after those of another: far more than can be drawn before the signal comes.
    let best = ["generate", "all", "--count", "100", "--best", "1", "--at", "8", "-o", "{class}-{seed}.png"];
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites");
    for (name, bundle, arguments) in [("share", common::small(), &many[..]), ("best", shipped, &best)] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut child = Command::new(common::dflow_path())
            .args(arguments)
            .args(["--tokens-out", "t.dftpack", "--threads", "1"])
            .env("DETAILFLOW_BUNDLE", &bundle)
            .current_dir(&folder)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let written = || std::fs::read_dir(&folder).unwrap().count();
        while written() == 0 && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(130), "{said}{errors}");
        assert!(errors.contains("pictures are done"), "{errors}");
        for line in said.lines().filter(|line| line.ends_with(".png")) {
            assert!(picture_size(&folder.join(line)).0 > 0);
        }
        assert_eq!(said.lines().count(), written(), "{said}");
    }
}

/// What `dflow bench --json` says with `more`.
fn bench(more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&["bench", "--json", "--repeat", "2", "--threads", "1"], more].concat();
    let said: Value = serde_json::from_str(&ok(folder.path(), &arguments)).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it writes nothing");
    said
}

/// A number that is more than zero.
fn number(of: &Value, name: &str) -> f64 {
    let value = of[name].as_f64().unwrap_or_else(|| panic!("{name} of {of:#} is no number"));
    assert!(value.is_finite() && value > 0.0, "{name} is {value}");
    value
}

fn about(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} is not {b}");
}

/// Nothing here asks how long anything takes: only that what is said fits together.
#[test]
fn bench_numbers_are_consistent() {
    let bundle = detailflow::Bundle::open(common::small()).unwrap();
    let said = bench(&["--precision", "int8,fp32", "--form", "plain,mha", "--batch", "3,1", "--guidance", "2"]);
    assert_eq!(said["bundle"], bundle.name());
    let results = said["results"].as_array().unwrap();
    let got: Vec<_> = results.iter().map(|r| format!("{} {} {}", r["batch"], r["precision"], r["form"])).collect();
    let wanted = ["int8 plain", "int8 mha", "fp32 plain", "fp32 mha"].map(|text| text.replace(' ', "\" \""));
    let wanted = [3, 1].iter().flat_map(|batch| wanted.iter().map(move |one| format!("{batch} \"{one}\"")));
    assert_eq!(got, wanted.collect::<Vec<_>>(), "each combination once, batch by batch, in the order asked for");
    for result in results {
        let batch = result["batch"].as_u64().unwrap() as f64;
        let fixed = (&result["device"], &result["threads"], &result["guidance"], &result["level"]);
        assert_eq!(fixed, (&"cpu".into(), &1.into(), &2.0.into(), &bundle.size().into()));
        let image = number(result, "ms_per_image");
        about(number(result, "images_per_second"), 1000.0 / image);
        assert!(number(result, "min_ms_per_image") <= image && image <= number(result, "max_ms_per_image"));
        let rounds: Vec<f64> = result["rounds_ms"].as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect();
        about(image, (rounds[0] + rounds[1]) / 2.0 / batch);
        let outside = result["outside_graphs_share"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&outside), "{outside}");
        assert!(number(result, "min_open_ms") <= number(result, "open_ms"));
        if cfg!(target_os = "linux") {
            assert!(number(result, "peak_rss_mb") > 1.0);
        }

        // The steps are those of the schedule, and each shape reads its weights and what it keeps.
        let steps = result["steps"].as_array().unwrap();
        let of = |at: usize, name: &str| steps[at][name].as_u64().unwrap() as usize;
        let parallel = (bundle.tokens() - bundle.causal()) / bundle.group();
        assert_eq!(steps.len(), 2);
        for (at, query, count) in [(0, 1, bundle.causal()), (1, bundle.group(), parallel)] {
            assert_eq!((of(at, "rows"), of(at, "query"), of(at, "count")), (2 * batch as usize, query, count));
            assert!(number(&steps[at], "min_ms") <= number(&steps[at], "ms"));
            let share = number(&steps[at], "floor_share");
            assert!(number(&steps[at], "floor_ms") > 0.0 && share > 0.0);
        }
        let weights = bundle.step_weights().unwrap() as f64 * if result["precision"] == "fp32" { 4.0 } else { 1.0 };
        let all = number(&steps[0], "bytes_read") * of(0, "count") as f64
            + number(&steps[1], "bytes_read") * of(1, "count") as f64;
        about(number(result, "bytes_read"), all);
        let kept = number(&steps[0], "bytes_read") - weights;
        assert!(kept > 0.0, "keys and values are read as well");

        // Only the library's int8 kernels have a GEMM floor.
        assert!(result["gemm_floor_share"].is_null() && steps.iter().all(|step| step["gemm_floor_ms"].is_null()));

        let levels = result["levels"].as_array().unwrap();
        let sizes: Vec<u64> = levels.iter().map(|level| level["size"].as_u64().unwrap()).collect();
        assert_eq!(sizes, bundle.ladder().levels().iter().map(|level| u64::from(level.size)).collect::<Vec<_>>());
        about(number(&levels[0], "ms"), number(result, "first_level_ms"));
        about(number(levels.last().unwrap(), "share"), 1.0);
    }
    // Keys and values grow with the rows: three pictures have three times those of one.
    let read = |at: usize| number(&results[at]["steps"][0], "bytes_read");
    let weights = bundle.step_weights().unwrap() as f64;
    about(read(1) - weights, 3.0 * (read(5) - weights));
    // Ratios are of the first of the same batch.
    for first in [0, 4] {
        about(number(&results[first]["ratio"], "median"), 1.0);
    }
}

#[test]
fn bench_of_the_int8_kernels_has_a_gemm_floor() {
    let bundle = detailflow::Bundle::open(common::small()).unwrap();
    let said = bench(&["--precision", "int8", "--form", "native", "--batch", "3", "--warmup", "0"]);
    let result = &said["results"][0];
    let [one, group] = &result["steps"].as_array().unwrap()[..] else { panic!("two shapes of steps") };
    for (step, query) in [(one, 1), (group, bundle.group() as u64)] {
        // Three pictures with guidance.
        assert_eq!(step["multiply_adds"].as_u64(), bundle.step_weights().map(|weights| weights * 6 * query));
        assert!(number(step, "gemm_floor_share") > 0.0);
    }
    about(number(group, "gemm_floor_ms"), bundle.group() as f64 * number(one, "gemm_floor_ms"));
    assert!(number(result, "gemm_floor_share") > 0.0 && number(result, "multiply_adds_per_second") > 1e5);
}

#[test]
fn bench_stops_at_a_level_and_prints_a_table() {
    let said = bench(&["--level", "16", "--guidance", "1", "--warmup", "0"]);
    let result = &said["results"][0];
    assert_eq!((said["results"].as_array().unwrap().len(), &result["level"]), (1, &16.into()));
    assert_eq!((result["levels"].as_array().unwrap().len(), &result["steps"][0]["rows"]), (1, &1.into()));
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["bench", "--repeat", "1", "--batch", "1,2", "--threads", "1,2"]);
    for words in ["batch 1", "batch 2", "2 x 1", "4 x 4", "cpu int8 native", "16", "floor", "per second"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn bench_refuses_invalid_arguments() {
    fails(2, &["--batch", "0 is not in"], &["bench", "--batch", "1,0"]);
    fails(2, &["--batch"], &["bench", "--batch", "many"]);
    fails(2, &["9 px level", "levels are 16"], &["bench", "--level", "9"]);
    fails(2, &["guidance", "NaN"], &["bench", "--guidance", "nan"]);
    fails(2, &["guidance -1"], &["bench", "--guidance", "-1"]);
    fails(2, &["5000"], &["bench", "--threads", "1,5000"]);
    fails(2, &["--repeat"], &["bench", "--repeat", "0"]);
    fails(2, &["soup"], &["bench", "--device", "soup"]);
    fails(2, &["soup"], &["generate", "0", "--device", "soup"]);
    fails(1, &["fp7", "int8 mha"], &["bench", "--precision", "fp7"]);
    fails(1, &["not found"], &["bench", "--bundle", "/nonexistent"]);
    // A million sprites keep more than a thousand gigabytes.
    let sprites = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/bundles/sprites");
    #[cfg(target_os = "linux")]
    fails(2, &["out of memory", "smaller --batch"], &["bench", "--batch", "1048576", "--bundle", sprites]);
    let decoder = tempfile::tempdir().unwrap();
    let place = decoder.path().join("decoder");
    detailflow::Bundle::open(common::small()).unwrap().strip(&place, None, |_, _| true).unwrap();
    fails(1, &["cannot generate"], &["bench", "--bundle", place.to_str().unwrap()]);
}

/// A configuration's process that is killed is told of; and those of a bench that is stopped do not stay.
#[test]
#[cfg(target_os = "linux")]
fn bench_child_processes_end_with_it() {
    use std::process::{Child, Stdio};
    let begin = || {
        let mut command = Command::new(common::dflow_path());
        command.args(["bench", "--repeat", "1000", "--warmup", "1000", "--precision", "int8,fp32", "--threads", "1"]);
        command.env("DETAILFLOW_BUNDLE", common::small()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    // The one that it starts, once it is there.
    let child_of = |bench: &mut Child| loop {
        let path = format!("/proc/{0}/task/{0}/children", bench.id());
        let children = std::fs::read_to_string(path).unwrap();
        if let Some(first) = children.split_whitespace().next() {
            break first.to_owned();
        }
        assert!(bench.try_wait().unwrap().is_none(), "it ended before it began");
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let kill = |signal: &str, process: &str| {
        assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
    };
    let mut bench = begin();
    let child = child_of(&mut bench);
    kill("-KILL", &child);
    let output = bench.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("its process ended") && errors.contains("signal: 9"), "{errors}");

    let mut bench = begin();
    let child = child_of(&mut bench);
    kill("-TERM", &bench.id().to_string());
    bench.wait().unwrap();
    // It is gone, or a zombie that whoever inherits it has not yet looked after.
    let alive = || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    };
    while alive() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn mips_write_a_file_of_each_size() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = |name: &str| pixels(&folder.path().join(name));
    ok(folder.path(), &["generate", "0", "--seed", "3", "-o", "one.png", "--tokens-out", "t.json"]);
    let said = ok(folder.path(), &["mips", "t.json", "-o", "mip-{size}.png"]);
    assert_eq!(said, "mip-32.png\nmip-16.png\nmip-8.png\nmip-4.png\nmip-2.png\nmip-1.png\n");
    for size in [32, 16, 8, 4, 2, 1] {
        assert_eq!(picture_size(&folder.path().join(format!("mip-{size}.png"))), (size, size));
    }
    // What is a level is as decode gives it; from the finest only the finest is.
    ok(folder.path(), &["decode", "t.json", "--level", "16", "-o", "coarse.png"]);
    assert_eq!(pixels("mip-32.png"), pixels("one.png"));
    assert_eq!(pixels("mip-16.png"), pixels("coarse.png"));
    ok(folder.path(), &["mips", "t.json", "--from", "finest", "-o", "fine-{size}.png"]);
    assert_eq!(pixels("fine-32.png"), pixels("one.png"));
    assert_ne!(pixels("fine-16.png"), pixels("coarse.png"));

    // From a coarser level on: a chain that is no power of two. Other kinds of token files are read too.
    ok(folder.path(), &["generate", "0", "--seed", "3", "--tokens-out", "t.dft", "-o", "again.png"]);
    let said = ok(folder.path(), &["mips", "t.dft", "--level", "24", "-o", "c-{size}.png"]);
    assert_eq!(said, "c-24.png\nc-12.png\nc-6.png\nc-3.png\nc-1.png\n");
    ok(folder.path(), &["decode", "t.json", "--level", "24", "-o", "coarse.png"]);
    assert_eq!(pixels("c-24.png"), pixels("coarse.png"));

    // Several pictures need names of their own.
    ok(folder.path(), &["generate", "all", "--tokens-out", "all.json", "-o", "all.png"]);
    let count = tokens(&folder.path().join("all.json"))["images"].as_array().unwrap().len();
    let said = ok(folder.path(), &["mips", "all.json", "-o", "{class}-{index}-{size}.png"]);
    assert_eq!(said.lines().count(), count * 6);
    assert_eq!(said.lines().next().unwrap(), format!("{}-0-32.png", class(0)));
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    for (arguments, code, word) in [
        (&["mips", "all.json", "-o", "x-{size}.png"][..], 2, "more than one picture"),
        (&["mips", "t.json", "-o", "x.png"], 2, "{size}"),
        (&["mips", "t.json", "-o", "x-{size}.soup"], 2, "extension"),
        (&["mips", "t.json", "-o", "t.json/{size}.png"], 1, "cannot create a folder in"),
        (&["mips", "t.json", "-o", "x-{size}.png", "--level", "7"], 2, "levels are"),
        (&["mips", "t.json", "-o", "x-{size}.png", "--from", "soup"], 2, "finest"),
        (&["mips", "absent.json", "-o", "x-{size}.png"], 1, "not found"),
    ] {
        let refused = dflow(folder.path(), arguments);
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(code) && errors.contains(word), "{arguments:?}: {errors}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "{arguments:?} wrote something");
    }
}

#[test]
fn atlas_sprites_are_where_its_list_says() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| image::open(folder.path().join(name)).unwrap().to_rgba8();
    ok(folder.path(), &["generate", "0", "--count", "5", "--tokens-out", "a.dftpack", "-o", "a-{index}.png"]);
    ok(folder.path(), &["generate", "1", "--seed", "9", "--tokens-out", "b.json", "-o", "b.png", "--level", "16"]);
    let said = ok(
        folder.path(),
        &["atlas", "a.dftpack", "b.json", "--columns", "3", "--scale", "2", "--padding", "5", "-o", "atlas.png"],
    );
    assert_eq!(said, "atlas.png\n");
    let command =
        ["atlas", "a.dftpack", "b.json", "--columns", "3", "--scale", "2", "--padding", "5", "-o", "again.png"];
    let said = ok(folder.path(), &[&command[..], &["--json", "places.json"]].concat());
    assert_eq!(said, "again.png\nplaces.json\n");
    let (atlas, places) = (open("again.png"), tokens(&folder.path().join("places.json")));
    assert_eq!(atlas, open("atlas.png"));
    assert_eq!(atlas.dimensions(), (3 * 64 + 2 * 5, 2 * 64 + 5));
    assert_eq!((&places["width"], &places["height"]), (&Value::from(202), &Value::from(133)));
    assert_eq!((&places["image"], &places["scale"]), (&Value::from("again.png"), &Value::from(2)));
    let sprites = places["sprites"].as_array().unwrap();
    let mut covered = 0;
    for (at, sprite) in sprites.iter().enumerate() {
        let number = |name: &str| sprite[name].as_u64().unwrap() as u32;
        let (name, size) = if at < 5 { (format!("a-{at}.png"), 32) } else { ("b.png".to_owned(), 16) };
        let alone = open(&name);
        assert_eq!((number("width"), number("height")), (2 * size, 2 * size), "{sprite}");
        for (x, y, pixel) in alone.enumerate_pixels() {
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                assert_eq!(atlas.get_pixel(number("x") + 2 * x + dx, number("y") + 2 * y + dy), pixel, "{sprite}");
            }
        }
        covered += alone.pixels().filter(|pixel| pixel.0 != [0; 4]).count() * 4;
    }
    assert_eq!(atlas.pixels().filter(|pixel| pixel.0 != [0; 4]).count(), covered, "the rest is clear");
    let first = (&sprites[0]["file"], &sprites[0]["class"], &sprites[0]["seed"]);
    assert_eq!(first, (&Value::from("a.dftpack"), &Value::from(class(0)), &Value::from(0)));
    assert_eq!(sprites[0]["name"], format!("{}-0", class(0)));
    assert_eq!((&sprites[5]["file"], &sprites[5]["index"]), (&Value::from("b.json"), &Value::from(0)));
    assert_eq!((&sprites[4]["index"], &sprites[4]["x"], &sprites[4]["y"]), (&4.into(), &69.into(), &69.into()));

    // About square when nothing is said; every sprite at one level.
    ok(folder.path(), &["atlas", "a.dftpack", "b.json", "--level", "16", "-o", "square.png"]);
    assert_eq!(picture_size(&folder.path().join("square.png")), (48, 32));
    ok(folder.path(), &["atlas", "b.json", "--columns", "7", "-o", "one.png"]);
    assert_eq!(open("one.png"), open("b.png"));

    let before = std::fs::read_dir(folder.path()).unwrap().count();
    for (arguments, code, word) in [
        (&["atlas", "-o", "x.png"][..], 2, "Usage"),
        (&["atlas", "b.json", "-o", "x.soup"], 2, "extension"),
        (&["atlas", "b.json", "-o", "nowhere/x.png"], 1, "folder"),
        (&["atlas", "b.json", "-o", "x.png", "--json", "nowhere/x.json"], 1, "folder"),
        (&["atlas", "b.json", "-o", "x.png", "--json", "x.png"], 2, "both"),
        (&["atlas", "b.json", "-o", "x.png", "--scale", "65"], 2, "65"),
        (&["atlas", "b.json", "-o", "x.png", "--columns", "0"], 2, "0 is not in"),
        (&["atlas", "b.json", "-o", "x.png", "--level", "7"], 2, "levels are"),
        (&["atlas", "b.json", "-o", "x.png", "--level", "32"], 1, "takes"),
        (&["atlas", "b.json", "absent.json", "-o", "x.png"], 1, "absent.json"),
    ] {
        let refused = dflow(folder.path(), arguments);
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(code) && errors.contains(word), "{arguments:?}: {errors}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "{arguments:?} wrote something");
    }
}

#[test]
fn atlas_pages_are_as_large_as_allowed_and_engines_read_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| image::open(folder.path().join(name)).unwrap().to_rgba8();
    ok(folder.path(), &["generate", "0", "--count", "5", "--tokens-out", "a.dftpack", "-o", "{class}-{seed}.png"]);
    let pages = ["--page-size", "128", "--padding", "2", "--extrude", "3", "--power-of-two"];
    let formats = ["--layout", "texturepacker,love,json"];
    let files = ["atlas", "a.dftpack", "a.dftpack", "-o", "sprites.png"];
    let said = ok(folder.path(), &[&files[..], &pages, &formats].concat());
    let wanted = ["sprites-0.png", "sprites-1.png", "sprites-0.json", "sprites-1.json", "sprites.lua", "sprites.json"];
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted);
    let list = tokens(&folder.path().join("sprites.json"));
    let sprites = list["sprites"].as_array().unwrap();
    assert_eq!(sprites.len(), 10);
    for (at, sprite) in sprites.iter().enumerate() {
        // Of the same file twice, the second has another name.
        let name = format!("{}-{}", class(0), at % 5);
        let shown = if at < 5 { name.clone() } else { format!("{name}-2") };
        assert_eq!((&sprite["name"], &sprite["seed"]), (&Value::from(shown.clone()), &Value::from(at % 5)));
        let page = sprite["page"].as_u64().unwrap();
        let hash = tokens(&folder.path().join(format!("sprites-{page}.json")));
        let frame = &hash["frames"][&shown]["frame"];
        assert_eq!((&frame["x"], &frame["y"], &frame["w"]), (&sprite["x"], &sprite["y"], &Value::from(32)));
        let (atlas, alone) = (open(&format!("sprites-{page}.png")), open(&format!("{name}.png")));
        assert_eq!(atlas.dimensions(), if page == 0 { (128, 128) } else { (64, 64) });
        let corner = ["x", "y"].map(|name| sprite[name].as_u64().unwrap() as u32);
        for (x, y, pixel) in alone.enumerate_pixels() {
            assert_eq!(atlas.get_pixel(corner[0] + x, corner[1] + y), pixel, "{shown}");
        }
        assert_eq!(atlas.get_pixel(corner[0] - 3, corner[1] - 3), alone.get_pixel(0, 0), "extruded");
    }
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    for (options, code, word) in [
        (&["--page-size", "100", "--power-of-two", "-o", "x.png"][..], 2, "64 and 128 are the nearest"),
        (&["--page-size", "15", "-o", "x.png"], 2, "15 is not in"),
        (&["--extrude", "9", "-o", "x.png"], 2, "9 is not in"),
        (&["--layout", "unity", "-o", "x.png"], 2, "texturepacker-array"),
        (&["--layout", "love,love", "-o", "x.png"], 2, "named twice"),
        (&["--layout", "love", "-o", "x.webp"], 2, "extension png"),
        (&["--layout", "love", "--columns", "3", "-o", "x.png"], 2, "cannot be used with"),
        (&["--layout", "love", "--json", "x.json", "-o", "x.png"], 2, "cannot be used with"),
        (&["--page-size", "16", "-o", "x.png"], 1, "takes 1 to 16 px"),
    ] {
        let refused = dflow(folder.path(), &[&["atlas", "a.dftpack"][..], options].concat());
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(code) && errors.contains(word), "{options:?}: {errors}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "{options:?} wrote something");
    }
}

#[test]
fn watch_rewrites_the_picture_at_each_level() {
    let folder = tempfile::tempdir().unwrap();
    let said = ok(folder.path(), &["watch", "0", "--seed", "3", "-o", "w.png"]);
    let sizes: Vec<String> = detailflow::Bundle::open(common::small())
        .unwrap()
        .ladder()
        .levels()
        .iter()
        .map(|level| format!("w.png  {} px", level.size))
        .collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), sizes);
    ok(folder.path(), &["generate", "0", "--seed", "3", "-o", "g.png"]);
    let pixels = |name: &str| pixels(&folder.path().join(name));
    assert_eq!(pixels("w.png"), pixels("g.png"));
    fails(1, &["no-such-folder"], &["watch", "0", "-o", "no-such-folder/w.png"]);
}

#[test]
fn output_with_unknown_fields_or_seeds_beyond_the_last_is_wrong_usage() {
    let two = |output| ["generate", "0", "--count", "2", "-o", output];
    fails(2, &["unknown field {Seed}", "{class}, {seed}, {index}"], &two("{Seed}.png"));
    fails(2, &["unknown field {size}"], &two("{size}.png"));
    fails(2, &["{seed:5}", "{seed:05}"], &two("{seed:5}.png"));
    fails(2, &["no closing brace"], &two("{seed.png"));
    fails(2, &["unknown field {level}"], &["mips", "none.json", "-o", "{level}-{size}.png"]);
    let last = u64::MAX.to_string();
    fails(2, &["--seed", &last, "the largest"], &["generate", "0", "--count", "2", "--seed", &last]);
    fails(2, &["--seed", "the largest"], &["watch", "0", "--count", "2", "--seed", &last, "-o", "a.png"]);
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["generate", "0", "--seed", &last, "-o", "a.png"]);
}

#[test]
fn output_with_fields_has_widths_and_makes_its_folders() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "0", "--count", "2", "--seed", "9", "-o", "new/{class}/{seed:05}-{index:02}.png"];
    let name = class(0);
    let expected = ["00009-00", "00010-01"].map(|file| format!("new/{name}/{file}.png"));
    assert_eq!(ok(folder.path(), &arguments).lines().collect::<Vec<_>>(), expected);
    ok(folder.path(), &["generate", "0", "--count", "2", "-o", "{{seed}}.png"]);
    assert!(folder.path().join("{seed}.png").is_file());
    ok(folder.path(), &["generate", "0", "-o", "levels/{level:03}.png", "--tokens-out", "t.json"]);
    assert!(folder.path().join("levels/032.png").is_file());
    ok(folder.path(), &["mips", "t.json", "-o", "mips/{size:03}.png"]);
    assert!(folder.path().join("mips/032.png").is_file());
    // A name without fields is taken as it is.
    fails(1, &["folder not found: nowhere"], &["generate", "0", "-o", "nowhere/a.png"]);
    std::fs::write(folder.path().join("file"), "").unwrap();
    let output = dflow(folder.path(), &["generate", "0", "-o", "file/{seed}.png"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Killed without warning, no picture is without its tokens.
#[test]
fn killed_generation_leaves_the_tokens_of_every_picture() {
    for (tokens_out, pattern) in
        [("t.json", "{seed}.png"), ("t.dftpack", "{seed}.png"), ("t.json", "{seed}-{level}.png")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut child = common::dflow(folder.path())
            .args(["generate", "0", "--count", "1000000", "-o", pattern, "--tokens-out", tokens_out])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let first = pattern.replace("{seed}", "16").replace("{level}", "16");
        while !folder.path().join(&first).exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let seeds: Vec<u64> = match detailflow::tokens::open_any(folder.path().join(tokens_out)).unwrap() {
            detailflow::tokens::AnyTokens::Json(file) => file.images.iter().filter_map(|image| image.seed).collect(),
            detailflow::tokens::AnyTokens::Pack(pack) => {
                (0..pack.len()).filter_map(|number| pack.get(number).unwrap().dft.seed).collect()
            }
            other => panic!("{other:?}"),
        };
        let mut pictures = 0;
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(name) = name.strip_suffix(".png") {
                let seed: u64 = name.split('-').next().unwrap().parse().unwrap();
                assert!(seeds.contains(&seed), "{name} has no tokens in {tokens_out}");
                pictures += 1;
            }
        }
        assert!(pictures > 16);
    }
}

/// A bundle's text is shown, not obeyed.
#[test]
fn text_of_a_bundle_reaches_no_terminal_as_a_command() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| {
        m["name"] = "a\u{1b}[2Jb\u{202e}\nc".into();
        m["license"] = "\u{9b}2J".into();
        m["provenance"]["exporter"] = "\u{7f}\u{1b}c".into();
    });
    let bundle = folder.path().to_str().unwrap();
    for arguments in [
        vec!["info", "--bundle", bundle],
        vec!["info", "--json", "--bundle", bundle],
        vec!["verify", "--bundle", bundle],
        vec!["generate", "no such class", "--bundle", bundle],
        vec!["strip", bundle, "-o", "stripped"],
    ] {
        let output = dflow(folder.path(), &arguments);
        for text in [&output.stdout, &output.stderr] {
            let text = String::from_utf8(text.clone()).unwrap();
            let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!text.contains(obeyed), "{arguments:?}: {text:?}");
        }
        if arguments.contains(&"--json") {
            let json: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(json["provenance"]["exporter"], "\u{7f}\u{1b}c");
        }
    }
}

/// A bundle as one file, which commands take like the folder, and back.
#[test]
fn bundle_pack_and_unpack_give_what_every_command_takes() {
    let folder = tempfile::tempdir().unwrap();
    let small = common::small();
    let small = small.to_str().unwrap();
    let said = ok(folder.path(), &["bundle", "pack", small, "small.dflow"]);
    assert!(said.starts_with("small.dflow: ") && said.contains(" files, "), "{said}");
    let said = ok(folder.path(), &["bundle", "unpack", "small.dflow", "unpacked"]);
    assert!(said.starts_with("unpacked: "), "{said}");
    let tokens = |bundle: &str| {
        ok(
            folder.path(),
            &["generate", "0", "--seed", "3", "-o", "x.png", "--tokens-out", "x.json", "--bundle", bundle],
        );
        self::tokens(&folder.path().join("x.json"))
    };
    let wanted = tokens(small);
    for bundle in ["small.dflow", "unpacked", "unpacked/detailflow.json"] {
        assert_eq!(tokens(bundle), wanted, "{bundle}");
    }
    for command in ["info", "verify"] {
        ok(folder.path(), &[command, "--bundle", "small.dflow"]);
    }
    ok(folder.path(), &["strip", "small.dflow", "-o", "stripped.dflow"]);
    ok(folder.path(), &["decode", "x.json", "-o", "y.png", "--bundle", "stripped.dflow"]);
    let pixels = |name: &str| pixels(&folder.path().join(name));
    assert_eq!(pixels("x.png"), pixels("y.png"));

    for (arguments, words) in [
        (["bundle", "pack", "small.dflow", "small.dflow"], "is the bundle itself"),
        (["bundle", "pack", small, "unpacked"], "is a folder"),
        (["bundle", "unpack", "small.dflow", "x.png"], "is not a folder"),
        (["bundle", "unpack", "x.png", "new"], "single-file bundle"),
        (["bundle", "pack", "none", "new.dflow"], "bundle not found"),
    ] {
        let output = dflow(folder.path(), &arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(words), "{arguments:?}: {said}");
    }
    assert!(!folder.path().join("new").exists() && !folder.path().join("new.dflow").exists());
}
