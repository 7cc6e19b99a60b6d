//! Contents of test inputs.

use crate::tape::shape::Shape;
use std::f64::consts::TAU;

/// Least distance of inputs from a kink.
const MARGIN: f32 = 0.01;

/// Content of a test input. All values are exact in f32.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// Normal numbers times a scale.
    Normal(f32),
    /// Normal numbers times a scale. Every second number is zero.
    Alternating(f32),
    /// Normal numbers moved away from zero by a margin, for functions with a kink there.
    Kinked,
    /// Numbers in [-2, 2). The first 65,536 are at least 2^-14 apart, for functions with a kink
    /// where two inputs are equal.
    Distinct,
    /// Uniform in [low, high).
    Uniform(f32, f32),
    /// Uniform in [low, high), moved away from the middle by a margin (so also past the ends), for
    /// functions with a kink there.
    UniformKinked(f32, f32),
    /// Integers below a bound.
    Below(u32),
    /// Arbitrary 32-bit words.
    Words,
    /// Increasing numbers in (0, 1), as in a cumulative distribution.
    Rising,
    /// These numbers, again and again.
    Values(&'static [f32]),
}

impl Fill {
    /// The device's words of an input. Equal seeds give equal words.
    pub fn words(self, shape: Shape, seed: u64) -> Vec<u32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0;
        let mut word = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        let mut uniform = move || (f64::from(word()) + 0.5) / 4_294_967_296.0;
        let normal = |uniform: &mut dyn FnMut() -> f64| (-2.0 * uniform().ln()).sqrt() * (TAU * uniform()).cos();
        // Multiplication by an odd factor, and a shift that mixes the upper half in, are both
        // invertible: 65,536 different indices give different numbers.
        let scrambled = |index: u16| (index ^ (index >> 8)).wrapping_mul(0x9e3d);
        let element = |index: usize| match self {
            Fill::Alternating(_) if index % 2 == 1 => 0,
            Fill::Normal(scale) | Fill::Alternating(scale) => (normal(&mut uniform) as f32 * scale).to_bits(),
            Fill::Kinked => {
                let x = normal(&mut uniform) as f32;
                (x + MARGIN.copysign(x)).to_bits()
            }
            Fill::Distinct => {
                let number = scrambled(scrambled((index as u16).wrapping_add(seed as u16)));
                (f32::from(number) / 16_384.0 - 2.0).to_bits()
            }
            Fill::Uniform(low, high) => (low + (high - low) * uniform() as f32).to_bits(),
            Fill::UniformKinked(low, high) => {
                let from_middle = (high - low) * (uniform() as f32 - 0.5);
                ((low + high) / 2.0 + from_middle + MARGIN.copysign(from_middle)).to_bits()
            }
            Fill::Below(bound) => (uniform() * f64::from(bound)) as u32,
            Fill::Rising => ((index as f64 + 1.0 - uniform()) as f32 / shape.len() as f32).to_bits(),
            Fill::Values(values) => values[index % values.len()].to_bits(),
            Fill::Words => (uniform() * 4_294_967_296.0) as u32,
        };
        (0..shape.len()).map(element).collect()
    }
}
