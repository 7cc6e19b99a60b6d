//! Feature matrices: number of rows, check for NaN, and inner products.
//!
//! The features of `count` images are `count * width` numbers, one row per image.

use crate::{Error, Result};
use nalgebra::{DMatrix, DMatrixView};

/// Number of rows of `width` features.
///
/// # Panics
/// If `features` is not a whole number of rows.
#[track_caller]
pub(super) fn count(features: &[f32], width: usize) -> usize {
    assert!(width > 0 && features.len().is_multiple_of(width), "{} numbers in rows of {width}", features.len());
    features.len() / width
}

/// Number of rows of `width` features, all of which must be finite.
///
/// # Errors
/// [`Error::NonFinite`] names the first image with a feature that is not finite.
///
/// # Panics
/// If `features` is not a whole number of rows.
#[track_caller]
pub(super) fn finite(features: &[f32], width: usize) -> Result<usize> {
    let count = count(features, width);
    match features.iter().position(|x| !x.is_finite()) {
        None => Ok(count),
        Some(at) => Err(Error::NonFinite(format!(
            "feature {} of image {} of {count} is not finite: \
             its pixels or the feature extractor's weights are not finite",
            at % width,
            at / width
        ))),
    }
}

/// Converts to f64.
pub(super) fn widen(features: &[f32]) -> Vec<f64> {
    features.iter().map(|&x| f64::from(x)).collect()
}

/// Inner products of every row of `a` with every row of `b`: `[rows of a, rows of b]`.
///
/// The transpose is copied because nalgebra 0.35 writes out of bounds when it multiplies a view by
/// rows (its issue 1616).
pub(super) fn gram(a: &[f64], b: &[f64], width: usize) -> DMatrix<f64> {
    columns(a, width).transpose() * columns(b, width)
}

/// The rows as columns of a matrix, `[width, rows]`, without a copy: nalgebra stores columns.
pub(super) fn columns(rows: &[f64], width: usize) -> DMatrixView<'_, f64> {
    DMatrixView::from_slice(rows, width, rows.len() / width)
}
