//! Settings that do not fit each other or the data: each is refused with a message that names the
//! option and says what to do. No file is written.

use crate::common::context;
use crate::common::small::small;
use degrain::diffusion::Spacing;
use degrain::train::{Settings, Size, Trainer};
use tempfile::TempDir;

/// The settings of a small run, changed by these lines of TOML, must be refused.
#[track_caller]
fn refuses(preset: &str, lines: &str, parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let changes: Settings = toml::from_str(lines).unwrap_or_else(|e| panic!("{lines}: {e}"));
    let settings = changes.or(Settings { out: Some(out.clone()), ..small(preset) });
    let Err(error) = Trainer::new(&context(), settings) else { panic!("{preset} accepts {lines}") };
    let message = error.to_string();
    parts.iter().for_each(|part| assert!(message.contains(part), "{lines}: {message:?} does not say {part:?}"));
    assert!(!out.exists(), "{lines}: files are left in the folder of the run");
}

#[test]
fn settings_refuse_values_out_of_range() {
    for (lines, parts) in [
        ("label_dropout = 0.0", &["--guidance 1.5 needs --label-dropout above 0", "use --guidance 1"][..]),
        ("guidance = -1.0", &["--guidance", "1.5 to 4"]),
        ("guidance = nan", &["--guidance", "1.5 to 4"]),
        ("sampling_steps = 51", &["--sampling-steps", "51", "1 to 50"]),
        ("sampling_steps = 0", &["--sampling-steps", "1 to 50"]),
        ("schedule = { name = 'linear' }\ntimesteps = 10", &["T = 10", "cosine"]),
        ("schedule = { name = 'linear', beta_start = 0.5, beta_end = 0.1 }", &["beta_start = 0.5", "at most beta_end"]),
        ("schedule = { name = 'sigmoid', beta_start = -0.5 }", &["beta_start = -0.5", "between 0 and 1"]),
        ("loss_weighting = { name = 'min_snr', gamma = -1.0 }", &["--loss-weighting min_snr with gamma = -1"]),
        ("steps = 0", &["--steps"]),
        ("batch = 0", &["--batch 0", "65535"]),
        ("batch = 1000000", &["--batch 1000000", "65535"]),
        ("validation_count = 256", &["--validation-count 256", "256 images"]),
        ("lr = nan", &["--lr"]),
        ("max_grad_norm = inf", &["--max-grad-norm inf", "1e30"]),
        ("adam_epsilon = 0.0", &["--adam-epsilon 0"]),
        ("weight_decay = nan", &["--weight-decay NaN"]),
        ("keep_checkpoints = 0", &["--keep-checkpoints"]),
    ] {
        refuses("ddpm", lines, parts);
    }
    refuses("hybrid", "dropout = 1.5", &["--dropout 1.5"]);
    refuses("vae", "kl_weight = -1.0", &["--kl-weight -1"]);
}

#[test]
fn settings_refuse_networks_that_do_not_fit() {
    for (lines, parts) in [
        ("norm_num_groups = 3", &["`norm_num_groups` = 3", "8 channels", "use 2"][..]),
        ("attention = [true]", &["--attention has 1 value for 2 levels"]),
        ("attention_head_dim = 16", &["`attention_head_dim` = 16", "8 channels"]),
        ("layers_per_block = 0", &["`layers_per_block` = 0", "at least 1"]),
        ("block_out_channels = []\nattention = []", &["`block_out_channels` is empty"]),
    ] {
        refuses("ddpm", lines, parts);
    }
}

#[test]
fn settings_refuse_combinations_that_do_not_fit() {
    for (preset, lines, parts) in [
        ("ddpm", "zero_terminal_snr = true\nprediction = 'epsilon'", &["zero terminal", "v_prediction"][..]),
        ("ddpm", "sampler = 'euler_maruyama'", &["--sampler: sampler euler_maruyama", "discrete"]),
        ("score", "sampler = 'ddim'", &["ddim", "stochastic differential equation"]),
        ("flow", "loss_weighting = { name = 'likelihood' }", &["likelihood", "stochastic differential equation"]),
        (
            "ddpm",
            "zero_terminal_snr = true\nprediction = 'v_prediction'\nloss_weighting = { name = 'min_snr' }",
            &["--loss-weighting min_snr", "--zero-terminal-snr"],
        ),
        ("edm", "learned_variance = true", &["--learned-variance", "discrete", "edm"]),
    ] {
        refuses(preset, lines, parts);
    }
}

#[test]
fn settings_with_zero_terminal_snr_visit_the_last_timestep() {
    let settings = || Settings { zero_terminal_snr: Some(true), ..small("ddpm") };
    assert_eq!(settings().resolve(Size::Tiny).unwrap().spacing, Spacing::Trailing);
    let linspace = Settings { spacing: Some(Spacing::Linspace), ..settings() };
    assert_eq!(linspace.resolve(Size::Tiny).unwrap().spacing, Spacing::Linspace);
    // Options of a command line.
    let zero = Settings { zero_terminal_snr: Some(true), ..Settings::default() };
    let leading = Settings { spacing: Some(Spacing::Leading), ..zero.clone() };
    let check = |given: &Settings| given.check_effect(&given.clone().or(settings()).resolve(Size::Tiny).unwrap());
    assert!(check(&zero).is_ok());
    let problem = check(&leading).unwrap_err().to_string();
    assert!(problem.contains("--spacing leading") && problem.contains("trailing"), "{problem}");
}
