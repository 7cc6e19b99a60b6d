//! `edit denoise`: the picture for every kind of process and sampler, and options that do not fit.

use crate::common::run::mnist;
use crate::harness::{EDIT, SAMPLE, command, fails, messages, refuses, succeeds, text, trained};
use degrain::checkpoint::noise;
use degrain::data::{Split, images_of_npz, load};
use degrain::diffusion::interpolation::initial_noise;
use degrain::output::Picture;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The images of a picture of 28x28 images, with 2 x 2 pixels per pixel and a padding of 2.
fn cells(path: &Path, [rows, columns]: [usize; 2]) -> Vec<Vec<Vec<u8>>> {
    let picture = Picture::load_png(path).unwrap();
    assert_eq!([picture.height, picture.width], [rows * 58 + 2, columns * 58 + 2], "{}", path.display());
    let pixel = |top: usize, left: usize| picture.bytes[(top * picture.width + left) * picture.channels];
    let cell = |row: usize, column: usize| -> Vec<u8> {
        (0..784).map(|i| pixel(row * 58 + 2 + 2 * (i / 28), column * 58 + 2 + 2 * (i % 28))).collect()
    };
    (0..rows).map(|row| (0..columns).map(|column| cell(row, column)).collect()).collect()
}

#[test]
fn edit_denoise_shows_image_noise_steps_and_result() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.png");
    let mnist = mnist();
    let test = load(&mnist, Split::Test).unwrap();
    for (preset, sampler) in [
        ("ddpm", &[][..]),
        ("ddpm", &["--sampler", "dpm_solver"]),
        ("ddpm", &["--sampler", "heun", "--guidance", "0"]),
        ("plain", &[]),
        ("hybrid", &[]),
        ("score", &["--sampler", "predictor_corrector", "--snr", "0.1"]),
        ("edm", &["--churn", "3"]),
        ("edm", &["--sampler", "dpm_solver"]),
        ("flow", &[]),
    ] {
        let run = trained(preset);
        let start = ["denoise", "--checkpoint", text(&run), "--data", text(&mnist), "--out", text(&out)];
        let few = ["--steps", "6", "--first", "3", "--count", "2", "--every", "1"];
        let printed = succeeds(command(EDIT, &[&start[..], &few, sampler].concat()));
        let class = |k: usize| match (preset, sampler.contains(&"0")) {
            ("plain", _) | (_, true) => String::new(),
            _ => format!(", class {}", test.labels[k]),
        };
        for part in [
            "noised to t = ".to_string(),
            "; 3 of 6 steps of ".to_string(),
            format!("test image 3{}: root mean square difference", class(3)),
            format!("test image 4{}: root mean square difference", class(4)),
        ] {
            assert!(printed.contains(&part), "{preset} {sampler:?}: {printed:?} does not say {part:?}");
        }
        // The image, the noised image, the states after the first and the second step, the result.
        for (row, k) in cells(&out, [2, 5]).iter().zip(3..) {
            assert!(row[0] == test.images[k * 784..][..784], "{preset} {sampler:?}: not test image {k}");
            // The last step of EDM starts from noise that is not visible.
            for (column, other) in [(1, 0), (2, 1), (3, 2), (4, 1)] {
                assert!(row[column] != row[other], "{preset} {sampler:?}: columns {column} and {other} of image {k}");
            }
        }
    }
}

/// Flow matching starts from pure noise, so that nothing of the images is left at strength 1.
#[test]
fn edit_denoise_of_strength_1_gives_the_samples_of_sample() {
    let folder = TempDir::new().unwrap();
    let [given, strip, samples] =
        ["noise.safetensors", "strip.png", "samples.npz"].map(|name| folder.path().join(name));
    let all: Vec<f32> = (2..5).flat_map(|number| initial_noise(7, number, 784)).collect();
    noise::write(&given, &all, [3, 1, 28, 28]).unwrap();
    let run = trained("flow");
    let (run, mnist) = (text(&run), mnist());
    let common = ["--checkpoint", run, "--class", "3", "--steps", "4"];
    let edit = ["--data", text(&mnist), "--first", "2", "--count", "3", "--seed", "7", "--strength", "1"];
    let printed = succeeds(command(EDIT, &[&["denoise"], &common[..], &edit, &["--out", text(&strip)]].concat()));
    assert!(printed.contains("noised to t = 1, alpha 0.0000, sigma 1.0000; 4 of 4 steps of midpoint"), "{printed}");
    succeeds(command(SAMPLE, &[&common[..], &["--noise", text(&given), "--out", text(&samples)]].concat()));
    let sampled = images_of_npz(&samples, [1, 28, 28], 10).unwrap().0;
    let strip = cells(&strip, [3, 6]);
    for (row, sample) in strip.iter().zip(sampled.chunks_exact(784)) {
        assert!(row[5] == sample, "a result is not the sample from the same noise");
    }
}

/// The noise of an image depends on the seed and on the image's number, not on the other images.
#[test]
fn edit_denoise_depends_on_seed_and_number_of_an_image() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.png");
    let (run, mnist) = (trained("ddpm"), mnist());
    let rows = |count: usize, options: &[&str]| {
        let few = ["--steps", "4", "--sampler", "ddpm", "--out", text(&out)];
        let start = ["denoise", "--checkpoint", text(&run), "--data", text(&mnist)];
        let number = count.to_string();
        succeeds(command(EDIT, &[&start[..], &few, &["--count", &number], options].concat()));
        cells(&out, [count, 4])
    };
    let both = rows(2, &[]);
    assert!(rows(2, &[]) == both);
    assert!(rows(1, &["--first", "1"])[0] == both[1]);
    let other = rows(2, &["--seed", "1"]);
    assert!(other[0][0] == both[0][0] && other[0][1] != both[0][1]);
}

/// Image files of another size than the model's, and a damaged one, for a model that is trained
/// already.
#[test]
fn edit_reads_image_files_as_the_options_say() {
    let folder = TempDir::new().unwrap();
    let [data, out] = ["data", "out.png"].map(|name| folder.path().join(name));
    fs::create_dir_all(data.join("test")).unwrap();
    let image = Picture { height: 56, width: 28, channels: 1, bytes: vec![200; 56 * 28] };
    image.save_png(&data.join("test/b.png"), &[]).unwrap();
    let run = trained("plain");
    let start = ["denoise", "--checkpoint", text(&run), "--steps", "2", "--count", "1", "--out", text(&out)];
    let edit = |data: &Path, options: &[&str]| command(EDIT, &[&start[..], &["--data", text(data)], options].concat());
    let first_pixel = |options: &[&str]| {
        let told = messages(edit(&data, options));
        assert!(told.contains("56x28 pixels") && told.contains("to 28x28"), "{told}");
        cells(&out, [1, 3])[0][0][0]
    };
    assert_eq!([first_pixel(&[]), first_pixel(&["--resize", "pad"])], [200, 0]);
    fs::write(data.join("test/a.png"), b"").unwrap();
    fails(edit(&data, &[]), 1, &["a.png", "is empty", "--skip-damaged"]);
    let told = messages(edit(&data, &["--skip-damaged"]));
    assert!(told.contains("1 damaged file") && told.contains("a.png"), "{told}");
    fails(edit(&mnist(), &["--skip-damaged"]), 1, &["--skip-damaged has no effect here"]);
    fails(edit(&mnist(), &["--resize", "crop"]), 1, &["--resize has no effect here"]);
    let png = data.join("test/b.png");
    let of_file = |task: &str, option: &[&str]| {
        let start = [task, "--checkpoint", text(&run), "--out", text(&out), "--image", text(&png)];
        let mask: &[&str] = if task == "inpaint" { &["--mask", "docs/gallery/mask.png"] } else { &[] };
        fails(command(EDIT, &[&start[..], mask, option].concat()), 2, &["--image", option[0]]);
    };
    for task in ["denoise", "inpaint"] {
        for option in [&["--data", text(&data)][..], &["--resize", "pad"], &["--skip-damaged"]] {
            of_file(task, option);
        }
    }
}

#[test]
fn edit_denoise_takes_png_files() {
    let folder = TempDir::new().unwrap();
    let run = trained("ddpm");
    let image = |name: &str, value: u8| {
        let path = folder.path().join(name);
        let bytes = (0..784).map(|i| if i % 28 < 14 { value } else { 0 }).collect();
        Picture { height: 28, width: 28, channels: 1, bytes }.save_png(&path, &[]).unwrap();
        path
    };
    let (a, b) = (image("a.png", 100), image("b.png", 200));
    let out = folder.path().join("out.png");
    let start = ["denoise", "--checkpoint", text(&run), "--steps", "2", "--out", text(&out), "--image"];
    let files = [text(&a), text(&b)];
    let printed = succeeds(command(EDIT, &[&start[..], &files, &["--class", "4"]].concat()));
    assert!(printed.contains(&format!("{}: root mean", files[1])), "{printed}");
    let rows = cells(&out, [2, 3]);
    assert_eq!([rows[0][0][0], rows[1][0][0]], [100, 200]);
    let told = messages(command(EDIT, &[&start[..], &files, &["--guidance", "0"]].concat()));
    assert!(told.contains("2 images, 1 step, on"), "{told}");

    let refused = |options: &[&str], parts: &[&str]| {
        fails(command(EDIT, &[&start[..], options].concat()), 1, parts);
    };
    refused(&files, &["--image", "class", "--class with one of 0, 1, 2", "--guidance 0"]);
    refused(&["Cargo.toml", "--class", "4"], &["Cargo.toml", "PNG"]);
    refused(&["/nowhere.png", "--class", "4"], &["/nowhere.png"]);
    let before = fs::read(&a).unwrap();
    let start = ["denoise", "--checkpoint", text(&run), "--out", files[0], "--class", "4", "--image"];
    fails(command(EDIT, &[&start[..], &files].concat()), 1, &["a.png", "is an input"]);
    assert!(fs::read(&a).unwrap() == before);
    for option in [["--data", "x"], ["--first", "1"], ["--count", "3"]] {
        fails(command(EDIT, &[&start[..], &files, &option].concat()), 2, &["--image", option[0]]);
    }
}

#[test]
fn edit_denoise_refuses_options_that_do_not_fit() {
    let mnist = mnist();
    let refuses = |preset: &str, options: &[&str], parts: &[&str]| {
        let options = [&["--data", text(&mnist)], options].concat();
        refuses(EDIT, &["denoise"], &trained(preset), &options, parts);
    };
    refuses("ddpm", &["--strength", "0"], &["--strength 0", "above 0"]);
    refuses("ddpm", &["--strength", "-1"], &["--strength -1", "above 0"]);
    refuses("ddpm", &["--strength", "1.5"], &["--strength 1.5", "at most 1"]);
    refuses("ddpm", &["--strength", "0.1", "--steps", "4"], &["--strength 0.1", "4 steps", "0.25"]);
    refuses("ddpm", &["--every", "0"], &["--every 0", "use 1 to"]);
    refuses("ddpm", &["--every", "3", "--steps", "4"], &["--every 3", "2 steps", "use 1 to 2"]);
    refuses("ddpm", &["--count", "0"], &["--count must be at least 1"]);
    refuses("ddpm", &["--first", "10000"], &["--first 10000", "10000 test images"]);
    refuses("ddpm", &["--class", "3", "--guidance", "0"], &["--class 3 has no effect"]);
    refuses("ddpm", &["--sampler", "midpoint"], &["midpoint", "flow matching"]);
    refuses("ddpm", &["--steps", "51"], &["51 sampling steps", "1 to 50"]);
    refuses("flow", &["--spacing", "trailing"], &["--spacing has no effect"]);
    refuses("flow", &["--sampler", "ode"], &["ode", "use --sampler with one of euler, heun, midpoint"]);
    refuses("ddpm", &["--out", "/tmp/x.gif"], &["/tmp/x.gif", "must end in .png"]);
    refuses("vae", &[], &["not a denoiser"]);
}
