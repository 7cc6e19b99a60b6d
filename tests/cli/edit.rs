//! `edit`: images and masks that do not fit, and options out of range.

use crate::common::run::{copy, digits, mnist};
use crate::harness::{EDIT, command, messages, refused, refuses, succeeds, text, trained};
use degrain::output::Picture;
use std::path::Path;
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
    inpaint(&["--data", data, "--mask", &color], &["b.png", "mask has 3 channels", "must have 1"]);
    inpaint(&["--mask", &fits, "--image", &tall], &["a.png", "image", "32x28"]);
    inpaint(&["--data", data, "--mask", &fits, "--index", "10000"], &["10000"]);
}

#[test]
fn edit_refuses_options_and_models_that_do_not_fit() {
    let (mnist, ddpm) = (mnist(), trained("ddpm"));
    let data = text(&mnist);
    let refuses = |task: &str, options: &[&str], parts: &[&str]| refuses(EDIT, &[task], &ddpm, options, parts);
    refuses("interpolate", &["--columns", "1"], &["--columns"]);
    for out in ["/tmp/x.gif", "/tmp/x.jpg", "/tmp/x"] {
        refuses("interpolate", &["--out", out], &[out, "must end in .png"]);
        refuses("invert", &["--out", out], &[out, "must end in .png"]);
    }
    refuses("interpolate", &["--columns", "100000", "--rows", "100000"], &["--columns", "--rows", "65535"]);
    refuses("interpolate", &["--rows", "1", "--columns", "20000"], &["smaller batch", "--rows times --columns"]);
    let wide = ["--rows", "1", "--columns", "32768", "--guidance", "2"];
    refuses("interpolate", &wide, &["batch size", "--rows times --columns"]);
    refuses("interpolate", &["--guidance", "-3"], &["guidance", "-3", "1.5 to 4"]);
    refuses("interpolate", &["--guidance", "0", "--class", "3"], &["--class 3 has no effect", "--guidance 0"]);
    refuses("invert", &["--data", data, "--count", "0"], &["--count must be at least 1"]);
    refuses("invert", &["--data", data, "--first", "10000"], &["--first 10000", "10000 test images, 0 to 9999"]);
    refuses("invert", &["--data", data, "--first", "9998"], &["--count 10", "2 of them from --first 9998"]);
    refuses("invert", &["--data", data, "--count", "18446744073709551615", "--first", "2"], &["--count 1844"]);
    // The run was trained on data without test images.
    refuses("invert", &[], &[text(digits()), "t10k-images"]);
    refuse_model("vae", data, &["not a denoiser"]);
    let missing = trained("ddpm").join("checkpoint-3");
    crate::harness::refuses(EDIT, &["invert"], &missing, &[], &["no such checkpoint", "the run has checkpoint-1"]);
    crate::harness::refuses(EDIT, &["invert"], Path::new("/nowhere"), &[], &["/nowhere", "no such folder"]);
}

/// The classes of other data are those of the model with equal names, whatever their numbers.
#[test]
fn edit_takes_classes_by_their_names() {
    let folder = TempDir::new().unwrap();
    let data = |names: [&str; 2]| {
        let place = folder.path().join(names.join("-"));
        for (name, part) in [(names[0], "train"), (names[1], "train"), (names[1], "test")] {
            let class = place.join(part).join(name);
            std::fs::create_dir_all(&class).unwrap();
            let picture = Picture { height: 28, width: 28, channels: 1, bytes: vec![40; 784] };
            picture.save_png(&class.join("a.png"), &[]).unwrap();
        }
        text(&place).to_owned()
    };
    let ddpm = trained("ddpm");
    let out = folder.path().join("out.png");
    let few = ["--count", "1", "--steps", "2", "--out", text(&out), "--data"];
    let denoise = [&["denoise", "--checkpoint", text(&ddpm)], &few[..]].concat();
    let told = succeeds(command(EDIT, &[&denoise[..], &[&data(["3", "8"])]].concat()));
    assert!(told.contains("test image 0, class 8:"), "{told}");
    let other = data(["3", "x"]);
    for task in ["denoise", "invert"] {
        refuses(EDIT, &[task], &ddpm, &["--data", &other, "--count", "1"], &["class x", "0, 1, 2", "--class"]);
    }
    succeeds(command(EDIT, &[&denoise[..], &[&other, "--class", "3"]].concat()));
}

/// Without a run, nothing says where the images of a model are.
#[test]
fn edit_does_not_take_the_images_of_another_data_set() {
    let folder = TempDir::new().unwrap();
    let alone = folder.path().join("alone");
    copy(&trained("ddpm").join("checkpoint-1"), &alone);
    refuses(EDIT, &["invert"], &alone, &["--count", "1"], &["trained on idx", "data/mnist holds MNIST", "--data"]);
}

#[track_caller]
fn refuse_model(preset: &str, data: &str, parts: &[&str]) {
    refuses(EDIT, &["invert"], &trained(preset), &["--data", data], parts);
}

#[test]
fn edit_warns_of_masks_of_one_color() {
    let folder = TempDir::new().unwrap();
    let (mnist, ddpm) = (mnist(), trained("ddpm"));
    for (value, says) in [(0, "no white pixel"), (127, "no white pixel (a value above 127)"), (255, "white everywhere")]
    {
        let mask = folder.path().join("mask.png");
        Picture { height: 28, width: 28, channels: 1, bytes: vec![value; 784] }.save_png(&mask, &[]).unwrap();
        let out = folder.path().join("out.png");
        let few = ["--count", "1", "--steps", "2", "--passes", "1", "--mask", text(&mask), "--out", text(&out)];
        let start = ["inpaint", "--checkpoint", text(&ddpm), "--data", text(&mnist)];
        let output = command(EDIT, &[&start[..], &few].concat()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains(says) && told.contains("1 image, 2 steps"), "{told}");
    }
}

#[test]
fn edit_invert_refuses_a_single_step_and_equal_outputs() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.png");
    let run = trained("ddpm");
    let invert = ["invert", "--checkpoint", text(&run), "--count", "1", "--out", text(&out)];
    refused(EDIT, &[&invert[..], &["--steps", "1"]].concat(), &["--steps 1", "at least 2"]);
    refused(EDIT, &[&invert[..], &["--noise", text(&out)]].concat(), &["--noise and --out", "same file"]);
}

#[test]
fn edit_inpaint_samples_an_image_of_unknown_class_without_a_class() {
    let folder = TempDir::new().unwrap();
    let ddpm = trained("ddpm");
    let gray = |name: &str, value: u8| {
        let path = folder.path().join(name);
        Picture { height: 28, width: 28, channels: 1, bytes: vec![value; 784] }.save_png(&path, &[]).unwrap();
        path
    };
    let (mask, image, out) = (gray("mask.png", 0), gray("image.png", 90), folder.path().join("out.png"));
    let few = ["--count", "1", "--steps", "2", "--passes", "1", "--mask", text(&mask), "--image", text(&image)];
    let start = ["inpaint", "--checkpoint", text(&ddpm), "--out", text(&out)];
    let says = "no --class: the unknown part is sampled without a class";
    for (class, wanted) in [(&[][..], true), (&["--class", "0"], false)] {
        let told = messages(command(EDIT, &[&start[..], &few, class].concat()));
        assert_eq!(told.contains(says), wanted, "{class:?}: {told}");
    }
    let without_null_class = trained("plain-conditional");
    refuses(EDIT, &["inpaint"], &without_null_class, &few, &["--image", "is not known", "--class with one of 0, 1"]);
}
