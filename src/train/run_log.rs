//! The log of a run: `log.jsonl`, TensorBoard's event file, the progress line, and the curves
//! plotted at its end.

use super::clock::{Progress, Throughput};
use super::config::Config;
#[cfg(feature = "cli")]
use super::curves::Curves;
use super::due::Due;
use super::log_entry::LogEntry;
use crate::Result;
use crate::files::create_folder;
use crate::output::progress::{ProgressBar, clock, hidden_bar, progress_bar};
use crate::output::{EventWriter, JsonLines, Picture, note};
use crate::tape::inspect::scaled;
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Number of steps over which the progress line averages the loss.
const AVERAGED_STEPS: usize = 50;
/// Time between progress lines if there is no terminal.
const INTERVAL: Duration = Duration::from_secs(20);

/// The log of a run.
pub struct RunLog<'a> {
    folder: PathBuf,
    lines: JsonLines,
    events: EventWriter,
    #[cfg(feature = "cli")]
    curves: Curves,
    /// Whether the log has a validation of the step at which the run starts.
    validated: bool,
    /// Whether the log has an evaluation of that step.
    evaluated: bool,
    bar: ProgressBar,
    /// Whether nothing is printed but warnings.
    quiet: bool,
    printed: Instant,
    status: Status,
    on_entry: &'a mut dyn FnMut(&LogEntry),
}

/// A grid of samples.
pub struct Grid {
    /// The weights it was sampled with, `ema` or `raw`. Also its name in the run's folder and in
    /// TensorBoard.
    pub tag: &'static str,
    /// The samples.
    pub picture: Picture,
    /// Description in the PNG file.
    pub description: String,
}

impl<'a> RunLog<'a> {
    /// Opens the log in a run's folder. Entries of later steps, left by an interrupted run, are cut
    /// off. `on_entry` receives every new entry. A `quiet` log prints nothing but warnings.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(
        folder: &Path,
        config: &Config,
        start: Progress,
        flops: u64,
        on_entry: &'a mut dyn FnMut(&LogEntry),
        quiet: bool,
    ) -> Result<RunLog<'a>> {
        let bar = match quiet {
            true => hidden_bar(),
            false => progress_bar(u64::from(config.steps), "{bar:20} {pos}/{len} steps  {msg}"),
        };
        bar.set_position(u64::from(start.step));
        bar.set_message("the first step takes longest");
        let mut lines = JsonLines::open(&folder.join("log.jsonl"))?;
        let earlier = lines.keep_while(|entry: &LogEntry| entry.step() <= start.step)?;
        let events = events(folder, start.step, &earlier)?;
        #[cfg(feature = "cli")]
        let curves = Curves::new(&earlier);
        let at_start = |entry: &&LogEntry| entry.step() == start.step;
        let validated = earlier.iter().filter(at_start).any(|entry| matches!(entry, LogEntry::Validation { .. }));
        let evaluated = earlier.iter().filter(at_start).any(|entry| matches!(entry, LogEntry::Evaluation { .. }));
        Ok(RunLog {
            folder: folder.into(),
            lines,
            events,
            #[cfg(feature = "cli")]
            curves,
            validated,
            evaluated,
            bar,
            quiet,
            printed: Instant::now(),
            status: Status::new(config, start, flops),
            on_entry,
        })
    }

    /// Those of the `due` measurements that the log lacks for the step at which the run starts.
    pub fn missing(&self, start: u32, due: Due) -> Due {
        Due {
            validation: due.validation && !self.validated,
            evaluation: due.evaluation && !self.evaluated,
            // The grid of the raw weights is written last.
            samples: due.samples && !grid_path(&self.folder, "raw", start).exists(),
        }
    }

    /// Whether the progress line is visible and the device's peak speed is not known yet.
    pub fn needs_peak(&self) -> bool {
        self.status.peak.is_none() && !self.quiet && (!self.bar.is_hidden() || self.printed.elapsed() > INTERVAL)
    }

    /// Sets the peak of the device in FLOP/s.
    pub fn set_peak(&mut self, peak: f64) {
        self.status.peak = Some(peak);
    }

    /// Updates the progress line after losses were read.
    pub fn read(&mut self, progress: Progress) {
        self.status.throughput.read(progress.seconds.trained, progress.step);
    }

    /// Training images per second; 0 before it can be measured.
    pub fn images_per_second(&self) -> f64 {
        self.status.images_per_second().unwrap_or(0.0)
    }

    /// Adds an entry to all outputs.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add(&mut self, entry: &LogEntry) -> Result<()> {
        // `log.jsonl` first: a killed run then lacks an event rather than having it twice.
        self.lines.append(entry)?;
        for (tag, value) in entry.scalars() {
            self.events.scalar(u64::from(entry.step()), tag, value as f32)?;
        }
        #[cfg(feature = "cli")]
        self.curves.add(entry);
        self.status.add(entry);
        if let Some(line) = entry.describe() {
            self.print(&line);
        }
        self.bar.set_position(u64::from(entry.step()));
        let status = self.status.to_string();
        if self.bar.is_hidden() && self.printed.elapsed() > INTERVAL {
            self.print(&format!("step {} of {}: {status}", entry.step(), self.status.steps));
            self.printed = Instant::now();
        }
        self.bar.set_message(status);
        (self.on_entry)(entry);
        Ok(())
    }

    /// Adds a grid of samples.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add_grid(&mut self, step: u32, grid: &Grid) -> Result<()> {
        let folder = self.folder.join("samples");
        create_folder(&folder)?;
        let text = [("Description", &*grid.description), ("Software", "degrain")];
        grid.picture.save_png(&grid_path(&self.folder, grid.tag, step), &text)?;
        self.events.image(u64::from(step), grid.tag, &grid.picture)
    }

    /// Writes the log to the disk, so that a checkpoint never has steps that the log lacks.
    ///
    /// # Errors
    /// A full disk.
    pub fn sync(&self) -> Result<()> {
        self.lines.sync()
    }

    /// Ends the progress bar and, with the feature `cli`, plots the curves.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn finish(self) -> Result<()> {
        self.bar.abandon();
        #[cfg(feature = "cli")]
        self.curves.save(&self.folder)?;
        Ok(())
    }

    /// Says what happens between two steps.
    pub fn busy(&self, what: &str) {
        if self.bar.is_hidden() {
            self.print(what);
        } else {
            self.bar.set_message(what.to_string());
        }
    }

    /// Prints a warning to stderr, above the visible progress bar. A quiet run has a hidden bar, so
    /// another one may be visible.
    pub fn warn(&self, problem: &str) {
        if self.quiet {
            note(format_args!("warning: {problem}"));
            return;
        }
        self.bar.suspend(|| {
            // A closed stderr must not stop training.
            let _ = writeln!(std::io::stderr(), "warning: {problem}");
        });
    }

    /// Prints a line above the progress bar.
    pub fn print(&self, line: &str) {
        if self.quiet {
            return;
        }
        if self.bar.is_hidden() {
            // A closed stdout must not stop training.
            let _ = writeln!(std::io::stdout(), "{line}");
        } else {
            self.bar.println(line);
        }
    }
}

/// A new event file of a run that has finished `start` steps. If it is the first one in a folder
/// whose log has entries, as in a new run that continues another one, it begins with them.
fn events(folder: &Path, start: u32, earlier: &[LogEntry]) -> Result<EventWriter> {
    if EventWriter::exist_in(folder)? {
        return EventWriter::create(folder, u64::from(start));
    }
    let mut events = EventWriter::create(folder, 0)?;
    for entry in earlier {
        for (tag, value) in entry.scalars() {
            events.scalar(u64::from(entry.step()), tag, value as f32)?;
        }
    }
    Ok(events)
}

/// Path of a grid in the folder of a run.
pub(super) fn grid_path(folder: &Path, tag: &str, step: u32) -> PathBuf {
    folder.join("samples").join(format!("{tag}-{step:06}.png"))
}

/// The progress line. All speeds count training only. Terminals cut long lines, so the most
/// important values come first.
struct Status {
    steps: u32,
    batch: u32,
    /// FLOPs of one training step.
    flops: u64,
    /// Measured peak of the device in FLOP/s.
    peak: Option<f64>,
    throughput: Throughput,
    step: u32,
    /// Losses of the last [`AVERAGED_STEPS`] steps.
    losses: VecDeque<f64>,
    validation: Option<f64>,
    bits_per_dim: Option<f64>,
    frechet_distance: Option<f64>,
}

impl Status {
    fn new(config: &Config, start: Progress, flops: u64) -> Status {
        Status {
            steps: config.steps,
            batch: config.batch,
            flops,
            peak: None,
            throughput: Throughput::new(start.seconds.trained, start.step),
            step: start.step,
            losses: VecDeque::new(),
            validation: None,
            bits_per_dim: None,
            frechet_distance: None,
        }
    }

    fn add(&mut self, entry: &LogEntry) {
        self.step = entry.step();
        match *entry {
            LogEntry::Step { loss, .. } => {
                self.losses.push_back(loss);
                if self.losses.len() > AVERAGED_STEPS {
                    self.losses.pop_front();
                }
            }
            LogEntry::Validation { validation_loss, .. } => self.validation = Some(validation_loss),
            LogEntry::Evaluation { bits_per_dim, frechet_distance, .. } => {
                self.bits_per_dim = bits_per_dim;
                self.frechet_distance = frechet_distance;
            }
        }
    }

    fn images_per_second(&self) -> Option<f64> {
        Some(f64::from(self.batch) * self.throughput.steps_per_second()?)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = vec![];
        if !self.losses.is_empty() {
            parts.push(format!("loss {:.4}", self.losses.iter().sum::<f64>() / self.losses.len() as f64));
        }
        parts.extend(self.images_per_second().map(|images| format!("{images:.1} images/s")));
        if let Some(time) = self.throughput.time_for(self.steps.saturating_sub(self.step)) {
            parts.push(format!("{} left", clock(Duration::from_secs(time.as_secs()))));
        }
        parts.extend(self.validation.map(|loss| format!("validation {loss:.4}")));
        parts.extend(self.bits_per_dim.map(|bits| format!("{bits:.3} bits/dim")));
        parts.extend(self.frechet_distance.map(|distance| format!("FD {distance:.2}")));
        if let Some(steps) = self.throughput.steps_per_second() {
            let speed = steps * self.flops as f64;
            let share = match self.peak {
                Some(peak) if speed <= peak => format!(" ({:.0} % of peak)", 100.0 * speed / peak),
                // A peak below the speed was measured while other programs ran.
                _ => String::new(),
            };
            parts.push(format!("{}{share}", scaled(speed, "FLOP/s")));
        }
        f.write_str(&parts.join("  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::RunSeconds;

    fn status(peak: Option<f64>) -> Status {
        Status {
            steps: 100,
            batch: 32,
            flops: 3_000_000_000,
            peak,
            throughput: Throughput::new(5.0, 20),
            step: 20,
            losses: VecDeque::new(),
            validation: None,
            bits_per_dim: None,
            frechet_distance: None,
        }
    }

    fn step(step: u32, loss: f64) -> LogEntry {
        LogEntry::Step {
            step,
            seconds: RunSeconds::default(),
            loss,
            gradient_norm: 1.0,
            learning_rate: 1e-3,
            images_per_second: 0.0,
            loss_by_quarter: [None; 4],
        }
    }

    /// 10 steps in 2 seconds: 160 images/s, 15 GFLOP/s, and 70 steps take 14 seconds.
    #[test]
    fn progress_line_shows_speed_share_and_time_left() {
        let mut status = status(Some(60e9));
        assert_eq!(status.to_string(), "", "nothing is known before the first step");
        status.throughput.read(7.0, 30);
        status.add(&step(30, 0.5));
        assert_eq!(status.to_string(), "loss 0.5000  160.0 images/s  00:00:14 left  15.0 GFLOP/s (25 % of peak)");
        status.add(&step(31, 1.5));
        status.peak = Some(1e9);
        assert!(!status.to_string().contains('%'), "a share above 1 is no share: {status}");
        status.peak = None;
        let seconds = RunSeconds::default();
        let (validation_loss, validation_by_quarter, metric) = (0.25, [None; 4], None);
        status.add(&LogEntry::Validation { step: 30, seconds, validation_loss, validation_by_quarter, metric });
        status.add(&LogEntry::Evaluation {
            step: 30,
            seconds,
            bits_per_dim: Some(3.5),
            training_bits_per_dim: None,
            frechet_distance: Some(12.0),
        });
        let line =
            "loss 1.0000  160.0 images/s  00:00:14 left  validation 0.2500  3.500 bits/dim  FD 12.00  15.0 GFLOP/s";
        assert_eq!(status.to_string(), line);
    }

    /// The first losses are large. They must not stay in the mean.
    #[test]
    fn progress_line_shows_the_mean_loss_of_the_last_steps() {
        let mut status = status(None);
        for number in 0..50 {
            status.add(&step(number, 100.0));
        }
        for number in 50..100 {
            status.add(&step(number, if number % 2 == 0 { 0.2 } else { 0.4 }));
        }
        assert!(status.to_string().starts_with("loss 0.3000"), "{status}");
    }
}
