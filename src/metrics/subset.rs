//! Random rows: subsets, for metrics that cannot afford all rows, and resampled rows.
//!
//! The first rows are no substitute, because data sets are rarely in random order: MNIST's training
//! images alternate between two groups of writers, and its first test images are the clean ones.

use crate::rng::{key, philox};
use crate::tape::stream;
use std::collections::BTreeMap;

/// `size` different rows out of `count`, or all of them if `count` is smaller: the first rows of a
/// shuffle (Fisher and Yates; Durstenfeld 1964, algorithm 235). `id` distinguishes the subsets of
/// one seed.
pub fn subset(count: usize, size: usize, id: [u32; 2], seed: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..count).collect();
    let size = size.min(count);
    for i in 0..size {
        rows.swap(i, i + draw(count - i, i, id, seed));
    }
    rows.truncate(size);
    rows
}

/// For each row, a row drawn from all rows of the same class, with replacement. `id` distinguishes the
/// draws of one seed.
pub fn resample(classes: &[u32], id: [u32; 2], seed: u64) -> Vec<usize> {
    let mut of_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    classes.iter().enumerate().for_each(|(row, class)| of_class.entry(*class).or_default().push(row));
    let drawn = |(i, class): (usize, &u32)| {
        let rows = &of_class[class];
        rows[draw(rows.len(), i, id, seed)]
    };
    classes.iter().enumerate().map(drawn).collect()
}

/// The draw number `i` of a number below `count`: uniform up to one part in 2^32 / count.
fn draw(count: usize, i: usize, id: [u32; 2], seed: u64) -> usize {
    let word = philox([stream::SUBSET, id[0], id[1], i as u32], key(seed))[0];
    ((u64::from(word) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::{resample, subset};

    #[test]
    fn resampled_rows_are_drawn_equally_often_from_their_class() {
        let classes = [3, 0, 3, 3, 0];
        let (mut times, draws) = ([0_u32; 5], 3000);
        for number in 0..draws {
            let rows = resample(&classes, [number, 0], 1);
            assert!(rows.iter().zip(classes).all(|(&row, class)| classes[row] == class), "{rows:?}");
            rows.into_iter().for_each(|row| times[row] += 1);
        }
        // Each row is drawn once on average. Five standard deviations, of at most 1 a draw.
        let allowed = 5.0 * f64::from(draws).sqrt();
        assert!(times.iter().all(|&n| (f64::from(n) - f64::from(draws)).abs() < allowed), "{times:?}");
        assert_ne!(resample(&[0; 9], [0, 0], 1), resample(&[0; 9], [1, 0], 1));
    }

    #[test]
    fn subset_takes_each_row_equally_often_and_at_most_once() {
        let (count, size, subsets) = (20, 6, 5000);
        let mut times = vec![0_u32; count];
        for number in 0..subsets {
            let mut rows = subset(count, size, [number, 0], 1);
            rows.iter().for_each(|&row| times[row] += 1);
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), size);
        }
        // Five standard deviations of a binomial count.
        let mean = f64::from(subsets) * 0.3;
        let allowed = 5.0 * (f64::from(subsets) * 0.3 * 0.7).sqrt();
        assert!(times.iter().all(|&n| (f64::from(n) - mean).abs() < allowed), "{times:?}");
    }

    #[test]
    fn subset_of_few_rows_is_all_of_them() {
        let mut rows = subset(7, 500, [0, 1], 1);
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
    }
}
