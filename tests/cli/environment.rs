//! Wrong command lines, and environments in which a program must stop with one message: a full
//! disk, no adapter, a closed pipe.

use crate::common::run::{copy, files};
use crate::common::small::small;
use crate::harness::{SAMPLE, TRAIN, command, fails, text, train, trained};
use degrain::train::Settings;
use std::fs;
use std::process::Command;
use tempfile::TempDir;

#[test]
fn command_lines_with_unknown_options_or_values_are_refused() {
    for (program, arguments, part) in [
        (TRAIN, &["--nothing"][..], "--nothing"),
        (TRAIN, &["--steps", "many"], "many"),
        (TRAIN, &["--size", "huge"], "tiny, small, base"),
        (TRAIN, &["--schedule", "square"], "square"),
        (SAMPLE, &["--checkpoint", "x", "--sampler", "eulr"], "ddim"),
        (SAMPLE, &["--checkpoint", "x", "--steps", "-1"], "-1"),
    ] {
        fails(command(program, arguments), 2, &[part]);
    }
}

/// Writes beyond 100 blocks of 512 bytes fail, as on a full disk: no partial checkpoint is left,
/// and the last one is intact.
#[test]
#[cfg(unix)]
fn disk_that_is_full_leaves_the_last_checkpoint_intact() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    copy(&trained("ddpm"), &run);
    let before = files(&run.join("checkpoint-1"));
    let limited = |program: &str, arguments: &[&str]| {
        let script = "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"";
        command("sh", &[&["-c", script, program], arguments].concat())
    };
    let resume = ["--resume", text(&run), "--stop-after", "2"];
    fails(limited(TRAIN, &resume), 1, &["checkpoint-2", "File too large"]);
    assert!(files(&run.join("checkpoint-1")) == before);
    let names: Vec<String> =
        fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let left = |name: &String| name.contains("checkpoint-2") || name.starts_with('.') && name != ".lock";
    assert!(!names.iter().any(left), "{names:?}");

    let out = folder.path().join("many.npz");
    let many = ["--checkpoint", text(&run), "--count", "800", "--steps", "1", "--out", text(&out)];
    fails(limited(SAMPLE, &many), 1, &["many.npz", "File too large"]);
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["many.npz.part", "run"]);
    // The finished images are kept.
    let output = command(SAMPLE, &many).output().unwrap();
    assert!(output.status.success() && out.is_file());
    assert!(String::from_utf8(output.stderr).unwrap().contains("many.npz.part: continues after "));
}

#[test]
#[cfg(target_os = "linux")]
fn adapter_that_is_missing_is_reported_with_the_driver_to_install() {
    let run = trained("ddpm");
    for (program, arguments) in [(TRAIN, &[][..]), (SAMPLE, &["--checkpoint", text(&run)])] {
        let mut command = command(program, arguments);
        command.env("VK_DRIVER_FILES", "/nonexistent").env("VK_ICD_FILENAMES", "/nonexistent");
        fails(command, 1, &["no GPU adapter", "apt-get install mesa-vulkan-drivers"]);
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

/// A reader that closes the pipe causes an error, not a panic.
#[test]
#[cfg(unix)]
fn pipe_that_is_closed_is_reported() {
    let script = "{ sleep 0.2; exec \"$0\" --list-adapters; } | true";
    let output = command("sh", &["-c", script, TRAIN]).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("standard output") && !errors.contains("panicked"), "{errors}");
}

/// A training run of small steps, started by a script of `sh` that gets its command line as `$0` and
/// `$@`.
#[cfg(unix)]
fn train_in_a_script(script: &str, settings: &Settings) -> Command {
    let run = train(settings, &[]);
    let arguments = run.get_args().map(|argument| argument.to_str().unwrap());
    command("sh", &["-c", script, TRAIN].into_iter().chain(arguments).collect::<Vec<_>>())
}

/// Nobody reads its output after the first line, as in a terminal that was closed. Notes and warnings
/// are lost, and only the last message, which says that training has finished, is an error.
#[test]
#[cfg(unix)]
fn training_goes_on_without_a_reader() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = Settings { out: Some(run.clone()), steps: Some(2), ..small("ddpm") };
    let script =
        "{ \"$0\" \"$@\" 2>&1; echo $? >\"$CODE\"; } | head -n 1; while [ ! -s \"$CODE\" ]; do sleep 0.1; done";
    let code = folder.path().join("code");
    let output = train_in_a_script(script, &settings).env("CODE", &code).output().unwrap();
    assert!(output.status.success());
    assert_eq!(fs::read_to_string(code).unwrap(), "1\n");
    assert!(run.join("checkpoint-2").is_dir() && run.join("reverse.png").is_file());
}

/// `nohup` ignores SIGHUP, and a script ignores SIGINT for programs in the background. Neither may
/// stop the run.
#[test]
#[cfg(unix)]
fn signals_that_were_ignored_stay_ignored() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let settings = Settings {
        out: Some(run.clone()),
        checkpoint_every: Some(5),
        sample_every: Some(5),
        timesteps: Some(1000),
        sampling_steps: Some(10),
        ..small("ddpm")
    };
    let piped = std::process::Stdio::piped;
    let mut child = train_in_a_script("trap '' HUP INT; exec \"$0\" \"$@\"", &settings);
    let mut child = child.stdout(piped()).stderr(piped()).spawn().unwrap();
    while !run.join("checkpoint-5").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before the signals");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    for signal in ["-HUP", "-INT"] {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !told.contains("press Ctrl-C again"), "{told}");
    assert!(run.join("checkpoint-20").is_dir(), "{told}");
}
