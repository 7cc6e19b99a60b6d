//! Checkpoints that were not written by degrain: other names, other schedulers, and files that
//! cannot be read.

use crate::common::golden;
use crate::common::run::copy;
use crate::harness::{EDIT, SAMPLE, command, fails, messages, succeeds, text, trained};
use degrain::output::Picture;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";
const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// A folder of diffusers: a small class-conditional U-Net with 11 rows of classes, and a scheduler.
pub struct Foreign(pub TempDir);

impl Foreign {
    pub fn new() -> Foreign {
        let foreign = Foreign::with_metadata("ddpm");
        foreign.remove("degrain.json");
        foreign.remove("model_index.json");
        foreign
    }

    /// A small trained checkpoint of degrain.
    pub fn with_metadata(preset: &str) -> Foreign {
        let foreign = Foreign(TempDir::new().unwrap());
        copy(&golden::path(&format!("exports/{preset}")), &foreign.root());
        foreign.remove("golden.safetensors");
        foreign
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("model")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Sets keys of a JSON file; null removes a key.
    pub fn set(&self, name: &str, keys: Value) {
        let mut map: Value = serde_json::from_slice(&self.read(name)).unwrap();
        for (key, value) in keys.as_object().unwrap() {
            map[key] = value.clone();
        }
        map.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.write(name, map.to_string());
    }

    fn weights(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let bytes = self.read(&format!("unet/{WEIGHTS}"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |(name, tensor): (&str, TensorView<'_>)| {
            (name.to_string(), tensor.shape().to_vec(), bytemuck::pod_collect_to_vec(tensor.data()))
        };
        file.iter().map(tensor).collect()
    }

    fn arguments<'a>(&self, checkpoint: &'a str, out: &'a str) -> Vec<&'a str> {
        vec!["--checkpoint", checkpoint, "--count", "2", "--steps", "2", "--out", out]
    }

    /// Samples a folder. Returns the archive and the messages.
    fn sample(&self, folder: &Path, options: &[&str]) -> (Vec<u8>, String) {
        let out = self.0.path().join("out.npz");
        let arguments = [&self.arguments(text(folder), text(&out))[..], options].concat();
        let printed = messages(command(SAMPLE, &arguments));
        (fs::read(out).unwrap(), printed)
    }

    /// Samples a folder, which must be refused with one message.
    fn refuses(&self, folder: &Path, options: &[&str], parts: &[&str]) -> String {
        let out = self.0.path().join("refused.npz");
        let arguments = [&self.arguments(text(folder), text(&out))[..], options].concat();
        let said = fails(command(SAMPLE, &arguments), 1, parts);
        assert!(!out.exists());
        said
    }
}

fn state_dict(tensors: &[(String, Vec<usize>, Vec<u8>)], dtype: Dtype) -> Vec<u8> {
    let views = tensors.iter().map(|(name, shape, data)| {
        (name.clone(), TensorView::new(dtype, shape.clone(), data).expect("data of this shape"))
    });
    safetensors::serialize(views, None).unwrap()
}

fn bf16(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[test]
fn weights_are_found_under_other_names() {
    let foreign = Foreign::new();
    let (usual, printed) = foreign.sample(&foreign.root(), &[]);
    assert!(!printed.contains("weights are read"), "{printed}");
    let mut before = WEIGHTS.to_string();
    for name in ["diffusion_pytorch_model.fp16.safetensors", "model.safetensors", "cat.safetensors"] {
        foreign.rename(&format!("unet/{before}"), &format!("unet/{name}"));
        before = name.into();
        let (found, printed) = foreign.sample(&foreign.root(), &[]);
        assert!(found == usual, "{name}");
        assert!(printed.contains(&format!("the weights are read from {name}")), "{printed}");
    }
}

/// Values of 16 bits, and two shards: the same images as from one file of the same values.
#[test]
fn weights_of_16_bits_and_in_shards_are_read() {
    let foreign = Foreign::new();
    let rounded: Vec<_> = foreign
        .weights()
        .into_iter()
        .map(|(name, shape, values)| {
            let values: Vec<f32> = values.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect();
            (name, shape, values)
        })
        .collect();
    let with = |convert: fn(&[f32]) -> Vec<u8>| -> Vec<_> {
        rounded.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), convert(values))).collect()
    };
    let usual = format!("unet/{WEIGHTS}");
    foreign.write(&usual, state_dict(&with(f32s), Dtype::F32));
    let (expected, _) = foreign.sample(&foreign.root(), &[]);
    foreign.write(&usual, state_dict(&with(bf16), Dtype::BF16));
    assert!(foreign.sample(&foreign.root(), &[]).0 == expected, "bf16");

    foreign.remove(&usual);
    let all = with(f32s);
    let mut map = serde_json::Map::new();
    for (number, part) in all.chunks(all.len().div_ceil(2)).enumerate() {
        let name = format!("diffusion_pytorch_model-0000{}-of-00002.safetensors", number + 1);
        foreign.write(&format!("unet/{name}"), state_dict(part, Dtype::F32));
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), name.clone().into())));
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    foreign.write(&format!("unet/{WEIGHTS}.index.json"), index.to_string());
    let (found, printed) = foreign.sample(&foreign.root(), &[]);
    assert!(found == expected, "shards");
    assert!(printed.contains("shards"), "{printed}");
}

/// `unet_ema/` holds the weights to sample with; the folder that the user names has the last word.
#[test]
fn ema_weights_of_diffusers_are_used_and_said() {
    let foreign = Foreign::new();
    let (raw, _) = foreign.sample(&foreign.root(), &[]);
    let moved: Vec<_> = foreign
        .weights()
        .into_iter()
        .map(|(name, shape, values)| (name, shape, f32s(&values.iter().map(|x| 1.1 * x).collect::<Vec<_>>())))
        .collect();
    foreign.write(&format!("unet_ema/{WEIGHTS}"), state_dict(&moved, Dtype::F32));
    foreign.write("unet_ema/config.json", foreign.read("unet/config.json"));
    foreign.set("unet_ema/config.json", json!({"decay": 0.9999, "inv_gamma": 1.0, "optimization_step": 4}));
    let (ema, printed) = foreign.sample(&foreign.root(), &[]);
    assert!(ema != raw, "the raw weights are used");
    let other = foreign.path("unet").display().to_string();
    assert!(printed.contains("the EMA weights are used") && printed.contains(&other), "{printed}");
    for (part, expected) in [("unet", &raw), ("unet_ema", &ema)] {
        let (found, printed) = foreign.sample(&foreign.path(part), &[]);
        assert!(found == *expected, "{part}: other weights, or the scheduler is not found");
        assert!(!printed.contains("without a scheduler"), "{part}: {printed}");
    }
    fs::remove_dir_all(foreign.path("unet")).unwrap();
    let (alone, printed) = foreign.sample(&foreign.root(), &[]);
    assert!(alone == ema && !printed.contains("the other weights"), "{printed}");
}

/// Of a checkpoint of degrain, its metadata belongs to the named part too.
#[test]
fn unet_folder_of_a_checkpoint_is_the_checkpoint() {
    let foreign = Foreign::with_metadata("flow");
    let (whole, _) = foreign.sample(&foreign.root(), &[]);
    let (part, printed) = foreign.sample(&foreign.path("unet"), &[]);
    assert!(part == whole && !printed.contains("warning"), "{printed}");
}

#[test]
fn model_without_any_scheduler_is_said() {
    let foreign = Foreign::new();
    foreign.remove(SCHEDULER);
    for folder in [foreign.root(), foreign.path("unet")] {
        let (_, printed) = foreign.sample(&folder, &[]);
        assert!(printed.contains("warning: a model without a scheduler"), "{printed}");
    }
}

/// Schedulers of other classes describe the same model, so DDIM samples the same images.
#[test]
fn schedulers_of_other_classes_are_sampled_alike() {
    let foreign = Foreign::new();
    foreign.set(SCHEDULER, json!({"timestep_spacing": "leading"}));
    let (expected, _) = foreign.sample(&foreign.root(), &[]);
    for (class, key) in [
        ("PNDMScheduler", "skip_prk_steps"),
        ("DPMSolverMultistepScheduler", "solver_order"),
        ("EulerDiscreteScheduler", "use_karras_sigmas"),
        ("UniPCMultistepScheduler", "predict_x0"),
        ("HeunDiscreteScheduler", "use_beta_sigmas"),
        ("DEISMultistepScheduler", "solver_type"),
        ("LMSDiscreteScheduler", "use_exponential_sigmas"),
    ] {
        foreign.set(SCHEDULER, json!({"_class_name": class, key: true}));
        let (found, printed) = foreign.sample(&foreign.root(), &[]);
        assert!(found == expected, "{class}");
        assert!(printed.contains(&format!("`{key}`")) && printed.contains(class), "{printed}");
        foreign.set(SCHEDULER, json!({ key: null }));
    }
}

/// The scheduler of flow matching that a checkpoint of `flow` has, without degrain.json.
#[test]
fn flow_matching_is_read_from_its_scheduler() {
    let foreign = Foreign::with_metadata("flow");
    let (expected, _) = foreign.sample(&foreign.root(), &["--sampler", "euler"]);
    foreign.remove("degrain.json");
    let (found, printed) = foreign.sample(&foreign.root(), &[]);
    assert!(found == expected, "{printed}");
    foreign.set(SCHEDULER, json!({"num_train_timesteps": 500}));
    assert!(foreign.sample(&foreign.root(), &[]).0 != expected, "the network receives the same time");
    foreign.set(SCHEDULER, json!({"num_train_timesteps": 0}));
    foreign.refuses(&foreign.root(), &[], &["num_train_timesteps", "at least 1"]);
    foreign.set(SCHEDULER, json!({"num_train_timesteps": 1000, "invert_sigmas": true}));
    foreign.refuses(&foreign.root(), &[], &["invert_sigmas", "false"]);
}

/// The files name no classes: class 1 of the data is class 1 of the model.
#[test]
fn edit_takes_the_classes_of_the_data_in_order() {
    let foreign = Foreign::new();
    let data = foreign.0.path().join("data");
    for place in ["train/cat", "train/dog", "test/dog"] {
        fs::create_dir_all(data.join(place)).unwrap();
        let picture = Picture { height: 28, width: 28, channels: 1, bytes: vec![40; 784] };
        picture.save_png(&data.join(place).join("a.png"), &[]).unwrap();
    }
    let (root, out) = (foreign.root(), foreign.0.path().join("out.png"));
    let few = ["--count", "1", "--steps", "2", "--guidance", "1", "--data", text(&data), "--out", text(&out)];
    let told = succeeds(command(EDIT, &[&["denoise", "--checkpoint", text(&root)], &few[..]].concat()));
    assert!(told.contains("test image 0, class 1:"), "{told}");
}

/// Row N of the table is the null class; the others keep their numbers.
#[test]
fn null_class_is_named_by_an_option() {
    let foreign = Foreign::new();
    let root = foreign.root();
    let whole = Foreign::with_metadata("ddpm");
    // Without the moments of the data, both start from N(0, 1).
    let labels = json!({"classes": 10, "dropout": 0.1});
    whole.set("degrain.json", json!({"denoiser": {"labels": labels}}));
    let run = whole.root();
    let sampler = ["--sampler", "ddim", "--spacing", "leading"];
    let with = |options: &[&str]| foreign.sample(&root, &[options, &sampler].concat()).0;
    let guided = ["--guidance", "3", "--class", "4"];
    let (expected, _) = foreign.sample(&run, &[&guided[..], &sampler].concat());
    assert!(expected != foreign.sample(&run, &[&["--guidance", "1", "--class", "4"][..], &sampler].concat()).0);
    assert!(
        with(&[&guided[..], &["--null-class", "10"]].concat()) == expected,
        "another result than with degrain.json"
    );

    // The same model with its null class in the first row.
    let mut tensors = foreign.weights();
    let (_, shape, table) = tensors.iter_mut().find(|(name, ..)| name == "class_embedding.weight").unwrap();
    let width = shape[1];
    table.rotate_right(width);
    let all: Vec<_> = tensors.iter().map(|(name, shape, x)| (name.clone(), shape.clone(), f32s(x))).collect();
    foreign.write(&format!("unet/{WEIGHTS}"), state_dict(&all, Dtype::F32));
    let first = ["--null-class", "0", "--guidance", "3"];
    assert!(with(&[&first[..], &["--class", "5"]].concat()) == expected, "class 4 is row 5 now");
    foreign.refuses(&root, &[&first[..], &["--class", "0"]].concat(), &["--class 0", "there is no such class"]);

    for guidance in ["2", "0"] {
        foreign.refuses(&root, &["--guidance", guidance], &["--null-class", "0 to 10", "no label"]);
    }
    foreign.refuses(&root, &["--null-class", "11"], &["--null-class 11", "11 classes", "0 to 10"]);
    let out = foreign.0.path().join("edit.png");
    let edit = ["interpolate", "--checkpoint", text(&root), "--guidance", "2", "--out", text(&out)];
    fails(command(EDIT, &edit), 1, &["--null-class"]);

    // degrain.json has the last word.
    foreign.sample(&run, &["--null-class", "10"]);
    foreign.refuses(&run, &["--null-class", "3"], &["--null-class 3", "degrain.json says that it is 10"]);
    foreign.refuses(&trained("vae"), &["--null-class", "3"], &["--null-class 3", "null class"]);
}

/// Numbers of Python in any file of the folder.
#[test]
fn numbers_of_python_are_read_in_every_file() {
    let foreign = Foreign::new();
    let with = |name: &str, key: &str| {
        let json = String::from_utf8(foreign.read(name)).unwrap();
        foreign.write(name, json.replacen('{', &format!("{{\"{key}\": -Infinity, \"_x\": NaN,"), 1));
    };
    with("unet/config.json", "decay");
    with(SCHEDULER, "lambda_min_clipped");
    foreign.write("model_index.json", r#"{"_class_name": "DDPMPipeline", "x": Infinity}"#);
    let (_, printed) = foreign.sample(&foreign.root(), &[]);
    assert!(printed.contains("`decay`") && printed.contains("`lambda_min_clipped`"), "{printed}");
}

#[test]
fn sample_of_another_size_is_said() {
    let foreign = Foreign::new();
    let (_, printed) = foreign.sample(&foreign.root(), &["--image-size", "32"]);
    assert!(printed.contains("--image-size 32") && printed.contains("28x28"), "{printed}");
    let (_, printed) = foreign.sample(&foreign.root(), &["--image-size", "28"]);
    assert!(!printed.contains("image-size"), "{printed}");
}

/// A change that makes a folder unreadable.
type Break = fn(&Foreign);

/// Every kind of broken folder: what is done to it, and what the message must say. All are refused
/// with one message and exit code 1.
#[rustfmt::skip]
const BROKEN: &[(&str, Break, &[&str])] = &[
    ("config is no JSON", |f| f.write("unet/config.json", "{"), &["unet/config.json", "not a JSON object"]),
    ("config is missing", |f| f.remove("unet/config.json"), &["unet/config.json", "no such file"]),
    ("config is empty", |f| f.write("unet/config.json", ""), &["unet/config.json", "not a JSON object"]),
    ("config is a web page", |f| f.write("unet/config.json", "<!DOCTYPE html><html>"), &["config.json", "web page", "download"]),
    ("config is an LFS pointer", |f| f.write("unet/config.json", LFS), &["config.json", "Git LFS", "git lfs pull"]),
    ("config of another class", |f| f.set("unet/config.json", json!({"_class_name": "UNet2DConditionModel"})), &["UNet2DConditionModel", "UNet2DModel"]),
    ("config with another block", |f| f.set("unet/config.json", json!({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]})), &["down_block_types", "SkipDownBlock2D"]),
    ("config with infinite epsilon", |f| f.set("unet/config.json", json!({"norm_eps": "Infinity"})), &["norm_eps", "Infinity"]),
    ("config with latent channels", |f| f.set("unet/config.json", json!({"in_channels": 4, "out_channels": 4})), &["in_channels", "4", "1 (gray)"]),
    ("config of another network", |f| f.set("unet/config.json", json!({"layers_per_block": 2})), &[WEIGHTS, "is missing"]),
    ("weights are missing", |f| f.remove(&format!("unet/{WEIGHTS}")), &[WEIGHTS, "no such file", "no other safetensors file", "config.json"]),
    ("weights are pickled", |f| f.rename(&format!("unet/{WEIGHTS}"), "unet/diffusion_pytorch_model.bin"), &["diffusion_pytorch_model.bin", "pickle", "save_file"]),
    ("weights are an LFS pointer", |f| f.write(&format!("unet/{WEIGHTS}"), LFS), &[WEIGHTS, "Git LFS", "git lfs pull"]),
    ("weights are a web page", |f| f.write(&format!("unet/{WEIGHTS}"), "\n<html><body>not found"), &[WEIGHTS, "web page", "download"]),
    ("weights are a zip archive", |f| f.write(&format!("unet/{WEIGHTS}"), b"PK\x03\x04 and so on"), &[WEIGHTS, "zip archive", "safetensors"]),
    ("weights are cut short", |f| f.write(&format!("unet/{WEIGHTS}"), &f.read(&format!("unet/{WEIGHTS}"))[..20_000]), &[WEIGHTS, "cut short"]),
    ("weights are empty", |f| f.write(&format!("unet/{WEIGHTS}"), ""), &[WEIGHTS, "only 0 bytes"]),
    ("weights of 64 bits", |f| f.convert(Dtype::F64), &[WEIGHTS, "is of type F64", "F32, F16 or BF16"]),
    ("weights of integers", |f| f.convert(Dtype::I64), &[WEIGHTS, "is of type I64", "F32, F16 or BF16"]),
    ("weights that are NaN", |f| f.poison(), &[WEIGHTS, "values that are not finite"]),
    ("two files of weights", |f| { f.write("unet/a.safetensors", ""); f.rename(&format!("unet/{WEIGHTS}"), "unet/b.safetensors"); }, &["a.safetensors, b.safetensors", "Rename"]),
    ("shard is missing", |f| f.shards(r#"{"weight_map": {"x": "part-1.safetensors"}}"#), &["index.json", "part-1.safetensors is missing", "download"]),
    ("shard is cut short", |f| { f.shards(r#"{"weight_map": {"x": "part-1.safetensors"}}"#); f.write("unet/part-1.safetensors", [9, 0, 0, 0, 0, 0, 0, 0, b'{']); }, &["part-1.safetensors", "cut short"]),
    ("shard lacks tensors", |f| { f.shards(r#"{"weight_map": {"x": "part-1.safetensors"}}"#); f.write("unet/part-1.safetensors", safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap()); }, &["unet", "is missing", "and"]),
    ("shard in another folder", |f| f.shards(r#"{"weight_map": {"x": "../part-1.safetensors"}}"#), &["index.json", "../part-1.safetensors", "not a file of this folder"]),
    ("shards without a map", |f| f.shards(r#"{"metadata": {}}"#), &["index.json", "list of shards", "weight_map"]),
    ("shards with an empty map", |f| f.shards(r#"{"weight_map": {}}"#), &["index.json", "`weight_map` is empty"]),
    ("scheduler is no JSON", |f| f.write(SCHEDULER, "[1]"), &["scheduler_config.json", "not a JSON object"]),
    ("scheduler is an LFS pointer", |f| f.write(SCHEDULER, LFS), &["scheduler_config.json", "Git LFS"]),
    ("scheduler of another process", |f| f.set(SCHEDULER, json!({"_class_name": "ScoreSdeVeScheduler"})), &["ScoreSdeVeScheduler", "variance exploding"]),
    ("scheduler of EDM", |f| f.set(SCHEDULER, json!({"_class_name": "EDMEulerScheduler"})), &["EDMEulerScheduler", "receives the time"]),
    ("scheduler of a distilled model", |f| f.set(SCHEDULER, json!({"_class_name": "LCMScheduler"})), &["LCMScheduler", "distilled"]),
    ("scheduler without betas", |f| f.write(SCHEDULER, r#"{"_class_name": "MyScheduler", "num_train_timesteps": 10}"#), &["MyScheduler", "`beta_schedule`", "`prediction_type`"]),
    ("scheduler with other betas", |f| f.set(SCHEDULER, json!({"beta_schedule": "laplace"})), &["beta_schedule", "laplace", "squaredcos_cap_v2"]),
    ("scheduler with a beta of 2", |f| f.set(SCHEDULER, json!({"beta_end": 2.0})), &["beta_end = 2", "between 0"]),
    ("scheduler with too few betas", |f| f.set(SCHEDULER, json!({"trained_betas": [0.1, 0.2]})), &["2 betas given", "one for each"]),
    ("scheduler with another target", |f| f.set(SCHEDULER, json!({"prediction_type": "flow_prediction"})), &["prediction_type", "flow_prediction", "v_prediction"]),
    ("scheduler with flow sigmas", |f| f.set(SCHEDULER, json!({"use_flow_sigmas": true})), &["use_flow_sigmas", "FlowMatchEulerDiscreteScheduler"]),
    ("scheduler with continuous times", |f| f.set(SCHEDULER, json!({"timestep_type": "continuous"})), &["timestep_type", "continuous", "discrete"]),
    ("scheduler with shifted noise", |f| f.set(SCHEDULER, json!({"snr_shift_scale": 3.0})), &["snr_shift_scale", "3.0"]),
    ("scheduler with a learned variance", |f| f.set(SCHEDULER, json!({"_class_name": "DPMSolverMultistepScheduler", "variance_type": "learned_range"})), &["variance_type", "learned_range", "DDPMScheduler"]),
    ("scheduler of zero SNR with epsilon", |f| f.set(SCHEDULER, json!({"rescale_betas_zero_snr": true, "prediction_type": "epsilon"})), &["scheduler_config.json", "epsilon"]),
    ("pipeline of latents", |f| f.write("model_index.json", r#"{"vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "UNet2DModel"]}"#), &["model_index.json", "`vqvae`", "latent"]),
    ("pipeline is no JSON", |f| f.write("model_index.json", "x"), &["model_index.json", "not a JSON object"]),
    ("folder without a config", |f| { f.rename(&format!("unet/{WEIGHTS}"), WEIGHTS); fs::remove_dir_all(f.path("unet")).unwrap(); }, &["holds weights but no config.json"]),
    ("folder of nothing", |f| { fs::remove_dir_all(f.path("unet")).unwrap(); f.remove(SCHEDULER); }, &["neither a diffusers folder", "nor a run folder"]),
];

const LFS: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

impl Foreign {
    fn convert(&self, dtype: Dtype) {
        let wide = |(name, shape, values): (String, Vec<usize>, Vec<f32>)| (name, shape, vec![0; 8 * values.len()]);
        let all: Vec<_> = self.weights().into_iter().map(wide).collect();
        self.write(&format!("unet/{WEIGHTS}"), state_dict(&all, dtype));
    }

    fn poison(&self) {
        let mut all = self.weights();
        all[3].2[0] = f32::NAN;
        let all: Vec<_> = all.into_iter().map(|(name, shape, values)| (name, shape, f32s(&values))).collect();
        self.write(&format!("unet/{WEIGHTS}"), state_dict(&all, Dtype::F32));
    }

    fn shards(&self, index: &str) {
        self.remove(&format!("unet/{WEIGHTS}"));
        self.write(&format!("unet/{WEIGHTS}.index.json"), index);
    }
}

#[test]
fn broken_folders_get_one_message_each() {
    assert!(BROKEN.len() >= 40, "{} kinds", BROKEN.len());
    for (kind, damage, parts) in BROKEN {
        let foreign = Foreign::new();
        damage(&foreign);
        let said = foreign.refuses(&foreign.root(), &[], parts);
        assert!(said.contains(text(foreign.0.path())) || said.contains('`'), "{kind}: which file? {said}");
    }
}

/// The part of a pipeline that does not draw images itself is refused by its own name, too.
#[test]
fn part_of_a_pipeline_of_latents_is_refused() {
    let foreign = Foreign::new();
    foreign.write("model_index.json", r#"{"vqvae": ["diffusers", "VQModel"], "unet": ["diffusers", "UNet2DModel"]}"#);
    foreign.refuses(&foreign.path("unet"), &[], &["model_index.json", "`vqvae`", "latent"]);
}

/// A file of weights in place of a folder.
#[test]
fn file_of_weights_is_not_a_checkpoint() {
    let foreign = Foreign::new();
    foreign.refuses(&foreign.path(&format!("unet/{WEIGHTS}")), &[], &["name its folder", "config.json"]);
}
