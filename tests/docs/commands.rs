//! Checks that the programs accept the command lines of the documents. Each program runs with the
//! documented arguments followed by `--help`, so that it parses them, prints its help and does
//! nothing.

use crate::programs::{PROGRAMS, command};
use degrain::train::presets;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::LazyLock;

/// Options of other programs (cargo, git, pip), and options that every program has.
const OTHERS: [&str; 12] = [
    "--release",
    "--bin",
    "--bench",
    "--test",
    "--example",
    "--help",
    "--all-targets",
    "--check",
    "--no-deps",
    "--open",
    "--extra-index-url",
    "--list",
];

/// How much of a command the document gives.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// A complete command: the program must accept it.
    Line,
    /// A mention in a sentence, where values may be missing: the program must have the options.
    Mention,
}

/// The problem of a command, if it has one. Commands of other programs have none.
pub fn check(words: &[String], kind: Kind) -> Result<(), String> {
    let word = |i: usize| words.get(i).map_or("", String::as_str);
    match word(0) {
        "cargo" => cargo(words, kind),
        "make" => make(words, kind),
        "python" | "python3" => script(words),
        "mpirun" | "srun" => {
            // The options of MPI, then the program.
            let name = |word: &String| word.strip_prefix("target/release/").map(String::from);
            let Some(at) = words.iter().position(|word| name(word).is_some()) else { return Ok(()) };
            let program: Vec<String> = name(&words[at]).into_iter().chain(words[at + 1..].iter().cloned()).collect();
            check(&program, kind)
        }
        tool if tool.starts_with("tools/") || tool.starts_with(".ci/") => exists(tool),
        name if PROGRAMS.iter().any(|(known, _)| *known == name) => program(name, &words[1..], kind),
        option if kind == Kind::Mention && option.starts_with("--") => mentioned(option),
        _ => Ok(()),
    }
}

fn path(relative: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn exists(relative: &str) -> Result<(), String> {
    if path(relative).exists() { Ok(()) } else { Err(format!("there is no {relative}")) }
}

fn run(program: &str, arguments: &[String]) -> Output {
    let (_, binary) = PROGRAMS.iter().find(|(name, _)| *name == program).expect("one of the programs");
    command(binary, &[]).args(arguments).arg("--help").output().unwrap_or_else(|e| panic!("{binary}: {e}"))
}

/// The long options in a help text.
fn options_of(help: &str) -> BTreeSet<String> {
    let starts = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let long = starts.flat_map(|line| line.split([' ', ',', '[', '='])).filter(|word| word.starts_with("--"));
    long.map(String::from).collect()
}

/// Options by program. A subcommand of `edit` counts as a program, as `edit invert`.
static OPTIONS: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
    let mut options = BTreeMap::new();
    for (program, _) in PROGRAMS {
        let help = String::from_utf8(run(program, &[]).stdout).expect("a help text in UTF-8");
        let commands = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        for command in commands.lines().take_while(|line| !line.is_empty()).filter_map(|l| l.split_whitespace().next())
        {
            let help = String::from_utf8(run(program, &[command.into()]).stdout).expect("a help text in UTF-8");
            options.insert(format!("{program} {command}"), options_of(&help));
        }
        options.insert(program.to_string(), options_of(&help));
    }
    options
});

fn program(name: &str, arguments: &[String], kind: Kind) -> Result<(), String> {
    if let Some(preset) = arguments.iter().position(|word| word == "--preset").and_then(|at| arguments.get(at + 1)) {
        let placeholder = preset.chars().all(|c| c.is_uppercase() || c == '…');
        if !placeholder && !presets::NAMES.contains(&preset.as_str()) {
            return Err(format!("there is no preset `{preset}`"));
        }
    }
    if kind == Kind::Line {
        let output = run(name, arguments);
        return if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_string())
        };
    }
    let subcommand = arguments.first().map(|word| format!("{name} {word}")).filter(|key| OPTIONS.contains_key(key));
    let key = subcommand.as_deref().unwrap_or(name);
    let named = arguments.iter().filter(|word| word.starts_with("--"));
    let unknown = named.map(|word| word.split('=').next().unwrap_or(word)).find(|&word| !OPTIONS[key].contains(word));
    unknown.map_or(Ok(()), |option| Err(format!("`{key}` has no option {option}")))
}

/// An option that is mentioned alone must exist in a program, bench, tool or script of the
/// repository.
fn mentioned(option: &str) -> Result<(), String> {
    let option = option.split('=').next().unwrap_or(option);
    let ours = OPTIONS.values().any(|options| options.contains(option));
    if ours || OTHERS.contains(&option) || DEVELOPMENT.iter().any(|source| source_has(source, option)) {
        Ok(())
    } else {
        Err(format!("no program has an option {option}"))
    }
}

/// Texts of the benches, examples, tools and scripts, which take options too.
static DEVELOPMENT: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut files = vec![];
    for folder in ["benches", "examples", "tools", "xtask", "tests/goldens"] {
        super::walk(&path(folder), &mut files);
    }
    let code = |file: &std::path::PathBuf| file.extension().is_some_and(|e| e == "rs" || e == "py");
    files.iter().filter(|file| code(file)).map(|file| fs::read_to_string(file).unwrap_or_default()).collect()
});

/// Whether a source declares an option: as clap's field, or in quotes for argparse.
fn source_has(source: &str, option: &str) -> bool {
    let field = option.trim_start_matches("--").replace('-', "_");
    let declared = format!("    {field}: ");
    source.contains(&declared) || source.contains(&format!("\"{option}\""))
}

fn cargo(words: &[String], kind: Kind) -> Result<(), String> {
    let after = |option: &str| {
        let at = words.iter().position(|word| word == option);
        at.and_then(|at| words.get(at + 1)).map(String::as_str)
    };
    if words.get(1).is_some_and(|word| word == "xtask") {
        let source = fs::read_to_string(path("xtask/src/main.rs")).map_err(|e| e.to_string())?;
        let tool = words.get(2).map_or("", String::as_str);
        return match source.contains(&format!("\"{tool}\"")) {
            true => Ok(()),
            false => Err(format!("xtask has no tool `{tool}`")),
        };
    }
    let rest = words.iter().position(|word| word == "--").map_or(&[][..], |at| &words[at + 1..]);
    if let Some(name) = after("--bin") {
        return match PROGRAMS.iter().any(|(known, _)| *known == name) {
            true => program(name, rest, kind),
            false if name.chars().all(char::is_uppercase) => Ok(()),
            false => Err(format!("there is no program {name}")),
        };
    }
    for (option, folder) in [("--test", "tests"), ("--bench", "benches"), ("--example", "examples")] {
        let Some(name) = after(option) else { continue };
        let sources = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")];
        let Some(source) = sources.iter().map(|source| path(source)).find(|source| source.exists()) else {
            return Err(format!("there is no {}", sources[0]));
        };
        if folder == "benches" {
            let source = fs::read_to_string(source).map_err(|e| e.to_string())?;
            let named = rest.iter().filter(|word| word.starts_with("--"));
            if let Some(option) = named.into_iter().find(|option| !source_has(&source, option)) {
                return Err(format!("the bench {name} has no option {option}"));
            }
        }
    }
    Ok(())
}

fn make(words: &[String], kind: Kind) -> Result<(), String> {
    let makefile = fs::read_to_string(path("Makefile")).map_err(|e| e.to_string())?;
    for word in &words[1..] {
        if let Some(arguments) = word.strip_prefix("ARGS=") {
            if words.get(1).is_some_and(|target| target == "train") {
                let arguments: Vec<String> = arguments.split_whitespace().map(String::from).collect();
                program("train", &arguments, kind)?;
            }
        } else if let Some((variable, _)) = word.split_once('=') {
            if !makefile.lines().any(|line| line.starts_with(&format!("{variable} ?="))) {
                return Err(format!("the Makefile has no variable {variable}"));
            }
        } else if !makefile.lines().any(|line| line.starts_with(&format!("{word}:"))) {
            return Err(format!("the Makefile has no target {word}"));
        }
    }
    Ok(())
}

fn script(words: &[String]) -> Result<(), String> {
    let Some(file) = words.get(1).filter(|word| word.ends_with(".py")) else { return Ok(()) };
    exists(file)?;
    let source = fs::read_to_string(path(file)).map_err(|e| e.to_string())?;
    let named = words.iter().filter_map(|word| word.trim_start_matches('[').split(']').next());
    let unknown = named.filter(|word| word.starts_with("--")).find(|option| !source_has(&source, option));
    unknown.map_or(Ok(()), |option| Err(format!("{file} has no option {option}")))
}

#[test]
fn commands_with_unknown_options_values_or_targets_are_refused() {
    let words = |line: &str| super::markdown::words(line).remove(0);
    let line = |text: &str| check(&words(text), Kind::Line);
    let mention = |text: &str| check(&words(text), Kind::Mention);
    for right in [
        "train --preset ddpm --size tiny --unconditional",
        "cargo run --release --bin edit -- invert --checkpoint x --steps 3",
        "make train ARGS=\"--steps 3\"",
        "cargo bench --bench step -- --size tiny",
        "make goldens PYTHON=python",
        "cargo xtask shaders target/shaders",
        "ls --no-such-option",
    ] {
        assert_eq!(line(right), Ok(()), "{right}");
    }
    for wrong in [
        "train --no-such-option 1",
        "train --size huge",
        "train --steps",
        "train --preset no-such-preset",
        "cargo run --release --bin edit -- invert --checkpoint x --rows 3",
        "cargo run --release --bin nothing -- --steps 3",
        "make nothing",
        "make goldens NOTHING=1",
        "make train ARGS=\"--no-such-option\"",
        "cargo bench --bench step -- --no-such-option",
        "cargo test --test nothing",
        "cargo xtask nothing",
        "tools/nothing.sh",
    ] {
        assert!(line(wrong).is_err(), "{wrong}");
    }
    assert_eq!(mention("train --resume"), Ok(()));
    assert_eq!(mention("edit inpaint --mask"), Ok(()));
    assert_eq!(mention("--likelihood"), Ok(()));
    assert!(mention("edit inpaint --rows").is_err());
    assert!(mention("sample --no-such-option").is_err());
    assert!(mention("--no-such-option").is_err());
}
