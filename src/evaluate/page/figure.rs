//! Figures: pictures as data inside the page, curves as inline SVG, each with its caption.

use crate::report::{Picture, Plot};
use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{Markup, PreEscaped, html};

/// Pixels of a curve: two stand side by side on a wide screen, and text is still read on a narrow one.
const SIZE: (u32, u32) = (600, 380);

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

/// A plot, which names itself.
pub(super) fn plot(plot: Plot) -> Markup {
    html! { figure.plot { (PreEscaped(plot.size(SIZE.0, SIZE.1).svg())) } }
}

/// Figures side by side as far as there is room; nothing without one.
pub(super) fn side_by_side(figures: &[Markup]) -> Markup {
    html! { @if !figures.is_empty() { div.figures { @for figure in figures { (figure) } } } }
}
