use super::{golden, goldens, refusal};
use degrain::diffusion::{
    NoiseSchedule, Prediction, SamplerName, SamplerOptions, Schedule, SchedulerConfig, Spacing, Variance,
};
use safetensors::SafeTensors;

fn tensor(file: &SafeTensors, name: &str) -> Vec<f64> {
    let bytes = file.tensor(name).unwrap();
    bytes.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// One element through a row as the operator `denoise` does it, in f64: predicted image, next x, and the sum of the magnitudes of all terms,
/// which the rounding of the row's numbers is measured by.
fn denoise(c: &[f32; 8], clip: f32, x: f64, m: f64, z: f64) -> (f64, f64, f64) {
    let c = c.map(f64::from);
    let image = (c[0] * x + c[1] * m).clamp(-f64::from(clip), f64::from(clip));
    let e = c[2] * x + c[3] * m;
    let image_size = ((c[0] * x).abs() + (c[1] * m).abs()).max(image.abs());
    let clipped = if image.abs() == f64::from(clip) { image.abs() } else { image_size };
    let size = (c[4] * clipped).abs()
        + (c[5] * x).abs()
        + c[6].abs() * ((c[2] * x).abs() + (c[3] * m).abs())
        + (c[7] * z).abs();
    (image, c[4] * image + c[5] * x + c[6] * e + c[7] * z, size.max(image_size))
}

#[test]
fn steps_are_those_of_diffusers() {
    let bytes = std::fs::read(goldens().join("steps.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let [x, m, z] = ["sample", "model_output", "noise"].map(|name| tensor(&file, name));
    let [next, image] = ["prev_sample", "pred_original_sample"].map(|name| tensor(&file, name));
    let mut compared = [0; 2];
    for (k, case) in golden("steps.json")["cases"].as_array().unwrap().iter().enumerate() {
        let ddim = case["scheduler"] == "ddim";
        let mut config = case["config"].clone();
        config["_class_name"] = (if ddim { "DDIMScheduler" } else { "DDPMScheduler" }).into();
        let config = SchedulerConfig::from_json(&config.to_string());
        if case["config"]["thresholding"] == true || case["config"]["variance_type"] == "learned_range" {
            assert!(config.unwrap_err().contains("is not supported"));
            continue;
        }
        let (mut config, unknown) = config.unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        config.options.eta = case["eta"].as_f64();
        config.options.use_clipped_model_output = case["use_clipped_model_output"].as_bool();
        let (plan, _) = config.plan(case["num_inference_steps"].as_u64().unwrap() as u32).unwrap();
        let visit = plan.timesteps.iter().position(|&t| case["timestep"] == t).unwrap();
        for (i, (((&x, &m), &z), at)) in x.iter().zip(&m).zip(&z).zip(k * x.len()..).enumerate() {
            let (found_image, found, size) = denoise(&plan.table[visit], plan.clip, x, m, z);
            // Three roundings of the row's numbers on the way of each term, and that of the golden.
            let tolerance = 4.0 * f64::from(f32::EPSILON) / 2.0 * size;
            assert!(
                (found_image - image[at]).abs() <= tolerance,
                "image {i}: {found_image} is not {} in {case}",
                image[at]
            );
            assert!((found - next[at]).abs() <= tolerance, "element {i}: {found} is not {} in {case}", next[at]);
        }
        compared[usize::from(ddim)] += 1;
    }
    assert!(compared[0] >= 80 && compared[1] >= 170, "{compared:?}");
}

fn plan(
    sampler: SamplerName,
    options: SamplerOptions,
    spacing: Spacing,
    visits: u32,
) -> degrain::diffusion::SamplingPlan {
    SchedulerConfig { sampler, options, spacing, ..SchedulerConfig::default() }.plan(visits).unwrap().0
}

#[test]
fn noise_is_drawn_where_it_should_be() {
    let large = SamplerOptions { variance_type: Some(Variance::FixedLarge), ..SamplerOptions::default() };
    for options in [SamplerOptions::default(), large] {
        let ddpm = plan(SamplerName::Ddpm, options, Spacing::Leading, 1000);
        assert!(ddpm.table[..999].iter().all(|row| row[7] > 0.0) && ddpm.table[999][7] == 0.0);
    }
    // In diffusers only time step 0 is without noise: a list that ends before it ends with noise.
    let ends_at_19 = plan(SamplerName::Ddpm, large, Spacing::Trailing, 50);
    let noise = SchedulerConfig::default().noise_schedule().unwrap();
    assert_eq!(ends_at_19.table[49][7], (1.0 - noise.alphas_cumprod()[19]).sqrt() as f32);
    let ddim = plan(SamplerName::Ddim, SamplerOptions::default(), Spacing::Leading, 50);
    assert!(ddim.table.iter().all(|row| row[7] == 0.0));
    assert_eq!(ddim.table[49][4..], [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn ddim_with_eta_1_is_ddpm() {
    let options = SamplerOptions { eta: Some(1.0), ..SamplerOptions::default() };
    for visits in [10, 50, 1000] {
        let ddim = plan(SamplerName::Ddim, options, Spacing::Leading, visits);
        let ddpm = plan(SamplerName::Ddpm, SamplerOptions::default(), Spacing::Leading, visits);
        for (k, (a, b)) in ddim.table.iter().zip(&ddpm.table).enumerate() {
            // Without clipping both are linear in x, m and z.
            for (x, m, z) in [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)] {
                let [a, b] = [a, b].map(|row| denoise(row, f32::MAX, x, m, z));
                assert!(
                    (a.1 - b.1).abs() <= 4.0 * f64::from(f32::EPSILON) * a.2.max(b.2),
                    "{visits}, visit {k}: {a:?} {b:?}"
                );
            }
        }
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let eta = |eta| SamplerOptions { eta: Some(eta), ..SamplerOptions::default() };
    for value in [-0.1, 1.1, f64::NAN] {
        assert!(refusal(SamplerName::Ddim.build(&eta(value))).contains("eta ="));
    }
    assert!(refusal(SamplerName::Ddpm.build(&eta(0.5))).contains("ddpm has no `eta`"));
    let large = SamplerOptions { variance_type: Some(Variance::FixedLarge), ..SamplerOptions::default() };
    assert!(refusal(SamplerName::Ddim.build(&large)).contains("no `variance_type`"));

    let sampler = SamplerName::Ddpm.build(&SamplerOptions::default()).unwrap();
    let noise = NoiseSchedule::new(&Schedule::default(), 1000, false).unwrap();
    let plan = |timesteps: &[u32], clip| sampler.plan(&noise, Prediction::Epsilon, timesteps, clip);
    for timesteps in [&[][..], &[1000], &[5, 5], &[1, 2]] {
        assert!(refusal(plan(timesteps, 1.0)).contains("must fall"), "{timesteps:?}");
    }
    for clip in [0.0, -1.0, f32::NAN] {
        assert!(refusal(plan(&[999], clip)).contains("clipped to"));
    }
    let zero = NoiseSchedule::new(&Schedule::default(), 1000, true).unwrap();
    assert!(refusal(sampler.plan(&zero, Prediction::Epsilon, &[999, 0], 1.0)).contains("zero terminal"));
}

#[test]
fn doubtful_settings_are_told_of() {
    let warnings = |config: &SchedulerConfig, visits| config.plan(visits).unwrap().1;
    let mut config = SchedulerConfig::default();
    assert!(warnings(&config, 1000).is_empty() && warnings(&config, 50).is_empty());
    assert!(warnings(&config, 1)[0].contains("time step 0 of 0..=999"));
    config.options.variance_type = Some(Variance::FixedLarge);
    assert!(warnings(&config, 1000).is_empty());
    assert!(warnings(&config, 50)[0].contains("at 50 of 1000 steps"));
    let (config, _) = SchedulerConfig::from_json(r#"{"num_train_timesteps": 200}"#).unwrap();
    assert!(warnings(&config, 200)[0].contains("ends far from pure noise"));
}

#[test]
fn cosine_plans_are_finite() {
    let config = SchedulerConfig { schedule: Schedule::Cosine, ..SchedulerConfig::default() };
    for sampler in SamplerName::ALL {
        let (plan, _) = SchedulerConfig { sampler: *sampler, ..config.clone() }.plan(1000).unwrap();
        assert!(plan.table.iter().flatten().all(|c| c.is_finite()));
        // A model's error is amplified by 2e4 at the first step: what clipping is for.
        assert!(plan.table[0][0] > 2e4 && plan.table[0][4] < 0.1);
    }
}
