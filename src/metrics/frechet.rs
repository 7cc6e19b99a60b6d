//! Frechet distance of two sets of features, each modeled by a Gaussian. With the features of
//! Inception it is the FID (Heusel et al. 2017, "GANs trained by a two time-scale update rule
//! converge to a local Nash equilibrium").
//!
//! The distance of finite sets is biased upward, more so for fewer images. Compare only distances
//! of equal counts.

use super::rows;
use crate::{Error, Result};
use nalgebra::{DMatrix, DVector};

/// Rows whose products are summed at once. It bounds the memory of a covariance.
const BLOCK: usize = 2048;

/// Mean and covariance of a set of features.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// The mean, `[width]`.
    pub mean: DVector<f64>,
    /// The covariance, `[width, width]`, symmetric.
    pub covariance: DMatrix<f64>,
    /// Number of images.
    pub count: usize,
}

impl Gaussian {
    /// The mean of features `[count, width]` and their covariance with the divisor count - 1, as
    /// `numpy.cov` computes it.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than width + 1 images, because their covariance is singular;
    /// [`Error::NonFinite`] for features that are not finite.
    ///
    /// # Panics
    /// If the features are not a whole number of rows.
    #[track_caller]
    pub fn fit(features: &[f32], width: usize) -> Result<Gaussian> {
        let count = rows::finite(features, width)?;
        check_count(count, "images", width)?;
        let mut mean = DVector::zeros(width);
        for row in features.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        mean /= count as f64;
        let mut covariance = DMatrix::zeros(width, width);
        for block in features.chunks(BLOCK * width) {
            let mut centered = rows::widen(block);
            centered.chunks_exact_mut(width).for_each(|row| row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean));
            let columns = rows::columns(&centered, width);
            covariance.gemm(1.0 / (count - 1) as f64, &columns, &columns.transpose(), 1.0);
        }
        Ok(Gaussian { mean, covariance, count })
    }
}

/// The squared Frechet distance of two Gaussians (Dowson and Landau 1982, "The Frechet distance
/// between multivariate normal distributions", eq. 4; Heusel et al. 2017, eq. 6):
///
/// ```text
/// |m - m'|² + tr(C) + tr(C') - 2 tr((C^½ C' C^½)^½)
/// ```
///
/// Covariances may be singular. With C = FᵀF and C' = GᵀG, the last trace is the sum of the square
/// roots of the eigenvalues of F Gᵀ (F Gᵀ)ᵀ. The factors F and G leave out directions in which a
/// distribution has no extent, because a square root would magnify their rounding errors. A
/// distance that rounding makes negative counts as 0. The distance of equal Gaussians is exactly 0.
///
/// ```
/// use degrain::metrics::frechet::{Gaussian, frechet_distance};
///
/// // Three images with one feature each; the second set is shifted by 1.
/// let a = Gaussian::fit(&[0.0, 1.0, 2.0], 1)?;
/// let b = Gaussian::fit(&[1.0, 2.0, 3.0], 1)?;
/// assert_eq!(frechet_distance(&a, &a)?, 0.0);
/// assert!((frechet_distance(&a, &b)? - 1.0).abs() < 1e-12);
/// # Ok::<(), degrain::Error>(())
/// ```
///
/// # Errors
/// [`Error::NonFinite`] for a mean or a covariance that is not finite.
///
/// # Panics
/// If the Gaussians have different widths.
#[track_caller]
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    assert_eq!(a.covariance.shape(), b.covariance.shape(), "Gaussians of the same features");
    let finite = |x: &Gaussian| x.mean.iter().chain(&x.covariance).all(|x| x.is_finite());
    if !finite(a) || !finite(b) {
        return Err(Error::NonFinite("the mean or covariance of the features is not finite".into()));
    }
    if a.mean == b.mean && a.covariance == b.covariance {
        return Ok(0.0);
    }
    let means = (&a.mean - &b.mean).norm_squared();
    let traces = a.covariance.trace() + b.covariance.trace();
    Ok((means + traces - 2.0 * overlap(&factor(&a.covariance), &factor(&b.covariance))).max(0.0))
}

/// F of a covariance FᵀF, `[rank, width]`.
fn factor(covariance: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = covariance.clone().symmetric_eigen();
    // Rounding turns an eigenvalue of zero into a small number of either sign.
    let zero = covariance.nrows() as f64 * f64::EPSILON * eigen.eigenvalues.amax();
    let extents = eigen.eigenvalues.iter().zip(eigen.eigenvectors.column_iter()).filter(|(value, _)| **value > zero);
    let rows: Vec<_> = extents.map(|(value, vector)| vector.transpose() * value.sqrt()).collect();
    if rows.is_empty() { DMatrix::zeros(0, covariance.ncols()) } else { DMatrix::from_rows(&rows) }
}

/// tr((C^½ C' C^½)^½) of two covariances, given their factors.
fn overlap(f: &DMatrix<f64>, g: &DMatrix<f64>) -> f64 {
    // The smaller of the two possible squares has fewer zero eigenvalues.
    let (few, many) = if f.nrows() <= g.nrows() { (f, g) } else { (g, f) };
    if few.is_empty() {
        return 0.0;
    }
    let product = few * many.transpose();
    let square = &product * product.transpose();
    square.symmetric_eigenvalues().iter().map(|x| x.max(0.0).sqrt()).sum()
}

/// Checks that there are enough images for the covariance of `width` features. `images` says which
/// they are, such as "test images".
///
/// # Errors
/// [`Error::Config`] for fewer than width + 1 images.
pub fn check_count(count: usize, images: &str, width: usize) -> Result<()> {
    if count > width {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the Frechet distance of {width} features needs at least {} {images}, and there are {count}",
        width + 1
    )))
}
