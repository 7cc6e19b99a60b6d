//! Names of classes, from the labels of the images.

use std::collections::BTreeSet;

/// The names of the classes: sorted by value if all labels are integers, otherwise by their bytes.
/// Leading zeros do not make another class if all labels are integers: 07 and 7 are one class.
pub(super) struct ClassTable {
    pub names: Vec<String>,
    numbers: Option<Vec<i128>>,
}

impl ClassTable {
    /// The table of these labels.
    pub fn new<'a>(labels: impl Iterator<Item = &'a str>) -> ClassTable {
        let distinct: BTreeSet<&str> = labels.collect();
        let numbers: Option<BTreeSet<i128>> = distinct.iter().map(|label| label.parse().ok()).collect();
        match numbers {
            Some(numbers) => ClassTable {
                names: numbers.iter().map(ToString::to_string).collect(),
                numbers: Some(numbers.into_iter().collect()),
            },
            None => ClassTable { names: distinct.into_iter().map(String::from).collect(), numbers: None },
        }
    }

    /// The index of the class of a label.
    pub fn index(&self, label: &str) -> Option<u32> {
        let place = match &self.numbers {
            Some(numbers) => numbers.binary_search(&label.parse().ok()?).ok(),
            None => self.names.binary_search_by(|name| name.as_str().cmp(label)).ok(),
        };
        place.map(|place| place as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::ClassTable;

    fn names(labels: &[&str]) -> String {
        ClassTable::new(labels.iter().copied()).names.join(" ")
    }

    #[test]
    fn class_table_sorts_integers_by_value() {
        assert_eq!(names(&["10", "9", "007", "7", "-1"]), "-1 7 9 10");
        assert_eq!(names(&["10", "9", "none", "10"]), "10 9 none");
        let table = ClassTable::new(["3", "255"].into_iter());
        assert_eq!(
            ["3", "255", "0255", "4", "x"].map(|label| table.index(label)),
            [Some(0), Some(1), Some(1), None, None]
        );
    }
}
