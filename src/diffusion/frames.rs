//! When to look at a batch on its way from noise to image.

/// Picks `count` moments at equal parts of a batch, the start included and the end not.
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
    /// Picks this many moments; with fewer steps than that, every step.
    pub fn new(count: u32) -> FrameTimes {
        FrameTimes { count, next: 0 }
    }

    /// Whether the moment with this finished share, 0 to 1, is picked.
    pub fn due(&mut self, done: f64) -> bool {
        let reached = (done * f64::from(self.count)) as u32;
        let due = reached >= self.next && reached < self.count;
        if due {
            self.next = reached + 1;
        }
        due
    }
}
