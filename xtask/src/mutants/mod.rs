//! The mutation tester of the shaders (`make mutants`): changes one place of a shader at a time
//! and checks that a kernel test fails.
//!
//! A run takes minutes, and a mutant may hang for as long as --seconds allows: use a software
//! driver.

mod mutate;
mod run;
#[cfg(test)]
mod tests;
mod tokens;

use degrain::gpu::{Context, Shader, Target};
use degrain::ops;
use degrain::tape::testing::{Case, Choices, check_case};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The command, with the arguments after its name.
pub fn main(arguments: &[String]) -> ExitCode {
    run::main(arguments, Shaders::default, include_str!("equivalent.toml"))
}

/// The shaders of this repository, and the device that runs their mutants.
#[derive(Default)]
struct Shaders {
    ctx: Option<Context>,
    /// Random choices that the operators' cases are made from, the same for every mutant.
    draws: Vec<Vec<u32>>,
}

/// Number of draws. Only some of an operator's cases run a given shader, so there are many.
const DRAWS: usize = 96;
/// Random cases that each mutant is checked with, after the edge cases: as many as the kernel tests
/// use.
const CASES: usize = 12;

fn shaders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders")
}

/// Names and texts of the WGSL files in shaders/ and its prelude, sorted by name.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["", "prelude/"] {
        let place = shaders().join(folder);
        let entries = fs::read_dir(&place).unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        let names = entries.map(|entry| entry.expect("a folder entry").file_name().to_string_lossy().into_owned());
        for name in names.filter(|name| name.ends_with(".wgsl")) {
            let path = place.join(&name);
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            files.push((format!("{folder}{name}"), text));
        }
    }
    files.sort();
    files
}

// Prelude files of the tiled variant.
const WORKGROUP: &str = "prelude/reduce_workgroup.wgsl";
const SHUFFLE: &str = "prelude/reduce_shuffle.wgsl";
const DIFFERENCE: &str = "prelude/difference.wgsl";

/// A file's name without its extension: `prelude/common` for `prelude/common.wgsl`.
fn stem(name: &str) -> &str {
    name.trim_end_matches(".wgsl")
}

/// The functions that a prelude file declares.
fn functions(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("fn ")?.split('(').next()).collect()
}

impl Shaders {
    /// The edge cases and the random cases that run a shader; for a prelude file, the cases that
    /// run a shader that calls one of its functions.
    fn cases(&self, name: &str, text: &str, target: Target) -> Vec<Case> {
        let called = functions(text);
        let prelude = name.starts_with("prelude/");
        let concerned = |shader: &Shader| {
            if prelude {
                called.iter().any(|function| shader.text.contains(&format!("{function}(")))
            } else {
                shader.name == stem(name)
            }
        };
        let runs_it = |case: &Case| {
            case.forms(target).into_iter().any(|choices| {
                let recorded = case.record_with(target, 1, choices);
                recorded.tape.calls().iter().any(|call| concerned(call.dispatch.entry.shader))
            })
        };
        let mut cases: Vec<Case> =
            ops::ALL.iter().flat_map(|(_, operator)| (operator.edge)()).filter(runs_it).collect();
        let edge = cases.len();
        // Many shaders use a prelude file, so two draws of each operator are enough.
        let (draws, most) = if prelude { (2, usize::MAX) } else { (DRAWS, CASES) };
        for draw in &self.draws[..draws] {
            let drawn = ops::ALL.iter().map(|(_, operator)| (operator.case)(&mut Choices::new(draw.clone())));
            cases.extend(drawn.filter(runs_it));
            if cases.len() - edge >= most {
                break;
            }
        }
        cases
    }
}

impl run::Kernels for Shaders {
    fn sources(&self) -> Vec<(String, String)> {
        // The lane files hold one constant each, and half of the possible changes only matter on
        // other devices.
        files().into_iter().filter(|(name, _)| !name.starts_with("prelude/lanes")).collect()
    }

    fn link(&self, name: &str, text: &str) -> String {
        let narrow = !name.ends_with("_wide.wgsl");
        let tiled = [WORKGROUP, SHUFFLE, DIFFERENCE];
        let left_out = |file: &str| {
            ["prelude/lanes_4.wgsl", "prelude/lanes_16.wgsl", "prelude/lanes_32.wgsl", name].contains(&file)
                || (narrow && ["prelude/wide.wgsl", "prelude/own_tokens.wgsl"].contains(&file))
                || match tiled.contains(&name) {
                    true => {
                        file.ends_with("_subgroup.wgsl") || file == if name == SHUFFLE { WORKGROUP } else { SHUFFLE }
                    }
                    false => tiled.contains(&file),
                }
        };
        let prelude = files().into_iter().filter(|(file, _)| file.starts_with("prelude/") && !left_out(file));
        prelude.fold(text.to_string(), |linked, (_, text)| linked + "\n" + &text)
    }

    fn check(&mut self, name: &str, text: &str) -> Result<(), String> {
        if self.ctx.is_none() {
            self.ctx = Some(Context::open(None).map_err(|e| e.to_string())?);
            self.draws = draws();
        }
        let Some(ctx) = self.ctx.take() else { unreachable!("just opened") };
        let own = ctx.target();
        ctx.gpu.replace_shader(stem(name), Some(text.to_owned()));
        let (mut checked, mut broken) = (0, false);
        let mut outcome = Ok(());
        for target in targets(own) {
            ctx.gpu.set_target(target);
            for case in self.cases(name, text, target) {
                checked += 1;
                outcome = match check_case(&ctx, &case) {
                    Ok(checked) => checked.map_err(|mismatch| mismatch.to_string()),
                    Err(error) => {
                        broken = true;
                        Err(error.to_string())
                    }
                };
                if outcome.is_err() {
                    break;
                }
            }
            if outcome.is_err() {
                break;
            }
        }
        ctx.gpu.set_target(own);
        ctx.gpu.replace_shader(stem(name), None);
        // A device keeps its error state, for instance after a division by a constant zero. The
        // next mutant gets a new device.
        self.ctx = (!broken).then_some(ctx);
        if checked == 0 { Err(format!("no operator's case runs {name}")) } else { outcome }
    }
}

/// The targets to check. A case counts only where it calls the shader.
fn targets(own: Target) -> Vec<Target> {
    let mut all = vec![own, own.narrow(), own.tiled(), own.without_subgroups()];
    all.dedup();
    all
}

/// Arbitrary numbers from which the operators make their cases, the same in every run.
fn draws() -> Vec<Vec<u32>> {
    let mut state = 1u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..DRAWS).map(|_| (0..24).map(|_| word()).collect()).collect()
}
