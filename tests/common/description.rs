//! The C API for programs: `include/detailflow.json`, from the header and from the parameter types of `src/ffi`, which say
//! what C does not: what a pointer is for. And `include/detailflow.cdef`, the declarations without a preprocessor.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The value of a macro that is no literal.
const MACROS: [(&str, u64); 1] = [("UINT32_MAX", u32::MAX as u64)];

/// A declaration of the header, its comment apart.
struct Declaration<'a> {
    doc: String,
    code: &'a str,
}

/// The declarations after the include guard, in order.
fn declarations(header: &str) -> Vec<(String, String)> {
    let (_, body) = header.split_once("#endif\n\n\n///").expect("macros come first");
    let body = format!("///{body}");
    let (mut found, mut doc, mut code) = (Vec::new(), String::new(), String::new());
    for line in body.lines() {
        if code.is_empty() && line.starts_with("///") {
            doc += line.trim_start_matches("///").trim();
            doc.push('\n');
        } else if code.is_empty() && line.starts_with("#define ") {
            found.push((std::mem::take(&mut doc), line.to_owned()));
        } else if code.is_empty() && (line.starts_with(['#', '}']) || line.starts_with("extern") || line.is_empty()) {
            doc.clear();
        } else {
            code += line;
            code.push('\n');
            // A comment may end with a semicolon, a line of a struct too.
            if line.ends_with(';') && !line.starts_with(' ') || line.ends_with(");") {
                found.push((std::mem::take(&mut doc), std::mem::take(&mut code)));
            }
        }
    }
    assert!(code.is_empty(), "an open declaration: {code}");
    found
}

/// Comment lines as paragraphs of text.
fn text(doc: &str) -> String {
    doc.trim().to_owned()
}

/// The text of a comment, that of its parameters, and that of what is returned.
fn sections(doc: &str) -> (String, BTreeMap<String, String>, String) {
    let (mut head, mut parameters, mut returned) = (String::new(), BTreeMap::<String, String>::new(), String::new());
    let mut at: Option<String> = None;
    for line in doc.lines() {
        if let Some(rest) = line.strip_prefix("@param ") {
            let (name, text) = rest.split_once(' ').expect("a parameter is described");
            parameters.insert(name.to_owned(), text.to_owned());
            at = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("@return ") {
            returned = rest.to_owned();
            at = Some(String::new());
        } else {
            let target = match &at {
                None => &mut head,
                Some(name) if name.is_empty() => &mut returned,
                Some(name) => parameters.get_mut(name).unwrap(),
            };
            target.push('\n');
            target.push_str(line);
        }
    }
    (text(&head), parameters.into_iter().map(|(name, doc)| (name, text(&doc))).collect(), text(&returned))
}

/// A C declarator: its type, its name, and the length of an array.
fn declarator(code: &str) -> (String, String, Option<u64>) {
    let code = code.trim().trim_end_matches(';');
    let (code, array) = match code.split_once('[') {
        Some((before, length)) => (before, Some(length.trim_end_matches(']').parse().unwrap())),
        None => (code, None),
    };
    let at = code.rfind([' ', '*']).unwrap() + 1;
    let kind = code[..at].trim().replace("struct ", "");
    (kind, code[at..].to_owned(), array)
}

/// Fields or constants with their comments.
fn members(code: &str) -> Vec<Declaration<'_>> {
    let (mut found, mut doc) = (Vec::new(), String::new());
    for line in code.lines().filter(|line| line.starts_with("    ")).map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            doc += comment.trim();
            doc.push('\n');
        } else {
            found.push(Declaration { doc: text(&std::mem::take(&mut doc)), code: line });
        }
    }
    found
}

fn number(code: &str) -> Value {
    let known = MACROS.iter().find(|(name, _)| *name == code).map(|(_, value)| *value);
    json!(known.unwrap_or_else(|| code.parse().unwrap_or_else(|_| panic!("{code} is no number"))))
}

/// What the sources say about a parameter: the wrapper of src/ffi/param.rs and what it points to.
type Parameter = (String, String);

/// The parameters of all exported functions, by function.
pub fn source_parameters(sources: &[String]) -> BTreeMap<String, Vec<Parameter>> {
    let mut all = BTreeMap::new();
    for source in sources {
        for item in syn::parse_file(source).expect("src/ffi is Rust").items {
            let syn::Item::Fn(function) = item else { continue };
            if function.sig.abi.is_none() {
                continue;
            }
            let parameters = function.sig.inputs.iter().map(|input| {
                let syn::FnArg::Typed(typed) = input else { panic!("a method is exported") };
                let kind = type_text(&typed.ty);
                match kind.split_once('<') {
                    Some((wrapper, inner)) => {
                        let inner = inner.trim_end_matches('>').trim_start_matches("'_").trim_start_matches(',');
                        (wrapper.to_owned(), inner.to_owned())
                    }
                    None => (String::new(), kind),
                }
            });
            all.insert(function.sig.ident.to_string(), parameters.collect());
        }
    }
    all
}

/// The text of a type, without spaces but after `*mut` and `*const`.
fn type_text(kind: &syn::Type) -> String {
    match kind {
        syn::Type::Path(path) => {
            let last = path.path.segments.last().unwrap();
            let syn::PathArguments::AngleBracketed(inner) = &last.arguments else { return last.ident.to_string() };
            let inner = inner.args.iter().map(|argument| match argument {
                syn::GenericArgument::Type(kind) => type_text(kind),
                _ => "'_".to_owned(),
            });
            format!("{}<{}>", last.ident, inner.collect::<Vec<_>>().join(","))
        }
        syn::Type::Ptr(pointer) => {
            format!("{} {}", if pointer.mutability.is_some() { "*mut" } else { "*const" }, type_text(&pointer.elem))
        }
        _ => panic!("a type that the C API does not use"),
    }
}

/// What a parameter is for. `next` are those that follow: names, wrappers, and what they point to.
fn purpose(
    wrapper: &str,
    inner: &str,
    doc: &str,
    structs: &[String],
    next: &[(&str, &str, &str)],
) -> Map<String, Value> {
    let mut entry = Map::new();
    let mut set = |key: &str, value: Value| _ = entry.insert(key.to_owned(), value);
    let is_length =
        |name: &str| matches!(name, "size" | "count" | "length") || name.ends_with("_count") || name.ends_with("_size");
    let follows = next.first().filter(|(_, wrapper, _)| wrapper.is_empty()).map(|(name, ..)| *name);
    let capacity = follows.filter(|name| *name == "capacity" && matches!(wrapper, "Out"));
    // Arrays of numbers that follow each other have one length.
    let is_number = |kind: &str| matches!(kind, "u32" | "u64" | "usize" | "f32");
    let arrays = next.iter().take_while(|(_, wrapper, inner)| *wrapper == "In" && is_number(inner)).count();
    let after = next.get(if wrapper == "In" && is_number(inner) { arrays } else { 0 });
    let length = after.filter(|(name, wrapper, _)| wrapper.is_empty() && is_length(name)).map(|(name, ..)| *name);
    match wrapper {
        "Shared" | "Exclusive" | "Owned" => {
            set("kind", json!("handle"));
            set("direction", json!("in"));
            set("access", json!(wrapper.to_lowercase()));
        }
        "Text" => {
            set("kind", json!("text"));
            set("direction", json!("in"));
        }
        "In" | "Out" => {
            let is_struct = structs.iter().any(|name| name == inner);
            let kind = match (capacity, length) {
                (Some(_), _) if inner == "c_char" => "text",
                (None, None) if inner.starts_with("*mut ") => "handle",
                (None, None) if inner.starts_with("*const ") => "text",
                (None, None) if is_struct => "struct",
                (None, None) if inner == "c_void" => "pointer",
                (None, None) => "value",
                _ => "array",
            };
            set("kind", json!(kind));
            let read_too = length.is_some() || inner == "detailflow_image";
            set(
                "direction",
                json!(if wrapper == "In" {
                    "in"
                } else if read_too {
                    "inout"
                } else {
                    "out"
                }),
            );
            if let Some(length) = length {
                set("length", json!(length));
            }
            if let Some(capacity) = capacity {
                set("capacity", json!(capacity));
                // The whole block is filled where no number follows.
                if let Some((written, "Out", _)) = next.get(1) {
                    set("written", json!(written));
                }
            }
        }
        _ if inner.ends_with("_fn") => {
            set("kind", json!("callback"));
            set("direction", json!("in"));
        }
        _ if inner.starts_with('*') => {
            set("kind", json!("pointer"));
            set("direction", json!("in"));
        }
        _ => {
            set("kind", json!("value"));
            set("direction", json!("in"));
        }
    }
    let says_null = doc.contains("NULL") && !doc.contains("not be NULL");
    // What is received may be NULL without the pointer to it being so.
    let received = inner.starts_with("*mut ");
    let is_pointer = !wrapper.is_empty() || inner.ends_with("_fn") || inner.starts_with('*');
    if is_pointer && !received && says_null || capacity.is_some() || inner == "detailflow_error" {
        set("optional", json!(true));
    }
    entry
}

/// The parameters of a function or callback.
fn parameters(
    list: &str,
    docs: &BTreeMap<String, String>,
    given: Option<&[Parameter]>,
    structs: &[String],
) -> Vec<Value> {
    let list: Vec<(String, String, Option<u64>)> =
        list.split(',').filter(|one| *one != "void").map(declarator).collect();
    if let Some(given) = given {
        assert_eq!(given.len(), list.len(), "parameters of the header and of src/ffi: {list:?}");
    }
    let describe = |at: usize| {
        let (kind, name, _) = &list[at];
        let doc = docs.get(name).map_or("", String::as_str);
        let mut entry = Map::from_iter([("name".to_owned(), json!(name)), ("type".to_owned(), json!(kind))]);
        if let Some(given) = given {
            let next: Vec<(&str, &str, &str)> = (at + 1..list.len())
                .map(|next| (list[next].1.as_str(), given[next].0.as_str(), given[next].1.as_str()))
                .collect();
            entry.extend(purpose(&given[at].0, &given[at].1, doc, structs, &next));
        }
        if !doc.is_empty() {
            entry.insert("doc".to_owned(), json!(doc));
        }
        Value::Object(entry)
    };
    (0..list.len()).map(describe).collect()
}

/// `detailflow.json`.
pub fn description(header: &str, sources: &BTreeMap<String, Vec<Parameter>>) -> String {
    let all = declarations(header);
    let of_kind = |start: &str, end: &str| {
        let (start, end) = (start.to_owned(), end.to_owned());
        all.iter().filter(move |(_, code)| code.starts_with(&start) && code.contains(&end))
    };
    let name_at_end = |code: &str| code.trim_end_matches([';', '\n']).rsplit(' ').next().unwrap().to_owned();
    let structs: Vec<String> = of_kind("typedef struct", "{").map(|(_, code)| name_at_end(code)).collect();
    let constants: Vec<Value> = of_kind("#define DETAILFLOW_", " ")
        .filter(|(_, code)| code.split(' ').count() == 3)
        .map(|(doc, code)| {
            let words: Vec<&str> = code.split(' ').collect();
            json!({"name": words[1], "value": number(words[2]), "doc": text(doc)})
        })
        .collect();
    let enums: Vec<Value> = of_kind("typedef enum", "{")
        .map(|(doc, code)| {
            let values = members(code).into_iter().map(|Declaration { doc, code }| {
                let (name, value) = code.trim_end_matches(',').split_once(" = ").unwrap();
                json!({"name": name, "value": number(value), "doc": doc})
            });
            json!({"name": name_at_end(code), "doc": text(doc), "values": values.collect::<Vec<_>>()})
        })
        .collect();
    let handles: Vec<Value> = of_kind("typedef struct", ";")
        .filter(|(_, code)| !code.contains('{'))
        .map(|(doc, code)| {
            let name = name_at_end(code);
            json!({"name": name, "doc": text(doc), "free": format!("{name}_free")})
        })
        .collect();
    let described: Vec<Value> = of_kind("typedef struct", "{")
        .map(|(doc, code)| {
            let fields = members(code).into_iter().map(|Declaration { doc, code }| {
                let (kind, name, array) = declarator(code);
                let mut entry = json!({"name": name, "type": kind, "doc": doc});
                if let Some(length) = array {
                    entry["array"] = json!(length);
                }
                entry
            });
            json!({"name": name_at_end(code), "doc": text(doc), "fields": fields.collect::<Vec<_>>()})
        })
        .collect();
    let callbacks: Vec<Value> = of_kind("typedef ", "(DETAILFLOW_CALL *")
        .map(|(doc, code)| {
            let (returns, rest) = code.trim_start_matches("typedef ").split_once(" (DETAILFLOW_CALL *").unwrap();
            let (name, list) = rest.trim().trim_end_matches(");").split_once(")(").unwrap();
            let (doc, docs, returned) = sections(doc);
            let mut entry = json!({"name": name, "doc": doc, "returns": {"type": returns}});
            if !returned.is_empty() {
                entry["returns"]["doc"] = json!(returned);
            }
            entry["parameters"] = json!(parameters(list, &docs, None, &structs));
            entry
        })
        .collect();
    let functions: Vec<Value> = of_kind("DETAILFLOW_API", "(")
        .map(|(doc, code)| {
            let code = code.split_whitespace().collect::<Vec<_>>().join(" ");
            let (returns, rest) = code.trim_start_matches("DETAILFLOW_API ").split_once("DETAILFLOW_CALL ").unwrap();
            let (name, list) = rest.trim_end_matches(");").split_once('(').unwrap();
            let (doc, docs, returned) = sections(doc);
            let given = sources.get(name).unwrap_or_else(|| panic!("{name} is not in src/ffi"));
            let mut entry = json!({"name": name, "doc": doc, "returns": {"type": returns.trim()}});
            if !returned.is_empty() {
                entry["returns"]["doc"] = json!(returned);
            }
            entry["parameters"] = json!(parameters(list.trim(), &docs, Some(given), &structs));
            entry
        })
        .collect();
    let contract = header.split_once("/**").unwrap().1.split_once("*/").unwrap().0;
    let contract: Vec<&str> = contract.lines().map(|line| line.trim_start_matches(" *").trim_end()).collect();
    let whole = json!({
        "contract": contract.join("\n").trim(),
        "constants": constants,
        "enums": enums,
        "handles": handles,
        "structs": described,
        "callbacks": callbacks,
        "functions": functions,
    });
    serde_json::to_string_pretty(&whole).unwrap() + "\n"
}

/// `detailflow.cdef`.
pub fn plain_declarations(header: &str) -> String {
    let mut text = "/* The declarations of detailflow.h for tools that have no preprocessor (cffi, LuaJIT). Generated; do not edit.\n * \
                    SPDX-License-Identifier: MIT OR Apache-2.0 */\n\n"
        .to_owned();
    for (_, code) in declarations(header) {
        let define: Vec<&str> = code.split(' ').collect();
        if define[0] == "#define" {
            if let [_, name, value] = define[..] {
                text += &format!("enum {{ {name} = {} }};\n", number(value));
            }
            continue;
        }
        for line in code.lines().filter(|line| !line.trim_start().starts_with("///")) {
            text += &line.replace("DETAILFLOW_API ", "").replace("DETAILFLOW_CALL ", "");
            text.push('\n');
        }
    }
    text
}
