//! Output files of the pipeline and their records: written for readers that are not ours (tests/embed/textures.sh reads them),
//! shown, and made again.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use block_compression::decode::decompress_blocks_as_rgba8;
use block_compression::{BC7Settings, CompressionVariant};
use common::{Random, open, run_dflow, sample};
use detailflow::pipeline::output::{AlphaMode, Compression, OutputFormat, OutputOptions, decode, encode};
use detailflow::pipeline::provenance::{Found, Head, Record, Written, embed, find, sidecar, sidecar_path};
use detailflow::pixels::Finish;
use detailflow::pixels::finish::Palette;
use detailflow::{Image, ImageRequest, Model, PixelFormat, Request};
use serde_json::{Value, json};
use sha2::Digest;

/// The shipped bundle, by the form that is fast in a debug build too.
fn sprites() -> Model {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites"), "int8", "mha")
}

/// A potion.
fn potion(model: &Model) -> (Request, Vec<u32>) {
    let mut request = Request::new(model);
    request.set_image(0, ImageRequest { class: model.bundle().class("potion").unwrap(), seed: 9 }).unwrap();
    let tokens = sample(&request).remove(0);
    (request, tokens)
}

/// The blocks of a level of BC7, decoded.
fn blocks(bytes: &[u8], side: usize) -> Vec<u8> {
    let whole = side.next_multiple_of(4);
    let mut pixels = vec![0; whole * whole * 4];
    let variant = CompressionVariant::BC7(BC7Settings::alpha_fast());
    decompress_blocks_as_rgba8(variant, whole as u32, whole as u32, bytes, &mut pixels);
    pixels.chunks(whole * 4).take(side).flat_map(|row| &row[..side * 4]).copied().collect()
}

/// A folder of files, and of what their readers should find: `files.json` has the level sizes and the alpha mode of each, and
/// `NAME.LEVEL.FORMAT` are pixels, by the decoder of this test where the file has blocks.
fn write_files(folder: &Path) -> Vec<PathBuf> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    let model = sprites();
    let (request, tokens) = potion(&model);
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    let mut add = |tokens: &[u32], name: &str, options: OutputOptions| {
        let path = folder.join(name);
        let format = OutputFormat::from_path(&path).unwrap();
        let pictures = decode(&model, tokens, &options, None).unwrap();
        let file = encode(&pictures, &options, format).unwrap();
        assert!(file == encode(&pictures, &options, format).unwrap(), "{name}: the same bytes again");
        let mut head = Head::new(&model, request.images()[0], request.guidance(), request.sampling()).unwrap();
        (head.level, head.output) = (pictures[0].size(), Written::new(format, &options));
        if name.ends_with(".png") {
            std::fs::write(&path, embed(&file, &head.to_json(), tokens).unwrap()).unwrap();
        } else {
            std::fs::write(&path, &file).unwrap();
            std::fs::write(sidecar_path(&path), sidecar(&head.to_json(), tokens)).unwrap();
        }
        let sizes: Vec<u32> = pictures.iter().map(Image::size).collect();
        for (at, picture) in pictures.iter().enumerate() {
            for (format, extension) in [
                (PixelFormat::Rgba8, "rgba8"),
                (PixelFormat::Rgba8Premultiplied, "premultiplied8"),
                (PixelFormat::Rgba32F, "rgba32f"),
                (PixelFormat::Rgba16FLinearPremultiplied, "linear16f"),
            ] {
                std::fs::write(folder.join(format!("{name}.{at}.{extension}")), picture.to_vec(format).unwrap())
                    .unwrap();
            }
        }
        if options.compression == Compression::Bc7 && name.ends_with(".dds") {
            let mut start = 148;
            for (at, &size) in sizes.iter().enumerate() {
                let end = start + 16 * (size.div_ceil(4) as usize).pow(2);
                let decoded = blocks(&file[start..end], size as usize);
                std::fs::write(folder.join(format!("{name}.{at}.blocks")), decoded).unwrap();
                start = end;
            }
            assert_eq!(start, file.len());
        }
        files.push(json!({"file": name, "sizes": sizes, "scale": options.scale, "alpha": options.alpha,
                          "compression": options.compression}));
        paths.push(path);
    };
    let plain = OutputOptions::default();
    for extension in ["png", "webp", "bmp", "tga", "tiff", "qoi", "jpg", "exr"] {
        add(&tokens, &format!("potion.{extension}"), plain);
        if extension != "jpg" {
            let options = OutputOptions { alpha: AlphaMode::Premultiplied, scale: 3, ..plain };
            add(&tokens, &format!("premultiplied.{extension}"), options);
        }
    }
    for extension in ["dds", "ktx2"] {
        for (alpha, word) in [(AlphaMode::Straight, "straight"), (AlphaMode::Premultiplied, "premultiplied")] {
            for (compression, blocks) in [(Compression::None, "rgba8"), (Compression::Bc7, "bc7")] {
                let mips = OutputOptions { alpha, compression, mips: true, scale: 1 };
                add(&tokens, &format!("{word}-{blocks}.{extension}"), mips);
                // A chain of 24, 12, 6, 3 and 1 px.
                let tokens = model.demote(&tokens, 24).unwrap();
                add(tokens, &format!("{word}-{blocks}-24.{extension}"), mips);
                add(tokens, &format!("{word}-{blocks}-alone.{extension}"), OutputOptions { mips: false, ..mips });
            }
        }
    }
    std::fs::write(folder.join("files.json"), serde_json::to_string_pretty(&files).unwrap()).unwrap();
    paths
}

#[test]
fn files_for_other_readers_are_written_and_made_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pipeline-outputs");
    let paths = write_files(&folder);
    let names: Vec<&str> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/bundles/sprites");
    let arguments = [&["reproduce", "--bundle", bundle.to_str().unwrap()], &names[..]].concat();
    let output = run_dflow(&folder, &arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("{name}: identical")).collect();
    assert_eq!(said.lines().map(str::to_owned).collect::<BTreeSet<_>>(), wanted);
}

/// Pictures by `dflow` with random settings: names of their files in `folder`.
fn generate(folder: &Path, count: usize) -> Vec<String> {
    let mut random = Random(count as u64);
    let run = |arguments: &[&str]| {
        let output = run_dflow(folder, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["generate", "2", "--seed", "9", "-o", "start.png", "--tokens-out", "start.dft"]);
    let mut names = Vec::new();
    while names.len() < count {
        let mut one_of = |texts: &[&'static str]| texts[random.below(texts.len())];
        let command = one_of(&["generate", "generate", "vary", "redetail", "share", "best"]);
        let guidance = one_of(&["1", "1.5", "2.25", "3@0,1@8", "0.7@4,2@12"]);
        let (temperature, precision) = (one_of(&["1", "0", "0.83", "1.2@0,0.5@12"]), one_of(&["int8", "fp32"]));
        let (top_k, top_p) = (one_of(&["0", "3", "2@0,9@12"]), one_of(&["1", "0.9", "1@0,0.5@15"]));
        let mut arguments: Vec<String> = match command {
            "vary" => ["vary", "start.dft", "--keep", one_of(&["16", "24"])].map(str::to_owned).to_vec(),
            "redetail" => ["redetail", "start.png", "--class", "1", "--keep", "16"].map(str::to_owned).to_vec(),
            "share" => ["generate", "1", "--share", "16"].map(str::to_owned).to_vec(),
            "best" => ["generate", "1", "--best", "2", "--at", "16"].map(str::to_owned).to_vec(),
            _ => vec!["generate".to_owned(), one_of(&["0", "1", "2", "all"]).to_owned()],
        };
        for (option, value) in [
            ("--guidance", guidance),
            ("--temperature", temperature),
            ("--top-k", top_k),
            ("--top-p", top_p),
            ("--precision", precision),
            ("--count", one_of(&["3", "4"])),
            ("--level", one_of(&["24", "32"])),
        ] {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
        if one_of(&["", "gradual"]) == "gradual" {
            arguments.push("--gradual".to_owned());
        }
        let fields = one_of(&["{class}-{seed}", "{class}-{seed}-{level}"]);
        arguments.extend(["-o".to_owned(), format!("{}-{fields}.png", names.len())]);
        arguments.extend(["--seed".to_owned(), random.next().to_string()]);
        // The seeds after the largest number do not exist.
        let said = run_dflow(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8(said.stdout).unwrap();
        names.extend(said.lines().filter(|line| line.ends_with(".png")).map(str::to_owned));
    }
    names.truncate(count);
    names
}

fn check_reproduce(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let names = generate(folder.path(), count);
    let arguments: Vec<&str> = ["reproduce"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let output = run_dflow(folder.path(), &arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("{name}: identical")).collect();
    assert_eq!(said.lines().map(str::to_owned).collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn reproduce_of_20_random_pictures_is_identical() {
    check_reproduce(20);
}

#[test]
#[ignore = "takes longer"]
fn reproduce_of_100_random_pictures_is_identical() {
    check_reproduce(100);
}

fn record(path: &Path) -> Record {
    match find(path).unwrap() {
        Found::Record { record, .. } => *record,
        other => panic!("{}: {other:?}", path.display()),
    }
}

/// `dflow ARGUMENTS`: exit status, output, errors.
fn dflow(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = run_dflow(folder, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn reproduce_says_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = |name: &str| folder.join(name);
    assert_eq!(dflow(folder, &["generate", "1", "--seed", "5", "-o", "a.png", "--tokens-out", "a.json"]).0, 0);
    let Record { head, tokens } = record(&at("a.png"));
    let plain = dflow(folder, &["generate", "1", "--seed", "5", "--no-provenance", "-o", "plain.png"]);
    assert_eq!(plain.0, 0);
    let png = std::fs::read(at("plain.png")).unwrap();
    assert!(embed(&png, &head.to_json(), &tokens).unwrap() == std::fs::read(at("a.png")).unwrap());
    let write = |name: &str, head: &Head, tokens: &[u32]| {
        std::fs::write(at(name), embed(&png, &head.to_json(), tokens).unwrap()).unwrap();
    };

    let mut other = tokens.clone();
    other[9] ^= 1;
    write("tokens.png", &head, &other);
    write("seed.png", &Head { seed: 6, ..head.clone() }, &tokens);
    write("version.png", &Head { library: "0.0.9".into(), ..head.clone() }, &tokens);
    write("tokenizer.png", &Head { tokenizer: "0123456789abcdef".into(), ..head.clone() }, &tokens);
    write("class.png", &Head { class: "potoin".into(), ..head.clone() }, &tokens);
    write("precision.png", &Head { precision: "int3".into(), ..head.clone() }, &tokens);
    write("level.png", &Head { level: 24, ..head.clone() }, &tokens);
    write("kept.png", &Head { kept: 99, ..head.clone() }, &tokens);
    let cases: [(&str, i32, &[&str]); 11] = [
        ("a.png", 0, &["a.png: identical\n"]),
        ("version.png", 0, &["version.png: identical (library was 0.0.9 and is 0.1.0)"]),
        ("tokens.png", 1, &["1 of 16 tokens differ, the first at position 9"]),
        ("seed.png", 1, &["of 16 tokens differ", "; the "]),
        ("level.png", 1, &["16 tokens are recorded, 8 were drawn"]),
        ("tokenizer.png", 1, &["cannot be made again", "0123456789abcdef"]),
        ("class.png", 1, &["cannot be made again", "potoin"]),
        ("precision.png", 1, &["cannot be made again", "int3"]),
        ("kept.png", 1, &["cannot be made again", "keeps 99 tokens and has 16"]),
        ("plain.png", 1, &["no record"]),
        ("a.json", 1, &["no settings"]),
    ];
    for (name, code, words) in cases {
        let (found, said, errors) = dflow(folder, &["reproduce", name]);
        assert_eq!(found, code, "{name}: {said}{errors}");
        for word in words {
            assert!(said.contains(word) || errors.contains(word), "{name}: {said}{errors}");
        }
    }
    // One that cannot be made again does not keep the others from it.
    let (code, said, errors) = dflow(folder, &["reproduce", "class.png", "a.png", "kept.png", "none.png", "seed.png"]);
    assert_eq!((code, said.lines().count()), (1, 2), "{said}{errors}");
    assert!(said.contains("a.png: identical") && errors.contains("none.png"), "{said}{errors}");

    let (code, _, errors) = dflow(folder, &["reproduce", "seed.png", "-o", "new.png"]);
    assert_eq!(code, 1, "{errors}");
    assert_eq!(dflow(folder, &["reproduce", "new.png"]).0, 0);
    assert_eq!(record(&at("new.png")).head.seed, 6);
    assert_eq!(dflow(folder, &["reproduce", "a.png", "seed.png", "-o", "new.png"]).0, 2);
}

#[test]
fn records_are_written_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arguments = ["generate", "1", "--seed", "5", "--guidance", "1@0,3@8", "--gradual", "--temperature", "0.5"];
    let files = ["-o", "{level}.png", "--tokens-out", "t.dftpack"];
    assert_eq!(dflow(folder, &[&arguments[..], &files].concat()).0, 0);
    let found = record(&folder.join("24.png"));
    let Head { class, class_index, seed, level, kept, gradual, .. } = &found.head;
    assert_eq!((&class[..], *class_index, *seed, *level, *kept, *gradual), ("class 1", 1, 5, 24, 0, true));
    assert_eq!((found.head.guidance.to_string(), found.tokens.len()), ("1@0,3@8".to_owned(), 8));
    assert_eq!(found.tokens, record(&folder.join("32.png")).tokens[..8]);
    let bundle = detailflow::Bundle::open(common::small()).unwrap();
    let manifest = sha2::Sha256::digest(std::fs::read(common::small().join("detailflow.json")).unwrap());
    assert_eq!(found.head.manifest, manifest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!((&found.head.license[..], &found.head.tokenizer[..]), (bundle.license(), bundle.tokenizer_id()));

    let (code, said, _) = dflow(folder, &["show", "24.png", "t.dftpack"]);
    assert_eq!(code, 0);
    for words in ["class 1 (1), seed 5", "1@0,3@8, gradual", "24 px, 8 tokens", "CC0-1.0", "t.dftpack: 0, class 1-5"] {
        assert!(said.contains(words), "{said}");
    }
    let (code, said, _) = dflow(folder, &["show", "--json", "24.png", "t.dftpack", "--entry", "class 1-5"]);
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, &lines[0]["file"], &lines[0]["tokens"]), (0, &json!("24.png"), &json!(found.tokens)));
    assert_eq!(
        (&lines[1]["seed"], &lines[1]["class_index"], &lines[1]["damage"]),
        (&json!(5), &json!(1), &Value::Null)
    );
    // A sidecar has the same keys, and the text of a record does not reach the terminal as a command.
    let head = Head { class: "a\u{1b}[31m".into(), ..found.head };
    std::fs::write(folder.join("x.dds.json"), sidecar(&head.to_json(), &found.tokens)).unwrap();
    for arguments in [&["show", "x.dds.json"][..], &["show", "--json", "x.dds.json"]] {
        let (code, said, _) = dflow(folder, arguments);
        assert!(code == 0 && said.contains("u001b[31m") && !said.contains('\u{1b}'), "{said:?}");
    }
    let (code, _, errors) = dflow(folder, &["show", "no.png", "24.png"]);
    assert!(code == 1 && errors.contains("no.png"), "{errors}");
    std::fs::write(folder.join("a.jpg"), "\u{ff}").unwrap();
    let (code, _, errors) = dflow(folder, &["show", "a.jpg"]);
    assert!(code == 1 && errors.contains("there is no record in it and no file a.jpg.json"), "{errors}");
}

/// A copy of the small bundle whose pictures are finished.
fn finishing() -> tempfile::TempDir {
    let bundle = common::copy(&common::small());
    common::edit_manifest(bundle.path(), |manifest| manifest["finish"] = json!({"alpha_cut": 110, "colors": 4}));
    bundle
}

/// The pixels of a picture file.
fn pixels(path: &Path) -> Vec<[u8; 4]> {
    let picture = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgba8();
    picture.into_raw().as_chunks().0.to_vec()
}

/// The different colours of visible pixels.
fn colors(pixels: &[[u8; 4]]) -> BTreeSet<[u8; 3]> {
    pixels.iter().filter(|pixel| pixel[3] > 0).map(|&[r, g, b, _]| [r, g, b]).collect()
}

/// The pixels of an opaque picture file of 32 x 32 pixels, made to repeat.
fn repeating(path: &Path) -> Vec<[u8; 4]> {
    let mut pixels = pixels(path);
    assert!(pixels.iter().all(|pixel| pixel[3] == 255));
    Finish { tile: true, ..Finish::default() }.apply(32, 32, pixels.as_flattened_mut(), 128).unwrap();
    pixels
}

#[test]
fn pictures_are_finished_as_the_bundle_and_the_options_say() {
    let (folder, bundle) = (tempfile::tempdir().unwrap(), finishing());
    let folder = folder.path();
    let at = |name: &str| folder.join(name);
    let run = |arguments: &[&str]| {
        let (code, said, errors) = dflow(folder, &[arguments, &["--bundle", bundle.path().to_str().unwrap()]].concat());
        assert_eq!(code, 0, "{arguments:?}: {errors}");
        said
    };
    let generate = ["generate", "1", "--seed", "5", "--tokens-out", "t.json"];
    run(&[&generate[..], &["-o", "finished.png"]].concat());
    run(&[&generate[..], &["-o", "raw.png", "--raw"]].concat());
    let (raw, finished) = (pixels(&at("raw.png")), pixels(&at("finished.png")));
    assert!(colors(&raw).len() > 100 && raw.iter().any(|pixel| !matches!(pixel[3], 0 | 255)));
    let by_library = |finish: &Finish| {
        let mut wanted = raw.clone();
        finish.apply(32, 32, wanted.as_flattened_mut(), 128).unwrap();
        wanted
    };
    let default = Finish { alpha_cut: Some(110), colors: Some(4), ..Finish::default() };
    assert!(finished == by_library(&default) && colors(&finished).len() <= 4);
    // Other commands give the same picture from the tokens.
    run(&["decode", "t.json", "-o", "decoded.png"]);
    run(&["atlas", "t.json", "-o", "atlas.png"]);
    run(&["atlas", "t.json", "-o", "page.png", "--page-size", "32"]);
    run(&["mips", "t.json", "-o", "mip-{size}.png"]);
    run(&["vary", "t.json", "-o", "varied.png", "--seed", "5"]);
    for name in ["decoded.png", "atlas.png", "page-0.png", "mip-32.png", "varied.png"] {
        assert!(pixels(&at(name)) == finished, "{name}");
    }
    // A level is finished by itself.
    run(&["decode", "t.json", "--level", "16", "-o", "coarse.png"]);
    assert!(pixels(&at("mip-16.png")) == pixels(&at("coarse.png")) && colors(&pixels(&at("coarse.png"))).len() <= 4);
    run(&["decode", "t.json", "-o", "r.png", "--raw"]);
    run(&["atlas", "t.json", "-o", "ra.png", "--raw"]);
    run(&["mips", "t.json", "-o", "r-{size}.png", "--raw"]);
    for name in ["r.png", "ra.png", "r-32.png"] {
        assert!(pixels(&at(name)) == raw, "{name}");
    }
    std::fs::write(at("two.hex"), "000000\nffffff\n").unwrap();
    let options =
        ["--alpha-cut", "0", "--palette", "two.hex", "--dither", "--outline", "ff0000", "--despeckle", "--tile"];
    run(&[&generate[..], &["-o", "two.png"], &options].concat());
    let two = Finish {
        alpha_cut: None,
        colors: None,
        palette: Some(Palette::open(at("two.hex")).unwrap()),
        dither: true,
        outline: Some("#ff0000".parse().unwrap()),
        despeckle: true,
        tile: true,
    };
    assert!(pixels(&at("two.png")) == by_library(&two));
    // An opaque picture whose rows do not wrap: it repeats.
    let opaque = ["generate", "2", "--seed", "3", "--alpha-cut", "1", "--colors", "0", "--outline", "102030"];
    run(&[&opaque[..], &["-o", "opaque.png"]].concat());
    run(&[&opaque[..], &["-o", "tile.png", "--tile"]].concat());
    assert!(
        pixels(&at("tile.png")) == repeating(&at("opaque.png")) && pixels(&at("tile.png")) != pixels(&at("opaque.png"))
    );
    // Records say it, without the palette file too.
    std::fs::remove_file(at("two.hex")).unwrap();
    assert_eq!(record(&at("finished.png")).head.finish, Some(default));
    assert_eq!(record(&at("raw.png")).head.finish, None);
    assert_eq!(record(&at("two.png")).head.finish, Some(two));
    let said = run(&["reproduce", "finished.png", "raw.png", "two.png"]);
    assert_eq!(said.lines().filter(|line| line.ends_with(": identical")).count(), 3, "{said}");
    let (_, said, _) = dflow(folder, &["show", "two.png"]);
    assert!(said.contains("stray pixels removed, a palette of 2, dithered, outline #ff0000, repeating"), "{said}");
    let said = run(&["info"]);
    assert!(said.contains("finish     alpha cut at 110, at most 4 colours"), "{said}");
}

#[test]
fn wrong_options_of_finishing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, words) in [
        (&["--colors", "1"][..], 2, "2 to 256"),
        (&["--colors", "300"], 2, "2 to 256"),
        (&["--alpha-cut", "256"], 2, "256"),
        (&["--outline", "red"], 2, "six hex digits"),
        (&["--palette", "none.hex"], 1, "none.hex"),
        (&["--dither"], 2, "--dither needs"),
        (&["--raw", "--colors", "4"], 2, "--raw"),
        (&["--raw", "--tile"], 2, "--raw"),
    ] {
        let (found, _, errors) = dflow(folder.path(), &[&["generate", "0", "-o", "a.png"], arguments].concat());
        assert!(found == code && errors.contains(words), "{arguments:?}: {errors}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn bundles_with_wrong_finishing_are_refused() {
    for (finish, words) in [
        (json!({"colors": 1}), "colors 1 is out of range"),
        (json!({"alpha_cut": 0}), "alpha_cut 0 is out of range"),
        (json!({"alpha_cut": 300}), "alpha_cut"),
        (json!({"colours": 16}), "unknown field `colours`"),
        (json!({"palette": []}), "no colour"),
        (json!({"outline": "red"}), "six hex digits"),
        (json!({"tile": 1}), "a boolean"),
    ] {
        let bundle = common::copy(&common::small());
        common::edit_manifest(bundle.path(), |manifest| manifest["finish"] = finish);
        let error = detailflow::Bundle::open(bundle.path()).unwrap_err().to_string();
        assert!(error.contains("finish") && error.contains(words), "{error}");
    }
}

#[test]
fn jobs_are_finished_and_their_identity_says_so() {
    let (folder, bundle) = (tempfile::tempdir().unwrap(), finishing());
    let folder = folder.path();
    let batch = |job: &str, out: &str, more: &[&str]| {
        std::fs::write(folder.join("job.toml"), job).unwrap();
        let arguments = ["batch", "job.toml", "-o", out, "--bundle", bundle.path().to_str().unwrap()];
        let (code, _, errors) = dflow(folder, &[&arguments[..], more].concat());
        (code, errors)
    };
    let rows =
        "[output]\nname = \"{seed}.png\"\n[atlas]\nextrude = 0\npadding = 0\nsize = 32\n[[row]]\nclass = 1\nseed = 5\n";
    let at = |name: &str| pixels(&folder.join(name));
    assert_eq!(batch(rows, "a", &[]), (0, String::new()));
    assert!(colors(&at("a/5.png")).len() <= 4 && at("a/5.png") == at("a/atlas-0.png"));
    assert_eq!(batch(rows, "raw", &["--raw"]), (0, String::new()));
    assert_eq!(batch(&format!("finish = false\n{rows}"), "raw2", &[]), (0, String::new()));
    assert!(colors(&at("raw/5.png")).len() > 100 && at("raw/5.png") == at("raw2/5.png"));
    std::fs::write(folder.join("two.hex"), "000000\nffffff\n").unwrap();
    let with = format!("finish = {{ palette = \"two.hex\", outline = \"#ff0000\" }}\n{rows}");
    assert_eq!(batch(&with, "b", &[]), (0, String::new()));
    assert!(colors(&at("b/5.png")).iter().all(|color| [[0; 3], [255; 3], [255, 0, 0]].contains(color)));
    let listed = format!("finish = {{ palette = [\"#000000\", \"#ffffff\"], outline = \"#ff0000\" }}\n{rows}");
    assert_eq!(batch(&listed, "b", &[]), (0, String::new()), "the same job, however it is written");
    let opaque = "alpha_cut = 1, colors = 0, outline = \"#102030\"";
    let rows_2 = rows.replace("class = 1\nseed = 5", "class = 2\nseed = 3");
    let plain = format!("finish = {{ {opaque} }}\n{rows_2}");
    assert_eq!(batch(&plain, "opaque", &[]), (0, String::new()));
    assert_eq!(batch(&format!("finish = {{ {opaque}, tile = true }}\n{rows_2}"), "tile", &[]), (0, String::new()));
    assert!(at("tile/3.png") == repeating(&folder.join("opaque/3.png")) && at("tile/3.png") != at("opaque/3.png"));
    assert_eq!(batch(&plain, "tile", &["--tile"]), (0, String::new()), "the same job, however it is written");
    // Another way to finish is another job: the folder of one is not filled with the other.
    let (code, errors) = batch(rows, "b", &[]);
    assert!(code == 1 && errors.contains("another job"), "{errors}");
    let (code, errors) = batch(rows, "a", &["--colors", "3"]);
    assert!(code == 1 && errors.contains("another job"), "{errors}");
    let (code, said, errors) =
        dflow(folder, &["reproduce", "a/5.png", "raw/5.png", "b/5.png", "--bundle", bundle.path().to_str().unwrap()]);
    assert_eq!((code, said.matches(": identical").count()), (0, 3), "{said}{errors}");
    for (text, words) in [
        ("finish = 3", "finish: it must be true, false, or a table"),
        ("finish = { colors = 1 }", "finish.colors: 1 is out of range; allowed are 0, or 2 to 256"),
        ("finish = { alpha_cut = 300 }", "finish.alpha_cut: 300 is not allowed; allowed is an integer from 0 to 255"),
        ("finish = { palette = \"none.gpl\" }", "none.gpl"),
        ("finish = { outline = \"red\" }", "finish.outline: \"red\" is not a colour"),
        ("finish = { tile = 1 }", "finish.tile"),
        ("finish = { glow = true }", "glow"),
    ] {
        let (code, errors) = batch(&format!("{text}\n{rows}"), "c", &[]);
        assert!(code == 1 && errors.contains(words) && errors.contains("job.toml:1"), "{errors}");
    }
    assert!(!folder.join("c").exists());
}
