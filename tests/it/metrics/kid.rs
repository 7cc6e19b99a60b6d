use super::{WIDTH, close, expected, features, normal, refusal};
use degrain::metrics::kid::{SUBSET_SIZE, kernel_inception_distance, squared_mmd};

#[test]
fn squared_mmd_matches_scikit_learn() {
    let value = squared_mmd(&features("a"), &features("b"), WIDTH);
    close(value, expected("squared_mmd").as_f64().unwrap(), 1e-10);
}

/// Sets of several blocks, compared with the definition.
#[test]
fn squared_mmd_of_several_blocks_matches_the_definition() {
    let width = 7;
    let (a, b) = (normal(1100 * width, 1), normal(600 * width, 2));
    let kernel = |x: &[f32], y: &[f32]| {
        let product: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        (product / width as f64 + 1.0).powi(3)
    };
    let mean = |a: &[f32], b: &[f32], same: bool| {
        let pairs = a.chunks(width).enumerate().flat_map(|(i, x)| b.chunks(width).enumerate().map(move |y| (i, x, y)));
        let (sum, count) = pairs
            .filter(|(i, _, (j, _))| !same || i != j)
            .fold((0.0, 0.0), |(sum, count), (_, x, (_, y))| (sum + kernel(x, y), count + 1.0));
        sum / count
    };
    let definition = mean(&a, &a, true) + mean(&b, &b, true) - 2.0 * mean(&a, &b, false);
    assert!((squared_mmd(&a, &b, width) - definition).abs() < 1e-11, "{definition}");
}

/// For equal distributions the unbiased estimate is negative as often as positive. The biased one
/// is always positive.
#[test]
fn squared_mmd_of_equal_distributions_is_zero_on_average() {
    let width = 4;
    let values: Vec<f64> =
        (0..200).map(|i| squared_mmd(&normal(20 * width, 2 * i + 1), &normal(20 * width, 2 * i + 2), width)).collect();
    let mean = degrain::metrics::Estimate::from_values(&values);
    assert!(mean.value.abs() < 4.0 * mean.error, "{mean:?}");
}

#[test]
fn kid_of_small_sets_uses_the_whole_sets() {
    let (a, b) = (features("a"), features("b"));
    let distance = kernel_inception_distance(&a, &b, WIDTH, 3).unwrap();
    close(distance.value, squared_mmd(&a, &b, WIDTH), 1e-10);
    assert!(distance.error < 1e-12, "{distance:?}");
}

#[test]
fn kid_of_large_sets_depends_on_the_seed_and_estimates_the_whole_sets() {
    let width = 4;
    let a = normal(3 * SUBSET_SIZE * width, 1);
    let b: Vec<f32> = normal(3 * SUBSET_SIZE * width, 2).iter().map(|x| 1.1 * x).collect();
    let distance = |seed| kernel_inception_distance(&a, &b, width, seed).unwrap();
    assert_eq!(distance(1), distance(1));
    let all = squared_mmd(&a, &b, width);
    for seed in [1, 2, 1 << 40] {
        let distance = distance(seed);
        assert!(
            distance.error > 0.0 && (distance.value - all).abs() < 4.0 * distance.error,
            "{distance:?} instead of {all}"
        );
    }
    assert_ne!(distance(1), distance(2));
    assert_ne!(distance(1), distance(1 | 1 << 40));
}

#[test]
fn kid_of_too_few_images_or_nan_is_an_error() {
    let set = normal(40, 1);
    assert!(refusal(kernel_inception_distance(&set, &set[..4], 4, 0)).contains("the sets have 10 and 1"));
    let mut broken = set.clone();
    broken[7] = f32::INFINITY;
    assert!(refusal(kernel_inception_distance(&set, &broken, 4, 0)).contains("feature 3 of image 1 of 10"));
}
