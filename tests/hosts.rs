//! The programs of `tests/hosts`: hosts that are unlike the one that wrote the library's other tests. Each puts its process
//! or thread into an unusual state, uses the library there, and checks that everything works or is a clear error, and that
//! the state is as it was afterwards.
//!
//! They take longer than `make test` has, so all are ignored unless asked for: `make test-hosts`.

#![cfg(target_os = "linux")]

#[path = "common/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use programs::*;

/// A program of `tests/hosts`.
fn host(name: &str) -> Program {
    Program::from(&root().join(format!("tests/hosts/{name}.c")), name, Mode::Plain)
}

/// A test for each program that needs nothing but the bundle: its name, its arguments and its limit in seconds.
macro_rules! hosts {
    ($($test:ident: $name:literal $arguments:expr, $limit:literal;)*) => {
        $(
            #[test]
            #[ignore = "hosts: `make test-hosts`"]
            fn $test() {
                host($name).passes(&$arguments, $limit);
            }
        )*
    };
}

hosts! {
    float_environment_is_the_hosts: "float" [], 300;
    forked_child_refuses_and_ends: "forked" [], 200;
    small_signal_stack_before_the_first_gemm_on_tiles: "signal_stack" ["before"], 60;
    small_signal_stack_kept_through_a_generation: "signal_stack" ["kept"], 60;
    cancelled_thread_ends_after_the_call: "cancelled" [], 100;
    small_stack_is_enough: "small_stack" [], 60;
    descriptors_run_out: "descriptors" [], 60;
}

/// Runs the program that calls everything with an allocator that is preloaded, and more of the environment.
fn with_allocator(library: &Path, environment: &[(&str, &str)]) {
    let program = host("small_stack");
    let mut command = program.command(&[bundle().to_str().unwrap(), "0x200000"]);
    command.env("LD_PRELOAD", library).envs(environment.iter().copied());
    let output = run(command, Duration::from_secs(100));
    let text = text(&output);
    assert!(output.status.success(), "{}: {}\n{text}", library.display(), output.status);
    // What the dynamic linker says when it ignores the library.
    assert!(!text.contains("cannot be preloaded"), "{text}");
}

/// The first of some libraries that the system has.
fn system_library(names: &[&str]) -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let candidates = folders.filter(|path| path.is_dir()).chain(["/usr/lib64".into(), "/usr/lib".into()]);
    candidates.flat_map(|folder| names.iter().map(move |name| folder.join(name))).find(|path| path.is_file())
}

fn with_allocator_or_skip(test: &str, names: &[&str], package: &str, environment: &[(&str, &str)]) {
    match system_library(names) {
        Some(library) => with_allocator(&library, environment),
        None => skip(test, &format!("{} is not installed (apt-get install {package})", names[0])),
    }
}

/// glibc's own, which checks every block and fills what is freed.
#[test]
#[ignore = "hosts: `make test-hosts`"]
fn allocator_that_checks() {
    let tunables = ("GLIBC_TUNABLES", "glibc.malloc.check=3:glibc.malloc.perturb=165");
    with_allocator_or_skip("allocator_that_checks", &["libc_malloc_debug.so.0"], "libc6", &[tunables]);
}

#[test]
#[ignore = "hosts: `make test-hosts`"]
fn allocator_jemalloc() {
    let junk = ("MALLOC_CONF", "junk:true");
    with_allocator_or_skip("allocator_jemalloc", &["libjemalloc.so.2"], "libjemalloc2", &[junk]);
}

#[test]
#[ignore = "hosts: `make test-hosts`"]
fn allocator_mimalloc() {
    with_allocator_or_skip("allocator_mimalloc", &["libmimalloc.so.2", "libmimalloc.so.3"], "libmimalloc2.0", &[]);
}
