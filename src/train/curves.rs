//! Curves of a run, plotted as PNG and SVG when the run ends.

use super::log_entry::LogEntry;
use crate::Result;
use crate::output::Plot;
use std::path::Path;

/// Points (step, value) of each curve.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    losses: Vec<(f64, f64)>,
    quarters: [Vec<(f64, f64)>; 4],
    validations: Vec<(f64, f64)>,
    bits_per_dim: Vec<(f64, f64)>,
    training_bits_per_dim: Vec<(f64, f64)>,
    frechet_distances: Vec<(f64, f64)>,
}

impl Curves {
    /// The curves of these log entries.
    pub fn new(entries: &[LogEntry]) -> Curves {
        let mut curves = Curves::default();
        entries.iter().for_each(|entry| curves.add(entry));
        curves
    }

    /// Adds the points of a log entry.
    pub fn add(&mut self, entry: &LogEntry) {
        let step = f64::from(entry.step());
        match *entry {
            LogEntry::Step { loss, loss_by_quarter, .. } => {
                self.losses.push((step, loss));
                for (series, value) in self.quarters.iter_mut().zip(loss_by_quarter) {
                    series.extend(value.map(|value| (step, value)));
                }
            }
            LogEntry::Validation { validation_loss, .. } => self.validations.push((step, validation_loss)),
            LogEntry::Evaluation { bits_per_dim, training_bits_per_dim, frechet_distance, .. } => {
                self.bits_per_dim.extend(bits_per_dim.map(|bits| (step, bits)));
                self.training_bits_per_dim.extend(training_bits_per_dim.map(|bits| (step, bits)));
                self.frechet_distances.extend(frechet_distance.map(|distance| (step, distance)));
            }
        }
    }

    /// Plots `loss` into a run's folder, and also `bits_per_dim` and `frechet_distance` if the run
    /// was evaluated.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let span = (self.losses.len() as f64 / 50.0).max(1.0);
        let mut plot = Plot::new("Loss", "step", "loss").logarithmic().smoothed("training", &self.losses, span);
        for (number, quarter) in self.quarters.iter().enumerate() {
            plot = plot.smoothed(&format!("timesteps, quarter {}", number + 1), quarter, span);
        }
        save(&plot.line("validation", &self.validations), folder, "loss")?;
        if !self.bits_per_dim.is_empty() {
            let plot = Plot::new("Bits per dimension", "step", "bits per dimension");
            let plot = plot.line("validation images", &self.bits_per_dim);
            save(&plot.line("training images", &self.training_bits_per_dim), folder, "bits_per_dim")?;
        }
        if !self.frechet_distances.is_empty() {
            let plot = Plot::new("Frechet distance", "step", "distance to training images").logarithmic();
            save(&plot.line("EMA weights", &self.frechet_distances), folder, "frechet_distance")?;
        }
        Ok(())
    }
}

fn save(plot: &Plot, folder: &Path, name: &str) -> Result<()> {
    plot.save(&folder.join(format!("{name}.png")))?;
    plot.save_svg(&folder.join(format!("{name}.svg")))
}
