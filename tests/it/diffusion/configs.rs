use super::goldens;
use clap::ValueEnum;
use degrain::checkpoint::SchedulerConfig;
use degrain::diffusion::{BetaRange, BetaSchedule, Prediction, SamplerName, SamplerOptions, Spacing, Variance};
use serde_json::{Value, json};

fn read(value: Value) -> Result<(SchedulerConfig, Vec<String>), String> {
    SchedulerConfig::from_json(&value.to_string())
}

fn written(config: &SchedulerConfig) -> Value {
    serde_json::from_str(&config.to_json()).unwrap()
}

#[test]
fn scheduler_config_reads_files_of_diffusers() {
    let path = goldens().join("unet_class/scheduler/scheduler_config.json");
    let (config, unknown) = SchedulerConfig::read(&path).unwrap();
    assert!(unknown.is_empty(), "{unknown:?}");
    let range = BetaRange { rescale: false, ..BetaRange::default() };
    let options = SamplerOptions { variance_type: Some(Variance::FixedSmall), ..SamplerOptions::default() };
    assert_eq!(
        config,
        SchedulerConfig { schedule: BetaSchedule::Linear(range), options, ..SchedulerConfig::default() }
    );
    // Written again it is the same, except for keys with default values.
    let (ours, theirs) =
        (written(&config), serde_json::from_str::<Value>(&std::fs::read_to_string(path).unwrap()).unwrap());
    ours.as_object().unwrap().iter().for_each(|(key, value)| assert_eq!(*value, theirs[key], "{key}"));
}

#[test]
fn scheduler_config_defaults_match_diffusers() {
    let (config, _) = read(json!({})).unwrap();
    assert_eq!(config.noise_schedule().unwrap().betas(), SchedulerConfig::default().noise_schedule().unwrap().betas());
    assert_eq!(SchedulerConfig { schedule: BetaSchedule::default(), ..config }, SchedulerConfig::default());
}

#[test]
fn scheduler_config_keeps_the_spacing_of_its_class() {
    for (class, spacing) in [
        ("DDIMScheduler", Spacing::Leading),
        ("EulerDiscreteScheduler", Spacing::Linspace),
        ("DPMSolverMultistepScheduler", Spacing::Linspace),
    ] {
        assert_eq!(read(json!({"_class_name": class})).unwrap().0.spacing, spacing, "{class}");
        let given = json!({"_class_name": class, "timestep_spacing": "trailing"});
        assert_eq!(read(given).unwrap().0.spacing, Spacing::Trailing, "{class}");
    }
}

#[test]
fn scheduler_config_is_read_as_written() {
    let range = BetaRange { beta_start: 2e-4, beta_end: 0.03, rescale: true };
    let given = BetaSchedule::Given { betas: (1..=200).map(|t| f64::from(t) * 1e-3).collect() };
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("scheduler_config.json");
    for schedule in [
        BetaSchedule::Linear(range),
        BetaSchedule::ScaledLinear(range),
        BetaSchedule::Cosine,
        BetaSchedule::Sigmoid(range),
        given,
    ] {
        for sampler in SamplerName::ALL {
            let config = SchedulerConfig {
                schedule: schedule.clone(),
                timesteps: 200,
                zero_terminal_snr: true,
                prediction: Prediction::VPrediction,
                clip: Some(1.1),
                spacing: Spacing::Trailing,
                steps_offset: 3,
                sampler: *sampler,
                options: match sampler {
                    SamplerName::Ddpm => {
                        SamplerOptions { variance_type: Some(Variance::FixedLarge), ..Default::default() }
                    }
                    SamplerName::Ddim => SamplerOptions { set_alpha_to_one: Some(false), ..Default::default() },
                    _ => SamplerOptions::default(),
                },
            };
            config.write(&path).unwrap();
            let (again, unknown) = SchedulerConfig::read(&path).unwrap();
            assert!(unknown.is_empty());
            if ![SamplerName::Ddpm, SamplerName::Ddim].contains(sampler) {
                // For a sampler that diffusers does not have, the file names one that it has.
                // `degrain.json` names the sampler.
                assert_eq!((sampler.class(), again.sampler), ("DDPMScheduler", SamplerName::Ddpm));
                assert_eq!(SchedulerConfig { schedule: schedule.clone(), sampler: *sampler, ..again }, config);
                continue;
            }
            let [found, expected] = [&again, &config].map(|config| config.plan(50).unwrap().0.fixed().unwrap().clone());
            assert_eq!((found.times, found.table, found.clip), (expected.times, expected.table, expected.clip));
            assert_eq!(SchedulerConfig { schedule: schedule.clone(), ..again }, config);
        }
    }
}

#[test]
fn scheduler_config_keeps_a_learned_variance() {
    let (config, unknown) = read(json!({"variance_type": "learned_range"})).unwrap();
    assert!(unknown.is_empty());
    assert_eq!(config.options.variance_type, Some(Variance::LearnedRange));
    assert_eq!(written(&config)["variance_type"], "learned_range");
    assert_eq!(read(written(&config)).unwrap().0, config);
    let (again, _) = read(json!({"_class_name": "DDPMScheduler", "variance_type": "fixed_small_log"})).unwrap();
    assert_eq!(written(&again)["variance_type"], "fixed_small");
}

#[test]
fn scheduler_config_writes_rescaled_betas() {
    let config = SchedulerConfig { timesteps: 200, ..SchedulerConfig::default() };
    let json = written(&config);
    assert_eq!((&json["beta_schedule"], &json["trained_betas"]), (&json!("linear"), &Value::Null));
    assert_eq!((json["beta_start"].as_f64().unwrap(), json["beta_end"].as_f64().unwrap()), (5e-4, 0.1));
    // DDIM has no sigmoid in diffusers.
    let sigmoid = SchedulerConfig { schedule: "sigmoid".parse().unwrap(), ..config };
    assert_eq!(written(&sigmoid)["beta_schedule"], "sigmoid");
    let ddim = written(&SchedulerConfig { sampler: SamplerName::Ddim, ..sigmoid });
    assert_eq!(ddim["trained_betas"].as_array().unwrap().len(), 200);
}

#[test]
fn scheduler_config_refuses_unsupported_values() {
    for (key, value) in [
        ("_class_name", json!("LCMScheduler")),
        ("_class_name", json!("EDMEulerScheduler")),
        ("_class_name", json!("StrangeScheduler")),
        ("_class_name", json!(5)),
        ("use_flow_sigmas", json!(true)),
        ("timestep_type", json!("continuous")),
        ("snr_shift_scale", json!(3.0)),
        ("beta_schedule", json!("laplace")),
        ("variance_type", json!("learned")),
        ("variance_type", json!("fixed_large_log")),
        ("prediction_type", json!("flow")),
        ("timestep_spacing", json!("karras")),
        ("thresholding", json!("yes")),
        ("predict_epsilon", json!(false)),
        ("num_train_timesteps", json!(-1)),
        ("clip_sample", json!("yes")),
        ("trained_betas", json!("x")),
    ] {
        let problem = read(json!({ key: value })).unwrap_err();
        assert!(problem.contains(key) && problem.contains(&value.to_string()), "{key}: {problem}");
        assert!(problem.contains("not supported"), "{key}: {problem}");
    }
    assert!(read(json!({"rescale_betas_zero_snr": true})).unwrap_err().contains("epsilon"));
    assert!(read(json!({"num_train_timesteps": 0})).unwrap_err().contains("0 timesteps"));
    assert!(SchedulerConfig::from_json("[1]").unwrap_err().contains("not a JSON object"));
}

#[test]
fn scheduler_config_returns_unknown_keys() {
    let (_, unknown) =
        read(json!({"_class_name": "DDIMScheduler", "variance_type": "fixed_small", "skip_prk_steps": true,
        "thresholding": false, "sample_max_value": 1.0, "dynamic_thresholding_ratio": 0.995}))
        .unwrap();
    assert_eq!(unknown, ["skip_prk_steps", "variance_type"]);
}

/// A class that is not known is read if its file says everything about the model.
#[test]
fn scheduler_config_of_an_unknown_class_must_give_its_betas() {
    let whole = json!({"_class_name": "StrangeScheduler", "num_train_timesteps": 200, "prediction_type": "sample",
        "beta_schedule": "scaled_linear", "beta_start": 2e-4, "beta_end": 0.03});
    let (config, unknown) = read(whole.clone()).unwrap();
    let range = BetaRange { beta_start: 2e-4, beta_end: 0.03, rescale: false };
    assert_eq!((config.schedule, config.timesteps), (BetaSchedule::ScaledLinear(range), 200));
    assert_eq!((config.prediction, config.sampler), (Prediction::Sample, SamplerName::Ddim));
    assert!(unknown.is_empty());
    for key in ["num_train_timesteps", "prediction_type", "beta_schedule", "beta_start", "beta_end"] {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(key);
        assert!(read(part).unwrap_err().contains("the class is not known"), "without {key}");
    }
    let mut given = whole;
    given["trained_betas"] = json!(vec![0.01; 200]);
    given.as_object_mut().unwrap().remove("beta_schedule");
    assert_eq!(read(given).unwrap().0.schedule, BetaSchedule::Given { betas: vec![0.01; 200] });
}

/// Dynamic thresholding with its default bound is clipping to [-1, 1].
#[test]
fn scheduler_config_reads_thresholding_as_clipping() {
    let (config, unknown) = read(json!({"thresholding": true, "clip_sample": false})).unwrap();
    assert_eq!((config.clip, unknown), (Some(1.0), vec![]));
    let (_, unused) = read(json!({"thresholding": true, "sample_max_value": 1.5})).unwrap();
    assert_eq!(unused, ["thresholding"]);
    let (config, _) = read(json!({"thresholding": false, "clip_sample": false})).unwrap();
    assert_eq!(config.clip, None);
}

#[test]
fn scheduler_config_names_a_missing_file() {
    let problem = SchedulerConfig::read(&goldens().join("nowhere.json")).unwrap_err().to_string();
    assert!(problem.contains("nowhere.json"));
}

#[test]
fn sampler_names_are_equal_in_files_and_on_the_command_line() {
    for &sampler in SamplerName::ALL {
        let name = sampler.name();
        let value = sampler.to_possible_value().expect("no sampler is hidden");
        assert_eq!(value.get_name(), name, "on the command line");
        assert_eq!(serde_json::to_value(sampler).unwrap(), json!(name), "in a file");
        assert_eq!(serde_json::from_value::<SamplerName>(json!(name)).unwrap(), sampler);
        assert_eq!(SamplerName::from_str(name, false).unwrap(), sampler);
    }
    let unknown = serde_json::from_value::<SamplerName>(json!("eluer")).unwrap_err().to_string();
    assert!(unknown.contains("`eluer`") && unknown.contains("`euler`"), "the known names: {unknown}");
}
