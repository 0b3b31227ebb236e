//! README.md as a newcomer reads it: every command runs as it is written, its C and C++ compile, its links lead somewhere.
//! Its Rust is a documentation test of the crate.

#![cfg(target_os = "linux")]

#[path = "common/programs.rs"]
mod programs;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use programs::{compile, has, libraries, root, run, skip, text};

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The code blocks of a language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    readme
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

/// The commands in the order in which they stand: lines of the `sh` blocks, and code in the text that begins with a program.
fn commands(readme: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for (at, part) in readme.split("```").enumerate() {
        if at % 2 == 0 {
            let spans = part.split('`').skip(1).step_by(2);
            commands.extend(
                spans.filter(|span| PROGRAMS.iter().any(|p| span.starts_with(&format!("{p} ")))).map(str::to_owned),
            );
        } else if let Some(block) = part.strip_prefix("sh\n") {
            commands.extend(block.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
        }
    }
    commands
}

const PROGRAMS: [&str; 5] = ["make", "dflow", "target/release/dflow", "cc", "c++"];

/// A folder that looks like a checkout after `make`, where commands may write.
fn checkout() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let release = folder.path().join("target/release");
    std::fs::create_dir_all(&release).unwrap();
    symlink(env!("CARGO_BIN_EXE_dflow"), release.join("dflow")).unwrap();
    symlink(root().join("target/runtime"), folder.path().join("target/runtime")).unwrap();
    for name in ["libdetailflow.so", "libdetailflow.a"] {
        symlink(libraries().join(name), release.join(name)).unwrap();
    }
    for name in ["include", "examples", "onnx", "Cargo.toml"] {
        symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// Runs one command of the README; panics when it fails or is of a kind that this test does not know.
fn runs(command: &str, checkout: &Path) {
    if let Some(targets) = command.strip_prefix("make").filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
        // Each target exists. Building them is what CI and this test's own build do.
        let mut make = Command::new("make");
        make.arg("-n").args(targets.split_whitespace()).current_dir(root());
        let output = run(make, Duration::from_secs(60));
        assert!(output.status.success(), "{command}\n{}", text(&output));
        return;
    }
    let program = command.split_whitespace().find(|word| !word.contains('=')).unwrap();
    assert!(
        PROGRAMS.contains(&program) || program.starts_with("target/"),
        "README.md has a command that this test cannot run: {command}"
    );
    if command.contains("pkg-config") && !has("pkg-config") {
        skip("readme_commands_run", "pkg-config is not installed (apt-get install pkg-config libsdl2-dev)");
        return;
    }
    let mut shell = Command::new("sh");
    let path = format!("{}:{}", checkout.join("target/release").display(), std::env::var("PATH").unwrap());
    shell.args(["-ec", command]).current_dir(checkout).env("PATH", path).env("XDG_CACHE_HOME", checkout.join("cache"));
    shell.env_remove("DETAILFLOW_BUNDLE");
    let output = run(shell, Duration::from_secs(120));
    assert!(output.status.success(), "{command}: {}\n{}", output.status, text(&output));
}

#[test]
fn readme_commands_run() {
    let (readme, checkout) = (readme(), checkout());
    let commands = commands(&readme);
    assert!(commands.len() >= 15, "{commands:#?}");
    for command in &commands {
        runs(command, checkout.path());
    }
    for picture in ["potion.png", "sprite.png", "potion.dft", "best.png", "mip-32.png"] {
        let file = checkout.path().join(picture);
        assert!(std::fs::metadata(&file).is_ok_and(|file| file.len() > 0), "{picture} was not written");
    }
}

#[test]
#[should_panic(expected = "README.md has a command that this test cannot run")]
fn readme_command_of_unknown_program_is_a_failure() {
    runs("curl example", Path::new("."));
}

#[test]
#[should_panic(expected = "dflow no-such-command")]
fn readme_command_that_fails_is_a_failure() {
    runs("dflow no-such-command", checkout().path());
}

#[test]
fn readme_code_in_c_and_cpp_compiles() {
    let (readme, folder) = (readme(), tempfile::tempdir().unwrap());
    let heads = [
        ("c", "#include <detailflow.h>\nint main(void)\n{\n", "    return 0;\n}\n"),
        ("cpp", "#include <cstdio>\n#include <detailflow.hpp>\nint main()\n{\n", "    return 0;\n}\n"),
    ];
    for (language, head, tail) in heads {
        let blocks = blocks(&readme, language);
        assert!(!blocks.is_empty(), "README.md has no {language}");
        for (number, block) in blocks.into_iter().enumerate() {
            let source = folder.path().join(format!("block{number}.{language}"));
            std::fs::write(&source, format!("{head}{block}{tail}")).unwrap();
            compile(&source, &folder.path().join("block"), programs::Mode::Plain);
        }
    }
}

#[test]
fn readme_links_lead_somewhere() {
    let readme = readme();
    let links: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 15, "{links:?}");
    for link in links.into_iter().filter(|link| !link.starts_with("https:")) {
        assert!(
            root().join(link.split('#').next().unwrap()).exists(),
            "README.md links to {link}, which does not exist"
        );
    }
}
