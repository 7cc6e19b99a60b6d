//! Chooses the steps at which intermediate states of a batch are kept.

/// Picks `count` equally spaced moments of a batch, including its start but not its end.
///
/// ```
/// # use degrain::diffusion::FrameTimes;
/// let mut frames = FrameTimes::new(4);
/// let picked: Vec<u32> = (0..=10).filter(|&step| frames.due(f64::from(step) / 10.0)).collect();
/// assert_eq!(picked, [0, 3, 5, 8]);
/// ```
#[derive(Clone, Debug)]
pub struct FrameTimes {
    count: u32,
    next: u32,
}

impl FrameTimes {
    /// Picks `count` moments, or every step if there are fewer.
    pub fn new(count: u32) -> FrameTimes {
        FrameTimes { count, next: 0 }
    }

    /// Whether to pick the current moment, when the share `done` (0 to 1) of the batch is finished.
    pub fn due(&mut self, done: f64) -> bool {
        let reached = (done * f64::from(self.count)) as u32;
        let due = reached >= self.next && reached < self.count;
        if due {
            self.next = reached + 1;
        }
        due
    }
}
