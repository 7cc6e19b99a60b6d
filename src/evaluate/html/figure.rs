//! Figures with captions: images as data URLs, curves as inline SVG.

use crate::output::{Picture, Plot, plot::color};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, PreEscaped, html};

/// Pixels of a plot. Two fit side by side on a wide screen, and the text is readable on a narrow
/// screen.
const SIZE: (u32, u32) = (600, 360);

/// An image with its caption above. `alt` describes the image.
pub(super) fn picture(picture: &Picture, caption: &str, alt: &str) -> Markup {
    let data = STANDARD.encode(picture.to_png(&[]));
    html! {
        figure {
            figcaption { (caption) }
            img src={ "data:image/png;base64," (data) } width=(picture.width) height=(picture.height) alt=(alt);
        }
    }
}

/// A curve of a plot: its name, and its points from left to right.
pub(super) type Curve = (String, Vec<(f64, f64)>);

/// A plot with its curves; nothing if there are no points. The y-axis is logarithmic if the values
/// span more than a factor of ten. For a smaller range, a logarithmic axis would have hardly any
/// labels.
pub(super) fn plot(plot: Plot, curves: &[Curve]) -> Option<Markup> {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let spans = |values: Vec<f64>| {
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(0.0, f64::max);
        min > 0.0 && max > 10.0 * min
    };
    let plot = if spans(points().map(|point| point.1).collect()) { plot.logarithmic() } else { plot };
    let plot = curves.iter().fold(plot.size(SIZE.0, SIZE.1), |plot, (name, points)| plot.line(name, points));
    // The legend is below the plot, because the names of many runs would hide the curves.
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
                    @for (n, (name, _)) in curves.iter().enumerate() { li { span style=(swatch(n)) {} (name) } }
                }
            }
        }
    })
}

/// Figures side by side if there is room; nothing if there are none.
pub(super) fn side_by_side(figures: &[Markup]) -> Markup {
    html! { @if !figures.is_empty() { div.figures { @for figure in figures { (figure) } } } }
}
