"""Writes tests/goldens/metrics: statistics of small sets of features by scipy, statsmodels,
scikit-learn and numpy.

    python tests/goldens/metrics.py [--out tests/goldens/metrics]

The features are multiples of 1/64, so f32 holds them exactly, and both sides compute from equal
numbers, in float64.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.linalg import sqrtm
from scipy.stats import chisquare
from sklearn.metrics.pairwise import euclidean_distances, polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from statsmodels.stats.proportion import proportion_confint

WIDTH = 16


def features():
    """Two overlapping sets; the same with constant and with equal features; close rows far from zero."""
    generator = np.random.Generator(np.random.PCG64(1))
    mix = generator.standard_normal((WIDTH, WIDTH)) / 4
    scales = np.geomspace(0.1, 2.0, WIDTH)
    a = generator.standard_normal((200, WIDTH)) @ mix * scales
    b = 0.3 + generator.standard_normal((180, WIDTH)) @ (mix + 0.1 * generator.standard_normal((WIDTH, WIDTH))) * scales
    a, b = (np.round(64 * x) / 64 for x in (a, b))
    a_singular, b_singular = a.copy(), b.copy()
    for x in a_singular, b_singular:
        x[:, 3] = 0
        x[:, 8] = x[:, 7]
    b_singular[:, 5] = 0.25
    # f32 has steps of 2^-11 at 4096. The nearest rows differ by a few steps.
    far = 4096 + generator.integers(0, 4, (200, WIDTH)) / 2048
    queries = 4096 + generator.integers(0, 4, (20, WIDTH)) / 2048
    queries[7] = far[131]
    sets = {"a": a, "b": b, "a_singular": a_singular, "b_singular": b_singular, "far": far, "far_queries": queries}
    for name, x in sets.items():
        assert (x.astype(np.float32) == x).all(), name
    return sets


def frechet_by_root(a, b):
    """The usual formula, with scipy's root of the product."""
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(ca @ cb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * np.trace(root).real)


def frechet_by_data(a, b):
    """Without covariances: the trace is the sum of singular values of the centered sets' product."""
    x, y = ((s - s.mean(0)) / np.sqrt(len(s) - 1) for s in (a, b))
    overlap = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + (x ** 2).sum() + (y ** 2).sum() - 2 * overlap)


def squared_mmd(a, b):
    kernel = [polynomial_kernel(x, y, degree=3, gamma=1 / WIDTH, coef0=1) for x, y in ((a, a), (b, b), (a, b))]
    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernel[:2]]
    return float(within[0] + within[1] - 2 * kernel[2].mean())


def squared_distances(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(2)


def precision_recall(real, drawn, k):
    """By brute force, with scikit-learn's radii as a check."""
    def covered(queries, among):
        reach = np.sort(squared_distances(among, among), axis=1)[:, k]
        radii = NearestNeighbors(n_neighbors=k).fit(among).kneighbors()[0][:, -1]
        assert np.allclose(np.sqrt(reach), radii)
        return float((squared_distances(queries, among) <= reach).any(1).mean())
    return [covered(drawn, real), covered(real, drawn)]


def nearest(queries, among):
    squares = squared_distances(queries, among)
    return {"rows": squares.argmin(1).tolist(), "distances": np.sqrt(squares.min(1)).tolist()}


def chi_square(counts, shares):
    expected = np.array(shares) / np.sum(shares) * np.sum(counts)
    result = chisquare(counts, expected)
    return {"counts": counts, "shares": shares, "expected": expected.tolist(), "statistic": float(result.statistic),
            "p": float(result.pvalue)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "metrics")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    sets = features()
    save_file({name: x.astype(np.float32) for name, x in sets.items()}, out / "features.safetensors")
    a, b = sets["a"], sets["b"]
    singular = sets["a_singular"], sets["b_singular"]
    print(f"Frechet distance by root {frechet_by_root(a, b)}, by data {frechet_by_data(a, b)}")
    assert np.allclose(euclidean_distances(a, b) ** 2, squared_distances(a, b))

    wilson = [(0, 10), (10, 10), (1, 1), (7, 20), (993, 1000), (1, 10000)]
    values = [[2.5], [3.0, 1.0], np.random.Generator(np.random.PCG64(2)).standard_normal(57).tolist()]
    quantiles = [0, 0.01, 0.25, 0.5, 0.75]
    expected = {
        "mean": a.mean(0).tolist(),
        "covariance": np.cov(a, rowvar=False).ravel().tolist(),
        "frechet": frechet_by_root(a, b),
        "frechet_singular": frechet_by_data(*singular),
        "squared_mmd": squared_mmd(a, b),
        "precision_recall": {str(k): precision_recall(a, b, k) for k in (1, 3, 5)},
        "nearest": nearest(b, a),
        "nearest_far": nearest(sets["far_queries"], sets["far"]),
        "wilson": [[s, n, *map(float, proportion_confint(s, n, alpha=0.05, method="wilson"))] for s, n in wilson],
        "chi_square": [
            chi_square([12, 8, 11, 9, 10], [0.2] * 5),
            chi_square([120, 90, 90], [2.0, 1.0, 1.0]),
            chi_square([900, 20, 80], [0.5, 0.25, 0.25]),
            chi_square([3, 5], [0.5, 0.5]),
        ],
        "quantiles": [{"values": v, "quantiles": np.quantile(v, quantiles).tolist()} for v in values],
    }
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in expected.items())
    (out / "expected.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
