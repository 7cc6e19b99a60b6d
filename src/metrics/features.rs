//! Rows of features: how many there are, whether they are numbers, and their inner products.
//!
//! A set of `count` images is `count · width` numbers, one image's features after another's.

use crate::{Error, Result};
use nalgebra::{DMatrix, DMatrixView};

/// Rows of `width` in features.
///
/// # Panics
/// If they are not whole rows.
#[track_caller]
pub(super) fn count(features: &[f32], width: usize) -> usize {
    assert!(width > 0 && features.len().is_multiple_of(width), "{} numbers in rows of {width}", features.len());
    features.len() / width
}

/// Rows of `width` in features that must be finite.
///
/// # Errors
/// [`Error::NonFinite`] with the first image that has others.
///
/// # Panics
/// If they are not whole rows.
#[track_caller]
pub(super) fn finite(features: &[f32], width: usize) -> Result<usize> {
    let count = count(features, width);
    match features.iter().position(|x| !x.is_finite()) {
        None => Ok(count),
        Some(at) => Err(Error::NonFinite(format!(
            "feature {} of image {} of {count} is not finite: its pixels, or the weights that read them, are not",
            at % width,
            at / width
        ))),
    }
}

/// The same numbers in double precision.
pub(super) fn widen(features: &[f32]) -> Vec<f64> {
    features.iter().map(|&x| f64::from(x)).collect()
}

/// Inner products of every row of `a` with every row of `b`: [rows of a, rows of b], a column for each row of b.
///
/// The transpose is a copy: nalgebra 0.35 writes out of bounds where it multiplies a view by rows (its issue 1616).
pub(super) fn gram(a: &[f64], b: &[f64], width: usize) -> DMatrix<f64> {
    columns(a, width).transpose() * columns(b, width)
}

/// Rows as the columns of a matrix, [width, rows]: how they already lie in memory.
pub(super) fn columns(rows: &[f64], width: usize) -> DMatrixView<'_, f64> {
    DMatrixView::from_slice(rows, width, rows.len() / width)
}
