//! The third term of a convolution: nothing, a map, or a number for each image and channel.

use crate::ops::columns::has_columns;
use crate::ops::{add, add_channels};
use crate::tape::{Array, Shape, Tape, Tensor};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addend {
    Nothing,
    /// A tensor of the shape of the result.
    Map,
    /// Columns of `[B, E]`, from this one on.
    Channels {
        first: u32,
    },
}

impl Addend {
    /// Checks the shape of what is added to a result.
    pub fn check(self, result: Shape, given: Option<&Shape>) -> Result<(), String> {
        let [batch, channels, ..] = result.as_array::<4>();
        match (self, given) {
            (Addend::Nothing, None) => Ok(()),
            (Addend::Map, Some(&map)) if map == result => Ok(()),
            (Addend::Map, _) => Err(format!("takes a map {result} to add")),
            (Addend::Channels { first }, Some(&e)) if has_columns(e, batch, first + channels) => Ok(()),
            (Addend::Channels { first }, _) => {
                Err(format!("takes [{batch}, E] to add, with E >= {}", first + channels))
            }
            (Addend::Nothing, Some(_)) => Err("takes x, w and b".into()),
        }
    }

    /// The smallest input for a result.
    pub fn input(self, result: Shape) -> Option<Shape> {
        let [batch, channels, ..] = result.as_array::<4>();
        match self {
            Addend::Nothing => None,
            Addend::Map => Some(result),
            Addend::Channels { first } => Some(Shape::f32([batch, first + channels])),
        }
    }

    /// The end of the name of a class of work.
    pub fn name(self) -> &'static str {
        match self {
            Addend::Nothing => "",
            Addend::Map => ", plus a map",
            Addend::Channels { .. } => ", plus channels",
        }
    }

    /// Records `y` = `sum` plus the addend, by a separate kernel.
    pub fn record(self, t: &mut Tape, sum: Tensor, given: Tensor, y: Tensor) {
        match self {
            Addend::Nothing => {}
            Addend::Map => add::record(t, [sum, given], y),
            Addend::Channels { first } => add_channels::record(t, [sum, given], first, y),
        }
    }

    /// Writes the gradient of what was added.
    pub fn backward(self, t: &mut Tape, given: Tensor, dy: Tensor) {
        match self {
            Addend::Nothing => {}
            Addend::Map => add::pass_or_copy(t, given, dy),
            Addend::Channels { first } => add_channels::sum_pixels(t, dy, given, first),
        }
    }

    /// The reference: adds to element `i` of a result.
    pub fn value(self, given: Option<&Array>, result: Shape, i: usize) -> f64 {
        let [_, channels, height, width] = result.as_array().map(|n: u32| n as usize);
        match (self, given) {
            (Addend::Map, Some(map)) => map.data[i],
            (Addend::Channels { first }, Some(e)) => {
                let row = i / (height * width);
                let [_, columns] = e.shape.as_array();
                e.data[row / channels * columns as usize + first as usize + row % channels]
            }
            _ => 0.0,
        }
    }
}
