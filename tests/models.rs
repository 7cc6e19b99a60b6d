//! Blocks and whole models against what diffusers computes in float64: results, and gradients of every parameter and input.

mod common;
#[path = "common/golden.rs"]
mod golden;

use golden::{Golden, Run, distance, largest, path};
use degrain::nn::UNet2d;
use degrain::nn::{UNet2dConfig, state_dict};

const MODELS: [&str; 8] = [
    "unet_class",
    "unet_plain",
    "unet_scale_shift",
    "unet_attn_norm",
    "unet_legacy",
    "unet_no_attention",
    "unet_no_mid",
    "unet_center_input",
];

#[test]
fn measure() {
    let gpu = common::gpu();
    for name in MODELS {
        let (config, unknown) = UNet2dConfig::read(&path(&format!("{name}/unet/config.json"))).unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        let model = UNet2d::new(config, 1000).unwrap();
        let slab = state_dict::read(&path(&format!("{name}/unet/diffusion_pytorch_model.safetensors")), model.parameters()).unwrap();
        let golden = Golden::open(&format!("{name}/golden.safetensors"));
        let mut inputs = vec![("x", golden.words("x")), ("timesteps", golden.words("timesteps"))];
        if golden.has("class_labels") {
            inputs.push(("class_labels", golden.words("class_labels")));
        }
        let run = Run::new(&gpu, model.parameters(), &inputs, &model.time_table(), |t, w, x| {
            model.forward(t, w, x[0], x[1], x.get(2).copied())
        });
        run.write("parameters", &slab);
        let (out, target) = (golden.floats("out"), golden.floats("target"));
        let n = out.len() as f64;
        let dout: Vec<f32> = out.iter().zip(&target).map(|(a, b)| (2.0 * (f64::from(*a) - f64::from(*b)) / n) as f32).collect();
        run.write("dout", &dout);
        let got = run.run();
        println!("{name}: out {:.2e}", distance(&got.out, &out) / largest(&out));
        let noisy: Vec<f32> = slab.iter().enumerate().map(|(i, &x)| x * if (i as u32).wrapping_mul(2654435761) >> 31 == 0 { 1.0 + f32::EPSILON } else { 1.0 - f32::EPSILON }).collect();
        run.write("parameters", &noisy);
        let moved = run.run();
        println!("   moved {:.2e}", distance(&moved.out, &got.out) / largest(&out));
        let mut rows: Vec<(f64, f64, f64, String)> = model.parameters().iter().map(|p| {
            let g = golden.floats(&format!("grad.{}", p.name));
            let d = distance(&got.parameters[p.range()], &g);
            let m = distance(&got.parameters[p.range()], &moved.parameters[p.range()]);
            (d / m, d / largest(&g), m / largest(&g), p.name.clone())
        }).collect();
        let gx = golden.floats("grad.x");
        rows.push((distance(&got.inputs[0].1, &gx) / distance(&got.inputs[0].1, &moved.inputs[0].1), distance(&got.inputs[0].1, &gx) / largest(&gx), 0.0, "x".into()));
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        for r in rows.iter().take(8) { println!("   by ratio {:.2} {:.2e} {:.2e} {}", r.0, r.1, r.2, r.3); }
        rows.sort_by(|a, b| b.1.total_cmp(&a.1));
        for r in rows.iter().take(8) { println!("   by rel {:.2} {:.2e} {:.2e} {}", r.0, r.1, r.2, r.3); }
        run.write("timesteps", &golden.words("other_timesteps").1);
        run.write("parameters", &slab);
        let other = golden.floats("other_out");
        println!("{name}: other {:.2e}", distance(&run.run().out, &other) / largest(&other));
    }
}
