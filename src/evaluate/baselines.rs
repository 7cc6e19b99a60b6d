//! Bits a dimension that any model must beat, of MNIST's 10,000 test images. Of other data sets they were not measured.

/// (bits a dimension, what needs them): by the training images' histogram of pixels; by their histogram at each position, with one count added to
/// each value; and by `xz -9e` of the file.
const MNIST: [(&str, &str); 3] =
    [("1.967", "histogram of pixels"), ("1.690", "histogram by position"), ("1.382", "xz of the test set")];

/// The baselines of a data set; none, where they were not measured.
pub fn baselines(dataset: &str) -> &'static [(&'static str, &'static str)] {
    if dataset == "MNIST" { &MNIST } else { &[] }
}
