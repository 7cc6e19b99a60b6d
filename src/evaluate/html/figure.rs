//! Figures: pictures as data inside the page, curves as inline SVG, each with its caption.

use crate::output::{Picture, Plot, plot::color};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, PreEscaped, html};

/// Pixels of a curve: two stand side by side on a wide screen, and text is still read on a narrow one.
const SIZE: (u32, u32) = (600, 360);

/// A picture under its caption. `what` says what is seen on it, for those who do not see it.
pub(super) fn picture(picture: &Picture, caption: &str, what: &str) -> Markup {
    let data = STANDARD.encode(picture.to_png(&[]));
    html! {
        figure {
            figcaption { (caption) }
            img src={ "data:image/png;base64," (data) } width=(picture.width) height=(picture.height) alt=(what);
        }
    }
}

/// A line of a plot: its name, and its points from left to right.
pub(super) type LogEntry = (String, Vec<(f64, f64)>);

/// A plot, which names itself, with its lines; nothing without a line. What spans more than a power of ten gets a
/// logarithmic axis: with less, such an axis has hardly a number on it.
pub(super) fn plot(plot: Plot, lines: &[LogEntry]) -> Option<Markup> {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let spans = |values: Vec<f64>| {
        let (least, most) =
            (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max));
        least > 0.0 && most > 10.0 * least
    };
    let plot = if spans(points().map(|point| point.1).collect()) { plot.logarithmic() } else { plot };
    let plot = lines.iter().fold(plot.size(SIZE.0, SIZE.1), |plot, (name, points)| plot.line(name, points));
    // Not in the plot: the names of many runs would hide their curves.
    let plot = plot.without_legend();
    let swatch = |n: usize| {
        let [red, green, blue] = color(n);
        format!("background: rgb({red}, {green}, {blue})")
    };
    points().next().map(|_| {
        html! {
            figure.plot {
                (PreEscaped(plot.svg()))
                ul.legend {
                    @for (n, (name, _)) in lines.iter().enumerate() { li { span style=(swatch(n)) {} (name) } }
                }
            }
        }
    })
}

/// Figures side by side as far as there is room; nothing without one.
pub(super) fn side_by_side(figures: &[Markup]) -> Markup {
    html! { @if !figures.is_empty() { div.figures { @for figure in figures { (figure) } } } }
}
