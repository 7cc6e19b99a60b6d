//! Frechet distance of two sets of features.
