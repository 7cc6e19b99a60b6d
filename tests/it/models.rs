//! Blocks and whole models against diffusers in float64: outputs, and gradients of every parameter
//! and input.

use crate::common::golden::{Golden, Run, compare, excess, nudge, path};
use crate::common::{context, context_with_tiles};
use degrain::checkpoint::state_dict;
use degrain::gpu::Context;
use degrain::nn::blocks::resnet::{Resnet, ResnetSettings, join_times};
use degrain::nn::blocks::self_attention::{SelfAttention, SelfAttentionSettings};
use degrain::nn::layers::{Conv, Norm, Normalization};
use degrain::nn::{
    Activation, Conditions, Model, Network, PARAMETERS, Parameters, TimeShift, UNet2d, UNet2dConfig, Weights, sinusoid,
};
use degrain::ops::{Conv2d, Padding, upsample};
use degrain::tape::{Program, Shape, Step, Tape, Tensor};

/// The model of a golden and its weights, from a folder that diffusers wrote.
fn model(name: &str) -> (UNet2d, Vec<f32>) {
    let (config, unknown) = UNet2dConfig::read(&path(&format!("{name}/unet/config.json"))).unwrap();
    assert_eq!(unknown, [""; 0]);
    assert_eq!(UNet2dConfig::from_json(&config.to_json()).unwrap().0, config);
    let model = UNet2d::new(config).unwrap();
    let file = path(&format!("{name}/unet/diffusion_pytorch_model.safetensors"));
    let weights = state_dict::read(&[file], model.parameters()).unwrap();
    (model, weights)
}

/// The time input of the model for a golden's timesteps.
fn times(model: &UNet2d, golden: &Golden, name: &str) -> (Shape, Vec<u32>) {
    let (shape, steps) = golden.words(name);
    let steps: Vec<f64> = steps.into_iter().map(f64::from).collect();
    let rows = model.time_table(&steps).iter().map(|x| x.to_bits()).collect();
    (Shape::f32([shape.dims()[0], model.time_width()]), rows)
}

/// Images and times of a golden, and classes if it has them.
fn inputs(model: &UNet2d, golden: &Golden) -> Vec<(&'static str, (Shape, Vec<u32>))> {
    let mut inputs = vec![("x", golden.words("x")), ("time", times(model, golden, "timesteps"))];
    if golden.has("class_labels") {
        inputs.push(("class_labels", golden.words("class_labels")));
    }
    inputs
}

fn record(model: &UNet2d, t: &mut Tape, w: &Weights, x: &[Tensor]) -> Tensor {
    model.forward(t, w, x[0], Conditions { time: Some(x[1]), labels: x.get(2).copied() })
}

fn check_model(ctx: &Context, name: &str) {
    let (model, weights) = model(name);
    let golden = Golden::open(&format!("{name}/golden.safetensors"));
    let run = Run::new(ctx, model.parameters(), &inputs(&model, &golden), |t, w, x| record(&model, t, w, x));
    // The gradient of loss = mean((out - target)^2).
    let (out, target) = (golden.floats("out"), golden.floats("target"));
    let twice = 2.0 / out.len() as f64;
    let dout = |(a, b): (&f32, &f32)| (twice * (f64::from(*a) - f64::from(*b))) as f32;
    run.write("dout", &out.iter().zip(&target).map(dout).collect::<Vec<f32>>());

    run.write(PARAMETERS, &weights);
    let got = run.run();
    run.write(PARAMETERS, &nudge(&weights));
    let moved = run.run();
    let mut worst = compare(&format!("{name}: out"), &got.out, &moved.out, &out);
    for p in model.parameters().iter() {
        let gradient = golden.floats(&format!("grad.{}", p.name));
        let (got, moved) = (&got.parameters[p.range()], &moved.parameters[p.range()]);
        worst = worst.max(compare(&format!("{name}: gradient of {}", p.name), got, moved, &gradient));
    }
    let gradient = golden.floats("grad.x");
    worst = worst.max(compare(&format!("{name}: gradient of x"), &got.inputs[0].1, &moved.inputs[0].1, &gradient));

    run.write("time", &times(&model, &golden, "other_timesteps").1);
    let moved = run.run();
    run.write(PARAMETERS, &weights);
    let other = run.run();
    worst = worst.max(compare(&format!("{name}: other_out"), &other.out, &moved.out, &golden.floats("other_out")));
    println!("{name}: at worst {worst:.2} of what is allowed");

    run.write("time", &times(&model, &golden, "timesteps").1);
    let again = run.run();
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(&again.out), bits(&got.out), "{name}: two runs differ");
    assert_eq!(bits(&again.parameters), bits(&got.parameters), "{name}: gradients of two runs differ");
}

macro_rules! models {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check_model(&context(), stringify!($name));
            }
        )*
    };
}

models! {
    unet_class,
    unet_plain,
    unet_scale_shift,
    unet_attn_norm,
    unet_legacy,
    unet_no_attention,
    unet_no_mid,
    unet_center_input,
    unet_relu,
}

#[test]
fn unet_scale_shift_tiled() {
    check_model(&context_with_tiles(), "unet_scale_shift");
}

/// A flag that the model ignores changes the output by more than the tolerance.
#[test]
fn unet_goldens_detect_wrong_flags() {
    let ctx = context();
    let (right, weights) = model("unet_center_input");
    let golden = Golden::open("unet_center_input/golden.safetensors");
    type Change = fn(&mut UNet2dConfig);
    let wrong: [(&str, Change); 7] = [
        ("norm_eps", |c| c.norm_eps = 1e-6),
        ("flip_sin_to_cos", |c| c.flip_sin_to_cos = false),
        ("freq_shift", |c| c.freq_shift = 1.0),
        ("downsample_padding", |c| c.downsample_padding = 0),
        ("attention_head_dim", |c| c.attention_head_dim = None),
        ("mid_block_scale_factor", |c| c.mid_block_scale_factor = 1.01),
        ("center_input_sample", |c| c.center_input_sample = false),
    ];
    for (flag, change) in wrong {
        let mut config = right.config().clone();
        change(&mut config);
        let model = UNet2d::new(config).unwrap();
        let run = Run::new(&ctx, model.parameters(), &inputs(&model, &golden), |t, w, x| record(&model, t, w, x));
        run.write(PARAMETERS, &weights);
        let got = run.run().out;
        run.write(PARAMETERS, &nudge(&weights));
        let excess = excess(&got, &run.run().out, &golden.floats("out"));
        assert!(excess > 1.0, "a wrong {flag} differs by {excess:.2} of what is allowed only");
        println!("a wrong {flag} differs by {excess:.1} times what is allowed");
    }
}

#[test]
fn state_dict_has_the_tensors_and_names_of_diffusers() {
    let (model, weights) = model("unet_class");
    let theirs = Golden::open("unet_class/unet/diffusion_pytorch_model.safetensors");
    let ours = Golden::new(state_dict::to_bytes(model.parameters(), &weights));
    assert_eq!(ours.names(), theirs.names());
    for name in theirs.names() {
        assert_eq!(ours.words(&name), theirs.words(&name), "{name}");
    }
}

/// The buffer of the weights, and whether they are trained, does not change the output.
#[test]
fn unet_gives_equal_results_from_any_buffer() {
    let ctx = context();
    let (model, weights) = model("unet_no_attention");
    let golden = Golden::open("unet_no_attention/golden.safetensors");
    let inputs = inputs(&model, &golden);
    let trained = Run::new(&ctx, model.parameters(), &inputs, |t, w, x| record(&model, t, w, x));
    trained.write(PARAMETERS, &weights);

    let mut t = Tape::new(ctx.target());
    let w = model.parameters().fixed(&mut t, "average");
    let x: Vec<Tensor> = inputs.iter().map(|(name, (shape, _))| t.named(name, *shape)).collect();
    let out = record(&model, &mut t, &w, &x);
    assert!(!t.needs_gradient(out));
    let mut ctx = ctx.fork();
    let program = Program::compile(&mut ctx, &t).unwrap();
    ctx.write("average", 0, &weights).unwrap();
    inputs.iter().for_each(|(name, (_, words))| ctx.write(name, 0, words).unwrap());
    program.run(&ctx, &Step::default()).unwrap();
    let words = program.read_words(&ctx, &t, out).unwrap();
    assert_eq!(words, trained.run().out.iter().map(|x| x.to_bits()).collect::<Vec<u32>>());
}

#[test]
fn unet_flops_grow_with_the_image_size() {
    let (model, _) = model("unet_no_attention");
    let [small, large] = [16, 32].map(|side| model.flops(side, side).unwrap() as f64);
    assert!((3.9..4.0).contains(&(large / small)), "{small} {large}");
    // Padded inside the network.
    assert_eq!(model.flops(16, 15).unwrap(), model.flops(16, 16).unwrap());
}

#[test]
fn sinusoid_matches_diffusers() {
    let golden = Golden::open("blocks.safetensors");
    let times = golden.words("embedding.t").1;
    for width in [8, 9, 32] {
        for (order, cosines_first) in [("flip", true), ("plain", false)] {
            for shift in [0, 1] {
                let expected = golden.floats(&format!("embedding.dim{width}.{order}.shift{shift}.out"));
                let row = |&time: &u32| sinusoid(f64::from(time), width, cosines_first, f64::from(shift));
                let got: Vec<f32> = times.iter().flat_map(row).map(|x| x as f32).collect();
                compare(&format!("width {width}, {order}, shift {shift}"), &got, &got, &expected);
            }
        }
    }
}

/// Compares a block with its golden. `make` adds its parameters, and `forward` records it.
fn check_block<T>(
    name: &str,
    inputs: &[&str],
    make: impl FnOnce(&mut Parameters, &str) -> T,
    forward: impl FnOnce(&T, &mut Tape, &Weights, &[Tensor]) -> Tensor,
) {
    let golden = Golden::open("blocks.safetensors");
    let mut parameters = Parameters::new();
    let block = make(&mut parameters, &format!("{name}.w"));
    let weights = golden.weights(&parameters);
    let inputs: Vec<_> = inputs.iter().map(|&input| (input, golden.words(&format!("{name}.in.{input}")))).collect();
    let ctx = context();
    let run = Run::new(&ctx, &parameters, &inputs, |t, w, x| forward(&block, t, w, x));
    run.write("dout", &golden.floats(&format!("{name}.dout")));
    run.write(PARAMETERS, &weights);
    let got = run.run();
    run.write(PARAMETERS, &nudge(&weights));
    let moved = run.run();
    let mut worst = compare(&format!("{name}: out"), &got.out, &moved.out, &golden.floats(&format!("{name}.out")));
    for p in parameters.iter() {
        let gradient = golden.floats(&p.name.replace(".w.", ".grad.w."));
        let (got, moved) = (&got.parameters[p.range()], &moved.parameters[p.range()]);
        worst = worst.max(compare(&format!("gradient of {}", p.name), got, moved, &gradient));
    }
    for ((input, got), (_, moved)) in got.inputs.iter().zip(&moved.inputs) {
        let gradient = golden.floats(&format!("{name}.grad.in.{input}"));
        worst = worst.max(compare(&format!("{name}: gradient of {input}"), got, moved, &gradient));
    }
    println!("{name}: at worst {worst:.2} of what is allowed");
}

#[test]
fn resnet_matches_diffusers() {
    for (name, inputs, outputs, time_shift) in [
        ("resnet", 8, 8, TimeShift::Add),
        ("resnet_shortcut", 8, 12, TimeShift::Add),
        ("resnet_scale_shift", 12, 8, TimeShift::ScaleShift),
    ] {
        let activation = Activation::Silu;
        let normalization = Normalization::Groups { groups: 4, eps: 1e-5 };
        let settings =
            ResnetSettings { time_width: 12, time_shift, normalization, dropout: 0.0, activation, divisor: 1.0 };
        check_block(
            name,
            &["x", "temb"],
            |p, prefix| {
                let mut block = Resnet::new(p, prefix, inputs, outputs, settings);
                let times = join_times(p, [&mut block]);
                (block, times)
            },
            |(block, times), t, w, x| {
                let e = activation.apply(t, x[1]);
                let e = times.rows(t, w, e);
                block.forward(t, w, x[0], e)
            },
        );
    }
}

#[test]
fn self_attention_matches_diffusers() {
    for (name, width) in [("attention_1_head", 16), ("attention_8_heads", 2), ("attention_5_heads_of_3", 3)] {
        let settings = SelfAttentionSettings { head_width: Some(width), groups: Some(4), eps: 1e-5, divisor: 1.0 };
        check_block(
            name,
            &["x"],
            |p, prefix| SelfAttention::new(p, prefix, 16, settings),
            |block, t, w, x| block.forward(t, w, x[0]),
        );
    }
}

#[test]
fn group_norm_matches_diffusers() {
    for (name, eps) in [("group_norm", 1e-5), ("group_norm_eps", 1e-2)] {
        check_block(
            name,
            &["x"],
            |p, prefix| Norm::new(p, prefix, 12, 3, eps),
            |norm, t, w, x| norm.forward(t, w, x[0]),
        );
    }
    check_block(
        "group_norm_silu",
        &["x"],
        |p, prefix| Norm::new(p, &format!("{prefix}.norm"), 12, 3, 1e-6),
        |norm, t, w, x| norm.activated(t, w, x[0], Activation::Silu),
    );
}

#[test]
fn downsampling_and_upsampling_match_diffusers() {
    for (name, padding) in [
        ("down_p1_odd", Padding::Same),
        ("down_p1_even", Padding::Same),
        ("down_p0_odd", Padding::RightBottom),
        ("down_p0_even", Padding::RightBottom),
    ] {
        check_block(
            name,
            &["x"],
            |p, prefix| Conv::new(p, &format!("{prefix}.conv"), 6, 6, Conv2d { stride: 2, padding }),
            |conv, t, w, x| conv.forward(t, w, x[0]),
        );
    }
    check_block(
        "up",
        &["x"],
        |p, prefix| Conv::same(p, &format!("{prefix}.conv"), 6, 6),
        |conv, t, w, x| {
            let x = upsample(t, x[0]);
            conv.forward(t, w, x)
        },
    );
}
