//! The layout of `src`: which folder may use which, and where `unsafe` and ONNX Runtime may appear.
//!
//! The test reads every file of the library with `syn`, resolves its `crate::`, `super::` and `self::` paths through
//! re-exports and holds them to [`ORDER`]. Code under `cfg(test)` is exempt: a unit test may use everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

/// A folder may use the folders before it. Those of one line do not know each other.
const ORDER: [&[&str]; 13] = [
    &["support"],
    &["plan"],
    &["tokens"],
    &["pixels"],
    &["sample"],
    &["kernels"],
    &["timing"],
    &["bundle"],
    &["runtime"],
    &["model"],
    &["generation"],
    &["worker", "tasks"],
    &["ffi", "pipeline"],
];

/// Where `unsafe` may appear: folders, and files that say why at their top.
const UNSAFE: [&str; 3] = ["ffi/", "kernels/", "support/platform/"];
const UNSAFE_FILES: [&str; 5] = [
    "runtime/sys.rs",
    "runtime/host_api.rs",
    "runtime/device/raw.rs",
    "runtime/operators/io.rs",
    "runtime/operators/matrices.rs",
];

/// The only folder that names the crate `ort`.
const ORT: &str = "runtime/";

type Name = Vec<String>;

/// One file of the library.
struct Source {
    /// Below `src`, with `/`.
    path: String,
    syntax: syn::File,
}

/// What one module declares: what a path through it may mean.
#[derive(Default)]
struct Module {
    file: usize,
    /// Imported names and the paths that they stand for; `*` is in `globs`.
    imports: BTreeMap<String, Name>,
    globs: Vec<Name>,
    types: BTreeSet<String>,
}

/// A use of one file by another.
struct Arrow {
    from: usize,
    to: usize,
    /// The path as written.
    path: String,
}

struct House {
    files: Vec<Source>,
    modules: BTreeMap<Name, Module>,
    arrows: Vec<Arrow>,
    faults: Vec<String>,
}

/// The path of the module that a file is: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module_of(path: &str) -> Name {
    let path = path.strip_suffix(".rs").unwrap();
    let mut name: Name = path.split('/').map(str::to_owned).collect();
    if matches!(name.last().map(String::as_str), Some("mod" | "lib")) {
        name.pop();
    }
    name
}

/// Whether attributes leave an item to tests.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        let text = list.tokens.to_string();
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        list.path.is_ident("cfg") && words.clone().any(|word| word == "test") && !text.contains("not")
    })
}

/// Walks one file: its imports and types, or its uses.
struct Walk<'a> {
    file: usize,
    module: Name,
    /// The first walk collects declarations, the second what is used.
    modules: &'a mut BTreeMap<Name, Module>,
    used: &'a mut Vec<(usize, Name, Name)>,
    impls: &'a mut Vec<(usize, Name, Name)>,
    unsafes: &'a mut BTreeSet<usize>,
    orts: &'a mut BTreeSet<usize>,
}

impl Walk<'_> {
    fn used(&mut self, path: Name) {
        match path.first().map(String::as_str) {
            Some("crate" | "super" | "self") => self.used.push((self.file, self.module.clone(), path)),
            Some("ort") => _ = self.orts.insert(self.file),
            _ => {}
        }
    }

    fn import(&mut self, tree: &syn::UseTree, before: &Name) {
        let with = |ident: &syn::Ident| {
            let mut path = before.clone();
            path.push(ident.to_string());
            path
        };
        let module = self.module.clone();
        let declared = |walk: &mut Self, name: String, mut path: Name| {
            if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let name = if name == "self" { path.last().unwrap().clone() } else { name };
            walk.used(path.clone());
            walk.modules.get_mut(&module).unwrap().imports.insert(name, path);
        };
        match tree {
            syn::UseTree::Path(path) => self.import(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => declared(self, name.ident.to_string(), with(&name.ident)),
            syn::UseTree::Rename(name) => declared(self, name.rename.to_string(), with(&name.ident)),
            syn::UseTree::Glob(_) => {
                self.used(before.clone());
                self.modules.get_mut(&module).unwrap().globs.push(before.clone());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before)),
        }
    }

    /// The tokens of a macro: paths and `unsafe` in them, by their text.
    fn text(&mut self, text: &str) {
        let words: Vec<&str> =
            text.split(|c: char| !(c.is_alphanumeric() || "_:$".contains(c))).filter(|word| !word.is_empty()).collect();
        let mut at = 0;
        while at < words.len() {
            let mut path: Name = Vec::new();
            // `a :: b` is three words, `a::b` one.
            loop {
                path.extend(
                    words[at].split("::").filter(|part| !part.is_empty()).map(|p| p.trim_matches(':').to_owned()),
                );
                let joins = |word: Option<&&str>| word.is_some_and(|word| word.starts_with("::"));
                let ends = words[at].ends_with("::");
                at += 1;
                if !(joins(words.get(at)) || ends && at < words.len()) {
                    break;
                }
            }
            if let Some(first) = path.first_mut().filter(|first| first.starts_with('$')) {
                *first = first[1..].to_owned();
            }
            match path.first().map(String::as_str) {
                Some("unsafe") => _ = self.unsafes.insert(self.file),
                _ if path.len() > 1 => self.used(path),
                _ => {}
            }
        }
    }
}

fn name_of(path: &syn::Path) -> Name {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Static(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Trait(item) => &item.attrs,
            syn::Item::Macro(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_test(attributes) {
            return;
        }
        let named = match item {
            syn::Item::Struct(item) => Some(&item.ident),
            syn::Item::Enum(item) => Some(&item.ident),
            syn::Item::Union(item) => Some(&item.ident),
            syn::Item::Type(item) => Some(&item.ident),
            syn::Item::Trait(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(ident) = named {
            self.modules.get_mut(&self.module).unwrap().types.insert(ident.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !matches!(item, syn::ImplItem::Fn(function) if is_test(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            self.modules.insert(self.module.clone(), Module { file: self.file, ..Module::default() });
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &Name::new());
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.unsafety.is_some() {
            self.unsafes.insert(self.file);
        }
        if let (None, syn::Type::Path(path)) = (&item.trait_, &*item.self_ty) {
            self.impls.push((self.file, self.module.clone(), name_of(&path.path)));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.used(name_of(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.used(name_of(&item.path));
        self.text(&item.tokens.to_string());
    }

    fn visit_expr_unsafe(&mut self, item: &'ast syn::ExprUnsafe) {
        self.unsafes.insert(self.file);
        visit::visit_expr_unsafe(self, item);
    }

    fn visit_signature(&mut self, item: &'ast syn::Signature) {
        if item.unsafety.is_some() {
            self.unsafes.insert(self.file);
        }
        visit::visit_signature(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if item.unsafety.is_some() {
            self.unsafes.insert(self.file);
        }
        visit::visit_item_trait(self, item);
    }
}

impl House {
    /// `files` are paths below `src` and their text.
    fn new(files: Vec<(String, String)>) -> Self {
        let mut faults = Vec::new();
        let top = files.iter().map(|(path, _)| path).filter(|path| !path.contains('/') && *path != "lib.rs");
        faults.extend(top.map(|path| format!("{path} lies at the top of src: only lib.rs may")));
        let files: Vec<Source> = files
            .into_iter()
            .map(|(path, text)| {
                let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
                Source { path, syntax }
            })
            .collect();
        let mut modules: BTreeMap<Name, Module> = files
            .iter()
            .enumerate()
            .map(|(file, source)| (module_of(&source.path), Module { file, ..Module::default() }))
            .collect();
        let (mut used, mut impls) = (Vec::new(), Vec::new());
        let (mut unsafes, mut orts) = (BTreeSet::new(), BTreeSet::new());
        for (file, source) in files.iter().enumerate() {
            // A file that its parent declares under cfg(test) is a test; so is one that says so at its top.
            if is_test(&source.syntax.attrs) || is_declared_for_tests(&files, &source.path) {
                continue;
            }
            let module = module_of(&source.path);
            let mut walk = Walk {
                file,
                module,
                modules: &mut modules,
                used: &mut used,
                impls: &mut impls,
                unsafes: &mut unsafes,
                orts: &mut orts,
            };
            walk.visit_file(&source.syntax);
        }
        for file in unsafes {
            let path = &files[file].path;
            if !UNSAFE.iter().any(|folder| path.starts_with(folder)) && !UNSAFE_FILES.contains(&&**path) {
                faults.push(format!("{path} has unsafe code, which is allowed in {UNSAFE:?} and {UNSAFE_FILES:?}"));
            }
        }
        for file in orts.into_iter().filter(|&file| !files[file].path.starts_with(ORT)) {
            faults.push(format!("{} names `ort`, which only {ORT} may", files[file].path));
        }
        let mut house = Self { files, modules, arrows: Vec::new(), faults };
        for (from, module, path) in used {
            let written = path.join("::");
            let Some(target) = house.resolve(&house.absolute(&module, &path), 0) else { continue };
            let to = house.modules[&house.module_part(&target)].file;
            house.arrows.push(Arrow { from, to, path: written });
        }
        for (file, module, path) in impls {
            let Some(target) = house.type_of(&module, &path) else { continue };
            let home = house.modules[&house.module_part(&target)].file;
            if house.folder(file) != house.folder(home) {
                let [here, there] = [file, home].map(|file| house.files[file].path.clone());
                let name = path.join("::");
                house.faults.push(format!("{here} has an `impl {name}`, a type of {there}: write functions instead"));
            }
        }
        house
    }

    /// `path` as written in `module`, from the crate's root on.
    fn absolute(&self, module: &Name, path: &[String]) -> Name {
        let mut result = module.clone();
        let mut rest = path;
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "crate" => result.clear(),
                "super" => _ = result.pop(),
                "self" => {}
                _ => break,
            }
            rest = more;
        }
        result.extend_from_slice(rest);
        result
    }

    /// Follows imports and re-exports; None where the path leaves the crate.
    fn resolve(&self, path: &Name, depth: usize) -> Option<Name> {
        if depth > 16 {
            return None;
        }
        let known = (0..=path.len()).rev().find(|&count| self.modules.contains_key(&path[..count]))?;
        let Some(name) = path.get(known) else { return Some(path.clone()) };
        let (here, module) = (path[..known].to_vec(), &self.modules[&path[..known]]);
        if module.types.contains(name) {
            return Some(path.clone());
        }
        let beyond = |target: &Name, skipped: usize| {
            let mut target = self.starts(&here, target)?;
            target.extend_from_slice(&path[known + skipped..]);
            self.resolve(&target, depth + 1)
        };
        if let Some(target) = module.imports.get(name) {
            return beyond(target, 1);
        }
        for glob in &module.globs {
            let found = beyond(glob, 0).filter(|found| self.declares(found));
            if found.is_some() {
                return found;
            }
        }
        Some(path.clone())
    }

    /// Whether a resolved path names a type that its module declares.
    fn declares(&self, path: &Name) -> bool {
        let known = self.module_part(path);
        path.get(known.len()).is_some_and(|name| self.modules[&known].types.contains(name))
    }

    /// A path as an import writes it, from the crate's root; None for another crate's.
    fn starts(&self, module: &Name, path: &Name) -> Option<Name> {
        let first = path.first()?;
        if ["crate", "super", "self"].contains(&first.as_str()) {
            return Some(self.absolute(module, path));
        }
        // A child module, as in `pub use device::Device`.
        let child = [module.as_slice(), std::slice::from_ref(first)].concat();
        let is_import = self.modules[module].imports.get(first).is_some_and(|target| target != path);
        (self.modules.contains_key(&child) || is_import).then(|| [module.as_slice(), path].concat())
    }

    fn type_of(&self, module: &Name, path: &Name) -> Option<Name> {
        let start = if ["crate", "super", "self"].contains(&path.first()?.as_str()) {
            self.absolute(module, path)
        } else {
            [module.as_slice(), path].concat()
        };
        self.resolve(&start, 0)
    }

    fn module_part(&self, path: &Name) -> Name {
        let count = (0..=path.len()).rev().find(|&count| self.modules.contains_key(&path[..count])).unwrap();
        path[..count].to_vec()
    }

    /// The folder of a file, "" for lib.rs.
    fn folder(&self, file: usize) -> &str {
        self.files[file].path.split_once('/').map_or("", |(folder, _)| folder)
    }

    /// Everything that is wrong, a line each.
    fn faults(&self) -> Vec<String> {
        let mut faults: BTreeSet<String> = self.faults.iter().cloned().collect();
        let rank = |folder: &str| ORDER.iter().position(|folders| folders.contains(&folder));
        for arrow in &self.arrows {
            let (from, to) = (self.folder(arrow.from), self.folder(arrow.to));
            // lib.rs names all; what it declares itself (the version) belongs to nobody.
            if from == to || from.is_empty() || to.is_empty() {
                continue;
            }
            let path = &self.files[arrow.from].path;
            match (rank(from), rank(to)) {
                (Some(a), Some(b)) if a > b => {}
                (Some(_), Some(_)) => {
                    _ = faults
                        .insert(format!("{path} uses {} of {to}/, which does not come before {from}/", arrow.path));
                }
                _ => _ = faults.insert(format!("{path} or {to}/ is in no folder of the order")),
            }
        }
        faults.extend(self.circles());
        faults.into_iter().collect()
    }

    /// Circles of files within a folder. A module may use its children and they may use it.
    fn circles(&self) -> Vec<String> {
        let module = |file: usize| module_of(&self.files[file].path);
        let mut uses: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for arrow in self.arrows.iter().filter(|arrow| arrow.from != arrow.to) {
            let (from, to) = (module(arrow.from), module(arrow.to));
            if !from.is_empty() && !to.is_empty() && !to.starts_with(&from) && !from.starts_with(&to) {
                uses.entry(arrow.from).or_default().insert(arrow.to);
            }
        }
        let reaches = |start: usize| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
            while let Some(file) = open.pop() {
                open.extend(uses.get(&file).into_iter().flatten().filter(|&&next| seen.insert(next)));
            }
            seen
        };
        let reached: Vec<BTreeSet<usize>> = (0..self.files.len()).map(reaches).collect();
        let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
        for (file, all) in reached.iter().enumerate().filter(|(file, all)| all.contains(file)) {
            let circle = all.iter().filter(|&&other| reached[other].contains(&file));
            let mut circle: Vec<&str> = circle.map(|&other| &*self.files[other].path).collect();
            circle.sort_unstable();
            circles.insert(circle);
        }
        circles
            .into_iter()
            .map(|files| format!("these files use each other in a circle: {}", files.join(", ")))
            .collect()
    }
}

/// Whether the module that declares this file does so under cfg(test).
fn is_declared_for_tests(files: &[Source], path: &str) -> bool {
    let module = module_of(path);
    (1..=module.len()).any(|count| {
        let parent = files.iter().find(|source| module_of(&source.path) == module[..count - 1]);
        parent
            .into_iter()
            .flat_map(|parent| &parent.syntax.items)
            .any(|item| matches!(item, syn::Item::Mod(item) if item.ident == module[count - 1] && is_test(&item.attrs)))
    })
}

fn read(root: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The library's files; the command is a crate of its own, which sees the public API only.
fn library() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read(&root, &root, &mut files);
    files.retain(|(path, _)| !path.starts_with("bin/"));
    files.sort();
    files
}

#[test]
fn library_uses_only_folders_that_come_before() {
    let house = House::new(library());
    assert!(
        house.files.len() > 80 && house.arrows.len() > 500,
        "{} files, {} uses",
        house.files.len(),
        house.arrows.len()
    );
    let faults = house.faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn src_holds_lib_rs_the_readme_and_the_folders_of_the_order() {
    let folders: BTreeSet<&str> = ORDER.into_iter().flatten().copied().chain(["bin"]).collect();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let known =
            if entry.path().is_dir() { folders.contains(&*name) } else { name == "lib.rs" || name == "README.md" };
        assert!(known, "src/{name} has no place in the layout");
    }
    for path in UNSAFE_FILES {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path));
        assert!(text.is_ok_and(|text| text.contains("unsafe")), "src/{path} needs no exception for unsafe code");
    }
}

fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    House::new(files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect()).faults()
}

/// Each made-up tree has one fault, and it is found.
#[test]
fn layout_check_finds_every_kind_of_fault() {
    let lib = "pub mod plan; mod support; mod model; mod runtime; mod generation; pub use model::Model; pub use runtime::Device;";
    let base = [
        ("lib.rs", lib),
        ("plan/mod.rs", "pub struct Curve;"),
        ("support/mod.rs", "pub mod error;"),
        ("support/error.rs", "pub struct Error;"),
        ("runtime/mod.rs", "mod device; mod sys; pub use device::Device;"),
        ("runtime/device.rs", "use crate::support::error::Error; use ort::Session; pub struct Device(Error);"),
        ("runtime/sys.rs", "fn f() { unsafe { g() } }"),
        ("model/mod.rs", "mod open; use crate::Device; pub struct Model(Device); pub struct Options;"),
        ("model/open.rs", "use super::*; impl Model { fn open(_: Options) -> crate::plan::Curve { loop {} } }"),
        ("generation/mod.rs", "use crate::Model; #[cfg(test)] mod tests { use crate::ffi::F; }"),
    ];
    assert_eq!(faults_of(&base), Vec::<String>::new());
    let cases: [(&str, &str, &str); 14] = [
        ("loose.rs", "", "loose.rs lies at the top of src"),
        ("plan/ladder.rs", "use crate::model::Options;", "plan/ladder.rs uses crate::model::Options of model/"),
        ("plan/ladder.rs", "use crate::Model as M;", "plan/ladder.rs uses crate::Model of model/"),
        ("plan/ladder.rs", "use crate::{Device, plan};", "plan/ladder.rs uses crate::Device of runtime/"),
        (
            "plan/ladder.rs",
            "fn f() -> super::super::model::Options { loop {} }",
            "plan/ladder.rs uses super::super::model",
        ),
        (
            "plan/ladder.rs",
            "fn f() { println!(\"{}\", crate::model::open()); }",
            "plan/ladder.rs uses crate::model::open of",
        ),
        ("worker/mod.rs", "use crate::tasks::f;", "worker/mod.rs uses crate::tasks::f of tasks/"),
        ("generation/more.rs", "use crate::Model; impl Model { fn f() {} }", "generation/more.rs has an `impl Model`"),
        (
            "generation/more.rs",
            "impl crate::model::Options {}",
            "generation/more.rs has an `impl crate::model::Options`",
        ),
        ("model/pointer.rs", "unsafe impl Send for P {}", "model/pointer.rs has unsafe code"),
        ("model/pointer.rs", "fn f() { assert!(unsafe { g() }); }", "model/pointer.rs has unsafe code"),
        ("model/graph.rs", "fn f() { ort::init(); }", "model/graph.rs names `ort`"),
        ("model/graph.rs", "#[cfg(not(test))] use ort::Session;", "model/graph.rs names `ort`"),
        ("model/b.rs", "use super::a::A; pub struct B;", "circle: model/a.rs, model/b.rs"),
    ];
    for (path, text, words) in cases {
        let mut files = base.to_vec();
        files.extend([
            (path, text),
            ("model/a.rs", "use crate::model::b::B; pub struct A;"),
            ("tasks/mod.rs", "pub fn f() {}"),
        ]);
        let faults = faults_of(&files);
        assert!(faults.len() == 1 && faults[0].contains(words), "{path} `{text}` should say \"{words}\": {faults:?}");
    }
}
