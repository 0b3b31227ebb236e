//! `dflow` in pipes: `-` as the name of standard input and output.

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Output, Stdio};

use common::{dflow, run_dflow};
use serde_json::Value;

/// Runs `dflow ARGUMENTS` with these bytes on standard input.
fn fed(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = dflow(folder);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that refuses its arguments does not read.
        let _ = pipe.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What `dflow ARGUMENTS` writes to standard output. Standard error has names of files at most.
fn bytes(folder: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = fed(folder, arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "dflow {arguments:?}: {errors}");
    assert!(errors.lines().all(|line| arguments.contains(&line)), "dflow {arguments:?}: {errors}");
    output.stdout
}

fn refused(folder: &Path, code: i32, word: &str, arguments: &[&str], input: &[u8]) {
    let output = fed(folder, arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "dflow {arguments:?}: {errors}");
    assert!(errors.contains(word), "dflow {arguments:?}: \"{errors}\" does not say {word}");
    assert!(output.stdout.is_empty(), "dflow {arguments:?} wrote a result");
}

fn file(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn pictures_and_tokens_pass_through_pipes_as_through_files() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_dflow(folder, &["generate", "0", "--seed", "3", "-o", "a.png", "--tokens-out", "a.json"]);
    let picture = bytes(folder, &["generate", "0", "--seed", "3", "-o", "-"], b"");
    assert_eq!(picture, file(folder, "a.png"));

    let tokens = bytes(folder, &["generate", "0", "--seed", "3", "-o", "b.png", "--tokens-out", "-"], b"");
    assert_eq!(tokens, file(folder, "a.json"));
    // Pictures of `generate` have a record, those that are decoded have none.
    let plain = bytes(folder, &["generate", "0", "--seed", "3", "--no-provenance", "-o", "-"], b"");
    assert_eq!(bytes(folder, &["decode", "-", "-o", "-"], &tokens), plain);

    run_dflow(folder, &["encode", "a.png", "-o", "e.json"]);
    let encoded = bytes(folder, &["encode", "-", "-o", "-"], &picture);
    assert_eq!(encoded, file(folder, "e.json"));
    run_dflow(folder, &["encode", "a.png", "-o", "e.dft"]);
    let dft = bytes(folder, &["encode", "-", "-o", "-", "--format", "dft"], &picture);
    assert_eq!(dft, file(folder, "e.dft"));
    run_dflow(folder, &["decode", "e.dft", "-o", "e.webp"]);
    assert_eq!(bytes(folder, &["decode", "-", "-o", "-", "--format", "webp"], &dft), file(folder, "e.webp"));

    run_dflow(folder, &["vary", "a.json", "--keep", "16", "--seed", "9", "-o", "v.png"]);
    assert_eq!(bytes(folder, &["vary", "-", "--keep", "16", "--seed", "9", "-o", "-"], &tokens), file(folder, "v.png"));
    let redetail = ["--class", "0", "--keep", "16", "--seed", "9", "-o"];
    run_dflow(folder, &[&["redetail", "a.png"][..], &redetail, &["r.png"]].concat());
    assert_eq!(bytes(folder, &[&["redetail", "-"][..], &redetail, &["-"]].concat(), &picture), file(folder, "r.png"));
    let score = run_dflow(folder, &["score", "a.json"]).stdout;
    assert!(!score.is_empty() && bytes(folder, &["score", "-"], &tokens) == score);
}

#[test]
fn packs_atlases_and_damaged_files_pass_through_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_dflow(folder, &["generate", "all", "-o", "s.png", "--tokens-out", "s.dftpack"]);
    let pack = file(folder, "s.dftpack");
    run_dflow(folder, &["decode", "s.dftpack", "--entry", "1", "-o", "one.png"]);
    assert_eq!(bytes(folder, &["decode", "-", "--entry", "1", "-o", "-"], &pack), file(folder, "one.png"));
    run_dflow(folder, &["atlas", "s.dftpack", "-o", "atlas.png", "--json", "atlas.json"]);
    assert_eq!(bytes(folder, &["atlas", "-", "-o", "-"], &pack), file(folder, "atlas.png"));
    let positions = bytes(folder, &["atlas", "-", "-o", "atlas.png", "--json", "-"], &pack);
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let (found, wanted) = (read(&positions), read(&file(folder, "atlas.json")));
    let places = |json: &Value| {
        let place = |sprite: &Value| [sprite["name"].clone(), sprite["x"].clone(), sprite["y"].clone()];
        json["sprites"].as_array().unwrap().iter().map(place).collect::<Vec<_>>()
    };
    assert!(!places(&found).is_empty() && places(&found) == places(&wanted));
    bytes(folder, &["pack", "-", "-o", "again.dftpack"], &pack);
    assert_eq!(file(folder, "again.dftpack"), pack);

    run_dflow(folder, &["generate", "0", "--seed", "4", "-o", "d.png", "--tokens-out", "d.dft"]);
    let whole = file(folder, "d.dft");
    let repaired = bytes(folder, &["repair", "-", "-o", "-", "--format", "dft"], &whole[..whole.len() - 3]);
    assert_eq!(repaired, whole);
}

#[test]
fn tokens_of_a_job_pass_through_pipes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_dflow(folder, &["generate", "0", "--seed", "3", "--count", "2", "-o", "s-{seed}.png", "--no-provenance"]);
    let lines = bytes(folder, &["batch", "-", "-o", "-"], b"{\"class\": 0, \"count\": 2, \"seed\": 3}\n");
    assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 2);
    bytes(folder, &["decode", "-", "-o", "d-{seed}.png"], &lines);
    for seed in ["3", "4"] {
        assert_eq!(file(folder, &format!("d-{seed}.png")), file(folder, &format!("s-{seed}.png")));
    }
    let first = lines.split_inclusive(|&byte| byte == b'\n').next().unwrap();
    bytes(folder, &["decode", "-", "-o", "one.png"], first);
    assert_eq!(file(folder, "one.png"), file(folder, "s-3.png"));
    refused(folder, 1, "line 2", &["decode", "-", "-o", "-"], &[first, b"{\"format\": 1}\n"].concat());
    let other = String::from_utf8(first.to_vec()).unwrap().replace("\"bundle\":\"", "\"bundle\":\"0");
    refused(folder, 1, "line 2", &["decode", "-", "-o", "-"], &[first, other.as_bytes()].concat());
}

#[test]
fn lines_go_to_stderr_while_stdout_takes_a_result() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["generate", "0", "-o", "-", "--tokens-out", "t.json", "--log-probabilities"];
    let output = run_dflow(folder.path(), &arguments);
    assert!(output.status.success());
    assert!(image::load_from_memory(&output.stdout).is_ok());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("mean log-probability") && errors.contains("t.json"), "{errors}");
}

#[test]
fn wrong_uses_of_streams_are_errors_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_dflow(folder, &["generate", "0", "-o", "a.png", "--tokens-out", "a.json"]);
    refused(folder, 2, "named twice", &["generate", "0", "-o", "-", "--tokens-out", "-"], b"");
    let tokens = file(folder, "a.json");
    refused(folder, 2, "named twice", &["decode", "-", "--entries", "-", "-o", "b.png"], &tokens);
    refused(folder, 2, "only for standard output", &["generate", "0", "-o", "b.png", "--format", "qoi"], b"");
    refused(folder, 2, "--format soup", &["generate", "0", "-o", "-", "--format", "soup"], b"");
    refused(folder, 2, "json or dft", &["encode", "a.png", "-o", "-", "--format", "png"], b"");
    refused(folder, 2, "rewritten", &["watch", "0", "-o", "-"], b"");
    refused(folder, 2, "{size}", &["mips", "a.json", "-o", "-"], b"");
    refused(folder, 1, "standard input", &["decode", "-", "-o", "-"], b"");
    refused(folder, 1, "standard input", &["encode", "-", "-o", "-"], b"soup");
    refused(folder, 1, "standard input", &["decode", "-", "-o", "-"], b"DFTPACK\x01 and no more");
    refused(folder, 1, "standard input", &["repair", "-", "-o", "-"], b"DFT");
}

#[cfg(unix)]
#[test]
fn closed_pipe_ends_quietly() {
    let folder = tempfile::tempdir().unwrap();
    run_dflow(folder.path(), &["generate", "0", "--count", "40", "-o", "s.png", "--tokens-out", "s.dftpack"]);
    for arguments in [
        &["generate", "0", "--count", "40", "-o", "-", "--format", "bmp"][..],
        &["atlas", "s.dftpack", "-o", "-", "--scale", "16"],
    ] {
        let mut command = dflow(folder.path());
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // More than a pipe holds is still to come.
        let mut start = [0; 2];
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_exact(&mut start).unwrap();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "dflow {arguments:?}: {:?} {errors}", output.status);
    }
}
