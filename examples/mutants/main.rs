//! The mutation run (`make mutants`): breaks the shaders in one place at a time, and demands that a kernel test notices.
//!
//!     cargo run --release --example mutants -- [--list] [--every N] [--seconds N] [NAME...]
//!
//! It takes minutes, and a mutant may hang for as long as --seconds allows: run it on a software driver.

mod mutate;
mod run;
#[cfg(test)]
mod tests;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    run::main(|| Shaders, include_str!("equivalent.toml"))
}

/// The shaders of this repository.
struct Shaders;

fn shaders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders")
}

/// The WGSL files of a folder: names and texts, in the order of the names.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries
        .map(|entry| entry.expect("a folder entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "wgsl"));
    let mut files: Vec<_> = paths
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.file_name().expect("a file").to_string_lossy().into_owned(), text)
        })
        .collect();
    files.sort();
    files
}

impl run::Kernels for Shaders {
    fn sources(&self) -> Vec<(String, String)> {
        files(&shaders())
    }

    fn link(&self, _: &str, text: &str) -> String {
        // One of the hardware forms is enough to see whether a mutant is valid WGSL.
        let forms = ["lanes_4.wgsl", "lanes_16.wgsl", "reduce_workgroup.wgsl"];
        let prelude = files(&shaders().join("prelude")).into_iter().filter(|(name, _)| !forms.contains(&&name[..]));
        prelude.fold(text.to_string(), |linked, (_, text)| linked + "\n" + &text)
    }

    fn check(&mut self, name: &str, _: &str) -> Result<(), String> {
        Err(format!("the operators' tests are not plugged in yet, so nothing checks {name}"))
    }
}
