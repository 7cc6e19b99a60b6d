//! Development tools that need the code of the crate:
//!
//!     cargo xtask mutants [--list] [--every N] [--seconds N] [NAME...]
//!     cargo xtask shaders FOLDER
//!     cargo xtask gpu-report [ADAPTER]
//!     cargo xtask experiment FILE [--out FOLDER] [--document] [RUN...]
//!     cargo xtask reliability kill|ranks|writers|disk|files COUNT
//!     cargo xtask reliability device [COUNT]
//!     cargo xtask reliability determinism DRIVER
//!     cargo xtask scaling [OPTION VALUE...]

mod allocator;
mod experiment;
mod gpu_report;
mod mutants;
mod reliability;
mod scaling;
mod shaders;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask mutants [--list] [--every N] [--seconds N] [NAME...]
       cargo xtask shaders FOLDER
       cargo xtask gpu-report [ADAPTER]
       cargo xtask experiment FILE [--out FOLDER] [--document] [RUN...]
       cargo xtask reliability kill|ranks|writers|disk|files COUNT
       cargo xtask reliability device [COUNT]
       cargo xtask reliability determinism DRIVER
       cargo xtask scaling [OPTION VALUE...]";

fn main() -> ExitCode {
    // Its children, whose messages are counted, inherit the setting.
    degrain::cli::disable_device_select();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "mutants" => mutants::main(rest),
        Some((command, rest)) if command == "reliability" => reliability::main(rest),
        Some((command, rest)) if command == "scaling" => scaling::main(rest),
        Some((command, rest)) if command == "experiment" && !rest.is_empty() => experiment::main(rest),
        Some((command, [])) if command == "gpu-report" => gpu_report::main(None),
        Some((command, [adapter])) if command == "gpu-report" => gpu_report::main(Some(adapter)),
        Some((command, [folder])) if command == "shaders" => shaders::main(Path::new(folder)),
        Some((command, _)) if ["--help", "-h", "help"].contains(&command.as_str()) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
