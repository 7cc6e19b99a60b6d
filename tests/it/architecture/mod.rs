//! The rules of the source tree, checked on the sources: modules import lower layers only, files do
//! not import each other in circles, one module names wgpu, one module writes files, nothing ends the
//! program when its output is closed, and no file is too long.
//!
//!     bin, cli      argument parsing and printing
//!     evaluate      a trained model in numbers, a table and a page
//!     train         config, objectives, the training loop, logs
//!     metrics       feature statistics, likelihoods
//!     checkpoint    opens and writes models
//!     diffusion     schedules, processes, samplers, guidance, the generator
//!     nn            parameters, layers, models
//!     ops           operators
//!     tape          record, differentiate, plan memory, replay
//!     gpu           device, buffers, pipelines
//!     data, output  host only
//!     error, files, memory, ranks, rng
//!
//! The checks are pure functions of paths and texts. The tests at the end give them sources that
//! break each rule.

mod imports;
mod source;

use imports::{Crate, circles, without_tests};
use source::{code_of, heads, line_of, words};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The layers, lowest first. A module imports from lower layers only.
const LAYERS: &[&[&str]] = &[
    &["error", "files", "memory", "ranks", "rng"],
    &["data", "output"],
    &["gpu"],
    &["tape"],
    &["ops"],
    &["nn"],
    &["diffusion"],
    &["checkpoint"],
    &["metrics"],
    &["train"],
    &["evaluate"],
    &["bin", "cli"],
];

/// Imports within a layer that are allowed: (importer, imported).
const WITHIN_LAYER: &[(&str, &str)] = &[("files", "error"), ("ranks", "error"), ("data", "output")];

/// Files that may import each other. The tape stores operators, and operators write to a tape.
const ALLOWED_CIRCLES: &[&[&str]] = &[&["src/tape/op.rs", "src/tape/record.rs"]];

/// Functions that change files. Only src/files calls them, so that every write is atomic or undone,
/// and the campaign of failing disks reaches it.
const WRITES: &[&str] = &[
    "fs::write",
    "fs::rename",
    "fs::copy",
    "fs::hard_link",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::create_dir",
    "fs::create_dir_all",
    "File::create",
    "File::create_new",
    "File::options",
    "OpenOptions",
];

/// Macros that end the program if nobody reads its output. `output::note` and `files::print` do not.
const PRINTS: &[&str] = &["print!", "println!", "eprint!", "eprintln!"];

/// Functions of the device, and the only file of src/gpu that calls each, so that the campaign of
/// failing devices reaches every call.
const DEVICE_CALLS: &[(&str, &str)] = &[
    ("queue.submit", "src/gpu/faults.rs"),
    ("device.poll", "src/gpu/faults.rs"),
    ("device.create_buffer", "src/gpu/allocation.rs"),
];

/// The largest number of lines of a file in src/ or shaders/.
const LINES: usize = 500;

/// This file, for messages.
const HERE: &str = "tests/it/architecture/mod.rs";

/// Paths relative to the root of the repository, and texts.
type Sources = BTreeMap<String, String>;

#[test]
fn sources_keep_the_rules() {
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

/// All violations of the rules. Each line begins with the file.
fn check(sources: &Sources) -> Vec<String> {
    let mut problems = Vec::new();
    let exported = sources.get("src/lib.rs").map(|text| exported_names(&code_of(text))).unwrap_or_default();
    for (path, text) in sources {
        let lines = text.lines().count();
        if lines > LINES {
            problems.push(format!("{path}: {lines} lines; a file has at most {LINES}. Split it by concept"));
        }
        if path.ends_with(".rs") {
            check_rust(path, text, &exported, &mut problems);
        } else if let Some(name) = path.strip_prefix("shaders/").and_then(|p| p.strip_suffix(".wgsl"))
            && !name.contains('/')
            && !belongs_to_an_operator(name, sources)
        {
            problems.push(format!("{path}: no file of src/ops has this name or uses it"));
        }
    }
    check_circles(sources, &mut problems);
    problems
}

fn check_circles(sources: &Sources, problems: &mut Vec<String>) {
    let files = sources.iter().filter(|(path, _)| path.ends_with(".rs"));
    let imports = Crate::new(files.map(|(path, text)| (path.as_str(), code_of(text)))).imports();
    let found = circles(&imports);
    let allowed = ALLOWED_CIRCLES;
    for circle in found.iter().filter(|circle| !allowed.contains(&&names(circle)[..])) {
        problems.push(format!("{}: these files import each other in a circle", circle.join(", ")));
    }
    for circle in allowed.iter().filter(|circle| sources.contains_key(circle[0])) {
        if !found.iter().any(|other| names(other) == **circle) {
            problems.push(format!("{}: no longer a circle. Remove it from the list", circle.join(", ")));
        }
    }
}

fn names(circle: &[String]) -> Vec<&str> {
    circle.iter().map(String::as_str).collect()
}

/// `conv2d.wgsl` belongs to src/ops/conv2d.rs. `conv2d_weight.wgsl` does too if that file, or one
/// in the folder src/ops/conv2d/, uses it.
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
        problems.push(format!("{path}:{}: src/gpu does not know gradients", line_of(text, at)));
    }
    for (call, file) in DEVICE_CALLS.iter().filter(|(_, file)| *file != path) {
        for at in words(&code, call) {
            problems.push(format!("{path}:{}: only {file} calls {call}", line_of(&code, at)));
        }
    }
    if module != "files" {
        check_writes(path, &without_tests(&code), problems);
    }
    for print in PRINTS {
        let code = without_tests(&code);
        for at in words(&code, print.trim_end_matches('!')).filter(|&at| code[at..].starts_with(print)) {
            problems.push(format!("{path}:{}: {print} ends the program if its output is closed", line_of(&code, at)));
        }
    }
    if module == "lib" || module == "bin" {
        return; // they may import every module
    }
    let Some(layer) = layer_of(module) else {
        problems.push(format!("{path}: the module `{module}` has no layer. Add it to LAYERS in {HERE}"));
        return;
    };
    for (at, name) in imported_modules(path, &code) {
        let target = exported.get(&name).map_or(name.as_str(), String::as_str);
        let line = line_of(&code, at);
        match layer_of(target) {
            _ if target == module || WITHIN_LAYER.contains(&(module, target)) => {}
            Some(other) if other < layer => {}
            Some(other) if other == layer => {
                problems.push(format!("{path}:{line}: `{module}` imports `{target}` of the same layer"))
            }
            Some(_) => problems.push(format!("{path}:{line}: `{module}` imports `{target}` of a higher layer")),
            None if name == "super" => problems.push(format!("{path}:{line}: use crate:: instead of super::super::")),
            None => problems.push(format!("{path}:{line}: crate::{name} has no layer. Add it to LAYERS in {HERE}")),
        }
    }
}

fn check_writes(path: &str, code: &str, problems: &mut Vec<String>) {
    for function in WRITES {
        let name = function.rsplit("::").next().unwrap_or(function);
        for at in words(code, name).filter(|at| code[..at + name.len()].ends_with(function)) {
            problems.push(format!("{path}:{}: only src/files calls {function}", line_of(code, at)));
        }
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `src/ops/conv2d.rs` and `src/ops.rs` belong to `ops`.
fn module_of(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
}

/// The first names after `crate::`, with their offsets. `super` means a path with two `super`.
fn imported_modules(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        if let Some(rest) = code[at + 5..].trim_start().strip_prefix("::") {
            let from = code.len() - rest.len();
            found.extend(heads(rest).into_iter().map(|(offset, name)| (from + offset, name)));
        }
    }
    // In src/ops.rs and src/ops/mod.rs, `super` is the crate's root. `super::*` names no module.
    let top = path.matches('/').count() == 1 || path.ends_with("/mod.rs") && path.matches('/').count() == 2;
    for at in words(code, "super") {
        let Some(rest) = code[at + 5..].trim_start().strip_prefix("::") else { continue };
        for (_, name) in heads(rest) {
            if name == "super" || top && layer_of(&name).is_some() {
                found.push((at, name));
            }
        }
    }
    found
}

/// The re-exports of lib.rs, name to module, from `pub use module::{Name, Other};`.
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

mod examples {
    use super::*;

    /// The problems of these files, added to a crate that has the operator `add` and re-exports
    /// `Error`.
    fn problems_of(files: &[(&str, &str)]) -> Vec<String> {
        let base = [("src/lib.rs", "pub mod error;\npub use error::{Error, Result};"), ("src/ops/add.rs", "")];
        check(&base.iter().chain(files).map(|(path, text)| (path.to_string(), text.to_string())).collect())
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

    #[track_caller]
    fn circle(files: &[(&str, &str)], expected: Option<&str>) {
        let expected = expected.map(|files| format!("{files}: these files import each other in a circle"));
        assert_eq!(problems_of(files), Vec::from_iter(expected));
    }

    #[test]
    fn layers_below_may_be_imported() {
        passes("src/train/mod.rs", "use crate::nn::{Unet, layers::{Conv}};\nuse crate::{data, diffusion::ddpm};");
        passes("src/tape/replay.rs", "use crate::gpu::Buffer;");
        passes("src/ops/mod.rs", "use crate::ops::add::Add; use crate::{Error, Result};");
        passes("src/data/idx.rs", "use crate::{Error, error::io, files};");
        passes("src/ops/add.rs", "mod tests { use super::*; }");
        passes("src/nn/unet.rs", "use super::train; // a sibling file of nn, not the module above");
        passes("src/bin/train.rs", "use degrain::train::run; use degrain::nn;");
    }

    #[test]
    fn layers_above_may_not_be_imported() {
        fails("src/ops/add.rs", "\nuse crate::nn::Linear;", "src/ops/add.rs:2: `ops` imports `nn`");
        fails("src/gpu/mod.rs", "use crate::tape::Tape;", "`gpu` imports `tape` of a higher layer");
        fails("src/data/mod.rs", "use crate::gpu::Buffer;", "`data` imports `gpu`");
        fails("src/tape/mod.rs", "use crate::{gpu, ops::{self}};", "`tape` imports `ops`");
        fails("src/output/mod.rs", "use crate::data;", "`output` imports `data` of the same layer");
        fails("src/nn.rs", "fn f() { crate::diffusion::sample() }", "`nn` imports `diffusion`");
        fails("src/error.rs", "use crate::gpu;", "`error` imports `gpu`");
    }

    #[test]
    fn layers_are_checked_in_all_forms_of_imports() {
        fails("src/nn/mod.rs", "use super::train;", "`nn` imports `train`");
        fails("src/nn/unet.rs", "use super::super::train;", "use crate::");
        fails("src/ops/add.rs", "macro_rules! m { () => { $crate::nn::x() } }", "`ops` imports `nn`");
        fails(
            "src/ops/add.rs",
            "use crate :: {\n    error,\n    tape,\n    train::png,\n};",
            "add.rs:4: `ops` imports `train`",
        );
        fails("src/ops/add.rs", "use crate::attic::x;", "crate::attic has no layer");
        fails("src/attic.rs", "", "`attic` has no layer");
    }

    #[test]
    fn files_are_written_by_one_module() {
        fails(
            "src/train/run.rs",
            "\nfn f() { std::fs::create_dir_all(x); }",
            "run.rs:2: only src/files calls fs::create_dir_all",
        );
        fails("src/bin/edit/model.rs", "use std::fs::OpenOptions;", "only src/files calls OpenOptions");
        passes("src/files/lock.rs", "fn f() { std::fs::rename(a, b); File::create(x); }");
        passes("src/files.rs", "fn f() { fs::write(x, y); }");
        passes(
            "src/train/run.rs",
            "fn f() { fs::read(x); files::rename(a, b); }\n#[cfg(test)]\nmod tests { fn f() { fs::write(x, y); } }",
        );
    }

    #[test]
    fn output_that_is_closed_is_no_panic() {
        fails("src/train/run.rs", "\nfn f() { eprintln!(\"x\"); }", "run.rs:2: eprintln! ends the program");
        fails("src/bin/train.rs", "fn f() { print!(\"x\"); }", "print! ends the program");
        passes("src/bin/train.rs", "fn f() { print(x); note(y); }\n#[cfg(test)]\nmod tests { fn f() { println!(); } }");
    }

    #[test]
    fn layers_ignore_comments_and_strings() {
        passes("src/ops/add.rs", "/// See [`crate::nn`].\n/* use crate::nn; /* crate::train */ wgpu */ fn f() {}");
        passes("src/ops/add.rs", "const S: &str = \"crate::nn \\\" wgpu\"; const R: &str = r#\"crate::nn \" wgpu\"#;");
        fails("src/ops/add.rs", "fn f<'a>(x: &'a u8) -> char { '\"' } use crate::nn; // \"", "`nn`");
        fails("src/ops/add.rs", "const C: char = '\\''; const D: char = 'ä'; use crate::nn;", "`nn`");
    }

    #[test]
    fn circles_of_imports_fail() {
        let two = [("src/nn/a.rs", "use super::b::B;"), ("src/nn/b.rs", "pub struct B;\nuse crate::nn::a;")];
        circle(&two, Some("src/nn/a.rs, src/nn/b.rs"));
        let inline = [("src/nn/a.rs", "fn f() { super::b::g(); }"), ("src/nn/b.rs", "fn g() { crate::nn::a::f() }")];
        circle(&inline, Some("src/nn/a.rs, src/nn/b.rs"));
        let three = [
            ("src/nn/a.rs", "use super::{c, b::{self, x}};"),
            ("src/nn/b.rs", "use super::c::{Y as Z};"),
            ("src/nn/c/mod.rs", "pub struct Y; use crate::nn::a::*;"),
        ];
        circle(&three, Some("src/nn/a.rs, src/nn/b.rs, src/nn/c/mod.rs"));
        let parent = [("src/nn/mod.rs", "mod a; use a::A; pub struct N(A);"), ("src/nn/a.rs", "use super::N;")];
        circle(&parent, Some("src/nn/a.rs, src/nn/mod.rs"));
    }

    #[test]
    fn circles_follow_reexports_to_the_file_that_defines_a_name() {
        let reexports = "mod a; mod b; pub use a::A; pub use b::{B as C};";
        let chain = [("src/nn/mod.rs", reexports), ("src/nn/a.rs", "use super::C;"), ("src/nn/b.rs", "")];
        circle(&chain, None);
        let back = [("src/nn/mod.rs", reexports), ("src/nn/a.rs", "use super::C;"), ("src/nn/b.rs", "use super::A;")];
        circle(&back, Some("src/nn/a.rs, src/nn/b.rs"));
        let outer =
            [("src/nn/mod.rs", reexports), ("src/nn/a.rs", "use crate::nn::C;"), ("src/nn/b.rs", "use crate::nn::A;")];
        circle(&outer, Some("src/nn/a.rs, src/nn/b.rs"));
        let used = [("src/nn/mod.rs", "mod a; pub use a::A; pub fn f(_: A) {}"), ("src/nn/a.rs", "use super::f;")];
        circle(&used, Some("src/nn/a.rs, src/nn/mod.rs"));
    }

    #[test]
    fn circles_ignore_test_modules_and_other_crates() {
        let tests = "pub struct B;\n#[cfg(test)]\nmod tests { use crate::nn::a; fn f() { {} } }";
        circle(&[("src/nn/a.rs", "use super::b::B;"), ("src/nn/b.rs", tests)], None);
        circle(&[("src/nn/a.rs", "use super::b::B;"), ("src/nn/b.rs", "use std::a; use nn::a;")], None);
    }

    #[test]
    fn circles_between_the_tape_and_its_operators_are_allowed() {
        let both = [("src/tape/op.rs", "use super::record::Tape;"), ("src/tape/record.rs", "use super::op::Op;")];
        circle(&both, None);
        let one = [("src/tape/op.rs", ""), ("src/tape/record.rs", "use super::op::Op;")];
        assert!(problems_of(&one)[0].contains("src/tape/op.rs, src/tape/record.rs: no longer a circle"));
    }

    #[test]
    fn wgpu_is_named_by_the_module_gpu_only() {
        passes("src/gpu/device.rs", "use wgpu::Device;");
        passes("src/ops/add.rs", "// wgpu would not like that\nfn my_wgpu_like() {}");
        fails("src/ops/add.rs", "fn f(d: &wgpu::Device) {}", "only src/gpu names wgpu");
        fails("src/bin/train.rs", "fn main() {}\nuse wgpu;", "src/bin/train.rs:2: only src/gpu");
        fails("src/gpu/buffer.rs", "\n// where Gradients live", "src/gpu/buffer.rs:2");
    }

    #[test]
    fn device_is_called_through_the_seam_of_its_failures() {
        let source = "fn f(gpu: &Gpu) { gpu.queue.submit([]); }";
        passes("src/gpu/faults.rs", source);
        fails("src/gpu/commands.rs", source, "src/gpu/commands.rs:1: only src/gpu/faults.rs calls queue.submit");
        fails("src/gpu/faults.rs", "fn f() { device.create_buffer(x) }", "only src/gpu/allocation.rs calls");
    }

    #[test]
    fn files_are_short_and_shaders_belong_to_an_operator() {
        passes("src/ops/add.rs", &"\n".repeat(LINES));
        fails("src/ops/add.rs", &"\n".repeat(LINES + 1), "501 lines");
        fails("shaders/add.wgsl", &"\n".repeat(LINES + 1), "501 lines");
        passes("shaders/add.wgsl", "");
        passes("shaders/prelude/random.wgsl", "");
        fails("shaders/mul.wgsl", "", "shaders/mul.wgsl: no file of src/ops");
        fails("shaders/add_fast.wgsl", "", "shaders/add_fast.wgsl: no file of src/ops");
        let variant = [("shaders/mul_fast.wgsl", ""), ("src/ops/mul.rs", "use super::kernels::{mul_fast};")];
        assert_eq!(problems_of(&variant), Vec::<String>::new());
    }
}
