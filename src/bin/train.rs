//! Trains a diffusion model: `train` alone trains a class-conditional DDPM on the bundled MNIST.

use clap::Parser;
use degrain::diffusion::pipeline::checkpoints;
use degrain::files::print;
use degrain::gpu::{Context, list_adapters};
use degrain::train::{self, Outcome, Session, Settings, Start, on_interrupt};
use degrain::{Error, Result, cli};
use std::path::PathBuf;
use std::process::ExitCode;

/// Trains a diffusion model; without options, a class-conditional DDPM on the bundled MNIST
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Settings from a TOML file, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with the last checkpoint of this run folder, with its settings; others may be given anew
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "preset", "size", "config"])]
    resume: Option<PathBuf>,
    /// Save and stop after this many steps in all
    #[arg(long, value_name = "STEPS")]
    stop_after: Option<u32>,
    /// Adapter, by number or part of its name
    #[arg(long)]
    adapter: Option<String>,
    /// List the adapters and stop
    #[arg(long)]
    list_adapters: bool,
    /// Print model, parameters, planned memory, pipelines and FLOPs of a step, and stop
    #[arg(long)]
    dry_run: bool,
    /// Print every kernel call of a step, and stop
    #[arg(long)]
    listing: bool,
    /// Measure every kernel call of a step on the device, and stop
    #[arg(long)]
    profile: bool,
    /// Check every kernel call of a step against its reference, and stop
    #[arg(long)]
    verify: bool,
    #[command(flatten, next_help_heading = "Settings (over those of --config, which are over the preset's)")]
    settings: Settings,
}

fn main() -> ExitCode {
    cli::main(|| run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    if arguments.list_adapters {
        return list_adapters().iter().try_for_each(|adapter| print(format!("{adapter}\n")));
    }
    let ctx = Context::open(arguments.adapter.as_deref())?;
    let settings = match (&arguments.resume, &arguments.config) {
        (Some(run), _) => {
            // The folder may have been moved since.
            let here = Settings { out: Some(run.clone()), ..arguments.settings };
            here.or(Settings::from(train::read_config(run)?))
        }
        (None, Some(file)) => arguments.settings.or(Settings::read(file)?),
        (None, None) => arguments.settings,
    };
    let session = Session::open(&ctx, settings)?;
    print(session.describe(&ctx))?;
    let mut ctx = ctx.fork();
    if arguments.dry_run || arguments.listing || arguments.profile || arguments.verify {
        return session.inspect(&mut ctx, arguments.listing, arguments.profile, arguments.verify);
    }

    let folder = session.config.out.clone();
    let resume = match &arguments.resume {
        Some(run) => {
            let none = || {
                let file = run.join("config.toml");
                Error::file(run, format!("holds no checkpoint yet: start it again with --config {}", file.display()))
            };
            Some(checkpoints(run)?.pop().map(|(_, folder)| folder).ok_or_else(none)?)
        }
        None => {
            train::refuse_to_overwrite(&folder)?;
            None
        }
    };
    let interrupted = on_interrupt()?;
    let start = Start {
        dataset: &session.dataset,
        folder: &folder,
        resume: resume.as_deref(),
        stop_after: arguments.stop_after,
        interrupted: &interrupted,
    };
    match train::run(&mut ctx, &session.job(), &start)? {
        Outcome::Finished => print(format!(
            "finished: {}. Look at its pictures{}\n",
            folder.display(),
            match session.objective.draws() {
                true =>
                    format!(", or draw more:\n  cargo run --release --bin sample -- --checkpoint {}", folder.display()),
                false => String::new(),
            }
        )),
        Outcome::Stopped(step) => print(format!(
            "stopped after step {step} and saved. Go on with:\n  cargo run --release --bin train -- --resume {}\n",
            folder.display()
        )),
    }
}
