//! The shaders of this repository, and the check of a changed one by the cases of the operators.

use degrain::gpu::{BoundsChecks, Context, Gpu, Shader, Target};
use degrain::ops;
use degrain::tape::testing::{Case, Choices, check_case_briefly};
use std::fs;
use std::path::{Path, PathBuf};

/// The devices that run mutants, and the cases of the shader that is changed.
#[derive(Default)]
pub struct Shaders {
    /// For each target, without bounds checks and with them. They stay open, so that the kernels of
    /// unchanged shaders stay compiled.
    devices: Vec<Context>,
    /// Name of the shader that `trials` are for.
    name: String,
    /// Those that detected the last mutants come first.
    trials: Vec<Trial>,
}

/// A case that runs the shader.
struct Trial {
    /// Index of its device.
    device: usize,
    case: Case,
}

/// Number of draws of random cases. Only some of an operator's cases run a given shader, so there
/// are many.
const DRAWS: usize = 96;
/// Random cases that each mutant is checked with, besides the edge cases: as many as the kernel
/// tests use.
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

/// Every shader file to change: its name below shaders/ and its text.
pub fn sources() -> Vec<(String, String)> {
    // The lane files hold one constant each, and half of the possible changes only matter on
    // other devices.
    files().into_iter().filter(|(name, _)| !name.starts_with("prelude/lanes")).collect()
}

/// A complete module in which `text` replaces the file `name`.
pub fn link(name: &str, text: &str) -> String {
    let narrow = !name.ends_with("_wide.wgsl");
    let tiled = [WORKGROUP, SHUFFLE, DIFFERENCE];
    let left_out = |file: &str| {
        ["prelude/lanes_4.wgsl", "prelude/lanes_16.wgsl", "prelude/lanes_32.wgsl", name].contains(&file)
            || (narrow && ["prelude/wide.wgsl", "prelude/own_tokens.wgsl"].contains(&file))
            || match tiled.contains(&name) {
                true => file.ends_with("_subgroup.wgsl") || file == if name == SHUFFLE { WORKGROUP } else { SHUFFLE },
                false => tiled.contains(&file),
            }
    };
    let prelude = files().into_iter().filter(|(file, _)| file.starts_with("prelude/") && !left_out(file));
    prelude.fold(text.to_string(), |linked, (_, text)| linked + "\n" + &text)
}

/// The edge cases and the random cases that run a shader; for a prelude file, the cases that run a
/// shader that calls one of its functions.
fn trials(name: &str, text: &str, targets: &[Target]) -> Vec<Trial> {
    let called = functions(text);
    let prelude = name.starts_with("prelude/");
    let concerned = |shader: &Shader| {
        if prelude {
            called.iter().any(|function| shader.text.contains(&format!("{function}(")))
        } else {
            shader.name == stem(name)
        }
    };
    let runs_it = |case: &Case, target: Target| {
        case.forms(target).into_iter().any(|choices| {
            let recorded = case.record_with(target, 1, choices);
            recorded.tape.calls().iter().any(|call| concerned(call.dispatch.entry.shader))
        })
    };
    // Many shaders use a prelude file, so two draws of each operator are enough.
    let (draws, most) = if prelude { (2, usize::MAX) } else { (DRAWS, CASES) };
    let edge: Vec<_> = ops::ALL.iter().flat_map(|(_, operator)| (operator.edge)()).map(Case::remembered).collect();
    let drawn: Vec<Vec<_>> = numbers(draws)
        .into_iter()
        .map(|draw| ops::ALL.iter().map(|(_, o)| (o.case)(&mut Choices::new(draw.clone())).remembered()).collect())
        .collect();
    let mut trials = Vec::new();
    for (device, &target) in targets.iter().enumerate() {
        let mut add = |cases: &[Case]| {
            let cases = cases.iter().filter(|case| runs_it(case, target)).cloned();
            let before = trials.len();
            trials.extend(cases.map(|case| Trial { device, case }));
            trials.len() - before
        };
        add(&edge);
        let mut random = 0;
        for draw in &drawn {
            random += add(draw);
            if random >= most {
                break;
            }
        }
    }
    trials
}

impl Shaders {
    /// Runs the kernel tests of all operators that use the file, with `text` in place of it. Returns the
    /// first mismatch as the error.
    pub fn check(&mut self, name: &str, text: &str) -> Result<(), String> {
        if self.devices.is_empty() {
            self.devices = open_devices().map_err(|error| error.to_string())?;
        }
        if self.name != name {
            let targets: Vec<Target> = self.devices.iter().map(Context::target).collect();
            (self.name, self.trials) = (name.to_owned(), trials(name, text, &targets));
        }
        if self.trials.is_empty() {
            return Err(format!("no operator's case runs {name}"));
        }
        self.replace(Some(text));
        let found =
            self.trials.iter().enumerate().find_map(|(number, Trial { device, case })| {
                match check_case_briefly(&self.devices[*device], case) {
                    Ok(Ok(())) => None,
                    Ok(Err(mismatch)) => Some((number, mismatch.to_string(), false)),
                    Err(error) => Some((number, error.to_string(), true)),
                }
            });
        self.replace(None);
        let Some((number, problem, broken)) = found else { return Ok(()) };
        // The next mutant changes a place nearby.
        self.trials[..=number].rotate_right(1);
        if broken {
            // A device keeps its error state, for instance after a division by a constant zero.
            self.devices.clear();
        }
        Err(problem)
    }

    fn replace(&self, text: Option<&str>) {
        for device in &self.devices {
            device.gpu.replace_shader(stem(&self.name), text.map(str::to_owned));
        }
    }
}

/// Workgroups in a row of a folded grid, and spare rows at its end, as in the kernel tests.
const FOLDED: [u32; 2] = [3, 2];

/// Devices for each target that a case may be recorded for. All but the first fold their grids, and
/// are there without bounds checks and with them. Checks move an index past the end of an array to
/// its last element; without them a driver may drop the access.
fn open_devices() -> degrain::Result<Vec<Context>> {
    let first = Context::open(None)?;
    let own = first.target();
    let [grid_row, spare_rows] = FOLDED;
    let folded = |target: Target| Target { grid_row, spare_rows, ..target };
    let mut targets = vec![own];
    for target in [own, own.narrow(), own.tiled(), own.without_subgroups()].map(folded) {
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let mut devices = vec![first];
    for checks in [BoundsChecks::Off, BoundsChecks::On] {
        for &target in &targets[1..] {
            let gpu = Gpu::open_with(None, checks)?;
            gpu.set_target(target);
            devices.push(Context::new(gpu));
        }
    }
    Ok(devices)
}

/// Arbitrary numbers from which the operators make their cases, the same in every run.
fn numbers(draws: usize) -> Vec<Vec<u32>> {
    let mut state = 1u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..draws).map(|_| (0..24).map(|_| word()).collect()).collect()
}
