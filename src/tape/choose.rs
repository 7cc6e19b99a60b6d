//! How operators choose between forms of kernels while a tape is recorded.

use super::choice::{Choice, KernelClass};
use super::record::Tape;
use crate::gpu::KernelChoices;
use std::rc::Rc;

impl Tape {
    /// Uses these choices from now on.
    pub fn set_choices(&mut self, choices: Rc<KernelChoices>) {
        self.choices = choices;
    }

    /// Records the calls of a class of work in one of its forms: `emit(tape, form)`.
    ///
    /// # Panics
    /// If the class has no form, or outside of the lowering of a node.
    pub fn choose<R>(&mut self, class: KernelClass, emit: impl FnOnce(&mut Tape, &'static str) -> R) -> R {
        let chosen = self.choices.get(&class.name);
        let form = class.forms.iter().find(|&&form| chosen == Some(form)).or(class.forms.first());
        let (Some(&form), Some(node)) = (form, self.lowered) else { panic!("{}: no form, or no node", class.name) };
        let first = self.calls.len();
        let result = emit(self, form);
        if class.forms.len() == 1 {
            return result;
        }
        self.made.push(Choice { class, form, node, calls: first..self.calls.len() });
        result
    }

    /// The form of each class that was recorded.
    pub fn recorded_forms(&self) -> KernelChoices {
        let mut forms = KernelChoices::default();
        self.made.iter().for_each(|choice| forms.insert(&choice.class.name, choice.form));
        forms
    }

    /// The choices that were made, in the order of their calls.
    pub fn made_choices(&self) -> &[Choice] {
        &self.made
    }
}
