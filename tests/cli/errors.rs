//! What bad input gets from the two programs: one message that names the thing and says what to do, exit code 1 (2 for a wrong command line), no
//! panic, and nothing written.

use crate::common::run::{copy, digits, files, idx, mnist};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

const TRAIN: &str = env!("CARGO_BIN_EXE_train");
const SAMPLE: &str = env!("CARGO_BIN_EXE_sample");

/// A model that trains in no time.
const SMALL: [&str; 22] = [
    "--size",
    "tiny",
    "--block-out-channels",
    "8,8",
    "--attention",
    "false,false",
    "--norm-num-groups",
    "4",
    "--batch",
    "4",
    "--validation-count",
    "4",
    "--steps",
    "20",
    "--timesteps",
    "50",
    "--sampling-steps",
    "2",
    "--warmup",
    "1",
    "--validate-every",
    "10",
];

fn execute(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs a program that must refuse; returns what it says.
#[track_caller]
fn refused(what: &str, mut command: Command, code: i32, parts: &[&str]) -> String {
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{what}: exit code; it says {errors}");
    for word in ["panicked", "backtrace", "RUST_", "Validation Error"] {
        assert!(!errors.contains(word), "{what}: {errors}");
    }
    let lines = errors.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(lines, 1, "{what}: one message, not {errors:?}");
    for part in parts {
        assert!(errors.contains(part), "{what}: {errors:?} does not say {part:?}");
    }
    errors
}

/// `train` with a small model and these arguments, which must refuse without leaving anything.
#[track_caller]
fn train_refuses(arguments: &[&str], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("run");
    let mut command = Command::new(TRAIN);
    // Of an option that is given twice only the last would do, and there is none: so options here are not among the small ones.
    let given = |option: &str| arguments.contains(&option);
    for pair in SMALL.chunks(2).filter(|pair| !given(pair[0])) {
        command.args(pair);
    }
    if !given("--data") {
        command.arg("--data").arg(digits());
    }
    command.arg("--out").arg(&out).args(arguments);
    refused(&arguments.join(" "), command, 1, parts);
    assert!(!out.exists(), "{arguments:?}: something is left in the folder of the run");
}

/// The same with files of a data set.
#[track_caller]
fn data_refused(images: &[u8], labels: &[u8], parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
    fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    train_refuses(&["--data", folder.path().to_str().unwrap()], parts);
}

/// A run of one step, made once by the program itself.
fn trained() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let make = || {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("run");
        let (data, out) = (digits().to_str().unwrap(), out.to_str().unwrap());
        let output = execute(TRAIN, &[&SMALL[..], &["--data", data, "--out", out, "--stop-after", "1"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("stopped after step 1 and saved") && said.contains(&format!("--resume {out}")), "{said}");
        folder
    };
    RUN.get_or_init(make).path()
}

fn checkpoint() -> PathBuf {
    trained().join("run/checkpoint-1")
}

/// `sample` of this folder, which must refuse without leaving a picture.
#[track_caller]
fn sample_refuses(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let place = TempDir::new().unwrap();
    let mut command = Command::new(SAMPLE);
    command.arg("--checkpoint").arg(folder).args(["--count", "2"]).args(arguments);
    if !arguments.contains(&"--steps") {
        command.args(["--steps", "2"]);
    }
    if !arguments.contains(&"--out") {
        command.arg("--out").arg(place.path().join("samples.png"));
    }
    refused(&arguments.join(" "), command, 1, parts);
    assert_eq!(files(place.path()), [], "{arguments:?}: something was written");
}

/// A copy of a checkpoint of ours, damaged.
#[track_caller]
fn damaged(damage: impl FnOnce(&Path), parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    copy(&checkpoint(), folder.path());
    damage(folder.path());
    sample_refuses(folder.path(), &[], parts);
}

fn replace(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// Writes a state dict anew, each tensor as `change` wants it: name and shape, or not at all.
fn rewrite(folder: &Path, change: impl Fn(&str, Vec<usize>) -> Option<(String, Vec<usize>)>) {
    let path = folder.join("unet/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut views = Vec::new();
    for (name, tensor) in file.iter() {
        if let Some((name, shape)) = change(name, tensor.shape().to_vec()) {
            views.push((name, TensorView::new(Dtype::F32, shape, tensor.data()).unwrap()));
        }
    }
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn data_sets() {
    let nowhere = ["--data", "/nowhere/at/all"];
    train_refuses(&nowhere, &["/nowhere/at/all", "no such folder"]);
    let empty = TempDir::new().unwrap();
    train_refuses(&["--data", empty.path().to_str().unwrap()], &["holds no data set", "train-images-idx3-ubyte.gz"]);
    let (images, labels) = (idx(&[8, 28, 28], &[7; 8 * 784]), idx(&[8], &[0, 1, 2, 3, 0, 1, 2, 3]));
    data_refused(&images[..5000], &labels, &["train-images-idx3-ubyte", "truncated", "8 x 28 x 28"]);
    data_refused(&[&images[..], &[0]].concat(), &labels, &["train-images-idx3-ubyte", "oversized"]);
    data_refused(&labels, &labels, &["train-images-idx3-ubyte", "IDX file of labels"]);
    data_refused(b"<html>", &labels, &["train-images-idx3-ubyte", "download it again"]);
    data_refused(&images, &idx(&[7], &[0; 7]), &["train-labels-idx1-ubyte", "7 labels", "8 images"]);
    let gzip = fs::read(mnist().join("train-images-idx3-ubyte.gz")).unwrap();
    data_refused(&gzip[..10_000], &labels, &["train-images-idx3-ubyte", "ends early"]);
}

#[test]
fn settings_that_do_not_fit() {
    for (arguments, parts) in [
        (
            &["--block-out-channels", "8,8,8,8", "--attention", "false,false,false,false"][..],
            &["28x28", "4 levels", "multiples of 8", "3 levels at most"][..],
        ),
        (&["--norm-num-groups", "3"], &["`norm_num_groups` = 3", "8 channels", "use 2"]),
        (&["--attention", "true"], &["--attention has 1", "2 levels"]),
        (&["--attention", "false,true", "--attention-head-dim", "16"], &["`attention_head_dim` = 16", "8 channels"]),
        (&["--layers-per-block", "0"], &["`layers_per_block` = 0", "at least 1"]),
        (&["--label-dropout", "0"], &["--label-dropout", "--guidance 1"]),
        (&["--guidance", "-1"], &["--guidance", "1.5 to 4"]),
        (&["--guidance", "nan"], &["--guidance", "1.5 to 4"]),
        (&["--sampling-steps", "51"], &["--sampling-steps", "51", "1 to 50"]),
        (&["--sampling-steps", "0"], &["--sampling-steps", "1 to 50"]),
        (&["--timesteps", "10"], &["T = 10", "cosine"]),
        (&["--steps", "0"], &["--steps"]),
        (&["--batch", "0"], &["--batch 0", "65535"]),
        (&["--batch", "1000000"], &["--batch 1000000", "65535"]),
        (&["--validation-count", "256"], &["--validation-count 256", "256 images"]),
        (&["--lr", "nan"], &["--lr"]),
        (&["--max-grad-norm", "inf"], &["--max-grad-norm inf", "1e30"]),
        (&["--adam-epsilon", "0"], &["--adam-epsilon 0"]),
        (&["--weight-decay", "nan"], &["--weight-decay NaN"]),
        (&["--keep-checkpoints", "0"], &["--keep-checkpoints"]),
        (&["--preset", "nothing"], &["`nothing`", "there are: ddpm"]),
        (&["--adapter", "Voodoo 2"], &["Voodoo 2", "there are:\n  0: "]),
        (&["--config", "/nowhere.toml"], &["/nowhere.toml"]),
    ] {
        train_refuses(arguments, parts);
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.toml");
    fs::write(&file, "steps = 3\nbatches = 4\n").unwrap();
    train_refuses(&["--config", file.to_str().unwrap()], &["mine.toml", "batches", "line 2"]);
    fs::write(&file, "holdout = 4\nblock_out_channels = []\nattention = []\n").unwrap();
    let mut command = Command::new(TRAIN);
    command.arg("--config").arg(&file).arg("--data").arg(digits());
    refused("no levels", command, 1, &["`block_out_channels` is empty"]);
}

#[test]
fn wrong_command_lines() {
    for (program, arguments, part) in [
        (TRAIN, &["--nothing"][..], "--nothing"),
        (TRAIN, &["--steps", "many"], "many"),
        (TRAIN, &["--size", "huge"], "tiny, small, base"),
        (TRAIN, &["--schedule", "square"], "square"),
        (TRAIN, &["--resume", "x", "--out", "y"], "--out"),
        (SAMPLE, &[], "--checkpoint"),
        (SAMPLE, &["--checkpoint", "x", "--sampler", "eulr"], "ddim"),
        (SAMPLE, &["--checkpoint", "x", "--steps", "-1"], "-1"),
    ] {
        let mut command = Command::new(program);
        command.args(arguments);
        refused(&arguments.join(" "), command, 2, &[part]);
    }
}

#[test]
fn folders_of_runs() {
    let run = trained().join("run");
    let before = files(&run);
    let mut command = Command::new(TRAIN);
    command.args(SMALL).arg("--data").arg(digits()).arg("--out").arg(&run);
    refused("a folder with a run", command, 1, &["already holds a run of 1 step", "--resume", "--out"]);
    assert!(files(&run) == before, "the run was touched");

    let resume = |folder: &Path, parts: &[&str]| {
        let mut command = Command::new(TRAIN);
        command.arg("--resume").arg(folder);
        refused("--resume", command, 1, parts)
    };
    resume(Path::new("/nowhere"), &["/nowhere", "run"]);
    resume(&run.join("checkpoint-1"), &["checkpoint-1", "not the folder of a run"]);
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
    assert!(files(&run) == before, "the run was touched");
}

/// A run folder goes on where it is, not where it was.
#[test]
fn a_run_that_was_moved() {
    let folder = TempDir::new().unwrap();
    let moved = folder.path().join("moved");
    copy(&trained().join("run"), &moved);
    let output = execute(TRAIN, &["--resume", moved.to_str().unwrap(), "--stop-after", "2"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(moved.join("checkpoint-2").is_dir());
    assert!(!trained().join("run/checkpoint-2").exists());
}

#[test]
fn checkpoints() {
    sample_refuses(Path::new("/nowhere"), &[], &["/nowhere", "no such folder"]);
    let empty = TempDir::new().unwrap();
    sample_refuses(empty.path(), &[], &["unet/config.json", "checkpoint-STEP"]);
    let model = "unet/diffusion_pytorch_model.safetensors";
    damaged(
        |folder| {
            let bytes = fs::read(folder.join(model)).unwrap();
            fs::write(folder.join(model), &bytes[..bytes.len() - 100]).unwrap();
        },
        &[model, "cut short"],
    );
    damaged(|folder| fs::write(folder.join(model), [0xff; 100]).unwrap(), &[model, "safetensors"]);
    damaged(|folder| fs::remove_file(folder.join(model)).unwrap(), &[model]);
    let keep = |name: &str, shape| Some((name.to_owned(), shape));
    damaged(
        |folder| rewrite(folder, |name, shape| if name == "conv_in.bias" { None } else { keep(name, shape) }),
        &[model, "`conv_in.bias` is missing"],
    );
    damaged(
        |folder| rewrite(folder, |name, shape| keep(&name.replace("conv_in.bias", "conv_in.bigotry"), shape)),
        &["`conv_in.bias` is missing", "`conv_in.bigotry` is not a tensor of this model"],
    );
    let turned = |name: &str, shape: Vec<usize>| {
        keep(name, if name == "conv_in.weight" { shape.into_iter().rev().collect() } else { shape })
    };
    damaged(|folder| rewrite(folder, turned), &["`conv_in.weight` has the shape [3, 3, 1, 8], not [8, 1, 3, 3]"]);
    let config = "unet/config.json";
    damaged(
        |folder| replace(&folder.join(config), "DownBlock2D", "SkipDownBlock2D"),
        &[config, "`down_block_types`", "SkipDownBlock2D", "AttnDownBlock2D"],
    );
    damaged(
        |folder| replace(&folder.join(config), r#""in_channels": 1"#, r#""in_channels": 2"#),
        &[config, "in_channels"],
    );
    damaged(|folder| replace(&folder.join(config), "{", ""), &[config, "JSON"]);
    damaged(|folder| fs::remove_file(folder.join(config)).unwrap(), &[config]);
    let scheduler = "scheduler/scheduler_config.json";
    damaged(|folder| replace(&folder.join(scheduler), "linear", "cubic"), &[scheduler, "cubic", "scaled_linear"]);
    damaged(|folder| replace(&folder.join(scheduler), "DDIMScheduler", "PNDMScheduler"), &[scheduler, "PNDM", "DDPM"]);
    damaged(|folder| fs::remove_dir_all(folder.join("scheduler")).unwrap(), &[scheduler]);
    let card = "degrain.json";
    damaged(|folder| replace(&folder.join(card), r#""classes": 10"#, r#""classes": 12"#), &[card, "another model"]);
    damaged(|folder| replace(&folder.join(card), r#""class_names": ["#, r#""names": ["#), &[card, "class_names"]);
}

#[test]
fn samples_that_cannot_be() {
    let ours = checkpoint();
    let folder = TempDir::new().unwrap();
    let file = |name: &str, count: usize, value: f32| {
        let (path, values) = (folder.path().join(name), vec![value; count * 784]);
        let view = TensorView::new(Dtype::F32, vec![count, 1, 28, 28], bytemuck::cast_slice(&values)).unwrap();
        fs::write(&path, safetensors::serialize([("noise", view)], None).unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (three, broken) = (file("three.safetensors", 3, 0.5), file("broken.safetensors", 2, f32::NAN));
    for (arguments, parts) in [
        (&["--class", "10"][..], &["--class 10", "there are: 0, 1"][..]),
        (&["--class", "cat"], &["--class cat", "there are: 0, 1"]),
        (&["--steps", "0"], &["0 sampling steps", "1 to 50"]),
        (&["--steps", "51"], &["51 sampling steps", "1 to 50"]),
        (&["--count", "0"], &["--count"]),
        (&["--guidance", "-2"], &["guidance", "-2"]),
        (&["--eta", "2"], &["eta = 2"]),
        (&["--sampler", "ddpm", "--eta", "0.5"], &["ddpm", "eta"]),
        (&["--image-size", "27"], &["27x27", "multiples of 2", "26 or 28"]),
        (&["--out", "samples.jpeg"], &["samples.jpeg", ".png, .apng or .npz"]),
        (&["--out", "/proc/nothing/samples.png"], &["/proc/nothing"]),
        (&["--noise", "/nowhere.safetensors"], &["/nowhere.safetensors"]),
        (&["--noise", &three], &["three.safetensors", "[3, 1, 28, 28]", "[2, 1, 28, 28]", "--count"]),
        (&["--noise", &broken], &["broken.safetensors", "not finite"]),
        (&["--noise", "Cargo.toml"], &["Cargo.toml", "no safetensors"]),
        (&["--adapter", "99"], &["`99`", "there are:\n  0: "]),
    ] {
        match arguments[0] {
            "--count" => {
                let mut command = Command::new(SAMPLE);
                command.arg("--checkpoint").arg(&ours).args(arguments);
                refused("--count 0", command, 1, parts);
            }
            _ => sample_refuses(&ours, arguments, parts),
        }
    }
    let many = ["--batch", "70000", "--guidance", "1"];
    let mut command = Command::new(SAMPLE);
    command.arg("--checkpoint").arg(&ours).args(many).args(["--count", "70000", "--steps", "2"]);
    refused("a large batch", command, 1, &["70000 images", "65535"]);
    // A model of diffusers does not say that its last class stands for none.
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/unet_class");
    sample_refuses(&theirs, &["--guidance", "2"], &["label dropout", "Sample with scale 1"]);
    let plain = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/unet_plain");
    sample_refuses(&plain, &["--guidance", "2"], &["--guidance 2", "without classes"]);
    sample_refuses(&plain, &["--class", "2"], &["--class 2", "without classes"]);
}

/// Writes beyond 100 blocks of 512 bytes fail, as on a full disk: no half of a checkpoint is left, and the last is intact.
#[test]
#[cfg(unix)]
fn a_full_disk() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    copy(&trained().join("run"), &run);
    let before = files(&run.join("checkpoint-1"));
    let limited = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
        command.args(["-c", script, program]).args(arguments);
        command
    };
    let command = limited(TRAIN, &["--resume", run.to_str().unwrap(), "--stop-after", "2"]);
    refused("a full disk", command, 1, &["checkpoint-2", "File too large"]);
    assert!(files(&run.join("checkpoint-1")) == before);
    let names: Vec<String> =
        fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("checkpoint-2") || name.starts_with('.')), "{names:?}");

    let out = folder.path().join("many.npz");
    let many =
        ["--checkpoint", run.to_str().unwrap(), "--count", "800", "--steps", "1", "--out", out.to_str().unwrap()];
    refused("a full disk", limited(SAMPLE, &many), 1, &["many.npz", "File too large"]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["run"]);
}

#[test]
#[cfg(target_os = "linux")]
fn no_adapter() {
    for (program, arguments) in [(TRAIN, vec![]), (SAMPLE, vec!["--checkpoint".into(), checkpoint()])] {
        let mut command = Command::new(program);
        command.args(arguments).env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        refused("no adapter", command, 1, &["no GPU adapter", "apt-get install mesa-vulkan-drivers"]);
    }
}

/// Mesa's device-select layer must not connect to a display server: without one, as in a container,
/// it prints errors.
#[test]
fn adapter_list_is_quiet_without_display() {
    let mut command = Command::new(TRAIN);
    for variable in ["NODEVICE_SELECT", "XDG_RUNTIME_DIR", "WAYLAND_DISPLAY", "DISPLAY"] {
        command.env_remove(variable);
    }
    let output = command.arg("--list-adapters").output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// What nobody reads any more is an error, not a panic.
#[test]
#[cfg(unix)]
fn a_closed_pipe() {
    let mut command = Command::new("sh");
    let script = "{ sleep 0.2; exec \"$0\" --list-adapters; } | true";
    command.args(["-c", script, TRAIN]);
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("standard output") && !errors.contains("panicked"), "{errors}");
}
