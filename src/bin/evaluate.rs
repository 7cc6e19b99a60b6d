//! Evaluates a trained model, or compares evaluated models on one page.

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};
use degrain::cli::DeviceOptions;
use degrain::evaluate::html::EvaluatedRun;
use degrain::evaluate::{self, EvalOptions, EvalTarget, Evaluation};
use degrain::files::{print, write_atomically};
use degrain::metrics::feature_extractor::FeatureExtractor;
use degrain::output::note;
use degrain::ranks::{Communicator, Single};
use degrain::{Error, Result, cli};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

/// Evaluates a model: sample quality, likelihood, class balance, memorization and cost
#[derive(Parser)]
#[command(version)]
#[command(group = clap::ArgGroup::new("what").required(true))]
struct Arguments {
    /// Evaluate a run folder, a checkpoint folder or a diffusers folder
    #[arg(long, group = "what", value_name = "FOLDER")]
    checkpoint: Option<PathBuf>,
    /// Evaluate images from an npz file (arr_0: u8 N x H x W x C; optional arr_1: classes)
    #[arg(long, group = "what", value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Compare evaluated runs, or folders with an evaluation.json, on one HTML page
    #[arg(long, group = "what", value_name = "FOLDER", num_args = 1..)]
    compare: Vec<PathBuf>,
    /// HTML page of --compare
    #[arg(long, value_name = "FILE", default_value = "comparison.html", conflicts_with_all = ["checkpoint", "samples"])]
    page: PathBuf,
    #[command(flatten)]
    device: DeviceOptions,
    #[command(flatten)]
    options: EvalOptions,
}

fn main() -> ExitCode {
    let (arguments, given) = parse(std::env::args_os());
    cli::main_on_ranks(|ranks| run(&arguments, &given, &ranks))
}

/// Runs the program with this command line. The campaign of failing devices calls it.
pub fn run_with(command_line: impl IntoIterator<Item = OsString>) -> Result<()> {
    let (arguments, given) = parse(command_line);
    let ranks: Rc<dyn Communicator> = Rc::new(Single);
    run(&arguments, &given, &ranks)
}

/// The arguments, and the names of those on the command line.
fn parse(command_line: impl IntoIterator<Item = OsString>) -> (Arguments, Vec<String>) {
    let matches = Arguments::command().get_matches_from(command_line);
    let from_user = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let given = matches.ids().map(clap::Id::as_str).filter(|id| from_user(id)).map(String::from).collect();
    (Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()), given)
}

/// `given` are the options on the command line.
fn run(arguments: &Arguments, given: &[String], ranks: &Rc<dyn Communicator>) -> Result<()> {
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    if !arguments.compare.is_empty() {
        // A group has the name of a struct or of its options' choice.
        let own = |id: &str| ["compare", "page", "what"].contains(&id) || id.starts_with(char::is_uppercase);
        if let Some(option) = given.iter().find(|id| !own(id)) {
            return Err(Error::Config(format!(
                "--{} has no effect with --compare, which evaluates nothing. Leave the option out",
                option.replace('_', "-")
            )));
        }
        return if ranks.is_first() { compare(&arguments.compare, &arguments.page) } else { Ok(()) };
    }
    let options = &arguments.options;
    let (path, target) = match (&arguments.checkpoint, &arguments.samples) {
        (Some(path), _) => (path, EvalTarget::from_checkpoint(path, options)?),
        (None, Some(path)) => (path, EvalTarget::from_samples(path, options)?),
        (None, None) => return Err(Error::Config("--checkpoint or --samples is required".into())),
    };
    target.warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    print_notes(&target.train.notes, &target.test.notes);
    options.check_effect(&target, &given)?;
    let extractor = FeatureExtractor::open(&options.feature_extractor)?;
    let ctx = arguments.device.open_shared(ranks.clone())?;
    let folder = options.out.clone().unwrap_or_else(|| target.default_folder(path));
    let archive = options.save_samples.as_deref();
    if ranks.is_first() {
        evaluate::check_outputs(&folder, archive)?;
    }
    if let Some(archive) = archive.filter(|archive| archive.exists()) {
        note(format_args!("{} will be replaced", archive.display()));
    }
    if folder.join(Evaluation::FILE).exists() {
        note(format_args!("the evaluation in {} will be replaced", folder.display()));
    }
    let output = evaluate::run(&ctx, &target, &extractor, options, &folder)?;
    if !ranks.is_first() {
        return Ok(());
    }
    evaluate::write(&output, &folder, archive, &target.train)?;
    print(evaluate::table(&output.evaluation))?;
    print(format!("\n{}\n", folder.join(Evaluation::FILE).display()))
}

/// Prints the notes of both splits of the data, and those that both have only once.
fn print_notes(train: &[String], test: &[String]) {
    let print = |what: &str, text: &str| text.lines().for_each(|line| note(format_args!("{what}: {line}")));
    for text in train {
        print(if test.contains(text) { "training and test images, each" } else { "training images" }, text);
    }
    test.iter().filter(|text| !train.contains(text)).for_each(|text| print("test images", text));
}

fn compare(folders: &[PathBuf], page: &Path) -> Result<()> {
    let runs = folders.iter().map(|folder| EvaluatedRun::open(folder)).collect::<Result<Vec<_>>>()?;
    let html = evaluate::html::page(&runs)?;
    let replaced = if page.exists() { " (replaced)" } else { "" };
    write_atomically(page, html.as_bytes())?;
    if !runs.windows(2).all(|pair| pair[0].same_counts(&pair[1])) {
        note(format_args!(
            "warning: the runs were evaluated with different numbers of images or by another version, so their FD, \
             precision and recall cannot be compared"
        ));
    }
    print(evaluate::comparison(runs.iter().map(|run| (run.name(), &run.evaluation))))?;
    print(format!("\n{}{replaced}\n", page.display()))
}
