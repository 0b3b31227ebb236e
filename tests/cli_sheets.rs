//! `dflow`: contact sheets of many pictures, and some of many entries of a token file.

mod common;

use std::path::Path;

use common::run_dflow;
use detailflow::tokens::Pack;
use serde_json::Value;

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run_dflow(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "dflow {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(folder: &Path, word: &str, arguments: &[&str]) {
    let output = run_dflow(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "dflow {arguments:?}: {errors}");
    assert!(errors.contains(word), "dflow {arguments:?}: \"{errors}\" does not say {word}");
}

fn class(index: usize) -> String {
    detailflow::Bundle::open(common::small()).unwrap().classes()[index].clone()
}

#[test]
fn sheet_of_many_pictures_has_pages() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Decoding copies of two pictures is quicker than generating as many.
    ok(folder, &["generate", "0", "--count", "2", "-o", "two.png", "--tokens-out", "two.json"]);
    let mut file: Value = serde_json::from_slice(&std::fs::read(folder.join("two.json")).unwrap()).unwrap();
    let images = file["images"].as_array().unwrap().clone();
    file["images"] = (0..850).map(|at| images[at % 2].clone()).collect();
    std::fs::write(folder.join("many.json"), file.to_string()).unwrap();
    assert_eq!(ok(folder, &["decode", "many.json", "-o", "sheet.png"]), "sheet.png\nsheet-2.png\n");
    let first = image::open(folder.join("sheet.png")).unwrap().to_rgb8();
    let second = image::open(folder.join("sheet-2.png")).unwrap().to_rgb8();
    assert!(first.width() <= 4096 && first.height() <= 4096 && first.height() > 4000, "{:?}", first.dimensions());
    // 850 are 53 rows of 16 and 2: 51 rows on the first page.
    assert!(second.width() == first.width() && second.height() < 300, "{:?}", second.dimensions());
    // Pictures on every page, in place: the first of both pages is the same picture.
    let corner = |page: &image::RgbImage| image::imageops::crop_imm(page, 4, 16, 64, 64).to_image();
    assert!(corner(&first) == corner(&second));
}

#[test]
fn sheet_names_the_class_and_the_seed_of_each_picture() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ok(folder, &["generate", "0", "--seed", "7", "--count", "2", "-o", "a.png"]);
    ok(folder, &["generate", "0", "--seed", "8", "--count", "2", "-o", "b.png"]);
    let open = |name: &str| image::open(folder.join(name)).unwrap().to_rgb8();
    let (a, b) = (open("a.png"), open("b.png"));
    // Seed 8 is second on the one and first on the other: the picture and the line below it.
    let cell = |page: &image::RgbImage, x: u32| image::imageops::crop_imm(page, x, 16, 64, 64 + 12).to_image();
    assert!(cell(&a, 4 + 68) == cell(&b, 4));
    let caption = |page: &image::RgbImage, x: u32| image::imageops::crop_imm(page, x, 16 + 66, 64, 8).to_image();
    assert!(caption(&a, 4) != caption(&a, 4 + 68), "7 and 8 look different");
    let title = image::imageops::crop_imm(&a, 4, 4, 8 * class(0).len() as u32, 8).to_image();
    let ground = title.get_pixel(title.width() - 1, 7);
    assert!(title.pixels().any(|pixel| pixel != ground), "the class is above its pictures");
}

/// A pack of all classes, with three seeds of each.
fn pack(folder: &Path) {
    ok(folder, &["generate", "all", "--count", "3", "-o", "s.png", "--tokens-out", "s.dftpack"]);
}

#[test]
fn unpack_of_some_entries_writes_these_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pack(folder);
    let (first, second) = (class(0), class(1));
    let named = |seed: u32| format!("out/{first}-{seed}.dft");
    let said = ok(folder, &["unpack", "s.dftpack", "--entry", &format!("{first}-2"), "--entry", "0", "-o", "out"]);
    assert_eq!(said, format!("{}\n{}\n", named(2), named(0)));
    assert_eq!(std::fs::read_dir(folder.join("out")).unwrap().count(), 2);
    let pack = Pack::open(folder.join("s.dftpack")).unwrap();
    let number = pack.find(&format!("{first}-2")).unwrap().unwrap();
    assert_eq!(std::fs::read(folder.join(named(2))).unwrap(), pack.encoded(number).unwrap());

    // A list: names, numbers and patterns, each entry once.
    std::fs::write(folder.join("list.txt"), format!("{second}-?\n\n0\r\n{second}-1\n")).unwrap();
    let said = ok(folder, &["unpack", "s.dftpack", "--entries", "list.txt", "--list"]);
    let names: Vec<&str> = said.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(
        names,
        [0, 1, 2]
            .map(|seed| format!("{second}-{seed}"))
            .iter()
            .map(String::as_str)
            .chain([&*format!("{first}-0")])
            .collect::<Vec<_>>()
    );

    refused(folder, "no entry \"soup\"", &["unpack", "s.dftpack", "--entry", "soup", "-o", "none"]);
    refused(folder, "matches \"soup*\"", &["unpack", "s.dftpack", "--entry", "soup*", "-o", "none"]);
    refused(folder, "cannot be used with", &["unpack", "s.dftpack", "--entry", "0", "--salvage", "-o", "none"]);
    assert!(!folder.join("none").exists());
}

#[test]
fn decode_and_score_of_some_entries_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pack(folder);
    let first = class(0);
    let pattern = format!("{first}-*");
    let said = ok(folder, &["decode", "s.dftpack", "--entry", &pattern, "-o", "{class}-{seed}.png"]);
    assert_eq!(said, (0..3).map(|seed| format!("{first}-{seed}.png\n")).collect::<String>());
    // A JSON file has names by class and seed.
    ok(folder, &["generate", "0", "--count", "3", "-o", "t.png", "--tokens-out", "t.json"]);
    ok(folder, &["decode", "t.json", "--entry", &format!("{first}-1"), "-o", "one.png"]);
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("one.png"), bytes(&format!("{first}-1.png")));

    let said = ok(folder, &["score", "s.dftpack", "--entry", &pattern]);
    let names: Vec<&str> = said.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, [format!("{first}-0"), format!("{first}-1"), format!("{first}-2")]);
    let json: Value = serde_json::from_str(&ok(folder, &["score", "s.dftpack", "--entry", "1", "--json"])).unwrap();
    assert_eq!(json[0]["name"], format!("{first}-1"));
    let json: Value = serde_json::from_str(&ok(folder, &["score", "t.json", "--json"])).unwrap();
    assert!(json[0]["name"].is_null() && json.as_array().unwrap().len() == 3);
}
