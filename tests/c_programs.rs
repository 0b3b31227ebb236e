//! The C programs of `tests/c` and `examples/c`: compiled with strict warnings, run plain, under the address and
//! undefined-behaviour sanitizers, and under valgrind.
//!
//! The bundle is `tests/data/small`, or the one that `DETAILFLOW_TEST_BUNDLE` names. Faulty programs show first that
//! the sanitizers and valgrind find faults. Tests under valgrind and strace are ignored unless asked for: `make
//! test-tools`.

#![cfg(target_os = "linux")]

#[path = "common/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use programs::*;

/// A test for each program and mode, so that a failure has a name.
macro_rules! programs {
    ($($test:ident: $name:literal $mode:ident $arguments:expr;)*) => {
        $(programs! { @one $test $name $mode $arguments })*
    };
    (@one $test:ident $name:literal Valgrind $arguments:expr) => {
        #[test]
        #[ignore = "valgrind: `make test-tools`"]
        fn $test() {
            valgrind(|| Program::new($name, Mode::Valgrind).passes(&$arguments, 100));
        }
    };
    (@one $test:ident $name:literal $mode:ident $arguments:expr) => {
        #[test]
        fn $test() {
            Program::new($name, Mode::$mode).passes(&$arguments, 100);
        }
    };
}

/// Runs a test that needs valgrind, or skips it.
fn valgrind(test: impl FnOnce()) {
    if has_or_skip("valgrind", "valgrind") {
        test();
    }
}

programs! {
    held_plain: "held" Plain [];
    names_plain: "names" Plain [];
    names_sanitized: "names" Sanitized [];
    null_plain: "null" Plain [];
    null_cpp: "null" Cpp [];
    null_sanitized: "null" Sanitized [];
    null_valgrind: "null" Valgrind [];
    errors_plain: "errors" Plain [];
    errors_sanitized: "errors" Sanitized [];
    errors_valgrind: "errors" Valgrind [];
    draw_plain: "draw" Plain [];
    draw_sanitized: "draw" Sanitized [];
    draw_valgrind: "draw" Valgrind [];
    detail_plain: "detail" Plain [];
    detail_sanitized: "detail" Sanitized [];
    detail_valgrind: "detail" Valgrind ["few"];
    tokens_plain: "tokens" Plain [];
    tokens_sanitized: "tokens" Sanitized [];
    tokens_valgrind: "tokens" Valgrind ["few"];
    order_plain: "order" Plain [];
    order_sanitized: "order" Sanitized [];
    order_valgrind: "order" Valgrind ["few"];
    cancel_plain: "cancel" Plain [];
    cancel_sanitized: "cancel" Sanitized ["200"];
    cancel_valgrind: "cancel" Valgrind ["50"];
    busy_plain: "busy" Plain [];
    busy_sanitized: "busy" Sanitized [];
    busy_valgrind: "busy" Valgrind [];
    devices_plain: "devices" Plain [];
    memory_plain: "memory" Plain [];
    memory_sanitized: "memory" Sanitized [];
    levels_plain: "levels" Plain [];
    levels_sanitized: "levels" Sanitized [];
    forks_plain: "forks" Plain [];
    forks_sanitized: "forks" Sanitized [];
    vary_plain: "vary" Plain [];
    vary_sanitized: "vary" Sanitized [];
    mix_plain: "mix" Plain [];
    mix_sanitized: "mix" Sanitized [];
    score_plain: "score" Plain [];
    score_sanitized: "score" Sanitized [];
    best_plain: "best" Plain [];
    best_sanitized: "best" Sanitized [];
    cost_plain: "cost" Plain ["counts"];
    cost_sanitized: "cost" Sanitized ["counts"];
    misuse_plain: "misuse" Plain [];
    misuse_sanitized: "misuse" Sanitized [];
    error_output_plain: "error_output" Plain [];
    error_output_cpp: "error_output" Cpp [];
    error_output_sanitized: "error_output" Sanitized [];
    error_output_valgrind: "error_output" Valgrind [];
    live_handles_plain: "live_handles" Plain [];
    live_handles_sanitized: "live_handles" Sanitized [];
    live_handles_valgrind: "live_handles" Valgrind ["few"];
    readers_plain: "readers" Plain [];
    readers_sanitized: "readers" Sanitized [];
    readers_valgrind: "readers" Valgrind ["few"];
    worker_close_plain: "worker_close" Plain [];
    worker_close_sanitized: "worker_close" Sanitized [];
    worker_close_valgrind: "worker_close" Valgrind [];
    tick_plain: "tick" Plain [];
    tick_sanitized: "tick" Sanitized [];
    tick_valgrind: "tick" Valgrind ["few"];
    opening_plain: "opening" Plain [];
    opening_sanitized: "opening" Sanitized [];
    files_in_memory_plain: "files_in_memory" Plain [];
    files_in_memory_sanitized: "files_in_memory" Sanitized [];
    anywhere_plain: "anywhere" Plain [];
    anywhere_sanitized: "anywhere" Sanitized ["few"];
    generate_image_plain: "generate_image" Plain [];
    generate_image_sanitized: "generate_image" Sanitized [];
    formats_plain: "formats" Plain [];
    formats_sanitized: "formats" Sanitized [];
    formats_valgrind: "formats" Valgrind [];
    parallel_plain: "parallel" Plain [];
    parallel_sanitized: "parallel" Sanitized [];
    parallel_valgrind: "parallel" Valgrind ["few"];
}

/// It opens some forty bundles.
#[test]
#[ignore = "valgrind: `make test-tools`"]
fn anywhere_valgrind() {
    valgrind(|| Program::new("anywhere", Mode::Valgrind).passes(&["few"], 400));
}

/// All of these from memory on.
#[test]
#[ignore = "valgrind: `make test-tools`"]
fn together_valgrind() {
    valgrind(|| Program::new("together", Mode::Valgrind).passes(&[], 400));
}

/// Every function of the header is called by one of these programs.
#[test]
fn c_programs_call_every_function_of_the_header() {
    let header = std::fs::read_to_string(root().join("include/detailflow.h")).unwrap();
    let programs: String = std::fs::read_dir(root().join("tests/c"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "c"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let (functions, called) = (functions_of(&header), functions_of(&programs));
    assert!(functions.len() > 100, "{functions:?}");
    let missing: Vec<_> = functions.difference(&called).collect();
    assert!(missing.is_empty(), "no program calls {missing:#?}");
}

#[test]
fn calibration_plain() {
    calibration(Mode::Plain);
}

#[test]
fn calibration_sanitized() {
    calibration(Mode::Sanitized);
}

/// One process measures, another knows; with other threads it does not.
fn calibration(mode: Mode) {
    let program = Program::new("cost", mode);
    program.passes(&["unknown"], 60);
    std::fs::create_dir(program.cache()).unwrap();
    program.passes(&["calibrate"], 60);
    program.passes(&["known"], 60);
    program.passes(&["unknown", "2"], 60);
}

/// Whatever is found where the calibration was: times are not known, and everything works.
#[test]
fn calibration_damaged_or_foreign_is_ignored() {
    let program = Program::new("cost", Mode::Plain);
    std::fs::create_dir(program.cache()).unwrap();
    program.passes(&["calibrate"], 60);
    let folder = program.cache().join("detailflow");
    let path = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read_to_string(&path).unwrap();

    let unknown = |what: &str| {
        println!("{what}");
        program.passes(&["unknown"], 60);
    };
    for text in ["", "null", "[]", "{}", "a poem", &sound[..sound.len() / 2], &sound.replace(':', ",")] {
        std::fs::write(&path, text).unwrap();
        unknown(text);
    }
    std::fs::write(&path, vec![0xff; 1000]).unwrap();
    unknown("bytes");
    std::fs::write(&path, format!("{sound}{}", " ".repeat(2 << 20))).unwrap();
    unknown("a file that is much too long");

    type Json = serde_json::Value;
    let edited = |edit: &dyn Fn(&mut Json)| {
        let mut file = serde_json::from_str(&sound).unwrap();
        edit(&mut file);
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
    };
    let of_all = |name: &'static str, value: Json| {
        move |file: &mut Json| {
            for entry in file["entries"].as_array_mut().unwrap() {
                let (_, entry) = entry.as_object_mut().unwrap().iter_mut().next().unwrap();
                if entry.get(name).is_some() {
                    entry[name] = value.clone();
                }
            }
        }
    };
    edited(&|file| file["format"] = 2.into());
    unknown("another format");
    edited(&|file| file["key"] = format!("{} of another machine", file["key"].as_str().unwrap()).into());
    unknown("another machine's");
    edited(&|file| file["entries"] = Json::Array(Vec::new()));
    unknown("nothing measured");
    for value in [Json::from(0), u64::MAX.into(), (-1).into(), 0.5.into(), "long".into()] {
        edited(&of_all("nanoseconds", value.clone()));
        unknown(&format!("{value} nanoseconds"));
        // A shape that is none, of steps and of decodes.
        edited(&|file| {
            of_all("rows", value.clone())(file);
            of_all("pictures", value.clone())(file);
        });
        unknown(&format!("{value} rows"));
        edited(&|file| {
            of_all("query", value.clone())(file);
            of_all("tokens", value.clone())(file);
        });
        unknown(&format!("{value} positions"));
    }
    // Among others, what makes no sense does no harm.
    edited(&|file| {
        let entries = file["entries"].as_array_mut().unwrap();
        entries.insert(0, serde_json::json!({"step": {"rows": 0, "query": 1, "nanoseconds": 5}}));
        entries.push(serde_json::json!({"decode": {"pictures": 0, "tokens": 1, "nanoseconds": u64::MAX}}));
    });
    program.passes(&["known"], 60);

    // No file at all: a folder, a device without an end, a pipe that nobody writes into.
    let replaced = |with: &dyn Fn()| {
        std::fs::remove_file(&path).unwrap();
        with();
    };
    replaced(&|| std::fs::create_dir(&path).unwrap());
    unknown("a folder");
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    unknown("/dev/zero");
    replaced(&|| assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()));
    unknown("a pipe");
    replaced(&|| std::fs::write(&path, &sound).unwrap());
    program.passes(&["known"], 60);
}

#[test]
fn oom_plain() {
    oom(Mode::Plain, &[]);
}

#[test]
fn oom_sanitized() {
    oom(Mode::Sanitized, &["nolimit"]);
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn oom_valgrind() {
    valgrind(|| oom(Mode::Valgrind, &["nolimit"]));
}

#[test]
fn decode_only_plain() {
    decode_only(Mode::Plain);
}

#[test]
fn decode_only_sanitized() {
    decode_only(Mode::Sanitized);
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn decode_only_valgrind() {
    valgrind(|| decode_only(Mode::Valgrind));
}

fn decode_only(mode: Mode) {
    let program = Program::new("decode_only", mode);
    let alone = program.folder.path().join("alone");
    detailflow::Bundle::open(bundle()).unwrap().strip(&alone, None, |_, _| true).unwrap();
    program.passes(&[alone.to_str().unwrap()], 100);
    let mut left: Vec<_> = std::fs::read_dir(program.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["alone", "decode_only", "file", "mine"]);
}

#[test]
fn finish_plain() {
    finish(Mode::Plain);
}

#[test]
fn finish_sanitized() {
    finish(Mode::Sanitized);
}

/// A bundle that says nothing of finishing, and one with every setting.
fn finish(mode: Mode) {
    let program = Program::new("finish", mode);
    program.passes(&[], 100);
    let path = program.folder.path().join("finished");
    std::fs::create_dir(&path).unwrap();
    for file in std::fs::read_dir(bundle()).unwrap().map(|file| file.unwrap().path()) {
        std::fs::copy(&file, path.join(file.file_name().unwrap())).unwrap();
    }
    let manifest = std::fs::read_to_string(path.join("detailflow.json")).unwrap();
    let settings = r##"{"finish": {"alpha_cut": 100, "colors": 2, "palette": ["#ff0000", "#00ff80"], "dither": true,
        "outline": "#010203", "despeckle": true, "tile": true},"##;
    std::fs::write(path.join("detailflow.json"), manifest.replacen('{', settings, 1)).unwrap();
    program.passes_with(&path, &["all"], 100);
}

/// With a model whose million pictures no machine can hold; of the small one they are 17 GB, which some have.
fn oom(mode: Mode, arguments: &[&str]) {
    Program::new("oom", mode).passes_with(&root().join("tests/data/tiny-16/bundle"), arguments, 120);
}

#[test]
fn worker_plain() {
    worker(Mode::Plain, &[]);
}

#[test]
fn worker_sanitized() {
    worker(Mode::Sanitized, &[]);
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn worker_valgrind() {
    valgrind(|| worker(Mode::Valgrind, &["few"]));
}

/// With the same large model for a job that fails.
fn worker(mode: Mode, arguments: &[&str]) {
    let large = root().join("tests/data/tiny-16/bundle");
    let arguments: Vec<&str> = [large.to_str().unwrap()].into_iter().chain(arguments.iter().copied()).collect();
    Program::new("worker", mode).passes(&arguments, 120);
}

const EXITS: [&str; 10] =
    ["exit", "return", "thread", "orphans", "late", "join", "worker", "callback", "inside", "freed"];

/// A race: many times each, and none may crash, hang or say anything but 0.
#[test]
fn exit_in_flight_plain() {
    let program = Program::new("exit_in_flight", Mode::Plain);
    for how in EXITS {
        for _ in 0..10 {
            program.passes(&[how], 30);
        }
    }
}

#[test]
fn exit_in_flight_sanitized() {
    let program = Program::new("exit_in_flight", Mode::Sanitized);
    // What threads hold at that moment is no leak.
    for how in EXITS {
        let mut command = program.command(&[bundle().to_str().unwrap(), how]);
        command.env("ASAN_OPTIONS", "detect_leaks=0:exitcode=98");
        let output = run(command, Duration::from_secs(60));
        assert!(output.status.success(), "exit_in_flight {how}: {}\n{}", output.status, text(&output));
    }
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn exit_in_flight_valgrind() {
    valgrind(|| {
        let program = Program::new("exit_in_flight", Mode::ValgrindWithoutLeaks);
        program.passes(&["exit"], 200);
        program.passes(&["freed"], 200);
    });
}

const RUNTIME_CASES: [&str; 5] = ["text", "foreign", "missing", "environment", "second"];

#[test]
fn runtime_plain() {
    runtime_cases(Mode::Plain, &RUNTIME_CASES);
}

#[test]
fn runtime_sanitized() {
    runtime_cases(Mode::Sanitized, &RUNTIME_CASES);
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn runtime_valgrind() {
    // Two cases only, as each opens a model: a library that fails to load, and one that is loaded twice.
    valgrind(|| runtime_cases(Mode::Valgrind, &["text", "second"]));
}

fn runtime_cases(mode: Mode, cases: &[&str]) {
    let program = Program::new("runtime", mode);
    let (runtime, foreign) = (runtime(), libraries().join("libdetailflow.so"));
    for case in cases {
        program.passes(&[case, runtime.to_str().unwrap(), foreign.to_str().unwrap()], 100);
    }
}

#[test]
fn host_api_plain() {
    host_api_cases(Mode::Plain);
}

#[test]
fn host_api_sanitized() {
    host_api_cases(Mode::Sanitized);
}

/// Case `only` needs another build: tests/ports/linked-runtime.sh.
fn host_api_cases(mode: Mode) {
    let program = Program::new("host_api", mode);
    for case in ["given", "own", "late"] {
        program.passes(&[case, runtime().to_str().unwrap()], 100);
    }
}

/// A library that stands alone, with nothing beside it: what is said when there is no ONNX Runtime.
#[test]
fn missing_runtime_error_names_every_place_and_the_remedy() {
    let program = Program::new("runtime", Mode::Plain);
    let alone = tempfile::tempdir().unwrap();
    let library = alone.path().join("libdetailflow.so");
    std::fs::copy(libraries().join("libdetailflow.so"), &library).unwrap();
    let (bundle, runtime) = (bundle(), runtime());
    let arguments = [&bundle, Path::new("nowhere"), &runtime, &library].map(|path| path.to_str().unwrap());
    let mut command = program.command(&arguments);
    command.env("LD_LIBRARY_PATH", alone.path());
    let output = run(command, Duration::from_secs(60));
    assert!(output.status.success(), "runtime nowhere: {}\n{}", output.status, text(&output));
}

/// A host that knows nothing of the library loads it from a folder of plugins, with all that it needs beside it.
#[test]
fn plugin_finds_runtime_and_bundle_beside_the_library() {
    let plugin = Plugin::new();
    for (runtime_at, arguments) in [
        ("runtime/libonnxruntime.so", &["finds"][..]),
        ("libonnxruntime.so", &["finds"]),
        ("../runtime/libonnxruntime.so", &["finds"]),
    ] {
        let place = plugin.folder.join(runtime_at);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::hard_link(runtime(), &place).or_else(|_| std::fs::copy(runtime(), &place).map(drop)).unwrap();
        plugin.passes(arguments);
        std::fs::remove_file(place).unwrap();
    }
}

/// Threads of the library and of ONNX Runtime may be at work when a host unloads it, so it stays in memory then; no flag of
/// the linker is needed.
#[test]
fn plugin_that_works_stays_in_memory_when_it_is_unloaded() {
    let plugin = Plugin::new();
    plugin.passes(&["unused"]);
    std::os::unix::fs::symlink(runtime(), plugin.folder.join("libonnxruntime.so")).unwrap();
    plugin.passes(&["unloads"]);
    plugin.passes(&["settled"]);
}

/// `tests/c/plugin.c`, which is not linked with the library, and a folder with the library and a bundle elsewhere.
struct Plugin {
    _root: tempfile::TempDir,
    folder: PathBuf,
    host: PathBuf,
}

impl Plugin {
    fn new() -> Self {
        let root_folder = tempfile::tempdir().unwrap();
        let (folder, host) = (root_folder.path().join("plugins/x"), root_folder.path().join("host"));
        std::fs::create_dir_all(folder.join("detailflow")).unwrap();
        std::fs::create_dir(&host).unwrap();
        std::fs::copy(libraries().join("libdetailflow.so"), folder.join("libdetailflow.so")).unwrap();
        for file in std::fs::read_dir(bundle()).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::copy(&file, folder.join("detailflow").join(file.file_name().unwrap())).unwrap();
        }
        let mut compiler = Command::new("cc");
        // Optimized, so that the functions of check.h that are not used need no library.
        compiler.args(["-std=c99", "-O1"]).args(STRICT).args(["-Iinclude", "-Itests/c", "tests/c/plugin.c", "-ldl"]);
        succeeds(compiler.args(["-lpthread", "-o"]).arg(host.join("plugin")).current_dir(root()));
        Self { _root: root_folder, folder, host }
    }

    fn passes(&self, arguments: &[&str]) {
        let mut command = Command::new(self.host.join("plugin"));
        command.arg(self.folder.join("libdetailflow.so")).args(arguments).current_dir(&self.host);
        for name in ["DETAILFLOW_BUNDLE", "ORT_DYLIB_PATH", "LD_LIBRARY_PATH"] {
            command.env_remove(name);
        }
        let output = run(command, Duration::from_secs(100));
        assert!(output.status.success(), "plugin {arguments:?}: {}\n{}", output.status, text(&output));
    }
}

// --- The checkers check ---

fn faulty(body: &str, mode: Mode) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("faulty.c");
    let code = format!(
        "#include \"check.h\"\nint main(int argc, char **argv)\n{{\n    char *volatile memory = (char *)malloc(8);\n    \
         (void)argc;\n    (void)argv;\n    CHECK(memory != NULL && detailflow_abi_version() > 0);\n{body}\n    return 0;\n}}\n"
    );
    std::fs::write(&source, code).unwrap();
    let program = Program::from(&source, "faulty", mode);
    run(program.command(&[]), Duration::from_secs(60))
}

const OVERFLOW: &str = "    memory[7 + argc] = 1;\n    free(memory);";
const LEAK: &str = "    memory = NULL;";
const SIGNED_OVERFLOW: &str = "    argc += 2147483646;\n    memory[0] = (char)argc;\n    argc++;\n    free(memory);";

#[test]
fn sanitizers_find_faults() {
    for (body, report) in [
        (OVERFLOW, "heap-buffer-overflow"),
        (LEAK, "detected memory leaks"),
        (SIGNED_OVERFLOW, "signed integer overflow"),
    ] {
        let output = faulty(body, Mode::Sanitized);
        let text = text(&output);
        assert!(!output.status.success() && text.contains(report), "no {report}: {}\n{text}", output.status);
    }
    assert!(faulty("    free(memory);", Mode::Sanitized).status.success());
}

#[test]
#[ignore = "valgrind: `make test-tools`"]
fn valgrind_finds_faults() {
    if !has_or_skip("valgrind", "valgrind") {
        return;
    }
    for (body, report) in [(OVERFLOW, "Invalid write of size 1"), (LEAK, "definitely lost")] {
        let output = faulty(body, Mode::Valgrind);
        let text = text(&output);
        assert!(output.status.code() == Some(99) && text.contains(report), "no {report}: {}\n{text}", output.status);
    }
    assert!(faulty("    free(memory);", Mode::Valgrind).status.success());
}

/// Each suppression names a frame of ONNX Runtime or of the dynamic linker, so that none can hide a fault of ours.
#[test]
fn suppressions_name_only_foreign_objects() {
    let read = |name: &str| std::fs::read_to_string(root().join("tests/c").join(name)).unwrap();
    let valgrind = read("valgrind.supp");
    let entries: Vec<&str> = valgrind.split('{').skip(1).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        let frames: Vec<&str> = entry.lines().map(str::trim).filter(|line| line.starts_with("obj:")).collect();
        assert!(!frames.is_empty(), "a suppression without an object:{entry}");
        for frame in frames {
            assert!(["obj:*/libonnxruntime.so*", "obj:*/ld-linux*.so*"].contains(&frame), "{frame}");
        }
        assert!(!entry.lines().any(|line| line.trim() == "..."), "a suppression with any frames:{entry}");
    }
    for line in read("lsan.supp").lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert_eq!(line, "leak:libonnxruntime.so");
    }
}

// --- The example ---

/// The line of the README, with the libraries of this build.
fn build_example(folder: &Path, more: &[&str]) {
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Iinclude", "examples/c/generate.c"]);
    command.args(more).args(["-lm", "-o"]).arg(folder.join("generate"));
    succeeds(command.current_dir(root()));
}

/// Nothing is set: the library finds ONNX Runtime and the bundle by itself, as it must on a fresh machine. A target
/// folder outside the checkout has neither beside it, and is told.
fn example_environment(command: &mut Command, program_folder: &Path) {
    command.env_remove("DETAILFLOW_BUNDLE").env_remove("ORT_DYLIB_PATH").env_remove("LD_LIBRARY_PATH");
    let finds_itself = program_folder.starts_with(root());
    if !finds_itself {
        command.env("ORT_DYLIB_PATH", runtime()).env("DETAILFLOW_BUNDLE", root().join("onnx/bundles/sprites"));
    }
}

fn is_a_picture(path: &Path) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 100, "{} is no PNG", path.display());
}

#[test]
fn c_example_builds_and_writes_a_picture() {
    let source = std::fs::read_to_string(root().join("examples/c/generate.c")).unwrap();
    assert!(source.lines().count() < 80, "examples/c/generate.c has {} lines", source.lines().count());
    let folder = tempfile::tempdir().unwrap();
    build_example(folder.path(), &[&format!("-L{}", libraries().display()), "-ldetailflow"]);
    let mut command = Command::new(folder.path().join("generate"));
    example_environment(&mut command, &libraries());
    command.env("LD_LIBRARY_PATH", libraries()).current_dir(folder.path());
    let output = run(command, Duration::from_secs(60));
    assert!(output.status.success(), "{}", text(&output));
    is_a_picture(&folder.path().join("sprite.png"));
    assert!(output.stderr.is_empty(), "{}", text(&output));

    // Every error is printed, with its name, and ends with 1.
    let mut command = Command::new(folder.path().join("generate"));
    command.env("LD_LIBRARY_PATH", libraries()).env("DETAILFLOW_BUNDLE", "/there/is/none").env_remove("ORT_DYLIB_PATH");
    command.current_dir(folder.path());
    let output = run(command, Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("DETAILFLOW_STATUS_NOT_FOUND") && text(&output).contains("/there/is/none"));
}

/// The static library links with what the system has, and draws. Its program must find things by itself too, so it is
/// given them by the environment: it stands in a folder of its own.
#[test]
fn c_example_links_statically() {
    let folder = tempfile::tempdir().unwrap();
    let library = libraries().join("libdetailflow.a");
    build_example(folder.path(), &[library.to_str().unwrap(), "-ldl", "-lpthread", "-lgcc_s"]);
    let mut command = Command::new(folder.path().join("generate"));
    example_environment(&mut command, folder.path());
    command.current_dir(folder.path());
    let output = run(command, Duration::from_secs(60));
    assert!(output.status.success(), "{}", text(&output));
    is_a_picture(&folder.path().join("sprite.png"));
}

/// What a program read and wrote below `strace`, and that it opened no socket.
struct Watched {
    read: BTreeSet<PathBuf>,
    written: BTreeSet<PathBuf>,
}

impl Watched {
    /// Runs `command`, which looks for things by itself, in `work`, with nothing in the user's home and caches in `cache`.
    fn run(command: &Command, work: &Path, cache: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (home, log) = (folder.path().join("home"), folder.path().join("log"));
        std::fs::create_dir(&home).unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "4096", "-e", "trace=%network,%file", "-o"]).arg(&log);
        strace.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        for name in ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            strace.env_remove(name);
        }
        strace.envs(cache.map(|cache| ("XDG_CACHE_HOME", cache)));
        strace.env("LD_LIBRARY_PATH", libraries()).env("HOME", &home).env("TMPDIR", &home).current_dir(work);
        let output = run(strace, Duration::from_secs(100));
        assert!(output.status.success(), "{}", text(&output));
        let left: Vec<_> = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "in HOME: {left:?}");

        let log = std::fs::read_to_string(&log).unwrap();
        assert!(log.contains("detailflow.json"), "strace saw nothing:\n{log}");
        let network = ["socket(", "connect(", "bind(", "sendto(", "sendmsg(", "socketpair("];
        let calls: Vec<&str> = log.lines().filter(|line| network.iter().any(|call| line.contains(call))).collect();
        assert!(calls.is_empty(), "network: {calls:#?}");
        Self::of(&log, work)
    }

    /// The log's files.
    fn of(log: &str, work: &Path) -> Self {
        let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
        for line in log.lines() {
            let Some((call, rest)) = line.split_once('(') else { continue };
            let call = call.split_whitespace().last().unwrap_or_default();
            // What is not there was not read; looking for it is a search.
            let failed = line.contains(" = -1 ");
            let changes =
                ["mkdir", "rename", "unlink", "symlink", "link", "chmod", "chown", "truncate", "mknod", "utime"];
            let opens = ["open", "openat", "openat2", "creat"];
            let path = |at: usize| {
                let path = rest.split('"').nth(at).unwrap_or_default();
                if path.starts_with('/') { PathBuf::from(path) } else { work.join(path) }
            };
            if changes.iter().any(|change| call.starts_with(change))
                || call == "creat"
                || (opens.contains(&call) && ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| rest.contains(flag)))
            {
                written.insert(path(1));
                if ["rename", "link", "symlink"].iter().any(|change| call.starts_with(change)) {
                    written.insert(path(3));
                }
            } else if opens.contains(&call) && !failed {
                read.insert(path(1));
            }
        }
        println!("read: {read:#?}\nwritten: {written:#?}");
        Self { read, written }
    }

    /// What was read besides `bundle`, the libraries and [`SYSTEM_FILES`].
    fn strangers(&self, bundle: &Path) -> Vec<&PathBuf> {
        let allowed = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let system_library = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"].iter().any(|lib| path.starts_with(lib))
                && (name.ends_with(".so") || name.contains(".so."));
            system_library
                || resolved == libraries().join("libdetailflow.so")
                || resolved == runtime()
                || resolved.starts_with(bundle)
                || SYSTEM_FILES.iter().any(|file| path.starts_with(file))
        };
        self.read.iter().filter(|path| !allowed(path)).collect()
    }
}

/// What is read of the system, files and folders: the header names them.
const SYSTEM_FILES: [&str; 13] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self/cgroup",
    "/proc/self/maps",
    "/proc/self/mountinfo",
    "/proc/self/statm",
    "/sys/bus/pci/devices",
    "/sys/class/accel",
    "/sys/class/drm",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

/// The header names each file and folder of the system that may be read.
#[test]
fn header_names_the_system_files_that_are_read() {
    let header = std::fs::read_to_string(root().join("include/detailflow.h")).unwrap();
    for file in SYSTEM_FILES {
        assert!(header.contains(file), "the header does not name {file}");
    }
}

/// A program that opens models, generates, encodes, decodes, saves, packs and strips opens the files that it named, those
/// that the header names, and no others; it writes the files that it named, each under a temporary name beside it.
#[test]
#[ignore = "strace: `make test-tools`"]
fn c_program_opens_only_files_that_it_or_the_header_names() {
    if !has_or_skip("strace", "strace") {
        return;
    }
    let program = Program::new("files_opened", Mode::Plain);
    let work = program.folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let watched = Watched::run(&program.command(&[bundle().to_str().unwrap()]), &work, None);
    let named = ["saved.png", "saved.tga", "saved.dftpack", "salvaged.dftpack", "stripped", "packed.dflow", "unpacked"];
    let ours = |path: &Path| {
        let name = path.strip_prefix(&work).ok().and_then(|path| path.iter().next()).unwrap_or_default();
        named.iter().any(|file| *file == name) || name.to_string_lossy().starts_with(".detailflow-")
    };
    let strangers: Vec<_> = watched.written.iter().filter(|path| !ours(path)).collect();
    assert!(strangers.is_empty(), "written: {strangers:#?}");
    // The folder is listed for what killed processes left.
    let strangers = watched.strangers(&bundle()).into_iter().filter(|path| !ours(path) && **path != work);
    let strangers: Vec<_> = strangers.collect();
    assert!(strangers.is_empty(), "opened: {strangers:#?}");
    let left: BTreeSet<_> = std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, named.iter().map(std::ffi::OsString::from).collect());
}

/// No socket, and no file but those that were named (the bundle, ONNX Runtime, the picture file) and those of the system
/// that the header names.
#[test]
#[ignore = "strace: `make test-tools`"]
fn c_example_opens_only_named_files_and_no_socket() {
    if !has_or_skip("strace", "strace") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    build_example(folder.path(), &[&format!("-L{}", libraries().display()), "-ldetailflow"]);
    let mut command = Command::new(folder.path().join("generate"));
    example_environment(&mut command, &libraries());
    let watched = Watched::run(&command, &work, None);
    let strangers: Vec<_> = watched.written.iter().filter(|path| path.parent() != Some(&*work)).collect();
    assert!(strangers.is_empty(), "written: {strangers:#?}");
    assert!(watched.written.contains(&work.join("sprite.png")), "strace saw nothing");
    let mut strangers = watched.strangers(&root().join("onnx/bundles/sprites"));
    // The folder is listed for what killed processes left.
    strangers.retain(|path| **path != work);
    assert!(strangers.is_empty(), "opened: {strangers:#?}");
    let left: Vec<_> = std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["sprite.png"]);
}

/// Calibrating writes one file in the user's cache directory, predicting reads that one, and nothing else is opened.
#[test]
#[ignore = "strace: `make test-tools`"]
fn calibrate_writes_one_file_and_predict_reads_it() {
    if !has_or_skip("strace", "strace") {
        return;
    }
    let program = Program::new("cost", Mode::Plain);
    let (cache, work) = (program.cache(), program.folder.path().join("work"));
    let ours = cache.join("detailflow");
    std::fs::create_dir(&cache).unwrap();
    std::fs::create_dir(&work).unwrap();
    let watch = |what: &str| {
        let command = program.command(&[bundle().to_str().unwrap(), what]);
        Watched::run(&command, &work, Some(&cache))
    };
    let calibration = || -> PathBuf {
        let all: Vec<_> = std::fs::read_dir(&ours).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].clone()
    };

    let watched = watch("unknown");
    assert!(watched.written.is_empty(), "written: {:#?}", watched.written);
    assert!(watched.strangers(&bundle()).is_empty(), "opened: {:#?}", watched.strangers(&bundle()));

    let watched = watch("calibrate");
    let (file, part) =
        (calibration(), |path: &Path| path.parent() == Some(&*ours) && path.extension() == Some("part".as_ref()));
    // The program itself looks into both folders, and tries to write where there can be no folder: below the file.
    let strangers: Vec<_> = watched
        .written
        .iter()
        .filter(|path| **path != ours && **path != file && !part(path) && !path.starts_with(&file))
        .collect();
    assert!(strangers.is_empty(), "written: {strangers:#?}");
    assert!(watched.written.contains(&file) && watched.written.iter().any(|path| part(path)));
    let strangers = watched.strangers(&bundle());
    assert!(strangers.iter().all(|path| [&cache, &ours, &file].contains(path)), "opened: {strangers:#?}");

    let watched = watch("known");
    assert!(watched.written.is_empty(), "written: {:#?}", watched.written);
    assert_eq!(watched.strangers(&bundle()), [&file]);
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
}
