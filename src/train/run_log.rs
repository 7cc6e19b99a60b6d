//! What a run says while it goes on: the progress bar, `log.jsonl`, TensorBoard's event file, and the curves at its end.

use super::curves::Curves;
use super::log_entry::{LogEntry, by_quarter};
use super::settings::Config;
use crate::Result;
use crate::output::{EventWriter, JsonLines, Picture};
use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Smoothing of the loss in the progress line: the share of the past in an exponential average.
const SMOOTHING: f64 = 0.98;
/// Over how long the images a second are averaged.
const PACE: Duration = Duration::from_secs(10);
/// How often a line says how far the run is, where there is no terminal for a progress bar.
const SILENCE: Duration = Duration::from_secs(20);

/// The records of a run.
pub struct RunLog {
    folder: PathBuf,
    bar: ProgressBar,
    lines: JsonLines,
    events: EventWriter,
    smoothed: Option<f64>,
    batch: f64,
    arrivals: VecDeque<(Instant, u32)>,
    images_per_second: f64,
    said: Instant,
    /// Of the last validation and the last evaluation, for the progress line.
    validated: String,
    evaluated: String,
    curves: Curves,
}

impl RunLog {
    /// Opens the records of a run in its folder, from `step` on: later lines of an interrupted run are cut off.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(folder: &Path, config: &Config, step: u32) -> Result<RunLog> {
        let path = folder.join("log.jsonl");
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} steps  {msg}");
        let bar = ProgressBar::new(u64::from(config.steps))
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(u64::from(step));
        bar.set_message("the first step takes longest");
        let mut run_log = RunLog {
            folder: folder.into(),
            bar,
            lines: JsonLines::open(&path)?,
            events: EventWriter::create(folder)?,
            smoothed: None,
            batch: f64::from(config.batch),
            arrivals: VecDeque::from([(Instant::now(), step)]),
            images_per_second: 0.0,
            said: Instant::now(),
            validated: String::new(),
            evaluated: String::new(),
            curves: Curves::default(),
        };
        for line in run_log.lines.keep_while(|line: &LogEntry| line.number() <= step)? {
            run_log.curves.add(&line);
        }
        Ok(run_log)
    }

    /// The log came back from the device, of all steps before `step`: they come in bunches, so their pace is taken once for each.
    pub fn arrived(&mut self, step: u32) {
        let now = Instant::now();
        while self.arrivals.len() > 1 && now - self.arrivals[0].0 > PACE {
            self.arrivals.pop_front();
        }
        let (first, steps) = self.arrivals.front().map_or((now, 0), |&(time, first)| (time, step - first));
        if steps > 0 && now > first {
            self.images_per_second = self.batch * f64::from(steps) / (now - first).as_secs_f64();
        }
        self.arrivals.push_back((now, step));
    }

    /// Folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A step's losses came back from the device: `row` is a row of the log.
    ///
    /// # Errors
    /// A full disk.
    pub fn step(&mut self, n: u32, row: &[f32], learning_rate: f64, timesteps: u32) -> Result<()> {
        let batch = (row.len() - 4) / 2;
        let (losses, times) = row[4..].split_at(batch);
        let images_per_second = self.images_per_second;
        let line = LogEntry::Step {
            step: n + 1,
            loss: f64::from(row[0]),
            gradient_norm: f64::from(row[1]),
            learning_rate,
            images_per_second,
            loss_by_quarter: by_quarter(losses, times, timesteps),
        };
        let loss = f64::from(row[0]);
        let smoothed = self.smoothed.map_or(loss, |past| SMOOTHING * past + (1.0 - SMOOTHING) * loss);
        self.smoothed = Some(smoothed);
        self.bar.set_position(u64::from(n + 1));
        let rest = self.bar.length().unwrap_or(0).saturating_sub(u64::from(n + 1)) as f64 * self.batch;
        let left = FormattedDuration(Duration::from_secs((rest / images_per_second.max(1e-3)) as u64));
        let message = format!(
            "loss {smoothed:.4}{}{}  {images_per_second:.1} images/s  {left} left",
            self.validated, self.evaluated
        );
        if self.bar.is_hidden() && self.said.elapsed() > SILENCE {
            self.say(&format!("step {} of {}: {message}", n + 1, self.bar.length().unwrap_or(0)));
            self.said = Instant::now();
        }
        self.bar.set_message(message);
        for (tag, value) in [("loss", loss), ("gradient_norm", f64::from(row[1])), ("learning_rate", learning_rate)] {
            self.events.scalar(u64::from(n + 1), tag, value as f32)?;
        }
        self.write(&line)
    }

    /// A validation after step `n`: losses and time steps of the held-back images, and what else was judged of them.
    ///
    /// # Errors
    /// A full disk.
    pub fn validation(
        &mut self,
        n: u32,
        losses: &[f32],
        times: &[f32],
        timesteps: u32,
        judged: Option<(&str, f64)>,
    ) -> Result<()> {
        let mean = losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64;
        let validation_by_quarter = by_quarter(losses, times, timesteps);
        self.events.scalar(u64::from(n + 1), "validation_loss", mean as f32)?;
        self.validated = format!("  validation {mean:.4}");
        let also = judged.map_or(String::new(), |(what, share)| format!(", {what} {:.2} %", 100.0 * share));
        self.say(&format!("step {}: validation loss {mean:.4}{also} (averaged weights)", n + 1));
        if let Some((what, share)) = judged {
            self.events.scalar(u64::from(n + 1), what, share as f32)?;
        }
        let accuracy = judged.map(|(_, share)| share);
        self.write(&LogEntry::Validation { step: n + 1, validation_loss: mean, validation_by_quarter, accuracy })
    }

    /// An evaluation after step `n`, `seconds` into training.
    ///
    /// # Errors
    /// A full disk.
    pub fn evaluation(
        &mut self,
        n: u32,
        seconds: f64,
        bound: Option<f64>,
        frechet_distance: Option<f64>,
    ) -> Result<()> {
        let mut said = format!("step {}:", n + 1);
        for (tag, value, unit) in [("bound", bound, " bits a dimension"), ("frechet_distance", frechet_distance, "")] {
            if let Some(value) = value {
                self.events.scalar(u64::from(n + 1), tag, value as f32)?;
                said.push_str(&format!(" {} {value:.3}{unit},", tag.replace('_', " ")));
            }
        }
        self.evaluated = bound.map(|bound| format!("  {bound:.3} bits")).unwrap_or_default()
            + &frechet_distance.map(|distance| format!("  FD {distance:.2}")).unwrap_or_default();
        self.say(&format!("{} (averaged weights)", said.trim_end_matches(',')));
        self.write(&LogEntry::Evaluation { step: n + 1, seconds, bound, frechet_distance })
    }

    /// Samples after step `n`, as a picture.
    ///
    /// # Errors
    /// A full disk.
    pub fn picture(&mut self, n: u32, tag: &str, picture: &Picture, text: &[(&str, &str)]) -> Result<()> {
        let folder = self.folder.join("samples");
        std::fs::create_dir_all(&folder).map_err(crate::Error::io(&folder))?;
        picture.save_png(&folder.join(format!("{tag}-{:06}.png", n + 1)), text)?;
        self.events.image(u64::from(n + 1), tag, picture)
    }

    /// A line for the user, above the progress bar.
    pub fn say(&self, message: &str) {
        if self.bar.is_hidden() {
            // That nobody reads any more is no reason to stop training.
            let _ = writeln!(std::io::stdout(), "{message}");
        } else {
            self.bar.println(message);
        }
    }

    /// Draws the curves, and ends the progress bar.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(self) -> Result<()> {
        self.bar.abandon();
        self.curves.save(&self.folder)
    }

    fn write(&mut self, line: &LogEntry) -> Result<()> {
        self.curves.add(line);
        self.lines.append(line)
    }
}
