//! Damaged files in large numbers through the readers of the crate: a reader may refuse a file, but
//! it must not panic, end the process, or use more memory than four times its files and 64 MiB.

mod child;
mod damage;
mod readers;
mod seeds;

use super::Result;
use super::runs;
use child::FileCase;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Name of the command of the processes that read.
pub const CHILD: &str = "files-child";
/// Cases that one process reads.
const BATCH: u64 = 500;
/// Problems that are printed and saved.
const SHOWN: usize = 100;

/// What the cases gave.
#[derive(Default)]
struct Tally {
    read: u64,
    refused: u64,
    problems: Vec<String>,
}

/// Reads `count` damaged files. A seed repeats a campaign.
pub fn run(count: u64, seed: Option<u64>) -> Result<()> {
    let folder = runs::folder("files")?;
    let seeds = folder.join("seeds");
    seeds::write(&seeds)?;
    let seed = seed.unwrap_or_else(runs::time_seed);
    println!("seed {seed}");
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let worker = |number: usize| {
            let (next, tally, seeds) = (&next, &tally, &seeds);
            let work = work_folder(&folder, number);
            scope.spawn(move || {
                loop {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    if first >= count {
                        break;
                    }
                    batch(seeds, &work, seed, first..(first + BATCH).min(count), tally)?;
                }
                let _ = fs::remove_dir_all(&work);
                Ok(())
            })
        };
        let threads: Vec<_> = (0..workers).map(worker).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let tally = tally.into_inner().map_err(|e| e.to_string())?;
    for problem in tally.problems.iter().take(SHOWN) {
        println!("{problem}");
        save(&folder, &seeds, seed, problem)?;
    }
    let Tally { read, refused, problems } = tally;
    println!("{count} damaged files: {refused} refused, {read} read, {} problems", problems.len());
    if problems.is_empty() { Ok(()) } else { Err(format!("see the damaged files in {}", folder.display())) }
}

/// A folder in memory if the system has one, because every case writes files.
fn work_folder(folder: &Path, number: usize) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let name = format!("degrain-reliability-{}-{number}", std::process::id());
    if memory.is_dir() { memory.join(name) } else { folder.join(name) }
}

/// Runs cases in child processes. A process that ends before its last case is a problem of the case
/// that it read.
fn batch(seeds: &Path, work: &Path, seed: u64, cases: std::ops::Range<u64>, tally: &Mutex<Tally>) -> Result<()> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut first = cases.start;
    while first < cases.end {
        let mut command = Command::new(&program);
        let numbers = [seed, first, cases.end].map(|n| n.to_string());
        command.args(["reliability", CHILD]).arg(seeds).arg(work).args(numbers);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let out = child.stdout.take().ok_or("no output")?;
        let (mut current, mut ended, mut slow) = (None, false, "");
        for line in BufReader::new(out).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(|e| e.to_string())?).into_owned();
            let Some(line) = line.strip_prefix("campaign ") else { continue };
            let mut tally = tally.lock().map_err(|e| e.to_string())?;
            match line.split_once(' ') {
                Some(("case", number)) => current = number.parse::<u64>().ok(),
                Some(("problem", problem)) => tally.problems.push(problem.into()),
                _ if line == "read" => tally.read += 1,
                _ if line == "refused" => tally.refused += 1,
                _ if line == "end" => ended = true,
                _ if line == "slow" => slow = " (too slow)",
                _ => {}
            }
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        if ended {
            return Ok(());
        }
        let number = current.ok_or_else(|| format!("the process for case {first} ended with {status}"))?;
        let FileCase { reader, file, .. } = FileCase::new(seeds, seed, number)?;
        let problem = format!("{number} {}/{file}: the process ended with {status}{slow}", reader.seed);
        tally.lock().map_err(|e| e.to_string())?.problems.push(problem);
        first = number + 1;
    }
    Ok(())
}

/// Saves the damaged file of a problem.
fn save(folder: &Path, seeds: &Path, seed: u64, problem: &str) -> Result<()> {
    let Some(number) = problem.split(' ').next().and_then(|number| number.parse().ok()) else { return Ok(()) };
    let FileCase { reader, file, bytes } = FileCase::new(seeds, seed, number)?;
    let path = folder.join(format!("{number}-{}-{}", reader.seed, file.replace('/', "-")));
    fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// The process that reads.
pub fn child(arguments: &[String]) -> Result<()> {
    let [seeds, work, seed, first, end] = arguments else { return Err("five arguments are needed".into()) };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    child::run(Path::new(seeds), Path::new(work), number(seed)?, number(first)?..number(end)?)
}
