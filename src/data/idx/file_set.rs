//! The names of the files of a data set in IDX format: those of MNIST, which Fashion-MNIST and
//! Kuzushiji-MNIST use too, and those of EMNIST and QMNIST.

use crate::data::dataset::Split;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

const DIGITS: &str = "0123456789";
/// Capital letters, and the small letters that look different.
const MERGED: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt";

/// A data set by the names of its files.
#[derive(Debug, PartialEq)]
pub(super) struct FileSet {
    /// Start of the names, such as `emnist-letters-`; empty for MNIST's names.
    prefix: &'static str,
    /// The splits in the names.
    splits: [&'static str; 2],
    /// Kind of the labels in the names.
    labels: &'static str,
    /// The first label, and a letter for each label. Empty if the labels are their own names.
    names: (i32, &'static str),
    /// Name of the data set.
    pub name: &'static str,
    /// Whether rows and columns are exchanged.
    pub transposed: bool,
}

const MNIST: FileSet = FileSet {
    prefix: "",
    splits: ["train", "t10k"],
    labels: "idx1-ubyte",
    names: (0, ""),
    name: "idx",
    transposed: false,
};

/// The files of EMNIST (Cohen et al. 2017) are written column by column.
const fn emnist(prefix: &'static str, first: i32, names: &'static str, name: &'static str) -> FileSet {
    FileSet { prefix, splits: ["train", "test"], names: (first, names), name, transposed: true, ..MNIST }
}

/// Every data set. The labels of QMNIST (Yadav and Bottou 2019) have eight columns; the first is the
/// class.
const SETS: [FileSet; 8] = [
    MNIST,
    FileSet { prefix: "qmnist-", splits: ["train", "test"], labels: "idx2-int", name: "QMNIST", ..MNIST },
    emnist("emnist-balanced-", 0, MERGED, "EMNIST balanced"),
    emnist("emnist-byclass-", 0, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "EMNIST byclass"),
    emnist("emnist-bymerge-", 0, MERGED, "EMNIST bymerge"),
    emnist("emnist-digits-", 0, DIGITS, "EMNIST digits"),
    emnist("emnist-letters-", 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "EMNIST letters"),
    emnist("emnist-mnist-", 0, DIGITS, "EMNIST mnist"),
];

impl FileSet {
    /// Names of the files of images, in the two spellings in use, such as `train-images-idx3-ubyte`
    /// (the original site's) and `train-images.idx3-ubyte`, plain and compressed.
    pub fn images(&self, split: Split) -> Vec<String> {
        self.file_names(split, "images", "idx3-ubyte")
    }

    /// Names of the files of labels, likewise.
    pub fn labels(&self, split: Split) -> Vec<String> {
        self.file_names(split, "labels", self.labels)
    }

    fn file_names(&self, split: Split, what: &str, kind: &str) -> Vec<String> {
        let part = self.splits[usize::from(split == Split::Test)];
        let stem = |dot: &str| format!("{}{part}-{what}{dot}{kind}", self.prefix);
        [stem("-"), stem(".")].into_iter().flat_map(|name| [format!("{name}.gz"), name]).collect()
    }

    /// The name of the class of a label; the number if the label has no other name.
    pub fn class_name(&self, label: i32) -> String {
        let (first, names) = self.names;
        let letter = label
            .checked_sub(first)
            .and_then(|place| usize::try_from(place).ok())
            .and_then(|place| names.chars().nth(place));
        letter.map_or_else(|| label.to_string(), |letter| letter.to_string())
    }

    fn is_in(&self, folder: &Path) -> bool {
        let splits = [Split::Train, Split::Test];
        splits
            .iter()
            .flat_map(|&split| [self.images(split), self.labels(split)].concat())
            .any(|name| folder.join(name).is_file())
    }

    /// The name that chooses the set in a folder of several, such as `emnist-letters`.
    fn choice(&self) -> &'static str {
        self.prefix.trim_end_matches('-')
    }
}

/// Names of the files of MNIST, for a message.
pub(super) fn usual_names(split: Split) -> Vec<String> {
    [MNIST.images(split), MNIST.labels(split)].concat()
}

/// Whether a path names a data set: a folder with its files, or such a folder and the name of one
/// set of several, as in `data/emnist-letters`.
pub(super) fn names_set(path: &Path) -> bool {
    split_choice(path).is_some_and(|(folder, set)| set.is_in(&folder)) || SETS.iter().any(|set| set.is_in(path))
}

/// The folder and the data set that a path names.
///
/// # Errors
/// A folder with the files of several sets.
pub(super) fn find(path: &Path) -> Result<(PathBuf, &'static FileSet)> {
    if let Some(chosen) = split_choice(path) {
        return Ok(chosen);
    }
    let found: Vec<&FileSet> = SETS.iter().filter(|set| set.is_in(path)).collect();
    match found[..] {
        [] => Ok((path.into(), &SETS[0])),
        [set] => Ok((path.into(), set)),
        _ => {
            let (plain, named): (Vec<&FileSet>, Vec<&FileSet>) = found.iter().partition(|set| set.prefix.is_empty());
            let names: Vec<&str> = named.iter().map(|set| set.choice()).collect();
            let example = path.join(names[names.len() - 1]);
            let plain = match plain[..] {
                [] => "",
                _ => "; for the files without such a name, move them to a folder of their own",
            };
            let problem = format!(
                "holds the files of several data sets ({}): name one, as in --data {}{plain}",
                names.join(", "),
                example.display()
            );
            Err(Error::file(path, problem))
        }
    }
}

/// The folder and the set of a path such as `data/emnist-letters`, if there is no such folder.
fn split_choice(path: &Path) -> Option<(PathBuf, &'static FileSet)> {
    let name = path.file_name()?.to_str()?;
    let set = SETS.iter().find(|set| !set.prefix.is_empty() && set.choice() == name)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (!path.exists() && folder.is_dir()).then(|| (folder.into(), set))
}
