//! Noised images and their times, on which denoisers and guiding classifiers are trained.

use crate::diffusion::{Process, TrainingTables};
use crate::nn::{Conditions, Network, TimeTable};
use crate::ops::q_sample;
use crate::tape::{Shape, Tape, Tensor};
use crate::train::objective::Tables;

/// Factors (a, b) of the network's input a x0 + b eps, by index of the training time, `[T, 2]`.
const INPUT: &str = "process.input";
/// Factors (p, q) of the network's target p x0 + q eps, `[T, 2]`.
const TARGET: &str = "process.target";
/// The network's features of each training time, `[T, width]`.
const TIME: &str = "process.time";

/// The tables of a process by training time, and the calls that use them.
#[derive(Debug)]
pub struct Noising {
    /// The tables.
    pub tables: TrainingTables,
    time_features: Vec<f32>,
}

impl Noising {
    /// The tables of a process for a network.
    pub fn new(process: &dyn Process, network: &dyn Network) -> Noising {
        let tables = TrainingTables::new(process);
        let time_features = network.time_table(&tables.times);
        Noising { tables, time_features }
    }

    /// Number of training times.
    pub fn num_times(&self) -> u32 {
        self.tables.times.len() as u32
    }

    /// The named buffers that recorded calls read.
    pub fn named_tables(&self) -> Tables {
        vec![
            (INPUT, self.tables.input_factors.concat()),
            (TARGET, self.tables.target.concat()),
            (TIME, self.time_features.clone()),
        ]
    }

    /// The network's input: x_t, scaled by the process's c_in.
    pub fn input(&self, t: &mut Tape, x0: Tensor, eps: Tensor, time: Tensor) -> Tensor {
        let table = t.named(INPUT, Shape::f32([self.num_times(), 2]));
        q_sample(t, x0, eps, table, time)
    }

    /// The network's target: eps, x0, or a weighted sum of both.
    pub fn target(&self, t: &mut Tape, x0: Tensor, eps: Tensor, time: Tensor) -> Tensor {
        let all = |factors: [f32; 2]| self.tables.target.iter().all(|&target| target == factors);
        if all([0.0, 1.0]) {
            return eps;
        }
        if all([1.0, 0.0]) {
            return x0;
        }
        let table = t.named(TARGET, Shape::f32([self.num_times(), 2]));
        q_sample(t, x0, eps, table, time)
    }

    /// The network's conditions: features of the time and labels.
    pub fn conditions(&self, t: &mut Tape, network: &dyn Network, time: Tensor, labels: Option<Tensor>) -> Conditions {
        let table = TimeTable { name: TIME, rows: self.num_times() };
        Conditions::record(t, network, time, table, labels)
    }
}
