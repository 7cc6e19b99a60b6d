//! Tests that kills, second writers, failing disks and devices, and damaged files lose nothing and
//! end nothing, and that training is deterministic. Kills, ranks, writers and determinism use the
//! programs in `target/release`.

mod determinism;
mod device;
mod disk;
mod files;
mod kill;
mod ranks;
mod runs;
mod writers;

use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask reliability kill|ranks|writers|disk|files COUNT [SEED], device [COUNT], or determinism DRIVER";

/// Runs a campaign with these arguments: its name, then the number of trials.
pub fn main(arguments: &[String]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let number = |text: &String| text.parse::<u32>().map_err(|_| USAGE.to_string());
    match arguments {
        [child, rest @ ..] if child == device::CHILD => device::child(rest),
        [campaign] if campaign == "device" => device::run(None),
        [child, rest @ ..] if child == disk::CHILD => disk::child(rest),
        [child, rest @ ..] if child == files::CHILD => files::child(rest),
        [campaign, count] => match campaign.as_str() {
            "determinism" => determinism::run(count),
            "kill" => kill::run(number(count)?),
            "ranks" => ranks::run(number(count)?),
            "writers" => writers::run(number(count)?),
            "device" => device::run(Some(number(count)?)),
            "disk" => disk::run(number(count)?),
            "files" => files::run(number(count)?.into(), None),
            _ => Err(USAGE.into()),
        },
        [campaign, count, seed] if campaign == "files" => {
            files::run(number(count)?.into(), Some(seed.parse().map_err(|_| USAGE.to_string())?))
        }
        _ => Err(USAGE.into()),
    }
}

/// `Result` with a message.
type Result<T> = std::result::Result<T, String>;
