//! A small `train`, `sample` and `evaluate` on a device that fails: it is lost in one submission,
//! has no memory for one allocation, or silently does not run one submission. Every submission and
//! every allocation takes its turn. Each failure must give one message and exit code 1, and the
//! same command must continue to the result of an undisturbed run, bit for bit.
//!
//! Each command is a child process of this program, which switches the failure on in its own device
//! functions ([`degrain::gpu::inject`]).

mod child;
mod data;
mod job;

use super::{Result, runs};
pub use child::{CHILD, child};
use degrain::gpu::{DeviceFault, DeviceUse};
use job::{Job, Kind, Whole};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// Makes every failure once, or only `count` of each kind in each program.
pub fn run(count: Option<u32>) -> Result<()> {
    let start = Instant::now();
    let folder = runs::folder("device")?;
    let job = Job::prepare(&folder)?;
    let (mut failures, mut problems) = (0, vec![]);
    for kind in Kind::ALL {
        let whole = job.undisturbed(kind)?;
        let faults = choose(whole.uses, count);
        let DeviceUse { submissions, allocations } = whole.uses;
        println!("{kind:?} makes {submissions} submissions and {allocations} allocations");
        let (reached, found) = check_all(&job, kind, &whole, &faults)?;
        failures += reached;
        println!("{reached} failures, {} problems, {:.0} s", found.len(), start.elapsed().as_secs_f64());
        problems.extend(found);
    }
    println!("{failures} failures in {:.0} s", start.elapsed().as_secs_f64());
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// All failures of a command, or `count` of each kind at even distances.
fn choose(uses: DeviceUse, count: Option<u32>) -> Vec<DeviceFault> {
    let numbers = |all: u64| {
        let chosen = count.map_or(all, |count| u64::from(count).min(all));
        // Fractions of the way that no period of the steps divides.
        (0..chosen).map(move |i| (2 * i + 1) * all / (2 * chosen))
    };
    let lost = numbers(uses.submissions).map(DeviceFault::Lost);
    let dropped = numbers(uses.submissions).map(DeviceFault::Dropped);
    lost.chain(dropped).chain(numbers(uses.allocations).map(DeviceFault::OutOfMemory)).collect()
}

/// How many of these failures were reached, and the problems with them. Several run at once.
fn check_all(job: &Job, kind: Kind, whole: &Whole, faults: &[DeviceFault]) -> Result<(usize, Vec<String>)> {
    let (next, reached) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let problems = Mutex::new(vec![]);
    let work = || {
        while let Some(&fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = job.check(kind, whole, fault).unwrap_or_else(|problem| Some(vec![problem]));
            let Some(found) = found else { continue };
            reached.fetch_add(1, Ordering::Relaxed);
            let found = found.into_iter().map(|problem| format!("{kind:?} with {fault:?}: {problem}"));
            let mut problems = problems.lock().expect("no thread panics while it holds the lock");
            for problem in found {
                eprintln!("{problem}");
                problems.push(problem);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    problems.into_inner().map(|problems| (reached.into_inner(), problems)).map_err(|e| e.to_string())
}
