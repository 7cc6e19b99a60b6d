use super::{golden, goldens, refusal};
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::process::Family;
use degrain::diffusion::sampler::StepSpec;
use degrain::diffusion::{
    BetaSchedule, Discrete, NoiseSchedule, Prediction, SamplerName, SamplerOptions, SamplingPlan, Spacing, StagePlan,
    Variance,
};
use safetensors::SafeTensors;

const SPACINGS: [Spacing; 3] = [Spacing::Leading, Spacing::Trailing, Spacing::Linspace];

fn tensor(file: &SafeTensors, name: &str) -> Vec<f64> {
    let bytes = file.tensor(name).unwrap();
    bytes.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// One element through a row, as in the operator `sampler_step`, in f64: predicted x_0, next x, and
/// the sum of the magnitudes of all terms, which limits the effect of the row's rounding errors.
fn denoise(c: &[f32; 12], clip: f32, x: f64, m: f64, z: f64) -> (f64, f64, f64) {
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

/// A row of a learned variance as a row of a fixed variance, for the network's v (Nichol and
/// Dhariwal 2021, eq. 15).
fn with_variance(mut row: [f32; 12], v: f64) -> [f32; 12] {
    let (share, [.., largest, smallest]) = ((v + 1.0) / 2.0, row.map(f64::from));
    row[7] *= (0.5 * (share * largest + (1.0 - share) * smallest)).exp() as f32;
    row
}

#[test]
fn sampler_steps_match_diffusers() {
    let bytes = std::fs::read(goldens().join("steps.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let [x, m, z] = ["sample", "model_output", "noise"].map(|name| tensor(&file, name));
    let [next, image] = ["prev_sample", "pred_original_sample"].map(|name| tensor(&file, name));
    // Channels of the mean and then of the variance, image by image.
    let learned = tensor(&file, "model_output_learned");
    let half = |second: bool| -> Vec<f64> {
        let halves = learned.chunks_exact(m.len() / 2).enumerate();
        halves.filter(|(k, _)| (k % 2 == 1) == second).flat_map(|(_, half)| half.to_vec()).collect()
    };
    let (learned_mean, learned_variance) = (half(false), half(true));
    let mut compared = [0; 3];
    let (mut elsewhere, mut noisy_ends) = (0, 0);
    for (k, case) in golden("steps.json")["cases"].as_array().unwrap().iter().enumerate() {
        let ddim = case["scheduler"] == "ddim";
        let mut config = case["config"].clone();
        config["_class_name"] = (if ddim { "DDIMScheduler" } else { "DDPMScheduler" }).into();
        let config = SchedulerConfig::from_json(&config.to_string());
        if case["config"]["thresholding"] == true {
            // It is replaced with clipping, because the bound is not 1, and the key is returned.
            assert_eq!(config.unwrap().1, ["thresholding"]);
            continue;
        }
        let (mut config, unknown) = config.unwrap();
        assert!(unknown.is_empty(), "{unknown:?}");
        config.options.eta = case["eta"].as_f64();
        config.options.use_clipped_model_output = case["use_clipped_model_output"].as_bool();
        let plan = fixed(&config, case["num_inference_steps"].as_u64().unwrap() as u32);
        let visit = plan.times.iter().position(|&t| case["timestep"].as_f64() == Some(t)).unwrap();
        // DDIM of diffusers steps by T/n even if another timestep is visited next.
        let previous = plan.times.get(visit + 1).copied().unwrap_or(-1.0);
        if ddim && case["previous"].as_f64().unwrap().max(-1.0) != previous {
            elsewhere += 1;
            continue;
        }
        // DDPM of diffusers adds noise in the last step, unless it is timestep 0.
        if !ddim && visit + 1 == plan.times.len() && plan.times[visit] != 0.0 {
            noisy_ends += 1;
            continue;
        }
        let learns = config.options.variance_type == Some(Variance::LearnedRange);
        let m = if learns { &learned_mean } else { &m };
        for (i, (((&x, &m), &z), at)) in x.iter().zip(m).zip(&z).zip(k * x.len()..).enumerate() {
            let mut row = plan.table[visit];
            if learns {
                row = with_variance(row, learned_variance[i]);
            }
            let (found_image, found, size) = denoise(&row, plan.clip, x, m, z);
            // Each term has three rounded factors, and the golden is rounded.
            let tolerance = 4.0 * f64::from(f32::EPSILON) / 2.0 * size;
            assert!(
                (found_image - image[at]).abs() <= tolerance,
                "image {i}: {found_image} is not {} in {case}",
                image[at]
            );
            assert!((found - next[at]).abs() <= tolerance, "element {i}: {found} is not {} in {case}", next[at]);
        }
        compared[if learns { 2 } else { usize::from(ddim) }] += 1;
    }
    assert!(compared[0] >= 80 && compared[1] >= 150 && compared[2] >= 4, "{compared:?}");
    assert!(elsewhere < 40 && (1..20).contains(&noisy_ends), "{elsewhere} {noisy_ends}");
}

#[test]
fn learned_variance_is_between_the_fixed_ones() {
    let of = |variance| {
        let options = SamplerOptions { variance_type: Some(variance), ..SamplerOptions::default() };
        plan(SamplerName::Ddpm, options, Spacing::Leading, 50).table
    };
    let (learned, small, large) = (of(Variance::LearnedRange), of(Variance::FixedSmall), of(Variance::FixedLarge));
    for ((learned, small), large) in learned.iter().zip(&small).zip(&large) {
        for (v, fixed) in [(-1.0, small), (1.0, large)] {
            let found = with_variance(*learned, v);
            assert_eq!(found[..7], fixed[..7]);
            // A logarithm of about -10 in f32.
            assert!((found[7] - fixed[7]).abs() <= 1e-5 * fixed[7], "{v}: {found:?} {fixed:?}");
        }
    }
}

/// The plan of a sampler with fixed stages.
fn fixed(config: &SchedulerConfig, steps: u32) -> StagePlan {
    config.plan(steps).unwrap().0.fixed().unwrap().clone()
}

fn plan(sampler: SamplerName, options: SamplerOptions, spacing: Spacing, steps: u32) -> StagePlan {
    fixed(&SchedulerConfig { sampler, options, spacing, ..SchedulerConfig::default() }, steps)
}

#[test]
fn sampling_plans_add_noise_in_the_right_steps() {
    let large = SamplerOptions { variance_type: Some(Variance::FixedLarge), ..SamplerOptions::default() };
    for options in [SamplerOptions::default(), large] {
        let ddpm = plan(SamplerName::Ddpm, options, Spacing::Leading, 1000);
        assert!(ddpm.table[..999].iter().all(|row| row[7] > 0.0) && ddpm.table[999][7] == 0.0);
    }
    // With `trailing`, the last timestep is 19.
    let learned = SamplerOptions { variance_type: Some(Variance::LearnedRange), ..SamplerOptions::default() };
    for (spacing, options) in SPACINGS.into_iter().flat_map(|s| [large, learned].map(|options| (s, options))) {
        let table = plan(SamplerName::Ddpm, options, spacing, 50).table;
        assert!(table[..49].iter().all(|row| row[7] > 0.0) && table[49][7] == 0.0, "{spacing:?} {options:?}");
    }
    let ddim = plan(SamplerName::Ddim, SamplerOptions::default(), Spacing::Leading, 50);
    assert!(ddim.table.iter().all(|row| row[7] == 0.0));
    assert_eq!(ddim.table[49][4..8], [1.0, 0.0, 0.0, 0.0]);
}

#[test]
fn ddim_with_eta_1_is_ddpm() {
    let options = SamplerOptions { eta: Some(1.0), ..SamplerOptions::default() };
    for spec in [10, 50, 1000] {
        let ddim = plan(SamplerName::Ddim, options, Spacing::Leading, spec);
        let ddpm = plan(SamplerName::Ddpm, SamplerOptions::default(), Spacing::Leading, spec);
        for (k, (a, b)) in ddim.table.iter().zip(&ddpm.table).enumerate() {
            // Without clipping both are linear in x, m and z.
            for (x, m, z) in [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)] {
                let [a, b] = [a, b].map(|row| denoise(row, f32::MAX, x, m, z));
                assert!(
                    (a.1 - b.1).abs() <= 4.0 * f64::from(f32::EPSILON) * a.2.max(b.2),
                    "{spec}, visit {k}: {a:?} {b:?}"
                );
            }
        }
    }
}

#[test]
fn sampling_plans_refuse_invalid_settings() {
    let eta = |eta| SamplerOptions { eta: Some(eta), ..SamplerOptions::default() };
    for value in [-0.1, 1.1, f64::NAN] {
        for sampler in [SamplerName::Ddim, SamplerName::DpmSolver] {
            assert!(refusal(sampler.build(&eta(value))).contains("eta ="), "{sampler:?}");
        }
    }
    assert!(refusal(SamplerName::Ddpm.build(&eta(0.5))).contains("ddpm has no --eta: it has --variance"));
    let large = SamplerOptions { variance_type: Some(Variance::FixedLarge), ..SamplerOptions::default() };
    assert!(refusal(SamplerName::Ddim.build(&large)).contains("no --variance: it has --eta"));

    let sampler = SamplerName::Ddpm.build(&SamplerOptions::default()).unwrap();
    let noise = NoiseSchedule::new(&BetaSchedule::default(), 1000, false).unwrap();
    let process = Discrete::new(noise, Prediction::Epsilon).unwrap();
    let plan = |steps: u32, offset: u32, clip: f32| {
        let spec = StepSpec { steps, spacing: Spacing::Leading, offset };
        SamplingPlan::new(&*sampler, &process, &spec, clip)
    };
    assert!(refusal(plan(0, 0, 1.0)).contains("use 1 to 1000"));
    assert!(refusal(plan(1001, 0, 1.0)).contains("use 1 to 1000"));
    assert!(refusal(plan(1000, 1, 1.0)).contains("steps_offset"));
    for clip in [0.0, -1.0, f32::NAN] {
        assert!(refusal(plan(1, 0, clip)).contains("clipped to"));
    }
    let zero = SchedulerConfig { zero_terminal_snr: true, ..SchedulerConfig::default() };
    assert!(refusal(zero.plan(50)).contains("zero terminal"));
}

#[test]
fn sampling_plans_warn_of_doubtful_settings() {
    let warnings = |config: &SchedulerConfig, spec| config.plan(spec).unwrap().1;
    let mut config = SchedulerConfig::default();
    assert!(warnings(&config, 1000).is_empty() && warnings(&config, 50).is_empty());
    assert!(warnings(&config, 1)[0].contains("timestep 0 of 0..=999"));
    config.options.variance_type = Some(Variance::FixedLarge);
    assert!(warnings(&config, 1000).is_empty());
    assert!(warnings(&config, 50)[0].contains("at 50 of 1000 steps"));
    let (config, _) = SchedulerConfig::from_json(r#"{"num_train_timesteps": 200}"#).unwrap();
    assert!(warnings(&config, 200)[0].contains("does not end in pure noise"));

    // With zero terminal SNR, only the last timestep is pure noise.
    let prediction = Prediction::VPrediction;
    let mut config = SchedulerConfig { zero_terminal_snr: true, prediction, ..SchedulerConfig::default() };
    let told = &warnings(&config, 50)[0];
    assert!(told.contains("zero terminal SNR") && told.contains("timestep 980") && told.contains("trailing"), "{told}");
    for spacing in [Spacing::Trailing, Spacing::Linspace] {
        config.spacing = spacing;
        assert!(warnings(&config, 50).is_empty());
    }
    // These have no spacing to change.
    for sampler in [SamplerName::Euler, SamplerName::Heun] {
        config.sampler = sampler;
        assert_eq!(warnings(&config, 50), [""; 0], "{sampler:?}");
    }
}

#[test]
fn sampling_plans_of_the_cosine_schedule_are_finite() {
    let config = SchedulerConfig { schedule: BetaSchedule::Cosine, ..SchedulerConfig::default() };
    for &sampler in SamplerName::ALL {
        if !sampler.build(&SamplerOptions::default()).unwrap().families().contains(&Family::Discrete) {
            continue;
        }
        let plan = fixed(&SchedulerConfig { sampler, ..config.clone() }, 1000);
        assert!(plan.table.iter().flatten().all(|c| c.is_finite()));
        // The first step multiplies the error of a model by 2e4, and clipping limits it.
        assert!(plan.table[0][0] > 2e4);
        if [SamplerName::Ddpm, SamplerName::Ddim, SamplerName::DpmSolver].contains(&sampler) {
            assert!(plan.table[0][4] < 0.1);
        }
    }
}
