//! `log.jsonl`: one JSON object per line, written during training.

use crate::error::{Error, Result};
use crate::files::Appender;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// A log that is being written. A killed process loses at most the record it was writing.
pub struct JsonLines {
    file: Appender,
}

impl JsonLines {
    /// Opens `path` at its end, or creates it. An incomplete last line, left by a killed process,
    /// is removed.
    ///
    /// # Errors
    /// [`Error::Io`] naming `path`.
    pub fn open(path: &Path) -> Result<JsonLines> {
        let mut file = Appender::open(path)?;
        let content = std::fs::read(path).map_err(Error::io(path))?;
        let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole < content.len() {
            file.cut(whole as u64)?;
        }
        Ok(JsonLines { file })
    }

    /// Adds one record as one line. Numbers that are not finite become `null`, because JSON cannot
    /// represent them.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    ///
    /// # Panics
    /// If `record` cannot be JSON, such as a map whose keys are not strings.
    #[track_caller]
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line =
            serde_json::to_vec(record).unwrap_or_else(|error| panic!("a log record cannot be JSON: {error}"));
        line.push(b'\n');
        self.file.append(&line)
    }

    /// Writes the records to the disk.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    /// Keeps the records before the first that `keep` rejects or that cannot be parsed, and returns
    /// them. Removes the rest of the file, which a resumed run writes again.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn keep_while<T: DeserializeOwned>(&mut self, keep: impl Fn(&T) -> bool) -> Result<Vec<T>> {
        let text = std::fs::read_to_string(self.file.path()).map_err(Error::io(self.file.path()))?;
        let (kept, length) = records(&text, keep);
        self.file.cut(length as u64)?;
        Ok(kept)
    }
}

/// Reads the records of a log up to the first line that cannot be parsed, such as a half-written
/// one. The file is not changed.
///
/// # Errors
/// [`Error::Io`] naming `path`.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    Ok(records(&text, |_| true).0)
}

/// The records before the first that `keep` rejects or that cannot be parsed, and their length in
/// bytes.
fn records<T: DeserializeOwned>(text: &str, keep: impl Fn(&T) -> bool) -> (Vec<T>, usize) {
    let (mut kept, mut length) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        match serde_json::from_str(line) {
            Ok(record) if keep(&record) => kept.push(record),
            _ => break,
        }
        length += line.len();
    }
    (kept, length)
}
