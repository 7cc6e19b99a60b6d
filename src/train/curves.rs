//! The curves of a run, drawn at its end as PNG and SVG.

use super::log_entry::LogEntry;
use crate::Result;
use crate::output::Plot;
use std::path::Path;

/// What curves are drawn of: (step, value).
#[derive(Clone, Debug, Default)]
pub struct Curves {
    losses: Vec<(f64, f64)>,
    quarters: [Vec<(f64, f64)>; 4],
    validations: Vec<(f64, f64)>,
    bounds: Vec<(f64, f64)>,
    frechet_distances: Vec<(f64, f64)>,
}

impl Curves {
    /// Takes up a line of the log.
    pub fn add(&mut self, line: &LogEntry) {
        let step = f64::from(line.number());
        match *line {
            LogEntry::Step { loss, loss_by_quarter, .. } => {
                self.losses.push((step, loss));
                for (series, value) in self.quarters.iter_mut().zip(loss_by_quarter) {
                    series.extend(value.map(|value| (step, value)));
                }
            }
            LogEntry::Validation { validation_loss, .. } => self.validations.push((step, validation_loss)),
            LogEntry::Evaluation { bound, frechet_distance, .. } => {
                self.bounds.extend(bound.map(|bound| (step, bound)));
                self.frechet_distances.extend(frechet_distance.map(|distance| (step, distance)));
            }
        }
    }

    /// Draws `loss`, and where there were evaluations `bound` and `frechet_distance`, into the folder of a run.
    ///
    /// # Errors
    /// A full disk.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let span = (self.losses.len() as f64 / 50.0).max(1.0);
        let mut plot = Plot::new("Loss", "step", "loss").logarithmic().smoothed("training", &self.losses, span);
        for (number, quarter) in self.quarters.iter().enumerate() {
            plot = plot.smoothed(&format!("t in quarter {}", number + 1), quarter, span);
        }
        save(&plot.line("validation", &self.validations), folder, "loss")?;
        let bound = Plot::new("Variational bound", "step", "bits a dimension").line("held-back images", &self.bounds);
        let distance = Plot::new("Frechet distance", "step", "distance to training images")
            .logarithmic()
            .line("averaged weights", &self.frechet_distances);
        for (points, plot, name) in
            [(&self.bounds, bound, "bound"), (&self.frechet_distances, distance, "frechet_distance")]
        {
            if !points.is_empty() {
                save(&plot, folder, name)?;
            }
        }
        Ok(())
    }
}

fn save(plot: &Plot, folder: &Path, name: &str) -> Result<()> {
    plot.save(&folder.join(format!("{name}.png")))?;
    plot.save_svg(&folder.join(format!("{name}.svg")))
}
