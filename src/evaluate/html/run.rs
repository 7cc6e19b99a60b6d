//! A run on the page: the metrics, the images and the log in its folder.

use super::history::History;
use super::number::Number;
use crate::evaluate::evaluation::Evaluation;
use crate::files::shell_quoted;
use crate::output::Picture;
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The contents of an evaluated run's folder.
pub struct EvaluatedRun {
    name: String,
    /// The folder of the run, which may have several evaluations.
    folder: PathBuf,
    /// The evaluation.
    pub evaluation: Evaluation,
    /// The evaluation as JSON, from which the page takes its numbers by name.
    document: Value,
    pub(super) history: History,
    /// A grid of samples.
    pub(super) grid: Option<Picture>,
    /// Samples above their nearest training images.
    pub(super) closest: Option<Picture>,
    /// The forward process, left to right.
    pub(super) forward: Option<Picture>,
    /// The reverse process, left to right.
    pub(super) reverse: Option<Picture>,
}

impl EvaluatedRun {
    /// Opens the folder of a run or of an evaluation. Only `evaluation.json` is required. Images
    /// and log are optional.
    ///
    /// # Errors
    /// [`Error::File`] for a run that has not been evaluated, for a damaged file, and for an
    /// `evaluation.json` of another version; [`Error::Io`] for a file that cannot be read.
    pub fn open(folder: &Path) -> Result<EvaluatedRun> {
        if !folder.is_dir() {
            return Err(Error::file(folder, "there is no such folder: name the folder of an evaluated run"));
        }
        // `folder` is the evaluation's own folder, or the run folder that contains it.
        let alone = folder.join(Evaluation::FILE).is_file();
        let evaluated = if alone { folder.to_path_buf() } else { folder.join("evaluation") };
        let run = if alone { folder.parent().unwrap_or(folder) } else { folder };
        let path = evaluated.join(Evaluation::FILE);
        if !path.is_file() {
            let run = shell_quoted(folder);
            let problem = format!("has not been evaluated: run `evaluate --checkpoint {run}` first");
            return Err(Error::file(folder, problem));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let foreign = |error| {
            let problem = format!("was not written by this version of evaluate ({error}): evaluate the run again");
            Error::file(&path, problem)
        };
        let evaluation: Evaluation = serde_json::from_str(&text).map_err(foreign)?;
        let mut name = evaluation.target.name.clone();
        if let Some(place) = folder.file_name().filter(|place| alone && *place != "evaluation") {
            name = format!("{name} ({})", place.to_string_lossy());
        }
        Ok(EvaluatedRun {
            name,
            folder: run.to_path_buf(),
            evaluation,
            document: serde_json::from_str(&text).map_err(foreign)?,
            history: History::read(run)?,
            grid: picture(&evaluated.join("grid.png"))?,
            closest: picture(&evaluated.join("closest.png"))?,
            forward: picture(&run.join("forward.png"))?,
            reverse: picture(&run.join("reverse.png"))?,
        })
    }

    /// The name. If the evaluation's folder does not have the default name, the name of the folder
    /// is added in parentheses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first evaluation of each run, for what is equal in all evaluations of a run.
    pub(super) fn first_of_each(runs: &[EvaluatedRun]) -> Vec<&EvaluatedRun> {
        let is_first = |(k, run): &(usize, &EvaluatedRun)| runs[..*k].iter().all(|other| other.folder != run.folder);
        runs.iter().enumerate().filter(is_first).map(|(_, run)| run).collect()
    }

    /// Whether both runs were evaluated with equal numbers of images, so that their distances,
    /// precision and recall can be compared.
    pub fn same_counts(&self, other: &EvaluatedRun) -> bool {
        let counts = |run: &EvaluatedRun| (run.evaluation.quality.counts, run.evaluation.quality.neighbor_images);
        counts(self) == counts(other)
    }

    /// The number at a path of names and indices, such as `likelihood.0.total.value`. `None` if the
    /// document has no such number.
    pub(super) fn number(&self, field: &str) -> Option<Number> {
        let number = self.document.pointer(&format!("/{}", field.replace('.', "/")))?.as_number()?;
        Some(Number {
            run: self.name().into(),
            field: field.into(),
            digits: number.to_string(),
            value: number.as_f64()?,
        })
    }

    /// A number divided by another; `None` if one of them is missing, or the divisor is 0.
    pub(super) fn quotient(&self, dividend: &str, divisor: &str) -> Option<Number> {
        let dividend = self.number(dividend)?;
        let divisor = self.number(divisor).filter(|divisor| divisor.value != 0.0)?;
        let value = dividend.value / divisor.value;
        let field = format!("{} / {}", dividend.field, divisor.field);
        Some(Number { field, digits: Value::from(value).to_string(), value, run: dividend.run })
    }
}

/// Reads an image, if it exists. Decoding it here makes a damaged file an error instead of a broken
/// image on the page.
fn picture(path: &Path) -> Result<Option<Picture>> {
    path.is_file().then(|| Picture::load_png(path)).transpose()
}
