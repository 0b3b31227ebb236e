//! What a host that is linked to the library relies on, and what must never change: the exported names, the numbers,
//! the layout of the structs.

#![cfg(target_os = "linux")]

#[path = "common/programs.rs"]
mod programs;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library, built from the present sources.
fn library() -> PathBuf {
    programs::libraries().join("libdetailflow.so")
}

fn output(program: &str, package: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing: install the package {package} ({error})"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The functions of the header: what stands before `(` at the start of a declaration.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join("include/detailflow.h")).unwrap();
    let (_, code) = header.split_once("extern \"C\" {").unwrap();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    code.split(';')
        .filter_map(|declaration| declaration.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("detailflow_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn library_exports_only_what_the_header_declares() {
    let symbols = output("nm", "binutils", &["-D", "--defined-only", library().to_str().unwrap()]);
    let exported: BTreeSet<String> =
        symbols.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    let declared = declared();
    assert!(declared.len() > 140, "{} functions were found in the header", declared.len());
    let missing: Vec<_> = declared.difference(&exported).collect();
    let surplus: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "not exported: {missing:?}; not in the header: {surplus:?}");
    assert_eq!(symbols.lines().count(), declared.len());
}

/// Programs ask for a file that can be copied as it is: the C API only grows, so that the name has no version.
#[test]
fn library_is_asked_for_by_its_file_name() {
    let dynamic = output("readelf", "binutils", &["-d", "--wide", library().to_str().unwrap()]);
    let names: Vec<&str> = dynamic.lines().filter(|line| line.contains("(SONAME)")).collect();
    assert!(names.len() == 1 && names[0].ends_with("[libdetailflow.so]"), "{names:?}");
}

/// It needs nothing that is not on every system: ONNX Runtime is loaded, not linked.
#[test]
fn library_needs_the_system_only() {
    let dynamic = output("readelf", "binutils", &["-d", "--wide", library().to_str().unwrap()]);
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let name = line.split(['[', ']']).nth(1).unwrap();
        let known = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0"];
        assert!(known.contains(&name) || name.starts_with("ld-linux"), "{name} is needed");
    }
}

/// Numbers and layouts never change. This is checked by the compiler, on the header that hosts compile with; whoever
/// has to change a line here breaks every program that exists.
#[test]
fn numbers_and_layouts_never_change() {
    compile(&["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "tests/c/layout.c"]);
}

/// The numbers of the header, of the library and of Cargo.toml are the same.
#[test]
fn version_is_the_one_of_cargo() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("version");
    let source = folder.path().join("version.c");
    std::fs::write(
        &source,
        "#include <detailflow.h>\n#include <stdio.h>\nint main(void)\n{\n    printf(\"%s %d.%d.%d %d %u %d %u\", \
         detailflow_version(), DETAILFLOW_VERSION_MAJOR, DETAILFLOW_VERSION_MINOR, DETAILFLOW_VERSION_PATCH, \
         DETAILFLOW_VERSION_NUMBER, (unsigned)detailflow_version_number(), DETAILFLOW_ABI_VERSION, \
         (unsigned)detailflow_abi_version());\n    return 0;\n}\n",
    )
    .unwrap();
    let folder = library().parent().unwrap().to_owned();
    let link = format!("-L{}", folder.display());
    compile(&["-std=c99", source.to_str().unwrap(), &link, "-ldetailflow", "-o", program.to_str().unwrap()]);
    let output = Command::new(&program).env("LD_LIBRARY_PATH", folder).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!(words[0], env!("CARGO_PKG_VERSION"), "the library and Cargo.toml");
    assert_eq!(words[1], env!("CARGO_PKG_VERSION"), "the header and Cargo.toml");
    let part = |name: &str| name.parse::<u32>().unwrap();
    let number = part(env!("CARGO_PKG_VERSION_MAJOR")) * 10000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + part(env!("CARGO_PKG_VERSION_PATCH"));
    assert_eq!(words[2], number.to_string(), "the number of the header");
    assert_eq!(words[2], words[3], "the numbers of the header and of the library");
    assert_eq!(words[4], words[5], "the ABI versions of the header and of the library");
}

fn compile(arguments: &[&str]) {
    let output = Command::new("cc")
        .arg("-Iinclude")
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("a C compiler is needed: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A kernel keeps its sums in registers. A closure in its loop that is not inlined stores and loads all of them at each call, and
/// halves the speed without another sign. (Without optimization nothing is inlined.)
#[cfg(not(debug_assertions))]
#[test]
fn kernels_call_no_closures() {
    let symbols = output("nm", "binutils", &["-C", library().to_str().unwrap()]);
    let of_kernels = |line: &&str| line.contains("kernels::gemm::") || line.contains("kernels::attention::");
    let all: Vec<&str> = symbols.lines().filter(of_kernels).collect();
    assert!(all.len() > 20, "{} symbols of kernels were found", all.len());
    // These divide the work among threads; what they call is compiled for the vectors of each CPU.
    let divide = ["driver::", "full::", "cached::"];
    let closures: Vec<_> = all
        .iter()
        .filter(|line| line.contains("{closure") && !divide.iter().any(|module| line.contains(module)))
        .collect();
    assert!(closures.is_empty(), "not inlined: {closures:#?}");
}
