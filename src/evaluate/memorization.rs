//! Memorization: distance of each sample to its nearest training image, compared with the distances
//! of test images.

use super::evaluation::{Memorization, NearestDistances};
use super::quality::Reference;
use super::target::EvalTarget;
use crate::Result;
use crate::data::Dataset;
use crate::metrics::Quantiles;
use crate::metrics::feature_extractor::Features;
use crate::metrics::neighbors::nearest;
use crate::metrics::padding::pixel_value;
use crate::metrics::proportion::Proportion;
use crate::metrics::subset::subset;
use crate::output::grid::grid;
use crate::output::{Images, Layout, Picture};
use crate::ranks::{Communicator, divide};

/// Id of the subsets of samples and test images.
const SUBSET: u32 = 1_002;
/// Values of training images in a block that is converted to f32.
const BLOCK_VALUES: usize = 1 << 24;
/// Number of pairs in the image of the closest pairs.
const PAIRS: usize = 16;

/// The samples of an evaluation.
pub(super) struct SampleFeatures<'a> {
    /// Bytes `[N, C, H, W]`.
    pub bytes: &'a [u8],
    /// Features of these samples.
    pub features: &'a Features,
}

/// Distances of `count` samples and of `count` test images to their nearest training images. Also
/// returns an image of the closest pairs by pixel distance: each column shows a sample above its
/// nearest training image.
///
/// # Errors
/// As [`divide`].
pub(super) fn memorization(
    ranks: &dyn Communicator,
    samples: SampleFeatures<'_>,
    reference: &Reference,
    target: &EvalTarget,
    count: usize,
) -> Result<(Memorization, Picture)> {
    let train = &target.train;
    let test = &target.test;
    let pixels = train.pixels();
    let sample_rows = subset(samples.features.count(), count, [SUBSET, 0], 0);
    let test_rows = subset(test.count, count, [SUBSET, 0], 0);
    let gather = |bytes: &[u8], rows: &[usize]| -> Vec<u8> {
        rows.iter().flat_map(|&row| &bytes[row * pixels..][..pixels]).copied().collect()
    };
    let sample_bytes = gather(samples.bytes, &sample_rows);
    let test_bytes = gather(&test.images, &test_rows);
    let search = |bytes: &[u8]| -> Result<Vec<(usize, f64)>> {
        // The ranks search the nearest images of some queries each.
        let share = (bytes.len() / pixels).div_ceil(ranks.size()).max(1);
        let queries: Vec<&[u8]> = bytes.chunks(share * pixels).collect();
        let found = divide(ranks, queries.len(), |piece| {
            let pairs = nearest_images(&values(queries[piece]), train);
            Ok(pairs.iter().map(|&(row, distance)| [row as u64, distance.to_bits()]).collect())
        })?;
        Ok(found.iter().map(|&[row, distance]| (row as usize, f64::from_bits(distance))).collect())
    };
    let sample_pairs = search(&sample_bytes)?;
    let test_pairs = search(&test_bytes)?;
    let in_features =
        |set: &Features, rows: &[usize]| nearest(&set.gather(rows), &reference.train.features, reference.train.width);
    let memorization = Memorization {
        pixels: compare(&sample_pairs, &test_pairs),
        features: compare(&in_features(samples.features, &sample_rows), &in_features(&reference.test, &test_rows)),
    };
    Ok((memorization, closest(&sample_bytes, &sample_pairs, train)))
}

fn values(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|&byte| pixel_value(byte)).collect()
}

/// For each query `[N, C, H, W]`, the nearest image of the data set and its distance. The images
/// are converted to f32 block by block, because all of them would need four times their memory.
fn nearest_images(queries: &[f32], data: &Dataset) -> Vec<(usize, f64)> {
    let pixels = data.pixels();
    let images = (BLOCK_VALUES / pixels).max(1);
    let mut all = vec![(0, f64::INFINITY); queries.len() / pixels];
    for (block, bytes) in data.images.chunks(images * pixels).enumerate() {
        for (best, (row, distance)) in all.iter_mut().zip(nearest(queries, &values(bytes), pixels)) {
            // Of several images at the same distance it is the first.
            if distance < best.1 {
                *best = (block * images + row, distance);
            }
        }
    }
    all
}

fn compare(samples: &[(usize, f64)], test: &[(usize, f64)]) -> NearestDistances {
    let distances = |pairs: &[(usize, f64)]| -> Vec<f64> { pairs.iter().map(|(_, distance)| *distance).collect() };
    let samples = distances(samples);
    let test = Quantiles::from_values(&distances(test));
    let near = samples.iter().filter(|&&distance| distance <= test.percentile_1).count();
    NearestDistances {
        samples: Quantiles::from_values(&samples),
        test,
        near_duplicates: Proportion::new(near as u32, samples.len() as u32),
    }
}

fn closest(samples: &[u8], pairs: &[(usize, f64)], train: &Dataset) -> Picture {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|&a, &b| pairs[a].1.total_cmp(&pairs[b].1));
    order.truncate(PAIRS);
    let pixels = train.pixels();
    let above = order.iter().flat_map(|&k| &samples[k * pixels..][..pixels]);
    let below = order.iter().flat_map(|&k| train.image(pairs[k].0));
    let bytes: Vec<u8> = above.chain(below).copied().collect();
    let [channels, height, width] = train.shape().map(|n| n as usize);
    let layout = Layout { columns: order.len(), scale: 2, ..Layout::default() };
    grid(&Images::new(bytes, [2 * order.len(), channels, height, width]), layout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_images_in_blocks_equal_a_search_of_all() {
        // 5 blocks of large images; image 7 is a copy of image 3.
        let pixels = BLOCK_VALUES / 2;
        let levels = [10, 60, 110, 160, 20, 70, 120, 160, 250];
        let images: Vec<u8> = levels.iter().flat_map(|&level| std::iter::repeat_n(level, pixels)).collect();
        let data = Dataset::from_arrays("levels", images, vec![0; levels.len()], [1, 1, pixels as u32]);
        let query = values(&[vec![161; pixels], vec![250; pixels]].concat());
        let found = nearest_images(&query, &data);
        assert_eq!((found[0].0, found[1]), (3, (8, 0.0)));
    }
}
