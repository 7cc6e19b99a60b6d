//! Trains four runs that differ only in noise schedule (linear, cosine) and attention (with,
//! without), and samples them from the same noise. An interrupted run continues, and a finished run
//! is not repeated.

use clap::Parser;
use degrain::diffusion::BetaSchedule;
use degrain::files::{FolderLock, print};
use degrain::gpu::Context;
use degrain::output::{Layout, Picture, jsonl, stack};
use degrain::train::{Config, LogEntry, Outcome, Settings, Trainer, on_interrupt};
use degrain::{Error, Result, cli};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Trains and samples {linear, cosine} x {attention, none}; run it again to continue an interrupted
/// run
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// GPU adapter: its number, or a part of its name [default: the fastest]
    #[arg(long)]
    adapter: Option<String>,
    #[command(flatten, next_help_heading = "Settings of all four runs [default: the preset's; --out: runs/ablation]")]
    settings: Settings,
}

fn main() -> ExitCode {
    cli::main(|| run(Arguments::parse()))
}

fn run(arguments: Arguments) -> Result<()> {
    let asked = &arguments.settings;
    for (option, given) in [("schedule", asked.schedule.is_some()), ("attention", asked.attention.is_some())] {
        if given {
            return Err(Error::Config(format!(
                "--{option}: this option differs between the four runs and cannot be set"
            )));
        }
    }
    let ctx = Context::open(arguments.adapter.as_deref())?;
    let out = asked.out.clone().unwrap_or_else(|| PathBuf::from("runs/ablation"));
    let _lock = FolderLock::acquire(&out)?;
    let interrupted = on_interrupt()?;
    let mut rows = Vec::new();
    for schedule in ["linear", "cosine"] {
        for attention in [true, false] {
            let folder = out.join(format!("{schedule}-{}", if attention { "attention" } else { "none" }));
            let settings = settings(asked.clone(), &ctx, schedule, attention, &folder)?;
            if !train_one(&ctx, settings, &interrupted)? {
                return print("stopped and saved: run the same command again to continue\n");
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
    print(format!("\nsamples of the four runs, in this order, from the same noise: {}\n", picture.display()))
}

/// The settings of one run.
fn settings(asked: Settings, ctx: &Context, schedule: &str, attention: bool, folder: &Path) -> Result<Settings> {
    // The linear schedule has the most options.
    let linear = Settings { schedule: Some("linear".parse()?), ..asked.clone() };
    let config = linear.resolve(ctx.target().variant)?;
    asked.check_effect(&config)?;
    let usual = config.attention;
    let schedule: BetaSchedule = schedule.parse()?;
    let levels = if attention { usual } else { vec![false; usual.len()] };
    Ok(Settings { schedule: Some(schedule), attention: Some(levels), out: Some(folder.into()), ..asked })
}

/// Trains a run to its end, from its last checkpoint if there is one. Returns false if it was
/// interrupted.
fn train_one(ctx: &Context, settings: Settings, stop: &AtomicBool) -> Result<bool> {
    let mut trainer = Trainer::new(ctx, settings)?.resume_or_start()?;
    if trainer.is_finished()? {
        print(format!("{}: finished\n", trainer.config().out.display()))?;
        return Ok(true);
    }
    print(trainer.describe())?;
    Ok(trainer.run(stop)? == Outcome::Finished)
}

/// The results of a finished run.
struct Row {
    name: String,
    loss: f64,
    picture: PathBuf,
}

fn row(folder: &Path) -> Result<Row> {
    let log = folder.join("log.jsonl");
    let steps = Config::read(folder)?.steps;
    let mut losses = jsonl::read(&log)?.into_iter().filter_map(|entry| match entry {
        LogEntry::Validation { step, validation_loss, .. } if step == steps => Some(validation_loss),
        _ => None,
    });
    Ok(Row {
        name: folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        loss: losses
            .next_back()
            .ok_or_else(|| Error::file(&log, "holds no validation: train with --validation-count above 0"))?,
        picture: folder.join(format!("samples/ema-{steps:06}.png")),
    })
}
