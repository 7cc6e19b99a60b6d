//! The crate as a library: record a computation, differentiate it, run it.
//!
//!     cargo run --release --example library
//!
//! Two convolutions learn to find edges. Each step draws noise on the device and compares their
//! output with the Laplacian of the noise.

use degrain::Result;
use degrain::gpu::Context;
use degrain::nn::layers::Conv;
use degrain::nn::{GRADIENTS, Initialization, PARAMETERS, Parameters};
use degrain::ops::{Adam, AdamState, Conv2d, Padding, adam, conv2d, fill, gradient_norm, mse, randn, silu};
use degrain::tape::{Program, Shape, Step, Tape, stream};

const BATCH: u32 = 16;
const STEPS: u32 = 400;

fn main() -> Result<()> {
    // A model is a list of named tensors, stored one after another in a flat buffer, and layers
    // that use them.
    let mut parameters = Parameters::new();
    let first = Conv::same(&mut parameters, "first", 1, 8);
    let second = Conv::same(&mut parameters, "second", 8, 1);

    // Record. Nothing runs yet: a tape is a list of kernel calls, and a `Tensor` is a number in it.
    let mut ctx = Context::open(None)?;
    let mut tape = Tape::new(ctx.target());
    let t = &mut tape;
    let x = randn(t, stream::NOISE, Shape::f32([BATCH, 1, 16, 16]));
    let (laplacian, zero) = (t.named("laplacian", Shape::f32([1, 1, 3, 3])), t.named("zero", Shape::f32([1])));
    let target = conv2d(t, x, laplacian, zero, Conv2d { stride: 1, padding: Padding::Same });
    let weights = parameters.trained(t);
    let h = first.forward(t, &weights, x);
    let h = silu(t, h);
    let y = second.forward(t, &weights, h);
    let loss = mse(t, y, target); // one value per image, [BATCH]
    t.keep(loss, "loss"); // a named buffer that can be read after the run

    // Differentiate: the gradient calls and the optimizer are appended to the list.
    let dloss = fill(t, 1.0 / BATCH as f32, Shape::f32([BATCH]));
    t.backward(loss, dloss);
    let shape = parameters.flat_shape();
    let [p, g, m, v] = [PARAMETERS, GRADIENTS, "adam.first", "adam.second"].map(|name| t.named(name, shape));
    let norm = gradient_norm(t, g, 1.0);
    let (beta1, beta2) = (0.9, 0.99);
    adam(t, AdamState { p, g, m, v }, norm, Adam { beta1, beta2, epsilon: 1e-8, weight_decay: 0.0 });
    print!("{}", tape.summary()); // `tape.listing()` shows every call

    // Compile: memory is planned, kernels are compiled, operands are bound. New buffers are zero.
    let program = Program::compile(&mut ctx, &tape)?;
    ctx.write(PARAMETERS, 0, &parameters.initialize(0, Initialization::PyTorch))?;
    ctx.write("laplacian", 0, &[0f32, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0])?;

    // Run: one small struct holds all values that change from step to step.
    for n in 0..STEPS {
        let correction = |beta: f32| 1.0 / (1.0 - beta.powi(n as i32 + 1));
        let step = Step {
            index: n, // the noise differs in each step
            learning_rate: 1e-2,
            first_correction: correction(beta1),
            second_correction: correction(beta2),
            ..Step::default()
        };
        program.run(&ctx, &step)?;
        if n % 50 == 0 || n + 1 == STEPS {
            let losses: Vec<f32> = ctx.read("loss", 0, BATCH as usize)?;
            println!("step {n:3}  loss {:.4}", losses.iter().sum::<f32>() / BATCH as f32);
        }
    }
    Ok(())
}
