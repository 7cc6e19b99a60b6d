//! Definitions of all metrics on the page, with their sources.

use maud::{Markup, html};

/// Terms and their definitions.
const DEFINITIONS: &[(&str, &str)] = &[
    (
        "FD to test, FD to train",
        "Fréchet distance between samples and test (or training) images: |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½), where m \
         are means and C covariances of the features. The features come from the feature extractor named above, not from \
         Inception, so the values are not FIDs. The distance is biased upward for few images. ± is its standard error over \
         other samples of the same model with the same class counts, by the bootstrap (Efron 1979). It does not include \
         the bias. Heusel et al. 2017.",
    ),
    (
        "Reference FD, FD / reference",
        "The reference FD is the Fréchet distance between test images and as many random training images as there are \
         samples, with the class counts of samples that have labels, as the mean over 20 subsets. A perfect model \
         reaches about this value.",
    ),
    (
        "KID",
        "Kernel Inception Distance: the squared maximum mean discrepancy between features of samples and test images, \
         with a polynomial kernel of degree 3. The estimate is unbiased and can be negative. The value is the mean over \
         random subsets. ± is its standard error with respect to the choice of \
         subsets of these images, not of other images. \
         The reference KID compares the training images of the first subset with test images. Bińkowski et al. 2018.",
    ),
    (
        "Precision, recall",
        "The radius of an image is the distance to its k-th nearest neighbor in its own set, samples or test images. Precision \
         is the share of samples within the radius of a test image. Recall is the share of test images within the radius \
         of a sample. k and the number of images are in the table of distances. Kynkäänniemi et al. 2019.",
    ),
    (
        "Mean pixel value, bright corner pixels",
        "Mean of all pixels, 0 to 255, and the share of pixels above 16 in the four corners (squares with sides of an \
         eighth of the image's shorter side). Images of MNIST have black corners, so noise that a sampler leaves shows there.",
    ),
    (
        "Class accuracy",
        "Share of conditional samples that the feature extractor classifies as the class they were conditioned on.",
    ),
    ("Confidence intervals", "Wilson's 95 % interval of a proportion (Wilson 1927)."),
    (
        "CAS",
        "Classification accuracy score: the test accuracy of a classifier trained only on conditional samples. Ravuri and \
         Vinyals 2019. The same classifier trained on as many training images has about the score of a perfect model.",
    ),
    (
        "χ², p",
        "Pearson's chi-square test of class balance: the sum of (count − expected)² / expected over the predicted classes \
         of unconditional samples. The expected counts follow the training set. The number of degrees of freedom is \
         the number of classes minus one. p is the probability of a sum at least as large by chance.",
    ),
    (
        "Bits per dimension",
        "−log₂ of the likelihood of an image, divided by its number of pixels and channels: the mean over images ± its \
         standard error. The method is one of the following.",
    ),
    (
        "Variational bound",
        "L_T + sum of L_t + L_0 for processes with discrete timesteps, an upper bound. L_0 is the likelihood of the bytes \
         under a discretized decoder: a normal distribution integrated over the bin of each byte, where the first and \
         last bins extend to infinity. Ho et al. 2020.",
    ),
    (
        "Likelihood of the probability flow",
        "For processes in continuous time: the probability flow ODE is solved from the image to noise, and the change of \
         density is integrated along it. The divergence uses Hutchinson's estimator. Bytes are dequantized with uniform \
         noise of one bin, which makes the value an upper bound. Song et al. 2021.",
    ),
    (
        "ELBO, importance-weighted bound",
        "For autoencoders: the evidence lower bound, which is an upper bound in bits, and the importance-weighted bound of \
         several latents per image, which is tighter. Burda et al. 2016. The prior is the distribution that the samples draw \
         their latents from: N(0, 1), or a mixture of Gaussians that the method names.",
    ),
    (
        "Distance to the nearest training image",
        "Euclidean distance from a sample or a test image to the nearest training image, in pixels scaled to [−1, 1] and in \
         features. Near duplicates are samples at most as far away as the 1st percentile of test images.",
    ),
    (
        "Cost",
        "Training time is the time spent in training. Training speed is the median of the log. FLOP are counted from the recorded \
         operators: a multiplication and an addition are two operations. A training image includes the forward and the \
         backward pass. Memory is the planned size of all device buffers. Sampling time per image is the total time \
         divided by the number of samples.",
    ),
];

pub(super) fn section() -> Markup {
    html! { dl.definitions { @for (term, meaning) in DEFINITIONS { dt { (term) } dd { (meaning) } } } }
}
