//! Where the first weights of a run come from, if they are those of another model.

use crate::Result;
use crate::error::Error;
use crate::files::shell_quoted;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a new run took from its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// The whole state of training: it goes on where the origin was.
    State,
    /// The EMA weights of a model, as parameters and as EMA.
    Weights,
}

/// The checkpoint whose weights a new run started from. A run does not read it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What was taken.
    pub taken: Taken,
    /// The checkpoint.
    pub path: PathBuf,
    /// Name of the run that wrote it; `None` if it is not known.
    pub run: Option<String>,
    /// Its finished steps.
    pub step: u32,
    /// SHA-256 of its file with the values, in lower-case hexadecimal.
    pub sha256: String,
    /// The null class that the user named for a model of another program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_class: Option<u32>,
}

impl Origin {
    /// The options that start such a run again.
    pub(super) fn options(&self, out: &Path) -> String {
        let (path, out) = (shell_quoted(&self.path), shell_quoted(out));
        match self.taken {
            Taken::State => format!("--resume {path} --out {out}"),
            Taken::Weights => {
                let null_class = self.null_class.map_or(String::new(), |class| format!(" --null-class {class}"));
                format!("--init-from {path}{null_class} --config {out}/config.toml")
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.taken {
            Taken::State => write!(f, "a new run that continues {path}"),
            Taken::Weights => write!(f, "the weights of {path}"),
        }
    }
}

/// SHA-256 of one or several files in a row, in lower-case hexadecimal.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn sha256(files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(std::fs::read(file).map_err(Error::io(file))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
