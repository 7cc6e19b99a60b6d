//! `labels.csv`: the class of each image of a folder, as lines `file,label`.
//!
//! The file must name every image once and no other file, because a label of the wrong image would
//! not be noticed.

use super::dataset::DataFile;
use super::source::SourceFile;
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The file's name.
pub(super) const NAME: &str = "labels.csv";
/// The optional first line.
const HEADER: &str = "file,label";
/// Largest accepted size in bytes: enough for tens of millions of images.
const LONGEST: usize = 1 << 30;

/// A file of labels, before they are matched with images.
pub(super) struct LabelFile {
    source: SourceFile,
    /// For the run's manifest.
    pub file: DataFile,
    /// For each image that the file names: the line number, from 1, and the label.
    lines: BTreeMap<String, (usize, String)>,
}

impl LabelFile {
    /// Reads the labels in a folder; `None` if there is no such file.
    pub fn read(folder: &Path) -> Result<Option<LabelFile>> {
        let path = folder.join(NAME);
        if !path.is_file() {
            return Ok(None);
        }
        let mut source = SourceFile::open(&path)?;
        let content = source.take(LONGEST)?;
        let file = source.describe(&content);
        let text = String::from_utf8(content)
            .map_err(|_| source.problem("should hold lines `file,label`, but is not UTF-8: save it as CSV in UTF-8"))?;
        let mut lines: BTreeMap<String, (usize, String)> = BTreeMap::new();
        // Spreadsheets begin a file with a byte order mark.
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            if line.trim().is_empty() || (number == 1 && line.trim().eq_ignore_ascii_case(HEADER)) {
                continue;
            }
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let [name, label] = fields[..] else {
                let problem = format!("line {number} has {} fields, not the two of `{HEADER}`: {line}", fields.len());
                return Err(source.problem(problem));
            };
            if name.is_empty() || label.is_empty() {
                return Err(
                    source.problem(format!("line {number} has an empty field, but should be `{HEADER}`: {line}"))
                );
            }
            if let Some((first, _)) = lines.insert(name.to_string(), (number, label.to_string())) {
                return Err(source.problem(format!("names {name} twice, in lines {first} and {number}: remove one")));
            }
        }
        // 07 and 7 are one class.
        let numbers: Option<Vec<u64>> = lines.values().map(|(_, label)| label.parse().ok()).collect();
        if let Some(numbers) = numbers {
            lines.values_mut().zip(numbers).for_each(|((_, label), number)| *label = number.to_string());
        }
        Ok(Some(LabelFile { source, file, lines }))
    }

    /// Names of the classes: sorted by value if all are numbers, otherwise alphabetically.
    pub fn classes(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.lines.values().map(|(_, label)| label).collect();
        let mut names: Vec<String> = names.into_iter().cloned().collect();
        let number = |name: &String| name.parse::<u64>().ok();
        if names.iter().all(|name| number(name).is_some()) {
            names.sort_by_key(number);
        }
        names
    }

    /// The class of each image, as an index into `classes`. `images` must be exactly the images
    /// that the file names.
    pub fn class_indices(&self, images: &[String], classes: &[String]) -> Result<Vec<u32>> {
        let known: BTreeSet<&String> = images.iter().collect();
        let unknown = self.lines.iter().filter(|(name, _)| !known.contains(name)).min_by_key(|(_, (number, _))| number);
        if let Some((name, (number, _))) = unknown {
            let hint = if *number == 1 { format!(" (a header would be `{HEADER}`)") } else { String::new() };
            return Err(self
                .source
                .problem(format!("line {number} names {name}, but this folder has no such image{hint}")));
        }
        let mut missing = images.iter().filter(|name| !self.lines.contains_key(*name));
        if let Some(first) = missing.next() {
            let more = missing.count();
            return Err(self
                .source
                .problem(format!("has no label for {first}, nor for {more} more: every image needs one")));
        }
        let numbers: BTreeMap<&String, u32> = classes.iter().zip(0..).collect();
        let class = |name: &String| {
            let (number, label) = &self.lines[name];
            numbers.get(label).copied().ok_or_else(|| {
                self.source.problem(format!("line {number} has the label {label}, which no training image has"))
            })
        };
        images.iter().map(class).collect()
    }
}
