//! Checks and measures a GPU, and writes one file to attach to an issue. `docs/gpu.md` describes it.

use degrain::files::TemporaryFolder;
use degrain::output::counted;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The environment variable that the tests take an adapter from.
const TEST_ADAPTER: &str = "DEGRAIN_ADAPTER";

/// A command of the report.
struct Section {
    title: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Section {
    fn new(title: &'static str, program: &Path, arguments: &str) -> Section {
        let arguments = arguments.split_whitespace().map(String::from).collect();
        Section { title, program: program.into(), arguments }
    }

    /// The section on this adapter, whose name can contain spaces.
    fn on(mut self, adapter: Option<&str>) -> Section {
        self.arguments.extend(adapter.into_iter().flat_map(|adapter| ["--adapter".into(), adapter.into()]));
        self
    }
}

/// Writes the report to a new file in the current folder. `adapter` is a number or a part of a
/// name.
pub fn main(adapter: Option<&str>) -> ExitCode {
    match report(adapter) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all sections; the number of commands that failed.
fn report(adapter: Option<&str>) -> io::Result<usize> {
    let (path, mut file) = new_file()?;
    let scratch = TemporaryFolder::create(Path::new("."), "gpu-report").map_err(io::Error::other)?;
    let header = format!(
        "a report of degrain on {} {}, {}\n",
        std::env::consts::OS,
        std::env::consts::ARCH,
        counted(std::thread::available_parallelism().map_or(1, usize::from), "processor")
    );
    write(&mut file, &header)?;
    let sections = sections(adapter, &scratch.path().join("run"));
    let mut failed = vec![];
    for (number, section) in sections.iter().enumerate() {
        println!("{}/{}  {}", number + 1, sections.len(), section.title);
        if !run(section, adapter, &mut file)? {
            println!("     failed: the reason is in the report");
            failed.push(section.title);
        }
    }
    let summary = match failed.len() {
        0 => format!("all {} passed\n", counted(sections.len(), "command")),
        _ => format!("failed: {}\n", failed.join(", ")),
    };
    write(&mut file, &format!("\n==== result\n{summary}"))?;
    println!("{summary}The report is {}. Read it before you attach it to an issue.", path.display());
    Ok(failed.len())
}

/// `gpu-report.txt`, or the first of `gpu-report-2.txt`, ... that does not exist.
fn new_file() -> io::Result<(PathBuf, File)> {
    let mut number = 1;
    loop {
        let name = if number == 1 { "gpu-report.txt".into() } else { format!("gpu-report-{number}.txt") };
        match File::create_new(&name) {
            Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => number += 1,
            other => return other.map(|file| (name.into(), file)),
        }
    }
}

fn sections(adapter: Option<&str>, scratch: &Path) -> Vec<Section> {
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let section = |title, arguments| Section::new(title, &cargo, arguments);
    vec![
        Section::new("compiler", Path::new("rustc"), "--version --verbose"),
        section("build (minutes)", "build --release --bin train"),
        section("version", "run --release --bin train -- --version"),
        section("adapters", "run --release --bin train -- --list-adapters"),
        section("kernels against their references (minutes)", "test --release --workspace --test kernels"),
        section(
            "kernels of a training step against their references",
            "run --release --bin train -- --preset score --size tiny --verify",
        )
        .on(adapter),
        section("time of each kernel of a training step", "run --release --bin train -- --profile").on(adapter),
        section("speed of kernels", "bench --bench kernels -- --quick").on(adapter),
        section("speed of whole steps", "bench --bench step -- --steps 20").on(adapter),
        section(
            "a short training",
            &format!("run --release --bin train -- --size tiny --steps 100 --out {}", scratch.display()),
        )
        .on(adapter),
    ]
}

/// Runs a command, and adds it and its output to the report. Whether it succeeded.
fn run(section: &Section, adapter: Option<&str>, file: &mut File) -> io::Result<bool> {
    let program = section.program.display();
    write(file, &format!("\n==== {}\n$ {program} {}\n", section.title, section.arguments.join(" ")))?;
    let began = Instant::now();
    let output = Command::new(&section.program)
        .args(&section.arguments)
        .envs(adapter.map(|adapter| (TEST_ADAPTER, adapter)))
        .stdin(Stdio::null())
        .output();
    let (text, status, success) = match output {
        Ok(output) => {
            let text = [&output.stdout[..], &output.stderr[..]].concat();
            (String::from_utf8_lossy(&text).into_owned(), output.status.to_string(), output.status.success())
        }
        Err(problem) => (String::new(), format!("{program} did not start: {problem}"), false),
    };
    write(file, &format!("{}\n[{status}, {:.1} s]\n", text.trim_end(), began.elapsed().as_secs_f64()))?;
    Ok(success)
}

/// Writes text without the name of the user.
fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(without_home(text, std::env::home_dir().as_deref()).as_bytes())
}

fn without_home(text: &str, home: Option<&Path>) -> String {
    match home.and_then(Path::to_str) {
        Some(home) if home.len() > 1 => text.replace(home, "~"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_does_not_name_the_user() {
        let home = Path::new("/home/ada");
        assert_eq!(without_home("at /home/ada/x and /home/ada/y", Some(home)), "at ~/x and ~/y");
        assert_eq!(without_home("at /x", Some(Path::new("/"))), "at /x");
    }

    #[test]
    fn report_contains_output_and_status_of_each_command() {
        let folder = std::env::temp_dir().join(format!("degrain-gpu-report-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("report");
        let mut file = File::create_new(&path).unwrap();
        let rustc = Section::new("compiler", Path::new("rustc"), "--version");
        assert!(run(&rustc, None, &mut file).unwrap());
        let missing = Section::new("nothing", Path::new("no-such-program"), "");
        assert!(!run(&missing, None, &mut file).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(text.contains("==== compiler\n$ rustc --version\nrustc 1."), "{text}");
        assert!(text.contains("exit status: 0") || text.contains("exit code: 0"), "{text}");
        assert!(text.contains("no-such-program did not start"), "{text}");
    }

    #[test]
    fn report_measures_the_adapter_that_was_asked_for() {
        let sections = sections(Some("RTX 4090"), Path::new("scratch"));
        let with =
            sections.iter().filter(|section| section.arguments.ends_with(&["--adapter".into(), "RTX 4090".into()]));
        let with = with.count();
        assert_eq!(
            with, 5,
            "of the ten, compiler, build, version and list need none; the tests take it from {TEST_ADAPTER}"
        );
    }
}
