//! Measures what a model learned, and compares models on a page.

use clap::Parser;
use degrain::evaluate::html::Run;
use degrain::evaluate::{self, EvalTarget, Evaluation, Options};
use degrain::files::{print, write_atomically};
use degrain::gpu::Context;
use degrain::metrics::feature_extractor::FeatureExtractor;
use degrain::{Error, Result, cli};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measures what a model learned: quality, likelihood, balance, memorisation and cost
#[derive(Parser)]
#[command(version)]
#[command(group = clap::ArgGroup::new("what").required(true))]
struct Arguments {
    /// Evaluate this run folder, checkpoint folder, or diffusers folder
    #[arg(long, group = "what")]
    checkpoint: Option<PathBuf>,
    /// Evaluate images from elsewhere: an npz file with arr_0, u8 N x H x W x C, and if there are classes arr_1
    #[arg(long, group = "what", value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Compare on one page: runs that were evaluated before, or folders that hold an evaluation.json
    #[arg(long, group = "what", value_name = "RUN", num_args = 1..)]
    compare: Vec<PathBuf>,
    /// Where to write the page of --compare
    #[arg(long, value_name = "FILE", default_value = "comparison.html", conflicts_with_all = ["checkpoint", "samples"])]
    page: PathBuf,
    /// Adapter, by number or part of its name
    #[arg(long)]
    adapter: Option<String>,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    cli::main(|| run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.compare.is_empty() {
        return compare(&arguments.compare, &arguments.page);
    }
    let options = &arguments.options;
    let (path, target) = match (&arguments.checkpoint, &arguments.samples) {
        (Some(path), _) => (path, EvalTarget::checkpoint(path, options.data.as_deref())?),
        (None, Some(path)) => (path, EvalTarget::images(path, options.data.as_deref())?),
        (None, None) => return Err(Error::Config("give --checkpoint or --samples".into())),
    };
    target.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let ruler = FeatureExtractor::read(&options.feature_extractor)?;
    let ctx = Context::open(arguments.adapter.as_deref())?;
    let folder = options.out.clone().unwrap_or_else(|| target.usual_folder(path));
    if let Some(archive) = options.save_samples.as_deref() {
        // Before hours of drawing.
        let place = archive.parent().filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !place.is_dir() {
            return Err(Error::file(place, "there is no such folder for --save-samples: make it, or name another"));
        }
        if archive.exists() {
            eprintln!("{} will be replaced", archive.display());
        }
    }
    if folder.join(Evaluation::FILE).exists() {
        eprintln!("the evaluation in {} will be replaced", folder.display());
    }
    let measured = evaluate::measure(&ctx, &target, &ruler, options, &folder)?;
    evaluate::write(&measured, &folder, options.save_samples.as_deref(), &target.train)?;
    print(evaluate::table(&measured.evaluation))?;
    print(format!("\n{}\n", folder.join(Evaluation::FILE).display()))
}

fn compare(runs: &[PathBuf], page: &Path) -> Result<()> {
    let runs = runs.iter().map(|run| Run::read(run)).collect::<Result<Vec<_>>>()?;
    let html = evaluate::html::page(&runs)?;
    let replaced = if page.exists() { " (replaced)" } else { "" };
    write_atomically(page, html.as_bytes())?;
    let counts = |run: &Run| (run.evaluation.quality.counts, run.evaluation.quality.neighbour_images);
    if runs.windows(2).any(|pair| counts(&pair[0]) != counts(&pair[1])) {
        eprintln!(
            "warning: the runs were evaluated with different numbers of images, on which distances, their floors, precision and recall depend"
        );
    }
    print(evaluate::comparison(runs.iter().map(|run| (run.name(), &run.evaluation))))?;
    print(format!("\n{}{replaced}\n", page.display()))
}
