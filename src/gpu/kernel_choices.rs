//! Which form of its kernels an operator records, where it has several.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The form of the kernels for each class of calls, by name: `conv2d.forward 3x3 64>32 28x28` to
/// `winograd`. Operators name the classes and the forms. A class that is missing gets the
/// operator's first form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KernelChoices(BTreeMap<String, String>);

impl KernelChoices {
    /// The form that was chosen for a class.
    pub fn get(&self, class: &str) -> Option<&str> {
        self.0.get(class).map(String::as_str)
    }

    /// Chooses a form for a class.
    pub fn insert(&mut self, class: &str, form: &str) {
        self.0.insert(class.to_owned(), form.to_owned());
    }

    /// These choices, replaced and completed by `others`.
    pub fn with(mut self, others: &KernelChoices) -> KernelChoices {
        self.0.extend(others.0.iter().map(|(class, form)| (class.clone(), form.clone())));
        self
    }

    /// Classes and forms in the order of the classes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(class, form)| (class.as_str(), form.as_str()))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
