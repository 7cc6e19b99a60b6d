//! Fourier features of bytes: with frequency 8, one period is one gray level.

use crate::common::context;
use degrain::ops::fourier_features;
use degrain::tape::{Program, Shape, Step, Tape};
use std::f64::consts::PI;

#[test]
fn fourier_features_of_bytes_are_equal_at_frequency_8() {
    let mut ctx = context();
    let mut tape = Tape::on(&ctx);
    let x = tape.named("x", Shape::f32([1, 1, 256]));
    let y = fourier_features(&mut tape, x, 7, 2);
    tape.keep(y, "y");
    ctx.require("x", 4 * 256).unwrap();
    let bytes: Vec<f32> = (0..256).map(|byte| byte as f32 / 127.5 - 1.0).collect();
    ctx.write("x", 0, &bytes).unwrap();
    let program = Program::compile(&mut ctx, &tape).unwrap();
    program.run(&ctx, &Step::default()).unwrap();
    let y: Vec<f32> = ctx.read("y", 0, 5 * 256).unwrap();
    let [sin_7, cos_7, sin_8, cos_8] = [1, 2, 3, 4].map(|block| &y[block * 256..][..256]);
    for byte in 0..256 {
        // x is rounded to 2^-25 of its size 1, and a period is 2/255.
        let near = |found: f32, expected: f64| {
            assert!((f64::from(found) - expected).abs() < 1e-4, "byte {byte}: {found} is not {expected}");
        };
        // 2^7 pi z is pi (b - 127.5), and 2^8 pi z is 2 pi (b - 127.5).
        let angle = PI * (f64::from(byte as u32) - 127.5);
        near(sin_7[byte], angle.sin());
        near(cos_7[byte], 0.0);
        near(sin_8[byte], 0.0);
        near(cos_8[byte], -1.0);
    }
}
