//! Sizes that a user chooses: images of any size are used, and large images, batches and models give
//! one clear message.

use super::harness::{EDIT, SAMPLE, TRAIN, command, fails, succeeds, text, train};
use crate::common::small::small;
use degrain::data::images_of_npz;
use degrain::output::Picture;
use degrain::train::Settings;
use tempfile::TempDir;

/// A folder of gray images.
fn images(side: usize, count: usize) -> TempDir {
    pictures([1, side, side], count)
}

/// A folder of images of this shape.
fn pictures([channels, height, width]: [usize; 3], count: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    for number in 0..count {
        let bytes = (0..channels * height * width).map(|i| (i + number) as u8).collect();
        let picture = Picture { height, width, channels, bytes };
        picture.save_png(&folder.path().join(format!("{number}.png")), &[]).unwrap();
    }
    folder
}

/// Only the network sees the padding.
#[test]
fn images_of_any_size_are_trained_verified_sampled_and_edited() {
    let (data, here) = (pictures([3, 30, 45], 12), TempDir::new().unwrap());
    let run = here.path().join("run");
    let settings = Settings {
        data: Some(data.path().into()),
        out: Some(run.clone()),
        unconditional: Some(true),
        block_out_channels: Some(vec![8, 8, 8]),
        attention: Some(vec![false, false, true]),
        validation_count: Some(4),
        ..small("ddpm")
    };
    let told = succeeds(train(&settings, &["--dry-run"]));
    assert!(told.contains("12 images of 3x30x45"), "{told}");
    assert!(told.contains("padding   images of 30x45 are padded to 32x48 inside the network"), "{told}");
    assert!(!told.contains("is padding"), "a warning of little padding: {told}");
    assert!(succeeds(train(&settings, &["--verify"])).contains("agree with their references"));
    succeeds(train(&settings, &["--stop-after", "2"]));
    let samples = run.join("samples.npz");
    succeeds(command(SAMPLE, &["--checkpoint", text(&run), "--count", "2", "--steps", "2", "--out", text(&samples)]));
    let (bytes, _) = images_of_npz(&samples, [3, 30, 45], 1).unwrap();
    assert_eq!(bytes.len(), 2 * 3 * 30 * 45);
    succeeds(command(
        SAMPLE,
        &[
            "--checkpoint",
            text(&run),
            "--image-size",
            "9",
            "--count",
            "1",
            "--steps",
            "2",
            "--out",
            text(&run.join("small.png")),
        ],
    ));
    let frames = run.join("frames.png");
    succeeds(command(EDIT, &["interpolate", "--checkpoint", text(&run), "--steps", "2", "--out", text(&frames)]));
}

#[test]
fn train_warns_of_images_that_are_mostly_padding() {
    let data = images(5, 12);
    let options = ["--size", "tiny", "--validation-count", "4", "--data", text(data.path()), "--dry-run"];
    let deep = ["--block-out-channels", "8,8,8,8,8", "--attention", "false,false,false,false,true"];
    let told = succeeds(command(TRAIN, &[&options[..], &deep, &["--norm-num-groups", "4"]].concat()));
    for part in ["5x5 are padded to 16x16", "warning: most of 16x16 is padding", "5 levels", "--block-out-channels"] {
        assert!(told.contains(part), "{told:?} does not say {part:?}");
    }
}

const LARGE: [&str; 6] = ["--size", "base", "--validation-count", "1", "--dry-run", "--data"];

#[test]
fn train_takes_images_of_512_pixels() {
    let data = images(512, 4);
    let output = command(TRAIN, &[&LARGE[..], &[text(data.path()), "--batch", "2", "--resolution", "512"]].concat())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // Software drivers bind at most 128 MiB.
    assert!(output.status.success() || errors.contains("but this device allows"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn train_refuses_batches_that_no_device_holds() {
    let data = images(512, 4);
    let options = [&LARGE[..], &[text(data.path()), "--batch", "65535", "--resolution", "512"]].concat();
    fails(command(TRAIN, &options), 1, &["GB", "more than any device binds", "smaller batch"]);
}

#[test]
fn train_refuses_photographs_whose_batches_no_device_holds() {
    // The images exceed the binding of a software driver, and are streamed.
    let data = images(7000, 3);
    let sizes = [text(data.path()), "--batch", "64", "--resolution", "7000"];
    fails(command(TRAIN, &[&LARGE[..], &sizes].concat()), 1, &["smaller --batch"]);
    // The steps of all sizes are recorded to choose one.
    let validation = ["--validation-count", "1", "--dry-run"];
    fails(command(TRAIN, &[&["--data"], &sizes[..], &validation].concat()), 1, &["smaller --batch"]);
}

#[test]
fn train_refuses_models_that_no_device_holds() {
    let data = images(16, 4);
    let small = ["--size", "tiny", "--validation-count", "1", "--dry-run", "--data", text(data.path())];
    let cases: [(&[&str], &str); 3] = [
        (&["--layers-per-block", "4000000000"], "must be at most 64"),
        (&["--block-out-channels", "16384,16384,16384"], "of parameters"),
        (&["--block-out-channels", "4000000000,8,8"], "must be at most 16384"),
    ];
    for (options, part) in cases {
        fails(command(TRAIN, &[&small[..], options].concat()), 1, &[part]);
    }
}
