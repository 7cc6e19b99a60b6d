//! The adaptive solver of ordinary differential equations: Dormand and Prince's pair of orders 5 and 4 (1980).

use crate::{Error, Result};

/// How exactly a solution is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Relative tolerance of a step.
    pub relative: f64,
    /// Absolute tolerance of a step.
    pub absolute: f64,
    /// Number of equal parts of x (images) each of which must be within its tolerance.
    pub rows: usize,
    /// Evaluations after which the solver gives up.
    pub most_evaluations: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { relative: 1e-5, absolute: 1e-5, rows: 1, most_evaluations: 10_000 }
    }
}

/// Where a solution ended.
#[derive(Clone, Debug)]
pub struct Solution {
    /// x at the end of the span.
    pub x: Vec<f64>,
    /// Evaluations of the right-hand side.
    pub evaluations: u32,
}

/// Solves dx/dt = f(t, x) over a span.
///
/// # Errors
/// Those of `f` and `progress`; a solver that runs out of steps.
pub fn solve(
    _f: &mut dyn FnMut(f64, &[f64]) -> Result<Vec<f64>>,
    _span: [f64; 2],
    x: Vec<f64>,
    _settings: Settings,
    _progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Solution> {
    let _ = x;
    Err(Error::Config("not written".into()))
}
