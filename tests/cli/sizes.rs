//! Sizes that a user chooses: large images, batches and models give one clear message.

use super::harness::{TRAIN, command, fails, text};
use degrain::output::Picture;
use tempfile::TempDir;

/// A folder of gray images.
fn images(side: usize, count: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    for number in 0..count {
        let bytes = (0..side * side).map(|i| (i + number) as u8).collect();
        let picture = Picture { height: side, width: side, channels: 1, bytes };
        picture.save_png(&folder.path().join(format!("{number}.png")), &[]).unwrap();
    }
    folder
}

const LARGE: [&str; 6] = ["--size", "base", "--validation-count", "1", "--dry-run", "--data"];

#[test]
fn train_takes_images_of_512_pixels() {
    let data = images(512, 4);
    let output = command(TRAIN, &[&LARGE[..], &[text(data.path()), "--batch", "2"]].concat()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    // Software drivers bind at most 128 MiB.
    assert!(output.status.success() || errors.contains("but this device allows"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn train_refuses_batches_that_no_device_holds() {
    let data = images(512, 4);
    let options = [&LARGE[..], &[text(data.path()), "--batch", "65535"]].concat();
    fails(command(TRAIN, &options), 1, &["GB", "more than any device binds", "smaller batch"]);
}

#[test]
fn train_refuses_photographs_whose_batches_no_device_holds() {
    // The images exceed the binding of a software driver, and are streamed.
    let data = images(7000, 3);
    let options = [&LARGE[..], &[text(data.path()), "--batch", "64"]].concat();
    fails(command(TRAIN, &options), 1, &["smaller --batch"]);
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
