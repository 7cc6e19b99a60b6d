//! `sample`: finished images are kept, and an interrupted drawing goes on where it was.

use crate::common::run::files;
use crate::harness::{SAMPLE, command, fails, messages, refused, succeeds, text, trained};
use degrain::files::PartFile;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Options of a drawing of five batches.
const BATCHES: [&str; 6] = ["--count", "20", "--batch", "4", "--steps", "20"];

fn sample(model: &str, out: &Path, options: &[&str]) -> Command {
    let model = trained(model);
    command(SAMPLE, &[&["--checkpoint", text(&model), "--out", text(out)], options].concat())
}

/// Starts a drawing and returns it when its first batch is finished.
#[track_caller]
fn after_the_first_batch(mut drawing: Command, part: &Path, image_bytes: u64) -> std::process::Child {
    let mut child = drawing.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    while fs::metadata(part).map_or(0, |file| file.len()) < 4 * image_bytes {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first batch");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// Kills a drawing after its first batch. Returns the file of finished images.
#[track_caller]
fn killed(drawing: Command, out: &Path, image_bytes: u64) -> PathBuf {
    let part = PartFile::path_for(out);
    let mut child = after_the_first_batch(drawing, &part, image_bytes);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(part.exists() && !out.exists(), "it had finished before it was killed");
    part
}

#[test]
fn sample_goes_on_after_a_kill_and_gives_equal_files() {
    for (name, states) in [("a.npz", 1), ("a.png", 1), ("a.apng", 21)] {
        let folder = TempDir::new().unwrap();
        let (whole, out) = (folder.path().join("whole").join(name), folder.path().join(name));
        succeeds(sample("ddpm", &whole, &["--count", "20", "--steps", "20"]));
        let drawing = || sample("ddpm", &out, &BATCHES);
        let part = killed(drawing(), &out, 784 * states);
        // A torn record is cut off.
        let mut bytes = fs::read(&part).unwrap();
        bytes.extend([7; 100]);
        fs::write(&part, bytes).unwrap();
        let told = messages(drawing());
        assert!(told.contains(&format!("{name}.part: continues after ")) && told.contains("of 20 images"), "{told}");
        assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap(), "{name} differs from an uninterrupted drawing");
        assert!(!part.exists());
    }
}

/// An image of the adaptive solver depends on the other images of its batch.
#[test]
fn sample_with_the_adaptive_solver_goes_on_in_whole_batches() {
    let folder = TempDir::new().unwrap();
    let ode = |out: &Path, batch: &str| sample("flow", out, &["--sampler", "ode", "--count", "20", "--batch", batch]);
    let (whole, out) = (folder.path().join("whole.npz"), folder.path().join("a.npz"));
    succeeds(ode(&whole, "4"));
    // After the second batch. One image of a batch is lost.
    let part = killed(ode(&out, "4"), &out, 2 * 784);
    let length = fs::metadata(&part).unwrap().len();
    fs::File::options().write(true).open(&part).unwrap().set_len(length - 784).unwrap();
    fails(ode(&out, "5"), 1, &["a.npz.part", "--batch 4, not 5"]);
    let told = messages(ode(&out, "4"));
    assert!(told.contains("continues after"), "{told}");
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
}

#[cfg(unix)]
#[test]
fn sample_keeps_finished_images_after_an_interrupt() {
    let folder = TempDir::new().unwrap();
    let (whole, out) = (folder.path().join("whole.npz"), folder.path().join("a.npz"));
    let part = PartFile::path_for(&out);
    let options = BATCHES;
    succeeds(sample("ddpm", &whole, &options));
    let child = after_the_first_batch(sample("ddpm", &out, &options), &part, 784);
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    for said in ["a.npz.part keeps ", " of 20 images", "The same command continues"] {
        assert!(told.contains(said), "{told:?} does not say {said:?}");
    }
    assert!(!out.exists());
    succeeds(sample("ddpm", &out, &options));
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
}

#[test]
fn sample_refuses_files_of_another_drawing_and_keeps_them() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("a.npz");
    let part = PartFile::path_for(&out);
    let options = BATCHES;
    let refuses = |options: &[&str], parts: &[&str]| {
        let before = files(folder.path());
        let model = trained("ddpm");
        let arguments = ["--checkpoint", text(&model), "--out", text(&out)];
        refused(SAMPLE, &[&arguments[..], options].concat(), parts);
        assert!(files(folder.path()) == before, "a file has changed");
    };
    for mine in ["my notes", "{\"format\": 3}\nand more", "\n"] {
        fs::write(&part, mine).unwrap();
        refuses(&options, &["a.npz.part", "was not written by `sample`", "--out"]);
    }
    fs::remove_file(&part).unwrap();
    killed(sample("ddpm", &out, &options), &out, 784);
    for (other, says) in [
        (&["--seed", "3"][..], "--seed 0, not 3"),
        (&["--guidance", "3"], "--guidance 1.5, not 3.0"),
        (&["--eta", "0.5"], "--eta none, not 0.5"),
        (&["--class", "3"], "--class none, not 3"),
        (&["--sampler", "ddpm"], "--sampler ddim, not ddpm"),
    ] {
        refuses(&[&options[..], other].concat(), &["a.npz.part", "other settings", says, "remove the file"]);
    }
    let fewer = ["--count", "10", "--batch", "4", "--steps", "20"];
    refuses(&fewer, &["a.npz.part", "--count 20, not 10"]);

    // Another process is drawing.
    let line = fs::read(&part).unwrap().split(|&byte| byte == b'\n').next().unwrap().to_vec();
    let lock = PartFile::open(&part, std::str::from_utf8(&line).unwrap(), 784, &|_| String::new()).unwrap();
    refuses(&options, &["a.npz.part", "another process"]);
    drop(lock);
}

/// A small drawing needs no file of finished images, and leaves none.
#[test]
fn sample_leaves_only_its_output() {
    let folder = TempDir::new().unwrap();
    for options in [&["--count", "4"][..], &["--count", "6", "--batch", "2"]] {
        succeeds(sample("ddpm", &folder.path().join("a.png"), &[options, &["--steps", "2"]].concat()));
        let names: Vec<String> = files(folder.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.png"]);
    }
}
