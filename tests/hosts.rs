//! The programs of `tests/hosts`: hosts that are unlike the one that wrote the library's other tests. Each puts its process
//! or thread into an unusual state, uses the library there, and checks that everything works or is a clear error, and that
//! the state is as it was afterwards.
//!
//! They take longer than `make test` has, so all are ignored unless asked for: `make test-hosts`.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "sets the rounding mode of a thread")]

mod common;
#[path = "common/programs.rs"]
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;
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
    float_environment_is_the_hosts: "float" [], 600;
    forked_child_refuses_and_ends: "forked" [], 400;
    small_signal_stack_before_the_first_gemm_on_tiles: "signal_stack" ["before"], 60;
    small_signal_stack_kept_through_a_generation: "signal_stack" ["kept"], 60;
    cancelled_thread_ends_after_the_call: "cancelled" [], 100;
    small_stack_is_enough: "small_stack" [], 60;
    descriptors_run_out: "descriptors" [], 60;
    cpu_mask_holds_for_all_threads: "cpu_mask" [], 100;
    working_directory_may_change: "working_directory" [], 60;
    first_models_open_at_once: "first_open" [], 200;
    weights_may_be_replaced: "weights" [], 100;
    truncated_runtime_is_a_status: "truncated_runtime" [], 60;
    opening_again_and_again_stays_flat: "endurance" ["open", "30"], 300;
    stepping_on_and_on_stays_flat: "endurance" ["step", "3000"], 300;
    many_threads_draw_the_same: "endurance" ["threads", "3"], 300;
}

/// Runs a program that ends with 77, and says why, where the system does not let it do its work.
fn passes_or_skips(test: &str, program: &Program, arguments: &[&str], limit: u64) {
    let output = run(program.command(arguments), Duration::from_secs(limit));
    match output.status.code() {
        Some(77) => skip(test, text(&output).trim()),
        _ => assert!(output.status.success(), "{test} {arguments:?}: {}\n{}", output.status, text(&output)),
    }
}

fn without_enough(test: &str, kind: &str) {
    use std::os::unix::fs::PermissionsExt;
    let program = host("threads_run_out");
    // For another user, who must reach it.
    let copy = program.folder.path().join("bundle");
    std::fs::create_dir(&copy).unwrap();
    for file in std::fs::read_dir(bundle()).unwrap().map(|file| file.unwrap().path()) {
        std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
    }
    for folder in [program.folder.path(), &copy] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    passes_or_skips(test, &program, &[copy.to_str().unwrap(), kind], 600);
}

#[test]
#[ignore = "hosts: `make test-hosts`"]
fn threads_run_out_by_the_users_limit() {
    without_enough("threads_run_out_by_the_users_limit", "nproc");
}

#[test]
#[ignore = "hosts: `make test-hosts`"]
fn threads_run_out_by_the_control_group() {
    without_enough("threads_run_out_by_the_control_group", "pids");
}

#[test]
#[ignore = "hosts: `make test-hosts`"]
fn address_space_runs_out() {
    without_enough("address_space_runs_out", "memory");
}

#[test]
#[ignore = "hosts: `make test-hosts`"]
fn everything_works_without_proc() {
    passes_or_skips("everything_works_without_proc", &host("no_proc"), &[bundle().to_str().unwrap()], 100);
}

/// Every STRIDE-th call of ONNX Runtime fails in turn. DETAILFLOW_STRIDE=1 in the environment: every call, some minutes for
/// each form.
#[test]
#[ignore = "hosts: `make test-hosts`"]
fn runtime_that_fails_at_any_call_is_a_status() {
    if !cfg!(target_arch = "x86_64") {
        return skip("runtime_that_fails_at_any_call_is_a_status", "the library between is written for x86-64");
    }
    let program = host("runtime_failures");
    let library = program.folder.path().join("libfailing.so");
    let mut compiler = Command::new("cc");
    compiler.args(STRICT).args(["-std=c99", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]).arg(&library);
    succeeds(compiler.arg(root().join("tests/hosts/failing_runtime.c")).arg("-ldl"));
    let stride = std::env::var("DETAILFLOW_STRIDE").unwrap_or("41".to_owned());
    for form in ["native", "mha", "plain", "fixed"] {
        let mut command = program.command(&[bundle().to_str().unwrap(), &stride, form]);
        // Panics of `ort` are expected.
        command.env("ORT_DYLIB_PATH", &library).env("REAL_ONNXRUNTIME", runtime()).env("RUST_BACKTRACE", "0");
        let output = run(command, Duration::from_secs(1800));
        assert!(output.status.success(), "{form}: {}\n{}", output.status, text(&output));
    }
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

/// Sets bits of MXCSR on a thread of its own, and runs `body` there; the bits are still there afterwards.
#[cfg(target_arch = "x86_64")]
fn with_mxcsr<R: Send>(bits: u32, body: impl FnOnce() -> R + Send) -> R {
    use std::arch::asm;
    fn get() -> u32 {
        let mut mxcsr = 0u32;
        // SAFETY: writes the variable.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack)) };
        mxcsr
    }
    let set = |mxcsr: u32| {
        // SAFETY: on this thread alone, whose arithmetic is that of the library.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack)) };
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            set(0x1F80 | bits);
            let result = body();
            let after = get();
            set(0x1F80);
            assert_eq!(after & !0x3F, 0x1F80 | bits, "the environment has changed");
            result
        });
        thread.join().unwrap()
    })
}

/// The Rust API, too, computes in the default environment.
#[cfg(target_arch = "x86_64")]
#[test]
#[ignore = "hosts: `make test-hosts`"]
fn rust_api_gives_the_same_in_every_rounding_mode() {
    use detailflow::pixels::FileFormat;
    use detailflow::{PixelFormat, Request, Worker, WorkerOptions};
    let all = |form: &str| {
        let model = common::open(&common::small(), "fp32", form);
        let request = common::request(&model, &[(0, 1), (1, 2), (2, 3), (0, 4), (1, 5), (2, 6), (0, 7), (1, 8)]);
        let generation = common::finished(&request);
        let image = generation.image(0).unwrap();
        let pixels = image.to_vec(PixelFormat::Rgba32F).unwrap();
        let small = image.downscale(5).unwrap().planes().to_vec();
        let file = image.encode(FileFormat::Jpeg).unwrap();
        let again = model.encode(&detailflow::Picture::decode(&file).unwrap()).unwrap();
        let scores = detailflow::tasks::score(&model, 0, generation.tokens(0).unwrap()).unwrap();
        let worker = Worker::new(&WorkerOptions::default()).unwrap();
        let mut request = Request::new(&model);
        request.set_seed(9);
        worker.submit(&request, detailflow::SubmitOptions::new().with_last_only(true)).unwrap();
        let event = worker.wait(Duration::from_secs(60)).unwrap();
        (common::all_tokens(&generation), pixels, small, file, again, scores, event.tokens(0).unwrap().to_vec())
    };
    for form in ["native", "plain"] {
        let wanted = all(form);
        // Up, down, toward zero, flush to zero.
        for bits in [0x4000, 0x2000, 0x6000, 0x8040] {
            assert!(with_mxcsr(bits, || all(form)) == wanted, "form {form}, MXCSR {bits:#x}");
        }
    }
}
