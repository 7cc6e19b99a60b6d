//! Decodes a folder of photographs, and compares with the crate `image` on one thread.
//!
//!     cargo bench --bench decode
//!
//! 300 JPEG files of 1024 x 768 pixels are made in a temporary folder. `image` decodes them one
//! after another, without resizing. `degrain` decodes and resizes them with all cores, with and
//! without a cache file, and reads the cache file. Each is timed three times, in turns.

use degrain::data::{Dataset, LoadOptions, Split, load_with};
use image::RgbImage;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

const FILES: u32 = 300;
const ROUNDS: usize = 3;

/// A smooth picture with some texture, which JPEG compresses like a photograph.
fn photograph(number: u32) -> RgbImage {
    RgbImage::from_fn(1024, 768, |x, y| {
        let texture = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ number) >> 27;
        image::Rgb([(x / 5 + texture) as u8, (y / 4 + texture) as u8, ((x + y) / 9 + number + texture) as u8])
    })
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn load(folder: &Path, cache: Option<PathBuf>) -> Dataset {
    let options = LoadOptions { cache, ..LoadOptions::default() };
    load_with(folder, Split::Train, &options).expect("the images were just written")
}

fn main() {
    let (folder, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let paths: Vec<PathBuf> = (0..FILES).map(|number| folder.path().join(format!("{number}.jpg"))).collect();
    paths.iter().enumerate().for_each(|(i, path)| photograph(i as u32).save(path).expect("room on the disk"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let megabytes = paths.iter().map(|path| fs::metadata(path).map_or(0, |data| data.len())).sum::<u64>() as f64 * 1e-6;
    println!("{FILES} JPEG files of 1024 x 768 pixels, {megabytes:.0} MB, {cores} cores");
    let mut times: [Vec<f64>; 4] = std::array::from_fn(|_| vec![]);
    for round in 0..ROUNDS {
        let one_thread = || paths.iter().for_each(|path| drop(black_box(image::open(path).expect("a JPEG"))));
        times[0].push(seconds(one_thread));
        times[1].push(seconds(|| drop(black_box(load(folder.path(), None)))));
        let place = cache.path().join(round.to_string());
        times[2].push(seconds(|| drop(black_box(load(folder.path(), Some(place.clone()))))));
        times[3].push(seconds(|| drop(black_box(load(folder.path(), Some(place))))));
    }
    let names =
        ["image, one thread", "degrain, in memory", "degrain, into a cache file", "degrain, from the cache file"];
    let mut baseline = None;
    for (name, mut times) in names.into_iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let rate = f64::from(FILES) / times[ROUNDS / 2];
        let ideal = *baseline.get_or_insert(rate) * cores as f64;
        println!("{name:30} {rate:8.1} images/s   {:.2} of one thread x cores", rate / ideal);
    }
}
