use super::{WIDTH, close, expected, features, normal, numbers, refusal};
use degrain::metrics::frechet::{Gaussian, frechet_distance};
use nalgebra::{DMatrix, DVector};

fn gaussian(name: &str) -> Gaussian {
    Gaussian::of(&features(name), WIDTH).unwrap()
}

#[test]
fn moments_are_those_of_numpy() {
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
fn moments_of_many_images_are_those_of_all_blocks() {
    let (count, width) = (5000, 3);
    let set: Vec<f32> =
        normal(count * width, 1).iter().enumerate().map(|(i, x)| x + 0.3 * (i % width) as f32).collect();
    let gaussian = Gaussian::of(&set, width).unwrap();
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
fn distance_is_that_of_scipy() {
    let distance = frechet_distance(&gaussian("a"), &gaussian("b")).unwrap();
    close(distance, expected("frechet").as_f64().unwrap(), 1e-9);
    close(frechet_distance(&gaussian("b"), &gaussian("a")).unwrap(), distance, 1e-9);
}

/// Constant and equal features make covariances singular. What rounding leaves of their zero eigenvalues would show in the eighth digit.
#[test]
fn singular_covariances_are_no_trouble() {
    let [a, b] = ["a_singular", "b_singular"].map(gaussian);
    for distance in [frechet_distance(&a, &b), frechet_distance(&b, &a)] {
        close(distance.unwrap(), expected("frechet_singular").as_f64().unwrap(), 1e-11);
    }
}

/// Covariances that commute: the trace of the root is the sum of the roots of the eigenvalues' products.
#[test]
fn distance_of_known_gaussians_is_its_closed_form() {
    let known = |mean: [f64; 3], deviations: [f64; 3]| {
        let rotation = nalgebra::Rotation3::from_euler_angles(0.3, -0.8, 1.9);
        let rotation = DMatrix::from_column_slice(3, 3, rotation.matrix().as_slice());
        let variances = DMatrix::from_diagonal(&DVector::from_iterator(3, deviations.iter().map(|x| x * x)));
        let covariance = &rotation * variances * rotation.transpose();
        Gaussian { mean: DVector::from_row_slice(&mean), covariance, count: 4 }
    };
    let distance = |a: &Gaussian, b: &Gaussian| frechet_distance(a, b).unwrap();
    let a = known([1.0, 0.0, -2.0], [1.0, 2.0, 3.0]);
    let b = known([0.0, 0.5, -2.0], [4.0, 1.5, 0.5]);
    close(distance(&a, &b), 1.25 + 9.0 + 0.25 + 6.25, 1e-12);
    // The distance of a point from a Gaussian is that of the means, and the variance.
    let point = known([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]);
    close(distance(&a, &point), 5.0 + 14.0, 1e-12);
}

#[test]
fn equal_sets_have_no_distance() {
    // Computed, every other one of these would be off by rounding.
    for seed in 0..20 {
        let set = Gaussian::of(&normal(40 * 8, seed), 8).unwrap();
        assert_eq!(frechet_distance(&set, &set.clone()).unwrap(), 0.0);
    }
    let a = gaussian("a");
    // The same images in another order differ by rounding.
    let reversed: Vec<f32> = features("a").chunks_exact(WIDTH).rev().flatten().copied().collect();
    let reversed = Gaussian::of(&reversed, WIDTH).unwrap();
    assert_ne!(reversed, a);
    let distance = frechet_distance(&a, &reversed).unwrap();
    assert!((0.0..1e-10 * a.covariance.trace()).contains(&distance), "{distance}");
}

#[test]
fn a_covariance_needs_more_images_than_features() {
    let few = &features("a")[..WIDTH * WIDTH];
    let message = refusal(Gaussian::of(few, WIDTH));
    assert!(message.contains("at least 17 images") && message.contains("here are 16"), "{message}");
    assert!(Gaussian::of(&features("a")[..(WIDTH + 1) * WIDTH], WIDTH).is_ok());
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let mut set = features("a");
    set[35] = f32::NAN;
    let message = refusal(Gaussian::of(&set, WIDTH));
    assert!(message.contains("feature 3 of image 2 of 200 is not finite"), "{message}");
    let mut broken = gaussian("a");
    broken.covariance[(1, 2)] = f64::INFINITY;
    assert!(refusal(frechet_distance(&gaussian("a"), &broken)).contains("not finite"));
}
