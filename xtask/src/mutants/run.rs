//! The mutation run: compiles and checks every mutant of every shader. A mutant that passes all
//! checks shows that a test is missing.
//!
//! A mutant may loop without end or crash the driver, so a worker process checks it: this same
//! program, called with `--worker`. The worker reads a mutant as one line of JSON and answers with
//! one line. If it dies or does not answer in time, the mutant counts as detected, and a new worker
//! starts.

use super::mutate::{Mutant, mutants};
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The interface to the crate under test.
pub trait Kernels {
    /// Every shader file to change: its name below shaders/ and its text.
    fn sources(&self) -> Vec<(String, String)>;

    /// A complete module in which `text` replaces the file `name`.
    fn link(&self, name: &str, text: &str) -> String;

    /// Runs the kernel tests of all operators that use the file, with `text` in place of it.
    /// Returns the first mismatch as the error.
    fn check(&mut self, name: &str, text: &str) -> Result<(), String>;
}

/// Result of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Passed,
    /// The message of the failed test.
    Failed(String),
    TimedOut,
    Crashed,
}

const HELP: &str = "\
usage: cargo xtask mutants [--list] [--every N] [--seconds N] [NAME...]

Changes the shaders in one place at a time and checks that a kernel test fails. Checks the unchanged
shader first. The shaders are read at run time: `target/release/xtask mutants` tries a changed shader
without a build.

  NAME           Only shaders whose file name contains NAME or whose path starts with NAME [default: all]
  --list         Print the mutants without checking them
  --every N      Only every Nth mutant [default: 1]
  --seconds N    Time limit of a check [default: 60]";

/// Printed after the survivors.
const ADVICE: &str = "\
A mutant survives if no test notices the change. If a test is missing, add a case to `edge` in the
operator's file in src/ops. If the change has no effect, add the mutant to
xtask/src/mutants/equivalent.toml with the reason.";

/// The command, with its arguments as [`HELP`] describes them.
pub fn main<K: Kernels>(args: &[String], kernels: impl FnOnce() -> K, equivalent: &str) -> ExitCode {
    if args.first().is_some_and(|a| a == "--worker") {
        work(&mut kernels());
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
    let kernels = kernels();
    let wanted = |name: &str| options.wants(name);
    let sources: Vec<_> = kernels.sources().into_iter().filter(|(name, _)| wanted(name)).collect();
    if sources.is_empty() {
        eprintln!("no shader in shaders/ matches {:?}", options.names);
        return ExitCode::from(2);
    }
    let all = sources.iter().flat_map(|(name, text)| mutants(name, text, |text| kernels.link(name, text))).collect();
    let allowed: Allowed = toml::from_str(equivalent).expect("equivalent.toml is valid");
    let (tried, mut problems) = allowed.split(all);
    problems.retain(|entry| wanted(&entry.shader));
    for entry in &problems {
        eprintln!(
            "xtask/src/mutants/equivalent.toml: no mutant changes {} -> {} in '{}', or the entry has no reason",
            entry.before, entry.after, entry.line
        );
    }
    let tried: Vec<_> = tried.into_iter().step_by(options.every).collect();
    if options.list {
        tried.iter().for_each(|m| println!("{m}"));
        println!("{} mutants of {} shaders", tried.len(), sources.len());
        return ExitCode::from(!problems.is_empty() as u8);
    }
    let mut worker = Process::default();
    match drive(&sources, &tried, options.limit, &mut worker, &mut |line| println!("{line}")) {
        Ok(0) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    list: bool,
    every: usize,
    limit: Duration,
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
        let mut options = Self { list: false, every: 1, limit: Duration::from_secs(60), names: Vec::new() };
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
                _ if arg.starts_with('-') => return Err(format!("unknown option {arg}")),
                name => options.names.push(name.to_string()),
            }
        }
        Ok(options)
    }
}

/// The file of mutants that no test can detect.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Allowed {
    #[serde(default)]
    equivalent: Vec<Entry>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
struct Entry {
    shader: String,
    line: String,
    column: Option<usize>,
    before: String,
    after: String,
    why: String,
}

impl Entry {
    fn fits(&self, m: &Mutant) -> bool {
        (&self.shader, &self.line, &self.before, &self.after) == (&m.name, &m.source, &m.before, &m.after)
            && self.column.is_none_or(|column| column == m.column)
    }
}

impl Allowed {
    /// The mutants to check, and the entries that match no mutant or give no reason.
    fn split(self, mutants: Vec<Mutant>) -> (Vec<Mutant>, Vec<Entry>) {
        let idle = |e: &Entry| e.why.trim().is_empty() || !mutants.iter().any(|m| e.fits(m));
        let stale = self.equivalent.iter().filter(|e| idle(e)).cloned().collect();
        let tried = mutants.into_iter().filter(|m| !self.equivalent.iter().any(|e| e.fits(m))).collect();
        (tried, stale)
    }
}

/// Checks one shader text at a time.
pub trait Worker {
    fn check(&mut self, name: &str, text: &str, limit: Duration) -> Verdict;
}

/// Checks all mutants, reports the survivors and returns their number. An unchanged shader that
/// fails is an error.
fn drive(
    sources: &[(String, String)],
    mutants: &[Mutant],
    limit: Duration,
    worker: &mut dyn Worker,
    say: &mut dyn FnMut(String),
) -> Result<usize, String> {
    let (mut survived, mut stuck, mut crashed) = (Vec::new(), 0, 0);
    let start = Instant::now();
    for (name, text) in sources {
        match worker.check(name, text, limit) {
            Verdict::Passed => {}
            other => return Err(format!("shaders/{name} fails its tests before any change: {other:?}")),
        }
        let (mut count, mut alive) = (0, 0);
        for mutant in mutants.iter().filter(|m| m.name == *name) {
            count += 1;
            match worker.check(name, &mutant.text, limit) {
                Verdict::Passed => {
                    alive += 1;
                    say(format!("SURVIVED {mutant}"));
                    survived.push(mutant);
                }
                Verdict::Failed(_) => {}
                Verdict::TimedOut => stuck += 1,
                Verdict::Crashed => crashed += 1,
            }
        }
        say(format!("shaders/{name}: {} of {count} mutants detected", count - alive));
    }
    say(format!(
        "{} of {} mutants detected ({stuck} by the time limit, {crashed} by a crash) in {:.0} s",
        mutants.len() - survived.len(),
        mutants.len(),
        start.elapsed().as_secs_f64()
    ));
    if !survived.is_empty() {
        say(ADVICE.into());
    }
    Ok(survived.len())
}

/// This program as a worker process.
#[derive(Default)]
struct Process {
    running: Option<(Child, ChildStdin, Receiver<String>)>,
}

impl Worker for Process {
    fn check(&mut self, name: &str, text: &str, limit: Duration) -> Verdict {
        let (child, stdin, answers) = self.running.get_or_insert_with(start);
        let job = serde_json::to_string(&(name, text)).expect("text is JSON");
        // If the worker has died, this write or the receive below fails.
        let sent = writeln!(stdin, "{job}").and_then(|()| stdin.flush());
        let answer = if sent.is_ok() { answers.recv_timeout(limit) } else { Err(RecvTimeoutError::Disconnected) };
        let verdict = match answer.map(|line| serde_json::from_str(&line).expect("the worker answers in JSON")) {
            Ok(None) => return Verdict::Passed,
            Ok(Some(words)) => return Verdict::Failed(words),
            Err(RecvTimeoutError::Timeout) => Verdict::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Verdict::Crashed,
        };
        child.kill().expect("the worker can be stopped");
        child.wait().expect("the worker ends");
        self.running = None;
        verdict
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some((mut child, stdin, _)) = self.running.take() {
            drop(stdin); // The worker ends with its input.
            child.wait().expect("the worker ends");
        }
    }
}

/// Prefix of an answer. Drivers write to the standard output as well.
const ANSWER: &str = "verdict of the mutant: ";

fn start() -> (Child, ChildStdin, Receiver<String>) {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    let mut child = command
        .args(["mutants", "--worker"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a worker starts");
    let stdin = child.stdin.take().expect("a pipe");
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let (sender, answers) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if let Some(answer) = line.strip_prefix(ANSWER)
                && sender.send(answer.to_string()).is_err()
            {
                break;
            }
        }
    });
    (child, stdin, answers)
}

/// The worker's loop. A panic counts as a failed check: the crate's assertions belong to the tests.
fn work(kernels: &mut impl Kernels) {
    std::panic::set_hook(Box::new(|_| {}));
    for line in std::io::stdin().lines() {
        let line = line.expect("the parent's line");
        let (name, text): (String, String) = serde_json::from_str(&line).expect("the parent's line");
        let outcome = catch_unwind(AssertUnwindSafe(|| kernels.check(&name, &text)));
        let words = match outcome {
            Ok(checked) => checked.err(),
            Err(panic) => Some(panic.downcast_ref::<String>().map_or("a panic", |s| s).to_string()),
        };
        println!("{ANSWER}{}", serde_json::to_string(&words).expect("text is JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Detects a changed sign, hangs on a changed loop boundary, and accepts everything else.
    struct Inattentive;

    impl Worker for Inattentive {
        fn check(&mut self, _: &str, text: &str, _: Duration) -> Verdict {
            match text {
                _ if !text.contains("+=") => Verdict::Failed("a sum differs".into()),
                _ if text.contains("i <=") => Verdict::TimedOut,
                _ => Verdict::Passed,
            }
        }
    }

    const TEXT: &str = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn f() { for (var i = 0u; i < 8u; i++) { x[0] += x[i]; } }";

    fn sample(text: &str) -> (Vec<(String, String)>, Vec<Mutant>) {
        (vec![("f.wgsl".into(), text.into())], mutants("f.wgsl", text, str::to_string))
    }

    #[test]
    fn drive_reports_and_counts_survivors() {
        let (sources, mutants) = sample(TEXT);
        let mut said = Vec::new();
        let survivors = drive(&sources, &mutants, Duration::MAX, &mut Inattentive, &mut |line| said.push(line));
        assert_eq!(survivors, Ok(2));
        assert!(said[0].starts_with("SURVIVED shaders/f.wgsl:2:") && said[0].contains("0u -> 1u"), "{said:?}");
        assert!(said[1].contains("0 -> 1"), "{said:?}");
        assert_eq!(said[2], "shaders/f.wgsl: 2 of 4 mutants detected");
        assert!(said[3].starts_with("2 of 4 mutants detected (1 by the time limit, 0 by a crash)"), "{said:?}");
        assert_eq!(said[4..], [ADVICE]);
    }

    #[test]
    fn drive_rejects_an_unchanged_shader_that_fails() {
        let (sources, mutants) = sample(&TEXT.replace("+=", "-="));
        let outcome = drive(&sources, &mutants, Duration::MAX, &mut Inattentive, &mut |_| {});
        assert!(outcome.is_err_and(|e| e.contains("f.wgsl fails its tests before any change")));
    }

    /// The mutation run takes hours, so it is seldom made, and shaders change meanwhile.
    #[test]
    fn equivalent_mutants_name_lines_of_the_shaders() {
        let shaders = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
        let Allowed { equivalent } = toml::from_str(include_str!("equivalent.toml")).unwrap();
        assert!(!equivalent.is_empty());
        for Entry { shader, line, before, .. } in equivalent {
            let text = std::fs::read_to_string(shaders.join(&shader)).unwrap();
            let found = text.lines().any(|own| own.trim() == line);
            assert!(found && line.contains(&before), "{shader} has no line '{line}' with '{before}'");
        }
    }

    #[test]
    fn equivalent_mutants_are_skipped_and_stale_entries_reported() {
        let line = TEXT.lines().last().unwrap();
        let entry = |before: &str, after: &str, why: &str| {
            format!("[[equivalent]]\nshader='f.wgsl'\nline='{line}'\nbefore='{before}'\nafter='{after}'\nwhy='{why}'\n")
        };
        let split = |text: &str| toml::from_str::<Allowed>(text).unwrap().split(sample(TEXT).1);
        let (tried, stale) = split(&entry("<", "<=", "a reason"));
        assert_eq!((tried.len(), stale.len()), (3, 0));
        let (tried, stale) = split(&(entry("<", ">", "a reason") + &entry("0u", "1u", " ")));
        assert_eq!((tried.len(), stale.len()), (3, 2));
        // The file of the shaders is valid, and matches no mutant of this one.
        assert_eq!(split(include_str!("equivalent.toml")).0.len(), 4);
    }

    #[test]
    fn options_are_parsed() {
        let parse = |text: &str| Options::parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>());
        let options = parse("--every 5 matmul --list --seconds 3 conv").expect("options");
        assert_eq!((options.every, options.limit.as_secs(), options.list, options.names.len()), (5, 3, true, 2));
        assert!(options.wants("matmul.wgsl") && !options.wants("relu.wgsl"));
        let relu = parse("relu").expect("options");
        assert!(relu.wants("relu.wgsl") && !relu.wants("prelude/common.wgsl"));
        assert!(parse("prelude/").expect("options").wants("prelude/common.wgsl"));
        assert!(parse("--every 0").is_err() && parse("--every").is_err() && parse("--evry 3").is_err());
    }
}
