//! Floating-point numbers in messages.

/// The shortest text of a number. A setting in single precision that a file or a JSON value holds
/// in double precision is printed as it was written.
///
/// ```
/// # use degrain::output::shortest;
/// assert_eq!(shortest(f64::from(0.1f32)), "0.1");
/// assert_eq!(shortest(0.3), "0.3");
/// ```
pub fn shortest(number: f64) -> String {
    let single = number as f32;
    if f64::from(single) == number { format!("{single:?}") } else { format!("{number:?}") }
}
