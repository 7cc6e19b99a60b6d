//! Whether drawn images are copies: how far each is from its nearest training image, beside how far test images are.

use super::evaluation::{Memorization, Nearest};
use super::quality::{Reference, taken};
use crate::data::Dataset;
use crate::metrics::Quantiles;
use crate::metrics::balance::Proportion;
use crate::metrics::feature_extractor::Features;
use crate::metrics::neighbors::nearest;
use crate::metrics::padding::scaled;
use crate::metrics::subset::subset;
use crate::output::grid::grid;
use crate::output::{Images, Layout, Picture};

/// Which subset is taken.
const NEAREST: u32 = 1_002;
/// Pairs in the picture.
const PAIRS: usize = 16;

/// The distances of `count` of the drawn images, bytes `[N, C, H, W]`, and of as many test images; and the picture of the pairs that are closest in
/// pixels: in each column an image, and below it its nearest training image.
pub fn memorization(
    drawn: &[u8],
    readings: &Features,
    reference: &Reference,
    [train, test]: [&Dataset; 2],
    count: usize,
) -> (Memorization, Picture) {
    let each = train.pixels();
    let rows = [readings.count(), test.count].map(|all| subset(all, count, [NEAREST, 0], 0));
    let chosen = |bytes: &[u8], rows: &[usize]| -> Vec<u8> {
        rows.iter().flat_map(|&row| &bytes[row * each..][..each]).copied().collect()
    };
    let pixels = |bytes: &[u8]| -> Vec<f32> { bytes.iter().map(|&byte| scaled(byte)).collect() };
    let (some_drawn, some_test) = (chosen(drawn, &rows[0]), chosen(&test.images, &rows[1]));
    let among = pixels(&train.images);
    let [drawn_pairs, test_pairs] = [&some_drawn, &some_test].map(|bytes| nearest(&pixels(bytes), &among, each));
    drop(among);
    let in_features =
        |set: &Features, rows: &[usize]| nearest(&taken(set, rows), &reference.train.features, reference.train.width);
    let memorization = Memorization {
        pixels: compared(&drawn_pairs, &test_pairs),
        features: compared(&in_features(readings, &rows[0]), &in_features(&reference.test, &rows[1])),
    };
    (memorization, closest(&some_drawn, &drawn_pairs, train))
}

fn compared(drawn: &[(usize, f64)], test: &[(usize, f64)]) -> Nearest {
    let distances = |pairs: &[(usize, f64)]| -> Vec<f64> { pairs.iter().map(|(_, distance)| *distance).collect() };
    let (drawn, test) = (distances(drawn), distances(test));
    let quantiles = Quantiles::of(&test);
    let near = drawn.iter().filter(|&&distance| distance <= quantiles.percentile_1).count();
    Nearest {
        drawn: Quantiles::of(&drawn),
        test: quantiles,
        near_duplicates: Proportion::of(near as u32, drawn.len() as u32),
    }
}

fn closest(drawn: &[u8], pairs: &[(usize, f64)], train: &Dataset) -> Picture {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|&a, &b| pairs[a].1.total_cmp(&pairs[b].1));
    order.truncate(PAIRS);
    let each = train.pixels();
    let samples = order.iter().flat_map(|&k| &drawn[k * each..][..each]);
    let originals = order.iter().flat_map(|&k| train.image(pairs[k].0));
    let bytes: Vec<u8> = samples.chain(originals).copied().collect();
    let [channels, height, width] = train.shape().map(|n| n as usize);
    let layout = Layout { columns: order.len(), scale: 2, ..Layout::default() };
    grid(&Images::new(bytes, [2 * order.len(), channels, height, width]), layout)
}
