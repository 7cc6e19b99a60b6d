//! Labels in the shares of the classes of a data set.

/// Labels for `count` images, such that the classes have the shares of `counts` among the first n
/// labels of any n, to within one image. Each label is the class that is furthest behind its share,
/// and equal shares give all classes in turn.
///
/// ```
/// # use degrain::data::proportional_labels;
/// assert_eq!(proportional_labels(&[5, 5], 4), [0, 1, 0, 1]);
/// assert_eq!(proportional_labels(&[30, 10], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
/// assert_eq!(proportional_labels(&[0, 7], 2), [1, 1]);
/// ```
pub fn proportional_labels(counts: &[u64], count: u32) -> Vec<u32> {
    let total: u128 = counts.iter().map(|&count| u128::from(count)).sum();
    let mut given = vec![0u128; counts.len()];
    let mut next = |number: u32| {
        // counts (number + 1) / total - given, multiplied by the total.
        let behind = |class: usize| {
            (u128::from(counts[class]) * u128::from(number + 1)) as i128 - (given[class] * total) as i128
        };
        // The first of the largest.
        let class = (0..counts.len()).rev().max_by_key(|&class| behind(class)).unwrap_or(0);
        if let Some(given) = given.get_mut(class) {
            *given += 1;
        }
        class as u32
    };
    (0..count).map(&mut next).collect()
}

#[cfg(test)]
mod tests {
    use super::proportional_labels;

    #[test]
    fn labels_have_the_shares_of_the_classes_to_within_one() {
        let counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949];
        let total: u64 = counts.iter().sum();
        let labels = proportional_labels(&counts, 2000);
        for n in 1..=labels.len() {
            for (class, &count) in counts.iter().enumerate() {
                let found = labels[..n].iter().filter(|&&label| label == class as u32).count() as f64;
                let expected = n as f64 * count as f64 / total as f64;
                assert!((found - expected).abs() <= 1.0, "{class} {n}: {found} {expected}");
            }
        }
        assert!(proportional_labels(&[], 2) == [0, 0] && proportional_labels(&[0, 0], 2) == [0, 0]);
        assert!(proportional_labels(&[1; 10], 30).into_iter().eq((0..30).map(|k| k % 10)));
    }
}
