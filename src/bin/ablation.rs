//! Trains four runs that differ only in noise schedule (linear, cosine) and attention (with,
//! without), and samples them from the same noise. An interrupted run continues, and a finished run
//! is not repeated.

use clap::{CommandFactory, FromArgMatches, Parser};
use degrain::cli::DeviceOptions;
use degrain::diffusion::{BetaSchedule, ProcessConfig};
use degrain::files::{FolderLock, print};
use degrain::output::{Layout, Picture, jsonl, note, stack};
use degrain::train::{Config, LogEntry, NetworkName, Outcome, Settings, Size, Trainer, on_interrupt};
use degrain::{Error, Result, cli};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// Trains and samples {linear, cosine} x {attention, none}; run it again to continue an interrupted
/// run
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten, next_help_heading = "Settings of all four runs [default: the preset's; --out: runs/ablation]")]
    settings: Settings,
}

fn main() -> ExitCode {
    cli::main(|| run(parse()))
}

/// Parses the command line, whose help leaves out the settings that differ between the runs.
fn parse() -> Arguments {
    let command = Arguments::command()
        .mut_arg("schedule", |option| option.hide(true))
        .mut_arg("attention", |option| option.hide(true))
        .mut_arg("out", |option| option.help("Folder of the four runs [default: runs/ablation]"));
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn run(arguments: Arguments) -> Result<()> {
    let asked = arguments.settings;
    for (option, given) in [("schedule", asked.schedule.is_some()), ("attention", asked.attention.is_some())] {
        if given {
            return Err(Error::Config(format!(
                "--{option}: this option differs between the four runs and cannot be set"
            )));
        }
    }
    let ctx = arguments.device.open()?;
    let out = asked.out.clone().unwrap_or_else(|| PathBuf::from("runs/ablation"));
    let _lock = FolderLock::acquire(&out)?;
    // The size is chosen for a run with attention, if the preset has any.
    let attention = asked.block_out_channels.as_ref().map(|channels| coarsest(channels.len()));
    let (sized, default) = Settings { attention, ..asked }.with_default_size(&ctx)?;
    let asked = Settings { attention: None, ..sized };
    if let Some(size) = default {
        print(format!("size      {size}\n"))?;
    }
    // All four are checked before the first is trained.
    let mut trainers: Vec<Trainer> = Vec::new();
    for schedule in ["linear", "cosine"] {
        for attention in [true, false] {
            let folder = out.join(format!("{schedule}-{}", if attention { "attention" } else { "none" }));
            let settings = settings(asked.clone(), schedule, attention, &folder)?;
            let trainer = match trainers.first() {
                None => Trainer::new(&ctx, settings)?,
                Some(first) => first.with_settings(settings)?,
            };
            let trainer = trainer.resume_or_start()?;
            refuse_other_settings(&trainer)?;
            trainers.push(trainer);
        }
    }
    let picture = out.join("ablation.png");
    if picture.exists() && trainers.iter().all(|trainer| trainer.finished_steps() == 0) {
        return Err(Error::file(
            picture,
            "does not belong to these runs, and they would replace it: choose another --out",
        ));
    }
    let interrupted = on_interrupt()?;
    let mut rows = Vec::new();
    for trainer in trainers {
        let folder = trainer.config().out.clone();
        if !train_one(trainer, &interrupted)? {
            return print("stopped and saved: run the same command again to continue\n");
        }
        rows.push(row(&folder)?);
    }
    let pictures: Vec<Picture> = rows.iter().map(|row| Picture::load_png(&row.picture)).collect::<Result<_>>()?;
    stack(&pictures, Layout::default()).save_png(&picture, &[("Software", "degrain")])?;
    print(format!("\n{:24} {:>16}\n", "run", "validation loss"))?;
    for row in &rows {
        print(format!("{:24} {:>16.5}\n", row.name, row.loss))?;
    }
    print(format!("\nsamples of the four runs, in this order, from the same noise: {}\n", picture.display()))
}

/// Attention at the coarsest of `levels`.
fn coarsest(levels: usize) -> Vec<bool> {
    (1..=levels).map(|level| level == levels).collect()
}

/// The settings of one run. `asked` has a size.
fn settings(asked: Settings, schedule: &str, attention: bool, folder: &Path) -> Result<Settings> {
    // The linear schedule has the most options.
    let linear = Settings { schedule: Some("linear".parse()?), ..asked.clone() };
    let usual = Settings { block_out_channels: None, ..linear.clone() }.resolve(Size::Tiny)?.attention;
    let levels = asked.block_out_channels.as_ref().map_or(usual.len(), Vec::len);
    // The preset's attention, if it has any at this number of levels.
    let usual = if levels == usual.len() && usual.contains(&true) { usual } else { coarsest(levels) };
    let config = Settings { attention: Some(usual.clone()), ..linear }.resolve(Size::Tiny)?;
    asked.check_effect(&config)?;
    let differ = config.process == ProcessConfig::Discrete
        && matches!(config.network, NetworkName::Unet | NetworkName::Residual);
    if !differ {
        return Err(Error::Config(
            "the four runs would not differ: use a preset with --process discrete and --network unet or residual, such \
             as ddpm"
                .into(),
        ));
    }
    if config.validation_count == 0 {
        return Err(Error::Config(
            "--validation-count 0: the runs are compared by their validation losses, which need 1 image or more".into(),
        ));
    }
    let schedule: BetaSchedule = schedule.parse()?;
    let levels = if attention { usual } else { vec![false; usual.len()] };
    Ok(Settings { schedule: Some(schedule), attention: Some(levels), out: Some(folder.into()), ..asked })
}

/// Refuses a finished run that was trained with other settings than asked for.
fn refuse_other_settings(trainer: &Trainer) -> Result<()> {
    let changed = trainer.changed_settings();
    if changed.is_empty() {
        return Ok(());
    }
    let (folder, changed) = (&trainer.config().out, changed.join(", "));
    if trainer.is_finished()? {
        let problem = format!("has finished with other settings ({changed}): give the same settings, or another --out");
        return Err(Error::file(folder, problem));
    }
    note(format_args!("{}: changed since the last start: {changed}", folder.display()));
    Ok(())
}

/// Trains a run to its end, from its last checkpoint if there is one. Returns false if it was
/// interrupted.
fn train_one(mut trainer: Trainer, stop: &AtomicBool) -> Result<bool> {
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
