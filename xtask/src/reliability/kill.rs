//! `train` is killed at random moments and resumed, until its last step. The weights must equal
//! those of a run that was not killed, and no checkpoint may be lost.

use super::Result;
use super::runs::{self, Random};
use std::process::Command;
use std::time::{Duration, Instant};

/// Kills `count` times.
pub fn run(count: u32) -> Result<()> {
    let folder = runs::folder("kill")?;
    let whole = folder.join("whole");
    let began = Instant::now();
    finish(&mut runs::start(&whole)?)?;
    let time = began.elapsed();
    let expected = runs::result(&whole)?;
    println!("a run of {} steps without a kill takes {:.1} s", runs::STEPS, time.as_secs_f64());

    let mut random = Random::new();
    let mut kills = 0;
    let mut finished = 0;
    let mut before_the_first_step = 0;
    let mut problems = vec![];
    while kills < count {
        let out = folder.join(format!("run-{finished}"));
        let mut newest = 0;
        loop {
            let mut command = if newest > 0 { runs::resume(&out)? } else { runs::start(&out)? };
            let mut child = command.spawn().map_err(|e| e.to_string())?;
            std::thread::sleep(time.mul_f64(random.uniform()));
            let ended = if kills < count { child.try_wait().map_err(|e| e.to_string())?.is_some() } else { true };
            if ended {
                let output = child.wait_with_output().map_err(|e| e.to_string())?;
                let errors = String::from_utf8_lossy(&output.stderr);
                // It was killed after its last act.
                let was_finished = newest == runs::STEPS && errors.contains("has finished");
                if !output.status.success() && !was_finished {
                    return Err(format!("{}: {}", out.display(), errors.trim()));
                }
                break;
            }
            child.kill().map_err(|e| e.to_string())?;
            let output = child.wait_with_output().map_err(|e| e.to_string())?;
            // A killed process has no exit code.
            let errors = String::from_utf8_lossy(&output.stderr);
            let was_finished = newest == runs::STEPS && errors.contains("has finished");
            if output.status.code().is_some_and(|code| code != 0) && !was_finished {
                return Err(format!("{}: {}", out.display(), String::from_utf8_lossy(&output.stderr).trim()));
            }
            if output.status.success() || was_finished {
                break;
            }
            kills += 1;
            let now = runs::newest(&out)?;
            if now < newest {
                problems.push(format!("{}: checkpoint-{newest} is lost, the newest is {now}", out.display()));
            }
            before_the_first_step += u32::from(now == 0);
            newest = now;
        }
        finished += 1;
        problems.extend(runs::problems_after_kills(&out, &expected)?);
        println!("{kills} kills, {finished} runs finished, {} problems", problems.len());
    }
    println!("{kills} kills ({before_the_first_step} before the first checkpoint) in {finished} runs");
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn finish(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(began.elapsed())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().into())
    }
}
