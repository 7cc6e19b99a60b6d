//! A network whose output is linear in the image, with factors that depend on the time: the optimal
//! network for data from N(mean, variance).

use degrain::Result;
use degrain::nn::{Conditions, Model, Network, Parameters, Weights};
use degrain::ops::{add, concat, downsample, scale_shift, slice, upsample};
use degrain::tape::{Tape, Tensor};
use std::fmt;

/// (a, v) of the network's time input: the output is a x, followed by v if the variance is learned.
type Factors = Box<dyn Fn(f64) -> [f64; 2]>;
/// b of the network's time input: the factor of the mean of each 2x2 pixels, instead of a.
type OfMeans = Box<dyn Fn(f64) -> f64>;
/// c of the network's time input: the output is a x + c.
type Shift = Box<dyn Fn(f64) -> f64>;

/// A network without parameters, for images of one channel.
pub struct LinearNetwork {
    parameters: Parameters,
    image: [u32; 3],
    factors: Factors,
    of_means: Option<OfMeans>,
    shift: Option<Shift>,
    learned_variance: bool,
}

impl LinearNetwork {
    pub fn new(image: [u32; 3], learned_variance: bool, factors: Factors) -> LinearNetwork {
        assert_eq!(image[0], 1, "one channel");
        LinearNetwork { parameters: Parameters::new(), image, factors, of_means: None, shift: None, learned_variance }
    }

    /// A network that mixes pixels, for data whose means of 2x2 pixels have another variance than
    /// the differences from these means.
    pub fn mixing(self, of_means: OfMeans) -> LinearNetwork {
        LinearNetwork { of_means: Some(of_means), ..self }
    }

    /// A network for data whose mean is not zero.
    pub fn shifted(self, shift: Shift) -> LinearNetwork {
        LinearNetwork { shift: Some(shift), ..self }
    }
}

impl fmt::Debug for LinearNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinearNetwork {:?}", self.image)
    }
}

impl Model for LinearNetwork {
    fn class(&self) -> &'static str {
        "LinearNetwork"
    }

    fn config_json(&self) -> String {
        "{}".into()
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn image_shape(&self) -> Option<[u32; 3]> {
        Some(self.image)
    }
}

impl Network for LinearNetwork {
    fn channels(&self) -> [u32; 2] {
        [1, 1 + u32::from(self.learned_variance)]
    }

    fn time_width(&self) -> u32 {
        6
    }

    /// Scale minus one and shift: of the output, of the variance and of the means.
    fn time_row(&self, time: f64) -> Vec<f64> {
        let [a, v] = (self.factors)(time);
        let more = self.of_means.as_ref().map_or(0.0, |b| b(time) - a);
        let shift = self.shift.as_ref().map_or(0.0, |c| c(time));
        vec![a - 1.0, shift, -1.0, v, more - 1.0, 0.0]
    }

    fn classes(&self) -> Option<u32> {
        None
    }

    fn check_size(&self, _: u32, _: u32) -> Result<()> {
        Ok(())
    }

    fn forward(&self, t: &mut Tape, _: &Weights, x: Tensor, conditions: Conditions) -> Tensor {
        let rows = conditions.time.expect("the time");
        let [answer, variance, of_means] = [0, 2, 4].map(|from| slice(t, rows, from, 2));
        let mut answer = scale_shift(t, x, answer, 0);
        if self.of_means.is_some() {
            let means = downsample(t, x);
            let means = upsample(t, means);
            let means = scale_shift(t, means, of_means, 0);
            answer = add(t, answer, means);
        }
        if !self.learned_variance {
            return answer;
        }
        let variance = scale_shift(t, x, variance, 0);
        concat(t, answer, variance)
    }
}
