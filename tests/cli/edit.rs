//! `edit`: images and masks that do not fit, and options out of range.

use crate::common::run::mnist;
use crate::harness::{EDIT, refuses, text, trained};
use degrain::output::Picture;
use tempfile::TempDir;

#[test]
fn edit_refuses_images_and_masks_of_another_size() {
    let folder = TempDir::new().unwrap();
    let picture = |name: &str, [height, width, channels]: [usize; 3]| {
        let path = folder.path().join(name);
        let picture = Picture { height, width, channels, bytes: vec![255; height * width * channels] };
        picture.save_png(&path, &[]).unwrap();
        text(&path).to_owned()
    };
    let tall = picture("a.png", [32, 28, 1]);
    let color = picture("b.png", [28, 28, 3]);
    let fits = picture("c.png", [28, 28, 1]);
    let (mnist, ddpm) = (mnist(), trained("ddpm"));
    let data = text(&mnist);
    let inpaint = |options: &[&str], parts: &[&str]| refuses(EDIT, &["inpaint"], &ddpm, options, parts);
    inpaint(&["--data", data, "--mask", &tall], &["a.png", "mask", "32x28", "28x28"]);
    inpaint(&["--data", data, "--mask", &color], &["b.png", "3 channels"]);
    inpaint(&["--mask", &fits, "--image", &tall], &["a.png", "image", "32x28"]);
    inpaint(&["--data", data, "--mask", &fits, "--index", "10000"], &["10000"]);
}

#[test]
fn edit_refuses_options_and_models_that_do_not_fit() {
    refuses(EDIT, &["interpolate"], &trained("ddpm"), &["--columns", "1"], &["--columns"]);
    refuses(EDIT, &["invert"], &trained("vae"), &["--data", text(&mnist())], &["not a denoiser"]);
}
