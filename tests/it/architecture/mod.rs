//! The floors of the house, read from the sources: imports go down only, one folder names wgpu, and no file grows too long.
//!
//!     7  bin
//!     6  evaluate
//!     5  train -> report
//!     4  metrics
//!     3  diffusion
//!     2  nn
//!     1  ops
//!     0  tape -> gpu        data
//!        error  files
//!
//! The checker is a pure function of paths and texts, so that the tests below can show it sources that break each rule.

mod source;

use source::{code_of, heads, line_of, words};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The top-level modules, from the ground up. A module imports from lower floors only.
const FLOORS: &[&[&str]] = &[
    &["error", "files"],
    &["gpu", "data", "tape"],
    &["ops"],
    &["nn"],
    &["diffusion"],
    &["metrics"],
    &["train", "report"],
    &["evaluate"],
    &["bin", "cli"],
];

/// The arrows within a floor: (who, imports whom).
const SIDEWAYS: &[(&str, &str)] = &[("files", "error"), ("tape", "gpu"), ("train", "report")];

/// Small rooms: the longest that a file of src/ or shaders/ may be.
const LINES: usize = 300;

/// Paths relative to the root of the repository, and texts.
type Sources = BTreeMap<String, String>;

#[test]
fn the_house_keeps_its_rules() {
    let mut sources = Sources::new();
    for folder in ["src", "shaders"] {
        read_below(Path::new(env!("CARGO_MANIFEST_DIR")), folder, &mut sources);
    }
    assert!(sources.contains_key("src/lib.rs"), "the sources were not found");
    let problems = check(&sources);
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn read_below(root: &Path, folder: &str, into: &mut Sources) {
    for entry in fs::read_dir(root.join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}")) {
        let entry = entry.expect("a folder entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_below(root, &path, into);
        } else if path.ends_with(".rs") || path.ends_with(".wgsl") {
            into.insert(path, fs::read_to_string(entry.path()).expect("a source in UTF-8"));
        }
    }
}

/// All breaches of all rules, each as a line that begins with its place.
fn check(sources: &Sources) -> Vec<String> {
    let mut problems = Vec::new();
    let exported = sources.get("src/lib.rs").map(|text| exported_names(&code_of(text))).unwrap_or_default();
    for (path, text) in sources {
        let lines = text.lines().count();
        if lines > LINES {
            problems.push(format!("{path}: {lines} lines, and a file has at most {LINES}: split it"));
        }
        if path.ends_with(".rs") {
            check_rust(path, text, &exported, &mut problems);
        } else if let Some(name) = path.strip_prefix("shaders/").and_then(|p| p.strip_suffix(".wgsl"))
            && !name.contains('/')
            && !belongs_to_an_operator(name, sources)
        {
            problems.push(format!("{path}: one name everywhere, but no file of src/ops has its name or uses it"));
        }
    }
    problems
}

/// `conv2d.wgsl` belongs to src/ops/conv2d.rs, and so does `conv2d_weight.wgsl` if that file, or one of the folder src/ops/conv2d/, uses it.
fn belongs_to_an_operator(shader: &str, sources: &Sources) -> bool {
    let uses = |(at, _): (usize, &str)| {
        let (file, folder) = (format!("src/ops/{}.rs", &shader[..at]), format!("src/ops/{}/", &shader[..at]));
        let mut own = sources.iter().filter(|(path, _)| **path == file || path.starts_with(&folder));
        own.any(|(_, text)| words(&code_of(text), shader).next().is_some())
    };
    sources.contains_key(&format!("src/ops/{shader}.rs")) || shader.match_indices('_').any(uses)
}

fn check_rust(path: &str, text: &str, exported: &BTreeMap<String, String>, problems: &mut Vec<String>) {
    let code = code_of(text);
    let module = module_of(path);
    if module != "gpu" {
        for at in words(&code, "wgpu") {
            problems.push(format!("{path}:{}: only src/gpu names wgpu", line_of(&code, at)));
        }
    } else if let Some(at) = text.to_lowercase().find("gradient") {
        problems.push(format!("{path}:{}: src/gpu does not know what a gradient is", line_of(text, at)));
    }
    if module == "lib" || module == "bin" {
        return; // The roof names every module, and a command line may use every one.
    }
    let Some(floor) = floor_of(module) else {
        problems.push(format!("{path}: the module `{module}` has no floor: give it one in tests/floors.rs"));
        return;
    };
    for (at, name) in arrows(path, &code) {
        let target = exported.get(&name).map_or(name.as_str(), String::as_str);
        let line = line_of(&code, at);
        match floor_of(target) {
            _ if target == module || SIDEWAYS.contains(&(module, target)) => {}
            Some(below) if below < floor => {}
            Some(same) if same == floor => {
                problems.push(format!("{path}:{line}: `{module}` imports its neighbour `{target}`"))
            }
            Some(_) => {
                problems.push(format!("{path}:{line}: `{module}` imports `{target}`, which is a floor above it"))
            }
            None if name == "super" => problems.push(format!("{path}:{line}: say crate:: instead of super::super::")),
            None => {
                problems.push(format!("{path}:{line}: crate::{name} has no floor: name its module in tests/floors.rs"))
            }
        }
    }
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// `src/ops/conv2d.rs` and `src/ops.rs` belong to `ops`.
fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// The first names behind `crate::`, with their offsets; `super` stands for a path that climbs too far to be read.
fn arrows(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        if let Some(rest) = code[at + 5..].trim_start().strip_prefix("::") {
            let from = code.len() - rest.len();
            found.extend(heads(rest).into_iter().map(|(offset, name)| (from + offset, name)));
        }
    }
    // In src/ops.rs and src/ops/mod.rs, `super` is the crate's root. A test module's `super::*` names no module.
    let top = path.matches('/').count() == 1 || path.ends_with("/mod.rs") && path.matches('/').count() == 2;
    for at in words(code, "super") {
        let Some(rest) = code[at + 5..].trim_start().strip_prefix("::") else { continue };
        for (_, name) in heads(rest) {
            if name == "super" || top && floor_of(&name).is_some() {
                found.push((at, name));
            }
        }
    }
    found
}

/// What lib.rs re-exports: name to module, from `pub use module::{Name, Other};`.
fn exported_names(code: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for at in words(code, "use").filter(|at| code[..*at].trim_end().ends_with("pub")) {
        let path = code[at + 3..].split(';').next().unwrap_or("");
        let mut words =
            path.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty() && *w != "crate");
        if let Some(module) = words.next() {
            names.extend(words.map(|name| (name.to_string(), module.to_string())));
        }
    }
    names
}

mod made_up_sources {
    use super::*;

    /// The problems of a house of these files, which has the operator `add` and re-exports `Error`.
    fn problems_of(files: &[(&str, &str)]) -> Vec<String> {
        let house = [("src/lib.rs", "pub mod error;\npub use error::{Error, Result};"), ("src/ops/add.rs", "")];
        check(&house.iter().chain(files).map(|(path, text)| (path.to_string(), text.to_string())).collect())
    }

    #[track_caller]
    fn passes(path: &str, text: &str) {
        assert_eq!(problems_of(&[(path, text)]), Vec::<String>::new());
    }

    #[track_caller]
    fn fails(path: &str, text: &str, with: &str) {
        let problems = problems_of(&[(path, text)]);
        assert!(
            problems.len() == 1 && problems[0].contains(with),
            "one problem with '{with}' was expected: {problems:?}"
        );
    }

    #[test]
    fn arrows_that_go_down_pass() {
        passes("src/train/mod.rs", "use crate::nn::{Unet, layers::{Conv}};\nuse crate::{data, diffusion::ddpm};");
        passes("src/tape/replay.rs", "use crate::gpu::Buffer;");
        passes("src/ops/mod.rs", "use crate::ops::add::Add; use crate::{Error, Result};");
        passes("src/data/idx.rs", "use crate::{Error, error::io, files};");
        passes("src/ops/add.rs", "mod tests { use super::*; }");
        passes("src/nn/unet.rs", "use super::train; // a sibling file of nn, not the module above");
        passes("src/bin/train.rs", "use degrain::train::run; use degrain::nn;");
    }

    #[test]
    fn arrows_that_go_up_fail() {
        fails("src/ops/add.rs", "\nuse crate::nn::Linear;", "src/ops/add.rs:2: `ops` imports `nn`");
        fails("src/gpu/mod.rs", "use crate::tape::Tape;", "`gpu` imports its neighbour `tape`");
        fails("src/data/mod.rs", "use crate::gpu::Buffer;", "neighbour `gpu`");
        fails("src/tape/mod.rs", "use crate::{ctx, ops::{self}};", "`tape` imports `ops`");
        fails("src/report/grid.rs", "use crate::train;", "neighbour `train`");
        fails("src/nn.rs", "fn f() { crate::diffusion::sample() }", "`nn` imports `diffusion`");
        fails("src/error.rs", "use crate::gpu;", "`error` imports `gpu`");
    }

    #[test]
    fn arrows_in_other_clothes_fail() {
        fails("src/nn/mod.rs", "use super::train;", "`nn` imports `train`");
        fails("src/nn/unet.rs", "use super::super::train;", "say crate::");
        fails("src/ops/add.rs", "macro_rules! m { () => { $crate::nn::x() } }", "`ops` imports `nn`");
        fails(
            "src/ops/add.rs",
            "use crate :: {\n    error,\n    tape,\n    report::png,\n};",
            "add.rs:4: `ops` imports `report`",
        );
        fails("src/ops/add.rs", "use crate::attic::x;", "crate::attic has no floor");
        fails("src/attic.rs", "", "`attic` has no floor");
    }

    #[test]
    fn comments_and_strings_are_no_imports() {
        passes("src/ops/add.rs", "/// See [`crate::nn`].\n/* use crate::nn; /* crate::train */ wgpu */ fn f() {}");
        passes("src/ops/add.rs", "const S: &str = \"crate::nn \\\" wgpu\"; const R: &str = r#\"crate::nn \" wgpu\"#;");
        fails("src/ops/add.rs", "fn f<'a>(x: &'a u8) -> char { '\"' } use crate::nn; // \"", "`nn`");
        fails("src/ops/add.rs", "const C: char = '\\''; const D: char = 'ä'; use crate::nn;", "`nn`");
    }

    #[test]
    fn one_folder_names_wgpu_and_it_knows_no_gradients() {
        passes("src/gpu/device.rs", "use wgpu::Device;");
        passes("src/ops/add.rs", "// wgpu would not like that\nfn my_wgpu_like() {}");
        fails("src/ops/add.rs", "fn f(d: &wgpu::Device) {}", "only src/gpu names wgpu");
        fails("src/bin/train.rs", "fn main() {}\nuse wgpu;", "src/bin/train.rs:2: only src/gpu");
        fails("src/gpu/buffer.rs", "\n// where Gradients live", "src/gpu/buffer.rs:2");
    }

    #[test]
    fn rooms_are_small_and_names_are_one() {
        passes("src/ops/add.rs", &"\n".repeat(LINES));
        fails("src/ops/add.rs", &"\n".repeat(LINES + 1), "301 lines");
        fails("shaders/add.wgsl", &"\n".repeat(LINES + 1), "301 lines");
        passes("shaders/add.wgsl", "");
        passes("shaders/prelude/random.wgsl", "");
        fails("shaders/mul.wgsl", "", "shaders/mul.wgsl: one name everywhere");
        fails("shaders/add_fast.wgsl", "", "shaders/add_fast.wgsl: one name everywhere");
        let form = [("shaders/mul_fast.wgsl", ""), ("src/ops/mul.rs", "use super::faces::{mul_fast};")];
        assert_eq!(problems_of(&form), Vec::<String>::new());
    }
}
