//! The processes that check mutants.
//!
//! A mutant may loop without end or crash the driver, so a worker process checks it: this same
//! program, called with `--worker`. The worker reads a mutant as one line of JSON and answers with
//! one line. If it dies or does not answer in time, the mutant counts as detected, and a new worker
//! starts.

use super::shaders::Shaders;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Result of a check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verdict {
    Passed,
    /// The message of the failed test.
    Failed(String),
    TimedOut,
    Crashed,
}

/// Checks one shader text at a time.
pub trait Worker: Send {
    /// Whether the next check must first prepare the cases of `name`, which takes longer.
    fn is_new(&self, name: &str) -> bool;

    /// Checks `text` in place of the shader `name`.
    fn check(&mut self, name: &str, text: &str, limit: Duration) -> Verdict;
}

/// This program as a worker process.
pub struct Process {
    running: Option<Running>,
    /// Whether it is one of several. The software driver then uses one thread in each.
    shared: bool,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    /// The shader of the last check.
    shader: String,
}

impl Process {
    /// A worker that starts with its first check; `shared` if there are other workers.
    pub fn new(shared: bool) -> Process {
        Process { running: None, shared }
    }
}

impl Worker for Process {
    fn is_new(&self, name: &str) -> bool {
        self.running.as_ref().is_none_or(|running| running.shader != name)
    }

    fn check(&mut self, name: &str, text: &str, limit: Duration) -> Verdict {
        let running = self.running.get_or_insert_with(|| start(self.shared));
        running.shader = name.to_owned();
        let job = serde_json::to_string(&(name, text)).expect("text is JSON");
        // If the worker has died, this write or the receive below fails.
        let sent = writeln!(running.stdin, "{job}").and_then(|()| running.stdin.flush());
        let answer =
            if sent.is_ok() { running.answers.recv_timeout(limit) } else { Err(RecvTimeoutError::Disconnected) };
        let verdict = match answer.map(|line| serde_json::from_str(&line).expect("the worker answers in JSON")) {
            Ok(None) => return Verdict::Passed,
            Ok(Some(words)) => return Verdict::Failed(words),
            Err(RecvTimeoutError::Timeout) => Verdict::TimedOut,
            Err(RecvTimeoutError::Disconnected) => Verdict::Crashed,
        };
        running.child.kill().expect("the worker can be stopped");
        running.child.wait().expect("the worker ends");
        self.running = None;
        verdict
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(Running { mut child, stdin, .. }) = self.running.take() {
            drop(stdin); // The worker ends with its input.
            child.wait().expect("the worker ends");
        }
    }
}

/// Prefix of an answer. Drivers write to the standard output as well.
const ANSWER: &str = "verdict of the mutant: ";
/// Environment variable with the number of threads of lavapipe.
const DRIVER_THREADS: &str = "LP_NUM_THREADS";

/// Environment variable with the folder where Mesa keeps compiled kernels. A mutant of a part that a
/// set of constants does not use is found there, which halves the time of a run. The user's own folder
/// is not filled with mutants.
const DRIVER_CACHE: &str = "MESA_SHADER_CACHE_DIR";

fn start(shared: bool) -> Running {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new(program);
    if std::env::var_os(DRIVER_CACHE).is_none() {
        command.env(DRIVER_CACHE, Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/mutants"));
    }
    if shared && std::env::var_os(DRIVER_THREADS).is_none() {
        command.env(DRIVER_THREADS, "1");
    }
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
    Running { child, stdin, answers, shader: String::new() }
}

/// The worker's loop. A panic counts as a failed check: the crate's assertions belong to the tests.
pub fn work(shaders: &mut Shaders) {
    std::panic::set_hook(Box::new(|_| {}));
    for line in std::io::stdin().lines() {
        let line = line.expect("the parent's line");
        let (name, text): (String, String) = serde_json::from_str(&line).expect("the parent's line");
        let outcome = catch_unwind(AssertUnwindSafe(|| shaders.check(&name, &text)));
        let words = match outcome {
            Ok(checked) => checked.err(),
            Err(panic) => {
                // The devices still have the changed shader.
                *shaders = Shaders::default();
                Some(panic.downcast_ref::<String>().map_or("a panic", |s| s).to_string())
            }
        };
        println!("{ANSWER}{}", serde_json::to_string(&words).expect("text is JSON"));
    }
}
