//! Trains a diffusion model: `train` alone trains a class-conditional DDPM on the bundled MNIST.

use clap::{Parser, ValueEnum};
use degrain::cli::DeviceOptions;
use degrain::files::{print, shell_quoted};
use degrain::gpu::list_adapters;
use degrain::output::note;
use degrain::ranks::Communicator;
use degrain::train::{InitialModel, Inspection, Outcome, ResumePath, Settings, Size, Trainer, on_interrupt};
use degrain::{Error, Result, cli};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// Trains a diffusion model; without options, a class-conditional DDPM on the bundled MNIST
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// TOML file with settings, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Continue this run from its last checkpoint, or from RUN/checkpoint-STEP, with its settings;
    /// options override them. With --out, it continues as a new run in that folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["preset", "size", "config"])]
    resume: Option<PathBuf>,
    /// Start a new run from the weights of a run, a checkpoint, or a diffusers folder, with its
    /// network and process
    #[arg(long, value_name = "CHECKPOINT")]
    init_from: Option<PathBuf>,
    /// The class that means "no label" in a diffusers folder of --init-from
    #[arg(long, value_name = "CLASS", requires = "init_from")]
    null_class: Option<u32>,
    /// Save a checkpoint and stop after this number of steps, counted from the start of the run
    #[arg(long, value_name = "STEPS", conflicts_with_all = ["list_adapters", "show_settings", "dry_run", "listing", "profile", "verify"])]
    stop_after: Option<u32>,
    #[command(flatten)]
    device: DeviceOptions,
    /// List the adapters, then stop
    #[arg(long)]
    list_adapters: bool,
    /// Print all settings as TOML, which --config reads, then stop
    #[arg(long)]
    show_settings: bool,
    /// Print the model, and the kernel calls, FLOPs and memory of a training step, then stop
    #[arg(long)]
    dry_run: bool,
    /// Print every kernel call of a training step, then stop
    #[arg(long)]
    listing: bool,
    /// Measure the time of every kernel of a training step, then stop
    #[arg(long)]
    profile: bool,
    /// Check every kernel call of a training step against its reference, then stop
    #[arg(long)]
    verify: bool,
    #[command(
        flatten,
        next_help_heading = "Settings [default: from --config, then from the preset; --show-settings prints them]"
    )]
    settings: Settings,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::main_on_ranks(|ranks| run(arguments, ranks))
}

fn run(arguments: Arguments, ranks: Rc<dyn Communicator>) -> Result<()> {
    if arguments.list_adapters {
        return list_adapters().iter().try_for_each(|adapter| print(format!("{adapter}\n")));
    }
    let ctx = arguments.device.open_on(&*ranks)?;
    let given = arguments.settings;
    let forks = given.out.is_some();
    let resume = arguments.resume.as_deref().map(ResumePath::new);
    let settings = match (&resume, &arguments.config) {
        (Some(path), _) => given.clone().or_those_of_run(&path.run)?,
        (None, Some(file)) => given.clone().or(Settings::read(file)?),
        (None, None) => given.clone(),
    };
    if arguments.init_from.is_some() && resume.is_some() {
        return Err(Error::Config(
            "--init-from starts a new run, and --resume continues one, which needs no other weights: leave one of them out"
                .into(),
        ));
    }
    let open = |path| InitialModel::open(path, arguments.null_class);
    let initial = arguments.init_from.as_deref().map(open).transpose()?;
    let settings = match &initial {
        Some(initial) => {
            let (settings, warnings) = initial.settings(settings)?;
            warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
            settings
        }
        None => settings,
    };
    if arguments.show_settings {
        let (settings, default) = settings.with_default_size(&ctx)?;
        let config = settings.clone().resolve(Size::Tiny)?;
        given.check_effect(&config)?;
        let reason = default.map_or(String::new(), |size| format!("# size: {size}\n"));
        let mut toml = config.to_toml()?;
        if settings.validation_count.is_none() {
            // The file must mean the same for every data set.
            let line = format!("validation_count = {}\n", config.validation_count);
            toml = toml.replace(&line, &format!("# {}# unless 5 % of the images are less\n", line));
        }
        return print(reason + &toml);
    }
    // Rank 0 chooses a size that is not given, and tells the others when its trainer has it.
    let chosen = settings.size.is_none() && ranks.is_one_of_several();
    let settings = if chosen && !ranks.is_first() { with_size_of_first(settings, &*ranks)? } else { settings };
    let trainer = Trainer::new(&ctx, settings.clone());
    if let (Err(_), Some(path)) = (&trainer, &resume) {
        settings.check_resumption(&path.run)?;
    }
    let mut trainer = trainer?.stop_after(arguments.stop_after).on_ranks(ranks.clone())?;
    if chosen && ranks.is_first() {
        ranks.broadcast(&mut trainer.config().size.to_string().into_bytes());
    }
    given.check_effect(trainer.config())?;
    print(trainer.describe())?;
    let mut change = None;
    if let Some(initial) = &initial {
        (trainer, change) = trainer.init_from(initial)?;
    }
    if let Some(path) = &resume {
        trainer = match path.step {
            _ if forks => trainer.fork(&path.run, path.step)?,
            Some(step) => trainer.resume_from(step)?,
            None => trainer.resume()?,
        };
        for changed in trainer.changed_settings() {
            note(format_args!("changed since the last start: {changed}"));
        }
    }
    if let Some(origin) = trainer.origin() {
        print(format!("origin    {origin}\n"))?;
    }
    if let Some(change) = change {
        print(format!("          {change}\n"))?;
    }
    if arguments.dry_run || arguments.listing || arguments.profile || arguments.verify {
        let Arguments { listing, profile, verify, .. } = arguments;
        let inspection = Inspection { listing, profile, verify };
        return if ranks.is_first() { trainer.inspect(inspection) } else { Ok(()) };
    }
    let outcome = trainer.run(&*on_interrupt()?)?;
    let folder = shell_quoted(&trainer.config().out);
    let [train, sample] = ["train", "sample"].map(cli::start_of);
    match outcome {
        Outcome::Stopped(step) if step == trainer.config().steps => print(format!(
            "stopped after the last step, and saved. Make the measurements that are missing with:\n  \
             {train} --resume {folder}\n"
        )),
        Outcome::Stopped(step) => {
            print(format!("stopped after step {step} and saved. Continue with:\n  {train} --resume {folder}\n"))
        }
        Outcome::Finished if trainer.objective().generative().is_some() => print(format!(
            "finished: {folder}. Look at its images, or sample more:\n  \
             {sample} --checkpoint {folder}\n"
        )),
        Outcome::Finished => print(format!("finished: {folder}\n")),
    }
}

/// Settings with the size that rank 0 chose for its device, on another rank.
fn with_size_of_first(settings: Settings, ranks: &dyn Communicator) -> Result<Settings> {
    let mut name = vec![];
    ranks.broadcast(&mut name);
    let size = Size::from_str(&String::from_utf8_lossy(&name), false);
    let size = size.map_err(|e| Error::Config(format!("the size that rank 0 chose: {e}")))?;
    Ok(Settings { size: Some(size), ..settings })
}
