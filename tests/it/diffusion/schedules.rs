use super::{close, golden, refusal};
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::{BetaRange, BetaSchedule, Discrete, LogSnrRange, NoiseSchedule, Prediction, Process, Spacing};

fn noise(name: &str, steps: u32) -> NoiseSchedule {
    NoiseSchedule::new(&name.parse().unwrap(), steps, false).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn unscaled(steps: u32) -> NoiseSchedule {
    let range = BetaRange { rescale: false, ..BetaRange::default() };
    NoiseSchedule::new(&BetaSchedule::Linear(range), steps, false).unwrap()
}

#[test]
fn schedules_match_diffusers() {
    let all = golden("schedules.json");
    for (name, case) in all["alphas_cumprod"].as_object().unwrap() {
        let mut config = case["config"].clone();
        config["prediction_type"] = "v_prediction".into();
        let (config, unknown) = SchedulerConfig::from_json(&config.to_string()).unwrap();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        let noise = config.noise_schedule().unwrap();
        let columns = [&case["alphas_cumprod"], &case["betas"], &case["alphas_cumprod_f32"]].map(numbers);
        for (k, t) in numbers(&case["index"]).into_iter().map(|t| t as usize).enumerate() {
            // Digits cancel near the end of a schedule with zero terminal SNR.
            close(noise.alphas_cumprod()[t], columns[0][k], 1e-10);
            close(noise.betas()[t], columns[1][k], 1e-9);
            assert!((noise.alphas_cumprod()[t] - columns[2][k]).abs() < 6e-6, "{name}: the library's own f32 at {t}");
        }
    }
}

#[test]
fn schedules_have_the_published_values() {
    for (name, t, bar) in [
        ("linear", 250, 0.521423),
        ("linear", 999, 4.03583e-5),
        ("cosine", 0, 0.9999587),
        ("squaredcos_cap_v2", 500, 0.492285),
        ("cosine", 999, 2.428769e-9),
        ("sigmoid", 500, 0.2988876),
    ] {
        close(noise(name, 1000).alphas_cumprod()[t], bar, 2e-6);
    }
}

#[test]
fn schedules_of_few_timesteps_are_rescaled() {
    for name in ["linear", "sigmoid"] {
        for steps in [50, 200, 1000, 4000] {
            let noise = noise(name, steps);
            assert!(noise.alphas_cumprod()[steps as usize - 1] < 1e-4, "{name} {steps}");
        }
    }
    close(noise("linear", 200).betas()[199], 0.1, 1e-12);
}

#[test]
fn terminal_kl_is_the_divergence_from_noise() {
    let short = unscaled(200);
    let bar = short.alphas_cumprod()[199];
    close(short.terminal_kl_bits(0.5), 0.5 * (bar * 0.5 - bar - (1.0 - bar).ln()) / 2f64.ln(), 1e-9);
    // Numerically: KL(N(sqrt(alpha_bar) x, 1 - alpha_bar) || N(0, 1)) for x = 1, integrated.
    let (mean, variance) = (bar.sqrt(), 1.0 - bar);
    let density =
        |x: f64, m: f64, v: f64| (-(x - m).powi(2) / (2.0 * v)).exp() / (2.0 * std::f64::consts::PI * v).sqrt();
    let kl: f64 = (-8000..8000)
        .map(|i| f64::from(i) * 1e-3)
        .map(|x| density(x, mean, variance) * (density(x, mean, variance) / density(x, 0.0, 1.0)).ln() * 1e-3)
        .sum();
    close(short.terminal_kl_bits(1.0), kl / 2f64.ln(), 1e-6);
}

#[test]
fn schedules_refuse_invalid_betas() {
    let linear = BetaSchedule::default();
    let refused = |schedule: &BetaSchedule, steps, zero| refusal(NoiseSchedule::new(schedule, steps, zero));
    assert!(refused(&linear, 0, false).contains("0 timesteps"));
    assert!(refused(&linear, u32::MAX, false).contains("4294967295 timesteps"));
    assert!(refused(&linear, 1, true).contains("use 2 to"));
    assert!(refused(&linear, 20, false).contains("needs T >= 21"));
    NoiseSchedule::new(&linear, 21, false).unwrap();
    let given = |betas: &[f64]| BetaSchedule::Given { betas: betas.to_vec() };
    assert!(refused(&given(&[0.1, 0.2]), 3, false).contains("2 betas"));
    for betas in [[0.0, 0.5], [1.0, 0.5], [0.1, f64::NAN], [0.1, -0.1], [0.1, 1.1]] {
        assert!(refused(&given(&betas), 2, false).contains("timestep"), "{betas:?}");
    }
    assert!(NoiseSchedule::new(&given(&[0.1, 1.0]), 2, false).unwrap().ends_in_pure_noise());
    assert!(refusal("liner".parse::<BetaSchedule>()).contains("`linear`"));
}

#[test]
fn schedule_with_zero_terminal_snr_refuses_epsilon() {
    let noise = NoiseSchedule::new(&BetaSchedule::default(), 1000, true).unwrap();
    close(noise.alphas_cumprod()[500], 0.0752462, 1e-6);
    assert_eq!(noise.alphas_cumprod()[999], 0.0);
    assert!(refusal(Prediction::Epsilon.check(&noise)).contains("v_prediction"));
    assert!(refusal(Discrete::new(noise.clone(), Prediction::Epsilon)).contains("zero terminal"));
    for prediction in [Prediction::Sample, Prediction::VPrediction] {
        let process = Discrete::new(noise.clone(), prediction).unwrap();
        let finite = |t: f64| {
            process.to_x0_eps(t).iter().chain(&process.parameterization(t).target).all(|c: &f64| c.is_finite())
        };
        assert!(process.training_times().into_iter().all(finite));
    }
}

#[test]
fn schedule_config_is_read_by_name() {
    let read = |text: &str| serde_json::from_str::<BetaSchedule>(text);
    assert_eq!(read(r#"{"name":"linear"}"#).unwrap(), BetaSchedule::default());
    let BetaSchedule::ScaledLinear(range) =
        read(r#"{"name":"scaled_linear","beta_end":0.012,"rescale":false}"#).unwrap()
    else {
        panic!()
    };
    assert_eq!(range, BetaRange { beta_start: 1e-4, beta_end: 0.012, rescale: false });
    assert!(read(r#"{"name":"linear","beta_ent":0.012}"#).is_err());
    let cosine = BetaSchedule::Cosine;
    assert_eq!(read(&serde_json::to_string(&cosine).unwrap()).unwrap(), cosine);
}

#[test]
fn spacing_matches_diffusers() {
    let all = golden("schedules.json");
    for case in all["timesteps"].as_array().unwrap() {
        let number = |key: &str| case[key].as_u64().unwrap() as u32;
        let spacing: Spacing = serde_json::from_value(case["timestep_spacing"].clone()).unwrap();
        let found =
            spacing.timesteps(number("num_inference_steps"), number("num_train_timesteps"), number("steps_offset"));
        let expected: Vec<u32> = serde_json::from_value(case["timesteps"].clone()).unwrap();
        assert_eq!(found.unwrap(), expected, "{case}");
    }
}

#[test]
fn spacing_rounds_halves_to_even() {
    // 812.5 is 812 and 687.5 is 688, as numpy rounds.
    let expected = [999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61];
    assert_eq!(Spacing::Trailing.timesteps(16, 1000, 0).unwrap(), expected);
}

#[test]
fn spacing_decreases_for_every_number_of_steps() {
    for spacing in [Spacing::Leading, Spacing::Trailing, Spacing::Linspace] {
        for of in [1, 2, 28, 200, 1000] {
            for n in 1..=of {
                let steps = spacing.timesteps(n, of, 0).unwrap();
                assert!(
                    steps.len() == n as usize && steps[0] < of && steps.windows(2).all(|s| s[1] < s[0]),
                    "{spacing:?} {n} of {of}"
                );
            }
            assert_eq!(spacing.timesteps(of, of, 0).unwrap(), (0..of).rev().collect::<Vec<_>>());
        }
        assert!(refusal(spacing.timesteps(0, 1000, 0)).contains("use 1 to 1000"));
        assert!(refusal(spacing.timesteps(1001, 1000, 0)).contains("1001 sampling steps"));
    }
    assert!(refusal(Spacing::Leading.timesteps(1000, 1000, 1)).contains("steps_offset"));
    assert!(Spacing::Leading.timesteps(7, 1000, u32::MAX).is_err());
}

#[test]
fn log_snr_schedule_weighs_noise_as_the_bound_does() {
    let noise = NoiseSchedule::new(&"log_snr".parse().unwrap(), 1000, false).unwrap();
    let snr = noise.snr();
    close(snr[0].ln(), 13.3, 1e-9);
    close(snr[999].ln(), -8.0, 1e-9);
    close((1.0 - noise.alphas_cumprod()[0]).sqrt(), 0.0012940, 1e-4);
    // L_t = 1/2 (SNR(t-1) - SNR(t)) |error of x_0|² = 1/2 (SNR(t-1) / SNR(t) - 1) |error of eps|²
    // (Kingma et al. 2021, eq. 14): the same weight for every t.
    let weight = (21.3f64 / 999.0).exp_m1();
    for pair in snr.windows(2) {
        close(pair[0] / pair[1] - 1.0, weight, 1e-6);
    }
    for (start, end) in [(1.0, 2.0), (f64::NAN, 0.0), (f64::INFINITY, 0.0)] {
        let schedule = BetaSchedule::LogSnr(LogSnrRange { start, end });
        assert!(refusal(NoiseSchedule::new(&schedule, 1000, false)).contains("start above end"));
    }
}
