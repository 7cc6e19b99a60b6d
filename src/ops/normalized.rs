//! Rounding in the gradient of a normalization.

/// Largest magnitude of a term in the gradient dx = rstd (g - mean g - h mean (g h)) of values that
/// are normalized together to h = (x - mean) rstd, where `values` are their pairs (x, g) and g is
/// the gradient of h. With two values the terms cancel, and with three they may.
pub(super) fn largest_gradient_term(values: &[(f64, f64)], eps: f64) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|(x, _)| x).sum::<f64>() / count;
    let variance = values.iter().map(|(x, _)| (x - mean).powi(2)).sum::<f64>() / count;
    let rstd = 1.0 / (variance + eps).sqrt();
    let slope = values.iter().map(|(x, g)| g * (x - mean) * rstd).sum::<f64>().abs() / count;
    let largest = |size: &dyn Fn(&(f64, f64)) -> f64| values.iter().map(size).fold(0.0, f64::max);
    rstd * largest(&|(_, g)| g.abs()).max(slope * rstd * largest(&|(x, _)| (x - mean).abs()))
}

#[cfg(test)]
mod tests {
    use super::largest_gradient_term;

    /// Of two values, h is -1 and 1, and the gradient is 0 however large the terms are.
    #[test]
    fn terms_that_cancel_count() {
        let term = largest_gradient_term(&[(1.0, 3.0), (2.0, -5.0)], 0.0);
        assert!((term - 10.0).abs() < 1e-12, "{term}");
    }

    /// One value of ten is far from the others, so that h times the mean of g h is larger than g.
    #[test]
    fn last_term_counts() {
        let values: Vec<(f64, f64)> = (0..10).map(|i| if i == 0 { (10.0, 1.0) } else { (0.0, -1.0) }).collect();
        // mean 1, variance 9, mean of g h = (3 + 9/3) / 10 = 0.6, largest h = 3.
        let term = largest_gradient_term(&values, 0.0);
        assert!((term - 1.8 / 3.0).abs() < 1e-12, "{term}");
    }
}
