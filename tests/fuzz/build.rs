//! Reads the functions of include/detailflow.h and writes one caller for each, which makes its arguments from the bytes of
//! an input: a function that is added to the header is fuzzed without another line here.

use std::fmt::Write;
use std::path::Path;

/// Functions that are not called: too slow, or nothing to find.
const SKIPPED: [&str; 2] = ["detailflow_model_calibrate", "detailflow_runtime_set_api"];

/// Functions that take milliseconds: called for one in 16 only.
const SLOW: [&str; 8] = [
    "detailflow_model_open",
    "detailflow_model_open_memory",
    "detailflow_model_open_reader",
    "detailflow_bundle_strip",
    "detailflow_bundle_pack",
    "detailflow_bundle_unpack",
    "detailflow_device_list_new",
    "detailflow_generate_image",
];

/// Kinds of handles, in the order of `api::KINDS`.
const HANDLES: [&str; 14] = [
    "model",
    "model_options",
    "runtime_options",
    "cancel",
    "device_list",
    "request",
    "generation",
    "best_of_options",
    "worker",
    "worker_options",
    "event",
    "pack",
    "pack_writer",
    "submit_options",
];

struct Parameter<'a> {
    kind: &'a str,
    name: &'a str,
}

impl Parameter<'_> {
    /// The Rust type of the C ABI.
    fn abi(&self) -> &str {
        match self.kind {
            "uint32_t" => "u32",
            "uint64_t" => "u64",
            "size_t" => "usize",
            "float" => "f32",
            "detailflow_status" => "i32",
            _ => "*mut std::ffi::c_void",
        }
    }

    /// The index of its kind of handle, and whether it receives one.
    fn handle(&self) -> Option<(usize, bool)> {
        let stem = self.kind.trim_start_matches("const ").strip_prefix("detailflow_")?;
        let at = HANDLES.iter().position(|name| stem.trim_end_matches([' ', '*']) == *name)?;
        Some((at, stem.ends_with("**")))
    }

    /// What a pointer points at: the expression of its size, and whether it begins with `struct_size`.
    fn element(&self) -> Option<(String, bool)> {
        let plain = self.kind.strip_suffix('*')?.trim_start_matches("const ").trim();
        Some(match plain {
            "void" | "char" => ("1".into(), false),
            "uint32_t" | "float" => ("4".into(), false),
            "uint64_t" | "size_t" | "char *" | "const char *" => ("8".into(), false),
            plain => (format!("size_of::<detailflow::ffi::{plain}>()"), true),
        })
    }

    fn is_input(&self) -> bool {
        self.kind.starts_with("const ")
    }
}

/// The parameters of a function.
fn parameters(text: &str) -> Vec<Parameter<'_>> {
    if text.trim() == "void" {
        return Vec::new();
    }
    text.split(',')
        .map(|parameter| {
            let parameter = parameter.trim();
            let start = parameter.rfind(|c: char| !c.is_alphanumeric() && c != '_').unwrap() + 1;
            Parameter { kind: parameter[..start].trim(), name: &parameter[start..] }
        })
        .collect()
}

/// The caller of one function.
fn caller(out: &mut String, index: usize, result: &str, name: &str, parameters: &[Parameter]) {
    let returns = match result {
        "void" => "",
        "detailflow_status" => " -> i32",
        "uint32_t" => " -> u32",
        _ => " -> *const std::ffi::c_char",
    };
    // A function without parameters uses neither.
    writeln!(out, "#[allow(unused_variables)]").unwrap();
    writeln!(out, "fn call_{index}(world: &World, bytes: &mut Bytes) {{").unwrap();
    if SLOW.contains(&name) {
        writeln!(out, "    if bytes.u8() >= 16 {{ return; }}").unwrap();
    }
    let (mut arguments, mut after, mut at) = (Vec::new(), String::new(), 0);
    while let Some(parameter) = parameters.get(at) {
        let (variable, next) = (format!("p{at}"), parameters.get(at + 1));
        if let Some((kind, receives)) = parameter.handle() {
            if receives {
                writeln!(out, "    let mut {variable} = bytes.place();").unwrap();
                writeln!(after, "    {variable}.store(world, bytes, {kind}, status);").unwrap();
            } else {
                let free = name.ends_with("_free");
                let make = if free { "to_free" } else { "handle" };
                writeln!(out, "    let Some(mut {variable}) = world.{make}(bytes, {kind}) else {{ return }};").unwrap();
                if free {
                    writeln!(after, "    {variable}.clear();").unwrap();
                }
            }
            arguments.push(format!("{variable}.pointer()"));
        } else if let Some(function) = parameter.kind.strip_prefix("detailflow_").and_then(|k| k.strip_suffix("_fn")) {
            writeln!(out, "    let {variable} = bytes.callback(callback_{function} as *mut std::ffi::c_void);")
                .unwrap();
            arguments.push(variable);
        } else if parameter.kind == "void *" && parameter.name == "user" {
            arguments.push("std::ptr::null_mut()".into());
        } else if parameter.kind == "const char *" {
            writeln!(out, "    let mut {variable} = world.text(bytes, {:?});", parameter.name).unwrap();
            arguments.push(format!("{variable}.pointer()"));
        } else if let Some((size, is_struct)) = parameter.element() {
            // One value, an array whose length follows, or two arrays of one length.
            let pair = parameter.name == "class_indices"
                || parameters.get(at + 2).is_some_and(|count| count.name == "point_count");
            let is_array = pair
                || next.is_some_and(|next| {
                    let length = ["capacity", "count", "size"].iter().any(|word| next.name.ends_with(word));
                    next.kind == "size_t" && length
                });
            let count = if is_array { format!("bytes.count({is_struct})") } else { "1".into() };
            writeln!(out, "    let n{at} = {count};").unwrap();
            let mut arrays = vec![(variable.clone(), parameter, size)];
            if pair {
                let second = next.unwrap();
                arrays.push((format!("p{}", at + 1), second, second.element().unwrap().0));
            }
            for (variable, parameter, size) in arrays {
                let structure = match parameter.kind.trim_start_matches("const ") {
                    "detailflow_image *" => "Content::Images",
                    "detailflow_sprite *" => "Content::Sprites",
                    "detailflow_reader *" => "Content::Reader",
                    _ if is_struct => "Content::Struct",
                    "float *" if parameter.is_input() => "Content::Floats",
                    "void *" if name.ends_with("_open_memory") => "Content::Kept",
                    "void *" if parameter.is_input() => "Content::File",
                    _ if parameter.is_input() => "Content::Numbers",
                    _ => "Content::Output",
                };
                writeln!(out, "    let mut {variable} = Array::new(world, bytes, n{at}, {size}, {structure});")
                    .unwrap();
                if parameter.name != "error" {
                    writeln!(after, "    {variable}.check(status, {name:?}, {:?});", parameter.name).unwrap();
                }
                if name == "detailflow_submit_options_set_target" {
                    // Jobs write there later.
                    writeln!(after, "    world.keep({variable}.inner);").unwrap();
                }
                arguments.push(format!("{variable}.pointer()"));
            }
            at += usize::from(pair);
            if is_array {
                at += 1;
                arguments.push(format!("p{}.len()", at - 1));
            }
        } else {
            let make = match parameter.abi() {
                "u64" => "u64",
                "usize" => "usize",
                "f32" => "float",
                "i32" => "i32",
                _ => "u32",
            };
            let argument = if make == "float" { String::new() } else { format!("{:?}", parameter.name) };
            writeln!(out, "    let {variable} = bytes.{make}({argument});").unwrap();
            arguments.push(variable);
        }
        at += 1;
    }
    let types: Vec<_> = parameters.iter().map(|parameter| format!("{}: {}", parameter.name, parameter.abi())).collect();
    writeln!(out, "    unsafe extern \"C\" {{ fn {name}({}){returns}; }}", types.join(", ")).unwrap();
    writeln!(out, "    // SAFETY: every argument is what the header asks for, or what it says is refused.").unwrap();
    writeln!(out, "    let result = unsafe {{ {name}({}) }};", arguments.join(", ")).unwrap();
    match result {
        "detailflow_status" => {
            writeln!(out, "    let status = result;\n    check_status(status, {name:?});").unwrap();
        }
        "void" => writeln!(out, "    let (status, ()) = (0, result);\n    let _ = status;").unwrap(),
        _ => writeln!(out, "    let (status, _) = (0, result);\n    let _ = status;").unwrap(),
    }
    out.push_str(&after);
    out.push_str("}\n\n");
}

fn main() {
    let header = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../include/detailflow.h");
    println!("cargo::rerun-if-changed={}", header.display());
    let text = std::fs::read_to_string(header).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with(['/', '#', '*'])).collect();
    let text = lines.join(" ");
    let mut out = String::new();
    let mut count = 0;
    for declaration in text.split("DETAILFLOW_API ").skip(1) {
        let declaration = declaration.split_once(");").unwrap().0;
        let (result, rest) = declaration.split_once("DETAILFLOW_CALL ").unwrap();
        let (name, list) = rest.split_once('(').unwrap();
        if SKIPPED.contains(&name) {
            continue;
        }
        caller(&mut out, count, result.trim(), name, &parameters(list));
        count += 1;
    }
    assert!(count > 100, "the header has {count} functions only");
    let callers: Vec<_> = (0..count).map(|index| format!("call_{index}")).collect();
    writeln!(out, "const CALLS: [fn(&World, &mut Bytes); {count}] = [{}];", callers.join(", ")).unwrap();
    std::fs::write(Path::new(&std::env::var("OUT_DIR").unwrap()).join("calls.rs"), out).unwrap();
}
