//! Tests that kills and second writers at random moments lose nothing. They use the programs in
//! `target/release`.

mod kill;
mod runs;
mod writers;

use std::process::ExitCode;

/// Runs a campaign with these arguments: `kill` or `writers`, then the number of trials.
pub fn main(arguments: &[String]) -> ExitCode {
    let parsed = match arguments {
        [campaign, count] => count.parse().ok().map(|count| (campaign.as_str(), count)),
        _ => None,
    };
    let outcome = match parsed {
        Some(("kill", count)) => kill::run(count),
        Some(("writers", count)) => writers::run(count),
        _ => Err("usage: cargo xtask reliability kill|writers COUNT".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// `Result` with a message.
type Result<T> = std::result::Result<T, String>;
