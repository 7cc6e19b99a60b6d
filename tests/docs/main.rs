//! The documents agree with the code: command lines, links, paths and the table of operators.

mod commands;
mod markdown;
#[path = "../common/programs.rs"]
mod programs;

use commands::Kind;
use degrain::diffusion::{ProcessConfig, SamplerName};
use degrain::gpu::Target;
use degrain::ops::ALL;
use degrain::tape::testing::{Choices, Operator};
use degrain::train::presets;
use markdown::Document;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Largest number of lines of README.md.
const README_LINES: usize = 150;
/// Folders of data that the reader brings: documents name them, and the repository lacks them.
const READERS_DATA: [&str; 2] = ["data/fashion-mnist", "data/cifar-10-subset"];
const BEGIN: &str = "<!-- operators: written by tests/docs -->\n";
const END: &str = "<!-- end of operators -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, if it exists.
fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder entry").path();
        if !path.is_dir() {
            into.push(path);
        } else if !path.ends_with("node_modules") {
            walk(&path, into);
        }
    }
}

/// Every document of the repository by its path, with its text.
fn documents() -> BTreeMap<PathBuf, String> {
    let mut files = vec![];
    for folder in ["docs", "data", "models", "benches", "examples", "tests", "tools", "xtask"] {
        walk(&root().join(folder), &mut files);
    }
    files.extend(fs::read_dir(root()).expect("the repository").map(|entry| entry.expect("a folder entry").path()));
    let documents = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.strip_prefix(root()).expect("below the root").to_path_buf(), text)
    };
    documents.map(read).collect()
}

fn passes(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Whether a document describes the past, with options that no longer exist.
fn is_history(path: &Path) -> bool {
    path == Path::new("CHANGELOG.md")
}

#[test]
fn readme_is_short_and_links_to_every_document() {
    let documents = documents();
    let readme = &documents[Path::new("README.md")];
    let lines = readme.lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines, and may have {README_LINES}: move some to docs/");
    let links = Document::parse(readme).links;
    let missing = documents.keys().filter(|path| path.starts_with("docs") || path.components().count() == 1);
    let missing = missing.filter(|path| !path.ends_with("README.md"));
    let missing: Vec<&PathBuf> =
        missing.filter(|path| !links.iter().any(|link| Path::new(&link.text) == path.as_path())).collect();
    assert!(missing.is_empty(), "README.md does not link to {missing:?}");
}

#[test]
fn commands_in_documents_are_accepted_by_the_programs() {
    let mut problems = vec![];
    let mut count = 0;
    for (path, text) in documents().iter().filter(|(path, _)| !is_history(path)) {
        let document = Document::parse(text);
        for line in document.broken {
            problems.push(format!("{}:{line}: inline code is broken over two lines", path.display()));
        }
        let commands = document.commands.iter().map(|code| (code, Kind::Line));
        for (code, kind) in commands.chain(document.spans.iter().map(|code| (code, Kind::Mention))) {
            for words in markdown::words(&code.text) {
                count += 1;
                if let Err(problem) = commands::check(&words, kind) {
                    problems.push(format!("{}:{}: `{}`: {problem}", path.display(), code.line, words.join(" ")));
                }
            }
        }
    }
    passes(&problems);
    assert!(count > 100, "only {count} commands were found");
}

#[test]
fn links_in_documents_lead_somewhere() {
    let documents = documents();
    let anchors: BTreeMap<&Path, Vec<String>> =
        documents.iter().map(|(path, text)| (path.as_path(), Document::parse(text).anchors)).collect();
    let mut problems = vec![];
    for (path, text) in &documents {
        let folder = path.parent().unwrap_or(Path::new(""));
        for link in Document::parse(text).links.iter().filter(|link| !link.text.contains("://")) {
            let (file, anchor) = link.text.split_once('#').map_or((&*link.text, None), |(file, a)| (file, Some(a)));
            let target = if file.is_empty() { path.clone() } else { normalized(&folder.join(file)) };
            let problem = if !root().join(&target).exists() {
                "leads nowhere"
            } else if anchor.is_some_and(|a| anchors.get(&*target).is_none_or(|all| !all.iter().any(|b| a == b))) {
                "has an anchor that is not there"
            } else {
                continue;
            };
            problems.push(format!("{}:{}: the link to {} {problem}", path.display(), link.line, link.text));
        }
    }
    passes(&problems);
}

/// Without `..`.
fn normalized(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir => (),
            part => parts.push(part),
        }
    }
    parts
}

#[test]
fn paths_in_documents_exist() {
    let mut problems = vec![];
    for (path, text) in documents().iter().filter(|(path, _)| !is_history(path)) {
        for span in Document::parse(text).spans {
            let top = span.text.split('/').next().unwrap_or_default();
            let ours =
                ["src", "shaders", "tests", "docs", "benches", "examples", "tools", "data", "xtask"].contains(&top);
            // `shaders/NAME.wgsl` means any of them.
            let general = span.text.chars().any(|c| c.is_uppercase() || " *{<".contains(c));
            let readme = span.text.ends_with("README.md");
            let general = general || READERS_DATA.contains(&&*span.text);
            if ours && span.text.contains('/') && (readme || !general) && !root().join(&span.text).exists() {
                problems.push(format!("{}:{}: there is no {}", path.display(), span.line, span.text));
            }
        }
    }
    passes(&problems);
}

#[test]
fn excerpts_in_documents_are_in_the_code() {
    let mut problems = vec![];
    let mut count = 0;
    for (path, text) in documents() {
        for (file, excerpt) in Document::parse(&text).excerpts {
            count += 1;
            // Files that build.rs writes can be quoted too.
            let source = match file.strip_prefix("$OUT_DIR/") {
                Some(generated) => Path::new(env!("OUT_DIR")).join(generated),
                None => root().join(&file),
            };
            let source = fs::read_to_string(&source).unwrap_or_default();
            let (lines, excerpted) = (code_lines(&source), code_lines(&excerpt.text));
            if !lines.windows(excerpted.len().max(1)).any(|window| window == excerpted) {
                problems.push(format!("{}:{}: this is not in {file}", path.display(), excerpt.line));
            }
        }
    }
    passes(&problems);
    assert!(count > 0, "no excerpts were found");
}

/// The lines of code, without indentation, doc comments and empty lines.
fn code_lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("///")).collect()
}

#[test]
fn operator_table_is_the_list_of_operators() {
    let table = ALL.iter().map(|(name, operator)| row(name, operator)).collect::<String>();
    let table = format!("| operator | computes | gradient | kernel variants |\n|---|---|---|---|\n{table}");
    let documents = documents();
    let text = &documents[Path::new("docs/operators.md")];
    let (_, rest) = text.split_once(BEGIN).expect("docs/operators.md has the line that begins the table");
    let (written, _) = rest.split_once(END).expect("docs/operators.md has the line that ends the table");
    let [written_rows, rows] = [written, &table].map(|text| text.lines().collect::<BTreeSet<_>>());
    let missing = rows.difference(&written_rows).map(|row| format!("docs/operators.md needs this row:\n{row}"));
    let extra = written_rows.difference(&rows).map(|row| format!("docs/operators.md must not have this row:\n{row}"));
    passes(&extra.chain(missing).collect::<Vec<_>>());
    assert!(written == table, "the rows of docs/operators.md are in the wrong order, or one is there twice");
}

#[test]
fn models_document_has_a_row_for_every_name() {
    let documents = documents();
    let text = &documents[Path::new("docs/models.md")];
    let section = |title: &str| {
        let (_, rest) = text.split_once(&format!("\n## {title}\n")).expect("docs/models.md has the section");
        rest.split("\n## ").next().unwrap_or_default()
    };
    let processes: Vec<String> = ProcessConfig::all_defaults().iter().map(ToString::to_string).collect();
    let samplers: Vec<String> = SamplerName::ALL.iter().map(|sampler| sampler.name().into()).collect();
    let presets: Vec<String> = presets::NAMES.iter().map(ToString::to_string).collect();
    let mut problems = vec![];
    for (title, names) in [("Presets", presets), ("Processes", processes), ("Samplers", samplers)] {
        let missing = names.iter().filter(|name| !section(title).contains(&format!("\n| `{name}`")));
        problems.extend(missing.map(|name| format!("docs/models.md, {title}: there is no row for `{name}`")));
    }
    passes(&problems);
}

fn row(name: &str, operator: &Operator) -> String {
    let op = (operator.case)(&mut Choices::new(vec![])).op;
    let gradient = match (op.differentiable(), op.updates().is_empty()) {
        (true, true) => "yes",
        (true, false) => "yes; updates state",
        (false, true) => "",
        (false, false) => "in place",
    };
    let variants =
        if kernels(operator, Target::DISCRETE_GPU) == kernels(operator, Target::LAVAPIPE) { "one" } else { "two" };
    // A bar in a formula would begin another cell.
    let formula = operator.formula.replace('|', "\\|");
    format!("| [`{name}`](../shaders/{name}.wgsl) | {formula} | {gradient} | {variants} |\n")
}

/// Labels of the kernels that an operator's cases call on a kind of device.
fn kernels(operator: &Operator, target: Target) -> BTreeSet<&'static str> {
    let smallest = (operator.case)(&mut Choices::new(vec![]));
    let cases = (operator.bench)().into_iter().chain([smallest]);
    let labels = |case: degrain::tape::testing::Case| {
        let trial = case.record(target, 1);
        trial.tape.calls().iter().map(|call| call.dispatch.entry.label).collect::<Vec<_>>()
    };
    cases.flat_map(labels).collect()
}

/// The programs accept the options of every experiment, and documents have a place for its results.
#[test]
fn commands_of_experiments_are_accepted_by_the_programs() {
    let mut files = vec![];
    walk(&root().join("experiments"), &mut files);
    assert!(!files.is_empty(), "no experiments");
    let mut problems = vec![];
    for path in files {
        let text = fs::read_to_string(&path).expect("an experiment");
        let experiment: toml::Table = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text_of = |table: &toml::Table, key: &str| table.get(key).and_then(toml::Value::as_str).map(String::from);
        let tables = |table: &toml::Table, key: &str| -> Vec<toml::Table> {
            let list = table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
            list.into_iter().map(|value| value.try_into().expect("a table")).collect()
        };
        let document =
            text_of(&experiment, "document").map(|path| fs::read_to_string(root().join(path)).expect("a document"));
        let mut marks: Vec<String> = text_of(&experiment, "title").into_iter().collect();
        let evaluate = text_of(&experiment, "evaluate").expect("options of evaluate");
        let mut commands = vec![];
        for run in tables(&experiment, "runs") {
            let name = text_of(&run, "name").expect("a name");
            commands.push(format!("train {} --out runs/{name}", text_of(&run, "train").expect("options of train")));
            let samples = tables(&run, "samples");
            commands.push(format!("evaluate --checkpoint runs/{name} {evaluate}"));
            for samples in &samples {
                let options = text_of(samples, "options").unwrap_or_default();
                let of_run = format!("--checkpoint runs/{name}");
                match text_of(samples, "classifier") {
                    Some(guide) => commands.push(format!("sample {of_run} {options} --classifier runs/{guide}")),
                    None => commands.push(format!("evaluate {of_run} {evaluate} {options}")),
                }
            }
            if experiment.contains_key("pictures") && run.get("sampled").is_none() {
                marks.extend(samples.iter().map(|s| text_of(s, "name").expect("a name")));
                marks.extend(samples.is_empty().then_some(name));
            }
        }
        for command in commands {
            let words: Vec<String> = command.split_whitespace().map(String::from).collect();
            if let Err(problem) = commands::check(&words, Kind::Line) {
                problems.push(format!("{}: `{command}`: {problem}", path.display()));
            }
        }
        for mark in document
            .iter()
            .flat_map(|text| marks.iter().filter(|mark| !text.contains(&format!("<!-- results: {mark} -->\n"))))
        {
            problems.push(format!("{}: its document has no place for the results of {mark}", path.display()));
        }
    }
    passes(&problems);
}
