//! CIFAR-10 in its binary version, plain or gzip.
//!
//! A file is a sequence of records. A record is one byte with the class, then 32 x 32 bytes each of
//! red, green and blue, row-major. The published batches have 10,000 records each.
//! `data_batch_1.first4000.bin` holds the first records of a batch, as many as its name says. The
//! format is described at <https://www.cs.toronto.edu/~kriz/cifar.html>.

use super::dataset::{Dataset, Split, Statistics};
use super::format::Format;
use super::load_options::LoadOptions;
use super::source::{SourceFile, holds_any, matching};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

pub(super) const FORMAT: Format = Format { names, has_sizes: false, holds, load };

const SIDE: usize = 32;
const RECORD: usize = 1 + 3 * SIDE * SIDE;
/// Records of a published batch. No file may have more; there is no header with their number.
const BATCH: usize = 10_000;
/// File with the names of the classes, one per line.
const NAMES: &str = "batches.meta.txt";
/// Largest accepted size of that file in bytes.
const LONGEST_NAMES: usize = 1 << 16;
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

fn names(split: Split) -> Vec<String> {
    let stem = match split {
        Split::Train => "data_batch_*",
        Split::Test => "test_batch*",
    };
    vec![format!("{stem}.bin"), format!("{stem}.bin.gz")]
}

fn holds(folder: &Path) -> Result<bool> {
    holds_any(folder, names)
}

fn load(folder: &Path, split: Split, _options: &LoadOptions) -> Result<Dataset> {
    let (mut images, mut labels, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for (name, records) in batches(folder, split)?.into_values() {
        let mut source = SourceFile::open(&folder.join(name))?;
        let content = read(&mut source, records)?;
        for (number, record) in content.chunks_exact(RECORD).enumerate() {
            let label = record[0];
            if usize::from(label) >= CLASSES.len() {
                return Err(source.problem(format!(
                    "its record {number} (from 0) has the label {label}, but CIFAR-10 has the classes 0 to 9: \
                     it is damaged or not of this format"
                )));
            }
            labels.push(u32::from(label));
            images.extend_from_slice(&record[1..]);
        }
        files.push(source.describe(&content));
    }
    let class_names = match folder.join(NAMES) {
        path if path.is_file() => {
            let mut source = SourceFile::open(&path)?;
            let content = source.take(LONGEST_NAMES)?;
            files.push(source.describe(&content));
            class_names(&source, content)?
        }
        _ => CLASSES.map(String::from).to_vec(),
    };
    Ok(Dataset {
        name: "CIFAR-10".to_string(),
        statistics: Statistics::new(&images),
        images: images.into(),
        count: labels.len(),
        labels,
        channels: 3,
        height: SIDE,
        width: SIDE,
        classes: class_names.len(),
        class_names,
        mirrors: true,
        files,
        notes: vec![],
    })
}

/// The files by batch number: name, and number of records if the name gives it.
fn batches(folder: &Path, split: Split) -> Result<BTreeMap<u32, (String, Option<usize>)>> {
    let mut batches = BTreeMap::new();
    for name in matching(folder, &names(split))? {
        let Some((number, records)) = parse(&name, split) else {
            let known = match split {
                Split::Train => "data_batch_1.bin to data_batch_5.bin, and parts such as data_batch_1.first4000.bin",
                Split::Test => "test_batch.bin, and parts such as test_batch.first1000.bin",
            };
            return Err(Error::file(
                folder.join(name),
                format!("is not a batch of CIFAR-10 ({known}): rename or remove it"),
            ));
        };
        if let Some((other, _)) = batches.insert(number, (name.clone(), records)) {
            let problem = format!("is the same batch as {other} in this folder: remove one of them");
            return Err(Error::file(folder.join(name), problem));
        }
    }
    if batches.is_empty() {
        let wanted = names(split).join(", ");
        return Err(Error::file(folder, format!("a file is missing; looked in this folder for {wanted}")));
    }
    Ok(batches)
}

/// The batch number in a file's name, and the number of records if the name gives it.
fn parse(name: &str, split: Split) -> Option<(u32, Option<usize>)> {
    let stem = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".bin")?;
    let (stem, records) = match stem.split_once(".first") {
        Some((stem, records)) => (stem, Some(records.parse().ok()?)),
        None => (stem, None),
    };
    let number = match split {
        Split::Train => (1..=5).find(|number| stem == format!("data_batch_{number}"))?,
        Split::Test => (stem == "test_batch").then_some(0)?,
    };
    Some((number, records))
}

/// The content of a file: at least one record, and as many records as its name says.
fn read(source: &mut SourceFile, records: Option<usize>) -> Result<Vec<u8>> {
    // Reads one byte more than allowed, to detect a longer file.
    let content = source.take(BATCH * RECORD + 1)?;
    let (whole, left) = (content.len() / RECORD, content.len() % RECORD);
    if content.len() > BATCH * RECORD {
        return Err(
            source.problem(format!("is oversized: it goes on after the {BATCH} records of a batch of CIFAR-10"))
        );
    }
    if left > 0 {
        return Err(source.problem(format!(
            "is truncated: after {whole} whole records, {left} bytes are left of the next record's {RECORD}"
        )));
    }
    if whole == 0 {
        return Err(source.problem("should hold records of CIFAR-10, but the file is empty"));
    }
    if let Some(promised) = records.filter(|&records| records != whole) {
        return Err(source.problem(format!("holds {whole} records, but its name says {promised}")));
    }
    Ok(content)
}

fn class_names(source: &SourceFile, content: Vec<u8>) -> Result<Vec<String>> {
    let text =
        String::from_utf8(content).map_err(|_| source.problem("should hold names of classes, but is not UTF-8"))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
    if names.len() != CLASSES.len() {
        return Err(source.problem(format!(
            "names {} classes, but CIFAR-10 has {}: one name per line",
            names.len(),
            CLASSES.len()
        )));
    }
    Ok(names)
}
