//! Which measurements are due after a training step.

/// Measurements between training steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub validation: bool,
    pub evaluation: bool,
    pub samples: bool,
}

impl Due {
    /// Whether there is one.
    pub fn any(self) -> bool {
        self.validation || self.evaluation || self.samples
    }
}

/// Whether something that happens every `every` steps and after the `last` step is due after `step`
/// steps.
pub(super) fn is_due(every: u32, step: u32, last: u32) -> bool {
    every > 0 && step > 0 && (step.is_multiple_of(every) || step == last)
}
