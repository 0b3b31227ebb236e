//! How much memory a model takes after it was opened, by where its bundle is, and a batch of pictures. Prints the table of
//! onnx/PERFORMANCE.md:
//!
//!     cargo test --release --test resident -- --nocapture

#![cfg(target_os = "linux")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use detailflow::{Bundle, Form, Generation, Model, ModelOptions, OpenWatch};

/// Names of the environment variables that tell a child what to open.
const PLACE: &str = "DETAILFLOW_TEST_PLACE";
const FORM: &str = "DETAILFLOW_TEST_FORM";
const FILE: &str = "DETAILFLOW_TEST_FILE";
/// With how many threads a child draws a batch.
const THREADS: &str = "DETAILFLOW_TEST_THREADS";

const FORMS: [Form; 3] = [Form::Native, Form::Mha, Form::Plain];
const PLACES: [&str; 5] = ["folder", "single file", "folder, weights in memory", "block", "callbacks"];

fn sprites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites")
}

/// KiB of resident memory: without a file behind it, and mapped from files.
#[derive(Clone, Copy)]
struct Resident {
    anonymous: i64,
    file: i64,
}

impl Resident {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let number = |key: &str| -> i64 {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let anonymous = number("Anonymous:");
        Self { anonymous, file: number("Rss:") - anonymous }
    }

    fn all(self) -> i64 {
        self.anonymous + self.file
    }
}

/// What opening adds in a process of its own, in which ONNX Runtime is at work already: the least of three.
fn measured(place: &str, form: Form, file: &Path) -> Resident {
    let once = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--ignored", "--nocapture"]);
        command.env(PLACE, place).env(FORM, form.name()).env(FILE, file);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{place}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find_map(|line| line.split("resident ").nth(1)).unwrap_or_else(|| panic!("{text}"));
        let numbers: Vec<i64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        Resident { anonymous: numbers[0], file: numbers[1] }
    };
    (0..3).map(|_| once()).min_by_key(|resident| resident.all()).unwrap()
}

#[test]
#[ignore = "a process of the other test"]
fn child() {
    let (Ok(place), Ok(form)) = (std::env::var(PLACE), std::env::var(FORM)) else { return };
    let file = PathBuf::from(std::env::var_os(FILE).unwrap());
    let options = ModelOptions::new().with_threads(1).with_form(form.parse().unwrap());
    // What the first model of a process takes is not this one's.
    let first = Model::open(common::small(), &ModelOptions::new().with_threads(1)).unwrap();
    let block: Option<Arc<[u8]>> = (place == "block").then(|| std::fs::read(&file).unwrap().into());
    let before = Resident::now();
    let watch = OpenWatch::new();
    let model = match &*place {
        "folder" => Model::open(sprites(), &options),
        "single file" => Model::open(&file, &options),
        "folder, weights in memory" => Model::open(sprites(), &options.with_weights_in_memory(true)),
        "block" => Model::open_memory(block.clone().unwrap(), "block", &options, watch),
        _ => Model::open_reader(std::fs::File::open(&file).unwrap(), "callbacks", &options, watch),
    };
    let model = model.unwrap();
    let after = Resident::now();
    println!("resident {} {}", after.anonymous - before.anonymous, after.file - before.file);
    drop((model, first, block));
}

#[test]
fn single_file_takes_the_memory_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sprites.dflow");
    Bundle::open(sprites()).unwrap().pack(&file, |_, _| true).unwrap();
    println!("| form | where | anonymous, MB | mapped, MB | together |\n|---|---|---|---|---|");
    for form in FORMS {
        let mut folder = None;
        for place in PLACES {
            let resident = measured(place, form, &file);
            let megabytes = |kib: i64| kib as f64 * 1024.0 / 1e6;
            let [anonymous, mapped, all] = [resident.anonymous, resident.file, resident.all()].map(megabytes);
            println!("| {form} | {place} | {anonymous:.1} | {mapped:.1} | {all:.1} |");
            let folder = *folder.get_or_insert(resident);
            if place == "single file" {
                let (wanted, found) = (folder.all(), resident.all());
                // What a process takes is not the same each time, by some dozen pages.
                assert!(found * 100 <= wanted * 105 + 25_600, "{form}: {found} KiB, from the folder {wanted} KiB");
            }
        }
    }
}

/// The sum of a field in a file of /proc/self, in bytes, over the lines that follow one that ends with `after`.
fn sum(file: &str, field: &str, after: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let mut counts = after.is_empty();
    let mut kib = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some(key) if key == field && counts => kib += words.next().unwrap().parse::<u64>().unwrap(),
            // The first line of a mapping begins with its addresses.
            Some(key) if !key.ends_with(':') && !after.is_empty() => counts = line.ends_with(after),
            _ => {}
        }
    }
    kib * 1024
}

#[test]
#[ignore = "a process of the other test"]
fn batch_child() {
    let Ok(threads) = std::env::var(THREADS) else { return };
    let model = Model::open(sprites(), &ModelOptions::new().with_threads(threads.parse().unwrap())).unwrap();
    let opened = sum("status", "VmRSS:", "");
    let images: Vec<(u32, u64)> = (0..64).map(|index| (index % 16, u64::from(index))).collect();
    for _ in 0..2 {
        let mut generation = Generation::new(&common::request(&model, &images)).unwrap();
        generation.finish().unwrap();
        let tokens: Vec<&[u32]> = (0..images.len()).map(|image| generation.tokens(image).unwrap()).collect();
        assert_eq!(model.decode_batch(&tokens).unwrap().len(), images.len());
    }
    let weights = sum("smaps", "Rss:", "/weights.int8.bin");
    println!("batch {} {weights}", sum("status", "VmHWM:", "") - opened);
}

/// `dflow` with the opened sprites takes 50 MB, so that a batch of 64 stays below 112 MB.
#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "pages have other sizes")]
fn batch_of_64_sprites_takes_less_than_62_mb_and_maps_matrices_once() {
    // Of weights 15.8 MB, and for each further thread the table of embeddings, 4.2 MB. The matrices are 5.7 MB.
    for (threads, most, most_mapped) in [(1, 58_000_000, 18_000_000), (2, 62_000_000, 22_000_000)] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "batch_child", "--ignored", "--nocapture"]).env(THREADS, threads.to_string());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find_map(|line| line.split("batch ").nth(1)).unwrap_or_else(|| panic!("{text}"));
        let numbers: Vec<u64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        let [peak, weights] = numbers[..] else { panic!("{text}") };
        println!("batch of 64, {threads} threads: {:.1} MB, weights {:.1} MB", peak as f64 / 1e6, weights as f64 / 1e6);
        assert!(peak < most, "{threads} threads: {peak} bytes at the peak beyond the opened model");
        assert!(weights < most_mapped, "{threads} threads: {weights} bytes of weights are mapped");
    }
}
