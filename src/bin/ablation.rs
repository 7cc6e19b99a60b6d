//! The four runs that a first comparison needs: linear and cosine schedule, with and without attention, all else equal. Each is trained (or gone
//! on with, or left alone if it is finished) and sampled from the same noise.

use clap::Parser;
use degrain::diffusion::BetaSchedule;
use degrain::diffusion::pipeline::checkpoints;
use degrain::files::print;
use degrain::gpu::Context;
use degrain::output::{Layout, Picture, stack};
use degrain::train::{self, Outcome, Session, Settings, Start, on_interrupt};
use degrain::{Error, Result, cli};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Trains and samples {linear, cosine} x {attention, none}; called again, it goes on where it was
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Adapter, by number or part of its name
    #[arg(long)]
    adapter: Option<String>,
    #[command(flatten, next_help_heading = "Settings of all four runs (over the preset's)")]
    settings: Settings,
}

fn main() -> ExitCode {
    cli::main(|| run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    let asked = &arguments.settings;
    for (option, given) in [("schedule", asked.schedule.is_some()), ("attention", asked.attention.is_some())] {
        if given {
            return Err(Error::Config(format!("--{option}: it is what the four runs differ in")));
        }
    }
    let ctx = Context::open(arguments.adapter.as_deref())?;
    let out = asked.out.clone().unwrap_or_else(|| PathBuf::from("runs/ablation"));
    let interrupted = on_interrupt()?;
    let mut rows = Vec::new();
    for schedule in ["linear", "cosine"] {
        for attention in [true, false] {
            let folder = out.join(format!("{schedule}-{}", if attention { "attention" } else { "none" }));
            let settings = settings(asked.clone(), &ctx, schedule, attention, &folder)?;
            if !train_one(&ctx, settings, &interrupted)? {
                return print("stopped and saved: call the same command again to go on\n");
            }
            rows.push(row(&folder)?);
        }
    }
    let pictures: Vec<Picture> = rows.iter().map(|row| Picture::load_png(&row.picture)).collect::<Result<_>>()?;
    let picture = out.join("ablation.png");
    stack(&pictures, Layout::default()).save_png(&picture, &[("Software", "degrain")])?;
    print(format!("\n{:24} {:>16}\n", "run", "validation loss"))?;
    for row in &rows {
        print(format!("{:24} {:>16.5}\n", row.name, row.loss))?;
    }
    print(format!("\nsamples of the four, in this order, from the same noise: {}\n", picture.display()))
}

/// The settings of one run.
fn settings(asked: Settings, ctx: &Context, schedule: &str, attention: bool, folder: &Path) -> Result<Settings> {
    let usual = asked.clone().resolve(ctx.target().variant)?.attention;
    let schedule: BetaSchedule = schedule.parse()?;
    let levels = if attention { usual } else { vec![false; usual.len()] };
    Ok(Settings { schedule: Some(schedule), attention: Some(levels), out: Some(folder.into()), ..asked })
}

/// Trains a run to its end, from its last checkpoint if it has one; false if it was interrupted.
fn train_one(ctx: &Context, settings: Settings, interrupted: &AtomicBool) -> Result<bool> {
    let session = Session::open(ctx, settings)?;
    let folder = &session.config.out;
    let last = if folder.is_dir() { checkpoints(folder)?.pop() } else { None };
    if last.as_ref().is_some_and(|(step, _)| *step >= session.config.steps) {
        print(format!("{}: finished\n", folder.display()))?;
        return Ok(true);
    }
    print(session.describe(ctx))?;
    let resume = last.map(|(_, checkpoint)| checkpoint);
    let start = Start { folder, resume: resume.as_deref(), stop_after: None, dataset: &session.dataset, interrupted };
    Ok(train::run(&mut ctx.fork(), &session.job(), &start)? == Outcome::Finished)
}

/// What a finished run has to show.
struct Row {
    name: String,
    loss: f64,
    picture: PathBuf,
}

fn row(folder: &Path) -> Result<Row> {
    let log = folder.join("log.jsonl");
    let text = std::fs::read_to_string(&log).map_err(Error::io(&log))?;
    let values = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let loss = values.filter_map(|line| line.get("validation_loss")?.as_f64()).next_back();
    let steps = train::read_config(folder)?.steps;
    Ok(Row {
        name: folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        loss: loss.ok_or_else(|| Error::file(&log, "holds no validation: train with --validation-count above 0"))?,
        picture: folder.join(format!("samples/averaged-{steps:06}.png")),
    })
}
