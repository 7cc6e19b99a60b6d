//! Names of classes, from the labels of the images.

use std::collections::{BTreeSet, HashMap};

/// The names of the classes: sorted by value if all labels are integers, otherwise by their bytes.
pub(super) struct ClassTable {
    /// One name for each class.
    pub names: Vec<String>,
    classes: HashMap<String, u32>,
    /// Whether labels are compared by value.
    by_value: bool,
}

impl ClassTable {
    /// The table of labels in a file. Leading zeros do not make another class if all labels are
    /// integers: 07, 7.0 and 7 are one class.
    pub fn of_labels<'a>(labels: impl Iterator<Item = &'a str>) -> ClassTable {
        let labels: BTreeSet<&str> = labels.collect();
        match by_value(&labels) {
            Some(values) => ClassTable::new(values.iter().map(|(value, _)| value.to_string()).collect(), true),
            None => ClassTable::new(labels.into_iter().map(String::from).collect(), false),
        }
    }

    /// The table of subfolders. Each one is a class, with its name as it is.
    pub fn of_folders<'a>(folders: impl Iterator<Item = &'a str>) -> ClassTable {
        let folders: BTreeSet<&str> = folders.collect();
        let names = match by_value(&folders) {
            Some(values) => values.into_iter().map(|(_, name)| name.to_string()).collect(),
            None => folders.into_iter().map(String::from).collect(),
        };
        ClassTable::new(names, false)
    }

    fn new(mut names: Vec<String>, by_value: bool) -> ClassTable {
        names.dedup();
        let classes = names.iter().cloned().zip(0..).collect();
        ClassTable { names, classes, by_value }
    }

    /// The index of the class of a label.
    pub fn index(&self, label: &str) -> Option<u32> {
        if self.by_value {
            return self.classes.get(&integer(label)?.to_string()).copied();
        }
        self.classes.get(label).copied()
    }
}

/// The value of an integer. pandas writes 7 as 7.0 if another label of the column is missing.
fn integer(label: &str) -> Option<i128> {
    let whole = label
        .split_once('.')
        .map_or(label, |(whole, rest)| if rest.bytes().all(|b| b == b'0') { whole } else { label });
    whole.parse().ok()
}

/// The labels with their values, sorted by them, if all are integers.
fn by_value<'a>(labels: &BTreeSet<&'a str>) -> Option<BTreeSet<(i128, &'a str)>> {
    labels.iter().map(|label| Some((integer(label)?, *label))).collect()
}

#[cfg(test)]
mod tests {
    use super::ClassTable;

    #[test]
    fn class_table_sorts_integers_by_value() {
        let names = |labels: &[&str]| ClassTable::of_labels(labels.iter().copied()).names.join(" ");
        assert_eq!(names(&["10", "9", "007", "7", "-1"]), "-1 7 9 10");
        assert_eq!(names(&["10.0", "9.0", "1.0", "9"]), "1 9 10");
        assert_eq!(names(&["0.5", "10", "9"]), "0.5 10 9");
        assert_eq!(names(&["10", "9", "none", "10"]), "10 9 none");
        let table = ClassTable::of_labels(["3", "255"].into_iter());
        let index = ["3", "255", "0255", "4", "x"].map(|label| table.index(label));
        assert_eq!(index, [Some(0), Some(1), Some(1), None, None]);
    }

    #[test]
    fn class_table_keeps_the_names_of_folders() {
        let table = ClassTable::of_folders(["10", "07", "7", "10"].into_iter());
        assert_eq!(table.names, ["07", "7", "10"]);
        assert_eq!(["7", "07", "010"].map(|label| table.index(label)), [Some(1), Some(0), None]);
    }
}
