//! The file of results of a mutation run: one line of JSON for each checked mutant. A run that is
//! interrupted continues from it.

use super::mutate::Mutant;
use super::worker::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::Path;

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Hash of the name and the complete changed text.
    key: u64,
    mutant: String,
    verdict: Verdict,
}

/// The known results, and the file that new ones are appended to.
#[derive(Default)]
pub struct Results {
    known: HashMap<u64, Verdict>,
    file: Option<File>,
}

fn key(mutant: &Mutant) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&mutant.name, &mutant.text).hash(&mut hasher);
    hasher.finish()
}

impl Results {
    /// Reads the file, if there is one, and opens it for new results. The last line for a mutant
    /// counts. A line that was cut off is ignored.
    ///
    /// # Errors
    /// The file cannot be read or written; the message names it.
    pub fn open(path: &Path) -> Result<Results, String> {
        let fail = |error: std::io::Error| format!("{}: {error}", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fail(error)),
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let known = lines.map(|line| (line.key, line.verdict)).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
        if !text.is_empty() && !text.ends_with('\n') {
            writeln!(file).map_err(fail)?;
        }
        Ok(Results { known, file: Some(file) })
    }

    /// The result of a mutant that was checked before.
    pub fn get(&self, mutant: &Mutant) -> Option<&Verdict> {
        self.known.get(&key(mutant))
    }

    /// Forgets the mutants that passed the checks, so that they are checked again.
    pub fn forget_survivors(&mut self) {
        self.known.retain(|_, verdict| *verdict != Verdict::Passed);
    }

    /// Appends a result.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, mutant: &Mutant, verdict: &Verdict) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let line = Line { key: key(mutant), mutant: mutant.to_string(), verdict: verdict.clone() };
        let line = serde_json::to_string(&line).expect("a line is JSON");
        writeln!(file, "{line}").map_err(|error| format!("the file of results cannot be written: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::mutate::mutants;
    use super::*;

    #[test]
    fn results_are_read_again() {
        let text = "@compute @workgroup_size(1) fn f() { var x = 1u; for (var i = 0u; i < 8u; i++) { x += i; } }";
        let found = mutants("f.wgsl", text, str::to_string);
        let path = std::env::temp_dir().join(format!("degrain-mutants-{}.jsonl", std::process::id()));
        let mut results = Results::open(&path).unwrap();
        assert_eq!(results.get(&found[0]), None);
        results.add(&found[0], &Verdict::Passed).unwrap();
        results.add(&found[1], &Verdict::Failed("differs".into())).unwrap();
        // A line that was cut off, as after a kill.
        write!(results.file.as_mut().unwrap(), "{{\"key\":").unwrap();
        results = Results::open(&path).unwrap();
        results.add(&found[2], &Verdict::TimedOut).unwrap();
        results = Results::open(&path).unwrap();
        let verdicts: Vec<_> = found[..3].iter().map(|mutant| results.get(mutant).cloned()).collect();
        assert_eq!(verdicts, [Some(Verdict::Passed), Some(Verdict::Failed("differs".into())), Some(Verdict::TimedOut)]);
        results.forget_survivors();
        assert_eq!((results.get(&found[0]), results.get(&found[2])), (None, Some(&Verdict::TimedOut)));
        std::fs::remove_file(path).unwrap();
    }
}
