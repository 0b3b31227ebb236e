//! `include/detailflow.hpp`, the programs of `tests/cpp` and the game loop of `examples/cpp`: compiled with the flags
//! that engines use, run plain, under the sanitizers and under valgrind (`make test-tools`).

#![cfg(target_os = "linux")]

#[path = "common/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use programs::*;
use serde_json::Value;

fn owners(mode: Mode) {
    Program::cpp("owners", mode).passes(&[], 200);
}

#[test]
fn owners_plain() {
    owners(Mode::Plain);
}

#[test]
fn owners_sanitized() {
    owners(Mode::Sanitized);
}

fn everything(mode: Mode) {
    Program::cpp("everything", mode).passes(&[runtime().to_str().unwrap()], 400);
}

#[test]
fn everything_plain() {
    everything(Mode::Plain);
}

#[test]
fn everything_sanitized() {
    everything(Mode::Sanitized);
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn everything_valgrind() {
    if has_or_skip("valgrind", "valgrind") {
        everything(Mode::Valgrind);
    }
}

/// The compilers that are here: c++ always.
fn compilers(test: &str) -> Vec<&'static str> {
    if has("clang++") {
        return vec!["c++", "clang++"];
    }
    skip(&format!("{test}_clang"), "clang++ is not installed (apt-get install clang)");
    vec!["c++"]
}

/// Alone, before everything else; and in two files of one program, in C++17 and in C++20, where each names the same
/// functions.
#[test]
fn cpp_header_compiles_alone_and_twice() {
    for compiler in compilers("cpp_header_compiles_alone_and_twice") {
        for standard in ["-std=c++17", "-std=c++20"] {
            let folder = tempfile::tempdir().unwrap();
            let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
            write(
                "one.cpp",
                "#include <detailflow.hpp>\n#include <detailflow.hpp>\n\
                 const char *(*one())(detailflow::Status) { return detailflow::status_name; }\n",
            );
            write(
                "two.cpp",
                "#include <detailflow.hpp>\nconst char *(*one())(detailflow::Status);\n\
                 int main() { return one() == detailflow::status_name && detailflow::matches_header() ? 0 : 1; }\n",
            );
            let mut command = Command::new(compiler);
            command.args([standard, "one.cpp", "two.cpp", "-o", "both", "-I"]).arg(root().join("include"));
            command.args(STRICT).args(STRICT_CPP).arg("-L").arg(libraries()).arg("-ldetailflow");
            succeeds(command.current_dir(folder.path()));
            succeeds(Command::new(folder.path().join("both")).env("LD_LIBRARY_PATH", libraries()));
        }
    }
}

/// Nothing of the C API is out of reach.
#[test]
fn cpp_header_wraps_every_c_function() {
    let read = |name: &str| std::fs::read_to_string(root().join("include").join(name)).unwrap();
    let (c, cpp) = (read("detailflow.h"), read("detailflow.hpp"));
    let (functions, wrapped) = (functions_of(&c), words(&cpp));
    let missing: Vec<_> = functions.iter().filter(|function| !wrapped.contains(*function)).collect();
    assert!(functions.len() > 100 && missing.is_empty(), "not in detailflow.hpp: {missing:#?}");
}

fn words(text: &str) -> std::collections::BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

/// A result that nobody looks at, an owner that is copied: the compiler tells.
#[test]
fn cpp_header_misuse_does_not_compile() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("wrong.cpp");
    for (body, complaint) in [
        ("(void)model;", ""),
        ("detailflow::Request::make(model);", "nodiscard"),
        ("detailflow::Model other = model; (void)other;", "deleted function"),
        ("detailflow::Span<int> span(std::vector<int>(3)); (void)span; (void)model;", "no matching function"),
    ] {
        std::fs::write(
            &source,
            format!("#include <detailflow.hpp>\nvoid f(const detailflow::Model &model) {{ {body} }}\n"),
        )
        .unwrap();
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-fsyntax-only", "-I"]).arg(root().join("include")).args(STRICT).arg(&source);
        let output = command.output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.success(), complaint.is_empty(), "{body}\n{said}");
        assert!(said.contains(complaint), "no \"{complaint}\" of {body}\n{said}");
    }
}

/// A compiler set to an older standard says which one is needed and stops, instead of pages about the program that follows.
#[test]
fn cpp_header_below_cpp17_says_so_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("old.cpp");
    std::fs::write(&source, "#include <detailflow.hpp>\ndetailflow::Model a;\ndetailflow::Request b;\n").unwrap();
    let mut command = Command::new("c++");
    command.args(["-std=c++14", "-fsyntax-only", "-I"]).arg(root().join("include")).arg(&source);
    let output = command.output().unwrap();
    let said = text(&output);
    // `#error`, and the missing file that ends the compilation.
    let errors: Vec<&str> = said.lines().filter(|line| line.contains("error: ")).collect();
    assert!(!output.status.success() && errors.len() == 2, "{said}");
    assert!(errors.iter().all(|line| line.contains("needs C++17")), "{said}");
}

// --- The guide, include/README.md ---

fn guide() -> String {
    std::fs::read_to_string(root().join("include/README.md")).unwrap()
}

/// Every block of C and C++ is a whole file that compiles as strictly as the programs of the tests; those with a main
/// function run.
#[test]
fn guide_code_blocks_compile_and_run() {
    let guide = guide();
    let blocks = guide.split("```").skip(1).step_by(2);
    let mut count = 0;
    for (language, code) in blocks.filter_map(|block| block.split_once('\n')) {
        let (compiler, standard, extra) = match language {
            "c" => ("cc", "-std=c99", &[][..]),
            "cpp" => ("c++", "-std=c++17", &STRICT_CPP[..]),
            _ => continue,
        };
        count += 1;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(format!("block.{language}")), code).unwrap();
        let mut command = Command::new(compiler);
        command.arg(standard).args(STRICT).args(extra).arg("-I").arg(root().join("include"));
        command.arg(format!("block.{language}")).current_dir(folder.path());
        if !code.contains("int main(") {
            succeeds(command.args(["-c", "-o", "block.o"]));
            continue;
        }
        succeeds(command.arg("-L").arg(libraries()).args(["-ldetailflow", "-o", "block"]));
        let mut command = Command::new(folder.path().join("block"));
        command.env("LD_LIBRARY_PATH", libraries()).env("ORT_DYLIB_PATH", runtime());
        command.env("DETAILFLOW_BUNDLE", root().join("onnx/bundles/sprites")).current_dir(folder.path());
        succeeds(&mut command);
        assert!(folder.path().join("sprite.png").is_file(), "{code}");
    }
    assert!(count >= 4, "{count} blocks");
}

/// The messages that the guide explains are those of the code, up to the parts that vary.
#[test]
fn guide_messages_occur_in_source() {
    fn read(folder: &Path, all: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                read(&entry.path(), all);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&std::fs::read_to_string(entry.path()).unwrap());
            }
        }
    }
    let mut source = String::new();
    read(&root().join("src"), &mut source);
    let guide = guide();
    let table = guide.split_once("## Troubleshooting").expect("the guide has a table of messages").1;
    // The system's own messages are marked as such.
    let messages: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(message, _)| message)
        .collect();
    assert!(messages.len() > 20, "{messages:#?}");
    for message in messages {
        for part in message.split('…').map(|part| part.trim().replace('"', "\\\"")).filter(|part| part.len() > 3) {
            assert!(source.contains(&part), "\"{part}\" of \"{message}\" is nowhere in src");
        }
    }
}

// --- The game loop ---

/// What the loop needs that is not ours; or says why it is not tested.
fn sdl(test: &str) -> Option<Vec<String>> {
    let config = Command::new("pkg-config").args(["--cflags", "--libs", "sdl2"]).output();
    let Some(config) = config.ok().filter(|output| output.status.success()) else {
        skip(test, "pkg-config finds no SDL2 (apt-get install pkg-config libsdl2-dev)");
        return None;
    };
    if !Command::new("Xvfb").arg("-help").output().is_ok_and(|output| text(&output).contains("-screen")) {
        skip(test, "there is no Xvfb (apt-get install xvfb)");
        return None;
    }
    Some(String::from_utf8(config.stdout).unwrap().split_whitespace().map(str::to_owned).collect())
}

/// A display of its own, gone with it.
struct Display {
    server: std::process::Child,
    name: String,
}

impl Display {
    fn new() -> Self {
        use std::io::{BufRead, BufReader};
        // It chooses a number that is free, and says it.
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "1700x1100x24"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.trim().is_empty(), "Xvfb does not start");
        Self { server, name: format!(":{}", number.trim()) }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        _ = self.server.kill();
        _ = self.server.wait();
    }
}

fn build_loop(folder: &Path, compiler: &str, sdl: &[String]) -> PathBuf {
    let program = folder.join(format!("frame_loop_{compiler}"));
    let mut command = Command::new(compiler);
    command.args(["-std=c++17", "-O2", "-Iinclude", "examples/cpp/frame_loop.cpp"]).args(STRICT).args(STRICT_CPP);
    command.args(sdl).arg("-L").arg(libraries()).args(["-ldetailflow", "-o"]).arg(&program);
    succeeds(command.current_dir(root()));
    program
}

/// The wall without the graph below it.
fn wall(path: &Path) -> image::RgbImage {
    let picture = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).to_rgb8();
    assert_eq!(picture.dimensions(), (1638, 1024));
    image::imageops::crop_imm(&picture, 0, 0, 1638, 924).to_image()
}

/// How many cells show more than their ground.
fn cells_with_pictures(wall: &image::RgbImage) -> usize {
    let ground = image::Rgb([34, 35, 42]);
    let cell = |index: u32| {
        let (left, top) = (6 + index % 16 * 102, 6 + index / 16 * 102);
        (0..96 * 96).any(|at| *wall.get_pixel(left + at % 96, top + at / 96) != ground)
    };
    (0..144).filter(|&index| cell(index)).count()
}

/// Every cell is drawn, to its end, and the same however it is cut into frames; nothing is when nothing should be. The
/// times are printed, and no test depends on them.
#[test]
fn frame_loop_example_fills_its_wall() {
    const TEST: &str = "frame_loop_example_fills_its_wall";
    let Some(sdl) = sdl(TEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    let programs = compilers(TEST).into_iter().map(|compiler| build_loop(folder.path(), compiler, &sdl));
    let programs: Vec<PathBuf> = programs.collect();
    let display = Display::new();
    let run_loop = |program: &Path, name: &str, arguments: &[&str]| -> (image::RgbImage, Value) {
        let (screenshot, stats) =
            (folder.path().join(format!("{name}.png")), folder.path().join(format!("{name}.json")));
        let mut command = Command::new(program);
        command.args(arguments).arg("--screenshot").arg(&screenshot).arg("--stats").arg(&stats);
        command.env("DISPLAY", &display.name).env("SDL_VIDEODRIVER", "x11").env("SDL_AUDIODRIVER", "dummy");
        command.env("XDG_CACHE_HOME", folder.path()).env("LD_LIBRARY_PATH", libraries());
        command.env("ORT_DYLIB_PATH", runtime()).env("DETAILFLOW_BUNDLE", root().join("onnx/bundles/sprites"));
        let output = run(command, Duration::from_secs(300));
        assert!(output.status.success(), "{}", text(&output));
        let stats = serde_json::from_str(&std::fs::read_to_string(&stats).unwrap()).unwrap();
        println!("{name} {stats:#}");
        (wall(&screenshot), stats)
    };

    // With seconds a frame there is time enough on any machine; only shapes that are new take a frame each.
    let (whole, stats) = run_loop(&programs[0], "whole", &["--frames", "120", "--budget-ms", "5000"]);
    assert_eq!((&stats["cells_begun"], &stats["cells_finished"]), (&144.into(), &144.into()));
    assert_eq!(cells_with_pictures(&whole), 144);
    // One thing a frame, each cell by itself.
    let (first, stats) = run_loop(&programs[0], "one", &["--frames", "40", "--budget-ms", "0"]);
    assert_eq!(stats["frames_generating"], 40);
    assert!(stats["cells_begun"].as_u64().unwrap() >= 1, "{stats}");
    assert!((1..40).contains(&cells_with_pictures(&first)), "{}", cells_with_pictures(&first));
    let (bare, stats) = run_loop(&programs[0], "bare", &["--frames", "60", "--no-generate"]);
    assert_eq!((&stats["frames_generating"], &stats["steps"], &stats["frames"]), (&0.into(), &0.into(), &60.into()));
    assert_eq!(cells_with_pictures(&bare), 0);
    for (index, program) in programs.iter().enumerate() {
        // What it is for.
        let (usual, stats) = run_loop(program, &format!("usual{index}"), &["--frames", "300"]);
        for name in ["frame_ms", "generate_ms"] {
            let at = |which: &str| stats[name][which].as_f64().unwrap();
            assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("worst"), "{stats}");
        }
        if stats["cells_finished"] == 144 {
            assert_eq!(usual, whole);
        }
    }
    let (other, _) = run_loop(&programs[0], "other", &["--frames", "120", "--budget-ms", "5000", "--seed", "9"]);
    assert_ne!(other, whole);
}
