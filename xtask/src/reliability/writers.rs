//! Two `train` commands in one folder, started at a random distance. One must be refused, and the
//! result of the other must equal that of a lone run.

use super::Result;
use super::runs::{self, Random};
use std::time::Instant;

/// Starts `count` pairs.
pub fn run(count: u32) -> Result<()> {
    let folder = runs::folder("writers")?;
    let whole = folder.join("whole");
    let began = Instant::now();
    let output = runs::start(&whole)?.output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    let time = began.elapsed();
    let expected = runs::result(&whole)?;

    let mut random = Random::new();
    let mut problems = vec![];
    for pair in 0..count {
        let out = folder.join(format!("pair-{pair}"));
        let first = runs::start(&out)?.spawn().map_err(|e| e.to_string())?;
        std::thread::sleep(time.mul_f64(0.9 * random.uniform()));
        let second = runs::start(&out)?.spawn().map_err(|e| e.to_string())?;
        let outputs = [first, second].map(|child| child.wait_with_output().map_err(|e| e.to_string()));
        let [first, second] = outputs;
        let (first, second) = (first?, second?);
        let refused = [&first, &second].into_iter().filter(|output| !output.status.success());
        let messages: Vec<String> = refused.map(|output| String::from_utf8_lossy(&output.stderr).into()).collect();
        let known = |message: &String| {
            message.contains("is writing into this folder") || message.contains("already holds a run")
        };
        if messages.len() != 1 || !messages.iter().all(known) {
            problems.push(format!("{}: {} were refused: {messages:?}", out.display(), messages.len()));
        }
        if runs::result(&out)? != expected {
            problems.push(format!("{}: the weights differ from a lone run", out.display()));
        }
        problems.extend(runs::log_problems(&out)?.iter().map(|problem| format!("{}: {problem}", out.display())));
        println!("{} pairs, {} problems", pair + 1, problems.len());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}
