//! The position of a plot's legend: the corner where it hides the least.

use plotters::chart::SeriesLabelPosition::{self, LowerLeft, LowerRight, UpperLeft, UpperRight};

/// Approximate share of a plot's width that the legend takes.
const WIDTH: f64 = 0.45;
/// Approximate share of a plot's height that a line of the legend takes.
const HEIGHT: f64 = 0.09;
/// Positions that are checked per line segment.
const BETWEEN: usize = 16;

/// The corner with the smallest part of the lines. Among equals it is the upper right one, because
/// losses fall. Points are (x, y) in 0..1 from the lower left.
pub(super) fn emptiest_corner(lines: &[Vec<(f64, f64)>]) -> SeriesLabelPosition {
    let height = (HEIGHT * (1.0 + lines.len() as f64)).min(0.5);
    let (left, right) = (|x: f64| x < WIDTH, |x: f64| x > 1.0 - WIDTH);
    let (low, high) = (|y: f64| y < height, |y: f64| y > 1.0 - height);
    let mut hidden = [(UpperRight, 0), (UpperLeft, 0), (LowerLeft, 0), (LowerRight, 0)];
    for (x, y) in lines.iter().flat_map(|line| line.windows(2)).flat_map(|ends| between(ends[0], ends[1])) {
        let inside = [right(x) && high(y), left(x) && high(y), left(x) && low(y), right(x) && low(y)];
        hidden.iter_mut().zip(inside).for_each(|((_, count), inside)| *count += usize::from(inside));
    }
    hidden.into_iter().min_by_key(|(_, count)| *count).map_or(UpperRight, |(corner, _)| corner)
}

fn between(from: (f64, f64), to: (f64, f64)) -> impl Iterator<Item = (f64, f64)> {
    let along = move |n: usize| n as f64 / BETWEEN as f64;
    (0..=BETWEEN).map(move |n| (from.0 + (to.0 - from.0) * along(n), from.1 + (to.1 - from.1) * along(n)))
}
