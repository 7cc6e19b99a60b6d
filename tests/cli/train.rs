//! `train`: data sets, settings and run folders that it refuses, and runs that were moved. The
//! tests of the library cover every refusal. These tests cover one of each kind, and the refusals
//! of the program itself.

use crate::common::pictures::{Pictures, gray};
use crate::common::run::{copy, digits, files, idx, mnist};
use crate::common::small::small;
use crate::harness::{TRAIN, command, fails, messages, refused, succeeds, text, train, train_refuses, trained};
use degrain::checkpoint::Checkpoint;
use degrain::diffusion::{SamplerName, SamplingOptions};
use degrain::output::Picture;
use degrain::train::Settings;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// `train` on files of a data set, which must be refused.
#[track_caller]
fn data_refused(images: &[u8], labels: &[u8], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    train_refuses("ddpm", &["--data", text(folder.path())], parts);
}

#[test]
fn train_refuses_damaged_data_sets() {
    let empty = TempDir::new().unwrap();
    train_refuses("ddpm", &["--data", "/nowhere/at/all"], &["/nowhere/at/all", "no such folder"]);
    let names = ["holds no data set", "train-images-idx3-ubyte.gz"];
    train_refuses("ddpm", &["--data", text(empty.path())], &names);
    let (images, labels) = (idx(&[8, 28, 28], &[7; 8 * 784]), idx(&[8], &[0, 1, 2, 3, 0, 1, 2, 3]));
    data_refused(&images[..5000], &labels, &["train-images-idx3-ubyte", "truncated", "8 x 28 x 28"]);
    data_refused(&images, &idx(&[7], &[0; 7]), &["train-labels-idx1-ubyte", "7 labels", "8 images"]);
    let gzip = fs::read(mnist().join("train-images-idx3-ubyte.gz")).unwrap();
    data_refused(&gzip[..10_000], &labels, &["train-images-idx3-ubyte", "ends early"]);
}

/// A hundred images train without options for the number of validation images, at every size.
#[test]
fn train_takes_a_hundred_images() {
    let files: Vec<(String, Vec<u8>)> = (0..100).map(|n| (format!("{n}.png"), gray([n, 255 - n]))).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
    let (data, here) = (Pictures::new(&files), TempDir::new().unwrap());
    for size in ["tiny", "small", "base"] {
        let out = here.path().join(size);
        let options = ["--block-out-channels", "8,8", "--attention", "false,false", "--norm-num-groups", "4"];
        let steps = ["--steps", "2", "--sampling-steps", "2", "--data", text(data.path()), "--out", text(&out)];
        let said = succeeds(command(TRAIN, &[&["--size", size][..], &options, &steps].concat()));
        assert!(said.contains("images: 100 images of 1x1x2, 5 of them for validation, 1 class"), "{said}");
        assert!(said.contains("decoded") && out.join("checkpoint-2").is_dir(), "{said}");
    }
}

#[test]
fn train_refuses_invalid_settings() {
    for (preset, options, parts) in [
        ("ddpm", &["--norm-num-groups", "3"][..], &["`norm_num_groups` = 3", "8 channels", "use 2"][..]),
        ("ddpm", &["--attention", "true"], &["--attention has 1 value for 2 levels"]),
        ("ddpm", &["--guidance", "-1"], &["--guidance", "1.5 to 4"]),
        ("ddpm", &["--lr", "nan"], &["--lr"]),
        ("ddpm", &["--preset", "nothing"], &["`nothing`", "there are: ddpm"]),
        ("ddpm", &["--adapter", "Voodoo 2"], &["Voodoo 2", "there are:\n  0: "]),
        ("score", &["--sampler", "ddim"], &["ddim", "stochastic differential equation"]),
        ("vae", &["--kl-weight", "-1"], &["--kl-weight -1"]),
        ("ddpm", &["--layers-per-block", "4000000000"], &["`layers_per_block` = 4000000000", "at most 64"]),
        ("ddpm", &["--block-out-channels", "8,4000000000"], &["`block_out_channels` = 4000000000", "at most 16384"]),
        ("plain", &["--hidden-channels", "4000000000"], &["`hidden_channels` = 4000000000", "at most 16384"]),
        ("plain", &["--condition-channels", "4000000000"], &["`condition_channels` = 4000000000", "at most 16384"]),
        ("ddpm", &["--process", "vp"], &["--sampler: sampler dpm_solver", "stochastic differential equation"]),
        (
            "ddpm",
            &["--sampler", "ddpm", "--variance", "learned_range"],
            &["--variance learned_range", "--learned-variance"],
        ),
        ("ddpm", &["--eta", "1.5"], &["eta = 1.5", "0 (no noise) to 1"]),
        ("vae", &["--latent-channels", "4000000000"], &["`latent_channels` = 4000000000", "at most 16384"]),
        ("residual-attention", &["--layers-per-block", "4000000000"], &["`layers_per_block`", "at most 64"]),
    ] {
        train_refuses(preset, options, parts);
    }
}

#[test]
fn train_refuses_a_classifier_of_one_class() {
    let data = TempDir::new().unwrap();
    fs::write(data.path().join("train-images-idx3-ubyte"), idx(&[64, 28, 28], &[7; 64 * 784])).unwrap();
    fs::write(data.path().join("train-labels-idx1-ubyte"), idx(&[64], &[0; 64])).unwrap();
    train_refuses("classifier", &["--data", text(data.path())], &["one class", "at least two"]);
}

#[test]
fn train_names_the_classes_without_a_training_image() {
    let data = TempDir::new().unwrap();
    // Only one image is left, so that of class 9 is held out too.
    let labels: Vec<u8> = (0..64).map(|k| if k == 30 { 9 } else { 2 }).collect();
    fs::write(data.path().join("train-images-idx3-ubyte"), idx(&[64, 28, 28], &[7; 64 * 784])).unwrap();
    fs::write(data.path().join("train-labels-idx1-ubyte"), idx(&[64], &labels)).unwrap();
    let settings = Settings { out: Some(data.path().join("run")), ..small("ddpm") };
    let options = ["--data", text(data.path()), "--validation-count", "63", "--dry-run"];
    let told = succeeds(train(&settings, &options));
    for part in ["1 of 2 classes without a training image", "cannot learn: 9", "leaves only 1 to train on", "2 63, 9 1"]
    {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
}

/// No mixture fits a single latent. The run ends without one, and counts as finished.
#[test]
fn train_of_an_autoencoder_on_one_image_ends() {
    let data = TempDir::new().unwrap();
    fs::write(data.path().join("train-images-idx3-ubyte"), idx(&[1, 28, 28], &[7; 784])).unwrap();
    fs::write(data.path().join("train-labels-idx1-ubyte"), idx(&[1], &[0])).unwrap();
    let run = data.path().join("run");
    let settings = Settings { out: Some(run.clone()), validation_count: None, ..small("vae") };
    let options = ["--data", text(data.path()), "--steps", "2", "--batch", "1"];
    let told = messages(train(&settings, &options));
    assert!(!told.contains("latent"), "{told}");
    fails(command(TRAIN, &["--resume", text(&run)]), 1, &["has finished"]);
}

#[test]
fn train_refuses_options_without_effect() {
    for (preset, options, parts) in [
        ("edm", &["--schedule", "cosine"][..], &["--schedule has no effect", "--process discrete"][..]),
        ("flow", &["--prediction", "sample"], &["--prediction has no effect", "--process discrete"]),
        ("ddpm", &["--hidden-channels", "64"], &["--hidden-channels has no effect", "--network plain, vae, not unet"]),
        ("ddpm", &["--latent-channels", "4"], &["--latent-channels has no effect", "vae"]),
        ("ddpm", &["--vlb-weight", "0.1"], &["--vlb-weight has no effect", "--learned-variance"]),
        ("ddpm", &["--evaluate-count", "100"], &["--evaluate-count has no effect", "--evaluate-every"]),
        ("ddpm", &["--schedule", "cosine", "--rescale-betas", "true"], &["--rescale-betas has no effect"]),
        ("plain", &["--attention", "true,false"], &["--attention has no effect", "unet, residual"]),
        ("vae", &["--guidance", "2"], &["--guidance has no effect", "denoisers"]),
        ("classifier", &["--sampler", "ddim"], &["--sampler has no effect", "denoisers"]),
        ("score", &["--spacing", "trailing"], &["--spacing has no effect", "--process discrete"]),
        ("ddpm", &["--sampler", "heun", "--spacing", "trailing"], &["--spacing has no effect", "dpm_solver, not heun"]),
        (
            "classifier",
            &["--noise-aware", "false", "--timesteps", "10"],
            &["--timesteps has no effect", "--noise-aware true"],
        ),
        (
            "ddpm",
            &["--guidance", "1", "--guidance-rescale", "0.7"],
            &["--guidance-rescale has no effect", "--guidance"],
        ),
        (
            "score",
            &["--sampler", "ode", "--sampling-steps", "9"],
            &["--sampling-steps has no effect", "ode chooses its steps"],
        ),
        ("hybrid", &["--eta", "1"], &["--eta has no effect", "ddim or dpm_solver"]),
        ("ddpm", &["--unconditional", "--guidance", "2"], &["--guidance has no effect", "classes"]),
        ("classifier", &["--sample-every", "5"], &["--sample-every has no effect", "classifier"]),
    ] {
        train_refuses(preset, options, parts);
    }
}

/// Options that another option makes necessary, or that switch off what is off.
#[test]
fn train_accepts_options_that_a_preset_needs() {
    let data = text(digits());
    for options in [
        &["--preset", "plain", "--block-out-channels", "16,32"][..],
        &["--preset", "classifier", "--block-out-channels", "16,32"],
        &["--preset", "vae", "--block-out-channels", "8,16,32"],
        &["--preset", "hybrid", "--learned-variance", "false", "--importance-sampling", "false"],
        &[
            "--preset",
            "hybrid",
            "--process",
            "vp",
            "--sampler",
            "euler",
            "--learned-variance",
            "false",
            "--importance-sampling",
            "false",
        ],
        &["--preset", "classifier", "--zero-terminal-snr", "--prediction", "v_prediction"],
    ] {
        let small = ["--size", "tiny", "--data", data, "--validation-count", "10", "--dry-run"];
        succeeds(command(TRAIN, &[options, &small].concat()));
    }
}

#[test]
fn train_refuses_invalid_config_files() {
    refused(TRAIN, &["--config", "/nowhere.toml"], &["/nowhere.toml"]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, "steps = 3\nbatches = 4\n").unwrap();
    refused(TRAIN, &["--config", text(&file)], &["mine.toml", "batches", "line 2"]);
    for (line, parts) in [
        ("schedule = { name = 'cosine', beta_start = 0.1 }", &["unknown field", "beta_start"][..]),
        ("schedule = 'cosine'", &["schedule = { name = \"cosine\" }"]),
        ("process = { name = 'discrete', beta_max = 2 }", &["unknown field", "beta_max"]),
        ("process = 'vp'", &["process = { name = \"vp\" }"]),
        ("loss_weighting = { name = 'snr', gamma = 5 }", &["unknown field", "gamma"]),
        ("loss_weighting = 'snr'", &["loss_weighting = { name = "]),
    ] {
        fs::write(&file, line).unwrap();
        refused(TRAIN, &["--config", text(&file)], &[&["mine.toml", "line 1"], parts].concat());
    }
    fs::write(&file, "validation_count = 4\nblock_out_channels = []\nattention = []\n").unwrap();
    refused(TRAIN, &["--config", text(&file), "--data", text(digits())], &["`block_out_channels` is empty"]);
}

#[test]
fn train_keeps_existing_runs_and_refuses_damaged_ones() {
    let run = trained("ddpm");
    let before = files(&run);
    let again = train(&Settings { out: Some(run.clone()), ..small("ddpm") }, &[]);
    fails(again, 1, &["already holds a run of 1 step", "--resume", "--out"]);
    assert!(files(&run) == before, "the run has changed");
    // The sampler of the run does not fit the process either.
    let other = ["--resume", text(&run), "--process", "flow"];
    refused(TRAIN, &other, &["--process", "discrete", "would make it another run"]);

    let resume = |folder: &Path, parts: &[&str]| refused(TRAIN, &["--resume", text(folder)], parts);
    resume(Path::new("/nowhere"), &["/nowhere", "run"]);
    resume(Path::new("/nowhere"), &["there is no such folder"]);
    resume(run.parent().unwrap(), &["not a run folder"]);
    resume(&run.join("checkpoint-7"), &[text(&run), "no complete checkpoint-7", "there are: checkpoint-1"]);
    let copied = TempDir::new().unwrap();
    copy(&run, copied.path());
    let state = copied.path().join("checkpoint-1/training_state.safetensors");
    fs::write(&state, &fs::read(&state).unwrap()[..1000]).unwrap();
    resume(copied.path(), &["checkpoint-1/training_state.safetensors", "damaged"]);
    fs::remove_file(&state).unwrap();
    resume(copied.path(), &["checkpoint-1/training_state.safetensors"]);
    fs::remove_dir_all(copied.path().join("checkpoint-1")).unwrap();
    resume(copied.path(), &["holds no checkpoint yet", "--config"]);
    fs::write(copied.path().join("config.toml"), "steps = 'x'").unwrap();
    resume(copied.path(), &["config.toml", "steps"]);
    assert!(files(&run) == before, "the run has changed");
}

/// The run continues in its new folder, not in the one that its config.toml names.
#[test]
fn resume_continues_a_run_that_was_moved() {
    let folder = TempDir::new().unwrap();
    let moved = folder.path().join("moved");
    copy(&trained("ddpm"), &moved);
    succeeds(command(TRAIN, &["--resume", text(&moved), "--stop-after", "2"]));
    assert!(moved.join("checkpoint-2").is_dir());
    assert!(!trained("ddpm").join("checkpoint-2").exists());
}

/// `--resume` with `--out` starts a new run and leaves the other one as it is.
#[test]
fn resume_with_out_continues_as_a_new_run() {
    let (run, folder) = (trained("ddpm"), TempDir::new().unwrap());
    let before = files(&run);
    let new = folder.path().join("new");
    let to_new = ["--resume", text(&run), "--out", text(&new)];
    refused(TRAIN, &[&to_new[..], &["--validation-count", "20"]].concat(), &["--validation-count", "another run"]);
    refused(TRAIN, &["--resume", text(&run.join("checkpoint-7")), "--out", text(&new)], &["no complete checkpoint-7"]);
    let [damaged, inside] = [folder.path().join("damaged"), run.join("inside")];
    refused(TRAIN, &["--resume", text(&run), "--out", text(&inside)], &["--out", "inside", "must stay as it is"]);
    refused(TRAIN, &["--resume", text(&run), "--out", text(&run)], &["continue the run itself without --out"]);
    copy(&run, &damaged);
    fs::write(damaged.join("checkpoint-1/training_state.safetensors"), [0; 100]).unwrap();
    refused(TRAIN, &["--resume", text(&damaged), "--out", text(&new)], &["training_state.safetensors", "damaged"]);
    assert!(!new.exists(), "files are left in the folder of a refused run");

    let told = succeeds(command(TRAIN, &[&to_new[..], &["--stop-after", "2"]].concat()));
    assert!(told.contains("a new run that continues") && told.contains("checkpoint-1"), "{told}");
    assert!(new.join("checkpoint-1").is_dir() && new.join("checkpoint-2").is_dir());
    refused(TRAIN, &to_new, &["already holds a run of 2 steps", "--resume"]);
    assert!(files(&run) == before, "the run has changed");
}

#[test]
fn init_from_refuses_models_that_do_not_fit() {
    let (run, folder) = (trained("ddpm"), TempDir::new().unwrap());
    let before = files(&run);
    let out = folder.path().join("new");
    let [damaged, color] = ["damaged", "color"].map(|name| folder.path().join(name));
    copy(&run, &damaged);
    let weights = damaged.join("checkpoint-1/unet/diffusion_pytorch_model.safetensors");
    fs::write(&weights, &fs::read(&weights).unwrap()[..1000]).unwrap();
    fs::create_dir_all(&color).unwrap();
    for number in 0..12 {
        let picture = Picture { height: 28, width: 28, channels: 3, bytes: vec![number; 3 * 784] };
        picture.save_png(&color.join(format!("{number}.png")), &[]).unwrap();
    }
    let (run, data) = (text(&run), text(digits()));
    let small = ["--data", data, "--validation-count", "4", "--size", "tiny", "--out", text(&out), "--steps", "2"];
    for (options, parts) in [
        (&["--init-from", "/nowhere/at/all"][..], &["/nowhere/at/all", "there is no such folder"][..]),
        (&["--init-from", data], &["neither a diffusers folder", "nor a run folder"]),
        (&["--init-from", text(&damaged)], &["diffusion_pytorch_model.safetensors"]),
        (
            &["--init-from", run, "--block-out-channels", "8,16"],
            &["--block-out-channels", "trained with [8, 8]", "Leave it out"],
        ),
        (&["--init-from", run, "--preset", "vae"], &["--preset vae", "UNet2DModel", "--preset ddpm"]),
        (
            &["--init-from", run, "--preset", "flow"],
            &["--preset flow", "another process", "--preset ddpm", "--process"],
        ),
        (&["--init-from", run, "--network", "plain"], &["--network", "unet", "plain"]),
        (
            &["--init-from", run, "--data", text(&color), "--channels", "rgb"],
            &["gray images", "color images", "convert the images", "--channels"],
        ),
        (&["--init-from", run, "--resume", run], &["--init-from", "--resume", "leave one of them out"]),
        (&["--unet-config", "{\"frequency\": 1}"], &["--unet-config", "no key `frequency`"]),
        (&["--unet-config", "{\"in_channels\": 3}"], &["--unet-config", "`in_channels`", "follows from the data"]),
        (&["--unet-config", "x"], &["--unet-config", "not a JSON object"]),
    ] {
        // A later option with the same name is refused, so that the data is replaced here.
        let others: Vec<&str> = small.chunks(2).filter(|pair| !options.contains(&pair[0])).flatten().copied().collect();
        let others = if options.contains(&"--resume") { vec![] } else { others };
        refused(TRAIN, &[options, &others].concat(), parts);
    }
    assert!(!out.exists(), "files are left in the folder of a refused run");

    // A folder of diffusers whose weights have another name.
    let foreign = folder.path().join("foreign");
    copy(&Path::new(run).join("checkpoint-1/unet"), &foreign);
    fs::rename(foreign.join("diffusion_pytorch_model.safetensors"), foreign.join("model.safetensors")).unwrap();
    let told = succeeds(command(TRAIN, &[&small[..], &["--init-from", text(&foreign), "--dry-run"]].concat()));
    assert!(told.contains("the weights of"), "{told}");
    // A run in the folder of its images.
    let inside = color.join("runs/new");
    let options = ["--data", text(&color), "--size", "tiny", "--out", text(&inside)];
    refused(TRAIN, &options, &["--out", "in the folder of the images", "another --out"]);
    assert!(!color.join("runs").exists());

    let predicts = ["--init-from", run, "--prediction", "epsilon"];
    let told = messages(command(TRAIN, &[&small[..], &predicts, &["--dry-run"]].concat()));
    assert!(told.contains("--prediction epsilon: the weights were trained with v_prediction"), "{told}");
    let told = succeeds(command(TRAIN, &[&small[..], &["--init-from", run, "--stop-after", "1"]].concat()));
    assert!(told.contains("origin    the weights of") && told.contains("checkpoint-1"), "{told}");
    assert!(out.join("checkpoint-0").is_dir() && out.join("checkpoint-1").is_dir());
    assert!(files(Path::new(run)) == before, "the run has changed");
}

/// A user who starts the program elsewhere does not have `data/mnist`.
#[test]
fn missing_data_folder_is_named_with_the_option_and_the_current_folder() {
    let folder = TempDir::new().unwrap();
    let mut start = Command::new(TRAIN);
    start.current_dir(folder.path());
    fails(start, 1, &["data/mnist", "no such folder in", text(folder.path()), "--data"]);
}

/// The run's `eta` is the default for its own sampler. With another sampler than the preset's or the
/// run's, the default is 0.
#[test]
fn eta_of_a_run_is_the_default_of_its_sampler() {
    use SamplerName::{Ddim, DpmSolver};
    let folder = TempDir::new().unwrap();
    for (number, (options, ddim, dpm_solver)) in [
        (&["--eta", "0.5"][..], None, Some(0.5)),
        (&["--sampler", "ddim", "--eta", "0.5"], Some(0.5), None),
        (&["--sampler", "ddim"], None, None),
        (&[], None, Some(1.0)),
    ]
    .into_iter()
    .enumerate()
    {
        let run = folder.path().join(number.to_string());
        let settings = Settings { out: Some(run.clone()), ..small("ddpm") };
        succeeds(train(&settings, &[options, &["--stop-after", "1"]].concat()));
        let checkpoint = Checkpoint::open(&run).unwrap();
        let eta = |sampler| {
            let asked = SamplingOptions { sampler: Some(sampler), ..SamplingOptions::default() };
            checkpoint.sampling(asked).unwrap().options.eta
        };
        assert_eq!((eta(Ddim), eta(DpmSolver)), (ddim, dpm_solver), "{options:?}");
        // A run that is resumed with another sampler adds no noise.
        let other = if ddim.is_some() || options.contains(&"ddim") { "dpm_solver" } else { "ddim" };
        let resume = ["--resume", text(&run), "--sampler", other, "--stop-after", "2"];
        succeeds(command(TRAIN, &resume));
        let resumed = Checkpoint::open(&run).unwrap().sampling(SamplingOptions::default()).unwrap();
        assert_eq!((resumed.sampler.name(), resumed.options.eta), (other, None), "{options:?}");
        let deterministic = checkpoint.deterministic_sampling(SamplingOptions::default()).unwrap();
        assert_eq!((deterministic.sampler, deterministic.options.eta), (Ddim, Some(0.0)), "{options:?}");
    }
}

/// What `--show-settings` prints is a complete file for `--config`.
#[test]
fn shown_settings_are_a_config_file() {
    let shown = succeeds(command(TRAIN, &["--preset", "edm", "--size", "small", "--lr", "0.5", "--show-settings"]));
    assert!(shown.contains("lr = 0.5") && shown.contains("sampler = \"heun\""), "{shown}");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("edm.toml");
    fs::write(&file, &shown).unwrap();
    assert_eq!(succeeds(command(TRAIN, &["--config", text(&file), "--show-settings"])), shown);
}

/// A dry run of a resumption refuses what the resumption would.
#[test]
fn dry_run_refuses_a_resumption_that_is_refused() {
    let run = trained("ddpm");
    let resume = ["--resume", text(&run), "--dry-run"];
    refused(TRAIN, &[&resume[..], &["--validation-count", "20"]].concat(), &["--validation-count", "another run"]);
    let missing = run.join("checkpoint-999");
    refused(TRAIN, &["--resume", text(&missing), "--dry-run"], &["no complete checkpoint-999"]);
    succeeds(command(TRAIN, &resume));
}

/// A dry run refuses what training would, after its numbers.
#[test]
fn dry_run_refuses_a_batch_that_the_device_cannot_bind() {
    let folder = TempDir::new().unwrap();
    let out = Some(folder.path().join("run"));
    let settings = Settings { out, batch: Some(65535), ..small("ddpm") };
    fails(train(&settings, &["--dry-run"]), 1, &["bytes, but this device allows", "smaller batch"]);
}
