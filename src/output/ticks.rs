//! The ticks of a logarithmic axis. The plotting library's ticks begin at a power of ten, and many
//! axes of losses contain only one.

use std::ops::Range;

/// Powers of ten, for a range of more than four. Smaller ranges also get round multiples of them,
/// and ranges of less than half a power get round steps as on a linear axis.
pub(super) fn logarithmic(range: &Range<f64>) -> Vec<f64> {
    let (first, last) = (range.start.log10(), range.end.log10());
    let multiples: &[f64] = match last - first {
        span if span < 0.5 => return even(range),
        span if span < 1.5 => &[1.0, 2.0, 3.0, 5.0, 7.0],
        span if span < 4.0 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let powers = first.floor() as i32..=last.ceil() as i32;
    let all = powers.flat_map(|power| multiples.iter().map(move |multiple| multiple * 10f64.powi(power)));
    all.filter(|tick| range.contains(tick)).collect()
}

/// About five ticks, at steps of 1, 2 or 5 times a power of ten.
fn even(range: &Range<f64>) -> Vec<f64> {
    let wanted = (range.end - range.start) / 5.0;
    let power = 10f64.powf(wanted.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|multiple| multiple * power).into_iter().find(|step| *step >= wanted);
    let step = step.unwrap_or(wanted);
    let first = (range.start / step).ceil();
    (0..).map(|n| (first + f64::from(n)) * step).take_while(|tick| range.contains(tick)).collect()
}
