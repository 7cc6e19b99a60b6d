//! The mutation run: several workers check every mutant of every shader. A mutant that passes all checks
//! shows that a test is missing.

use super::mutate::Mutant;
use super::results::Results;
use super::worker::{Verdict, Worker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// The first check of a shader may take this many times the limit of the others: the worker makes
/// the cases and computes their references.
const FIRST_CHECK: u32 = 30;

/// Printed after the survivors.
const ADVICE: &str = "\
A mutant survives if no test notices the change. If a test is missing, add a case to `edge` in the
operator's file in src/ops. If the change has no effect, add the mutant to
xtask/src/mutants/equivalent.toml with the reason.";

/// What a worker reports.
enum Report<'a> {
    /// The result of a mutant.
    Mutant(&'a Mutant, Verdict),
    /// All mutants of a shader are checked.
    Shader(&'a str),
    /// The unchanged shader does not pass.
    Unchanged(String),
}

/// The numbers of a run.
#[derive(Default)]
struct Tally {
    /// Survivors by shader.
    survived: BTreeMap<String, usize>,
    stuck: usize,
    crashed: usize,
}

impl Tally {
    fn count(&mut self, mutant: &Mutant, verdict: &Verdict, say: &mut dyn FnMut(String)) {
        match verdict {
            Verdict::Passed => {
                say(format!("SURVIVED {mutant}"));
                *self.survived.entry(mutant.name.clone()).or_default() += 1;
            }
            Verdict::Failed(_) => {}
            Verdict::TimedOut => self.stuck += 1,
            Verdict::Crashed => self.crashed += 1,
        }
    }
}

/// Checks all mutants that have no result yet, by all workers, reports the survivors and returns
/// their number.
///
/// # Errors
/// An unchanged shader fails, or the results cannot be written.
pub fn run(
    sources: &[(String, String)],
    mutants: &[Mutant],
    limit: Duration,
    workers: &mut [Box<dyn Worker>],
    results: &mut Results,
    say: &mut dyn FnMut(String),
) -> Result<usize, String> {
    let start = Instant::now();
    let mut tally = Tally::default();
    let mutants_of = |name: &str| mutants.iter().filter(|m| m.name == name).collect::<Vec<_>>();
    let mut jobs: Vec<_> = sources.iter().map(|(name, text)| (&**name, &**text, mutants_of(name))).collect();
    for (.., mutants) in &mut jobs {
        mutants.retain(|mutant| {
            let known = results.get(mutant);
            known.into_iter().for_each(|verdict| tally.count(mutant, verdict, say));
            known.is_none()
        });
    }
    // The shaders with the most mutants come first, so that the workers end at about the same time.
    jobs.retain(|(.., mutants)| !mutants.is_empty());
    jobs.sort_by_key(|(.., mutants)| std::cmp::Reverse(mutants.len()));
    let jobs = Mutex::new(VecDeque::from(jobs));
    let next = || jobs.lock().expect("no panic while locked").pop_front();
    let stop = AtomicBool::new(false);
    let (sender, reports) = channel();
    std::thread::scope(|scope| {
        for worker in workers {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                while let Some((name, text, mutants)) = next() {
                    check_shader((name, text), &mutants, limit, &mut **worker, &sender, stop);
                }
            });
        }
        drop(sender);
        let outcome = reports.iter().try_for_each(|report| {
            match report {
                Report::Mutant(mutant, verdict) => {
                    results.add(mutant, &verdict)?;
                    tally.count(mutant, &verdict, say);
                }
                Report::Shader(name) => {
                    let (count, survived) = (mutants_of(name).len(), tally.survived.get(name).unwrap_or(&0));
                    say(format!("shaders/{name}: {} of {count} mutants detected", count - survived));
                }
                Report::Unchanged(problem) => return Err(problem),
            }
            Ok(())
        });
        stop.store(outcome.is_err(), Ordering::Relaxed);
        outcome
    })?;
    let survived = tally.survived.values().sum();
    say(format!(
        "{} of {} mutants detected ({} by the time limit, {} by a crash) in {:.0} s",
        mutants.len() - survived,
        mutants.len(),
        tally.stuck,
        tally.crashed,
        start.elapsed().as_secs_f64()
    ));
    if survived > 0 {
        say(ADVICE.into());
    }
    Ok(survived)
}

/// Checks the mutants of a shader until `stop` is set, after the unchanged shader if the worker is new to it.
fn check_shader<'a>(
    (name, text): (&'a str, &str),
    mutants: &[&'a Mutant],
    limit: Duration,
    worker: &mut dyn Worker,
    reports: &Sender<Report<'a>>,
    stop: &AtomicBool,
) {
    for mutant in mutants {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // A worker that starts again after a mutant that hung must make the cases again. The second check
        // shows that the limit is long enough.
        if worker.is_new(name) {
            for limit in [limit.saturating_mul(FIRST_CHECK), limit] {
                let problem = match worker.check(name, text, limit) {
                    Verdict::Passed => continue,
                    Verdict::TimedOut => format!("shaders/{name} needs more time without a change: raise --seconds"),
                    other => format!("shaders/{name} fails its tests before any change: {other:?}"),
                };
                let _ = reports.send(Report::Unchanged(problem)); // An earlier error ended the run.
                return;
            }
        }
        let verdict = worker.check(name, &mutant.text, limit);
        let _ = reports.send(Report::Mutant(mutant, verdict));
    }
    let _ = reports.send(Report::Shader(name));
}

#[cfg(test)]
mod tests {
    use super::super::mutate::mutants;
    use super::*;

    /// Detects a changed sign, hangs on a changed loop boundary, and accepts everything else.
    #[derive(Default)]
    struct Inattentive {
        first: bool,
    }

    impl Worker for Inattentive {
        fn is_new(&self, _: &str) -> bool {
            !self.first
        }

        fn check(&mut self, _: &str, text: &str, _: Duration) -> Verdict {
            self.first = true;
            match text {
                _ if !text.contains("+=") => Verdict::Failed("a sum differs".into()),
                _ if text.contains("i <=") => Verdict::TimedOut,
                _ => Verdict::Passed,
            }
        }
    }

    const TEXT: &str = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn f() { for (var i = 0u; i < 8u; i++) { x[0] += x[i]; } }";

    /// Runs two workers on the mutants of a text. Returns the outcome and what was said.
    fn run_on(text: &str) -> (Result<usize, String>, Vec<String>) {
        let sources = [("f.wgsl".into(), text.into())];
        let mutants = mutants("f.wgsl", text, str::to_string);
        let mut workers: Vec<Box<dyn Worker>> = vec![Box::<Inattentive>::default(), Box::<Inattentive>::default()];
        let mut said = Vec::new();
        let limit = Duration::from_secs(1);
        let outcome =
            run(&sources, &mutants, limit, &mut workers, &mut Results::default(), &mut |line| said.push(line));
        (outcome, said)
    }

    #[test]
    fn run_reports_and_counts_survivors() {
        let (survivors, said) = run_on(TEXT);
        assert_eq!(survivors, Ok(2));
        assert!(said[0].starts_with("SURVIVED shaders/f.wgsl:2:") && said[0].contains("0u -> 1u"), "{said:?}");
        assert!(said[1].contains("0 -> 1"), "{said:?}");
        assert_eq!(said[2], "shaders/f.wgsl: 2 of 4 mutants detected");
        assert!(said[3].starts_with("2 of 4 mutants detected (1 by the time limit, 0 by a crash)"), "{said:?}");
        assert_eq!(said[4..], [ADVICE]);
    }

    #[test]
    fn run_rejects_an_unchanged_shader_that_fails() {
        let (outcome, _) = run_on(&TEXT.replace("+=", "-="));
        assert!(outcome.is_err_and(|e| e.contains("f.wgsl fails its tests before any change")));
    }
}
