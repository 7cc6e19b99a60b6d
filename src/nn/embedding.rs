//! The time and class embedding of residual blocks: sinusoidal time features through two linear
//! layers, plus a table row for the class.
//!
//! ```text
//! e = linear_2(silu(linear_1(sinusoid(time)))) + class_embedding[label]
//! ```

use super::layers::Linear;
use super::network::Conditions;
use super::parameters::{Initial, ParameterId, Parameters, Weights};
use crate::ops::{add, embedding, silu};
use crate::tape::{Shape, Tape, Tensor};

/// The layers of a time and class embedding.
#[derive(Clone, Debug)]
pub(super) struct ConditionEmbedding {
    time: [Linear; 2],
    classes: Option<ParameterId>,
}

impl ConditionEmbedding {
    /// Adds `time_embedding.` (sinusoids of `inputs` numbers to `width`) and, with classes,
    /// `class_embedding.weight` [classes, width].
    pub fn new(p: &mut Parameters, inputs: u32, width: u32, classes: Option<u32>) -> ConditionEmbedding {
        let table = |p: &mut Parameters, count| {
            p.add("class_embedding.weight".into(), Shape::f32([count, width]), Initial::Normal)
        };
        ConditionEmbedding {
            time: [
                Linear::new(p, "time_embedding.linear_1", inputs, width),
                Linear::new(p, "time_embedding.linear_2", width, width),
            ],
            classes: classes.map(|count| table(p, count)),
        }
    }

    /// The embedding [B, width] of the conditions.
    ///
    /// # Panics
    /// If one is missing or superfluous.
    #[track_caller]
    pub fn forward(&self, t: &mut Tape, w: &Weights, conditions: Conditions) -> Tensor {
        let time = conditions.time(true).expect("time(true) returns the time");
        let e = self.time[0].rows(t, w, time);
        let e = silu(t, e);
        let e = self.time[1].rows(t, w, e);
        match self.classes.zip(conditions.labels(self.classes.is_some())) {
            Some((table, labels)) => {
                let class = embedding(t, labels, w.get(table));
                add(t, e, class)
            }
            None => e,
        }
    }
}

/// [cos, sin] or [sin, cos] of `time` times falling frequencies, and a zero if the width is odd
/// (Vaswani et al. 2017).
pub fn sinusoid(time: f64, width: usize, cosines_first: bool, shift: f64) -> Vec<f64> {
    let half = width / 2;
    let angle = |k: usize| time * (-(10_000f64.ln()) * k as f64 / (half as f64 - shift)).exp();
    let (sines, cosines) = ((0..half).map(|k| angle(k).sin()), (0..half).map(|k| angle(k).cos()));
    let mut row: Vec<f64> = if cosines_first { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    row.resize(width, 0.0);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of diffusers' `get_timestep_embedding` for width 8.
    #[test]
    fn sinusoid_has_known_values() {
        let close = |row: Vec<f64>, expected: [f64; 8]| {
            row.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 6e-8 + 1e-7 * 999.0, "{a} {b}"));
        };
        close(
            sinusoid(1.0, 8, true, 0.0),
            [0.5403023, 0.9950042, 0.99995, 0.9999995, 0.841471, 0.0998334, 0.0099998, 0.001],
        );
        close(
            sinusoid(999.0, 8, true, 0.0),
            [0.9996498, 0.8074551, -0.8444698, 0.5411435, -0.0264608, -0.5899291, -0.5356032, 0.8409302],
        );
        close(
            sinusoid(999.0, 8, false, 1.0),
            [-0.0264608, 0.6848614, 0.8356485, 0.0997339, 0.9996498, -0.7286733, -0.5492647, 0.9950141],
        );
        assert_eq!(sinusoid(3.0, 5, true, 0.0).len(), 5);
        assert_eq!(sinusoid(3.0, 5, true, 0.0)[4], 0.0);
    }
}
