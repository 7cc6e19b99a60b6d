//! Trains, samples and evaluates all runs of an experiment (`experiments/*.toml`) with the programs
//! next to this one. What is finished is not done again, so the same command continues.

mod plan;
mod report;
mod seeds;

use degrain::checkpoint::latent_mixture;
use degrain::evaluate::Evaluation;
use degrain::files::{create_folder, write_atomically};
use degrain::output::jsonl;
use degrain::train::{Config, LogEntry};
use plan::{Experiment, Run, Samples};
use report::Row;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const PROGRAMS: [&str; 3] = ["train", "sample", "evaluate"];

/// The arguments: the file, and optionally `--out FOLDER`, `--document` and names of runs.
pub fn main(arguments: &[String]) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Where an experiment's results go.
struct Places {
    /// The folder of the programs.
    programs: PathBuf,
    /// The folder of the runs.
    out: PathBuf,
}

fn run(arguments: &[String]) -> Result<(), String> {
    let (file, rest) = arguments.split_first().ok_or("no file: give one of experiments/*.toml")?;
    let file = Path::new(file);
    let experiment = Experiment::read(file)?;
    let mut out = experiment.folder.clone();
    let (mut document, mut names) = (false, vec![]);
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--out" => out = rest.next().ok_or("--out: no folder")?.into(),
            "--document" => document = true,
            name if experiment.runs.iter().any(|run| run.name == name) => names.push(name),
            name => return Err(format!("there is no run `{name}` in {}", file.display())),
        }
    }
    let program = std::env::current_exe().map_err(|problem| format!("this program's path: {problem}"))?;
    let programs = program.parent().unwrap_or(Path::new("")).to_path_buf();
    let suffix = std::env::consts::EXE_SUFFIX;
    if let Some(missing) = PROGRAMS.iter().find(|name| !programs.join(format!("{name}{suffix}")).exists()) {
        return Err(format!("{missing} is not built: run `cargo build --release --bins` first"));
    }
    if document {
        check_document(&experiment, Path::new(""))?;
    }
    create_folder(&out).map_err(|problem| problem.to_string())?;
    let places = Places { programs, out };
    // A run that guides the samples of a chosen run is trained too.
    let guides = |run: &Run| run.samples.iter().filter_map(|samples| samples.classifier.clone()).collect::<Vec<_>>();
    let chosen: Vec<&Run> = experiment.runs.iter().filter(|run| names.contains(&run.name.as_str())).collect();
    let guides: Vec<String> = chosen.into_iter().flat_map(guides).collect();
    names.extend(guides.iter().map(String::as_str));
    let mut rows = vec![];
    for run in &experiment.runs {
        let chosen = names.is_empty() || names.contains(&run.name.as_str());
        if chosen {
            places.train(run)?;
        }
        for samples in &run.samples {
            if chosen {
                places.evaluate(&experiment, run, samples)?;
            }
            // The table has the results of other runs, too.
            if chosen || places.is_evaluated(&experiment, run, samples) {
                rows.push(places.row(&experiment, run, samples)?);
            }
        }
    }
    if rows.is_empty() {
        println!("\n{}: nothing is evaluated yet", experiment.title);
        return Ok(());
    }
    println!("\n{}\n\n{}", experiment.title, tables(&rows));
    let page = places.page(&rows)?;
    if document { write_document(&experiment, &rows, &page) } else { Ok(()) }
}

impl Places {
    /// The folder of a run.
    fn folder(&self, run: &str) -> PathBuf {
        self.out.join(run)
    }

    /// Trains a run to its end.
    fn train(&self, run: &Run) -> Result<(), String> {
        let folder = self.folder(&run.name);
        if finished_images(&folder).is_some() {
            return check_command(&folder.with_extension("train"), &run.train);
        }
        if folder.exists() {
            check_command(&folder.with_extension("train"), &run.train)?;
        } else {
            write(&folder.with_extension("train"), &run.train)?;
        }
        if has_checkpoint(&folder) {
            self.call("train", "", &[("--resume", &folder)])?;
        } else {
            self.call("train", &run.train, &[("--out", &folder)])?;
        }
        match finished_images(&folder) {
            Some(_) => Ok(()),
            None => Err(format!(
                "{}: not at its end (the last checkpoint, and for an autoencoder {}): the same command continues",
                folder.display(),
                latent_mixture::FILE
            )),
        }
    }

    /// The folder of the results of samples.
    fn results(&self, run: &Run, samples: &Samples) -> PathBuf {
        self.folder(&run.name).join(format!("evaluation-{}", samples.name))
    }

    /// Whether samples were evaluated with these options.
    fn is_evaluated(&self, experiment: &Experiment, run: &Run, samples: &Samples) -> bool {
        let record = self.results(run, samples).with_extension("command");
        check_command(&self.folder(&run.name).with_extension("train"), &run.train).is_ok()
            && check_command(&record, &evaluation_command(experiment, samples)).is_ok()
    }

    /// Samples and evaluates, unless the same was done before.
    fn evaluate(&self, experiment: &Experiment, run: &Run, samples: &Samples) -> Result<(), String> {
        if self.is_evaluated(experiment, run, samples) {
            return Ok(());
        }
        let (folder, results) = (self.folder(&run.name), self.results(run, samples));
        let of_run = ("--checkpoint", folder.as_path());
        if let Some(guide) = &samples.classifier {
            let (guide, archive) = (self.folder(guide), folder.join(format!("{}.npz", samples.name)));
            let options = format!("--count {} {}", count(&experiment.evaluate), samples.options);
            self.call("sample", &options, &[of_run, ("--classifier", &guide), ("--out", &archive)])?;
            let options = of_images(&experiment.evaluate);
            self.call("evaluate", &options, &[("--samples", &archive), ("--out", &results)])?;
        } else {
            let options = format!("{} {}", experiment.evaluate, samples.options);
            self.call("evaluate", &options, &[of_run, ("--out", &results)])?;
        }
        write(&results.with_extension("command"), &evaluation_command(experiment, samples))
    }

    /// The results of evaluated samples.
    fn row(&self, experiment: &Experiment, run: &Run, samples: &Samples) -> Result<Row, String> {
        let (folder, results) = (self.folder(&run.name), self.results(run, samples));
        let text = results.join(Evaluation::FILE);
        let text = std::fs::read_to_string(&text).map_err(|problem| format!("{}: {problem}", text.display()))?;
        let evaluation: Evaluation = serde_json::from_str(&text).map_err(|problem| problem.to_string())?;
        let pictures = experiment.pictures.clone().unwrap_or_default();
        Ok(Row {
            name: samples.name.clone(),
            group: samples.group.clone(),
            commands: shown(experiment, run, samples),
            trained: finished_images(&folder).ok_or_else(|| format!("{}: is not trained", folder.display()))?,
            seconds: trained_seconds(&folder)?,
            picture: format!("{}/{}.png", pictures.file_name().unwrap_or_default().display(), samples.name),
            results,
            evaluation,
        })
    }

    /// Writes the page of `evaluate --compare`. The result is its path.
    fn page(&self, rows: &[Row]) -> Result<PathBuf, String> {
        let evaluations: Vec<&Path> = rows.iter().map(|row| row.results.as_path()).collect();
        let page = self.out.join("comparison.html");
        let mut command = self.command("evaluate");
        command.arg("--compare").args(&evaluations).arg("--page").arg(&page);
        call(command)?;
        Ok(page)
    }

    fn command(&self, program: &str) -> Command {
        Command::new(self.programs.join(format!("{program}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Runs a program with options and paths.
    fn call(&self, program: &str, options: &str, paths: &[(&str, &Path)]) -> Result<(), String> {
        let mut command = self.command(program);
        command.args(options.split_whitespace());
        for (option, path) in paths {
            command.arg(option).arg(path);
        }
        call(command)
    }
}

/// Refuses results that another command made.
fn check_command(record: &Path, command: &str) -> Result<(), String> {
    match std::fs::read_to_string(record) {
        Ok(made) if made == command => Ok(()),
        Ok(made) => Err(format!(
            "{}: was made with `{made}`, not with `{command}`: remove its folder, or give another --out",
            record.display()
        )),
        Err(problem) => Err(format!(
            "{}: {problem}. It holds the command that made the folder next to it: remove that folder, or give another \
             --out",
            record.display()
        )),
    }
}

/// What is recorded of an evaluation, to notice that it was made with other options.
fn evaluation_command(experiment: &Experiment, samples: &Samples) -> String {
    format!("{} {} {:?}", experiment.evaluate, samples.options, samples.classifier)
}

/// Runs a command and prints it first.
fn call(mut command: Command) -> Result<(), String> {
    let name = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
    let program = Path::new(command.get_program()).file_name().map(name).unwrap_or_default();
    let arguments: Vec<String> = command.get_args().map(name).collect();
    println!("\n$ {program} {}", arguments.join(" "));
    let status = command.status().map_err(|problem| format!("{program}: {problem}"))?;
    if status.success() { Ok(()) } else { Err(format!("{program} failed ({status})")) }
}

/// Whether a run has a checkpoint to continue from.
fn has_checkpoint(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint-"))
}

/// Images that a finished run was trained on. An autoencoder's latents are fitted after its last
/// checkpoint.
fn finished_images(folder: &Path) -> Option<u64> {
    let config = Config::read(folder).ok()?;
    let checkpoint = folder.join(format!("checkpoint-{}", config.steps));
    let fitted = config.latent_components == 0 || checkpoint.join(latent_mixture::FILE).is_file();
    (checkpoint.is_dir() && fitted).then(|| u64::from(config.steps) * u64::from(config.batch))
}

/// Seconds that a run was trained for, by its log.
fn trained_seconds(folder: &Path) -> Result<f64, String> {
    let log = folder.join("log.jsonl");
    let entries: Vec<LogEntry> = jsonl::read(&log).map_err(|problem| problem.to_string())?;
    let mut seconds = entries.iter().rev().filter_map(|entry| match entry {
        LogEntry::Step { seconds, .. } => Some(seconds.trained),
        _ => None,
    });
    seconds.next().ok_or_else(|| format!("{}: has no training step", log.display()))
}

/// The commands of a document. Their folders are not those of the experiment.
fn shown(experiment: &Experiment, run: &Run, samples: &Samples) -> Vec<String> {
    let folder = |run: &str| format!("{}-{run}", experiment.folder.display());
    let train = format!("train {} --out {}", run.train, folder(&run.name));
    let options = if samples.options.is_empty() { String::new() } else { format!(" {}", samples.options) };
    let of_run = format!("--checkpoint {}", folder(&run.name));
    match &samples.classifier {
        None => vec![train, format!("evaluate {of_run} {}{options}", experiment.evaluate)],
        Some(guide) => vec![
            train,
            format!(
                "sample {of_run} --count {}{options} --classifier {} --out {}.npz",
                count(&experiment.evaluate),
                folder(guide),
                samples.name
            ),
            format!("evaluate --samples {}.npz {}", samples.name, of_images(&experiment.evaluate)),
        ],
    }
}

/// The value of `--count` in options; empty without it.
fn count(options: &str) -> &str {
    let mut words = options.split_whitespace();
    words.find(|word| *word == "--count").and_then(|_| words.next()).unwrap_or_default()
}

/// The options of `evaluate` that also measure images from a file, each with a value.
const OF_IMAGES: &[&str] = &[
    "--adapter",
    "--kernels",
    "--data",
    "--feature-extractor",
    "--feature-cache",
    "--seed",
    "--cas-steps",
    "--nearest-count",
];

/// Options without the ones that images from a file do not take.
fn of_images(options: &str) -> String {
    let words: Vec<&str> = options.split_whitespace().collect();
    let options = words.chunk_by(|_, next| !next.starts_with("--"));
    options.filter(|option| OF_IMAGES.contains(&option[0])).flatten().copied().collect::<Vec<_>>().join(" ")
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    write_atomically(path, text.as_bytes()).map_err(|problem| problem.to_string())
}

/// The results of every run, and the means over the seeds.
fn tables(rows: &[Row]) -> String {
    let of_seeds = seeds::table(rows).map_or(String::new(), |table| format!("\n{table}"));
    format!("{}{of_seeds}", report::table(rows))
}

/// Checks that the results fit into the experiment's document, before hours of training. Paths are
/// relative to `root`.
fn check_document(experiment: &Experiment, root: &Path) -> Result<(), String> {
    let document = root.join(experiment.document.as_ref().ok_or("--document: the experiment names no document")?);
    let named = |problem: String| format!("{}: {problem}", document.display());
    let text = std::fs::read_to_string(&document).map_err(|problem| named(problem.to_string()))?;
    let figures = experiment.runs.iter().flat_map(|run| &run.samples).map(|samples| &samples.name);
    let figures = figures.filter(|_| experiment.pictures.is_some());
    for name in [&experiment.title].into_iter().chain(figures) {
        report::replace(&text, name, "").map_err(named)?;
    }
    let folders = [experiment.pictures.as_deref(), experiment.page.as_deref().and_then(Path::parent)];
    match folders.into_iter().flatten().map(|folder| root.join(folder)).find(|folder| !folder.is_dir()) {
        Some(folder) => Err(format!("{}: this folder of {} does not exist", folder.display(), document.display())),
        None => Ok(()),
    }
}

/// Writes the results into the experiment's document, and copies the pictures and the page.
fn write_document(experiment: &Experiment, rows: &[Row], page: &Path) -> Result<(), String> {
    let document = experiment.document.as_ref().ok_or("--document: the experiment names no document")?;
    let named = |problem: String| format!("{}: {problem}", document.display());
    let mut text = std::fs::read_to_string(document).map_err(|problem| named(problem.to_string()))?;
    text = report::replace(&text, &experiment.title, &tables(rows)).map_err(named)?;
    if let Some(pictures) = &experiment.pictures {
        for row in rows {
            text = report::replace(&text, &row.name, &report::figure(row)).map_err(named)?;
            copy(&row.results.join("grid.png"), &pictures.join(format!("{}.png", row.name)))?;
        }
    }
    if let Some(shown) = &experiment.page {
        copy(page, shown)?;
    }
    write(document, &text)?;
    println!("wrote {}", document.display());
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let bytes = std::fs::read(from).map_err(|problem| format!("{}: {problem}", from.display()))?;
    write_atomically(to, &bytes).map_err(|problem| problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use degrain::train::{Settings, Size};
    use tempfile::TempDir;

    #[test]
    fn experiments_of_the_repository_fit_their_documents() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = std::fs::read_dir(root.join("experiments")).unwrap().map(|entry| entry.unwrap().path());
        let mut documents = 0;
        for file in files {
            let experiment = Experiment::read(&file).unwrap();
            if experiment.document.is_some() {
                check_document(&experiment, &root).unwrap();
                documents += 1;
            }
        }
        assert!(documents >= 5, "the gallery and the comparisons");
    }

    #[test]
    fn autoencoder_is_finished_when_its_latents_are_fitted() {
        for (preset, fits) in [("ddpm", false), ("vae", true)] {
            let folder = TempDir::new().unwrap();
            let settings =
                Settings { preset: Some(preset.into()), steps: Some(7), batch: Some(3), ..Settings::default() };
            let config = settings.resolve(Size::Tiny).unwrap().to_toml().unwrap();
            std::fs::write(folder.path().join("config.toml"), config).unwrap();
            assert_eq!(finished_images(folder.path()), None);
            let checkpoint = folder.path().join("checkpoint-7");
            std::fs::create_dir(&checkpoint).unwrap();
            assert_eq!(finished_images(folder.path()), (!fits).then_some(21), "{preset}");
            std::fs::write(checkpoint.join(latent_mixture::FILE), "").unwrap();
            assert_eq!(finished_images(folder.path()), Some(21), "{preset}");
        }
    }

    #[test]
    fn shown_commands_have_folders_named_after_the_experiment() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("digits.toml");
        let text = "title = 't'\nevaluate = '--count 9'\n[[runs]]\nname = 'guide'\ntrain = '--steps 1'\nsampled = false\n\
                    [[runs]]\nname = 'm'\ntrain = '--steps 2'\n[[runs.samples]]\nname = 's'\nclassifier = 'guide'\n\
                    [[runs.samples]]\nname = 'r'\noptions = '--steps 3'\n";
        std::fs::write(&file, text).unwrap();
        let experiment = Experiment::read(&file).unwrap();
        let run = &experiment.runs[1];
        let train = "train --steps 2 --out runs/digits-m";
        let sample = "sample --checkpoint runs/digits-m --count 9 --classifier runs/digits-guide --out s.npz";
        assert_eq!(shown(&experiment, run, &run.samples[0])[..2], [train, sample]);
        let evaluate = "evaluate --checkpoint runs/digits-m --count 9 --steps 3";
        assert_eq!(shown(&experiment, run, &run.samples[1]), [train, evaluate]);
    }

    #[test]
    fn images_from_a_file_take_no_options_of_sampling() {
        let options = "--count 500 --balance-count 0 --cas-steps 0 --guidance -1 --batch 250 --padded --data d";
        assert_eq!(of_images(options), "--cas-steps 0 --data d");
        assert_eq!(of_images(""), "");
    }
}
