//! The errors that WGSL allows the functions that kernels call, so that a correct device passes the
//! comparison with the f64 references.
//!
//! The numbers are those of the WGSL specification (W3C, 2025), section 15.7.4.1 "Accuracy of
//! Concrete Floating Point Expressions". They are in units in the last place, which are at most
//! [`f32::EPSILON`] relative to the result. Sums, differences and products are rounded correctly,
//! and [`tolerance`](super::inspect::tolerance) counts them by the number of terms.
//!
//! An operator states in [`Op::function_error`](super::Op::function_error) which functions follow
//! each other. The functions whose absolute error WGSL limits to 2^-11 (sin and cos) or 1e-5 (tanh)
//! are not here: no comparison could tell such an error from a wrong kernel. Kernels compute them
//! from polynomials (`shaders/prelude/random.wgsl`), and a test refuses every other function.

/// x / y.
pub const DIVISION: f64 = 2.5;

/// sqrt(x), which is as exact as 1 / inverseSqrt(x): inverseSqrt has 2 units, and a division
/// follows.
pub const SQRT: f64 = 2.0 + DIVISION;

/// log(x) and log2(x): 3 units, or 2^-21 in [0.5, 2], which are 4 units of a result near 1.
pub const LOG: f64 = 4.0;

/// exp(x) and exp2(x), given the largest |x|.
pub fn exp(x: f64) -> f64 {
    3.0 + 2.0 * x.abs()
}

/// exp(x) for any x <= 0, relative to 1 instead of the result: (3 + 2 |x|) exp(x) is at most 3.
pub const EXP_BELOW_ONE: f64 = 3.0;

/// 1 / (1 + exp(-x)), relative to 1.
pub const SIGMOID: f64 = EXP_BELOW_ONE + DIVISION;

/// 1 / sqrt(sum / count + eps), as normalizations compute it.
pub const RECIPROCAL_DEVIATION: f64 = DIVISION / 2.0 + SQRT + DIVISION;

/// A normal number of the prelude, which contains a square root.
pub const NORMAL: f64 = SQRT;

/// exp(x) - 1 and exp(x) - 1 - x of the prelude, given the largest |x|. They call exp where |x| is
/// at least 0.7. There exp(x) is 2 and 6.4 times as large as they are.
pub fn exp_minus(x: f64) -> f64 {
    (6.4 * exp(0.7)).max(exp(x))
}
