//! The values that change between two runs of a program, generated from the shaders' prelude.

include!(concat!(env!("OUT_DIR"), "/step.rs"));

impl Step {
    /// The values of a run whose random numbers have this seed; the others are 0.
    pub fn seeded(seed: u64) -> Step {
        let [seed_low, seed_high] = crate::rng::key(seed);
        Step { seed_low, seed_high, ..Step::default() }
    }
}
