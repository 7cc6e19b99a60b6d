//! Interpolation between two noises.

use crate::rng::{key, normal4, philox};
use crate::tape::stream;

/// Spherical interpolation: the noise at `share` (0 to 1) of the great circle from `a` to `b`
/// (Shoemake 1985; Song et al. 2021a, appendix D.5). It keeps the norm that a model expects of
/// noise. On a straight line, the norm is too small in the middle.
///
/// # Panics
/// If `a` and `b` differ in length.
#[track_caller]
pub fn spherical(a: &[f32], b: &[f32], share: f64) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "two noises of different sizes");
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let angle = (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).clamp(-1.0, 1.0).acos();
    let (of_a, of_b) = if angle < 1e-6 {
        (1.0 - share, share)
    } else {
        (((1.0 - share) * angle).sin() / angle.sin(), (share * angle).sin() / angle.sin())
    };
    a.iter().zip(b).map(|(a, b)| (of_a * f64::from(*a) + of_b * f64::from(*b)) as f32).collect()
}

/// The noise N(0, 1) of image `number` of a seed. It equals the noise that the device draws, up to
/// rounding.
pub fn initial_noise(seed: u64, number: u32, pixels: usize) -> Vec<f32> {
    let normal = |i: usize| normal4(philox([stream::SAMPLE, 0, number, i as u32 / 4], key(seed)))[i % 4];
    (0..pixels).map(|i| normal(i) as f32).collect()
}

/// Interpolated noises N(0, 1) `[rows, columns, pixels]`. Row r goes from the noise of image 2 r of
/// the seed to that of image 2 r + 1.
pub fn rows([rows, columns]: [u32; 2], seed: u64, pixels: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity((rows * columns) as usize * pixels);
    for row in 0..rows {
        let a = initial_noise(seed, 2 * row, pixels);
        let b = initial_noise(seed, 2 * row + 1, pixels);
        for column in 0..columns {
            all.extend(spherical(&a, &b, f64::from(column) / f64::from(columns.max(2) - 1)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::spherical;

    #[test]
    fn spherical_keeps_the_ends_and_the_length() {
        let (a, b) = ([1.0, 0.0, 0.0], [0.0, 0.6, 0.8]);
        assert_eq!(spherical(&a, &b, 0.0), a);
        for (x, y) in spherical(&a, &b, 1.0).iter().zip(b) {
            assert!((x - y).abs() < 1e-6);
        }
        for k in 0..=10 {
            let x = spherical(&a, &b, f64::from(k) / 10.0);
            assert!((x.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert_eq!(spherical(&a, &a, 0.3), a);
    }
}
