//! The programs of the crate.

#![allow(dead_code)] // not every test program uses all of it

use std::process::Command;

pub const TRAIN: &str = env!("CARGO_BIN_EXE_train");
pub const SAMPLE: &str = env!("CARGO_BIN_EXE_sample");
pub const EVALUATE: &str = env!("CARGO_BIN_EXE_evaluate");
pub const EDIT: &str = env!("CARGO_BIN_EXE_edit");
pub const ABLATION: &str = env!("CARGO_BIN_EXE_ablation");

/// Names of the programs and their files.
pub const PROGRAMS: [(&str, &str); 5] =
    [("train", TRAIN), ("sample", SAMPLE), ("evaluate", EVALUATE), ("edit", EDIT), ("ablation", ABLATION)];

/// A command that runs in the folder of the repository, and keeps decoded images in the build folder.
pub fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}
