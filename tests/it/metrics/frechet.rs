use super::{WIDTH, close, expected, features, normal, numbers, refusal};
use degrain::metrics::frechet::{Gaussian, frechet_distance};
use nalgebra::{DMatrix, DVector};

fn gaussian(name: &str) -> Gaussian {
    Gaussian::fit(&features(name), WIDTH).unwrap()
}

#[test]
fn gaussian_matches_numpy() {
    let a = gaussian("a");
    assert_eq!(a.count, 200);
    let largest = a.covariance.amax();
    for (got, expected) in a.mean.iter().zip(numbers(&expected("mean"))) {
        assert!((got - expected).abs() < 1e-14, "{got} instead of {expected}");
    }
    for (got, expected) in a.covariance.iter().zip(numbers(&expected("covariance"))) {
        assert!((got - expected).abs() < 1e-14 * largest, "{got} instead of {expected}");
    }
}

#[test]
fn gaussian_of_several_blocks_matches_the_definition() {
    let (count, width) = (5000, 3);
    let set: Vec<f32> =
        normal(count * width, 1).iter().enumerate().map(|(i, x)| x + 0.3 * (i % width) as f32).collect();
    let gaussian = Gaussian::fit(&set, width).unwrap();
    let n = count as f64;
    for i in 0..width {
        let column = |i: usize| set.iter().skip(i).step_by(width).map(|x| f64::from(*x));
        let mean = |i: usize| column(i).sum::<f64>() / n;
        close(gaussian.mean[i], mean(i), 1e-12);
        for j in 0..width {
            let products: f64 = column(i).zip(column(j)).map(|(x, y)| (x - mean(i)) * (y - mean(j))).sum();
            assert!((gaussian.covariance[(i, j)] - products / (n - 1.0)).abs() < 1e-13);
        }
    }
}

#[test]
fn frechet_distance_matches_scipy() {
    let distance = frechet_distance(&gaussian("a"), &gaussian("b")).unwrap();
    close(distance, expected("frechet").as_f64().unwrap(), 1e-9);
    close(frechet_distance(&gaussian("b"), &gaussian("a")).unwrap(), distance, 1e-9);
}

/// Constant and equal features make covariances singular. The rounding errors of their zero
/// eigenvalues would show in the eighth digit.
#[test]
fn frechet_distance_of_singular_covariances_matches_scipy() {
    let [a, b] = ["a_singular", "b_singular"].map(gaussian);
    for distance in [frechet_distance(&a, &b), frechet_distance(&b, &a)] {
        close(distance.unwrap(), expected("frechet_singular").as_f64().unwrap(), 1e-11);
    }
}

/// If the covariances commute, the trace of the root is the sum of the square roots of products of
/// eigenvalues.
#[test]
fn frechet_distance_of_commuting_covariances_has_a_closed_form() {
    let known = |mean: [f64; 3], stds: [f64; 3]| {
        let rotation = nalgebra::Rotation3::from_euler_angles(0.3, -0.8, 1.9);
        let rotation = DMatrix::from_column_slice(3, 3, rotation.matrix().as_slice());
        let variances = DMatrix::from_diagonal(&DVector::from_iterator(3, stds.iter().map(|x| x * x)));
        let covariance = &rotation * variances * rotation.transpose();
        Gaussian { mean: DVector::from_row_slice(&mean), covariance, count: 4 }
    };
    let distance = |a: &Gaussian, b: &Gaussian| frechet_distance(a, b).unwrap();
    let a = known([1.0, 0.0, -2.0], [1.0, 2.0, 3.0]);
    let b = known([0.0, 0.5, -2.0], [4.0, 1.5, 0.5]);
    close(distance(&a, &b), 1.25 + 9.0 + 0.25 + 6.25, 1e-12);
    // The distance between a point and a Gaussian is the distance of the means plus the variance.
    let point = known([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]);
    close(distance(&a, &point), 5.0 + 14.0, 1e-12);
}

#[test]
fn frechet_distance_of_equal_sets_is_zero() {
    // Without a shortcut for equal Gaussians, rounding would make about half of these nonzero.
    for seed in 0..20 {
        let set = Gaussian::fit(&normal(40 * 8, seed), 8).unwrap();
        assert_eq!(frechet_distance(&set, &set.clone()).unwrap(), 0.0);
    }
    let a = gaussian("a");
    // The same images in another order differ only by rounding.
    let reversed: Vec<f32> = features("a").chunks_exact(WIDTH).rev().flatten().copied().collect();
    let reversed = Gaussian::fit(&reversed, WIDTH).unwrap();
    assert_ne!(reversed, a);
    let distance = frechet_distance(&a, &reversed).unwrap();
    assert!((0.0..1e-10 * a.covariance.trace()).contains(&distance), "{distance}");
}

#[test]
fn gaussian_needs_more_images_than_features() {
    let few = &features("a")[..WIDTH * WIDTH];
    let message = refusal(Gaussian::fit(few, WIDTH));
    assert!(message.contains("at least 17 images") && message.contains("there are 16"), "{message}");
    assert!(Gaussian::fit(&features("a")[..(WIDTH + 1) * WIDTH], WIDTH).is_ok());
}

#[test]
fn frechet_distance_of_nan_is_an_error() {
    let mut set = features("a");
    set[35] = f32::NAN;
    let message = refusal(Gaussian::fit(&set, WIDTH));
    assert!(message.contains("feature 3 of image 2 of 200 is not finite"), "{message}");
    let mut broken = gaussian("a");
    broken.covariance[(1, 2)] = f64::INFINITY;
    assert!(refusal(frechet_distance(&gaussian("a"), &broken)).contains("not finite"));
}
