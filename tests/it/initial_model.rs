//! Runs that start from the weights of another model.

use crate::common::context;
use crate::common::golden;
use crate::common::run::digits;
use crate::common::small::small;
use crate::runs::{REST, WHOLE, checkpoint, first, same_files, train};
use degrain::checkpoint::Checkpoint;
use degrain::data::Dataset;
use degrain::gpu::Context;
use degrain::nn::{Initialization, Parameters};
use degrain::train::{InitialModel, Outcome, Settings, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// The settings of a small run without those of its network, which a model brings along.
fn without_network(out: &Path, steps: u32) -> Settings {
    Settings {
        out: Some(out.into()),
        steps: Some(steps),
        preset: None,
        timesteps: None,
        block_out_channels: None,
        attention: None,
        norm_num_groups: None,
        condition_channels: None,
        hidden_channels: None,
        ..small("ddpm")
    }
}

fn started(ctx: &Context, from: &Path, given: Settings, data: Option<Dataset>) -> (Trainer, Option<String>) {
    let initial = InitialModel::open(from, None).unwrap();
    let (settings, _) = initial.settings(given).unwrap();
    let trainer = match data {
        Some(data) => Trainer::with_data(ctx, Settings { data: None, ..settings }, data),
        None => Trainer::new(ctx, settings),
    };
    trainer.unwrap_or_else(|e| panic!("{e}")).init_from(&initial).unwrap_or_else(|e| panic!("{e}"))
}

/// Saves the state before the first step.
fn not_trained(mut trainer: Trainer) -> Trainer {
    assert_eq!(trainer.run(&AtomicBool::new(true)).unwrap(), Outcome::Stopped(0));
    trainer
}

fn manifest(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("manifest.json")).unwrap()).unwrap()
}

/// The EMA weights of a checkpoint, as the file for diffusers.
fn weights(checkpoint: &Path) -> Vec<u8> {
    let file = |part| checkpoint.join(part).join("diffusion_pytorch_model.safetensors");
    fs::read(file("unet")).or_else(|_| fs::read(file("model"))).unwrap()
}

/// The weights of every kind of model become parameters and EMA, and the moments are zero.
#[test]
fn init_from_starts_from_the_weights_of_every_network() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    for preset in ["plain-conditional", "residual-attention", "guided", "hybrid", "edm", "flow", "vae", "classifier"] {
        let [run, new] = ["run", "new"].map(|name| folder.path().join(format!("{preset}-{name}")));
        train(&ctx, Settings { out: Some(run.clone()), ..small(preset) }, first(2));
        let (trainer, note) = started(&ctx, &run, without_network(&new, 2), None);
        assert_eq!(note, None, "{preset}: the classes are the same");
        not_trained(trainer);
        let [from, to] = [run.join("checkpoint-2"), new.join("checkpoint-0")];
        assert!(weights(&from) == weights(&to), "{preset}: the weights differ");
        let bytes = fs::read(to.join("training_state.safetensors")).unwrap();
        let state = SafeTensors::deserialize(&bytes).unwrap();
        let values = |name: &str| state.tensor(name).unwrap().data().to_vec();
        assert!(values("parameters") == values("ema"), "{preset}: parameters and EMA differ");
        for moment in ["adam.first", "adam.second"] {
            assert!(values(moment).iter().all(|&byte| byte == 0), "{preset}: {moment} is not zero");
        }
        let (own, origin) = (manifest(&run), &manifest(&new)["origin"]);
        assert_eq!((&origin["taken"], &origin["run"], &origin["step"]), (&"weights".into(), &own["run"], &2.into()));
        assert_eq!(origin["sha256"].as_str().unwrap().len(), 64);

        // The rest of the run needs neither the model nor the option.
        fs::remove_dir_all(&run).unwrap();
        let settings = || Settings::read(&new.join("config.toml")).unwrap();
        train(&ctx, settings(), REST);
        assert_eq!(&manifest(&new)["origin"], origin, "{preset}");
        assert!(weights(&new.join("checkpoint-2")) != weights(&to), "{preset}: nothing was trained");
    }
}

/// The settings of the run itself, which has `unet_config` as JSON, are not another network.
#[test]
fn init_from_takes_the_settings_of_the_run() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, new] = ["run", "new"].map(|name| folder.path().join(name));
    train(&ctx, Settings { out: Some(run.clone()), steps: Some(1), ..small("vdm") }, WHOLE);
    let given = Settings { out: Some(new), ..Settings::read(&run.join("config.toml")).unwrap() };
    assert!(given.unet_config.as_ref().is_some_and(|json| json.contains("fourier_features")));
    started(&ctx, &run, given, None);
}

/// Two starts from the same weights are equal bit for bit.
#[test]
fn init_from_repeats_bit_for_bit() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, a, b] = ["run", "a", "b"].map(|name| folder.path().join(name));
    train(&ctx, Settings { out: Some(run.clone()), steps: Some(2), ..small("ddpm") }, WHOLE);
    for out in [&a, &b] {
        let (mut trainer, _) = started(&ctx, &run, without_network(out, 3), None);
        trainer.run(&AtomicBool::new(false)).unwrap();
    }
    same_files(&checkpoint(&a, 3), &checkpoint(&b, 3));
}

/// 24 images of another size and of three classes.
fn pictures(channels: u32, [height, width]: [u32; 2], names: &[&str]) -> Dataset {
    let length = (24 * channels * height * width) as usize;
    let pixels = (0..length).map(|i| (i * 37 % 251) as u8).collect();
    let labels = (0..24).map(|i| i % names.len() as u32).collect();
    let mut data = Dataset::from_arrays("pictures", pixels, labels, [channels, height, width]);
    data.class_names = names.iter().map(|name| name.to_string()).collect();
    data
}

/// A row of the class table.
fn row<'a>(parameters: &Parameters, values: &'a [f32], class: usize) -> &'a [f32] {
    let table = parameters.find("class_embedding.weight").unwrap();
    let width = table.shape.dims()[1] as usize;
    &values[parameters.place(table)][class * width..][..width]
}

#[test]
fn init_from_keeps_the_rows_of_equal_classes_and_of_the_null_class() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, new] = ["run", "new"].map(|name| folder.path().join(name));
    let settings = Settings { out: Some(run.clone()), lr: Some(0.1), ..small("ddpm") };
    let old = train(&ctx, settings, first(2));
    let old_parameters = old.objective().model().parameters();
    let before = old_parameters.read(old.context(), degrain::train::EMA).unwrap();

    let data = || pictures(1, [9, 14], &["7", "tree", "3"]);
    let (trainer, note) = started(&ctx, &run, without_network(&new, 2), Some(data()));
    assert_eq!(note.as_deref(), Some("class table: 2 of 3 classes taken over, 1 new"));
    let seed = trainer.config().seed;
    let mut trainer = not_trained(trainer);
    let parameters = trainer.objective().clone();
    let parameters = parameters.model().parameters();
    let after = parameters.read(trainer.context(), degrain::train::EMA).unwrap();
    let fresh = parameters.initialize(seed, Initialization::ZeroLast);
    for (class, from) in [(0, 7), (2, 3), (3, 10)] {
        assert_eq!(row(parameters, &after, class), row(old_parameters, &before, from), "class {class}");
    }
    assert_eq!(row(parameters, &after, 1), row(parameters, &fresh, 1), "the row of a new class");
    for p in parameters.iter().filter(|p| p.name != "class_embedding.weight") {
        let old = old_parameters.find(&p.name).unwrap();
        assert!(after[parameters.place(p)] == before[old_parameters.place(old)], "{} differs", p.name);
    }
    trainer = Trainer::with_data(&ctx, Settings::read(&new.join("config.toml")).unwrap(), data()).unwrap();
    assert_eq!(trainer.resume().unwrap().run(&AtomicBool::new(false)).unwrap(), Outcome::Finished);

    let unconditional = Settings { unconditional: Some(true), ..without_network(&folder.path().join("none"), 2) };
    let (trainer, note) = started(&ctx, &run, unconditional, Some(data()));
    assert_eq!(note.as_deref(), Some("class table: left out, because the run is unconditional"));
    assert!(trainer.objective().model().parameters().find("class_embedding.weight").is_none());
}

/// The U-Nets of diffusers, with keys that no preset sets. The settings alone make the same network.
#[test]
fn init_from_takes_every_unet_of_diffusers() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    for name in ["unet_attn_norm", "unet_center_input", "unet_class", "unet_legacy", "unet_no_attention", "unet_no_mid"]
        .into_iter()
        .chain(["unet_plain", "unet_relu", "unet_scale_shift"])
    {
        let channels = if name == "unet_plain" { 3 } else { 1 };
        let data = || pictures(channels, [8, 8], &["0", "1", "2"]);
        let given = without_network(&folder.path().join(name), 2);
        let (trainer, note) = started(&ctx, &golden::path(name), given, Some(data()));
        let expected = (name == "unet_class").then_some(
            "class table: 3 of 3 classes taken over, 0 new, and the null class is new (--null-class names that of a model)",
        );
        assert_eq!(note.as_deref(), expected, "{name}");
        let config = |trainer: &Trainer| trainer.objective().model().config_json();
        let file = folder.path().join("config.toml");
        fs::write(&file, trainer.config().to_toml().unwrap()).unwrap();
        let again = Trainer::with_data(&ctx, Settings::read(&file).unwrap(), data()).unwrap();
        assert_eq!(config(&trainer), config(&again), "{name}");
    }
}

/// The null class of a folder of diffusers is named by its row, here the second of eleven.
#[test]
fn init_from_takes_the_null_class_of_diffusers() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let path = golden::path("unet_class");
    let old = Checkpoint::open(&path).unwrap();
    let rows = old.model.model().parameters().find("class_embedding.weight").unwrap().shape.dims()[0] as usize;
    let names: Vec<String> = (0..rows).filter(|row| *row != 1).map(|row| row.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let initial = InitialModel::open(&path, Some(1)).unwrap();
    let (settings, _) = initial.settings(without_network(&folder.path().join("run"), 2)).unwrap();
    let data = pictures(1, [8, 8], &names);
    let trainer = Trainer::with_data(&ctx, Settings { data: None, ..settings }, data).unwrap();
    let (trainer, note) = trainer.init_from(&initial).unwrap();
    assert_eq!(note, None, "all rows are taken over");
    let trainer = not_trained(trainer);
    assert_eq!(manifest(&folder.path().join("run"))["origin"]["null_class"], 1);
    let objective = trainer.objective().clone();
    let after = objective.model().parameters().read(trainer.context(), degrain::train::EMA).unwrap();
    for (class, from) in (0..rows).zip((0..rows).filter(|row| *row != 1).chain([1])) {
        let [ours, theirs] = [
            row(objective.model().parameters(), &after, class),
            row(old.model.model().parameters(), &old.weights, from),
        ];
        assert_eq!(ours, theirs, "class {class}");
    }
}

/// A `PlainUNet` has other layers with classes than without.
#[test]
fn init_from_refuses_to_add_classes_to_a_plain_network() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let [run, new] = ["run", "new"].map(|name| folder.path().join(name));
    train(&ctx, Settings { out: Some(run.clone()), steps: Some(1), ..small("plain") }, WHOLE);
    let initial = InitialModel::open(&run, None).unwrap();
    let given = Settings { unconditional: Some(false), ..without_network(&new, 1) };
    let (settings, _) = initial.settings(given).unwrap();
    let trainer = Trainer::new(&ctx, Settings { data: Some(digits().into()), ..settings }).unwrap();
    let problem = trainer.init_from(&initial).err().expect("must be refused").to_string();
    assert!(problem.contains("does not have classes") && problem.contains("--unconditional"), "{problem}");
}

/// A run that was killed before its first checkpoint is not started again with other weights.
#[test]
fn init_from_is_not_forgotten_by_a_second_start() {
    let (ctx, folder) = (context(), TempDir::new().unwrap());
    let out = folder.path().join("run");
    let (trainer, _) =
        started(&ctx, &golden::path("unet_relu"), without_network(&out, 2), Some(pictures(1, [8, 8], &["0"])));
    not_trained(trainer);
    fs::remove_dir_all(out.join("checkpoint-0")).unwrap();
    let again = || {
        let settings = Settings::read(&out.join("config.toml")).unwrap();
        Trainer::with_data(&ctx, settings, pictures(1, [8, 8], &["0"])).unwrap()
    };
    let problems = [again().run(&AtomicBool::new(true)).err(), again().resume().err()];
    for problem in problems {
        let message = problem.expect("must be refused").to_string();
        assert!(message.contains("--init-from") && message.contains("unet_relu"), "{message}");
    }
    let (trainer, _) = started(
        &ctx,
        &golden::path("unet_relu"),
        Settings::read(&out.join("config.toml")).unwrap(),
        Some(pictures(1, [8, 8], &["0"])),
    );
    not_trained(trainer);
}
