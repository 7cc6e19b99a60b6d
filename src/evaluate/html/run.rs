//! A run as the page shows it: the numbers, the pictures and the log of its folder.

use super::history::History;
use super::number::Number;
use crate::evaluate::evaluation::Evaluation;
use crate::output::Picture;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The folder of an evaluated run, read.
pub struct Run {
    name: String,
    /// What was measured.
    pub evaluation: Evaluation,
    /// The same as it was written: the page's numbers are taken from here by name.
    document: Value,
    pub(super) history: History,
    /// Samples of the same seeds for all runs.
    pub(super) grid: Option<Picture>,
    /// Samples, and below each the training image nearest to it.
    pub(super) closest: Option<Picture>,
    /// Noising an image, left to right.
    pub(super) forward: Option<Picture>,
    /// Denoising, left to right.
    pub(super) reverse: Option<Picture>,
}

impl Run {
    /// Reads the folder of a run, or of an evaluation. Only `evaluation.json` must be there; pictures and log are shown if they are.
    ///
    /// # Errors
    /// [`Error::File`] for a run that has not been evaluated, and for a file that is damaged;
    /// [`Error::Io`] for one that cannot be read.
    pub fn read(folder: &Path) -> Result<Run> {
        if !folder.is_dir() {
            return Err(Error::file(folder, "there is no such folder: name that of an evaluated run"));
        }
        // That of a run, or that which `evaluate` wrote by itself.
        let alone = folder.join(Evaluation::FILE).is_file();
        let evaluated = if alone { folder.to_path_buf() } else { folder.join("evaluation") };
        let run = if alone { folder.parent().unwrap_or(folder) } else { folder };
        let path = evaluated.join(Evaluation::FILE);
        if !path.is_file() {
            let run = folder.display();
            let problem = format!("has not been evaluated: run `evaluate --checkpoint {run}` first");
            return Err(Error::file(folder, problem));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let foreign = |error| {
            Error::file(&path, format!("is no evaluation as this version writes it ({error}): evaluate the run again"))
        };
        let evaluation: Evaluation = serde_json::from_str(&text).map_err(foreign)?;
        let mut name = evaluation.subject.name.clone();
        if let Some(place) = folder.file_name().filter(|place| alone && *place != "evaluation") {
            name = format!("{name} ({})", place.to_string_lossy());
        }
        Ok(Run {
            name,
            evaluation,
            document: serde_json::from_str(&text).map_err(foreign)?,
            history: History::read(run)?,
            grid: picture(&evaluated.join("grid.png"))?,
            closest: picture(&evaluated.join("closest.png"))?,
            forward: picture(&run.join("forward.png"))?,
            reverse: picture(&run.join("reverse.png"))?,
        })
    }

    /// Its name; that of the evaluation's folder too, where it is not the usual one of a run.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number at a path of names and indices, such as `likelihood.0.total.value`; `None` where the document has
    /// none.
    pub(super) fn number(&self, field: &str) -> Option<Number> {
        let number = self.document.pointer(&format!("/{}", field.replace('.', "/")))?.as_number()?;
        Some(Number {
            run: self.name().into(),
            field: field.into(),
            digits: number.to_string(),
            value: number.as_f64()?,
        })
    }

    /// A number divided by another; `None` where one of them is missing, or the second is 0.
    pub(super) fn quotient(&self, dividend: &str, divisor: &str) -> Option<Number> {
        let (dividend, divisor) =
            (self.number(dividend)?, self.number(divisor).filter(|divisor| divisor.value != 0.0)?);
        let value = dividend.value / divisor.value;
        let field = format!("{} / {}", dividend.field, divisor.field);
        Some(Number { field, digits: Value::from(value).to_string(), value, run: dividend.run })
    }
}

/// A picture, if it is there. It is decoded: a damaged one is the reader's error, not a hole in the page.
fn picture(path: &Path) -> Result<Option<Picture>> {
    path.is_file().then(|| Picture::load_png(path)).transpose()
}
