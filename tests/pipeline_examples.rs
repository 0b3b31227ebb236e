//! The examples of `examples/pipeline` with the command of this build and the small bundle.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/programs.rs"]
mod programs;

use std::path::Path;
use std::process::{Command, Output};

use programs::{has_or_skip, note_skipped, root, skip};

/// Stands for Blender's module: takes every call, and prints what the example has made of it.
const STUB: &str = r#"
import atexit, sys
from pathlib import Path
from unittest.mock import MagicMock

bpy = MagicMock()
bpy.loaded = []

def load(path):
    bpy.loaded.append((Path(path).name, Path(path).read_bytes()[:4]))
    return MagicMock()

bpy.data.images.load.side_effect = load
sys.modules[__name__] = bpy

def told():
    places = [call.kwargs["location"] for call in bpy.ops.mesh.primitive_plane_add.call_args_list]
    for (name, start), place in zip(bpy.loaded, places, strict=True):
        print(name, start == b"\x89PNG", round(place[0], 3))

atexit.register(told)
"#;

fn run(command: &mut Command) -> Output {
    let output = command.env("DFLOW", common::dflow_path()).env("DETAILFLOW_BUNDLE", common::small()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    output
}

fn blender(python: &Path, folder: &Path, arguments: &[&str]) -> String {
    let script = root().join("examples/pipeline/blender.py");
    let output = run(Command::new(python).arg(script).arg("--").args(arguments).env("PYTHONPATH", folder));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn blender_example_puts_each_picture_on_a_plane() {
    if !has_or_skip("python3", "python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bpy.py"), STUB).unwrap();
    let class = detailflow::Bundle::open(common::small()).unwrap().classes()[1].clone();
    let said = blender(Path::new("python3"), folder.path(), &["1", "3"]);
    let wanted: String = (0..3).map(|at| format!("{class}-{at}.png True {:.1}\n", 1.1 * f64::from(at))).collect();
    assert_eq!(said, wanted);
}

/// With Blender's own module, where a Python has it: `DETAILFLOW_BPY_PYTHON` names one after `pip install bpy`.
#[test]
fn blender_example_runs_in_blender() {
    let Some(python) = std::env::var_os("DETAILFLOW_BPY_PYTHON") else {
        note_skipped(
            "blender_example_runs_in_blender",
            "DETAILFLOW_BPY_PYTHON names no Python with Blender's module (pip install bpy)",
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let check = r#"
import runpy, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
runpy.run_path(sys.argv[1])
for thing in bpy.data.objects:
    nodes = thing.data.materials[0].node_tree.nodes
    image = next(node for node in nodes if node.type == "TEX_IMAGE").image
    print("plane", thing.name, tuple(image.size), image.packed_file is not None)
"#;
    let path = folder.path().join("check.py");
    std::fs::write(&path, check).unwrap();
    let script = root().join("examples/pipeline/blender.py");
    let output = run(Command::new(python).arg(path).arg(script).args(["--", "1", "2"]));
    let said = String::from_utf8(output.stdout).unwrap();
    let planes: Vec<&str> = said.lines().filter(|line| line.starts_with("plane ")).collect();
    let class = detailflow::Bundle::open(common::small()).unwrap().classes()[1].clone();
    assert_eq!(planes, [0, 1].map(|at| format!("plane {class}-{at} (32, 32) True")));
}

#[test]
fn make_rules_make_what_is_missing_and_no_more() {
    // Rules of GNU make.
    let gnu = Command::new("make").arg("--version").output().is_ok_and(|output| output.stdout.starts_with(b"GNU Make"));
    if !gnu {
        return skip("make_rules_make_what_is_missing_and_no_more", "GNU make is not installed (apt-get install make)");
    }
    let folder = tempfile::tempdir().unwrap();
    let make = || {
        let rules = root().join("examples/pipeline/sprites.mk");
        let mut command = Command::new("make");
        command.arg("-f").arg(rules).args(["CLASSES=0 1", "COUNT=2", "OUT=out"]).current_dir(folder.path());
        // `make test` passes its own options on.
        command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
        String::from_utf8(run(&mut command).stdout).unwrap()
    };
    make();
    for name in ["0.dftpack", "1.dftpack", "0.png", "1.png", "atlas.png", "atlas.json"] {
        assert!(folder.path().join("out").join(name).is_file(), "{name}");
    }
    assert!(make().contains("Nothing to be done"));
    std::fs::remove_file(folder.path().join("out/1.png")).unwrap();
    let said = make();
    assert!(said.contains("decode out/1.dftpack") && said.lines().count() == 2, "{said}");
}
