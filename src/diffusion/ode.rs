//! The adaptive solver of ordinary differential equations: Dormand and Prince's pair of orders 5
//! and 4 (1980), with the step control of the program DOPRI5 (Hairer, Norsett and Wanner 1993,
//! sections II.4, II.5 and IV.2).
//!
//! The error of a step is measured image by image, as the root mean square of error / (absolute +
//! relative max(|x|, |x'|)). The largest error decides, so that every image meets the tolerance in
//! any batch. Numbers that are results by themselves, as the integral of a likelihood, must meet it
//! alone: in the mean over the pixels of an image their error would hardly count. Local errors
//! accumulate, so each step must meet a tenth of the requested tolerance.

use crate::{Error, Result};

/// Tolerances and limits of the solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Relative tolerance.
    pub relative: f64,
    /// Absolute tolerance.
    pub absolute: f64,
    /// Number of equal parts of x (images) each of which must be within its tolerance.
    pub rows: usize,
    /// Numbers at the end of each row that must be within the tolerance one by one.
    pub alone: usize,
    /// Evaluations after which the solver gives up.
    pub most_evaluations: u32,
    /// What a user can do if the solver gives up, for its message.
    pub advice: &'static str,
}

impl Default for Settings {
    fn default() -> Settings {
        let advice = "raise the solver's tolerances (--rtol and --atol of `sample`, and of `evaluate --sampler \
                      ode`), or use a sampler of fixed steps";
        Settings { relative: 1e-5, absolute: 1e-5, rows: 1, alone: 0, most_evaluations: 10_000, advice }
    }
}

/// A solution at the end of the span.
#[derive(Clone, Debug)]
pub struct Solution {
    /// x at the end of the span.
    pub x: Vec<f64>,
    /// Evaluations of the right-hand side.
    pub evaluations: u32,
}

/// The right-hand side f(t, x).
type Slope<'a> = dyn FnMut(f64, &[f64]) -> Result<Vec<f64>> + 'a;

/// Times of stages 2 to 7, as fractions of the step.
const TIMES: [f64; 6] = [1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0];

/// Weights of the earlier slopes in stages 2 to 7. The last stage is at the new x, so its slope is
/// also the first slope of the next step.
const WEIGHTS: [&[f64]; 6] = [
    &[1.0 / 5.0],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
    &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
    &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
];

/// Weights of the slopes in the error estimate: the solution of order 5 minus the solution of order
/// 4.
const ERROR: [f64; 7] =
    [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

/// Solves dx/dt = f(t, x) over a span of t in either direction. `progress` receives t after each
/// accepted step.
///
/// # Errors
/// Errors of `f` and `progress`. [`Error::Config`] for a solver that runs out of evaluations, or
/// whose steps vanish because f is not smooth.
///
/// # Panics
/// If x cannot be divided into `settings.rows` rows of more than `settings.alone` numbers, a
/// tolerance is not positive, or f returns a different length.
#[track_caller]
pub fn solve(
    f: &mut Slope<'_>,
    span: [f64; 2],
    mut x: Vec<f64>,
    settings: Settings,
    progress: &mut dyn FnMut(f64) -> Result<()>,
) -> Result<Solution> {
    let whole = settings.rows > 0 && x.len().is_multiple_of(settings.rows) && !x.is_empty();
    assert!(whole, "{} numbers in {} rows", x.len(), settings.rows);
    assert!(settings.alone < x.len() / settings.rows, "{} numbers alone: {settings:?}", settings.alone);
    assert!(settings.relative > 0.0 && settings.absolute > 0.0, "tolerances must be positive: {settings:?}");
    let [mut t, end] = span;
    if t == end {
        return Ok(Solution { x, evaluations: 0 });
    }
    let smallest = 16.0 * f64::EPSILON * t.abs().max(end.abs());
    let mut first = f(t, &x)?;
    assert_eq!(first.len(), x.len(), "f must return as many values as x has");
    let mut size = first_step(f, span, &x, &first, settings)?;
    let mut evaluations = 2;
    // Error of the last accepted step, and whether the last attempt was rejected.
    let (mut before, mut refused) = (1e-4_f64, false);
    while t != end {
        if evaluations + 6 > settings.most_evaluations || size < smallest {
            let why = if size < smallest { "its steps vanish" } else { "it has made too many" };
            return Err(Error::Config(format!(
                "the solver stopped at time {t:.4} between {} and {end} after {evaluations} evaluations with a relative \
                 tolerance of {:e} and an absolute one of {:e}: {why}. To continue, {}",
                span[0], settings.relative, settings.absolute, settings.advice
            )));
        }
        let last = size >= (end - t).abs();
        let step = if last { end - t } else { size.copysign(end - t) };
        let mut slopes = vec![first];
        let mut next = Vec::new();
        for (time, weights) in TIMES.into_iter().zip(WEIGHTS) {
            next = moved(&x, &slopes, weights, step);
            slopes.push(f(if last && time == 1.0 { end } else { t + time * step }, &next)?);
        }
        evaluations += 6;
        let zero = vec![0.0; x.len()];
        let error = error_norm(&moved(&zero, &slopes, &ERROR, step), [&x, &next], settings);
        if error <= 1.0 {
            t = if last { end } else { t + step };
            (x, first) = (next, slopes.swap_remove(6));
            // The factor also depends on the previous step's error, so that step sizes change
            // smoothly.
            let factor = 0.9 * error.powf(-0.17) * before.powf(0.04);
            size = step.abs() * factor.clamp(0.2, if refused { 1.0 } else { 10.0 });
            (before, refused) = (error.max(1e-4), false);
            progress(t)?;
        } else {
            first = slopes.swap_remove(0);
            // A step with an error of NaN is far too large.
            let factor = if error.is_finite() { 0.9 * error.powf(-0.17) } else { 0.0 };
            (size, refused) = (step.abs() * factor.max(0.2), true);
        }
    }
    Ok(Solution { x, evaluations })
}

/// x + step · the weighted sum of slopes.
fn moved(x: &[f64], slopes: &[Vec<f64>], weights: &[f64], step: f64) -> Vec<f64> {
    let sum = |i: usize| slopes.iter().zip(weights).map(|(slope, weight)| weight * slope[i]).sum::<f64>();
    x.iter().enumerate().map(|(i, x)| x + step * sum(i)).collect()
}

/// The part of the tolerance that a step may use.
const SHARE: f64 = 0.1;

/// Scaled error norm: the root mean square of v / (SHARE (absolute + relative max(|x|, |x'|))) of
/// each row (image) without the numbers that are tested alone, and the absolute value for each of
/// those; the largest of all. NaN counts as the largest.
fn error_norm(v: &[f64], at: [&[f64]; 2], settings: Settings) -> f64 {
    let part = |i: usize| {
        let scale = settings.absolute + settings.relative * at[0][i].abs().max(at[1][i].abs());
        (v[i] / (SHARE * scale)).powi(2)
    };
    let width = v.len() / settings.rows;
    let together = width - settings.alone;
    let row = |row: usize| ((row * width..row * width + together).map(part).sum::<f64>() / together as f64).sqrt();
    let alone = (0..v.len()).filter(|i| i % width >= together).map(|i| part(i).sqrt());
    (0..settings.rows)
        .map(row)
        .chain(alone)
        .fold(0.0, |most, size| if size > most || size.is_nan() { size } else { most })
}

/// A first step whose explicit Euler step would change little (Hairer et al., section II.4,
/// "Starting step size").
fn first_step(f: &mut Slope<'_>, span: [f64; 2], x: &[f64], slope: &[f64], settings: Settings) -> Result<f64> {
    let length = (span[1] - span[0]).abs();
    let size = |v: &[f64]| error_norm(v, [x, x], settings);
    let (of_x, of_slope) = (size(x), size(slope));
    let guess = if of_x < 1e-5 || of_slope < 1e-5 { 1e-6 * length } else { (0.01 * of_x / of_slope).min(length) };
    let step = guess.copysign(span[1] - span[0]);
    let there: Vec<f64> = x.iter().zip(slope).map(|(x, slope)| x + step * slope).collect();
    let change: Vec<f64> = f(span[0] + step, &there)?.iter().zip(slope).map(|(there, here)| there - here).collect();
    let curvature = size(&change) / guess;
    let steepest = of_slope.max(curvature);
    let second = if steepest <= 1e-15 { (1e-3 * guess).max(1e-6 * length) } else { (0.01 / steepest).powf(0.2) };
    // With a slope of NaN, the solver shrinks its steps until they vanish, which is an error.
    Ok(if second.is_finite() { second.min(100.0 * guess).min(length) } else { guess })
}
