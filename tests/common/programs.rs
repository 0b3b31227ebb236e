//! Helpers of the tests that run C and C++ programs: build the C libraries, compile with strict warnings, run plain, under
//! the sanitizers or under valgrind, with a time limit.
//!
//! The bundle is `tests/data/small`, or the one that `DETAILFLOW_TEST_BUNDLE` names.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The checkout, or what has its layout on another machine: `DETAILFLOW_TEST_ROOT` (`make gpu-kit`).
pub fn root() -> PathBuf {
    elsewhere().unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// The folder that a test program has been moved to. It has the C programs and the shared library ready made.
fn elsewhere() -> Option<PathBuf> {
    std::env::var_os("DETAILFLOW_TEST_ROOT").map(PathBuf::from)
}

/// The folder of the C libraries, built by cargo from the present sources before the first test that asks for it: with the
/// profile and into the target folder of the test itself.
pub fn libraries() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(build_libraries).clone()
}

/// Cargo holds a lock on the target folder, so several test programs may ask at the same time.
fn build_libraries() -> PathBuf {
    if let Some(root) = elsewhere() {
        return root.join("target/release");
    }
    // TARGET/PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().to_owned();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(["rustc", "--quiet", "--locked", "--lib", "--crate-type", "cdylib,staticlib"]);
    if !folder.ends_with("debug") {
        command.arg("--profile").arg(folder.file_name().unwrap());
    }
    command.arg("--target-dir").arg(folder.parent().unwrap()).current_dir(root());
    // As the Makefile does.
    command.args(["--", "-C", "link-arg=-Wl,-soname,libdetailflow.so"]);
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", text(&output));
    for name in ["libdetailflow.so", "libdetailflow.a"] {
        assert!(folder.join(name).is_file(), "{command:?} made no {}", folder.join(name).display());
    }
    folder
}

/// The bundle to test with.
pub fn bundle() -> PathBuf {
    let bundle = std::env::var_os("DETAILFLOW_TEST_BUNDLE").map_or(root().join("tests/data/small"), PathBuf::from);
    assert!(bundle.join("detailflow.json").is_file(), "no bundle to test with at {}", bundle.display());
    bundle
}

/// The ONNX Runtime to test with.
pub fn runtime() -> PathBuf {
    let path =
        std::env::var_os("ORT_DYLIB_PATH").map_or(root().join("target/runtime/libonnxruntime.so"), PathBuf::from);
    assert!(path.is_file(), "there is no ONNX Runtime at {}: run `make` once, it fetches one", path.display());
    path.canonicalize().unwrap()
}

/// Skips a test since something is not installed. Where everything should be there (`DETAILFLOW_EVERYTHING`, set by the
/// second part of `.ci/run`) that is a failure.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("DETAILFLOW_EVERYTHING").is_none(), "{test} must not be skipped: {why}");
    note_skipped(test, why);
}

/// Adds a line to those that `make` prints at its end.
pub fn note_skipped(test: &str, why: &str) {
    let folder = root().join("target/skipped");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(test), format!("SKIPPED {test}: {why}\n")).unwrap();
}

/// Whether a program that is not ours is installed.
pub fn has(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Whether a program is installed that the running test cannot do without; else the test is skipped.
pub fn has_or_skip(program: &str, package: &str) -> bool {
    let found = has(program);
    if !found {
        let name = std::thread::current().name().unwrap_or(program).replace("::", "_");
        skip(&name, &format!("{program} is not installed (apt-get install {package})"));
    }
    found
}

/// How a program is compiled and run.
#[derive(Clone, Copy, PartialEq)]
pub enum Mode {
    Plain,
    /// A C program as C++.
    Cpp,
    Sanitized,
    Valgrind,
    /// Memory that threads hold when the process ends is not a leak.
    ValgrindWithoutLeaks,
}

pub const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-g"];

/// As engines compile C++: without exceptions and RTTI, and with one more warning.
pub const STRICT_CPP: [&str; 3] = ["-Wconversion", "-fno-exceptions", "-fno-rtti"];

/// Compiles and links a program with the shared library. The file's extension, c or cpp, chooses the language.
pub fn compile(source: &Path, program: &Path, mode: Mode) {
    let is_cpp = source.extension().is_some_and(|ending| ending == "cpp");
    let mut command = if is_cpp || mode == Mode::Cpp {
        let mut command = Command::new("c++");
        command.args(["-std=c++17", "-x", "c++"]).args(if is_cpp { &STRICT_CPP[..] } else { &[] });
        command
    } else {
        let mut command = Command::new("cc");
        command.arg("-std=c99");
        command
    };
    command.args(STRICT);
    if mode == Mode::Sanitized {
        command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]);
    }
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c")).arg(source);
    command
        .args(["-x", "none"])
        .arg("-L")
        .arg(libraries())
        .args(["-ldetailflow", "-lm", "-lpthread", "-o"])
        .arg(program);
    succeeds(&mut command);
}

/// Runs a command that must succeed, such as a compiler; returns its output.
pub fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", text(&output));
    output
}

/// Standard output and standard error of a program.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a program to its end; fails when it takes longer than `limit`.
pub fn run(mut command: Command, limit: Duration) -> Output {
    let begun = Instant::now();
    // Through files: a full pipe would stop the program.
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut read = |status| {
        use std::io::{Read, Seek};
        let mut output = Output { status, stdout: Vec::new(), stderr: Vec::new() };
        out.rewind().and_then(|()| out.read_to_end(&mut output.stdout)).unwrap();
        err.rewind().and_then(|()| err.read_to_end(&mut output.stderr)).unwrap();
        output
    };
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return read(status);
        }
        if begun.elapsed() > limit {
            child.kill().unwrap();
            let output = read(child.wait().unwrap());
            panic!("{command:?} did not end within {limit:?}\n{}", text(&output));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A program, compiled in a folder of its own, which is also where it runs.
pub struct Program {
    pub folder: TempDir,
    pub name: String,
    pub mode: Mode,
}

impl Program {
    pub fn new(name: &str, mode: Mode) -> Self {
        Self::from(&root().join(format!("tests/c/{name}.c")), name, mode)
    }

    /// One of tests/cpp.
    pub fn cpp(name: &str, mode: Mode) -> Self {
        Self::from(&root().join(format!("tests/cpp/{name}.cpp")), name, mode)
    }

    pub fn from(source: &Path, name: &str, mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(root) = elsewhere() {
            std::fs::copy(root.join(format!("tests/program-{name}")), folder.path().join(name)).unwrap();
            return Self { folder, name: name.to_owned(), mode };
        }
        compile(source, &folder.path().join(name), mode);
        Self { folder, name: name.to_owned(), mode }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let path = self.folder.path().join(&self.name);
        let mut command = match self.mode {
            Mode::Valgrind | Mode::ValgrindWithoutLeaks => {
                let mut command = Command::new("valgrind");
                command
                    .args(["-q", "--error-exitcode=99"])
                    .arg(if self.mode == Mode::Valgrind { "--leak-check=full" } else { "--leak-check=no" })
                    .args(["--errors-for-leak-kinds=definite", "--show-leak-kinds=definite"])
                    // One thread runs at a time; without this one of two that wait for each other may starve.
                    .arg("--fair-sched=yes")
                    .arg(format!("--suppressions={}", root().join("tests/c/valgrind.supp").display()))
                    .arg(path);
                command
            }
            _ => Command::new(path),
        };
        if self.mode == Mode::Sanitized {
            command.env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=98:allocator_may_return_null=1");
            command.env("UBSAN_OPTIONS", "print_stacktrace=1:exitcode=98");
            let suppressions = root().join("tests/c/lsan.supp");
            command.env("LSAN_OPTIONS", format!("suppressions={}:print_suppressions=0", suppressions.display()));
        }
        command
            .args(arguments)
            .env("LD_LIBRARY_PATH", libraries())
            .env("ORT_DYLIB_PATH", runtime())
            .env_remove("DETAILFLOW_BUNDLE")
            // Tests do not read the calibrations of this user.
            .env("XDG_CACHE_HOME", self.cache())
            .current_dir(self.folder.path());
        command
    }

    /// The cache folder, where it looks for calibrations; does not exist at first.
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Runs it with the bundle and more arguments, for at most `limit` seconds; it must exit with 0.
    pub fn passes(&self, arguments: &[&str], limit: u64) {
        self.passes_with(&bundle(), arguments, limit);
    }

    pub fn passes_with(&self, bundle: &Path, arguments: &[&str], limit: u64) {
        let mut all = vec![bundle.to_str().unwrap()];
        all.extend_from_slice(arguments);
        let output = run(self.command(&all), Duration::from_secs(limit));
        assert!(output.status.success(), "{} {all:?}: {}\n{}", self.name, output.status, text(&output));
    }
}

/// The functions of the C API that a text calls or declares.
pub fn functions_of(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("detailflow_") && text.contains(&format!("{word}(")))
        .collect()
}
