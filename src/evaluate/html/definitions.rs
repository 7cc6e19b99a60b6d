//! What each number is, short and exact, with the paper that it comes from.

use maud::{Markup, html};

/// (term, what it is).
const DEFINITIONS: &[(&str, &str)] = &[
    (
        "FD to test, FD to train",
        "Fréchet distance between samples and test (or training) images: |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁C₂)^½), with \
         means m and covariances C of the ruler's features instead of Inception's. In f64; the root by symmetric \
         eigen-decomposition. It falls with the number of images, which stands beside it. Heusel et al. 2017.",
    ),
    (
        "Floor, FD / floor",
        "The floor is the same distance from as many training images, taken at random, to the test images: what a \
         perfect model would have, or somewhat less, where images are drawn of all classes equally often and the test \
         images are not.",
    ),
    (
        "KID",
        "Kernel distance: the squared maximum mean discrepancy between features of samples and test images with a \
         polynomial kernel of degree 3, unbiased, so that it can be below 0. The mean over subsets, ± how far that \
         may be from the mean over all subsets of these very images; it says nothing of other images. Bińkowski et al. 2018.",
    ),
    (
        "Precision, recall",
        "Precision is the share of samples that lie within the distance from a test image to its k-th nearest test \
         image; recall the share of test images that lie so among the samples. k and the images on each side stand in \
         the table of distances. Kynkäänniemi et al. 2019.",
    ),
    (
        "Class accuracy",
        "Share of samples, drawn for a class, that the ruler reads as this class. Only of models that are told \
         classes.",
    ),
    ("Interval of a share", "Wilson's interval of 95 % (Wilson 1927)."),
    (
        "CAS",
        "Classification accuracy score: a classifier is trained on samples only, with the classes they were drawn for, \
         and reads the real test images; the share that it reads rightly. Ravuri and Vinyals 2019.",
    ),
    (
        "χ², p",
        "Pearson's test of balance: the sum of (count − expected)² / expected over the classes that the ruler reads in \
         samples drawn without a class. Expected are the training set's shares. Degrees of freedom: classes less one. \
         p is the probability of a sum as large by chance.",
    ),
    (
        "Bits a dimension",
        "−log₂ of the likelihood of an image, divided by its pixels and channels: the mean over images, ± its standard \
         error. The row says which of the following it is.",
    ),
    (
        "Variational bound",
        "L_T + sum of L_t + L_0 of a discrete process, an upper bound. L_0 is the likelihood of the bytes under a \
         discretised decoder: a normal distribution integrated over the bin of each byte, the bins at the edges \
         reaching to infinity. Ho et al. 2020.",
    ),
    (
        "Likelihood of the flow",
        "Of a continuous process: the probability-flow equation solved from the image to noise, with the change of \
         density integrated along. The divergence is Hutchinson's estimator; bytes are made continuous by uniform \
         noise of one bin (uniform dequantisation), which makes it an upper bound. Song et al. 2021.",
    ),
    (
        "ELBO, IWAE",
        "Of an autoencoder: the evidence lower bound, written as bits it is an upper bound; and the \
         importance-weighted bound of several draws of the latent, which is tighter. Burda et al. 2016.",
    ),
    (
        "Nearest distances",
        "Euclidean distance from a sample, and from a test image, to the nearest of all training images: in pixels of \
         images in [−1, 1], and in the ruler's features. Suspicious is the share of samples at least as near as the first \
         percentile of the test images.",
    ),
    (
        "Costs",
        "Training time is time spent in training; images a second the median of the log. FLOP are counted from the \
         recorded operators, a multiplication and an addition being two; a training image costs forward and backward \
         pass. Memory is what the plan of the device's buffers takes. Sampling, an image, is the time for all samples \
         divided by their number.",
    ),
];

pub(super) fn section() -> Markup {
    html! { dl.definitions { @for (term, meaning) in DEFINITIONS { dt { (term) } dd { (meaning) } } } }
}
