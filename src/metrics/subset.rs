//! Which rows of a set are taken where not all can be. At random and never the first: data sets are seldom in an order without meaning (the writers
//! of MNIST's training images alternate between two groups, and its first test images are the clean ones).

use crate::rng::{key, philox};
use crate::tape::stream;

/// Some of `count` rows, or all if there are no more, without repetition: the first of a shuffle (Fisher and Yates; Durstenfeld 1964). The two
/// numbers say which subset of a seed it is.
pub fn subset(count: usize, some: usize, [first, second]: [u32; 2], seed: u64) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..count).collect();
    let some = some.min(count);
    for i in 0..some {
        let word = philox([stream::SUBSET, first, second, i as u32], key(seed))[0];
        // A word scaled to the rows that are left: uniform to one part in 2^32 / count.
        rows.swap(i, i + ((u64::from(word) * (count - i) as u64) >> 32) as usize);
    }
    rows.truncate(some);
    rows
}

#[cfg(test)]
mod tests {
    use super::subset;

    #[test]
    fn rows_are_chosen_without_repetition_and_equally_often() {
        let (count, some, subsets) = (20, 6, 5000);
        let mut times = vec![0_u32; count];
        for number in 0..subsets {
            let mut rows = subset(count, some, [number, 0], 1);
            rows.iter().for_each(|&row| times[row] += 1);
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), some);
        }
        // Five standard deviations of a binomial count.
        let (mean, allowed) = (f64::from(subsets) * 0.3, 5.0 * (f64::from(subsets) * 0.3 * 0.7).sqrt());
        assert!(times.iter().all(|&n| (f64::from(n) - mean).abs() < allowed), "{times:?}");
    }

    #[test]
    fn of_few_rows_all_are_chosen() {
        let mut rows = subset(7, 500, [0, 1], 1);
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
    }
}
