//! Bits per dimension of simple methods without a model, for comparison. They were measured on
//! MNIST's 10,000 test images. Other data sets have no baselines.

/// Bits per dimension and method: a histogram of all training pixels; a histogram per position,
/// with one count added to each value; and `xz -9e` of the file.
const MNIST: [(&str, &str); 3] =
    [("1.967", "histogram of all pixels"), ("1.690", "histogram per position"), ("1.382", "xz of the test set")];

/// The baselines of a data set; empty if there are none.
pub fn baselines(dataset: &str) -> &'static [(&'static str, &'static str)] {
    if dataset == "MNIST" { &MNIST } else { &[] }
}
