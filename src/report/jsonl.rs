//! `log.jsonl`: one JSON object a line, written as training goes.

use crate::error::{Error, Result};
use crate::files::Appender;
use serde::Serialize;
use std::path::Path;

/// A log that is being written. A killed process loses at most the record it was writing.
pub struct JsonLines {
    file: Appender,
}

impl JsonLines {
    /// Opens `path` at its end, or creates it. A last line without its end, left by a killed process, is cut off.
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

    /// Adds one record as one line. Numbers that are not finite become `null`, as JSON has none.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    ///
    /// # Panics
    /// When `record` cannot be JSON, such as a map whose keys are not strings.
    #[track_caller]
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(record).unwrap_or_else(|error| panic!("a log record is no JSON: {error}"));
        line.push(b'\n');
        self.file.append(&line)
    }
}
