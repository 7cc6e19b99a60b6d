//! Networks with conditions for two passes over the same images.

use crate::common::{context, context_with_tiles};
use crate::networks::{batch, filled, plain, residual, times, unet2d};
use degrain::gpu::Context;
use degrain::nn::{Conditions, DownsampleType, Network, PARAMETERS, TimeShift, UNet2d};
use degrain::ops::duplicate;
use degrain::tape::testing::TEST_STEP;
use degrain::tape::{Program, Shape, Tape};

/// The outputs for images [1, C, H, W] and conditions of two images, and the FLOPs. If `before`,
/// the images are repeated before the network.
fn outputs(ctx: &Context, network: &dyn Network, before: bool) -> (Vec<f32>, u64) {
    let mut t = Tape::new(ctx.target());
    let weights = network.parameters().fixed(&mut t, PARAMETERS);
    let (_, Conditions { time, labels }) = batch(&mut t, network, 2);
    let [channels, height, width] = network.image_shape().unwrap();
    let mut x = t.named("image", Shape::f32([1, channels, height, width]));
    if before {
        x = duplicate(&mut t, x);
    }
    let out = network.forward(&mut t, &weights, x, Conditions { time, labels });
    assert_eq!(t.shape(out).dims()[0], 2);
    t.keep(out, "out");
    let mut ctx = filled(ctx, &t, network, &times(network)[..2 * network.time_width() as usize]);
    let program = Program::compile(&mut ctx, &t).unwrap();
    program.run(&ctx, &TEST_STEP).unwrap();
    (ctx.read("out", 0, t.shape(out).len()).unwrap(), t.calls().iter().map(|call| call.flops).sum())
}

/// The two passes of guidance give the bits that they give for repeated images, with less work.
#[test]
fn repeated_images_are_computed_once_up_to_the_first_condition() {
    let scaled = UNet2d::new(degrain::nn::UNet2dConfig {
        resnet_time_scale_shift: TimeShift::ScaleShift,
        ..unet2d([8, 4]).config().clone()
    });
    let networks: [Box<dyn Network>; 4] = [
        Box::new(plain([8, 12], Some(4))),
        Box::new(residual([8, 12], DownsampleType::Conv, Some(4))),
        Box::new(unet2d([8, 4])),
        Box::new(scaled.unwrap()),
    ];
    for ctx in [context(), context_with_tiles()] {
        for network in &networks {
            let (once, less) = outputs(&ctx, &**network, false);
            let (twice, all) = outputs(&ctx, &**network, true);
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_ne!(once[..once.len() / 2], once[once.len() / 2..], "{}: the conditions count", network.class());
            assert!(bits(once) == bits(twice), "{}: other bits", network.class());
            assert!(less < all, "{}: {less} of {all} FLOPs", network.class());
        }
    }
}
