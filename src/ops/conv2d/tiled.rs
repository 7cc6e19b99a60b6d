//! The tiled variant of the convolution: tiles in workgroup memory, for GPUs.

use super::addend::Addend;
use super::sizes::{ConvSizes, Partial};
use crate::gpu::{DeviceClass, Target};
use crate::ops::destination::Destination;
use crate::ops::kernels::{conv2d, conv2d_weight};
use crate::tape::{Tape, Tensor};

/// Tile of a workgroup: a form of the kernels.
#[derive(Clone, Copy)]
struct Tile {
    /// Channels of the result.
    m: u32,
    /// Pixels, or columns of the gradient of the weights.
    n: u32,
    /// Channels of an invocation, which has 4 pixels.
    rows: u32,
}

/// The form with 4 channels of an invocation and 256 invocations.
const TILED: &str = "tiled";
/// The form for many pixels: the fewest loads for each multiplication.
const LARGE: &str = "tiled 64x128";
/// The form for fewer pixels: twice the workgroups.
const MEDIUM: &str = "tiled 64x64";
/// The form for few pixels: eight times the workgroups, with small ones.
const SMALL: &str = "tiled 32x32";
/// The form for few channels.
const FLAT: &str = "tiled 16x64";

/// The tile of a form. `channels` are those of the result.
fn tile(form: &str, channels: u32) -> Tile {
    match form {
        LARGE => Tile { m: 64, n: 128, rows: 8 },
        MEDIUM => Tile { m: 64, n: 64, rows: 8 },
        SMALL => Tile { m: 32, n: 32, rows: 4 },
        FLAT => Tile { m: 16, n: 64, rows: 4 },
        TILED if channels > 32 => Tile { m: 64, n: 64, rows: 4 },
        TILED => Tile { m: 32, n: 128, rows: 4 },
        _ => panic!("`{form}` is no form of the tiled kernels"),
    }
}

/// Pixels of an image from which the large tile is the default, and from which the medium one is.
/// A discrete GPU has many cores, so that it needs more workgroups for a batch of small images.
fn thresholds(target: Target) -> [u32; 2] {
    if target.capabilities.class == DeviceClass::Discrete { [400, 100] } else { [100, 25] }
}

/// The forms of `forward` and `backward_input`, first the default. `channels` and `pixels` are
/// those of a result.
pub(super) fn forms(target: Target, channels: u32, pixels: u32) -> Vec<&'static str> {
    let [large, medium] = thresholds(target);
    match channels {
        ..=16 => vec![FLAT, TILED],
        17..=32 => vec![SMALL, TILED],
        _ if pixels >= large => vec![LARGE, MEDIUM, TILED],
        _ if pixels >= medium => vec![MEDIUM, LARGE, SMALL, TILED],
        _ => vec![SMALL, MEDIUM, TILED],
    }
}

/// The forms of `backward_weight`, first the default. It divides the pixels among as many
/// workgroups as a device needs, so its tiles do not depend on them.
pub(super) fn weight_forms(s: ConvSizes) -> Vec<&'static str> {
    let columns = s.channels_in * s.kernel * s.kernel;
    match (s.channels_out, columns) {
        (..=32, _) => vec![SMALL, TILED],
        (_, ..=64) => vec![MEDIUM, TILED],
        _ => vec![MEDIUM, LARGE, TILED],
    }
}

/// Images of the batch on which forms are timed: about 64 of 28x28. A batch of a training step is
/// as large, and a large GPU would run a smaller one at the same speed in every form.
pub(super) fn timed_batch(pixels: u32) -> u32 {
    (64 * 28 * 28 / pixels).clamp(1, 128)
}

pub(super) fn forward(
    t: &mut Tape,
    (s, form): (ConvSizes, &str),
    x: &[Tensor],
    (addend, given): (Addend, Option<Tensor>),
    result: Tensor,
) {
    let source = x[0];
    let w = x[1];
    let b = x[2];
    let tile = tile(form, s.channels_out);
    let groups = [(s.batch * s.height * s.width).div_ceil(tile.n), s.channels_out.div_ceil(tile.m)];
    let addend_kind = match addend {
        Addend::Nothing => conv2d::NOTHING,
        Addend::Map => conv2d::MAP,
        Addend::Channels { .. } => conv2d::CHANNELS,
    };
    let addend_first = if let Addend::Channels { first } = addend { first } else { 0 };
    let addend_width = given.map_or(0, |given| t.shape(given).dims()[1]);
    let kernel = conv2d::Forward {
        source,
        w,
        b,
        addend: given.unwrap_or(b), // some tensor must be bound
        result,
        kernel: s.kernel,
        stride: s.stride,
        add: false,
        addend_kind,
        tile_m: tile.m,
        tile_n: tile.n,
        rows: tile.rows,
        batch: s.batch,
        channels_source: s.channels_in,
        height_source: s.height_in,
        width_source: s.width_in,
        channels_result: s.channels_out,
        height_result: s.height,
        width_result: s.width,
        pad: s.pad,
        addend_width,
        addend_first,
    };
    t.emit_folded(kernel, groups, s.flops());
}

pub(super) fn backward_input(t: &mut Tape, (s, form): (ConvSizes, &str), dy: Tensor, w: Tensor, dx: Destination) {
    let tile = tile(form, s.channels_in);
    let pixels = s.batch * s.height_in.div_ceil(s.stride) * s.width_in.div_ceil(s.stride);
    let groups = [pixels.div_ceil(tile.n), s.channels_in.div_ceil(tile.m) * s.stride * s.stride];
    let kernel = conv2d::BackwardInput {
        source: dy,
        w,
        result: dx.tensor,
        kernel: s.kernel,
        stride: s.stride,
        add: dx.add,
        tile_m: tile.m,
        tile_n: tile.n,
        rows: tile.rows,
        batch: s.batch,
        channels_source: s.channels_out,
        height_source: s.height,
        width_source: s.width,
        channels_result: s.channels_in,
        height_result: s.height_in,
        width_result: s.width_in,
        pad: s.pad,
        addend_width: 0,
        addend_first: 0,
    };
    t.emit_folded(kernel, groups, s.flops());
}

pub(super) fn backward_weight(t: &mut Tape, (s, form): (ConvSizes, &str), x: Tensor, dy: Tensor) -> Partial {
    let tile = tile(form, s.channels_out);
    let columns = (s.weights() / s.channels_out).div_ceil(tile.n);
    let rows = s.channels_out.div_ceil(tile.m);
    // Enough workgroups to fill a large device, and at least 256 pixels for each.
    let pixels = s.batch * s.height * s.width;
    let wanted = (512 / (columns * rows)).clamp(1, pixels.div_ceil(256));
    let chunk = pixels.div_ceil(wanted).next_multiple_of(conv2d_weight::TILE_K);
    let splits = pixels.div_ceil(chunk);
    let partial = Partial::new(t, s, splits);
    let kernel = conv2d_weight::Partial {
        x,
        dy,
        partial_w: partial.w,
        partial_b: partial.b,
        kernel: s.kernel,
        stride: s.stride,
        tile_m: tile.m,
        tile_n: tile.n,
        rows: tile.rows,
        batch: s.batch,
        channels_in: s.channels_in,
        height_in: s.height_in,
        width_in: s.width_in,
        channels_out: s.channels_out,
        height: s.height,
        width: s.width,
        pad: s.pad,
        chunk,
    };
    t.emit_grid(kernel, [columns, rows, splits], s.flops());
    partial
}
