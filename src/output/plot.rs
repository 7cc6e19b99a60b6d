//! Plots of curves as PNG and SVG: losses over training steps, distances over sampling steps.

use super::images::Picture;
use super::legend::emptiest_corner;
use super::ticks;
use crate::error::Result;
use crate::files;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::FontStyle;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

/// Name of the registered font. It comes with a crate, so that a picture does not depend on the
/// fonts of the machine.
const FONT: &str = "Ubuntu Light";
/// The font of an SVG, for which every browser chooses a font. So text is measured with Hack, a
/// monospaced font that is wider than most, and the legend fits into its box.
const BROWSER_FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(60, 60, 60);
/// Okabe and Ito's colors, which people with any kind of color blindness can distinguish.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// A plot, for example
/// `Plot::new("Loss", "step", "loss").smoothed("training", &points, 100.0).save(path)`.
///
/// Points that are not finite, or not positive on a logarithmic axis, are left out.
#[derive(Clone, Debug)]
pub struct Plot {
    title: String,
    x_label: String,
    y_label: String,
    size: (u32, u32),
    logarithmic: [bool; 2],
    legend: bool,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    /// The points before smoothing, drawn in a pale color under the line.
    raw: Vec<(f64, f64)>,
}

impl Plot {
    /// An empty plot with its title and the names of its axes.
    pub fn new(title: &str, x_label: &str, y_label: &str) -> Plot {
        let [title, x_label, y_label] = [title, x_label, y_label].map(str::to_string);
        Plot { title, x_label, y_label, size: (1000, 600), logarithmic: [false; 2], legend: true, series: Vec::new() }
    }

    /// Sets the size in pixels [default: 1000 x 600]. The size of the text does not change.
    pub fn size(mut self, width: u32, height: u32) -> Plot {
        self.size = (width, height);
        self
    }

    /// Leaves out the legend. The caller names the lines, in the colors of [`color`].
    pub fn without_legend(mut self) -> Plot {
        self.legend = false;
        self
    }

    /// Makes the vertical axis logarithmic.
    pub fn logarithmic(mut self) -> Plot {
        self.logarithmic[1] = true;
        self
    }

    /// Makes the horizontal axis logarithmic.
    pub fn logarithmic_x(mut self) -> Plot {
        self.logarithmic[0] = true;
        self
    }

    /// Adds a line through `points` (x, y), in the order given.
    pub fn line(mut self, name: &str, points: &[(f64, f64)]) -> Plot {
        self.series.push(Series { name: name.to_string(), points: points.to_vec(), raw: Vec::new() });
        self
    }

    /// Adds a noisy line: `points` in a pale color, and the [`smooth`]ed line over them.
    pub fn smoothed(mut self, name: &str, points: &[(f64, f64)], span: f64) -> Plot {
        self.series.push(Series { name: name.to_string(), points: smooth(points, span), raw: points.to_vec() });
        self
    }

    /// Writes the plot as a PNG. Without points the axes are empty.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming `path`.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.draw().save_png(path, &[("Title", &self.title)])
    }

    /// Writes the plot as an SVG file. Text is stored as text.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming `path`.
    pub fn save_svg(&self, path: &Path) -> Result<()> {
        files::write_atomically(path, self.svg().as_bytes())
    }

    /// The plot as a picture, 3 channels.
    pub fn draw(&self) -> Picture {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let mut bytes = vec![255; width * height * 3];
        self.draw_on(BitMapBackend::with_buffer(&mut bytes, self.size).into_drawing_area(), FONT);
        Picture { height, width, channels: 3, bytes }
    }

    /// The plot as an `<svg>` element with a transparent background, for a file or a page.
    pub fn svg(&self) -> String {
        let mut text = String::new();
        self.draw_on(SVGBackend::with_string(&mut text, self.size).into_drawing_area(), BROWSER_FONT);
        text
    }

    fn draw_on<B: DrawingBackend>(&self, root: DrawingArea<B, Shift>, font: &str) {
        register_fonts();
        let (x, y) = self.ranges();
        let scaled = |range: Range<f64>| {
            let numbers = ticks::logarithmic(&range);
            range.log_scale().with_key_points(numbers)
        };
        match self.logarithmic {
            [false, false] => self.draw_between(&root, x, y, font),
            [false, true] => self.draw_between(&root, x, scaled(y), font),
            [true, false] => self.draw_between(&root, scaled(x), y, font),
            [true, true] => self.draw_between(&root, scaled(x), scaled(y), font),
        }
    }

    fn draw_between<B, X, Y>(&self, root: &DrawingArea<B, Shift>, x: X, y: Y, font: &str)
    where
        B: DrawingBackend,
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        // Drawing to a bitmap in memory or to a string cannot fail, and the font is registered.
        // Only a mistake in this file can cause an error.
        const SURE: &str = "drawing into memory with a registered font";
        let text = |size: u32| (font, size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(root)
            .caption(&self.title, text(26))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)
            .expect(SURE);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .axis_style(INK)
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .x_labels(self.size.0 as usize / 90)
            .label_style(text(16))
            .axis_desc_style(text(18))
            .x_label_formatter(&|x| tidy(*x))
            .y_label_formatter(&|y| tidy(*y))
            .draw()
            .expect(SURE);
        let shown = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
            points.iter().copied().filter(|&point| self.can_show(point)).collect()
        };
        // All pale lines are drawn first, so that none hides the line of another series.
        for (n, series) in self.series.iter().enumerate() {
            chart.draw_series(LineSeries::new(shown(&series.raw), rgb(n).mix(0.25))).expect(SURE);
        }
        for (n, series) in self.series.iter().enumerate() {
            let points = shown(&series.points);
            // A line through one point is invisible.
            let single = if points.len() == 1 { points.clone() } else { Vec::new() };
            chart.draw_series(single.into_iter().map(|point| Circle::new(point, 4, rgb(n).filled()))).expect(SURE);
            chart
                .draw_series(LineSeries::new(points, rgb(n).stroke_width(2)))
                .expect(SURE)
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], rgb(n).stroke_width(3)));
        }
        if self.legend && !self.series.is_empty() {
            chart
                .configure_series_labels()
                .position(emptiest_corner(&self.lines_within()))
                .legend_area_size(32)
                .margin(12)
                .label_font(text(17))
                .background_style(WHITE.mix(0.85))
                .border_style(INK.mix(0.3))
                .draw()
                .expect(SURE);
        }
        root.present().expect(SURE);
    }

    fn can_show(&self, (x, y): (f64, f64)) -> bool {
        let shown = |value: f64, logarithmic: bool| value.is_finite() && (!logarithmic || value > 0.0);
        shown(x, self.logarithmic[0]) && shown(y, self.logarithmic[1])
    }

    /// All lines in the coordinates of the axes: (x, y) in 0..1.
    fn lines_within(&self) -> Vec<Vec<(f64, f64)>> {
        let scaled = |value: f64, logarithmic: bool| if logarithmic { value.log10() } else { value };
        let (x, y) = self.ranges();
        let share = |value, range: &Range<f64>, logarithmic| {
            let [value, start, end] = [value, range.start, range.end].map(|value| scaled(value, logarithmic));
            (value - start) / (end - start)
        };
        let [log_x, log_y] = self.logarithmic;
        let within = |point: &(f64, f64)| (share(point.0, &x, log_x), share(point.1, &y, log_y));
        let shown =
            |points: &Vec<(f64, f64)>| points.iter().filter(|&&point| self.can_show(point)).map(within).collect();
        self.series.iter().map(|series| shown(&series.points)).collect()
    }

    /// The ranges of the axes: never empty, with a margin above and below.
    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        let points = self.series.iter().flat_map(|series| series.raw.iter().chain(&series.points));
        let none = [f64::INFINITY, f64::NEG_INFINITY];
        let mut bounds = [none, none];
        for &(x, y) in points.filter(|&&point| self.can_show(point)) {
            for ((bound, logarithmic), value) in bounds.iter_mut().zip(self.logarithmic).zip([x, y]) {
                // Logarithms, so that the margin is equal on both kinds of axis.
                let value = if logarithmic { value.log10() } else { value };
                *bound = [bound[0].min(value), bound[1].max(value)];
            }
        }
        let [x, y] = bounds.map(|[low, high]| match () {
            _ if low > high => [0.0, 1.0],
            // One point, or a flat line.
            _ if low == high => [low - 0.5, high + 0.5],
            _ => [low, high],
        });
        let air = (y[1] - y[0]) * 0.05;
        let [x, y] = [(x, self.logarithmic[0]), ([y[0] - air, y[1] + air], self.logarithmic[1])]
            .map(|(ends, logarithmic)| if logarithmic { ends.map(|end| 10f64.powf(end)) } else { ends });
        (x[0]..x[1], y[0]..y[1])
    }
}

/// The color of the `series`-th line, from 0: red, green, blue.
pub fn color(series: usize) -> [u8; 3] {
    let RGBColor(red, green, blue) = rgb(series);
    [red, green, blue]
}

fn rgb(series: usize) -> RGBColor {
    COLORS[series % COLORS.len()]
}

/// Tick labels without the rounding errors of binary fractions: `0.3`, not `0.30000000000000004`.
fn tidy(value: f64) -> String {
    let rounded = format!("{value:.9e}").parse::<f64>().unwrap_or(value);
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) { format!("{rounded}") } else { format!("{rounded:e}") }
}

fn register_fonts() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let fonts = [(FONT, epaint_default_fonts::UBUNTU_LIGHT), (BROWSER_FONT, epaint_default_fonts::HACK_REGULAR)];
        for (name, bytes) in fonts {
            let registered = plotters::style::register_font(name, FontStyle::Normal, bytes);
            assert!(registered.is_ok(), "the font that is compiled in is a font");
        }
    });
}

/// Replaces each y by a mean over both sides, with weights that fall exponentially over about
/// `span` points.
///
/// An average over past points alone lags: a falling training loss would seem to be above the
/// validation loss. Points that are not finite are left out, because one of them would spoil all
/// others.
pub fn smooth(points: &[(f64, f64)], span: f64) -> Vec<(f64, f64)> {
    // The weights of both sides, 1 + 2 (k + k^2 + ...), sum to `span`.
    let keep = 1.0 - 2.0 / (span.max(1.0) + 1.0);
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(_, y)| y.is_finite()).collect();
    // (sum, weight) of everything up to and including each point.
    let decay = |state: &mut (f64, f64), &(_, y): &(f64, f64)| {
        *state = (state.0 * keep + y, state.1 * keep + 1.0);
        Some(*state)
    };
    let past = finite.iter().scan((0.0, 0.0), decay);
    let mut future: Vec<(f64, f64)> = finite.iter().rev().scan((0.0, 0.0), decay).collect();
    future.reverse();
    // Each point itself is in both.
    let both = finite.iter().zip(past.zip(future));
    both.map(|(&(x, y), (past, future))| (x, (past.0 + future.0 - y) / (past.1 + future.1 - 1.0))).collect()
}
