//! Choices for test cases.

/// A source of choices for test cases, from the numbers of a property test (which shrinks them) or
/// of a seeded generator.
pub struct Choices {
    numbers: Vec<u32>,
    next: usize,
}

impl Choices {
    /// Choices from a list of numbers, followed by zeros.
    pub fn new(numbers: Vec<u32>) -> Choices {
        Choices { numbers, next: 0 }
    }

    /// A number in `low..=high`; `low` after the end of the list.
    pub fn range(&mut self, low: u32, high: u32) -> u32 {
        let number = self.numbers.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        low + number % (high - low + 1)
    }

    /// One of the options; the first after the end of the list.
    pub fn one_of<T: Clone>(&mut self, options: &[T]) -> T {
        options[self.range(0, options.len() as u32 - 1) as usize].clone()
    }

    /// True or false; false after the end of the list.
    pub fn flag(&mut self) -> bool {
        self.range(0, 1) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_the_smallest_after_the_end_of_the_list() {
        let mut choices = Choices::new(vec![7, 4, 1]);
        assert_eq!((choices.range(10, 14), choices.one_of(&["a", "b", "c"]), choices.flag()), (12, "b", true));
        assert_eq!((choices.range(10, 14), choices.one_of(&["a", "b", "c"]), choices.flag()), (10, "a", false));
    }
}
