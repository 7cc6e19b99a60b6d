//! The settings of `ablation`: what it cannot compare is refused before the first run.

use crate::common::run::{digits, files};
use crate::harness::{TRAIN, command, refused, succeeds, text};
use crate::programs::ABLATION;
use tempfile::TempDir;

#[test]
fn ablation_refuses_what_it_cannot_compare_before_the_first_run() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("four");
    let refuses = |options: &[&str], parts: &[&str]| {
        let common = ["--data", text(digits()), "--out", text(&out), "--steps", "1"];
        refused(ABLATION, &[&common[..], options].concat(), parts);
        let made: Vec<String> = files(&out).into_iter().map(|(name, _)| name).filter(|name| name != ".lock").collect();
        assert_eq!(made, [""; 0], "{options:?}");
    };
    refuses(&["--validation-count", "0"], &["--validation-count 0", "validation loss"]);
    // Attention follows the number of levels.
    let two_levels = ["--block-out-channels", "8,8", "--validation-count", "0"];
    refuses(&two_levels, &["--validation-count 0", "validation loss"]);
    refuses(&["--preset", "edm"], &["would not differ", "--process discrete"]);
    refuses(&["--preset", "plain"], &["would not differ", "--network unet"]);
    refuses(&["--preset", "classifier"], &["would not differ", "--network unet"]);
    refuses(&["--attention", "true,true"], &["--attention", "differs between the four runs"]);
}

/// The runs with attention have it at the coarsest level if the preset has none at this number of
/// levels.
#[test]
fn ablation_refuses_a_finished_run_of_other_settings() {
    for (network, attention) in [(&["--block-out-channels=8,8"][..], "false,true"), (&[], "false,false,true")] {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("four");
        let first = out.join("linear-attention");
        let options = ["--size=tiny", "--data", text(digits()), "--steps=2", "--batch=4", "--norm-num-groups=4"];
        let options = [&options[..], network, &["--timesteps=50", "--validation-count=10"]].concat();
        let options = [&options[..], &["--sampling-steps=3", "--sample-every=2"]].concat();
        let attention = format!("--attention={attention}");
        let run = ["--schedule=linear", &attention, "--out", text(&first)];
        succeeds(command(TRAIN, &[&options[..], &run].concat()));
        let before = files(&first);
        let asked = [&options[..], &["--lr=0.5", "--out", text(&out)]].concat();
        let parts =
            ["linear-attention", "has finished with other settings (lr: 0.002 -> 0.5, learning rate: ", "--out"];
        refused(ABLATION, &asked, &parts);
        assert!(files(&first) == before, "the run has changed");
    }
}
