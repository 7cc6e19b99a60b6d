//! The options of the command, and the run that they ask for.

use super::equivalent::Allowed;
use super::mutate::mutants;
use super::results::Results;
use super::run::run;
use super::shaders::{Shaders, link, sources};
use super::worker::{Process, Worker, work};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
usage: cargo xtask mutants [OPTION...] [NAME...]

Changes the shaders in one place at a time and checks that a kernel test fails. Checks the unchanged
shader first. The shaders are read at run time: `target/release/xtask mutants` tries a changed shader
without a build.

  NAME            Only shaders whose file name contains NAME or whose path starts with NAME [default: all]
  --list          Print the mutants without checking them
  --every N       Only every Nth mutant [default: 1]
  --seconds N     Time limit of a check [default: 60]
  --jobs N        Worker processes [default: the number of processors]
  --results FILE  Append the result of each mutant to FILE, and do not repeat those that it contains.
                  Delete FILE after a change of an operator or of its cases, except an additional case.
  --survivors     With --results: check the mutants again that survived

Each worker sets LP_NUM_THREADS to 1 if there are several, and keeps compiled kernels in target/mutants
(MESA_SHADER_CACHE_DIR), unless these variables are set.";

/// The command, with its arguments as [`HELP`] describes them.
pub fn main(args: &[String]) -> ExitCode {
    if args.first().is_some_and(|a| a == "--worker") {
        work(&mut Shaders::default());
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|argument| ["--help", "-h"].contains(&argument.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match start(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every mutant was detected and every entry of `equivalent.toml` is used.
fn start(options: &Options) -> Result<bool, String> {
    let wanted = |name: &str| options.wants(name);
    let sources: Vec<_> = sources().into_iter().filter(|(name, _)| wanted(name)).collect();
    if sources.is_empty() {
        return Err(format!("no shader in shaders/ matches {:?}", options.names));
    }
    let all = sources.iter().flat_map(|(name, text)| mutants(name, text, |text| link(name, text))).collect();
    let allowed = Allowed::parse(include_str!("equivalent.toml")).expect("equivalent.toml is valid");
    let (tried, mut problems) = allowed.split(all);
    problems.retain(|entry| entry.concerns(wanted));
    for entry in &problems {
        eprintln!("xtask/src/mutants/equivalent.toml: no mutant, or no reason, for {entry}");
    }
    let tried: Vec<_> = tried.into_iter().step_by(options.every).collect();
    if options.list {
        tried.iter().for_each(|m| println!("{m}"));
        println!("{} mutants of {} shaders", tried.len(), sources.len());
        return Ok(problems.is_empty());
    }
    let mut results = options.results.as_deref().map(Results::open).transpose()?.unwrap_or_default();
    if options.survivors {
        results.forget_survivors();
    }
    let worker = |_| Box::new(Process::new(options.jobs > 1)) as Box<dyn Worker>;
    let mut workers: Vec<_> = (0..options.jobs).map(worker).collect();
    let survived = run(&sources, &tried, options.limit, &mut workers, &mut results, &mut |line| println!("{line}"))?;
    Ok(survived == 0 && problems.is_empty())
}

struct Options {
    list: bool,
    every: usize,
    limit: Duration,
    jobs: usize,
    results: Option<PathBuf>,
    survivors: bool,
    names: Vec<String>,
}

impl Options {
    /// Whether a shader was requested by part of its file name, or by the start of its path.
    fn wants(&self, shader: &str) -> bool {
        let file = shader.rsplit('/').next().unwrap_or(shader);
        let matches = |name: &String| file.contains(name.as_str()) || shader.starts_with(name.as_str());
        self.names.is_empty() || self.names.iter().any(matches)
    }

    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            list: false,
            every: 1,
            limit: Duration::from_secs(60),
            jobs: std::thread::available_parallelism().map_or(1, NonZero::get),
            results: None,
            survivors: false,
            names: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || match args.next().and_then(|n| n.parse().ok()) {
                Some(n) if n > 0 => Ok(n),
                _ => Err(format!("{arg} needs a positive integer")),
            };
            match &arg[..] {
                "--list" => options.list = true,
                "--every" => options.every = number()?,
                "--seconds" => options.limit = Duration::from_secs(number()? as u64),
                "--jobs" => options.jobs = number()?,
                "--survivors" => options.survivors = true,
                "--results" => {
                    options.results = Some(args.next().ok_or_else(|| format!("{arg} needs a file"))?.into());
                }
                _ if arg.starts_with('-') => return Err(format!("unknown option {arg}")),
                name => options.names.push(name.to_string()),
            }
        }
        if options.survivors && options.results.is_none() {
            return Err("--survivors needs --results".into());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed() {
        let parse = |text: &str| Options::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>());
        let options = parse("--every 5 matmul --list --seconds 3 conv --jobs 2 --results f").expect("options");
        assert_eq!((options.every, options.limit.as_secs(), options.list, options.names.len()), (5, 3, true, 2));
        assert_eq!((options.jobs, options.results.as_deref()), (2, Some("f".as_ref())));
        assert!(options.wants("matmul.wgsl") && !options.wants("relu.wgsl"));
        let relu = parse("relu").expect("options");
        assert!(relu.wants("relu.wgsl") && !relu.wants("prelude/common.wgsl"));
        assert!(parse("prelude/").expect("options").wants("prelude/common.wgsl"));
        assert!(parse("--every 0").is_err() && parse("--every").is_err() && parse("--evry 3").is_err());
        assert!(parse("--results").is_err() && parse("--survivors").is_err());
    }
}
