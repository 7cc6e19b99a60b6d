//! One of two ranks of `train` is killed at a random moment: in a step, in the sum of the gradients
//! or in a checkpoint. The other must end in a few seconds with a message, and the run must
//! continue to the weights of a run that was not disturbed. `train` must have been built with the
//! feature `mpi`.

#[path = "../../../tests/common/mpirun.rs"]
mod mpirun;

use self::mpirun::{children, is_running, mpirun};
use super::Result;
use super::runs::{self, Random};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Time in which the other rank must end.
const END: Duration = Duration::from_secs(10);
/// Time between two looks at the processes.
const POLL: Duration = Duration::from_millis(10);

/// Kills `count` times.
pub fn run(count: u32) -> Result<()> {
    let folder = runs::folder("ranks")?;
    let whole = folder.join("whole");
    let began = Instant::now();
    let output = on_two_ranks(&runs::start(&whole)?)?.wait_with_output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(text(&output));
    }
    let time = began.elapsed();
    let expected = runs::result(&whole)?;
    println!("a run of {} steps on two ranks without a kill takes {:.1} s", runs::STEPS, time.as_secs_f64());

    let mut random = Random::new();
    let mut kills = 0;
    let mut finished = 0;
    let mut slowest = Duration::ZERO;
    let mut hanging = 0;
    let mut problems = vec![];
    while kills < count {
        let out = folder.join(format!("run-{finished}"));
        let mut newest = 0;
        loop {
            let command = if newest > 0 { runs::resume(&out)? } else { runs::start(&out)? };
            let mut all = on_two_ranks(&command)?;
            let moment = Instant::now() + time.mul_f64(random.uniform());
            let rank = random.below(2);
            let ranks = if kills == count { None } else { kill_at(&mut all, moment, rank)? };
            let Some(ranks) = ranks else {
                let output = all.wait_with_output().map_err(|e| e.to_string())?;
                // It was killed after its last act.
                let was_finished = newest == runs::STEPS && text(&output).contains("has finished");
                if !output.status.success() && !was_finished {
                    return Err(format!("{}: {}", out.display(), text(&output)));
                }
                break;
            };
            kills += 1;
            let killed = Instant::now();
            // mpirun can end shortly before the ranks that it kills.
            while all.try_wait().map_err(|e| e.to_string())?.is_none() || ranks.iter().any(|rank| is_running(rank)) {
                if killed.elapsed() > END {
                    all.kill().map_err(|e| e.to_string())?;
                    if ranks.iter().any(|rank| is_running(rank)) {
                        return Err(format!("{}: rank {rank} was killed, and the other waits for it", out.display()));
                    }
                    // mpirun of Open MPI 4 can wait without end for a rank that was killed before
                    // it had connected. The ranks have ended.
                    hanging += 1;
                    break;
                }
                std::thread::sleep(POLL);
            }
            slowest = slowest.max(killed.elapsed());
            let output = all.wait_with_output().map_err(|e| e.to_string())?;
            if output.status.success() && runs::newest(&out)? < runs::STEPS {
                problems.push(format!("{}: a rank was killed, and mpirun reported no failure", out.display()));
            }
            if !output.status.success() && text(&output).trim().is_empty() {
                problems.push(format!("{}: there is no message", out.display()));
            }
            let now = runs::newest(&out)?;
            if now < newest {
                problems.push(format!("{}: checkpoint-{newest} is lost, the newest is {now}", out.display()));
            }
            newest = now;
        }
        finished += 1;
        problems.extend(runs::problems_after_kills(&out, &expected)?);
        println!("{kills} kills, {finished} runs finished, {} problems", problems.len());
    }
    let slowest = slowest.as_secs_f64();
    println!("{kills} kills in {finished} runs; the slowest end took {slowest:.1} s, and mpirun hung {hanging} times");
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

/// Starts a command on two ranks of this machine.
fn on_two_ranks(command: &Command) -> Result<Child> {
    let mut mpirun = mpirun(2, command.get_program());
    mpirun.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    mpirun.spawn().map_err(|e| format!("mpirun: {e}. tools/mpi.sh installs it"))
}

/// Kills a rank at a moment. Returns the processes of all ranks; `None` if they had ended before.
fn kill_at(mpirun: &mut Child, moment: Instant, rank: usize) -> Result<Option<Vec<String>>> {
    let ranks = loop {
        if mpirun.try_wait().map_err(|e| e.to_string())?.is_some() {
            return Ok(None);
        }
        let ranks = children(mpirun.id());
        if Instant::now() >= moment && ranks.len() == 2 {
            break ranks;
        }
        std::thread::sleep(POLL);
    };
    let status = Command::new("kill").args(["-9", &ranks[rank]]).stderr(Stdio::null()).status();
    Ok(status.map_err(|e| format!("kill: {e}"))?.success().then_some(ranks))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).trim().to_owned()
}
