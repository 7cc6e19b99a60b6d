//! Labels of a folder of images: a CSV file or JSON lines, next to the images or in the folder above
//! them.
//!
//! A CSV file has a line with the names of its columns, or two columns `file,label` without names.
//! Fields may be quoted (RFC 4180), and separated by commas, semicolons or tabs. Metadata of Hugging
//! Face's `ImageFolder` has the column `file_name`.

use super::dataset::DataFile;
use super::image_names::is_image_name;
use super::source::SourceFile;
use super::split_names::is_of_split;
use crate::error::{Error, Result};
use crate::output::counted;
use csv::{ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// Names of the file, in the order in which they are looked for.
pub(super) const NAMES: [&str; 3] = ["labels.csv", "metadata.csv", "metadata.jsonl"];
/// Names of the column of files; the first that a file has is used. Case does not matter.
const FILE_COLUMNS: [&str; 9] =
    ["file_name", "file", "filename", "image", "image_id", "image_name", "path", "name", "id"];
/// Names of the column of labels, likewise.
pub(super) const LABEL_COLUMNS: [&str; 8] =
    ["label", "labels", "class", "class_name", "category", "target", "class_id", "y"];
/// Largest accepted size in bytes: enough for tens of millions of images.
const LONGEST: usize = 1 << 30;

/// A file of labels.
pub(super) struct LabelFile {
    /// For the run's manifest.
    pub file: DataFile,
    /// Names of its columns; empty without a line of names.
    pub columns: Vec<String>,
    source: SourceFile,
    rows: Vec<Row>,
    /// Whether it has a column of labels.
    labeled: bool,
    /// The folder of the images, relative to the folder of the file; empty if they are the same.
    below: String,
}

/// One image in the file.
struct Row {
    /// Line number, from 1.
    line: u64,
    file: String,
    label: String,
}

impl LabelFile {
    /// The labels of the images in `place`, which is `folder` or a folder in it; `None` if there is
    /// no such file.
    ///
    /// # Errors
    /// A file that cannot be read; two files in one folder.
    pub fn find(folder: &Path, place: &Path, images: &[String]) -> Result<Option<LabelFile>> {
        for above in [false, true] {
            let here = if above { folder } else { place };
            let found: Vec<&str> = NAMES.into_iter().filter(|name| here.join(name).is_file()).collect();
            match found[..] {
                [] => {}
                [name] => {
                    let below = place.strip_prefix(here).ok().and_then(Path::to_str).unwrap_or_default();
                    return LabelFile::read(&here.join(name), below, images).map(Some);
                }
                [first, second, ..] => {
                    let problem = format!("is next to {first}: both give labels, so remove or rename one of them");
                    return Err(Error::file(here.join(second), problem));
                }
            }
        }
        Ok(None)
    }

    fn read(path: &Path, below: &str, images: &[String]) -> Result<LabelFile> {
        let mut source = SourceFile::open(path)?;
        let content = source.take(LONGEST)?;
        let file = source.describe(&content);
        let text = String::from_utf8(content)
            .map_err(|_| source.problem("is not UTF-8: save it as CSV in UTF-8 (spreadsheets offer this)"))?;
        // Spreadsheets begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let mut labels = LabelFile { file, columns: vec![], source, rows: vec![], labeled: true, below: normal(below) };
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            labels.read_json(text)?;
        } else {
            labels.read_csv(text, images)?;
        }
        if labels.rows.is_empty() {
            return Err(labels.source.problem("names no image: write a line `file,label` for each image"));
        }
        Ok(labels)
    }

    fn read_csv(&mut self, text: &str, images: &[String]) -> Result<()> {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        // The separator that the first line has most often.
        let delimiter =
            [b'\t', b';', b','].into_iter().max_by_key(|&byte| first.bytes().filter(|&b| b == byte).count());
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter.unwrap_or(b','))
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(text.as_bytes());
        let known = Images::new(images);
        let mut places: Option<(usize, Option<usize>)> = None;
        let mut width = 0;
        for record in reader.records() {
            let record = record.map_err(|error| self.source.problem(format!("is not readable as CSV: {error}")))?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.iter().all(str::is_empty) {
                continue;
            }
            let Some((file, label)) = places else {
                width = record.len();
                // It may be an image of another split.
                let is_image = |name: &str| {
                    is_image_name(Path::new(name)) || name.contains('.') && self.place_of(&known, name).is_some()
                };
                places = Some(match column(&record, &FILE_COLUMNS) {
                    _ if width == 2 && is_image(&record[0]) => {
                        self.add(line, &record[0], &record[1])?;
                        (0, Some(1))
                    }
                    Some(file) => {
                        self.columns = record.iter().map(String::from).collect();
                        (file, column(&record, &LABEL_COLUMNS))
                    }
                    None => return Err(self.unclear(line, &record)),
                });
                self.labeled = places.is_some_and(|(_, label)| label.is_some());
                continue;
            };
            if record.len() != width {
                return Err(self.source.problem(format!(
                    "line {line} has {}, but the first line has {width}: put a field that contains a comma in \
                     quotes",
                    counted(record.len(), "field")
                )));
            }
            self.add(line, &record[file], label.map_or("", |label| &record[label]))?;
        }
        Ok(())
    }

    fn read_json(&mut self, text: &str) -> Result<()> {
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let row: Map<String, Value> = serde_json::from_str(text)
                .map_err(|error| self.source.problem(format!("line {line} is not a JSON object: {error}")))?;
            let names = StringRecord::from(row.keys().map(String::as_str).collect::<Vec<_>>());
            let value = |index: Option<usize>| index.and_then(|index| row.values().nth(index));
            let Some(Value::String(file)) = value(column(&names, &FILE_COLUMNS)) else {
                let problem =
                    format!("line {line} has no text with the key file_name: give the name of the image there");
                return Err(self.source.problem(problem));
            };
            let label = value(column(&names, &LABEL_COLUMNS));
            if self.rows.is_empty() {
                self.columns = names.iter().map(String::from).collect();
                self.labeled = label.is_some();
            }
            if label.is_some_and(|label| !label.is_null()) && !self.labeled {
                let first = self.rows.first().map_or(0, |row| row.line);
                let problem =
                    format!("line {line} has a label, and line {first} has none: give all images a label or none");
                return Err(self.source.problem(problem));
            }
            let label = match label {
                Some(Value::String(label)) => label.trim().to_string(),
                Some(number @ (Value::Number(_) | Value::Bool(_))) => number.to_string(),
                None if !self.labeled => String::new(),
                other => {
                    let other = other.map_or("nothing".into(), Value::to_string);
                    let problem = format!("line {line} has the label {other}: a label is a text or a number");
                    return Err(self.source.problem(problem));
                }
            };
            self.add(line, file, &label)?;
        }
        Ok(())
    }

    fn add(&mut self, line: u64, file: &str, label: &str) -> Result<()> {
        if file.is_empty() || self.labeled && label.is_empty() {
            let what = if file.is_empty() { "file" } else { "label" };
            return Err(self.source.problem(format!("line {line} has an empty {what}: fill it in or remove the line")));
        }
        self.rows.push(Row { line, file: file.into(), label: label.nfc().collect() });
        Ok(())
    }

    fn unclear(&self, line: u64, record: &StringRecord) -> Error {
        let columns: Vec<&str> = record.iter().collect();
        self.source.problem(format!(
            "line {line} ({}) neither names the columns `file` and `label` nor is an image with its label: begin the \
             file with `file,label`",
            columns.join(", ")
        ))
    }

    /// The label of each image; `None` if the file has no labels. An image may be named by its path
    /// in the folder, by its name alone or without its extension, if that is unique.
    ///
    /// # Errors
    /// An image without a label or with two, and a name that is of no image.
    pub fn labels_of(&self, images: &[String]) -> Result<Option<Vec<String>>> {
        if !self.labeled {
            return Ok(None);
        }
        let known = Images::new(images);
        let mut found: Vec<Option<&Row>> = vec![None; images.len()];
        // A name with the folder of the images goes before the same name without it, which may be of
        // another folder.
        let (exact, others): (Vec<&Row>, Vec<&Row>) =
            self.rows.iter().partition(|row| self.inside(&row.file).is_some());
        for row in exact.into_iter().chain(others) {
            let (line, name) = (row.line, &row.file);
            match self.place_of(&known, name) {
                Some(Place::One(image))
                    if self.inside(name).is_none()
                        && found[image].is_some_and(|row| self.inside(&row.file).is_some()) => {}
                Some(Place::One(image)) => {
                    if let Some(first) = found[image].replace(row) {
                        let problem = format!("names {name} twice, in lines {} and {line}: remove one", first.line);
                        return Err(self.source.problem(problem));
                    }
                }
                Some(Place::Several) => {
                    let problem = format!(
                        "line {line} names {name}, and several images have this name: write it with its subfolder"
                    );
                    return Err(self.source.problem(problem));
                }
                // An image of another split.
                None if !self.below.is_empty() || is_of_split(&normal(name)) => {}
                None => {
                    let hint = if line == 1 { " (a line of column names would be `file,label`)" } else { "" };
                    let problem = format!("line {line} names {name}, but this folder has no such image{hint}");
                    return Err(self.source.problem(problem));
                }
            }
        }
        let missing = found.iter().filter(|row| row.is_none()).count();
        if let Some(first) = found.iter().position(Option::is_none) {
            let more = if missing > 1 { format!(" and for {} more", missing - 1) } else { String::new() };
            let problem = format!("has no label for {}{more}: add it, or move the image away", images[first]);
            return Err(self.source.problem(problem));
        }
        Ok(Some(found.into_iter().flatten().map(|row| row.label.clone()).collect()))
    }
}

impl LabelFile {
    /// The rest of a name that begins with the folder of the images, if that is below the file.
    fn inside(&self, name: &str) -> Option<String> {
        let name = normal(name);
        let rest = name.strip_prefix(&self.below).and_then(|rest| rest.strip_prefix('/'));
        rest.filter(|_| !self.below.is_empty()).map(String::from)
    }

    /// The image that a name in this file means. Folders above the images are left out, but not the
    /// folder of another split.
    fn place_of(&self, images: &Images, name: &str) -> Option<Place> {
        if let Some(inside) = self.inside(name) {
            return images.paths(&inside);
        }
        let name = normal(name);
        images.paths(&name).or_else(|| if is_of_split(&name) { None } else { images.any(&name) })
    }
}

/// The place of the first of `names` among the fields, ignoring case.
fn column(record: &StringRecord, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| record.iter().position(|field| field.eq_ignore_ascii_case(name)))
}

/// Where an image is in a list.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    One(usize),
    Several,
}

/// Images by their names, in the forms in which files of labels write them.
struct Images {
    /// By their paths, with and without the extension.
    paths: HashMap<String, Place>,
    /// By their names alone, likewise.
    names: HashMap<String, Place>,
}

impl Images {
    fn new(images: &[String]) -> Images {
        let table = |form: fn(&str) -> String| {
            let mut places = HashMap::new();
            // A whole name is never hidden by another name without its extension.
            for form in [form, |path: &str| stem(path)].map(|last| move |path: &str| last(&form(path))) {
                let mut more: HashMap<String, Place> = HashMap::new();
                for (number, image) in images.iter().enumerate() {
                    let place = Place::One(number);
                    more.entry(form(&normal(image))).and_modify(|there| *there = Place::Several).or_insert(place);
                }
                more.into_iter().for_each(|(name, place)| {
                    places.entry(name).or_insert(place);
                });
            }
            places
        };
        Images { paths: table(|path| path.to_string()), names: table(name_of) }
    }

    /// The image with this path.
    fn paths(&self, path: &str) -> Option<Place> {
        self.paths.get(path).copied()
    }

    /// The image whose path or name is the end of a longer path.
    fn any(&self, path: &str) -> Option<Place> {
        let ends = path.match_indices('/').map(|(slash, _)| &path[slash + 1..]);
        ends.filter_map(|end| self.paths(end)).next().or_else(|| self.names.get(&name_of(path)).copied())
    }
}

/// A name with `/` between folders, in Unicode's normal form C: macOS writes another form.
fn normal(name: &str) -> String {
    let name: String = name.replace('\\', "/").nfc().collect();
    name.trim_start_matches("./").trim_start_matches('/').to_string()
}

fn name_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_string()
}

/// The path without its extension.
fn stem(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => stem.to_string(),
        _ => path.to_string(),
    }
}
